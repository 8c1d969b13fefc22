/** Options of a service of the lock table. */
import { checkOptions } from '@understudy/runtime/internal'
import { milliseconds, serviceName, withDefaults } from '../service/service-options.ts'

export interface LockServiceOptions {
  /** Name of the table: part of its services' paths. @default 'locks' */
  readonly name?: string | undefined
  /** How often the leader looks for sessions that are over. Milliseconds. @default 100 */
  readonly checkMs?: number | undefined
  /** Sessions that are told of their grants by this node, while it leads. One more is refused. @default 100_000 */
  readonly attachmentsMax?: number | undefined
  /** Views that wait here for a change. One more is refused, and goes to another node. @default 10_000 */
  readonly pollsMax?: number | undefined
  /** A view waits no longer than this, whatever it asks for. Milliseconds. @default 60_000 */
  readonly pollMs?: number | undefined
}

export const lockServiceDefaults = Object.freeze({
  name: 'locks',
  checkMs: 100,
  attachmentsMax: 100_000,
  pollsMax: 10_000,
  pollMs: 60_000,
})

/** Every option has its value. */
export interface CheckedLockServiceOptions {
  readonly name: string
  readonly checkMs: number
  readonly attachmentsMax: number
  readonly pollsMax: number
  readonly pollMs: number
}

const schema = {
  type: 'object',
  properties: {
    name: serviceName,
    checkMs: milliseconds,
    attachmentsMax: { type: 'integer', minimum: 1 },
    pollsMax: { type: 'integer', minimum: 1 },
    pollMs: milliseconds,
  },
  additionalProperties: true,
} as const

/** @throws {TypeError | RangeError} that name the option, what was given and what is allowed */
export function checkLockServiceOptions(options: LockServiceOptions): CheckedLockServiceOptions {
  checkOptions('a lock service', schema, options)
  return withDefaults<CheckedLockServiceOptions>(lockServiceDefaults, options)
}
