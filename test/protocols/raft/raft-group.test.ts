/** A Raft group on three nodes: elections, commands, reads, restarts, sessions, and what callers are told. */
import { test } from 'tap'
import { bytes, groupBed, type RaftObserver } from './group-under-test.ts'

const stamp = (session: number, sequence: number, answeredBelow = 1) => ({ session, sequence, answeredBelow })

void test('a group is founded, elects a leader, and applies commands in one order everywhere', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const results = await bed.result(
    Promise.all(['x', 'y', 'z'].map((command) => bed.group(leader).propose(bytes(command)))),
  )
  t.same(
    results.map(({ at }) => at),
    [0, 1, 2],
  )
  await bed.agreed()
  t.same(bed.list('a'), ['x', 'y', 'z'])
  const status = bed.group(leader).status()
  t.match(status, { name: 'g', node: leader, role: 'leader', leader })
  t.same(
    status.members.map(({ node, role }) => `${node} ${role}`),
    ['a voter', 'b voter', 'c voter'],
  )
})

void test('what is proposed in one turn is one record on each disk and one message to each follower', async (t) => {
  await using bed = await groupBed({
    raft: { preset: 'local', heartbeatMs: 1_000, electionTimeoutMs: 5_000 },
  })
  const leader = await bed.led()
  await bed.propose(leader, 'first')
  await bed.cluster.advance(100)
  const writes = [...bed.disks.values()].map((disk) => disk.writes)
  const sent = bed.hosts.get(leader)?.status().messagesSent ?? 0
  const proposals = Array.from({ length: 100 }, (_, i) => bed.group(leader).propose(bytes(`c${i}`)))
  await bed.result(Promise.all(proposals))
  t.same(
    [...bed.disks.values()].map((disk, i) => disk.writes - (writes[i] ?? 0)),
    [1, 1, 1],
  )
  t.equal((bed.hosts.get(leader)?.status().messagesSent ?? 0) - sent, 2, 'one append to each follower')
})

void test('a follower refuses a proposal and names the leader: nothing is appended', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  for (const name of bed.followers()) {
    const outcome = await bed.outcome(bed.group(name).propose(bytes('no')))
    t.match(outcome, { error: { code: 'PROTOCOLS_NOT_LEADER', leader } })
  }
  await bed.propose(leader, 'yes')
  await bed.agreed()
  t.same(bed.list('a'), ['yes'])
})

void test('a new leader is elected when the leader ends, and its node follows when it is back (paper, section 5.2)', async (t) => {
  await using bed = await groupBed()
  const first = await bed.led()
  await bed.propose(first, 'one')
  await bed.end(first)
  const second = await bed.led()
  t.not(second, first)
  await bed.propose(second, 'two')
  await bed.open(first)
  await bed.led()
  await bed.agreed()
  t.same(bed.list(first), ['one', 'two'], 'its own disk and the new leader gave it all')
})

void test('everything acknowledged survives the end of all members at once', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 10, keptEntries: 3 })
  const commands = Array.from({ length: 37 }, (_, i) => `c${i}`)
  const leader = await bed.led()
  for (const command of commands) await bed.propose(leader, command)
  for (const name of ['a', 'b', 'c']) await bed.end(name)
  for (const name of ['a', 'b', 'c']) await bed.open(name)
  const next = await bed.led()
  await bed.propose(next, 'after')
  await bed.agreed()
  t.same(bed.list('b'), [...commands, 'after'])
  t.equal(bed.machines.get('a')?.restored, 1, 'from a snapshot')
})

void test('a minority acknowledges nothing; what is proposed there ends as unknown, and is not applied later', async (t) => {
  await using bed = await groupBed({ proposeTimeoutMs: 300 })
  const leader = await bed.led()
  for (const name of bed.followers()) await bed.end(name)
  const code = bed.code(bed.group(leader).propose(bytes('lost')))
  t.equal(await code, 'PROTOCOLS_OUTCOME_UNKNOWN')
  t.equal(await bed.code(bed.group(leader).read({ timeoutMs: 100 })), 'PROTOCOLS_NOT_LEADER', 'check-quorum')
  t.same(bed.list(leader), [])
})

