/**
 * What nodes ask each other about themselves: "do you still count me in, and as what?" A node that slept asks before its
 * actors act again; a node that leaves asks until everybody has stopped sending it work. And "has that entity ended at
 * yours?", before it is started elsewhere.
 */
import { actor, ask, isActorError, protocol } from '@understudy/runtime'
import type { EntityName, Release } from '../entity/hand-off.ts'
import { answerMs } from '../entity/hand-off.ts'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { MemberStatus } from '../membership/view.ts'
import { RemoteRef } from '../remote/remote-ref.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'

export const stewardPath = '/system/steward'

const life = { name: { type: 'string' }, incarnation: { type: 'number' } } as const
const text = { type: 'string' } as const
const status = text
const releaseSchema = {
  type: 'object',
  properties: {
    isReleased: { type: 'boolean' },
    others: { type: 'array', items: { type: 'object', properties: life, required: ['name', 'incarnation'] } },
  },
  required: ['isReleased', 'others'],
} as const

/**
 * One question of `seen` on each lane. Answers come behind everything that was sent on their lane before: who is told "leaving" on
 * the data lane has also got all work that was sent to it there while it was not known to leave.
 */
export const Steward = protocol('understudy-steward', {
  seen: ask(life, status),
  seenOnControl: ask(life, status, { lane: 'control' }),
  seenOnBulk: ask(life, status, { lane: 'bulk' }),
  /**
   * Whether an entity is the asker's, and has ended here. On the data lane: the answer comes behind what was passed on to
   * the asker before it, and as many keys may move at once as there are, which control has no room for.
   */
  released: ask({ kind: text, key: text, asker: text }, releaseSchema),
})

export type StewardQuestion = 'seen' | 'seenOnControl' | 'seenOnBulk'

/** As whom this node sees a life of another; `unknown` when it never heard of it, or knows a newer one. */
export type SeenAs = (name: string, incarnation: number) => MemberStatus | 'unknown'

/** The answer of a node that is held itself, of somebody who is not over as far as it knows. */
export const unsure = 'unsure'

export interface StewardHost {
  readonly seenAs: SeenAs
  /** It does not know whether it counts itself. */
  readonly isHeld: () => boolean
  readonly release: (asker: string, entity: EntityName, answer: (release: Release) => void) => void
}

/** Starts the steward of a node. */
export function startSteward(system: InternalSystem, { seenAs, isHeld, release }: StewardHost): void {
  const answer = ({ name, incarnation }: { readonly name: unknown; readonly incarnation: unknown }): string =>
    seenAs(String(name), Number(incarnation))
  const steward = actor(Steward, { name: 'steward' }, (ctx) => ({
    seen: answer,
    seenOnControl: (life) => {
      const seen = answer(life)
      return isHeld() && seen !== 'down' && seen !== 'left' && seen !== 'unknown' ? unsure : seen
    },
    seenOnBulk: answer,
    released: ({ kind, key, asker }) => {
      // Whoever else has a question is not kept waiting by one that has to wait.
      const later = ctx.call().later<{ isReleased: boolean; others: Witness[] }>()
      release(asker, { kind, key }, ({ isReleased, others }) => {
        later.reply({ isReleased, others: [...others] })
      })
      return later
    },
  }))
  spawnSystemActor(system, 'steward', steward)
}

/** Somebody to ask. */
export interface Witness {
  readonly name: string
  readonly incarnation: number
}

/** Nobody there knows the question: its build is older, and hands nothing over. */
const unasked: ReadonlySet<string> = new Set(['RUNTIME_UNKNOWN_MESSAGE', 'RUNTIME_NO_SUCH_ACTOR'])

/** What `life` says of an entity that node `asker` wants to start; `undefined` when it does not answer. */
export async function askRelease(
  hub: RemoteHub,
  { name, incarnation }: Witness,
  { kind, key }: EntityName,
  asker: string,
): Promise<Release | undefined> {
  const ref = new RemoteRef(hub, name, incarnation, stewardPath, undefined, Steward)
  try {
    const question = { type: 'released', kind, key, asker }
    // The reply has passed the schema above.
    return (await ref.ask(question, { timeoutMs: 2 * answerMs })) as Release
  } catch (error) {
    if (isActorError(error) && unasked.has(error.code)) return { isReleased: true, others: [] }
    return undefined
  }
}

/** As what `witness` sees us; `undefined` when it does not answer in time, or there is no link to it. */
export async function askWitness(
  hub: RemoteHub,
  witness: Witness,
  question: StewardQuestion,
  self: Witness,
  timeoutMs: number,
): Promise<string | undefined> {
  const ref = new RemoteRef(hub, witness.name, witness.incarnation, stewardPath, undefined, Steward)
  try {
    const seen: unknown = await ref.ask({ type: question, ...self }, { timeoutMs })
    return String(seen)
  } catch {
    // No answer is an answer: whoever asks counts those that came.
    return undefined
  }
}
