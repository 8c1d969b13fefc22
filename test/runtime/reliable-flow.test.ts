/** Reliable delivery: bounds, windows, large messages, and what is lost, doubled or late on the way. */
import {
  actor,
  protocol,
  refOf,
  reliable,
  reliableConsumer,
  reliableProducer,
  tell,
  type ActorRef,
  type AnyDefinition,
  type ConsumerOptions,
  type ProducerOptions,
  type ReliableMessages,
  type ReliableProducer,
} from '@understudy/runtime'
import type { TestSystem } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { test } from 'tap'
import Type from 'typebox'
import { onStage, watched, watchedCode } from '../support/runtime.ts'
import { sourceModule } from '../support/source-module.ts'

const { cutMessage, joinMessage, sizeBound } = await sourceModule<
  typeof import('../../packages/runtime/src/routing/chunk-codec.ts')
>('runtime', 'routing/chunk-codec')
const { ChunkAssembly } = await sourceModule<
  typeof import('../../packages/runtime/src/routing/chunk-assembly.ts')
>('runtime', 'routing/chunk-assembly')
const { encode } = await sourceModule<typeof import('../../packages/runtime/src/codec/codec.ts')>(
  'runtime',
  'codec/codec',
)

const Echo = protocol('echo', { hear: tell({ n: Type.Integer() }) })
const Files = protocol('files', {
  put: tell({ n: Type.Integer(), bytes: Type.Unknown(), to: Type.Optional(refOf(Echo)) }),
})
type FilesMessages = (typeof Files)['messages']
type Target = ActorRef<ReliableMessages<FilesMessages>>

/** Handles one message each time it is let. */
class Archive {
  readonly handled: number[] = []
  readonly sizes: number[] = []
  readonly #waiting: (() => void)[] = []
  isSlow = false

  readonly worker = actor(Files, { mailbox: { messagesMax: 2 } }, (ctx) => ({
    put: async ({ n, bytes, to }) => {
      if (this.isSlow) await new Promise<void>((resolve) => this.#waiting.push(resolve))
      this.handled.push(n)
      this.sizes.push(bytes instanceof Uint8Array ? bytes.length : 0)
      if (to !== undefined) ctx.tell(to, { type: 'hear', n })
    },
  }))

  /** How many are being handled now. */
  get busy(): number {
    return this.#waiting.length
  }

  next(): void {
    this.#waiting.shift()?.()
  }

  start(system: TestSystem, options: ConsumerOptions = {}): Target {
    return system.spawn('files', reliableConsumer(this.worker, options))
  }
}

function put(n: number, size = 0): { readonly type: 'put'; readonly n: number; readonly bytes: Uint8Array } {
  const bytes = new Uint8Array(size)
  for (let at = 0; at < size; at++) bytes[at] = (n + at * 7) & 0xff
  return { type: 'put', n, bytes }
}

/** What a network may do to the pieces of a producer: stands before a consumer, and passes on what it lets pass. */
class Wire {
  /** `undefined`: pass; else what to do with the piece of that number, which has come that often. */
  fate: (sequence: number, times: number) => 'drop' | 'double' | 'hold' | 'corrupt' | undefined = () =>
    undefined
  /** Pieces that came by, in order. */
  readonly seen: number[] = []
  probes = 0
  #held: (() => void)[] = []
  readonly #times = new Map<number, number>()

