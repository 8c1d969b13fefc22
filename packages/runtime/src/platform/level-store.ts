/** The durable store: a directory on a disk, kept by LevelDB (`classic-level`, of which this is the one importer). */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClassicLevel } from 'classic-level'
import { encodeChecked, readChecked } from './checked-value.ts'
import { diskError } from './disk-error.ts'
import { settleDamage } from './level-damage.ts'
import { checkLevelFiles } from './level-files.ts'
import { levelCodes, LevelEngine, levelText } from './level-engine.ts'
import type { LevelDatabase } from './level-engine.ts'
import { refuseOtherShape } from './segment-file.ts'
import { optionWithin } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import { migrate, storeFormat } from './store-format.ts'
import type { RawRecords, StoreFormat } from './store-format.ts'
import { encodeKey } from './store-key.ts'
import { heldError, StorePlace } from './store-place.ts'
import { StoreView } from './store-view.ts'
import type { Store } from './store.ts'

export interface FileStoreOptions {
  /**
   * How much is gathered in memory before it goes from the log into a table, in bytes, 1 MiB to 1 GiB. The store takes up to
   * twice as much. More makes heavy writing cheaper and opening slower. @default 16_777_216 (16 MiB)
   */
  readonly writeBufferBytes?: number | undefined
  /** Memory for what was read lately, in bytes, 0 to 4 GiB. @default 8_388_608 (8 MiB) */
  readonly cacheBytes?: number | undefined
  /**
   * How often the store looks whether its directory is still the one it opened, in milliseconds, 10 to 60,000. What is
   * acknowledged in between can be lost with it. @default 1_000
   */
  readonly placeCheckMs?: number | undefined
}

/** What `FileStoreOptions` are when left out. */
export const fileStoreDefaults = Object.freeze({
  writeBufferBytes: 16_777_216,
  cacheBytes: 8_388_608,
  placeCheckMs: 1_000,
})

/**
 * Opens the store that lives in `directory`, which is made where there is none. One store at a time may have it open, of all
 * processes. Keeps the contract of `Store` on a real disk: what a resolved `write` has written outlasts `kill -9` and, on a
 * disk that keeps its word, a power cut.
 *
 * A store in an older format is brought to today's, step by step; that may take a while and may be interrupted. Opening reads
 * all files once and checks them, about a millisecond a MiB: damage that could make an acknowledged write absent is
 * `RUNTIME_STORE_CORRUPT` then, and damage of single records when they are read. What stands last in a store that was not
 * closed cannot be told from a write that was under way.
 *
 * Costs: a `get` is one trip to a thread; a `write` one crossing of 2 to 3 microseconds a record and its share of one fsync;
 * a `range` a trip each 256 KiB. So one large record is much cheaper than many small ones.
 *
 * @throws {StoreError} (as a rejection) `RUNTIME_STORE_UNAVAILABLE` when it is held, cannot be used, or has a newer format;
 *   `RUNTIME_STORE_CORRUPT` when acknowledged writes are damaged so that they cannot be told apart; `RUNTIME_STORE_FULL`
 * @throws {RangeError} (as a rejection) if an option is out of range
 */
export async function fileStore(directory: string, options: FileStoreOptions = {}): Promise<Store> {
  return openLevelStore(directory, options, storeFormat)
}

/** `fileStore` with a format of one's own. For the tests of migrations. */
export async function openLevelStore(
  directory: string,
  options: FileStoreOptions,
  format: StoreFormat,
): Promise<Store> {
  const defaults = fileStoreDefaults
  const writeBufferBytes = optionWithin(
    'writeBufferBytes',
    options.writeBufferBytes ?? defaults.writeBufferBytes,
    1_048_576,
    1_073_741_824,
  )
  const cacheBytes = optionWithin('cacheBytes', options.cacheBytes ?? defaults.cacheBytes, 0, 4_294_967_295)
  const placeCheckMs = optionWithin('placeCheckMs', options.placeCheckMs ?? defaults.placeCheckMs, 10, 60_000)
  const place = await StorePlace.take(directory)
  try {
    refuseOtherShape(place.directory, await readdir(place.directory), 'table')
    const damaged = await checkLevelFiles(place.directory)
    // Loading it takes some 50 ms, which a process without a store need not pay.
    const level = await import('classic-level')
    const db: Level = new level.ClassicLevel<Uint8Array, Uint8Array>(place.directory, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      // A flipped bit then damages one record, and background threads have less to do.
      compression: false,
      writeBufferSize: writeBufferBytes,
      cacheSize: cacheBytes,
    })
    await openDatabase(db, place.directory)
    try {
      await ensureFormat(db, place.directory, format)
      const database = databaseOf(db)
      const engine = new LevelEngine(database, place, await settleDamage(database, damaged))
      await place.watch(placeCheckMs, (error) => engine.fail(error))
      return new StoreView(engine)
    } catch (error) {
      await db.close()
      throw error
    }
  } catch (error) {
    place.release()
    if (error instanceof StoreError) throw error
    throw diskError(openingOf(place.directory), place.directory, error, 'RUNTIME_STORE_UNAVAILABLE')
  }
}

