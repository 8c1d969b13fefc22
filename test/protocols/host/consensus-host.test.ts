/** The consensus host of a node: order, gathering, turns, timers, restarts, ends. On virtual nodes and a network in memory. */
import { actor, protocol } from '@understudy/runtime'
import { test } from 'tap'
import { virtualCluster } from '../../support/virtual-cluster.ts'
import {
  FlakyDisk,
  inTurn,
  openConsensus,
  openNoting,
  startNodes,
  type Consensus,
  type HostLane,
} from './host-under-test.ts'

const store = 'memory'

void test('messages arrive in order within a lane, with the name and the store of their sender', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const hosts = [await cluster.result(openConsensus(a)), await cluster.result(openConsensus(b))] as const
  const stores: string[] = []
  const one = await openNoting(cluster, hosts[0], 'g')
  const two = await openNoting(cluster, hosts[1], 'g')
  const receive = two.member().receive.bind(two.member())
  two.member().receive = (from, id, payload) => {
    stores.push(id)
    receive(from, id, payload)
  }
  for (const lane of ['control', 'data', 'bulk'] satisfies HostLane[]) {
    two.lines.length = 0
    for (let turn = 0; turn < 20; turn++) {
      await inTurn(cluster, one.member(), () => {
        for (let i = 0; i < 5; i++) t.ok(one.member().port.send('b', 5 * turn + i, lane))
      })
    }
    await cluster.advance(100)
    t.same(
      two.lines,
      Array.from({ length: 100 }, (_, n) => `a ${n}`),
      lane,
    )
  }
  t.match(hosts[0].storeId, /^[0-9a-f]{16}$/)
  t.not(hosts[0].storeId, hosts[1].storeId)
  t.same([...new Set(stores)], [hosts[0].storeId])
})

void test('what all groups send to one node in one turn travels in one batch a lane', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startNodes(cluster, ['a', 'b', 'c'])
  const hosts: Consensus[] = []
  for (const node of nodes) hosts.push(await cluster.result(openConsensus(node, { store })))
  const [first, second] = hosts
  if (first === undefined || second === undefined) return
  const groups = ['g1', 'g2', 'g3']
  const here = await Promise.all(groups.map((name) => openNoting(cluster, first, name)))
  const there = await Promise.all(groups.map((name) => openNoting(cluster, second, name)))
  const before = first.status()
  for (const { member } of here) {
    member().port.later(() => {
      for (const node of ['b', 'c']) {
        member().port.send(node, `${member().port.group} d`, 'data')
        member().port.send(node, `${member().port.group} c`, 'control')
      }
    })
  }
  await cluster.platform.settle()
  const after = first.status()
  t.equal(after.messagesSent - before.messagesSent, 12)
  t.equal(after.batchesSent - before.batchesSent, 4)
  await cluster.advance(10)
  t.same(
    there.map(({ lines }) => [...lines].sort()),
    groups.map((name) => [`a ${name} c`, `a ${name} d`]),
  )
})

void test('a batch stays below the size of a frame, whatever a turn sends', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const one = await openNoting(cluster, await cluster.result(openConsensus(a)), 'g')
  const host = await cluster.result(openConsensus(b))
  const two = await openNoting(cluster, host, 'g')
  const lengths: number[] = []
  two.member().receive = (_from, _store, payload) => {
    lengths.push(((payload as readonly unknown[])[1] as Uint8Array).byteLength)
  }
  await inTurn(cluster, one.member(), () => {
    for (let i = 0; i < 40; i++) one.member().port.send('b', ['append', new Uint8Array(100_000 + i)], 'data')
  })
  await cluster.advance(100)
  t.same(
    lengths,
    Array.from({ length: 40 }, (_, i) => 100_000 + i),
  )
  t.equal(host.status().batchesReceived, 20)
})

void test('messages for groups that are not open are counted and answered nothing', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const one = await openNoting(cluster, await cluster.result(openConsensus(a)), 'g')
  const host = await cluster.result(openConsensus(b))
  await inTurn(cluster, one.member(), () => void one.member().port.send('b', 'hello', 'data'))
  await cluster.advance(1_000)
  t.equal(host.status().unknownGroup, 1)
  t.same(one.lines, [])
})

