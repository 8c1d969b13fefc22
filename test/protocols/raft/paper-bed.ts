/** Two ways to drive a Raft core in a test: alone, message by message; and a few of them without any fault that is not asked for. */
import type { Random } from '@understudy/runtime'
import { RaftCluster, RaftCore, coresWith } from './core-under-test.ts'
import type {
  Cluster,
  LogEntry,
  MakeRaftCore,
  RaftCoreOptions,
  RaftEffect,
  RaftInput,
  RaftMessage,
  RaftNode,
  RaftStart,
  RaftStatus,
} from './core-under-test.ts'

export const HEARTBEAT = 100
export const TIMEOUT = 1000

/** Chance that always draws the same part of a range. */
export function fixedRandom(fraction: number): Random {
  const random: Random = {
    u32: () => Math.floor(fraction * 2 ** 32),
    int: (low, high) => low + Math.floor(fraction * (high - low + 1)),
    float: () => fraction,
    fork: () => random,
  }
  return random
}

/** A command of one byte, or more. */
export function bytes(value: number, size = 1): Uint8Array {
  return new Uint8Array(size).fill(value)
}

/** A log with one command of each of these terms. */
export function logOf(terms: readonly number[], size = 1): readonly LogEntry[] {
  return terms.map((term, i) => ({ type: 'command', index: i + 1, term, data: bytes(i, size) }))
}

/** The timers of the first node run out first, then those of the second, and so on; all else is at rest. */
export function calmCluster(
  names: readonly string[],
  options: {
    readonly core?: RaftCoreOptions
    readonly voters?: readonly string[]
    readonly learners?: readonly string[]
    readonly starts?: ReadonlyMap<string, Partial<RaftStart>>
    readonly makeCore?: MakeRaftCore
    readonly onStep?: (node: RaftNode, input: RaftInput, effects: readonly RaftEffect[]) => void
  } = {},
): Cluster {
  const cluster = new RaftCluster({
    names,
    voters: options.voters,
    learners: options.learners,
    starts: options.starts,
    makeCore:
      options.makeCore ?? coresWith({ heartbeatMs: HEARTBEAT, electionTimeoutMs: TIMEOUT, ...options.core }),
    choose: () => 0,
    electionTimeoutMs: TIMEOUT,
    randomOf: (name) => fixedRandom(names.indexOf(name) / (names.length + 1)),
    onStep: options.onStep,
  })
  cluster.startAll()
  return cluster
}

/** The same, and the first node leads. */
export function ledCluster(
  names: readonly string[],
  options: Parameters<typeof calmCluster>[1] = {},
): Cluster {
  const cluster = calmCluster(names, options)
  cluster.runUntil(1500)
  const [leader] = cluster.leaders()
  if (leader?.name !== names[0]) throw new Error(`${leader?.id} leads`)
  return cluster
}

/** One core, and nobody else. */
export class LoneCore {
  nowMs = 0
  readonly self: string
  readonly #core: InstanceType<typeof RaftCore>

  constructor(
    options: {
      readonly self?: string
      readonly voters?: readonly string[]
      readonly learners?: readonly string[]
      readonly entries?: readonly LogEntry[]
      readonly term?: number
      readonly vote?: string
      readonly core?: RaftCoreOptions
      readonly start?: Partial<RaftStart>
    } = {},
  ) {
    this.self = options.self ?? 'a'
    const entries = options.entries ?? []
    this.#core = new RaftCore({
      self: this.self,
      start: {
        hard: { term: options.term ?? entries.at(-1)?.term ?? 0, vote: options.vote },
        snapshot: {
          index: 0,
          term: 0,
          configuration: {
            voters: options.voters ?? ['a', 'b', 'c'],
            outgoing: [],
            learners: options.learners ?? [],
            learnersNext: [],
          },
        },
        entries,
        ...options.start,
      },
      options: { heartbeatMs: HEARTBEAT, electionTimeoutMs: TIMEOUT, ...options.core },
      random: fixedRandom(0),
    })
    this.step({ type: 'tick' })
  }

  get status(): RaftStatus {
    return this.#core.status()
  }

  get deadlineMs(): number | undefined {
    return this.#core.nextDeadlineMs()
  }

  step(input: RaftInput): readonly RaftEffect[] {
    return this.#core.step(input, this.nowMs)
  }

  hear(from: string, message: RaftMessage): readonly RaftEffect[] {
    return this.step({ type: 'message', from, message })
  }

  /** Time passes up to its deadline, and it is told. */
  expire(): readonly RaftEffect[] {
    this.nowMs = Math.max(this.nowMs, this.#core.nextDeadlineMs() ?? this.nowMs)
    return this.step({ type: 'tick' })
  }

  /** Time passes until it sends heartbeats. @returns their round */
  beat(): number {
    for (let i = 0; i < 10; i++) {
      const [first] = sent(this.expire(), 'heartbeat')
      if (first !== undefined) return first.round
    }
    throw new Error(`${this.self} sends no heartbeats`)
  }

  /** Its disk has everything that it was given out. */
  flush(): readonly RaftEffect[] {
    const { last } = this.status
    return this.step({ type: 'persisted', upTo: last })
  }

  /** Campaigns, and is elected by everybody else. Its noop is not committed yet. */
  lead(): readonly RaftEffect[] {
    for (let i = 0; i < 10 && this.status.role === 'follower'; i++) this.expire()
    const { configuration } = this.status
    const others = [...configuration.voters, ...configuration.outgoing].filter((id) => id !== this.self)
    const effects: RaftEffect[] = []
    for (const id of others) {
      const { role, term } = this.status
      if (role === 'pre-candidate')
        effects.push(...this.hear(id, { type: 'pre-vote-reply', term: term + 1, granted: true }))
    }
    for (const id of others) {
      const { role, term } = this.status
      if (role === 'candidate') effects.push(...this.hear(id, { type: 'vote-reply', term, granted: true }))
    }
    if (this.status.role !== 'leader') throw new Error(`${this.self} is ${this.status.role}`)
    return effects
  }

  /** All its voters acknowledge all it has. */
  settle(): readonly RaftEffect[] {
    const effects = [...this.flush()]
    const { term, last, configuration } = this.status
    for (const id of [...configuration.voters, ...configuration.learners]) {
      if (id === this.self) continue
      effects.push(...this.hear(id, { type: 'append-reply', term, index: last.index, rejected: undefined }))
    }
    return effects
  }
}

/** The messages of these effects, of these types. */
export function sent<T extends RaftMessage['type']>(
  effects: readonly RaftEffect[],
  type: T,
): readonly (RaftMessage & { readonly type: T })[] {
  return effects.flatMap((effect) => {
    if (effect.type !== 'send' && effect.type !== 'send-durable') return []
    return effect.message.type === type ? [effect.message as RaftMessage & { readonly type: T }] : []
  })
}

/** The effects of that type. */
export function only<T extends RaftEffect['type']>(
  effects: readonly RaftEffect[],
  type: T,
): readonly (RaftEffect & { readonly type: T })[] {
  return effects.filter((effect): effect is RaftEffect & { readonly type: T } => effect.type === type)
}
