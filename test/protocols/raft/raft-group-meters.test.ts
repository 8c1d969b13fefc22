/** What Raft groups add to the metrics of their nodes. */
import { test } from 'tap'
import { groupBed, type GroupBed } from './group-under-test.ts'

/** The series of a node's groups, with their labels' values: `understudy_groups leader`. */
function read(bed: GroupBed, node: string): Readonly<Record<string, number>> {
  const samples = (bed.metrics.get(node)?.read() ?? []).flatMap((sample) =>
    sample.type === 'histogram' || !sample.name.startsWith('understudy_group')
      ? []
      : [[[sample.name, ...Object.values(sample.labels)].join(' '), sample.value] as const],
  )
  return Object.fromEntries(samples)
}

void test('a node counts its groups, who leads, and what becomes of entries and snapshots', async (t) => {
  await using bed = await groupBed({ snapshotEntries: 50, keptEntries: 5 })
  const leader = await bed.led()
  const [slow = '', other = ''] = bed.followers()
  await bed.agreed()
  t.match(read(bed, leader), {
    'understudy_groups leader': 1,
    'understudy_groups other': 0,
    understudy_group_elections_total: 1,
    understudy_group_leader_changes_total: 1,
    'understudy_group_snapshots_total out': 0,
  })
  t.match(read(bed, other), {
    'understudy_groups leader': 0,
    'understudy_groups other': 1,
    understudy_group_elections_total: 0,
    understudy_group_leader_changes_total: 1,
    'understudy_group_entries_total proposed': 0,
  })
  await bed.end(slow)
  t.match(read(bed, slow), { 'understudy_groups leader': 0, 'understudy_groups other': 0 })
  const before = read(bed, leader)
  for (let n = 0; n < 100; n++) await bed.propose(leader, `command-${100 + n}`)
  const now = read(bed, leader)
  const more = (name: string): number => (now[name] ?? 0) - (before[name] ?? 0)
  for (const stage of ['proposed', 'committed', 'applied']) {
    t.equal(more(`understudy_group_entries_total ${stage}`), 100, stage)
  }
  const writes = more('understudy_group_log_writes_total')
  t.ok(writes > 0 && writes <= 100, `${writes} writes`)
  t.ok(more('understudy_group_log_bytes_total') >= 100 * 'command-100'.length)
  await bed.open(slow)
  await bed.until(() => (bed.machines.get(slow)?.restored ?? 0) > 0)
  await bed.propose(leader, 'after')
  await bed.agreed()
  await bed.until(() => read(bed, leader)['understudy_group_snapshots_total out'] === 1)
  const back = read(bed, slow)
  t.equal(back['understudy_group_snapshots_total in'], 1)
  t.equal(back['understudy_groups other'], 1)
  t.ok(
    (back['understudy_group_entries_total applied'] ?? 0) < 60,
    'what a snapshot brought was not applied here',
  )
})

void test('a leader that goes is one less, and each of the others sees another lead', async (t) => {
  await using bed = await groupBed()
  const first = await bed.led()
  await bed.end(first)
  const second = await bed.led()
  t.match(read(bed, first), { 'understudy_groups leader': 0, 'understudy_groups other': 0 })
  t.match(read(bed, second), { 'understudy_groups leader': 1, 'understudy_groups other': 0 })
  for (const name of ['a', 'b', 'c'].filter((each) => each !== first)) {
    t.equal(read(bed, name)['understudy_group_leader_changes_total'], 2, name)
  }
})
