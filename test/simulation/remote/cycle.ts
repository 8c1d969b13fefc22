/** Actors of several nodes that ask each other in chains: who comes back to somebody that waits is refused, and nobody else. */
import { actor, ask, isActorError, protocol, reject, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import { ProcessKilled, type RunInput, type RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Outside } from '../supervision/outside.ts'
import { frameTags, threeNodeFaults } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { Witness, type Boot, type Life } from './witness.ts'

const Hop = protocol('cycle-hop', {
  /** Asks on along `route`; `trail`: the asks that wait for this one, outermost first. */
  go: ask({ route: Type.Array(Type.String()), trail: Type.Array(Type.Integer()) }, Type.Integer()),
  hello: ask(Type.Null()),
})

export const cycleTags: readonly string[] = [
  ...frameTags,
  ...[
    'cycle-refused',
    'cycle-of-two-nodes',
    'cycle-of-three-nodes',
    'chain-answered',
    'chain-broke',
    'outer-gave-up',
    'first-asker-restarted',
  ],
  ...['reconnected', 'rejoined'],
]

/** One ask of a chain: who holds its mailbox for it. */
interface Held {
  readonly by: Life
  isOpen: boolean
}

class CycleLedger {
  readonly witness = new Witness(cycleTags)
  readonly held: Held[] = []
  isCalm = false

  /** Some actor that lives on that node now has waited for this ask, if it does not wait any more. */
  hasWaited(trail: readonly number[], node: string): boolean {
    return trail.some((number) => {
      const held = this.held[number]
      return held !== undefined && held.by.boot.node === node && this.witness.endOf(held.by) === undefined
    })
  }

  /** The node of `route` is one that waits for this ask, in the life that it has now. */
  isCycle(trail: readonly number[], node: string): boolean {
    return trail.some((number) => {
      const held = this.held[number]
      return (
        held !== undefined &&
        held.by.boot.node === node &&
        held.isOpen &&
        this.witness.endOf(held.by) === undefined
      )
    })
  }
}

function hopOf(ledger: CycleLedger, boot: Boot): AnyDefinition {
  const { witness } = ledger
  return actor(Hop, (ctx) => {
    const life = witness.begins(boot, ctx)
    let handling = 0
    return {
      hello: () => null,
      go: async ({ route, trail }) => {
        if (++handling > 1) witness.broken('one-at-a-time', `${witness.nameOf(life)} handles two steps`)
        try {
          const ms = ledger.isCalm ? 0 : ([0, 0, 5, 100, 400][witness.world.choose(5, 'work')] ?? 0)
          if (ms > 0) await ctx.service(Outside).wait(ms)
          const [to, ...rest] = route
          if (to === undefined) return 0
          const number = ledger.held.length
          const held = { by: life, isOpen: true }
          ledger.held.push(held)
          const onwards = [...trail, number]
          const wasCycle = ledger.isCycle(onwards, to)
          const hasWaited = ledger.hasWaited(onwards, to)
          try {
            const target = ctx.ref(Hop, to === boot.node ? '/user/hop' : `${to}:/user/hop`)
            const depth = await ctx.ask(
              target,
              { type: 'go', route: rest, trail: onwards },
              { timeoutMs: 1_500 },
            )
            // All of them still wait: the one that was asked cannot have handled anything.
            if (
              wasCycle &&
              onwards.every((one) => ledger.held[one]?.isOpen === true) &&
              ledger.isCycle(onwards, to)
            ) {
              witness.broken(
                'cycle-refused',
                `${witness.nameOf(life)} got an answer of "${to}", which waits for it`,
              )
            }
            return depth + 1
          } catch (error) {
            if (!isActorError(error)) throw error
            if (error.code === 'RUNTIME_CALL_CYCLE') {
              witness.met('cycle-refused')
              const nodes = new Set(onwards.map((one) => ledger.held[one]?.by.boot.node))
              if (nodes.size === 2) witness.met('cycle-of-two-nodes')
              if (nodes.size === 3) witness.met('cycle-of-three-nodes')
              // Word that an asker has given up may come later than what it has set off: then it was one that waited.
              // What a process does in the step in which it dies is seen by nobody.
              if (boot.process?.isAlive === true && !hasWaited) {
                witness.broken(
                  'no-false-cycle',
                  `${witness.nameOf(life)} was refused by "${to}", which does not wait for it: ${error.message}`,
                )
              }
            } else {
              witness.met('chain-broke')
            }
            if (onwards.slice(0, -1).some((one) => ledger.held[one]?.isOpen === false))
              witness.met('outer-gave-up')
            // The innermost reason, all the way out.
            const { code, details } = error
            throw reject(code === 'RUNTIME_REJECTED' ? String(details['reason']) : code)
          } finally {
            held.isOpen = false
          }
        } finally {
          handling--
        }
      },
    }
  }) as unknown as AnyDefinition
}

export function runCycle(input: RunInput): Promise<RunResult> {
  const ledger = new CycleLedger()
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 3,
      faults: threeNodeFaults,
      actors: (boot) => ({ hop: hopOf(ledger, boot) }),
    },
    (world) => cycling(world, ledger),
  )
}

async function cycling(world: World, ledger: CycleLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const { nodes } = world
  const names = nodes.map(({ name }) => name)
  await world.parallel(3, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 25; i++) {
      await world.sleep(10 + world.choose(20, 'pause') * 40)
      if (!place.isHealthy) continue
      const route = Array.from(
        { length: world.choose(5, 'hops') },
        () => names[world.choose(names.length, 'next')] ?? 'a',
      )
      const boot = witness.boots.find((candidate) => candidate.process === place.process)
      if (boot === undefined) continue
      // Whoever begins it may come back as another life, while it goes on elsewhere.
      if (route.length > 1 && world.chance(0.1, 'restart') && place.mayFail()) {
        world.simulation.at(
          world.now() + 20 + world.choose(4, 'restart-at') * 100,
          undefined,
          'restart',
          () => {
            witness.met('first-asker-restarted')
            void place.crashAndRestart().catch(() => undefined)
          },
        )
      }
      const done = witness.asked(boot, `the chain ${route.join(' > ')} from "${place.name}"`, 4_000)
      try {
        await place.call((node) =>
          node.system.ref(Hop, '/user/hop').ask({ type: 'go', route, trail: [] }, { timeoutMs: 4_000 }),
        )
        witness.met('chain-answered')
      } catch (error) {
        if (!isActorError(error) && !(error instanceof ProcessKilled))
          witness.broken('typed-error', String(error))
      } finally {
        done()
      }
    }
  })
  // The last restarts are over.
  await world.sleep(500)
  ledger.isCalm = true
  await witness.heal((node, to) => node.ref(Hop, to, '/user/hop').ask({ type: 'hello' }))
  await world.sleep(5_000)

  // In the calm a chain that comes back is refused, long before anybody's time is up.
  for (const route of [['b', 'a'], ['b', 'c', 'a'], ['b', 'c', 'b'], ['a']]) {
    const sinceMs = world.now()
    const error = await world
      .node('a')
      .call((node) => node.system.ref(Hop, '/user/hop').ask({ type: 'go', route, trail: [] }))
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
    const told = isActorError(error, 'RUNTIME_REJECTED') ? JSON.stringify(error.details) : String(error)
    world.check('cycle-refused', told.includes('RUNTIME_CALL_CYCLE'), `a > ${route.join(' > ')}: ${told}`)
    world.check(
      'cycle-refused',
      world.now() - sinceMs < 1_000,
      `a > ${route.join(' > ')} took ${world.now() - sinceMs} ms`,
    )
  }
  await witness.shutdown()
}
