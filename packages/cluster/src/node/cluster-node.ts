/**
 * A node: a system, and the others it knows. Wires membership, transport, placement and remote refs together; each of
 * them knows nothing of the others.
 */
import {
  ActorError,
  nodePlatform,
  type ActorRef,
  type ActorSystem,
  type Definition,
  type EventStream,
  type MessageDefs,
  type Protocol,
  type ShutdownReport,
  type Store,
  type SystemStatus,
} from '@understudy/runtime'
import {
  eventStream,
  LogThrottle,
  PathRef,
  startSystem,
  type Cell,
  type InternalSystem,
  type Kernel,
  type Ref,
} from '@understudy/runtime/internal'
import { EntityRegion } from '../entity/entity-region.ts'
import type { LifeStanding } from '../entity/hand-off.ts'
import type { MembershipStatus } from '../membership/membership.ts'
import { isLiving, makeView, memberOf, type Member, type View } from '../membership/view.ts'
import type { Life } from '../placement/recent-owners.ts'
import { GoneRef } from '../remote/gone-ref.ts'
import type { PeerSession } from '../remote/peer-session.ts'
import { RemoteHub } from '../remote/remote-hub.ts'
import { RemoteRef } from '../remote/remote-ref.ts'
import type { SessionHost } from '../remote/session-host.ts'
import { linkBytesMax } from '../remote/session-lane.ts'
import { Spawner, spawnError, spawnerPath, startSpawner, type SpawnedParts } from '../remote/spawner.ts'
import { WireRegistry } from '../remote/wire-registry.ts'
import type { NodeAddress } from '../transport/address.ts'
import type { HandshakeHello } from '../transport/handshake.ts'
import { webSocketTransport, type WebSocketTransport } from '../transport/server.ts'
import type { Listener, Transport } from '../transport/transport.ts'
import { joinJudge } from '../wire/join-policy.ts'
import type { KnownNode } from '../wire/refusal.ts'
import { secretRing, type Secret, type SecretRing } from '../wire/secret-ring.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { checkWireOffer, currentWire, type WireOffer } from '../wire/wire-version.ts'
import type { ClusterEvents } from './cluster-event.ts'
import { atMostUntil, whenAllKnow, whenAnswered, type DrainHost } from './drain.ts'
import { nextIncarnation, storedIncarnation, storeIncarnation } from './life.ts'
import { NodeMembership } from './node-membership.ts'
import { checkNodeOptions, nodeDefaults, type CheckedNodeOptions, type NodeOptions } from './node-options.ts'
import { PeerLinks } from './peer-links.ts'
import { askRelease, startSteward, Steward } from './steward.ts'

/** How often traffic on a link is told to the membership, at most. */
const activeEveryMs = 1_000
/** How long who leaves waits at most for the others to have read its good-bye. */
const partingMs = 1_000

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
  /** `watching`: watches set here on actors of other nodes. `watched`: those that other nodes have set on actors here. */
  readonly watches: { readonly watching: number; readonly watched: number }
  readonly system: SystemStatus
}

export interface ClusterNode extends AsyncDisposable {
  readonly name: string
  /** Grows with every start. */
  readonly incarnation: number
  /** Where others dial it: `advertise`, or where it listens, with the port that was chosen. */
  readonly address: string
  /** Where its state is kept: `data` of its options, so that what runs on the node can keep its own beside it. */
  readonly data: 'memory' | (string & {})
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
  /** Share of the ring by node, in [0, 1], of a kind of entities that all of them have. */
  readonly shares: () => ReadonlyMap<string, number>
  /** An unbound ref to whoever lives at `path` on node `name`. */
  readonly ref: <M extends MessageDefs>(protocol: Protocol<M>, name: string, path: string) => ActorRef<M>
  readonly status: () => NodeStatus
  /**
   * Starts an actor on node `name`, which must have `definition` among its `spawnable` ones; only its name is sent, and the
   * input, which its schema must take. It is kept there as any transient actor, until that node ends.
   *
   * @throws {ActorError} (as a rejection) CLUSTER_SPAWN_REFUSED, and whatever an ask may meet
   */
  readonly spawn: <M extends MessageDefs, I>(
    node: string,
    name: string,
    definition: Definition<M, I>,
    ...input: void extends I ? [] : [input: I]
  ) => Promise<ActorRef<M>>
  /** From the next handshake on; links that stand are not touched. See docs/guides/security.md for the three steps. */
  readonly useSecret: (secret: Secret) => void
  /** Takes new TLS material for new connections; links that stand are not touched. @throws {TransportError} (as a
   * rejection) CLUSTER_BAD_TLS: the old material stays in use */
  readonly reloadTls: () => Promise<void>
  /**
   * Leaves in good order: takes no new work, hands over what it has, says good-bye, and shuts the system down. Nothing
   * that others wait for is lost, as long as it can be done within `drainMs`.
   */
  readonly shutdown: (reason?: string) => Promise<ShutdownReport>
}

