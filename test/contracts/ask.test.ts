/** S8.1: an ask is answered, or fails fast and says why. S8.2: every code that an asker can meet. */
import { getEventListeners } from 'node:events'
import {
  actor,
  ask,
  client,
  protocol,
  refOf,
  reject,
  tell,
  type ActorError,
  type ActorRef,
  type AskOptions,
  type LaterReply,
  type RuntimeErrorCode,
} from '@understudy/runtime'
import { probe, type TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { burningPlatform } from '../support/probe-system.ts'
import {
  codeOf,
  gate,
  heard,
  logged,
  onStage,
  puppet,
  Puppet,
  watched,
  watchedCode,
  type PuppetRef,
} from '../support/runtime.ts'

const Typed = protocol('typed', {
  poke: tell({ count: Type.Integer({ minimum: 1 }) }),
  number: ask(Type.Integer()),
  add: ask({ items: Type.Array(Type.Object({ by: Type.Integer() })) }, Type.Integer()),
  introduce: ask({ to: refOf(Puppet) }, refOf(Puppet)),
})

/** Answers as it likes: the schema of a reply is what is tried here. */
const typed = actor(Typed, { own: { secret: tell() } }, (_ctx, answer: { readonly number: unknown }) => ({
  poke: () => undefined,
  number: () => answer.number as number,
  add: ({ items }) => items.reduce((sum, { by }) => sum + by, 0),
  introduce: ({ to }) => to,
  secret: () => undefined,
}))

const askee = puppet({
  echo: () => 'hello',
  never: () => gate().passed,
  crash: () => {
    throw new Error('no luck')
  },
  refuse: () => {
    throw reject('not-now', { missing: 3 })
  },
})

function step(name: string): { readonly type: 'ask'; readonly step: string } {
  return { type: 'ask', step: name }
}

/** Meets `code`, which is named here for those who look for the test of a code. */
async function meets(
  t: { readonly equal: (found: unknown, wanted: unknown, message: string) => unknown },
  code: RuntimeErrorCode,
  promise: Promise<unknown>,
): Promise<void> {
  t.equal(await codeOf(promise), code, code)
}

void test('S8.1 the correlation is in the envelope: the handler sees its message and nothing else', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Puppet)
    const answer = someone.ref.ask(step('x'))
    t.same(await someone.expect('ask'), { type: 'ask', step: 'x' })
    someone.reply('ask', 42)
    t.equal(await answer, 42)
  })
})

void test('S8.1 an ask times out after 5 s unless told otherwise, never early and exact on virtual time', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { platform } = system
    const ref = system.spawn('a', askee)
    const waits = [undefined, 3, 10, 10.5, 1_024 * 10, 25_000].map((timeoutMs) => {
      const wait = {
        timeoutMs: timeoutMs ?? 5_000,
        atMs: Number.NaN,
        error: undefined as ActorError | undefined,
      }
      ref.ask(step('never'), timeoutMs === undefined ? {} : { timeoutMs }).catch((error: ActorError) => {
        wait.atMs = platform.clock.monotonicMs()
        wait.error = error
      })
      return wait
    })
    const sentAtMs = platform.clock.monotonicMs()
    await platform.advance(30_000)
    t.same(
      waits.map(({ atMs }) => atMs - sentAtMs),
      waits.map(({ timeoutMs }) => timeoutMs),
    )
    t.match(waits[0]?.error, {
      code: 'RUNTIME_ASK_TIMEOUT',
      details: { path: '/user/a', type: 'ask', started: true },
    })
    t.match(
      waits[1]?.error,
      { details: { started: false }, message: /still queued/ },
      'it says how far it had come',
    )
  })
})

