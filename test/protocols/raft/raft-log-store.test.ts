/** A Raft member's disk: what is found again after a start, a crash at any write, a flipped bit; snapshots on their way. */
import { memoryStore, StoreError, type Store, type StoreChange } from '@understudy/runtime'
import {
  crashEverywhere,
  simulateSystem,
  ProcessKilled,
  type CrashPoint,
  type RunResult,
  type SystemWorld,
} from '@understudy/runtime/simulation'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

type HardState = import('../../../packages/protocols/src/raft/raft-message.ts').HardState
type LogEntry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry
type RaftStart = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStart
type RaftStore = import('../../../packages/protocols/src/raft/raft-store.ts').RaftStore
type SnapshotMeta = import('../../../packages/protocols/src/raft/raft-message.ts').SnapshotMeta
type StoredSnapshot = import('../../../packages/protocols/src/raft/raft-store.ts').StoredSnapshot

const { openRaftStore } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-log-store.ts')
>('protocols', 'raft/raft-log-store')
const { crc32c } = await sourceModule<typeof import('../../../packages/runtime/src/platform/crc32c.ts')>(
  'runtime',
  'platform/crc32c',
)
const { logRecord, parseLogKey } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/log-record.ts')
>('protocols', 'raft/log-record')

// ---- A log in words --------------------------------------------------------------------------------------------

const configuration = { voters: ['a@1', 'b@2', 'c@3'], outgoing: [], learners: ['d@4'], learnersNext: [] }
const origin: RaftStart = {
  hard: { term: 0, vote: undefined },
  snapshot: { index: 0, term: 0, configuration },
  entries: [],
}

/** `count` commands from `first`, all in `term`. */
function run(first: number, count: number, term: number): readonly LogEntry[] {
  return Array.from({ length: count }, (_, i) => ({
    type: 'command',
    index: first + i,
    term,
    data: new TextEncoder().encode(`${first + i}/${term}`),
  }))
}

function hardState(term: number, vote?: string): HardState {
  return { term, vote }
}

function meta(index: number, term: number): SnapshotMeta {
  return { index, term, configuration }
}

/** What was loaded, in one line: `term 3 for b@2 | snapshot 4/1 | 5/1 6/3 | lost 9/3`. */
function told(start: RaftStart | undefined): string {
  if (start === undefined) return 'nothing'
  const { hard, snapshot, entries, lostUpTo } = start
  const log = entries.map((entry) => {
    const name = `${entry.index}/${entry.term}`
    if (entry.type === 'command' && new TextDecoder().decode(entry.data) !== name)
      return `${name} with other data`
    return entry.type === 'command' ? name : `${name} ${entry.type}`
  })
  const lost = lostUpTo === undefined ? '' : ` | lost ${lostUpTo.index}/${lostUpTo.term}`
  const vote = hard.vote === undefined ? '' : ` for ${hard.vote}`
  return `term ${hard.term}${vote} | snapshot ${snapshot.index}/${snapshot.term} | ${log.join(' ')}${lost}`
}

async function opened(store: Store): Promise<{ readonly disk: RaftStore; readonly found: string }> {
  const disk = openRaftStore(store)
  return { disk, found: told(await disk.load()) }
}

async function founded(store: Store): Promise<RaftStore> {
  const { disk } = await opened(store)
  await disk.found(origin)
  return disk
}

async function keys(store: Store, prefix = ''): Promise<readonly string[]> {
  const found: string[] = []
  for await (const { key } of store.range({ onCorrupt: (key) => found.push(key) })) found.push(key)
  return found.filter((key) => key.startsWith(prefix))
}

// ---- Snapshots in words ----------------------------------------------------------------------------------------

function chunksOf(text: string): readonly Uint8Array[] {
  return text.split(' ').map((word) => new TextEncoder().encode(word))
}

/** What its sender says of a snapshot whose content are these words, a chunk each. */
function offer(id: string, at: SnapshotMeta, text: string): StoredSnapshot {
  const chunks = chunksOf(text)
  return {
    meta: at,
    id,
    chunks: chunks.length,
    bytes: chunks.reduce((sum, chunk) => sum + chunk.length, 0),
    crc: chunks.reduce((crc, chunk) => crc32c(chunk, crc), 0),
  }
}

async function receive(
  disk: RaftStore,
  snapshot: StoredSnapshot,
  text: string,
  to = Infinity,
): Promise<number> {
  const from = await disk.beginReceive(snapshot)
  for (const [i, chunk] of chunksOf(text).entries()) {
    if (i >= from && i < to) await disk.receiveChunk(snapshot, i, chunk, crc32c(chunk))
  }
  return from
}

