/**
 * Damaged records that a store is opened with all the same, because each tells of itself: who reads it is told. Two things are
 * not to be seen of the record alone. Whether its key or its value is damaged: so while it is there, a key that is not found
 * near it may be the one. And, when another record stands at its key, whether somebody has mended it, or it was moved there by
 * the damage and what was lost is another one: so what was told is noted in the store, and only a record that was told of
 * before may be hidden.
 */
import { encodeChecked, readChecked } from './checked-value.ts'
import type { DamagedRecord } from './level-files.ts'
import type { LevelDatabase } from './level-engine.ts'
import type { KeyGap } from './level-table-file.ts'
import { encodeKey } from './store-key.ts'

const notePrefix = encodeKey('internal', 'damage/')
const noteEnd = encodeKey('internal', 'damage0')

/**
 * What of the damage is there still. Notes it.
 *
 * @throws {StoreError} `RUNTIME_STORE_CORRUPT` for a damaged record that is hidden and was never told of
 */
export async function settleDamage(
  db: LevelDatabase,
  found: readonly DamagedRecord[],
): Promise<readonly KeyGap[]> {
  const notes = await readNotes(db)
  const gaps: KeyGap[] = []
  for (const { gap, error } of found) {
    const name = nameOf(gap.damaged)
    if (await isDamaged(db, gap.damaged)) {
      await writeNote(db, gap)
      notes.delete(name)
      gaps.push(gap)
    } else if (!notes.delete(name)) {
      throw error
    }
  }
  // A compaction has written these into other tables, as they are; or without them.
  for (const gap of notes.values()) {
    if (await isDamaged(db, gap.damaged)) gaps.push(gap)
    else await dropNote(db, gap.damaged)
  }
  return gaps
}

async function isDamaged(db: LevelDatabase, key: Uint8Array): Promise<boolean> {
  const checked = await db.get(key)
  return checked !== undefined && typeof readChecked(key, checked) === 'string'
}

async function readNotes(db: LevelDatabase): Promise<Map<string, KeyGap>> {
  const notes = new Map<string, KeyGap>()
  const iterator = db.iterate({
    gte: notePrefix,
    lt: noteEnd,
    reverse: false,
    highWaterMarkBytes: 65_536,
  })
  try {
    for (let page = await iterator.nextv(64); page.length > 0; page = await iterator.nextv(64)) {
      for (const [key, checked] of page) {
        const value = readChecked(key, checked)
        // A damaged note has its own note by now, and what it said is lost: its record must be seen to be believed.
        if (typeof value === 'string') continue
        const { after, upTo } = JSON.parse(new TextDecoder().decode(value)) as StoredGap
        const damaged = Uint8Array.from(key.subarray(notePrefix.length))
        notes.set(nameOf(damaged), {
          after: after === undefined ? undefined : Buffer.from(after, 'hex'),
          upTo: Buffer.from(upTo, 'hex'),
          damaged,
        })
      }
    }
  } finally {
    await iterator.close()
  }
  return notes
}

interface StoredGap {
  readonly after?: string
  readonly upTo: string
}

async function writeNote(db: LevelDatabase, { after, upTo, damaged }: KeyGap): Promise<void> {
  const stored: StoredGap = {
    ...(after === undefined ? undefined : { after: nameOf(after) }),
    upTo: nameOf(upTo),
  }
  const key = noteKey(damaged)
  await db.put(key, encodeChecked(key, new TextEncoder().encode(JSON.stringify(stored))), { sync: true })
}

async function dropNote(db: LevelDatabase, damaged: Uint8Array): Promise<void> {
  const batch = db.openBatch()
  batch.del(noteKey(damaged))
  await batch.write({ sync: true })
}

function noteKey(damaged: Uint8Array): Uint8Array {
  return Buffer.concat([notePrefix, damaged])
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key).toString('hex')
}
