/** Semantics, section 6: stop, drain, kill, and the shutdown of a whole system. */
import { child, createSystem, supervisor, type ChildSpec, type StopMode } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
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
  type Gate,
  type PuppetContext,
} from '../support/runtime.ts'

const play = (step: string) => ({ type: 'do', step }) as const
const question = (step: string) => ({ type: 'ask', step }) as const
const boom = (): never => {
  throw new Error('boom')
}
const never = (): Promise<void> => new Promise<void>(() => undefined)
const modes: readonly StopMode[] = ['stop', 'drain', 'kill']

void test('S6.1 stop in order: refuse, handler, children in reverse, hooks, queue to dead letters, watchers, name free', async (t) => {
  await onStage(t, undefined, async (system) => {
    const diary: string[] = []
    const doors = { handler: gate(), two: gate(), hook: gate() }
    const kid = (name: string, door?: Gate) =>
      puppet(
        {},
        {
          setup: (ctx) =>
            ctx.defer(async () => {
              await door?.passed
              diary.push(`${name} down`)
            }),
        },
      )
    const definition = puppet(
      {
        work: async (ctx) => {
          await doors.handler.passed
          diary.push(`handler done, signal ${ctx.signal.aborted}`)
        },
        keep: (ctx) => ctx.stash(),
      },
      {
        setup: (ctx) => {
          ctx.signal.addEventListener('abort', () => diary.push('signal'))
          ctx.spawn('one', kid('one'))
          ctx.spawn('two', kid('two', doors.two))
          ctx.defer(async () => {
            await doors.hook.passed
            diary.push('hook')
          })
        },
      },
    )
    const ref = system.spawn('a', definition)
    const watcher = system.spawn(
      'w',
      puppet({
        watch: (ctx) => ctx.watch(ref, (reason) => ({ type: 'self', step: reason })),
        stopped: () => {
          diary.push(`notice, name ${system.lookup(Puppet, '/user/a') === undefined ? 'free' : 'taken'}`)
        },
      }),
    )
    watcher.tell(play('watch'))
    system.events.on('dead-letter', ({ reason, message }) =>
      diary.push(`dead letter ${message.type} ${reason}`),
    )
    ref.tell(play('keep'))
    ref.tell(play('work'))
    const queued = watched(ref.ask(question('work')))
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    t.same(diary.splice(0), ['signal'])
    t.equal(ref.tell(play('work')), false)
    t.equal(await codeOf(ref.ask(question('work'))), 'RUNTIME_ACTOR_STOPPED')
    t.same(diary.splice(0), ['dead letter do stopping', 'dead letter ask stopping'])
    t.equal(queued.state, 'open')
    doors.handler.open()
    await system.platform.settle()
    t.same(diary.splice(0), ['handler done, signal true'])
    t.throws(() => system.spawn('a', definition), { code: 'RUNTIME_DUPLICATE_NAME' })
    doors.two.open()
    await system.platform.settle()
    t.same(diary.splice(0), ['two down', 'one down'])
    t.equal(stopped.state, 'open')
    doors.hook.open()
    await system.platform.settle()
    t.same(diary, ['hook', 'dead letter do stopped', 'dead letter ask stopped', 'notice, name free'])
    t.equal(watchedCode(queued), 'RUNTIME_ACTOR_STOPPED')
    t.equal(stopped.state, 'resolved')
  })
})

void test('S6.1 watchers are told before the parent, the parent before whoever waits for the stop', async (t) => {
  await onStage(t, undefined, async (system) => {
    const order: string[] = []
    const ref = system.spawn('a', puppet({}))
    await system.platform.settle()
    system.events.on('actor-stopped', () =>
      order.push(`event, name ${system.lookup(Puppet, '/user/a') ? 'taken' : 'free'}`),
    )
    await system.stop(ref)
    order.push(`resolved, name ${system.lookup(Puppet, '/user/a') ? 'taken' : 'free'}`)
    t.same(order, ['event, name taken', 'resolved, name free'])
    t.ok(system.spawn('a', puppet({})), 'the name can be taken again at once')
  })
})

