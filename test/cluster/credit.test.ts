/** Back-pressure by credit, and what of a session may still reach an actor once it is over. */
import { actor, ask, protocol, tell, type ActorRef } from '@understudy/runtime'
import { encode } from '@understudy/runtime/codec'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { gate, Puppet, puppet, watched } from '../support/runtime.ts'
import { sessionPair, type PairOptions, type SessionPair, type Side } from '../support/session-pair.ts'

const Sink = protocol('sink', { take: tell({ n: Type.Integer() }), ask: ask(Type.Integer()) })
type SinkRef = ActorRef<typeof Sink.messages>
const Log = protocol('log', { line: tell({ text: Type.String() }) })

interface Stage extends AsyncDisposable {
  readonly pair: SessionPair
  readonly ref: SinkRef
  readonly seen: number[]
  /** Lets the slow actor go on. */
  readonly open: () => void
}

/** An actor on b that is stuck in its first message, and takes the rest when it is let go. */
async function stage(options: PairOptions = {}): Promise<Stage> {
  const pair = await sessionPair({ creditHigh: 600, creditAllowance: 50, ...options })
  const { passed, open } = gate()
  const seen: number[] = []
  pair.b.system.spawn(
    'slow',
    actor(Sink, () => ({
      take: async ({ n }) => {
        if (seen.length === 0) await passed
        seen.push(n)
      },
      ask: () => seen.length,
    })),
  )
  const ref = pair.a.ref(Sink, '/user/slow')
  return { pair, ref, seen, open, [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose]() }
}

/** Sends until it is refused; returns how many were taken. */
async function fill(pair: SessionPair, ref: SinkRef, from = 0, batch = 100): Promise<number> {
  for (let n = from; ; n++) {
    if (!ref.tell({ type: 'take', n })) return n - from
    if (n > 100_000) throw new Error('it is not bounded')
    if (n % batch === 0) await pair.settle()
  }
}

void test('S10.2 remote: a slow actor takes its credit back; room() waits, tells and asks are refused, and it goes on', async (t) => {
  await using play = await stage()
  const { pair, ref, seen } = play
  const taken = await fill(pair, ref)
  t.ok(taken >= 650 && taken <= 850, `${taken} were taken: the mark, a batch on its way, the allowance`)
  t.match(pair.a.session.status(), { withoutCredit: 1 })
  t.match(pair.b.session.status(), { withheld: 1 })
  const asked = watched(ref.ask({ type: 'ask' }))
  const room = watched(ref.room())
  await pair.settle()
  t.match(asked.error, {
    code: 'CLUSTER_LINK_FULL',
    message: /too many messages wait for it on node "b"; wait for ref\.room\(\)/,
    details: { node: 'b', type: 'ask', why: 'no credit' },
  })
  t.equal(room.state, 'open')
  t.equal(pair.a.system.deadLetters().filter(({ reason }) => reason === 'link-full').length, 2)
  play.open()
  await pair.settle()
  t.equal(room.state, 'resolved')
  t.match(pair.a.session.status(), { withoutCredit: 0 })
  t.match(pair.b.session.status(), { withheld: 0 })
  ref.tell({ type: 'take', n: taken })
  await pair.settle()
  t.equal(pair.a.system.kernel.waiters, 0)
  t.same(
    seen,
    Array.from({ length: taken + 1 }, (_, n) => n),
    'what was taken arrived, in order',
  )
})

void test('S10.2 remote: who asks for room between batches loses nothing, however slow the other is', async (t) => {
  await using play = await stage({ creditAllowance: 256 })
  const { pair, ref, seen } = play
  let sent = 0
  let refused = 0
  const produce = async (): Promise<void> => {
    while (sent < 5_000) {
      for (let n = 0; n < 128; n++) if (!ref.tell({ type: 'take', n: sent++ })) refused++
      await ref.room()
    }
  }
  const done = watched(produce())
  await pair.settle()
  t.equal(done.state, 'open')
  t.ok(sent < 1_500, `${sent} were sent`)
  play.open()
  await pair.advance(10)
  t.same([done.state, refused, seen.length], ['resolved', 0, sent])
  t.equal(pair.a.system.kernel.waiters, 0, 'each wait was counted once')
})

void test("S10.2 remote: credit is the recipient's own: others are sent to, whatever ref names the slow one", async (t) => {
  await using play = await stage()
  const { pair, ref } = play
  await fill(pair, ref)
  const fine: string[] = []
  pair.b.system.spawn('p', puppet({ x: () => void fine.push('x') }))
  t.equal(pair.a.ref(Puppet, '/user/p').tell({ type: 'do', step: 'x' }), true)
  await pair.settle()
  t.same(fine, ['x'])
  t.equal(pair.a.ref(Sink, '/user/slow').tell({ type: 'take', n: 0 }), false, 'another ref to the same path')
  const room = watched(pair.a.ref(Puppet, '/user/p').room())
  await pair.settle()
  t.equal(room.state, 'resolved')
})

