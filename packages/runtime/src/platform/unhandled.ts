/**
 * One 'unhandledRejection' listener for the whole process, however many systems, and copies of this package, listen.
 *
 * With a listener of that name Node no longer ends the process by itself. So when nobody takes the blame, this listener
 * has to do what Node would have done, or a stray rejection would be swallowed by the mere presence of a system.
 */

/** Returns true when it took the blame for the rejection. */
export type UnhandledListener = (error: unknown, promise: Promise<unknown>) => boolean

// On `process`, under a registered symbol: two copies of this package must not crash each other's promises.
const registryKey = Symbol.for('@understudy/unhandled')

interface Registry {
  readonly listeners: Set<{ readonly call: UnhandledListener }>
  readonly onRejection: (error: unknown, promise: Promise<unknown>) => void
}

/** Asks `listener` about each rejection that nobody handled, until disposed. */
export function listenUnhandled(listener: UnhandledListener): Disposable {
  const registry = processRegistry()
  const entry = { call: listener }
  if (registry.listeners.size === 0) process.on('unhandledRejection', registry.onRejection)
  registry.listeners.add(entry)
  return {
    [Symbol.dispose]() {
      if (registry.listeners.delete(entry) && registry.listeners.size === 0) {
        process.off('unhandledRejection', registry.onRejection)
      }
    },
  }
}

/**
 * Listens alone: all other listeners are set aside until this one is disposed of. For a simulation, whose actors'
 * rejections are not the test runner's. Nest with care: the last one in must be the first one out.
 */
export function listenUnhandledAlone(
  listener: (error: unknown, promise: Promise<unknown>) => void,
): Disposable {
  const others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', listener)
  return {
    [Symbol.dispose]() {
      process.off('unhandledRejection', listener)
      for (const other of others) process.on('unhandledRejection', other)
    },
  }
}

function processRegistry(): Registry {
  const holder = process as unknown as Record<symbol, Registry | undefined>
  const existing = holder[registryKey]
  if (existing !== undefined) return existing
  const listeners: Registry['listeners'] = new Set()
  const registry: Registry = {
    listeners,
    onRejection: (error, promise) => {
      for (const listener of listeners) {
        if (listener.call(error, promise)) return
      }
      blameNobody(error)
    },
  }
  Object.defineProperty(process, registryKey, { value: registry })
  return registry
}

/** What Node does when no one listens, in the mode that the user chose. */
function blameNobody(error: unknown): void {
  // The program listens as well: without us Node would have left it to that listener.
  if (process.listenerCount('unhandledRejection') > 1) return
  const mode = rejectionMode()
  // In these two Node goes on without a crash, and has said by itself what there was to say.
  if (mode === 'none' || mode === 'warn') return
  throw error instanceof Error ? error : unhandledError(error)
}

function rejectionMode(): string {
  const options = [...(process.env['NODE_OPTIONS'] ?? '').split(/\s+/), ...process.execArgv]
  const flag = '--unhandled-rejections='
  return options.findLast((option) => option.startsWith(flag))?.slice(flag.length) ?? 'throw'
}

/** Node's own wording and code for a rejection with something that is no error. */
function unhandledError(reason: unknown): Error {
  const error = new Error(
    'This error originated either by throwing inside of an async function without a catch block, or by rejecting a ' +
      `promise which was not handled with .catch(). The promise rejected with the reason "${String(reason)}".`,
    { cause: reason },
  )
  return Object.assign(error, { code: 'ERR_UNHANDLED_REJECTION' })
}
