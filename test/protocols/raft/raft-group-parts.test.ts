/** The parts of a Raft group's shell by themselves: messages, deadlines, proposals, the order of writes, snapshots' content. */
import { silentLogger } from '@understudy/runtime'
import { decode, encode } from '@understudy/runtime/codec'
import fc from 'fast-check'
import { test, type Test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const codec = await sourceModule<typeof import('../../../packages/protocols/src/raft/message-codec.ts')>(
  'protocols',
  'raft/message-codec',
)
const { PendingDeadlines } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/pending-deadlines.ts')
>('protocols', 'raft/pending-deadlines')
const { PendingProposals, Proposal } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/pending-proposals.ts')
>('protocols', 'raft/pending-proposals')
const { MemberWrites } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-member-writes.ts')
>('protocols', 'raft/raft-member-writes')
const { MemberApply } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-member-apply.ts')
>('protocols', 'raft/raft-member-apply')
const { MembershipDuty } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-member-change.ts')
>('protocols', 'raft/raft-member-change')
const { MemberStanding } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-member-standing.ts')
>('protocols', 'raft/raft-member-standing')
const content = await sourceModule<typeof import('../../../packages/protocols/src/raft/snapshot-content.ts')>(
  'protocols',
  'raft/snapshot-content',
)
const { checkGroupOptions } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-group-options.ts')
>('protocols', 'raft/raft-group-options')
type MemberPort = import('../../../packages/protocols/src/host/hosted-member.ts').MemberPort
type RaftMessage = import('../../../packages/protocols/src/raft/raft-message.ts').RaftMessage
type GroupMessage = import('../../../packages/protocols/src/raft/message-codec.ts').GroupMessage
type LogEntry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry

// ---- Messages --------------------------------------------------------------------------------------------------

const whole = fc.nat({ max: 2 ** 40 })
const position = fc.record({ index: whole, term: whole })
const configuration = fc
  .uniqueArray(fc.constantFrom('a@1', 'b@2', 'c@3', 'd@4', 'e@5', 'f@6'), { minLength: 1 })
  .chain((ids) =>
    fc.nat({ max: ids.length - 1 }).map((cut) => {
      const sorted = ids.toSorted()
      const voters = sorted.slice(0, cut + 1)
      return { voters, outgoing: [], learners: sorted.slice(cut + 1), learnersNext: [] }
    }),
  )

const entries = fc
  .record({
    index: whole,
    term: fc.nat({ max: 100 }),
    list: fc.array(fc.tuple(fc.nat({ max: 2 }), fc.uint8Array({ maxLength: 20 }), configuration), {
      maxLength: 8,
    }),
  })
  .map(({ index, term, list }) => ({
    previous: { index, term },
    term: term + list.length,
    entries: list.map(([kind, data, config], i): LogEntry => {
      const at = { index: index + 1 + i, term: term + i }
      if (kind === 0) return { ...at, type: 'noop' }
      if (kind === 1) return { ...at, type: 'configuration', configuration: config }
      return { ...at, type: 'command', data: new Uint8Array(data) }
    }),
  }))

const anyMessage: fc.Arbitrary<RaftMessage | GroupMessage> = fc.oneof(
  fc.record({
    type: fc.constantFrom('pre-vote', 'vote'),
    term: whole,
    last: position,
    transfer: fc.boolean(),
  }),
  fc.record({ type: fc.constantFrom('pre-vote-reply', 'vote-reply'), term: whole, granted: fc.boolean() }),
  entries.chain((log) => whole.map((commit) => ({ type: 'append' as const, commit, ...log }))),
  fc.record({
    type: fc.constant('append-reply' as const),
    term: whole,
    index: whole,
    rejected: fc.option(fc.record({ hint: position, lost: fc.boolean() }), { nil: undefined }),
  }),
  fc.record({ type: fc.constant('heartbeat' as const), term: whole, commit: whole, round: whole }),
  fc.record({ type: fc.constant('heartbeat-reply' as const), term: whole, round: whole }),
  fc.record({ type: fc.constant('timeout-now' as const), term: whole }),
  fc.record({ type: fc.constant('read' as const), term: whole, id: whole }),
  fc.record({
    type: fc.constant('read-reply' as const),
    term: whole,
    id: whole,
    index: fc.option(whole, { nil: undefined }),
  }),
  fc.record({ type: fc.constant('quiesce' as const), term: whole, last: position, commit: whole }),
  fc.record({
    type: fc.constant('snapshot-offer' as const),
    term: whole,
    snapshot: fc.record({
      id: fc.string({ maxLength: 30 }),
      chunks: fc.nat({ max: 1_000_000 }),
      bytes: whole,
      crc: fc.nat({ max: 0xffffffff }),
      meta: fc.record({ index: whole, term: whole, configuration }),
    }),
  }),
  fc.record({
    type: fc.constant('snapshot-want' as const),
    id: fc.string({ maxLength: 30 }),
    next: whole,
    restart: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('snapshot-chunk' as const),
    id: fc.string({ maxLength: 30 }),
    chunk: whole,
    crc: whole,
    bytes: fc.uint8Array().map((array) => new Uint8Array(array)),
  }),
  fc.record({
    type: fc.constant('snapshot-done' as const),
    id: fc.string({ maxLength: 30 }),
    ok: fc.boolean(),
  }),
  fc.record({ type: fc.constantFrom('hello' as const, 'who' as const) }),
  fc.record({ type: fc.constant('removed' as const), index: whole }),
) as fc.Arbitrary<RaftMessage | GroupMessage>

/** Views and buffers are bytes like others. */
const plain = (value: unknown): unknown => decode(encode(value))

void test('encodeMessage: whatever goes out comes back, through the codec of the links', async (t) => {
  fc.assert(
    fc.property(anyMessage, fc.string({ maxLength: 20, unit: 'grapheme-ascii' }), (message, store) => {
      const read = codec.decodeMessage(plain(codec.encodeMessage(store, message)))
      t.same(plain(read.message), plain(message))
      if (read.store !== store) throw new Error(`for ${read.store}`)
    }),
    { numRuns: 150 },
  )
  t.end()
})

void test('encodeMessage: the same entries are encoded once for all followers', async (t) => {
  const log: readonly LogEntry[] = [{ type: 'command', index: 1, term: 1, data: new Uint8Array(9) }]
  const append = {
    type: 'append',
    term: 1,
    previous: { index: 0, term: 0 },
    commit: 0,
    entries: log,
  } as const
  t.equal(codec.encodeMessage('x', append).at(-1), codec.encodeMessage('y', append).at(-1))
  t.not(
    codec.encodeMessage('x', append).at(-1),
    codec.encodeMessage('x', { ...append, entries: [{ ...log[0], index: 1 } as LogEntry] }).at(-1),
  )
})

void test('decodeMessage: whatever else a peer says is a RangeError, and nothing worse', async (t) => {
  const junk = fc.oneof(
    fc.anything({ withBigInt: true, withTypedArray: true }),
    fc.tuple(fc.nat({ max: 30 }), fc.anything(), fc.anything(), fc.anything(), fc.anything()),
    fc.tuple(fc.nat({ max: 30 }), fc.constant(''), whole, whole, whole, whole, fc.uint8Array(), whole, whole),
    anyMessage.chain((message) => {
      const fields = codec.encodeMessage('', message)
      return fc
        .tuple(fc.nat({ max: fields.length }), fc.anything())
        .map(([at, value]) => fields.with(Math.min(at, fields.length - 1), value))
    }),
  )
  fc.assert(
    fc.property(junk, (payload) => {
      try {
        codec.decodeMessage(payload)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
      }
    }),
    { numRuns: 2_000 },
  )
  const append = codec.encodeMessage('', {
    type: 'append',
    term: 3,
    previous: { index: 4, term: 2 },
    commit: 0,
    entries: [{ type: 'noop', index: 5, term: 3 }],
  })
  t.throws(() => codec.decodeMessage(append.with(3, 3)), /begin at 5/)
  t.throws(() => codec.decodeMessage(append.with(4, 4)), /go back/)
  t.throws(() => codec.decodeMessage(append.with(2, 2)), /an entry of term 3 in term 2/)
})

// ---- Deadlines and proposals -----------------------------------------------------------------------------------

void test('PendingDeadlines: whatever is settled, the others end in the order of their deadlines, and nothing piles up', async (t) => {
  const actions = fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 1_000 })), {
    maxLength: 800,
    size: 'max',
  })
  fc.assert(
    fc.property(actions, (list) => {
      const deadlines = new PendingDeadlines()
      let live: { deadlineMs: number; isSettled: boolean; expire: () => void }[] = []
      let nowMs = 0
      for (const [action, value] of list) {
        const victim = live[value % Math.max(1, live.length)]
        if (action < 2) {
          const pending = {
            deadlineMs: nowMs + value,
            isSettled: false,
            expire: () => {
              if (pending.deadlineMs > nowMs) throw new Error('too early')
              pending.isSettled = true
            },
          }
          live.push(pending)
          deadlines.add(pending)
        } else if (action === 2 && victim !== undefined) {
          victim.isSettled = true
          deadlines.settled()
        } else {
          nowMs += value / 10
          deadlines.expire(nowMs)
        }
        live = live.filter((pending) => !pending.isSettled)
        const next = Math.min(...live.map(({ deadlineMs }) => deadlineMs))
        if ((deadlines.nextMs() ?? Infinity) !== next) throw new Error(`${deadlines.nextMs()} is not ${next}`)
        if (deadlines.size > 2 * live.length + 66) throw new Error(`${deadlines.size} for ${live.length}`)
      }
    }),
    { numRuns: 100 },
  )
  const deadlines = new PendingDeadlines()
  const all = Array.from({ length: 1_000 }, (_, i) => ({
    deadlineMs: i,
    isSettled: false,
    expire: () => undefined,
  }))
  for (const pending of all) deadlines.add(pending)
  for (const pending of all.slice(1, 900)) {
    pending.isSettled = true
    deadlines.settled()
  }
  t.ok(deadlines.size < 300, `${deadlines.size} are kept, 101 wait`)
  t.end()
})

