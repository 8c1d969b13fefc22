/**
 * One test for each trap into which Raft implementations fell, by its number in docs/protocols/raft.md, where it stands how the
 * bug was put in and which random run found it.
 */
import { test } from 'tap'
import { LogImage, SafetyViolation, SessionTable, coresWith } from './core-under-test.ts'
import type { Cluster, MakeRaftCore, RaftEffect } from './core-under-test.ts'
import {
  HEARTBEAT,
  LoneCore,
  TIMEOUT,
  bytes,
  calmCluster,
  ledCluster,
  logOf,
  only,
  sent,
} from './paper-bed.ts'

const none = { index: 0, term: 0 }

void test('R1 term, vote and entries are on disk before anybody hears of them', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.nowMs = 5 * TIMEOUT
  const voted = core.hear('a', { type: 'vote', term: 1, last: none, transfer: false })
  t.same(only(voted, 'persist')[0]?.hard, { term: 1, vote: 'a' })
  t.same(
    only(voted, 'send-durable').map(({ message }) => message),
    [{ type: 'vote-reply', term: 1, granted: true }],
    'the vote waits for the disk',
  )
  t.ok(
    voted.findIndex(({ type }) => type === 'persist') <
      voted.findIndex(({ type }) => type === 'send-durable'),
    'and the disk was asked first',
  )
  const [entry] = logOf([1])
  const appended = core.hear('a', {
    type: 'append',
    term: 1,
    previous: none,
    commit: 0,
    entries: entry === undefined ? [] : [entry],
  })
  t.equal(only(appended, 'persist')[0]?.entries.length, 1)
  t.same(sent(only(appended, 'send'), 'append-reply'), [], 'nothing is acknowledged before it is durable')

  const cluster = calmCluster(['a', 'b', 'c'])
  cluster.setDisk('b', true)
  cluster.setDisk('c', true)
  cluster.runUntil(1900)
  t.same(cluster.leaders(), [], 'a vote that is not on disk elects nobody')
})

void test('R1 a vote outlives a crash: no second one in the same term', async (t) => {
  const core = new LoneCore({ self: 'b', term: 3, vote: 'a' })
  core.nowMs = 5 * TIMEOUT
  const other = core.hear('c', { type: 'vote', term: 3, last: { index: 9, term: 2 }, transfer: false })
  t.same(sent(other, 'vote-reply'), [{ type: 'vote-reply', term: 3, granted: false }])
  const same = core.hear('a', { type: 'vote', term: 3, last: none, transfer: false })
  t.same(sent(same, 'vote-reply'), [{ type: 'vote-reply', term: 3, granted: true }], 'the same one again')
  core.hear('c', { type: 'pre-vote', term: 4, last: { index: 9, term: 2 }, transfer: false })
  t.equal(core.status.vote, 'a', 'a pre-vote does not touch it (canonical/raft #196)')
})

void test('R2 an entry of an older term is not committed by counting (figure 8), and until then nothing is read or changed', async (t) => {
  const core = new LoneCore({ entries: logOf([1, 2]), term: 3 })
  core.lead()
  const { term, last } = core.status
  t.same([term, last], [4, { index: 3, term: 4 }], 'its term begins with a noop')
  core.flush()
  core.step({ type: 'read', id: 1 })
  const change = core.step({ type: 'change', id: 2, target: { voters: ['a', 'b'], learners: [] } })
  t.same(
    only(change, 'refused').map(({ id, reason }) => [id, reason]),
    [[2, 'not-ready']],
  )
  const old = core.hear('b', { type: 'append-reply', term, index: 2, rejected: undefined })
  t.equal(core.status.commit, 0, 'entry 2 of term 2 is on a majority, and is not committed')
  t.same(only(old, 'apply'), [])
  const reads = [1, 2, 3].flatMap((round) => core.hear('b', { type: 'heartbeat-reply', term, round }))
  t.same(only(reads, 'read-ready'), [], 'no read before the noop is committed')
  const own = core.hear('b', { type: 'append-reply', term, index: 3, rejected: undefined })
  t.equal(core.status.commit, 3)
  t.equal(only(own, 'apply')[0]?.entries.length, 3)
})

void test('R3 a suffix is removed in a conflict only, never because a message is shorter, never below the commit index', async (t) => {
  const entries = logOf([1, 1, 1, 1, 1])
  const core = new LoneCore({ self: 'b', entries })
  const short = core.hear('a', {
    type: 'append',
    term: 1,
    previous: { index: 1, term: 1 },
    commit: 0,
    entries: entries.slice(1, 3),
  })
  t.equal(core.status.last.index, 5, 'a late append that ends early takes nothing away')
  t.same(
    only(short, 'persist').flatMap((effect) => effect.entries),
    [],
  )
  t.equal(sent(short, 'append-reply')[0]?.index, 3, 'and only what it speaks of is acknowledged')

  core.hear('a', { type: 'append', term: 1, previous: { index: 5, term: 1 }, commit: 4, entries: [] })
  t.equal(core.status.commit, 4)
  const wrong = core.hear('c', {
    type: 'append',
    term: 2,
    previous: { index: 2, term: 1 },
    commit: 0,
    entries: [
      { type: 'noop', index: 3, term: 2 },
      { type: 'noop', index: 4, term: 2 },
    ],
  })
  t.same(
    only(wrong, 'persist').flatMap((effect) => effect.entries),
    [],
    'what is committed is never replaced',
  )
  t.equal(core.status.last.index, 5)
})

