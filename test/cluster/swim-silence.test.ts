/** Who owes an answer: the losers of a partition find out in time, and nobody else is troubled by it. */
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { SwimBed, bedFacts, bedRandom, bedRecord } from '../support/swim-bed.ts'
import type { BedEffect, BedSwimOptions } from '../support/swim-bed.ts'

const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)
const { downingBound } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/downing-options.ts')
>('cluster', 'membership/downing-options')

const { swimPresets } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-options.ts')
>('cluster', 'membership/swim-options')

/** As many names as that, at random. */
function someOf(names: readonly string[], count: number, seed: number): readonly string[] {
  const random = bedRandom(seed)
  const rest = [...names]
  return Array.from({ length: count }, () => rest.splice(random.int(0, rest.length - 1), 1)[0] ?? '')
}

/** Whether that node has all of these under suspicion, or misses an answer of theirs. */
function hasLost(bed: SwimBed, name: string, lost: readonly string[]): boolean {
  const { core } = bed.node(name)
  return lost.every((other) => {
    const kind = core.record(other)?.kind
    return kind === 'suspect' || kind === 'unreachable' || core.isSilent(other)
  })
}

/** How long after a cut the last of the smaller side has all of the other one lost. */
function noticedAfterMs(
  n: number,
  minority: number,
  seed: number,
  core: Partial<BedSwimOptions> = {},
): number {
  const bed = new SwimBed({ nodes: n, seed, loss: seed % 2 === 0 ? 0.01 : 0, bytes: false, core })
  bed.runFor(3_000 + ((seed * 379) % 2_000))
  const names = bed.nodes.map(({ name }) => name)
  // At random, or next to each other by name, where few see across the cut.
  const cutOff = seed % 5 === 0 ? names.slice(0, minority) : someOf(names, minority, seed)
  const others = names.filter((name) => !cutOff.includes(name))
  bed.partition(cutOff)
  const took = bed.runUntil(() => cutOff.every((name) => hasLost(bed, name, others)), 120_000, 100)
  return took ?? Number.POSITIVE_INFINITY
}

for (const [minority, n, preset, seeds] of [
  [1, 2, 'lan', 50],
  [1, 3, 'lan', 50],
  [1, 5, 'lan', 50],
  [2, 5, 'lan', 50],
  [1, 100, 'lan', 25],
  [33, 100, 'lan', 10],
  [49, 100, 'lan', 4],
  [1, 3, 'local', 50],
  [2, 5, 'local', 50],
  [2, 5, 'wan', 50],
] as const) {
  void test(`${minority} of ${n} (${preset}) that are cut off notice within the bound of downing, for ${seeds} seeds`, (t) => {
    const { probeIntervalMs, suspicionMult } = swimPresets[preset]
    const { detectWithinMs } = downingBound({ probeIntervalMs }, { members: n, suspicionMult })
    const took = Array.from({ length: seeds }, (_, index) =>
      noticedAfterMs(n, minority, index + 1, { preset }),
    )
    took.sort((a, b) => a - b)
    const worst = took.at(-1) ?? Number.POSITIVE_INFINITY
    const said = `median ${took[seeds >> 1]} ms, worst ${worst} ms, bound ${Math.round(detectWithinMs)} ms`
    t.ok(worst <= detectWithinMs, said)
    t.comment(said)
    t.end()
  })
}

void test('with the phi detector they notice within the bound too, also if nobody whom they watch is lost', (t) => {
  for (const [n, minority] of [
    [5, 1],
    [5, 2],
    [20, 9],
    [60, 25],
  ] as const) {
    const { detectWithinMs } = downingBound({}, { members: n, suspicionMult: 4 })
    const took = Array.from({ length: 10 }, (_, index) =>
      noticedAfterMs(n, minority, index + 1, { detector: { phi: {} } }),
    )
    // Who is cut off from more than half of those whom it watches need not wait until anybody is suspected.
    const most = n === 5 ? 3_000 : detectWithinMs
    t.ok(Math.max(...took) <= most, `${minority} of ${n}: ${took.join(', ')} ms`)
  }
  t.end()
})

