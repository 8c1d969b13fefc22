/**
 * What must hold of a LevelDB directory before LevelDB opens it, because LevelDB would not say: it passes over damaged
 * records of its write-ahead log; it makes a new database where the file that names the old one is missing; and it does not
 * look at the CRCs of its tables, so that a flipped bit in a filter, an index or the type of a record makes entries absent.
 *
 * A store has one write under way at a time and writes each as one record of the log. So what a machine that stops leaves
 * half written is the last record; a damaged one that has another behind it was acknowledged.
 */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readLog } from './level-log.ts'
import { findTableDamage } from './level-table-file.ts'
import type { KeyGap } from './level-table-file.ts'
import { StoreError } from './store-error.ts'
import { heldError } from './store-place.ts'

/** Whether LevelDB gives files such names. */
export function isLevelFile(name: string): boolean {
  return /^(?:CURRENT|LOCK|LOG|LOG\.old|MANIFEST-\d+|\d+\.(?:log|ldb|sst|dbtmp))$/.test(name)
}

/** A damaged record in a table, and the error for when it is not to be seen after opening. */
export interface DamagedRecord {
  readonly gap: KeyGap
  readonly error: StoreError
}

/** Another process has the store open while its files change under the look: so often, then it is its. */
const looksMax = 3

/**
 * Looks through all files of a store: about a millisecond a MiB. A damaged record at the very end of a log is taken for one
 * that was being written.
 *
 * @returns damage that one record each tells of itself when it is read
 * @throws {StoreError} `RUNTIME_STORE_CORRUPT` with `details.file` and `details.offset`, for all other damage;
 *   `RUNTIME_STORE_UNAVAILABLE` when somebody is at work on it
 */
export async function checkLevelFiles(directory: string): Promise<readonly DamagedRecord[]> {
  for (let looks = 1; ; looks++) {
    const before = await manifestOf(directory)
    try {
      return await look(directory)
    } catch (error) {
      // What was seen may be two moments of a store that is in use; that opening it would tell, but comes later.
      if ((await manifestOf(directory)) === before) throw error
      if (looks === looksMax) throw heldError(directory, 'another process', error)
    }
  }
}

/** Changes whenever files come or go. */
async function manifestOf(directory: string): Promise<string> {
  try {
    const name = (await readFile(join(directory, 'CURRENT'), 'utf8')).trimEnd()
    const { ino, size, mtimeMs } = await stat(join(directory, name))
    return `${name} ${ino} ${size} ${mtimeMs}`
  } catch {
    return ''
  }
}

async function look(directory: string): Promise<readonly DamagedRecord[]> {
  const names = (await readdir(directory)).sort()
  const corrupt = (file: string, offset: number, what: string): StoreError =>
    new StoreError(
      'RUNTIME_STORE_CORRUPT',
      `Cannot open the store in "${directory}": "${file}", byte ${offset}: ${what}; ` +
        'restore it from a backup, or delete the directory where replicas have the data',
      { details: { directory, file, offset } },
    )
  if (!names.includes('CURRENT')) {
    const orphan = names.find((name) => /^\d+\.(?:log|ldb|sst)$/.test(name))
    if (orphan !== undefined) throw corrupt('CURRENT', 0, `it is missing, while "${orphan}" is there`)
    return []
  }
  const manifest = (await readFile(join(directory, 'CURRENT'), 'utf8')).trimEnd()
  if (!names.includes(manifest))
    throw corrupt('CURRENT', 0, `it names ${JSON.stringify(manifest)}, which is missing`)
  // Whether that is whole is found out by LevelDB, which reads it with care.
  const { tables, log } = readManifest(await readFile(join(directory, manifest)))
  const logs = names.filter((name) => /^\d+\.log$/.test(name))
  if (log > 0 && !logs.some((name) => Number.parseInt(name, 10) === log)) {
    throw corrupt(manifest, 0, `it names the log ${log}, and that is missing`)
  }
  for (const name of logs) {
    const { damageAt } = readLog(await readFile(join(directory, name)))
    if (damageAt !== undefined) {
      throw corrupt(name, damageAt, 'a record is not what was written, and others follow it')
    }
  }
  const damaged: DamagedRecord[] = []
  for (const name of names) {
    // What an interrupted compaction has left is in no manifest, and is deleted at opening.
    if (!/^\d+\.(?:ldb|sst)$/.test(name) || !tables.has(Number.parseInt(name, 10))) continue
    for (const { offset, what, gap } of findTableDamage(await readFile(join(directory, name)))) {
      const error = corrupt(name, offset, what)
      if (gap === undefined) throw error
      damaged.push({ gap, error })
    }
  }
  return damaged
}

/** The tables that are in use, and the log that their writes go on in (0: none yet). */
function readManifest(bytes: Uint8Array): { readonly tables: ReadonlySet<number>; readonly log: number } {
  const tables = new Set<number>()
  let log = 0
  for (const record of readLog(bytes).records) {
    let at = 0
    const number = (): number => {
      let value = 0
      for (let scale = 1; ; scale *= 128) {
        const byte = record[at++] ?? 0
        value += (byte & 0x7f) * scale
        if (byte < 0x80) return value
      }
    }
    const skipText = (): void => {
      const length = number()
      at += length
    }
    while (at < record.length) {
      const tag = number()
      if (tag === 1) {
        skipText()
      } else if (tag === 2) {
        log = number()
      } else if (tag === 3 || tag === 4 || tag === 9) {
        number()
      } else if (tag === 5) {
        number()
        skipText()
      } else if (tag === 6) {
        number()
        tables.delete(number())
      } else if (tag === 7) {
        number()
        tables.add(number())
        number()
        skipText()
        skipText()
      } else {
        // Not of this version of LevelDB, which will refuse it.
        break
      }
    }
  }
  return { tables, log }
}
