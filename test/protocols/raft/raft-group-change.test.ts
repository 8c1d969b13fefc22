/** Who takes part in a Raft group, and how its state travels: lost disks, changes, transfers, snapshots. */
import type { ClusterNode } from '@understudy/cluster'
import { test } from 'tap'
import { bytes, groupBed, type GroupBed } from './group-under-test.ts'

const names = (bed: GroupBed, name: string): string =>
  bed
    .group(name)
    .members()
    .map(({ node, role }) => `${node} ${role}`)
    .join(', ')

async function fill(bed: GroupBed, count: number, size = 0): Promise<void> {
  const group = bed.group(bed.leader as string)
  for (let i = 0; i < count; i += 50) {
    const burst = Array.from({ length: Math.min(50, count - i) }, (_, j) =>
      group.propose(bytes(`${'.'.repeat(size)}${i + j}`)),
    )
    await bed.result(Promise.all(burst))
  }
}

void test('a node that lost its disk comes back as a learner, catches up, and takes its old place by itself (R20)', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 30, keptEntries: 5 })
  await fill(bed, 100)
  const leader = await bed.led()
  const [lost = ''] = bed.followers()
  const before = bed
    .group(leader)
    .members()
    .find(({ node }) => node === lost)
  await bed.end(lost)
  bed.disk(lost).wipe()
  await bed.propose(leader, 'meanwhile')
  const roles: string[] = []
  const group = await bed.open(lost)
  group.onStatus(({ role }) => roles.push(role))
  await bed.until(() => group.status().role === 'follower')
  await bed.agreed()
  t.equal(bed.list(lost).length, 101)
  t.ok(bed.machines.get(lost)?.restored === 1, 'by a snapshot')
  t.ok(roles.indexOf('learner') >= 0 && roles.indexOf('learner') < roles.indexOf('follower'), roles.join())
  await bed.until(() => names(bed, leader) === 'a voter, b voter, c voter')
  const after = bed
    .group(leader)
    .members()
    .find(({ node }) => node === lost)
  t.not(after?.store, before?.store, 'another member under the same name')
  t.equal(bed.logged(leader, 'came back without its disk: it is added').length, 1)
  // It counts now: with the third one gone there still is a majority.
  const [other = ''] = bed.followers().filter((name) => name !== lost)
  await bed.end(other)
  t.equal(await bed.code(bed.group(await bed.led()).propose(bytes('goes on'))), 'none')
})

void test('the node of the leader may lose its disk too', async (t) => {
  await using bed = await groupBed()
  await fill(bed, 20)
  const first = await bed.led()
  await bed.end(first)
  bed.disk(first).wipe()
  await bed.led()
  await bed.open(first)
  await bed.until(() => bed.group(first).status().role === 'follower')
  await bed.agreed()
  t.equal(bed.list(first).length, 20)
})

void test('a node whose only mention was an entry that is lost is taken back all the same', async (t) => {
  const nodes = ['a', 'b', 'c', 'd', 'e']
  await using bed = await groupBed({ nodes, members: nodes, raft: { preset: 'lan' } })
  await fill(bed, 5)
  const old = await bed.led()
  const [lost = ''] = bed.followers()
  await bed.end(lost)
  bed.disk(lost).wipe()
  // Until its old store counts as silent.
  await bed.cluster.advance(1_500)
  // The leader and the newcomer reach each other and nobody else: the entry that makes it a learner comes to those two alone.
  const isCutOff = (name: string): boolean => name === old || name === lost
  bed.loses = (from, to) => isCutOff(from) !== isCutOff(to)
  const group = await bed.open(lost)
  await bed.until(() => group.status().members.some(({ node, role }) => node === lost && role === 'learner'))
  const own = group.raftStatus()?.self
  bed.loses = undefined
  await bed.end(old)
  await bed.until(() => bed.leader !== undefined)
  const next = bed.leader as string
  t.not(next, lost)
  await bed.until(
    () =>
      bed
        .group(next)
        .raftStatus()
        ?.configuration.voters.includes(own as string) === true,
  )
  await bed.agreed()
  t.equal(group.status().role, 'follower')
  t.ok(bed.logged(lost, 'stands still').length <= 1, 'it does not go to and fro meanwhile')
  // The leader with the entry that was lost comes back too.
  await bed.open(old)
  await bed.agreed()
  t.equal(names(bed, await bed.led()), 'a voter, b voter, c voter, d voter, e voter')
})