function proposals(limits = { commandsMax: 3, bytesMax: 100 }) {
  const pending = new PendingProposals('g', new PendingDeadlines(), limits)
  const outcomes: string[] = []
  const propose = (
    name: string,
    options: { size?: number; term?: number } = {},
  ): InstanceType<typeof Proposal> => {
    const proposal = new Proposal(
      pending,
      'command',
      new Uint8Array(options.size ?? 1),
      undefined,
      options.term,
      1_000,
      (value) => outcomes.push(`${name}=${String(value)}`),
      (error) => outcomes.push(`${name} ${(error as Error & { code?: string }).code}`),
    )
    pending.gather(proposal)
    return proposal
  }
  /** Appends all that was gathered. */
  const append = (first: number, term: number): void => {
    pending.take().forEach((batch, i) => {
      pending.asked(i, batch.proposals)
      pending.appended(i, first, term)
      first += batch.proposals.length
    })
  }
  const apply = (index: number, term: number): void =>
    pending.at(index, term, 'b')?.settleWith({ type: 'result', result: index })
  return { pending, outcomes, propose, append, apply }
}

void test('PendingProposals: batches are within their limits, in order, and of one term', async (t) => {
  const { pending, propose } = proposals()
  for (let i = 0; i < 7; i++) propose(`p${i}`)
  propose('large', { size: 200 })
  propose('t', { term: 5 })
  propose('u', { term: 6 })
  t.same(
    pending.take().map((batch) => [batch.proposals.length, batch.onlyTerm]),
    [
      [3, undefined],
      [3, undefined],
      [1, undefined],
      [1, undefined],
      [1, 5],
      [1, 6],
    ],
  )
  t.same(pending.take(), [])
})