void test('when the way is open again nobody stays silent for longer than a period', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const n = seed % 2 === 0 ? 5 : 60
    const bed = new SwimBed({ nodes: n, seed, bytes: false })
    bed.runFor(3_000)
    const [cutOff = ''] = someOf(
      bed.nodes.map(({ name }) => name),
      1,
      seed,
    )
    bed.partition([cutOff])
    bed.runFor(5_000)
    const count = (): number => bed.nodes.filter(({ name }) => bed.node(cutOff).core.isSilent(name)).length
    t.ok(count() > n / 2, `seed ${seed}: ${count()} of ${n - 1} are silent`)
    bed.heal()
    const took = bed.runUntil(() => count() === 0, 60_000, 50)
    t.ok(took !== undefined && took <= 1_050, `seed ${seed}: all of ${n} have answered after ${took} ms`)
  }
  t.end()
})

void test('who hears and is not heard notices it as well, and asks no more than once a period', (t) => {
  const bed = new SwimBed({ nodes: 5, seed: 4 })
  bed.runFor(3_000)
  for (const { name } of bed.nodes) if (name !== 'n000') bed.cut('n000', name, false)
  const took = bed.runUntil(() => hasLost(bed, 'n000', ['n001', 'n002', 'n003', 'n004']), 20_000, 50)
  t.ok(took !== undefined && took <= 9_500, `after ${took} ms`)
  bed.resetCounters()
  bed.runFor(10_000)
  const pings = bed.node('n000').sent.byType.get('ping') ?? 0
  // Four a round, and what SWIM asks besides.
  t.ok(pings >= 8 && pings <= 4 * 10 + 20, `${pings} pings in ten periods`)
  t.end()
})

void test('with messages lost a healthy member is silent at times, but never for as long as downing waits', (t) => {
  const bed = new SwimBed({ nodes: 30, seed: 6, loss: 0.05, bytes: false })
  const { stableAfterMs } = downingBound({}, { members: 30, suspicionMult: 4 })
  const sinceMs = new Map<string, number>()
  let count = 0
  let longestMs = 0
  for (let step = 0; step < 4 * 3_600; step++) {
    bed.runFor(250)
    if (bed.events.length === 0 && sinceMs.size === 0) continue
    bed.events = []
    for (const { name: at, core } of bed.nodes) {
      for (const { name } of bed.nodes) {
        const pair = `${at} ${name}`
        const since = sinceMs.get(pair)
        if (!core.isSilent(name)) sinceMs.delete(pair)
        else if (since === undefined) sinceMs.set(pair, (count++, bed.nowMs))
        else longestMs = Math.max(longestMs, bed.nowMs - since)
      }
    }
  }
  t.ok(count > 10, `${count} false alarms`)
  t.ok(longestMs < stableAfterMs / 2, `the longest ${longestMs} ms; downing waits ${stableAfterMs} ms`)
  t.comment(`${count} false alarms, the longest ${longestMs} ms; downing waits ${stableAfterMs} ms`)
  t.end()
})

void test('a member that only others reach is not silent: it lives', (t) => {
  const bed = new SwimBed({ nodes: 6, seed: 9, bytes: false })
  bed.runFor(3_000)
  bed.cut('n000', 'n001')
  bed.cut('n000', 'n002')
  bed.runFor(30_000)
  t.same(bed.eventsOf('silence-changed'), [])
  // Whom n000 asks for help with a dead one are, among others, those who cannot hear it.
  bed.crash('n003')
  const { core } = bed.node('n000')
  const took = bed.runUntil(() => core.isSilent('n001') || core.isSilent('n002'), 30_000, 50)
  t.equal(took, undefined)
  t.ok(
    bed.eventsOf('silence-changed').some(({ node }) => node === 'n000'),
    'it did ask everybody',
  )
  t.end()
})

void test('a crash makes nobody ask everybody while those who were asked for help answer', (t) => {
  const bed = new SwimBed({ nodes: 40, seed: 2 })
  bed.runFor(10_000)
  bed.crash('n007')
  bed.resetCounters()
  bed.runFor(30_000)
  t.same(bed.eventsOf('silence-changed'), [])
  t.ok(bed.allSee('n007', ['unreachable']))
  // Two a second; those who find it dead, and those who look for themselves, a little more.
  const pings = bed.running.map(({ sent }) => sent.byType.get('ping') ?? 0)
  t.ok(Math.max(...pings) < 2 * 30 + 30, `at most ${Math.max(...pings)} pings`)
  t.end()
})

