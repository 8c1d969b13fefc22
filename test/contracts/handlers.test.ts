/** Semantics, section 2: async handlers, and what comes while one awaits. */
import { actor, ask, isActorError, protocol, type CallCycleError } from '@understudy/runtime'
import type { TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
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
  type Script,
} from '../support/runtime.ts'

const play = (step: string) => ({ type: 'do', step }) as const
const question = (step: string) => ({ type: 'ask', step }) as const
const beside = (step: string) => ({ type: 'beside', step }) as const

void test('S2.1 one message at a time: the next handler starts only after the promise of the one before has settled', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    let inside = 0
    const step = async (name: string): Promise<void> => {
      inside++
      got.push(`${name} in ${inside}`)
      await Promise.resolve()
      await Promise.resolve()
      got.push(`${name} out ${inside}`)
      inside--
    }
    const ref = system.spawn(
      'a',
      puppet({ one: () => step('one'), two: () => step('two'), three: () => step('three') }),
    )
    for (const name of ['one', 'two', 'three']) ref.tell(play(name))
    await system.platform.settle()
    t.same(got, ['one in 1', 'one out 1', 'two in 1', 'two out 1', 'three in 1', 'three out 1'])
  })
})

void test('S2.1 one message at a time: a sync handler queued behind an awaiting one waits, across time', async (t) => {
  await onStage(t, undefined, async (system) => {
    let n = 0
    const door = gate()
    const ref = system.spawn(
      'a',
      puppet({
        slow: async () => {
          const before = n
          await door.passed
          n = before + 1
        },
        quick: () => ++n,
      }),
    )
    ref.tell(play('slow'))
    const answer = watched(ref.ask(question('quick'), { timeoutMs: 60_000 }))
    await system.platform.advance(30_000)
    t.equal(answer.state, 'open')
    door.open()
    await system.platform.settle()
    t.equal(answer.value, 2)
  })
})

void test('S2.1 one message at a time: thenables that are no promises are awaited too, also one that rejects', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const lazy = (name: string, fails: boolean) => ({
      // oxlint-disable-next-line unicorn/no-thenable -- that is what the test is about
      then: (resolve: (value: unknown) => void, reject: (error: unknown) => void) => {
        got.push(`${name} asked`)
        void Promise.resolve().then(() => {
          got.push(`${name} done`)
          if (fails) reject(new Error(name))
          else resolve(name)
        })
      },
    })
    const ref = system.spawn('a', puppet({ good: () => lazy('good', false), bad: () => lazy('bad', true) }))
    const answers = [watched(ref.ask(question('good'))), watched(ref.ask(question('bad')))]
    await system.platform.settle()
    t.same(got, ['good asked', 'good done', 'bad asked', 'bad done'])
    t.equal(answers[0]?.value, 'good')
    t.equal(watchedCode(answers[1] as never), 'RUNTIME_ACTOR_CRASHED')
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S2.2 control never waits: stop reaches an actor whose handler awaits, and aborts its signal at once', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    const ref = system.spawn(
      'a',
      puppet({
        wait: (ctx) =>
          new Promise<void>((_resolve, reject) => {
            ctx.signal.addEventListener('abort', () => {
              seen.push('aborted')
              reject(ctx.signal.reason)
            })
          }),
      }),
    )
    const answer = watched(ref.ask(question('wait'), { timeoutMs: 60_000 }))
    await system.platform.settle()
    const ended = heard(system, 'actor-stopped')
    const stopped = watched(system.stop(ref))
    await system.platform.settle()
    t.equal(stopped.state, 'resolved')
    t.same(seen, ['aborted'])
    t.same(
      ended.map(({ reason }) => reason),
      ['stopped'],
    )
    t.equal(watchedCode(answer), 'RUNTIME_ACTOR_STOPPED')
    t.same(logged(system, 'error'), [], 'an AbortError of our own signal is a stop, not a crash')
  })
})