void test('S6.1 stop drops the queue, drain works it off, both let the handler finish; kill does neither', async (t) => {
  for (const mode of modes) {
    await onStage(t, undefined, async (system) => {
      const door = gate()
      const got: string[] = []
      const ref = system.spawn(
        'a',
        puppet(
          { slow: () => door.passed.then(() => got.push('slow')), quick: () => got.push('quick') },
          { setup: (ctx) => ctx.defer(() => void got.push('hook')) },
        ),
      )
      const asks = [watched(ref.ask(question('slow'))), watched(ref.ask(question('quick')))]
      await system.platform.settle()
      const stopped = watched(system.stop(ref, mode))
      t.equal(ref.tell(play('quick')), false, 'nothing more is taken')
      await system.platform.settle()
      t.equal(stopped.state, mode === 'kill' ? 'resolved' : 'open')
      door.open()
      await system.platform.settle()
      t.equal(stopped.state, 'resolved')
      const codes = asks.map(watchedCode)
      switch (mode) {
        case 'stop':
          t.same(got, ['slow', 'hook'])
          t.same(codes, ['resolved', 'RUNTIME_ACTOR_STOPPED'])
          break
        case 'drain':
          t.same(got, ['slow', 'quick', 'hook'])
          t.same(codes, ['resolved', 'resolved'])
          break
        case 'kill':
          t.same(got, ['slow'], 'the promise goes on, nobody listens')
          t.same(codes, ['RUNTIME_ACTOR_STOPPED', 'RUNTIME_ACTOR_STOPPED'])
          break
        default:
          mode satisfies never
      }
      t.same(
        system.deadLetters().map(({ reason }) => reason),
        mode === 'drain' ? ['stopping'] : mode === 'stop' ? ['stopping', 'stopped'] : ['stopped', 'stopped'],
      )
    })
  }
})

void test('S6.1 drain: an actor that is not up yet starts, works off its queue and ends', async (t) => {
  for (const late of [false, true]) {
    await onStage(t, undefined, async (system) => {
      const door = gate()
      const got: string[] = []
      const ref = system.spawn(
        'a',
        puppet({ work: () => got.push('work') }, { setup: () => (late ? door.passed : undefined) }),
      )
      const asked = watched(ref.ask(question('work')))
      if (late) await system.platform.settle()
      const drained = watched(system.stop(ref, 'drain'))
      t.equal(ref.tell(play('work')), false)
      door.open()
      await system.platform.settle()
      t.same([got, asked.value, drained.state], [['work'], 1, 'resolved'])
      t.same(living(system), [])
    })
  }
})

void test('S6.1 drain: what a drained actor has handed to its children is worked off too', async (t) => {
  await onStage(t, undefined, async (system) => {
    const done: string[] = []
    const worker = puppet({
      work: async () => {
        await Promise.resolve()
        done.push('work')
      },
    })
    const boss = puppet({
      share: (ctx) => {
        const ref = ctx.spawn('worker', worker)
        for (let n = 0; n < 3; n++) ctx.tell(ref, play('work'))
      },
    })
    const ref = system.spawn('boss', boss)
    ref.tell(play('share'))
    const drained = watched(system.stop(ref, 'drain'))
    await system.platform.settle()
    t.same([drained.state, done], ['resolved', ['work', 'work', 'work']])
  })
})

void test('S6.1 drain: an actor that waits out a backoff comes back for its queue, if that is in time', async (t) => {
  for (const delayMs of [1_000, 60_000]) {
    await onStage(t, undefined, async (system) => {
      const got: string[] = []
      const backoff = { minMs: delayMs, maxMs: delayMs, jitter: 0 }
      const ref = system.spawn('a', puppet({ boom, work: () => got.push('work') }), { backoff })
      ref.tell(play('boom'))
      const asked = watched(ref.ask(question('work'), { timeoutMs: 100_000 }))
      await system.platform.settle()
      const drained = watched(system.stop(ref, 'drain'))
      await system.platform.advance(5_000)
      t.equal(drained.state, 'resolved')
      t.same(
        [got.length, watchedCode(asked)],
        delayMs === 1_000 ? [1, 'resolved'] : [0, 'RUNTIME_ACTOR_STOPPED'],
      )
    })
  }
})

