/** Options of a service of the store. */
import { checkOptions } from '@understudy/runtime/internal'
import { milliseconds, serviceName, withDefaults } from '../service/service-options.ts'
import { kvQuotaBytesDefault } from './kv-limit.ts'

export interface KvServiceOptions {
  /** Name of the store: part of its services' paths. @default 'kv' */
  readonly name?: string | undefined
  /**
   * Bytes that the store may hold: keys, values, and 192 for each version. Puts over it are refused. It is in the log: the
   * leader's counts, so give all nodes the same. @default 268_435_456
   */
  readonly quotaBytes?: number | undefined
  /**
   * Revisions that are kept before the newest: the leader compacts what is older, half of them at a time; sooner when three
   * quarters of the quota are used. `Infinity`: only `compact` does. @default 100_000
   */
  readonly historyMax?: number | undefined
  /** Watches that this node serves. One more is refused, and goes to another. @default 10_000 */
  readonly watchersMax?: number | undefined
  /** A watch to which nothing happens is told every so often that all has come. Milliseconds. @default 5_000 */
  readonly progressMs?: number | undefined
  /** How often the leader looks for leases that are over, and for history to forget. Milliseconds. @default 250 */
  readonly checkMs?: number | undefined
  /** A node without a leader for so long ends its watches, which then go to another. Milliseconds. @default 3_000 */
  readonly leaderlessMs?: number | undefined
}

export const kvServiceDefaults = Object.freeze({
  name: 'kv',
  quotaBytes: kvQuotaBytesDefault,
  historyMax: 100_000,
  watchersMax: 10_000,
  progressMs: 5_000,
  checkMs: 250,
  leaderlessMs: 3_000,
})

/** Every option has its value. */
export interface CheckedKvServiceOptions {
  readonly name: string
  readonly quotaBytes: number
  readonly historyMax: number
  readonly watchersMax: number
  readonly progressMs: number
  readonly checkMs: number
  readonly leaderlessMs: number
}

const schema = {
  type: 'object',
  properties: {
    name: serviceName,
    quotaBytes: { type: 'integer', minimum: 1 },
    historyMax: { anyOf: [{ type: 'integer', minimum: 2 }, { 'understudy:infinity': true }] },
    watchersMax: { type: 'integer', minimum: 1 },
    progressMs: milliseconds,
    checkMs: milliseconds,
    leaderlessMs: milliseconds,
  },
  additionalProperties: true,
} as const

/** @throws {TypeError | RangeError} that name the option, what was given and what is allowed */
export function checkKvServiceOptions(options: KvServiceOptions): CheckedKvServiceOptions {
  checkOptions('a key-value service', schema, options)
  return withDefaults<CheckedKvServiceOptions>(kvServiceDefaults, options)
}
