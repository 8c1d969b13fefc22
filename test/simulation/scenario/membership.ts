/** Membership from a static list: who is down is found down, who is not is not, and in the end all agree. */
import type { World } from '@understudy/cluster/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { askWho, whoTree } from '../cluster/who.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import type { Scenario } from '../scenario.ts'

const heartbeatIntervalMs = 2_000
/** Above the slowest frame that a simulated network has, with what queues behind it. */
const patientMs = 20_000
const deadlineMs = 2_500
/** One heartbeat, one dial with its handshake, and what a slow link adds. */
const detectSlackMs = 1_500
const formedWithinMs = 30_000

/** No fault but a slow network: in 24 minutes nobody is accused. */
async function quiet(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  await world.start()
  await watch.untilEqual('formed', 240_000)
  const before = watch.told.length
  const minutes = 24
  for (let minute = 0; minute < minutes; minute++) {
    await world.sleep(60_000)
    const from = world.node(world.choose(world.nodes.length, 'scenario/from'))
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from === to) continue
    const failure = await askWho(world, watch, from, to.name, 30_000)
    world.check('answers-when-quiet', failure === undefined, `"${from.name}" asked "${to.name}": ${failure}`)
  }
  const accused = watch.told.slice(before)
  world.check(
    'no-healthy-node-accused',
    accused.length === 0,
    `Without a fault, ${JSON.stringify(accused.slice(0, 3))}`,
  )
  world.check('views-equal', watch.agree(), `Without a fault the views differ:\n${watch.views()}`)
  for (const { node } of world.up()) {
    const { members } = node.status().membership
    if (members.some(({ roundTripMs = 0 }) => roundTripMs > 100)) world.sometimes('slow-network')
  }
}

/** On a fast network nodes die, one by one: everybody else finds out in time, and accuses nobody who lives. */
async function crash(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  // Some way off, but steady: a frame that is late by seconds is a silence like any other.
  world.network.heal()
  await world.start()
  await watch.untilEqual('formed', formedWithinMs)
  for (let round = 0; round < 4; round++) {
    await world.sleep(world.choose(16, 'scenario/when') * 123)
    const count = 1 + world.choose(2, 'scenario/how-many')
    const victims = new Set<string>()
    const from = watch.told.length
    const atMs = world.now()
    // Dead machines answer nothing, dead processes refuse: both must be found.
    const isSilent = world.chance(0.5, 'scenario/silent')
    while (victims.size < count) {
      const victim = world.node(world.choose(world.nodes.length, `scenario/victim-${victims.size}`))
      if (victims.has(victim.name)) break
      victims.add(victim.name)
    }
    for (const name of victims) {
      if (isSilent) world.network.loseDials(name, { forMs: 8_000 })
      world.node(name).kill()
    }
    if (victims.size > 1) world.sometimes('two-died-at-once')
    world.sometimes(isSilent ? 'dead-machine' : 'dead-process')
    const alive = world.nodes.filter(({ name }) => !victims.has(name))
    const boundMs = deadlineMs + detectSlackMs
    await world.until(
      'dead-are-found-down',
      () => alive.every(({ node }) => node.members().length === alive.length),
      { withinMs: boundMs, everyMs: 10 },
    )
    const tookMs = world.now() - atMs
    if (tookMs < 1_000) world.sometimes('found-at-once')
    if (tookMs > 1_500) world.sometimes('found-by-the-deadline')
    // And it stays that way, until they come back.
    await world.sleep(5_000 + world.choose(4, 'scenario/rest') * 1_000)
    if (isSilent) await world.sleep(4_000)
    for (const told of watch.told.slice(from)) {
      world.check(
        'no-healthy-node-accused',
        victims.has(told.name) || told.event === 'up',
        `"${told.by}" says ${told.event} of "${told.name}", which lives: ${told.reason}`,
      )
      if (told.event === 'down') world.sometimes(`down: ${told.reason}`)
    }
    for (const name of victims) world.node(name).restart()
    await watch.untilEqual('formed-again', formedWithinMs)
  }
}

/** Nodes that stop for a while, and nodes that leave: neither is a reason to accuse anybody else. */
async function stall(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  world.network.heal()
  await world.start()
  await watch.untilEqual('formed', formedWithinMs)
  for (let round = 0; round < 4; round++) {
    await world.sleep(world.choose(16, 'scenario/when') * 123)
    const node = world.node(world.choose(world.nodes.length, 'scenario/who'))
    const from = watch.told.length
    if (world.chance(0.3, 'scenario/leaves')) {
      await node.call((up) => up.shutdown('the scenario shut it down'))
      // What is on its way arrives before the process is gone.
      await world.sleep(1_000)
      node.kill()
      await world.sleep(5_000)
      for (const { by, event, name } of watch.told.slice(from)) {
        world.check(
          'who-leaves-has-left',
          event === 'left' && name === node.name,
          `"${by}" says ${event} of "${name}"`,
        )
      }
      world.check(
        'who-leaves-has-left',
        watch.told.length === from + world.nodes.length - 1,
        `"${node.name}" left, and ${watch.told.length - from} others say so`,
      )
      world.sometimes('left')
      node.restart()
    } else {
      const ms = [200, 1_000, 1_600, 5_000, 10_000, 30_000][world.choose(6, 'scenario/for')] ?? 0
      if (world.chance(0.5, 'scenario/how')) node.stall(ms)
      else node.pause(ms)
      await world.sleep(ms + 6_000)
      const told = watch.told.slice(from)
      for (const { by, event, name, reason } of told) {
        world.check(
          'who-was-stalled-accuses-nobody',
          event !== 'down' || by !== node.name || reason === 'replaced',
          `"${by}", which had stopped for ${ms} ms, says ${event} of "${name}": ${reason}`,
        )
        world.check(
          'no-healthy-node-accused',
          event !== 'down' || name === node.name || by === node.name,
          `"${by}" says ${event} of "${name}", which lives: ${reason}`,
        )
      }
      if (ms < deadlineMs - 600) {
        world.check(
          'short-stalls-are-borne',
          told.length === 0,
          `After ${ms} ms: ${JSON.stringify(told.slice(0, 3))}`,
        )
        world.sometimes('short-stall')
      }
      if (told.some(({ event }) => event === 'self-removed')) world.sometimes('given-up-and-came-back')
    }
    await watch.untilEqual('formed-again', formedWithinMs)
  }
}

