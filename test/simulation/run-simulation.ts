/**
 * `npm run sim`: runs the scenarios of test/simulation/scenario over many seeds, on all cores. Progress goes to stderr,
 * reports and tables to stdout; the last line is `N passed, N failed`. See `--help` and docs/guides/simulation.md.
 */
import { fileURLToPath } from 'node:url'
import { runCommand } from './runner/command.ts'

const interrupted = new AbortController()
process.on('SIGINT', interrupt)
process.on('SIGTERM', interrupt)

process.exitCode = await runCommand(process.argv.slice(2), {
  registry: new URL('scenario/all.js', import.meta.url).href,
  // From test/dist/simulation.
  root: fileURLToPath(new URL('../../..', import.meta.url)),
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTerminal: process.stderr.isTTY,
  columns: Math.max(60, process.stdout.columns ?? 140),
  colour: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  isCi: (process.env['CI'] ?? '') !== '',
  signal: interrupted.signal,
  nowMs: () => performance.now(),
})
// Whoever interrupts twice does not want to wait for the tables.
process.off('SIGINT', interrupt)
process.off('SIGTERM', interrupt)

function interrupt(): void {
  if (interrupted.signal.aborted) process.exit(130)
  interrupted.abort()
}