void test('S6.1 drain: what cannot be worked off within shutdownMs is dropped and said', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet({
        forever: async (ctx) => {
          await Promise.resolve()
          ctx.timers.once('again', 10, { type: 'self', step: 'forever' })
          await never()
        },
      }),
      { shutdownMs: 200 },
    )
    const asks = [
      watched(ref.ask(question('forever'), { timeoutMs: 10_000 })),
      watched(ref.ask(question('forever'), { timeoutMs: 10_000 })),
    ]
    await system.platform.settle()
    const drained = watched(system.stop(ref, 'drain'))
    await system.platform.advance(400)
    t.equal(drained.state, 'resolved')
    t.same(asks.map(watchedCode), ['RUNTIME_ACTOR_STOPPED', 'RUNTIME_ACTOR_STOPPED'])
    t.match(logged(system, 'error'), [
      /\/user\/a was not drained in 200 ms/,
      /still waited for its handler of "ask"/,
    ])
  })
})

void test('S6.1 drain: after a crash, or when a permanent actor stops itself, the next incarnation works off the rest and ends', async (t) => {
  for (const step of ['boom', 'stop']) {
    await onStage(t, undefined, async (system) => {
      const ref = system.spawn(
        'a',
        puppet({ boom, stop: (ctx) => ctx.stop(), who: (ctx) => ctx.incarnation }),
        { restart: 'permanent' },
      )
      await system.platform.settle()
      ref.tell(play(step))
      const asked = watched(ref.ask(question('who')))
      const drained = watched(system.stop(ref, 'drain'))
      await system.platform.settle()
      t.same([drained.state, asked.value], ['resolved', 1])
      t.same(living(system), [])
    })
  }
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({ boom }), { restart: 'temporary' })
    await system.platform.settle()
    ref.tell(play('boom'))
    const asked = watched(ref.ask(question('boom')))
    const drained = watched(system.stop(ref, 'drain'))
    await system.platform.settle()
    t.same(
      [drained.state, watchedCode(asked)],
      ['resolved', 'RUNTIME_ACTOR_STOPPED'],
      'a temporary one has no next',
    )
  })
})

/** What an actor may do to itself, at several moments of its life. */
const selfStops: Readonly<Record<string, (ctx: PuppetContext) => unknown>> = {
  returns: (ctx) => ctx.stop(),
  throws: (ctx) => {
    ctx.stop()
    throw new Error('on the way out')
  },
  awaits: async (ctx) => {
    ctx.stop()
    await Promise.resolve()
  },
  rejects: async (ctx) => {
    ctx.stop()
    await Promise.resolve()
    throw new Error('on the way out')
  },
  drains: (ctx) => ctx.stop(undefined, 'drain'),
  kills: (ctx) => ctx.stop(undefined, 'kill'),
  'kills and throws': (ctx) => {
    ctx.stop(undefined, 'kill')
    throw new Error('after death')
  },
  'kills and awaits': async (ctx) => {
    ctx.stop(undefined, 'kill')
    await Promise.resolve()
    throw new Error('after death')
  },
  'stops twice': (ctx) => {
    ctx.stop()
    ctx.stop(undefined, 'drain')
    ctx.stop(undefined, 'kill')
  },
}

