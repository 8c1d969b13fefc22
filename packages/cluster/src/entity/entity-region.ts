/**
 * Entities: actors that are named by a kind and a key, live on the ring's owner of that key, and are started there by
 * their first message, once nobody else has them any more (hand-off.ts). The view is each node's own: of nodes that cannot
 * reach each other two may hold one entity.
 */
import type { AnyDefinition, ChildOptions, Protocol, RoomOptions } from '@understudy/runtime'
import { ActorStopped, NoSuchActor, supervisor } from '@understudy/runtime'
import {
  childPolicy,
  hmacSha256,
  Ref,
  RoutedKey,
  type Cell,
  type Envelope,
  type InternalSystem,
  type Kernel,
  type WatchRecord,
} from '@understudy/runtime/internal'
import { ownsPlaces, type Member } from '../membership/view.ts'
import { KindRings } from '../placement/kind-rings.ts'
import { RecentOwners } from '../placement/recent-owners.ts'
import { notRegistered } from '../remote/cluster-error.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import { NodeDown } from '../remote/cluster-error.ts'
import { sendTo } from '../remote/remote-ref.ts'
import { nameLengthMax, pathLengthMax } from '../wire/wire-limits.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { HandOff, type EntityName, type HandOffHost, type Release } from './hand-off.ts'

/** A definition whose actors are found by key, and how they are kept. */
export interface EntityKind {
  readonly definition: AnyDefinition
  /** @default { restart: 'transient', backoff: { minMs: 10, maxMs: 10_000 } } */
  readonly options?: ChildOptions | undefined
}

/** An entity that crashes is started again, more slowly each time; its siblings are not its keepers. */
export const entityDefaults: ChildOptions = Object.freeze({
  restart: 'transient',
  backoff: Object.freeze({ minMs: 10, maxMs: 10_000 }),
})

/** Longest key, in UTF-16 code units: what a frame carries, so that a key works on every node or on none. */
export const entityKeyMax = pathLengthMax

/**
 * For so long after a member came others may not know of it, or work off what its keys had; beyond what an entity may take to
 * end, in milliseconds.
 */
const viewLagMs = 10_000

const regionOptions = { intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 } }

/** What a region asks of its node. */
export interface RegionHost extends Pick<HandOffHost, 'waitMs' | 'standing' | 'ask' | 'overdue'> {
  readonly kinds: readonly EntityKind[]
}

export class EntityRegion {
  readonly #system: InternalSystem
  readonly #hub: RemoteHub
  readonly #kinds = new Map<string, EntityKind>()
  readonly #cells = new Map<string, Cell>()
  /** By the path an entity has by right: who was started while that name was still taken by one on its way out. */
  readonly #successors = new Map<string, Cell>()
  #places = new KindRings([])
  readonly #recent: RecentOwners
  readonly #handOff: HandOff

