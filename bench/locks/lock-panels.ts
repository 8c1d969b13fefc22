/** What the plot of `npm run bench -- locks` shows: cycles by the number of clients. */
import type { PlotPanel } from '../harness/line-plot.ts'
import type { LockSystemName } from './lock-systems.ts'
import type { LockRow } from './lock-table.ts'

const colours: { readonly [Name in LockSystemName]?: string } = {
  understudy: '#1f77b4',
  'understudy, one session': '#17becf',
  'bare, two commits': '#777777',
  'etcd lock': '#d95f02',
  'etcd txn': '#e6ab02',
  zookeeper: '#1b9e77',
  'zookeeper, one node': '#66a61e',
  'redis fsync, one node': '#a6192e',
}

/** Durable cycles; throughput on the left, the median latency on the right. */
export function lockPanels(rows: readonly LockRow[]): readonly PlotPanel[] {
  const cycles = rows.filter(({ point }) => point.part === 'durable' && point.load === 'cycle')
  const systems = [...new Set(cycles.map(({ system }) => system))].filter((name) => name in colours)
  const series = (of: (row: LockRow) => number): PlotPanel['series'] =>
    systems.map((name) => ({
      name,
      colour: colours[name] ?? '',
      points: cycles
        .filter(({ system }) => system === name)
        .map((row): readonly [number, number] => [row.point.clients, of(row)])
        .toSorted(([a], [b]) => a - b),
    }))
  const axis = 'clients, each with a lock of its own'
  return [
    {
      title: 'Durable lock and unlock',
      unit: 'cycles a second',
      axis,
      series: series(({ perSecond }) => perSecond.median),
    },
    {
      title: 'Latency of lock and unlock',
      unit: 'p50, ms',
      axis,
      series: series(({ p50Ms }) => p50Ms.median),
    },
  ]
}