void test('S10.2 remote: a slow actor stops no lane: control, answers and others are read while it sleeps', async (t) => {
  await using play = await stage()
  const { pair, ref } = play
  const taken = await fill(pair, ref)
  pair.b.system.spawn('p', puppet({ x: () => 'there' }))
  const asked = watched(pair.a.ref(Puppet, '/user/p').ask({ type: 'ask', step: 'x' }))
  pair.a.session.gossip(['still', 'here'])
  pair.a.session.heartbeat(1, 'ping')
  await pair.settle()
  t.equal(asked.value, 'there')
  t.same(pair.b.told, ['gossip ["still","here"]', 'ping 1'])
  t.equal(pair.b.system.resolve('/user/slow')?.depth, taken - 1, 'all that was taken waits there')
})

void test('S10.2 remote: when the slow actor ends, its senders hear that instead of waiting for room', async (t) => {
  await using play = await stage()
  const { pair, ref } = play
  await fill(pair, ref)
  const room = watched(ref.room())
  const stopping = pair.b.system.stop(pair.b.system.ref(Sink, '/user/slow'))
  play.open()
  await stopping
  await pair.settle()
  t.equal(room.state, 'resolved')
  const asked = watched(ref.ask({ type: 'ask' }))
  await pair.settle()
  t.match(asked.error, { code: 'RUNTIME_NO_SUCH_ACTOR' })
})

void test('S10.2 remote: an actor that works off its queue before it ends does not give and take credit meanwhile', async (t) => {
  await using play = await stage()
  const { pair, ref, seen } = play
  const taken = await fill(pair, ref)
  await pair.settle()
  const drained = pair.b.system.stop(pair.b.system.ref(Sink, '/user/slow'), 'drain')
  const { uid } = pair.b.system.resolve('/user/slow') ?? {}
  const bound = pair.a.hub.refFromParts(['b', 1, '/user/slow', uid, 'sink'])
  await pair.settle()
  let words = 0
  const link = pair.b.links['control'] as { send: (frame: Uint8Array) => unknown }
  const { send } = link
  link.send = (frame) => {
    words++
    return send(frame)
  }
  for (let n = 0; n < 40; n++) {
    t.equal(bound.tell({ type: 'take', n } as never), true)
    await pair.settle()
  }
  t.equal(words, 0)
  play.open()
  await drained
  t.equal(seen.length, taken)
})

void test('S10.2 remote: waiters of a lost session reject with NodeDown; aborted ones are forgotten', async (t) => {
  await using play = await stage()
  const { pair, ref } = play
  await fill(pair, ref)
  const controller = new AbortController()
  const given = watched(ref.room({ signal: controller.signal }))
  const room = watched(ref.room())
  await pair.settle()
  controller.abort()
  await pair.settle()
  t.match(given.error, { code: 'RUNTIME_ABORTED' })
  t.equal(room.state, 'open')
  pair.b.links['control']?.close('CLUSTER_LINK_LOST')
  await pair.settle()
  t.match(room.error, { code: 'CLUSTER_NODE_DOWN' })
  t.same(
    [pair.a.system.kernel.waiters, pair.b.system.kernel.waiters],
    [0, 0],
    'nobody waits for the slow one',
  )
  play.open()
  await pair.settle()
})

void test('S10.2 remote: an actor whose own low-water mark is above ours keeps its credit', async (t) => {
  await using pair = await sessionPair({ creditHigh: 10 })
  const { passed, open } = gate()
  pair.b.system.spawn(
    'p',
    puppet({ wait: () => passed, x: () => undefined }, { mailbox: { lowWater: 10_000 } }),
  )
  const ref = pair.a.ref(Puppet, '/user/p')
  ref.tell({ type: 'do', step: 'wait' })
  let words = 0
  const link = pair.b.links['control'] as { send: (frame: Uint8Array) => unknown }
  const { send } = link
  link.send = (frame) => {
    words++
    return send(frame)
  }
  for (let n = 0; n < 2_000; n++) ref.tell({ type: 'do', step: 'x' })
  await pair.settle()
  t.equal(words, 0, 'it did not change its mind for each message')
  open()
  await pair.settle()
})

void test('PeerSession: credit is bounded: a peer that takes back more than anybody can have is cut off', async (t) => {
  await using pair = await sessionPair()
  for (let from = 0; from < 66_000 && !pair.a.session.isClosed; from += 500) {
    const frame = Array.from({ length: 500 }, (_, n) => [15, [0, `/user/${from + n}`, null], 0])
    pair.b.links['control']?.send(encode(frame))
    await pair.settle()
  }
  t.match(pair.a.told[0], /fault table-full: too many recipients have no credit/)
})

// ---- When it is over

const Lossy = protocol('lossy', { hit: tell() }, { delivery: 'lossy' })

