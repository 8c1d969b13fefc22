/** What becomes of a durable store whose files were damaged: corrupt is an error with a place, and never absent. */
import { cp, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { filesOf, storeDirectory } from '../../support/store-directory.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreError = import('../../../packages/runtime/src/platform/store-error.ts').StoreError

const { fileStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-store.ts')
>('runtime', 'platform/level-store')
const { readLog } = await sourceModule<typeof import('../../../packages/runtime/src/platform/level-log.ts')>(
  'runtime',
  'platform/level-log',
)
const { findTableDamage } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-table-file.ts')
>('runtime', 'platform/level-table-file')

const corrupt = { code: 'RUNTIME_STORE_CORRUPT' }

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const flipped = Uint8Array.from(bytes)
  flipped[at] = (flipped[at] as number) ^ (1 << (at & 7))
  return flipped
}

function valueOf(n: number): Uint8Array {
  return new Uint8Array(40 + n).fill(n + 1)
}

/** A store with one table and one log, closed; with overwritten and deleted keys. Gives what it holds. */
async function twoLives(directory: string, perLife = 12): Promise<ReadonlyMap<string, Uint8Array>> {
  const wanted = new Map<string, Uint8Array>()
  for (const life of [0, 1]) {
    const store = await fileStore(directory)
    for (let i = 0; i < perLife; i++) {
      const n = life * perLife + i
      wanted.set(`log/${n}`, valueOf(n))
      wanted.set('hard', Uint8Array.of(n))
      await store.write([
        { type: 'put', key: `log/${n}`, value: valueOf(n) },
        { type: 'put', key: 'hard', value: Uint8Array.of(n) },
      ])
    }
    await store.write([{ type: 'delete', key: `log/${3 + life}` }])
    wanted.delete(`log/${3 + life}`)
    await store.close()
  }
  return wanted
}

/** What a reader of the store finds: whether anything was told, and what was wrong without being told. */
async function look(
  store: Store,
  wanted: ReadonlyMap<string, Uint8Array>,
): Promise<{ readonly told: boolean; readonly silent: ReadonlySet<string> }> {
  const silent = new Set<string>()
  let told = false
  const hear = (error: unknown): void => {
    told = true
    const { code } = error as StoreError
    if (code !== 'RUNTIME_STORE_CORRUPT') silent.add(String(code))
  }
  let seen = 0
  try {
    for await (const { key, value } of store.range({ onCorrupt: (_key, error) => hear(error) })) {
      seen++
      if (Buffer.compare(wanted.get(key) ?? Uint8Array.of(), value) !== 0) silent.add(`range: wrong ${key}`)
    }
  } catch (error) {
    hear(error)
  }
  if (seen < wanted.size && !told) silent.add('range: some are absent')
  for (const key of [...wanted.keys(), 'log/3', 'log/4', 'other']) {
    try {
      const found = await store.get(key)
      if (Buffer.compare(wanted.get(key) ?? Uint8Array.of(), found ?? Uint8Array.of()) !== 0)
        silent.add(`get: wrong ${key}`)
    } catch (error) {
      hear(error)
    }
  }
  return { told, silent }
}

void test('fileStore with one bit flipped anywhere: nothing is absent or wrong without an error', async (t) => {
  const original = storeDirectory(t)
  const wanted = await twoLives(original)
  const directory = `${original}-copy`
  const outcomes = new Map<string, number>()
  const silent: string[] = []
  for (const name of (await readdir(original)).filter((file) => !file.startsWith('LO')).sort()) {
    const bytes = await readFile(join(original, name))
    // A prime, so that all bits and all fields are met.
    for (let at = 0; at < bytes.length; at += name.startsWith('CURRENT') ? 1 : 17) {
      await rm(directory, { recursive: true, force: true })
      await cp(original, directory, { recursive: true })
      await writeFile(join(directory, name), flip(bytes, at))
      let outcome = 'as written'
      try {
        const store = await fileStore(directory)
        const seen = await look(store, wanted)
        await store.close()
        if (seen.told) outcome = 'told when read'
        for (const what of seen.silent) silent.push(`${name} byte ${at}: ${what}`)
      } catch (error) {
        outcome = `told when opened: ${(error as StoreError).code}`
      }
      const kind = `${name.replace(/\d+/, 'N')} ${outcome}`
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1)
    }
  }
  t.same(silent, [])
  for (const [kind, count] of [...outcomes].sort()) t.comment(`${count} ${kind}`)
  t.same(
    [...outcomes.keys()].sort(),
    [
      'CURRENT told when opened: RUNTIME_STORE_CORRUPT',
      'MANIFEST-N told when opened: RUNTIME_STORE_CORRUPT',
      // The end of a table is padded; the end of a log is what the store writes when it closes, which holds nothing.
      'N.ldb as written',
      'N.ldb told when opened: RUNTIME_STORE_CORRUPT',
      'N.ldb told when read',
      'N.log as written',
      'N.log told when opened: RUNTIME_STORE_CORRUPT',
    ],
    'and it is always told as corrupt',
  )
})