void test('afterLoop: in a turn of the host, behind what was sent and what is in the mailbox; not once it has ended', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const group = await openNoting(cluster, await cluster.result(openConsensus(a)), 'g')
  const other = await openNoting(cluster, await cluster.result(openConsensus(b)), 'g')
  const { port } = group.member()
  const seen: (readonly string[])[] = []
  await inTurn(cluster, group.member(), () => {
    port.send('b', 'hello', 'data')
    port.afterLoop(() => seen.push([...other.lines]))
    port.later(() => port.later(() => seen.push(['later'])))
  })
  await cluster.advance(1)
  t.same(seen, [['later'], other.lines])
  t.equal(other.lines.length, 1, 'it had arrived by then')
  let closed = Promise.resolve()
  await inTurn(cluster, group.member(), () => {
    port.afterLoop(() => t.fail('it ran after the end'))
    closed = group.close()
  })
  await cluster.result(closed)
  await cluster.advance(1)
})

void test('later: behind what is in the mailbox, one turn for each, in order', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const { member } = await openNoting(cluster, await cluster.result(openConsensus(a)), 'g')
  const { port } = member()
  const steps: string[] = []
  await inTurn(cluster, member(), () => {
    port.later(() => {
      steps.push('third')
      port.later(() => steps.push('fifth'))
    })
    port.later(() => steps.push('fourth'))
    steps.push('first')
    steps.push('second')
  })
  t.same(steps, ['first', 'second', 'third', 'fourth', 'fifth'])
})

void test('pipe: results come in turns, in the order in which they were there; errors where they are wanted', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const { member, lives } = await openNoting(cluster, consensus, 'g')
  const { port } = member()
  const steps: string[] = []
  const resolvers: ((value: string) => void)[] = []
  const promises = [0, 1, 2].map(() => new Promise<string>((resolve) => resolvers.push(resolve)))
  for (const promise of promises) port.pipe(promise, (value) => steps.push(value))
  resolvers[2]?.('c')
  resolvers[0]?.('a')
  resolvers[1]?.('b')
  port.pipe(
    Promise.reject(new Error('no')),
    () => steps.push('never'),
    (error) => steps.push(String(error)),
  )
  t.same(steps, [])
  await cluster.platform.settle()
  t.same(steps, ['c', 'a', 'b', 'Error: no'])
  t.equal(lives(), 1)
  port.pipe(Promise.reject(new Error('nobody takes it')), () => steps.push('never'))
  await cluster.advance(1_000)
  t.equal(lives(), 2)
  t.equal(consensus.status().restarts, 1)
})

void test('one timer for all: each group is ticked at its deadline, also when that was moved', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const startMs = cluster.platform.clock.monotonicMs()
  const opened = []
  for (let i = 0; i < 100; i++) {
    const group = await openNoting(cluster, consensus, `g${i}`)
    // Later, then earlier, then later again: the last word counts.
    for (const delayMs of [5_000, 10, 1_000 + 10 * i]) {
      group.member().dueMs = startMs + delayMs
      group.member().port.rearm()
    }
    opened.push(group)
  }
  const timers = cluster.platform.pendingTimers()
  await cluster.advance(500)
  t.ok(cluster.platform.pendingTimers() <= timers + 2)
  t.same(
    opened.map(({ lines }) => lines.length),
    opened.map(() => 0),
  )
  await cluster.advance(10_000)
  t.same(
    opened.map(({ lines }) => lines),
    opened.map((_, i) => [`tick ${startMs + 1_000 + 10 * i}`]),
  )
})

