/** The disk of a simulated machine: what a store keeps over a crash, and each of the faults that a disk can have. */
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Choice = import('../../packages/runtime/src/simulation/choice-source.ts').Choice
type RunResult = import('../../packages/runtime/src/simulation/run-result.ts').RunResult
type FaultKind = import('../../packages/runtime/src/simulation/fault-plan.ts').FaultKind
type Process = import('../../packages/runtime/src/simulation/simulated-process.ts').SimulatedProcess
type Store = import('../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../packages/runtime/src/platform/store.ts').StoreChange
type StoreError = import('../../packages/runtime/src/platform/store-error.ts').StoreError

const { Simulation } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulation.ts')
>('runtime', 'simulation/simulation')
const { SimulatedMachine } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulated-machine.ts')
>('runtime', 'simulation/simulated-machine')
const { FaultDriver } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/fault-plan.ts')
>('runtime', 'simulation/fault-plan')
const { storeFaults } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/store-fault.ts')
>('runtime', 'simulation/store-fault')

type World = InstanceType<typeof Simulation>
type Machine = InstanceType<typeof SimulatedMachine>

interface Bench {
  readonly simulation: World
  readonly machine: Machine
  readonly process: Process
  readonly store: Store
}

/** All choices benign. */
const benign: readonly Choice[] = []

/** One machine with one process that has its store open. Fails when the scenario throws. */
async function onMachine(
  options: { readonly seed: number; readonly choices?: readonly Choice[] | undefined },
  scenario: (bench: Bench) => Promise<void>,
): Promise<RunResult> {
  const simulation = new Simulation(options)
  const machine = new SimulatedMachine(simulation, 'a')
  const result = await simulation.run(async () => {
    const process = machine.start()
    await scenario({ simulation, machine, process, store: await process.platform.openStore('data') })
  })
  if (result.violation !== undefined) {
    throw new Error(`seed ${result.seed}: ${result.violation.name}: ${result.violation.message}`)
  }
  return result
}

/** The store as the next process finds it. */
async function reopened(machine: Machine): Promise<Store> {
  return machine.start().platform.openStore('data')
}

function put(key: string, value: string): StoreChange {
  return { type: 'put', key, value: new TextEncoder().encode(value) }
}

async function texts(store: Store): Promise<string> {
  const found: string[] = []
  for await (const { key, value } of store.range()) found.push(`${key}=${new TextDecoder().decode(value)}`)
  return found.join(' ')
}

/** The `n`-th batch of a writer: three keys, of which one wanders and one comes and goes. */
function batchOf(n: number): readonly StoreChange[] {
  return [
    put('n', String(n)),
    put(`k${n % 5}`, `v${n}`),
    n % 2 === 0 ? put('even', String(n)) : { type: 'delete', key: 'even' },
  ]
}

/** What a store holds after the first `count` batches. */
function stateAfter(count: number): string {
  const state = new Map<string, string>()
  for (let n = 1; n <= count; n++) {
    state.set('n', String(n)).set(`k${n % 5}`, `v${n}`)
    if (n % 2 === 0) state.set('even', String(n))
    else state.delete('even')
  }
  const entries = [...state].sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.map(([key, value]) => `${key}=${value}`).join(' ')
}

/** How many batches that state is after. Fails when it is after none: a batch is torn or one in the middle is missing. */
function batchesIn(state: string): number {
  const count = Number(/(?:^| )n=(\d+)/.exec(state)?.[1] ?? 0)
  if (stateAfter(count) !== state) throw new Error(`not a prefix: "${state}" is not "${stateAfter(count)}"`)
  return count
}

async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  try {
    await promise
  } catch (error) {
    return error as StoreError
  }
  throw new Error('It did not fail')
}

async function writeBatches(store: Store, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) await store.write(batchOf(n))
}

// ---- Crashes ---------------------------------------------------------------------------------------------------