void test('a proposal whose place another leader took was not applied, and says so', async (t) => {
  await using bed = await groupBed({ proposeTimeoutMs: 60_000 })
  const first = await bed.led()
  await bed.propose(first, 'one')
  // Only its own log gets it: its disk holds, and the followers are gone before it is sent.
  const followers = bed.followers()
  for (const name of followers) await bed.end(name)
  const pending = bed.outcome(bed.group(first).propose(bytes('mine')))
  await bed.cluster.advance(0)
  bed.cluster.network.hold(first)
  for (const name of followers) await bed.open(name)
  await bed.until(() => bed.leader !== undefined && bed.leader !== first)
  for (const command of ['theirs', 'too']) await bed.propose(bed.leader as string, command)
  bed.cluster.network.release(first)
  t.match(await pending, { error: { code: 'PROTOCOLS_NOT_LEADER' } })
  await bed.agreed()
  t.same(bed.list(first), ['one', 'theirs', 'too'])
})

void test('a linearizable read sees every command that was acknowledged before it, on each member', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  for (let round = 0; round < 5; round++) {
    await bed.propose(leader, `c${round}`)
    for (const name of ['a', 'b', 'c']) {
      const index = await bed.result(bed.group(name).read())
      t.ok(bed.list(name).includes(`c${round}`), `${name} at ${index}`)
    }
  }
})

void test('a read of a follower that is behind waits until it has applied what the leader had committed (thesis, section 6.4)', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [late = ''] = bed.followers()
  // Nothing of the log reaches its state while its disk holds.
  bed.disk(late).hold()
  await bed.propose(leader, 'seen')
  const read = bed.group(late).read()
  bed.disk(late).release()
  await bed.result(read)
  t.same(bed.list(late), ['seen'])
})

void test('a local read answers at once from whatever is applied; a lease read has to be opted in', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  await bed.propose(leader, 'one')
  const outcome = await bed.outcome(bed.group(leader).read({ consistency: 'lease' }))
  t.match(outcome, { error: { name: 'RangeError', message: /leaseReads/ } })
  await bed.agreed()
  const [alone = '', other = ''] = bed.followers()
  for (const name of [leader, other]) await bed.end(name)
  await bed.cluster.advance(2_000)
  t.type(await bed.result(bed.group(alone).read({ consistency: 'local' })), 'number')
  t.same(bed.list(alone), ['one'])
  t.equal(await bed.code(bed.group(alone).read()), 'PROTOCOLS_NOT_LEADER')
})

void test('a lease read costs no round', async (t) => {
  await using bed = await groupBed({
    raft: { preset: 'local', leaseReads: true, heartbeatMs: 100, electionTimeoutMs: 1_000 },
  })
  const leader = await bed.led()
  await bed.propose(leader, 'one')
  await bed.cluster.advance(200)
  const sent = bed.hosts.get(leader)?.status().messagesSent ?? 0
  await bed.result(bed.group(leader).read({ consistency: 'lease' }))
  t.equal(bed.hosts.get(leader)?.status().messagesSent, sent)
  await bed.result(bed.group(leader).read())
  t.ok((bed.hosts.get(leader)?.status().messagesSent ?? 0) > sent, 'a linearizable one does')
})

void test('a retry with the same stamp is applied once, also by the next leader, and gets the same answer (R17)', async (t) => {
  await using bed = await groupBed()
  const first = await bed.led()
  const session = await bed.result(bed.group(first).openSession({ ttlMs: 60_000 }))
  const answer = await bed.result(bed.group(first).propose(bytes('once'), { session: stamp(session, 1) }))
  await bed.end(first)
  const second = await bed.led()
  const again = await bed.result(bed.group(second).propose(bytes('once'), { session: stamp(session, 1) }))
  t.same(again, answer)
  await bed.result(bed.group(second).propose(bytes('two'), { session: stamp(session, 2) }))
  t.same(bed.list(second), ['once', 'two'])
  const late = bed.group(second).propose(bytes('once'), { session: stamp(session, 1, 1) })
  t.same(await bed.result(late), answer, 'still kept')
  await bed.result(bed.group(second).propose(bytes('three'), { session: stamp(session, 3, 3) }))
  t.equal(
    await bed.code(bed.group(second).propose(bytes('two'), { session: stamp(session, 2) })),
    'PROTOCOLS_OUTCOME_UNKNOWN',
  )
  t.same(bed.list(second), ['once', 'two', 'three'])
})

