/**
 * Bugs that others had, on whole nodes: real hosts, stores on simulated disks, the wire between them. What the core alone can
 * show stands in test/protocols/raft/pitfalls.test.ts under the same numbers (R9 to R20); here it is what lies around it:
 * disks, restarts, snapshots on their way, leases.
 */
import { simulate, type World } from '@understudy/cluster/simulation'
import { isActorError } from '@understudy/runtime'
import { ProcessKilled } from '@understudy/runtime/simulation'
import tap, { test, type Test } from 'tap'
import { isQuickRun } from '../../support/quick-run.ts'
import { KvBed } from '../kv/kv-bed.ts'
import { consensusDirectory } from './consensus-bed.ts'
import { RegisterGroups, type RegisterGroupsOptions } from './register-group.ts'
import { registerCommand } from './register-machine.ts'

tap.setTimeout(120_000)

/** The figures of the preset `lan`. */
const electionMs = 1_000

interface Story {
  readonly world: World
  readonly groups: RegisterGroups
  /** Proposes command `n`, which writes itself to `k`, on that node. */
  readonly put: (node: string, n: number, timeoutMs?: number) => Promise<'done' | 'refused' | 'unknown'>
  /** Reads `k` on that node; an error's code when it cannot be read. */
  readonly read: (node: string, timeoutMs?: number) => Promise<number | null | string>
  /** Waits for a leader among these nodes, and gives it. */
  readonly led: (among?: readonly string[]) => Promise<string>
}

async function holds(
  t: Test,
  names: readonly string[],
  options: Partial<RegisterGroupsOptions>,
  tell: (story: Story) => Promise<void>,
  seeds = isQuickRun ? 1 : 3,
): Promise<void> {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = await simulate(
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
          members: names,
          tags: [],
          raft: { preset: 'lan' },
          ...options,
        })
        await groups.settle(60_000)
        await tell({
          world,
          groups,
          put: (node, n, timeoutMs) => put(world, groups, node, n, timeoutMs),
          read: (node, timeoutMs) => read(world, groups, node, timeoutMs),
          led: (among = names) => led(world, groups, among),
        })
      },
    )
    t.same(violation, undefined, `seed ${seed}`)
    if (violation !== undefined) return
  }
}

async function put(
  world: World,
  groups: RegisterGroups,
  node: string,
  n: number,
  timeoutMs = 5_000,
): Promise<'done' | 'refused' | 'unknown'> {
  const group = groups.group(node)
  if (group === undefined) return 'refused'
  try {
    const command = registerCommand({ n, key: 'k', type: 'write', value: n })
    await world.node(node).call(() => group.propose(command, { timeoutMs }))
    return 'done'
  } catch (error) {
    if (error instanceof ProcessKilled) return 'unknown'
    if (!isActorError(error)) throw error
    return error.code === 'PROTOCOLS_OUTCOME_UNKNOWN' ? 'unknown' : 'refused'
  }
}

async function read(
  world: World,
  groups: RegisterGroups,
  node: string,
  timeoutMs = 5_000,
): Promise<number | null | string> {
  const opened = groups.on(node)
  if (opened === undefined) return 'down'
  try {
    return await world.node(node).call(async () => {
      await opened.group.read({ timeoutMs })
      return opened.machine().get('k')
    })
  } catch (error) {
    return isActorError(error) ? error.code : 'killed'
  }
}

async function led(world: World, groups: RegisterGroups, among: readonly string[]): Promise<string> {
  let leader = ''
  const isLed = (): boolean => {
    leader = ''
    let term = -1
    for (const node of among) {
      const status = groups.group(node)?.status()
      if (status?.role !== 'leader' || status.term <= term) continue
      leader = node
      term = status.term
    }
    return (
      leader !== '' &&
      groups.group(leader)?.raftStatus()?.commit === groups.group(leader)?.raftStatus()?.last.index
    )
  }
  await world.until('led', isLed, { withinMs: 20 * electionMs })
  return leader
}

function othersOf(names: readonly string[], ...without: readonly string[]): readonly string[] {
  return names.filter((name) => !without.includes(name))
}

const three = ['a', 'b', 'c'] as const
const five = ['a', 'b', 'c', 'd', 'e'] as const

