/** SwimCore on its own: one test for each pitfall of SWIM and Lifeguard, and what a single core must do with bad input. */
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { SwimBed, bedFacts, bedRandom, bedRecord } from '../support/swim-bed.ts'
import type {
  BedEffect,
  BedFacts,
  BedInput,
  BedMessage,
  BedRecord,
  BedSwimOptions,
} from '../support/swim-bed.ts'

const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)

type Core = InstanceType<typeof SwimCore>

const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']
const factsOf = (name: string, incarnation = 1): BedFacts => bedFacts(name, names.indexOf(name), incarnation)
const alive = (name: string): BedRecord => bedRecord(factsOf(name), 'alive')

/** A core `a` that knows the first `n` of `names`, started at 0. */
function makeCore(n: number, options: Partial<BedSwimOptions> = {}): Core {
  const core = new SwimCore({
    self: factsOf('a'),
    phase: 'alive',
    known: names.slice(1, n).map(alive),
    random: bedRandom(1),
    ...options,
  })
  core.step({ type: 'started' }, 0)
  return core
}

function accused(
  name: string,
  refutation: number,
  by: string,
  kind: 'suspect' | 'unreachable' = 'suspect',
): BedRecord {
  return { ...alive(name), refutation, kind, by }
}

function gossip(from: string, ...records: BedRecord[]): BedInput {
  return { type: 'received', from, incarnation: 1, message: { type: 'gossip', records } }
}

function sends(effects: readonly BedEffect[]): { readonly to: string; readonly message: BedMessage }[] {
  return effects.flatMap((effect) =>
    effect.type === 'send' ? [{ to: effect.to, message: effect.message }] : [],
  )
}

function kinds(effects: readonly BedEffect[]): string[] {
  return effects.flatMap((effect) => (effect.type === 'send' ? [] : [effect.type]))
}

function recordAt(core: Core, name: string): BedRecord | undefined {
  return core.table().find((record) => record.name === name)
}

/** Ticks at every deadline up to that time, answering pings to all but `deaf`. What came of it that is no `send`, with times. */
function runUntil(
  core: Core,
  untilMs: number,
  deaf: readonly string[],
): { atMs: number; effect: BedEffect }[] {
  const out: { atMs: number; effect: BedEffect }[] = []
  for (
    let dueMs = core.nextDeadlineMs();
    dueMs !== undefined && dueMs <= untilMs;
    dueMs = core.nextDeadlineMs()
  ) {
    const effects = [...core.step({ type: 'tick' }, dueMs)]
    for (const effect of effects) {
      if (effect.type !== 'send') out.push({ atMs: dueMs, effect })
      else if (effect.message.type === 'ping' && !deaf.includes(effect.to)) {
        const { sequence } = effect.message
        const message: BedMessage = { type: 'ack', sequence, records: [] }
        effects.push(...core.step({ type: 'received', from: effect.to, incarnation: 1, message }, dueMs))
      } else if (effect.message.type === 'ping-req' && !deaf.includes(effect.to)) {
        const { sequence, target } = effect.message
        const message: BedMessage = { type: deaf.includes(target) ? 'nack' : 'ack', sequence, records: [] }
        effects.push(...core.step({ type: 'received', from: effect.to, incarnation: 1, message }, dueMs))
      }
    }
  }
  return out
}

