/**
 * The contract of `Store` as tests. Run it against every implementation, and against each decorator around one.
 */
import type { StoreError } from '../platform/store-error.ts'
import type { Store, StoreEntry, StoreRange } from '../platform/store.ts'
import type { ContractTest, DeclareTest } from './contract-test.ts'

export interface StoreContractOptions {
  /** A store of its own and empty for each test; the suite closes it. */
  readonly open: () => Promise<Store>
  /**
   * Damages the value at rest under `key`, and gives the store to go on with: the same, or another on the same data. A store
   * whose values cannot be damaged has none; then what the contract says of damage is not tested.
   */
  readonly damage?: ((store: Store, key: string) => Promise<Store>) | undefined
  /** Makes the store fail, with a write or without one, and gives the failure. Without it failures are not tested. */
  readonly fail?: ((store: Store) => Promise<StoreError>) | undefined
}

/** Declares the tests of the contract with `test`. Their names begin with `Store`. */
export function storeContract(test: DeclareTest, options: StoreContractOptions): void {
  const withStore: WithStore = (name, run) => {
    void test(name, async (own) => {
      const store = await options.open()
      try {
        await run(own, store)
      } finally {
        await store.close()
      }
    })
  }
  readAndWrite(withStore)
  ranges(withStore)
  scopes(withStore)
  closing(withStore)
  if (options.damage !== undefined) damaged(withStore, options.damage)
  if (options.fail !== undefined) failing(withStore, options.fail)
}

type WithStore = (name: string, run: (t: ContractTest, store: Store) => Promise<void>) => void

function readAndWrite(withStore: WithStore): void {
  withStore('Store get gives undefined for a key that was never written', async (t, store) => {
    t.equal(await store.get('nobody'), undefined, 'no value')
  })

  withStore('Store get gives what write put, bytes and all', async (t, store) => {
    const value = Uint8Array.of(0, 1, 127, 128, 255)
    await store.write([{ type: 'put', key: 'k', value }])
    t.same([...((await store.get('k')) ?? [])], [...value], 'every byte')
    await store.write([{ type: 'put', key: 'empty', value: new Uint8Array(0) }])
    t.equal((await store.get('empty'))?.byteLength, 0, 'an empty value is a value')
  })

  withStore('Store write replaces and deletes', async (t, store) => {
    await store.write([put('a', 'old'), put('b', 'gone')])
    await store.write([put('a', 'new'), { type: 'delete', key: 'b' }, { type: 'delete', key: 'never there' }])
    t.same(await texts(store), ['a=new'], 'one replaced, one deleted, a delete of nothing is nothing')
  })

  withStore('Store write lets the later change to a key in one batch win', async (t, store) => {
    await store.write([put('a', '1'), put('a', '2'), put('b', '1'), { type: 'delete', key: 'b' }])
    await store.write([{ type: 'delete', key: 'c' }, put('c', '3')])
    t.same(await texts(store), ['a=2', 'c=3'], 'last change of each key')
  })

  withStore('Store write of an empty batch changes nothing', async (t, store) => {
    await store.write([])
    t.same(await texts(store), [], 'still empty')
  })

  withStore('Store write takes all changes of a batch or none', async (t, store) => {
    await store.write([put('a', '1')])
    const broken = { type: 'put', key: 'z', value: 'not bytes' } as unknown as {
      type: 'put'
      key: string
      value: Uint8Array
    }
    await t.rejects(store.write([put('a', '2'), put('b', '2'), broken]), { name: 'TypeError' }, 'refused')
    t.same(await texts(store), ['a=1'], 'nothing of the batch is there')
    await store.write([put('a', '3')])
    t.same(await texts(store), ['a=3'], 'a refused argument is no failed write: the store goes on')
  })

  withStore('Store write keeps its own copy of the bytes it was given', async (t, store) => {
    const value = Uint8Array.of(1, 2, 3)
    const written = store.write([{ type: 'put', key: 'k', value }])
    value.fill(9)
    await written
    t.same([...((await store.get('k')) ?? [])], [1, 2, 3], 'the buffer was used again at once')
    // A Buffer's own `slice` would share its bytes.
    const buffer = Buffer.from([4, 5, 6])
    const again = store.write([{ type: 'put', key: 'b', value: buffer }])
    buffer.fill(0)
    await again
    t.same([...((await store.get('b')) ?? [])], [4, 5, 6], 'and so was the Buffer')
  })

  withStore('Store write takes effect in the order of the calls, awaited or not', async (t, store) => {
    const writes: Promise<void>[] = []
    const resolved: number[] = []
    for (let i = 0; i < 20; i++) {
      writes.push(store.write([put('k', String(i)), put(`n${i}`, 'x')]).then(() => void resolved.push(i)))
    }
    await Promise.all(writes)
    t.same(
      resolved,
      [...resolved].sort((a, b) => a - b),
      'they resolve in order',
    )
    t.equal(text(await store.get('k')), '19', 'the last call stands')
  })
}

