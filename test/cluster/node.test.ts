/** Nodes on virtual time: how they find each other, lose each other, come back, and end. */
import { startNode, type ClusterNode, type NodeOptions } from '@understudy/cluster'
import { actor, ask, isActorError, memoryMetrics, protocol } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { Puppet, puppet } from '../support/runtime.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Tally = protocol('tally', { count: ask(Type.Integer()) })
const tally = actor(Tally, () => {
  let n = 0
  return { count: () => ++n }
})

const three = ['a', 'b', 'c'] as const

async function startThree(
  cluster: VirtualCluster,
  options: StartOptions = {},
): Promise<[ClusterNode, ClusterNode, ClusterNode]> {
  const nodes = []
  for (const name of three) nodes.push(await cluster.start(name, { seeds: three, ...options }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  return nodes as [ClusterNode, ClusterNode, ClusterNode]
}

const names = (node: ClusterNode): string =>
  node
    .members()
    .map(({ name, status }) => `${name} ${status}`)
    .join(', ')

function heard(node: ClusterNode): readonly string[] {
  const lines: string[] = []
  for (const name of [
    'member-joined',
    'member-up',
    'member-suspected',
    'member-unreachable',
    'member-recovered',
    'member-leaving',
    'member-left',
  ] as const) {
    node.events.on(name, (event) => void lines.push(`${name} ${event.name}`))
  }
  node.events.on('member-down', ({ name, reason }) => void lines.push(`member-down ${name} ${reason}`))
  return lines
}

void test('startNode: three nodes with the same seeds find each other and agree', async (t) => {
  await using cluster = virtualCluster({ weight: 1 })
  const nodes = await startThree(cluster)
  for (const node of nodes) {
    t.equal(names(node), 'a alive, b alive, c alive')
    t.equal(node.address, cluster.addressOf(node.name))
    const shares = [...node.shares().values()]
    t.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-9)
    t.match(node.status(), {
      name: node.name,
      incarnation: node.incarnation,
      refused: {},
      membership: { self: { name: node.name } },
    })
  }
  const views = new Set(nodes.map((node) => node.status().membership.viewId))
  t.equal(views.size, 1)
})

void test('ClusterNode.members: what a node says of itself is seen on every node, also by one that hears of it from others', async (t) => {
  await using cluster = virtualCluster()
  const own = { weight: 2, zone: 'west', roles: ['web', 'admin'], version: '3.1' }
  const a = await cluster.start('a', { ...own, entities: [tally] })
  const b = await cluster.start('b', { seeds: ['a'], version: '3.0' })
  const c = await cluster.start('c', { seeds: ['b'] })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  for (const node of [a, b, c]) {
    const [first, second, third] = node.members()
    t.match(first, { name: 'a', status: 'alive', ...own, entities: ['tally'] }, node.name)
    t.match(second, { name: 'b', weight: 0, zone: undefined, roles: [], version: '3.0', entities: [] })
    t.match(third, { name: 'c', weight: 0, roles: [], version: '' })
  }
})

void test('ClusterNode.shutdown: leaves no timer and no hold, and its peers see it leave at once', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const events = heard(a)
  const report = await cluster.result(c.shutdown('enough'))
  t.match(report, { clean: true, hung: [], failed: [] })
  await cluster.advance(0)
  t.equal(names(a), 'a alive, b alive')
  t.equal(names(b), 'a alive, b alive')
  t.same(events, ['member-leaving c', 'member-left c'])
  t.equal((await cluster.result(b.shutdown())).clean, true)
  t.equal((await cluster.result(a.shutdown())).clean, true)
  t.equal(cluster.platform.pendingTimers(), 0)
  t.equal(cluster.platform.holds(), 0)
})

void test('ClusterNode.shutdown: gives up a dial that nobody answers', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  cluster.network.hold('a')
  const timers = cluster.platform.pendingTimers()
  const b = await cluster.start('b', { seeds: ['a'] })
  t.ok(cluster.platform.pendingTimers() > timers, 'the dial is under way')
  const fromMs = cluster.platform.clock.monotonicMs()
  t.match(await cluster.result(b.shutdown()), { clean: true })
  t.ok(cluster.platform.clock.monotonicMs() - fromMs < 1_000, 'it was not waited for')
  t.equal(cluster.platform.pendingTimers(), timers, 'nothing of it is left')
  cluster.network.release('a')
  t.equal((await cluster.result(a.shutdown())).clean, true)
  t.equal(cluster.platform.pendingTimers(), 0)
})

