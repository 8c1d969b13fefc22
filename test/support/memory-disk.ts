/** A disk for segment stores that can stop at any step, with what such a stop leaves: half a write, and names of before. */
import { basename } from 'node:path'

type SegmentDisk = import('../../packages/runtime/src/platform/segment-disk.ts').SegmentDisk
type SegmentFile = import('../../packages/runtime/src/platform/segment-disk.ts').SegmentFile

interface Content {
  /** As processes see it. */
  bytes: Uint8Array
  /** As a power cut leaves it, where that is something else. */
  durable?: Uint8Array | undefined
}

const sectorBytes = 512

/** Chance that can be repeated. */
export type Draw = (below: number) => number

export function drawFrom(seed: number): Draw {
  let state = seed * 0x9e3779b9 + 1
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

export class MemoryDisk implements SegmentDisk {
  /** Names that a power cut leaves, and what was done to names since. */
  #durable = new Map<string, Content>()
  #undone: ((names: Map<string, Content>) => void)[] = []
  readonly #draw: Draw
  steps = 0
  /** At this step it stops: a write is done in part, anything else is not; and nothing is done after it. */
  stopAt = Number.POSITIVE_INFINITY
  /** What each write fails with, when it is set. */
  failure: Error | undefined
  onStop: () => void = () => undefined
  /** Of the write at which it stopped processes see nothing. */
  #unseen: Content | undefined

  constructor(draw: Draw, files: ReadonlyMap<string, Uint8Array> = new Map()) {
    this.#draw = draw
    for (const [name, bytes] of files) this.#durable.set(name, { bytes: Uint8Array.from(bytes) })
  }

  /** The files as they are now. */
  files(): Map<string, Uint8Array> {
    return this.#filesAfter(this.#undone.length, ({ bytes }) => bytes)
  }

  /** The process was killed: the disk as the next one sees it. This one does nothing any more. */
  restart(): MemoryDisk {
    this.stopAt = 0
    // Nothing comes to a disk that processes do not see.
    if (this.#unseen !== undefined) this.#unseen.durable = undefined
    const next = new MemoryDisk(this.#draw)
    next.#durable = this.#durable
    next.#undone = this.#undone
    return next
  }

  /** The files as a power cut may leave them. @param kept so many of the changes to names that were not made durable */
  filesLeft(kept = this.#draw(this.#undone.length + 1)): Map<string, Uint8Array> {
    return this.#filesAfter(kept, ({ bytes, durable }) => durable ?? bytes)
  }

  readonly names: SegmentDisk['names'] = async () => [...this.#current().keys()]

  readonly contentOf: SegmentDisk['contentOf'] = async (path) => Uint8Array.from(this.#find(path).bytes)

  readonly open: SegmentDisk['open'] = async (path) => this.#file(this.#find(path))

  readonly make: SegmentDisk['make'] = async (path) => {
    const content = { bytes: new Uint8Array(0) }
    await this.#naming((names) => names.set(basename(path), content))
    return this.#file(content)
  }

  readonly rename: SegmentDisk['rename'] = (from, to) =>
    this.#naming((names) => {
      const content = names.get(basename(from))
      if (content === undefined) throw new Error(`no ${from}`)
      names.delete(basename(from))
      names.set(basename(to), content)
    })

  readonly remove: SegmentDisk['remove'] = (path) => this.#naming((names) => names.delete(basename(path)))

  readonly syncNames: SegmentDisk['syncNames'] = async () => {
    await this.#step()
    for (const change of this.#undone) change(this.#durable)
    this.#undone = []
  }

  async #naming(change: (names: Map<string, Content>) => void): Promise<void> {
    await this.#step()
    this.#undone.push(change)
  }

  #file(content: Content): SegmentFile {
    const write: SegmentFile['write'] = (bytes, length, at, done) => {
      if (this.steps >= this.stopAt) return
      this.steps++
      if (this.failure !== undefined) return void setImmediate(done, this.failure)
      const isLast = this.steps >= this.stopAt
      grow(content, at + length)
      if (isLast) content.durable = Uint8Array.from(content.durable ?? content.bytes)
      const isSeen = !isLast || this.#draw(3) > 0
      if (!isSeen) this.#unseen = content
      for (let from = at; from < at + length;) {
        const to = Math.min(at + length, (Math.floor(from / sectorBytes) + 1) * sectorBytes)
        const sector = bytes.subarray(from - at, to - at)
        if (isSeen) content.bytes.set(sector, from)
        if (!isLast || this.#draw(2) === 0) content.durable?.set(sector, from)
        from = to
      }
      if (isLast) this.onStop()
      else if (this.#draw(4) === 0) setImmediate(() => setImmediate(done, undefined))
      else setImmediate(done, undefined)
    }
    return {
      write,
      read: async (target, at) => {
        if (at + target.length > content.bytes.length) throw new Error('the file ends')
        target.set(content.bytes.subarray(at, at + target.length))
      },
      sync: async () => {
        await this.#step()
        content.durable = undefined
      },
      close: async () => undefined,
    }
  }

  /** Resolves when the step may be done; never, when the disk has stopped. */
  #step(): Promise<void> {
    if (this.steps < this.stopAt && ++this.steps < this.stopAt) {
      return new Promise((resolve) => {
        setImmediate(() => {
          if (this.steps < this.stopAt) resolve()
        })
      })
    }
    this.onStop()
    return new Promise(() => undefined)
  }

  #current(): Map<string, Content> {
    return this.#namesAfter(this.#undone.length)
  }

  #namesAfter(count: number): Map<string, Content> {
    const names = new Map(this.#durable)
    for (const change of this.#undone.slice(0, count)) change(names)
    return names
  }

  #filesAfter(count: number, read: (content: Content) => Uint8Array): Map<string, Uint8Array> {
    return new Map([...this.#namesAfter(count)].map(([name, file]) => [name, Uint8Array.from(read(file))]))
  }

  #find(path: string): Content {
    const content = this.#current().get(basename(path))
    if (content === undefined) throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' })
    return content
  }
}

function grow(content: Content, length: number): void {
  content.bytes = grown(content.bytes, length)
  if (content.durable !== undefined) content.durable = grown(content.durable, length)
}

function grown(bytes: Uint8Array, length: number): Uint8Array {
  if (length <= bytes.length) return bytes
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}
