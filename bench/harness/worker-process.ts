/**
 * The harness' side of a system's process: one fork that stays alive for the whole run, so that heaps do not
 * mix and compiled code stays warm.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Sample } from './sample.ts'
import type { WorkerCommand, WorkerReport } from './worker.ts'
import type { WorkloadName } from './workload.ts'

/** A run, or loading a system, that takes longer is given up and its process killed. */
export const RUN_TIMEOUT_MS = 60_000
/** A process that has not left this long after it was told to is killed. */
const EXIT_TIMEOUT_MS = 3_000

/** A system could not be loaded, a workload threw, or its process is gone or hangs. */
export class WorkerError extends Error {
  readonly code = 'BenchWorker'
  override readonly name = 'WorkerError'
}

interface Waiter {
  readonly resolve: (report: WorkerReport) => void
  readonly reject: (error: WorkerError) => void
}

/** One system's process. Runs are strictly one after the other. */
export class WorkerProcess {
  readonly name: string
  /** What the system can do, in table order. */
  readonly workloads: readonly WorkloadName[]
  readonly #child: ChildProcess
  readonly #channel: ReportChannel

  private constructor(
    name: string,
    child: ChildProcess,
    channel: ReportChannel,
    workloads: readonly WorkloadName[],
  ) {
    this.name = name
    this.workloads = workloads
    this.#child = child
    this.#channel = channel
  }

  /** False once the process has ended or was killed for hanging. */
  get alive(): boolean {
    return this.#channel.open
  }

  /** Starts the process and waits for its system to load. Rejects with `WorkerError`, leaving no process. */
  static async start(name: string, module: URL): Promise<WorkerProcess> {
    const child = fork(fileURLToPath(new URL('./worker.js', import.meta.url)), [module.href], {
      execArgv: ['--expose-gc'],
      env: { ...process.env, NODE_ENV: 'production' },
      stdio: ['ignore', 2, 2, 'ipc'],
    })
    const channel = new ReportChannel(name, child)
    const first = await channel.next('load')
    if (first.type === 'ready') return new WorkerProcess(name, child, channel, first.workloads)
    child.kill('SIGKILL')
    throw new WorkerError(
      first.type === 'unloadable'
        ? `system "${name}" could not be loaded: ${first.reason}`
        : `system "${name}" answered "${first.type}" before it was ready`,
    )
  }

  /**
   * One run of about `operations`. Rejects with `WorkerError` when the workload throws (the process lives
   * on), or when the process dies or takes over `RUN_TIMEOUT_MS` (it is gone then).
   */
  async run(workload: WorkloadName, operations: number): Promise<Sample> {
    const answer = this.#channel.next(workload)
    send(this.#child, { type: 'run', workload, operations })
    const report = await answer
    if (report.type === 'sample') return report.sample
    throw new WorkerError(
      `workload "${workload}" of "${this.name}" failed: ` +
        (report.type === 'failed' ? report.reason : `unexpected report "${report.type}"`),
    )
  }

  /** Asks the process to leave and kills it when it does not. Never rejects; a second call does nothing. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#child.kill('SIGKILL')
      }, EXIT_TIMEOUT_MS)
      this.#child.once('exit', () => {
        clearTimeout(timer)
        resolve()
      })
      if (this.#child.connected) send(this.#child, { type: 'exit' })
      else this.#child.kill('SIGKILL')
    })
  }
}

/** Turns a child's reports into one awaited answer at a time, and its death or silence into an error. */
class ReportChannel {
  readonly #name: string
  readonly #child: ChildProcess
  #waiter: Waiter | undefined
  #end: WorkerError | undefined

  constructor(name: string, child: ChildProcess) {
    this.#name = name
    this.#child = child
    child.on('message', (report: WorkerReport) => this.#take()?.resolve(report))
    child.on('error', (error) => this.#close(`process of "${name}" could not run: ${error.message}`))
    child.on('exit', (code, signal) =>
      this.#close(`process of "${name}" ended with ${signal ?? `code ${code}`}`),
    )
  }

  get open(): boolean {
    return this.#end === undefined
  }

  next(purpose: string): Promise<WorkerReport> {
    if (this.#end !== undefined) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#child.kill('SIGKILL')
        this.#close(`"${purpose}" of "${this.#name}" took over ${RUN_TIMEOUT_MS} ms: its process was killed`)
      }, RUN_TIMEOUT_MS)
      this.#waiter = {
        resolve: (report) => {
          clearTimeout(timer)
          resolve(report)
        },
        reject: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
    })
  }

  #take(): Waiter | undefined {
    const waiter = this.#waiter
    this.#waiter = undefined
    return waiter
  }

  #close(message: string): void {
    this.#end ??= new WorkerError(message)
    this.#take()?.reject(this.#end)
  }
}

function send(child: ChildProcess, command: WorkerCommand): void {
  // A failure to send shows as the child's exit, which ends the wait.
  child.send(command, () => undefined)
}
