/**
 * What one look at the membership table says: whether this node would have to go, and who else would. Pure; nothing here
 * knows of time.
 *
 * Two steps. Between sides the strategy judges, once with the unreachable taken for lost, once with the suspected too: a
 * side stays only if both say so. Within the side that stays, members that miss each other are thinned out
 * (`connectedNames`), as all of its members do alike.
 */
import type { CheckedDowningOptions } from './downing-options.ts'
import { countedMembers, judge } from './downing-strategy.ts'
import type { LossReason } from './downing-strategy.ts'
import { connectedNames, lifeKey, missingEdges } from './reachability.ts'
import type { DowningMember, MissingEdges } from './reachability.ts'

/** One look. Members and names are sorted by name. */
export interface DowningPlan {
  /** Somebody is unreachable or suspected, or members miss each other. */
  readonly isTroubled: boolean
  /** Why this node would have to go; undefined if it stays. */
  readonly loss: LossReason | 'indirectly-connected' | undefined
  /** To be declared down if we stay. */
  readonly unreachable: readonly DowningMember[]
  /** To be declared down if we stay: reachable, but not by all that stay. */
  readonly indirect: readonly DowningMember[]
  /** Whether this node may declare others down: an alive member, or one of a cluster without any. */
  readonly isDecider: boolean
  /** For `lease`. */
  readonly isMajority: boolean
  /** For `lease`: under whose life key our side asks. */
  readonly speaker: string | undefined
  /** Equal for two looks that see the same counted members, reachability and claims. */
  readonly key: string
  /** Unreachable members and pairs that miss each other: what can recover. */
  readonly faults: ReadonlySet<string>
}

/**
 * Looks. `members` must be sorted by name; without the node itself among them there is nothing to judge.
 * O(members * (edges + 1)).
 */
export function planDowning(
  options: CheckedDowningOptions,
  members: readonly DowningMember[],
  wasAlive: (member: DowningMember) => boolean,
): DowningPlan {
  const self = members.find((member) => member.isSelf)
  const side = members.filter((member) => member.isSelf || member.reachable)
  const unreachable = members.filter((member) => !member.isSelf && !member.reachable)
  const edges = missingEdges(side)
  const isFaulty = unreachable.length > 0 || edges.size > 0
  const isDoubtful = members.some((member) => !member.isSelf && member.reachable && member.suspected)
  const facts = { unreachable, key: keyOf(members, edges), faults: faultsOf(unreachable, side, edges) }
  if (self === undefined || !(isFaulty || isDoubtful)) {
    const idle = { loss: undefined, indirect: [], isDecider: false, isMajority: true, speaker: undefined }
    return { ...facts, ...idle, isTroubled: false }
  }

  const isLost = (member: DowningMember): boolean => !member.isSelf && !member.reachable
  const isMaybeLost = (member: DowningMember): boolean =>
    isLost(member) || (!member.isSelf && member.suspected)
  const now = isFaulty ? judge(options, members, isLost, wasAlive) : undefined
  const soon = judge(options, members, isMaybeLost, wasAlive)
  const kept = connectedNames(
    side.map(({ name }) => name),
    edges,
    new Set(side.filter(({ status }) => status === 'joining').map(({ name }) => name)),
  )
  const staying = side.filter(({ name }) => kept.has(name))
  return {
    ...facts,
    isTroubled: true,
    loss:
      now?.loss ??
      soon.loss ??
      (kept.has(self.name) ? undefined : 'indirectly-connected') ??
      (keepsQuorum(options, side, staying) ? undefined : 'below-quorum'),
    indirect: side.filter(({ name }) => !kept.has(name)),
    isDecider: self.status === 'alive' || !staying.some(({ status }) => status === 'alive'),
    isMajority: soon.isMajority,
    speaker: soon.speaker,
  }
}

/** Who set a quorum wants it after the thinning out as well. */
function keepsQuorum(
  options: CheckedDowningOptions,
  side: readonly DowningMember[],
  staying: readonly DowningMember[],
): boolean {
  return staying.length === side.length || countedMembers(options, staying).length >= options.quorumSize
}

/** Joining and leaving members that can be reached are left out: they change nothing, and come and go. */
function keyOf(members: readonly DowningMember[], edges: MissingEdges): string {
  const lives = members
    .filter(({ status, isSelf, reachable }) => status === 'alive' || !(isSelf || reachable))
    .map((member) => `${lifeKey(member)} ${member.status} ${member.isSelf || member.reachable}`)
  const missing = [...edges].map(([name, others]) => `${name} - ${[...others].sort().join(' ')}`)
  return [...lives, ...missing].join('\n')
}

/**
 * By lives: that a pair misses each other is over when one of the two comes back as another life, but not mended. Pairs with
 * joining members are left out: claims name names, so those about the life before are held against it for a moment.
 */
function faultsOf(
  unreachable: readonly DowningMember[],
  side: readonly DowningMember[],
  edges: MissingEdges,
): ReadonlySet<string> {
  const faults = new Set(unreachable.map(lifeKey))
  const lives = new Map(
    side.filter(({ status }) => status !== 'joining').map((member) => [member.name, lifeKey(member)]),
  )
  for (const [name, others] of edges) {
    const life = lives.get(name)
    for (const other of life === undefined ? [] : others) {
      const otherLife = lives.get(other)
      if (name < other && otherLife !== undefined) faults.add(`${life} - ${otherLife}`)
    }
  }
  return faults
}
