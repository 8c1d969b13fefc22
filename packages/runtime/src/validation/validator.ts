/**
 * Checks values against JSON Schema with ajv: what arrives from outside, and every message where the isolation says so.
 * The one importer of ajv.
 *
 * A schema is compiled when it is first used, on one shared Ajv (1 ms instead of 5), and from then on a check that
 * succeeds costs what ajv costs (67 ns for five fields) and allocates nothing. Words are made only for a failure.
 */
import { Ajv } from 'ajv'
import type { ErrorObject, ValidateFunction } from 'ajv'
import { findSchemaFault, join } from './schema-check.ts'
import { describeSchema, describeValue } from './schema-words.ts'

/** Why a value was refused. Reads as `${path} ${problem}, expected ${expected}`; `mismatchText` joins them. */
export interface Mismatch {
  /** The field, written like `items[3].price`; '' is the whole value. */
  readonly path: string
  /** What is wrong with it: `is "three"`, `is missing`, `is not a field`. */
  readonly problem: string
  /** What would be right: `an integer >= 1`. */
  readonly expected: string
}

/**
 * Checks one value: undefined when it fits.
 *
 * @throws {TypeError} at the first call, if the schema turns out not to compile; the message names subject and keyword
 */
export type Check = (value: unknown) => Mismatch | undefined

export interface ValidatorOptions {
  /**
   * Says whether `value` is a ref that serves as one to `target`; behind the keyword `'understudy:ref'`. Given by the
   * layer that knows refs. @default no value is a ref
   */
  readonly isRef?: IsRef | undefined
}

/** What a field wants a ref to: an actor of that protocol, or of one that takes all its messages. */
export interface RefTarget {
  readonly protocol: string
  readonly messages: readonly string[]
}

type IsRef = (value: unknown, target: RefTarget) => boolean

/** Compiles schemas to checks. One per system is enough; it keeps one Ajv and the checks it was asked for. */
export interface Validator {
  /**
   * The check of `schema`. `subject` stands in error messages: `message "inc" of protocol "counter"`.
   *
   * What is not JSON Schema (`Type.BigInt()`, a refinement) is found here; a misspelt keyword is found by ajv at the
   * first check, or at once by `compile`.
   *
   * @throws {TypeError} if the schema holds something that is not JSON Schema; the message names the field
   */
  readonly check: (subject: string, schema: object) => Check
  /** Like `check`, but compiled at once: about 1 ms. @throws {TypeError} if the schema does not compile */
  readonly compile: (subject: string, schema: object) => Check
}