void test('fileStore whose files are missing is corrupt, not empty', async (t) => {
  const original = storeDirectory(t)
  await twoLives(original)
  const directory = `${original}-copy`
  for (const [pattern, details] of [
    [/^CURRENT$/, { file: 'CURRENT' }],
    [/^MANIFEST/, { file: 'CURRENT' }],
    [/\.log$/, { file: 'MANIFEST-000004' }],
    [/\.ldb$/, { directory: `${original}-copy` }],
  ] as const) {
    await rm(directory, { recursive: true, force: true })
    await cp(original, directory, { recursive: true })
    for (const name of await readdir(directory)) if (pattern.test(name)) await unlink(join(directory, name))
    await t.rejects(fileStore(directory), { ...corrupt, details }, String(pattern))
  }
})

void test('fileStore with damage in one value can be read but for that one', async (t) => {
  const directory = storeDirectory(t)
  await twoLives(directory)
  const [table = ''] = await filesOf(directory, '.ldb')
  const bytes = await readFile(table)
  await writeFile(table, flip(bytes, bytes.indexOf(valueOf(7)) + 9))
  const store = await fileStore(directory)
  await t.rejects(store.get('log/7'), corrupt, 'it is not absent')
  t.same(await store.get('log/8'), valueOf(8))
  // Whether the key or the value is damaged nobody can tell: a key beside it may have been its.
  await t.rejects(store.get('log/77'), corrupt, 'absent as it is')
  const told: string[] = []
  const keys: string[] = []
  for await (const { key } of store.range({ onCorrupt: (damaged) => told.push(damaged) })) keys.push(key)
  t.same(told, ['log/7'])
  t.equal(keys.length, 22)
  await store.close()
})

/** A store of two lives in which the value of log/7 is damaged, in a table. */
async function withDamage(directory: string): Promise<string> {
  await twoLives(directory)
  const [table = ''] = await filesOf(directory, '.ldb')
  const bytes = await readFile(table)
  await writeFile(table, flip(bytes, bytes.indexOf(valueOf(7)) + 9))
  return table
}

void test('fileStore tells of a damaged record at every opening, also when its table was written anew', async (t) => {
  const directory = storeDirectory(t)
  const table = await withDamage(directory)
  for (let life = 0; life < 10; life++) {
    const store = await fileStore(directory)
    await t.rejects(store.get('log/7'), corrupt)
    await t.rejects(store.get('log/77'), corrupt)
    await store.write([{ type: 'put', key: `life/${life}`, value: Uint8Array.of(life) }])
    await store.close()
  }
  t.notOk(
    (await filesOf(directory, '.ldb')).includes(table),
    'LevelDB has merged it with others, and its CRC is good',
  )
})

void test('fileStore with a damaged record that was mended or deleted is as good as new', async (t) => {
  for (const change of [
    { type: 'put', key: 'log/7', value: valueOf(9) },
    { type: 'delete', key: 'log/7', value: undefined },
  ] as const) {
    const directory = storeDirectory(t)
    const table = await withDamage(directory)
    const store = await fileStore(directory)
    await store.write([change])
    t.equal((await store.get('log/7'))?.length, change.value?.length)
    t.equal(await store.get('log/77'), undefined, 'absent is absent again')
    await store.close()
    for (let life = 0; life < 2; life++) {
      const again = await fileStore(directory)
      t.ok(
        (await filesOf(directory, '.ldb')).includes(table),
        'the damaged one is still there, behind this one',
      )
      t.equal((await again.get('log/7'))?.length, change.value?.length)
      t.equal(await again.get('log/77'), undefined)
      await again.close()
    }
  }
})

