/**
 * What a schema must not hold, found before ajv sees it: things of TypeBox that are TypeScript but not JSON Schema, and
 * checks that ajv would skip without a word.
 *
 * TypeBox 1.x marks its schemas with properties that are not enumerable (`~kind`, `~optional`, `~refine`, `~codec`), so
 * that they print as plain JSON Schema. Ajv never sees those marks: a refinement would compile and never run.
 */
import { isSchemaObject } from './schema-words.ts'
import type { SchemaObject } from './schema-words.ts'

/** A schema that cannot be used. `field` is its path, written like `items[].price`; '' is the whole value. */
export interface SchemaFault {
  readonly field: string
  readonly problem: string
}

const depthMax = 64

const notJson: Readonly<Record<string, string>> = {
  bigint: 'a bigint is not JSON Schema; use Type.Integer(), or Type.String() for numbers beyond 2^53',
  Date: 'a Date is not JSON Schema; use Type.Number() with milliseconds since 1970, or Type.String()',
  date: 'a Date is not JSON Schema; use Type.Number() with milliseconds since 1970, or Type.String()',
  function: 'a function is not JSON Schema and cannot be sent; send plain data, or a ref to an actor',
  constructor: 'a constructor is not JSON Schema and cannot be sent; send plain data, or a ref to an actor',
  symbol: 'a symbol is not JSON Schema and cannot be sent; use Type.Literal() or Type.String()',
  undefined:
    'undefined is not JSON Schema; use Type.Optional() for a field that may be absent, or Type.Null()',
  void: 'void is not JSON Schema; use Type.Optional() for a field that may be absent, or Type.Null()',
  promise: 'a promise is not JSON Schema and cannot be sent; send what it resolves to',
}
const markedKinds = new Set(['Date', 'Promise', 'Iterator', 'AsyncIterator'])

/** The first thing in `schema` that cannot be checked, or undefined. O(size of the schema); reads no clock, keeps nothing. */
export function findSchemaFault(schema: unknown): SchemaFault | undefined {
  return visit(schema, '', 0)
}

function visit(schema: unknown, field: string, depth: number): SchemaFault | undefined {
  if (typeof schema === 'boolean') return undefined
  if (!isSchemaObject(schema)) return { field, problem: `it must be a schema, got ${printable(schema)}` }
  if (depth > depthMax) return { field, problem: `it is nested deeper than ${depthMax} levels; use a $ref` }
  const own = visitMarks(schema, field)
  if (own !== undefined) return own
  for (const { below, suffix } of subschemas(schema)) {
    const fault = visit(below, join(field, suffix), depth + 1)
    if (fault !== undefined) return fault
  }
  return undefined
}

function visitMarks(schema: SchemaObject, field: string): SchemaFault | undefined {
  const { type } = schema
  const kind = schema['~kind']
  const problem =
    (typeof type === 'string' && Object.hasOwn(notJson, type) ? notJson[type] : undefined) ??
    (typeof kind === 'string' && markedKinds.has(kind)
      ? (notJson[kind] ?? `a ${kind} is not JSON Schema`)
      : undefined)
  if (problem !== undefined) return { field, problem }
  if ('~refine' in schema) {
    return { field, problem: 'Type.Refine() would never run: a message is checked by its JSON Schema alone' }
  }
  if ('~codec' in schema) {
    return {
      field,
      problem: 'Type.Codec() would never run: a message is sent as it is; convert it in the handler',
    }
  }
  return undefined
}

/** A schema inside another, and what it adds to the path of the value that it describes. */
interface Subschema {
  readonly below: unknown
  readonly suffix: string
}

function* subschemas(schema: SchemaObject): Generator<Subschema> {
  for (const keyword of ['properties', '$defs', 'definitions', 'patternProperties']) {
    const map = schema[keyword]
    if (!isSchemaObject(map)) continue
    for (const [name, below] of Object.entries(map))
      yield { below, suffix: keyword === 'properties' ? name : '*' }
  }
  const { items } = schema
  if (Array.isArray(items)) {
    for (const [index, below] of items.entries()) yield { below, suffix: `[${index}]` }
  } else if (items !== undefined) {
    yield { below: items, suffix: '[]' }
  }
  for (const keyword of ['anyOf', 'oneOf', 'allOf']) {
    const list = schema[keyword]
    if (Array.isArray(list)) for (const below of list) yield { below, suffix: '' }
  }
  for (const keyword of ['not', 'if', 'then', 'else', 'contains', 'propertyNames']) {
    if (schema[keyword] !== undefined) yield { below: schema[keyword], suffix: '' }
  }
  const rest = schema['additionalProperties']
  if (rest !== undefined) yield { below: rest, suffix: '*' }
}

/** Paths as people write them: `items[3].price`. */
export function join(path: string, step: string): string {
  if (step === '') return path
  if (path === '' || step.startsWith('[')) return path + step
  return `${path}.${step}`
}

function printable(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value
}
