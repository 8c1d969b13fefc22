/**
 * One test for each claim of the Raft paper (Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm, extended
 * version, 2014) and of the thesis (Ongaro: Consensus: Bridging Theory and Practice, 2014) that a core can be asked about; the
 * section is in the name. After etcd-io/raft, raft_paper_test.go. What must hold after every step is held by `RaftSafety`.
 */
import { test } from 'tap'
import {
  LoneCore,
  TIMEOUT,
  HEARTBEAT,
  bytes,
  calmCluster,
  ledCluster,
  logOf,
  only,
  sent,
} from './paper-bed.ts'
import type { RaftMessage } from './core-under-test.ts'

const none = { index: 0, term: 0 }

// ---- paper, section 5.1

void test('paper 5.1: a server with a smaller term takes the larger one, and a candidate or leader becomes a follower', async (t) => {
  for (const role of ['follower', 'candidate', 'leader'] as const) {
    const core = new LoneCore()
    if (role === 'leader') core.lead()
    if (role === 'candidate') {
      core.expire()
      core.hear('b', { type: 'pre-vote-reply', term: 1, granted: true })
    }
    t.equal(core.status.role, role)
    const effects = core.hear('b', { type: 'append', term: 5, previous: none, commit: 0, entries: [] })
    t.same([core.status.role, core.status.term, core.status.leader], ['follower', 5, 'b'])
    t.same(only(effects, 'persist')[0]?.hard, { term: 5, vote: undefined })
  }
})

void test('paper 5.1: a request of a stale term is rejected', async (t) => {
  const core = new LoneCore({ term: 4 })
  core.nowMs = 5 * TIMEOUT
  const effects = core.hear('b', {
    type: 'append',
    term: 3,
    previous: none,
    commit: 0,
    entries: [{ type: 'noop', index: 1, term: 3 }],
  })
  t.equal(core.status.last.index, 0)
  t.equal(core.status.leader, undefined)
  t.equal(sent(effects, 'append-reply')[0]?.term, 4, 'and its sender hears of the newer term')
  const vote = core.hear('b', { type: 'vote', term: 3, last: none, transfer: false })
  t.equal(sent(vote, 'vote-reply')[0]?.granted, false)
})

// ---- paper, section 5.2

void test('paper 5.2: a server starts as a follower, and stays one while it hears a leader', async (t) => {
  const core = new LoneCore({ self: 'b' })
  t.equal(core.status.role, 'follower')
  for (let i = 0; i < 50; i++) {
    core.nowMs += TIMEOUT - 1
    core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: i })
    core.step({ type: 'tick' })
  }
  t.equal(core.status.role, 'follower')
})

void test('paper 5.2: a leader sends heartbeats to all', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  core.beat()
  const before = core.nowMs
  const round = core.beat()
  t.equal(core.nowMs - before, HEARTBEAT)
  t.ok(round > 1)
})

void test('paper 5.2: a follower that hears nobody votes for itself in a new term and asks the others', async (t) => {
  const core = new LoneCore()
  core.expire()
  const effects = core.hear('b', { type: 'pre-vote-reply', term: 1, granted: true })
  t.same([core.status.role, core.status.term, core.status.vote], ['candidate', 1, 'a'])
  t.same(only(effects, 'persist')[0]?.hard, { term: 1, vote: 'a' })
  t.same(
    only(effects, 'send-durable').map(({ to, message }) => [to, message.type, message.term]),
    [
      ['b', 'vote', 1],
      ['c', 'vote', 1],
    ],
  )
})

