/**
 * Histories for testing checkers: clients that call an object concurrently, one effect at a time, from a seed. What the
 * object is and does is given; one that is correct gives a linearizable history, whatever the seed.
 */
import type { Op } from '@understudy/runtime/checkers'

/** A stream of numbers that a seed fixes (mulberry32). */
export class SeededNumbers {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** An integer from 0 to `n - 1`. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 4294967296) * n)
  }

  /** True `percent` times in a hundred. */
  chance(percent: number): boolean {
    return this.below(100) < percent
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
}

export interface ConcurrentRun<I, O> {
  readonly random: SeededNumbers
  readonly clients: number
  readonly operations: number
  /** The `index`th call, by `client`. */
  readonly input: (random: SeededNumbers, index: number, client: number) => I
  /** Carries an operation out at its instant. The object is whatever this closes over. */
  readonly apply: (input: I) => O
  /** How many operations in a hundred lose their answer; half of them take effect nevertheless. @default 0 */
  readonly unknownPercent?: number | undefined
  /** Before these calls every open operation returns first, so that the call has the object to itself. */
  readonly isAlone?: ((index: number) => boolean) | undefined
}

/** Runs the clients at random until all operations are called. Times are event numbers. */
export function concurrentHistory<I, O>(run: ConcurrentRun<I, O>): Op<I, O>[] {
  const { random, clients, operations, input, apply, unknownPercent = 0, isAlone = () => false } = run
  const open = new Map<number, OpenCall<I, O>>()
  const done: Op<I, O>[] = []
  // One whose answer was lost stays open for ever, so its client goes on under another number.
  const names = Array.from({ length: clients }, (_, i) => i)
  let nextName = clients
  let called = 0
  let now = 0
  const advance = (seat: number, call: OpenCall<I, O>): void => {
    if (call.loses === 'effect') {
      open.delete(seat)
      done.push({
        client: call.client,
        in: call.in,
        out: undefined,
        call: call.at,
        ret: Number.POSITIVE_INFINITY,
      })
    } else if (!call.applied) {
      call.applied = true
      call.out = apply(call.in)
      if (call.loses === 'answer') call.loses = 'effect'
    } else {
      open.delete(seat)
      done.push({ client: call.client, in: call.in, out: call.out, call: call.at, ret: now++ })
    }
  }
  const drain = (): void => {
    while (open.size > 0) {
      const [seat, call] = random.pick([...open])
      advance(seat, call)
    }
  }
  while (called < operations) {
    const seat = random.below(clients)
    const call = open.get(seat)
    if (call !== undefined) {
      advance(seat, call)
      continue
    }
    const alone = isAlone(called)
    if (alone) drain()
    const client = names[seat] as number
    const loses =
      alone || !random.chance(unknownPercent) ? 'nothing' : random.chance(50) ? 'answer' : 'effect'
    const begun: OpenCall<I, O> = {
      client,
      in: input(random, called++, client),
      at: now++,
      loses,
      applied: false,
      out: undefined,
    }
    if (loses !== 'nothing') names[seat] = nextName++
    open.set(seat, begun)
    if (alone) drain()
  }
  drain()
  return done.sort((a, b) => a.call - b.call)
}

interface OpenCall<I, O> {
  readonly client: number
  readonly in: I
  readonly at: number
  loses: 'nothing' | 'answer' | 'effect'
  applied: boolean
  out: O | undefined
}
