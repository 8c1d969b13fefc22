/** Reliable delivery within one process: every order of turns, crashes on both sides, consumers that come and go, kills. */
import {
  actor,
  child,
  protocol,
  reject,
  reliable,
  reliableConsumer,
  reliableProducer,
  supervisor,
  tell,
  type ActorRef,
  type ActorSystem,
  type AnyDefinition,
} from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Outside, simulatedOutside } from '../supervision/outside.ts'
import { maxAttempts, OrderBook, Orders, poison, type OrdersMessages, type Stream } from './order-book.ts'

const Client = protocol('client', {
  send: tell({
    count: Type.Integer(),
    size: Type.Integer(),
    crashes: Type.Integer(),
    waitMs: Type.Integer(),
    isRefused: Type.Boolean(),
    isTold: Type.Boolean(),
  }),
  crash: tell(),
  /** Its producer is closed, with what it has; the next message starts another one. */
  close: tell({ drainMs: Type.Integer() }),
})
type Consumer = ActorRef<ReturnType<typeof reliable<OrdersMessages>>['messages']>

const clients = ['one', 'two', 'three'] as const
const bufferMax = 24
const waitingMax = 4

export const oneNodeFaults: readonly string[] = ['kill', 'pause', 'stall', 'slow-cpu', 'clock-drift']

export const oneNodeTags: readonly string[] = [
  ...['tried-again', 'parked', 'refused', 'in-chunks', 'handled-by-two', 'consumer-replaced'],
  ...['consumer-restarted', 'producer-lost', 'producer-closed', 'no-room', 'waited-for-room', 'forgotten'],
]

export async function oneNode(world: SystemWorld): Promise<void> {
  const book = new OrderBook(() => world, oneNodeTags)
  const window = [8, 1, 3, 64][world.choose(4, 'swarm/window')] ?? 8
  const restarts = [20, 1][world.choose(2, 'swarm/restarts')] ?? 20
  // With fewer than there are clients some have to introduce themselves again, and may be handled twice by that.
  const producersMax = [100, 2][world.choose(2, 'swarm/producers')] ?? 100
  book.mayForget = producersMax < clients.length
  let boots = 0

  const worker = actor(Orders, (ctx) => {
    const parent = world.simulation.running?.cell.parent
    const consumer = `boot ${boots} #${parent?.uid ?? '?'}`
    if ((parent?.incarnation ?? 0) > 0) book.met('consumer-restarted')
    const outside = ctx.service(Outside)
    return {
      put: async ({ n, body, crashes, waitMs, isRefused }) => {
        const before = book.begins(consumer, 'orders', n, body)
        if (waitMs > 0) await outside.wait(waitMs)
        if (isRefused) {
          book.setAside(n)
          throw reject('refused', { n })
        }
        if (before < crashes) {
          if (before + 1 >= maxAttempts) book.setAside(n)
          throw new Error(`message ${n} crashes its handler`)
        }
        book.handled(consumer, n)
      },
    }
  })
  const consumer = reliableConsumer(worker, {
    window,
    maxAttempts,
    producersMax,
    messageBytesMax: 32_768,
    worker: { restart: 'permanent', backoff: { minMs: 20, maxMs: 200 } },
    supervision: { intensity: { restarts, withinMs: 2_000 } },
  })

  const client = actor(Client, (ctx) => {
    const { process } = world
    let number = 0
    let stream: Stream | undefined
    return {
      send: ({ count, waitMs, isTold, size, crashes, isRefused }) => {
        if (stream === undefined) {
          const out = reliableProducer(ctx, Orders, ctx.ref(reliable(Orders), '/user/orders'), {
            name: `producer-${++number}`,
            bufferMax,
            waitingMax,
            chunkBytes: 1_024,
            messageBytesMax: 24_000,
            resend: { minMs: 200, maxMs: 2_000 },
          })
          const name = `${ctx.path} ${boots}.${ctx.incarnation}.${number}>orders`
          let isClosed = false
          const isOver = (): boolean => isClosed || ctx.signal.aborted || !process.isAlive
          stream = book.begin({ name, out, bufferMax, waitingMax, isOver, close: () => (isClosed = true) })
        }
        for (let i = 0; i < count; i++) book.send(stream, { size, crashes, isRefused }, waitMs, isTold)
      },
      crash: () => {
        throw new Error('crashed by the scenario')
      },
      close: ({ drainMs }) => {
        const closing = stream
        if (closing === undefined) return
        stream = undefined
        closing.close?.()
        ctx.run(closing.out.close({ drainMs }).then(() => book.met('producer-closed')))
      },
    }
  })
  const root = supervisor(
    { intensity: { restarts: Infinity, withinMs: 1_000 } },
    clients.map((name) => child(name, client)),
  ) as unknown as AnyDefinition

  const open = (system: ActorSystem): Consumer => system.spawn('orders', consumer, { restart: 'permanent' })
  const isOpen = (system: ActorSystem): boolean =>
    system.lookup(reliable(Orders), '/user/orders') !== undefined
  await world.start(root, { services: [simulatedOutside(world)], stallMs: Infinity })
  open(world.system)
  world.invariant('bounded-buffer', () => {
    for (const stream of book.streams) if (!stream.isOver()) book.look(stream)
  })

  await world.parallel(clients.length, async (index) => {
    for (let i = 0; i < 14; i++) {
      await world.sleep(20 + world.choose(20, 'pause') * 40)
      if (!world.isUp) continue
      const { system } = world
      if (!isOpen(system) && world.chance(0.7, 'open')) {
        boots++
        open(system)
      }
      const ref = system.ref(Client, `/user/${clients[index] ?? 'one'}`)
      if (world.chance(0.04, 'crash')) ref.tell({ type: 'crash' })
      if (world.chance(0.06, 'close')) {
        ref.tell({ type: 'close', drainMs: [5_000, 0, 100][world.choose(3, 'drain')] ?? 0 })
      }
      const lookup = system.lookup(reliable(Orders), '/user/orders')
      if (lookup !== undefined && world.chance(0.05, 'replace')) {
        // Not awaited: while it stops, messages come.
        void system.stop(lookup, (['stop', 'kill', 'drain'] as const)[world.choose(3, 'how')])
      }
      ref.tell({
        type: 'send',
        count: [1, 3, 10, 30][world.choose(4, 'count')] ?? 1,
        size: [5, 5, 900, 3_000, 20_000][world.choose(5, 'size')] ?? 5,
        crashes: [0, 0, 0, 0, 1, 2, poison][world.choose(7, 'crashes')] ?? 0,
        waitMs: [0, 0, 5, 60][world.choose(4, 'wait')] ?? 0,
        isRefused: world.chance(0.05, 'refuse'),
        isTold: world.chance(0.3, 'told'),
      })
    }
  })
  world.heal()
  await world.whenUp()
  const isDone = (): boolean => {
    // One that is on its way down is followed by the last one.
    if (!isOpen(world.system)) {
      boots++
      open(world.system)
    }
    return book.open().length === 0
  }
  await world.until('all-is-delivered', isDone, { withinMs: 120_000, everyMs: 200 })
  const counters = await world.system.ref(reliable(Orders), '/user/orders').ask({ type: 'counters' })
  if (counters.forgotten > 0) book.met('forgotten')
  book.judge()
}
