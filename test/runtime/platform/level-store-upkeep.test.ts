/** What is done to a durable store from outside: its format brought up to date, its id, its backup. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { texts } from '../../support/store-cases.ts'
import { flipInTables, storeDirectory } from '../../support/store-directory.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreFormat = import('../../../packages/runtime/src/platform/store-format.ts').StoreFormat
type Migration = import('../../../packages/runtime/src/platform/store-format.ts').Migration

const { fileStore, openLevelStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-store.ts')
>('runtime', 'platform/level-store')
const { backupStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-backup.ts')
>('runtime', 'platform/store-backup')
const { storeId, storeIdKey } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-id.ts')
>('runtime', 'platform/store-id')
const { memoryStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { encodeChecked, readChecked } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/checked-value.ts')
>('runtime', 'platform/checked-value')

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}

// ---- Format --------------------------------------------------------------------------------------------------

/** Appends `mark` to each value of a user, once: a value that has it is left alone. */
function appending(mark: string, log: string[], failAfter = Infinity): Migration {
  return async ({ entries, write }) => {
    log.push(`to ${mark}`)
    let count = 0
    for await (const [key, checked] of entries()) {
      const value = readChecked(key, checked)
      if (key[0] !== 1 || typeof value === 'string') continue
      const old = new TextDecoder().decode(value)
      if (old.endsWith(mark)) continue
      if (count++ >= failAfter) throw new Error('interrupted')
      await write([[key, encodeChecked(key, text(old + mark))]])
    }
  }
}

function format(version: number, migrations: readonly (readonly [number, Migration])[] = []): StoreFormat {
  return { version, migrations: new Map(migrations) }
}

void test('a store in an older format is migrated step by step, once, and goes on where it was interrupted', async (t) => {
  const directory = storeDirectory(t)
  const old = await openLevelStore(directory, {}, format(1))
  await old.write([
    { type: 'put', key: 'a', value: text('1') },
    { type: 'put', key: 'b', value: text('2') },
  ])
  await old.close()
  const log: string[] = []
  const steps = (failAfter?: number): StoreFormat =>
    format(3, [
      [1, appending('x', log)],
      [2, appending('y', log, failAfter)],
    ])
  await t.rejects(openLevelStore(directory, {}, steps(1)), { message: /interrupted/ })
  const store = await openLevelStore(directory, {}, steps())
  t.equal(await texts(store), 'a=1xy b=2xy')
  await store.close()
  await (await openLevelStore(directory, {}, steps())).close()
  t.same(log, ['to x', 'to y', 'to y'], 'the step that was done is not done again')
})

void test('a store in a newer format is refused by name, and left as it is', async (t) => {
  const directory = storeDirectory(t)
  const newer = await openLevelStore(directory, {}, format(9))
  await newer.write([{ type: 'put', key: 'a', value: text('1') }])
  await newer.close()
  await t.rejects(fileStore(directory), {
    code: 'RUNTIME_STORE_UNAVAILABLE',
    message: /it has format 9, written by a newer version/,
    details: { directory, found: 9, supported: 1 },
  })
  const again = await openLevelStore(directory, {}, format(9))
  t.equal(await texts(again), 'a=1')
  await again.close()
})

void test('a store that is too old for the steps there are is refused before the first of them', async (t) => {
  const directory = storeDirectory(t)
  await (await openLevelStore(directory, {}, format(1))).close()
  const log: string[] = []
  const gap = format(4, [
    [1, appending('x', log)],
    [3, appending('z', log)],
  ])
  await t.rejects(openLevelStore(directory, {}, gap), {
    code: 'RUNTIME_STORE_UNAVAILABLE',
    message: /no way from 2 to 3/,
  })
  t.same(log, [])
})

void test('a database without a format is not taken for a store', async (t) => {
  const directory = storeDirectory(t)
  const removing: Migration = async ({ entries, write }) => {
    for await (const [key] of entries()) {
      if (key[0] === 0) await write([[key, undefined]])
    }
    throw new Error('done')
  }
  const store = await fileStore(directory)
  await store.write([{ type: 'put', key: 'a', value: text('1') }])
  await store.close()
  await t.rejects(openLevelStore(directory, {}, format(2, [[1, removing]])), { message: /done/ })
  await t.rejects(fileStore(directory), { code: 'RUNTIME_STORE_CORRUPT', details: { key: 'format' } })
})

// ---- Id ------------------------------------------------------------------------------------------------------

void test('storeId is drawn once, kept, and another for another store', async (t) => {
  const directory = storeDirectory(t)
  let draws = 0
  const secureBytes = (count: number): Uint8Array => new Uint8Array(count).fill(++draws)
  const store = await fileStore(directory)
  t.equal(await storeId(store, secureBytes), '0101010101010101')
  t.equal(await storeId(store, secureBytes), '0101010101010101')
  await store.close()
  const again = await fileStore(directory)
  t.equal(await storeId(again, secureBytes), '0101010101010101')
  await again.close()
  t.equal(await storeId(memoryStore(), secureBytes), '0202020202020202')
  await flipInTables(directory, '0101010101010101')
  const damaged = await fileStore(directory)
  await t.rejects(storeId(damaged, secureBytes), { code: 'RUNTIME_STORE_CORRUPT' }, 'never drawn anew')
  await damaged.close()
  t.equal(draws, 2)
})

