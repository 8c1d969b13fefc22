/** A number that all clients share. */
import type { ClientSession } from './client-session.ts'
import type { LockCommand, LockView } from './lock-command.ts'
import type { Counter, WaitOptions } from './lock.ts'
import { changesOf, viewOf } from './value-changes.ts'

/**
 * 0 until somebody says otherwise. Every call is one write or one linearizable read, carried out once however often it is tried;
 * one whose outcome nobody knows rejects with PROTOCOLS_OUTCOME_UNKNOWN.
 */
export function counter(session: ClientSession, name: string): Counter {
  const write = async (
    command: LockCommand,
    { timeoutMs, signal }: WaitOptions,
  ): Promise<{ readonly ok: boolean; readonly value: number }> => {
    const answer = await session.port.write(`the counter "${name}"`, command, { timeoutMs, signal })
    if (answer.type !== 'number') throw new RangeError(`The lock table answered "${answer.type}" to a count`)
    return { ok: answer.ok, value: answer.value }
  }
  return {
    name,
    get: async (options) => countIn(await viewOf(session, name, 'counter', options)),
    add: async (by, options = {}) => (await write({ type: 'count-add', name, by }, options)).value,
    set: async (value, options = {}) => {
      await write({ type: 'count-set', name, expected: undefined, value }, options)
    },
    compareAndSet: (expected, value, options = {}) =>
      write({ type: 'count-set', name, expected, value }, options),
    changes: ({ signal } = {}) => changesOf(session, name, 'counter', countIn, signal),
  }
}

export function countIn(view: LockView | undefined): number {
  return typeof view?.value === 'number' ? view.value : 0
}
