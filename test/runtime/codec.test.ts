import fc from 'fast-check'
import { test } from 'tap'

import {
  CborWriter,
  cborLimits,
  decode,
  EncodableRef,
  encode,
  inspectCbor,
  refTag,
  uncodable,
  UnresolvedRef,
  valueDepthMax,
} from '@understudy/runtime/codec'

class TestRef extends EncodableRef {
  readonly path: string

  constructor(path: string) {
    super()
    this.path = path
  }

  override refParts(): readonly unknown[] {
    return ['a', this.path, 7]
  }
}

function roundTrip(value: unknown): unknown {
  const bytes = encode(value)
  if (inspectCbor(bytes) !== undefined) throw new Error(`refused: ${Buffer.from(bytes).toString('hex')}`)
  return decode(bytes, ([, path]) => new TestRef(String(path)))
}

function nested(depth: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = [value]
  return value
}

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'))

const text = fc.string({ unit: 'grapheme', maxLength: 100 })
const value = fc.letrec<{ any: unknown }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 6 },
    fc.constantFrom(
      null,
      true,
      false,
      NaN,
      Infinity,
      -Infinity,
      -0,
      2 ** 32,
      -(2 ** 32),
      2 ** 53,
      0xffff,
      23,
      24,
      256,
    ),
    fc.integer(),
    fc.double(),
    text,
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('any'), { maxLength: 30 }),
    fc.dictionary(
      text.filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key)),
      tie('any'),
      { maxKeys: 30, noNullPrototype: true },
    ),
  ),
})).any

void test('encode and decode return every value of the set as it was', (t) => {
  fc.assert(
    fc.property(value, (sent) => t.strictSame(roundTrip(sent), sent)),
    { numRuns: 300 },
  )
  t.ok(Object.is(roundTrip(-0), -0), 'minus zero')
  t.strictSame(roundTrip([undefined, 1, undefined]), [undefined, 1, undefined], 'absent elements stay')
  t.strictSame(
    Object.keys(roundTrip({ a: undefined, b: 1, c: undefined }) as object),
    ['b'],
    'absent properties go',
  )
  t.strictSame(roundTrip(Object.assign(Object.create(null) as object, { a: 1 })), { a: 1 })
  for (const size of [0, 23, 24, 63, 64, 255, 256, 65_535, 65_536, 200_000]) {
    t.equal(roundTrip('x'.repeat(size)), 'x'.repeat(size), `${size} characters`)
    t.equal(roundTrip('é'.repeat(size)), 'é'.repeat(size), `${size} two-byte characters`)
  }
  for (const size of [23, 24, 255, 256, 65_535, 65_536]) {
    const wide = Object.fromEntries(Array.from({ length: size }, (_, index) => [`k${index}`, index]))
    t.strictSame(roundTrip(wide), wide, `${size} keys`)
    const holes = { ...wide, k3: undefined, k7: undefined }
    t.equal(
      Object.keys(roundTrip(holes) as object).length,
      size - 2,
      `${size} keys of which two are undefined`,
    )
  }
  t.end()
})

void test('encode writes the bytes of RFC 8949 appendix A', (t) => {
  const vectors: [unknown, string][] = [
    [0, '00'],
    [23, '17'],
    [24, '1818'],
    [1000, '1903e8'],
    [1000000, '1a000f4240'],
    [-1, '20'],
    [-100, '3863'],
    [1.1, 'fb3ff199999999999a'],
    [false, 'f4'],
    [null, 'f6'],
    [undefined, 'f7'],
    [18446744073709551615n, '1bffffffffffffffff'],
    ['', '60'],
    ['IETF', '6449455446'],
    ['ü', '62c3bc'],
    ['水', '63e6b0b4'],
    ['\ud800\udd51', '64f0908591'],
    [[1, [2, 3], [4, 5]], '8301820203820405'],
    [{ a: 1, b: [2, 3] }, 'a26161016162820203'],
    [Uint8Array.of(1, 2, 3, 4), '4401020304'],
    [[], '80'],
    [{}, 'a0'],
  ]
  for (const [sent, bytes] of vectors) t.equal(Buffer.from(encode(sent)).toString('hex'), bytes, bytes)
  t.end()
})

