/** The client of the bare replicated log. What is put in one turn travels in one frame. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { bareSocketOptions } from './bare-words.ts'
import type { LoadClient } from './load.ts'

const GATHERED_BYTES_MOST = 1_048_576

/** The first target is the leader's port. */
export async function connectBare(targets: readonly string[]): Promise<LoadClient> {
  const socket = new WebSocket(`ws://127.0.0.1:${targets[0]}`, bareSocketOptions)
  await once(socket, 'open')
  let last = 0
  let answered = 0
  let waiting: (() => void)[] = []
  let taken = 0
  const frame = Buffer.allocUnsafe(GATHERED_BYTES_MOST)
  let end = 4
  const flush = (): void => {
    frame.writeUInt32BE(last, 0)
    socket.send(Buffer.from(frame.subarray(0, end)))
    end = 4
  }
  socket.on('message', (upTo: Buffer) => {
    for (const number = upTo.readUInt32BE(0); answered < number; answered++) waiting[taken++]?.()
    if (taken === waiting.length) {
      waiting = []
      taken = 0
    }
  })
  return {
    put: (key, value) =>
      new Promise((resolve) => {
        if (end === 4) queueMicrotask(flush)
        last++
        waiting.push(resolve as () => void)
        frame[end++] = key.length
        end += frame.write(key, end, 'latin1')
        end = frame.writeUInt16BE(value.length, end)
        frame.set(value, end)
        end += value.length
      }),
    get: () => Promise.reject(new Error('The bare log has nothing to get')),
    compact: () => Promise.resolve(),
    close: async () => socket.terminate(),
  }
}
