/**
 * Makes a failing run small: fewer choices that are not benign, then lower ones, then earlier ones, as long as the same
 * rule is broken. Because 0 is benign everywhere, leaving a choice out is the same as never having had that fault or
 * that delay. Blocks are left out from large to small as in Zeller and Hildebrandt, "Simplifying and isolating
 * failure-inducing input" (2002), section 3 (ddmin, complements only).
 */
import { seededRandom } from '../platform/random.ts'
import { formatChoices } from './choice-source.ts'
import type { Choice } from './choice-source.ts'
import type { Run, RunResult, Violation } from './run-result.ts'

export interface ShrinkOptions {
  /**
   * Most runs, the first one (does it fail again?) and the last one (with a trace) included. More gives a smaller
   * scenario where a few hundred were not enough. At least 1. @default 1_000
   */
  readonly runsMax?: number | undefined
  /** Called after every run, in order. What it throws ends the shrinking. */
  readonly onProgress?: ((progress: ShrinkProgress) => void) | undefined
}

export interface ShrinkProgress {
  /** What is being tried: `replay`, `groups`, `streams`, `choices`, `pairs`, `values`, `earlier`, `trace`. */
  readonly pass: string
  readonly runs: number
  readonly runsMax: number
  /** Choices of the failing run at the start. */
  readonly from: number
  /** Choices of the smallest failing run so far. */
  readonly choices: number
}

export interface ShrinkResult {
  /**
   * The smallest failing run, with its trace; the run that was handed in when it did not fail again.
   */
  readonly result: RunResult
  /**
   * - `minimal`: no choice, nor pair of choices when they are few, can be left out, and no value lowered by one.
   * - `budget`: smaller may be possible; `runsMax` ended it.
   * - `not-reproduced`: the same seed and choices did not break the same rule again. Something in the run is decided by
   *   more than its choices.
   */
  readonly status: 'minimal' | 'budget' | 'not-reproduced'
  readonly runs: number
  /** Choices at the start and at the end. */
  readonly from: number
  readonly to: number
  /** Other rules that were broken on the way, each by the smallest run seen, in the order of discovery. */
  readonly others: readonly OtherViolation[]
}

/** Another finding: not what was being shrunk, and worth a look of its own. */
export interface OtherViolation {
  readonly violation: Violation
  readonly choices: readonly Choice[]
}

/** Most names kept in `ShrinkResult.others`. Further ones are forgotten. */
const othersMax = 32
/** Pairs are tried when there are at most this many choices: 276 runs. */
const pairsOfMax = 24

/**
 * Shrinks `failing`. Each candidate is run at most once and never with a trace; a candidate counts only if the rule of
 * the same name is broken, at whatever step. The same arguments give the same result.
 *
 * Cost: about 2 k log2(n / k) runs for n choices of which k matter, plus log2(value) runs for each that is left; each
 * candidate costs O(n) besides its run.
 *
 * @throws {TypeError} if `failing` broke no rule
 * @throws {RangeError} if `runsMax` is not a whole number above 0
 */
export async function shrink(
  run: Run,
  failing: RunResult,
  options: ShrinkOptions = {},
): Promise<ShrinkResult> {
  const runsMax = options.runsMax ?? 1_000
  if (!Number.isSafeInteger(runsMax) || runsMax < 1) {
    throw new RangeError(`Cannot shrink: runsMax must be a whole number above 0, got ${runsMax}`)
  }
  const violation = failing.violation
  if (violation === undefined) {
    throw new TypeError(
      `Cannot shrink the run of seed "${failing.seed}": it broke no rule; hand in a result with a violation`,
    )
  }
  const shrinker = new Shrinker(run, failing, violation.name, runsMax, options.onProgress)
  return await shrinker.run()
}

class Shrinker {
  readonly #run: Run
  readonly #failing: RunResult
  readonly #rule: string
  readonly #runsMax: number
  readonly #onProgress: ((progress: ShrinkProgress) => void) | undefined
  /** Hashes of the candidates that were run: their texts can be megabytes each. */
  readonly #seen = new Set<string>()
  readonly #others = new Map<string, OtherViolation>()
  /** The choices of the smallest failing run so far. */
  #current: readonly Choice[]
  #runs = 0

