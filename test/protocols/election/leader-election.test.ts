/** Leader election: terms, resigning, fenced work, and observers that miss no leader. */
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { LockWorld, ttlMs } from '../lock/lock-world.ts'
import { LockError, lockLimits, type LockClient } from '../lock/recipes-source.ts'

const { leaderElection } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/leader-election.ts')
>('protocols', 'election/leader-election')
const { guard } = await sourceModule<typeof import('../../../packages/protocols/src/lock/guard.ts')>(
  'protocols',
  'lock/guard',
)
type LeaderElection = import('../../../packages/protocols/src/election/leader-election.ts').LeaderElection
type Leadership = import('../../../packages/protocols/src/election/leader-election.ts').Leadership
type ElectionEvent = import('../../../packages/protocols/src/election/reign-observer.ts').ElectionEvent

interface Candidate {
  readonly client: LockClient
  readonly port: ReturnType<LockWorld['client']>['port']
  readonly election: LeaderElection
}

function candidate(world: LockWorld, name: string): Candidate {
  const { client, port } = world.client({ label: name })
  return { client, port, election: leaderElection(client, { name: 'lead', data: name }) }
}

/** What an observer is told, as words. */
function watching(
  election: LeaderElection,
  options: { readonly signal?: AbortSignal; readonly afterTerm?: number } = {},
): { readonly told: string[]; readonly events: ElectionEvent[]; readonly ended: Promise<unknown> } {
  const told: string[] = []
  const events: ElectionEvent[] = []
  const run = async (): Promise<void> => {
    for await (const event of election.observe(options)) {
      events.push(event)
      told.push(event.type === 'leader' ? event.reign.data : event.type)
    }
  }
  const ended = run().then(
    () => 'ended',
    (error: unknown) => (error as { readonly code: string }).code,
  )
  return { told, events, ended }
}

void test('one leads at a time, in the order in which they stood, with terms that grow', async (t) => {
  const world = new LockWorld()
  const [a, b, c] = ['a', 'b', 'c'].map((name) => candidate(world, name)) as [Candidate, Candidate, Candidate]
  t.equal(await world.get(a.election.current()), undefined)
  const first = await world.get(a.election.campaign())
  t.match(first, { name: 'lead', term: first.token })
  t.match(await world.get(b.election.current()), { data: 'a', token: first.term })
  t.equal(await world.get(b.election.tryCampaign()), undefined)
  const second = b.election.campaign()
  await world.time.pass(100)
  const third = c.election.campaign()
  await world.time.pass(100)
  await world.get(first.resign())
  const later = await world.get(second)
  t.ok(later.term > first.term)
  t.equal(await world.failure(first.resign()), 'LOCK_NOT_HELD')
  await world.get(later[Symbol.asyncDispose]() as Promise<void>)
  const last = await world.get(third)
  t.ok(last.term > later.term)
  await world.get(last.release())
  t.equal(await world.get(b.election.current()), undefined)
  t.ok(await world.get(b.election.tryCampaign()))
})

void test('a candidate whose session is lost while it waits stands again, until its own time is over', async (t) => {
  const world = new LockWorld()
  const [a, b] = ['a', 'b'].map((name) => candidate(world, name)) as [Candidate, Candidate]
  const first = await world.get(a.election.campaign())
  const second = b.election.campaign()
  await world.time.pass(100)
  const before = (await world.get(b.client.session())).id
  b.port.isCutOff = true
  await world.time.pass(2 * ttlMs)
  t.equal(world.waiting('lead'), 0, 'its place is gone')
  b.port.isCutOff = false
  await world.time.pass(ttlMs)
  t.equal(world.waiting('lead'), 1, 'it stands again')
  t.not((await world.get(b.client.session())).id, before, 'by another session')
  await world.get(first.resign())
  t.ok((await world.get(second)).term > first.term)
  const third = a.election.campaign({ timeoutMs: 1_000 })
  a.port.isCutOff = true
  t.equal(await world.failure(third), 'LOCK_TIMEOUT')
  t.ok(world.time.nowMs < 60_000)
})

