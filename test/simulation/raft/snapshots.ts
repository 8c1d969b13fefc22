/** Logs that are cut all the time: followers that fall behind get snapshots, in many chunks, over lines that break. */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnPreset } from './drawn-preset.ts'
import { raftChances, raftFaults } from './faults.ts'
import { groupTags, RegisterGroups } from './register-group.ts'

const members = ['a', 'b', 'c'] as const

export const snapshotTags: readonly string[] = [
  ...groupTags.filter(
    (tag) =>
      ![
        'joint-left-by-another',
        'went-quiet',
        'woken',
        'lease-read',
        'refused-term',
        'open-retried',
        'overloaded',
      ].includes(tag),
  ),
  'fell-behind',
]
export const snapshotFaults: readonly string[] = [
  ...raftFaults.filter((name) => name !== 'partition-minority-third' && name !== 'partition-ring'),
  ...['store-flip', 'store-wipe'],
]

export function runSnapshots(input: RunInput): Promise<RunResult> {
  const only = snapshotFaults.filter((name) => name !== 'store-flip' && name !== 'store-wipe')
  return simulate(
    { ...input, nodes: 3, faults: { only, chances: raftChances }, virtualMsMax: 2_400_000 },
    cutting,
  )
}

async function cutting(world: World): Promise<void> {
  const groups = new RegisterGroups(world, {
    names: ['cut'],
    members,
    tags: snapshotTags,
    chunkBytes: [128, 16, 4][world.choose(3, 'swarm/chunk')] ?? 128,
    snapshotEntries: [5, 1, 17][world.choose(3, 'swarm/snapshot')] ?? 5,
    keptEntries: [0, 2, 6][world.choose(3, 'swarm/kept')] ?? 0,
    snapshotWindowChunks: [16, 1, 3][world.choose(3, 'swarm/window')] ?? 16,
    snapshotGiveUpMs: [30_000, 3_000][world.choose(2, 'swarm/give-up')] ?? 3_000,
    raft: { preset: drawnPreset(world, ['lan', 'local']) },
  })
  const clients = groups.clients({
    keys: 3,
    timeoutMs: [3_000, 300][world.choose(2, 'swarm/timeout')] ?? 3_000,
  })
  let isOver = false
  // Few, or no snapshot would ever be whole.
  let breaks = 0
  groups.bed.truth('cut').onChunk = (name) => {
    if (isOver || breaks > 8 || !world.chance(0.2, 'chunk/kill')) return
    breaks++
    // Back before there is a newer snapshot.
    groups.bed.killWithin(world.node(name), 3, 'chunk/effect', 50)
  }
  const behind = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(500 + world.choose(8, 'behind/pause') * 500)
      const place = world.anyUp('behind/node')
      if (isOver || place === undefined) continue
      const leader = groups.leader()
      const which = world.choose(8, 'behind')
      if (which === 1) groups.bed.flip(place)
      else if (which === 2) groups.bed.wipe(place)
      else if (which >= 5) await keepBehind(world, groups, place.name)
      // In the middle of what it receives, often.
      else if (which === 4) groups.bed.killWithin(place, 12, 'behind/effect')
      else if (which === 3 && leader !== undefined) await groups.bed.isolate(world.node(leader))
    }
  }
  const handOver = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(500 + world.choose(8, 'hand-over/pause') * 500)
      const leader = groups.leader()
      const to = world.anyUp('hand-over/to')
      if (isOver || leader === undefined || to === undefined || !world.chance(0.3, 'hand-over')) continue
      groups.group(leader)?.transfer(to.name, { timeoutMs: 5_000 }).catch(ignore)
    }
  }
  const background = [behind(), handOver()]
  await world.parallel(5, async (client) => {
    await clients.run(client, 16, () => world.choose(12, 'client/rest') * 120)
  })
  isOver = true
  await Promise.all(background)
  world.heal()
  for (const { process: life } of world.nodes) life?.killAtEffect(Number.POSITIVE_INFINITY)
  const state = await groups.settle(120_000)
  clients.judge(state)
}

/** Nothing comes to that node for some seconds. */
async function keepBehind(world: World, groups: RegisterGroups, name: string): Promise<void> {
  const undos = world.nodes
    .filter((other) => other.name !== name)
    .map((other) => world.network.clog(other.name, name))
  groups.bed.met('fell-behind')
  await world.sleep([1_000, 3_000, 9_000][world.choose(3, 'behind/for')] ?? 1_000)
  for (const undo of undos) undo()
}

function ignore(): void {
  // What becomes of it the members' own states tell.
}
