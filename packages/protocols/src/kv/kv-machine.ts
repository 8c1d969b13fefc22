/**
 * The key-value store as a state machine: etcd's v3 model on a replicated log. Pure and deterministic: what it answers
 * follows from the commands, their terms and their times alone.
 *
 * Leases run by the log's time, and a new term gives each its whole time anew: see `core/lease-table.ts`. Until a leader has
 * proposed something, an empty `lease-expire` if it must, nothing expires in its term.
 *
 * Comparisons of a transaction, those of transactions inside it too, are judged on the state before it (as etcd's); its
 * operations then run in order, and see what came before them. Whatever can be refused is refused before anything is done.
 *
 * A batch is several commands in one entry that have nothing to do with each other: each makes its own revision, or is refused
 * for itself. Only puts and deletes that do not ask for what was there before go into one, so that its answer stays small: it
 * is kept with its session on every member until the client has it.
 */
import type { AppliedCommand, StateMachine } from '../core/state-machine.ts'
import { BatchWalk } from '../service/batch.ts'
import { ByteWriter } from '../service/byte-buffer.ts'
import { snapshotChunkBytes } from '../service/snapshot-records.ts'
import { batchTag, decodeKvCommand, PutReader, putTag, writeKvResult, writePutResult } from './kv-codec.ts'
import type { KvCommand, KvEvent, KvGet, KvOperationResult, KvRefusal, KvResult } from './kv-command.ts'
import { commandProblem, getProblem, isForBatch, kvLimits } from './kv-limit.ts'
import { badRequest, compacted, leaseNotFound, quotaRefusal, revisionRefusal } from './kv-refusal.ts'
import { KvSnapshotWalk, restoreKvState } from './kv-snapshot.ts'
import {
  entryOf,
  eventOf,
  KvState,
  KvVersion,
  leaseBytes,
  versionBytes,
  type LiveVersion,
} from './kv-state.ts'
import { planOperation, runPlan } from './kv-transaction.ts'

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
  /** Mostly one; one that is given up may end later than the next begins. */
  readonly #walks = new Set<KvSnapshotWalk>()
  readonly #put = new PutReader()
  readonly #batch = new BatchWalk(kvLimits.batchCommandsMax)
  #listener: (() => void) | undefined

  get revision(): number {
    return this.#state.revision
  }

  /** The state, to be read and not changed: for watches. Another object after `restore`. */
  get state(): KvState {
    return this.#state
  }

  /** Calls `listener`, the only one, behind each entry that made a revision or a lease, and behind `restore`. */
  onChange(listener: () => void): void {
    this.#listener = listener
  }

  /** Never throws: bytes that are no command are refused with KV_BAD_REQUEST, the same on every member. Hot. */
  apply(command: AppliedCommand): KvResult {
    const state = this.#state
    state.leases.advance(command.term, command.timeMs)
    const before = state.revision
    const leases = state.leases.size
    const { data } = command
    const tag = data[0]
    const result =
      tag === batchTag
        ? this.#applyBatch(data, command.index)
        : tag === putTag
          ? this.#applyPut(data)
          : this.#applyOther(data, command.index)
    if (state.revision !== before || state.leases.size !== leases) this.#listener?.()
    return result
  }

  /** Answers a get as of now, on this member. Refuses what the state cannot answer; never throws. */
  read(get: unknown, answerBytesMax: number = kvLimits.answerBytesMax): KvResult {
    const problem = getProblem(get)
    if (problem !== undefined) return this.#badRequest(problem)
    const checked = get as KvGet
    const refusal = revisionRefusal(this.#state, checked)
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
    return this.#state.leases.over(timeMs, kvLimits.expireMax)
  }

  status(): KvMachineStatus {
    const { revision, compactRevision, keys, bytes, quotaBytes, leases, timeMs } = this.#state
    return { revision, compactRevision, keys: keys.size, bytes, quotaBytes, leases: leases.size, timeMs }
  }

  /** `chunkBytes`: about how large a chunk is; one value more at most. */
  snapshot(chunkBytes: number = snapshotChunkBytes): Iterator<Uint8Array> {
    const walk = new KvSnapshotWalk(this.#state, chunkBytes, () => {
      this.#walks.delete(walk)
    })
    this.#walks.add(walk)
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
    const refusal = this.#readPut(data, 0, data.length)
    if (refusal !== undefined) return this.#refuse(refusal)
    const before = this.#carryOutPut()
    const previous = put.previous && before !== undefined ? entryOf(before) : undefined
    return this.#done({ type: 'put', previous })
  }

  /** Reads a put and says why it may not be carried out. */
  #readPut(data: Uint8Array, from: number, to: number): KvRefusal | undefined {
    const put = this.#put
    try {
      put.read(data, from, to)
    } catch {
      return badRequest('the bytes are no command')
    }
    const { key, value, lease } = put
    if (key.length === 0 || key.length > kvLimits.keyLengthMax || value.length > kvLimits.valueBytesMax) {
      put.value = ''
      return badRequest(
        `a key has 1 to ${kvLimits.keyLengthMax} characters, a value at most ${kvLimits.valueBytesMax} bytes`,
      )
    }
    const state = this.#state
    const bytes = versionBytes + key.length + value.length
    if (state.bytes + bytes > state.quotaBytes) return quotaRefusal(state, bytes)
    return lease !== 0 && !state.leases.has(lease) ? leaseNotFound(lease) : undefined
  }

  /** Carries out what `#readPut` has read. */
  #carryOutPut(): LiveVersion | undefined {
    const put = this.#put
    const before = this.#state.put(put.key, put.value, put.lease)
    put.value = ''
    this.#state.commit()
    return before
  }

  #applyBatch(data: Uint8Array, index: number): KvResult {
    const batch = this.#batch
    const problem = batch.begin(data)
    if (problem !== undefined) return this.#badRequest(problem)
    const answers = new ByteWriter(batch.count * 6)
    while (batch.next()) this.#applyPart(data, batch.from, batch.to, index, answers)
    batch.release()
    return { ok: true, revision: this.#state.revision, result: { type: 'batch', answers: answers.take() } }
  }

  /** Hot (benchmark: raft). */
  #applyPart(data: Uint8Array, from: number, to: number, index: number, answers: ByteWriter): void {
    if (data[from] !== putTag) {
      writeKvResult(answers, this.#applyOther(data.subarray(from, to), index, isForBatch))
      return
    }
    const refusal = this.#readPut(data, from, to) ?? (this.#put.previous ? badRequest(notInBatch) : undefined)
    if (refusal !== undefined) {
      writeKvResult(answers, this.#refuse(refusal))
      return
    }
    this.#carryOutPut()
    writePutResult(answers, this.#state.revision)
  }

  #applyOther(
    data: Uint8Array,
    index: number,
    isAllowed: (command: KvCommand) => boolean = always,
  ): KvResult {
    let command: unknown
    try {
      command = decodeKvCommand(data)
    } catch {
      return this.#badRequest('the bytes are no command')
    }
    const problem = commandProblem(command) ?? (isAllowed(command as KvCommand) ? undefined : notInBatch)
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
        const plan = planOperation(state, command)
        if ('code' in plan) return this.#refuse(plan)
        return this.#done(runPlan(state, plan))
      }
      case 'lease-grant':
        return this.#grant(command.id, command.ttlMs, index)
      case 'lease-keep-alive': {
        const lease = state.leases.get(command.id)
        if (lease === undefined) return this.#refuse(leaseNotFound(command.id))
        state.leases.renew(lease)
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
          if (lease !== undefined && state.leases.isOver(lease)) state.revoke(lease)
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
    if (state.bytes + leaseBytes > state.quotaBytes) return this.#refuse(quotaRefusal(state, leaseBytes))
    const id = wanted === 0 ? state.leases.freeId(index) : wanted
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
    for (const walk of this.#walks) walk.detach()
    state.compact(revision)
    return this.#done({ type: 'done' })
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
}

const notInBatch = 'only a put or a delete without "previous" may stand in a batch; send it alone'

function always(): boolean {
  return true
}
