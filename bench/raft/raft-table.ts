/** The tables of `npm run bench -- raft`, in Markdown. */
import { showSpread, wordFor } from '../harness/figure-text.ts'
import type { SystemName } from './client-process.ts'
import type { FailoverRow } from './failover.ts'
import type { GroupRow, IdleRow } from './group-rows.ts'
import {
  FAILOVER_P99_MS_MOST,
  IDLE_CPU_MOST,
  pointName,
  type LoadLimit,
  type LoadPoint,
} from './load-points.ts'
import type { LoadRow } from './load-rounds.ts'

const OWN: SystemName = 'understudy'

/** Rates, one line a point: medians with least and most, and the limits of the point. */
export function rateTable(
  points: readonly LoadPoint[],
  systems: readonly SystemName[],
  rows: readonly LoadRow[],
): string {
  const lines = [
    `| operations a second, thousands | ${systems.join(' | ')} | promised | |`,
    `| --- |${' ---: |'.repeat(systems.length)} --- | --- |`,
  ]
  for (const point of points) {
    const cells = systems.map((system) => {
      const row = find(rows, system, point)
      return row === undefined ? '-' : showSpread(row.perSecond, 0.001)
    })
    const limits = point.limits.map((limit) => showLimit(limit, point, rows))
    lines.push(
      `| ${pointName(point)} | ${cells.join(' | ')} | ${limits.map(({ text }) => text).join('; ')} | ` +
        `${limits.map(({ word }) => word).join(', ')} |`,
    )
  }
  return lines.join('\n')
}

/** Latencies and processor time, one line a point. */
export function latencyTable(
  points: readonly LoadPoint[],
  systems: readonly SystemName[],
  rows: readonly LoadRow[],
): string {
  const lines = [
    `| p50 / p99, ms; us of processor an operation (client's part) | ${systems.join(' | ')} |`,
    `| --- |${' ---: |'.repeat(systems.length)}`,
  ]
  for (const point of points) {
    const cells = systems.map((system) => {
      const row = find(rows, system, point)
      if (row === undefined) return '-'
      const cpu =
        row.cpuUs === undefined
          ? ''
          : `; ${row.cpuUs.median.toFixed(1)} (${((row.clientPart ?? 0) * 100).toFixed(0)} %)`
      const failed = row.failed === 0 ? '' : `; ${row.failed} FAILED`
      return `${row.p50Ms.median.toFixed(2)} / ${row.p99Ms.median.toFixed(2)}${cpu}${failed}`
    })
    lines.push(`| ${pointName(point)} | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

export function failoverTable(rows: readonly FailoverRow[]): string {
  return [
    '| leader killed | kills | p50 / p99 / most, ms | promised | |',
    '| --- | ---: | ---: | --- | --- |',
    ...rows.map(({ system, gapsMs, p50Ms, p99Ms, maxMs }) => {
      const isOwn = system === OWN
      const figures = [p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(0)).join(' / ')
      const promise = isOwn ? `p99 <= ${FAILOVER_P99_MS_MOST}` : ''
      return `| ${system} | ${gapsMs.length} | ${figures} | ${promise} | ${isOwn ? wordFor(p99Ms <= FAILOVER_P99_MS_MOST) : ''} |`
    }),
  ].join('\n')
}

/** Groups without load, and under load. */
export function groupTable(idle: readonly IdleRow[], active: readonly GroupRow[]): string {
  const lines = [
    '| groups on three nodes | idle: processor, % of one core | opened in, s | puts a second, thousands | p50 / p99, ms | |',
    '| ---: | ---: | ---: | ---: | ---: | --- |',
  ]
  for (const row of idle) {
    const load = active.find(({ groups }) => groups === row.groups)
    const rate = load === undefined ? '-' : showSpread(load.perSecond, 0.001)
    const latency =
      load === undefined ? '-' : `${load.p50Ms.median.toFixed(2)} / ${load.p99Ms.median.toFixed(2)}`
    const percent = row.cpu === undefined ? '-' : (row.cpu * 100).toFixed(1)
    const word =
      row.cpu === undefined || !row.isPromised
        ? ''
        : `${wordFor(row.cpu < IDLE_CPU_MOST)}: idle < ${IDLE_CPU_MOST * 100} %`
    lines.push(
      `| ${row.groups.toLocaleString('en')} | ${percent} | ${(row.openMs / 1_000).toFixed(1)} | ${rate} | ${latency} | ${word} |`,
    )
  }
  return lines.join('\n')
}

function find(rows: readonly LoadRow[], system: SystemName, point: LoadPoint): LoadRow | undefined {
  return rows.find(
    (row) => row.system === system && row.operation === point.operation && row.inFlight === point.inFlight,
  )
}

function showLimit(
  { beside, of, ratio }: LoadLimit,
  point: LoadPoint,
  rows: readonly LoadRow[],
): { readonly text: string; readonly word: string } {
  const own = find(rows, OWN, point)
  const other = find(rows, beside, point)
  const promise = of === 'rate' ? `>= ${ratio} of ${beside}` : `p50 <= ${ratio} of ${beside}`
  if (own === undefined || other === undefined) return { text: promise, word: 'not measured' }
  const measured =
    of === 'rate' ? own.perSecond.median / other.perSecond.median : own.p50Ms.median / other.p50Ms.median
  const isMet = of === 'rate' ? measured >= ratio : measured <= ratio
  return { text: `${promise}: ${measured.toFixed(2)}`, word: wordFor(isMet) }
}
