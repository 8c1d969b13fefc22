/**
 * Which format the records of a durable store have, and how an older one becomes today's. The number is written when a
 * store is made; whoever changes how records look raises it and adds the step from the one before.
 */
import { StoreError } from './store-error.ts'

/** Records as they are on disk, the store's own among them: whole keys, checked values. */
export interface RawRecords {
  /** All of one moment, by key. */
  readonly entries: () => AsyncIterable<readonly [key: Uint8Array, checked: Uint8Array]>
  /** Atomic; resolves when durable. `undefined` deletes. */
  readonly write: (changes: readonly (readonly [Uint8Array, Uint8Array | undefined])[]) => Promise<void>
}

/**
 * Brings a store from one format to the next. It may be interrupted anywhere and then runs again from the start: repeating
 * it, or a part of it, must do no harm. The number is raised when it has ended.
 */
export type Migration = (records: RawRecords) => Promise<void>

export interface StoreFormat {
  /** Whole number of at least 1. */
  readonly version: number
  /** The step from each older version to the one after it. */
  readonly migrations: ReadonlyMap<number, Migration>
}

/** What this version of the runtime writes. */
export const storeFormat: StoreFormat = { version: 1, migrations: new Map() }

/**
 * Brings the records of `directory` from version `found` to that of `format`, one step after the other.
 *
 * @param reached makes it durable that a version was reached
 * @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE` when the store is newer than `format`, or too old for its steps; nothing
 *   was changed then
 */
export async function migrate(
  directory: string,
  records: RawRecords,
  found: number,
  format: StoreFormat,
  reached: (version: number) => Promise<void>,
): Promise<void> {
  const { version, migrations } = format
  const details = { directory, found, supported: version }
  if (found > version) {
    throw new StoreError(
      'RUNTIME_STORE_UNAVAILABLE',
      `Cannot open the store in "${directory}": it has format ${found}, written by a newer version of Understudy; ` +
        `this one reads formats up to ${version}; install the newer one, or restore a backup from before it`,
      { details },
    )
  }
  for (let at = found; at < version; at++) {
    if (migrations.has(at)) continue
    throw new StoreError(
      'RUNTIME_STORE_UNAVAILABLE',
      `Cannot open the store in "${directory}": it has format ${found}, and this version has no way from ${at} ` +
        `to ${at + 1}; open it with an older version of Understudy first`,
      { details },
    )
  }
  for (let at = found; at < version; at++) {
    await migrations.get(at)?.(records)
    await reached(at + 1)
  }
}