void test('paper 5.2: a candidate with the votes of a majority leads, whatever the others say', async (t) => {
  const cases: readonly [members: number, votes: readonly boolean[], role: string][] = [
    [3, [true], 'leader'],
    [3, [false], 'candidate'],
    [3, [false, false], 'follower'],
    [5, [true, true], 'leader'],
    [5, [true, false, true], 'leader'],
    [5, [true, false], 'candidate'],
    [5, [false, false, false], 'follower'],
    [7, [true, true, true], 'leader'],
  ]
  for (const [members, votes, role] of cases) {
    const voters = 'abcdefg'.split('').slice(0, members)
    const core = new LoneCore({ voters })
    core.expire()
    for (const voter of voters.slice(1)) {
      if (core.status.role === 'pre-candidate')
        core.hear(voter, { type: 'pre-vote-reply', term: 1, granted: true })
    }
    for (const [i, granted] of votes.entries())
      core.hear(voters[i + 1] ?? '', { type: 'vote-reply', term: 1, granted })
    t.equal(core.status.role, role, `${members}: ${votes.join(' ')}`)
  }
})

void test('paper 5.2: a server votes for one candidate in a term, first come, first served', async (t) => {
  for (const [vote, asker, granted] of [
    [undefined, 'b', true],
    [undefined, 'c', true],
    ['b', 'b', true],
    ['b', 'c', false],
    ['c', 'b', false],
  ] as const) {
    const core = new LoneCore(vote === undefined ? { term: 1 } : { term: 1, vote })
    core.nowMs = 5 * TIMEOUT
    const effects = core.hear(asker, { type: 'vote', term: 1, last: none, transfer: false })
    t.equal(sent(effects, 'vote-reply')[0]?.granted, granted, `${vote} ${asker}`)
  }
})

void test('paper 5.2: a candidate that hears a leader of its term or a later one follows it', async (t) => {
  for (const term of [1, 2]) {
    const core = new LoneCore()
    core.expire()
    core.hear('b', { type: 'pre-vote-reply', term: 1, granted: true })
    core.hear('c', { type: 'append', term, previous: none, commit: 0, entries: [] })
    t.same([core.status.role, core.status.term, core.status.leader], ['follower', term, 'c'])
  }
})

void test('paper 5.2: election timeouts are drawn from [E, 2E), so that split votes are rare', async (t) => {
  const cluster = calmCluster(['a', 'b', 'c', 'd', 'e'])
  const deadlines = cluster.nodes.map((node) => node.core?.nextDeadlineMs() ?? 0)
  t.ok(deadlines.every((deadline) => deadline >= TIMEOUT && deadline < 2 * TIMEOUT))
  t.equal(new Set(deadlines).size, 5)
})

// ---- paper, section 5.3

void test('paper 5.3: a leader appends a command and sends it to all at once', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  const { last, term, commit } = core.status
  const effects = core.step({ type: 'propose', id: 1, commands: [bytes(7)] })
  const entry = { type: 'command', index: last.index + 1, term, data: bytes(7) }
  t.same(only(effects, 'persist')[0]?.entries, [entry])
  t.same(
    sent(effects, 'append').map(({ entries, previous }) => [entries, previous]),
    [
      [[entry], last],
      [[entry], last],
    ],
  )
  t.equal(core.status.commit, commit)
})

void test('paper 5.3: an entry is committed when a majority has it, and applied then', async (t) => {
  for (const [members, acks, isCommitted] of [
    [1, 0, true],
    [3, 0, false],
    [3, 1, true],
    [5, 1, false],
    [5, 2, true],
    [7, 2, false],
    [7, 3, true],
  ] as const) {
    const voters = 'abcdefg'.split('').slice(0, members)
    const core = new LoneCore({ voters })
    if (members > 1) core.lead()
    else core.flush()
    core.settle()
    const { commit, term } = core.status
    core.step({ type: 'propose', id: 1, commands: [bytes(1)] })
    const effects = [...core.flush()]
    for (const voter of voters.slice(1, 1 + acks))
      effects.push(
        ...core.hear(voter, { type: 'append-reply', term, index: commit + 1, rejected: undefined }),
      )
    t.equal(core.status.commit === commit + 1, isCommitted, `${acks} of ${members}`)
    t.equal(only(effects, 'apply').length > 0, isCommitted)
  }
})

