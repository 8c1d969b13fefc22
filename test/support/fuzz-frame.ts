/**
 * Frames as nodes really send them, and what a hand on the wire, or in a memory chip, may make of them. The same seed gives
 * the same frames.
 */
import { memoryNetwork, startNode, type ClusterNode, type Link, type Transport } from '@understudy/cluster'
import { actor, ask, protocol, reject, silentLogger, tell, type Random } from '@understudy/runtime'
import { decode, encode } from '@understudy/runtime/codec'
import { virtualPlatform } from '@understudy/runtime/testkit'
import Type from 'typebox'
import { shakePair, type EndOptions } from './handshake-pair.ts'

/** What the actors of recorded nodes speak; whoever is to read the frames knows it, too. */
export const Chatter = protocol('chatter', {
  note: tell({ text: Type.String(), more: Type.Optional(Type.Unknown()) }),
  urgent: tell({ n: Type.Integer() }, { lane: 'control' }),
  heap: tell({ bytes: Type.Unknown() }, { lane: 'bulk' }),
  double: ask({ n: Type.Number() }, Type.Number()),
  refuse: ask(Type.Null()),
  never: ask(Type.Null()),
})

/** Takes all of it; `never` is not answered. */
export const chatter = actor(
  Chatter,
  { name: 'chatter', concurrent: ['note', 'urgent', 'heap', 'double', 'refuse', 'never'] },
  () => ({
    note: () => undefined,
    urgent: () => undefined,
    heap: () => undefined,
    double: ({ n }) => n * 2,
    refuse: () => {
      throw reject('not-today', { until: 'tomorrow' })
    },
    never: () => new Promise<null>(() => undefined),
  }),
)

export interface FuzzCorpus {
  /** Frames of whole handshakes, of every kind there is. */
  readonly handshake: readonly Uint8Array[]
  /** What went over links behind their handshakes: each a list of frames in order, tables and all. */
  readonly links: readonly (readonly Uint8Array[])[]
  /** Payloads of GOSSIP envelopes. */
  readonly gossip: readonly unknown[]
  /** Numbers of the kinds of envelopes that occur, sorted. */
  readonly kinds: readonly number[]
}

const secret = 'the secret of the recorded'
/** Longer ones say the same many times over, and take long to read. */
const frameBytesMost = 2_048

/** Records handshakes by themselves, and a whole story of three nodes in memory. */
export async function recordCorpus(): Promise<FuzzCorpus> {
  const handshake: Uint8Array[] = []
  const connection = new Uint8Array(32).fill(7)
  const rich = { features: ['lanes', 'x'], weight: 2, zone: 'east', roles: ['web'], appVersion: '3.1' }
  const ends: readonly (readonly [EndOptions, EndOptions])[] = [
    [{ hello: { ...rich, phase: 'joining' } }, { hello: rich }],
    [{ hello: { ...rich, lane: 'data', connection } }, {}],
    [{ hello: { versionMax: 1 } }, {}],
    [{ hello: { cluster: 'other' } }, {}],
    [{ secrets: () => undefined }, { secrets: () => undefined }],
    [{}, { known: () => ({ incarnation: 99, address: 'ws://10.0.0.9:1', down: false }) }],
  ]
  for (const [initiator, acceptor] of ends) {
    shakePair(initiator, acceptor, (frame) => (handshake.push(new Uint8Array(frame)), [frame]))
  }
  const recorded = (await recordLinks()).map((frames) =>
    frames.filter(({ length }) => length <= frameBytesMost),
  )
  // Heartbeats are what version 1 of the wire sends; these nodes speak 2, and answer them.
  const heartbeats = [encode([[10, 1, 0]]), encode([[10, 1, 1]])]
  const links = [...recorded.filter((frames) => frames.length > 0), heartbeats]
  const envelopes = links.flat().flatMap((frame) => decode(frame, () => null) as unknown[][])
  return {
    handshake,
    links,
    gossip: envelopes.filter(([kind]) => kind === 12).map(([, payload]) => payload),
    kinds: [...new Set(envelopes.map(([kind]) => Number(kind)))].sort((a, b) => a - b),
  }
}

