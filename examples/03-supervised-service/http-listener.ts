import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { finished } from 'node:stream/promises'
import {
  actor,
  ask,
  isActorError,
  protocol,
  service,
  tell,
  type Definition,
  type MessagesOf,
  type SystemStatus,
} from '@understudy/runtime'
import Type from 'typebox'
import { Requests } from './request-worker.ts'

/** The door of the service. */
export const Listener = protocol('listener', {
  port: ask(Type.Integer()),
  /** From now on GET /ready answers 503, so that a load balancer sends nobody here any more. */
  notReady: tell(),
  /** Takes no new connections; answers when the last open request has been answered. */
  drain: ask(Type.Null()),
})

/** How the listener comes by the system's status. */
export const Status = service<() => SystemStatus>('status')

const bodyBytesMax = 65_536

/** What an error means to the one who sent the request. */
const statusOf: Readonly<Record<string, number>> = {
  RUNTIME_ACTOR_CRASHED: 500,
  RUNTIME_MAILBOX_FULL: 503,
  RUNTIME_ACTOR_STOPPED: 503,
  RUNTIME_RESTARTED: 503,
  RUNTIME_ASK_TIMEOUT: 504,
}

/** An HTTP server on loopback as an actor. `port` 0 means any free one; a restart then listens on the same again. */
export function httpListener(options: {
  readonly port: number
}): Definition<MessagesOf<typeof Listener>, void> {
  // Outlives the incarnations: clients know this port by now.
  let { port } = options
  return actor(Listener, { own: { crash: tell() } }, async (ctx) => {
    const workers = ctx.ref(Requests, '/user/workers')
    let ready = true
    let draining = false

    const server = createServer((request, response) => ctx.run(answer(request, response)))
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    server.on('error', (error) => ctx.run(Promise.reject(error)))
    ctx.defer(() => {
      // At a restart there may be open requests: their workers' answers belong to the incarnation that is gone.
      server.closeAllConnections()
      return close()
    })

    function close(): Promise<void> {
      return new Promise((resolve) => server.close(() => resolve()))
    }

    async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
      const { pathname: path, search, searchParams } = new URL(request.url ?? '/', 'http://localhost')
      const method = request.method ?? 'GET'
      if (path === '/ready') return send(response, ready ? 200 : 503, ready ? 'ready\n' : 'not ready\n')
      if (path === '/tree') return send(response, 200, `${JSON.stringify(ctx.service(Status)(), null, 2)}\n`)
      if (method === 'POST' && path === '/crash' && searchParams.get('what') === 'listener') {
        send(response, 202, 'the listener crashes\n')
        ctx.pipe(finished(response), () => ({ type: 'crash' as const }))
        return
      }
      const body = await readBody(request)
      if (body === undefined) return send(response, 413, `a body has at most ${bodyBytesMax} bytes\n`)
      try {
        const reply = await ctx.ask(workers, { type: 'handle', method, path, query: search, body })
        send(response, reply.status, reply.body)
      } catch (error) {
        const code = isActorError(error) ? error.code : 'unknown'
        send(response, statusOf[code] ?? 500, `${JSON.stringify({ error: code })}\n`)
      }
    }

    function send(response: ServerResponse, status: number, body: string): void {
      if (draining) response.setHeader('connection', 'close')
      response.writeHead(status, { 'content-length': Buffer.byteLength(body) }).end(body)
    }

    return {
      port: () => port,
      notReady: () => {
        ready = false
      },
      drain: () => {
        draining = true
        // Answered later, so that the mailbox is free while the last requests are finished.
        const owed = ctx.call().later<null>()
        void close().then(() => owed.reply(null))
        return owed
      },
      crash: () => {
        throw new Error('crashed by request')
      },
    }
  })
}

/** `undefined` when it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bodyBytesMax) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
