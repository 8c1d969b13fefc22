/** Semantics, section 5: restart intensity, strategies, decisions, escalation. */
import {
  actor,
  child,
  createSystem,
  isActorError,
  protocol,
  supervisor,
  tell,
  type Backoff,
  type ChildOptions,
  type ChildSpec,
  type SupervisorOptions,
} from '@understudy/runtime'
import { virtualPlatform, type TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import {
  codeOf,
  gate,
  heard,
  living,
  logged,
  onStage,
  Puppet,
  puppet,
  watched,
  watchedCode,
  type PuppetOptions,
  type Script,
} from '../support/runtime.ts'

const play = (step: string) => ({ type: 'do', step }) as const
const question = (step: string) => ({ type: 'ask', step }) as const
const boom = (): never => {
  throw new Error('boom')
}
const many = { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 }

/** What happened to the actors of a troupe, in order, as `name what`. */
type Diary = string[]

/** A member that writes down when it comes up and goes down, and can crash and stop. */
function member(diary: Diary, name: string, script: Script = {}, options: PuppetOptions = {}) {
  const { setup, ...rest } = options
  return puppet(
    { boom, stop: (ctx) => ctx.stop(), who: (ctx) => ctx.incarnation, ...script },
    {
      ...rest,
      setup: (ctx) => {
        diary.push(`${name} up`)
        ctx.defer((why) => void diary.push(`${name} down (${why})`))
        return setup?.(ctx)
      },
    },
  )
}

function troupe(
  diary: Diary,
  options: SupervisorOptions,
  names: readonly string[],
  childOptions: Readonly<Record<string, ChildOptions>> = {},
  memberOptions: Readonly<Record<string, PuppetOptions>> = {},
) {
  const specs: ChildSpec[] = names.map((name) =>
    child(name, member(diary, name, {}, memberOptions[name]), childOptions[name] ?? {}),
  )
  return supervisor(options, specs)
}

async function tells(system: TestSystem, name: string, step: string): Promise<void> {
  system.ref(Puppet, `/user/${name}`).tell(play(step))
  await system.platform.settle()
}

void test('S5.1 intensity: by default three restarts in 5 s per supervisor; the fourth within them is one too many', async (t) => {
  await onStage(t, troupe([], {}, ['a', 'b']), async (system) => {
    const restarts = heard(system, 'actor-restarted')
    for (const name of ['a', 'b', 'a']) await tells(system, name, 'boom')
    t.same(
      restarts.map(({ path, count, limit }) => [path, count, limit]),
      [
        ['/user/a', 1, 3],
        ['/user/b', 2, 3],
        ['/user/a', 3, 3],
      ],
    )
    t.same(system.platform.exits, [])
    await tells(system, 'b', 'boom')
    t.same(living(system), [])
    t.same(system.platform.exits, [1])
  })
})

void test('S5.1 intensity: the window slides, it does not tumble', async (t) => {
  const intensity = { restarts: 2, withinMs: 1_000 }
  await onStage(t, troupe([], { intensity }, ['a']), async (system) => {
    // Never more than two within any 1,000 ms, though three fall into a window that began at the first.
    for (const waitMs of [0, 900, 101, 900, 101]) {
      await system.platform.advance(waitMs)
      await tells(system, 'a', 'boom')
      t.same(living(system), [`/user/a running#${heardCount(system)}`])
    }
    t.same(system.platform.exits, [])
    await system.platform.advance(99)
    await tells(system, 'a', 'boom')
    t.same(
      system.platform.exits,
      [1],
      'the third within 1,000 ms, though a tumbling window would have begun anew',
    )
  })
})

function heardCount(system: TestSystem): number {
  return system.status().counters.restarts
}

void test('S5.1 intensity: a restart exactly withinMs ago still counts', async (t) => {
  for (const [waitMs, exits] of [
    [1_000, [1]],
    [1_001, []],
  ] as const) {
    await onStage(t, troupe([], { intensity: { restarts: 1, withinMs: 1_000 } }, ['a']), async (system) => {
      await tells(system, 'a', 'boom')
      await system.platform.advance(waitMs)
      await tells(system, 'a', 'boom')
      t.same(system.platform.exits, exits, `after ${waitMs} ms`)
    })
  }
})

void test('S5.1 intensity: per child, each has a budget of its own', async (t) => {
  const intensity = { restarts: 2, withinMs: 1_000, per: 'child' } as const
  await onStage(t, troupe([], { intensity }, ['a', 'b', 'c']), async (system) => {
    for (const name of ['a', 'b', 'c', 'a', 'b', 'c']) await tells(system, name, 'boom')
    t.same(living(system), ['/user/a running#2', '/user/b running#2', '/user/c running#2'])
    await tells(system, 'b', 'boom')
    t.same(system.platform.exits, [1])
  })
})

void test('S5.1 intensity: restarts 0 bears none', async (t) => {
  await onStage(t, troupe([], { intensity: { restarts: 0, withinMs: 1_000 } }, ['a']), async (system) => {
    await tells(system, 'a', 'boom')
    t.same(system.platform.exits, [1])
  })
})

void test('S5.1 backoff: grows, is capped, is reset after a good run, and does not consume the window', async (t) => {
  const backoff: Backoff = { minMs: 100, maxMs: 1_000, jitter: 0, resetMs: 5_000 }
  const intensity = { restarts: 2, withinMs: 200 }
  await onStage(t, troupe([], { intensity }, ['a'], { a: { backoff } }), async (system) => {
    const restarts = heard(system, 'actor-restarted')
    const crashAndWait = async (delayMs: number): Promise<void> => {
      await tells(system, 'a', 'boom')
      t.equal(restarts.at(-1)?.delayMs, delayMs)
      await system.platform.advance(delayMs - 1)
      t.match(living(system), [/suspended/])
      await system.platform.advance(1)
      t.match(living(system), [/running/])
    }
    for (const delayMs of [100, 200, 400, 800, 1_000, 1_000]) await crashAndWait(delayMs)
    await system.platform.advance(4_999)
    await crashAndWait(1_000)
    await system.platform.advance(5_000)
    await crashAndWait(100)
    await crashAndWait(200)
    t.same(system.platform.exits, [])
  })
})

void test('S5.1 backoff: grows over failed starts too, also after a long good run', async (t) => {
  let failing = 0
  const setup = (): void => {
    if (failing-- > 0) throw new Error('no start')
  }
  const backoff: Backoff = { minMs: 100, maxMs: 1_000, jitter: 0 }
  await onStage(
    t,
    troupe([], { intensity: many }, ['a'], { a: { backoff } }, { a: { setup } }),
    async (system) => {
      const restarts = heard(system, 'actor-restarted')
      await tells(system, 'a', 'boom')
      await system.platform.advance(60_000)
      failing = 4
      await tells(system, 'a', 'boom')
      await system.platform.advance(10_000)
      t.same(
        restarts.map(({ delayMs }) => delayMs),
        [100, 100, 200, 400, 800, 1_000],
      )
      t.same(living(system), ['/user/a running#6'])
    },
  )
})

void test('S5.1 backoff: is jittered, within its share', async (t) => {
  const backoff: Backoff = { minMs: 1_000, maxMs: 1_000, jitter: 0.5 }
  await onStage(t, troupe([], { intensity: many }, ['a'], { a: { backoff } }), async (system) => {
    const restarts = heard(system, 'actor-restarted')
    for (let n = 0; n < 20; n++) {
      await tells(system, 'a', 'boom')
      await system.platform.advance(1_500)
    }
    const delays = restarts.map(({ delayMs }) => delayMs)
    t.ok(delays.every((delayMs) => delayMs >= 500 && delayMs <= 1_500))
    t.equal(new Set(delays).size, 20)
  })
})

void test('S5.1 backoff: per child: one waits, its siblings do not', async (t) => {
  await onStage(
    t,
    troupe([], {}, ['a', 'b'], { a: { backoff: { minMs: 100, maxMs: 100, jitter: 0 } } }),
    async (system) => {
      await tells(system, 'a', 'boom')
      await tells(system, 'b', 'boom')
      t.same(living(system), ['/user/a suspended#0', '/user/b running#1'])
      await system.platform.advance(100)
      t.same(living(system), ['/user/a running#1', '/user/b running#1'])
    },
  )
})

void test('S5.1 start failures count', async (t) => {
  let starts = 0
  await onStage(t, undefined, async (system) => {
    system.spawn('a', puppet({}, { setup: () => (++starts, boom()) }))
    await system.platform.settle()
    t.equal(starts, 4)
    t.same(system.platform.exits, [1])
  })
})

void test('S5.1 over the limit: children stop in reverse order, the supervisor fails to its parent with cause and history', async (t) => {
  const diary: Diary = []
  const inner = troupe(diary, { name: 'inner', intensity: { restarts: 1, withinMs: 1_000 } }, ['a', 'b', 'c'])
  const root = supervisor({}, [child('inner', inner), child('other', member(diary, 'other'))])
  await onStage(t, root, async (system) => {
    const restarts = heard(system, 'actor-restarted')
    await tells(system, 'inner/b', 'boom')
    await system.platform.advance(10)
    diary.length = 0
    await tells(system, 'inner/b', 'boom')
    t.same(diary, ['b down (stop)', 'c down (stop)', 'a down (stop)', 'a up', 'b up', 'c up'])
    const { error } = restarts.at(-1) ?? {}
    t.match(restarts.at(-1), { path: '/user/inner', count: 1 })
    t.ok(isActorError(error, 'RUNTIME_RESTART_LIMIT_EXCEEDED'))
    t.match(error, {
      history: [0, 10],
      cause: { message: 'boom' },
      message: /more than 1 restarts within 1000 ms/,
    })
    t.same(living(system), [
      '/user/inner running#1',
      '/user/inner/a running#0',
      '/user/inner/b running#0',
      '/user/inner/c running#0',
      '/user/other running#0',
    ])
  })
})

void test('S5.1 over the limit at the root: coordinated shutdown with exit code 1', async (t) => {
  const diary: Diary = []
  const root = troupe(diary, { intensity: { restarts: 0, withinMs: 1_000 } }, ['a', 'b'])
  await onStage(t, root, async (system) => {
    const phases = heard(system, 'shutdown-phase')
    diary.length = 0
    await tells(system, 'a', 'boom')
    t.same(diary, ['a down (stop)', 'b down (stop)'])
    t.equal(phases.length, 7)
    const report = await system.terminated
    t.match(report, { clean: true, reason: /the root failed.*gave up/ })
    t.same(system.platform.exits, [1])
    t.match(logged(system, 'fatal'), [/system "test" failed/])
    t.throws(() => system.spawn('late', puppet({})), { code: 'RUNTIME_STOPPED' })
  })
})

void test('S5.1 a tree that cannot start: createSystem rejects, after it has cleaned up, and the process is left to the caller', async (t) => {
  const platform = virtualPlatform()
  const diary: Diary = []
  const root = supervisor({}, [
    child('good', member(diary, 'good')),
    child('bad', puppet({}, { setup: boom })),
    child('never', member(diary, 'never')),
  ])
  const starting = watched(createSystem('t', root, { platform, isolation: 'codec' }))
  await platform.settle()
  t.equal(watchedCode(starting), 'RUNTIME_START_FAILED')
  t.match(starting.error, {
    cause: { code: 'RUNTIME_RESTART_LIMIT_EXCEEDED', cause: { code: 'RUNTIME_START_FAILED' } },
  })
  t.same(diary, ['good up', 'good down (stop)'])
  t.same([platform.pendingTimers(), platform.holds(), platform.exits], [0, 0, []])
})

void test('S5.1 a tree that is shut down while it starts: createSystem rejects', async (t) => {
  const platform = virtualPlatform()
  const root = supervisor({}, [
    child('slow', puppet({}, { setup: () => new Promise(() => undefined) }), { shutdownMs: 100 }),
  ])
  const starting = watched(createSystem('t', root, { platform, isolation: 'codec' }))
  await platform.settle()
  t.equal(starting.state, 'open')
  platform.signal('SIGTERM')
  await platform.advance(100)
  t.equal(watchedCode(starting), 'RUNTIME_START_FAILED')
  t.match(starting.error, { message: /it was shut down before it was up/ })
  // Its setup hung and was abandoned: the exit code says that something was left.
  t.same([platform.pendingTimers(), platform.holds(), platform.exits], [0, 0, [1]])
})

void test('S5.1 ordered start: each static child starts after the one before is up, also when that takes several tries', async (t) => {
  const diary: Diary = []
  const door = gate()
  let tries = 0
  const flaky: PuppetOptions = {
    setup: async () => {
      await door.passed
      if (++tries < 3) throw new Error('not yet')
    },
  }
  const platform = virtualPlatform()
  const root = troupe(diary, {}, ['a', 'b', 'c'], {}, { b: flaky })
  const starting = watched(createSystem('t', root, { platform, isolation: 'codec' }))
  await platform.settle()
  t.same(diary, ['a up', 'b up'])
  t.equal(starting.state, 'open')
  door.open()
  await platform.settle()
  t.same(diary, ['a up', 'b up', 'b down (restart)', 'b up', 'b down (restart)', 'b up', 'c up'])
  await starting.value?.shutdown()
  t.equal(platform.pendingTimers(), 0)
})

void test('S5.1 ordered start: a temporary child that cannot start does not hold up those behind it', async (t) => {
  const diary: Diary = []
  const root = troupe(diary, {}, ['a', 'b', 'c'], { b: { restart: 'temporary' } }, { b: { setup: boom } })
  await onStage(t, root, async (system) => {
    t.same(diary, ['a up', 'b up', 'b down (stop)', 'c up'])
    t.same(living(system), ['/user/a running#0', '/user/c running#0'])
  })
})

void test('S5.2 restart types: permanent comes back also after it stopped by itself, under the same ref; transient and temporary do not', async (t) => {
  const root = troupe([], { intensity: many }, ['p', 't', 'x'], {
    t: { restart: 'transient' },
    x: { restart: 'temporary' },
  })
  await onStage(t, root, async (system) => {
    const refs = ['p', 't', 'x'].map((name) => system.lookup(Puppet, `/user/${name}`))
    for (const ref of refs) ref?.tell(play('stop'))
    const queued = refs.map((ref) => watched(ref?.ask(question('who')) ?? Promise.reject(new Error('gone'))))
    await system.platform.settle()
    t.same(living(system), ['/user/p running#1'])
    t.equal(queued[0]?.value, 1, 'its mailbox is kept')
    t.same(queued.slice(1).map(watchedCode), ['RUNTIME_ACTOR_STOPPED', 'RUNTIME_ACTOR_STOPPED'])
    t.equal(await refs[0]?.ask(question('who')), 1)
  })
})

void test('S5.2 restart types: after a crash permanent and transient come back, temporary does not', async (t) => {
  const root = troupe([], { intensity: many }, ['p', 't', 'x'], {
    t: { restart: 'transient' },
    x: { restart: 'temporary' },
  })
  await onStage(t, root, async (system) => {
    for (const name of ['p', 't', 'x']) await tells(system, name, 'boom')
    t.same(living(system), ['/user/p running#1', '/user/t running#1'])
  })
})

void test('S5.2 restart types: a permanent child that keeps stopping by itself uses up the intensity', async (t) => {
  await onStage(t, troupe([], {}, ['p']), async (system) => {
    const restarts = heard(system, 'actor-restarted')
    for (let n = 0; n < 4; n++) await tells(system, 'p', 'stop')
    t.same(
      restarts.map(({ count, error }) => [count, error]),
      [
        [1, undefined],
        [2, undefined],
        [3, undefined],
      ],
    )
    t.same(system.platform.exits, [1])
    t.match(logged(system, 'fatal'), [/a permanent child stopped by itself/])
  })
})

void test('S5.2 restart types: whoever is stopped by its parent, or the system, stays down, permanent or not', async (t) => {
  await onStage(t, troupe([], {}, ['p']), async (system) => {
    await system.stop(system.ref(Puppet, '/user/p'))
    await system.platform.settle()
    t.same(living(system), [])
    t.same(system.platform.exits, [])
  })
})

void test('S5.2 one-for-one: only the crashed child restarts', async (t) => {
  const diary: Diary = []
  await onStage(t, troupe(diary, { strategy: 'one-for-one' }, ['a', 'b', 'c']), async (system) => {
    diary.length = 0
    await tells(system, 'b', 'boom')
    t.same(diary, ['b down (restart)', 'b up'])
  })
})

void test('S5.2 one-for-all: all go down in reverse start order, then up in start order', async (t) => {
  const diary: Diary = []
  await onStage(t, troupe(diary, { strategy: 'one-for-all' }, ['a', 'b', 'c', 'd']), async (system) => {
    diary.length = 0
    await tells(system, 'b', 'boom')
    t.same(diary, [
      'd down (restart)',
      'c down (restart)',
      'b down (restart)',
      'a down (restart)',
      'a up',
      'b up',
      'c up',
      'd up',
    ])
    t.same(
      living(system),
      ['a', 'b', 'c', 'd'].map((name) => `/user/${name} running#1`),
    )
    t.equal(heardCount(system), 1, 'one restart, not four')
  })
})

void test('S5.2 rest-for-one: those started after it go down in reverse order, then up in order', async (t) => {
  const diary: Diary = []
  await onStage(t, troupe(diary, { strategy: 'rest-for-one' }, ['a', 'b', 'c', 'd']), async (system) => {
    diary.length = 0
    await tells(system, 'b', 'boom')
    t.same(diary, ['d down (restart)', 'c down (restart)', 'b down (restart)', 'b up', 'c up', 'd up'])
    t.same(
      living(system),
      ['a#0', 'b#1', 'c#1', 'd#1'].map((line) => `/user/${line.replace('#', ' running#')}`),
    )
  })
})

void test('S5.2 rest-for-one: an older sibling that crashes while the younger ones go down widens the group', async (t) => {
  const diary: Diary = []
  const door = gate()
  const slow: PuppetOptions = { setup: (ctx) => ctx.defer(() => door.passed) }
  const root = troupe(diary, { strategy: 'rest-for-one' }, ['a', 'b', 'c'], {}, { c: slow })
  await onStage(t, root, async (system) => {
    diary.length = 0
    await tells(system, 'b', 'boom')
    await tells(system, 'a', 'boom')
    t.same(diary, [])
    door.open()
    await system.platform.settle()
    t.same(diary, ['c down (restart)', 'b down (restart)', 'a down (restart)', 'a up', 'b up', 'c up'])
    t.same(
      living(system),
      ['a', 'b', 'c'].map((name) => `/user/${name} running#1`),
    )
  })
})

void test('S5.2 one-for-all: temporary siblings are taken down and stay down', async (t) => {
  const diary: Diary = []
  const root = troupe(diary, { strategy: 'one-for-all' }, ['a', 'x', 'b'], { x: { restart: 'temporary' } })
  await onStage(t, root, async (system) => {
    diary.length = 0
    await tells(system, 'a', 'boom')
    t.same(diary, ['b down (restart)', 'x down (stop)', 'a down (restart)', 'a up', 'b up'])
    t.same(living(system), ['/user/a running#1', '/user/b running#1'])
  })
})

void test('S5.2 one-for-all: a transient child that stops by itself takes nobody along, a permanent one all', async (t) => {
  const diary: Diary = []
  const root = troupe(diary, { strategy: 'one-for-all' }, ['a', 't'], { t: { restart: 'transient' } })
  await onStage(t, root, async (system) => {
    diary.length = 0
    await tells(system, 't', 'stop')
    t.same(diary, ['t down (stop)'])
    await tells(system, 'a', 'stop')
    t.same(living(system), ['/user/a running#1'])
  })
  const all = troupe(diary, { strategy: 'one-for-all' }, ['a', 'b'])
  await onStage(t, all, async (system) => {
    await tells(system, 'b', 'stop')
    t.same(living(system), ['/user/a running#1', '/user/b running#1'])
  })
})

void test('S5.2 one-for-all: a failed restart retries the group, and each try counts', async (t) => {
  const diary: Diary = []
  let failing = 0
  const flaky: PuppetOptions = {
    setup: () => {
      if (failing-- > 0) throw new Error('no restart')
    },
  }
  const root = troupe(diary, { strategy: 'one-for-all' }, ['a', 'b', 'c'], {}, { b: flaky })
  await onStage(t, root, async (system) => {
    const restarts = heard(system, 'actor-restarted')
    diary.length = 0
    failing = 2
    await tells(system, 'c', 'boom')
    t.same(diary, [
      'c down (restart)',
      'b down (restart)',
      'a down (restart)',
      'a up',
      'b up',
      'b down (restart)',
      'a down (restart)',
      'a up',
      'b up',
      'b down (restart)',
      'a down (restart)',
      'a up',
      'b up',
      'c up',
    ])
    t.same(
      restarts.map(({ path, count }) => `${path} ${count}`),
      ['/user/c 1', '/user/b 2', '/user/b 3'],
    )
    t.match(living(system), [/a running/, /b running/, /c running/])
    failing = 1
    await tells(system, 'a', 'boom')
    t.same(system.platform.exits, [1], 'the fourth within 5 s')
  })
})

void test('S5.2 one-for-all: a sibling that crashes during the stop of the group is part of it, and is told', async (t) => {
  const diary: Diary = []
  const door = gate()
  const slow: PuppetOptions = {
    setup: (ctx) => ctx.defer(() => (ctx.incarnation === 0 ? door.passed : undefined)),
  }
  const root = troupe(diary, { strategy: 'one-for-all' }, ['a', 'b', 'c'], {}, { c: slow })
  await onStage(t, root, async (system) => {
    diary.length = 0
    await tells(system, 'b', 'boom')
    await tells(system, 'a', 'boom')
    door.open()
    await system.platform.settle()
    t.same(diary, ['c down (restart)', 'b down (restart)', 'a down (restart)', 'a up', 'b up', 'c up'])
    t.same(
      living(system),
      ['a', 'b', 'c'].map((name) => `/user/${name} running#1`),
    )
    t.equal(heardCount(system), 1)
    t.ok(
      logged(system, 'error').some((line) => line.startsWith('/user/a')),
      'no crash goes unsaid',
    )
  })
})

void test('S5.2 one-for-all: a sibling whose handler is awaited crashes while it is being taken down', async (t) => {
  const door = gate()
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({ boom })),
    child('b', puppet({ hang: () => door.passed.then(boom) })),
  ])
  await onStage(t, root, async (system) => {
    const asked = watched(system.ref(Puppet, '/user/b').ask(question('hang')))
    await system.platform.settle()
    await tells(system, 'a', 'boom')
    door.open()
    await system.platform.settle()
    t.equal(watchedCode(asked), 'RUNTIME_ACTOR_CRASHED')
    t.same(living(system), ['/user/a running#1', '/user/b running#1'])
    t.ok(logged(system, 'error').some((line) => line.startsWith('/user/b')))
  })
})

