/**
 * What a proposer or reader of a group meets. Told apart by `code`, with `isActorError(error, code)`: between nodes an error
 * is its code, message and details, never its class. docs/reference/errors.md has a heading for every code.
 */
import { ActorError } from '@understudy/runtime'

/** Every code of consensus. */
export type ConsensusErrorCode =
  | 'PROTOCOLS_NOT_LEADER'
  | 'PROTOCOLS_OVERLOADED'
  | 'PROTOCOLS_OUTCOME_UNKNOWN'
  | 'PROTOCOLS_SESSION_EXPIRED'
  | 'PROTOCOLS_GROUP_CLOSED'
  | 'PROTOCOLS_ALREADY_OPEN'
  | 'PROTOCOLS_GROUP_ALREADY_OPEN'

type Details = Readonly<Record<string, unknown>>

/** This member does not lead: nothing was appended or read. `leader` is the node to ask, where one is known. */
export class NotLeader extends ActorError {
  /** Name of the leader's node. Also in `details`. */
  readonly leader: string | undefined

  constructor(group: string, leader: string | undefined, details: Details = {}, cause?: unknown) {
    const mend =
      leader === undefined ? 'no leader is known: try again after a moment' : `ask node "${leader}"`
    super(
      'PROTOCOLS_NOT_LEADER',
      `This member does not lead the group "${group}"; ${mend}`,
      { ...details, group, ...(leader === undefined ? {} : { leader }) },
      cause,
    )
    this.leader = leader
  }
}

/** Too much is waiting: nothing was appended. Wait, then propose again, or propose less at a time. */
export class GroupOverloaded extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('PROTOCOLS_OVERLOADED', message, details)
  }
}

/**
 * The command may have been applied, may still be, or may never be. Only the same command with the same session stamp finds
 * out: it is applied at most once, and the retry gets the result.
 */
export class OutcomeUnknown extends ActorError {
  constructor(message: string, details: Details = {}, cause?: unknown) {
    super('PROTOCOLS_OUTCOME_UNKNOWN', message, details, cause)
  }
}

/**
 * The session is over: this attempt was not applied. An earlier attempt of the same command may have been: what it did is
 * not known any more. `details.session` is its number.
 */
export class SessionExpired extends ActorError {
  constructor(session: number, details: Details = {}) {
    super(
      'PROTOCOLS_SESSION_EXPIRED',
      `Session ${session} is over: it was not used for its ttlMs, or gave way to newer ones; open another session`,
      { ...details, session },
    )
  }
}

/** This node has a consensus host, or is opening one: it goes on. */
export class ConsensusAlreadyOpen extends ActorError {
  constructor(node: string) {
    super(
      'PROTOCOLS_ALREADY_OPEN',
      `Cannot open consensus on node "${node}": it is open already; use that one, or close it first`,
      { node },
    )
  }
}

/** This node has a group of that name open, is opening one, or has not done closing it: that one goes on. */
export class GroupAlreadyOpen extends ActorError {
  constructor(group: string, node: string) {
    super(
      'PROTOCOLS_GROUP_ALREADY_OPEN',
      `Cannot open the group "${group}" on node "${node}": it is open already; use that one, or wait until its close() is done`,
      { group, node },
    )
  }
}

/** The group does not take part on this node any more: it was closed, its node was removed, or the node stops. */
export class GroupClosed extends ActorError {
  constructor(message: string, details: Details = {}, cause?: unknown) {
    super('PROTOCOLS_GROUP_CLOSED', message, details, cause)
  }
}
