/**
 * A platform on virtual time, for tests: the clock stands still until `advance` moves it, chance comes from a seed, and
 * nothing is written or exits. The same actors run on it as on a real machine.
 */
import { fifoRunQueue } from './fifo-run-queue.ts'
import { keepingLogger, type Logger, type LogLevel } from './log.ts'
import { memoryStore } from './memory-store.ts'
import type { Clock, Platform, Timer } from './platform.ts'
import { seededRandom } from './random.ts'
import type { Store } from './store.ts'
import { VirtualDns } from './virtual-dns.ts'
import { VirtualFiles } from './virtual-files.ts'
import { VirtualHost } from './virtual-host.ts'

export interface VirtualPlatformOptions {
  /** @default 1 */
  readonly seed?: number | string | undefined
  /** @default a logger that keeps its lines in `logged` */
  readonly log?: Logger | undefined
  /** @default {} */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** Wall-clock milliseconds at the start. @default 1_700_000_000_000 */
  readonly wallMs?: number | undefined
}

/** One line that was logged. */
export interface LoggedLine {
  readonly level: LogLevel
  readonly fields: Readonly<Record<string, unknown>>
  readonly message: string
}

export interface VirtualPlatform extends Platform {
  /**
   * Moves time on by `ms`: fires every timer that falls due, in the order of their times, and lets all that follows
   * from one come to rest before the next.
   */
  readonly advance: (ms: number) => Promise<void>
  /** Lets all that can happen without time passing happen. */
  readonly settle: () => Promise<void>
  /** Timers that are waiting. After a shutdown there must be none. */
  readonly pendingTimers: () => number
  /** When the next timer is due, monotonic; `undefined` when none waits. */
  readonly nextTimerAtMs: () => number | undefined
  /** Holds on the process (`keepAlive`) that have not been released. */
  readonly holds: () => number
  /** Codes that `host.exit` was called with. */
  readonly exits: readonly number[]
  /** Plays a signal. */
  readonly signal: (signal: 'SIGINT' | 'SIGTERM') => void
  /** Empty until the test writes files. */
  readonly files: VirtualFiles
  /** Knows no name until the test sets some. */
  readonly dns: VirtualDns
  /** Plays a rejection that nobody handled; true when somebody took the blame. */
  readonly unhandled: (error: unknown) => boolean
  readonly logged: readonly LoggedLine[]
}

interface VirtualTimer extends Timer {
  readonly atMs: number
  readonly order: number
  readonly fire: () => void
}

export function virtualPlatform(options: VirtualPlatformOptions = {}): VirtualPlatform {
  let nowMs = 0
  let order = 0
  let pushes = 0
  const wallStartMs = options.wallMs ?? 1_700_000_000_000
  const timers = new Set<VirtualTimer>()
  const stores = new Map<string, Store>()
  const exits: number[] = []
  const logged: LoggedLine[] = []
  const host = new VirtualHost({
    name: 'virtual',
    processId: 1,
    env: options.env ?? {},
    exited: (code) => void exits.push(code),
  })
  const random = seededRandom(options.seed ?? 1)
  const secrets = random.fork('secure-bytes')

  const clock: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => wallStartMs + nowMs,
    setTimer: (atMs, fire) => {
      if (Number.isNaN(atMs)) throw new RangeError('Cannot set a timer: atMs must be a number, got NaN')
      const timer: VirtualTimer = { atMs, order: order++, fire, cancel: () => void timers.delete(timer) }
      timers.add(timer)
      return timer
    },
    slotMs: 0,
  }

  /** A turn of the event loop, until no cell was made ready and so nothing is left to run. */
  async function settle(): Promise<void> {
    let before: number
    do {
      before = pushes
      await new Promise<void>((resolve) => setImmediate(resolve))
      await new Promise<void>((resolve) => setImmediate(resolve))
    } while (before !== pushes)
  }

  function nextDue(untilMs: number): VirtualTimer | undefined {
    let next: VirtualTimer | undefined
    for (const timer of timers) {
      if (timer.atMs > untilMs) continue
      if (
        next === undefined ||
        timer.atMs < next.atMs ||
        (timer.atMs === next.atMs && timer.order < next.order)
      ) {
        next = timer
      }
    }
    return next
  }

  async function advance(ms: number): Promise<void> {
    const untilMs = nowMs + ms
    await settle()
    for (let timer = nextDue(untilMs); timer !== undefined; timer = nextDue(untilMs)) {
      timers.delete(timer)
      nowMs = Math.max(nowMs, timer.atMs)
      timer.fire()
      await settle()
    }
    // Two may move it on at once, and it never goes back.
    nowMs = Math.max(nowMs, untilMs)
  }

  return {
    clock,
    random,
    secureBytes: (count) => Uint8Array.from({ length: count }, () => secrets.int(0, 255)),
    scheduler: {
      makeRunQueue: (pump) => {
        const queue = fifoRunQueue(pump)
        return {
          turnMessagesMax: queue.turnMessagesMax,
          push: (cell) => {
            pushes++
            queue.push(cell)
          },
          next: () => queue.next(),
          idle: () => queue.idle(),
          yieldNow: () => queue.yieldNow(),
        }
      },
      afterTurn: queueMicrotask,
      afterLoop: (task) => {
        const immediate = setImmediate(task)
        return { cancel: () => clearImmediate(immediate) }
      },
    },
    openStore: (directory) => {
      let store = stores.get(directory)
      if (store === undefined) {
        store = memoryStore()
        stores.set(directory, store)
      }
      return Promise.resolve(store)
    },
    files: new VirtualFiles(),
    dns: new VirtualDns(),
    log: options.log ?? keepingLogger((level, fields, message) => logged.push({ level, fields, message })),
    host,
    advance,
    settle,
    pendingTimers: () => timers.size,
    nextTimerAtMs: () => nextDue(Number.POSITIVE_INFINITY)?.atMs,
    holds: () => host.holds,
    exits,
    signal: (signal) => host.signal(signal),
    unhandled: (error) => host.takeBlame(error, Promise.resolve()),
    logged,
  }
}
