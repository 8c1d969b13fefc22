/** The durable store on a real directory: what outlasts it, who may open it, and how it fails. */
import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { filesOf, keptAlive, storeDirectory } from '../../support/store-directory.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../../packages/runtime/src/platform/store.ts').StoreChange
type StoreError = import('../../../packages/runtime/src/platform/store-error.ts').StoreError

const { fileStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-store.ts')
>('runtime', 'platform/level-store')
const { memoryStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { encodeChecked, readChecked } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/checked-value.ts')
>('runtime', 'platform/checked-value')
const { decodeKey, encodeKey } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-key.ts')
>('runtime', 'platform/store-key')

/** Strings of any code units, mostly where the bytes of a key change their number. */
const anyText = fc
  .array(
    fc.oneof(fc.constantFrom(0, 0x2f, 0x7f, 0x80, 0x7ff, 0x800, 0xd800, 0xdfff, 0xffff), fc.nat(0xffff)),
    {
      maxLength: 6,
    },
  )
  .map((units) => String.fromCharCode(...units))

function put(key: string, value: string): StoreChange {
  return { type: 'put', key, value: new TextEncoder().encode(value) }
}

async function texts(store: Store): Promise<string> {
  const found: string[] = []
  for await (const { key, value } of store.range()) found.push(`${key}=${new TextDecoder().decode(value)}`)
  return found.join(' ')
}

async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  try {
    await promise
  } catch (error) {
    return error as StoreError
  }
  throw new Error('It did not fail')
}

void test('keys as bytes have the order of strings and come back as they were', async (t) => {
  fc.assert(
    fc.property(anyText, anyText, (a, b) => {
      const order = Buffer.compare(encodeKey('user', a), encodeKey('user', b))
      return order === (a < b ? -1 : a > b ? 1 : 0) && decodeKey(encodeKey('user', a)) === a
    }),
    { numRuns: 2_000 },
  )
  t.equal(encodeKey('user', 'log/7').length, 6, 'ASCII: a byte each, and one for the kind')
  t.equal(decodeKey(Uint8Array.of(1, 0x41, 0xff, 0xe0)), 'A\ufffd\ufffd', 'a damaged one can still be named')
})

void test('a checked value is good under its own key only, and only as a whole', async (t) => {
  const key = encodeKey('user', 'log/7')
  const checked = encodeChecked(key, Uint8Array.of(1, 2, 3))
  t.same(readChecked(key, checked), Uint8Array.of(1, 2, 3))
  t.match(readChecked(encodeKey('user', 'log/5'), checked), /^key and 3 bytes of value have the CRC-32C/)
  t.match(readChecked(key, checked.subarray(0, 6)), /^key and 2 bytes/)
  t.match(readChecked(key, checked.subarray(0, 3)), /it has 3 bytes/)
  for (let bit = 0; bit < 8 * checked.length; bit++) {
    const flipped = Uint8Array.from(checked)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    if (typeof readChecked(key, flipped) !== 'string') t.fail(`bit ${bit} is not seen`)
  }
})

void test('fileStore does what a store in memory does, for any batches and ranges', async (t) => {
  const store = await fileStore(storeDirectory(t))
  const change = fc.record({
    type: fc.constantFrom('put' as const, 'delete' as const),
    key: anyText,
    value: fc.uint8Array({ maxLength: 40 }),
  })
  const range = fc.record(
    { from: anyText, to: anyText, limit: fc.nat(6), reverse: fc.boolean() },
    { requiredKeys: [] },
  )
  const read = async (from: Store, bounds: object): Promise<string> => {
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
    { numRuns: 60 },
  )
  await store.close()
  t.pass('held for every case')
})

void test('fileStore keeps over close and open what was written, large values too', async (t) => {
  const directory = join(storeDirectory(t), 'not', 'there', 'yet')
  const large = new Uint8Array(300_000).map((_, i) => i * 31)
  for (let life = 0; life < 3; life++) {
    const store = await fileStore(directory)
    const under = [
      store.scope('small').write([put(`${life}`, 'v')]),
      store.write([{ type: 'put', key: 'large', value: large }]),
    ]
    // Under way when it is closed: they end first.
    await store.close()
    await Promise.all(under)
  }
  const store = await fileStore(directory)
  t.equal(await texts(store.scope('small')), '0=v 1=v 2=v')
  t.same(Buffer.compare((await store.get('large')) ?? new Uint8Array(0), large), 0)
  await store.close()
})

void test('fileStore gives values that share nothing with what comes later', async (t) => {
  const store = await fileStore(storeDirectory(t))
  await store.write([put('a', 'first'), put('b', 'other')])
  const a = await store.get('a')
  a?.fill(0)
  t.equal(await texts(store), 'a=first b=other', 'a reader that writes into it harms nobody')
  t.equal(a?.constructor, Uint8Array, 'no Buffer, whose slice shares')
  await store.close()
})

void test('fileStore opens a directory once at a time, under whatever name', async (t) => {
  const directory = storeDirectory(t)
  const store = await fileStore(directory)
  const link = `${directory}-link`
  await symlink(directory, link)
  for (const name of [directory, link, join(directory, '..', basename(directory))]) {
    const error = await errorOf(fileStore(name))
    t.match(error, { name: 'StoreError', code: 'RUNTIME_STORE_UNAVAILABLE', details: { directory } })
    t.match(error.message, /this process has it open/)
  }
  await store.write([put('a', '1')])
  await Promise.all([store.close(), store.close()])
  const again = await fileStore(link)
  t.equal(await texts(again), 'a=1', 'free once it is closed')
  await again.close()
})

void test('fileStore says what is wrong with the place', async (t) => {
  const parent = dirname(storeDirectory(t))
  await writeFile(join(parent, 'file'), '')
  const error = await errorOf(fileStore(join(parent, 'file', 'data')))
  t.match(error, { code: 'RUNTIME_STORE_UNAVAILABLE', details: { errorName: 'ENOTDIR' } })
  const foreign = join(parent, 'foreign')
  await mkdir(foreign)
  await writeFile(join(foreign, '000007.ldb'), 'something')
  t.match(await errorOf(fileStore(foreign)), { code: 'RUNTIME_STORE_CORRUPT', details: { file: 'CURRENT' } })
  await unlink(join(foreign, '000007.ldb'))
  await (await fileStore(foreign)).close()
  t.pass('a failed attempt holds nothing')
  for (const options of [
    { writeBufferBytes: 1 },
    { cacheBytes: 1.5 },
    { placeCheckMs: 0 },
    { placeCheckMs: NaN },
  ]) {
    await t.rejects(fileStore(join(parent, 'never'), options), { name: 'RangeError' })
  }
  t.notOk(existsSync(join(parent, 'never')), 'options are looked at first')
})

// ---- Failures ------------------------------------------------------------------------------------------------

const noFull = existsSync('/dev/full') ? false : 'this machine has no /dev/full'

void test(
  'fileStore on a full disk fails the write with ENOSPC and refuses the rest',
  { skip: noFull },
  async (t) => {
    const directory = storeDirectory(t)
    const store = await fileStore(directory, { writeBufferBytes: 1_048_576 })
    const chunk = 'x'.repeat(100_000)
    await store.write([put('before', '1')])
    // The next log is a device that is always full.
    const [log = ''] = await filesOf(directory, '.log')
    const next = Number.parseInt(basename(log), 10) + 1
    const links = Array.from({ length: 8 }, (_, i) =>
      join(directory, `${String(next + i).padStart(6, '0')}.log`),
    )
    for (const link of links) await symlink('/dev/full', link)
    let written = 0
    const failed = await errorOf(
      (async () => {
        for (; written < 100; written++) await store.write([put(`chunk/${written}`, chunk)])
      })(),
    )
    t.match(failed, { code: 'RUNTIME_STORE_FULL', details: { directory, errorName: 'ENOSPC' } })
    t.match(failed.message, /ENOSPC, the disk is full; make room, then open the store again/)
    for (const link of links) await rm(link, { force: true })
    const later = await errorOf(store.write([put('later', '1')]))
    t.match(later, { code: 'RUNTIME_STORE_FAILED', cause: failed }, 'nothing is tried again')
    t.equal(await store.failed, failed)
    t.match(await store.get('before'), new TextEncoder().encode('1'), 'reading goes on')
    await store.close()
  },
)

for (const [how, wreck] of [
  ['was deleted', async (directory: string) => rm(directory, { recursive: true })],
  [
    'was deleted and made again',
    async (directory: string) => {
      await rm(directory, { recursive: true })
      await mkdir(directory)
    },
  ],
  [
    'was emptied',
    async (directory: string) => {
      for (const file of await filesOf(directory, '')) await rm(file)
    },
  ],
  [
    'was emptied but for its lock',
    async (directory: string) => {
      for (const file of await filesOf(directory, '')) if (basename(file) !== 'LOCK') await rm(file)
    },
  ],
  [
    'was replaced by another store',
    async (directory: string) => {
      await (await fileStore(`${directory}-other`)).close()
      await rename(directory, `${directory}-moved`)
      await rename(`${directory}-other`, directory)
    },
  ],
] as const) {
  void test(`fileStore whose directory ${how} fails, also when nobody writes`, async (t) => {
    const directory = storeDirectory(t)
    const store = await fileStore(directory, { placeCheckMs: 10 })
    await store.write([put('a', '1')])
    await wreck(directory)
    const failure = await keptAlive(store.failed)
    t.match(failure, { code: 'RUNTIME_STORE_FAILED', details: { directory } })
    t.match(failure.message, /has lost its directory/)
    t.match(await errorOf(store.write([put('b', '1')])), { code: 'RUNTIME_STORE_FAILED', cause: failure })
    t.match(await errorOf(fileStore(directory)), { details: { holder: 'this process' } }, 'close it first')
    await store.close()
    const again = await fileStore(directory)
    t.equal(await texts(again), '', 'opened again it is an empty store')
    await again.write([put('c', '1')])
    await again.close()
  })
}

void test('fileStore holds no process open, and looks no more once it is closed', async (t) => {
  const directory = await mkdtemp(join(dirname(storeDirectory(t)), 'idle-'))
  const store = await fileStore(join(directory, 'data'), { placeCheckMs: 10 })
  t.same(
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout'),
    [],
    'its timer does not count',
  )
  await store.close()
  await rm(directory, { recursive: true })
  t.equal(await Promise.race([store.failed, Promise.resolve('pending')]), 'pending')
})