void test('S2.2 control never waits: kill ends an actor whose handler never settles, now', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({ hang: () => new Promise(() => undefined) }))
    const hung = watched(ref.ask(question('hang'), { timeoutMs: 60_000 }))
    const queued = watched(ref.ask(question('hang'), { timeoutMs: 60_000 }))
    await system.platform.settle()
    await system.stop(ref, 'kill')
    await system.platform.settle()
    t.equal(watchedCode(hung), 'RUNTIME_ACTOR_STOPPED')
    t.equal(watchedCode(queued), 'RUNTIME_ACTOR_STOPPED')
    t.same(living(system), [])
  })
})

void test('S2.2 control never waits: supervision takes down an actor that awaits, and introspection looks at it', async (t) => {
  const { child, supervisor } = await import('@understudy/runtime')
  const door = gate()
  const root = supervisor({ strategy: 'one-for-all' }, [
    child('waiter', puppet({ wait: () => door.passed })),
    child('crasher', puppet({ boom: () => Promise.reject(new Error('boom')) })),
  ])
  await onStage(t, root, async (system) => {
    const waiter = system.ref(Puppet, '/user/waiter')
    waiter.tell(play('wait'))
    waiter.tell(play('wait'))
    await system.platform.settle()
    const status = system.status().tree.children.find(({ path }) => path === '/user')?.children[0]
    t.match(status, { path: '/user/waiter', status: 'running', handling: 'do', mailbox: 1 })
    system.ref(Puppet, '/user/crasher').tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/waiter suspended#0', '/user/crasher suspended#0'])
    door.open()
    await system.platform.settle()
    t.same(living(system), ['/user/waiter running#1', '/user/crasher running#1'])
  })
})

void test('S2.2 control never waits: a watch notice is taken in while a handler awaits, and handled after it', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const got: string[] = []
    const target = system.spawn('target', puppet({}))
    const ref = system.spawn(
      'a',
      puppet({
        go: async (ctx) => {
          ctx.watch(target, (reason) => ({ type: 'self', step: reason }))
          await door.passed
          got.push('handler')
        },
        stopped: () => void got.push('notice'),
      }),
    )
    ref.tell(play('go'))
    await system.platform.settle()
    await system.stop(target)
    await system.platform.settle()
    t.same(got, [])
    door.open()
    await system.platform.settle()
    t.same(got, ['handler', 'notice'])
  })
})

void test('S2.3 concurrent messages: run beside a handler that awaits; others wait', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const ref = system.spawn('a', puppet({ slow: () => door.passed, get: () => 7, later: async () => 8 }))
    const slow = watched(ref.ask(question('slow')))
    await system.platform.settle()
    const answers = [
      watched(ref.ask(beside('get'))),
      watched(ref.ask(beside('later'))),
      watched(ref.ask(question('get'))),
    ]
    const behind = watched(ref.ask(beside('get')))
    await system.platform.settle()
    t.equal(answers[0]?.value, 7)
    t.equal(answers[1]?.value, 8)
    t.equal(answers[2]?.state, 'open', 'a message that is not concurrent waits')
    t.equal(behind.state, 'open', 'nobody overtakes: order is kept')
    t.equal(slow.state, 'open')
    door.open()
    await system.platform.settle()
    t.same([answers[2]?.value, behind.value, slow.state], [7, 7, 'resolved'])
  })
})

void test('S2.3 concurrent messages: ctx.call() in one is about that message, not about the one that awaits', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const ref = system.spawn(
      'a',
      puppet({
        slow: () => door.passed.then(() => 'slow'),
        owe: (ctx) => {
          const owed = ctx.call().later<unknown>()
          owed.reply('owed')
          return owed
        },
      }),
    )
    const slow = watched(ref.ask(question('slow')))
    await system.platform.settle()
    const owed = watched(ref.ask(beside('owe')))
    await system.platform.settle()
    t.equal(owed.value, 'owed')
    t.equal(slow.state, 'open')
    door.open()
    await system.platform.settle()
    t.equal(slow.value, 'slow')
  })
})