void test('S5.2 one-for-all: a sibling that leaves by itself while the group goes down comes back with it', async (t) => {
  const doors = [gate(), gate()]
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({ boom })),
    child(
      'b',
      puppet({
        leave: async (ctx) => {
          ctx.stop()
          await doors[0]?.passed
        },
      }),
    ),
    child(
      'c',
      puppet({}, { setup: (ctx) => ctx.defer(() => (ctx.incarnation === 0 ? doors[1]?.passed : undefined)) }),
    ),
  ])
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    for (const index of [0, 1]) doors[index] = gate()
    await onStage(t, root, async (system) => {
      await tells(system, 'b', 'leave')
      await tells(system, 'a', 'boom')
      for (const index of order) {
        doors[index]?.open()
        await system.platform.settle()
      }
      t.same(
        living(system),
        ['a', 'b', 'c'].map((name) => `/user/${name} running#1`),
      )
      t.equal(heardCount(system), 1, 'it counts once')
    })
  }
})

void test('S5.2 one-for-all: a child that is still saying goodbye when its turn to start comes is passed over', async (t) => {
  const door = gate()
  const kid = puppet({}, { setup: (ctx) => ctx.defer(() => door.passed) })
  const keeper = puppet({}, { keepChildren: true, setup: (ctx) => void ctx.spawn('kid', kid) })
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({ boom }), { backoff: { minMs: 100, maxMs: 100, jitter: 0 } }),
    child('b', keeper),
    child('c', puppet({})),
  ])
  await onStage(t, root, async (system) => {
    await tells(system, 'a', 'boom')
    const stopped = watched(system.stop(system.ref(Puppet, '/user/b')))
    await system.platform.advance(200)
    t.same([stopped.state, living(system)[1]], ['open', '/user/b stopping#0'])
    door.open()
    await system.platform.settle()
    t.equal(stopped.state, 'resolved')
    t.same(living(system), ['/user/a running#1', '/user/c running#1'])
  })
})

