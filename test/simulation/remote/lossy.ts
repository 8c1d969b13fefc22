/** Protocols that bear what may become of single messages: a gossiped maximum, and stop-and-wait with its own dedupe. */
import { actor, ask, protocol, tell, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { frameTags, threeNodeFaults } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { Witness, type Boot, type Life } from './witness.ts'

const Gossip = protocol(
  'lossy-gossip',
  {
    raise: tell({ to: Type.Integer() }),
    newest: tell({ value: Type.Integer() }),
    value: ask(Type.Integer()),
  },
  { delivery: 'lossy' },
)
/** After Bartlett, Scantlebury and Wilkinson (CACM 1969), but numbered: replays come later than one bit remembers. */
const Sender = protocol(
  'lossy-sender',
  { ack: tell({ stream: Type.Integer(), n: Type.Integer() }) },
  { delivery: 'lossy' },
)
const Receiver = protocol(
  'lossy-receiver',
  { item: tell({ stream: Type.Integer(), n: Type.Integer(), from: Type.String() }), hello: ask(Type.Null()) },
  { delivery: 'lossy' },
)
/** Beside them: what is not lossy is spared. */
const Strict = protocol('lossy-strict', { item: tell({ stream: Type.Integer(), n: Type.Integer() }) })

const ownTick = { tick: tell() }
const itemsMax = 12
/** Ticks of rest between two streams: what is replayed of one comes while the next is under way, or behind it. */
const restTicks = 6

export const lossyFaults: readonly string[] = [
  ...threeNodeFaults,
  ...['message-loss', 'message-duplicate', 'message-replay', 'message-reorder'],
]

export const lossyTags: readonly string[] = [
  ...frameTags,
  ...['came-twice', 'came-late', 'sent-again', 'all-delivered', 'gossip-behind', 'reconnected', 'rejoined'],
]

interface Stream {
  readonly to: string
  sent: number
  /** Handed on by the receiver, in its order, by life of that. */
  readonly delivered: Map<Life, number[]>
  readonly strict: Map<Boot, number>
}

class LossyLedger {
  readonly witness = new Witness(lossyTags)
  readonly streams: Stream[] = []
  highest = 0
  isOver = false
}

function gossipOf(ledger: LossyLedger, boot: Boot, names: () => readonly string[]): AnyDefinition {
  return actor(Gossip, { own: ownTick }, (ctx) => {
    ledger.witness.begins(boot, ctx)
    let value = 0
    ctx.timers.every('tick', 100, { type: 'tick' })
    return {
      raise: ({ to }) => {
        value = Math.max(value, to)
      },
      newest: ({ value: theirs }) => {
        if (theirs > ledger.highest)
          ledger.witness.broken('never-said', `${theirs}, and the highest is ${ledger.highest}`)
        if (theirs < value) ledger.witness.met('gossip-behind')
        value = Math.max(value, theirs)
      },
      value: () => value,
      tick: () => {
        for (const name of names()) {
          if (name !== boot.node) ctx.tell(ctx.ref(Gossip, `${name}:/user/gossip`), { type: 'newest', value })
        }
      },
    }
  }) as unknown as AnyDefinition
}

function senderOf(ledger: LossyLedger, boot: Boot, names: () => readonly string[]): AnyDefinition {
  return actor(Sender, { own: ownTick }, (ctx) => {
    ledger.witness.begins(boot, ctx)
    const current = new Map<string, { stream: number; n: number; strict: number; rest: number }>()
    ctx.timers.every('tick', 150, { type: 'tick' })
    const send = (to: string, stream: number, n: number): void => {
      const of = ledger.streams[stream]
      if (of !== undefined) of.sent = Math.max(of.sent, n)
      ctx.tell(ctx.ref(Receiver, `${to}:/user/receiver`), { type: 'item', stream, n, from: boot.node })
    }
    return {
      ack: ({ stream, n }) => {
        for (const [to, state] of current) {
          if (state.stream !== stream || state.n !== n) continue
          state.n = n + 1
          if (state.n <= itemsMax) send(to, stream, state.n)
        }
      },
      tick: () => {
        for (const to of names()) {
          if (to === boot.node) continue
          let state = current.get(to)
          if (state === undefined || (state.n > itemsMax && --state.rest === 0)) {
            const stream = ledger.streams.push({ to, sent: 0, delivered: new Map(), strict: new Map() }) - 1
            state = { stream, n: 1, strict: 0, rest: restTicks }
            current.set(to, state)
          } else if (state.n <= itemsMax) {
            ledger.witness.met('sent-again')
          }
          if (state.n <= itemsMax) send(to, state.stream, state.n)
          const n = ++state.strict
          ctx.tell(ctx.ref(Strict, `${to}:/user/strict`), { type: 'item', stream: state.stream, n })
        }
      },
    }
  }) as unknown as AnyDefinition
}

function receiverOf(ledger: LossyLedger, boot: Boot): AnyDefinition {
  return actor(Receiver, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    const next = new Map<number, number>()
    return {
      hello: () => null,
      item: ({ stream, n, from }) => {
        const of = ledger.streams[stream]
        if (of === undefined || n > of.sent)
          return ledger.witness.broken('never-sent', `item ${n} of stream ${stream}`)
        if (of.to !== boot.node)
          ledger.witness.broken('another-addressee', `item ${n} to "${of.to}" came to "${boot.node}"`)
        // A life that begins in the middle of a stream takes it from there.
        const expected = next.get(stream) ?? n
        if (n > expected)
          ledger.witness.broken('stop-and-wait', `item ${n} came before item ${expected} was acknowledged`)
        if (n < expected) ledger.witness.met(n === expected - 1 ? 'came-twice' : 'came-late')
        if (n === expected) {
          next.set(stream, n + 1)
          const delivered = of.delivered.get(life) ?? []
          of.delivered.set(life, [...delivered, n])
        }
        ctx.tell(ctx.ref(Sender, `${from}:/user/sender`), { type: 'ack', stream, n })
      },
    }
  }) as unknown as AnyDefinition
}