void test('with replace "manual" a lost disk is told of, and a change brings the node back', async (t) => {
  await using bed = await groupBed({ replace: 'manual' })
  await fill(bed, 10)
  const leader = await bed.led()
  const [lost = ''] = bed.followers()
  await bed.end(lost)
  bed.disk(lost).wipe()
  await bed.open(lost)
  await bed.cluster.advance(5_000)
  t.equal(bed.group(lost).status().role, 'learner')
  t.equal(bed.list(lost).length, 0)
  t.equal(bed.logged(leader, 'name its node in "change"').length, 1, 'once')
  const members = await bed.result(bed.group(leader).change(['a', 'b', 'c']))
  t.same(
    members.map(({ node, role }) => `${node} ${role}`),
    ['a voter', 'b voter', 'c voter'],
  )
  await bed.agreed()
  t.equal(bed.list(lost).length, 10)
})

void test('change adds a node that has opened the group: learner, caught up, voter in one joint change (thesis, section 4.2.1)', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 20, keptEntries: 5 })
  await bed.cluster.advance(0)
  await fill(bed, 60)
  await bed.addNodes(['d'])
  await bed.open('d')
  const leader = await bed.led()
  await bed.cluster.advance(2_000)
  t.equal(names(bed, leader), 'a voter, b voter, c voter', 'nobody has asked for it')
  const members = await bed.result(bed.group(leader).change(['a', 'b', 'c', 'd']))
  t.equal(members.length, 4)
  await bed.agreed()
  t.equal(bed.list('d').length, 60)
  await bed.until(() => bed.group('d').status().role === 'follower')
})

void test('change removes nodes; a removed one says so, stands still, and disturbs nobody (R7)', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [gone = '', stays = ''] = bed.followers()
  await bed.result(bed.group(leader).change([leader, stays]))
  await bed.until(() => bed.group(gone).status().role === 'removed')
  t.equal(bed.logged(gone, 'removed from the group').length, 1)
  const { term } = bed.group(leader).status()
  await bed.cluster.advance(20_000)
  t.equal(bed.group(leader).status().term, term)
  t.equal(bed.group(leader).status().role, 'leader')
  await bed.propose(leader, 'without it')
  await bed.end(gone)
  await bed.open(gone)
  await bed.until(() => bed.group(gone).status().role === 'removed')
  t.same(bed.list(gone), [])
  await bed.result(bed.group(leader).change([leader, stays, gone]))
  await bed.agreed()
  t.same(bed.list(gone), ['without it'], 'and it can be added again')
  await bed.until(() => bed.group(gone).status().role === 'follower')
})

void test('a removed node that did not hear of it is told when it asks for votes', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [gone = '', stays = ''] = bed.followers()
  await bed.end(gone)
  await bed.result(bed.group(leader).change([leader, stays]))
  await bed.open(gone)
  await bed.until(() => bed.group(gone).status().role === 'removed')
  t.equal((await bed.propose(leader, 'goes on')).at, 0)
})

void test('a member that was away while all others it knows were replaced, and ended, finds the group that sleeps', async (t) => {
  const nodes = ['a', 'b', 'c', 'd', 'e']
  await using bed = await groupBed({ nodes, members: ['a', 'b', 'c'] })
  await bed.propose(await bed.led(), 'before')
  const old = await bed.led()
  const [away = '', other = ''] = bed.followers().filter((name) => 'abc'.includes(name))
  await bed.end(away)
  await bed.result(bed.group(old).change([away, 'd', 'e']))
  for (const name of [old, other]) await bed.end(name)
  const leader = await bed.led()
  await bed.cluster.advance(20_000)
  t.equal(bed.group(leader).raftStatus()?.isQuiet, true)
  const group = await bed.open(away)
  await bed.until(() => group.status().leader === leader)
  await bed.agreed()
  t.equal(group.status().role, 'follower')
  await bed.until(() => bed.group(leader).raftStatus()?.isQuiet === true)
  t.same(bed.list(away), ['before'])
})

