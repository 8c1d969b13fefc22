/**
 * The actors of the lane benchmark's second process, and what the two processes tell each other besides: where the
 * node is, and how much memory its process takes.
 */
import { actor, ask, child, protocol, supervisor, tell, type AnyDefinition } from '@understudy/runtime'
import { setTimeout as delay } from 'node:timers/promises'
import Type from 'typebox'

export const PARTNER_NAME = 'partner'
export const LANES = ['control', 'data', 'bulk'] as const

/** One of the three links between two nodes. */
export type LaneName = (typeof LANES)[number]

/** What the partner is told over IPC. */
export type PartnerCommand =
  /** A node with these actors is to be started; `seeds` it dials, if there are any. Answered by `started`. */
  | { readonly type: 'start'; readonly name: string; readonly seeds: readonly string[] }
  | { readonly type: 'stop' }
  /** Answered by `memory`. */
  | { readonly type: 'look' }

/** What the partner answers. */
export type PartnerReport =
  | { readonly type: 'started'; readonly address: string }
  | { readonly type: 'stopped' }
  | { readonly type: 'memory'; readonly rssBytes: number; readonly handled: number }

// TypeBox has no schema for bytes; the wire carries them as they are.
const bytes = Type.Unsafe<Uint8Array>({})

/** A protocol whose chunks travel on that lane. One each: `room()` waits for all lanes that a protocol uses. */
export function depotProtocol(lane: LaneName) {
  return protocol(`depot-${lane}`, { chunk: tell({ bytes }, { lane }) })
}

export const Echo = protocol('lane-echo', {
  control: ask({ value: Type.Integer() }, Type.Integer(), { lane: 'control' }),
  data: ask({ value: Type.Integer() }, Type.Integer(), { lane: 'data' }),
})
export const ECHO_PATH = '/user/echo'

export const Parcels = protocol('parcels', { parcel: tell({ bytes }) })
export const PARCELS_PATH = '/user/slow'

/** What the slow consumer takes for one message: a hundred a second. */
const PARCEL_MS = 10

const echo = actor(Echo, () => ({ control: ({ value }) => value, data: ({ value }) => value }))

/** The tree of the partner's node. `handled` is called for each message of the slow consumer. */
export function partnerRoot(handled: () => void): AnyDefinition {
  const slow = actor(Parcels, () => ({
    parcel: async () => {
      await delay(PARCEL_MS)
      handled()
    },
  }))
  const depots = LANES.map((lane) =>
    child(
      `depot-${lane}`,
      actor(depotProtocol(lane), () => ({ chunk: () => undefined })),
    ),
  )
  return supervisor({}, [child('echo', echo), child('slow', slow), ...depots])
}
