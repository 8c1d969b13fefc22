/** Crash everywhere: founding, a put, a snapshot, an install and a change of members, each cut at every write and send. */
import { simulate, type World } from '@understudy/cluster/simulation'
import { isActorError } from '@understudy/runtime'
import { crashEverywhere, ProcessKilled } from '@understudy/runtime/simulation'
import tap, { test, type Test } from 'tap'
import { notInQuickRun } from '../../support/quick-run.ts'
import { consensusDirectory } from './consensus-bed.ts'
import { RegisterGroups, type RegisterGroupsOptions } from './register-group.ts'
import { registerCommand } from './register-machine.ts'

interface Bed {
  readonly world: World
  readonly groups: RegisterGroups
  /** Lets the groups begin. */
  readonly begin: () => void
  /** Proposes command `n` on whoever leads, and tells what became of it. */
  readonly put: (n: number, timeoutMs?: number) => Promise<'done' | 'refused' | 'unknown'>
}

const members = ['a', 'b', 'c'] as const

// Hundreds of runs.
tap.setTimeout(300_000)

/** Runs `operate` once for each place where a process can be cut, and `judge` after each. `prepare` meets no crash. */
async function everywhere(
  t: Test,
  options: Partial<RegisterGroupsOptions>,
  story: {
    readonly prepare?: (bed: Bed) => Promise<void>
    readonly operate: (bed: Bed) => Promise<void>
    readonly judge?: (bed: Bed) => Promise<void>
    /** The node that is cut loses its disk, and is back so long after. @default it keeps it, and is back in 100 ms */
    readonly wipedMs?: number
    /** What the run without a crash must have met, or the story is about something else. */
    readonly meets: readonly string[]
  },
): Promise<void> {
  let reached: readonly string[] = []
  const { points, failures } = await crashEverywhere({
    run: async (crash) => {
      const result = await simulate(
        { seed: 1, choices: [], nodes: 3, faults: false, crash, virtualMsMax: 900_000 },
        async (world) => {
          let begin = (): void => undefined
          const begun = new Promise<void>((resolve) => (begin = resolve))
          const groups = new RegisterGroups(world, {
            names: ['log'],
            members,
            tags: story.meets,
            raft: { preset: 'lan' },
            begin: begun,
            ...options,
          })
          const bed: Bed = { world, groups, begin, put: (n, timeoutMs) => put(world, groups, n, timeoutMs) }
          if (story.prepare !== undefined) {
            begin()
            await groups.settle(60_000)
            await story.prepare(bed)
          }
          const { wipedMs } = story
          if (wipedMs !== undefined) for (const { name } of world.nodes) wipeAtDeath(world, name)
          await world.operation(() => story.operate(bed), wipedMs)
          await story.judge?.(bed)
          for (const { name } of world.nodes) world.node(name).restart()
          await groups.settle(60_000)
          // It works: a number that no story uses.
          const machine = groups.on(groups.leader() ?? '')?.machine()
          const last = await put(world, groups, 999)
          world.check('works-after-the-crash', last === 'done', `a put was ${last}`)
          world.check('works-after-the-crash', machine?.has(999) === true, 'what was put is not there')
        },
      )
      if (crash === undefined) reached = result.stats.reached
      return result
    },
  })
  t.match([...reached], [...story.meets], `without a crash: ${reached.join(', ')}`)
  t.ok(points > 0, `${points} points`)
  t.comment(`${points} points`)
  t.same(
    failures.map(({ crash, result }) => ({ crash, rule: result.violation })),
    [],
  )
}

function wipeAtDeath(world: World, name: string): void {
  const { process: life, machine } = world.node(name)
  const { simulation } = world
  life?.onKill(() => {
    // What was under way at its death may still come to the disk.
    simulation.at(simulation.nowMs + 20, undefined, 'wipe', () => {
      machine.disk.controls.wipe(consensusDirectory)
      simulation.fault('store-wipe', `"${consensusDirectory}"`, name)
    })
  })
}

async function put(
  world: World,
  groups: RegisterGroups,
  n: number,
  timeoutMs = 5_000,
): Promise<'done' | 'refused' | 'unknown'> {
  const leader = groups.leader()
  const group = leader === undefined ? undefined : groups.group(leader)
  if (leader === undefined || group === undefined) return 'refused'
  try {
    const command = registerCommand({ n, key: 'k', type: 'write', value: n })
    await world.node(leader).call(() => group.propose(command, { timeoutMs }))
    return 'done'
  } catch (error) {
    if (error instanceof ProcessKilled) return 'unknown'
    if (!isActorError(error)) throw error
    return error.code === 'PROTOCOLS_OUTCOME_UNKNOWN' ? 'unknown' : 'refused'
  }
}

void test('a group is founded once, wherever its founding is cut', notInQuickRun, async (t) => {
  await everywhere(
    t,
    {},
    {
      meets: [],
      operate: async ({ world, groups, begin }) => {
        begin()
        await world.until('led', () => groups.leader() !== undefined, { withinMs: 60_000 })
      },
    },
  )
})

