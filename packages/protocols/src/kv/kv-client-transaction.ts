/** Requests as people write them, made into what the store takes: texts become their UTF-8 bytes. */
import type {
  KvClientOperation,
  KvClientTransaction,
  KvExpected,
  KvPutOptions,
  KvValue,
} from './kv-client.ts'
import type { KvCompare, KvOperation, KvPut, KvTransaction } from './kv-command.ts'

function bytesFrom(value: KvValue): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value
}

export function putOf(key: string, value: KvValue, { lease = 0, previous }: KvPutOptions): KvPut {
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
