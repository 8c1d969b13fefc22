/**
 * The search behind `checkLinearizable`: is there an order of the operations, in keeping with who finished before whom,
 * in which the model gives every answer that was seen?
 *
 * Wing and Gong (1993) with Lowe's cache (2017), on a doubly linked list of calls and returns as in Porcupine: an
 * operation can come next when its call lies before the first return still in the list; placing it takes its call and
 * its return out (`lift`), taking it back puts them in again (`unlift`). Three things are done differently:
 *
 * - An operation without a return is *optional*. It is never in the list; it may be placed any time after its call, and
 *   the search is over when the others are placed. A configuration that has used more of them than another with the
 *   same state is not looked at again (see `ConfigurationCache`).
 * - An operation that cannot change the state is placed as soon as its answer fits, and never taken back by itself:
 *   moving it to the front of any order leaves that order as right as it was.
 * - The configurations are told apart by a few words, not by a bit for each operation.
 */
import { ConfigurationCache } from './configuration-cache.ts'
import { eventTimeline, flip, type EventTimeline } from './event-timeline.ts'
import type { Op } from './history.ts'
import { hashState, type Foresight, type Model, type ModelState } from './model.ts'

export interface SearchLimits {
  /** Model steps. */
  readonly stepsMax: number
  readonly cacheEntriesMax: number
  /** Indices of operations that took effect between their call and their return or never. Default: none. */
  readonly droppable?: ReadonlySet<number> | undefined
  /** True when the time is up. Asked every 256 steps or so. */
  readonly isTimeUp?: (() => boolean) | undefined
}

export interface SearchResult<S> {
  /** `ok`: an order was found; `illegal`: there is none; the others: a limit came first. */
  readonly outcome: 'ok' | 'illegal' | 'steps' | 'time' | 'memory'
  readonly steps: number
  /** The placement that got farthest in time, as indices of operations in their order. All of them when `ok`. */
  readonly order: readonly number[]
  /** The operation whose return no placement got past; -1 when `ok`. */
  readonly stuck: number
  /** The states there can have been just before `stuck` returned, without it: at most `statesMax` different ones. */
  readonly states: readonly S[]
  /** True when there were more. */
  readonly statesCut: boolean
  /** True when `Model.foresee` refused a state: then `stuck` may lie before the operation that is at fault. */
  readonly foresaw: boolean
}

/** How many different states are kept for the explanation. */
export const statesMax = 6

/** Searches `ops`, all of one part. O(n) for histories where the first try fits; exponential in the open operations at worst. */
export function searchLinearization<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  limits: SearchLimits,
): SearchResult<S> {
  return new Search(model, ops, limits).run()
}

/** No candidate is left in this configuration. */
const none = Number.MIN_SAFE_INTEGER
/** The candidate of doing without the operation that returns next: no call stands at position 0. */
const skip = 0

// How an operation came to be in the placement.
const chosen = 0
const forced = 1
const skipped = 2

class Search<S extends ModelState, I, O> {
  readonly #model: Model<S, I, O>
  readonly #ops: readonly Op<I, O>[]
  readonly #limits: SearchLimits
  readonly #timeline: EventTimeline
  readonly #cache: ConfigurationCache<S>
  readonly #foresight: Foresight<S, I> | undefined
  /** By operation: true when it cannot change the state. */
  readonly #reads: Uint8Array
  /**
   * One bit for each slot, flipped when the operation in it is placed. As slots are taken over only after a return, the
   * bits together with the first return to come say exactly which operations are placed; no bit needs to be cleared.
   */
  readonly #open: Uint32Array
  /** The same for droppable operations. */
  readonly #dropped: Uint32Array
  /** One bit for each optional operation in the placement; behind them one for each droppable one that is open. */
  readonly #used: Uint32Array
  readonly #usedWords: number
  // The placement: operation, state before it, how it got there.
  readonly #placed: Int32Array
  readonly #before: S[] = []
  readonly #how: Uint8Array
  #depth = 0
  #remaining: number
  #state: S
  /** Position of the first return to come; behind the last when there is none. */
  #position = 0
  #foresaw = false
  #steps = 0
  #rounds = 0

  // The farthest placement so far. Its first `bestShared` operations are the same as in the present placement.
  readonly #best: Int32Array
  #bestDepth = 0
  #bestShared = 0
  #bestPosition = -1
  #bestStates: S[] = []
  #bestStatesCut = false

