/** Asks between nodes: each settles once, in time, with an error that says no more than is known; its handler runs once at most. */
import { actor, ask, isActorError, protocol, reject, tell, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import { ProcessKilled, type RunInput, type RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Outside } from '../supervision/outside.ts'
import { allFaults, frameTags } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { Witness, type Boot, type Life } from './witness.ts'

const Server = protocol('ask-server', {
  work: ask({ id: Type.Integer(), how: Type.String(), ms: Type.Integer() }, Type.Integer()),
  hello: ask(Type.Null()),
})
const Asker = protocol('ask-asker', {
  /** `patience`: as a number of `patiences`. */
  go: tell({ to: Type.String(), how: Type.String(), isHeld: Type.Boolean(), patience: Type.Integer() }),
  crash: tell(),
})
const ownOfAsker = { over: tell() }

/** Infinity: until the target, its node, the link or the asker has ended. */
const patiences = [2_000, 500, 100, 20, Infinity] as const
const ways = ['reply', 'later', 'slow', 'reject', 'crash', 'leave'] as const

const neverRan: ReadonlySet<string> = new Set([
  'RUNTIME_NO_SUCH_ACTOR',
  'RUNTIME_MAILBOX_FULL',
  'RUNTIME_CALL_CYCLE',
  'RUNTIME_INVALID_MESSAGE',
  'RUNTIME_UNKNOWN_MESSAGE',
  'CLUSTER_LINK_FULL',
])
const surelyRan: ReadonlySet<string> = new Set(['RUNTIME_REJECTED'])
/** S8.2, as far as these actors can meet it. */
const known: ReadonlySet<string> = new Set([
  ...neverRan,
  ...surelyRan,
  'RUNTIME_ASK_TIMEOUT',
  'RUNTIME_ACTOR_STOPPED',
  'RUNTIME_ACTOR_CRASHED',
  'RUNTIME_ABORTED',
  'RUNTIME_RESTARTED',
  'RUNTIME_EXPIRED',
  'CLUSTER_NODE_DOWN',
])

export const askTags: readonly string[] = [
  ...frameTags,
  ...['ask ok', 'ask RUNTIME_ASK_TIMEOUT', 'ask RUNTIME_ACTOR_CRASHED'],
  ...['ask RUNTIME_REJECTED', 'ask RUNTIME_RESTARTED', 'ask RUNTIME_ABORTED', 'ask RUNTIME_MAILBOX_FULL'],
  ...['ask CLUSTER_NODE_DOWN not-sent', 'ask CLUSTER_NODE_DOWN unknown', 'link-lost-with-asks-open'],
  ...['ran-although-node-down', 'ran-although-timed-out', 'endless-ask-ended', 'deadline-reached-handler'],
  ...['reconnected', 'rejoined'],
]

interface Asked {
  readonly id: number
  readonly to: string
  readonly how: string
  ranBy: Life | undefined
  isSettled: boolean
}

class AskLedger {
  readonly witness = new Witness(askTags)
  readonly asks: Asked[] = []
  isOver = false

  begin(to: string, how: string): Asked {
    const asked = { id: this.asks.length, to, how, ranBy: undefined, isSettled: false }
    this.asks.push(asked)
    return asked
  }

  ran(id: number, life: Life): void {
    const asked = this.asks[id]
    const who = this.witness.nameOf(life)
    if (asked === undefined) return this.witness.broken('never-asked', `${who} handles ask ${id}`)
    if (asked.ranBy !== undefined) {
      this.witness.broken(
        'at-most-once',
        `ask ${id} is handled by ${who}, and was by ${this.witness.nameOf(asked.ranBy)}`,
      )
    }
    if (asked.to !== life.boot.node)
      this.witness.broken('another-addressee', `ask ${id} to "${asked.to}" is handled by ${who}`)
    asked.ranBy = life
  }

  settled(asked: Asked, error: unknown, value: number | undefined): void {
    const { witness } = this
    const what = `ask ${asked.id} ("${asked.how}") to "${asked.to}"`
    if (asked.isSettled) witness.broken('settles-once', what)
    asked.isSettled = true
    if (error === undefined) {
      witness.met('ask ok')
      if (value !== asked.id) witness.broken('own-reply', `${what} got the answer to ${value}`)
      if (asked.ranBy === undefined) witness.broken('answer-was-given', `${what} was answered by nobody`)
      if (['reject', 'crash'].includes(asked.how)) witness.broken('answer-was-given', `${what} was answered`)
      return
    }
    if (!isActorError(error) || !known.has(error.code))
      return witness.broken('typed-error', `${what}: ${String(error)}`)
    const { code, details } = error
    const outcome = code === 'CLUSTER_NODE_DOWN' ? ` ${String(details['outcome'])}` : ''
    witness.met(`ask ${code}${outcome}`)
    const hasRun = asked.ranBy !== undefined
    if (hasRun && (neverRan.has(code) || outcome === ' not-sent')) {
      witness.broken('not-sent-is-not-run', `${what} failed with ${code}${outcome}, and was handled`)
    }
    if (!hasRun && surelyRan.has(code))
      witness.broken('answer-was-given', `${what} failed with ${code}, and was not handled`)
    if (code === 'CLUSTER_NODE_DOWN' && outcome !== ' not-sent') witness.met('link-lost-with-asks-open')
    if (hasRun && code === 'CLUSTER_NODE_DOWN') witness.met('ran-although-node-down')
    if (hasRun && code === 'RUNTIME_ASK_TIMEOUT') witness.met('ran-although-timed-out')
  }
}

function serverOf(ledger: AskLedger, boot: Boot): AnyDefinition {
  return actor(Server, { mailbox: { messagesMax: 6, overflow: 'reject' } }, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    const wait = (ms: number): Promise<void> => ctx.service(Outside).wait(ms)
    return {
      hello: () => null,
      work: ({ id, how, ms }) => {
        ledger.ran(id, life)
        const call = ctx.call()
        if (how === 'reject') throw reject('busy')
        if (how === 'crash') throw new Error('crashed')
        if (how === 'leave') {
          ctx.stop()
          return id
        }
        if (how === 'later') {
          const owed = call.later<number>()
          ctx.run(wait(ms).then(() => owed.reply(id)))
          return owed
        }
        if (how === 'slow') {
          return wait(ms).then(() => {
            if (call.signal.aborted) ledger.witness.met('deadline-reached-handler')
            return id
          })
        }
        return id
      },
    }
  }) as unknown as AnyDefinition
}

