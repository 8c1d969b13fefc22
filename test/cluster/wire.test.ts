import fc from 'fast-check'
import { test } from 'tap'

import { decode, EncodableRef, encode } from '@understudy/runtime/codec'
import { sourceModule } from '../support/source-module.ts'

type FrameSink = import('../../packages/cluster/src/wire/frame-sink.ts').FrameSink
type WireLimits = import('../../packages/cluster/src/wire/wire-limits.ts').WireLimits
type Recipient = import('../../packages/cluster/src/wire/wire-protocol.ts').Recipient
type WireProtocol = import('../../packages/cluster/src/wire/wire-protocol.ts').WireProtocol

const { FrameEncoder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/frame-encoder.ts')
>('cluster', 'wire/frame-encoder')
const { FrameDecoder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/frame-decoder.ts')
>('cluster', 'wire/frame-decoder')
const { compiledBuilder, interpretedBuilder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/message-builder.ts')
>('cluster', 'wire/message-builder')
const { resolveWireLimits } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/wire-limits.ts')
>('cluster', 'wire/wire-limits')

const Orders: WireProtocol = {
  name: 'orders',
  messages: {
    add: {
      kind: 'tell',
      fields: [
        { name: 'sku', required: true },
        { name: 'count', required: true },
        { name: 'note', required: false },
      ],
    },
    total: { kind: 'ask', fields: [] },
    put: { kind: 'tell', fields: [{ name: 'data', required: true }] },
  },
}
const worker: Recipient = { kind: 'actor', path: '/user/worker', uid: 7 }
const anyOne: Recipient = { kind: 'actor', path: '/user/any', uid: undefined }
const account: Recipient = { kind: 'entity', name: 'account', key: 'a-42' }

class Ref extends EncodableRef {
  readonly to: string

  constructor(to: string) {
    super()
    this.to = to
  }

  override refParts(): readonly unknown[] {
    return [this.to]
  }
}

/** A sink that writes calls down, with the recipients and types it was given. */
function recorder() {
  const calls: unknown[][] = []
  const given: { recipients: unknown[]; types: unknown[] } = { recipients: [], types: [] }
  const plain = (recipient: Parameters<FrameSink['onTell']>[0]): string =>
    recipient.kind === 'actor'
      ? `${recipient.path}#${recipient.uid ?? '*'}`
      : `${recipient.name}/${recipient.key}`
  const sink: FrameSink = {
    onTell: (recipient, type, message) => {
      given.recipients.push(recipient)
      given.types.push(type)
      calls.push(['tell', plain(recipient), type.kind, message])
    },
    onAsk: (askId, recipient, type, message, remainingMs, sender, chain) => {
      calls.push(['ask', askId, plain(recipient), type.kind, message, remainingMs, sender, chain])
    },
    onReply: (...rest) => {
      calls.push(['reply', ...rest])
    },
    onFail: (...rest) => {
      calls.push(['fail', ...rest])
    },
    onWatch: (watchId, recipient) => {
      calls.push(['watch', watchId, plain(recipient)])
    },
    onUnwatch: (...rest) => {
      calls.push(['unwatch', ...rest])
    },
    onTerminated: (...rest) => {
      calls.push(['terminated', ...rest])
    },
    onCancel: (...rest) => {
      calls.push(['cancel', ...rest])
    },
    onHeartbeat: (...rest) => {
      calls.push(['heartbeat', ...rest])
    },
    onGoodbye: (...rest) => {
      calls.push(['goodbye', ...rest])
    },
    onGossip: (...rest) => {
      calls.push(['gossip', ...rest])
    },
    onLaneWanted: (...rest) => {
      calls.push(['lane-wanted', ...rest])
    },
    onEndLane: (...rest) => {
      calls.push(['end-lane', ...rest])
    },
    onCredit: ({ target: _target, ...recipient }: Recipient & { readonly target?: unknown }, ...rest) => {
      calls.push(['credit', recipient, ...rest])
    },
    onChosen: () => {
      calls.push(['chosen'])
    },
    onWatched: (...rest) => {
      calls.push(['watched', ...rest])
    },
    onUnknown: (askId, recipient, ...rest) => {
      calls.push(['unknown', askId, plain(recipient), ...rest])
    },
    onInvalid: (askId, recipient, ...rest) => {
      calls.push(['invalid', askId, plain(recipient), ...rest])
    },
  }
  return { calls, given, sink }
}

function link(limits?: WireLimits, protocols: readonly WireProtocol[] = [Orders]) {
  const record = recorder()
  const encoder = new FrameEncoder(limits)
  const decoder = new FrameDecoder({
    limits,
    protocols: (name) => protocols.find((protocol) => protocol.name === name),
    resolveRef: (parts) => new Ref(String(parts[0])),
    sink: record.sink,
  })
  return { encoder, decoder, ...record }
}

/** Flushes and delivers; fails the test on a fault. */
function deliver({ encoder, decoder }: Pick<ReturnType<typeof link>, 'encoder' | 'decoder'>): number {
  const frames = encoder.take()
  for (const frame of frames) {
    const fault = decoder.read(frame)
    if (fault !== undefined) throw new Error(fault.message)
  }
  return frames.length
}

const add = (sku: string, more: object = {}): { type: string } =>
  Object.assign({ type: 'add' }, { sku, count: 1 }, more)

void test('FrameEncoder and FrameDecoder carry every kind of envelope, in order, in one frame', (t) => {
  const wire = link()
  const { encoder, calls } = wire
  const chain = [{ node: 'a', incarnation: 7, uid: 3, path: '/user/x', messageType: 'go' }]
  for (const failed of [
    encoder.tell(worker, Orders, add('tea', { note: { to: new Ref('me'), at: 5n, raw: Uint8Array.of(1) } })),
    encoder.ask(1, account, Orders, { type: 'total' }, 99.2, '/user/x', chain),
    encoder.ask(2, anyOne, Orders, { type: 'total' }, undefined, undefined, []),
    encoder.reply(1, { sum: 4 }),
    encoder.reply(2, undefined),
    encoder.fail(3, 'RUNTIME_REJECTED', 'no funds', { code: 'funds' }),
    encoder.watch(4, worker),
    encoder.unwatch(4),
    encoder.terminated(5, 'crashed', 'boom'),
    encoder.terminated(6, 'stopped'),
    encoder.cancel(2),
    encoder.heartbeat(8, 'ping'),
    encoder.heartbeat(9, 'pong'),
    encoder.watched(4, 7, '/user/worker'),
    encoder.gossip({ rumour: [1, 'x'] }),
    encoder.gossip(undefined),
    encoder.laneWanted('data'),
    encoder.laneWanted('bulk'),
    encoder.credit(worker, false),
    encoder.credit(account, true),
    encoder.chosen(),
    encoder.endLane('bulk'),
    encoder.goodbye('draining', ['data', 'bulk']),
    encoder.goodbye('draining'),
  ])
    t.equal(failed, undefined)
  t.ok(encoder.pending > 14 && encoder.pendingBytes > 100)
  t.equal(deliver(wire), 1, 'one frame')
  t.equal(encoder.pending + encoder.pendingBytes, 0)
  t.strictSame(calls, [
    [
      'tell',
      '/user/worker#7',
      'tell',
      { type: 'add', sku: 'tea', count: 1, note: { to: new Ref('me'), at: 5n, raw: Uint8Array.of(1) } },
    ],
    ['ask', 1, 'account/a-42', 'ask', { type: 'total' }, 100, '/user/x', chain],
    ['ask', 2, '/user/any#*', 'ask', { type: 'total' }, undefined, undefined, []],
    ['reply', 1, { sum: 4 }],
    ['reply', 2, undefined],
    ['fail', 3, 'RUNTIME_REJECTED', 'no funds', { code: 'funds' }],
    ['watch', 4, '/user/worker#7'],
    ['unwatch', 4],
    ['terminated', 5, 'crashed', 'boom'],
    ['terminated', 6, 'stopped', undefined],
    ['cancel', 2],
    ['heartbeat', 8, 'ping'],
    ['heartbeat', 9, 'pong'],
    ['watched', 4, 7, '/user/worker'],
    ['gossip', { rumour: [1, 'x'] }],
    ['gossip', undefined],
    ['lane-wanted', 'data'],
    ['lane-wanted', 'bulk'],
    ['credit', worker, false],
    ['credit', account, true],
    ['chosen'],
    ['end-lane', 'bulk'],
    ['goodbye', 'draining', ['data', 'bulk']],
    ['goodbye', 'draining', []],
  ])
  t.strictSame(encoder.take(), [], 'nothing pending, no frame')
  t.end()
})

void test('FrameEncoder writes a message as it was when it was sent', (t) => {
  const wire = link()
  const message = { type: 'put', data: { items: [1] } }
  wire.encoder.tell(worker, Orders, message)
  message.data.items.push(2)
  deliver(wire)
  t.strictSame(wire.calls[0]?.[3], { type: 'put', data: { items: [1] } })
  t.end()
})

void test('FrameEncoder interns a recipient that is seen again, and the receiver keeps one object for it', (t) => {
  const wire = link()
  for (let round = 0; round < 4; round++) {
    wire.encoder.tell(worker, Orders, add(`${round}`))
    if (round === 1) deliver(wire)
  }
  deliver(wire)
  t.strictSame(
    wire.calls.map(([, to]) => to),
    Array(4).fill('/user/worker#7'),
  )
  const [, second, third, fourth] = wire.given.recipients as { target: unknown }[]
  t.equal(second, third, 'one object per number')
  if (second !== undefined) second.target = 'cached'
  t.equal(fourth?.target, 'cached')
  t.equal(new Set(wire.given.types).size, 1, 'and one per type')
  t.end()
})

void test('FrameEncoder writes recipients out once its table is full, and FrameDecoder refuses more', (t) => {
  const wire = link({ recipientsMax: 2 })
  const many = Array.from({ length: 5 }, (_, uid): Recipient => ({ kind: 'actor', path: '/p', uid }))
  for (let round = 0; round < 3; round++) for (const to of many) wire.encoder.tell(to, Orders, add('x'))
  deliver(wire)
  t.strictSame(
    wire.calls.map(([, to]) => to),
    [...many, ...many, ...many].map((_, index) => `/p#${index % 5}`),
  )
  const announce = (id: number) => encode([[1, id, [0, '/p', null]]])
  const { decoder } = link({ recipientsMax: 2 })
  t.equal(decoder.read(announce(0)), undefined)
  t.equal(decoder.read(announce(1)), undefined)
  t.equal(decoder.read(announce(2))?.code, 'table-full')
  t.equal(decoder.read(announce(0))?.code, 'table-full', 'a fault stays')
  t.end()
})

void test('FrameEncoder announces a wider type when a field turns up that was not announced', (t) => {
  const wire = link(undefined, [
    {
      name: 'p',
      messages: {
        m: {
          kind: 'tell',
          fields: [
            { name: 'b', required: false },
            { name: 'a', required: false },
            { name: 'c', required: false },
          ],
        },
      },
    },
  ])
  const bare: WireProtocol = { name: 'p', messages: {} }
  const sent = [
    { a: 1 },
    { a: 2 },
    { b: 3, a: 4 },
    { a: 5, b: undefined },
    { b: 6 },
    { c: 7, a: 8, x: 9 },
    { a: 10 },
  ]
  for (const fields of sent) t.equal(wire.encoder.tell(worker, bare, { type: 'm', ...fields }), undefined)
  deliver(wire)
  t.strictSame(
    wire.calls.map((call) => call[3]),
    [
      { type: 'm', a: 1 },
      { type: 'm', a: 2 },
      { type: 'm', b: 3, a: 4 },
      { type: 'm', a: 5 },
      { type: 'm', b: 6 },
      { type: 'm', a: 8, c: 7 },
      { type: 'm', a: 10 },
    ],
  )
  t.end()
})

void test('FrameDecoder maps to its own schema: unknown fields drop, optional ones may lack, required ones may not', (t) => {
  const theirs: WireProtocol = {
    name: 'orders',
    messages: {
      add: {
        kind: 'tell',
        fields: [
          { name: 'extra', required: true },
          { name: 'count', required: true },
          { name: 'sku', required: false },
        ],
      },
    },
  }
  const wire = link()
  wire.encoder.tell(worker, theirs, { type: 'add', extra: 1, count: 2, sku: 'x' } as { type: string })
  wire.encoder.tell(worker, theirs, { type: 'add', extra: 1, count: 2 } as { type: string })
  wire.encoder.ask(5, worker, theirs, { type: 'add' }, undefined, undefined, [])
  deliver(wire)
  t.strictSame(wire.calls, [
    ['tell', '/user/worker#7', 'tell', { type: 'add', sku: 'x', count: 2 }],
    ['invalid', undefined, '/user/worker#7', 'orders', 'add', 'must have "sku"'],
    ['invalid', 5, '/user/worker#7', 'orders', 'add', 'must have "sku" and "count"'],
  ])
  t.end()
})

void test('FrameDecoder reports unknown protocols and types, until they are known', (t) => {
  const protocols: WireProtocol[] = []
  const wire = link(undefined, protocols)
  wire.encoder.tell(worker, Orders, add('x'))
  wire.encoder.ask(3, account, Orders, { type: 'toString' }, undefined, undefined, [])
  deliver(wire)
  protocols.push(Orders)
  wire.encoder.tell(worker, Orders, add('y'))
  wire.encoder.ask(4, account, Orders, { type: 'toString' }, undefined, undefined, [])
  deliver(wire)
  t.strictSame(wire.calls, [
    ['unknown', undefined, '/user/worker#7', 'orders', 'add'],
    ['unknown', 3, 'account/a-42', 'orders', 'toString'],
    ['tell', '/user/worker#7', 'tell', { type: 'add', sku: 'y', count: 1 }],
    ['unknown', 4, 'account/a-42', 'orders', 'toString'],
  ])
  t.end()
})

void test('message builders agree, compiled or not, and never run a name', (t) => {
  const names = fc.constantFrom('a', 'b', 'c', 'd', 'x y', '"];throw 1;//', 'constructor2', '0')
  const fields = fc.uniqueArray(fc.record({ name: names, required: fc.boolean() }), {
    selector: ({ name }) => name,
  })
  const announced = fc.uniqueArray(names)
  const body = fc.array(fc.constantFrom<unknown>(undefined, null, 0, 'v'), { minLength: 8, maxLength: 8 })
  fc.assert(
    fc.property(fields, announced, body, (schema, order, values) => {
      const sent = values.slice(0, order.length)
      t.strictSame(compiledBuilder('m', schema, order)(sent), interpretedBuilder('m', schema, order)(sent))
    }),
    { numRuns: 200 },
  )
  const wire = link()
  for (let round = 0; round < 40; round++)
    wire.encoder.tell(worker, Orders, add(`${round}`, round % 3 === 0 ? { note: 1 } : {}))
  deliver(wire)
  t.ok(
    wire.calls.every((call, round) => (call[3] as { sku: string }).sku === `${round}`),
    'across the change of builder',
  )
  t.end()
})

void test('FrameEncoder cuts frames by envelopes, bytes and slots, and loses nothing', (t) => {
  const size = fc.oneof(fc.nat(80), fc.nat(2_000))
  fc.assert(
    fc.property(fc.array(size, { maxLength: 60 }), fc.boolean(), (sizes, slots) => {
      const wire = link({ frameBytesMax: 1_100, frameSlotsMax: 1_024, frameEnvelopesMax: 7 })
      const expected: number[] = []
      for (const [index, length] of sizes.entries()) {
        const data = slots ? Array(length).fill(0) : 'x'.repeat(length)
        const failed = wire.encoder.tell(worker, Orders, { type: 'put', data: [index, data] } as {
          type: string
        })
        if (failed === undefined) expected.push(index)
        else t.equal(failed.reason, 'too-large')
        t.equal(failed === undefined, length < 1_000 || (length < 1_100 && failed === undefined), `${length}`)
      }
      for (const frame of wire.encoder.take()) {
        t.ok(frame.length <= 1_100 && (decode(frame) as unknown[]).length <= 7)
        t.equal(wire.decoder.read(frame), undefined)
      }
      t.strictSame(
        wire.calls.map((call) => (call[3] as { data: unknown[] }).data[0]),
        expected,
      )
    }),
    { numRuns: 60 },
  )
  const wire = link()
  for (let round = 0; round < 1_300; round++) wire.encoder.tell(worker, Orders, add('x'))
  t.equal(deliver(wire), 3, '512 a frame by default')
  t.equal(wire.calls.length, 1_300)
  t.end()
})

void test('FrameEncoder counts the slots of an envelope that was moved into a new frame', (t) => {
  const wire = link({ frameSlotsMax: 1_024 })
  for (let round = 0; round < 4; round++) wire.encoder.reply(round, Array(600).fill(0))
  t.equal(deliver(wire), 4)
  t.equal(wire.calls.length, 4)
  t.end()
})

void test('FrameEncoder reports what cannot be sent, with sizes and paths, and keeps its neighbours', (t) => {
  const wire = link({ frameBytesMax: 10_000 })
  const { encoder } = wire
  const cases: [() => unknown, RegExp][] = [
    [
      () => encoder.tell(worker, Orders, { type: 'put', data: 'x'.repeat(20_000) } as { type: string }),
      /at least 200\d\d bytes.* 10000/,
    ],
    [
      () => encoder.tell(worker, Orders, { type: 'put', data: 'x'.repeat(9_000_000) } as { type: string }),
      /bytes.* 10000/,
    ],
    [
      () => encoder.tell(worker, Orders, { type: 'put', data: [1, new Date(0)] } as { type: string }),
      /has at "data\[1\]" a Date/,
    ],
    [
      () => encoder.tell(worker, Orders, { type: 'put', data: 1, ['prototype']: 2 } as { type: string }),
      /"prototype"/,
    ],
    [
      () => encoder.ask(1, worker, Orders, { type: 'put', data: () => 1 } as { type: string }, 1, 'x', []),
      /"data" a function/,
    ],
    [() => encoder.reply(1, new Map()), /is a Map/],
    [() => encoder.fail(1, 'C', 'm', { f: Symbol('x') }), /"f" a symbol/],
    [
      () => encoder.tell({ kind: 'entity', name: 'e', key: 'k'.repeat(3_000) }, Orders, add('x')),
      /key of 3000 characters.* 2048/,
    ],
    [() => encoder.watch(1, { kind: 'actor', path: '\ud800', uid: 1 }), /path with half/],
    [
      () =>
        encoder.tell(
          worker,
          Orders,
          Object.fromEntries([['type', 'wide'], ...Array.from({ length: 300 }, (_, at) => [`f${at}`, 1])]),
        ),
      /300 fields.* 256/,
    ],
  ]
  for (const [index, [send, problem]] of cases.entries()) {
    encoder.reply(index, 'before')
    const before = encoder.pendingBytes
    t.match((send() as { problem: string }).problem, problem)
    t.ok(encoder.pendingBytes - before < 120, 'at most an announcement stays')
  }
  encoder.fail(99, 'C'.repeat(999), `\ud800${'m'.repeat(99_999)}`)
  deliver(wire)
  t.strictSame(
    wire.calls.slice(0, -1).map((call) => call[1]),
    cases.map((_, index) => index),
  )
  const [, , code, message] = wire.calls.at(-1) as string[]
  t.equal(code?.length, 256)
  t.equal(message?.length, 8_192, 'what is for people is cut, not refused')
  t.end()
})

void test('FrameEncoder keeps the newest 32 links of a call chain', (t) => {
  const wire = link()
  const chain = Array.from({ length: 40 }, (_, uid) => ({
    node: 'n',
    incarnation: 1,
    uid,
    path: '/p',
    messageType: 'm',
  }))
  wire.encoder.ask(1, worker, Orders, { type: 'total' }, Infinity, undefined, chain)
  deliver(wire)
  t.strictSame(wire.calls[0]?.[7], chain.slice(8))
  t.end()
})

void test('FrameDecoder turns every malformed envelope into a fault', (t) => {
  const type = [0, 0, 'orders', 'add', ['sku', 'count']]
  const to = [0, '/p', null]
  const chain33 = Array(33).fill(['n', 1, '/p', 'm'])
  const cases: unknown[] = [
    1,
    {},
    null,
    'x',
    [1],
    [[]],
    [[99]],
    [['tell']],
    [[2]],
    [[2, to, 0, []]],
    [[2, 0, 0, []]],
    [type, [2, 0, 0, [1, 2]]],
    [type, [2, to, 1, [1, 2]]],
    [type, [2, to, 0, [1]]],
    [type, [2, to, 0, {}]],
    [type, [2, to, 0, [1, 2], 1]],
    [type, [2, to, -1, [1, 2]]],
    [type, [2, to, 0.5, [1, 2]]],
    [type, [2, [2, '/p', null], 0, [1, 2]]],
    [type, [2, [0, '/p', -1], 0, [1, 2]]],
    [type, [2, [0, 'p'.repeat(2_049), 1], 0, [1, 2]]],
    [type, [2, [1, 'n', 3], 0, [1, 2]]],
    [type, [3, 'id', to, 0, [1, 2], null, null, []]],
    [type, [3, 1, to, 0, [1, 2], -1, null, []]],
    [type, [3, 1, to, 0, [1, 2], null, 5, []]],
    [type, [3, 1, to, 0, [1, 2], null, null, chain33]],
    [type, [3, 1, to, 0, [1, 2], null, null, [['n', 1, '/p']]]],
    [type, [3, 1, to, 0, [1, 2], null, null]],
    [[0, 1, 'p', 't', []]],
    [[0, 0, 1, 't', []]],
    [[0, 0, 'p', 't', ['a', 'a']]],
    [[0, 0, 'p', 't', ['type']]],
    [[0, 0, 'p', 't', ['__proto__']]],
    [[0, 0, 'p', 't', 'a']],
    [[0, 0, 'p', 't', Array.from({ length: 257 }, (_, at) => `f${at}`)]],
    [[1, 1, to]],
    [[1, 0, 5]],
    [[1, 0]],
    [[4, 1]],
    [[4, 1n, 1]],
    [[5, 1, 2, 'm', null]],
    [[5, 1, 'c', 'm'.repeat(8_193), null]],
    [[6, 1, 0]],
    [[6, -1, to]],
    [[7]],
    [[8, 1, 2, null]],
    [[8, 1, 'r', 3]],
    [[9, 1.5]],
    [[10, 1, 2]],
    [[11, 1]],
    [[11, 'r'.repeat(257)]],
    [[11, 'r', 1]],
    [[11, 'r', [0]]],
    [[11, 'r', [3]]],
    [[11, 'r', [1, 1, 2, 2]]],
    [[11, 'r', [1], 1]],
    [[12]],
    [[12, 1, 2]],
    [[13]],
    [[13, 3]],
    [[13, 'data']],
    [[13, 0.5]],
    [[14, -1]],
    [[14, 1, 1]],
    [[15, 0, 1]],
    [[15, to, 2]],
    [[15, to]],
    [[16, 1]],
    [[17, 1, -1, '/p']],
    [[17, 1, 1, 'p'.repeat(2_049)]],
    [[17, 1, 1]],
    [[18]],
    Array(513).fill([9, 1]),
  ]
  for (const frame of cases) {
    const { decoder } = link()
    t.type(
      decoder.read(encode(frame))?.code,
      'string',
      JSON.stringify(frame, (_, value: unknown) => (typeof value === 'bigint' ? 'big' : value))?.slice(0, 60),
    )
  }
  const { decoder } = link({ frameBytesMax: 2_000 })
  t.equal(decoder.read(new Uint8Array(2_001))?.code, 'frame-too-large')
  const thrower = new FrameDecoder({
    protocols: () => Orders,
    resolveRef: () => {
      throw new Error('no')
    },
    sink: recorder().sink,
  })
  t.equal(thrower.read(encode([[4, 1, new Ref('x')]]))?.code, 'undecodable')
  t.end()
})

const fuzzed = (() => {
  const { calls, sink } = recorder()
  const quiet: FrameSink = { ...sink, onTell: () => {} }
  return {
    calls,
    decoder: () =>
      new FrameDecoder({
        protocols: (name) => (name === 'orders' ? Orders : undefined),
        resolveRef: (parts) => parts,
        sink: quiet,
      }),
  }
})()

void test('FrameDecoder never throws: 100,000 random frames, memory flat', (t) => {
  let state = 1
  const next = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return (state >>> 8) % below
  }
  const good = link()
  for (let index = 0; index < 4; index++) {
    good.encoder.tell(worker, Orders, add('tea', { note: new Ref('x') }))
    good.encoder.gossip([index, ['n', 1]])
    good.encoder.credit(worker, index % 2 === 0)
    good.encoder.watched(index, 1, '/p')
    good.encoder.goodbye('r', ['data'])
    good.encoder.laneWanted('bulk')
    good.encoder.endLane('bulk')
    good.encoder.ask(index, account, Orders, { type: 'total' }, 5, '/p', [
      { node: 'n', incarnation: 1, uid: 1, path: '/p', messageType: 'm' },
    ])
    good.encoder.fail(1, 'C', 'message', { a: [1, 2] })
  }
  const frame = good.encoder.take()[0] ?? new Uint8Array()
  let refused = 0
  let heapBefore = 0
  for (let round = 0; round < 100_000; round++) {
    if (round === 20_000) heapBefore = process.memoryUsage().heapUsed
    let bytes: Uint8Array
    if (round % 2 === 0) {
      bytes = Uint8Array.from({ length: next(40) }, () => next(256))
    } else {
      bytes = Uint8Array.from(frame)
      for (let flips = next(3); flips >= 0; flips--) bytes[next(bytes.length)] = next(256)
      if (next(4) === 0) bytes = bytes.subarray(0, next(bytes.length))
    }
    const { decoder } = fuzzed
    fuzzed.calls.length = 0
    if (decoder().read(bytes) !== undefined) refused++
  }
  t.ok(refused > 90_000 && refused < 100_000, `${refused} refused`)
  t.ok(process.memoryUsage().heapUsed - heapBefore < 64 * 1_048_576, 'no memory is kept')
  t.end()
})

void test('resolveWireLimits refuses a limit out of range, naming it', (t) => {
  t.throws(() => resolveWireLimits({ frameBytesMax: 10 }), /frameBytesMax 10.*1024 to 268435456/)
  t.throws(() => new FrameEncoder({ frameEnvelopesMax: 70_000 }), RangeError)
  t.throws(() => resolveWireLimits({ recipientsMax: 1.5 }), RangeError)
  t.end()
})
