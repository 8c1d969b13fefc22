/** Tells and asks between nodes: in order, at most once, within one life of each end, whatever happens between them. */
import { actor, ask, protocol, tell, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { allFaults, frameTags } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { isSameEpoch, Witness, type Boot, type Life, type SeenEpoch } from './witness.ts'

/** `stream`: everything that one life of a source sends to one path. */
const Sink = protocol('order-sink', {
  told: tell({ stream: Type.Integer(), n: Type.Integer() }),
  asked: ask({ stream: Type.Integer(), n: Type.Integer() }, Type.Integer()),
  hello: ask(Type.Null()),
})
const Source = protocol('order-source', {
  burst: tell({ to: Type.String(), count: Type.Integer() }),
  crash: tell(),
})
const ownOfSource = {
  tick: tell({ to: Type.String() }),
  answered: tell({ n: Type.Integer() }),
  failed: tell(),
}

export const orderTags: readonly string[] = [
  ...frameTags,
  ...['reconnected', 'rejoined', 'down unreachable', 'down replaced', 'member-left'],
  ...[
    'stream-over-two-epochs',
    'suffix-lost',
    'refused-without-link',
    'successor-of-killed-sender',
    'sender-restarted',
  ],
]

interface Sent {
  readonly isTell: boolean
  /** `undefined` where nobody can look: a twin. */
  readonly epoch: SeenEpoch | undefined
  isAccepted: boolean
  isHandled: boolean
  /** It arrived where no such actor lived yet, and that was said. */
  isWithoutActor: boolean
}

interface Stream {
  readonly source: Life
  readonly to: string
  readonly sent: Sent[]
  /** The last that was handled, by boot of the receiver: one that stood still may handle old ones later than a new one. */
  readonly last: Map<Boot, number>
}

class OrderLedger {
  readonly witness = new Witness(orderTags)
  readonly streams: Stream[] = []
  /** The newest life that a receiver has heard of, by receiver and sender. */
  readonly #newest = new Map<string, Life>()

  constructor() {
    this.witness.onDeadLetter = ({ reason, message }) => {
      const { stream, n } = message as { readonly stream?: number; readonly n?: number }
      const sent = stream === undefined || n === undefined ? undefined : this.streams[stream]?.sent[n]
      // A node that has begun a new life is there before its actors are.
      if (sent !== undefined && reason === 'not-found') sent.isWithoutActor = true
    }
  }

  stream(source: Life, to: string): number {
    return this.streams.push({ source, to, sent: [], last: new Map() }) - 1
  }

  /** Numbers one more message; `send` says whether it was taken. */
  send(number: number, isTell: boolean, send: (n: number) => boolean): void {
    const stream = this.#streamOf(number)
    const { boot } = stream.source
    const sent: Sent = {
      isTell,
      epoch: this.witness.epochOf(boot, stream.to),
      isAccepted: true,
      isHandled: false,
      isWithoutActor: false,
    }
    const n = stream.sent.push(sent) - 1
    sent.isAccepted = send(n)
    if (!sent.isAccepted) this.witness.met('refused-without-link')
  }

  handled(number: number, n: number, sink: Life): void {
    const { witness } = this
    const stream = this.#streamOf(number)
    const { source } = stream
    const sent = stream.sent[n]
    const what = `message ${n} from ${witness.nameOf(source)} to ${witness.nameOf(sink)}`
    if (sent === undefined) return witness.broken('never-sent', what)
    if (sent.isHandled) witness.broken('at-most-once', `${what} was handled twice`)
    if (!sent.isAccepted) witness.broken('refused-is-refused', `${what} was refused, and handled`)
    const last = stream.last.get(sink.boot) ?? -1
    if (n <= last) witness.broken('fifo', `${what} came after message ${last}`)
    sent.isHandled = true
    this.#checkGap(stream, n, last, what)
    this.#checkLife(source, sink, what)
    this.#checkAddressee(sent, sink, what)
    stream.last.set(sink.boot, n)
  }

  /** A link that breaks loses a suffix: what was sent over the same one before has come before. */
  #checkGap(stream: Stream, n: number, last: number, what: string): void {
    const { epoch } = stream.sent[n] as Sent
    const before = stream.sent[last]?.epoch
    if (epoch !== undefined && before !== undefined && !isSameEpoch(epoch, before)) {
      this.witness.met('stream-over-two-epochs')
      if (n > last + 1) this.witness.met('suffix-lost')
    }
    for (let missing = n - 1; missing > last; missing--) {
      const sent = stream.sent[missing] as Sent
      if (epoch === undefined || sent.epoch === undefined || !isSameEpoch(sent.epoch, epoch)) return
      // An ask that was given up need not come.
      if (sent.isTell && sent.isAccepted && !sent.isWithoutActor) {
        this.witness.broken(
          'no-gap',
          `${what} came, but message ${missing}, sent before it over the same link, did not`,
        )
      }
    }
  }

  #checkLife(source: Life, sink: Life, what: string): void {
    const key = `${sink.boot.number}/${source.boot.node}`
    const newest = this.#newest.get(key)
    if (newest !== undefined && newest.number > source.number) {
      const isOver = newest.boot === source.boot || newest.boot.startedAtMs >= source.boot.endedAtMs
      if (isOver)
        this.witness.broken('older-life', `${what} came after one from ${this.witness.nameOf(newest)}`)
    } else if (newest !== source) {
      if (newest !== undefined && newest.boot !== source.boot) this.witness.met('successor-of-killed-sender')
      if (newest?.boot === source.boot) this.witness.met('sender-restarted')
      this.#newest.set(key, source)
    }
  }

  /** A session leads to one life of a node: no other one gets what was sent over it. */
  #checkAddressee({ epoch }: Sent, sink: Life, what: string): void {
    const node = this.witness.nodeOf(sink.boot)
    if (epoch === undefined || node === undefined || node.incarnation === epoch.incarnation) return
    this.witness.broken(
      'another-addressee',
      `${what} was sent to incarnation ${epoch.incarnation}, and handled by ${node.incarnation}`,
    )
  }

  #streamOf(number: number): Stream {
    const stream = this.streams[number]
    if (stream === undefined) throw new Error(`There is no stream ${number}`)
    return stream
  }
}

