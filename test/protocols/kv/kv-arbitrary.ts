/** Random commands over few keys, leases and revisions, so that they meet. */
import type { KvCommand, KvCompare, KvGet, KvOperation, KvRange } from './kv-source.ts'
import fc from 'fast-check'

const key = fc.constantFrom('a', 'aa', 'b', 'ba', 'c', 'é', '\u{1f600}')
const bound = fc.oneof(key, fc.constant(''), fc.constant('az'))
const value = fc.uint8Array({ maxLength: 3 })
const lease = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 3 }) },
)
const flag = fc.constantFrom(undefined, false, true)
const revision = fc.constantFrom(undefined, 0, 1, 2, 3, 5, 8, 13, 1_000)

const range: fc.Arbitrary<KvRange> = fc.oneof(
  fc.record({ from: key }),
  fc.record({ from: fc.oneof(bound, fc.constant('')), to: bound }),
)
const put = fc.record({ type: fc.constant('put' as const), key, value, lease, previous: flag })
const remove = fc.tuple(range, flag).map(([one, previous]) => ({ ...one, type: 'delete' as const, previous }))
export const arbitraryGet: fc.Arbitrary<KvGet> = fc
  .tuple(
    range,
    fc.record({
      revision,
      limit: fc.constantFrom(undefined, 0, 1, 2),
      keysOnly: flag,
      countOnly: flag,
      reverse: flag,
      minModRevision: revision,
      maxModRevision: revision,
    }),
  )
  .map(([one, fields]) => ({ ...one, ...fields, type: 'get' as const }))
const operator = fc.constantFrom('=' as const, '!=' as const, '<' as const, '>' as const)
const compare: fc.Arbitrary<KvCompare> = fc.oneof(
  fc.record({ key, target: fc.constant('value' as const), operator, operand: value }),
  fc.record({
    key,
    target: fc.constantFrom(
      'version' as const,
      'createRevision' as const,
      'modRevision' as const,
      'lease' as const,
    ),
    operator,
    operand: fc.integer({ min: 0, max: 5 }),
  }),
)
const { operation } = fc.letrec<{ operation: KvOperation; transact: KvOperation }>((tie) => ({
  operation: fc.oneof({ maxDepth: 2 }, put, arbitraryGet, remove, tie('transact')),
  transact: fc.record({
    type: fc.constant('transact' as const),
    when: fc.array(compare, { maxLength: 2 }),
    then: fc.array(tie('operation'), { maxLength: 4 }),
    otherwise: fc.array(tie('operation'), { maxLength: 3 }),
  }),
}))
const id = fc.integer({ min: 1, max: 3 })
const others: fc.Arbitrary<KvCommand> = fc.oneof(
  fc.record({
    type: fc.constant('lease-grant' as const),
    id: fc.integer({ min: 0, max: 3 }),
    ttlMs: fc.integer({ min: 1, max: 50 }),
  }),
  fc.record({ type: fc.constant('lease-keep-alive' as const), id }),
  fc.record({ type: fc.constant('lease-revoke' as const), id }),
  fc.record({ type: fc.constant('lease-expire' as const), ids: fc.array(id, { maxLength: 3 }) }),
  fc.record({ type: fc.constant('compact' as const), revision: fc.integer({ min: 1, max: 30 }) }),
)
export const arbitraryCommand: fc.Arbitrary<KvCommand> = fc.oneof(
  { weight: 4, arbitrary: put },
  { weight: 3, arbitrary: remove },
  { weight: 2, arbitrary: operation.filter((one) => one.type === 'transact') as fc.Arbitrary<KvCommand> },
  { weight: 4, arbitrary: others },
)

/** A command with how its entry differs from the one before. */
export interface Step {
  readonly command: KvCommand
  readonly newTerm: boolean
  readonly passMs: number
}

export const arbitrarySteps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    command: arbitraryCommand,
    newTerm: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    passMs: fc.integer({ min: 0, max: 20 }),
  }),
  // By default arrays are short, and no key would be put, deleted, put again and compacted.
  { maxLength: 60, size: 'max' },
)
