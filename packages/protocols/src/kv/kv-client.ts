/**
 * A client of the key-value store, on any node of the cluster. It follows the leader, and tries again by itself what it may:
 * every write has a number in a session, so a write that is tried twice is done once.
 *
 * A call that rejects says which it was: nothing was done (KV_UNAVAILABLE, KV_CLIENT_FULL, and what the store itself refuses),
 * or nobody knows (PROTOCOLS_OUTCOME_UNKNOWN): never the one for the other.
 */
import type { ReadConsistency } from '../core/consensus-group.ts'
import {
  deleteAnswer,
  doneAnswer,
  entryIn,
  getAnswer,
  leaseAnswer,
  putAnswer,
  transactAnswer,
} from './kv-answer.ts'
import type { ByteWriter } from '../service/byte-buffer.ts'
import { checkCallTimeout } from '../service/client-options.ts'
import type { GatheredBatch } from '../service/gathered-batch.ts'
import { Gathering, type GatheringLine } from '../service/gathering.ts'
import { SessionWrites } from '../service/session-writes.ts'
import { kvCaller, kvClientClosed, type KvCaller, type KvFinalReply } from './kv-caller.ts'
import {
  checkKvClientOptions,
  type CheckedKvClientOptions,
  type KvCallOptions,
  type KvClientOptions,
} from './kv-client-options.ts'
import {
  checkKey,
  comparisonOf,
  putOf,
  transactionOf,
  type KvClientTransaction,
  type KvExpected,
  type KvPutOptions,
  type KvValue,
} from './kv-client-transaction.ts'
import { batchTag, readKvResult, writeKvCommand, writeKvGet } from './kv-codec.ts'
import type {
  KvCommand,
  KvEntry,
  KvGet,
  KvGetResult,
  KvOperationResult,
  KvPut,
  KvResult,
} from './kv-command.ts'
import { KvError } from './kv-error.ts'
import { rangeOf, type KvKeys } from './kv-key.ts'
import { KeptKvLease, type KvLease } from './kv-lease.ts'
import { isForBatch, kvLimits, sizeProblem } from './kv-limit.ts'
import type { KvNode } from './kv-service.ts'
import { KvWatches, type KvWatch, type KvWatchOptions } from './kv-watch-client.ts'

export interface KvReadOptions extends KvCallOptions {
  /** `local`: from any server, as far as it has come: fast, and perhaps old. @default 'linearizable' */
  readonly consistency?: ReadConsistency | undefined
  /** As of this revision. @default the newest */
  readonly revision?: number | undefined
}

export type KvRangeOptions = KvReadOptions & Omit<KvGet, 'type' | 'from' | 'to'>

export interface KvClient extends AsyncDisposable {
  /** The entry of a key, or `undefined`. */
  readonly get: (key: string, options?: KvReadOptions) => Promise<KvEntry | undefined>
  /**
   * The entries of many keys, in order, all at one revision, however many there are (it reads page by page). Rejects with
   * KV_COMPACTED when that revision is compacted meanwhile.
   */
  readonly range: (
    keys: KvKeys,
    options?: KvRangeOptions,
  ) => Promise<KvGetResult & { readonly revision: number }>
  readonly put: (
    key: string,
    value: KvValue,
    options?: KvPutOptions,
  ) => Promise<{ readonly revision: number; readonly previous: KvEntry | undefined }>
  readonly delete: (
    keys: KvKeys,
    options?: KvCallOptions & { readonly previous?: boolean | undefined },
  ) => Promise<{ readonly revision: number; readonly deleted: number; readonly previous: readonly KvEntry[] }>
  readonly transact: (
    transaction: KvClientTransaction,
    options?: KvCallOptions,
  ) => Promise<{
    readonly revision: number
    readonly succeeded: boolean
    readonly results: readonly KvOperationResult[]
  }>
  /** Puts `value` if the key is as expected. `current` is what it was when it is not. */
  readonly compareAndSet: (
    key: string,
    expected: KvExpected,
    value: KvValue,
    options?: KvPutOptions,
  ) => Promise<{ readonly ok: boolean; readonly revision: number; readonly current: KvEntry | undefined }>
  /** Grants a lease and keeps it alive until it is revoked or lost. `id` 0: the store chooses. */
  readonly lease: (
    lease: { readonly ttlMs: number; readonly id?: number | undefined },
    options?: KvCallOptions,
  ) => Promise<KvLease>
  readonly watch: (keys: KvKeys, options?: KvWatchOptions) => KvWatch
  /** Forgets revisions below this one. */
  readonly compact: (revision: number, options?: KvCallOptions) => Promise<{ readonly revision: number }>
  /** What one server says of its group and its state, as plain data; without a name, the leader or the nearest. */
  readonly status: (server?: string, options?: KvCallOptions) => Promise<Readonly<Record<string, unknown>>>
  /** Ends its watches, and stops keeping its leases alive. Calls under way fail. */
  readonly close: () => Promise<void>
}

