/** The durable store on a real directory: what outlasts it, who may open it, and how it fails. */
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import {
  anyText,
  behavesAsInMemory,
  errorOf,
  failsWithoutPlace,
  keepsOverLives,
  put,
  texts,
  wrecks,
} from '../../support/store-cases.ts'
import { filesOf, keptAlive, storeDirectory } from '../../support/store-directory.ts'

const { fileStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-store.ts')
>('runtime', 'platform/level-store')
const { encodeChecked, readChecked } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/checked-value.ts')
>('runtime', 'platform/checked-value')
const { decodeKey, encodeKey } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-key.ts')
>('runtime', 'platform/store-key')

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
  await behavesAsInMemory(store, 60)
  await store.close()
  t.pass('held for every case')
})

void test('fileStore keeps over close and open what was written, large values too', async (t) => {
  await keepsOverLives(t, join(storeDirectory(t), 'not', 'there', 'yet'), fileStore)
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

for (const [how, wreck] of wrecks) {
  void test(`fileStore whose directory ${how} fails, also when nobody writes`, async (t) => {
    const directory = storeDirectory(t)
    const store = await fileStore(directory, { placeCheckMs: 10 })
    await store.write([put('a', '1')])
    await failsWithoutPlace(t, store, directory, fileStore, async () => {
      await wreck(directory, fileStore, 'LOCK')
      await keptAlive(store.failed)
      t.match(await errorOf(fileStore(directory)), { details: { holder: 'this process' } }, 'close it first')
    })
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
