/** The links of one session between two nodes: they share one fate, and what becomes of a node does not hang on it. */
import type { ClusterNode, Link, Transport } from '@understudy/cluster'
import { test } from 'tap'
import { Puppet, puppet, watched } from '../support/runtime.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

/** A transport whose links can be got at, in the order in which they were made. */
interface Tapped extends Transport {
  readonly accepted: Link[]
  readonly dialled: Link[]
  /** The codes with which accepted links ended, as this side sees them. */
  readonly ends: Map<number, string>
  /** The codes with which this side closed accepted links. */
  readonly closes: Map<number, string>
  /** Called with the number of each dial, from 0, before it is made. */
  onDial: (count: number) => void
  /** Called for each frame of an accepted link, and for its end (-1), with their numbers: passing it on is the test's. */
  onFrame: (link: number, frame: number, pass: () => void) => void
}

function tapped(cluster: VirtualCluster, host: string): Tapped {
  const inner = cluster.network.transport(host)
  const tap: Tapped = {
    accepted: [],
    dialled: [],
    ends: new Map(),
    closes: new Map(),
    onDial: () => undefined,
    onFrame: (_link, _frame, pass) => pass(),
    listen: (address, onLink, options) =>
      inner.listen(
        address,
        (link) => {
          const number = tap.accepted.push(link) - 1
          let frames = 0
          let taken: (frame: Uint8Array) => void
          onLink({
            send: link.send,
            onDrain: link.onDrain,
            established: link.established,
            get bufferedBytes() {
              return link.bufferedBytes
            },
            get remoteAddress() {
              return link.remoteAddress
            },
            onFrame: (callback) => {
              // What is passed on late is for whoever listens then: behind the handshake it is the session.
              taken = callback
              link.onFrame((frame) => tap.onFrame(number, frames++, () => taken(frame)))
            },
            onClose: (callback) => {
              link.onClose((reason) => {
                tap.ends.set(number, reason.code)
                tap.onFrame(number, -1, () => callback(reason))
              })
            },
            close: (code) => {
              tap.closes.set(number, code ?? '')
              link.close(code)
            },
          })
        },
        options,
      ),
    dial: async (address, options) => {
      tap.onDial(tap.dialled.length)
      const link = await inner.dial(address, options)
      tap.dialled.push(link)
      return link
    },
  }
  return tap
}

interface Pair {
  readonly a: ClusterNode
  readonly b: ClusterNode
  /** Of `a`, who accepts all links. */
  readonly left: Tapped
  /** Of `b`, who dials all links. */
  readonly right: Tapped
}

async function pair(cluster: VirtualCluster, options: StartOptions = {}): Promise<Pair> {
  const [left, right] = [tapped(cluster, 'a'), tapped(cluster, 'b')]
  const a = await cluster.start('a', { ...options, transport: left })
  const b = await cluster.start('b', { ...options, seeds: ['a'], transport: right })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  a.system.spawn('p', puppet({ who: () => 'a' }))
  return { a, b, left, right }
}

void test('PeerLinks: the data lane is dialled when it is first needed; when it breaks all links of the session end', async (t) => {
  await using cluster = virtualCluster()
  const { a, b, left, right } = await pair(cluster)
  t.equal(right.dialled.length, 1, 'control')
  const ref = b.ref(Puppet, 'a', '/user/p')
  t.equal(await cluster.result(ref.ask({ type: 'ask', step: 'who' })), 'a')
  t.equal(right.dialled.length, 2, 'and data')
  const events: string[] = []
  for (const node of [a, b]) {
    node.events.on('member-suspected', ({ name }) => void events.push(`suspected ${name}`))
    node.events.on('member-down', ({ name }) => void events.push(`down ${name}`))
  }
  left.accepted[1]?.close('CLUSTER_LINK_LOST')
  await cluster.until(() => right.dialled.length >= 3)
  t.equal(await cluster.result(untilAnswered(cluster, () => ref.ask({ type: 'ask', step: 'who' }))), 'a')
  t.equal(right.dialled.length, 4, 'a session of its own')
  t.same(
    events.filter((line) => line.startsWith('down')),
    [],
  )
  await cluster.advance(10_000)
  for (const node of [a, b]) {
    t.same(
      node.members().map(({ status }) => status),
      ['alive', 'alive'],
    )
  }
  t.same(
    [left.ends.get(0), left.ends.get(1)],
    ['CLUSTER_LANE_LOST', 'CLUSTER_LINK_LOST'],
    'the control link went with it',
  )
})

