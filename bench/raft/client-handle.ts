/** The parent's side of a client process. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ClientCommand, ClientReport, SystemName } from './client-process.ts'
import type { LoadFigures, LoadOperation } from './load.ts'

/** One client process; one command at a time. */
export class ClientHandle {
  readonly #child: ChildProcess
  readonly #system: SystemName
  #onReport: ((report: ClientReport) => void) | undefined

  /** `variant`: of the client, where there are several. `execArgv`: Node's own flags, for a profile. */
  constructor(system: SystemName, variant = '', execArgv: readonly string[] = []) {
    this.#system = system
    this.#child = fork(fileURLToPath(new URL('./client-process.js', import.meta.url)), [system, variant], {
      execArgv: [...execArgv],
      env: { ...process.env, NODE_ENV: 'production' },
    })
    this.#child.on('message', (report: ClientReport) => this.#onReport?.(report))
    this.#child.on('exit', () => this.#onReport?.({ type: 'failed', reason: 'the client process has ended' }))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Closes the connections that it had. */
  async connect(targets: readonly string[]): Promise<void> {
    await this.#ask({ type: 'connect', targets })
  }

  async run(operation: LoadOperation, inFlight: number, durationMs: number): Promise<LoadFigures> {
    const report = await this.#ask({ type: 'run', operation, inFlight, durationMs })
    if (report.type !== 'figures') throw new Error(`The client answered "${report.type}" to "run"`)
    return report.figures
  }

  /** Milliseconds from the kill of that process to the first acknowledged put. */
  async gap(pid: number, inFlight: number, giveUpMs: number): Promise<number> {
    const report = await this.#ask({ type: 'gap', pid, inFlight, giveUpMs })
    if (report.type !== 'gap') throw new Error(`The client answered "${report.type}" to "gap"`)
    return report.gap.gapMs
  }

  async compact(): Promise<void> {
    await this.#ask({ type: 'compact' })
  }

  /** Lets the process end by itself, so that a profile is written. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.disconnect()
    await ended
  }

  async #ask(command: ClientCommand): Promise<ClientReport> {
    const report = await new Promise<ClientReport>((resolve) => {
      this.#onReport = resolve
      this.#child.send(command)
    })
    this.#onReport = undefined
    if (report.type === 'failed') throw new Error(`${this.#system}, "${command.type}": ${report.reason}`)
    return report
  }
}
