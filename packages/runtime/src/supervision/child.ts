/** Supervision trees as data: `supervisor({ strategy, intensity }, [child(...), child(...)])`. */
import type { ActorOptions, ChildSpec, Definition } from '../actor/behaviour.ts'
import {
  checkActorName,
  childPolicy,
  type ChildOptions,
  type SupervisionOptions,
} from '../actor/child-spec.ts'
import { spawnArguments } from '../actor/context.ts'
import { protocol, type MessageDefs } from '../actor/protocol.ts'

/** A supervisor takes no messages. */
export const Supervision = protocol('supervisor', {})

export interface SupervisorOptions extends SupervisionOptions {
  /** @default 'supervisor' */
  readonly name?: string | undefined
}

/**
 * A static child. It is started with its supervisor, in the order of the list, each after the one before has started;
 * stopped in reverse order. Default restart type: permanent.
 *
 * @throws {TypeError} if the name cannot stand in a path
 * @throws {RangeError} if a time in `options` is out of range
 */
export function child<M extends MessageDefs, I>(
  name: string,
  definition: Definition<M, I>,
  ...rest: void extends I ? [options?: ChildOptions] : [input: I, options?: ChildOptions]
): ChildSpec {
  checkActorName(name, `Cannot define child "${name}"`)
  const { input, options } = spawnArguments(definition, rest)
  childPolicy(options, 'permanent')
  return Object.freeze({ name, definition, input, options: options ?? {} })
}

/**
 * An actor that only keeps children. Give it to `createSystem` as the root, or to `child()` as part of a bigger tree.
 *
 * @throws {TypeError} if two children have one name
 * @throws {RangeError} if the intensity is out of range
 */
export function supervisor(
  options: SupervisorOptions,
  children: readonly ChildSpec[],
): Definition<typeof Supervision.messages, void> {
  if (!Array.isArray(children)) {
    throw new TypeError('Cannot define a supervisor: the second argument must be a list of child(...)')
  }
  const { strategy } = options
  if (strategy !== undefined && !['one-for-one', 'one-for-all', 'rest-for-one'].includes(strategy)) {
    throw new TypeError(
      `Cannot define a supervisor: "strategy" must be "one-for-one", "one-for-all" or "rest-for-one", got "${String(strategy)}"`,
    )
  }
  const names = new Set<string>()
  for (const spec of children as readonly ChildSpec[]) {
    const { name, definition } = spec ?? {}
    if (definition === undefined) {
      throw new TypeError(
        'Cannot define a supervisor: each of its children must be made by child(name, definition)',
      )
    }
    if (names.has(name))
      throw new TypeError(`Cannot define a supervisor: two of its children are named "${name}"`)
    names.add(name)
  }
  const { intensity } = options
  if (intensity !== undefined && !(intensity.restarts >= 0 && intensity.withinMs > 0)) {
    throw new RangeError(
      `Cannot use intensity { restarts: ${intensity.restarts}, withinMs: ${intensity.withinMs} }: restarts must be 0 or ` +
        `more, withinMs more than 0`,
    )
  }
  const actorOptions: ActorOptions<MessageDefs> = { supervision: options }
  return Object.freeze({
    name: options.name ?? 'supervisor',
    protocol: Supervision,
    body: Object.freeze({
      own: {},
      options: actorOptions,
      setup: () => ({}),
      children: Object.freeze([...children]),
    }),
  })
}
