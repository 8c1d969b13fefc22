/** What the plot of `npm run bench -- raft` shows. */
import type { SystemName } from './client-process.ts'
import type { GroupRow } from './group-rows.ts'
import type { LoadRow } from './load-rounds.ts'
import type { PlotPanel } from '../harness/line-plot.ts'

const colours: Readonly<Record<SystemName, string>> = {
  understudy: '#1f77b4',
  etcd: '#d95f02',
  bare: '#777777',
}

/** Puts by clients in flight, then by groups: throughput on the left, latency on the right. */
export function raftPanels({
  load,
  groups,
}: {
  readonly load: readonly LoadRow[]
  readonly groups: readonly GroupRow[]
}): readonly PlotPanel[] {
  const puts = load.filter(({ operation }) => operation === 'put')
  const systems = [...new Set(puts.map(({ system }) => system))]
  const curve = (system: SystemName, of: (row: LoadRow) => number): readonly (readonly [number, number])[] =>
    puts
      .filter((row) => row.system === system)
      .map((row): readonly [number, number] => [row.inFlight, of(row)])
      .toSorted(([a], [b]) => a - b)
  return [
    {
      title: 'Durable puts of 256 bytes',
      unit: 'a second, three nodes',
      axis: 'puts in flight',
      series: systems.map((name) => ({
        name,
        colour: colours[name],
        points: curve(name, ({ perSecond }) => perSecond.median),
      })),
    },
    {
      title: 'Latency of a put',
      unit: 'ms (dashed: p99)',
      axis: 'puts in flight',
      series: systems.flatMap((name) => [
        { name: `${name} p50`, colour: colours[name], points: curve(name, ({ p50Ms }) => p50Ms.median) },
        {
          name: `${name} p99`,
          colour: colours[name],
          isDashed: true,
          points: curve(name, ({ p99Ms }) => p99Ms.median),
        },
      ]),
    },
    {
      title: 'The same by the number of groups',
      unit: 'a second, 256 in flight over all groups',
      axis: 'groups on the three nodes',
      series: [
        {
          name: 'understudy',
          colour: colours.understudy,
          points: groups.map((row) => [row.groups, row.perSecond.median]),
        },
      ],
    },
    {
      title: 'Latency by the number of groups',
      unit: 'ms (dashed: p99)',
      axis: 'groups on the three nodes',
      series: [
        {
          name: 'p50',
          colour: colours.understudy,
          points: groups.map((row) => [row.groups, row.p50Ms.median]),
        },
        {
          name: 'p99',
          colour: colours.understudy,
          isDashed: true,
          points: groups.map((row) => [row.groups, row.p99Ms.median]),
        },
      ],
    },
  ]
}