async function contentOf(disk: RaftStore, snapshot: StoredSnapshot | undefined): Promise<string> {
  const words: string[] = []
  for (let i = 0; i < (snapshot?.chunks ?? 0); i++) {
    if (snapshot !== undefined) words.push(new TextDecoder().decode(await disk.readChunk(snapshot, i)))
  }
  return words.join(' ')
}

async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  try {
    await promise
  } catch (error) {
    return error as StoreError
  }
  throw new Error('It did not fail')
}

// ---- The log ---------------------------------------------------------------------------------------------------

void test('RaftStore: a fresh store holds nothing, and what is founded and persisted is found again', async (t) => {
  const store = memoryStore()
  const { disk, found } = await opened(store)
  t.equal(found, 'nothing')
  t.equal((await opened(store)).found, 'nothing', 'to look changes nothing')
  t.same(await keys(store), [])
  await disk.found(origin)
  t.equal((await opened(store)).found, 'term 0 | snapshot 0/0 | ')
  await disk.persist(hardState(1, 'b@2'), [])
  await disk.persist(undefined, [{ type: 'noop', index: 1, term: 1 }, ...run(2, 2, 1)])
  await disk.persist(hardState(2, 'a@1'), [{ type: 'configuration', index: 4, term: 2, configuration }])
  await disk.persist(hardState(3), [])
  const again = openRaftStore(store)
  const start = await again.load()
  t.equal(told(start), 'term 3 | snapshot 0/0 | 1/1 noop 2/1 3/1 4/2 configuration')
  t.same(start?.snapshot, origin.snapshot)
  t.same(start?.entries[3], { type: 'configuration', index: 4, term: 2, configuration })
  t.equal(start?.snapshotOnDisk, undefined)
  t.equal((await keys(store, 'log/')).length, 2, 'one record a call')
})

void test('RaftStore: an entry replaces what stood there and everything behind it, however the records lie', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 10, 1))
  await disk.persist(undefined, run(11, 2, 1))
  await disk.persist(hardState(2), run(5, 2, 2))
  t.equal((await opened(store)).found, 'term 2 | snapshot 0/0 | 1/1 2/1 3/1 4/1 5/2 6/2')
  await disk.persist(undefined, run(7, 1, 2))
  await disk.persist(hardState(3), run(3, 3, 3))
  t.equal(
    (await opened(store)).found,
    'term 3 | snapshot 0/0 | 1/1 2/1 3/3 4/3 5/3',
    'nothing of old comes back',
  )
  await disk.persist(undefined, run(6, 1, 3))
  await disk.persist(hardState(4), run(1, 1, 4))
  t.equal((await opened(store)).found, 'term 4 | snapshot 0/0 | 1/4')
  t.equal((await keys(store, 'log/')).length, 1)
})

void test('RaftStore refuses what is no log: a hole, no founding, founding twice', async (t) => {
  const store = memoryStore()
  const { disk } = await opened(store)
  await t.rejects(disk.persist(undefined, run(1, 1, 1)), {
    name: 'RangeError',
    message: /found it if it is empty$/,
  })
  await disk.found(origin)
  await t.rejects(disk.found(origin), RangeError)
  await t.rejects(disk.persist(undefined, run(2, 1, 1)), {
    message: /must join the log, which goes from 1 to 0$/,
  })
  await t.rejects(openRaftStore(store).persist(hardState(1), []), RangeError, 'load comes first')
  t.equal((await opened(store)).found, 'term 0 | snapshot 0/0 | ')
})

void test('RaftStore: the keys of the log sort by index, and one that is damaged shows', async (t) => {
  const sorted = [1, 9, 10, 255, 1_000, 2 ** 31, 2 ** 40, 2 ** 53 - 1].map(
    (first) => logRecord(first, 1, 1).key,
  )
  t.same([...sorted].sort(), sorted)
  const { key } = logRecord(120, 34, 5)
  t.same(parseLogKey(key), { key, first: 120, last: 153, term: 5 })
  for (let at = 0; at < key.length; at++) {
    for (const letter of '0123456789-/ax') {
      const bad = key.slice(0, at) + letter + key.slice(at + 1)
      if (bad !== key && parseLogKey(bad) !== undefined) t.fail(`${bad} was taken for a key`)
    }
  }
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 2, 1))
  const [found = ''] = await keys(store, 'log/')
  const value = await store.get(found)
  if (value === undefined) throw new Error('no record')
  await store.write([
    { type: 'delete', key: found },
    { type: 'put', key: found.replace('-2-', '-3-'), value },
  ])
  const error = await errorOf(openRaftStore(store).load())
  t.equal(error.code, 'RUNTIME_STORE_CORRUPT')
  t.match(error.message, /"log\/0000000000000001-3-1-.*its key is damaged/)
})

