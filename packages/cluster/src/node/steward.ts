/**
 * What nodes ask each other about themselves: "do you still count me in, and as what?" A node that slept asks before its
 * actors act again; a node that leaves asks until everybody has stopped sending it work.
 */
import { actor, ask, protocol } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { MemberStatus } from '../membership/view.ts'
import { RemoteRef } from '../remote/remote-ref.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'

export const stewardPath = '/system/steward'

const life = { name: { type: 'string' }, incarnation: { type: 'number' } } as const
const status = { type: 'string' } as const

/**
 * One question on each lane. Answers come behind everything that was sent on their lane before: who is told "leaving" on
 * the data lane has also got all work that was sent to it there while it was not known to leave.
 */
export const Steward = protocol('understudy-steward', {
  seen: ask(life, status),
  seenOnControl: ask(life, status, { lane: 'control' }),
  seenOnBulk: ask(life, status, { lane: 'bulk' }),
})

export type StewardQuestion = 'seen' | 'seenOnControl' | 'seenOnBulk'

/** As whom this node sees a life of another; `unknown` when it never heard of it, or knows a newer one. */
export type SeenAs = (name: string, incarnation: number) => MemberStatus | 'unknown'

/** The answer of a node that is held itself, of somebody who is not over as far as it knows. */
export const unsure = 'unsure'

/** Starts the steward of a node. `isHeld`: it does not know whether it counts itself. */
export function startSteward(system: InternalSystem, seenAs: SeenAs, isHeld: () => boolean): void {
  const answer = ({ name, incarnation }: { readonly name: unknown; readonly incarnation: unknown }): string =>
    seenAs(String(name), Number(incarnation))
  const steward = actor(Steward, { name: 'steward' }, () => ({
    seen: answer,
    seenOnControl: (life) => {
      const seen = answer(life)
      return isHeld() && seen !== 'down' && seen !== 'left' && seen !== 'unknown' ? unsure : seen
    },
    seenOnBulk: answer,
  }))
  spawnSystemActor(system, 'steward', steward)
}

/** Somebody to ask. */
export interface Witness {
  readonly name: string
  readonly incarnation: number
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
