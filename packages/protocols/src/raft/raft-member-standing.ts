/**
 * Whether this member still takes part. Who is in no configuration says hello until it is put into one; who was removed is told
 * so by the leader, and stands still instead of asking for elections that nobody wants.
 */
import type { MemberPort } from '../host/hosted-member.ts'
import { encodeMessage, type GroupMessage } from './message-codec.ts'
import type { RaftCore } from './raft-core.ts'
import { isMemberOf, membersOf, nodeOfMember, storeOfMember } from './raft-member-id.ts'
import type { MemberState } from './raft-member-state.ts'
import type { MemberId, RaftConfiguration } from './raft-message.ts'

export interface MemberStandingOptions {
  readonly port: MemberPort
  readonly self: MemberId
  readonly state: MemberState
  readonly core: () => RaftCore | undefined
  /** Names that the group was opened with: where to ask. */
  readonly nodes: readonly string[]
  readonly helloEveryMs: number
  /** It was removed, or takes part again. */
  readonly onChange: () => void
}

/** Nodes that others may name. */
const toldMax = 256

export class MemberStanding {
  readonly #options: MemberStandingOptions
  /** The configuration at this index was committed without it; `undefined`: it takes part. */
  #removedAt: number | undefined
  #helloMs: number | undefined
  /** Nodes that others named when this member said hello. */
  readonly #told = new Set<string>()

  constructor(options: MemberStandingOptions) {
    this.#options = options
  }

  get isRemoved(): boolean {
    return this.#removedAt !== undefined
  }

  get helloMs(): number | undefined {
    return this.#helloMs
  }

  /**
   * The core begins. With entries, and none that names it, it was removed; without it has yet to be added. An entry that
   * removes it counts when it is applied: until then the others may need its vote, or its lead (thesis, section 4.2.2).
   */
  begin(core: RaftCore, nowMs: number): void {
    this.#helloMs = nowMs
    if (core.last.index > 0 && !this.#isNamed(core)) this.#become(core.last.index)
  }

  /** Sends to a node: to the member with that store, or to whichever there is. */
  send(node: string, message: GroupMessage, store = ''): void {
    this.#options.port.send(node, encodeMessage(store, message), 'control')
  }

  /** Says hello if it is due and this member is in no configuration. */
  sayHello(nowMs: number): void {
    if (this.#helloMs === undefined || nowMs < this.#helloMs) return
    const { core, self, nodes, port, helloEveryMs } = this.#options
    const raft = core()
    if (raft === undefined || this.isRemoved || isMemberOf(raft.configuration, self)) {
      this.#helloMs = undefined
      return
    }
    this.#helloMs = nowMs + helloEveryMs
    const asked = new Set([...membersOf(raft.configuration).map(nodeOfMember), ...nodes, ...this.#told])
    asked.delete(port.node)
    for (const node of [...asked].sort()) this.send(node, { type: 'hello' })
  }

  /**
   * Somebody who is in no configuration says hello, and this member does not lead: it is told who takes part. All whom it
   * knows may have left the group since.
   */
  answerHello(from: MemberId): void {
    const raft = this.#options.core()
    if (raft === undefined || isMemberOf(raft.configuration, from)) return
    const nodes = [...new Set(membersOf(raft.configuration).map(nodeOfMember))]
    this.send(nodeOfMember(from), { type: 'members', nodes }, storeOfMember(from))
  }

  /** The answer to that: says hello to those that are news at once. */
  toldMembers(nodes: readonly string[]): void {
    const { core, self, port } = this.#options
    const raft = core()
    if (raft === undefined || this.isRemoved || isMemberOf(raft.configuration, self)) return
    for (const node of nodes) {
      if (node === port.node || this.#told.has(node) || this.#told.size >= toldMax) continue
      this.#told.add(node)
      this.send(node, { type: 'hello' })
    }
  }

  /** The log may be another one by now, with this member added again. */
  stepped(core: RaftCore): void {
    if (this.#removedAt === undefined || core.last.index <= this.#removedAt) return
    if (isMemberOf(core.configuration, this.#options.self)) this.#become(undefined)
  }

  /** Of a leader: somebody asks for a vote. Who is in no configuration is told so, or it would go on asking. */
  askedForVote(from: MemberId): void {
    const { core, state } = this.#options
    const raft = core()
    if (raft === undefined || raft.role !== 'leader' || state.index !== raft.commit) return
    const { configuration } = raft
    const applied = state.meta.configuration
    if (configuration.outgoing.length > 0 || isMemberOf(configuration, from) || isMemberOf(applied, from))
      return
    this.send(nodeOfMember(from), { type: 'removed', index: raft.commit }, storeOfMember(from))
  }

  /** A configuration is applied, in the place of `before`. */
  applied(before: RaftConfiguration, now: RaftConfiguration, index: number): void {
    const { core, port, self } = this.#options
    const raft = core()
    if (raft === undefined || now.outgoing.length > 0) return
    port.log.info(
      { index, voters: now.voters.map(nodeOfMember), learners: now.learners.map(nodeOfMember) },
      'configuration committed',
    )
    if (raft.role === 'leader') {
      for (const member of membersOf(before)) {
        if (isMemberOf(now, member) || member === self) continue
        this.send(nodeOfMember(member), { type: 'removed', index }, storeOfMember(member))
      }
    }
    if (isMemberOf(now, self) || isMemberOf(raft.configuration, self) || this.isRemoved) return
    if (isMemberOf(before, self)) this.#become(index)
  }

  /** The leader says that the configuration committed at `index` does not name this member. */
  toldRemoved(index: number): void {
    const raft = this.#options.core()
    if (raft === undefined || this.isRemoved) return
    // By its own log it waits to be added, and says hello; or it has a newer configuration that names it.
    if (!this.#isNamed(raft) || raft.commit > index) return
    this.#become(index)
  }

  /** By the newest configuration of its log, or by the one that is applied. */
  #isNamed(core: RaftCore): boolean {
    const { self, state } = this.#options
    return isMemberOf(core.configuration, self) || isMemberOf(state.meta.configuration, self)
  }

  #become(removedAt: number | undefined): void {
    this.#removedAt = removedAt
    if (removedAt !== undefined) {
      this.#options.port.log.info(
        { index: removedAt },
        'removed from the group: this member stands still until a change names its node again',
      )
    }
    this.#options.onChange()
  }
}
