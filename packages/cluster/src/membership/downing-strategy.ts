/**
 * Which side stays, judged by one of its members from its own view. Pure arithmetic; when to act on it is the core's.
 *
 * A side is what a node can reach, the other side is all the rest, so each side of a partition in three judges against
 * the sum of the other two. What makes two verdicts agree, although the two views may differ by changes of membership
 * that raced with the cut (M11; Akka: `majorityDecisionWhenIncludingMembershipChangesEdgeCase`): our side is counted as
 * few as could be, the other as many as could be.
 */
import type { CheckedDowningOptions } from './downing-options.ts'
import { byName, lifeKey } from './reachability.ts'
import type { DowningMember } from './reachability.ts'

/** Why a side must go. */
export type LossReason =
  /** Fewer counted members than over there, or as many and the lowest name is there. */
  | 'minority'
  /** A majority as far as we know, but not if members that we saw joining are alive over there by now. */
  | 'membership-race'
  /** Fewer counted members than `quorumSize`. */
  | 'below-quorum'
  /** More than `2 * quorumSize - 1` counted members: the other side may have a quorum too. */
  | 'too-many-members'
  /** The oldest counted member is over there. */
  | 'oldest-elsewhere'
  /** The oldest counted member is here, and alone. */
  | 'oldest-alone'
  /** Nobody on this side counts. */
  | 'nobody-counted'
  | 'down-all'

/** A verdict about our own side. */
export interface Verdict {
  /** Undefined: we stay; with the strategy `lease`, if we get it. */
  readonly loss: LossReason | undefined
  /** Whether we have the majority, or the lowest name of equal halves. Only `lease` asks. */
  readonly isMajority: boolean
  /** The counted member of our side with the lowest name, as a life key: speaks for the side. */
  readonly speaker: string | undefined
}

/** Counted members, each list sorted by name. */
interface Count {
  /** On our side, as few as could be. */
  readonly ours: readonly DowningMember[]
  /** On the other side, as far as we know. */
  readonly theirs: readonly DowningMember[]
  /** On the other side, as many as could be. */
  readonly theirsAtMost: readonly DowningMember[]
}

/**
 * Judges our side. `members` is the whole table, sorted by name; `isLost` says who is on the other side. O(members).
 *
 * Counted are `alive` members (with `role`: those that have it). Not counted are `joining` and `leaving` ones, and on our
 * side nor are those that turned alive since there was trouble (`wasAlive` false): the other side cannot know of them.
 * On the other side `joining` ones count as well, since they may be alive by now; leaving ones do not, since nobody comes
 * back from leaving. While not one member is `alive`, be it that a cluster forms or that it shuts down, `joining` ones
 * count in their place, and when there are none of those either, `leaving` ones.
 */
export function judge(
  options: CheckedDowningOptions,
  members: readonly DowningMember[],
  isLost: (member: DowningMember) => boolean,
  wasAlive: (member: DowningMember) => boolean,
): Verdict {
  const count = countSides(options, members, isLost, wasAlive)
  const isMajority = hasMajority(count.ours, count.theirsAtMost)
  const lowest = count.ours[0]
  return {
    loss: findLoss(options, count, isMajority),
    isMajority,
    speaker: lowest === undefined ? undefined : lifeKey(lowest),
  }
}

/** The members that count, wherever they are: what `quorumSize` is compared with. O(members). */
export function countedMembers(
  options: CheckedDowningOptions,
  members: readonly DowningMember[],
): readonly DowningMember[] {
  return members.filter((member) => member.status === 'alive' && hasRole(options, member))
}

function findLoss(options: CheckedDowningOptions, count: Count, isMajority: boolean): LossReason | undefined {
  const { ours, theirs, theirsAtMost } = count
  if (options.strategy === 'down-all') return 'down-all'
  if (ours.length === 0) return 'nobody-counted'
  switch (options.strategy) {
    case 'keep-majority':
      if (isMajority) return undefined
      return hasMajority(ours, theirs) ? 'membership-race' : 'minority'
    case 'static-quorum':
      if (ours.length + theirsAtMost.length > 2 * options.quorumSize - 1) return 'too-many-members'
      return ours.length >= options.quorumSize ? undefined : 'below-quorum'
    case 'keep-oldest': {
      const loss = findOldestLoss(options, ours, theirs)
      if (loss !== undefined) return loss
      return findOldestLoss(options, ours, theirsAtMost) === undefined ? undefined : 'membership-race'
    }
    case 'lease':
      return undefined
    default:
      return unreachable(options.strategy)
  }
}

function hasMajority(ours: readonly DowningMember[], theirs: readonly DowningMember[]): boolean {
  if (ours.length !== theirs.length) return ours.length > theirs.length
  const [our, their] = [ours[0], theirs[0]]
  return our !== undefined && their !== undefined && our.name < their.name
}

/** As Akka: an oldest that is alone goes if there are two others or more; of two nodes the oldest stays. */
function findOldestLoss(
  options: CheckedDowningOptions,
  ours: readonly DowningMember[],
  theirs: readonly DowningMember[],
): LossReason | undefined {
  const oldest = [...ours, ...theirs].sort((a, b) => a.incarnation - b.incarnation || byName(a, b))[0]
  const isOurs = oldest !== undefined && ours.includes(oldest)
  if (isOurs)
    return options.downIfAlone && ours.length === 1 && theirs.length >= 2 ? 'oldest-alone' : undefined
  return options.downIfAlone && theirs.length === 1 && ours.length >= 2 ? undefined : 'oldest-elsewhere'
}

function countSides(
  options: CheckedDowningOptions,
  members: readonly DowningMember[],
  isLost: (member: DowningMember) => boolean,
  wasAlive: (member: DowningMember) => boolean,
): Count {
  const status = (['alive', 'joining', 'leaving'] as const).find((one) =>
    members.some((m) => m.status === one),
  )
  const ours: DowningMember[] = []
  const theirs: DowningMember[] = []
  const theirsAtMost: DowningMember[] = []
  for (const member of members) {
    if (!hasRole(options, member)) continue
    const isCounted = member.status === status
    if (isLost(member)) {
      if (isCounted) theirs.push(member)
      if (isCounted || member.status === 'joining') theirsAtMost.push(member)
    } else if (isCounted && (status !== 'alive' || wasAlive(member))) {
      ours.push(member)
    }
  }
  return { ours, theirs, theirsAtMost }
}

function hasRole(options: CheckedDowningOptions, member: DowningMember): boolean {
  return options.role === undefined || member.roles.includes(options.role)
}

function unreachable(value: never): never {
  throw new TypeError(`Cannot happen: ${JSON.stringify(value)}`)
}
