/** Where two runs of one seed part. Whole runs of `--twice` are in test/integration. */
import { test } from 'tap'
import { differenceLines, firstDifferentBlock } from './divergence.ts'
import { scenarios } from './fixture/scenarios.ts'

void test('the first block that differs, and the first event within it, even where the beginning differs too', async (t) => {
  t.equal(firstDifferentBlock(['a', 'b'], ['a', 'b']), undefined)
  t.equal(firstDifferentBlock(['a', 'b', 'c'], ['a', 'x', 'y']), 1)
  t.equal(firstDifferentBlock(['a'], ['a', 'b']), 1, 'one of the two ended earlier')
  const scenario = scenarios.find(({ name }) => name === 'diverges/zone')
  const run = await scenario?.run({ seed: 1, trace: true })
  if (run === undefined) return
  t.ok(run.hashBlocks.length > 1, 'more than 1,024 steps')
  const late = run.trace.findIndex(({ step }) => step > 1_100)
  const trace = run.trace
    .with(late, { ...run.trace[late]!, atMs: 0.5 })
    .with(0, { ...run.trace[0]!, atMs: 7 })
  const other = { ...run, hashBlocks: [...run.hashBlocks.slice(0, 1), 'x'], trace }
  const lines = differenceLines(run, other)
  t.match(lines[0], /block 2: steps 1,024 to 1,/)
  t.match(lines.at(-1), /second: step 1101, 0\.5 ms/)
  const inside = differenceLines(run, { ...run, hashBlocks: ['x', 'x'] })
  t.match(inside, [/block 1/, /no event differs/])
})