  start(system: TestSystem, to: Target): Target {
    const definition = actor(reliable(Files), (ctx) => {
      const pass = (message: { readonly sequence: number }): void => {
        const { sequence } = message
        const times = (this.#times.get(sequence) ?? 0) + 1
        this.#times.set(sequence, times)
        this.seen.push(sequence)
        const fate = this.fate(sequence, times)
        const send = (): void => void ctx.tell(to, message as never)
        if (fate === 'drop') return
        if (fate === 'corrupt') return void ctx.tell(to, { ...message, crc: 1 } as never)
        if (fate === 'hold') return void this.#held.push(send)
        send()
        if (fate === 'double') send()
      }
      return {
        hello: (message) => ctx.ask(to, message),
        deliver: pass,
        chunk: pass,
        probe: (message) => {
          this.probes++
          ctx.tell(to, message)
        },
        bye: (message) => void ctx.tell(to, message),
        counters: () => ctx.ask(to, { type: 'counters' }),
        parked: () => ctx.ask(to, { type: 'parked' }),
        retry: (message) => ctx.ask(to, message),
        discard: (message) => ctx.ask(to, message),
      }
    })
    return system.spawn('wire', definition as unknown as AnyDefinition as never) as unknown as Target
  }

  release(): void {
    for (const send of this.#held.splice(0)) send()
  }
}

type Out = ReliableProducer<FilesMessages>
type Options = ProducerOptions<{ readonly type: 'put'; readonly n: number }>
const small = { chunkBytes: 256, messageBytesMax: 16_384, bufferMax: 64 } satisfies Options

interface Scene {
  readonly system: TestSystem
  readonly archive: Archive
  readonly wire: Wire
  readonly ref: Target
  readonly out: Out
}

function scene(
  name: string,
  options: { readonly consumer?: ConsumerOptions; readonly producer?: Options },
  play: (t: Parameters<typeof onStage>[0], scene: Scene) => Promise<void>,
): void {
  void test(name, async (t) => {
    const archive = new Archive()
    const wire = new Wire()
    await onStage(t, undefined, async (system) => {
      const ref = archive.start(system, options.consumer)
      const out = reliableProducer(system, Files, wire.start(system, ref), options.producer as never)
      await system.platform.settle()
      await play(t, { system, archive, wire, ref, out })
    })
  })
}

// ---- Bounds --------------------------------------------------------------------------------------------------------

scene(
  'a consumer that is slow slows its producer: tell says no, room and send wait, in order',
  {
    consumer: { window: 2 },
    producer: { bufferMax: 3, waitingMax: 2, chunkBytes: 65_536, messageBytesMax: 65_536 },
  },
  async (t, { system, archive, wire, out }) => {
    archive.isSlow = true
    t.same(
      [1, 2, 3, 4].map((n) => out.tell(put(n))),
      [true, true, true, false],
      'three pieces are held, and no more',
    )
    await system.platform.settle()
    t.same(wire.seen, [1, 2], 'the window is two')
    const room = watched(out.room())
    const sent = [5, 6].map((n) => watched(out.send(put(n))))
    const full = watched(out.send(put(7)))
    await system.platform.settle()
    t.equal(watchedCode(full), 'RUNTIME_DELIVERY_FULL', 'those who wait are bounded too')
    t.match(out.status(), { held: 3, waiting: 2 })
    t.equal(out.tell(put(8)), false)
    archive.next()
    await system.platform.settle()
    t.equal(archive.busy, 1, 'one at a time')
    t.same(wire.seen, [1, 2, 3])
    t.match(out.status(), { held: 3, waiting: 1 })
    t.equal(room.state, 'open', 'whoever waits with a message is first')
    t.equal(out.tell(put(9)), false, 'and nobody is overtaken')
    for (let i = 0; i < 4; i++) {
      archive.next()
      await system.platform.settle()
    }
    t.same(archive.handled, [1, 2, 3, 5, 6])
    t.same([room.state, ...sent.map(({ state }) => state)], ['resolved', 'resolved', 'resolved'])
    t.match(out.status(), { held: 0, waiting: 0, resent: 0 })
    await out.room()

    // Whoever waits when it ends is told.
    for (let n = 10; n < 13; n++) out.tell(put(n))
    const late = [13, 14].map((n) => watched(out.send(put(n))))
    const noRoom = watched(out.room())
    await system.stop(system.ref(Echo, out.path))
    await system.platform.settle()
    t.same([...late, noRoom].map(watchedCode), Array(3).fill('RUNTIME_DELIVERY_LOST'))
    t.match(late[0]?.error, { details: { outcome: 'not-sent' } })
  },
)

scene(
  'an aborted send is not sent while it waits, and delivered once it was taken',
  { producer: { bufferMax: 1, chunkBytes: 65_536, messageBytesMax: 65_536 } },
  async (t, { system, archive, out }) => {
    archive.isSlow = true
    const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()]
    const one = watched(out.send(put(1), { signal: first.signal }))
    const two = watched(out.send(put(2), { signal: second.signal }))
    const three = watched(out.send(put(3)))
    third.abort()
    const four = watched(out.send(put(4), { signal: third.signal }))
    const room = watched(out.room({ signal: second.signal }))
    first.abort()
    second.abort()
    await system.platform.settle()
    t.match(one.error, { code: 'RUNTIME_ABORTED', details: { outcome: 'unknown' } })
    t.match(two.error, { code: 'RUNTIME_ABORTED', details: { outcome: 'not-sent' } })
    t.match(four.error, { code: 'RUNTIME_ABORTED', details: { outcome: 'not-sent' } })
    t.equal(watchedCode(room), 'RUNTIME_ABORTED')
    archive.next()
    await system.platform.settle()
    archive.next()
    await system.platform.settle()
    t.same(archive.handled, [1, 3])
    t.equal(three.state, 'resolved')
  },
)

scene(
  'the mailbox of a worker is not overrun, whoever else fills it',
  {},
  async (t, { system, archive, out }) => {
    archive.isSlow = true
    const worker = system.ref(Files, '/user/files/worker')
    for (let n = 100; n < 103; n++) t.equal(worker.tell(put(n)), n < 102, 'two wait')
    const sent = watched(out.send(put(1)))
    await system.platform.advance(1_000)
    t.equal(sent.state, 'open')
    for (let i = 0; i < 4; i++) {
      archive.next()
      await system.platform.advance(200)
    }
    t.equal(sent.state, 'resolved')
    t.same(archive.handled, [100, 101, 1], 'it was handed over when there was room, and once')
  },
)

// ---- The way -------------------------------------------------------------------------------------------------------

scene('what is lost is sent again, and only that', {}, async (t, { system, archive, wire, ref, out }) => {
  wire.fate = (sequence, times) => (times === 1 && [2, 5, 6].includes(sequence) ? 'drop' : undefined)
  const sent = [1, 2, 3, 4, 5, 6].map((n) => watched(out.send(put(n))))
  await system.platform.settle()
  t.same(archive.handled, [1], 'nothing is handled before its turn')
  await system.platform.advance(1_000)
  t.same(archive.handled, [1, 2, 3, 4, 5, 6])
  t.same(wire.seen, [1, 2, 3, 4, 5, 6, 2, 5, 6])
  t.equal(wire.probes, 1)
  t.match(out.status(), { resent: 3, held: 0 })
  t.match(await ref.ask({ type: 'counters' }), { duplicates: 0, handled: 6 })
  t.equal(
    sent.every(({ state }) => state === 'resolved'),
    true,
  )
})

scene(
  'a way that loses nearly everything costs small probes with growing pauses',
  {},
  async (t, { system, archive, wire, out }) => {
    wire.fate = () => 'drop'
    const sent = watched(out.send(put(1)))
    await system.platform.advance(60_000)
    t.equal(sent.state, 'open')
    t.ok(wire.probes <= 10, `${wire.probes} probes in a minute`)
    t.ok(wire.seen.length <= 12, `${wire.seen.length} pieces in a minute`)
    wire.fate = () => undefined
    await system.platform.advance(12_000)
    t.equal(sent.state, 'resolved')
    t.same(archive.handled, [1])
  },
)

scene('what comes again is dropped, and counted', {}, async (t, { system, archive, wire, ref, out }) => {
  wire.fate = () => 'double'
  for (let n = 1; n <= 20; n++) out.tell(put(n))
  await system.platform.settle()
  t.equal(archive.handled.length, 20)
  t.equal(new Set(archive.handled).size, 20)
  t.match(await ref.ask({ type: 'counters' }), { duplicates: 20, handled: 20 })
})

scene('what comes late is put in its place', {}, async (t, { system, archive, wire, out }) => {
  wire.fate = (sequence) => (sequence % 3 === 1 ? 'hold' : undefined)
  for (let n = 1; n <= 9; n++) out.tell(put(n))
  await system.platform.settle()
  t.same(archive.handled, [])
  wire.release()
  await system.platform.settle()
  t.same(archive.handled, [1, 2, 3, 4, 5, 6, 7, 8, 9])
})

// ---- Large messages ------------------------------------------------------------------------------------------------

scene(
  'a large message travels in chunks, through a window that is smaller, in order with others',
  { consumer: { window: 4 }, producer: small },
  async (t, { system, archive, wire, ref, out }) => {
    const heard: number[] = []
    const echo = system.spawn(
      'echo',
      actor(Echo, () => ({ hear: ({ n }) => void heard.push(n) })),
    )
    const sent = [put(1, 10), { ...put(2, 10_000), to: echo }, put(3, 10)].map((one) =>
      watched(out.send(one)),
    )
    await system.platform.settle()
    t.same(archive.handled, [1, 2, 3])
    t.same(archive.sizes, [10, 10_000, 10])
    t.same(heard, [2], 'a ref travels beside the bytes')
    t.ok(wire.seen.length > 40, `${wire.seen.length} pieces`)
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved', 'resolved'],
    )
    t.match(await ref.ask({ type: 'counters' }), { corrupt: 0, duplicates: 0, handled: 3 })
  },
)

scene(
  'chunks that are lost, doubled or damaged come again until the message is whole',
  { consumer: { window: 8 }, producer: small },
  async (t, { system, archive, wire, ref, out }) => {
    wire.fate = (sequence, times) =>
      times > 1 ? undefined : ([undefined, 'drop', 'double', 'corrupt', 'hold'] as const)[sequence % 5]
    const sent = [put(1, 5_000), put(2, 5_000), put(3, 0)].map((one) => watched(out.send(one)))
    for (let i = 0; i < 40; i++) {
      await system.platform.advance(1_000)
      wire.release()
    }
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved', 'resolved'],
    )
    t.same(archive.handled, [1, 2, 3])
    t.same(archive.sizes, [5_000, 5_000, 0])
    const counters = await ref.ask({ type: 'counters' })
    t.ok(counters.corrupt > 0 && counters.duplicates > 0, JSON.stringify(counters))
  },
)

