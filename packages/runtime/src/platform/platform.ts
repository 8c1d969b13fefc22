/**
 * What the machine gives: the one door between the packages and the world.
 *
 * Nothing else in the packages reads the time, draws a number, starts a timer, listens for a signal, writes a log line
 * or touches a disk. `nodePlatform()` is the real one; the testkit's virtual platform and the simulator are others, and
 * the same actors run on all of them unmodified. The idea is FoundationDB's `INetwork` and TigerBeetle's `Time`/`IO`.
 */
import type { Dns } from './dns.ts'
import type { Files } from './files.ts'
import type { Logger } from './log.ts'
import type { RunQueueFactory } from './run-queue.ts'
import type { Store, StoreShape } from './store.ts'

/** Everything a system takes from the machine. Handed to `createSystem` and `startNode`, one per node. */
export interface Platform {
  readonly clock: Clock
  readonly random: Random
  /** `count` bytes that nobody can guess (secrets, nonces). Seeded in simulation. */
  readonly secureBytes: (count: number) => Uint8Array
  readonly scheduler: Scheduler
  /**
   * Opens the store that lives in `directory`; one process at a time may hold it. A directory is opened in the shape in which
   * it was made. @param shape @default 'table'
   */
  readonly openStore: (directory: string, shape?: StoreShape) => Promise<Store>
  /** Small text files that others write: lists of addresses, certificates. */
  readonly files: Files
  /** Looks up names of hosts and services. */
  readonly dns: Dns
  readonly log: Logger
  readonly host: Host
}

/** Two clocks and one kind of timer. All times are milliseconds, fractions allowed. */
export interface Clock {
  /** Never goes back, starts anywhere. Leases, timeouts and detectors use only this one. */
  readonly monotonicMs: () => number
  /** Milliseconds since 1970. May jump either way: for people, cron and incarnations of nodes. */
  readonly wallMs: () => number
  /**
   * Calls `fire` once when `monotonicMs() >= atMs`: never early. A timer does not keep the process alive; only
   * `host.keepAlive()` does.
   */
  readonly setTimer: (atMs: number, fire: () => void) => Timer
  /**
   * How coarsely ask deadlines may be grouped: the width of one slot of the timer wheel. 10 on a real machine; 0 means
   * exact (virtual time).
   */
  readonly slotMs: number
}

/** A started timer. Cancelling twice, or after it fired, is harmless. */
export interface Timer {
  readonly cancel: () => void
}

/** A stream of chance. Fast, not secret. One stream per subsystem, so that one more draw here changes nothing there. */
export interface Random {
  /** Uniform in [0, 2^32). */
  readonly u32: () => number
  /** Uniform integer in [low, high], both included. Throws a RangeError when `high < low`. */
  readonly int: (low: number, high: number) => number
  /** Uniform in [0, 1). */
  readonly float: () => number
  /** An independent stream, a pure function of this stream's seed and `label`. */
  readonly fork: (label: string) => Random
}

/** Says when actors run. The real one is a FIFO pumped in microtasks; a simulated one picks by choice. */
export interface Scheduler {
  readonly makeRunQueue: RunQueueFactory
  /** Runs `task` after the turn in progress and before any timer or socket (a microtask on a real machine). */
  readonly afterTurn: (task: () => void) => void
  /** Runs `task` once, when the loop comes by after the sockets that are ready now (`setImmediate` on a real machine). */
  readonly afterLoop: (task: () => void) => Timer
}

/** The process around the system. */
export interface Host {
  /** Calls `listener` for SIGINT and SIGTERM until disposed. */
  readonly onSignal: (listener: (signal: 'SIGINT' | 'SIGTERM') => void) => Disposable
  /** Calls `listener` for a promise that was rejected and never handled; it returns true when it took the blame. */
  readonly onUnhandled: (listener: (error: unknown, promise: Promise<unknown>) => boolean) => Disposable
  /** Holds the process open until disposed. The only thing that does. */
  readonly keepAlive: () => Disposable
  /** Ends the process with `code`. */
  readonly exit: (code: number) => void
  readonly env: Readonly<Record<string, string | undefined>>
  /** Short facts for log lines and handshakes. */
  readonly name: string
  readonly processId: number
}
