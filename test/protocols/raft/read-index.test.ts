/** Reads without the log: rounds of heartbeats (R10), leases (R11), and reads that a follower asks for. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { ReadRounds } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/read-index.ts')
>('protocols', 'raft/read-index')
const { ForwardedReads } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/read-index-forwarding.ts')
>('protocols', 'raft/read-index-forwarding')

const read = (id: number, index = 1): { from: undefined; id: number; index: number } => ({
  from: undefined,
  id,
  index,
})
const ids = (reads: readonly { readonly id: number }[]): readonly number[] => reads.map(({ id }) => id)

void test('a read joins only a round that is sent after it came', async (t) => {
  const rounds = new ReadRounds()
  t.equal(rounds.begin(0), 1)
  rounds.add(read(1))
  t.notOk(rounds.needsRound, 'one is under way: the next is for this read')
  t.same(ids(rounds.confirm(1)), [], 'that round was sent before the read came')
  t.ok(rounds.needsRound)
  t.equal(rounds.begin(10), 2)
  t.same(ids(rounds.confirm(1)), [], 'an old answer confirms nothing new')
  t.same(ids(rounds.confirm(2)), [1])
  t.ok(rounds.isIdle)
})

void test('a later round answers for the reads of those before, in the order they came', async (t) => {
  const rounds = new ReadRounds()
  rounds.add(read(1))
  rounds.begin(0)
  rounds.add(read(2))
  rounds.add(read(3))
  rounds.begin(50)
  rounds.add(read(4))
  t.same(ids(rounds.confirm(2)), [1, 2, 3])
  t.same(ids(rounds.takeAll()), [4])
  t.ok(rounds.isIdle)
})

void test('a lease counts from when the confirmed round was sent, not from its answer (R11)', async (t) => {
  const rounds = new ReadRounds()
  t.equal(rounds.leaseEndMs(800), -Infinity, 'none at first')
  rounds.begin(100)
  rounds.begin(150)
  rounds.begin(200)
  rounds.confirm(2)
  t.equal(rounds.leaseEndMs(800), 950)
  rounds.confirm(1)
  t.equal(rounds.leaseEndMs(800), 950, 'a late answer to an earlier round takes nothing back')
  rounds.endLease()
  t.equal(rounds.leaseEndMs(800), -Infinity)
  rounds.confirm(3)
  t.equal(rounds.leaseEndMs(800), 1000, 'the next round gives a new one')
})

void test('rounds that nobody answers are bounded, and their reads are kept', async (t) => {
  const rounds = new ReadRounds()
  for (let id = 1; id <= 1000; id++) {
    rounds.add(read(id))
    rounds.begin(id)
  }
  const all = rounds.confirm(1000)
  t.equal(all.length, 1000)
  t.same(
    ids(all),
    ids(all).toSorted((a, b) => a - b),
  )
})

void test('ForwardedReads asks one question at a time, and again when it is not answered', async (t) => {
  const forwarded = new ForwardedReads(70)
  t.equal(forwarded.ask(0, 100), undefined)
  forwarded.add(1, 0)
  t.equal(forwarded.ask(0, 100), 71)
  forwarded.add(2, 10)
  t.equal(forwarded.ask(10, 100), undefined, 'the first is under way')
  t.same(forwarded.answered(71), [1])
  t.equal(forwarded.ask(20, 100), 72)
  t.equal(forwarded.ask(119, 100), undefined)
  forwarded.add(3, 119)
  t.equal(forwarded.ask(120, 100), 73, 'given up: a new question, a new number')
  t.same(forwarded.answered(72), [], 'the answer to what was given up (R10)')
  t.same(forwarded.answered(73), [2, 3])
  t.ok(forwarded.isIdle)
})

void test('ForwardedReads gives up what waits too long', async (t) => {
  const forwarded = new ForwardedReads(0)
  t.equal(forwarded.deadlineMs(100), undefined)
  forwarded.add(1, 0.1)
  forwarded.ask(0.1, 100)
  forwarded.add(2, 50)
  t.equal(forwarded.deadlineMs(100), 100.1)
  t.same(forwarded.takeOverdue(100, 100), [])
  t.same(forwarded.takeOverdue(forwarded.deadlineMs(100) ?? 0, 100), [1], 'at its deadline, fractions or not')
  t.equal(forwarded.deadlineMs(100), 150)
  t.same(forwarded.takeAll(), [2])
})
