/** The arbiter of the downing strategy `lease`: something outside the partition that says yes to one side only. */

/**
 * A lease in a place that both sides of a partition may reach: a lock of another cluster, a row in a database, an object
 * of an orchestrator. Guarantees asked of an implementation:
 *
 * - **One owner at a time.** After `acquire(x)` has resolved with true, `acquire(y)` resolves with false until `x` has
 *   released it or it has expired.
 * - **The owner may ask again.** `acquire(x)` while `x` holds it resolves with true. All nodes of a side ask, under one
 *   and the same owner name.
 * - **An answer in doubt is a no.** When the store cannot be asked, `acquire` rejects or resolves with false; both send
 *   the node down. It should answer within `leaseTimeoutMs`: later counts as no.
 * - **It holds for long.** At least `leaseReleaseAfterMs` from the acquisition, or as long as the implementation renews
 *   it. When it is lost before its release, `onLost` is called, once.
 * - **`release(x)`** of somebody who does not hold it does nothing.
 */
export interface DowningLease {
  /** Tries to take the lease for `owner`, once, without waiting for another owner to let go. */
  acquire(owner: string, onLost?: () => void): Promise<boolean>
  /** Lets go, if `owner` holds it. */
  release(owner: string): Promise<void>
}
