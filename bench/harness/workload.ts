/**
 * The workloads: what each one does, what counts as one operation, how its size is chosen, and what the
 * project promises for it. README.md says the same in prose; a system implements them in its own idiom.
 */
import type { Sample } from './sample.ts'

/** What a row is measured in. Rates are better when higher, all others when lower. */
export type Unit = 'ops/s' | 'bytes' | 'us' | 'ms'

/** What the project's own system has to reach. Ratios are to the `limit` of the same run. */
export type Target =
  | { readonly kind: 'ratio-at-least'; readonly value: number }
  | { readonly kind: 'ratio-at-most'; readonly value: number }
  | { readonly kind: 'at-least'; readonly value: number }
  | { readonly kind: 'at-most'; readonly value: number }

/** How many operations a run gets. */
export type Size =
  /** Chosen so that a run takes the sample time, starting the search at `startOperations`. */
  | { readonly kind: 'calibrated'; readonly startOperations: number; readonly operationsMax: number }
  /** Always the same count, because the figure depends on it. */
  | { readonly kind: 'fixed'; readonly operations: number; readonly operationsQuick: number }

/** One workload's definition. */
export interface Workload {
  readonly unit: Unit
  /** One line: what one operation is. */
  readonly operation: string
  readonly size: Size
  /** Undefined where the project promises nothing yet. */
  readonly target: Target | undefined
  /** Forces collections, which shrink the young generation and cool code: measured after all others. */
  readonly collects?: true
}

/** Every workload's name, in the order of the table. */
export type WorkloadName =
  | 'ping-pong'
  | 'ring-100'
  | 'ring-503'
  | 'counting'
  | 'fan-in-8'
  | 'fork-join-create'
  | 'all-to-all-64'
  | 'ask-1'
  | 'ask-64'
  | 'bytes-per-actor'
  | 'spawn'
  | 'spawn-message-stop'
  | 'crash-restart'
  | 'one-way-2p'
  | 'round-trip-2p'
  | 'remote-ask-64'
  | 'volley-lag'

/**
 * A system under measurement. Each function does about `n` operations of its workload (see `WORKLOADS`),
 * measures them with `performance.now()` around the operations alone, leaves nothing behind but garbage,
 * and is called many times, in any order with the others, in one process: never two at a time.
 * A workload that the system cannot express is left out, and its row says so.
 */
export interface System {
  readonly name: string
  readonly workloads: { readonly [Name in WorkloadName]?: (n: number) => Promise<Sample> }
  /** Ends partner processes and open handles; called once, before the process is told to exit. */
  readonly close?: () => Promise<void>
}

/** Messages that a flooding producer sends in one handler before it passes the turn on. */
export const FLOOD_BATCH = 256
/** Requests kept in flight by `ask-64` and `remote-ask-64`, and children by `spawn-message-stop`. */
export const IN_FLIGHT = 64
/** Producers of `fan-in-8`. */
export const FAN_IN_PRODUCERS = 8
/** Actors of `all-to-all-64`. */
export const ALL_TO_ALL_ACTORS = 64
/** Actors alive at once, at most, in `spawn` and `fork-join-create`; more are made in further groups. */
export const SPAWN_GROUP = 20_000
/** Period of the interval whose lateness `volley-lag` measures. */
export const VOLLEY_INTERVAL_MS = 10
/** Messages in a frame of the bare two-process rows. */
export const FRAME_BATCH = 128

const atLeastRatio = (value: number): Target => ({ kind: 'ratio-at-least', value })

function calibrated(startOperations: number, operationsMax = 50_000_000): Size {
  return { kind: 'calibrated', startOperations, operationsMax }
}

