/**
 * Who is in the cluster, as one node sees it: a sorted list of members and a short name for that list. Pure.
 */
import type { NodeAddress } from '../transport/address.ts'

/**
 * `joining`: met, and takes part in everything but placement. `alive`: owns places. `suspect`: was alive and may be dead,
 * but its time is not up: it still owns its places. `leaving`: drains: it can be reached, and owns no places any more.
 * `down`: given up; this incarnation never comes back. `left`: it said good-bye.
 */
export type MemberStatus = 'joining' | 'alive' | 'suspect' | 'leaving' | 'down' | 'left'

/** One node at one incarnation. Plain data. */
export interface Member {
  /** Chosen by the user, unique in the cluster. */
  readonly name: string
  /** Only grows from one start of the node to the next. */
  readonly incarnation: number
  /** Where the member listens. A place, never an identity. */
  readonly address: NodeAddress
  readonly status: MemberStatus
  /** Share of the ring, relative to the others. Fixed for an incarnation. */
  readonly weight: number
  /** Failure zone, for preference lists that skip the same one. Fixed for an incarnation. */
  readonly zone?: string | undefined
  /** What it is for, in the user's words. Fixed for an incarnation. */
  readonly roles: readonly string[]
  /** The version of the application that runs there, `''` when it does not say. Fixed for an incarnation. */
  readonly version: string
  /**
   * The kinds of entities that can live there, by the names of their definitions; places of others are not its. `undefined`:
   * it has not said, and any kind may be. Fixed for an incarnation.
   */
  readonly entities?: readonly string[] | undefined
}

/**
 * The members that take part: `joining`, `alive`, `suspect` and `leaving` ones, sorted by name (by UTF-16 code unit, the
 * same on every machine), the node itself among them. Places belong to those that `ownsPlaces` says.
 *
 * Views have no order in time: `viewId` is compared for equality only. Members that are down or left are not
 * in it, or two nodes that agree about the present would differ for ever because one of them remembers more
 * of the past.
 */
export interface View {
  readonly members: readonly Member[]
  readonly viewId: string
}

/** Whether a member of that status has its part of the ring. */
export function ownsPlaces(status: MemberStatus): boolean {
  return status === 'alive' || status === 'suspect'
}

/** Whether a member of that status takes part: not `down`, not `left`. */
export function isLiving(status: MemberStatus): boolean {
  return status !== 'down' && status !== 'left'
}

/** The member of that name, if it takes part. O(log members). */
export function memberOf({ members }: View, name: string): Member | undefined {
  let low = 0
  let high = members.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((members[middle]?.name ?? '') < name) low = middle + 1
    else high = middle
  }
  const member = members[low]
  return member?.name === name ? member : undefined
}

/** A view of these members: takes those that take part, sorts, names. Does not keep the given array. */
export function makeView(members: Iterable<Member>): View {
  const placed = [...members].filter(({ status }) => isLiving(status))
  placed.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  return Object.freeze({ members: Object.freeze(placed), viewId: viewId(placed) })
}

/**
 * The name of a sorted list of members: FNV-1a, 64 bits, over the UTF-8 bytes of one line for each, `name TAB
 * incarnation TAB status LF`, as 16 hex digits. Weight, zone and address belong to the incarnation and add
 * nothing. Two lists of 1,024 members collide by accident with a chance of about 5e-20.
 *
 * The bytes are forever: nodes of different versions compare these ids.
 */
export function viewId(members: readonly Member[]): string {
  let text = ''
  for (const member of members) text += `${member.name}\t${member.incarnation}\t${member.status}\n`
  return fnv1a64(text)
}

/**
 * FNV-1a with 64 bits over the UTF-8 bytes of a text, as 16 hex digits. Not for adversaries.
 *
 * The prime is 2^40 + 0x1b3, so in two 32-bit lanes a multiplication is one product a lane and a shift; the
 * products stay under 2^42 and are exact.
 */
export function fnv1a64(text: string): string {
  let high = 0xcbf29ce4
  let low = 0x84222325
  for (const byte of new TextEncoder().encode(text)) {
    low = (low ^ byte) >>> 0
    const product = low * 0x1b3
    high = (high * 0x1b3 + ((low << 8) >>> 0) + Math.floor(product / 0x1_0000_0000)) >>> 0
    low = product >>> 0
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}
