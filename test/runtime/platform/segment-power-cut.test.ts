/**
 * Segment stores on a disk that loses all it may lose, with several writes under way at once and values with holes; and on one
 * whose operations fail one by one.
 */
import tap, { test } from 'tap'
import { CutDisk } from '../../support/cut-disk.ts'
import { drawFrom, type Draw } from '../../support/memory-disk.ts'
import { sourceModule } from '../../support/source-module.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../../packages/runtime/src/platform/store.ts').StoreChange

const { openSegments } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-opening.ts')
>('runtime', 'platform/segment-opening')
const { SegmentEngine } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-engine.ts')
>('runtime', 'platform/segment-engine')
const { StoreView } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-view.ts')
>('runtime', 'platform/store-view')

// On a busy machine.
tap.setTimeout(120_000)

const segmentBytes = 8_192
const salt = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const place = { directory: '/data', stopWatching: () => undefined, release: () => undefined }

async function open(disk: CutDisk, bytes = segmentBytes): Promise<Store> {
  const opened = await openSegments(disk, '/data', bytes, () => salt)
  return new StoreView(new SegmentEngine(disk, place, () => Promise.resolve(), opened, bytes))
}

async function contentOf(store: Store): Promise<string> {
  const found: string[] = []
  for await (const { key, value } of store.range()) found.push(`${key}=${Buffer.from(value).toString('hex')}`)
  return found.join(' ')
}

type Model = ReadonlyMap<string, Uint8Array>

function apply(model: Model, batch: readonly StoreChange[]): Model {
  const next = new Map(model)
  for (const change of batch) {
    if (change.type === 'put') next.set(change.key, change.value)
    else next.delete(change.key)
  }
  return next
}

