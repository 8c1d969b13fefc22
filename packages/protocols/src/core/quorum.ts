/**
 * Quorum arithmetic, for all protocols: who is enough. Pure, and told apart from whoever counts, as etcd-io/raft does
 * (quorum/majority.go, quorum/joint.go); its files of cases are our tests.
 */

/** Whose voices count. The ids of each list are distinct. */
export interface QuorumConfiguration {
  readonly voters: readonly string[]
  /** While joint: the old voters. Both lists have to agree then (Raft paper, section 6). Else empty. */
  readonly outgoing: readonly string[]
}

export type VoteResult = 'won' | 'lost' | 'pending'

/** Sizes of the quorums of two phases, such as elections and replication, that meet in at least one member. */
export interface FlexibleQuorums {
  readonly members: number
  /** Phase 1: elects, prepares, reads what may have been chosen. */
  readonly first: number
  /** Phase 2: accepts, replicates. */
  readonly second: number
}

/** Sizes where up to `faulty` members may lie. */
export interface ByzantineQuorums {
  readonly members: number
  /** The most that may be Byzantine: f, of at least 3f + 1 members. */
  readonly faulty: number
  /** Any two quorums share a member that is honest: 2f + 1 of 3f + 1. */
  readonly quorum: number
  /** So many hold at least one that is honest: f + 1. */
  readonly honest: number
}

/** Up to so many voters `committedIndex` makes no garbage. */
const scratchVoters = 7
const scratch = new Float64Array(scratchVoters)

/** More than half: 2 of 3, 3 of 4, 3 of 5. Of 0 members it is 1, which nobody reaches. */
export function majoritySize(members: number): number {
  return Math.floor(members / 2) + 1
}

/**
 * The highest index that a majority of the voters has acknowledged, and while joint a majority of the outgoing voters too:
 * the lower of both. Voters of whom nothing is known count as 0. Also right for anything else that grows and that a
 * majority must have reached: rounds of heartbeats, times of contact.
 *
 * Hot: asks once for each voter of each list, O(n^2) comparisons at worst, no garbage for up to 7 voters a list.
 *
 * @param ackedIndexOf does not call back into this function
 * @returns Infinity for a configuration without voters: there is nothing to wait for (as in etcd)
 */
export function committedIndex(
  configuration: QuorumConfiguration,
  ackedIndexOf: (id: string) => number | undefined,
): number {
  const { voters, outgoing } = configuration
  const incoming = majorityIndex(voters, ackedIndexOf)
  return outgoing.length === 0 ? incoming : Math.min(incoming, majorityIndex(outgoing, ackedIndexOf))
}

/**
 * How an election stands: won when a majority has said yes, lost when no majority can any more, else pending; while joint
 * both lists have to be won, and losing one is enough to lose. A configuration without voters is won (as in etcd).
 *
 * @param voteOf yes, no, or `undefined` for whom nothing was heard of
 */
export function voteResult(
  configuration: QuorumConfiguration,
  voteOf: (id: string) => boolean | undefined,
): VoteResult {
  const { voters, outgoing } = configuration
  const incoming = majorityVote(voters, voteOf)
  if (outgoing.length === 0 || incoming === 'lost') return incoming
  const old = majorityVote(outgoing, voteOf)
  return incoming === 'won' || old === 'lost' ? old : 'pending'
}

/** True when those for whom `isIn` says so are enough to elect and to commit. */
export function isQuorum(configuration: QuorumConfiguration, isIn: (id: string) => boolean): boolean {
  return voteResult(configuration, isIn) === 'won'
}

/**
 * Quorums of different sizes for the two phases (Howard, Malkhi, Spiegelman: Flexible Paxos, 2016, section 3): small ones
 * for what is frequent, at the price of large ones for what is rare. Changing them is a change of the configuration.
 *
 * @param sizes one of `first` and `second` may be left out: it becomes the smallest that is safe; without both, majorities
 * @throws {RangeError} unless `first + second > members` and all are whole numbers from 1 to `members`
 */
