/** A process of this benchmark that obeys its parent, one command at a time: the parent's side and the child's. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { ended } from './process-ends.ts'

/**
 * For every process of Node, whoever it belongs to: collect when the heap has doubled, which is what Go does by default, and etcd
 * with it. Left to itself V8 collects every few megabytes for a while after each rest of eight seconds (its memory reducer), and in
 * a benchmark all systems rest while another one has its turn.
 */
export const heapFlags: readonly string[] = ['--heap-growing-percent=100']

/** The answer to a command that broke. */
export interface FailedReport {
  readonly type: 'failed'
  readonly reason: string
}

/** One child process; one command at a time. */
export class CommandProcess<
  Command extends { readonly type: string },
  Report extends { readonly type: string },
> {
  readonly #child: ChildProcess
  readonly #name: string
  #onReport: ((report: Report | FailedReport) => void) | undefined

  /**
   * `name`: for error messages. `module`: the URL of the child's main module, which calls `serveCommands`. `execArgv`: Node's
   * own flags, for a profile.
   */
  constructor(name: string, module: URL, args: readonly string[], execArgv: readonly string[] = []) {
    this.#name = name
    this.#child = fork(fileURLToPath(module), [...args], {
      execArgv: [...heapFlags, ...execArgv],
      env: { ...process.env, NODE_ENV: 'production' },
    })
    this.#child.on('message', (report: Report | FailedReport) => this.#onReport?.(report))
    this.#child.on('exit', () => this.#onReport?.({ type: 'failed', reason: 'the process has ended' }))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** @throws {Error} when the command broke, or the process ended */
  async ask(command: Command): Promise<Report> {
    if (!this.#child.connected) throw new Error(`${this.#name}, "${command.type}": the process has ended`)
    const report = await new Promise<Report | FailedReport>((resolve) => {
      this.#onReport = resolve
      this.#child.send(command)
    })
    this.#onReport = undefined
    if (isFailed(report)) throw new Error(`${this.#name}, "${command.type}": ${report.reason}`)
    return report
  }

  /** Lets the process end by itself, so that a profile is written. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const hasEnded = once(this.#child, 'exit')
    if (this.#child.connected) this.#child.disconnect()
    await hasEnded
  }

  /** Does not wait for it to end by itself. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await ended(this.#child)
  }
}

/** In the child: answers every command of the parent, and ends with it. Does nothing in a process that was not forked. */
export function serveCommands<Command, Report>(obey: (command: Command) => Promise<Report>): void {
  if (process.send === undefined) return
  const report = process.send.bind(process) as (message: Report | FailedReport) => unknown
  process.on('disconnect', () => process.exit(0))
  process.on('message', (message) => {
    obey(message as Command).then(report, (error: unknown) =>
      report({
        type: 'failed',
        reason: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    )
  })
}

function isFailed(report: { readonly type: string }): report is FailedReport {
  return report.type === 'failed'
}
