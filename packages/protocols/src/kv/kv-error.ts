/** What a client of the store meets, beside what consensus and asks say. Told apart by `code`. */
import { ActorError } from '@understudy/runtime'
import type { KvRefusal } from './kv-command.ts'

export type KvErrorCode =
  | KvRefusal['code']
  /** No server could be reached, or none leads, until the deadline: nothing was done. */
  | 'KV_UNAVAILABLE'
  /** More calls wait than the client allows. */
  | 'KV_CLIENT_FULL'
  /** This node has a store of that name open. */
  | 'KV_ALREADY_OPEN'
  /** The lease was not kept alive in time, or was revoked: its keys are gone or will be. */
  | 'KV_LEASE_LOST'
  /** The client was closed. */
  | 'KV_CLIENT_CLOSED'

/** An operation that was refused or not done. `details` say more: `revision`, `compactRevision`, `lease`. */
export class KvError extends ActorError {
  declare readonly code: KvErrorCode

  constructor(
    code: KvErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    cause?: unknown,
  ) {
    super(code, message, details, cause)
  }
}