  constructor(model: Model<S, I, O>, ops: readonly Op<I, O>[], limits: SearchLimits) {
    this.#model = model
    this.#ops = ops
    this.#limits = limits
    const { droppable } = limits
    const isRequired = (i: number): boolean =>
      ops[i]?.ret !== Number.POSITIVE_INFINITY && droppable?.has(i) !== true
    this.#foresight = model.foresee?.(ops, isRequired)
    const canHelp = (i: number): boolean => this.#foresight?.canHelp?.(this.#opAt(i).in) ?? true
    this.#reads = Uint8Array.from(ops, (op) => ((model.readsOnly?.(op.in, op.out) ?? false) ? 1 : 0))
    this.#timeline = eventTimeline(model, ops, (i) =>
      isRequired(i) ? 'required' : this.#reads[i] === 1 || !canHelp(i) ? 'useless' : 'optional',
    )
    const openWords = Math.ceil(this.#timeline.slots / 32)
    const usedWords = Math.ceil(this.#timeline.optional.length / 32)
    this.#open = new Uint32Array(openWords)
    const { droppedWords } = this.#timeline
    this.#usedWords = usedWords
    this.#used = new Uint32Array(usedWords + droppedWords)
    this.#dropped = new Uint32Array(droppedWords)
    this.#cache = new ConfigurationCache(model.equal, openWords, this.#used.length, limits.cacheEntriesMax)
    this.#placed = new Int32Array(ops.length)
    this.#how = new Uint8Array(ops.length)
    this.#best = new Int32Array(ops.length)
    this.#remaining = this.#timeline.required
    this.#state = model.init()
  }

  run(): SearchResult<S> {
    this.#placeReads()
    this.#note()
    let candidate = this.#firstCandidate()
    while (this.#remaining > 0) {
      const limit = this.#limitReached()
      if (limit !== undefined) return this.#result(limit)
      const placed = this.#placeNext(candidate)
      if (placed === 'full') return this.#result('memory')
      if (placed === 'placed') {
        candidate = this.#firstCandidate()
        continue
      }
      candidate = this.#takeBack()
      if (candidate === none) return this.#result('illegal')
    }
    return this.#result('ok')
  }

  #result(outcome: SearchResult<S>['outcome']): SearchResult<S> {
    const { opAt, end } = this.#timeline
    const stuck = outcome === 'ok' || this.#bestPosition >= end ? -1 : (opAt[this.#bestPosition] ?? -1)
    return {
      outcome,
      steps: this.#steps,
      order: [...this.#best.subarray(0, this.#bestDepth)],
      stuck,
      states: this.#bestStates,
      statesCut: this.#bestStatesCut,
      foresaw: this.#foresaw,
    }
  }

  #limitReached(): 'steps' | 'time' | undefined {
    // Comparing entries of one bucket is work too: without it a bad hash would run far past the budget.
    if (this.#steps + this.#cache.compared / 16 > this.#limits.stepsMax) return 'steps'
    return (++this.#rounds & 255) === 0 && this.#limits.isTimeUp?.() === true ? 'time' : undefined
  }

  /**
   * Tries the candidates from `from` on until one leads to a configuration that is new. A candidate is the position of
   * a call in the list, or, below zero, the complement of an index into the optional operations; these come last.
   */
  #placeNext(from: number): 'placed' | 'dead-end' | 'full' {
    for (let candidate = from; candidate !== none;) {
      const op = this.#opOf(candidate)
      const next = candidate === skip ? this.#state : this.#stepTo(candidate, op)
      if (next !== null) {
        const depth = this.#depth
        this.#place(op, next, candidate === skip ? skipped : chosen)
        this.#placeReads()
        const added = this.#remember()
        if (added === 'new') this.#note()
        if (added === 'new') return 'placed'
        while (this.#depth > depth) this.#unplace()
        if (added === 'full') return 'full'
      }
      candidate = this.#candidateAfter(candidate)
    }
    return 'dead-end'
  }

  #remember(): 'new' | 'seen' | 'full' {
    // One that is still open and may be dropped is as good as an optional one: the fewer are used, the better.
    const { droppedWords, settled } = this.#timeline
    for (let i = 0; i < droppedWords; i++) {
      const isSettled = settled[this.#position * droppedWords + i] ?? 0
      this.#used[this.#usedWords + i] = (this.#dropped[i] ?? 0) ^ isSettled
    }
    const hash = this.#model.hash?.(this.#state) ?? hashState(this.#state)
    return this.#cache.add(this.#position, this.#open, this.#used, this.#state, hash)
  }

  /** The state after `op`, or `null` when it cannot be placed here, or need not be. */
  #stepTo(candidate: number, op: number): S | null {
    // A read that fits was placed on arrival, so this one does not fit.
    if (this.#reads[op] === 1) return null
    const { in: input, out } = this.#opAt(op)
    this.#steps++
    const after = this.#model.step(this.#state, input, out)
    if (after === null) return null
    const next = this.#foresight === undefined ? after : this.#foresight.reduce(after)
    if (next === null) this.#foresaw = true
    // An optional operation that does nothing here can as well be left out.
    return next !== null && candidate < 0 && this.#model.equal(next, this.#state) ? null : next
  }

  /** Places every read that fits, and those that come into reach by it. */
  #placeReads(): void {
    const { next, previous, opAt, isReturn } = this.#timeline
    let at = next[0] ?? 0
    while (isReturn[at] === 0) {
      const op = opAt[at] ?? 0
      let fits = false
      if (this.#reads[op] === 1) {
        const { in: input, out } = this.#opAt(op)
        this.#steps++
        fits = this.#model.step(this.#state, input, out) !== null
      }
      if (fits) {
        const before = previous[at] ?? 0
        this.#place(op, this.#state, forced)
        at = next[before] ?? 0
      } else {
        at = next[at] ?? 0
      }
    }
    this.#position = at
  }

  #place(op: number, next: S, how: number): void {
    const { callAt, returnAt, slotOf, isDroppable } = this.#timeline
    this.#placed[this.#depth] = op
    this.#before[this.#depth] = this.#state
    this.#how[this.#depth++] = how
    this.#state = next
    const slot = slotOf[op] ?? 0
    const returned = returnAt[op] ?? 0
    if (returned === 0) {
      flip(this.#used, slot)
      return
    }
    flip(isDroppable[op] === 1 ? this.#dropped : this.#open, slot)
    this.#lift(callAt[op] ?? 0)
    this.#lift(returned)
    this.#remaining -= isDroppable[op] === 1 ? 0 : 1
  }

  /** Takes the last operation back. `#position` is right again only after the next `#placeReads` or `#takeBack`. */
  #unplace(): number {
    const { callAt, returnAt, slotOf, isDroppable } = this.#timeline
    const op = this.#placed[--this.#depth] ?? 0
    this.#state = this.#before[this.#depth] as S
    this.#bestShared = Math.min(this.#bestShared, this.#depth)
    const slot = slotOf[op] ?? 0
    const returned = returnAt[op] ?? 0
    if (returned === 0) {
      flip(this.#used, slot)
      return op
    }
    flip(isDroppable[op] === 1 ? this.#dropped : this.#open, slot)
    this.#unlift(returned)
    this.#unlift(callAt[op] ?? 0)
    this.#remaining += isDroppable[op] === 1 ? 0 : 1
    return op
  }

  /** Takes back the last choice, with the reads after it. Returns the candidate after it, `none` when all was tried. */
  #takeBack(): number {
    while (this.#depth > 0) {
      const op = this.#unplace()
      if (this.#how[this.#depth] !== chosen) continue
      const candidate = this.#candidateAfter(this.#candidateOf(op))
      if (candidate !== none) return candidate
    }
    return none
  }

  #lift(at: number): void {
    const { next, previous } = this.#timeline
    const before = previous[at] ?? 0
    const after = next[at] ?? 0
    next[before] = after
    previous[after] = before
  }

  #unlift(at: number): void {
    const { next, previous } = this.#timeline
    next[previous[at] ?? 0] = at
    previous[next[at] ?? 0] = at
  }

  #opOf(candidate: number): number {
    const { opAt, optional } = this.#timeline
    if (candidate === skip) return opAt[this.#firstReturn()] ?? 0
    return (candidate < 0 ? optional[~candidate] : opAt[candidate]) ?? 0
  }

  #candidateOf(op: number): number {
    const { returnAt, callAt, slotOf } = this.#timeline
    return returnAt[op] === 0 ? ~(slotOf[op] ?? 0) : (callAt[op] ?? 0)
  }

