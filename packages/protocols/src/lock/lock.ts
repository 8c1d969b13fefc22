/** What clients of the lock table get: locks that tell when they are lost, and whose tokens a guarded resource can check. */

/** What every call that waits takes. */
export interface WaitOptions {
  /**
   * Longest wait in all, asking the table included; above 0, else LOCK_BAD_REQUEST. Then LOCK_TIMEOUT where others had it,
   * LOCK_UNAVAILABLE where the table did not answer, and nothing is held. To wait for nobody is `tryAcquire`. Milliseconds.
   * @default the client's `timeoutMs`
   */
  readonly timeoutMs?: number | undefined
  /** Gives up: RUNTIME_ABORTED, and nothing is held. */
  readonly signal?: AbortSignal | undefined
}

export interface AcquireOptions extends WaitOptions {
  /**
   * Who takes it, for this client: a name for one course of work. Of locks that are taken with owners a deadlock is found,
   * and refused with LOCK_DEADLOCK, which names the cycle. @default nobody in particular: takes part in no cycle
   */
  readonly owner?: string | undefined
}

/** Something that is held. Disposing of it releases it, and is quiet when it is lost already. */
export interface Held extends AsyncDisposable {
  readonly name: string
  /** The fencing token: grows with every grant. A guarded resource refuses one that is lower than the highest it has seen. */
  readonly token: number
  /**
   * Aborted, with a LockError (LOCK_LOST) as its reason, a margin before anybody else can hold it. After a pause of the
   * process it may come late: whoever is written to has to check the token.
   */
  readonly signal: AbortSignal
  /** Monotonic milliseconds of this node's clock: until then it is held, as far as this client knows. */
  readonly heldUntilMs: number
  /** @throws {LockError} LOCK_NOT_HELD when it was lost, or released before; OUTCOME_UNKNOWN never: it is seen to in any case */
  readonly release: (options?: WaitOptions) => Promise<void>
}

/** One lock of a family: what `multi` takes. */
export interface Lockable {
  readonly name: string
  /** Waits in a fair queue. */
  readonly acquire: (options?: AcquireOptions) => Promise<Held>
  /** Without waiting for anybody: undefined when somebody else has it. */
  readonly tryAcquire: (options?: AcquireOptions) => Promise<Held | undefined>
}

export type Mutex = Lockable

export interface HeldWrite extends Held {
  /** Becomes a reader without anybody writing between; the write's token stays the highest. */
  readonly downgrade: (options?: WaitOptions) => Promise<Held>
}

export interface ReadWriteLock {
  readonly name: string
  /** Many at a time. Behind a writer that waits, readers wait too: no writer starves. */
  readonly read: Lockable
  /** Alone. An owner that reads already is refused with LOCK_UPGRADE: release first. */
  readonly write: Omit<Lockable, 'acquire' | 'tryAcquire'> & {
    readonly acquire: (options?: AcquireOptions) => Promise<HeldWrite>
    readonly tryAcquire: (options?: AcquireOptions) => Promise<HeldWrite | undefined>
  }
}

export interface SemaphoreOptions extends AcquireOptions {
  /** @default 1 */
  readonly permits?: number | undefined
}

export interface Semaphore {
  readonly name: string
  readonly acquire: (options?: SemaphoreOptions) => Promise<Held>
  readonly tryAcquire: (options?: SemaphoreOptions) => Promise<Held | undefined>
  /**
   * For all, from now on. Whoever holds more than is left keeps it until it is given back. A request that waits for more than there
   * are now is refused with LOCK_BAD_REQUEST, at once, as one that came later would be: it could hold up all others behind it for ever.
   */
  readonly setPermits: (permits: number, options?: WaitOptions) => Promise<void>
}

/** Held together; `token` is the highest, `tokens` has each by name. */
export interface HeldAll extends Held {
  readonly tokens: ReadonlyMap<string, number>
}

export interface SpinLock {
  readonly name: string
  /** Tries again and again with chance in the pauses. Not fair; from about eight waiters on take a mutex. */
  readonly acquire: (options?: WaitOptions) => Promise<HeldSpin>
  readonly tryAcquire: (options?: WaitOptions) => Promise<HeldSpin | undefined>
}

/** Not kept alive by itself: it ends with its time. */
export interface HeldSpin extends Held {
  readonly extend: (ttlMs: number, options?: WaitOptions) => Promise<void>
}

export interface Counter {
  readonly name: string
  readonly get: (options?: WaitOptions) => Promise<number>
  /** Resolves with the value behind it. Applied once, however often it is tried. */
  readonly add: (by: number, options?: WaitOptions) => Promise<number>
  readonly set: (value: number, options?: WaitOptions) => Promise<void>
  /** `value` of the answer: what it is behind it, also when it was not `expected`. */
  readonly compareAndSet: (
    expected: number,
    value: number,
    options?: WaitOptions,
  ) => Promise<{ readonly ok: boolean; readonly value: number }>
  /** The value now, and each time that it is seen to have changed: the newest, not each between. Ends with the signal. */
  readonly changes: (options?: { readonly signal?: AbortSignal | undefined }) => AsyncIterable<number>
}

export interface VersionedValue {
  /** 0: not there. Else a number of its own for each change, from one count for the whole table: it grows, and leaves numbers out. */
  readonly version: number
  readonly value: Uint8Array
}

export interface AtomicValue {
  readonly name: string
  readonly get: (options?: WaitOptions) => Promise<VersionedValue>
  /** Resolves with its version. */
  readonly set: (value: Uint8Array | string, options?: WaitOptions) => Promise<number>
  /**
   * By version, as `get` and `set` told it (0: it must not be there), so that a value that went and came again is another (ABA). The
   * answer has what is there behind it, also when the version was another.
   */
  readonly compareAndSet: (
    expectedVersion: number,
    value: Uint8Array | string,
    options?: WaitOptions,
  ) => Promise<{ readonly ok: boolean; readonly version: number; readonly value: Uint8Array }>
  readonly changes: (options?: { readonly signal?: AbortSignal | undefined }) => AsyncIterable<VersionedValue>
}

export interface Latch {
  readonly name: string
  readonly get: (options?: WaitOptions) => Promise<number>
  /** Resolves with how many are left. */
  readonly countDown: (by?: number, options?: WaitOptions) => Promise<number>
  /** Resolves when the count is 0. */
  readonly wait: (options?: WaitOptions) => Promise<void>
}

export interface Barrier {
  readonly name: string
  /**
   * Resolves when as many as `parties` wait, with the barrier's generation: it can be used again at once. Generations grow, and leave
   * numbers out.
   */
  readonly pass: (options?: WaitOptions) => Promise<number>
}

export interface DoubleBarrier {
  readonly name: string
  /** Resolves when as many as `parties` have come. */
  readonly enter: (options?: WaitOptions) => Promise<EnteredBarrier>
}

export interface EnteredBarrier {
  readonly generation: number
  /** Aborted when the session is lost: for the others this one has then left. */
  readonly signal: AbortSignal
  /** Resolves when all have left, by leaving or by dying. */
  readonly leave: (options?: WaitOptions) => Promise<void>
}