void test('a failed write ends the life of the host; the next one opens the store and every group anew', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const disk = new FlakyDisk()
  const consensus = await cluster.result(openConsensus(a, { store: disk.open }))
  const groups = [
    await openNoting(cluster, consensus, 'g1'),
    await openNoting(cluster, consensus, 'g2'),
  ] as const
  const other = await openNoting(cluster, await cluster.result(openConsensus(b)), 'g1')
  const { storeId } = consensus
  const old = groups[0].member()
  await cluster.result(old.port.store.write([{ type: 'put', key: 'k', value: new Uint8Array([7]) }]))
  disk.isFull = true
  const written = old.port.store.write([{ type: 'put', key: 'k', value: new Uint8Array([8]) }])
  let hasRun = false
  old.port.pipe(written, () => (hasRun = true))
  old.dueMs = cluster.platform.clock.monotonicMs() + 100
  old.port.rearm()
  await cluster.platform.settle()
  disk.isFull = false
  t.same(groups[0].lines, ['close restart'])
  t.same(groups[1].lines, ['close restart'])
  t.notOk(disk.isOpen, 'it is closed before it is opened again')
  // Nothing of the old life has an effect any more.
  t.notOk(old.port.send('b', 'late', 'data'))
  old.port.later(() => (hasRun = true))
  old.port.pipe(Promise.resolve(), () => (hasRun = true))
  await cluster.advance(1_000)
  t.notOk(hasRun)
  t.equal(disk.opens, 2)
  t.equal(groups[0].lives(), 2)
  t.equal(groups[1].lives(), 2)
  t.equal(consensus.storeId, storeId)
  t.same(groups[0].lines, ['close restart'])
  t.same(await cluster.result(groups[0].member().port.store.get('k')), new Uint8Array([7]))
  await inTurn(cluster, groups[0].member(), () => void groups[0].member().port.send('b', 'back', 'data'))
  await cluster.advance(10)
  t.same(other.lines, ['a back'])
  t.match(
    cluster
      .logOf('a')
      .filter(({ level }) => level === 'error')
      .map(({ message }) => message),
    [/consensus.*restart/i],
  )
})

void test('a store that breaks without a write restarts the host; on an empty disk it is another store', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  let disk = new FlakyDisk()
  const consensus = await cluster.result(openConsensus(a, { store: () => disk.open() }))
  const { lives } = await openNoting(cluster, consensus, 'g')
  const { storeId } = consensus
  const broken = disk
  disk = new FlakyDisk()
  broken.break()
  await cluster.advance(1_000)
  t.equal(lives(), 2)
  t.not(consensus.storeId, storeId)
})

void test('a disk that stays full costs the node its groups, not its other actors', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const disk = new FlakyDisk()
  const consensus = await cluster.result(openConsensus(a, { store: disk.open }))
  const { lives } = await openNoting(cluster, consensus, 'g', ({ port }) => {
    port.pipe(port.store.write([{ type: 'put', key: 'k', value: new Uint8Array(1) }]), () => undefined)
  })
  const Other = protocol('other', {})
  a.system.spawn(
    'other',
    actor(Other, () => ({})),
  )
  disk.isFull = true
  disk.break()
  await cluster.advance(120_000)
  t.ok(lives() > 8, `${lives()} lives`)
  t.ok(a.system.lookup(Other, '/user/other'))
  disk.isFull = false
  await cluster.advance(15_000)
  t.ok(consensus.status().groups.every(({ isOpen }) => isOpen))
  const restarts = consensus.status().restarts
  await cluster.advance(60_000)
  t.equal(consensus.status().restarts, restarts)
})

void test('a member that throws crashes the host, and all groups come back', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const one = await openNoting(cluster, consensus, 'g1')
  const two = await openNoting(cluster, consensus, 'g2')
  await inTurn(cluster, one.member(), () => {
    throw new Error('on purpose')
  })
  await cluster.advance(1_000)
  t.equal(one.lives(), 2)
  t.equal(two.lives(), 2)
})

void test('close of a group: nothing after it, the name is free, and the others go on', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const one = await openNoting(cluster, consensus, 'g')
  const other = await openNoting(cluster, consensus, 'h')
  const there = await openNoting(cluster, await cluster.result(openConsensus(b)), 'g')
  const member = one.member()
  member.dueMs = cluster.platform.clock.monotonicMs() + 50
  member.port.rearm()
  await cluster.platform.settle()
  const closing = one.close()
  member.port.later(() => t.fail('it ran after the end'))
  member.port.pipe(Promise.resolve(), () => t.fail('it ran after the end'))
  await cluster.result(closing)
  t.same(one.lines, ['close PROTOCOLS_GROUP_CLOSED', 'ended PROTOCOLS_GROUP_CLOSED'])
  t.same(consensus.groups(), ['h'])
  t.notOk(member.port.send('b', 'late', 'data'))
  await inTurn(cluster, there.member(), () => void there.member().port.send('a', 'x', 'data'))
  await cluster.advance(1_000)
  t.equal(one.lines.length, 2)
  await cluster.result(one.close())
  const again = await openNoting(cluster, consensus, 'g')
  await inTurn(cluster, there.member(), () => void there.member().port.send('a', 'y', 'data'))
  await cluster.advance(100)
  t.same(again.lines, ['b y'])
  t.same(other.lines, [])
})

