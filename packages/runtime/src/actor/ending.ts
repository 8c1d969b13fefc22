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
  readonly #onSuspended: (() => void) | undefined
  #goal: 'stop' | 'suspend'
  #reason: EndReason
  #phase: Phase = 'handler'
  /** Set while a step is being waited for: its completion is counted, so that a late one is not taken for another. */
  #step = 0
  #timer: Timer | undefined

  constructor(cell: Cell, goal: 'stop' | 'suspend', reason: EndReason, onSuspended: (() => void) | undefined) {
    this.#cell = cell
    this.#goal = goal
    this.#reason = reason
    this.#onSuspended = onSuspended
    this.#sinceMs = cell.kernel.clock.monotonicMs()
  }

  /** The deadline is armed when there is something to wait for. */
  #wait(): void {
    const cell = this.#cell
    this.#timer ??= cell.kernel.clock.setTimer(this.#sinceMs + cell.deadline, () => this.#expire())
  }

  /** It was to be suspended only; now it ends for good. */
  becomeStop(reason: EndReason): void {
    this.#goal = 'stop'
    this.#reason = reason
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
      const { family } = cell
      const keep = this.#goal === 'suspend' && cell.kind.keepChildren
      if (family !== null && family.size > 0 && !keep) {
        const step = ++this.#step
        this.#wait()
        family.stopAll(() => {
          if (step !== this.#step || this.#phase !== 'children') return
          this.#phase = 'defers'
          this.#runDefers()
        })
        return
      }
      this.#phase = 'defers'
      this.#runDefers()
    }
  }

  #runDefers(): void {
    const cell = this.#cell
    for (;;) {
      if (this.#phase !== 'defers') return
      const hook = cell.context?.takeDefer()
      if (hook === undefined) {
        this.#complete()
        return
      }
      try {
        const result: unknown = hook(this.#goal === 'stop' ? 'stop' : 'restart')
        if (result instanceof Promise) {
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
    if (step === this.#step) this.#runDefers()
  }

  #deferFailed(error: unknown): void {
    this.#cell.kernel.log.error({ path: this.#cell.path, err: error }, 'a defer hook failed; the others still run')
  }

  #expire(): void {
    const cell = this.#cell
    const type = cell.current?.message.type
    const ageMs = cell.kernel.clock.monotonicMs() - this.#sinceMs
    const waitedFor = {
      handler: type === undefined ? 'its setup' : `its handler of "${type}"`,
      children: `its children ${[...(cell.family?.cells() ?? [])].map((child) => child.name).join(', ')}`,
      defers: 'its defer hooks',
      done: 'nothing',
    }[this.#phase]
    cell.kernel.hooks.abandoned(cell, type, ageMs, waitedFor)
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
