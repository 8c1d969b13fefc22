/** Reliable delivery between actors of one system: what is promised when handlers, consumers and producers fail. */
import {
  actor,
  ask,
  isActorError,
  protocol,
  refOf,
  reject,
  reliable,
  reliableConsumer,
  reliableProducer,
  tell,
  type ActorRef,
  type ConsumerOptions,
  type Isolation,
  type ParkedMessage,
  type ProducerOptions,
  type ReliableProducer,
  type TellMessage,
} from '@understudy/runtime'
import type { TestSystem } from '@understudy/runtime/testkit'
import { test, type Test } from 'tap'
import Type from 'typebox'
import { gate, logged, onStage, watched, watchedCode, type Gate } from '../support/runtime.ts'

const Note = protocol('note', { note: tell({ text: Type.String() }) })

const Orders = protocol('orders', {
  /** Does what its text says: `crash`, `crash 2` (so often), `refuse`, `wait`, else nothing. */
  order: tell({ n: Type.Integer(), text: Type.String() }),
  /** Tells its own text to `to`. */
  forward: tell({ to: refOf(Note), text: Type.String() }),
  count: ask(Type.Integer()),
})
type OrdersMessages = (typeof Orders)['messages']
type OrderMessage = TellMessage<OrdersMessages>

class Shop {
  /** What was begun, in order: `n` and, from the second time on, how often. */
  readonly begun: string[] = []
  readonly done: number[] = []
  readonly gates = new Map<number, Gate>()
  readonly parked: ParkedMessage[] = []
  readonly #tries = new Map<number, number>()

  readonly worker = actor(Orders, (ctx) => ({
    order: async ({ n, text }) => {
      const tries = (this.#tries.get(n) ?? 0) + 1
      this.#tries.set(n, tries)
      this.begun.push(tries === 1 ? `${n}` : `${n} again ${tries}`)
      const [verb, times = 'Infinity'] = text.split(' ')
      if (verb === 'crash' && tries <= Number(times)) throw new Error(`crashed on ${n}`)
      if (verb === 'refuse') throw reject('sold-out', { n })
      if (verb === 'stop' && tries === 1) ctx.stop()
      if (verb === 'wait') {
        const open = gate()
        this.gates.set(n, open)
        await open.passed
      }
      this.done.push(n)
    },
    forward: ({ to, text }) => void ctx.tell(to, { type: 'note', text }),
    count: () => this.done.length,
  }))

  consumer(options: ConsumerOptions = {}): ReturnType<typeof reliableConsumer<OrdersMessages, void>> {
    return reliableConsumer(this.worker, {
      worker: { restart: 'permanent', backoff: { minMs: 10, maxMs: 10 } },
      onParked: (parked) => void this.parked.push(parked),
      ...options,
    })
  }
}

function order(n: number, text = ''): OrderMessage {
  return { type: 'order', n, text }
}

function producerOf(
  system: TestSystem,
  options: ProducerOptions<OrderMessage> = {},
): ReliableProducer<OrdersMessages> {
  return reliableProducer(system, Orders, system.ref(reliable(Orders), '/user/orders'), options)
}

interface Stage {
  readonly system: TestSystem
  readonly shop: Shop
  readonly ref: ActorRef<ReturnType<typeof reliable<OrdersMessages>>['messages']>
}

function staged(
  name: string,
  play: (t: Test, stage: Stage) => Promise<void>,
  consumer: ConsumerOptions = {},
  isolation: Isolation = 'codec',
): void {
  void test(name, async (t) => {
    const shop = new Shop()
    await onStage(
      t,
      undefined,
      async (system) => {
        const ref = system.spawn('orders', shop.consumer(consumer), { restart: 'permanent' })
        await play(t, { system, shop, ref })
      },
      { isolation },
    )
  })
}

for (const isolation of ['codec', 'freeze', 'reference'] as const) {
  staged(
    `send resolves when the handler's promise is fulfilled, and not before (${isolation})`,
    async (t, { system, shop }) => {
      const out = producerOf(system)
      const sent = [order(1), order(2, 'wait'), order(3)].map((message) => watched(out.send(message)))
      await system.platform.settle()
      t.same(
        sent.map(({ state }) => state),
        ['resolved', 'open', 'open'],
      )
      t.same(shop.begun, ['1', '2'], 'the third is not begun while the second is at it')
      await system.platform.advance(60_000)
      t.equal(sent[1]?.state, 'open', 'however long it takes')
      shop.gates.get(2)?.open()
      await system.platform.settle()
      t.same(
        sent.map(({ state }) => state),
        ['resolved', 'resolved', 'resolved'],
      )
      t.same(shop.begun, ['1', '2', '3'], 'and nothing was done twice meanwhile')
      t.match(out.status(), { phase: 'linked', held: 0, resent: 0, processed: 3 })
    },
    {},
    isolation,
  )
}

staged(
  'a crash is no acknowledgement: the same message again, before the next',
  async (t, { system, shop, ref }) => {
    const out = producerOf(system)
    const sent = [order(1, 'crash 2'), order(2)].map((message) => watched(out.send(message)))
    await system.platform.settle()
    t.same(
      sent.map(({ state }) => state),
      ['open', 'open'],
    )
    await system.platform.advance(100)
    t.same(shop.begun, ['1', '1 again 2', '1 again 3', '2'])
    t.same(shop.done, [1, 2])
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved'],
    )
    t.match(await ref.ask({ type: 'counters' }), { handled: 2, crashes: 2, parked: 0, duplicates: 0 })
  },
)

