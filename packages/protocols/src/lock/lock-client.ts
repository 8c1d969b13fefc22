/**
 * A client of the lock table, on any node of the cluster: locks, semaphores, counters, barriers.
 *
 * It has one session, opened when it is needed and kept alive by itself. What it holds is held by the session: when the process
 * dies or is cut off, others have it after `sessionTtlMs`.
 *
 * - Every call that waits takes `{ timeoutMs, signal }`. One that rejects holds nothing, and is safe to repeat; what may have been
 *   done all the same is undone in the background.
 * - Everything held has a `token` and a `signal`, and is given back by `release`, or by disposing of it: that is quiet when it was
 *   lost. A signal aborts a margin of a twentieth of `sessionTtlMs` before others can have it, by this node's monotonic clock. A
 *   process that was stopped for longer learns of it when it runs again: what protects is a guard that checks the token.
 */
import type { ClientLife } from './client-life.ts'
import type { ClientSessionOptions } from './client-lives.ts'
import { ClientSession } from './client-session.ts'
import { atomicValue } from './atomic-value.ts'
import { barrier } from './barrier.ts'
import { counter } from './counter.ts'
import { doubleBarrier } from './double-barrier.ts'
import { latch } from './latch.ts'
import { LockCaller } from './lock-caller.ts'
import { checkLockClientOptions, type LockClientOptions } from './lock-client-options.ts'
import type { LockView } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import type { LockPort, LockViewOptions } from './lock-port.ts'
import type { LockNode } from './lock-service.ts'
import type {
  AcquireOptions,
  AtomicValue,
  Barrier,
  Counter,
  DoubleBarrier,
  HeldAll,
  Latch,
  Lockable,
  Mutex,
  ReadWriteLock,
  Semaphore,
  SpinLock,
  WaitOptions,
} from './lock.ts'
import { multiLock } from './multi-lock.ts'
import { mutex, type MutexOptions } from './mutex.ts'
import { queuedLock } from './queued-lock.ts'
import { readWriteLock } from './read-write-lock.ts'
import { semaphore } from './semaphore.ts'
import { spinLock, type SpinLockOptions } from './spin-lock.ts'

/** A client's session, as it is now. */
export interface LockSessionInfo {
  readonly id: number
  /** Aborted, with LOCK_LOST, together with those of all that is held by it. */
  readonly signal: AbortSignal
  /** Monotonic milliseconds; moves on with each keep-alive. */
  readonly heldUntilMs: number
}

/** See the head of this file. Making one of these sends nothing. */
export interface LockClient extends AsyncDisposable {
  /** Opens it when there is none; another one after a loss. */
  readonly session: (options?: WaitOptions) => Promise<LockSessionInfo>
  readonly mutex: (name: string, options?: MutexOptions) => Mutex
  readonly readWriteLock: (name: string) => ReadWriteLock
  /** `permits`: how many it has when nobody has said so yet. */
  readonly semaphore: (name: string, options: { readonly permits: number }) => Semaphore
  /** All or none, in the order of their names. */
  readonly multi: (locks: readonly Lockable[]) => {
    readonly acquire: (options?: AcquireOptions) => Promise<HeldAll>
  }
  /** A lock whose holders are remembered, with what they say of themselves: what leader election is made of. */
  readonly election: (name: string, options?: { readonly data?: string | undefined }) => Lockable
  readonly spinLock: (name: string, options: SpinLockOptions) => SpinLock
  readonly counter: (name: string) => Counter
  readonly value: (name: string) => AtomicValue
  /** `count`: what it starts with when it is not there. */
  readonly latch: (name: string, options: { readonly count: number }) => Latch
  readonly barrier: (name: string, options: { readonly parties: number }) => Barrier
  readonly doubleBarrier: (name: string, options: { readonly parties: number }) => DoubleBarrier
  /** How a name stands; `undefined`: it is not there. With `waitMs` it waits for news. */
  readonly view: (name: string, options?: LockViewOptions) => Promise<LockView | undefined>
  /** Names that begin with `prefix`, in order. */
  readonly list: (prefix?: string, options?: WaitOptions) => Promise<readonly LockView[]>
  /** Forgets a counter, a value, a latch, or a semaphore that nobody holds or waits for. */
  readonly remove: (name: string, options?: WaitOptions) => Promise<void>
  /** Monotonic milliseconds of this node: what `heldUntilMs` is told in. */
  readonly nowMs: () => number
  /** Resolves after so long, or as soon as it is aborted. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>
  /** Ends the session: what it holds others can have at once. Calls under way fail. */
  readonly close: () => Promise<void>
}