void test('S8.1 a handler that kept the loop for long makes no deadline early', async (t) => {
  const { platform, burn } = burningPlatform(10)
  await onStage(
    t,
    undefined,
    async (system) => {
      const { clock } = system.platform
      const waits: { askedAtMs: number; failedAtMs: number; timeoutMs: number }[] = []
      const mute = system.spawn('mute', askee)
      const ref = system.spawn(
        'busy',
        puppet({
          work: (ctx) => {
            for (const timeoutMs of [5, 100, 300]) {
              burn(200)
              const wait = { askedAtMs: clock.monotonicMs(), failedAtMs: Number.NaN, timeoutMs }
              waits.push(wait)
              ctx.ask(mute, step('never'), { timeoutMs }).catch(() => {
                wait.failedAtMs = clock.monotonicMs()
              })
            }
          },
        }),
      )
      ref.tell({ type: 'do', step: 'work' })
      await system.platform.advance(2_000)
      t.equal(waits.length, 3)
      const early = waits.filter(
        ({ askedAtMs, failedAtMs, timeoutMs }) => !(failedAtMs - askedAtMs >= timeoutMs),
      )
      t.same(early, [])
      await system.stop(mute, 'kill')
    },
    { platform },
  )
})

void test('S8.1 timeoutMs must be a number of milliseconds, and Infinity needs a signal', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', askee)
    await t.rejects(ref.ask(step('never'), { timeoutMs: Number.POSITIVE_INFINITY }), {
      name: 'RangeError',
      message: /give a signal/,
    })
    await t.rejects(ref.ask(step('echo'), { timeoutMs: -1 }), { name: 'RangeError' })
    await t.rejects(ref.ask(step('echo'), { timeoutMs: Number.NaN }), { name: 'RangeError' })
    const { signal } = new AbortController()
    t.equal(await ref.ask(step('echo'), { timeoutMs: Number.POSITIVE_INFINITY, signal }), 'hello')
    t.equal(system.platform.pendingTimers(), 0, 'for ever needs no timer')
  })
})

void test('S8.1 an ask is aborted before, during and after, and its listener is gone each time', async (t) => {
  await onStage(t, undefined, async (system) => {
    const letters = heard(system, 'dead-letter')
    const ref = system.spawn('a', askee)
    const listeners = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length

    const before = new AbortController()
    before.abort(new Error('why'))
    const refused = ref.ask(step('echo'), { signal: before.signal })
    await t.rejects(refused, { code: 'RUNTIME_ABORTED', cause: { message: 'why' } })
    t.equal(listeners(before.signal), 0)
    t.same(letters, [], 'it was never sent')

    const after = new AbortController()
    const answered = ref.ask(step('echo'), { signal: after.signal })
    t.equal(listeners(after.signal), 1)
    t.equal(await answered, 'hello')
    t.equal(listeners(after.signal), 0)
    after.abort()

    const during = new AbortController()
    const waiting = ref.ask(step('never'), { signal: during.signal, timeoutMs: Number.POSITIVE_INFINITY })
    const queued = ref.ask(step('echo'), { signal: during.signal })
    const late = ref.ask(step('echo'), { signal: during.signal, timeoutMs: 10 })
    t.equal(listeners(during.signal), 3)
    void late.catch(() => undefined)
    await system.platform.advance(10)
    t.equal(listeners(during.signal), 2, 'a timeout takes its listener with it')
    during.abort()
    await meets(t, 'RUNTIME_ABORTED', waiting)
    await meets(t, 'RUNTIME_ABORTED', queued)
    t.equal(listeners(during.signal), 0)
  })
})

void test('S8.1 the death of the target rejects at once, whatever the question was doing', async (t) => {
  await onStage(t, undefined, async (system) => {
    const never: LaterReply<unknown>[] = []
    const target = puppet({
      hold: () => gate().passed,
      owe: (ctx) => {
        const later = ctx.call().later<unknown>()
        never.push(later)
        return later
      },
    })
    const ref = system.spawn('a', target, { shutdownMs: 10 })
    const asks = [step('owe'), step('hold'), step('queued')].map((message) => watched(ref.ask(message)))
    await system.platform.settle()
    const stopped = system.stop(ref)
    const stopping = watched(ref.ask(step('late')))
    await system.platform.settle()
    t.equal(watchedCode(stopping), 'RUNTIME_ACTOR_STOPPED', 'a stopping actor takes no more')
    await system.platform.advance(10)
    await stopped
    t.same(asks.map(watchedCode), Array(3).fill('RUNTIME_ACTOR_STOPPED'))
    t.equal(await codeOf(ref.ask(step('x'))), 'RUNTIME_ACTOR_STOPPED')
    t.equal(system.platform.clock.monotonicMs(), 10, 'nobody waited for the 5 s')
    never[0]?.reply(1)
  })
})

