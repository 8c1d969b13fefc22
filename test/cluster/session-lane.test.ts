/** Lanes of a session: which link carries what, what waits where and how long, and in what order it ends. */
import { actor, ask, protocol, tell } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { test } from 'tap'
import Type from 'typebox'
import { gate, Puppet, puppet, watched } from '../support/runtime.ts'
import { sessionPair, type SessionPair, type Side } from '../support/session-pair.ts'

const Work = protocol('work', {
  plain: tell({ n: Type.Integer(), pad: Type.String() }),
  urgent: tell({ n: Type.Integer(), pad: Type.String() }, { lane: 'control' }),
  heavy: tell({ n: Type.Integer(), pad: Type.String() }, { lane: 'bulk' }),
  count: ask(Type.Integer()),
  askUrgent: ask({}, Type.Null(), { lane: 'control' }),
  askHeavy: ask({}, Type.Null(), { lane: 'bulk' }),
})
const laneOf = { plain: 'data', urgent: 'control', heavy: 'bulk' } as const
type Told = keyof typeof laneOf
const types = Object.keys(laneOf) as Told[]
const lanes = ['control', 'data', 'bulk'] as const

function worker(side: Side, seen: string[], path = 'w'): void {
  const note =
    (type: string) =>
    ({ n }: { readonly n: number }): void =>
      void seen.push(`${type} ${n}`)
  side.system.spawn(
    path,
    actor(Work, () => ({
      plain: note('plain'),
      urgent: note('urgent'),
      heavy: note('heavy'),
      count: () => seen.length,
      askUrgent: () => null,
      askHeavy: () => null,
    })),
  )
}

/** Holds what goes from `a` to `b` on all lanes but these. */
function only(pair: SessionPair, ...open: readonly string[]): void {
  for (const [lane, link] of Object.entries(pair.a.links)) {
    if (open.includes(lane)) link.release()
    else link.hold()
  }
}

const one = (type: Told, n = 1, pad = ''): { type: never; n: number; pad: string } => ({
  type: type as never,
  n,
  pad,
})

void test('PeerSession: a message goes on the lane of its type, and a lane is dialled by its first', async (t) => {
  await using pair = await sessionPair()
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  t.same(pair.a.session.links.length, 1)
  ref.tell(one('urgent'))
  await pair.settle()
  t.same(pair.wanted, [])
  ref.tell(one('plain'))
  ref.tell(one('heavy'))
  await pair.settle()
  t.same(pair.wanted, ['data', 'bulk'])
  t.same(seen.toSorted(), ['heavy 1', 'plain 1', 'urgent 1'])
  t.same(pair.a.session.links.length, 3)
  for (const type of types) {
    seen.length = 0
    only(pair, laneOf[type])
    for (const other of types) ref.tell(one(other))
    await pair.settle()
    t.same(seen, [`${type} 1`])
    only(pair, ...lanes)
    await pair.settle()
    t.equal(seen.length, 3)
  }
})

void test('PeerSession: who did not dial the control link asks for a lane, and who did dials it once', async (t) => {
  await using pair = await sessionPair({ isDialling: false })
  const seen: string[] = []
  worker(pair.a, seen)
  worker(pair.b, [])
  const ref = pair.b.ref(Work, '/user/w')
  ref.tell(one('plain', 1))
  await pair.settle()
  ref.tell(one('plain', 2))
  pair.a.ref(Work, '/user/w').tell(one('plain', 1))
  await pair.settle()
  t.same(pair.wanted, ['data'])
  t.same(seen, [])
  pair.dial('data')
  await pair.settle()
  t.same(seen, ['plain 1', 'plain 2'])
  t.same([...pair.a.told, ...pair.b.told], [])
})