void test('R18 redisraft #14: nothing is lost when leaders die one after the other', async (t) => {
  await holds(t, three, {}, async ({ world, groups, put: write, led: leads, read: reads }) => {
    for (let round = 0; round < 4; round++) {
      const leader = await leads()
      for (let i = 1; i <= 5; i++) {
        world.check('put', (await write(leader, round * 5 + i)) === 'done', `round ${round}`)
      }
      world.node(leader).kill()
      const next = await leads(othersOf(three, leader))
      world.check(
        'nothing-lost',
        (await reads(next)) === round * 5 + 5,
        `"${next}" reads ${await reads(next)}`,
      )
      await world.node(leader).start()
    }
    const state = await groups.settle(60_000)
    for (let n = 1; n <= 20; n++) world.check('nothing-lost', state.has(n), `command ${n}`)
  })
})

void test('R18 redisraft #17, #28 and #44: members change on both sides of a partition, one side only can', async (t) => {
  await holds(t, five, {}, async ({ world, groups, put: write, led: leads }) => {
    const old = await leads()
    const minority = [old, othersOf(five, old)[0] ?? '']
    const majority = othersOf(five, ...minority)
    const mend = world.network.partition([minority, majority])
    const wrong = groups.group(old)
    const shrinking = world
      .node(old)
      .call(() => wrong?.change(minority, { timeoutMs: 20_000 }) ?? Promise.reject(new Error('no group')))
      .then(
        () => 'done',
        (error: unknown) => (isActorError(error) ? error.code : String(error)),
      )
    const lost = write(old, 1, 3_000)
    const leader = await leads(majority)
    world.check('put', (await write(leader, 2)) === 'done', 'a majority writes')
    const changing = groups.group(leader)
    await world
      .node(leader)
      .call(() => changing?.change(majority, { timeoutMs: 30_000 }) ?? Promise.resolve([]))
    world.check('no-split-brain', (await lost) !== 'done', 'a minority has acknowledged a put')
    world.check('no-split-brain', (await shrinking) !== 'done', 'a minority has changed its members')
    mend()
    await world.sleep(30 * electionMs)
    const state = await groups.settle(60_000)
    world.check('the-majority-rules', groups.voters().join() === majority.join(), groups.picture())
    world.check('nothing-lost', state.has(2) && !state.has(1), state.text())
  })
})

void test('R18 redisraft #19: a leader that was replaced while it stood still reads nothing old', async (t) => {
  await holds(t, three, {}, async ({ world, put: write, led: leads, read: reads }) => {
    const old = await leads()
    await write(old, 1)
    world.node(old).pause(8 * electionMs)
    const leader = await leads(othersOf(three, old))
    await write(leader, 2)
    world.node(old).process?.resume()
    const answers = await Promise.all([reads(old), reads(old), reads(old)])
    for (const answer of answers)
      world.check('no-stale-read', answer === 2 || typeof answer === 'string', `"${old}" reads ${answer}`)
  })
})

void test('R10 etcd #20418: a read that was asked before a pause is not answered by what was true before it', async (t) => {
  await holds(t, three, {}, async ({ world, put: write, led: leads, read: reads }) => {
    for (let round = 0; round < 3; round++) {
      const old = await leads()
      await write(old, 10 * round + 1)
      // In the middle of its rounds of heartbeats: asked, some of them answered, and then nothing for a while.
      const asked = [reads(old, 30_000), reads(old, 30_000)]
      await world.sleep(0.05 * (round + 1))
      world.node(old).pause(6 * electionMs)
      const leader = await leads(othersOf(three, old))
      await write(leader, 10 * round + 2)
      const later = reads(old, 30_000)
      world.node(old).process?.resume()
      const answer = await later
      world.check(
        'no-stale-read',
        answer === 10 * round + 2 || typeof answer === 'string',
        `"${old}" reads ${answer} after ${10 * round + 2} was written`,
      )
      await Promise.all(asked)
    }
  })
})

void test('R13 redisraft #43: log and snapshot fit each other, wherever the cut of the log is interrupted', async (t) => {
  await holds(
    t,
    three,
    { keptEntries: 0, chunkBytes: 32 },
    async ({ world, groups, put: write, led: leads }) => {
      for (let effect = 1; effect <= 12; effect++) {
        const leader = await leads()
        for (let i = 1; i <= 3; i++) await write(leader, effect * 10 + i)
        const victim = (effect % 2 === 0 ? leader : othersOf(three, leader)[0]) ?? leader
        const group = groups.group(victim)
        world.node(victim).process?.killAtEffect(effect)
        await world
          .node(victim)
          .call(async () => group?.snapshot({ timeoutMs: 3_000 }))
          .catch(() => undefined)
        await world.sleep(200)
        world.node(victim).kill()
        await world.node(victim).start()
        await groups.settle(60_000)
      }
    },
  )
})

