/**
 * The orderly end of an incarnation, one step after the other: the handler in progress, the children (youngest first),
 * the defer hooks (last in, first out). One deadline for all of it; what still hangs then is abandoned, fenced and
 * named.
 */
import type { Timer } from '../platform/platform.ts'
import type { Cell } from './cell.ts'
import type { EndReason } from './watch.ts'

type Phase = 'handler' | 'children' | 'defers' | 'done'

export class Ending {
  readonly #cell: Cell
  readonly #sinceMs: number
  #onSuspended: (() => void) | undefined
  #goal: 'stop' | 'suspend'
  #reason: EndReason
  #phase: Phase = 'handler'
  /** Set while a step is being waited for: its completion is counted, so that a late one is not taken for another. */
  #step = 0
  #timer: Timer | undefined

  constructor(
    cell: Cell,
    goal: 'stop' | 'suspend',
    reason: EndReason,
    onSuspended: (() => void) | undefined,
  ) {
    this.#cell = cell
    this.#goal = goal
    this.#reason = reason
    this.#onSuspended = onSuspended
    this.#sinceMs = cell.kernel.clock.monotonicMs()
  }

  /** The deadline is armed when there is something to wait for. */
  #wait(): void {
    const cell = this.#cell
    this.#timer ??= cell.kernel.clock.setTimer(this.#sinceMs + cell.deadline, () => this.expire())
  }

  /** It was to be suspended only; now it ends for good. */
  becomeStop(reason: EndReason): void {
    this.#goal = 'stop'
    this.#reason = reason
  }

  /** Who asked for the suspension first is overruled: `done` is called in its place. */
  thenInstead(done: () => void): void {
    this.#onSuspended = done
  }

  cancel(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#phase = 'done'
  }

  /** Goes on as far as it can without waiting. */
  advance(): void {
    const cell = this.#cell
    if (this.#phase === 'handler') {
      if (cell.isBusy) {
        this.#wait()
        return
      }
      this.#phase = 'children'
      if (!this.#stopChildren()) this.#runDefers()
    }
  }

  /** False when there are none to stop. */
  #stopChildren(): boolean {
    const { family, kind } = this.#cell
    if (family === null || family.size === 0) return false
    if (this.#goal === 'suspend' && kind.keepChildren && !family.hasGivenUp) return false
    this.#phase = 'children'
    const step = ++this.#step
    this.#wait()
    // Work that a drained actor handed to its children is finished too.
    family.stopAll(this.#cell.rare?.drained === true ? 'drain' : 'stop', () => {
      if (step === this.#step && this.#phase === 'children') this.#runDefers()
    })
    return true
  }

  #runDefers(): void {
    const cell = this.#cell
    this.#phase = 'defers'
    for (;;) {
      if (this.#phase !== 'defers') return
      const hook = cell.context?.takeDefer()
      if (hook === undefined) {
        // Children that were to be kept through a restart go too when that became a stop meanwhile.
        if (!this.#stopChildren()) this.#complete()
        return
      }
      try {
        const result: unknown = hook(this.#goal === 'stop' ? 'stop' : 'restart')
        if (isThenable(result)) {
          const step = ++this.#step
          this.#wait()
          result.then(
            () => this.#deferSettled(step),
            (error: unknown) => {
              this.#deferFailed(error)
              this.#deferSettled(step)
            },
          )
          return
        }
      } catch (error) {
        this.#deferFailed(error)
      }
    }
  }

  #deferSettled(step: number): void {
    if (step === this.#step && this.#phase === 'defers') this.#runDefers()
  }

  #deferFailed(error: unknown): void {
    this.#cell.kernel.log.error(
      { path: this.#cell.path, err: error },
      'a defer hook failed; the others still run',
    )
  }

  /** The time is up. Whoever hangs below is named first: this one may only have waited for it. */
  expire(): void {
    const cell = this.#cell
    if (this.#phase === 'children') {
      for (const child of [...(cell.family?.cells() ?? [])].reverse()) child.rare?.ending?.expire()
    }
    if (this.#phase === 'done') return
    const type = cell.current?.message.type
    const ageMs = cell.kernel.clock.monotonicMs() - this.#sinceMs
    const waitedFor = {
      handler: type === undefined ? 'its setup' : `its handler of "${type}"`,
      children: `its children ${[...(cell.family?.cells() ?? [])].map((child) => child.name).join(', ')}`,
      defers: 'its defer hooks',
      done: 'nothing',
    }[this.#phase]
    cell.kernel.hooks.abandoned(cell, type, ageMs, waitedFor)
    // What still comes back from the steps that were waited for is of no interest.
    this.cancel()
    cell.context?.fence()
    cell.family?.killAll()
    this.#complete()
  }

  #complete(): void {
    const cell = this.#cell
    this.cancel()
    if (cell.rare !== null) cell.rare.ending = null
    if (this.#goal === 'stop') {
      cell.finish(this.#reason)
      return
    }
    cell.suspended()
    this.#onSuspended?.()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}