void test('SimulatedDisk keeps a prefix of the batches over a crash, at or beyond the last acknowledged one', async (t) => {
  let crashes = 0
  let keptMore = 0
  let lostSome = 0
  for (let seed = 0; seed < 300; seed++) {
    await onMachine({ seed }, async (bench) => {
      const { simulation, machine } = bench
      const choose = simulation.choices.stream('test').choose
      let { process, store } = bench
      let issued = 0
      let acknowledged = 0
      for (let life = 0; life < 4; life++) {
        const from = issued
        if (choose(2) === 0) process.killAtEffect(1 + choose(30))
        const step = (): void => {
          for (let burst = choose(5); burst > 0 && process.isAlive; burst--) {
            const n = issued + 1
            const effects = process.effects
            void store.write(batchOf(n)).then(() => {
              if (n !== acknowledged + 1 && acknowledged >= from)
                throw new Error(`${n} after ${acknowledged}`)
              acknowledged = n
            })
            // Killed right before it: then there was no write.
            if (process.isAlive || process.effects - effects === 2) issued = n
          }
          if (process.isAlive) simulation.at(simulation.nowMs + choose(4) / 10, process, 'test', step)
        }
        simulation.at(simulation.nowMs, process, 'test', step)
        await simulation.sleep(1 + choose(20))
        process.kill()
        crashes++
        process = machine.start()
        store = await process.platform.openStore('data')
        const found = batchesIn(await texts(store))
        if (found < acknowledged) throw new Error(`lost acknowledged: found ${found} of ${acknowledged}`)
        if (found > issued) throw new Error(`found ${found}, only ${issued} were written`)
        if (found > acknowledged) keptMore++
        if (found < issued) lostSome++
        issued = found
        acknowledged = found
      }
    })
  }
  t.equal(crashes, 1_200, 'every life ended in a crash')
  t.ok(keptMore > 50, `a batch that was not acknowledged may be there (${keptMore} times)`)
  t.ok(lostSome > 50, `or be lost (${lostSome} times)`)
})

void test('SimulatedDisk crash points: right before a write it is not there, right after it is', async (t) => {
  const found: number[] = []
  for (let effect = 1; effect <= 10; effect++) {
    await onMachine({ seed: 1, choices: benign }, async ({ simulation, machine, process, store }) => {
      process.killAtEffect(effect)
      void writeBatches(store, 1, 5)
      await simulation.sleep(100)
      if (process.isAlive) throw new Error('it lives')
      found.push(batchesIn(await texts(await reopened(machine))))
    })
  }
  t.same(
    found,
    [0, 1, 1, 2, 2, 3, 3, 4, 4, 5],
    'odd effects before, even ones after; benign keeps what was written',
  )
})

void test('SimulatedDisk leaves every promise of a dead process pending', async (t) => {
  const settled: string[] = []
  await onMachine({ seed: 1, choices: benign }, async ({ simulation, process, store }) => {
    await writeBatches(store, 1, 20)
    const walk = store.range()[Symbol.asyncIterator]()
    await walk.next()
    const watch = (name: string, promise: Promise<unknown>): void => {
      promise.then(
        () => settled.push(name),
        () => settled.push(name),
      )
    }
    watch('write before', store.write(batchOf(21)))
    watch('get before', store.get('n'))
    watch('close before', store.scope('s').get('x'))
    process.kill()
    watch('walk', walk.next())
    watch('write', store.write(batchOf(22)))
    watch('get', store.get('n'))
    watch('close', store.close())
    watch('open', process.platform.openStore('data'))
    await simulation.sleep(60_000)
  })
  t.same(settled, [], 'neither what was under way nor what was begun after')
})

void test('SimulatedDisk never sees a write that a stalled step would have done after its death', async (t) => {
  const found: string[] = []
  for (const killAfterMs of [500, 1_500]) {
    await onMachine({ seed: 1, choices: benign }, async ({ simulation, machine, process, store }) => {
      simulation.at(simulation.nowMs, process, 'test', () => {
        process.stallAtEffect(1, 1_000)
        void store.write(batchOf(1))
      })
      await simulation.sleep(killAfterMs)
      process.kill()
      found.push(await texts(await reopened(machine)))
    })
  }
  t.same(found, ['', stateAfter(1)], 'the stall comes before the write')
})

// ---- Order and time --------------------------------------------------------------------------------------------

void test('SimulatedDisk commits what waits while an fsync runs together with the next one', async (t) => {
  const at: string[] = []
  let asked = -1
  await onMachine({ seed: 1, choices: benign }, async ({ simulation, store }) => {
    const beganMs = simulation.nowMs
    const count = simulation.choices.count
    await Promise.all(
      [1, 2, 3, 4].map(async (n) => {
        await store.write(batchOf(n))
        at.push(`${n} at ${(simulation.nowMs - beganMs).toFixed(2)}`)
      }),
    )
    asked = simulation.choices.count - count
  })
  t.same(at, ['1 at 0.10', '2 at 0.20', '3 at 0.20', '4 at 0.20'], 'two fsyncs, in the order of the calls')
  t.equal(asked, 0, 'a disk without jitter asks nothing')
})

