/** Reads the values of a segment store: one, or those that stand near each other at once. */
import { crc32c } from './crc32c.ts'
import { lostLength, type IndexEntry } from './segment-index.ts'
import { encodeKey } from './store-key.ts'

/** Values with no more between them are read together. */
const gapBytesMax = 4_096

/** The value; `undefined` when it is not what was written. Rejects as the disk does. */
export async function readEntry(entry: IndexEntry): Promise<Uint8Array | undefined> {
  if (entry.length === lostLength) return undefined
  const value = new Uint8Array(entry.length)
  await entry.segment.read(value, entry.at)
  return isValue(entry, value) ? value : undefined
}

/**
 * The values of the entry at `from` and of those behind it that stand one behind the other in the same segment: by one read.
 * Each has bytes of its own, so that who keeps one does not keep all; `undefined` where it is not what was written. Rejects as
 * the disk does.
 */
export async function readNeighbours(
  entries: readonly IndexEntry[],
  from: number,
): Promise<readonly (Uint8Array | undefined)[]> {
  const first = entries[from] as IndexEntry
  const count = neighbours(entries, from)
  if (count === 1) return [await readEntry(first)]
  const last = entries[from + count - 1] as IndexEntry
  const bytes = new Uint8Array(last.at + last.length - first.at)
  await first.segment.read(bytes, first.at)
  return entries.slice(from, from + count).map((entry) => {
    const at = entry.at - first.at
    const value = bytes.slice(at, at + entry.length)
    return isValue(entry, value) ? value : undefined
  })
}

/** How many entries from `from` on can be read at once. */
function neighbours(entries: readonly IndexEntry[], from: number): number {
  let before = entries[from] as IndexEntry
  let count = 1
  for (; from + count < entries.length && before.length !== lostLength; count++) {
    const entry = entries[from + count] as IndexEntry
    const gap = entry.at - (before.at + before.length)
    if (entry.segment !== before.segment || entry.length === lostLength || gap < 0 || gap > gapBytesMax) break
    before = entry
  }
  return count
}

/** Whether these bytes are what was written for the entry. */
function isValue({ key, crc }: IndexEntry, value: Uint8Array): boolean {
  return crc32c(value, crc32c(encodeKey('user', key))) === crc
}
