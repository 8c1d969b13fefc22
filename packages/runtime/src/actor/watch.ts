/**
 * Watching: exactly one notice per watch, whatever happens. A notice is an ordinary message of the watcher's own, made
 * by the function it gave; it stands behind the last message of the dead actor, and nobody else can send it.
 */
import { Linked } from './actor-error.ts'
import type { Deferred, Message } from './envelope.ts'
import type { Ref } from './ref.ts'

/**
 * Why a watched actor is gone. `stopped`: in good order; `failed`: it crashed and is not started again; `limit`: it is a
 * supervisor whose children failed too often; `node-down`: its node is gone; `not-found`: nobody lived there.
 */
export type EndReason = 'stopped' | 'failed' | 'limit' | 'node-down' | 'not-found'

/** Who is told of an end: a cell, or whoever tells an actor on another node. */
export interface Watcher {
  readonly watchEnded: (record: WatchRecord) => void
  readonly forgetWatch: (record: WatchRecord) => void
}

/** One watch, in the list of the watched cell. Small: a parent may watch a million children (bench: bytes-per-actor). */
export class WatchRecord implements Deferred {
  readonly watcher: Watcher
  readonly target: Ref
  /** `undefined` for a link: then the watcher fails. */
  readonly toMessage: ((reason: EndReason) => Message) | undefined
  /** False once it was revoked or its notice was handled. */
  active = true
  reason: EndReason | undefined = undefined
  previous: WatchRecord | null = null
  next: WatchRecord | null = null

  constructor(watcher: Watcher, target: Ref, toMessage: ((reason: EndReason) => Message) | undefined) {
    this.watcher = watcher
    this.target = target
    this.toMessage = toMessage
  }

  /** A link: no notice, the watcher fails. */
  get isLink(): boolean {
    return this.toMessage === undefined
  }

  get type(): string {
    return '(watch notice)'
  }

  get droppable(): boolean {
    return false
  }

  /** The target is gone. Only the first call counts. */
  ended(reason: EndReason): void {
    if (!this.active || this.reason !== undefined) return
    this.reason = reason
    this.watcher.watchEnded(this)
  }

  /** The notice's turn has come. */
  open(): Message | undefined {
    if (!this.active || this.reason === undefined) return undefined
    this.active = false
    this.watcher.forgetWatch(this)
    if (this.toMessage === undefined) throw linkBroken(this)
    return this.toMessage(this.reason)
  }
}

/** What a linked actor fails with. */
export function linkBroken(record: WatchRecord): Linked {
  const { path } = record.target
  const { reason } = record
  return new Linked(`It is linked to ${path}, which ended: ${reason}`, { path, reason })
}