/** The definitions by name. Iteration order is table order. */
export const WORKLOADS: { readonly [Name in WorkloadName]: Workload } = Object.freeze({
  'ping-pong': {
    unit: 'ops/s',
    operation: 'one message handled; two actors pass one message to and fro',
    size: calibrated(20_000),
    target: atLeastRatio(0.45),
  },
  'ring-100': {
    unit: 'ops/s',
    operation: 'one hop of a single token around a ring of 100 actors',
    size: calibrated(20_000),
    target: atLeastRatio(0.45),
  },
  'ring-503': {
    unit: 'ops/s',
    operation: 'one hop of a single token around a ring of 503 actors',
    size: calibrated(20_000),
    target: atLeastRatio(0.45),
  },
  counting: {
    unit: 'ops/s',
    operation:
      'one increment handled by the counter; one producer sends them 256 a turn, then asks for the sum',
    size: calibrated(20_000),
    target: atLeastRatio(0.5),
  },
  'fan-in-8': {
    unit: 'ops/s',
    operation: 'one message handled by the sink; eight producers send 256 a turn each',
    size: calibrated(20_000),
    target: atLeastRatio(0.5),
  },
  'fork-join-create': {
    unit: 'ops/s',
    operation:
      'one worker spawned, sent one message, stopped by itself, and its end seen by the parent; ' +
      'all workers of a group (20,000) are spawned first',
    size: calibrated(2_000, 2_000_000),
    target: undefined,
  },
  'all-to-all-64': {
    unit: 'ops/s',
    operation: 'one message handled; each of 64 actors sends one to the 63 others in every round',
    size: calibrated(20_000),
    target: atLeastRatio(0.45),
  },
  'ask-1': {
    unit: 'ops/s',
    operation: 'one ask answered; an actor awaits each answer before it asks again',
    size: calibrated(5_000),
    target: atLeastRatio(0.4),
  },
  'ask-64': {
    unit: 'ops/s',
    operation: 'one ask answered; one actor keeps 64 in flight to one other',
    size: calibrated(5_000),
    target: atLeastRatio(0.4),
  },
  'bytes-per-actor': {
    unit: 'bytes',
    operation:
      'heap bytes, after collection, of one idle actor among 100,000 that are named and watched by ' +
      'their parent',
    size: { kind: 'fixed', operations: 100_000, operationsQuick: 100_000 },
    target: { kind: 'at-most', value: 400 },
    collects: true,
  },
  spawn: {
    unit: 'ops/s',
    operation: 'one child spawned and started by a parent, which keeps it (20,000 alive at most)',
    size: calibrated(2_000, 5_000_000),
    target: { kind: 'at-least', value: 2_000_000 },
  },
  'spawn-message-stop': {
    unit: 'ops/s',
    operation:
      'one child spawned, sent one message, stopped by itself, and its end seen by the parent, ' +
      'which keeps 64 going',
    size: calibrated(2_000, 5_000_000),
    target: { kind: 'at-least', value: 1_000_000 },
  },
  'crash-restart': {
    unit: 'ops/s',
    operation:
      'one crash by a ready-made error, restarted with fresh state, and the new start seen by the ' +
      'actor that sends the next crash; no log, no intensity limit, no backoff',
    size: calibrated(2_000, 5_000_000),
    target: { kind: 'at-least', value: 300_000 },
  },
  'one-way-2p': {
    unit: 'ops/s',
    operation: 'one small message handled in another process, over one loopback connection',
    size: calibrated(10_000),
    target: { kind: 'at-least', value: 1_500_000 },
  },
  'round-trip-2p': {
    unit: 'us',
    operation: 'median time of an ask to another process, one in flight',
    size: calibrated(500, 200_000),
    target: { kind: 'ratio-at-most', value: 1.5 },
  },
  'remote-ask-64': {
    unit: 'ops/s',
    operation: 'one ask answered by another process, 64 in flight',
    size: calibrated(2_000),
    target: { kind: 'at-least', value: 300_000 },
  },
  'volley-lag': {
    unit: 'ms',
    operation: '99th percentile lateness of a 10 ms interval while two actors pass a message for ever',
    size: { kind: 'fixed', operations: 200, operationsQuick: 50 },
    target: { kind: 'at-most', value: 25 },
  },
})

/** The names in table order. */
export const WORKLOAD_NAMES: readonly WorkloadName[] = Object.freeze(Object.keys(WORKLOADS) as WorkloadName[])

/** Whether a word from the command line names a workload. */
export function isWorkloadName(word: string): word is WorkloadName {
  return Object.hasOwn(WORKLOADS, word)
}

/**
 * Whether a median meets its target; undefined when the target is a ratio and there is no limit to divide by.
 */
export function meetsTarget(target: Target, value: number, limit: number | undefined): boolean | undefined {
  switch (target.kind) {
    case 'at-least':
      return value >= target.value
    case 'at-most':
      return value <= target.value
    case 'ratio-at-least':
      return limit === undefined ? undefined : value / limit >= target.value
    case 'ratio-at-most':
      return limit === undefined ? undefined : value / limit <= target.value
  }
}
