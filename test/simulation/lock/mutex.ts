/**
 * Mutexes that guard registers outside of the cluster, with everything going wrong that can: the holders' times are disjoint as
 * the registers see them, tokens grow, who waits is served in order and in the end. The same without the guard has to fail.
 */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnPreset } from '../raft/drawn-preset.ts'
import { raftChances, raftFaults } from '../raft/faults.ts'
import { Holds, holdTags, type Wish } from './holds.ts'
import { LockBed, lockTags } from './lock-bed.ts'
import { SharedRegister } from './shared-register.ts'

export const mutexTags: readonly string[] = [...lockTags, ...holdTags]
export const mutexFaults: readonly string[] = [...raftFaults, 'store-flip', 'store-wipe']

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
  return simulate(
    { ...input, nodes: 5, faults: { only: raftFaults, chances: raftChances }, virtualMsMax: 2_400_000 },
    (world) => mutexes(world, isGuarded),
  )
}

async function mutexes(world: World, isGuarded: boolean): Promise<void> {
  const sessionTtlMs = [3_000, 8_000][world.choose(2, 'swarm/ttl')] ?? 3_000
  const bed = new LockBed(world, {
    members,
    tags: mutexTags,
    group: {
      raft: { preset: drawnPreset(world, ['lan', 'local']) },
      snapshotEntries: [100_000, 20, 7][world.choose(3, 'swarm/snapshot')] ?? 20,
      keptEntries: [5_000, 3, 0][world.choose(3, 'swarm/kept')] ?? 0,
    },
    client: { sessionTtlMs },
  })
  const holds = new Holds(world, bed, { sessionTtlMs, workMs: sessionTtlMs / 2 })
  const registers = names.map(
    (name) => new SharedRegister(world, name, { isGuarded, met: (tag) => bed.met(tag) }),
  )
  const wishes = registers.map((register): Wish => mutexWish(register.name, register))
  let isOver = false
  const chaos = bed.chaos(() => isOver)
  const courses: Promise<unknown>[] = []
  await world.parallel(5, async () => {
    for (let i = 0; i < 6; i++) {
      await world.sleep(world.choose(8, 'client/rest') * 200)
      const place = world.anyUp('client/node')
      const wish = wishes[world.choose(4, 'client/lock') === 3 ? 1 : 0]
      if (place === undefined || wish === undefined) continue
      // Some do not wait until what they began has ended.
      const course = holds.one(place, wish)
      if (world.chance(0.4, 'client/go-on')) courses.push(course)
      else await Promise.race([course, world.sleep(15_000)])
      courses.push(course)
    }
  })
  isOver = true
  await chaos
  bed.heal()
  // Each that waits has at most all others before it, and each of them works for so long, or is lost.
  const longestMs = 60_000 + (holds.waiting + 5) * (4 * sessionTtlMs + 10_000)
  await world.until('nobody-starves', () => holds.waiting === 0, { withinMs: longestMs, everyMs: 50 })
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