void test('ClusterNode.shutdown: ends handshakes under way', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  // A stranger who says nothing: the handshake would take its whole time.
  const link = await cluster.network.transport('z').dial(a.address as never)
  link.onFrame(() => undefined)
  const closed = new Promise<string>((resolve) => link.onClose(({ code }) => resolve(code)))
  t.equal((await cluster.result(a.shutdown())).clean, true)
  t.match(await closed, /CLUSTER_NODE_LEFT|CLUSTER_LISTENER_CLOSED/)
  t.equal(cluster.platform.pendingTimers(), 0)
})

void test('ClusterNode.whenMembers: rejects when given up and when the node ends', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  await cluster.result(a.whenMembers(1))
  const controller = new AbortController()
  const given = cluster.outcome(a.whenMembers(2, { signal: controller.signal }))
  controller.abort()
  t.match(await given, { error: { code: 'RUNTIME_ABORTED', message: /sees 1/ } })
  t.match(await cluster.outcome(a.whenMembers(2, { signal: AbortSignal.abort() })), {
    error: { code: 'RUNTIME_ABORTED' },
  })
  const waiting = cluster.outcome(a.whenMembers(2))
  await cluster.stop()
  t.match(await waiting, { error: { code: 'RUNTIME_STOPPED', message: /has shut down/ } })
  t.match(await cluster.outcome(a.whenMembers(2)), { error: { code: 'RUNTIME_STOPPED' } })
})

void test('a member that dies is down, and back at its address as a higher incarnation', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const events = heard(a)
  cluster.crash(c)
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  // Its port refuses: on one machine that is proof, and nobody has to suspect it first.
  t.same(events, ['member-down c refused'])
  const again = await cluster.start('c', { seeds: three })
  await cluster.result(Promise.all([a.whenMembers(3), b.whenMembers(3), again.whenMembers(3)]))
  t.ok(again.incarnation > c.incarnation)
  t.same(events.slice(1), ['member-joined c', 'member-up c'])
})

void test('a member that is silent is suspected, unreachable, and down once its side of the split is known', async (t) => {
  for (const membership of ['local', 'lan'] as const) {
    await using cluster = virtualCluster({ membership })
    const [a, b] = await startThree(cluster)
    const events = heard(a)
    const decided: string[] = []
    a.events.on('downing-decided', ({ decision, goes }) => void decided.push(`${decision} ${goes.join()}`))
    cluster.network.hold('c')
    await cluster.until(() => a.members().length === 2 && b.members().length === 2)
    t.same(events, ['member-suspected c', 'member-unreachable c', 'member-down c unreachable'], membership)
    t.ok(decided.length <= 1 && decided.every((line) => line === 'down-others c'))
    t.equal(names(a), 'a alive, b alive')
    cluster.network.release('c')
  }
})

void test('NodeOptions.membership: the phi-accrual detector in place of probes', async (t) => {
  await using cluster = virtualCluster({ membership: { preset: 'lan', detector: { phi: {} } } })
  const [a, b] = await startThree(cluster)
  const suspicions: string[] = []
  for (const node of [a, b]) {
    node.events.on('member-suspected', ({ name, reason }) => void suspicions.push(`${name} ${reason}`))
  }
  await cluster.advance(60_000)
  t.same(suspicions, [])
  cluster.network.hold('c')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  t.ok(suspicions.includes('c silent'), suspicions.join())
  t.notOk(suspicions.includes('c probe-failed'))
  cluster.network.release('c')
})

void test('without proof of death a refused dial is a suspicion only', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const [a, b, c] = await startThree(cluster)
  const events = heard(a)
  cluster.crash(c)
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  t.same(events, ['member-suspected c', 'member-unreachable c', 'member-down c unreachable'])
})

