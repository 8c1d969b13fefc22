/**
 * Values by key, in the order of UTF-16 code units. The one importer of sorted-btree; why it is that and not a structure of our
 * own, and not a Map beside it, is in docs/decisions/0009-ordered-keys.md.
 */
import sortedBTree from 'sorted-btree'

const BTree = sortedBTree.default

/** As `<` has it: what the library takes by default also knows dates and numbers, which costs. */
function compareKeys(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** A sorted map. `get`, `set` and `delete` cost O(log n), a step of a walk O(1). */
export class OrderedKeys<V> {
  readonly #tree = new BTree<string, V>(undefined, compareKeys)

  get size(): number {
    return this.#tree.size
  }

  get(key: string): V | undefined {
    return this.#tree.get(key)
  }

  set(key: string, value: V): void {
    this.#tree.set(key, value)
  }

  delete(key: string): void {
    this.#tree.delete(key)
  }

  /**
   * Visits in order from `from`, included, to `to`, excluded (`''`: to the end), until `visit` returns false. The map must not
   * change meanwhile.
   */
  walk(from: string, to: string, visit: (key: string, value: V) => boolean): void {
    const high = to === '' ? this.#tree.maxKey() : to
    if (high === undefined) return
    this.#tree.forRange(from, high, to === '', (key, value) => (visit(key, value) ? undefined : stop))
  }
}

const stop = Object.freeze({ break: 0 })