void test('PeerSession: answers, failures and cancels go on the lane of their ask', async (t) => {
  await using pair = await sessionPair()
  worker(pair.b, [])
  const ref = pair.a.ref(Work, '/user/w')
  const nobody = pair.a.ref(Work, '/user/nobody')
  const all = (): readonly Promise<unknown>[] => [
    ref.ask({ type: 'count' }),
    ref.ask({ type: 'askUrgent' }),
    ref.ask({ type: 'askHeavy' }),
    nobody.ask({ type: 'askHeavy' }),
  ]
  const first = all().map((promise) => watched(promise))
  await pair.settle()
  t.same(
    first.map(({ state }) => state),
    ['resolved', 'resolved', 'resolved', 'rejected'],
  )
  for (const [lane, done] of [
    ['control', [1]],
    ['data', [0]],
    ['bulk', [2, 3]],
  ] as const) {
    for (const [name, link] of Object.entries(pair.b.links)) if (name !== lane) link.hold()
    const asks = all().map((promise) => watched(promise))
    await pair.settle()
    t.same(
      asks.flatMap(({ state }, index) => (state === 'open' ? [] : [index])),
      done,
    )
    for (const link of Object.values(pair.b.links)) link.release()
    await pair.settle()
  }
  let aborted = false
  const Slow = protocol('slow', { wait: ask({}, Type.Null(), { lane: 'bulk' }) })
  pair.b.system.spawn(
    'slow',
    actor(Slow, (ctx) => ({
      wait: async () => {
        ctx.call().signal.addEventListener('abort', () => (aborted = true))
        return new Promise<null>(() => undefined)
      },
    })),
  )
  const controller = new AbortController()
  const slow = watched(pair.a.ref(Slow, '/user/slow').ask({ type: 'wait' }, { signal: controller.signal }))
  await pair.settle()
  only(pair, 'control', 'data')
  controller.abort()
  await pair.settle()
  t.same([slow.state, aborted], ['rejected', false])
  only(pair, ...lanes)
  await pair.settle()
  t.same(aborted, true)
})

void test('S1.1 lanes: what one actor sends another on one lane arrives in order, whatever the lanes do', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: fc.constantFrom(...types) },
          {
            weight: 1,
            arbitrary: fc.constantFrom('settle', 'hold data', 'hold bulk', 'hold control', 'idle'),
          },
        ),
        { maxLength: 60 },
      ),
      async (steps) => {
        await using pair = await sessionPair({ laneIdleMs: 1_000 })
        const seen: string[] = []
        worker(pair.b, seen)
        const ref = pair.a.ref(Work, '/user/w')
        const sent: string[] = []
        for (const [n, step] of steps.entries()) {
          if (step === 'settle') await pair.settle()
          else if (step === 'idle') await pair.advance(2_500)
          else if (step.startsWith('hold')) {
            const link = pair.a.links[step.slice(5)]
            if (link?.isHeld === true) link.release()
            else link?.hold()
          } else if (ref.tell(one(step as Told, n))) sent.push(`${step} ${n}`)
        }
        await pair.settle()
        for (let round = 0; round < 3; round++) {
          only(pair, ...lanes)
          await pair.settle()
        }
        for (const type of types) {
          const ofType = (lines: readonly string[]): readonly string[] =>
            lines.filter((line) => line.startsWith(type))
          if (JSON.stringify(ofType(seen)) !== JSON.stringify(ofType(sent))) {
            throw new Error(`sent ${ofType(sent).join()}, seen ${ofType(seen).join()}`)
          }
        }
      },
    ),
    { numRuns: 150, seed: 4 },
  )
  t.pass()
})

void test('PeerSession: the membership is heard while bulk and data are stuck and their queues are full', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 8_192, frameBytesMax: 4_096 })
  worker(pair.b, [])
  const ref = pair.a.ref(Work, '/user/w')
  ref.tell(one('plain'))
  ref.tell(one('heavy'))
  await pair.settle()
  only(pair, 'control')
  for (const type of ['plain', 'heavy'] as const) {
    let n = 0
    while (ref.tell(one(type, n, 'x'.repeat(1_000)))) {
      await pair.settle()
      if (++n > 100) throw new Error('it is not bounded')
    }
    t.ok(n > 5, `${type}: ${n}`)
  }
  t.equal(pair.a.session.gossip({ hello: 1 }), undefined)
  pair.a.session.heartbeat(7, 'ping')
  pair.a.session.choose()
  await pair.settle()
  t.same(pair.b.told, ['gossip {"hello":1}', 'ping 7', 'chosen'])
})