void test('M1: whoever is accused, at whatever refutation, goes above it in the same step; nobody else may', (t) => {
  const core = makeCore(4)
  const effects = core.step(gossip('b', accused('a', 10, 'b')), 5)
  t.equal(recordAt(core, 'a')?.refutation, 11)
  const told = sends(effects).filter(({ message }) =>
    message.records.some(({ name, refutation }) => name === 'a' && refutation === 11),
  )
  t.ok(told.length >= 3, 'all of a small cluster are told at once')
  t.equal(core.awareness(), 1, 'refuting myself costs a point')

  const ping: BedInput = {
    type: 'received',
    from: 'c',
    incarnation: 1,
    message: { type: 'ping', sequence: 9, records: [accused('a', 30, 'c')] },
  }
  const ack = sends(core.step(ping, 6)).find(({ message }) => message.type === 'ack')
  t.equal(ack?.to, 'c')
  t.equal(ack?.message.records[0]?.refutation, 31, 'the ack itself refutes')

  core.step(gossip('b', accused('a', 4, 'b')), 7)
  t.equal(recordAt(core, 'a')?.refutation, 31, 'an accusation that is refuted already changes nothing')
  runUntil(core, 10_000, [])
  t.equal(core.status().queueLength, 0, 'all news was passed on often enough')
  const old: BedInput = {
    type: 'received',
    from: 'c',
    incarnation: 1,
    message: { type: 'ping', sequence: 10, records: [accused('a', 5, 'c')] },
  }
  const answer = sends(core.step(old, 10_000)).find(({ message }) => message.type === 'ack')
  t.equal(answer?.message.records[0]?.refutation, 31, 'but whoever still makes it is answered')
  core.step(gossip('b', accused('d', 8, 'b')), 10_001)
  t.equal(recordAt(core, 'd')?.refutation, 8, 'the refutation of another is only its own')
  t.equal(recordAt(core, 'd')?.kind, 'suspect')
  t.end()
})

void test('M2: alive overrides a doubt only from above, a doubt overrides alive of the same refutation, a table only suspects', (t) => {
  const core = makeCore(5)
  const kind = (): string | undefined => recordAt(core, 'b')?.kind
  core.step(gossip('c', accused('b', 0, 'c')), 1)
  t.equal(kind(), 'suspect', 'suspect(0) over alive(0)')
  core.step(gossip('c', alive('b')), 2)
  t.equal(kind(), 'suspect', 'alive(0) does not come back')
  core.step(gossip('c', { ...alive('b'), refutation: 1 }), 3)
  t.equal(kind(), 'alive', 'alive(1) does')
  core.step(gossip('c', accused('b', 0, 'd', 'unreachable')), 4)
  t.equal(kind(), 'alive', 'unreachable(0) is old')
  core.step(gossip('c', accused('b', 1, 'd', 'unreachable')), 5)
  t.equal(kind(), 'unreachable', 'unreachable(1) is not')
  core.step(gossip('c', accused('b', 1, 'd')), 6)
  t.equal(kind(), 'unreachable', 'suspect(1) is less')
  t.same(kinds(core.step(gossip('c', { ...alive('b'), refutation: 2 }), 7)), ['member-recovered'])

  const table: BedInput = {
    type: 'received',
    from: 'c',
    incarnation: 1,
    message: {
      type: 'push-pull',
      isAnswer: true,
      isLast: true,
      records: [accused('b', 2, 'd', 'unreachable')],
    },
  }
  t.same(kinds(core.step(table, 8)), ['member-suspected'])
  t.equal(kind(), 'suspect', 'unreachable in a table is a suspicion, which b can refute')

  core.step({ type: 'remove', name: 'b', incarnation: 1, reason: 'unreachable' }, 9)
  for (const refutation of [3, 1_000]) {
    core.step(gossip('c', { ...alive('b'), refutation }), 10)
    t.equal(kind(), 'down', 'down is for ever')
  }
  core.step(gossip('c', { ...alive('b'), kind: 'left' }), 11)
  t.equal(kind(), 'left', 'left over down')
  t.end()
})

void test('M3: with too few members to confirm, the suspicion takes its minimum and waits for nobody', (t) => {
  for (const [n, wantedMs] of [
    [2, 4_000],
    [3, 4_000],
    [4, 24_000],
    [5, 24_000],
  ] as const) {
    const core = makeCore(n, { probesNext: false })
    core.step(gossip('b', accused('b', 0, 'j')), 100)
    const [unreachable] = runUntil(core, 60_000, ['b']).filter(
      ({ effect }) => effect.type === 'member-unreachable',
    )
    // With four and more the core itself confirms in the end: it probes b too.
    if (n <= 3) t.equal(unreachable?.atMs, 100 + wantedMs, `${n} members`)
    const status = makeCore(n)
    status.step(gossip('b', accused('b', 0, 'j')), 100)
    const deadline = status.status().members.find(({ name }) => name === 'b')?.suspicionDeadlineMs
    t.equal(deadline, 100 + wantedMs, `${n} members`)
  }
  t.end()
})