for (const [name, stop] of Object.entries(selfStops)) {
  void test(`S6.1 an actor that stops itself in a handler, and ${name}, ends and leaves nobody waiting`, async (t) => {
    await onStage(t, undefined, async (system) => {
      const hooks: string[] = []
      const ref = system.spawn(
        'a',
        puppet(
          { stop, work: () => 1 },
          { handlerTimeoutMs: 1_000, setup: (ctx) => ctx.defer((why) => void hooks.push(why)) },
        ),
      )
      const ended = heard(system, 'actor-stopped')
      const asks = [watched(ref.ask(question('stop'))), watched(ref.ask(question('work')))]
      await system.platform.advance(2_000)
      t.same(living(system), [])
      t.ok(asks.every(({ state }) => state !== 'open'))
      t.equal(asks[1]?.state, name === 'drains' ? 'resolved' : 'rejected')
      t.same(
        ended.map(({ reason }) => reason),
        ['stopped'],
      )
      t.same(hooks, name.includes('kills') || name === 'stops twice' ? [] : ['stop'])
      t.ok(system.spawn('a', puppet({})), 'the name is free')
    })
  })

  void test(`S6.1 an actor that stops itself in setup, and ${name}, ends and leaves nobody waiting`, async (t) => {
    for (const late of [false, true]) {
      await onStage(t, undefined, async (system) => {
        const ref = system.spawn(
          'a',
          puppet(
            { work: () => 1 },
            {
              handlerTimeoutMs: 1_000,
              setup: async (ctx) => {
                if (late) await Promise.resolve()
                await stop(ctx)
              },
            },
          ),
          { restart: 'temporary' },
        )
        const asked = watched(ref.ask(question('work'), { timeoutMs: 60_000 }))
        await system.platform.advance(2_000)
        t.same(living(system), [])
        t.not(asked.state, 'open')
      })
      await onStage(t, undefined, async (system) => {
        const ref = system.spawn(
          'sync',
          puppet(
            { work: () => 1 },
            {
              setup: (ctx) => {
                if (!name.includes('await') && !name.includes('reject')) stop(ctx)
                else ctx.stop()
              },
            },
          ),
          { restart: 'temporary' },
        )
        const asked = watched(ref.ask(question('work'), { timeoutMs: 60_000 }))
        await system.platform.advance(2_000)
        t.same(living(system), [])
        t.not(asked.state, 'open')
      })
    }
  })
}

void test('S6.1 a permanent actor that stops itself in setup, sync or async, comes back each time, within the intensity', async (t) => {
  for (const late of [false, true]) {
    await onStage(t, undefined, async (system) => {
      system.spawn(
        'a',
        puppet(
          {},
          {
            setup: (ctx) => {
              if (ctx.incarnation < 2) ctx.stop()
              return late ? Promise.resolve() : undefined
            },
          },
        ),
        { restart: 'permanent' },
      )
      await system.platform.settle()
      t.same(living(system), ['/user/a running#2'])
    })
  }
})

void test('S6.1 stop of an actor that has not started, is starting, waits out a backoff, or was stopped already', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const fresh = system.spawn('fresh', puppet({}, { setup: boom }))
    t.equal(watchedCode(watched(system.stop(fresh))), 'open')
    const starting = system.spawn('starting', puppet({}, { setup: () => door.passed.then(boom) }))
    const waiting = system.spawn('waiting', puppet({ boom }), { backoff: { minMs: 100, maxMs: 100 } })
    waiting.tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/starting starting#0', '/user/waiting suspended#0'])
    const stops = [
      system.stop(starting),
      system.stop(starting),
      system.stop(waiting),
      system.stop(fresh),
    ].map(watched)
    await system.platform.settle()
    t.same(
      stops.map(({ state }) => state),
      ['open', 'open', 'resolved', 'resolved'],
    )
    door.open()
    await system.platform.settle()
    t.same(
      stops.map(({ state }) => state),
      Array.from({ length: 4 }, () => 'resolved'),
    )
    t.match(logged(system, 'error').at(-1), /\/user\/starting failed while it stopped: boom/)
    t.same(living(system), [])
  })
})

