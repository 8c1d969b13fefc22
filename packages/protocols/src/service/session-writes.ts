/** Writes of one client that are carried out once, however often they are tried: each has a number in a session of its group. */
import { OutcomeUnknown } from '../core/consensus-error.ts'
import type { ServiceCall, ServiceCaller } from './service-caller.ts'
import type { FinalReply, ReplyOfKind } from './service-reply.ts'
import { WriteSession } from './write-session.ts'

/** How a try waits. */
export interface TryOptions {
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** A write, as every service on a group takes it: `stampOf` reads its stamp. `session` 0: for what may be done twice. */
export interface WriteMessage {
  readonly type: 'write'
  readonly session: number
  readonly sequence: number
  /** Every write of the session below it is answered. */
  readonly below: number
  readonly command: Uint8Array
}

/** What a service is asked. */
export interface SessionAsks<Ref> {
  readonly openSession: (server: Ref, ttlMs: number, how: TryOptions) => Promise<Uint8Array>
  readonly write: (server: Ref, message: WriteMessage, how: TryOptions) => Promise<Uint8Array>
}

/** The session of one client, opened when it is first needed, and anew when it has ended. */
export class SessionWrites<Ref, R, Own extends ReplyOfKind = never> {
  readonly #caller: ServiceCaller<Ref, R, Own>
  readonly #asks: SessionAsks<Ref>
  readonly #ttlMs: number
  #session: WriteSession | undefined
  #opening: Promise<WriteSession> | undefined
  /** Writes that wait for it: whose time is over before it is there hears what kept it. */
  readonly #waiting = new Set<ServiceCall>()

  /** `ttlMs`: a session that was not used for so long is over. */
  constructor(caller: ServiceCaller<Ref, R, Own>, ttlMs: number, asks: SessionAsks<Ref>) {
    this.#caller = caller
    this.#ttlMs = ttlMs
    this.#asks = asks
  }

  /**
   * Applied once, however often it is tried. Gives nothing when the call's time is over. Hot (benchmark: raft).
   *
   * @throws {ActorError} (as a rejection) PROTOCOLS_OUTCOME_UNKNOWN when the session ended after a try that may have been done;
   *   what `ServiceCaller.trySend` and the opening of a session throw
   */
  async carry(call: ServiceCall & { readonly bytes: Uint8Array }): Promise<FinalReply<R, Own> | undefined> {
    const { bytes: command } = call
    for (;;) {
      const session = this.#session ?? (await this.#openFor(call))
      const sequence = session.take()
      let reply: FinalReply<R, Own> | undefined
      try {
        reply = await this.#caller.trySend(call, (server, how) =>
          this.#asks.write(
            server,
            { type: 'write', session: session.id, sequence, below: session.answeredBelow, command },
            how,
          ),
        )
      } finally {
        session.giveBack(sequence)
      }
      if (reply?.kind !== 'session-expired') return reply
      if (this.#session === session) this.#session = undefined
      if (call.isUnknown) {
        const text = `Nobody knows whether ${call.what} was carried out: its session ended while it was tried; read, and decide`
        throw new OutcomeUnknown(text, { outcome: 'unknown', tries: call.tries })
      }
    }
  }

  async #openFor(call: ServiceCall): Promise<WriteSession> {
    this.#waiting.add(call)
    try {
      return await this.#open()
    } finally {
      this.#waiting.delete(call)
    }
  }

  /** One for all that need it now. Calls whose deadlines pass meanwhile have failed by then. */
  #open(): Promise<WriteSession> {
    this.#opening ??= this.#ask().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #ask(): Promise<WriteSession> {
    const call = this.#caller.begin('opening a session', undefined)
    // That one may have been opened and not heard of harms nobody: nothing was written in it.
    const reply = await this.#caller
      .send(call, (server, how) => {
        const problem = call.tries === 1 ? 'no answer has come' : call.lastProblem
        for (const waiting of this.#waiting) waiting.lastProblem = `no session yet: ${problem}`
        return this.#asks.openSession(server, this.#ttlMs, how)
      })
      .catch((error: unknown) => {
        if (!(error instanceof OutcomeUnknown)) throw error
        const text = `No session could be opened in time (${call.lastProblem}); try again later`
        throw this.#caller.failures.unavailable(text, {})
      })
    if (!isOpened(reply)) throw new RangeError(`A server opened no session but answered "${reply.kind}"`)
    this.#session = new WriteSession(reply.number)
    return this.#session
  }
}

function isOpened(reply: ReplyOfKind): reply is Extract<FinalReply<never>, { readonly kind: 'opened' }> {
  return reply.kind === 'opened'
}
