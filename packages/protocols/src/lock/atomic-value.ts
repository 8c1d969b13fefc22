/** Bytes that all clients share, with a version. */
import type { ClientSession } from './client-session.ts'
import { checkValue } from '../service/value-check.ts'
import type { LockView } from './lock-command.ts'
import type { AtomicValue, VersionedValue, WaitOptions } from './lock.ts'
import { changesOf, viewOf } from './value-changes.ts'

const encoder = new TextEncoder()
const nothing = new Uint8Array(0)

/**
 * Version 0 and no bytes until somebody sets it; versions grow, and none comes twice, whatever becomes of the name meanwhile. A
 * string stands for its UTF-8 bytes. One whose outcome nobody knows rejects with PROTOCOLS_OUTCOME_UNKNOWN.
 */
export function atomicValue(session: ClientSession, name: string): AtomicValue {
  const write = async (
    value: Uint8Array | string,
    expectedVersion: number | undefined,
    { timeoutMs, signal }: WaitOptions,
  ): Promise<{ readonly ok: boolean; readonly version: number; readonly value: Uint8Array }> => {
    checkValue(value)
    const bytes = typeof value === 'string' ? encoder.encode(value) : value
    const answer = await session.port.write(
      `the value "${name}"`,
      { type: 'value-set', name, expectedVersion, value: bytes },
      { timeoutMs, signal },
    )
    if (answer.type !== 'value') throw new RangeError(`The lock table answered "${answer.type}" to value-set`)
    // What was just set is not sent back.
    return { ok: answer.ok, version: answer.version, value: answer.ok ? bytes : answer.value }
  }
  return {
    name,
    get: async (options) => valueIn(await viewOf(session, name, 'value', options)),
    set: async (value, options = {}) => (await write(value, undefined, options)).version,
    compareAndSet: (expectedVersion, value, options = {}) => write(value, expectedVersion, options),
    changes: ({ signal } = {}) => changesOf(session, name, 'value', valueIn, signal),
  }
}

function valueIn(view: LockView | undefined): VersionedValue {
  const value = view?.value
  return { version: view?.version ?? 0, value: value instanceof Uint8Array ? value : nothing }
}