void test('S6.1 a child that crashes while its parent is stopping is not started again', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    let starts = 0
    const kid = puppet({ boom }, { setup: () => void starts++ })
    const ref = system.spawn(
      'a',
      puppet(
        { hold: () => door.passed },
        {
          setup: (ctx) => {
            ctx.spawn('older', kid)
            ctx.spawn('younger', puppet({}, { setup: (inner) => inner.defer(() => door.passed) }))
          },
        },
      ),
    )
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    await system.platform.settle()
    t.equal(stopped.state, 'open')
    system.ref(Puppet, '/user/a/older').tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/a stopping#0', '/user/a/younger stopping#0'])
    door.open()
    await system.platform.settle()
    t.equal(stopped.state, 'resolved')
    t.equal(starts, 1)
  })
})

void test('S6.1 children beyond the limit while their parent finishes its last handler do not disturb its stop', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const ref = system.spawn(
      'a',
      puppet(
        { hold: () => door.passed.then(() => 'held') },
        { setup: (ctx) => void ctx.spawn('kid', puppet({ boom })) },
      ),
    )
    const held = watched(ref.ask(question('hold')))
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    for (let n = 0; n < 6; n++) {
      system.ref(Puppet, '/user/a/kid').tell(play('boom'))
      await system.platform.settle()
    }
    door.open()
    await system.platform.settle()
    t.same([held.value, stopped.state], ['held', 'resolved'])
    t.same(system.platform.exits, [])
  })
})

void test('S6.1 spawn while stopping is refused, also from a handler that is let finish and from a hook', async (t) => {
  await onStage(t, undefined, async (system) => {
    const codes: string[] = []
    const tries = (ctx: PuppetContext): void => {
      try {
        ctx.spawn('kid', puppet({}))
      } catch (error) {
        codes.push((error as { code: string }).code)
      }
    }
    const definition = puppet(
      {
        leave: async (ctx) => {
          ctx.stop()
          tries(ctx)
          await Promise.resolve()
          tries(ctx)
        },
      },
      { setup: (ctx) => ctx.defer(() => tries(ctx)) },
    )
    for (const restart of ['transient', 'permanent'] as const) {
      system.spawn(restart, definition, { restart }).tell(play('leave'))
      await system.platform.settle()
      t.same(
        codes.splice(0),
        Array.from({ length: 3 }, () => 'RUNTIME_STOPPED'),
        restart,
      )
    }
    t.same(living(system), ['/user/permanent running#1'])
  })
})

void test('S6.1 kill skips the goodbyes of the whole subtree, also in the middle of an orderly stop', async (t) => {
  await onStage(t, undefined, async (system) => {
    const hooks: string[] = []
    const kid = (name: string) => puppet({}, { setup: (ctx) => ctx.defer(() => (hooks.push(name), never())) })
    const ref = system.spawn(
      'a',
      puppet(
        {},
        {
          setup: (ctx) => {
            for (const name of ['one', 'two', 'three']) ctx.spawn(name, kid(name))
            ctx.defer(() => void hooks.push('a'))
          },
        },
      ),
    )
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    await system.platform.settle()
    t.same(hooks, ['three'])
    await system.stop(ref, 'kill')
    await system.platform.settle()
    t.equal(stopped.state, 'resolved')
    t.same(hooks, ['three'])
    t.same(living(system), [])
  })
})

void test('S6.1 only its parent, or the system, stops an actor; guardians only by a shutdown', async (t) => {
  await onStage(t, undefined, async (system) => {
    const other = system.spawn('other', puppet({}))
    const ref = system.spawn('a', puppet({ try: (ctx) => ctx.stop(other) }))
    t.equal(await codeOf(ref.ask(question('try'))), 'RUNTIME_ACTOR_CRASHED')
    t.equal(await codeOf(system.stop(system.ref(Puppet, '/user'))), 'RUNTIME_ILLEGAL_CALL')
    await system.stop(system.ref(Puppet, '/user/nobody'))
    t.same(living(system), ['/user/other running#0', '/user/a running#1'])
  })
})

