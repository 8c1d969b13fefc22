import {
  actor,
  ask,
  createSystem,
  isActorError,
  pool,
  poolSizeMax,
  protocol,
  reject,
  tell,
  type ActorStatus,
  type ActorSystem,
  type Definition,
  type MessagesOf,
  type PoolStrategy,
  type SystemOptions,
} from '@understudy/runtime'
import { virtualPlatform, type VirtualPlatform } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { test, type Test } from 'tap'
import Type from 'typebox'
import { sourceModule } from '../support/source-module.ts'

const { rendezvousHash, rendezvousOwner } = await sourceModule<
  typeof import('../../packages/runtime/src/routing/rendezvous.ts')
>('runtime', 'routing/rendezvous')

const Job = protocol('job', {
  note: tell({ text: Type.String() }),
  /** Holds its worker until `release`. */
  hold: tell(),
  crash: tell(),
  leave: tell(),
  who: ask({ key: Type.Optional(Type.String()) }, Type.String()),
  from: ask(Type.String()),
  refuse: ask(Type.Null()),
  viaPool: ask(Type.String()),
})

interface Bench {
  readonly system: ActorSystem
  readonly platform: VirtualPlatform
  /** `worker: text` per note, in the order of handling. */
  readonly notes: string[]
  /** Lets all workers that hold go on. */
  readonly release: () => void
  readonly worker: Definition<MessagesOf<typeof Job>, void>
}

async function bench(t: Test, options: SystemOptions = {}): Promise<Bench> {
  const platform = virtualPlatform()
  const system = await createSystem('pools', undefined, { platform, isolation: 'codec', ...options })
  t.teardown(() => system.shutdown())
  const notes: string[] = []
  let held: (() => void)[] = []
  const worker = actor(Job, (ctx) => {
    const name = ctx.path.split('/').at(-1) ?? ''
    return {
      note: ({ text }) => void notes.push(`${name}: ${text}`),
      hold: () => new Promise<void>((resolve) => held.push(resolve)),
      crash: () => {
        throw new Error('crashed on purpose')
      },
      leave: () => ctx.stop(),
      who: () => name,
      from: () => ctx.call().from ?? 'outside',
      refuse: () => {
        throw reject('no', { worker: name })
      },
      viaPool: () => ctx.ask(ctx.ref(Job, '/user/pool'), { type: 'who' }),
    }
  })
  const release = (): void => {
    for (const goOn of held) goOn()
    held = []
  }
  return { system, platform, notes, release, worker }
}

const workersOf = (system: ActorSystem): readonly ActorStatus[] =>
  system.status().tree.children.find(({ path }) => path === '/user')?.children[0]?.children ?? []

void test('pool round-robin gives each worker its turn, in the order of their names', async (t) => {
  const { system, worker } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 3 }))
  const answers: string[] = []
  for (let index = 0; index < 7; index++) answers.push(await ref.ask({ type: 'who' }))
  t.same(
    answers,
    [1, 2, 3, 1, 2, 3, 1].map((number) => `worker-${number}`),
  )
  t.same(
    workersOf(system).map(({ path }) => path),
    [1, 2, 3].map((number) => `/user/pool/worker-${number}`),
  )
})

void test('pool random draws from the stream of its platform, and leaves nobody out', async (t) => {
  const draw = async (): Promise<readonly string[]> => {
    const { system, worker } = await bench(t)
    const ref = system.spawn('pool', pool(worker, { size: 4, strategy: 'random' }))
    return await Promise.all(Array.from({ length: 200 }, () => ref.ask({ type: 'who' })))
  }
  const first = await draw()
  t.same(await draw(), first, 'one seed, one run')
  for (const name of ['worker-1', 'worker-2', 'worker-3', 'worker-4']) {
    t.ok(first.filter((answer) => answer === name).length > 20, `${name} has its share`)
  }
})

