/** What a sender meets when the other side is another node. */
import { ActorError } from '@understudy/runtime'

/**
 * The node was declared down, or the link to it was lost before the answer came. `details.outcome` is `not-sent` when
 * the request never left, `unknown` when it may have been carried out.
 */
export class NodeDown extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>>) {
    super('CLUSTER_NODE_DOWN', message, details)
  }
}

/**
 * The request was not sent: `details.why` is `queue` when the outbound queue of the link is full, `no credit` when too
 * many messages wait in the mailbox of the recipient. Wait with `ref.room()`, or send less.
 */
export class LinkFull extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>>) {
    super('CLUSTER_LINK_FULL', message, details)
  }
}

/** The node could not be started as it was asked to. */
export class NodeStartError extends ActorError {}

/** For messages to people: what is wrong, and the mend. */
export function notRegistered(name: string, node: string): string {
  return `entity "${name}" is not registered on node "${node}"; add its definition to "entities" there`
}
