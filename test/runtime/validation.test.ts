import { test } from 'tap'
import Type from 'typebox'
import { sourceModule } from '../support/source-module.ts'

const { createValidator, mismatchText } = await sourceModule<
  typeof import('../../packages/runtime/src/validation/validator.ts')
>('runtime', 'validation/validator')
const { checkOptions, durationMs, functionSchema, orInfinity, wholeNumber } = await sourceModule<
  typeof import('../../packages/runtime/src/validation/options.ts')
>('runtime', 'validation/options')

const subject = 'message "buy" of protocol "shop"'

void test('check gives undefined for a value that fits, and never changes it', async (t) => {
  const check = createValidator().check(
    subject,
    Type.Object({ by: Type.Integer(), note: Type.Optional(Type.String()) }),
  )
  const value = Object.freeze({ by: 1 })
  t.equal(check(value), undefined)
  t.equal(check({ by: 1, note: 'x' }), undefined)
  t.equal(check({ by: 1, note: undefined }), undefined, 'an optional field may be undefined')
  t.same(check({ by: '1' })?.path, 'by', 'no coercion')
  t.same(value, { by: 1 })
})

void test('check names the path, the problem and what would be right', async (t) => {
  const item = Type.Object({ price: Type.Number({ minimum: 0 }), 'odd name': Type.Optional(Type.Boolean()) })
  const schema = Type.Object(
    {
      items: Type.Array(item, { maxItems: 2 }),
      kind: Type.Union([Type.Literal('a'), Type.Literal('b')]),
      size: Type.Optional(Type.Enum(['s', 'm'])),
      id: Type.Optional(Type.String({ minLength: 2, maxLength: 4 })),
      at: Type.Optional(Type.String({ format: 'date-time' })),
    },
    { additionalProperties: false },
  )
  const check = createValidator().check(subject, schema)
  const good = { items: [{ price: 1 }], kind: 'a' }
  t.equal(check(good), undefined)
  const cases: [unknown, string, string, string][] = [
    [{ ...good, items: [{ price: 1 }, { price: -1 }] }, 'items[1].price', 'is -1', 'a number >= 0'],
    [{ ...good, items: [{ price: 'x' }] }, 'items[0].price', 'is "x"', 'a number >= 0'],
    [{ ...good, items: [{ price: Number.NaN }] }, 'items[0].price', 'is NaN', 'a number >= 0'],
    [{ ...good, items: [{}] }, 'items[0].price', 'is missing', 'a number >= 0'],
    [{ ...good, items: [{ price: 1, 'odd name': 1 }] }, 'items[0]["odd name"]', 'is 1', 'true or false'],
    [
      { ...good, items: [1, 2, 3] },
      'items',
      'is an array of length 3',
      'an array of objects of at most 2 items',
    ],
    [{ ...good, kind: 'c' }, 'kind', 'is "c"', 'one of "a", "b"'],
    [{ ...good, size: 'l' }, 'size', 'is "l"', 'one of "s", "m"'],
    [{ ...good, id: 'abcde' }, 'id', 'is "abcde"', 'a string of 2 to 4 characters'],
    [{ ...good, at: 'noon' }, 'at', 'is "noon"', 'a string in the format "date-time"'],
    [{ ...good, kid: 1 }, 'kid', 'is not a field', 'one of "items", "kind", "size", "id", "at"'],
    [null, '', 'is null', 'an object'],
    [undefined, '', 'is undefined', 'an object'],
    [new Map(), '', '', ''],
  ]
  for (const [value, path, problem, expected] of cases.slice(0, -1))
    t.same(check(value), { path, problem, expected })
  t.equal(
    mismatchText(check({ ...good, kind: 1n }) ?? { path: '', problem: '', expected: '' }),
    'field "kind" is 1n, expected one of "a", "b"',
  )
  const long = check({ ...good, kind: 'x'.repeat(10_000) })
  t.ok((long?.problem.length ?? 0) < 80, 'a huge value is cut')
})

void test('check tells an index from a field that is called like one', async (t) => {
  const check = createValidator().check(subject, Type.Record(Type.String(), Type.Array(Type.Integer())))
  t.same(check({ '0': [1, 'x'] })?.path, '["0"][1]')
  t.same(check({ 'a/b~c': ['x'] })?.path, '["a/b~c"][0]')
})

