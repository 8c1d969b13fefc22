/**
 * A node: a system, and the others it knows. Wires membership, transport, placement and remote refs together; each of
 * them knows nothing of the others.
 */
import {
  ActorError,
  createSystem,
  nodePlatform,
  type ActorRef,
  type ActorSystem,
  type EventStream,
  type MessageDefs,
  type Protocol,
  type ShutdownReport,
  type SystemStatus,
} from '@understudy/runtime'
import {
  CoreShell,
  eventStream,
  LogThrottle,
  PathRef,
  type Cell,
  type InternalSystem,
  type Kernel,
  type Ref,
} from '@understudy/runtime/internal'
import { EntityRegion } from '../entity/entity-region.ts'
import type { MembershipEffect, MembershipInput, MembershipStatus } from '../membership/membership.ts'
import { StaticMembershipCore } from '../membership/static-core.ts'
import { makeView, type Member, type View } from '../membership/view.ts'
import { HashRing } from '../placement/hash-ring.ts'
import { GoneRef } from '../remote/gone-ref.ts'
import type { PeerSession, SessionHost } from '../remote/peer-session.ts'
import { RemoteHub } from '../remote/remote-hub.ts'
import { RemoteRef } from '../remote/remote-ref.ts'
import { WireRegistry } from '../remote/wire-registry.ts'
import type { NodeAddress } from '../transport/address.ts'
import { webSocketTransport } from '../transport/server.ts'
import type { Listener, Transport } from '../transport/transport.ts'
import type { Hello } from '../wire/handshake-message.ts'
import type { KnownNode } from '../wire/refusal.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { PeerLinks } from './peer-links.ts'
import { checkNodeOptions, nodeDefaults, type CheckedNodeOptions, type NodeOptions } from './node-options.ts'

/** Versions of the wire format that this build speaks. */
const wireVersions = Object.freeze({ versionMin: 1, versionMax: 1 })

/** What happens among the nodes, as past-tense facts. */
export interface ClusterEvents {
  'member-up': { readonly name: string; readonly incarnation: number; readonly address: string }
  /** It may be dead; it keeps its keys until it is down or has recovered. */
  'member-suspected': { readonly name: string; readonly incarnation: number; readonly reason: string }
  'member-recovered': { readonly name: string; readonly incarnation: number }
  'member-down': { readonly name: string; readonly incarnation: number; readonly reason: string }
  'member-left': { readonly name: string; readonly incarnation: number }
  'view-changed': { readonly view: View }
  /** The others had given this node up; it came back as a new incarnation. */
  'self-removed': { readonly by: string; readonly incarnation: number }
  /** A peer was turned away, or broke the protocol. */
  'peer-refused': { readonly code: string; readonly reason: string; readonly remoteAddress: string }
}

/** One node as plain JSON. */
export interface NodeStatus {
  readonly name: string
  readonly incarnation: number
  readonly address: string
  readonly membership: MembershipStatus
  /** Share of the ring by node, in [0, 1]. */
  readonly ring: Readonly<Record<string, number>>
  /** Peers turned away, by code. */
  readonly refused: Readonly<Record<string, number>>
  readonly system: SystemStatus
}

export interface ClusterNode extends AsyncDisposable {
  readonly name: string
  /** Grows with every start. */
  readonly incarnation: number
  /** Where others dial it: `advertise`, or where it listens, with the port that was chosen. */
  readonly address: string
  readonly system: ActorSystem
  readonly events: EventStream<ClusterEvents>
  /** The members as this node sees them now, itself included, sorted by name. */
  readonly members: () => readonly Member[]
  /** Resolves when this node sees at least `count` living members, itself included. Rejects when aborted. */
  readonly whenMembers: (
    count: number,
    options?: { readonly signal?: AbortSignal | undefined },
  ) => Promise<void>
  /** A ref to the actor for `key`, wherever its owner is; started there by its first message. */
  readonly entity: <M extends MessageDefs>(protocol: Protocol<M>, key: string) => ActorRef<M>
  /** The node that owns an entity's key in this node's view. */
  readonly ownerOf: (protocol: Protocol, key: string) => string | undefined
  /** Share of the ring by node, in [0, 1]. */
  readonly shares: () => ReadonlyMap<string, number>
  /** An unbound ref to whoever lives at `path` on node `name`. */
  readonly ref: <M extends MessageDefs>(protocol: Protocol<M>, name: string, path: string) => ActorRef<M>
  readonly status: () => NodeStatus
  /** Says good-bye to the others, then shuts the system down. */
  readonly shutdown: (reason?: string) => Promise<ShutdownReport>
}

