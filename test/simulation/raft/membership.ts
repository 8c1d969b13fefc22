/** Who takes part changes while everything breaks: learners, added, removed and replaced nodes, disks that are lost. */
import { simulate, type World } from '@understudy/cluster/simulation'
import { isActorError } from '@understudy/runtime'
import { ProcessKilled, type RunInput, type RunResult } from '@understudy/runtime/simulation'
import { drawnPreset } from './drawn-preset.ts'
import { raftChances, raftFaults } from './faults.ts'
import { groupTags, RegisterGroups } from './register-group.ts'

const outcomes = ['change-done', 'change-unknown', 'leader-removed', 'removed-stands-still'] as const

export const membershipTags: readonly string[] = [
  ...groupTags.filter(
    (tag) =>
      ![
        'lease-read',
        'went-quiet',
        'woken',
        'entries-lost',
        'entries-recovered',
        'refused-term',
        'snapshot-resumed',
        'open-retried',
        'overloaded',
      ].includes(tag),
  ),
  ...outcomes,
]
export const membershipFaults: readonly string[] = [...raftFaults, 'store-flip', 'store-wipe']

const founders = ['a', 'b', 'c'] as const
const nodeNames = ['a', 'b', 'c', 'd', 'e'] as const

interface Target {
  readonly voters: readonly string[]
  readonly learners: readonly string[]
}

export function runMembership(input: RunInput): Promise<RunResult> {
  return simulate(
    { ...input, nodes: 5, faults: { only: raftFaults, chances: raftChances }, virtualMsMax: 2_400_000 },
    changing,
  )
}

async function changing(world: World): Promise<void> {
  const groups = new RegisterGroups(world, {
    names: ['members'],
    members: founders,
    tags: membershipTags,
    // Any configuration has three voters at least: one disk is a minority of each.
    harmedMax: 1,
    raft: { preset: drawnPreset(world, ['lan', 'local']) },
    snapshotEntries: [100_000, 20, 7][world.choose(3, 'swarm/snapshot')] ?? 20,
    keptEntries: [5_000, 3, 0][world.choose(3, 'swarm/kept')] ?? 0,
  })
  const clients = groups.clients({
    keys: 2,
    timeoutMs: [3_000, 300][world.choose(2, 'swarm/timeout')] ?? 3_000,
  })
  let isOver = false
  const changes = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(300 + world.choose(8, 'change/pause') * 500)
      if (!isOver)
        await change(world, groups, drawTarget(world), 5_000 + world.choose(3, 'change/time') * 10_000)
    }
  }
  const losses = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(2_000 + world.choose(8, 'loss/pause') * 1_500)
      const place = world.anyUp('loss/node')
      const leader = groups.leader()
      if (isOver || place === undefined) continue
      if (world.chance(0.5, 'loss')) {
        if (world.choose(2, 'loss/how') === 1) groups.bed.flip(place)
        else groups.bed.wipe(place)
      } else if (leader !== undefined) {
        if (world.choose(3, 'loss/leader') === 2) await groups.bed.isolate(world.node(leader))
        else groups.group(leader)?.transfer(place.name, { timeoutMs: 5_000 }).catch(ignore)
      }
    }
  }
  // Whoever begins a change may not be there any more when it is to be ended.
  groups.bed.truth('members').onJoint = (leader) => {
    if (!isOver && world.chance(0.4, 'joint/kill'))
      groups.bed.killWithin(world.node(leader), 3, 'joint/effect')
  }
  const background = [changes(), losses()]
  await world.parallel(4, async (client) => {
    await clients.run(client, 14, () => world.choose(16, 'client/rest') * 200)
  })
  isOver = true
  await Promise.all(background)
  world.heal()
  for (const { process: life } of world.nodes) life?.killAtEffect(Number.POSITIVE_INFINITY)
  groups.bed.restartZombies()
  const target = drawTarget(world)
  const untilMs = world.now() + 180_000
  while (!(await change(world, groups, target, 60_000))) {
    world.check(
      'members-change-after-heal',
      world.now() < untilMs,
      `The members cannot become ${text(target)}:\n${groups.picture()}`,
    )
    await world.sleep(200)
  }
  const state = await groups.settle(120_000)
  clients.judge(state)
  for (const { name } of world.nodes) {
    if (groups.group(name)?.status().role === 'removed') groups.bed.met('removed-stands-still')
  }
}

function drawTarget(world: World): Target {
  const names = [...nodeNames]
  const draw = (label: string): string => names.splice(world.choose(names.length, label), 1)[0] ?? 'a'
  const count = [3, 3, 4, 5][world.choose(4, 'target/count')] ?? 3
  const voters = Array.from({ length: count }, () => draw('target/voter')).sort()
  const learners = names.length > 0 && world.chance(0.4, 'target/has-learner') ? [draw('target/learner')] : []
  return { voters, learners }
}

/** True when it was done. */
async function change(
  world: World,
  groups: RegisterGroups,
  target: Target,
  timeoutMs: number,
): Promise<boolean> {
  const leader = groups.leader()
  const group = leader === undefined ? undefined : groups.group(leader)
  if (leader === undefined || group === undefined) return false
  const { voters, learners } = target
  world.note(`to become ${text(target)}`, leader)
  try {
    const act = (): ReturnType<typeof group.change> => group.change(voters, { learners, timeoutMs })
    const members = await world.attempt(world.node(leader), act, timeoutMs + 60_000)
    const isSo = (role: string, names: readonly string[]): boolean =>
      names.join() ===
      members
        .flatMap((member) => (member.role === role ? [member.node] : []))
        .sort()
        .join()
    world.check(
      'a-change-that-is-done-is-in-force',
      isSo('voter', voters) && isSo('learner', learners) && isSo('leaving', []),
      `"${leader}" has changed to ${text(target)}, and has ${JSON.stringify(members)}`,
    )
    groups.bed.met('change-done')
    if (!voters.includes(leader)) groups.bed.met('leader-removed')
    return true
  } catch (error) {
    if (error instanceof ProcessKilled) return false
    const code = isActorError(error) ? error.code : ''
    const isKnown = ['PROTOCOLS_NOT_LEADER', 'PROTOCOLS_OUTCOME_UNKNOWN', 'PROTOCOLS_GROUP_CLOSED'].includes(
      code,
    )
    if (code === 'PROTOCOLS_OUTCOME_UNKNOWN') groups.bed.met('change-unknown')
    else if (!isKnown && !code.startsWith('PROTOCOLS_CHANGE')) {
      const stack = error instanceof Error ? (error.stack ?? error.message) : String(error)
      world.check('typed-outcome', false, `a change ended with ${code}: ${stack}`)
    }
    return false
  }
}

function text({ voters, learners }: Target): string {
  return learners.length === 0
    ? voters.join(', ')
    : `${voters.join(', ')} with ${learners.join(', ')} learning`
}

function ignore(): void {
  // What becomes of it the members' own states tell.
}
