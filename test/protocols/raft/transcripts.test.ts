/** The transcripts of test/transcripts/raft: a cluster of Raft cores, what happens to it and what it does, one line each. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { runTranscript } from '../../support/transcript.ts'
import type { RunCommand } from '../../support/transcript.ts'
import { RaftCluster, coresWith, describeConfiguration, describeEffect } from './core-under-test.ts'
import type {
  Cluster,
  LogEntry,
  RaftCoreOptions,
  RaftEffect,
  RaftNode,
  RaftStart,
} from './core-under-test.ts'

const folder = new URL('../../../transcripts/raft/', import.meta.url)

/** The timers of `a` run out first, then those of `b`, and so on. */
const fractions: Readonly<Record<string, number>> = { a: 0, b: 0.2, c: 0.4, d: 0.6, e: 0.8, f: 0.9, g: 0.99 }

for (const name of readdirSync(folder).sort()) {
  void test(`RaftCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), raftCommands())
    t.equal(found, wanted)
    t.end()
  })
}

/**
 * Commands; times are milliseconds. A message takes 10 ms, a disk 1 ms, a snapshot 20 ms; the heartbeat is 100 ms, the election
 * timeout 1,000 ms and more for those later in the alphabet. A member is called by its node's name, with another store `a@2`.
 *   cluster a b c [learners=d] [spares=e] [lease] [quiesce=MS] [small] [size=BYTES, of what `log` plants]
 *   log NAME TERM ...     what stands in its log from the beginning, one command of each term (before `start`)
 *   term NAME TERM        the term on its disk (before `start`)
 *   start [NAME ...]      all, or these
 *   led                   all start, and 1,500 ms pass, of which nothing is printed: a leads
 *   run MS | until MS
 *   propose NAME TEXT ... [term=N] | read NAME [lease] | transfer NAME NAME
 *   change NAME voters=a,b [learners=c]
 *   crash NAME [keep=N] | wipe NAME | lose NAME INDEX (its log from there on, while it is down) | pause NAME MS
 *   cut NAME NAME | cut NAME>NAME | isolate NAME ... | split a,b c,d,e | bridge | ring | heal
 *   drop TYPE ... | drop nothing      messages of these types
 *   disk NAME held | disk NAME free
 *   compact NAME [keep=N] | unreachable NAME NAME | wake NAME | hosts (their own heartbeats)
 *   show [NAME ...] | logs
 *   print all | print important       heartbeats, their replies, empty appends and acknowledgements are not important
 */
function raftCommands(): RunCommand {
  let cluster: Cluster | undefined
  let planted: (() => Cluster) | undefined
  let isAll = false
  let size = 1
  let out: string[] = []
  const starts = new Map<string, Partial<RaftStart>>()

  const live = (): Cluster => {
    cluster ??= planted?.()
    if (cluster === undefined) throw new Error('begin with "cluster a b c"')
    return cluster
  }
  const print = (node: RaftNode, effects: readonly RaftEffect[]): void => {
    for (const effect of effects) {
      if (isAll || isImportant(effect))
        out.push(line(`@${Math.round(live().nowMs)} ${node.id}: ${describeEffect(effect)}`))
    }
  }
  const make = (
    names: readonly string[],
    learners: readonly string[],
    spares: readonly string[],
    options: RaftCoreOptions,
  ): Cluster => {
    const made = new RaftCluster({
      names: [...names, ...learners, ...spares],
      voters: names,
      learners,
      makeCore: coresWith({ heartbeatMs: 100, electionTimeoutMs: 1000, ...options }),
      choose: () => 0,
      electionTimeoutMs: 1000,
      starts,
      randomOf: (name) => {
        const fraction = fractions[name] ?? 0
        return {
          u32: () => Math.floor(fraction * 2 ** 32),
          int: (low, high) => low + Math.floor(fraction * (high - low + 1)),
          float: () => fraction,
          fork: () => ({}) as never,
        }
      },
      onStep: (node, _input, effects) => {
        print(node, effects)
      },
    })
    return made
  }

  const perform = (command: string): void => {
    const [verb = '', ...rest] = command.split(/\s+/)
    const options = new Map(
      rest.filter((word) => word.includes('=')).map((word) => word.split('=', 2) as [string, string]),
    )
    const words = rest.filter((word) => !word.includes('='))
    const [first = '', second = ''] = words
    const list = (key: string): readonly string[] =>
      (options.get(key) ?? '').split(',').filter((word) => word !== '')
    const id = (name: string): string => live().node(name).id
    switch (verb) {
      case 'cluster': {
        starts.clear()
        size = Number(options.get('size') ?? 1)
        cluster = undefined
        const flags = ['lease', 'small']
        const names = words.filter((word) => !flags.includes(word))
        const quiesce = options.get('quiesce')
        planted = () =>
          make(names, list('learners'), list('spares'), {
            leaseReads: words.includes('lease'),
            ...(quiesce === undefined ? {} : { quiesceAfterMs: Number(quiesce) }),
            ...(words.includes('small')
              ? {
                  appendBytesMax: 1024,
                  inflightMessagesMax: 2,
                  inflightBytesMax: 2048,
                  uncommittedBytesMax: 4096,
                }
              : {}),
          })
        return
      }
      case 'log': {
        const entries = words.slice(1).map((term, i): LogEntry => ({
          type: 'command',
          index: i + 1,
          term: Number(term),
          data: new Uint8Array(size).fill(i),
        }))
        const hard = starts.get(first)?.hard ?? { term: entries.at(-1)?.term ?? 0, vote: undefined }
        starts.set(first, { entries, hard })
        return
      }
      case 'term':
        starts.set(first, { ...starts.get(first), hard: { term: Number(second), vote: undefined } })
        return
      case 'start':
        for (const name of words.length > 0 ? words : live().names) live().start(name)
        return
      case 'led':
        live().startAll()
        live().runUntil(1500)
        out = []
        return
      case 'run':
        live().runUntil(live().nowMs + Number(first))
        return
      case 'until':
        live().runUntil(Number(first))
        return
      case 'propose': {
        const term = options.get('term')
        const commands = words.slice(1).map((text) => new TextEncoder().encode(text))
        live().propose(first, commands, term === undefined ? undefined : Number(term))
        return
      }
      case 'read':
        live().read(first, second === 'lease')
        return
      case 'change':
        live().change(first, list('voters').map(id), list('learners').map(id))
        return
      case 'transfer':
        live().transfer(first, id(second))
        return
      case 'crash':
        live().crash(first, Number(options.get('keep') ?? 0))
        return
      case 'wipe':
        live().wipe(first)
        return
      case 'lose':
        live().corrupt(first, Number(second))
        return
      case 'pause':
        live().pause(first, Number(second))
        return
      case 'cut': {
        const [from, to] = first.split('>')
        if (to !== undefined && from !== undefined) live().network.cut(from, to)
        else {
          live().network.cut(first, second)
          live().network.cut(second, first)
        }
        return
      }
      case 'isolate':
        for (const name of words) {
          for (const other of live().names) {
            live().network.cut(name, other)
            live().network.cut(other, name)
          }
        }
        return
      case 'split':
        live().network.split(
          live().names,
          words.map((word) => word.split(',')),
        )
        return
      case 'bridge':
        live().network.bridge(live().names)
        return
      case 'ring':
        live().network.ring(live().names)
        return
      case 'heal':
        live().network.join()
        return
      case 'drop': {
        const { dropTypes } = live().network.faults
        dropTypes.clear()
        if (first !== 'nothing') for (const word of words) dropTypes.add(word as never)
        return
      }
      case 'disk':
        live().setDisk(first, second === 'held')
        return
      case 'compact':
        live().compact(first, Number(options.get('keep') ?? 0))
        return
      case 'unreachable':
        live().step(live().node(first), { type: 'unreachable', member: id(second) })
        return
      case 'wake':
        live().step(live().node(first), { type: 'wake' })
        return
      case 'hosts':
        live().checkHosts()
        return
      case 'show':
        for (const name of words.length > 0 ? words : live().names) out.push(line(shown(live().node(name))))
        return
      case 'logs':
        for (const node of live().nodes) out.push(line(`${node.id}: ${terms(node)}`))
        return
      case 'print':
        isAll = first === 'all'
        return
      default:
        throw new Error(`no command "${verb}"`)
    }
  }

  return (command) => {
    out = []
    perform(command)
    return out
  }
}

function isImportant(effect: RaftEffect): boolean {
  if (effect.type === 'persist') return false
  if (effect.type !== 'send' && effect.type !== 'send-durable') return true
  const { message } = effect
  if (message.type === 'heartbeat' || message.type === 'heartbeat-reply') return false
  if (message.type === 'append') return message.entries.length > 0
  return message.type !== 'append-reply' || message.rejected !== undefined
}

function shown(node: RaftNode): string {
  const { status } = node
  if (status === undefined) return `${node.id}: down`
  const words = [
    `${status.role} t${status.term} vote ${status.vote ?? '-'} leader ${status.leader ?? '-'}`,
    `commit ${status.commit} applied ${status.applied} log ${status.first}..${status.last.index}/${status.last.term}`,
    describeConfiguration(status.configuration),
    ...(status.isQuiet ? ['quiet'] : []),
    ...(status.isRecovering ? ['recovering'] : []),
    ...status.progress.map(
      (one) =>
        `${one.member} ${one.state} ${one.match}<${one.next}${one.inflight > 0 ? ` inflight ${one.inflight}` : ''}${one.isActive ? '' : ' silent'}`,
    ),
  ]
  return `${node.id}: ${words.join(' | ')}`
}

/** The terms of a log, as the paper draws it. */
function terms(node: RaftNode): string {
  const { snapshot, entries } = node.log
  const head = snapshot.index === 0 ? [] : [`(${snapshot.index}/${snapshot.term})`]
  return [
    ...head,
    ...entries.map(
      (entry) => `${entry.term}${entry.type === 'command' ? '' : entry.type === 'noop' ? 'n' : 'c'}`,
    ),
  ].join(' ')
}

/** The first store of a node goes without saying. */
function line(text: string): string {
  return text.replaceAll(/([a-z])@1\b/g, '$1')
}