void test('R4 no change of the configuration before an entry of the own term is committed', async (t) => {
  const core = new LoneCore()
  core.lead()
  const early = core.step({ type: 'change', id: 1, target: { voters: ['a', 'b'], learners: [] } })
  t.same(
    only(early, 'refused').map(({ reason }) => reason),
    ['not-ready'],
  )
  core.settle()
  core.step({ type: 'change', id: 2, target: { voters: ['a', 'b', 'c', 'd'], learners: [] } })
  t.same(core.status.configuration.outgoing, ['a', 'b', 'c'], 'and a single voter too goes by a joint one')
  t.same(core.status.configuration.voters, ['a', 'b', 'c', 'd'], 'which rules from when it is appended')
})

void test('R5 a joint configuration needs both majorities', async (t) => {
  for (const gone of [
    ['d', 'e'],
    ['b', 'c'],
  ]) {
    const cluster = ledCluster(['a', 'b', 'c', 'd', 'e'], { voters: ['a', 'b', 'c'] })
    for (const name of gone) cluster.crash(name)
    const { commitMax } = cluster.safety
    cluster.change('a', ['a@1', 'd@1', 'e@1'], [])
    cluster.propose('a', [bytes(1)])
    cluster.runUntil(cluster.nowMs + 300)
    t.equal(cluster.safety.commitMax, commitMax, `without ${gone.join(' and ')}`)
  }
})

void test('R5 a joint configuration is left by whoever leads: the leader that began it may be dead', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c', 'd'], { voters: ['a', 'b', 'c'] })
  cluster.change('a', ['b@1', 'c@1', 'd@1'], [])
  cluster.runUntil(cluster.nowMs + 14)
  t.equal(cluster.node('b').status?.configuration.outgoing.length, 3, 'b has it')
  cluster.crash('a')
  const isLeft = (): boolean => {
    const { voters, outgoing } = cluster.safety.configurationAt(cluster.safety.commitMax)
    return outgoing.length === 0 && String(voters) === 'b@1,c@1,d@1'
  }
  t.ok(cluster.runWhile(isLeft, 10 * TIMEOUT) !== undefined)
})

void test('R5 one change at a time, also of learners, which need no joint configuration (openraft)', async (t) => {
  for (const first of [
    { voters: ['a', 'b', 'c'], learners: ['d'] },
    { voters: ['a', 'b', 'd'], learners: [] },
  ]) {
    const core = new LoneCore()
    core.lead()
    core.settle()
    core.step({ type: 'change', id: 1, target: first })
    const second = core.step({ type: 'change', id: 2, target: { voters: ['a', 'b'], learners: [] } })
    t.same(
      only(second, 'refused').map(({ reason }) => reason),
      ['changing'],
    )
  }
})

void test('R6 a learner votes when it is asked: it may not know of its promotion', async (t) => {
  const core = new LoneCore({ self: 'd', learners: ['d'] })
  core.nowMs = 5 * TIMEOUT
  const before = core.hear('a', { type: 'pre-vote', term: 1, last: none, transfer: false })
  t.equal(sent(before, 'pre-vote-reply')[0]?.granted, true)
  const effects = core.hear('a', { type: 'vote', term: 1, last: none, transfer: false })
  t.equal(sent(effects, 'vote-reply')[0]?.granted, true)
  for (let i = 0; i < 50; i++) {
    core.nowMs += HEARTBEAT
    core.step({ type: 'tick' })
  }
  t.equal(core.status.role, 'follower', 'but does not campaign')
})

void test('R7 a member that was cut off or removed does not disturb who hears a leader', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  core.nowMs += TIMEOUT / 2
  const far = { index: 99, term: 9 }
  core.hear('c', { type: 'pre-vote', term: 2, last: far, transfer: false })
  core.hear('c', { type: 'vote', term: 9, last: far, transfer: false })
  core.hear('stranger', { type: 'vote', term: 12, last: far, transfer: false })
  t.equal(core.status.term, 1, 'a vote request of a higher term changes nothing while a leader is heard')
  t.equal(core.status.leader, 'a')

  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.network.split(['a', 'b', 'c'], [['a', 'b']])
  cluster.runUntil(cluster.nowMs + 20 * TIMEOUT)
  cluster.network.join()
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  t.equal(cluster.leaders()[0]?.status?.term, 1, 'it was cut off, and is back')
  // It does not hear that it was removed.
  cluster.network.split(['a', 'b', 'c'], [['a', 'b']])
  cluster.change('a', ['a@1', 'b@1'], [])
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  cluster.network.join()
  cluster.runUntil(cluster.nowMs + 20 * TIMEOUT)
  t.equal(cluster.leaders()[0]?.status?.term, 1, 'the removed member campaigned for nothing (hashicorp #524)')
  cluster.network.split(['a', 'b', 'c'], [['a', 'b']])
  cluster.runUntil(cluster.nowMs + 20 * TIMEOUT)
  cluster.network.join()
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  t.same(
    cluster.leaders().map(({ name, status }) => [name, status?.term]),
    [['a', 1]],
  )
})

void test('R8 a pre-candidate has no leader (etcd #8334)', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  core.expire()
  t.equal(core.status.role, 'pre-candidate')
  t.equal(core.status.leader, undefined)
  t.equal(core.status.term, 1, 'and its term has not changed')
})

