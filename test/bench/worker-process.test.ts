import { test } from 'tap'
import { WorkerProcess } from '@understudy/bench/harness/worker-process'
import { runBenchmarks } from '@understudy/bench/harness/runner'
import type { SystemEntry } from '@understudy/bench/systems/registry'

/** A system whose workloads are given as source text. */
function systemModule(workloads: string): URL {
  const source = `export const system = { name: 'x', workloads: ${workloads} }`
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`)
}

const obedient = `{
  spawn: async (n) => ({ kind: 'rate', operations: n, elapsedMs: 100 }),
  'ask-1': async () => { throw new Error('out of order') },
  counting: async () => process.exit(3),
}`

/** Breaks in its third run, which is the second round: the first run calibrates. */
const flaky = `(() => {
  let runs = 0
  return {
    spawn: async (n) => {
      if (++runs === 3) throw new Error('third time unlucky')
      return { kind: 'rate', operations: n, elapsedMs: 100 }
    },
  }
})()`

test('WorkerProcess', async (t) => {
  const worker = await WorkerProcess.start('x', systemModule(obedient))
  t.teardown(() => worker.stop())
  t.same(worker.workloads, ['counting', 'ask-1', 'spawn'], 'knows what the system can do, in table order')
  t.same(await worker.run('spawn', 7), { kind: 'rate', operations: 7, elapsedMs: 100 })
  await t.rejects(worker.run('ask-1', 1), {
    code: 'BenchWorker',
    message: /"ask-1" of "x" failed: Error: out of order/,
  })
  await t.rejects(worker.run('ping-pong', 1), { message: /has no workload "ping-pong"/ })
  t.equal(worker.alive, true, 'outlives a workload that throws')
  await t.rejects(worker.run('counting', 1), { message: /process of "x" ended with code 3/ })
  t.equal(worker.alive, false)
  await t.rejects(worker.run('spawn', 1), { message: /ended with code 3/ }, 'refuses at once after its end')
  await worker.stop()
})

test('WorkerProcess.start rejects for what is no system', async (t) => {
  await t.rejects(WorkerProcess.start('x', new URL('data:text/javascript,export const other = 1')), {
    code: 'BenchWorker',
    message: /"x" could not be loaded: .*has to export "system"/,
  })
})

test('runBenchmarks turns what breaks into gaps and failures', async (t) => {
  const entry = (name: string, workloads: string): SystemEntry => ({
    name,
    kind: 'own',
    module: systemModule(workloads),
  })
  const said: string[] = []
  const { rows, gaps, failures } = await runBenchmarks(
    [
      entry('a', obedient),
      entry('b', '{}'),
      entry('d', flaky),
      { name: 'c', kind: 'peer', module: new URL('data:text/javascript,'), package: 'no-such-package-here' },
    ],
    {
      sampleMs: 100,
      rounds: 3,
      roundsPeer: 3,
      quick: true,
      only: ['spawn', 'ask-1'],
      systems: [],
      json: undefined,
      help: false,
    },
    (line) => said.push(line),
  )
  t.equal(rows.length, 1)
  t.match(rows[0], {
    workload: 'spawn',
    system: 'a',
    unit: 'ops/s',
    min: 20_000,
    median: 20_000,
    max: 20_000,
    runs: 3,
  })
  const notes = gaps.map(({ workload, system, note }) => `${workload} ${system} ${note}`).sort()
  t.same(
    notes,
    [
      'ask-1 a failed',
      'ask-1 b -',
      'ask-1 c not installed',
      'ask-1 d -',
      'spawn b -',
      'spawn c not installed',
      'spawn d failed',
    ],
    'a row that broke half-way is no row',
  )
  t.equal(failures.length, 2, 'a failure is said once')
  t.match(failures, [/out of order/, /third time unlucky/])
  t.ok(said.includes('round 3 of 3'))
})
