/**
 * Finds the value that would not survive the codec, so that the error at the sender names it: "works locally,
 * fails in the cluster" is the oldest complaint about actors.
 */
import { className, isForbiddenKey, valueDepthMax } from './cbor-writer.ts'
import { EncodableRef } from './encodable-ref.ts'

/** Where and what, for an error message: `items[3].price` is `a Date`. */
export interface Uncodable {
  /** Path from the value that was asked about; empty when it is that value itself. */
  readonly path: string
  /** What stands there, with its article: `a function`, `a Map`, `a string with half of a surrogate pair`. */
  readonly what: string
}

const loneSurrogate = /\p{Surrogate}/u
const bigintMin = -(2n ** 64n)
const bigintMax = 2n ** 64n - 1n
const identifier = /^[A-Za-z_$][\w$]*$/

/**
 * The first value in `value` that `encode` refuses, in the order in which it writes; undefined when all of it
 * survives. `depthMax` is how deep the value may nest. Walks the whole value; allocates only along the path
 * to a find.
 */
export function uncodable(value: unknown, depthMax: number = valueDepthMax): Uncodable | undefined {
  const found = find(value, depthMax, [])
  // Steps are joined as `.a[0].b`; a path begins without the dot.
  return found?.path.startsWith('.') ? { path: found.path.slice(1), what: found.what } : found
}

function find(value: unknown, depthLeft: number, ancestors: object[]): Uncodable | undefined {
  switch (typeof value) {
    case 'undefined':
    case 'boolean':
    case 'number':
      return undefined
    case 'string':
      return loneSurrogate.test(value) ? here('a string with half of a surrogate pair') : undefined
    case 'bigint':
      return value < bigintMin || value > bigintMax ? here('a bigint outside 64 bits') : undefined
    case 'object':
      return value === null || value instanceof Uint8Array ? undefined : findIn(value, depthLeft, ancestors)
    default:
      return here(`a ${typeof value}`)
  }
}

function findIn(value: object, depthLeft: number, ancestors: object[]): Uncodable | undefined {
  if (ancestors.includes(value)) return here('a value that contains itself')
  if (depthLeft <= 0) return here('a value nested too deeply')
  ancestors.push(value)
  const found = findInside(value, depthLeft, ancestors)
  ancestors.pop()
  return found
}

function findInside(value: object, depthLeft: number, ancestors: object[]): Uncodable | undefined {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const found = find(value[index], depthLeft - 1, ancestors)
      if (found !== undefined) return under(`[${index}]`, found)
    }
    return undefined
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) {
    if (!(value instanceof EncodableRef)) return here(describe(value))
    const found = find(value.refParts(), 2, ancestors)
    return found === undefined ? undefined : here(`a ref that holds ${found.what}`)
  }
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue
    if (isForbiddenKey(key)) return under(step(key), here(`the key "${key}"`))
    if (loneSurrogate.test(key)) return under(step(key), here('a key with half of a surrogate pair'))
    const found = find(item, depthLeft - 1, ancestors)
    if (found !== undefined) return under(step(key), found)
  }
  return undefined
}

function describe(value: object): string {
  const name = className(value)
  return /^[A-Z]\w*$/.test(name) && Object.prototype.toString.call(value) === `[object ${name}]`
    ? `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`
    : `an instance of ${name}`
}

function step(key: string): string {
  return identifier.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
}

function here(what: string): Uncodable {
  return { path: '', what }
}

function under(prefix: string, found: Uncodable): Uncodable {
  return { path: prefix + found.path, what: found.what }
}