void test('R8 a pre-vote that is granted carries the term asked for, and is no vote', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.nowMs = 5 * TIMEOUT
  const effects = core.hear('a', { type: 'pre-vote', term: 7, last: none, transfer: false })
  t.same(sent(effects, 'pre-vote-reply'), [{ type: 'pre-vote-reply', term: 7, granted: true }])
  t.same(only(effects, 'persist'), [])
  t.same([core.status.term, core.status.vote], [0, undefined])

  const candidate = new LoneCore()
  candidate.expire()
  candidate.hear('b', { type: 'pre-vote-reply', term: 1, granted: true })
  t.equal(candidate.status.role, 'candidate')
  candidate.hear('b', { type: 'pre-vote-reply', term: 1, granted: true })
  candidate.hear('c', { type: 'pre-vote-reply', term: 1, granted: true })
  t.equal(
    candidate.status.role,
    'candidate',
    'late answers to the pre-vote elect nobody (canonical/raft #196)',
  )
})

void test('R8 granting a pre-vote is no word from a leader (hashicorp #609)', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.nowMs = 900
  const before = core.deadlineMs
  core.hear('a', { type: 'pre-vote', term: 1, last: none, transfer: false })
  t.equal(core.deadlineMs, before)
})

void test('R8 a message of a lower term is answered, to free a leader whose follower is ahead', async (t) => {
  const core = new LoneCore({ self: 'c', term: 7 })
  const beat = core.hear('a', { type: 'heartbeat', term: 2, commit: 0, round: 1 })
  t.same(
    only(beat, 'send')
      .concat(only(beat, 'send-durable') as never)
      .map(({ message }) => message.term),
    [7],
  )
  const append = core.hear('a', { type: 'append', term: 2, previous: none, commit: 0, entries: [] })
  t.equal(append.filter(({ type }) => type === 'send' || type === 'send-durable').length, 1)
  const cluster = calmCluster(['a', 'b', 'c'], {
    starts: new Map([['c', { hard: { term: 7, vote: undefined } }]]),
  })
  cluster.runUntil(10 * TIMEOUT)
  const [leader] = cluster.leaders()
  t.ok((leader?.status?.term ?? 0) > 7)
  t.equal(cluster.node('c').status?.leader, leader?.id)
})

void test('R8 a member learns a higher term from the refusal of its pre-vote (canonical/raft #279)', async (t) => {
  const core = new LoneCore({ self: 'b', term: 5 })
  core.nowMs = 5 * TIMEOUT
  const effects = core.hear('a', { type: 'pre-vote', term: 3, last: none, transfer: false })
  t.same(sent(effects, 'pre-vote-reply'), [{ type: 'pre-vote-reply', term: 5, granted: false }])
  const behind = new LoneCore({ term: 2 })
  behind.expire()
  behind.hear('b', { type: 'pre-vote-reply', term: 5, granted: false })
  t.equal(behind.status.term, 5)
})

for (const topology of ['bridge', 'ring'] as const) {
  for (const before of ['a', 'c', 'e']) {
    void test(`R9 a ${topology} has a usable leader within 20 election timeouts, after ${before} led (openraft #2080)`, async (t) => {
      const names = ['a', 'b', 'c', 'd', 'e']
      const cluster = calmCluster([before, ...names.filter((name) => name !== before)])
      cluster.runUntil(2 * TIMEOUT)
      t.equal(cluster.leaders()[0]?.name, before)
      if (topology === 'bridge') cluster.network.bridge(names)
      else cluster.network.ring(names)
      const { commitMax } = cluster.safety
      const took = cluster.runWhile(() => {
        const [leader] = cluster.leaders()
        const last = leader?.status?.last.index ?? 0
        if (leader !== undefined && leader.status?.commit === last) cluster.propose(leader.name, [bytes(1)])
        return cluster.safety.commitMax > commitMax + 5
      }, 20 * TIMEOUT)
      t.ok(took !== undefined, `${took}`)
      const { term } = cluster.leaders()[0]?.status ?? { term: 0 }
      cluster.runUntil(cluster.nowMs + 20 * TIMEOUT)
      t.equal(cluster.leaders()[0]?.status?.term, term, 'and it stays')
    })
  }
}

void test('R9 a leader that all hear and that hears nobody is replaced (Cloudflare, 2020)', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.network.cut('b', 'a')
  cluster.network.cut('c', 'a')
  const took = cluster.runWhile(() => cluster.leaders().some(({ name }) => name !== 'a'), 20 * TIMEOUT)
  t.ok(took !== undefined, `${took}`)
})

void test('R10 a read is confirmed by a round that was sent after it came, in this term only (etcd #20418)', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  const { term } = core.status
  const early = core.beat()
  core.step({ type: 'read', id: 1 })
  const first = core.hear('b', { type: 'heartbeat-reply', term, round: early })
  t.same(only(first, 'read-ready'), [], 'an answer to a round that left before it says nothing')
  const round = sent(first, 'heartbeat')[0]?.round ?? core.beat()
  t.ok(round > early)
  const again = core.hear('c', { type: 'heartbeat-reply', term, round: early })
  t.same(only(again, 'read-ready'), [])
  const foreign = core.hear('stranger', { type: 'heartbeat-reply', term, round })
  t.same(only(foreign, 'read-ready'), [], 'nor does a stranger')
  const ready = core.hear('b', { type: 'heartbeat-reply', term, round })
  t.same(
    only(ready, 'read-ready').map(({ id }) => id),
    [1],
  )

  core.step({ type: 'read', id: 3 })
  const over = core.hear('b', { type: 'heartbeat', term: term + 1, commit: 0, round: 1 })
  t.same(
    only(over, 'refused').map(({ id, reason }) => [id, reason]),
    [[3, 'not-leader']],
    'with the leadership the read ends',
  )
  t.same(only(over, 'read-ready'), [])
  const after = core.hear('c', { type: 'heartbeat-reply', term, round: round + 9 })
  t.same(only(after, 'read-ready'), [])
})