export function flexibleQuorums(
  members: number,
  sizes: { readonly first?: number | undefined; readonly second?: number | undefined } = {},
): FlexibleQuorums {
  checkMembers(members)
  const first =
    sizes.first ?? (sizes.second === undefined ? majoritySize(members) : members - sizes.second + 1)
  const second = sizes.second ?? members - first + 1
  checkSize('first', first, members)
  checkSize('second', second, members)
  if (first + second <= members) {
    throw new RangeError(
      `Cannot use quorums of ${first} and ${second} of ${members} members: two may have nobody in common; ` +
        `first + second must be above ${members}, so with this first, second must be at least ${members - first + 1}`,
    )
  }
  return { members, first, second }
}

/**
 * Quorums where members may lie (Castro, Liskov: PBFT, 1999, section 3): 2f + 1 of 3f + 1. For 5 or 6 members f is
 * still 1, and the quorum is 4: with 3 two quorums might share only the liar.
 *
 * @throws {RangeError} unless `members` is a whole number above 0
 */
export function byzantineQuorums(members: number): ByzantineQuorums {
  checkMembers(members)
  const faulty = Math.floor((members - 1) / 3)
  return { members, faulty, quorum: Math.floor((members + faulty) / 2) + 1, honest: faulty + 1 }
}

/**
 * Size of a fast quorum: the smallest where any two of them and any one of `classic` share a member (Lamport: Fast Paxos,
 * 2006, section 3.3). With majorities it is three quarters, rounded up: 3 of 4, 4 of 5, 6 of 7.
 *
 * @param classic size of a classic quorum. @default the majority
 * @throws {RangeError} unless `classic` is at least a majority and at most `members`
 */
export function fastQuorumSize(members: number, classic: number = majoritySize(members)): number {
  checkMembers(members)
  checkSize('classic', classic, members)
  if (2 * classic <= members) {
    throw new RangeError(
      `Cannot use classic quorums of ${classic} of ${members} members: two may have nobody in common; ` +
        `expected at least ${majoritySize(members)}`,
    )
  }
  // 2 * fast + classic > 2 * members
  return Math.floor((2 * members - classic) / 2) + 1
}

function majorityIndex(voters: readonly string[], ackedIndexOf: (id: string) => number | undefined): number {
  const { length } = voters
  if (length === 0) return Infinity
  const sorted = length <= scratchVoters ? scratch : new Float64Array(length)
  // Sorted while it is filled: for so few this is faster than any sort, and it makes nothing.
  for (let i = 0; i < length; i++) {
    const index = ackedIndexOf(voters[i] as string) ?? 0
    let at = i
    for (; at > 0 && (sorted[at - 1] as number) > index; at--) sorted[at] = sorted[at - 1] as number
    sorted[at] = index
  }
  return sorted[length - majoritySize(length)] as number
}

function majorityVote(voters: readonly string[], voteOf: (id: string) => boolean | undefined): VoteResult {
  const { length } = voters
  if (length === 0) return 'won'
  let granted = 0
  let unheard = 0
  for (let i = 0; i < length; i++) {
    const vote = voteOf(voters[i] as string)
    if (vote === true) granted++
    else if (vote === undefined) unheard++
  }
  const needed = majoritySize(length)
  if (granted >= needed) return 'won'
  return granted + unheard >= needed ? 'pending' : 'lost'
}

function checkMembers(members: number): void {
  if (Number.isSafeInteger(members) && members >= 1) return
  throw new RangeError(`Cannot form quorums: members must be a whole number of at least 1, got ${members}`)
}

function checkSize(name: string, size: number, members: number): void {
  if (Number.isSafeInteger(size) && size >= 1 && size <= members) return
  throw new RangeError(
    `Cannot form quorums of ${members} members: ${name} must be a whole number from 1 to ${members}, got ${size}`,
  )
}
