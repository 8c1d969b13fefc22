/**
 * What the answers of the gets tell about a key beforehand.
 *
 * Appends make a state out of every order of the writes that are open at once: thousands, of which the gets saw only a
 * few. A text that no answer begins with is seen by no get, nor is anything appended to it, until a put or a delete; so
 * all such texts are alike. Where there is neither put nor delete every state is a beginning of the longest answer, or
 * goes on where that ends; any other leads nowhere.
 */
import type { Op } from './history.ts'
import type { KvInput, KvOutput, KvState, KvValue } from './kv-state.ts'
import type { Foresight, Value } from './model.ts'

/**
 * The `foresee` of the key-value model. Knows nothing where appends meet values that are not text. O(n log n)
 * beforehand, O(log n) for each state and its last piece.
 */
export function kvForesight<V extends Value>(
  ops: readonly Op<KvInput<V>, KvOutput<V>>[],
  isRequired: (index: number) => boolean,
): Foresight<KvState<V>, KvInput<V>> | undefined {
  const types = new Set(ops.map(({ in: input }) => input.type))
  const isText = ops.every(({ in: input }) => !('value' in input) || typeof input.value === 'string')
  if (types.has('append') && !isText) return undefined
  const gets = ops.filter(({ in: input }, i) => input.type === 'get' && isRequired(i))
  const seen = new Set<unknown>(gets.map(({ out }) => out))
  const answers = [...seen].filter((answer) => typeof answer === 'string').sort()
  const longest = answers.reduce((a, b) => (b.length > a.length ? b : a), '')
  const longestAt = answers.indexOf(longest)
  const onlyAppends = !types.has('put') && !types.has('delete')
  /** Whether a state that is only appended to agrees with the longest answer, as the one before it did. */
  const agrees = (state: KvValue<V>): boolean => {
    if (state.before?.answers !== undefined && !isIn(longestAt, state.before.answers)) return false
    if (state.answers !== undefined && isIn(longestAt, state.answers)) return true
    return String(state.piece).startsWith(longest.slice(state.before?.length ?? 0))
  }
  return {
    reduce: (state) => {
      if (state === undefined || state.isUnseen) return state
      if (state.before?.isUnseen === true) return { ...state, isUnseen: true }
      if (typeof state.piece !== 'string') return { ...state, isUnseen: !seen.has(state.piece) }
      state.answers ??= narrow(answers, state)
      if (onlyAppends && !agrees(state)) return null
      return state.answers.from < state.answers.to ? state : { ...state, isUnseen: true }
    },
    canHelp: (input) => {
      // What nobody saw can still be why a delete found something.
      if (types.has('delete')) return true
      if (input.type === 'put') return types.has('append') ? answers.length > 0 : seen.has(input.value)
      return input.type === 'append' && answers.length > 0
    },
  }
}

/** Where in the sorted answers those lie that begin with the state, among those that begin with the state before. */
function narrow<V extends Value>(
  answers: readonly string[],
  { piece, before }: KvValue<V>,
): { readonly from: number; readonly to: number } {
  const text = String(piece)
  const start = before?.length ?? 0
  const first = (low: number, high: number, isBehind: (part: string) => boolean): number => {
    while (low < high) {
      const middle = (low + high) >> 1
      if (isBehind((answers[middle] ?? '').slice(start, start + text.length))) high = middle
      else low = middle + 1
    }
    return low
  }
  const end = before?.answers?.to ?? answers.length
  const from = first(before?.answers?.from ?? 0, end, (part) => part >= text)
  return { from, to: first(from, end, (part) => part > text) }
}

function isIn(index: number, range: { readonly from: number; readonly to: number }): boolean {
  return index >= range.from && index < range.to
}