  #firstCandidate(): number {
    return this.#requiredFrom(this.#timeline.next[0] ?? 0)
  }

  #candidateAfter(candidate: number): number {
    if (candidate === skip) return none
    if (candidate < 0) return this.#optionalFrom(~candidate + 1)
    return this.#requiredFrom(this.#timeline.next[candidate] ?? 0)
  }

  #requiredFrom(at: number): number {
    return this.#timeline.isReturn[at] === 0 ? at : this.#optionalFrom(0)
  }

  /** Optional operations come in the order of their calls, and equal ones are used in that order only. */
  #optionalFrom(index: number): number {
    const { optional, callAt, alikeBefore, isDroppable, opAt } = this.#timeline
    const position = this.#firstReturn()
    for (let i = index; i < optional.length && (callAt[optional[i] ?? 0] ?? 0) < position; i++) {
      const alike = alikeBefore[i] ?? -1
      if (!has(this.#used, i) && (alike < 0 || has(this.#used, alike))) return ~i
    }
    return isDroppable[opAt[position] ?? 0] === 1 && position < this.#timeline.end ? skip : none
  }

  #firstReturn(): number {
    const { next, isReturn } = this.#timeline
    let at = next[0] ?? 0
    while (isReturn[at] === 0) at = next[at] ?? 0
    return at
  }

  /** Remembers the present placement if none got farther: past a later return, or as far with more operations. */
  #note(): void {
    if (this.#position < this.#bestPosition) return
    const farther = this.#position > this.#bestPosition
    if (farther) {
      this.#bestPosition = this.#position
      this.#bestStates = [this.#state]
      this.#bestStatesCut = false
    } else if (!this.#bestStates.some((state) => this.#model.equal(state, this.#state))) {
      if (this.#bestStates.length < statesMax) this.#bestStates.push(this.#state)
      else this.#bestStatesCut = true
    }
    if (!farther && this.#depth <= this.#bestDepth) return
    for (let i = this.#bestShared; i < this.#depth; i++) this.#best[i] = this.#placed[i] ?? 0
    this.#bestDepth = this.#bestShared = this.#depth
  }

  #opAt(index: number): Op<I, O> {
    return this.#ops[index] as Op<I, O>
  }
}

function has(words: Uint32Array, bit: number): boolean {
  return (((words[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) === 1
}
