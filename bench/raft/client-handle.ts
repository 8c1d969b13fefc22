/** The parent's side of a client process. */
import { CommandProcess } from '../harness/command-process.ts'
import type { LoadFigures } from '../harness/load-loop.ts'
import type { ClientCommand, ClientReport, SystemName } from './client-process.ts'
import type { LoadOperation } from './load.ts'

const childModule = new URL('./client-process.js', import.meta.url)

/** One client process; one command at a time. */
export class ClientHandle {
  readonly #child: CommandProcess<ClientCommand, ClientReport>

  /** `variant`: of the client, where there are several. `execArgv`: Node's own flags, for a profile. */
  constructor(system: SystemName, variant = '', execArgv: readonly string[] = []) {
    this.#child = new CommandProcess(system, childModule, [system, variant], execArgv)
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Closes the connections that it had. */
  async connect(targets: readonly string[]): Promise<void> {
    await this.#child.ask({ type: 'connect', targets })
  }

  async run(operation: LoadOperation, inFlight: number, durationMs: number): Promise<LoadFigures> {
    const report = await this.#child.ask({ type: 'run', operation, inFlight, durationMs })
    if (report.type !== 'figures') throw new Error(`The client answered "${report.type}" to "run"`)
    return report.figures
  }

  /** Milliseconds from the kill of that process to the first acknowledged put. */
  async gap(pid: number, inFlight: number, giveUpMs: number): Promise<number> {
    const report = await this.#child.ask({ type: 'gap', pid, inFlight, giveUpMs })
    if (report.type !== 'gap') throw new Error(`The client answered "${report.type}" to "gap"`)
    return report.gap.gapMs
  }

  async compact(): Promise<void> {
    await this.#child.ask({ type: 'compact' })
  }

  /** Lets the process end by itself, so that a profile is written. */
  end(): Promise<void> {
    return this.#child.end()
  }
}