void test('pool smallest-mailbox passes by whoever is busy, and lets idle workers take turns', async (t) => {
  const { system, platform, worker, notes, release } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 3, strategy: 'smallest-mailbox' }))
  t.equal(await ref.ask({ type: 'who' }), 'worker-1')
  t.equal(await ref.ask({ type: 'who' }), 'worker-2', 'all are idle: the next one')
  ref.tell({ type: 'hold' })
  await platform.settle()
  t.same(
    workersOf(system).map(({ handling }) => handling),
    [undefined, undefined, 'hold'],
  )
  for (let index = 0; index < 6; index++) {
    ref.tell({ type: 'note', text: String(index) })
    await platform.settle()
  }
  t.same(
    notes.map((note) => note.slice(0, 8)),
    ['worker-1', 'worker-2', 'worker-1', 'worker-2', 'worker-1', 'worker-2'],
  )
  release()
})

void test('pool smallest-mailbox counts what waits', async (t) => {
  const { system, platform, worker, notes, release } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 2, strategy: 'smallest-mailbox' }))
  ref.tell({ type: 'hold' })
  ref.tell({ type: 'hold' })
  await platform.settle()
  const first = system.ref(Job, '/user/pool/worker-1')
  for (const text of ['a', 'b', 'c']) first.tell({ type: 'note', text })
  for (const text of ['d', 'e', 'f', 'g']) {
    ref.tell({ type: 'note', text })
    await platform.settle()
  }
  t.same(
    workersOf(system).map(({ mailbox }) => mailbox),
    [4, 3],
    'the pool filled up the shorter one first',
  )
  release()
  await platform.settle()
  t.same(
    notes.filter((note) => note.startsWith('worker-2')),
    ['worker-2: d', 'worker-2: e', 'worker-2: f'],
  )
})

void test('pool smallest-mailbox takes a worker that waits for its restart last', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn(
    'pool',
    pool(worker, {
      size: 2,
      strategy: 'smallest-mailbox',
      worker: { backoff: { minMs: 1_000, maxMs: 1_000, jitter: 0 } },
    }),
  )
  ref.tell({ type: 'crash' })
  await platform.settle()
  const answers = await Promise.all([1, 2, 3].map(() => ref.ask({ type: 'who' })))
  t.same(answers, ['worker-2', 'worker-2', 'worker-2'])
  await platform.advance(1_000)
  t.same(
    new Set([await ref.ask({ type: 'who' }), await ref.ask({ type: 'who' })]),
    new Set(['worker-1', 'worker-2']),
  )
})

void test('pool consistent-hash gives one key to one worker, by the pure function of the key', async (t) => {
  const { system, worker } = await bench(t)
  const size = 5
  const ref = system.spawn(
    'pool',
    pool(worker, {
      size,
      strategy: 'consistent-hash',
      hashKey: (message) => (message.type === 'who' ? (message.key ?? '') : message.type),
    }),
  )
  const hashes = Array.from({ length: size }, (_, index) => rendezvousHash(`worker-${index + 1}`))
  for (let index = 0; index < 50; index++) {
    const key = `key ${index}`
    const owner = `worker-${rendezvousOwner(rendezvousHash(key), hashes) + 1}`
    t.equal(await ref.ask({ type: 'who', key }), owner)
    t.equal(await ref.ask({ type: 'who', key }), owner)
  }
})

void test('pool consistent-hash refuses a message whose hashKey fails, and lives on', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn(
    'pool',
    pool(worker, {
      size: 2,
      strategy: 'consistent-hash',
      hashKey: (message) => {
        if (message.type === 'refuse') throw new Error('no key here')
        return (message.type === 'from' ? 7 : message.type) as string
      },
    }),
  )
  await t.rejects(ref.ask({ type: 'refuse' }), {
    code: 'RUNTIME_INVALID_MESSAGE',
    message: /hashKey failed: no key here/,
  })
  await t.rejects(ref.ask({ type: 'from' }), {
    code: 'RUNTIME_INVALID_MESSAGE',
    message: /must return a string, got number/,
  })
  t.match(await ref.ask({ type: 'who' }), /^worker-/)
  await platform.settle()
  t.same(
    system.deadLetters().map(({ reason, message, path }) => [reason, message.type, path]),
    [
      ['invalid', 'refuse', '/user/pool'],
      ['invalid', 'from', '/user/pool'],
    ],
  )
  t.equal(system.status().counters.restarts, 0)
})