function ranges(withStore: WithStore): void {
  withStore('Store range gives the entries by key in code unit order', async (t, store) => {
    const keys = ['b', 'a', 'a/b', 'a!', 'B', '10', '9', 'é', '\uffff', '\ud83d\ude00', '']
    // Also where one more byte begins, and surrogates that stand alone, which UTF-8 has no bytes for.
    keys.push(
      '\0',
      'a\0',
      '\x7f',
      '\x80',
      '\u07ff',
      '\u0800',
      '\ud7ff',
      '\ud800',
      '\udbff',
      '\udc00x',
      '\ue000',
    )
    await store.write(keys.map((key) => put(key, key)))
    t.same(
      (await entries(store)).map((entry) => entry.key),
      [...keys].sort(),
      'as String order has it',
    )
  })

  withStore('Store range includes from, excludes to, and stops at the limit', async (t, store) => {
    await store.write(['a', 'b', 'c', 'd'].map((key) => put(key, '')))
    const keys = async (range: StoreRange): Promise<string> =>
      (await entries(store, range)).map((entry) => entry.key).join('')
    t.equal(await keys({ from: 'b', to: 'd' }), 'bc', 'half open')
    t.equal(await keys({ from: 'b' }), 'bcd', 'open end')
    t.equal(await keys({ to: 'c' }), 'ab', 'open start')
    t.equal(await keys({ from: 'aa', to: 'cc' }), 'bc', 'bounds need not be there')
    t.equal(await keys({ limit: 2 }), 'ab', 'limit')
    t.equal(await keys({ limit: 0 }), '', 'limit 0')
    t.equal(await keys({ reverse: true }), 'dcba', 'reverse')
    t.equal(await keys({ from: 'b', to: 'd', reverse: true, limit: 1 }), 'c', 'reverse begins below to')
    t.equal(await keys({ from: 'd', to: 'b' }), '', 'crossed bounds hold nothing')
    t.equal(
      await keys({ from: undefined, to: undefined, limit: undefined, reverse: undefined }),
      'abcd',
      'undefined',
    )
  })

  withStore('Store range reads one moment, however long it is walked', async (t, store) => {
    await store.write([put('a', '1'), put('b', '1'), put('d', '1')])
    const walk = store.range()[Symbol.asyncIterator]()
    const first = await walk.next()
    t.equal(first.done === true ? undefined : first.value.key, 'a', 'begun')
    await store.write([put('b', '2'), put('c', '2'), { type: 'delete', key: 'd' }])
    const rest: string[] = []
    for (let step = await walk.next(); step.done !== true; step = await walk.next()) {
      rest.push(`${step.value.key}=${text(step.value.value)}`)
    }
    t.same(rest, ['b=1', 'd=1'], 'neither the new entry nor the change nor the delete')
    t.same(await texts(store), ['a=1', 'b=2', 'c=2'], 'a new walk sees them')
  })

  withStore('Store range may be left early and walked again', async (t, store) => {
    await store.write([put('a', '1'), put('b', '1')])
    const range = store.range()
    for await (const entry of range) {
      t.equal(entry.key, 'a', 'only the first')
      break
    }
    await store.write([put('c', '1')])
    t.same(await texts(store), ['a=1', 'b=1', 'c=1'], 'the store goes on')
  })
}