void test('decode copies byte strings out of the frame, as plain Uint8Arrays', (t) => {
  const frame = Buffer.from(encode([Uint8Array.of(1, 2)]))
  const [bytes] = decode(frame) as [Uint8Array]
  frame.fill(0)
  t.equal(bytes.constructor, Uint8Array)
  t.strictSame([...bytes], [1, 2])
  t.equal(bytes.buffer.byteLength, 2, 'keeps nothing else alive')
  t.end()
})

void test('EncodableRef travels as one tag and is resolved by the call that decodes it', (t) => {
  const bytes = encode({ to: new TestRef('/user/a') })
  t.equal(Buffer.from(bytes).toString('hex'), `a162746fd9${refTag.toString(16)}836161672f757365722f6107`)
  const seen: unknown[] = []
  const back = decode(bytes, (parts) => {
    seen.push(parts)
    return decode(encode(['inner', new TestRef('/b')]), () => 'nested')
  })
  t.strictSame(back, { to: ['inner', 'nested'] }, 'a resolver may decode with another resolver')
  t.strictSame(seen, [['a', '/user/a', 7]])
  const two = decode(encode([new TestRef('/1'), new TestRef('/2')]), ([, path]) => {
    decode(bytes, () => 'other')
    return path
  })
  t.strictSame(two, ['/1', '/2'], 'and the outer call goes on with its own')
  const { to } = decode(bytes) as { to: UnresolvedRef }
  t.ok(to instanceof UnresolvedRef, 'no resolver is left over from the call before')
  t.strictSame(encode({ to }), bytes, 'an unresolved ref encodes to the same bytes')
  t.throws(
    () =>
      decode(bytes, () => {
        throw new Error('gone')
      }),
    { code: 'RUNTIME_NOT_DECODABLE', message: /gone/ },
  )
  t.ok((decode(bytes) as { to: unknown }).to instanceof UnresolvedRef, 'nor after a resolver that threw')
  t.end()
})

void test('decode throws RUNTIME_NOT_DECODABLE for what is not one item', (t) => {
  for (const bytes of ['', '82 01', '01 01', '1c', '61']) {
    t.throws(() => decode(hex(bytes)), { code: 'RUNTIME_NOT_DECODABLE' }, `"${bytes}"`)
  }
  t.strictSame(decode(encode([1])), [1], 'and works afterwards')
  t.end()
})

void test('uncodable names the first value that encode refuses, with its path', (t) => {
  const cycle: Record<string, unknown> = { list: [] }
  cycle['list'] = [1, cycle]
  class Money {}
  const cases: [unknown, string, RegExp][] = [
    [() => 1, '', /^a function$/],
    [Symbol('x'), '', /^a symbol$/],
    [{ items: [1, 2, 3, { price: new Date(0) }] }, 'items[3].price', /^a Date$/],
    [{ a: { 'b c': new Map() } }, 'a["b c"]', /^a Map$/],
    [[new Set()], '[0]', /^a Set$/],
    [{ cost: new Money() }, 'cost', /^an instance of Money$/],
    [{ e: new Error('x') }, 'e', /^an Error$/],
    [{ view: new Float64Array(1) }, 'view', /^a Float64Array$/],
    [{ raw: new ArrayBuffer(1) }, 'raw', /^an ArrayBuffer$/],
    [cycle, 'list[1]', /contains itself/],
    [{ deep: nested(40) }, `deep${'[0]'.repeat(27)}`, /too deeply/],
    [['ok', '\ud800'], '[1]', /surrogate/],
    [{ ['\udc00']: 1 }, '["\\udc00"]', /surrogate/],
    [{ n: 2n ** 64n }, 'n', /bigint/],
    [{ n: -(2n ** 64n) - 1n }, 'n', /bigint/],
    [JSON.parse('{"a":{"__proto__":1}}'), 'a.__proto__', /__proto__/],
    [{ constructor: 1 }, 'constructor', /constructor/],
    [new UnresolvedRef([new Date(0)]), '', /a ref that holds a Date/],
    [[Promise.resolve()], '[0]', /a Promise/],
  ]
  for (const [sent, path, what] of cases) {
    const found = uncodable(sent)
    t.equal(found?.path, path)
    t.match(found?.what, what)
    t.throws(() => encode(sent), { code: 'RUNTIME_NOT_ENCODABLE' }, `encode refuses ${path}`)
  }
  t.equal(
    uncodable({ a: [null, undefined, -0, 1n, 'x', new Uint8Array(2), new TestRef('/a')], b: undefined }),
    undefined,
  )
  t.equal(uncodable({ twice: [cases, cases].map(() => 1), same: nested(valueDepthMax - 1) }), undefined)
  t.end()
})

