/** What mutated frames are fed to, each target with nothing else around it, and what came of them. */
import type { Link, SendResult } from '@understudy/cluster'
import { silentLogger, type Random } from '@understudy/runtime'
import { PathRef, type InternalSystem } from '@understudy/runtime/internal'
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import { testSystem, virtualPlatform } from '@understudy/runtime/testkit'
import { Chatter, chatter, mutated, mutatedValue, type FuzzCorpus } from './fuzz-frame.ts'
import type { FuzzPeer } from './fuzz-peer.ts'
import type { FuzzScene } from './fuzz-scene.ts'
import { beginEnd, cameTo, type Role } from './handshake-pair.ts'
import { sourceModule } from './source-module.ts'
import { bedRandom, type BedEffect, type BedRecord } from './swim-bed.ts'

const { PeerSession } = await sourceModule<
  typeof import('../../packages/cluster/src/remote/peer-session.ts')
>('cluster', 'remote/peer-session')
const { RemoteHub } = await sourceModule<typeof import('../../packages/cluster/src/remote/remote-hub.ts')>(
  'cluster',
  'remote/remote-hub',
)
const { WireRegistry } = await sourceModule<
  typeof import('../../packages/cluster/src/remote/wire-registry.ts')
>('cluster', 'remote/wire-registry')
const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)
const { readSwimMessage } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-message.ts')
>('cluster', 'membership/swim-message')

type Host = import('../../packages/cluster/src/remote/session-host.ts').SessionHost
type Session = InstanceType<typeof PeerSession>

/** Feeds so many frames; says what came of them, by a word. Whatever a target throws is a bug. */
export type FuzzTarget = (frames: number) => Promise<ReadonlyMap<string, number>>

class Counts extends Map<string, number> {
  add(what: string): void {
    this.set(what, (this.get(what) ?? 0) + 1)
  }
}

const pickFrom = <T>(items: readonly T[], random: Random): T => {
  const item = items[random.int(0, items.length - 1)]
  if (item === undefined) throw new Error('there is nothing to pick from')
  return item
}

/** The first words on a link, for either role; who has not the secret gets no farther than the proof. */
export function handshakeTarget(corpus: FuzzCorpus, random: Random): FuzzTarget {
  const { handshake } = corpus
  const hellos = handshake.filter((frame) => (decode(frame) as { readonly type?: unknown }).type === 'hello')
  const pick = (): Uint8Array => pickFrom(handshake, random)
  return async (frames) => {
    const counts = new Counts()
    for (let fed = 0; fed < frames;) {
      const role: Role = random.int(0, 1) === 0 ? 'initiator' : 'acceptor'
      const end = beginEnd(role)
      if (random.int(0, 1) === 0) end.hear(pickFrom(hellos, random))
      while (end.outcomes.length === 0) {
        end.hear(mutated(pick(), random, pick))
        fed++
      }
      counts.add(cameTo(end))
    }
    return counts
  }
}

