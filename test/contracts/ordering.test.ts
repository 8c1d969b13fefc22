/** Semantics, section 1: at most once, and in the order of sending. */
import { actor, ask, protocol, supervisor, tell } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import { heard, logged, onStage, puppet, watched, watchedCode } from '../support/runtime.ts'

const Sink = protocol('sink', {
  put: tell({ from: Type.String(), n: Type.Integer() }),
  put_and_count: ask({ from: Type.String(), n: Type.Integer() }, Type.Integer()),
})

/** Writes down what comes, as `from:n`. */
function sink(got: string[]) {
  return actor(Sink, () => ({
    put: ({ from, n }) => void got.push(`${from}:${n}`),
    put_and_count: ({ from, n }) => got.push(`${from}:${n}`),
  }))
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index)

void test('S1.1 FIFO per sender and receiver: tells and asks of one actor arrive in the order of sending', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const target = system.spawn('sink', sink(got))
    const sender = system.spawn(
      'sender',
      puppet({
        go: (ctx) => {
          for (const n of numbers(1_500)) {
            if (n % 3 === 0)
              void ctx.ask(target, { type: 'put_and_count', from: 'a', n }).catch(() => undefined)
            else ctx.tell(target, { type: 'put', from: 'a', n })
          }
        },
      }),
    )
    sender.tell({ type: 'do', step: 'go' })
    await system.platform.settle()
    t.same(
      got,
      numbers(1_500).map((n) => `a:${n}`),
    )
  })
})

void test('S1.1 FIFO per sender and receiver: two senders may interleave, neither overtakes itself', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const target = system.spawn('sink', sink(got))
    for (const from of ['a', 'b']) {
      const sender = system.spawn(
        from,
        puppet({
          go: async (ctx) => {
            for (const n of numbers(20)) {
              ctx.tell(target, { type: 'put', from, n })
              if (n % 4 === 0) await Promise.resolve()
            }
          },
        }),
      )
      sender.tell({ type: 'do', step: 'go' })
    }
    await system.platform.settle()
    t.equal(got.length, 40)
    for (const from of ['a', 'b']) {
      t.same(
        got.filter((line) => line.startsWith(from)),
        numbers(20).map((n) => `${from}:${n}`),
      )
    }
  })
})

void test('S1.1 FIFO per sender and receiver: own messages by tell, timer and pipe keep the order in which they came up', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const note = (step: string) => () => void got.push(step)
    const ref = system.spawn(
      'self',
      puppet({
        go: (ctx) => {
          ctx.timers.once('late', 10, { type: 'self', step: 'timer' })
          ctx.pipe(Promise.resolve(), () => ({ type: 'self', step: 'pipe' }))
          ctx.tell(ctx.self, { type: 'do', step: 'tell' })
        },
        tell: note('tell'),
        pipe: note('pipe'),
        timer: note('timer'),
        end: note('end'),
      }),
    )
    ref.tell({ type: 'do', step: 'go' })
    await system.platform.advance(10)
    ref.tell({ type: 'do', step: 'end' })
    await system.platform.settle()
    t.same(got, ['tell', 'pipe', 'timer', 'end'])
  })
})

void test('S1.1 FIFO per sender and receiver: order and mailbox survive a restart of the receiver', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: number[] = []
    const definition = actor(Sink, () => ({
      put: ({ n }) => {
        if (n % 10 === 5) throw new Error('odd one')
        got.push(n)
      },
      put_and_count: () => 0,
    }))
    const target = system.spawn('sink', definition, { backoff: { minMs: 10, maxMs: 10, jitter: 0 } })
    for (const n of numbers(30)) target.tell({ type: 'put', from: 'x', n })
    await system.platform.advance(100)
    t.same(
      got,
      numbers(30).filter((n) => n % 10 !== 5),
    )
  })
})

void test('S1.1 at most once: what was sent to a dead actor is a dead letter, never given to its successor', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const first = system.spawn('sink', sink(got))
    await system.stop(first)
    const second = system.spawn('sink', sink(got))
    t.not(first.uid, second.uid)
    t.equal(first.tell({ type: 'put', from: 'x', n: 1 }), false)
    const asked = watched(first.ask({ type: 'put_and_count', from: 'x', n: 2 }))
    t.equal(second.tell({ type: 'put', from: 'x', n: 3 }), true)
    await system.platform.settle()
    t.same(got, ['x:3'])
    t.equal(watchedCode(asked), 'RUNTIME_ACTOR_STOPPED')
    t.same(
      system.deadLetters().map(({ reason }) => reason),
      ['stopped', 'stopped'],
    )
  })
})

void test('S1.1 a watch notice comes after the last user message of the dead actor', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const watcher = system.spawn(
      'watcher',
      puppet({
        watch: (ctx) => {
          const target = ctx.spawn(
            'target',
            puppet({
              go: (inner) => {
                for (const step of ['one', 'two', 'three']) inner.tell(ctx.self, { type: 'do', step })
                inner.stop()
                inner.tell(ctx.self, { type: 'do', step: 'last words' })
              },
            }),
          )
          ctx.watch(target, (reason) => ({ type: 'self', step: reason }))
          ctx.tell(target, { type: 'do', step: 'go' })
        },
        one: () => void got.push('one'),
        two: () => void got.push('two'),
        three: () => void got.push('three'),
        'last words': () => void got.push('last words'),
        stopped: () => void got.push('stopped'),
      }),
    )
    watcher.tell({ type: 'do', step: 'watch' })
    await system.platform.settle()
    t.same(got, ['one', 'two', 'three', 'last words', 'stopped'])
  })
})

void test('S1.1 a watch notice comes after the last user message also of an actor that crashes', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const watcher = system.spawn(
      'watcher',
      puppet({
        watch: (ctx) => {
          const target = ctx.spawn(
            'target',
            puppet({
              go: async (inner) => {
                inner.tell(ctx.self, { type: 'do', step: 'word' })
                await Promise.resolve()
                inner.tell(ctx.self, { type: 'do', step: 'word' })
                throw new Error('boom')
              },
            }),
            { restart: 'temporary' },
          )
          ctx.watch(target, (reason) => ({ type: 'self', step: reason }))
          ctx.tell(target, { type: 'do', step: 'go' })
        },
        word: () => void got.push('word'),
        failed: () => void got.push('failed'),
      }),
    )
    watcher.tell({ type: 'do', step: 'watch' })
    await system.platform.settle()
    t.same(got, ['word', 'word', 'failed'])
  })
})

void test('S1.1 at most once: nothing is delivered after the system has shut down, and nothing is left armed', async (t) => {
  const got: string[] = []
  let late: () => void = () => undefined
  await onStage(t, supervisor({}, []), async (system) => {
    const target = system.spawn('sink', sink(got))
    const letters = heard(system, 'dead-letter')
    await system.shutdown()
    t.equal(target.tell({ type: 'put', from: 'x', n: 1 }), false)
    const asked = watched(target.ask({ type: 'put_and_count', from: 'x', n: 2 }))
    const nobody = watched(system.ref(Sink, '/user/sink').ask({ type: 'put_and_count', from: 'x', n: 3 }))
    await system.platform.settle()
    t.equal(watchedCode(asked), 'RUNTIME_ACTOR_STOPPED')
    t.equal(watchedCode(nobody), 'RUNTIME_NO_SUCH_ACTOR')
    t.equal(letters.length, 3)
    t.same(logged(system, 'warn'), [])
    late = () => void target.tell({ type: 'put', from: 'x', n: 4 })
  })
  late()
  t.same(got, [])
})
