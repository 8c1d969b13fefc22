import { setTimeout as sleep } from 'node:timers/promises'
import { actor, ask, isActorError, protocol } from '@understudy/runtime'
import Type from 'typebox'
import { Items } from './items.ts'

const Answer = Type.Object({ status: Type.Integer(), body: Type.String() })
type Answer = Type.Static<typeof Answer>

/** An HTTP request as an actor sees it: plain data, checked at the door. */
export const Requests = protocol('requests', {
  handle: ask(
    { method: Type.String(), path: Type.String(), query: Type.String(), body: Type.String() },
    Answer,
  ),
})

/**
 * Answers one request after the other. A bug in here crashes this worker alone: the asker gets an error at once, the
 * pool starts the worker again, and the items are somewhere else.
 */
export const requestWorker = actor(
  Requests,
  { handlerTimeoutMs: 5_000, mailbox: { messagesMax: 100, overflow: 'reject' } },
  (ctx) => {
    const store = ctx.ref(Items, '/user/items')

    async function handle(
      method: string,
      path: string,
      query: URLSearchParams,
      body: string,
    ): Promise<Answer> {
      const key = /^\/items\/([\w.-]+)$/.exec(path)?.[1]
      if (path === '/items' && method === 'GET') return json(200, await ctx.ask(store, { type: 'keys' }))
      if (path === '/slow' && method === 'GET') {
        // Stands for a slow neighbour of this service.
        await sleep(Number(query.get('ms') ?? 100), undefined, { signal: ctx.signal })
        return json(200, { slow: true })
      }
      if (path === '/crash' && method === 'POST') throw new Error('crashed by request')
      if (key === undefined) return json(404, { error: `no such path: ${path}` })
      if (method === 'GET') {
        const value = await ctx.ask(store, { type: 'get', key })
        return value === null ? json(404, { error: `no such item: ${key}` }) : { status: 200, body: value }
      }
      if (method !== 'PUT') return json(405, { error: `${method} is not possible here` })
      try {
        const isNew = await ctx.ask(store, { type: 'put', key, value: body })
        return json(isNew ? 201 : 200, { key })
      } catch (error) {
        // A refusal is an answer, not a crash.
        if (isActorError(error, 'RUNTIME_REJECTED')) return json(507, { error: error.message })
        throw error
      }
    }

    return {
      handle: ({ method, path, query, body }) => handle(method, path, new URLSearchParams(query), body),
    }
  },
)

function json(status: number, value: unknown): Answer {
  return { status, body: `${JSON.stringify(value)}\n` }
}
