/** A tree that crashes while it comes up: it is up as a whole, or it says that it is not and leaves nothing behind. */
import { actor, child, isActorError, protocol, supervisor, type Strategy } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import { Outside, simulatedOutside } from './outside.ts'

const Idle = protocol('idle', {})
const strategies: readonly Strategy[] = ['one-for-one', 'one-for-all', 'rest-for-one']

export const startTags: readonly string[] = [
  'came-up',
  'came-up-after-crashes',
  'did-not-come-up',
  'hung-in-setup',
]

export async function failingStart(world: SystemWorld): Promise<void> {
  const crashP = [0, 0.05, 0.2, 0.6][world.choose(4, 'swarm/crash')] ?? 0
  const restarts = [3, 0, 10][world.choose(3, 'swarm/restarts')] ?? 3
  let crashes = 0
  const startedIn: string[] = []
  const worker = actor(Idle, { handlerTimeoutMs: 1_000 }, async (ctx) => {
    const ms = [0, 1, 40, 5_000][world.choose(4, 'setup')] ?? 0
    if (ms === 5_000) world.sometimes('hung-in-setup')
    if (ms > 0) await ctx.service(Outside).wait(ms)
    if (world.chance(crashP, 'crash')) {
      crashes++
      throw new Error('crashed in setup')
    }
    startedIn.push(ctx.path)
    return {}
  })
  const branch = (strategy: Strategy) =>
    child(
      strategy,
      supervisor(
        { strategy, intensity: { restarts, withinMs: 5_000 } },
        ['a', 'b', 'c'].map((name) => child(name, worker)),
      ),
    )
  const root = supervisor({}, strategies.map(branch))
  try {
    const system = await world.start(root, { services: [simulatedOutside(world)], stallMs: Infinity })
    world.sometimes(crashes > 0 ? 'came-up-after-crashes' : 'came-up')
    const [user] = system.status().tree.children.filter(({ path }) => path === '/user')
    const running = (user?.children ?? []).flatMap(({ children }) =>
      children.filter(({ status }) => status === 'running').map(({ path }) => path),
    )
    world.check('up-as-a-whole', running.length === 9, `only ${running.join(', ')} run`)
    world.check('started', new Set(startedIn).size === 9, `only ${startedIn.join(', ')} were set up`)
  } catch (error) {
    if (!isActorError(error, 'RUNTIME_START_FAILED')) throw error
    world.sometimes('did-not-come-up')
    const [process] = world.simulation.processes
    world.check('no-holds', process?.holds === 0, `${process?.holds} holds on the process are left`)
    // Setups that were abandoned come to their end outside; after that nothing stirs.
    await world.sleep(10_000)
    const before = world.simulation.step
    await world.sleep(3_600_000)
    const stirred = world.simulation.step - before
    world.check('no-timers', stirred <= 1, `${stirred - 1} steps in the hour after the failed start`)
  }
}
