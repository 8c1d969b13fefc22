/** A rolling restart under load: nodes leave in good order and come back, one after the other, and no ask fails. */
import { actor, ask, child, protocol, supervisor, tell, type Definition } from '@understudy/runtime'
import {
  currentWire,
  oldestMemberWire,
  type SimulatedNode,
  type SimulatedNodeOptions,
  type World,
} from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { wireTags } from '../remote/fault-list.ts'

const Desk = protocol('desk', {
  serve: ask({ n: Type.Integer(), afterMs: Type.Integer() }, Type.Integer()),
})
export const Clerk = protocol('clerk', { look: ask({ afterMs: Type.Integer() }, Type.Null()) })
const keys = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']
const askTimeoutMs = 10_000

export const leaveTags: readonly string[] = [
  ...['slow-answer', 'owner-moved', 'asked-while-one-leaves', 'asker-left', 'answered-by-who-leaves'],
  ...wireTags,
]

export function runLeave(input: RunInput): Promise<RunResult> {
  const node = (): SimulatedNodeOptions => ({
    root: supervisor({}, [child('clerk', clerk())]),
    entities: [desk()],
    expect: 2,
  })
  return simulateTapped({ ...input, nodes: 4, node, faults: false, virtualMsMax: 600_000 }, rolling)
}

/** Somebody of the same node who takes a while. */
export function clerk(): Definition<(typeof Clerk)['messages'], void> {
  return actor(Clerk, { own: { over: tell({ n: Type.Integer() }) }, concurrent: ['look'] }, (ctx) => {
    const owed = new Map<number, () => void>()
    let count = 0
    return {
      look: ({ afterMs }) => {
        const n = count++
        const answer = ctx.call().later<null>()
        owed.set(n, () => answer.reply(null))
        ctx.timers.once(`${n}`, afterMs, { type: 'over', n })
        return answer
      },
      over: ({ n }) => owed.get(n)?.(),
    }
  })
}

/** Answers some asks at once and some after a while, several at a time. */
function desk(): Definition<(typeof Desk)['messages'], void> {
  return actor(Desk, { concurrent: ['serve'] }, (ctx) => {
    const helper = ctx.ref(Clerk, '/user/clerk')
    return {
      serve: async ({ n, afterMs }) => {
        if (afterMs > 0) await ctx.ask(helper, { type: 'look', afterMs })
        return n
      },
    }
  })
}

async function rolling(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  // A restart may change the build, forth or back.
  const isMixed = world.choose(3, 'swarm/wires') === 1
  const install = (place: SimulatedNode): void => {
    if (isMixed) place.install(world.choose(2, 'scenario/wire') === 0 ? currentWire : oldestMemberWire)
  }
  for (const place of world.nodes) install(place)
  await world.start()
  await watch.untilEqual('formed', 60_000)
  let asked = 0
  let isOver = false
  let leaving: SimulatedNode | undefined
  const owners = new Map<string, string>()
  const client = async (index: number): Promise<void> => {
    while (!isOver) {
      await world.sleep(20 + world.choose(16, `client/${index}/wait`) * 20)
      // Who has been told to stop takes no new work from outside either; what it has asked already counts.
      const able = world.up().filter((node) => node !== leaving)
      const from = able[world.choose(able.length, `client/${index}/node`)]
      const key = keys[world.choose(keys.length, `client/${index}/key`)] ?? 'one'
      const afterMs = [0, 0, 50, 700][world.choose(4, `client/${index}/after`)] ?? 0
      if (from === undefined) continue
      const n = asked++
      const { node } = from
      // A life that has just begun takes part in nothing yet, and knows no owner.
      if (node.members().every(({ name, status }) => name !== from.name || status !== 'alive')) continue
      const owner = node.ownerOf(Desk, key) ?? ''
      if (owners.has(key) && owners.get(key) !== owner) world.sometimes('owner-moved')
      owners.set(key, owner)
      if (leaving !== undefined) world.sometimes('asked-while-one-leaves')
      const wasLeaving = leaving
      try {
        const answer = await from.call((up) =>
          up.entity(Desk, key).ask({ type: 'serve', n, afterMs }, { timeoutMs: askTimeoutMs }),
        )
        world.check('answers-fit', answer === n, `Ask ${n} was answered by ${answer}`)
      } catch (error) {
        // Nobody waits for what a node that has gone wanted to know itself.
        if (leaving === from || !from.isUp || from.node !== node) {
          world.sometimes('asker-left')
          continue
        }
        world.check(
          'no-ask-fails',
          false,
          `Ask ${n} of "${from.name}" for ${key} on "${owner}" (${afterMs} ms) failed: ${String(error)}; ` +
            `leaving then: ${wasLeaving?.name}, now: ${leaving?.name}`,
        )
      }
      if (afterMs > 100) world.sometimes('slow-answer')
      if (leaving !== undefined && leaving.name === owner) world.sometimes('answered-by-who-leaves')
    }
  }
  const clients = world.parallel(6, client)
  for (const place of world.nodes) {
    await world.sleep(500 + world.choose(8, 'scenario/when') * 200)
    const from = watch.told.length
    leaving = place
    await place.shutdown()
    leaving = undefined
    await world.sleep(world.choose(8, 'scenario/down-for') * 250)
    install(place)
    await place.start()
    await watch.untilEqual('formed-again', 60_000)
    for (const { by, event, name, reason } of watch.told.slice(from)) {
      world.check(
        'who-leaves-has-left',
        // It may be back before its good-bye has come.
        !['down', 'self-removed', 'unreachable', 'suspected'].includes(event) || reason === 'replaced',
        `"${by}" says ${event} of "${name}" (${reason}), when "${place.name}" left in good order`,
      )
    }
  }
  isOver = true
  await clients
}
