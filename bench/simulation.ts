/**
 * `npm run bench -- sim`: what the simulator does in a second of one core, beside the same actors on the real platform
 * in the same run; and what a hundred nodes take of memory.
 */
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import {
  actor,
  createSystem,
  protocol,
  seededRandom,
  tell,
  type ActorRef,
  type ActorSystem,
} from '@understudy/runtime'
import {
  checkLinearizable,
  HistoryRecorder,
  registerModel,
  type RegisterInput,
  type RegisterOutput,
} from '@understudy/runtime/checkers'
import { simulateSystem } from '@understudy/runtime/simulation'
import { simulate } from '@understudy/cluster/simulation'
import { Type } from 'typebox'

const Ball = protocol('sim-ball', { hit: tell({ left: Type.Number() }) })
type BallRef = ActorRef<(typeof Ball)['messages']>

/** Hits back to `partner` until nothing is left; then says so. */
function player(
  partner: () => BallRef,
  done: () => void,
): ReturnType<typeof actor<(typeof Ball)['messages']>> {
  return actor(Ball, (ctx) => {
    let to: BallRef | undefined
    return {
      hit: ({ left }) => {
        to ??= partner()
        if (left === 0) done()
        else ctx.tell(to, { type: 'hit', left: left - 1 })
      },
    }
  })
}

const names = ['a', 'b', 'c', 'd', 'e']
const rounds = 5

interface Row {
  readonly name: string
  readonly perSecond: number
  readonly target: number | undefined
}

/** Runs the rows, each in a fresh process. Exit code 1 when one broke. */
export async function benchSimulation(args: readonly string[]): Promise<number> {
  const quick = args.includes('--quick')
  const rows: Row[] = []
  for (const [name, target] of workloads) {
    const figures: number[] = []
    for (let round = 0; round < (quick ? 2 : rounds); round++) {
      process.stderr.write(`${name}, round ${round + 1}\n`)
      figures.push(await inFreshProcess(name))
    }
    figures.sort((x, y) => x - y)
    rows.push({ name, perSecond: figures[figures.length >> 1] ?? Number.NaN, target })
  }
  const real = rows.find(({ name }) => name === 'real-local')?.perSecond ?? Number.NaN
  for (const { name, perSecond, target } of rows) {
    if (name.startsWith('check-')) {
      process.stdout.write(`${name.padEnd(24)} ${perSecond.toFixed(0).padStart(10)} ms   target < 2000\n`)
      continue
    }
    if (name === 'memory-100-nodes') {
      process.stdout.write(`${name.padEnd(24)} ${perSecond.toFixed(0).padStart(10)} MiB  target < 1024\n`)
      continue
    }
    const ratio = (perSecond / real).toFixed(3)
    const wanted = target === undefined ? '' : `  target ${target.toLocaleString('en')}`
    process.stdout.write(
      `${name.padEnd(24)} ${Math.round(perSecond).toLocaleString('en').padStart(10)} messages/s  x${ratio} of real-local${wanted}\n`,
    )
  }
  return rows.every(({ perSecond }) => Number.isFinite(perSecond)) ? 0 : 1
}

const workloads: readonly (readonly [string, number | undefined])[] = [
  ['real-local', undefined],
  ['sim-local', undefined],
  ['sim-five-nodes', 200_000],
  ['sim-five-nodes-random', undefined],
  ['memory-100-nodes', undefined],
  ['check-10k-good', undefined],
  ['check-10k-bad', undefined],
]

function inFreshProcess(name: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), ['--row', name], {
      execArgv: ['--max-semi-space-size=64'],
    })
    let figure = Number.NaN
    child.on('message', (message) => (figure = Number(message)))
    child.on('error', reject)
    child.on('exit', () => resolve(figure))
  })
}

async function measure(name: string): Promise<number> {
  switch (name) {
    case 'real-local':
      return realLocal(4_000_000)
    case 'sim-local':
      return simLocal(600_000)
    case 'sim-five-nodes':
      return simFiveNodes(600_000, false)
    case 'sim-five-nodes-random':
      return simFiveNodes(200_000, true)
    case 'memory-100-nodes':
      return memoryOfNodes(100)
    case 'check-10k-good':
      return checkHistory(10_000, false)
    case 'check-10k-bad':
      return checkHistory(10_000, true)
    default:
      throw new RangeError(`There is no row "${name}"`)
  }
}

async function realLocal(messages: number): Promise<number> {
  const system = await createSystem('real', undefined, { isolation: 'reference', handleSignals: false })
  const sinceMs = performance.now()
  await rally(system, messages)
  const perSecond = (messages / (performance.now() - sinceMs)) * 1_000
  await system.shutdown()
  return perSecond
}

