/** Draws the figures of `npm run bench -- membership` as one SVG of two panels: load beside detection, by members. */
import type { DetectionRow, LoadRow } from './scale-run.ts'

interface Series {
  readonly name: string
  readonly colour: string
  /** Dashed: no measurement but a limit. */
  readonly isLimit?: boolean | undefined
  readonly points: readonly (readonly [nodes: number, value: number])[]
}

interface Panel {
  readonly title: string
  readonly unit: string
  readonly series: readonly Series[]
}

const width = 900
const height = 360
const panelWidth = 330
const panelHeight = 210
const top = 64
const lefts = [70, 520] as const
const ink = '#333333'
const grid = '#dddddd'
const blue = '#1f77b4'
const orange = '#d95f02'
const green = '#1b9e77'
const purple = '#7570b3'
const grey = '#777777'

/** The whole file. Rows of both losses must be there; nodes are on a logarithmic axis. */
export function drawScale(load: readonly LoadRow[], detection: readonly DetectionRow[]): string {
  const nodes = [...new Set([...load, ...detection].map((row) => row.nodes))].sort((a, b) => a - b)
  const loads: Panel = {
    title: 'What a node sends while nothing happens',
    unit: 'per node and second',
    series: [
      {
        name: 'bytes, 1 % lost',
        colour: orange,
        points: load.filter(isLossy).map((row) => [row.nodes, row.bytes]),
      },
      { name: 'bytes', colour: blue, points: load.filter(isClean).map((row) => [row.nodes, row.bytes]) },
      {
        name: 'messages, 1 % lost',
        colour: purple,
        points: load.filter(isLossy).map((row) => [row.nodes, row.messages]),
      },
      {
        name: 'messages',
        colour: green,
        points: load.filter(isClean).map((row) => [row.nodes, row.messages]),
      },
    ],
  }
  const inSeconds = (rows: readonly DetectionRow[], of: (row: DetectionRow) => number): Series['points'] =>
    rows.map((row) => [row.nodes, of(row) / 1_000])
  const detections: Panel = {
    title: 'From a crash until it is unreachable',
    unit: 'seconds (1 % of the messages lost)',
    series: [
      {
        name: 'limit: formula + 2 periods',
        colour: grey,
        isLimit: true,
        points: inSeconds(detection.filter(isLossy), (row) => row.boundMs),
      },
      {
        name: 'to all, p99',
        colour: orange,
        points: inSeconds(detection.filter(isLossy), (row) => row.all.p99),
      },
      {
        name: 'to all, median',
        colour: blue,
        points: inSeconds(detection.filter(isLossy), (row) => row.all.p50),
      },
      {
        name: 'to the first, median',
        colour: green,
        points: inSeconds(detection.filter(isLossy), (row) => row.first.p50),
      },
    ],
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      `font-family="sans-serif" font-size="12" fill="${ink}">`,
    `<title>SWIM with the preset lan: load and detection by the number of members</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...drawPanel(loads, lefts[0], nodes),
    ...drawPanel(detections, lefts[1], nodes),
    '</svg>',
    '',
  ].join('\n')
}

function drawPanel({ title, unit, series }: Panel, left: number, nodes: readonly number[]): string[] {
  const values = series.flatMap(({ points }) => points.map(([, value]) => value))
  const step = niceStep(Math.max(...values) / 5)
  const most = step * Math.ceil((Math.max(...values) * 1.02) / step)
  const bottom = top + panelHeight
  const low = Math.log10(nodes[0] ?? 1)
  const high = Math.log10(nodes.at(-1) ?? 10)
  const x = (count: number): string =>
    (left + 12 + ((Math.log10(count) - low) / (high - low)) * (panelWidth - 24)).toFixed(1)
  const y = (value: number): string => (bottom - (value / most) * panelHeight).toFixed(1)
  const out = [
    `<text x="${left}" y="24" font-size="15" font-weight="bold">${title}</text>`,
    `<text x="${left}" y="44" fill="${grey}">${unit}</text>`,
  ]
  for (let value = 0; value <= most + step / 2; value += step) {
    out.push(
      `<line x1="${left}" x2="${left + panelWidth}" y1="${y(value)}" y2="${y(value)}" stroke="${grid}"/>`,
      `<text x="${left - 8}" y="${Number(y(value)) + 4}" text-anchor="end">${value}</text>`,
    )
  }
  for (const count of nodes) {
    out.push(
      `<line x1="${x(count)}" x2="${x(count)}" y1="${bottom}" y2="${bottom + 5}" stroke="${ink}"/>`,
      `<text x="${x(count)}" y="${bottom + 19}" text-anchor="middle">${count.toLocaleString('en')}</text>`,
    )
  }
  out.push(
    `<line x1="${left}" x2="${left + panelWidth}" y1="${bottom}" y2="${bottom}" stroke="${ink}"/>`,
    `<text x="${left + panelWidth / 2}" y="${bottom + 37}" text-anchor="middle">members (logarithmic)</text>`,
  )
  let legendY = bottom + 56
  for (const [index, { name, colour, isLimit, points }] of series.entries()) {
    const dash = isLimit === true ? ' stroke-dasharray="5 4"' : ''
    const path = points.map(([count, value]) => `${x(count)},${y(value)}`).join(' ')
    out.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`)
    if (isLimit !== true)
      for (const [count, value] of points)
        out.push(`<circle cx="${x(count)}" cy="${y(value)}" r="3" fill="${colour}"/>`)
    const legendX = left + (index % 2) * 175
    out.push(
      `<line x1="${legendX}" x2="${legendX + 22}" y1="${legendY - 4}" y2="${legendY - 4}" stroke="${colour}" stroke-width="2"${dash}/>`,
      `<text x="${legendX + 28}" y="${legendY}">${name}</text>`,
    )
    if (index % 2 === 1) legendY += 18
  }
  return out
}

/** 1, 2 or 5 times a power of ten, at least that. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least))
  for (const factor of [1, 2, 5]) if (factor * power >= least) return factor * power
  return 10 * power
}

function isLossy({ loss }: { readonly loss: number }): boolean {
  return loss > 0
}

function isClean({ loss }: { readonly loss: number }): boolean {
  return loss === 0
}
