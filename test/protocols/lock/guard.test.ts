/** Guarded resources: none of them takes anything from a holder once a later one has been seen, also after a crash of the guard. */
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import {
  actor,
  ask,
  child,
  memoryStore,
  protocol,
  supervisor,
  tell,
  type Store,
  type StoreChange,
} from '@understudy/runtime'
import { testSystem } from '@understudy/runtime/testkit'
import {
  fencedReason,
  guard,
  guardActor,
  guardKv,
  guardSqlStatement,
  guardStore,
  storeTokenMemory,
} from '@understudy/protocols'
import Type from 'typebox'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { kvCluster } from '../kv/kv-cluster.ts'

const { LockError } = await sourceModule<typeof import('../../../packages/protocols/src/lock/lock-error.ts')>(
  'protocols',
  'lock/lock-error',
)

const text = new TextEncoder()

/** A promise that waits until it is opened. */
function makeGate(): { readonly promise: Promise<undefined>; readonly open: () => void } {
  let open: () => void = () => undefined
  const promise = new Promise<undefined>((resolve) => {
    open = () => resolve(undefined)
  })
  return { promise, open }
}

// ---- guard -----------------------------------------------------------------------------------------------------------

void test('guard lets in whoever has the highest token so far, and refuses the past (L1)', async (t) => {
  const file: string[] = []
  const guarded = guard(file, { name: 'file' })
  await guarded.run(3, (lines) => lines.push('3'))
  await guarded.run({ token: 3 }, (lines) => lines.push('3 again'))
  await guarded.run(7, async (lines) => lines.push('7'))
  await t.rejects(
    guarded.run(6, (lines) => lines.push('6')),
    {
      code: 'LOCK_FENCED',
      details: { resource: 'file', token: 6, highest: 7 },
    },
  )
  t.same(file, ['3', '3 again', '7'])
  t.equal(guarded.highest(), 7)
  for (const token of [0, -1, 1.5, Number.NaN])
    await t.rejects(
      guarded.run(token, () => undefined),
      RangeError,
    )
})

void test('guard runs one work at a time: what was let in has ended before a later holder begins, and is told to end', async (t) => {
  const events: string[] = []
  const guarded = guard(events)
  const gate = makeGate()
  const old = guarded.run(1, async (lines, signal) => {
    lines.push('1 begins')
    signal.addEventListener('abort', () => lines.push('1 is told'))
    await gate.promise
    lines.push('1 ends')
  })
  const late = guarded.run(1, (lines) => lines.push('1 late'))
  await setImmediate()
  const next = guarded.run(2, (lines) => lines.push('2'))
  t.same(events, ['1 begins', '1 is told'])
  const older = guarded.run(1, () => undefined)
  gate.open()
  await t.rejects(late, { code: 'LOCK_FENCED' }, 'it waited for its turn, and another came meanwhile')
  await t.rejects(older, { code: 'LOCK_FENCED' })
  await Promise.all([old, next])
  t.same(events, ['1 begins', '1 is told', '1 ends', '2'])
})

void test('guard does nothing for a holder that has lost what it held, or has given up', async (t) => {
  const guarded = guard<string[]>([])
  const lost = new AbortController()
  const held = { token: 5, signal: lost.signal }
  const gate = makeGate()
  const seen: string[] = []
  const running = guarded.run(held, async (_, signal) => {
    signal.addEventListener('abort', () => seen.push('told'))
    await gate.promise
  })
  const waiting = guarded.run(held, () => seen.push('late'))
  const givenUp = new AbortController()
  const other = guarded.run(5, () => seen.push('given up'), { signal: givenUp.signal })
  givenUp.abort()
  await t.rejects(other, { code: 'RUNTIME_ABORTED' })
  lost.abort(new LockError('LOCK_LOST', 'lost'))
  gate.open()
  await running
  await t.rejects(waiting, { code: 'LOCK_LOST' })
  await t.rejects(
    guarded.run(held, () => seen.push('later')),
    { code: 'LOCK_LOST' },
  )
  t.same(seen, ['told'])
})

