/**
 * Mutexes that guard registers outside of the cluster, with everything going wrong that can: the holders' times are disjoint as
 * the registers see them, tokens grow, who waits is served in order and in the end. The same without the guard has to fail.
 */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { Holds, holdTags, type Wish } from './holds.ts'
import { drawnTtl, LockBed, lockTags } from './lock-bed.ts'
import { SharedRegister } from './shared-register.ts'

export const mutexTags: readonly string[] = [...lockTags, ...holdTags]

const members = ['a', 'b', 'c'] as const
const names = ['m0', 'm1'] as const

export function runMutex(input: RunInput): Promise<RunResult> {
  return simulateMutex(input, true)
}

/** Wrong on purpose: the registers do whatever comes. */
export function runUnguarded(input: RunInput): Promise<RunResult> {
  return simulateMutex(input, false)
}

function simulateMutex(input: RunInput, isGuarded: boolean): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 5 }, (world) => mutexes(world, isGuarded))
}

async function mutexes(world: World, isGuarded: boolean): Promise<void> {
  const sessionTtlMs = drawnTtl(world)
  const bed = new LockBed(world, {
    members,
    tags: mutexTags,
    group: drawnGroup(world),
    client: { sessionTtlMs },
  })
  const holds = new Holds(world, bed, { sessionTtlMs, workMs: sessionTtlMs / 2 })
  const registers = names.map(
    (name) => new SharedRegister(world, name, { isGuarded, met: (tag) => bed.met(tag) }),
  )
  const wishes = registers.map((register): Wish => mutexWish(register.name, register))
  const courses: Promise<unknown>[] = []
  await bed.underChaos(() =>
    world.parallel(5, async () => {
      for (let i = 0; i < 6; i++) {
        await world.sleep(world.choose(8, 'client/rest') * 200)
        const place = world.anyUp('client/node')
        const wish = wishes[world.choose(4, 'client/lock') === 3 ? 1 : 0]
        if (place === undefined || wish === undefined) continue
        // Some do not wait until what they began has ended.
        const course = holds.one(place, wish)
        courses.push(course)
        if (!world.chance(0.4, 'client/go-on')) await Promise.race([course, world.sleep(15_000)])
      }
    }),
  )
  await holds.untilServed(5, 60_000)
  await Promise.all(courses)
  for (const wish of wishes) await holds.canBeHad(wish)
  for (const register of registers) register.judge()
  await bed.settle(120_000)
  await bed.clear(3 * sessionTtlMs + 20_000)
  holds.judge()
}

/** A mutex of that name; whoever has it changes the register, if there is one. */
export function mutexWish(name: string, register?: SharedRegister): Wish {
  return {
    name,
    permits: 1,
    capacity: 1,
    acquire: (client, signal, timeoutMs) => client.mutex(name).acquire({ signal, timeoutMs }),
    tryAcquire: (client, timeoutMs) => client.mutex(name).tryAcquire({ timeoutMs }),
    register,
  }
}
