/**
 * Watches over the others while the group is quiet, by the hosts' own heartbeat, and says when it has to wake: a follower when
 * its leader's host is silent, a leader when no majority of hosts is left. Without it nobody would notice.
 */
import { isQuorum } from '../core/quorum.ts'
import type { MemberPort } from '../host/hosted-member.ts'
import { membersOf, nodeOfMember } from './raft-member-id.ts'
import type { RaftCore } from './raft-core.ts'

/**
 * Election timeouts that a host may be silent. A host that dies is told of by its links, at once; this is for one that hangs,
 * in groups that nobody uses, and half the pulses are half of what such groups cost.
 */
const silentTimeouts = 2

export class MemberWatch {
  readonly #port: MemberPort
  readonly #timeoutMs: number
  #isQuiet = false
  #watched: readonly string[] = []

  constructor(port: MemberPort, electionTimeoutMs: number) {
    this.#port = port
    this.#timeoutMs = silentTimeouts * electionTimeoutMs
  }

  /** Behind each step. Hot: one comparison. */
  stepped(core: RaftCore): void {
    if (core.isQuiet === this.#isQuiet) return
    this.#isQuiet = core.isQuiet
    for (const node of this.#watched) this.#port.watchPulse(node, undefined)
    this.#watched = this.#isQuiet ? this.#relied(core) : []
    for (const node of this.#watched) this.#port.watchPulse(node, this.#timeoutMs)
  }

  /** That node is lost: whether this quiet member has to do something about it. */
  mustWake(node: string, core: RaftCore): boolean {
    const { leader, role, configuration } = core
    if (role !== 'leader') return leader === undefined || nodeOfMember(leader) === node
    return !isQuorum(configuration, (member) => {
      const other = nodeOfMember(member)
      return other === this.#port.node || (other !== node && this.#port.isPulseAlive(other))
    })
  }

  /** A leader relies on all of its followers, a follower on its leader. Both ends watch each other. */
  #relied({ role, leader, configuration }: RaftCore): readonly string[] {
    const nodes =
      role === 'leader'
        ? membersOf(configuration).map(nodeOfMember)
        : leader === undefined
          ? []
          : [nodeOfMember(leader)]
    return [...new Set(nodes)].filter((node) => node !== this.#port.node)
  }
}
