/** What `npm run sim` runs. */
import type { Run } from '@understudy/runtime/simulation'

/** One story, run over many seeds. */
export interface Scenario {
  /** Begins with the part that it exercises: `supervision/...`, `remote/...`, `ring/...`, `wrong/...`. */
  readonly name: string
  /** One line, for `--list`. */
  readonly about: string
  /** Every tag that `world.sometimes` may reach in it. The runner says which of them no seed has reached. */
  readonly sometimes: readonly string[]
  /** Kinds of fault that many seeds together must inject. The runner says which were not. @default [] */
  readonly faults?: readonly string[] | undefined
  /** Wrong on purpose: left out unless `--scenario` names it, and what it breaks is what it is for. */
  readonly expects?: 'violation' | undefined
  /** Runs it once. Resolves with a violation, never rejects, whatever the scenario does. */
  readonly run: Run
}