void test('pool broadcast tells every worker, and refuses an ask', async (t) => {
  const { system, platform, worker, notes } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 3, strategy: 'broadcast' }))
  ref.tell({ type: 'note', text: 'x' })
  await platform.settle()
  t.same(notes, ['worker-1: x', 'worker-2: x', 'worker-3: x'])
  await t.rejects(ref.ask({ type: 'who' }), {
    code: 'RUNTIME_ILLEGAL_CALL',
    message:
      'Cannot ask "who" of /user/pool: it is a pool that broadcasts, and one ask has one answer; tell it, or use another strategy',
  })
  ref.tell({ type: 'note', text: 'y' })
  await platform.settle()
  t.equal(notes.length, 6, 'the refusal did no harm')
})

void test('pool keeps the sender, the answer, the refusal and the crash of a message', async (t) => {
  const { system, worker } = await bench(t)
  const Front = protocol('front', { ask: ask(Type.String()) })
  const ref = system.spawn('pool', pool(worker, { size: 2 }))
  const front = system.spawn(
    'front',
    actor(Front, (ctx) => ({ ask: () => ctx.ask(ref, { type: 'from' }) })),
  )
  t.equal(await front.ask({ type: 'ask' }), '/user/front', 'the sender is the asker, not the pool')
  t.equal(await ref.ask({ type: 'from' }), 'outside')
  await t.rejects(ref.ask({ type: 'refuse' }), {
    code: 'RUNTIME_REJECTED',
    reason: 'no',
    data: { worker: 'worker-1' },
  })
  await t.rejects(ref.ask({ type: 'who', key: 7 as unknown as string }), { code: 'RUNTIME_INVALID_MESSAGE' })
})

void test('pool: an ask that times out says that no handler had begun, while it waits with a worker', async (t) => {
  const { system, platform, worker, release } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 1 }))
  ref.tell({ type: 'hold' })
  const answer = ref.ask({ type: 'who' }, { timeoutMs: 100 })
  const refused = t.rejects(answer, { code: 'RUNTIME_ASK_TIMEOUT', details: { started: false } })
  await platform.advance(100)
  await refused
  release()
})

void test('pool: a worker that asks its own pool meets the call cycle only when its turn falls on itself', async (t) => {
  const { system, worker } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 2 }))
  t.equal(await ref.ask({ type: 'viaPool' }), 'worker-2', 'worker-1 asks, worker-2 answers')
  const alone = await bench(t)
  const own = alone.system.spawn('pool', pool(alone.worker, { size: 1 }))
  await t.rejects(own.ask({ type: 'viaPool' }), {
    code: 'RUNTIME_ACTOR_CRASHED',
    message: /it waits for this answer/,
  })
})

void test('pool: a worker that crashes is restarted and keeps what waits for it', async (t) => {
  const { system, platform, worker, notes } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 2 }))
  await platform.settle()
  // worker-1: crash, a, c; worker-2: -, b, d.
  ref.tell({ type: 'crash' })
  ref.tell({ type: 'note', text: '-' })
  for (const text of ['a', 'b', 'c', 'd']) ref.tell({ type: 'note', text })
  await platform.settle()
  t.same(
    notes.filter((note) => note.startsWith('worker-1')),
    ['worker-1: a', 'worker-1: c'],
  )
  t.equal(notes.length, 5, 'nothing is lost but the message that crashed')
  t.same(
    workersOf(system).map(({ incarnation }) => incarnation),
    [1, 0],
  )
})