function sinkOf(ledger: OrderLedger, boot: Boot): AnyDefinition {
  return actor(Sink, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    return {
      told: ({ stream, n }) => ledger.handled(stream, n, life),
      asked: ({ stream, n }) => {
        ledger.handled(stream, n, life)
        return n
      },
      hello: () => null,
    }
  }) as unknown as AnyDefinition
}

function sourceOf(ledger: OrderLedger, boot: Boot): AnyDefinition {
  return actor(Source, { own: ownOfSource }, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    const streams = new Map<string, number>()
    const sendTo = (to: string): void => {
      const { world } = ledger.witness
      const sink = ctx.ref(Sink, `${to}:/user/sink`)
      const stream = streams.get(to) ?? ledger.stream(life, to)
      streams.set(to, stream)
      if (world.chance(0.2, 'asked')) {
        ledger.send(stream, false, (n) => {
          const settled = ledger.witness.asked(life, `"asked" of ${to}`, 3_000)
          ctx.request(
            sink,
            { type: 'asked', stream, n },
            (reply) => {
              settled()
              if (reply !== n) ledger.witness.broken('own-reply', `asked ${n}, got the answer to ${reply}`)
              return { type: 'answered', n: reply }
            },
            () => {
              settled()
              return { type: 'failed' }
            },
            { timeoutMs: 3_000 },
          )
          return true
        })
      } else {
        ledger.send(stream, true, (n) => ctx.tell(sink, { type: 'told', stream, n }))
      }
    }
    return {
      burst: ({ to, count }) => {
        for (let i = 0; i < count; i++) sendTo(to)
        ctx.timers.once(to, ledger.witness.world.choose(30, 'tick'), { type: 'tick', to })
      },
      tick: ({ to }) => sendTo(to),
      answered: () => undefined,
      failed: () => undefined,
      crash: () => {
        throw new Error('crashed')
      },
    }
  }) as unknown as AnyDefinition
}

export function runOrder(input: RunInput): Promise<RunResult> {
  const ledger = new OrderLedger()
  const nodes = [{ zone: 'x' }, { zone: 'x' }, { zone: 'y' }, { zone: 'z' }]
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes,
      faults: allFaults,
      actors: (boot) => ({ sink: sinkOf(ledger, boot), source: sourceOf(ledger, boot) }),
    },
    (world) => order(world, ledger),
  )
}

async function order(world: World, ledger: OrderLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const names = world.nodes.map(({ name }) => name)
  const burst = (from: string, to: string, count: number): void => {
    const place = world.node(from)
    if (place.isUp) place.node.system.ref(Source, '/user/source').tell({ type: 'burst', to, count })
  }
  await world.parallel(names.length, async (index) => {
    for (let i = 0; i < 30; i++) {
      await world.sleep(20 + world.choose(20, 'pause') * 50)
      const from = names[index] as string
      const to = names[(index + 1 + world.choose(names.length - 1, 'to')) % names.length] as string
      burst(from, to, 1 + world.choose(8, 'count'))
      const place = world.node(from)
      if (place.isUp && world.chance(0.02, 'crash'))
        place.node.system.ref(Source, '/user/source').tell({ type: 'crash' })
    }
  })
  await witness.heal((node, to) => node.ref(Sink, to, '/user/sink').ask({ type: 'hello' }))

  // Now nothing is lost any more.
  const before = ledger.streams.map(({ sent }) => sent.length)
  for (const from of names) for (const to of names) if (from !== to) burst(from, to, 5)
  await world.sleep(10_000)
  for (const [number, { source, sent, to }] of ledger.streams.entries()) {
    if (source.boot.process?.isAlive !== true) continue
    for (const [n, { isHandled }] of sent.entries()) {
      if (n < (before[number] ?? 0)) continue
      world.check(
        'all-arrive-in-the-calm',
        isHandled,
        `message ${n} from ${witness.nameOf(source)} to ${to} got lost`,
      )
    }
  }
  world.check(
    'no-ask-hangs',
    witness.openAsks.length === 0,
    `${witness.openAsks.length} asks are open in the calm`,
  )
  await witness.shutdown()
}
