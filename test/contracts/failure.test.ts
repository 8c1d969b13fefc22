/** Semantics, section 3: what is a crash, and what is not. */
import { actor, ask, isActorError, protocol, reject, supervisor, type Rejected } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import {
  codeOf,
  gate,
  heard,
  living,
  logged,
  onStage,
  puppet,
  watched,
  watchedCode,
} from '../support/runtime.ts'

const play = (step: string) => ({ type: 'do', step }) as const
const question = (step: string) => ({ type: 'ask', step }) as const

const Account = protocol('account', {
  add: ask({ by: Type.Integer() }, Type.Integer()),
  refuse: ask({ late: Type.Boolean() }, Type.Integer()),
  crash: ask({ late: Type.Boolean() }, Type.Integer()),
  wrong: ask(Type.Integer()),
})

const account = actor(Account, () => {
  let n = 0
  return {
    add: ({ by }) => (n += by),
    refuse: ({ late }) => {
      const no = reject('funds', { missing: 3 })
      if (late) return Promise.reject(no)
      throw no
    },
    crash: ({ late }) => {
      if (late) return Promise.reject(new Error('boom'))
      throw new Error('boom')
    },
    wrong: () => 'no number' as unknown as number,
  }
})

void test('S3.1 three ways out of a handler: a value is the reply, sync or later', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', account)
    t.equal(await ref.ask({ type: 'add', by: 2 }), 2)
    t.equal(await ref.ask({ type: 'add', by: 3 }), 5)
  })
})

for (const late of [false, true]) {
  const when = late ? 'after an await' : 'at once'
  void test(`S3.1 three ways out of a handler: throw reject(...) ${when} is a typed refusal, state is kept`, async (t) => {
    await onStage(t, undefined, async (system) => {
      const ref = system.spawn('a', account)
      await ref.ask({ type: 'add', by: 2 })
      const error = (await ref.ask({ type: 'refuse', late }).catch((thrown: unknown) => thrown)) as Rejected
      t.ok(isActorError(error, 'RUNTIME_REJECTED'))
      t.equal(error.reason, 'funds')
      t.same(error.data, { missing: 3 })
      t.equal(await ref.ask({ type: 'add', by: 1 }), 3)
      t.same(living(system), ['/user/a running#0'])
      t.same(logged(system, 'error'), [])
    })
  })

  void test(`S3.1 three ways out of a handler: any other throw ${when} is a crash: ActorCrashed, then supervision`, async (t) => {
    await onStage(t, undefined, async (system) => {
      const ref = system.spawn('a', account)
      await ref.ask({ type: 'add', by: 2 })
      const restarts = heard(system, 'actor-restarted')
      const error = (await ref.ask({ type: 'crash', late }).catch((thrown: unknown) => thrown)) as Error
      t.ok(isActorError(error, 'RUNTIME_ACTOR_CRASHED'))
      t.match(error.message, /crash.*boom/)
      t.equal((error as { cause?: unknown }).cause, undefined, 'the message crosses, the stack does not')
      t.equal(await ref.ask({ type: 'add', by: 1 }), 1, 'fresh state')
      t.match(restarts, [
        { path: '/user/a', messageType: 'crash', error: { message: 'boom' }, count: 1, limit: 3 },
      ])
      t.match(logged(system, 'error'), [/\/user\/a crashed on "crash": restart 1 of 3/])
    })
  })
}

void test('S3.1 three ways out of a handler: a refused tell is no crash, a crashed tell is', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet({
        refuse: () => {
          throw reject('no')
        },
        'refuse later': () => Promise.reject(reject('no')),
        boom: () => {
          throw new Error('boom')
        },
      }),
    )
    ref.tell(play('refuse'))
    ref.tell(play('refuse later'))
    await system.platform.settle()
    t.same(living(system), ['/user/a running#0'])
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S3.1 a reply that breaks the protocol is a bug of the actor: it crashes', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', account)
    t.equal(await codeOf(ref.ask({ type: 'wrong' })), 'RUNTIME_ACTOR_CRASHED')
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S3.1 anything can be thrown: it becomes an Error with what was thrown as its cause', async (t) => {
  const things: readonly unknown[] = [
    undefined,
    null,
    'text',
    42,
    Symbol('s'),
    { message: 'like an error' },
    new DOMException('dom', 'AbortError'),
    { toString: null },
  ]
  const patient = supervisor({ intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 } }, [])
  await onStage(t, patient, async (system) => {
    const restarts = heard(system, 'actor-restarted')
    for (const [index, thing] of things.entries()) {
      const ref = system.spawn(
        `a${index}`,
        puppet({
          now: () => {
            throw thing
          },
          later: () => Promise.reject(thing),
        }),
      )
      t.equal(await codeOf(ref.ask(question('now'))), 'RUNTIME_ACTOR_CRASHED')
      t.equal(await codeOf(ref.ask(question('later'))), 'RUNTIME_ACTOR_CRASHED')
      await system.stop(ref)
    }
    t.equal(restarts.length, things.length * 2)
    t.ok(restarts.every(({ error }) => error instanceof Error))
    t.equal(restarts[4]?.error?.cause, 'text')
    t.equal(restarts[10]?.error?.message, 'like an error')
  })
})

