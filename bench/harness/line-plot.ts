/** Draws the figures of a benchmark as one SVG of panels, two a row, both axes of each logarithmic. */

interface Series {
  readonly name: string
  readonly colour: string
  readonly isDashed?: boolean | undefined
  readonly points: readonly (readonly [count: number, value: number])[]
}

/** Both axes are logarithmic. */
export interface PlotPanel {
  readonly title: string
  readonly unit: string
  readonly axis: string
  readonly series: readonly Series[]
}

const width = 900
const rowHeightLeast = 380
/** A row without its legend, which has a line for two series. */
const rowHeightBare = 326
const legendLine = 18
const panelWidth = 340
const panelHeight = 210
const top = 64
const lefts = [70, 530] as const
const ink = '#333333'
const grid = '#dddddd'
const grey = '#777777'

/** Two panels a row, from left to right. */
export function drawPanels(title: string, panels: readonly PlotPanel[]): string {
  const seriesMost = Math.max(...panels.map(({ series }) => series.length))
  const rowHeight = Math.max(rowHeightLeast, rowHeightBare + Math.ceil(seriesMost / 2) * legendLine)
  const height = Math.ceil(panels.length / 2) * rowHeight
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      `font-family="sans-serif" font-size="12" fill="${ink}">`,
    `<title>${title}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...panels.flatMap((panel, at) => drawPanel(panel, lefts[at % 2] ?? 0, Math.floor(at / 2) * rowHeight)),
    '</svg>',
    '',
  ].join('\n')
}

function drawPanel({ title, unit, axis, series }: PlotPanel, left: number, above: number): string[] {
  const counts = [...new Set(series.flatMap(({ points }) => points.map(([count]) => count)))].sort(
    (a, b) => a - b,
  )
  const values = series.flatMap(({ points }) => points.map(([, value]) => value))
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)))
  const high = 10 ** Math.ceil(Math.log10(Math.max(...values)))
  const bottom = above + top + panelHeight
  const share = (value: number, from: number, to: number): number =>
    to === from ? 0.5 : Math.log(value / from) / Math.log(to / from)
  const x = (count: number): string =>
    (left + 12 + share(count, counts[0] ?? 1, counts.at(-1) ?? 1) * (panelWidth - 24)).toFixed(1)
  const y = (value: number): string => (bottom - share(value, low, high) * panelHeight).toFixed(1)
  const out = [
    `<text x="${left}" y="${above + 24}" font-size="15" font-weight="bold">${title}</text>`,
    `<text x="${left}" y="${above + 44}" fill="${grey}">${unit}</text>`,
  ]
  for (let power = low; power <= high * 1.01; power *= 10)
    out.push(
      `<line x1="${left}" x2="${left + panelWidth}" y1="${y(power)}" y2="${y(power)}" stroke="${grid}"/>`,
      `<text x="${left - 8}" y="${Number(y(power)) + 4}" text-anchor="end">${showPower(power)}</text>`,
    )
  for (const count of counts)
    out.push(
      `<line x1="${x(count)}" x2="${x(count)}" y1="${bottom}" y2="${bottom + 5}" stroke="${ink}"/>`,
      `<text x="${x(count)}" y="${bottom + 19}" text-anchor="middle">${count.toLocaleString('en')}</text>`,
    )
  out.push(
    `<line x1="${left}" x2="${left + panelWidth}" y1="${bottom}" y2="${bottom}" stroke="${ink}"/>`,
    `<text x="${left + panelWidth / 2}" y="${bottom + 37}" text-anchor="middle">${axis}</text>`,
  )
  for (const [at, { name, colour, isDashed, points }] of series.entries()) {
    const dash = isDashed === true ? ' stroke-dasharray="5 4"' : ''
    const path = points.map(([count, value]) => `${x(count)},${y(value)}`).join(' ')
    out.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`)
    for (const [count, value] of points)
      out.push(`<circle cx="${x(count)}" cy="${y(value)}" r="3" fill="${colour}"/>`)
    const legendX = left + (at % 2) * 170
    const legendY = bottom + 56 + Math.floor(at / 2) * legendLine
    out.push(
      `<line x1="${legendX}" x2="${legendX + 22}" y1="${legendY - 4}" y2="${legendY - 4}" stroke="${colour}" stroke-width="2"${dash}/>`,
      `<text x="${legendX + 28}" y="${legendY}">${name}</text>`,
    )
  }
  return out
}

function showPower(value: number): string {
  return value >= 1 ? value.toLocaleString('en') : String(Number(value.toPrecision(1)))
}