void test('guard goes on behind a work that failed, and bounds what waits', async (t) => {
  const guarded = guard({}, { waitingMax: 2 })
  const gate = makeGate()
  const first = guarded.run(1, () => gate.promise)
  await setImmediate()
  const failing = guarded.run(1, () => {
    throw new Error('on purpose')
  })
  const third = guarded.run(1, () => 'done')
  await t.rejects(
    guarded.run(1, () => undefined),
    { code: 'LOCK_LIMIT', details: { limit: 'waitingMax' } },
  )
  gate.open()
  await first
  await t.rejects(failing, /on purpose/)
  t.equal(await third, 'done')
  t.throws(() => guard({}, { waitingMax: 0 }), RangeError)
})

void test('guard with a memory: made anew it refuses what the one before it refused; without, it has forgotten', async (t) => {
  const store = memoryStore()
  const first = guard({}, { memory: storeTokenMemory(store) })
  await first.run(9, () => undefined)
  const second = guard({}, { memory: storeTokenMemory(store) })
  await t.rejects(
    second.run(8, () => undefined),
    { code: 'LOCK_FENCED', details: { highest: 9 } },
  )
  await second.run(9, () => undefined)
  await second.raise(12)
  await t.rejects(
    guard({}, { memory: storeTokenMemory(store) }).run(11, () => undefined),
    { code: 'LOCK_FENCED' },
  )
  const forgetful = guard({})
  t.equal(await forgetful.run(1, () => 'let in'), 'let in', 'what the doc comment warns of')
  await store.write([{ type: 'put', key: 'understudy/fence', value: text.encode('nonsense') }])
  await t.rejects(
    guard({}, { memory: storeTokenMemory(store) }).run(13, () => undefined),
    /must be 16 digits/,
  )
})

void test('guard with a memory writes the token before the work begins, and does not work when it could not', async (t) => {
  const events: string[] = []
  let isBroken = false
  const memory = {
    load: async () => 0,
    save: async (token: number) => {
      if (isBroken) throw new Error('the disk is full')
      events.push(`saved ${token}`)
    },
  }
  const guarded = guard(events, { memory })
  await guarded.run(2, (lines) => lines.push('work 2'))
  await guarded.run(2, (lines) => lines.push('work 2 again'))
  isBroken = true
  await t.rejects(
    guarded.run(3, (lines) => lines.push('work 3')),
    /disk is full/,
  )
  await t.rejects(
    guarded.run(2, (lines) => lines.push('work 2 late')),
    { code: 'LOCK_FENCED' },
  )
  isBroken = false
  await guarded.run(3, (lines) => lines.push('work 3'))
  t.same(events, ['saved 2', 'work 2', 'work 2 again', 'saved 3', 'work 3'])
  const losing = new AbortController()
  const slow = guard(events, { memory: { ...memory, save: async () => losing.abort() } })
  await t.rejects(
    slow.run({ token: 4, signal: losing.signal }, (lines) => lines.push('work 4')),
    { code: 'LOCK_LOST' },
    'lost while the token was written',
  )
  t.equal(events.includes('work 4'), false)
})

// ---- guardStore ------------------------------------------------------------------------------------------------------

function put(key: string, value: string): StoreChange {
  return { type: 'put', key, value: text.encode(value) }
}

/** A store that keeps what was written, so that it can be had as it was after any number of writes. */
function recording(store: Store): { readonly store: Store; readonly batches: (readonly StoreChange[])[] } {
  const batches: (readonly StoreChange[])[] = []
  return {
    batches,
    store: {
      ...store,
      write: (batch) => {
        batches.push(batch)
        return store.write(batch)
      },
    },
  }
}

void test('guardStore: a crash between any two writes leaves data and token together, and the next guard refuses the past', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 6 }), { maxLength: 20 }), async (tokens) => {
      const { store, batches } = recording(memoryStore())
      const guarded = guardStore(store)
      const results = await Promise.allSettled(
        tokens.map((token, at) => guarded.write(token, [put('data', `${at} by ${token}`)])),
      )
      let highest = 0
      const isLetIn = tokens.map((token) => token >= highest && ((highest = token), true))
      t.same(
        results.map(({ status }) => status === 'fulfilled'),
        isLetIn,
      )
      for (let until = 0; until <= batches.length; until++) {
        const left = memoryStore()
        for (const batch of batches.slice(0, until)) await left.write(batch)
        const data = new TextDecoder().decode((await left.get('data')) ?? text.encode('by 0'))
        const next = guardStore(left)
        t.equal(await next.highest(), Number(data.split('by ')[1]))
        if ((await next.highest()) > 1) {
          await t.rejects(next.write((await next.highest()) - 1, []), { code: 'LOCK_FENCED' })
        }
      }
    }),
    { numRuns: 30 },
  )
})

