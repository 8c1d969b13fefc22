/** The process around a system that has no real one: signals and rejections are played, an exit is only told. */
import type { Host } from './platform.ts'

export interface VirtualHostOptions {
  readonly name: string
  readonly processId: number
  readonly env: Readonly<Record<string, string | undefined>>
  /** The system wants the process to end. */
  readonly exited: (code: number) => void
}

type SignalListener = Parameters<Host['onSignal']>[0]
type UnhandledListener = Parameters<Host['onUnhandled']>[0]

export class VirtualHost implements Host {
  readonly name: string
  readonly processId: number
  readonly env: Readonly<Record<string, string | undefined>>
  readonly exit: (code: number) => void
  /** Holds on the process (`keepAlive`) that have not been released. */
  holds = 0
  readonly #signalListeners = new Set<SignalListener>()
  readonly #unhandledListeners = new Set<UnhandledListener>()

  constructor(options: VirtualHostOptions) {
    this.name = options.name
    this.processId = options.processId
    this.env = options.env
    this.exit = options.exited
  }

  readonly onSignal = (listener: SignalListener): Disposable => {
    this.#signalListeners.add(listener)
    return { [Symbol.dispose]: () => void this.#signalListeners.delete(listener) }
  }

  readonly onUnhandled = (listener: UnhandledListener): Disposable => {
    this.#unhandledListeners.add(listener)
    return { [Symbol.dispose]: () => void this.#unhandledListeners.delete(listener) }
  }

  readonly keepAlive = (): Disposable => {
    this.holds++
    let isHeld = true
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.holds--
        isHeld = false
      },
    }
  }

  /** Plays a signal. */
  signal(signal: 'SIGINT' | 'SIGTERM'): void {
    for (const listener of [...this.#signalListeners]) listener(signal)
  }

  /** Plays a rejection that nobody handled; true when somebody took the blame. */
  takeBlame(error: unknown, promise: Promise<unknown>): boolean {
    return [...this.#unhandledListeners].some((listener) => listener(error, promise))
  }
}
