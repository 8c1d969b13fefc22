/** Leases by the log's time: what a new term gives, and what is over. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { LeaseTable } = await sourceModule<
  typeof import('../../../packages/protocols/src/core/lease-table.ts')
>('protocols', 'core/lease-table')

void test('LeaseTable: a lease is over when its time is, counted from its last renewal', async (t) => {
  const table = new LeaseTable()
  table.advance(1, 10.9)
  t.equal(table.timeMs, 10, 'whole milliseconds')
  const lease = { id: table.freeId(5), ttlMs: 100, renewedUntilMs: table.timeMs + 100 }
  table.add(lease)
  t.equal(table.freeId(5), 6)
  table.advance(1, 60)
  table.renew(lease)
  t.equal(table.endMs(lease), 160)
  table.advance(1, 159)
  t.equal(table.isOver(lease), false)
  table.advance(1, 160)
  t.equal(table.isOver(lease), true)
})

void test('LeaseTable: a new term gives every lease its whole time anew, from its first command on', async (t) => {
  const table = new LeaseTable()
  table.advance(1, 0)
  const lease = { id: 1, ttlMs: 100, renewedUntilMs: 100 }
  table.add(lease)
  table.advance(2, 90)
  t.equal(table.endMs(lease), 190)
  table.advance(2, 150)
  t.equal(table.endMs(lease), 190, 'later commands of the term change nothing')
})

void test('LeaseTable: over tells those that are, longest over first, so many at most', async (t) => {
  const table = new LeaseTable()
  for (const [id, renewedUntilMs] of [
    [1, 30],
    [2, 10],
    [3, 10],
    [4, 99],
  ] as const) {
    table.add({ id, ttlMs: 1, renewedUntilMs })
  }
  t.strictSame(table.over(50, 9), [2, 3, 1])
  t.strictSame(table.over(50, 2), [2, 3])
  table.delete(2)
  t.strictSame(table.over(50, 9), [3, 1])
  t.equal(table.has(2), false)
  t.equal(table.size, 3)
})
