/** Which faults the scenarios of remote messages are made to meet, and how often. */

/** All that a network, a process and a clock may suffer; disks are left alone: nothing of these scenarios is kept. */
export const wireFaults: readonly string[] = [
  ...[
    'clog',
    'swizzle',
    'slow-link',
    'capacity',
    'bandwidth',
    'half-open',
    'reset',
    'corruption',
    'truncation',
  ],
  ...['refuse-dials', 'lose-dials', 'partition-isolate', 'partition-halves', 'partition-assignment'],
  ...[
    'partition-minority-third',
    'partition-ring',
    'partition-bridge',
    'partition-one-way',
    'partition-zone',
  ],
  'partition-flapping',
]
export const hostFaults: readonly string[] = [
  ...['kill', 'kill-at-effect', 'stop-gently', 'pause', 'stall', 'slow-cpu', 'started-twice', 'power-cut'],
  ...['clock-offset', 'clock-back', 'clock-drift', 'clock-frozen', 'clock-strobe'],
  'wire-pin',
]
export const allFaults: readonly string[] = [...wireFaults, ...hostFaults]

/** Those that three nodes can meet: some partitions need four. */
export const threeNodeFaults: readonly string[] = allFaults.filter(
  (name) => name !== 'partition-minority-third' && name !== 'partition-ring',
)

/** What a rollout reaches: nodes of two wires in one cluster, and one of the older that has become one of the newer. */
export const wireTags: readonly string[] = ['wire-mixed', 'wire-upgraded']
/** What the simulated network and its nodes themselves reach. */
export const frameTags: readonly string[] = ['frame-corrupted', 'frame-truncated', ...wireTags]

/** So many kinds at once: most of them rest in most seeds, or nobody would ever reach anybody. */
export const faultChances: readonly number[] = Object.freeze([0, 0, 0, 0.004, 0.03])
