/** What the harness needs of three processes under test, and the processor time of processes. */
import { readFileSync } from 'node:fs'

/** Three running processes. */
export interface LoadCluster {
  /** For the client's `connect`: the leader's first. Resolves once there is a leader, and all three take part. */
  readonly targets: () => Promise<readonly string[]>
  readonly pids: () => readonly number[]
  readonly stop: () => Promise<void>
}

/** One whose leader can be killed. */
export interface FailoverCluster extends LoadCluster {
  readonly pidOf: (target: string) => number
  /** Starts the killed one again, on the data that it had, and resolves when all three take part. */
  readonly restart: (target: string) => Promise<void>
}

/** Of `/proc/PID/stat`; what Linux counts in is a hundredth of a second on all usual machines. */
const TICK_MS = 10
const UTIME_FIELD = 11

/** User and system time of these processes so far, ms; `undefined` where there is no /proc. */
export function cpuMsOf(pids: readonly number[]): number | undefined {
  try {
    let ticks = 0
    for (const pid of pids) {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      // The name in brackets may hold spaces; what follows it does not.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      ticks += Number(fields[UTIME_FIELD]) + Number(fields[UTIME_FIELD + 1])
    }
    return ticks * TICK_MS
  } catch {
    return undefined
  }
}
