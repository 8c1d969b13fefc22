/** What the hosts of two nodes say to each other: batches of their groups' messages, one type for each lane, and pulses. */
import { protocol, tell } from '@understudy/runtime'

/** Where the host of every node lives. */
export const hostPath = '/system/consensus'

const text = { type: 'string' } as const
const list = { type: 'array' } as const
const count = { type: 'number' } as const

/**
 * `items` is flat: a group's name, its payload, the next group's name, and so on. Only the frame is checked here, whatever
 * is in it; payloads are checked by the members that read them. `store` is the id of the sender's store.
 *
 * Declared lossy: in the simulator single batches are lost, doubled, late, and overtake each other. What runs on the host
 * must bear it, for a lost link does much of that. A node whose host is not started yet, or is between two lives, is as one
 * that is down: what matters is sent again.
 */
const batch = { node: text, store: text, items: list }

export const HostProtocol = protocol(
  'understudy-consensus',
  {
    control: tell(batch, { lane: 'control' }),
    data: tell(batch, { lane: 'data' }),
    bulk: tell(batch, { lane: 'bulk' }),
    /** See `HostPulse`. */
    pulse: tell({ node: text, digest: count, groups: list }, { lane: 'control' }),
  },
  { delivery: 'lossy', absence: 'expected' },
)

/** What the host's actor sends itself. A `task` carries a function besides: it is never checked, and never leaves. */
export const hostOwn = Object.freeze({ task: tell(), flush: tell(), tick: tell() })

/** A batch as it arrives. */
export interface HostBatch {
  readonly node: unknown
  readonly store: unknown
  readonly items: unknown
}