void test('S2.3 concurrent messages: one that crashes fails every ask in progress at once, and the actor restarts', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet({
        hang: () => new Promise(() => undefined),
        boom: () => {
          throw new Error('boom')
        },
        late: () => Promise.reject(new Error('late boom')),
        get: () => 1,
      }),
    )
    const hung = [watched(ref.ask(question('hang'))), watched(ref.ask(beside('hang')))]
    await system.platform.settle()
    const crashed = watched(ref.ask(beside('boom')))
    await system.platform.settle()
    t.same(
      [...hung, crashed].map(watchedCode),
      Array.from({ length: 3 }, () => 'RUNTIME_ACTOR_CRASHED'),
    )
    t.same(living(system), ['/user/a running#1'])
    const again = [watched(ref.ask(question('hang'))), watched(ref.ask(beside('hang')))]
    await system.platform.settle()
    const late = watched(ref.ask(beside('late')))
    await system.platform.settle()
    t.same(
      [...again, late].map(watchedCode),
      Array.from({ length: 3 }, () => 'RUNTIME_ACTOR_CRASHED'),
    )
    t.equal(await ref.ask(question('get')), 1)
  })
})

void test('S2.3 concurrent messages: wait while setup awaits, and are not refused', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const ref = system.spawn('a', puppet({ get: () => 1 }, { setup: () => door.passed }))
    const answers = [watched(ref.ask(beside('get'))), watched(ref.ask(question('get')))]
    await system.platform.settle()
    ref.tell(play('get'))
    const third = watched(ref.ask(beside('get')))
    await system.platform.settle()
    t.same(
      [...answers, third].map(({ state }) => state),
      ['open', 'open', 'open'],
    )
    door.open()
    await system.platform.settle()
    t.same(
      [...answers, third].map(({ value }) => value),
      [1, 1, 1],
    )
  })
})

void test('S2.3 concurrent messages: those in progress are let finish before a stop goes on', async (t) => {
  await onStage(t, undefined, async (system) => {
    const doors = [gate(), gate()]
    const seen: string[] = []
    const ref = system.spawn(
      'a',
      puppet(
        {
          first: () => doors[0]?.passed.then(() => 'first'),
          second: () => doors[1]?.passed.then(() => 'second'),
        },
        { setup: (ctx) => ctx.defer(() => void seen.push('defer')) },
      ),
    )
    const answers = [watched(ref.ask(question('first'))), watched(ref.ask(beside('second')))]
    await system.platform.settle()
    const stopped = watched(system.stop(ref))
    doors[0]?.open()
    await system.platform.settle()
    t.same([answers[0]?.value, answers[1]?.state, stopped.state, seen], ['first', 'open', 'open', []])
    doors[1]?.open()
    await system.platform.settle()
    t.same([answers[1]?.value, stopped.state, seen], ['second', 'resolved', ['defer']])
  })
})

void test('S2.3 concurrent messages: an actor that keeps sending them to itself does not keep the loop', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const got: string[] = []
    const other = system.spawn('other', puppet({ get: () => void got.push('other') }))
    let rounds = 0
    const ref = system.spawn(
      'a',
      puppet({
        slow: () => door.passed,
        again: (ctx) => {
          rounds++
          if (rounds === 1) ctx.tell(other, play('get'))
          if (got.length === 0 && rounds < 10_000) {
            void ctx.ask(ctx.self, beside('again'), { timeoutMs: 60_000 }).catch(() => undefined)
          }
        },
      }),
    )
    ref.tell(play('slow'))
    await system.platform.settle()
    void ref.ask(beside('again')).catch(() => undefined)
    await system.platform.settle()
    door.open()
    await system.platform.settle()
    t.same(got, ['other'])
    t.ok(rounds < 100, `the other actor had its turn after ${rounds} rounds`)
  })
})

