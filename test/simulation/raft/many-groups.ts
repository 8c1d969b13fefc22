/** Tens of groups on three nodes: those with nothing to do cost nothing, and are there again as soon as they are needed. */
import { simulate, type World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { raftFaults } from './faults.ts'
import { groupTags, RegisterGroups } from './register-group.ts'
import type { RegisterClients } from './register-clients.ts'

const members = ['a', 'b', 'c'] as const

export const manyGroupsTags: readonly string[] = [
  ...groupTags.filter(
    (tag) =>
      ![
        ...[
          'lease-read',
          'joint-left-by-another',
          'transferred',
          'flipped',
          'entries-lost',
          'entries-recovered',
        ],
        ...['snapshot-installed', 'snapshot-taken', 'snapshot-resumed', 'corrupt-record', 'session-expired'],
        ...['session-lost', 'refused-term', 'overloaded', 'open-retried'],
      ].includes(tag),
  ),
  ...['all-quiet', 'woken-by-a-death'],
]
export const manyGroupsFaults: readonly string[] = [
  ...raftFaults.filter((name) => name !== 'partition-minority-third' && name !== 'partition-ring'),
  'store-wipe',
]
/** So many groups suffer from each fault that a few are enough. */
const chances = [0, 0, 0, 0, 0.004]

export function runManyGroups(input: RunInput): Promise<RunResult> {
  const only = manyGroupsFaults.filter((name) => name !== 'store-wipe')
  return simulate({ ...input, nodes: 3, faults: { only, chances }, virtualMsMax: 2_400_000 }, many)
}

async function many(world: World): Promise<void> {
  const count = [10, 20, 40][world.choose(3, 'swarm/groups')] ?? 10
  const names = Array.from({ length: count }, (_, i) => `g${i}`)
  const groups = new RegisterGroups(world, {
    names,
    members,
    tags: manyGroupsTags,
    raft: { preset: (['lan', 'wan'] as const)[world.choose(2, 'swarm/preset')] ?? 'lan' },
  })
  // Some have clients, the others nothing to do.
  const busy = new Map<string, RegisterClients>()
  for (let i = 0; i < 4; i++) {
    const name = names[world.choose(count, 'swarm/busy')] ?? 'g0'
    if (!busy.has(name)) busy.set(name, groups.clients({ keys: 1, timeoutMs: 3_000, name }))
  }
  let isOver = false
  const losses = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(3_000 + world.choose(8, 'loss/pause') * 2_000)
      const place = world.anyUp('loss/node')
      if (!isOver && place !== undefined && world.chance(0.2, 'loss')) groups.bed.wipe(place)
    }
  }
  const background = losses()
  await Promise.all(
    [...busy.values()].flatMap((clients) =>
      [0, 1].map((client) => clients.run(client, 6, () => world.choose(16, 'client/rest') * 500)),
    ),
  )
  isOver = true
  await background
  world.heal()
  for (const name of names) await groups.settle(120_000, name)
  for (const [name, clients] of busy) clients.judge(await groups.settle(1_000, name))
  await quiet(world, groups, names)
  await woken(world, groups, names)
}

/** When nothing is to be done, nothing is sent but the hosts' own heartbeats. */
async function quiet(world: World, groups: RegisterGroups, names: readonly string[]): Promise<void> {
  // A follower that a late message has woken calls its leader a while later.
  const isQuiet = (name: string): boolean =>
    members.every((member) => groups.group(member, name)?.raftStatus()?.isQuiet === true)
  // Sessions end by themselves, and messages that are replayed come 30 s late: both are something to do.
  await world.sleep(35_000)
  const untilMs = world.now() + 60_000
  for (let loud = names; loud.length > 0; loud = names.filter((name) => !isQuiet(name))) {
    const [name] = loud
    world.check('idle-groups-go-quiet', world.now() < untilMs, `"${name}" does not:\n${groups.picture(name)}`)
    await world.sleep(100)
  }
  const sent = (): number =>
    world.nodes.reduce(
      (sum, { name }) => sum + (groups.bed.life(name)?.consensus.status().messagesSent ?? 0),
      0,
    )
  const before = sent()
  await world.sleep(20_000)
  world.check(
    'quiet-groups-say-nothing',
    sent() === before,
    `${names.length} idle groups sent ${sent() - before} messages in 20 s`,
  )
  groups.bed.met('all-quiet')
}

/** A node dies: all groups that it led have another leader soon, and every group works. */
async function woken(world: World, groups: RegisterGroups, names: readonly string[]): Promise<void> {
  const led = new Map<string, number>()
  for (const name of names) {
    const leader = groups.leader(name) ?? ''
    led.set(leader, (led.get(leader) ?? 0) + 1)
  }
  const [victim = 'a'] = [...led].sort(([, a], [, b]) => b - a)[0] ?? []
  world.node(victim).kill()
  const isLed = (name: string): boolean => {
    const leader = groups.leader(name)
    if (leader === undefined || leader === victim) return false
    const term = groups.group(leader, name)?.status().term
    return members.every((member) => {
      const status = member === victim ? undefined : groups.group(member, name)?.status()
      return member === victim || (status?.leader === leader && status.term === term)
    })
  }
  await world.until('groups-of-a-dead-node-are-led', () => names.every(isLed), {
    withinMs: 60_000,
    everyMs: 50,
  })
  groups.bed.met('woken-by-a-death')
  world.node(victim).restart()
  for (const name of names) {
    const place = world.node(groups.leader(name) ?? 'a')
    await world.attempt(
      place,
      async () => {
        await groups.group(place.name, name)?.read({ timeoutMs: 20_000 })
      },
      60_000,
    )
  }
  for (const name of names) await groups.settle(120_000, name)
}
