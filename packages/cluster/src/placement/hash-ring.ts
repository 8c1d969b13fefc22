/**
 * Consistent hashing with weighted virtual nodes (Karger et al. 1997; Dynamo for zones): which member owns a
 * key, as a pure function of the members. Adding one of n members moves about 1/n of the keys, all of them to
 * it; removing one moves its keys and no others.
 *
 * Balance: with 128 points a member, the relative standard deviation of a share is about 1/sqrt(128), 9 %.
 */
import { murmur3, murmur3Numbered } from './hash.ts'

/** One place on the ring. */
export interface RingMember {
  /** Unique in the ring. Part of where its points lie, so it is for ever. */
  readonly name: string
  /** Its share relative to the others', 0 to 1,000. With 0 it has no points and owns nothing. @default 1 */
  readonly weight?: number | undefined
  /** Members of one zone fail together. Without one, a member is a zone of its own. */
  readonly zone?: string | undefined
}

/** How a ring is built. All nodes of a cluster must agree on it. */
export interface HashRingOptions {
  /** Points per member of weight 1. More balances better, and costs memory and time to build. @default 128 */
  readonly pointsPerWeight?: number | undefined
}

/** Defaults of `HashRingOptions`. */
export const hashRingOptions = Object.freeze({ pointsPerWeight: 128 })

/**
 * Points of one ring, over all members: more would take seconds to build. Where they would be more, all members get half as
 * many, a quarter and so on: a bad member may invent members of any weight, and must not leave the others without a ring.
 */
const pointsMax = 4_194_304

/**
 * An immutable ring. The same members give the same ring in whatever order they come. Lookup takes a hash,
 * one index into a table and a scan of about one point, at every size (benchmark: ring owner).
 */
export class HashRing {
  readonly #members: readonly RingMember[]
  readonly #names: readonly string[]
  /** Positions of the points, ascending. Equal positions stand in the order of the members' names. */
  readonly #points: Uint32Array
  /** Index into `#members` of the owner of each point. */
  readonly #owners: Uint32Array
  /** `#buckets[h >>> #shift]` is the first point at or after the beginning of that bucket. */
  readonly #buckets: Uint32Array
  readonly #shift: number
  /** Zone of each member as a small integer. */
  readonly #zones: Uint32Array
  readonly #zoneCount: number
  /** Members with at least one point. */
  readonly #ownerCount: number