async function recordLinks(): Promise<readonly (readonly Uint8Array[])[]> {
  const platform = { ...virtualPlatform(), log: silentLogger }
  const { clock } = platform
  const network = memoryNetwork({
    schedule: queueMicrotask,
    setTimer: (delayMs, fire) => {
      const timer = clock.setTimer(clock.monotonicMs() + delayMs, fire)
      return () => timer.cancel()
    },
  })
  const links: Uint8Array[][] = []
  const settle = async <T>(promise: Promise<T>): Promise<T> => {
    let isOver = false
    promise.then(
      () => (isOver = true),
      () => (isOver = true),
    )
    while (!isOver) await platform.advance(10)
    return promise
  }
  const start = (name: string, port: number): Promise<ClusterNode> =>
    settle(
      startNode({
        name,
        secret,
        platform,
        listen: `ws://127.0.0.1:${port}`,
        seeds: ['ws://127.0.0.1:7101'],
        transport: recording(network.transport(name), links),
        entities: [chatter],
        roles: ['web'],
        version: '1.2.3',
        zone: 'east',
        handleSignals: false,
      }),
    )
  const nodes = [await start('ant', 7_101), await start('bee', 7_102), await start('cat', 7_103)] as const
  const [ant, bee, cat] = nodes
  for (const node of nodes) node.system.spawn('chatter', chatter)
  await settle(Promise.all(nodes.map((node) => node.whenMembers(3))))
  for (const [from, to] of [
    [ant, 'bee'],
    [bee, 'ant'],
    [bee, 'cat'],
    [cat, 'ant'],
  ] as const) {
    const ref = from.ref(Chatter, to, '/user/chatter')
    const own = from.system.ref(Chatter, '/user/chatter')
    for (let n = 0; n < 5; n++) {
      ref.tell({ type: 'note', text: `note ${n}`, more: { deep: [{ n, at: own }], big: 2n ** 60n } })
      ref.tell({ type: 'urgent', n })
      ref.tell({ type: 'heap', bytes: new Uint8Array(64).fill(n) })
      await settle(ref.ask({ type: 'double', n: n + 0.5 }))
      from.entity(Chatter, `key-${n}`).tell({ type: 'note', text: 'to an entity' })
    }
    await settle(ref.ask({ type: 'refuse' }).catch(() => undefined))
    await settle(
      from
        .ref(Chatter, to, '/user/nobody')
        .ask({ type: 'double', n: 1 })
        .catch(() => undefined),
    )
    const giveUp = new AbortController()
    const never = ref.ask({ type: 'never' }, { signal: giveUp.signal }).catch(() => undefined)
    await platform.advance(10)
    giveUp.abort()
    await settle(never)
  }
  // Watches: of who lives, who ends, and who never was.
  const watcher = actor(protocol('watcher', { go: tell(), ended: tell() }), (ctx) => ({
    ended: () => undefined,
    go: () => {
      const watched = ctx.ref(Chatter, 'bee:/user/passing')
      ctx.watch(watched, () => ({ type: 'ended' }))
      ctx.watch(ctx.ref(Chatter, 'bee:/user/nobody'), () => ({ type: 'ended' }))
      const dropped = ctx.ref(Chatter, 'bee:/user/chatter')
      ctx.watch(dropped, () => ({ type: 'ended' }))
      ctx.unwatch(dropped)
    },
  }))
  const passing = bee.system.spawn('passing', chatter)
  ant.system.spawn('watcher', watcher).tell({ type: 'go' })
  await platform.advance(100)
  await settle(bee.system.stop(passing))
  await platform.advance(100)
  // Credit is taken back, and given again.
  const slow = actor(Chatter, { name: 'slow' }, () => ({
    note: () => undefined,
    urgent: () => undefined,
    heap: () => undefined,
    double: ({ n }) => n,
    refuse: () => null,
    never: () =>
      new Promise<null>((resolve) => void clock.setTimer(clock.monotonicMs() + 50, () => resolve(null))),
  }))
  bee.system.spawn('slow', slow)
  const slowRef = ant.ref(Chatter, 'bee', '/user/slow')
  const waits = slowRef.ask({ type: 'never' }).catch(() => undefined)
  for (let n = 0; n < 17_000; n++) slowRef.tell({ type: 'urgent', n: 1 })
  await settle(waits)
  // Lanes that were idle for long are ended; then everybody leaves.
  await platform.advance(200_000)
  for (const node of [cat, bee, ant]) await settle(node.shutdown())
  return links.map((frames) => frames.slice(0, 400))
}