/** Formats that `format` may name. Linear-time patterns, no look-behind: a message must not be able to stall a node. */
const formats: Readonly<Record<string, RegExp>> = {
  date: /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/,
  'date-time':
    /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/i,
  email: /^[^\s@"<>]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){0,8}$/i,
  uri: /^[a-z][a-z0-9+.-]{0,31}:\S{1,4096}$/i,
  uuid: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
}

/**
 * A validator with ajv in strict mode: a misspelt keyword, an unknown format or a wrong type name is an error and never
 * a check that silently passes. The first problem ends a check; values are never changed or coerced.
 *
 * Known beyond JSON Schema draft 07: `{ 'understudy:ref': { protocol: 'counter', messages: ['add'] } }`, and the formats date, date-time, email, uri, uuid.
 */
export function createValidator(options: ValidatorOptions = {}): Validator {
  const isRef = options.isRef ?? (() => false)
  let shared: Ajv | undefined
  const compileNow = (subject: string, schema: object): ValidateFunction => {
    return compileWith((shared ??= newAjv(isRef)), subject, schema)
  }
  return {
    check: (subject, schema) => {
      assertSchema(subject, schema)
      let validate: ValidateFunction | undefined
      return (value) => {
        validate ??= compileNow(subject, schema)
        return validate(value) ? undefined : takeMismatch(validate, value)
      }
    },
    compile: (subject, schema) => {
      assertSchema(subject, schema)
      const validate = compileNow(subject, schema)
      return (value) => (validate(value) ? undefined : takeMismatch(validate, value))
    },
  }
}

/** A mismatch as one clause: `field "by" is "three", expected an integer >= 1`. */
export function mismatchText(mismatch: Mismatch): string {
  const what = mismatch.path === '' ? 'the value' : `field "${mismatch.path}"`
  return `${what} ${mismatch.problem}, expected ${mismatch.expected}`
}

/** @throws {TypeError} if `schema` holds something that is not JSON Schema; the message names subject and field */
export function assertSchema(subject: string, schema: unknown): void {
  const fault = findSchemaFault(schema)
  if (fault === undefined) return
  const where = fault.field === '' ? '' : `field "${fault.field}": `
  throw new TypeError(`Cannot use the schema of ${subject}: ${where}${fault.problem}`)
}

/** Compiles on `ajv` and says whose schema it was that did not. Shared with the options of this folder. */
export function compileWith(ajv: Ajv, subject: string, schema: object): ValidateFunction {
  try {
    return ajv.compile(schema)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TypeError(`Cannot use the schema of ${subject}: ${reason}`, { cause: error })
  }
}

/** An Ajv as all of ours are set up; `isRef` answers for the keyword `understudy:ref`. */
export function newAjv(isRef: IsRef): Ajv {
  return new Ajv({
    strict: true,
    strictTuples: true,
    // Two kinds of number in one union are what a union is for.
    allowUnionTypes: true,
    allErrors: false,
    coerceTypes: false,
    useDefaults: false,
    removeAdditional: false,
    discriminator: false,
    // Errors carry the schema and the value they are about; costs nothing until there is one.
    verbose: true,
    // Against the meta-schema: 3 ms once, and `minimum: '1'` is refused instead of compared as a string.
    validateSchema: true,
    // Nothing is registered by its $id, so that two protocols may both have a recursive "Node".
    addUsedSchema: false,
    logger: false,
    formats: { ...formats },
    keywords: [
      {
        keyword: 'understudy:ref',
        schemaType: 'object',
        errors: false,
        validate: (target: RefTarget, value: unknown) => isRef(value, target),
      },
    ],
  })
}

/** The mismatch behind the errors that `validate` has just left, which are dropped: they hold on to the value. */
export function takeMismatch(validate: ValidateFunction, value: unknown): Mismatch {
  const errors = validate.errors ?? []
  validate.errors = null
  // With allErrors off the last error is the outermost: for a union, the union itself and not its last branch.
  const error = errors.at(-1)
  if (error === undefined)
    return { path: '', problem: `is ${describeValue(value)}`, expected: 'something else' }
  if (error.keyword === 'anyOf' || error.keyword === 'oneOf') return describeUnion(error, errors, value)
  return describeError(error, value)
}

/**
 * Of a union of objects the useful error is the one inside the branch that was meant: the only branch that failed by
 * more than its literal fields. When every branch failed by its literal, the literals are what was expected.
 */
function describeUnion(union: ErrorObject, errors: readonly ErrorObject[], root: unknown): Mismatch {
  const branches = errors.filter(
    (error) => error !== union && error.instancePath.startsWith(union.instancePath),
  )
  const atUnion = (error: ErrorObject): boolean => error.instancePath === union.instancePath
  const isLiteral = (error: ErrorObject): boolean => error.keyword === 'const' || error.keyword === 'enum'
  const meant = branches.filter((error) => !isLiteral(error) && !(atUnion(error) && error.keyword === 'type'))
  if (meant.length === 1 && meant[0] !== undefined) return describeError(meant[0], root)
  const first = branches[0]
  const sameLiteral = branches.every(
    (error) => isLiteral(error) && error.instancePath === first?.instancePath,
  )
  if (meant.length === 0 && first !== undefined && sameLiteral && !atUnion(first)) {
    const alternatives = branches.map((error): unknown => error.parentSchema)
    return { ...describeError(first, root), expected: describeSchema({ anyOf: alternatives }) }
  }
  return describeError(union, root)
}

function describeError(error: ErrorObject, root: unknown): Mismatch {
  const path = writtenPath(error.instancePath, root)
  const parent: unknown = error.parentSchema
  const properties = Object(Object(parent).properties) as Readonly<Record<string, unknown>>
  switch (error.keyword) {
    case 'required': {
      const name = String(error.params['missingProperty'])
      const expected = Object.hasOwn(properties, name) ? describeSchema(properties[name]) : 'a value'
      return { path: join(path, step(name)), problem: 'is missing', expected }
    }
    case 'additionalProperties': {
      const name = String(error.params['additionalProperty'])
      return { path: join(path, step(name)), problem: 'is not a field', expected: fieldNames(properties) }
    }
    case 'additionalItems':
    case 'minItems':
    case 'maxItems':
      return { path, problem: `is ${describeValue(error.data)}`, expected: describeSchema(parent) }
    case 'uniqueItems': {
      const { i, j } = error.params as { readonly i: number; readonly j: number }
      return { path, problem: `has the same item at ${j} and ${i}`, expected: 'an array without repeats' }
    }
    case 'not':
      return { path, problem: `is ${describeValue(error.data)}`, expected: 'something else' }
    case 'false schema':
      return { path, problem: `is ${describeValue(error.data)}`, expected: 'no value' }
    default:
      return { path, problem: `is ${describeValue(error.data)}`, expected: describeSchema(parent) }
  }
}

function fieldNames(properties: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(properties)
  if (names.length === 0) return 'no fields'
  const listed = names.slice(0, 20).map((name) => `"${name}"`)
  return `one of ${listed.join(', ')}${names.length > 20 ? ` and ${names.length - 20} more` : ''}`
}

/** A JSON pointer as people write paths. The value tells an index from a field that is called like one. */
function writtenPath(pointer: string, root: unknown): string {
  let path = ''
  let at: unknown = root
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    path = join(path, Array.isArray(at) ? `[${name}]` : step(name))
    at = (Object(at) as Readonly<Record<string, unknown>>)[name]
  }
  return path
}

function step(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : `[${JSON.stringify(name)}]`
}
