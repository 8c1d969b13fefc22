/** How a counter, a value or a latch stands, now and each time that it has changed. */
import { isActorError } from '@understudy/runtime'
import { clientClosed, isRefusal } from './claim-error.ts'
import type { ClientSession } from './client-session.ts'
import type { LockView } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import type { WaitOptions } from './lock.ts'

/** How long a server waits for news before it answers that there is none. */
const waitMs = 5_000

export type ValueKind = 'counter' | 'value' | 'latch'

/** @throws {LockError} LOCK_WRONG_KIND; undefined: it is not there */
export async function viewOf(
  session: ClientSession,
  name: string,
  kind: ValueKind,
  { timeoutMs, signal }: WaitOptions = {},
): Promise<LockView | undefined> {
  const view = await session.port.view(name, { timeoutMs, signal })
  return checked(view, name, kind)
}

/**
 * `shape` of each state that is seen: the first at once, then the newest each time that its version is another. While no server
 * answers it waits, for as long as it takes. Ends with the signal; throws LOCK_CLIENT_CLOSED, and what the table refuses.
 */
export async function* changesOf<T>(
  session: ClientSession,
  name: string,
  kind: ValueKind,
  shape: (view: LockView | undefined) => T,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, void> {
  const { port } = session
  let version: number | undefined
  let idle = 0
  while (!isAborted(signal)) {
    const sentMs = port.nowMs()
    let view: LockView | undefined
    try {
      const wait = version === undefined ? {} : { afterVersion: version, waitMs }
      const timeoutMs = session.options.timeoutMs + waitMs
      view = checked(await port.view(name, { ...wait, timeoutMs, signal }), name, kind)
    } catch (error) {
      if (isAborted(signal)) return
      if (session.isClosed) throw clientClosed()
      if (isRefusal(error) || !isActorError(error)) throw error
      await session.pause(idle++, signal)
      continue
    }
    const now = view?.version ?? 0
    if (now !== version) {
      version = now
      idle = 0
      yield shape(view)
    } else if (port.nowMs() - sentMs < waitMs / 2) {
      // It was not waited for: whoever answers so must not be asked as fast as it answers.
      await session.pause(idle++, signal)
    }
  }
}

function checked(view: LockView | undefined, name: string, kind: ValueKind): LockView | undefined {
  if (view === undefined || view.kind === kind) return view
  throw new LockError(
    'LOCK_WRONG_KIND',
    `"${name}" is a ${view.kind}, and was used as a ${kind}: take another name`,
  )
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}
