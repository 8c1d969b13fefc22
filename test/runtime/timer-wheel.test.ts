/** TimerWheel: never early, at most one slot late, exact without slots; against a list that is searched. */
import { virtualPlatform } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { TimerWheel } = await sourceModule<typeof import('../../packages/runtime/src/actor/timer-wheel.ts')>(
  'runtime',
  'actor/timer-wheel',
)

class Entry {
  wheelSlot = -1
  wheelPrevious = null
  wheelNext = null
  firedAtMs: number | undefined
  deadlineMs: number
  readonly #onExpire: (entry: Entry) => void

  constructor(deadlineMs: number, onExpire: (entry: Entry) => void) {
    this.deadlineMs = deadlineMs
    this.#onExpire = onExpire
  }

  expire(): void {
    this.#onExpire(this)
  }
}

/** A wheel on a virtual clock with `slotMs`; 0 is exact. Its timers fire when `advance` says so. */
function stage(slotMs: number, startMs = 0) {
  const platform = virtualPlatform()
  let nowMs = startMs
  let timer: { atMs: number; fire: () => void } | undefined
  const clock = {
    ...platform.clock,
    slotMs,
    monotonicMs: () => nowMs,
    setTimer: (atMs: number, fire: () => void) => {
      const own = { atMs, fire }
      timer = own
      return {
        cancel: () => {
          if (timer === own) timer = undefined
        },
      }
    },
  }
  const fired: Entry[] = []
  const wheel = new TimerWheel(clock)
  const add = (afterMs: number): Entry => {
    const entry = new Entry(nowMs + afterMs, (own) => {
      own.firedAtMs = nowMs
      fired.push(own)
    })
    wheel.add(entry as never)
    return entry
  }
  /** Fires what is due on the way; `lateMs` late, as a busy loop does. */
  const advance = (ms: number, lateMs = 0): void => {
    const untilMs = nowMs + ms
    while (timer !== undefined && timer.atMs + lateMs <= untilMs) {
      nowMs = Math.max(nowMs, timer.atMs + lateMs)
      const { fire } = timer
      timer = undefined
      fire()
    }
    nowMs = untilMs
  }
  return { wheel, fired, add, advance, now: () => nowMs, armed: () => timer?.atMs }
}

void test('TimerWheel is exact on a clock without slots, whatever the distance', async (t) => {
  const { add, advance, wheel } = stage(0, 3.25)
  const waits = [0, 0.5, 3, 9.75, 10, 10.25, 1_023, 10_239, 10_240, 10_241, 25_000, 123_456.5]
  const entries = waits.map((ms) => add(ms))
  t.equal(wheel.size, waits.length)
  advance(200_000)
  t.same(
    entries.map(({ firedAtMs }) => (firedAtMs ?? Number.NaN) - 3.25),
    waits,
  )
  t.equal(wheel.size, 0)
})

void test('TimerWheel with slots is never early and at most one slot late', async (t) => {
  const { add, advance } = stage(10, 7)
  const entries = Array.from({ length: 3_000 }, (_, index) => add((index * 7.3) % 30_000))
  advance(40_000)
  const late = entries.map(
    ({ deadlineMs, firedAtMs }) => (firedAtMs ?? Number.POSITIVE_INFINITY) - deadlineMs,
  )
  t.ok(Math.min(...late) >= 0, `never early: ${Math.min(...late)}`)
  t.ok(Math.max(...late) <= 10, `at most a slot late: ${Math.max(...late)}`)
})

void test('TimerWheel one timer serves all, the earliest, and an earlier entry re-arms it', async (t) => {
  const { add, armed, wheel } = stage(0)
  t.equal(armed(), undefined)
  add(500)
  t.equal(armed(), 500)
  add(900)
  t.equal(armed(), 500)
  const soon = add(20)
  t.equal(armed(), 20)
  wheel.remove(soon as never)
  t.equal(wheel.size, 2)
})

void test('TimerWheel remove is idempotent, also for what has expired and what never was in', async (t) => {
  const { add, advance, fired, wheel } = stage(0)
  const entries = [add(5), add(5), add(5)] as [Entry, Entry, Entry]
  wheel.remove(entries[1] as never)
  wheel.remove(entries[1] as never)
  wheel.remove(new Entry(1, () => undefined) as never)
  advance(10)
  t.same(fired, [entries[0], entries[2]], 'the oldest first')
  wheel.remove(entries[0] as never)
  t.equal(wheel.size, 0)
})

