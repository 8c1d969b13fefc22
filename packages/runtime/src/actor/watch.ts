/**
 * Watching: exactly one notice per watch, whatever happens. A notice is an ordinary message of the watcher's own, made
 * by the function it gave; it stands behind the last message of the dead actor, and nobody else can send it.
 */
import type { Cell } from './cell.ts'
import type { Deferred, Message } from './envelope.ts'
import type { Ref } from './ref.ts'

/**
 * Why a watched actor is gone. `stopped`: in good order; `failed`: it crashed and is not started again; `limit`: it is a
 * supervisor whose children failed too often; `node-down`: its node is gone; `not-found`: nobody lived there.
 */
export type EndReason = 'stopped' | 'failed' | 'limit' | 'node-down' | 'not-found'

/** One watch, in the lists of both sides. */
export class WatchRecord implements Deferred {
  readonly type = '(watch notice)'
  readonly watcher: Cell
  readonly target: Ref
  /** `undefined` for a link: then the watcher fails. */
  readonly toMessage: ((reason: EndReason) => Message) | undefined
  /** False once it was revoked or its notice was handled. */
  active = true
  reason: EndReason | undefined = undefined
  previous: WatchRecord | null = null
  next: WatchRecord | null = null
  /** The cell an unbound ref stood for when the watch began. */
  watchedCell: Cell | null = null

  constructor(watcher: Cell, target: Ref, toMessage: ((reason: EndReason) => Message) | undefined) {
    this.watcher = watcher
    this.target = target
    this.toMessage = toMessage
  }

  /** The target is gone. Only the first call counts. */
  ended(reason: EndReason): void {
    if (!this.active || this.reason !== undefined) return
    this.reason = reason
    this.watcher.watchEnded(this)
  }

  /** The notice's turn has come. */
  open(): Message | undefined {
    if (!this.active || this.reason === undefined || this.toMessage === undefined) return undefined
    this.active = false
    this.watcher.forgetWatch(this)
    return this.toMessage(this.reason)
  }
}