void test('S5.2 one-for-all: a child that is stopped for good while the group waits stays away', async (t) => {
  const backoff: Backoff = { minMs: 100, maxMs: 100, jitter: 0 }
  const root = troupe([], { strategy: 'one-for-all' }, ['a', 'b', 'c'], { a: { backoff } })
  await onStage(t, root, async (system) => {
    await tells(system, 'a', 'boom')
    t.match(living(system), [/a suspended/, /b suspended/, /c suspended/])
    await system.stop(system.ref(Puppet, '/user/b'))
    await system.platform.advance(100)
    t.same(living(system), ['/user/a running#1', '/user/c running#1'])
    await tells(system, 'a', 'boom')
    await system.stop(system.ref(Puppet, '/user/a'))
    await system.platform.settle()
    t.same(living(system), ['/user/c running#2'], 'nobody waits for the backoff of one that is gone')
  })
})

void test('S5.2 one-for-all: a child that drains comes back only to work off its queue', async (t) => {
  const door = gate()
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({ boom })),
    child('b', puppet({ slow: () => door.passed, who: (ctx) => ctx.incarnation })),
  ])
  await onStage(t, root, async (system) => {
    await tells(system, 'b', 'slow')
    const asked = watched(system.ref(Puppet, '/user/b').ask(question('who')))
    const drained = watched(system.stop(system.ref(Puppet, '/user/b'), 'drain'))
    await tells(system, 'a', 'boom')
    door.open()
    await system.platform.settle()
    t.same([drained.state, asked.value], ['resolved', 1])
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S5.2 a child with a hung goodbye does not hold up its group for ever', async (t) => {
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({ boom })),
    child('b', puppet({ hang: () => new Promise(() => undefined) }), { shutdownMs: 300 }),
  ])
  await onStage(t, root, async (system) => {
    const abandoned = heard(system, 'actor-abandoned')
    await tells(system, 'b', 'hang')
    await tells(system, 'a', 'boom')
    await system.platform.advance(299)
    t.match(living(system), [/a suspended/, /b suspended/])
    await system.platform.advance(1)
    t.same(living(system), ['/user/a running#1', '/user/b running#1'])
    t.match(abandoned, [{ path: '/user/b', ageMs: 300 }])
  })
})

