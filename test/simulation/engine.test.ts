/** The simulator itself: one seed is one run, choices replay, processes die between steps, clocks lie, leaks show. */
import { actor, ask, ActorError, protocol, tell } from '@understudy/runtime'
import {
  ChoiceSource,
  crashEverywhere,
  formatChoices,
  parseChoices,
  policyNames,
  ProcessKilled,
  simulateSystem,
  SkewedClock,
  type RunResult,
  type SimulateSystemOptions,
} from '@understudy/runtime/simulation'
import { test } from 'tap'
import { Type } from 'typebox'

const Account = protocol('account', {
  deposit: tell({ amount: Type.Number() }),
  withdraw: ask({ amount: Type.Number() }, Type.Boolean()),
  balance: ask({}, Type.Number()),
})
const Log = protocol('log', { add: ask({ line: Type.String() }, Type.Number()) })

/** Checks, then asks somebody else, then acts: between the two another withdrawal may run. */
const racyAccount = actor(Account, { concurrent: ['withdraw'] }, (ctx) => {
  let balance = 100
  const log = ctx.ref(Log, '/user/log')
  return {
    deposit: ({ amount }) => {
      balance += amount
    },
    withdraw: async ({ amount }) => {
      if (balance < amount) return false
      await ctx.ask(log, { type: 'add', line: 'withdraw' })
      balance -= amount
      return true
    },
    balance: () => balance,
  }
})
const log = actor(Log, () => {
  let lines = 0
  return { add: () => ++lines }
})

function busy(options: SimulateSystemOptions): Promise<RunResult> {
  return simulateSystem(options, async (world) => {
    const system = await world.start()
    system.spawn('log', log)
    const account = system.spawn('account', racyAccount)
    await world.parallel(6, async (client) => {
      for (let i = 0; i < 10; i++) {
        account.tell({ type: 'deposit', amount: client })
        await world.sleep(world.choose(5, 'pause'))
        if (client % 2 === 0) await account.ask({ type: 'withdraw', amount: 1 })
      }
    })
  })
}

void test('one seed is one run, to the last bit of its hash; another seed is another run', async (t) => {
  const first = await busy({ seed: 7 })
  t.equal(first.violation, undefined)
  t.ok(first.stats.messages > 60, `${first.stats.messages} messages`)
  const again = await busy({ seed: 7 })
  t.same({ ...again }, { ...first })
  const traced = await busy({ seed: 7, trace: true })
  t.equal(traced.hash, first.hash, 'tracing changes nothing')
  t.ok(traced.trace.length > 100, `${traced.trace.length} events`)
  const hashes = new Set<string>()
  for (let seed = 0; seed < 20; seed++) hashes.add((await busy({ seed })).hash)
  t.equal(hashes.size, 20)
})

void test('the choices that a run took replay it, and without any it is benign', async (t) => {
  for (let seed = 0; seed < 10; seed++) {
    const run = await busy({ seed })
    const replay = await busy({ seed, choices: parseChoices(formatChoices(run.choices)) })
    t.equal(replay.hash, run.hash, `seed ${seed}`)
    t.same(replay.choices, run.choices)
  }
  const benign = await busy({ seed: 3, choices: [] })
  t.same(benign.choices, [])
  t.ok(benign.stats.virtualMs < 1, 'every pause was the shortest')
})

void test('the schedule finds a race that first-in-first-out never meets', async (t) => {
  const Relay = protocol('relay', { withdraw: ask({ amount: Type.Number() }, Type.Boolean()) })
  const run = (options: SimulateSystemOptions): Promise<RunResult> =>
    simulateSystem(options, async (world) => {
      const system = await world.start()
      system.spawn('log', log)
      const account = system.spawn('account', racyAccount)
      // The second withdrawal comes by way of another actor: in line it is behind the log that the first one asks.
      const relay = system.spawn(
        'relay',
        actor(Relay, (ctx) => ({ withdraw: ({ amount }) => ctx.ask(account, { type: 'withdraw', amount }) })),
      )
      const first = account.ask({ type: 'withdraw', amount: 80 })
      const second = relay.ask({ type: 'withdraw', amount: 80 })
      await Promise.all([first, second])
      const balance = await account.ask({ type: 'balance' })
      world.check('never-overdrawn', balance >= 0, `the balance is ${balance}`)
    })
  t.equal((await run({ seed: 1, choices: [] })).violation, undefined)
  for (const policy of ['random', 'pct', 'starve', 'delay-bounded'] as const) {
    let found: RunResult | undefined
    for (let seed = 0; seed < 300 && found === undefined; seed++) {
      const result = await run({ seed, policy })
      if (result.violation !== undefined) found = result
    }
    t.equal(found?.violation?.name, 'never-overdrawn', policy)
    const replay = await run({ seed: found?.seed ?? '', policy, choices: found?.choices })
    t.equal(replay.hash, found?.hash, `${policy} replays`)
  }
})

