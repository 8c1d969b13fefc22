/**
 * A room: an entity on the ring's owner of its name. It numbers what is said and has every node keep it before anybody is
 * shown it. So what anybody has seen, or was told to be said, is on every node, and survives as long as one of them does.
 */
import { actor, ask, isActorError, protocol, reject, service, tell, type ActorRef } from '@understudy/runtime'
import Type, { type Static } from 'typebox'

export const Message = Type.Object({
  /** 1, 2, 3, ... within its room. */
  number: Type.Integer(),
  /** Made by who said it, so that what is sent twice is said once. */
  id: Type.String(),
  author: Type.String(),
  text: Type.String(),
})
export type Message = Static<typeof Message>

export const Room = protocol('room', {
  /** Answers with its number once every node keeps it. */
  say: ask({ id: Type.String(), author: Type.String(), text: Type.String() }, Type.Integer()),
  /** What was said after a number, as far as it is kept, and the number of the last message there is. */
  since: ask({ after: Type.Integer() }, Type.Object({ last: Type.Integer(), messages: Type.Array(Message) })),
})

/** What rooms want of each node. */
export const Gateway = protocol('gateway', {
  /** A new owner begins. Granted to the highest reign only: from then on those before it can keep nothing here. */
  lead: ask(
    { room: Type.String(), reign: Type.String() },
    Type.Object({ granted: Type.Boolean(), reign: Type.String(), messages: Type.Array(Message) }),
  ),
  /** False: a later reign has begun. */
  keep: ask({ room: Type.String(), reign: Type.String(), messages: Type.Array(Message) }, Type.Boolean()),
  /** All nodes keep it: whoever is in the room may see it. */
  show: tell({ room: Type.String(), number: Type.Integer() }),
})

/** How many messages of a room are kept. */
export const keptMax = 200

export interface GatewayOnNode {
  /** Name and incarnation: another life of a node remembers nothing. */
  readonly life: string
  readonly ref: ActorRef<typeof Gateway.messages>
}

/** The nodes, as an entity may see them. */
export const Nodes = service<{ readonly self: string; readonly gateways: () => readonly GatewayOnNode[] }>(
  'nodes',
)

export const room = actor(
  Room,
  { own: { look: tell() }, concurrent: ['since'], handlerTimeoutMs: 120_000 },
  async (ctx) => {
    const name = ctx.key ?? ''
    const nodes = ctx.service(Nodes)
    /** Nodes that keep all of `history`. */
    const complete = new Set<string>()

    /** Asks every node, again and again, until it has answered or is a member no more. */
    async function everyNode<T>(task: (gateway: GatewayOnNode) => Promise<T>): Promise<readonly T[]> {
      const one = async (gateway: GatewayOnNode): Promise<readonly T[]> => {
        while (nodes.gateways().some(({ life }) => life === gateway.life)) {
          try {
            return [await task(gateway)]
          } catch (error) {
            if (!isActorError(error) || ctx.signal.aborted) throw error
            await pause(50)
          }
        }
        return []
      }
      return (await Promise.all(nodes.gateways().map(one))).flat()
    }

    /** Takes over: nobody else can add anything from now on, and what is kept anywhere is part of the history. */
    async function begin(): Promise<{ readonly reign: string; readonly history: Message[] }> {
      let reign = nextReign('', nodes.self)
      for (;;) {
        const request = { type: 'lead' as const, room: name, reign }
        const answers = await everyNode(({ ref }) => ctx.ask(ref, request))
        if (answers.every(({ granted }) => granted)) {
          const byNumber = new Map(
            answers.flatMap(({ messages }) => messages).map((one) => [one.number, one]),
          )
          const history = [...byNumber.values()].sort((a, b) => a.number - b.number).slice(-keptMax)
          return { reign, history }
        }
        const highest =
          answers
            .map((answer) => answer.reign)
            .sort()
            .at(-1) ?? reign
        reign = nextReign(highest, nodes.self)
      }
    }

    /** Every node keeps `messages`; one that has not got what came before gets that, too. */
    async function keepEverywhere(messages: readonly Message[]): Promise<void> {
      const kept = await everyNode(async ({ life, ref }) => {
        const missing = complete.has(life) ? [...messages] : [...history, ...messages]
        const isKept =
          missing.length === 0 || (await ctx.ask(ref, { type: 'keep', room: name, reign, messages: missing }))
        if (isKept) complete.add(life)
        return isKept
      })
      if (kept.every((isKept) => isKept)) return
      // Another node owns this room by now. Whoever asks again is sent there.
      ctx.stop()
      throw reject('moved')
    }

    const { reign, history } = await begin()
    await keepEverywhere([])
    // Nodes that start later get the history soon, so that the others may go.
    ctx.timers.every('look', 1_000, { type: 'look' })

    return {
      say: async ({ id, author, text }) => {
        const said = history.find((message) => message.id === id)
        if (said !== undefined) return said.number
        const number = (history.at(-1)?.number ?? 0) + 1
        const message = { number, id, author, text }
        await keepEverywhere([message])
        history.push(message)
        if (history.length > keptMax) history.shift()
        for (const { ref } of nodes.gateways()) ctx.tell(ref, { type: 'show', room: name, number })
        return number
      },
      since: ({ after }) => ({
        last: history.at(-1)?.number ?? 0,
        messages: history.filter(({ number }) => number > after),
      }),
      look: () => keepEverywhere([]).catch(() => undefined),
    }
  },
)

/** The one after `reign`, of an owner. Compares as text; two nodes never have the same. */
function nextReign(reign: string, owner: string): string {
  return `${String(Number(reign.slice(0, 9)) + 1).padStart(9, '0')} ${owner}`
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
