/** Many seeds as one test: the first violation, made small; tags that must be reached; replay through the environment. */
import { actor, ask, protocol } from '@understudy/runtime'
import {
  checkSeeds,
  InvariantViolation,
  parseChoices,
  requireSeeds,
  simulateSystem,
  testSeeds,
  testSystemSimulation,
  type Run,
} from '@understudy/runtime/simulation'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import Type from 'typebox'
import { sourceModule } from '../support/source-module.ts'

const { testSimulation } = await sourceModule<
  typeof import('../../packages/cluster/src/simulation/test-simulation.ts')
>('cluster', 'simulation/test-simulation')

/** Broken by one of eight seeds, by one choice out of several. */
const rare: Run = (input) =>
  simulateSystem({ ...input, faults: false, policy: 'fifo' }, async (world) => {
    let sum = 0
    for (let i = 0; i < 5; i++) {
      await world.sleep(1 + world.choose(100, 'noise'))
      if (world.choose(40, 'rare') === 7) sum++
    }
    if (sum > 0) world.sometimes('rare')
    world.check('never-seven', sum === 0, `seven came ${sum} times`)
  })
const never: Run = (input) =>
  simulateSystem({ ...input, faults: false }, async (world) => {
    await world.start()
    if (world.choose(4, 'quarter') === 0) world.sometimes('quarter')
    await world.sleep(1)
  })
const noEnvironment = { env: {}, command: 'node x.js' }

void test('checkSeeds stops at the first violation and makes it small, and two calls are the same', async (t) => {
  const result = await checkSeeds(rare, { name: 'rare', seeds: 100 })
  t.notOk(result.ok)
  t.ok(result.seeds < 100, `found at seed ${result.seeds}`)
  const { failure } = result
  t.equal(failure?.found.seed, String(result.seeds))
  t.match(failure?.result.choices, [{ stream: 'rare', value: 7 }])
  t.equal(failure?.result.choices.length, 1)
  t.ok((failure?.result.trace.length ?? 0) > 0, 'with its trace')
  t.equal(result.reached['rare'], 1)
  t.same(await checkSeeds(rare, { name: 'rare', seeds: 100 }), result)
  const raw = await checkSeeds(rare, { name: 'rare', seeds: 100, shrink: false })
  t.equal(raw.failure?.result, raw.failure?.found)
  t.equal(raw.failure?.shrunk, undefined)
})

void test('checkSeeds counts what the seeds reached, and names what none of them did', async (t) => {
  const result = await checkSeeds(never, {
    name: 'never',
    seeds: 20,
    firstSeed: 5,
    sometimes: ['moon', 'quarter'],
  })
  t.equal(result.failure, undefined)
  t.notOk(result.ok)
  t.same(result.missing, ['moon'])
  t.same(Object.keys(result.reached), ['moon', 'quarter'])
  t.ok((result.reached['quarter'] ?? 0) > 0 && (result.reached['quarter'] ?? 0) < 20)
  t.equal(result.seeds, 20)
  t.ok(result.totals.virtualMs >= 20)
  t.ok((await checkSeeds(never, { name: 'never', seeds: 20, sometimes: ['quarter'] })).ok)
  for (const seeds of [0, 1.5, 1e9]) await t.rejects(checkSeeds(never, { name: 'x', seeds }), RangeError)
  await t.rejects(checkSeeds(never, { name: 'x', firstSeed: -1 }), RangeError)
})

void test('a red test says seed, step, smallest scenario and the command, and that command replays it', async (t) => {
  const error = await requireSeeds('it is rare', noEnvironment, rare).catch(
    (thrown: unknown) => thrown as Error,
  )
  if (!(error instanceof Error)) throw new Error('it was green')
  t.match(error.message, /it is rare: never-seven is violated at step \d+ \(seed \d+\)/)
  const command = /SIM_TEST='it is rare' SIM_SEED=(\d+) SIM_CHOICES='([^']+)' node x\.js/.exec(error.message)
  const [, seed, choices] = command ?? []
  t.equal(parseChoices(choices ?? '').length, 1)
  const env = { SIM_TEST: 'it is rare', SIM_SEED: seed, SIM_CHOICES: choices }
  for (let i = 0; i < 10; i++) {
    await t.rejects(requireSeeds('it is rare', { env, command: 'node x.js' }, rare), /seven came 1 times/)
  }
  t.equal(await requireSeeds('another', { env }, rare), undefined, 'passed over')
  const benign = await requireSeeds('it is rare', { env: { SIM_SEED: seed, SIM_CHOICES: '' } }, rare)
  t.match(benign, { violation: undefined, choices: [] })
  await t.rejects(requireSeeds('it is rare', { env: { ...env, SIM_CHOICES: 'nonsense' } }, rare), RangeError)
})

void test('a red test draws its picture where it was told to', async (t) => {
  const picture = join(t.testdir({}), 'pictures', 'rare.html')
  await t.rejects(
    requireSeeds('rare', { ...noEnvironment, env: { SIM_PICTURE: picture } }, rare),
    /rare\.html/,
  )
  t.match(readFileSync(picture, 'utf8'), /<svg[^]*never-seven/)
})

void test('a tag that no seed reached makes a test red', async (t) => {
  const options = { ...noEnvironment, seeds: 3, sometimes: ['moon'] }
  await t.rejects(requireSeeds('never', options, never), /none of them reached moon/)
})

void test('testSeeds, testSystemSimulation and testSimulation are tests of whatever runner there is', async (t) => {
  const names: string[] = []
  const runner = {
    test: async (name: string, run: () => Promise<void>): Promise<void> => {
      names.push(name)
      await run()
    },
  }
  await testSeeds(runner, 'one', { ...noEnvironment, seeds: 2 }, never)
  await testSeeds(runner.test, 'a function', { ...noEnvironment, seeds: 2 }, never)
  await t.rejects(testSeeds(runner, 'two', noEnvironment, rare), /never-seven/)
  const Echo = protocol('echo', { say: ask({ n: Type.Integer() }, Type.Integer()) })
  const echo = actor(Echo, () => ({ say: ({ n }) => n }))
  await testSystemSimulation(t, 'within tap: one process', { ...noEnvironment, seeds: 3 }, async (world) => {
    const system = await world.start()
    const answer = await system.spawn('echo', echo).ask({ type: 'say', n: 3 })
    world.check('echo', answer === 3, `got ${answer}`)
  })
  await testSimulation(
    t,
    'within tap: a cluster',
    { ...noEnvironment, seeds: 2, nodes: 2, faults: false },
    async (world) => {
      await world.whenFormed()
      if (world.up().length !== 2) throw new InvariantViolation('both-up', 'one is down')
    },
  )
  t.same(names, ['one', 'a function', 'two'])
})
