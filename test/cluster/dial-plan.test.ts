import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Plan = InstanceType<typeof DialPlan>
type DialledLink = import('../../packages/cluster/src/membership/dial-plan.ts').DialledLink
type Target = import('../../packages/cluster/src/membership/dial-plan.ts').Target
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { backoffMs, dialLimits, DialPlan } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dial-plan.ts')
>('cluster', 'membership/dial-plan')

const backoff = { minMs: 100, maxMs: 5_000, jitter: 0 }
const at = (port: number): Address => `ws://127.0.0.1:${port}` as Address
const life = (name: string, port: number, incarnation = 1) => ({ name, incarnation, address: at(port) })
const link = (name: string, port: number, incarnation = 1): DialledLink => ({
  ...life(name, port, incarnation),
  dialledByUs: false,
  dialledAddress: at(port),
})
const makePlan = (seeds: readonly number[] = []): Plan =>
  new DialPlan(seeds.map(at), backoff, { float: () => 0 })
const kinds = (plan: Plan): string[] =>
  plan
    .status()
    .map(
      ({ address, isSeed, isRemembered, name }) =>
        `${address.slice(15)} ${isSeed ? 'seed ' : ''}${isRemembered ? 'remembered ' : ''}${name ?? '?'}`,
    )
const nobody = (): boolean => false

void test('backoffMs: 100, 200, 400 ... 5,000, less the jitter', (t) => {
  const jittered = { minMs: 100, maxMs: 5_000, jitter: 0.2 }
  t.same(
    [0, 1, 2, 3, 6, 7, 1_000].map((attempts) => backoffMs(jittered, attempts, 0)),
    [100, 100, 200, 400, 3_200, 5_000, 5_000],
  )
  t.equal(backoffMs(jittered, 2, 0.5), 180)
  t.end()
})

void test('DialPlan: seeds are dialled for ever, never further apart than the longest delay', (t) => {
  const plan = makePlan([2])
  plan.start(0)
  let nowMs = 0
  for (let n = 0; n < 40; n++) {
    const dueMs = plan.nextDialMs([])
    t.ok(dueMs - nowMs <= 5_000)
    nowMs = dueMs
    t.same(plan.takeDue([], nowMs), [at(2)])
    t.equal(plan.nextDialMs([]), Number.POSITIVE_INFINITY, 'while it is dialled')
    plan.dialled(at(2), nowMs)
    plan.ended('b', nowMs)
  }
  t.end()
})

void test('DialPlan: 16 dials at a time, who is due for longest first', (t) => {
  const plan = makePlan()
  for (let n = 0; n < 40; n++) plan.want(life(`m${n}`, 100 + n), 40 - n)
  const first = plan.takeDue([], 40)
  t.same(
    first,
    Array.from({ length: 16 }, (_, n) => at(139 - n)),
  )
  t.equal(plan.diallingCount, 16)
  t.same(plan.takeDue([], 40), [])
  t.equal(plan.nextDialMs([]), Number.POSITIVE_INFINITY)
  plan.dialled(at(139), 41)
  t.same(plan.takeDue([], 41), [at(123)])
  t.end()
})

void test('DialPlan: who is linked, and what is not needed, is not dialled and is no reason to wake up', (t) => {
  const plan = makePlan([2, 3])
  plan.start(0)
  t.same(plan.takeDue([link('b', 2)], 0), [at(3)])
  plan.dialled(at(3), 0)
  const isNeeded = ({ address }: Target): boolean => address !== at(3)
  t.same(plan.takeDue([link('b', 2)], 9_000, isNeeded), [])
  t.equal(plan.nextDialMs([link('b', 2)], isNeeded), Number.POSITIVE_INFINITY)
  t.equal(plan.nextDialMs([], isNeeded), 0)
  t.end()
})

void test('DialPlan: of a name that is known at two addresses one is dialled at a time', (t) => {
  const plan = makePlan([2, 3])
  plan.start(0)
  plan.takeDue([], 0)
  for (const port of [2, 3]) {
    plan.dialled(at(port), 0)
    plan.answered(at(port), 'b', 1)
  }
  t.same(plan.takeDue([], 200), [at(2)])
  t.same(plan.takeDue([], 9_000), [])
  plan.dialled(at(2), 9_001)
  t.same(plan.takeDue([], 9_001), [at(3)])
  t.end()
})