// ---- R20: corrupt is not absent ----------------------------------------------------------------------------------

/** Makes a store whose records can be damaged: as a store that keeps checksums tells it. */
function fragileStore(store: Store = memoryStore()): Store & { readonly damage: (key: string) => void } {
  const damaged = new Set<string>()
  const corrupt = (key: string): StoreError =>
    new StoreError('RUNTIME_STORE_CORRUPT', `Cannot read "${key}"`, { details: { key } })
  return {
    ...store,
    failed: store.failed,
    damage: (key) => damaged.add(key),
    get: async (key) => {
      if (damaged.has(key)) throw corrupt(key)
      return store.get(key)
    },
    range: (range = {}) => ({
      async *[Symbol.asyncIterator]() {
        for await (const entry of store.range({ ...range, limit: undefined })) {
          if (!damaged.has(entry.key)) yield entry
          else if (range.onCorrupt === undefined) throw corrupt(entry.key)
          else range.onCorrupt(entry.key, corrupt(entry.key))
        }
      },
    }),
    write: async (batch: readonly StoreChange[]) => {
      await store.write(batch)
      for (const { key } of batch) damaged.delete(key)
    },
  }
}

void test('R20: a record at the end that cannot be read is lost, not absent: how far the log went stays known', async (t) => {
  const store = fragileStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 3, 1))
  await disk.persist(hardState(2), run(4, 3, 2))
  store.damage((await keys(store, 'log/'))[1] ?? '')
  t.equal((await opened(store)).found, 'term 2 | snapshot 0/0 | 1/1 2/1 3/1 | lost 6/2')
})

void test('R20: a record in the middle that cannot be read ends the usable log, and all behind it counts as lost', async (t) => {
  const store = fragileStore()
  const disk = await founded(store)
  for (const first of [1, 3, 5]) await disk.persist(undefined, run(first, 2, 1))
  store.damage((await keys(store, 'log/'))[1] ?? '')
  t.equal((await opened(store)).found, 'term 0 | snapshot 0/0 | 1/1 2/1 | lost 6/1')
  store.damage((await keys(store, 'log/'))[0] ?? '')
  t.equal((await opened(store)).found, 'term 0 | snapshot 0/0 |  | lost 6/1')
})

void test('R20: a record that is gone leaves a hole that shows; the hard state tells of one that is gone at the end', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  for (const first of [1, 3, 5]) await disk.persist(undefined, run(first, 2, 1))
  await disk.persist(hardState(7), [])
  const [, second = '', third = ''] = await keys(store, 'log/')
  await store.write([{ type: 'delete', key: second }])
  t.equal((await opened(store)).found, 'term 7 | snapshot 0/0 | 1/1 2/1 | lost 6/1')
  await store.write([{ type: 'delete', key: third }])
  t.equal((await opened(store)).found, 'term 7 | snapshot 0/0 | 1/1 2/1 | lost 6/1')
})

void test('R20: a log that was cut for good reason is not lost: what the hard state tells goes with it', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(3), run(1, 9, 3))
  await disk.persist(hardState(4), [])
  // An old leader's entry replaces those of a later one that were never committed: the log ends in a lower term.
  await disk.persist(undefined, run(2, 1, 3))
  t.equal((await opened(store)).found, 'term 4 | snapshot 0/0 | 1/3 2/3')
})

