/**
 * Checks option objects where they enter: at construction, with an error that names the field, what was given and what
 * is allowed. A wrong option is a mistake in the program, so the errors are TypeError and RangeError, without a code.
 */
import type { Ajv, ValidateFunction } from 'ajv'
import { describeValue } from './schema-words.ts'
import { compileWith, mismatchText, newAjv, takeMismatch } from './validator.ts'

/**
 * The schema of an option object: plain JSON Schema of type `object`, kept in one constant per concern.
 *
 * Two keywords more than in messages: `'understudy:function': true` for a function, and
 * `'understudy:infinity': true` for Infinity (see `orInfinity`), which JSON Schema has no number for.
 */
export interface OptionsSchema {
  readonly type: 'object'
  readonly properties: Readonly<Record<string, object | boolean>>
  readonly required?: readonly string[]
  readonly additionalProperties: boolean
}

/** `schema`, or Infinity. */
export function orInfinity(schema: object): object {
  return { anyOf: [schema, { 'understudy:infinity': true }] }
}

/** A duration in milliseconds, at least `leastMs`. */
export function durationMs(leastMs = 0): object {
  return { type: 'number', minimum: leastMs }
}

/** A whole number from `least` up to `most`. */
export function wholeNumber(least = 0, most: number = Number.MAX_SAFE_INTEGER): object {
  return most === Number.MAX_SAFE_INTEGER
    ? { type: 'integer', minimum: least }
    : { type: 'integer', minimum: least, maximum: most }
}

/** A function. */
export const functionSchema: object = Object.freeze({ 'understudy:function': true })

// Keyed by the schema, which is a constant of its module: compiling once a process is all the state there is.
const compiled = new WeakMap<OptionsSchema, ValidateFunction>()
let shared: Ajv | undefined

/**
 * Checks `value` against `schema`. `name` is what the options are for, as in `Cannot use options of pool "x": ...`.
 * Fields that are undefined count as absent. About 100 ns once compiled; relations between fields are the caller's.
 *
 * @throws {TypeError} if a field is unknown, missing or of the wrong kind
 * @throws {RangeError} if a field is of the right kind but outside what is allowed
 */
export function checkOptions(name: string, schema: OptionsSchema, value: unknown): void {
  let validate = compiled.get(schema)
  if (validate === undefined) {
    validate = compileWith((shared ??= optionsAjv()), `the options of ${name}`, schema)
    compiled.set(schema, validate)
  }
  if (validate(definedFields(schema, value))) return
  // Of a union all branches' errors are there: a value that is of a right kind anywhere is out of range.
  const outOfRange = validate.errors?.some((error) => rangeKeywords.has(error.keyword)) === true
  const mismatch = takeMismatch(validate, value)
  const ErrorClass = outOfRange ? RangeError : TypeError
  const text =
    mismatch.path === ''
      ? `it must be ${mismatch.expected}, got ${describeValue(value)}`
      : mismatchText(mismatch).replace('field ', 'option ')
  throw new ErrorClass(`Cannot use the options of ${name}: ${text}`)
}

const rangeKeywords = new Set([
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'enum',
  'const',
  'pattern',
  'format',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
])

/** An undefined field is an absent one, also under `additionalProperties` and `required`. Copies only when it has to. */
function definedFields(schema: OptionsSchema, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const fields = Object.entries(value)
  // An unknown field is a spelling mistake even when its value is undefined.
  const kept = fields.filter(
    ([name, field]) => field !== undefined || !Object.hasOwn(schema.properties, name),
  )
  return kept.length === fields.length ? value : Object.fromEntries(kept)
}

function optionsAjv(): Ajv {
  const ajv = newAjv(() => false)
  ajv.addKeyword({
    keyword: 'understudy:function',
    schemaType: 'boolean',
    errors: false,
    validate: (wanted: boolean, value: unknown) => (typeof value === 'function') === wanted,
  })
  ajv.addKeyword({
    keyword: 'understudy:infinity',
    schemaType: 'boolean',
    errors: false,
    validate: (wanted: boolean, value: unknown) => (value === Infinity) === wanted,
  })
  return ajv
}
