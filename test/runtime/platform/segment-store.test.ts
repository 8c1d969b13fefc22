/** The store for logs on a real directory: what outlasts it, who may open it, its upkeep, and how it fails. */
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import tap, { test } from 'tap'
import { drawFrom, MemoryDisk } from '../../support/memory-disk.ts'
import { sourceModule } from '../../support/source-module.ts'
import {
  behavesAsInMemory,
  errorOf,
  failsWithoutPlace,
  keepsOverLives,
  put,
  texts,
  wrecks,
} from '../../support/store-cases.ts'
import { filesOf, flipInFiles, storeDirectory } from '../../support/store-directory.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../../packages/runtime/src/platform/store.ts').StoreChange
type Logger = import('../../../packages/runtime/src/platform/log.ts').Logger
type SegmentDisk = import('../../../packages/runtime/src/platform/segment-disk.ts').SegmentDisk

const { openSegmentStore, segmentStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-store.ts')
>('runtime', 'platform/segment-store')
const { nodeSegmentDisk } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-disk.ts')
>('runtime', 'platform/segment-disk')
const { openSegments } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-opening.ts')
>('runtime', 'platform/segment-opening')
const { SegmentEngine } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-engine.ts')
>('runtime', 'platform/segment-engine')
const { StoreView } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-view.ts')
>('runtime', 'platform/store-view')
const { fileStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-store.ts')
>('runtime', 'platform/level-store')
const { backupStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-backup.ts')
>('runtime', 'platform/store-backup')
const { memoryStore } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { nodePlatform } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/node-platform.ts')
>('runtime', 'platform/node-platform')

const { keepingLogger } = await sourceModule<typeof import('../../../packages/runtime/src/platform/log.ts')>(
  'runtime',
  'platform/log',
)

// On a busy machine.
tap.setTimeout(120_000)

/** Small ones, so that a test meets many. */
function open(directory: string, segmentBytes = 16_384, disk: SegmentDisk = nodeSegmentDisk): Promise<Store> {
  return openSegmentStore(directory, { segmentBytes, placeCheckMs: 10 }, disk)
}

/** A store on a disk in memory, whose steps the test sees. */
async function inMemory(disk: SegmentDisk, segmentBytes = 16_384, log?: Logger): Promise<Store> {
  const salt = (): Uint8Array => new Uint8Array(8)
  const opened = await openSegments(disk, '/data', segmentBytes, salt)
  const place = { directory: '/data', stopWatching: () => undefined, release: () => undefined }
  return new StoreView(new SegmentEngine(disk, place, () => Promise.resolve(), opened, segmentBytes, log))
}

void test('segmentStore does what a store in memory does, for any batches and ranges', async (t) => {
  const store = await inMemory(new MemoryDisk(drawFrom(1)))
  await behavesAsInMemory(store, 100)
  t.pass('held for every case')
})

void test('segmentStore after 10,000 random changes holds what a store in memory holds, over lives too', async (t) => {
  const draw = drawFrom(7)
  let disk = new MemoryDisk(draw)
  const model = memoryStore()
  let first = 1
  let next = 1
  for (let life = 0; life < 4; life++) {
    const store = await inMemory(disk)
    for (let i = 0; i < 2_500; i++) {
      const batch: StoreChange[] = [
        put(`log/${String(next++).padStart(6, '0')}`, new Uint8Array(draw(400)).fill(i)),
      ]
      if (draw(3) === 0) batch.push(put('hard', String(i)))
      if (draw(50) === 0) batch.push(put(`cold/${draw(60)}`, new Uint8Array(draw(900)).fill(life)))
      if (draw(100) === 0) {
        // A snapshot: the log before it goes.
        for (; first < next - draw(40); first++) {
          batch.push({ type: 'delete', key: `log/${String(first).padStart(6, '0')}` })
        }
      }
      const written = [store.write(batch), model.write(batch)]
      if (draw(4) === 0) await Promise.all(written)
      if (i % 500 === 0) {
        await Promise.all(written)
        t.equal(await texts(store), await texts(model))
        t.equal(
          await texts(store, { reverse: true, limit: 30 }),
          await texts(model, { reverse: true, limit: 30 }),
        )
      }
    }
    await store.close()
    const left = disk.files()
    const bytes = [...left.values()].reduce((sum, file) => sum + file.length, 0)
    // Twice what is alive and three segments, and what one snapshot has let go lately.
    t.ok(bytes < 400_000, `${bytes} bytes in ${left.size} files`)
    disk = new MemoryDisk(draw, left)
  }
  const store = await inMemory(disk)
  t.equal(await texts(store), await texts(model))
})

void test('segmentStore keeps over close and open what was written, batches larger than a segment too', async (t) => {
  await keepsOverLives(t, join(storeDirectory(t), 'not', 'there', 'yet'), open)
})

void test('segmentStore deletes segments in which nothing is alive, and carries on what is', async (t) => {
  const directory = storeDirectory(t)
  const store = await open(directory)
  // More than a walk reads at once.
  const colds = Array.from({ length: 30 }, (_, i) => put(`cold/${10 + i}`, 'also'))
  await store.write([put('cold', 'kept'), ...colds])
  const walk = store.range()[Symbol.asyncIterator]()
  t.match(await walk.next(), { value: { key: 'cold' } })
  for (let i = 0; i < 300; i++) await store.write([put('hot', new Uint8Array(1_000).fill(i))])
  const segments = await filesOf(directory, '.seg')
  t.ok(segments.length <= 6, `${segments.length} of more than 18 are left`)
  t.notOk(segments.some((file) => basename(file) === '00000001.seg'))
  for (let i = 0; i < 30; i++) {
    const { value } = await walk.next()
    if (value?.key !== `cold/${10 + i}`) t.fail('a walk goes on in a file that is deleted')
  }
  t.match(await walk.next(), { done: true })
  t.same(await store.get('cold'), new TextEncoder().encode('kept'))
  await store.close()
  const again = await open(directory)
  t.same(await again.get('cold'), new TextEncoder().encode('kept'))
  t.equal((await again.get('hot'))?.[0], 299 & 0xff)
  await again.close()
})

void test('segmentStore finds damage that comes while it is open', async (t) => {
  const directory = storeDirectory(t)
  const store = await open(directory)
  await store.write(['a', 'b', 'c'].map((key) => put(key, `value of ${key}`)))
  await flipInFiles(directory, '.seg', 'value of b')
  const error = await errorOf(store.get('b'))
  t.match(error, { code: 'RUNTIME_STORE_CORRUPT', details: { key: 'b', directory } })
  t.equal(await texts(store, { onCorrupt: () => undefined }), 'a=value of a c=value of c')
  await t.rejects(texts(store), { code: 'RUNTIME_STORE_CORRUPT' })
  await store.close()
})

void test('segmentStore leaves alone what is alive, however small its values are', async (t) => {
  const disk = new MemoryDisk(drawFrom(1))
  const store = await inMemory(disk)
  for (let i = 0; i < 2_000; i++) await store.write([put(`small/${i}`, 'v')])
  for (let i = 0; i < 50; i++) await store.write([put('hot', String(i))])
  t.ok(disk.files().size > 16, 'many segments')
  t.ok(disk.files().has('00000001.seg'))
})

void test('segmentStore carries a damaged value on as a damaged one', async (t) => {
  const disk = new MemoryDisk(drawFrom(3))
  const first = await inMemory(disk)
  await first.write([put('cold', 'kept for ever'), put('cold/2', 'also')])
  await first.close()
  const files = disk.files()
  const segment = Buffer.from(files.get('00000001.seg') as Uint8Array)
  const at = segment.indexOf('kept for ever')
  segment[at] = 0
  const second = new MemoryDisk(drawFrom(3), new Map(files).set('00000001.seg', segment))
  const store = await inMemory(second)
  for (let i = 0; i < 300; i++) await store.write([put('hot', new Uint8Array(1_000).fill(i))])
  t.notOk(second.files().has('00000001.seg'), 'it was carried on')
  await t.rejects(store.get('cold'), { code: 'RUNTIME_STORE_CORRUPT', details: { key: 'cold' } })
  t.same(await store.get('cold/2'), new TextEncoder().encode('also'))
  await store.close()
  const third = await inMemory(new MemoryDisk(drawFrom(3), second.files()))
  await t.rejects(third.get('cold'), { code: 'RUNTIME_STORE_CORRUPT' })
  await third.write([put('cold', 'new')])
  t.same(await third.get('cold'), new TextEncoder().encode('new'))
})

/** The first segment of `disk` can be opened; `refuse` says what else is refused. */
function troubled(disk: MemoryDisk, refuse: { read: boolean; remove: boolean }): SegmentDisk {
  const isFirst = (path: string): boolean => basename(path) === '00000001.seg'
  const broken = (code: string): Error => Object.assign(new Error(`${code}: on purpose`), { code })
  const { names, contentOf, make, rename, syncNames } = disk
  return {
    names,
    contentOf,
    make,
    rename,
    syncNames,
    open: async (path) => {
      const file = await disk.open(path)
      const { read, ...rest } = file
      return {
        ...rest,
        read: (target, at) =>
          refuse.read && isFirst(path) ? Promise.reject(broken('EIO')) : read(target, at),
      }
    },
    remove: (path) => (refuse.remove && isFirst(path) ? Promise.reject(broken('EACCES')) : disk.remove(path)),
  }
}

/** What was warned of, as fields and text. */
function warnings(): { readonly log: Logger; readonly told: (readonly [object, string])[] } {
  const told: (readonly [object, string])[] = []
  const log = keepingLogger((level, fields, message) => void told.push([{ level, ...fields }, message]))
  return { log, told }
}

void test('segmentStore whose oldest segment cannot be read warns once, grows, and mends when its keys are gone', async (t) => {
  const made = new MemoryDisk(drawFrom(3))
  const first = await inMemory(made)
  await first.write([put('cold', 'kept for ever')])
  await first.close()
  const disk = new MemoryDisk(drawFrom(3), made.files())
  const { log, told } = warnings()
  const store = await inMemory(troubled(disk, { read: true, remove: false }), 16_384, log)
  const fill = async (): Promise<void> => {
    for (let i = 0; i < 300; i++) await store.write([put('hot', new Uint8Array(1_000).fill(i))])
  }
  await fill()
  t.match(told, [
    [
      { level: 'warn', directory: '/data', file: '00000001.seg', key: 'cold', errorName: 'EIO' },
      /^the store in "\/data" cannot read "cold" from "00000001\.seg" .* the store grows; look at the disk; write or delete/,
    ],
  ])
  const grown = disk.files().size
  t.ok(grown > 18, `${grown} files: nothing behind it is let go`)
  await t.rejects(store.get('cold'), { code: 'RUNTIME_STORE_FAILED', details: { errorName: 'EIO' } })
  await store.write([put('cold', 'written anew')])
  await fill()
  t.ok(disk.files().size <= 6, `${disk.files().size} files are left`)
  t.equal(told.length, 1, 'told once')
  t.same(await store.get('cold'), new TextEncoder().encode('written anew'))
  await store.close()
})

void test('segmentStore that may not delete a segment warns of it, and goes on', async (t) => {
  const disk = new MemoryDisk(drawFrom(3))
  const { log, told } = warnings()
  const store = await inMemory(troubled(disk, { read: false, remove: true }), 16_384, log)
  for (let i = 0; i < 300; i++) await store.write([put('hot', new Uint8Array(1_000).fill(i))])
  t.match(told, [
    [
      { level: 'warn', directory: '/data', file: '00000001.seg', errorName: 'EACCES' },
      /^the store in "\/data" cannot delete "00000001\.seg"/,
    ],
  ])
  t.ok(disk.files().size <= 7, `${disk.files().size} files are left`)
  await store.close()
})

void test('segmentStore opens a directory once at a time, and frees it when it is closed', async (t) => {
  const directory = storeDirectory(t)
  const store = await segmentStore(directory)
  const error = await errorOf(segmentStore(directory))
  t.match(error, { name: 'StoreError', code: 'RUNTIME_STORE_UNAVAILABLE', details: { directory } })
  t.match(error.message, /this process has it open/)
  await store.write([put('a', '1')])
  await Promise.all([store.close(), store.close()])
  // The lock's own files hold nothing.
  await writeFile(join(directory, 'lock', 'CURRENT'), 'damaged')
  const again = await segmentStore(directory)
  t.equal(await texts(again), 'a=1')
  await again.close()
})

void test('a store is opened in the shape in which it was made, and a copy has the shape that was asked for', async (t) => {
  const directory = storeDirectory(t)
  const [table, log] = [`${directory}-table`, `${directory}-log`]
  const { openStore } = nodePlatform()
  for (const [path, shape] of [
    [table, 'table'],
    [log, 'log'],
  ] as const) {
    const store = await openStore(path, shape)
    await store.write([put('a', shape)])
    await store.close()
  }
  t.ok(existsSync(join(log, 'SEGMENTS')) && existsSync(join(table, 'CURRENT')))
  for (const [path, shape, is] of [
    [table, 'log', /it holds LevelDB tables; open it with fileStore, .* or copy it with backupStore/],
    [log, 'table', /it holds segments .*; open it with segmentStore, .* or copy it with backupStore/],
  ] as const) {
    const before = await readdir(path)
    const error = await errorOf(openStore(path, shape))
    t.match(error, { code: 'RUNTIME_STORE_UNAVAILABLE', message: is })
    t.same(await readdir(path), before, 'nothing was touched')
  }
  const source = await fileStore(table)
  await backupStore(source, `${directory}-copy`, { shape: 'log' })
  // What an interrupted backup has left is begun anew.
  await (await segmentStore(`${directory}-second.partial`)).close()
  await backupStore(source, `${directory}-second`)
  await source.close()
  const copy = await segmentStore(`${directory}-copy`)
  t.equal(await texts(copy), 'a=table')
  await copy.close()
  t.ok(existsSync(join(`${directory}-second`, 'CURRENT')))
})

void test('segmentStore says what is wrong with the place, and with its options', async (t) => {
  const parent = dirname(storeDirectory(t))
  await writeFile(join(parent, 'file'), '')
  const error = await errorOf(segmentStore(join(parent, 'file', 'data')))
  t.match(error, { code: 'RUNTIME_STORE_UNAVAILABLE', details: { errorName: 'ENOTDIR' } })
  const foreign = join(parent, 'foreign')
  await mkdir(foreign)
  await writeFile(join(foreign, '00000007.seg'), 'something')
  const corrupt = await errorOf(segmentStore(foreign))
  t.match(corrupt, { code: 'RUNTIME_STORE_CORRUPT', details: { file: 'SEGMENTS' } })
  await rm(join(foreign, '00000007.seg'))
  const store = await segmentStore(foreign)
  t.equal((await stat(join(foreign, '00000001.seg'))).size, 8_388_608, 'made before it is used')
  await store.close()
  for (const options of [{ segmentBytes: 1 }, { segmentBytes: 1.5e9 }, { placeCheckMs: 0 }]) {
    await t.rejects(segmentStore(join(parent, 'never'), options), { name: 'RangeError' })
  }
  t.notOk(existsSync(join(parent, 'never')), 'options are looked at first')
})

void test('segmentStore of a newer format is refused', async (t) => {
  const disk = new MemoryDisk(drawFrom(1))
  await (await inMemory(disk)).close()
  const { crc32c } = await sourceModule<typeof import('../../../packages/runtime/src/platform/crc32c.ts')>(
    'runtime',
    'platform/crc32c',
  )
  const text = 'understudy segments\nformat 2\nsalt 0000000000000000\nmore of it\n'
  const crc = crc32c(new TextEncoder().encode(text)).toString(16).padStart(8, '0')
  const mark = new TextEncoder().encode(`${text}crc ${crc}\n`)
  await t.rejects(inMemory(new MemoryDisk(drawFrom(1), disk.files().set('SEGMENTS', mark))), {
    code: 'RUNTIME_STORE_UNAVAILABLE',
    details: { found: 2, supported: 1 },
  })
})

// ---- Failures ------------------------------------------------------------------------------------------------

void test('segmentStore whose disk is full fails the write with ENOSPC when its segment is, and refuses the rest', async (t) => {
  const directory = storeDirectory(t)
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  let isFull = false
  const disk: SegmentDisk = {
    ...nodeSegmentDisk,
    make: async (path) => {
      const file = await nodeSegmentDisk.make(path)
      const { write } = file
      return {
        read: file.read,
        sync: file.sync,
        close: file.close,
        write: (bytes, length, at, done) => {
          // What is there already can be written.
          if (isFull && path.endsWith('.new')) setImmediate(done, full)
          else write(bytes, length, at, done)
        },
      }
    },
  }
  const store = await open(directory, 65_536, disk)
  await store.write([put('before', '1')])
  // The first one's file was made under that name too.
  await store.close()
  const again = await open(directory, 65_536, disk)
  isFull = true
  let written = 0
  const failed = await errorOf(
    (async () => {
      for (; written < 100; written++) await again.write([put(`chunk/${written}`, new Uint8Array(5_000))])
    })(),
  )
  t.equal(written, 12, 'the segment that was there took its share')
  t.match(failed, { code: 'RUNTIME_STORE_FULL', details: { directory, errorName: 'ENOSPC' } })
  const later = await errorOf(again.write([put('later', '1')]))
  t.match(later, { code: 'RUNTIME_STORE_FAILED', cause: failed }, 'nothing is tried again')
  t.equal(await again.failed, failed)
  t.same(await again.get('before'), new TextEncoder().encode('1'), 'reading goes on')
  await again.close()
  isFull = false
  const third = await open(directory, 65_536, disk)
  await third.write([put('later', '1')])
  t.equal((await third.get('chunk/11'))?.length, 5_000)
  await third.close()
})

void test('segmentStore write fails: who is under way hears why, those behind are refused', async (t) => {
  const disk = new MemoryDisk(drawFrom(1))
  const store = await inMemory(disk)
  const cause = Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' })
  disk.failure = cause
  const first = errorOf(store.write([put('a', '1')]))
  await new Promise((resolve) => setImmediate(resolve))
  const second = errorOf(store.write([put('b', '1')]))
  const error = await first
  t.match(error, { code: 'RUNTIME_STORE_FAILED', details: { errorName: 'EIO' }, cause })
  t.match(await second, { code: 'RUNTIME_STORE_FAILED', cause: error })
  disk.failure = undefined
  t.match(await errorOf(store.write([])), { code: 'RUNTIME_STORE_FAILED', cause: error })
  t.equal(await store.failed, error)
  t.equal(await store.get('a'), undefined, 'nobody was told that it is there')
  await store.close()
})

for (const [how, wreck] of wrecks) {
  void test(`segmentStore whose directory ${how} fails, also when nobody writes`, async (t) => {
    const directory = storeDirectory(t)
    const store = await open(directory)
    await store.write([put('a', '1')])
    // From then on nothing is done in it by itself.
    while (!(await readdir(directory)).includes('00000002.seg')) await store.get('a')
    await failsWithoutPlace(t, store, directory, open, () => wreck(directory, open, 'lock'))
  })
}