/** The session of a peer that got in: decoder, sinks, tables, actors. A fault ends it, and another one begins. */
export async function sessionTarget(
  corpus: FuzzCorpus,
  random: Random,
): Promise<{ readonly target: FuzzTarget; readonly isWell: () => Promise<boolean> }> {
  const platform = { ...virtualPlatform(), log: silentLogger }
  const system = (await testSystem(undefined, { name: 'victim', platform })) as unknown as InternalSystem
  const { kernel } = system
  kernel.nodeName = 'victim'
  kernel.nodeIncarnation = 1
  const registry = new WireRegistry(kernel, [chatter])
  const hub = new RemoteHub({
    kernel,
    registry,
    memberStatus: () => ({ status: 'alive', incarnation: 1 }),
    localRef: (path, uid, protocol) => {
      const cell = system.resolve(path)
      return cell !== undefined && cell.uid === uid ? cell.ref : new PathRef(kernel, path, protocol)
    },
    entityRef: (_name, key, protocol) => new PathRef(kernel, `/user/${encodeURIComponent(key)}`, protocol),
  })
  system.spawn('chatter', chatter)
  const counts = new Counts()
  const find: Host['find'] = (recipient) => {
    const cell = system.resolve(recipient.kind === 'actor' ? recipient.path : '/user/chatter')
    return recipient.kind === 'actor' && recipient.uid !== undefined && cell?.uid !== recipient.uid
      ? undefined
      : cell
  }
  const end = (session: Session, what: string): void => {
    counts.add(what)
    hub.lost('peer')
    session.close(what)
    session.closeLinks('CLUSTER_BAD_FRAME')
  }
  const host: Host = {
    kernel,
    registry,
    resolve: find,
    find,
    takes: (recipient) => find(recipient) !== undefined,
    resolveRef: (parts) => hub.refFromParts(parts),
    wantLane: () => undefined,
    heartbeat: (session, sequence, kind) => {
      if (kind === 'ping') session.heartbeat(sequence, 'pong')
    },
    gossip: () => counts.add('gossip'),
    chosen: () => counts.add('chosen'),
    goodbye: (session) => end(session, 'goodbye'),
    terminated: (session, watchId, reason) => hub.terminated(session, watchId, reason),
    watched: (session, watchId, uid, path) => hub.watched(session, watchId, uid, path),
    fault: (session, code) => end(session, code),
    complain: (_session, code) => counts.add(code),
    frames: () => undefined,
  }
  let linkId = 0
  const begin = (): {
    readonly session: Session
    readonly feeds: readonly ((frame: Uint8Array) => void)[]
  } => {
    const sinks = [new Sink(), new Sink(), new Sink()] as const
    const session = new PeerSession(
      sinks[0],
      {
        linkId: ++linkId,
        name: 'peer',
        incarnation: 1,
        frameBytesMax: 65_536,
        outboundBytesMax: 1_048_576,
        lanes: true,
        dialledByUs: linkId % 2 === 0,
      },
      host,
    )
    hub.use(session)
    session.open()
    session.attach('data', sinks[1])
    session.attach('bulk', sinks[2])
    return { session, feeds: sinks.map(({ feed }) => feed) }
  }
  const target: FuzzTarget = async (frames) => {
    counts.clear()
    const all = corpus.links.flat()
    const pick = (): Uint8Array => pickFrom(all, random)
    for (let fed = 0; fed < frames;) {
      // As far as a link of the corpus goes, in order, so that its tables fill; then one frame, or all, with a fault.
      const story = pickFrom(corpus.links, random)
      const { session, feeds } = begin()
      const feed = pickFrom(feeds, random)
      const faultless = random.int(0, Math.min(8, story.length - 1))
      for (const [place, frame] of story.entries()) {
        if (session.isClosed || place >= faultless + 24 || fed >= frames) break
        feed(place < faultless ? frame : mutated(frame, random, pick))
        fed++
      }
      await platform.advance(1)
      if (session.isClosed) continue
      end(session, 'survived')
    }
    return new Map([...counts].sort())
  }
  const isWell = async (): Promise<boolean> => {
    await platform.advance(10_000)
    const asked = system.ref(Chatter, '/user/chatter').ask({ type: 'double', n: 21 })
    await platform.advance(10)
    return (await asked) === 42
  }
  return { target, isWell }
}

