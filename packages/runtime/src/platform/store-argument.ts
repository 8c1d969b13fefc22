/** What every store does with what it is given, before it does anything of its own; and the order of its entries. */
import type { StoreChange, StoreEntry, StoreRange } from './store.ts'

/** @throws {TypeError} for what is no change, naming what is wrong with it */
export function checkChanges(batch: readonly StoreChange[]): void {
  for (const change of batch) {
    if (typeof change.key !== 'string') {
      throw new TypeError(`Cannot write to the store: a key must be a string, got ${typeof change.key}`)
    }
    if (change.type === 'put') {
      if (!(change.value instanceof Uint8Array)) {
        throw new TypeError(`Cannot write "${change.key}" to the store: the value must be a Uint8Array`)
      }
    } else if (change.type !== 'delete') {
      const { type } = change as { readonly type: unknown }
      throw new TypeError(
        `Cannot write to the store: a change is "put" or "delete", got ${JSON.stringify(type)}`,
      )
    }
  }
}

/**
 * The changes of a batch by whole key; `undefined` deletes. A later change to a key wins. Values are copied: the caller
 * may use its buffers again at once.
 *
 * @throws {TypeError} for what is no change
 */
export function changesByKey(
  batch: readonly StoreChange[],
  prefix: string,
): ReadonlyMap<string, Uint8Array | undefined> {
  checkChanges(batch)
  const changes = new Map<string, Uint8Array | undefined>()
  for (const change of batch) {
    // Not `slice`: that of a Buffer shares its bytes.
    changes.set(prefix + change.key, change.type === 'put' ? new Uint8Array(change.value) : undefined)
  }
  return changes
}

/** Most entries of a range. @throws {RangeError} if the limit is not a whole number of at least 0 */
export function rangeLimit(range: StoreRange): number {
  const limit = range.limit ?? Infinity
  if (!(limit === Infinity || (Number.isSafeInteger(limit) && limit >= 0))) {
    throw new RangeError(`Cannot read a range: limit must be a whole number of at least 0, got ${limit}`)
  }
  return limit
}

/** An option in whole numbers. @throws {RangeError} if it is not one from `least` to `most` */
export function optionWithin(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw new RangeError(
    `Cannot open a store: ${name} must be a whole number from ${least} to ${most}, got ${value}`,
  )
}

/** @throws {RangeError} if `prefix` cannot be that of a scope */
export function checkScope(prefix: string): void {
  if (prefix === '' || prefix.startsWith('/') || prefix.endsWith('/')) {
    throw new RangeError(
      `Cannot open the scope "${prefix}": a prefix must not be empty, nor begin or end with a slash`,
    )
  }
}

/** The first index whose key is not below `key`. Keys mostly come in order, so the end is looked at first. */
export function lowerBound(entries: readonly Pick<StoreEntry, 'key'>[], key: string): number {
  let high = entries.length
  const last = entries[high - 1]
  if (last === undefined || last.key < key) return high
  let low = 0
  while (low < high) {
    const middle = (low + high) >>> 1
    const entry = entries[middle]
    if (entry !== undefined && entry.key < key) low = middle + 1
    else high = middle
  }
  return low
}

/** Where the entries from `range.from` to `range.to` of the view under `prefix` stand. The end is excluded. */
export function boundsOf(
  entries: readonly StoreEntry[],
  prefix: string,
  range: StoreRange,
): { readonly from: number; readonly to: number } {
  const from = lowerBound(entries, prefix + (range.from ?? ''))
  if (range.to !== undefined) return { from, to: lowerBound(entries, prefix + range.to) }
  // A prefix ends in '/', and '0' is the code unit after it.
  const to = prefix === '' ? entries.length : lowerBound(entries, `${prefix.slice(0, -1)}0`)
  return { from, to }
}
