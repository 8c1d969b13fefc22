/** What keeps a node from founding or joining a group: its names contradict those of another node. */
import { ActorError } from '@understudy/runtime'

/** What `FoundingRefused` is about. */
export interface FoundingRefusedDetails {
  readonly group: string
  /** The node that knows other names. */
  readonly node: string
  /** The names given here. */
  readonly members: readonly string[]
  /** The names that `node` knows. */
  readonly others: readonly string[]
}

/**
 * The group was not founded, and this node does not take part: another node was told other names for it, or it was founded
 * by others. Nothing was written. Give all nodes the same names, or give the group another name, and open it again.
 */
export class FoundingRefused extends ActorError {
  constructor(message: string, details: FoundingRefusedDetails) {
    super('PROTOCOLS_FOUNDING_REFUSED', message, { ...details })
  }
}
