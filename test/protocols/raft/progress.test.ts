/** What a leader knows of a follower and how much may be on its way (R22): windows, probes, snapshots, stale answers. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { Inflights, Progress } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/progress.ts')
>('protocols', 'raft/progress')
const { ProgressTable } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/progress-table.ts')
>('protocols', 'raft/progress-table')

const limits = { inflightMessagesMax: 4, inflightBytesMax: 1000 }
type Follower = InstanceType<typeof Progress>

/** A follower that acknowledged up to `match` and is sent to without waiting. */
function replicating(match: number): Follower {
  const follower = new Progress('b', match + 1, 0, limits)
  follower.sent(match + 1, 0, 0, 0)
  follower.acknowledged(match, 1)
  return follower
}

void test('Inflights is full by messages or by bytes, and frees up to what is acknowledged', async (t) => {
  const inflights = new Inflights(limits)
  for (let last = 10; last <= 40; last += 10) {
    t.notOk(inflights.isFull)
    inflights.add(last, 100)
  }
  t.ok(inflights.isFull, 'four messages')
  inflights.freeUpTo(25)
  t.same([inflights.count, inflights.bytes, inflights.isFull], [2, 200, false])
  inflights.add(50, 800)
  t.ok(inflights.isFull, 'a thousand bytes')
  inflights.freeUpTo(9)
  t.equal(inflights.count, 3, 'what is older frees nothing')
  inflights.freeUpTo(50)
  t.same([inflights.count, inflights.bytes, inflights.isFull], [0, 0, false])
})

void test('Inflights keeps its order while the ring turns and grows', async (t) => {
  const inflights = new Inflights({ inflightMessagesMax: 100, inflightBytesMax: Infinity })
  const model: number[] = []
  let last = 0
  for (let turn = 0; turn < 500; turn++) {
    const adds = (turn * 7) % 5
    for (let i = 0; i < adds && !inflights.isFull; i++) {
      last++
      inflights.add(last, last)
      model.push(last)
    }
    if (turn % 3 === 0) {
      const upTo = model[Math.floor(model.length / 2)] ?? 0
      inflights.freeUpTo(upTo)
      while ((model[0] ?? Infinity) <= upTo) model.shift()
    }
    const bytes = model.reduce((sum, each) => sum + each, 0)
    if (inflights.count !== model.length || inflights.bytes !== bytes) t.fail(`turn ${turn}`)
  }
  t.equal(inflights.count, model.length)
})

void test('a probe is sent once, until it is answered or a heartbeat says that it may be lost', async (t) => {
  const follower = new Progress('b', 8, 0, limits)
  t.ok(follower.maySend)
  follower.sent(10, 20, 3, 5)
  t.notOk(follower.maySend, 'one at a time')
  t.equal(follower.next, 8, 'nothing is taken for granted')
  follower.resume()
  t.ok(follower.maySend)
  follower.sent(10, 20, 3, 6)
  follower.acknowledged(9, 1)
  t.match(follower.report(6, 100), { state: 'replicate', match: 9, next: 10, inflight: 0 })
})

void test('replicating sends within the window and goes on when it is freed', async (t) => {
  const follower = replicating(5)
  for (let end = 7; follower.maySend; end++) follower.sent(end, 10, 5, 0)
  t.match(follower.report(0, 100), { next: 10, inflight: 4, inflightBytes: 40 })
  follower.acknowledged(7, 1)
  t.ok(follower.maySend)
  t.match(follower.report(0, 100), { match: 7, next: 10, inflight: 2, inflightBytes: 20 })
  follower.sent(10, 0, 7, 0)
  t.equal(follower.inflights.count, 2, 'an append without entries takes no room')
})

void test('a rejection of an older append changes nothing; one of the last leads back to probing', async (t) => {
  const follower = replicating(5)
  follower.sent(9, 10, 5, 0)
  t.notOk(follower.rejected(5, 3), 'acknowledged meanwhile')
  t.ok(follower.rejected(8, 6))
  t.match(follower.report(0, 100), { state: 'probe', match: 5, next: 7, inflight: 0 })
  follower.sent(9, 10, 5, 0)
  t.notOk(follower.rejected(8, 6), 'a double of the rejection before')
  t.notOk(follower.maySend, 'and it frees no probe')
  t.ok(follower.rejected(6, 2))
  t.equal(follower.next, 6, 'never below what was acknowledged')
})

void test('the window is empty after doubt, and probing begins behind what was acknowledged', async (t) => {
  const follower = replicating(5)
  follower.sent(9, 10, 5, 0)
  follower.doubt()
  t.match(follower.report(0, 100), { state: 'probe', next: 6, inflight: 0, inflightBytes: 0 })
  follower.doubt()
  t.equal(follower.state, 'probe')
})

