/** The log in memory: conflicts (R3), what is durable (R16), configurations in it, snapshots and cuts (R13). */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { RaftLog, entryBytes } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-log.ts')
>('protocols', 'raft/raft-log')
const { simpleConfiguration } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-configuration.ts')
>('protocols', 'raft/raft-configuration')

type Log = InstanceType<typeof RaftLog>
type Entry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry
type Configuration = import('../../../packages/protocols/src/raft/raft-message.ts').RaftConfiguration

const founding = simpleConfiguration(['a', 'b', 'c'])

function command(index: number, term: number, bytes = 1): Entry {
  return { index, term, type: 'command', data: new Uint8Array(bytes) }
}
function change(index: number, term: number, configuration: Configuration): Entry {
  return { index, term, type: 'configuration', configuration }
}
/** A log with entries of these terms behind index `from`. */
function logOf(terms: readonly number[], from = { index: 0, term: 0 }): Log {
  return new RaftLog({
    hard: { term: 9, vote: undefined },
    snapshot: { ...from, configuration: founding },
    entries: terms.map((term, at) => command(from.index + at + 1, term)),
  })
}
const termsOf = (log: Log): readonly (number | undefined)[] =>
  Array.from({ length: log.last - log.first + 1 }, (_, at) => log.termAt(log.first + at))

void test('merge keeps what is there and replaces only from a conflict on (R3)', async (t) => {
  const log = logOf([1, 1, 2, 2, 2])
  t.notOk(log.merge([command(2, 1), command(3, 2)]), 'a message that is shorter takes nothing away')
  t.same(termsOf(log), [1, 1, 2, 2, 2])
  log.merge([command(3, 2), command(4, 3)])
  t.same(termsOf(log), [1, 1, 2, 3], 'what stood behind the conflict is gone')
  t.equal(log.lastTerm, 3)
  log.merge([])
  t.equal(log.last, 4)
})

void test('what is committed is never replaced, and the commit index goes neither back nor too far', async (t) => {
  const log = logOf([1, 1, 2])
  log.commitTo(2)
  t.throws(() => log.merge([command(2, 3)]), {
    name: 'RaftViolation',
    message: /committed entry.*index 2, commit 2/,
  })
  t.throws(() => log.commitTo(1), { name: 'RaftViolation' })
  t.throws(() => log.commitTo(4), { name: 'RaftViolation', details: { commit: 2, to: 4, last: 3 } })
  t.throws(() => log.restore({ index: 2, term: 1, configuration: founding }), /snapshot would replace/)
  t.throws(() => log.snapshotTaken({ index: 3, term: 2, configuration: founding }), /newer than/)
})

void test('a stored log with a hole, or whose terms go back, is refused', async (t) => {
  const start = {
    hard: { term: 2, vote: undefined },
    snapshot: { index: 3, term: 2, configuration: founding },
  }
  t.throws(() => new RaftLog({ ...start, entries: [command(5, 2)] }), { name: 'RaftViolation' })
  t.throws(() => new RaftLog({ ...start, entries: [command(4, 1)] }), { name: 'RaftViolation' })
})

void test('lastAtMost finds the last place where logs may agree', async (t) => {
  const log = logOf([1, 3, 3, 3, 5, 5])
  t.same(log.lastAtMost(6, 4), { index: 4, term: 3 })
  t.same(log.lastAtMost(3, 9), { index: 3, term: 3 })
  t.same(log.lastAtMost(100, 5), { index: 6, term: 5 })
  t.same(log.lastAtMost(6, 0), { index: 0, term: 0 })
  const cut = logOf([4, 4], { index: 10, term: 3 })
  t.same(cut.lastAtMost(12, 1), { index: 10, term: 3 }, 'not below where it begins')
})

void test('entries come by a limit of bytes, but at least one; the same are the same array', async (t) => {
  const log = logOf([])
  log.push([command(1, 1, 100), command(2, 1, 100), command(3, 1, 5000)])
  const each = entryBytes(command(1, 1, 100))
  t.equal(log.entries(1, 3, each).length, 1)
  t.equal(log.entries(1, 3, 2 * each).length, 2)
  t.equal(log.entries(3, 3, 10).length, 1, 'a greater one travels alone')
  t.equal(log.entries(2, 3), log.entries(2, 3))
  t.equal(log.entries(4, 3).length, 0)
  const both = log.entries(1, 2)
  log.merge([command(2, 2)])
  t.not(log.entries(1, 2), both, 'but not when they are others')
})

void test('takeUnwritten gives each entry once, from where it changed', async (t) => {
  const log = logOf([1, 1])
  t.notOk(log.hasUnwritten)
  log.push([command(3, 1)])
  t.same(
    log.takeUnwritten().map(({ index }) => index),
    [3],
  )
  log.merge([command(2, 2), command(3, 2)])
  t.same(
    log.takeUnwritten().map(({ index }) => index),
    [2, 3],
  )
  t.same(log.takeUnwritten(), [], 'the hard state alone')
})

void test('durable follows acknowledgements by index and term', async (t) => {
  const log = logOf([1, 1])
  t.equal(log.durable, 2)
  log.push([command(3, 1)])
  t.equal(log.durable, 2)
  log.takeUnwritten()
  t.equal(log.durable, 2, 'given out is not written')
  log.push([command(4, 1)])
  log.takeUnwritten()
  log.written({ index: 3, term: 1 })
  t.equal(log.durable, 3)
  log.written({ index: 4, term: 1 })
  t.equal(log.durable, 4)
  log.written({ index: 9, term: 1 })
  t.equal(log.durable, 4, 'what was never given out')
})