function scopes(withStore: WithStore): void {
  withStore('Store scope writes under its prefix and reads nothing else', async (t, store) => {
    const scope = store.scope('raft/7')
    await scope.write([put('log/1', 'x'), put('', 'root')])
    await store.write([
      put('raft/70/log', 'y'),
      put('raft/7', 'z'),
      put('raft/6/a', 'w'),
      put('raft/7!', 'v'),
    ])
    t.same(await texts(scope), ['=root', 'log/1=x'], 'its own entries, prefix taken off')
    t.equal(text(await store.get('raft/7/log/1')), 'x', 'the key as the store has it')
    t.equal(text(await scope.get('log/1')), 'x', 'get')
    t.equal(await scope.get('raft/7/log/1'), undefined, 'no way around the prefix')
  })

  withStore('Store scope bounds its ranges on both sides, reversed too', async (t, store) => {
    await store.scope('a').write([put('z', '')])
    await store.scope('b').write([put('1', ''), put('2', ''), put('3', '')])
    await store.scope('c').write([put('0', '')])
    const scope = store.scope('b')
    t.same(await texts(scope, { reverse: true }), ['3=', '2=', '1='], 'all of it, backwards')
    t.same(await texts(scope, { from: '2' }), ['2=', '3='], 'does not run on into c')
    t.same(await texts(scope, { to: '3', reverse: true, limit: 1 }), ['2='], 'from below its end')
  })

  withStore('Store scope nests', async (t, store) => {
    await store
      .scope('a')
      .scope('b')
      .write([put('c', '1')])
    t.same(await texts(store), ['a/b/c=1'], 'prefixes join')
    t.same(await texts(store.scope('a/b')), ['c=1'], 'and are the same scope however they are reached')
    t.throws(() => store.scope(''), { name: 'RangeError' }, 'an empty prefix is no scope')
  })
}

function closing(withStore: WithStore): void {
  const closed = { code: 'RUNTIME_STORE_CLOSED' }

  withStore('Store close makes every later call reject, a walk in progress too', async (t, store) => {
    await store.write([put('a', '1'), put('b', '1')])
    const walk = store.range()[Symbol.asyncIterator]()
    await walk.next()
    const scope = store.scope('s')
    await store.close()
    await t.rejects(store.get('a'), closed, 'get')
    await t.rejects(store.write([put('a', '2')]), closed, 'write')
    await t.rejects(entries(store), closed, 'range')
    await t.rejects(walk.next(), closed, 'the walk')
    await t.rejects(scope.get('a'), closed, 'a scope of it')
  })

  withStore('Store close lets the writes under way end first', async (t, store) => {
    const settled: string[] = []
    const writes = ['a', 'b', 'c'].map((key) => store.write([put(key, '1')]).then(() => settled.push(key)))
    const closing_ = store.close().then(() => settled.push('closed'))
    const late = store.write([put('d', '1')])
    await t.rejects(late, closed, 'one that comes after it')
    await Promise.all([...writes, closing_])
    t.same(settled, ['a', 'b', 'c', 'closed'], 'in their order')
  })

  withStore('Store close twice is harmless', async (t, store) => {
    await Promise.all([store.close(), store.close()])
    await store.close()
    await t.rejects(store.get('a'), closed, 'closed once')
  })

  withStore('Store close of a scope closes nothing else', async (t, store) => {
    const scope = store.scope('s')
    await scope.write([put('a', '1')])
    await scope.close()
    await t.rejects(scope.get('a'), closed, 'the scope')
    t.same(await texts(store), ['s/a=1'], 'the store is open')
    t.same(await texts(store.scope('s')), ['a=1'], 'and so is another scope of that prefix')
  })
}

