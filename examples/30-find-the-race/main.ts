import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  checkSeeds,
  formatChoices,
  runReport,
  simulateSystem,
  spaceTimeDiagram,
  type Run,
} from '@understudy/runtime/simulation'
import { lastSeat } from './last-seat.ts'
import { mendedBoxOffice } from './mended-box-office.ts'
import { wrongBoxOffice } from './wrong-box-office.ts'

const wrong: Run = (input) => simulateSystem(input, lastSeat(wrongBoxOffice))
const mended: Run = (input) => simulateSystem(input, lastSeat(mendedBoxOffice))

console.log('The wrong box office:\n')
const { failure, seeds } = await checkSeeds(wrong, { name: 'last seat', seeds: 200 })
if (failure === undefined) throw new Error('The race was not found')
const { result, shrunk } = failure
console.log(`seed ${seeds} of 200\n${runReport(result, { shrunk, columns: 110 })}\n`)

const picture = join(tmpdir(), 'find-the-race.html')
writeFileSync(picture, spaceTimeDiagram(result, { title: 'The last seat is sold twice' }))
console.log(`The picture: ${picture}\n`)

// A run is its seed and its choices: this is all that a regression test has to keep.
const again = await wrong({ seed: result.seed, choices: result.choices })
console.log(
  `Again, with seed ${result.seed} and ${formatChoices(result.choices)}: ${again.violation?.message}\n`,
)

const green = await checkSeeds(mended, { name: 'last seat', seeds: 200 })
const pinned = await mended({ seed: result.seed, choices: result.choices })
console.log(`The mended one: ${green.ok ? 'green' : 'red'} over the same ${green.seeds} seeds,`)
console.log(`and ${pinned.violation === undefined ? 'green' : 'red'} on the run that broke the other.`)
if (!green.ok || pinned.violation !== undefined) process.exitCode = 1
