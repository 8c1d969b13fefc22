/**
 * Who may have a key besides its owner: views differ for a moment, and who lost a key may still work off what came for it.
 * Pure.
 *
 * A view differs from this node's own by members that came a short while ago, or go: all others are in both. So the owner of a
 * key in any of those views is met on a walk from the key, over the ring of all of them, no later than the first member that
 * has been there for long and stays. Nothing has to be remembered of earlier views for that but since when each member is
 * here.
 */
import { KindRings, type KindMember } from './kind-rings.ts'

/** One life of a node. */
export interface Life {
  readonly name: string
  readonly incarnation: number
}

/** A member that has places, or has just given them up. */
export interface PlacedMember extends KindMember, Life {}

/** How a view places keys. */
export interface Placement {
  readonly owners: readonly PlacedMember[]
  readonly leaving: readonly PlacedMember[]
  /** Of the owners. */
  readonly rings: KindRings
}

export class RecentOwners {
  readonly #windowMs: number
  /** Since when each owner is one, by name; `-Infinity`: longer than this node. */
  #owners = new Map<string, { readonly incarnation: number; readonly sinceMs: number }>()
  #members: readonly PlacedMember[] = []
  #incarnations = new Map<string, number>()
  #leaving: ReadonlySet<string> = new Set()
  #settledAtMs = Number.NEGATIVE_INFINITY
  /** The rings of owners and leaving ones; built when they are first asked for. */
  #rings: KindRings | undefined = new KindRings([])

  /** `windowMs`: for so long a member that came is one that others may not know, or whose keys may still be elsewhere. */
  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /**
   * From now on these own places, by `rings`, and those that leave have given them up and are still there. `self`: this node.
   */
  use(self: string, { owners, leaving, rings }: Placement, nowMs: number): void {
    // Whom a node finds when it comes was there before. If one of them came a moment ago, those that were there know.
    const isFirst = this.#owners.size === 0
    const known = this.#owners
    this.#owners = new Map()
    this.#settledAtMs = Number.NEGATIVE_INFINITY
    for (const { name, incarnation } of owners) {
      const before = known.get(name)
      const firstMs = isFirst && name !== self ? Number.NEGATIVE_INFINITY : nowMs
      const sinceMs = before?.incarnation === incarnation ? before.sinceMs : firstMs
      this.#owners.set(name, { incarnation, sinceMs })
      this.#settledAtMs = Math.max(this.#settledAtMs, sinceMs + this.#windowMs)
    }
    this.#members = [...owners, ...leaving]
    this.#incarnations = new Map(this.#members.map(({ name, incarnation }) => [name, incarnation]))
    this.#leaving = new Set(leaving.map(({ name }) => name))
    // As a rule nobody leaves, and no ring is built twice.
    this.#rings = leaving.length === 0 ? rings : undefined
  }

  /** Who may have that key, or come to have it in the view of another node; in the order of the walk, nobody when all is settled. */
  of(kind: string, key: string, nowMs: number): readonly Life[] {
    if (nowMs >= this.#settledAtMs && this.#leaving.size === 0) return nobody
    this.#rings ??= new KindRings(this.#members)
    const found: Life[] = []
    for (const name of this.#rings.of(kind).walk(`${kind}/${key}`)) {
      const incarnation = this.#incarnations.get(name)
      if (incarnation === undefined) continue
      found.push({ name, incarnation })
      const sinceMs = this.#owners.get(name)?.sinceMs ?? nowMs
      if (!this.#leaving.has(name) && nowMs - sinceMs >= this.#windowMs) break
    }
    return found
  }
}

const nobody: readonly Life[] = Object.freeze([])