void test('S5.2 a hung child of a restarting supervisor: the restart goes on once, not twice', async (t) => {
  const inner = supervisor(
    { name: 'inner', strategy: 'one-for-all', intensity: { restarts: 0, withinMs: 1 } },
    [child('x', puppet({ boom })), child('y', puppet({ hang: () => new Promise(() => undefined) }))],
  )
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('a', puppet({})),
    child('inner', inner, { shutdownMs: 200 }),
  ])
  await onStage(t, root, async (system) => {
    const started = heard(system, 'actor-started')
    await tells(system, 'inner/y', 'hang')
    await tells(system, 'inner/x', 'boom')
    await system.platform.advance(200)
    t.same(living(system), [
      '/user/a running#1',
      '/user/inner running#1',
      '/user/inner/x running#0',
      '/user/inner/y running#0',
    ])
    t.same(
      started.map(({ path }) => path),
      ['/user/a', '/user/inner/x', '/user/inner/y', '/user/inner'],
    )
  })
})

class DbDown extends Error {}
class BadState extends Error {}
class Fatal extends Error {}
const fails = (error: Error) => () => {
  throw error
}

void test('S5.3 decisions per error class: the first rule that fits decides; without one it is restarted', async (t) => {
  const definition = puppet({
    db: fails(new DbDown('db')),
    bad: fails(new BadState('bad')),
    coded: fails(Object.assign(new Error('coded'), { code: 'E_CODED' })),
    plain: boom,
  })
  const onError: ChildOptions['onError'] = [
    [DbDown, { minMs: 500, maxMs: 500, jitter: 0 }],
    [BadState, 'stop'],
    ['E_CODED', 'stop'],
    [Error, 'restart'],
  ]
  const names = ['db', 'bad', 'coded', 'plain']
  const root = supervisor(
    { intensity: many },
    names.map((name) => child(name, definition, { onError })),
  )
  await onStage(t, root, async (system) => {
    const failed = heard(system, 'actor-failed')
    for (const name of names) await tells(system, name, name)
    t.same(living(system), ['/user/db suspended#0', '/user/plain running#1'])
    await system.platform.advance(500)
    t.same(living(system), ['/user/db running#1', '/user/plain running#1'])
    t.same(
      failed.map(({ path }) => path),
      ['/user/bad', '/user/coded'],
    )
  })
})

