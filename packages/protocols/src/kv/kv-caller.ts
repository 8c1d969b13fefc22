/**
 * Brings a client's requests to the right server: follows the leader, tries again what may be tried again, and says at the
 * end whether nothing was done or nobody knows.
 */
import { ActorError, isActorError, type ActorRef } from '@understudy/runtime'
import type { Clock, Random } from '@understudy/runtime'
import { OutcomeUnknown } from '../core/consensus-error.ts'
import type { CheckedKvClientOptions, KvCallOptions } from './kv-client-options.ts'
import { KvError } from './kv-error.ts'
import {
  decodeKvReply,
  KvService,
  kvServicePath,
  type KvReply,
  type KvServiceMessages,
} from './kv-protocol.ts'
import type { KvNode } from './kv-service.ts'

export type KvServiceRef = ActorRef<KvServiceMessages>
/** One try of a request. */
export type Attempt = (
  server: KvServiceRef,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
) => Promise<Uint8Array>

/** A request that is under way. */
export interface KvCall {
  /** For messages to people: `put "a"`. */
  readonly what: string
  readonly untilMs: number
  readonly signal: AbortSignal | undefined
  /** How long one try waits. */
  readonly attemptMs: number
  /** Some try of it may have been carried out. */
  isUnknown: boolean
  tries: number
  lastProblem: string
}

/** An answer that ends a call, whatever it means. */
export type FinalReply = Exclude<
  KvReply,
  { readonly kind: 'not-leader' | 'overloaded' | 'unknown' | 'closed' }
>

/** What an ask says when its request has not been looked at. */
const notSentCodes: ReadonlySet<string> = new Set([
  'CLUSTER_LINK_FULL',
  'RUNTIME_NO_SUCH_ACTOR',
  'RUNTIME_MAILBOX_FULL',
  'RUNTIME_EXPIRED',
])

/** Follows the leader for all calls of one client. */
export class KvCaller {
  readonly #node: KvNode
  readonly #options: CheckedKvClientOptions
  readonly #clock: Clock
  readonly #random: Random
  readonly #refs = new Map<string, KvServiceRef>()
  /** Who led last. */
  #leader: string | undefined
  /** Whom to ask when nobody knows. */
  #turn: number
  #inFlight = 0
  readonly #waiting: (() => void)[] = []
  #isClosed = false

  constructor(node: KvNode, options: CheckedKvClientOptions, random: Random) {
    this.#node = node
    this.#options = options
    const { clock } = node.system.platform
    this.#clock = clock
    this.#random = random
    // Whoever is here is nearest.
    this.#turn = Math.max(0, options.servers.indexOf(node.name))
  }

  get leader(): string | undefined {
    return this.#leader
  }

  nowMs(): number {
    return this.#clock.monotonicMs()
  }

  begin(
    what: string,
    options: KvCallOptions | undefined,
    attemptMs: number = this.#options.attemptMs,
  ): KvCall {
    const timeoutMs = options?.timeoutMs ?? this.#options.timeoutMs
    return {
      what,
      untilMs: this.nowMs() + timeoutMs,
      signal: options?.signal,
      attemptMs,
      isUnknown: false,
      tries: 0,
      lastProblem: 'no server was asked',
    }
  }