void test('a leader that removes itself steps down when that is committed (paper, section 6)', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const others = bed.followers()
  t.equal(await bed.code(bed.group(leader).change(others)), 'none')
  await bed.until(() => bed.group(leader).status().role === 'removed')
  bed.groups.delete(leader)
  const next = await bed.led()
  await bed.propose(next, 'on')
  t.equal(names(bed, next), others.map((name) => `${name} voter`).join(', '))
})

void test('one change at a time; on a follower, and with a node that does not answer, it says so', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [follower = ''] = bed.followers()
  t.equal(await bed.code(bed.group(follower).change(['a', 'b'])), 'PROTOCOLS_NOT_LEADER')
  const first = bed.code(bed.group(leader).change(['a', 'b', 'c', 'nobody'], { timeoutMs: 2_000 }))
  t.equal(await bed.code(bed.group(leader).change(['a', 'b'])), 'PROTOCOLS_CHANGE_REFUSED')
  t.equal(await first, 'PROTOCOLS_OUTCOME_UNKNOWN')
  t.equal(await bed.code(bed.group(leader).change(['a', 'b', 'c'])), 'none', 'the first is given up')
  t.equal(names(bed, leader), 'a voter, b voter, c voter')
})

void test('learners get the log and have no say', async (t) => {
  await using bed = await groupBed()
  const leader = await bed.led()
  const [learner = '', other = ''] = bed.followers()
  await bed.result(bed.group(leader).change([leader, other], { learners: [learner] }))
  await bed.until(() => bed.group(learner).status().role === 'learner')
  await bed.propose(leader, 'seen')
  await bed.agreed()
  await bed.end(other)
  t.equal(
    await bed.code(bed.group(leader).propose(bytes('x'), { timeoutMs: 300 })),
    'PROTOCOLS_OUTCOME_UNKNOWN',
  )
})

void test('transfer hands leadership to the node that is named, and loses nothing (R19)', async (t) => {
  await using bed = await groupBed()
  const first = await bed.led()
  const [next = ''] = bed.followers()
  t.equal(await bed.code(bed.group(next).transfer(first)), 'PROTOCOLS_NOT_LEADER')
  const writes = Array.from({ length: 50 }, (_, i) => bed.code(bed.group(first).propose(bytes(`c${i}`))))
  await bed.result(bed.group(first).transfer(next))
  t.equal(await bed.led(), next)
  const codes = await bed.result(Promise.all(writes))
  await bed.agreed()
  const acknowledged = codes.filter((code) => code === 'none').length
  t.ok(bed.list(next).length >= acknowledged)
  t.equal(await bed.code(bed.group(next).transfer('nobody')), 'PROTOCOLS_TRANSFER_FAILED')
  await bed.end(first)
  t.equal(await bed.code(bed.group(next).transfer(first)), 'PROTOCOLS_TRANSFER_FAILED')
  t.equal(await bed.led(), next, 'it stays where it was')
})

void test('snapshot takes one now, and the log before it is cut', async (t) => {
  await using bed = await groupBed({ keptEntries: 3 })
  await fill(bed, 40)
  const group = bed.group(await bed.led())
  const index = await bed.result(group.snapshot())
  t.equal(index, group.status().applied)
  t.equal(group.raftStatus()?.first, index + 1 - 3)
  t.equal(await bed.result(group.snapshot()), index, 'nothing new: the same')
  t.equal(bed.machines.get(bed.leader as string)?.walks, 1)
})