void test('a snapshot has its own slot: nothing else leaves until it is there or given up', async (t) => {
  const follower = new Progress('b', 3, 0, limits)
  follower.sendSnapshot(20)
  t.notOk(follower.maySend)
  t.equal(follower.snapshotIndex, 20, 'the log is kept behind it')
  follower.resume()
  t.notOk(follower.maySend, 'a heartbeat does not change that')
  t.notOk(follower.rejected(2, 0))
  follower.snapshotEnded(25, true)
  t.match(follower.report(0, 100), { state: 'probe', next: 26 })
  t.notOk(follower.maySend, 'first it is heard of')
  t.equal(follower.snapshotIndex, undefined)
  follower.acknowledged(25, 21)
  t.match(follower.report(0, 100), { state: 'replicate', match: 25, next: 26 })
})

void test('a snapshot that was given up is tried again from what is known', async (t) => {
  const follower = new Progress('b', 3, 0, limits)
  follower.sendSnapshot(20)
  follower.snapshotEnded(20, false)
  t.match(follower.report(0, 100), { state: 'probe', match: 0, next: 1 })
  t.notOk(follower.maySend, 'not at once')
  follower.resume()
  t.ok(follower.maySend)
})

void test('an acknowledgement ends a snapshot only when the log goes on from there', async (t) => {
  const follower = new Progress('b', 3, 0, limits)
  follower.sendSnapshot(20)
  follower.acknowledged(10, 15)
  t.equal(follower.state, 'snapshot', 'entries 11 to 14 are cut off')
  follower.acknowledged(14, 15)
  t.match(follower.report(0, 100), { state: 'replicate', next: 15 })
  follower.snapshotEnded(20, false)
  t.equal(follower.state, 'replicate', 'the end of sending comes late')
})

void test('who lost its disk is believed although it goes back (R20)', async (t) => {
  const follower = replicating(9)
  follower.lost(4)
  t.match(follower.report(0, 100), { state: 'probe', match: 4, next: 5 })
  t.ok(follower.maySend)
})

void test('lacksCommit counts what is on its way, up to what the follower has', async (t) => {
  const follower = replicating(5)
  t.ok(follower.lacksCommit(3))
  follower.sent(8, 10, 4, 0)
  t.notOk(follower.lacksCommit(4))
  t.ok(follower.lacksCommit(7))
  follower.commitSent(100)
  t.notOk(follower.lacksCommit(100), 'it has up to 7')
  follower.doubt()
  t.notOk(follower.lacksCommit(5))
  t.equal(follower.next, 6)
})

void test('ProgressTable counts the leader by its disk and asks both majorities while joint', async (t) => {
  const table = new ProgressTable('a', limits)
  table.follow(['a', 'b', 'c', 'd'], 1, 0)
  t.same(
    table.followers.map(({ member }) => member),
    ['b', 'c', 'd'],
  )
  table.get('b')?.acknowledged(7, 1)
  const old = { voters: ['a', 'b', 'c'], outgoing: [], learners: [], learnersNext: [] }
  t.equal(table.committed(old, 5), 5)
  t.equal(table.committed(old, 9), 7)
  const joint = { voters: ['a', 'c', 'd'], outgoing: ['a', 'b', 'c'], learners: [], learnersNext: [] }
  t.equal(table.committed(joint, 9), 0, 'the new majority has nothing')
  table.get('d')?.acknowledged(6, 1)
  t.equal(table.committed(joint, 9), 6)
  const without = { voters: ['b', 'c', 'd'], outgoing: [], learners: [], learnersNext: [] }
  t.equal(table.committed(without, 9), 6, 'a leader that is not in it does not count')
  table.follow(['a', 'b', 'e'], 10, 50)
  t.same(
    table.followers.map(({ member, match, next }) => [member, match, next]),
    [
      ['b', 7, 8],
      ['e', 0, 10],
    ],
  )
})

void test('ProgressTable knows since when a majority was heard, and what the log is kept for', async (t) => {
  const table = new ProgressTable('a', limits)
  table.follow(['a', 'b', 'c', 'd', 'e'], 1, 100)
  const all = { voters: ['a', 'b', 'c', 'd', 'e'], outgoing: [], learners: [], learnersNext: [] }
  t.equal(table.heardMs(all, 500), 100)
  for (const [member, heardMs] of [
    ['b', 300],
    ['c', 400],
  ] as const) {
    const follower = table.get(member)
    if (follower !== undefined) follower.heardMs = heardMs
  }
  t.equal(table.heardMs(all, 500), 300, 'a at 500, c at 400 and b at 300 are three of five')
  t.equal(table.keptFor(), Infinity)
  table.get('d')?.sendSnapshot(40)
  table.get('e')?.sendSnapshot(30)
  t.equal(table.keptFor(), 30)
})