staged(
  'a poison message is parked after maxAttempts, with an event, and can be seen and retried',
  async (t, { system, shop, ref }) => {
    const out = producerOf(system)
    const sent = [order(1, 'crash 4'), order(2)].map((message) => watched(out.send(message)))
    await system.platform.advance(1_000)
    t.equal(watchedCode(sent[0] ?? watched(Promise.resolve())), 'RUNTIME_DELIVERY_PARKED')
    t.match(sent[0]?.error, { details: { attempts: 3, type: 'order', error: 'crashed on 1' } })
    t.equal(sent[1]?.state, 'resolved', 'the next one has its turn')
    t.same(shop.begun, ['1', '1 again 2', '1 again 3', '2'])
    const parked = await ref.ask({ type: 'parked' })
    t.match(parked, [
      {
        id: 1,
        sequence: 1,
        messageType: 'order',
        attempts: 3,
        code: 'RUNTIME_DELIVERY_PARKED',
        error: 'crashed on 1',
      },
    ])
    t.equal(shop.parked.length, 1, 'onParked was told')
    t.ok(
      system.platform.logged.some(
        ({ level, message }) => level === 'error' && message.includes('parked "order"'),
      ),
      'and the log',
    )
    const first = watched(ref.ask({ type: 'retry', id: 1 }))
    await system.platform.advance(100)
    t.match(first.error, { code: 'RUNTIME_REJECTED', reason: 'crashed' })
    const second = watched(ref.ask({ type: 'retry', id: 1 }))
    await system.platform.advance(100)
    t.equal(second.state, 'resolved')
    t.same(await ref.ask({ type: 'parked' }), [], 'handled, it is parked no more')
    const third = watched(ref.ask({ type: 'retry', id: 1 }))
    await system.platform.settle()
    t.match(third.error, { code: 'RUNTIME_REJECTED', reason: 'not-parked' })
    t.equal(await ref.ask({ type: 'discard', id: 1 }), false)
  },
  { maxAttempts: 3 },
)

staged(
  'parked messages are bounded: the oldest is dropped, and logged',
  async (t, { system, ref }) => {
    const out = producerOf(system)
    const sent = [1, 2, 3].map((n) => watched(out.send(order(n, 'crash'))))
    await system.platform.advance(1_000)
    t.same(sent.map(watchedCode), Array(3).fill('RUNTIME_DELIVERY_PARKED'))
    t.same(
      (await ref.ask({ type: 'parked' })).map(({ sequence }) => sequence),
      [2, 3],
    )
    t.match(await ref.ask({ type: 'counters' }), { parked: 3 })
    t.ok(system.platform.logged.some(({ message }) => message.includes('dropped its oldest parked message')))
    t.equal(await ref.ask({ type: 'discard', id: 2 }), true)
    t.same(
      (await ref.ask({ type: 'parked' })).map(({ sequence }) => sequence),
      [3],
    )
  },
  { maxAttempts: 1, parkedMax: 2 },
)

