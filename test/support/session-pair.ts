/** Two systems with a session between them and nothing else of a node: links can be held, and lanes be late. */
import type { CloseReason, Link, SendResult } from '@understudy/cluster'
import type { ActorRef, MessageDefs, Protocol } from '@understudy/runtime'
import { PathRef, type InternalSystem } from '@understudy/runtime/internal'
import { testSystem, virtualPlatform, type VirtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from './source-module.ts'

type Session = import('../../packages/cluster/src/remote/peer-session.ts').PeerSession
type Facts = import('../../packages/cluster/src/remote/session-host.ts').SessionFacts
type Host = import('../../packages/cluster/src/remote/session-host.ts').SessionHost
type Hub = import('../../packages/cluster/src/remote/remote-hub.ts').RemoteHub
type LaneName = import('../../packages/cluster/src/wire/wire-protocol.ts').LaneName

const { PeerSession } = await sourceModule<
  typeof import('../../packages/cluster/src/remote/peer-session.ts')
>('cluster', 'remote/peer-session')
const { RemoteHub } = await sourceModule<typeof import('../../packages/cluster/src/remote/remote-hub.ts')>(
  'cluster',
  'remote/remote-hub',
)
const { RemoteRef } = await sourceModule<typeof import('../../packages/cluster/src/remote/remote-ref.ts')>(
  'cluster',
  'remote/remote-ref',
)
const { WireRegistry } = await sourceModule<
  typeof import('../../packages/cluster/src/remote/wire-registry.ts')
>('cluster', 'remote/wire-registry')

/** One end of a connection in memory. Held, it delivers nothing: what is sent waits in it until it is full. */
export class TestLink implements Link {
  readonly remoteAddress: string
  readonly unreliable: Link['unreliable'] | undefined
  peer: TestLink = this
  isHeld = false
  /** Bytes that may wait. */
  outboundBytesMax: number
  /** How it ended, here. */
  ended: string | undefined
  #waiting: Uint8Array[] = []
  #isFull = false
  #isDue = false
  #parting: string | undefined
  #onFrame: ((frame: Uint8Array) => void) | undefined
  #onClose: ((reason: CloseReason) => void) | undefined
  #onDrain: (() => void) | undefined

  constructor(remoteAddress: string, outboundBytesMax: number, unreliable: Link['unreliable'] | undefined) {
    this.remoteAddress = remoteAddress
    this.outboundBytesMax = outboundBytesMax
    this.unreliable = unreliable
  }

  get bufferedBytes(): number {
    return this.#waiting.reduce((sum, frame) => sum + frame.length, 0)
  }

  readonly send = (frame: Uint8Array): SendResult => {
    if (this.ended !== undefined) return 'closed'
    if (this.bufferedBytes + frame.length > this.outboundBytesMax) {
      this.#isFull = true
      return 'full'
    }
    this.#waiting.push(frame)
    this.#deliverSoon()
    return 'ok'
  }

  readonly onFrame = (callback: (frame: Uint8Array) => void): void => {
    this.#onFrame = callback
    this.peer.#deliverSoon()
  }
  readonly onClose = (callback: (reason: CloseReason) => void): void => {
    this.#onClose = callback
  }
  readonly onDrain = (callback: () => void): void => {
    this.#onDrain = callback
  }
  readonly established = (): void => undefined

  readonly close = (code = 'CLUSTER_LINK_CLOSED'): void => {
    if (this.ended !== undefined) return
    this.ended = code
    this.#parting = code
    queueMicrotask(() => this.#onClose?.({ code, message: 'this side closed it' }))
    this.#deliverSoon()
  }

  hold(): void {
    this.isHeld = true
  }

  release(): void {
    this.isHeld = false
    this.#deliverSoon()
  }

  #deliverSoon(): void {
    if (this.#isDue) return
    this.#isDue = true
    queueMicrotask(() => {
      this.#isDue = false
      this.#deliver()
    })
  }

  #deliver(): void {
    const { peer } = this
    while (!this.isHeld && this.#waiting.length > 0) {
      if (peer.ended === undefined && peer.#onFrame === undefined) return
      const frame = this.#waiting.shift() as Uint8Array
      if (peer.ended === undefined) peer.#onFrame?.(frame)
    }
    if (this.#isFull && this.bufferedBytes <= this.outboundBytesMax / 2) {
      this.#isFull = false
      this.#onDrain?.()
    }
    if (this.#waiting.length === 0 && this.#parting !== undefined && !this.isHeld) {
      const code = this.#parting
      this.#parting = undefined
      if (peer.ended === undefined) {
        peer.ended = code
        peer.#onClose?.({ code, message: 'the peer closed it' })
      }
    }
  }
}

/** One side of the pair. */
export interface Side {
  readonly system: InternalSystem
  readonly hub: Hub
  readonly session: Session
  /** This side's ends of the links, the last that was opened of each lane. */
  readonly links: Record<string, TestLink>
  /** What the session told its host, in order. */
  readonly told: string[]
  readonly ref: <M extends MessageDefs>(protocol: Protocol<M>, path: string) => ActorRef<M>
}

export interface SessionPair extends AsyncDisposable {
  readonly platform: VirtualPlatform
  /** Dialled the control link. */
  readonly a: Side
  readonly b: Side
  /** Lanes that `a` was asked to dial, in order. */
  readonly wanted: string[]
  /** Opens a link for a lane. */
  readonly dial: (lane: 'data' | 'bulk') => void
  readonly settle: () => Promise<void>
  readonly advance: (ms: number) => Promise<void>
}

export interface PairOptions extends Partial<Omit<Facts, 'linkId' | 'name' | 'incarnation'>> {
  /** Lanes are dialled as soon as they are wanted. @default true */
  readonly isDialling?: boolean | undefined
  readonly unreliable?: Link['unreliable'] | undefined
}

/** Of node `a` and `b`, each at incarnation 1. With lanes unless told otherwise. */
export async function sessionPair(options: PairOptions = {}): Promise<SessionPair> {
  const { isDialling = true, unreliable, ...own } = options
  const platform = virtualPlatform()
  const facts = { frameBytesMax: 65_536, outboundBytesMax: 1_048_576, lanes: true, ...own }
  const wanted: string[] = []
  const [a, b] = [await makeSide('a', 'b'), await makeSide('b', 'a')]

  async function makeSide(name: string, peer: string): Promise<MutableSide> {
    const system = (await testSystem(undefined, { name, platform })) as unknown as InternalSystem
    const { kernel } = system
    kernel.nodeName = name
    kernel.nodeIncarnation = 1
    const registry = new WireRegistry(kernel, [])
    const hub = new RemoteHub({
      kernel,
      registry,
      memberStatus: () => ({ status: 'alive', incarnation: 1 }),
      localRef: (path, uid, protocol) => {
        const cell = system.resolve(path)
        return cell !== undefined && cell.uid === uid ? cell.ref : new PathRef(kernel, path, protocol)
      },
      entityRef: () => {
        throw new Error('there are no entities here')
      },
    })
    const told: string[] = []
    const find: Host['find'] = (recipient) => {
      const cell = recipient.kind === 'actor' ? system.resolve(recipient.path) : undefined
      const uid = recipient.kind === 'actor' ? recipient.uid : undefined
      return uid === undefined || cell?.uid === uid ? cell : undefined
    }
    const host: Host = {
      kernel,
      registry,
      resolve: find,
      find,
      takes: (recipient) => find(recipient) !== undefined,
      resolveRef: (parts) => hub.refFromParts(parts),
      wantLane: (_session, lane) => {
        wanted.push(lane)
        if (isDialling) dial(lane)
      },
      heartbeat: (_session, sequence, kind) => void told.push(`${kind} ${sequence}`),
      gossip: (_session, payload) => void told.push(`gossip ${JSON.stringify(payload)}`),
      chosen: () => void told.push('chosen'),
      goodbye: () => void told.push('goodbye'),
      terminated: (session, watchId, reason) => hub.terminated(session, watchId, reason),
      watched: (session, watchId, uid, path) => hub.watched(session, watchId, uid, path),
      fault: (session, code, message) => {
        told.push(`fault ${code}: ${message}`)
        session.close(`it broke the protocol (${code})`)
        session.closeLinks('CLUSTER_BAD_FRAME')
      },
      complain: (_session, code) => void told.push(`complain ${code}`),
      frames: () => undefined,
    }
    const ref = <M extends MessageDefs>(protocol: Protocol<M>, path: string): ActorRef<M> => {
      registry.learn(protocol)
      return new RemoteRef(hub, peer, undefined, path, undefined, protocol) as unknown as ActorRef<M>
    }
    return { system, hub, host, told, links: {}, ref, peer, session: undefined as never }
  }

  function open(lane: LaneName): readonly [TestLink, TestLink] {
    const near = new TestLink('b', facts.outboundBytesMax, unreliable)
    const far = new TestLink('a', facts.outboundBytesMax, unreliable)
    near.peer = far
    far.peer = near
    a.links[lane] = near
    b.links[lane] = far
    return [near, far]
  }

  function watchOver(side: MutableSide, link: TestLink): void {
    const { session } = side
    link.onClose(({ code }) => {
      const end = session.linkClosed(link)
      if (end !== 'ended') side.told.push(end)
      if (end !== 'lost' || session.isClosed) return
      side.hub.lost(side.peer)
      session.close(`the link to node "${side.peer}" was closed (${code})`)
      session.closeLinks(code)
    })
  }

  function dial(lane: 'data' | 'bulk'): void {
    const [near, far] = open(lane)
    for (const [side, link] of [
      [b, far],
      [a, near],
    ] as const) {
      if (side.session.attach(lane, link)) watchOver(side, link)
      else link.close('CLUSTER_DUPLICATE_LINK')
    }
  }

  const ends = open('control')
  for (const [side, link] of [
    [a, ends[0]],
    [b, ends[1]],
  ] as const) {
    const dialledByUs = side === a
    side.session = new PeerSession(
      link,
      { linkId: 1, name: side.peer, incarnation: 1, dialledByUs, ...facts },
      side.host,
    )
    side.hub.use(side.session)
    side.session.open()
    watchOver(side, link)
  }

  return {
    platform,
    a,
    b,
    wanted,
    dial,
    settle: () => platform.settle(),
    advance: (ms) => platform.advance(ms),
    [Symbol.asyncDispose]: async () => {
      for (const { session } of [a, b]) {
        session.close('the test is over')
        session.closeLinks('CLUSTER_NODE_LEFT')
      }
      for (const { system } of [a, b]) await system[Symbol.asyncDispose]()
    },
  }
}

type MutableSide = { -readonly [K in keyof Side]: Side[K] } & { readonly host: Host; readonly peer: string }
