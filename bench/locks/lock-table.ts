/** The tables of `npm run bench -- locks`, in Markdown: one for each point, a line for each system. */
import { showFigure, showSpread, wordFor } from '../harness/figure-text.ts'
import type { RoundRow } from '../harness/load-rounds.ts'
import { lockPointName, type LockLimit, type LockPoint } from './lock-points.ts'
import type { LockSystemName } from './lock-systems.ts'

const OWN: LockSystemName = 'understudy'

export type LockRow = RoundRow<LockSystemName, LockPoint>

/** `rows`: of that point. Ratios are of medians. */
export function lockTable(point: LockPoint, rows: readonly LockRow[]): string {
  const own = rows.find(({ system }) => system === OWN)
  const unit = point.load === 'cycle' ? 'cycles a second' : 'hand-overs a second'
  return [
    `| ${lockPointName(point)} | ${unit} | of understudy | p50 / p99, ms | processor, us a cycle (client's part) | |`,
    '| --- | ---: | ---: | ---: | ---: | --- |',
    ...rows.map((row) => {
      const ratio = own === undefined ? '' : showFigure(row.perSecond.median / own.perSecond.median)
      const latency = `${showFigure(row.p50Ms.median)} / ${showFigure(row.p99Ms.median)}`
      return `| ${row.system} | ${showSpread(row.perSecond, 1)} | ${ratio} | ${latency} | ${cpuOf(row)} | ${noteOf(row)} |`
    }),
    ...promises(point, rows),
  ].join('\n')
}

/** Of hand-overs it is not told: making the queue is no part of them, but takes time of processors. */
function cpuOf({ point, cpuUs, clientPart = 0 }: LockRow): string {
  if (cpuUs === undefined || point.load === 'hand-over') return ''
  return `${showFigure(cpuUs.median)} (${(clientPart * 100).toFixed(0)} %)`
}

function noteOf({ failed, point }: LockRow): string {
  if (failed === 0) return point.load === 'cycle' ? '' : 'in turn'
  return point.load === 'cycle' ? `${failed} FAILED` : `${failed} OUT OF TURN`
}

function promises({ limits, load }: LockPoint, rows: readonly LockRow[]): readonly string[] {
  if (limits.length === 0) return []
  const lines = [
    '',
    '| promised | measured | |',
    '| --- | ---: | --- |',
    ...limits.map((limit) => promise(limit, rows)),
  ]
  if (load === 'cycle') return lines
  const own = rows.filter(({ system }) => system === OWN)
  const outOfTurn = own.reduce((sum, { failed }) => sum + failed, 0)
  const word = own.length === 0 ? 'not measured' : wordFor(outOfTurn === 0)
  return [...lines, `| understudy: in the queue's order | ${outOfTurn} out of turn | ${word} |`]
}

function promise({ own: name, beside, of, ratio }: LockLimit, rows: readonly LockRow[]): string {
  const own = rows.find(({ system }) => system === name)
  const other = rows.find(({ system }) => system === beside)
  const text =
    of === 'rate'
      ? `${name}: >= ${ratio} of ${beside}`
      : `${name}: ${of} ${ratio === 1 ? '<' : `<= ${ratio} of`} ${beside}'s`
  if (own === undefined || other === undefined) return `| ${text} | | not measured |`
  const measured = figureOf(own, of) / figureOf(other, of)
  const isMet = of === 'rate' ? measured >= ratio : measured <= ratio
  return `| ${text} | ${measured.toFixed(2)} | ${wordFor(isMet)} |`
}

function figureOf({ perSecond, p50Ms, p99Ms }: LockRow, of: LockLimit['of']): number {
  return of === 'rate' ? perSecond.median : of === 'p50' ? p50Ms.median : p99Ms.median
}