  constructor(
    run: Run,
    failing: RunResult,
    rule: string,
    runsMax: number,
    onProgress: ((progress: ShrinkProgress) => void) | undefined,
  ) {
    this.#run = run
    this.#failing = failing
    this.#rule = rule
    this.#runsMax = runsMax
    this.#onProgress = onProgress
    this.#current = failing.choices
  }

  async run(): Promise<ShrinkResult> {
    // What the failing run chose after its violation is not taken again: this run is the first cut.
    if (this.#hasBudget() && !(await this.#replays())) return this.#finish(this.#failing, 'not-reproduced')
    if (this.#current.length > 0) await this.#try('groups', [])
    for (let before; before !== this.#current && this.#hasBudget();) {
      before = this.#current
      await this.#leaveOut('groups', (choice) => choice.stream.split('/', 1)[0] ?? '')
      await this.#leaveOut('streams', (choice) => choice.stream)
      await this.#leaveOut('choices', (choice) => `${choice.stream}#${choice.index}`)
      await this.#leaveOutPairs()
      await this.#lowerAll()
      await this.#lowerEach()
      await this.#makeEarlier()
    }
    const status = this.#hasBudget() ? 'minimal' : 'budget'
    const traced = await this.#execute('trace', this.#current, true)
    return traced.violation?.name === this.#rule
      ? this.#finish(traced, status)
      : this.#finish(this.#failing, 'not-reproduced')
  }

  async #replays(): Promise<boolean> {
    const result = await this.#execute('replay', this.#current, false)
    if (result.violation?.name !== this.#rule) return false
    this.#current = result.choices
    this.#seen.add(fingerprint(this.#current))
    return true
  }

  /** Leaves out blocks of units, from all of them at once to one at a time. A unit is all choices with one key. */
  async #leaveOut(pass: string, key: (choice: Choice) => string): Promise<void> {
    for (let size = distinct(this.#current, key).length; size >= 1; size = Math.floor(size / 2)) {
      // From the end: what comes later shifts less of the rest. Every success can shorten the list by more than was
      // left out.
      let units = distinct(this.#current, key)
      for (let end = units.length; end > 0; end -= size) {
        const block = new Set(units.slice(Math.max(0, end - size), end))
        const rest = this.#current.filter((choice) => !block.has(key(choice)))
        if (await this.#try(pass, rest)) {
          units = distinct(this.#current, key)
          end = Math.min(end, units.length + size)
        }
        if (!this.#hasBudget()) return
      }
    }
  }

  /** Two choices that undo each other, such as a kill and what makes up for it, only go together. */
  async #leaveOutPairs(): Promise<void> {
    for (let i = this.#current.length - 1; i > 0; i--) {
      if (this.#current.length > pairsOfMax) return
      for (let j = i - 1; j >= 0 && i < this.#current.length; j--) {
        const rest = this.#current.filter((_, at) => at !== i && at !== j)
        if (await this.#try('pairs', rest)) break
        if (!this.#hasBudget()) return
      }
    }
  }

  /** All values to 1, or half of what they are: one run where each by itself would cost several. */
  async #lowerAll(): Promise<void> {
    await this.#try(
      'values',
      withValues(this.#current, () => 1),
    )
    while (
      await this.#try(
        'values',
        withValues(this.#current, (value) => Math.ceil(value / 2)),
      )
    );
  }

  /** The lowest value of each choice that still fails: 1, or by bisection. */
  async #lowerEach(): Promise<void> {
    for (let at = this.#current.length - 1; at >= 0; at--) {
      let tooLow = 0
      let attempt = 1
      for (;;) {
        const choice = this.#current[at]
        if (choice === undefined || attempt >= choice.value || !this.#hasBudget()) break
        const lowered = { ...choice, value: attempt }
        if (!(await this.#try('values', this.#current.with(at, lowered)))) tooLow = attempt
        attempt = Math.max(tooLow + 1, Math.floor((tooLow + (this.#current[at]?.value ?? 0)) / 2))
      }
    }
  }

  /** The same choices at a smaller index: what happens earlier makes a shorter story. */
  async #makeEarlier(): Promise<void> {
    for (let at = 0; at < this.#current.length; at++) {
      let tooEarly = -1
      let attempt = 0
      for (;;) {
        const choice = this.#current[at]
        if (choice === undefined || attempt >= choice.index || !this.#hasBudget()) break
        const taken = this.#current.some((o) => o.stream === choice.stream && o.index === attempt)
        const moved = { ...choice, index: attempt }
        if (taken || !(await this.#try('earlier', this.#current.with(at, moved)))) tooEarly = attempt
        attempt = Math.max(tooEarly + 1, Math.floor((tooEarly + (this.#current[at]?.index ?? 0)) / 2))
      }
    }
  }

  /** Runs a candidate unless it was run before; true if it became the new smallest. */
  async #try(pass: string, candidate: readonly Choice[]): Promise<boolean> {
    const key = fingerprint(candidate)
    if (this.#seen.has(key) || !this.#hasBudget()) return false
    this.#seen.add(key)
    const result = await this.#execute(pass, candidate, false)
    // What was really taken can be fewer: it is the new list.
    if (result.violation?.name !== this.#rule || !isSmaller(result.choices, this.#current)) return false
    this.#current = result.choices
    this.#seen.add(fingerprint(this.#current))
    return true
  }

  async #execute(pass: string, choices: readonly Choice[], trace: boolean): Promise<RunResult> {
    this.#runs++
    const result = await this.#run({ seed: this.#failing.seed, choices, trace })
    if (result.violation !== undefined && result.violation.name !== this.#rule) {
      this.#remember(result.violation, result.choices)
    }
    this.#onProgress?.({
      pass,
      runs: this.#runs,
      runsMax: this.#runsMax,
      from: this.#failing.choices.length,
      choices: this.#current.length,
    })
    return result
  }

  #remember(violation: Violation, choices: readonly Choice[]): void {
    const known = this.#others.get(violation.name)
    if (known === undefined ? this.#others.size < othersMax : isSmaller(choices, known.choices)) {
      this.#others.set(violation.name, { violation, choices })
    }
  }

  /** One run is kept back for the trace. */
  #hasBudget(): boolean {
    return this.#runs < this.#runsMax - 1
  }

  #finish(result: RunResult, status: ShrinkResult['status']): ShrinkResult {
    return {
      result,
      status,
      runs: this.#runs,
      from: this.#failing.choices.length,
      to: result.choices.length,
      others: [...this.#others.values()],
    }
  }
}

/** Fewer choices, or as many and lower ones, or as many and as low and earlier ones. So shrinking comes to an end. */
function isSmaller(a: readonly Choice[], b: readonly Choice[]): boolean {
  if (a.length !== b.length) return a.length < b.length
  const values = sum(a, (choice) => choice.value) - sum(b, (choice) => choice.value)
  if (values !== 0) return values < 0
  return sum(a, (choice) => choice.index) < sum(b, (choice) => choice.index)
}

function sum(choices: readonly Choice[], of: (choice: Choice) => number): number {
  return choices.reduce((total, choice) => total + of(choice), 0)
}

function distinct(choices: readonly Choice[], key: (choice: Choice) => string): readonly string[] {
  return [...new Set(choices.map(key))]
}

function withValues(choices: readonly Choice[], value: (value: number) => number): readonly Choice[] {
  return choices.map((choice) => ({ ...choice, value: value(choice.value) }))
}

/** 64 bits of the choices, in whatever order they are listed. A collision costs one candidate, nothing else. */
function fingerprint(choices: readonly Choice[]): string {
  const sorted = choices.toSorted((a, b) =>
    a.stream === b.stream ? a.index - b.index : a.stream < b.stream ? -1 : 1,
  )
  const random = seededRandom(formatChoices(sorted))
  return `${choices.length}:${random.u32()}:${random.u32()}`
}
