/** A history as a picture: what its clients saw over time, and where it stops making sense. */
import type { Op } from './history.ts'
import type { LinearizabilityVerdict } from './linearizability.ts'
import { describeOperation, describeState, type Model, type ModelState } from './model.ts'

export interface TimelinePictureOptions {
  /** Above the picture. Default: the first line of the verdict's reason. */
  readonly title?: string | undefined
  /**
   * How many operations are drawn at most. Of longer histories the explanation of the violation and what lies just
   * before the operation that cannot be placed; a picture of everything shows nothing. @default 40
   */
  readonly operationsMax?: number | undefined
}

/**
 * An SVG document: a row for each client, a bar for each operation from its call to its return (open to the right when
 * its outcome is unknown), a line through the longest placement in its order, the operation that cannot be placed in
 * red, the operations that explain it framed. The horizontal axis shows the order of events, not their distances.
 * Needs nothing from outside; everything taken from the history is escaped. The same input gives the same text.
 */
export function timelinePicture<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  verdict: LinearizabilityVerdict<S>,
  options: TimelinePictureOptions = {},
): string {
  const shown = shownOperations(ops, verdict, options.operationsMax ?? 40)
  const bars = barsOf(model, ops, shown)
  const rows = new Map(
    [...new Set(bars.map((bar) => bar.client))].sort((a, b) => a - b).map((c, i) => [c, i]),
  )
  const columns = Math.max(1, ...bars.map((bar) => bar.to))
  const columnPx = columnWidth(bars)
  const widthPx = Math.max(leftPx + columns * columnPx + 40, 640)
  const heightPx = topPx + rows.size * rowPx + 64
  const x = (column: number): number => Math.round(leftPx + column * columnPx)
  const y = (client: number): number => topPx + (rows.get(client) ?? 0) * rowPx
  const inCore = new Set(verdict.violation?.core)
  const stuck = verdict.violation?.operation
  const title = options.title ?? verdict.reason.split('\n')[0] ?? ''
  const parts: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}" ` +
      `viewBox="0 0 ${widthPx} ${heightPx}" role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">`,
    `<title>${escape(title)}</title>`,
    style,
    `<rect width="${widthPx}" height="${heightPx}" fill="#fff"/>`,
    `<text x="16" y="26" class="title">${escape(clip(title, widthPx - 32, 8.5))}</text>`,
  ]
  for (const [client, row] of rows) {
    const middle = topPx + row * rowPx + barPx / 2
    parts.push(
      `<text x="16" y="${middle + 4}" class="client">client ${client}</text>`,
      `<line x1="${leftPx}" y1="${middle}" x2="${widthPx - 16}" y2="${middle}" class="row"/>`,
    )
  }
  for (const bar of bars) {
    const kind = bar.index === stuck ? 'stuck' : inCore.has(bar.index) ? 'core' : 'other'
    parts.push(barOf(bar, kind, x(bar.from), x(bar.to), y(bar.client), widthPx))
  }
  const order = verdict.violation?.prefix ?? verdict.longest.flat()
  parts.push(...lineOf(placementPoints(order, bars, x, y)))
  const { violation } = verdict
  if (violation !== undefined) {
    const states = violation.states.map((state) => describeState(model, state))
    const held = `Before the red operation the ${model.name} can have been: ${[...new Set(states)].join(', or ')}`
    const more = violation.statesCut ? ', or one of others' : ''
    parts.push(`<text x="16" y="${heightPx - 34}">${escape(clip(held + more, widthPx - 32, 7.3))}</text>`)
  }
  const count = bars.length === ops.length ? `${ops.length}` : `${bars.length} of ${ops.length}`
  const key = `${count} operations · line: order of the longest placement · framed: the explanation · red: cannot be placed`
  parts.push(`<text x="16" y="${heightPx - 14}" class="key">${escape(key)}</text>`, '</svg>')
  return `${parts.join('\n')}\n`
}

const leftPx = 96
const topPx = 52
const rowPx = 44
const barPx = 26
const style = [
  '<style>',
  '.title{font-size:14px;font-weight:600}.client,.key{fill:#666}.row{stroke:#eee}',
  '.bar{fill:#dbe7f5;stroke:#a9bfd8}.core .bar{fill:#fdf0c4;stroke:#b58900;stroke-width:2}',
  '.stuck .bar{fill:#f9d0cc;stroke:#c4261d;stroke-width:2}.stuck text{fill:#8f1a13;font-weight:600}',
  '.line{fill:none;stroke:#2a6b3c;stroke-width:1.5;opacity:.75}.point{fill:#2a6b3c}',
  '</style>',
].join('')

interface Bar {
  readonly index: number
  readonly client: number
  readonly from: number
  readonly to: number
  readonly isOpen: boolean
  readonly text: string
}