void test('S8.1 a deadline travels: an ask inside an ask has the time that is left', async (t) => {
  await onStage(t, undefined, async (system) => {
    const deadlines: number[] = []
    const inner = puppet({
      look: (ctx) => {
        deadlines.push(ctx.call().deadlineMs)
        return gate().passed
      },
    })
    const target = system.spawn('inner', inner)
    const outer = system.spawn(
      'outer',
      puppet({
        relay: (ctx) => ctx.ask(target, { type: 'ask', step: 'look' }),
        loose: (ctx) =>
          void ctx.request(target, { type: 'ask', step: 'look' }, () => ({ type: 'self', step: 'x' })),
      }),
    )
    const answer = watched(outer.ask(step('relay'), { timeoutMs: 100 }))
    await system.platform.advance(100)
    t.same(deadlines, [100])
    t.equal(watchedCode(answer), 'RUNTIME_ASK_TIMEOUT')
    void outer.ask(step('loose'), { timeoutMs: 100 })
    await system.stop(target, 'kill')
  })
})

void test('S8.1 a message past its deadline is dropped in the queue and counted, and a running handler is told', async (t) => {
  await onStage(t, undefined, async (system) => {
    const letters = heard(system, 'dead-letter')
    const { passed, open } = gate()
    const seen: string[] = []
    let aborted = false
    const ref = system.spawn(
      'a',
      puppet({
        hold: (ctx) => {
          const { signal } = ctx.call()
          signal.addEventListener('abort', () => {
            aborted = true
          })
          return passed
        },
        queued: () => seen.push('queued'),
        fresh: () => seen.push('fresh'),
      }),
    )
    const held = watched(ref.ask(step('hold'), { timeoutMs: 50 }))
    const queued = watched(ref.ask(step('queued'), { timeoutMs: 60 }))
    await system.platform.advance(55)
    t.equal(watchedCode(held), 'RUNTIME_ASK_TIMEOUT')
    t.equal(aborted, true)
    t.equal(watchedCode(queued), 'open')
    await system.platform.advance(5)
    t.equal(watchedCode(queued), 'RUNTIME_ASK_TIMEOUT')
    open()
    await ref.ask(step('fresh'))
    t.same(seen, ['fresh'], 'its handler never ran')
    t.same(
      letters.map(({ reason, message }) => [reason, message]),
      [['expired', { type: 'ask', step: 'queued' }]],
    )
    t.equal(system.status().counters.expired, 1)
  })
})

void test('S8.1 ctx.call().later answers later, once, and never twice', async (t) => {
  await onStage(t, undefined, async (system) => {
    const owed: LaterReply<unknown>[] = []
    const ref = system.spawn(
      'a',
      puppet({
        owe: (ctx) => {
          const later = ctx.call().later<unknown>()
          owed.push(later)
          return later
        },
        oweAsync: async (ctx) => {
          const later = ctx.call().later<unknown>()
          owed.push(later)
          await Promise.resolve()
          return later
        },
        echo: () => 'not held',
        crash: () => {
          throw new Error('down')
        },
      }),
    )
    const first = ref.ask(step('owe'))
    t.equal(await ref.ask(step('echo')), 'not held', 'the mailbox is free meanwhile')
    owed[0]?.reply('one')
    owed[0]?.reply('two')
    owed[0]?.fail('three')
    t.equal(await first, 'one')

    const second = ref.ask(step('oweAsync'))
    await system.platform.settle()
    owed[1]?.fail('no', { why: 'because' })
    owed[1]?.reply('yes')
    await t.rejects(second, { code: 'RUNTIME_REJECTED', reason: 'no', data: { why: 'because' } })

    const third = ref.ask(step('owe'))
    await system.platform.settle()
    ref.tell({ type: 'do', step: 'crash' })
    await meets(t, 'RUNTIME_ACTOR_CRASHED', third)
    owed[2]?.reply('too late')

    const fourth = ref.ask(step('owe'))
    await system.platform.settle()
    await system.stop(ref)
    await meets(t, 'RUNTIME_ACTOR_STOPPED', fourth)
  })
})

