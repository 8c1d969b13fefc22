/**
 * Isolation levels and what each forbids (Adya, Liskov and O'Neil 2000; Fekete et al. 2005 for snapshot isolation;
 * names as in Kingsbury and Alvaro 2020).
 */

/** From the weakest to the strongest; each forbids what those before it forbid, and more. */
export const isolationLevels = Object.freeze([
  'read-uncommitted',
  'read-committed',
  'snapshot-isolation',
  'serializable',
  'strict-serializable',
] as const)

export type IsolationLevel = (typeof isolationLevels)[number]

/** What was found, from the worst to the mildest. */
export type IsolationAnomalyType = keyof typeof forbiddenFrom

/**
 * Each anomaly and the weakest level that forbids it.
 * - `unwritten-read`: a value was read that nobody appended.
 * - `duplicate-elements`: one append shows twice in one list.
 * - `G0`: a circle of appends alone: writes of two transactions are interleaved.
 * - `G1a`, aborted read: a value of a transaction that was aborted was read.
 * - `G1b`, intermediate read: a list was read in the midst of the appends of another transaction.
 * - `incompatible-order`: two reads of a key of which neither is the beginning of the other.
 * - `G1c`: a circle of appends and of reads of what was appended.
 * - `internal`: a transaction does not agree with itself: its own append is missing, or a second read differs.
 * - `lost-update`: two transactions read the same state of a key and then both appended to it.
 * - `G-single`: a circle with one anti-dependency (one read what another then changed): read skew.
 * - `G-nonadjacent`: a circle with several anti-dependencies, no two in succession: long fork.
 * - `G2-item`: a circle with two anti-dependencies in succession: write skew.
 * - `...-session`: a circle with the order in which one client called its transactions. Forbidden where `session` is
 *   demanded, and by strict serializability.
 * - `...-realtime`: a circle with "had returned before the other was called".
 */
export const forbiddenFrom = Object.freeze({
  'unwritten-read': 'read-uncommitted',
  'duplicate-elements': 'read-uncommitted',
  G0: 'read-uncommitted',
  G1a: 'read-committed',
  G1b: 'read-committed',
  'incompatible-order': 'read-committed',
  G1c: 'read-committed',
  internal: 'snapshot-isolation',
  'lost-update': 'snapshot-isolation',
  'G-single': 'snapshot-isolation',
  'G-nonadjacent': 'snapshot-isolation',
  'G2-item': 'serializable',
  'G0-session': 'strict-serializable',
  'G1c-session': 'strict-serializable',
  'G-single-session': 'strict-serializable',
  'G-nonadjacent-session': 'strict-serializable',
  'G2-item-session': 'strict-serializable',
  'G0-realtime': 'strict-serializable',
  'G1c-realtime': 'strict-serializable',
  'G-single-realtime': 'strict-serializable',
  'G-nonadjacent-realtime': 'strict-serializable',
  'G2-item-realtime': 'strict-serializable',
} as const satisfies Readonly<Record<string, IsolationLevel>>)

/** What kind of order a step of a circle is due to. */
export type DependencyKind = 'ww' | 'wr' | 'rw' | 'session' | 'realtime'

/** `from` must come before `to`. */
export interface Dependency {
  /** Transactions: positions in the history. */
  readonly from: number
  readonly to: number
  /**
   * `ww`: `to` appended after `from`; `wr`: `to` read what `from` appended; `rw`: `to` appended what `from` did not yet
   * see; `session`: the same client called `from` first; `realtime`: `from` had returned when `to` was called.
   */
  readonly kind: DependencyKind
  /** In words: `T4 read x as [1], without 2, which T5 appended`. */
  readonly because: string
}

export interface IsolationAnomaly {
  readonly type: IsolationAnomalyType
  /** The weakest level that forbids it. */
  readonly forbiddenFrom: IsolationLevel
  /** Positions in the history; of a circle in its order. */
  readonly transactions: readonly number[]
  /** For people, several lines. */
  readonly explanation: string
  /** Of a circle its steps; the last leads back to the first transaction. */
  readonly cycle?: readonly Dependency[] | undefined
}

/** True when `level` forbids what is forbidden from `from` on. */
export function isForbiddenBy(from: IsolationLevel, level: IsolationLevel): boolean {
  return isolationLevels.indexOf(from) <= isolationLevels.indexOf(level)
}
