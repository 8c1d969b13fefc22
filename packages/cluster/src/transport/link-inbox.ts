/**
 * The receiving end of a link, shared by all transports: it holds what arrives before anybody listens, keeps
 * the end behind the last frame, and makes sure that nothing comes after it.
 */
import type { CloseReason } from './transport.ts'

/** What the inbox needs from its link. */
export interface LinkInboxOptions {
  /** More than so many waiting bytes, and `onBacklog(true)` is called. Bytes. */
  readonly waitingBytesMax: number
  /** Runs a task soon, in order, never at once. */
  readonly defer: (task: () => void) => void
  /** True: stop reading. False: go on. */
  readonly onBacklog: (isOver: boolean) => void
  /** `onFrame` threw: end the link for this reason. */
  readonly onThrow: (reason: CloseReason) => void
}

/**
 * Frames wait while there is no callback, or while earlier ones are still being handed over. The common path,
 * callback set and nothing waiting, is one branch and a call.
 */
export class LinkInbox {
  readonly #options: LinkInboxOptions
  #onFrame: ((frame: Uint8Array) => void) | undefined
  #onClose: ((reason: CloseReason) => void) | undefined
  /** Frames that wait, oldest first. When it is not empty, new ones go behind. */
  #waiting: Uint8Array[] = []
  #waitingBytes = 0
  #isOver = false
  #isFlushDue = false
  /** Set when the link has ended; told once nothing waits. */
  #reason: CloseReason | undefined
  /** No flush is due from then on, so it is told once. */
  #isTold = false

  constructor(options: LinkInboxOptions) {
    this.#options = options
  }

  get isEnded(): boolean {
    return this.#reason !== undefined
  }

  setFrameCallback(callback: (frame: Uint8Array) => void): void {
    this.#onFrame = callback
    this.#flushSoon()
  }

  setCloseCallback(callback: (reason: CloseReason) => void): void {
    this.#onClose = callback
    this.#flushSoon()
  }

  /** A frame came in. Dropped when the link has ended. */
  push(frame: Uint8Array): void {
    if (this.#reason !== undefined) return
    if (this.#onFrame !== undefined && this.#waiting.length === 0) {
      this.#deliver(this.#onFrame, frame)
      return
    }
    this.#waiting.push(frame)
    this.#waitingBytes += frame.byteLength
    if (!this.#isOver && this.#waitingBytes > this.#options.waitingBytesMax) {
      this.#isOver = true
      this.#options.onBacklog(true)
    }
  }

  /**
   * The link ended. With `dropWaiting` (we closed it) what waits is dropped, else it is still delivered
   * first.
   */
  end(reason: CloseReason, dropWaiting: boolean): void {
    if (dropWaiting) this.#waiting.length = 0
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#flushSoon()
  }

  #flushSoon(): void {
    if (this.#isFlushDue || this.#isTold) return
    this.#isFlushDue = true
    this.#options.defer(() => {
      this.#isFlushDue = false
      this.#flush()
    })
  }

  #flush(): void {
    for (let at = 0; at < this.#waiting.length; at++) {
      const frame = this.#waiting[at]
      if (this.#onFrame === undefined || frame === undefined) return
      this.#deliver(this.#onFrame, frame)
    }
    this.#waiting = []
    this.#waitingBytes = 0
    if (this.#isOver) {
      this.#isOver = false
      this.#options.onBacklog(false)
    }
    if (this.#reason !== undefined && this.#onClose !== undefined) {
      this.#isTold = true
      this.#onClose(this.#reason)
    }
  }

  #deliver(callback: (frame: Uint8Array) => void, frame: Uint8Array): void {
    try {
      callback(frame)
    } catch (error) {
      // A hostile frame that trips a bug above must cost its sender the link, not everybody the process.
      this.#options.onThrow({
        code: 'CLUSTER_FRAME_HANDLER_FAILED',
        message: `The receiver of the link's frames threw: ${error instanceof Error ? error.message : String(error)}`,
      })
    }
  }
}
