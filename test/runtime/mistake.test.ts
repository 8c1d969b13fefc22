/** What a user gets wrong, most of it in plain JavaScript: each error names the mend. */
import { actor, child, createSystem, protocol, service, supervisor, tell } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { onStage, puppet } from '../support/runtime.ts'

const P = protocol('p', { x: tell() })
const def = actor(P, () => ({ x: () => undefined }))
/** As a program without types would call it. */
const loose = (value: unknown): never => value as never

test('definitions: whatever is none is refused where it is given, with what is wanted', async (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => supervisor({}, loose([def])), /each of its children must be made by child\(name, definition\)/],
    [() => supervisor(loose([child('a', def)]), loose(undefined)), /must be a list of child/],
    [
      () => supervisor({ strategy: loose('one-for-none') }, []),
      /"strategy" must be "one-for-one", .* got "one-for-none"/,
    ],
    [() => child('a', loose(P)), /must be a definition, as actor\(\).* got a protocol/],
    [() => child('a', def, { restart: loose('always') }), /"permanent", "transient" or "temporary"/],
    [
      () => child('a', def, { onError: [[Error, loose('retry')]] }),
      /must be "restart", "stop", "escalate" or a backoff/,
    ],
    [() => actor(loose(undefined), () => ({})), /the first argument must be a protocol/],
  ]
  for (const [mistake, message] of cases) t.throws(mistake, message, String(message))
})

test('createSystem: a wrong option is refused and named', async (t) => {
  const Key = service<number>('key')
  const cases: [object, RegExp][] = [
    [{ isolation: 'foo' }, /"isolation" must be "reference", "freeze" or "codec", got "foo"/],
    [{ shutdownMs: NaN }, /"shutdownMs" must be a number of milliseconds above 0, got NaN/],
    [{ askTimeoutMs: -5 }, /"askTimeoutMs" must be/],
    [{ services: [Key] }, /takes what Key\.provide\(implementation\) returns/],
    [{ services: [Key.provide(1), Key.provide(2)] }, /service "key" is given twice/],
  ]
  for (const [options, message] of cases) {
    await t.rejects(
      createSystem('s', undefined, { platform: virtualPlatform(), ...options }),
      message,
      String(message),
    )
  }
  await t.rejects(
    createSystem('s', loose({}), { platform: virtualPlatform() }),
    /its root must be a definition/,
  )
  await t.rejects(createSystem(loose(undefined)), /its name must match/)
})

test('spawn: a tree has at most 256 levels, and the error says so', async (t) => {
  let problem: unknown
  const deep = puppet({
    down: (ctx) => {
      try {
        ctx.tell(ctx.spawn('c', deep), { type: 'do', step: 'down' })
      } catch (error) {
        problem = error
      }
    },
  })
  await onStage(t, undefined, async (system) => {
    system.spawn('c', deep).tell({ type: 'do', step: 'down' })
    for (let n = 0; n < 10 && problem === undefined; n++) await system.platform.settle()
    t.match(problem, { name: 'RangeError', message: /a tree has at most 256 levels/ })
    t.ok(system.status().counters.spawned > 250)
  })
})

test('tell: a message that cannot be read is refused, and nothing is thrown', async (t) => {
  for (const isolation of ['freeze', 'codec'] as const) {
    await onStage(
      t,
      undefined,
      async (system) => {
        const ref = system.spawn('a', puppet({}))
        let nested: unknown = 'x'
        for (let depth = 0; depth < 50_000; depth++) nested = [nested]
        const trap = {
          type: 'do',
          get step(): string {
            throw new Error('a getter')
          },
        }
        t.equal(ref.tell(trap as { type: 'do'; step: string }), false)
        t.equal(ref.tell({ type: 'do', step: loose(nested) }), false)
      },
      { isolation },
    )
  }
})

test('shutdown: actors that hung are named in the report', async (t) => {
  const platform = virtualPlatform()
  const stuck = puppet({ hang: () => new Promise(() => undefined) })
  const system = await createSystem('s', supervisor({}, [child('stuck', stuck)]), { platform })
  system
    .lookup(protocol('puppet', { do: tell() }), '/user/stuck')
    ?.tell({ type: 'do', step: 'hang' } as never)
  await platform.settle()
  const report = system.shutdown()
  await platform.advance(31_000)
  t.match(await report, {
    clean: false,
    hung: [/^\/user\/stuck \(waited for its handler of "do", 5000 ms\)$/],
  })
})