void test('pool: restarts are counted per worker, so that many workers are no worse off than one', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 4 }))
  for (let index = 0; index < 12; index++) ref.tell({ type: 'crash' })
  await platform.settle()
  t.equal(system.status().counters.restarts, 12, 'three for each of four')
  t.match(await ref.ask({ type: 'who' }), /^worker-/)
})

void test('pool: a worker that is gone for good is skipped, and its turns go to the others', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 3, worker: { restart: 'transient' } }))
  await ref.ask({ type: 'who' })
  ref.tell({ type: 'leave' })
  await platform.settle()
  t.equal(workersOf(system).length, 2)
  const answers: string[] = []
  for (let index = 0; index < 4; index++) answers.push(await ref.ask({ type: 'who' }))
  t.same(answers, ['worker-3', 'worker-1', 'worker-3', 'worker-1'])
  t.same(system.deadLetters(), [])
})

void test('pool consistent-hash: only the keys of a worker that is gone move', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn(
    'pool',
    pool(worker, {
      size: 4,
      strategy: 'consistent-hash',
      hashKey: (message) => (message.type === 'who' ? (message.key ?? '') : 'leaver'),
      worker: { restart: 'transient' },
    }),
  )
  const owners = async (): Promise<readonly string[]> =>
    await Promise.all(Array.from({ length: 100 }, (_, key) => ref.ask({ type: 'who', key: String(key) })))
  const before = await owners()
  const leaver = await ref.ask({ type: 'who', key: 'leaver' })
  ref.tell({ type: 'leave' })
  await platform.settle()
  const after = await owners()
  t.ok(before.includes(leaver))
  t.notOk(after.includes(leaver))
  t.same(
    after.filter((_, key) => before[key] !== leaver),
    before.filter((owner) => owner !== leaver),
  )
})

void test('pool without workers refuses: an ask fails at once, a tell is a dead letter', async (t) => {
  for (const strategy of ['round-robin', 'random', 'smallest-mailbox', 'broadcast'] as const) {
    const { system, platform, worker } = await bench(t)
    const ref = system.spawn('pool', pool(worker, { size: 1, strategy, worker: { restart: 'temporary' } }))
    ref.tell({ type: 'crash' })
    await platform.settle()
    ref.tell({ type: 'note', text: 'x' })
    await platform.settle()
    t.same(
      system.deadLetters().map(({ reason, path }) => [reason, path]),
      [['stopped', '/user/pool']],
      strategy,
    )
    if (strategy === 'broadcast') continue
    await t.rejects(
      ref.ask({ type: 'who' }),
      { code: 'RUNTIME_ACTOR_STOPPED', message: /none of the 1 workers/ },
      strategy,
    )
  }
})

void test('pool: when a worker fails too often the pool fails, and comes back with new workers', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn('pool', pool(worker, { size: 1 }))
  for (let index = 0; index < 4; index++) ref.tell({ type: 'crash' })
  await platform.settle()
  t.equal(await ref.ask({ type: 'who' }), 'worker-1', 'the ref is the same')
  const kept = system.status().tree.children.find(({ path }) => path === '/user')?.children[0]
  t.equal(kept?.incarnation, 1)
  t.equal(kept?.children[0]?.incarnation, 0)
})

void test('pool hands its start input to every worker, and has the options of a child', async (t) => {
  const { system } = await bench(t)
  const Greeter = protocol('greeter', { greet: ask(Type.String()) })
  const greeter = actor(Greeter, (ctx, input: { readonly word: string }) => ({
    greet: () => `${input.word} from ${ctx.path}`,
  }))
  const greeters = pool(greeter, { size: 2 })
  t.equal(greeters.name, 'greeter-pool')
  t.equal(pool(greeter, { size: 2, name: 'hosts' }).name, 'hosts')
  // @ts-expect-error a pool needs the start input that its workers need
  t.type(() => system.spawn('none', greeters), Function)
  const ref = system.spawn('greeters', greeters, { word: 'hello' }, { restart: 'temporary' })
  t.equal(await ref.ask({ type: 'greet' }), 'hello from /user/greeters/worker-1')
  t.equal(await ref.ask({ type: 'greet' }), 'hello from /user/greeters/worker-2')
})