void test('R20: what is lost stays known over restarts until the log has grown past it again', async (t) => {
  const store = fragileStore()
  let disk = await founded(store)
  await disk.persist(hardState(1), run(1, 3, 1))
  await disk.persist(hardState(2), run(4, 5, 2))
  store.damage((await keys(store, 'log/'))[1] ?? '')
  const restart = async (): Promise<string> => {
    const now = await opened(store)
    disk = now.disk
    return now.found
  }
  t.equal(await restart(), 'term 2 | snapshot 0/0 | 1/1 2/1 3/1 | lost 8/2')
  t.equal(await restart(), 'term 2 | snapshot 0/0 | 1/1 2/1 3/1 | lost 8/2')
  await disk.persist(hardState(5, 'b@2'), [])
  await disk.persist(undefined, run(4, 2, 2))
  t.same((await keys(store, 'log/')).length, 2, 'the damaged record is gone')
  t.equal(
    await restart(),
    'term 5 for b@2 | snapshot 0/0 | 1/1 2/1 3/1 4/2 5/2 | lost 8/2',
    'what is lost is not',
  )
  await disk.persist(undefined, run(6, 2, 2))
  t.equal(await restart(), 'term 5 for b@2 | snapshot 0/0 | 1/1 2/1 3/1 4/2 5/2 6/2 7/2 | lost 8/2')
  await disk.persist(undefined, run(8, 1, 2))
  t.equal(await restart(), 'term 5 for b@2 | snapshot 0/0 | 1/1 2/1 3/1 4/2 5/2 6/2 7/2 8/2')
})

void test('R20: an entry of a later term ends the loss as well: nothing lost can be behind it', async (t) => {
  const store = fragileStore()
  const disk = await founded(store)
  await disk.persist(hardState(2), run(1, 9, 2))
  store.damage((await keys(store, 'log/'))[0] ?? '')
  const again = await opened(store)
  t.equal(again.found, 'term 2 | snapshot 0/0 |  | lost 9/2')
  await again.disk.persist(hardState(3), [...run(1, 1, 1), ...run(2, 1, 3)])
  t.equal((await opened(store)).found, 'term 3 | snapshot 0/0 | 1/1 2/3')
})

void test('R20: the very write that replaces a record that cannot be read keeps what is known of it', async (t) => {
  const store = fragileStore()
  const disk = await founded(store)
  await disk.persist(hardState(2), [])
  await disk.persist(undefined, run(1, 9, 2))
  store.damage((await keys(store, 'log/'))[0] ?? '')
  const again = await opened(store)
  await again.disk.persist(undefined, run(1, 2, 2))
  t.equal((await opened(store)).found, 'term 2 | snapshot 0/0 | 1/2 2/2 | lost 9/2')
})

void test('R20: without the vote or the snapshot in force nothing is loaded, and the error says where', async (t) => {
  for (const key of ['hard', 'snapshot']) {
    const store = fragileStore()
    await founded(store)
    store.damage(key)
    const error = await errorOf(openRaftStore(store).load())
    t.equal(error.code, 'RUNTIME_STORE_CORRUPT')
    t.equal(error.details['key'], key)
    const gone = memoryStore()
    await founded(gone)
    await gone.write([{ type: 'delete', key }])
    t.match(await errorOf(openRaftStore(gone).load()), {
      code: 'RUNTIME_STORE_CORRUPT',
      message: /it is not there/,
    })
    for (const bad of ['', '{', 'null', '{"format":2}', '{"format":1}', '{"format":1,"term":"x"}']) {
      await gone.write([{ type: 'put', key, value: new TextEncoder().encode(bad) }])
      t.match(
        await errorOf(openRaftStore(gone).load()),
        { code: 'RUNTIME_STORE_CORRUPT', details: { key } },
        bad,
      )
    }
  }
})

// ---- Snapshots -------------------------------------------------------------------------------------------------

void test('RaftStore: a saved snapshot is in force with the log behind it, and replaces the one before', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  for (const first of [1, 3, 5, 7]) await disk.persist(hardState(1), run(first, 2, 1))
  const one = await disk.saveSnapshot(meta(5, 1), 'a/1', chunksOf('the state at five').values(), 4)
  t.same(one, offer('a/1', meta(5, 1), 'the state at five'))
  t.equal((await keys(store, 'log/')).length, 3, 'the record that holds entry 4 is kept, whole')
  let start = await openRaftStore(store).load()
  t.equal(told(start), 'term 1 | snapshot 5/1 | 6/1 7/1 8/1')
  t.same(start?.snapshotOnDisk, one)
  t.equal(await contentOf(disk, one), 'the state at five')

  const two = await disk.saveSnapshot(meta(8, 1), 'a/2', chunksOf('eight').values(), 9)
  t.same(await keys(store), ['chunk/a%2F2/00000000', 'hard', 'snapshot'])
  start = await openRaftStore(store).load()
  t.equal(told(start), 'term 1 | snapshot 8/1 | ')
  t.equal(await contentOf(disk, start?.snapshotOnDisk), 'eight')
  t.match(await errorOf(disk.readChunk(one, 0)), {
    code: 'RUNTIME_STORE_CORRUPT',
    message: /another snapshot is in force/,
  })
  await disk.persist(undefined, run(9, 1, 1))
  t.equal((await opened(store)).found, 'term 1 | snapshot 8/1 | 9/1')
  const empty = await disk.saveSnapshot(meta(9, 1), 'a/3', chunksOf('').slice(1).values(), 10)
  t.match(empty, { chunks: 0, bytes: 0, crc: 0 })
  t.same((await openRaftStore(store).load())?.snapshotOnDisk, empty)
  t.equal(two.bytes, 5)
})

