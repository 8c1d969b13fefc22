/** Group commit, with a database in which the test says when a write ends, and how. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

type StoreChange = import('../../../packages/runtime/src/platform/store.ts').StoreChange
type LevelBatch = import('../../../packages/runtime/src/platform/level-engine.ts').LevelBatch
type LevelDatabase = import('../../../packages/runtime/src/platform/level-engine.ts').LevelDatabase

const { LevelEngine } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/level-engine.ts')
>('runtime', 'platform/level-engine')
const { decodeKey } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-key.ts')
>('runtime', 'platform/store-key')
const { StoreError } = await sourceModule<
  typeof import('../../../packages/runtime/src/platform/store-error.ts')
>('runtime', 'platform/store-error')

class FakeBatch implements LevelBatch {
  readonly keys: string[] = []
  readonly values: Uint8Array[] = []
  isLeaving = false
  isClosed = false
  refusesAt = ''
  settle: (error?: Error) => void = () => undefined

  put(key: Uint8Array, value: Uint8Array): void {
    if (this.isLeaving || this.isClosed) throw new Error('the batch is gone')
    if (decodeKey(key) === this.refusesAt) throw new Error('refused')
    this.keys.push(decodeKey(key))
    this.values.push(Uint8Array.from(value))
  }

  del(key: Uint8Array): void {
    this.keys.push(`-${decodeKey(key)}`)
  }

  write(options: { sync: true }): Promise<void> {
    if (!options.sync) throw new Error('it must be durable')
    this.isLeaving = true
    return new Promise((resolve, reject) => {
      this.settle = (error) => (error === undefined ? resolve() : reject(error))
    })
  }

  close(): Promise<void> {
    this.isClosed = true
    return Promise.resolve()
  }
}

/** An engine, its batches as they were opened, and what happened in which order. */
class Bench {
  readonly batches: FakeBatch[] = []
  readonly log: string[] = []
  refusesAt = ''
  readonly #database: LevelDatabase = {
    get: async () => undefined,
    put: async (key) => void this.log.push(`put ${decodeKey(key)}`),
    openBatch: () => {
      const batch = new FakeBatch()
      batch.refusesAt = this.refusesAt
      this.batches.push(batch)
      return batch
    },
    iterate: () => {
      throw new Error('nobody reads')
    },
    close: async () => void this.log.push('database closed'),
  }
  readonly engine = new LevelEngine(this.#database, {
    directory: '/data',
    stopWatching: () => undefined,
    release: () => void this.log.push('released'),
  })

  write(...keys: string[]): void {
    const batch = keys.map((key): StoreChange => ({ type: 'put', key, value: new Uint8Array(10) }))
    this.engine.write('', batch).then(
      () => this.log.push(keys.join('+')),
      (error: InstanceType<typeof StoreError>) => this.log.push(`${keys.join('+')}: ${error.code}`),
    )
  }

  /** What has been sent to the disk. */
  get left(): string {
    return this.batches
      .map(({ isLeaving, keys }) => (isLeaving ? keys.join(' ') : `(${keys.join(' ')})`))
      .join(' | ')
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

void test('LevelEngine sends what came in one turn together, and what comes meanwhile in the next batch', async (t) => {
  const bench = new Bench()
  bench.write('a')
  bench.write('b1', 'b2')
  t.equal(bench.left, '(a b1 b2)', 'nothing leaves within the turn')
  await turn()
  t.equal(bench.left, 'a b1 b2')
  bench.write('c')
  bench.write('d')
  await turn()
  bench.write('e')
  t.equal(bench.left, 'a b1 b2 | (c d e)', 'one batch is under way at a time')
  t.same(bench.log, [], 'nobody hears anything before it is durable')
  bench.batches[0]?.settle()
  await turn()
  t.equal(bench.left, 'a b1 b2 | c d e')
  t.same(bench.log, ['a', 'b1+b2'])
  bench.batches[1]?.settle()
  await turn()
  t.same(bench.log, ['a', 'b1+b2', 'c', 'd', 'e'], 'each call settles by itself, in the order of the calls')
  bench.write('f')
  await turn()
  bench.batches[2]?.settle()
  await turn()
  t.equal(bench.left, 'a b1 b2 | c d e | f', 'it starts again after it was idle')
})

void test('LevelEngine: what the turn sends is with the sockets before the disk is woken; a batch that waited leaves at once', async (t) => {
  const bench = new Bench()
  const microtasks = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) await Promise.resolve()
  }
  bench.write('a')
  await microtasks()
  t.equal(bench.left, '(a)')
  bench.write('b')
  await turn()
  t.equal(bench.left, 'a b')
  bench.write('c')
  bench.batches[0]?.settle()
  await microtasks()
  t.equal(bench.left, 'a b | c')
  bench.batches[1]?.settle()
  await microtasks()
  bench.write('d')
  await microtasks()
  t.equal(bench.left, 'a b | c | (d)', 'after a pause it is as at first')
})

