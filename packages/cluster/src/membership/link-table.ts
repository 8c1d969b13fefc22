/** The links of the link core by number and by name, and the lives they lead to. Plain bookkeeping with bounds. */
import type { NodeAddress } from '../transport/address.ts'
import type { LinkEstablished } from './link-step.ts'

/** A link whose peer is known: waiting to be chosen, in use, or about to be refused. */
export interface KnownLink extends LinkEstablished {
  readonly dialledAddress: NodeAddress
  state: 'waiting' | 'used' | 'refusing'
  /** While it waits or is to be refused: until when. */
  untilMs: number
  /** When it was established, and from its use on, when that began. */
  sinceMs: number
  /** The last traffic that was told of. */
  busyAtMs: number
}

/** The newest life of a name that is linked, was linked, or is wanted. */
export interface LinkPeer {
  readonly name: string
  readonly incarnation: number
  readonly address: NodeAddress
  /** Down, left or replaced; kept so that it does not come back. */
  readonly isOver: boolean
  /** False until its first link is used. */
  isMet: boolean
  /** Invariant: `link.state` is 'used', and its name and incarnation are the peer's. */
  link: KnownLink | undefined
  epoch: number
  /** On demand: dialled until then. */
  wantedUntilMs: number
  /** Links that it dialled in a row although one stands, and when the last of them came. */
  duplicates: number
  duplicateAtMs: number
}

/** What says which life is meant, and where it lives. */
export type LifePlace = Pick<LinkPeer, 'name' | 'incarnation' | 'address'>

/** Links to one name at a time. Two would do but for addresses in several spellings. */
const linksPerNameMax = 8

/** All by-name and by-number access is O(1). */
export class LinkTable {
  readonly #membersMax: number
  readonly #links = new Map<number, KnownLink>()
  readonly #byName = new Map<string, readonly KnownLink[]>()
  /** Those that are over stand in the order in which they ended. */
  readonly #peers = new Map<string, LinkPeer>()
  #overCount = 0

  constructor(membersMax: number) {
    this.#membersMax = membersMax
  }

  get(linkId: number): KnownLink | undefined {
    return this.#links.get(linkId)
  }

  /** In the order in which they came; may be changed meanwhile. */
  links(): IterableIterator<KnownLink> {
    return this.#links.values()
  }

  /** The same, of one name; the array stays as it is when links come and go. */
  linksOf(name: string): readonly KnownLink[] {
    return this.#byName.get(name) ?? []
  }

  /** The one that came first of those that wait. */
  firstWaiting(name: string): KnownLink | undefined {
    return this.linksOf(name).find(({ state }) => state === 'waiting')
  }

  /** Links cannot pile up: two for each member is more than any honest set of nodes needs. */
  hasRoomForLink(name: string): boolean {
    return this.#links.size < 2 * this.#membersMax + 2 && this.linksOf(name).length < linksPerNameMax
  }

  add(link: KnownLink): void {
    this.#links.set(link.linkId, link)
    this.#byName.set(link.name, [...this.linksOf(link.name), link])
  }

  remove(link: KnownLink): void {
    if (!this.#links.delete(link.linkId)) return
    const rest = this.linksOf(link.name).filter((other) => other !== link)
    if (rest.length === 0) this.#byName.delete(link.name)
    else this.#byName.set(link.name, rest)
  }

  peer(name: string): LinkPeer | undefined {
    return this.#peers.get(name)
  }

  peers(): IterableIterator<LinkPeer> {
    return this.#peers.values()
  }

  hasRoomForPeer(name: string): boolean {
    return this.#peers.has(name) || this.#peers.size < this.#membersMax || this.#overCount > 0
  }

  /** A life that takes the place of an earlier one, if any. `hasRoomForPeer` was asked. */
  addPeer(life: LifePlace): LinkPeer {
    return this.#put(life, false)
  }

  /** That life is over. Behind all others, so that the one that ended first is the first to be forgotten. */
  endPeer(life: LifePlace): void {
    if (this.hasRoomForPeer(life.name)) this.#put(life, true)
  }

  #put({ name, incarnation, address }: LifePlace, isOver: boolean): LinkPeer {
    if (this.#peers.has(name)) this.#delete(name)
    else if (this.#peers.size >= this.#membersMax) this.#forgetOldest()
    const peer = {
      name,
      incarnation,
      address,
      isOver,
      isMet: false,
      link: undefined,
      epoch: 0,
      wantedUntilMs: 0,
      duplicates: 0,
      duplicateAtMs: 0,
    }
    this.#peers.set(name, peer)
    if (isOver) this.#overCount++
    return peer
  }

  #delete(name: string): void {
    if (this.#peers.get(name)?.isOver === true) this.#overCount--
    this.#peers.delete(name)
  }

  #forgetOldest(): void {
    for (const { name, isOver } of this.#peers.values()) {
      if (!isOver) continue
      this.#delete(name)
      return
    }
  }
}