void test('M4: the accuser does not confirm, nobody confirms twice, and a suspicion that is overdue ends at once', (t) => {
  const core = makeCore(10, { probesNext: false })
  const report = (): { deadline: number | undefined; confirmations: number | undefined } => {
    const found = core.status().members.find(({ name }) => name === 'b')
    return { deadline: found?.suspicionDeadlineMs, confirmations: found?.confirmations }
  }
  core.step(gossip('c', accused('b', 0, 'c')), 0)
  t.same(report(), { deadline: 24_000, confirmations: 0 })
  core.step(gossip('d', accused('b', 0, 'c')), 1)
  t.same(report(), { deadline: 24_000, confirmations: 0 }, 'the accuser, by another way')
  core.step(gossip('d', accused('b', 0, 'd')), 2)
  t.same(report(), { deadline: 11_381, confirmations: 1 })
  core.step(gossip('e', accused('b', 0, 'd')), 3)
  t.same(report(), { deadline: 11_381, confirmations: 1 }, 'one for each')
  // Nothing is due at that time, as far as the core was told: the tick is early for all else.
  const later = makeCore(10, { probesNext: false, indirectProbes: 0 })
  later.step(gossip('c', accused('b', 0, 'c')), 0)
  runUntil(later, 6_000, [])
  later.step(gossip('d', accused('b', 0, 'd')), 6_000)
  t.equal(recordAt(later, 'b')?.kind, 'suspect', 'one confirmation: till 11,381')
  t.ok(
    kinds(later.step(gossip('e', accused('b', 0, 'e')), 6_000)).includes('member-unreachable'),
    'the second makes it 4,000, which is past',
  )
  t.end()
})

void test('M5: one of ten is stalled for 10 s: no other one is ever unreachable, to anybody', (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const bed = new SwimBed({ nodes: 10, seed, loss: seed % 2 === 0 ? 0.01 : 0 })
    bed.runFor(5_000 + seed * 37)
    // The worst moment: it has pinged somebody, and the ack will wait till it wakes.
    bed.runUntil(() => bed.node('n003').core.status().probing.length > 0, 5_000, 0.5)
    bed.stall('n003', 10_000)
    bed.runFor(60_000)
    const others = bed
      .eventsOf('member-unreachable')
      .filter(({ effect }) => 'member' in effect && effect.member.name !== 'n003')
    t.same(others, [], `seed ${seed}`)
    t.same(
      bed.events.filter(({ node, effect }) => node === 'n003' && 'by' in effect && effect.by === 'n003'),
      [],
      `seed ${seed}: it accuses nobody`,
    )
    t.ok(bed.isSettled(), `seed ${seed}: it is back in every view`)
  }
  t.end()
})

void test('M5: whoever reaches nobody becomes slow to judge', (t) => {
  const core = makeCore(10)
  runUntil(core, 60_000, names)
  t.equal(core.awareness(), 7)
  const told = runUntil(makeCore(10), 10_000, ['b'])
  t.ok(told.some(({ effect }) => effect.type === 'member-suspected' && effect.member.name === 'b'))
  const healthy = makeCore(10)
  runUntil(healthy, 60_000, ['b'])
  t.equal(healthy.awareness(), 0, 'who gets its nacks is well, whoever else is dead')
  t.end()
})

