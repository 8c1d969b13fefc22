/** Refs to actors on other nodes. They behave as local ones do, with two more ways to fail: the node, and the link. */
import { ActorStopped, InvalidMessage, type Protocol, type RoomOptions } from '@understudy/runtime'
import {
  callChain,
  PendingAsk,
  Ref,
  type Envelope,
  type Kernel,
  type WatchRecord,
} from '@understudy/runtime/internal'
import type { Unsendable } from '../wire/unsendable.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { LinkFull, NodeDown } from './cluster-error.ts'
import type { PeerSession, Refused } from './peer-session.ts'
import type { RemoteHub } from './remote-hub.ts'
import { wireProtocolOf } from './wire-registry.ts'

/** A ref to one actor of one node; with an incarnation it is bound to that life of the node. */
export class RemoteRef extends Ref {
  readonly node: string
  readonly incarnation: number | undefined
  override readonly uid: number | undefined
  override readonly protocol: Protocol
  readonly recipient: Recipient & { readonly kind: 'actor' }
  readonly #hub: RemoteHub
  readonly #path: string

  constructor(
    hub: RemoteHub,
    node: string,
    incarnation: number | undefined,
    path: string,
    uid: number | undefined,
    protocol: Protocol,
  ) {
    super()
    this.#hub = hub
    this.node = node
    this.incarnation = incarnation
    this.#path = path
    this.uid = uid
    this.protocol = protocol
    this.recipient = { kind: 'actor', path, uid }
  }

  override get path(): string {
    return `${this.node}:${this.#path}`
  }

  override get kernel(): Kernel {
    return this.#hub.kernel
  }

  override deliver(envelope: Envelope): boolean {
    const session = this.#hub.session(this.node)
    if (session !== undefined && this.incarnation !== undefined && session.incarnation !== this.incarnation) {
      const text = `Cannot send "${envelope.message.type}" to ${this.path}: its node has restarted since, the actor is gone`
      return refuse(
        this,
        envelope,
        'stopped',
        new ActorStopped(text, { path: this.path, type: envelope.message.type }),
      )
    }
    return sendTo(this.#hub, session, this.node, this.incarnation, this.recipient, this, envelope)
  }

  override room(options?: RoomOptions): Promise<void> {
    return this.#hub.room(this, this.node, this.incarnation, options)
  }

  override addWatch(record: WatchRecord): void {
    this.#hub.watch(record, this.node, this.incarnation, this.recipient)
  }

  override removeWatch(record: WatchRecord): void {
    this.#hub.unwatch(record)
  }

  /** Two lives of a node give the same uids to different actors. */
  override toString(): string {
    return this.incarnation === undefined ? super.toString() : `${super.toString()}@${this.incarnation}`
  }

  override refParts(): readonly unknown[] {
    return [this.node, this.incarnation ?? 0, this.#path, this.uid ?? null, this.protocol.name]
  }
}

/**
 * Sends over a session, or lets the message wait for one, or says why not. `false`: the envelope is a dead letter and its
 * call has failed. `incarnation`: the life of the node that is meant, when it matters.
 */
export function sendTo(
  hub: RemoteHub,
  session: PeerSession | undefined,
  node: string,
  incarnation: number | undefined,
  recipient: Recipient,
  target: Ref,
  envelope: Envelope,
): boolean {
  const { call, message, sender } = envelope
  if (session === undefined || session.isClosed) {
    const waits = hub.waitForLink(node, incarnation, recipient, target, envelope)
    if (typeof waits === 'object') return refuseUnsendable(hub, target, envelope, waits)
    return waits || refuseUnlinked(hub, node, target, envelope)
  }
  const wire = wireProtocolOf(target.protocol)
  let problem: Unsendable | Refused | undefined
  if (call === null) {
    problem = session.tell(recipient, wire, message)
  } else if (call instanceof PendingAsk) {
    const chain = call.asker === null ? noChain : callChain(call).toReversed()
    // The last of the chain is the sender: its path need not travel twice.
    const path = chain.length > 0 ? undefined : sender?.senderPath
    problem = session.ask(recipient, wire, message, call, path, chain)
  } else {
    // A call that came from another node is passed on: the answer goes back the way it came.
    problem = passOn(hub, session, recipient, target, envelope)
  }
  if (problem === undefined) return true
  if (problem === 'queue' || problem === 'no credit') {
    const why =
      problem === 'queue'
        ? `the outbound queue to node "${node}" is full`
        : `too many messages wait for it on node "${node}"`
    const text = `Cannot send "${message.type}" to ${target.path}: ${why}; wait for ref.room()`
    const details = { node, type: message.type, why: problem }
    return refuse(target, envelope, 'link-full', new LinkFull(text, details))
  }
  return refuseUnsendable(hub, target, envelope, problem)
}

function refuseUnsendable(hub: RemoteHub, target: Ref, envelope: Envelope, unsendable: Unsendable): false {
  const { reason, problem } = unsendable
  const { type } = envelope.message
  const mend = reason === 'too-large' ? '; send less at a time, or raise frameBytesMax on all nodes' : ''
  const text = `Cannot send "${type}" to ${target.path}: the message ${problem}${mend}`
  if (envelope.call === null) hub.kernel.log.error({ path: target.path, type }, text)
  return refuse(target, envelope, 'invalid', new InvalidMessage(text, { path: target.path, type }))
}

/** There is no link to its node, and none is waited for: the envelope is a dead letter. */
export function refuseUnlinked(hub: RemoteHub, node: string, target: Ref, envelope: Envelope): false {
  const { type } = envelope.message
  const text = `Cannot send "${type}" to ${target.path}: there is no link to node "${node}" (${hub.statusOf(node)})`
  return refuse(target, envelope, 'node-down', new NodeDown(text, { node, type, outcome: 'not-sent' }))
}

const noChain = Object.freeze([])

function passOn(
  hub: RemoteHub,
  session: PeerSession,
  recipient: Recipient,
  target: Ref,
  envelope: Envelope,
): Unsendable | Refused | undefined {
  const { call, message, sender } = envelope
  if (call === null) return undefined
  const onwards = new PendingAsk(hub.kernel, call.deadlineMs, null, null, null, message.type, target)
  onwards.promise.then(
    (value) => call.succeed(value),
    (error: unknown) => call.fail(error as Parameters<typeof call.fail>[0]),
  )
  const chain = callChain(call).toReversed()
  return session.ask(recipient, wireProtocolOf(target.protocol), message, onwards, sender?.senderPath, chain)
}

function refuse(
  target: Ref,
  envelope: Envelope,
  reason: 'node-down' | 'link-full' | 'invalid' | 'stopped',
  error: NodeDown | LinkFull | InvalidMessage | ActorStopped,
): false {
  envelope.call?.fail(error)
  target.kernel.hooks.deadLetter(envelope, reason, undefined, target.path, target.protocol.name)
  return false
}