void test('PendingProposals: a result goes to the proposal of that place and term, never to another (R18)', async (t) => {
  const { pending, outcomes, propose, append, apply } = proposals()
  for (const name of ['a', 'b', 'c']) propose(name)
  append(10, 1)
  apply(9, 1)
  apply(10, 1)
  t.same(outcomes, ['a=10'])
  pending.leadershipLost()
  apply(11, 2)
  t.same(outcomes.at(-1), 'b PROTOCOLS_NOT_LEADER', 'its place was taken: surely not applied')
  // This member leads again, in term 3, and the log goes on at 12, where c still may stand in another log.
  propose('d')
  append(12, 3)
  apply(12, 3)
  t.same(outcomes.slice(2).sort(), ['c PROTOCOLS_NOT_LEADER', 'd=12'])
  t.equal(pending.waiting, 0)
})

void test('PendingProposals: places that go back, or change their term, are told apart without being told of a new role', async (t) => {
  const { outcomes, propose, append, apply } = proposals()
  for (const name of ['a', 'b']) propose(name)
  append(10, 1)
  propose('c')
  append(9, 3)
  apply(9, 3)
  t.same(outcomes, ['c=9'])
  apply(10, 3)
  t.same(outcomes.at(-1), 'a PROTOCOLS_NOT_LEADER')
  const other = proposals()
  other.propose('d')
  other.append(5, 1)
  other.apply(5, 2)
  t.same(other.outcomes, ['d PROTOCOLS_NOT_LEADER'])
})

