/** The arbiter of the downing strategy `lease` as a lock of a replicated table: the side that has its majority lives. */
import type { DowningLease } from '@understudy/cluster'
import { isActorError } from '@understudy/runtime'
import type { LockClient } from '../lock/lock-client.ts'
import type { HeldSpin } from '../lock/lock.ts'

export interface LockDowningLeaseOptions {
  /** The lock's name: the same on all nodes of a cluster, another one for each cluster. @default 'understudy/downing' */
  readonly name?: string | undefined
  /**
   * How long the table keeps it for a side of which nobody renews it any more; it is renewed three times in this time. At least
   * `leaseReleaseAfterMs` of the downing options (if left out 40_000, or more where `stableAfterMs` is long, as with wan: see
   * there), so that a side that finds out late is refused also when the nodes of the other one have just died. Milliseconds.
   * @default 60_000
   */
  readonly ttlMs?: number | undefined
  /** How long one question may take. Below `leaseTimeoutMs` of the downing options (5_000). Milliseconds. @default 4_000 */
  readonly timeoutMs?: number | undefined
}

export const lockDowningLeaseDefaults = Object.freeze({
  name: 'understudy/downing',
  ttlMs: 60_000,
  timeoutMs: 4_000,
})

/** What the lease needs of a client of the lock table. */
export type DowningLockClient = Pick<LockClient, 'spinLock' | 'nowMs' | 'sleep'>

/**
 * A `DowningLease` on a lock table: `startNode({ downing: { strategy: 'lease' }, downingLease: lockDowningLease(...) })`. All nodes of
 * a side ask under one name, so what one of them got all of them have.
 *
 * Where should the table live? It answers only where a majority of **its members** can talk to each other, so:
 * - On nodes of **another** cluster, or of a place that both sides reach: whichever side reaches it first lives, a majority of
 *   the nodes at once and a minority `leaseMinorityDelayMs` later.
 * - On nodes of **this** cluster: then the side with the majority of the table's members lives, however few nodes it has else. Put
 *   them on an odd number of nodes (3 or 5), in places that do not fail together, so that of every split that is likely one side
 *   has most of them. Without a majority of them on any side **all nodes go down**, also when only those died and no link did: it
 *   is for clusters whose other nodes are many or come and go, on a few that stay.
 *
 * With the table on this cluster's nodes, set `expect` of the nodes above the number that one split can make go: those that went start
 * again, and as many as `expect` that meet on their side would found another cluster, beside the one that lives.
 *
 * An answer in doubt is a no. The node that had asked is lost then, not the cluster: a lease that was given for all that, unnoticed,
 * ends after `ttlMs`, and until then the other side is refused.
 *
 * @param client The client, or what gives it: on nodes that have the table themselves it can only be made when the node has been
 *   started. As long as it gives none, the answer is a no
 * @throws {RangeError} an option is out of range
 */
export function lockDowningLease(
  client: DowningLockClient | (() => DowningLockClient | undefined),
  options: LockDowningLeaseOptions = {},
): DowningLease {
  const name = options.name ?? lockDowningLeaseDefaults.name
  const ttlMs = checkedMs('ttlMs', options.ttlMs ?? lockDowningLeaseDefaults.ttlMs)
  const timeoutMs = checkedMs('timeoutMs', options.timeoutMs ?? lockDowningLeaseDefaults.timeoutMs)
  return new TableLease(typeof client === 'function' ? client : () => client, name, ttlMs, timeoutMs)
}

/** Renewals in the time of the lock. */
const beats = 3

class TableLease implements DowningLease {
  readonly #client: () => DowningLockClient | undefined
  readonly #name: string
  readonly #ttlMs: number
  readonly #timeoutMs: number
  /** By owner: what is held, and renewed. A node asks for one at a time; another one is of another side that it is part of now. */
  readonly #kept = new Map<string, KeptLock>()
  /** By owner: how many questions are under way. */
  readonly #asking = new Map<string, number>()