void test('pool keeps the types of its protocol', async (t) => {
  const { worker } = await bench(t)
  const ref = (definition: Definition<MessagesOf<typeof Job>, void>): unknown => definition
  t.ok(ref(pool(worker, { size: 1 })))
  const wrong = (): unknown => [
    // @ts-expect-error consistent-hash needs a hashKey
    pool(worker, { size: 1, strategy: 'consistent-hash' }),
    // @ts-expect-error no other strategy takes one
    pool(worker, { size: 1, strategy: 'random', hashKey: () => '' }),
    // @ts-expect-error a key is a string
    pool(worker, { size: 1, strategy: 'consistent-hash', hashKey: () => 1 }),
    // @ts-expect-error there is no such strategy
    pool(worker, { size: 1, strategy: 'best' }),
  ]
  t.throws(wrong, { name: 'TypeError' })
})

void test('pool refuses a wrong size, an unknown strategy and a hashKey out of place', async (t) => {
  const { worker } = await bench(t)
  for (const size of [0, -1, 1.5, Number.NaN, poolSizeMax + 1]) {
    t.throws(() => pool(worker, { size }), {
      name: 'RangeError',
      message: /size must be an integer from 1 to 10000/,
    })
  }
  t.throws(() => pool(worker, { size: 1, strategy: 'best' as 'random' }), {
    message: /strategy must be one of/,
  })
  t.throws(() => pool(worker, { size: 1, strategy: 'consistent-hash' } as never), {
    message: /hashKey belongs to/,
  })
  t.throws(() => pool(worker, { size: 1, hashKey: () => '' } as never), { message: /hashKey belongs to/ })
  t.throws(() => pool(worker, { size: 1, worker: { shutdownMs: -1 } }), { name: 'RangeError' })
})

void test('pool: nobody forges an own message of a worker through it, in any isolation', async (t) => {
  const Clock = protocol('clock', { ticks: ask(Type.Integer()) })
  const clock = actor(Clock, { own: { tick: tell() } }, () => {
    let ticks = 0
    return { tick: () => void ticks++, ticks: () => ticks }
  })
  for (const isolation of ['reference', 'freeze', 'codec'] as const) {
    const { system, platform } = await bench(t, { isolation })
    const ref = system.spawn('pool', pool(clock, { size: 1 }))
    ref.tell({ type: 'tick' } as never)
    await platform.settle()
    t.equal(await ref.ask({ type: 'ticks' }), 0, isolation)
    t.equal(system.deadLetters()[0]?.reason, 'unknown-message', isolation)
  }
})

void test('pool: bounded workers refuse what is too much, in their own name', async (t) => {
  const { system, platform } = await bench(t)
  const Slow = protocol('slow', { work: ask(Type.Null()) })
  const finish: (() => void)[] = []
  const slow = actor(Slow, { mailbox: { messagesMax: 1 } }, () => ({
    work: () => new Promise<null>((resolve) => finish.push(() => resolve(null))),
  }))
  const ref = system.spawn('pool', pool(slow, { size: 1 }))
  const first = ref.ask({ type: 'work' })
  await platform.settle()
  const second = ref.ask({ type: 'work' })
  const third = ref.ask({ type: 'work' })
  await t.rejects(third, { code: 'RUNTIME_MAILBOX_FULL', message: /\/user\/pool\/worker-1/ })
  finish[0]?.()
  await first
  await platform.settle()
  finish[1]?.()
  await second
})