void test('S3.1 an AbortError that is not from our own signal is a crash', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({ abort: () => Promise.reject(AbortSignal.abort().reason) }))
    t.equal(await codeOf(ref.ask(question('abort'))), 'RUNTIME_ACTOR_CRASHED')
    t.same(living(system), ['/user/a running#1'])
  })
})

void test('S3.1 an answer that is owed fails when the actor crashes or stops before it is given', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet({
        owe: (ctx) => ctx.call().later(),
        boom: () => {
          throw new Error('boom')
        },
      }),
    )
    const crashed = watched(ref.ask(question('owe'), { timeoutMs: 60_000 }))
    ref.tell(play('boom'))
    await system.platform.settle()
    t.equal(watchedCode(crashed), 'RUNTIME_ACTOR_CRASHED')
    const stopped = watched(ref.ask(question('owe'), { timeoutMs: 60_000 }))
    await system.platform.settle()
    await system.stop(ref)
    await system.platform.settle()
    t.equal(watchedCode(stopped), 'RUNTIME_ACTOR_STOPPED')
  })
})

void test('S3.1 a throw in setup is a failed start: counted, reported with its cause, never a zombie', async (t) => {
  for (const late of [false, true]) {
    await onStage(t, undefined, async (system) => {
      let starts = 0
      const failed = heard(system, 'actor-failed')
      const ref = system.spawn(
        'a',
        puppet(
          {},
          {
            setup: () => {
              starts++
              const error = new Error(`start ${starts}`)
              if (late) return Promise.resolve().then(() => Promise.reject(error))
              throw error
            },
          },
        ),
        { restart: 'permanent', onError: [['RUNTIME_START_FAILED', { minMs: 1, maxMs: 1, jitter: 0 }]] },
      )
      const asked = watched(ref.ask(question('x'), { timeoutMs: 60_000 }))
      const exits = system.platform.exits
      await system.platform.advance(100)
      t.equal(starts, 4, 'three restarts are borne')
      t.equal(watchedCode(asked), 'RUNTIME_ACTOR_STOPPED')
      t.match(failed[0], {
        path: '/user/a',
        error: { code: 'RUNTIME_START_FAILED', cause: { message: 'start 4' } },
      })
      t.same(exits, [1])
    })
  }
})

void test('S3.1 setup that returns no handlers is a failed start that says what is missing', async (t) => {
  await onStage(t, undefined, async (system) => {
    const failed = heard(system, 'actor-failed')
    const broken = actor(Account, () => ({ add: () => 1 }) as never)
    system.spawn('a', broken, { restart: 'temporary' })
    system.spawn(
      'b',
      actor(Account, () => undefined as never),
      { restart: 'temporary' },
    )
    await system.platform.settle()
    t.same(living(system), [])
    t.match(
      failed.map(({ error }) => error.message),
      [/no handler for "refuse"/, /must return an object/],
    )
  })
})

void test('S3.1 a floating ask that fails is laid at the door of its actor, and of that incarnation only', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { platform } = system
    const captured: unknown[] = []
    const target = system.spawn('target', puppet({ hang: () => new Promise(() => undefined) }))
    const ref = system.spawn(
      'a',
      puppet({
        float: (ctx) => {
          // Caught here so that the test process lives; the platform is told of it as Node would.
          ctx
            .ask(target, question('hang'), { timeoutMs: 60_000 })
            .catch((error: unknown) => captured.push(error))
        },
        boom: () => {
          throw new Error('boom')
        },
      }),
    )
    ref.tell(play('float'))
    ref.tell(play('boom'))
    await platform.settle()
    t.match(captured, [{ code: 'RUNTIME_RESTARTED' }])
    t.equal(platform.unhandled(captured[0]), true)
    await platform.settle()
    t.same(
      living(system),
      ['/user/target running#0', '/user/a running#1'],
      'the next incarnation is not to blame',
    )
    ref.tell(play('float'))
    await platform.settle()
    await system.stop(target, 'kill')
    await platform.settle()
    t.equal(platform.unhandled(captured[1]), true)
    await platform.settle()
    t.same(living(system), ['/user/a running#2'])
    t.equal(platform.unhandled(new Error('nobody of ours')), false)
  })
})

void test('S3.2 the failing message is not redelivered: what follows it is handled by the next incarnation', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const door = gate()
    const step = (name: string, run?: () => unknown) => () => {
      got.push(name)
      return run?.()
    }
    const ref = system.spawn(
      'a',
      puppet({
        before: step('before'),
        sync: step('sync', () => {
          throw new Error('sync')
        }),
        late: step('late', () => door.passed.then(() => Promise.reject(new Error('late')))),
        after: step('after'),
      }),
    )
    for (const name of ['before', 'sync', 'after', 'late', 'after']) ref.tell(play(name))
    await system.platform.settle()
    door.open()
    await system.platform.settle()
    t.same(got, ['before', 'sync', 'after', 'late', 'after'])
    t.same(living(system), ['/user/a running#2'])
    t.same(system.deadLetters(), [], 'it was handled: it is no dead letter')
  })
})