void test('PendingProposals: who was appended before leadership was lost gets its result when another leader commits it', async (t) => {
  const { pending, outcomes, propose, append, apply } = proposals()
  propose('a')
  append(5, 1)
  pending.leadershipLost()
  apply(5, 1)
  t.same(outcomes, ['a=5'])
})

void test('PendingProposals: what a snapshot passes, and what is closed, is unknown when it was appended', async (t) => {
  const { pending, outcomes, propose, append } = proposals()
  for (const name of ['a', 'b']) propose(name)
  append(5, 1)
  pending.passed(5)
  t.same(outcomes, ['a PROTOCOLS_OUTCOME_UNKNOWN'])
  propose('gathered')
  pending.close(Object.assign(new Error('closed'), { code: 'CLOSED' }))
  t.same(outcomes.slice(1), ['b PROTOCOLS_OUTCOME_UNKNOWN', 'gathered CLOSED'])
  t.equal(pending.waiting, 0)
})

void test('PendingProposals: a deadline settles once, and what comes of it later is nobody s', async (t) => {
  const { pending, outcomes, propose, append, apply } = proposals()
  propose('a')
  append(5, 1)
  propose('never')
  pending.deadlines.expire(1_000)
  t.same(outcomes, ['a PROTOCOLS_OUTCOME_UNKNOWN', 'never PROTOCOLS_OVERLOADED'])
  apply(5, 1)
  t.same(outcomes.length, 2)
  t.same(pending.take(), [], 'and it is not appended after all')
})

// ---- The order of writes ---------------------------------------------------------------------------------------

/** A port whose promises are fulfilled by hand. */
function handPort() {
  const turns: (() => void)[] = []
  const port = {
    group: 'g',
    pipe: (_promise: Promise<unknown>, onValue: () => void) => turns.push(onValue),
  } as unknown as MemberPort
  return { port, turns }
}

void test('MemberWrites: a message leaves only when all that was given out before it is durable (R1)', async (t) => {
  const { port, turns } = handPort()
  const lines: string[] = []
  const writes = new MemberWrites(port, (to) => lines.push(`sent ${to}`))
  const write = (name: string): void =>
    writes.write(
      async () => void lines.push(`begun ${name}`),
      () => lines.push(`durable ${name}`),
    )
  const message = { type: 'timeout-now', term: 1 } as const
  writes.sendDurable('idle', message)
  write('one')
  writes.sendDurable('behind one', message)
  write('two')
  writes.sendDurable('behind two', message)
  t.same(lines, ['sent idle', 'begun one', 'begun two'])
  turns[0]?.()
  t.same(lines.slice(3), ['sent behind one', 'durable one'])
  turns[1]?.()
  t.same(lines.slice(5), ['sent behind two', 'durable two'])
  t.ok(writes.isIdle)
})

