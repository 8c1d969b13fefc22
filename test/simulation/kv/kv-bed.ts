/** The key-value store on a bed of its own: what really came to be in it, revision by revision. */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import {
  kvClient,
  openKv,
  type Kv,
  type KvClient,
  type KvClientOptions,
  type KvMachine,
  type KvResult,
  type KvServiceOptions,
  type OpenKvOptions,
} from '@understudy/protocols'
import type { LoggedEvent, LoggedRevision } from '@understudy/runtime/checkers'
import type { BedLife } from '../raft/consensus-bed.ts'
import { ServiceBed, serviceTags, type ServiceBedOptions } from '../service-bed.ts'

export const kvTags: readonly string[] = [...serviceTags, 'unknown']

export interface KvBedOptions extends ServiceBedOptions {
  readonly service?: KvServiceOptions | undefined
  readonly client?: Partial<KvClientOptions> | undefined
}

/** What the store had done by a revision, and when that was first seen. */
export interface SeenRevision extends LoggedRevision {
  readonly atMs: number
}

export class KvBed extends ServiceBed<KvResult, KvMachine, KvClient> {
  readonly log: SeenRevision[] = []
  /** Called behind each revision that is new. */
  onRevision: ((revision: SeenRevision) => void) | undefined
  protected override readonly chaosKinds = 12
  readonly #options: KvBedOptions

  constructor(world: World, options: KvBedOptions) {
    super(world, 'kv', options)
    this.#options = options
    this.bed.truth('kv').onFirst = (node) => this.#note(node)
  }

  protected override openService(life: BedLife, openGroup: OpenKvOptions['openGroup']): Promise<Kv> {
    return openKv(life.node, { ...this.#options.service, openGroup })
  }

  protected override newClient(node: ClusterNode, options: KvClientOptions): KvClient {
    return kvClient(node, { ...options, ...this.#options.client })
  }

  protected override outcomeOf(code: string): 'refused' | undefined {
    return code.startsWith('KV_') ? 'refused' : undefined
  }

  /** The same to the byte. */
  protected override contentOf(machine: KvMachine): string {
    const content: string[] = []
    const chunks = machine.snapshot()
    for (let next = chunks.next(); next.done !== true; next = chunks.next())
      content.push(Buffer.from(next.value).toString('latin1'))
    return content.join('')
  }

  protected override async harmLeader(
    which: number,
    leader: SimulatedNode,
    other: SimulatedNode,
  ): Promise<void> {
    if (which === 4) this.handOver(leader, other)
    else if (which === 5 || which === 6) this.killLeader(leader)
    else if (which === 7) await this.bed.isolate(leader)
  }

  #note(node: string): void {
    const machine = this.machine(node)
    if (machine === undefined) return
    // One command of a client is one revision; an entry may hold many that came together.
    for (let revision = (this.log.at(-1)?.revision ?? 0) + 1; revision <= machine.revision; revision++) {
      const events = machine.eventsAt(revision)
      this.world.check(
        'revisions-are-known',
        events !== undefined,
        `"${node}" has come to ${machine.revision} and does not know ${revision}`,
      )
      const logged = { revision, atMs: this.world.now(), events: (events ?? []).map(loggedEvent) }
      this.log.push(logged)
      this.onRevision?.(logged)
    }
  }
}

export function textOf(value: Uint8Array): string {
  return Buffer.from(value).toString('utf8')
}

function loggedEvent(event: {
  readonly type: 'put' | 'delete'
  readonly key: string
  readonly entry: { readonly value: Uint8Array } | undefined
}): LoggedEvent {
  const { type, key, entry } = event
  return entry === undefined ? { type, key } : { type, key, value: textOf(entry.value) }
}
