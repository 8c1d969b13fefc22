/** What the envelopes of one lane mean here: the receiving half of a session, one for each lane. */
import {
  ActorStopped,
  InvalidMessage,
  NoSuchActor,
  type ActorError,
  type DeadLetterReason,
} from '@understudy/runtime'
import {
  ActorError as RuntimeError,
  Envelope,
  EnvelopeKind,
  type PendingAsk,
  WatchRecord,
  type CallLink,
  type Cell,
  type Check,
  type EndReason,
  type Kernel,
  type Message,
  type Sender,
  type Watcher,
} from '@understudy/runtime/internal'
import type { FrameSink, IncomingType } from '../wire/frame-sink.ts'
import { pathLengthMax } from '../wire/wire-limits.ts'
import type { IncomingRecipient, LaneName, Recipient } from '../wire/wire-protocol.ts'
import { notRegistered } from './cluster-error.ts'
import type { PeerSession } from './peer-session.ts'
import type { CreditGiver } from './recipient-credit.ts'
import { RemoteCall, RemoteSender, type CallKeeper } from './remote-call.ts'
import type { SessionHost } from './session-host.ts'
import type { SessionLane } from './session-lane.ts'
import { errorFromWire, plainDetails, toError } from './wire-error.ts'

/** Asks that may wait for one peer at a time. More fail with `CLUSTER_LINK_FULL`; a peer that sends more is cut off. */
export const pendingAsksMax = 1_000_000
/** Watches that a peer may have here. One that sets more is cut off. */
export const watchesMax = 1_000_000

/** What a sink needs besides its lane and its session. */
export interface SinkParts {
  readonly host: SessionHost
  readonly giver: CreditGiver
  /** Messages in a mailbox at which its senders over there lose credit; `Infinity` for a peer that knows of none. */
  readonly creditHigh: number
  /** Whether the peer takes `watched`. */
  readonly tellsWatched: boolean
}

export class SessionSink implements FrameSink, CallKeeper, Sender, Watcher {
  readonly kernel: Kernel
  readonly #session: PeerSession
  readonly #lane: SessionLane
  readonly #host: SessionHost
  readonly #giver: CreditGiver
  readonly #creditHigh: number
  readonly #tellsWatched: boolean
  /** Asks of the peer that are being answered here: the answers go back on the same lane. */
  readonly #calls = new Map<number, RemoteCall>()
  /** Watches of the peer on actors here. */
  readonly #watches = new Map<number, WatchRecord>()
  readonly #watchIds = new Map<WatchRecord, number>()

  constructor(session: PeerSession, lane: SessionLane, parts: SinkParts) {
    this.#session = session
    this.#lane = lane
    this.#host = parts.host
    this.kernel = parts.host.kernel
    this.#giver = parts.giver
    this.#creditHigh = parts.creditHigh
    this.#tellsWatched = parts.tellsWatched
  }

  /** As the sender of what it sends: which actor it was stays over there. */
  get senderPath(): string {
    return `node "${this.#session.name}"`
  }

  /** Asks of the peer that are being answered. */
  get serving(): number {
    return this.#calls.size
  }

  /** Watches of the peer on actors here. */
  get watched(): number {
    return this.#watches.size
  }

  /** Asks are being answered, or actors are watched, for the peer. */
  get isBusy(): boolean {
    return this.#calls.size > 0 || this.#watches.size > 0
  }