void test('S10.2 lanes: a full lane refuses its own messages only, and room() waits for the lanes of the protocol', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 8_192, frameBytesMax: 4_096 })
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  ref.tell(one('heavy'))
  ref.tell(one('plain'))
  await pair.settle()
  pair.a.links['bulk']?.hold()
  while (ref.tell(one('heavy', 1, 'x'.repeat(1_000)))) await pair.settle()
  t.equal(ref.tell(one('plain', 2)), true)
  t.equal(ref.tell(one('urgent', 3)), true)
  const asked = watched(ref.ask({ type: 'askHeavy' }))
  await pair.settle()
  t.match(asked.error, { code: 'CLUSTER_LINK_FULL', details: { node: 'b', why: 'queue' } })
  t.same(seen.slice(-2).toSorted(), ['plain 2', 'urgent 3'])
  const room = watched(ref.room())
  const plain = watched(pair.a.ref(Puppet, '/user/p').room())
  await pair.settle()
  t.same([room.state, plain.state], ['open', 'resolved'])
  pair.a.links['bulk']?.release()
  await pair.settle()
  t.equal(room.state, 'resolved')
  t.equal(pair.a.system.deadLetters().filter(({ reason }) => reason === 'link-full').length > 0, true)
})

void test('SessionLane: who sends as fast as room() allows lets the loop come by', async (t) => {
  await using pair = await sessionPair()
  worker(pair.b, [])
  const ref = pair.a.ref(Work, '/user/w')
  const pad = 'x'.repeat(32_768)
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  ref.tell(one('heavy'))
  await pair.settle()
  setImmediate(turn)
  let refused = 0
  for (let n = 0; n < 256; n++) {
    if (!ref.tell(one('heavy', n, pad))) refused++
    await ref.room()
  }
  isOver = true
  t.ok(turns >= 20, `${turns} turns of the loop for 8 MiB that the link took at once`)
  t.equal(refused, 0)
  t.equal(pair.a.system.kernel.waiters, 0)
})

void test('SessionLane: room() waits as soon as the link is full; a batch that has begun is taken, and answers still leave', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 131_072, frameBytesMax: 4_096 })
  const seen: string[] = []
  worker(pair.b, seen)
  worker(pair.a, [])
  const ref = pair.a.ref(Work, '/user/w')
  ref.tell(one('plain'))
  await pair.settle()
  const link = pair.a.links['data']
  if (link !== undefined) link.outboundBytesMax = 4_096
  link?.hold()
  let sent = 1
  for (; sent <= 40; sent++) ref.tell(one('plain', sent, 'x'.repeat(1_000)))
  await pair.settle()
  const room = watched(ref.room())
  await pair.settle()
  t.equal(room.state, 'open', 'something waits for the link')
  while (ref.tell(one('plain', sent, 'x'.repeat(1_000)))) {
    if (++sent > 200) throw new Error('it is not bounded')
    await pair.settle()
  }
  const waiting = pair.a.session.status().lanes['data']?.waitingBytes ?? 0
  t.ok(waiting > 65_536 && waiting < 80_000, `${waiting} bytes wait: half of the queue`)
  const asked = watched(pair.b.ref(Work, '/user/w').ask({ type: 'count' }))
  await pair.settle()
  t.equal(pair.a.session.isClosed, false, 'there is room for an answer')
  link?.release()
  await pair.settle()
  t.same([room.state, asked.state], ['resolved', 'resolved'])
  t.same(seen, ['plain 1', ...Array.from({ length: sent - 1 }, (_, n) => `plain ${n + 1}`)])
})

void test('SessionLane: without a link yet it takes so many bytes, refuses more, and loses nothing it took', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 8_192, frameBytesMax: 4_096, isDialling: false })
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  let taken = 0
  while (ref.tell(one('plain', taken, 'x'.repeat(1_000)))) {
    taken++
    await pair.settle()
    if (taken > 100) throw new Error('it is not bounded')
  }
  t.ok(taken >= 8 && taken < 16, `${taken} were taken`)
  t.ok((pair.a.session.status().lanes['data']?.waitingBytes ?? 0) < 8_192 * 2)
  const room = watched(ref.room())
  await pair.settle()
  t.equal(room.state, 'open')
  pair.dial('data')
  await pair.settle()
  t.equal(room.state, 'resolved')
  t.same(
    seen,
    Array.from({ length: taken }, (_, n) => `plain ${n}`),
  )
})

void test('SessionLane: answers nobody reads are bounded: the session ends with all its links', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 8_192, frameBytesMax: 4_096 })
  const { passed, open } = gate()
  for (let n = 0; n < 40; n++) {
    pair.b.system.spawn(`p${n}`, puppet({ wait: () => passed.then(() => 'y'.repeat(1_000)) }))
  }
  const asks = Array.from({ length: 40 }, (_, n) =>
    watched(pair.a.ref(Puppet, `/user/p${n}`).ask({ type: 'ask', step: 'wait' })),
  )
  await pair.settle()
  pair.b.links['data']?.hold()
  open()
  await pair.settle()
  t.equal(pair.b.session.isClosed, true)
  t.same(
    lanes.slice(0, 2).map((lane) => pair.b.links[lane]?.ended),
    ['CLUSTER_LINK_FULL', 'CLUSTER_LINK_FULL'],
  )
  pair.b.links['data']?.release()
  await pair.settle()
  t.equal(pair.a.session.isClosed, true)
  t.equal(asks.filter(({ state }) => state === 'open').length, 0)
})

