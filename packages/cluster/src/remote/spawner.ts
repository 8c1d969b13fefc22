/**
 * Actors that one node starts on another. Only a name crosses the wire, and an input that is checked on arrival: what can
 * be started here is what this node registered for it, so a peer can choose among definitions but never bring its own.
 */
import {
  actor,
  ActorError,
  ask,
  protocol,
  reject,
  Rejected,
  supervisor,
  tell,
  type AnyDefinition,
} from '@understudy/runtime'
import {
  childPolicy,
  spawnSystemActor,
  type Cell,
  type InternalSystem,
  type MessageGuard,
} from '@understudy/runtime/internal'

/** Where the spawner of every node lives. */
export const spawnerPath = '/system/spawner'
/** What was started from afar lives below. */
const guardianName = 'spawned'

const text = { type: 'string' } as const
const count = { type: 'number' } as const
/**
 * TypeBox marks optional properties so, hidden: whoever checks schemas knows no such keyword. Importing TypeBox for this would
 * cost 100 ms.
 */
const anything = Object.defineProperty({}, '~optional', { value: true })

/** What a spawner is asked. The reply is what a ref is made of: which protocol it has, the asker knows. */
export const Spawner = protocol('understudy-spawner', {
  spawn: ask(
    { definition: text, name: text, input: anything },
    {
      type: 'object',
      properties: { path: text, uid: count, incarnation: count },
      required: ['path', 'uid', 'incarnation'],
      additionalProperties: false,
    },
  ),
})

/** What `Spawner.spawn` answers. */
export interface SpawnedParts {
  readonly path: string
  readonly uid: number
  readonly incarnation: number
}

/** Why a spawner says no, and what mends it. */
const refusals = {
  'not-spawnable': 'it is not among the "spawnable" definitions of that node',
  'bad-input': 'its input does not fit the schema that the definition declares as "input"',
  'bad-name': 'the name cannot stand in a path, or somebody there has it',
} as const

type SpawnRefusal = keyof typeof refusals

/**
 * Starts the spawner of a node. Without definitions there is one too: it refuses, and says why. Returns how to end
 * whatever was started from afar: for others it dies with the life of the node.
 */
export function startSpawner(system: InternalSystem, spawnable: readonly AnyDefinition[]): () => void {
  const { kernel } = system
  const byName = new Map(spawnable.map((definition) => [definition.name, definition]))
  const options = { name: 'spawned', intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 } }
  const guardian = system.addGuardian(guardianName, supervisor(options, []))
  const spawner = actor(Spawner, { name: 'spawner' }, () => ({
    spawn: ({ definition: definitionName, name, input }) => {
      const definition = byName.get(String(definitionName))
      if (definition === undefined) throw reject('not-spawnable', { definition: definitionName })
      const problem = inputProblem(kernel.guard, definition, input)
      if (problem !== undefined) throw reject('bad-input', { problem })
      const cell = spawnBelow(guardian, String(name), definition, input)
      return { path: cell.path, uid: cell.uid, incarnation: kernel.nodeIncarnation }
    },
  }))
  spawnSystemActor(system, 'spawner', spawner)
  return () => guardian.suspend(() => guardian.restart())
}

function spawnBelow(guardian: Cell, name: string, definition: AnyDefinition, input: unknown): Cell {
  try {
    return guardian.makeFamily().spawn(name, definition, input, childPolicy(undefined, 'transient'))
  } catch (error) {
    throw reject('bad-name', { problem: error instanceof Error ? error.message : String(error) })
  }
}

/** What is wrong with a start input; a definition without a schema takes none. */
export function inputProblem(
  guard: MessageGuard,
  definition: AnyDefinition,
  input: unknown,
): string | undefined {
  const schema = definition.body.options.input
  if (schema === undefined) return input === undefined ? undefined : 'it takes no input from other nodes'
  const mismatch = guard.messageCheck(inputProtocol(definition, schema), 'start')({ type: 'start', input })
  if (mismatch === undefined) return undefined
  return `field "${mismatch.path}" ${mismatch.problem}, expected ${mismatch.expected}`
}

/** A protocol of one message that has the input as its field, so that inputs are checked as messages are. */
const inputProtocols = new WeakMap<AnyDefinition, ReturnType<typeof makeInputProtocol>>()

function inputProtocol(definition: AnyDefinition, schema: object): ReturnType<typeof makeInputProtocol> {
  let found = inputProtocols.get(definition)
  if (found === undefined) {
    found = makeInputProtocol(schema)
    inputProtocols.set(definition, found)
  }
  return found
}

function makeInputProtocol(schema: object) {
  return protocol('start-input', { start: tell({ input: schema }) })
}

/** A spawner's refusal as the error of whoever wanted the actor; other errors as they are. */
export function spawnError(error: unknown, node: string, definition: string, name: string): unknown {
  if (!(error instanceof Rejected) || !Object.hasOwn(refusals, error.reason)) return error
  const why = refusals[error.reason as SpawnRefusal]
  const { problem } = (error.data ?? {}) as { readonly problem?: unknown }
  const details = { node, definition, name, reason: error.reason }
  return new ActorError(
    'CLUSTER_SPAWN_REFUSED',
    `Cannot start "${definition}" as "${name}" on node "${node}": ${why}` +
      (typeof problem === 'string' ? ` (${problem})` : ''),
    details,
    error,
  )
}
