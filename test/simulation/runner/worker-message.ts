/** What the command and its worker processes say to each other: plain data, one task at a time. */
import type { RunResult, RunStats, Violation } from '@understudy/runtime/simulation'
import type { Job } from './seed-deal.ts'

export type WorkerTask =
  /** Runs all, telling of each; then `done`. */
  | { readonly type: 'run'; readonly jobs: readonly Job[] }
  /** Runs all, the last one with a trace, and hands that one over whole; then `done`. */
  | { readonly type: 'trace'; readonly jobs: readonly Job[] }
  /** Runs one that has failed again, makes it small, and puts it into words; then `done`. */
  | { readonly type: 'explain'; readonly job: Job; readonly rule: string; readonly options: ExplainOptions }
  /** There is nothing more to do. */
  | { readonly type: 'exit' }

export interface ExplainOptions {
  /** 0: not made smaller. */
  readonly shrinkRunsMax: number
  readonly colour: boolean
  readonly columns: number
  /** Lines of the story. */
  readonly storyLinesMax: number
}

export type WorkerMessage =
  /** The scenarios are loaded. */
  | { readonly type: 'ready' }
  | { readonly type: 'ran'; readonly summary: RunSummary }
  | { readonly type: 'traced'; readonly result: RunResult }
  | { readonly type: 'shrinking'; readonly runs: number; readonly from: number; readonly choices: number }
  | { readonly type: 'explained'; readonly explained: Explained }
  | { readonly type: 'done' }

/** A run without what is only needed when it failed. */
export interface RunSummary {
  readonly violation: Violation | undefined
  /** Choices that were not benign. */
  readonly choiceCount: number
  readonly stats: RunStats
  readonly hash: string
}

/** A failure in words. */
export interface Explained {
  /** False: the same seed did not break the same rule again. */
  readonly isReproduced: boolean
  /** For the terminal. */
  readonly report: string
  /** Replays it. */
  readonly command: string
  /** Choices at the start and at the end of shrinking. */
  readonly from: number
  readonly to: number
  readonly runs: number
  /** An HTML page. */
  readonly diagram: string
  /** The text of a test that replays it. */
  readonly regression: string
}
