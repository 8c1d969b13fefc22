/**
 * A journal on a disk that breaks its promises: it says "durable" and is not, flips bits, comes back with an older state,
 * or with none. Nothing can save what is gone; but what is read must be what was once written, in order and without a
 * hole, or a refusal that says so. Stopping is allowed, inventing is not.
 */
import { actor, ask, child, isActorError, protocol, StoreError, supervisor } from '@understudy/runtime'
import { ProcessKilled, type SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'

const Journal = protocol('journal', {
  append: ask({}, Type.Integer()),
  read: ask({}, Type.Array(Type.Integer())),
})

export const brokenDiskFaults: readonly string[] = [
  ...['store-flip', 'store-lying', 'store-old', 'store-wipe'],
  ...['kill', 'power-cut'],
]

export const brokenDiskTags: readonly string[] = [
  'acknowledged-lost',
  'corrupt-refused',
  'went-on-after-loss',
  'all-there-after-restart',
]

/** Each record says its number in every byte pair: a record in the place of another shows. */
function recordOf(n: number): Uint8Array {
  const bytes = new Uint8Array(64)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < bytes.length; at += 4) view.setUint32(at, n)
  return bytes
}

export async function brokenDisk(world: SystemWorld): Promise<void> {
  let acknowledged = 0
  let isCorrupt = false

  const journal = actor(Journal, async (ctx) => {
    const store = ctx.store('journal')
    const load = async (): Promise<number[]> => {
      const found: number[] = []
      for await (const { key, value } of store.range()) {
        const n = Number(key)
        const written = recordOf(n)
        const isWhole = value.length === written.length && value.every((byte, i) => byte === written[i])
        world.check('nothing-invented', isWhole, `record ${key} reads as ${value.join(' ')}`)
        found.push(n)
      }
      return found
    }
    let last = (await load()).at(-1) ?? 0
    return {
      append: async () => {
        const n = last + 1
        await store.write([{ type: 'put', key: String(n).padStart(8, '0'), value: recordOf(n) }])
        last = n
        return n
      },
      read: load,
    }
  })
  const root = supervisor({ intensity: { restarts: 0, withinMs: 1_000 } }, [child('journal', journal)])

  const refused = (error: unknown): void => {
    if (error instanceof ProcessKilled) return
    const code = rootCode(error)
    if (code === 'RUNTIME_STORE_CORRUPT') {
      world.sometimes('corrupt-refused')
      isCorrupt = true
      world.kill()
    } else if (!(error instanceof StoreError) && !isActorError(error)) throw error
  }

  await world.start(root, { stallMs: Infinity }).catch(refused)
  for (let round = 0; round < 12; round++) {
    if (isCorrupt) {
      // What a person would do: throw the copy away. There is no other one here.
      world.kill()
      world.machine.disk.wipe()
      acknowledged = 0
      isCorrupt = false
    }
    if (!world.isUp) await world.restart().catch(refused)
    if (!world.isUp) {
      await world.sleep(100)
      continue
    }
    const found = await world
      .call((system) => system.ref(Journal, '/user/journal').ask({ type: 'read' }, { timeoutMs: 60_000 }))
      .catch(refused)
    if (found !== undefined) {
      const isPrefix = found.every((n, i) => n === i + 1)
      world.check('no-holes', isPrefix, `the journal holds ${found.join(' ')}`)
      if (found.length < acknowledged) world.sometimes('acknowledged-lost')
      else if (round > 0 && found.length > 0) world.sometimes('all-there-after-restart')
      if (found.length < acknowledged && found.length > 0) world.sometimes('went-on-after-loss')
      acknowledged = found.length
    }
    for (let i = 0; i < 6 && world.isUp; i++) {
      await world.sleep(world.choose(60, 'pause'))
      if (!world.isUp) break
      const n = await world
        .call((system) => system.ref(Journal, '/user/journal').ask({ type: 'append' }, { timeoutMs: 60_000 }))
        .catch(refused)
      if (n !== undefined) acknowledged = Math.max(acknowledged, n)
    }
    if (world.chance(0.5, 'scenario/kill')) world.kill()
    await world.sleep(100 + world.choose(400, 'down'))
  }
}

/** The code at the bottom of a chain of causes: a failed start wraps what failed it. */
function rootCode(error: unknown): string | undefined {
  let code: string | undefined
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && typeof cause.code === 'string') code = cause.code
    const { message } = cause
    if (message.includes('RUNTIME_STORE_CORRUPT')) return 'RUNTIME_STORE_CORRUPT'
  }
  return code
}
