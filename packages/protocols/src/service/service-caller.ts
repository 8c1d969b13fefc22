/**
 * Brings a client's requests to the right server: follows the leader, tries again what may be tried again, and says at the
 * end whether nothing was done or nobody knows.
 */
import { ActorError, isActorError } from '@understudy/runtime'
import type { Clock, Random, Timer } from '@understudy/runtime'
import { OutcomeUnknown } from '../core/consensus-error.ts'
import {
  checkCallTimeout,
  type CheckedServiceClientOptions,
  type ServiceCallOptions,
} from './client-options.ts'
import {
  isRetry,
  type FinalReply,
  type ReplyOfKind,
  type RetryReply,
  type ServiceReply,
} from './service-reply.ts'

/** What only one service has: its refs, the bytes of its answers, and the codes of its errors. */
export interface ServiceDialect<Ref, R, Own extends ReplyOfKind = never> {
  /** This node's name. */
  readonly node: string
  readonly refTo: (server: string) => Ref
  /** @throws {RangeError} when the bytes are no answer */
  readonly decode: (bytes: unknown) => ServiceReply<R> | Own
  readonly failures: ServiceFailures
}

/** What a client throws, under the codes of its service. */
export interface ServiceFailures {
  /** Nothing was done; or, of a read, nothing was answered. */
  readonly unavailable: (text: string, details: Readonly<Record<string, unknown>>) => ActorError
  /** More calls wait than the client allows: nothing was done. */
  readonly full: (text: string) => ActorError
  readonly closed: () => ActorError
}

/** One try of a request. */
export type Attempt<Ref> = (
  server: Ref,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
) => Promise<Uint8Array>

/** A request that is under way: of one call, or of a batch of them. */
export interface ServiceCall {
  /** For messages to people: `put "a"`. */
  readonly what: string
  readonly untilMs: number
  readonly signal: AbortSignal | undefined
  /** How long one try waits. */
  readonly attemptMs: number
  /**
   * A leader that is silent for so long is doubted, while it is still waited for: of the calls that have this, every second one
   * then begins at another server, until the leader answers, or somebody knows another one. @default only a try that has failed says something
   */
  silentAfterMs?: number | undefined
  /** Nobody waits for it any more. */
  readonly isOver: boolean
  /** A try of it is under way. */
  isAsking: boolean
  /** Some try of it may have been carried out. */
  isUnknown: boolean
  tries: number
  lastProblem: string
}

/** Of a call that others like it are made beside. */
export interface BesideOptions extends ServiceCallOptions {
  /** As `ServiceCall.silentAfterMs`; the client's `attemptMs` at most. */
  readonly silentAfterMs?: number | undefined
}

/** What a call's failure is told by. */
export type CallOutcome = Pick<ServiceCall, 'what' | 'signal' | 'isUnknown' | 'tries' | 'lastProblem'>

/** What an ask says when its request has not been looked at. */
const notSentCodes: ReadonlySet<string> = new Set([
  'CLUSTER_LINK_FULL',
  'RUNTIME_NO_SUCH_ACTOR',
  'RUNTIME_MAILBOX_FULL',
  'RUNTIME_EXPIRED',
])

/**
 * Longest pause while the servers know of no leader: an election takes about as long, and whoever sleeps through its end adds
 * to every outage (bench: raft, failover).
 */
const leaderlessPauseMs = 50

/** Follows the leader for all calls of one client. */
export class ServiceCaller<Ref, R, Own extends ReplyOfKind = never> {
  readonly #dialect: ServiceDialect<Ref, R, Own>
  readonly #options: CheckedServiceClientOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #refs = new Map<string, Ref>()
  /** Who led last. */
  #leader: string | undefined
  /** The leader, while it is silent. */
  #doubted: string | undefined
  #isDetour = false
  /** Whom to ask when nobody knows. */
  #turn: number
  #isClosed = false

  constructor(
    dialect: ServiceDialect<Ref, R, Own>,
    options: CheckedServiceClientOptions,
    clock: Clock,
    random: Random,
  ) {
    this.#dialect = dialect
    this.#options = options
    this.#clock = clock
    this.#random = random
    // Whoever is here is nearest.
    this.#turn = Math.max(0, options.servers.indexOf(dialect.node))
  }

  get failures(): ServiceFailures {
    return this.#dialect.failures
  }