void test('paper 5.3: committing an entry commits all before it, also those of earlier leaders', async (t) => {
  for (const terms of [[], [2], [1, 2], [1]]) {
    const core = new LoneCore({ entries: logOf(terms), term: 2 })
    core.lead()
    core.step({ type: 'propose', id: 1, commands: [bytes(1)] })
    const effects = core.settle()
    const applied = only(effects, 'apply').flatMap(({ entries }) => entries.map(({ index }) => index))
    t.same(
      applied,
      Array.from({ length: terms.length + 2 }, (_, i) => i + 1),
    )
  }
})

void test('paper 5.3: a follower applies what its leader says is committed, and no more than it has', async (t) => {
  const core = new LoneCore({ self: 'b' })
  const entries = logOf([1, 1])
  const effects = core.hear('a', { type: 'append', term: 1, previous: none, commit: 1, entries })
  t.same(only(effects, 'apply').flatMap((apply) => apply.entries).length, 1)
  core.hear('a', { type: 'append', term: 1, previous: { index: 2, term: 1 }, commit: 2, entries: [] })
  t.equal(core.status.applied, 2)
})

void test('paper 5.3: the consistency check: an append that does not fit is refused with a hint', async (t) => {
  const entries = logOf([1, 2])
  for (const [previous, isTaken] of [
    [none, true],
    [{ index: 1, term: 1 }, true],
    [{ index: 2, term: 2 }, true],
    [{ index: 1, term: 2 }, false],
    [{ index: 2, term: 3 }, false],
    [{ index: 3, term: 3 }, false],
  ] as const) {
    const core = new LoneCore({ self: 'b', entries, term: 3 })
    const effects = core.hear('a', { type: 'append', term: 3, previous, commit: 0, entries: [] })
    const [reply] = sent(effects, 'append-reply')
    t.equal(reply?.rejected === undefined, isTaken, JSON.stringify(previous))
  }
})

void test('paper 5.3: conflicting entries are deleted, and those of the leader appended', async (t) => {
  const cases: readonly [mine: number[], previous: number, theirs: number[], expected: number[]][] = [
    [[1, 2], 2, [3], [1, 2, 3]],
    [[1, 2], 1, [3, 4], [1, 3, 4]],
    [[1, 2], 0, [1], [1, 2]],
    [[1, 2], 0, [3], [3]],
    [[1, 2, 2, 2], 2, [2], [1, 2, 2, 2]],
    [[1, 2, 2, 2], 2, [3], [1, 2, 3]],
  ]
  for (const [mine, previous, theirs, expected] of cases) {
    const core = new LoneCore({ self: 'b', entries: logOf(mine), term: 5 })
    const entries = theirs.map((term, i) => ({
      type: 'command' as const,
      index: previous + 1 + i,
      term,
      data: bytes(i),
    }))
    const effects = core.hear('a', {
      type: 'append',
      term: 5,
      previous: { index: previous, term: mine[previous - 1] ?? 0 },
      commit: 0,
      entries,
    })
    const first = only(effects, 'persist').flatMap((persist) => persist.entries)[0]?.index ?? mine.length + 1
    const found = [...mine.slice(0, first - 1), ...theirs.slice(first - 1 - previous)]
    t.same(first > mine.length && theirs.length <= mine.length - previous ? mine : found, expected)
    t.equal(core.status.last.index, expected.length)
  }
})

void test('paper 5.3: a leader brings every log of figure 7 in line with its own', async (t) => {
  const logs = new Map<string, readonly number[]>([
    ['a', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]],
    ['b', [1, 1, 1, 4, 4, 5, 5, 6, 6]],
    ['c', [1, 1, 1, 4]],
    ['d', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]],
    ['e', [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]],
    ['f', [1, 1, 1, 4, 4, 4, 4]],
    ['g', [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]],
  ])
  const starts = new Map(
    [...logs].map(([name, terms]) => [name, { entries: logOf(terms), hard: { term: 7, vote: undefined } }]),
  )
  const cluster = calmCluster([...logs.keys()], { starts })
  cluster.runUntil(3 * TIMEOUT)
  t.equal(cluster.leaders()[0]?.name, 'a')
  for (const node of cluster.nodes)
    t.same(
      node.log.entries.map(({ term }) => term),
      [...(logs.get('a') ?? []), 8],
    )
})