void test('SimulatedDisk reads see what is durable and nothing that is on its way', async (t) => {
  let early: Uint8Array | undefined
  let late: Uint8Array | undefined
  await onMachine({ seed: 1, choices: benign }, async ({ store }) => {
    const writing = store.write([put('k', 'v')])
    early = await store.get('k')
    await writing
    late = await store.get('k')
  })
  t.equal(early, undefined, 'a read is faster than an fsync')
  t.same(late, new TextEncoder().encode('v'), 'durable')
})

void test('SimulatedDisk copies the bytes of a Buffer too, whose slice shares them', async (t) => {
  let found: Uint8Array | undefined
  await onMachine({ seed: 1, choices: benign }, async ({ store }) => {
    const value = Buffer.from('abc')
    const writing = store.write([{ type: 'put', key: 'k', value }])
    value.fill(0)
    await writing
    found = await store.get('k')
  })
  t.same(found, new TextEncoder().encode('abc'))
})

void test('SimulatedDisk range reads one moment over many fetches while others write', async (t) => {
  const seen: string[] = []
  let after = ''
  await onMachine({ seed: 1, choices: benign }, async ({ simulation, store }) => {
    await store.write(Array.from({ length: 60 }, (_, i) => put(`k${String(i).padStart(2, '0')}`, 'old')))
    const writing = (async () => {
      for (let i = 59; i >= 0; i--) {
        const key = `k${String(i).padStart(2, '0')}`
        await store.write(i % 3 === 0 ? [{ type: 'delete', key }] : [put(key, 'new'), put(`${key}+`, 'new')])
      }
    })()
    for await (const { key, value } of store.range()) {
      seen.push(`${key}=${new TextDecoder().decode(value)}`)
      await simulation.sleep(0.3)
    }
    await writing
    after = await texts(store)
  })
  t.equal(seen.length, 60, 'all that was there, and nothing else')
  t.ok(
    seen.every((entry) => entry.endsWith('=old')),
    'none as it became',
  )
  t.notMatch(after, /old/, 'everything was written meanwhile')
})

void test('SimulatedDisk runs are the same to the byte for one seed, and bytes are in the hash', async (t) => {
  const hashOf = async (seed: number, last: string): Promise<string> => {
    const { hash } = await onMachine({ seed }, async ({ simulation, machine, process, store }) => {
      void writeBatches(store, 1, 30)
      await simulation.sleep(2)
      process.kill()
      const next = await reopened(machine)
      await next.write([put('last', last)])
    })
    return hash
  }
  for (let seed = 0; seed < 20; seed++)
    t.equal(await hashOf(seed, 'x'), await hashOf(seed, 'x'), `seed ${seed}`)
  t.not(await hashOf(1, 'x'), await hashOf(1, 'y'), 'another byte is another hash')
})

// ---- Holding ---------------------------------------------------------------------------------------------------

void test('SimulatedDisk gives a directory to one process at a time', async (t) => {
  let refused: StoreError | undefined
  let ownSecond: StoreError | undefined
  let other = ''
  let inherited = ''
  await onMachine({ seed: 1, choices: benign }, async ({ machine, process, store }) => {
    await store.write([put('k', 'v')])
    const twin = machine.start()
    refused = await errorOf(twin.platform.openStore('data'))
    ownSecond = await errorOf(process.platform.openStore('data'))
    other = await texts(await twin.platform.openStore('elsewhere'))
    process.kill()
    inherited = await texts(await twin.platform.openStore('data'))
  })
  t.match(refused, {
    name: 'StoreError',
    code: 'RUNTIME_STORE_UNAVAILABLE',
    details: { holder: 'a', directory: 'data' },
  })
  t.match(refused?.message, /"a" holds it/)
  t.match(ownSecond, { code: 'RUNTIME_STORE_UNAVAILABLE' }, 'not twice either')
  t.equal(other, '', 'another directory is another store')
  t.equal(inherited, 'k=v', 'a killed process lets go')
})

