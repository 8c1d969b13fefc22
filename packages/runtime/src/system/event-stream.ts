/**
 * What happens in a system, as past-tense facts that anybody may listen to: tests, logs, dashboards, the cluster.
 * Listeners are called in place and in order; one that throws is logged and does not disturb the others.
 */
import type { DeadLetterReason } from '../actor/dead-letter.ts'
import type { EndReason } from '../actor/watch.ts'
import type { Logger } from '../platform/log.ts'

/** Every event of this package. The cluster adds its own under names of its own. */
export interface SystemEvents {
  'actor-started': {
    readonly path: string
    readonly definition: string
    readonly uid: number
    readonly incarnation: number
  }
  'actor-restarted': {
    readonly path: string
    readonly definition: string
    /** `undefined` when a permanent actor stopped by itself. */
    readonly error: Error | undefined
    readonly messageType: string | undefined
    /** Restart number `count` of at most `limit` within the window. */
    readonly count: number
    readonly limit: number
    readonly delayMs: number
    /** Crashes of this actor on this message type within its supervisor's window, at most 10; from 3 on it is poison. */
    readonly sameMessage: number
  }
  'actor-failed': {
    readonly path: string
    readonly definition: string
    readonly error: Error
    readonly messageType: string | undefined
  }
  'actor-stopped': {
    readonly path: string
    readonly definition: string
    readonly uid: number
    readonly reason: EndReason
  }
  'dead-letter': {
    readonly reason: DeadLetterReason
    readonly path: string
    readonly definition: string
    readonly sender: string | undefined
    readonly message: { readonly type: string }
  }
  'handler-stalled': {
    readonly path: string
    readonly definition: string
    readonly messageType: string
    readonly durationMs: number
  }
  'actor-abandoned': { readonly path: string; readonly waitedFor: string; readonly ageMs: number }
  'shutdown-phase': { readonly phase: string; readonly reason: string }
}

/** A typed event stream. `E` maps event names to their facts. */
export interface EventStream<E> {
  /** Calls `listener` for every event of that name from now on. Dispose to end it. */
  readonly on: <K extends keyof E & string>(name: K, listener: (event: E[K]) => void) => Disposable
  readonly emit: <K extends keyof E & string>(name: K, event: E[K]) => void
  /** False when nobody listens, so that making the event can be spared. */
  readonly wants: (name: keyof E & string) => boolean
}

export function eventStream<E>(log: Logger): EventStream<E> {
  // In cells of their own, so that one function listens twice when it was added twice. Replaced, never changed in place.
  const listeners = new Map<string, readonly { readonly call: (event: never) => void }[]>()
  return {
    on: (name, listener) => {
      const entry = { call: listener }
      listeners.set(name, [...(listeners.get(name) ?? []), entry])
      return {
        [Symbol.dispose]: () => {
          const rest = (listeners.get(name) ?? []).filter((other) => other !== entry)
          if (rest.length === 0) listeners.delete(name)
          else listeners.set(name, rest)
        },
      }
    },
    emit: (name, event) => {
      for (const listener of listeners.get(name) ?? []) {
        try {
          listener.call(event as never)
        } catch (error) {
          log.error({ event: name, err: error }, 'a listener of the event stream threw')
        }
      }
    },
    wants: (name) => listeners.has(name),
  }
}
