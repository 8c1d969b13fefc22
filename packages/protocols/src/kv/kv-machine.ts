/**
 * The key-value store as a state machine: etcd's v3 model on a replicated log. Pure and deterministic: what it answers
 * follows from the commands, their terms and their times alone.
 *
 * Leases run by the log's time. A term that brings its first command here starts every lease anew with its whole TTL: what
 * the old leader still granted and nobody heard of, and the time without a leader, are then nobody's loss (R12, etcd's rule on
 * promotion). It is a rule on commands and not on elections, so all members apply it at the same entry. Until a leader has
 * proposed something, an empty `lease-expire` if it must, nothing expires in its term.
 *
 * Comparisons of a transaction, those of transactions inside it too, are judged on the state before it (as etcd's); its
 * operations then run in order, and see what came before them. Whatever can be refused is refused before anything is done.
 */
import type { AppliedCommand, StateMachine } from '../core/state-machine.ts'
import { byteText } from './kv-buffer.ts'
import { decodeKvCommand, PutReader, putTag } from './kv-codec.ts'
import type {
  KvCommand,
  KvCompare,
  KvDelete,
  KvEvent,
  KvGet,
  KvOperation,
  KvOperationResult,
  KvPut,
  KvRefusal,
  KvResult,
  KvTransaction,
} from './kv-command.ts'
import { commandProblem, getProblem, kvLimits } from './kv-limit.ts'
import { KvSnapshotWalk, restoreKvState, snapshotChunkBytes } from './kv-snapshot.ts'
import {
  entryOf,
  eventOf,
  KvState,
  KvVersion,
  leaseBytes,
  versionBytes,
  type LiveVersion,
} from './kv-state.ts'

/** What the store is like, as plain data. */
export interface KvMachineStatus {
  readonly revision: number
  /** Reads below it are refused; 0 when nothing was compacted. */
  readonly compactRevision: number
  /** Keys with any version kept, deleted ones too. */
  readonly keys: number
  /** As the quota counts. */
  readonly bytes: number
  readonly quotaBytes: number
  readonly leases: number
  /** Log time of the last command. */
  readonly timeMs: number
}

/** See the head of this file. */
export class KvMachine implements StateMachine<KvResult> {
  #state = new KvState()
  #walk: KvSnapshotWalk | undefined
  readonly #put = new PutReader()
  #listener: (() => void) | undefined

  get revision(): number {
    return this.#state.revision
  }

  /** The state, to be read and not changed: for watches. Another object after `restore`. */
  get state(): KvState {
    return this.#state
  }

  /** Calls `listener`, the only one, behind each command that made a revision, and behind `restore`. */
  onChange(listener: () => void): void {
    this.#listener = listener
  }

  /** Never throws: bytes that are no command are refused with KV_BAD_REQUEST, the same on every member. Hot. */
  apply(command: AppliedCommand): KvResult {
    const state = this.#state
    state.timeMs = Math.floor(command.timeMs)
    if (command.term !== state.term) {
      state.term = command.term
      state.termStartMs = state.timeMs
    }
    const before = state.revision
    const result = command.data[0] === putTag ? this.#applyPut(command.data) : this.#applyOther(command)
    if (state.revision !== before) this.#listener?.()
    return result
  }

  /** Answers a get as of now, on this member. Refuses what the state cannot answer; never throws. */
  read(get: unknown, answerBytesMax: number = kvLimits.answerBytesMax): KvResult {
    const problem = getProblem(get)
    if (problem !== undefined) return this.#badRequest(problem)
    const checked = get as KvGet
    const refusal = this.#revisionRefusal(checked)
    if (refusal !== undefined) return this.#refuse(refusal)
    return this.#done(this.#state.read(checked, answerBytesMax))
  }

  /**
   * What `revision` changed, in the order of its operations, with what was there before; `undefined` when that is compacted
   * or not made yet.
   */
  eventsAt(revision: number): readonly KvEvent[] | undefined {
    const changes = this.#state.changesOf(revision)
    if (changes === undefined) return undefined
    return changes instanceof KvVersion ? [eventOf(changes)] : changes.map(eventOf)
  }

  /** Ids of leases that are over at this log time, at most `kvLimits.expireMax`, longest over first. O(leases). */
  leasesOver(timeMs: number): readonly number[] {
    const state = this.#state
    const over = [...state.leases.values()].filter((lease) => state.leaseEndMs(lease) <= timeMs)
    over.sort((a, b) => state.leaseEndMs(a) - state.leaseEndMs(b) || a.id - b.id)
    return over.slice(0, kvLimits.expireMax).map(({ id }) => id)
  }

