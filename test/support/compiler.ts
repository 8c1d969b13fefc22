/** Runs the compiler from inside a test. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { repoRoot } from './source-scan.ts'

/** What `tsc` prints. */
export function compile(...args: readonly string[]): string {
  const tsc = join(repoRoot, 'node_modules', 'typescript', 'bin', 'tsc')
  // The test runner gives every Node process its own loader, which is not for the compiler: `env` takes it away again.
  const { stdout, stderr } = spawnSync('env', ['NODE_OPTIONS=', process.execPath, tsc, ...args], {
    encoding: 'utf8',
  })
  return stdout + stderr
}
