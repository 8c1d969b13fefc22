/** One group on three or five nodes, and everything that may break: what is acknowledged stays, and is read by everybody. */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnPreset } from './drawn-preset.ts'
import { raftChances, raftFaults } from './faults.ts'
import { groupTags, RegisterGroups } from './register-group.ts'

export const logTags: readonly string[] = groupTags.filter(
  (tag) =>
    ![
      ...['joint-left-by-another', 'went-quiet', 'woken', 'refused-term', 'overloaded', 'snapshot-resumed'],
    ].includes(tag),
)
export const logFaults: readonly string[] = [...raftFaults, 'store-flip', 'store-wipe']

const names = ['a', 'b', 'c', 'd', 'e'] as const

export function runLog(input: RunInput): Promise<RunResult> {
  const count = Number(BigInt(input.seed) % 2n) === 0 ? 3 : 5
  return simulate(
    {
      ...input,
      nodes: count,
      faults: {
        only: raftFaults.filter((name) => count > 3 || !fourNodeFaults.has(name)),
        chances: raftChances,
      },
      virtualMsMax: 2_400_000,
    },
    (world) => storm(world, names.slice(0, count)),
  )
}

/** Partitions that three nodes are too few for. */
const fourNodeFaults: ReadonlySet<string> = new Set(['partition-minority-third', 'partition-ring'])

async function storm(world: World, members: readonly string[]): Promise<void> {
  const leaseReads = world.choose(2, 'swarm/lease') === 1
  const preset = drawnPreset(world, ['lan', 'local', 'lan', 'wan'])
  const groups = new RegisterGroups(world, {
    names: ['log'],
    members,
    tags: logTags,
    raft: {
      preset,
      leaseReads,
      appendBytesMax: [262_144, 1_024][world.choose(2, 'swarm/append')] ?? 262_144,
      inflightMessagesMax: [256, 1, 4][world.choose(3, 'swarm/inflight')] ?? 256,
    },
    snapshotEntries: [100_000, 20, 7][world.choose(3, 'swarm/snapshot')] ?? 20,
    keptEntries: [5_000, 3, 0][world.choose(3, 'swarm/kept')] ?? 0,
    batchCommandsMax: [1_024, 1, 3][world.choose(3, 'swarm/batch')] ?? 1,
  })
  const clients = groups.clients({
    keys: 3,
    leaseReads,
    timeoutMs: [5_000, 1_000, 300][world.choose(3, 'swarm/timeout')] ?? 0,
  })
  let isOver = false
  const chaos = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(500 + world.choose(8, 'chaos/pause') * 700)
      const place = world.anyUp('chaos/node')
      if (isOver || place === undefined) continue
      const leader = groups.leader()
      const which = world.choose(12, 'chaos')
      if (which === 1) groups.bed.flip(place)
      else if (which === 2) groups.bed.wipe(place)
      else if (which === 3) groups.group(place.name)?.snapshot({ timeoutMs: 5_000 }).catch(ignore)
      else if (which === 4 && leader !== undefined)
        groups.group(leader)?.transfer(place.name, { timeoutMs: 5_000 }).catch(ignore)
      else if (which === 5 && leader !== undefined) {
        world.node(leader).kill()
        groups.bed.restartLater(world.node(leader))
      } else if (which === 6 && leader !== undefined) await groups.bed.isolate(world.node(leader))
    }
  }
  const chaotic = chaos()
  await world.parallel(6, async (client) => {
    await clients.run(client, 12, () => world.choose(16, 'client/rest') * 150)
  })
  isOver = true
  await chaotic
  world.heal()
  const state = await groups.settle(120_000)
  clients.judge(state)
}

function ignore(): void {
  // What becomes of it the members' own states tell.
}
