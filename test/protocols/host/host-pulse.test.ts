/** The heartbeat between hosts that vouches for quiet groups. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster } from '../../support/virtual-cluster.ts'
import { inTurn, openConsensus, openNoting, startNodes } from './host-under-test.ts'

const { HostPulse } = await sourceModule<typeof import('../../../packages/protocols/src/host/host-pulse.ts')>(
  'protocols',
  'host/host-pulse',
)

type Pulses = InstanceType<typeof HostPulse>
type PulseEffect = import('../../../packages/protocols/src/host/host-pulse.ts').PulseEffect

/** Two or more hosts whose pulses arrive at once, as long as `passes` says so. */
class PulseBed {
  readonly hosts = new Map<string, Pulses>()
  nowMs = 0
  sent = 0
  named = 0
  /** Times that a timer fired. */
  woken = 0
  silent: string[] = []
  readonly watched = new Set<string>()
  passes: (from: string, to: string) => boolean = () => true

  host(name: string): Pulses {
    let host = this.hosts.get(name)
    if (host === undefined) this.hosts.set(name, (host = new HostPulse()))
    return host
  }

  pair(group: string, one: string, other: string, timeoutMs = 200): void {
    this.host(one).watch(group, other, timeoutMs, this.nowMs)
    this.host(other).watch(group, one, timeoutMs, this.nowMs)
  }

  runUntil(untilMs: number): void {
    for (;;) {
      const due = [...this.hosts.entries()].flatMap(([name, host]) => {
        const dueMs = host.nextDeadlineMs()
        return dueMs === undefined || dueMs > untilMs ? [] : [{ name, host, dueMs }]
      })
      const next = due.sort((a, b) => a.dueMs - b.dueMs)[0]
      if (next === undefined) break
      this.nowMs = Math.max(this.nowMs, next.dueMs)
      this.woken++
      for (const effect of next.host.tick(this.nowMs)) this.#carryOut(next.name, effect)
    }
    this.nowMs = untilMs
  }

  #carryOut(name: string, effect: PulseEffect): void {
    if (effect.type === 'silent') {
      this.silent.push(`${this.nowMs} ${name}: ${effect.group} of ${effect.node}`)
      return
    }
    if (effect.type === 'watched') {
      this.watched.add(`${name}: ${effect.group} by ${effect.node}`)
      return
    }
    this.sent++
    if (effect.pulse.groups.length > 0) this.named++
    if (!this.passes(name, effect.to)) return
    const answers = this.hosts.get(effect.to)?.heard(name, effect.pulse, this.nowMs) ?? []
    for (const answer of answers) this.#carryOut(effect.to, answer)
  }
}

void test('HostPulse: one message a pair and interval, whatever the number of groups, and nobody is silent', (t) => {
  const costs = [1, 1_000].map((groups) => {
    const bed = new PulseBed()
    for (let i = 0; i < groups; i++) bed.pair(`g${i}`, 'a', 'b')
    bed.runUntil(10_000)
    t.same(bed.silent, [])
    t.equal(bed.named, 0)
    t.ok(bed.host('a').isAlive('g0', 'b'))
    return bed.sent
  })
  t.equal(costs[0], costs[1])
  // Five within two timeouts of 200 ms, from both ends.
  t.ok((costs[0] ?? 0) <= 2 * (5 * 25 + 1), `${costs[0]} pulses in 10 s`)
  t.end()
})

void test('HostPulse: one end keeps the time and the other answers, so that a pair wakes three times an interval and not four', (t) => {
  const bed = new PulseBed()
  bed.pair('g', 'a', 'b')
  bed.runUntil(10_000)
  const { woken, sent } = bed
  bed.runUntil(20_000)
  t.equal(bed.sent - sent, 2 * 125)
  t.equal(bed.woken - woken, 125, 'timers fire at one end only, and never to look after one that is heard')
  t.same(bed.silent, [])
  // The one that answered takes over, and finds out that nobody asks.
  bed.passes = (from) => from !== 'a'
  bed.runUntil(21_000)
  t.same(
    bed.silent.map((line) => line.replace(/^\d+ /, '')),
    ['b: g of a'],
  )
  t.ok(bed.host('a').isAlive('g', 'b'), 'it goes on by itself')
  t.end()
})

void test('HostPulse: a host that falls silent is told once a group, within the timeout and an interval', (t) => {
  const bed = new PulseBed()
  for (const group of ['g', 'h']) bed.pair(group, 'a', 'b')
  bed.pair('slow', 'a', 'b', 1_000)
  bed.runUntil(1_000)
  bed.passes = (from) => from !== 'b'
  bed.runUntil(5_000)
  const times = bed.silent.map((line) => Number(line.split(' ')[0]))
  t.same(
    bed.silent.map((line) => line.replace(/^\d+ /, '')),
    ['a: g of b', 'a: h of b', 'a: slow of b'],
  )
  t.ok(
    times.slice(0, 2).every((ms) => ms >= 1_150 && ms <= 1_250),
    bed.silent.join(),
  )
  t.ok((times[2] ?? 0) >= 1_950 && (times[2] ?? 0) <= 2_050)
  t.notOk(bed.host('a').isAlive('g', 'b'))
  t.ok(bed.host('b').isAlive('g', 'a'))
  // It is heard again, and can fall silent again.
  bed.passes = () => true
  bed.runUntil(6_000)
  t.ok(bed.host('a').isAlive('g', 'b'))
  bed.silent = []
  bed.passes = (from) => from !== 'b'
  bed.runUntil(9_000)
  t.equal(bed.silent.length, 3)
  t.end()
})

