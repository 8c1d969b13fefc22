/** A peer that says whatever a test likes: hand-made envelopes behind a true handshake, or no handshake at all. */
import type { Link, NodeAddress, Transport } from '@understudy/cluster'
import type { Clock } from '@understudy/runtime'
import { decode, encode } from '@understudy/runtime/codec'
import { sourceModule } from './source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
)
const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)

/** What it says of itself. */
export type FuzzHello = Parameters<typeof shakeHands>[0]['hello']

export interface FuzzPeerOptions {
  readonly transport: Transport
  readonly clock: Clock
  readonly to: string
  /** The secret it has. `null`: none. */
  readonly secret: string | null
  readonly nonce: Uint8Array
  readonly hello?: Partial<FuzzHello> | undefined
  /** Answers SWIM's pings, so that it is taken for alive. @default true */
  readonly answers?: boolean | undefined
}

/** One link of such a peer. */
export interface FuzzPeer {
  readonly link: Link
  /** `established`, or the code of the refusal; `stranger`: it never shook hands. */
  readonly outcome: string
  /** Frames of its own handshake, in order. */
  readonly said: readonly Uint8Array[]
  /** Envelopes that it was sent, in order. */
  readonly heard: unknown[][]
  /** The code with which its link ended, once it has. */
  readonly ended: () => string | undefined
  /** One frame of these envelopes. */
  readonly send: (...envelopes: readonly unknown[]) => void
  /** One gossip envelope with this payload. */
  readonly gossip: (payload: unknown) => void
}

/** A record as it is gossiped; see swim-message.ts. `kind` is its number there. */
export function fuzzRecord(
  name: string,
  incarnation: number,
  address: string,
  refutation: number,
  kind: number,
  ...rest: readonly unknown[]
): readonly unknown[] {
  return [name, incarnation, address, 1, null, [], '', refutation, kind, ...rest]
}

/** Numbers of record kinds as they travel; those of doubts and ends with phase `alive`. */
export const fuzzKind = Object.freeze({
  alive: 1,
  leaving: 2,
  suspect: 4,
  unreachable: 7,
  down: 10,
  left: 13,
})

/** Dials and shakes hands as `mallory` at an address where nobody is, unless told otherwise. Resolves when that is over. */
export async function fuzzPeer(options: FuzzPeerOptions): Promise<FuzzPeer> {
  const { transport, clock, to, secret, nonce } = options
  const link = await transport.dial(to as NodeAddress)
  const said: Uint8Array[] = []
  let end: string | undefined
  let found: Reading | undefined
  const outcome = await new Promise<string>((resolve) => {
    const spied: Link = {
      send: (frame) => (said.push(new Uint8Array(frame)), link.send(frame)),
      onFrame: link.onFrame,
      onClose: (callback) =>
        link.onClose((reason) => {
          end = reason.code
          callback(reason)
        }),
      onDrain: link.onDrain,
      close: link.close,
      established: link.established,
      bufferedBytes: 0,
      remoteAddress: link.remoteAddress,
    }
    shakeHands(
      {
        link: spied,
        role: 'initiator',
        hello: {
          versionMin: 1,
          versionMax: 2,
          cluster: 'understudy',
          node: 'mallory',
          incarnation: 1,
          address: 'ws://127.0.0.1:6666',
          features: ['lanes'],
          nonce,
          ...options.hello,
        },
        known: () => undefined,
        secrets: () => (secret === null ? undefined : secretRing(secret)),
        clock,
        timeoutMs: 60_000,
        ended: () => undefined,
      },
      (came) => {
        // Set before the next frame is read.
        if (came.type === 'established') found = reading(link, options.answers ?? true)
        resolve(
          came.type === 'refused' ? came.refusal.code : came.type === 'lost' ? came.code : 'established',
        )
      },
    )
  })
  const read: Reading = found ?? { heard: [], end: () => end }
  return { ...voice(link), outcome, said, heard: read.heard, ended: () => read.end() ?? end }
}

interface Reading {
  readonly heard: unknown[][]
  readonly end: () => string | undefined
}

/** A link on which nothing has been said. */
export async function fuzzStranger(options: Pick<FuzzPeerOptions, 'transport' | 'to'>): Promise<FuzzPeer> {
  const link = await options.transport.dial(options.to as NodeAddress)
  const { heard, end } = reading(link, false)
  return { ...voice(link), outcome: 'stranger', said: [], heard, ended: end }
}

function voice(link: Link): Pick<FuzzPeer, 'link' | 'send' | 'gossip'> {
  const send = (...envelopes: readonly unknown[]): void => void link.send(encode(envelopes))
  return { link, send, gossip: (payload) => send([12, payload]) }
}

function reading(link: Link, answers: boolean): Reading {
  const heard: unknown[][] = []
  let end: string | undefined
  link.onFrame((frame) => {
    const envelopes: unknown = decode(frame)
    if (!Array.isArray(envelopes)) return
    for (const envelope of envelopes as unknown[][]) {
      heard.push(envelope)
      const [kind, payload] = envelope
      if (answers && kind === 12 && Array.isArray(payload) && payload[0] === 0) {
        link.send(encode([[12, [2, payload[1], []]]]))
      }
    }
  })
  link.onClose(({ code }) => (end = code))
  return { heard, end: () => end }
}
