/** protocol, tell, ask, actor: what may be named and described how, and the error that names the mend. */
import { actor, ask, protocol, refOf, tell } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'

void test('tell and ask build the schema of the payload; optional fields are not required', async (t) => {
  const put = tell({ key: Type.String(), note: Type.Optional(Type.String()) })
  t.match(put, {
    kind: 'tell',
    lane: 'data',
    schema: { type: 'object', required: ['key'], additionalProperties: false },
  })
  t.same(Object.keys(put.schema.properties), ['key', 'note'])
  t.same(tell().schema.properties, {})
  const get = ask(Type.Integer())
  t.match(get, { kind: 'ask', schema: { required: [] }, reply: { type: 'integer' } })
  const add = ask({ by: Type.Integer() }, Type.Integer(), { lane: 'bulk' })
  t.match(add, { lane: 'bulk', schema: { required: ['by'] }, reply: { type: 'integer' } })
  t.equal(tell({}, { lane: 'control' }).lane, 'control')
  t.throws(() => Object.assign(put, { kind: 'ask' }), TypeError, 'frozen')
})

void test('tell refuses a field "type", and what is no schema', async (t) => {
  t.throws(() => tell({ type: Type.String() }), { message: /field "type": its name stands there/ })
  t.throws(() => tell({ by: 'integer' as never }), { message: /field "by" must be a schema, got string/ })
})

void test('protocol refuses names that JavaScript or the wire could not bear', async (t) => {
  const names = ['', '1st', 'a b', 'a/b', 'x'.repeat(64), 'ä']
  for (const name of names)
    t.throws(() => protocol(name, {}), { message: /its name must match/ }, `"${name}"`)
  for (const name of [...names, 'then', 'type', 'constructor', 'toString', 'hasOwnProperty', '__proto__']) {
    const messages = JSON.parse(`{ ${JSON.stringify(name)}: null }`) as Record<
      string,
      ReturnType<typeof tell>
    >
    Object.defineProperty(messages, name, { value: tell(), enumerable: true })
    t.throws(() => protocol('p', messages), { message: /message name/ }, `"${name}"`)
  }
  t.throws(() => protocol('p', { inc: {} as never }), {
    message: /"inc" must be made by tell\(\) or ask\(\)/,
  })
  t.equal(protocol('x'.repeat(63), { 'with-dash_1': tell() }).name.length, 63)
  t.throws(() => Object.assign(protocol('p', {}).messages, { more: tell() }), TypeError, 'frozen')
})

void test('actor refuses options that name no message, bounds out of range, and a missing setup', async (t) => {
  const Counter = protocol('counter', { inc: tell(), get: ask(Type.Integer()) })
  const handlers = { inc: () => undefined, get: () => 1 }
  const define = (options: object): unknown => actor(Counter, options as never, () => handlers as never)
  t.throws(() => define({ own: { inc: tell() } }), {
    message: /own message "inc" is also a message of its protocol/,
  })
  t.throws(() => define({ own: { then: tell() } }), { message: /message name "then"/ })
  t.throws(() => define({ concurrent: ['gte'] }), { message: /"gte" in its options is none of its messages/ })
  t.throws(() => define({ priority: { gte: 1 } }), {
    message: /"gte" in its options is none of its messages/,
  })
  for (const [options, field] of [
    [{ handlerTimeoutMs: 0 }, 'handlerTimeoutMs'],
    [{ mailbox: { messagesMax: 0 } }, 'mailbox.messagesMax'],
    [{ mailbox: { lowWater: Number.NaN } }, 'mailbox.lowWater'],
    [{ stashMax: -1 }, 'stashMax'],
  ] as const) {
    t.throws(() => define(options), {
      name: 'RangeError',
      message: new RegExp(`actor "counter": ${field} must be at least`),
    })
  }
  t.throws(() => actor(Counter, {} as never), { message: /the last argument must be the setup function/ })
  t.match(
    actor(Counter, { name: 'mine' }, () => handlers),
    { name: 'mine', protocol: { name: 'counter' } },
  )
})

void test('refOf is a schema that says whose ref is wanted', async (t) => {
  t.same(refOf(protocol('guest', {})), { 'understudy:ref': { protocol: 'guest', messages: [] } })
})
