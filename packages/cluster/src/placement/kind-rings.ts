/**
 * Who owns the keys of a kind of entities: a ring of the members that have that kind. While a new kind is brought in node by
 * node, its keys belong to those that have it already.
 */
import { HashRing, type RingMember } from './hash-ring.ts'

/** A member with places. */
export interface KindMember extends RingMember {
  /** The kinds that can live there. `undefined`: it has not said, and is taken to have all. */
  readonly entities?: readonly string[] | undefined
}

/**
 * Immutable. A ring is built when somebody first asks for it: most views of a cluster that forms, or is flooded with members,
 * are gone before a key is looked up in them. Kinds that the same members have share one.
 */
export class KindRings {
  readonly #members: readonly KindMember[]
  #all: HashRing | undefined
  /** Who could own anything. */
  readonly #owners: readonly KindMember[]
  /** The kinds that some member names. */
  readonly #kinds = new Set<string>()
  /** By kind; `''` for all that nobody names, so that what is asked for fills no map. */
  readonly #rings = new Map<string, HashRing>()
  readonly #ringsByOwners = new Map<string, HashRing>()

  constructor(members: readonly KindMember[]) {
    this.#members = members
    this.#owners = members.filter(({ weight }) => weight !== 0)
    for (const { entities = [] } of this.#owners) for (const kind of entities) this.#kinds.add(kind)
  }

  /** The ring of all members. */
  get all(): HashRing {
    this.#all ??= new HashRing(this.#members)
    return this.#all
  }

  /** How many rings were built: for tests of what a view costs. */
  get built(): number {
    return this.#ringsByOwners.size + (this.#all === undefined ? 0 : 1)
  }

  /**
   * The ring of that kind. When nobody has it, that of all: the owner then says that it is not registered, and what to do
   * about it.
   */
  of(kind: string): HashRing {
    const known = this.#kinds.has(kind) ? kind : ''
    const ring = this.#rings.get(known) ?? this.#make(known)
    this.#rings.set(known, ring)
    return ring
  }

  #make(kind: string): HashRing {
    const owners = this.#owners.filter(({ entities }) => entities?.includes(kind) ?? true)
    if (owners.length === 0 || owners.length === this.#owners.length) return this.all
    const key = owners.map(({ name }) => name).join(' ')
    const ring = this.#ringsByOwners.get(key) ?? new HashRing(owners)
    this.#ringsByOwners.set(key, ring)
    return ring
  }
}