function strictOf(ledger: LossyLedger, boot: Boot): AnyDefinition {
  return actor(Strict, () => ({
    item: ({ stream, n }) => {
      const of = ledger.streams[stream]
      const last = of?.strict.get(boot) ?? 0
      if (n <= last)
        ledger.witness.broken(
          'fifo',
          `stream ${stream}: ${n} came after ${last}, and its protocol is not lossy`,
        )
      of?.strict.set(boot, n)
    },
  })) as unknown as AnyDefinition
}

export function runLossy(input: RunInput): Promise<RunResult> {
  const ledger = new LossyLedger()
  const all = ['a', 'b', 'c']
  const names = (): readonly string[] => (ledger.isOver ? [] : all)
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 3,
      faults: lossyFaults,
      actors: (boot) => ({
        gossip: gossipOf(ledger, boot, names),
        receiver: receiverOf(ledger, boot),
        strict: strictOf(ledger, boot),
        sender: senderOf(ledger, boot, names),
      }),
    },
    (world) => losing(world, ledger),
  )
}

async function losing(world: World, ledger: LossyLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  await world.parallel(3, async (index) => {
    // Long enough for a node that is cut off to be given up, and for replays, which come half a minute late.
    for (let i = 0; i < 40; i++) {
      await world.sleep(50 + world.choose(20, 'pause') * 100)
      const place = world.node(index)
      if (!place.isUp) continue
      ledger.highest++
      place.node.system.ref(Gossip, '/user/gossip').tell({ type: 'raise', to: ledger.highest })
    }
  })
  await witness.heal((node, to) => node.ref(Receiver, to, '/user/receiver').ask({ type: 'hello' }))
  // Nothing is lost any more: what is said now is known to all, and every stream ends.
  ledger.highest++
  world.node(0).node.system.ref(Gossip, '/user/gossip').tell({ type: 'raise', to: ledger.highest })
  await world.sleep(10_000)
  for (const { name } of world.nodes) {
    const value = await world
      .node(0)
      .call((node) => node.ref(Gossip, name, '/user/gossip').ask({ type: 'value' }))
    world.check(
      'gossip-converges',
      value === ledger.highest,
      `"${name}" says ${value}; the highest is ${ledger.highest}`,
    )
  }
  for (const [number, { to, delivered }] of ledger.streams.entries()) {
    for (const [life, items] of delivered) {
      const first = items[0] ?? 0
      const inOrder = items.every((n, index) => n === first + index)
      world.check(
        'stop-and-wait',
        inOrder,
        `stream ${number} to "${to}", ${witness.nameOf(life)}: ${items.join(', ')}`,
      )
      if (items.length === itemsMax) witness.met('all-delivered')
    }
  }
  ledger.isOver = true
  await witness.shutdown()
}