scene(
  'too large for the producer is refused at once; too large for the consumer is told, and the next has its turn',
  { consumer: { messageBytesMax: 4_096 }, producer: small },
  async (t, { system, archive, ref, out }) => {
    const over = watched(out.send(put(1, 20_000)))
    await system.platform.settle()
    t.match(
      over.error,
      { code: 'RUNTIME_INVALID_MESSAGE', message: /messageBytesMax = 4096/ },
      'it knows both limits',
    )
    const other = reliableProducer(system, Files, system.ref(reliable(Files), '/user/files'), {
      ...small,
      name: 'before',
    } as never)
    const early = [watched(other.send(put(2, 8_000))), watched(other.send(put(3, 10)))]
    await system.platform.settle()
    t.match(early[0]?.error, {
      code: 'RUNTIME_INVALID_MESSAGE',
      message: /more than messageBytesMax = 4096 bytes/,
    })
    t.equal(early[1]?.state, 'resolved')
    t.same(archive.handled, [3])
    t.match(await ref.ask({ type: 'parked' }), [
      { code: 'RUNTIME_INVALID_MESSAGE', messageType: '(in chunks)' },
    ])
  },
)

void test('cutMessage and joinMessage: any message comes back as it was', (t) => {
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      fc.string({ maxLength: 200 }),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.uint8Array({ maxLength: 600 }),
      fc.array(tie('any'), { maxLength: 6 }),
      fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), tie('any'), { maxKeys: 6 }),
    ),
  })).any
  fc.assert(
    fc.property(value, fc.integer({ min: 16, max: 400 }), (content, chunkBytes) => {
      const message = { type: 'any', content }
      const bodies = cutMessage(message, chunkBytes, 1_000_000)
      if (typeof bodies === 'string') throw new Error(bodies)
      t.ok(sizeBound(message, Infinity) >= encode(message).length)
      const [first] = bodies
      if (first?.type === 'message') return first.message === message && bodies.length === 1
      const assembly = new ChunkAssembly(1_000_000)
      const made = bodies.map((body) => (body.type === 'chunk' ? assembly.add(body) : undefined))
      const whole = made.pop()
      if (whole?.type !== 'bytes' || made.some((one) => one !== undefined)) return false
      if (bodies.some((body) => body.type === 'chunk' && body.bytes.length > chunkBytes)) return false
      return t.same(joinMessage(whole.parts, whole.refs, 1_000_000), message)
    }),
    { numRuns: 100 },
  )
  t.end()
})

