/** What the clients of all services on a consensus group have in common: their options, and those of their calls. */
import { describeGiven } from '@understudy/runtime/internal'

export interface ServiceClientOptions {
  /** Names of the nodes that have the service. This node need not be among them. */
  readonly servers: readonly string[]
  /** How long a call may take in all, tries and waiting included. Milliseconds. @default 10_000 */
  readonly timeoutMs?: number | undefined
  /** How long one try of a call waits for its answer before the next is made. Milliseconds. @default 2_000 */
  readonly attemptMs?: number | undefined
  /** Calls under way at a time; more wait. At most 2,048. @default 1_024 */
  readonly inFlightMax?: number | undefined
  /** Calls that may wait; one more is refused, and nothing of it was done. @default 65_536 */
  readonly waitingMax?: number | undefined
  /** First pause before another try; it doubles, with chance, up to `backoffMaxMs`. Milliseconds. @default 10 */
  readonly backoffMs?: number | undefined
  /** While the servers know of no leader it is 50 at most. @default 500 */
  readonly backoffMaxMs?: number | undefined
}

/** Every option has its value. */
export interface CheckedServiceClientOptions {
  readonly servers: readonly string[]
  readonly timeoutMs: number
  readonly attemptMs: number
  readonly inFlightMax: number
  readonly waitingMax: number
  readonly backoffMs: number
  readonly backoffMaxMs: number
}

/** What every call takes. */
export interface ServiceCallOptions {
  /** @default the client's */
  readonly timeoutMs?: number | undefined
  /** Gives up; whether a write was carried out is then unknown (RUNTIME_ABORTED, `details.outcome`). */
  readonly signal?: AbortSignal | undefined
}

/** Where calls are made that no schema checks. @throws {TypeError} `timeoutMs` is no number: `'5'` would be added as text */
export function checkCallTimeout(what: string, timeoutMs: unknown): void {
  if (timeoutMs === undefined || (typeof timeoutMs === 'number' && !Number.isNaN(timeoutMs))) return
  throw new TypeError(
    `Cannot ask for ${what}: "timeoutMs" must be a number of milliseconds, got ${describeGiven(timeoutMs)}`,
  )
}

export const serviceClientDefaults = Object.freeze({
  timeoutMs: 10_000,
  attemptMs: 2_000,
  inFlightMax: 1_024,
  waitingMax: 65_536,
  backoffMs: 10,
  backoffMaxMs: 500,
})

const ms = { type: 'number', minimum: 1 } as const

/** Properties for the schema of a client's options. */
export const serviceClientSchema = {
  servers: { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true },
  timeoutMs: ms,
  attemptMs: ms,
  inFlightMax: { type: 'integer', minimum: 1, maximum: 2_048 },
  waitingMax: { type: 'integer', minimum: 0 },
  backoffMs: ms,
  backoffMaxMs: ms,
} as const
