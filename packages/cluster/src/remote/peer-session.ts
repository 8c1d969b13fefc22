/**
 * What stands between this node and one life of another: up to three lanes (session-lane.ts), the asks that wait for
 * their answers, and who may be sent to. Ends with any of its links; nothing of it outlives the connection epoch.
 */
import type { CallLink, Kernel, Message, PendingAsk, Ref } from '@understudy/runtime/internal'
import type { Link } from '../transport/transport.ts'
import { FrameDecoder } from '../wire/frame-decoder.ts'
import type { Unsendable } from '../wire/unsendable.ts'
import type { LaneName, Recipient, WireProtocol } from '../wire/wire-protocol.ts'
import { lanesSince } from '../wire/wire-version.ts'
import { NodeDown } from './cluster-error.ts'
import { Farewell } from './farewell.ts'
import { CreditGiver, CreditTaker } from './recipient-credit.ts'
import { RoomQueue } from './room-queue.ts'
import { sessionDefaults, type ExtraLane, type SessionFacts, type SessionHost } from './session-host.ts'
import { SessionLane, type LaneKeeper } from './session-lane.ts'
import { pendingAsksMax, SessionSink } from './session-sink.ts'
import { wireProtocolOf } from './wire-registry.ts'

export type { ExtraLane, SessionFacts, SessionHost } from './session-host.ts'

/** Why a message was not taken: the link's queue is full, or the recipient has too much to do already. */
export type Refused = 'queue' | 'no credit'

/** What the end of a link means for its session; see `linkClosed`. */
export type LinkEnd = 'lost' | 'leaving' | 'ended'

/** One session as plain JSON. */
export interface SessionStatus {
  readonly linkId: number
  /** By lane: whether it has a link, and the bytes that wait for it. Without lanes there is only `control`. */
  readonly lanes: Readonly<Record<string, { readonly isLinked: boolean; readonly waitingBytes: number }>>
  /** Asks that wait for an answer of the peer. */
  readonly asks: number
  /** Recipients over there that take no more for now. */
  readonly withoutCredit: number
  /** Recipients here whose mailboxes are so long that the peer was told to wait. */
  readonly withheld: number
}

const dataOnly: readonly LaneName[] = Object.freeze(['data'] as const)

export class PeerSession implements LaneKeeper {
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  /** The control link. */
  readonly link: Link
  readonly kernel: Kernel
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  readonly laneIdleMs: number
  readonly #host: SessionHost
  readonly #dialledByUs: boolean
  /** Set for a peer of wire version 1: what every envelope of a later version meets. */
  readonly #tooOld: Unsendable | undefined
  /** Without lanes of their own the three are one. */
  readonly #control: SessionLane
  readonly #data: SessionLane
  readonly #bulk: SessionLane
  readonly #lanes: readonly SessionLane[]
  readonly #sinks = new Map<SessionLane, SessionSink>()
  /** Asks that were sent and wait for their answer, whatever lane they went on. */
  readonly #asks = new Map<number, PendingAsk>()
  /** Watches that were set over there and have not ended. */
  readonly #watching = new Set<number>()
  readonly #giver: CreditGiver
  readonly #taker: CreditTaker
  /**
   * Lanes that are wanted, and dialled when the peer's first word on control is here: before that its handshake may not be
   * over, and a lane of a connection that does not stand yet is turned away.
   */
  readonly #unheard: ExtraLane[] = []
  #isHeard: boolean
  /** When a frame was last taken for a sign of life; the node's to keep. */
  activeAtMs = Number.NEGATIVE_INFINITY
  isClosed = false
  /** See `mute`. */
  isMuted = false
  /**
   * It has said its good-bye. Closed, it still sends what waits, and reads on for the peer's own last word: its links are
   * to stay until the peer, which has read all by then, closes them.
   */
  isParting = false
  #nextAskId = 1
  readonly #rooms: RoomQueue
  #senders: (() => void)[] = []
  readonly #farewell: Farewell

