/**
 * Gathers the calls of one client into batches. What is asked for in one turn leaves at its end, together; while several
 * batches are under way, what comes waits for one of them to return. So a call alone goes at once and alone, and many at a time
 * cost hardly more than a few: the busier, the larger the batches.
 *
 * A batch is one request: it has one answer, or its outcome is unknown for all that are in it. Each call has its own deadline
 * and signal all the same, and its own result.
 */
import type { Clock, Timer } from '@understudy/runtime'
import type { ByteReader } from './byte-buffer.ts'
import { checkCallTimeout, type CheckedServiceClientOptions } from './client-options.ts'
import { GatheredBatch, GatheredCall, type CallWish, type FailureTeller } from './gathered-batch.ts'
import type { FinalReply, ReplyOfKind } from './service-reply.ts'

/** What only one service has: how its batches begin, and its results. */
export interface GatheringCodec<R> {
  /** First byte of a batch. */
  readonly batchTag: number
  /** The next of several results. @throws {RangeError} when there is none */
  readonly readResult: (reader: ByteReader) => R
}

/** A client's caller, as far as gathering needs it. */
export interface GatheringCaller extends FailureTeller {
  readonly isClosed: boolean
}

/**
 * Calls of one batch. Beyond it another one saves next to nothing, and makes all of them wait for the slowest (bench: raft).
 */
const batchCallsMax = 128
/** And bytes, so that a batch is a fraction of a frame. What has more by itself goes alone. */
const batchBytesMax = 65_536
/** While so many batches of one kind are under way the next one gathers: enough to keep both ends at work. */
const batchesUnderWay = 4
/** But no longer than this: an answer that was lost must not hold up what has nothing to do with it. Milliseconds. */
const gatherMs = 5

/** Brings a batch to the servers. `undefined`: its time is over. */
export type CarryBatch<R extends Refusable> = (
  batch: GatheredBatch<R>,
) => Promise<FinalReply<R, ReplyOfKind> | undefined>

/** A result: what was asked for, or why not. */
export interface Refusable {
  readonly ok: boolean
}

/** What all lines of one client share: how many calls are under way and wait, and one timer for their deadlines. */
export class Gathering<R extends Refusable> {
  readonly caller: GatheringCaller
  readonly codec: GatheringCodec<R>
  readonly #options: CheckedServiceClientOptions
  readonly #clock: Clock
  readonly #afterTurn: (task: () => void) => void
  readonly #lines: GatheringLine<R>[] = []
  /** Calls in batches under way. */
  underWay = 0
  /** Calls that were not sent yet. */
  waiting = 0
  #timer: Timer | undefined
  #timerMs = Number.POSITIVE_INFINITY

  constructor(
    caller: GatheringCaller,
    codec: GatheringCodec<R>,
    options: CheckedServiceClientOptions,
    clock: Clock,
    afterTurn: (task: () => void) => void,
  ) {
    this.caller = caller
    this.codec = codec
    this.#options = options
    this.#clock = clock
    this.#afterTurn = afterTurn
  }

  get options(): CheckedServiceClientOptions {
    return this.#options
  }

  /** Calls of one kind, which may be answered together. `isWrite`: what is not answered may be done. */
  line(isWrite: boolean, carry: CarryBatch<R>): GatheringLine<R> {
    const line = new GatheringLine<R>(this, isWrite, carry)
    this.#lines.push(line)
    return line
  }

