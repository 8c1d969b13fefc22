/** What goes into Raft cores and what comes out, in words: for traces of failed runs and for transcripts. */
import type { LogEntry, LogPosition, MemberId, RaftConfiguration, RaftMessage } from '../raft/raft-message.ts'
import type { RaftEffect, RaftInput, RaftStatus } from '../raft/raft-step.ts'

/** One step of one member. */
export interface RaftStepRecord {
  readonly atMs: number
  readonly member: MemberId
  /** What happened: a core's input, or a fault in words. */
  readonly input: RaftInput | string
  readonly effects: readonly RaftEffect[]
  readonly status: RaftStatus | undefined
}

/** The last so many steps. */
export class RaftTrace {
  readonly #most: number
  #records: RaftStepRecord[] = []
  /** How many there were in all. */
  steps = 0

  constructor(most: number) {
    this.#most = most
  }

  add(record: RaftStepRecord): void {
    this.steps++
    this.#records.push(record)
    if (this.#records.length > this.#most * 2) this.#records = this.#records.slice(-this.#most)
  }

  lines(): readonly string[] {
    return this.#records.slice(-this.#most).flatMap(recordLines)
  }
}

function recordLines(record: RaftStepRecord): readonly string[] {
  const { atMs, member, input, effects, status } = record
  const now =
    status === undefined
      ? ''
      : `   [${status.role} t${status.term} c${status.commit} l${place(status.last)} d${status.durable}]`
  const head = `@${atMs.toFixed(1)} ${member} <- ${typeof input === 'string' ? input : describeInput(input)}${now}`
  return [head, ...effects.map((effect) => `        -> ${describeEffect(effect)}`)]
}

export function describeInput(input: RaftInput): string {
  switch (input.type) {
    case 'tick':
    case 'wake':
      return input.type
    case 'message':
      return `${input.from}: ${describeMessage(input.message)}`
    case 'propose':
      return `propose #${input.id} x${input.commands.length}${input.term === undefined ? '' : ` in term ${input.term}`}`
    case 'read':
      return `read #${input.id}${input.lease === true ? ' by lease' : ''}`
    case 'change':
      return `change #${input.id} to ${names(input.target.voters)} learners ${names(input.target.learners)}`
    case 'transfer':
      return `transfer #${input.id} to ${input.to}`
    case 'persisted':
      return `persisted ${place(input.upTo)}`
    case 'snapshot':
      return `snapshot ${place(input.meta)} from ${input.from} of term ${input.term}`
    case 'installed':
      return `installed ${place(input.meta)}`
    case 'snapshot-status':
      return `snapshot ${input.index} ${input.ok ? 'is at' : 'failed at'} ${input.to}`
    case 'compact':
      return `compact at ${place(input.meta)} keeping from ${input.keepFrom}`
    case 'unreachable':
      return `unreachable ${input.member}`
    default:
      return unknown(input)
  }
}

export function describeEffect(effect: RaftEffect): string {
  switch (effect.type) {
    case 'persist': {
      const { hard, entries } = effect
      const words = [
        ...(hard === undefined ? [] : [`term ${hard.term} vote ${hard.vote ?? '-'}`]),
        ...(entries.length === 0 ? [] : [describeEntries(entries)]),
      ]
      return `persist ${words.join(', ')}`
    }
    case 'send':
      return `to ${effect.to}: ${describeMessage(effect.message)}`
    case 'send-durable':
      return `to ${effect.to}, when durable: ${describeMessage(effect.message)}`
    case 'install':
      return `install ${place(effect.meta)} ${describeConfiguration(effect.meta.configuration)}`
    case 'send-snapshot':
      return `snapshot to ${effect.to}`
    case 'apply':
      return `apply ${describeEntries(effect.entries)}`
    case 'appended':
      return `#${effect.id} appended at ${place({ index: effect.first, term: effect.term })}`
    case 'refused':
      return `#${effect.id} refused: ${effect.reason}${effect.leader === undefined ? '' : ` (leader ${effect.leader})`}`
    case 'read-ready':
      return `#${effect.id} may read at ${effect.index}`
    case 'changed':
      return `#${effect.id} changed to ${describeConfiguration(effect.configuration)}`
    case 'transferred':
      return `#${effect.id} transferred`
    case 'role':
      return `${effect.role} in term ${effect.term}, leader ${effect.leader ?? '-'}`
    default:
      return unknown(effect)
  }
}

export function describeMessage(message: RaftMessage): string {
  const head = `${message.type} t${message.term}`
  switch (message.type) {
    case 'pre-vote':
    case 'vote':
      return `${head} last ${place(message.last)}${message.transfer ? ' transfer' : ''}`
    case 'pre-vote-reply':
    case 'vote-reply':
      return `${head} ${message.granted ? 'granted' : 'refused'}`
    case 'append': {
      const entries = message.entries.length === 0 ? '' : ` ${describeEntries(message.entries)}`
      return `${head} behind ${place(message.previous)}${entries} commit ${message.commit}`
    }
    case 'append-reply': {
      const { rejected } = message
      if (rejected === undefined) return `${head} has ${message.index}`
      return `${head} refuses ${message.index}, try ${place(rejected.hint)}${rejected.lost ? ', lost' : ''}`
    }
    case 'heartbeat':
      return `${head} round ${message.round} commit ${message.commit}`
    case 'heartbeat-reply':
      return `${head} round ${message.round}`
    case 'timeout-now':
      return head
    case 'read':
      return `${head} id ${message.id}`
    case 'read-reply':
      return `${head} id ${message.id} index ${message.index ?? '-'}`
    case 'quiesce':
      return `${head} last ${place(message.last)} commit ${message.commit}`
    default:
      return unknown(message)
  }
}

/** `4/2 5/2 6/3n`: index, term, and `n` for a noop, `c(...)` for a configuration; a long run is shortened. */
export function describeEntries(entries: readonly LogEntry[]): string {
  const words = entries.map((entry) => {
    const kind =
      entry.type === 'command'
        ? ''
        : entry.type === 'noop'
          ? 'n'
          : `c(${describeConfiguration(entry.configuration)})`
    return `${place(entry)}${kind}`
  })
  if (words.length <= 8) return words.join(' ')
  return [...words.slice(0, 3), `.. ${words.length - 6} more ..`, ...words.slice(-3)].join(' ')
}

export function describeConfiguration(configuration: RaftConfiguration): string {
  const { voters, outgoing, learners, learnersNext } = configuration
  const words = [
    names(voters),
    ...(outgoing.length === 0 ? [] : [`& ${names(outgoing)}`]),
    ...(learners.length === 0 ? [] : [`learners ${names(learners)}`]),
    ...(learnersNext.length === 0 ? [] : [`later learners ${names(learnersNext)}`]),
  ]
  return words.join(' ')
}

export function place(position: LogPosition): string {
  return `${position.index}/${position.term}`
}

function names(ids: readonly MemberId[]): string {
  return ids.length === 0 ? '-' : ids.join(',')
}

function unknown(value: never): string {
  return JSON.stringify(value)
}
