/** S13.1: how far a message is kept apart from its sender, and that what cannot be sent fails at the sender. */
import { actor, ask, protocol, refOf, tell, type ActorRef, type Isolation } from '@understudy/runtime'
import { probe, virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { codeOf, heard, logged, onStage, Puppet, puppet } from '../support/runtime.ts'

const Box = protocol('box', {
  put: tell({ item: Type.Any() }),
  take: ask(Type.Any()),
  swap: ask({ item: Type.Any() }, Type.Any()),
})
const box = actor(Box, () => {
  let kept: unknown = null
  return {
    put: ({ item }) => {
      kept = item
    },
    take: () => kept,
    swap: ({ item }) => item,
  }
})

async function eachIsolation(
  t: Parameters<typeof onStage>[0],
  modes: readonly Isolation[],
  play: (
    isolation: Isolation,
    ref: ActorRef<typeof Box.messages>,
    letters: readonly { reason: string }[],
  ) => Promise<void>,
): Promise<void> {
  for (const isolation of modes) {
    await onStage(
      t,
      undefined,
      async (system) => {
        const letters = heard(system, 'dead-letter')
        await play(isolation, system.spawn('box', box), letters)
      },
      { isolation },
    )
  }
}

void test('S13.1 "reference" passes what was sent, "freeze" freezes it, "codec" sends a copy', async (t) => {
  await eachIsolation(t, ['reference', 'freeze', 'codec'], async (isolation, ref) => {
    const item = { list: [1, { deep: true }], bytes: new Uint8Array([1, 2, 3]) }
    const message = { type: 'swap', item } as const
    const back = (await ref.ask(message)) as typeof item
    t.same(back, item, isolation)
    t.equal(back === item, isolation !== 'codec', `${isolation}: the object itself`)
    const frozen = [message, item, item.list, item.list[1]].map((value) => Object.isFrozen(value))
    t.same(frozen, Array(4).fill(isolation === 'freeze'), `${isolation}: frozen at the sender`)
    t.equal(Object.isFrozen(item.bytes), false, `${isolation}: bytes cannot be frozen; they are handed over`)
    if (isolation === 'freeze') {
      t.throws(() => (item.list[0] = 7), TypeError, 'writing into a sent message fails where it is done')
      t.equal(Object.isFrozen(back), true, 'a reply too')
    }
    if (isolation === 'codec') t.not(back.bytes, item.bytes)
  })
})

void test('S13.1 "codec": what the sender writes afterwards reaches nobody', async (t) => {
  await eachIsolation(t, ['reference', 'codec'], async (isolation, ref) => {
    const item = { list: [1], bytes: new Uint8Array([1]) }
    ref.tell({ type: 'put', item })
    item.list.push(2)
    item.bytes[0] = 9
    const seen = (await ref.ask({ type: 'take' })) as typeof item
    const [list, byte] = isolation === 'codec' ? [[1], 1] : [[1, 2], 9]
    t.same([seen.list, seen.bytes[0]], [list, byte], isolation)
    seen.list.push(3)
    const again = (await ref.ask({ type: 'take' })) as typeof item
    t.equal(
      again.list.length,
      isolation === 'codec' ? 1 : 3,
      `${isolation}: nor what the asker writes into a reply`,
    )
  })
})

void test('S13.1 "freeze" freezes what hangs on something frozen by somebody else', async (t) => {
  await eachIsolation(t, ['freeze'], async (_isolation, ref) => {
    const inner = { count: 1 }
    ref.tell(Object.freeze({ type: 'put', item: Object.freeze([inner]) }))
    t.equal(Object.isFrozen(inner), true)
    const self: { self?: unknown } = {}
    self.self = self
    t.equal(ref.tell({ type: 'put', item: self }), true, 'and ends where a value contains itself')
  })
})

void test('S13.1 "codec" and "freeze" check messages and replies, "reference" does not', async (t) => {
  const Strict = protocol('strict', { set: tell({ to: Type.Integer() }), get: ask(Type.Integer()) })
  const strict = actor(Strict, () => {
    let value: unknown = 'nothing'
    return {
      set: ({ to }) => {
        value = to
      },
      get: () => value as number,
    }
  })
  for (const isolation of ['reference', 'freeze', 'codec'] as const) {
    await onStage(
      t,
      undefined,
      async (system) => {
        const ref = system.spawn('a', strict)
        const checks = isolation !== 'reference'
        const wrong = { type: 'set', to: 'three' } as unknown as { readonly type: 'set'; readonly to: number }
        t.equal(ref.tell(wrong), !checks, isolation)
        if (checks)
          t.match(logged(system, 'error'), [
            'Cannot send "set" to /user/a: field "to" is "three", expected an integer',
          ])
        t.equal(
          await codeOf(ref.ask({ type: 'get' })),
          checks ? 'RUNTIME_ACTOR_CRASHED' : 'resolved: "three"',
        )
      },
      { isolation },
    )
  }
})

void test('S13.1 what cannot be cloned fails at the sender with the path of the field', async (t) => {
  class Money {
    readonly cents = 1
  }
  const circular: unknown[] = []
  circular.push({ back: circular })
  const bad: readonly (readonly [item: unknown, path: string, what: string])[] = [
    [() => undefined, 'item', 'a function'],
    [{ a: [1, { b: new Date(0) }] }, 'item.a[1].b', 'a Date'],
    [{ 'two words': new Map() }, 'item["two words"]', 'a Map'],
    [[new Money()], 'item[0]', 'an instance of Money'],
    [{ s: Symbol('x') }, 'item.s', 'a symbol'],
    [circular, 'item[0].back', 'a value that contains itself'],
    [2n ** 70n, 'item', 'a bigint outside 64 bits'],
  ]
  await eachIsolation(t, ['codec'], async (_isolation, ref, letters) => {
    for (const [item, path, what] of bad) {
      await t.rejects(ref.ask({ type: 'swap', item }), {
        code: 'RUNTIME_INVALID_MESSAGE',
        message: `Cannot send "swap" to /user/box: field "${path}" is ${what}, which cannot be sent`,
        details: { field: path },
      })
      t.equal(ref.tell({ type: 'put', item }), false, what)
    }
    t.equal(letters.length, 2 * bad.length)
    t.same(new Set(letters.map(({ reason }) => reason)), new Set(['invalid']))
  })
})

void test('S13.1 a reply that cannot be cloned crashes who gave it, with the path', async (t) => {
  const Maker = protocol('maker', { make: ask(Type.Any()) })
  const maker = actor(Maker, () => ({ make: () => ({ at: new Date(0) }) }))
  await onStage(t, undefined, async (system) => {
    await t.rejects(system.spawn('a', maker).ask({ type: 'make' }), {
      code: 'RUNTIME_ACTOR_CRASHED',
      message: /field "at" is a Date, which cannot be sent/,
    })
  })
})

void test('S13.1 everything that can be sent survives "codec", refs among it', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('box', box)
    const someone = probe(system, Puppet)
    const unbound = system.ref(Puppet, '/user/elsewhere')
    const item = {
      none: null,
      numbers: [0, -0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53],
      big: -(2n ** 63n),
      text: 'ä€😀\u0000',
      bytes: new Uint8Array([0, 255]),
      nested: [[[{}]]],
      refs: { someone: someone.ref, unbound, again: [someone.ref] },
    }
    const back = (await ref.ask({ type: 'swap', item })) as typeof item
    t.same(back, item)
    t.equal(Object.is(back.numbers[1], -0), true)
    t.equal(back.refs.someone, someone.ref, 'a ref is itself')
    t.equal(back.refs.unbound, unbound)
    t.equal(back.refs.again[0], someone.ref)
    back.refs.someone.tell({ type: 'do', step: 'x' })
    await someone.expect('do')
  })
})