staged(
  'a refusal is an answer: the sender is told its reason, and it is not tried again',
  async (t, { system, shop, ref }) => {
    const out = producerOf(system)
    const sent = [order(7, 'refuse'), order(8)].map((message) => watched(out.send(message)))
    await system.platform.settle()
    t.match(sent[0]?.error, { code: 'RUNTIME_REJECTED', reason: 'sold-out', data: { n: 7 } })
    t.equal(sent[1]?.state, 'resolved')
    t.same(shop.begun, ['7', '8'])
    t.match(await ref.ask({ type: 'counters' }), { handled: 1, refused: 1, parked: 0 })
  },
)

staged(
  'a consumer that restarts remembers what it took: nothing is handled twice',
  async (t, { system, shop, ref }) => {
    const out = producerOf(system)
    await system.platform.settle()
    const before = out.status().consumer
    // One restart of the worker is all that the consumer bears: the second crash is its own.
    const sent = [order(1), order(2, 'crash 2'), order(3)].map((message) => watched(out.send(message)))
    await system.platform.advance(1_000)
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved', 'resolved'],
    )
    t.same(shop.begun, ['1', '2', '2 again 2', '2 again 3', '3'])
    t.equal(out.status().consumer, before, 'it is the same consumer')
    t.match(await ref.ask({ type: 'counters' }), { handled: 3, crashes: 2 })
    const { tree } = system.status()
    const user = tree.children.find(({ path }) => path === '/user')
    t.equal(user?.children.find(({ path }) => path === '/user/orders')?.incarnation, 1, 'which did restart')
  },
  { supervision: { intensity: { restarts: 1, withinMs: 60_000 } } },
)

staged(
  'a worker that stops itself comes back, and is handed what it had not begun',
  async (t, { system, shop }) => {
    const out = producerOf(system)
    const sent = [order(1, 'stop'), order(2), order(3)].map((message) => watched(out.send(message)))
    await system.platform.advance(1_000)
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved', 'resolved'],
    )
    t.same(shop.done, [1, 2, 3])
  },
)

staged(
  'with a worker that ends for good the consumer ends too; as a permanent one it comes back',
  async (t, { system, shop }) => {
    const out = producerOf(system)
    const sent = [order(1, 'crash 1'), order(2)].map((message) => watched(out.send(message)))
    await system.platform.advance(10_000)
    t.same(
      sent.map(({ state }) => state),
      ['resolved', 'resolved'],
    )
    t.same(shop.begun, ['1', '1 again 2', '2'])
  },
  { worker: { restart: 'temporary' } },
)

staged(
  'a consumer that is replaced is sent everything that nobody acknowledged, from the first',
  async (t, { system, shop, ref }) => {
    const out = producerOf(system)
    const sent = [1, 2, 3, 4, 5].map((n) => watched(out.send(order(n, n === 3 ? 'wait' : ''))))
    await system.platform.settle()
    t.same(shop.done, [1, 2])
    const stopping = system.stop(ref, 'kill')
    await system.platform.advance(100)
    await stopping
    const other = new Shop()
    await system.platform.advance(5_000)
    t.equal(sent[2]?.state, 'open', 'it waits for a successor')
    const next = system.spawn('orders', other.consumer())
    await system.platform.advance(20_000)
    other.gates.get(3)?.open()
    await system.platform.settle()
    t.same(other.begun, ['3', '4', '5'], 'the third was begun before, and is handled again: at least once')
    t.same(
      sent.map(({ state }) => state),
      Array(5).fill('resolved'),
    )
    t.match(await next.ask({ type: 'counters' }), { handled: 3, duplicates: 0 })
  },
)

staged(
  'a consumer that is away is no fault: no warning for each try, one for each long absence, and all letters are counted',
  async (t, { system, ref }) => {
    const out = producerOf(system)
    await settled(out.send(order(1)))
    await system.stop(ref, 'kill')
    const sent = watched(out.send(order(2)))
    await system.platform.advance(8_000)
    t.same(logged(system, 'warn'), [])
    t.ok(system.deadLetters().length > 1, 'it tries')
    t.equal(system.status().counters.deadLetters, system.deadLetters().length)
    await system.platform.advance(60_000)
    t.equal(logged(system, 'warn').length, 1)
    t.match(logged(system, 'warn'), [
      /has found no consumer at \/user\/orders for 1\d{4} ms .*; it goes on looking/,
    ])
    system.spawn('orders', new Shop().consumer())
    await system.platform.advance(60_000)
    t.equal(sent.state, 'resolved')
    t.match(
      system.platform.logged.filter(({ level }) => level === 'info').map(({ message }) => message),
      [/found its consumer \/user\/orders/],
    )
  },
)