void test('R13 etcd #18055: two snapshots right after each other', async (t) => {
  await holds(
    t,
    three,
    { snapshotEntries: 1, keptEntries: 0, chunkBytes: 4, snapshotWindowChunks: 1 },
    async (story) => {
      const { world, groups, put: write, led: leads } = story
      const leader = await leads()
      const behind = othersOf(three, leader)[0] ?? 'a'
      let n = 0
      for (let round = 0; round < 6; round++) {
        world.node(behind).kill()
        await world.sleep(1.5 * electionMs)
        for (let i = 0; i < 4; i++) await write(leader, ++n)
        await world.node(behind).start()
        // While it is being sent one snapshot, the next ones are taken.
        for (let i = 0; i < 12; i++) {
          await write(leader, ++n)
          await world.sleep(1 + round * 7)
        }
      }
      const state = await groups.settle(60_000)
      world.check('nothing-lost', state.has(n), `command ${n}`)
    },
  )
})

void test('R14 etcd #13766: what is applied fits the log after crashes under load', async (t) => {
  await holds(t, three, { snapshotEntries: 5, keptEntries: 2 }, async ({ world, groups, put: write }) => {
    let n = 0
    let isOver = false
    const acknowledged: number[] = []
    const load = async (): Promise<void> => {
      while (!isOver) {
        const leader = groups.leader()
        const number = ++n
        if (leader !== undefined && (await write(leader, number, 2_000)) === 'done') acknowledged.push(number)
        await world.sleep(60)
      }
    }
    const loads = [load(), load(), load()]
    for (let round = 0; round < 8; round++) {
      await world.sleep(300 + 37 * round)
      // All of them at once, or one.
      const victims = round % 2 === 0 ? three : [three[round % 3] ?? 'a']
      for (const name of victims) world.node(name).kill()
      await world.sleep(100)
      await Promise.all(victims.map((name) => world.node(name).start()))
      await world.sleep(3 * electionMs)
    }
    isOver = true
    await Promise.all(loads)
    const state = await groups.settle(60_000)
    for (const number of acknowledged) world.check('nothing-lost', state.has(number), `command ${number}`)
  })
})

void test('R15 etcd #14370: a single node acknowledges what is on its disk, and not before', async (t) => {
  await holds(t, ['a'], {}, async ({ world, groups, put: write, led: leads }) => {
    await leads()
    const { controls } = world.node('a').machine.disk
    controls.stall(10_000)
    let outcome = ''
    void write('a', 1, 60_000).then((was) => (outcome = was))
    await world.sleep(5_000)
    world.check('not-before-it-is-durable', outcome === '', `a put was ${outcome} while the disk stood still`)
    world.node('a').kill()
    controls.stall(0)
    await world.node('a').start()
    await leads()
    world.check('put', (await write('a', 2)) === 'done', 'a put after the restart')
    world.node('a').kill()
    await world.node('a').start()
    await leads()
    const state = await groups.settle(60_000)
    world.check('nothing-lost', state.has(2), state.text())
  })
})

void test('R4 etcd #12359: who was left behind by the last change can lead at once, also after a crash', async (t) => {
  for (const effects of [1, 3, 5, 9, 14, Number.POSITIVE_INFINITY]) {
    await holds(
      t,
      ['a', 'b'],
      {},
      async ({ world, groups, put: write, led: leads }) => {
        const leader = await leads()
        const other = leader === 'a' ? 'b' : 'a'
        await write(leader, 1)
        const group = groups.group(leader)
        world.node(leader).process?.killAtEffect(effects)
        const isDone = await world
          .node(leader)
          .call(() => group?.change([leader], { timeoutMs: 5_000 }) ?? Promise.resolve([]))
          .then(
            () => true,
            () => false,
          )
        // Who was removed is switched off the moment that is known, and for good.
        if (isDone) world.node(other).kill()
        world.node(leader).kill()
        await world.node(leader).start()
        const next = await leads(isDone ? [leader] : ['a', 'b'])
        world.check('put', (await write(next, 2)) === 'done', groups.picture())
      },
      2,
    )
  }
})

