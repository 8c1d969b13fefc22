/** The durable store for logs: a directory of segments that are only ever appended to. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { diskError } from './disk-error.ts'
import { lockDirectory } from './level-store.ts'
import type { Logger } from './log.ts'
import { nodeSegmentDisk, type SegmentDisk } from './segment-disk.ts'
import { SegmentEngine } from './segment-engine.ts'
import { lockName, markName, refuseOtherShape, saltBytes } from './segment-file.ts'
import { openSegments } from './segment-opening.ts'
import { optionWithin } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import { StorePlace } from './store-place.ts'
import { StoreView } from './store-view.ts'
import type { Store } from './store.ts'

export interface SegmentStoreOptions {
  /**
   * How much a segment holds, in bytes, 1 MiB to 1 GiB. Two of them are there at least; more makes them fewer. A batch that
   * does not fit has one of its own; one of more than 1 GiB is a `RangeError`. @default 8_388_608 (8 MiB)
   */
  readonly segmentBytes?: number | undefined
  /**
   * How often the store looks whether its directory is still the one it opened, in milliseconds, 10 to 60,000. What is
   * acknowledged in between can be lost with it. @default 1_000
   */
  readonly placeCheckMs?: number | undefined
  /**
   * Where the store warns of what no call meets, once a segment: one that cannot be read to be emptied, or not be deleted, so
   * that the store grows. `nodePlatform` gives its own. @default nothing is logged
   */
  readonly log?: Logger | undefined
}

/** What `SegmentStoreOptions` are when left out. */
export const segmentStoreDefaults = Object.freeze({ segmentBytes: 8_388_608, placeCheckMs: 1_000 })

/**
 * Opens the store for logs that lives in `directory`, which is made where there is none. It keeps the same contract as
 * `fileStore`, and is made for what a consensus group writes: many small batches that must be durable at once, keys that
 * ascend, few of them alive at a time. One store at a time may have it open, of all processes.
 *
 * A `write` is one write of one buffer to a file that is there and full of zeros already: about half the time and 60 % of the
 * processor of `fileStore` where entries are of 20 KiB, and nothing is sorted or merged behind it. All keys are in memory, about
 * 115 bytes each and the key itself; a `get` reads one value from its file. Files take up to twice what is alive and three
 * segments; then what is alive in the oldest is written anew, 64 KiB at a time between the writes of others.
 *
 * Opening reads and checks everything, about a millisecond a MiB. Damage to a value is told when it is read, damage to what
 * says which keys there are is `RUNTIME_STORE_CORRUPT` then. Of the last write before a machine stopped, damage can be told
 * from what was never written as long as it is not a whole sector of 512 bytes that became zeros: that looks like a
 * write under way.
 *
 * @throws {StoreError} (as a rejection) `RUNTIME_STORE_UNAVAILABLE` when it is held, cannot be used, holds LevelDB tables, or has
 *   a newer format; `RUNTIME_STORE_CORRUPT` when acknowledged writes are damaged so that they cannot be told apart, or files
 *   are missing; `RUNTIME_STORE_FULL`
 * @throws {RangeError} (as a rejection) if an option is out of range
 */
export async function segmentStore(directory: string, options: SegmentStoreOptions = {}): Promise<Store> {
  const defaults = segmentStoreDefaults
  const segmentBytes = optionWithin(
    'segmentBytes',
    options.segmentBytes ?? defaults.segmentBytes,
    1_048_576,
    1_073_741_824,
  )
  const placeCheckMs = optionWithin('placeCheckMs', options.placeCheckMs ?? defaults.placeCheckMs, 10, 60_000)
  return openSegmentStore(directory, { segmentBytes, placeCheckMs, log: options.log }, nodeSegmentDisk)
}

/** `segmentStore` on a disk and with segments of one's own, down to 4 KiB. For the tests of what a disk does. */
export async function openSegmentStore(
  directory: string,
  { segmentBytes, placeCheckMs, log }: SegmentStoreOptions,
  disk: SegmentDisk,
): Promise<Store> {
  const bytes = segmentBytes ?? segmentStoreDefaults.segmentBytes
  const place = await StorePlace.take(directory)
  let unlock: (() => Promise<void>) | undefined
  try {
    refuseOtherShape(place.directory, await disk.names(place.directory), 'log')
    unlock = await lockDirectory(join(place.directory, lockName), place.directory)
    const opened = await openSegments(disk, place.directory, bytes, drawSalt)
    const engine = new SegmentEngine(disk, place, unlock, opened, bytes, log)
    const everyMs = placeCheckMs ?? segmentStoreDefaults.placeCheckMs
    await place.watch(everyMs, (error) => engine.fail(error), join(lockName, 'LOCK'), markName)
    return new StoreView(engine)
  } catch (error) {
    await unlock?.()
    place.release()
    if (error instanceof StoreError) throw error
    const attempt = `Cannot open the store in "${place.directory}"`
    throw diskError(attempt, place.directory, error, 'RUNTIME_STORE_UNAVAILABLE')
  }
}

function drawSalt(): Uint8Array {
  return Uint8Array.from(randomBytes(saltBytes))
}
