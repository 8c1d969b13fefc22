/** The transcripts of test/transcripts/swim: a few SWIM cores, what they are told and what they do, one line each. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import type { BedEffect, BedFacts, BedInput, BedMessage, BedRecord } from '../support/swim-bed.ts'
import { runTranscript } from '../support/transcript.ts'
import type { RunCommand } from '../support/transcript.ts'

type Core = InstanceType<typeof SwimCore>

const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)

const folder = new URL('../../transcripts/swim/', import.meta.url)
const LATENCY_MS = 10

for (const name of readdirSync(folder).sort()) {
  void test(`SwimCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), swimCommands())
    t.equal(found, wanted)
    t.end()
  })
}

interface Node {
  readonly core: Core
  readonly incarnation: number
  isRunning: boolean
  stalledUntilMs: number
}

/**
 * Commands; times are milliseconds, an address is a port, a message takes 10 ms, chance is always the least:
 *   node NAME/INCARNATION PORT [preset=P] [phi] [trust]  a core; a second one of that name is another life
 *   all know each other      they are alive and know each other from the beginning (first after the `node`s)
 *   puppet NAME/INCARNATION PORT   known like a node; it answers pings till it crashes, all else from it is commanded
 *   AT NODE started | leave | alive | leaving
 *   AT NODE linked PEER [and back]    PEER/INCARNATION PORT for one that is no node
 *   AT NODE unlinked | refused | goodbye PEER/INCARNATION
 *   AT NODE remove PEER/INCARNATION REASON
 *   AT NODE hears PEER/INCARNATION gossip | push-pull | answer | ping N | ack N | nack N [RECORD ...]
 *     a RECORD is NAME/INCARNATION:PORT=KIND@REFUTATION[/ACCUSER]
 *   AT crash NODE | AT cut NODE NODE | AT cut NODE>NODE | AT heal | AT stall NODE UNTIL
 *   run until AT
 *   show NODE
 * Pings and acks that carry no record are not printed, nor digests and their like.
 */