void test('S5.3 decisions per error class: a rule may name what setup threw', async (t) => {
  await onStage(t, undefined, async (system) => {
    system.spawn('a', puppet({}, { setup: fails(new BadState('bad')) }), {
      restart: 'permanent',
      onError: [[BadState, 'stop']],
    })
    await system.platform.settle()
    t.same(living(system), [])
    t.same(system.platform.exits, [])
  })
})

void test('S5.3 decisions per error class: escalate fails the supervisor with that error, up to the root', async (t) => {
  const onError: ChildOptions['onError'] = [[Fatal, 'escalate']]
  const inner = supervisor({ name: 'inner' }, [
    child('a', puppet({ fatal: fails(new Fatal('fatal')) }), { onError }),
  ])
  const restarted = supervisor({}, [child('inner', inner)])
  await onStage(t, restarted, async (system) => {
    const restarts = heard(system, 'actor-restarted')
    await tells(system, 'inner/a', 'fatal')
    t.match(restarts, [{ path: '/user/inner', error: { message: 'fatal' } }])
    t.same(living(system), ['/user/inner running#1', '/user/inner/a running#0'])
  })
  await onStage(t, supervisor({}, [child('inner', inner, { onError })]), async (system) => {
    await tells(system, 'inner/a', 'fatal')
    t.same(system.platform.exits, [1])
  })
})