  /** `link` is the control link, after its handshake. Nothing is read before `open`. */
  constructor(link: Link, facts: SessionFacts, host: SessionHost) {
    this.link = link
    this.linkId = facts.linkId
    this.name = facts.name
    this.incarnation = facts.incarnation
    this.frameBytesMax = facts.frameBytesMax
    this.outboundBytesMax = facts.outboundBytesMax
    this.#host = host
    this.kernel = host.kernel
    this.#rooms = new RoomQueue(host.kernel)
    this.#farewell = new Farewell(() => {
      // Both leave: neither has anything to wait for.
      if (this.isClosed) this.closeLinks('CLUSTER_NODE_LEFT')
      else host.goodbye(this)
    })
    const version = facts.wireVersion ?? sessionDefaults.wireVersion
    const isNew = version >= lanesSince
    const problem = `is of wire version ${lanesSince}, and with node "${facts.name}" version ${version} is spoken`
    this.#tooOld = isNew ? undefined : { reason: 'peer-too-old', problem }
    this.#dialledByUs = facts.dialledByUs ?? false
    this.#isHeard = !(facts.awaitsPeer ?? false)
    this.laneIdleMs = this.#dialledByUs
      ? (facts.laneIdleMs ?? sessionDefaults.laneIdleMs)
      : Number.POSITIVE_INFINITY
    this.#taker = new CreditTaker(facts.creditAllowance ?? sessionDefaults.creditAllowance)
    this.#giver = new CreditGiver((recipient, isGiven) => this.#tellCredit(recipient, isGiven))
    const parts = {
      host,
      giver: this.#giver,
      creditHigh: isNew ? (facts.creditHigh ?? sessionDefaults.creditHigh) : Number.POSITIVE_INFINITY,
      tellsWatched: isNew,
    }
    const makeLane = (name: LaneName): SessionLane => {
      const lane = new SessionLane(name, this)
      this.#sinks.set(lane, new SessionSink(this, lane, parts))
      return lane
    }
    const hasLanes = isNew && (facts.lanes ?? false)
    this.#control = makeLane('control')
    this.#data = hasLanes ? makeLane('data') : this.#control
    this.#bulk = hasLanes ? makeLane('bulk') : this.#control
    this.#lanes = [...this.#sinks.keys()]
    this.#control.attach(link)
  }

  /** Every link in use, the control link first. */
  get links(): readonly Link[] {
    return this.#lanes.flatMap(({ link }) => (link === undefined ? [] : [link]))
  }

  /** Begins to read. */
  open(): void {
    this.#control.open()
  }

  /**
   * Uses and reads `link` for that lane from now on; first it takes what waits. Its `onClose` is the caller's to set, and
   * to pass on to `linkClosed`. False, and the link is the caller's to close: the session is over, has no such lane, or
   * has a link for it.
   */
  attach(name: ExtraLane, link: Link): boolean {
    const lane = this.#laneNamed(name)
    if (this.isClosed || lane === this.#control || !lane.attach(link)) return false
    lane.open()
    return true
  }

  /**
   * To be called when a link of this session has ended, whichever; says what is to be done about it. `lost`: the epoch is
   * over, close the session and its other links. `leaving`: the peer has said good-bye, and its word or its end on the
   * other lanes is on its way; when all are here `host.goodbye` is called. `ended`: a lane that was idle, or no link of
   * this session: nothing.
   */
  linkClosed(link: Link): LinkEnd {
    const lane = this.#lanes.find((other) => other.link === link)
    if (lane === undefined) return 'ended'
    if (this.isClosed) return 'lost'
    const unlinked = this.#lanes.filter((other) => other.link === undefined).map(({ name }) => name)
    return this.#farewell.closed(lane.name, unlinked) ? 'leaving' : 'lost'
  }

  /** Closes every link, which is all that `close` does not do. */
  closeLinks(code: string): void {
    for (const link of this.links) link.close(code)
  }

  /**
   * The peer's life is over, and it is to be told so on these links: until they are closed nothing that it says reaches an
   * actor, and nothing is answered.
   */
  mute(): void {
    this.isMuted = true
  }

  /** The session is over, or given up: whoever waits learns it now, and nothing of any lane reaches an actor any more. */
  close(why: string): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const ask of [...this.#asks.values()]) {
      ask.fail(
        new NodeDown(
          `No answer from ${ask.targetPath} to "${ask.messageType}": ${why}; the outcome is unknown`,
          {
            node: this.name,
            type: ask.messageType,
            outcome: 'unknown',
          },
        ),
      )
    }
    this.#asks.clear()
    this.#watching.clear()
    this.#giver.close()
    for (const sink of this.#sinks.values()) sink.close()
    for (const lane of this.#lanes) lane.close(this.isParting)
    this.#rooms.end(
      () => new NodeDown(`Waiting for room is over: ${why}`, { node: this.name, outcome: 'not-sent' }),
    )
    for (const sent of this.#senders.splice(0)) sent()
  }

  /** Asks of the peer that are being answered here. */
  get serving(): number {
    let serving = 0
    for (const sink of this.#sinks.values()) serving += sink.serving
    return serving
  }

  /** Watches of the peer on actors here. */
  get watched(): number {
    let watched = 0
    for (const sink of this.#sinks.values()) watched += sink.watched
    return watched
  }

  /** Whether that lane has a link of its own, or was given something to send. */
  hasLane(name: LaneName): boolean {
    return this.#lanes.some(
      (lane) => lane.name === name && (lane.link !== undefined || lane.waitingBytes > 0),
    )
  }

  status(): SessionStatus {
    const lanes = this.#lanes.map(({ name, link, waitingBytes }) => [
      name,
      { isLinked: link !== undefined, waitingBytes },
    ])
    return {
      linkId: this.linkId,
      lanes: Object.fromEntries(lanes) as SessionStatus['lanes'],
      asks: this.#asks.size,
      withoutCredit: this.#taker.without,
      withheld: this.#giver.withheld,
    }
  }

  // ---- What actors send ----------------------------------------------------------------------------------------

  /** Appends a message that nobody answers, to the batch of its lane. `undefined`: it was taken. */
  tell(recipient: Recipient, protocol: WireProtocol, message: Message): Unsendable | Refused | undefined {
    const lane = protocol.lanes === undefined ? this.#data : this.#laneOf(protocol, message)
    if (lane.isFull) return 'queue'
    if (this.#taker.isShort && !this.#taker.take(recipient)) return 'no credit'
    const problem = lane.encoder.tell(recipient, protocol, message)
    lane.appended()
    return problem
  }

  /** The same with an answer, for which `call` waits. `chain`: the calls that wait for this one, oldest first. */
  ask(
    recipient: Recipient,
    protocol: WireProtocol,
    message: Message,
    call: PendingAsk,
    sender: string | undefined,
    chain: readonly CallLink[],
  ): Unsendable | Refused | undefined {
    const lane = protocol.lanes === undefined ? this.#data : this.#laneOf(protocol, message)
    if (lane.isFull || this.#asks.size >= pendingAsksMax) return 'queue'
    if (this.#taker.isShort && !this.#taker.take(recipient)) return 'no credit'
    const askId = this.#nextAskId++
    const { deadlineMs } = call
    const remainingMs =
      deadlineMs === Number.POSITIVE_INFINITY
        ? undefined
        : Math.max(1, Math.ceil(deadlineMs - this.kernel.loopNow()))
    const problem = lane.encoder.ask(askId, recipient, protocol, message, remainingMs, sender, chain)
    if (problem !== undefined) return problem
    this.#asks.set(askId, call)
    call.carrier = lane
    call.carrierId = askId
    lane.appendedAsk(this.#asks.size)
    return undefined
  }

  /** Wants word of the recipient's end, for which the session asks the host. */
  watch(watchId: number, recipient: Recipient): Unsendable | undefined {
    const problem = this.#data.encoder.watch(watchId, recipient)
    if (problem === undefined) this.#watching.add(watchId)
    this.#data.appended()
    return problem
  }

  unwatch(watchId: number): void {
    this.#watching.delete(watchId)
    this.#data.encoder.unwatch(watchId)
    this.#data.appended()
  }

  /**
   * Resolves when messages of that protocol can be sent to `recipient`: all lanes that they go on take some, and the
   * recipient has credit. Rejects with `NodeDown` when the session is over, `Aborted` when given up.
   */
  whenRoom(
    target: Ref,
    recipient: Recipient,
    protocol: WireProtocol,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const lanes = (protocol.lanes ?? dataOnly).map((name) => this.#laneNamed(name))
    const hasRoom = (): boolean => this.#taker.has(recipient) && lanes.every((lane) => lane.hasRoom)
    return this.#rooms.wait(target, hasRoom, signal)
  }

  #laneOf(protocol: WireProtocol, { type }: Message): SessionLane {
    return this.#laneNamed(Object.hasOwn(protocol.messages, type) ? protocol.messages[type]?.lane : undefined)
  }

  #laneNamed(name: LaneName | undefined): SessionLane {
    if (name === 'control') return this.#control
    return name === 'bulk' ? this.#bulk : this.#data
  }

  // ---- What the node sends -------------------------------------------------------------------------------------

  heartbeat(sequence: number, kind: 'ping' | 'pong'): void {
    this.#control.encoder.heartbeat(sequence, kind)
    this.#control.flush()
  }

  /**
   * What the membership says, sent at once. The payload is anything that a message field can hold. A peer of wire version 1
   * is sent nothing: it would close the link for it.
   */
  gossip(payload: unknown): Unsendable | undefined {
    if (this.#tooOld !== undefined) return this.#tooOld
    const problem = this.#control.encoder.gossip(payload)
    this.#control.flush()
    return problem
  }

  /** Tells the peer that of the links between the two nodes this session's is the one to use. As `gossip` at version 1. */
  choose(): Unsendable | undefined {
    if (this.#tooOld !== undefined) return this.#tooOld
    const problem = this.#control.encoder.chosen()
    this.#control.flush()
    return problem
  }

  /** The last word on every lane, behind all that was sent on it. What is to follow is `close`; see `isParting`. */
  goodbye(reason: string): void {
    if (this.isClosed) return
    this.isParting = true
    const lanes = this.#lanes.filter(
      (lane) => lane !== this.#control && (lane.link !== undefined || !lane.isSent),
    )
    for (const lane of lanes) {
      lane.encoder.goodbye(reason)
      lane.flush()
      if (this.isClosed) return
    }
    this.#control.encoder.goodbye(
      reason,
      lanes.map(({ name }) => name),
    )
    this.#control.flush()
  }

  /** Lets leave what waits for the end of the turn. */
  flush(): void {
    for (const lane of this.#lanes) lane.flush()
  }

  /** Resolves when all that was sent has been handed to the links, or the session is over. */
  whenSent(): Promise<void> {
    this.flush()
    if (this.#isSent) return Promise.resolve()
    return new Promise((resolve) => this.#senders.push(resolve))
  }

  get #isSent(): boolean {
    return this.isClosed || this.#lanes.every(({ isSent }) => isSent)
  }

  // ---- What the lanes say --------------------------------------------------------------------------------------

  /** @internal */
  makeDecoder(lane: SessionLane): FrameDecoder {
    const host = this.#host
    return new FrameDecoder({
      limits: { frameBytesMax: this.frameBytesMax },
      protocols: (name) => {
        const protocol = host.registry.protocol(name)
        return protocol === undefined ? undefined : wireProtocolOf(protocol)
      },
      resolveRef: (parts) => host.resolveRef(parts),
      sink: this.#sinks.get(lane) as SessionSink,
    })
  }

  /** @internal */
  frames(direction: 'in' | 'out', bytes: number): void {
    this.#host.frames(this, direction, bytes)
    if (this.#isHeard || direction === 'out') return
    this.#isHeard = true
    for (const lane of this.#unheard.splice(0)) this.#host.wantLane(this, lane)
  }

  /** @internal */
  wanted(lane: SessionLane): void {
    if (lane.name === 'control') return
    if (this.#dialledByUs) {
      if (this.#isHeard) this.#host.wantLane(this, lane.name)
      else this.#unheard.push(lane.name)
    } else {
      this.#control.encoder.laneWanted(lane.name)
      this.#control.appended()
    }
  }

  /** @internal */
  drained(): void {
    this.#rooms.look()
    if (this.#senders.length > 0 && this.#isSent) for (const sent of this.#senders.splice(0)) sent()
  }

  /** @internal */
  overflowed(lane: SessionLane, waitingBytes: number): void {
    const limit = this.outboundBytesMax
    this.close('its outbound queue overflowed')
    this.kernel.log.error(
      { node: this.name, lane: lane.name, waiting: waitingBytes, limit },
      `node "${this.name}" does not read what it is sent: the link to it is closed`,
    )
    this.closeLinks('CLUSTER_LINK_FULL')
  }

  /** @internal */
  fault(code: string, message: string): void {
    this.#host.fault(this, code, message)
  }

  /** @internal */
  isBusy(lane: SessionLane): boolean {
    if (this.#sinks.get(lane)?.isBusy === true || (lane === this.#data && this.#watching.size > 0))
      return true
    for (const ask of this.#asks.values()) if (ask.carrier === lane) return true
    return false
  }

  /** @internal */
  forgetAsk(askId: number): void {
    this.#asks.delete(askId)
  }

  // ---- What the sinks say --------------------------------------------------------------------------------------

  /** @internal The ask of that number, which is answered now. */
  takeAsk(askId: number): PendingAsk | undefined {
    const ask = this.#asks.get(askId)
    if (ask !== undefined) this.#asks.delete(askId)
    return ask
  }

  /** @internal */
  watchOver(watchId: number): void {
    this.#watching.delete(watchId)
  }

  /** @internal */
  saidGoodbye(lane: SessionLane, lanes: readonly LaneName[]): void {
    this.#farewell.heard(lane.name, lanes)
  }

  /** @internal */
  peerWants(name: LaneName): void {
    const lane = this.#laneNamed(name)
    if (this.#dialledByUs && lane !== this.#control) lane.peerWants()
    else this.fault('bad-envelope', `lane ${name} is not this side's to dial`)
  }

  #tellCredit(recipient: Recipient, isGiven: boolean): void {
    this.#control.encoder.credit(recipient, isGiven)
    this.#control.appended()
  }

  /** @internal */
  heardCredit(recipient: Recipient, isGiven: boolean): void {
    if (!this.#taker.heard(recipient, isGiven)) this.fault('table-full', 'too many recipients have no credit')
    else if (isGiven) this.#rooms.look()
  }
}