void test('a member that comes back before its death was noticed replaces its old life at once', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const events = heard(a)
  // Nobody is told of the end: its old links stand until the new life comes.
  const goOn = [cluster.stall(a), cluster.stall(b)]
  cluster.crash(c)
  await cluster.advance(1)
  const again = await cluster.start('c', { seeds: three })
  await cluster.until(() => again.members().length === 3 && a.members()[2]?.incarnation === again.incarnation)
  for (const go of goOn) go()
  await cluster.advance(5_000)
  t.same(
    events.filter((line) => !/suspected|recovered/.test(line)),
    ['member-down c replaced', 'member-joined c', 'member-up c'],
  )
  for (const node of [a, b, again]) t.equal(names(node), 'a alive, b alive, c alive')
})

void test('the links of a node that leaves are closed by who has read its good-bye', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const b = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  await cluster.result(b.shutdown())
  await cluster.advance(10)
  t.same([...new Set(cluster.ends('b'))], ['CLUSTER_MEMBER_LEFT'], 'control and data')
  t.same([...new Set(cluster.ends('a'))], ['CLUSTER_MEMBER_LEFT'])
})

void test('a member whose link breaks and comes back within its deadline is the same one', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startThree(cluster)
  cluster.network.hold('b')
  await cluster.advance(1_500)
  cluster.network.release('b')
  await cluster.advance(5_000)
  t.equal(names(a), 'a alive, b alive, c alive')
  t.equal(a.members()[1]?.incarnation, b.incarnation)
})

void test('self-removed: whom the others gave up comes back as a higher incarnation, its actors anew, the others as they were', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster, { entities: [tally] })
  const removed: string[] = []
  for (const node of [a, b, c])
    node.events.on('self-removed', ({ by }) => void removed.push(`${node.name} by ${by}`))
  const before = c.incarnation
  const others = [a.incarnation, b.incarnation]
  c.system.spawn('kept', puppet({}))
  const key = keyOwnedBy(c)
  t.same(await cluster.outcome(c.entity(Tally, key).ask({ type: 'count' })), { value: 1 })
  t.same(await cluster.outcome(c.entity(Tally, key).ask({ type: 'count' })), { value: 2 })
  cluster.network.hold('c')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2 && c.members().length === 1)
  cluster.network.release('c')
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  await cluster.advance(10_000)
  t.ok(c.incarnation > before)
  t.same([a.incarnation, b.incarnation], others, 'the majority keeps its actors')
  t.equal(removed.length, 1)
  t.match(removed[0], /^c by /)
  t.equal(c.system.lookup(Puppet, '/user/kept'), undefined, 'what was spawned in the old life is gone')
  t.same(await cluster.outcome(a.entity(Tally, key).ask({ type: 'count' })), { value: 1 })
  for (const node of [a, b, c]) t.equal(names(node), 'a alive, b alive, c alive')
})

function keyOwnedBy(node: ClusterNode): string {
  for (let n = 0; n < 1_000; n++) if (node.ownerOf(Tally, `key-${n}`) === node.name) return `key-${n}`
  throw new Error(`node "${node.name}" owns none of a thousand keys`)
}

void test('a start with a wall clock that was set back ends joined, above the highest incarnation that was seen', async (t) => {
  for (const secret of [undefined, 'a secret of the cluster']) {
    await using cluster = virtualCluster({ secret })
    const [a, b, c] = await startThree(cluster)
    const high = c.incarnation
    cluster.crash(c)
    await cluster.until(() => a.members().length === 2 && b.members().length === 2)
    const again = await cluster.start('c', { seeds: three, wallMs: 1_000 })
    await cluster.until(
      () => again.members().length === 3 && a.members().length === 3 && b.members().length === 3,
    )
    t.equal(again.incarnation, high + 1)
    // Each number that it took on the way is in a line of the log.
    const rejoins = cluster.logOf('c').filter(({ fields }) => 'by' in fields)
    const taken = rejoins.map(({ fields }) => fields['incarnation'])
    t.same(taken, [high + 1], 'and was never, not for a moment, the life that is over')
    await cluster.advance(20_000)
    t.equal(again.incarnation, high + 1, 'and stays')
    t.equal(again.status().membership.self.incarnation, high + 1)
    for (const node of [a, b, again]) {
      t.equal(names(node), 'a alive, b alive, c alive')
      t.equal(node.members()[2]?.incarnation, high + 1)
    }
  }
})