void test('R10 an answer to an earlier attempt of a forwarded read is not taken for this one', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  const asked = core.step({ type: 'read', id: 1 })
  const [question] = sent(asked, 'read')
  t.ok(question !== undefined)
  const { id = 0, term = 0 } = question ?? {}
  t.same(only(core.hear('a', { type: 'read-reply', term, id: id - 1, index: 5 }), 'read-ready'), [])
  t.same(
    only(core.hear('a', { type: 'read-reply', term, id, index: 5 }), 'read-ready').map((ready) => ready.id),
    [1],
  )
  t.same(only(core.hear('a', { type: 'read-reply', term, id, index: 5 }), 'read-ready'), [], 'once')
})

void test('R11 a lease counts from when the answered heartbeat was sent, less the drift, and needs check-quorum', async (t) => {
  t.throws(() => new LoneCore({ core: { leaseReads: true, checkQuorum: false } }), /checkQuorum/)
  const core = new LoneCore({ core: { leaseReads: true, clockDriftMax: 0.1 } })
  core.lead()
  core.settle()
  const { term } = core.status
  const round = core.beat()
  const sentMs = core.nowMs
  core.nowMs = sentMs + 300
  core.hear('b', { type: 'heartbeat-reply', term, round })
  const leaseMs = (TIMEOUT * 0.9) / 1.1
  core.nowMs = sentMs + leaseMs - 5
  t.equal(only(core.step({ type: 'read', id: 1, lease: true }), 'read-ready').length, 1)
  core.nowMs = sentMs + leaseMs + 5
  t.same(
    only(core.step({ type: 'read', id: 2, lease: true }), 'refused').map(({ reason }) => reason),
    ['no-lease'],
  )
})

void test('R11 the lease ends before the transferee is told to campaign', async (t) => {
  const core = new LoneCore({ core: { leaseReads: true } })
  core.lead()
  core.settle()
  const { term } = core.status
  core.hear('b', { type: 'heartbeat-reply', term, round: core.beat() })
  t.equal(only(core.step({ type: 'read', id: 1, lease: true }), 'read-ready').length, 1)
  const effects = core.step({ type: 'transfer', id: 2, to: 'b' })
  t.equal(sent(effects, 'timeout-now').length, 1)
  t.equal(only(core.step({ type: 'read', id: 3, lease: true }), 'refused').length, 1)
})

void test('R11 who has just started, or lost its link to the leader, keeps what a lease rests on', async (t) => {
  const started = new LoneCore({ self: 'b', core: { leaseReads: true } })
  const early = started.hear('c', { type: 'vote', term: 1, last: none, transfer: false })
  t.not(sent(early, 'vote-reply')[0]?.granted, true)
  const core = new LoneCore({ self: 'b', core: { leaseReads: true } })
  core.nowMs = 5 * TIMEOUT
  core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  core.step({ type: 'unreachable', member: 'a' })
  const effects = core.hear('c', { type: 'pre-vote', term: 2, last: none, transfer: false })
  t.not(sent(effects, 'pre-vote-reply')[0]?.granted, true)
})

void test("R12 a leader's duty is proposed in its term, and refused in another (etcd #15247)", async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  const { term } = core.status
  const late = core.step({ type: 'propose', id: 1, commands: [bytes(1)], term: term - 1 })
  t.same(
    only(late, 'refused').map(({ reason }) => reason),
    ['wrong-term'],
  )
  t.equal(only(core.step({ type: 'propose', id: 2, commands: [bytes(1)], term }), 'appended')[0]?.term, term)
  const follower = new LoneCore({ self: 'b' })
  follower.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  const stray = follower.step({ type: 'propose', id: 3, commands: [bytes(1)] })
  t.same(
    only(stray, 'refused').map(({ reason, leader }) => [reason, leader]),
    [['not-leader', 'a']],
    'nothing is forwarded silently (etcd #16285)',
  )
  t.same(sent(stray, 'append'), [])
})

const configuration = { voters: ['a', 'b', 'c'], outgoing: [], learners: [], learnersNext: [] }

void test('R13 a snapshot at or below the commit index is ignored, one that the log contains ends nothing', async (t) => {
  const core = new LoneCore({ self: 'b', entries: logOf([1, 1, 1, 1]) })
  core.hear('a', { type: 'append', term: 1, previous: { index: 4, term: 1 }, commit: 2, entries: [] })
  const old = core.step({ type: 'snapshot', from: 'a', term: 1, meta: { index: 2, term: 1, configuration } })
  t.same(only(old, 'install'), [])
  const inside = core.step({
    type: 'snapshot',
    from: 'a',
    term: 1,
    meta: { index: 3, term: 1, configuration },
  })
  t.same(only(inside, 'install'), [])
  t.equal(core.status.last.index, 4, 'what it has acknowledged stays')
  t.equal(core.status.commit, 3, 'but it is committed')
})

