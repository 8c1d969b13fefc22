/**
 * One link to one life of one peer, after the handshake: the outbox towards it, and what its frames mean here. Ends
 * with the link; nothing of it outlives the connection epoch.
 */
import {
  Aborted,
  ActorCrashed,
  ActorStopped,
  CallCycleError,
  Expired,
  InvalidMessage,
  MailboxFull,
  NoSuchActor,
  Rejected,
  UnknownMessage,
  type ActorError,
  type DeadLetterReason,
} from '@understudy/runtime'
import {
  ActorError as RuntimeError,
  Call,
  Envelope,
  EnvelopeKind,
  type PendingAsk,
  WatchRecord,
  type AskCarrier,
  type CallLink,
  type Cell,
  type Check,
  type EndReason,
  type Kernel,
  type Message,
  type Ref,
  type Sender,
  type Watcher,
} from '@understudy/runtime/internal'
import type { Link } from '../transport/transport.ts'
import { FrameDecoder } from '../wire/frame-decoder.ts'
import { FrameEncoder } from '../wire/frame-encoder.ts'
import type { FrameSink, IncomingType } from '../wire/frame-sink.ts'
import type { Unsendable } from '../wire/unsendable.ts'
import type { IncomingRecipient, Recipient, WireProtocol } from '../wire/wire-protocol.ts'
import { NodeDown, notRegistered } from './cluster-error.ts'
import { wireProtocolOf, type WireRegistry } from './wire-registry.ts'

/** Envelopes after which a batch leaves without waiting for the end of the turn. */
const flushEnvelopes = 512
/** Fewer asks than this are not worth a frame before the end of the turn. */
const flushAsksLeast = 24
/** And bytes, whichever comes first. */
const flushBytes = 65_536
/** Asks that may wait for one peer at a time. More fail with `CLUSTER_LINK_FULL`; a peer that sends more is cut off. */
export const pendingAsksMax = 1_000_000
/** Watches that a peer may have here. One that sets more is cut off. */
export const watchesMax = 1_000_000

/** What a session needs of the node around it. */
export interface SessionHost {
  readonly kernel: Kernel
  readonly registry: WireRegistry
  /** The actor or entity that a recipient names, here; started when it is an entity. */
  readonly resolve: (recipient: Recipient) => Cell | undefined
  /** The same, but nothing is started. */
  readonly find: (recipient: Recipient) => Cell | undefined
  /** Whether somebody is there, or would be started. */
  readonly takes: (recipient: Recipient) => boolean
  readonly resolveRef: (parts: readonly unknown[]) => unknown
  readonly heartbeat: (session: PeerSession, sequence: number, kind: 'ping' | 'pong') => void
  readonly goodbye: (session: PeerSession) => void
  readonly terminated: (session: PeerSession, watchId: number, reason: EndReason) => void
  /** The peer broke the protocol; the link is being closed. */
  readonly fault: (session: PeerSession, code: string, message: string) => void
  /** A tell of the peer was refused, and nobody waits to hear of it: a line for the log, of which there may be many. */
  readonly complain: (session: PeerSession, code: string, message: string) => void
  readonly frames: (session: PeerSession, direction: 'in' | 'out', bytes: number) => void
}

interface SessionFacts {
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
}

interface RoomWaiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class PeerSession implements AskCarrier, FrameSink, Sender, Watcher {
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  readonly link: Link
  readonly #host: SessionHost
  readonly #kernel: Kernel
  readonly #encoder: FrameEncoder
  readonly #decoder: FrameDecoder
  readonly #outboundBytesMax: number
  /** Asks that were sent and wait for their answer. */
  readonly #asks = new Map<number, PendingAsk>()
  /** Asks of the peer that are being answered here. */
  readonly #calls = new Map<number, RemoteCall>()
  /** Watches of the peer on actors here. */
  readonly #watches = new Map<number, WatchRecord>()
  readonly #watchIds = new Map<WatchRecord, number>()
  /** When a frame was last taken for a sign of life; the node's to keep. */
  activeAtMs = Number.NEGATIVE_INFINITY
  #nextAskId = 1
  #flushDue = false
  #unflushedAsks = 0
  /**
   * Frames that the link had no room for, in order. While there are any no message of an actor is taken; answers and
   * control still are, up to `outboundBytesMax`, beyond which the link is given up.
   */
  #backlog: Uint8Array[] = []
  #backlogBytes = 0
  #rooms: RoomWaiter[] = []
  #isClosed = false

