/**
 * Two ends that shake hands on a link in memory, step by step, with whoever the test likes in between.
 */
import type { Link } from '@understudy/cluster'
import type { Clock } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from './source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
)
const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)

type HandshakeShellOptions = Parameters<typeof shakeHands>[0]
type HandshakeHello = HandshakeShellOptions['hello']
/** How a handshake ended. */
export type Outcome = Parameters<Parameters<typeof shakeHands>[1]>[0]
/** The two roles. */
export type Role = 'initiator' | 'acceptor'
/** What an end of a pair does otherwise than usual. */
export type EndOptions = Partial<Omit<HandshakeShellOptions, 'hello'>> & {
  readonly hello?: Partial<HandshakeHello>
}

/** One end that has begun, and whose words go nowhere by themselves. */
export interface End {
  /** Gives it a frame, as if it had come over the link. */
  readonly hear: (frame: Uint8Array) => void
  /** The frames that it has sent and that nobody took yet. */
  readonly said: Uint8Array[]
  readonly outcomes: Outcome[]
  /** The code with which it closed its link. */
  readonly closed: string[]
}

/** What all ends of pairs use unless told otherwise. */
export const pairSecret = 'the secret of the pair'

const { clock, secureBytes } = virtualPlatform()
const noTimer: Clock = { ...clock, setTimer: () => ({ cancel: () => undefined }) }

/** Begins a handshake at one end. Without a `clock` it has no deadline. */
export function beginEnd(role: Role, options: EndOptions = {}): End {
  let frames: (frame: Uint8Array) => void = () => undefined
  const said: Uint8Array[] = []
  const outcomes: Outcome[] = []
  const closed: string[] = []
  const isInitiator = role === 'initiator'
  const link: Link = {
    // A copy: what an encoder hands out may be a Buffer, whose slice() is none.
    send: (frame) => (said.push(new Uint8Array(frame)), 'ok'),
    onFrame: (callback) => void (frames = callback),
    onClose: () => undefined,
    onDrain: () => undefined,
    close: (code) => void closed.push(code ?? ''),
    established: () => undefined,
    bufferedBytes: 0,
    remoteAddress: isInitiator ? 'ws://10.0.0.1:7001' : 'ws://10.0.0.2:50000',
  }
  shakeHands(
    {
      link,
      role,
      known: () => undefined,
      secrets: () => secretRing(pairSecret),
      clock: noTimer,
      timeoutMs: 1_000,
      ended: () => undefined,
      ...options,
      hello: {
        versionMin: 1,
        versionMax: 2,
        cluster: 'farm',
        node: isInitiator ? 'b' : 'a',
        incarnation: 1,
        address: `ws://10.0.0.${isInitiator ? 2 : 1}:7001`,
        features: [],
        nonce: secureBytes(32),
        ...options.hello,
      },
    },
    (outcome) => void outcomes.push(outcome),
  )
  return { hear: (frame) => frames(frame), said, outcomes, closed }
}

/** Who stands between two ends: what becomes of the frame number `index` (from 0) of `from`. */
export type Between = (frame: Uint8Array, from: Role, index: number) => readonly Uint8Array[]

/** A whole handshake, until neither end has anything more to say. */
export function shakePair(
  initiator: EndOptions = {},
  acceptor: EndOptions = {},
  between: Between = (frame) => [frame],
): { readonly initiator: End; readonly acceptor: End } {
  const ends = { acceptor: beginEnd('acceptor', acceptor), initiator: beginEnd('initiator', initiator) }
  const counts = { initiator: 0, acceptor: 0 }
  for (let moved = true; moved;) {
    moved = false
    for (const from of ['initiator', 'acceptor'] as const) {
      const frame = ends[from].said.shift()
      if (frame === undefined) continue
      moved = true
      const to = from === 'initiator' ? 'acceptor' : 'initiator'
      for (const each of between(frame, from, counts[from]++)) ends[to].hear(each)
    }
  }
  return ends
}

/** How an end came out, in a word: `established`, or the code of the refusal. */
export function cameTo(end: End): string {
  const [outcome] = end.outcomes
  if (outcome === undefined) return 'open'
  if (outcome.type === 'refused') return outcome.refusal.code
  return outcome.type
}