void test('M7: a name is reclaimed only once its old life is over; two that live are reported once, and never flapped', (t) => {
  const core = makeCore(3)
  const other: BedRecord = { ...bedRecord({ ...factsOf('c', 2), address: factsOf('j').address }, 'alive') }
  const [conflict, ...rest] = core.step(gossip('b', other), 1).filter(({ type }) => type !== 'send')
  t.match(conflict, { type: 'name-conflict', name: 'c', incarnations: [1, 2] })
  t.same(rest, [])
  for (const refutation of [0, 1, 2])
    t.same(kinds(core.step(gossip('b', { ...other, refutation }), 2)), [], 'once')
  t.equal(recordAt(core, 'c')?.incarnation, 1)
  const again: BedInput = {
    type: 'received',
    from: 'c',
    incarnation: 2,
    message: { type: 'ping', sequence: 1, records: [] },
  }
  t.same(
    sends(core.step(again, 3)).flatMap(({ to, message }) =>
      to === 'c' && message.type !== 'ping' ? [message.type] : [],
    ),
    ['gossip'],
    'the other is not answered, but told who has the name',
  )
  t.same(
    kinds(core.step(gossip('b', { ...factsRecord('c', 2), kind: 'down' }), 4)),
    ['member-down'],
    'at its own address: a later life, and over',
  )

  const late = makeCore(3)
  late.step({ type: 'remove', name: 'c', incarnation: 1, reason: 'unreachable' }, 1)
  t.same(kinds(late.step(gossip('b', other), 2)), ['member-joined'], 'the old life is over')
  t.same(kinds(late.step(gossip('b', alive('c')), 3)), [], 'and does not come back')

  const same = makeCore(3)
  t.same(
    kinds(same.step(gossip('b', factsRecord('c', 2)), 1)),
    ['member-down', 'member-joined'],
    'same address: at once',
  )

  const own = makeCore(3)
  const twin = { ...bedRecord({ ...factsOf('a', 7), address: factsOf('j').address }, 'alive') }
  t.same(kinds(own.step(gossip('b', twin), 1)), ['name-conflict'], 'our own name somewhere else')
  t.same(kinds(own.step(gossip('b', twin), 1)), [])
  t.same(
    kinds(own.step(gossip('b', factsRecord('a', 7)), 2)),
    ['self-removed'],
    'our own name and address, later: we are the old one',
  )
  t.end()
})

function factsRecord(name: string, incarnation: number): BedRecord {
  return bedRecord(factsOf(name, incarnation), 'alive')
}

void test('M8: everybody is probed once a round, never more than 2n - 1 periods apart, in an order that changes', (t) => {
  const n = 10
  const core = makeCore(n, { probesNext: false, indirectProbes: 0 })
  const order: string[] = []
  for (
    let dueMs = core.nextDeadlineMs();
    dueMs !== undefined && order.length < 90;
    dueMs = core.nextDeadlineMs()
  ) {
    for (const { to, message } of sends(core.step({ type: 'tick' }, dueMs))) {
      if (message.type !== 'ping') continue
      order.push(to)
      core.step({ type: 'received', from: to, incarnation: 1, message: { ...message, type: 'ack' } }, dueMs)
    }
  }
  const rounds = Array.from({ length: 10 }, (_, round) => order.slice(round * (n - 1), (round + 1) * (n - 1)))
  for (const round of rounds) t.same([...round].sort(), names.slice(1), 'a round is everybody, once')
  t.ok(new Set(rounds.map((round) => round.join())).size > 5, 'rounds differ')
  for (const name of names.slice(1)) {
    const places = order.flatMap((probed, index) => (probed === name ? [index] : []))
    const gaps = places.slice(1).map((place, index) => place - (places[index] ?? 0))
    t.ok(Math.max(...gaps) <= 2 * n - 1, `${name} at most 2n - 1 periods apart`)
  }
  t.end()
})

void test('M8: a joiner is put in at random, and is probed within its first two rounds', (t) => {
  const firstAt: number[] = []
  for (let seed = 1; seed <= 60; seed++) {
    const core = makeCore(9, { probesNext: false, indirectProbes: 0, random: bedRandom(seed) })
    core.step(gossip('b', alive('j')), 1)
    let place = 0
    for (
      let dueMs = core.nextDeadlineMs(), found = false;
      dueMs !== undefined && !found && place < 50;
      dueMs = core.nextDeadlineMs()
    ) {
      for (const { to, message } of sends(core.step({ type: 'tick' }, dueMs))) {
        if (message.type !== 'ping') continue
        place++
        if (to === 'j') found = true
        core.step({ type: 'received', from: to, incarnation: 1, message: { ...message, type: 'ack' } }, dueMs)
      }
    }
    firstAt.push(place)
  }
  t.ok(Math.max(...firstAt) <= 18)
  t.ok(new Set(firstAt).size >= 6, `not always last: ${[...new Set(firstAt)].sort((x, y) => x - y).join()}`)
  t.end()
})

