/** Options of a client of the lock table. */
import { checkOptions } from '@understudy/runtime/internal'
import {
  serviceClientDefaults,
  serviceClientSchema,
  type CheckedServiceClientOptions,
  type ServiceClientOptions,
} from '../service/client-options.ts'
import { serviceName, withDefaults } from '../service/service-options.ts'
import { lockLimits } from './lock-limit.ts'
import { lockServiceDefaults } from './lock-service-options.ts'

export interface LockClientOptions extends ServiceClientOptions {
  /** Name of the table. @default 'locks' */
  readonly name?: string | undefined
  /**
   * So long after this client was last heard of all that it holds is given to others: how soon work goes on after a crash,
   * against how long a pause costs it its locks. Milliseconds; at most a week. @default 10_000
   */
  readonly sessionTtlMs?: number | undefined
  /** What people see of this client where it holds something. At most 128 characters. @default the node's name */
  readonly label?: string | undefined
}

export const lockClientDefaults = Object.freeze({
  ...serviceClientDefaults,
  name: lockServiceDefaults.name,
  sessionTtlMs: 10_000,
})

/** Every option has its value; `label` is undefined for the node's name. */
export interface CheckedLockClientOptions extends CheckedServiceClientOptions {
  readonly name: string
  readonly sessionTtlMs: number
  readonly label: string | undefined
}

const schema = {
  type: 'object',
  properties: {
    ...serviceClientSchema,
    name: serviceName,
    sessionTtlMs: { type: 'integer', minimum: 1, maximum: lockLimits.ttlMsMax },
    label: { type: 'string', maxLength: lockLimits.labelLengthMax },
  },
  required: ['servers'],
  additionalProperties: false,
} as const

/** @throws {TypeError | RangeError} that name the option, what was given and what is allowed */
export function checkLockClientOptions(options: LockClientOptions): CheckedLockClientOptions {
  checkOptions('a lock client', schema, options)
  const checked = withDefaults<Omit<CheckedLockClientOptions, 'servers' | 'label'>>(
    lockClientDefaults,
    options,
  )
  return { ...checked, label: options.label, servers: [...options.servers] }
}
