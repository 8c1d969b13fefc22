/** Reliable delivery between nodes that die, part and come back, over links that lose, double and reorder messages. */
import {
  actor,
  ask,
  protocol,
  reliable,
  reliableConsumer,
  reliableProducer,
  reject,
  tell,
  type AnyDefinition,
} from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { frameTags, threeNodeFaults } from '../remote/fault-list.ts'
import { simulateWitnessed } from '../remote/simulate-witnessed.ts'
import { Witness, type Boot } from '../remote/witness.ts'
import { Outside } from '../supervision/outside.ts'
import { maxAttempts, OrderBook, Orders, poison, type Stream } from './order-book.ts'

const Sender = protocol('sender', {
  send: tell({
    to: Type.String(),
    count: Type.Integer(),
    size: Type.Integer(),
    crashes: Type.Integer(),
    waitMs: Type.Integer(),
    isRefused: Type.Boolean(),
    isTold: Type.Boolean(),
  }),
  crash: tell(),
  hello: ask(Type.Null()),
})

const bufferMax = 40
const waitingMax = 6

export const betweenNodesFaults: readonly string[] = [
  ...threeNodeFaults,
  ...['message-loss', 'message-duplicate', 'message-replay', 'message-reorder'],
]

export const betweenNodesTags: readonly string[] = [
  ...frameTags,
  ...['sent-again', 'duplicate-dropped', 'tried-again', 'parked', 'refused', 'in-chunks', 'handled-by-two'],
  ...['consumer-replaced', 'consumer-restarted', 'producer-lost', 'no-room', 'waited-for-room'],
  ...['reconnected', 'rejoined'],
]

interface Swarm {
  readonly window: number
  readonly restarts: number
}

function consumerOf(book: OrderBook, boot: Boot, swarm: () => Swarm): AnyDefinition {
  const worker = actor(Orders, (ctx) => {
    let name = ''
    // The actor in front of it, for as long as that lives: neither restarts nor another worker make it another one.
    const consumer = (): string => {
      if (name === '') {
        const parent = book.world().simulation.running?.cell.parent
        name = `${boot.node}${boot.number}/${parent?.uid ?? '?'}`
        if ((parent?.incarnation ?? 0) > 0) book.met('consumer-restarted')
      }
      return name
    }
    return {
      put: async ({ n, body, crashes, waitMs, isRefused }) => {
        const before = book.begins(consumer(), boot.node, n, body)
        if (waitMs > 0) await ctx.service(Outside).wait(waitMs)
        if (isRefused) {
          book.setAside(n)
          throw reject('refused', { n })
        }
        if (before < crashes) {
          if (before + 1 >= maxAttempts) book.setAside(n)
          throw new Error(`message ${n} crashes its handler`)
        }
        book.handled(consumer(), n)
      },
    }
  })
  const { window, restarts } = swarm()
  return reliableConsumer(worker, {
    window,
    maxAttempts,
    messageBytesMax: 32_768,
    worker: { restart: 'permanent', backoff: { minMs: 20, maxMs: 200 } },
    supervision: { intensity: { restarts, withinMs: 2_000 } },
  }) as unknown as AnyDefinition
}

function senderOf(book: OrderBook, witness: Witness, boot: Boot): AnyDefinition {
  return actor(Sender, (ctx) => {
    const life = witness.begins(boot, ctx)
    const streams = new Map<string, Stream>()
    const isOver = (): boolean => ctx.signal.aborted || boot.process?.isAlive === false
    // Not in the setup: the tree of a node starts before it can make refs to others.
    const streamTo = (to: string): Stream => {
      let stream = streams.get(to)
      if (stream === undefined) {
        const out = reliableProducer(ctx, Orders, ctx.ref(reliable(Orders), `${to}:/user/orders`), {
          name: `to-${to}`,
          bufferMax,
          waitingMax,
          chunkBytes: 1_024,
          messageBytesMax: 32_768,
        })
        const name = `${witness.nameOf(life)}>${to}`
        stream = book.begin({ name, out, bufferMax, waitingMax, isOver })
        streams.set(to, stream)
      }
      return stream
    }
    return {
      send: ({ to, count, waitMs, isTold, size, crashes, isRefused }) => {
        if (to === boot.node) return
        const stream = streamTo(to)
        for (let i = 0; i < count; i++) book.send(stream, { size, crashes, isRefused }, waitMs, isTold)
      },
      crash: () => {
        throw new Error('crashed by the scenario')
      },
      hello: () => null,
    }
  }) as unknown as AnyDefinition
}

export function runBetweenNodes(input: RunInput): Promise<RunResult> {
  const witness = new Witness(betweenNodesTags)
  const book = new OrderBook(() => witness.world, betweenNodesTags)
  let swarm: Swarm | undefined
  return simulateWitnessed(
    input,
    {
      witness,
      nodes: 3,
      faults: betweenNodesFaults,
      actors: (boot) => ({
        orders: consumerOf(book, boot, () => swarm ?? { window: 8, restarts: 5 }),
        sender: senderOf(book, witness, boot),
      }),
    },
    (world) => {
      swarm = {
        window: [8, 1, 3, 64][world.choose(4, 'swarm/window')] ?? 8,
        restarts: [20, 1][world.choose(2, 'swarm/restarts')] ?? 20,
      }
      return delivering(world, witness, book)
    },
  )
}

async function delivering(world: World, witness: Witness, book: OrderBook): Promise<void> {
  witness.begin(world)
  world.invariant('bounded-buffer', () => {
    for (const stream of book.streams) if (!stream.isOver()) book.look(stream)
  })
  const { nodes } = world
  await world.parallel(nodes.length, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 14; i++) {
      await world.sleep(50 + world.choose(20, 'pause') * 50)
      if (!place.isUp) continue
      const sender = place.node.system.ref(Sender, '/user/sender')
      if (world.chance(0.04, 'crash')) sender.tell({ type: 'crash' })
      const to = nodes[world.choose(nodes.length, 'to')]?.name ?? 'a'
      sender.tell({
        type: 'send',
        to,
        count: [1, 3, 10, 30][world.choose(4, 'count')] ?? 1,
        size: [5, 5, 900, 3_000, 20_000][world.choose(5, 'size')] ?? 5,
        crashes: [0, 0, 0, 0, 1, 2, poison][world.choose(7, 'crashes')] ?? 0,
        waitMs: [0, 0, 5, 60][world.choose(4, 'wait')] ?? 0,
        isRefused: world.chance(0.05, 'refuse'),
        isTold: world.chance(0.3, 'told'),
      })
    }
  })
  await witness.heal((node, to) => node.ref(Sender, to, '/user/sender').ask({ type: 'hello' }))
  await world.until('all-is-delivered', () => book.open().length === 0, { withinMs: 120_000, everyMs: 200 })
  for (const place of nodes) {
    const counters = await place.call((node) =>
      node.ref(reliable(Orders), place.name, '/user/orders').ask({ type: 'counters' }),
    )
    if (counters.duplicates > 0) book.met('duplicate-dropped')
  }
  book.judge()
  await witness.shutdown()
}
