/** Pools whose workers crash: who gets what, in which order, and that nothing is lost without a word. */
import {
  actor,
  ask,
  child,
  pool,
  protocol,
  supervisor,
  tell,
  type Definition,
  type PoolOptions,
} from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Ledger } from './ledger.ts'
import { Outside, simulatedOutside } from './outside.ts'

const Job = { from: Type.Integer(), key: Type.String(), number: Type.Integer() }
const Jobs = protocol('jobs', { put: tell(Job), run: ask(Job, Type.String()) })
const Feeder = protocol('feeder', { begin: tell() })
const strategies = ['round-robin', 'random', 'smallest-mailbox', 'consistent-hash', 'broadcast'] as const
type Strategy = (typeof strategies)[number]
const keys = ['k0', 'k1', 'k2', 'k3', 'k4'] as const
const size = 4

export const poolTags: readonly string[] = [
  ...strategies.map((strategy) => `pool-${strategy}`),
  ...[
    'worker-crashed',
    'worker-gone',
    'pool-restarted',
    'pool-empty',
    'key-moved',
    'ask ACTOR_CRASHED',
    'ask ASK_TIMEOUT',
  ],
]

export async function poolStorm(world: SystemWorld): Promise<void> {
  const ledger = new Ledger(world, [], poolTags)
  // Who is gone matters most where keys have owners.
  const strategy = strategies[world.choose(8, 'swarm/strategy')] ?? 'consistent-hash'
  world.sometimes(`pool-${strategy}`)
  const crashP = [0, 0.02, 0.2, 0.5][world.choose(4, 'swarm/crash')] ?? 0
  const isTemporary = world.chance(0.4, 'swarm/temporary')
  let isRaging = false
  /** Who handled which key last, and how many workers each message met. */
  const owners = new Map<string, string>()
  let gone = 0

  const worker = actor(Jobs, (ctx) => {
    const { path } = ctx
    const outside = ctx.service(Outside)
    const taken = (from: number, key: string, number: number): void => {
      ledger.count('handled')
      // Per sender and worker in order, whatever was restarted meanwhile.
      ledger.received(`${from}>${path}`, number)
      if (strategy === 'consistent-hash') {
        const owner = owners.get(key)
        if (owner !== undefined && owner !== path) {
          world.sometimes('key-moved')
          if (gone === 0)
            ledger.broken('one-owner', `${key} went from ${owner} to ${path}, and nobody is gone`)
        }
        owners.set(key, path)
      }
    }
    const mayCrash = (): void => {
      if (!isRaging || !world.chance(crashP, 'crash')) return
      world.sometimes('worker-crashed')
      throw new Error('crashed')
    }
    return {
      put: ({ from, key, number }) => {
        taken(from, key, number)
        mayCrash()
      },
      run: async ({ from, key, number }) => {
        taken(from, key, number)
        const ms = [0, 5, 50, 2_000][world.choose(4, 'work')] ?? 0
        if (isRaging && ms > 0) await outside.wait(ms)
        mayCrash()
        return path
      },
    }
  })

  const system = await world.start(
    supervisor({ intensity: { restarts: Infinity, withinMs: 1_000 } }, [
      child('pool', poolOf(worker, strategy, isTemporary)),
      child(
        'feeder',
        feeder(world, ledger, () => isRaging),
      ),
    ]),
    { services: [simulatedOutside(world)], stallMs: Infinity },
  )
  ledger.listen(system)
  system.events.on('actor-stopped', ({ definition }) => {
    if (definition !== 'jobs') return
    gone++
    world.sometimes('worker-gone')
  })
  system.events.on('actor-restarted', ({ path }) => {
    if (path === '/user/pool') world.sometimes('pool-restarted')
  })
  isRaging = true
  system.ref(Feeder, '/user/feeder').tell({ type: 'begin' })
  const target = system.ref(Jobs, '/user/pool')
  await world.parallel(2, async (asker) => {
    for (let number = 1; number <= 20; number++) {
      const key = keys[world.choose(keys.length, 'ask-key')] ?? 'k0'
      const timeoutMs = [5_000, 100][world.choose(2, 'ask-timeout')] ?? 5_000
      ledger.count('sent')
      const error = await ledger.settles(`run ${number} of asker ${asker}`, timeoutMs, () =>
        target.ask({ type: 'run', from: asker, key, number }, { timeoutMs }),
      )
      const { code } = (error ?? {}) as { readonly code?: string }
      // The pool itself says so, at once; what a worker leaves behind at its end fails the same way.
      if (code === 'RUNTIME_ACTOR_STOPPED' && isTemporary) world.sometimes('pool-empty')
      await world.sleep(world.choose(60, 'asker-pause'))
    }
  })
  isRaging = false
  await world.sleep(10_000)

  if (!isTemporary && strategy !== 'broadcast') {
    for (const key of keys) {
      const number = 1_000
      ledger.count('sent')
      const error = await ledger.settles(`last run of ${key}`, 5_000, () =>
        target.ask({ type: 'run', from: 9, key, number: number + keys.indexOf(key) }),
      )
      world.check('answers-again', error === undefined, `${key}: ${String(error)}`)
    }
  }
  const [sent, handled] = [ledger.counted('sent'), ledger.counted('handled')]
  const dead = ledger.counted('dead put') + ledger.counted('dead run')
  // A broadcast is handled, or lost, once per worker; whatever else is sent, once.
  const lost = sent - handled - dead
  world.check(
    'nothing-lost',
    strategy === 'broadcast' || lost === 0,
    `${sent} sent, ${handled} handled, ${dead} dead letters`,
  )
}

function poolOf(
  worker: Definition<typeof Jobs.messages, void>,
  strategy: Strategy,
  isTemporary: boolean,
): Definition<typeof Jobs.messages, void> {
  const base = {
    size,
    worker: isTemporary ? { restart: 'temporary' as const } : { backoff: { minMs: 1, maxMs: 50 } },
  }
  const options: PoolOptions<typeof Jobs.messages> =
    strategy === 'consistent-hash' ? { ...base, strategy, hashKey: ({ key }) => key } : { ...base, strategy }
  return pool(worker, options)
}

/** One sender beside the askers, so that tells and asks meet in the mailboxes. */
function feeder(world: SystemWorld, ledger: Ledger, isRaging: () => boolean) {
  return actor(Feeder, { own: { feed: tell() } }, (ctx) => {
    let number = 0
    const target = ctx.ref(Jobs, '/user/pool')
    const feed = (): void => {
      if (!isRaging()) return
      const key = keys[world.choose(keys.length, 'feed-key')] ?? 'k0'
      ledger.count('sent')
      ctx.tell(target, { type: 'put', from: 7, key, number: ++number })
      ctx.timers.once('feed', 1 + world.choose(20, 'feed-pause'), { type: 'feed' })
    }
    return { begin: feed, feed }
  })
}
