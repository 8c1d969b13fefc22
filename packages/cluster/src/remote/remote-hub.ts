/**
 * The other nodes, as this node's actors reach them: the session in use per member, refs, and watches, which outlive
 * connections: they are announced again on each new one, and end with the member.
 */
import { ActorError, type Protocol, type RoomOptions } from '@understudy/runtime'
import type { EndReason, Envelope, Kernel, Ref, WatchRecord } from '@understudy/runtime/internal'
import type { Unsendable } from '../wire/unsendable.ts'
import { nameLengthMax, pathLengthMax } from '../wire/wire-limits.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { NodeDown } from './cluster-error.ts'
import { GoneRef } from './gone-ref.ts'
import { LinkWait } from './link-wait.ts'
import type { PeerSession } from './peer-session.ts'
import { refuseUnlinked, RemoteRef } from './remote-ref.ts'
import { wireProtocolOf, type WireRegistry } from './wire-registry.ts'

interface RemoteWatch {
  readonly watchId: number
  readonly record: WatchRecord
  readonly node: string
  /** `undefined` while it is not known which life of the node is meant. */
  incarnation: number | undefined
  readonly recipient: Recipient
  /** Whom a watch that named only a place has found there: on a later connection it means that one, or nobody. */
  found: Recipient | undefined
}

export interface RemoteHubOptions {
  readonly kernel: Kernel
  readonly registry: WireRegistry
  /** Of the sessions: what waits for one is bounded as they are. @default 1_048_576 */
  readonly frameBytesMax?: number | undefined
  /** @default 16_777_216 */
  readonly outboundBytesMax?: number | undefined
  /** How the membership sees a node; `undefined`: never heard of. */
  readonly memberStatus: (
    node: string,
  ) => { readonly status: string; readonly incarnation: number } | undefined
  /** A ref to an actor here, by what a ref from elsewhere says of it. */
  readonly localRef: (path: string, uid: number | undefined, protocol: Protocol) => Ref
  readonly entityRef: (name: string, key: string, protocol: Protocol) => Ref
}

/** Bound refs that are remembered, so that an actor is the same object each time it is named. */
const refsMax = 16_384
/** Protocols that only refs have named. */
const unknownProtocolsMax = 1_024
/** Characters of what is remembered by. Longer names and paths are in no envelope: nobody is reached by them. */
const refKeyMax = 2 * nameLengthMax + pathLengthMax + 64

export class RemoteHub {
  readonly kernel: Kernel
  readonly #options: RemoteHubOptions
  readonly #sessions = new Map<string, PeerSession>()
  readonly #watches = new Map<number, RemoteWatch>()
  readonly #watchIds = new Map<WatchRecord, number>()
  /**
   * Bound refs by what they name, oldest first. One object per actor, as long as it is remembered: a recipient gets its
   * number from the peer's session by its object.
   */
  readonly #refs = new Map<string, RemoteRef>()
  /** By name. One object each: sessions number message types by their protocol's object. */
  readonly #unknownProtocols = new Map<string, Protocol>()
  readonly #linkWait: LinkWait
  #nextWatchId = 1