void test('SessionLane: gossip that nobody reads is bounded: the connection is reset', async (t) => {
  await using pair = await sessionPair({ outboundBytesMax: 8_192, frameBytesMax: 4_096 })
  pair.a.links['control']?.hold()
  let rounds = 0
  while (!pair.a.session.isClosed) {
    pair.a.session.gossip('x'.repeat(1_000))
    if (++rounds > 100) throw new Error('it is not bounded')
  }
  t.ok(rounds > 8 && rounds < 20, `${rounds}`)
  t.equal(pair.a.links['control']?.ended, 'CLUSTER_LINK_FULL')
})

void test('PeerSession: losing the link of any lane ends the session, and who waits learns it', async (t) => {
  for (const lane of lanes) {
    await using pair = await sessionPair()
    worker(pair.b, [])
    pair.b.system.spawn('p', puppet({ never: () => new Promise(() => undefined) }))
    const ref = pair.a.ref(Work, '/user/w')
    for (const type of types) ref.tell(one(type))
    const asked = watched(pair.a.ref(Puppet, '/user/p').ask({ type: 'ask', step: 'never' }))
    await pair.settle()
    pair.b.links[lane]?.close('CLUSTER_LINK_LOST')
    await pair.settle()
    t.same([pair.a.session.isClosed, pair.b.session.isClosed], [true, true], lane)
    t.match(asked.error, { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'unknown' } })
    t.equal(pair.a.session.attach('data', pair.a.links['data'] as never), false, 'it is over')
  }
})

// ---- Good-bye

void test('PeerSession.goodbye: is heard behind all data, though control is faster', async (t) => {
  await using pair = await sessionPair()
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  for (const type of types) ref.tell(one(type))
  await pair.settle()
  only(pair, 'control')
  ref.tell(one('plain', 2))
  ref.tell(one('heavy', 2))
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  t.same(pair.b.told, [])
  only(pair, 'control', 'bulk')
  await pair.settle()
  t.same(pair.b.told, [])
  only(pair, ...lanes)
  await pair.settle()
  t.same(pair.b.told, ['goodbye'])
  t.same(seen.slice(-2).toSorted(), ['heavy 2', 'plain 2'])
})

void test('PeerSession.goodbye: of who sent and left at once, what was sent is delivered first', async (t) => {
  await using pair = await sessionPair({ isDialling: false })
  const seen: string[] = []
  worker(pair.b, seen)
  pair.a.ref(Work, '/user/w').tell(one('plain'))
  pair.a.session.goodbye('the node leaves')
  const sent = watched(pair.a.session.whenSent())
  await pair.settle()
  t.same([pair.b.told, sent.state], [[], 'open'])
  pair.dial('data')
  await pair.settle()
  t.same([seen, pair.b.told, sent.state], [['plain 1'], ['goodbye'], 'resolved'])
})

void test('PeerSession.close: behind a good-bye what waits for a full link still leaves', async (t) => {
  await using pair = await sessionPair()
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  ref.tell(one('plain', 0))
  await pair.settle()
  const data = pair.a.links['data']
  if (data === undefined) throw new Error('there is no data lane')
  data.outboundBytesMax = 100
  data.hold()
  for (let n = 1; n <= 20; n++) {
    ref.tell(one('plain', n))
    pair.a.session.flush()
  }
  const asked = watched(ref.ask({ type: 'count' }))
  pair.a.session.goodbye('the node leaves')
  pair.a.session.close('this node leaves')
  await pair.settle()
  t.match([asked.state, asked.error], ['rejected', { code: 'CLUSTER_NODE_DOWN' }])
  t.same([seen.length, pair.b.told], [1, []])
  data.release()
  await pair.settle()
  t.same([seen.length, pair.b.told], [21, ['goodbye']])
})

