/**
 * The key-value store in five processes for as long as it is told, under every fault of test/support/kv-nemesis.ts by chance, and
 * its memory. By hand: `npm run soak -- raft --minutes 15`; without SOAK_MINUTES nothing is done.
 */
import tap, { test } from 'tap'
import type { Fate, KvRecords } from '../fixtures/kv-load.ts'
import { SeededNumbers } from '../support/concurrent-history.ts'
import { Chaos } from '../support/kv-chaos.ts'
import { nemeses, nemesisOf, type Nemesis } from '../support/kv-nemesis.ts'
import { MemorySeries } from '../support/kv-memory.ts'
import { Judge } from '../support/kv-verdict.ts'

const minutes = Number(process.env['SOAK_MINUTES'] ?? 0)
const seed = Number(process.env['SOAK_SEED'] ?? 1)
/** A phase that hangs runs into limits of its own long before. */
tap.setTimeout((minutes + 15) * 60_000)

/** The part of the time at the end in which no process is killed: what is held then must not grow. */
const calmPart = 0.4

void test(
  `${minutes} minutes of faults by chance in five processes`,
  {
    skip: minutes === 0 ? 'a soak: npm run soak -- raft' : false,
    timeout: (minutes + 15) * 60_000,
  },
  async (t) => {
    const chaos = await Chaos.start(t, { seed, workers: 6, restMs: 80 })
    const random = new SeededNumbers(seed)
    const possible = nemeses.filter((nemesis) => chaos.whyNot(nemesis) === undefined)
    const sparing = possible.filter(({ isKilling = false }) => !isKilling)
    const beganMs = performance.now()
    const partOver = (): number => (performance.now() - beganMs) / (minutes * 60_000)
    let left: Nemesis[] = []
    const runOne = async (among: readonly Nemesis[]): Promise<void> => {
      // Each once before any comes again.
      left = left.filter((nemesis) => among.includes(nemesis))
      if (left.length === 0) left = [...among]
      const nemesis = left.splice(random.below(left.length), 1)[0] as Nemesis
      // Sometimes longer than nodes that are cut off are waited for.
      const forMs = random.chance(25) ? 12_000 + random.below(15_000) : 1_000 + random.below(6_000)
      await chaos.run(t, nemesis, forMs)
      const line = `soak: ${Math.round(partOver() * 100)} %, ${chaos.phases} phases, ${chaos.keyOperations} calls on keys`
      process.stderr.write(`${line}; ${nemesis.name} for ${forMs} ms\n`)
    }
    while (partOver() < 1 - calmPart) await runOne(possible)
    // What was killed last starts from nothing: so long it may grow.
    await chaos.run(t, nemesisOf('nothing'), 15_000)
    const memory = new MemorySeries()
    do {
      memory.add(await chaos.memory())
      await runOne(sparing)
    } while (partOver() < 1)
    await chaos.run(t, nemesisOf('nothing'), 10_000)
    memory.add(await chaos.memory())
    chaos.report(t)
    const growth = memory.growth()
    for (const { name, text } of growth.figures) t.comment(`${name}: ${text}`)
    t.ok(growth.figures.length > 0, 'some process lived through all of the last part')
    t.same(growth.tooMuch, [], 'memory is flat')
  },
)

function recordsOf(...fates: readonly (readonly [string, Fate])[]): KvRecords {
  return { keys: [], transactions: [], watches: [], fates, counts: {}, faults: [] }
}

void test('the judge finds what is lost, what was done twice, and what was done although it was refused', async (t) => {
  const put = (revision: number, value: string) => {
    return { revision, events: [{ type: 'put', key: 'k', value } as const] }
  }
  const faultsOf = (records: KvRecords, ...log: readonly ReturnType<typeof put>[]): readonly string[] =>
    new Judge().judge([records], log).faults.filter((fault) => !fault.startsWith('lists: '))
  t.same(faultsOf(recordsOf(['v1', 'done'], ['v2', 'unknown']), put(1, 'v1')), [])
  t.match(faultsOf(recordsOf(['v1', 'done'])), ['LOST: v1 was acknowledged and is not in the log'])
  t.match(faultsOf(recordsOf(['v1', 'unknown']), put(1, 'v1'), put(2, 'v1')), ['v1 was written 2 times'])
  t.match(faultsOf(recordsOf(['v1', 'refused']), put(1, 'v1')), ['v1 was refused and is in the log'])
  t.match(faultsOf(recordsOf(), put(2, 'v1')), ['the log goes from revision 0 to 2'])
})

void test('memory that grows is told from memory that varies', async (t) => {
  const growthOf = (...megabytes: readonly number[]): readonly string[] => {
    const series = new MemorySeries()
    for (const [i, size] of megabytes.entries()) {
      const bytes = size * 1_048_576
      series.add(new Map([['a', { rss: 1, heapUsed: bytes, external: 1, uptimeMs: i }]]))
    }
    return series.growth().tooMuch
  }
  t.same(growthOf(30, 60, 30, 70, 35, 80, 40, 90), [])
  t.equal(growthOf(30, 40, 50, 60, 70, 80, 90, 99).length, 1)
})
