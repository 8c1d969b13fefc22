/**
 * What every discovery must do. One suite, run on each implementation; the source is changed and broken, and time is let
 * pass, through the bench that the caller makes.
 */
import { discoveryAddressesMax, type Discovery, type DiscoveryPlatform } from '../membership/discovery.ts'
import type { ContractTest, DeclareTest } from './transport-contract.ts'

/** One discovery, the source it looks at, and the machine it runs on. Made anew for each test. */
export interface DiscoveryBench {
  readonly discovery: Discovery
  readonly platform: DiscoveryPlatform
  /** The source says these from now on. Left out: it never says anything but `contractAddresses`. */
  readonly publish?: ((addresses: readonly string[]) => void | Promise<void>) | undefined
  /** The source fails from now on, until `publish`. Left out: it cannot. */
  readonly breakDown?: (() => void | Promise<void>) | undefined
  /** Lets time pass until a change of the source, or the next look after a failure, must have been told. */
  readonly pass: () => Promise<void>
  /** Timers and watches that are held now. Left out: nobody can say. */
  readonly held?: (() => number) | undefined
}

/**
 * Declares the tests of the contract with `test`. `make` is called once for each, inside of it; the source says
 * `contractAddresses` when it returns.
 */
export function discoveryContract(
  test: DeclareTest,
  make: () => DiscoveryBench | Promise<DiscoveryBench>,
): void {
  void test('Discovery: tells what it finds once, in order, without duplicates, and not from inside of start', async (t) => {
    const run = await started(t, await make())
    t.same(run.atStart, { lists: 0, problems: 0 }, 'nothing from inside')
    await run.bench.pass()
    t.same(run.lists, [ordered], 'the list')
    t.ok(Object.isFrozen(run.lists[0]), 'which nobody can change')
    t.same(run.problems, [], 'and no problem')
    await run.bench.pass()
    await run.bench.publish?.([...contractAddresses])
    await run.bench.pass()
    t.equal(run.lists.length, 1, 'the same again is no news')
    t.ok(run.bench.discovery.name.length > 0, 'it has a name')
  })

  void test('Discovery: tells a change with the whole list', async (t) => {
    const run = await started(t, await make())
    await run.bench.pass()
    const { publish } = run.bench
    if (publish === undefined) return
    await publish([second, third])
    await run.bench.pass()
    t.same(run.lists, [ordered, [second, third]], 'one went, the others stay')
    await publish([third])
    await run.bench.pass()
    t.same(run.lists.at(-1), [third], 'and another')
    t.same(run.problems, [], 'and no problem')
  })

  void test('Discovery: a source that fails takes nothing back, is told once, and is tried again', async (t) => {
    const run = await started(t, await make())
    await run.bench.pass()
    const { breakDown, publish } = run.bench
    if (breakDown === undefined || publish === undefined) return
    await breakDown()
    await run.bench.pass()
    await run.bench.pass()
    t.equal(run.lists.length, 1, 'the last known stand')
    t.same(run.codes(), ['CLUSTER_DISCOVERY_FAILED'], 'told once')
    await publish([second])
    await run.bench.pass()
    t.same(run.lists.at(-1), [second], 'found again')
    await breakDown()
    await run.bench.pass()
    t.same(run.codes(), ['CLUSTER_DISCOVERY_FAILED', 'CLUSTER_DISCOVERY_FAILED'], 'another failure is news')
  })

  void test('Discovery: a source that fails from the first moment is found when it comes', async (t) => {
    const bench = await make()
    const { breakDown, publish } = bench
    if (breakDown === undefined || publish === undefined) return
    await breakDown()
    const run = await started(t, bench)
    await bench.pass()
    t.same(run.lists, [], 'nothing is known, and nothing is told, not even an empty list')
    t.same(run.codes(), ['CLUSTER_DISCOVERY_FAILED'], 'but the problem')
    await publish([second])
    await bench.pass()
    t.same(run.lists, [[second]], 'then it is')
  })

  void test('Discovery: takes no more than discoveryAddressesMax, and says so', async (t) => {
    const run = await started(t, await make())
    await run.bench.pass()
    const { publish } = run.bench
    if (publish === undefined) return
    await publish(
      Array.from({ length: discoveryAddressesMax + 1 }, (_, n) => `ws://10.1.${n >> 8}.${n & 255}:7001`),
    )
    await run.bench.pass()
    t.equal(run.lists.at(-1)?.length, discoveryAddressesMax, 'so many')
    t.same(run.codes(), ['CLUSTER_DISCOVERY_TOO_MANY'], 'told once')
  })

  void test('Discovery: after dispose it is silent and holds nothing, twice too', async (t) => {
    const run = await started(t, await make())
    await run.bench.pass()
    run.handle[Symbol.dispose]()
    run.handle[Symbol.dispose]()
    t.equal(run.bench.held?.() ?? 0, 0, 'no timer, no watch')
    await run.bench.publish?.([second])
    await run.bench.pass()
    await run.bench.breakDown?.()
    await run.bench.pass()
    t.equal(run.lists.length, 1, 'no list')
    t.same(run.problems, [], 'no problem')
  })

  void test('Discovery: may be disposed of at once, and from inside of what it calls', async (t) => {
    const early = await started(t, await make())
    early.handle[Symbol.dispose]()
    await early.bench.pass()
    t.same(early.lists, [], 'the look that was under way is not told')
    t.equal(early.bench.held?.() ?? 0, 0, 'and holds nothing when it is done')
    const bench = await make()
    let calls = 0
    const handle = bench.discovery.start(
      bench.platform,
      () => {
        calls++
        handle[Symbol.dispose]()
      },
      () => undefined,
    )
    await bench.pass()
    await bench.publish?.([second])
    await bench.pass()
    t.equal(calls, 1, 'no second call')
    t.equal(bench.held?.() ?? 0, 0, 'no timer, no watch')
  })

  void test('Discovery: two starts stand for themselves', async (t) => {
    const bench = await make()
    const one = await started(t, bench)
    const other = await started(t, bench)
    await bench.pass()
    one.handle[Symbol.dispose]()
    await bench.publish?.([second])
    await bench.pass()
    t.equal(one.lists.length, 1, 'the first is over')
    t.same(other.lists.at(-1), bench.publish === undefined ? ordered : [second], 'the second goes on')
  })
}

const first = 'ws://10.0.0.10:7001'
const second = 'ws://10.0.0.9:7001'
const third = 'ws://[2001:db8::1]:7001'

/** What the source of a bench says when the bench is made: three addresses, one of them twice, in no order. */
export const contractAddresses: readonly string[] = Object.freeze([third, first, second, first])

/** As text, like everything that is sorted here: `.10` before `.9`. */
const ordered: readonly string[] = [first, second, third]

interface Run {
  readonly bench: DiscoveryBench
  readonly handle: Disposable
  readonly lists: (readonly string[])[]
  readonly problems: string[]
  readonly atStart: { readonly lists: number; readonly problems: number }
  readonly codes: () => readonly string[]
}

async function started(t: ContractTest, bench: DiscoveryBench): Promise<Run> {
  const lists: (readonly string[])[] = []
  const problems: string[] = []
  const codes: string[] = []
  const handle = bench.discovery.start(
    bench.platform,
    (addresses) => void lists.push(addresses),
    (problem) => {
      problems.push(problem.message)
      codes.push(problem.code)
    },
  )
  t.teardown(() => handle[Symbol.dispose]())
  const atStart = { lists: lists.length, problems: problems.length }
  return { bench, handle, lists, problems, atStart, codes: () => codes }
}
