/** What `npm run soak` runs after `tsc -b`: tests that take minutes to hours, by hand. `npm run soak -- --help` tells all. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseSoakCommand, soakUsage, SoakUsageError, type SoakRun } from './soak-command.ts'

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  let run: SoakRun | 'help'
  try {
    run = parseSoakCommand(args)
  } catch (error) {
    if (!(error instanceof SoakUsageError)) throw error
    console.error(`${error.message}\n\n${soakUsage()}`)
    return 2
  }
  if (run === 'help') {
    console.log(soakUsage())
    return 0
  }
  const child = spawn(process.execPath, [fileURLToPath(new URL(run.file, import.meta.url))], {
    env: { ...process.env, TAP_TYPE_STRIP_ONLY: '1', ...run.environment },
    stdio: 'inherit',
  })
  const [code] = (await once(child, 'exit')) as [number | null]
  return code ?? 1
}