void test('the next by name is probed in every period, whoever that is now', (t) => {
  const core = new SwimCore({
    self: factsOf('d'),
    phase: 'alive',
    known: ['a', 'e', 'f', 'g', 'h', 'i', 'j'].map(alive),
    random: bedRandom(1),
  })
  core.step({ type: 'started' }, 0)
  let nowMs = 0
  /** A step whose pings are answered at once; who was pinged. */
  const step = (input: BedInput): string[] => {
    const pings = sends(core.step(input, nowMs)).filter(({ message }) => message.type === 'ping')
    for (const { to, message } of pings) {
      const ack = { ...message, type: 'ack' } as BedMessage
      core.step({ type: 'received', from: to, incarnation: 1, message: ack }, nowMs)
    }
    return pings.map(({ to }) => to)
  }
  /** Who is pinged in each of the next periods. */
  const pinged = (): string[] => {
    const periods: string[][] = []
    while (periods.length < 12) {
      nowMs = core.nextDeadlineMs() ?? 0
      const names = step({ type: 'tick' })
      if (names.length > 0) periods.push(names)
    }
    return periods.reduce((all, names) => all.filter((name) => names.includes(name)))
  }
  t.same(pinged(), ['e'])
  step(gossip('a', { ...alive('e'), kind: 'unreachable', by: 'a' }))
  t.same(pinged(), ['f'], 'one that is doubted is no good neighbour')
  step(gossip('a', { ...alive('e'), refutation: 1 }))
  t.same(pinged(), ['e'])
  for (const name of ['e', 'f', 'g', 'h', 'i', 'j']) step({ type: 'goodbye', name, incarnation: 1 })
  step(gossip('a', alive('c'), alive('b')))
  t.same(pinged(), ['a'], 'around the ring')
  step({ type: 'goodbye', name: 'a', incarnation: 1 })
  t.same(pinged(), ['b'])
  step(gossip('b', alive('f')))
  t.equal(recordAt(core, 'f')?.kind, 'left')
  t.same(pinged(), ['b'], 'who left is no neighbour')
  t.end()
})

void test('others are asked after the time that round trips have shown, within the bounds; at first after probeTimeoutMs', (t) => {
  for (const [rttMs, wantedMs] of [
    [undefined, 500],
    [10, 100],
    [200, 200],
    [400, 400],
  ] as const) {
    const core = makeCore(4, { probesNext: false })
    let nowMs = 0
    /** The next ping or request for one; what else is due is done on the way. */
    const next = (type: 'ping' | 'ping-req') => {
      for (;;) {
        nowMs = core.nextDeadlineMs() ?? Number.NaN
        const sent = sends(core.step({ type: 'tick' }, nowMs)).find(({ message }) => message.type === type)
        if (sent !== undefined) return sent
      }
    }
    // Until the variance, which begins as half a round trip, has worn off.
    for (let round = 0; round < 120 && rttMs !== undefined; round++) {
      const { to, message } = next('ping')
      const ack = { ...message, type: 'ack' } as BedMessage
      core.step({ type: 'received', from: to, incarnation: 1, message: ack }, (nowMs += rttMs))
    }
    next('ping')
    const pingedMs = nowMs
    next('ping-req')
    t.ok(
      Math.abs(nowMs - pingedMs - wantedMs) < 2,
      `round trips of ${rttMs} ms: after ${nowMs - pingedMs} ms`,
    )
  }
  t.end()
})

void test('M13: a tick that is late by a quarter of an interval costs a point for each interval begun', (t) => {
  for (const [lateMs, points] of [
    [100, 0],
    [249, 0],
    [250, 1],
    [1_000, 1],
    [2_500, 3],
    [60_000, 7],
  ] as const) {
    const core = makeCore(5)
    core.step({ type: 'tick' }, (core.nextDeadlineMs() ?? 0) + lateMs)
    t.equal(core.awareness(), points, `${lateMs} ms late`)
    const other = makeCore(5)
    other.step(gossip('b'), (other.nextDeadlineMs() ?? 0) + lateMs)
    t.equal(other.awareness(), points, `${lateMs} ms late, found by a message`)
  }
  t.end()
})