void test('S8.1 a later answer that breaks the schema crashes the actor that gave it', async (t) => {
  const owed: LaterReply<number>[] = []
  const careless = actor(Typed, (ctx) => ({
    poke: () => undefined,
    number: () => {
      const later = ctx.call().later<number>()
      owed.push(later)
      return later
    },
    add: () => 0,
    introduce: ({ to }) => to,
  }))
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const answer = system.spawn('a', careless).ask({ type: 'number' })
    await system.platform.settle()
    owed[0]?.reply('seven' as unknown as number)
    await meets(t, 'RUNTIME_ACTOR_CRASHED', answer)
    await system.platform.settle()
    t.match(restarted[0]?.error, {
      code: 'RUNTIME_INVALID_MESSAGE',
      message: /reply does not fit its schema/,
    })
  })
})

void test('S8.1 ctx.call and ctx.stash are about the message in progress: after an await they throw and say so', async (t) => {
  await onStage(t, undefined, async (system) => {
    const errors: unknown[] = []
    const tries = async (use: () => unknown): Promise<void> => {
      await Promise.resolve()
      try {
        use()
      } catch (error) {
        errors.push(error)
      }
    }
    const ref = system.spawn(
      'a',
      puppet({
        call: (ctx) => tries(() => ctx.call()),
        stash: (ctx) => tries(() => ctx.stash()),
        from: (ctx) => ctx.call().from ?? 'outside',
        told: (ctx) => {
          const { deadlineMs, signal, later } = ctx.call()
          t.equal(deadlineMs, Number.POSITIVE_INFINITY)
          t.equal(signal.aborted, false)
          t.throws(later, { code: 'RUNTIME_ILLEGAL_CALL', message: /was told/ })
        },
      }),
    )
    for (const name of ['call', 'stash', 'told']) ref.tell({ type: 'do', step: name })
    await system.platform.settle()
    t.match(errors, [
      { code: 'RUNTIME_ILLEGAL_CALL', message: /ctx\.call\(\).*before the first await/ },
      { code: 'RUNTIME_ILLEGAL_CALL', message: /ctx\.stash\(\).*before the first await/ },
    ])
    t.equal(await ref.ask(step('from')), 'outside')
    const someone = probe(system, Puppet, 'someone')
    t.equal(await someone.act((ctx) => ctx.ask(ref, step('from'))), '/user/someone')
  })
})

void test('S8.1 an ask of an incarnation that is gone rejects with Restarted, and its late answer vanishes', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Puppet)
    const errors: unknown[] = []
    const ref = system.spawn(
      'a',
      puppet({
        ask: (ctx) => {
          ctx.run(
            ctx.ask(someone.ref, step('x')).catch((error: unknown) => {
              errors.push(error)
              return ctx.ask(someone.ref, step('y')).catch((again: unknown) => void errors.push(again))
            }),
          )
        },
        crash: () => {
          throw new Error('down')
        },
      }),
    )
    ref.tell({ type: 'do', step: 'ask' })
    await someone.expect('ask')
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    someone.reply('ask', 'late')
    await someone.expectNone()
    t.match(
      errors,
      [{ code: 'RUNTIME_RESTARTED' }, { code: 'RUNTIME_RESTARTED' }],
      'a new one of it is refused too',
    )
  })
})