void test('SimulatedDisk close waits for the writes under way and gives the directory back', async (t) => {
  const order: string[] = []
  let found = ''
  await onMachine({ seed: 1, choices: benign }, async ({ process, store }) => {
    const writes = [1, 2, 3].map(async (n) => {
      await store.write(batchOf(n))
      order.push(String(n))
    })
    const closing = store.close().then(() => order.push('closed'))
    order.push((await errorOf(store.write(batchOf(4)))).code)
    order.push((await errorOf(process.platform.openStore('data'))).code)
    await Promise.all([...writes, closing])
    found = await texts(await process.platform.openStore('data'))
  })
  t.same(order, ['RUNTIME_STORE_CLOSED', 'RUNTIME_STORE_UNAVAILABLE', '1', '2', '3', 'closed'])
  t.equal(found, stateAfter(3))
})

// ---- Faults ----------------------------------------------------------------------------------------------------

void test('SimulatedDisk that lies about fsync may lose acknowledged batches in a crash, and only then', async (t) => {
  const lost = { lying: 0, benign: 0, stopped: 0 }
  for (let seed = 0; seed < 60; seed++) {
    for (const how of ['lying', 'benign', 'stopped'] as const) {
      await onMachine(
        { seed, choices: how === 'benign' ? benign : undefined },
        async ({ machine, process, store }) => {
          await writeBatches(store, 1, 5)
          machine.disk.controls.lie()
          await writeBatches(store, 6, 12)
          if (batchesIn(await texts(store)) !== 12) throw new Error('a lie is not seen before the crash')
          if (how === 'stopped') machine.disk.controls.stopLying()
          process.kill()
          const found = batchesIn(await texts(await reopened(machine)))
          if (found < 5) throw new Error(`lost ${found}, which was durable before the lie`)
          if (found < 12) lost[how]++
        },
      )
    }
  }
  t.ok(lost.lying > 20, `lost some in ${lost.lying} of 60 seeds, always from the end`)
  t.equal(lost.benign, 0, 'benign choices lose nothing')
  t.equal(lost.stopped, 0, 'a disk that has stopped lying keeps what it had said')
})

void test('SimulatedDisk keeps what survived a lie: the next crash takes no more of it', async (t) => {
  let lostLater = 0
  for (let seed = 0; seed < 40; seed++) {
    await onMachine({ seed }, async ({ machine, process, store }) => {
      machine.disk.controls.lie()
      await writeBatches(store, 1, 12)
      process.kill()
      const second = machine.start()
      const found = batchesIn(await texts(await second.platform.openStore('data')))
      second.kill()
      if (batchesIn(await texts(await reopened(machine))) !== found) lostLater++
    })
  }
  t.equal(lostLater, 0)
})

void test('SimulatedDisk write error: refuses further writes until opened again, a prefix of the group is kept', async (t) => {
  const kept = new Set<number>()
  for (let seed = 0; seed < 60; seed++) {
    const errors: StoreError[] = []
    await onMachine({ seed }, async ({ machine, process, store }) => {
      await writeBatches(store, 1, 2)
      const first = store.write(batchOf(3))
      const group = [4, 5, 6].map((n) => errorOf(store.write(batchOf(n))))
      await first
      machine.disk.controls.failWrites(1)
      const behind = errorOf(store.write(batchOf(7)))
      errors.push(...(await Promise.all(group)), await behind, await errorOf(store.write(batchOf(8))))
      const before = await texts(store)
      await store.close()
      const next = await process.platform.openStore('data')
      const found = batchesIn(await texts(next))
      if ((await texts(next)) !== before) throw new Error('opening it again changes nothing')
      if (found < 3 || found > 6) throw new Error(`found ${found}`)
      kept.add(found)
      await next.write(batchOf(found + 1))
    })
    const [failed, ...refused] = errors
    if (seed === 0) {
      t.match(failed, { name: 'StoreError', code: 'RUNTIME_STORE_FAILED', cause: { code: 'EIO' } })
      t.match(failed?.details, { directory: 'data', machine: 'a' })
      for (const error of refused)
        t.match(error, { code: 'RUNTIME_STORE_FAILED', cause: failed }, 'names the first')
    }
  }
  t.same([...kept].sort(), [3, 4, 5, 6], 'any prefix of what the failed fsync was for, over the seeds')
})