void test('a start with a wall clock that was set back, while its old life is only suspected, is not taken for it', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const high = c.incarnation
  cluster.crash(c)
  await cluster.advance(1)
  const again = await cluster.start('c', { seeds: three, wallMs: 1_000 })
  await cluster.until(
    () => again.members().length === 3 && a.members().length === 3 && b.members().length === 3,
  )
  await cluster.advance(10_000)
  t.equal(again.incarnation, high + 1)
  t.equal(a.members()[2]?.incarnation, high + 1)
})

void test('a start with a wall clock that was set back is told so also when only the others dial', async (t) => {
  for (const secret of [undefined, 'a secret of the cluster']) {
    await using cluster = virtualCluster({ secret })
    const a = await cluster.start('a', { seeds: ['c'] })
    const c = await cluster.start('c')
    await cluster.result(a.whenMembers(2))
    const high = c.incarnation
    cluster.crash(c)
    await cluster.until(() => a.members().length === 1)
    const again = await cluster.start('c', { wallMs: 1_000 })
    await cluster.until(() => again.members().length === 2 && a.members().length === 2)
    t.equal(again.incarnation, high + 1)
  }
})

void test('two nodes of one name: both are told, the first stays', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const first = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(a.whenMembers(2))
  const second = await cluster.start('b', { seeds: ['a'], listen: cluster.addressOf('elsewhere') })
  await cluster.advance(3_000)
  t.equal(names(a), 'a alive, b alive')
  t.equal(a.members()[1]?.incarnation, first.incarnation)
  t.equal(names(second), 'b alive')
  t.ok((a.status().refused['CLUSTER_NODE_NAME_TAKEN'] ?? 0) > 0)
  t.ok((second.status().refused['CLUSTER_NODE_NAME_TAKEN'] ?? 0) > 0)
  for (const log of [cluster.logOf('a'), cluster.logOf('b')]) {
    const lines = log.filter(({ fields }) => fields['code'] === 'CLUSTER_NODE_NAME_TAKEN')
    t.equal(lines.length, 1, 'once for peer and code')
    t.match(lines[0]?.message, /choose another name/)
  }
  const told = cluster.logOf('b').filter(({ message }) => message.includes('living node'))
  t.ok(told.length > 0)
  for (const { message } of told)
    t.notMatch(message, /two living nodes are named "b", at [^ ]+:/, 'two have two places')
  t.ok(
    told.some(({ message }) => message.startsWith('another living node is named "b", as the one at ws://')),
  )
})

void test('a node that waits says so in its log, less and less often, until it is in a cluster', async (t) => {
  await using cluster = virtualCluster()
  const waiting = () =>
    cluster.logOf('b').filter(({ message }) => message.startsWith('not in a cluster yet: '))
  const b = await cluster.start('b', { seeds: ['a'], expect: 2 })
  await cluster.advance(9_000)
  t.equal(waiting().length, 0)
  await cluster.advance(22_000)
  const address = cluster.addressOf('a')
  const seeds = `seeds: ${address} CLUSTER_DIAL_REFUSED`
  t.equal(
    waiting()[0]?.message,
    `not in a cluster yet: waiting for 1 more of 2 expected members (met: b); ${seeds}`,
  )
  t.equal(waiting().length, 2, 'after 10 s, and 20 s later')
  await cluster.start('a', { expect: 2, seeds: ['b'] })
  await cluster.result(b.whenMembers(2))
  await cluster.advance(120_000)
  t.equal(waiting().length, 2)
})

void test('a node that founds a cluster alone says which seeds did not answer, and why', async (t) => {
  await using cluster = virtualCluster()
  await cluster.start('b', { seeds: ['a'] })
  await cluster.advance(10_000)
  const founded = cluster.logOf('b').filter(({ fields }) => fields['how'] === 'founded')
  t.same(
    founded.map(({ message }) => message),
    [`a cluster was founded with b, without ${cluster.addressOf('a')} (CLUSTER_DIAL_REFUSED)`],
  )
})

void test('a node that is its own seed does not dial itself', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a', { seeds: ['a'], listen: cluster.addressOf('a') })
  await cluster.advance(10_000)
  t.same(a.status().refused, {})
  t.equal(names(a), 'a alive')
  t.same(cluster.ends('a'), [])
})