void test('M13: after a stall the probes under way prove nothing, suspicions have not aged, and it asks how it is seen', (t) => {
  const core = makeCore(5, { probesNext: false })
  core.step(gossip('c', accused('b', 0, 'c')), 0)
  const before = core.status().members.find(({ name }) => name === 'b')?.suspicionDeadlineMs
  t.equal(before, 24_000)
  // Into a period with a probe under way, and then not at all for 30 s.
  let dueMs = core.nextDeadlineMs() ?? 0
  while (core.status().probing.length === 0) {
    core.step({ type: 'tick' }, dueMs)
    dueMs = core.nextDeadlineMs() ?? 0
  }
  const sequence = core.status().probing[0]?.sequence ?? 0
  const effects = core.step({ type: 'tick' }, dueMs + 30_000)
  t.same(kinds(effects), [], 'nobody is judged')
  t.notOk(
    core.status().probing.some((probe) => probe.sequence === sequence),
    'that probe is off',
  )
  t.equal(
    core.status().members.find(({ name }) => name === 'b')?.suspicionDeadlineMs,
    54_000,
    'later by what we missed',
  )
  t.ok(
    sends(effects).some(({ message }) => message.type === 'sync'),
    'compares its table at once',
  )
  t.ok(
    sends(effects).some(({ message }) => message.type === 'ping'),
    'and probes anew',
  )

  // A suspicion that was about to end does not end before we have heard anything.
  const late = makeCore(3, { probesNext: false })
  late.step(gossip('b', accused('c', 0, 'b')), 0)
  runUntil(late, 3_990, ['c'])
  const wakeMs = (late.nextDeadlineMs() ?? 0) + 20_000
  t.same(kinds(late.step({ type: 'tick' }, wakeMs)), [])
  const told = runUntil(late, wakeMs + 60_000, ['c'])
  const [end] = told.filter(({ effect }) => effect.type === 'member-unreachable')
  t.ok(end !== undefined && end.atMs >= wakeMs + 1_000, 'a probe interval at least')
  t.end()
})

void test('a member with the phi detector suspects by silence, and bears the pause that is usual', (t) => {
  const bed = new SwimBed({ nodes: 12, seed: 3, core: { detector: { phi: {} } } })
  bed.runFor(60_000)
  t.same(bed.events, [])
  bed.stall('n002', 2_500)
  bed.runFor(10_000)
  t.same(bed.eventsOf('member-suspected'), [], 'a pause of 2.5 s is borne')
  bed.crash('n005')
  const took = bed.runUntil(() => bed.allSee('n005', ['unreachable']), 60_000)
  t.ok(took !== undefined && took < 12_000, `seen after ${took} ms`)
  t.same(
    bed
      .eventsOf('member-suspected')
      .filter(({ effect }) => 'member' in effect && effect.member.name !== 'n005'),
    [],
  )
  t.end()
})

void test('remove: it is down for all, learns so itself, and its life never returns', (t) => {
  const bed = new SwimBed({ nodes: 5, seed: 2 })
  bed.runFor(3_000)
  bed.input('n000', { type: 'remove', name: 'n003', incarnation: 1, reason: 'unreachable' })
  bed.runFor(5_000)
  t.ok(bed.running.every(({ name }) => name === 'n003' || bed.kindAt(name, 'n003') === 'down'))
  t.equal(bed.eventsOf('self-removed').length, 1)
  t.equal(bed.eventsOf('member-down', 'n003').length, 4, 'each of the others once')
  bed.input('n001', { type: 'linked', peer: bedFacts('n003', 3, 1) })
  bed.runFor(5_000)
  t.equal(bed.kindAt('n001', 'n003'), 'down')
  bed.restart('n003')
  t.ok(bed.runUntil(() => bed.isSettled(), 10_000) !== undefined, 'as a new life it is welcome')
  t.end()
})