  /**
   * Takes a place among the calls under way; a promise when it has to be waited for. Each is given back by `leave`. Hot: no
   * promise where there is room.
   *
   * @throws {KvError} (also as a rejection) KV_CLIENT_CLOSED, KV_CLIENT_FULL, and what a deadline and a signal say
   */
  enter(call: KvCall): Promise<void> | undefined {
    if (this.#isClosed) throw closed()
    if (this.#inFlight >= this.#options.inFlightMax) return this.#waitForRoom(call)
    this.#inFlight++
    return undefined
  }

  leave(): void {
    this.#inFlight--
    this.#waiting.shift()?.()
  }

  /**
   * Tries until there is an answer that ends the call. Hot: with a leader that answers it is one ask.
   *
   * @throws {ActorError} (as a rejection) KV_UNAVAILABLE, PROTOCOLS_OUTCOME_UNKNOWN, RUNTIME_ABORTED, RUNTIME_INVALID_MESSAGE
   */
  async send(call: KvCall, attempt: Attempt, server?: string): Promise<FinalReply> {
    let first = server
    for (;;) {
      const leftMs = call.untilMs - this.nowMs()
      if (leftMs <= 0 || this.#isClosed || call.signal?.aborted === true) throw this.#failure(call)
      const target = first ?? this.#leader ?? this.#nextServer()
      first = undefined
      call.tries++
      const timeoutMs = Math.min(leftMs, call.attemptMs)
      const { signal } = call
      let bytes: Uint8Array
      try {
        bytes = await attempt(
          this.#refTo(target),
          signal === undefined ? { timeoutMs } : { timeoutMs, signal },
        )
      } catch (error) {
        this.#note(call, target, error)
        await this.#backOff(call)
        continue
      }
      const reply = decodeKvReply(bytes)
      if (isFinal(reply)) {
        if (server === undefined) this.#leader = target
        return reply
      }
      await this.#goOn(call, target, reply)
    }
  }

  /** A ref to a server, for what is no call. */
  refTo(server: string): KvServiceRef {
    return this.#refTo(server)
  }

  /** The server whose turn it is. */
  nextServer(): string {
    return this.#nextServer()
  }

  /** This node when it is a server, else the one whose turn it is. */
  nearestServer(): string {
    const { name } = this.#node
    return this.#options.servers.includes(name) ? name : this.#nextServer()
  }

  /** What others do for this call and for more: waits no longer than the call may. */
  within<T>(call: KvCall, promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        timer.cancel()
        call.signal?.removeEventListener('abort', giveUp)
      }
      const giveUp = (): void => {
        stop()
        reject(this.#failure(call))
      }
      const timer = this.#clock.setTimer(call.untilMs, giveUp)
      if (call.signal?.aborted === true) giveUp()
      else call.signal?.addEventListener('abort', giveUp, { once: true })
      promise.then(resolve, reject).finally(stop)
    })
  }

  /** Waits before another try; longer each time. */
  async pause(
    tries: number,
    signal: AbortSignal | undefined,
    atMostMs = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const { backoffMs, backoffMaxMs } = this.#options
    const delayMs =
      Math.min(backoffMs * 2 ** Math.min(tries, 16), backoffMaxMs) * (0.5 + this.#random.float() / 2)
    await this.sleep(Math.min(delayMs, atMostMs), signal)
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
    for (const wake of this.#waiting.splice(0)) wake()
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  async #goOn(call: KvCall, target: string, reply: Exclude<KvReply, FinalReply>): Promise<void> {
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
    if (leader !== '' && this.#options.servers.includes(leader)) {
      const isNews = this.#leader !== leader
      this.#leader = leader
      // Two that name each other must not be asked as fast as they answer.
      if (isNews && call.tries % 3 !== 0) return
    }
    await this.#backOff(call)
  }

  #note(call: KvCall, target: string, error: unknown): void {
    if (this.#leader === target) this.#leader = undefined
    if (!isActorError(error)) throw error
    // The request itself is what is wrong: another try would fare no better.
    if (error.code === 'RUNTIME_INVALID_MESSAGE' || error.code === 'RUNTIME_UNKNOWN_MESSAGE') throw error
    const isSent = !notSentCodes.has(error.code) && error.details['outcome'] !== 'not-sent'
    if (isSent) call.isUnknown = true
    call.lastProblem = error.message
  }

  #failure(call: KvCall): ActorError {
    const { what, isUnknown, lastProblem, tries, signal } = call
    const details = { outcome: isUnknown ? 'unknown' : 'not-done', tries }
    if (signal?.aborted === true) {
      const text = `${what} was given up: ${isUnknown ? 'whether it was carried out is unknown' : 'nothing was done'}`
      return new ActorError('RUNTIME_ABORTED', text, details, signal.reason)
    }
    if (isUnknown) {
      const text = `Nobody knows whether ${what} was carried out: its deadline passed (${lastProblem}); read, and decide`
      return new OutcomeUnknown(text, details)
    }
    if (this.#isClosed) return closed()
    const text = `${what} was not done: no server could do it in time (${lastProblem}); try again later`
    return new KvError('KV_UNAVAILABLE', text, details)
  }

  #backOff(call: KvCall): Promise<void> {
    return this.pause(Math.floor(call.tries / 2), call.signal, Math.max(0, call.untilMs - this.nowMs()))
  }

  #nextServer(): string {
    const { servers } = this.#options
    return servers[this.#turn++ % servers.length] as string
  }

  #refTo(server: string): KvServiceRef {
    let ref = this.#refs.get(server)
    if (ref === undefined) {
      ref = this.#node.ref(KvService, server, kvServicePath(this.#options.name))
      this.#refs.set(server, ref)
    }
    return ref
  }

  async #waitForRoom(call: KvCall): Promise<void> {
    const { inFlightMax, waitingMax } = this.#options
    while (this.#inFlight >= inFlightMax) {
      if (this.#waiting.length >= waitingMax) {
        const text = `${call.what} was not done: ${inFlightMax} calls are under way and ${waitingMax} wait; wait for some`
        throw new KvError('KV_CLIENT_FULL', text)
      }
      await this.#waitInLine(call)
      if (this.#isClosed) throw closed()
      if (call.signal?.aborted === true || call.untilMs <= this.nowMs()) {
        // It may have been woken for a place that it does not take.
        if (this.#inFlight < inFlightMax) this.#waiting.shift()?.()
        throw this.#failure(call)
      }
    }
    this.#inFlight++
  }

  #waitInLine(call: KvCall): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel()
        call.signal?.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        const at = this.#waiting.indexOf(wake)
        if (at >= 0) this.#waiting.splice(at, 1)
        wake()
      }
      const timer = this.#clock.setTimer(call.untilMs, leave)
      this.#waiting.push(wake)
      if (call.signal?.aborted === true) leave()
      else call.signal?.addEventListener('abort', leave, { once: true })
    })
  }
}

function isFinal(reply: KvReply): reply is FinalReply {
  const { kind } = reply
  return kind === 'result' || kind === 'opened' || kind === 'session-expired' || kind === 'compacted'
}

function closed(): KvError {
  return new KvError('KV_CLIENT_CLOSED', 'The client of the store was closed')
}