void test('S8.1 a failed ask that an actor leaves unhandled crashes that actor, not the process', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    let error: unknown
    const ref = system.spawn(
      'careless',
      puppet({
        forget: (ctx) => {
          // Caught here, or the test runner would see it too; handed to the platform below as Node would.
          ctx.ask(ctx.ref(Puppet, '/user/nobody'), step('x')).catch((reason: unknown) => {
            error = reason
          })
        },
        crash: () => {
          throw new Error('down')
        },
      }),
    )
    ref.tell({ type: 'do', step: 'forget' })
    await system.platform.settle()
    t.equal(system.platform.unhandled(error), true)
    await system.platform.settle()
    t.match(restarted, [{ path: '/user/careless', error: { code: 'RUNTIME_NO_SUCH_ACTOR' } }])
    t.match(
      logged(system, 'error').find((line) => line.includes('unhandled')),
      /^\/user\/careless left a failed ask unhandled: await it, or use ctx\.request or ctx\.run$/,
    )
    t.equal(system.platform.unhandled(error), true, 'the same error again')
    await system.platform.settle()
    t.equal(restarted.length, 1, 'an incarnation that is gone is not avenged on the next')
    t.equal(system.platform.unhandled(new Error('of somebody else')), false)
  })
})

void test('S8.1 an answer that comes when nobody waits any more changes nothing', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Puppet)
    const answer = watched(someone.ref.ask(step('x'), { timeoutMs: 10 }))
    await someone.expect('ask')
    await system.platform.advance(10)
    someone.reply('ask', 'late')
    t.equal(watchedCode(answer), 'RUNTIME_ASK_TIMEOUT')
    await system.platform.settle()
    t.equal(system.lookup(Puppet, someone.ref.path)?.uid, someone.ref.uid)
  })
})

void test('S8.2 RUNTIME_ASK_TIMEOUT, _NO_SUCH_ACTOR, _ACTOR_STOPPED, _ACTOR_CRASHED, _REJECTED', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', askee, { onError: [[Error, 'restart']] })
    const slow = watched(ref.ask(step('never'), { timeoutMs: 1 }))
    await system.platform.advance(1)
    t.equal(watchedCode(slow), 'RUNTIME_ASK_TIMEOUT')
    await system.stop(ref, 'kill')
    await meets(t, 'RUNTIME_ACTOR_STOPPED', ref.ask(step('echo')))
    await meets(t, 'RUNTIME_NO_SUCH_ACTOR', system.ref(Puppet, '/user/a').ask(step('echo')))
    await meets(t, 'RUNTIME_NO_SUCH_ACTOR', system.ref(Puppet, '/user/a/b/c').ask(step('echo')))
    const next = system.spawn('a', askee)
    await t.rejects(next.ask(step('crash')), {
      code: 'RUNTIME_ACTOR_CRASHED',
      message: '/user/a crashed while it handled "ask": no luck',
      details: { path: '/user/a', type: 'ask', error: 'no luck' },
    })
    await t.rejects(next.ask(step('refuse')), {
      code: 'RUNTIME_REJECTED',
      reason: 'not-now',
      data: { missing: 3 },
      details: { reason: 'not-now', data: { missing: 3 } },
    })
  })
})

void test('S8.2 RUNTIME_MAILBOX_FULL, _CALL_CYCLE, _ABORTED, _RESTARTED, _EXPIRED', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { platform } = system
    const { passed, open } = gate()
    const full = system.spawn('full', puppet({ hold: () => passed }, { mailbox: { messagesMax: 1 } }))
    full.tell({ type: 'do', step: 'hold' })
    await platform.settle()
    full.tell({ type: 'do', step: 'hold' })
    await meets(t, 'RUNTIME_MAILBOX_FULL', full.ask(step('hold')))
    open()

    const cast: { other?: PuppetRef } = {}
    const relay = puppet({ pass: (ctx) => ctx.ask(cast.other as PuppetRef, step('back')) })
    const first = system.spawn('first', relay)
    cast.other = system.spawn('second', puppet({ back: (ctx) => codeOf(ctx.ask(first, step('pass'))) }))
    t.equal(await first.ask(step('pass')), 'RUNTIME_CALL_CYCLE' satisfies RuntimeErrorCode)

    await meets(t, 'RUNTIME_ABORTED', first.ask(step('pass'), { signal: AbortSignal.abort() }))

    const codes: string[] = []
    const asker = system.spawn(
      'asker',
      puppet({
        wait: (ctx) =>
          void codeOf(ctx.ask(system.spawn('mute', askee), step('never'))).then((code) => codes.push(code)),
        crash: () => {
          throw new Error('down')
        },
        slow: async (ctx) => {
          await gates.passed
          return codeOf(ctx.ask(first, step('pass'))).then((code) => void codes.push(code))
        },
      }),
    )
    const gates = gate()
    for (const name of ['wait', 'crash']) asker.tell({ type: 'do', step: name })
    await platform.settle()
    t.same(codes, ['RUNTIME_RESTARTED' satisfies RuntimeErrorCode])
    void asker.ask(step('slow'), { timeoutMs: 5 }).catch(() => undefined)
    await platform.advance(10)
    gates.open()
    await platform.settle()
    t.same(codes[1], 'RUNTIME_EXPIRED' satisfies RuntimeErrorCode)
    await system.stop(system.ref(Puppet, '/user/mute'), 'kill')
  })
})

