/**
 * The two-process rows of the bare limit: `ws` and `cbor-x` with nothing between them. This process dials,
 * `limit-partner.ts` answers. Envelopes are positional arrays, recipients and types small integers.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setImmediate as immediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Encoder } from 'cbor-x'
import { WebSocket } from 'ws'
import { figureSample, percentile, rateSample, type Sample } from '../harness/sample.ts'
import { FRAME_BATCH, IN_FLIGHT } from '../harness/workload.ts'
import type { PartnerReport } from './limit-partner.ts'

/** Bytes in the socket's buffer above which the sender lets the event loop go round. */
const BUFFERED_BYTES_MAX = 1 << 20
/** About the size of one small envelope. */
const ECHO_BYTES = 24
const RECIPIENT = 7
const TYPE_INC = 1
const TYPE_ADD_ONE = 2

const encoder = new Encoder({ useRecords: false })
const sockets = new Map<string, WebSocket>()
let partner: { readonly child: ChildProcess; readonly port: number } | undefined

/** One-way: batches of 128 envelopes a frame, each decoded and counted over there. */
export async function oneWay(n: number): Promise<Sample> {
  const socket = await connect('one-way')
  const startMs = performance.now()
  for (let sent = 0; sent < n; sent += FRAME_BATCH) {
    const count = Math.min(FRAME_BATCH, n - sent)
    const batch = Array.from({ length: count }, () => [RECIPIENT, TYPE_INC, 1])
    socket.send(encoder.encode(batch))
    while (socket.bufferedAmount > BUFFERED_BYTES_MAX) await immediate()
  }
  const answered = once(socket, 'message')
  socket.send(encoder.encode([]))
  const [data] = (await answered) as [Buffer]
  const elapsedMs = performance.now() - startMs
  const counted: unknown = encoder.decode(data)
  if (counted !== n) throw new Error(`one-way lost messages: ${n} sent, ${String(counted)} counted`)
  return rateSample(n, elapsedMs)
}

/** Round trip: a small frame that comes straight back, one in flight; the median. */
export async function roundTrip(n: number): Promise<Sample> {
  const socket = await connect('echo')
  const frame = Buffer.alloc(ECHO_BYTES, 1)
  const tripUs = new Float64Array(n)
  const startMs = performance.now()
  await new Promise<void>((resolve) => {
    let trip = 0
    let sentMs = startMs
    socket.removeAllListeners('message')
    socket.on('message', () => {
      const nowMs = performance.now()
      tripUs[trip++] = (nowMs - sentMs) * 1_000
      if (trip === n) return resolve()
      sentMs = nowMs
      socket.send(frame)
    })
    socket.send(frame)
  })
  return figureSample(percentile(tripUs, 50), performance.now() - startMs)
}

/** Asks: 64 in flight, matched by slot, one flush a turn on both sides. */
export async function remoteAsk(n: number): Promise<Sample> {
  const socket = await connect('ask')
  const waiting: ((value: unknown) => void)[] = []
  let outbox: unknown[] = []
  const flush = (): void => {
    socket.send(encoder.encode(outbox))
    outbox = []
  }
  const askRemote = (slot: number, by: number): Promise<unknown> =>
    new Promise((resolve) => {
      waiting[slot] = resolve
      if (outbox.push([slot, RECIPIENT, TYPE_ADD_ONE, by]) === 1) queueMicrotask(flush)
    })
  socket.removeAllListeners('message')
  socket.on('message', (data: Buffer) => {
    for (const [slot, value] of encoder.decode(data) as [number, unknown][]) waiting[slot]?.(value)
  })
  let left = n
  const lane = async (slot: number): Promise<void> => {
    while (left-- > 0) await askRemote(slot, 1)
  }
  const startMs = performance.now()
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, slot) => lane(slot)))
  return rateSample(n, performance.now() - startMs)
}

/** Ends the connections and the partner process, if any were made. */
export async function closeWire(): Promise<void> {
  for (const socket of sockets.values()) socket.terminate()
  sockets.clear()
  const child = partner?.child
  partner = undefined
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** The connection for a purpose, made at its first use and kept. */
async function connect(purpose: 'one-way' | 'echo' | 'ask'): Promise<WebSocket> {
  const known = sockets.get(purpose)
  if (known !== undefined) return known
  partner ??= await startPartner()
  const socket = new WebSocket(`ws://127.0.0.1:${partner.port}/${purpose}`, {
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  await once(socket, 'open')
  sockets.set(purpose, socket)
  return socket
}

async function startPartner(): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = fork(fileURLToPath(new URL('./limit-partner.js', import.meta.url)), [], { execArgv: [] })
  const [report] = (await once(child, 'message')) as [PartnerReport]
  return { child, port: report.port }
}