  /** Fails what was not sent yet. What is under way fails by itself. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerMs = Number.NEGATIVE_INFINITY
    for (const line of this.#lines) line.close()
  }

  // ---- For lines ---------------------------------------------------------------------------------------------

  afterTurn(task: () => void): void {
    this.#afterTurn(task)
  }

  /** @throws {ActorError} that the client is closed or full, and what a deadline and a signal say */
  admit(call: GatheredCall<unknown, R>): void {
    const { inFlightMax, waitingMax } = this.#options
    if (this.caller.isClosed) throw this.caller.failures.closed()
    if (call.signal?.aborted === true || call.untilMs <= this.caller.nowMs()) throw call.failure(this.caller)
    if (this.underWay + this.waiting >= inFlightMax + waitingMax) {
      const text = `${call.what} was not done: ${inFlightMax} calls are under way and ${waitingMax} wait; wait for some`
      throw this.caller.failures.full(text)
    }
    if (call.untilMs < this.#timerMs) this.#setTimer(call.untilMs)
  }

  hasRoomFor(calls: number): boolean {
    return this.underWay === 0 || this.underWay + calls <= this.#options.inFlightMax
  }

  setTimer(delayMs: number, fire: () => void): void {
    this.#clock.setTimer(this.caller.nowMs() + delayMs, fire)
  }

  pump(): void {
    for (const line of this.#lines) line.pump()
  }

  /** One timer for all: mostly nothing is over when it fires, and it is set for the oldest call that is there then. */
  #setTimer(atMs: number): void {
    this.#timer?.cancel()
    this.#timerMs = atMs
    this.#timer = this.#clock.setTimer(atMs, () => {
      this.#timerMs = Number.POSITIVE_INFINITY
      const nowMs = this.caller.nowMs()
      let nextMs = Number.POSITIVE_INFINITY
      for (const line of this.#lines) nextMs = Math.min(nextMs, line.expire(nowMs))
      if (nextMs !== Number.POSITIVE_INFINITY && nextMs < this.#timerMs) this.#setTimer(nextMs)
      this.pump()
    })
  }
}

/** Calls of one kind. Batches leave in the order in which their calls came. */
export class GatheringLine<R extends Refusable> {
  readonly #gathering: Gathering<R>
  readonly #carry: CarryBatch<R>
  readonly #isWrite: boolean
  /** Not sent yet; only the last one takes more. */
  readonly #queue: GatheredBatch<R>[] = []
  readonly #sent = new Set<GatheredBatch<R>>()
  #isPumpDue = false
  #isTimerSet = false
  /** Smaller once a group has refused a batch for its size. */
  #bytesMax = batchBytesMax
  /** Bytes of the last batch: the next one will have about as many. */
  #likelyBytes = 0

  constructor(gathering: Gathering<R>, isWrite: boolean, carry: CarryBatch<R>) {
    this.#gathering = gathering
    this.#isWrite = isWrite
    this.#carry = carry
  }

  /**
   * Hot (benchmark: raft).
   *
   * @throws {TypeError} (as a rejection) a `timeoutMs` that is no number
   * @throws {ActorError} (as a rejection) whatever becomes of the call
   */
  call<T, V>(wish: CallWish<T, V, R>): Promise<T> {
    return new Promise((resolve, reject) => {
      const { caller } = this.#gathering
      checkCallTimeout(wish.verb, wish.timeoutMs)
      const call = new GatheredCall(wish, caller.nowMs(), this.#isWrite, resolve, reject)
      this.#gathering.admit(call as GatheredCall<unknown, R>)
      this.#batchFor(wish).add(call as GatheredCall<unknown, R>, wish)
      this.#gathering.waiting++
      if (call.signal !== undefined) call.onAbort(() => this.#aborted(call as GatheredCall<unknown, R>))
      this.#schedulePump()
    })
  }

  /** Sends what is to be sent now. */
  pump(): void {
    const gathering = this.#gathering
    for (let batch = this.#queue[0]; batch !== undefined; batch = this.#queue[0]) {
      if (batch.alive > 0) {
        if (!gathering.hasRoomFor(batch.alive)) return
        if (!batch.isFull && !batch.isLate && this.#sent.size >= batchesUnderWay) {
          this.#sendLate(batch)
          return
        }
      }
      this.#queue.shift()
      if (batch.alive > 0) void this.#send(batch)
    }
  }

  /** Fails the calls whose time is over; gives when the next one's is. */
  expire(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const batch of [...this.#sent, ...this.#queue]) {
      for (const call of batch.calls) {
        if (call.isSettled) continue
        if (call.untilMs <= nowMs) this.#giveUp(call)
        else nextMs = Math.min(nextMs, call.untilMs)
      }
    }
    return nextMs
  }

  close(): void {
    for (const batch of this.#queue.splice(0)) {
      for (const call of batch.calls) this.#giveUp(call)
    }
  }

  #batchFor({ isAlone, bytes }: Pick<CallWish<unknown, unknown, R>, 'isAlone' | 'bytes'>): GatheredBatch<R> {
    const { options, codec } = this.#gathering
    const { attemptMs, inFlightMax } = options
    const last = this.#queue.at(-1)
    if (last !== undefined && !last.isFull) {
      const isRoom =
        !isAlone &&
        last.calls.length < Math.min(batchCallsMax, inFlightMax) &&
        last.size + bytes <= this.#bytesMax
      if (isRoom) return last
      last.isFull = true
    }
    const likelyBytes = Math.max(bytes, Math.ceil(this.#likelyBytes * 1.1)) + 16
    const batch = new GatheredBatch<R>(codec.batchTag, attemptMs, likelyBytes)
    batch.isFull = isAlone
    this.#queue.push(batch)
    return batch
  }

  /** At the end of the turn, when all who were answered in it have asked for more. */
  #schedulePump(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#gathering.afterTurn(() => {
      this.#isPumpDue = false
      this.pump()
    })
  }