void test('paper 5.3: append-entries is idempotent, and a leader retries until all have everything', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.network.faults.dropPerMille = 0
  cluster.network.faults.dropTypes.add('append')
  cluster.propose('a', [bytes(1)])
  cluster.runUntil(cluster.nowMs + 300)
  cluster.network.faults.dropTypes.clear()
  cluster.runUntil(cluster.nowMs + 500)
  t.ok(cluster.nodes.every((node) => node.status?.commit === 2))
})

// ---- paper, section 5.4

void test('paper 5.4.1: the vote is refused to a log that is less up-to-date than the own one', async (t) => {
  const cases: readonly [mine: number[], theirs: { index: number; term: number }, granted: boolean][] = [
    [[1], { index: 1, term: 1 }, true],
    [[1], { index: 2, term: 1 }, true],
    [[1, 1], { index: 1, term: 1 }, false],
    [[1], { index: 1, term: 2 }, true],
    [[1, 1], { index: 1, term: 2 }, true],
    [[2], { index: 1, term: 1 }, false],
    [[2], { index: 9, term: 1 }, false],
  ]
  for (const [mine, last, granted] of cases) {
    for (const type of ['pre-vote', 'vote'] as const) {
      const core = new LoneCore({ self: 'b', entries: logOf(mine), term: 3 })
      core.nowMs = 5 * TIMEOUT
      const effects = core.hear('a', { type, term: 4, last, transfer: false })
      const replies: readonly RaftMessage[] = [
        ...sent(effects, 'pre-vote-reply'),
        ...sent(effects, 'vote-reply'),
      ]
      t.match(replies, [{ granted }], `${mine.join(' ')} and ${JSON.stringify(last)}`)
    }
  }
})

void test('paper 5.4.2: only entries of the own term are committed by counting (figure 8)', async (t) => {
  for (const [index, commit] of [
    [1, 0],
    [2, 0],
    [3, 3],
  ] as const) {
    const core = new LoneCore({ entries: logOf([1, 2]), term: 2 })
    core.lead()
    core.flush()
    core.hear('b', { type: 'append-reply', term: core.status.term, index, rejected: undefined })
    t.equal(core.status.commit, commit)
  }
})

// ---- paper, sections 5.5 to 8

void test('paper 5.5: a crashed server gets what it missed when it is back', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.crash('c')
  for (let i = 0; i < 10; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 5 * TIMEOUT)
  cluster.start('c')
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  t.equal(cluster.node('c').status?.commit, cluster.safety.commitMax)
})

void test('paper 5.6: a leader that dies is replaced within two election timeouts and two round trips', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.crash('a')
  const took = cluster.runWhile(() => cluster.leaders().length > 0, 10 * TIMEOUT)
  t.ok(took !== undefined && took <= 2 * TIMEOUT + 60, `${took}`)
})

void test('paper 6: a configuration rules from when it is appended, and again not when its entry is replaced', async (t) => {
  const core = new LoneCore({ self: 'b' })
  const joint = { voters: ['a', 'd', 'e'], outgoing: ['a', 'b', 'c'], learners: [], learnersNext: [] }
  core.hear('a', {
    type: 'append',
    term: 1,
    previous: none,
    commit: 0,
    entries: [{ type: 'configuration', index: 1, term: 1, configuration: joint }],
  })
  t.same(core.status.configuration, joint)
  core.hear('c', {
    type: 'append',
    term: 2,
    previous: none,
    commit: 0,
    entries: [{ type: 'noop', index: 1, term: 2 }],
  })
  t.same(core.status.configuration.voters, ['a', 'b', 'c'])
  t.same(core.status.configuration.outgoing, [])
})

