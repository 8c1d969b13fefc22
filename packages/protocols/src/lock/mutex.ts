/** A lock that one at a time holds, in the order in which it was asked for. */
import type { ClientSession } from './client-session.ts'
import type { Mutex } from './lock.ts'
import { queuedLock } from './queued-lock.ts'

export interface MutexOptions {
  /**
   * An `owner` that holds it may take it again; it is given back with the last release. An owner is known within one client, and
   * must be named with each acquire. What it takes while it holds it is counted by the client, and asks nobody. @default false
   */
  readonly reentrant?: boolean | undefined
}

/**
 * Free, it is taken with one write and given back with another, and whoever is next has it with that write: no herd, and nobody is
 * passed by. While a re-entrant one is held, its owner is not held up by those who wait.
 */
export function mutex(session: ClientSession, name: string, { reentrant = false }: MutexOptions = {}): Mutex {
  return queuedLock(session, { name, kind: 'mutex', what: `the lock "${name}"`, reentrant })
}
