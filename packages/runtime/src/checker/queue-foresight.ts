/**
 * What the answers of the dequeues tell about a queue beforehand.
 *
 * A search alone does badly on queues: in which order two values went in shows only when they come out, and until then
 * it tries every order of everything in between. Where a value was enqueued once these can be told in advance
 * (Henzinger, Sezgin and Vafeiadis 2013, "Aspect-oriented linearizability proofs", section 4): a value that came out
 * and never went in, or came out twice; and `a` that went in before `b` did, while `b` came out before `a` was asked for.
 */
import type { Op } from './history.ts'
import type { Foresight, Value } from './model.ts'
import type { QueueInput, QueueOutput, QueueState } from './queue-state.ts'

/** How many values before the last are looked at in a state: orders that were guessed wrong are wrong among neighbours. */
const neighbours = 32

/** What became of a value. */
interface Passage {
  /** How many enqueues of it there are. */
  in: number
  /** When it was enqueued: the call, and the return if that enqueue must have happened. */
  inCall: number
  inRet: number
  /** How many dequeues that must have happened answered it; when the first was called, when the first returned. */
  out: number
  outCall: number
  outRet: number
}

/** The `foresee` of the queue model. O(n log n) beforehand, O(1) for each state. */
export function queueForesight<V extends Value>(
  ops: readonly Op<QueueInput<V>, QueueOutput<V>>[],
  isRequired: (index: number) => boolean,
): Foresight<QueueState<V>, QueueInput<V>> {
  const passages = new Map<V, Passage>()
  // A dequeue without an answer may have taken any value out at any time from its call on.
  const isAllSeen = ops.every(({ in: input, out }) => input.type === 'enqueue' || out !== undefined)
  for (const [i, { in: input, out, call, ret }] of ops.entries()) {
    const value = input.type === 'enqueue' ? input.value : out
    if (value === undefined || value === null) continue
    const passage = passages.get(value) ?? {
      in: 0,
      inCall: never,
      inRet: never,
      out: 0,
      outCall: never,
      outRet: never,
    }
    passages.set(value, passage)
    const until = isRequired(i) ? ret : never
    if (input.type === 'enqueue') {
      passage.in++
      passage.inCall = call
      passage.inRet = until
    } else {
      passage.out += isRequired(i) ? 1 : 0
      passage.outCall = Math.min(passage.outCall, call)
      passage.outRet = Math.min(passage.outRet, until)
    }
  }
  if (isImpossible([...passages.values()], isAllSeen)) return { reduce: () => null }
  return {
    reduce: (state) => {
      const { items, start, end } = state
      // Only the value that came last can be new; the others were looked at when they were.
      const last = end === start ? undefined : passages.get(items[end - 1] as V)
      if (last === undefined || last.in !== 1 || last.outRet === never) return state
      for (let i = Math.max(start, end - neighbours); i < end - 1; i++) {
        const ahead = passages.get(items[i] as V)
        if (ahead !== undefined && comesOutAfter(ahead, last.outRet, isAllSeen)) return null
      }
      return state
    },
  }
}

const never = Number.POSITIVE_INFINITY

function comesOutAfter(passage: Passage, time: number, isAllSeen: boolean): boolean {
  // Where nobody saw it come out it is still in, unless an answer is missing that could have been it.
  return passage.outCall === never ? isAllSeen : passage.outCall > time
}

function isImpossible(passages: readonly Passage[], isAllSeen: boolean): boolean {
  if (passages.some((passage) => passage.out > passage.in)) return true
  const once = passages.filter((passage) => passage.in === 1)
  const byReturn = once.filter(({ inRet }) => inRet !== never).sort((a, b) => a.inRet - b.inRet)
  const byCall = once.filter(({ outRet }) => outRet !== never).sort((a, b) => a.inCall - b.inCall)
  let done = 0
  // When the last of those was asked for that went in before the present one did.
  let latestOut = Number.NEGATIVE_INFINITY
  for (const passage of byCall) {
    for (
      let before = byReturn[done];
      before !== undefined && before.inRet < passage.inCall;
      before = byReturn[++done]
    ) {
      if (before.outCall !== never || isAllSeen) latestOut = Math.max(latestOut, before.outCall)
    }
    if (latestOut > passage.outRet) return true
  }
  return false
}