/** Actors on b that write down whatever reaches them, by way of each lane and the lossy path. */
function targets(side: Side, seen: string[]): void {
  const Lanes = protocol('lanes', {
    data: tell(),
    control: tell({}, { lane: 'control' }),
    bulk: tell({}, { lane: 'bulk' }),
  })
  side.system.spawn(
    'lanes',
    actor(Lanes, () => ({
      data: () => void seen.push('data'),
      control: () => void seen.push('control'),
      bulk: () => void seen.push('bulk'),
    })),
  )
  side.system.spawn(
    'lossy',
    actor(Lossy, () => ({ hit: () => void seen.push('lossy') })),
  )
}
const Lanes = protocol('lanes', {
  data: tell(),
  control: tell({}, { lane: 'control' }),
  bulk: tell({}, { lane: 'bulk' }),
})

void test('S1.1 remote: once a session is closed nothing of any lane reaches an actor, though its frames arrive', async (t) => {
  const late: (() => void)[] = []
  await using pair = await sessionPair({ unreliable: (_protocol, _type, deliver) => void late.push(deliver) })
  const seen: string[] = []
  targets(pair.b, seen)
  const ref = pair.a.ref(Lanes, '/user/lanes')
  const lossy = pair.a.ref(Lossy, '/user/lossy')
  const all = (): void => {
    for (const type of ['data', 'control', 'bulk'] as const) ref.tell({ type })
    lossy.tell({ type: 'hit' })
  }
  all()
  await pair.settle()
  t.same(seen.splice(0).toSorted(), ['bulk', 'control', 'data'])
  t.equal(late.length, 1, 'the lossy one is on its way')
  for (const link of Object.values(pair.a.links)) link.hold()
  all()
  await pair.settle()
  pair.b.hub.memberGone('a', 1)
  for (const link of Object.values(pair.a.links)) link.release()
  for (const deliver of late) deliver()
  await pair.settle()
  t.equal(pair.b.session.isClosed, true)
  t.same(seen, [])
  t.equal(late.length, 1, 'what came later is not even looked at')
})

void test('S1.1 remote: what stands in one frame behind the end of its session reaches nobody', async (t) => {
  await using pair = await sessionPair({ lanes: false })
  const log = probe(pair.b.system, Log)
  pair.a.system.spawn('p', puppet({}))
  void log.act((ctx) => void ctx.watch(pair.b.ref(Puppet, '/user/p'), (text) => ({ type: 'line', text })))
  const seen: string[] = []
  targets(pair.b, seen)
  await pair.settle()
  const told = pair.b.told.length
  pair.a.links['control']?.send(
    encode([
      [0, 0, 'lanes', 'data', []],
      [2, [0, '/user/lanes', null], 0, []],
      // More lanes than there are: a fault, and the session is over.
      [13, 1],
      [2, [0, '/user/lanes', null], 0, []],
      [8, 1, 'stopped', null],
      [10, 1, 0],
      [11, 'bye'],
      [12, 'gossip'],
      [15, [0, '/user/x', null], 0],
      [16],
    ]),
  )
  await pair.settle()
  t.same(seen, ['data'])
  t.same(
    pair.b.told.slice(told).filter((line) => !/^fault|^lost/.test(line)),
    [],
  )
  t.same(log.received, [])
})

void test('S7.1 remote: node-down stands behind all of that life that was delivered, and nothing comes behind it', async (t) => {
  await using pair = await sessionPair()
  const log = probe(pair.b.system, Log)
  pair.a.system.spawn('p', puppet({}))
  void log.act((ctx) => void ctx.watch(pair.b.ref(Puppet, '/user/p'), (text) => ({ type: 'line', text })))
  await pair.settle()
  const back = pair.a.ref(Log, log.ref.path)
  for (const text of ['one', 'two']) back.tell({ type: 'line', text })
  await pair.settle()
  pair.a.links['data']?.hold()
  back.tell({ type: 'line', text: 'too late' })
  await pair.settle()
  pair.b.hub.memberGone('a', 1)
  pair.b.hub.memberGone('a', 1)
  pair.a.links['data']?.release()
  await pair.settle()
  t.same(
    log.received.map(({ text }) => text),
    ['one', 'two', 'node-down'],
  )
})

void test('S7.1 remote: the notice of an end travels on the data lane, behind the last message there', async (t) => {
  await using pair = await sessionPair()
  const log = probe(pair.a.system, Log)
  const back = pair.b.ref(Log, log.ref.path)
  pair.b.system.spawn(
    'p',
    puppet({
      leave: (ctx) => {
        ctx.tell(back, { type: 'line', text: 'last' })
        ctx.stop()
      },
    }),
  )
  const ref = pair.a.ref(Puppet, '/user/p')
  void log.act((ctx) => void ctx.watch(ref, (text) => ({ type: 'line', text })))
  await pair.settle()
  pair.b.links['data']?.hold()
  ref.tell({ type: 'do', step: 'leave' })
  await pair.settle()
  t.same(log.received, [])
  pair.b.links['data']?.release()
  await pair.settle()
  t.same(
    log.received.map(({ text }) => text),
    ['last', 'stopped'],
  )
})
