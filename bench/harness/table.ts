/**
 * Rows to text. Pure, so that what the reader sees is tested without measuring anything.
 */
import type { Spread } from './sample.ts'
import { meetsTarget, WORKLOADS, type Target, type Unit, type WorkloadName } from './workload.ts'

/** A measured row; also the shape that `--json` writes. */
export interface Row extends Spread {
  readonly workload: WorkloadName
  readonly system: string
  readonly unit: Unit
}

/** A row that has no figure, and why. */
export interface Gap {
  readonly workload: WorkloadName
  readonly system: string
  /** Short enough for a cell: `not installed`, `-`, `failed`. */
  readonly note: string
}

/** What the table needs besides the rows. */
export interface TableOptions {
  /** Table order. */
  readonly workloads: readonly WorkloadName[]
  readonly systems: readonly string[]
  /** Systems that targets apply to. */
  readonly own: readonly string[]
  /** The system that ratios are taken to. */
  readonly limit: string
}

/** A figure with its unit, three digits long: `41.9 M/s`, `144 B`, `62.1 us`. */
export function formatFigure(value: number, unit: Unit): string {
  switch (unit) {
    case 'ops/s':
      return formatRate(value)
    case 'bytes':
      return `${Math.round(value).toLocaleString('en-US')} B`
    case 'us':
      return `${threeDigits(value)} us`
    case 'ms':
      return `${threeDigits(value)} ms`
  }
}

/** The promise as text: `>= 0.45 x limit`, `<= 400 B`. */
export function formatTarget(target: Target, unit: Unit): string {
  switch (target.kind) {
    case 'ratio-at-least':
      return `>= ${target.value} x limit`
    case 'ratio-at-most':
      return `<= ${target.value} x limit`
    case 'at-least':
      return `>= ${formatFigure(target.value, unit)}`
    case 'at-most':
      return `<= ${formatFigure(target.value, unit)}`
  }
}

/** Every row with spread, ratio and target, one line each, a blank line between workloads. */
export function renderRows(rows: readonly Row[], gaps: readonly Gap[], options: TableOptions): string {
  const lines: string[][] = [['workload', 'system', 'median', 'min', 'max', 'runs', 'ratio', 'target', '']]
  for (const workload of options.workloads) {
    const group = workloadLines(workload, rows, gaps, options)
    if (group.length === 0) continue
    if (lines.length > 1) lines.push([])
    lines.push(...group)
  }
  return align(lines, 2)
}

/** The medians alone: one line a workload, one column a system, for comparing systems at a glance. */
export function renderOverview(rows: readonly Row[], gaps: readonly Gap[], options: TableOptions): string {
  const lines: string[][] = [['workload', ...options.systems]]
  for (const workload of options.workloads) {
    lines.push([
      workload,
      ...options.systems.map((system) => {
        const row = find(rows, workload, system)
        if (row !== undefined) return formatFigure(row.median, row.unit)
        return find(gaps, workload, system)?.note ?? '-'
      }),
    ])
  }
  return align(lines, 1)
}

function workloadLines(
  workload: WorkloadName,
  rows: readonly Row[],
  gaps: readonly Gap[],
  options: TableOptions,
): string[][] {
  const limit = find(rows, workload, options.limit)?.median
  const lines: string[][] = []
  for (const system of options.systems) {
    const row = find(rows, workload, system)
    if (row !== undefined) {
      const target = options.own.includes(system) ? WORKLOADS[workload].target : undefined
      lines.push([
        workload,
        system,
        formatFigure(row.median, row.unit),
        formatFigure(row.min, row.unit),
        formatFigure(row.max, row.unit),
        String(row.runs),
        limit === undefined ? '' : threeDigits(row.median / limit),
        target === undefined ? '' : formatTarget(target, row.unit),
        target === undefined ? '' : verdict(target, row.median, limit),
      ])
      continue
    }
    const gap = find(gaps, workload, system)
    if (gap !== undefined && gap.note !== '-') lines.push([workload, system, gap.note])
  }
  return lines
}

function verdict(target: Target, value: number, limit: number | undefined): string {
  const met = meetsTarget(target, value, limit)
  if (met === undefined) return 'no limit measured'
  return met ? 'ok' : 'BELOW'
}

function formatRate(perSecond: number): string {
  if (perSecond >= 1e6) return `${threeDigits(perSecond / 1e6)} M/s`
  if (perSecond >= 1e3) return `${threeDigits(perSecond / 1e3)} k/s`
  return `${threeDigits(perSecond)} /s`
}

function threeDigits(value: number): string {
  if (value >= 99.95) return String(Math.round(value))
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2)
}

function find<T extends { readonly workload: WorkloadName; readonly system: string }>(
  list: readonly T[],
  workload: WorkloadName,
  system: string,
): T | undefined {
  return list.find((item) => item.workload === workload && item.system === system)
}

/** Pads to columns; the first `textColumns` and a full line's last two to the left, figures to the right. */
function align(lines: readonly (readonly string[])[], textColumns: number): string {
  const widths: number[] = []
  for (const line of lines) {
    for (const [column, cell] of line.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  }
  const trailingText = textColumns === 2 ? 7 : Number.POSITIVE_INFINITY
  return lines
    .map((line) =>
      line
        .map((cell, column) => {
          const width = widths[column] ?? 0
          return column < textColumns || column >= trailingText ? cell.padEnd(width) : cell.padStart(width)
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
