/** What a client tells those whose locks were not had, given up or lost. */
import { Aborted, isActorError } from '@understudy/runtime'
import { LockError } from './lock-error.ts'

/** The reason of a signal. `what`: the lock of "a", session 7. */
export function lost(what: string, why: string): LockError {
  return new LockError(
    'LOCK_LOST',
    `Lost ${what}: ${why}; check the token wherever something is changed under it`,
  )
}

export function notHeld(what: string, why: string): LockError {
  return new LockError('LOCK_NOT_HELD', `Cannot release ${what}: ${why}`)
}

/** Its session ended while it was asked for: asking again is safe. */
export function sessionLost(what: string, why: string): LockError {
  return new LockError('LOCK_SESSION_LOST', `Did not get ${what}: ${why}; nothing is held, ask for it again`)
}

export function timedOut(what: string, why: string, cause?: unknown): LockError {
  return new LockError('LOCK_TIMEOUT', `Did not get ${what} in time: ${why}; it is given up`, {}, cause)
}

export function givenUp(what: string, signal: AbortSignal | undefined): Aborted {
  return new Aborted(`Gave up waiting for ${what}: nothing is held`, {}, signal?.reason)
}

export function unavailable(what: string, why: string, cause?: unknown): LockError {
  return new LockError('LOCK_UNAVAILABLE', `${what} was not asked for: ${why}; try again later`, {}, cause)
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