void test('PeerLinks: CLUSTER_LANE_LOST, when a lane cannot be dialled: told, and tried again with a new session', async (t) => {
  await using cluster = virtualCluster()
  const { a, b, right } = await pair(cluster)
  const refused: string[] = []
  b.events.on('peer-refused', ({ code }) => void refused.push(code))
  right.onDial = (count) => {
    if (count === 1) {
      right.onDial = () => undefined
      throw Object.assign(new Error('no'), { code: 'CLUSTER_DIAL_TIMEOUT' })
    }
  }
  const ref = b.ref(Puppet, 'a', '/user/p')
  const first = watched(ref.ask({ type: 'ask', step: 'who' }))
  await cluster.until(() => first.state !== 'open')
  t.match(first.error, { code: 'CLUSTER_NODE_DOWN' })
  t.same(refused, ['CLUSTER_LANE_LOST'])
  t.equal(b.status().refused['CLUSTER_LANE_LOST'], 1)
  t.equal(await cluster.result(untilAnswered(cluster, () => ref.ask({ type: 'ask', step: 'who' }))), 'a')
  t.same(
    a.members().map(({ status }) => status),
    ['alive', 'alive'],
  )
})

void test('PeerLinks: CLUSTER_LANE_ORPHAN, when the session ends while its lane shakes hands', async (t) => {
  await using cluster = virtualCluster({ secret: 'a secret of the cluster' })
  const { b, left, right } = await pair(cluster)
  const waiting: (() => void)[] = []
  // hello, proof, accept: with the last one the lane would be there. All behind it waits too, as on a slow network.
  left.onFrame = (link, frame, go) => {
    if (link === 1 && (frame >= 2 || frame === -1)) waiting.push(go)
    else go()
  }
  const ref = b.ref(Puppet, 'a', '/user/p')
  const first = watched(ref.ask({ type: 'ask', step: 'who' }))
  await cluster.until(() => waiting.length > 0)
  left.accepted[0]?.close('CLUSTER_LINK_LOST')
  await cluster.platform.settle()
  t.match(first.error, { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'unknown' } })
  for (const go of waiting.splice(0)) go()
  t.equal(left.closes.get(1), 'CLUSTER_LANE_ORPHAN')
  left.onFrame = (_link, _frame, go) => go()
  await cluster.platform.settle()
  t.equal(await cluster.result(untilAnswered(cluster, () => ref.ask({ type: 'ask', step: 'who' }))), 'a')
  t.ok(right.dialled.length >= 4)
})

void test('PeerLinks: a lane is dialled behind the first word of the peer, whose handshake may end later than ours', async (t) => {
  await using cluster = virtualCluster({ secret: 'a secret of the cluster' })
  const [dialler, acceptor] = [tapped(cluster, 'a'), tapped(cluster, 'b')]
  const b = await cluster.start('b', { transport: acceptor })
  b.system.spawn('p', puppet({ who: () => 'b' }))
  const waiting: (() => void)[] = []
  // hello, proof, accept: the last word of the handshake is late, and no later link has to wait for it.
  acceptor.onFrame = (link, frame, go) => {
    if (link === 0 && frame >= 2) waiting.push(go)
    else go()
  }
  const a = await cluster.start('a', { seeds: ['b'], transport: dialler })
  const refused: string[] = []
  for (const node of [a, b]) node.events.on('peer-refused', ({ code }) => void refused.push(code))
  await cluster.until(() => waiting.length > 0)
  const first = watched(a.ref(Puppet, 'b', '/user/p').ask({ type: 'ask', step: 'who' }))
  await cluster.advance(20)
  t.equal(dialler.dialled.length, 1, 'control alone')
  t.equal(first.state, 'open')
  acceptor.onFrame = (_link, _frame, go) => go()
  for (const go of waiting.splice(0)) go()
  await cluster.until(() => first.state !== 'open')
  t.equal(first.value, 'b')
  t.equal(dialler.dialled.length, 2, 'and data')
  t.same(refused, [])
})

