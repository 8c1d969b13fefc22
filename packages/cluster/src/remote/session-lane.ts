/**
 * One lane of a session: a link, the numbers that both its ends have agreed on, what waits for it, and when that leaves.
 *
 * Everything here is bounded. What of, by what, and what happens beyond:
 *
 * | lane    | what waits                          | bound                                   | beyond it |
 * |---------|-------------------------------------|-----------------------------------------|-----------|
 * | any     | envelopes of the turn in progress   | 512 of them, or 65,536 bytes            | they leave at once |
 * | any     | frames that the link has taken      | `linkBytesMax` (other transports: theirs) | the lane's own queue takes them, and `ref.room()` waits |
 * | data    | messages while the link is full     | half of `outboundBytesMax`, but two frames must fit in the rest | refused: `link-full`, `CLUSTER_LINK_FULL` |
 * | bulk    | the same                            | the same                                | the same |
 * | control | messages of lane `control`          | the same                                | the same |
 * | any     | messages while there is no link yet | `outboundBytesMax`                      | refused, as above |
 * | data, bulk | answers, cancels, watches, notices | `outboundBytesMax` behind a full link; twice that without one | the session ends: its links are closed |
 * | control | gossip, heartbeats, credit, lane words | the same                             | the same: the connection is reset |
 * | any     | open asks of one peer               | `pendingAsksMax`, each way              | refused here; the peer's: it is cut off |
 * | data    | watches of one peer                 | `watchesMax`                            | it is cut off |
 * | any     | messages in a mailbox here          | credit: recipient-credit.ts             | the sender's `link-full` |
 *
 * Refused: the message was not sent, its sender knows at once, and `ref.room()` says when to go on. Answers and notices
 * are never dropped one by one: a peer that does not read them loses the connection instead, and all who wait learn it.
 * What comes in is never held back: it is put into mailboxes at once, so that a slow actor stops no lane.
 *
 * FIFO holds per (sender, receiver, lane). A lane whose link has ended in good order (`END_LANE`) begins again with empty
 * tables, and only when all of the old link has been read.
 */
import type { Timer } from '@understudy/runtime'
import type { AskCarrier, Kernel } from '@understudy/runtime/internal'
import type { Link } from '../transport/transport.ts'
import type { FrameDecoder } from '../wire/frame-decoder.ts'
import { FrameEncoder } from '../wire/frame-encoder.ts'
import type { LaneName } from '../wire/wire-protocol.ts'

/** Envelopes after which a batch leaves without waiting for the end of the turn. */
const flushEnvelopes = 512
/** And bytes, whichever comes first. */
const flushBytes = 65_536
/**
 * After so many bytes whoever asks for room waits until the loop has come by. A link may take all that it is given at
 * once, and `await ref.room()` would then be a loop of microtasks: no other lane, and no timer, would have its turn. This
 * is less than a millisecond's work (bench: lanes).
 */
const loopBytes = 262_144
/** What a link holds: enough for the network until the loop comes by again, and little to be behind. */
const linkBytes = 1_048_576
/** Fewer asks than this are not worth a frame before the end of the turn. */
const flushAsksLeast = 24

/** What a lane needs of the session that it is a part of. */
export interface LaneKeeper {
  readonly kernel: Kernel
  readonly isClosed: boolean
  /** Closed behind a good-bye: what waits is still sent, and the peer's last word still read. */
  readonly isParting: boolean
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  /** Milliseconds without traffic after which this side ends the lane; `Infinity` where the other side does. */
  readonly laneIdleMs: number
  /** A decoder with empty tables, for a link that begins. */
  readonly makeDecoder: (lane: SessionLane) => FrameDecoder
  readonly frames: (direction: 'in' | 'out', bytes: number) => void
  /** There is something to send and no link. Once, until there was one. */
  readonly wanted: (lane: SessionLane) => void
  /** Nothing waits for the link any more. */
  readonly drained: () => void
  readonly overflowed: (lane: SessionLane, waitingBytes: number) => void
  readonly fault: (code: string, message: string) => void
  /** Asks are open or watches are set on it: it is not idle. */
  readonly isBusy: (lane: SessionLane) => boolean
  /** The asker waits no longer. */
  readonly forgetAsk: (askId: number) => void
}

/** What a link of a session should hold at most, so that no lane keeps the others waiting. Bytes. */
export function linkBytesMax(frameBytesMax: number, outboundBytesMax: number): number {
  return Math.max(frameBytesMax, Math.min(outboundBytesMax, linkBytes))
}