void test('sessions and their answers survive in snapshots', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 5, keptEntries: 0 })
  const leader = await bed.led()
  const session = await bed.result(bed.group(leader).openSession({ ttlMs: 600_000 }))
  const answer = await bed.result(bed.group(leader).propose(bytes('once'), { session: stamp(session, 1) }))
  for (let i = 0; i < 20; i++) await bed.propose(leader, `c${i}`)
  await bed.agreed()
  for (const name of ['a', 'b', 'c']) await bed.end(name)
  for (const name of ['a', 'b', 'c']) await bed.open(name)
  const next = await bed.led()
  t.ok((bed.machines.get(next)?.restored ?? 0) > 0)
  t.same(await bed.result(bed.group(next).propose(bytes('once'), { session: stamp(session, 1) })), answer)
  t.equal(bed.list(next).filter((command) => command === 'once').length, 1)
})

void test('a session that is not used for its time is over: by an entry of the leader, by the time of the log (R12)', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const group = bed.group(leader)
  const session = await bed.result(group.openSession({ ttlMs: 5_000 }))
  await bed.cluster.advance(4_000)
  await bed.result(group.propose(bytes('used'), { session: stamp(session, 1) }))
  await bed.cluster.advance(4_000)
  t.equal(await bed.code(group.propose(bytes('still'), { session: stamp(session, 2) })), 'none')
  const before = group.status().commit
  await bed.cluster.advance(8_000)
  t.equal(group.status().commit, before + 1, 'one entry')
  t.equal(
    await bed.code(group.propose(bytes('late'), { session: stamp(session, 3) })),
    'PROTOCOLS_SESSION_EXPIRED',
  )
  await bed.agreed()
  t.same(bed.list('a'), ['used', 'still'])
})

void test('the time of the log never goes back, over leaders', async (t) => {
  await using bed = await groupBed()
  let last = 0
  for (let round = 0; round < 4; round++) {
    const leader = await bed.led()
    for (let i = 0; i < 3; i++) {
      const { timeMs } = await bed.propose(leader, `c${round}`)
      t.ok(timeMs >= last, `${timeMs} after ${last}`)
      last = timeMs
      await bed.cluster.advance(50)
    }
    await bed.end(leader)
    await bed.led()
    await bed.open(leader)
  }
  t.ok(last > 300)
  // From snapshots with nothing behind them: what was the time is in them.
  for (const name of ['a', 'b', 'c']) await bed.result(bed.group(name).snapshot())
  for (const name of ['a', 'b', 'c']) await bed.end(name)
  for (const name of ['a', 'b', 'c']) await bed.open(name)
  t.ok((await bed.propose(await bed.led(), 'after')).timeMs >= last)
})

void test('a proposal for a term that is over is refused (R12)', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const { term } = bed.group(leader).status()
  t.equal(await bed.code(bed.group(leader).propose(bytes('now'), { term })), 'none')
  t.equal(await bed.code(bed.group(leader).propose(bytes('old'), { term: term - 1 })), 'PROTOCOLS_NOT_LEADER')
  t.same(bed.list(leader), ['now'])
})

void test('a signal takes a call back: surely before it is appended, as unknown behind that', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const group = bed.group(leader)
  const before = new AbortController()
  const early = bed.code(group.propose(bytes('early'), { signal: before.signal }))
  before.abort()
  t.equal(await early, 'RUNTIME_ABORTED')
  t.equal(await bed.code(group.propose(bytes('aborted'), { signal: before.signal })), 'RUNTIME_ABORTED')
  for (const name of bed.followers()) await bed.end(name)
  const behind = new AbortController()
  const late = bed.code(group.propose(bytes('late'), { signal: behind.signal }))
  await bed.cluster.advance(10)
  behind.abort()
  t.equal(await late, 'PROTOCOLS_OUTCOME_UNKNOWN')
  const read = new AbortController()
  const reading = bed.code(group.read({ signal: read.signal }))
  await bed.cluster.advance(10)
  read.abort()
  t.match(await reading, /RUNTIME_ABORTED|PROTOCOLS_NOT_LEADER/)
  t.same(bed.list(leader), [])
})