  status(): KvMachineStatus {
    const { revision, compactRevision, keys, bytes, quotaBytes, leases, timeMs } = this.#state
    return { revision, compactRevision, keys: keys.size, bytes, quotaBytes, leases: leases.size, timeMs }
  }

  /** `chunkBytes`: about how large a chunk is; one value more at most. */
  snapshot(chunkBytes: number = snapshotChunkBytes): Iterator<Uint8Array> {
    const walk = new KvSnapshotWalk(this.#state, chunkBytes, () => {
      if (this.#walk === walk) this.#walk = undefined
    })
    this.#walk = walk
    return walk
  }

  /** @throws {RangeError} (as a rejection) when the chunks are not what `snapshot` wrote; the state is then as before */
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.#state = await restoreKvState(chunks)
    this.#listener?.()
  }

  // ---- Commands ------------------------------------------------------------------------------------------------

  #applyPut(data: Uint8Array): KvResult {
    const put = this.#put
    try {
      put.read(data)
    } catch {
      return this.#badRequest('the bytes are no command')
    }
    const { key, value, lease } = put
    if (key.length === 0 || key.length > kvLimits.keyLengthMax || value.length > kvLimits.valueBytesMax) {
      put.value = ''
      return this.#badRequest(
        `a key has 1 to ${kvLimits.keyLengthMax} characters, a value at most ${kvLimits.valueBytesMax} bytes`,
      )
    }
    const state = this.#state
    const bytes = versionBytes + key.length + value.length
    if (state.bytes + bytes > state.quotaBytes) return this.#refuse(this.#quotaRefusal(bytes))
    if (lease !== 0 && !state.leases.has(lease)) return this.#refuse(leaseNotFound(lease))
    const before = state.put(key, value, lease)
    put.value = ''
    state.commit()
    const previous = put.previous && before !== undefined ? entryOf(before) : undefined
    return this.#done({ type: 'put', previous })
  }

  #applyOther({ data, index }: AppliedCommand): KvResult {
    let command: unknown
    try {
      command = decodeKvCommand(data)
    } catch {
      return this.#badRequest('the bytes are no command')
    }
    const problem = commandProblem(command)
    if (problem !== undefined) return this.#badRequest(problem)
    const result = this.#carryOut(command as KvCommand, index)
    this.#state.commit()
    // What was answered before the commit has the revision before it.
    return result.ok ? { ...result, revision: this.#state.revision } : result
  }

  #carryOut(command: KvCommand, index: number): KvResult {
    const state = this.#state
    switch (command.type) {
      case 'put':
      case 'delete':
      case 'transact': {
        const plan = this.#plan(command)
        if ('code' in plan) return this.#refuse(plan)
        return this.#done(this.#run(plan))
      }
      case 'lease-grant':
        return this.#grant(command.id, command.ttlMs, index)
      case 'lease-keep-alive': {
        const lease = state.leases.get(command.id)
        if (lease === undefined) return this.#refuse(leaseNotFound(command.id))
        lease.renewedUntilMs = Math.max(lease.renewedUntilMs, state.timeMs + lease.ttlMs)
        return this.#lease(lease.id, lease.ttlMs)
      }
      case 'lease-revoke': {
        const lease = state.leases.get(command.id)
        if (lease === undefined) return this.#refuse(leaseNotFound(command.id))
        state.revoke(lease)
        return this.#lease(lease.id, lease.ttlMs)
      }
      case 'lease-expire':
        for (const id of command.ids) {
          const lease = state.leases.get(id)
          // It was kept alive after the leader looked, or a new term gave it more.
          if (lease !== undefined && state.leaseEndMs(lease) <= state.timeMs) state.revoke(lease)
        }
        return this.#done({ type: 'done' })
      case 'compact':
        return this.#compact(command.revision)
      case 'set-quota':
        state.quotaBytes = command.bytes
        return this.#done({ type: 'done' })
    }
  }

  #grant(wanted: number, ttlMs: number, index: number): KvResult {
    const state = this.#state
    if (wanted !== 0 && state.leases.has(wanted)) {
      const message = `There is a lease ${wanted} already: grant with id 0, and the store chooses a free one`
      return this.#refuse({ code: 'KV_LEASE_EXISTS', message })
    }
    if (state.bytes + leaseBytes > state.quotaBytes) return this.#refuse(this.#quotaRefusal(leaseBytes))
    let id = wanted === 0 ? index : wanted
    while (state.leases.has(id)) id++
    state.grant(id, ttlMs)
    return this.#lease(id, ttlMs)
  }

  #compact(revision: number): KvResult {
    const state = this.#state
    if (revision > state.revision) {
      const message = `Cannot compact at revision ${revision}: the newest is ${state.revision}`
      return this.#refuse({ code: 'KV_FUTURE_REVISION', message })
    }
    if (revision <= state.compactRevision) return this.#refuse(compacted(revision, state.compactRevision))
    this.#walk?.detach()
    state.compact(revision)
    return this.#done({ type: 'done' })
  }

  // ---- Transactions --------------------------------------------------------------------------------------------

  /** Which operations run, once all that could be refused was looked at. */
  #plan(operation: KvOperation): PlannedOperation | KvRefusal {
    const budget: PlanBudget = { putBytes: 0, deletedBytes: 0 }
    const plan = this.#planOne(operation, budget)
    if ('code' in plan) return plan
    const state = this.#state
    if (budget.putBytes > 0 && state.bytes + budget.putBytes > state.quotaBytes) {
      return this.#quotaRefusal(budget.putBytes)
    }
    if (budget.deletedBytes > kvLimits.answerBytesMax) {
      return badRequest(
        `what is deleted has ${budget.deletedBytes} bytes, an answer holds ${kvLimits.answerBytesMax}: delete without ` +
          `"previous", or less at a time`,
      )
    }
    return plan
  }

  #planOne(operation: KvOperation, budget: PlanBudget): PlannedOperation | KvRefusal {
    const state = this.#state
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
        return this.#revisionRefusal(operation) ?? operation
      case 'transact':
        return this.#planTransaction(operation, budget)
    }
  }

  #planTransaction(transaction: KvTransaction, budget: PlanBudget): PlannedTransaction | KvRefusal {
    const succeeded = transaction.when.every((compare) => holds(compare, this.#state.get(compare.key)))
    const operations: PlannedOperation[] = []
    for (const operation of succeeded ? transaction.then : transaction.otherwise) {
      const plan = this.#planOne(operation, budget)
      if ('code' in plan) return plan
      operations.push(plan)
    }
    return { type: 'planned', succeeded, operations }
  }

  #run(plan: PlannedOperation, answer: AnswerBudget = { bytes: kvLimits.answerBytesMax }): KvOperationResult {
    const state = this.#state
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
        const results = plan.operations.map((operation) => this.#run(operation, answer))
        return { type: 'transact', succeeded: plan.succeeded, results }
      }
    }
  }

  // ---- Answers -------------------------------------------------------------------------------------------------

  #done(result: KvOperationResult): KvResult
  #done(result: { readonly type: 'done' }): KvResult
  #done(result: KvOperationResult | { readonly type: 'done' }): KvResult {
    return { ok: true, revision: this.#state.revision, result } as KvResult
  }

  #lease(id: number, ttlMs: number): KvResult {
    return { ok: true, revision: this.#state.revision, result: { type: 'lease', id, ttlMs } }
  }

  #refuse(error: KvRefusal): KvResult {
    return { ok: false, revision: this.#state.revision, error }
  }

  #badRequest(problem: string): KvResult {
    return this.#refuse(badRequest(problem))
  }

  #revisionRefusal({ revision = 0 }: KvGet): KvRefusal | undefined {
    const state = this.#state
    if (revision > state.revision) {
      const message = `Cannot read revision ${revision}: the newest is ${state.revision}`
      return { code: 'KV_FUTURE_REVISION', message }
    }
    if (revision !== 0 && revision < state.compactRevision) return compacted(revision, state.compactRevision)
    return undefined
  }

  #quotaRefusal(more: number): KvRefusal {
    const { bytes, quotaBytes } = this.#state
    return {
      code: 'KV_QUOTA_EXCEEDED',
      message:
        `The store holds ${bytes} of at most ${quotaBytes} bytes, and ${more} more do not fit: compact old revisions, ` +
        `delete keys and then compact, or raise "quotaBytes" on all nodes`,
    }
  }
}

interface PlannedTransaction {
  readonly type: 'planned'
  readonly succeeded: boolean
  readonly operations: readonly PlannedOperation[]
}

type PlannedOperation = KvPut | KvDelete | KvGet | PlannedTransaction

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

function leaseNotFound(id: number): KvRefusal {
  return {
    code: 'KV_LEASE_NOT_FOUND',
    message: `There is no lease ${id}: it is over, or was never granted; grant one`,
  }
}

function compacted(revision: number, compactRevision: number): KvRefusal {
  return {
    code: 'KV_COMPACTED',
    message: `Revision ${revision} is compacted: the oldest that is kept is ${compactRevision}; go on from there`,
    compactRevision,
  }
}

function badRequest(problem: string): KvRefusal {
  return { code: 'KV_BAD_REQUEST', message: `Cannot carry out the request: ${problem}` }
}