void test('SimulatedDisk read error: that read fails, the store goes on', async (t) => {
  const errors: StoreError[] = []
  let value: Uint8Array | undefined
  let all = ''
  await onMachine({ seed: 1, choices: benign }, async ({ machine, store }) => {
    await store.write([put('k', 'v')])
    machine.disk.controls.failReads(2)
    errors.push(await errorOf(store.get('k')), await errorOf(texts(store)))
    value = await store.get('k')
    await store.write([put('l', 'w')])
    all = await texts(store)
  })
  for (const error of errors) t.match(error, { code: 'RUNTIME_STORE_FAILED', cause: { code: 'EIO' } })
  t.match(errors[0]?.message, /Cannot read "k" from the store in "data" of machine "a"/)
  t.same(value, new TextEncoder().encode('v'))
  t.equal(all, 'k=v l=w')
})

void test('SimulatedDisk that is full fails the batch that does not fit and refuses the rest', async (t) => {
  let errors: StoreError[] = []
  let found = -1
  let shrunk = ''
  await onMachine({ seed: 1, choices: benign }, async ({ machine, process, store }) => {
    await writeBatches(store, 1, 10)
    machine.disk.controls.fill(200)
    const done = store.write(batchOf(11))
    const big = [...batchOf(12), put('k9', 'x'.repeat(300))]
    const failing = [store.write(big), store.write(batchOf(13))].map(errorOf)
    await done
    errors = await Promise.all(failing)
    errors.push(await errorOf(store.write(batchOf(13))))
    await store.close()
    const next = await process.platform.openStore('data')
    found = batchesIn(await texts(next))
    errors.push(await errorOf(next.write([put('big', 'x'.repeat(300))])))
    await next.close()
    const third = await process.platform.openStore('data')
    await third.write([{ type: 'delete', key: 'k1' }])
    machine.disk.controls.makeRoom()
    await third.write([put('big', 'x'.repeat(300))])
    shrunk = (await texts(third)).slice(0, 8)
  })
  t.match(errors[0], {
    code: 'RUNTIME_STORE_FULL',
    cause: { code: 'ENOSPC' },
    details: { directory: 'data' },
  })
  t.match(errors[1], { code: 'RUNTIME_STORE_FAILED' }, 'behind it')
  t.match(errors[2], { code: 'RUNTIME_STORE_FAILED' }, 'and later')
  t.match(errors[3], { code: 'RUNTIME_STORE_FULL' }, 'still full once opened again')
  t.equal(found, 11, 'what fitted is there, whole')
  t.equal(shrunk, 'big=xxxx', 'a delete needs no room; and room comes back')
})

void test('SimulatedDisk reports every flipped bit as corrupt, with its place, and never as absent', async (t) => {
  const codes = new Set<string>()
  let error: StoreError | undefined
  const walked: string[] = []
  let walkError: StoreError | undefined
  let heldBefore = ''
  let mended = ''
  await onMachine({ seed: 1, choices: benign }, async ({ machine, store }) => {
    const scope = store.scope('s')
    await scope.write([put('a', '1'), put('b', 'xyz'), put('c', '3'), put('empty', '')])
    const held = await scope.get('b')
    for (let bit = 0; bit < 32 + 24; bit++) {
      machine.disk.controls.flip('data', 's/b', bit)
      codes.add(`b ${(await errorOf(scope.get('b'))).code}`)
      machine.disk.controls.flip('data', 's/b', bit)
      await scope.get('b')
    }
    machine.disk.controls.flip('data', 's/empty', 5)
    codes.add(`empty ${(await errorOf(scope.get('empty'))).code}`)
    machine.disk.controls.flip('data', 's/b', 40)
    error = await errorOf(scope.get('b'))
    walkError = await errorOf(
      (async () => {
        for await (const { key } of scope.range()) walked.push(key)
      })(),
    )
    heldBefore = new TextDecoder().decode(held)
    await scope.write([put('b', 'new'), put('empty', '')])
    mended = await texts(scope)
  })
  t.same(
    [...codes],
    ['b RUNTIME_STORE_CORRUPT', 'empty RUNTIME_STORE_CORRUPT'],
    'each bit of the CRC and the value',
  )
  t.match(error, {
    name: 'StoreError',
    code: 'RUNTIME_STORE_CORRUPT',
    details: { key: 's/b', directory: 'data', machine: 'a' },
  })
  t.match(error?.message, /^Cannot read "s\/b" from the store in "data" of machine "a": /)
  t.same(walked, ['a'], 'a walk gives what stands before it')
  t.match(walkError, { code: 'RUNTIME_STORE_CORRUPT', details: { key: 's/b' } }, 'and rejects at it')
  t.equal(heldBefore, 'xyz', 'bytes that were read before stay')
  t.equal(mended, 'a=1 b=new c=3 empty=', 'written again it is whole')
})

