/** Calls of a client that travel together, and each of them. */
import type { ActorError } from '@understudy/runtime'
import { BatchWriter } from './batch.ts'
import type { ByteWriter } from './byte-buffer.ts'
import type { CallOutcome, ServiceCall, ServiceFailures } from './service-caller.ts'

/** What a call's failure is made by: the caller of the client. */
export interface FailureTeller {
  readonly failures: ServiceFailures
  readonly failureOf: (outcome: CallOutcome) => ActorError
  /** Monotonic. */
  readonly nowMs: () => number
}

/** What a call is. `T` is what its caller gets, `V` what is sent, `R` the results of the service. */
export interface CallWish<T, V, R> {
  /** For messages to people: `put "a"`, or what is done alone. */
  readonly verb: string
  readonly key: string | undefined
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly value: V
  /** Writes the value's bytes, now: they are the caller's again afterwards. */
  readonly write: (writer: ByteWriter, value: V) => void
  /** As many bytes at most, if it is not alone. */
  readonly bytes: number
  /** Shares no batch. */
  readonly isAlone: boolean
  /** What the caller gets for a result. @throws what the service refused */
  readonly shape: (result: R) => T
}

/** One call, until it is settled: by its result, its deadline, its signal, or the failure of its batch. */
export class GatheredCall<T, R> {
  readonly #verb: string
  readonly #key: string | undefined
  readonly #isWrite: boolean
  readonly #shape: (result: R) => T
  readonly #resolve: (value: T) => void
  readonly #reject: (error: unknown) => void
  readonly untilMs: number
  readonly signal: AbortSignal | undefined
  #stopListening: (() => void) | undefined
  batch: GatheredBatch<R> | undefined
  /** Where its bytes are in its batch. */
  place = 0
  isSettled = false

  constructor(
    wish: Omit<CallWish<T, unknown, R>, 'value' | 'write'>,
    nowMs: number,
    isWrite: boolean,
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
  ) {
    this.#verb = wish.verb
    this.#key = wish.key
    this.#shape = wish.shape
    this.#isWrite = isWrite
    this.#resolve = resolve
    this.#reject = reject
    this.untilMs = nowMs + wish.timeoutMs
    this.signal = wish.signal
  }

  get what(): string {
    return this.#key === undefined ? this.#verb : `${this.#verb} "${this.#key}"`
  }

  onAbort(listener: () => void): void {
    const { signal } = this
    signal?.addEventListener('abort', listener, { once: true })
    this.#stopListening = () => signal?.removeEventListener('abort', listener)
  }

  /** It is settled next; false when it was before. */
  leave(): boolean {
    if (this.isSettled) return false
    this.isSettled = true
    this.#stopListening?.()
    if (this.batch !== undefined) this.batch.alive--
    return true
  }

  settle(result: R): void {
    let value: T
    try {
      value = this.#shape(result)
    } catch (error) {
      this.#reject(error)
      return
    }
    this.#resolve(value)
  }

  reject(error: unknown): void {
    this.#reject(error)
  }

  /** What it means to its caller that its time is over, or that of its batch. */
  failure(caller: FailureTeller): ActorError {
    const { what, signal, batch } = this
    const isAsking = batch?.isAsking === true
    // Its bytes stay in a batch that goes on for the others, and may be carried out yet. When the time of all is over it does not.
    const isCarried =
      batch !== undefined && batch.isGoingOn && batch.alive > 1 && caller.nowMs() < batch.untilMs
    const isUnknown = isAsking || isCarried || batch?.isUnknown === true
    const tries = batch?.tries ?? 0
    const lastProblem =
      batch === undefined
        ? 'no server was asked'
        : isAsking && tries === 1
          ? 'no answer has come'
          : batch.lastProblem
    if (this.#isWrite || !isUnknown || signal?.aborted === true)
      return caller.failureOf({ what, signal, isUnknown, tries, lastProblem })
    // A read changes nothing: that its answer is missing is all there is to say.
    const text = `${what} was not answered in time (${lastProblem})`
    return caller.failures.unavailable(text, { outcome: 'unknown', tries })
  }
}

/** One request. */
export class GatheredBatch<R> implements ServiceCall {
  readonly #tag: number
  readonly attemptMs: number
  calls: readonly GatheredCall<unknown, R>[] = []
  #gathered: GatheredCall<unknown, R>[] = []
  #writer: BatchWriter
  /** What is sent, the same with every try: so the number of its write stands for it. */
  bytes: Uint8Array = nothing
  /** Calls that somebody still waits for. */
  alive = 0
  untilMs = 0
  isSent = false
  /** It is sent, and its end is not known: as long as anybody waits for one of its calls it may be tried again. */
  isGoingOn = false
  /** It takes no more. */
  isFull = false
  /** It has gathered for long enough. */
  isLate = false
  isAsking = false
  isUnknown = false
  tries = 0
  lastProblem = 'no server was asked'

  /** `tag`: the first byte of a batch; `bytes`: how much is likely to be written. */
  constructor(tag: number, attemptMs: number, bytes: number) {
    this.#tag = tag
    this.attemptMs = attemptMs
    this.#writer = new BatchWriter(tag, bytes)
    this.calls = this.#gathered
  }

  get size(): number {
    return this.#writer.size
  }

  get isOver(): boolean {
    return this.alive === 0
  }

  get signal(): AbortSignal | undefined {
    return this.calls.length === 1 ? this.calls[0]?.signal : undefined
  }

  get what(): string {
    const [first] = this.calls
    return this.calls.length === 1 && first !== undefined
      ? first.what
      : `a batch of ${this.calls.length} calls`
  }

  /** Hot (benchmark: raft). @throws what the wish's `write` does: nothing was added then */
  add<T, V>(call: GatheredCall<unknown, R>, { write, value }: CallWish<T, V, R>): void {
    call.place = this.#writer.add(write, value)
    this.#push(call)
  }

  /** From here on its calls and its bytes stay the same. Leaves out who has given up before. */
  send(): void {
    if (this.alive < this.calls.length) {
      const kept = this.rest(this.calls)
      this.#writer = kept.#writer
      this.#gathered = kept.#gathered
      this.calls = kept.calls
      for (const call of this.calls) call.batch = this
    }
    this.isSent = true
    this.isGoingOn = true
    this.bytes = this.#writer.take()
  }

  /** A batch of those of `calls` that somebody still waits for. They leave this one. */
  rest(calls: readonly GatheredCall<unknown, R>[]): GatheredBatch<R> {
    const rest = new GatheredBatch<R>(this.#tag, this.attemptMs, this.size)
    rest.isFull = true
    for (const call of calls) {
      if (call.isSettled) continue
      call.place = rest.#writer.add(writeBytes, this.#writer.part(call.place))
      rest.#push(call)
    }
    return rest
  }

  #push(call: GatheredCall<unknown, R>): void {
    call.batch = this
    this.#gathered.push(call)
    this.alive++
    this.untilMs = Math.max(this.untilMs, call.untilMs)
  }
}

function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  writer.rest(bytes)
}

const nothing = new Uint8Array(0)