staged('a producer whose consumer is nowhere says so', async (t, { system }) => {
  const out = reliableProducer(system, Orders, system.ref(reliable(Orders), '/user/ordres'))
  out.tell(order(1))
  await system.platform.advance(60_000)
  t.match(logged(system, 'warn'), [/has found no consumer at \/user\/ordres for /])
})

staged('with a bound ref the producer ends with its consumer', async (t, { system, shop, ref }) => {
  const failed: string[] = []
  const out = reliableProducer(system, Orders, ref, {
    onFailed: (message, error) => void failed.push(`${message.type} ${error.code}`),
  })
  const sent = watched(out.send(order(1, 'wait')))
  t.equal(out.tell(order(2)), true)
  await system.platform.settle()
  t.same(shop.begun, ['1'])
  await system.stop(ref, 'kill')
  await system.platform.settle()
  t.equal(watchedCode(sent), 'RUNTIME_DELIVERY_LOST')
  t.match(sent.error, { details: { outcome: 'unknown' } })
  t.same(failed, ['order RUNTIME_DELIVERY_LOST'])
  t.equal(
    system.deadLetters().some(({ message }) => message.type === 'order'),
    true,
  )
  t.equal(out.tell(order(3)), false, 'it takes nothing more')
  t.equal(watchedCode(await settled(out.send(order(4)))), 'RUNTIME_DELIVERY_LOST')
  t.equal(watchedCode(await settled(out.room())), 'RUNTIME_DELIVERY_LOST')
  t.equal(out.status().phase, 'ended')
})

staged('whoever is no consumer of that protocol is found out', async (t, { system, shop }) => {
  system.spawn('plain', shop.worker)
  system.spawn(
    'notes',
    actor(Note, () => ({ note: () => undefined })),
  )
  for (const path of ['/user/plain', '/user/notes']) {
    const out = reliableProducer(system, Orders, system.ref(reliable(Orders), path), {
      name: path.slice(6) + '-out',
    })
    const sent = watched(out.send(order(1)))
    await system.platform.settle()
    t.equal(watchedCode(sent), 'RUNTIME_NO_CONSUMER', path)
    t.match(sent.error, {
      message: /no reliable consumer of protocol "orders"/,
      details: { outcome: 'not-sent' },
    })
    t.equal(watchedCode(await settled(out.send(order(2)))), 'RUNTIME_NO_CONSUMER')
  }
})

staged('nobody at the path yet: the producer looks for it until somebody is', async (t, { system }) => {
  const out = reliableProducer(system, Orders, system.ref(reliable(Orders), '/user/late'), {
    resend: { minMs: 100, maxMs: 400 },
  })
  const sent = watched(out.send(order(1)))
  await system.platform.advance(60_000)
  t.equal(sent.state, 'open')
  t.match(out.status(), { phase: 'seeking', held: 1, sent: 0 })
  const late = new Shop()
  system.spawn('late', late.consumer())
  await system.platform.advance(500)
  t.equal(sent.state, 'resolved')
  t.same(late.done, [1])
})