void test('every policy keeps the order of messages from one sender to one receiver', async (t) => {
  const Sink = protocol('sink', { take: tell({ from: Type.Number(), n: Type.Number() }) })
  for (const policy of policyNames) {
    for (let seed = 0; seed < 10; seed++) {
      const last = new Map<number, number>()
      const result = await simulateSystem({ seed, policy }, async (world) => {
        const system = await world.start()
        const sink = system.spawn(
          'sink',
          actor(Sink, () => ({
            take: ({ from, n }) => {
              world.check('fifo', (last.get(from) ?? 0) === n - 1, `${n} of ${from} came out of order`)
              last.set(from, n)
            },
          })),
        )
        for (let from = 0; from < 3; from++) {
          const start = protocol(`source-${from}`, { go: tell({}) })
          const source = system.spawn(
            `source-${from}`,
            actor(start, (ctx) => {
              let n = 0
              return {
                go: () => {
                  ctx.tell(sink, { type: 'take', from, n: ++n })
                  if (n < 10) ctx.tell(ctx.self, { type: 'go' })
                },
              }
            }),
          )
          source.tell({ type: 'go' })
        }
        await world.sleep(1)
      })
      t.equal(result.violation, undefined, `${policy}, seed ${seed}`)
      t.same([...last.values()], [10, 10, 10])
    }
  }
})

void test('a killed process runs no more, and what it promised never comes', async (t) => {
  let ticks = 0
  const Clock = protocol('clock', { tick: tell({}) })
  const result = await simulateSystem({ seed: 1 }, async (world) => {
    const system = await world.start()
    system.spawn(
      'clock',
      actor(Clock, (ctx) => {
        ctx.timers.every('tick', 10, { type: 'tick' })
        return { tick: () => void ticks++ }
      }),
    )
    system.spawn(
      'log',
      actor(Log, () => ({ add: () => new Promise<number>(() => undefined) })),
    )
    await world.sleep(95)
    world.check('ticked', ticks === 9, `${ticks} ticks`)
    const reply = world.call((up) => up.ref(Log, '/user/log').ask({ type: 'add', line: '' }))
    world.kill()
    const outcome = await reply.then(
      () => 'answered',
      (error: unknown) => (error instanceof ProcessKilled ? 'killed' : String(error)),
    )
    world.check('unknown-outcome', outcome === 'killed', outcome)
    await world.sleep(1_000)
    world.check('silent', ticks === 9, `${ticks} ticks`)
    await world.restart()
    world.check('up', world.isUp, 'it did not come up again')
  })
  t.equal(result.violation, undefined)
})

void test('a pause holds everything back and loses nothing; a stall moves the clock within one step', async (t) => {
  const Clock = protocol('clock', { tick: tell({}), now: ask({}, Type.Number()) })
  const at: number[] = []
  const result = await simulateSystem({ seed: 1, choices: [] }, async (world) => {
    const system = await world.start(undefined, { stallMs: Number.POSITIVE_INFINITY })
    const bootMs = world.process.platform.clock.monotonicMs()
    const clock = system.spawn(
      'clock',
      actor(Clock, (ctx) => {
        ctx.timers.once('tick', 100, { type: 'tick' })
        return { tick: () => void at.push(ctx.now() - bootMs), now: () => ctx.now() - bootMs }
      }),
    )
    await world.sleep(50)
    world.process.pause(500)
    await world.sleep(600)
    world.check('late', at[0] === 550, `the tick came at ${at[0]}`)
    world.process.stall(1_000)
    const before = world.now()
    await clock.ask({ type: 'now' })
    const after = await clock.ask({ type: 'now' })
    world.check(
      'stalled',
      world.now() - before >= 1_000 && after >= 1_650,
      `${world.now() - before} ${after}`,
    )
  })
  t.equal(result.violation, undefined)
})