function rally(system: ActorSystem, messages: number): Promise<void> {
  return new Promise((resolve) => {
    const one: BallRef = system.spawn(
      'one',
      player(() => two, resolve),
    )
    const two: BallRef = system.spawn(
      'two',
      player(() => one, resolve),
    )
    one.tell({ type: 'hit', left: messages })
  })
}

async function simLocal(messages: number): Promise<number> {
  let perSecond = Number.NaN
  const { violation } = await simulateSystem({ seed: 1, policy: 'fifo' }, async (world) => {
    const system = await world.start(undefined, { isolation: 'reference' })
    const sinceMs = now()
    await rally(system, messages)
    perSecond = (messages / (now() - sinceMs)) * 1_000
  })
  if (violation !== undefined) throw new Error(violation.message)
  return perSecond
}

/** Each node has a player for each other node: twenty rallies, all messages cross the network as frames. */
async function simFiveNodes(messages: number, isRandom: boolean): Promise<number> {
  let perSecond = Number.NaN
  const { violation } = await simulate(
    {
      seed: 1,
      nodes: names.length,
      node: () => ({ actors: [player(unreachable, ignore)], isolation: 'reference' }),
      policy: isRandom ? 'random' : 'fifo',
      faults: false,
    },
    async (world) => {
      let rallies = 0
      let over = 0
      const finished = (): void => void over++
      for (const here of names) {
        for (const there of names) {
          if (here === there) continue
          const { system } = world.node(here).node
          const partner = system.ref(Ball, `${there}:/user/to-${here}`)
          system.spawn(
            `to-${there}`,
            player(() => partner, finished),
          )
          if (here < there) rallies++
        }
      }
      const sinceMs = now()
      const each = Math.floor(messages / rallies)
      for (const here of names) {
        for (const there of names) {
          if (here < there)
            world.node(here).node.system.ref(Ball, `/user/to-${there}`).tell({ type: 'hit', left: each })
        }
      }
      await world.until('rallies-end', () => over === rallies, { withinMs: 86_000_000, everyMs: 1_000 })
      perSecond = ((each * rallies) / (now() - sinceMs)) * 1_000
    },
  )
  if (violation !== undefined) throw new Error(violation.message)
  return perSecond
}

/** Milliseconds to judge a history of one register with eight clients; bad: one read near the end is an old value. */
function checkHistory(count: number, isBad: boolean): number {
  const random = seededRandom(1)
  const recorder = new HistoryRecorder<RegisterInput<number>, RegisterOutput<number>>()
  let value: number | null = null
  let begun = 0
  /** What each client has open: how it ends. */
  const open: (((at: number) => void) | undefined)[] = Array.from({ length: 8 }, () => undefined)
  for (let event = 0; begun < count || open.some((end) => end !== undefined); event++) {
    const client = random.int(0, 7)
    const end = open[client]
    if (end !== undefined) {
      end(begun)
      open[client] = undefined
      continue
    }
    if (begun >= count) continue
    const written = begun++
    const isEarly = random.int(0, 1) === 0
    if (random.int(0, 1) === 0) {
      const op = recorder.begin(client, { type: 'write', value: written })
      if (isEarly) value = written
      open[client] = () => {
        if (!isEarly) value = written
        op.ok(undefined)
      }
    } else {
      const op = recorder.begin(client, { type: 'read' })
      const early = value
      const isOld = isBad && written === count - 100
      open[client] = () => op.ok(isOld ? 1 : isEarly ? early : value)
    }
  }
  const sinceMs = now()
  const { verdict } = checkLinearizable(registerModel<number>(), recorder.ops())
  const tookMs = now() - sinceMs
  if (verdict !== (isBad ? 'illegal' : 'ok')) throw new Error(`the checker says ${verdict}`)
  return tookMs
}

/** MiB of the whole process when a hundred nodes see each other. */
async function memoryOfNodes(count: number): Promise<number> {
  let mebibytes = Number.NaN
  const { violation } = await simulate(
    { seed: 1, nodes: count, faults: false, policy: 'fifo' },
    async (world) => {
      await world.sleep(10_000)
      mebibytes = rss()
    },
  )
  if (violation !== undefined) throw new Error(violation.message)
  return mebibytes
}

// Kept from before the simulation stands in front of them: the bench itself is no part of what is simulated.
const { now: clock } = performance
const { memoryUsage } = process

function now(): number {
  return clock.call(performance)
}

function rss(): number {
  return memoryUsage().rss / 1_048_576
}

function unreachable(): never {
  throw new Error('only registered, never started')
}

function ignore(): void {
  // Only registered, never started.
}

if (process.argv[2] === '--row') process.send?.(await measure(process.argv[3] ?? ''))