const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']

/** A core `a` that knows the rest of `names`, started at 0. */
function makeCore(options: Partial<BedSwimOptions> = {}): InstanceType<typeof SwimCore> {
  const core = new SwimCore({
    self: bedFacts('a', 0, 1),
    phase: 'alive',
    known: names.slice(1).map((name, index) => bedRecord(bedFacts(name, index + 1, 1), 'alive')),
    random: bedRandom(1),
    ...options,
  })
  core.step({ type: 'started' }, 0)
  return core
}

/** What the others do with a ping, or with the wish to ping another. */
type Answer = (to: string, sequence: number, target: string | undefined) => 'ack' | undefined

/** Runs it to that time; whoever answers does so at once. All effects with their times. */
function run(core: InstanceType<typeof SwimCore>, untilMs: number, answers: Answer): [number, BedEffect][] {
  const seen: [number, BedEffect][] = []
  for (let dueMs = core.nextDeadlineMs(); dueMs !== undefined && dueMs <= untilMs;) {
    for (const effect of core.step({ type: 'tick' }, dueMs)) {
      seen.push([dueMs, effect])
      if (effect.type !== 'send') continue
      const { to, message: sent } = effect
      if (sent.type !== 'ping' && sent.type !== 'ping-req') continue
      const { sequence } = sent
      const type = answers(to, sequence, sent.type === 'ping' ? undefined : sent.target)
      if (type === undefined) continue
      const message = { type, sequence, records: [] } as const
      for (const next of core.step({ type: 'received', from: to, incarnation: 1, message }, dueMs))
        seen.push([dueMs, next])
    }
    dueMs = core.nextDeadlineMs()
  }
  return seen
}

const nobody: Answer = () => undefined

void test('a round asks everybody once, judges after the scaled probe timeout, and leaves the awareness alone', (t) => {
  const core = makeCore()
  // Only those of the round answer, and not all.
  const seen = run(core, 3_900, (to, sequence) => (sequence === 0 && to < 'e' ? 'ack' : undefined))
  const round = seen.filter(
    ([, effect]) => effect.type === 'send' && effect.message.type === 'ping' && effect.message.sequence === 0,
  )
  const [[beganMs] = [0]] = round
  const askedAt = (atMs: number): string[] =>
    round.flatMap(([ms, effect]) => (ms === atMs && effect.type === 'send' ? [effect.to] : [])).sort()
  t.same(askedAt(beganMs), names.slice(1))
  t.same(askedAt(beganMs + 2_000), ['e', 'f', 'g', 'h'], 'the silent again, when it is known who they are')
  const [[toldMs] = [0]] = seen.filter(([, effect]) => effect.type === 'silence-changed')
  // Three who were asked for help said nothing: three points for the first of two probes, four times 500 ms.
  t.equal(core.awareness(), 6)
  t.equal(toldMs, beganMs + 2_000)
  t.same(
    names.filter((name) => core.isSilent(name)),
    ['e', 'f', 'g', 'h'],
  )
  const suspects = core.table().filter(({ kind }) => kind === 'suspect')
  t.equal(suspects.length, 2, 'only those whom the probes were for are suspected')

  const ack = { type: 'ack', sequence: 0, records: [] } as const
  const effects = core.step({ type: 'received', from: 'e', incarnation: 1, message: ack }, 3_950)
  t.ok(effects.some(({ type }) => type === 'silence-changed'))
  t.notOk(core.isSilent('e'))
  t.notOk(core.isSilent('nobody'))
  t.equal(core.awareness(), 6, 'nor is it better for an answer to the round')
  t.end()
})

void test('who did not run while a round was under way holds nobody for silent', (t) => {
  const core = makeCore({ probesNext: false })
  const seen = run(core, 3_000, nobody)
  t.ok(seen.some(([, effect]) => effect.type === 'send' && effect.message.type === 'ping'))
  const dueMs = core.nextDeadlineMs() ?? 0
  core.step({ type: 'tick' }, dueMs + 10_000)
  t.same(
    names.filter((name) => core.isSilent(name)),
    [],
  )
  t.end()
})