void test('S6.2 every step has one deadline: a hung handler, hook or setup is abandoned, fenced and named', async (t) => {
  const hangs = {
    handler: puppet({ hang: never }),
    hook: puppet({ hang: () => undefined }, { setup: (ctx) => ctx.defer(never) }),
    setup: puppet({ hang: () => undefined }, { setup: never }),
  }
  const waits = { handler: /its handler of "do"/, hook: /its defer hooks/, setup: /its setup/ }
  for (const name of ['handler', 'hook', 'setup'] as const) {
    await onStage(t, undefined, async (system) => {
      const abandoned = heard(system, 'actor-abandoned')
      const ref = system.spawn(name, hangs[name], { shutdownMs: 700 })
      ref.tell(play('hang'))
      await system.platform.settle()
      const stopped = watched(system.stop(ref))
      await system.platform.advance(699)
      t.equal(stopped.state, 'open')
      await system.platform.advance(1)
      t.equal(stopped.state, 'resolved')
      t.match(abandoned, [{ path: `/user/${name}`, ageMs: 700, waitedFor: waits[name] }])
      t.match(logged(system, 'error').at(-1), waits[name])
    })
  }
})

void test('S6.2 an actor that stops itself at the start of a setup that never ends is abandoned like any other', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({ x: () => 1 }, { setup: (ctx) => (ctx.stop(), never()) }))
    const asked = watched(ref.ask(question('x'), { timeoutMs: 60_000 }))
    await system.platform.advance(5_000)
    t.same(living(system), [])
    t.equal(watchedCode(asked), 'RUNTIME_ACTOR_STOPPED')
  })
})

void test('S6.2 the default is 5 s; a hung child is named itself, not only its parents, and its siblings say goodbye', async (t) => {
  const diary: string[] = []
  const polite = (name: string) => puppet({}, { setup: (ctx) => ctx.defer(() => void diary.push(name)) })
  const inner = supervisor({ name: 'inner' }, [
    child('polite', polite('polite')),
    child('hung', puppet({ hang: never })),
  ])
  await onStage(
    t,
    supervisor({}, [child('first', polite('first')), child('inner', inner)]),
    async (system) => {
      const abandoned = heard(system, 'actor-abandoned')
      system.ref(Puppet, '/user/inner/hung').tell(play('hang'))
      await system.platform.settle()
      const report = watched(system.shutdown())
      await system.platform.advance(4_999)
      t.equal(report.state, 'open')
      await system.platform.advance(1)
      t.equal(report.state, 'resolved')
      t.match(abandoned, [{ path: '/user/inner/hung', ageMs: 5_000, waitedFor: /handler of "do"/ }])
      t.equal(abandoned.length, 1)
      t.same(diary, ['polite', 'first'])
      t.match(report.value, { clean: false, hung: [/^\/user\/inner\/hung \(waited for its handler of "do"/] })
      t.equal(report.value?.hung.length, 1, 'each kept to its own deadline')
    },
  )
})

void test('S6.2 supervisors: the sum of their children, so that each child has its own time', async (t) => {
  const slow = (doorMs: number): ReturnType<typeof puppet> =>
    puppet(
      {},
      {
        setup: (ctx) =>
          ctx.defer(
            () =>
              new Promise<void>(
                (resolve) => void platform.clock.setTimer(platform.clock.monotonicMs() + doorMs, resolve),
              ),
          ),
      },
    )
  const platform = virtualPlatform()
  const specs: ChildSpec[] = [1, 2, 3].map((n) => child(`c${n}`, slow(4_000)))
  await onStage(
    t,
    supervisor({}, [child('group', supervisor({ name: 'group' }, specs))]),
    async (system) => {
      const abandoned = heard(system, 'actor-abandoned')
      const report = watched(system.shutdown())
      await platform.advance(11_999)
      t.equal(report.state, 'open')
      await platform.advance(1)
      t.same([report.value?.clean, abandoned], [true, []])
    },
    { platform },
  )
})

void test('S6.2 the parent waits no longer than its own deadline, and its own goodbye has its share', async (t) => {
  const diary: string[] = []
  await onStage(t, undefined, async (system) => {
    const abandoned = heard(system, 'actor-abandoned')
    const parent = (name: string) =>
      puppet(
        {},
        {
          setup: (ctx) => {
            ctx.spawn('kid', puppet({}, { setup: (inner) => inner.defer(never) }))
            ctx.defer(async () => {
              await Promise.resolve()
              diary.push(name)
            })
          },
        },
      )
    const strict = system.spawn('strict', parent('strict'), { shutdownMs: 100 })
    const usual = system.spawn('usual', parent('usual'))
    await system.platform.settle()
    const stops = [watched(system.stop(strict)), watched(system.stop(usual))]
    await system.platform.advance(100)
    t.same(
      stops.map(({ state }) => state),
      ['resolved', 'open'],
    )
    await system.platform.advance(4_900)
    t.same(
      stops.map(({ state }) => state),
      ['resolved', 'resolved'],
    )
    t.ok(diary.includes('usual'), 'the other had the time to say goodbye')
    t.same(
      abandoned.map(({ path }) => path),
      ['/user/strict/kid', '/user/strict', '/user/usual/kid'],
    )
  })
})

void test('S6.2 the system has one deadline over all: who hangs then is named, and nothing is left', async (t) => {
  const root = supervisor({}, [
    child('hung', puppet({ hang: never }), { shutdownMs: 60_000 }),
    child('fine', puppet({})),
  ])
  await onStage(
    t,
    root,
    async (system) => {
      const abandoned = heard(system, 'actor-abandoned')
      system.ref(Puppet, '/user/hung').tell(play('hang'))
      await system.platform.settle()
      const report = watched(system.shutdown())
      await system.platform.advance(1_000)
      t.match(report.value, { clean: false, hung: ['stop-actors/actors'] })
      t.match(abandoned, [{ path: '/user/hung', waitedFor: /handler of "do"/ }])
      t.equal(system.platform.pendingTimers(), 0)
    },
    { shutdownMs: 1_000 },
  )
})

void test('S6.2 what an abandoned actor still does has no effect', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const got: string[] = []
    const other = system.spawn('other', puppet({ hit: () => void got.push('hit') }))
    const ref = system.spawn(
      'a',
      puppet({
        hang: async (ctx) => {
          await door.passed
          ctx.tell(other, play('hit'))
          return 'late'
        },
      }),
      { shutdownMs: 10 },
    )
    const asked = watched(ref.ask(question('hang')))
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    await system.platform.advance(10)
    t.equal(stopped.state, 'resolved')
    door.open()
    await system.platform.settle()
    t.same(got, [])
    t.equal(watchedCode(asked), 'RUNTIME_ACTOR_STOPPED')
    t.equal(system.status().counters.staleEffects, 2, 'the tell and the end of the handler')
  })
})

