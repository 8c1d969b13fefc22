/** What locks, counters and barriers of a client need of the one who calls the service for them. */
import type { Random } from '@understudy/runtime'
import type { LockAnswer, LockCommand, LockGrant, LockRequest, LockView } from './lock-command.ts'
import type { WaitOptions } from './lock.ts'

/** A read of one name that may wait until there is something new. */
export interface LockViewOptions extends WaitOptions {
  /** What the reader knows of a counter, a value or a latch: answered at once when its version is another. */
  readonly afterVersion?: number | undefined
  /** What the reader knows of an election: answered at once when there has been a leader with a higher token. */
  readonly afterToken?: number | undefined
  /** How long to wait for news; at its end it is answered as it stands. Milliseconds. @default 0: do not wait */
  readonly waitMs?: number | undefined
}

export interface LockWriteOptions extends WaitOptions {
  /** In no batch with others, so that nothing of it is tried any more once it has failed. @default false */
  readonly isAlone?: boolean | undefined
}

export interface LockControlOptions extends WaitOptions {
  /**
   * A leader that has not answered for so long may lead no more: it is still waited for, and who comes behind may ask another one.
   * Milliseconds. @default only one whose whole try has failed
   */
  readonly silentAfterMs?: number | undefined
  /** Told of the call before it is sent. */
  readonly onBegin?: ((call: LockCallView) => void) | undefined
}

/** How a call goes, while it does. */
export interface LockCallView {
  /** Why it is not answered yet. */
  readonly lastProblem: string
}

/**
 * The way to the service: it follows the leader, tries again by itself, and gathers the writes of many callers.
 *
 * Calls reject with LOCK_UNAVAILABLE (nothing was done), PROTOCOLS_OUTCOME_UNKNOWN, RUNTIME_ABORTED, LOCK_CLIENT_CLOSED, and with
 * what the table refuses, as a LockError.
 */
export interface LockPort {
  /** Monotonic. */
  readonly nowMs: () => number
  /** Resolves after so long, or as soon as it is aborted; never rejects. */
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>
  readonly random: Random
  /** Carried out once, however often it is tried. `what` names the call in errors. */
  readonly write: (what: string, command: LockCommand, options: LockWriteOptions) => Promise<LockAnswer>
  /** On the control lane, in no batch, without the group's session: `open-session`, `keep-alive`, `end-session`. */
  readonly control: (what: string, command: LockCommand, options: LockControlOptions) => Promise<LockAnswer>
  /** How requests of a session stand, one answer each; `released` when it is not there. Linearizable. */
  readonly states: (
    session: number,
    requests: readonly number[],
    options: WaitOptions,
  ) => Promise<readonly LockAnswer[]>
  /** How a name stands; undefined: it is not there. Linearizable at the time of the call, or newer. */
  readonly view: (name: string, options: LockViewOptions) => Promise<LockView | undefined>
  readonly list: (prefix: string, options: WaitOptions) => Promise<readonly LockView[]>
  /** From here on grants of this session are told by `onGrant`, until `onDetached`. A push may be lost for all that. */
  readonly attach: (session: number, options: WaitOptions) => Promise<void>
  onGrant: ((grant: LockGrant) => void) | undefined
  /** The log has ended the wait of a request: it can be served no more. */
  onRefused: ((request: LockRequest) => void) | undefined
  /** Pushes may have ended: attach again, and ask for `states`. */
  onDetached: (() => void) | undefined
  /** The log has ended the session. */
  onSessionOver: ((session: number) => void) | undefined
  /** Calls under way fail. */
  readonly close: () => Promise<void>
}