/**
 * Takes a directory that belongs to a store for this process, by the lock of a LevelDB in it that holds nothing: Node has no
 * other lock that ends with its process. The lock is the file `LOCK` there.
 *
 * @param directory the store's, for errors
 * @returns gives it back
 * @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE` when another process has it
 */
export async function lockDirectory(path: string, directory: string): Promise<() => Promise<void>> {
  const level = await import('classic-level')
  const open = async (): Promise<Level> => {
    const db: Level = new level.ClassicLevel<Uint8Array, Uint8Array>(path, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      writeBufferSize: 65_536,
      cacheSize: 0,
    })
    await openDatabase(db, directory)
    return db
  }
  let db: Level
  try {
    db = await open()
  } catch (error) {
    if (!(error instanceof StoreError && error.code === 'RUNTIME_STORE_CORRUPT')) throw error
    // Nothing is lost: and who finds that out has had the lock.
    for (const name of await readdir(path)) if (name !== 'LOCK') await rm(join(path, name))
    db = await open()
  }
  return () => db.close()
}

type Level = ClassicLevel<Uint8Array, Uint8Array>

const formatKey = encodeKey('internal', 'format')

function databaseOf(db: Level): LevelDatabase {
  return {
    get: (key) => db.get(key),
    put: (key, value, options) => db.put(key, value, options),
    openBatch: () => db.batch(),
    iterate: (range) => db.iterator(range),
    close: () => db.close(),
  }
}

async function openDatabase(db: Level, directory: string): Promise<void> {
  try {
    await db.open()
  } catch (error) {
    const codes = levelCodes(error)
    if (codes.includes('LEVEL_LOCKED')) {
      // Also where it was opened here before its directory was deleted and made again.
      const isOwn = levelText(error).includes('already held by process')
      throw heldError(directory, isOwn ? 'this process' : 'another process', error)
    }
    if (codes.includes('LEVEL_CORRUPTION')) {
      throw new StoreError(
        'RUNTIME_STORE_CORRUPT',
        `${openingOf(directory)}: ${levelText(error)}; restore it from a backup, or delete the directory ` +
          'where replicas have the data',
        { details: { directory }, cause: error },
      )
    }
    throw diskError(openingOf(directory), directory, error, 'RUNTIME_STORE_UNAVAILABLE')
  }
}

async function ensureFormat(db: Level, directory: string, format: StoreFormat): Promise<void> {
  const reached = (version: number): Promise<void> =>
    db.put(formatKey, encodeChecked(formatKey, new TextEncoder().encode(String(version))), { sync: true })
  const checked = await db.get(formatKey)
  if (checked === undefined) {
    if ((await db.keys({ limit: 1 }).all()).length > 0) throw formatError(directory, 'it has none')
    await reached(format.version)
    return
  }
  const value = readChecked(formatKey, checked)
  if (typeof value === 'string') throw formatError(directory, value)
  await migrate(directory, rawRecords(db), Number(new TextDecoder().decode(value)), format, reached)
}

function rawRecords(db: Level): RawRecords {
  return {
    entries: () => db.iterator(),
    write: (changes) =>
      db.batch(
        changes.map(([key, value]) =>
          value === undefined ? { type: 'del', key } : { type: 'put', key, value },
        ),
        { sync: true },
      ),
  }
}

function formatError(directory: string, what: string): StoreError {
  return new StoreError(
    'RUNTIME_STORE_CORRUPT',
    `${openingOf(directory)}: the record of its format is not what was written: ${what}; is it the right ` +
      'directory? Then restore it from a backup',
    { details: { directory, key: 'format' } },
  )
}

function openingOf(directory: string): string {
  return `Cannot open the store in "${directory}"`
}
