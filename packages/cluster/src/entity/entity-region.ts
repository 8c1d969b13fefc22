/**
 * Entities: actors that are named by a kind and a key, live on the ring's owner of that key, and are started there by
 * their first message. The view is each node's own, so while views differ two nodes may hold one entity: placement is
 * promised, single activation is not yet.
 */
import type { AnyDefinition, ChildOptions, Protocol, RoomOptions } from '@understudy/runtime'
import { supervisor } from '@understudy/runtime'
import {
  ActorError,
  childPolicy,
  Ref,
  RoutedKey,
  type Cell,
  type Envelope,
  type InternalSystem,
  type Kernel,
  type WatchRecord,
} from '@understudy/runtime/internal'
import { murmur3 } from '../placement/hash.ts'
import type { HashRing } from '../placement/hash-ring.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import { sendTo } from '../remote/remote-ref.ts'
import type { Recipient } from '../wire/wire-protocol.ts'

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

/** Longest key, in UTF-16 code units. */
export const entityKeyMax = 4_096

const regionOptions = { intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 } }

export class EntityRegion {
  readonly #system: InternalSystem
  readonly #hub: RemoteHub
  readonly #kinds = new Map<string, EntityKind>()
  readonly #cells = new Map<string, Cell>()
  #ring: HashRing

  constructor(system: InternalSystem, hub: RemoteHub, kinds: readonly EntityKind[], ring: HashRing) {
    this.#system = system
    this.#hub = hub
    this.#ring = ring
    const guardian = system.addGuardian('entity', supervisor({ name: 'entity-regions', ...regionOptions }, []))
    for (const kind of kinds) {
      const { name } = kind.definition
      if (this.#kinds.has(name)) throw new TypeError(`Cannot register entity "${name}" twice`)
      this.#kinds.set(name, kind)
      const region = supervisor({ name: `entity-region-${name}`, ...regionOptions }, []) as unknown as AnyDefinition
      const cell = guardian.makeFamily().spawn(name, region, undefined, childPolicy({ restart: 'permanent' }, 'permanent'))
      this.#cells.set(name, cell)
    }
  }

  get ring(): HashRing {
    return this.#ring
  }

  /** Placement from now on. Entities that are here stay until they are stopped: there is no hand-off yet. */
  useRing(ring: HashRing): void {
    this.#ring = ring
  }

  /** The node that owns a key; `undefined` when the ring is empty. */
  owner(name: string, key: string): string | undefined {
    return this.#ring.owner(`${name}/${key}`)
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

  /** The entity's cell on this node, started when it is not here yet; `undefined` when its kind is not registered. */
  local(name: string, key: string): Cell | undefined {
    const kind = this.#kinds.get(name)
    const region = this.#cells.get(name)
    if (kind === undefined || region === undefined || region.isEnding) return undefined
    const family = region.makeFamily()
    const cellName = cellNameOf(key)
    const living = family.get(cellName)
    if (living !== undefined && !living.isEnding) return living
    // One that is on its way out has its name until it has ended; its successor goes by the next one.
    const free = living === undefined ? cellName : `${cellName}~${living.uid}`
    const policy = childPolicy(kind.options ?? entityDefaults, 'transient')
    return family.get(free) ?? family.spawn(free, kind.definition, new RoutedKey(key), policy)
  }
}

/** A ref to an entity: finds its owner at each send. */
export class EntityRef extends Ref {
  override readonly protocol: Protocol
  override readonly kernel: Kernel
  readonly recipient: Recipient & { readonly kind: 'entity' }
  readonly #region: EntityRegion
  readonly #hub: RemoteHub

  constructor(region: EntityRegion, hub: RemoteHub, kernel: Kernel, protocol: Protocol, name: string, key: string) {
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
    if (owner === undefined || owner === this.kernel.nodeName) {
      const cell = this.#region.local(name, key)
      if (cell !== undefined) return cell.deliver(envelope)
      const text = `Cannot send "${envelope.message.type}" to ${this.path}: entity "${name}" is not registered on node "${this.kernel.nodeName}"; add its definition to "entities"`
      envelope.call?.fail(new ActorError('RUNTIME_NO_SUCH_ACTOR', text, { path: this.path }))
      this.kernel.hooks.deadLetter(envelope, 'not-found', undefined, this.path)
      return false
    }
    return sendTo(this.#hub, this.#hub.session(owner), owner, this.recipient, this, envelope)
  }

  override async room(options?: RoomOptions): Promise<void> {
    const { name, key } = this.recipient
    const owner = this.#region.owner(name, key)
    if (owner !== undefined && owner !== this.kernel.nodeName) await this.#hub.room(owner, options?.signal)
    else await this.#region.local(name, key)?.room(options)
  }

  /** Watches the activation that is on this node; an entity as such never ends. */
  override addWatch(record: WatchRecord): void {
    const cell = this.kernel.hooks.resolvePath(this.path)
    if (cell === undefined) {
      record.ended('not-found')
      return
    }
    cell.addWatcher(record)
  }

  override removeWatch(record: WatchRecord): void {
    this.kernel.hooks.resolvePath(this.path)?.removeWatcher(record)
  }

  override refParts(): readonly unknown[] {
    return ['', 0, this.recipient.name, null, this.protocol.name, this.recipient.key]
  }
}

/** A key as an actor name: short, and without the characters that names cannot have. */
function cellNameOf(key: string): string {
  const plain = encodeURIComponent(key).replaceAll('~', '%7E')
  if (plain.length <= 200) return plain
  // Long keys keep their head, for people, and are told apart by two hashes of the whole.
  return `${plain.slice(0, 160)}~${murmur3(key, 1).toString(16)}${murmur3(key, 2).toString(16)}`
}