void test('LevelEngine sends large groups in parts of about 4 MiB', async (t) => {
  const bench = new Bench()
  const value = new Uint8Array(1_500_000)
  for (const key of ['a', 'b', 'c', 'd']) void bench.engine.write('', [{ type: 'put', key, value }])
  await turn()
  t.equal(bench.left, 'a b c | (d)')
})

void test('LevelEngine write fails: its group hears why, those behind are refused, and nothing is tried again', async (t) => {
  const bench = new Bench()
  bench.write('a')
  bench.write('b')
  await turn()
  bench.write('c')
  const cause = Object.assign(new Error('IO error: /data/000003.log: Input/output error'), {
    code: 'LEVEL_IO_ERROR',
  })
  bench.batches[0]?.settle(cause)
  await turn()
  bench.write('d')
  await turn()
  t.same(bench.log, [
    'a: RUNTIME_STORE_FAILED',
    'b: RUNTIME_STORE_FAILED',
    'c: RUNTIME_STORE_FAILED',
    'd: RUNTIME_STORE_FAILED',
  ])
  t.equal(bench.left, 'a b | (c)', 'c was never sent')
  t.ok(bench.batches[1]?.isClosed, 'and is dropped')
  const failure = await bench.engine.failed
  t.match(failure, { details: { errorName: 'EIO', directory: '/data' }, cause })
  await bench.engine.close()
  t.same(bench.log.slice(4), ['database closed', 'released'], 'nothing is written at the end either')
})

void test('LevelEngine that fails while a write is under way does not believe that it went well', async (t) => {
  const bench = new Bench()
  bench.write('a')
  await turn()
  bench.write('b')
  const gone = new StoreError('RUNTIME_STORE_FAILED', 'The directory is gone')
  bench.engine.fail(gone)
  bench.batches[0]?.settle()
  await turn()
  t.same(bench.log, ['a: RUNTIME_STORE_FAILED', 'b: RUNTIME_STORE_FAILED'])
  t.equal(bench.left, 'a | (b)')
})

void test('LevelEngine never sends half of a batch', async (t) => {
  const bench = new Bench()
  bench.refusesAt = 'b2'
  bench.write('a')
  bench.write('b1', 'b2', 'b3')
  bench.write('c')
  await turn()
  t.same(
    bench.log,
    ['a', 'b1+b2+b3', 'c'].map((keys) => `${keys}: RUNTIME_STORE_FAILED`),
  )
  t.equal(bench.left, '(a b1)')
})

void test('LevelEngine close waits for what is under way, marks the end, and gives the directory back', async (t) => {
  const bench = new Bench()
  bench.write('a')
  await turn()
  bench.write('b')
  const closed = bench.engine.close()
  await turn()
  bench.batches[0]?.settle()
  await turn()
  t.same(bench.log, ['a'], 'not yet')
  bench.batches[1]?.settle()
  await closed
  t.same(bench.log, ['a', 'b', 'put closed', 'database closed', 'released'])
})

void test('LevelEngine write of nothing waits for what came before it', async (t) => {
  const bench = new Bench()
  await bench.engine.write('', [])
  bench.write('a')
  bench.write()
  await turn()
  t.same(bench.log, [])
  bench.batches[0]?.settle()
  await turn()
  t.same(bench.log, ['a', ''])
  t.equal(bench.batches.length, 1)
})