void test('pool of pools, and a pool under a stop: every message is answered or refused', async (t) => {
  const { system, platform, worker } = await bench(t)
  const ref = system.spawn('pool', pool(pool(worker, { size: 2 }), { size: 2, name: 'outer' }))
  t.same(await Promise.all([1, 2, 3].map(() => ref.ask({ type: 'who' }))), [
    'worker-1',
    'worker-1',
    'worker-2',
  ])
  const asked = Array.from({ length: 20 }, () => ref.ask({ type: 'who' }).catch((error: unknown) => error))
  void system.stop(ref)
  await platform.settle()
  for (const answer of await Promise.all(asked)) {
    t.ok(typeof answer === 'string' || isActorError(answer, 'RUNTIME_ACTOR_STOPPED'))
  }
})

void test('rendezvousOwner is stable: golden vectors', async (t) => {
  const hashes = ['worker-1', 'worker-2', 'worker-3', 'worker-4', 'worker-5'].map(rendezvousHash)
  t.same(hashes, goldenHashes)
  t.same(
    ['', 'a', 'b', 'order/7', 'ключ', '🎭'].map((key) => rendezvousOwner(rendezvousHash(key), hashes)),
    goldenOwners,
  )
  t.equal(rendezvousOwner(1, []), -1)
  t.equal(rendezvousOwner(1, [5, 5]), 0, 'of equal bids the first')
})

void test('rendezvousOwner moves only the keys it must when candidates come and go', async (t) => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.string(), { minLength: 2, maxLength: 20 }),
      fc.array(fc.string(), { maxLength: 50 }),
      fc.nat(),
      (names, keys, pick) => {
        const gone = pick % names.length
        const before = names.map(rendezvousHash)
        const after = before.filter((_, index) => index !== gone)
        return keys.every((key) => {
          const hash = rendezvousHash(key)
          const owner = rendezvousOwner(hash, before)
          if (owner === gone) return true
          return after[rendezvousOwner(hash, after)] === before[owner]
        })
      },
    ),
  )
  t.pass('for any names and keys')
})

void test('rendezvousOwner spreads keys evenly', async (t) => {
  const size = 10
  const hashes = Array.from({ length: size }, (_, index) => rendezvousHash(`worker-${index + 1}`))
  const keyKinds = [
    (index: number) => String(index),
    (index: number) => `/user/orders/${index}`,
    (index: number) => `${index % 7}-${'x'.repeat(index % 11)}-${index}`,
  ]
  for (const makeKey of keyKinds) {
    const counts = hashes.map(() => 0)
    for (let index = 0; index < 10_000; index++) {
      const owner = rendezvousOwner(rendezvousHash(makeKey(index)), hashes)
      counts[owner] = (counts[owner] ?? 0) + 1
    }
    // 1,000 each; the standard deviation of a fair lot is 30.
    t.ok(Math.min(...counts) > 850 && Math.max(...counts) < 1_150, `${makeKey(3)}: ${counts.join(' ')}`)
  }
})

const goldenHashes = [335_722_302, 1_117_376_428, 2_226_339_368, 487_739_717, 2_266_476_666]
const goldenOwners = [2, 2, 2, 4, 0, 1]

/** Every strategy is met above. */
const all: readonly PoolStrategy[] = [
  'round-robin',
  'random',
  'smallest-mailbox',
  'consistent-hash',
  'broadcast',
]
void test('pool starts and answers with every strategy', async (t) => {
  for (const strategy of all) {
    const { system, platform, worker, notes } = await bench(t)
    const options =
      strategy === 'consistent-hash' ? { size: 2, strategy, hashKey: () => 'k' } : { size: 2, strategy }
    system.spawn('pool', pool(worker, options)).tell({ type: 'note', text: 'x' })
    await platform.settle()
    t.equal(notes.length, strategy === 'broadcast' ? 2 : 1, strategy)
  }
})