void test('a follower that is behind the log gets a snapshot in chunks, and goes on with the log', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 50, keptEntries: 5, chunkChars: 100_000 })
  const leader = await bed.led()
  const [slow = ''] = bed.followers()
  await bed.end(slow)
  await fill(bed, 200, 5_000)
  await bed.open(slow)
  await bed.until(() => (bed.machines.get(slow)?.restored ?? 0) > 0)
  await bed.propose(leader, 'after')
  await bed.agreed()
  t.equal(bed.list(slow).length, 201)
  t.ok(bed.logged(leader, 'sending a snapshot').length >= 1)
  t.equal(bed.logged(slow, 'snapshot installed').length, 1)
})

void test('a snapshot goes on where it was after a lost link, and is not sent again (R13)', async (t) => {
  await using bed = await groupBed({
    snapshotEntries: 50,
    keptEntries: 5,
    chunkChars: 100_000,
    snapshotWindowChunks: 1,
  })
  const leader = await bed.led()
  const [slow = ''] = bed.followers()
  await bed.end(slow)
  await fill(bed, 400, 5_000)
  let count = 0
  bed.onChunk.set(slow, () => {
    count++
    // In the middle of it the link breaks, and takes one along.
    if (count === 4) bed.cluster.cut(bed.nodes.get(slow) as ClusterNode)
    return count !== 4
  })
  await bed.open(slow)
  await bed.until(() => (bed.machines.get(slow)?.restored ?? 0) > 0)
  await bed.agreed()
  t.equal(bed.list(slow).length, 400)
  const all = bed.lastSnapshotChunks(leader)
  t.ok(all >= 7, `${all} chunks`)
  t.equal(count, all + 1, 'each came once, and the lost one twice')
})

void test('a receiver that restarts goes on with the chunks that are on its disk', async (t) => {
  await using bed = await groupBed({
    snapshotEntries: 50,
    keptEntries: 5,
    chunkChars: 100_000,
    snapshotWindowChunks: 1,
  })
  const leader = await bed.led()
  const [slow = ''] = bed.followers()
  await bed.end(slow)
  await fill(bed, 400, 5_000)
  let count = 0
  bed.onChunk.set(slow, () => {
    count++
    if (count === 4) bed.disk(slow).hold()
  })
  await bed.open(slow)
  await bed.until(() => count === 4)
  await bed.end(slow)
  bed.disk(slow).release()
  await bed.open(slow)
  await bed.until(() => (bed.machines.get(slow)?.restored ?? 0) > 0)
  await bed.agreed()
  t.equal(bed.list(slow).length, 400)
  t.equal(count, bed.lastSnapshotChunks(leader), 'each came once')
})

void test('entries that cannot be read are named at the start, fetched anew, and the end of that is told (R20)', async (t) => {
  await using bed = await groupBed()
  await fill(bed, 5)
  const [broken = ''] = bed.followers()
  for (let i = 0; i < 5; i++) await bed.propose(bed.leader as string, `single ${i}`)
  await bed.agreed()
  await bed.end(broken)
  await bed.damageLog(broken)
  await bed.open(broken)
  await bed.until(() => bed.logged(broken, 'are here again').length === 1)
  t.equal(bed.logged(broken, 'entries of the log cannot be read').length, 1)
  await bed.agreed()
  t.equal(bed.list(broken).length, 10)
})

void test('a snapshot that cannot be read keeps the group closed on that node, and says how to mend it', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 20, keptEntries: 0 })
  await fill(bed, 50)
  const [broken = ''] = bed.followers()
  await bed.agreed()
  await bed.end(broken)
  await bed.damageSnapshot(broken)
  const { error } = (await bed.outcome(bed.open(broken))) as {
    readonly error: Error & { readonly code?: string }
  }
  t.equal(error.code, 'RUNTIME_STORE_CORRUPT')
  t.match(error.message, /as a new member/)
  await bed.end(broken)
  bed.disk(broken).wipe()
  const group = await bed.open(broken)
  await bed.until(() => group.status().role === 'follower')
  await bed.agreed()
  t.equal(bed.list(broken).length, 50, 'as it did here')
})
