/**
 * Whether this member still takes part. Who is in no committed configuration says hello until it is put into one; who was
 * removed is told so by the leader, and stands still instead of asking for elections that nobody wants.
 *
 * An entry that names a newcomer rules before it is committed, and may be lost with the leader that appended it. So it ends the
 * hellos only when it is applied; until then they rest while there is a leader, who has that entry or will say otherwise.
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
/** Who stands still and was never seen in a committed configuration says hello less and less often, down to this multiple. */
const helloGrowthMax = 16

export class MemberStanding {
  readonly #options: MemberStandingOptions
  /** The configuration at this index was committed without it; `undefined`: it takes part. */
  #removedAt: number | undefined
  /** The configuration of its log when it was removed: that one cannot add it again. */
  #removedWith: RaftConfiguration | undefined
  /** A configuration that named it was applied: from then on its removal is one, and no entry that was lost. */
  #wasMember = false
  #helloMs: number | undefined
  #helloEveryMs: number
  /** Nodes that others named when this member said hello. */
  readonly #told = new Set<string>()

  constructor(options: MemberStandingOptions) {
    this.#options = options
    this.#helloEveryMs = options.helloEveryMs
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

  /** Says hello if it is due and this member is in no committed configuration. */
  sayHello(nowMs: number): void {
    if (this.#helloMs === undefined || nowMs < this.#helloMs) return
    const { core, self, nodes, port } = this.#options
    const raft = core()
    if (raft === undefined || this.#isKnown()) {
      this.#helloMs = undefined
      return
    }
    this.#helloMs = nowMs + this.#helloEveryMs
    if (this.isRemoved) {
      const mostMs = helloGrowthMax * this.#options.helloEveryMs
      this.#helloEveryMs = Math.min(2 * this.#helloEveryMs, mostMs)
    } else if (raft.leader !== undefined && isMemberOf(raft.configuration, self)) return
    const asked = new Set([...membersOf(raft.configuration).map(nodeOfMember), ...nodes, ...this.#told])
    asked.delete(port.node)
    for (const node of [...asked].sort()) this.send(node, { type: 'hello' })
  }

  /**
   * Somebody who is in no configuration says hello, and this member does not lead: it is told who takes part. All whom it
   * knows may have left the group since.
   */
  answerHello(from: MemberId): void {
    const { core, state } = this.#options
    const raft = core()
    // Only what is committed says that the leader knows it.
    if (raft === undefined || isMemberOf(state.meta.configuration, from)) return
    const nodes = [...new Set(membersOf(raft.configuration).map(nodeOfMember))]
    this.send(nodeOfMember(from), { type: 'members', nodes }, storeOfMember(from))
  }

  /** The answer to that: says hello to those that are news at once. */
  toldMembers(nodes: readonly string[]): void {
    const { core, port } = this.#options
    if (core() === undefined || this.#isKnown()) return
    for (const node of nodes) {
      if (node === port.node || this.#told.has(node) || this.#told.size >= toldMax) continue
      this.#told.add(node)
      this.send(node, { type: 'hello' })
    }
  }

  /** The log may be another one by now, with this member added again. */
  stepped(core: RaftCore): void {
    if (this.#removedAt === undefined || core.last.index <= this.#removedAt) return
    if (core.configuration === this.#removedWith) return
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
    const isNow = isMemberOf(now, self)
    if (isNow || isMemberOf(before, self)) this.#wasMember = true
    // What the leader said was older than the entry that names it.
    if (isNow && this.#removedAt !== undefined && index > this.#removedAt) this.#become(undefined)
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
    if (isNow || isMemberOf(raft.configuration, self) || this.isRemoved) return
    if (isMemberOf(before, self)) this.#become(index)
  }

  /** The leader says that the configuration committed at `index` does not name this member. */
  toldRemoved(index: number): void {
    const raft = this.#options.core()
    if (raft === undefined || this.isRemoved) return
    // By its own log it waits to be added, and says hello; or it has a newer configuration that names it.
    if (!this.#isNamed(raft) || raft.commit > index) return
    this.#become(index)
    // The entry that named it may be lost, and its node waited for.
    if (!this.#isKnown()) this.#helloMs = this.#options.port.nowMs()
  }

  /** A committed configuration has named it: it is a member, or was one. */
  #isKnown(): boolean {
    const { self, state } = this.#options
    this.#wasMember ||= isMemberOf(state.meta.configuration, self)
    return this.#wasMember
  }

  /** By the newest configuration of its log, or by the one that is applied. */
  #isNamed(core: RaftCore): boolean {
    const { self, state } = this.#options
    return isMemberOf(core.configuration, self) || isMemberOf(state.meta.configuration, self)
  }

  #become(removedAt: number | undefined): void {
    const { core, port, helloEveryMs, onChange } = this.#options
    this.#removedAt = removedAt
    this.#removedWith = removedAt === undefined ? undefined : core()?.configuration
    this.#helloEveryMs = helloEveryMs
    if (removedAt !== undefined) {
      port.log.info(
        { index: removedAt },
        this.#isKnown()
          ? 'removed from the group: this member stands still until a change names its node again'
          : 'not in the group, or not any more: this member stands still until it is added',
      )
    }
    onChange()
  }
}