void test('timers are never early on a clock that drifts, and the two clocks are apart', async (t) => {
  for (const rate of [0.5, 0.99, 1.001, 2]) {
    const clock = new SkewedClock(123.456, 1_000)
    clock.drift(rate, 17.3)
    for (const aheadMs of [0, 0.1, 1 / 3, 7, 1e6 / 7]) {
      const dueMs = clock.monotonicAt(20) + aheadMs
      t.ok(clock.monotonicAt(clock.trueAt(dueMs)) >= dueMs, `rate ${rate}, ${aheadMs} ms ahead`)
    }
  }
  const clock = new SkewedClock(0, 1_000)
  clock.jump(-500)
  t.equal(clock.wallAt(10), 510)
  clock.freeze(10)
  t.equal(clock.wallAt(99), 510)
  clock.thaw()
  t.equal(clock.wallAt(99), 599)
  t.equal(clock.monotonicAt(99), 99, 'the monotonic one noticed nothing')
})

void test('a handler that waits for something from outside fails the run and is named', async (t) => {
  const result = await simulateSystem({ seed: 1 }, async (world) => {
    const system = await world.start()
    const lost = system.spawn(
      'lost',
      actor(Log, () => ({ add: () => new Promise<number>(() => undefined) })),
    )
    lost.ask({ type: 'add', line: '' }, { timeoutMs: 60_000 }).catch(() => undefined)
    await world.sleep(50_000)
  })
  t.equal(result.violation?.name, 'nondeterminism')
  t.match(result.violation?.message, /handler of "add" at \/user\/lost on "system" awaits something/)
})

void test('a scenario that can never go on is stuck, one that never ends exceeds its bounds', async (t) => {
  const stuck = await simulateSystem({ seed: 1 }, () => new Promise(() => undefined))
  t.match(stuck.violation, { name: 'stuck', message: /nothing is scheduled any more/ })
  const late = await simulateSystem({ seed: 1, virtualMsMax: 1_000 }, async (world) => {
    for (;;) await world.sleep(100)
  })
  t.equal(late.violation?.name, 'time-exceeded')
  const circles = await simulateSystem({ seed: 1, stepsMax: 1_000 }, async (world) => {
    for (;;) await world.sleep(0)
  })
  t.equal(circles.violation?.name, 'steps-exceeded')
})

void test('actors that send to each other without end are a livelock, found long before the steps are used up', async (t) => {
  const Ball = protocol('ball', { hit: tell({}) })
  const result = await simulateSystem({ seed: 1, policy: 'fifo' }, async (world) => {
    const system = await world.start(undefined, { isolation: 'reference' })
    const wall = system.spawn(
      'wall',
      actor(Ball, (ctx) => ({ hit: () => void ctx.tell(ctx.self, { type: 'hit' }) })),
    )
    wall.tell({ type: 'hit' })
    await world.sleep(1)
  })
  t.match(result.violation, { name: 'livelock', message: /Ready now: \/user\/wall on "system"/ })
})

void test('what a killed step still says is heard by nobody', async (t) => {
  const result = await simulateSystem({ seed: 1 }, async (world) => {
    const system = await world.start()
    const ghost = system.spawn(
      'ghost',
      actor(Log, (ctx) => ({
        add: () => {
          void ctx.store('s').write([])
          world.sometimes('from-the-grave')
          world.simulation.fail('ghost', 'a dead process has spoken')
          return 1
        },
      })),
    )
    world.process.killAtEffect(1)
    await world.call(() => ghost.ask({ type: 'add', line: '' })).catch(() => undefined)
    await world.sleep(10)
  })
  t.equal(result.violation, undefined)
  t.same(result.stats.reached, [])
})

void test('what the scenario throws, and a rejection that nobody handles, is a violation with its text', async (t) => {
  const thrown = await simulateSystem({ seed: 1 }, async () => {
    throw new RangeError('off by one')
  })
  t.match(thrown.violation, { name: 'scenario-threw', message: /off by one/ })
  const rejected = await simulateSystem({ seed: 1 }, async (world) => {
    void Promise.reject(new Error('stray'))
    await world.sleep(1)
  })
  t.match(rejected.violation, { name: 'unhandled-rejection', message: /stray/ })
  const inEvent = await simulateSystem({ seed: 1 }, async (world) => {
    world.simulation.at(5, undefined, 'test', () => {
      throw new RangeError('in an event')
    })
    await world.sleep(10)
  })
  t.match(inEvent.violation, { name: 'scenario-threw', message: /in an event/, atMs: 5 })
  const checked = await simulateSystem({ seed: 1 }, async (world) => {
    let n = 0
    world.invariant('small', () => world.check('small', n < 3, `n is ${n}`), 'quiesce')
    for (;;) {
      n++
      await world.sleep(10)
    }
  })
  t.match(checked.violation, { name: 'small', message: 'n is 3', atMs: 20 })
})

