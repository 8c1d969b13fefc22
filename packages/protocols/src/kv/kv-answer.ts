/** What a client gives its callers for the store's results, and what it throws for its refusals. */
import type { KvEntry, KvResult } from './kv-command.ts'
import { KvError } from './kv-error.ts'

export function entryIn(result: KvResult): KvEntry | undefined {
  return answerOf(result, 'get').result.entries[0]
}

export function putAnswer(result: KvResult): {
  readonly revision: number
  readonly previous: KvEntry | undefined
} {
  const { revision, result: answer } = answerOf(result, 'put')
  return { revision, previous: answer.previous }
}

export const getAnswer = (result: KvResult): Answer<'get'> => answerOf(result, 'get')
export const deleteAnswer = (result: KvResult): Answer<'delete'> => answerOf(result, 'delete')
export const transactAnswer = (result: KvResult): Answer<'transact'> => answerOf(result, 'transact')
export const leaseAnswer = (result: KvResult): Answer<'lease'> => answerOf(result, 'lease')
export const doneAnswer = (result: KvResult): Answer<'done'> => answerOf(result, 'done')

type ResultType = Extract<KvResult, { readonly ok: true }>['result']['type']

export interface Answer<T extends ResultType> {
  readonly revision: number
  readonly result: Extract<Extract<KvResult, { readonly ok: true }>['result'], { readonly type: T }>
}

/** @throws {KvError} what the store itself refused */
function answerOf<T extends ResultType>(answer: KvResult, type: T): Answer<T> {
  if (!answer.ok) {
    const { code, message, compactRevision } = answer.error
    const more = compactRevision === undefined ? {} : { compactRevision }
    throw new KvError(code, message, { revision: answer.revision, ...more })
  }
  if (answer.result.type !== type) throw new RangeError('A server answered something else')
  return { revision: answer.revision, result: answer.result as Answer<T>['result'] }
}
