/** MembershipCore on its own: what it makes of members whom it has not heard of, and of those whose end it slept through. */
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { seededRandom } from '@understudy/runtime'

type Core = InstanceType<typeof MembershipCore>
type Input = import('../../packages/cluster/src/membership/membership.ts').MembershipInput
type Effect = import('../../packages/cluster/src/membership/membership.ts').MembershipEffect
type Options = import('../../packages/cluster/src/membership/membership-options.ts').MembershipOptions
type Message = import('../../packages/cluster/src/membership/swim-message.ts').SwimMessage
type MemberRecord = import('../../packages/cluster/src/membership/member-table.ts').MemberRecord
type MemberFacts = import('../../packages/cluster/src/membership/member-table.ts').MemberFacts
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { MembershipCore } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/membership-core.ts')
>('cluster', 'membership/membership-core')
const { readSwimMessage, writeSwimMessage } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-message.ts')
>('cluster', 'membership/swim-message')

const factsOf = (name: string, incarnation = 1): MemberFacts => ({
  ...{ name, incarnation, address: `ws://${name}:1` as Address, weight: 1, roles: [], version: '' },
})

function record(kind: MemberRecord['kind'], name: string, incarnation = 1): MemberRecord {
  const phase = kind === 'joining' || kind === 'leaving' ? kind : 'alive'
  const by = kind === 'suspect' ? { by: 'z' } : {}
  return { ...factsOf(name, incarnation), refutation: 0, kind, phase, cannotReach: [], ...by }
}

/** A core at work, its clock, and all that it has said. */
class Bed {
  readonly core: Core
  readonly said: Effect[] = []
  nowMs = 0
  #links = 0

  constructor(name: string, options: Partial<Options> = {}) {
    this.core = new MembershipCore({ self: factsOf(name), random: seededRandom(1), ...options })
    this.step({ type: 'started' })
  }

  step(input: Input): readonly Effect[] {
    const effects = this.core.step(input, this.nowMs)
    this.said.push(...effects)
    return effects
  }

  /** The peer's side of the link chooses it as well. Returns its number. */
  link(name: string, incarnation = 1): number {
    const linkId = ++this.#links
    this.step({ type: 'link-established', linkId, dialledByUs: false, ...factsOf(name, incarnation) })
    this.step({ type: 'chosen-received', linkId })
    return linkId
  }

  hears(linkId: number, message: Message): readonly Effect[] {
    return this.step({ type: 'gossip-received', linkId, payload: writeSwimMessage(message) })
  }

  /** All ticks that are due meanwhile, in time. */
  pass(ms: number, meanwhile: () => void = () => undefined): void {
    const untilMs = this.nowMs + ms
    for (;;) {
      const dueMs = this.core.nextDeadlineMs()
      if (dueMs === undefined || dueMs > untilMs || this.of('self-removed').length > 0) break
      this.nowMs = dueMs
      this.step({ type: 'tick' })
      meanwhile()
    }
    this.nowMs = untilMs
  }

  of<T extends Effect['type']>(type: T): readonly (Effect & { readonly type: T })[] {
    return this.said.filter((effect): effect is Effect & { readonly type: T } => effect.type === type)
  }

  sentTo(linkId: number): readonly Message[] {
    return this.of('send-gossip')
      .filter((effect) => effect.linkId === linkId)
      .map(({ payload }) => readSwimMessage(payload) as Message)
  }
}

const table = (...records: readonly MemberRecord[]): Message => ({
  ...{ type: 'push-pull', isAnswer: true, isLast: true, records },
})

void test('a node joins nobody before one who takes part has told it all that he knows: who joins too knows no more than it does', (t) => {
  for (const others of ['suspect', 'none'] as const) {
    const bed = new Bed('j', { expect: 3 })
    const x = bed.link('x')
    bed.hears(x, table(record('joining', 'x'), record('joining', 'j')))
    const e = bed.link('e')
    // News comes before the table does.
    bed.hears(e, { type: 'gossip', records: [record('alive', 'e')] })
    t.same(bed.of('self-up'), [], 'it may know of more')
    const a = others === 'none' ? [] : [record('suspect', 'a')]
    bed.hears(e, table(record('alive', 'e'), record('joining', 'x'), record('joining', 'j'), ...a))
    t.equal(bed.of('self-up').length, others === 'none' ? 1 : 0, `others: ${others}`)
  }
  t.end()
})

void test('a node that has the table of one who joined, and took part later, asks for it again', (t) => {
  const bed = new Bed('j', { expect: 3 })
  const e = bed.link('e')
  bed.hears(e, table(record('joining', 'e'), record('joining', 'j')))
  const before = bed.sentTo(e).length
  bed.hears(e, { type: 'gossip', records: [record('alive', 'e')] })
  t.same(bed.of('self-up'), [])
  bed.pass(100)
  const tables = bed
    .sentTo(e)
    .slice(before)
    .filter(({ type }) => type === 'push-pull')
  t.match(tables, [{ isAnswer: false, isLast: true }], 'once')
  bed.hears(e, table(record('alive', 'e'), record('joining', 'j')))
  t.match(bed.of('self-up'), [{ how: 'joined', with: ['e'] }])
  t.end()
})