for (const wipedMs of [100, 5_000]) {
  void test(
    `a founder that loses its disk costs nothing, wherever the founding is cut; back after ${wipedMs} ms`,
    notInQuickRun,
    async (t) => {
      const outcome = new Map<World, string>()
      await everywhere(
        t,
        {},
        {
          meets: [],
          wipedMs,
          operate: async ({ world, groups, begin, put }) => {
            begin()
            await world.until('led', () => groups.leader() !== undefined, { withinMs: 60_000 })
            outcome.set(world, await put(1))
          },
          judge: async ({ world, groups }) => {
            await world.sleep(wipedMs + 15_000)
            const state = await groups.settle(60_000)
            world.check('all-are-voters', groups.voters().join() === 'a,b,c', groups.picture())
            if (outcome.get(world) === 'done')
              world.check('acknowledged-is-applied', state.has(1), 'it was acknowledged and is gone')
          },
        },
      )
    },
  )
}

void test('a put is there or not, and stays when it was acknowledged, wherever it is cut', async (t) => {
  const outcome = new Map<World, string>()
  await everywhere(
    t,
    {},
    {
      meets: [],
      prepare: async ({ put }) => void (await put(1)),
      operate: async ({ world, put }) => {
        outcome.set(world, await put(2))
        // The others hear that it is committed.
        await world.sleep(300)
      },
      judge: async ({ world, groups }) => {
        await world.sleep(1_000)
        const state = await groups.settle(60_000)
        world.check('acknowledged-is-applied', state.has(1), 'the put before it is gone')
        if (outcome.get(world) === 'done')
          world.check('acknowledged-is-applied', state.has(2), 'it was acknowledged and is gone')
        if (outcome.get(world) === 'refused')
          world.check('refused-is-not-applied', !state.has(2), 'it was refused and is there')
      },
    },
  )
})

void test('a snapshot is taken or not, and nothing is lost, wherever it is cut', async (t) => {
  await everywhere(
    t,
    { chunkBytes: 8, keptEntries: 0 },
    {
      meets: ['snapshot-taken'],
      prepare: async ({ put }) => {
        for (let n = 1; n <= 5; n++) await put(n)
      },
      operate: async ({ world, groups }) => {
        const leader = groups.leader() ?? 'a'
        await world
          .node(leader)
          .call(async () => groups.group(leader)?.snapshot({ timeoutMs: 5_000 }))
          .catch(() => undefined)
      },
      judge: async ({ world, groups }) => {
        await world.sleep(1_000)
        const state = await groups.settle(60_000)
        for (let n = 1; n <= 5; n++)
          world.check('acknowledged-is-applied', state.has(n), `command ${n} is gone`)
      },
    },
  )
})

void test(
  'a snapshot is installed or not, wherever sending or installing it is cut',
  notInQuickRun,
  async (t) => {
    let release = (): void => undefined
    await everywhere(
      t,
      { chunkBytes: 16, keptEntries: 0, snapshotEntries: 3, snapshotWindowChunks: 2 },
      {
        meets: ['snapshot-installed'],
        prepare: async ({ world, groups, put }) => {
          const behind = members.find((name) => name !== groups.leader()) ?? 'c'
          world.node(behind).kill()
          // For one that was heard within the election timeout the leader keeps its log.
          await world.sleep(1_500)
          for (let n = 1; n <= 8; n++) await put(n)
          const others = members.filter((name) => name !== behind)
          const clogs = others.flatMap((name) => [
            world.network.clog(name, behind),
            world.network.clog(behind, name),
          ])
          await world.node(behind).start()
          await world.until('open', () => groups.on(behind) !== undefined)
          release = () => clogs.forEach((undo) => undo())
        },
        operate: async ({ world, groups }) => {
          release()
          await world.sleep(500)
          await world.until('all-have-all', () => groups.isSettled(), { withinMs: 60_000 })
        },
        judge: async ({ world, groups }) => {
          const state = await groups.settle(60_000)
          for (let n = 1; n <= 8; n++)
            world.check('acknowledged-is-applied', state.has(n), `command ${n} is gone`)
        },
      },
    )
  },
)

void test(
  'a change of members is done or can be done again, wherever it is cut',
  notInQuickRun,
  async (t) => {
    await everywhere(
      t,
      { members: ['a', 'b'] },
      {
        meets: ['learner-promoted'],
        prepare: async ({ put }) => void (await put(1)),
        operate: async ({ groups, world }) => void (await change(world, groups, 20_000)),
        judge: async ({ world, groups }) => {
          const untilMs = world.now() + 120_000
          while (!(await change(world, groups, 20_000))) {
            world.check('members-change', world.now() < untilMs, groups.picture())
            await world.sleep(100)
          }
          const state = await groups.settle(60_000)
          world.check('acknowledged-is-applied', state.has(1), 'command 1 is gone')
          world.check('all-are-voters', groups.voters().join() === 'a,b,c', groups.picture())
        },
      },
    )
  },
)

async function change(world: World, groups: RegisterGroups, timeoutMs: number): Promise<boolean> {
  const leader = groups.leader()
  const group = leader === undefined ? undefined : groups.group(leader)
  if (leader === undefined || group === undefined) return false
  try {
    await world.node(leader).call(() => group.change(members, { timeoutMs }))
    return true
  } catch (error) {
    if (error instanceof ProcessKilled || isActorError(error)) return false
    throw error
  }
}