/**
 * Starts a node: the system, the listener, and the dialling of its seeds. Resolves when it listens and its static tree
 * has started; the others are found in the background (`whenMembers`).
 *
 * @throws {ActorError} (as a rejection) CLUSTER_NO_SECRET, RUNTIME_START_FAILED
 * @throws {TransportError} (as a rejection) CLUSTER_PORT_IN_USE, CLUSTER_BAD_ADDRESS, CLUSTER_LISTEN_FAILED
 */
export async function startNode(options: NodeOptions): Promise<ClusterNode> {
  const checked = checkNodeOptions(options)
  const data = await openData(options)
  let system: InternalSystem
  try {
    system = (await createSystem(options.name, options.root, { ...options, ...data })) as InternalSystem
  } catch (error) {
    await data.store?.close()
    throw error
  }
  const { store } = data
  if (store !== undefined) system.coordinatedShutdown.add('close', 'data', () => store.close())
  try {
    const node = new ClusterNodeImpl(system, options, checked)
    await node.listen()
    return node
  } catch (error) {
    await system.shutdown('the node could not start')
    throw error
  }
}

async function openData(options: NodeOptions): Promise<Pick<NodeOptions, 'store' | 'platform'>> {
  if (options.data === undefined || options.data === 'memory') return {}
  const platform = options.platform ?? nodePlatform()
  return { platform, store: await platform.openStore(options.data) }
}

interface Waiter {
  readonly count: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

class ClusterNodeImpl implements ClusterNode {
  readonly name: string
  readonly system: InternalSystem
  readonly events: EventStream<ClusterEvents>
  readonly #options: NodeOptions
  readonly #checked: CheckedNodeOptions
  readonly #kernel: Kernel
  readonly #transport: Transport
  readonly #registry: WireRegistry
  readonly #hub: RemoteHub
  readonly #region: EntityRegion
  readonly #links: PeerLinks
  readonly #entityNames = new Map<string, string>()
  readonly #refused = new Map<string, number>()
  readonly #throttle = new LogThrottle({ first: 1, windowMs: 60_000 })
  #waiters: Waiter[] = []
  #membership: CoreShell<MembershipInput, MembershipEffect, MembershipStatus> | undefined
  #core: StaticMembershipCore | undefined
  #listener: Listener | undefined
  #incarnation: number
  /** The highest life of this node's name that somebody who may say so has seen. */
  #highestSeen = 0
  #view: View
  #closing = false

