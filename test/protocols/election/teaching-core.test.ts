/** The bully and the ring algorithm: the transcripts of test/transcripts, and random schedules with crashes and lost messages. */
import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import { test } from 'tap'
import { runTranscript, type RunCommand } from '../../support/transcript.ts'
import {
  BullyCore,
  RingCore,
  TeachingWorld,
  type BullyMessage,
  type Effect,
  type RingMessage,
} from './teaching-world.ts'

for (const kind of ['bully', 'ring'] as const) {
  const folder = new URL(`../../../transcripts/${kind}/`, import.meta.url)
  for (const name of readdirSync(folder).sort()) {
    void test(`${kind === 'bully' ? 'BullyCore' : 'RingCore'} transcript ${name}`, (t) => {
      const { found, wanted } = runTranscript(new URL(name, folder), commands())
      t.equal(found, wanted)
      t.end()
    })
  }
}

/**
 * Commands. Each prints what the members do; `coordinator` of one that led already is left out.
 *   members a b ...       of the bully, all down
 *   ring a b ...          of the ring, in its order, all down
 *   start a b ... | all   at first, or again
 *   crash a               nothing is heard of it
 *   deliver               all that was sent, and what follows from it
 *   drop                  loses all that was sent
 *   after MS              time passes; what was sent and is sent meanwhile arrives at once
 *   cut a b | c           nothing goes between the sides
 *   heal
 *   a>b TYPE ...          b gets a message from a
 *   living a b ...        what all that are up see as living
 *   sees a  a b ...       what a sees as living
 *   leaders, status
 *   messages              how many were sent since it was asked last
 */
function commands(): RunCommand {
  let lines: string[] = []
  let world = new TeachingWorld('bully', ['a'])
  const leading = new Set<string>()
  const make = (kind: 'bully' | 'ring', names: readonly string[]): void => {
    world = new TeachingWorld(kind, names)
    world.onStep = (name, effects) => note(name, effects)
  }
  const note = (name: string, effects: readonly Effect[]): void => {
    const wasLeading = leading.has(name)
    const told: string[] = []
    for (const effect of effects) {
      if (effect.type === 'leader') {
        lines.push(`${name}: ${effect.leader === undefined ? 'no leader' : `${effect.leader} leads`}`)
        if (effect.leader === name) leading.add(name)
        else leading.delete(name)
      } else if (effect.message.type !== 'coordinator') {
        lines.push(`${name} -> ${effect.to}: ${textOf(effect.message)}`)
      } else if (!wasLeading || effects.length < world.names.length - 1) told.push(effect.to)
    }
    if (told.length > 0) lines.push(`${name} -> ${told.join(' ')}: coordinator`)
  }
  return (command) => {
    lines = []
    const [verb = '', ...words] = command.split(/\s+/)
    const between = /^(\w+)>(\w+)$/.exec(verb)
    if (between !== null) {
      const [, from = '', to = ''] = between
      world.receive({ from, to, message: messageOf(words) })
      return lines
    }
    switch (verb) {
      case 'members':
      case 'ring':
        make(verb === 'ring' ? 'ring' : 'bully', words)
        return lines
      case 'start':
      case 'restart':
        for (const name of words[0] === 'all' ? world.names : words) world.start(name)
        return lines
      case 'crash':
        for (const name of words) {
          world.crash(name)
          leading.delete(name)
        }
        return lines
      case 'deliver':
        world.deliverAll()
        return lines
      case 'drop':
        return [`lost: ${world.parcels.splice(0).length}`]
      case 'after':
        world.pass(Number(words[0]))
        return lines
      case 'cut': {
        const sides = words.join(' ').split(' | ')
        const sideOf = (name: string): number => sides.findIndex((side) => side.split(' ').includes(name))
        world.cut((from, to) => sideOf(from) !== sideOf(to))
        return lines
      }
      case 'heal':
        world.cut(() => false)
        return lines
      case 'living':
        for (const name of world.names) world.living(name, words)
        return lines
      case 'sees':
        world.living(words[0] ?? '', words.slice(1))
        return lines
      case 'leaders':
        return [...world.members.keys()].sort().map((name) => `${name}: ${world.leader(name) ?? 'nobody'}`)
      case 'status':
        return [...world.members.values()]
          .sort((one, other) => (one.name < other.name ? -1 : 1))
          .map(({ name, core }) => `${name}: ${core.status().phase}`)
      case 'messages': {
        const { sent } = world
        world.sent = 0
        return [`${sent} messages`]
      }
      default:
        throw new Error(`no such command: ${verb}`)
    }
  }
}

function textOf(message: BullyMessage | RingMessage): string {
  switch (message.type) {
    case 'election':
      return 'candidate' in message ? `election ${message.candidate}` : `election ${message.round}`
    case 'answer':
      return `answer ${message.round}`
    case 'elected':
      return `elected ${message.leader}`
    case 'coordinator':
      return 'coordinator'
  }
}

function messageOf([type = '', first = '', second]: readonly string[]): BullyMessage | RingMessage {
  if (type === 'coordinator') return { type }
  if (type === 'elected') return { type, leader: first, hops: Number(second) }
  if (type === 'election' && second !== undefined) return { type, candidate: first, hops: Number(second) }
  const round = Number(first)
  return type === 'answer' ? { type, round } : { type: 'election', round }
}

// ---- Random schedules ------------------------------------------------------------------------------------------------