void test('a candidate whose client has too much under way waits and stands again, until its own time is over', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  let refusals = 0
  const full =
    (least: number): LockClient['election'] =>
    (name, options) => {
      const lock = client.election(name, options)
      return {
        ...lock,
        name,
        acquire: (how) => {
          if (refusals++ >= least) return lock.acquire(how)
          return Promise.reject(new LockError('LOCK_CLIENT_FULL', 'More calls wait than waitingMax'))
        },
        tryAcquire: (how) => lock.tryAcquire(how),
      }
    }
  const { view, sleep, nowMs } = {
    view: client.view.bind(client),
    sleep: client.sleep.bind(client),
    nowMs: client.nowMs.bind(client),
  }
  const election = leaderElection({ view, sleep, nowMs, election: full(3) }, { name: 'lead' })
  t.ok(await world.get(election.campaign()))
  t.equal(refusals, 4)
  const never = leaderElection({ view, sleep, nowMs, election: full(1_000_000) }, { name: 'other' })
  t.equal(await world.failure(never.campaign({ timeoutMs: 2_000 })), 'LOCK_CLIENT_FULL')
  t.equal(await world.failure(never.campaign({ timeoutMs: 0 })), 'LOCK_BAD_REQUEST')
})

void test('L10 who has resigned does nothing more: late work is fenced, here and wherever the next leader has shown its term', async (t) => {
  const world = new LockWorld()
  const [a, b] = ['a', 'b'].map((name) => candidate(world, name)) as [Candidate, Candidate]
  const file: string[] = []
  const guarded = guard(file, { name: 'file' })
  const first = await world.get(a.election.campaign())
  await first.run(guarded, (lines) => lines.push('by a'))
  let isTold = false
  let end: () => void = () => undefined
  const long = first.run(guarded, async (lines, signal) => {
    signal.addEventListener('abort', () => (isTold = true))
    await new Promise<void>((resolve) => (end = resolve))
    lines.push('by a, which was under way')
  })
  const waiting = first.run(guarded, (lines) => lines.push('by a, late'))
  await setImmediate()
  const next = leaderElection(b.client, { name: 'lead', data: 'b', raise: [guarded] }).campaign()
  await world.time.pass(10)
  const resigning = first.resign()
  t.equal(isTold, true, 'at once, before anybody else can lead')
  t.equal(first.signal.aborted, true)
  t.equal(await world.failure(first.run(guarded, (lines) => lines.push('by a, later'))), 'LOCK_LOST')
  await world.get(resigning)
  await world.time.pass(100)
  end()
  await long
  t.equal(await world.failure(waiting), 'LOCK_LOST')
  const second = await world.get(next)
  t.equal(
    await world.failure(guarded.run(first.term, (lines) => lines.push('by the bare term'))),
    'LOCK_FENCED',
  )
  await second.run(guarded, (lines) => lines.push('by b'))
  t.same(file, ['by a', 'by a, which was under way', 'by b'])
})

void test('a leadership is given up again when a guard has seen a later term', async (t) => {
  const world = new LockWorld()
  const { client } = candidate(world, 'a')
  const guarded = guard({})
  await guarded.raise(1_000)
  const election = leaderElection(client, { name: 'lead', raise: [guarded] })
  t.equal(await world.failure(election.campaign()), 'LOCK_FENCED')
  t.same(world.holders('lead'), [])
})