/** A client of the table whose service the nodes `servers` have. */
export function lockClient(node: LockNode, options: LockClientOptions): LockClient {
  const checked = checkLockClientOptions(options)
  const { sessionTtlMs, timeoutMs, label = node.name.slice(0, lockLimits.labelLengthMax) } = checked
  return lockClientOver(new LockCaller(node, checked), { sessionTtlMs, timeoutMs, label })
}

/** A client over whatever brings its commands to the table. */
export function lockClientOver(port: LockPort, options: ClientSessionOptions): LockClient {
  return new Client(port, options)
}

class Client implements LockClient {
  readonly #session: ClientSession
  readonly #port: LockPort
  readonly #timeoutMs: number

  constructor(port: LockPort, options: ClientSessionOptions) {
    this.#session = new ClientSession(port, options)
    this.#port = port
    this.#timeoutMs = options.timeoutMs
  }

  async session(options?: WaitOptions): Promise<LockSessionInfo> {
    return new SessionInfo(await this.#session.life(options))
  }

  mutex(name: string, options?: MutexOptions): Mutex {
    return mutex(this.#session, name, options)
  }

  readWriteLock(name: string): ReadWriteLock {
    return readWriteLock(this.#session, name)
  }

  semaphore(name: string, options: { readonly permits: number }): Semaphore {
    return semaphore(this.#session, name, options)
  }

  multi(locks: readonly Lockable[]): {
    readonly acquire: (options?: AcquireOptions) => Promise<HeldAll>
  } {
    return multiLock(locks, { nowMs: this.#port.nowMs, timeoutMs: this.#timeoutMs })
  }

  election(name: string, { data }: { readonly data?: string | undefined } = {}): Lockable {
    return queuedLock(this.#session, { name, kind: 'election', what: `the lead of "${name}"`, data })
  }

  spinLock(name: string, options: SpinLockOptions): SpinLock {
    return spinLock(this.#session, name, options)
  }

  counter(name: string): Counter {
    return counter(this.#session, name)
  }

  value(name: string): AtomicValue {
    return atomicValue(this.#session, name)
  }

  latch(name: string, options: { readonly count: number }): Latch {
    return latch(this.#session, name, options)
  }

  barrier(name: string, options: { readonly parties: number }): Barrier {
    return barrier(this.#session, name, options)
  }

  doubleBarrier(name: string, options: { readonly parties: number }): DoubleBarrier {
    return doubleBarrier(this.#session, name, options)
  }

  view(name: string, options: LockViewOptions = {}): Promise<LockView | undefined> {
    return this.#port.view(name, options)
  }

  list(prefix = '', options: WaitOptions = {}): Promise<readonly LockView[]> {
    return this.#port.list(prefix, options)
  }

  async remove(name: string, { timeoutMs, signal }: WaitOptions = {}): Promise<void> {
    await this.#port.write(`removing "${name}"`, { type: 'remove', name }, { timeoutMs, signal })
  }

  nowMs(): number {
    return this.#port.nowMs()
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#port.sleep(ms, signal)
  }

  close(): Promise<void> {
    return this.#session.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

class SessionInfo implements LockSessionInfo {
  readonly #life: ClientLife

  constructor(life: ClientLife) {
    this.#life = life
  }

  get id(): number {
    return this.#life.id
  }

  get signal(): AbortSignal {
    this.#life.isAlive()
    return this.#life.signal
  }

  get heldUntilMs(): number {
    return this.#life.heldUntilMs
  }
}
