/** What a client tells those whose locks were not had, given up or lost. */
import { Aborted, isActorError } from '@understudy/runtime'
import { checkCallTimeout } from '../service/client-options.ts'
import { LockError } from './lock-error.ts'

/** The reason of a signal. `what`: the lock of "a", session 7. */
export function lost(what: string, why: string): LockError {
  return new LockError(
    'LOCK_LOST',
    `Lost ${what}: ${why}; check the token wherever something is changed under it`,
  )
}

export function notHeld(what: string, why: string): LockError {
  return new LockError('LOCK_NOT_HELD', `Does not hold ${what}: ${why}`)
}

/** Its session ended while it was asked for: asking again is safe. */
export function sessionLost(what: string, why: string): LockError {
  return new LockError('LOCK_SESSION_LOST', `Did not get ${what}: ${why}; nothing is held, ask for it again`)
}

/** What LOCK_TIMEOUT says in its `details`. */
export interface TimeoutDetails {
  readonly name: string
  /** How long it was waited for. Milliseconds. */
  readonly waitedMs: number
  /** So many were before it when that was last told; undefined: nobody had said. */
  readonly ahead?: number | undefined
  /**
   * `not-held`: others had it. `unknown`: a question was not answered; if it was carried out it is undone in the background. In both
   * cases nothing is held.
   */
  readonly outcome: 'not-held' | 'unknown'
}

export function timedOut(what: string, why: string, details: TimeoutDetails, cause?: unknown): LockError {
  const { ahead, ...known } = details
  return new LockError(
    'LOCK_TIMEOUT',
    `Did not get ${what} in time: ${why}; it is given up`,
    { ...known, ...(ahead === undefined ? {} : { ahead }) },
    cause,
  )
}

/** Of a time limit that cannot be kept. @throws {TypeError} it is no number @throws {LockError} LOCK_BAD_REQUEST */
export function checkTimeout(what: string, timeoutMs: number | undefined): void {
  if (typeof timeoutMs !== 'number') {
    checkCallTimeout(what, timeoutMs)
    return
  }
  if (timeoutMs > 0) return
  throw new LockError(
    'LOCK_BAD_REQUEST',
    `Cannot ask for ${what}: "timeoutMs" must be a number above 0, got ${timeoutMs}: it is the time for all of it, the question to ` +
      'the table included. To take a lock only if it is free, use tryAcquire(); to wait as long as the client allows, leave it out',
    { outcome: 'not-done', timeoutMs },
  )
}

/** @throws {LockError} LOCK_BAD_REQUEST: `value` is no whole number from `least` to `most` */
export function checkWhole(what: string, option: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw new LockError(
    'LOCK_BAD_REQUEST',
    `Cannot use ${what}: "${option}" must be a whole number from ${least} to ${most}, got ${value}`,
    { outcome: 'not-done', option, value, least, most },
  )
}

export function givenUp(what: string, signal: AbortSignal | undefined): Aborted {
  return new Aborted(`Gave up waiting for ${what}: nothing is held`, {}, signal?.reason)
}

export function unavailable(what: string, why: string, cause?: unknown): LockError {
  const text = `${what} was not asked for: ${why}; try again later`
  return new LockError('LOCK_UNAVAILABLE', text, { outcome: 'not-done' }, cause)
}

export function clientClosed(): LockError {
  return new LockError('LOCK_CLIENT_CLOSED', 'The client of the lock table was closed')
}

/** Codes of what the table itself refuses: the command was carried out to that end. */
const refusals: ReadonlySet<string> = new Set([
  'LOCK_BAD_REQUEST',
  'LOCK_SESSION_LOST',
  'LOCK_NOT_HELD',
  'LOCK_WRONG_KIND',
  'LOCK_DEADLOCK',
  'LOCK_UPGRADE',
  'LOCK_LIMIT',
])

/** Whether the table refused it. */
export function isRefusal(error: unknown): error is LockError {
  return isActorError(error) && refusals.has(error.code)
}

/** Whether it is certain that a call that failed so has done nothing, and never will. */
export function isSurelyNotDone(error: unknown): boolean {
  if (!isActorError(error)) return false
  const { code, details } = error
  if (refusals.has(code) || code === 'LOCK_CLIENT_FULL') return true
  const outcome = details['outcome']
  return outcome === 'not-done' || (code === 'LOCK_UNAVAILABLE' && outcome !== 'unknown')
}