void test('S6.3 await using: leaving the scope is the coordinated shutdown', async (t) => {
  const platform = virtualPlatform()
  const diary: string[] = []
  {
    await using system = await createSystem(
      'scoped',
      supervisor({}, [child('a', puppet({}, { setup: (ctx) => ctx.defer(() => void diary.push('a')) }))]),
      { platform },
    )
    system.coordinatedShutdown.add('drain', 'mine', (reason) => void diary.push(reason))
  }
  t.same(diary, ['the system was disposed of', 'a'])
  t.same([platform.pendingTimers(), platform.holds(), platform.exits], [0, 0, []])
})

void test('S6.3 phases in order, tasks of a phase side by side, a failing task does not stop the rest, twice is once', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { coordinatedShutdown } = system
    const diary: string[] = []
    const door = gate()
    coordinatedShutdown.add('close', 'last', () => void diary.push('close'))
    coordinatedShutdown.add('drain', 'slow', async () => {
      diary.push('slow in')
      await door.passed
      diary.push('slow out')
    })
    coordinatedShutdown.add('drain', 'bad', () => Promise.reject(new Error('bad')))
    coordinatedShutdown.add('drain', 'quick', () => void diary.push('quick'))
    // Whoever asks again from within joins the run in progress.
    coordinatedShutdown.add('not-ready', 'again', () => void system.shutdown('again'))
    coordinatedShutdown.add('drain', 'taken back', () => void diary.push('no'))[Symbol.dispose]()
    const phases = heard(system, 'shutdown-phase')
    const reports = [watched(system.shutdown('first')), watched(system.shutdown('second'))]
    await system.platform.settle()
    t.same(diary, ['slow in', 'quick'])
    door.open()
    await system.platform.settle()
    t.same(diary, ['slow in', 'quick', 'slow out', 'close'])
    t.equal(reports[0]?.value, reports[1]?.value)
    t.match(reports[0]?.value, { reason: 'first', clean: false, failed: ['drain/bad'], hung: [] })
    t.same(
      phases.map(({ phase }) => phase),
      ['not-ready', 'stop-intake', 'hand-over', 'drain', 'stop-actors', 'flush', 'close'],
    )
  })
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  void test(`S6.3 ${signal}: an orderly shutdown, then exit code 0; a second signal ends at once with 130`, async (t) => {
    const platform = virtualPlatform()
    const door = gate()
    const root = supervisor({}, [child('a', puppet({}, { setup: (ctx) => ctx.defer(() => door.passed) }))])
    await onStage(
      t,
      root,
      async (system) => {
        platform.signal(signal)
        await platform.settle()
        t.equal(system.coordinatedShutdown.isRunning(), true)
        t.same(platform.exits, [])
        platform.signal('SIGTERM')
        t.same(platform.exits, [130])
        door.open()
        await platform.settle()
        t.same(platform.exits, [130, 0], 'on a real machine the first is the end')
      },
      { platform, handleSignals: true },
    )
  })
}