  /**
   * @throws {TypeError} if two members have one name.
   * @throws {RangeError} if a weight is out of range, or there are more than 2,097,152 members.
   */
  constructor(members: Iterable<RingMember>, options: HashRingOptions = {}) {
    const perWeight = options.pointsPerWeight ?? hashRingOptions.pointsPerWeight
    if (!Number.isInteger(perWeight) || perWeight < 1 || perWeight > 65_536) {
      throw new RangeError(
        `Cannot build a ring: pointsPerWeight must be an integer from 1 to 65536, not ${perWeight}`,
      )
    }
    // Names are compared by code unit: a locale would order them differently on another machine.
    const sorted = [...members].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    for (const [index, { name }] of sorted.entries()) {
      if (index > 0 && sorted[index - 1]?.name === name) {
        throw new TypeError(`Cannot build a ring: "${name}" is in it twice, names must be unique`)
      }
    }
    if (sorted.length > memberRoom) {
      throw new RangeError(`Cannot build a ring of ${sorted.length} members: the limit is ${memberRoom}`)
    }
    const { counts, total } = pointCounts(sorted, perWeight)
    this.#members = sorted.map((member) => Object.freeze({ ...member }))
    this.#names = sorted.map((member) => member.name)
    this.#ownerCount = counts.filter((count) => count > 0).length
    const [points, owners] = placePoints(sorted, counts, total)
    this.#points = points
    this.#owners = owners
    // At least two buckets a point keeps the scan at about one step.
    const bits = Math.min(24, Math.max(1, Math.ceil(Math.log2(Math.max(1, total))) + 1))
    this.#shift = 32 - bits
    this.#buckets = indexPoints(points, bits)
    const zones = new Map<string, number>()
    this.#zones = Uint32Array.from(sorted, (member) => zoneIndex(zones, member))
    this.#zoneCount = new Set(
      sorted.flatMap((_, at) => ((counts[at] as number) > 0 ? [this.#zones[at]] : [])),
    ).size
  }

  /** The members, in the order of their names. */
  get members(): readonly RingMember[] {
    return this.#members
  }

  /** Name of the member that owns `key`; undefined when no member has a point. */
  owner(key: string): string | undefined {
    if (this.#points.length === 0) return undefined
    return this.#names[this.#owners[this.#locate(murmur3(key))] as number]
  }

  /**
   * The members in the order in which a walk from `key` meets them, the owner first: each owns the key as soon as those before
   * it are not in the ring. Those without points are met by nobody.
   */
  *walk(key: string): IterableIterator<string> {
    const seen = new Uint8Array(this.#members.length)
    const size = this.#points.length
    let at = size === 0 ? 0 : this.#locate(murmur3(key))
    for (let walked = 0; walked < size; walked++) {
      const index = this.#owners[at] as number
      at = at + 1 === size ? 0 : at + 1
      if (seen[index] === 1) continue
      seen[index] = 1
      yield this.#names[index] as string
    }
  }

  /**
   * Up to `count` distinct members for `key`, the owner first: walking clockwise, first one of each zone,
   * then the members passed over, in the order of the walk. Fewer when the ring has fewer.
   */
  preferenceList(key: string, count: number): string[] {
    const wanted = Math.min(count, this.#ownerCount)
    if (!(wanted > 0)) return []
    const wantedZones = Math.min(wanted, this.#zoneCount)
    const seen = new Uint8Array(this.#members.length)
    const zonesSeen = new Set<number>()
    const first: string[] = []
    const later: string[] = []
    const size = this.#points.length
    let at = this.#locate(murmur3(key))
    for (let walked = 0; walked < size; walked++) {
      const index = this.#owners[at] as number
      at = at + 1 === size ? 0 : at + 1
      if (seen[index] === 1) continue
      seen[index] = 1
      const zone = this.#zones[index] as number
      const name = this.#names[index] as string
      if (zonesSeen.has(zone)) later.push(name)
      else {
        zonesSeen.add(zone)
        first.push(name)
      }
      if (first.length >= wantedZones && first.length + later.length >= wanted) break
    }
    return [...first, ...later].slice(0, wanted)
  }

  /**
   * The part of all keys that each member owns, by name; the parts add up to 1. Costs a pass over the points.
   */
  shares(): ReadonlyMap<string, number> {
    const arcs = new Float64Array(this.#members.length)
    const size = this.#points.length
    for (let at = 0; at < size; at++) {
      // A point owns the keys after its predecessor, up to and including itself.
      const before =
        at === 0 ? (this.#points[size - 1] as number) - 0x1_0000_0000 : (this.#points[at - 1] as number)
      const owner = this.#owners[at] as number
      arcs[owner] = (arcs[owner] as number) + (this.#points[at] as number) - before
    }
    return new Map(
      this.#members.map((member, index) => [member.name, (arcs[index] as number) / 0x1_0000_0000]),
    )
  }

  /** Index of the first point at or after `hash`, around the end to the first. */
  #locate(hash: number): number {
    const points = this.#points
    const size = points.length
    let at = this.#buckets[hash >>> this.#shift] as number
    while (at < size && (points[at] as number) < hash) at++
    return at === size ? 0 : at
  }
}

function pointCounts(
  members: readonly RingMember[],
  perWeight: number,
): { readonly counts: readonly number[]; readonly total: number } {
  const counts = members.map((member) => pointCount(member, perWeight))
  const total = counts.reduce((sum, count) => sum + count, 0)
  // With one point each there is nothing to halve any more.
  return total <= pointsMax || total === members.length
    ? { counts, total }
    : pointCounts(members, perWeight / 2)
}

function pointCount(member: RingMember, perWeight: number): number {
  const weight = member.weight ?? 1
  if (!(weight >= 0 && weight <= 1_000)) {
    throw new RangeError(
      `Cannot build a ring: the weight of "${member.name}" must be from 0 to 1000, not ${weight}`,
    )
  }
  return weight === 0 ? 0 : Math.max(1, Math.round(weight * perWeight))
}

/**
 * Point i of a member lies at the hash of `name#i`. A member whose weight grows keeps the points that it had,
 * so that only keys that move to it move.
 */
function placePoints(
  sorted: readonly RingMember[],
  counts: readonly number[],
  total: number,
): [points: Uint32Array, owners: Uint32Array] {
  const points = new Uint32Array(total)
  const owners = new Uint32Array(total)
  let next = 0
  for (const [index, member] of sorted.entries()) {
    const count = counts[index] as number
    const hash = murmur3Numbered(`${member.name}#`)
    for (let point = 0; point < count; point++) {
      points[next] = hash(point)
      owners[next++] = index
    }
  }
  return sortPoints(points, owners)
}

/**
 * By position; points at one position stay in the order of the members. Radix sort, three passes of 11 bits: ten thousand
 * members have 1.28 million points, and whoever waits for the first key of a new view waits for all of them.
 */
function sortPoints(points: Uint32Array, owners: Uint32Array): [points: Uint32Array, owners: Uint32Array] {
  let from = points
  let fromOwners = owners
  let to: Uint32Array = new Uint32Array(points.length)
  let toOwners: Uint32Array = new Uint32Array(points.length)
  const starts = new Uint32Array(radixSize)
  for (let shift = 0; shift < 32; shift += radixBits) {
    starts.fill(0)
    for (let at = 0; at < from.length; at++) {
      const digit = ((from[at] as number) >>> shift) & (radixSize - 1)
      starts[digit] = (starts[digit] as number) + 1
    }
    let sum = 0
    for (let digit = 0; digit < radixSize; digit++) {
      const count = starts[digit] as number
      starts[digit] = sum
      sum += count
    }
    for (let at = 0; at < from.length; at++) {
      const point = from[at] as number
      const digit = (point >>> shift) & (radixSize - 1)
      const place = starts[digit] as number
      starts[digit] = place + 1
      to[place] = point
      toOwners[place] = fromOwners[at] as number
    }
    ;[from, to] = [to, from]
    ;[fromOwners, toOwners] = [toOwners, fromOwners]
  }
  return [from, fromOwners]
}

const radixBits = 11
const radixSize = 2 ** radixBits

/** Members of one ring. */
const memberRoom = 2_097_152

/** For each bucket the first point at or after its beginning. */
function indexPoints(points: Uint32Array, bits: number): Uint32Array {
  const buckets = new Uint32Array(2 ** bits)
  const shift = 32 - bits
  let bucket = 0
  for (let at = 0; at < points.length; at++) {
    const last = (points[at] as number) >>> shift
    while (bucket <= last) buckets[bucket++] = at
  }
  return buckets.fill(points.length, bucket)
}

function zoneIndex(zones: Map<string, number>, member: RingMember): number {
  // A zone's key begins with "z", a lone member's with "m": the two cannot meet.
  const key = member.zone === undefined ? `m${member.name}` : `z${member.zone}`
  const known = zones.get(key)
  if (known !== undefined) return known
  const index = zones.size
  zones.set(key, index)
  return index
}