void test('PeerSession.close: of two who leave at once neither waits for the other', async (t) => {
  await using pair = await sessionPair()
  worker(pair.b, [])
  pair.a.ref(Work, '/user/w').tell(one('plain'))
  await pair.settle()
  for (const { session } of [pair.a, pair.b]) {
    session.goodbye('the node leaves')
    session.close('this node leaves')
  }
  t.same([pair.a.links['control']?.ended, pair.a.links['data']?.ended], [undefined, undefined])
  await pair.settle()
  t.same(
    [pair.a.told, pair.b.told].flat().filter((line) => line !== 'lost'),
    [],
  )
  for (const { links } of [pair.a, pair.b]) {
    t.match([links['control']?.ended, links['data']?.ended], ['CLUSTER_NODE_LEFT', 'CLUSTER_NODE_LEFT'])
  }
})

void test('PeerSession.linkClosed: while a peer leaves, control may end before the other lanes are read', async (t) => {
  await using pair = await sessionPair()
  const seen: string[] = []
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  for (const type of types) ref.tell(one(type))
  await pair.settle()
  only(pair, 'control', 'bulk')
  ref.tell(one('plain', 2))
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  pair.a.links['control']?.close('CLUSTER_NODE_LEFT')
  pair.a.links['bulk']?.close('CLUSTER_NODE_LEFT')
  await pair.settle()
  t.same([pair.b.told, pair.b.session.isClosed], [['leaving', 'leaving'], false])
  only(pair, ...lanes)
  await pair.settle()
  t.same(pair.b.told.slice(0, 3), ['leaving', 'leaving', 'goodbye'])
  t.equal(pair.b.told.includes('lost'), false)
  t.equal(pair.b.told.filter((line) => line === 'goodbye').length, 1)
  t.equal(seen.at(-1), 'plain 2')
})

void test('PeerSession.linkClosed: a lane that never came does not keep a peer from having left', async (t) => {
  await using pair = await sessionPair({ isDialling: false })
  worker(pair.b, [])
  pair.a.ref(Work, '/user/w').tell(one('plain'))
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  t.same(pair.b.told, [])
  pair.a.links['control']?.close('CLUSTER_NODE_LEFT')
  await pair.settle()
  t.same(pair.b.told, ['goodbye', 'leaving'])
})

void test('PeerSession.linkClosed: without a good-bye on control the end of a lane is a loss', async (t) => {
  await using pair = await sessionPair()
  worker(pair.b, [])
  for (const type of types) pair.a.ref(Work, '/user/w').tell(one(type))
  await pair.settle()
  pair.a.links['control']?.hold()
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  t.same(pair.b.told, [])
  pair.b.links['control']?.close('CLUSTER_LINK_LOST')
  await pair.settle()
  t.same(pair.b.told[0], 'lost')
  t.equal(pair.b.told.includes('goodbye'), false)
})

void test('PeerSession.goodbye: on one link it is one word', async (t) => {
  await using pair = await sessionPair({ lanes: false })
  const seen: string[] = []
  worker(pair.b, seen)
  for (const type of types) pair.a.ref(Work, '/user/w').tell(one(type))
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  t.same([seen, pair.b.told, pair.wanted], [['plain 1', 'urgent 1', 'heavy 1'], ['goodbye'], []])
})

// ---- Idle lanes

void test('SessionLane: an idle lane is ended by who dialled it, and the next message opens another', async (t) => {
  await using pair = await sessionPair({ laneIdleMs: 1_000 })
  const seen: string[] = []
  worker(pair.a, seen)
  worker(pair.b, seen)
  const ref = pair.a.ref(Work, '/user/w')
  for (let n = 0; n < 3; n++) ref.tell(one('plain', n))
  await pair.settle()
  const first = pair.a.links['data']
  for (let n = 0; n < 5; n++) {
    await pair.advance(900)
    pair.a.ref(Work, '/user/nobody').tell(one('plain', n))
  }
  await pair.advance(900)
  t.equal(first?.ended, undefined)
  await pair.advance(1_200)
  t.equal(first?.ended, 'CLUSTER_LANE_IDLE')
  t.same([pair.a.session.links.length, pair.b.session.links.length], [1, 1])
  t.same([...pair.a.told, ...pair.b.told], [])
  // Numbers that the old link knew mean nothing on the new one.
  for (let n = 3; n < 6; n++) ref.tell(one('plain', n))
  await pair.settle()
  t.same(pair.wanted, ['data', 'data'])
  await pair.advance(3_000)
  t.same(pair.b.session.links.length, 1)
  for (let n = 6; n < 9; n++) pair.b.ref(Work, '/user/w').tell(one('plain', n))
  await pair.settle()
  t.same(pair.wanted, ['data', 'data', 'data'])
  t.same(
    seen,
    Array.from({ length: 9 }, (_, n) => `plain ${n}`),
  )
})

