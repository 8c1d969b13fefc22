/** Files in memory, for virtual time: whoever runs the test writes, removes and breaks them. */
import { checkReadBytes, fileMissing, fileTooBig, fileUnreadable, type Files } from './files.ts'

/**
 * An empty set of files. Paths are compared as they are spelt.
 *
 * @param defer runs what watchers are told. @default in a microtask
 */
export class VirtualFiles implements Files {
  readonly #texts = new Map<string, string>()
  readonly #broken = new Set<string>()
  readonly #watchers = new Set<{ readonly path: string; readonly tell: () => void }>()
  readonly #defer: (task: () => void) => void

  constructor(defer: (task: () => void) => void = queueMicrotask) {
    this.#defer = defer
  }

  readonly readText = async (path: string, maxBytes: number): Promise<string> => this.read(path, maxBytes)

  readonly watch = (path: string, onChange: () => void): Disposable => {
    const watcher = {
      path,
      tell: () =>
        this.#defer(() => {
          if (this.#watchers.has(watcher)) onChange()
        }),
    }
    this.#watchers.add(watcher)
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) }
  }

  /** Watches that were not disposed of. */
  get watches(): number {
    return this.#watchers.size
  }

  /** What `readText` gives, at once. @throws {FileError | RangeError} as it rejects */
  read(path: string, maxBytes: number): string {
    checkReadBytes(path, maxBytes)
    if (this.#broken.has(path)) throw fileUnreadable(path, 'the machine says EIO')
    const text = this.#texts.get(path)
    if (text === undefined) throw fileMissing(path)
    if (Buffer.byteLength(text) > maxBytes) throw fileTooBig(path, maxBytes)
    return text
  }

  /** Writes the file anew, and tells who watches it, also when it is the same text. */
  write(path: string, text: string): void {
    this.#texts.set(path, text)
    this.#tell(path)
  }

  /** Deletes the file. Harmless when there is none. */
  remove(path: string): void {
    if (this.#texts.delete(path)) this.#tell(path)
  }

  /** From now on reading it fails with `RUNTIME_FILE_UNREADABLE`; its watchers hear nothing of that. */
  break(path: string): void {
    this.#broken.add(path)
  }

  /** It can be read again. */
  mend(path: string): void {
    this.#broken.delete(path)
  }

  #tell(path: string): void {
    for (const watcher of [...this.#watchers]) if (watcher.path === path) watcher.tell()
  }
}
