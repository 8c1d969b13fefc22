/** Client sessions, the log's own clock by which they end, and the errors that tell of it. */
import { ActorError, isActorError } from '@understudy/runtime'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { SessionTable, sessionTtlMs } = await sourceModule<
  typeof import('../../../packages/protocols/src/core/session-table.ts')
>('protocols', 'core/session-table')
const { LogClock } = await sourceModule<typeof import('../../../packages/protocols/src/core/log-clock.ts')>(
  'protocols',
  'core/log-clock',
)
const errors = await sourceModule<typeof import('../../../packages/protocols/src/core/consensus-error.ts')>(
  'protocols',
  'core/consensus-error',
)

type Table = InstanceType<typeof SessionTable<string>>

/** Runs a command of a session as a group does: `ran` is called when it is applied. */
function run(table: Table, session: number, sequence: number, answeredBelow: number, timeMs: number): string {
  const stamp = { session, sequence, answeredBelow }
  const verdict = table.check(stamp, timeMs)
  if (verdict.type === 'known') return `known ${verdict.result}`
  if (verdict.type === 'apply') table.keep(stamp, `${session}/${sequence} at ${timeMs}`)
  return verdict.type
}

// ---- Sessions --------------------------------------------------------------------------------------------------

void test('R17: SessionTable applies a command once, and a retry gets the result of the first time', async (t) => {
  const table: Table = new SessionTable()
  table.open(5, 1_000, 0)
  t.equal(run(table, 5, 1, 1, 10), 'apply')
  t.equal(run(table, 5, 1, 1, 20), 'known 5/1 at 10')
  t.equal(run(table, 5, 3, 1, 30), 'apply', 'a command may overtake another')
  t.equal(run(table, 5, 2, 1, 40), 'apply', 'which comes later and is new all the same')
  t.equal(run(table, 5, 3, 1, 50), 'known 5/3 at 30')
  t.equal(table.results, 3)
  const silent = new SessionTable<undefined>()
  silent.open(1, 1_000, 0)
  const stamp = { session: 1, sequence: 1, answeredBelow: 1 }
  silent.keep(stamp, undefined)
  t.same(silent.check(stamp, 1), { type: 'known', result: undefined }, 'no result is a result')
})

void test('SessionTable keeps a result until answeredBelow passes it, and never applies what was answered', async (t) => {
  const table: Table = new SessionTable()
  table.open(1, 1_000, 0)
  for (let sequence = 1; sequence <= 5; sequence++) run(table, 1, sequence, 1, 0)
  t.equal(run(table, 1, 6, 4, 0), 'apply')
  t.equal(table.results, 3)
  t.equal(run(table, 1, 3, 1, 0), 'answered', 'a duplicate from long ago')
  t.equal(run(table, 1, 4, 1, 0), 'known 1/4 at 0', 'an older answeredBelow takes nothing back')
  t.equal(run(table, 1, 2 ** 52, 2 ** 52, 0), 'apply', 'a great leap costs no more than what is kept')
  t.equal(table.results, 1)
})

void test('R17: a session ends at the log time that an entry says, not before, and says so to every later command', async (t) => {
  const table: Table = new SessionTable()
  table.open(1, 100, 0)
  table.open(2, 100, 50)
  t.notOk(table.isAnyOver(99))
  t.ok(table.isAnyOver(100))
  t.equal(run(table, 1, 1, 1, 120), 'apply', 'over by the clock, but no entry has ended it: it lives on')
  t.same(table.expire(149), [])
  t.same(table.expire(150), [2])
  t.equal(run(table, 2, 1, 1, 151), 'expired')
  t.notOk(table.isAnyOver(219))
  t.same(table.expire(220), [1])
  t.equal(run(table, 1, 1, 1, 221), 'expired', 'its results went with it: never a second application')
  t.equal(run(table, 99, 1, 1, 221), 'expired', 'nor was this one ever there')
  t.equal(table.results, 0)
  t.notOk(table.isAnyOver(1e15))
})