void test('an unhandled rejection in an actor is its own failure, not the run’s', async (t) => {
  const Risky = protocol('risky', { go: tell({}), ok: ask({}, Type.Boolean()) })
  const result = await simulateSystem({ seed: 1 }, async (world) => {
    const system = await world.start()
    const risky = system.spawn(
      'risky',
      actor(Risky, (ctx) => ({
        go: () => {
          ctx.run(Promise.reject(new Error('own')))
        },
        ok: () => true,
      })),
    )
    risky.tell({ type: 'go' })
    await world.sleep(5_000)
    world.check('restarted', await risky.ask({ type: 'ok' }), 'it is gone')
  })
  t.equal(result.violation, undefined)
})

void test('crash everywhere goes through every write of an operation, and finds the one that must not be last', async (t) => {
  const Vault = protocol('vault', { move: ask({}, Type.Null()), sum: ask({}, Type.Number()) })
  const text = new TextEncoder()
  /** Two accounts, moved in one batch or in two. */
  const vault = (isAtomic: boolean) =>
    actor(Vault, async (ctx) => {
      const store = ctx.store('vault')
      const read = async (key: string): Promise<number> =>
        Number(new TextDecoder().decode(await store.get(key)))
      const put = (key: string, value: number) =>
        ({ type: 'put', key, value: text.encode(String(value)) }) as const
      if ((await store.get('a')) === undefined) await store.write([put('a', 100), put('b', 0)])
      return {
        move: async () => {
          const a = put('a', (await read('a')) - 10)
          const b = put('b', (await read('b')) + 10)
          if (isAtomic) await store.write([a, b])
          else {
            await store.write([a])
            await store.write([b])
          }
          return null
        },
        sum: async () => (await read('a')) + (await read('b')),
      }
    })
  const search = (isAtomic: boolean): ReturnType<typeof crashEverywhere> =>
    crashEverywhere({
      run: (crash) =>
        simulateSystem({ seed: 1, choices: [], crash }, async (world) => {
          const boot = await world.start()
          boot.spawn('vault', vault(isAtomic))
          await world.call((up) => up.ref(Vault, '/user/vault').ask({ type: 'sum' }))
          await world.operation(async () => {
            await world
              .call((up) => up.ref(Vault, '/user/vault').ask({ type: 'move' }))
              .catch((error: unknown) => {
                if (!(error instanceof ProcessKilled || error instanceof ActorError)) throw error
              })
          })
          await world.sleep(1_000)
          const system = await world.whenUp()
          const again = system.lookup(Vault, '/user/vault') ?? system.spawn('vault', vault(isAtomic))
          const sum = await again.ask({ type: 'sum' })
          world.check('nothing-lost', sum === 100, `there are ${sum} in all`)
        }),
    })
  const atomic = await search(true)
  t.same(atomic.failures, [])
  t.ok(atomic.points >= 2, `${atomic.points} points`)
  const torn = await search(false)
  t.ok(torn.points > atomic.points)
  t.match(torn.failures[0]?.result.violation, { name: 'nothing-lost', message: 'there are 90 in all' })
})

void test('choices: text round trip, benign zeros, streams that do not disturb each other', async (t) => {
  const source = new ChoiceSource('x')
  const a = source.stream('a')
  const b = source.stream('b/c>d')
  const drawn = Array.from({ length: 50 }, () => [a.choose(5), b.chance(0.3) ? 1 : 0])
  const taken = parseChoices(formatChoices(source.taken()))
  const replay = new ChoiceSource('other', taken)
  t.same(
    Array.from({ length: 50 }, () => [
      replay.stream('a').choose(5),
      replay.stream('b/c>d').chance(0.3) ? 1 : 0,
    ]),
    drawn,
  )
  const without = new ChoiceSource('x')
  t.same(
    Array.from({ length: 50 }, () => without.stream('a').choose(5)),
    drawn.map(([first]) => first),
    'the other stream moves nothing',
  )
  t.equal(a.choose(1), 0)
  t.equal(b.chance(0), false)
  t.throws(() => parseChoices('a#1=0'), /Cannot read the choice "a#1=0"/)
  t.throws(() => parseChoices('nonsense'), RangeError)
  t.same(parseChoices(''), [])
})
