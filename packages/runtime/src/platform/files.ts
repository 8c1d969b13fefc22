/**
 * The files seam: reading a small text file, and hearing that it changed. For configuration that others write: lists of
 * addresses, certificates, secrets. What the packages themselves keep is written on `Store`.
 */
import { statSync, watch as watchDirectory, type FSWatcher } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'

/** Small text files of the machine. */
export interface Files {
  /**
   * The text of the file at `path`, read as UTF-8 (a byte order mark is left out). Whoever replaces a file while it is
   * read should write another one and rename it over; one that is written in place may be seen half written, and `watch`
   * tells again when the rest has come.
   *
   * @param maxBytes 1 to 67,108,864. A larger file is refused, never cut.
   * @throws {FileError} (as a rejection) `RUNTIME_FILE_MISSING`, `RUNTIME_FILE_TOO_BIG`, `RUNTIME_FILE_UNREADABLE`
   * @throws {RangeError} (as a rejection) if `maxBytes` is out of range
   */
  readonly readText: (path: string, maxBytes: number) => Promise<string>
  /**
   * Calls `onChange` after the file at `path` was written, replaced, deleted or made, until disposed. Read it again then:
   * several changes may be one call, a call may come without a change, and it never comes from inside of `watch`. The file,
   * and its directory, may be missing at first and come later. Does not keep the process alive.
   */
  readonly watch: (path: string, onChange: () => void) => Disposable
}

/** Codes of `FileError`. Each has a heading in docs/reference/errors.md. */
export type FileErrorCode = 'RUNTIME_FILE_MISSING' | 'RUNTIME_FILE_TOO_BIG' | 'RUNTIME_FILE_UNREADABLE'

const errorBrand = Symbol.for('@understudy/error')

/** A file that could not be read. `cause` is the machine's error, where there is one. */
export class FileError extends Error {
  readonly code: FileErrorCode
  /** Plain data about the case: the path, sizes, limits. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: FileErrorCode,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  /** Recognised by `isActorError`, also across two copies of this package. */
  get [errorBrand](): true {
    return true
  }
}

Object.defineProperty(FileError.prototype, 'name', { value: 'FileError', configurable: true, writable: true })

export interface NodeFilesOptions {
  /**
   * How often a watched file is looked at besides, in milliseconds, at least 10: what finds a change where the machine
   * tells none (network file systems, a directory that came later, no watches left). @default 2_000
   */
  readonly pollMs?: number | undefined
  /** How long changes are gathered before `onChange` is called, in milliseconds. @default 50 */
  readonly debounceMs?: number | undefined
}

/** What `NodeFilesOptions` are when left out. */
export const nodeFilesDefaults = Object.freeze({ pollMs: 2_000, debounceMs: 50 })

/**
 * The files of this machine. A watch is one `fs.watch` on the directory, which outlives the file, and one poll.
 *
 * @throws {RangeError} if an option is out of range
 */
export function nodeFiles(options: NodeFilesOptions = {}): Files {
  const pollMs = options.pollMs ?? nodeFilesDefaults.pollMs
  const debounceMs = options.debounceMs ?? nodeFilesDefaults.debounceMs
  if (!(pollMs >= 10) || !(debounceMs >= 0)) {
    throw new RangeError(
      `Cannot watch files with pollMs ${pollMs} and debounceMs ${debounceMs}: they must be at least 10 and 0`,
    )
  }
  return {
    readText: readNodeText,
    watch: (path, onChange) => new NodeFileWatch(resolve(path), onChange, pollMs, debounceMs),
  }
}

const readBytesMax = 67_108_864

/** For implementers of `Files`. @throws {RangeError} if `maxBytes` is out of range */
export function checkReadBytes(path: string, maxBytes: number): void {
  if (Number.isInteger(maxBytes) && maxBytes >= 1 && maxBytes <= readBytesMax) return
  throw new RangeError(
    `Cannot read "${path}": maxBytes must be an integer from 1 to ${readBytesMax}, got ${maxBytes}`,
  )
}

/** For implementers of `Files`: nothing is at `path`. */
export function fileMissing(path: string, cause?: unknown): FileError {
  return new FileError(
    'RUNTIME_FILE_MISSING',
    `Cannot read "${path}": there is no such file; create it, or mend the path`,
    { details: { path }, cause },
  )
}

/** For implementers of `Files`: it has more than `maxBytes`. */
export function fileTooBig(path: string, maxBytes: number): FileError {
  return new FileError(
    'RUNTIME_FILE_TOO_BIG',
    `Cannot read "${path}": it has more than the ${maxBytes} bytes that are allowed here; is it the right file?`,
    { details: { path, maxBytes } },
  )
}