void test('RaftStore: a record that was cut goes with its last entry that rules', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 10, 1))
  await disk.persist(hardState(2), run(3, 4, 2))
  await disk.saveSnapshot(meta(5, 2), 's', chunksOf('five').values(), 4)
  t.same(await keys(store, 'log/'), [logRecord(3, 4, 2).key])
  t.equal((await opened(store)).found, 'term 2 | snapshot 5/2 | 6/2')
})

void test('RaftStore: entries are persisted while a snapshot is saved, chunk by chunk', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 4, 1))
  let taken = 0
  function* chunks(): Generator<Uint8Array> {
    for (const chunk of chunksOf('a b c')) {
      taken++
      void disk.persist(undefined, run(4 + taken, 1, 1))
      yield chunk
    }
  }
  await disk.saveSnapshot(meta(3, 1), 's', chunks(), 4)
  t.equal((await opened(store)).found, 'term 1 | snapshot 3/1 | 4/1 5/1 6/1 7/1')
  await t.rejects(disk.saveSnapshot(meta(9, 1), 's', chunks(), 4), { message: /the log ends at 7/ })
  await t.rejects(disk.saveSnapshot(meta(5, 1), 's', chunks(), 7), { message: /may be dropped/ })
})

void test('RaftStore: a snapshot whose making fails, or that is overtaken by a received one, leaves nothing', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 4, 1))
  function* failing(): Generator<Uint8Array> {
    yield* chunksOf('x y')
    throw new Error('on purpose')
  }
  await t.rejects(disk.saveSnapshot(meta(3, 1), 'f', failing(), 4), { message: 'on purpose' })
  t.same(await keys(store, 'chunk/'), [])

  const theirs = offer('b/7', meta(20, 2), 'their state')
  await receive(disk, theirs, 'their state')
  t.equal(await disk.isWhole(theirs), true)
  let isReturned = false
  function* slow(): Generator<Uint8Array> {
    try {
      yield* chunksOf('x')
      void disk.install(theirs)
      yield* chunksOf('y z')
    } finally {
      isReturned = true
    }
  }
  t.same(await disk.saveSnapshot(meta(3, 1), 'g', slow(), 4), theirs, 'what is in force is the later one')
  t.ok(isReturned, 'the walk over the state is over')
  t.same(await keys(store), ['chunk/b%2F7/00000000', 'chunk/b%2F7/00000001', 'hard', 'snapshot'])
  const more = offer('b/8', meta(30, 2), 'more')
  await disk.persist(hardState(1), run(21, 4, 2))
  await receive(disk, more, 'more')
  t.equal(await disk.isWhole(more), true)
  function* last(): Generator<Uint8Array> {
    yield* chunksOf('x')
    void disk.install(more)
  }
  t.same(
    await disk.saveSnapshot(meta(23, 2), 'i', last(), 24),
    more,
    'also when it comes with the last chunk',
  )
  t.same(await keys(store), ['chunk/b%2F8/00000000', 'hard', 'snapshot'])
  function* late(): Generator<Uint8Array> {
    yield* chunksOf('never')
  }
  t.same(await disk.saveSnapshot(meta(30, 2), 'h', late(), 31), more, 'nor is one taken that is no news')
  t.equal((await opened(store)).found, 'term 1 | snapshot 30/2 | ')
})

void test('RaftStore: receiving goes on where it was, over restarts, and installing ends the log before it', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 4, 1))
  const text = 'so much state as can be'
  const theirs = offer('b/1', meta(9, 2), text)
  t.equal(await receive(disk, theirs, text, 4), 0)
  t.equal(await disk.beginReceive(theirs), 4)
  t.equal(await disk.isWhole(theirs), false)
  await t.rejects(disk.install(theirs), { message: /4 of its 6 chunks are here/ })
  const again = await opened(store)
  t.equal(again.found, 'term 1 | snapshot 0/0 | 1/1 2/1 3/1 4/1')
  t.equal(await receive(again.disk, theirs, text), 4, 'they are checked and counted after a restart')
  t.equal(await again.disk.isWhole(theirs), true)
  await again.disk.install(theirs)
  t.equal(await contentOf(again.disk, theirs), text)
  await again.disk.persist(hardState(2), run(10, 1, 2))
  const start = await openRaftStore(store).load()
  t.equal(told(start), 'term 2 | snapshot 9/2 | 10/2')
  t.same(start?.snapshotOnDisk, theirs)
  t.equal((await keys(store)).includes('receiving'), false)
  await t.rejects(again.disk.beginReceive(theirs), { message: /it is in force here$/ })
})