  constructor(options: RemoteHubOptions) {
    this.kernel = options.kernel
    this.#options = options
    this.#linkWait = new LinkWait({
      kernel: options.kernel,
      frameBytesMax: options.frameBytesMax,
      bytesMax: options.outboundBytesMax ?? 16_777_216,
      refuse: (node, target, envelope) => refuseUnlinked(this, node, target, envelope),
    })
  }

  /** The session that carries messages to `node` now. */
  session(node: string): PeerSession | undefined {
    return this.#sessions.get(node)
  }

  /** Watches of actors here on actors elsewhere, also those that wait for a link. */
  get watching(): number {
    return this.#watches.size
  }

  statusOf(node: string): string {
    return this.#options.memberStatus(node)?.status ?? 'not a member'
  }

  // ---- Messages without a link -----------------------------------------------------------------------------------

  /**
   * Keeps a message for a member that takes part and has no link now, until there is one, at most for `linkWaitMs`; then it
   * is sent once more. `false`: nobody makes such a link, or too much waits already.
   */
  waitForLink(
    node: string,
    incarnation: number | undefined,
    recipient: Recipient,
    target: Ref,
    envelope: Envelope,
  ): boolean | Unsendable {
    return this.#mayBeLinked(node, incarnation) && this.#linkWait.add(node, recipient, target, envelope)
  }

  /** Messages may belong elsewhere from now on, or to nobody: what waits for a link is sent again. */
  lookAgain(): void {
    this.#linkWait.look()
  }

  /** This node ends: what still waits for a link gets none. */
  endWaiting(): void {
    this.#linkWait.end()
  }

  #mayBeLinked(node: string, incarnation: number | undefined): boolean {
    const member = this.#options.memberStatus(node)
    if (member === undefined || member.status === 'down' || member.status === 'left') return false
    return incarnation === undefined || incarnation === member.incarnation
  }

  // ---- Sessions come and go ------------------------------------------------------------------------------------

  /** From now on messages to that member go here; what it is watched for is announced again. */
  use(session: PeerSession): void {
    this.#sessions.set(session.name, session)
    for (const watch of [...this.#watches.values()]) {
      if (watch.node !== session.name) continue
      watch.incarnation ??= session.incarnation
      if (watch.incarnation === session.incarnation) this.#announce(watch, session)
    }
    this.#linkWait.look()
  }

  /** This node begins another life: no session of the old one is used any more, and its watches are over. */
  reset(): void {
    this.#sessions.clear()
    for (const watch of [...this.#watches.values()]) this.#end(watch, 'node-down')
    this.#linkWait.end()
  }

  lost(name: string): void {
    this.#sessions.delete(name)
  }

  /**
   * That life of the node is over: nothing of it is delivered from here on, and every watch on it ends, exactly once. The
   * notices stand behind all that was delivered. The links of the session are the node's to close.
   */
  memberGone(name: string, incarnation: number): void {
    const session = this.#sessions.get(name)
    if (session !== undefined && session.incarnation <= incarnation) {
      this.#sessions.delete(name)
      session.close(`node "${name}" is down`)
    }
    for (const watch of [...this.#watches.values()]) {
      if (watch.node === name && (watch.incarnation === undefined || watch.incarnation <= incarnation)) {
        this.#end(watch, 'node-down')
      }
    }
  }

  // ---- Refs ----------------------------------------------------------------------------------------------------

  /** A ref from its parts on the wire. @throws {ActorError} CLUSTER_BAD_REF for parts that are none */
  refFromParts(parts: readonly unknown[]): Ref {
    const [node, incarnation, path, uid, protocolName, key] = parts
    if (
      typeof node !== 'string' ||
      !isCount(incarnation) ||
      typeof path !== 'string' ||
      !(uid === null || isCount(uid)) ||
      typeof protocolName !== 'string'
    ) {
      throw new ActorError(
        'CLUSTER_BAD_REF',
        'A ref must have a node, an incarnation, a path, a uid and a protocol',
      )
    }
    const protocol = this.#options.registry.protocol(protocolName) ?? this.#unknownProtocol(protocolName)
    if (typeof key === 'string') return this.#options.entityRef(path, key, protocol)
    const { kernel } = this
    const ownLife = incarnation === 0 || incarnation === kernel.nodeIncarnation
    if (node === kernel.nodeName) {
      if (ownLife) return this.#options.localRef(path, uid ?? undefined, protocol)
      return new GoneRef(kernel, incarnation, path, uid ?? undefined, protocol)
    }
    if (incarnation === 0 || uid === null) {
      return new RemoteRef(
        this,
        node,
        incarnation === 0 ? undefined : incarnation,
        path,
        uid ?? undefined,
        protocol,
      )
    }
    return this.#boundRef(node, incarnation, path, uid, protocol)
  }

  #boundRef(node: string, incarnation: number, path: string, uid: number, protocol: Protocol): RemoteRef {
    // A frame has room for a path of a mebibyte, and a peer for a new one in each: what is kept of them has to be small.
    if (node.length + path.length + protocol.name.length + 64 > refKeyMax) {
      return new RemoteRef(this, node, incarnation, path, uid, protocol)
    }
    const key = `${node}/${incarnation}/${uid}/${protocol.name}${path}`
    const known = this.#refs.get(key)
    if (known !== undefined && known.protocol === protocol) return known
    const ref = new RemoteRef(this, node, incarnation, path, uid, protocol)
    if (this.#refs.size >= refsMax) {
      for (const oldest of this.#refs.keys()) {
        this.#refs.delete(oldest)
        break
      }
    }
    this.#refs.set(key, ref)
    return ref
  }

  /** A ref may name a protocol that this node has no definition of: it can be sent to, unchecked, and passed on. */
  #unknownProtocol(name: string): Protocol {
    let protocol = this.#unknownProtocols.get(name)
    if (protocol === undefined) {
      protocol = Object.freeze({ name, messages: Object.freeze({}) })
      if (name.length > nameLengthMax) return protocol
      if (this.#unknownProtocols.size >= unknownProtocolsMax) this.#unknownProtocols.clear()
      this.#unknownProtocols.set(name, protocol)
    }
    return protocol
  }

  /**
   * Resolves when the link to `node` takes messages, and `target`, which lives there, does; and while what is sent waits for
   * a link.
   */
  room(
    target: Ref & { readonly recipient: Recipient },
    node: string,
    incarnation: number | undefined,
    options: RoomOptions | undefined,
  ): Promise<void> {
    const session = this.session(node)
    if (session !== undefined && !session.isClosed) {
      return session.whenRoom(target, target.recipient, wireProtocolOf(target.protocol), options?.signal)
    }
    if (this.#mayBeLinked(node, incarnation) && this.#linkWait.hasRoom(node)) return Promise.resolve()
    const text = `There is no room at ${target.path}: there is no link to node "${node}" (${this.statusOf(node)})`
    return Promise.reject(new NodeDown(text, { node, outcome: 'not-sent' }))
  }

  // ---- Watches -------------------------------------------------------------------------------------------------

  watch(record: WatchRecord, node: string, incarnation: number | undefined, recipient: Recipient): void {
    const session = this.#sessions.get(node)
    const member = this.#options.memberStatus(node)
    const alive = member !== undefined && (member.status === 'alive' || member.status === 'suspect')
    const life = incarnation ?? session?.incarnation ?? member?.incarnation
    if (!alive || (incarnation !== undefined && member.incarnation !== incarnation)) {
      record.ended('node-down')
      return
    }
    const watchId = this.#nextWatchId++
    const watch: RemoteWatch = { watchId, record, node, incarnation: life, recipient, found: undefined }
    this.#watches.set(watch.watchId, watch)
    this.#watchIds.set(record, watch.watchId)
    if (session !== undefined) this.#announce(watch, session)
  }

  #announce(watch: RemoteWatch, session: PeerSession): void {
    // A path that no frame carries is nobody's.
    const recipient = watch.found ?? watch.recipient
    if (session.watch(watch.watchId, recipient) !== undefined) this.#end(watch, 'not-found')
  }

  unwatch(record: WatchRecord): void {
    const watchId = this.#watchIds.get(record)
    const watch = watchId === undefined ? undefined : this.#watches.get(watchId)
    if (watch === undefined) return
    this.#forget(watch)
    this.#sessions.get(watch.node)?.unwatch(watch.watchId)
  }

  /** The peer says that a watched actor has ended. */
  terminated(session: PeerSession, watchId: number, reason: EndReason): void {
    const watch = this.#watches.get(watchId)
    if (watch !== undefined && watch.node === session.name) this.#end(watch, reason)
  }

  /**
   * The peer says whom a watch has found at the place that it named. Should the connection be lost before this word is
   * here, the next one finds whoever lives there then: as if the watch had been set then.
   */
  watched(session: PeerSession, watchId: number, uid: number, path: string): void {
    const watch = this.#watches.get(watchId)
    if (watch?.node !== session.name || watch.incarnation !== session.incarnation) return
    watch.found ??= { kind: 'actor', path, uid }
  }

  #end(watch: RemoteWatch, reason: EndReason): void {
    this.#forget(watch)
    watch.record.ended(reason)
  }

  #forget(watch: RemoteWatch): void {
    this.#watches.delete(watch.watchId)
    this.#watchIds.delete(watch.record)
  }
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