void test('SessionTable: the least recently used gives way, at the limit of sessions and at that of results', async (t) => {
  const few: Table = new SessionTable({ sessionsMax: 2 })
  t.equal(few.open(1, 1_000, 0), undefined)
  t.equal(few.open(2, 1_000, 0), undefined)
  run(few, 1, 1, 1, 5)
  t.equal(few.open(3, 1_000, 6), 2)
  t.equal(run(few, 2, 1, 1, 7), 'expired')

  const small: Table = new SessionTable({ resultsMax: 3, resultsPerSessionMax: 3 })
  for (const id of [1, 2, 3]) small.open(id, 1_000, id)
  run(small, 2, 1, 1, 10)
  run(small, 3, 1, 1, 11)
  run(small, 3, 2, 1, 11)
  const stamp = { session: 3, sequence: 3, answeredBelow: 1 }
  t.equal(small.check(stamp, 12).type, 'apply')
  t.same(small.keep(stamp, 'x'), [2], 'session 1 is older but has no results, so it stays')
  t.equal(small.has(1), true)
  t.equal(run(small, 3, 4, 1, 12), 'full', 'the one that is served is never the one that goes')
  t.equal(run(small, 3, 4, 3, 12), 'apply', 'and goes on when its client has taken answers')
  const busy: Table = new SessionTable({ resultsMax: 2, resultsPerSessionMax: 2 })
  for (const id of [1, 2]) busy.open(id, 1_000, 0)
  run(busy, 2, 1, 1, 5)
  run(busy, 1, 1, 1, 5)
  run(busy, 1, 2, 1, 5)
  t.equal(busy.has(1), true, 'not even when all were used at the same time')
  t.equal(busy.has(2), false)
  for (const options of [
    { sessionsMax: 0 },
    { resultsMax: 1.5 },
    { resultsMax: 5, resultsPerSessionMax: 6 },
  ]) {
    t.throws(() => new SessionTable(options), RangeError)
  }
})

void test('SessionTable takes a ttlMs that is out of bounds as the nearest: an entry cannot stop the members', async (t) => {
  const table: Table = new SessionTable()
  for (const [index, ttlMs] of [NaN, -5, 0, Infinity, 2 ** 53].entries()) table.open(index + 1, ttlMs, 0)
  t.same(
    table.snapshot().map(({ ttlMs }) => ttlMs),
    [1, 1, 1, sessionTtlMs.max, sessionTtlMs.max],
  )
})

const operations = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.tuple(fc.constant('run' as const), fc.nat(6), fc.integer({ min: 1, max: 9 }), fc.nat(9)),
    },
    { weight: 2, arbitrary: fc.tuple(fc.constant('open' as const), fc.integer({ min: 30, max: 300 })) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('expire' as const)) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('restart' as const)) },
  ),
  { maxLength: 80, size: 'max' },
)

void test('SessionTable: whoever starts from a snapshot answers as whoever applied everything, and holds the same', async (t) => {
  let evictions = 0
  fc.assert(
    fc.property(operations, (steps) => {
      const options = { sessionsMax: 3, resultsPerSessionMax: 5, resultsMax: 8 }
      const one: Table = new SessionTable(options)
      let other: Table = new SessionTable(options)
      const opened: number[] = []
      const applied = new Set<string>()
      for (const [index, step] of steps.entries()) {
        const timeMs = index * 3
        const [type] = step
        if (type === 'open') {
          opened.push(index + 1)
          const evicted = one.open(index + 1, step[1], timeMs)
          if (evicted !== undefined) evictions++
          if (evicted !== other.open(index + 1, step[1], timeMs)) return false
        } else if (type === 'expire') {
          if (JSON.stringify(one.expire(timeMs)) !== JSON.stringify(other.expire(timeMs))) return false
        } else if (type === 'restart') {
          const taken = JSON.stringify(other.snapshot())
          other = new SessionTable(options)
          other.restore(JSON.parse(taken))
        } else {
          const session = opened.at(-1 - (step[1] % 4)) ?? 1
          const answeredBelow = Math.min(step[2], step[3])
          const what = run(one, session, step[2], answeredBelow, timeMs)
          if (what !== run(other, session, step[2], answeredBelow, timeMs)) return false
          const name = `${session}/${step[2]}`
          if (what === 'apply' && applied.has(name)) return false
          if (what === 'apply') applied.add(name)
        }
        if (one.results > 8 || one.size > 3) return false
      }
      return JSON.stringify(one.snapshot()) === JSON.stringify(other.snapshot())
    }),
    { numRuns: 1_500 },
  )
  t.ok(evictions > 50, `${evictions} evictions`)
})

void test('SessionTable shows nothing later in a snapshot, and restores nothing that is none', async (t) => {
  const table: Table = new SessionTable()
  table.open(1, 100, 0)
  run(table, 1, 1, 1, 0)
  const taken = table.snapshot()
  const text = JSON.stringify(taken)
  run(table, 1, 2, 2, 5)
  table.open(9, 100, 5)
  t.equal(JSON.stringify(taken), text)
  const [good] = taken
  if (good === undefined) throw new Error('no record')
  const bad = [
    { ...good, session: -1 },
    { ...good, usedMs: NaN },
    { ...good, answeredBelow: 2 },
    { ...good, results: [['1', 'x']] as never },
    { ...good, results: 'x' as never },
  ]
  for (const record of bad) {
    t.throws(() => table.restore([record]), RangeError)
    t.equal(table.size, 0)
  }
  t.throws(() => table.restore([good, good]), RangeError, 'twice the same')
  table.restore(taken)
  t.equal(run(table, 1, 1, 1, 6), 'known 1/1 at 0')
})

