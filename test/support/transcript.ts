/**
 * Runs a transcript: a text file of commands and of what they must print, readable by a person.
 *
 *     # Comments and empty lines are kept.
 *     some command
 *     another command
 *     ----
 *     what they print, up to the next empty line
 *
 * With UPDATE_TRANSCRIPTS=1 the file is written anew with what the commands print: read the diff before you
 * believe it.
 */
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * Carries out one command line; gives the lines that it prints. What it throws becomes the line `error: ...`.
 */
export type RunCommand = (command: string) => readonly string[]

const SEPARATOR = '----'
const NOTHING = '(nothing)'

/**
 * What the file says and what it should say; equal when all is well. In update mode the file is changed to
 * `found`.
 */
export function runTranscript(
  file: URL,
  run: RunCommand,
): { readonly found: string; readonly wanted: string } {
  const wanted = readFileSync(file, 'utf8')
  const found = replay(wanted, run)
  if (process.env['UPDATE_TRANSCRIPTS'] === '1' && found !== wanted) writeFileSync(file, found)
  return process.env['UPDATE_TRANSCRIPTS'] === '1' ? { found, wanted: found } : { found, wanted }
}

/** The same transcript with what the commands print now. */
export function replay(transcript: string, run: RunCommand): string {
  const out: string[] = []
  let printed: string[] = []
  let isExpected = false
  for (const line of transcript.replace(/\n+$/, '').split('\n')) {
    if (isExpected) {
      // Old output is left out; an empty line ends it.
      if (line === '') {
        isExpected = false
        out.push('')
      }
    } else if (line === SEPARATOR) {
      isExpected = true
      out.push(SEPARATOR, ...(printed.length === 0 ? [NOTHING] : printed))
      printed = []
    } else {
      out.push(line)
      const command = (line.split('#')[0] ?? '').trim()
      if (command !== '') printed.push(...attempt(run, command))
    }
  }
  // A forgotten separator must not hide what was printed.
  if (printed.length > 0) out.push(SEPARATOR, ...printed)
  return `${out.join('\n')}\n`
}

function attempt(run: RunCommand, command: string): readonly string[] {
  try {
    return run(command)
  } catch (error) {
    return [`error: ${error instanceof Error ? error.message : String(error)}`]
  }
}