void test('more than pendingMax is refused, and nothing of it is appended', async (t) => {
  await using bed = await groupBed({ pendingMax: 10 })
  const leader = await bed.led()
  const codes = await bed.result(
    Promise.all(Array.from({ length: 15 }, (_, i) => bed.code(bed.group(leader).propose(bytes(`c${i}`))))),
  )
  t.same(codes.filter((code) => code === 'none').length, 10)
  t.same(codes.filter((code) => code === 'PROTOCOLS_OVERLOADED').length, 5)
  t.equal(bed.list(leader).length, 10)
  t.equal(await bed.code(bed.group(leader).propose(bytes('later'))), 'none', 'there is room again')
})

void test('wrong arguments are refused before anything happens', async (t) => {
  await using bed = await groupBed({ commandBytesMax: 100 })
  const group = bed.group(await bed.led())
  t.equal(await bed.code(group.propose('text' as unknown as Uint8Array)), 'TypeError')
  t.equal(await bed.code(group.propose(new Uint8Array(101))), 'RangeError')
  t.equal(await bed.code(group.propose(bytes('x'), { session: stamp(0, 1) })), 'RangeError')
  t.equal(await bed.code(group.propose(bytes('x'), { session: stamp(1, 1.5) })), 'RangeError')
  t.equal(await bed.code(group.propose(bytes('x'), { session: stamp(1, 1, 2) })), 'RangeError')
  t.equal(await bed.code(group.propose(bytes('x'), { term: -1 })), 'RangeError')
  t.equal(await bed.code(group.propose(bytes('x'), { timeoutMs: NaN })), 'RangeError')
  t.equal(await bed.code(group.openSession({ ttlMs: 0 })), 'RangeError')
  t.equal(await bed.code(group.read({ consistency: 'eventual' as 'local' })), 'RangeError')
  t.equal(await bed.code(group.change([])), 'RangeError')
  t.equal(await bed.code(group.change(['a', 'a'])), 'RangeError')
})

void test('close settles what waits, ends the member here, and leaves the others a group', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const group = bed.group(leader)
  const waiting = bed.code(group.propose(bytes('x')))
  await bed.result(group.close())
  await bed.result(group.close())
  t.match(await waiting, /PROTOCOLS_(OUTCOME_UNKNOWN|GROUP_CLOSED)/)
  t.equal(group.status().role, 'closed')
  t.equal(await bed.code(group.propose(bytes('x'))), 'PROTOCOLS_GROUP_CLOSED')
  t.equal(await bed.code(group.read()), 'PROTOCOLS_GROUP_CLOSED')
  t.equal(await bed.code(group.snapshot()), 'PROTOCOLS_GROUP_CLOSED')
  bed.groups.delete(leader)
  const next = await bed.led()
  await bed.propose(next, 'goes on')
  t.equal(bed.group(next).members().length, 3, 'and still counts it')
})

void test('a host that crashes opens its groups again, and what waited is settled, not repeated', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const group = bed.group(leader)
  await bed.propose(leader, 'one')
  const roles: string[] = []
  group.onStatus(({ role }) => roles.push(role))
  const waiting = bed.code(group.propose(bytes('two')))
  bed.disk(leader).fail()
  t.equal(await waiting, 'PROTOCOLS_OUTCOME_UNKNOWN')
  t.equal(await bed.code(group.propose(bytes('between'))), 'PROTOCOLS_NOT_LEADER')
  await bed.until(() => group.status().role === 'follower')
  await bed.led()
  await bed.agreed()
  t.same(bed.list(leader)[0], 'one')
  t.equal(bed.list(leader).filter((command) => command === 'two').length <= 1, true)
  t.ok(roles.includes('follower'))
  t.equal(bed.hosts.get(leader)?.status().restarts, 1)
})

