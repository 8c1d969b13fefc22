/** An actor that says which process it really runs in, and asks that hold the answer against the asker's view. */
import {
  actor,
  ask,
  child,
  protocol,
  supervisor,
  type AnyDefinition,
  type Definition,
} from '@understudy/runtime'
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import { ProcessKilled } from '@understudy/runtime/simulation'
import Type from 'typebox'
import type { MemberWatch } from './member-watch.ts'

export const Who = protocol('who', {
  who: ask({}, Type.Object({ process: Type.String(), incarnation: Type.Integer() })),
})

/** `asked`: told of each question, before it is answered. */
export function whoTree(world: World, asked: (process: string) => void = () => undefined): AnyDefinition {
  return supervisor({}, [child('who', whoActor(world, asked))])
}

/** The actor alone, for trees with more in them: to be named `who`. */
export function whoActor(
  world: World,
  asked: (process: string) => void = () => undefined,
): Definition<(typeof Who)['messages'], void> {
  return actor(Who, () => ({
    who: () => {
      // Not what the node says of itself: what the simulator knows.
      const { running } = world.simulation
      const process = running?.process.name ?? ''
      asked(process)
      return { process, incarnation: running?.cell.kernel.nodeIncarnation ?? 0 }
    },
  }))
}

/** Codes with which an ask to another node may end, besides an answer. */
export const askCodes: ReadonlySet<string> = new Set([
  'RUNTIME_ASK_TIMEOUT',
  'RUNTIME_NO_SUCH_ACTOR',
  'RUNTIME_ACTOR_STOPPED',
  'RUNTIME_ACTOR_CRASHED',
  'RUNTIME_STOPPED',
  'RUNTIME_EXPIRED',
  'CLUSTER_NODE_DOWN',
  'CLUSTER_LINK_FULL',
])

/** The code that an ask ended with. A violation when it has none, or one that no asker is promised. */
export function codeOfAsk(world: World, error: unknown): string {
  if (error instanceof ProcessKilled) return 'killed'
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  world.check('typed-outcome', askCodes.has(code), `An ask ended with ${String(error)} (${code})`)
  return code
}

/**
 * Asks `to` who it is, as `from` sees it. The answer must come from the life that `from` has in its view, unless the view
 * has changed meanwhile. Gives the code of the failure, `undefined` when it answered.
 */
export async function askWho(
  world: World,
  watch: MemberWatch,
  from: SimulatedNode,
  to: string,
  timeoutMs = 2_000,
): Promise<string | undefined> {
  if (!from.isUp) return 'down'
  const asker = from.node
  const before = memberOf(asker, to)
  let answer: { readonly process: string; readonly incarnation: number }
  try {
    answer = await world.attempt(
      from,
      (node) => node.ref(Who, to, '/user/who').ask({ type: 'who' }, { timeoutMs }),
      // A pause of the asker counts, and a stall.
      timeoutMs + 60_000,
    )
  } catch (error) {
    return codeOfAsk(world, error)
  }
  const after = from.isUp && from.node === asker ? memberOf(asker, to) : undefined
  const lives = watch.lives(to, answer.incarnation)
  world.check(
    'peer-is-who-it-says',
    lives.some((life) => life.process.name === answer.process),
    `"${answer.process}" answered "${from.name}" as "${to}" ${answer.incarnation}, which it never was`,
  )
  world.check(
    'peer-is-who-it-says',
    before === undefined || before !== after || before === answer.incarnation,
    `"${from.name}" has "${to}" at ${before} in its view, and was answered by ${answer.incarnation} ("${answer.process}")`,
  )
  return undefined
}

function memberOf(node: ClusterNode, name: string): number | undefined {
  return node.members().find((member) => member.name === name)?.incarnation
}
