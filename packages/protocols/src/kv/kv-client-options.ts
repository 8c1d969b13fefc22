/** Options of a client of the store, and of its calls. */
import { checkOptions } from '@understudy/runtime/internal'
import {
  serviceClientDefaults,
  serviceClientSchema,
  type CheckedServiceClientOptions,
  type ServiceCallOptions,
  type ServiceClientOptions,
} from '../service/client-options.ts'
import { serviceName, withDefaults } from '../service/service-options.ts'
import { kvServiceDefaults } from './kv-service-options.ts'

export interface KvClientOptions extends ServiceClientOptions {
  /** Name of the store. @default 'kv' */
  readonly name?: string | undefined
  /** A session that was not used for so long is over; the next write opens another. Milliseconds. @default 600_000 */
  readonly sessionTtlMs?: number | undefined
  /** Bytes of events that may wait here for each watch until they are taken. @default 1_048_576 */
  readonly watchBytesMax?: number | undefined
}

/** What every call takes. */
export type KvCallOptions = ServiceCallOptions

export const kvClientDefaults = Object.freeze({
  ...serviceClientDefaults,
  name: kvServiceDefaults.name,
  sessionTtlMs: 600_000,
  watchBytesMax: 1_048_576,
})

/** Every option has its value. */
export interface CheckedKvClientOptions extends CheckedServiceClientOptions {
  readonly name: string
  readonly sessionTtlMs: number
  readonly watchBytesMax: number
}

const schema = {
  type: 'object',
  properties: {
    ...serviceClientSchema,
    name: serviceName,
    sessionTtlMs: { type: 'integer', minimum: 1 },
    watchBytesMax: { type: 'integer', minimum: 1 },
  },
  required: ['servers'],
  additionalProperties: false,
} as const

/** @throws {TypeError | RangeError} that name the option, what was given and what is allowed */
export function checkKvClientOptions(options: KvClientOptions): CheckedKvClientOptions {
  checkOptions('a key-value client', schema, options)
  const checked = withDefaults<Omit<CheckedKvClientOptions, 'servers'>>(kvClientDefaults, options)
  return { ...checked, servers: [...options.servers] }
}
