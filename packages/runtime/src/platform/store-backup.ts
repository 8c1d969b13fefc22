/** A copy of a running store, as a store of its own in another directory. */
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { diskError } from './disk-error.ts'
import { isLevelFile } from './level-files.ts'
import { fileStore } from './level-store.ts'
import { isSegmentFile, lockName } from './segment-file.ts'
import { segmentStore } from './segment-store.ts'
import { StoreError } from './store-error.ts'
import { storeIdKey } from './store-id.ts'
import { syncDirectory } from './store-place.ts'
import type { Store, StoreChange, StoreShape } from './store.ts'

export interface BackupProgress {
  /** Entries and bytes (of the values) that are in the copy by now, durably. How many there will be is not known. */
  readonly entries: number
  readonly bytes: number
}

export interface BackupOptions {
  /** Called after each part of about 1 MiB. What it throws ends the backup. */
  readonly onProgress?: ((progress: BackupProgress) => void) | undefined
  /** Ends the backup, which then rejects with the signal's reason and leaves nothing. */
  readonly signal?: AbortSignal | undefined
  /** What the copy is to be opened as: 'table' by `fileStore`, 'log' by `segmentStore`. @default 'table' */
  readonly shape?: StoreShape | undefined
}

/** A part of a backup has at least so many bytes, or so many entries. */
const partBytes = 1_048_576
const partEntries = 4_096

/**
 * Copies what `store` holds at the moment of the call into a new store in `directory`, while it is written on. Restoring is
 * opening the copy: `fileStore(directory)`, or `segmentStore(directory)` for the shape 'log'. Any store can be copied, a scope too: the copy has its keys without the prefix.
 *
 * The copy is made in `directory + '.partial'` and renamed when it is whole and durable, so a half one is never taken for a
 * backup. It has no store id: opened, it is another store, which a member of a group must not take for its own, for it may
 * lack what that one has promised since. Costs about ten microseconds an entry, and memory for one part.
 *
 * @returns what is in the copy
 * @throws {StoreError} (as a rejection) `RUNTIME_STORE_UNAVAILABLE` when something is at `directory` or the copy cannot be
 *   made there; `RUNTIME_STORE_CORRUPT` at a damaged record, for a backup without it would look whole;
 *   `RUNTIME_STORE_FULL`, `RUNTIME_STORE_FAILED`, `RUNTIME_STORE_CLOSED`
 */
export async function backupStore(
  store: Store,
  directory: string,
  options: BackupOptions = {},
): Promise<BackupProgress> {
  const target = resolve(directory)
  const partial = `${target}.partial`
  // Begun before anything is awaited: the moment of the call.
  const entries = store.range()[Symbol.asyncIterator]()
  const first = entries.next()
  let isMade = false
  try {
    await Promise.all([first, makeRoom(target, partial)])
    const copy = await (options.shape === 'log' ? segmentStore(partial) : fileStore(partial))
    isMade = true
    let report: BackupProgress
    try {
      report = await copyAll(first, entries, copy, options)
    } finally {
      await copy.close()
    }
    await syncDirectory(partial)
    await rename(partial, target)
    await syncDirectory(dirname(target))
    return report
  } catch (error) {
    await entries.return?.()
    if (isMade) await removeStore(partial)
    if (error instanceof StoreError || !isDiskError(error)) throw error
    throw diskError(`Cannot back up to "${target}"`, target, error, 'RUNTIME_STORE_UNAVAILABLE')
  }
}

async function copyAll(
  first: Promise<IteratorResult<{ readonly key: string; readonly value: Uint8Array }>>,
  rest: AsyncIterator<{ readonly key: string; readonly value: Uint8Array }>,
  copy: Store,
  { onProgress, signal }: BackupOptions,
): Promise<BackupProgress> {
  let progress: BackupProgress = { entries: 0, bytes: 0 }
  let part: StoreChange[] = []
  let bytes = 0
  const flush = async (): Promise<void> => {
    signal?.throwIfAborted()
    await copy.write(part)
    progress = { entries: progress.entries + part.length, bytes: progress.bytes + bytes }
    part = []
    bytes = 0
    onProgress?.(progress)
  }
  signal?.throwIfAborted()
  for (let step = await first; step.done !== true; step = await rest.next()) {
    const { key, value } = step.value
    if (key === storeIdKey) continue
    part.push({ type: 'put', key, value })
    bytes += value.byteLength
    if (bytes >= partBytes || part.length >= partEntries) await flush()
  }
  if (part.length > 0) await flush()
  return progress
}

/** @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE` when there is something at `target`, or what is no store at `partial` */
async function makeRoom(target: string, partial: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true })
  if ((await namesIn(target)).length > 0) throw occupied(target, target)
  const left = await namesIn(partial)
  const foreign = left.find((name) => !isStoreFile(name) && name !== lockName)
  if (foreign !== undefined) throw occupied(target, join(partial, foreign))
  if (left.length > 0) {
    // What an interrupted backup has left; unless one is still at it, who holds it.
    await closedStore(partial, left.some(isSegmentFile) || left.includes(lockName))
    await removeStore(partial)
  }
  await removeEmpty(target)
}

/** @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE` when somebody has it open */
async function closedStore(directory: string, isLog: boolean): Promise<void> {
  try {
    await (await (isLog ? segmentStore(directory) : fileStore(directory))).close()
  } catch (error) {
    // It is to be deleted: in what state it is does not matter.
    if (error instanceof StoreError && error.code !== 'RUNTIME_STORE_UNAVAILABLE') return
    throw error
  }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** Deletes a store's files, and the directory when nothing else is in it. */
async function removeStore(directory: string): Promise<void> {
  const lock = join(directory, lockName)
  for (const name of await namesIn(directory)) if (isStoreFile(name)) await rm(join(directory, name))
  for (const name of await namesIn(lock)) if (isLevelFile(name)) await rm(join(lock, name))
  await removeEmpty(lock)
  await removeEmpty(directory)
}

function isStoreFile(name: string): boolean {
  return isLevelFile(name) || isSegmentFile(name)
}

async function removeEmpty(directory: string): Promise<void> {
  try {
    await rmdir(directory)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw error
  }
}

function occupied(target: string, what: string): StoreError {
  return new StoreError(
    'RUNTIME_STORE_UNAVAILABLE',
    `Cannot back up to "${target}": "${what}" is there already; name a directory that does not exist, or delete it`,
    { details: { directory: target } },
  )
}

function isDiskError(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string'
}
