/**
 * What every service on a consensus group does for its clients, within its actor: sends away who asks a member that does not
 * lead, hands commands to the group, opens sessions, and says in an answer what went wrong.
 */
import { isActorError, type CurrentCall, type Later, type Logger } from '@understudy/runtime'
import type { ConsensusGroup, GroupStatus, SessionStamp } from '../core/consensus-group.ts'
import { encodePlainReply } from './service-reply.ts'
import type { WriteMessage } from './session-writes.ts'

/** A request waits so long for the group when its asker does not say. */
const timeoutMsDefault = 10_000

/** The bytes of an answer, now or later. */
export type Answer = Uint8Array | Later<Uint8Array>

/** What the desk needs of its actor's context. */
export interface DeskContext {
  readonly call: () => CurrentCall
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly log: Logger
}

export interface DeskOptions<R> {
  /** For the log: `the store`. */
  readonly what: string
  /** The bytes of a command's answer. */
  readonly encodeResult: (result: R) => Uint8Array
  /** The group does not take the command, too large for it mostly; nothing was appended. */
  readonly encodeBadRequest: (message: string) => Uint8Array
  /** Called at each change of what the member is, after the desk has it. */
  readonly onStanding: (status: GroupStatus) => void
}

/** One for each incarnation of the actor. */
export class GroupDesk<R> {
  readonly #ctx: DeskContext
  readonly #group: ConsensusGroup<R>
  readonly #options: DeskOptions<R>
  #standing: GroupStatus
  /** The answer to whoever asks a member that does not lead; made at each change. */
  #elsewhere: Uint8Array
  readonly #end: () => void

  constructor(ctx: DeskContext, group: ConsensusGroup<R>, options: DeskOptions<R>) {
    this.#ctx = ctx
    this.#group = group
    this.#options = options
    this.#standing = group.status()
    this.#elsewhere = elsewhereOf(this.#standing)
    this.#end = group.onStatus((status) => {
      this.#standing = status
      this.#elsewhere = elsewhereOf(status)
      options.onStanding(status)
    })
  }

  /** What this member is. Made at each change, so its `commit` and `applied` are old. */
  get standing(): GroupStatus {
    return this.#standing
  }

  get isLeader(): boolean {
    return this.#standing.role === 'leader'
  }

  /** The answer to whoever asks a member that cannot serve. */
  get elsewhere(): Uint8Array {
    return this.#elsewhere
  }

  /** Hears nothing of the group any more. */
  close(): void {
    this.#end()
  }

  /** Hot: answers with what the group makes of the command, within a handler. */
  propose(command: Uint8Array, session: SessionStamp | undefined): Answer {
    if (this.#standing.role !== 'leader') return this.#elsewhere
    if (!(command instanceof Uint8Array)) return badMessage
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.propose(command, { session, timeoutMs: this.timeLeft(call.deadlineMs) }).then(
      (result) => owed.reply(this.#options.encodeResult(result)),
      (error: unknown) => owed.reply(this.failure(error)),
    )
    return owed
  }

  openSession(ttlMs: number): Answer {
    if (this.#standing.role !== 'leader') return this.#elsewhere
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.openSession({ ttlMs, timeoutMs: this.timeLeft(call.deadlineMs) }).then(
      (number) => owed.reply(encodePlainReply({ kind: 'opened', number, progressMs: 0 })),
      (error: unknown) => owed.reply(this.failure(error)),
    )
    return owed
  }

  /** How long a call whose deadline this is may still take. */
  timeLeft(deadlineMs: number): number {
    if (deadlineMs === Number.POSITIVE_INFINITY) return timeoutMsDefault
    return Math.max(1, deadlineMs - this.#ctx.now())
  }

  /** What the group's rejection means to a client, as bytes. */
  failure(error: unknown): Uint8Array {
    if (error instanceof RangeError || error instanceof TypeError)
      return this.#options.encodeBadRequest(error.message)
    if (!isActorError(error)) {
      this.#ctx.log.error({ err: error }, `a group of ${this.#options.what} failed as none should`)
      const why = error instanceof Error ? error.message : String(error)
      return encodePlainReply({ kind: 'unknown', why })
    }
    const { leader } = error.details
    switch (error.code) {
      case 'PROTOCOLS_NOT_LEADER':
        return encodePlainReply({ kind: 'not-leader', leader: typeof leader === 'string' ? leader : '' })
      case 'PROTOCOLS_OVERLOADED':
        return encodePlainReply({ kind: 'overloaded', why: error.message })
      case 'PROTOCOLS_SESSION_EXPIRED':
        return encodePlainReply({ kind: 'session-expired' })
      case 'PROTOCOLS_GROUP_CLOSED':
        return encodePlainReply({ kind: 'closed', why: error.message })
      default:
        return encodePlainReply({ kind: 'unknown', why: error.message })
    }
  }
}

/** The stamp of a write; `undefined`: it has none. */
export function stampOf({
  session,
  sequence,
  below,
}: Pick<WriteMessage, 'session' | 'sequence' | 'below'>): SessionStamp | undefined {
  return session === 0 ? undefined : { session, sequence, answeredBelow: below }
}

function elsewhereOf({ role, leader, node }: GroupStatus): Uint8Array {
  if (role === 'closed' || role === 'removed') {
    return encodePlainReply({ kind: 'closed', why: `node "${node}" is no member of the group` })
  }
  return encodePlainReply({
    kind: 'not-leader',
    leader: leader === undefined || leader === node ? '' : leader,
  })
}

/** To somebody who does not speak as a client does. */
export const badMessage = encodePlainReply({
  kind: 'closed',
  why: 'the message holds no bytes where they belong',
})