void test('guardStore: raise refuses the holder before, and the token has its own key', async (t) => {
  const store = memoryStore().scope('orders')
  const guarded = guardStore(store, { tokenKey: 'meta/fence', name: 'orders' })
  await guarded.write(4, [put('a', 'x')])
  await guarded.raise(5)
  await t.rejects(guarded.write({ token: 4 }, [put('a', 'late')]), {
    code: 'LOCK_FENCED',
    message: /"orders" refuses token 4: it has seen 5/,
  })
  t.equal(new TextDecoder().decode(await store.get('a')), 'x')
  t.ok(await store.get('meta/fence'))
  await t.rejects(guarded.write(5, [{ type: 'delete', key: 'meta/fence' }]), RangeError)
})

// ---- guardKv ---------------------------------------------------------------------------------------------------------

void test('guardKv: clients on two nodes, one transaction each: the older token is refused and nothing is done', async (t) => {
  await using kv = await kvCluster()
  const { get } = kv
  const one = kv.client('d')
  const other = kv.client('a')
  const old = guardKv(one, { tokenKey: 'fence/orders' })
  const young = guardKv(other, { tokenKey: 'fence/orders', name: 'orders' })
  t.equal(await get(old.highest()), 0)
  await get(old.put(9, 'order', 'first'))
  await get(old.put(9, 'order', 'first again'))
  await get(young.raise(10))
  t.equal(await get(old.highest()), 10)
  const refused = await kv.cluster.outcome(old.put(9, 'order', 'late'))
  t.match(refused, { error: { code: 'LOCK_FENCED', details: { token: 9, highest: 10 } } })
  t.match(await kv.cluster.outcome(old.delete(9, 'order')), { error: { code: 'LOCK_FENCED' } })
  t.equal(Buffer.from((await get(one.get('order')))?.value ?? []).toString(), 'first again')
  t.match(
    await get(
      young.write(10, [
        { type: 'put', key: 'order', value: 'second' },
        { type: 'get', from: 'order' },
      ]),
    ),
    { results: [{ type: 'put' }, { type: 'get', count: 1 }] },
  )
  t.match(await get(young.delete(10, 'order')), { deleted: 1 })
  t.match(await kv.cluster.outcome(young.delete(10, { prefix: '' })), { error: { code: 'KV_BAD_REQUEST' } })
  await get(young.put(100_000_000, 'order', 'by a much later one'))
  t.match(await kv.cluster.outcome(young.put(99_999_999, 'order', 'x')), { error: { code: 'LOCK_FENCED' } })
})

// ---- guardActor ------------------------------------------------------------------------------------------------------

const token = Type.Integer()
const Account = protocol('guarded-account', {
  put: ask({ token, value: Type.String() }, Type.String()),
  note: tell({ token, value: Type.String() }),
  read: ask(Type.Array(Type.String())),
  crash: tell(),
})

/** Its lines outlive the actor, as a file does. */
function account(lines: string[], isRemembered: boolean): ReturnType<typeof child> {
  const definition = actor(Account, (ctx) => {
    const handlers = {
      put: ({ token: by, value }: { readonly token: number; readonly value: string }) => {
        lines.push(`${value} by ${by}`)
        return value
      },
      note: ({ value }: { readonly value: string }) => void lines.push(value),
      read: () => lines,
      crash: () => {
        throw new Error('on purpose')
      },
    }
    type Messages = (typeof Account)['messages']
    if (!isRemembered) return guardActor<Messages>(handlers, { name: 'account' })
    return guardActor<Messages>(handlers, { name: 'account', memory: storeTokenMemory(ctx.store('fence')) })
  })
  return child('account', definition)
}