void test('SimulatedDisk puts back an older copy, or none, only while no process holds it', async (t) => {
  const found: number[] = []
  const refused: string[] = []
  await onMachine({ seed: 1, choices: benign }, async ({ machine, process, store }) => {
    const { controls } = machine.disk
    await writeBatches(store, 1, 9)
    const attempt = (act: () => void): void => {
      try {
        act()
        refused.push('no')
      } catch (error) {
        refused.push((error as Error).message)
      }
    }
    attempt(() => controls.goBack('data'))
    attempt(() => controls.wipe('data'))
    process.kill()
    controls.goBack('data', 4)
    attempt(() => controls.goBack('data', 6))
    const second = machine.start()
    const older = await second.platform.openStore('data')
    found.push(batchesIn(await texts(older)))
    await older.write(batchOf(6))
    second.kill()
    controls.goBack('data')
    const third = machine.start()
    found.push(batchesIn(await texts(await third.platform.openStore('data'))))
    third.kill()
    controls.wipe('data')
    const fourth = await reopened(machine)
    found.push(batchesIn(await texts(fourth)))
    await writeBatches(fourth, 1, 2)
    found.push(batchesIn(await texts(fourth)))
  })
  t.match(refused, [/"a" holds it/, /"a" holds it/, /5 are known/])
  t.same(found, [5, 5, 0, 2])
})

void test('SimulatedDisk history is bounded, also in a long lie', async (t) => {
  let depth = 0
  let found = -1
  await onMachine(
    { seed: 1, choices: [{ stream: 'store/a/crash', index: 0, value: 1_500 }] },
    async (bench) => {
      const { machine, process, store } = bench
      await writeBatches(store, 1, 600)
      machine.disk.controls.lie()
      await writeBatches(store, 601, 2_100)
      process.kill()
      found = batchesIn(await texts(await reopened(machine)))
      depth = machine.disk.controls.directories()[0]?.depth ?? 0
    },
  )
  t.equal(found, 600, 'all of the lie can be lost, and nothing before it')
  t.ok(depth < 512, `${depth} batches kept`)
})

void test('SimulatedDisk slow and stalled take longer in virtual time', async (t) => {
  const took: number[] = []
  await onMachine({ seed: 3 }, async ({ simulation, machine, store }) => {
    const { controls } = machine.disk
    const time = async (): Promise<void> => {
      const beganMs = simulation.nowMs
      await store.write([put('k', 'v')])
      took.push(simulation.nowMs - beganMs)
    }
    controls.stall(4_000)
    await time()
    controls.slow(2_000_000)
    await time()
    controls.slow(0)
    await time()
  })
  const [stalled = 0, slow = 0, healthy = 0] = took
  t.ok(stalled >= 4_000 && stalled < 5_000, `stalled ${stalled}`)
  t.ok(slow > 1_000, `slow ${slow}`)
  t.ok(healthy < 1_000, `healthy ${healthy}`)
})

// ---- Kinds of fault --------------------------------------------------------------------------------------------

