/** A run in words, for the terminal: which rule was broken, what it takes, what happened, and how to see it again. */
import type { Choice } from './choice-source.ts'
import type { RunResult } from './run-result.ts'
import type { ShrinkResult } from './shrink.ts'
import { cut, storyLines, timeText, visible } from './story.ts'
import type { StoryLine } from './story.ts'

export interface RunReportOptions {
  /** The command that runs exactly this again. Left out: the report has none. */
  readonly replayCommand?: string | undefined
  /** How the run became as small as it is; adds the numbers, and other rules that were broken on the way. */
  readonly shrunk?: ShrinkResult | undefined
  /** Better words for a choice. `undefined` for those that it does not know. */
  readonly describe?: ((choice: Choice) => string | undefined) | undefined
  /** Most choices that are listed. @default 20 */
  readonly choicesMax?: number | undefined
  /** Most lines of the story. @default 60 */
  readonly storyLinesMax?: number | undefined
  /** Longer lines are cut, but for the command and the message of the violation. @default 140 */
  readonly columns?: number | undefined
  /** With ANSI colours. @default false */
  readonly colour?: boolean | undefined
}

/** Most lines of a violation's message: a checker's explanation is long, not endless. */
const messageLinesMax = 40

/**
 * The report as several lines, without a newline at the end. The story needs a result with a trace. Control characters
 * in names and messages are made visible: what an actor is sent cannot write to the terminal.
 */
export function runReport(result: RunResult, options: RunReportOptions = {}): string {
  const paint = options.colour === true ? ansi : plain
  const columns = options.columns ?? 140
  return [
    ...head(result, paint),
    ...shrinking(options.shrunk),
    ...takes(result.choices, options, columns),
    ...story(result, options, columns, paint),
    ...(options.replayCommand === undefined
      ? []
      : ['', 'To run it again:', `  ${paint.strong(options.replayCommand)}`]),
  ].join('\n')
}

/** `net/a>b/delay: 2 at its 18th choice`, counting from 1 as people do. */
export function choiceText(choice: Choice): string {
  return visible(`${choice.stream}: ${choice.value} at its ${ordinal(choice.index + 1)} choice`)
}

function head(result: RunResult, paint: Paint): readonly string[] {
  const { violation, stats } = result
  const seed = `seed ${visible(result.seed)}`
  if (violation === undefined) {
    return [
      `${paint.good('No rule was broken')}: ${seed}, ${stats.steps} steps, ${timeText(stats.virtualMs)} of virtual time`,
    ]
  }
  const message = violation.message.split('\n')
  const shown = message.slice(0, messageLinesMax).map((line) => `  ${visible(line)}`.trimEnd())
  if (message.length > messageLinesMax) shown.push(`  ... ${message.length - messageLinesMax} more lines`)
  return [
    paint.bad(`${visible(violation.name)} is violated`),
    ...shown,
    `  at step ${violation.step}, ${timeText(violation.atMs)} of virtual time, ${seed}`,
  ]
}

function shrinking(shrunk: ShrinkResult | undefined): readonly string[] {
  if (shrunk === undefined) return []
  const runs = `${shrunk.runs} ${shrunk.runs === 1 ? 'run' : 'runs'}`
  const lines: string[] = []
  if (shrunk.status === 'not-reproduced') {
    lines.push(
      '  The same seed and choices did not break the same rule again: something in this run is decided by more than its',
      '  choices. Run the seed twice to find where the two part.',
    )
  } else {
    const open = shrunk.status === 'budget' ? '; with more runs it may become smaller still' : ''
    lines.push(`  shrunk from ${shrunk.from} choices to ${shrunk.to} in ${runs}${open}`)
  }
  for (const { violation } of shrunk.others) {
    lines.push(`  seen on the way, and not looked into: ${visible(violation.name)} is violated`)
  }
  return lines
}

function takes(choices: readonly Choice[], options: RunReportOptions, columns: number): readonly string[] {
  if (choices.length === 0) return ['', 'It takes no fault and no delay: every choice was benign']
  const max = options.choicesMax ?? 20
  const lines = choices
    .slice(0, max)
    .map((choice) => cut(`  ${visible(options.describe?.(choice) ?? choiceText(choice))}`, columns))
  if (choices.length > max) lines.push(`  ... ${choices.length - max} more`)
  const count = choices.length === 1 ? 'one choice' : `${choices.length} choices`
  return ['', `It takes ${count} (every other one was 0, which is benign):`, ...lines]
}

function story(
  result: RunResult,
  options: RunReportOptions,
  columns: number,
  paint: Paint,
): readonly string[] {
  if (result.trace.length === 0) return []
  const lines = storyLines(result.trace, { linesMax: options.storyLinesMax, columns })
  return ['', 'What happened:', ...lines.map((line) => painted(line, paint))]
}

function painted(line: StoryLine, paint: Paint): string {
  switch (line.type) {
    case 'violation':
      return paint.bad(line.text)
    case 'fault':
    case 'lost':
      return paint.fault(line.text)
    case 'state':
      return paint.strong(line.text)
    case 'sent':
    case 'omitted':
      return paint.dim(line.text)
    default:
      return line.text
  }
}

interface Paint {
  readonly bad: (text: string) => string
  readonly good: (text: string) => string
  readonly fault: (text: string) => string
  readonly strong: (text: string) => string
  readonly dim: (text: string) => string
}

const asIs = (text: string): string => text
const plain: Paint = { bad: asIs, good: asIs, fault: asIs, strong: asIs, dim: asIs }
const ansi: Paint = {
  bad: (text) => `\u001b[1;31m${text}\u001b[0m`,
  good: (text) => `\u001b[32m${text}\u001b[0m`,
  fault: (text) => `\u001b[33m${text}\u001b[0m`,
  strong: (text) => `\u001b[1m${text}\u001b[0m`,
  dim: (text) => `\u001b[2m${text}\u001b[0m`,
}

function ordinal(n: number): string {
  const teen = n % 100 >= 11 && n % 100 <= 13
  return `${n}${teen ? 'th' : (['th', 'st', 'nd', 'rd'][n % 10] ?? 'th')}`
}