void test('DialPlan: an address that is forgotten while it is dialled is not dialled twice when it comes back', (t) => {
  const plan = makePlan([2])
  plan.start(0)
  t.same(plan.takeDue([], 0), [at(2)])
  plan.setSeeds([], 1, nobody)
  t.same(plan.status(), [])
  plan.setSeeds([at(2)], 2, nobody)
  t.same(plan.takeDue([], 3), [])
  plan.dialled(at(2), 4)
  t.equal(plan.diallingCount, 0)
  t.equal(plan.takeDue([], 9_000).length, 1)
  plan.setSeeds([], 9_001, nobody)
  plan.dialled(at(2), 9_002)
  t.equal(plan.get(at(2)), undefined, 'and otherwise it is gone with its dial')
  t.equal(plan.diallingCount, 0)
  t.end()
})

void test('DialPlan.setSeeds: what vanished stays where a live member is, or one that went down was', (t) => {
  const plan = makePlan([2, 3, 4])
  plan.learn(life('b', 2))
  plan.learn(life('c', 3))
  plan.ended('c', 0, at(3))
  plan.setSeeds([at(5)], 1, (name) => name === 'b')
  t.same(kinds(plan), ['2 b', '3 remembered c', '5 seed ?'])
  plan.setSeeds([at(5)], 2, nobody)
  t.same(kinds(plan), ['2 b', '3 remembered c', '5 seed ?'], 'the same set again changes nothing')
  plan.setSeeds([at(3)], 3, nobody)
  t.same(kinds(plan), ['2 b', '3 seed remembered c'])
  t.end()
})

void test('DialPlan: remembered addresses are dialled one a second, four at a time, for a day', (t) => {
  const plan = makePlan()
  for (let n = 0; n < 10; n++) plan.ended(`m${n}`, 0, at(100 + n))
  const dialled: number[] = []
  for (let nowMs = plan.nextDialMs([]); nowMs < 30_000; nowMs = plan.nextDialMs([])) {
    t.equal(plan.takeDue([], nowMs, nobody).length, 1)
    dialled.push(nowMs)
  }
  t.same(dialled, [100, 1_100, 2_100, 3_100], 'addresses that swallow everything')
  t.same(plan.takeDue([], 20_000), [], 'not even when somebody looks')
  for (let n = 0; n < 10; n++) plan.dialled(at(100 + n), 30_000)
  const seen = new Map<Address, number>()
  for (let nowMs = 30_000; nowMs < 90_000; nowMs = plan.nextDialMs([])) {
    for (const address of plan.takeDue([], nowMs, nobody)) {
      seen.set(address, (seen.get(address) ?? 0) + 1)
      plan.dialled(address, nowMs)
    }
  }
  t.equal(seen.size, 10, 'all of them')
  const counts = [...seen.values()]
  t.ok(Math.min(...counts) >= 5, `in turn: ${counts.join(' ')}`)
  t.ok(counts.reduce((a, b) => a + b) <= 61, 'one a second')
  t.same(plan.takeDue([], dialLimits.rememberMs, nobody), [])
  t.same(plan.status(), [], 'forgotten')
  t.end()
})

void test('DialPlan: of remembered addresses the oldest is forgotten first, above 1,024', (t) => {
  const plan = makePlan()
  for (let n = 0; n < 1_030; n++) plan.ended(`m${n}`, n, at(n))
  t.equal(plan.status().length, 1_024)
  t.equal(plan.get(at(5)), undefined)
  t.not(plan.get(at(6)), undefined)
  t.end()
})

void test('DialPlan: a remembered address is a plain one again when its name lives there, and gone when it lives elsewhere', (t) => {
  const plan = makePlan()
  plan.ended('b', 0, at(2))
  plan.ended('c', 0, at(3))
  plan.learn(life('b', 2, 2))
  plan.learn(life('c', 13, 2))
  t.same(kinds(plan), ['2 b', '13 c'])
  plan.ended('b', 1)
  plan.ended('c', 1)
  t.same(kinds(plan), [])
  t.end()
})