void test('uncodable and encode agree on every value', (t) => {
  const bad = fc.constantFrom<unknown>(
    new Date(0),
    new Map(),
    () => 0,
    Symbol('s'),
    '\ud83d',
    2n ** 70n,
    /x/,
    { prototype: 1 },
    nested(30),
    nested(28),
    new TestRef('/x'),
  )
  const mixed = fc.oneof(
    value,
    bad,
    fc.array(fc.oneof(value, bad)),
    fc.dictionary(text, fc.oneof(value, bad)),
  )
  fc.assert(
    fc.property(mixed, (sent) => {
      let refused = false
      try {
        encode(sent)
      } catch {
        refused = true
      }
      return refused === (uncodable(sent) !== undefined)
    }),
    { numRuns: 500 },
  )
  t.pass()
  t.end()
})

void test('inspectCbor takes what encode writes, at the deepest that encode allows', (t) => {
  t.equal(inspectCbor(encode([[nested(valueDepthMax - 2)]])), undefined)
  t.equal(inspectCbor(encode(nested(valueDepthMax))), undefined)
  t.throws(() => encode(nested(valueDepthMax + 1)), { code: 'RUNTIME_NOT_ENCODABLE' })
  t.end()
})

void test('inspectCbor refuses each kind of fault, at its byte', (t) => {
  const tag = refTag.toString(16)
  const cases: [string, string, number][] = [
    ['', 'truncated', 0],
    ['82 01', 'truncated', 0],
    ['82 81 01', 'truncated', 3],
    ['19 01', 'truncated', 0],
    ['62 61', 'truncated', 0],
    ['43 01', 'truncated', 0],
    ['01 02', 'trailing-bytes', 1],
    ['9b ffffffffffffffff', 'truncated', 0],
    ['bb ffffffffffffffff', 'truncated', 0],
    ['7b ffffffffffffffff', 'truncated', 0],
    ['5a ffffffff', 'truncated', 0],
    ['81 9f 01 ff', 'indefinite-length', 1],
    ['bf ff', 'indefinite-length', 0],
    ['7f 61 61 ff', 'indefinite-length', 0],
    ['ff', 'indefinite-length', 0],
    ['1c', 'reserved-header', 0],
    ['c1 00', 'unknown-tag', 0],
    ['d9 0102 80', 'unknown-tag', 0],
    ['d9 dfff 83 00 80 00', 'unknown-tag', 0],
    [`d9 ${tag} 01`, 'unknown-tag', 3],
    [`d9 ${tag} d9 ${tag} 80`, 'unknown-tag', 3],
    [`d9 ${tag}`, 'truncated', 3],
    ['e0', 'unassigned-simple-value', 0],
    ['f8 ff', 'unassigned-simple-value', 0],
    ['f8 14', 'unassigned-simple-value', 0],
    ['a1 01 02', 'key-not-text', 1],
    ['a1 80 02', 'key-not-text', 1],
    ['a2 61 61 a0 f6 01', 'key-not-text', 4],
    [`a1 69 ${Buffer.from('__proto__').toString('hex')} 01`, 'forbidden-key', 1],
    [`81 a1 6b ${Buffer.from('constructor').toString('hex')} 01`, 'forbidden-key', 2],
    [`a1 78 09 ${Buffer.from('prototype').toString('hex')} 01`, 'forbidden-key', 1],
    ['61 80', 'invalid-utf8', 0],
    ['61 e6', 'invalid-utf8', 0],
    ['62 c0 80', 'invalid-utf8', 0],
    ['63 ed a0 80', 'invalid-utf8', 0],
    ['64 f4 90 80 80', 'invalid-utf8', 0],
    ['63 e0 80 80', 'invalid-utf8', 0],
    ['81 63 61 e6 b0', 'invalid-utf8', 1],
  ]
  for (const [bytes, code, offset] of cases) t.strictSame(inspectCbor(hex(bytes)), { code, offset }, bytes)
  for (const bytes of [
    'f9 3c00',
    'fa 47c35000',
    '98 01 00',
    '1b 0000000000000001',
    'b8 01 61 61 f7',
    `d9 ${tag} 81 01`,
  ]) {
    t.equal(inspectCbor(hex(bytes)), undefined, bytes)
  }
  t.end()
})