void test('SimulatedDisk faultKinds meet what they can, count, spare what the budget spares, and are undone', async (t) => {
  const names: string[] = []
  const log: string[] = []
  await onMachine({ seed: 1, choices: benign }, async ({ simulation, machine, process, store }) => {
    const { disk } = machine
    const kinds = new Map(disk.faultKinds().map((kind): [string, FaultKind] => [kind.name, kind]))
    names.push(...kinds.keys())
    const spared = storeFaults(
      () => [disk.controls],
      () => false,
    )
    const inject = (name: string): (() => void) | undefined => {
      const injected = kinds.get(name)?.inject(simulation.choices.stream(`fault/${name}`))
      log.push(`${name}: ${injected === undefined ? 'nothing to meet' : `${injected.lane} ${injected.what}`}`)
      return injected?.undo
    }
    inject('store-flip')
    inject('store-old')
    await writeBatches(store, 1, 3)
    inject('store-old')
    inject('store-wipe')
    for (const kind of spared) {
      if (kind.inject(simulation.choices.stream('spared')) !== undefined)
        throw new Error(`${kind.name} met it`)
    }
    const undos = ['store-slow', 'store-full', 'store-eio', 'store-lying'].map(inject)
    for (const name of ['store-slow', 'store-full', 'store-eio', 'store-lying']) inject(name)
    for (const undo of undos) undo?.()
    const { isSlow, isFull, isFailing, isLying } = disk.controls
    log.push(`slow ${isSlow}, full ${isFull}, failing ${isFailing}, lying ${isLying}`)
    process.kill()
    for (const name of ['store-slow', 'store-full', 'store-eio', 'store-lying']) inject(name)
    inject('store-old')
    log.push(await texts(await machine.start().platform.openStore('data')))
    for (const life of machine.living()) life.kill()
    inject('store-flip')
    const corrupt = await reopened(machine)
    log.push((await errorOf(texts(corrupt))).code)
    for (const life of machine.living()) life.kill()
    inject('store-wipe')
    inject('store-wipe')
    log.push(await texts(await reopened(machine)))
  })
  t.same(names, [
    'store-slow',
    'store-eio',
    'store-full',
    'store-flip',
    'store-lying',
    'store-old',
    'store-wipe',
  ])
  t.same(log, [
    'store-flip: nothing to meet',
    'store-old: nothing to meet',
    'store-old: nothing to meet',
    'store-wipe: nothing to meet',
    'store-slow: a up to 20 ms more for 100 ms',
    'store-full: a 16384 bytes left for 100 ms',
    'store-eio: a the next read fails',
    'store-lying: a fsync lies for 100 ms',
    'store-slow: nothing to meet',
    'store-full: nothing to meet',
    'store-eio: nothing to meet',
    'store-lying: nothing to meet',
    'slow false, full false, failing false, lying false',
    'store-slow: nothing to meet',
    'store-full: nothing to meet',
    'store-eio: nothing to meet',
    'store-lying: nothing to meet',
    'store-old: a "data" as it was 1 batches ago',
    stateAfter(2),
    'store-flip: a bit 0 of "even" in "data"',
    'RUNTIME_STORE_CORRUPT',
    'store-wipe: a "data" is empty',
    'store-wipe: nothing to meet',
    '',
  ])
})

void test('SimulatedDisk under a storm of all its faults: every kind is met, and a store is usable once healed', async (t) => {
  const met = new Map<string, number>()
  const codes = new Set<string>()
  for (let seed = 0; seed < 60; seed++) {
    const { stats } = await onMachine({ seed }, async (bench) => {
      const { simulation, machine } = bench
      const driver = new FaultDriver(simulation, machine.disk.faultKinds(), { chances: [0, 0.1, 0.4] })
      driver.start()
      let { process, store } = bench
      for (let life = 0; life < 6; life++) {
        const own = store
        const work = async (): Promise<void> => {
          for (let n = 1; n < 60; n++) {
            await own.write(batchOf(n)).catch((error: StoreError) => codes.add(error.code))
            await texts(own).catch((error: StoreError) => codes.add(error.code))
            await simulation.sleep(10)
          }
        }
        void work()
        await simulation.sleep(700)
        process.kill()
        await simulation.sleep(500)
        if (life === 5) driver.heal()
        process = machine.start()
        store = await process.platform.openStore('data')
      }
      // Data that was damaged stays so; what is written now is kept.
      await store.write([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].flatMap(batchOf))
      if (batchesIn(await texts(store)) !== 10) throw new Error('not as it was written')
    })
    for (const [kind, count] of Object.entries(stats.faults)) met.set(kind, (met.get(kind) ?? 0) + count)
  }
  const kinds = [...met.keys()].sort()
  t.same(kinds, [
    'store-eio',
    'store-flip',
    'store-full',
    'store-lying',
    'store-old',
    'store-slow',
    'store-wipe',
  ])
  t.same([...codes].sort(), ['RUNTIME_STORE_CORRUPT', 'RUNTIME_STORE_FAILED', 'RUNTIME_STORE_FULL'])
})