void test('openGroup: what open rejects with, names that are none, and a name that is open', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const failing = consensus.openGroup('bad', () => Promise.reject(new Error('not readable')))
  t.match(await cluster.outcome(failing), { error: { message: 'not readable' } })
  t.same(consensus.groups(), [])
  t.match(await cluster.outcome(consensus.openGroup('a/b', () => Promise.reject(new Error('')))), {
    error: { message: /letters, digits/ },
  })
  await openNoting(cluster, consensus, 'g')
  t.match(await cluster.outcome(openNoting(cluster, consensus, 'g')), {
    error: {
      code: 'PROTOCOLS_GROUP_ALREADY_OPEN',
      message: /open already/,
      details: { group: 'g', node: 'a' },
    },
  })
  const alreadyOpen = { error: { code: 'PROTOCOLS_ALREADY_OPEN', message: /open already/ } }
  t.match(await cluster.outcome(openConsensus(a)), alreadyOpen)
  await cluster.result(consensus.close())
  // One that is being opened counts.
  const disk = new FlakyDisk()
  const opening = openConsensus(a, { store: disk.open })
  t.match(await cluster.outcome(openConsensus(a, { store: disk.open })), alreadyOpen)
  t.equal((await cluster.result(opening)).node, a)
  t.equal(consensus.status().restarts, 0)
})

void test('a store that cannot be opened at first is the caller’s to hear, and costs the node nothing', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const opening = openConsensus(a, { store: () => Promise.reject(new Error('no such directory')) })
  t.match(await cluster.outcome(opening), { error: { message: 'no such directory' } })
  t.ok(await cluster.result(openConsensus(a)))
})

void test('close of the host, and shutdown of the node: members closed, store closed, no timer left', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const disks = [new FlakyDisk(), new FlakyDisk()] as const
  const one = await cluster.result(openConsensus(a, { store: disks[0].open }))
  const two = await cluster.result(openConsensus(b, { store: disks[1].open }))
  const groups = [await openNoting(cluster, one, 'g'), await openNoting(cluster, two, 'g')] as const
  await cluster.result(one.close())
  t.notOk(disks[0].isOpen)
  t.match(await cluster.outcome(openNoting(cluster, one, 'h')), { error: { code: 'PROTOCOLS_GROUP_CLOSED' } })
  await cluster.result(b.shutdown())
  t.notOk(disks[1].isOpen)
  for (const { lines } of groups) {
    t.same(
      lines.filter((line) => !line.startsWith('unreachable')),
      ['close PROTOCOLS_GROUP_CLOSED', 'ended PROTOCOLS_GROUP_CLOSED'],
    )
  }
  // After it was closed it can be opened again, with what its store holds.
  const again = await cluster.result(openConsensus(a, { store: disks[0].open }))
  t.equal(again.storeId, one.storeId)
})

void test('a lost link is told to every group at once, and a node that is gone is not sent to', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await startNodes(cluster, ['a', 'b'])
  if (a === undefined || b === undefined) return
  const one = await openNoting(cluster, await cluster.result(openConsensus(a)), 'g')
  await cluster.result(openConsensus(b))
  cluster.cut(a)
  await cluster.advance(0)
  t.same(one.lines, ['unreachable b'])
  await cluster.advance(5_000)
  t.ok(one.member().port.send('b', 1, 'data'))
  await cluster.result(b.shutdown())
  await cluster.advance(100)
  t.notOk(one.member().port.send('b', 2, 'data'))
})

void test('what is refused when it is sent comes back as unreachable, and never as a loop', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const consensus = await cluster.result(openConsensus(a))
  const one = await openNoting(cluster, consensus, 'g', (member) => {
    member.onUnreachable = () => void member.port.send('z', 'again', 'data')
  })
  await inTurn(cluster, one.member(), () => void one.member().port.send('z', 'x', 'data'))
  t.same(one.lines, ['unreachable z'])
  t.ok(consensus.status().unsent <= 2)
})

void test('the directory is below the node’s own data, and the store’s id stays with it', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'], { data: 'disk-a' })
  if (a === undefined) return
  const one = await cluster.result(openConsensus(a))
  const { storeId } = one
  await cluster.result(one.close())
  t.equal((await cluster.result(openConsensus(a, { store: 'disk-a/consensus' }))).storeId, storeId)
})
