/**
 * Who can reach whom, as the members themselves say it, and the largest group that misses nobody of its own. Pure.
 *
 * A member that SWIM reaches through others only is alive to everybody, and yet some cannot talk to it. Left alone,
 * such a cluster has two nodes that both act and never meet. So of members that miss each other one has to go, and all
 * must name the same one: what follows depends on the gossiped claims only, never on who computes it.
 */

/** One row of the membership table, as far as downing needs it. Plain data. */
export interface DowningMember {
  /** Unique in the cluster. */
  readonly name: string
  /** Only grows from one life of the node to the next. */
  readonly incarnation: number
  /** Where it listens; for logs, no decision depends on it. */
  readonly address: string
  readonly status: 'joining' | 'alive' | 'leaving'
  /** False: the suspicion of it has run out, and nobody has refuted it. */
  readonly reachable: boolean
  /**
   * It may be lost. True while SWIM suspects it, and better also while it owes this node an answer (see `downingBound`):
   * the side that loses a partition finds out by this. A false alarm costs nothing if it ends within `stableAfterMs`.
   */
  readonly suspected: boolean
  /** Its own claim, gossiped: names of members that it has not reached directly for long. */
  readonly cannotReach: readonly string[]
  readonly isSelf: boolean
  readonly roles: readonly string[]
}

/** Pairs of members that miss each other: name -> names, both ways, in the order of names. */
export type MissingEdges = ReadonlyMap<string, ReadonlySet<string>>

/** The identity of a life, as a key: `name/incarnation`. */
export function lifeKey(member: { readonly name: string; readonly incarnation: number }): string {
  return `${member.name}/${member.incarnation}`
}

/** Compares by UTF-16 code unit, the same on every machine. */
export function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}

/**
 * Claims that are looked at, over all members: up to 1,024 members all that they may make (64 each), above of each the first
 * ones, the same on every node. A bad member may invent ten thousand members with 64 claims each.
 */
const claimsMax = 65_536

/**
 * The edges that are missing between these members. A claim of one of the two is enough: a link that carries one way
 * only is of no use. Claims about members that are not among them, and about oneself, are ignored.
 *
 * `members` must be sorted by name. O(members + claims).
 */
export function missingEdges(members: readonly DowningMember[]): MissingEdges {
  const found = new Map<string, Set<string>>(members.map(({ name }) => [name, new Set()]))
  const claimsEach = Math.max(1, Math.floor(claimsMax / members.length))
  for (const member of members) {
    const { cannotReach } = member
    for (const other of cannotReach.length > claimsEach ? cannotReach.slice(0, claimsEach) : cannotReach) {
      const back = found.get(other)
      if (back === undefined || other === member.name) continue
      found.get(member.name)?.add(other)
      back.add(member.name)
    }
  }
  for (const [name, others] of found) if (others.size === 0) found.delete(name)
  return found
}

/**
 * The names that may stay: a set in which nobody misses another, and to which none of the rest could be added. Takes out
 * the one with the most missing edges, of equals the one with the highest name, until no edge is missing; then takes
 * back, in the order of names, whoever fits after all. Newcomers are taken out before all others and taken back behind
 * them: who went and knocks again must not push out one who stayed.
 *
 * `a,b` and `d,e` cut from each other with a bridge `c` between them: `a, b, c` stay. A ring of five in which each
 * reaches its two neighbours only: `a, b` stay.
 *
 * Not the largest such set, which is hard to find (it is the maximum independent set), but a large one, and on every
 * node the same. O(members + edges), but for sorting.
 */
export function connectedNames(
  names: readonly string[],
  edges: MissingEdges,
  newcomers: ReadonlySet<string> = new Set(),
): ReadonlySet<string> {
  const sorted = [...names].sort()
  const kept = new Set(sorted)
  const countOf = new Map<string, number>()
  for (const name of sorted) countOf.set(name, countKept(edges.get(name), kept))
  const removed: string[] = []
  for (const areNewcomers of [true, false]) {
    // Counts only fall, so each count is come by once, from the highest; nobody comes to it meanwhile.
    const byCount: string[][] = []
    const enter = (name: string, count: number): void => {
      if (newcomers.has(name) === areNewcomers) (byCount[count] ??= []).push(name)
    }
    for (const [name, count] of countOf) enter(name, count)
    for (let most = byCount.length - 1; most > 0; most--) {
      for (const name of (byCount[most] ?? []).sort().reverse()) {
        if (countOf.get(name) !== most) continue
        kept.delete(name)
        countOf.delete(name)
        removed.push(name)
        for (const other of edges.get(name) ?? []) {
          const count = countOf.get(other)
          if (count === undefined) continue
          countOf.set(other, count - 1)
          enter(other, count - 1)
        }
      }
    }
  }
  const back = [...removed.sort().filter((name) => !newcomers.has(name)), ...removed]
  for (const name of back) if (countKept(edges.get(name), kept) === 0) kept.add(name)
  return kept
}

function countKept(others: ReadonlySet<string> | undefined, kept: ReadonlySet<string>): number {
  let count = 0
  for (const other of others ?? []) if (kept.has(other)) count++
  return count
}