  constructor(link: Link, facts: SessionFacts, host: SessionHost) {
    this.link = link
    this.linkId = facts.linkId
    this.name = facts.name
    this.incarnation = facts.incarnation
    this.#outboundBytesMax = facts.outboundBytesMax
    this.#host = host
    this.#kernel = host.kernel
    const limits = { frameBytesMax: facts.frameBytesMax }
    this.#encoder = new FrameEncoder(limits)
    this.#decoder = new FrameDecoder({
      limits,
      protocols: (name) => {
        const protocol = host.registry.protocol(name)
        return protocol === undefined ? undefined : wireProtocolOf(protocol)
      },
      resolveRef: (parts) => host.resolveRef(parts),
      sink: this,
    })
    link.onDrain(() => this.#drained())
  }

  /** As the sender of what it sends: which actor it was stays over there. */
  get senderPath(): string {
    return `node "${this.name}"`
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Begins to read. */
  open(): void {
    this.link.onFrame((frame) => this.#read(frame))
  }

  /** The link is gone, or given up: whoever waits for an answer learns it now. */
  close(why: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
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
    for (const call of [...this.#calls.values()]) call.forget()
    this.#calls.clear()
    for (const record of this.#watches.values()) {
      record.active = false
      record.target.removeWatch(record)
    }
    this.#watches.clear()
    this.#watchIds.clear()
    this.#backlog = []
    this.#backlogBytes = 0
    for (const waiter of this.#rooms.splice(0)) {
      waiter.reject(
        new NodeDown(`Waiting for room is over: ${why}`, { node: this.name, outcome: 'not-sent' }),
      )
    }
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  /** True while the link takes no more. What `link.send` refused waits here, and its `onDrain` will come. */
  get isFull(): boolean {
    return this.#backlog.length > 0
  }

  /** Resolves when the link takes messages again. Rejects with `NodeDown` when it is gone, `Aborted` when given up. */
  whenRoom(target: Ref, signal: AbortSignal | undefined): Promise<void> {
    const kernel = this.#kernel
    return new Promise((resolve, reject) => {
      kernel.waiters++
      const abort = (): void => {
        kernel.waiters--
        this.#rooms = this.#rooms.filter((other) => other !== waiter)
        const { path } = target
        reject(new Aborted(`Waiting for room at ${path} was aborted`, { path }, signal?.reason))
      }
      const waiter: RoomWaiter = {
        resolve: () => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          resolve()
        },
        reject: (error) => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
      } else if (this.isFull) {
        signal?.addEventListener('abort', abort, { once: true })
        this.#rooms.push(waiter)
      } else {
        kernel.waiters--
        resolve()
      }
    })
  }

  tell(recipient: Recipient, protocol: WireProtocol, message: Message): Unsendable | 'full' | undefined {
    if (this.isFull) return 'full'
    const problem = this.#encoder.tell(recipient, protocol, message)
    this.#appended()
    return problem
  }

  ask(
    recipient: Recipient,
    protocol: WireProtocol,
    message: Message,
    call: PendingAsk,
    sender: string | undefined,
    chain: readonly CallLink[],
  ): Unsendable | 'full' | undefined {
    if (this.isFull || this.#asks.size >= pendingAsksMax) return 'full'
    const askId = this.#nextAskId++
    const { deadlineMs } = call
    const remainingMs =
      deadlineMs === Number.POSITIVE_INFINITY
        ? undefined
        : Math.max(1, Math.ceil(deadlineMs - this.#kernel.loopNow()))
    const problem = this.#encoder.ask(askId, recipient, protocol, message, remainingMs, sender, chain)
    if (problem !== undefined) return problem
    this.#asks.set(askId, call)
    call.carrier = this
    call.carrierId = askId
    // Half of all open asks leave at once: the peer works on them while the rest is being written (bench: remote-ask-64).
    const unflushed = ++this.#unflushedAsks
    if (unflushed >= flushAsksLeast && unflushed * 2 >= this.#asks.size) this.flush()
    else this.#appended()
    return undefined
  }

  /** @internal The asker waits no longer. */
  gaveUp(askId: number): void {
    this.#asks.delete(askId)
    if (this.#isClosed) return
    this.#encoder.cancel(askId)
    this.#appended()
  }

  watch(watchId: number, recipient: Recipient): Unsendable | undefined {
    const problem = this.#encoder.watch(watchId, recipient)
    this.#appended()
    return problem
  }

  unwatch(watchId: number): void {
    this.#encoder.unwatch(watchId)
    this.#appended()
  }

  heartbeat(sequence: number, kind: 'ping' | 'pong'): void {
    this.#encoder.heartbeat(sequence, kind)
    this.flush()
  }

  goodbye(reason: string): void {
    this.#encoder.goodbye(reason)
    this.flush()
  }

  #appended(): void {
    if (this.#encoder.pending >= flushEnvelopes || this.#encoder.pendingBytes >= flushBytes) {
      this.flush()
    } else if (!this.#flushDue) {
      // One flush per turn: what the actors of this slice send leaves together.
      this.#flushDue = true
      this.#kernel.platform.scheduler.afterTurn(this.#flushNow)
    }
  }

  readonly #flushNow = (): void => {
    this.#flushDue = false
    this.flush()
  }

  flush(): void {
    this.#unflushedAsks = 0
    if (this.#isClosed || this.#encoder.pending === 0) return
    for (const frame of this.#encoder.take()) this.#send(frame)
  }

  #send(frame: Uint8Array): void {
    this.#host.frames(this, 'out', frame.length)
    if (this.#backlog.length === 0 && this.link.send(frame) !== 'full') return
    this.#backlog.push(frame)
    this.#backlogBytes += frame.length
    if (this.#backlogBytes <= this.#outboundBytesMax) return
    // Answers and control are never dropped one by one: a peer that does not read them loses the link instead.
    const waiting = this.#backlogBytes
    this.close('its outbound queue overflowed')
    this.#kernel.log.error(
      { node: this.name, waiting, limit: this.#outboundBytesMax },
      `node "${this.name}" does not read what it is sent: the link to it is closed`,
    )
    this.link.close('CLUSTER_LINK_FULL')
  }

  #drained(): void {
    const waiting = this.#backlog
    let sent = 0
    while (sent < waiting.length && this.link.send(waiting[sent] as Uint8Array) !== 'full') {
      this.#backlogBytes -= (waiting[sent] as Uint8Array).length
      sent++
    }
    this.#backlog = waiting.slice(sent)
    if (this.isFull) return
    for (const waiter of this.#rooms.splice(0)) waiter.resolve()
  }

  // ---- Receiving -----------------------------------------------------------------------------------------------

  #read(frame: Uint8Array): void {
    if (this.#isClosed) return
    this.#host.frames(this, 'in', frame.length)
    const fault = this.#decoder.read(frame)
    if (fault !== undefined) this.#host.fault(this, fault.code, fault.message)
  }

  onTell(recipient: IncomingRecipient, type: IncomingType, message: Message): void {
    // A good-bye in the same frame ended the link: what stands behind it belongs to no epoch.
    if (this.#isClosed) return
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(undefined, recipient, type.type, 'RUNTIME_INVALID_MESSAGE', problem.text, problem.field)
      return
    }
    const cell = this.#cellOf(recipient)
    if (cell === undefined) {
      this.#deadLetter(recipient, message, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    if (cell.kind.protocol.name !== type.protocol) {
      this.#refused(
        undefined,
        recipient,
        type.type,
        'RUNTIME_UNKNOWN_MESSAGE',
        wrongProtocol(cell, type),
        'type',
      )
      return
    }
    if (cell.kind.protocol.delivery === 'lossy' && this.link.unreliable !== undefined) {
      this.link.unreliable(type.protocol, type.type, () => this.#deliverLossy(recipient, type, message))
      return
    }
    cell.deliver(new Envelope(message, this, null, EnvelopeKind.user))
  }

  /** Maybe later than it came, or again: whoever lives there by then gets it, unless this epoch is over. */
  #deliverLossy(recipient: IncomingRecipient, type: IncomingType, message: Message): void {
    if (this.#isClosed) return
    const cell = this.#cellOf(recipient)
    if (cell?.kind.protocol.name !== type.protocol) return
    cell.deliver(new Envelope(message, this, null, EnvelopeKind.user))
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
    if (this.#isClosed) return
    if (this.#calls.has(askId) || this.#calls.size >= pendingAsksMax) {
      const text = this.#calls.has(askId)
        ? `ask ${askId} is open already`
        : `more than ${pendingAsksMax} asks are open`
      this.#host.fault(this, 'bad-ask', text)
      return
    }
    if (type.kind !== 'ask') {
      const text = `Cannot ask "${type.type}" of ${nameOf(recipient)}: it is a message without an answer`
      this.#refused(askId, recipient, type.type, 'RUNTIME_UNKNOWN_MESSAGE', text, 'type')
      return
    }
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(askId, recipient, type.type, 'RUNTIME_INVALID_MESSAGE', problem.text, problem.field)
      return
    }
    const cell = this.#cellOf(recipient)
    if (cell === undefined) {
      this.#fail(askId, this.#nobody(recipient, type.type))
      this.#deadLetter(recipient, message, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    if (cell.kind.protocol.name !== type.protocol) {
      this.#refused(askId, recipient, type.type, 'RUNTIME_UNKNOWN_MESSAGE', wrongProtocol(cell, type), 'type')
      return
    }
    const deadlineMs =
      remainingMs === undefined ? Number.POSITIVE_INFINITY : this.#kernel.clock.monotonicMs() + remainingMs
    const call = new RemoteCall(this, askId, deadlineMs, type.type, chain.toReversed())
    this.#calls.set(askId, call)
    if (deadlineMs !== Number.POSITIVE_INFINITY) this.#kernel.wheel.add(call)
    const path = sender ?? chain.at(-1)?.path
    const from = path === undefined ? this : new RemoteSender(this.name, path)
    cell.deliver(new Envelope(message, from, call, EnvelopeKind.user))
  }

  onReply(askId: number, value: unknown): void {
    const ask = this.#asks.get(askId)
    if (ask === undefined) return
    this.#asks.delete(askId)
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
      const mismatch = this.#kernel.guard.replyCheck(protocol, messageType)?.(value)
      if (mismatch === undefined) return undefined
      const text = `${about} does not fit its schema at "${mismatch.path}"`
      return new InvalidMessage(text, { path: targetPath, field: mismatch.path })
    } catch (error) {
      // A schema that cannot be used costs this ask its answer, not everybody the link.
      return new InvalidMessage(`${about} cannot be checked: ${toError(error).message}`, { path: targetPath })
    }
  }

  onFail(askId: number, code: string, message: string, details: unknown): void {
    const ask = this.#asks.get(askId)
    if (ask === undefined) return
    this.#asks.delete(askId)
    ask.fail(errorFromWire(code, message, details))
  }

  onWatch(watchId: number, recipient: IncomingRecipient): void {
    if (this.#isClosed) return
    if (this.#watches.has(watchId) || this.#watches.size >= watchesMax) {
      const isTwice = this.#watches.has(watchId)
      this.#host.fault(
        this,
        'bad-watch',
        isTwice ? `watch ${watchId} is set already` : `more than ${watchesMax} watches`,
      )
      return
    }
    const cell = this.#host.find(recipient)
    if (cell === undefined) {
      // Who has a bound ref knows that somebody lived there.
      this.#encoder.terminated(watchId, isBound(recipient) ? 'stopped' : 'not-found')
      this.#appended()
      return
    }
    const record = new WatchRecord(this, cell.ref, undefined)
    this.#watches.set(watchId, record)
    this.#watchIds.set(record, watchId)
    cell.addWatcher(record)
  }

  onUnwatch(watchId: number): void {
    const record = this.#watches.get(watchId)
    if (record === undefined) return
    record.active = false
    record.target.removeWatch(record)
    this.forgetWatch(record)
  }

  /** An actor here that the peer watches has ended. Its last messages to the peer stand before this in the batch. */
  watchEnded(record: WatchRecord): void {
    const watchId = this.#watchIds.get(record)
    this.forgetWatch(record)
    if (watchId === undefined || this.#isClosed) return
    this.#encoder.terminated(watchId, record.reason ?? 'stopped')
    this.#appended()
  }

  forgetWatch(record: WatchRecord): void {
    const watchId = this.#watchIds.get(record)
    this.#watchIds.delete(record)
    if (watchId !== undefined) this.#watches.delete(watchId)
  }

  onTerminated(watchId: number, reason: string): void {
    this.#host.terminated(this, watchId, isEndReason(reason) ? reason : 'stopped')
  }

  onCancel(askId: number): void {
    this.#calls.get(askId)?.forget()
  }

  onHeartbeat(sequence: number, kind: 'ping' | 'pong'): void {
    this.#host.heartbeat(this, sequence, kind)
  }

  onGoodbye(): void {
    this.#host.goodbye(this)
  }

  onUnknown(askId: number | undefined, recipient: IncomingRecipient, protocol: string, type: string): void {
    const text =
      `Node "${this.#kernel.nodeName}" does not know message "${type}" of protocol "${protocol}": start an actor of that ` +
      `protocol there, or register its definition in "entities"`
    this.#refused(askId, recipient, type, 'RUNTIME_UNKNOWN_MESSAGE', text, 'type')
  }

  onInvalid(
    askId: number | undefined,
    recipient: IncomingRecipient,
    protocol: string,
    type: string,
    problem: string,
  ): void {
    const text = `Cannot send "${type}" of protocol "${protocol}" to ${nameOf(recipient)}: ${problem}`
    this.#refused(askId, recipient, type, 'RUNTIME_INVALID_MESSAGE', text, undefined)
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
        check = this.#kernel.guard.messageCheck(protocol, type.type)
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
    if (cell === undefined || cell.isEnding) {
      cell = this.#host.resolve(recipient)
      recipient.target = cell
    }
    return cell
  }

  #nobody(recipient: Recipient, type: string): ActorError {
    const { nodeName } = this.#kernel
    const details = { path: nameOf(recipient), type, node: nodeName }
    const text = `Cannot ask "${type}" of ${nameOf(recipient)} on node "${nodeName}"`
    if (isBound(recipient)) return new ActorStopped(`${text}: it has stopped`, details)
    const why = recipient.kind === 'entity' ? notRegistered(recipient.name, nodeName) : 'nobody lives there'
    return new NoSuchActor(`${text}: ${why}`, details)
  }

  #refused(
    askId: number | undefined,
    recipient: Recipient,
    type: string,
    code: string,
    problem: string,
    field: string | undefined,
  ): void {
    if (!this.#host.takes(recipient)) {
      // As on one node: that nobody lives there comes before what is wrong with the message.
      if (askId !== undefined) this.#fail(askId, this.#nobody(recipient, type))
      this.#deadLetter(recipient, { type }, isBound(recipient) ? 'stopped' : 'not-found')
      return
    }
    const details = { path: nameOf(recipient), type, ...(field === undefined ? {} : { field }) }
    if (askId !== undefined) this.#fail(askId, new RuntimeError(code, problem, details))
    else this.#host.complain(this, code, problem)
    this.#deadLetter(recipient, { type }, code === 'RUNTIME_INVALID_MESSAGE' ? 'invalid' : 'unknown-message')
  }

  #deadLetter(recipient: Recipient, message: Message, reason: DeadLetterReason): void {
    const envelope = new Envelope(message, this, null, EnvelopeKind.user)
    this.#kernel.hooks.deadLetter(envelope, reason, undefined, nameOf(recipient))
  }

  // ---- Answers to the peer -------------------------------------------------------------------------------------

  /** @internal */
  reply(call: RemoteCall, value: unknown): void {
    this.#calls.delete(call.askId)
    if (this.#isClosed) return
    const problem = this.#encoder.reply(call.askId, value)
    if (problem !== undefined) {
      const mend =
        problem.reason === 'too-large' ? '; send less at a time, or raise frameBytesMax on all nodes' : ''
      const text = `The reply to "${call.messageType}" cannot be sent: it ${problem.problem}${mend}`
      this.#encoder.fail(call.askId, 'RUNTIME_INVALID_MESSAGE', text, { type: call.messageType })
      this.#kernel.log.error({ node: this.name, type: call.messageType }, text)
    }
    this.#appended()
  }

  /** @internal */
  failCall(call: RemoteCall, error: ActorError): void {
    this.#calls.delete(call.askId)
    this.#fail(call.askId, error)
  }

  #fail(askId: number, error: ActorError): void {
    if (this.#isClosed) return
    const problem = this.#encoder.fail(askId, error.code, error.message, error.details)
    // What makes the error what it is still goes; a value that cannot travel stays.
    if (problem !== undefined)
      this.#encoder.fail(askId, error.code, error.message, plainDetails(error.details))
    this.#appended()
  }

  /** @internal */
  forgetCall(call: RemoteCall): void {
    this.#calls.delete(call.askId)
    this.#kernel.wheel.remove(call)
  }

  /** @internal */
  get wheel(): Kernel['wheel'] {
    return this.#kernel.wheel
  }
}

/** An ask that came from a peer. */
export class RemoteCall extends Call {
  readonly askId: number
  readonly #session: PeerSession
  readonly #chain: readonly CallLink[]
  wheelSlot = -1
  wheelPrevious: RemoteCall['wheelNext'] = null
  wheelNext: Parameters<Kernel['wheel']['add']>[0] | null = null

  constructor(
    session: PeerSession,
    askId: number,
    deadlineMs: number,
    messageType: string,
    chain: readonly CallLink[],
  ) {
    super(deadlineMs, null, null, messageType)
    this.#session = session
    this.askId = askId
    this.#chain = chain
  }

  /** Nearest first, as all chains here. Once nobody waits any more there is no chain. */
  override get remoteChain(): readonly CallLink[] {
    return this.settled ? noChain : this.#chain
  }

  override succeed(value: unknown): void {
    if (this.settled) return
    this.#settle()
    this.#session.reply(this, value)
  }

  override fail(error: ActorError): void {
    if (this.settled) return
    this.#settle()
    this.#session.failCall(this, error)
  }

  /** Its deadline has passed: the asker has given up by itself. */
  expire(): void {
    this.forget()
  }

  /** Nobody waits for the answer any more. */
  forget(): void {
    if (this.settled) return
    this.settled = true
    this.#session.forgetCall(this)
    this.abortSignal()
  }

  #settle(): void {
    this.settled = true
    this.#session.wheel.remove(this)
  }
}

/** An actor of a peer, as the sender of an ask. */
class RemoteSender implements Sender {
  readonly #node: string
  readonly #path: string
  constructor(node: string, path: string) {
    this.#node = node
    this.#path = path
  }

  get senderPath(): string {
    return `${this.#node}:${this.#path}`
  }
}

function nameOf(recipient: Recipient): string {
  return recipient.kind === 'actor' ? recipient.path : `entity ${recipient.name}/${recipient.key}`
}

const noChain: readonly CallLink[] = Object.freeze([])

function isBound(recipient: Recipient): boolean {
  return recipient.kind === 'actor' && recipient.uid !== undefined
}

function wrongProtocol(cell: Cell, { protocol, type }: IncomingType): string {
  const { name } = cell.kind.protocol
  return `Cannot send "${type}" of protocol "${protocol}" to ${cell.path}: it takes the messages of "${name}"`
}

/** What of an error's details can always be sent. */
function plainDetails(details: Details): Details {
  const short = (value: unknown): boolean => typeof value === 'string' && value.length <= 1_024
  return Object.fromEntries(
    Object.entries(details).filter(
      ([, value]) => short(value) || typeof value === 'number' || typeof value === 'boolean',
    ),
  )
}

const endReasons: readonly string[] = ['stopped', 'failed', 'limit', 'node-down', 'not-found']

function isEndReason(value: string): value is EndReason {
  return endReasons.includes(value)
}

type Details = Readonly<Record<string, unknown>>

/** The classes that users catch, by the code under which they travel. */
const errorsByCode: Readonly<
  Record<string, ((message: string, details: Details) => ActorError) | undefined>
> = {
  RUNTIME_ACTOR_CRASHED: (message, details) => new ActorCrashed(message, details),
  RUNTIME_ACTOR_STOPPED: (message, details) => new ActorStopped(message, details),
  RUNTIME_CALL_CYCLE: (message, details) => new CallCycleError(message, details),
  RUNTIME_EXPIRED: (message, details) => new Expired(message, details),
  RUNTIME_INVALID_MESSAGE: (message, details) => new InvalidMessage(message, details),
  RUNTIME_MAILBOX_FULL: (message, details) => new MailboxFull(message, details),
  RUNTIME_NO_SUCH_ACTOR: (message, details) => new NoSuchActor(message, details),
  RUNTIME_REJECTED: (_message, details) => new Rejected(String(details['reason']), details['data'], details),
  RUNTIME_UNKNOWN_MESSAGE: (message, details) => new UnknownMessage(message, details),
}

/** The error that an asker meets; `code` is what it is known by. */
function errorFromWire(code: string, message: string, details: unknown): ActorError {
  const fields = typeof details === 'object' && details !== null ? (details as Details) : {}
  const make = Object.hasOwn(errorsByCode, code) ? errorsByCode[code] : undefined
  return make === undefined ? new RuntimeError(code, message, fields) : make(message, fields)
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