void test('S5.3 a temporary child is not restarted whatever a rule says', async (t) => {
  await onStage(t, undefined, async (system) => {
    const onError: ChildOptions['onError'] = [[Error, { minMs: 1, maxMs: 1 }]]
    const ref = system.spawn('a', puppet({ boom }), { restart: 'temporary', onError })
    t.equal(await codeOf(ref.ask(question('boom'))), 'RUNTIME_ACTOR_CRASHED')
    await system.platform.advance(10)
    t.same(living(system), [])
  })
})

void test('S5.1 a crash loop is visible: ten whole lines, then a summary', async (t) => {
  const Loop = protocol('loop', { go: tell() })
  await onStage(
    t,
    supervisor({ intensity: many }, [
      child(
        'a',
        actor(Loop, () => ({ go: boom })),
      ),
    ]),
    async (system) => {
      for (let n = 0; n < 25; n++) system.ref(Loop, '/user/a').tell({ type: 'go' })
      await system.platform.settle()
      t.equal(logged(system, 'error').length, 10)
      t.match(logged(system, 'error')[9], /restart 10; "go" crashed it 10 times/)
      await system.platform.advance(20_000)
      t.match(logged(system, 'warn'), [/15 more restarts of loop/])
    },
  )
})

void test('child: a name that cannot stand in a path is refused where it is defined', (t) => {
  for (const name of ['', 'a/b', 'a b', 'a#1', 'x'.repeat(256)]) {
    t.throws(() => child(name, puppet({})), { name: 'TypeError', message: /a name has 1 to 255 characters/ })
  }
  t.end()
})
