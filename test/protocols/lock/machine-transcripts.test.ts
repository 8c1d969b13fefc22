/** The transcripts of test/transcripts/lock: commands of the log, and what the lock table says to them, one line each. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { runTranscript, type RunCommand } from '../../support/transcript.ts'
import { acquire, LockLog } from './machine-log.ts'
import type { AcquireCommand, LockAnswer, LockResult } from './machine-source.ts'

const folder = new URL('../../../transcripts/lock/', import.meta.url)

for (const name of readdirSync(folder).sort()) {
  void test(`LockMachine transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), lockCommands())
    t.equal(found, wanted)
    t.end()
  })
}

/**
 * Sessions are called by letters, requests by a number behind them: a1 is request 1 of session a.
 *   open NAME [ttl=MS] | keep NAME | end NAME | expire NAME ...
 *   lock REQUEST NAME [owner=O] [again] [try]       a mutex; `again`: re-entrant, `try`: does not wait
 *   read REQUEST NAME ... | write REQUEST NAME ...  of a read-write lock
 *   take REQUEST NAME permits=N of=N ...            of a semaphore
 *   lead REQUEST NAME data=D                        an election
 *   release REQUEST | downgrade REQUEST | state REQUEST
 *   pass REQUEST NAME parties=N | enter REQUEST NAME parties=N | leave REQUEST NAME entered=N
 *   permits NAME N | pass-time MS | new-term
 *   show NAME
 */
function lockCommands(): RunCommand {
  const log = new LockLog()
  const sessions = new Map<string, number>()
  const nameOf = (session: number): string =>
    [...sessions].find(([, id]) => id === session)?.[0] ?? String(session)
  const session = (name: string): number => sessions.get(name) ?? 999
  const request = (text: string): { readonly session: number; readonly request: number } => ({
    session: session(text.slice(0, 1)),
    request: Number(text.slice(1)),
  })

  const answerOf = (result: LockResult): string => {
    if (result.ok) return describe(result.result)
    const { code, cycle } = result.error
    const steps = (cycle ?? []).map(
      (edge) => `${edge.owner} of ${nameOf(edge.session)} waits for ${edge.name}`,
    )
    return [code, ...steps].join(', ')
  }
  /** The answer, who was let through by it, and who is over. */
  const told = (answer: string): readonly string[] => {
    const grants = log
      .takeGrants()
      .map((grant) => `  ${nameOf(grant.session)}${grant.request} held ${grant.token}`)
    const over = log.over.splice(0).map((id) => `  ${nameOf(id)} is over`)
    return [answer, ...over, ...grants]
  }

  return (line) => {
    const [verb = '', first = '', second = '', ...others] = line.split(/\s+/)
    const given = new Map(
      line.split(/\s+/).map((word): [string, string] => {
        const [key = '', value = 'yes'] = word.split('=')
        return [key, value]
      }),
    )
    const number = (key: string, otherwise: number): number => Number(given.get(key) ?? otherwise)
    const take = (fields: Partial<AcquireCommand>): readonly string[] => {
      const { session: id, request: n } = request(first)
      const how = { owner: given.get('owner') ?? '', reentrant: given.has('again'), wait: !given.has('try') }
      return told(answerOf(log.apply(acquire(id, n, second, { ...how, ...fields }))))
    }
    const barrier = (step: 'pass' | 'enter' | 'leave'): readonly string[] =>
      told(
        answerOf(
          log.apply({
            type: 'barrier',
            ...request(first),
            name: second,
            step,
            parties: number('parties', 1),
            entered: number('entered', 0),
          }),
        ),
      )
    switch (verb) {
      case 'open':
        sessions.set(first, log.open(number('ttl', 1_000), first))
        return []
      case 'keep':
        return told(answerOf(log.apply({ type: 'keep-alive', session: session(first) })))
      case 'end':
        return told(answerOf(log.apply({ type: 'end-session', session: session(first) })))
      case 'expire':
        return told(
          answerOf(
            log.apply({ type: 'expire', sessions: [first, second, ...others].filter(Boolean).map(session) }),
          ),
        )
      case 'lock':
        return take({})
      case 'read':
        return take({ kind: 'read-write', permits: 1 })
      case 'write':
        return take({ kind: 'read-write', permits: 0 })
      case 'take':
        return take({ kind: 'semaphore', permits: number('permits', 1), capacity: number('of', 0) })
      case 'lead':
        return take({ kind: 'election', data: given.get('data') ?? '' })
      case 'release':
        return told(answerOf(log.apply({ type: 'release', ...request(first) })))
      case 'downgrade':
        return told(answerOf(log.apply({ type: 'downgrade', ...request(first) })))
      case 'state': {
        const asked = request(first)
        return [describe(log.machine.state(asked.session, asked.request))]
      }
      case 'pass':
      case 'enter':
      case 'leave':
        return barrier(verb)
      case 'permits':
        return told(answerOf(log.apply({ type: 'set-permits', name: first, permits: Number(second) })))
      case 'pass-time':
        log.timeMs += Number(first)
        return []
      case 'new-term':
        log.term++
        return []
      case 'show': {
        const view = log.machine.view(first)
        if (view === undefined) return ['nothing']
        const holders = view.holders.map(
          (one) => `${one.label}${one.owner === '' ? '' : `/${one.owner}`} ${one.token}`,
        )
        const reigns = view.reigns.map(({ token, data }) => `${data} ${token}`)
        return [
          `${view.kind}: held by ${holders.join(', ') || 'nobody'}; ${view.waiting} wait`,
          ...(reigns.length === 0 ? [] : [`reigns: ${reigns.join(', ')}`]),
        ]
      }
      default:
        throw new Error(`there is no command "${verb}"`)
    }
  }
}

function describe(answer: LockAnswer): string {
  switch (answer.type) {
    case 'held':
      return `held ${answer.token}`
    case 'queued':
      return `queued, ${answer.ahead} ahead`
    case 'busy':
      return `busy, ${answer.holders} hold it`
    case 'released':
      return `was ${answer.was}`
    default:
      return answer.type
  }
}
