/**
 * `npm run bench -- membership`: what membership costs and how fast it is, by the number of members: SWIM cores with the
 * preset `lan` on a virtual network, one-way latency 0.5 to 2 ms. Virtual time, so the figures are those of any machine. The
 * full run writes bench/membership.svg.
 */
import { fork } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadScaleBed } from './membership/scale-bed.ts'
import { drawScale } from './membership/scale-plot.ts'
import { measureDetection, measureLoad } from './membership/scale-run.ts'
import type { DetectionRow, LoadRow, Spread } from './membership/scale-run.ts'

const losses = [0, 0.01] as const
/** Members; deaths, and how many of them in one cluster; seconds of rest: longer than from one push-pull to the next. */
const fullSizes = [
  [5, 400, 1, 600],
  [10, 400, 1, 600],
  [100, 200, 5, 600],
  [1_000, 40, 10, 360],
] as const
const quickSizes = [
  [5, 60, 1, 120],
  [10, 60, 1, 120],
  [100, 20, 5, 120],
  [300, 5, 5, 120],
] as const
const plot = new URL('../membership.svg', import.meta.url)

/** Exit code 1 when a row broke or a death was seen too late, 2 for a wrong command line. */
export async function benchMembership(args: readonly string[]): Promise<number> {
  let quick: boolean
  try {
    quick = parseArgs({ args: [...args], options: { quick: { type: 'boolean' } } }).values.quick ?? false
  } catch (error) {
    process.stderr.write(
      `${error instanceof Error ? error.message : String(error)}: "membership" takes --quick\n`,
    )
    return 2
  }
  const loads: LoadRow[] = []
  const detections: DetectionRow[] = []
  for (const [nodes, deaths, perBed, seconds] of quick ? quickSizes : fullSizes) {
    for (const loss of losses) {
      process.stderr.write(`${nodes} members, ${loss * 100} % lost: at rest\n`)
      loads.push((await inFreshProcess(['load', nodes, loss, seconds])) as LoadRow)
      process.stderr.write(`${nodes} members, ${loss * 100} % lost: ${deaths} deaths\n`)
      detections.push((await inFreshProcess(['detection', nodes, loss, deaths, perBed])) as DetectionRow)
    }
  }
  process.stdout.write(`${loadTable(loads)}\n\n${detectionTable(detections)}\n`)
  if (!quick) {
    await writeFile(plot, drawScale(loads, detections))
    process.stderr.write(`wrote ${fileURLToPath(plot)}\n`)
  }
  const isMet = detections.every(({ all, boundMs, falseAlarms }) => all.p99 <= boundMs && falseAlarms === 0)
  return isMet ? 0 : 1
}

function loadTable(rows: readonly LoadRow[]): string {
  return [
    '| members | lost | messages | bytes |',
    '| ---: | ---: | ---: | ---: |',
    ...rows.map(
      ({ nodes, loss, messages, bytes }) =>
        `| ${start(nodes, loss)} | ${messages.toFixed(2)} | ${bytes.toFixed(1)} |`,
    ),
  ].join('\n')
}

function detectionTable(rows: readonly DetectionRow[]): string {
  return [
    '| members | lost | deaths | first p50 / p99 / max, s | all p50 / p99 / max, s | limit, s | |',
    '| ---: | ---: | ---: | ---: | ---: | ---: | --- |',
    ...rows.map((row) => {
      const word =
        row.all.p99 > row.boundMs ? 'BELOW' : row.falseAlarms > 0 ? `${row.falseAlarms} FALSE` : 'ok'
      const figures = `${showSpread(row.first)} | ${showSpread(row.all)} | ${(row.boundMs / 1_000).toFixed(1)}`
      return `| ${start(row.nodes, row.loss)} | ${row.deaths} | ${figures} | ${word} |`
    }),
  ].join('\n')
}

function start(nodes: number, loss: number): string {
  return `${nodes.toLocaleString('en')} | ${loss * 100} %`
}

function showSpread(spread: Spread): string {
  return [spread.p50, spread.p99, spread.max].map((ms) => (ms / 1_000).toFixed(1)).join(' / ')
}

/** A thousand cores know a million members: each row begins with an empty heap. @throws {Error} if it broke. */
function inFreshProcess(row: readonly (string | number)[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), ['--membership-row', ...row.map(String)], {
      execArgv: [],
    })
    let figures: unknown
    child.on('message', (message) => (figures = message))
    child.on('error', reject)
    child.on('exit', (code) => {
      if (figures === undefined) reject(new Error(`The row "${row.join(' ')}" ended with exit code ${code}`))
      else resolve(figures)
    })
  })
}

async function measure(
  kind: string,
  [nodes = 0, loss = 0, count = 0, perBed = 1]: readonly number[],
): Promise<unknown> {
  const makeBed = await loadScaleBed()
  if (kind === 'load') return measureLoad(makeBed, nodes, loss, count)
  if (kind === 'detection') return measureDetection(makeBed, nodes, loss, count, perBed)
  throw new RangeError(`There is no row of kind "${kind}"`)
}

if (process.argv[2] === '--membership-row') {
  const [, , , kind = '', ...figures] = process.argv
  process.send?.(await measure(kind, figures.map(Number)))
}