void test('HostPulse: a host that lives does not vouch for a group that it does not watch for', (t) => {
  const bed = new PulseBed()
  for (const group of ['g', 'h', 'i']) bed.pair(group, 'a', 'b')
  bed.runUntil(1_000)
  // Its member has closed, or has woken up and said nothing.
  bed.host('b').unwatch('h', 'a')
  bed.runUntil(2_000)
  t.same(
    bed.silent.map((line) => line.replace(/^\d+ /, '')),
    ['a: h of b'],
  )
  t.ok(bed.host('a').isAlive('g', 'b'))
  t.notOk(bed.host('a').isAlive('h', 'b'))
  bed.host('a').unwatch('h', 'b')
  const { named } = bed
  bed.runUntil(3_000)
  t.ok(bed.named - named <= 2, 'names travel only while the digests differ')
  // A host that has begun anew watches nobody.
  bed.silent = []
  bed.hosts.set('b', new HostPulse())
  bed.runUntil(4_000)
  t.same(
    bed.silent.map((line) => line.replace(/^\d+ /, '')),
    ['a: g of b', 'a: i of b'],
  )
  t.end()
})

void test('HostPulse: groups that go quiet one after the other disturb nobody; whoever is not watched is not alive', (t) => {
  const bed = new PulseBed()
  for (let i = 0; i < 100; i++) {
    bed.host('a').watch(`g${i}`, 'b', 200, bed.nowMs)
    bed.runUntil(bed.nowMs + 30)
    bed.host('b').watch(`g${i}`, 'a', 200, bed.nowMs)
  }
  bed.runUntil(bed.nowMs + 1_000)
  t.same(bed.silent, [])
  t.notOk(bed.host('a').isAlive('other', 'b'))
  t.notOk(bed.host('a').isAlive('g1', 'c'))
  bed.host('a').forget('g1')
  t.notOk(bed.host('a').isAlive('g1', 'b'))
  t.end()
})

void test('HostPulse: who is watched without watching is told by whom and for which group', (t) => {
  const bed = new PulseBed()
  for (const name of ['a', 'b', 'c']) bed.host(name)
  bed.pair('g', 'a', 'b')
  bed.runUntil(1_000)
  t.equal(bed.watched.size, 0, 'not where both ends watch')
  // b watches for some other group; c watches for none at all.
  bed.host('a').watch('h', 'b', 200, bed.nowMs)
  bed.host('a').watch('i', 'c', 200, bed.nowMs)
  bed.runUntil(1_500)
  t.same([...bed.watched].sort(), ['b: h by a', 'c: i by a'])
  t.ok(bed.host('a').isAlive('g', 'b'))
  const { sent } = bed
  bed.runUntil(11_500)
  t.ok(
    bed.sent - sent <= 4 * 126,
    `${bed.sent - sent} pulses: an answer by who watches nobody is not answered`,
  )
  t.end()
})

void test('HostPulse: whoever stood still itself listens first, and then judges', (t) => {
  const bed = new PulseBed()
  for (const other of ['b', 'c']) bed.pair('g', 'a', other)
  bed.runUntil(1_000)
  // a stands still for a second; what the others say meanwhile has not been read.
  const stalled = bed.host('a')
  bed.hosts.delete('a')
  bed.runUntil(2_000)
  bed.hosts.set('a', stalled)
  bed.silent = []
  bed.passes = (from, to) => !(from === 'c' && to === 'a')
  bed.runUntil(3_000)
  const ofA = bed.silent.filter((line) => line.includes(' a: '))
  t.same(
    ofA.map((line) => line.replace(/^\d+ /, '')),
    ['a: g of c'],
  )
  t.ok(Number(ofA[0]?.split(' ')[0]) <= 2_200)
  t.end()
})

void test('watchPulse between hosts: quiet members hear of a node that dies, and of a member that closes', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startNodes(cluster, ['a', 'b', 'c'])
  const hosts = []
  for (const node of nodes) hosts.push(await cluster.result(openConsensus(node)))
  const groups = await Promise.all(
    hosts.map((host) => Promise.all(['g', 'h'].map((name) => openNoting(cluster, host, name)))),
  )
  const [ag, ah, bg, , cg] = groups.flat()
  if (ag === undefined || ah === undefined || bg === undefined || cg === undefined) return
  for (const [i, own] of groups.entries()) {
    for (const { member } of own) {
      await inTurn(cluster, member(), () => {
        for (const [j, name] of ['a', 'b', 'c'].entries()) if (i !== j) member().port.watchPulse(name, 200)
      })
    }
  }
  const before = hosts.map((host) => host.status().pulsesSent)
  await cluster.advance(10_000)
  t.same(
    groups.flat().flatMap(({ lines }) => lines),
    [],
  )
  for (const [i, host] of hosts.entries()) {
    const pulses = host.status().pulsesSent - (before[i] ?? 0)
    t.ok(pulses > 0 && pulses <= 2 * 210, `${pulses} pulses in 10 s`)
  }
  // One member of one group ends on b; its node goes on.
  await cluster.result(bg.close())
  await cluster.advance(400)
  t.same(ag.lines, ['unreachable b'])
  t.same(cg.lines, ['unreachable b'])
  t.same(ah.lines, [])
  t.notOk(ag.member().port.isPulseAlive('b'))
  t.ok(ag.member().port.isPulseAlive('c'))
  const stalled = nodes[2]
  if (stalled === undefined) return
  // Its links stand, and say nothing.
  const goOn = cluster.freeze(stalled)
  const goOnLinks = cluster.stall(stalled)
  await cluster.advance(300)
  t.same(ag.lines, ['unreachable b', 'unreachable c'])
  t.same(ah.lines, ['unreachable c'])
  goOn()
  goOnLinks()
})
