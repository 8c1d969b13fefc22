/** The calls and returns of a history as the linearizability search walks them: a doubly linked list, and slots. */
import type { Op } from './history.ts'
import type { Model, ModelState } from './model.ts'

/** The calls and returns in their order. Position 0 is before all, `end` behind all; `end` counts as a return. */
export interface EventTimeline {
  /** How many operations must be placed. */
  readonly required: number
  /** How many operations of the list are open at once at most. */
  readonly slots: number
  readonly end: number
  /** By position. */
  readonly opAt: Int32Array
  readonly isReturn: Uint8Array
  readonly next: Int32Array
  readonly previous: Int32Array
  /** By operation. */
  readonly callAt: Int32Array
  /** 0 when it has none. */
  readonly returnAt: Int32Array
  readonly isDroppable: Uint8Array
  /** The bit of an operation: in `open`, in `dropped` when droppable, in `used` when it has no return. */
  readonly slotOf: Int32Array
  /** Operations without a return, in the order of their calls. */
  readonly optional: readonly number[]
  readonly droppedWords: number
  /** By position, `droppedWords` each: how the bits of droppable operations stand when all that returned are settled. */
  readonly settled: Uint32Array
  /** By index into `optional`: the one before it that is interchangeable with it, or -1. */
  readonly alikeBefore: readonly number[]
}

/** Lays out `ops`. `useOf` says which must be placed, which may, and which are left out. O(n log n). */
export function eventTimeline<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  useOf: (index: number) => 'required' | 'optional' | 'useless',
): EventTimeline {
  const uses = [...ops.keys()].map(useOf)
  // One that need not have happened and can explain nothing is left out.
  const events = eventsOf(ops).filter((event) => uses[event < 0 ? ~event : event] !== 'useless')
  const isDroppable = new Uint8Array(ops.length)
  const end = events.length + 1
  const opAt = new Int32Array(end + 1)
  const isReturn = new Uint8Array(end + 1)
  const next = new Int32Array(end + 1)
  const previous = new Int32Array(end + 1)
  const callAt = new Int32Array(ops.length)
  const returnAt = new Int32Array(ops.length)
  const slotOf = new Int32Array(ops.length)
  const optional: number[] = []
  const requiredSlots = new Slots()
  const droppableSlots = new Slots()
  const flips: { readonly position: number; readonly slot: number }[] = []
  let required = 0
  let last = 0
  for (const [i, event] of events.entries()) {
    const position = i + 1
    const op = event < 0 ? ~event : event
    opAt[position] = op
    if (event < 0) {
      isReturn[position] = 1
      returnAt[op] = position
      const slot = slotOf[op] ?? 0
      ;(isDroppable[op] === 1 ? droppableSlots : requiredSlots).free(slot)
      if (isDroppable[op] === 1) flips.push({ position, slot })
    } else {
      callAt[op] = position
      if (ops[op]?.ret === Number.POSITIVE_INFINITY) {
        slotOf[op] = optional.push(op) - 1
        continue
      }
      const isRequired = uses[op] === 'required'
      isDroppable[op] = isRequired ? 0 : 1
      slotOf[op] = (isRequired ? requiredSlots : droppableSlots).take()
      if (isRequired) required++
    }
    next[last] = position
    previous[position] = last
    last = position
  }
  isReturn[end] = 1
  next[last] = end
  previous[end] = last
  const alikeBefore = alikeOf(model, ops, optional)
  const droppedWords = Math.ceil(droppableSlots.count / 32)
  return {
    required,
    slots: requiredSlots.count,
    end,
    opAt,
    isReturn,
    next,
    previous,
    callAt,
    returnAt,
    isDroppable,
    slotOf,
    optional,
    alikeBefore,
    droppedWords,
    settled: settledOf(flips, droppedWords, end),
  }
}

function settledOf(
  flips: readonly { readonly position: number; readonly slot: number }[],
  words: number,
  end: number,
): Uint32Array {
  const settled = new Uint32Array((end + 1) * words)
  const now = new Uint32Array(words)
  let done = 0
  for (let position = 0; position <= end && words > 0; position++) {
    for (let next = flips[done]; next !== undefined && next.position < position; next = flips[++done]) {
      flip(now, next.slot)
    }
    settled.set(now, position * words)
  }
  return settled
}

/** Numbers for what is open at the same time; a number is used again when its holder has returned. */
class Slots {
  readonly #free: number[] = []
  #count = 0

  get count(): number {
    return this.#count
  }

  take(): number {
    return this.#free.pop() ?? this.#count++
  }

  free(slot: number): void {
    this.#free.push(slot)
  }
}

/** Calls as the index of their operation, returns as its complement; by time, calls before returns. */
function eventsOf<I, O>(ops: readonly Op<I, O>[]): readonly number[] {
  const events: number[] = []
  for (const [i, op] of ops.entries()) {
    events.push(i)
    if (op.ret !== Number.POSITIVE_INFINITY) events.push(~i)
  }
  const timeOf = (event: number): number => (event < 0 ? ops[~event]?.ret : ops[event]?.call) ?? 0
  return events.sort(
    (a, b) => timeOf(a) - timeOf(b) || Number(a < 0) - Number(b < 0) || Math.abs(a) - Math.abs(b),
  )
}

function alikeOf<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  optional: readonly number[],
): readonly number[] {
  const { inputKey } = model
  if (inputKey === undefined) return optional.map(() => -1)
  const lastOf = new Map<string, number>()
  return optional.map((op, i) => {
    const operation = ops[op]
    // With an answer that is known the effect may differ: only those without one are compared by their input.
    if (operation === undefined || operation.out !== undefined) return -1
    const key = inputKey(operation.in)
    const before = lastOf.get(key) ?? -1
    lastOf.set(key, i)
    return before
  })
}

/** Turns a bit over. */
export function flip(words: Uint32Array, bit: number): void {
  const word = bit >>> 5
  words[word] = (words[word] ?? 0) ^ (1 << (bit & 31))
}
