/** What became of messages that reached nobody. */

/**
 * Why. `stopped`, `stopping`: the actor is gone or going; `not-found`: nobody lives at the path; `overflow`,
 * `stash-overflow`: a bound was reached; `expired`: its deadline passed while it waited; `stale`: it belongs to an
 * incarnation that is gone; `invalid`, `unknown-message`: it does not fit the protocol; `node-down`, `link-full`: it
 * could not be sent to another node.
 */
export type DeadLetterReason =
  | 'stopped'
  | 'stopping'
  | 'not-found'
  | 'overflow'
  | 'stash-overflow'
  | 'expired'
  | 'stale'
  | 'invalid'
  | 'unknown-message'
  | 'node-down'
  | 'link-full'