void test('RaftStore: a snapshot that is begun forgets the one that was being received', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  const one = offer('b/1', meta(9, 2), 'a b c')
  await receive(disk, one, 'a b c', 2)
  const two = offer('c/1', meta(12, 3), 'd e')
  t.equal(await disk.beginReceive(two), 0)
  t.same(await keys(store, 'chunk/'), [])
  const [a = new Uint8Array()] = chunksOf('a')
  await t.rejects(disk.receiveChunk(one, 0, a, crc32c(a)), { message: /it is not being received/ })
  await t.rejects(disk.receiveChunk(two, 0, a, 1), { message: /its CRC-32C is wrong$/ })
  await t.rejects(disk.receiveChunk(two, 2, a, crc32c(a)), RangeError)
  const [d = new Uint8Array(), e = new Uint8Array()] = chunksOf('d e')
  await disk.receiveChunk(two, 1, e, crc32c(e))
  t.equal(await disk.beginReceive(two), 0, 'one behind a hole does not count')
  await disk.receiveChunk(two, 0, d, crc32c(d))
  t.equal(await receive(disk, two, 'd e'), 1)
  t.equal(await disk.isWhole(two), true)
})

void test('RaftStore: a damaged chunk of a snapshot is found, named, and received again', async (t) => {
  const store = fragileStore()
  const disk = await founded(store)
  const theirs = offer('b/1', meta(9, 2), 'a b c')
  await receive(disk, theirs, 'a b c')
  store.damage('chunk/b%2F1/00000001')
  t.equal(await disk.isWhole(theirs), false)
  t.equal(await receive(disk, theirs, 'a b c'), 1)
  t.equal(await disk.isWhole(theirs), true)
  store.damage('chunk/b%2F1/00000000')
  const again = await opened(store)
  t.equal(await receive(again.disk, theirs, 'a b c'), 0)
  t.equal(await again.disk.isWhole(theirs), true)
  await again.disk.install(theirs)
  store.damage('chunk/b%2F1/00000002')
  t.match(await errorOf(again.disk.readChunk(theirs, 2)), {
    code: 'RUNTIME_STORE_CORRUPT',
    details: { key: 'chunk/b%2F1/00000002' },
  })
  await store.write([{ type: 'put', key: 'chunk/b%2F1/00000000', value: new Uint8Array([0, 0, 0, 1, 65]) }])
  t.match(await errorOf(again.disk.readChunk(theirs, 0)), { message: /its CRC-32C is wrong/ })

  const wrong = { ...offer('b/2', meta(19, 2), 'a b c'), crc: 1 }
  await receive(again.disk, wrong, 'a b c')
  t.equal(await again.disk.isWhole(wrong), false)
  t.equal(await again.disk.beginReceive(wrong), 0, 'chunks that make no whole are all received again')
})

void test('RaftStore: a load sweeps the chunks of what was interrupted, and only those', async (t) => {
  const store = memoryStore()
  const disk = await founded(store)
  await disk.persist(hardState(1), run(1, 4, 1))
  await disk.saveSnapshot(meta(2, 1), 'own/1', chunksOf('in force').values(), 3)
  await receive(disk, offer('b/1', meta(9, 2), 'a b c'), 'a b c', 2)
  const garbage = ['chunk/own%2F2/00000000', 'chunk/own%2F2/00000001', 'chunk/z/00000000', 'chunk/damaged']
  await store.write(garbage.map((key) => ({ type: 'put', key, value: new Uint8Array([1]) })))
  await opened(store)
  t.same(await keys(store, 'chunk/'), [
    'chunk/b%2F1/00000000',
    'chunk/b%2F1/00000001',
    'chunk/own%2F1/00000000',
    'chunk/own%2F1/00000001',
  ])
  const overtaken = offer('b/1', meta(2, 1), 'a b c')
  await receive(disk, overtaken, 'a b c', 1)
  await opened(store)
  t.same(
    await keys(store, 'chunk/'),
    ['chunk/own%2F1/00000000', 'chunk/own%2F1/00000001'],
    'no news any more',
  )
})