void test('check of a union of objects blames the branch that was meant', async (t) => {
  const shape = Type.Union([
    Type.Object({ kind: Type.Literal('circle'), r: Type.Number() }),
    Type.Object({ kind: Type.Literal('square'), a: Type.Number() }),
  ])
  const check = createValidator().check(subject, Type.Object({ shape }))
  t.equal(check({ shape: { kind: 'square', a: 1 } }), undefined)
  t.same(check({ shape: { kind: 'square', a: 'x', r: 1 } }), {
    path: 'shape.a',
    problem: 'is "x"',
    expected: 'a number',
  })
  t.match(check({ shape: { kind: 'line', a: 1, r: 1 } }), {
    path: 'shape.kind',
    expected: 'one of "circle", "square"',
  })
  t.match(check({ shape: 5 }), { path: 'shape', problem: 'is 5' })
})

void test('check compiles when first used; compile does at once', async (t) => {
  const misspelt = { type: 'object', properties: { by: { type: 'integer', minimun: 1 } } }
  const check = createValidator().check(subject, misspelt)
  const wanted = { name: 'TypeError', message: /message "buy" of protocol "shop".*"minimun"/ }
  t.throws(() => check({ by: 1 }), wanted, 'strict: a misspelt keyword is no keyword')
  t.throws(() => createValidator().compile(subject, misspelt), wanted)
  t.throws(() => createValidator().compile(subject, { type: 'strin' }), {
    name: 'TypeError',
    message: /"buy"/,
  })
  t.throws(() => createValidator().compile(subject, { type: 'string', format: 'nope' }), {
    message: /"nope"/,
  })
  t.equal(createValidator().compile(subject, Type.Integer())(1), undefined)
})

void test('check refuses what TypeBox can say and JSON Schema cannot, naming the field', async (t) => {
  const inField = (schema: Type.TSchema): object =>
    Type.Object({ list: Type.Array(Type.Object({ x: schema })) })
  const cases: [Type.TSchema, RegExp][] = [
    [Type.BigInt(), /a bigint is not JSON Schema/],
    [Type.Function([], Type.String()), /a function is not JSON Schema/],
    [Type.Constructor([], Type.String()), /a constructor is not JSON Schema/],
    [Type.Symbol(), /a symbol is not JSON Schema/],
    [Type.Undefined(), /undefined is not JSON Schema; use Type.Optional/],
    [Type.Void(), /void is not JSON Schema/],
    [Type.Unsafe<Date>({ type: 'Date' }), /a Date is not JSON Schema/],
    [Type.Refine(Type.String(), () => true), /Type.Refine\(\) would never run/],
    [
      Type.Codec(Type.String())
        .Decode((x) => x)
        .Encode((x) => x),
      /Type.Codec\(\) would never run/,
    ],
  ]
  for (const [schema, problem] of cases) {
    const message = new RegExp(
      `Cannot use the schema of ${subject}: field "list\\[\\].x": .*${problem.source}`,
    )
    t.throws(
      () => createValidator().check(subject, inField(schema)),
      { name: 'TypeError', message },
      problem.source,
    )
  }
  t.throws(() => createValidator().check(subject, { type: 'object', properties: { a: 5 } }), {
    message: /field "a".*number/,
  })
})

void test('check compiles what TypeBox makes of JSON Schema', async (t) => {
  const schemas: [Type.TSchema, unknown, unknown][] = [
    [Type.Tuple([Type.String(), Type.Integer()]), ['a', 1], ['a', 1, 2]],
    [Type.Record(Type.String(), Type.Integer()), { a: 1 }, { a: 'x' }],
    [
      Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.String() })]),
      { a: '', b: '' },
      { a: '' },
    ],
    [Type.Union([Type.Null(), Type.Integer()]), null, 'x'],
    [Type.TemplateLiteral('a${number}'), 'a1', 'b1'],
    [Type.Readonly(Type.Integer()), 1, 'x'],
    [Type.Union([Type.String(), Type.Number()]), 1, true],
    [Type.Never(), undefined, 1],
  ]
  const { compile } = createValidator()
  for (const [schema, good, bad] of schemas) {
    if (good !== undefined) t.equal(compile(subject, schema)(good), undefined, JSON.stringify(schema))
    t.ok(compile(subject, schema)(bad), `refuses ${JSON.stringify(bad)} for ${JSON.stringify(schema)}`)
  }
  t.equal(compile(subject, Type.Unknown())({ anything: 1n }), undefined)
})

