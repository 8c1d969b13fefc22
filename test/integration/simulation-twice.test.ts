/** `npm run sim -- --twice`: what is not decided by the seed shows, with the step at which it begins. */
import { test } from 'tap'
import { lastLine, sim } from '../simulation/fixture/command.ts'

void test('--twice finds a run that depends on the time zone, and the first event that differs', async (t) => {
  const { code, out } = await sim(t, '--scenario diverges/zone --seed 1 --twice --jobs 1')
  t.equal(code, 1)
  t.match(
    out,
    /diverges\/zone, seed 1: two runs of this seed differ\n {2}It depends on the time zone \(TZ=Pacific/,
  )
  t.match(out, /they part in block 1: steps 0 to 1,023/)
  t.match(out, /both: {3}step \d+, .*handled.*\n {4}first: {2}step \d+, [^\n]+\n {4}second: step \d+, /)
  t.equal(lastLine(out), '0 passed, 1 failed')
})

void test('--twice finds what outlives a run by running seeds in reverse', async (t) => {
  const { code, out } = await sim(t, '--scenario diverges/order --seeds 4 --twice --jobs 1')
  t.equal(code, 1)
  t.match(out, /two runs of this seed differ\n {2}It depends on what ran before it in the same process/)
  t.match(out, /first: {2}step/)
  t.equal(lastLine(out), '0 passed, 4 failed')
})

void test('--twice is green where the seed decides everything', async (t) => {
  const { code, out } = await sim(t, '--scenario fake --seeds 8 --twice --jobs 2')
  t.equal(code, 0)
  t.match(out, /Each seed was the same run twice/)
  t.equal(lastLine(out), '8 passed, 0 failed')
})