void test('wrong secret, wrong cluster name, no secret on one side: refused and counted at both ends', async (t) => {
  const secret = 'sixteen characters'
  const cases: [string, StartOptions, StartOptions][] = [
    ['CLUSTER_WRONG_SECRET', { secret }, { secret: `${secret}!` }],
    ['CLUSTER_WRONG_SECRET', { secret }, {}],
    ['CLUSTER_WRONG_CLUSTER', { cluster: 'one' }, { cluster: 'two' }],
  ]
  for (const [code, one, two] of cases) {
    const metrics = memoryMetrics()
    await using cluster = virtualCluster()
    const a = await cluster.start('a', { ...one, metrics })
    const b = await cluster.start('b', { seeds: ['a'], ...two })
    const events: string[] = []
    a.events.on('peer-refused', (event) => void events.push(event.code))
    await cluster.advance(30_000)
    t.equal(names(a), 'a alive')
    t.equal(names(b), 'b alive')
    for (const node of [a, b]) t.ok((node.status().refused[code] ?? 0) >= 2, `${node.name} counts ${code}`)
    t.ok(events.length >= 2 && events.every((each) => each === code))
    const counted = metrics
      .read()
      .find(({ name, labels }) => name === 'understudy_refused_total' && labels['code'] === code)
    t.match(counted, { value: a.status().refused[code] })
    t.equal(cluster.logOf('a').filter(({ fields }) => fields['code'] === code).length, 1, 'logged once')
    const honest = await cluster.start('c', { seeds: ['a'], ...one })
    await cluster.result(honest.whenMembers(2))
  }
})

// ---- What a user gets wrong

const whole: NodeOptions = { name: 'a', listen: 'ws://127.0.0.1:0' }

async function startError(options: Partial<NodeOptions>): Promise<Error & { code?: string }> {
  const platform = virtualPlatform()
  const { memoryNetwork } = await import('@understudy/cluster')
  const transport = memoryNetwork({ schedule: queueMicrotask }).transport('a')
  try {
    const node = await startNode({ ...whole, platform, transport, ...options })
    await node.shutdown()
    throw new Error('it started')
  } catch (error) {
    await platform.settle()
    if (platform.holds() !== 0 || platform.pendingTimers() !== 0)
      throw new Error('something is left behind', { cause: error })
    return error as Error
  }
}