void test('a lost session aborts the signal before another leads, and the fenced work of a paused leader is refused', async (t) => {
  const world = new LockWorld()
  const [a, b] = ['a', 'b'].map((name) => candidate(world, name)) as [Candidate, Candidate]
  const guarded = guard<string[]>([])
  const first = await world.get(a.election.campaign())
  let lostMs = 0
  let ledMs = 0
  first.signal.addEventListener('abort', () => (lostMs = world.time.nowMs))
  const next = b.election.campaign({ timeoutMs: 60_000 }).then((leadership) => {
    ledMs = world.time.nowMs
    return leadership
  })
  await world.time.pass(100)
  a.port.isCutOff = true
  const second = await world.get(next)
  t.ok(lostMs > 0 && lostMs < ledMs, `lost at ${lostMs}, another led at ${ledMs}`)
  t.match(first.signal.reason, { code: 'LOCK_LOST' })
  // Now the process stands still: no signal comes, and the guard is what protects.
  b.port.stop(20_000)
  a.port.isCutOff = false
  const third = await world.get(a.election.campaign({ timeoutMs: 60_000 }))
  await third.run(guarded, (lines) => lines.push('by the third'))
  t.equal(await world.failure(guarded.run(second.term, (lines) => lines.push('late'))), 'LOCK_FENCED')
})

// ---- Observers -------------------------------------------------------------------------------------------------------

/** Leads and resigns. */
async function reign(world: LockWorld, { election }: Candidate): Promise<Leadership> {
  const leadership = await world.get(election.campaign({ timeoutMs: 60_000 }))
  await world.get(leadership.resign())
  return leadership
}

void test('L10 an observer is told every leader in order, however short its time, and when nobody leads', async (t) => {
  const world = new LockWorld()
  const names = ['a', 'b', 'c']
  const all = names.map((name) => candidate(world, name))
  const [a, b] = all as [Candidate, Candidate]
  const over = new AbortController()
  const early = watching(candidate(world, 'early').election, { signal: over.signal })
  await world.time.pass(50)
  t.same(early.told, ['vacant'])
  const first = await world.get(a.election.campaign())
  await world.time.pass(20)
  t.same(early.told, ['vacant', 'a'])
  const late = watching(candidate(world, 'late').election, { signal: over.signal })
  await world.time.pass(50)
  t.same(late.told, ['a'], 'who leads when it begins, and nobody before')
  const others = Promise.all(all.slice(1).map((one) => reign(world, one)))
  await world.time.pass(20)
  await world.get(first.resign())
  await world.get(others)
  await world.time.pass(6_000)
  t.same(early.told, ['vacant', 'a', 'b', 'c', 'vacant'])
  t.same(late.told, ['a', 'b', 'c', 'vacant'])
  await reign(world, b)
  await world.time.pass(6_000)
  t.same(late.told.slice(4), ['b', 'vacant'])
  const terms = late.events.flatMap((event) => (event.type === 'leader' ? [event.reign.token] : []))
  t.same(
    terms,
    [...terms].sort((one, other) => one - other),
  )
  over.abort()
  t.equal(await world.get(early.ended), 'ended')
  t.equal(await world.get(late.ended), 'ended')
})

void test('L10 an observer that was cut off is told whom it has missed; more than are kept, as a gap', async (t) => {
  for (const [count, isGap] of [
    [lockLimits.reignsMax - 1, false],
    [lockLimits.reignsMax, true],
    [lockLimits.reignsMax + 5, true],
  ] as const) {
    const world = new LockWorld()
    const a = candidate(world, 'a')
    const observer = candidate(world, 'observer')
    const before = await reign(world, a)
    const { told, events } = watching(observer.election)
    await world.time.pass(100)
    t.same(told, ['vacant'])
    observer.port.isCutOff = true
    await world.time.pass(20_000)
    const terms: number[] = []
    for (let i = 0; i < count; i++) terms.push((await reign(world, a)).term)
    observer.port.isCutOff = false
    await world.time.pass(20_000)
    const seen = events.flatMap((event) => (event.type === 'leader' ? [event.reign.token] : []))
    t.same(seen, terms.slice(-lockLimits.reignsMax))
    const gaps = events.filter(({ type }) => type === 'gap')
    t.same(
      gaps,
      isGap ? [{ type: 'gap', afterTerm: before.term, beforeTerm: seen[0] }] : [],
      `${count} reigns`,
    )
    t.equal(told.at(-1), 'vacant')
  }
})

