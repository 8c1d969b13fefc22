/** The transcripts of test/transcripts/membership: a core's inputs and its effects, one line each. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { replay, runTranscript } from '../support/transcript.ts'
import type { RunCommand } from '../support/transcript.ts'

type Core = InstanceType<typeof StaticMembershipCore>
type Effect = import('../../packages/cluster/src/membership/membership.ts').MembershipEffect
type Input = import('../../packages/cluster/src/membership/membership.ts').MembershipInput
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { StaticMembershipCore } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/static-core.ts')
>('cluster', 'membership/static-core')

const folder = new URL('../../transcripts/membership/', import.meta.url)

for (const name of readdirSync(folder).sort()) {
  void test(`StaticMembershipCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), membershipCommands())
    t.equal(found, wanted)
    t.end()
  })
}

void test('replay: keeps comments, replaces what is printed, says when nothing was, shows errors', (t) => {
  const run: RunCommand = (command) => {
    if (command === 'fail') throw new RangeError('no')
    return command === 'quiet' ? [] : [`ran ${command}`]
  }
  t.equal(
    replay('# about\na  # why\nb\n----\nold\n\nquiet\n----\n\nfail\n----\nold\nold', run),
    '# about\na  # why\nb\n----\nran a\nran b\n\nquiet\n----\n(nothing)\n\nfail\n----\nerror: no\n',
  )
  t.end()
})

/**
 * Commands; times are milliseconds, addresses are ports:
 *   node NAME/INCARNATION PORT [seeds=PORT,PORT]      makes a core, without chance: every delay is the full one
 *   AT NODE started | tick | leave
 *   AT NODE established LINK PEER/INCARNATION PORT in|out [PORT that was dialled]
 *   AT NODE closed LINK CODE
 *   AT NODE dial-failed PORT CODE
 *   AT NODE heard LINK ping|pong SEQUENCE
 *   AT NODE active LINK
 *   AT NODE goodbye LINK
 *   NODE runs until AT       ticks at every deadline up to that time
 *   NODE runs until AT, hearing LINK      the same, with a sign of life on that link before each tick
 *   NODE view
 */
function membershipCommands(): RunCommand {
  const cores = new Map<string, Core>()
  const core = (name: string): Core => {
    const found = cores.get(name)
    if (found === undefined) throw new Error(`no node "${name}"`)
    return found
  }
  const step = (name: string, atMs: number, input: Input): string[] =>
    core(name)
      .step(input, atMs)
      .map((effect) => `@${atMs} ${name}: ${printed(effect)}`)

  return (command) => {
    const words = command.split(/[\s,]+/)
    const [
      first = '',
      second = '',
      third = '',
      fourth = '',
      fifth = '',
      sixth = '',
      seventh = '',
      eighth = '',
    ] = words
    if (first === 'node') {
      const [name, incarnation] = identity(second)
      const seeds = /seeds=([\d,]+)/.exec(command)?.[1]?.split(',').map(address) ?? []
      cores.set(
        name,
        new StaticMembershipCore({
          self: { name, incarnation, address: address(third) },
          seeds,
          random: { float: () => 0 },
        }),
      )
      return []
    }
    if (second === 'view') return [printedView(core(first).view())]
    if (second === 'runs') {
      const untilMs = Number(fourth)
      const out: string[] = []
      for (let rounds = 0; rounds < 200; rounds++) {
        const dueMs = core(first).nextDeadlineMs()
        if (dueMs === undefined || dueMs > untilMs) return out
        if (fifth === 'hearing') {
          out.push(...step(first, dueMs, { type: 'link-active', linkId: Number(sixth) }))
        }
        out.push(...step(first, dueMs, { type: 'tick' }))
      }
      throw new Error('more than 200 ticks')
    }
    const linkId = Number(fourth)
    const at = Number(first)
    switch (third) {
      case 'started':
      case 'tick':
      case 'leave':
        return step(second, at, { type: third })
      case 'established': {
        const [name, incarnation] = identity(fifth)
        return step(second, at, {
          type: 'link-established',
          linkId,
          name,
          incarnation,
          address: address(sixth),
          dialledByUs: seventh === 'out',
          ...(eighth === '' ? {} : { dialledAddress: address(eighth) }),
          weight: 1,
        })
      }
      case 'closed':
        return step(second, at, { type: 'link-closed', linkId, reason: { code: fifth } })
      case 'dial-failed':
        return step(second, at, { type: 'dial-failed', address: address(fourth), code: fifth })
      case 'heard':
        return step(second, at, {
          type: 'heartbeat-received',
          linkId,
          kind: fifth === 'ping' ? 'ping' : 'pong',
          sequence: Number(sixth),
        })
      case 'active':
        return step(second, at, { type: 'link-active', linkId })
      case 'goodbye':
        return step(second, at, { type: 'goodbye-received', linkId })
      default:
        throw new Error(`unknown command "${command}"`)
    }
  }
}

function identity(text: string): [string, number] {
  const [name = '', incarnation = ''] = text.split('/')
  return [name, Number(incarnation)]
}

function address(port: string): Address {
  return `ws://127.0.0.1:${port}` as Address
}

function portOf(from: string): string {
  return from.slice(from.lastIndexOf(':') + 1)
}

function printedView(view: {
  readonly members: ReadonlyArray<{ name: string; incarnation: number; status: string }>
}): string {
  if (view.members.length === 0) return 'view of nobody'
  return `view ${view.members.map(({ name, incarnation, status }) => `${name}/${incarnation} ${status}`).join(', ')}`
}

function printed(effect: Effect): string {
  switch (effect.type) {
    case 'dial':
      return `dial ${portOf(effect.address)}`
    case 'close-link': {
      const highest =
        effect.highestIncarnation === undefined ? '' : ` (highest seen: ${effect.highestIncarnation})`
      return `close link ${effect.linkId} ${effect.code}${highest}`
    }
    case 'send-heartbeat':
      return `${effect.kind} ${effect.sequence} on link ${effect.linkId}`
    case 'send-goodbye':
      return `goodbye on link ${effect.linkId}`
    case 'member-up':
      return `member-up ${effect.member.name}/${effect.member.incarnation} at ${portOf(effect.member.address)}`
    case 'member-down':
    case 'member-suspected':
      return `${effect.type} ${effect.name}/${effect.incarnation} (${effect.reason})`
    case 'member-left':
    case 'member-recovered':
      return `${effect.type} ${effect.name}/${effect.incarnation}`
    case 'use-link':
      return `use link ${effect.linkId} to ${effect.name}/${effect.incarnation}, epoch ${effect.epoch}`
    case 'lost-link':
      return `lost the link to ${effect.name}/${effect.incarnation}, epoch ${effect.epoch}`
    case 'self-removed':
      return `self-removed by ${effect.by}`
    case 'view-changed':
      return printedView(effect.view)
  }
}
