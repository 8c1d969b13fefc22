/**
 * What `npm run soak` runs after `tsc -b`: tests that take minutes to hours, by hand.
 *
 *     npm run soak -- raft [--minutes 15] [--seed 1]   the key-value store in five processes, under faults
 *     npm run soak -- locks [--rounds 200] [--seed 1]  locks in processes that are stopped for twice the lease
 *     npm run soak -- swim [--seeds 3]                 days of virtual time of 100 nodes
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const soaks: Readonly<Record<string, string>> = {
  raft: '../integration/raft-soak.test.js',
  locks: '../integration/lock-pauses.test.js',
  swim: '../integration/swim-soak.test.js',
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '3' },
  },
})

process.exitCode = await main()

async function main(): Promise<number> {
  const [name = ''] = positionals
  const file = soaks[name]
  const wrong = [values.minutes, values.rounds, values.seed, values.seeds].filter(
    (value) => !(Number(value) > 0),
  )
  if (file === undefined || positionals.length !== 1 || wrong.length > 0) {
    console.error(
      `Name one soak of ${Object.keys(soaks).join(', ')}; --minutes, --rounds, --seed and --seeds are above 0`,
    )
    return 2
  }
  const env = {
    ...process.env,
    TAP_TYPE_STRIP_ONLY: '1',
    SOAK_MINUTES: values.minutes,
    SOAK_ROUNDS: values.rounds,
    SOAK_SEED: values.seed,
    SOAK_SEEDS: values.seeds,
  }
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url))], {
    env,
    stdio: 'inherit',
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}
