/** What a run of tap counted, over all files. */
export interface Counts {
  readonly passed: number
  readonly failed: number
}

/**
 * The counts of the last summary that tap printed, whatever its reporter: `# { total: 5, pass: 3, fail: 1, skip: 1 }`.
 * Undefined when there is none, as when no file ran.
 */
export function finalCounts(output: string): Counts | undefined {
  const fields = [...output.matchAll(/^# (\{ total: \d+[^}]*\})/gm)].at(-1)?.[1]
  if (fields === undefined) return undefined
  const field = (name: string): number => Number(new RegExp(`\\b${name}: (\\d+)`).exec(fields)?.[1] ?? 0)
  return { passed: field('pass'), failed: field('fail') }
}
