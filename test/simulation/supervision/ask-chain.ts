/** Actors that ask each other in chains and rings: cycles are refused at once, deadlines travel, nothing hangs. */
import { actor, ask, child, isActorError, protocol, reject, supervisor } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { closeMs, Ledger } from './ledger.ts'
import { Outside, simulatedOutside } from './outside.ts'

const Node = protocol('node', {
  /** `trail`: numbers of the asks that wait for this one, and where they are held. */
  step: ask(
    { hops: Type.Integer(), trail: Type.Array(Type.Object({ node: Type.Integer(), ask: Type.Integer() })) },
    Type.Integer(),
  ),
  /** Declared concurrent: it may come back to whoever waits. */
  peek: ask(Type.Integer()),
})
const nodes = 7
const codes = ['ASK_TIMEOUT', 'ACTOR_CRASHED', 'REJECTED'] as const
const innerCodes = ['CALL_CYCLE', 'ASK_TIMEOUT', 'ACTOR_CRASHED', 'REJECTED', 'EXPIRED', 'RESTARTED'] as const

export const chainTags: readonly string[] = [
  ...codes.map((code) => `ask ${code}`),
  ...innerCodes.map((code) => `inner ask ${code}`),
  ...['long-chain', 'came-back-beside'],
]

export async function askChain(world: SystemWorld): Promise<void> {
  const ledger = new Ledger(world, [], chainTags)
  const openAsks = new Set<number>()
  let asks = 0
  let isRaging = true
  const crashP = [0, 0.02, 0.2][world.choose(3, 'swarm/crash')] ?? 0

  const node = (index: number) =>
    actor(Node, { concurrent: ['peek'] }, (ctx) => {
      const refTo = (to: number) => ctx.ref(Node, `/user/node-${to}`)
      let handling = 0
      return {
        peek: () => handling,
        step: async ({ hops, trail }) => {
          handling++
          if (handling > 1) ledger.broken('one-at-a-time', `node ${index} handles two steps`)
          try {
            const { deadlineMs } = ctx.call()
            const ms = [0, 1, 20, 300][world.choose(4, 'work')] ?? 0
            if (ms > 0) await ctx.service(Outside).wait(ms)
            if (isRaging && world.chance(crashP, 'crash')) throw new Error('crashed')
            if (isRaging && world.chance(0.02, 'refuse')) throw reject('busy')
            if (trail.length >= 4) world.sometimes('long-chain')
            if (hops === 0) return 0
            // Mostly onwards, sometimes back, or to itself.
            const to = (index + ([1, 1, 1, 1, 1, 2, nodes - 1, 0][world.choose(8, 'next')] ?? 1)) % nodes
            if (isRaging && world.chance(crashP, 'crash-beside')) {
              ctx.run(
                ctx
                  .service(Outside)
                  .wait(10)
                  .then(() => Promise.reject(new Error('crashed beside'))),
              )
            }
            if (world.chance(0.1, 'peek')) {
              const first = trail[0]?.node ?? to
              const seen = await ctx.ask(refTo(first), { type: 'peek' })
              if (seen > 0) world.sometimes('came-back-beside')
            }
            const number = asks++
            const timeoutMs = [5_000, 200, 10][world.choose(3, 'inner-timeout')] ?? 5_000
            const held = [...trail, { node: index, ask: number }]
            // Every ask of the trail still waits, and its asker with it: this one could only wait for itself.
            const isCycle =
              to === index ||
              (trail.some((link) => link.node === to) && trail.every((link) => openAsks.has(link.ask)))
            const sinceMs = ctx.now()
            openAsks.add(number)
            try {
              const rest = await ctx.ask(
                refTo(to),
                { type: 'step', hops: hops - 1, trail: held },
                { timeoutMs },
              )
              if (isCycle)
                ledger.broken(
                  'cycle-refused',
                  `node ${index} got an answer of node ${to}, which waits for it`,
                )
              return rest + 1
            } catch (error) {
              const isRefused = isActorError(error, 'RUNTIME_CALL_CYCLE')
              const tookMs = ctx.now() - sinceMs
              // It was too late to ask, or the asker has been restarted beside its handler: nothing was sent.
              const isLate =
                isActorError(error, 'RUNTIME_EXPIRED') || isActorError(error, 'RUNTIME_RESTARTED')
              if (isActorError(error)) world.sometimes(`inner ask ${error.code.replace('RUNTIME_', '')}`)
              if (isCycle && to === index && !isRefused && !isLate) {
                ledger.broken('cycle-refused', `node ${index} asked itself and got ${String(error)}`)
              }
              if (isRefused && tookMs > closeMs)
                ledger.broken('cycle-refused', `a cycle was refused after ${tookMs} ms`)
              if (ctx.now() > Math.min(deadlineMs, sinceMs + timeoutMs) + closeMs && !isLate) {
                ledger.broken(
                  'deadline-travels',
                  `node ${index} still waited ${ctx.now() - deadlineMs} ms after its deadline`,
                )
              }
              if (isActorError(error)) throw reject(error.code)
              throw error
            } finally {
              openAsks.delete(number)
            }
          } finally {
            handling--
          }
        },
      }
    })

  const system = await world.start(
    supervisor(
      { intensity: { restarts: Infinity, withinMs: 1_000 } },
      Array.from({ length: nodes }, (_, index) => child(`node-${index}`, node(index))),
    ),
    { services: [simulatedOutside(world)], stallMs: Infinity },
  )
  ledger.listen(system)
  const step = (to: number, hops: number, timeoutMs: number): Promise<unknown> =>
    ledger.settles(`a chain of ${hops} from node ${to}`, timeoutMs, () =>
      system.ref(Node, `/user/node-${to}`).ask({ type: 'step', hops, trail: [] }, { timeoutMs }),
    )
  await world.parallel(3, async () => {
    for (let i = 0; i < 12; i++) {
      const timeoutMs = [5_000, 500, 50][world.choose(3, 'timeout')] ?? 5_000
      await step(world.choose(nodes, 'first'), world.choose(12, 'hops'), timeoutMs)
      await world.sleep(world.choose(50, 'pause'))
    }
  })
  isRaging = false
  await world.sleep(10_000)
  for (let to = 0; to < nodes; to++) {
    const error = await step(to, 0, 5_000)
    world.check('answers-again', error === undefined, `node ${to}: ${String(error)}`)
  }
}
