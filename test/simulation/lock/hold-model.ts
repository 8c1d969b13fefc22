/**
 * What is held, by whom, for how much: mutexes, read-write locks, semaphores and spin locks as their clients see them. Stricter
 * than the checkers' `lockModel` with leases: a hold ends by its release, or by an `end` that the recorder adds for those
 * holds alone that may have been lost. So two holders at once are two holders at once.
 */
import { partitionBy, type Model } from '@understudy/runtime/checkers'

export type HoldInput = { readonly name: string } &
  /** `hold` is a name for this one course of holding; `permits` of `writePermits` is to have it alone. */
  (
    | { readonly type: 'acquire'; readonly hold: string; readonly permits: number; readonly capacity: number }
    | { readonly type: 'release'; readonly hold: string }
    /** The hold was lost, or may have been: recorded with an unknown outcome, from when it was asked for. */
    | { readonly type: 'end'; readonly hold: string }
    /** From writing to reading. */
    | { readonly type: 'downgrade'; readonly hold: string }
    | { readonly type: 'set-permits'; readonly permits: number }
  )

/** Of an acquire the token, null when it was refused because somebody else has it; of a release whether it was held. */
export type HoldOutput = number | null | boolean | undefined

/** As many permits as a read-write lock has. */
export const writePermits = 1_000_000

export interface HoldState {
  /** 0: as those who acquire say. */
  readonly capacity: number
  /** Sorted by name. */
  readonly holds: readonly { readonly hold: string; readonly permits: number }[]
  /** Of the last grant; where nobody saw it, the least it can be. */
  readonly token: number
}

export const holdModel: Model<HoldState, HoldInput, HoldOutput> = {
  name: 'lock',
  init: () => ({ capacity: 0, holds: [], token: 0 }),
  step: (state, input, output) => {
    switch (input.type) {
      case 'acquire':
        return acquire(state, input, output)
      case 'release': {
        const isHeld = isHolding(state, input.hold)
        if (output !== undefined && output !== isHeld) return null
        return without(state, input.hold)
      }
      case 'end':
        return without(state, input.hold)
      case 'downgrade': {
        if (!isHolding(state, input.hold)) return output === true ? null : state
        if (output === false) return null
        const holds = state.holds.map((one) => (one.hold === input.hold ? { ...one, permits: 1 } : one))
        return { ...state, holds }
      }
      case 'set-permits':
        return { ...state, capacity: input.permits }
    }
  },
  equal: (a, b) =>
    a === b ||
    (a.capacity === b.capacity &&
      a.token === b.token &&
      a.holds.length === b.holds.length &&
      a.holds.every(({ hold, permits }, i) => b.holds[i]?.hold === hold && b.holds[i]?.permits === permits)),
  hash: ({ capacity, holds, token }) =>
    hashText(`${capacity} ${token} ${holds.map(({ hold, permits }) => `${hold}:${permits}`).join()}`),
  partition: partitionBy((input) => input.name),
  readsOnly: (input, output) =>
    (input.type === 'acquire' && output === null) || (input.type === 'release' && output === false),
  needsReply: () => false,
  describe: (input, output) => `${JSON.stringify(input)} -> ${output === undefined ? '?' : String(output)}`,
}

function acquire(
  state: HoldState,
  input: Extract<HoldInput, { readonly type: 'acquire' }>,
  output: HoldOutput,
): HoldState | null {
  // Nobody is refused what nobody has: who waits for nothing is let through, and so nobody waits.
  if (output === null) return state.holds.length > 0 ? state : null
  const capacity = state.capacity === 0 ? input.capacity : state.capacity
  const taken = state.holds.reduce((sum, { permits }) => sum + permits, 0)
  const fits = taken + input.permits <= capacity
  if (typeof output === 'number' && (!fits || output <= state.token)) return null
  if (output === undefined && !fits) return state
  const { hold, permits } = input
  const holds = [...state.holds, { hold, permits }].sort((a, b) => (a.hold < b.hold ? -1 : 1))
  return { capacity, holds, token: typeof output === 'number' ? output : state.token + 1 }
}

function isHolding({ holds }: HoldState, hold: string): boolean {
  return holds.some((one) => one.hold === hold)
}

function without(state: HoldState, hold: string): HoldState {
  if (!isHolding(state, hold)) return state
  return { ...state, holds: state.holds.filter((one) => one.hold !== hold) }
}

/** A 32-bit number of a text (FNV-1a): what the models of this folder tell their states apart by. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}
