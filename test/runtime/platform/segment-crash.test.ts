/**
 * Segment stores on a disk that stops at any step: what was acknowledged is there, nothing in parts, nothing else; and no flipped
 * bit makes a thing absent or wrong without an error.
 */
import tap, { test, type Test } from 'tap'
import { drawFrom, MemoryDisk, type Draw } from '../../support/memory-disk.ts'
import { sourceModule } from '../../support/source-module.ts'

type Store = import('../../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../../packages/runtime/src/platform/store.ts').StoreChange
type StoreError = import('../../../packages/runtime/src/platform/store-error.ts').StoreError

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

const { readHeader, recordBytes } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-record.ts')
>('runtime', 'platform/segment-record')
const { segmentNumber, segmentSeed } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/segment-file.ts')
>('runtime', 'platform/segment-file')

const segmentBytes = 8_192
const salt = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
const place = { directory: '/data', stopWatching: () => undefined, release: () => undefined }

async function open(disk: MemoryDisk): Promise<Store> {
  const opened = await openSegments(disk, '/data', segmentBytes, () => salt)
  return new StoreView(new SegmentEngine(disk, place, () => Promise.resolve(), opened, segmentBytes))
}

async function contentOf(store: Store): Promise<string> {
  const found: string[] = []
  for await (const { key, value } of store.range()) found.push(`${key}=${Buffer.from(value).toString('hex')}`)
  return found.join(' ')
}

type Model = Map<string, Uint8Array>

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

/** Values of zeros and nearly zeros among them, which look like what was never written. */
function valueOf(draw: Draw, large: number): Uint8Array {
  const value = new Uint8Array(draw(20) === 0 ? draw(large) : draw(600))
  const kind = draw(4)
  if (kind > 1) for (let i = 0; i < value.length; i++) value[i] = draw(256)
  // Of a sector with a single bit nobody can tell whether it was flipped or never written.
  if (kind === 1 && value.length > 0) value[draw(value.length)] = 3
  return value
}

function batchOf(draw: Draw): StoreChange[] {
  return Array.from({ length: 1 + draw(4) }, (): StoreChange => {
    const key = draw(3) === 0 ? 'hard' : `log/${draw(40)}`
    return draw(4) === 0 ? { type: 'delete', key } : { type: 'put', key, value: valueOf(draw, 12_000) }
  })
}