/** For implementers of `Files`: it is there, and cannot be read. */
export function fileUnreadable(path: string, why: string, cause?: unknown): FileError {
  return new FileError(
    'RUNTIME_FILE_UNREADABLE',
    `Cannot read "${path}": ${why}; it must be a regular file with UTF-8 text that this process may read`,
    { details: { path }, cause },
  )
}

async function readNodeText(path: string, maxBytes: number): Promise<string> {
  checkReadBytes(path, maxBytes)
  try {
    // Looked at before it is opened: the mere opening of a pipe waits for a writer, in a thread that others need.
    if (!(await stat(path)).isFile()) throw fileUnreadable(path, 'it is no regular file')
    const file = await open(path, 'r')
    try {
      return decode(path, await readAll(file, path, maxBytes))
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof FileError) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') throw fileMissing(path, error)
    throw fileUnreadable(path, `the machine says ${code ?? String(error)}`, error)
  }
}

async function readAll(
  file: Awaited<ReturnType<typeof open>>,
  path: string,
  maxBytes: number,
): Promise<Uint8Array> {
  // One byte more than is allowed tells a file that is too big, whatever size it claims to have.
  const buffer = Buffer.allocUnsafe(maxBytes + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length)
    length += bytesRead
    if (length > maxBytes) throw fileTooBig(path, maxBytes)
    if (bytesRead === 0) return buffer.subarray(0, length)
  }
}

function decode(path: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw fileUnreadable(path, 'it is not UTF-8', error)
  }
}

/**
 * The directory is watched and not the file: a watch on a file follows the file that was there, not the one that takes its
 * name. What a mounted configuration changes is a link beside it, so any event of the directory is a reason to look.
 */
class NodeFileWatch implements Disposable {
  readonly #path: string
  readonly #onChange: () => void
  readonly #debounceMs: number
  readonly #poll: NodeJS.Timeout
  #watcher: FSWatcher | undefined
  /** Which directory the watcher stands on: one that was deleted and made again is another. */
  #watched = ''
  #seen: string
  #due: NodeJS.Timeout | undefined
  #isLooking = false
  #isOver = false

  constructor(path: string, onChange: () => void, pollMs: number, debounceMs: number) {
    this.#path = path
    this.#onChange = onChange
    this.#debounceMs = debounceMs
    this.#arm()
    // Synchronous, or a change between this call and the first look would be taken for the way it always was.
    this.#seen = fingerprint(path)
    this.#poll = setInterval(() => void this.#look(), pollMs).unref()
  }

  [Symbol.dispose](): void {
    this.#isOver = true
    clearInterval(this.#poll)
    clearTimeout(this.#due)
    this.#watcher?.close()
    this.#watcher = undefined
  }

  #arm(): void {
    const directory = dirname(this.#path)
    const standing = directoryIdentity(directory)
    if (this.#watcher !== undefined && standing === this.#watched) return
    this.#watcher?.close()
    this.#watcher = undefined
    this.#watched = standing
    if (standing === '') return
    try {
      const name = basename(this.#path)
      const watcher = watchDirectory(directory, { persistent: false })
      watcher.on('change', (_event, changed) => {
        // Of this very file: told even when it looks the same, for two writes can have one size and one time.
        if (changed === name) this.#changed()
        else void this.#look()
      })
      watcher.on('error', () => {
        watcher.close()
        if (this.#watcher === watcher) this.#watcher = undefined
      })
      this.#watcher = watcher
    } catch {
      // The directory has gone, or the machine has no watches left: the poll finds changes, and tries again.
    }
  }

  async #look(): Promise<void> {
    if (this.#isLooking || this.#isOver) return
    this.#isLooking = true
    try {
      this.#arm()
      const found = await statText(this.#path)
      if (found === this.#seen || this.#isOver) return
      this.#seen = found
      this.#changed()
    } finally {
      this.#isLooking = false
    }
  }

  /** Not put off by what follows: a file that is written without end is still heard of. */
  #changed(): void {
    if (this.#due !== undefined || this.#isOver) return
    this.#due = setTimeout(() => {
      this.#due = undefined
      this.#onChange()
    }, this.#debounceMs).unref()
  }
}

interface Stats {
  readonly dev: bigint
  readonly ino: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
  readonly ctimeNs: bigint
}

/** Tells one content from the next, nearly always. Empty: nothing is there. */
function fingerprint(path: string): string {
  try {
    return statsText(statSync(path, { bigint: true }))
  } catch {
    return ''
  }
}

async function statText(path: string): Promise<string> {
  try {
    return statsText(await stat(path, { bigint: true }))
  } catch {
    return ''
  }
}

function statsText({ dev, ino, size, mtimeNs, ctimeNs }: Stats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}

function directoryIdentity(path: string): string {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return ''
  }
}