void test('a member that ended, and its next life, are not silent', (t) => {
  const core = makeCore()
  run(core, 6_000, nobody)
  t.ok(core.isSilent('b') && core.isSilent('c'))
  core.step({ type: 'goodbye', name: 'b', incarnation: 1 }, 6_000)
  t.notOk(core.isSilent('b'))
  core.step({ type: 'linked', peer: bedFacts('c', 2, 2) }, 6_000)
  t.notOk(core.isSilent('c'))
  core.step({ type: 'linked', peer: bedFacts('d', 3, 1) }, 6_000)
  t.notOk(core.isSilent('d'), 'nor is one to which a link stands')
  t.end()
})

void test('a member that others reach for us owes us nothing, whenever that is', (t) => {
  // It does not hear us, but those who ping it for us.
  const onlyThroughOthers =
    (deaf: string): Answer =>
    (to, _sequence, target) =>
      (target === undefined ? to !== deaf : target === deaf) ? 'ack' : undefined
  const before = makeCore()
  run(before, 20_000, onlyThroughOthers('b'))
  t.ok((before.status().members.find(({ name }) => name === 'b')?.directMisses ?? 0) > 0)
  const seen = run(before, 24_000, nobody)
  t.ok(seen.some(([, { type }]) => type === 'silence-changed'))
  t.notOk(before.isSilent('b'), 'not one of whom it was known before')
  t.ok(names.filter((name) => before.isSilent(name)).length >= 4)

  const after = makeCore()
  run(after, 5_000, nobody)
  const deaf = names.find((name) => after.isSilent(name) && after.record(name)?.kind === 'alive') ?? ''
  t.not(deaf, '')
  for (let untilMs = 5_000; untilMs < 60_000 && after.isSilent(deaf); untilMs += 100) {
    run(after, untilMs, onlyThroughOthers(deaf))
  }
  t.notOk(after.isSilent(deaf), 'nor one of whom it turns out')
  t.equal(after.record(deaf)?.kind, 'alive')
  t.end()
})

void test('a nack is an answer too, and who is unreachable is not silent besides', (t) => {
  const core = makeCore()
  run(core, 5_000, nobody)
  t.ok(core.isSilent('d') && core.isSilent('e'))
  const nack = { type: 'nack', sequence: 1, records: [] } as const
  core.step({ type: 'received', from: 'd', incarnation: 1, message: nack }, 5_000)
  t.notOk(core.isSilent('d'))
  t.ok(core.isSilent('e'))

  run(core, 120_000, nobody)
  const lost = core.table().filter(({ kind }) => kind === 'unreachable')
  t.ok(lost.length > 3)
  t.same(
    lost.filter(({ name }) => core.isSilent(name)),
    [],
  )
  t.end()
})

void test('a round asks a large table in parts of 250 pings, all of them at the same time', (t) => {
  const names = Array.from({ length: 900 }, (_, n) => `m${String(n).padStart(3, '0')}`)
  const pings: number[] = []
  const asked = new Set<string>()
  const core = new SwimCore({
    self: bedFacts('self', 0, 1),
    random: bedRandom(1),
    phase: 'alive',
    known: names.map((name, index) => bedRecord(bedFacts(name, index + 1, 1), 'alive')),
  })
  core.step({ type: 'started' }, 0)
  let roundMs: number | undefined
  for (
    let dueMs = core.nextDeadlineMs();
    dueMs !== undefined && dueMs <= 4_000;
    dueMs = core.nextDeadlineMs()
  ) {
    const sent = core.step({ type: 'tick' }, dueMs).flatMap((effect) => {
      return effect.type === 'send' && effect.message.type === 'ping' ? [effect.to] : []
    })
    if (sent.length < 100) continue
    roundMs ??= dueMs
    if (dueMs !== roundMs) break
    pings.push(sent.length)
    for (const name of sent) asked.add(name)
  }
  t.equal(asked.size, 900)
  t.ok(Math.max(...pings) <= 255, pings.join(', '))
  t.end()
})
