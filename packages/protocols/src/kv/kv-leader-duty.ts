/** What the leader of a store has to see to. All of it goes through the log: being a leader decides nothing by itself (R12). */
import type { KvCommand } from './kv-command.ts'
import type { KvMachine } from './kv-machine.ts'

/** Of `quotaBytes`: what is used above it makes the leader forget history sooner. */
const tightShare = 0.75

export interface KvDutyOptions {
  readonly quotaBytes: number
  readonly historyMax: number
}

/** What is to be proposed now, in `term`, when the log's time is about `timeMs`. Pure. O(leases). */
export function leaderDuty(
  machine: KvMachine,
  { quotaBytes, historyMax }: KvDutyOptions,
  term: number,
  timeMs: number,
): KvCommand | undefined {
  const { state } = machine
  if (state.quotaBytes !== quotaBytes) return { type: 'set-quota', bytes: quotaBytes }
  if (state.leases.size > 0) {
    // Leases run in a term from its first command on.
    if (state.leases.term !== term) return { type: 'lease-expire', ids: [] }
    const ids = machine.leasesOver(timeMs)
    if (ids.length > 0) return { type: 'lease-expire', ids }
  }
  const history = state.revision - state.compactRevision
  const isTight =
    historyMax !== Number.POSITIVE_INFINITY && state.bytes > quotaBytes * tightShare && history > 1
  if (history <= historyMax && !isTight) return undefined
  return { type: 'compact', revision: state.revision - Math.floor(Math.min(history, historyMax) / 2) }
}
