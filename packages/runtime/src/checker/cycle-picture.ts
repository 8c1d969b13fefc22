/** An anomaly of isolation as a picture: transactions as boxes, what must come before what as arrows. */
import type { Dependency, DependencyKind, IsolationAnomaly } from './isolation-level.ts'
import { describeListTransaction, type ListTransactionOp } from './list-transaction.ts'

export interface CyclePictureOptions {
  /** Above the picture. Default: the type of the anomaly and what it takes. */
  readonly title?: string | undefined
  /** How many transactions of a circle are drawn at most; its first ones. @default 12 */
  readonly transactionsMax?: number | undefined
}

/**
 * An SVG document that needs nothing from outside; everything taken from the history is escaped. The same input gives
 * the same text. An anomaly that is no circle is drawn as its transactions alone.
 *
 * @param ops the history that was checked
 */
export function cyclePicture(
  ops: readonly ListTransactionOp[],
  anomaly: IsolationAnomaly,
  options: CyclePictureOptions = {},
): string {
  const shown = anomaly.transactions.slice(0, options.transactionsMax ?? 12)
  const boxes = layOut(shown.map((transaction) => boxOf(ops, transaction)))
  const isCut = shown.length < anomaly.transactions.length
  const steps = (anomaly.cycle ?? []).slice(0, isCut ? shown.length - 1 : shown.length)
  const widthPx = Math.max(760, ...boxes.map((box) => box.x + box.widthPx / 2 + marginPx))
  const legendPx = (steps.length + 2) * linePx + 16
  const bottomPx = Math.max(...boxes.map((box) => box.y + box.heightPx / 2), topPx) + marginPx
  const heightPx = bottomPx + legendPx
  const title = options.title ?? `${anomaly.type}, forbidden from ${anomaly.forbiddenFrom} on`
  const more = isCut ? [`... and ${anomaly.transactions.length - shown.length} more transactions`] : []
  const legend = [...steps.map((step) => `${label(step.kind)}: ${step.because}`), ...more]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}" ` +
      `viewBox="0 0 ${widthPx} ${heightPx}" role="img" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">`,
    `<title>${escape(title)}</title>`,
    style,
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">' +
      '<path d="M0 0L8 4L0 8z" fill="#444"/></marker></defs>',
    `<rect width="${widthPx}" height="${heightPx}" fill="#fff"/>`,
    `<text x="${marginPx}" y="28" class="title">${escape(title)}</text>`,
    ...steps.map((step, i) => arrow(step, boxes[i], boxes[(i + 1) % boxes.length], boxes)),
    ...boxes.map(drawBox),
    ...legend.map((text, i) => {
      const kind = steps[i]?.kind ?? 'session'
      return `<text x="${marginPx}" y="${bottomPx + (i + 1) * linePx}" class="${kind}">${escape(clip(text, widthPx))}</text>`
    }),
    '</svg>\n',
  ].join('\n')
}

const topPx = 48
const marginPx = 20
const linePx = 17
const letterPx = 7.3
const style = [
  '<style>',
  '.title{font-size:14px;font-weight:600}.box{fill:#f4f7fb;stroke:#7a93ad}.name{font-weight:600}',
  'path.edge{fill:none;stroke-width:2}.label{font-weight:600;paint-order:stroke;stroke:#fff;stroke-width:4px}',
  '.ww{fill:#8c4a00}.wr{fill:#1a5fa0}.rw{fill:#b3261e}.session,.realtime{fill:#666}',
  '</style>',
].join('')
const colours: Readonly<Record<DependencyKind, string>> = {
  ww: '#8c4a00',
  wr: '#1a5fa0',
  rw: '#b3261e',
  session: '#666',
  realtime: '#666',
}

interface Box {
  readonly lines: readonly string[]
  readonly widthPx: number
  readonly heightPx: number
  /** Its middle. */
  readonly x: number
  readonly y: number
}