void test('ChunkAssembly: chunks that do not fit together make nothing, and the next message is whole', (t) => {
  const bytes = Uint8Array.of(1, 2, 3)
  const chunk = (
    index: number,
    count: number,
    part = bytes,
  ): Parameters<InstanceType<typeof ChunkAssembly>['add']>[0] => ({
    index,
    count,
    bytes: part,
    refs: [],
  })
  const assembly = new ChunkAssembly(8)
  const bad: readonly (readonly (readonly [number, number])[])[] = [
    [[1, 2]],
    [
      [0, 3],
      [2, 3],
    ],
    [
      [0, 2],
      [1, 3],
      [2, 3],
    ],
    [[3, 2]],
    [
      [0, 3],
      [1, 3],
      [2, 3],
    ],
  ]
  for (const chunks of bad) {
    const made = chunks.map(([index, count]) => assembly.add(chunk(index, count)))
    t.match(made.at(-1), { type: 'unusable', problem: String }, JSON.stringify(chunks))
    t.same(
      made.slice(0, -1).filter((one) => one !== undefined),
      [],
    )
    t.equal(assembly.isOpen, false)
    t.match(assembly.add(chunk(0, 1)), { type: 'bytes', parts: [bytes] })
  }
  t.match(assembly.add(chunk(0, 1, new Uint8Array(0))), { type: 'unusable' }, 'no bytes, no chunk')
  assembly.add(chunk(0, 2))
  t.equal(assembly.bytes, 3)
  t.match(assembly.finish(), { type: 'unusable', problem: /before it ended/ })
  t.throws(() => joinMessage([Uint8Array.of(0xff)], [], 1_000), /not CBOR/)
  t.throws(() => joinMessage([encode({ a: 1 }), Uint8Array.of(0)], [], 1_000), /trailing-bytes/)
  t.end()
})