  /** The session is over: nobody waits for what is being answered, and nobody watches. */
  close(): void {
    for (const call of [...this.#calls.values()]) call.forget()
    this.#calls.clear()
    for (const record of this.#watches.values()) {
      record.active = false
      record.target.removeWatch(record)
    }
    this.#watches.clear()
    this.#watchIds.clear()
  }

  // ---- Messages ------------------------------------------------------------------------------------------------

  onTell(recipient: IncomingRecipient, type: IncomingType, message: Message): void {
    // A good-bye in the same frame ended the link: what stands behind it belongs to no epoch.
    if (this.#isDeaf) return
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(
        undefined,
        recipient,
        type.protocol,
        type.type,
        'RUNTIME_INVALID_MESSAGE',
        problem.text,
        problem.field,
      )
      return
    }
    const cell = this.#cellOf(recipient)
    if (cell === undefined) {
      this.#deadLetter(recipient, type.protocol, message, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    if (cell.kind.protocol.name !== type.protocol) {
      this.#refused(
        undefined,
        recipient,
        type.protocol,
        type.type,
        'RUNTIME_UNKNOWN_MESSAGE',
        wrongProtocol(cell, type),
        'type',
      )
      return
    }
    if (cell.kind.protocol.delivery === 'lossy') {
      const { link } = this.#lane
      if (link?.unreliable !== undefined) {
        link.unreliable(type.protocol, type.type, () => this.#deliverLossy(recipient, type, message))
        return
      }
    }
    this.#deliver(recipient, cell, new Envelope(message, this, null, EnvelopeKind.user))
  }

  /** Maybe later than it came, or again: whoever lives there by then gets it, unless this epoch is over. */
  #deliverLossy(recipient: IncomingRecipient, type: IncomingType, message: Message): void {
    if (this.#isDeaf) return
    const cell = this.#cellOf(recipient)
    if (cell?.kind.protocol.name !== type.protocol) return
    this.#deliver(recipient, cell, new Envelope(message, this, null, EnvelopeKind.user))
  }

  onAsk(
    askId: number,
    recipient: IncomingRecipient,
    type: IncomingType,
    message: Message,
    remainingMs: number | undefined,
    sender: string | undefined,
    chain: readonly CallLink[],
  ): void {
    if (this.#isDeaf) return
    if (this.#calls.has(askId) || this.#calls.size >= pendingAsksMax) {
      const text = this.#calls.has(askId)
        ? `ask ${askId} is open already`
        : `more than ${pendingAsksMax} asks are open`
      this.#host.fault(this.#session, 'bad-ask', text)
      return
    }
    if (type.kind !== 'ask') {
      const text = `Cannot ask "${type.type}" of ${nameOf(recipient)}: it is a message without an answer`
      this.#refused(askId, recipient, type.protocol, type.type, 'RUNTIME_UNKNOWN_MESSAGE', text, 'type')
      return
    }
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(
        askId,
        recipient,
        type.protocol,
        type.type,
        'RUNTIME_INVALID_MESSAGE',
        problem.text,
        problem.field,
      )
      return
    }
    const cell = this.#cellOf(recipient)
    if (cell === undefined) {
      this.#fail(askId, this.#nobody(recipient, type.type))
      this.#deadLetter(recipient, type.protocol, message, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    if (cell.kind.protocol.name !== type.protocol) {
      this.#refused(
        askId,
        recipient,
        type.protocol,
        type.type,
        'RUNTIME_UNKNOWN_MESSAGE',
        wrongProtocol(cell, type),
        'type',
      )
      return
    }
    const deadlineMs =
      remainingMs === undefined ? Number.POSITIVE_INFINITY : this.kernel.clock.monotonicMs() + remainingMs
    const call = new RemoteCall(this, askId, deadlineMs, type.type, chain.toReversed())
    this.#calls.set(askId, call)
    if (deadlineMs !== Number.POSITIVE_INFINITY) this.kernel.wheel.add(call)
    const path = sender ?? chain.at(-1)?.path
    const from = path === undefined ? this : new RemoteSender(this.#session.name, path)
    this.#deliver(recipient, cell, new Envelope(message, from, call, EnvelopeKind.user))
  }

  /** Whether what arrives is nobody's: the session is over, or the life of the peer. */
  get #isDeaf(): boolean {
    return this.#session.isClosed || this.#session.isMuted
  }

  #deliver(recipient: Recipient, cell: Cell, envelope: Envelope): void {
    // One that refuses, because it ends, has room for nobody, and nobody is to wait for it.
    if (cell.deliver(envelope) && cell.depth >= this.#creditHigh) this.#giver.tooMany(recipient, cell)
  }

  onUnknown(askId: number | undefined, recipient: IncomingRecipient, protocol: string, type: string): void {
    const text =
      `Node "${this.kernel.nodeName}" does not know message "${type}" of protocol "${protocol}": start an actor of that ` +
      `protocol there, or register its definition in "entities"`
    this.#refused(askId, recipient, protocol, type, 'RUNTIME_UNKNOWN_MESSAGE', text, 'type')
  }

  onInvalid(
    askId: number | undefined,
    recipient: IncomingRecipient,
    protocol: string,
    type: string,
    problem: string,
  ): void {
    const text = `Cannot send "${type}" of protocol "${protocol}" to ${nameOf(recipient)}: ${problem}`
    this.#refused(askId, recipient, protocol, type, 'RUNTIME_INVALID_MESSAGE', text, undefined)
  }

  /** The schema of an arrived message, compiled once per connection and kept on the type. */
  #checked(
    type: IncomingType,
    message: Message,
  ): { readonly text: string; readonly field: string } | undefined {
    let check = type.slot as Check | undefined
    if (check === undefined) {
      const protocol = this.#host.registry.protocol(type.protocol)
      if (protocol === undefined)
        return { text: `Protocol "${type.protocol}" is not known here`, field: 'type' }
      try {
        check = this.kernel.guard.messageCheck(protocol, type.type)
      } catch (error) {
        return { text: `Cannot send "${type.type}": ${toError(error).message}`, field: 'type' }
      }
      type.slot = check
    }
    const mismatch = check(message)
    if (mismatch === undefined) return undefined
    const { path: field, problem, expected } = mismatch
    return { text: `Cannot send "${type.type}": field "${field}" ${problem}, expected ${expected}`, field }
  }