  constructor(system: InternalSystem, options: NodeOptions, checked: CheckedNodeOptions) {
    const { kernel } = system
    this.name = options.name
    this.system = system
    this.#options = options
    this.#checked = checked
    this.#kernel = kernel
    this.#incarnation = newIncarnation(kernel.clock.wallMs(), kernel.platform.secureBytes(2))
    kernel.nodeName = options.name
    kernel.nodeIncarnation = this.#incarnation
    this.events = eventStream<ClusterEvents>(kernel.log)
    this.#transport =
      options.transport ??
      webSocketTransport({
        http: options.http,
        frameBytesMax: options.frameBytesMax,
        outboundBytesMax: options.outboundBytesMax,
        establishTimeoutMs: (options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs) + 1_000,
        onHttpError: (error) => kernel.log.error({ err: error }, 'the http handler failed'),
      })
    const definitions = checked.entities.map((kind) => kind.definition)
    this.#registry = new WireRegistry(kernel, [...definitions, ...(options.actors ?? [])])
    for (const { name, protocol } of definitions) this.#entityNames.set(protocol.name, name)
    this.#hub = new RemoteHub({
      kernel,
      registry: this.#registry,
      memberStatus: (name) => this.#memberStatus(name),
      localRef: (path, uid, protocol) => this.#localRef(path, uid, protocol),
      entityRef: (name, key, protocol) => this.#region.ref(protocol, name, key),
    })
    this.#view = makeView([])
    this.#region = new EntityRegion(system, this.#hub, checked.entities, ringOf(this.#view))
    this.#links = this.#makeLinks()
    system.remoteRef = (path, protocol) => this.#refFromPath(path, protocol)
    const { coordinatedShutdown } = system
    coordinatedShutdown.add('stop-intake', 'goodbye', () => this.#leave())
    coordinatedShutdown.add('close', 'links', () => this.#close())
  }

  get incarnation(): number {
    return this.#incarnation
  }

  get address(): string {
    return this.#checked.advertise ?? this.#listener?.address ?? this.#checked.listen
  }

  /** Opens the port and begins to look for the others. */
  async listen(): Promise<void> {
    const listener = await this.#transport.listen(this.#checked.listen, this.#links.accept, {
      onRefused: ({ reason, remoteAddress }) => {
        this.#count('CLUSTER_NOT_A_NODE', `A connection was turned away: ${reason}`, remoteAddress)
      },
    })
    if (this.#closing) {
      await listener.close()
      throw new ActorError('RUNTIME_STOPPED', `Cannot start node "${this.name}": it was shut down meanwhile`)
    }
    this.#listener = listener
    this.#startMembership()
  }

  // ---- For users -----------------------------------------------------------------------------------------------

  members(): readonly Member[] {
    return this.#view.members
  }

  whenMembers(count: number, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (this.#livingCount() >= count) return Promise.resolve()
    if (this.#closing) return Promise.reject(this.#stopped(count))
    const { signal } = options
    const kernel = this.#kernel
    return new Promise((resolve, reject) => {
      kernel.waiters++
      const abort = (): void => {
        kernel.waiters--
        this.#waiters = this.#waiters.filter((other) => other !== waiter)
        const seen = this.#livingCount()
        const text = `Waiting for ${count} members was given up: node "${this.name}" sees ${seen}`
        reject(new ActorError('RUNTIME_ABORTED', text, { wanted: count, seen }, signal?.reason))
      }
      const waiter = {
        count,
        resolve: () => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          resolve()
        },
        reject: (error: Error) => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
        return
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#waiters.push(waiter)
    })
  }

  entity<M extends MessageDefs>(protocol: Protocol<M>, key: string): ActorRef<M> {
    // The runtime's refs carry no message types; the protocol that was given says what they are.
    return this.#region.ref(protocol, this.#entityName(protocol), key) as unknown as ActorRef<M>
  }

  ownerOf(protocol: Protocol, key: string): string | undefined {
    return this.#region.owner(this.#entityName(protocol), key)
  }

  shares(): ReadonlyMap<string, number> {
    return this.#region.ring.shares()
  }

  ref<M extends MessageDefs>(protocol: Protocol<M>, name: string, path: string): ActorRef<M> {
    if (!path.startsWith('/')) {
      throw new TypeError(
        `Cannot make a ref to "${path}" on node "${name}": a path begins with "/", such as "/user/${path}"`,
      )
    }
    return this.#refAt(name, path, protocol) as unknown as ActorRef<M>
  }

  status(): NodeStatus {
    const membership = this.#membership?.status() ?? this.#requireCore().status()
    return {
      name: this.name,
      incarnation: this.#incarnation,
      address: this.address,
      membership,
      ring: Object.fromEntries(this.shares()),
      refused: Object.fromEntries([...this.#refused].sort()),
      system: this.system.status(),
    }
  }

  shutdown(reason?: string): Promise<ShutdownReport> {
    return this.system.shutdown(reason)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown('the node was disposed of')
  }

  #stopped(count: number): ActorError {
    const text = `Waiting for ${count} members is over: node "${this.name}" has shut down`
    return new ActorError('RUNTIME_STOPPED', text, { wanted: count, seen: this.#livingCount() })
  }

  /** A protocol without a registered definition goes by its own name: its owner may have registered it. */
  #entityName(protocol: Protocol): string {
    this.#registry.learn(protocol)
    return this.#entityNames.get(protocol.name) ?? protocol.name
  }

  #refAt(name: string, path: string, protocol: Protocol): Ref {
    this.#registry.learn(protocol)
    if (name === this.name) return new PathRef(this.#kernel, path, protocol)
    return new RemoteRef(this.#hub, name, undefined, path, undefined, protocol)
  }

  /** `b:/user/orders`: the path of an actor on node b. */
  #refFromPath(path: string, protocol: Protocol): Ref {
    const match = /^([A-Za-z0-9._-]{1,63}):(\/.+)$/.exec(path)
    if (match === null) {
      throw new TypeError(
        `Cannot make a ref to "${path}": write "/user/name", or "node:/user/name" for another node`,
      )
    }
    return this.#refAt(match[1] as string, match[2] as string, protocol)
  }

  #localRef(path: string, uid: number | undefined, protocol: Protocol): Ref {
    const cell = this.system.resolve(path)
    if (uid === undefined) return new PathRef(this.#kernel, path, protocol)
    if (cell !== undefined && cell.uid === uid) return cell.ref
    // The actor is gone, and the ref must not mean its successor.
    return new GoneRef(this.#kernel, this.#incarnation, path, uid, protocol)
  }

  // ---- Membership ----------------------------------------------------------------------------------------------

  #requireCore(): StaticMembershipCore {
    if (this.#core === undefined)
      throw new ActorError('RUNTIME_STOPPED', `Node "${this.name}" does not listen yet`)
    return this.#core
  }

  #startMembership(): void {
    const { clock, random } = this.#kernel
    const options = this.#options
    const core = new StaticMembershipCore({
      self: {
        name: this.name,
        incarnation: this.#incarnation,
        address: this.address as NodeAddress,
        weight: this.#checked.weight,
        zone: options.zone,
      },
      seeds: this.#checked.seeds,
      random: random.fork(`membership/${this.#incarnation}`),
      heartbeatIntervalMs: options.heartbeatIntervalMs,
      deadlineMs: options.deadlineMs,
    })
    this.#core = core
    this.#membership = new CoreShell<MembershipInput, MembershipEffect, MembershipStatus>({
      core,
      clock,
      tick: { type: 'tick' },
      carryOut: (effect) => this.#carryOut(effect),
    })
    this.#useView(core.view())
    this.#membership.step({ type: 'started' })
  }

  #carryOut(effect: MembershipEffect): void {
    const { log, metrics } = { log: this.#kernel.log, metrics: this.system.metrics }
    switch (effect.type) {
      case 'dial':
        void this.#links.dial(effect.address)
        return
      case 'close-link':
        this.#links.close(effect.linkId, effect.code)
        return
      case 'send-heartbeat':
        this.#links.session(effect.linkId)?.heartbeat(effect.sequence, effect.kind)
        return
      case 'send-goodbye':
        this.#links.session(effect.linkId)?.goodbye('the node leaves')
        return
      case 'use-link': {
        const session = this.#links.session(effect.linkId)
        if (session !== undefined) this.#hub.use(session)
        return
      }
      case 'lost-link': {
        const session = this.#hub.session(effect.name)
        this.#hub.lost(effect.name)
        session?.close(`the link to node "${effect.name}" was lost`)
        return
      }
      case 'member-up': {
        const { name, incarnation, address } = effect.member
        log.info({ node: this.name, member: name, incarnation, address }, `member "${name}" is up`)
        this.events.emit('member-up', { name, incarnation, address })
        return
      }
      case 'member-suspected': {
        const { name, incarnation, reason } = effect
        log.warn(
          { node: this.name, member: name, incarnation, reason },
          `member "${name}" may be down: ${reason}`,
        )
        this.events.emit('member-suspected', { name, incarnation, reason })
        return
      }
      case 'member-recovered':
        log.info({ node: this.name, member: effect.name }, `member "${effect.name}" is back`)
        this.events.emit('member-recovered', effect)
        return
      case 'member-down': {
        const { name, incarnation, reason } = effect
        log.warn(
          { node: this.name, member: name, incarnation, reason },
          `member "${name}" is down: ${reason}`,
        )
        metrics.counter('understudy_members_down_total', { reason }).add()
        this.#hub.memberGone(name, incarnation)
        this.events.emit('member-down', { name, incarnation, reason })
        return
      }
      case 'member-left':
        log.info({ node: this.name, member: effect.name }, `member "${effect.name}" has left`)
        this.#hub.memberGone(effect.name, effect.incarnation)
        this.events.emit('member-left', effect)
        return
      case 'self-removed':
        this.#rejoin(effect.by)
        return
      case 'view-changed':
        this.#useView(effect.view)
        return
      default:
        effect satisfies never
    }
  }

  #useView(view: View): void {
    this.#view = view
    this.#region.useRing(ringOf(view))
    this.system.metrics.gauge('understudy_members', { status: 'alive' }).set(this.#livingCount())
    this.events.emit('view-changed', { view })
    const living = this.#livingCount()
    for (const waiter of this.#waiters.filter(({ count }) => living >= count)) waiter.resolve()
    this.#waiters = this.#waiters.filter(({ count }) => living < count)
  }

  #livingCount(): number {
    return this.#view.members.filter(({ status }) => status === 'alive').length
  }

  #memberStatus(name: string): { readonly status: string; readonly incarnation: number } | undefined {
    const living = this.#view.members.find((member) => member.name === name)
    return living ?? this.#core?.status().members.find((member) => member.name === name)
  }

  /** The others gave this life up: its actors end, and it comes back as another. */
  #rejoin(by: string): void {
    if (this.#closing) return
    const previous = this.#incarnation
    this.#membership?.close()
    this.#links.renew('CLUSTER_NODE_LEFT')
    const { clock, log } = this.#kernel
    this.#incarnation = Math.max(
      previous + 1,
      this.#highestSeen + 1,
      newIncarnation(clock.wallMs(), this.#kernel.platform.secureBytes(2)),
    )
    this.#kernel.nodeIncarnation = this.#incarnation
    log.error(
      { node: this.name, by, incarnation: this.#incarnation },
      `node "${this.name}" was given up by ${by}: it ends its actors and rejoins as incarnation ${this.#incarnation}`,
    )
    this.#hub.reset()
    this.#region.restart()
    this.system.restartUser()
    this.events.emit('self-removed', { by, incarnation: this.#incarnation })
    this.#startMembership()
  }

  // ---- Links ---------------------------------------------------------------------------------------------------

  #hello(): Omit<Hello, 'type'> {
    const { cluster = nodeDefaults.cluster, secret, zone } = this.#options
    const { weight } = this.#checked
    return {
      ...wireVersions,
      cluster,
      node: this.name,
      incarnation: this.#incarnation,
      address: this.address,
      features: [],
      nonce: this.#kernel.platform.secureBytes(32),
      authenticated: secret !== undefined,
      weight,
      zone,
    }
  }

  /**
   * A member that was given up may not know it. At the same incarnation it gets through the handshake, for the
   * membership to judge: after a partition both sides have given each other up, and who yields is decided there.
   */
  #known(name: string): KnownNode | undefined {
    const member = this.#core?.status().members.find((other) => other.name === name)
    if (member === undefined) return undefined
    const { address, incarnation, status } = member
    return {
      incarnation,
      address,
      down: status === 'down' || status === 'left',
      mayReturn: status === 'down',
    }
  }

  #makeLinks(): PeerLinks {
    const options = this.#options
    return new PeerLinks({
      kernel: this.#kernel,
      transport: this.#transport,
      session: this.#makeSessionHost(),
      hello: () => this.#hello(),
      known: (name) => this.#known(name),
      secret: options.secret,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs,
      frameBytesMax: options.frameBytesMax ?? nodeDefaults.frameBytesMax,
      outboundBytesMax: options.outboundBytesMax ?? nodeDefaults.outboundBytesMax,
      step: (input) => this.#membership?.step(input),
      refused: (code, reason, remoteAddress) => this.#count(code, reason, remoteAddress),
      higherSeen: (incarnation, by, isTold) => {
        // Somebody has seen a higher life of this name, such as after the wall clock was set back.
        this.#highestSeen = Math.max(this.#highestSeen, incarnation)
        if (!isTold) this.#rejoin(by)
      },
    })
  }

  #makeSessionHost(): SessionHost {
    const { metrics } = this.system
    const counters = {
      in: [
        metrics.counter('understudy_frames_total', { dir: 'in' }),
        metrics.counter('understudy_frame_bytes_total', { dir: 'in' }),
      ],
      out: [
        metrics.counter('understudy_frames_total', { dir: 'out' }),
        metrics.counter('understudy_frame_bytes_total', { dir: 'out' }),
      ],
    } as const
    return {
      kernel: this.#kernel,
      registry: this.#registry,
      resolve: (recipient) => this.#resolve(recipient),
      find: (recipient) => this.#find(recipient),
      takes: (recipient) =>
        recipient.kind === 'entity' ? this.#region.has(recipient.name) : this.#find(recipient) !== undefined,
      resolveRef: (parts) => this.#hub.refFromParts(parts),
      heartbeat: (session, sequence, kind) => {
        this.#membership?.step({ type: 'heartbeat-received', linkId: session.linkId, sequence, kind })
      },
      goodbye: (session) => this.#membership?.step({ type: 'goodbye-received', linkId: session.linkId }),
      terminated: (session, watchId, reason) => this.#hub.terminated(session, watchId, reason),
      fault: (session, code, message) => {
        const text = `Node "${session.name}" sent a frame that cannot be read (${code}): ${message}`
        this.#count('CLUSTER_BAD_FRAME', text, session.link.remoteAddress)
        session.close(`the link to node "${session.name}" was closed (CLUSTER_BAD_FRAME)`)
        session.link.close('CLUSTER_BAD_FRAME')
      },
      complain: (session, code, message) => {
        this.#writeOnce(
          `${code} from node "${session.name}"`,
          { node: this.name, code, from: session.name },
          message,
        )
      },
      frames: (session, direction, bytes) => {
        counters[direction][0].add()
        counters[direction][1].add(bytes)
        if (direction === 'in') this.#active(session)
      },
    }
  }

  /** Any frame is a sign of life: heartbeats may queue behind the peer's own data. Once a heartbeat is enough. */
  #active(session: PeerSession): void {
    const nowMs = this.#kernel.clock.monotonicMs()
    if (nowMs - session.activeAtMs < (this.#options.heartbeatIntervalMs ?? nodeDefaults.heartbeatIntervalMs))
      return
    session.activeAtMs = nowMs
    this.#membership?.step({ type: 'link-active', linkId: session.linkId })
  }

  #resolve(recipient: Recipient): Cell | undefined {
    if (recipient.kind === 'entity') return this.#region.local(recipient.name, recipient.key)
    return this.#find(recipient)
  }

  #find(recipient: Recipient): Cell | undefined {
    if (recipient.kind === 'entity') return this.#region.find(recipient.name, recipient.key)
    const cell = this.system.resolve(recipient.path)
    return cell !== undefined && (recipient.uid === undefined || cell.uid === recipient.uid)
      ? cell
      : undefined
  }

  /** Refusals are counted by code, told as events, and logged once per peer and code in a minute. */
  #count(code: string, reason: string, remoteAddress: string): void {
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1)
    this.system.metrics.counter('understudy_refused_total', { code }).add()
    this.events.emit('peer-refused', { code, reason, remoteAddress })
    const host = remoteAddress.replace(/:\d+$/, '')
    this.#writeOnce(`${code} from ${host}`, { node: this.name, code, remoteAddress }, reason)
  }

  #writeOnce(key: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    const { clock, log } = this.#kernel
    const nowMs = clock.monotonicMs()
    for (const { key: earlier, counted } of this.#throttle.due(nowMs)) {
      log.warn({ node: this.name, counted }, `${counted} more: ${earlier}`)
    }
    if (this.#throttle.note(key, nowMs) === 'write') log.warn(fields, message)
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  #leave(): void {
    this.#membership?.step({ type: 'leave' })
  }

  async #close(): Promise<void> {
    this.#closing = true
    this.#membership?.close()
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#stopped(waiter.count))
    const ended = this.#links.end('CLUSTER_NODE_LEFT')
    await this.#listener?.close()
    await ended
  }
}

/**
 * Grows with the wall clock, and differs (but for one in 1,024) between two starts at the same time of day: a clock that
 * stands still, a snapshot that is run twice. Else refs to actors of one life would lead to those of the other.
 */
function newIncarnation(wallMs: number, chance: Uint8Array): number {
  const [high = 0, low = 0] = chance
  return Math.max(1, Math.floor(wallMs)) * 1_024 + (((high << 8) | low) % 1_024)
}

function ringOf(view: View): HashRing {
  return new HashRing(view.members.filter(({ status }) => status === 'alive' || status === 'suspect'))
}