  constructor(system: InternalSystem, hub: RemoteHub, { kinds, ...host }: RegionHost) {
    const { kernel } = system
    this.#system = system
    this.#hub = hub
    this.#recent = new RecentOwners(host.waitMs + viewLagMs)
    this.#handOff = new HandOff({
      ...host,
      kernel,
      owner: ({ kind, key }) => this.owner(kind, key),
      recent: ({ kind, key }) => this.#recent.of(kind, key, kernel.clock.monotonicMs()),
      running: ({ kind, key }) => this.#running(kind, cellNameOf(key)),
      passOn: ({ kind, key }, envelope) => this.#passOn(kind, key, envelope),
    })
    const guardian = system.addGuardian(
      'entity',
      supervisor({ name: 'entity-regions', ...regionOptions }, []),
    )
    for (const kind of kinds) {
      const { name } = kind.definition
      this.#kinds.set(name, kind)
      const region = supervisor({ name: `entity-region-${name}`, ...regionOptions }, [])
      const cell = guardian
        .makeFamily()
        .spawn(name, region, undefined, childPolicy({ restart: 'permanent' }, 'permanent'))
      this.#cells.set(name, cell)
    }
  }

  get places(): KindRings {
    return this.#places
  }

  /**
   * Placement from now on, by these members of a view. Entities that have another owner now work off what they have and end
   * here; their next message starts them over there, as soon as they have ended. What waits here to be started goes there too.
   */
  usePlaces(members: readonly Member[]): void {
    const { kernel } = this.#system
    const owners = members.filter(({ status }) => ownsPlaces(status))
    const leaving = members.filter(({ status }) => status === 'leaving')
    this.#places = new KindRings(owners)
    const placement = { owners, leaving, rings: this.#places }
    this.#recent.use(kernel.nodeName, placement, kernel.clock.monotonicMs())
    for (const [name, cell] of this.#cells) {
      for (const entity of [...(cell.family?.cells() ?? [])]) this.#yield(name, entity)
    }
    // Before anything is sent by this ring: what was sent before it goes first.
    this.#hub.lookAgain()
    this.#handOff.placesChanged()
  }

  /** Ends an entity here that this node does not own, in good order. */
  #yield(name: string, entity: Cell): void {
    const { key } = entity
    if (key === undefined || this.owner(name, key) === this.#system.kernel.nodeName) return
    if (!entity.isLeaving && !this.#handOff.isHeld(entity)) entity.stop('drain', undefined)
  }

  /** Resolves when no entity of this node lives any more: after `usePlaces` without this node. */
  async whenEmpty(): Promise<void> {
    for (const cell of this.#cells.values()) {
      for (const entity of [...(cell.family?.cells() ?? [])]) {
        if (this.#handOff.isHeld(entity)) this.#handOff.giveUp(entity)
        else await new Promise<void>((resolve) => entity.stop('drain', resolve))
      }
    }
  }

  /** This node ends: who asks it whether an entity has ended here is answered at once from now on. */
  answerAll(): void {
    this.#handOff.answerAll()
  }

  /** Answers node `asker`, which wants to start an entity, once it may, or after a while that it may not yet. */
  release(asker: string, entity: EntityName, answer: (release: Release) => void): void {
    // No entity has such a name: nothing is kept for it.
    if (entity.key.length > entityKeyMax || entity.kind.length > nameLengthMax) {
      answer({ isReleased: true, others: [] })
    } else {
      this.#handOff.release(asker, entity, answer)
    }
  }

  /** The node that owns a key; `undefined` when nobody owns any. */
  owner(name: string, key: string): string | undefined {
    return this.#places.of(name).owner(`${name}/${key}`)
  }

  ref(protocol: Protocol, name: string, key: string): EntityRef {
    if (typeof key !== 'string' || key === '' || key.length > entityKeyMax || /\p{Surrogate}/u.test(key)) {
      const rule = `its key must have 1 to ${entityKeyMax} characters, without half a surrogate pair`
      throw new TypeError(`Cannot make a ref to entity "${name}": ${rule}`)
    }
    return new EntityRef(this, this.#hub, this.#system.kernel, protocol, name, key)
  }

  /** Ends every entity here, in good order. */
  restart(): void {
    for (const region of this.#cells.values()) {
      for (const cell of [...(region.family?.cells() ?? [])]) cell.stop('stop', undefined)
    }
  }

  /** Whether entities of that kind can live here. */
  has(name: string): boolean {
    return this.#kinds.has(name)
  }

  /** The entity's cell on this node, when it lives. */
  find(name: string, key: string): Cell | undefined {
    return this.#latest(name, cellNameOf(key))
  }

  /**
   * The entity's cell on this node, made when it is not here yet; `undefined` when its kind cannot live here. It begins when
   * this node owns it and nobody else has it any more; what it holds is passed on when that is not to be.
   */
  local(name: string, key: string): Cell | undefined {
    const kind = this.#kinds.get(name)
    const region = this.#cells.get(name)
    if (kind === undefined || region === undefined || region.isEnding) return undefined
    const cellName = cellNameOf(key)
    const latest = this.#latest(name, cellName)
    if (latest !== undefined && !latest.isLeaving) return latest
    const family = region.makeFamily()
    const policy = childPolicy(kind.options ?? entityDefaults, 'transient')
    if (latest === undefined || family.get(cellName) === undefined) {
      const cell = family.spawn(cellName, kind.definition, new RoutedKey(key), policy)
      this.#handOff.begin(cell, { kind: name, key }, latest)
      return cell
    }
    // One that is on its way out has its name until it has ended; its successor goes by another, and must be found.
    const successor = family.spawn(`${cellName}~${latest.uid}`, kind.definition, new RoutedKey(key), policy)
    const place = `${name}/${cellName}`
    this.#successors.set(place, successor)
    successor.whenEnded(() => {
      if (this.#successors.get(place) === successor) this.#successors.delete(place)
    })
    this.#handOff.begin(successor, { kind: name, key }, latest)
    return successor
  }

  /** The cell for that name that has begun. There is never more than one. */
  #running(name: string, cellName: string): Cell | undefined {
    const named = this.#cells.get(name)?.family?.get(cellName)
    if (named !== undefined && !this.#handOff.isHeld(named)) return named
    const successor = this.#successors.get(`${name}/${cellName}`)
    return successor !== undefined && !this.#handOff.isHeld(successor) ? successor : undefined
  }

  #passOn(name: string, key: string, envelope: Envelope): void {
    const kind = this.#kinds.get(name)
    if (kind !== undefined) this.ref(kind.definition.protocol, name, key).deliver(envelope)
  }

  /** The cell that was started last for that name, though it may be ending. */
  #latest(name: string, cellName: string): Cell | undefined {
    const named = this.#cells.get(name)?.family?.get(cellName)
    if (this.#successors.size === 0) return named
    const successor = this.#successors.get(`${name}/${cellName}`)
    return named === undefined || named.isLeaving ? (successor ?? named) : named
  }
}

/** A ref to an entity: finds its owner at each send. */
export class EntityRef extends Ref {
  override readonly protocol: Protocol
  override readonly kernel: Kernel
  readonly recipient: Recipient & { readonly kind: 'entity' }
  readonly #region: EntityRegion
  readonly #hub: RemoteHub

  constructor(
    region: EntityRegion,
    hub: RemoteHub,
    kernel: Kernel,
    protocol: Protocol,
    name: string,
    key: string,
  ) {
    super()
    this.#region = region
    this.#hub = hub
    this.kernel = kernel
    this.protocol = protocol
    this.recipient = { kind: 'entity', name, key }
  }

  override get path(): string {
    return `/entity/${this.recipient.name}/${cellNameOf(this.recipient.key)}`
  }

  override get uid(): undefined {
    return undefined
  }

  override deliver(envelope: Envelope): boolean {
    const { name, key } = this.recipient
    const owner = this.#region.owner(name, key)
    if (owner === undefined) return this.#refuseUnowned(envelope)
    if (owner === this.kernel.nodeName) {
      const cell = this.#region.local(name, key)
      return cell === undefined ? this.#refuse(envelope) : cell.deliver(envelope)
    }
    return sendTo(this.#hub, this.#hub.session(owner), owner, undefined, this.recipient, this, envelope)
  }

  override async room(options?: RoomOptions): Promise<void> {
    const { name, key } = this.recipient
    const owner = this.#remoteOwner()
    if (owner === undefined) await this.#region.local(name, key)?.room(options)
    else await this.#hub.room(this, owner, undefined, options)
  }

  /** Watches the activation that lives now; an entity as such never ends. Nothing is started for it. */
  override addWatch(record: WatchRecord): void {
    const owner = this.#remoteOwner()
    if (owner !== undefined) {
      this.#hub.watch(record, owner, undefined, this.recipient)
      return
    }
    const cell = this.#region.find(this.recipient.name, this.recipient.key)
    if (cell === undefined) record.ended('not-found')
    else cell.addWatcher(record)
  }

  /** The owner may have changed since: the watch is where it was set. */
  override removeWatch(record: WatchRecord): void {
    this.#hub.unwatch(record)
    this.#region.find(this.recipient.name, this.recipient.key)?.removeWatcher(record)
  }

  #remoteOwner(): string | undefined {
    const owner = this.#region.owner(this.recipient.name, this.recipient.key)
    return owner === this.kernel.nodeName ? undefined : owner
  }

  /** Every member that takes entities is down: there may be one again, so this is no `NoSuchActor`. */
  #refuseUnowned(envelope: Envelope): boolean {
    const { type } = envelope.message
    const text = `Cannot send "${type}" to ${this.path}: no living member of the cluster takes entities (all have weight 0)`
    envelope.call?.fail(new NodeDown(text, { type, outcome: 'not-sent' }))
    this.kernel.hooks.deadLetter(envelope, 'node-down', undefined, this.path, this.protocol.name)
    return false
  }

  #refuse(envelope: Envelope): boolean {
    const { name } = this.recipient
    const { type } = envelope.message
    const cannot = `Cannot send "${type}" to ${this.path}`
    const details = { path: this.path, type }
    const stopping = this.#region.has(name)
    envelope.call?.fail(
      stopping
        ? new ActorStopped(`${cannot}: node "${this.kernel.nodeName}" is stopping its entities`, details)
        : new NoSuchActor(`${cannot}: ${notRegistered(name, this.kernel.nodeName)}`, details),
    )
    this.kernel.hooks.deadLetter(
      envelope,
      stopping ? 'stopping' : 'not-found',
      undefined,
      this.path,
      this.protocol.name,
    )
    return false
  }

  override refParts(): readonly unknown[] {
    return ['', 0, this.recipient.name, null, this.protocol.name, this.recipient.key]
  }
}

/** A key as an actor name: short, and without the characters that names cannot have. */
function cellNameOf(key: string): string {
  const plain = encodeURIComponent(key).replaceAll('~', '%7E')
  if (plain.length <= 200) return plain
  // Long keys keep their head, for people. Who can choose keys must not be able to choose two that become one actor,
  // so what tells them apart is a hash that nobody finds collisions of.
  const digest = hmacSha256('entity key', new TextEncoder().encode(key)).subarray(0, 16)
  return `${plain.slice(0, 160)}~${Buffer.from(digest).toString('hex')}`
}