void test('a state machine that throws stops the group on its members, and not their hosts', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const group = bed.group(leader)
  const boom = await bed.code(group.propose(bytes('boom')))
  t.match(boom, /PROTOCOLS_(OUTCOME_UNKNOWN|GROUP_CLOSED)/)
  // The next leader commits it and throws too; then there is no majority to tell the third that it is committed.
  await bed.until(
    () => [...bed.groups.values()].filter((other) => other.status().role === 'closed').length === 2,
  )
  t.match(await bed.outcome(group.propose(bytes('x'))), {
    error: { code: 'PROTOCOLS_GROUP_CLOSED', message: /the machine has a bug/ },
  })
  for (const host of bed.hosts.values()) t.equal(host.status().restarts, 0)
  t.same(bed.logged(leader, 'the state machine threw').length, 1)
})

void test('onStatus tells each change of role, leader and term once it is in force, until it is ended', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [follower = ''] = bed.followers()
  const told: string[] = []
  const end = bed.group(follower).onStatus((status) => {
    told.push(`${status.role} ${status.leader === bed.group(follower).status().leader}`)
  })
  await bed.end(leader)
  await bed.led()
  t.ok(told.length > 0)
  t.ok(told.every((line) => line.endsWith('true')))
  const before = told.length
  end()
  await bed.end(bed.leader as string)
  await bed.cluster.advance(2_000)
  t.equal(told.length, before)
})

void test('a group with nothing to do goes quiet, wakes for a command, and notices a leader that is gone', async (t) => {
  await using bed = await groupBed({ raft: { preset: 'local', quiesceAfterMs: 300 } })
  const first = await bed.led()
  await bed.propose(first, 'one')
  await bed.until(() => [...bed.groups.values()].every((group) => group.raftStatus()?.isQuiet === true))
  const sent = bed.hosts.get(first)?.status().messagesSent
  await bed.cluster.advance(10_000)
  t.equal(bed.hosts.get(first)?.status().messagesSent, sent, 'no message of the group in ten seconds')
  await bed.propose(first, 'two')
  await bed.agreed()
  await bed.until(() => [...bed.groups.values()].every((group) => group.raftStatus()?.isQuiet === true))
  await bed.end(first)
  const second = await bed.led()
  t.not(second, first)
  await bed.propose(second, 'three')
  t.same(bed.list(second), ['one', 'two', 'three'])
})

void test('a message that cannot be read is dropped, told once, and harms nothing', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [follower = ''] = bed.followers()
  const ref = bed.hostRef(follower, leader)
  for (const payload of [
    [1],
    'x',
    [5, '', -1],
    [5, '', 1, 0, 0, 0, new Uint8Array([9, 9])],
    [999, ''],
    null,
  ]) {
    ref.tell({ type: 'data', node: follower, store: 'x', items: ['g', payload] })
  }
  await bed.cluster.advance(10)
  t.equal(bed.logged(leader, 'cannot be read').length, 1)
  t.equal(bed.hosts.get(leader)?.status().restarts, 0)
  await bed.propose(leader, 'fine')
})

void test('an observer sees every step, every entry applied and every start of a member', async (t) => {
  const lines: string[] = []
  const applied = new Map<string, number[]>()
  const observer: RaftObserver = {
    started: (member, { snapshot }) => lines.push(`started ${member.slice(0, 1)} ${snapshot.index}`),
    stepped: (_member, input, _effects, status) => {
      if (input.type === 'propose') lines.push(`propose in ${status().term}`)
    },
    applied: (member, { index }) => applied.set(member, [...(applied.get(member) ?? []), index]),
    ended: (member) => lines.push(`ended ${member.slice(0, 1)}`),
  }
  await using bed = await groupBed({ observer })
  await bed.propose(await bed.led(), 'one')
  await bed.agreed()
  await bed.end('a')
  t.same(lines.sort(), ['ended a', 'propose in 1', 'started a 0', 'started b 0', 'started c 0'])
  t.same(
    [...applied.values()],
    [
      [1, 2],
      [1, 2],
      [1, 2],
    ],
  )
})