void test('an entry that was written, replaced and written again counts by its last write (R16, ABA)', async (t) => {
  const log = logOf([1])
  log.merge([command(2, 2)])
  log.takeUnwritten()
  log.merge([command(2, 3)])
  log.takeUnwritten()
  log.merge([command(2, 4), command(3, 4)])
  log.takeUnwritten()
  log.merge([command(2, 5)])
  log.takeUnwritten()
  t.equal(log.durable, 1)
  log.written({ index: 2, term: 2 })
  t.equal(log.durable, 1, 'the first write of index 2: it was replaced since')
  log.written({ index: 2, term: 3 })
  log.written({ index: 3, term: 4 })
  t.equal(log.durable, 1)
  log.written({ index: 2, term: 5 })
  t.equal(log.durable, 2)

  const aba = logOf([1])
  for (const term of [2, 3, 2]) {
    aba.merge([command(2, term)])
    aba.takeUnwritten()
  }
  aba.written({ index: 2, term: 2 })
  t.equal(aba.durable, 1, 'of the two equal writes the first is meant')
  aba.written({ index: 2, term: 3 })
  aba.written({ index: 2, term: 2 })
  t.equal(aba.durable, 2)
})

void test('property: durable is what a disk that writes in order has of the log as it is', async (t) => {
  // `fresh` replaces from a place on by entries of a newer term, `ack` ends the oldest write.
  const steps = fc.array(
    fc.oneof(
      fc.record({
        type: fc.constant('fresh' as const),
        back: fc.nat(3),
        count: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({ type: fc.constant('ack' as const) }),
    ),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(steps, (all) => {
      const log = logOf([])
      let term = 1
      const queue: (readonly Entry[])[] = []
      let disk: Entry[] = []
      for (const step of all) {
        if (step.type === 'fresh') {
          term++
          const from = Math.max(1, log.last + 1 - step.back)
          log.merge(Array.from({ length: step.count }, (_, at) => command(from + at, term)))
          queue.push(log.takeUnwritten())
        } else {
          const write = queue.shift()
          const last = write?.at(-1)
          if (write === undefined || last === undefined) continue
          disk = [...disk.slice(0, (write[0]?.index ?? 1) - 1), ...write]
          log.written(last)
        }
        let agree = 0
        while (agree < Math.min(disk.length, log.last) && disk[agree]?.term === log.termAt(agree + 1)) agree++
        // A write that is under way may replace what is on the disk already: less may count, never more.
        if (log.durable > agree) return false
        if (queue.length === 0 && log.durable !== log.last) return false
      }
      return true
    }),
  )
  t.pass()
})

void test('a configuration rules from when it is appended, and goes with its entry (paper, section 6)', async (t) => {
  const log = logOf([1])
  const next = simpleConfiguration(['a', 'b'])
  t.ok(log.merge([change(2, 1, next), command(3, 1)]))
  t.same([log.configuration, log.configurationIndex, log.previousConfiguration], [next, 2, founding])
  t.ok(log.mayVote('c'), 'a change that is not committed may be taken back')
  t.ok(log.merge([command(2, 2)]))
  t.same([log.configuration, log.configurationIndex, log.previousConfiguration], [founding, 0, undefined])
  log.push([change(3, 2, next)])
  log.commitTo(3)
  t.same([log.configuration, log.previousConfiguration], [next, undefined])
  t.notOk(log.mayVote('c'), 'removed for good')
})

void test('cut goes no further than the snapshot and keeps the configuration that rules', async (t) => {
  const log = logOf([1, 1])
  const next = simpleConfiguration(['a'])
  log.push([change(3, 1, next), command(4, 2), command(5, 2)])
  log.commitTo(5)
  log.takeCommitted()
  log.cut(4)
  t.equal(log.first, 1, 'no snapshot, no cut')
  log.snapshotTaken({ index: 4, term: 2, configuration: next })
  log.cut(5)
  t.same([log.first, log.last, log.termAt(4), log.termAt(3)], [5, 5, 2, undefined])
  t.same([log.configuration, log.configurationIndex], [next, 3])
  t.throws(() => log.entries(4, 5), { name: 'RaftViolation' })
  log.snapshotTaken({ index: 3, term: 1, configuration: next })
  t.equal(log.snapshot.index, 4, 'an older one changes nothing')
})

void test('restore leaves nothing behind the snapshot, and it is durable when it is in force (R13)', async (t) => {
  const log = logOf([1, 1, 1])
  const next = simpleConfiguration(['a', 'd'])
  log.restore({ index: 10, term: 4, configuration: next })
  t.ok(log.isInstalling)
  t.same([log.first, log.last, log.lastTerm, log.commit, log.applied], [11, 10, 4, 10, 10])
  t.same(log.configuration, next)
  log.push([command(11, 4)])
  log.takeUnwritten()
  log.restore({ index: 20, term: 5, configuration: founding })
  log.installed({ index: 10, term: 4, configuration: next })
  t.ok(log.isInstalling, 'the second of two in a short time')
  t.ok(log.durable < 20)
  log.installed({ index: 20, term: 5, configuration: founding })
  t.notOk(log.isInstalling)
  t.equal(log.durable, 20)
})

void test('takeCommitted gives each committed entry once, as one slice', async (t) => {
  const log = logOf([1, 1, 1, 1])
  t.same(log.takeCommitted(), [])
  log.commitTo(2)
  t.same(
    log.takeCommitted().map(({ index }) => index),
    [1, 2],
  )
  log.commitTo(4)
  t.same(
    log.takeCommitted().map(({ index }) => index),
    [3, 4],
  )
  t.equal(log.applied, 4)
})
