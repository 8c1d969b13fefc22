/**
 * The other process of the bare two-process rows: a `ws` server on loopback that counts, echoes or answers,
 * by the path that was dialled. It tells its port over IPC and ends with its parent.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Encoder } from 'cbor-x'
import { WebSocketServer, type WebSocket } from 'ws'

/** Sent once to the parent. */
export interface PartnerReport {
  readonly port: number
}

/** `[recipient, type, by]` */
type Increment = readonly [number, number, number]
/** `[slot, recipient, type, by]` */
type Question = readonly [number, number, number, number]

const encoder = new Encoder({ useRecords: false })

if (process.send !== undefined) await serve(process.send.bind(process))

async function serve(report: (message: PartnerReport) => unknown): Promise<void> {
  const server = new WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: false,
    skipUTF8Validation: true,
  })
  server.on('connection', (socket, request) => {
    if (request.url === '/one-way') count(socket)
    else if (request.url === '/echo') socket.on('message', (data) => socket.send(data))
    else if (request.url === '/ask') answer(socket)
    else socket.terminate()
  })
  process.on('disconnect', () => process.exit(0))
  await once(server, 'listening')
  report({ port: (server.address() as AddressInfo).port })
}

/** Adds up increments; an empty batch asks for the sum, and starts anew. */
function count(socket: WebSocket): void {
  let sum = 0
  socket.on('message', (data: Buffer) => {
    const batch = encoder.decode(data) as readonly Increment[]
    if (batch.length === 0) {
      socket.send(encoder.encode(sum))
      sum = 0
    }
    for (const [, , by] of batch) sum += by
  })
}

/** Answers every question of a frame in one frame. */
function answer(socket: WebSocket): void {
  socket.on('message', (data: Buffer) => {
    const answers = (encoder.decode(data) as readonly Question[]).map(([slot, , , by]) => [slot, by + 1])
    socket.send(encoder.encode(answers))
  })
}
