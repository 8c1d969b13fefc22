/** Locks on a bed of their own: what was really granted, and that nothing is left of it in the end. */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import {
  lockClient,
  openLocks,
  type LockClient,
  type LockClientOptions,
  type LockResult,
  type Locks,
  type LockServiceOptions,
  type OpenLocksOptions,
  type StateMachine,
} from '@understudy/protocols'
import type { SimulatedProcess } from '@understudy/runtime/simulation'
import type { BedLife } from '../raft/consensus-bed.ts'
import { ServiceBed, serviceTags, type ServiceBedOptions } from '../service-bed.ts'
import { LockTruth } from './lock-truth.ts'
import type { LockMachine } from './table.ts'

export const lockTags: readonly string[] = [
  ...serviceTags.filter((tag) => tag !== 'session-expired'),
  ...['expired', 'waited'],
]

export interface LockBedOptions extends ServiceBedOptions {
  readonly service?: LockServiceOptions | undefined
  readonly client?: Partial<LockClientOptions> | undefined
}

export class LockBed extends ServiceBed<LockResult, LockMachine, LockClient> {
  readonly truth: LockTruth
  protected override readonly chaosKinds = 14
  protected override readonly lookEveryMs = 20
  readonly #options: LockBedOptions

  constructor(world: World, options: LockBedOptions) {
    super(world, 'locks', options)
    this.#options = options
    this.truth = new LockTruth(world.simulation, (tag) => this.met(tag))
  }

  /** Nobody wants anything any more, and so nothing is left: no hold, no waiter, and in time no session. */
  async clear(withinMs: number): Promise<void> {
    const { world } = this
    for (const [place, client] of this.clients()) await world.attempt(place, () => client.close(), 60_000)
    const untilMs = world.now() + withinMs
    for (;;) {
      const left = this.members.flatMap((node) => this.#leftOn(node))
      if (left.length === 0) return
      world.check('nothing-is-left', world.now() < untilMs, left.join('; '))
      await world.sleep(100)
    }
  }

  protected override openService(life: BedLife, openGroup: OpenLocksOptions['openGroup']): Promise<Locks> {
    return openLocks(life.node, {
      ...this.#options.service,
      openGroup: ({ name, machine }) =>
        openGroup({ name, machine: () => this.#watched(life, machine() as LockMachine) }),
    })
  }

  protected override newClient(node: ClusterNode, options: LockClientOptions): LockClient {
    return lockClient(node, { ...options, ...this.#options.client })
  }

  protected override outcomeOf(code: string): 'refused' | 'unknown' | undefined {
    if (refusals.has(code)) return 'refused'
    return unknowns.has(code) ? 'unknown' : undefined
  }

  /** A restored table may have its names in another order, which nothing depends on: as they are listed, they are sorted. */
  protected override contentOf(machine: LockMachine): string {
    return JSON.stringify([machine.status(), machine.list('', 10_000)])
  }

  protected override harmLeader(which: number, leader: SimulatedNode, other: SimulatedNode): void {
    if (which < 6) this.handOver(leader, other)
    else if (which < 8) this.killLeader(leader)
    else if (which < 9) leader.pause([1_500, 5_000][this.world.choose(2, 'chaos/long')] ?? 1_500)
  }

  /** Within the process of the node: the call stands still while that does, and goes on when the process does. */
  protected override run<T>(life: SimulatedProcess, act: () => Promise<T>): Promise<T> {
    const { world } = this
    return new Promise((resolve, reject) => {
      world.simulation.at(world.now(), life, 'client', () => {
        act().then(resolve, reject)
      })
    })
  }

  #watched(life: BedLife, machine: LockMachine): StateMachine<LockResult> {
    return {
      apply: (command) => {
        const result = machine.apply(command)
        if (life.process.isAlive)
          this.truth.applied(command.index, command.data, result, (session, request) =>
            machine.state(session, request),
          )
        return result
      },
      snapshot: () => machine.snapshot(),
      restore: (chunks) => machine.restore(chunks),
    }
  }

  #leftOn(node: string): readonly string[] {
    const machine = this.machine(node)
    if (machine === undefined) return [`nothing is open on "${node}"`]
    const left = machine
      .list('', 1_000)
      .filter(({ holders, waiting }) => holders.length > 0 || waiting > 0)
      .map(
        ({ name, holders, waiting }) =>
          `"${name}" on "${node}" has ${holders.length} holders, and ${waiting} wait`,
      )
    const { sessions } = machine.status()
    return sessions === 0 ? left : [...left, `"${node}" has ${sessions} sessions`]
  }
}

/** How long the sessions of a run live unheard, in milliseconds. */
export function drawnTtl(world: World): number {
  return [3_000, 8_000][world.choose(2, 'swarm/ttl')] ?? 3_000
}

/** Nothing was done. */
const refusals: ReadonlySet<string> = new Set([
  'LOCK_UNAVAILABLE',
  'LOCK_BAD_REQUEST',
  'LOCK_DEADLOCK',
  'LOCK_UPGRADE',
  'LOCK_NOT_HELD',
  'LOCK_FENCED',
  'LOCK_LOST',
])
/** Nothing is held, but something may have been. */
const unknowns: ReadonlySet<string> = new Set([
  'LOCK_TIMEOUT',
  'LOCK_SESSION_LOST',
  'LOCK_CLIENT_CLOSED',
  'RUNTIME_ABORTED',
])