void test('S2.4 ctx.pipe and ctx.request do not hold the mailbox; results come back as own messages', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate<string>()
    const got: string[] = []
    const server = system.spawn('server', puppet({ get: () => door.passed }))
    const ref = system.spawn(
      'a',
      puppet({
        go: (ctx) => {
          ctx.pipe(door.passed, (value) => ({ type: 'self', step: `piped ${value}` }))
          ctx.request(server, question('get'), (value) => ({ type: 'self', step: `asked ${String(value)}` }))
          ctx.request(
            server,
            question('no such step'),
            () => ({ type: 'self', step: 'never' }),
            ({ code }) => ({ type: 'self', step: code }),
          )
        },
        now: () => got.push('now'),
        'piped x': () => void got.push('piped'),
        'asked x': () => void got.push('asked'),
        RUNTIME_ACTOR_CRASHED: () => void got.push('failed'),
      }),
    )
    ref.tell(play('go'))
    await system.platform.settle()
    t.equal(await ref.ask(question('now')), 1)
    door.open('x')
    await system.platform.settle()
    t.same(got, ['now', 'piped', 'asked', 'failed'])
    const forged = { type: 'self', step: 'now' } as unknown as { type: 'do'; step: string }
    t.equal(ref.tell(forged), false)
  })
})

void test('S2.4 ctx.pipe and ctx.request: a result of an incarnation that is gone is dropped and counted', async (t) => {
  await onStage(t, undefined, async (system) => {
    const doors = [gate(), gate()]
    const got: string[] = []
    const ref = system.spawn(
      'a',
      puppet({
        go: (ctx) => {
          for (const door of doors) ctx.pipe(door.passed, () => ({ type: 'self', step: 'result' }))
        },
        boom: async () => {
          // The first result is in the mailbox by the time of the crash, the second comes after it.
          doors[0]?.open()
          await new Promise<void>((resolve) => setImmediate(resolve))
          throw new Error('boom')
        },
        result: () => void got.push('result'),
      }),
    )
    ref.tell(play('go'))
    ref.tell(play('boom'))
    await system.platform.settle()
    await system.platform.settle()
    t.same(living(system), ['/user/a running#1'])
    doors[1]?.open()
    await system.platform.settle()
    t.same(got, [])
    t.equal(system.status().counters.staleEffects, 2)
    t.equal(logged(system, 'warn').filter((line) => line.includes('ctx.pipe')).length, 1, 'logged once')
  })
})

void test('S2.4 ctx.pipe: a rejection without onError crashes the actor, and so does a message that is not its own', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet({
        fail: (ctx) => ctx.pipe(Promise.reject(new Error('no')), () => ({ type: 'self', step: 'x' })),
        foreign: (ctx) => ctx.pipe(Promise.resolve(1), () => ({ type: 'alien' }) as never),
        run: (ctx) => ctx.run(Promise.reject(new Error('background'))),
      }),
    )
    const restarts = heard(system, 'actor-restarted')
    for (const step of ['fail', 'foreign', 'run']) {
      ref.tell(play(step))
      await system.platform.settle()
    }
    t.same(
      restarts.map(({ error }) => error?.name),
      ['Error', 'TypeError', 'Error'],
    )
    t.same(living(system), ['/user/a running#3'])
  })
})

/** Actors that ask each other in a ring of `names`, each with the step `go`; the last asks the first again. */
function ring(system: TestSystem, names: readonly string[], extra: Script = {}) {
  for (const [index, name] of names.entries()) {
    const next = names[(index + 1) % names.length]
    system.spawn(
      name,
      puppet({ go: (ctx) => ctx.ask(ctx.ref(Puppet, `/user/${next}`), question('go')), ...extra }),
      { restart: 'temporary' },
    )
  }
  return system.ref(Puppet, `/user/${names[0]}`)
}

async function cycleOf(system: TestSystem, names: readonly string[]): Promise<CallCycleError> {
  const errors: unknown[] = []
  for (const [index, name] of names.entries()) {
    const next = names[(index + 1) % names.length]
    const tried = async (asked: Promise<unknown>): Promise<void> => {
      try {
        await asked
      } catch (error) {
        errors.push(error)
        throw error
      }
    }
    system.spawn(
      name,
      puppet({ go: (ctx) => tried(ctx.ask(ctx.ref(Puppet, `/user/${next}`), question('go'))) }),
      { restart: 'temporary' },
    )
  }
  void system
    .ref(Puppet, `/user/${names[0]}`)
    .ask(question('go'))
    .catch(() => undefined)
  await system.platform.settle()
  return errors[0] as CallCycleError
}

