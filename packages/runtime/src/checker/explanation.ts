/** A violation of linearizability, and the same in words. */
import type { Op } from './history.ts'
import { describeOperation, describeState, type Model, type ModelState } from './model.ts'

/** Why a history is illegal. All indices are positions in the list of operations that was checked. */
export interface LinearizabilityViolation<S extends ModelState> {
  /** The operation that cannot be placed: the first whose return no placement got past. */
  readonly operation: number
  /** The states there can have been when it had to take effect; not more than 6. */
  readonly states: readonly S[]
  /** True when there were more states than that. */
  readonly statesCut: boolean
  /** The operations that cannot be reconciled, whatever the others did; `operation` among them. In the order of calls. */
  readonly core: readonly number[]
  /** True when none of `core` can be spared. */
  readonly minimal: boolean
  /** The placement that got farthest, which ends before `operation`. */
  readonly prefix: readonly number[]
  /** Every operation of the same part (the same key). */
  readonly part: readonly number[]
}

/** How many operations of the explanation are written out. */
const linesMax = 24

/**
 * Says which operation cannot be placed, what the object could have held then, and which operations show it:
 *
 *     Not linearizable: read() -> 1 by client 3 cannot be placed
 *       Called at 40, returned at 52. By then the register can only have been: 2
 *       These 3 of 1042 operations cannot be reconciled, whatever the others did:
 *         0..4    client 1  write(1)
 *         10..15  client 2  write(2)
 *       > 40..52  client 3  read() -> 1
 */
export function violationText<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  violation: LinearizabilityViolation<S>,
): string {
  const at = (index: number): Op<I, O> => ops[index] as Op<I, O>
  const stuck = at(violation.operation)
  return [
    `Not linearizable: ${describeOperation(model, stuck)} by client ${stuck.client} cannot be placed`,
    `  Called at ${stuck.call}, returned at ${stuck.ret}. ${statesText(model, violation)}`,
    `  ${coreText(violation)}`,
    ...coreLines(model, violation, at),
  ].join('\n')
}

function statesText<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  { states, statesCut }: LinearizabilityViolation<S>,
): string {
  const texts = [...new Set(states.map((state) => describeState(model, state)))]
  const only = texts.length === 1 && !statesCut ? 'can only have been' : 'can have been'
  const more = statesCut ? ', or one of others' : ''
  return `By then the ${model.name} ${only}: ${texts.join(', or ')}${more}`
}

function coreText<S extends ModelState>({ core, minimal, part }: LinearizabilityViolation<S>): string {
  if (!minimal && core.length > linesMax)
    return 'What led to it (no short explanation was found within explainStepsMax):'
  const short = minimal ? '' : ' (there may be a shorter explanation)'
  if (core.length === part.length) {
    return core.length === 1
      ? 'It is the only operation:'
      : `All ${core.length} operations are needed to see it${short}:`
  }
  const of = `of ${part.length} operations`
  if (core.length === 1) return `It is impossible by itself, whatever the others ${of} did${short}:`
  return `These ${core.length} ${of} cannot be reconciled, whatever the others did${short}:`
}

function coreLines<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  { core, operation }: LinearizabilityViolation<S>,
  at: (index: number) => Op<I, O>,
): readonly string[] {
  // The end of a long list is where it goes wrong.
  const left = Math.max(0, core.length - linesMax)
  const shown = core.slice(left)
  const times = shown.map((i) => `${at(i).call}..${at(i).ret === Number.POSITIVE_INFINITY ? '' : at(i).ret}`)
  const clients = shown.map((i) => `client ${at(i).client}`)
  const wide = (texts: readonly string[]): number => Math.max(...texts.map((text) => text.length))
  const lines = shown.map((i, n) => {
    const time = (times[n] ?? '').padEnd(wide(times))
    const client = (clients[n] ?? '').padEnd(wide(clients))
    return `  ${i === operation ? '>' : ' '} ${time}  ${client}  ${describeOperation(model, at(i))}`
  })
  return left === 0 ? lines : [`    ... ${left} before these`, ...lines]
}
