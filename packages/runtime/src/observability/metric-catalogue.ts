/**
 * Every metric of these packages, declared once: the docs table, the tests and `/metrics` read it from here.
 *
 * Labels name kinds of things (an actor's definition, a reason), never single ones (a path, a key, a peer's port).
 */

export interface MetricDeclaration {
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** What one of it is, in the plural: `messages`, `bytes`, `seconds`. */
  readonly unit: string
  readonly labels: readonly string[]
  readonly help: string
  /** Upper edges of the buckets of a histogram. */
  readonly bounds?: readonly number[]
}

/** The name of a metric that these packages write. */
export type MetricName = keyof typeof catalogue

const catalogue = {
  understudy_actors: {
    type: 'gauge',
    unit: 'actors',
    labels: ['type'],
    help: 'Actors alive, by definition',
  },
  understudy_spawned_total: {
    type: 'counter',
    unit: 'actors',
    labels: ['type'],
    help: 'Actors started, restarts not counted',
  },
  understudy_restarts_total: {
    type: 'counter',
    unit: 'restarts',
    labels: ['type', 'reason'],
    help: 'Restarts by a supervisor; reason: the name of the error, or "left" for a permanent actor that stopped itself',
  },
  understudy_messages_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['type'],
    help: 'User messages handled, by definition of the actor',
  },
  understudy_dead_letters_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['reason', 'type'],
    help: 'Messages that reached nobody; reason: as in the dead letter',
  },
  understudy_stale_effects_total: {
    type: 'counter',
    unit: 'effects',
    labels: ['type'],
    help: 'Sends and results of an earlier incarnation, dropped by the fence',
  },
  understudy_handler_stalls_total: {
    type: 'counter',
    unit: 'turns',
    labels: ['type'],
    help: 'Synchronous turns that held the event loop longer than the stall limit',
  },
  understudy_members: {
    type: 'gauge',
    unit: 'nodes',
    labels: ['status'],
    help: 'Nodes in the view of this node, by status',
  },
  understudy_members_suspected_total: {
    type: 'counter',
    unit: 'nodes',
    labels: ['reason'],
    help: 'Suspicions of members; reason: probe-failed, link-lost, silent, refused, told',
  },
  understudy_members_down_total: {
    type: 'counter',
    unit: 'nodes',
    labels: ['reason'],
    help: 'Members that were given up; reason: refused, replaced, unreachable, indirectly-connected, other',
  },
  understudy_frames_total: {
    type: 'counter',
    unit: 'frames',
    labels: ['dir'],
    help: 'Binary frames on node links; dir: in, out',
  },
  understudy_frame_bytes_total: {
    type: 'counter',
    unit: 'bytes',
    labels: ['dir'],
    help: 'Bytes of those frames; dir: in, out',
  },
  understudy_groups: {
    type: 'gauge',
    unit: 'groups',
    labels: ['role'],
    help: 'Consensus groups that this node takes part in; role: leader, other',
  },
  understudy_group_entries_total: {
    type: 'counter',
    unit: 'entries',
    labels: ['stage'],
    help: 'Entries of the logs of all groups; stage: proposed (by leaders here), committed, applied',
  },
  understudy_group_elections_total: {
    type: 'counter',
    unit: 'elections',
    labels: [],
    help: 'Elections begun here, in all groups: a term was begun and votes were asked for',
  },
  understudy_group_leader_changes_total: {
    type: 'counter',
    unit: 'changes',
    labels: [],
    help: 'Times a group was seen here to have another leader than before, the first one included',
  },
  understudy_group_snapshots_total: {
    type: 'counter',
    unit: 'snapshots',
    labels: ['dir'],
    help: 'Snapshots that went whole from one member to another; dir: in (put in force here), out',
  },
  understudy_group_log_writes_total: {
    type: 'counter',
    unit: 'writes',
    labels: [],
    help: 'Writes to the logs of all groups: of entries, a vote, or both',
  },
  understudy_group_log_bytes_total: {
    type: 'counter',
    unit: 'bytes',
    labels: [],
    help: 'Bytes of commands in those writes',
  },
  understudy_refused_total: {
    type: 'counter',
    unit: 'refusals',
    labels: ['code'],
    help: 'Connections, handshakes and frames refused, by error code',
  },
} as const satisfies Readonly<Record<string, MetricDeclaration>>

/** All metrics by name, frozen. */
export const metricCatalogue: Readonly<Record<MetricName, MetricDeclaration>> = Object.freeze(catalogue)