staged(
  'a producer ends with the incarnation that started it; the next is another one, and no duplicate of the first',
  async (t, { system, shop, ref }) => {
    const ids: string[] = []
    const outcomes: string[] = []
    const Client = protocol('client', { crash: tell(), send: tell({ n: Type.Integer() }) })
    const client = actor(Client, { own: { over: tell({ how: Type.String() }) } }, (ctx) => {
      const out = reliableProducer(ctx, Orders, ctx.ref(reliable(Orders), '/user/orders'))
      ids.push(out.status().producer)
      return {
        crash: () => {
          throw new Error('crashed on purpose')
        },
        send: ({ n }) => {
          const text = n === 2 ? 'wait' : ''
          out.send(order(n, text)).then(
            () => outcomes.push(`${n} handled`),
            (error: unknown) => outcomes.push(`${n} ${isActorError(error) ? error.code : String(error)}`),
          )
        },
        over: () => undefined,
      }
    })
    const sender = system.spawn('client', client)
    sender.tell({ type: 'send', n: 1 })
    sender.tell({ type: 'send', n: 2 })
    await system.platform.settle()
    sender.tell({ type: 'crash' })
    await system.platform.settle()
    t.same(outcomes, ['1 handled', '2 RUNTIME_DELIVERY_LOST'])
    sender.tell({ type: 'send', n: 3 })
    shop.gates.get(2)?.open()
    await system.platform.settle()
    t.equal(new Set(ids).size, 2, 'two producers')
    t.same(
      shop.done,
      [1, 2, 3],
      'what had arrived is still handled, and the first of the next is no duplicate',
    )
    t.same(outcomes, ['1 handled', '2 RUNTIME_DELIVERY_LOST', '3 handled'])
    t.match(await ref.ask({ type: 'counters' }), { producers: 1, duplicates: 0 }, 'the dead one is forgotten')
  },
)

staged(
  'a forgotten producer introduces itself again; while all others have work, one more has to wait',
  async (t, { system, shop, ref }) => {
    const one = producerOf(system, { name: 'one' })
    await one.send(order(1))
    const two = producerOf(system, { name: 'two' })
    await waitFor(system, two.send(order(2)))
    t.match(await ref.ask({ type: 'counters' }), { producers: 1, forgotten: 1 })
    const third = watched(one.send(order(3, 'wait')))
    await system.platform.advance(10_000)
    t.same(shop.begun, ['1', '2', '3'], 'it was found out by a probe')
    const fourth = watched(two.send(order(4)))
    await system.platform.advance(30_000)
    t.equal(fourth.state, 'open', 'one has work there: it is not forgotten')
    t.equal(two.status().phase, 'seeking')
    shop.gates.get(3)?.open()
    await system.platform.advance(15_000)
    t.same([third.state, fourth.state], ['resolved', 'resolved'])
    t.same(shop.done, [1, 2, 3, 4])
  },
  { producersMax: 1 },
)

staged('close waits for what was taken, and says good-bye', async (t, { system, shop, ref }) => {
  const out = producerOf(system)
  const sent = watched(out.send(order(1, 'wait')))
  await system.platform.settle()
  const closing = watched(out.close({ drainMs: 1_000 }))
  t.equal(out.tell(order(2)), false, 'it takes nothing more')
  await system.platform.settle()
  t.equal(closing.state, 'open')
  shop.gates.get(1)?.open()
  await system.platform.settle()
  t.same([sent.state, closing.state], ['resolved', 'resolved'])
  t.match(await ref.ask({ type: 'counters' }), { producers: 0 })
  await out.close()

  const hasty = producerOf(system)
  const lost = watched(hasty.send(order(3, 'wait')))
  const closed = watched(hasty.close({ drainMs: 1_000 }))
  await system.platform.advance(1_000)
  t.equal(watchedCode(lost), 'RUNTIME_DELIVERY_LOST')
  t.equal(closed.state, 'resolved')
  t.throws(() => hasty.close({ drainMs: -1 }), RangeError)
  shop.gates.get(3)?.open()
})

staged('a message is checked where it is sent, and where it arrives', async (t, { system, shop, ref }) => {
  const out = producerOf(system)
  await system.platform.settle()
  const wrong = [
    { type: 'order', n: 'one', text: '' },
    { type: 'order', n: 1, text: '', more: 1 },
    { type: 'nothing' },
    { type: 'count' },
    { type: 'order', n: 1, text: '\ud800' },
    null,
  ]
  for (const message of wrong) {
    t.equal(
      watchedCode(await settled(out.send(message as unknown as OrderMessage))),
      'RUNTIME_INVALID_MESSAGE',
      JSON.stringify(message),
    )
    t.equal(out.tell(message as unknown as OrderMessage), false)
  }
  t.equal(out.status().held, 0)
  // A sender of another version, or of ill will: it reaches no handler.
  const { producer } = out.status()
  for (const [index, message] of wrong.entries()) {
    if (JSON.stringify(message)?.includes('ud800') === true) continue
    const sequence = index === 5 ? 5 : index + 1
    ref.tell({
      type: 'deliver',
      producer,
      sequence,
      confirmed: 0,
      message: message as unknown as OrderMessage,
    })
  }
  await system.platform.settle()
  t.same(shop.begun, [])
  const parked = await ref.ask({ type: 'parked' })
  t.same(
    parked.map(({ messageType, code }) => `${messageType} ${code}`),
    ['order', 'order', 'nothing', 'count', '(none)'].map((type) => `${type} RUNTIME_INVALID_MESSAGE`),
  )
})