void test('S8.2 RUNTIME_INVALID_MESSAGE and RUNTIME_UNKNOWN_MESSAGE name the field or the type', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const ref = system.spawn('a', typed, { number: 7 })
    const loose = ref as unknown as {
      readonly ask: (message: object, options?: AskOptions) => Promise<unknown>
    }
    t.equal(await ref.ask({ type: 'number' }), 7)
    await t.rejects(loose.ask({ type: 'add', items: [{ by: 1 }, { by: 'two' }] }), {
      code: 'RUNTIME_INVALID_MESSAGE',
      message: 'Cannot send "add" to /user/a: field "items[1].by" is "two", expected an integer',
      details: { path: '/user/a', field: 'items[1].by' },
    })
    await t.rejects(loose.ask({ type: 'number', extra: 1 }), {
      code: 'RUNTIME_INVALID_MESSAGE',
      details: { field: 'extra' },
    })
    await t.rejects(loose.ask({ type: 'subtract' }), {
      code: 'RUNTIME_UNKNOWN_MESSAGE',
      message: 'Cannot send "subtract" to /user/a: it takes only poke, number, add, introduce',
    })
    await t.rejects(loose.ask({ type: 'poke', count: 1 }), {
      code: 'RUNTIME_UNKNOWN_MESSAGE',
      message: 'Cannot ask "poke" of /user/a: it is a message without an answer; use tell',
    })
    for (const type of ['secret', 'toString', 'constructor', '__proto__', 7, undefined]) {
      await meets(t, 'RUNTIME_UNKNOWN_MESSAGE', loose.ask({ type }))
    }
    const wrong = system.spawn('wrong', typed, { number: 'seven' })
    await t.rejects(wrong.ask({ type: 'number' }), {
      code: 'RUNTIME_ACTOR_CRASHED',
      message: /the reply does not fit its schema: the value is "seven", expected an integer/,
    })
    await system.platform.settle()
    t.match(restarted, [{ path: '/user/wrong', error: { code: 'RUNTIME_INVALID_MESSAGE' } }])
  })
})

void test('S8.2 RUNTIME_HANDLER_TIMEOUT, _RESTART_LIMIT_EXCEEDED, _LINKED and _START_FAILED reach the supervisor', async (t) => {
  await onStage(t, undefined, async (system: TestSystem) => {
    const restarted = heard(system, 'actor-restarted')
    const failed = heard(system, 'actor-failed')
    const codes = (): readonly unknown[] =>
      [...restarted, ...failed].map(({ error }) => (error as ActorError | undefined)?.code)
    const slow = system.spawn('slow', puppet({ hang: () => gate().passed }, { handlerTimeoutMs: 10 }))
    const answer = watched(slow.ask(step('hang')))
    await system.platform.advance(10)
    t.equal(watchedCode(answer), 'RUNTIME_ACTOR_CRASHED', 'the asker')
    t.same(codes(), ['RUNTIME_HANDLER_TIMEOUT'], 'the supervisor')

    const target = system.spawn('target', askee)
    const link = puppet({ link: (ctx) => ctx.link(target) })
    system.spawn('linked', link, { restart: 'temporary' }).tell({ type: 'do', step: 'link' })
    await system.platform.settle()
    await system.stop(target)
    await system.platform.settle()
    t.ok(codes().includes('RUNTIME_LINKED'))

    const unable = puppet({}, { setup: () => Promise.reject(new Error('no file')) })
    system.spawn('unable', unable, { restart: 'temporary' })
    await system.platform.settle()
    t.ok(codes().includes('RUNTIME_START_FAILED'))

    const parent = puppet(
      { spawn: (ctx) => void ctx.tell(ctx.spawn('child', askee), { type: 'do', step: 'crash' }) },
      { supervision: { intensity: { restarts: 0, withinMs: 1_000 } } },
    )
    system.spawn('parent', parent, { restart: 'temporary' }).tell({ type: 'do', step: 'spawn' })
    await system.platform.settle()
    t.ok(codes().includes('RUNTIME_RESTART_LIMIT_EXCEEDED'))
  })
})