void test('MemberWrites: a store that makes a later write durable first ends the host', async (t) => {
  const { port, turns } = handPort()
  const writes = new MemberWrites(port, () => undefined)
  for (let i = 0; i < 2; i++)
    writes.write(
      async () => undefined,
      () => undefined,
    )
  t.throws(() => turns[1]?.(), /in the order of the calls/)
})

// ---- Applying and changing -------------------------------------------------------------------------------------

void test('MemberApply: what the step gave to the disk comes first, and all that follows waits its turn behind', async (t) => {
  const { apply, applied, loops, log } = applying(t)
  apply.push(log(1, 2))
  t.same(applied, [1, 2], 'nothing was written: at once')
  apply.push(log(3, 4), true)
  apply.push(log(5, 5))
  t.same(applied, [1, 2])
  t.equal(loops.length, 1)
  loops.shift()?.()
  t.same(applied, [1, 2, 3, 4, 5])
  apply.push(log(6, 6), true)
  apply.pause()
  loops.shift()?.()
  t.same(applied, [1, 2, 3, 4, 5], 'the state is being replaced')
  apply.resume()
  t.same(applied, [1, 2, 3, 4, 5, 6])
  apply.push(log(7, 7), true)
  apply.clear()
  loops.shift()?.()
  t.equal(applied.length, 6)
})

void test('MemberApply: entries that a snapshot overtook while they waited are passed over', async (t) => {
  const { apply, applied, turns, state, log } = applying(t)
  apply.push(log(1, 3_000))
  t.equal(applied.length, 2_048, 'others have their turn')
  apply.pause()
  turns.shift()?.()
  t.equal(applied.length, 2_048)
  apply.push(log(3_501, 3_600))
  state.index = 3_500
  apply.resume()
  t.same(
    applied.slice(2_048),
    log(3_501, 3_600).map(({ index }) => index),
  )
})

/** A `MemberApply` whose turns the test begins. */
function applying(t: Test) {
  const turns: (() => void)[] = []
  const loops: (() => void)[] = []
  const applied: number[] = []
  const state = {
    index: 0,
    meta: { configuration: undefined },
    apply: (entry: LogEntry) => {
      applied.push(entry.index)
      state.index = entry.index
      return { type: 'result', result: undefined }
    },
  }
  const apply = new MemberApply({
    port: {
      nowMs: () => 0,
      later: (task: () => void) => turns.push(task),
      afterLoop: (task: () => void) => loops.push(task),
    } as unknown as MemberPort,
    self: 'a@1',
    state: state as never,
    proposals: new PendingProposals('g', new PendingDeadlines(), { commandsMax: 1, bytesMax: 1 }),
    reads: { applied: () => undefined } as never,
    observer: undefined,
    leader: () => undefined,
    onConfiguration: () => undefined,
    onDone: () => undefined,
    onFailure: (error) => t.fail(String(error)),
  })
  const log = (from: number, to: number): LogEntry[] =>
    Array.from({ length: to - from + 1 }, (_, i) => ({ type: 'noop', index: from + i, term: 1 }))
  return { apply, applied, turns, loops, state, log }
}

void test('MembershipDuty: a learner takes its place only when it has what the log had a look before', async (t) => {
  const changes: string[] = []
  const configuration = { voters: ['a@1', 'b@2', 'c@3'], outgoing: [], learners: ['c@9'], learnersNext: [] }
  const learner = { member: 'c@9', state: 'probe', match: 0 }
  const status = {
    self: 'a@1',
    role: 'leader',
    last: { index: 100, term: 1 },
    configuration,
    progress: [learner],
  }
  const duty = new MembershipDuty({
    self: 'a@1',
    log: silentLogger,
    replace: 'automatic',
    intervalMs: 10,
    status: () => status as never,
    change: ({ voters, learners }) => changes.push(`${voters.join()} ${learners.join()}`),
    ask: () => undefined,
  })
  let nowMs = 0
  const look = (): void => duty.tick((nowMs += 10))
  duty.lead(true, 0)
  look()
  look()
  learner.match = 100
  look()
  t.same(changes, [], 'it is probed: what it has said may be old')
  learner.state = 'replicate'
  status.last.index = 500
  look()
  t.same(changes, ['a@1,b@2,c@9 '])
  changes.length = 0
  duty.lead(true, nowMs)
  look()
  learner.match = 499
  look()
  t.same(changes, [])
})

