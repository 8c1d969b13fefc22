/** What a segment store asks of the file system; a seam, so that tests can stop it between any two steps. */
import { constants, fdatasync, read, write } from 'node:fs'
import { open, readdir, readFile, rename, unlink, type FileHandle } from 'node:fs/promises'
import { syncDirectory } from './store-place.ts'

export interface SegmentFile {
  /** Calls `done` when the first `length` bytes of `bytes` are durable at `at`. One at a time. */
  readonly write: (
    bytes: Uint8Array,
    length: number,
    at: number,
    done: (error: Error | undefined) => void,
  ) => void
  /** Fills `target` from `at` on. Rejects when the file ends before. */
  readonly read: (target: Uint8Array, at: number) => Promise<void>
  /** Makes durable what is seen in it, whoever wrote it. */
  readonly sync: () => Promise<void>
  readonly close: () => Promise<void>
}

export interface SegmentDisk {
  readonly names: (directory: string) => Promise<readonly string[]>
  readonly contentOf: (path: string) => Promise<Uint8Array>
  readonly open: (path: string) => Promise<SegmentFile>
  /** An empty file, also where there is one. */
  readonly make: (path: string) => Promise<SegmentFile>
  readonly rename: (from: string, to: string) => Promise<void>
  readonly remove: (path: string) => Promise<void>
  /** Makes durable which names are in the directory. */
  readonly syncNames: (directory: string) => Promise<void>
}

/**
 * Linux writes with O_DSYNC: one trip to a thread instead of two, and a quarter less time and processor (docs/decisions/0010).
 * Elsewhere O_DSYNC is missing, or promises less than fdatasync.
 */
const isSynchronous = process.platform === 'linux'
const synchronous = isSynchronous ? constants.O_DSYNC : 0

/** The real one. */
export const nodeSegmentDisk: SegmentDisk = {
  names: (directory) => readdir(directory),
  contentOf: (path) => readFile(path),
  open: async (path) => new NodeSegmentFile(await open(path, constants.O_RDWR | synchronous)),
  make: async (path) =>
    new NodeSegmentFile(
      await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC | synchronous),
    ),
  rename: (from, to) => rename(from, to),
  remove: (path) => unlink(path),
  syncNames: syncDirectory,
}

class NodeSegmentFile implements SegmentFile {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  readonly write: SegmentFile['write'] = (bytes, length, at, done) => {
    const { fd } = this.#handle
    let written = 0
    const onWritten = (error: Error | null, count: number): void => {
      if (error !== null) return done(error)
      written += count
      if (written < length) write(fd, bytes, written, length - written, at + written, onWritten)
      else if (isSynchronous) done(undefined)
      else fdatasync(fd, (failed) => done(failed ?? undefined))
    }
    write(fd, bytes, 0, length, at, onWritten)
  }

  readonly read: SegmentFile['read'] = (target, at) =>
    new Promise((resolve, reject) => {
      const { fd } = this.#handle
      let done = 0
      const onRead = (error: Error | null, count: number): void => {
        if (error !== null) return reject(error)
        done += count
        if (done === target.length) return resolve()
        if (count === 0) return reject(new Error(`the file ends at byte ${at + done}`))
        read(fd, target, done, target.length - done, at + done, onRead)
      }
      read(fd, target, 0, target.length, at, onRead)
    })

  readonly sync = (): Promise<void> => this.#handle.datasync()

  readonly close = (): Promise<void> => this.#handle.close()
}
