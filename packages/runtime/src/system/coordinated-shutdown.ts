/**
 * The orderly end of a whole system: named phases one after the other, the tasks of a phase side by side, one deadline
 * over all, and whoever hung is named. Running it again joins the run in progress. The idea is Akka's.
 */
import type { Logger } from '../platform/log.ts'
import type { Clock } from '../platform/platform.ts'

/** The phases, in their order. */
export const shutdownPhases = Object.freeze([
  /** Say "not ready" to whoever asks. */
  'not-ready',
  /** Take no new work: close listeners. */
  'stop-intake',
  /** Give what others can do to others. */
  'hand-over',
  /** Finish the work that was taken. */
  'drain',
  /** Stop the actors, children before parents. */
  'stop-actors',
  /** Write out what is buffered. */
  'flush',
  /** Close stores, sockets, timers. */
  'close',
] as const)

export type ShutdownPhase = (typeof shutdownPhases)[number]

/** How it went. */
export interface ShutdownReport {
  readonly reason: string
  /** True when every task ended in time and none failed. */
  readonly clean: boolean
  /** Who did not end in time: tasks as `phase/name`, actors by their path and what they waited for. */
  readonly hung: readonly string[]
  /** Tasks that failed, as `phase/name`. */
  readonly failed: readonly string[]
}

export interface CoordinatedShutdown {
  /** Adds a task. Within a phase tasks run side by side. Dispose to take it back. */
  readonly add: (
    phase: ShutdownPhase,
    name: string,
    task: (reason: string) => void | Promise<void>,
  ) => Disposable
  /** Runs all phases. Never rejects; the report says what hung or failed. Later calls join the first. */
  readonly run: (reason: string) => Promise<ShutdownReport>
  readonly isRunning: () => boolean
  /** Names somebody in the report who hung, though the task around them went on. */
  readonly noteHung: (who: string) => void
}

interface Task {
  readonly phase: ShutdownPhase
  readonly name: string
  readonly run: (reason: string) => void | Promise<void>
}

export function coordinatedShutdown(options: {
  readonly clock: Clock
  readonly log: Logger
  /** Over all phases, in milliseconds. */
  readonly deadlineMs: number
  readonly onPhase?: ((phase: ShutdownPhase, reason: string) => void) | undefined
  /** Called once, after the last phase. */
  readonly onEnded?: ((report: ShutdownReport) => void) | undefined
}): CoordinatedShutdown {
  const { clock, log, deadlineMs } = options
  const tasks = new Set<Task>()
  const hung: string[] = []
  let running: Promise<ShutdownReport> | undefined

  async function run(reason: string): Promise<ShutdownReport> {
    const untilMs = clock.monotonicMs() + deadlineMs
    const failed: string[] = []
    for (const phase of shutdownPhases) {
      options.onPhase?.(phase, reason)
      const open = new Set<string>()
      const runs = [...tasks]
        .filter((task) => task.phase === phase)
        .map(async (task) => {
          const name = `${phase}/${task.name}`
          open.add(name)
          try {
            await task.run(reason)
          } catch (error) {
            failed.push(name)
            log.error({ task: name, err: error }, 'a shutdown task failed; the others go on')
          }
          open.delete(name)
        })
      if (runs.length === 0) continue
      // Late phases still get a moment of their own, or one hung handler would keep the stores from being closed.
      const phaseUntilMs = Math.max(untilMs, clock.monotonicMs() + 100)
      if (!(await settledBy(Promise.all(runs), phaseUntilMs, clock))) {
        hung.push(...open)
        log.error({ hung: [...open], reason }, 'shutdown went on without tasks that did not end in time')
      }
    }
    const report = { reason, clean: hung.length === 0 && failed.length === 0, hung, failed }
    options.onEnded?.(report)
    return report
  }

  return {
    add: (phase, name, task) => {
      const entry: Task = { phase, name, run: task }
      tasks.add(entry)
      return { [Symbol.dispose]: () => void tasks.delete(entry) }
    },
    // Not at once: a task or a listener that calls this again must find it running.
    run: (reason) => (running ??= Promise.resolve().then(() => run(reason))),
    isRunning: () => running !== undefined,
    noteHung: (who) => {
      if (running !== undefined) hung.push(who)
    },
  }
}

/** True when `promise` settled before `untilMs`. */
function settledBy(promise: Promise<unknown>, untilMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(untilMs, () => resolve(false))
    const settled = (): void => {
      timer.cancel()
      resolve(true)
    }
    promise.then(settled, settled)
  })
}