void test('inspectCbor holds its limits on depth and slots', (t) => {
  const deep = new Uint8Array(100_001).fill(0x81)
  deep[100_000] = 0
  t.strictSame(inspectCbor(deep), { code: 'too-deep', offset: cborLimits.depthMax })
  t.strictSame(inspectCbor(deep.subarray(99_967)), { code: 'too-deep', offset: 32 })
  t.equal(inspectCbor(deep.subarray(99_968)), undefined, 'exactly 32 levels')
  t.strictSame(
    inspectCbor(deep, { depthMax: 100_000 }),
    { code: 'too-deep', offset: 256 },
    'no more than 256 ever',
  )
  t.equal(inspectCbor(encode([1, [2, 3]]), { slotsMax: 4 }), undefined)
  t.strictSame(inspectCbor(encode([1, [2, 3]]), { slotsMax: 3 }), { code: 'too-many-slots', offset: 2 })
  t.strictSame(inspectCbor(encode({ a: 1, b: 2 }), { slotsMax: 3 }), { code: 'too-many-slots', offset: 0 })
  t.end()
})

void test('decode sees what inspectCbor saw: bytes that pass always decode, to values of the set', (t) => {
  const structural = fc.array(
    fc.oneof(
      fc.integer({ min: 0, max: 255 }),
      fc.constantFrom(0x81, 0x82, 0xa1, 0x61, 0x62, 0x63, 0xc3, 0xa9, 0xd9, 0xac, 0x70, 0xf6),
    ),
    { maxLength: 24 },
  )
  let passed = 0
  fc.assert(
    fc.property(structural, (numbers) => {
      const bytes = Uint8Array.from(numbers)
      if (inspectCbor(bytes) !== undefined) return true
      passed++
      return uncodable(decode(bytes)) === undefined
    }),
    { numRuns: 20_000 },
  )
  t.ok(passed > 100, 'some pass')
  const flipped = fc.tuple(value, fc.nat(), fc.integer({ min: 0, max: 255 }))
  fc.assert(
    fc.property(flipped, ([sent, at, byte]) => {
      const bytes = Uint8Array.from(encode(sent))
      bytes[at % bytes.length] = byte
      if (inspectCbor(bytes) !== undefined) return true
      decode(bytes)
      return true
    }),
    { numRuns: 1_000 },
  )
  t.end()
})

void test('CborWriter cuts, rewinds and refuses to grow past its limit', (t) => {
  const writer = new CborWriter(1_000)
  writer.value([1, 2])
  const size = writer.size
  const slots = writer.slots
  t.throws(() => writer.value({ a: [1, () => 1] }), { code: 'RUNTIME_NOT_ENCODABLE' })
  writer.rewind(size, slots)
  writer.value('next')
  const first = writer.cut(size)
  t.strictSame(decode(first), [1, 2])
  t.strictSame(decode(writer.cut()), 'next')
  t.throws(() => writer.value('x'.repeat(200_000)), { code: 'RUNTIME_ENCODING_TOO_LARGE', message: /1000/ })
  writer.rewind(0, 0)
  writer.value('after')
  t.strictSame(decode(writer.cut()), 'after')
  t.strictSame(decode(first), [1, 2], 'what was handed out stays')
  t.end()
})