void test('DialPlan: an address where somebody else answered since is not remembered for who went down', (t) => {
  const plan = makePlan()
  plan.learn(life('b', 2))
  plan.learn(life('c', 2))
  plan.ended('b', 0, at(2))
  t.same(kinds(plan), ['2 c'])
  t.end()
})

void test('DialPlan.want: at the time that is said, but never against a backoff that runs', (t) => {
  const plan = makePlan()
  plan.want(life('b', 2), 500)
  t.equal(plan.nextDialMs([]), 500)
  plan.want(life('b', 2), 0)
  t.equal(plan.nextDialMs([]), 500)
  plan.takeDue([], 500)
  plan.dialled(at(2), 600)
  plan.want(life('b', 2), 600)
  t.equal(plan.nextDialMs([]), 700)
  plan.want(life('b', 2, 2), 650)
  t.equal(plan.nextDialMs([]), 650, 'another life')
  t.end()
})

void test('DialPlan: nextDialMs is when takeDue takes something, and never is a tick in vain', (t) => {
  const action = fc.record({
    kind: fc.constantFrom('want', 'learn', 'ended', 'remember', 'seeds', 'lost', 'dialled', 'drop', 'time'),
    port: fc.nat({ max: 30 }),
    name: fc.nat({ max: 8 }),
  })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), fc.array(fc.nat({ max: 30 })), (actions, linked) => {
      const plan = makePlan()
      const links = linked.slice(0, 3).map((port) => link(`n${port % 9}`, port))
      const dialling = new Set<Address>()
      const isNeeded = ({ isSeed, name }: Target): boolean => isSeed || name !== 'n3'
      let nowMs = 0
      for (const { kind, port, name } of actions) {
        const who = life(`n${name}`, port, 1 + (port % 2))
        if (kind === 'want') plan.want(who, nowMs + port)
        else if (kind === 'learn') plan.learn(who)
        else if (kind === 'ended') plan.ended(who.name, nowMs)
        else if (kind === 'remember') plan.ended(who.name, nowMs, who.address)
        else if (kind === 'seeds') plan.setSeeds([at(port), at(port + 1)], nowMs, (other) => other === 'n1')
        else if (kind === 'lost') plan.lost(who.name, port * 400, nowMs)
        else if (kind === 'drop' && !dialling.has(at(port))) plan.drop(at(port))
        else if (kind === 'dialled') {
          const [address] = dialling
          if (address !== undefined) {
            dialling.delete(address)
            plan.dialled(address, nowMs)
          }
        } else if (kind === 'time') nowMs += port * 50
        for (let rounds = 0; rounds < 40; rounds++) {
          for (const address of plan.takeDue(links, nowMs, isNeeded)) {
            if (dialling.has(address) || links.some((other) => other.address === address)) return false
            dialling.add(address)
          }
          if (plan.diallingCount !== dialling.size || dialling.size > 16) return false
          const dueMs = plan.nextDialMs(links, isNeeded)
          if (dueMs > nowMs + 2_000) break
          if (dueMs <= nowMs) return false
          nowMs = dueMs
          if (dialling.size < 16 && rounds === 39) return false
        }
      }
      return true
    }),
    { numRuns: 500 },
  )
  t.end()
})

void test('DialPlan: what is said of ten thousand members looks at their addresses once for each dial that begins', (t) => {
  const plan = makePlan()
  for (let n = 0; n < 10_000; n++) t.equal(plan.want(life(`m${n}`, n), 0), 0)
  t.equal(plan.takeDue([], 0).length, dialLimits.dialsMax)
  t.equal(plan.scans, dialLimits.dialsMax)
  for (let n = 0; n < 1_000; n++) {
    t.same(plan.takeDue([], 0), [], 'there is no room')
    plan.nextDialMs([])
    plan.want(life(`m${n}`, n), 0)
    plan.lost(`m${5_000 + n}`, 0, 0)
    plan.ended(`m${9_000 + n}`, 0, at(9_000 + n))
    plan.isDiallingTo(link('m7000', 7_000))
  }
  t.equal(plan.scans, dialLimits.dialsMax)
  plan.dialled(at(0), 0)
  t.same(plan.takeDue([], 0), [at(16)])
  t.equal(plan.scans, dialLimits.dialsMax + 1)
  t.end()
})
