/** What happens to the servers while clients work: faults by kind, each of which leaves nothing behind that is not healed. */
import { rmSync, writeFileSync } from 'node:fs'
import { serverNames, type KvFleet } from './kv-fleet.ts'
import { eventually, period } from './member-process.ts'

/** What a kind of fault needs of the machine. */
export type Need = 'network' | 'disk'

export interface Nemesis {
  readonly name: string
  readonly need?: Need | undefined
  /** Ends processes: what is measured of their memory begins anew. */
  readonly isKilling?: boolean | undefined
  /** Goes on for about `ms`. What it began is over when it resolves, whatever it throws. */
  readonly run: (fleet: KvFleet, ms: number, count: (fault: string) => void) => Promise<void>
}

/** A kill -9 of some servers at one moment, and their return. */
async function kill(fleet: KvFleet, names: readonly string[], downMs: number): Promise<void> {
  await Promise.all(names.map((name) => fleet.end(name, 'SIGKILL')))
  await period(downMs)
  await start(fleet, names)
}

async function start(fleet: KvFleet, names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => fleet.startServer(name).ready))
}

function drawn(fleet: KvFleet, count: number): readonly string[] {
  const left: string[] = [...serverNames]
  return Array.from({ length: count }, () => left.splice(fleet.random.below(left.length), 1)[0] as string)
}

/** Again and again until the time is over, at least once. */
async function during(ms: number, act: () => Promise<void>): Promise<void> {
  const untilMs = performance.now() + ms
  do await act()
  while (performance.now() < untilMs)
}

async function pause(fleet: KvFleet, name: string, ms: number): Promise<void> {
  const server = fleet.server(name)
  server.kill('SIGSTOP')
  try {
    await period(ms)
  } finally {
    server.kill('SIGCONT')
  }
}

type Way = readonly [from: string, to: readonly string[]]

/** Ways are cut, and open again. */
async function cut(fleet: KvFleet, ways: readonly Way[], ms: number): Promise<void> {
  const { network } = fleet
  if (network === undefined) throw new Error('There is no network to cut here')
  try {
    for (const [from, to] of ways) network.setWay(from, to, 'cut')
    await period(ms)
  } finally {
    for (const [from, to] of ways) network.setWay(from, to, 'open')
  }
}

/** Both ways between each of the ones and each of the others. */
function between(ones: readonly string[], others: readonly string[]): readonly Way[] {
  return [...ones.map((one): Way => [one, others]), ...others.map((other): Way => [other, ones])]
}

function without(...names: readonly string[]): readonly string[] {
  return serverNames.filter((name) => !names.includes(name))
}

/** A moment of peace between two faults. */
function restAfter(fleet: KvFleet): Promise<void> {
  return period(300 + fleet.random.below(1_000))
}

