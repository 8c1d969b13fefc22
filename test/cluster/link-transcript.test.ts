/** The transcripts of test/transcripts/link: a link core's inputs and its effects, one line each. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { replay, runTranscript } from '../support/transcript.ts'
import type { RunCommand } from '../support/transcript.ts'

type Core = InstanceType<typeof LinkCore>
type Effect = import('../../packages/cluster/src/membership/link-step.ts').LinkEffect
type Input = import('../../packages/cluster/src/membership/link-step.ts').LinkInput
type Code = import('../../packages/cluster/src/membership/link-step.ts').CloseLinkCode
type Known = import('../../packages/cluster/src/membership/link-options.ts').KnownLife
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { LinkCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/link-core.ts')>(
  'cluster',
  'membership/link-core',
)

const folder = new URL('../../transcripts/link/', import.meta.url)

for (const name of readdirSync(folder).sort()) {
  void test(`LinkCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), linkCommands())
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

interface Node {
  readonly core: Core
  readonly knows: Map<string, Known>
  sizes: { live: number; known: number }
}

/**
 * Commands; times are milliseconds, addresses are ports:
 *   node NAME/INCARNATION PORT                  makes a core, without chance: every delay is the full one
 *   AT NODE started | tick | leave
 *   AT NODE established LINK PEER/INCARNATION PORT in|out [PORT that was dialled]
 *   AT NODE closed LINK CODE
 *   AT NODE dial-failed PORT CODE
 *   AT NODE chosen | goodbye | busy LINK
 *   AT NODE seeds [PORT,PORT]
 *   AT NODE want PEER/INCARNATION PORT
 *   AT NODE ended PEER/INCARNATION CODE
 *   AT NODE dead PEER/INCARNATION
 *   AT NODE mesh full|on-demand
 *   NODE runs until AT                          ticks at every deadline up to that time
 *   NODE knows PEER/INCARNATION PORT live|over  what the membership says of that name from now on
 *   NODE sees LIVE of KNOWN                     members; at first 1 of 1
 *   NODE dials                                  the addresses on the plan
 *   NODE links                                  the links in use
 */
function linkCommands(): RunCommand {
  const nodes = new Map<string, Node>()
  const node = (name: string): Node => {
    const found = nodes.get(name)
    if (found === undefined) throw new Error(`no node "${name}"`)
    return found
  }
  const step = (name: string, atMs: number, input: Input): string[] =>
    node(name)
      .core.step(input, atMs)
      .map((effect) => `@${atMs} ${name}: ${printed(effect)}`)

  return (command) => {
    const [
      first = '',
      second = '',
      third = '',
      fourth = '',
      fifth = '',
      sixth = '',
      seventh = '',
      eighth = '',
    ] = command.split(/\s+/)
    if (first === 'node') {
      const [name, incarnation] = identity(second)
      const knows = new Map<string, Known>()
      const core = new LinkCore({
        self: { name, incarnation, address: address(third), weight: 1, roles: [], version: '' },
        known: (other) => knows.get(other),
        sizes: () => node(name).sizes,
        random: { float: () => 0 },
      })
      nodes.set(name, { core, knows, sizes: { live: 1, known: 1 } })
      return []
    }
    switch (second) {
      case 'knows': {
        const [name, incarnation] = identity(third)
        node(first).knows.set(name, { incarnation, address: address(fourth), isOver: fifth === 'over' })
        return []
      }
      case 'sees':
        node(first).sizes = { live: Number(third), known: Number(fifth) }
        return []
      case 'dials':
        return node(first)
          .core.status()
          .dials.map((dial) => {
            const kind = dial.isSeed ? 'seed' : dial.isRemembered ? 'remembered' : 'member'
            return `${portOf(dial.address)} ${kind} ${dial.name ?? '?'} ${dial.state}, ${dial.attempts} dials`
          })
      case 'links':
        return node(first)
          .core.status()
          .peers.map(
            (peer) => `${peer.name}/${peer.incarnation} link ${peer.linkId ?? 'none'}, epoch ${peer.epoch}`,
          )
      case 'runs': {
        const out: string[] = []
        for (let rounds = 0; rounds < 200; rounds++) {
          const dueMs = node(first).core.nextDeadlineMs()
          if (dueMs === undefined || dueMs > Number(fourth)) return out
          out.push(...step(first, dueMs, { type: 'tick' }))
        }
        throw new Error('more than 200 ticks')
      }
      default:
    }
    const at = Number(first)
    const linkId = Number(fourth)
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
          roles: [],
          version: '',
        })
      }
      case 'closed':
        return step(second, at, { type: 'link-closed', linkId, reason: { code: fifth } })
      case 'dial-failed':
        return step(second, at, { type: 'dial-failed', address: address(fourth), code: fifth })
      case 'chosen':
      case 'goodbye':
      case 'busy':
        return step(second, at, { type: third, linkId })
      case 'seeds': {
        const addresses = fourth === '' ? [] : fourth.split(',').map(address)
        return step(second, at, { type: 'seeds', addresses })
      }
      case 'want':
      case 'ended':
      case 'dead': {
        const [name, incarnation] = identity(fourth)
        if (third === 'want')
          return step(second, at, { type: 'want', name, incarnation, address: address(fifth) })
        if (third === 'dead') return step(second, at, { type: 'link-dead', name, incarnation })
        return step(second, at, { type: 'ended', name, incarnation, code: fifth as Code })
      }
      case 'mesh':
        return step(second, at, { type: 'mesh', mode: fourth === 'full' ? 'full' : 'on-demand' })
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

function printed(effect: Effect): string {
  switch (effect.type) {
    case 'dial':
      return `dial ${portOf(effect.address)}`
    case 'close-link': {
      const highest =
        effect.highestIncarnation === undefined ? '' : ` (highest seen: ${effect.highestIncarnation})`
      return `close link ${effect.linkId} ${effect.code}${highest}`
    }
    case 'mute-link':
      return `mute link ${effect.linkId}`
    case 'choose':
      return `choose link ${effect.linkId}`
    case 'met':
      return `met ${effect.peer.name}/${effect.peer.incarnation} at ${portOf(effect.peer.address)} on link ${effect.linkId}`
    case 'use-link':
      return `use link ${effect.linkId} to ${effect.name}/${effect.incarnation}, epoch ${effect.epoch}`
    case 'lost-link':
      return `lost the link to ${effect.name}/${effect.incarnation}, epoch ${effect.epoch}`
    case 'link-lost':
      return `no link to ${effect.name}/${effect.incarnation} (${effect.reason})`
    case 'refused':
      return `refused ${effect.name}/${effect.incarnation}`
    case 'name-taken':
      return `name ${effect.name} taken: ${effect.addresses.map(portOf).join(', ')}`
    case 'self-removed':
      return `self-removed by ${effect.by}`
  }
}
