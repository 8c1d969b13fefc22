/** A lease that its client keeps alive, and a signal for when that fails. */
import { ActorError } from '@understudy/runtime'
import type { KvCaller } from './kv-caller.ts'
import { encodeKvCommand } from './kv-codec.ts'
import { KvError } from './kv-error.ts'

/** Keys put with its id go when it goes. */
export interface KvLease extends AsyncDisposable {
  readonly id: number
  readonly ttlMs: number
  /**
   * Aborted, with a KvError (KV_LEASE_LOST) as its reason, before anybody can see its keys go: a hundredth of the TTL early,
   * counted from when the last keep-alive was sent. After a pause of the process it comes late all the same: whoever is
   * written to has to check, by the lease's key in a transaction.
   */
  readonly signal: AbortSignal
  /** Monotonic milliseconds: until then it is held, as far as this client knows. */
  readonly heldUntilMs: number
  /** Ends it and its keys. */
  readonly revoke: () => Promise<void>
}

/** How fast the clocks of two nodes may run apart. */
const clockDriftMax = 0.01
/** Keep-alives in the time of a lease. */
const beats = 3

/** Keeps one lease alive. */
export class KeptLease implements KvLease {
  readonly id: number
  readonly ttlMs: number
  readonly #caller: KvCaller
  readonly #revoke: () => Promise<void>
  readonly #lost = new AbortController()
  /** Ends the keeping, for whatever reason. */
  readonly #over = new AbortController()
  heldUntilMs: number

  /** `sentMs`: when the grant was first sent. */
  constructor(caller: KvCaller, id: number, ttlMs: number, sentMs: number, revoke: () => Promise<void>) {
    this.id = id
    this.ttlMs = ttlMs
    this.#caller = caller
    this.#revoke = revoke
    this.heldUntilMs = this.#until(sentMs)
    void this.#keep()
  }

  get signal(): AbortSignal {
    return this.#lost.signal
  }

  async revoke(): Promise<void> {
    this.#over.abort()
    this.#lose('it was revoked by its client')
    await this.#revoke()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.revoke()
  }

  /** Stops keeping it alive: it ends with its time. */
  abandon(): void {
    this.#over.abort()
    this.#lose('its client was closed')
  }

  #until(sentMs: number): number {
    return sentMs + this.ttlMs * (1 - clockDriftMax)
  }

  async #keep(): Promise<void> {
    const { signal } = this.#over
    while (!signal.aborted) {
      const untilNext = Math.min(this.ttlMs / beats, this.heldUntilMs - this.#caller.nowMs())
      await this.#caller.sleep(Math.max(0, untilNext), signal)
      if (signal.aborted) return
      const sentMs = this.#caller.nowMs()
      if (sentMs >= this.heldUntilMs) {
        this.#lose('it could not be kept alive in time')
        return
      }
      try {
        if (await this.#keepAlive(this.heldUntilMs - sentMs)) this.heldUntilMs = this.#until(sentMs)
        else {
          this.#lose('the store knows no such lease: it was revoked, or its time was over')
          return
        }
      } catch (error) {
        // Its own time decides.
        if (!(error instanceof ActorError)) throw error
      }
    }
  }

  /** False: there is no such lease. */
  async #keepAlive(timeoutMs: number): Promise<boolean> {
    const command = encodeKvCommand({ type: 'lease-keep-alive', id: this.id })
    const options = { timeoutMs, signal: this.#over.signal }
    const call = this.#caller.begin(
      `the keep-alive of lease ${this.id}`,
      options,
      Math.max(1, this.ttlMs / (beats * 2)),
    )
    const reply = await this.#caller.send(call, (server, how) =>
      server.ask({ type: 'keepAlive', command }, how),
    )
    return reply.kind === 'result' && reply.result.ok
  }

  #lose(why: string): void {
    this.#over.abort()
    if (this.#lost.signal.aborted) return
    this.#lost.abort(new KvError('KV_LEASE_LOST', `Lease ${this.id} is lost: ${why}`, { lease: this.id }))
  }
}