void test('R13 a snapshot brings its configuration, and what was on its way before it brings nothing back', async (t) => {
  const core = new LoneCore({ self: 'b', entries: logOf([1]) })
  core.hear('a', { type: 'heartbeat', term: 2, commit: 0, round: 1 })
  const wider = { ...configuration, voters: ['a', 'b', 'c', 'd'] }
  const meta = { index: 10, term: 2, configuration: wider }
  const effects = core.step({ type: 'snapshot', from: 'a', term: 2, meta })
  t.same(
    only(effects, 'install').map((effect) => effect.meta),
    [meta],
  )
  const second = core.step({ type: 'snapshot', from: 'a', term: 2, meta })
  t.same(only(second, 'install'), [], 'the same one again, in a short time (etcd #18055)')
  const late = core.hear('a', {
    type: 'append',
    term: 2,
    previous: { index: 1, term: 1 },
    commit: 3,
    entries: [
      { type: 'noop', index: 2, term: 2 },
      { type: 'command', index: 3, term: 2, data: bytes(3) },
    ],
  })
  t.same(
    only(late, 'persist').flatMap((effect) => effect.entries),
    [],
  )
  const installed = core.step({ type: 'installed', meta })
  t.same(core.status.configuration, wider)
  t.same([core.status.commit, core.status.applied, core.status.last.index], [10, 10, 10])
  t.equal(
    sent([...effects, ...second, ...late, ...installed], 'append-reply').some(({ index }) => index > 10),
    false,
  )
})

void test('R13 a snapshot is acknowledged when it is in force, not before', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.hear('a', { type: 'heartbeat', term: 2, commit: 0, round: 1 })
  const meta = { index: 10, term: 2, configuration }
  const effects = core.step({ type: 'snapshot', from: 'a', term: 2, meta })
  t.same(sent(only(effects, 'send'), 'append-reply'), [])
  const done = [...effects, ...core.step({ type: 'installed', meta })]
  t.ok(sent(done, 'append-reply').some(({ index, rejected }) => index === 10 && rejected === undefined))
})

void test('R13 the leader keeps the log behind the snapshot that a follower is being sent', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.crash('c')
  for (let i = 0; i < 5; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 50)
  cluster.compact('a', 0)
  cluster.runUntil(cluster.nowMs + 50)
  cluster.snapshotMs = [500, 500]
  cluster.start('c')
  cluster.runUntil(cluster.nowMs + 300)
  t.equal(cluster.counts.get('send-snapshot'), 1)
  for (let i = 0; i < 5; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 50)
  cluster.compact('a', 0)
  cluster.runUntil(cluster.nowMs + 2000)
  t.equal(cluster.node('c').status?.commit, cluster.safety.commitMax)
  t.equal(cluster.counts.get('send-snapshot'), 1, 'one snapshot was enough')
})

void test('R14 what is applied is given out once, and a restart goes on behind the snapshot', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.propose('a', [bytes(1), bytes(2), bytes(3)])
  cluster.runUntil(cluster.nowMs + 200)
  cluster.compact('b', 0)
  cluster.propose('a', [bytes(4)])
  cluster.runUntil(cluster.nowMs + 200)
  cluster.crash('b')
  const { snapshot } = cluster.node('b').disk.load()
  t.equal(snapshot.index, 4)
  cluster.start('b')
  t.equal(cluster.node('b').status?.applied, 4, 'a core begins where the snapshot ends')
  cluster.runUntil(cluster.nowMs + 500)
  // That each entry comes once and in order is what the cluster asserts of every `apply`.
  t.equal(cluster.node('b').applied, cluster.safety.commitMax)
})

void test('R15 a single member commits when its own disk has it, not before (etcd #14370)', async (t) => {
  const cluster = calmCluster(['a'])
  cluster.runUntil(1500)
  t.equal(cluster.node('a').isLeader, true)
  const { commitMax } = cluster.safety
  cluster.setDisk('a', true)
  cluster.propose('a', [bytes(1)])
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  t.equal(cluster.safety.commitMax, commitMax)
  cluster.setDisk('a', false)
  cluster.runUntil(cluster.nowMs + 10)
  t.equal(cluster.safety.commitMax, commitMax + 1)

  const core = new LoneCore({ voters: ['a'] })
  core.flush()
  core.flush()
  const { commit, term } = core.status
  core.step({ type: 'propose', id: 1, commands: [bytes(1)] })
  core.step({ type: 'propose', id: 2, commands: [bytes(2)] })
  core.step({ type: 'persisted', upTo: { index: commit + 1, term } })
  t.equal(core.status.commit, commit + 1, 'the second is still being written')
})

void test('R16 a write that is done says of which term it was: an entry replaced meanwhile is not taken for durable', async (t) => {
  const core = new LoneCore({ self: 'b' })
  const first = core.hear('a', {
    type: 'append',
    term: 1,
    previous: none,
    commit: 0,
    entries: logOf([1, 1]),
  })
  t.equal(only(first, 'persist').length, 1)
  const second = core.hear('c', {
    type: 'append',
    term: 2,
    previous: none,
    commit: 0,
    entries: logOf([2, 2]),
  })
  t.equal(only(second, 'persist').length, 1)
  const late = core.step({ type: 'persisted', upTo: { index: 2, term: 1 } })
  t.equal(core.status.durable, 0, 'the first write is done: it is not what stands there now')
  t.same(sent(only(late, 'send'), 'append-reply'), [])
  core.step({ type: 'persisted', upTo: { index: 2, term: 2 } })
  t.equal(core.status.durable, 2)
})