void test('SessionLane: a lane with an open ask or a watch is not idle', async (t) => {
  await using pair = await sessionPair({ laneIdleMs: 1_000 })
  const { passed, open } = gate()
  pair.b.system.spawn('p', puppet({ wait: () => passed }))
  const ref = pair.a.ref(Puppet, '/user/p')
  const asked = watched(ref.ask({ type: 'ask', step: 'wait' }, { timeoutMs: 60_000 }))
  await pair.advance(5_000)
  t.equal(pair.a.links['data']?.ended, undefined)
  open()
  await pair.settle()
  t.equal(asked.state, 'resolved')
  await pair.advance(3_000)
  t.equal(pair.a.links['data']?.ended, 'CLUSTER_LANE_IDLE')
  const Log = protocol('log', { line: tell({ text: Type.String() }) })
  const log = probe(pair.a.system, Log)
  void log.act((ctx) => void ctx.watch(ref, (text) => ({ type: 'line', text })))
  await pair.advance(5_000)
  t.equal(pair.a.links['data']?.ended, undefined)
  await pair.b.system.stop(pair.b.system.ref(Puppet, '/user/p'))
  await pair.settle()
  t.same(log.received, [{ type: 'line', text: 'stopped' }])
  await pair.advance(3_000)
  t.equal(pair.a.links['data']?.ended, 'CLUSTER_LANE_IDLE')
})

void test('SessionLane: what crosses the end of an idle lane is neither lost nor overtaken', async (t) => {
  await using pair = await sessionPair({ laneIdleMs: 1_000 })
  const seen: string[] = []
  worker(pair.a, seen)
  worker(pair.b, seen)
  const to = { a: pair.b.ref(Work, '/user/w'), b: pair.a.ref(Work, '/user/w') }
  to.b.tell(one('plain', 0))
  await pair.settle()
  const old = pair.a.links['data']
  // The end is on its way to b while b sends, and its answer is held while both send.
  pair.b.links['data']?.hold()
  old?.hold()
  await pair.advance(2_500)
  to.a.tell(one('plain', 1))
  await pair.settle()
  old?.release()
  await pair.settle()
  to.a.tell(one('plain', 2))
  to.b.tell(one('heavy', 3))
  to.b.tell(one('plain', 4))
  await pair.settle()
  t.same(seen, ['plain 0', 'heavy 3'])
  t.same(pair.wanted, ['data', 'bulk'], 'not before the old link has been read')
  pair.b.links['data']?.release()
  await pair.settle()
  t.same(pair.wanted, ['data', 'bulk', 'data'])
  t.same(
    seen.filter((line) => line !== 'plain 4'),
    ['plain 0', 'heavy 3', 'plain 1', 'plain 2'],
  )
  t.ok(seen.includes('plain 4'))
  t.same([...pair.a.told, ...pair.b.told], [])
})

void test('SessionLane: who is asked to end a lane first sends what waits for it', async (t) => {
  await using pair = await sessionPair({ laneIdleMs: 1_000, outboundBytesMax: 8_192, frameBytesMax: 4_096 })
  const seen: string[] = []
  worker(pair.a, seen)
  worker(pair.b, [])
  pair.a.ref(Work, '/user/w').tell(one('plain', 0))
  await pair.settle()
  const back = pair.b.ref(Work, '/user/w')
  const link = pair.b.links['data']
  link?.hold()
  let taken = 0
  while (back.tell(one('plain', taken, 'x'.repeat(1_000)))) {
    taken++
    await pair.settle()
  }
  t.ok((pair.b.session.status().lanes['data']?.waitingBytes ?? 0) > 0, 'something waits behind the full link')
  await pair.advance(2_500)
  t.equal(pair.b.links['data']?.ended, undefined)
  link?.release()
  await pair.settle()
  t.equal(pair.a.links['data']?.ended, 'CLUSTER_LANE_IDLE')
  t.same(
    seen,
    Array.from({ length: taken }, (_, n) => `plain ${n}`),
  )
})