/** A link that swallows what it is sent. */
class Sink implements Link {
  readonly remoteAddress = 'peer'
  readonly bufferedBytes = 0
  feed: (frame: Uint8Array) => void = () => undefined
  #take: ((frame: Uint8Array) => void) | undefined
  constructor() {
    this.feed = (frame) => this.#take?.(frame)
  }
  readonly send = (): SendResult => 'ok'
  readonly onFrame = (callback: (frame: Uint8Array) => void): void => void (this.#take = callback)
  readonly onClose = (): void => undefined
  readonly onDrain = (): void => undefined
  readonly established = (): void => undefined
  readonly close = (): void => void (this.#take = undefined)
}

/** What a member gossips, read and given to a core that knows the members it speaks of. */
export function gossipTarget(corpus: FuzzCorpus, random: Random): FuzzTarget {
  const payloads = corpus.gossip.map((payload) => encode(payload))
  const pick = (): Uint8Array => pickFrom(payloads, random)
  // The members that the corpus speaks of, as they were when they met.
  const members = new Map<string, BedRecord>()
  for (const payload of corpus.gossip) {
    const message = readSwimMessage(payload)
    if (typeof message === 'string') throw new Error(`the corpus has gossip that nobody reads: ${message}`)
    for (const record of message.records) {
      if (!members.has(record.name))
        members.set(record.name, { ...record, kind: 'alive', phase: 'alive', refutation: 0 })
    }
  }
  const [self, ...known] = [...members.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  if (self === undefined || known.length < 2) throw new Error('the corpus knows of too few members')
  const membersMax = 100
  const make = (seed: number): InstanceType<typeof SwimCore> =>
    new SwimCore({ self, phase: 'alive', known, random: bedRandom(seed), membersMax })
  return async (frames) => {
    const counts = new Counts()
    let core = make(1)
    let nowMs = 0
    core.step({ type: 'started' }, nowMs)
    for (let fed = 0; fed < frames; fed++) {
      // Half of them are true CBOR with something wrong in it: few random bytes get farther than the structural walk.
      const bytes =
        random.int(0, 1) === 0
          ? mutated(pick(), random, pick)
          : encode(twisted(pickFrom(corpus.gossip, random), random))
      if (inspectCbor(bytes) !== undefined) {
        counts.add('no CBOR')
        continue
      }
      const message = readSwimMessage(decoded(bytes))
      if (typeof message === 'string') {
        counts.add('no message')
        continue
      }
      nowMs += 5
      const { name: from, incarnation } = pickFrom(known, random)
      const effects = core.step({ type: 'received', from, incarnation, message }, nowMs)
      for (const { type } of effects as readonly BedEffect[]) if (type !== 'send') counts.add(type)
      counts.add('read')
      const size = core.table().length
      if (size > membersMax + 1) throw new Error(`the table has ${size} records`)
      // A table in which all has ended learns nothing more.
      if (core.status().state === 'running' && core.status().livingCount > 2 && fed % 500 !== 499) continue
      core = make(fed)
      core.step({ type: 'started' }, nowMs)
    }
    return new Map([...counts].sort())
  }
}

function twisted(payload: unknown, random: Random): unknown {
  const once = mutatedValue(payload, random)
  return random.int(0, 2) === 0 ? mutatedValue(once, random) : once
}

function decoded(bytes: Uint8Array): unknown {
  try {
    return decode(bytes, () => null)
  } catch {
    // The decoder's word that it is none: a frame like that is refused before anybody sees its payload.
    return undefined
  }
}

/** A whole node, from the handshake on: each link has the secret and says what it likes. */
export function nodeTarget(corpus: FuzzCorpus, random: Random, scene: FuzzScene): FuzzTarget {
  const all = corpus.links.flat()
  const pick = (): Uint8Array => pickFrom(all, random)
  let life = 1_000_000
  return async (frames) => {
    const counts = new Counts()
    for (let fed = 0; fed < frames;) {
      const peer: FuzzPeer = await scene.insider({ incarnation: ++life }, {})
      counts.add(peer.outcome)
      const story = pickFrom(corpus.links, random)
      const faultless = random.int(0, 4)
      for (let n = 0; n < 50 && fed < frames && peer.ended() === undefined; n++, fed++) {
        const frame = story[n % story.length] ?? pick()
        peer.link.send(n < faultless ? frame : mutated(frame, random, pick))
        if (n % 8 === 7) await scene.cluster.platform.settle()
      }
      await scene.cluster.advance(1)
      counts.add(peer.ended() ?? 'survived')
      peer.link.close('CLUSTER_NODE_LEFT')
      await scene.cluster.advance(1)
    }
    // What tests keep of the nodes' log lines is no leak of theirs.
    for (const name of ['a', 'b']) (scene.cluster.logOf(name) as unknown[]).length = 0
    return new Map([...counts].sort())
  }
}
