/**
 * The contract of `Clock` as tests, for real and virtual clocks alike: the suite itself never waits, it lets time pass
 * through `advance`.
 */
import type { Clock } from '../platform/platform.ts'
import type { DeclareTest } from './contract-test.ts'

export interface ClockContractOptions {
  /** A clock of its own for each test. */
  readonly make: () => Clock
  /** Lets at least `ms` pass on `clock`, with every timer due by then fired when it resolves. */
  readonly advance: (clock: Clock, ms: number) => Promise<void>
}

/** Declares the tests of the contract with `test`. Their names begin with `Clock`. A real clock takes about 200 ms. */
export function clockContract(test: DeclareTest, options: ClockContractOptions): void {
  const { make, advance } = options

  void test('Clock monotonicMs never goes back and moves with time', async (own) => {
    const clock = make()
    const before = clock.monotonicMs()
    let last = before
    let fell = false
    for (let i = 0; i < 1_000; i++) {
      const now = clock.monotonicMs()
      fell ||= now < last
      last = now
    }
    own.equal(fell, false, 'no reading below the one before')
    await advance(clock, 5)
    own.ok(clock.monotonicMs() >= before + 5, 'five milliseconds later')
  })

  void test('Clock wallMs is a time since 1970', async (own) => {
    const clock = make()
    own.ok(Number.isFinite(clock.wallMs()) && clock.wallMs() >= 0, 'a finite number of milliseconds')
    own.ok(Number.isFinite(clock.slotMs) && clock.slotMs >= 0, 'slotMs is a width')
  })

  void test('Clock setTimer fires once, never early, whatever the fraction', async (own) => {
    const clock = make()
    const early: number[] = []
    let fired = 0
    const base = clock.monotonicMs()
    for (const afterMs of [0, 0.25, 1, 1.5, 2.999, 7.001, 10]) {
      const atMs = base + afterMs
      clock.setTimer(atMs, () => {
        fired += 1
        if (clock.monotonicMs() < atMs) early.push(afterMs)
      })
    }
    await advance(clock, 30)
    own.same(early, [], 'none before its time')
    own.equal(fired, 7, 'each once')
    await advance(clock, 30)
    own.equal(fired, 7, 'and never again')
  })

  void test('Clock setTimer does not fire within the call, also for the past', async (own) => {
    const clock = make()
    let fired = false
    clock.setTimer(clock.monotonicMs() - 1_000, () => {
      fired = true
    })
    own.equal(fired, false, 'not re-entrant')
    await advance(clock, 10)
    own.equal(fired, true, 'but soon')
  })

  void test('Clock setTimer fires in the order of the deadlines when they lie apart', async (own) => {
    const clock = make()
    const order: number[] = []
    const base = clock.monotonicMs()
    for (const afterMs of [40, 0, 20]) clock.setTimer(base + afterMs, () => void order.push(afterMs))
    await advance(clock, 60)
    own.same(order, [0, 20, 40], 'earliest first')
  })

  void test('Timer cancel keeps it from firing; twice, late and from inside are harmless', async (own) => {
    const clock = make()
    let fired = 0
    const cancelled = clock.setTimer(clock.monotonicMs() + 5, () => void (fired += 100))
    cancelled.cancel()
    cancelled.cancel()
    const late = clock.setTimer(clock.monotonicMs() + 1, () => {
      fired += 1
      late.cancel()
    })
    await advance(clock, 30)
    late.cancel()
    own.equal(fired, 1, 'only the one that was not cancelled')
  })

  void test('Clock setTimer takes waits beyond 2^31 ms and for ever without firing', async (own) => {
    const clock = make()
    let fired = 0
    const timers = [2 ** 31, 2 ** 40, Infinity].map((afterMs) =>
      clock.setTimer(clock.monotonicMs() + afterMs, () => void (fired += 1)),
    )
    await advance(clock, 20)
    own.equal(fired, 0, 'none of them')
    for (const timer of timers) timer.cancel()
    own.throws(() => clock.setTimer(Number.NaN, () => undefined), { name: 'RangeError' }, 'NaN is no time')
  })
}
