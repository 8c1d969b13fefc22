/** The text of a test that replays one run that once failed, so that it never fails again unseen. No file is written. */
import type { Choice } from './choice-source.ts'
import type { Violation } from './run-result.ts'
import { timeText, visible } from './story.ts'

export interface RegressionFileOptions {
  readonly scenario: string
  /** The module that exports `importName`, as the test file imports it. */
  readonly importFrom: string
  /**
   * The function that the test calls as `(scenario, { seed, choices })` for a promise of a `RunResult`.
   * @default 'runScenario'
   */
  readonly importName?: string | undefined
  readonly seed: string
  readonly choices: readonly Choice[]
  /** What was broken, before it was mended. */
  readonly violation: Violation
  /** What happened, for whoever reads the test: `storyLines(...)` as text. Its first lines are enough. */
  readonly story?: readonly string[] | undefined
}

/** Most lines of the story in the comment. */
const storyLinesMax = 40
const columnsMax = 110

/** `lock-two-holders.test.ts`: the scenario and the rule, in the letters that file names have here. */
export function regressionFileName(scenario: string, violation: string): string {
  const kebab = `${scenario}-${violation}`
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
  return `${kebab === '' ? 'unnamed' : kebab.slice(0, 100).replace(/-+$/, '')}.test.ts`
}

/**
 * The text of a runnable tap test that replays exactly this seed and these choices and expects that no rule is broken.
 * It is red until the bug is mended. The choices are positions in streams: after the scenario changed they may mean
 * another run, which is then as good a test as any, but no longer this one.
 *
 * The text is formatted as this repository formats its files.
 *
 * @throws {TypeError} if `importName` is not a name
 */
export function regressionFile(options: RegressionFileOptions): string {
  const { scenario, violation, seed } = options
  const importName = options.importName ?? 'runScenario'
  if (!/^[A-Za-z_$][\w$]*$/.test(importName)) {
    throw new TypeError(
      `Cannot write a regression test: importName must be the name of a function, got ${quoted(importName)}`,
    )
  }
  const title = quoted(`${scenario} keeps ${violation.name} (pinned run of seed ${seed})`)
  return `/**
${comment(options).join('\n')}
 */
import { test } from 'tap'
import { ${importName} } from ${quoted(options.importFrom)}

void test(${title}, async (t) => {
  const result = await ${importName}(${quoted(scenario)}, {
    seed: ${quoted(seed)},
    choices: ${listed(options.choices)},
  })
  t.equal(result.violation, undefined)
})
`
}

function comment(options: RegressionFileOptions): readonly string[] {
  const { violation, story = [] } = options
  const lines = [
    `A run of ${options.scenario} that once broke the rule ${violation.name}, ${timeText(violation.atMs)} after its start:`,
    ...violation.message.split('\n').slice(0, storyLinesMax),
  ]
  if (story.length > 0) lines.push('', ...story.slice(0, storyLinesMax))
  if (story.length > storyLinesMax) lines.push(`... ${story.length - storyLinesMax} more lines`)
  // A comment must not end where its text says so.
  return lines.map((line) => ` * ${visible(line).replaceAll('*/', '* /')}`.trimEnd())
}

function listed(choices: readonly Choice[]): string {
  const items = choices.map(
    ({ stream, index, value }) => `{ stream: ${quoted(stream)}, index: ${index}, value: ${value} }`,
  )
  const [only] = items
  if (only === undefined) return '[]'
  if (items.length === 1 && only.length + '    choices: [],'.length <= columnsMax) return `[${only}]`
  return `[\n${items.map((item) => `      ${item},\n`).join('')}    ]`
}

/** A string literal: in single quotes, or in double quotes where that escapes less. */
function quoted(text: string): string {
  const double = JSON.stringify(text).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
  if (text.split("'").length > text.split('"').length) return double
  return `'${double.slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
}