void test('R17 a retry is applied once and gets the first answer; a session that is over says so', async (t) => {
  // What the members of a group compute from the same entries, among them a retry that was appended again by the next leader.
  const log: readonly { readonly timeMs: number; readonly sequence: number; readonly command: string }[] = [
    { timeMs: 10, sequence: 1, command: 'x' },
    { timeMs: 20, sequence: 1, command: 'x' },
    { timeMs: 30, sequence: 2, command: 'y' },
    { timeMs: 40, sequence: 1, command: 'x' },
  ]
  const member = (): { readonly state: string[]; readonly answers: string[] } => {
    const table = new SessionTable<string>()
    const [state, answers]: [string[], string[]] = [[], []]
    table.open(7, 100, 0)
    for (const { timeMs, sequence, command } of log) {
      const stamp = { session: 7, sequence, answeredBelow: 1 }
      const verdict = table.check(stamp, timeMs)
      if (verdict.type === 'apply') {
        state.push(command)
        table.keep(stamp, `${command} at ${timeMs}`)
      }
      answers.push(verdict.type === 'known' ? verdict.result : verdict.type)
    }
    table.expire(141)
    answers.push(table.check({ session: 7, sequence: 3, answeredBelow: 1 }, 141).type)
    return { state, answers }
  }
  t.same(member(), { state: ['x', 'y'], answers: ['apply', 'x at 10', 'apply', 'x at 10', 'expired'] })
  t.same(member(), member(), 'on every member the same: by the log alone')
})

void test('R18 no total data loss on failover (Redis-Raft #14)', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  for (let i = 0; i < 20; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 21)
  const { commitMax } = cluster.safety
  t.ok(commitMax > 1)
  cluster.crash('a')
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  const [leader] = cluster.leaders()
  t.ok((leader?.applied ?? 0) >= commitMax, 'what was acknowledged is applied by the new leader')
})

void test('R18 no split brain when members change during a partition (Redis-Raft #17, #28, #44)', async (t) => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const cluster = ledCluster(names)
  cluster.network.split(names, [
    ['a', 'b'],
    ['c', 'd', 'e'],
  ])
  cluster.change('a', ['a@1', 'b@1'], [])
  cluster.propose('a', [bytes(1)])
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  const [leader] = cluster.leaders()
  t.ok(leader !== undefined && ['c', 'd', 'e'].includes(leader.name))
  cluster.change(leader?.name ?? 'c', ['c@1', 'd@1', 'e@1'], [])
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  t.equal(String(cluster.safety.configurationAt(cluster.safety.commitMax).voters), 'c@1,d@1,e@1')
  cluster.network.join()
  cluster.runUntil(cluster.nowMs + 10 * TIMEOUT)
  t.equal(cluster.leaders().length, 1)
  t.notOk(cluster.leaders().some(({ name }) => name === 'a' || name === 'b'))
})

void test('R18 no stale read at a leader that was replaced (Redis-Raft #19)', async (t) => {
  const names = ['a', 'b', 'c']
  const cluster = ledCluster(names)
  cluster.pause('a', 5 * TIMEOUT)
  cluster.runUntil(cluster.nowMs + 4 * TIMEOUT)
  const [leader] = cluster.leaders().filter(({ name }) => name !== 'a')
  t.ok(leader !== undefined)
  cluster.propose(leader?.name ?? 'b', [bytes(1)])
  cluster.runUntil(cluster.nowMs + 100)
  cluster.node('a').pausedUntilMs = 0
  cluster.network.split(names, [['b', 'c']])
  const ready = cluster.counts.get('read-ready') ?? 0
  cluster.read('a')
  cluster.read('a', true)
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  t.equal(cluster.counts.get('read-ready') ?? 0, ready, 'nothing is read, and the reads are ended')
  t.equal(cluster.node('a').open.size, 0)
})

void test('R19 no write is lost while leadership is handed over (hashicorp GH-581)', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  for (let i = 0; i < 10; i++) cluster.propose('a', [bytes(i)])
  const last = cluster.node('a').status?.last.index ?? 0
  cluster.transfer('a', 'b@1')
  const refused = new LoneCore()
  refused.lead()
  refused.settle()
  refused.step({ type: 'transfer', id: 1, to: 'b' })
  t.same(
    only(refused.step({ type: 'propose', id: 2, commands: [bytes(1)] }), 'refused').map(
      ({ reason }) => reason,
    ),
    ['transferring'],
  )
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  t.equal(cluster.leaders()[0]?.name, 'b')
  t.equal(cluster.counts.get('transferred'), 1)
  t.ok(cluster.safety.commitMax > last, 'all that was appended is committed')
  const behind = new LoneCore()
  behind.lead()
  behind.settle()
  behind.step({ type: 'propose', id: 3, commands: [bytes(1)] })
  t.same(
    sent(behind.step({ type: 'transfer', id: 4, to: 'b' }), 'timeout-now'),
    [],
    'not before it has everything',
  )
})

void test('R20 a corrupt suffix is not an absent one: votes are weighed by the end that was lost', async (t) => {
  const core = new LoneCore({
    self: 'b',
    entries: logOf([1, 1]),
    start: { lostUpTo: { index: 5, term: 1 } },
  })
  t.equal(core.status.isRecovering, true)
  for (let i = 0; i < 50; i++) {
    core.nowMs += HEARTBEAT
    core.step({ type: 'tick' })
  }
  t.equal(core.status.role, 'follower', 'it does not campaign')
  const shorter = core.hear('c', { type: 'vote', term: 2, last: { index: 3, term: 1 }, transfer: false })
  t.equal(sent(shorter, 'vote-reply')[0]?.granted, false)
  const longer = core.hear('a', { type: 'vote', term: 3, last: { index: 5, term: 1 }, transfer: false })
  t.equal(sent(longer, 'vote-reply')[0]?.granted, true)
})