/**
 * Starts a node: the system, the listener, and the dialling of its seeds. Resolves when it listens and its static tree
 * has started; the others are found in the background (`whenMembers`).
 *
 * @throws {ActorError} (as a rejection) CLUSTER_NO_SECRET, RUNTIME_START_FAILED
 * @throws {TransportError} (as a rejection) CLUSTER_PORT_IN_USE, CLUSTER_BAD_ADDRESS, CLUSTER_LISTEN_FAILED
 */
export function startNode(options: NodeOptions): Promise<ClusterNode> {
  return startNodeOffering(options, currentWire)
}

/**
 * `startNode` for a node that offers less of the wire than this build speaks, as an older build does: how clusters of two
 * builds are tested.
 *
 * @throws {RangeError} (as a rejection) for an offer that this build cannot keep
 */
export async function startNodeOffering(options: NodeOptions, wire: WireOffer): Promise<ClusterNode> {
  checkWireOffer(wire)
  const checked = checkNodeOptions(options)
  const data = await openData(options)
  let system: InternalSystem
  // `startSystem` prepares the system before it resolves, or rejects.
  let node!: ClusterNodeImpl
  try {
    const stored = await storedIncarnation(data.store)
    system = await startSystem(options.name, options.root, { ...options, ...data }, (prepared) => {
      // Before the first actor runs: its setup may want a ref to another node.
      node = new ClusterNodeImpl(prepared, options, checked, wire, data.store, stored)
    })
  } catch (error) {
    await data.store?.close()
    throw error
  }
  const { store } = data
  if (store !== undefined) system.coordinatedShutdown.add('close', 'data', () => store.close())
  try {
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
  readonly data: string
  readonly system: InternalSystem
  readonly events: EventStream<ClusterEvents>
  readonly #options: NodeOptions
  readonly #checked: CheckedNodeOptions
  readonly #wire: WireOffer
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
  readonly #membership: NodeMembership
  readonly #store: Store | undefined
  /** Ends what others have started here. */
  readonly #restartSpawned: () => void
  #secrets: SecretRing | undefined
  #listener: Listener | undefined
  #incarnation: number
  /** The highest life of this node's name that somebody who may say so has seen. */
  #highestSeen = 0
  #view: View
  /** When the end of this node waits for nobody any more. */
  #drainUntilMs = Number.POSITIVE_INFINITY
  #closing = false

  constructor(
    system: InternalSystem,
    options: NodeOptions,
    checked: CheckedNodeOptions,
    wire: WireOffer,
    store: Store | undefined,
    stored: number,
  ) {
    const { kernel } = system
    this.name = options.name
    this.data = options.data ?? 'memory'
    this.system = system
    this.#options = options
    this.#checked = checked
    this.#wire = wire
    this.#kernel = kernel
    this.#incarnation = nextIncarnation(kernel.platform, stored)
    this.#store = store
    this.#secrets = checked.secrets
    kernel.nodeName = options.name
    kernel.nodeIncarnation = this.#incarnation
    this.events = eventStream<ClusterEvents>(kernel.log)
    this.#transport =
      options.transport ??
      webSocketTransport({
        http: options.http,
        webSocket: options.webSocket,
        tls: options.tls,
        ...options.admission,
        frameBytesMax: options.frameBytesMax,
        outboundBytesMax: linkBytesMax(
          options.frameBytesMax ?? nodeDefaults.frameBytesMax,
          options.outboundBytesMax ?? nodeDefaults.outboundBytesMax,
        ),
        establishTimeoutMs: (options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs) + 1_000,
        onHttpError: (error) => kernel.log.error({ err: error }, 'the http handler failed'),
      })
    const definitions = checked.entities.map((kind) => kind.definition)
    const others = [...(options.actors ?? []), ...(options.spawnable ?? [])]
    this.#registry = new WireRegistry(kernel, [...definitions, ...others])
    this.#registry.learn(Steward)
    this.#registry.learn(Spawner)
    for (const { name, protocol } of definitions) this.#entityNames.set(protocol.name, name)
    this.#hub = new RemoteHub({
      kernel,
      registry: this.#registry,
      frameBytesMax: options.frameBytesMax ?? nodeDefaults.frameBytesMax,
      outboundBytesMax: options.outboundBytesMax ?? nodeDefaults.outboundBytesMax,
      memberStatus: (name) => this.#memberStatus(name),
      localRef: (path, uid, protocol) => this.#localRef(path, uid, protocol),
      entityRef: (name, key, protocol) => this.#region.ref(protocol, name, key),
    })
    this.#view = makeView([])
    this.#region = this.#makeRegion()
    this.#links = this.#makeLinks()
    this.#membership = this.#makeMembership()
    startSteward(system, {
      seenAs: (name, incarnation) => this.#seenAs(name, incarnation),
      isHeld: () => this.#membership.standing.isHeld,
      release: (asker, entity, answer) => this.#region.release(asker, entity, answer),
    })
    this.#restartSpawned = startSpawner(system, options.spawnable ?? [])
    system.remoteRef = (path, protocol) => this.#refFromPath(path, protocol)
    const { coordinatedShutdown } = system
    coordinatedShutdown.add('stop-intake', 'drain', () => this.#stopIntake())
    coordinatedShutdown.add('hand-over', 'entities', () => this.#handOver())
    coordinatedShutdown.add('drain', 'answers', () => this.#answerAll())
    coordinatedShutdown.add('flush', 'goodbye', () => this.#sayGoodbye())
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
    await storeIncarnation(this.#store, this.#incarnation)
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
    this.#warnOfNoLease()
    this.#membership.start()
  }

  /** It may be meant, as in a test: then every loss ends everybody. Else nobody would know before the first one. */
  #warnOfNoLease(): void {
    const { downing, downingLease } = this.#options
    if (downing?.strategy !== 'lease' || downingLease !== undefined) return
    this.#kernel.log.error(
      { node: this.name },
      'the downing strategy is "lease" and there is no "downingLease" to ask, which counts as a no: when any member is lost, ' +
        'by a crash too, all nodes that are left go down; give startNode a "downingLease", or choose another strategy',
    )
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
    return this.#region.places.all.shares()
  }

  ref<M extends MessageDefs>(protocol: Protocol<M>, name: string, path: string): ActorRef<M> {
    if (!path.startsWith('/')) {
      throw new TypeError(
        `Cannot make a ref to "${path}" on node "${name}": a path begins with "/", such as "/user/${path}"`,
      )
    }
    return this.#refAt(name, path, protocol) as unknown as ActorRef<M>
  }

  async spawn<M extends MessageDefs, I>(
    node: string,
    name: string,
    definition: Definition<M, I>,
    ...input: void extends I ? [] : [input: I]
  ): Promise<ActorRef<M>> {
    this.#registry.learn(definition.protocol)
    const spawner = this.#refAt(node, spawnerPath, Spawner)
    const request = { type: 'spawn', definition: definition.name, name, input: input[0] }
    try {
      const parts = (await spawner.ask(request)) as SpawnedParts
      const { path, uid, incarnation } = parts
      return this.#hub.refFromParts([
        node,
        incarnation,
        path,
        uid,
        definition.protocol.name,
      ]) as unknown as ActorRef<M>
    } catch (error) {
      throw spawnError(error, node, definition.name, name)
    }
  }

  useSecret(secret: Secret): void {
    this.#secrets = secretRing(secret)
  }

  async reloadTls(): Promise<void> {
    const { reloadTls } = this.#transport as Partial<WebSocketTransport>
    if (reloadTls === undefined) {
      throw new ActorError('RUNTIME_ILLEGAL_CALL', `Node "${this.name}" has a transport without TLS`)
    }
    await reloadTls()
  }

  status(): NodeStatus {
    const membership = this.#membership.status()
    if (membership === undefined) {
      throw new ActorError('RUNTIME_STOPPED', `Node "${this.name}" does not listen yet`)
    }
    return {
      name: this.name,
      incarnation: this.#incarnation,
      address: this.address,
      membership,
      ring: Object.fromEntries(this.shares()),
      refused: Object.fromEntries([...this.#refused].sort()),
      watches: {
        watching: this.#hub.watching,
        watched: this.#links.sessions().reduce((sum, { watched }) => sum + watched, 0),
      },
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

  #makeMembership(): NodeMembership {
    const { discovery, downingLease, membership, downing, expect, zone } = this.#options
    const { random } = this.#kernel
    return new NodeMembership({
      system: this.system,
      hub: this.#hub,
      links: this.#links,
      events: this.events,
      seeds: this.#checked.seeds,
      discovery: discovery === undefined ? [] : [discovery].flat(),
      lease: downingLease,
      options: () => ({
        self: {
          name: this.name,
          incarnation: this.#incarnation,
          address: this.address as NodeAddress,
          weight: this.#checked.weight,
          ...(zone === undefined ? {} : { zone }),
          roles: this.#checked.roles,
          version: this.#options.version ?? '',
          entities: this.#checked.entities.map(({ definition }) => definition.name).sort(),
        },
        random: random.fork(`membership/${this.#incarnation}`),
        detection: membership ?? this.#checked.preset,
        downing,
        expect,
      }),
      useView: (view) => this.#useView(view),
      badGossip: (linkId, problem) => {
        const session = this.#links.session(linkId)
        if (session !== undefined) this.#badFrame(session, 'bad-gossip', problem)
      },
      renew: (by, reason) => this.#renew(by, reason),
    })
  }

  #useView(view: View): void {
    this.#view = view
    this.#region.usePlaces(view.members)
    this.system.metrics.gauge('understudy_members', { status: 'alive' }).set(this.#livingCount())
    this.events.emit('view-changed', { view })
    const living = this.#livingCount()
    for (const waiter of this.#waiters.filter(({ count }) => living >= count)) waiter.resolve()
    this.#waiters = this.#waiters.filter(({ count }) => living < count)
  }

  #livingCount(): number {
    return this.#view.members.filter(({ status }) => status === 'alive').length
  }

  #memberStatus(name: string): Member | undefined {
    return memberOf(this.#view, name) ?? this.#membership.known(name)
  }

  #seenAs(name: string, incarnation: number): Member['status'] | 'unknown' {
    const known = this.#membership.known(name)
    return known !== undefined && known.incarnation === incarnation ? known.status : 'unknown'
  }

  /** The others gave this life up, or its side of a split lost: its actors end, and it comes back as another. */
  async #renew(by: string, reason: string): Promise<void> {
    const previous = this.#incarnation
    this.#links.renew('CLUSTER_NODE_LEFT')
    const { log, platform } = this.#kernel
    if (this.#options.onRemoved === 'exit') {
      log.fatal({ node: this.name, by, reason }, `node "${this.name}" was given up by ${by}, and ends`)
      return this.#end(`this node was given up by ${by}: ${reason}`, '"onRemoved" is "exit"')
    }
    this.#hub.reset()
    this.#region.restart()
    this.system.restartUser()
    this.#restartSpawned()
    this.#incarnation = nextIncarnation(platform, Math.max(previous, this.#highestSeen))
    this.#kernel.nodeIncarnation = this.#incarnation
    log.error(
      { node: this.name, by, reason, incarnation: this.#incarnation },
      `node "${this.name}" was given up by ${by} (${reason}): it ends its actors and rejoins as incarnation ${this.#incarnation}`,
    )
    try {
      await storeIncarnation(this.#store, this.#incarnation)
    } catch (error) {
      // Without the number on disk it could come back as a life that others have seen: no life at all is better.
      log.fatal(
        { node: this.name, err: error },
        `node "${this.name}" ends: the number of its next life could not be stored`,
      )
      return this.#end(
        'the number of its next life could not be stored',
        'its store failed; mend the disk and start it again',
      )
    }
  }

  /** The whole node, and its process with exit code 1. */
  async #end(reason: string, why: string): Promise<never> {
    await this.shutdown(reason)
    this.#kernel.platform.host.exit(1)
    throw new ActorError('RUNTIME_STOPPED', `Node "${this.name}" has ended: ${why}`)
  }

  // ---- Entities ------------------------------------------------------------------------------------------------

  #makeRegion(): EntityRegion {
    return new EntityRegion(this.system, this.#hub, {
      kinds: this.#checked.entities,
      waitMs: this.#options.drainMs ?? nodeDefaults.drainMs,
      standing: (life) => this.#standingOf(life),
      ask: (life, entity) => askRelease(this.#hub, life, entity, this.name),
      overdue: ({ kind }, path, by, waitedMs) => {
        const names = by.map(({ name }) => name).join(', ')
        this.#writeOnce(
          `hand-off from ${names}`,
          { node: this.name, kind, path, by: names, waitedMs: Math.round(waitedMs) },
          `${path} is started though ${names} did not say in ${Math.round(waitedMs)} ms that it has ended there: both may run`,
        )
      },
    })
  }

  #standingOf({ name, incarnation }: Life): LifeStanding {
    const member = this.#memberStatus(name)
    if (member === undefined || member.incarnation < incarnation) return 'unknown'
    return member.incarnation === incarnation && isLiving(member.status) ? 'living' : 'over'
  }

  // ---- Links ---------------------------------------------------------------------------------------------------

  #hello(): HandshakeHello {
    const { cluster = nodeDefaults.cluster, zone, version = '' } = this.#options
    const { weight, roles } = this.#checked
    return {
      versionMin: this.#wire.versionMin,
      versionMax: this.#wire.versionMax,
      cluster,
      node: this.name,
      incarnation: this.#incarnation,
      address: this.address,
      features: this.#wire.features,
      nonce: this.#kernel.platform.secureBytes(32),
      weight,
      zone,
      roles,
      appVersion: version,
    }
  }

  /**
   * A member that was given up may not know it. At the same incarnation it gets through the handshake, for the
   * membership to judge: after a partition both sides have given each other up, and who yields is decided there.
   */
  #known(name: string): KnownNode | undefined {
    const member = this.#membership.known(name)
    if (member === undefined) return undefined
    const { address, incarnation, status } = member
    return { incarnation, address, down: !isLiving(status), mayReturn: status === 'down' }
  }

  #makeLinks(): PeerLinks {
    const options = this.#options
    const { admit } = options
    return new PeerLinks({
      kernel: this.#kernel,
      transport: this.#transport,
      session: this.#makeSessionHost(),
      hello: () => this.#hello(),
      known: (name) => this.#known(name),
      secrets: () => this.#secrets,
      authenticationRequired: this.#checked.authenticationRequired,
      admits: admit === undefined ? undefined : joinJudge(admit),
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs,
      frameBytesMax: options.frameBytesMax ?? nodeDefaults.frameBytesMax,
      outboundBytesMax: options.outboundBytesMax ?? nodeDefaults.outboundBytesMax,
      step: (input) => this.#membership.step(input),
      refused: (code, reason, remoteAddress) => this.#count(code, reason, remoteAddress),
      higherSeen: (incarnation, by, isTold) => {
        // Somebody has seen a higher life of this name, such as after the wall clock was set back.
        this.#highestSeen = Math.max(this.#highestSeen, incarnation)
        if (!isTold) this.#membership.removed(by, 'a later life of this name was seen')
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
      // Nobody here asks any more; who speaks version 1 of the wire, or looks whether a link is read, gets its answer.
      heartbeat: (session, sequence, kind) => {
        if (kind === 'ping') session.heartbeat(sequence, 'pong')
      },
      goodbye: (session) => this.#membership.step({ type: 'goodbye-received', linkId: session.linkId }),
      gossip: (session, payload) => {
        this.#membership.step({ type: 'gossip-received', linkId: session.linkId, payload })
      },
      chosen: (session) => this.#membership.step({ type: 'chosen-received', linkId: session.linkId }),
      wantLane: (session, lane) => this.#links.dialLane(session, lane),
      terminated: (session, watchId, reason) => this.#hub.terminated(session, watchId, reason),
      watched: (session, watchId, uid, path) => this.#hub.watched(session, watchId, uid, path),
      fault: (session, code, message) => this.#badFrame(session, code, message),
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

  #badFrame(session: PeerSession, code: string, message: string): void {
    const text = `Node "${session.name}" sent a frame that cannot be read (${code}): ${message}`
    this.#count('CLUSTER_BAD_FRAME', text, session.link.remoteAddress)
    session.close(`the link to node "${session.name}" was closed (CLUSTER_BAD_FRAME)`)
    session.closeLinks('CLUSTER_BAD_FRAME')
  }

  /** Traffic keeps a link that is there on demand. Once a second is enough. */
  #active(session: PeerSession): void {
    const nowMs = this.#kernel.clock.monotonicMs()
    if (nowMs - session.activeAtMs < activeEveryMs) return
    session.activeAtMs = nowMs
    this.#membership.step({ type: 'link-active', linkId: session.linkId })
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

  /** Nobody sends new work here any more, once this has resolved. */
  async #stopIntake(): Promise<void> {
    this.#drainUntilMs = this.#kernel.clock.monotonicMs() + (this.#options.drainMs ?? nodeDefaults.drainMs)
    // Who was given up gets no work, and has nothing to say.
    if (this.#membership.isRemoved) return
    this.#membership.step({ type: 'drain' })
    const ignorant = await whenAllKnow(this.#drainHost(), this.#drainUntilMs)
    if (ignorant.length === 0) return
    this.#kernel.log.warn(
      { node: this.name, ignorant },
      `${ignorant.join(', ')} have not confirmed that this node leaves: some of what they send to it may be lost`,
    )
  }

  async #handOver(): Promise<void> {
    // Whatever they have not begun has its successor elsewhere by now.
    if (this.#membership.isRemoved) this.#region.restart()
    else await atMostUntil(this.#kernel, this.#region.whenEmpty(), this.#drainUntilMs)
  }

  async #answerAll(): Promise<void> {
    this.#region.answerAll()
    await whenAnswered(this.#drainHost(), this.#drainUntilMs)
  }

  async #sayGoodbye(): Promise<void> {
    const sent = Promise.all(this.#links.sessions().map((session) => session.whenSent()))
    await atMostUntil(
      this.#kernel,
      sent.then(() => undefined),
      this.#drainUntilMs,
    )
    this.#membership.step({ type: 'leave' })
    const nowMs = this.#kernel.clock.monotonicMs()
    await this.#links.depart(Math.min(nowMs + partingMs, this.#drainUntilMs))
  }

  #drainHost(): DrainHost {
    return {
      kernel: this.#kernel,
      hub: this.#hub,
      view: () => this.#view,
      self: () => ({ name: this.name, incarnation: this.#incarnation }),
      sessions: () => this.#links.sessions(),
    }
  }

  async #close(): Promise<void> {
    this.#closing = true
    this.#membership.close()
    this.#hub.endWaiting()
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#stopped(waiter.count))
    const ended = this.#links.end('CLUSTER_NODE_LEFT')
    await this.#listener?.close()
    await ended
  }
}