void test('paper 6: joint consensus: elections and commits need a majority of the old and of the new', async (t) => {
  const core = new LoneCore({ voters: ['a', 'b', 'c'] })
  core.lead()
  core.settle()
  core.step({ type: 'change', id: 1, target: { voters: ['a', 'd', 'e'], learners: [] } })
  core.flush()
  const { term, last, commit } = core.status
  const acknowledge = (member: string): void => {
    core.hear(member, { type: 'append-reply', term, index: last.index, rejected: undefined })
  }
  acknowledge('d')
  acknowledge('e')
  t.equal(core.status.commit, commit, 'all the new ones')
  acknowledge('b')
  t.ok(core.status.commit > commit, 'and a majority of the old ones')

  const candidate = new LoneCore({
    start: {
      hard: { term: 1, vote: undefined },
      snapshot: {
        index: 1,
        term: 1,
        configuration: { voters: ['a', 'd', 'e'], outgoing: ['a', 'b', 'c'], learners: [], learnersNext: [] },
      },
    },
  })
  candidate.expire()
  candidate.hear('d', { type: 'pre-vote-reply', term: 2, granted: true })
  candidate.hear('e', { type: 'pre-vote-reply', term: 2, granted: true })
  t.equal(candidate.status.role, 'pre-candidate')
  candidate.hear('c', { type: 'pre-vote-reply', term: 2, granted: true })
  t.equal(candidate.status.role, 'candidate')
})

void test('paper 6: a leader that is not in the new configuration steps down when that is committed, not before', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.change('a', ['b@1', 'c@1'], [])
  const isCommitted = (): boolean =>
    cluster.safety.configurationAt(cluster.safety.commitMax).voters.length === 2
  let ledUntil = 0
  cluster.runWhile(() => {
    if (cluster.node('a').isLeader) ledUntil = cluster.safety.commitMax
    return isCommitted() && !cluster.node('a').isLeader
  }, TIMEOUT)
  t.equal(cluster.node('a').isLeader, false)
  t.ok(ledUntil >= 2, 'it led while the joint configuration was committed')
  cluster.runUntil(cluster.nowMs + 3 * TIMEOUT)
  t.ok(['b', 'c'].includes(cluster.leaders()[0]?.name ?? ''))
})

void test('paper 7: a follower that is too far behind gets a snapshot, and keeps what follows it', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.crash('c')
  for (let i = 0; i < 10; i++) cluster.propose('a', [bytes(i)])
  cluster.runUntil(cluster.nowMs + 100)
  cluster.compact('a', 0)
  cluster.runUntil(cluster.nowMs + 100)
  cluster.start('c')
  cluster.propose('a', [bytes(99)])
  cluster.runUntil(cluster.nowMs + TIMEOUT)
  t.equal(cluster.counts.get('install'), 1)
  t.equal(cluster.node('c').status?.commit, cluster.safety.commitMax)
})

void test('paper 8: a leader commits a noop when its term begins, and only then reads', async (t) => {
  const core = new LoneCore()
  const effects = core.lead()
  t.same(
    sent(effects, 'append').map(({ entries }) => entries.map(({ type }) => type)),
    [['noop'], ['noop']],
  )
  t.same(only(core.step({ type: 'read', id: 1 }), 'read-ready'), [])
})

// ---- thesis

void test('thesis 3.10: transfer: no proposals, the log first, then timeout-now, whose votes pass the stickiness', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  core.step({ type: 'propose', id: 1, commands: [bytes(1)] })
  t.same(sent(core.step({ type: 'transfer', id: 2, to: 'b' }), 'timeout-now'), [])
  const { term, last } = core.status
  const effects = core.hear('b', { type: 'append-reply', term, index: last.index, rejected: undefined })
  t.equal(sent(effects, 'timeout-now').length, 1)

  const follower = new LoneCore({ self: 'b' })
  follower.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  const campaign = follower.hear('a', { type: 'timeout-now', term: 1 })
  t.same(
    sent(campaign, 'vote').map((vote) => [vote.term, vote.transfer]),
    [
      [2, true],
      [2, true],
    ],
  )
  const voter = new LoneCore({ self: 'c' })
  voter.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  const vote = voter.hear('b', { type: 'vote', term: 2, last: none, transfer: true })
  t.equal(sent(vote, 'vote-reply')[0]?.granted, true)
})