  constructor(client: () => DowningLockClient | undefined, name: string, ttlMs: number, timeoutMs: number) {
    this.#client = client
    this.#name = name
    this.#ttlMs = ttlMs
    this.#timeoutMs = timeoutMs
  }

  async acquire(owner: string, onLost?: () => void): Promise<boolean> {
    const client = this.#client()
    if (client === undefined) return false
    const lock = client.spinLock(this.#name, { ttlMs: this.#ttlMs, owner })
    let held: HeldSpin | undefined
    this.#asking.set(owner, (this.#asking.get(owner) ?? 0) + 1)
    try {
      held = await lock.tryAcquire({ timeoutMs: this.#timeoutMs })
    } finally {
      const left = (this.#asking.get(owner) ?? 1) - 1
      if (left > 0) this.#asking.set(owner, left)
      else this.#asking.delete(owner)
    }
    if (held === undefined) return false
    this.#kept.get(owner)?.stop()
    const isWanted = (): boolean => this.#kept.has(owner) || this.#asking.has(owner)
    const kept = new KeptLock(client, held, isWanted, () => {
      this.#kept.delete(owner)
      onLost?.()
    })
    this.#kept.set(owner, kept)
    // An answer that takes longer than it is held is of no use.
    const again = (leftMs: number): Promise<HeldSpin | undefined> =>
      lock.tryAcquire({ timeoutMs: Math.min(this.#timeoutMs, leftMs) })
    void kept.keep(again, this.#ttlMs)
    return true
  }

  async release(owner: string): Promise<void> {
    const kept = this.#kept.get(owner)
    if (kept === undefined) return
    this.#kept.delete(owner)
    kept.stop()
    try {
      await kept.held.release({ timeoutMs: this.#timeoutMs })
    } catch (error) {
      // Another node of this side has released it, or its time was over.
      if (!isActorError(error, 'LOCK_NOT_HELD')) throw error
    }
  }
}

/** One acquisition, renewed until it is released or lost. */
class KeptLock {
  readonly #client: DowningLockClient
  readonly #isWanted: () => boolean
  readonly #onLost: () => void
  readonly #over = new AbortController()
  held: HeldSpin

  /** `isWanted`: once this was stopped, whether its owner has it, or asks for it, by another acquisition. */
  constructor(client: DowningLockClient, held: HeldSpin, isWanted: () => boolean, onLost: () => void) {
    this.#client = client
    this.held = held
    this.#isWanted = isWanted
    this.#onLost = onLost
  }

  stop(): void {
    this.#over.abort()
  }

  /**
   * Asks for it again, under the same name. Not by `extend`: when another node of this side has released it meanwhile it is free,
   * and to take it anew until this node releases it too is harmless; only when somebody else has it, it is lost.
   */
  async keep(again: (leftMs: number) => Promise<HeldSpin | undefined>, ttlMs: number): Promise<void> {
    const { signal } = this.#over
    let pauseMs = ttlMs / beats
    for (;;) {
      await this.#client.sleep(Math.max(0, Math.min(pauseMs, this.#leftMs())), signal)
      if (signal.aborted) return
      const leftMs = this.#leftMs()
      if (leftMs <= 0) {
        this.#lose()
        return
      }
      try {
        const held = await again(leftMs)
        if (isAborted(signal)) {
          // It was released while this asked: what the answer brought goes too, unless it was asked for again since.
          if (held !== undefined && !this.#isWanted()) await held.release()
          return
        }
        if (held === undefined) {
          this.#lose()
          return
        }
        this.held = held
        pauseMs = ttlMs / beats
      } catch (error) {
        // Its own time decides.
        if (!isActorError(error)) throw error
        pauseMs = ttlMs / (beats * 10)
      }
    }
  }

  #leftMs(): number {
    return this.held.heldUntilMs - this.#client.nowMs()
  }

  #lose(): void {
    this.#over.abort()
    this.#onLost()
  }
}

function isAborted(signal: AbortSignal): boolean {
  return signal.aborted
}

function checkedMs(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new RangeError(
    `Cannot make a downing lease of a lock: "${name}" must be a whole number of milliseconds above 0, got ${value}`,
  )
}