void test('R20 what a disk lost is taken from the leader, and counts no longer until it is there', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.propose('a', [bytes(1), bytes(2), bytes(3)])
  cluster.runUntil(cluster.nowMs + 100)
  cluster.crash('b')
  cluster.corrupt('b', 2)
  cluster.start('b')
  t.equal(cluster.node('b').status?.isRecovering, true)
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  t.equal(cluster.node('b').status?.isRecovering, false)
  t.equal(cluster.node('b').status?.last.index, 4)
  // It goes back in the leader's eyes too.
  const core = new LoneCore()
  core.lead()
  core.settle()
  const { term, last } = core.status
  core.step({ type: 'propose', id: 1, commands: [bytes(1)] })
  core.flush()
  core.hear('b', {
    type: 'append-reply',
    term,
    index: last.index,
    rejected: { hint: none, lost: true },
  })
  t.equal(core.status.progress.find(({ member }) => member === 'b')?.match, 0)
})

void test('R21 Election Safety: one vote in a term, whoever asks', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.nowMs = 5 * TIMEOUT
  core.hear('a', { type: 'vote', term: 1, last: none, transfer: false })
  for (const transfer of [false, true]) {
    const second = core.hear('c', { type: 'vote', term: 1, last: { index: 9, term: 0 }, transfer })
    t.equal(sent(second, 'vote-reply')[0]?.granted, false)
  }
})

void test('R21 Leader Append-Only: a leader keeps its own log, whatever others have', async (t) => {
  const core = new LoneCore({ entries: logOf([1, 1, 2]), term: 2 })
  const effects = [...core.lead(), ...core.step({ type: 'propose', id: 1, commands: [bytes(1)] })]
  effects.push(
    ...core.hear('b', {
      type: 'append-reply',
      term: 3,
      index: 3,
      rejected: { hint: { index: 1, term: 1 }, lost: false },
    }),
  )
  t.same(
    only(effects, 'persist').flatMap(({ entries }) => entries.map(({ index }) => index)),
    [4, 5],
  )
})

void test('R21 Log Matching: nothing is appended behind an entry of another term', async (t) => {
  const core = new LoneCore({ self: 'b', entries: logOf([1, 1]), term: 3 })
  const effects = core.hear('a', {
    type: 'append',
    term: 3,
    previous: { index: 2, term: 2 },
    commit: 0,
    entries: [{ type: 'noop', index: 3, term: 3 }],
  })
  t.ok(sent(effects, 'append-reply')[0]?.rejected !== undefined)
  t.equal(core.status.last.index, 2)
})

void test('R21 Leader Completeness: no vote for a log that lacks what may be committed', async (t) => {
  const core = new LoneCore({ self: 'b', entries: logOf([1, 1]), term: 3 })
  core.nowMs = 5 * TIMEOUT
  for (const transfer of [false, true]) {
    const effects = core.hear('c', { type: 'vote', term: 4, last: { index: 1, term: 1 }, transfer })
    t.equal(sent(effects, 'vote-reply')[0]?.granted, false)
  }
})

void test('R21 State Machine Safety: only what is known to be the own log is applied when a leader says how far', async (t) => {
  const core = new LoneCore({ self: 'b', entries: logOf([1, 1, 1]), term: 2 })
  const effects = core.hear('a', {
    type: 'append',
    term: 2,
    previous: { index: 1, term: 1 },
    commit: 3,
    entries: [],
  })
  t.same(
    only(effects, 'apply').flatMap(({ entries }) => entries.map(({ index }) => index)),
    [1],
    'what stands behind it here may be another',
  )

  const leader = new LoneCore()
  leader.lead()
  leader.flush()
  leader.hear('b', { type: 'append-reply', term: 1, index: 1, rejected: undefined })
  t.equal(leader.status.commit, 1)
  leader.nowMs += 5 * HEARTBEAT
  const beats = only(leader.step({ type: 'tick' }), 'send').filter(
    ({ message }) => message.type === 'heartbeat',
  )
  t.match(beats, [
    { to: 'b', message: { commit: 1 } },
    { to: 'c', message: { commit: 0 } },
  ])
})

/** A core that lies in one way, to see that whoever looks on notices. */
function lying(change: (effect: RaftEffect) => RaftEffect): MakeRaftCore {
  const make = coresWith({ heartbeatMs: HEARTBEAT, electionTimeoutMs: TIMEOUT })
  return (spec) => {
    const core = make(spec)
    return {
      step: (input, nowMs) => core.step(input, nowMs).map(change),
      nextDeadlineMs: core.nextDeadlineMs,
      status: core.status,
    }
  }
}

/** Runs three cores of that kind; gives the property that was violated. */
function violated(makeCore: MakeRaftCore, drive: (cluster: Cluster) => void): string {
  try {
    const cluster = calmCluster(['a', 'b', 'c'], { makeCore })
    drive(cluster)
    return 'none'
  } catch (error) {
    return error instanceof SafetyViolation ? error.property : String(error)
  }
}