void test('thesis 4.2.1: a learner gets the log and counts in no majority', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c', 'd'], { voters: ['a', 'b', 'c'], learners: ['d'] })
  cluster.crash('b')
  cluster.crash('c')
  const { commitMax } = cluster.safety
  cluster.propose('a', [bytes(1)])
  cluster.runUntil(cluster.nowMs + 200)
  t.equal(cluster.safety.commitMax, commitMax)
  t.equal(cluster.node('d').log.last.index, cluster.node('a').log.last.index)
})

void test('thesis 4.2.3: a vote request does not depose a leader that is heard', async (t) => {
  const core = new LoneCore({ self: 'b' })
  core.hear('a', { type: 'heartbeat', term: 1, commit: 0, round: 1 })
  core.nowMs += TIMEOUT - 1
  core.hear('c', { type: 'vote', term: 9, last: { index: 9, term: 8 }, transfer: false })
  t.same([core.status.term, core.status.leader], [1, 'a'])
})

void test('thesis 6.2: a leader that hears no majority for an election timeout steps down', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  const beganMs = core.nowMs
  for (let i = 0; i < 30 && core.status.role === 'leader'; i++) core.expire()
  t.equal(core.status.role, 'follower')
  t.ok(core.nowMs - beganMs >= TIMEOUT && core.nowMs - beganMs <= TIMEOUT + 2 * HEARTBEAT)
})

void test('thesis 6.4: a read-only query costs no entry: a round of heartbeats, shared by all that wait', async (t) => {
  const core = new LoneCore()
  core.lead()
  core.settle()
  const { last, term } = core.status
  core.hear('b', { type: 'heartbeat-reply', term, round: core.beat() })
  const first = core.step({ type: 'read', id: 1 })
  const round = sent(first, 'heartbeat')[0]?.round ?? 0
  const more = [2, 3, 4].flatMap((id) => core.step({ type: 'read', id }))
  t.same(sent(more, 'heartbeat'), [], 'those that come while a round is under way wait for the next')
  const answered = core.hear('b', { type: 'heartbeat-reply', term, round })
  t.same(
    only(answered, 'read-ready').map(({ id }) => id),
    [1],
  )
  const [next] = sent(answered, 'heartbeat')
  const rest = core.hear('c', { type: 'heartbeat-reply', term, round: next?.round ?? 0 })
  t.same(
    only(rest, 'read-ready').map(({ id }) => id),
    [2, 3, 4],
  )
  t.same(core.status.last, last)
})

void test('thesis 9.6: a pre-vote changes nobody, and is granted only by who hears no leader', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.network.split(['a', 'b', 'c'], [['a', 'b']])
  cluster.runUntil(cluster.nowMs + 20 * TIMEOUT)
  t.equal(cluster.node('c').status?.term, 1)
  cluster.network.join()
  cluster.runUntil(cluster.nowMs + 2 * TIMEOUT)
  t.equal(cluster.leaders()[0]?.status?.term, 1)
  t.equal(cluster.leaders()[0]?.name, 'a')
})

void test('thesis 10.2.1: a leader writes its own log beside sending it, and counts itself when it is durable', async (t) => {
  const cluster = ledCluster(['a', 'b', 'c'])
  cluster.setDisk('a', true)
  cluster.propose('a', [bytes(1)])
  cluster.runUntil(cluster.nowMs + 100)
  t.equal(cluster.safety.commitMax, 2, 'b and c are a majority')
  cluster.crash('c')
  cluster.propose('a', [bytes(2)])
  cluster.runUntil(cluster.nowMs + 100)
  t.equal(cluster.safety.commitMax, 2, 'b alone is none, and a has it only in memory')
  cluster.setDisk('a', false)
  cluster.runUntil(cluster.nowMs + 10)
  t.equal(cluster.safety.commitMax, 3)
})