function damaged(withStore: WithStore, damage: NonNullable<StoreContractOptions['damage']>): void {
  const corrupt = { code: 'RUNTIME_STORE_CORRUPT' }

  /** `a` to `e` in the scope `s`, of which `c` is damaged. */
  const withDamage = (
    name: string,
    run: (t: ContractTest, scope: Store, store: Store) => Promise<void>,
  ): void =>
    withStore(name, async (t, whole) => {
      await whole.scope('s').write(['a', 'b', 'c', 'd', 'e'].map((key) => put(key, `value of ${key}`)))
      const store = await damage(whole, 's/c')
      try {
        await run(t, store.scope('s'), store)
      } finally {
        await store.close()
      }
    })

  withDamage(
    'Store get rejects at a damaged value, which is not absent, and reads the others',
    async (t, scope) => {
      await t.rejects(scope.get('c'), corrupt, 'the damaged one')
      const error = await scope.get('c').catch((thrown: unknown) => thrown as StoreError)
      t.equal((error as StoreError).details['key'], 's/c', 'named by its whole key')
      t.equal(text(await scope.get('b')), 'value of b', 'the one before it')
      t.equal(text(await scope.get('d')), 'value of d', 'the one after it')
    },
  )

  withDamage(
    'Store range gives what stands before a damaged value, then rejects',
    async (t, scope, store) => {
      for (const [from, range, wanted] of [
        [scope, {}, 'a b'],
        [scope, { reverse: true }, 'e d'],
        [store, {}, 's/a s/b'],
      ] as const) {
        const keys: string[] = []
        const walk = async (): Promise<void> => {
          for await (const { key } of from.range(range)) keys.push(key)
        }
        await t.rejects(walk(), corrupt, 'it rejects')
        t.equal(keys.join(' '), wanted, 'after these')
      }
      t.same(await texts(scope, { limit: 2 }), ['a=value of a', 'b=value of b'], 'unless it ends before')
    },
  )

  withDamage(
    'Store range with onCorrupt tells of a damaged value in its place and goes on',
    async (t, scope) => {
      const walk = async (range: StoreRange): Promise<string> => {
        const seen: string[] = []
        const onCorrupt = (key: string, error: StoreError): void => void seen.push(`${key} ${error.code}`)
        for await (const { key } of scope.range({ ...range, onCorrupt })) seen.push(key)
        return seen.join(', ')
      }
      t.equal(await walk({}), 'a, b, c RUNTIME_STORE_CORRUPT, d, e', 'all')
      t.equal(await walk({ reverse: true }), 'e, d, c RUNTIME_STORE_CORRUPT, b, a', 'backwards')
      t.equal(await walk({ from: 'b', limit: 2 }), 'b, c RUNTIME_STORE_CORRUPT, d', 'it does not count')
      t.equal(await walk({ to: 'c' }), 'a, b', 'only within the range')
    },
  )

  withDamage('Store write of a damaged key mends it', async (t, scope) => {
    await scope.write([put('c', 'new')])
    t.equal(text(await scope.get('c')), 'new', 'written again')
    t.equal((await texts(scope)).length, 5, 'walked again')
  })
}

function failing(withStore: WithStore, fail: NonNullable<StoreContractOptions['fail']>): void {
  withStore(
    'Store that has failed refuses all writes, tells its owner, and still closes',
    async (t, store) => {
      await store.write([put('a', '1')])
      t.equal(
        await Promise.race([store.failed, Promise.resolve('pending')]),
        'pending',
        'a healthy one has not',
      )
      const failure = await fail(store)
      t.ok(['RUNTIME_STORE_FULL', 'RUNTIME_STORE_FAILED'].includes(failure.code), failure.code)
      const later = [store.write([put('b', '1')]), store.scope('s').write([put('c', '1')])]
      for (const write of later) {
        const error = await write.then(
          () => undefined,
          (thrown: unknown) => thrown as StoreError,
        )
        t.equal(error?.code, 'RUNTIME_STORE_FAILED', 'a later write')
        t.equal(error?.cause, failure, 'names the first failure')
      }
      t.equal(await store.failed, failure, 'whoever does not write hears it too')
      t.equal(await store.scope('s').failed, failure, 'through a scope as well')
      t.equal(text(await store.get('a')), '1', 'reading goes on')
    },
  )
}

function put(
  key: string,
  value: string,
): { readonly type: 'put'; readonly key: string; readonly value: Uint8Array } {
  return { type: 'put', key, value: new TextEncoder().encode(value) }
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value)
}

async function entries(store: Store, range?: StoreRange): Promise<StoreEntry[]> {
  const found: StoreEntry[] = []
  for await (const entry of store.range(range)) found.push(entry)
  return found
}

async function texts(store: Store, range?: StoreRange): Promise<string[]> {
  return (await entries(store, range)).map((entry) => `${entry.key}=${text(entry.value)}`)
}