// ---- Crash everywhere ------------------------------------------------------------------------------------------

interface Scene {
  readonly prepare: (disk: RaftStore) => Promise<void>
  /** Calls `done` when what was given out is durable, as often as there are steps. */
  readonly act: (disk: RaftStore, done: () => void) => Promise<unknown>
  /** What may be found when at least so many steps are durable. */
  readonly isRight: (found: Found, steps: number) => boolean
}

interface Found {
  readonly log: string
  readonly content: string
  /** Where to go on receiving. */
  readonly received: number
}

const theirText = 'what they had'
const their = offer('b/1', meta(6, 2), theirText)

/** Seed 0 loses nothing at a crash that has left the process; others lose what was not acknowledged, as they draw. */
function crashing(scene: Scene, seed: number): (crash: CrashPoint | undefined) => Promise<RunResult> {
  return (crash) =>
    simulateSystem({ seed, crash, ...(seed === 0 ? { choices: [] } : {}) }, async (world: SystemWorld) => {
      const open = async (): Promise<{
        readonly disk: RaftStore
        readonly start: Awaited<ReturnType<RaftStore['load']>>
      }> => {
        const disk = openRaftStore((await world.process.platform.openStore('raft')).scope('group'))
        return { disk, start: await disk.load() }
      }
      await world.start()
      const { disk } = await open()
      await disk.found(origin)
      await scene.prepare(disk)
      let steps = 0
      const died = (error: unknown): void => {
        if (!(error instanceof ProcessKilled)) throw error
      }
      await world.operation(() => world.call(() => scene.act(disk, () => steps++)).catch(died))
      if (crash === undefined) {
        world.kill()
        await world.restart()
      }
      await world.whenUp()
      const { disk: again, start } = await open()
      const log = told(start)
      const received = start !== undefined && start.snapshot.index < 6 ? await again.beginReceive(their) : -1
      const content = await contentOf(again, start?.snapshotOnDisk)
      const right = scene.isRight({ log, content, received }, steps)
      world.check('disk-is-right', right, `after ${steps} steps: ${log}; "${content}"; ${received} received`)
      // Whatever it holds can be gone on with.
      const last = start?.entries.at(-1) ?? start?.snapshot ?? { index: 0, term: 0 }
      await again.persist(hardState(9), run(last.index + 1, 1, 9))
    })
}

async function survives(scene: Scene): Promise<number> {
  let points = 0
  for (let seed = 0; seed < 12; seed++) {
    const result = await crashEverywhere({ run: crashing(scene, seed) })
    const [failure] = result.failures
    if (failure !== undefined) {
      throw new Error(`seed ${seed}, ${JSON.stringify(failure.crash)}: ${failure.result.violation?.message}`)
    }
    points += result.points
  }
  return points
}

void test('R1, R20: crash everywhere while entries are appended and replaced: what was acknowledged is there, all or nothing', async (t) => {
  const states = [
    'term 1 | snapshot 0/0 | 1/1 2/1 3/1 4/1',
    'term 1 | snapshot 0/0 | 1/1 2/1 3/1 4/1 5/1 6/1',
    'term 2 for b@2 | snapshot 0/0 | 1/1 2/1 3/1 4/1 5/1 6/1',
    'term 2 for b@2 | snapshot 0/0 | 1/1 2/1 3/2',
    'term 2 for b@2 | snapshot 0/0 | 1/1 2/1 3/2 4/2 5/2',
    'term 3 | snapshot 0/0 | 1/1 2/3',
  ]
  const points = await survives({
    prepare: (disk) => disk.persist(hardState(1), run(1, 4, 1)),
    act: async (disk, done) => {
      await Promise.all(
        [
          disk.persist(undefined, run(5, 2, 1)),
          disk.persist(hardState(2, 'b@2'), []),
          disk.persist(undefined, run(3, 1, 2)),
        ].map((write) => write.then(done)),
      )
      await disk.persist(undefined, run(4, 2, 2)).then(done)
      await disk.persist(hardState(3), run(2, 1, 3)).then(done)
    },
    isRight: ({ log }, steps) => states.indexOf(log) >= steps,
  })
  t.ok(points >= 12 * 10, `${points} points`)
})