void test('L10 an observer that never saw a leader is told of a gap when the list may have lost one', async (t) => {
  const world = new LockWorld()
  const a = candidate(world, 'a')
  const observer = candidate(world, 'observer')
  const { told } = watching(observer.election)
  await world.time.pass(100)
  observer.port.isCutOff = true
  await world.time.pass(20_000)
  for (let i = 0; i <= lockLimits.reignsMax; i++) await reign(world, a)
  observer.port.isCutOff = false
  await world.time.pass(20_000)
  t.same(told, ['vacant', 'gap', ...Array.from({ length: lockLimits.reignsMax }, () => 'a'), 'vacant'])
})

void test('an observer goes on behind the term that it is given, from as far back as is known', async (t) => {
  const world = new LockWorld()
  const [a, b] = ['a', 'b'].map((name) => candidate(world, name)) as [Candidate, Candidate]
  const first = await reign(world, a)
  await reign(world, b)
  const from = async (afterTerm: number): Promise<readonly string[]> => {
    const over = new AbortController()
    const { told } = watching(a.election, { afterTerm, signal: over.signal })
    await world.time.pass(50)
    over.abort()
    return told
  }
  t.same(await from(0), ['a', 'b', 'vacant'])
  t.same(await from(first.term), ['b', 'vacant'])
  t.same(await from(first.term - 0.5), ['gap', 'a', 'b', 'vacant'], 'a term that nobody knows any more')
})

void test('an observer ends with its client, and refuses a name that is no election', async (t) => {
  const world = new LockWorld()
  const { client, election } = candidate(world, 'a')
  const { ended } = watching(election)
  await world.time.pass(50)
  await world.get(client.close())
  t.equal(await world.get(ended), 'LOCK_CLIENT_CLOSED')
  const other = candidate(world, 'b').client
  await world.get(other.mutex('m').acquire())
  const wrong = leaderElection(other, { name: 'm' })
  t.equal(await world.get(watching(wrong).ended), 'LOCK_WRONG_KIND')
  t.equal(await world.failure(wrong.current()), 'LOCK_WRONG_KIND')
})

void test('L10 over links that lose and delay: every leader is told once, in order, or there is a gap', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(9), { minLength: 4, maxLength: 24 }), async (picks) => {
      const world = new LockWorld()
      const all = ['a', 'b', 'c'].map((name) => candidate(world, name))
      const observer = candidate(world, 'observer')
      const { events } = watching(observer.election, { afterTerm: 0 })
      let at = 0
      observer.port.fate = () => {
        const pick = picks[at++ % picks.length] ?? 0
        return pick < 2 ? 'lost' : pick < 5 ? pick * 200 : 'fine'
      }
      const terms: number[] = []
      for (const pick of picks) {
        terms.push((await reign(world, all[pick % 3] as Candidate)).term)
        await world.time.pass(pick * 300)
      }
      observer.port.fate = () => 'fine'
      await world.time.pass(60_000)
      const seen = events.flatMap((event) => (event.type === 'leader' ? [event.reign.token] : []))
      const missed = terms.filter((term) => !seen.includes(term))
      const isExplained = (term: number): boolean =>
        events.some((event) => event.type === 'gap' && event.afterTerm < term && term < event.beforeTerm)
      if (seen.some((term, index) => index > 0 && term <= (seen[index - 1] ?? 0)))
        throw new Error(`order ${seen}`)
      if (!missed.every(isExplained)) throw new Error(`${missed} were missed without a word`)
      if (terms.length < lockLimits.reignsMax && missed.length > 0)
        throw new Error(`${missed} could be known`)
    }),
    { numRuns: 25 },
  )
  t.pass('25 schedules')
})