// ---- The clock of the log --------------------------------------------------------------------------------------

void test('LogClock: a leader stamps by its own clock, and applying its own stamps late does not slow it down', async (t) => {
  const clock = new LogClock(500)
  clock.become('leading', 10_000)
  t.equal(clock.stamp(10_000), 500)
  for (let now = 10_000; now <= 11_000; now += 10) {
    const stamp = clock.stamp(now)
    t.equal(stamp, 500 + now - 10_000)
    t.equal(clock.applied(stamp, now + 9), stamp)
  }
  t.equal(clock.stamp(11_000.7), 1_500, 'whole milliseconds')
})

void test('LogClock stands still while nobody leads, and a new leader goes on from the last stamp it has applied', async (t) => {
  const clock = new LogClock()
  clock.become('following', 0)
  clock.applied(700, 100)
  clock.become('leaderless', 150)
  clock.become('leading', 5_150)
  t.equal(clock.stamp(5_150), 750, '50 ms under the old leader, none of the 5 s without one')
  t.equal(clock.stamp(5_160), 760)
})

void test('LogClock: a follower with a fast clock gathers no lead over the stamps', async (t) => {
  const clock = new LogClock()
  clock.become('following', 0)
  for (let i = 1; i <= 1_000; i++) clock.applied(i * 1_000, i * 1_010)
  clock.become('leading', 1_010_000)
  t.equal(clock.stamp(1_010_000), 1_000_000)
})

void test('LogClock: log time never goes back, also when a new leader stamps below entries it has yet to apply', async (t) => {
  const leader = new LogClock()
  const follower = new LogClock()
  leader.become('following', 0)
  follower.become('following', 0)
  leader.applied(100, 0)
  follower.applied(100, 0)
  leader.become('leading', 10)
  const low = leader.stamp(10)
  t.equal(low, 110)
  for (const clock of [leader, follower]) {
    t.equal(clock.applied(900, 12), 900, 'what the leader before had appended')
    t.equal(clock.applied(low, 13), 900, 'the same everywhere')
  }
  t.equal(leader.stamp(22), 910, 'and from there on it is ahead of them')
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.constantFrom('leading', 'following', 'leaderless', 'apply', 'stamp'),
          fc.nat(50),
          fc.nat(50),
        ),
      ),
      (steps) => {
        const clock = new LogClock()
        let now = 0
        let last = 0
        let stamped = 0
        for (const [what, after, ahead] of steps) {
          now += after
          if (what === 'apply') {
            const time = clock.applied(last - 20 + ahead, now)
            if (time < last || time !== clock.lastMs) return false
            last = time
            stamped = 0
          } else if (what === 'stamp') {
            const stamp = clock.stamp(now)
            if (stamp < stamped || stamp < last) return false
            stamped = stamp
          } else {
            clock.become(what as 'leading' | 'following' | 'leaderless', now)
          }
        }
        clock.restore(last, now)
        return clock.lastMs === last
      },
    ),
    { numRuns: 1_000 },
  )
})

// ---- Errors ----------------------------------------------------------------------------------------------------

void test('errors of consensus are recognised by their codes and say what to do', async (t) => {
  const { NotLeader, GroupOverloaded, OutcomeUnknown, SessionExpired, GroupClosed } = errors
  const cause = new Error('below')
  const made = [
    [new NotLeader('kv', 'b'), 'NotLeader', 'PROTOCOLS_NOT_LEADER', /ask node "b"$/],
    [new NotLeader('kv', undefined), 'NotLeader', 'PROTOCOLS_NOT_LEADER', /try again after a moment$/],
    [new GroupOverloaded('Cannot propose'), 'GroupOverloaded', 'PROTOCOLS_OVERLOADED', /^Cannot propose$/],
    [new OutcomeUnknown('Lost', {}, cause), 'OutcomeUnknown', 'PROTOCOLS_OUTCOME_UNKNOWN', /^Lost$/],
    [
      new SessionExpired(7),
      'SessionExpired',
      'PROTOCOLS_SESSION_EXPIRED',
      /^Session 7 .* open another session$/,
    ],
    [new GroupClosed('Closed'), 'GroupClosed', 'PROTOCOLS_GROUP_CLOSED', /^Closed$/],
  ] as const
  for (const [error, name, code, message] of made) {
    t.ok(error instanceof ActorError && isActorError(error, code))
    t.equal(error.name, name)
    t.match(error.message, message)
  }
  t.same([new NotLeader('kv', 'b').leader, new NotLeader('kv', 'b').details['leader']], ['b', 'b'])
  t.equal('leader' in new NotLeader('kv', undefined).details, false)
  t.equal(new OutcomeUnknown('Lost', {}, cause).cause, cause)
  t.equal(new SessionExpired(7).details['session'], 7)
})
