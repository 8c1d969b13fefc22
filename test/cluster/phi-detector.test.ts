/** The phi-accrual detector: its formula, its inverse, what it learns, and its own stalls. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { phiDetector, phiOf, silenceOf } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/phi-detector.ts')
>('cluster', 'membership/phi-detector')

void test('phiOf: the values of the logistic approximation, also far out where 1 - F(t) is lost', (t) => {
  const near = (found: number, wanted: number): void => {
    t.ok(Math.abs(found - wanted) < 5e-3, `${found} is about ${wanted}`)
  }
  near(phiOf(1_000, 1_000, 100), 0.301)
  near(phiOf(1_127, 1_000, 100), 0.993)
  near(phiOf(0, 1_000, 100), 0)
  // As Akka writes it, where that is exact enough.
  for (const silence of [900, 1_050, 1_200, 1_400]) {
    const y = (silence - 1_000) / 100
    const e = Math.exp(-y * (1.5976 + 0.070566 * y * y))
    near(phiOf(silence, 1_000, 100), -Math.log10(silence > 1_000 ? e / (1 + e) : 1 - 1 / (1 + e)))
  }
  t.ok(phiOf(100_000, 1_000, 100) > 1_000 && Number.isFinite(phiOf(100_000, 1_000, 100)))
  t.end()
})

void test('silenceOf is the inverse of phiOf', (t) => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.1, max: 100, noNaN: true }),
      fc.integer({ min: 10, max: 20_000 }),
      fc.integer({ min: 1, max: 5_000 }),
      (phi, mean, deviation) =>
        Math.abs(phiOf(silenceOf(phi, mean, deviation), mean, deviation) - phi) < 1e-6 * Math.max(1, phi),
    ),
  )
  t.end()
})

void test('a regular peer is given its pause and no more; suspicion reaches 1 at the deadline', (t) => {
  const detector = phiDetector()
  for (let atMs = 0; atMs <= 60_000; atMs += 1_000) detector.heard('b', atMs)
  t.ok(detector.suspicion('b', 60_000) < 0.001)
  const deadline = detector.deadlineMs('b') ?? 0
  t.ok(
    deadline > 64_400 && deadline < 64_800,
    `${deadline}: 1 s and 3 s of pause, and 8 phi of at least 100 ms`,
  )
  t.ok(detector.suspicion('b', deadline - 1) < 1)
  t.ok(detector.suspicion('b', deadline) >= 1)
  t.equal(detector.suspicion('c', 0), 0, 'who is not watched')
  t.equal(detector.deadlineMs('c'), undefined)
  detector.forget('b')
  t.equal(detector.suspicion('b', 99_999), 0)
  t.end()
})

void test('an irregular peer is given longer, and a pause that was too long teaches nothing', (t) => {
  const regular = phiDetector()
  const irregular = phiDetector()
  let atMs = 0
  for (let times = 0; times < 200; times++) {
    regular.heard('b', times * 1_000)
    irregular.heard('b', atMs)
    atMs += times % 2 === 0 ? 200 : 1_800
  }
  const patience = (detector: typeof regular, heardMs: number): number =>
    (detector.deadlineMs('b') ?? 0) - heardMs
  t.ok(patience(irregular, atMs - 1_800) > patience(regular, 199_000) + 1_000)
  const before = patience(regular, 199_000)
  regular.heard('b', 300_000)
  t.equal(patience(regular, 300_000), before)
  t.end()
})

void test('only the last samples count', (t) => {
  const detector = phiDetector({ samplesMax: 20 })
  let atMs = 0
  for (let times = 0; times < 100; times++) detector.heard('b', (atMs += 2_000))
  for (let times = 0; times < 30; times++) detector.heard('b', (atMs += 500))
  const deadline = (detector.deadlineMs('b') ?? 0) - atMs
  t.ok(deadline < 3_000 + 500 + 700, `${deadline}`)
  t.end()
})

void test('its own stalls do not count against the peers', (t) => {
  const detector = phiDetector()
  for (let atMs = 0; atMs <= 20_000; atMs += 1_000) detector.heard('b', atMs)
  const before = detector.deadlineMs('b') ?? 0
  detector.ran(20_500, 50_500)
  detector.ran(20_500, 50_500)
  t.equal(detector.deadlineMs('b'), before + 30_000, 'once, however often it is told')
  t.ok(detector.suspicion('b', 50_500) < 0.01)
  detector.heard('b', 50_600)
  t.ok(
    Math.abs((detector.deadlineMs('b') ?? 0) - 50_600 - (before - 20_000)) < 100,
    'the interval across the stall is short',
  )
  t.end()
})

void test('options out of range are refused', (t) => {
  t.throws(() => phiDetector({ threshold: 0 }), /threshold 0: it must be from 0.5 to 100/)
  t.throws(() => phiDetector({ samplesMax: 2.5 }), /whole number/)
  t.throws(() => phiDetector({ deviationMinMs: 0 }), RangeError)
  t.end()
})
