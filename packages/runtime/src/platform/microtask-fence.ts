/**
 * Lets everything that follows in microtasks come to rest before the next step. Most steps touch no promise and need
 * none; promise hooks tell which do. A fence is one turn of the real event loop, about 2 us.
 */
import { promiseHooks } from 'node:v8'

// Kept from before the ambient guard puts itself in front of it.
const nextLoop = setImmediate

export class MicrotaskFence {
  #touched = false
  #stop: (() => void) | undefined

  /** Watches promises from now on. */
  begin(): void {
    const touch = (): void => {
      this.#touched = true
    }
    // A microtask comes from a promise that settles with reactions, or from a reaction on a settled one: then one is made.
    this.#stop ??= promiseHooks.createHook({ init: touch, settled: touch }) as () => void
  }

  end(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  /** A promise was made or settled since the last fence: something may wait in the microtask queue. */
  get wasTouched(): boolean {
    return this.#touched
  }

  /** Resolves when the microtask queue has run dry. Call `clear` once it has been awaited. */
  pass(): Promise<void> {
    return new Promise((resolve) => nextLoop(resolve))
  }

  /** Forgets what was touched so far: after a fence, whose own promise counts as well. */
  clear(): void {
    this.#touched = false
  }
}