void test('SessionLane: only who dialled a lane ends it, and only on that lane', async (t) => {
  await using pair = await sessionPair()
  worker(pair.b, [])
  pair.a.ref(Work, '/user/w').tell(one('plain'))
  await pair.settle()
  const { encode } = await import('@understudy/runtime/codec')
  pair.b.links['data']?.send(encode([[14, 1]]))
  await pair.settle()
  t.match(pair.a.told[0], /fault bad-envelope: lane data was ended by the side that did not dial it/)
  await using other = await sessionPair()
  other.b.links['control']?.send(encode([[14, 1]]))
  await other.settle()
  t.match(other.a.told[0], /fault bad-envelope: lane data was ended on lane control/)
  await using third = await sessionPair()
  await using fourth = await sessionPair()
  worker(fourth.b, [])
  fourth.a.ref(Work, '/user/w').tell(one('plain'))
  await fourth.settle()
  // b cannot answer the end before its own queue is empty; nothing may come behind the end meanwhile.
  const answers = fourth.b.links['data']
  if (answers !== undefined) answers.outboundBytesMax = 0
  fourth.a.links['data']?.send(encode([[14, 1]]))
  await fourth.settle()
  t.same(fourth.b.told, [])
  fourth.a.links['data']?.send(encode([[9, 1]]))
  await fourth.settle()
  t.match(fourth.b.told[0], /fault bad-envelope: a frame came behind the end of lane data/)
  third.a.links['control']?.send(encode([[13, 1]]))
  await third.settle()
  t.match(third.b.told[0], /fault bad-envelope: lane data is not this side's to dial/)
})

void test('SessionLane: what speaks for the whole link is taken on control, and a fault elsewhere', async (t) => {
  const { encode } = await import('@understudy/runtime/codec')
  for (const [what, envelope] of [
    ['a heartbeat', [10, 1, 0]],
    ['gossip', [12, [4, []]]],
    ['the wish for a lane', [13, 2]],
    ['credit', [15, [0, '/user/w', null], 0]],
    ['the choice of the link', [16]],
  ] as const) {
    await using pair = await sessionPair()
    worker(pair.b, [])
    pair.a.ref(Work, '/user/w').tell(one('plain'))
    await pair.settle()
    pair.b.links['control']?.send(encode([envelope]))
    await pair.settle()
    t.same(
      pair.a.told.filter((line) => line.startsWith('fault')),
      [],
      `${what} on control`,
    )
    pair.b.links['data']?.send(encode([envelope]))
    await pair.settle()
    const fault = pair.a.told.find((line) => line.startsWith('fault'))
    t.equal(fault, `fault wrong-lane: ${what} came on lane data, it belongs on control`)
  }
})

// ---- Peers of another age

void test('PeerSession: a peer of wire version 1 is sent nothing that it does not know', async (t) => {
  await using pair = await sessionPair({ wireVersion: 1, creditHigh: 2 })
  const seen: string[] = []
  worker(pair.b, seen)
  const { decode } = await import('@understudy/runtime/codec')
  const tags = new Set<number>()
  for (const side of [pair.a, pair.b]) {
    const link = side.links['control'] as { send: (frame: Uint8Array) => unknown }
    const { send } = link
    link.send = (frame) => {
      for (const envelope of decode(frame) as unknown[][]) tags.add(envelope[0] as number)
      return send(frame)
    }
  }
  const ref = pair.a.ref(Work, '/user/w')
  const log = probe(pair.a.system, protocol('log', { line: tell({ text: Type.String() }) }))
  void log.act((ctx) => void ctx.watch(ref, (text) => ({ type: 'line', text })))
  for (let n = 0; n < 20; n++) for (const type of types) ref.tell(one(type, n))
  const asked = watched(ref.ask({ type: 'askHeavy' }))
  await pair.settle()
  const refusal = {
    reason: 'peer-too-old',
    problem: 'is of wire version 2, and with node "b" version 1 is spoken',
  }
  t.same(pair.a.session.gossip([1, 'news']), refusal)
  t.same(pair.a.session.choose(), refusal)
  await pair.settle()
  t.notOk(pair.a.session.isClosed || pair.b.session.isClosed, 'the peer has met nothing that it cannot read')
  pair.a.session.goodbye('the node leaves')
  await pair.settle()
  t.equal(asked.state, 'resolved')
  t.equal(seen.length, 60)
  t.same(pair.wanted, [])
  t.ok(tags.size > 4 && Math.max(...tags) <= 11, [...tags].join())
})