export class SessionLane implements AskCarrier {
  readonly name: LaneName
  /** Appends; whoever did calls `appended`. Replaced when a link has ended. */
  encoder: FrameEncoder
  readonly #keeper: LaneKeeper
  /** Where frames go. */
  #link: Link | undefined
  /** Where they come from; for a while without the former, while the peer still has to end its half. */
  #source: Link | undefined
  #decoder: FrameDecoder | undefined
  #isOpen = false
  #flushDue = false
  #unflushedAsks = 0
  /**
   * Frames that the link had no room for, or that wait for a link, in order: the table at the head of this file.
   */
  #backlog: Uint8Array[] = []
  #backlogBytes = 0
  /** Of the backlog behind a full link: above it messages are refused. The rest is for what nobody can refuse. */
  readonly #messageBytesMax: number
  /** Sent since the loop was last waited for. */
  #loopBytes = 0
  /** Set while the loop is waited for. */
  #pauseTimer: Timer | undefined
  #isWanted = false
  /** The peer has ended its half, and waits for ours. */
  #endDue = false
  #isQuiet = false
  #idleTimer: Timer | undefined

  constructor(name: LaneName, keeper: LaneKeeper) {
    this.name = name
    this.#keeper = keeper
    const { frameBytesMax, outboundBytesMax } = keeper
    this.#messageBytesMax = Math.max(0, Math.min(outboundBytesMax / 2, outboundBytesMax - 2 * frameBytesMax))
    this.encoder = this.#newEncoder()
  }

  /** The link in use, or that still ends. */
  get link(): Link | undefined {
    return this.#source
  }