void test('MembershipDuty: of two learners of one node the one that answers is promoted, and a newer one takes the place of the older', async (t) => {
  const changes: string[] = []
  const configuration = {
    voters: ['a@1', 'b@2'],
    outgoing: [],
    learners: ['c@8'],
    learnersNext: [] as string[],
  }
  const progress = [
    { member: 'b@2', state: 'replicate', match: 100, isActive: true },
    { member: 'c@8', state: 'probe', match: 0, isActive: false },
    { member: 'c@9', state: 'replicate', match: 100, isActive: true },
  ]
  const status = { self: 'a@1', role: 'leader', last: { index: 100, term: 1 }, configuration, progress }
  const duty = new MembershipDuty({
    self: 'a@1',
    log: silentLogger,
    replace: 'automatic',
    intervalMs: 10,
    status: () => status as never,
    change: ({ voters, learners }) => changes.push(`${voters.join()} ${learners.join()}`),
    ask: () => undefined,
  })
  const goal = {
    ...{ voters: ['a', 'b', 'c'], learners: [] },
    ...{ reached: () => undefined, refused: () => undefined },
  }
  duty.lead(true, 0)
  duty.tick(10)
  duty.set(goal, 20)
  duty.hello('c', '9', 20)
  duty.tick(20)
  t.same(changes.splice(0), ['a@1,b@2 c@9'], 'who has lost its disk before it had a vote will not come back')

  // Both learn, and nobody says hello any more.
  configuration.learners = ['c@8', 'c@9']
  const next = new MembershipDuty({
    self: 'a@1',
    log: silentLogger,
    replace: 'automatic',
    intervalMs: 10,
    status: () => status as never,
    change: ({ voters, learners }) => changes.push(`${voters.join()} ${learners.join()}`),
    ask: () => undefined,
  })
  next.lead(true, 0)
  next.tick(10)
  next.set(goal, 20)
  next.tick(20)
  t.same(changes, ['a@1,b@2,c@9 '])
})

/** A member "a@1" that restarts with that newest configuration in its log, and that one applied. */
function standing(newest: readonly string[], applied: readonly string[]) {
  const configurationOf = (voters: readonly string[]) => ({
    ...{ voters, outgoing: [], learners: [], learnersNext: [] },
  })
  const core = {
    role: 'follower',
    commit: 8,
    last: { index: 10, term: 5 },
    configuration: configurationOf(newest),
  }
  const member = new MemberStanding({
    port: { node: 'a', log: silentLogger, send: () => undefined } as unknown as MemberPort,
    self: 'a@1',
    state: { meta: { configuration: configurationOf(applied) } } as never,
    core: () => core as never,
    nodes: [],
    helloEveryMs: 1_000,
    onChange: () => undefined,
  })
  member.begin(core as never, 0)
  return { member, core, configurationOf }
}

