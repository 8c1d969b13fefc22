/** A service that keeps its state on the store, on a machine where everything goes wrong but the disk's word. */
import { actor, ask, child, isActorError, protocol, StoreError, supervisor } from '@understudy/runtime'
import {
  checkLinearizable,
  HistoryRecorder,
  kvModel,
  type KvInput,
  type KvOutput,
} from '@understudy/runtime/checkers'
import { ProcessKilled, type SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Ledger } from './ledger.ts'

const Kv = protocol('kv', {
  put: ask({ key: Type.String(), value: Type.Integer() }, Type.Null()),
  get: ask({ key: Type.String() }, Type.Union([Type.Integer(), Type.Null()])),
})
const keys = ['x', 'y'] as const
const clients = 3

export const storedTags: readonly string[] = [
  'killed-during-a-write',
  'unknown-outcome',
  'store-failed',
  'read-after-restart',
  'came-up-again',
  'ask ASK_TIMEOUT',
]

/** All that a store must bear. A disk that lies, or loses what it held, breaks what this service relies on. */
export const storedFaults: readonly string[] = [
  ...['kill', 'kill-at-effect', 'stop-gently', 'pause', 'stall', 'slow-cpu', 'power-cut'],
  ...['clock-offset', 'clock-back', 'clock-drift', 'clock-frozen', 'clock-strobe'],
  ...['store-slow', 'store-eio', 'store-full'],
]

class DiskGone extends Error {}

export async function storedService(world: SystemWorld): Promise<void> {
  const ledger = new Ledger(world, [], storedTags)
  const history = new HistoryRecorder<KvInput<number>, KvOutput<number>>()
  let writing = 0
  let isOver = false

  const kv = actor(Kv, async (ctx) => {
    const store = ctx.store('kv')
    const cache = new Map<string, number>()
    try {
      for await (const { key, value } of store.range())
        cache.set(key, new DataView(value.slice().buffer).getUint32(0))
    } catch (error) {
      throw asDiskGone(error)
    }
    return {
      put: async ({ key, value }) => {
        const bytes = new Uint8Array(4)
        new DataView(bytes.buffer).setUint32(0, value)
        writing++
        try {
          await store.write([{ type: 'put', key, value: bytes }])
        } catch (error) {
          throw asDiskGone(error)
        } finally {
          writing--
        }
        // Not before it is durable: a reader must not see what a crash can take back.
        cache.set(key, value)
        return null
      },
      get: ({ key }) => cache.get(key) ?? null,
    }
  })
  /** A store that has failed takes no more writes: only another process can open it again. */
  function asDiskGone(error: unknown): unknown {
    if (!(error instanceof StoreError)) return error
    world.sometimes('store-failed')
    return new DiskGone(error.message)
  }
  const root = supervisor({ intensity: { restarts: 3, withinMs: 5_000 } }, [
    child('kv', kv, { onError: [[DiskGone, 'escalate']] }),
  ])

  const watch = async (): Promise<void> => {
    let life = world.isUp ? world.process : undefined
    while (!isOver) {
      // Not awaited: the start of a process that is killed meanwhile never settles.
      if (!world.isUp) void world.restart().catch(() => world.kill())
      else if (world.process !== life) {
        if (life !== undefined) world.sometimes('came-up-again')
        life = world.process
        life.onKill(() => {
          if (writing > 0 && !world.simulation.isOver) world.sometimes('killed-during-a-write')
          writing = 0
        })
      }
      await world.sleep(200)
    }
  }
  void world.start(root, { stallMs: Infinity, shutdownMs: 5_000 }).catch(() => world.kill())
  const watching = watch()

  let last = 0
  await world.parallel(clients, async (client) => {
    for (let i = 0; i < 15; i++) {
      await world.sleep(world.choose(300, 'client-pause'))
      if (!world.isUp) continue
      const key = keys[world.choose(keys.length, 'key')] ?? 'x'
      const isPut = world.chance(0.5, 'put')
      const input: KvInput<number> = isPut ? { type: 'put', key, value: ++last } : { type: 'get', key }
      const timeoutMs = [5_000, 200][world.choose(2, 'timeout')] ?? 5_000
      // The machine may be paused, stalled or off: what it owes then comes late, or never.
      const op = history.begin(client, input)
      const asking = world.call<number | null>((system) => {
        const ref = system.ref(Kv, '/user/kv')
        return input.type === 'put'
          ? ref.ask({ type: 'put', key, value: input.value }, { timeoutMs })
          : ref.ask({ type: 'get', key }, { timeoutMs })
      })
      try {
        const out = await asking
        op.ok(input.type === 'put' ? undefined : out)
        if (input.type === 'get' && world.process.name !== world.machine.name)
          world.sometimes('read-after-restart')
      } catch (error) {
        // A failed read had no effect, whatever failed it. Of a write nobody knows, unless nobody got it.
        if (input.type === 'get' || isActorError(error, 'RUNTIME_NO_SUCH_ACTOR')) op.failed()
        else {
          op.unknown()
          world.sometimes('unknown-outcome')
        }
        if (isActorError(error, 'RUNTIME_ASK_TIMEOUT')) world.sometimes('ask ASK_TIMEOUT')
        if (!isActorError(error) && !(error instanceof ProcessKilled))
          ledger.broken('typed-error', String(error))
      }
    }
  })

  world.heal()
  await world.until('up-again', () => world.isUp, { withinMs: 60_000, everyMs: 100 })
  for (const key of keys) {
    const op = history.begin(clients, { type: 'get', key })
    let value: number | null | undefined
    await world.until('answers-again', () => world.isUp, { withinMs: 60_000 })
    for (let attempt = 0; value === undefined; attempt++) {
      world.check('answers-again', attempt < 20, `"get" of ${key} was not answered in ${attempt} attempts`)
      value = await (
        world.isUp
          ? world.call<number | null>((system) => system.ref(Kv, '/user/kv').ask({ type: 'get', key }))
          : Promise.reject(new ProcessKilled('system'))
      ).catch(async () => {
        await world.sleep(1_000)
        return undefined
      })
    }
    op.ok(value)
  }
  isOver = true
  await watching
  world.expect('acknowledged-writes-survive', checkLinearizable(kvModel<number>(), history.ops()))
}