export const nemeses: readonly Nemesis[] = [
  { name: 'nothing', run: (_fleet, ms) => period(ms) },
  {
    name: 'kill any',
    isKilling: true,
    run: (fleet, ms, count) =>
      during(ms, async () => {
        await kill(fleet, drawn(fleet, 1), fleet.random.below(1_500))
        count('kill -9')
        await restAfter(fleet)
      }),
  },
  {
    name: 'kill the leader',
    isKilling: true,
    run: (fleet, ms, count) =>
      during(ms, async () => {
        await kill(fleet, [await fleet.leaderOrAny()], fleet.random.below(1_500))
        count('kill -9 of the leader')
        await restAfter(fleet)
      }),
  },
  {
    name: 'kill a minority',
    isKilling: true,
    run: (fleet, ms, count) =>
      during(ms, async () => {
        await kill(fleet, drawn(fleet, 2), fleet.random.below(2_000))
        count('kill -9 of two')
        await restAfter(fleet)
      }),
  },
  {
    name: 'kill everybody',
    isKilling: true,
    run: async (fleet, ms, count) => {
      await kill(fleet, serverNames, fleet.random.below(1_000))
      count('kill -9 of all')
      await period(ms)
    },
  },
  {
    name: 'restart all',
    isKilling: true,
    run: async (fleet, ms, count) => {
      await Promise.all(serverNames.map((name) => fleet.end(name, 'SIGTERM')))
      count('restart of all')
      await start(fleet, serverNames)
      await period(ms)
    },
  },
  {
    name: 'restart one after another',
    isKilling: true,
    run: async (fleet, _ms, count) => {
      for (const name of serverNames) {
        await fleet.end(name, 'SIGTERM')
        await start(fleet, [name])
        count('restart of one')
      }
    },
  },
  {
    name: 'short pauses',
    run: (fleet, ms, count) =>
      during(ms, async () => {
        const name = fleet.random.chance(50) ? await fleet.leaderOrAny() : fleet.random.pick(serverNames)
        await pause(fleet, name, 20 + fleet.random.below(150))
        count('SIGSTOP for less than an election timeout')
        await period(fleet.random.below(300))
      }),
  },
  {
    name: 'long pauses',
    run: (fleet, ms, count) =>
      during(ms, async () => {
        const leader = await fleet.leaderOrAny()
        const others = drawn(fleet, 2).filter((name) => name !== leader)
        const paused = fleet.random.chance(60) ? [leader] : [leader, ...others.slice(0, 1)]
        const forMs = 800 + fleet.random.below(Math.max(1, ms))
        await Promise.all(paused.map((name) => pause(fleet, name, forMs)))
        count('SIGSTOP for longer than an election timeout')
        await restAfter(fleet)
      }),
  },
  {
    name: 'clients are paused',
    run: (fleet, ms, count) =>
      during(ms, async () => {
        const load = fleet.random.pick(fleet.loads)
        load.kill('SIGSTOP')
        await period(200 + fleet.random.below(2_500))
        load.kill('SIGCONT')
        count('SIGSTOP of clients')
        await restAfter(fleet)
      }),
  },
  {
    name: 'the leader is isolated',
    need: 'network',
    run: async (fleet, ms, count) => {
      const leader = await fleet.leaderOrAny()
      // Clients on its side, who can reach nobody else, in half of the cases.
      const near = fleet.random.chance(50) ? ['x'] : []
      const others = [...without(leader), ...['x', 'y'].filter((name) => !near.includes(name))]
      await cut(fleet, between([leader, ...near], others), ms)
      count('isolated leader')
    },
  },
  {
    name: 'halves',
    need: 'network',
    run: async (fleet, ms, count) => {
      const minority = drawn(fleet, 2)
      await cut(fleet, between([...minority, 'x'], [...without(...minority), 'y']), ms)
      count('halves')
    },
  },
  {
    name: 'no majority',
    need: 'network',
    run: async (fleet, ms, count) => {
      const [one = 'a', ...rest] = drawn(fleet, 5)
      const [first, second] = [rest.slice(0, 2), rest.slice(2)]
      await cut(fleet, [...between([one, 'x'], [...rest, 'y']), ...between([...first, 'y'], second)], ms)
      count('three parts')
    },
  },
  {
    name: 'one way',
    need: 'network',
    run: async (fleet, ms, count) => {
      const leader = await fleet.leaderOrAny()
      const others = without(leader)
      // What it sends is lost, or what it is sent.
      const ways: readonly Way[] = fleet.random.chance(50)
        ? [[leader, others]]
        : others.map((other): Way => [other, [leader]])
      await cut(fleet, ways, ms)
      count('one way')
    },
  },
  {
    name: 'a bridge',
    need: 'network',
    run: async (fleet, ms, count) => {
      const [, b = 'b', c = 'c', d = 'd', e = 'e'] = drawn(fleet, 5)
      await cut(fleet, between([b, c], [d, e]), ms)
      count('bridge')
    },
  },
  {
    name: 'a ring of majorities',
    need: 'network',
    run: async (fleet, ms, count) => {
      // Each reaches itself and both of its neighbours.
      const ring = drawn(fleet, 5)
      const ways = ring.map((one, i): Way => [
        one,
        [ring[(i + 2) % 5] as string, ring[(i + 3) % 5] as string],
      ])
      await cut(fleet, ways, ms)
      count('ring of majorities')
    },
  },
  {
    name: 'the link flaps',
    need: 'network',
    run: (fleet, ms, count) =>
      during(ms, async () => {
        const one = fleet.random.pick(serverNames)
        await cut(fleet, between([one], without(one)), 50 + fleet.random.below(500))
        count('flap')
        await period(fleet.random.below(600))
      }),
  },
  {
    name: 'a full disk',
    need: 'disk',
    run: async (fleet, ms, count) => {
      const ballast = fleet.disk?.path('ballast') ?? ''
      fillDisk(ballast)
      count('full disk')
      try {
        await period(ms)
      } finally {
        rmSync(ballast, { force: true })
      }
    },
  },
  {
    name: 'a directory is deleted',
    run: async (fleet, ms, count) => {
      await loseDirectory(
        fleet,
        fleet.random.chance(50) ? await fleet.leaderOrAny() : fleet.random.pick(serverNames),
      )
      count('deleted directory')
      await period(ms)
    },
  },
  {
    name: 'leadership is handed over',
    run: (fleet, ms, count) =>
      during(ms, async () => {
        const leader = await fleet.leaderOrAny()
        const to = fleet.random.pick(without(leader))
        // Somebody else may lead by now, or the one chosen may be too slow: then nothing has happened.
        const done = fleet.server(leader).ask<true>({ type: 'transfer', to })
        if (await done.catch(() => false)) count('leadership handed over')
        await period(100 + fleet.random.below(400))
      }),
  },
  {
    name: 'two at once',
    need: 'network',
    isKilling: true,
    run: async (fleet, ms, count) => {
      const cuts = nemeses.filter(({ need, name }) => need === 'network' && name !== 'two at once')
      const first = fleet.random.pick(cuts)
      const second = nemesisOf(fleet.random.pick(besideCuts))
      const ends = await Promise.allSettled([first, second].map((nemesis) => nemesis.run(fleet, ms, count)))
      for (const end of ends) if (end.status === 'rejected') throw end.reason
    },
  },
]

