/** Nodes that come back without their disk, or late, told step by step: what simulation once found in seeds. */
import { simulate, type World } from '@understudy/cluster/simulation'
import tap, { test, type Test } from 'tap'
import { consensusDirectory } from './consensus-bed.ts'
import { RegisterGroups, type RegisterGroupsOptions } from './register-group.ts'
import { registerCommand } from './register-machine.ts'

tap.setTimeout(120_000)

async function holds(
  t: Test,
  names: readonly string[],
  options: Partial<RegisterGroupsOptions>,
  tell: (world: World, groups: RegisterGroups) => Promise<void>,
  meets: readonly string[] = [],
): Promise<void> {
  for (const seed of [1, 2, 3]) {
    const { violation, stats } = await simulate(
      {
        seed,
        nodes: names.map((name) => ({ name })),
        faults: false,
        latency: 'minimal',
        virtualMsMax: 900_000,
      },
      async (world) => {
        const groups = new RegisterGroups(world, {
          names: ['log'],
          members: ['a', 'b', 'c'],
          tags: meets,
          raft: { preset: 'lan' },
          harmedMax: 2,
          ...options,
        })
        await groups.settle(60_000)
        await tell(world, groups)
      },
    )
    t.same(violation, undefined, `seed ${seed}`)
    t.same(stats.reached, [...meets].sort(), `seed ${seed} is about what it should be`)
  }
}

let n = 0

async function put(world: World, groups: RegisterGroups): Promise<void> {
  await world.until('led', () => groups.leader() !== undefined)
  const leader = groups.leader() ?? 'a'
  const command = registerCommand({ n: ++n, key: 'k', type: 'write', value: n })
  await world
    .node(leader)
    .call(() => groups.group(leader)?.propose(command) ?? Promise.reject(new Error('no group')))
}

async function change(
  world: World,
  groups: RegisterGroups,
  voters: readonly string[],
  learners: readonly string[] = [],
): Promise<void> {
  await world.until('led', () => groups.leader() !== undefined)
  const leader = groups.leader() ?? 'a'
  await world
    .node(leader)
    .call(() => groups.group(leader)?.change(voters, { learners }) ?? Promise.resolve([]))
}

/** Cuts a node off, both ways. */
function cutOff(world: World, name: string): () => void {
  const others = world.nodes.map((place) => place.name).filter((other) => other !== name)
  const undos = others.flatMap((other) => [world.network.clog(name, other), world.network.clog(other, name)])
  return () => undos.forEach((undo) => undo())
}

/** Keys on the disk of a node that have this in them. */
function keysOf(world: World, name: string, part: string): readonly string[] {
  const directories = world.node(name).machine.disk.controls.directories()
  const directory = directories.find((one) => one.name === consensusDirectory)
  const keys = Array.from({ length: directory?.size ?? 0 }, (_, i) => directory?.entryAt(i)?.key ?? '')
  return keys.filter((key) => key.includes(part))
}

function isQuiet(groups: RegisterGroups): boolean {
  const leader = groups.leader()
  return leader !== undefined && groups.group(leader)?.raftStatus()?.isQuiet === true
}

void test('a node that loses its disk comes back as a learner, catches up and is a voter again', async (t) => {
  await holds(t, ['a', 'b', 'c'], {}, async (world, groups) => {
    await put(world, groups)
    const before = groups.bed.truth('log').memberOn('c')?.id
    groups.bed.wipe(world.node('c'))
    await world.sleep(15_000)
    const state = await groups.settle(60_000)
    world.check('all-are-voters', groups.voters().join() === 'a,b,c', groups.picture())
    world.check(
      'another-member',
      groups.bed.truth('log').memberOn('c')?.id !== before,
      `c is still ${before}`,
    )
    world.check('nothing-lost', state.has(n), state.text())
  })
})

void test('a node that loses its disk twice before it was replaced is replaced by the last', async (t) => {
  await holds(t, ['a', 'b', 'c'], {}, async (world, groups) => {
    await put(world, groups)
    const place = world.node('c')
    const isLearning = (): boolean => {
      const leader = groups.leader()
      const members = leader === undefined ? [] : (groups.group(leader)?.members() ?? [])
      return members.some(({ node, role }) => node === 'c' && role === 'learner')
    }
    groups.bed.wipe(place)
    await world.until('learning', isLearning, { everyMs: 1 })
    groups.bed.wipe(place)
    await world.sleep(15_000)
    await groups.settle(60_000)
    world.check('all-are-voters', groups.voters().join() === 'a,b,c', groups.picture())
  })
})

void test('a node that lost its disk finds a leader that is not among the founders', async (t) => {
  await holds(t, ['a', 'b', 'c', 'd', 'e'], {}, async (world, groups) => {
    await put(world, groups)
    await change(world, groups, ['c', 'd', 'e'])
    await put(world, groups)
    groups.bed.wipe(world.node('c'))
    await world.sleep(15_000)
    await groups.settle(60_000)
    world.check('all-are-voters', groups.voters().join() === 'c,d,e', groups.picture())
  })
})