  #sendLate(batch: GatheredBatch<R>): void {
    if (this.#isTimerSet) return
    this.#isTimerSet = true
    this.#gathering.setTimer(gatherMs, () => {
      this.#isTimerSet = false
      batch.isLate = true
      this.pump()
    })
  }

  async #send(batch: GatheredBatch<R>): Promise<void> {
    const gathering = this.#gathering
    batch.send()
    this.#likelyBytes = batch.bytes.length
    this.#sent.add(batch)
    gathering.waiting -= batch.alive
    gathering.underWay += batch.alive
    try {
      const reply = await this.#carry(batch)
      batch.isGoingOn = false
      if (reply === undefined) for (const call of batch.calls) this.#giveUp(call)
      // None of the service's own kinds answers a batch.
      else this.#take(batch, reply as FinalReply<R>)
    } catch (error) {
      batch.isGoingOn = false
      for (const call of batch.calls) if (this.#leave(call)) call.reject(error)
    }
    this.#sent.delete(batch)
    // In front of what waits for room, those who were just answered may ask again.
    if (gathering.waiting > 0) gathering.afterTurn(() => gathering.pump())
  }

  #take(batch: GatheredBatch<R>, reply: FinalReply<R>): void {
    const { calls } = batch
    if (reply.kind === 'results') {
      this.#takeResults(batch, reply.results)
      return
    }
    if (reply.kind !== 'result') throw new RangeError(`A server answered "${reply.kind}"`)
    const [first] = calls
    if (calls.length === 1 && first !== undefined) {
      if (this.#leave(first)) first.settle(reply.result)
      return
    }
    if (reply.result.ok) throw new RangeError('A server answered a batch with one result')
    // Nothing of it was done: a group may take less at a time than a client likes to send.
    this.#bytesMax = Math.max(1, Math.floor(batch.bytes.length / 2))
    const half = Math.ceil(calls.length / 2)
    this.#again(batch, calls.slice(half))
    this.#again(batch, calls.slice(0, half))
  }

  #takeResults(batch: GatheredBatch<R>, results: ByteReader): void {
    const { calls } = batch
    let at = 0
    for (; at < calls.length && !results.isAtEnd; at++) {
      const call = calls[at] as GatheredCall<unknown, R>
      const result = this.#gathering.codec.readResult(results)
      if (this.#leave(call)) call.settle(result)
    }
    if (at === 0 || (at < calls.length && this.#isWrite))
      throw new RangeError('A server answered less than it was asked for')
    if (at < calls.length) this.#again(batch, calls.slice(at))
  }

  /** These calls of a batch that is over go in one of their own, before what waits. */
  #again(batch: GatheredBatch<R>, calls: readonly GatheredCall<unknown, R>[]): void {
    const rest = batch.rest(calls)
    this.#gathering.underWay -= rest.alive
    this.#gathering.waiting += rest.alive
    if (rest.alive > 0) this.#queue.unshift(rest)
  }

  #aborted(call: GatheredCall<unknown, R>): void {
    this.#giveUp(call)
    this.#gathering.pump()
  }

  #giveUp(call: GatheredCall<unknown, R>): void {
    if (call.isSettled) return
    const failure = call.failure(this.#gathering.caller)
    if (this.#leave(call)) call.reject(failure)
  }

  /** False: it has gone before. */
  #leave(call: GatheredCall<unknown, R>): boolean {
    const isSent = call.batch?.isSent === true
    if (!call.leave()) return false
    if (isSent) this.#gathering.underWay--
    else this.#gathering.waiting--
    return true
  }
}