  /** No more messages are taken for now. */
  get isFull(): boolean {
    if (this.#backlog.length === 0) return false
    if (this.#link === undefined) return this.#backlogBytes >= this.#keeper.outboundBytesMax
    return this.#backlogBytes > this.#messageBytesMax
  }

  /**
   * Whoever waits for room may send: nothing waits for the link, and the loop has had its turn. Else `keeper.drained` will
   * come. A batch that is sent then is taken, when it is no longer than what may wait here.
   */
  get hasRoom(): boolean {
    if (this.#pauseTimer !== undefined) return false
    if (this.#backlog.length === 0) return true
    return this.#link === undefined && this.#backlogBytes < this.#keeper.outboundBytesMax
  }

  /** All that was appended has been handed to the link. */
  get isSent(): boolean {
    return this.encoder.pending === 0 && this.#backlog.length === 0
  }

  /** Bytes that wait here for the link. */
  get waitingBytes(): number {
    return this.#backlogBytes + this.encoder.pendingBytes
  }

  // ---- The link ------------------------------------------------------------------------------------------------

  /** Uses `link` from now on, first for what waits. False when there is one already. `open` begins to read it. */
  attach(link: Link): boolean {
    if (this.#link !== undefined || this.#source !== undefined) return false
    this.#link = link
    this.#source = link
    this.#isWanted = false
    this.#decoder = this.#keeper.makeDecoder(this)
    link.onDrain(() => {
      if (this.#link === link) this.#drain()
    })
    this.#drain()
    return true
  }

  /** Begins to read. */
  open(): void {
    const link = this.#source
    if (link === undefined || this.#isOpen) return
    this.#isOpen = true
    link.onFrame((frame) => this.#read(link, frame))
    this.#isQuiet = false
    this.#armIdleTimer()
  }

  /** The session is over. `isParting`: what waits still leaves, as long as there is a link. */
  close(isParting: boolean): void {
    this.#idleTimer?.cancel()
    this.#idleTimer = undefined
    this.#pauseTimer?.cancel()
    this.#pauseTimer = undefined
    if (isParting) return
    this.#backlog = []
    this.#backlogBytes = 0
  }

  #read(link: Link, frame: Uint8Array): void {
    if ((this.#keeper.isClosed && !this.#keeper.isParting) || this.#source !== link) return
    this.#isQuiet = false
    this.#keeper.frames('in', frame.length)
    if (this.#endDue) {
      this.#keeper.fault('bad-envelope', `a frame came behind the end of lane ${this.name}`)
      return
    }
    const fault = this.#decoder?.read(frame)
    if (fault !== undefined) this.#keeper.fault(fault.code, fault.message)
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  /** An envelope was appended: it leaves with the batch, at the end of the turn or before. */
  appended(): void {
    if (this.encoder.pending >= flushEnvelopes || this.encoder.pendingBytes >= flushBytes) {
      this.flush()
    } else if (!this.#flushDue) {
      // One flush per turn: what the actors of this slice send leaves together.
      this.#flushDue = true
      this.#keeper.kernel.platform.scheduler.afterTurn(this.#flushNow)
    }
  }

  /** An ask was appended, one of `open` that wait for their answers. */
  appendedAsk(open: number): void {
    // Half of all open asks leave at once: the peer works on them while the rest is being written (bench: remote-ask-64).
    const unflushed = ++this.#unflushedAsks
    if (unflushed >= flushAsksLeast && unflushed * 2 >= open) this.flush()
    else this.appended()
  }

  readonly #flushNow = (): void => {
    this.#flushDue = false
    this.flush()
  }

  flush(): void {
    this.#unflushedAsks = 0
    if (this.#keeper.isClosed || this.encoder.pending === 0) return
    this.#isQuiet = false
    for (const frame of this.encoder.take()) {
      this.#send(frame)
      if (this.#keeper.isClosed) return
    }
    if (this.#link === undefined) this.#want()
    else this.#answerEnd()
  }

  #send(frame: Uint8Array): void {
    const keeper = this.#keeper
    const link = this.#link
    keeper.frames('out', frame.length)
    this.#loopBytes += frame.length
    if (this.#loopBytes >= loopBytes) this.#pause()
    if (link !== undefined && this.#backlog.length === 0 && link.send(frame) !== 'full') return
    this.#backlog.push(frame)
    this.#backlogBytes += frame.length
    const limit = link === undefined ? keeper.outboundBytesMax * 2 : keeper.outboundBytesMax
    if (this.#backlogBytes > limit) keeper.overflowed(this, this.#backlogBytes)
  }

  #pause(): void {
    this.#pauseTimer ??= this.#keeper.kernel.platform.scheduler.afterLoop(this.#resume)
  }

  readonly #resume = (): void => {
    this.#loopBytes = 0
    this.#pauseTimer = undefined
    if (this.hasRoom) this.#keeper.drained()
  }

  #drain(): void {
    const link = this.#link
    const waiting = this.#backlog
    if (link === undefined) return
    let sent = 0
    while (sent < waiting.length && link.send(waiting[sent] as Uint8Array) !== 'full') {
      this.#backlogBytes -= (waiting[sent] as Uint8Array).length
      sent++
    }
    this.#backlog = waiting.slice(sent)
    if (this.#backlog.length > 0) return
    this.#answerEnd()
    this.#keeper.drained()
  }

  /** @internal An asker gave up what it asked on this lane: the peer hears of it on the same. */
  gaveUp(askId: number): void {
    this.#keeper.forgetAsk(askId)
    if (this.#keeper.isClosed) return
    this.encoder.cancel(askId)
    this.appended()
  }

  // ---- Begin and end -------------------------------------------------------------------------------------------

  /** The peer, which cannot dial it, has something to send here. */
  peerWants(): void {
    if (this.#link === undefined) this.#want()
  }

  #want(): void {
    if (this.#isWanted) return
    this.#isWanted = true
    // While the old link still brings something a new one must not overtake it: `ended` asks again.
    if (this.#source === undefined) this.#keeper.wanted(this)
  }

  /** The peer has sent its last on this link. */
  ended(): void {
    const link = this.#source
    if (this.#link === undefined && link !== undefined) {
      // We ended our half before, and this is the answer: all that was sent has been read, on both sides.
      this.#forgetSource()
      link.close('CLUSTER_LANE_IDLE')
      if (this.#isWanted) this.#keeper.wanted(this)
    } else if (this.#keeper.laneIdleMs !== Number.POSITIVE_INFINITY) {
      this.#keeper.fault('bad-envelope', `lane ${this.name} was ended by the side that did not dial it`)
    } else {
      this.#endDue = true
      this.flush()
      this.#answerEnd()
    }
  }

  /** Once all that was to be sent on the link that ends is sent; called whenever that may be. */
  #answerEnd(): void {
    if (!this.#endDue || this.#backlog.length > 0 || !this.#sendEnd()) return
    this.#endDue = false
    // Who dialled it closes it.
    this.#forgetSource()
    if (this.#isWanted) this.#keeper.wanted(this)
  }

  #forgetSource(): void {
    this.#source = undefined
    this.#decoder = undefined
    this.#isOpen = false
  }

  /** False when the link is too full even for that. */
  #sendEnd(): boolean {
    const link = this.#link
    if (link === undefined || this.encoder.pending > 0) return false
    this.encoder.endLane(this.name)
    for (const frame of this.encoder.take()) {
      if (link.send(frame) === 'full') return false
      this.#keeper.frames('out', frame.length)
    }
    // What is sent from here on goes over another link, whose other end knows no number yet.
    this.#link = undefined
    this.encoder = this.#newEncoder()
    return true
  }

  #armIdleTimer(): void {
    const { kernel, laneIdleMs } = this.#keeper
    if (laneIdleMs === Number.POSITIVE_INFINITY || this.name === 'control') return
    const { clock } = kernel
    this.#idleTimer?.cancel()
    this.#idleTimer = clock.setTimer(clock.monotonicMs() + laneIdleMs, this.#looked)
  }

  readonly #looked = (): void => {
    this.#idleTimer = undefined
    if (this.#keeper.isClosed || this.#link === undefined) return
    if (this.#isQuiet && this.isSent && !this.#keeper.isBusy(this) && this.#sendEnd()) return
    this.#isQuiet = true
    this.#armIdleTimer()
  }

  #newEncoder(): FrameEncoder {
    return new FrameEncoder({ frameBytesMax: this.#keeper.frameBytesMax })
  }
}
