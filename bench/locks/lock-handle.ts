/** The parent's side of a client process of locks. */
import { CommandProcess } from '../harness/command-process.ts'
import type { LoadFigures } from '../harness/load-loop.ts'
import type { EtcdClientKind } from '../raft/etcd-client.ts'
import type { LockPoint } from './lock-points.ts'
import type { LockProcessCommand, LockProcessReport } from './lock-process.ts'
import type { LockSystem } from './lock-systems.ts'

const childModule = new URL('./lock-process.js', import.meta.url)

/** One client process; one command at a time. */
export class LockHandle {
  readonly #child: CommandProcess<LockProcessCommand, LockProcessReport>

  /** `execArgv`: Node's own flags, for a profile. */
  constructor({ name, client }: LockSystem, etcdClient: EtcdClientKind, execArgv: readonly string[]) {
    this.#child = new CommandProcess(name, childModule, [client, etcdClient], execArgv)
  }

  get pid(): number {
    return this.#child.pid
  }

  async connect(targets: readonly string[]): Promise<void> {
    await this.#child.ask({ type: 'connect', targets })
  }

  async run(
    { load, clients }: Pick<LockPoint, 'load' | 'clients'>,
    durationMs: number,
  ): Promise<LoadFigures> {
    const report = await this.#child.ask({ type: 'run', load, clients, durationMs })
    if (report.type !== 'figures') throw new Error(`The client answered "${report.type}" to "run"`)
    return report.figures
  }

  /** Lets the process end by itself, so that a profile is written. */
  end(): Promise<void> {
    return this.#child.end()
  }
}
