/** Which scenarios a command line means. */
import type { Scenario } from '../scenario.ts'
import { UsageError } from './options.ts'

/**
 * All that are not wrong on purpose when no name is given; otherwise those that are named. A whole name means that one
 * alone, whatever else begins with it.
 *
 * @throws {UsageError} for a name that matches nothing
 */
export function selectScenarios(all: readonly Scenario[], names: readonly string[]): readonly Scenario[] {
  if (names.length === 0) return all.filter(({ expects }) => expects === undefined)
  const chosen = new Set<Scenario>()
  for (const name of names) {
    const exact = all.filter((scenario) => scenario.name === name)
    const found = exact.length > 0 ? exact : all.filter((scenario) => scenario.name.startsWith(name))
    if (found.length === 0) {
      const parts = [...new Set(all.map((scenario) => scenario.name.split('/')[0] ?? scenario.name))].sort()
      throw new UsageError(
        `No scenario is called "${name}" or begins with it: names begin with ${parts.join(', ')} (see --list)`,
      )
    }
    for (const scenario of found) chosen.add(scenario)
  }
  return all.filter((scenario) => chosen.has(scenario))
}

/** @throws {TypeError} when two scenarios have one name: a printed command would mean either */
export function assertDistinct(all: readonly Scenario[]): void {
  const seen = new Set<string>()
  for (const { name } of all) {
    if (seen.has(name)) throw new TypeError(`Two scenarios are called "${name}": give each a name of its own`)
    seen.add(name)
  }
}
