/**
 * What one member adds to its node's metrics. Sums over all groups of the node: a node may have thousands, and a series for
 * each would cost more than it tells; of a single group its status tells.
 */
import type { Counter, Gauge, Metrics } from '@understudy/runtime'
import type { LogEntry, MemberId } from './raft-message.ts'
import type { RaftInput, RaftRole } from './raft-step.ts'

export class MemberMeters {
  readonly #leading: Gauge
  readonly #following: Gauge
  readonly #proposed: Counter
  readonly #committed: Counter
  readonly #applied: Counter
  readonly #elections: Counter
  readonly #leaderChanges: Counter
  readonly #snapshotsSent: Counter
  readonly #snapshotsReceived: Counter
  readonly #writes: Counter
  readonly #bytes: Counter
  /** Where it is counted now; `undefined`: not yet, or no more. */
  #counted: Gauge | undefined
  #leader: MemberId | undefined
  /** Up to here what is applied is counted, or came with a snapshot. */
  #index = 0

  constructor(metrics: Metrics) {
    this.#leading = metrics.gauge('understudy_groups', { role: 'leader' })
    this.#following = metrics.gauge('understudy_groups', { role: 'other' })
    this.#proposed = metrics.counter('understudy_group_entries_total', { stage: 'proposed' })
    this.#committed = metrics.counter('understudy_group_entries_total', { stage: 'committed' })
    this.#applied = metrics.counter('understudy_group_entries_total', { stage: 'applied' })
    this.#elections = metrics.counter('understudy_group_elections_total')
    this.#leaderChanges = metrics.counter('understudy_group_leader_changes_total')
    this.#snapshotsSent = metrics.counter('understudy_group_snapshots_total', { dir: 'out' })
    this.#snapshotsReceived = metrics.counter('understudy_group_snapshots_total', { dir: 'in' })
    this.#writes = metrics.counter('understudy_group_log_writes_total')
    this.#bytes = metrics.counter('understudy_group_log_bytes_total')
  }

  /** It takes part from now on; its state shows all entries up to `index`. */
  started(index: number): void {
    this.#index = index
    this.#count(this.#following)
  }

  closed(): void {
    this.#count(undefined)
  }

  became(role: RaftRole, leader: MemberId | undefined): void {
    if (role === 'candidate') this.#elections.add()
    // Losing sight of a leader and finding the same one again is no change.
    if (leader !== undefined && leader !== this.#leader) {
      this.#leader = leader
      this.#leaderChanges.add()
    }
    this.#count(role === 'leader' ? this.#leading : this.#following)
  }

  /** A write to the log was begun. Hot: once a step. */
  persisting(entries: readonly LogEntry[], role: RaftRole): void {
    this.#writes.add()
    if (role === 'leader') this.#proposed.add(entries.length)
    let bytes = 0
    for (const entry of entries) if (entry.type === 'command') bytes += entry.data.length
    this.#bytes.add(bytes)
  }

  committed(count: number): void {
    this.#committed.add(count)
  }

  /** The state shows all entries up to `index`. */
  applied(index: number): void {
    this.#applied.add(Math.max(0, index - this.#index))
    this.#index = index
  }

  /** The state became that of a snapshot: nothing was applied. */
  restored(index: number): void {
    this.#index = index
  }

  /** What its snapshots tell the core. */
  ofSnapshots(input: RaftInput): void {
    if (input.type === 'snapshot-status' && input.ok) this.#snapshotsSent.add()
    if (input.type === 'installed') this.#snapshotsReceived.add()
  }

  #count(gauge: Gauge | undefined): void {
    if (gauge === this.#counted) return
    this.#counted?.add(-1)
    gauge?.add(1)
    this.#counted = gauge
  }
}