/** Everything breaks; then it does not any more, and soon all agree again. */
async function storm(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  world.startFaults()
  await world.start()
  for (let i = 0; i < 12; i++) {
    await world.sleep(300 + world.choose(12, 'scenario/wait') * 250)
    const from = world.anyUp()
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from !== undefined && from !== to) await askWho(world, watch, from, to.name)
    const views = world.up().map(({ node }) => node.members())
    if (views.length > 1 && views.every((view) => view.length === 1)) world.sometimes('nobody-sees-anybody')
    const [first, ...others] = world.up()
    const isSplit = others.some(({ name, node }) => {
      const sees = node.members().some((member) => member.name === first?.name)
      return sees !== (first?.node.members().some((member) => member.name === name) === true)
    })
    if (isSplit) world.sometimes('one-sees-the-other-only')
  }
  world.heal()
  const tookMs = await watch.untilEqual('views-equal-after-heal', formedWithinMs)
  if (tookMs > 4_000) world.sometimes('took-long-to-agree')
  const from = watch.told.length
  await world.sleep(10_000)
  world.check(
    'quiet-after-heal',
    watch.told.length === from,
    `Long after the heal: ${JSON.stringify(watch.told.slice(from, from + 3))}`,
  )
  const ids = new Set(world.up().map(({ node }) => node.status().membership.viewId))
  world.check('view-ids-equal', ids.size === 1, `Equal views have the ids ${[...ids].join(', ')}`)
  for (const node of world.nodes) {
    for (const to of world.nodes) {
      if (node === to) continue
      const failure = await askWho(world, watch, node, to.name)
      world.check(
        'answers-after-heal',
        failure === undefined,
        `"${node.name}" asked "${to.name}": ${failure}`,
      )
    }
  }
  for (const { event, reason } of watch.told) {
    if (event === 'self-removed') world.sometimes('given-up-and-came-back')
    if (event === 'recovered') world.sometimes('recovered')
    if (event === 'down') world.sometimes(`down: ${reason}`)
    if (event === 'left') world.sometimes('left')
  }
}

const stormFaults = [
  ...['partition-isolate', 'partition-halves', 'partition-assignment', 'partition-minority-third'],
  ...['partition-ring', 'partition-bridge', 'partition-one-way', 'partition-zone', 'partition-flapping'],
  ...['kill', 'kill-at-effect', 'stop-gently', 'power-cut', 'pause', 'stall', 'slow-cpu'],
  ...['clog', 'swizzle', 'slow-link', 'half-open', 'reset', 'refuse-dials', 'lose-dials'],
  ...['clock-back', 'clock-drift', 'clock-offset'],
]

export const membershipScenarios: readonly Scenario[] = [
  {
    name: 'handshake/membership-quiet',
    about: '24 minutes on a slow network without a fault: nobody is ever suspected',
    sometimes: ['slow-network'],
    run: (input) =>
      simulateTapped(
        {
          ...input,
          nodes: 3,
          node: (_, world) => ({ root: whoTree(world), heartbeatIntervalMs, deadlineMs: patientMs }),
          faults: false,
          virtualMsMax: 3_600_000,
        },
        quiet,
      ),
  },
  {
    name: 'handshake/membership-crash',
    about:
      'nodes die on a fast network: all others find them down within the deadline, and accuse nobody else',
    sometimes: [
      ...['two-died-at-once', 'dead-machine', 'dead-process', 'found-at-once', 'found-by-the-deadline'],
      ...['down: refused', 'down: unreachable', 'down: silent'],
    ],
    run: (input) =>
      simulateTapped(
        {
          ...input,
          nodes: 5,
          node: (_, world) => ({ root: whoTree(world), deadlineMs }),
          faults: false,
        },
        crash,
      ),
  },
  {
    name: 'handshake/membership-stall',
    about: 'nodes that stop for a while, or leave: short stops are borne, and who was stopped accuses nobody',
    sometimes: ['left', 'short-stall', 'given-up-and-came-back'],
    run: (input) =>
      simulateTapped(
        {
          ...input,
          nodes: 4,
          node: (_, world) => ({ root: whoTree(world), deadlineMs }),
          faults: false,
        },
        stall,
      ),
  },
  {
    name: 'handshake/membership-storm',
    about:
      'partitions of every shape, deaths, pauses, bad clocks: events fit the views, and in the end all agree',
    sometimes: [
      ...['nobody-sees-anybody', 'one-sees-the-other-only', 'took-long-to-agree', 'given-up-and-came-back'],
      ...['recovered', 'left', 'down: refused', 'down: unreachable', 'down: silent', 'down: replaced'],
    ],
    faults: stormFaults,
    run: (input) =>
      simulateTapped(
        {
          ...input,
          nodes: 5,
          node: (_, world) => ({ root: whoTree(world) }),
          faults: { only: stormFaults },
          virtualMsMax: 1_200_000,
        },
        storm,
      ),
  },
]