/** What may happen while something is cut off. */
const besideCuts = [
  'kill any',
  'kill the leader',
  'kill a minority',
  'kill everybody',
  'long pauses',
  'short pauses',
  'clients are paused',
  'a directory is deleted',
  'leadership is handed over',
] as const

/** @throws {RangeError} when there is none of that name */
export function nemesisOf(name: string): Nemesis {
  const found = nemeses.find((nemesis) => nemesis.name === name)
  if (found === undefined) throw new RangeError(`There is no nemesis "${name}"`)
  return found
}

/** All the room that there is. */
function fillDisk(file: string): void {
  for (const size of [1_000_000, 4_096]) {
    try {
      for (;;) writeFileSync(file, new Uint8Array(size), { flag: 'a' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
    }
  }
}

/** Deletes what a running server has on its disk; resolves when it is a voter again, by the name of another store. */
export async function loseDirectory(fleet: KvFleet, name: string): Promise<readonly string[]> {
  const before = (await fleet.status(name)).storeId
  // The number of its next life goes the same way: where it needs one it ends, and whoever runs it starts it again.
  fleet.excuse(name)
  fleet.wipe(name)
  const roles: string[] = []
  await eventually(`"${name}" is a voter again`, 90_000, async () => {
    await fleet.revive()
    const own = await fleet.status(name, 5_000).catch(() => undefined)
    if (own === undefined) return 'no answer'
    const state = own.storeId === before ? 'not noticed' : `${own.role}`
    if (roles.at(-1) !== state) roles.push(state)
    const leader = await fleet.leader()
    if (leader === undefined) return `${state}, and nobody leads`
    const { members, voterStores } = await fleet.status(leader, 5_000).catch(() => own)
    // By its store: until a leader has seen the new one, a voter of that name is the one that is lost.
    const isBack =
      own.storeId !== before && voterStores.includes(own.storeId) && members.length === serverNames.length
    return (
      (isBack && own.members.join() === members.join()) ||
      `${state}, members ${members.join(' ')}, ${own.more}`
    )
  })
  return roles
}
