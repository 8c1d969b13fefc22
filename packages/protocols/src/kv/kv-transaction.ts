/**
 * Operations on the state, alone and in transactions: first which of them run, and all that could be refused; then they run.
 * Comparisons are judged on the state before the whole, as etcd's; operations see what came before them.
 */
import { byteText } from '../service/byte-buffer.ts'
import type {
  KvCompare,
  KvDelete,
  KvGet,
  KvOperation,
  KvOperationResult,
  KvPut,
  KvRefusal,
  KvTransaction,
} from './kv-command.ts'
import { kvLimits } from './kv-limit.ts'
import { badRequest, leaseNotFound, quotaRefusal, revisionRefusal } from './kv-refusal.ts'
import { entryOf, versionBytes, type KvState, type LiveVersion } from './kv-state.ts'

/** Which operations run, once all that could be refused was looked at. */
export function planOperation(state: KvState, operation: KvOperation): PlannedOperation | KvRefusal {
  const budget: PlanBudget = { putBytes: 0, deletedBytes: 0 }
  const plan = planOne(state, operation, budget)
  if ('code' in plan) return plan
  if (budget.putBytes > 0 && state.bytes + budget.putBytes > state.quotaBytes) {
    return quotaRefusal(state, budget.putBytes)
  }
  if (budget.deletedBytes > kvLimits.answerBytesMax) {
    return badRequest(
      `what is deleted has ${budget.deletedBytes} bytes, an answer holds ${kvLimits.answerBytesMax}: delete without ` +
        `"previous", or less at a time`,
    )
  }
  return plan
}

function planOne(state: KvState, operation: KvOperation, budget: PlanBudget): PlannedOperation | KvRefusal {
  switch (operation.type) {
    case 'put': {
      const { lease = 0, key, value, previous = false } = operation
      if (lease !== 0 && !state.leases.has(lease)) return leaseNotFound(lease)
      budget.putBytes += versionBytes + key.length + value.length
      if (previous) budget.deletedBytes += state.get(key)?.value.length ?? 0
      return operation
    }
    case 'delete':
      if (operation.previous === true) {
        state.walk(operation, 0, ({ key, value }) => {
          budget.deletedBytes += key.length + value.length
          return true
        })
      }
      return operation
    case 'get':
      return revisionRefusal(state, operation) ?? operation
    case 'transact':
      return planTransaction(state, operation, budget)
  }
}

function planTransaction(
  state: KvState,
  transaction: KvTransaction,
  budget: PlanBudget,
): PlannedTransaction | KvRefusal {
  const succeeded = transaction.when.every((compare) => holds(compare, state.get(compare.key)))
  const operations: PlannedOperation[] = []
  for (const operation of succeeded ? transaction.then : transaction.otherwise) {
    const plan = planOne(state, operation, budget)
    if ('code' in plan) return plan
    operations.push(plan)
  }
  return { type: 'planned', succeeded, operations }
}

/** Does it. */
export function runPlan(
  state: KvState,
  plan: PlannedOperation,
  answer: AnswerBudget = { bytes: kvLimits.answerBytesMax },
): KvOperationResult {
  switch (plan.type) {
    case 'put': {
      const before = state.put(plan.key, byteText(plan.value), plan.lease ?? 0)
      return {
        type: 'put',
        previous: plan.previous === true && before !== undefined ? entryOf(before) : undefined,
      }
    }
    case 'delete': {
      const gone = state.delete(plan)
      return {
        type: 'delete',
        deleted: gone.length,
        previous: plan.previous === true ? gone.map(entryOf) : [],
      }
    }
    case 'get': {
      const result = state.read(plan, answer.bytes)
      for (const { key, value } of result.entries) answer.bytes -= key.length + value.length + 32
      return result
    }
    case 'planned': {
      const results = plan.operations.map((operation) => runPlan(state, operation, answer))
      return { type: 'transact', succeeded: plan.succeeded, results }
    }
  }
}

export interface PlannedTransaction {
  readonly type: 'planned'
  readonly succeeded: boolean
  readonly operations: readonly PlannedOperation[]
}

/** What runs of an operation. */
export type PlannedOperation = KvPut | KvDelete | KvGet | PlannedTransaction

interface PlanBudget {
  putBytes: number
  deletedBytes: number
}

/** What is left for the gets of one transaction. */
interface AnswerBudget {
  bytes: number
}

function holds({ target, operator, operand }: KvCompare, version: LiveVersion | undefined): boolean {
  if (target === 'value') {
    // A key that does not exist has no value: nothing is true of it but that it differs.
    if (version === undefined) return operator === '!='
    return compare(version.value, byteText(operand as Uint8Array), operator)
  }
  return compare(version?.[target] ?? 0, operand as number, operator)
}

function compare<T extends number | string>(left: T, right: T, operator: KvCompare['operator']): boolean {
  switch (operator) {
    case '=':
      return left === right
    case '!=':
      return left !== right
    case '<':
      return left < right
    case '>':
      return left > right
  }
}