void test('R13, R14: crash everywhere while a snapshot is saved and the log grows: one of both always covers an entry', async (t) => {
  const points = await survives({
    prepare: async (disk) => {
      for (const first of [1, 3, 5]) await disk.persist(hardState(1), run(first, 2, 1))
      await disk.saveSnapshot(meta(2, 1), 'own/1', chunksOf('two').values(), 3)
    },
    act: async (disk, done) => {
      const saved = disk.saveSnapshot(meta(5, 1), 'own/2', chunksOf('state at five').values(), 6)
      await Promise.all([saved, disk.persist(undefined, run(7, 1, 1)).then(done)])
      done()
    },
    isRight: ({ log, content }, steps) => {
      const old = content === 'two' && /^term 1 \| snapshot 2\/1 \| 3\/1 4\/1 5\/1 6\/1( 7\/1)?$/.test(log)
      const fresh = content === 'state at five' && /^term 1 \| snapshot 5\/1 \| 6\/1( 7\/1)?$/.test(log)
      return (old || fresh) && (steps < 1 || log.endsWith(' 7/1')) && (steps < 2 || fresh)
    },
  })
  t.ok(points >= 12 * 8, `${points} points`)
})

void test('R13: crash everywhere while a snapshot is received and installed: the log before it, or it, never neither', async (t) => {
  const points = await survives({
    prepare: (disk) => disk.persist(hardState(1), run(1, 4, 1)),
    act: async (disk, done) => {
      await disk.beginReceive(their)
      for (const [i, chunk] of chunksOf(theirText).entries()) {
        await disk.receiveChunk(their, i, chunk, crc32c(chunk)).then(done)
      }
      if (!(await disk.isWhole(their))) throw new Error('it is not whole')
      const ended = disk.install(their).then(done)
      await Promise.all([ended, disk.persist(hardState(2), run(7, 1, 2)).then(done)])
    },
    isRight: ({ log, content, received }, steps) => {
      // Nothing that was acknowledged is received twice.
      const before = 'term 1 | snapshot 0/0 | 1/1 2/1 3/1 4/1'
      if (log === before && content === '') return steps <= 3 && received >= steps
      if (steps < 3 || content !== theirText) return false
      return log === 'term 2 | snapshot 6/2 | 7/2' || (steps === 3 && log === 'term 1 | snapshot 6/2 | ')
    },
  })
  t.ok(points >= 12 * 12, `${points} points`)
})

void test('crash everywhere while a load sweeps what an interrupted save left: the log is the same, and it is swept', async (t) => {
  const points = await survives({
    prepare: async (disk) => {
      await disk.persist(hardState(1), run(1, 4, 1))
      const [a = new Uint8Array()] = chunksOf('a')
      const other = offer('z/1', meta(9, 2), 'a b')
      await disk.beginReceive(other)
      await disk.receiveChunk(other, 0, a, crc32c(a))
      await disk.beginReceive(their)
      await disk.receiveChunk(their, 0, a, crc32c(a))
    },
    act: async (disk, done) => {
      await disk.load()
      await disk.saveSnapshot(meta(3, 1), 'own/9', chunksOf('x y').values(), 4)
      done()
      await disk.load()
      done()
    },
    isRight: ({ log }, steps) =>
      log === 'term 1 | snapshot 3/1 | 4/1' ||
      (steps === 0 && log === 'term 1 | snapshot 0/0 | 1/1 2/1 3/1 4/1'),
  })
  t.ok(points > 0, `${points} points`)
})

void test('R20: a bit that a simulated disk flips is found, wherever in the log it is', async (t) => {
  let lost = 0
  for (let record = 0; record < 3; record++) {
    const result = await simulateSystem({ seed: record + 1 }, async (world) => {
      await world.start()
      const disk = openRaftStore((await world.process.platform.openStore('raft')).scope('group'))
      await disk.load()
      await disk.found(origin)
      for (const first of [1, 3, 5]) await disk.persist(hardState(1), run(first, 2, 1))
      world.kill()
      const key = logRecord(1 + 2 * record, 2, 1).key
      world.machine.disk.controls.flip('raft', `group/${key}`, world.choose(64, 'bit'))
      await world.restart()
      const again = openRaftStore((await world.process.platform.openStore('raft')).scope('group'))
      const found = told(await again.load())
      const kept = ['', '1/1 2/1', '1/1 2/1 3/1 4/1'][record]
      world.check('lost', found === `term 1 | snapshot 0/0 | ${kept} | lost 6/1`, found)
      lost++
    })
    t.equal(result.violation?.message, undefined)
  }
  t.equal(lost, 3)
})
