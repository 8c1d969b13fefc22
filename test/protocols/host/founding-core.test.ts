/** Founding: the transcripts of test/transcripts/founding, and random schedules with crashes and lost disks. */
import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import { test } from 'tap'
import { runTranscript, type RunCommand } from '../../support/transcript.ts'
import {
  FoundingWorld,
  type FoundingEffect,
  type FoundingMessage,
  type FoundingNode,
  type Parcel,
} from './founding-world.ts'

const folder = new URL('../../../transcripts/founding/', import.meta.url)

for (const name of readdirSync(folder).sort()) {
  void test(`FoundingCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), foundingCommands())
    t.equal(found, wanted)
    t.end()
  })
}

/**
 * Commands. Each prints what the nodes did; a message that was sent waits until it is delivered.
 *   nodes a b c [as a,b,c]    nodes that are down, with what they are told of the members (default: all)
 *   start a b ...
 *   FROM>TO [again|last]      delivers the first message from one to the other; `again` and leaves it there; `last` the last
 *   drop FROM>TO              loses all that is on its way from one to the other
 *   run                       delivers everything, in order, and writes what is to be written, until nothing is left
 *   tick a ...
 *   durable a                 what it writes is durable
 *   crash a [kept]            with `kept` what it was writing is there
 *   wipe a                    crash, and its next store is another one
 *   status
 */
function foundingCommands(): RunCommand {
  let lines: string[] = []
  const note = (node: FoundingNode, effect: FoundingEffect): void => void lines.push(told(node, effect))
  let world = new FoundingWorld(note)
  return (command) => {
    lines = []
    const [verb = '', ...words] = command.split(/\s+/)
    const between = /^(\w+)>(\w+)$/.exec(verb)
    if (between !== null) {
      const [, from, to] = between
      const isThat = (parcel: Parcel): boolean => parcel.from === from && parcel.to === to
      const index =
        words[0] === 'last' ? world.parcels.findLastIndex(isThat) : world.parcels.findIndex(isThat)
      if (index < 0) throw new Error(`nothing is on its way from ${from} to ${to}`)
      world.deliver(index, words[0] === 'again')
      return lines
    }
    switch (verb) {
      case 'nodes': {
        if (words.includes('as') === false) world = new FoundingWorld(note)
        const at = words.indexOf('as')
        const nodes = at < 0 ? words : words.slice(0, at)
        const names = at < 0 ? words : (words[at + 1] ?? '').split(',')
        for (const name of nodes) world.add(name, names)
        return lines
      }
      case 'start':
        for (const name of words) world.start(name)
        return lines
      case 'drop': {
        const [from, to] = (words[0] ?? '').split('>')
        const lost = world.parcels.filter((parcel) => parcel.from === from && parcel.to === to)
        for (const parcel of lost) world.parcels.splice(world.parcels.indexOf(parcel), 1)
        return [`lost: ${lost.map(({ message }) => message.type).join(', ')}`]
      }
      case 'run':
        run(world)
        return lines
      case 'tick':
        for (const name of words) world.tick(name)
        return lines
      case 'durable':
        world.durable(words[0] ?? '')
        return lines
      case 'crash':
        world.crash(words[0] ?? '', words[1] === 'kept')
        return lines
      case 'wipe':
        world.wipe(words[0] ?? '')
        return lines
      case 'status':
        return [...world.nodes.values()].map((node) => {
          const { phase, empty } = node.core?.status() ?? { phase: 'down', empty: [] }
          const of = empty.length === 0 ? '' : `, empty: ${empty.join(' ')}`
          const held =
            node.record === undefined ? '' : `, ${node.record.kind} ${node.record.members.join(' ')}`
          return `${node.name} (${node.store}): ${phase}${of}${held}`
        })
      default:
        throw new Error(`no such command: ${verb}`)
    }
  }
}

function run(world: FoundingWorld): void {
  for (;;) {
    const writer = [...world.nodes.values()].find(({ writing }) => writing !== undefined)
    if (writer !== undefined) world.durable(writer.name)
    else if (world.parcels.length > 0) world.deliver(0)
    else return
  }
}

function told({ name }: FoundingNode, effect: FoundingEffect): string {
  switch (effect.type) {
    case 'send':
      return `${name} -> ${effect.to}: ${message(effect.message)}`
    case 'send-have':
      return `${name} -> ${effect.to}: have ${effect.founders.join(' ')} (ticket ${effect.ticket})`
    case 'persist':
      return `${name} writes ${effect.record.kind} ${effect.record.members.join(' ')}`
    case 'outcome':
      return `${name}: ${effect.outcome.kind}, ${effect.outcome.members.join(' ')}`
    case 'refused':
      return `${name} refuses: ${effect.node} ${effect.isFounded ? 'was founded by' : 'was given'} ${effect.others.join(' ')}`
    default:
      return effect satisfies never
  }
}

function message(sent: FoundingMessage): string {
  switch (sent.type) {
    case 'ask':
      return `ask ${sent.names.join(' ')} (attempt ${sent.attempt}, ticket ${sent.ticket})`
    case 'empty':
      return `empty (attempt ${sent.attempt}, ticket ${sent.ticket})`
    case 'differs':
      return `differs ${sent.names.join(' ')}`
    case 'have':
      return 'have'
    default:
      return sent satisfies never
  }
}

// ---- Random schedules ------------------------------------------------------------------------------------------------

type Move =
  | { readonly do: 'deliver' | 'repeat' | 'lose'; readonly at: number }
  | { readonly do: 'tick' | 'durable' | 'start' | 'crash' | 'kept' | 'wipe'; readonly at: number }

const moves: fc.Arbitrary<Move> = fc.record({
  do: fc.oneof(
    { weight: 12, arbitrary: fc.constant('deliver' as const) },
    { weight: 3, arbitrary: fc.constantFrom('repeat' as const, 'lose' as const) },
    { weight: 4, arbitrary: fc.constantFrom('tick' as const, 'start' as const) },
    { weight: 4, arbitrary: fc.constant('durable' as const) },
    { weight: 2, arbitrary: fc.constantFrom('crash' as const, 'kept' as const, 'wipe' as const) },
  ),
  at: fc.nat(1_000),
})

function move(world: FoundingWorld, names: readonly string[], { do: what, at }: Move): void {
  const name = names[at % names.length] ?? ''
  const node = world.node(name)
  const parcel = at % Math.max(1, world.parcels.length)
  switch (what) {
    case 'deliver':
    case 'repeat':
      world.deliver(parcel, what === 'repeat')
      return
    case 'lose':
      world.parcels.splice(parcel, 1)
      return
    case 'tick':
      world.tick(name)
      return
    case 'durable':
      if (node.core !== undefined && node.writing !== undefined) world.durable(name)
      return
    case 'start':
      if (node.core === undefined) world.start(name)
      return
    case 'crash':
    case 'kept':
      world.crash(name, what === 'kept')
      return
    case 'wipe':
      world.wipe(name)
      return
    default:
      what satisfies never
  }
}

/** Founding configurations that stores which still are hold, or may hold after a crash. */
function foundings(world: FoundingWorld): readonly string[] {
  const all = [...world.nodes.values()].flatMap(({ record, writing }) => [record, writing])
  return [...new Set(all.flatMap((record) => (record === undefined ? [] : [record.members.join(' ')])))]
}

for (const count of [1, 2, 3, 4]) {
  void test(`founding of ${count}: never two configurations, whatever is lost, doubled, late, crashed or wiped`, (t) => {
    const names = ['a', 'b', 'c', 'd'].slice(0, count)
    const property = fc.property(
      fc.array(moves, { minLength: 10, maxLength: 150, size: 'max' }),
      fc.nat(),
      (schedule, seed) => {
        const world = new FoundingWorld(undefined, seed)
        for (const name of names) world.add(name, names)
        for (const name of names) world.start(name)
        for (const step of schedule) {
          move(world, names, step)
          const found = foundings(world)
          if (found.length > 1) throw new Error(`two configurations: ${found.join('; ')}`)
          for (const node of world.nodes.values()) {
            const { outcome, record } = node
            if (outcome !== undefined && outcome.members.join(' ') !== record?.members.join(' ')) {
              throw new Error(`${node.name} says what its store does not hold`)
            }
            if (record?.kind === 'founded' && !record.members.includes(`${node.name}@${node.store}`)) {
              throw new Error(`${node.name} takes itself for a founder`)
            }
          }
        }
        // No more faults: everybody settles, on one and the same.
        for (const name of names) if (world.node(name).core === undefined) world.start(name)
        for (let round = 0; round < 6; round++) {
          run(world)
          for (const name of names) world.tick(name)
        }
        run(world)
        for (const node of world.nodes.values()) {
          if (node.outcome === undefined) throw new Error(`${node.name} does not settle`)
        }
        if (foundings(world).length !== 1) throw new Error('it is not one')
      },
    )
    fc.assert(property, { numRuns: 4_000, seed: 5 })
    t.end()
  })
}
