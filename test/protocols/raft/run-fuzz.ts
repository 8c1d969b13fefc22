/**
 * Random runs of the Raft core by hand.
 *
 *     node test/dist/protocols/raft/run-fuzz.js --seeds 5000 [--from 1] [--keep-going]
 *     node test/dist/protocols/raft/run-fuzz.js --seed 17 [--trace 200]
 *
 * Prints each seed that fails with its step, the violated property and a trace of the last steps, and at the end what was
 * run. The exit code is 1 when one failed. RAFT_CORE=/path/to/raft-core.js runs another core.
 */
import { parseArgs } from 'node:util'
import { failureOf, fuzzSeed } from './core-under-test.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    seed: { type: 'string' },
    trace: { type: 'string', default: '60' },
    'keep-going': { type: 'boolean', default: false },
  },
})

const first = Number(values.seed ?? values.from)
const seeds = values.seed === undefined ? Number(values.seeds) : 1
const began = process.hrtime.bigint()
const totals = new Map<string, number>()
const properties = new Map<string, number[]>()
let [ran, steps, virtualMs, committed] = [0, 0, 0, 0]

for (let seed = first; seed < first + seeds; seed++) {
  const result = fuzzSeed(seed, Number(values.trace))
  ran++
  steps += result.steps
  virtualMs += result.virtualMs
  committed += result.committed
  for (const [what, count] of result.counts) totals.set(what, (totals.get(what) ?? 0) + count)
  if (result.violation === undefined) continue
  process.exitCode = 1
  const { property } = result.violation
  const known = properties.get(property)
  if (known === undefined) {
    properties.set(property, [seed])
    console.log(`${failureOf(seed, result)}\n`)
  } else known.push(seed)
  if (!values['keep-going']) break
}

const seconds = Number(process.hrtime.bigint() - began) / 1e9
for (const what of [...totals.keys()].sort()) console.log(`${what}: ${totals.get(what)}`)
for (const [property, found] of properties)
  console.log(`${found.length} seeds violate "${property}": ${found.slice(0, 20).join(' ')}`)
console.log(
  `${ran} seeds, ${steps} steps, ${committed} entries, ${(virtualMs / 3_600_000).toFixed(1)} virtual hours in ${seconds.toFixed(1)} s`,
)
