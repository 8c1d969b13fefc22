/**
 * Round trips between two nodes while 100 MB transfers saturate one of their lanes: asks on the control lane and on the
 * data lane, paced by a clock and not by their answers, and what SWIM's probes say.
 */
import type { ClusterNode } from '@understudy/cluster'
import { actor, protocol, tell, type ActorRef } from '@understudy/runtime'
import { setTimeout as delay } from 'node:timers/promises'
import { percentile } from '../harness/sample.ts'
import { depotProtocol, Echo, ECHO_PATH, PARTNER_NAME, type LaneName } from './lane-actors.ts'
import { startPair } from './lane-pair.ts'

const TRANSFER_BYTES = 100_000_000
const CHUNK_BYTES = 65_536
const ASK_EVERY_MS = 2
/** What a timer may be late by itself; more is the doing of this process, and counts. */
const TIMER_MS = 1
const WARM_UP_MS = 2_000

/** In milliseconds, but for `megabytesPerSecond`. */
export interface LatencyRow {
  readonly control: Trips
  readonly data: Trips
  /** The largest smoothed round trip of the probes that `status()` has shown, looked at four times a second. */
  readonly probeMs: number
  readonly megabytesPerSecond: number
}

/** What a number of asks took. */
export interface Trips {
  readonly count: number
  /** Asks that were refused because the queue of their lane was full; they are not among the others. */
  readonly refused: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

const Source = protocol('lane-source', { transfer: tell() })

interface Stream {
  readonly depot: ActorRef<ReturnType<typeof depotProtocol>['messages']>
  readonly sent: (bytes: number) => void
}

/** Sends one transfer after the other, and waits for room before each chunk. */
const source = actor(Source, (ctx, { depot, sent }: Stream) => {
  const bytes = new Uint8Array(CHUNK_BYTES).fill(7)
  return {
    transfer: async () => {
      for (let left = TRANSFER_BYTES; left > 0 && !ctx.signal.aborted; left -= CHUNK_BYTES) {
        await depot.room()
        if (!ctx.tell(depot, { type: 'chunk', bytes }))
          throw new Error('a chunk was refused in spite of room')
        sent(CHUNK_BYTES)
      }
      ctx.tell(ctx.self, { type: 'transfer' })
    },
  }
})

/** Measures for `durationMs`. `lane`: where the transfers go; none without it. */
export async function measureLatency(lane: LaneName | undefined, durationMs: number): Promise<LatencyRow> {
  const { node, partner } = await startPair()
  try {
    let sentBytes = 0
    if (lane !== undefined) {
      const depot = node.ref(depotProtocol(lane), PARTNER_NAME, `/user/depot-${lane}`)
      const stream: Stream = { depot, sent: (bytes) => (sentBytes += bytes) }
      node.system.spawn('source', source, stream).tell({ type: 'transfer' })
    }
    await askPaced(node, WARM_UP_MS)
    sentBytes = 0
    const startMs = performance.now()
    const { control, data, asked, probeMs } = await askPaced(node, durationMs)
    const megabytesPerSecond = sentBytes / 1_000 / (performance.now() - startMs)
    return { control: tripsOf(control, asked), data: tripsOf(data, asked), probeMs, megabytesPerSecond }
  } finally {
    await partner.end()
  }
}

interface Asked {
  readonly control: readonly number[]
  readonly data: readonly number[]
  /** On each lane. */
  readonly asked: number
  readonly probeMs: number
}

/** One ask on each of the two lanes every `ASK_EVERY_MS`, whether or not the last ones are answered. */
async function askPaced(node: ClusterNode, durationMs: number): Promise<Asked> {
  const echo = node.ref(Echo, PARTNER_NAME, ECHO_PATH)
  const control: number[] = []
  const data: number[] = []
  const open: Promise<unknown>[] = []
  let probeMs = 0
  const startMs = performance.now()
  const endMs = startMs + durationMs
  let lookMs = startMs
  for (let dueMs = startMs; dueMs < endMs;) {
    const nowMs = performance.now()
    for (; dueMs <= nowMs && dueMs < endMs; dueMs += ASK_EVERY_MS) {
      const sinceMs = Math.min(nowMs, dueMs + TIMER_MS)
      const note = (trips: number[], asked: Promise<number>): Promise<unknown> =>
        asked.then(() => trips.push(performance.now() - sinceMs), refusedOnly)
      open.push(note(control, echo.ask({ type: 'control', value: 1 }, { timeoutMs: 60_000 })))
      open.push(note(data, echo.ask({ type: 'data', value: 1 }, { timeoutMs: 60_000 })))
    }
    if (nowMs >= lookMs) {
      lookMs += 250
      for (const { roundTripMs = 0 } of node.status().membership.members) {
        probeMs = Math.max(probeMs, roundTripMs)
      }
    }
    await delay(1)
  }
  await Promise.all(open)
  return { control, data, asked: open.length / 2, probeMs }
}

function refusedOnly(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'CLUSTER_LINK_FULL')) throw error
}

function tripsOf(tripsMs: readonly number[], asked: number): Trips {
  return {
    count: tripsMs.length,
    refused: asked - tripsMs.length,
    p50Ms: percentile(tripsMs, 50),
    p99Ms: percentile(tripsMs, 99),
    maxMs: percentile(tripsMs, 100),
  }
}
