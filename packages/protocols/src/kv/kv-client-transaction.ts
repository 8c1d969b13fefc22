/** Requests as people write them, made into what the store takes: texts become their UTF-8 bytes. */
import { checkValue } from '../service/value-check.ts'
import type { KvCallOptions } from './kv-client-options.ts'
import type { KvCompare, KvOperation, KvPut, KvTransaction } from './kv-command.ts'
import type { KvLease } from './kv-lease.ts'

/** A string stands for its UTF-8 bytes. */
export type KvValue = string | Uint8Array

export interface KvPutOptions extends KvCallOptions {
  /** The key goes when the lease does. @default none */
  readonly lease?: number | KvLease | undefined
  /** Answer with what was there before. @default false */
  readonly previous?: boolean | undefined
}

/** A transaction as people write it: values may be strings. */
export type KvClientOperation =
  | (Omit<KvPut, 'value'> & { readonly value: KvValue })
  | Exclude<KvOperation, KvPut | KvTransaction>
  | (KvClientTransaction & { readonly type: 'transact' })

export interface KvClientTransaction {
  /** All must hold. @default none: `then` */
  readonly when?: readonly (Omit<KvCompare, 'operand'> & { readonly operand: number | KvValue })[] | undefined
  readonly then?: readonly KvClientOperation[] | undefined
  readonly otherwise?: readonly KvClientOperation[] | undefined
}

/** What a key must be for `compareAndSet`: absent, of this revision, or of this value. */
export type KvExpected = undefined | { readonly modRevision: number } | { readonly value: KvValue }

/** @throws {TypeError} it is neither, or no Unicode */
function bytesFrom(value: KvValue): Uint8Array {
  checkValue(value)
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value
}

/** @throws {TypeError} it is no string */
export function checkKey(key: string): void {
  if (typeof key === 'string') return
  throw new TypeError(`A key is a string, got ${key === null ? 'null' : typeof key}`)
}

/** @throws {TypeError} the key or the value is of a wrong type */
export function putOf(key: string, value: KvValue, { lease = 0, previous }: KvPutOptions): KvPut {
  checkKey(key)
  return {
    type: 'put',
    key,
    value: bytesFrom(value),
    lease: typeof lease === 'number' ? lease : lease.id,
    previous,
  }
}

/** What `compareAndSet` compares. */
export function comparisonOf(key: string, expected: KvExpected): KvCompare {
  checkKey(key)
  if (expected === undefined) return { key, target: 'version', operator: '=', operand: 0 }
  if ('value' in expected) return { key, target: 'value', operator: '=', operand: bytesFrom(expected.value) }
  return { key, target: 'modRevision', operator: '=', operand: expected.modRevision }
}

/** A transaction with bytes for its texts. */
export function transactionOf({ when = [], then = [], otherwise = [] }: KvClientTransaction): KvTransaction {
  return {
    type: 'transact',
    when: when.map((compare) => ({
      ...compare,
      operand: typeof compare.operand === 'number' ? compare.operand : bytesFrom(compare.operand),
    })),
    // oxlint-disable-next-line unicorn/no-thenable -- a list is no function: nobody takes this for a promise
    then: then.map(operationOf),
    otherwise: otherwise.map(operationOf),
  }
}

function operationOf(operation: KvClientOperation): KvOperation {
  switch (operation.type) {
    case 'put':
      return { ...operation, value: bytesFrom(operation.value) }
    case 'transact':
      return transactionOf(operation)
    case 'delete':
    case 'get':
      return operation
  }
}