function swimCommands(): RunCommand {
  const nodes = new Map<string, Node>()
  const facts = new Map<string, BedFacts>()
  const options = new Map<string, string>()
  const queue: { atMs: number; order: number; to: string; input: BedInput }[] = []
  const cuts = new Set<string>()
  const dead = new Set<string>()
  let nowMs = 0
  let order = 0
  let areKnown = false
  let out: string[] = []

  const factsOf = (name: string): BedFacts => facts.get(name) ?? missing(`no node "${name}"`)
  const nodeOf = (name: string): Node => {
    const found = nodes.get(name)
    if (found !== undefined) return found
    const self = factsOf(name)
    const words = options.get(name) ?? ''
    const others = [...facts.values()].filter((other) => other.name !== name)
    const node: Node = {
      core: new SwimCore({
        self,
        phase: areKnown ? 'alive' : 'joining',
        known: areKnown ? others.map((other) => makeRecord(other, 'alive', 0, undefined)) : [],
        random: { float: () => 0, int: (low) => low },
        preset: words.includes('local') ? 'local' : 'lan',
        ...(words.includes('phi') ? { detector: { phi: {} } } : {}),
        ...(words.includes('trust') ? { trustRefusal: true } : {}),
        // What the transcripts are about is the rules; the second probe of each period would only double their lines.
        probesNext: words.includes('next'),
      }),
      incarnation: self.incarnation,
      isRunning: true,
      stalledUntilMs: 0,
    }
    nodes.set(name, node)
    return node
  }

  const step = (name: string, input: BedInput): void => {
    const node = nodeOf(name)
    if (!node.isRunning) return
    for (const effect of node.core.step(input, nowMs)) {
      const text = printed(effect)
      if (text !== undefined) out.push(`@${Math.round(nowMs)} ${name}: ${text}`)
      if (effect.type === 'send') answerForPuppet(name, effect.to, effect.message)
      if (effect.type !== 'send' || !nodes.has(effect.to) || cuts.has(`${name}>${effect.to}`)) continue
      later(effect.to, {
        type: 'received',
        from: name,
        incarnation: node.incarnation,
        message: effect.message,
      })
    }
  }
  const answerForPuppet = (asker: string, name: string, sent: BedMessage): void => {
    if (options.get(name) !== 'puppet' || dead.has(name)) return
    const { incarnation } = factsOf(name)
    if (sent.type !== 'ping' && sent.type !== 'ping-req') return
    const type = sent.type === 'ping-req' && dead.has(sent.target) ? 'nack' : 'ack'
    later(asker, {
      type: 'received',
      from: name,
      incarnation,
      message: { type, sequence: sent.sequence, records: [] },
    })
  }
  const later = (to: string, input: BedInput): void => {
    queue.push({ atMs: nowMs + LATENCY_MS, order: order++, to, input })
  }
  const runUntil = (untilMs: number): void => {
    for (let rounds = 0; rounds < 100_000; rounds++) {
      let next: { atMs: number; order: number; to: string; input: BedInput } | undefined
      const consider = (one: { atMs: number; order: number; to: string; input: BedInput }): void => {
        const node = nodes.get(one.to)
        if (node === undefined || !node.isRunning) return
        const atMs = Math.max(one.atMs, node.stalledUntilMs)
        if (next === undefined || atMs < next.atMs || (atMs === next.atMs && one.order < next.order))
          next = { ...one, atMs }
      }
      for (const [name, { core }] of nodes) {
        const dueMs = core.nextDeadlineMs()
        if (dueMs !== undefined) consider({ atMs: dueMs, order: -1, to: name, input: { type: 'tick' } })
      }
      for (const one of queue) consider(one)
      if (next === undefined || next.atMs > untilMs) break
      const { order: taken } = next
      const index = queue.findIndex((one) => one.order === taken)
      if (taken >= 0 && index >= 0) queue.splice(index, 1)
      nowMs = next.atMs
      step(next.to, next.input)
    }
    nowMs = Math.max(nowMs, untilMs)
  }

  const perform = (command: string): void => {
    const words = command.split(/\s+/)
    const [first = '', second = '', third = '', fourth = ''] = words
    if (first === 'node' || first === 'puppet') {
      const [name, incarnation] = identity(second)
      nodes.delete(name)
      facts.set(name, { name, incarnation, address: address(third), weight: 1, roles: [], version: '' })
      options.set(name, words.slice(3).join(' '))
      if (first === 'puppet') options.set(name, 'puppet')
      return
    }
    if (command === 'all know each other') {
      areKnown = true
      for (const name of facts.keys()) if (options.get(name) !== 'puppet') nodeOf(name)
      for (const name of facts.keys()) if (options.get(name) !== 'puppet') step(name, { type: 'started' })
      return
    }
    if (first === 'run') {
      runUntil(Number(third))
      return
    }
    if (first === 'show') {
      const { core } = nodeOf(second)
      for (const record of core.table()) out.push(`${second} has ${printedRecord(record)}`)
      out.push(`${second} has awareness ${core.awareness()}`)
      return
    }
    runUntil(Number(first))
    if (second === 'crash') {
      dead.add(third)
      if (options.get(third) !== 'puppet') nodeOf(third).isRunning = false
      return
    }
    if (second === 'cut') {
      const [a = '', b = ''] = third.includes('>') ? third.split('>') : [third, fourth]
      cuts.add(`${a}>${b}`)
      if (!third.includes('>')) cuts.add(`${b}>${a}`)
      return
    }
    if (second === 'heal') {
      cuts.clear()
      return
    }
    if (second === 'stall') {
      nodeOf(third).stalledUntilMs = Number(fourth)
      return
    }
    const [name = '', incarnation = 0] = fourth.includes('/') ? identity(fourth) : []
    switch (third) {
      case 'started':
      case 'leave':
        return step(second, { type: third })
      case 'alive':
      case 'leaving':
        return step(second, { type: 'set-phase', phase: third })
      case 'linked': {
        if (fourth.includes('/')) {
          const peer: BedFacts = { ...factsOf(second), name, incarnation, address: address(words[4] ?? '') }
          return step(second, { type: 'linked', peer })
        }
        step(second, { type: 'linked', peer: factsOf(fourth) })
        if (command.endsWith('and back')) step(fourth, { type: 'linked', peer: factsOf(second) })
        return
      }
      case 'unlinked':
      case 'refused':
      case 'goodbye':
        return step(second, { type: third, name, incarnation })
      case 'remove':
        return step(second, { type: 'remove', name, incarnation, reason: words[4] ?? '' })
      case 'hears':
        return step(second, { type: 'received', from: name, incarnation, message: message(words.slice(4)) })
      default:
        throw new Error(`unknown command "${command}"`)
    }
  }
  return (command) => {
    out = []
    perform(command)
    return out
  }
}