// ---- Backup --------------------------------------------------------------------------------------------------

async function fill(store: Store, count: number, bytes: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await store.write([
      { type: 'put', key: `k/${String(i).padStart(4, '0')}`, value: new Uint8Array(bytes).fill(i) },
    ])
  }
}

void test('backupStore copies one moment of a store that is written on, and restoring is opening it', async (t) => {
  const directory = storeDirectory(t)
  const store = await fileStore(directory)
  await storeId(store, (count) => new Uint8Array(count))
  await fill(store, 60, 100_000)
  const progress: number[] = []
  const backup = backupStore(store, `${directory}-backup`, {
    onProgress: ({ entries }) => progress.push(entries),
  })
  const writes = [
    store.write([{ type: 'put', key: 'k/0059', value: text('later') }]),
    store.write([{ type: 'delete', key: 'k/0058' }]),
    store.write([{ type: 'put', key: 'z', value: text('later') }]),
  ]
  t.same(await backup, { entries: 60, bytes: 6_000_000 })
  await Promise.all(writes)
  t.ok(progress.length >= 5 && progress.at(-1) === 60, `told ${progress.length} times`)
  t.notOk(existsSync(`${directory}-backup.partial`))
  const copy = await fileStore(`${directory}-backup`)
  let count = 0
  for await (const { key, value } of copy.range()) {
    if (key !== `k/${String(count).padStart(4, '0')}` || value.length !== 100_000 || value[0] !== count) {
      t.fail(`${key} is not as it was`)
    }
    count++
  }
  t.equal(count, 60)
  t.equal(await copy.get(storeIdKey), undefined, 'it is another store')
  t.same(await store.get('k/0059'), text('later'), 'the store went on')
  await copy.close()
  await store.close()
})

void test('backupStore copies any store, and a scope without its prefix', async (t) => {
  const directory = storeDirectory(t)
  const store = memoryStore()
  await store.scope('a').write([{ type: 'put', key: 'x', value: text('1') }])
  await store.scope('b').write([{ type: 'put', key: 'y', value: text('2') }])
  t.match(await backupStore(store, `${directory}-all`), { entries: 2 })
  t.match(await backupStore(store.scope('b'), `${directory}-b`), { entries: 1 })
  t.match(await backupStore(memoryStore(), `${directory}-empty`), { entries: 0, bytes: 0 })
  for (const [name, wanted] of [
    ['all', 'a/x=1 b/y=2'],
    ['b', 'y=2'],
    ['empty', ''],
  ] as const) {
    const copy = await fileStore(`${directory}-${name}`)
    t.equal(await texts(copy), wanted)
    await copy.close()
  }
})

void test('backupStore refuses a place where something is, and takes up the rest of an interrupted one', async (t) => {
  const target = storeDirectory(t)
  const store = memoryStore()
  await store.write([{ type: 'put', key: 'a', value: text('1') }])
  await mkdir(target)
  await writeFile(join(target, 'mine'), 'precious')
  const unavailable = { code: 'RUNTIME_STORE_UNAVAILABLE' }
  await t.rejects(backupStore(store, target), unavailable, 'the place itself')
  await rm(join(target, 'mine'))
  await mkdir(`${target}.partial`)
  await writeFile(join(`${target}.partial`, 'mine'), 'precious')
  await writeFile(join(`${target}.partial`, 'CURRENT'), 'precious')
  await t.rejects(backupStore(store, target), unavailable, 'beside it')
  t.same(await readdir(`${target}.partial`), ['CURRENT', 'mine'], 'nothing was deleted')
  await rm(`${target}.partial`, { recursive: true })
  const other = await fileStore(`${target}.partial`)
  await t.rejects(backupStore(store, target), unavailable, 'while another backup is made there')
  await other.write([{ type: 'put', key: 'half', value: text('x') }])
  await other.close()
  await backupStore(store, target)
  const copy = await fileStore(target)
  t.equal(
    await texts(copy),
    'a=1',
    'an interrupted one is begun anew, and an empty directory is no hindrance',
  )
  await copy.close()
})

void test('backupStore leaves nothing when it ends early', async (t) => {
  const directory = storeDirectory(t)
  const store = await fileStore(directory)
  await fill(store, 40, 100_000)
  const control = new AbortController()
  const aborted = backupStore(store, `${directory}-a`, {
    signal: control.signal,
    onProgress: () => control.abort(new Error('enough')),
  })
  await t.rejects(aborted, { message: 'enough' })
  await store.close()
  await (await fileStore(directory)).close()
  await flipInTables(directory, String.fromCharCode(...new Uint8Array(64).fill(33)))
  const damaged = await fileStore(directory)
  await t.rejects(
    backupStore(damaged, `${directory}-b`),
    { code: 'RUNTIME_STORE_CORRUPT' },
    'it would look whole',
  )
  await damaged.close()
  await t.rejects(backupStore(damaged, `${directory}-c`), { code: 'RUNTIME_STORE_CLOSED' })
  t.same(await readdir(dirname(directory)), ['data'])
})
