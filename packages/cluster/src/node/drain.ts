/**
 * Leaving without losing anything: first nobody sends new work here any more, then what came is worked off, then the
 * good-bye. Each step is bounded by the time that the node's shutdown may take.
 */
import type { Kernel } from '@understudy/runtime/internal'
import type { Member, View } from '../membership/view.ts'
import type { PeerSession } from '../remote/peer-session.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import { askWitness, type StewardQuestion, type Witness } from './steward.ts'

const roundMs = 500
const pauseMs = 50

export interface DrainHost {
  readonly kernel: Kernel
  readonly hub: RemoteHub
  readonly view: () => View
  readonly self: () => Witness
  readonly sessions: () => readonly PeerSession[]
}

/**
 * Resolves when every member that counts has said that it knows this node to leave: from then on it sends no entity's
 * message here, and those that it sent before have arrived, for its answer came behind them. The value is empty then; when
 * `untilMs` came first it names those who have not said so.
 */
export async function whenAllKnow(host: DrainHost, untilMs: number): Promise<readonly string[]> {
  const { kernel, hub } = host
  const told = new Set<string>()
  for (;;) {
    const self = host.self()
    const { name, incarnation } = self
    const open = host
      .view()
      .members.filter((member) => member.name !== name && isWaitedFor(host, member))
      .filter((member) => !told.has(lifeOf(member)))
    if (open.length === 0) return []
    if (kernel.clock.monotonicMs() >= untilMs) return open.map((member) => member.name)
    await Promise.all(
      open.map(async (member) => {
        // Bulk is asked only where something may be under way on it.
        const usesBulk = host
          .sessions()
          .some((session) => session.name === member.name && session.hasLane('bulk'))
        const questions: readonly StewardQuestion[] = usesBulk ? ['seen', 'seenOnBulk'] : ['seen']
        const answers = await Promise.all(
          questions.map((question) => askWitness(hub, member, question, { name, incarnation }, roundMs)),
        )
        if (answers.every((seen) => seen !== undefined && takesNoMore.has(seen))) told.add(lifeOf(member))
      }),
    )
    await pause(kernel)
  }
}

/** As what somebody sees a node that he sends no entity's message any more. */
const takesNoMore: ReadonlySet<string> = new Set(['leaving', 'left', 'down'])

/** Whoever may still send work here. One that leaves itself, and has no link any more, has gone without a good-bye. */
function isWaitedFor({ hub }: DrainHost, { name, status }: Member): boolean {
  if (status === 'leaving') return hub.session(name) !== undefined
  return status !== 'suspect'
}

/** Resolves when nobody elsewhere waits for an answer of this node, or `untilMs` came. */
export async function whenAnswered(host: DrainHost, untilMs: number): Promise<boolean> {
  for (;;) {
    if (host.sessions().every(({ serving }) => serving === 0)) return true
    if (host.kernel.clock.monotonicMs() >= untilMs) return false
    await pause(host.kernel)
  }
}

/** As `work`, or nothing once `untilMs` came: who waits for it goes on, and it goes on too. */
export function atMostUntil(kernel: Kernel, work: Promise<void>, untilMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = kernel.clock.setTimer(untilMs, resolve)
    work.then(resolve, reject).finally(() => timer.cancel())
  })
}

function lifeOf({ name, incarnation }: Witness): string {
  return `${name}/${incarnation}`
}

function pause({ clock }: Kernel): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(clock.monotonicMs() + pauseMs, resolve)
  })
}