for (const names of [['a'], ['a', 'b'], ['a', 'b', 'c']]) {
  void test(`S2.5 call cycles: ${[...names, 'a'].join(' -> ')} is refused at once, with the path`, async (t) => {
    await onStage(t, undefined, async (system) => {
      const error = await cycleOf(system, names)
      t.ok(isActorError(error, 'RUNTIME_CALL_CYCLE'))
      const path = error.details['path'] as readonly { readonly path: string; readonly messageType: string }[]
      t.same(
        path.map((link) => link.path).sort(),
        names.map((name) => `/user/${name}`),
      )
      t.same(new Set(path.map((link) => link.messageType)), new Set(['ask']))
      for (const name of names) t.match(error.message, `/user/${name}`)
      t.equal(system.platform.clock.monotonicMs(), 0, 'no time has passed')
    })
  })
}

void test('S2.5 call cycles: the asker outside gets ActorCrashed at once, not a timeout', async (t) => {
  await onStage(t, undefined, async (system) => {
    const first = ring(system, ['a', 'b', 'c'])
    t.equal(await codeOf(first.ask(question('go'))), 'RUNTIME_ACTOR_CRASHED')
    t.equal(system.platform.clock.monotonicMs(), 0)
  })
})

void test('S2.5 call cycles: after an await, and through ctx.client, the chain is still known', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    const a = system.spawn(
      'a',
      puppet({ go: (ctx) => ctx.client(ctx.ref(Puppet, '/user/b')).ask({ step: 'back' }), get: () => 1 }),
    )
    system.spawn(
      'b',
      puppet({
        back: async (ctx) => {
          await Promise.resolve()
          seen.push(await codeOf(ctx.client(a).ask({ step: 'get' })))
          return 'answered'
        },
      }),
    )
    t.equal(await a.ask(question('go')), 'answered')
    t.same(seen, ['RUNTIME_CALL_CYCLE'])
  })
})

void test('S2.5 call cycles: none where R1 does not hold the target: concurrent messages, ctx.request, tells', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const a = system.spawn(
      'a',
      puppet({
        go: (ctx) => ctx.ask(ctx.ref(Puppet, '/user/b'), question('beside')),
        requested: (ctx) =>
          ctx.request(ctx.ref(Puppet, '/user/b'), question('plain'), (value) => ({
            type: 'self',
            step: String(value),
          })),
        told: (ctx) => {
          ctx.tell(ctx.ref(Puppet, '/user/b'), play('plain'))
        },
        get: () => 'fine',
        fine: () => void got.push('fine'),
      }),
    )
    system.spawn(
      'b',
      puppet({
        beside: (ctx) => ctx.ask(a, beside('get')),
        plain: (ctx) => ctx.ask(a, question('get')),
      }),
    )
    t.equal(await a.ask(question('go')), 'fine')
    a.tell(play('requested'))
    a.tell(play('told'))
    await system.platform.settle()
    t.same(got, ['fine'])
    t.same(logged(system, 'error'), [])
  })
})

void test('S2.5 call cycles: an actor that is merely busy with something else is no cycle', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const a = system.spawn('a', puppet({ slow: () => door.passed, get: () => 'got' }))
    const b = system.spawn('b', puppet({ go: (ctx) => ctx.ask(a, question('get')) }))
    a.tell(play('slow'))
    const answer = watched(b.ask(question('go')))
    await system.platform.settle()
    t.equal(answer.state, 'open')
    door.open()
    await system.platform.settle()
    t.equal(answer.value, 'got')
  })
})

