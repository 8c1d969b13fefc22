/**
 * `npm run bench -- lanes`: what lanes and back-pressure are for. Two processes on loopback; each row in fresh ones.
 */
import { fork } from 'node:child_process'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { measureFirstAsk, type FirstAskRow } from './lanes/first-ask.ts'
import { measureLatency, type LatencyRow, type Trips } from './lanes/lane-latency.ts'
import { measureSlowConsumer, type SlowConsumerRow } from './lanes/slow-consumer.ts'

const CONTROL_P99_MS_MOST = 20
const GROWTH_BYTES_MOST = 128 * 1_048_576

const latencyRows = {
  idle: 'nothing else',
  bulk: 'transfers on bulk',
  data: 'transfers on data',
  control: 'all on one lane',
} as const
const slowRows = { waiting: 'awaits room()', heedless: 'does not wait' } as const
const firstRows = { dialled: 'it dialled', accepted: 'it was dialled' } as const

type LatencyName = keyof typeof latencyRows
type SlowName = keyof typeof slowRows
type FirstName = keyof typeof firstRows

/** Runs the rows. Exit code 1 when one broke, 2 for a wrong command line; a missed limit reads `OVER`. */
export async function benchLanes(args: readonly string[]): Promise<number> {
  let quick: boolean
  try {
    quick = parseArgs({ args: [...args], options: { quick: { type: 'boolean' } } }).values.quick ?? false
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}: "lanes" takes --quick\n`)
    return 2
  }
  let broken = 0
  const each = async <Name extends string, Row>(
    kind: string,
    rows: Readonly<Record<Name, string>>,
    show: (name: Name, row: Row) => string,
  ): Promise<void> => {
    for (const [name, title] of Object.entries(rows) as [Name, string][]) {
      process.stderr.write(`${kind}: ${title}\n`)
      const row = (await inFreshProcess(kind, name, quick)) as Row | undefined
      if (row === undefined) broken++
      process.stdout.write(`${title.padEnd(18)} ${row === undefined ? 'failed' : show(name, row)}\n`)
    }
  }
  process.stdout.write('Round trips in ms, p50 / p99 / max\n')
  await each('latency', latencyRows, showLatency)
  process.stdout.write(
    '\nA consumer that handles 100 messages of 1 KiB a second; growth of resident memory\n',
  )
  await each('slow', slowRows, showSlow)
  process.stdout.write('\nThe first ask of two nodes that have just met, by who asks; median ms\n')
  await each('first', firstRows, showFirst)
  return broken === 0 ? 0 : 1
}

function showLatency(name: LatencyName, row: LatencyRow): string {
  const { control, data, probeMs, megabytesPerSecond } = row
  const isTarget = name === 'bulk'
  const isMet = control.p99Ms < CONTROL_P99_MS_MOST && probeMs < CONTROL_P99_MS_MOST
  const target = isTarget ? `  ${isMet ? 'ok' : 'OVER'}: control p99 < ${CONTROL_P99_MS_MOST}` : ''
  return (
    `control ${showTrips(control)}  data ${showTrips(data)}  probe ${probeMs.toFixed(2).padStart(7)}  ` +
    `${megabytesPerSecond.toFixed(0).padStart(5)} MB/s${target}`
  )
}

function showTrips({ p50Ms, p99Ms, maxMs, refused }: Trips): string {
  const figures = [p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(2).padStart(7)).join(' ')
  return refused === 0 ? figures : `${figures} (${refused} refused)`
}

function showSlow(_name: SlowName, row: SlowConsumerRow): string {
  const { taken, refused, handled, senderGrowthBytes, receiverGrowthBytes } = row
  const isMet = Math.max(senderGrowthBytes, receiverGrowthBytes) <= GROWTH_BYTES_MOST
  const counts = [taken, refused, handled].map((count) => count.toLocaleString('en').padStart(11))
  return (
    `taken ${counts[0]}  refused ${counts[1]}  handled ${counts[2]}  sender +${mebibytes(senderGrowthBytes)} MiB  ` +
    `receiver +${mebibytes(receiverGrowthBytes)} MiB  ${isMet ? 'ok' : 'OVER'}: both <= ${mebibytes(GROWTH_BYTES_MOST)}`
  )
}

function showFirst(_name: FirstName, { firstMs, firstMsMax, secondMs }: FirstAskRow): string {
  return `first ${firstMs.toFixed(2).padStart(7)}  max ${firstMsMax.toFixed(2).padStart(7)}  second ${secondMs.toFixed(2).padStart(7)}`
}

function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(0)
}

/** `undefined`: it broke; why stands on stderr. */
function inFreshProcess(kind: string, name: string, quick: boolean): Promise<unknown> {
  return new Promise((resolve) => {
    const args = ['--lane-row', kind, name, ...(quick ? ['--quick'] : [])]
    const child = fork(fileURLToPath(import.meta.url), args, {
      execArgv: [],
      env: { ...process.env, NODE_ENV: 'production' },
    })
    let row: unknown
    child.on('message', (message) => (row = message))
    child.on('exit', () => resolve(row))
  })
}

function measure(kind: string, name: string, quick: boolean): Promise<unknown> {
  switch (kind) {
    case 'latency':
      return measureLatency(
        name === 'idle' ? undefined : (name as Exclude<LatencyName, 'idle'>),
        quick ? 3_000 : 10_000,
      )
    case 'slow':
      return measureSlowConsumer(name === 'waiting', quick ? 5_000 : 30_000)
    case 'first':
      return measureFirstAsk(name === 'dialled', quick ? 10 : 40)
    default:
      throw new RangeError(`There is no row of kind "${kind}"`)
  }
}

if (process.argv[2] === '--lane-row') {
  const [, , , kind = '', name = '', quick] = process.argv
  const row = await measure(kind, name, quick === '--quick')
  process.send?.(row, () => process.exit(0))
}
