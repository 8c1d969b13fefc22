/**
 * The Raft core by hand: what transcripts do not show. Windows and batches, leases by the clock, what a step's effects promise
 * about the disk, stalls, quiescence, and how the core asserts its invariants.
 */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { RaftCore } = await sourceModule<typeof import('../../../packages/protocols/src/raft/raft-core.ts')>(
  'protocols',
  'raft/raft-core',
)
const { simpleConfiguration } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-configuration.ts')
>('protocols', 'raft/raft-configuration')
const { ElectionTimeout } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/election.ts')
>('protocols', 'raft/election')

type Core = InstanceType<typeof RaftCore>
type Options = import('../../../packages/protocols/src/raft/raft-options.ts').RaftOptions
type Input = import('../../../packages/protocols/src/raft/raft-step.ts').RaftInput
type Effect = import('../../../packages/protocols/src/raft/raft-step.ts').RaftEffect
type Start = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStart
type Message = import('../../../packages/protocols/src/raft/raft-message.ts').RaftMessage
type Entry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry
type Configuration = import('../../../packages/protocols/src/raft/raft-message.ts').RaftConfiguration
type Sent<Type, Each = Message> = Each extends { readonly type: infer Types }
  ? Type extends Types
    ? Each
    : never
  : never

const heartbeatMs = 100
const electionTimeoutMs = 1000
const three = simpleConfiguration(['a', 'b', 'c'])

/** One core, member `a`, whose peers are played by hand. Writes are durable when `written` is called, or at once. */
class Bed {
  readonly core: Core
  nowMs = 0
  writesAtOnce = true
  /** Of the last step. */
  effects: readonly Effect[] = []
  #written: { index: number; term: number }[] = []
  #end: { index: number; term: number }
  #id = 0

  constructor(
    options: Options = {},
    start: Partial<Start> & { readonly configuration?: Configuration } = {},
  ) {
    const snapshot = start.snapshot ?? { index: 0, term: 0, configuration: start.configuration ?? three }
    const entries = start.entries ?? []
    const last = entries.at(-1) ?? snapshot
    this.#end = { index: last.index, term: last.term }
    this.core = new RaftCore({
      self: 'a',
      start: {
        hard: start.hard ?? { term: 0, vote: undefined },
        snapshot,
        entries,
        lostUpTo: start.lostUpTo,
      },
      options: { heartbeatMs, electionTimeoutMs, ...options },
      random: { int: (low) => low },
    })
    this.step({ type: 'tick' })
  }

