/** A system for tests: on virtual time, with messages sent through the wire format, deaf to signals. */
import type { AnyDefinition } from '../actor/behaviour.ts'
import { virtualPlatform, type VirtualPlatform } from '../platform/virtual-platform.ts'
import { supervisor } from '../supervision/child.ts'
import { createSystem, type ActorSystem, type SystemOptions } from '../system/actor-system.ts'

/** `createSystem`'s options, but for the platform, which must be a virtual one. */
export interface TestSystemOptions extends Omit<SystemOptions, 'platform'> {
  /** @default 'test' */
  readonly name?: string | undefined
  /** Seed of the platform's chance; without meaning when `platform` is given. @default 1 */
  readonly seed?: number | string | undefined
  /** @default virtualPlatform({ seed }) */
  readonly platform?: VirtualPlatform | undefined
}

/** A system whose platform is virtual. */
export interface TestSystem extends ActorSystem {
  readonly platform: VirtualPlatform
}

/**
 * Starts a system as tests want it: `isolation: 'codec'`, so that what works here works between nodes; virtual time,
 * which stands still until `system.platform.advance(ms)` or a probe moves it; no signal handlers. Disposing of it shuts
 * it down and moves its time on as far as that needs, so that a hung actor costs a test no real time.
 *
 *     await using system = await testSystem(root)
 *     const someone = probe(system, Counter)
 *
 * @throws {ActorError} RUNTIME_START_FAILED (as a rejection) if the tree gave up while starting
 */
export async function testSystem(
  root: AnyDefinition = supervisor({}, []) as unknown as AnyDefinition,
  options: TestSystemOptions = {},
): Promise<TestSystem> {
  const { name = 'test', seed, platform = virtualPlatform({ seed }), ...rest } = options
  const starting = createSystem(name, root, { isolation: 'codec', handleSignals: false, ...rest, platform })
  // Children that back off, or fail, while the tree starts need time to do so.
  const system = (await whileTimePasses(starting, platform)) as TestSystem
  Object.defineProperty(system, Symbol.asyncDispose, {
    value: async () => {
      await whileTimePasses(system.shutdown('the test system was disposed of'), platform)
    },
  })
  return system
}

/** Waits for `promise`, firing timers one by one as long as it needs them. Rejects when there are none left to fire. */
async function whileTimePasses<T>(promise: Promise<T>, platform: VirtualPlatform): Promise<T> {
  let settled = false
  const mark = (): void => {
    settled = true
  }
  promise.then(mark, mark)
  await platform.settle()
  while (!settled) {
    const atMs = platform.nextTimerAtMs()
    if (atMs === undefined || atMs === Number.POSITIVE_INFINITY) {
      throw new Error(
        'A test system waits for something that is not on its virtual clock, and no timer is left to fire',
      )
    }
    await platform.advance(Math.max(0, atMs - platform.clock.monotonicMs()))
  }
  return promise
}
