/**
 * A deliberately wrong replicated register, which the simulator must find: the majority register of Attiya, Bar-Noy and
 * Dolev (JACM 1995) without the write-back of its reads. A value that one reader has seen on a single replica may be
 * missed by the next reader, whose majority is another: time runs backwards. With the write-back it is linearizable.
 */
import { actor, ask, protocol, type ActorContext, type ActorRef, type Definition } from '@understudy/runtime'
import {
  checkLinearizable,
  HistoryRecorder,
  registerModel,
  type RegisterInput,
  type RegisterOutput,
} from '@understudy/runtime/checkers'
import { simulate, type World } from '@understudy/cluster/simulation'
import { Type } from 'typebox'
import type { Scenario } from '../scenario.ts'

const names = ['a', 'b', 'c', 'd', 'e'] as const
const majority = 3

const Replica = protocol('register-replica', {
  store: ask({ stamp: Type.Number(), value: Type.Number() }, Type.Null()),
  load: ask({}, Type.Object({ stamp: Type.Number(), value: Type.Number() })),
})
const Register = protocol('register', {
  write: ask({ value: Type.Number() }, Type.Null()),
  read: ask({}, Type.Number()),
})

const replica = actor(Replica, () => {
  let newest = { stamp: 0, value: 0 }
  return {
    store: ({ stamp, value }) => {
      if (stamp > newest.stamp) newest = { stamp, value }
      return null
    },
    load: () => newest,
  }
})

type RegisterContext = ActorContext<(typeof Register)['messages']>

function register(writesBack: boolean): Definition<(typeof Register)['messages'], void> {
  return actor(Register, (ctx) => {
    const replicas = names.map((name) => ctx.ref(Replica, `${name}:/user/replica`))
    let stamp = 0
    const store = (newest: { readonly stamp: number; readonly value: number }): Promise<unknown> =>
      fromMajority(ctx, replicas, (to) => ctx.ask(to, { type: 'store', ...newest }, { timeoutMs: 2_000 }))
    return {
      // One writer: its stamps need no round of their own.
      write: async ({ value }) => {
        await store({ stamp: ++stamp, value })
        return null
      },
      read: async () => {
        const loaded = await fromMajority(ctx, replicas, (to) =>
          ctx.ask(to, { type: 'load' }, { timeoutMs: 2_000 }),
        )
        const newest = loaded.reduce((best, next) => (next.stamp > best.stamp ? next : best))
        if (writesBack) await store(newest)
        return newest.value
      },
    }
  })
}

/** The first answers that make a majority. */
function fromMajority<T>(
  ctx: RegisterContext,
  replicas: readonly ActorRef<(typeof Replica)['messages']>[],
  askOne: (to: ActorRef<(typeof Replica)['messages']>) => Promise<T>,
): Promise<readonly T[]> {
  return new Promise((resolve, reject) => {
    const answers: T[] = []
    let failures = 0
    for (const to of replicas) {
      askOne(to).then(
        (answer) => {
          answers.push(answer)
          if (answers.length === majority) resolve([...answers])
        },
        (error: unknown) => {
          ctx.log.debug({ error: String(error) }, 'a replica did not answer')
          if (++failures > replicas.length - majority) reject(new Error('no majority answered'))
        },
      )
    }
  })
}

async function useRegister(world: World, writesBack: boolean): Promise<void> {
  for (const name of names) {
    const { system } = world.node(name).node
    system.spawn('replica', replica)
    system.spawn('register', register(writesBack))
  }
  const history = new HistoryRecorder<RegisterInput<number>, RegisterOutput<number>>()
  await world.parallel(names.length, async (client) => {
    for (let i = 0; i < 15; i++) {
      await world.sleep(2 + world.choose(8, `client/${client}/wait`) * 3)
      const node = world.node(client)
      if (client === 0) {
        const value = i + 1
        // The writer dies in the middle of a write, which then stands on some of the replicas only.
        const effect = world.choose(16, 'writer-dies')
        if (effect > 0) node.process?.killAtEffect(effect)
        await history.record(client, { type: 'write', value }, () =>
          node.call(async (up) => {
            await up.system
              .ref(Register, '/user/register')
              .ask({ type: 'write', value }, { timeoutMs: 5_000 })
            return undefined
          }),
        )
      } else {
        // A read that failed saw nothing: it is no part of the history.
        await history.record(
          client,
          { type: 'read' },
          () =>
            node.call((up) =>
              up.system.ref(Register, '/user/register').ask({ type: 'read' }, { timeoutMs: 5_000 }),
            ),
          () => true,
        )
      }
    }
  })
  world.heal()
  world.expect('linearizable', checkLinearizable(registerModel<number>(0), history.ops()))
}

function registerScenario(
  name: string,
  about: string,
  writesBack: boolean,
  more: Partial<Scenario>,
): Scenario {
  return {
    name,
    about,
    sometimes: [],
    ...more,
    run: (input) =>
      simulate(
        {
          ...input,
          nodes: names.length,
          node: () => ({ actors: [replica, register(true)] }),
          faults: { only: ['clog', 'slow-link', 'pause', 'stall'], chances: [0, 0.05, 0.2], tickMs: 50 },
        },
        (world) => useRegister(world, writesBack),
      ),
  }
}

export const wrongRegisterScenarios: readonly Scenario[] = [
  registerScenario(
    'wrong/no-write-back',
    'a majority register whose reads do not write back: must be found',
    false,
    {
      expects: 'violation',
    },
  ),
  registerScenario('remote/majority-register', 'the same register with the write-back', true, {}),
]