void test('S13.1 refOf takes a ref to a bigger protocol, as the compiler does', async (t) => {
  const Small = protocol('small', { put: Box.messages.put })
  const Host = protocol('host', { take: ask({ who: refOf(Small) }, Type.String()) })
  const host = actor(Host, () => ({ take: ({ who }) => who.path }))
  await onStage(t, undefined, async (system) => {
    const big = system.spawn('box', box)
    t.equal(await system.spawn('host', host).ask({ type: 'take', who: big }), '/user/box')
  })
})

void test('S13.1 refOf refuses refs to other protocols, and what is no ref', async (t) => {
  const Guest = protocol('guest', {
    meet: ask({ who: refOf(Puppet), others: Type.Array(refOf(Puppet)) }, refOf(Puppet)),
  })
  const guest = actor(Guest, () => ({ meet: ({ who }) => who }))
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('guest', guest)
    const one = system.spawn('one', puppet({}))
    const path = system.ref(Puppet, '/user/two')
    t.equal(await ref.ask({ type: 'meet', who: one, others: [path] }), one)
    const strange = system.spawn('box', box) as unknown as typeof one
    for (const [who, others, field] of [
      [strange, [], 'who'],
      ['/user/one', [], 'who'],
      [one, [one, strange], 'others[1]'],
    ] as const) {
      await t.rejects(ref.ask({ type: 'meet', who: who as typeof one, others: [...others] }), {
        code: 'RUNTIME_INVALID_MESSAGE',
        message: new RegExp(
          `field "${field.replace(/[[\]]/g, '\\$&')}" .*a ref to an actor of protocol "puppet"`,
        ),
      })
    }
  })
})

void test('S13.1 the default is "freeze", and "reference" when NODE_ENV is production', async (t) => {
  for (const [env, isFrozen] of [
    [{}, true],
    [{ NODE_ENV: 'production' }, false],
  ] as const) {
    await onStage(
      t,
      undefined,
      async (system) => {
        const message = { type: 'put', item: {} } as const
        system.spawn('box', box).tell(message)
        t.equal(Object.isFrozen(message.item), isFrozen, JSON.stringify(env))
      },
      { platform: virtualPlatform({ env }), isolation: undefined },
    )
  }
})