void test('guardActor: messages with an old token are refused, others pass, and the memory outlives a crash of the actor', async (t) => {
  for (const isRemembered of [true, false]) {
    const lines: string[] = []
    await using system = await testSystem(supervisor({}, [account(lines, isRemembered)]))
    const ref = system.ref(Account, '/user/account')
    const settled = async (promise: Promise<unknown>): Promise<unknown> => {
      const outcome = promise.then(
        (value) => ({ value }),
        (error: unknown) => ({ error }),
      )
      await system.platform.advance(100)
      return outcome
    }
    t.match(await settled(ref.ask({ type: 'put', token: 4, value: 'a' })), { value: 'a' })
    t.match(await settled(ref.ask({ type: 'put', token: 4, value: 'b' })), { value: 'b' })
    ref.tell({ type: 'note', token: 6, value: 'note of 6' })
    t.match(await settled(ref.ask({ type: 'put', token: 5, value: 'late' })), {
      error: {
        code: 'RUNTIME_REJECTED',
        reason: fencedReason,
        data: { resource: 'account', token: 5, highest: 6 },
      },
    })
    ref.tell({ type: 'note', token: 5, value: 'late note' })
    t.match(await settled(ref.ask({ type: 'put', token: 0, value: 'none' })), {
      error: { reason: 'bad-token' },
    })
    t.match(await settled(ref.ask({ type: 'read' })), { value: ['a by 4', 'b by 4', 'note of 6'] })
    ref.tell({ type: 'crash' })
    await system.platform.advance(5_000)
    const late = await settled(ref.ask({ type: 'put', token: 5, value: 'behind the crash' }))
    if (isRemembered) t.match(late, { error: { reason: fencedReason } })
    else
      t.match(
        late,
        { value: 'behind the crash' },
        'without a memory it has forgotten: what the doc comment warns of',
      )
  }
})

// ---- guardSqlStatement -----------------------------------------------------------------------------------------------

interface Sqlite {
  readonly exec: (sql: string) => void
  readonly prepare: (sql: string) => {
    readonly run: (values: object) => { readonly changes: number | bigint }
    readonly get: (values: object) => { readonly token: number } | undefined
  }
}

/** Node 22 has SQLite; Node 20 has not. */
async function sqlite(): Promise<Sqlite | undefined> {
  try {
    const { DatabaseSync } = (await import('node:sqlite' as string)) as {
      readonly DatabaseSync: new (path: string) => Sqlite
    }
    return new DatabaseSync(':memory:')
  } catch {
    return undefined
  }
}

/**
 * What `raise` does, told in TypeScript: where there is no SQLite the logic of the statement is what is tested, and not its
 * text.
 */
class FenceTable {
  readonly #tokens = new Map<string, number>()

  raise(resource: string, by: number): number {
    const before = this.#tokens.get(resource)
    // INSERT ... ON CONFLICT DO UPDATE ... WHERE understudy_fence.token <= excluded.token
    if (before !== undefined && !(before <= by)) return 0
    this.#tokens.set(resource, by)
    return 1
  }

  highest(resource: string): number | undefined {
    return this.#tokens.get(resource)
  }
}

void test('guardSqlStatement: raise affects one row for the highest token so far, and none for a lower one', async (t) => {
  const database = await sqlite()
  t.comment(
    database === undefined ? 'no node:sqlite here: a model of the statement is tested' : 'on node:sqlite',
  )
  database?.exec(guardSqlStatement.create)
  const raising = database?.prepare(guardSqlStatement.raise)
  const reading = database?.prepare(guardSqlStatement.highest)
  const model = new FenceTable()
  const raise = (resource: string, by: number): number => {
    const changed = model.raise(resource, by)
    if (raising !== undefined) t.equal(Number(raising.run({ $1: resource, $2: by }).changes), changed)
    if (reading !== undefined) t.equal(reading.get({ $1: resource })?.token, model.highest(resource))
    return changed
  }
  t.equal(raise('orders', 3), 1)
  t.equal(raise('orders', 3), 1, 'the same holder')
  t.equal(raise('orders', 8), 1)
  t.equal(raise('orders', 7), 0)
  t.equal(raise('bills', 1), 1, 'another resource')
  t.equal(raise('orders', 8), 1)
  t.match(guardSqlStatement.raise, /understudy_fence\.token <= excluded\.token/)
})