/** Writes until the disk stops. Gives the states that may be found after it. */
async function life(disk: MemoryDisk, before: Model, draw: Draw): Promise<readonly Model[]> {
  let isStopped = false
  const stopped = new Promise<void>((resolve) => {
    disk.onStop = () => {
      isStopped = true
      resolve()
    }
  })
  disk.stopAt = disk.steps + 1 + draw(120)
  const states = [before]
  let durable = 0
  const work = async (): Promise<void> => {
    const store = await open(disk)
    while (!isStopped) {
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
  await Promise.race([stopped, work()])
  return states.slice(durable)
}

/** The power was cut; or the process was killed, and the machine goes on. */
function stopped(disk: MemoryDisk, draw: Draw): MemoryDisk {
  return draw(2) === 0 ? new MemoryDisk(draw, disk.filesLeft()) : disk.restart()
}

void test('a segment store that stops at any step has all that was acknowledged, and nothing in parts', async (t) => {
  let lives = 0
  let halves = 0
  for (let seed = 1; seed <= 60; seed++) {
    const draw = drawFrom(seed)
    let disk = new MemoryDisk(draw)
    let model: Model = new Map()
    for (let round = 0; round < 5; round++) {
      const allowed = await life(disk, model, draw)
      lives++
      disk = stopped(disk, draw)
      // Also opening may be stopped, and is done again.
      disk.stopAt = disk.steps + 1 + draw(30)
      const onceMore = new Promise<undefined>((resolve) => (disk.onStop = () => resolve(undefined)))
      const reopened = await Promise.race([onceMore, open(disk)])
      if (reopened === undefined) {
        disk = stopped(disk, draw)
      } else {
        await reopened.close()
        disk = disk.restart()
      }
      const store = await open(disk)
      const found = await contentOf(store)
      const at = allowed.findIndex((state) => textOf(state) === found)
      if (at === -1) throw new Error(`seed ${seed}, round ${round}: a state was found that never was`)
      if (at > 0) halves++
      await store.close()
      model = allowed[at] as Model
    }
  }
  t.ok(halves > 10, `${halves} of ${lives} times a write under way was whole`)
})

void test('a segment store whose process was killed: what the next one has found outlasts a power cut', async (t) => {
  for (let step = 1; step <= 40; step++) {
    const draw = drawFrom(step)
    const disk = new MemoryDisk(draw)
    disk.stopAt = step
    const stopped = new Promise<void>((resolve) => (disk.onStop = resolve))
    const work = async (): Promise<void> => {
      const store = await open(disk)
      for (let i = 0; i < 40; i++) await store.write([put('last', noise(900, i))])
    }
    await Promise.race([stopped, work()])
    const next = disk.restart()
    const store = await open(next)
    const found = await contentOf(store)
    const left = await open(new MemoryDisk(draw, next.filesLeft(0)))
    if ((await contentOf(left)) !== found) t.fail(`step ${step}: what was opened`)
    await store.write([put('more', noise(700, 1))])
    const more = await open(new MemoryDisk(draw, next.filesLeft(0)))
    if ((await contentOf(more)) !== (await contentOf(store))) t.fail(`step ${step}: what was written then`)
  }
  t.pass('at every step')
})

void test('a segment store whose making is stopped, and stopped again, is made the third time', async (t) => {
  const until = async (disk: MemoryDisk, step: number, draw: Draw): Promise<MemoryDisk> => {
    disk.stopAt = disk.steps + step
    const end = new Promise<void>((resolve) => (disk.onStop = resolve))
    await Promise.race([end, open(disk)])
    return stopped(disk, draw)
  }
  for (let seed = 0; seed < 2 * 12 * 12; seed++) {
    const draw = drawFrom(seed)
    const first = await until(new MemoryDisk(draw), 1 + (seed % 12), draw)
    const second = await until(first, 1 + (Math.floor(seed / 12) % 12), draw)
    const store = await open(second)
    if ((await contentOf(store)) !== '') t.fail(`seed ${seed}`)
    await store.write([put('a', noise(10, 1))])
  }
  t.pass('at any two steps')
})

/** What is on the disk after these writes, without a close. */
async function imageOf(batches: readonly (readonly StoreChange[])[]): Promise<Map<string, Uint8Array>> {
  const disk = new MemoryDisk(drawFrom(1))
  const store = await open(disk)
  for (const batch of batches) await store.write(batch)
  return disk.files()
}

interface Seen {
  readonly told: boolean
  /** `undefined` when it could not be opened. */
  readonly found: ReadonlyMap<string, string> | undefined
}

async function look(files: ReadonlyMap<string, Uint8Array>, keys: readonly string[]): Promise<Seen> {
  const found = new Map<string, string>()
  let told = false
  const hear = (error: unknown): void => {
    if ((error as StoreError).code !== 'RUNTIME_STORE_CORRUPT') throw error
    told = true
  }
  let store: Store
  try {
    store = await open(new MemoryDisk(drawFrom(1), files))
  } catch (error) {
    hear(error)
    return { told, found: undefined }
  }
  const walked: string[] = []
  for await (const { key } of store.range({ onCorrupt: (key, error) => (walked.push(key), hear(error)) })) {
    walked.push(key)
  }
  for (const key of keys) {
    try {
      const value = await store.get(key)
      found.set(key, value === undefined ? 'absent' : Buffer.from(value).toString('hex'))
      if ((value === undefined) === walked.includes(key)) throw new Error(`range and get differ at ${key}`)
    } catch (error) {
      hear(error)
      found.set(key, 'told')
    }
  }
  return { told, found }
}

const fileOf = (files: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array =>
  files.get(name) as Uint8Array
const put = (key: string, value: Uint8Array): StoreChange => ({ type: 'put', key, value })
const noise = (length: number, by: number): Uint8Array =>
  new Uint8Array(length).map((_, i) => (i * 31 + by * 7 + 1) & 0xff)

/** Overwritten and deleted keys, zeros, several segments and a last record over several sectors. */
const history: readonly (readonly StoreChange[])[] = [
  [put('hard', noise(20, 1)), put('log/1', noise(300, 2))],
  [put('log/2', new Uint8Array(1_500)), put('log/3', noise(90, 3))],
  [put('hard', noise(20, 4)), { type: 'delete', key: 'log/1' }],
  [put('log/4', noise(5_000, 5))],
  [put('log/5', noise(1_400, 6)), put('hard', noise(20, 7))],
]
const keys = ['hard', 'log/1', 'log/2', 'log/3', 'log/4', 'log/5', 'other']

void test('a segment store with one bit flipped anywhere: nothing is absent or wrong without an error', async (t) => {
  const outcomes = { asWritten: 0, toldWhenRead: 0, toldWhenOpened: 0 }
  // Also with a last record that is full of zeros, which look like what was never written.
  const last = [put('hard', noise(20, 9)), put('log/5', new Uint8Array(1_200)), put('log/3', noise(700, 8))]
  for (const batches of [history, [...history.slice(0, 3), last]]) await flipAll(t, batches, outcomes)
  t.comment(outcomes)
  t.ok(outcomes.toldWhenRead > 0 && outcomes.toldWhenOpened > 0)
})

async function flipAll(
  t: Test,
  batches: readonly (readonly StoreChange[])[],
  outcomes: { asWritten: number; toldWhenRead: number; toldWhenOpened: number },
): Promise<void> {
  const files = await imageOf(batches)
  const wanted = (await look(files, keys)).found as ReadonlyMap<string, string>
  t.equal(wanted.get('log/1'), 'absent')
  for (const [name, bytes] of files) {
    const written = Math.min(bytes.length, bytes.findLastIndex((byte) => byte !== 0) + 70)
    for (let bit = 0; bit < 8 * bytes.length; bit += bit < 8 * written ? 17 : 2_447) {
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
      const seen = await look(files, keys)
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
      if (seen.found === undefined) {
        outcomes.toldWhenOpened++
        continue
      }
      outcomes[seen.told ? 'toldWhenRead' : 'asWritten']++
      for (const [key, value] of seen.found) {
        if (value !== 'told' && value !== wanted.get(key)) t.fail(`${name}, bit ${bit}: ${key} is ${value}`)
      }
    }
  }
}

void test('a segment store tells a write that was cut from a damaged one, at every sector', async (t) => {
  const before = await imageOf(history.slice(0, -1))
  const after = await imageOf(history)
  const old = (await look(before, keys)).found as ReadonlyMap<string, string>
  const whole = (await look(after, keys)).found as ReadonlyMap<string, string>
  const names = [...after.keys()].sort().reverse()
  const name = names.find(
    (file) => Buffer.compare(fileOf(after, file), before.get(file) ?? fileOf(after, file)) !== 0,
  )
  if (name === undefined) throw new Error('the last record is nowhere')
  const from = before.get(name) as Uint8Array
  const to = after.get(name) as Uint8Array
  const first = to.findIndex((byte, i) => byte !== from[i])
  const last = to.findLastIndex((byte, i) => byte !== from[i])
  const sectors: number[] = []
  for (let at = Math.floor(first / 512); at <= Math.floor(last / 512); at++) sectors.push(at)
  t.ok(sectors.length >= 3, `${sectors.length} sectors`)
  for (let lost = 0; lost < 2 ** sectors.length; lost++) {
    const bytes = Uint8Array.from(to)
    for (const [i, sector] of sectors.entries()) {
      if ((lost & (1 << i)) !== 0) bytes.set(from.subarray(sector * 512, sector * 512 + 512), sector * 512)
    }
    const seen = await look(new Map(after).set(name, bytes), keys)
    t.same(seen, { told: false, found: lost === 0 ? whole : old }, `sectors lost: ${lost.toString(2)}`)
  }
  // Cut within a sector, which no disk does: never a wrong value, never a loss of what came before.
  for (let cut = first; cut <= last; cut++) {
    const bytes = Uint8Array.from(to)
    bytes.set(from.subarray(cut), cut)
    const { found } = await look(new Map(after).set(name, bytes), keys)
    for (const [key, value] of found ?? []) {
      if (value !== 'told' && value !== old.get(key) && value !== whole.get(key))
        t.fail(`cut at ${cut}: ${key}`)
    }
  }
})

void test('a segment store that has lost a whole record is corrupt, unless it is the last', async (t) => {
  const files = await imageOf([...history, [put('large', noise(9_000, 3))], [put('hard', noise(9, 1))]])
  const lost: string[] = []
  for (const [name, bytes] of files) {
    const number = segmentNumber(name)
    if (number === undefined) continue
    for (let at = 512; ;) {
      const header = readHeader(bytes, at, segmentSeed(salt, number))
      if (typeof header === 'string') break
      const end = at + recordBytes(header)
      const without = new Map(files).set(name, Uint8Array.from(bytes).fill(0, at, end))
      const { found } = await look(without, keys)
      if (found !== undefined) lost.push(`record ${header.number}`)
      at = end
    }
  }
  t.equal(lost.length, 1, lost.join())
})

void test('a segment store whose files are missing, shorter, or of another store is corrupt, not empty', async (t) => {
  const files = await imageOf(history)
  const corrupt = { code: 'RUNTIME_STORE_CORRUPT' }
  const opened = async (changed: ReadonlyMap<string, Uint8Array>): Promise<Store> =>
    open(new MemoryDisk(drawFrom(1), changed))
  t.ok(files.size >= 3, [...files.keys()].join())
  for (const [name, bytes] of files) {
    const without = new Map(files)
    without.delete(name)
    // One that is ready and not in use yet: nothing is lost with it, and all the same somebody has been at the files.
    await t.rejects(opened(without), corrupt, `without ${name}`)
    const shorter = new Map(files).set(name, bytes.subarray(0, bytes.length - 512))
    await t.rejects(opened(shorter), corrupt, `${name} is shorter`)
  }
  // A batch that does not fit goes on at once to a segment that was made for it.
  const large = await imageOf([[put('a', noise(10, 1))], [put('large', noise(20_000, 2))]])
  for (const name of large.keys()) {
    const without = new Map(large)
    without.delete(name)
    await t.rejects(opened(without), corrupt, `without ${name}`)
  }
  const [mark, ...segments] = [...files.keys()].sort().reverse()
  await t.rejects(opened(new Map([[mark as string, files.get(mark as string) as Uint8Array]])), corrupt)
  const swapped = new Map(files)
  swapped.set(segments[0] as string, files.get(segments[1] as string) as Uint8Array)
  await t.rejects(opened(swapped), corrupt, 'a segment under the name of another')
})
