/**
 * One end of a simulated connection: a stream of frames towards its peer, and an inbox for what the peer sends. Within
 * one link frames arrive whole, in order, at most once, whatever the faults; a link that breaks loses a suffix.
 *
 * What `send` takes waits in the queue (memory of the process: lost when it dies) until it departs; in flight it is the
 * network's. In flight there is a window's worth of bytes at most, so a receiver that does not read is felt as 'full'.
 */
import type { ChoiceStream, Scheduled, SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import { LinkInbox } from '../transport/link-inbox.ts'
import { checkCloseCode, frameTooBig } from '../transport/transport.ts'
import type { CloseReason, Link, SendResult } from '../transport/transport.ts'
import type { MessageFaults } from './message-fault.ts'
import type { FrameDamage, NetworkPath, PathLink, Undo } from './network-path.ts'
import { Parcel, ParcelLine } from './parcel-line.ts'

/** What a link needs of its network. */
export interface LinkNetwork {
  readonly simulation: Simulation
  /** Bytes in flight per direction; one frame may always be. */
  readonly windowBytes: number
  /** How long an end that hears nothing takes its connection for standing. Milliseconds. */
  readonly keepaliveMs: number
  /** What an arrow of the picture says. Only asked while tracing. */
  readonly labelOf: (link: Link, frame: Uint8Array) => string
  readonly messageFaults: MessageFaults
}

/** What makes one end. */
export interface LinkEnd {
  readonly life: SimulatedProcess
  /** What it sends goes along here. */
  readonly path: NetworkPath
  readonly remoteAddress: string
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  /** Neither end is of any use any more. */
  readonly onGone: (link: SimulatedLink) => void
}

const silentChance = 0.25

export class SimulatedLink implements Link, PathLink {
  readonly life: SimulatedProcess
  readonly path: NetworkPath
  readonly remoteAddress: string
  isEstablished = false
  readonly #network: LinkNetwork
  readonly #simulation: Simulation
  readonly #end: LinkEnd
  readonly #inbox: LinkInbox
  /** The other end. Set before anybody else sees the link. */
  #peer: SimulatedLink = this
  /** Not departed: lost when the process dies. */
  readonly #queue = new ParcelLine()
  /** The network's: may arrive even when its sender is dead. */
  readonly #flight = new ParcelLine()
  #lastArrivalMs = 0
  /** When the line has sent what it sends: with a limited bandwidth. */
  #lineFreeAtMs = 0
  /** The event for the first parcel in flight. None while the path is blocked, or the receiver does not read. */
  #arrival: Scheduled | undefined
  #pumping: Scheduled | undefined
  #pumpAtMs = Number.POSITIVE_INFINITY
  #isFull = false
  /** The receiver has too much that nobody took. */
  #isDoorShut = false
  /** Its owner sees it as ended. */
  #isClosed = false
  /** What it sends never arrives. */
  #isSwallowed = false
  #isBroken = false
  #damage: FrameDamage | undefined
  #damageAfter = 0
  #onDrain: (() => void) | undefined
  #onOpened: (() => void) | undefined
  #guard: Scheduled | undefined

  constructor(network: LinkNetwork, end: LinkEnd) {
    this.#network = network
    this.#simulation = network.simulation
    this.#end = end
    this.life = end.life
    this.path = end.path
    this.remoteAddress = end.remoteAddress
    this.#inbox = new LinkInbox({
      waitingBytesMax: end.frameBytesMax,
      defer: (task) => this.#simulation.at(this.#simulation.nowMs, this.life, 'link-inbox', task),
      onBacklog: (isOver) => this.#peer.#setDoor(isOver),
      onThrow: (reason) => this.#part(reason, true),
    })
    end.path.links.add(this)
  }

  get bufferedBytes(): number {
    return this.#queue.bytes
  }

  get isOpen(): boolean {
    return !this.#isClosed && !this.#isBroken
  }

  /** Hot: one small object and at most one event per frame. */
  readonly send = (frame: Uint8Array): SendResult => {
    if (this.#isClosed) return 'closed'
    const bytes = frame.byteLength
    if (bytes > this.#end.frameBytesMax) throw frameTooBig(bytes, this.#end.frameBytesMax)
    if (this.#queue.first !== undefined || this.path.isNarrow || this.#isWindowFull(bytes)) {
      return this.#enqueue(frame, bytes)
    }
    if (!this.life.crashPoint()) return 'closed'
    this.#depart(new Parcel(frame, undefined), 0)
    this.life.crashPoint()
    return 'ok'
  }

  readonly onFrame = (callback: (frame: Uint8Array) => void): void => this.#inbox.setFrameCallback(callback)
  readonly onClose = (callback: (reason: CloseReason) => void): void => this.#inbox.setCloseCallback(callback)
  readonly onDrain = (callback: () => void): void => {
    this.#onDrain = callback
  }

  readonly established = (): void => {
    this.isEstablished = true
    this.#guard?.cancel()
    this.#guard = undefined
  }

  readonly close = (code = 'CLUSTER_LINK_CLOSED'): void => {
    checkCloseCode(code)
    if (this.#isClosed) {
      // What waited is dropped all the same; the first reason stands.
      this.#inbox.end({ code, message: 'This side closed the link' }, true)
      return
    }
    if (!this.life.crashPoint()) return
    this.#part({ code, message: 'This side closed the link' }, true)
    this.life.crashPoint()
  }

  readonly unreliable = (protocol: string, type: string, deliver: () => void): void =>
    this.#network.messageFaults.pass(this.#peer.path, this.life, protocol, type, deliver)

  // ---- Opening (the transport's) -------------------------------------------------------------------------------

  /** Makes two ends one connection. The dialler's learns that it is open when word of the other has come. */
  static join(near: SimulatedLink, far: SimulatedLink, onOpened: () => void): void {
    near.#peer = far
    far.#peer = near
    near.#onOpened = onOpened
    far.#depart(new Parcel(undefined, undefined), 0)
  }

  /** Closes an accepted link whose peer does not prove in time who it is. */
  guard(timeoutMs: number): void {
    this.#guard = this.#simulation.at(this.#simulation.nowMs + timeoutMs, this.life, 'link-guard', () => {
      if (!this.isEstablished) this.close('CLUSTER_LINK_NOT_ESTABLISHED')
    })
  }

  /** The dial was given up before anybody had the link. */
  abandon(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#breakOff(undefined)
    this.#forgetWhenGone()
  }

  // ---- Faults --------------------------------------------------------------------------------------------------

  /** Its process died: what had not departed is lost, and some of the rest may be. */
  crash(choices: ChoiceStream): void {
    // What left on a link that was closed in good order is the network's: the process may end behind it.
    const hasLeft = this.#isClosed && this.#queue.first === undefined
    this.#isClosed = true
    if (!hasLeft && !this.#peer.#isClosed) this.#breakOff(choices)
    this.#forgetWhenGone()
  }

  resume(gapMs: number): void {
    if (gapMs > 0) {
      let atMs = this.#simulation.nowMs
      for (let parcel = this.#flight.first; parcel !== undefined; parcel = parcel.next) {
        atMs = Math.max(parcel.arrivesAtMs, atMs)
        parcel.arrivesAtMs = atMs
        this.#lastArrivalMs = Math.max(this.#lastArrivalMs, atMs)
        atMs += gapMs
      }
    }
    if (this.path.bytesPerMs === Number.POSITIVE_INFINITY) this.#lineFreeAtMs = 0
    this.#expect()
    if (this.#queue.first !== undefined) this.#pumpAt(this.#simulation.nowMs)
  }

  calm(latencyMs: number): void {
    const { nowMs } = this.#simulation
    // One after the other each becomes the least that it can be: their order stays.
    for (let parcel = this.#flight.first; parcel !== undefined; parcel = parcel.next) {
      const leastMs = Math.max(parcel.departsAtMs, nowMs) + latencyMs
      parcel.arrivesAtMs = Math.min(parcel.arrivesAtMs, leastMs)
    }
    this.#lastArrivalMs = this.#flight.last?.arrivesAtMs ?? 0
    this.#arrival?.cancel()
    this.#arrival = undefined
    this.#expect()
    if (this.#peer.#isBroken) this.#loseAt(nowMs, noAnswer)
  }

  timeOut(): void {
    for (const end of [this, this.#peer]) end.#loseAt(this.#simulation.nowMs, noAnswer)
  }

  goHalfOpen(): Undo {
    this.#isSwallowed = true
    const dueMs = this.#simulation.nowMs + this.#network.keepaliveMs
    for (const end of [this, this.#peer]) end.#loseAt(dueMs, noAnswer)
    return () => this.timeOut()
  }

  reset(choices: ChoiceStream): void {
    this.#breakOff(choices)
    this.#peer.#breakOff(choices)
  }

  damage(kind: FrameDamage, skip: number): Undo {
    this.#damage = kind
    this.#damageAfter = skip
    return () => {
      this.#damage = undefined
    }
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  #isWindowFull(bytes: number): boolean {
    return this.#flight.bytes > 0 && this.#flight.bytes + bytes > this.#network.windowBytes
  }

  #enqueue(frame: Uint8Array, bytes: number): SendResult {
    if (this.#queue.bytes + bytes > this.#end.outboundBytesMax || this.#queue.count >= this.path.framesMax) {
      this.#isFull = true
      return 'full'
    }
    if (!this.life.crashPoint()) return 'closed'
    this.#queue.push(new Parcel(frame, undefined))
    this.#pump()
    // Not from inside `send`: whoever was told 'full' is told of the drain in an event of its own.
    if (this.#isFull) this.#pumpAt(this.#simulation.nowMs)
    this.life.crashPoint()
    return 'ok'
  }

  /** Lets depart what may. Whatever makes room calls it again: an arrival, the line, a limit that is gone. */
  #pump(): void {
    for (let parcel = this.#queue.first; parcel !== undefined; parcel = this.#queue.first) {
      let lineMs = 0
      if (parcel.frame !== undefined) {
        if (this.#flight.count >= this.path.framesMax || this.#isWindowFull(parcel.bytes)) return
        if (this.path.bytesPerMs !== Number.POSITIVE_INFINITY) {
          const { departsAtMs } = this.life
          if (this.#lineFreeAtMs > departsAtMs) {
            this.#pumpAt(this.#lineFreeAtMs)
            return
          }
          lineMs = parcel.bytes / this.path.bytesPerMs
          this.#lineFreeAtMs = departsAtMs + lineMs
        }
      }
      this.#queue.shift()
      this.#depart(parcel, lineMs)
    }
  }

  #pumpAt(atMs: number): void {
    if (atMs >= this.#pumpAtMs) return
    this.#pumping?.cancel()
    this.#pumpAtMs = atMs
    this.#pumping = this.#simulation.at(atMs, this.life, 'link-pump', this.#pumpNow)
  }

  readonly #pumpNow = (): void => {
    this.#pumpAtMs = Number.POSITIVE_INFINITY
    this.#pump()
    if (this.#isFull && !this.#isClosed && this.#hasDrained()) {
      this.#isFull = false
      this.#onDrain?.()
    }
  }

  #hasDrained(): boolean {
    return this.#queue.bytes <= this.#end.outboundBytesMax / 2 && this.#queue.count <= this.path.framesMax / 2
  }

  #depart(parcel: Parcel, lineMs: number): void {
    parcel.departsAtMs = this.life.departsAtMs
    if (this.#simulation.isTracing && parcel.frame !== undefined) this.#noteSent(parcel, parcel.frame)
    if (this.#isSwallowed) {
      this.#noteLost(parcel, 'the connection is dead, which its sender does not know')
      return
    }
    this.#launch(parcel, parcel.departsAtMs + lineMs + this.path.latencyMs())
  }

  /** Never before what is in flight already: a stream keeps its order. */
  #launch(parcel: Parcel, arrivesAtMs: number): void {
    if (arrivesAtMs > this.#lastArrivalMs) this.#lastArrivalMs = arrivesAtMs
    parcel.arrivesAtMs = this.#lastArrivalMs
    this.#flight.push(parcel)
    if (this.#arrival === undefined) this.#expect()
  }

  // ---- Receiving -----------------------------------------------------------------------------------------------

  #expect(): void {
    const first = this.#flight.first
    if (first === undefined || this.#arrival !== undefined || this.path.blocks > 0 || this.#isDoorShut) return
    this.#arrival = this.#simulation.at(first.arrivesAtMs, this.#peer.life, 'frame', this.#arrive)
  }

  /** Hands over all that is due, as one read of a socket does. */
  readonly #arrive = (): void => {
    this.#arrival = undefined
    // What found the path blocked waits at its end: unblocking it looks again.
    if (this.path.blocks > 0) return
    const { nowMs } = this.#simulation
    for (
      let parcel = this.#flight.first;
      parcel !== undefined && parcel.arrivesAtMs <= nowMs && !this.#isDoorShut;
      parcel = this.#flight.first
    ) {
      this.#flight.shift()
      this.#peer.#take(parcel)
    }
    if (this.#flight.first !== undefined) this.#expect()
    if (this.#queue.first !== undefined) this.#pumpAt(nowMs)
  }

  #take(parcel: Parcel): void {
    const { frame } = parcel
    const from = this.#peer
    if (frame === undefined) {
      if (parcel.reason !== undefined) this.#lose(parcel.reason)
      else this.#onOpened?.()
      return
    }
    if (this.#isClosed) {
      from.#noteLost(parcel, 'the link has ended')
      return
    }
    if (frame.byteLength > this.#end.frameBytesMax) {
      from.#noteLost(parcel, 'it is larger than its receiver takes')
      const limit = this.#end.frameBytesMax
      this.#part(
        {
          code: 'CLUSTER_FRAME_TOO_BIG',
          message: `The peer sent a frame of ${frame.byteLength} bytes; frameBytesMax is ${limit}`,
        },
        false,
      )
      return
    }
    if (from.#damage !== undefined && from.#damageAfter-- <= 0) {
      this.#takeDamaged(parcel, from.#damage)
      return
    }
    this.#simulation.hash.word(from.path.word)
    this.#simulation.hash.bytes(frame)
    this.#inbox.push(frame)
    if (this.#simulation.isTracing) this.#noteArrived(parcel, frame, from)
  }

  #takeDamaged(parcel: Parcel, kind: FrameDamage): void {
    const from = this.#peer
    from.#damage = undefined
    this.#simulation.sometimes(`frame-${kind === 'corrupt' ? 'corrupted' : 'truncated'}`)
    if (kind === 'corrupt') {
      from.#noteLost(parcel, 'it was damaged on the way')
      this.#part({ code: 'CLUSTER_LINK_PROTOCOL', message: 'A frame was damaged on the way' }, false)
      return
    }
    from.#noteLost(parcel, 'the connection broke in the middle of it')
    this.#lose({ ...lost, message: 'The connection broke in the middle of a frame' })
    this.#breakOff(undefined)
  }

  #setDoor(isShut: boolean): void {
    this.#isDoorShut = isShut
    if (!isShut) this.#expect()
  }

  // ---- Ending --------------------------------------------------------------------------------------------------

  /** This end ends the link. What was queued is still sent, then the peer learns the code: not our words for it. */
  #part(reason: CloseReason, dropWaiting: boolean): void {
    this.#inbox.end(reason, dropWaiting)
    if (this.#isClosed) return
    this.#isClosed = true
    const parcel = new Parcel(undefined, { code: reason.code, message: 'The peer closed the link' })
    if (this.#queue.first === undefined) this.#depart(parcel, 0)
    else this.#queue.push(parcel)
    this.#forgetWhenGone()
  }

  /** The peer ended the link, or the network did. What came in before is still handed over. */
  #lose(reason: CloseReason): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#dropQueue('the link has ended')
    this.#inbox.end(reason, false)
    this.#forgetWhenGone()
  }

  #loseAt(atMs: number, reason: CloseReason): void {
    this.#simulation.at(atMs, this.life, 'link-lost', () => this.#lose(reason))
  }

  /**
   * Nothing more comes from this end. A suffix of what is in flight is lost, by choice; the peer hears of the end behind
   * the rest, or only from its own keepalive. Without `choices`: all of it arrives, and the end with it.
   */
  #breakOff(choices: ChoiceStream | undefined): void {
    if (this.#isBroken) return
    this.#isBroken = true
    this.#isSwallowed = true
    const { nowMs } = this.#simulation
    this.#dropQueue('the connection broke')
    let departed = 0
    for (let parcel = this.#flight.first; parcel !== undefined; parcel = parcel.next) {
      if (parcel.departsAtMs <= nowMs) departed++
    }
    this.#cutFlight(departed - (choices?.choose(departed + 1) ?? 0))
    if (choices?.chance(silentChance) === true) {
      this.#peer.#loseAt(nowMs + this.#network.keepaliveMs, noAnswer)
    } else {
      this.#launch(new Parcel(undefined, lost), nowMs + this.path.latencyMs())
    }
  }

  /** Only the first `kept` parcels in flight still arrive. */
  #cutFlight(kept: number): void {
    this.#flight.cut(kept, (parcel) => this.#noteLost(parcel, 'the connection broke'))
    this.#lastArrivalMs = this.#flight.last?.arrivesAtMs ?? 0
  }

  #dropQueue(why: string): void {
    this.#queue.cut(0, (parcel) => {
      if (!this.#simulation.isTracing || parcel.frame === undefined) return
      parcel.departsAtMs = this.#simulation.nowMs
      this.#noteSent(parcel, parcel.frame)
      this.#noteLost(parcel, why)
    })
  }

  #forgetWhenGone(): void {
    // One that has left takes no stranger's place any more.
    this.established()
    const peer = this.#peer
    if (!peer.#isClosed) return
    for (const end of [this, peer]) {
      end.#cutFlight(0)
      end.#dropQueue('the link has ended')
      end.path.links.delete(end)
      end.#end.onGone(end)
    }
  }

  // ---- The picture ---------------------------------------------------------------------------------------------

  #noteSent(parcel: Parcel, frame: Uint8Array): void {
    const { simulation, labelOf } = this.#network
    parcel.messageId = simulation.nextMessageId()
    simulation.note({
      type: 'sent',
      ...simulation.place(this.path.from.name),
      atMs: parcel.departsAtMs,
      messageId: parcel.messageId,
      to: this.path.to.name,
      message: labelOf(this, frame),
      actor: undefined,
    })
  }

  /** What a frame carried shows in the mailboxes of its receiver: a better name for the arrow than its length. */
  #noteArrived(parcel: Parcel, frame: Uint8Array, from: SimulatedLink): void {
    const { messageId } = parcel
    const carried = this.#simulation.arrivedIn(this.#end.life)
    const message = carried.length === 0 ? this.#network.labelOf(from, frame) : carried.join(', ')
    this.#simulation.relabel(messageId, message)
    this.#simulation.note({
      type: 'arrived',
      ...this.#simulation.place(this.path.from.name),
      messageId,
      message,
    })
  }

  #noteLost(parcel: Parcel, why: string): void {
    const { simulation } = this.#network
    const { messageId } = parcel
    if (!simulation.isTracing || messageId < 0) return
    simulation.note({ type: 'lost', ...simulation.place(this.path.from.name), messageId, why })
  }
}

const lost: CloseReason = Object.freeze({
  code: 'CLUSTER_LINK_LOST',
  message: 'The connection broke without a good-bye',
})
const noAnswer: CloseReason = Object.freeze({
  code: 'CLUSTER_LINK_LOST',
  message: 'Nothing was heard from the peer for longer than the keepalive allows',
})
