/** A lease that its client keeps alive, and a signal for when that fails. */
import { KeptLease } from '../service/kept-lease.ts'
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

/** Keeps one lease alive. */
export class KeptKvLease implements KvLease {
  readonly id: number
  readonly ttlMs: number
  readonly #kept: KeptLease
  readonly #revoke: () => Promise<void>

  /** `sentMs`: when the grant was first sent. */
  constructor(caller: KvCaller, id: number, ttlMs: number, sentMs: number, revoke: () => Promise<void>) {
    this.id = id
    this.ttlMs = ttlMs
    this.#revoke = revoke
    const command = encodeKvCommand({ type: 'lease-keep-alive', id })
    this.#kept = new KeptLease({
      ttlMs,
      sentMs,
      nowMs: () => caller.nowMs(),
      sleep: (delayMs, signal) => caller.sleep(delayMs, signal),
      keepAlive: async (beat) => {
        const call = caller.begin(`the keep-alive of lease ${id}`, beat)
        const reply = await caller.send(call, (server, how) =>
          server.ask({ type: 'keepAlive', command }, how),
        )
        return reply.kind === 'result' && reply.result.ok
      },
      lost: (why) => new KvError('KV_LEASE_LOST', `Lease ${id} is lost: ${why}`, { lease: id }),
    })
  }

  get signal(): AbortSignal {
    return this.#kept.signal
  }

  get heldUntilMs(): number {
    return this.#kept.heldUntilMs
  }

  async revoke(): Promise<void> {
    this.#kept.end('it was revoked by its client')
    await this.#revoke()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.revoke()
  }

  /** Stops keeping it alive: it ends with its time. */
  abandon(): void {
    this.#kept.end('its client was closed')
  }
}