staged('refs travel in messages, also to the handler that tells them', async (t, { system }) => {
  const notes: string[] = []
  const note = system.spawn(
    'notes',
    actor(Note, () => ({ note: ({ text }) => void notes.push(text) })),
  )
  const out = producerOf(system)
  await waitFor(system, out.send({ type: 'forward', to: note, text: 'small' }))
  await system.platform.settle()
  t.same(notes, ['small'])
})

void test('only what is told travels reliably: an ask does not compile', async (t) => {
  const shop = new Shop()
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('orders', shop.consumer())
    const out = reliableProducer(system, Orders, ref)
    const cases = (): void => {
      // @ts-expect-error an ask has its answer to know by
      void out.send({ type: 'count' })
      // @ts-expect-error a wrong payload
      void out.tell({ type: 'order', n: 'one', text: '' })
      // @ts-expect-error the consumer takes no messages of the protocol itself
      ref.tell({ type: 'order', n: 1, text: '' })
      // @ts-expect-error a consumer of another protocol
      reliableProducer(system, Note, ref)
      // @ts-expect-error the worker itself is no consumer
      reliableProducer(system, Orders, system.ref(Orders, '/user/orders/worker'))
    }
    t.type(cases, 'function')
    t.equal(reliable(Orders), reliable(Orders), 'one protocol value')
    await system.platform.settle()
    t.equal(
      await system.ref(Orders, '/user/orders/worker').ask({ type: 'count' }),
      0,
      'the worker is asked directly',
    )
  })
})

void test('options that cannot be are refused, and say what may be', (t) => {
  const shop = new Shop()
  t.throws(() => shop.consumer({ window: 0 }), {
    name: 'RangeError',
    message: /"window".*>= 1.*got 0|window/,
  })
  t.throws(() => shop.consumer({ window: 1_025 }), RangeError)
  t.throws(() => shop.consumer({ maxAttempts: 0 }), RangeError)
  t.doesNotThrow(() => shop.consumer({ maxAttempts: Infinity }))
  t.throws(() => shop.consumer({ producersMax: 0 }), RangeError)
  t.throws(() => shop.consumer({ parkedMax: -1 }), RangeError)
  t.throws(() => shop.consumer({ windows: 3 } as ConsumerOptions), TypeError)
  t.throws(() => shop.consumer({ worker: { restart: 'often' as never } }), TypeError)
  const nobody = { spawn: () => undefined } as never
  const make = (options: ProducerOptions<OrderMessage>) => (): unknown =>
    reliableProducer(nobody, Orders, nobody, options)
  t.throws(make({ bufferMax: 0 }), RangeError)
  t.throws(make({ chunkBytes: 255 }), RangeError)
  t.throws(make({ resend: { minMs: 100, maxMs: 50 } }), {
    name: 'RangeError',
    message: /maxMs \(50\).*minMs \(100\)/,
  })
  t.throws(make({ bufferMax: 10 }), {
    name: 'RangeError',
    message: /256 chunks.*raise bufferMax or chunkBytes/,
  })
  t.throws(make({}), { name: 'TypeError', message: /a system, or the ctx of a running actor/ })
  const long = protocol('p'.repeat(55), {})
  t.throws(() => reliable(long), { name: 'TypeError', message: /may have 54/ })
  t.end()
})

/** How a promise that settles at once has settled. */
async function settled(promise: Promise<unknown>): Promise<ReturnType<typeof watched>> {
  const record = watched(promise)
  await promise.catch(() => undefined)
  return record
}

/** Lets time pass until `promise` has resolved. */
async function waitFor(system: TestSystem, promise: Promise<unknown>): Promise<void> {
  const record = watched(promise)
  for (let i = 0; i < 600 && record.state === 'open'; i++) await system.platform.advance(100)
  if (record.state === 'rejected') throw record.error
}
