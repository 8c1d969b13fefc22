/** Who waits until more can be sent to another node: `ref.room()` of remote refs. */
import { Aborted } from '@understudy/runtime'
import type { Kernel, Ref } from '@understudy/runtime/internal'

interface RoomWaiter {
  readonly hasRoom: () => boolean
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** One per session. Whatever makes room somewhere calls `look`: O(waiters). */
export class RoomQueue {
  readonly #kernel: Kernel
  #waiting: RoomWaiter[] = []

  constructor(kernel: Kernel) {
    this.#kernel = kernel
  }

  /** Resolves once `hasRoom()`; rejects with `Aborted`, or with what `end` is given. */
  wait(target: Ref, hasRoom: () => boolean, signal: AbortSignal | undefined): Promise<void> {
    const kernel = this.#kernel
    return new Promise((resolve, reject) => {
      kernel.waiters++
      const abort = (): void => {
        kernel.waiters--
        this.#waiting = this.#waiting.filter((other) => other !== waiter)
        const { path } = target
        reject(new Aborted(`Waiting for room at ${path} was aborted`, { path }, signal?.reason))
      }
      const waiter: RoomWaiter = {
        hasRoom,
        resolve: () => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          resolve()
        },
        reject: (error) => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
      } else if (hasRoom()) {
        waiter.resolve()
      } else {
        signal?.addEventListener('abort', abort, { once: true })
        this.#waiting.push(waiter)
      }
    })
  }

  /** Something has room again: lets go whom that serves, in the order in which they came. */
  look(): void {
    if (this.#waiting.length === 0) return
    const ready = new Set(this.#waiting.filter(({ hasRoom }) => hasRoom()))
    if (ready.size === 0) return
    this.#waiting = this.#waiting.filter((waiter) => !ready.has(waiter))
    for (const waiter of ready) waiter.resolve()
  }

  /** There will be no room any more. */
  end(makeError: () => Error): void {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(makeError())
  }
}
