/** Refs to actors in this process: bound to one cell, or to whatever lives at a path when something is sent. */
import { NoSuchActor } from './actor-error.ts'
import type { Cell } from './cell.ts'
import type { Envelope } from './envelope.ts'
import type { Kernel } from './kernel.ts'
import type { Protocol } from './protocol.ts'
import { Ref, type RoomOptions } from './ref.ts'
import type { WatchRecord } from './watch.ts'

/**
 * Bound: once its actor has ended it is dead for ever, also when the name is taken again. A cell is its own ref, which
 * saves every actor an object and every message a call (bench: bytes-per-actor, ping-pong).
 */
export abstract class LocalRef extends Ref {
  abstract override readonly uid: number

  /** @internal */
  abstract get cell(): Cell

  override addWatch(record: WatchRecord): void {
    this.cell.addWatcher(record)
  }

  override removeWatch(record: WatchRecord): void {
    this.cell.removeWatcher(record)
  }

  override refParts(): readonly unknown[] {
    return [this.kernel.nodeName, this.kernel.nodeIncarnation, this.path, this.uid, this.protocol.name]
  }
}

/** Unbound: looks its actor up at each send. */
export class PathRef extends Ref {
  override readonly path: string
  override readonly protocol: Protocol
  override readonly kernel: Kernel

  constructor(kernel: Kernel, path: string, protocol: Protocol) {
    super()
    this.kernel = kernel
    this.path = path
    this.protocol = protocol
  }

  override get uid(): undefined {
    return undefined
  }

  override deliver(envelope: Envelope): boolean {
    const cell = this.kernel.hooks.resolvePath(this.path)
    if (cell !== undefined) return cell.deliver(envelope)
    const { call, message } = envelope
    if (call !== null && !call.settled) {
      const text = `Cannot ask "${message.type}" of ${this.path}: nobody lives there`
      call.fail(new NoSuchActor(text, { path: this.path, type: message.type }))
    }
    this.kernel.hooks.deadLetter(envelope, 'not-found', undefined, this.path, this.protocol.name)
    return false
  }

  override room(options?: RoomOptions): Promise<void> {
    const cell = this.kernel.hooks.resolvePath(this.path)
    if (cell !== undefined) return cell.room(options)
    return Promise.reject(new NoSuchActor(`Nobody lives at ${this.path}`, { path: this.path }))
  }

  /** Watches whoever lives at the path now: a later one there is somebody else. */
  override addWatch(record: WatchRecord): void {
    const cell = this.kernel.hooks.resolvePath(this.path)
    if (cell === undefined) record.ended('not-found')
    else cell.addWatcher(record)
  }

  /** A cell holds its path for as long as it lives: when another lives there now, the watched one has ended. */
  override removeWatch(record: WatchRecord): void {
    this.kernel.hooks.resolvePath(this.path)?.removeWatcher(record)
  }

  override refParts(): readonly unknown[] {
    return [this.kernel.nodeName, 0, this.path, null, this.protocol.name]
  }
}
