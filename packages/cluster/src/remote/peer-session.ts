/**
 * One link to one life of one peer, after the handshake: the outbox towards it, and what its frames mean here. Ends
 * with the link; nothing of it outlives the connection epoch.
 */
import {
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
  type Protocol,
} from '@understudy/runtime'
import {
  ActorError as RuntimeError,
  Call,
  Envelope,
  EnvelopeKind,
  PendingAsk,
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
import type { Link } from '../transport/transport.ts'
import { FrameDecoder } from '../wire/frame-decoder.ts'
import { FrameEncoder } from '../wire/frame-encoder.ts'
import type { FrameSink, IncomingType } from '../wire/frame-sink.ts'
import type { Unsendable } from '../wire/unsendable.ts'
import type { IncomingRecipient, Recipient, WireProtocol } from '../wire/wire-protocol.ts'
import { NodeDown } from './cluster-error.ts'
import { wireProtocolOf, type WireRegistry } from './wire-registry.ts'

/** Envelopes after which a batch leaves without waiting for the end of the turn. */
const flushEnvelopes = 512
/** And bytes, whichever comes first. */
const flushBytes = 65_536
/** Asks that may wait for one peer at a time. More fail with `CLUSTER_LINK_FULL`. */
export const pendingAsksMax = 1_000_000

/** What a session needs of the node around it. */
export interface SessionHost {
  readonly kernel: Kernel
  readonly registry: WireRegistry
  /** The actor or entity that a recipient names, here; started when it is an entity. */
  readonly resolve: (recipient: Recipient) => Cell | undefined
  readonly resolveRef: (parts: readonly unknown[]) => unknown
  readonly heartbeat: (session: PeerSession, sequence: number, kind: 'ping' | 'pong') => void
  readonly goodbye: (session: PeerSession) => void
  readonly terminated: (session: PeerSession, watchId: number, reason: EndReason) => void
  /** The peer broke the protocol; the link is being closed. */
  readonly fault: (session: PeerSession, code: string, message: string) => void
  readonly frames: (direction: 'in' | 'out', bytes: number) => void
}

interface SessionFacts {
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
}

export class PeerSession implements FrameSink, Sender, Watcher {
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
  #nextAskId = 1
  #flushDue = false
  /** Frames that the link had no room for, in order. While there are any, nothing more is taken. */
  #backlog: Uint8Array[] = []
  #rooms: (() => void)[] = []
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
        new NodeDown(`No answer from ${ask.targetPath} to "${ask.messageType}": ${why}; the outcome is unknown`, {
          node: this.name,
          type: ask.messageType,
          outcome: 'unknown',
        }),
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
    for (const resolve of this.#rooms.splice(0)) resolve()
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  /** True while the link takes no more. */
  get isFull(): boolean {
    return (
      this.#backlog.length > 0 || this.#encoder.pendingBytes + this.link.bufferedBytes >= this.#outboundBytesMax
    )
  }

  /** Resolves when the link takes messages again, or is gone. */
  whenRoom(): Promise<void> {
    if (!this.isFull || this.#isClosed) return Promise.resolve()
    return new Promise((resolve) => this.#rooms.push(resolve))
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
      deadlineMs === Number.POSITIVE_INFINITY ? undefined : Math.max(1, Math.ceil(deadlineMs - this.#kernel.freshNow()))
    const problem = this.#encoder.ask(askId, recipient, protocol, message, remainingMs, sender, chain)
    if (problem !== undefined) return problem
    this.#asks.set(askId, call)
    call.onGiveUp = () => {
      this.#asks.delete(askId)
      if (this.#isClosed) return
      this.#encoder.cancel(askId)
      this.#appended()
    }
    this.#appended()
    return undefined
  }

  watch(watchId: number, recipient: Recipient): void {
    this.#encoder.watch(watchId, recipient)
    this.#appended()
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
    if (this.#isClosed || this.#encoder.pending === 0) return
    for (const frame of this.#encoder.take()) this.#send(frame)
  }

  #send(frame: Uint8Array): void {
    if (this.#backlog.length > 0) {
      this.#backlog.push(frame)
      return
    }
    this.#host.frames('out', frame.length)
    if (this.link.send(frame) === 'full') this.#backlog.push(frame)
  }

  #drained(): void {
    const waiting = this.#backlog
    this.#backlog = []
    for (const frame of waiting) this.#send(frame)
    if (this.isFull) return
    for (const resolve of this.#rooms.splice(0)) resolve()
  }

  // ---- Receiving -----------------------------------------------------------------------------------------------

  #read(frame: Uint8Array): void {
    if (this.#isClosed) return
    this.#host.frames('in', frame.length)
    const fault = this.#decoder.read(frame)
    if (fault !== undefined) this.#host.fault(this, fault.code, fault.message)
  }

  onTell(recipient: IncomingRecipient, type: IncomingType, message: Message): void {
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(undefined, recipient, type.type, 'RUNTIME_INVALID_MESSAGE', problem)
      return
    }
    const cell = this.#cellOf(recipient, type)
    if (cell === undefined) {
      this.#deadLetter(recipient, message, 'not-found')
      return
    }
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
    if (type.kind !== 'ask') {
      const text = `Cannot ask "${type.type}" of ${nameOf(recipient)}: it is a message without an answer`
      this.#refused(askId, recipient, type.type, 'RUNTIME_UNKNOWN_MESSAGE', text)
      return
    }
    const problem = this.#checked(type, message)
    if (problem !== undefined) {
      this.#refused(askId, recipient, type.type, 'RUNTIME_INVALID_MESSAGE', problem)
      return
    }
    const cell = this.#cellOf(recipient, type)
    if (cell === undefined) {
      const details = { path: nameOf(recipient), type: type.type, node: this.#kernel.nodeName }
      const bound = recipient.kind === 'actor' && recipient.uid !== undefined
      const text = `Cannot ask "${type.type}" of ${nameOf(recipient)} on node "${this.#kernel.nodeName}": `
      this.#fail(
        askId,
        bound
          ? new ActorStopped(`${text}that actor has stopped`, details)
          : new NoSuchActor(`${text}nobody lives there that takes "${type.protocol}"`, details),
      )
      this.#deadLetter(recipient, message, 'not-found')
      return
    }
    const deadlineMs =
      remainingMs === undefined ? Number.POSITIVE_INFINITY : this.#kernel.clock.monotonicMs() + remainingMs
    const call = new RemoteCall(this, askId, deadlineMs, type.type, chain)
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
    const { protocol } = ask.target as unknown as { readonly protocol: Protocol }
    const mismatch = this.#kernel.guard.replyCheck(protocol, ask.messageType)?.(value)
    if (mismatch === undefined) {
      ask.succeed(value)
      return
    }
    const text = `The reply of ${ask.targetPath} to "${ask.messageType}" does not fit its schema at "${mismatch.path}"`
    ask.fail(new RuntimeError('RUNTIME_INVALID_MESSAGE', text, { path: ask.targetPath, field: mismatch.path }))
  }

  onFail(askId: number, code: string, message: string, details: unknown): void {
    const ask = this.#asks.get(askId)
    if (ask === undefined) return
    this.#asks.delete(askId)
    ask.fail(errorFromWire(code, message, details))
  }

  onWatch(watchId: number, recipient: IncomingRecipient): void {
    const cell = recipient.kind === 'actor' ? this.#host.resolve(recipient) : undefined
    if (cell === undefined) {
      this.#encoder.terminated(watchId, 'not-found')
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
    this.#refused(askId, recipient, type, 'RUNTIME_UNKNOWN_MESSAGE', text)
  }

  onInvalid(
    askId: number | undefined,
    recipient: IncomingRecipient,
    protocol: string,
    type: string,
    problem: string,
  ): void {
    const text = `Cannot send "${type}" of protocol "${protocol}" to ${nameOf(recipient)}: ${problem}`
    this.#refused(askId, recipient, type, 'RUNTIME_INVALID_MESSAGE', text)
  }

  /** The schema of an arrived message, compiled once per connection and kept on the type. */
  #checked(type: IncomingType, message: Message): string | undefined {
    let check = type.slot as Check | undefined
    if (check === undefined) {
      const protocol = this.#host.registry.protocol(type.protocol)
      if (protocol === undefined) return `protocol "${type.protocol}" is not known here`
      check = this.#kernel.guard.messageCheck(protocol, type.type)
      type.slot = check
    }
    const mismatch = check(message)
    if (mismatch === undefined) return undefined
    return `Cannot send "${type.type}": field "${mismatch.path}" ${mismatch.problem}, expected ${mismatch.expected}`
  }

  #cellOf(recipient: IncomingRecipient, type: IncomingType): Cell | undefined {
    let cell = recipient.target as Cell | undefined
    if (cell === undefined || cell.isEnding) {
      cell = this.#host.resolve(recipient)
      recipient.target = cell
    }
    return cell !== undefined && cell.kind.protocol.name === type.protocol ? cell : undefined
  }

  #refused(askId: number | undefined, recipient: Recipient, type: string, code: string, problem: string): void {
    if (askId !== undefined) this.#fail(askId, new RuntimeError(code, problem, { path: nameOf(recipient), type }))
    else this.#kernel.log.error({ node: this.name, code, path: nameOf(recipient) }, problem)
    this.#deadLetter(recipient, { type }, code === 'RUNTIME_INVALID_MESSAGE' ? 'invalid' : 'unknown-message')
  }

  #deadLetter(recipient: Recipient, message: Message, reason: 'not-found' | 'invalid' | 'unknown-message'): void {
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
      const text = `The reply to "${call.messageType}" cannot be sent: it ${problem.problem}`
      this.#encoder.fail(call.askId, 'RUNTIME_INVALID_MESSAGE', text)
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
    if (problem !== undefined) this.#encoder.fail(askId, error.code, error.message)
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

  override get remoteChain(): readonly CallLink[] {
    return this.#chain
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

const endReasons: readonly string[] = ['stopped', 'failed', 'limit', 'node-down', 'not-found']

function isEndReason(value: string): value is EndReason {
  return endReasons.includes(value)
}

type Details = Readonly<Record<string, unknown>>

/** The classes that users catch, by the code under which they travel. */
const errorsByCode: Readonly<Record<string, ((message: string, details: Details) => ActorError) | undefined>> = {
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