function boxOf(ops: readonly ListTransactionOp[], transaction: number): Box {
  const text = describeListTransaction(ops, transaction)
  const colon = text.indexOf(': ')
  const steps = text.slice(colon + 2).split(/, (?=append\(|read\()/)
  const shown = steps.length > 8 ? [...steps.slice(0, 7), `... ${steps.length - 7} more`] : steps
  const lines = [text.slice(0, colon), ...shown].map((line) =>
    line.length > 44 ? `${line.slice(0, 43)}…` : line,
  )
  const widthPx = Math.round(Math.max(...lines.map((line) => line.length)) * letterPx) + 20
  return { lines, widthPx, heightPx: lines.length * linePx + 12, x: 0, y: 0 }
}

/** Two stand beside each other, more in a ring, clockwise from the top. */
function layOut(boxes: readonly Box[]): readonly Box[] {
  const widest = Math.max(0, ...boxes.map((box) => box.widthPx))
  const highest = Math.max(0, ...boxes.map((box) => box.heightPx))
  if (boxes.length <= 2) {
    const y = topPx + 36 + highest / 2
    return boxes.map((box, i) => ({ ...box, x: marginPx + widest / 2 + i * (widest + 130), y }))
  }
  const radiusX = Math.max(widest * 0.75 + 40, (boxes.length * (widest + 40)) / 6)
  const radiusY = Math.max(highest + 50, (boxes.length * (highest + 40)) / 5)
  return boxes.map((box, i) => {
    const angle = (i / boxes.length) * 2 * Math.PI - Math.PI / 2
    const x = Math.round(marginPx + widest / 2 + radiusX + radiusX * Math.cos(angle))
    return { ...box, x, y: Math.round(topPx + highest / 2 + radiusY + radiusY * Math.sin(angle)) }
  })
}

function drawBox({ lines, widthPx, heightPx, x, y }: Box): string {
  const [left, top] = [x - widthPx / 2, y - heightPx / 2]
  const texts = lines.map((line, i) => {
    const style = i === 0 ? ' class="name"' : ''
    return `<text x="${left + 10}" y="${top + 6 + (i + 0.75) * linePx}"${style}>${escape(line)}</text>`
  })
  return `<g><rect x="${left}" y="${top}" width="${widthPx}" height="${heightPx}" rx="5" class="box"/>${texts.join('')}</g>`
}

function arrow(
  { kind }: Dependency,
  from: Box | undefined,
  to: Box | undefined,
  boxes: readonly Box[],
): string {
  if (from === undefined || to === undefined) return ''
  const middle = (pick: (box: Box) => number): number =>
    boxes.reduce((sum, box) => sum + pick(box), 0) / boxes.length
  // Bent away from the middle of the ring; of two, one goes above and one below.
  const [midX, midY] = [(from.x + to.x) / 2, (from.y + to.y) / 2]
  const bend = boxes.length <= 2 ? { x: 0, y: from.x < to.x ? -60 : 60 } : outwards(midX, midY, middle)
  const [controlX, controlY] = [midX + bend.x, midY + bend.y]
  const start = edgePoint(from, controlX, controlY)
  const end = edgePoint(to, controlX, controlY)
  const [labelX, labelY] = [(start.x + end.x) / 4 + controlX / 2, (start.y + end.y) / 4 + controlY / 2]
  const dashes = kind === 'realtime' || kind === 'session' ? ' stroke-dasharray="6 4"' : ''
  const curve = `M${round(start.x)} ${round(start.y)}Q${round(controlX)} ${round(controlY)} ${round(end.x)} ${round(end.y)}`
  return (
    `<path d="${curve}" class="edge" style="stroke:${colours[kind]}"${dashes} marker-end="url(#head)"/>` +
    `<text x="${round(labelX)}" y="${round(labelY + 4)}" text-anchor="middle" class="label ${kind}">${label(kind)}</text>`
  )
}

function outwards(
  x: number,
  y: number,
  middle: (pick: (box: Box) => number) => number,
): { readonly x: number; readonly y: number } {
  const [dx, dy] = [x - middle((box) => box.x), y - middle((box) => box.y)]
  const length = Math.hypot(dx, dy)
  return length < 1 ? { x: 0, y: -30 } : { x: (dx / length) * 30, y: (dy / length) * 30 }
}

/** Where the line from the middle of `box` to a point leaves the box. */
function edgePoint(box: Box, toX: number, toY: number): { readonly x: number; readonly y: number } {
  const [dx, dy] = [toX - box.x, toY - box.y]
  const scale = Math.min(
    Math.abs(dx) < 1 ? Number.POSITIVE_INFINITY : box.widthPx / 2 / Math.abs(dx),
    Math.abs(dy) < 1 ? Number.POSITIVE_INFINITY : box.heightPx / 2 / Math.abs(dy),
    1,
  )
  return { x: box.x + dx * scale, y: box.y + dy * scale }
}

function label(kind: DependencyKind): string {
  return kind === 'realtime' ? 'rt' : kind
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

function clip(text: string, widthPx: number): string {
  const letters = Math.floor((widthPx - 2 * marginPx) / letterPx)
  return text.length <= letters ? text : `${text.slice(0, letters - 1)}…`
}

function escape(text: string): string {
  return (
    text
      .replaceAll('&', '&amp;')
      .replaceAll('<', '&lt;')
      .replaceAll('>', '&gt;')
      .replaceAll('"', '&quot;')
      // Control characters are not allowed in XML at all.
      .replaceAll(/[\p{Cc}\ufffe\uffff]/gu, '�')
  )
}