  step(input: Input): readonly Effect[] {
    const effects = [...this.#take(input)]
    while (this.writesAtOnce && this.#written.length > 0) effects.push(...this.written())
    this.effects = effects
    return effects
  }

  /** The oldest write is durable. */
  written(): readonly Effect[] {
    const upTo = this.#written.shift()
    if (upTo === undefined) throw new Error('nothing is being written')
    return this.#take({ type: 'persisted', upTo })
  }

  #take(input: Input): readonly Effect[] {
    const effects = this.core.step(input, this.nowMs)
    for (const effect of effects) {
      if (effect.type === 'install') this.#end = effect.meta
      if (effect.type !== 'persist') continue
      const last = effect.entries.at(-1) ?? this.#end
      this.#end = { index: last.index, term: last.term }
      this.#written.push(this.#end)
    }
    return effects
  }

  receive(from: string, message: Message): readonly Effect[] {
    return this.step({ type: 'message', from, message })
  }

  tickAt(nowMs: number): readonly Effect[] {
    this.nowMs = nowMs
    return this.step({ type: 'tick' })
  }

  propose(...sizes: readonly number[]): readonly Effect[] {
    this.#id++
    return this.step({ type: 'propose', id: this.#id, commands: sizes.map((size) => new Uint8Array(size)) })
  }

  sent<Type extends Message['type']>(type: Type, to?: string): readonly Sent<Type>[] {
    return this.effects.flatMap((effect) =>
      (effect.type === 'send' || effect.type === 'send-durable') &&
      effect.message.type === type &&
      (to === undefined || effect.to === to)
        ? [effect.message as Sent<Type>]
        : [],
    )
  }

  /** Leads in the next term, with all followers acknowledging what it has. */
  lead(followers: readonly string[] = ['b', 'c']): this {
    this.tickAt(this.core.nextDeadlineMs() ?? 0)
    const term = this.core.term + 1
    this.receive('b', { type: 'pre-vote-reply', term, granted: true })
    this.receive('b', { type: 'vote-reply', term, granted: true })
    if (this.core.role !== 'leader') throw new Error(`not elected: ${JSON.stringify(this.core.status())}`)
    for (const follower of followers) this.accept(follower)
    return this
  }

  /** Has everything, or up to `index`. */
  accept(from: string, index = this.core.last.index): readonly Effect[] {
    return this.receive(from, { type: 'append-reply', term: this.core.term, index, rejected: undefined })
  }

  answerHeartbeat(from: string, round: number): readonly Effect[] {
    return this.receive(from, { type: 'heartbeat-reply', term: this.core.term, round })
  }

  /** Ticks until a heartbeat leaves, and the followers answer it. A quiet group is left alone. */
  beat(followers: readonly string[] = ['b', 'c']): void {
    let round: number | undefined
    while (round === undefined && this.core.nextDeadlineMs() !== undefined) {
      this.tickAt(this.core.nextDeadlineMs() ?? 0)
      round = this.sent('heartbeat')[0]?.round
    }
    if (round !== undefined) for (const follower of followers) this.answerHeartbeat(follower, round)
  }

  /** Follows `b`, which leads in `term`. */
  follow(
    term: number,
    options: { readonly entries?: readonly Entry[]; readonly commit?: number } = {},
  ): this {
    const { entries = [], commit = 0 } = options
    const previous = { index: 0, term: 0 }
    this.receive('b', { type: 'append', term, previous, commit, entries })
    return this
  }

  types(): readonly string[] {
    return this.effects.map((effect) =>
      effect.type === 'send' || effect.type === 'send-durable'
        ? `${effect.type} ${effect.message.type}`
        : effect.type,
    )
  }
}

const command = (index: number, term: number): Entry => ({
  index,
  term,
  type: 'command',
  data: new Uint8Array(1),
})

void test('the election timeout is drawn from [E, 2E), and from less where nobody leads', async (t) => {
  const draws: (readonly [number, number])[] = []
  const timeout = new ElectionTimeout(1000, {
    int: (low, high) => {
      draws.push([low, high])
      return high
    },
  })
  timeout.restart(50)
  t.equal(timeout.deadlineMs, 50 + 1999)
  timeout.heard(100)
  t.equal(timeout.deadlineMs, 100 + 1999, 'what was drawn is kept')
  timeout.hasten(200)
  t.equal(timeout.deadlineMs, 200 + 499)
  timeout.hasten(600)
  t.equal(timeout.deadlineMs, 699, 'never later than it was')
  timeout.retry(700)
  t.equal(timeout.deadlineMs, 700 + 999)
  timeout.postpone(5000)
  t.equal(timeout.deadlineMs, 5000)
  t.same(draws, [
    [1000, 1999],
    [0, 499],
    [0, 499],
    [500, 999],
  ])
  t.ok(timeout.isSticky(1099))
  t.notOk(timeout.isSticky(1100), 'E after it was heard')
})

void test('one append a follower leaves in a step, with all commands, the same for both, beside the write', async (t) => {
  const bed = new Bed().lead()
  bed.writesAtOnce = false
  bed.propose(10, 20, 30)
  t.same(bed.types(), ['appended', 'send append', 'send append', 'persist'])
  const [one, other] = bed.sent('append')
  t.equal(one, other, 'made once')
  const persist = bed.effects.find((effect) => effect.type === 'persist')
  t.equal(persist?.entries, one?.entries, 'and the very entries that are written')
  t.same(
    one?.entries.map(({ index, term }) => [index, term]),
    [
      [2, 1],
      [3, 1],
      [4, 1],
    ],
  )
})

void test('appends are cut by bytes and stop when the window of messages or of bytes is full (R22)', async (t) => {
  const bed = new Bed({ appendBytesMax: 1024, inflightMessagesMax: 3, inflightBytesMax: 1_000_000 }).lead()
  bed.propose(...Array.from({ length: 10 }, () => 500))
  t.same(
    bed.sent('append', 'b').map(({ entries }) => entries.length),
    [1, 1, 1],
    'two are above 1,024 with what they cost',
  )
  t.match(bed.core.status().progress[0], { member: 'b', next: 5, inflight: 3, inflightBytes: 3 * 524 })
  bed.propose(1)
  t.same(bed.sent('append', 'b'), [], 'full')
  bed.accept('b', 3)
  t.same(
    bed.sent('append', 'b').map(({ previous }) => previous.index),
    [4, 5],
    'two were freed',
  )

  const narrow = new Bed({ appendBytesMax: 1024, inflightBytesMax: 1100 }).lead()
  narrow.propose(500, 500, 500, 500)
  t.equal(narrow.sent('append', 'b').length, 3, 'the bytes are full after the third')
})

void test('a follower that lives and answers no append gets an empty one, by time and not by rounds', async (t) => {
  const bed = new Bed().lead()
  bed.propose(1)
  const [first] = bed.sent('append', 'b')
  t.equal(first?.entries.length, 1)
  bed.step({ type: 'read', id: 900 })
  bed.answerHeartbeat('b', bed.sent('heartbeat')[0]?.round ?? 0)
  t.same(bed.sent('append', 'b'), [], 'it was sent only now')
  bed.beat()
  t.equal(bed.sent('append', 'c').length, 1)
  t.same(bed.sent('append', 'c')[0]?.previous, { index: 2, term: 1 })
  t.same(bed.sent('append', 'c')[0]?.entries, [])
})

void test('the leader counts its own disk only when it was told (R15, R16)', async (t) => {
  const bed = new Bed().lead()
  bed.writesAtOnce = false
  bed.propose(1)
  t.equal(bed.core.commit, 1)
  bed.written()
  t.equal(bed.core.commit, 1, 'one of three')
  bed.propose(1)
  bed.accept('b')
  t.equal(bed.core.commit, 2, 'the second is on one disk only')
  t.same(
    bed.written().map(({ type }) => type),
    ['apply'],
  )
  t.equal(bed.core.commit, 3)
})

void test('the only voter leads when its vote is durable and commits when its entry is (R15)', async (t) => {
  const bed = new Bed({}, { configuration: simpleConfiguration(['a']), hard: { term: 3, vote: undefined } })
  t.equal(bed.core.role, 'leader', 'at once: there is nobody to wait for')
  t.equal(bed.core.commit, 1)

  const slow = new Bed({}, { configuration: simpleConfiguration(['b']), hard: { term: 3, vote: undefined } })
  t.equal(slow.core.nextDeadlineMs(), undefined, 'who is no voter never campaigns')

  const careful = new RaftCore({
    self: 'a',
    start: {
      hard: { term: 3, vote: undefined },
      snapshot: { index: 0, term: 0, configuration: simpleConfiguration(['a'], ['b']) },
      entries: [],
    },
    options: { heartbeatMs, electionTimeoutMs },
    random: { int: (low) => low },
  })
  const effects = careful.step({ type: 'tick' }, 0)
  t.same(
    effects.map(({ type }) => type),
    ['persist', 'role'],
  )
  t.equal(careful.role, 'candidate')
  t.same(careful.step({ type: 'tick' }, careful.nextDeadlineMs() ?? 0), [], 'however long the disk takes')
  t.equal(careful.term, 4)
  careful.step({ type: 'persisted', upTo: { index: 0, term: 0 } }, 1)
  t.equal(careful.role, 'leader')
  t.equal(careful.commit, 0)
  careful.step({ type: 'persisted', upTo: { index: 1, term: 4 } }, 2)
  t.equal(careful.commit, 1)
})

void test('votes, vote requests and acknowledgements leave behind what they rest on (R1)', async (t) => {
  const bed = new Bed()
  bed.receive('b', { type: 'vote', term: 5, last: { index: 0, term: 0 }, transfer: false })
  t.same(bed.types(), ['persist', 'send-durable vote-reply', 'role'])
  t.match(bed.effects[0], { hard: { term: 5, vote: 'b' } })
  bed.follow(5, { entries: [command(1, 5)] })
  t.same(bed.types(), ['persist', 'send-durable append-reply', 'role'])
  t.match(bed.effects[0], { hard: undefined })
  bed.tickAt(bed.core.nextDeadlineMs() ?? 0)
  t.same(bed.types(), ['send pre-vote', 'send pre-vote', 'role'], 'a pre-vote promises nothing')
  bed.receive('c', { type: 'pre-vote-reply', term: 6, granted: true })
  t.same(bed.types(), ['persist', 'send-durable vote', 'send-durable vote', 'role'])
})

void test('what is too much is refused whole, and room comes with the commit', async (t) => {
  const bed = new Bed({ appendBytesMax: 1024, uncommittedBytesMax: 2048 }).lead()
  bed.propose(5000)
  t.match(bed.effects[0], { type: 'appended' }, 'one command of any size, when there is none')
  bed.propose(1)
  t.match(bed.effects, [{ type: 'refused', reason: 'overloaded', leader: 'a' }])
  bed.accept('b')
  bed.propose(900, 900)
  t.match(bed.effects[0], { type: 'appended', first: 3 })
  bed.propose(100, 200)
  t.match(bed.effects, [{ type: 'refused', reason: 'overloaded' }], 'all or none')
  t.equal(bed.core.last.index, 4)
})

void test('a proposal with a term is taken in that term only (R12)', async (t) => {
  const bed = new Bed().lead()
  bed.step({ type: 'propose', id: 7, commands: [new Uint8Array(1)], term: 2 })
  t.match(bed.effects, [{ type: 'refused', id: 7, reason: 'wrong-term' }])
  bed.step({ type: 'propose', id: 8, commands: [new Uint8Array(1)], term: 1 })
  t.match(bed.effects[0], { type: 'appended', id: 8, first: 2, term: 1 })
})

void test('followers hear what is committed within commitNoticeMs, once', async (t) => {
  const bed = new Bed({ commitNoticeMs: 5 }).lead()
  bed.beat()
  bed.propose(1)
  bed.accept('b')
  t.equal(bed.core.commit, 2)
  t.same(bed.sent('append'), [], 'not at once: the next append may say it')
  t.equal(bed.core.nextDeadlineMs(), bed.nowMs + 5)
  bed.tickAt(bed.nowMs + 5)
  t.same(
    bed.sent('append').map(({ commit, entries }) => [commit, entries.length]),
    [
      [2, 0],
      [2, 0],
    ],
  )
  t.ok((bed.core.nextDeadlineMs() ?? 0) > bed.nowMs + 5)
})

void test('a candidate that was refused asks again within E, and not within 2E: with the third dead nobody wins', async (t) => {
  const bed = new Bed()
  bed.tickAt(bed.core.nextDeadlineMs() ?? 0)
  bed.receive('b', { type: 'pre-vote-reply', term: 1, granted: true })
  t.equal(bed.core.role, 'candidate')
  t.equal(bed.core.nextDeadlineMs(), bed.nowMs + electionTimeoutMs)
  bed.nowMs += 10
  bed.receive('b', { type: 'vote-reply', term: 1, granted: false })
  t.equal(bed.core.role, 'candidate', 'the third may still be heard of')
  t.equal(bed.core.nextDeadlineMs(), bed.nowMs + electionTimeoutMs / 2)
  // What is due sooner stays.
  bed.nowMs += electionTimeoutMs / 2 - 1
  bed.receive('b', { type: 'vote-reply', term: 1, granted: false })
  t.equal(bed.core.nextDeadlineMs(), bed.nowMs + 1)
  bed.tickAt(bed.nowMs + 1)
  t.equal(bed.core.role, 'pre-candidate')
  t.equal(bed.core.term, 1, 'it asks before it disturbs')
})

void test('while entries stream in, the next append is the notice of what is committed', async (t) => {
  const bed = new Bed({ commitNoticeMs: 2, heartbeatMs: 1_000, electionTimeoutMs: 5_000 }).lead()
  bed.beat()
  bed.tickAt(bed.nowMs + 2)
  bed.nowMs += 400
  let notices = 0
  // One command every 6 ms, each committed 1 ms after it was appended.
  for (let i = 0; i < 20; i++) {
    bed.propose(1)
    bed.nowMs += 1
    bed.accept('b')
    const nextMs = bed.nowMs + 5
    const dueMs = bed.core.nextDeadlineMs() ?? Infinity
    if (dueMs <= nextMs) {
      bed.tickAt(dueMs)
      notices += bed.sent('append').length
    }
    bed.nowMs = nextMs
  }
  t.equal(notices, 2, 'for the first one, when nobody could know of a second')
  bed.nowMs -= 5
  const { commit } = bed.core
  const dueMs = bed.core.nextDeadlineMs() ?? 0
  t.equal(
    dueMs,
    bed.nowMs + 12,
    'it ends: the others hear of the last ones within twice the time between two',
  )
  bed.tickAt(dueMs)
  t.same(
    bed.sent('append').map((append) => [append.commit, append.entries.length]),
    [
      [commit, 0],
      [commit, 0],
    ],
  )
  // After a pause it is no stream.
  bed.nowMs += 400
  bed.propose(1)
  bed.accept('b')
  t.equal(bed.core.nextDeadlineMs(), bed.nowMs + 2)
  // The append that says it to all makes the notice superfluous.
  bed.nowMs += 1
  bed.propose(1)
  t.ok((bed.core.nextDeadlineMs() ?? 0) > bed.nowMs + 2)
})

void test('a lease lasts from the send of the acknowledged round, less drift (R11)', async (t) => {
  const bed = new Bed({ leaseReads: true, clockDriftMax: 0.1 }).lead()
  const lease = (): Effect | undefined => bed.step({ type: 'read', id: 1, lease: true })[0]
  t.match(lease(), { type: 'refused', reason: 'no-lease' }, 'no round was answered yet')
  bed.beat([])
  const sentMs = bed.nowMs
  const round = bed.sent('heartbeat')[0]?.round ?? 0
  bed.nowMs = sentMs + 400
  t.match(lease(), { reason: 'no-lease' })
  bed.answerHeartbeat('c', round)
  t.match(lease(), { type: 'read-ready', index: 1 })
  bed.nowMs = sentMs + (1000 * 0.9) / 1.1 - 0.001
  t.match(lease(), { type: 'read-ready' })
  bed.nowMs = sentMs + (1000 * 0.9) / 1.1
  t.match(lease(), { type: 'refused', reason: 'no-lease' })
})

void test('no lease is left once a transferee was told to campaign, also when it does not (R11)', async (t) => {
  const bed = new Bed({ leaseReads: true }).lead()
  bed.beat()
  t.match(bed.step({ type: 'read', id: 1, lease: true }), [{ type: 'read-ready' }])
  bed.propose(1)
  bed.step({ type: 'transfer', id: 2, to: 'b' })
  t.same(bed.sent('timeout-now'), [], 'it does not have everything')
  t.match(bed.step({ type: 'read', id: 3, lease: true }), [{ type: 'read-ready' }])
  t.match(bed.propose(1), [{ type: 'refused', reason: 'transferring' }])
  bed.accept('b')
  t.equal(bed.sent('timeout-now', 'b').length, 1)
  t.match(bed.step({ type: 'read', id: 4, lease: true }), [{ type: 'refused', reason: 'no-lease' }])
  const endsMs = bed.nowMs + electionTimeoutMs
  while (bed.nowMs < endsMs) bed.beat()
  t.equal(bed.core.status().transferee, undefined, 'given up')
  t.match(bed.step({ type: 'read', id: 5, lease: true }), [{ reason: 'no-lease' }], 'it may still campaign')
  t.match(bed.propose(1)[0], { type: 'appended' })
})

void test('with leases a member that has just started votes for nobody during E, and a lost link changes nothing', async (t) => {
  const asked: Message = { type: 'vote', term: 1, last: { index: 0, term: 0 }, transfer: false }
  const bed = new Bed({ leaseReads: true })
  bed.nowMs = electionTimeoutMs - 1
  t.same(bed.receive('b', asked), [])
  bed.nowMs = electionTimeoutMs
  t.match(bed.receive('b', asked), [{ type: 'persist' }, { message: { granted: true } }, { type: 'role' }])
  t.match(new Bed().receive('b', asked), [
    { type: 'persist' },
    { message: { granted: true } },
    { type: 'role' },
  ])

  bed.follow(1)
  const deadlineMs = bed.core.nextDeadlineMs()
  bed.step({ type: 'unreachable', member: 'b' })
  t.equal(bed.core.nextDeadlineMs(), deadlineMs)
  t.equal(bed.core.leader, 'b')
})

void test('a lost link to the leader hastens the election and ends stickiness; another link does not', async (t) => {
  const bed = new Bed().follow(1)
  const asked: Message = { type: 'pre-vote', term: 2, last: { index: 0, term: 0 }, transfer: false }
  bed.receive('c', asked)
  t.same(bed.sent('pre-vote-reply'), [{ type: 'pre-vote-reply', term: 1, granted: false }])
  bed.step({ type: 'unreachable', member: 'c' })
  t.equal(bed.core.leader, 'b')
  bed.step({ type: 'unreachable', member: 'b' })
  t.equal(bed.core.leader, undefined)
  t.ok((bed.core.nextDeadlineMs() ?? Infinity) < bed.nowMs + electionTimeoutMs / 2)
  bed.receive('c', asked)
  t.same(bed.sent('pre-vote-reply'), [{ type: 'pre-vote-reply', term: 2, granted: true }])
  bed.follow(1)
  t.ok((bed.core.nextDeadlineMs() ?? 0) >= bed.nowMs + electionTimeoutMs, 'heard again: all is as before')
})

void test('granting a pre-vote changes nothing, not even how long a leader is waited for (R8)', async (t) => {
  const bed = new Bed()
  const deadlineMs = bed.core.nextDeadlineMs()
  bed.nowMs = 500
  bed.receive('b', { type: 'pre-vote', term: 9, last: { index: 0, term: 0 }, transfer: false })
  t.same(bed.types(), ['send pre-vote-reply'])
  t.equal(bed.core.nextDeadlineMs(), deadlineMs)
  t.equal(bed.core.term, 0)
})

void test('a leader of an older term is answered, so that who is stuck in a newer one gets free (R8)', async (t) => {
  const bed = new Bed({}, { hard: { term: 7, vote: undefined } })
  bed.follow(3)
  t.match(bed.effects, [
    { type: 'send-durable', to: 'b', message: { type: 'append-reply', term: 7, index: 0 } },
  ])
  bed.receive('b', { type: 'heartbeat', term: 3, commit: 0, round: 9 })
  t.match(bed.effects, [{ type: 'send', to: 'b', message: { type: 'heartbeat-reply', term: 7, round: 0 } }])
  const leader = new Bed().lead()
  leader.receive('b', { type: 'append-reply', term: 7, index: 0, rejected: undefined })
  t.match(leader.core.status(), { role: 'follower', term: 7, leader: undefined })
})

void test('a leader that hears no majority for E steps down, and its reads and changes are refused', async (t) => {
  const bed = new Bed().lead()
  bed.step({ type: 'change', id: 1, target: { voters: ['a', 'b'], learners: [] } })
  bed.step({ type: 'read', id: 2 })
  while (bed.core.role === 'leader' && bed.nowMs < 10_000) bed.tickAt(bed.core.nextDeadlineMs() ?? 0)
  t.match(bed.effects.slice(0, 2), [
    { type: 'refused', id: 2, reason: 'not-leader' },
    { type: 'refused', id: 1, reason: 'not-leader' },
  ])
  t.equal(bed.core.leader, undefined)
})

void test('who stood still judges nobody before what came meanwhile is read, but only once in a row', async (t) => {
  const leader = new Bed().lead()
  leader.tickAt(leader.nowMs + 5000)
  t.equal(leader.core.role, 'leader')
  leader.tickAt(leader.nowMs + 5000)
  t.equal(leader.core.role, 'follower', 'a second time in a row')

  const follower = new Bed().follow(1)
  const stoodStill = (follower.core.nextDeadlineMs() ?? 0) + 5000
  follower.tickAt(stoodStill)
  t.equal(follower.core.role, 'follower')
  t.equal(follower.core.nextDeadlineMs(), stoodStill + heartbeatMs)
  follower.tickAt(stoodStill + heartbeatMs)
  t.equal(follower.core.role, 'pre-candidate')
})

void test('64 reads share two rounds of heartbeats, and a round that came before them is none of these', async (t) => {
  const bed = new Bed().lead()
  bed.beat()
  let sent = 0
  for (let id = 1; id <= 64; id++) {
    bed.step({ type: 'read', id })
    sent += bed.sent('heartbeat', 'b').length
  }
  t.equal(sent, 1)
  const ready = (): readonly number[] =>
    bed.effects.flatMap((effect) => (effect.type === 'read-ready' ? [effect.id] : []))
  bed.answerHeartbeat('b', 2)
  t.same(bed.effects, [], 'an answer to the round before')
  bed.answerHeartbeat('b', 77)
  t.same(bed.effects, [], 'no such round')
  bed.answerHeartbeat('b', 3)
  t.same(ready(), [1])
  const [next] = bed.sent('heartbeat', 'c')
  t.equal(next?.round, 4)
  bed.answerHeartbeat('c', 4)
  t.equal(ready().length, 63)
})

void test('a follower asks its leader, once for many, and never takes an answer to an earlier question (R10)', async (t) => {
  const bed = new Bed().follow(1)
  bed.step({ type: 'read', id: 1 })
  const [asked] = bed.sent('read', 'b')
  bed.step({ type: 'read', id: 2 })
  t.same(bed.sent('read'), [])
  const reply = (id: number, index: number | undefined): void => {
    bed.receive('b', { type: 'read-reply', term: 1, id, index })
  }
  reply((asked?.id ?? 0) - 1, 5)
  t.same(bed.effects, [])
  reply(asked?.id ?? 0, 5)
  t.match(bed.effects, [
    { type: 'read-ready', id: 1, index: 5 },
    { type: 'send', message: { type: 'read' } },
  ])
  const [again] = bed.sent('read', 'b')
  reply(again?.id ?? 0, undefined)
  t.match(bed.effects, [{ type: 'refused', id: 2, reason: 'not-ready', leader: 'b' }])
  bed.step({ type: 'read', id: 3 })
  bed.receive('c', { type: 'heartbeat', term: 2, commit: 0, round: 1 })
  t.match(bed.effects[0], { type: 'refused', id: 3, reason: 'not-leader' }, 'the leader is another')
})

void test('the log is kept for who gets a snapshot, and cut when that is over (R13)', async (t) => {
  const entries = Array.from({ length: 20 }, (_, at) => command(at + 1, 1))
  const bed = new Bed({}, { entries, hard: { term: 1, vote: undefined } }).lead()
  const compact = (index: number): void => {
    bed.step({
      type: 'compact',
      meta: { index, term: 1, configuration: three },
      keepFrom: index + 1,
    })
  }
  compact(10)
  t.equal(bed.core.status().first, 11)
  bed.receive('c', {
    type: 'append-reply',
    term: 2,
    index: 21,
    rejected: { hint: { index: 2, term: 1 }, lost: true },
  })
  t.match(bed.effects, [{ type: 'send-snapshot', to: 'c' }])
  compact(20)
  t.equal(bed.core.status().first, 11, 'kept behind the snapshot that is sent')
  bed.step({ type: 'snapshot-status', to: 'c', index: 10, ok: true })
  t.equal(bed.core.status().first, 21)
})

void test('a snapshot that was given up is sent again when its receiver is heard of', async (t) => {
  const meta = { index: 10, term: 1, configuration: three }
  const bed = new Bed({}, { snapshot: meta, hard: { term: 1, vote: undefined } }).lead(['b'])
  const refuse = (from: string): void => {
    bed.receive(from, {
      type: 'append-reply',
      term: 2,
      index: 10,
      rejected: { hint: { index: 0, term: 0 }, lost: false },
    })
  }
  refuse('c')
  t.match(bed.effects, [{ type: 'send-snapshot', to: 'c' }])
  bed.step({ type: 'snapshot-status', to: 'c', index: 10, ok: false })
  t.same(bed.effects, [], 'not again at once')
  bed.beat()
  t.match(bed.effects.at(-1), { type: 'send-snapshot', to: 'c' }, 'but when it is heard of')
})

void test('a received snapshot is in force before anything is applied on it', async (t) => {
  const bed = new Bed().follow(1)
  const meta = { index: 10, term: 1, configuration: three }
  bed.step({ type: 'snapshot', from: 'b', term: 1, meta })
  t.match(bed.effects, [
    { type: 'install', meta },
    { type: 'send-durable', message: { index: 10 } },
  ])
  bed.receive('b', {
    type: 'append',
    term: 1,
    previous: { index: 10, term: 1 },
    commit: 11,
    entries: [command(11, 1)],
  })
  t.same(bed.types(), ['persist', 'send-durable append-reply'])
  t.equal(bed.core.applied, 10)
  bed.step({ type: 'installed', meta })
  t.match(bed.effects, [{ type: 'apply', entries: [{ index: 11 }] }])
  bed.step({ type: 'snapshot', from: 'b', term: 1, meta })
  t.match(bed.effects, [{ type: 'send-durable', message: { index: 11 } }], 'an old one is only answered')
})

void test('a member whose disk lost entries votes by what it had, does not campaign, and says so (R20)', async (t) => {
  const entries = [command(1, 1), command(2, 1)]
  const bed = new Bed({}, { entries, hard: { term: 2, vote: undefined }, lostUpTo: { index: 5, term: 2 } })
  t.match(bed.core.status(), { isRecovering: true })
  t.equal(bed.core.nextDeadlineMs(), undefined)
  const ask = (index: number, term: number): boolean | undefined => {
    bed.receive('c', { type: 'pre-vote', term: 3, last: { index, term }, transfer: false })
    return bed.sent('pre-vote-reply')[0]?.granted
  }
  t.equal(ask(4, 2), false, 'longer than what is left, shorter than what there was')
  t.equal(ask(5, 2), true)
  const heartbeat: Message = { type: 'heartbeat', term: 2, commit: 5, round: 1 }
  bed.receive('b', heartbeat)
  t.equal(bed.core.commit, 2, 'as far as it has it')
  bed.receive('b', { ...heartbeat, round: 2 })
  t.match(bed.sent('append-reply'), [{ rejected: { hint: { index: 2, term: 1 }, lost: true } }])
  bed.receive('b', {
    type: 'append',
    term: 2,
    previous: { index: 2, term: 1 },
    commit: 5,
    entries: [command(3, 2), command(4, 2), command(5, 2)],
  })
  t.match(bed.core.status(), { isRecovering: false, commit: 5 })
  t.ok(bed.core.nextDeadlineMs())
})

void test('a leader that cannot believe a lost end asks further back, and at the start of its log sends a snapshot (R20)', async (t) => {
  const entries = [1, 1, 3, 3, 3].map((term, at) => command(at + 11, term))
  const snapshot = { index: 10, term: 1, configuration: three }
  const bed = new Bed({}, { snapshot, entries, hard: { term: 4, vote: undefined } }).lead()
  const refuse = (index: number, hint: { index: number; term: number }): readonly Effect[] =>
    bed.receive('c', { type: 'append-reply', term: 5, index, rejected: { hint, lost: true } })
  t.equal(bed.core.status().progress[1]?.match, 16)
  refuse(16, { index: 14, term: 2 })
  t.same(
    bed.sent('append', 'c').map(({ previous }) => previous),
    [{ index: 12, term: 1 }],
    'what it has at 14 is not ours',
  )
  t.equal(bed.core.status().progress[1]?.match, 12)
  t.match(refuse(12, { index: 12, term: 0 }), [{ type: 'send-snapshot', to: 'c' }])
  t.same(refuse(12, { index: 12, term: 0 }), [], 'and waits for it')
  t.equal(bed.core.commit, 16, 'what is committed stays so')
})

void test('a joint configuration is left by whoever leads, when it is committed (R5)', async (t) => {
  const joint = { voters: ['a', 'b', 'd'], outgoing: ['a', 'b', 'c'], learners: [], learnersNext: ['c'] }
  const entries: readonly Entry[] = [{ index: 1, term: 1, type: 'configuration', configuration: joint }]
  const bed = new Bed({}, { entries, hard: { term: 1, vote: undefined } }).lead([])
  t.same(bed.core.status().configuration, joint)
  t.same(bed.step({ type: 'change', id: 1, target: { voters: ['a'], learners: [] } }), [
    { type: 'refused', id: 1, reason: 'not-ready', leader: 'a' },
  ])
  bed.accept('b')
  t.same(bed.core.status().configuration, simpleConfiguration(['a', 'b', 'd'], ['c']))
  t.same(bed.sent('append', 'd').length, 0, 'd has not answered its probe')
  bed.accept('b')
  t.equal(bed.core.commit, 3)
  bed.step({ type: 'change', id: 2, target: { voters: ['a', 'b', 'd'], learners: ['c'] } })
  t.match(bed.effects, [{ type: 'changed', id: 2 }], 'what is there already')
})

void test('a leader that removes itself commits without itself, tells the others and steps down', async (t) => {
  const bed = new Bed({}, { configuration: simpleConfiguration(['a', 'b', 'c']) }).lead()
  bed.step({ type: 'change', id: 5, target: { voters: ['b', 'c'], learners: [] } })
  bed.accept('b')
  t.equal(bed.core.commit, 1, 'two of the old three, one of the new two')
  bed.accept('c')
  t.same(bed.core.status().configuration, simpleConfiguration(['b', 'c']))
  t.match(bed.step({ type: 'change', id: 6, target: { voters: ['b'], learners: [] } }), [
    { reason: 'changing' },
  ])
  bed.accept('b')
  t.equal(bed.core.role, 'leader', 'its own disk does not count any more')
  bed.accept('c')
  t.match(bed.core.status(), { role: 'follower', leader: undefined, commit: 3 })
  t.same(
    bed.sent('append').map(({ commit }) => commit),
    [3, 3],
  )
  t.ok(bed.effects.some((effect) => effect.type === 'changed' && effect.id === 5))
  t.equal(bed.core.nextDeadlineMs(), undefined, 'and never campaigns again')
})

void test('a removed follower hears of its removal from the leader', async (t) => {
  const bed = new Bed().lead()
  bed.step({ type: 'change', id: 5, target: { voters: ['a', 'b'], learners: [] } })
  bed.accept('b')
  bed.accept('c')
  t.equal(bed.sent('append', 'c').length + bed.core.status().progress.length, 2, 'still followed')
  bed.accept('b')
  t.equal(bed.sent('append', 'c').at(-1)?.commit, 3)
  t.same(
    bed.core.status().progress.map(({ member }) => member),
    ['b'],
  )
})

void test('a quiet group sleeps until something happens, and an echo is nothing', async (t) => {
  const bed = new Bed({ quiesceAfterMs: 500 }).lead()
  while (!bed.core.isQuiet && bed.nowMs < 10_000) bed.beat()
  t.same(bed.sent('quiesce').length, 2)
  t.equal(bed.core.nextDeadlineMs(), undefined)
  bed.answerHeartbeat('b', 1)
  bed.step({ type: 'tick' })
  bed.receive('z', { type: 'pre-vote', term: 9, last: { index: 99, term: 8 }, transfer: false })
  t.same(bed.sent('pre-vote-reply', 'z'), [{ type: 'pre-vote-reply', term: 1, granted: false }])
  t.ok(bed.core.isQuiet, 'not by who was removed')
  bed.receive('c', { type: 'pre-vote', term: 2, last: { index: 1, term: 1 }, transfer: false })
  t.notOk(bed.core.isQuiet)
  t.equal(bed.sent('heartbeat').length, 2, 'that member hears at once that it is led')
  t.same(bed.sent('pre-vote-reply', 'c'), [{ type: 'pre-vote-reply', term: 1, granted: false }])
})

void test('a group does not fall asleep while anybody who is there lacks anything', async (t) => {
  const bed = new Bed({ quiesceAfterMs: 200 }).lead()
  bed.propose(1)
  bed.accept('b')
  for (let i = 0; i < 30; i++) bed.beat()
  t.notOk(bed.core.isQuiet, 'c lives and has not acknowledged')
  bed.accept('c')
  for (let i = 0; i < 30; i++) bed.beat()
  t.ok(bed.core.isQuiet)

  const without = new Bed({ quiesceAfterMs: 200 }).lead(['b'])
  for (let i = 0; i < 30; i++) without.beat(['b'])
  t.ok(without.core.isQuiet, 'who is gone does not keep the others awake')
})

void test('where groups sleep, a learner and who lost entries call for their leader, and do not campaign', async (t) => {
  const configuration = simpleConfiguration(['b', 'c'], ['a'])
  const learner = new Bed({ quiesceAfterMs: 500 }, { configuration }).follow(1)
  const lost = new Bed({ quiesceAfterMs: 500 }, { lostUpTo: { index: 5, term: 1 } }).follow(1)
  for (const bed of [learner, lost]) {
    bed.tickAt(bed.core.nextDeadlineMs() ?? 0)
    t.equal(bed.sent('pre-vote').length, 2)
    t.match(bed.core.status(), { role: 'follower', leader: undefined, term: 1 })
    bed.receive('b', { type: 'pre-vote-reply', term: 2, granted: true })
    bed.receive('c', { type: 'pre-vote-reply', term: 2, granted: true })
    t.match(bed.core.status(), { role: 'follower', term: 1 })
    t.ok((bed.core.nextDeadlineMs() ?? 0) >= bed.nowMs + electionTimeoutMs, 'and calls again')
  }
  t.equal(
    new Bed({}, { configuration }).follow(1).core.nextDeadlineMs(),
    undefined,
    'where none sleep, none calls',
  )
})

void test('a quiet follower whose leader is lost campaigns soon', async (t) => {
  const bed = new Bed().follow(1)
  bed.receive('b', { type: 'quiesce', term: 1, last: { index: 3, term: 1 }, commit: 3 })
  t.notOk(bed.core.isQuiet, 'it does not have what the leader has')
  bed.receive('b', { type: 'quiesce', term: 1, last: { index: 0, term: 0 }, commit: 0 })
  t.ok(bed.core.isQuiet)
  t.equal(bed.core.nextDeadlineMs(), undefined)
  bed.nowMs = 100_000
  bed.step({ type: 'wake' })
  t.equal(bed.core.nextDeadlineMs(), 100_000 + electionTimeoutMs)
  bed.step({ type: 'unreachable', member: 'b' })
  t.ok((bed.core.nextDeadlineMs() ?? Infinity) < 100_000 + electionTimeoutMs / 2)
})

void test('what Raft says cannot happen stops the member', async (t) => {
  const violation = (run: () => void, message: RegExp): void => {
    t.throws(run, { name: 'RaftViolation', message })
  }
  const follower = new Bed().follow(1, { entries: [command(1, 1), command(2, 1)], commit: 2 })
  violation(
    () => follower.receive('c', { type: 'heartbeat', term: 1, commit: 0, round: 1 }),
    /two lead in one term/,
  )
  violation(
    () => follower.receive('b', { type: 'heartbeat', term: 1, commit: 9, round: 1 }),
    /acknowledged entries are gone/,
  )
  const leader = new Bed().lead()
  violation(() => leader.accept('b', 99), /what this leader never sent/)
  violation(
    () => new Bed().lead().receive('b', { type: 'heartbeat', term: 1, commit: 0, round: 1 }),
    /two lead/,
  )
})

void test('an append whose entries do not follow each other is dropped', async (t) => {
  const bed = new Bed().follow(1)
  for (const entries of [[command(2, 1)], [command(1, 1), command(3, 1)], [command(1, 2)]]) {
    bed.follow(1, { entries })
    t.same(bed.effects, [])
  }
  t.equal(bed.core.last.index, 0)
})
