/** What the durable stores are tested for alike, whatever their files look like; and words for tests of any store. */
import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import type { Test } from 'tap'
import { sourceModule } from './source-module.ts'
import { filesOf, keptAlive } from './store-directory.ts'

type Store = import('../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../packages/runtime/src/platform/store.ts').StoreChange
type StoreRange = import('../../packages/runtime/src/platform/store.ts').StoreRange
type StoreError = import('../../packages/runtime/src/platform/store-error.ts').StoreError

const { memoryStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')

export function put(key: string, value: string | Uint8Array): StoreChange {
  return { type: 'put', key, value: typeof value === 'string' ? new TextEncoder().encode(value) : value }
}

/** Keys and values in the order of the walk: `a=1 b=2`. */
export async function texts(store: Store, range: StoreRange = {}): Promise<string> {
  const found: string[] = []
  for await (const { key, value } of store.range(range))
    found.push(`${key}=${new TextDecoder().decode(value)}`)
  return found.join(' ')
}

export async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  try {
    await promise
  } catch (error) {
    return error as StoreError
  }
  throw new Error('It did not fail')
}

/** Strings of any code units, mostly where the bytes of a key change their number. */
export const anyText = fc
  .array(
    fc.oneof(fc.constantFrom(0, 0x2f, 0x7f, 0x80, 0x7ff, 0x800, 0xd800, 0xdfff, 0xffff), fc.nat(0xffff)),
    { maxLength: 6 },
  )
  .map((units) => String.fromCharCode(...units))

/** Fails unless `store` does what a store in memory does, for any batches and ranges. */
export async function behavesAsInMemory(store: Store, numRuns: number): Promise<void> {
  const change = fc.record({
    type: fc.constantFrom('put' as const, 'delete' as const),
    key: anyText,
    value: fc.uint8Array({ maxLength: 40 }),
  })
  const range = fc.record(
    { from: anyText, to: anyText, limit: fc.nat(6), reverse: fc.boolean() },
    { requiredKeys: [] },
  )
  const read = async (from: Store, bounds: StoreRange): Promise<string> => {
    const found: string[] = []
    for await (const { key, value } of from.range(bounds))
      found.push(`${JSON.stringify(key)} ${value.join()}`)
    return found.join('; ')
  }
  let round = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(change), { maxLength: 5 }),
      fc.array(range),
      async (batches, ranges) => {
        const scope = store.scope(`round/${round++}`)
        const model = memoryStore()
        for (const batch of batches) await Promise.all([scope.write(batch), model.write(batch)])
        for (const bounds of [{}, ...ranges]) {
          if ((await read(scope, bounds)) !== (await read(model, bounds))) return false
        }
        return true
      },
    ),
    { numRuns },
  )
}

type Open = (directory: string) => Promise<Store>

/** What is written is there after close and open, also what was under way, and values of 300 kB. Leaves it closed. */
export async function keepsOverLives(t: Test, directory: string, open: Open): Promise<void> {
  const large = new Uint8Array(300_000).map((_, i) => i * 31)
  for (let life = 0; life < 3; life++) {
    const store = await open(directory)
    const under = [
      store.scope('small').write([put(`${life}`, 'v')]),
      store.write([put('large', large)]),
      store.write([put('empty', '')]),
    ]
    // Under way when it is closed: they end first.
    await store.close()
    await Promise.all(under)
  }
  const store = await open(directory)
  t.equal(await texts(store.scope('small')), '0=v 1=v 2=v')
  t.same(Buffer.compare((await store.get('large')) ?? new Uint8Array(0), large), 0)
  t.equal((await store.get('empty'))?.length, 0)
  const walked: string[] = []
  for await (const { key, value } of store.range()) walked.push(`${key} ${value.length}`)
  t.same(walked, ['empty 0', 'large 300000', 'small/0 1', 'small/1 1', 'small/2 1'])
  await store.close()
}

/** Ways in which a store loses its directory, for `failsWithoutPlace`. */
export const wrecks: readonly (readonly [
  how: string,
  wreck: (directory: string, open: Open, lock: string) => Promise<unknown>,
])[] = [
  ['was deleted', (directory) => rm(directory, { recursive: true })],
  [
    'was deleted and made again',
    async (directory) => {
      await rm(directory, { recursive: true })
      await mkdir(directory)
    },
  ],
  [
    'was emptied',
    async (directory) => {
      for (const file of await filesOf(directory, '')) await rm(file, { recursive: true })
    },
  ],
  [
    'was emptied but for its lock',
    async (directory, _open, lock) => {
      for (const file of await filesOf(directory, ''))
        if (basename(file) !== lock) await rm(file, { recursive: true })
    },
  ],
  [
    'was replaced by another store',
    async (directory, open) => {
      await (await open(join(`${directory}-other`))).close()
      await rename(directory, `${directory}-moved`)
      await rename(`${directory}-other`, directory)
    },
  ],
]

/** The store in `directory`, which has `a` in it, notices by itself that its directory is gone; opened again it is empty. */
export async function failsWithoutPlace(
  t: Test,
  store: Store,
  directory: string,
  open: Open,
  wreck: () => Promise<unknown>,
): Promise<void> {
  await wreck()
  const failure = await keptAlive(store.failed)
  t.match(failure, { code: 'RUNTIME_STORE_FAILED', details: { directory } })
  t.match(failure.message, /has lost its directory/)
  t.match(await errorOf(store.write([put('b', '1')])), { code: 'RUNTIME_STORE_FAILED', cause: failure })
  await store.close()
  const again = await open(directory)
  t.equal(await texts(again), '', 'opened again it is an empty store')
  await again.write([put('c', '1')])
  await again.close()
}
