/**
 * Read-write locks, semaphores whose permits change, spin locks, locks taken together, counters, values and latches: each a
 * sequential object to its clients, and the semaphore never over-committed.
 */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { writePermits } from './hold-model.ts'
import { Holds, holdTags, type Wish } from './holds.ts'
import { drawnTtl, LockBed, lockTags } from './lock-bed.ts'
import { mutexWish } from './mutex.ts'
import { Numbers, numberTags } from './numbers.ts'
import { SharedRegister } from './shared-register.ts'

export const recipeTags: readonly string[] = [
  ...lockTags,
  ...holdTags,
  ...numberTags,
  ...['permits-changed', 'refused-waiting', 'spun'],
]

const members = ['a', 'b', 'c'] as const
const spinTtlMs = 2_000
/** What the semaphore has at first, at least, and at most. */
const permitsAtFirst = 3

export function runRecipes(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, recipes)
}

async function recipes(world: World): Promise<void> {
  const sessionTtlMs = drawnTtl(world)
  const bed = new LockBed(world, {
    members,
    tags: recipeTags,
    group: drawnGroup(world),
    client: { sessionTtlMs },
  })
  const holds = new Holds(world, bed, { sessionTtlMs, workMs: sessionTtlMs / 2 })
  const numbers = new Numbers(world, bed)
  const register = (name: string): SharedRegister =>
    new SharedRegister(world, name, { isGuarded: true, met: (tag) => bed.met(tag) })
  const registers = [register('rw'), register('spin')] as const
  const wishes: readonly Wish[] = [
    readWish('rw'),
    writeWish('rw', registers[0]),
    semaphoreWish('permits', 1),
    // Waits for whoever has one, and is refused when there are fewer in all.
    semaphoreWish('permits', permitsAtFirst),
    spinWish('spin', registers[1], () => bed.met('spun')),
  ]
  const courses: Promise<unknown>[] = []
  await bed.underChaos(() =>
    world.parallel(5, async () => {
      for (let i = 0; i < 8; i++) {
        await world.sleep(world.choose(8, 'client/rest') * 150)
        const place = world.anyUp('client/node')
        if (place === undefined) continue
        const which = world.choose(20, 'client/recipe')
        // Several at a time at the spin lock, or nobody ever has to ask twice.
        const wish = wishes[which >= 12 && which < 15 ? 4 : which % wishes.length]
        let course: Promise<unknown>
        if (which >= 15 || (which >= 6 && which < 10)) course = numbers.one(place)
        else if (which === 5)
          course = holds.setPermits(place, 'permits', 1 + world.choose(5, 'client/permits'))
        else if (which === 10 || which === 11) course = crowd(world, holds, wishes, which === 10)
        else if (wish === undefined) continue
        else course = holds.one(place, wish)
        courses.push(course)
        await Promise.race([course, world.sleep(world.chance(0.4, 'client/go-on') ? 1 : 15_000)])
      }
    }),
  )
  await holds.untilServed(5, 90_000)
  await numbers.finish(world.node('a'))
  await Promise.all(courses)
  // What is asked for at the end must be there.
  for (let isDone = false; !isDone;) {
    isDone = await holds.setPermits(world.node('a'), 'permits', permitsAtFirst)
    if (!isDone) await world.sleep(500)
  }
  for (const wish of wishes) await holds.canBeHad(wish)
  for (const one of registers) one.judge()
  await bed.settle(120_000)
  await bed.clear(3 * sessionTtlMs + 20_000)
  holds.judge()
  numbers.judge()
}

/** Who waits for what is held by others: a writer for a writer, or for all permits while they become fewer. */
async function crowd(world: World, holds: Holds, wishes: readonly Wish[], isWrite: boolean): Promise<void> {
  const [, write, one, all] = wishes
  const first = isWrite ? write : one
  const second = isWrite ? write : all
  const courses: Promise<unknown>[] = []
  for (const [wish, manner] of [[first, undefined] as const, [second, 'patient'] as const]) {
    const place = world.anyUp('crowd/node')
    if (place === undefined || wish === undefined) continue
    courses.push(holds.one(place, wish, manner))
    await world.sleep(100 + world.choose(4, 'crowd/pause') * 100)
  }
  const place = world.anyUp('crowd/node')
  if (!isWrite && place !== undefined)
    courses.push(holds.setPermits(place, 'permits', 1 + world.choose(2, 'crowd/permits')))
  await Promise.all(courses)
}

function readWish(name: string): Wish {
  return {
    name,
    permits: 1,
    capacity: writePermits,
    acquire: (client, signal, timeoutMs) => client.readWriteLock(name).read.acquire({ signal, timeoutMs }),
    tryAcquire: (client, timeoutMs) => client.readWriteLock(name).read.tryAcquire({ timeoutMs }),
  }
}

function writeWish(name: string, register: SharedRegister): Wish {
  return {
    name,
    permits: writePermits,
    capacity: writePermits,
    acquire: (client, signal, timeoutMs) => client.readWriteLock(name).write.acquire({ signal, timeoutMs }),
    tryAcquire: (client, timeoutMs) => client.readWriteLock(name).write.tryAcquire({ timeoutMs }),
    register,
  }
}

function semaphoreWish(name: string, permits: number): Wish {
  return {
    name,
    permits,
    capacity: permitsAtFirst,
    acquire: (client, signal, timeoutMs) =>
      client.semaphore(name, { permits: permitsAtFirst }).acquire({ permits, signal, timeoutMs }),
    tryAcquire: (client, timeoutMs) =>
      client.semaphore(name, { permits: permitsAtFirst }).tryAcquire({ permits, timeoutMs }),
  }
}

/** `spun`: told of each that was had by asking again and again. */
function spinWish(name: string, register: SharedRegister, spun: () => void): Wish {
  return {
    ...mutexWish(name, register),
    isTimed: true,
    acquire: async (client, signal, timeoutMs) => {
      const lock = client.spinLock(name, { ttlMs: spinTtlMs })
      const atOnce = await lock.tryAcquire({ signal, timeoutMs })
      if (atOnce !== undefined) return atOnce
      const held = await lock.acquire({ signal, timeoutMs })
      spun()
      return held
    },
    tryAcquire: (client, timeoutMs) => client.spinLock(name, { ttlMs: spinTtlMs }).tryAcquire({ timeoutMs }),
  }
}
