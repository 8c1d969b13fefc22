/**
 * A disk for segment stores that loses all it may lose when the power is cut: of each write that has not ended any sectors,
 * also of several at once; of changes to names that were not made durable any, not the last ones only. And one whose
 * operations fail.
 */
import { basename } from 'node:path'
import type { Draw } from './memory-disk.ts'

type SegmentDisk = import('../../packages/runtime/src/platform/segment-disk.ts').SegmentDisk
type SegmentFile = import('../../packages/runtime/src/platform/segment-disk.ts').SegmentFile

interface Content {
  /** As processes see it. */
  seen: Uint8Array
  /** What a cut leaves of it, but for the writes under way. */
  durable: Uint8Array
  readonly underWay: Set<{ readonly bytes: Uint8Array; readonly at: number }>
}

type Names = Map<string, Content>

export class CutDisk implements SegmentDisk {
  readonly #draw: Draw
  /** The sectors that are written whole, in bytes. */
  readonly #sectorBytes: number
  #names: Names = new Map()
  #durable: Names = new Map()
  #undone: ((names: Names) => void)[] = []
  #isCut = false
  /** Operations that were begun. */
  steps = 0
  /** The power is cut when this one has begun. */
  cutAt = Number.POSITIVE_INFINITY
  onCut: () => void = () => undefined
  /** Files that are open. */
  handles = 0
  /** A write that fails is seen by whoever reads, and not on the disk: Linux takes a page whose write has failed for clean. */
  isFailureSeen = false
  /** What an operation fails with; of a write any sectors are on the disk then. */
  failure: (
    step: number,
    operation: keyof SegmentDisk | 'write' | 'read' | 'sync' | 'close',
  ) => Error | undefined = () => undefined

  constructor(draw: Draw, files: ReadonlyMap<string, Uint8Array> = new Map(), sectorBytes = 512) {
    this.#draw = draw
    this.#sectorBytes = sectorBytes
    for (const [name, bytes] of files) this.#names.set(name, contentOf(bytes))
    this.#durable = new Map(this.#names)
  }

  /** The files as processes see them. */
  files(): Map<string, Uint8Array> {
    return new Map([...this.#names].map(([name, { seen }]) => [name, Uint8Array.from(seen)]))
  }

  /** The files as a cut now leaves them. */
  filesLeft(): Map<string, Uint8Array> {
    const names = new Map(this.#durable)
    for (const change of this.#undone) if (this.#draw(2) === 0) change(names)
    return new Map([...names].map(([name, content]) => [name, this.#left(content)]))
  }

  readonly names: SegmentDisk['names'] = () => this.#do('names', () => [...this.#names.keys()])

  readonly contentOf: SegmentDisk['contentOf'] = (path) =>
    this.#do('contentOf', () => Uint8Array.from(this.#find(path).seen))

  readonly open: SegmentDisk['open'] = (path) => this.#do('open', () => this.#file(this.#find(path)))

  readonly make: SegmentDisk['make'] = (path) =>
    this.#do('make', () => {
      const content = contentOf(new Uint8Array(0))
      this.#change((names) => names.set(basename(path), content))
      return this.#file(content)
    })

  readonly rename: SegmentDisk['rename'] = (from, to) =>
    this.#do('rename', () => {
      const content = this.#find(from)
      this.#change((names) => {
        names.delete(basename(from))
        names.set(basename(to), content)
      })
    })

  readonly remove: SegmentDisk['remove'] = (path) =>
    this.#do('remove', () => {
      this.#find(path)
      this.#change((names) => names.delete(basename(path)))
    })

  readonly syncNames: SegmentDisk['syncNames'] = () =>
    this.#do('syncNames', () => {
      this.#durable = new Map(this.#names)
      this.#undone = []
    })

  #change(change: (names: Names) => void): void {
    change(this.#names)
    this.#undone.push(change)
  }

  #find(path: string): Content {
    const content = this.#names.get(basename(path))
    if (content === undefined) throw Object.assign(new Error(`ENOENT: no ${path}`), { code: 'ENOENT' })
    return content
  }

  /** Never settles when the disk is cut. */
  #do<T>(operation: Parameters<CutDisk['failure']>[1], run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const failure = this.#begin(operation)
      this.#later(() => {
        if (failure !== undefined) return reject(failure)
        try {
          resolve(run())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }

  #begin(operation: Parameters<CutDisk['failure']>[1]): Error | undefined {
    if (this.#isCut) return undefined
    this.steps++
    if (this.steps >= this.cutAt) {
      this.#isCut = true
      setImmediate(this.onCut)
    }
    return this.failure(this.steps, operation)
  }

  #later(run: () => void, hops = this.#draw(4)): void {
    setImmediate(() => {
      if (this.#isCut) return
      if (hops === 0) run()
      else this.#later(run, hops - 1)
    })
  }

  #file(content: Content): SegmentFile {
    this.handles++
    let isOpen = true
    return {
      write: (bytes, length, at, done) => {
        if (this.#isCut) return
        // Copied: whoever writes leaves them alone until it has ended.
        const write = { bytes: Uint8Array.from(bytes.subarray(0, length)), at }
        content.seen = withRoom(content.seen, at + length)
        content.underWay.add(write)
        const failure = this.#begin('write')
        this.#later(() => {
          content.underWay.delete(write)
          this.#put(content, write, failure === undefined ? () => true : () => this.#draw(2) === 0)
          if (failure !== undefined && this.isFailureSeen) content.seen.set(write.bytes, write.at)
          done(failure)
        })
      },
      read: (target, at) =>
        this.#do('read', () => {
          if (at + target.length > content.seen.length) throw new Error('the file ends')
          target.set(content.seen.subarray(at, at + target.length))
        }),
      sync: () => this.#do('sync', () => undefined),
      close: () => {
        if (isOpen) this.handles--
        isOpen = false
        return this.#do('close', () => undefined)
      },
    }
  }

  #put(
    content: Content,
    { bytes, at }: { readonly bytes: Uint8Array; readonly at: number },
    isWritten: () => boolean,
  ): void {
    content.seen = withRoom(content.seen, at + bytes.length)
    content.durable = withRoom(content.durable, at + bytes.length)
    for (let from = at; from < at + bytes.length;) {
      const to = Math.min(at + bytes.length, (Math.floor(from / this.#sectorBytes) + 1) * this.#sectorBytes)
      const sector = bytes.subarray(from - at, to - at)
      if (isWritten()) {
        content.seen.set(sector, from)
        content.durable.set(sector, from)
      }
      from = to
    }
  }

  #left(content: Content): Uint8Array {
    const left = contentOf(content.durable)
    for (const write of content.underWay) {
      // Any sectors, or only those at the beginning or the end: a disk mostly goes on from one end to the other.
      const kind = this.#draw(3)
      let flip = this.#draw(1 + Math.ceil(write.bytes.length / this.#sectorBytes))
      this.#put(left, write, () => (kind === 0 ? this.#draw(2) === 0 : flip-- > 0 === (kind === 1)))
    }
    return left.durable
  }
}

function contentOf(bytes: Uint8Array): Content {
  return { seen: Uint8Array.from(bytes), durable: Uint8Array.from(bytes), underWay: new Set() }
}

function withRoom(bytes: Uint8Array, length: number): Uint8Array {
  if (length <= bytes.length) return bytes
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}
