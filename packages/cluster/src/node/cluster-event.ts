/** What happens among the nodes, for people and programs: each fact as an event, a log line, and a figure. */
import { silentLogger, type EventStream, type Logger, type Metrics } from '@understudy/runtime'
import type { DownReason, SuspectReason } from '../membership/membership.ts'
import type { MembershipEffect } from '../membership/membership.ts'
import type { View } from '../membership/view.ts'

/** Past-tense facts, as this node sees them. For one life: joined, up, then suspected, unreachable and recovered in turns,
 * leaving, and at last down or left, once. */
export interface ClusterEvents {
  /** Met; it owns no places yet. */
  'member-joined': { readonly name: string; readonly incarnation: number; readonly address: string }
  /** From now on it owns places. */
  'member-up': { readonly name: string; readonly incarnation: number; readonly address: string }
  /** It may be dead; it keeps its places until it is down or has recovered. */
  'member-suspected': {
    readonly name: string
    readonly incarnation: number
    readonly reason: SuspectReason
    /** Who suspects it. */
    readonly by: string
  }
  /** It did not answer anybody for the whole time of a suspicion. Downing decides what becomes of it. */
  'member-unreachable': { readonly name: string; readonly incarnation: number }
  'member-recovered': { readonly name: string; readonly incarnation: number }
  /** The link to a member broke; another one may be made at once. A hint for whoever waits for it, long before its silence
   * proves anything. */
  'link-lost': { readonly name: string }
  /** It drains: it owns no places any more. */
  'member-leaving': { readonly name: string; readonly incarnation: number }
  'member-down': {
    readonly name: string
    readonly incarnation: number
    readonly reason: DownReason
    readonly by: string
  }
  'member-left': { readonly name: string; readonly incarnation: number }
  'view-changed': { readonly view: View }
  /** This node owns places from now on: it founded the cluster with others, or joined one. */
  'self-up': { readonly how: 'joined' | 'founded'; readonly with: readonly string[] }
  /** This life was given up, or its side of a split lost; the node comes back as another life, or exits. */
  'self-removed': { readonly by: string; readonly reason: string; readonly incarnation: number }
  /** User actors are held: nobody has confirmed that this node still is a member. */
  'self-held': { readonly reason: string }
  'self-released': { readonly heldMs: number }
  /** Two living nodes have one name. */
  'name-conflict': { readonly name: string; readonly addresses: readonly string[] }
  /** What became of a split. */
  'downing-decided': {
    readonly decision: 'down-others' | 'down-self'
    readonly strategy: string
    readonly reason: string
    readonly stays: readonly string[]
    readonly goes: readonly string[]
  }
  /** A source of addresses failed, or said nothing usable. */
  'discovery-problem': { readonly source: string; readonly code: string; readonly message: string }
  /** A peer was turned away, or broke the protocol. */
  'peer-refused': { readonly code: string; readonly reason: string; readonly remoteAddress: string }
}

/** The effects of a membership that tell something and want nothing done. */
export type MemberFact = Extract<
  MembershipEffect,
  {
    readonly type:
      | 'member-joined'
      | 'member-up'
      | 'member-suspected'
      | 'member-unreachable'
      | 'member-recovered'
      | 'member-leaving'
      | 'member-down'
      | 'member-left'
      | 'name-conflict'
      | 'downing-decided'
      | 'quorum-unsafe'
  }
>

/** Where facts go. */
export interface FactSink {
  readonly node: string
  readonly log: Logger
  readonly events: EventStream<ClusterEvents>
  readonly metrics: Metrics
  /** Whether another line of that kind, about that member, is written to the log, or only counted. */
  readonly isWritten: (key: string) => boolean
}

/** What honest members say; a bad one says what it likes, and must not make a series of each. */
const countedReasons: ReadonlySet<string> = new Set([
  'refused',
  'replaced',
  'unreachable',
  'indirectly-connected',
])

export function tellFact(fact: MemberFact, sink: FactSink): void {
  const { node, events, metrics } = sink
  const log = sink.isWritten(keyOf(fact)) ? sink.log : silentLogger
  switch (fact.type) {
    case 'member-joined':
    case 'member-up': {
      const { name, incarnation, address } = fact.member
      const what = fact.type === 'member-up' ? 'is up' : 'has joined'
      const fields = { node, member: name, incarnation, address }
      if (fact.type === 'member-up') log.info(fields, `member "${name}" ${what}`)
      else log.debug(fields, `member "${name}" ${what}`)
      events.emit(fact.type, { name, incarnation, address })
      return
    }
    case 'member-suspected': {
      const { name, incarnation, reason, by } = fact
      log.warn({ node, member: name, incarnation, reason, by }, `member "${name}" may be down: ${reason}`)
      metrics.counter('understudy_members_suspected_total', { reason }).add()
      events.emit('member-suspected', { name, incarnation, reason, by })
      return
    }
    case 'member-unreachable': {
      const { name, incarnation } = fact
      log.warn({ node, member: name, incarnation }, `member "${name}" cannot be reached by anybody`)
      events.emit('member-unreachable', { name, incarnation })
      return
    }
    case 'member-recovered': {
      const { name, incarnation } = fact
      log.info({ node, member: name, incarnation }, `member "${name}" is back`)
      events.emit('member-recovered', { name, incarnation })
      return
    }
    case 'member-leaving': {
      const { name, incarnation } = fact
      log.info({ node, member: name, incarnation }, `member "${name}" is leaving`)
      events.emit('member-leaving', { name, incarnation })
      return
    }
    case 'member-down': {
      const { name, incarnation, reason, by } = fact
      log.warn({ node, member: name, incarnation, reason, by }, `member "${name}" is down: ${reason}`)
      const counted = countedReasons.has(reason) ? reason : 'other'
      metrics.counter('understudy_members_down_total', { reason: counted }).add()
      events.emit('member-down', { name, incarnation, reason, by })
      return
    }
    case 'member-left': {
      const { name, incarnation } = fact
      log.info({ node, member: name, incarnation }, `member "${name}" has left`)
      events.emit('member-left', { name, incarnation })
      return
    }
    case 'name-conflict': {
      const { name, addresses } = fact
      // Who was turned away knows its own address only.
      const who =
        addresses.length > 1
          ? `two living nodes are named "${name}", at ${addresses.join(' and ')}`
          : `another living node is named "${name}", as the one at ${addresses.join()} is`
      log.error({ node, name, addresses }, `${who}: give each a name of its own`)
      events.emit('name-conflict', { name, addresses })
      return
    }
    case 'downing-decided': {
      const { type: _type, ...decided } = fact
      const { decision, strategy, reason, stays, goes } = decided
      const text =
        decision === 'down-self'
          ? `this node goes (${reason}), by ${strategy}`
          : `${goes.join(', ')} must go (${reason}), by ${strategy}; ${stays.join(', ')} stay`
      log.warn({ node, ...decided }, text)
      events.emit('downing-decided', decided)
      return
    }
    case 'quorum-unsafe':
      log.error(
        { node, members: fact.members, quorumSize: fact.quorumSize },
        `${fact.members} members are more than static-quorum is safe for with quorumSize ${fact.quorumSize}: two sides ` +
          `of a split could both have a quorum, so both would stop; raise quorumSize on all nodes`,
      )
      return
    default:
      fact satisfies never
  }
}

function keyOf(fact: MemberFact): string {
  if ('name' in fact) return `${fact.type} ${fact.name}`
  return 'member' in fact ? `${fact.type} ${fact.member.name}` : fact.type
}
