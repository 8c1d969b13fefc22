/**
 * A consensus group without consensus, for tests of what stands on one: a log in memory that commits at once, with a leader
 * that the test chooses, replies that are lost, and members that lag. Sessions are kept as real ones are.
 */
import { encode } from '@understudy/runtime/codec'
import type {
  ConsensusGroup,
  GroupMember,
  GroupStatus,
  ProposeOptions,
  ReadOptions,
} from '../core/consensus-group.ts'
import {
  GroupClosed,
  GroupOverloaded,
  NotLeader,
  OutcomeUnknown,
  SessionExpired,
} from '../core/consensus-error.ts'
import { SessionTable } from '../core/session-table.ts'
import type { StateMachine } from '../core/state-machine.ts'

export interface FakeGroupOptions<Result> {
  readonly name?: string | undefined
  /** Names of the nodes; the first leads. */
  readonly nodes: readonly string[]
  /** The state of a member. */
  readonly machine: (node: string) => StateMachine<Result>
  /** The clock behind the log's time. Milliseconds. */
  readonly nowMs: () => number
  /** Needed for `delayMs`. */
  readonly setTimer?: ((delayMs: number, fire: () => void) => void) | undefined
}

interface Entry {
  readonly index: number
  readonly term: number
  readonly timeMs: number
  readonly data: Uint8Array
}

interface FakeMember<Result> {
  readonly node: string
  machine: StateMachine<Result>
  readonly listeners: Set<(status: GroupStatus) => void>
  applied: number
  isHeld: boolean
  isClosed: boolean
  /** It hears nobody. */
  isBlind: boolean
}

/** See the head of this file. */
export class FakeGroup<Result> {
  readonly #options: FakeGroupOptions<Result>
  readonly #members = new Map<string, FakeMember<Result>>()
  readonly #log: Entry[] = []
  /** What the first member that applied an entry got: all others must get the same. */
  readonly #results = new Map<number, Result>()
  readonly #sessions = new SessionTable<Result>()
  #leader: string | undefined
  #term = 1
  #timeMs = 0
  #index = 0
  /** How many of the next proposals are applied but not answered, or neither. */
  #lostReplies = 0
  #lostProposals = 0
  #overloads = 0
  /** Says of which further proposals, counted from 0, the answer is lost. */
  isReplyLost: (count: number) => boolean = () => false
  #proposals = 0
  /** How long every answer takes. Milliseconds. */
  delayMs = 0
  /** Commands that were applied, in order: what a client asked for twice must be here once. */
  readonly applied: Uint8Array[] = []