/** Writes down what is sent, link by link, without the words of the handshake: they are maps, frames are lists. */
function recording(transport: Transport, links: Uint8Array[][]): Transport {
  const recorded = (link: Link): Link => {
    const frames: Uint8Array[] = []
    links.push(frames)
    const { send, onFrame, onClose, onDrain, close, established, remoteAddress } = link
    return {
      ...{ onFrame, onClose, onDrain, close, established, remoteAddress },
      send: (frame) => {
        if (((frame[0] ?? 0) & 0xe0) === 0x80) frames.push(new Uint8Array(frame))
        return send(frame)
      },
      get bufferedBytes() {
        return link.bufferedBytes
      },
    }
  }
  return {
    listen: (address, onLink, options) =>
      transport.listen(address, (link) => onLink(recorded(link)), options),
    dial: async (address, options) => recorded(await transport.dial(address, options)),
  }
}

/** First bytes of CBOR items that begin something large, deep, odd or without an end. */
const heads = [
  0x00, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x3b, 0x40, 0x5b, 0x5f, 0x60, 0x78, 0x7b, 0x7f, 0x80, 0x81, 0x99,
  0x9a, 0x9b, 0x9f, 0xa0, 0xa1, 0xba, 0xbf, 0xc1, 0xc2, 0xd8, 0xd9, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfb,
  0xff,
]

/** A frame with a fault in it; now and then none. `pick` gives what it may be mixed with. Never changes `frame`. */
export function mutated(frame: Uint8Array, random: Random, pick: () => Uint8Array): Uint8Array {
  // Not slice(): an encoder hands out Buffers, whose slice is the same memory.
  const copy = new Uint8Array(frame)
  const { length } = copy
  if (length === 0) return Uint8Array.of(random.int(0, 255))
  const at = random.int(0, length - 1)
  switch (random.int(0, 10)) {
    case 0:
      return copy.subarray(0, at)
    case 1: {
      const other = pick()
      return joined(copy.subarray(0, at), other.subarray(random.int(0, other.length)))
    }
    case 2: {
      // A part of it again, up to 8 times.
      const part = copy.subarray(at, Math.min(length, at + random.int(1, 16)))
      const parts = Array.from({ length: random.int(1, 8) }, () => part)
      return joined(copy.subarray(0, at), ...parts, copy.subarray(at))
    }
    case 3:
      copy[at] = heads[random.int(0, heads.length - 1)] ?? 0
      return copy
    case 4:
      // A length, a number or a kind that is off by one.
      copy[at] = ((copy[at] ?? 0) + (random.int(0, 1) === 0 ? 1 : 255)) & 0xff
      return copy
    case 5:
      return joined(copy.subarray(0, at), Uint8Array.of(random.int(0, 255)), copy.subarray(at))
    case 6:
      return joined(copy.subarray(0, at), copy.subarray(at + random.int(1, 4)))
    case 7:
      for (let place = at; place < Math.min(length, at + 4); place++) copy[place] = random.int(0, 255)
      return copy
    case 8:
      return copy
    default:
      for (let flips = random.int(1, 4); flips > 0; flips--) {
        const place = random.int(0, length - 1)
        copy[place] = (copy[place] ?? 0) ^ (1 << random.int(0, 7))
      }
      return copy
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Values that numbers, names and lists are seldom tried with. */
const odd: readonly unknown[] = [
  null,
  undefined,
  true,
  0,
  1,
  -1,
  1.5,
  13,
  255,
  2 ** 31,
  2 ** 53,
  Number.MAX_SAFE_INTEGER,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  2n ** 60n,
  '',
  'a',
  'b',
  '__proto__',
  'x'.repeat(129),
  'ws://10.0.0.1:7000',
  'ws://10.0.0.66:7000',
  new Uint8Array(3),
]

/** The same for a decoded value of lists: one element, however deep, is another one, is left out, or is there again. */
export function mutatedValue(value: unknown, random: Random): unknown {
  if (!Array.isArray(value) || value.length === 0) return odd[random.int(0, odd.length - 1)]
  const copy: unknown[] = [...(value as readonly unknown[])]
  const at = random.int(0, copy.length - 1)
  const before = copy[at]
  const turn = random.int(0, 9)
  if (Array.isArray(before) && random.int(0, 7) > 0) copy[at] = mutatedValue(before, random)
  else if (turn === 0) copy.splice(at, 1)
  else if (turn === 1) copy.splice(at, 0, ...copy.slice(at, at + random.int(1, 200)))
  else if (typeof before === 'number' && random.int(0, 1) === 0) copy[at] = before + random.int(-2, 2)
  else copy[at] = odd[random.int(0, odd.length - 1)]
  return copy
}
