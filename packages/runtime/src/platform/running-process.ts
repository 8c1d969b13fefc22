/** What a test harness wants of the process that it runs in, and no actor ever: its command line, and a file to write. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'

/** The environment variables, as they are now. */
export function processEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env
}

/** `node test/race.test.js`: what runs this program again, from the current directory. */
export function processCommand(): string {
  const [, script] = process.argv
  if (script === undefined) return 'node'
  return `node ${shellWord(relative(process.cwd(), script))}`
}

/** Writes `text` to `file`, and the directories above it. Returns the absolute path. */
export function writeTextFile(file: string, text: string): string {
  const path = resolve(file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** `text` as one word of a POSIX shell: as it is, or in single quotes. */
export function shellWord(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