type Move = {
  readonly do: 'deliver' | 'repeat' | 'lose' | 'start' | 'crash' | 'pass' | 'cut' | 'heal' | 'see'
  readonly at: number
}

const moves: fc.Arbitrary<Move> = fc.record({
  do: fc.oneof(
    { weight: 10, arbitrary: fc.constant('deliver' as const) },
    { weight: 8, arbitrary: fc.constantFrom('repeat', 'lose', 'start', 'crash', 'cut', 'heal', 'see') },
    { weight: 3, arbitrary: fc.constant('pass' as const) },
  ),
  at: fc.nat(1_000),
}) as fc.Arbitrary<Move>

function play(world: TeachingWorld, list: readonly Move[]): void {
  for (const { do: verb, at } of list) {
    const name = world.names[at % world.names.length] ?? ''
    const parcel = world.parcels[at % Math.max(1, world.parcels.length)]
    if (verb === 'deliver') world.deliver(at % Math.max(1, world.parcels.length))
    else if (verb === 'repeat' && parcel !== undefined) world.parcels.push(parcel)
    else if (verb === 'lose') world.parcels.splice(at % Math.max(1, world.parcels.length), 1)
    else if (verb === 'start' && !world.members.has(name)) world.start(name)
    else if (verb === 'crash') world.crash(name)
    else if (verb === 'pass') world.pass(at)
    else if (verb === 'cut') world.cut((from, to) => from < name !== to < name)
    else if (verb === 'heal') world.cut(() => false)
    else if (verb === 'see') world.seeAll()
  }
}

for (const kind of ['bully', 'ring'] as const) {
  void test(`${kind}: whatever was lost, doubled and cut: once all is well the highest that lives leads, and all know it`, async (t) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(moves, { maxLength: 60 }),
        fc.nat(),
        (n, list, seed) => {
          // In another order on the ring than by name.
          const names = ['c', 'a', 'e', 'b', 'd'].slice(0, n)
          const world = new TeachingWorld(kind, names)
          for (const name of names) world.start(name)
          play(world, list)
          world.cut(() => false)
          if (world.members.size === 0) world.start(names[seed % n] ?? 'c')
          world.seeAll()
          world.pass(20_000)
          const highest = [...world.members.keys()].sort().at(-1)
          for (const name of world.members.keys()) {
            if (world.leader(name) !== highest) {
              throw new Error(`${name} follows ${world.leader(name)}, and ${highest} lives`)
            }
          }
        },
      ),
      { numRuns: 500 },
    )
    t.pass('500 schedules')
  })
}

void test('without partitions, crashes and losses a member never takes a lower one than itself for the leader', async (t) => {
  for (const kind of ['bully', 'ring'] as const) {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000), { maxLength: 60 }), (picks) => {
        const world = new TeachingWorld(kind, ['b', 'd', 'a', 'c'])
        world.onStep = (name, effects) => {
          for (const effect of effects) {
            if (effect.type === 'leader' && effect.leader !== undefined && effect.leader < name) {
              throw new Error(`${name} follows ${effect.leader}`)
            }
          }
        }
        for (const name of world.names) world.start(name)
        for (const at of picks) world.deliver(at % Math.max(1, world.parcels.length))
      }),
      { numRuns: 200 },
    )
  }
  t.pass('400 schedules')
})

void test('messages of the ring: n (n + 1) / 2 and n where the names fall, 2 n - 1 and n where they rise (Chang-Roberts, 4)', async (t) => {
  const sentBy = (names: readonly string[]): number => {
    const world = new TeachingWorld('ring', names)
    for (const name of names) world.start(name)
    world.deliverAll()
    return world.sent
  }
  for (const names of ['ab', 'abc', 'abcdefgh', 'abcdefghijklmnop'].map((letters) => letters.split(''))) {
    const n = names.length
    t.equal(sentBy(names), 2 * n - 1 + n, `${n} that rise`)
    t.equal(sentBy([...names].reverse()), (n * (n + 1)) / 2 + n, `${n} that fall`)
  }
})

void test('teaching cores refuse options that cannot be', async (t) => {
  t.throws(() => new BullyCore({ self: 'a', members: ['b'] }), /must have "a" itself/)
  t.throws(() => new RingCore({ self: 'a', members: ['a', 'a'] }), TypeError)
  t.throws(() => new RingCore({ self: 'a', members: ['a', ''] }), TypeError)
  t.throws(() => new BullyCore({ self: 'a', members: ['a'], answerMs: 0 }), RangeError)
  t.throws(() => new BullyCore({ self: 'a', members: ['a'], silentMs: 500 }), /above "heartbeatMs" \(500\)/)
  t.throws(() => new RingCore({ self: 'a', members: ['a'], roundMs: Number.NaN }), RangeError)
})

void test('a member alone leads at once, and strangers are not heard', async (t) => {
  const bully = new BullyCore({ self: 'a', members: ['a'] })
  t.match(bully.step({ type: 'start' }, 0), [{ type: 'leader', leader: 'a' }])
  t.same(bully.step({ type: 'message', from: 'z', message: { type: 'coordinator' } }, 1), [])
  t.equal(bully.status().leader, 'a')
  const ring = new RingCore({ self: 'a', members: ['a'] })
  t.match(ring.step({ type: 'start' }, 0), [{ type: 'leader', leader: 'a' }])
  t.match(ring.status(), { phase: 'leading', next: undefined })
})
