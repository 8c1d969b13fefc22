/** The transcripts of test/transcripts/downing: what each node sees, and what its core makes of it. */
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { runTranscript } from '../support/transcript.ts'
import type { RunCommand } from '../support/transcript.ts'
import { DowningWorld } from './downing-world.ts'
import type { DowningOptions, Happening, NodeSpec, Sight } from './downing-world.ts'

const folder = new URL('../../transcripts/downing/', import.meta.url)

for (const name of readdirSync(folder).sort()) {
  void test(`DowningCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), downingCommands())
    t.equal(found, wanted)
    t.end()
  })
}

/**
 * Commands; times are milliseconds. What happened is printed by the command in which it did.
 *   nodes a b/joining c@3#web [OPTION=VALUE ...]      name, /status, @incarnation (default 1), #role
 *   AT NODE,NODE see all well
 *   AT NODE,NODE see [suspected a,b] [lost c,d] [claims a:d+e,b:d]
 *   AT NODE,NODE table a b ...       what they have in their tables from now on, as with `nodes`
 *   until AT                         ticks at every deadline up to that time
 *   AT NODE tick                     a late tick
 *   NODE status
 */
function downingCommands(): RunCommand {
  let world = new DowningWorld(['a'])
  let shown = 0
  const sights = new Map<string, Sight>()
  const fresh = (): string[] => {
    const lines = world.happenings.slice(shown).map(printed)
    shown = world.happenings.length
    return lines
  }
  const see = (names: string, sight: Sight): void => {
    for (const name of names.split(',')) {
      const whole = { ...sights.get(name), ...sight }
      sights.set(name, whole)
      world.see(name, whole)
    }
  }
  return (command) => {
    const words = command.split(/\s+/)
    const [first = '', second = '', third = ''] = words
    if (first === 'nodes') {
      const options = words.slice(1).filter((word) => word.includes('='))
      const entries = options.map((word) => word.split('=') as [string, string])
      world = new DowningWorld(
        specs(words.slice(1)),
        Object.fromEntries(entries.map(([key, value]) => [key, optionValue(value)])) as DowningOptions,
      )
      shown = 0
      sights.clear()
      return fresh()
    }
    if (second === 'status') {
      const { phase, decidesAtMs, wouldGo, wouldDown, lease } = world.core(first).status()
      return [
        `${first}: ${phase}` +
          (wouldGo === undefined ? '' : `, would go: ${wouldGo}`) +
          (wouldDown.length === 0 ? '' : `, would down ${wouldDown.join(' ')}`) +
          (lease === 'none' ? '' : `, lease ${lease}`) +
          (decidesAtMs === undefined ? '' : `, at ${decidesAtMs}`) +
          (world.core(first).isInDoubt() ? ', in doubt' : ''),
      ]
    }
    if (first === 'until') {
      world.runUntil(Number(second))
      return fresh()
    }
    if (third === 'tick') {
      world.tick(second, Number(first))
      return fresh()
    }
    world.runUntil(Number(first))
    if (third === 'table') see(second, { table: specs(words.slice(3)) })
    else if (third === 'see') {
      const after = (word: string): string[] =>
        words.includes(word) ? (words[words.indexOf(word) + 1] ?? '').split(',') : []
      const claims = after('claims').map((claim) => claim.split(':') as [string, string])
      see(second, {
        suspected: after('suspected'),
        unreachable: after('lost'),
        claims: Object.fromEntries(claims.map(([name, others]) => [name, others.split('+')])),
      })
    } else throw new Error(`unknown command "${command}"`)
    return fresh()
  }
}

function specs(words: readonly string[]): NodeSpec[] {
  return words
    .filter((word) => !word.includes('='))
    .map((word) => {
      const name = /^\w+/.exec(word)?.[0] ?? ''
      const role = /#(\w+)/.exec(word)?.[1]
      return {
        name,
        incarnation: Number(/@(\d+)/.exec(word)?.[1] ?? 1),
        status: (/\/(\w+)/.exec(word)?.[1] ?? 'alive') as NodeSpec['status'],
        roles: role === undefined ? [] : [role],
      }
    })
}

function optionValue(text: string): unknown {
  return text === 'false' ? false : /^\d+$/.test(text) ? Number(text) : text
}

function printed({ atMs, node, effect }: Happening): string {
  const at = `@${atMs} ${node}:`
  switch (effect.type) {
    case 'down':
      return `${at} down ${effect.members.map(({ name, incarnation }) => `${name}/${incarnation}`).join(' ')} (${effect.reason})`
    case 'down-self':
      return `${at} down-self (${effect.reason})`
    case 'acquire-lease':
    case 'release-lease':
      return `${at} ${effect.type} ${effect.owner}`
    case 'decided': {
      const stays = effect.stays.length === 0 ? '' : `, ${effect.stays.join(' ')} stay`
      return `${at} decided ${effect.decision} by ${effect.strategy}: ${effect.reason}${stays}`
    }
    case 'quorum-unsafe':
      return `${at} quorum-unsafe: ${effect.members} members, quorum ${effect.quorumSize}`
    default:
      throw new Error(`unknown effect ${JSON.stringify(effect)}`)
  }
}
