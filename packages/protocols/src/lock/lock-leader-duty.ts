/** What the leader of a lock table has to see to. All of it goes through the log: being a leader decides nothing by itself (R12). */
import type { LockCommand } from './lock-command.ts'
import type { LockMachine } from './lock-machine.ts'

/** What is to be proposed now, in `term`, when the log's time is about `timeMs`. Pure. O(sessions and spin locks). */
export function lockLeaderDuty(machine: LockMachine, term: number, timeMs: number): LockCommand | undefined {
  const status = machine.status()
  if (status.sessions === 0 && !machine.hasSpinsOver(timeMs)) return undefined
  // Leases run in a term from its first command on.
  if (status.term !== term) return { type: 'expire', sessions: [] }
  const sessions = machine.sessionsOver(timeMs)
  return sessions.length > 0 || machine.hasSpinsOver(timeMs) ? { type: 'expire', sessions } : undefined
}
