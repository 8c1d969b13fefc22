/** Options of a client of the store, and of its calls. */
import { checkOptions } from '@understudy/runtime/internal'
import { kvServiceDefaults } from './kv-service-options.ts'

export interface KvClientOptions {
  /** Name of the store. @default 'kv' */
  readonly name?: string | undefined
  /** Names of the nodes that have its service. This node need not be among them. */
  readonly servers: readonly string[]
  /** How long a call may take in all, tries and waiting included. Milliseconds. @default 10_000 */
  readonly timeoutMs?: number | undefined
  /** How long one try of a call waits for its answer before the next is made. Milliseconds. @default 2_000 */
  readonly attemptMs?: number | undefined
  /** Calls under way at a time; more wait. At most 2,048. @default 1_024 */
  readonly inFlightMax?: number | undefined
  /** Calls that may wait; one more is refused with KV_CLIENT_FULL. @default 65_536 */
  readonly waitingMax?: number | undefined
  /** First pause before another try; it doubles, with chance, up to `backoffMaxMs`. Milliseconds. @default 10 */
  readonly backoffMs?: number | undefined
  /** While the servers know of no leader it is 50 at most. @default 500 */
  readonly backoffMaxMs?: number | undefined
  /** A session that was not used for so long is over; the next write opens another. Milliseconds. @default 600_000 */
  readonly sessionTtlMs?: number | undefined
  /** Bytes of events that may wait here for each watch until they are taken. @default 1_048_576 */
  readonly watchBytesMax?: number | undefined
}

/** What every call takes. */
export interface KvCallOptions {
  /** @default the client's */
  readonly timeoutMs?: number | undefined
  /** Gives up; whether a write was carried out is then unknown (RUNTIME_ABORTED, `details.outcome`). */
  readonly signal?: AbortSignal | undefined
}

export const kvClientDefaults = Object.freeze({
  name: kvServiceDefaults.name,
  timeoutMs: 10_000,
  attemptMs: 2_000,
  inFlightMax: 1_024,
  waitingMax: 65_536,
  backoffMs: 10,
  backoffMaxMs: 500,
  sessionTtlMs: 600_000,
  watchBytesMax: 1_048_576,
})

/** Every option has its value. */
export interface CheckedKvClientOptions {
  readonly name: string
  readonly servers: readonly string[]
  readonly timeoutMs: number
  readonly attemptMs: number
  readonly inFlightMax: number
  readonly waitingMax: number
  readonly backoffMs: number
  readonly backoffMaxMs: number
  readonly sessionTtlMs: number
  readonly watchBytesMax: number
}

const ms = { type: 'number', minimum: 1 } as const
const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,48}$' },
    servers: { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true },
    timeoutMs: ms,
    attemptMs: ms,
    inFlightMax: { type: 'integer', minimum: 1, maximum: 2_048 },
    waitingMax: { type: 'integer', minimum: 0 },
    backoffMs: ms,
    backoffMaxMs: ms,
    sessionTtlMs: { type: 'integer', minimum: 1 },
    watchBytesMax: { type: 'integer', minimum: 1 },
  },
  required: ['servers'],
  additionalProperties: false,
} as const

/** @throws {TypeError | RangeError} that name the option, what was given and what is allowed */
export function checkKvClientOptions(options: KvClientOptions): CheckedKvClientOptions {
  checkOptions('a key-value client', schema, options)
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return { ...kvClientDefaults, ...Object.fromEntries(given), servers: [...options.servers] }
}