/** A core `a` that takes part with b and c, and then hears nothing of b; c answers, also as another life. */
function withoutB(isHeld: boolean): Bed {
  const bed = new Bed('a', { expect: 3 })
  const whole = table(record('alive', 'b'), record('alive', 'c'), record('joining', 'a'))
  for (const link of ['b', 'c'].map((name) => bed.link(name))) bed.hears(link, whole)
  if (isHeld) bed.step({ type: 'held' })
  const linkId = bed.link('c', 2)
  let answered = 0
  bed.pass(60_000, () => {
    const pings = bed.sentTo(linkId).filter((message) => message.type === 'ping')
    for (const { sequence } of pings.slice(answered))
      bed.hears(linkId, { type: 'ack', sequence, records: [] })
    answered = pings.length
  })
  return bed
}

void test('who was replaced while this node is held counts as lost: the others may have given it up before', (t) => {
  const awake = withoutB(false)
  t.match(
    awake.of('downing-decided'),
    [{ decision: 'down-others', goes: ['b'] }],
    'of two that are left the lowest name stays',
  )
  const held = withoutB(true)
  t.match(held.of('downing-decided'), [{ decision: 'down-self', reason: 'minority' }], 'of three it is alone')
  t.match(held.of('self-removed'), [{ by: 'downing' }])
  t.end()
})

void test('a stall holds once: what comes before the tick that is late says nothing new', (t) => {
  const bed = new Bed('a', { expect: 3 })
  const whole = table(record('alive', 'b'), record('alive', 'c'), record('joining', 'a'))
  for (const link of ['b', 'c'].map((name) => bed.link(name))) bed.hears(link, whole)
  bed.nowMs += 30_000
  bed.step({ type: 'held' })
  t.equal(bed.of('hold').length, 1)
  // Nobody may be left to be asked: then it is released at once, and must not be held for the same stall again, for ever.
  bed.step({ type: 'released' })
  bed.step({ type: 'tick' })
  t.equal(bed.of('hold').length, 1)
  bed.nowMs += 30_000
  bed.step({ type: 'tick' })
  t.equal(bed.of('hold').length, 2, 'another stall is another matter')
  t.end()
})

void test('what was missed is over with the hold', (t) => {
  const bed = new Bed('a', { expect: 3 })
  const whole = table(record('alive', 'b'), record('alive', 'c'), record('joining', 'a'))
  for (const link of ['b', 'c'].map((name) => bed.link(name))) bed.hears(link, whole)
  t.equal(bed.of('self-up').length, 1)
  // It stood still: the first that it does is in doubt, before anybody has told it that it is held.
  bed.nowMs += 30_000
  bed.link('c', 2)
  t.equal(bed.of('hold').length, 1)
  t.match(bed.core.missed(), [{ name: 'c', incarnation: 1 }])
  bed.step({ type: 'released' })
  t.same(bed.core.missed(), [])
  bed.link('b', 2)
  t.same(bed.core.missed(), [], 'who is awake sees for itself')
  t.end()
})

for (const end of ['goodbye-received', 'link-closed'] as const) {
  void test(`who leaves and is back already, as others say, is first heard out (${end})`, (t) => {
    const bed = new Bed('a', { expect: 3 })
    const whole = table(record('alive', 'b'), record('alive', 'c'), record('joining', 'a'))
    const [b, c] = [bed.link('b'), bed.link('c')]
    for (const link of [b, c]) bed.hears(link, whole)
    bed.hears(b, { type: 'gossip', records: [record('leaving', 'b')] })
    bed.hears(c, { type: 'gossip', records: [record('joining', 'b', 2)] })
    t.match(bed.core.known('b'), { incarnation: 1, status: 'leaving' }, 'its last answers may be under way')
    t.same(bed.of('lost-link'), [])
    const before = bed.sentTo(c).length
    if (end === 'goodbye-received') bed.step({ type: end, linkId: b })
    else bed.step({ type: end, linkId: b, reason: { code: 'CLUSTER_LINK_LOST' } })
    t.equal(bed.of('member-left').length, end === 'goodbye-received' ? 1 : 0)
    t.match(
      bed
        .sentTo(c)
        .slice(before)
        .filter(({ type }) => type === 'push-pull'),
      [{ isAnswer: false }],
      'who said so is asked again',
    )
    bed.hears(c, table(record('joining', 'b', 2), record('alive', 'c'), record('alive', 'a')))
    t.match(bed.core.known('b'), { incarnation: 2, status: 'joining' })
    t.end()
  })
}

void test('ten thousand members that are not: a view for many messages, and the last one has them all', (t) => {
  const bed = new Bed('z')
  const link = bed.link('a')
  const before = bed.core.settles()
  const flood = (first: number, count: number): void => {
    for (let n = first; n < first + count; n += 100) {
      const records = Array.from({ length: 100 }, (_, index) => record('alive', `g${n + index}`))
      bed.hears(link, { type: 'gossip', records })
    }
  }
  flood(0, 1_000)
  t.ok(bed.core.view().members.length >= 1_000, 'a thousand are told at once')
  flood(1_000, 8_000)
  const during = bed.core.settles() - before
  t.ok(during <= 2 * 12, `${during} looks at the table for 90 messages`)
  bed.pass(200)
  t.equal(bed.core.view().members.length, 9_002)
  const calm = bed.core.settles()
  for (let n = 0; n < 90; n++) {
    const records = [{ ...record('suspect', `g${n}`), refutation: 1 }]
    bed.hears(link, { type: 'gossip', records })
  }
  t.ok(bed.core.settles() - calm <= 2, 'nor one for each message about those that are there')
  bed.step({ type: 'drain' })
  const own = bed.core.view().members.find(({ name }) => name === 'z')
  t.equal(own?.status, 'leaving', 'what the node itself does is told at once')
  t.end()
})