void test('startNode: a wrong option is refused before anything is opened, and the message names the mend', async (t) => {
  const Twin = protocol('twin', { x: ask(Type.Null()) })
  const twin = (name: string) => actor(Twin, { name }, () => ({ x: () => null }))
  const cases: [Partial<NodeOptions>, RegExp, string?][] = [
    [{ name: 'no spaces' }, /"name" must be 1 to 63 of letters/],
    [{ name: '' }, /"name" must be/],
    [{ name: '.hidden' }, /begin with a letter or digit/],
    [{ name: 'n'.repeat(64) }, /"name" must be/],
    [{ secret: 'short' }, /"secret": it must have at least 16 characters, got 5/],
    [
      { listen: 'ws://0.0.0.0:0' },
      /give all nodes the same "secret" \(or "tls" with .*\), or listen on ws:\/\/127\.0\.0\.1/,
      'CLUSTER_NO_SECRET',
    ],
    [
      { listen: 'ws://0.0.0.0:7001', secret: 's'.repeat(16) },
      /others cannot dial a wildcard; give "advertise"/,
    ],
    [{ listen: 'http://127.0.0.1:1' }, /it must be "ws:\/\/host:port"/, 'CLUSTER_BAD_ADDRESS'],
    [{ listen: '127.0.0.1' }, /for example "ws:\/\/127\.0\.0\.1:7001"/, 'CLUSTER_BAD_ADDRESS'],
    [{ seeds: ['ws://127.0.0.1'] }, /it must be "ws:\/\/host:port"/, 'CLUSTER_BAD_ADDRESS'],
    [{ seeds: ['ws://127.0.0.1:0'] }, /give the port that is listened on/, 'CLUSTER_BAD_ADDRESS'],
    [{ weight: -1 }, /"weight" must be from 0 to 1000, got -1/],
    [{ nmae: 'b' } as never, /Cannot start node "a": there is no option "nmae"; there are name, listen, /],
    [{ admit: { name: ['b'] } } as never, /no option "admit.name"; there are names, addresses, /],
    [{ admission: { alowAddresses: [] } } as never, /no option "admission.alowAddresses"; there are /],
    [{ downing: { stableAfterMS: 1 } } as never, /no option "downing.stableAfterMS"; there are strategy, /],
    [
      { downing: 'down-all' } as never,
      /"downing" must be an object with any of strategy, .*; got the string "down-all"/,
    ],
    [{ membership: { probeInterval: 1 } } as never, /no option "membership.probeInterval"; there are /],
    [{ cluster: '' }, /"cluster" must have 1 to 128 characters/],
    [{ zone: 'z'.repeat(129) }, /"zone" must have 1 to 128 characters, got 129/],
    [{ membership: { probeIntervalMs: 1 } }, /probeIntervalMs 1: it must be from 10 to 600000/],
    [{ expect: 0 }, /expect/],
    [{ handshakeTimeoutMs: 0 }, /handshakeTimeoutMs/],
    [{ frameBytesMax: 10 }, /frameBytesMax/],
    [{ entities: [twin('one'), twin('one')] }, /the entity "one" is in "entities" twice/],
    [{ entities: [twin('one'), twin('two')] }, /give each a protocol of its own/],
    [{ entities: [twin('a b')] }, /give actor\(\) another "name"/],
    [{ spawnable: [twin('one'), twin('one')] }, /two of "spawnable" are named "one"/],
    [{ spawnable: [{}] as never }, /"spawnable" must be a list of definitions/],
    [{ roles: ['r'.repeat(65)] }, /each of "roles" must have 1 to 64 characters/],
    [{ roles: Array.from({ length: 17 }, String) }, /"roles" must be a list of at most 16 texts/],
    [{ version: 'v'.repeat(65) }, /"version" must have at most 64 characters, got 65/],
    [{ onRemoved: 'die' as never }, /"onRemoved" must be "rejoin" or "exit"; got the string "die"/],
    [{ downing: { strategy: 'static-quorum' } }, /quorumSize/],
    [{ admit: { addresses: ['10.0.0.0/99'] } }, /10\.0\.0\.0\/99/],
    [{ drainMs: -1 }, /"drainMs" must be 0 or more milliseconds, got -1/],
    [{ drainMs: Number.NaN }, /"drainMs" must be/],
    [
      { entities: Array.from({ length: 65 }, () => tally) },
      /"entities" takes at most 64 definitions, got 65/,
    ],
  ]
  for (const [options, message, code] of cases) {
    const error = await startError(options)
    t.match(error.message, message, message.source)
    t.equal(error.code, code)
  }
})

void test('startNode: a port in use is told with the mend, and nothing is left behind', async (t) => {
  await using cluster = virtualCluster()
  await cluster.start('a')
  const second = cluster.start('b', { listen: cluster.addressOf('a') })
  const outcome = await cluster.outcome(second)
  t.match(outcome, { error: { code: 'CLUSTER_PORT_IN_USE', message: /give another port, or 0 for any/ } })
  t.equal(cluster.platform.holds(), 1, 'only the first holds the process')
})

void test('ClusterNode.ref: a path without a slash is refused with the mend, also through ctx.ref and system.ref', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  t.throws(() => a.ref(Puppet, 'b', 'orders'), {
    message: /a path begins with "\/", such as "\/user\/orders"/,
  })
  t.throws(() => a.system.ref(Puppet, 'orders'), { message: /write "\/user\/name", or "node:\/user\/name"/ })
  t.throws(() => a.system.ref(Puppet, 'b:orders'), { message: /node:\/user\/name/ })
  t.equal(a.system.ref(Puppet, 'b:/user/orders').path, 'b:/user/orders')
  t.equal(a.system.ref(Puppet, 'a:/user/orders').path, '/user/orders', 'its own name is no detour')
})

void test('startNode: the system goes when the static tree does not come up', async (t) => {
  const platform = virtualPlatform()
  const root = puppet(
    {},
    {
      setup: () => {
        throw new Error('no')
      },
    },
  )
  const starting = startNode({ ...whole, platform, root: root as never })
  let error: unknown
  starting.catch((reason: unknown) => (error = reason))
  for (let n = 0; n < 100 && error === undefined; n++) await platform.advance(1_000)
  t.ok(isActorError(error, 'RUNTIME_START_FAILED'))
  t.equal(platform.holds(), 0)
  t.equal(platform.pendingTimers(), 0)
})
