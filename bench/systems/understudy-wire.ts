/**
 * This project's two-process rows: two nodes on loopback, one connection, messages checked against their schemas where
 * they arrive. This process asks and floods, `understudy-partner.ts` answers and counts.
 */
import { startNode, type ClusterNode } from '@understudy/cluster'
import { actor, nodePlatform, protocol, silentLogger, tell, type ActorRef } from '@understudy/runtime'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import Type from 'typebox'
import { timed } from '../harness/probe.ts'
import { figureSample, percentile, type Sample } from '../harness/sample.ts'
import { FLOOD_BATCH, IN_FLIGHT } from '../harness/workload.ts'
import {
  Adder,
  ADDER_PATH,
  PARTNER_NAME,
  Tally,
  TALLY_PATH,
  type PartnerReport,
} from './understudy-remote.ts'

interface Pair {
  readonly node: ClusterNode
  readonly child: ChildProcess
}

let pair: Promise<Pair> | undefined
let names = 0

const Flooder = protocol('flooder', { produce: tell({ left: Type.Integer() }) })

interface Flood {
  readonly sink: ActorRef<typeof Tally.messages>
  readonly drained: () => void
}

/** Sends a batch a turn, and waits when the link takes no more. */
const flooder = actor(Flooder, (ctx, { sink, drained }: Flood) => ({
  produce: async ({ left }) => {
    const batch = Math.min(left, FLOOD_BATCH)
    for (let i = 0; i < batch; i++) ctx.tell(sink, { type: 'inc', by: 1 })
    await sink.room()
    if (left > batch) ctx.tell(ctx.self, { type: 'produce', left: left - batch })
    else drained()
  },
}))

/** One-way: ends when the counter's sum is back, which must be right. */
export async function oneWay(n: number): Promise<Sample> {
  const { node } = await connect()
  const sink = node.ref(Tally, PARTNER_NAME, TALLY_PATH)
  let finish = (_failed?: Error): void => undefined
  const drained = (): void => {
    sink.ask({ type: 'take' }, { timeoutMs: 30_000 }).then(
      (sum) => finish(sum === n ? undefined : new Error(`one-way lost messages: ${n} sent, ${sum} counted`)),
      (error: Error) => finish(error),
    )
  }
  const source = node.system.spawn(`flooder-${names++}`, flooder, { sink, drained })
  let failed: Error | undefined
  const sample = await timed(n, (done) => {
    finish = (error) => {
      failed = error
      done()
    }
    source.tell({ type: 'produce', left: n })
  })
  await node.system.stop(source)
  if (failed !== undefined) throw failed
  return sample
}

const Prober = protocol('prober', { begin: tell() })

interface Probe {
  readonly server: ActorRef<typeof Adder.messages>
  readonly inFlight: number
  readonly asks: number
  /** Where the time of each ask goes; `undefined` when it is not wanted. */
  readonly tripUs: Float64Array | undefined
  readonly finish: () => void
}

/** Asks in as many loops as shall be in flight, each with the default timeout. */
const prober = actor(Prober, (ctx, { server, inFlight, asks, tripUs, finish }: Probe) => ({
  begin: async () => {
    let asked = 0
    const lane = async (): Promise<void> => {
      while (asked < asks) {
        const trip = asked++
        const sentMs = tripUs === undefined ? 0 : performance.now()
        await ctx.ask(server, { type: 'addOne', by: 1 })
        if (tripUs !== undefined) tripUs[trip] = (performance.now() - sentMs) * 1_000
      }
    }
    await Promise.all(Array.from({ length: inFlight }, lane))
    finish()
  },
}))

async function probe(n: number, inFlight: number, tripUs: Float64Array | undefined): Promise<Sample> {
  const { node } = await connect()
  const server = node.ref(Adder, PARTNER_NAME, ADDER_PATH)
  let finish = (): void => undefined
  const options: Probe = { server, inFlight, asks: n, tripUs, finish: () => finish() }
  const source = node.system.spawn(`prober-${names++}`, prober, options)
  const sample = await timed(n, (done) => {
    finish = done
    source.tell({ type: 'begin' })
  })
  await node.system.stop(source)
  return sample
}

/** Round trip: the median time of an ask, one in flight. */
export async function roundTrip(n: number): Promise<Sample> {
  const tripUs = new Float64Array(n)
  const { elapsedMs } = await probe(n, 1, tripUs)
  return figureSample(percentile(tripUs, 50), elapsedMs)
}

/** Asks, 64 in flight. */
export function remoteAsk(n: number): Promise<Sample> {
  return probe(n, IN_FLIGHT, undefined)
}

/** Ends the node and the partner process, if they were started. */
export async function closeWire(): Promise<void> {
  if (pair === undefined) return
  const { node, child } = await pair
  pair = undefined
  await node.shutdown('the benchmark is over')
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** The two nodes, started at first use and kept. */
function connect(): Promise<Pair> {
  pair ??= startPair()
  return pair
}

async function startPair(): Promise<Pair> {
  const child = fork(fileURLToPath(new URL('./understudy-partner.js', import.meta.url)), [], { execArgv: [] })
  const [report] = (await once(child, 'message')) as [PartnerReport]
  const node = await startNode({
    name: 'bench',
    listen: 'ws://127.0.0.1:0',
    seeds: [report.address],
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  await node.whenMembers(2, { signal: AbortSignal.timeout(10_000) })
  return { node, child }
}