function askerOf(ledger: AskLedger, boot: Boot): AnyDefinition {
  return actor(Asker, { own: ownOfAsker, concurrent: ['crash'] }, (ctx) => {
    const { witness } = ledger
    const life = witness.begins(boot, ctx)
    return {
      over: () => undefined,
      crash: () => {
        throw new Error('crashed')
      },
      go: async ({ to, how, isHeld, patience }) => {
        const asked = ledger.begin(to, how)
        const server = ctx.ref(Server, `${to}:/user/server`)
        const ms = witness.world.choose(6, 'work') * 60
        const message = { type: 'work', id: asked.id, how, ms } as const
        // Only a request may be without an end here: who is held for good does nothing any more.
        const timeoutMs = isHeld ? (patiences[patience % 4] ?? 2_000) : (patiences[patience] ?? 2_000)
        const options = timeoutMs === Infinity ? { timeoutMs, signal: ctx.signal } : { timeoutMs }
        const done = witness.asked(life, `${how} of "${to}"`, timeoutMs)
        const over = (error: unknown, value?: number): { readonly type: 'over' } => {
          done()
          if (timeoutMs === Infinity) witness.met('endless-ask-ended')
          ledger.settled(asked, error, value)
          return { type: 'over' }
        }
        if (isHeld) {
          try {
            over(undefined, await ctx.ask(server, message, options))
          } catch (error) {
            over(error)
          }
        } else {
          ctx.request(server, message, (value) => over(undefined, value), over, options)
        }
      },
    }
  }) as unknown as AnyDefinition
}

export function runAsk(input: RunInput): Promise<RunResult> {
  const ledger = new AskLedger()
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 4,
      faults: allFaults,
      actors: (boot) => ({ server: serverOf(ledger, boot), asker: askerOf(ledger, boot) }),
    },
    (world) => asking(world, ledger),
  )
}

async function asking(world: World, ledger: AskLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const { nodes } = world
  await world.parallel(nodes.length, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 30; i++) {
      await world.sleep(10 + world.choose(20, 'pause') * 50)
      if (!place.isUp) continue
      const to = (nodes[world.choose(nodes.length, 'to')] ?? place).name
      const how = ways[world.choose(ways.length, 'how')] ?? 'reply'
      const asker = place.node.system.ref(Asker, '/user/asker')
      // Now and then a storm of retries.
      const count = [1, 1, 2, 12][world.choose(4, 'storm')] ?? 1
      for (let n = 0; n < count; n++) {
        asker.tell({
          type: 'go',
          to,
          how,
          isHeld: world.chance(0.3, 'held'),
          patience: world.choose(patiences.length, 'patience'),
        })
      }
      if (world.chance(0.03, 'crash')) asker.tell({ type: 'crash' })
      if (world.chance(0.3, 'outside')) void askFromOutside(world, ledger, place.name, to, how)
    }
  })
  await witness.heal((node, to) => node.ref(Server, to, '/user/server').ask({ type: 'hello' }))
  // Whoever waits without an end waits for an answer that comes, or for somebody who has ended.
  await world.until('no-ask-hangs', () => witness.openAsks.length === 0, { withinMs: 10_000 })
  await witness.shutdown()
}

/** As whoever has a ref and is no actor. */
async function askFromOutside(
  world: World,
  ledger: AskLedger,
  from: string,
  to: string,
  how: string,
): Promise<void> {
  const { witness } = ledger
  const place = world.node(from)
  const boot = witness.boots.find((candidate) => candidate.process === place.process)
  if (boot === undefined) return
  const asked = ledger.begin(to, how)
  const controller = new AbortController()
  const timeoutMs = patiences[world.choose(3, 'outside/patience')] ?? 2_000
  const done = witness.asked(boot, `${how} of "${to}" from outside`, timeoutMs)
  const options = { timeoutMs, signal: controller.signal }
  if (world.chance(0.2, 'outside/abort')) {
    world.simulation.at(world.now() + 30, undefined, 'abort', () => controller.abort())
  }
  try {
    const value = await place.call((node) =>
      node.ref(Server, to, '/user/server').ask({ type: 'work', id: asked.id, how, ms: 100 }, options),
    )
    ledger.settled(asked, undefined, value)
  } catch (error) {
    // Of what a process asked that is dead nobody hears.
    if (!(error instanceof ProcessKilled)) ledger.settled(asked, error, undefined)
  } finally {
    done()
  }
}