function message([type = '', ...rest]: readonly string[]): BedMessage {
  const hasSequence = type === 'ping' || type === 'ack' || type === 'nack'
  const records = rest.slice(hasSequence ? 1 : 0).map(parseRecord)
  if (hasSequence) return { type, sequence: Number(rest[0]), records }
  if (type === 'gossip') return { type, records }
  return { type: 'push-pull', isAnswer: type === 'answer', isLast: true, records }
}

function parseRecord(text: string): BedRecord {
  const match = /^([\w-]+)\/(\d+):(\d+)=([a-z]+)@(\d+)(?:\/([\w-]+))?$/.exec(text)
  if (match === null) throw new Error(`bad record "${text}"`)
  const [, name = '', incarnation, port = '', kind, refutation, by] = match
  const facts: BedFacts = {
    name,
    incarnation: Number(incarnation),
    address: address(port),
    weight: 1,
    roles: [],
    version: '',
  }
  return makeRecord(facts, kind as BedRecord['kind'], Number(refutation), by)
}

function makeRecord(
  facts: BedFacts,
  kind: BedRecord['kind'],
  refutation: number,
  by: string | undefined,
): BedRecord {
  const phase = kind === 'joining' || kind === 'leaving' ? kind : 'alive'
  return { ...facts, refutation, kind, phase, cannotReach: [], ...(by === undefined ? {} : { by }) }
}

function identity(text: string): [string, number] {
  const [name = '', incarnation = ''] = text.split('/')
  return [name, Number(incarnation)]
}

function address(port: string): BedFacts['address'] {
  return `ws://127.0.0.1:${port}` as BedFacts['address']
}

function missing(message: string): never {
  throw new Error(message)
}

function printedRecord(record: BedRecord): string {
  const { name, incarnation, kind, refutation, by, reason, cannotReach } = record
  const more = `${by === undefined ? '' : ` by ${by}`}${reason === undefined ? '' : ` (${reason})`}`
  const claim = cannotReach.length === 0 ? '' : ` cannot reach ${cannotReach.join(', ')}`
  return `${name}/${incarnation} ${kind}@${refutation}${more}${claim}`
}

function printed(effect: BedEffect): string | undefined {
  switch (effect.type) {
    case 'send': {
      const { to, message: sent } = effect
      const records = sent.records.map(printedRecord).join(', ')
      switch (sent.type) {
        case 'ping':
        case 'ack':
          return records === '' ? undefined : `${sent.type} to ${to}: ${records}`
        case 'sync':
          return records === '' ? undefined : `digest to ${to}: ${records}`
        case 'nack':
          return `nack to ${to}${records === '' ? '' : `: ${records}`}`
        case 'ping-req':
          return `asks ${to} to ping ${sent.target}/${sent.incarnation}${records === '' ? '' : `: ${records}`}`
        case 'gossip':
          return `gossip to ${to}: ${records}`
        case 'push-pull':
          return `${sent.isAnswer ? 'table back' : 'table'} to ${to}: ${records}`
      }
      return undefined
    }
    case 'link-dead':
      return `link-dead ${effect.name}/${effect.incarnation}`
    case 'silence-changed':
      return 'silence-changed'
    case 'member-suspected':
      return `member-suspected ${effect.member.name}/${effect.member.incarnation} by ${effect.by} (${effect.reason})`
    case 'member-down':
      return `member-down ${effect.member.name}/${effect.member.incarnation} by ${effect.by} (${effect.reason})`
    case 'member-joined':
    case 'member-changed':
      return `${effect.type} ${printedRecord(effect.member)}`
    case 'member-unreachable':
    case 'member-recovered':
    case 'member-left':
      return `${effect.type} ${effect.member.name}/${effect.member.incarnation}`
    case 'self-removed':
      return `self-removed by ${effect.by}`
    case 'name-conflict': {
      const places = effect.addresses.map(
        (place, index) =>
          `${effect.name}/${effect.incarnations[index]} at ${place.slice(place.lastIndexOf(':') + 1)}`,
      )
      return `name-conflict: ${places.join(' and ')}`
    }
  }
}