void test('MemberStanding: who restarts with its removal in its log, uncommitted, still takes part (thesis, section 4.2.2)', async (t) => {
  const { member, configurationOf } = standing(['b@2', 'c@3'], ['a@1', 'b@2', 'c@3'])
  t.notOk(member.isRemoved, 'the others may need its vote, or its lead, before that can be committed')
  member.applied(configurationOf(['a@1', 'b@2', 'c@3']), configurationOf(['a@1', 'b@2', 'c@3', 'd@4']), 9)
  t.notOk(member.isRemoved, 'what is applied names it')
  member.applied(configurationOf(['a@1', 'b@2', 'c@3']), configurationOf(['b@2', 'c@3']), 10)
  t.ok(member.isRemoved)

  const told = standing(['b@2', 'c@3'], ['a@1', 'b@2', 'c@3']).member
  told.toldRemoved(7)
  t.notOk(told.isRemoved, 'of a configuration before those it knows')
  told.toldRemoved(10)
  t.ok(told.isRemoved, 'by a leader that has committed it')

  t.ok(standing(['b@2', 'c@3'], ['b@2', 'c@3']).member.isRemoved, 'applied: it is over')
  t.notOk(standing(['a@1', 'b@2'], ['b@2']).member.isRemoved, 'added again')
})

// ---- Snapshots -------------------------------------------------------------------------------------------------

void test('SnapshotContent: sessions, their answers and the chunks of the machine come back as they were', async (t) => {
  const sessions = Array.from({ length: 30 }, (_, i) => ({
    session: i + 1,
    ttlMs: 1_000,
    usedMs: i,
    answeredBelow: 1,
    results: Array.from({ length: 40 }, (_unused, j) => [j + 1, { text: 'x'.repeat(300), j }] as const),
  }))
  const big = new Uint8Array(700_000).map((_, i) => i % 251)
  const machine = [new Uint8Array([1, 2]), new Uint8Array(0), big]
  const chunks = [...iterate(new content.SnapshotContent({ timeMs: 77, sessions }, machine.values()))]
  t.ok(chunks.length > 5)
  t.ok(chunks.every((chunk) => chunk.length <= codec.snapshotChunkBytesMax))
  const { frame, rest } = await content.readSnapshotFrame(stream(chunks))
  t.same(frame, { timeMs: 77, sessions })
  const parts: Uint8Array[] = []
  for await (const part of rest) parts.push(part)
  t.same(
    parts.map((part) => part.length),
    [2, 0, 700_000],
  )
  t.same(parts[2], big)
  for (let cut = 0; cut < 4; cut++) {
    await t.rejects(
      content.readSnapshotFrame(stream(chunks.slice(0, cut))),
      RangeError,
      `after ${cut} chunks`,
    )
  }
})

void test('SnapshotContent: one that is given up ends the machine s walk and never passes for whole', async (t) => {
  let ended = 0
  const machine: Iterator<Uint8Array> = {
    next: () => ({ done: false, value: new Uint8Array(1) }),
    return: () => {
      ended++
      return { done: true, value: undefined }
    },
  }
  const walk = new content.SnapshotContent({ timeMs: 0, sessions: [] }, machine)
  for (let i = 0; i < 5; i++) walk.next()
  walk.abandon()
  t.throws(() => walk.next(), /given up/)
  walk.return()
  t.equal(ended, 1)
})

void test('checkGroupOptions: names what is wrong', async (t) => {
  const right = { name: 'g', members: ['b', 'a'], machine: () => undefined as never }
  t.match(checkGroupOptions(right), {
    members: ['a', 'b'],
    pendingMax: 16_384,
    figures: { quiesceAfterMs: 4_000 },
  })
  t.throws(() => checkGroupOptions({ ...right, members: ['a', 'a'] }), /each node once/)
  t.throws(() => checkGroupOptions({ ...right, name: 'a b' }), /name/)
  t.throws(() => checkGroupOptions({ ...right, members: [] }), /members/)
  t.throws(() => checkGroupOptions({ ...right, pendingMax: 0 }), /pendingMax/)
  t.throws(() => checkGroupOptions({ ...right, typo: 1 } as typeof right), /typo/)
  t.throws(() => checkGroupOptions({ ...right, raft: { heartbeatMs: 0 } }), /heartbeatMs/)
})

function* iterate(walk: Iterator<Uint8Array>): Generator<Uint8Array, void> {
  for (let next = walk.next(); next.done !== true; next = walk.next()) yield next.value
}

async function* stream(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array, undefined> {
  yield* chunks
  return undefined
}