  constructor(options: FakeGroupOptions<Result>) {
    this.#options = options
    this.#leader = options.nodes[0]
    for (const node of options.nodes) {
      const machine = options.machine(node)
      this.#members.set(node, {
        node,
        machine,
        listeners: new Set(),
        applied: 0,
        isHeld: false,
        isClosed: false,
        isBlind: false,
      })
    }
  }

  get leader(): string | undefined {
    return this.#leader
  }

  get term(): number {
    return this.#term
  }

  /** Another leader, in a new term; `undefined`: none. */
  elect(node: string | undefined): void {
    this.#leader = node
    if (node !== undefined) this.#term++
    for (const member of this.#members.values()) this.#tell(member)
  }

  /** The next `count` proposals are applied, and whoever proposed them hears that the outcome is unknown. */
  loseReplies(count: number): void {
    this.#lostReplies = count
  }

  /** The next `count` proposals come to nothing, and whoever proposed them hears that the outcome is unknown. */
  loseProposals(count: number): void {
    this.#lostProposals = count
  }

  /** The next `count` proposals are refused. */
  overload(count: number): void {
    this.#overloads = count
  }

  /** A member that applies nothing until it is let go. */
  hold(node: string): void {
    this.#member(node).isHeld = true
  }

  letGo(node: string): void {
    this.#member(node).isHeld = false
    this.#applyAll()
  }

  /** Another life of a member: an empty state, to which everything is applied anew, one entry at a time. */
  restart(node: string): void {
    const member = this.#member(node)
    member.machine = this.#options.machine(node)
    member.applied = 0
    this.#apply(member, false)
  }

  /** A member that is cut off from the others: it applies nothing and knows no leader. For good. */
  blind(node: string): void {
    const member = this.#member(node)
    member.isBlind = true
    member.isHeld = true
    this.#tell(member)
  }

  /** Ends sessions that were not used for their time. */
  expireSessions(): void {
    this.#sessions.expire(this.#now())
  }

  /** The handle of one member. */
  group(node: string): ConsensusGroup<Result> {
    const member = this.#member(node)
    return {
      name: this.#options.name ?? 'fake',
      propose: (command, options) => this.#propose(member, command, options),
      read: (options) => this.#read(member, options),
      openSession: ({ ttlMs }) => this.#openSession(member, ttlMs),
      status: () => this.#status(member),
      members: () => this.#memberList(),
      onStatus: (listener) => {
        member.listeners.add(listener)
        return () => member.listeners.delete(listener)
      },
      close: () => {
        member.isClosed = true
        this.#tell(member)
        return Promise.resolve()
      },
    }
  }

  async #propose(
    member: FakeMember<Result>,
    command: Uint8Array,
    options: ProposeOptions = {},
  ): Promise<Result> {
    const refusal = this.#refusal(member)
    if (refusal !== undefined) throw refusal
    if (options.term !== undefined && options.term !== this.#term)
      throw new NotLeader(this.#name, this.#leader)
    if (this.#overloads > 0) {
      this.#overloads--
      throw new GroupOverloaded('Too much is waiting')
    }
    if (this.#lostProposals > 0) {
      this.#lostProposals--
      await this.#wait()
      throw new OutcomeUnknown('The proposal was lost')
    }
    const { session } = options
    const timeMs = this.#now()
    const verdict = session === undefined ? undefined : this.#sessions.check(session, timeMs)
    const isLost = this.isReplyLost(this.#proposals++) || this.#lostReplies > 0
    if (this.#lostReplies > 0) this.#lostReplies--
    if (verdict?.type === 'expired') throw new SessionExpired(session?.session ?? 0)
    if (verdict?.type === 'full') throw new GroupOverloaded('The session has too many unanswered commands')
    if (verdict?.type === 'answered') throw new OutcomeUnknown('The command was answered before')
    let result: Result
    if (verdict?.type === 'known') result = verdict.result
    else {
      result = this.#append(member, command, timeMs)
      if (session !== undefined) this.#sessions.keep(session, result)
    }
    await this.#wait()
    if (isLost) throw new OutcomeUnknown('The reply was lost')
    return result
  }

  #append(member: FakeMember<Result>, data: Uint8Array, timeMs: number): Result {
    const index = ++this.#index
    this.#log.push({ index, term: this.#term, timeMs, data })
    this.applied.push(data)
    this.#apply(member, true)
    this.#applyAll()
    return this.#results.get(index) as Result
  }

  #applyAll(): void {
    for (const member of this.#members.values()) this.#apply(member, false)
  }

  #apply(member: FakeMember<Result>, isLeader: boolean): void {
    if (member.isHeld && !isLeader) return
    for (const entry of this.#log.slice(member.applied)) {
      member.applied = this.#log.indexOf(entry, member.applied) + 1
      const result = member.machine.apply(entry)
      const known = this.#results.get(entry.index)
      if (known === undefined) this.#results.set(entry.index, result)
      else if (Buffer.compare(encode(known), encode(result)) !== 0) {
        throw new Error(`Member "${member.node}" has another result than the others at index ${entry.index}`)
      }
    }
  }

  async #read(
    member: FakeMember<Result>,
    { consistency = 'linearizable' }: ReadOptions = {},
  ): Promise<number> {
    if (member.isClosed) throw new GroupClosed('The group is closed here')
    if (consistency === 'local') return member.applied
    if (this.#leader === undefined || member.isBlind) throw new NotLeader(this.#name, undefined)
    if (consistency === 'lease' && this.#leader !== member.node) throw new NotLeader(this.#name, this.#leader)
    await this.#wait()
    if (member.applied < this.#log.length) throw new OutcomeUnknown('This member is behind')
    return member.applied
  }

  async #openSession(member: FakeMember<Result>, ttlMs: number): Promise<number> {
    const refusal = this.#refusal(member)
    if (refusal !== undefined) throw refusal
    const index = ++this.#index
    this.#sessions.open(index, ttlMs, this.#now())
    await this.#wait()
    return index
  }

  #refusal(member: FakeMember<Result>): Error | undefined {
    if (member.isClosed) return new GroupClosed('The group is closed here')
    return this.#leader === member.node ? undefined : new NotLeader(this.#name, this.#leader)
  }

  #status(member: FakeMember<Result>): GroupStatus {
    const { node, applied, isClosed, isBlind } = member
    const role = isClosed ? 'closed' : node === this.#leader ? 'leader' : 'follower'
    return {
      name: this.#name,
      node,
      role,
      leader: isBlind ? undefined : this.#leader,
      term: this.#term,
      commit: this.#log.length,
      applied,
      members: this.#memberList(),
    }
  }

  #memberList(): readonly GroupMember[] {
    return [...this.#members.keys()].map((node) => ({ node, store: `store-${node}`, role: 'voter' }))
  }

  #tell(member: FakeMember<Result>): void {
    for (const listener of member.listeners) listener(this.#status(member))
  }

  #now(): number {
    this.#timeMs = Math.max(this.#timeMs, Math.floor(this.#options.nowMs()))
    return this.#timeMs
  }

  #wait(): Promise<void> {
    const { setTimer } = this.#options
    const { delayMs } = this
    if (delayMs === 0 || setTimer === undefined) return Promise.resolve()
    return new Promise((resolve) => setTimer(delayMs, resolve))
  }

  #member(node: string): FakeMember<Result> {
    const member = this.#members.get(node)
    if (member === undefined) throw new RangeError(`There is no member "${node}"`)
    return member
  }

  get #name(): string {
    return this.#options.name ?? 'fake'
  }
}
