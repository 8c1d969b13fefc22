/** What only a Raft group refuses: a change of its members, a transfer of its leadership. */
import { ActorError } from '@understudy/runtime'

/** Every code of this file. */
export type RaftGroupErrorCode = 'PROTOCOLS_CHANGE_REFUSED' | 'PROTOCOLS_TRANSFER_FAILED'

type Details = Readonly<Record<string, unknown>>

/** The members are not changed. `details.reason`: `changing`, another change is under way; `bad-configuration`. */
export class ChangeRefused extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('PROTOCOLS_CHANGE_REFUSED', message, details)
  }
}

/** Leadership stays where it is: the node is no voter, is behind, or did not take over in time. */
export class TransferFailed extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('PROTOCOLS_TRANSFER_FAILED', message, details)
  }
}