void test('R9 openraft #2080: a bridge between two halves has a usable leader within 20 election timeouts', async (t) => {
  for (const bridge of five) {
    await holds(
      t,
      five,
      {},
      async ({ world, groups, put: write, led: leads }) => {
        await leads()
        const [w = '', x = '', y = '', z = ''] = othersOf(five, bridge)
        for (const [from, to] of [
          [w, y],
          [w, z],
          [x, y],
          [x, z],
        ] as const) {
          world.network.clog(from, to)
          world.network.clog(to, from)
        }
        const untilMs = world.now() + 20 * electionMs
        let outcome = ''
        for (let n = 1; outcome !== 'done'; n++) {
          world.check('a-bridge-is-led', world.now() < untilMs, groups.picture())
          const leader = groups.leader()
          if (leader !== undefined) outcome = await write(leader, n, 2_000)
          await world.sleep(50)
        }
      },
      1,
    )
  }
})

void test('R9 openraft #2080: a ring of majorities has a usable leader within 20 election timeouts', async (t) => {
  await holds(t, five, {}, async ({ world, groups, put: write, led: leads }) => {
    await leads()
    // Each hears its two neighbours on either side of the ring, and nobody else.
    for (const [i, from] of five.entries()) {
      for (const [j, to] of five.entries()) {
        const distance = Math.min((i - j + 5) % 5, (j - i + 5) % 5)
        if (distance === 2) world.network.clog(from, to)
      }
    }
    const untilMs = world.now() + 20 * electionMs
    let outcome = ''
    for (let n = 1; outcome !== 'done'; n++) {
      world.check('a-ring-is-led', world.now() < untilMs, groups.picture())
      const leader = groups.leader()
      if (leader !== undefined) outcome = await write(leader, n, 2_000)
      await world.sleep(50)
    }
  })
})

void test('R20 a member whose log is damaged counts for what it had, and gets it back', async (t) => {
  await holds(t, three, {}, async ({ world, groups, put: write, led: leads }) => {
    const leader = await leads()
    for (let n = 1; n <= 6; n++) await write(leader, n)
    await groups.settle(60_000)
    const [damaged = '', other = ''] = othersOf(three, leader)
    const place = world.node(damaged)
    place.kill()
    const { controls } = place.machine.disk
    const directory = controls.directories().find(({ name }) => name === consensusDirectory)
    const entries = Array.from({ length: directory?.size ?? 0 }, (_, i) => directory?.entryAt(i))
    const record = entries.filter((entry) => entry?.key.includes('/raft/log/') === true).at(-1)
    world.check('a-record-is-there', record !== undefined, 'the log has no record')
    controls.flip(consensusDirectory, record?.key ?? '', 40)
    // It must not make up a majority with one that lacks entries: here nobody lacks any, and all must stay.
    world.node(leader).kill()
    await place.start()
    await world.node(leader).start()
    await leads()
    const state = await groups.settle(60_000)
    for (let n = 1; n <= 6; n++) world.check('nothing-lost', state.has(n), `command ${n}, with "${other}"`)
  })
})

void test('R12 etcd #15247: a leader that was replaced while it stood still ends no lease', async (t) => {
  for (let seed = 1; seed <= (isQuickRun ? 2 : 5); seed++) {
    const { violation } = await simulate(
      { seed, nodes: 4, faults: false, latency: 'minimal', virtualMsMax: 900_000 },
      async (world) => {
        const bed = new KvBed(world, { members: three, tags: [], group: { raft: { preset: 'lan' } } })
        await bed.settle(60_000)
        const client = bed.client(world.node('d'))
        const lease = await client?.lease({ ttlMs: 8_000 })
        await client?.put('k', 'held', { lease })
        for (let round = 0; round < 4; round++) {
          const old = bed.leader() ?? 'a'
          // Longer than the lease: by its own clock it is long over when it goes on.
          world.node(old).pause(12_000)
          await world.sleep(14_000)
          world.check(
            'the-lease-is-kept',
            lease?.signal.aborted === false,
            `round ${round}: its client has lost it`,
          )
          world.check(
            'the-lease-is-kept',
            (await client?.get('k')) !== undefined,
            `round ${round}: its key is gone`,
          )
        }
      },
    )
    t.same(violation, undefined, `seed ${seed}`)
  }
})
