/** The command that runs exactly one run again. */
import { formatChoices, type Choice } from '@understudy/runtime/simulation'

/** Longer texts of choices are left out: the seed alone is the same run, and shells have limits. */
const choicesTextMax = 8_000

/** `npm run sim -- --scenario lock/basic --seed 7 --choices 'fault/kill#0=1'`. */
export function replayCommand(scenario: string, seed: string, choices?: readonly Choice[]): string {
  const text = choices === undefined ? undefined : formatChoices(choices)
  const replayed =
    text === undefined || text.length > choicesTextMax ? [] : ['--choices', `'${escaped(text)}'`]
  return ['npm run sim -- --scenario', word(scenario), '--seed', word(seed), ...replayed].join(' ')
}

function word(text: string): string {
  return /^[\w./:@%+,][\w./:@%+,-]*$/.test(text) ? text : `'${escaped(text)}'`
}

/** For between single quotes, which a POSIX shell ends at the next one, whatever stands before it. */
function escaped(text: string): string {
  return text.replaceAll("'", "'\\''")
}