/** The indices to draw, in the order of calls. */
function shownOperations<S extends ModelState, I, O>(
  ops: readonly Op<I, O>[],
  { violation, longest }: LinearizabilityVerdict<S>,
  operationsMax: number,
): readonly number[] {
  const at = (index: number): Op<I, O> => ops[index] as Op<I, O>
  const byCall = (a: number, b: number): number => at(a).call - at(b).call || a - b
  if (violation === undefined) return longest.flat().slice(-operationsMax).sort(byCall)
  // The last of a core that is too long: where it goes wrong.
  const shown = new Set([violation.operation, ...violation.core.toReversed().slice(0, operationsMax - 1)])
  const endsAt = at(violation.operation).ret
  const near = violation.part.filter((i) => at(i).call <= endsAt).sort((a, b) => byCall(b, a))
  for (const i of near) {
    if (shown.size >= operationsMax) break
    shown.add(i)
  }
  return [...shown].sort(byCall)
}

/** Gives every call and every return that is drawn a column of its own, in their order. */
function barsOf<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  shown: readonly number[],
): readonly Bar[] {
  const events = shown.flatMap((index) => {
    const op = ops[index] as Op<I, O>
    const call = { index, isReturn: false, time: op.call }
    return op.ret === Number.POSITIVE_INFINITY ? [call] : [call, { index, isReturn: true, time: op.ret }]
  })
  events.sort((a, b) => a.time - b.time || Number(a.isReturn) - Number(b.isReturn) || a.index - b.index)
  const from = new Map<number, number>()
  const to = new Map<number, number>()
  for (const [column, event] of events.entries()) (event.isReturn ? to : from).set(event.index, column)
  return shown.map((index) => {
    const op = ops[index] as Op<I, O>
    return {
      index,
      client: op.client,
      from: from.get(index) ?? 0,
      to: to.get(index) ?? events.length,
      isOpen: !to.has(index),
      text: describeOperation(model, op),
    }
  })
}

/** Wide enough for most texts in their bars; a long bar has room to spare. */
function columnWidth(bars: readonly Bar[]): number {
  const wanted = bars.map(
    (bar) => (Math.min(bar.text.length, 28) * 7.3 + 12) / Math.max(1, bar.to - bar.from),
  )
  return Math.min(120, Math.max(24, ...wanted))
}

function barOf(bar: Bar, kind: string, fromPx: number, toPx: number, yPx: number, widthPx: number): string {
  const endPx = bar.isOpen ? widthPx - 8 : toPx
  // No right edge: it may take effect at any time from here on, or never.
  const edge = bar.isOpen
    ? `<path d="M${endPx} ${yPx}H${fromPx}V${yPx + barPx}H${endPx}" class="bar" stroke-dasharray="5 3"/>`
    : `<rect x="${fromPx}" y="${yPx}" width="${Math.max(4, endPx - fromPx)}" height="${barPx}" rx="4" class="bar"/>`
  const text = escape(clip(bar.text, endPx - fromPx - 8, 7.3))
  return (
    `<g class="${kind}"><title>${escape(bar.text)}</title>${edge}` +
    `<text x="${fromPx + 6}" y="${yPx + 17}">${text}</text></g>`
  )
}

/** Where each placed operation takes effect: in its bar, and not before the one placed ahead of it. */
function placementPoints(
  order: readonly number[],
  bars: readonly Bar[],
  x: (column: number) => number,
  y: (client: number) => number,
): readonly (readonly [number, number])[] {
  const barOfIndex = new Map(bars.map((bar) => [bar.index, bar]))
  const placed = order.flatMap((index) => barOfIndex.get(index) ?? [])
  let column = 0
  return placed.map((bar, i) => {
    column = Math.max(column, bar.from)
    // Several may fall between the same two events: they are spread, so that the line never goes back.
    const sharing = placed.slice(i).findIndex((other) => other.from > column)
    column += (Math.floor(column) + 1 - column) / ((sharing < 0 ? placed.length - i : sharing) + 1)
    return [x(column), y(bar.client) + barPx - 4] as const
  })
}

function lineOf(points: readonly (readonly [number, number])[]): readonly string[] {
  if (points.length === 0) return []
  const path = points.map(([px, py]) => `${px},${py}`).join(' ')
  const dots = points.map(([px, py]) => `<circle cx="${px}" cy="${py}" r="3" class="point"/>`)
  return [`<polyline points="${path}" class="line"/>`, ...dots]
}

function clip(text: string, roomPx: number, letterPx: number): string {
  const letters = Math.max(1, Math.floor(roomPx / letterPx))
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`
}

function escape(text: string): string {
  const marks = text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
  return Array.from(marks, (letter) => (isAllowed(letter) ? letter : '\ufffd')).join('')
}

/** Control characters and halves of pairs are not allowed in XML at all, not even escaped. */
function isAllowed(letter: string): boolean {
  const code = letter.codePointAt(0) ?? 0
  if (code < 0x20) return code === 0x9 || code === 0xa || code === 0xd
  return !(code >= 0xd800 && code <= 0xdfff) && code !== 0xfffe && code !== 0xffff
}