  get leader(): string | undefined {
    return this.#leader
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  nowMs(): number {
    return this.#clock.monotonicMs()
  }

  begin(what: string, options: BesideOptions | undefined, attemptMs?: number): ServiceCall {
    checkCallTimeout(what, options?.timeoutMs)
    const timeoutMs = options?.timeoutMs ?? this.#options.timeoutMs
    const silentAfterMs = options?.silentAfterMs
    const mostMs = this.#options.attemptMs
    return {
      what,
      untilMs: this.nowMs() + timeoutMs,
      signal: options?.signal,
      // One that others are made beside is waited for to its end: it may be the first that is answered.
      attemptMs: attemptMs ?? (silentAfterMs === undefined ? mostMs : timeoutMs),
      silentAfterMs: silentAfterMs === undefined ? undefined : Math.min(silentAfterMs, mostMs),
      isOver: false,
      isAsking: false,
      isUnknown: false,
      tries: 0,
      lastProblem: 'no server was asked',
    }
  }

  /**
   * Tries until there is an answer that ends the call.
   *
   * @throws {ActorError} (as a rejection) what `failureOf` gives; RUNTIME_INVALID_MESSAGE, RUNTIME_UNKNOWN_MESSAGE
   */
  async send(call: ServiceCall, attempt: Attempt<Ref>): Promise<FinalReply<R, Own>> {
    const reply = await this.trySend(call, attempt)
    if (reply === undefined) throw this.failureOf(call)
    return reply
  }

  /**
   * The same, and gives nothing when the call's time is over: `failureOf` says what that means to whom. Hot: with a leader that
   * answers it is one ask. `server`: whom to ask first, who need not lead.
   */
  async trySend(
    call: ServiceCall,
    attempt: Attempt<Ref>,
    server?: string,
  ): Promise<FinalReply<R, Own> | undefined> {
    let first = server
    for (;;) {
      const leftMs = call.untilMs - this.nowMs()
      if (leftMs <= 0 || this.#isClosed || call.isOver || call.signal?.aborted === true) return undefined
      const target = first ?? this.#targetOf(call)
      first = undefined
      call.tries++
      const timeoutMs = Math.min(leftMs, call.attemptMs)
      const { signal } = call
      let bytes: Uint8Array
      call.isAsking = true
      const silence = this.#listenTo(call, target, timeoutMs)
      try {
        bytes = await attempt(
          this.#refTo(target),
          signal === undefined ? { timeoutMs } : { timeoutMs, signal },
        )
      } catch (error) {
        silence?.cancel()
        this.#note(call, target, error)
        call.isAsking = false
        await this.#backOff(call)
        continue
      }
      silence?.cancel()
      if (this.#doubted === target) this.#doubted = undefined
      call.isAsking = false
      const reply = this.#dialect.decode(bytes)
      if (isRetry(reply)) {
        const leader = this.#leader
        await this.#goOn(call, target, reply)
        // It has too much to do, and another can do it as well.
        if (server !== undefined && reply.kind === 'overloaded') {
          this.#leader = leader
          first = this.#nextServer()
        }
        continue
      }
      if (server === undefined) this.#leader = target
      return reply as FinalReply<R, Own>
    }
  }

  /** A ref to a server, for what is no call. */
  refTo(server: string): Ref {
    return this.#refTo(server)
  }

  /** The server whose turn it is. */
  nextServer(): string {
    return this.#nextServer()
  }

  /** This node when it is a server, else the one whose turn it is. */
  nearestServer(): string {
    const { node } = this.#dialect
    return this.#options.servers.includes(node) ? node : this.#nextServer()
  }

  /** Waits before another try; longer each time. */
  async pause(
    tries: number,
    signal: AbortSignal | undefined,
    leftMs = Number.POSITIVE_INFINITY,
    longestMs = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const { backoffMs, backoffMaxMs } = this.#options
    const most = Math.min(backoffMaxMs, longestMs)
    const delayMs = Math.min(backoffMs * 2 ** Math.min(tries, 16), most) * (0.5 + this.#random.float() / 2)
    await this.sleep(Math.min(delayMs, leftMs), signal)
  }

  /** Resolves after `delayMs`, or when aborted. */
  sleep(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        signal?.removeEventListener('abort', done)
        resolve()
      }
      const timer = this.#clock.setTimer(this.nowMs() + delayMs, done)
      if (signal?.aborted === true) done()
      else signal?.addEventListener('abort', done, { once: true })
    })
  }

  close(): void {
    this.#isClosed = true
  }

  /** Why a call has come to nothing, when its time is over. */
  failureOf({ what, isUnknown, lastProblem, tries, signal }: CallOutcome): ActorError {
    const details = { outcome: isUnknown ? 'unknown' : 'not-done', tries }
    if (signal?.aborted === true) {
      const text = `${what} was given up: ${isUnknown ? 'whether it was carried out is unknown' : 'nothing was done'}`
      return new ActorError('RUNTIME_ABORTED', text, details, signal.reason)
    }
    if (isUnknown) {
      const text = `Nobody knows whether ${what} was carried out: its deadline passed (${lastProblem}); read, and decide`
      return new OutcomeUnknown(text, details)
    }
    if (this.#isClosed) return this.#dialect.failures.closed()
    const text = `${what} was not done: no server could do it in time (${lastProblem}); try again later`
    return this.#dialect.failures.unavailable(text, details)
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  #targetOf({ silentAfterMs, tries }: ServiceCall): string {
    const leader = this.#leader
    if (leader === undefined) return this.#nextServer()
    if (silentAfterMs === undefined || tries > 0 || this.#doubted !== leader) return leader
    // It may be slow, and it may be gone: neither must hold up whoever comes behind.
    this.#isDetour = !this.#isDetour
    if (!this.#isDetour) return leader
    const other = this.#nextServer()
    return other === leader ? this.#nextServer() : other
  }

  #listenTo(call: ServiceCall, target: string, timeoutMs: number): Timer | undefined {
    const { silentAfterMs } = call
    if (silentAfterMs === undefined || silentAfterMs >= timeoutMs) return undefined
    return this.#clock.setTimer(this.nowMs() + silentAfterMs, () => {
      call.lastProblem = `node "${target}" has not answered yet`
      if (this.#leader !== target || this.#doubted === target) return
      this.#doubted = target
      this.#isDetour = false
    })
  }

  async #goOn(call: ServiceCall, target: string, reply: RetryReply): Promise<void> {
    if (this.#leader === target) this.#leader = undefined
    if (reply.kind !== 'not-leader') {
      if (reply.kind === 'unknown') call.isUnknown = true
      // A leader that has too much to do still leads.
      if (reply.kind === 'overloaded') this.#leader = target
      call.lastProblem = `node "${target}" said: ${reply.why}`
      await this.#backOff(call)
      return
    }
    const { leader } = reply
    call.lastProblem = leader === '' ? `node "${target}" knows no leader` : `node "${target}" does not lead`
    // Who is silent, and not known to lead, is waited for no more.
    if (leader === '' && this.#doubted !== undefined) this.#leader = undefined
    if (leader !== '' && this.#options.servers.includes(leader)) {
      const isNews = this.#leader !== leader
      this.#leader = leader
      // Two that name each other must not be asked as fast as they answer.
      if (isNews && call.tries % 3 !== 0) return
    }
    await this.#backOff(call, leaderlessPauseMs)
  }

  #note(call: ServiceCall, target: string, error: unknown): void {
    if (this.#leader === target) this.#leader = undefined
    if (!isActorError(error)) throw error
    // The request itself is what is wrong: another try would fare no better.
    if (error.code === 'RUNTIME_INVALID_MESSAGE' || error.code === 'RUNTIME_UNKNOWN_MESSAGE') throw error
    const isSent = !notSentCodes.has(error.code) && error.details['outcome'] !== 'not-sent'
    if (isSent) call.isUnknown = true
    call.lastProblem = error.message
  }

  #backOff(call: ServiceCall, longestMs?: number): Promise<void> {
    const leftMs = Math.max(0, call.untilMs - this.nowMs())
    return this.pause(Math.floor(call.tries / 2), call.signal, leftMs, longestMs)
  }

  #nextServer(): string {
    const { servers } = this.#options
    return servers[this.#turn++ % servers.length] as string
  }

  #refTo(server: string): Ref {
    let ref = this.#refs.get(server)
    if (ref === undefined) {
      ref = this.#dialect.refTo(server)
      this.#refs.set(server, ref)
    }
    return ref
  }
}