function textOf(model: Model): string {
  return [...model]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${Buffer.from(value).toString('hex')}`)
    .join(' ')
}

/** Values with holes of zeros among them, as files and bitmaps have them. */
function valueOf(draw: Draw): Uint8Array {
  const value = new Uint8Array(draw(12) === 0 ? draw(12_000) : draw(500))
  const holes = draw(3)
  for (let i = 0; i < value.length; i++) {
    const isHole = holes === 1 ? (i >>> 10) % 2 === 0 : holes === 2 && (i >>> 9) % 3 === 0
    if (!isHole) value[i] = 1 + draw(255)
  }
  return value
}

function batchOf(draw: Draw): StoreChange[] {
  return Array.from({ length: draw(5) }, (): StoreChange => {
    const key = draw(3) === 0 ? 'hard' : `log/${draw(30)}`
    return draw(3) === 0 ? { type: 'delete', key } : { type: 'put', key, value: valueOf(draw) }
  })
}

/** Writes, several at once, until the power is cut. Gives the states that may be found after it. */
async function life(disk: CutDisk, before: Model, draw: Draw): Promise<readonly Model[]> {
  const states = [before]
  let durable = 0
  let isCut = false
  const cut = new Promise<void>((resolve) => {
    disk.onCut = () => {
      isCut = true
      resolve()
    }
  })
  disk.cutAt = disk.steps + 1 + draw(200)
  const work = async (): Promise<void> => {
    const store = await open(disk)
    while (!isCut) {
      const writes: Promise<void>[] = []
      for (let count = 1 + draw(3); count > 0; count--) {
        const batch = batchOf(draw)
        states.push(apply(states.at(-1) as Model, batch))
        const number = states.length - 1
        writes.push(store.write(batch).then(() => void (durable = number)))
      }
      await Promise.all(writes)
    }
  }
  await Promise.race([cut, work()])
  return states.slice(durable)
}

void test('a segment store survives cuts of the power that lose any sectors and any names', async (t) => {
  let lives = 0
  for (let seed = 1; seed <= 8; seed++) {
    const draw = drawFrom(seed)
    const sectorBytes = seed % 2 === 0 ? 512 : 4_096
    let disk = new CutDisk(draw, new Map(), sectorBytes)
    let model: Model = new Map()
    for (let round = 0; round < 6; round++) {
      const allowed = await life(disk, model, draw)
      lives++
      // Opening is cut as well.
      for (let again = draw(3); again > 0; again--) {
        disk = new CutDisk(draw, disk.filesLeft(), sectorBytes)
        disk.cutAt = 1 + draw(30)
        await Promise.race([new Promise<void>((resolve) => (disk.onCut = resolve)), open(disk)])
      }
      disk = new CutDisk(draw, disk.filesLeft(), sectorBytes)
      let found: string
      try {
        found = await contentOf(await open(disk))
      } catch (error) {
        throw new Error(`seed ${seed}, round ${round}: ${(error as Error).message}`, { cause: error })
      }
      const at = allowed.findIndex((state) => textOf(state) === found)
      if (at === -1) throw new Error(`seed ${seed}, round ${round}: a state was found that never was`)
      model = allowed[at] as Model
      disk = new CutDisk(draw, disk.files(), sectorBytes)
    }
  }
  t.pass(`${lives} cuts`)
})

void test('a segment store whose disk fails at any step tells it, and opened again it has what was acknowledged', async (t) => {
  let failures = 0
  for (let seed = 1; seed <= 30; seed++) {
    const draw = drawFrom(seed)
    const first = new CutDisk(draw)
    const failing = 1 + draw(240)
    let writes = 0
    const code = draw(2) === 0 ? 'EIO' : 'ENOSPC'
    let isOpen = false
    first.failure = (step, operation) => {
      if (operation === 'write') writes++
      // Of half of them the writes are counted: they are what matters most.
      if (
        (seed % 2 === 0 ? step : operation === 'write' ? 2 * writes : 0) !==
        failing - (seed % 2) * (failing % 2)
      )
        return undefined
      failures++
      first.isFailureSeen = isOpen && draw(2) === 0
      return Object.assign(new Error(`${code}: ${operation}`), { code })
    }
    const said = `seed ${seed}, step ${failing}`
    let states: Model[] = [new Map()]
    let durable = 0
    /** Writes until it fails, or for a while. */
    const work = async (store: Store): Promise<void> => {
      for (let i = 0; i < 30; i++) {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 1 + draw(3) }, () => {
            const batch = batchOf(draw)
            states.push(apply(states.at(-1) as Model, batch))
            const number = states.length - 1
            return store.write(batch).then(() => void (durable = number))
          }),
        )
        const rejected = outcomes.findIndex(({ status }) => status === 'rejected')
        if (rejected === -1) continue
        if (outcomes.slice(rejected).some(({ status }) => status === 'fulfilled'))
          t.fail(`${said}: behind a failure`)
        t.match(await store.failed, { code: /^RUNTIME_STORE_(?:FULL|FAILED)$/ }, said)
        return
      }
    }
    const checked = async (disk: CutDisk, when: string): Promise<Store> => {
      const store = await open(disk).catch((error: unknown) => {
        throw new Error(`${said}, ${when}: ${(error as Error).message}`, { cause: error })
      })
      const found = await contentOf(store)
      const at = states.findIndex((state, i) => i >= durable && textOf(state) === found)
      if (at === -1) throw new Error(`${said}, ${when}: a state was found that never was`)
      states = [states[at] as Model]
      durable = 0
      return store
    }
    let store: Store | undefined
    try {
      store = await open(first)
      isOpen = true
    } catch (error) {
      t.match(error, { code }, said)
      if (first.handles !== 0) t.fail(`${said}: ${first.handles} files stay open`)
      store = await open(first)
    }
    await work(store)
    await store.close()
    if (first.handles !== 0) t.fail(`${said}: ${first.handles} files stay open`)
    first.failure = () => undefined
    const second = await checked(first, 'opened again')
    await work(second)
    await checked(new CutDisk(draw, first.filesLeft()), 'after a cut')
  }
  t.ok(failures > 8, `${failures} failures`)
})

const put = (key: string, value: Uint8Array): StoreChange => ({ type: 'put', key, value })

void test('a segment store tells that the only record of its oldest segment is lost', async (t) => {
  const disk = new CutDisk(drawFrom(1))
  const store = await open(disk)
  await store.write([put('cold', new Uint8Array(9_000).fill(7))])
  // Nothing stays alive in the first one.
  while (disk.files().has('00000001.seg')) await store.write([put('hot', new Uint8Array(900).fill(1))])
  const files = disk.files()
  const [oldest] = [...files.keys()].filter((name) => name.endsWith('.seg')).sort()
  const bytes = files.get(oldest as string) as Uint8Array
  t.ok(bytes.length > 9_000, 'the large one is alone in it')
  bytes.fill(0, 512)
  await t.rejects(open(new CutDisk(drawFrom(1), files)), {
    code: 'RUNTIME_STORE_CORRUPT',
    details: { file: oldest },
  })
})

void test('a segment store deletes at its opening what it could not delete before, also behind a gap', async (t) => {
  const disk = new CutDisk(drawFrom(1))
  let isStuck = true
  const { names: list, contentOf: read, open: openFile, make, rename, remove, syncNames } = disk
  const stuck = {
    names: list,
    contentOf: read,
    open: openFile,
    make,
    rename,
    syncNames,
    remove: (path: string): Promise<void> =>
      isStuck && path.endsWith('00000001.seg')
        ? Promise.reject(Object.assign(new Error('EPERM: not permitted'), { code: 'EPERM' }))
        : remove(path),
  }
  const opened = await openSegments(stuck, '/data', segmentBytes, () => salt)
  const store = new StoreView(new SegmentEngine(stuck, place, () => Promise.resolve(), opened, segmentBytes))
  await store.write([put('deleted', new Uint8Array(900))])
  await store.write([{ type: 'delete', key: 'deleted' }])
  for (let i = 0; i < 100; i++) await store.write([put('hot', new Uint8Array(900).fill(1))])
  const names = [...disk.files().keys()]
  t.ok(names.includes('00000001.seg') && !names.includes('00000002.seg'), names.join())
  await store.close()
  isStuck = false
  const again = await open(disk)
  t.equal(await again.get('deleted'), undefined)
  t.notOk(disk.files().has('00000001.seg'))
})

void test('a segment store opened again after a failed write keeps what it has found, though the disk had it not', async (t) => {
  let seen = 0
  for (let seed = 1; seed <= 6; seed++) {
    const disk = new CutDisk(drawFrom(seed))
    const store = await open(disk)
    await store.write([put('a', new Uint8Array(100).fill(1))])
    // The next segment is made meanwhile.
    while (![...disk.files().keys()].includes('00000002.seg')) await store.get('a')
    disk.isFailureSeen = true
    disk.failure = () => Object.assign(new Error('EIO: write'), { code: 'EIO' })
    await t.rejects(store.write([put('b', new Uint8Array(3_000).fill(2))]), { code: 'RUNTIME_STORE_FAILED' })
    disk.failure = () => undefined
    await store.close()
    const again = await open(disk)
    const found = await again.get('b')
    if (found !== undefined) seen++
    await again.write([put('c', new Uint8Array(100).fill(3))])
    const after = await open(new CutDisk(drawFrom(seed), disk.filesLeft()))
    t.same(await after.get('b'), found)
    t.ok(await after.get('c'))
  }
  t.equal(seen, 6)
})

void test('a segment store does not grow when more is written at once than it carries at least', async (t) => {
  for (const [length, count] of [
    [100, 2_000],
    [20_000, 25],
  ] as const) {
    const disk = new CutDisk(drawFrom(1))
    const store = await open(disk, 1_048_576)
    const colds = Array.from({ length: count }, (_, i) => put(`cold/${i}`, new Uint8Array(length).fill(1)))
    for (let i = 0; i < 8; i++) {
      const part = colds.map(({ key }) => put(`${key}/${i}`, new Uint8Array(length).fill(1)))
      await store.write(part)
    }
    let most = 0
    for (let i = 0; i < 80; i++) {
      await store.write([put('hot', new Uint8Array(250_000).fill(1))])
      most = Math.max(
        most,
        [...disk.files().values()].reduce((sum, { length: bytes }) => sum + bytes, 0),
      )
    }
    const alive = 8 * count * (length + 128)
    t.ok(most < 4 * alive + 4 * 1_048_576, `${most} bytes for ${alive}`)
  }
})

void test('a segment store refuses a batch whose segment could not be opened again, and goes on', async (t) => {
  const store = await open(new CutDisk(drawFrom(1)))
  const value = new Uint8Array(1_000_000)
  const batch = Array.from({ length: 1_100 }, (_, i) => put(`${i}`, value))
  await t.rejects(store.write(batch), { name: 'RangeError', message: /a batch may have 1073741824 bytes/ })
  await store.write([put('a', Uint8Array.of(1))])
  t.same(await store.get('a'), Uint8Array.of(1))
})