void test('TimerWheel takes additions and removals while it expires', async (t) => {
  const { add, advance, fired, wheel } = stage(0)
  const victim = add(10)
  const order: string[] = []
  wheel.add(
    new Entry(9, () => {
      order.push('first')
      wheel.remove(victim as never)
      add(0)
      add(10_240 * 2)
    }) as never,
  )
  advance(9)
  advance(1)
  t.same(order, ['first'])
  t.equal(fired.length, 1, 'what was added for now came at once, what was removed never')
  advance(30_000)
  t.equal(fired.length, 2)
})

void test('TimerWheel catches up after a long sleep, and expires an entry whose time had passed', async (t) => {
  for (const slotMs of [0, 10]) {
    const { add, advance, fired } = stage(slotMs)
    for (let ms = 0; ms < 50_000; ms += 97) add(ms)
    advance(46_000, 45_000)
    t.ok(
      fired.length >= Math.floor(45_000 / 97),
      `slotMs ${slotMs}: all that fell due, in one go: ${fired.length}`,
    )
    advance(10_000)
    t.equal(fired.length, Math.ceil(50_000 / 97), `slotMs ${slotMs}`)
    add(-5)
    advance(10)
    t.equal(fired.length, Math.ceil(50_000 / 97) + 1)
  }
})

void test('TimerWheel close forgets all, and arms nothing any more', async (t) => {
  const { add, advance, armed, fired, wheel } = stage(0)
  add(5)
  wheel.close()
  t.equal(wheel.size, 0)
  add(1)
  t.equal(armed(), undefined)
  advance(100)
  t.same(fired, [])
})

void test('TimerWheel arrivals wait beside the slots, and settle later by the lag', async (t) => {
  const { wheel, fired, advance, armed, now } = stage(10)
  const arrive = (afterMs: number): Entry => {
    const entry = new Entry(now() + afterMs, (own) => {
      own.firedAtMs = now()
      fired.push(own)
    })
    wheel.arrive(entry as never)
    return entry
  }
  const entries = [arrive(5), arrive(5), arrive(50), arrive(20_000)] as const
  t.equal(wheel.hasArrivals, true)
  t.equal(wheel.size, 4)
  t.equal(armed(), undefined, 'no timer yet: most are answered first')
  wheel.remove(entries[1] as never)
  t.equal(wheel.size, 3)
  advance(200)
  wheel.settle(200)
  t.equal(wheel.hasArrivals, false)
  t.equal(wheel.size, 3)
  t.same(
    [entries[0], entries[2], entries[3]].map(({ deadlineMs }) => deadlineMs),
    [205, 250, 20_200],
  )
  advance(30_000)
  t.same(fired, [entries[0], entries[2], entries[3]])
  t.ok(
    fired.every(
      ({ deadlineMs, firedAtMs }) => (firedAtMs ?? 0) >= deadlineMs && (firedAtMs ?? 0) - deadlineMs <= 10,
    ),
    'never early, at most a slot late',
  )
  const [first, second] = [arrive(1), arrive(1)]
  wheel.settle(0)
  advance(20)
  t.same(fired.slice(3), [first, second], 'the oldest first')
})

void test('TimerWheel agrees with a list that is searched, for any additions, removals and sleeps', async (t) => {
  const step = fc.oneof(
    fc.record({ type: fc.constant('add' as const), ms: fc.integer({ min: 0, max: 25_000 }) }),
    fc.record({ type: fc.constant('remove' as const), index: fc.nat(40) }),
    fc.record({ type: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 15_000 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(0, 10), (steps, slotMs) => {
      const { add, advance, now, wheel } = stage(slotMs)
      const all: { entry: Entry; removedAtMs: number }[] = []
      for (const one of steps) {
        if (one.type === 'add') all.push({ entry: add(one.ms), removedAtMs: Number.POSITIVE_INFINITY })
        else if (one.type === 'advance') advance(one.ms)
        else {
          const target = all[one.index]
          if (target === undefined || target.entry.firedAtMs !== undefined) continue
          wheel.remove(target.entry as never)
          target.removedAtMs = Math.min(target.removedAtMs, now())
        }
      }
      advance(100_000)
      return all.every(({ entry, removedAtMs }) => {
        const { deadlineMs, firedAtMs } = entry
        if (firedAtMs === undefined) return removedAtMs <= deadlineMs + slotMs
        return (
          firedAtMs >= deadlineMs &&
          firedAtMs - deadlineMs <= slotMs &&
          removedAtMs === Number.POSITIVE_INFINITY
        )
      })
    }),
    { numRuns: 300, seed: 1 },
  )
  t.pass('300 runs')
})
