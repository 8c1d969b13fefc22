/**
 * The one source of every decision of a simulation. `choose(n)` answers from the seed or from a recorded list; 0 is
 * always the benign answer (no fault, first in line, least delay), so replay and shrinking are one mechanism: a run is
 * its seed and the few choices that were not 0. The idea is Hypothesis' byte stream (MacIver 2019) and fast-check's
 * scheduler; choices are kept per stream, so that leaving one out moves no other.
 */
import type { Random } from '../platform/platform.ts'
import { seededRandom } from '../platform/random.ts'

/** A choice that was not benign: the `index`-th one of its stream. */
export interface Choice {
  readonly stream: string
  readonly index: number
  /** Above 0. */
  readonly value: number
}

/** Decisions of one kind. Get it once, ask it often. */
export interface ChoiceStream {
  readonly label: string
  /** Uniform in [0, n). 0 is benign. `n` below 2 costs no choice. */
  readonly choose: (n: number) => number
  /**
   * True with probability `p`; false is benign. Probabilities of 0 cost no choice, so that a fault that is off leaves
   * no trace.
   */
  readonly chance: (p: number) => boolean
}

/** The longest text of choices that `parseChoices` takes: more than any shrunk run needs. */
export const choicesTextMax = 1_048_576

export class ChoiceSource {
  readonly seed: string
  /** Chance that is no decision of the simulation: what the simulated machines hand to their actors. */
  readonly random: Random
  readonly #recorded: ReadonlyMap<string, ReadonlyMap<number, number>> | undefined
  readonly #streams = new Map<string, Stream>()
  #count = 0

  /**
   * @param choices what to replay; every choice that is not in it is 0. Left out: the seed decides.
   */
  constructor(seed: string | number, choices?: readonly Choice[]) {
    this.seed = String(seed)
    this.random = seededRandom(`machine/${this.seed}`)
    this.#recorded = choices === undefined ? undefined : byStream(choices)
  }

  /** Choices made so far, benign ones included. Part of the trace hash. */
  get count(): number {
    return this.#count
  }

  get isReplay(): boolean {
    return this.#recorded !== undefined
  }

  /**
   * The stream of that name. The same name is the same stream.
   *
   * @throws {RangeError} for a name that the text of `formatChoices` could not hold: empty, with a comma, a line break
   *   or space around it
   */
  stream(label: string): ChoiceStream {
    let stream = this.#streams.get(label)
    if (stream === undefined) {
      if (label === '' || label !== label.trim() || /[,\n\r]/.test(label)) {
        throw new RangeError(
          `Cannot choose by the label ${JSON.stringify(label)}: it must not be empty, nor contain a comma or a line ` +
            'break, nor begin or end with space; the command that replays a run separates choices by commas',
        )
      }
      stream = new Stream(label, this.#next(label), () => this.#count++)
      this.#streams.set(label, stream)
    }
    return stream
  }

  /** One decision of a stream that is asked rarely: `stream(label).choose(n)`. */
  choose(n: number, label: string): number {
    return this.stream(label).choose(n)
  }

  /** The choices that were not benign, by stream in the order of their first use. */
  taken(): readonly Choice[] {
    return [...this.#streams.values()].flatMap((stream) => stream.taken())
  }

  /** What answers a stream: draws of its own chance, or the recorded list. */
  #next(label: string): (n: number, index: number) => number {
    const recorded = this.#recorded
    if (recorded === undefined) {
      const random = seededRandom(`choices/${this.seed}`).fork(label)
      return (n) => random.int(0, n - 1)
    }
    const values = recorded.get(label)
    if (values === undefined) return () => 0
    // A list from another version of the scenario may ask for more than there is.
    return (n, index) => Math.min(values.get(index) ?? 0, n - 1)
  }
}

/** Out of how many a chance is drawn: fine enough for one in a million. */
const chanceParts = 2 ** 30

class Stream implements ChoiceStream {
  readonly label: string
  readonly #next: (n: number, index: number) => number
  readonly #counted: () => void
  #index = 0
  readonly #indices: number[] = []
  readonly #values: number[] = []

  constructor(label: string, next: (n: number, index: number) => number, counted: () => void) {
    this.label = label
    this.#next = next
    this.#counted = counted
  }

  readonly choose = (n: number): number => {
    if (n < 2) return 0
    const index = this.#index++
    this.#counted()
    const value = this.#next(n, index)
    if (value !== 0) this.#note(index, value)
    return value
  }

  readonly chance = (p: number): boolean => {
    if (!(p > 0)) return false
    const index = this.#index++
    this.#counted()
    // In a recorded list a chance that came true is 1.
    const drawn = this.#next(chanceParts, index)
    const happens = drawn !== 0 && (drawn === 1 || drawn >= chanceParts * (1 - p))
    if (happens) this.#note(index, 1)
    return happens
  }

  taken(): readonly Choice[] {
    return this.#indices.map((index, i) => ({
      stream: this.label,
      index,
      value: this.#values[i] as number,
    }))
  }

  #note(index: number, value: number): void {
    this.#indices.push(index)
    this.#values.push(value)
  }
}

function byStream(choices: readonly Choice[]): ReadonlyMap<string, ReadonlyMap<number, number>> {
  const streams = new Map<string, Map<number, number>>()
  for (const { stream, index, value } of choices) {
    let values = streams.get(stream)
    if (values === undefined) {
      values = new Map()
      streams.set(stream, values)
    }
    values.set(index, value)
  }
  return streams
}

/** `net/a>b/delay#17=2,fault/kill#0=1`: short enough for a command line once a run is shrunk. `''` for none. */
export function formatChoices(choices: readonly Choice[]): string {
  return choices.map(({ stream, index, value }) => `${stream}#${index}=${value}`).join(',')
}

/** Reads what `formatChoices` wrote. @throws {RangeError} naming the part that is not a choice */
export function parseChoices(text: string): readonly Choice[] {
  if (text.length > choicesTextMax) {
    throw new RangeError(
      `Cannot read choices: ${text.length} characters, at most ${choicesTextMax} are taken`,
    )
  }
  if (text.trim() === '') return []
  return text.split(',').map((part) => {
    const match = /^(.+)#(\d{1,10})=(\d{1,10})$/.exec(part.trim())
    const [, stream, index, value] = match ?? []
    if (stream === undefined || index === undefined || value === undefined || Number(value) === 0) {
      throw new RangeError(
        `Cannot read the choice "${part}": it must look like "fault/kill#0=1" (stream, number in it, value above 0)`,
      )
    }
    return { stream, index: Number(index), value: Number(value) }
  })
}