void test('fileStore with a damaged record that another hides is not opened unless it told of it before', async (t) => {
  const directory = storeDirectory(t)
  await twoLives(directory)
  const again = await fileStore(directory)
  // Hides the one in the table.
  await again.write([{ type: 'put', key: 'log/7', value: valueOf(7) }])
  await again.close()
  const [table = ''] = await filesOf(directory, '.ldb')
  const bytes = await readFile(table)
  await writeFile(table, flip(bytes, bytes.indexOf(valueOf(7)) + 9))
  await t.rejects(fileStore(directory), { ...corrupt, details: { file: basename(table) } })
})

// ---- The log -------------------------------------------------------------------------------------------------

/** Logs of a store that wrote records of these sizes; the last one is the mark of its close. */
async function logOf(directory: string, sizes: readonly number[]): Promise<Buffer> {
  const store = await fileStore(directory)
  for (const [i, size] of sizes.entries()) {
    await store.write([{ type: 'put', key: `k${i}`, value: new Uint8Array(size).map((_, at) => at * 7 + i) }])
  }
  await store.close()
  const [log = ''] = await filesOf(directory, '.log')
  return readFile(log)
}

void test('readLog finds a flipped bit in every byte of a log that another record follows, over blocks too', async (t) => {
  const log = await logOf(storeDirectory(t), [10, 300, 40_000, 0, 25_000, 20])
  const whole = readLog(log)
  t.equal(whole.records.length, 8, 'its format, six writes, and the mark of its close')
  t.equal(whole.brokenAt, undefined)
  const last = log.length - 33
  const missed: number[] = []
  for (let at = 0; at < last; at += at % 32_768 < 400 ? 1 : 23) {
    if (readLog(flip(log, at)).damageAt === undefined) missed.push(at)
  }
  // The zeros that fill a block.
  t.ok(missed.length < 7, `missed at ${missed.join()}`)
  for (let at = last; at < log.length; at++) {
    const { damageAt, brokenAt } = readLog(flip(log, at))
    if (damageAt !== undefined || brokenAt === undefined)
      t.fail(`byte ${at}: what is last may be half written`)
  }
})

void test('readLog takes a log that ends anywhere for one that was being written', async (t) => {
  const log = await logOf(storeDirectory(t), [10, 300, 40_000, 20])
  for (let length = 0; length <= log.length; length += 13) {
    const padded = Buffer.concat([log.subarray(0, length), Buffer.alloc(length % 5_000)])
    for (const bytes of [log.subarray(0, length), padded]) {
      if (readLog(bytes).damageAt !== undefined) t.fail(`cut at ${length}`)
    }
  }
  // A large record of which a page in the middle has not reached the disk.
  const large = await logOf(storeDirectory(t), [10, 100_000])
  const torn = large.subarray(0, large.length - 33)
  torn.fill(0, 40_960, 45_056)
  t.match(readLog(torn), { damageAt: undefined })
  t.ok(readLog(torn).brokenAt)
})

void test('fileStore opens what a stopped machine has left: all whole writes, not the half one', async (t) => {
  const directory = storeDirectory(t)
  const log = await logOf(directory, [10, 300, 5_000])
  const [file = ''] = await filesOf(directory, '.log')
  await writeFile(file, log.subarray(0, log.length - 33 - 1_000))
  const store = await fileStore(directory)
  t.equal((await store.get('k1'))?.length, 300)
  t.equal(await store.get('k2'), undefined, 'it was never acknowledged')
  await store.close()
})

// ---- Tables --------------------------------------------------------------------------------------------------

void test('findTableDamage finds every flipped bit of a table but those of its padding', async (t) => {
  const directory = storeDirectory(t)
  await twoLives(directory, 40)
  const [table = ''] = await filesOf(directory, '.ldb')
  const bytes = await readFile(table)
  t.same(findTableDamage(bytes), [])
  let missed = 0
  let confined = 0
  for (let at = 0; at < bytes.length; at++) {
    const damages = findTableDamage(flip(bytes, at))
    if (damages.length === 0) missed++
    if (damages.length > 0 && damages.every(({ gap }) => gap !== undefined)) confined++
  }
  t.ok(missed < 40, `${missed} of ${bytes.length} bytes, all within the last 48`)
  t.ok(confined > 0.5 * bytes.length, `${confined} of ${bytes.length} hurt one record only`)
  t.same(basename(table), '000005.ldb')
})