  #cellOf(recipient: IncomingRecipient): Cell | undefined {
    let cell = recipient.target as Cell | undefined
    // An entity that works off its mailbox takes nothing more: its successor does.
    if (cell === undefined || cell.isLeaving) {
      cell = this.#host.resolve(recipient)
      recipient.target = cell
    }
    return cell
  }

  #nobody(recipient: Recipient, type: string): ActorError {
    const { nodeName } = this.kernel
    const details = { path: nameOf(recipient), type, node: nodeName }
    const text = `Cannot ask "${type}" of ${nameOf(recipient)} on node "${nodeName}"`
    if (isBound(recipient)) return new ActorStopped(`${text}: it has stopped`, details)
    const why = recipient.kind === 'entity' ? notRegistered(recipient.name, nodeName) : 'nobody lives there'
    return new NoSuchActor(`${text}: ${why}`, details)
  }

  #refused(
    askId: number | undefined,
    recipient: Recipient,
    protocol: string,
    type: string,
    code: string,
    problem: string,
    field: string | undefined,
  ): void {
    if (this.#isDeaf) return
    if (!this.#host.takes(recipient)) {
      // As on one node: that nobody lives there comes before what is wrong with the message.
      if (askId !== undefined) this.#fail(askId, this.#nobody(recipient, type))
      this.#deadLetter(recipient, protocol, { type }, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    const details = { path: nameOf(recipient), type, ...(field === undefined ? {} : { field }) }
    if (askId !== undefined) this.#fail(askId, new RuntimeError(code, problem, details))
    else this.#host.complain(this.#session, code, problem)
    const reason = code === 'RUNTIME_INVALID_MESSAGE' ? 'invalid' : 'unknown-message'
    this.#deadLetter(recipient, protocol, { type }, reason)
  }

  #deadLetter(recipient: Recipient, protocol: string, message: Message, reason: DeadLetterReason): void {
    const envelope = new Envelope(message, this, null, EnvelopeKind.user)
    this.kernel.hooks.deadLetter(envelope, reason, undefined, nameOf(recipient), protocol)
  }

  // ---- Answers -------------------------------------------------------------------------------------------------

  onReply(askId: number, value: unknown): void {
    const ask = this.#session.takeAsk(askId)
    if (ask === undefined) return
    const problem = this.#replyProblem(ask, value)
    if (problem === undefined) ask.succeed(value)
    else ask.fail(problem)
  }

  #replyProblem(ask: PendingAsk, value: unknown): InvalidMessage | undefined {
    const { messageType, targetPath } = ask
    const { protocol } = ask.target
    // A ref may be of a protocol that only the other side has a definition of.
    if (!Object.hasOwn(protocol.messages, messageType)) return undefined
    const about = `The reply of ${targetPath} to "${messageType}"`
    try {
      const mismatch = this.kernel.guard.replyCheck(protocol, messageType)?.(value)
      if (mismatch === undefined) return undefined
      const text = `${about} does not fit its schema at "${mismatch.path}"`
      return new InvalidMessage(text, { path: targetPath, field: mismatch.path })
    } catch (error) {
      // A schema that cannot be used costs this ask its answer, not everybody the link.
      return new InvalidMessage(`${about} cannot be checked: ${toError(error).message}`, { path: targetPath })
    }
  }

  onFail(askId: number, code: string, message: string, details: unknown): void {
    this.#session.takeAsk(askId)?.fail(errorFromWire(code, message, details))
  }

  onCancel(askId: number): void {
    this.#calls.get(askId)?.forget()
  }

  /** @internal */
  reply(call: RemoteCall, value: unknown): void {
    this.#calls.delete(call.askId)
    if (this.#session.isClosed) return
    const { encoder } = this.#lane
    const problem = encoder.reply(call.askId, value)
    if (problem !== undefined) {
      const mend =
        problem.reason === 'too-large' ? '; send less at a time, or raise frameBytesMax on all nodes' : ''
      const text = `The reply to "${call.messageType}" cannot be sent: it ${problem.problem}${mend}`
      encoder.fail(call.askId, 'RUNTIME_INVALID_MESSAGE', text, { type: call.messageType })
      this.kernel.log.error({ node: this.#session.name, type: call.messageType }, text)
    }
    this.#lane.appended()
  }

  /** @internal */
  failCall(call: RemoteCall, error: ActorError): void {
    this.#calls.delete(call.askId)
    this.#fail(call.askId, error)
  }

  /** @internal */
  forgetCall(call: RemoteCall): void {
    this.#calls.delete(call.askId)
  }

  #fail(askId: number, error: ActorError): void {
    if (this.#session.isClosed) return
    const { encoder } = this.#lane
    const problem = encoder.fail(askId, error.code, error.message, error.details)
    // What makes the error what it is still goes; a value that cannot travel stays.
    if (problem !== undefined) encoder.fail(askId, error.code, error.message, plainDetails(error.details))
    this.#lane.appended()
  }

  // ---- Watches -------------------------------------------------------------------------------------------------

  onWatch(watchId: number, recipient: IncomingRecipient): void {
    if (this.#isDeaf) return
    if (this.#watches.has(watchId) || this.#watches.size >= watchesMax) {
      const isTwice = this.#watches.has(watchId)
      this.#host.fault(
        this.#session,
        'bad-watch',
        isTwice ? `watch ${watchId} is set already` : `more than ${watchesMax} watches`,
      )
      return
    }
    const { encoder } = this.#lane
    const cell = this.#host.find(recipient)
    if (cell === undefined) {
      // Who has a bound ref knows that somebody lived there.
      encoder.terminated(watchId, isBound(recipient) ? 'stopped' : 'not-found')
      this.#lane.appended()
      return
    }
    const record = new WatchRecord(this, cell.ref, undefined)
    this.#watches.set(watchId, record)
    this.#watchIds.set(record, watchId)
    if (this.#tellsWatched && !isBound(recipient)) {
      const { path } = cell
      if (path.length <= pathLengthMax) {
        encoder.watched(watchId, cell.uid, path)
        this.#lane.appended()
      }
    }
    cell.addWatcher(record)
  }

  onUnwatch(watchId: number): void {
    const record = this.#watches.get(watchId)
    if (record === undefined) return
    record.active = false
    record.target.removeWatch(record)
    this.forgetWatch(record)
  }

  /** An actor here that the peer watches has ended. Its last messages to the peer stand before this on the lane. */
  watchEnded(record: WatchRecord): void {
    const watchId = this.#watchIds.get(record)
    this.forgetWatch(record)
    if (watchId === undefined || this.#session.isClosed) return
    this.#lane.encoder.terminated(watchId, record.reason ?? 'stopped')
    this.#lane.appended()
  }

  forgetWatch(record: WatchRecord): void {
    const watchId = this.#watchIds.get(record)
    this.#watchIds.delete(record)
    if (watchId !== undefined) this.#watches.delete(watchId)
  }

  onTerminated(watchId: number, reason: string): void {
    if (this.#isDeaf) return
    this.#session.watchOver(watchId)
    this.#host.terminated(this.#session, watchId, isEndReason(reason) ? reason : 'stopped')
  }

  onWatched(watchId: number, uid: number, path: string): void {
    if (!this.#session.isClosed) this.#host.watched(this.#session, watchId, uid, path)
  }

  // ---- About the link itself -----------------------------------------------------------------------------------

  /**
   * Whether it may speak for the whole link here: such envelopes travel on control, where they stand in order with each
   * other. Without lanes of their own all travel there.
   */
  #isOnControl(what: string): boolean {
    if (this.#session.isClosed) return false
    if (this.#lane.name === 'control') return true
    this.#host.fault(
      this.#session,
      'wrong-lane',
      `${what} came on lane ${this.#lane.name}, it belongs on control`,
    )
    return false
  }

  onHeartbeat(sequence: number, kind: 'ping' | 'pong'): void {
    if (this.#isOnControl('a heartbeat')) this.#host.heartbeat(this.#session, sequence, kind)
  }

  onGossip(payload: unknown): void {
    if (this.#isOnControl('gossip')) this.#host.gossip(this.#session, payload)
  }

  onChosen(): void {
    if (this.#isOnControl('the choice of the link')) this.#host.chosen(this.#session)
  }

  onGoodbye(_reason: string, lanes: readonly LaneName[]): void {
    const { isClosed, isParting } = this.#session
    if (!isClosed || isParting) this.#session.saidGoodbye(this.#lane, lanes)
  }

  onLaneWanted(lane: LaneName): void {
    if (this.#isOnControl('the wish for a lane')) this.#session.peerWants(lane)
  }

  onEndLane(lane: LaneName): void {
    if (this.#session.isClosed) return
    if (lane === this.#lane.name && lane !== 'control') this.#lane.ended()
    else this.#host.fault(this.#session, 'bad-envelope', `lane ${lane} was ended on lane ${this.#lane.name}`)
  }

  onCredit(recipient: Recipient, isGiven: boolean): void {
    if (this.#isOnControl('credit')) this.#session.heardCredit(recipient, isGiven)
  }
}

function nameOf(recipient: Recipient): string {
  return recipient.kind === 'actor' ? recipient.path : `entity ${recipient.name}/${recipient.key}`
}

function isBound(recipient: Recipient): boolean {
  return recipient.kind === 'actor' && recipient.uid !== undefined
}

function wrongProtocol(cell: Cell, { protocol, type }: IncomingType): string {
  const { name } = cell.kind.protocol
  return `Cannot send "${type}" of protocol "${protocol}" to ${cell.path}: it takes the messages of "${name}"`
}

const endReasons: readonly string[] = ['stopped', 'failed', 'limit', 'node-down', 'not-found']

function isEndReason(value: string): value is EndReason {
  return endReasons.includes(value)
}