void test('R21 the checker sees each of the five properties broken (mutations of the run, not of the core)', async (t) => {
  const run = (cluster: Cluster): void => {
    cluster.runUntil(1500)
    for (let i = 0; i < 5; i++) cluster.propose('a', [bytes(i)])
    cluster.runUntil(2000)
  }
  const honest = coresWith({ heartbeatMs: HEARTBEAT, electionTimeoutMs: TIMEOUT })
  t.equal(violated(honest, run), 'none')

  // A message in the name of another leader of the same term.
  const twoLeaders = violated(honest, (cluster) => {
    const { safety } = cluster
    cluster.runUntil(1500)
    const [a, b] = [cluster.node('a'), cluster.node('b')]
    const { status } = a
    if (status === undefined || b.status === undefined) return
    safety.stepped(b, b.status, { ...b.status, role: 'leader', progress: [] })
  })
  t.equal(twoLeaders, 'Election Safety')

  const overwrites = violated(honest, (cluster) => {
    cluster.runUntil(1500)
    cluster.crash('b')
    cluster.crash('c')
    cluster.propose('a', [bytes(1)])
    cluster.safety.persisting(cluster.node('a'), undefined, [{ type: 'noop', index: 2, term: 1 }])
  })
  t.equal(overwrites, 'Leader Append-Only')

  const other = lying((effect) =>
    effect.type === 'send' && effect.message.type === 'append' && effect.to === 'b@1'
      ? {
          ...effect,
          message: {
            ...effect.message,
            entries: effect.message.entries.map((entry) =>
              entry.type === 'command' ? { ...entry, data: bytes(99) } : entry,
            ),
          },
        }
      : effect,
  )
  t.equal(violated(other, run), 'Log Matching')

  const incomplete = violated(honest, (cluster) => {
    run(cluster)
    const c = cluster.node('c')
    const { status } = c
    if (status === undefined) return
    cluster.crash('c')
    cluster.start('c')
    const again = cluster.node('c').status
    if (again === undefined) return
    const bare = {
      id: c.id,
      disk: c.disk,
      log: emptyLog(cluster),
      hard: { term: 2, vote: c.id },
      status: again,
    }
    cluster.safety.durable({ ...bare, id: 'a@1' }, { term: 2, vote: c.id }, [])
    const now = { ...again, term: 2, vote: c.id, last: { index: 0, term: 0 }, commit: 0, applied: 0 }
    cluster.safety.stepped(bare, now, { ...now, role: 'leader' })
  })
  t.equal(incomplete, 'Leader Completeness')

  const otherState = violated(honest, (cluster) => {
    run(cluster)
    const c = cluster.node('c')
    const { status } = c
    if (status === undefined) return
    const log = emptyLog(cluster)
    log.replace([{ type: 'noop', index: 1, term: 9 }])
    const before = { ...status, term: 9, vote: undefined, last: { index: 1, term: 9 }, commit: 0, applied: 0 }
    cluster.safety.stepped(
      { id: c.id, disk: c.disk, log, hard: { term: 9, vote: undefined }, status: before },
      before,
      { ...before, commit: 1, applied: 1 },
    )
  })
  t.equal(otherState, 'State Machine Safety')
})

function emptyLog(cluster: Cluster): InstanceType<typeof LogImage> {
  return new LogImage({ index: 0, term: 0, configuration: cluster.founding }, [])
}

void test('R22 one probe at a time to a follower of whom nothing is known', async (t) => {
  const core = new LoneCore()
  const begun = core.lead()
  const probes = sent(begun, 'append').length
  t.ok(probes <= 2, 'one to each')
  const more = [1, 2, 3].flatMap((id) => core.step({ type: 'propose', id, commands: [bytes(id)] }))
  t.same(sent(more, 'append'), [], 'what is proposed waits for the answer to the probe')
})

void test('R22 a window in messages and in bytes, and a limit of what is not committed', async (t) => {
  const core = new LoneCore({
    core: {
      appendBytesMax: 1024,
      inflightMessagesMax: 4,
      inflightBytesMax: 3000,
      uncommittedBytesMax: 20_000,
    },
  })
  core.lead()
  core.settle()
  const propose = (size: number, id: number): readonly RaftEffect[] =>
    core.step({ type: 'propose', id, commands: [bytes(1, size)] })
  const toB = (effects: readonly RaftEffect[]): number =>
    effects.filter(
      (effect) => effect.type === 'send' && effect.to === 'b' && effect.message.type === 'append',
    ).length
  const small = Array.from({ length: 10 }, (_, i) => toB(propose(1, i)))
  t.equal(
    small.reduce((sum, one) => sum + one, 0),
    4,
    'four messages',
  )
  core.settle()
  core.settle()
  const big = Array.from({ length: 10 }, (_, i) => toB(propose(1200, 100 + i)))
  t.ok(big.reduce((sum, one) => sum + one, 0) <= 3, 'three thousand bytes')
  const all = Array.from({ length: 30 }, (_, i) => propose(1200, 200 + i)).flat()
  t.ok(only(all, 'refused').every(({ reason }) => reason === 'overloaded'))
  t.ok(only(all, 'refused').length > 5)
  const follower = core.status.progress.find(({ member }) => member === 'b')
  t.ok((follower?.inflight ?? 9) <= 4)
})

void test('R22 a follower that needs a snapshot gets one, and no appends meanwhile', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.crash('c')
  for (let i = 0; i < 5; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 50)
  cluster.compact('a', 0)
  cluster.snapshotMs = [1000, 1000]
  cluster.start('c')
  cluster.runUntil(cluster.nowMs + 500)
  t.equal(cluster.counts.get('send-snapshot'), 1)
  const before = cluster.counts.get('sent append') ?? 0
  for (let i = 0; i < 5; i++) cluster.propose('a', [bytes(i)])
  t.equal((cluster.counts.get('sent append') ?? 0) - before, 5, 'only to b')
  cluster.runUntil(cluster.nowMs + 3000)
  t.equal(cluster.node('c').status?.commit, cluster.safety.commitMax)
})
