/** A system that is shut down in the middle of its work: all stops in its time, and nothing is left behind. */
import { actor, ask, child, pool, protocol, supervisor, tell, type ActorStatus } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { closeMs, Ledger } from './ledger.ts'
import { Outside, simulatedOutside } from './outside.ts'

const Job = protocol('job', { run: ask({ ms: Type.Number() }, Type.Integer()), note: tell() })
const shutdownMs = 20_000
const longestMs = 60_000

export const shutdownTags: readonly string[] = [
  ...[
    'clean',
    'hung',
    'by-signal',
    'second-signal',
    'crashed-while-stopping',
    'handler-cut-short',
    'whole-time-used',
  ],
  ...['ask ACTOR_STOPPED', 'ask ASK_TIMEOUT', 'ask NO_SUCH_ACTOR', 'ask ACTOR_CRASHED'],
]

export async function shutdownUnderLoad(world: SystemWorld): Promise<void> {
  const ledger = new Ledger(world, [], shutdownTags)
  let isStopping = false
  const crashP = [0, 0.02, 0.2][world.choose(3, 'swarm/crash')] ?? 0
  const waitsMs = [0, 1, 50, 1_000, 9_000, longestMs]
  const slowest = 1 + world.choose(waitsMs.length, 'swarm/slowest')

  const worker = actor(Job, { own: { tick: tell() } }, (ctx) => {
    const outside = ctx.service(Outside)
    ctx.timers.every('tick', 50, { type: 'tick' })
    ctx.setReceiveTimeout(700, { type: 'tick' })
    ctx.defer(async () => {
      const ms = waitsMs[world.choose(slowest, 'goodbye')] ?? 0
      if (ms > 0) await outside.wait(ms)
    })
    const mayCrash = (): void => {
      if (!world.chance(crashP, 'crash')) return
      if (isStopping) world.sometimes('crashed-while-stopping')
      throw new Error('crashed')
    }
    return {
      run: async ({ ms }) => {
        if (ms > 0) await outside.wait(ms)
        if (ctx.signal.aborted) world.sometimes('handler-cut-short')
        mayCrash()
        return ctx.incarnation
      },
      note: mayCrash,
      tick: mayCrash,
    }
  })
  const forEver = { intensity: { restarts: Infinity, withinMs: 1_000 } }
  const branch = (name: string, many: number) =>
    child(
      name,
      supervisor(
        forEver,
        Array.from({ length: many }, (_, i) =>
          child(`w${i}`, worker, { shutdownMs: [5_000, 100, 0][world.choose(3, 'swarm/shutdown')] }),
        ),
      ),
    )
  const root = supervisor(forEver, [
    branch('first', 3),
    branch('second', 2),
    child('pool', pool(worker, { size: 3, supervision: forEver })),
  ])
  const system = await world.start(root, {
    services: [simulatedOutside(world)],
    stallMs: Infinity,
    shutdownMs,
  })
  ledger.listen(system)
  const { process } = world
  const paths = [
    '/user/first/w0',
    '/user/first/w1',
    '/user/first/w2',
    '/user/second/w0',
    '/user/second/w1',
    '/user/pool',
  ]

  const load = world.parallel(4, async (client) => {
    for (let i = 0; i < 12; i++) {
      const path = paths[world.choose(paths.length, 'path')] ?? '/user/pool'
      const timeoutMs = [5_000, 100][world.choose(2, 'timeout')] ?? 5_000
      const ms = waitsMs[world.choose(slowest, 'work')] ?? 0
      if (!process.isAlive) return
      system.ref(Job, path).tell({ type: 'note' })
      await ledger.settles(`job ${i} of client ${client}`, timeoutMs, () =>
        world.call(() => system.ref(Job, path).ask({ type: 'run', ms }, { timeoutMs })),
      )
      await world.sleep(world.choose(60, 'client-pause'))
    }
  })

  await world.sleep(world.choose(1_000, 'when'))
  isStopping = true
  const sinceMs = world.now()
  const bySignal = world.chance(0.4, 'signal')
  let secondMs = Infinity
  // Ended, and on its way out with the code of the first signal: a second one meets nobody any more.
  let hasEnded = false
  void system.terminated.then(() => (hasEnded = true))
  if (bySignal) {
    world.sometimes('by-signal')
    process.signal('SIGTERM')
    if (world.chance(0.3, 'second-signal')) {
      await world.sleep(world.choose(50, 'second-signal-after'))
      secondMs = world.now()
      if (process.isAlive && !hasEnded) {
        world.sometimes('second-signal')
        process.signal('SIGINT')
        world.check(
          'exit-code',
          process.exitCode === 130,
          `exit code ${process.exitCode} after the second signal`,
        )
      }
    }
  } else void system.shutdown('the scenario')

  if (secondMs === Infinity) {
    const report = await system.terminated
    const tookMs = world.now() - sinceMs
    world.check(
      'stops-in-time',
      tookMs <= shutdownMs + closeMs,
      `the shutdown took ${tookMs} ms, at most ${shutdownMs} are allowed`,
    )
    if (tookMs >= shutdownMs - closeMs) world.sometimes('whole-time-used')
    world.sometimes(report.clean ? 'clean' : 'hung')
    world.check(
      'report',
      report.clean === (report.hung.length === 0),
      `clean: ${report.clean}, hung: ${report.hung.join(', ')}`,
    )
    const { counters, tree } = system.status()
    world.check(
      'all-ended',
      counters.spawned === counters.ended,
      `${counters.spawned} spawned, ${counters.ended} ended`,
    )
    world.check('all-ended', livingBelow(tree) === 0, `${livingBelow(tree)} actors live on`)
    world.check('no-holds', process.holds === 0, `${process.holds} holds on the process are left`)
    await world.sleep(1)
    if (bySignal) {
      const expected = report.clean ? 0 : 1
      world.check(
        'exit-code',
        process.exitCode === expected,
        `exit code ${process.exitCode}, expected ${expected}`,
      )
    } else world.check('lives-on', process.isAlive, 'the process ended although nobody asked for that')
  }
  await load
  // What was waited for outside comes to its end; after that nothing of this process may ever stir again.
  await world.sleep(longestMs + 10_000)
  const before = world.simulation.step
  await world.sleep(86_400_000 / 2)
  const stirred = world.simulation.step - before
  world.check('no-timers', stirred <= 1, `${stirred - 1} steps in the twelve hours after the shutdown`)
}

/** Without the root itself. */
function livingBelow(status: ActorStatus): number {
  return status.children.reduce((sum, one) => sum + 1 + livingBelow(one), 0)
}
