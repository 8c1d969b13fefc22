/**
 * Schemas and values in words, for error messages. Runs only when something is already wrong; bounded in its output.
 */

/** A schema as it is handled here: plain data, whatever made it. */
export type SchemaObject = Readonly<Record<string, unknown>>

const valueCharsMax = 60
const alternativesMax = 8

/** What a schema allows, as a noun phrase: `an integer >= 1`, `one of "a", "b"`, `an array of strings`. */
export function describeSchema(schema: unknown): string {
  if (!isSchemaObject(schema)) return schema === false ? 'nothing' : 'anything'
  if ('const' in schema) return describeValue(schema['const'])
  if (Array.isArray(schema['enum'])) return oneOf(schema['enum'].map(describeValue))
  const union = schema['anyOf'] ?? schema['oneOf']
  if (Array.isArray(union)) {
    const branches = [...new Set(union.map(describeSchema))]
    return union.every((branch) => isSchemaObject(branch) && 'const' in branch)
      ? oneOf(branches)
      : either(branches)
  }
  const ref = schema['understudy:ref']
  if (isSchemaObject(ref)) return `a ref to an actor of protocol "${String(ref['protocol'])}"`
  if (schema['understudy:function'] === true) return 'a function'
  if (schema['understudy:infinity'] === true) return 'Infinity'
  if (Array.isArray(schema['allOf'])) return schema['allOf'].map(describeSchema).join(' and ')
  return describeTyped(schema)
}

/** A value on one line, cut to 60 characters: for messages, not for parsing. */
export function describeValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return cut(JSON.stringify(value))
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'bigint':
      return cut(`${value}n`)
    case 'function':
      return 'a function'
    case 'symbol':
      return 'a symbol'
    case 'boolean':
    case 'undefined':
      return String(value)
    case 'object':
      if (value === null) return 'null'
      if (Array.isArray(value))
        return value.length === 0 ? 'an empty array' : `an array of length ${value.length}`
      return describeObject(value)
  }
}

/** The same, said so that `"2"` is not taken for `2`: `the string "2"`, `the number 2`. */
export function describeGiven(value: unknown): string {
  const said = describeValue(value)
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint'
    ? `the ${typeof value} ${said}`
    : said
}

export function isSchemaObject(schema: unknown): schema is SchemaObject {
  return typeof schema === 'object' && schema !== null && !Array.isArray(schema)
}

function describeTyped(schema: SchemaObject): string {
  const { type } = schema
  switch (type) {
    case 'integer':
      return `an integer${range(schema)}`
    case 'number':
      return `a number${range(schema)}`
    case 'string':
      return `a string${stringRules(schema)}`
    case 'boolean':
      return 'true or false'
    case 'null':
      return 'null'
    case 'array': {
      const { items } = schema
      const of = isSchemaObject(items) ? ` of ${plural(describeSchema(items))}` : ''
      return `an array${of}${bounds(schema, 'minItems', 'maxItems', 'items')}`
    }
    case 'object':
      return `an object${bounds(schema, 'minProperties', 'maxProperties', 'fields')}`
    default:
      return typeof type === 'string' ? `a value of type ${type}` : 'something else'
  }
}

function range(schema: SchemaObject): string {
  const rules: string[] = []
  if (schema['minimum'] !== undefined) rules.push(`>= ${String(schema['minimum'])}`)
  if (schema['exclusiveMinimum'] !== undefined) rules.push(`> ${String(schema['exclusiveMinimum'])}`)
  if (schema['maximum'] !== undefined) rules.push(`<= ${String(schema['maximum'])}`)
  if (schema['exclusiveMaximum'] !== undefined) rules.push(`< ${String(schema['exclusiveMaximum'])}`)
  if (schema['multipleOf'] !== undefined) rules.push(`in steps of ${String(schema['multipleOf'])}`)
  return rules.length === 0 ? '' : ` ${rules.join(' and ')}`
}

function stringRules(schema: SchemaObject): string {
  const length = bounds(schema, 'minLength', 'maxLength', 'characters')
  if (schema['format'] !== undefined) return `${length} in the format "${String(schema['format'])}"`
  if (schema['pattern'] !== undefined) return `${length} that matches ${cut(String(schema['pattern']))}`
  return length
}

function bounds(schema: SchemaObject, least: string, most: string, noun: string): string {
  const low = schema[least]
  const high = schema[most]
  if (low !== undefined && high !== undefined) return ` of ${String(low)} to ${String(high)} ${noun}`
  if (low !== undefined) return ` of at least ${String(low)} ${noun}`
  return high === undefined ? '' : ` of at most ${String(high)} ${noun}`
}

function describeObject(value: object): string {
  const prototype: unknown = Object.getPrototypeOf(value)
  const name: unknown = prototype === null ? '' : Object(prototype).constructor?.name
  return typeof name === 'string' && name !== '' && name !== 'Object'
    ? cut(`an instance of ${name}`)
    : 'an object'
}

function plural(words: string): string {
  const article = /^an? (\w+)/.exec(words)
  return article?.[1] === undefined ? words : `${article[1]}s${words.slice(article[0].length)}`
}

function oneOf(words: readonly string[]): string {
  return words.length === 1 ? String(words[0]) : `one of ${someOf(words, ', ')}`
}

function either(words: readonly string[]): string {
  return someOf(words, ' or ')
}

function someOf(words: readonly string[], separator: string): string {
  if (words.length <= alternativesMax) return words.join(separator)
  return `${words.slice(0, alternativesMax).join(separator)} and ${words.length - alternativesMax} more`
}

function cut(text: string): string {
  return text.length <= valueCharsMax ? text : `${text.slice(0, valueCharsMax - 3)}...`
}