void test('S8.1 ctx.pipe and ctx.request do not hold the mailbox, and come back as own messages', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const log: string[] = []
    const someone = probe(system, Puppet)
    const work = gate<string>()
    const ref = system.spawn(
      'a',
      puppet({
        pipe: (ctx) =>
          ctx.pipe(
            work.passed,
            (value) => ({ type: 'self', step: value }),
            () => ({ type: 'self', step: 'failed' }),
          ),
        failing: (ctx) =>
          ctx.pipe(
            Promise.reject(new Error('x')),
            () => ({ type: 'self', step: 'done' }),
            () => ({ type: 'self', step: 'failed' }),
          ),
        unowned: (ctx) =>
          ctx.pipe(Promise.reject(new Error('nobody takes it')), () => ({ type: 'self', step: 'done' })),
        request: (ctx) =>
          ctx.request(
            someone.ref,
            step('q'),
            (reply) => ({ type: 'self', step: String(reply) }),
            (error) => ({ type: 'self', step: error.code }),
          ),
        done: () => void log.push('done'),
        failed: () => void log.push('failed'),
        echo: () => 'free',
        answer: () => void log.push('answer'),
        RUNTIME_REJECTED: () => void log.push('rejected'),
        crash: () => {
          throw new Error('down')
        },
      }),
    )
    for (const name of ['pipe', 'failing', 'request', 'request']) ref.tell({ type: 'do', step: name })
    await someone.expect('ask')
    t.equal(await ref.ask(step('echo')), 'free')
    work.open('done')
    someone.reply('ask', 'answer')
    someone.refuse('ask', 'no')
    await system.platform.settle()
    t.same([...log].sort(), ['answer', 'done', 'failed', 'rejected'])

    ref.tell({ type: 'do', step: 'unowned' })
    await system.platform.settle()
    t.match(restarted, [{ error: { message: 'nobody takes it' } }])

    log.length = 0
    const before = system.status().counters.staleEffects
    ref.tell({ type: 'do', step: 'request' })
    await someone.fish((message) => message.type === 'ask')
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    t.same(log, [], 'the result of a stale incarnation is dropped')
    t.ok(system.status().counters.staleEffects > before, 'and counted')
  })
})

void test('S8.1 client(ref) has the methods of the protocol, and is no promise by mistake', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref: ActorRef<typeof Typed.messages> = system.spawn('a', typed, { number: 7 })
    const typedClient = client(ref)
    t.equal(await typedClient.number(), 7)
    t.equal(await typedClient.add({ items: [{ by: 2 }] }, { timeoutMs: 10 }), 2)
    t.equal(typedClient.poke({ count: 1 }), true)
    t.equal(await Promise.resolve(typedClient), typedClient)
    t.equal(
      await codeOf(typedClient.number({ timeoutMs: 10, signal: AbortSignal.abort() })),
      'RUNTIME_ABORTED',
    )
    const someone = probe(system, Puppet)
    t.equal(await ref.ask({ type: 'introduce', to: someone.ref }), someone.ref, 'a ref arrives as itself')
  })
})