/** A client of the store whose service the nodes `servers` have. Nothing is sent before the first call. */
export function kvClient(node: KvNode, options: KvClientOptions): KvClient {
  return new Client(node, checkKvClientOptions(options))
}

class Client implements KvClient {
  readonly #options: CheckedKvClientOptions
  readonly #caller: KvCaller
  readonly #gathering: Gathering<KvResult>
  readonly #writes: GatheringLine<KvResult>
  readonly #reads: Readonly<Record<ReadConsistency, GatheringLine<KvResult>>>
  readonly #watches: KvWatches
  readonly #leases = new Set<KeptKvLease>()

  constructor(node: KvNode, options: CheckedKvClientOptions) {
    const { platform } = node.system
    const id = Array.from(platform.secureBytes(12), (byte) => byte.toString(16).padStart(2, '0')).join('')
    this.#options = options
    this.#caller = kvCaller(node, options, platform.random.fork(`kv-client/${id}`))
    this.#gathering = new Gathering(
      this.#caller,
      { batchTag, readResult: readKvResult },
      options,
      platform.clock,
      platform.scheduler.afterTurn,
    )
    const session = new SessionWrites(this.#caller, options.sessionTtlMs, {
      openSession: (server, ttlMs, how) => server.ask({ type: 'openSession', ttlMs }, how),
      write: (server, message, how) => server.ask(message, how),
    })
    this.#writes = this.#gathering.line(true, (batch) => session.carry(batch))
    const reads = (consistency: ReadConsistency): GatheringLine<KvResult> =>
      this.#gathering.line(false, (batch) => this.#carryReads(batch, consistency))
    this.#reads = { linearizable: reads('linearizable'), lease: reads('lease'), local: reads('local') }
    this.#watches = new KvWatches(node, options, this.#caller, id)
  }

  // ---- Reads ---------------------------------------------------------------------------------------------------

  get(key: string, options: KvReadOptions = {}): Promise<KvEntry | undefined> {
    // No async functions here: on a busy client what they cost is seen.
    try {
      checkKey(key)
    } catch (error) {
      return Promise.reject(error as TypeError)
    }
    const { revision } = options
    return this.#read({ type: 'get', from: key, revision }, options, entryIn)
  }

  async range(
    keys: KvKeys,
    options: KvRangeOptions = {},
  ): Promise<KvGetResult & { readonly revision: number }> {
    const { consistency, timeoutMs, signal, limit = 0, ...fields } = options
    const call = { consistency, timeoutMs, signal }
    let range = rangeOf(keys)
    const first = await this.#read({ ...fields, ...range, type: 'get', limit }, call, getAnswer)
    const { count } = first.result
    const entries = [...first.result.entries]
    const wanted = limit === 0 ? count : Math.min(limit, count)
    // Later pages read the revision of the first, so that all of it is one moment.
    const at = options.revision === undefined || options.revision === 0 ? first.revision : options.revision
    while (entries.length < wanted && options.countOnly !== true) {
      const last = entries.at(-1)?.key ?? ''
      range =
        options.reverse === true ? { from: range.from, to: last } : { from: `${last}\u0000`, to: range.to }
      const page = await this.#read(
        { ...fields, ...range, type: 'get', revision: at, limit: wanted - entries.length },
        // Whoever asked for what is local asks one server, which may not be the next one to be asked.
        { ...call, consistency: consistency === 'lease' ? 'linearizable' : consistency },
        getAnswer,
      )
      if (page.result.entries.length === 0) break
      entries.push(...page.result.entries)
    }
    return {
      type: 'get',
      entries,
      count,
      more: options.countOnly !== true && entries.length < count,
      revision: first.revision,
    }
  }

  async status(server?: string, options: KvCallOptions = {}): Promise<Readonly<Record<string, unknown>>> {
    if (this.#caller.isClosed) throw kvClientClosed()
    checkCallTimeout('a status', options.timeoutMs)
    const target = server ?? this.#caller.leader ?? this.#caller.nearestServer()
    const { timeoutMs = this.#options.timeoutMs, signal } = options
    return this.#caller.refTo(target).ask({ type: 'status' }, { timeoutMs, signal })
  }

  // ---- Writes --------------------------------------------------------------------------------------------------

  put(
    key: string,
    value: KvValue,
    options: KvPutOptions = {},
  ): Promise<{ readonly revision: number; readonly previous: KvEntry | undefined }> {
    let command: KvPut
    try {
      command = putOf(key, value, options)
    } catch (error) {
      return Promise.reject(error as TypeError)
    }
    return this.#write('put', key, command, options, putAnswer)
  }

  async delete(
    keys: KvKeys,
    options: KvCallOptions & { readonly previous?: boolean | undefined } = {},
  ): Promise<{ readonly revision: number; readonly deleted: number; readonly previous: readonly KvEntry[] }> {
    const command = { ...rangeOf(keys), type: 'delete', previous: options.previous } as const
    const { revision, result } = await this.#write('delete', command.from, command, options, deleteAnswer)
    return { revision, deleted: result.deleted, previous: result.previous }
  }

  async transact(
    transaction: KvClientTransaction,
    options: KvCallOptions = {},
  ): Promise<{
    readonly revision: number
    readonly succeeded: boolean
    readonly results: readonly KvOperationResult[]
  }> {
    const { revision, result } = await this.#write(
      'a transaction',
      undefined,
      transactionOf(transaction),
      options,
      transactAnswer,
    )
    return { revision, succeeded: result.succeeded, results: result.results }
  }

  async compareAndSet(
    key: string,
    expected: KvExpected,
    value: KvValue,
    options: KvPutOptions = {},
  ): Promise<{ readonly ok: boolean; readonly revision: number; readonly current: KvEntry | undefined }> {
    const when = [comparisonOf(key, expected)]
    const get = { type: 'get', from: key } as const
    // oxlint-disable-next-line unicorn/no-thenable -- a list is no function: nobody takes this for a promise
    const command = { type: 'transact', when, then: [putOf(key, value, options)], otherwise: [get] } as const
    const { revision, result } = await this.#write('compare and set', key, command, options, transactAnswer)
    const found = result.results[0]
    return { ok: result.succeeded, revision, current: found?.type === 'get' ? found.entries[0] : undefined }
  }

  async lease(
    { ttlMs, id = 0 }: { readonly ttlMs: number; readonly id?: number | undefined },
    options: KvCallOptions = {},
  ): Promise<KvLease> {
    const sentMs = this.#caller.nowMs()
    const { result } = await this.#write(
      'the grant of a lease',
      undefined,
      { type: 'lease-grant', id, ttlMs },
      options,
      leaseAnswer,
    )
    const lease: KeptKvLease = new KeptKvLease(this.#caller, result.id, result.ttlMs, sentMs, () =>
      this.#revoke(lease),
    )
    this.#leases.add(lease)
    lease.signal.addEventListener('abort', () => this.#leases.delete(lease), { once: true })
    return lease
  }

  async compact(revision: number, options: KvCallOptions = {}): Promise<{ readonly revision: number }> {
    const answer = await this.#write(
      `compact at ${revision}`,
      undefined,
      { type: 'compact', revision },
      options,
      doneAnswer,
    )
    return { revision: answer.revision }
  }

  watch(keys: KvKeys, options: KvWatchOptions = {}): KvWatch {
    return this.#watches.watch(rangeOf(keys), options)
  }

  async close(): Promise<void> {
    this.#caller.close()
    this.#gathering.close()
    for (const lease of [...this.#leases]) lease.abandon()
    await this.#watches.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  async #revoke({ id }: KvLease): Promise<void> {
    try {
      await this.#write(`revoke lease ${id}`, undefined, { type: 'lease-revoke', id }, {}, leaseAnswer)
    } catch (error) {
      // It is over already: that is what was wanted.
      if (!(error instanceof KvError) || error.code !== 'KV_LEASE_NOT_FOUND') throw error
    }
  }

  /** Hot (benchmark: raft). */
  #read<T>(get: KvGet, options: KvReadOptions, shape: (result: KvResult) => T): Promise<T> {
    const { consistency = 'linearizable', timeoutMs = this.#options.timeoutMs, signal } = options
    const key = get.from
    return this.#reads[consistency].call({
      verb: 'get',
      key,
      timeoutMs,
      signal,
      value: get,
      write: writeKvGet,
      bytes: key.length * 3 + 64,
      isAlone: get.to !== undefined,
      shape,
    })
  }

  /** Hot (benchmark: raft). */
  #write<T>(
    verb: string,
    key: string | undefined,
    command: KvCommand,
    options: KvCallOptions,
    shape: (result: KvResult) => T,
  ): Promise<T> {
    const { timeoutMs = this.#options.timeoutMs, signal } = options
    return this.#writes.call({
      verb,
      key,
      timeoutMs,
      signal,
      value: command,
      write: writeChecked,
      bytes: bytesMostOf(command),
      isAlone: !isForBatch(command),
      shape,
    })
  }

  #carryReads(
    batch: GatheredBatch<KvResult>,
    consistency: ReadConsistency,
  ): Promise<KvFinalReply | undefined> {
    const { bytes: request } = batch
    return this.#caller.trySend(
      batch,
      (server, how) => server.ask({ type: 'read', request, consistency }, how),
      consistency === 'local' ? this.#caller.nearestServer() : undefined,
    )
  }
}

/** Bytes that a command takes at most, if it may stand in a batch. */
function bytesMostOf(command: KvCommand): number {
  if (command.type === 'put') return command.key.length * 3 + command.value.length + 32
  return command.type === 'delete' ? (command.from.length + (command.to?.length ?? 0)) * 3 + 32 : 256
}

function writeChecked(writer: ByteWriter, command: KvCommand): void {
  const before = writer.size
  writeKvCommand(writer, command)
  const bytes = writer.size - before
  if (bytes > kvLimits.commandBytesMax) throw new KvError('KV_BAD_REQUEST', sizeProblem(bytes))
}
