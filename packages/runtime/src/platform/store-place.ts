/**
 * The directory of a durable store: made so that it outlasts a power cut, held by one store of this process at a time, and
 * looked at now and then, for a process goes on writing happily into files that somebody has deleted.
 */
import { mkdir, open, realpath, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { StoreError } from './store-error.ts'
import { diskError } from './disk-error.ts'

/**
 * Directories that this process has open, as device and number. LevelDB's own lock cannot keep a process from itself: it
 * belongs to the process, and a second attempt to take it (`open`, then `close`) gives it up. Nothing in a simulation comes
 * here.
 */
const held = new Set<string>()

export class StorePlace {
  /** Without links, so that one directory has one name. */
  readonly directory: string
  readonly #identity: string
  #lock = ''
  #lockPath = ''
  #markPath = ''
  #timer: NodeJS.Timeout | undefined
  #isLooking = false

  private constructor(directory: string, identity: string) {
    this.directory = directory
    this.#identity = identity
  }

  /**
   * Makes the directory where there is none, and takes it. Give it back with `release`.
   *
   * @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE` when this process has it already, or it cannot be made
   */
  static async take(path: string): Promise<StorePlace> {
    const wanted = resolve(path)
    let directory: string
    let identity: string
    try {
      await makeDirectory(wanted)
      directory = await realpath(wanted)
      identity = await identityOf(directory)
    } catch (error) {
      throw diskError(`Cannot open the store in "${wanted}"`, wanted, error, 'RUNTIME_STORE_UNAVAILABLE')
    }
    if (held.has(identity)) throw heldError(directory, 'this process')
    held.add(identity)
    return new StorePlace(directory, identity)
  }

  /**
   * From now on looks every `everyMs` whether the directory is still the one that was opened, and calls `onGone` once when
   * it is not. Two small calls to the file system each time, off the main thread. Call it when the store's files are there.
   *
   * @param lock a file that is open for as long as the store is: its number cannot be given to another one meanwhile
   * @param mark a file that is there for as long as the store is
   */
  async watch(
    everyMs: number,
    onGone: (error: StoreError) => void,
    lock = 'LOCK',
    mark = 'CURRENT',
  ): Promise<void> {
    this.#lockPath = join(this.directory, lock)
    this.#markPath = join(this.directory, mark)
    this.#lock = await identityOf(this.#lockPath)
    this.#timer = setInterval(() => void this.#look(onGone), everyMs).unref()
  }

  stopWatching(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  release(): void {
    this.stopWatching()
    held.delete(this.#identity)
  }

  async #look(onGone: (error: StoreError) => void): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    const what = await this.#whatIsGone()
    this.#isLooking = false
    if (what === undefined || this.#timer === undefined) return
    this.stopWatching()
    onGone(
      new StoreError(
        'RUNTIME_STORE_FAILED',
        `The store in "${this.directory}" has lost its directory: ${what}; what was written since it was last seen ` +
          'is lost with it; open the store again: it begins with what is there now',
        { details: { directory: this.directory } },
      ),
    )
  }

  async #whatIsGone(): Promise<string | undefined> {
    try {
      if ((await identityOf(this.#lockPath)) !== this.#lock) return 'another one is in its place'
      await stat(this.#markPath)
      return undefined
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // Anything else says that nobody knows: a write will.
      return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESTALE' ? 'it was deleted' : undefined
    }
  }
}

/** Another store has the directory. */
export function heldError(directory: string, holder: string, cause?: unknown): StoreError {
  return new StoreError(
    'RUNTIME_STORE_UNAVAILABLE',
    `Cannot open the store in "${directory}": ${holder} has it open; close it there first, end that process, ` +
      'or give this store a directory of its own',
    { details: { directory, holder }, cause },
  )
}

/** Makes it durable that a file or directory was made, renamed or deleted in `directory`. */
export async function syncDirectory(directory: string): Promise<void> {
  // Windows opens no directories, and has no need.
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function makeDirectory(directory: string): Promise<void> {
  const topmost = await mkdir(directory, { recursive: true })
  if (topmost === undefined) return
  for (let made = directory; ; made = dirname(made)) {
    await syncDirectory(dirname(made))
    if (made === topmost || made === dirname(made)) return
  }
}

async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path, { bigint: true })
  return `${dev}:${ino}`
}
