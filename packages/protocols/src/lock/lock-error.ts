/** What a client of the lock table meets, beside what consensus and asks say. Told apart by `code`. */
import { ActorError } from '@understudy/runtime'
import type { LockErrorCode as MachineErrorCode } from './lock-command.ts'

export type LockErrorCode =
  | MachineErrorCode
  /** It is not held any more: the reason of a held lock's signal. Others may hold it from now on. */
  | 'LOCK_LOST'
  /** It was not got in time, and is not held. */
  | 'LOCK_TIMEOUT'
  /** No server could be reached, or none leads, until the deadline: nothing was done. */
  | 'LOCK_UNAVAILABLE'
  /** More calls wait than the client allows. */
  | 'LOCK_CLIENT_FULL'
  /** This node has a table of that name open. */
  | 'LOCK_ALREADY_OPEN'
  /** The client was closed. */
  | 'LOCK_CLIENT_CLOSED'
  /** A guarded resource was asked with a token that is lower than one it has seen. */
  | 'LOCK_FENCED'

/** A lock that was refused, not got or lost. `details` say more: `name`, `token`, `cycle`. */
export class LockError extends ActorError {
  declare readonly code: LockErrorCode

  constructor(
    code: LockErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    cause?: unknown,
  ) {
    super(code, message, details, cause)
  }
}