void test('a learner that comes back to a quiet group gets the log', async (t) => {
  await holds(t, ['a', 'b', 'c'], {}, async (world, groups) => {
    await change(world, groups, ['a', 'b'], ['c'])
    const mend = cutOff(world, 'c')
    await world.sleep(3_000)
    await put(world, groups)
    await world.until('quiet', () => isQuiet(groups), { withinMs: 60_000 })
    mend()
    await groups.settle(60_000)
  })
})

void test('a group on a disk that fills up ends no call without a code, and goes on when there is room', async (t) => {
  await holds(t, ['a', 'b', 'c'], {}, async (world, groups) => {
    await put(world, groups)
    const leader = groups.leader() ?? 'a'
    const group = groups.group(leader)
    const { controls } = world.node(leader).machine.disk
    controls.fill(0)
    const codes: string[] = []
    const note = (error: unknown): void =>
      void codes.push((error as { readonly code?: string }).code ?? String(error))
    const command = registerCommand({ n: ++n, key: 'k', type: 'write', value: n })
    const calls = [
      group?.propose(command).catch(note),
      group?.read().catch(note),
      group?.openSession({ ttlMs: 5_000 }).catch(note),
    ]
    await world.sleep(1_000)
    controls.makeRoom()
    await Promise.all<unknown>(calls.map((call) => call ?? Promise.resolve()))
    for (const code of codes) world.check('typed-outcome', code.startsWith('PROTOCOLS_'), code)
    await groups.settle(60_000)
    await put(world, groups)
  })
})

void test('a snapshot whose receiver died in the middle is gone on with', async (t) => {
  const options = { snapshotEntries: 30, keptEntries: 0, chunkBytes: 4, snapshotWindowChunks: 1 }
  await holds(
    t,
    ['a', 'b', 'c'],
    options,
    async (world, groups) => {
      const leader = groups.leader() ?? 'a'
      const behind = ['a', 'b', 'c'].find((name) => name !== leader) ?? 'c'
      const place = world.node(behind)
      place.kill()
      // For one that was heard within the election timeout the leader keeps its log.
      await world.sleep(1_500)
      for (let i = 0; i < 40; i++) await put(world, groups)
      const isCut = (): boolean => (groups.group(leader)?.raftStatus()?.first ?? 0) > 20
      await world.until('cut', isCut, { withinMs: 120_000 })
      const received = (): number => keysOf(world, behind, '/raft/chunk/').length
      await place.start()
      await world.until('receiving', () => received() > 8, { everyMs: 0.2 })
      place.kill()
      await place.start()
      const state = await groups.settle(60_000)
      world.check('nothing-lost', state.has(n), state.text())
    },
    ['snapshot-installed', 'snapshot-resumed'],
  )
})

void test('a founder that loses its disk before anybody heard of the founding founds again, and nothing is lost', async (t) => {
  const outcomes = new Set<string>()
  // In steps that are short beside a write and a round trip: some stall the founder's record, others come before or behind it.
  for (const tenths of [0, 1, 2, 3, 4, 5, 10, 20]) {
    let begin = (): void => undefined
    const begun = new Promise<void>((resolve) => (begin = resolve))
    let wasLed = false
    const { violation, stats } = await simulate(
      { seed: 1, choices: [], nodes: 3, faults: false, latency: 'minimal', virtualMsMax: 900_000 },
      async (world) => {
        const groups = new RegisterGroups(world, {
          names: ['log'],
          members: ['a', 'b', 'c'],
          tags: ['founded-again'],
          raft: { preset: 'lan' },
          begin: begun,
        })
        const founder = world.node('a')
        await world.until('open', () => world.nodes.every(({ name }) => groups.bed.life(name) !== undefined))
        begin()
        await world.sleep(tenths / 10)
        founder.machine.disk.controls.stall(2_000)
        await world.sleep(1_000)
        const mend = cutOff(world, 'a')
        // What was on its way goes with its link.
        await world.sleep(30_000)
        const acknowledged: number[] = []
        wasLed = groups.leader() !== undefined
        if (wasLed) {
          await put(world, groups)
          acknowledged.push(n)
        }
        groups.bed.wipe(founder)
        mend()
        await world.sleep(15_000)
        await put(world, groups)
        acknowledged.push(n)
        const state = await groups.settle(60_000)
        world.check('all-are-voters', groups.voters().join() === 'a,b,c', groups.picture())
        for (const one of acknowledged) world.check('nothing-lost', state.has(one), state.text())
      },
    )
    t.same(violation, undefined, `stalled after ${tenths / 10} ms`)
    outcomes.add(stats.reached.includes('founded-again') ? 'founded again' : wasLed ? 'led' : 'not founded')
  }
  t.same([...outcomes].sort(), ['founded again', 'led', 'not founded'], 'all that can become of it')
})