void test('check keeps recursive schemas of the same name apart', async (t) => {
  const { compile } = createValidator()
  const list = (value: Type.TSchema): object =>
    Type.Cyclic({ Node: Type.Object({ value, next: Type.Optional(Type.Ref('Node')) }) }, 'Node')
  const integers = compile('one', list(Type.Integer()))
  const strings = compile('two', list(Type.String()))
  t.equal(integers({ value: 1, next: { value: 2 } }), undefined)
  t.equal(strings({ value: 'a', next: { value: 'b' } }), undefined)
  t.equal(integers({ value: 1, next: { value: 'b' } })?.path, 'next.value')
  const message = /schema of three: can't resolve reference Node/
  t.throws(
    () => compile('three', { $ref: 'Node' }),
    { name: 'TypeError', message },
    'nor does one see another',
  )
})

void test('check asks isRef about understudy:ref', async (t) => {
  const ref = { protocol: 'counter' }
  const { compile } = createValidator({
    isRef: (value, target) => (value as { protocol?: unknown } | null)?.protocol === target.protocol,
  })
  const check = compile(
    subject,
    Type.Object({ to: Type.Unsafe({ 'understudy:ref': { protocol: 'counter', messages: [] } }) }),
  )
  t.equal(check({ to: ref }), undefined)
  t.same(check({ to: { protocol: 'x' } }), {
    path: 'to',
    problem: 'is an object',
    expected: 'a ref to an actor of protocol "counter"',
  })
  t.ok(
    createValidator().compile(subject, { 'understudy:ref': { protocol: 'counter', messages: [] } })(ref),
    'without isRef nothing is a ref',
  )
})

void test('check holds on to no value that it refused', async (t) => {
  const schema = Type.Object({ by: Type.Integer() })
  const check = createValidator().compile(subject, schema)
  t.ok(check({ by: 'x' }))
  t.equal(check({ by: 1 }), undefined, 'and the next one is judged afresh')
})

const poolOptions = Object.freeze({
  type: 'object',
  properties: {
    size: wholeNumber(1, 100),
    timeoutMs: orInfinity(durationMs()),
    kind: { enum: ['round-robin', 'random'] },
    onFull: functionSchema,
    log: { type: 'object' },
  },
  required: ['size'],
  additionalProperties: false,
} as const)

void test('checkOptions takes options that fit, undefined fields and Infinity where it is allowed', async (t) => {
  checkOptions('pool "x"', poolOptions, { size: 1 })
  checkOptions('pool "x"', poolOptions, { size: 1, timeoutMs: undefined, kind: undefined })
  checkOptions('pool "x"', poolOptions, {
    size: 100,
    timeoutMs: Infinity,
    onFull: () => undefined,
    log: new Map(),
  })
  t.pass('none threw')
})

void test('checkOptions names the field, what was given and what is allowed', async (t) => {
  const cases: [unknown, string, string][] = [
    [{ size: 0 }, 'RangeError', 'option "size" is 0, expected an integer >= 1 and <= 100'],
    [{ size: 'x' }, 'TypeError', 'option "size" is "x", expected an integer >= 1 and <= 100'],
    [{ size: Number.NaN }, 'TypeError', 'option "size" is NaN, expected an integer >= 1 and <= 100'],
    [{ size: Infinity }, 'TypeError', 'option "size" is Infinity, expected an integer >= 1 and <= 100'],
    [{}, 'TypeError', 'option "size" is missing, expected an integer >= 1 and <= 100'],
    [{ size: undefined }, 'TypeError', 'option "size" is missing, expected an integer >= 1 and <= 100'],
    [
      { size: 1, timeoutMs: -1 },
      'RangeError',
      'option "timeoutMs" is -1, expected a number >= 0 or Infinity',
    ],
    [
      { size: 1, kind: 'fast' },
      'RangeError',
      'option "kind" is "fast", expected one of "round-robin", "random"',
    ],
    [{ size: 1, onFull: 1 }, 'TypeError', 'option "onFull" is 1, expected a function'],
    [
      { size: 1, timeout: 5 },
      'TypeError',
      'option "timeout" is not a field, expected one of "size", "timeoutMs", ',
    ],
    [{ size: 1, timeout: undefined }, 'TypeError', 'option "timeout" is not a field'],
    [7, 'TypeError', 'it must be an object, got 7'],
    [null, 'TypeError', 'it must be an object, got null'],
  ]
  for (const [value, name, text] of cases) {
    try {
      checkOptions('pool "x"', poolOptions, value)
      t.fail(`took ${JSON.stringify(value)}`)
    } catch (error) {
      t.equal((error as Error).name, name, text)
      t.ok(
        (error as Error).message.startsWith(`Cannot use the options of pool "x": ${text}`),
        (error as Error).message,
      )
    }
  }
})