void test('S6.3 the first signal during a shutdown that is under way waits for it; only the second is impatient', async (t) => {
  const platform = virtualPlatform()
  const door = gate()
  const root = supervisor({}, [child('a', puppet({}, { setup: (ctx) => ctx.defer(() => door.passed) }))])
  await onStage(
    t,
    root,
    async (system) => {
      void system.shutdown()
      await platform.settle()
      platform.signal('SIGTERM')
      t.same(platform.exits, [])
      door.open()
      await platform.settle()
      t.same(platform.exits, [0])
    },
    { platform, handleSignals: true },
  )
})

void test('S6.3 nothing is left after a shutdown, whatever was going on', async (t) => {
  const root = supervisor({ intensity: { restarts: 100, withinMs: 1_000 } }, [
    child('backoff', puppet({ boom }), { backoff: { minMs: 60_000, maxMs: 60_000 } }),
    child(
      'timers',
      puppet(
        { arm: (ctx) => ctx.timers.every('t', 10, { type: 'self', step: 'arm' }) },
        {
          setup: (ctx) => ctx.setReceiveTimeout(1_000, { type: 'self', step: 'arm' }),
        },
      ),
    ),
    child('loop', puppet({ boom })),
    child(
      'asker',
      puppet({
        ask: (ctx) => ctx.ask(ctx.ref(Puppet, '/user/deaf'), question('hang'), { timeoutMs: 60_000 }),
      }),
    ),
    child('deaf', puppet({ hang: never }, { handlerTimeoutMs: 30_000 }), { shutdownMs: 50 }),
    child('draining', puppet({ hang: never }), { shutdownMs: 50 }),
  ])
  await onStage(t, root, async (system) => {
    system.ref(Puppet, '/user/backoff').tell(play('boom'))
    system.ref(Puppet, '/user/timers').tell(play('arm'))
    for (let n = 0; n < 30; n++) system.ref(Puppet, '/user/loop').tell(play('boom'))
    const asked = watched(system.ref(Puppet, '/user/asker').ask(question('ask'), { timeoutMs: 60_000 }))
    system.ref(Puppet, '/user/draining').tell(play('hang'))
    await system.platform.settle()
    void system.stop(system.ref(Puppet, '/user/draining'), 'drain')
    const report = watched(system.shutdown())
    await system.platform.advance(200)
    t.match(report.value, { clean: false, failed: [] }, 'who hung is named')
    t.not(asked.state, 'open')
    t.equal(system.platform.pendingTimers(), 0)
  })
})
