/**
 * The real platform: Node's clocks, timers, chance, signals and process.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { hostname } from 'node:os'
import { nodeDns } from './dns.ts'
import { afterTurn, fifoRunQueue } from './fifo-run-queue.ts'
import { nodeFiles } from './files.ts'
import { fileStore } from './level-store.ts'
import { pinoLogger } from './log.ts'
import type { Logger, LogLevel } from './log.ts'
import type { Clock, Host, Platform, Timer } from './platform.ts'
import { seededRandom } from './random.ts'
import { segmentStore } from './segment-store.ts'
import type { Store, StoreShape } from './store.ts'
import { listenUnhandled } from './unhandled.ts'

export interface NodePlatformOptions {
  /**
   * Where log lines go. @default `pinoLogger()` on standard error, at the level that the environment variable
   * UNDERSTUDY_LOG names ("debug", "info", "warn", "error", "fatal" or "silent"), else "info"
   */
  readonly log?: Logger | undefined
  /** Seed of `random`, to repeat a run's chance (not its timing). @default 128 bits that nobody can guess */
  readonly seed?: number | string | undefined
  /** Name of this host in log lines and handshakes. @default the operating system's host name */
  readonly name?: string | undefined
  /** Opens stores. @default `fileStore(directory)`, and `segmentStore(directory)` for the shape 'log' */
  readonly openStore?: ((directory: string, shape?: StoreShape) => Promise<Store>) | undefined
}

/** Node's setTimeout turns anything longer into 1 ms, so longer waits are cut into several. */
const delayMsMax = 2 ** 31 - 1
/** What waits for less gets the very millisecond. */
const preciseMsMax = 20
const logLevels: readonly string[] = [
  'debug',
  'info',
  'warn',
  'error',
  'fatal',
  'silent',
] satisfies readonly (LogLevel | 'silent')[]

/**
 * The platform of this process. One per node; several in one process share nothing but the process.
 *
 * Ask deadlines are grouped in slots of 10 ms. Timers are unref'd: only `host.keepAlive()` holds the process.
 *
 * @throws {RangeError} if UNDERSTUDY_LOG is set and names no level
 */
export function nodePlatform(options: NodePlatformOptions = {}): Platform {
  const log = options.log ?? pinoLogger({ level: levelFromEnvironment(process.env['UNDERSTUDY_LOG']) })
  return {
    clock: nodeClock,
    random: seededRandom(options.seed ?? randomBytes(16).toString('hex')),
    secureBytes: (count) => randomFillSync(new Uint8Array(count)),
    scheduler: { makeRunQueue: fifoRunQueue, afterTurn, afterLoop },
    openStore: options.openStore ?? ((directory, shape) => openNodeStore(directory, shape, log)),
    files: nodeFiles(),
    dns: nodeDns(),
    log,
    host: nodeHost(options.name ?? hostname()),
  }
}

function openNodeStore(directory: string, shape: StoreShape | undefined, log: Logger): Promise<Store> {
  return shape === 'log' ? segmentStore(directory, { log }) : fileStore(directory)
}

const nodeClock: Clock = Object.freeze({
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  setTimer: (atMs: number, fire: () => void): Timer => new NodeTimer(atMs, fire),
  slotMs: 10,
})

function afterLoop(task: () => void): Timer {
  const immediate = setImmediate(task)
  return { cancel: () => clearImmediate(immediate) }
}

class NodeTimer implements Timer {
  readonly #atMs: number
  #fire: (() => void) | undefined
  #handle: NodeJS.Timeout | undefined

  constructor(atMs: number, fire: () => void) {
    if (Number.isNaN(atMs)) throw new RangeError('Cannot set a timer: atMs must be a number, got NaN')
    this.#atMs = atMs
    this.#fire = fire
    this.#arm()
  }

  readonly cancel = (): void => {
    this.#fire = undefined
    if (this.#handle !== undefined) clearTimeout(this.#handle)
    this.#handle = undefined
  }

  #arm(): void {
    const leftMs = Math.max(Math.ceil(this.#atMs - performance.now()), 1)
    // Every other timeout would come a fraction early, and wake a quiet process twice.
    const delayMs = Math.min(leftMs < preciseMsMax ? leftMs : leftMs + 1, delayMsMax)
    this.#handle = setTimeout(this.#onTimeout, delayMs).unref()
  }

  readonly #onTimeout = (): void => {
    const fire = this.#fire
    if (fire === undefined) return
    // libuv counts from a cached whole millisecond, so a timeout can come a fraction early; and long waits come in parts.
    if (performance.now() < this.#atMs) {
      this.#arm()
      return
    }
    this.#fire = undefined
    this.#handle = undefined
    fire()
  }
}

function nodeHost(name: string): Host {
  return {
    onSignal: (listener) => {
      const onSigint = (): void => listener('SIGINT')
      const onSigterm = (): void => listener('SIGTERM')
      process.on('SIGINT', onSigint)
      process.on('SIGTERM', onSigterm)
      return {
        [Symbol.dispose]() {
          process.off('SIGINT', onSigint)
          process.off('SIGTERM', onSigterm)
        },
      }
    },
    onUnhandled: listenUnhandled,
    keepAlive: () => {
      // Node has no handle that only holds the process; the longest interval comes nearest, at one wake-up in 24 days.
      const handle = setInterval(() => undefined, delayMsMax)
      return { [Symbol.dispose]: () => clearInterval(handle) }
    },
    exit: (code) => process.exit(code),
    env: process.env,
    name,
    processId: process.pid,
  }
}

function levelFromEnvironment(value: string | undefined): LogLevel | 'silent' | undefined {
  if (value === undefined || value === '') return undefined
  if (!logLevels.includes(value)) {
    throw new RangeError(
      `Cannot read UNDERSTUDY_LOG: it must be one of ${logLevels.join(', ')}, got "${value}"`,
    )
  }
  return value as LogLevel | 'silent'
}