void test('S2.5 the deadline travels: an ask inside a handler has at most the time that is left', async (t) => {
  await onStage(t, undefined, async (system) => {
    const deadlines: number[] = []
    const innermost = system.spawn(
      'c',
      puppet({
        go: (ctx) => {
          deadlines.push(ctx.call().deadlineMs)
          return new Promise(() => undefined)
        },
      }),
    )
    const seen: string[] = []
    const middle = system.spawn(
      'b',
      puppet({
        go: async (ctx) => {
          deadlines.push(ctx.call().deadlineMs)
          seen.push(await codeOf(ctx.ask(innermost, question('go'), { timeoutMs: 60_000 })))
          seen.push(await codeOf(ctx.ask(innermost, question('go'), { timeoutMs: 60_000 })))
          return 'too late'
        },
        shorter: (ctx) => codeOf(ctx.ask(innermost, question('go'), { timeoutMs: 100 })),
      }),
    )
    const outer = watched(middle.ask(question('go'), { timeoutMs: 1_000 }))
    await system.platform.advance(999)
    t.equal(outer.state, 'open')
    t.same(deadlines, [1_000, 1_000])
    await system.platform.advance(1)
    t.equal(watchedCode(outer), 'RUNTIME_ASK_TIMEOUT')
    t.same(seen, ['RUNTIME_ASK_TIMEOUT', 'RUNTIME_EXPIRED'], 'a second ask has no time left at all')
    const shorter = watched(middle.ask(question('shorter'), { timeoutMs: 1_000 }))
    await system.platform.advance(100)
    t.equal(shorter.value, 'RUNTIME_ASK_TIMEOUT', 'a shorter one of its own stays')
  })
})

void test('S2.6 handlerTimeoutMs: the signal aborts, the handler is abandoned, the actor fails with HandlerTimeout', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    let aborted = false
    const got: string[] = []
    const ref = system.spawn(
      'a',
      puppet(
        {
          hang: async (ctx) => {
            ctx.signal.addEventListener('abort', () => (aborted = true))
            await door.passed
            got.push(`told: ${ctx.tell(ctx.self, play('get'))}`)
            return 'late'
          },
          get: () => got.push('get'),
        },
        { handlerTimeoutMs: 500 },
      ),
    )
    const restarts = heard(system, 'actor-restarted')
    const hung = watched(ref.ask(question('hang'), { timeoutMs: 10_000 }))
    const queued = watched(ref.ask(question('get'), { timeoutMs: 10_000 }))
    await system.platform.advance(499)
    t.equal(hung.state, 'open')
    await system.platform.advance(1)
    t.equal(aborted, true)
    t.equal(watchedCode(hung), 'RUNTIME_ACTOR_CRASHED')
    t.match(restarts, [{ path: '/user/a', messageType: 'ask', error: { code: 'RUNTIME_HANDLER_TIMEOUT' } }])
    t.equal(queued.value, 1, 'what was queued is answered by the next incarnation')
    door.open()
    await system.platform.settle()
    t.same(got, ['get', 'told: false'], 'the abandoned handler has no effect')
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S2.6 handlerTimeoutMs: counts for setup too, and not for a handler that settled in time', async (t) => {
  await onStage(t, undefined, async (system) => {
    let starts = 0
    const hang = new Promise<void>(() => undefined)
    const ref = system.spawn(
      'a',
      puppet(
        { get: () => 1 },
        { handlerTimeoutMs: 500, setup: () => (++starts === 1 ? hang : Promise.resolve()) },
      ),
    )
    const answer = watched(ref.ask(question('get')))
    await system.platform.advance(500)
    t.equal(answer.value, 1)
    t.equal(starts, 2)
    await system.platform.advance(5_000)
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S2.6 handlerTimeoutMs: off by default', async (t) => {
  const Slow = protocol('slow', { wait: ask(Type.Integer()) })
  await onStage(t, undefined, async (system) => {
    const door = gate<number>()
    const ref = system.spawn(
      'a',
      actor(Slow, () => ({ wait: () => door.passed })),
    )
    const answer = watched(ref.ask({ type: 'wait' }, { timeoutMs: 10_000_000 }))
    await system.platform.advance(3_600_000)
    t.equal(answer.state, 'open')
    door.open(3)
    await system.platform.settle()
    t.equal(answer.value, 3)
  })
})