/** `b` leaves, with an answer as its last word on the data lane, which is slow: what comes there waits for `go`. */
async function leavingBehindSlowLane(cluster: VirtualCluster, drainMs?: number) {
  const both = await pair(cluster, { drainMs })
  const { a, b, left, right } = both
  let answer: (value: string) => void = () => undefined
  b.system.spawn('p', puppet({ late: () => new Promise((resolve) => (answer = resolve)) }))
  const last = watched(a.ref(Puppet, 'b', '/user/p').ask({ type: 'ask', step: 'late' }))
  await cluster.until(() => right.dialled.length === 2)
  // It hears the good-bye at once, and dials on: its seeds are for ever.
  const c = await cluster.start('c', { seeds: ['a', 'b'] })
  await cluster.result(c.whenMembers(3))
  const told: string[] = []
  a.events.on('member-leaving', () => void told.push('leaving'))
  a.events.on('member-left', () => void told.push('left'))
  const { clock } = cluster.platform
  const startedMs = clock.monotonicMs()
  let tookMs: number | undefined
  const ending = b.shutdown().then(() => (tookMs = clock.monotonicMs() - startedMs))
  await cluster.advance(100)
  if (told.join() !== 'leaving') throw new Error(`node "b" should be leaving by now, but: ${told.join()}`)
  const waiting: (() => void)[] = []
  left.onFrame = (link, _frame, pass) => void (link === 1 ? waiting.push(pass) : pass())
  answer('done')
  await cluster.until(() => waiting.length > 0)
  const go = (): void => {
    left.onFrame = (_link, _frame, pass) => pass()
    for (const pass of waiting.splice(0)) pass()
  }
  return { ...both, last, told, ending, go, tookMs: () => tookMs }
}

void test('PeerLinks: who leaves keeps its links until the others have read its last words on every lane', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const { a, b, left, last, told, ending, go, tookMs } = await leavingBehindSlowLane(cluster)
  const removals: string[] = []
  b.events.on('self-removed', ({ by, reason }) => void removals.push(`by ${by}: ${reason}`))
  await cluster.advance(800)
  t.equal(tookMs(), undefined, 'its next life does not begin before')
  t.equal(last.state, 'open')
  t.same(told, ['leaving'])
  t.same([...left.ends.values()], [], 'no link has ended')
  go()
  await cluster.until(() => last.state !== 'open')
  t.equal(last.value, 'done')
  await cluster.result(ending)
  t.same(told, ['leaving', 'left'])
  t.ok((tookMs() ?? 0) < 1_100, `${tookMs()} ms`)
  t.same(removals, [])
  const again = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(again.whenMembers(2))
  await cluster.until(() => a.members().every(({ status }) => status === 'alive'))
})

for (const [drainMs, mostMs] of [
  [undefined, 1_400],
  [600, 600],
] as const) {
  void test(`PeerLinks: nobody who leaves waits for long for who does not read, with drainMs ${drainMs}`, async (t) => {
    await using cluster = virtualCluster({ shutdownMs: 30_000 })
    const { last, ending, tookMs } = await leavingBehindSlowLane(cluster, drainMs)
    await cluster.result(ending)
    const took = tookMs() ?? 0
    t.ok(took <= mostMs && took >= Math.min(mostMs, 1_000), `${took} ms`)
    t.equal(last.state, 'open', 'what comes late is read all the same, as long as no next life knocks')
  })
}

/** Asks again while there is no link. */
async function untilAnswered<T>(cluster: VirtualCluster, askOnce: () => Promise<T>): Promise<T> {
  const { clock } = cluster.platform
  for (;;) {
    try {
      return await askOnce()
    } catch {
      await new Promise<void>((resolve) => clock.setTimer(clock.monotonicMs() + 50, resolve))
    }
  }
}