void test('membersMax: beyond it nobody is taken up, and of those that ended the first is forgotten', (t) => {
  const core = makeCore(3, { membersMax: 3 })
  t.same(kinds(core.step(gossip('b', alive('d')), 1)), ['member-joined'])
  t.same(kinds(core.step(gossip('b', alive('e')), 2)), [])
  t.equal(core.status().refusedMembers, 1)
  core.step({ type: 'remove', name: 'c', incarnation: 1, reason: 'x' }, 3)
  core.step({ type: 'remove', name: 'b', incarnation: 1, reason: 'x' }, 4)
  t.same(kinds(core.step(gossip('d', alive('e')), 5)), ['member-joined'])
  t.same(
    core.table().map(({ name, kind }) => `${name} ${kind}`),
    ['a alive', 'b down', 'd alive', 'e alive'],
  )
  t.end()
})

void test('an end is remembered for tombstoneMs and told in tables for half of that', (t) => {
  const core = makeCore(3, { tombstoneMs: 100_000, pushPullIntervalMs: 1_000 })
  core.step({ type: 'goodbye', name: 'c', incarnation: 1 }, 10)
  const told = (atMs: number): boolean => {
    const ask: BedInput = {
      type: 'received',
      from: 'b',
      incarnation: 1,
      message: { type: 'sync', digest: 0, records: [] },
    }
    return sends(core.step(ask, atMs)).some(
      ({ message }) => message.type === 'push-pull' && message.records.some(({ name }) => name === 'c'),
    )
  }
  t.ok(told(20))
  runUntil(core, 60_000, [])
  t.notOk(told(60_001))
  t.ok(recordAt(core, 'c') !== undefined)
  runUntil(core, 110_000, [])
  t.equal(recordAt(core, 'c'), undefined)
  t.end()
})

void test('status is plain data, and time is told on the clock of the caller', (t) => {
  const core = makeCore(4)
  core.step(gossip('b', accused('c', 0, 'b')), 5)
  const status = core.status()
  t.same(JSON.parse(JSON.stringify(status)), JSON.parse(JSON.stringify(core.status())))
  t.equal(status.state, 'running')
  t.equal(status.livingCount, 4)
  t.ok(status.queueLength >= 1)
  core.step({ type: 'leave' }, 6)
  t.equal(core.status().state, 'left')
  t.equal(core.nextDeadlineMs(), undefined)
  t.same(core.step(gossip('b', accused('a', 0, 'b')), 7), [])
  t.end()
})

void test('options out of range are refused by name', (t) => {
  const bad: [Partial<BedSwimOptions>, RegExp][] = [
    [{ probeIntervalMs: 1 }, /probeIntervalMs 1/],
    [{ probeTimeoutMs: 1_000 }, /probeTimeoutMs 1000: it must be from 1 to 999/],
    [{ gossipNodes: 0 }, /gossipNodes/],
    [{ membersMax: 0 }, /membersMax/],
    [{ detector: { phi: { threshold: 0 } } }, /threshold/],
  ]
  for (const [options, message] of bad) t.throws(() => makeCore(2, options), message)
  t.end()
})

void test('a ping that was lost for want of a link accuses nobody: the link that was made for it is an answer', (t) => {
  const core = makeCore(8, { probesNext: false })
  const accused: BedEffect[] = []
  for (
    let dueMs = core.nextDeadlineMs();
    dueMs !== undefined && dueMs < 60_000;
    dueMs = core.nextDeadlineMs()
  ) {
    for (const effect of core.step({ type: 'tick' }, dueMs)) {
      if (effect.type === 'member-suspected') accused.push(effect)
      if (effect.type !== 'send' || effect.message.type !== 'ping') continue
      const peer = factsOf(effect.to)
      accused.push(
        ...core
          .step({ type: 'linked', peer, phase: 'alive' }, dueMs)
          .filter(({ type }) => type === 'member-suspected'),
      )
    }
  }
  t.same(accused, [])
  t.equal(core.awareness(), 0)
  t.end()
})
