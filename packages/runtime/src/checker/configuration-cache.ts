/**
 * The configurations a linearizability search has been in: which operations are placed, and the state they lead to.
 *
 * Lowe's cache (2017, "Testing for linearizability", section 4) keeps a bitset over all operations with each entry,
 * which for 10,000 operations is more than a kilobyte. Here the set of placed operations is told by the first return
 * that is still to come and by one bit for each operation open at that point, so an entry is a few words whatever the
 * length of the history. Entries lie in flat arrays: a million cost about 40 MB and no work for the collector.
 */

export class ConfigurationCache<S> {
  readonly #equal: (a: S, b: S) => boolean
  readonly #entriesMax: number
  /** Words of an entry that must be the same: the position, then the open operations. */
  readonly #keyWords: number
  readonly #words: number
  #size = 0
  #compared = 0
  #keys: Uint32Array
  #hashes: Int32Array
  #chain: Int32Array
  /** Newest entry of each bucket, plus one; 0 is none. Its length is a power of two. */
  #heads: Int32Array
  readonly #states: S[] = []

  /**
   * @param openWords words of the bitset of open operations
   * @param optionalWords words of the bitset of used optional operations
   * @param entriesMax how many entries it takes before it is full
   */
  constructor(equal: (a: S, b: S) => boolean, openWords: number, optionalWords: number, entriesMax: number) {
    this.#equal = equal
    this.#entriesMax = entriesMax
    this.#keyWords = 1 + openWords
    this.#words = this.#keyWords + optionalWords
    this.#keys = new Uint32Array(this.#words * initialEntries)
    this.#hashes = new Int32Array(initialEntries)
    this.#chain = new Int32Array(initialEntries)
    this.#heads = new Int32Array(initialEntries)
  }

  get size(): number {
    return this.#size
  }

  /** How many entries were compared in all: the work that collisions make. */
  get compared(): number {
    return this.#compared
  }

  /**
   * Adds a configuration unless one at least as good is there: the same required operations placed, the same state, and
   * no optional operation used that this one has not used. Whatever can follow this one can follow that one. O(1) when
   * the states have a good hash.
   */
  add(
    position: number,
    open: Uint32Array,
    used: Uint32Array,
    state: S,
    stateHash: number,
  ): 'new' | 'seen' | 'full' {
    let hash = Math.imul(position, 0x9e3779b1) ^ stateHash
    for (const word of open) hash = Math.imul((hash ^ (hash >>> 15)) + word, 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    hash ^= hash >>> 16
    for (let entry = this.#headOf(hash); entry !== 0; entry = this.#chain[entry - 1] ?? 0) {
      this.#compared++
      if (this.#hashes[entry - 1] === hash && this.#covers(entry - 1, position, open, used, state))
        return 'seen'
    }
    if (this.#size >= this.#entriesMax) return 'full'
    if (this.#size === this.#hashes.length) this.#grow()
    this.#insert(hash, position, open, used, state)
    return 'new'
  }

  #headOf(hash: number): number {
    return this.#heads[hash & (this.#heads.length - 1)] ?? 0
  }

  #covers(entry: number, position: number, open: Uint32Array, used: Uint32Array, state: S): boolean {
    const keys = this.#keys
    let at = entry * this.#words
    if (keys[at++] !== position) return false
    for (const word of open) if (keys[at++] !== word) return false
    for (const word of used) if (((keys[at++] ?? 0) & ~word) !== 0) return false
    return this.#equal(this.#states[entry] as S, state)
  }

  #insert(hash: number, position: number, open: Uint32Array, used: Uint32Array, state: S): void {
    const entry = this.#size++
    const at = entry * this.#words
    this.#keys[at] = position
    this.#keys.set(open, at + 1)
    this.#keys.set(used, at + this.#keyWords)
    this.#hashes[entry] = hash
    this.#states.push(state)
    this.#link(entry, hash)
  }

  #link(entry: number, hash: number): void {
    const bucket = hash & (this.#heads.length - 1)
    this.#chain[entry] = this.#heads[bucket] ?? 0
    this.#heads[bucket] = entry + 1
  }

  #grow(): void {
    const entries = this.#hashes.length * 2
    const keys = new Uint32Array(this.#words * entries)
    keys.set(this.#keys)
    this.#keys = keys
    const hashes = new Int32Array(entries)
    hashes.set(this.#hashes)
    this.#hashes = hashes
    this.#chain = new Int32Array(entries)
    this.#heads = new Int32Array(entries)
    for (let entry = 0; entry < this.#size; entry++) this.#link(entry, hashes[entry] ?? 0)
  }
}

const initialEntries = 1024
