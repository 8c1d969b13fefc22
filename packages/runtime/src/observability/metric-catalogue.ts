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

const secondsBounds = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10] as const

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
    help: 'Restarts by a supervisor; reason: crash, start-failed, handler-timeout, linked, sibling',
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
    help: 'Messages that reached nobody; reason: stopped, stopping, not-found, overflow, expired, stash-overflow, stale',
  },
  understudy_stale_effects_total: {
    type: 'counter',
    unit: 'effects',
    labels: ['type'],
    help: 'Sends and results of an earlier incarnation, dropped by the fence',
  },
  understudy_expired_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['type'],
    help: 'Asks dropped from a mailbox because their deadline had passed',
  },
  understudy_mailbox_dropped_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['reason', 'type'],
    help: 'Messages that a full mailbox did not keep; reason: drop-new, drop-old, reject',
  },
  understudy_handler_stalls_total: {
    type: 'counter',
    unit: 'turns',
    labels: ['type'],
    help: 'Synchronous turns that held the event loop longer than the stall limit',
  },
  understudy_asks_total: {
    type: 'counter',
    unit: 'asks',
    labels: ['outcome'],
    help: 'Asks settled; outcome: ok, or the code of the error without its prefix, in lower case',
  },
  understudy_schema_rejects_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['type', 'message'],
    help: 'Messages and replies that their schema refused',
  },
  understudy_members: {
    type: 'gauge',
    unit: 'nodes',
    labels: ['status'],
    help: 'Nodes in the view of this node, by status',
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
  understudy_refused_total: {
    type: 'counter',
    unit: 'refusals',
    labels: ['code'],
    help: 'Connections, handshakes and frames refused, by error code',
  },
  understudy_link_connects_total: {
    type: 'counter',
    unit: 'connections',
    labels: ['outcome'],
    help: 'Attempts to connect a node link; outcome: ok, failed',
  },
  understudy_link_dropped_total: {
    type: 'counter',
    unit: 'messages',
    labels: ['reason'],
    help: 'Messages that a node link could not keep; reason: full, closed',
  },
  understudy_ring_moves_total: {
    type: 'counter',
    unit: 'changes',
    labels: [],
    help: 'Changes of the view that gave keys of the hash ring another owner',
  },
  understudy_probe_rtt_seconds: {
    type: 'histogram',
    unit: 'seconds',
    labels: [],
    help: 'Round trips of heartbeats between nodes',
    bounds: secondsBounds,
  },
} as const satisfies Readonly<Record<string, MetricDeclaration>>

/** All metrics by name, frozen. */
export const metricCatalogue: Readonly<Record<MetricName, MetricDeclaration>> = Object.freeze(catalogue)
