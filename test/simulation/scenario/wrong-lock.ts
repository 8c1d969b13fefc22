/**
 * A deliberately wrong lock, which the simulator must find: a lease that its holder trusts. The holder looks at its own
 * clock, finds that the lease has time left, and writes; a pause between the look and the write, or a slow link, and
 * somebody else holds the lock by the time the write arrives (Kleppmann, "How to do distributed locking", 2016). The
 * same workload with the guard, a resource that refuses a token older than the newest it has seen, is right.
 */
import { actor, ask, protocol, type Definition } from '@understudy/runtime'
import { isUnknownOutcome, simulate, type World } from '@understudy/cluster/simulation'
import { Type } from 'typebox'
import type { Scenario } from '../scenario.ts'

const leaseMs = 200

const LeaseLock = protocol('lease-lock', {
  /** The fencing token, or null while somebody else holds it. */
  acquire: ask({ holder: Type.String() }, Type.Union([Type.Number(), Type.Null()])),
  release: ask({ holder: Type.String() }, Type.Null()),
})

/** A file on a shared disk: read, change, write back. */
const File = protocol('shared-file', {
  read: ask({}, Type.Number()),
  /** False: refused, because a newer token has been here. */
  write: ask({ value: Type.Number(), token: Type.Number() }, Type.Boolean()),
})

const Worker = protocol('worker', { increment: ask({}, Type.Boolean()) })

const leaseLock = actor(LeaseLock, (ctx) => {
  let holder: string | undefined
  let untilMs = 0
  let token = 0
  return {
    acquire: ({ holder: asking }) => {
      if (holder !== undefined && ctx.now() < untilMs) return null
      holder = asking
      untilMs = ctx.now() + leaseMs
      return ++token
    },
    release: ({ holder: asking }) => {
      if (holder === asking) holder = undefined
      return null
    },
  }
})

/** What the file has seen, for the rule that is checked. Outside of the actors: a scenario knows everything. */
interface Witness {
  value: number
  highest: number
  broken: string | undefined
}

function sharedFile(witness: Witness, isGuarded: boolean): Definition<(typeof File)['messages'], void> {
  return actor(File, () => ({
    read: () => witness.value,
    write: ({ value, token }) => {
      if (isGuarded && token < witness.highest) return false
      if (token < witness.highest) {
        witness.broken ??=
          `the holder of token ${token} wrote ${value} after the holder of token ${witness.highest} had written ` +
          `${witness.value}: one of the two writes is lost`
      }
      witness.highest = Math.max(witness.highest, token)
      witness.value = value
      return true
    },
  }))
}

function worker(name: string): Definition<(typeof Worker)['messages'], void> {
  return actor(Worker, (ctx) => {
    const lock = ctx.ref(LeaseLock, 'a:/user/lock')
    const file = ctx.ref(File, 'a:/user/file')
    return {
      increment: async () => {
        const sinceMs = ctx.now()
        const token = await ctx.ask(lock, { type: 'acquire', holder: name })
        if (token === null) return false
        const value = await ctx.ask(file, { type: 'read' })
        // The bug: this look says nothing about when the write arrives.
        if (ctx.now() - sinceMs >= leaseMs) return false
        const done = await ctx.ask(file, { type: 'write', value: value + 1, token })
        await ctx.ask(lock, { type: 'release', holder: name })
        return done
      },
    }
  })
}

async function useLock(world: World, witness: Witness, isGuarded: boolean): Promise<void> {
  const home = world.node('a').node.system
  home.spawn('lock', leaseLock)
  home.spawn('file', sharedFile(witness, isGuarded))
  for (const name of ['b', 'c']) world.node(name).node.system.spawn('worker', worker(name))
  world.invariant('mutual-exclusion', () => {
    world.check('mutual-exclusion', witness.broken === undefined, witness.broken ?? '')
  })
  await world.parallel(2, async (client) => {
    const node = world.node(client + 1)
    for (let i = 0; i < 60; i++) {
      await world.sleep(1 + world.choose(4, `client/${client}/wait`))
      // The pause that a lease cannot survive: more than twice as long, right before one of the next sends leaves.
      const effect = world.choose(24, 'worker-stalls')
      if (effect > 0 && effect <= 12) node.process?.stallAtEffect(effect, 2.5 * leaseMs)
      try {
        await node.call((up) =>
          up.system.ref(Worker, '/user/worker').ask({ type: 'increment' }, { timeoutMs: 3_000 }),
        )
      } catch (error) {
        if (!isUnknownOutcome(error) && !(error instanceof Error && 'code' in error)) throw error
      }
    }
  })
  world.heal()
}

const protocols = [leaseLock, worker('none'), sharedFile({ value: 0, highest: 0, broken: undefined }, true)]

/** Hardly anything but the lock happens while the scenario runs: what is found can be made small. */
const quietMembership = { probeIntervalMs: 10_000, probeTimeoutMs: 5_000, gossipIntervalMs: 2_000 }

function lockScenario(name: string, about: string, isGuarded: boolean, more: Partial<Scenario>): Scenario {
  return {
    name,
    about,
    sometimes: [],
    ...more,
    run: (input) =>
      simulate(
        {
          ...input,
          nodes: 3,
          node: () => ({ actors: protocols, membership: quietMembership }),
          latency: 'minimal',
          // Faults come thick: a run is short, and its lease shorter.
          faults: { only: ['clog', 'slow-link'], chances: [0, 0.02, 0.05, 0.1] },
        },
        (world) => useLock(world, { value: 0, highest: 0, broken: undefined }, isGuarded),
      ),
  }
}

export const wrongLockScenarios: readonly Scenario[] = [
  lockScenario('wrong/trusting-lock', 'a lease that its holder trusts: must be found', false, {
    expects: 'violation',
  }),
  lockScenario('remote/fenced-lock', 'the same lease, with a file that refuses old tokens', true, {}),
]
