/**
 * The names of all options, by where they stand. TypeScript sees a slip of the pen in a literal only: not in JavaScript, and
 * not in what was read from a file. An option that nobody reads is silent, and `admit: { name: [...] }` lets everybody in.
 */
import type { JoinPolicy } from '../wire/join-policy.ts'
import type { DetectionOptions } from '../membership/membership-options.ts'
import type { DowningOptions } from '../membership/downing-options.ts'
import type { AdmissionOptions } from '../transport/admission.ts'
import type { NodeOptions } from './node-options.ts'

type NamesOf<T> = Readonly<Record<keyof T, true>>

const node: NamesOf<NodeOptions> = {
  ...{ name: true, listen: true, advertise: true, seeds: true, cluster: true, discovery: true, secret: true },
  ...{ tls: true, admit: true, admission: true, data: true, root: true, entities: true, actors: true },
  ...{ transport: true, http: true, webSocket: true, weight: true, zone: true, roles: true, version: true },
  ...{ membership: true, downing: true, downingLease: true, expect: true, onRemoved: true, spawnable: true },
  ...{ drainMs: true, handshakeTimeoutMs: true, frameBytesMax: true, outboundBytesMax: true },
  ...{ platform: true, isolation: true, services: true, store: true, metrics: true, askTimeoutMs: true },
  ...{ shutdownMs: true, handleSignals: true, stallMs: true },
}

const membership: NamesOf<DetectionOptions> = {
  ...{ preset: true, detector: true, membersMax: true, tombstoneMs: true, messageBytesMax: true },
  ...{ probeIntervalMs: true, probeTimeoutMs: true, probeTimeoutMinMs: true, indirectProbes: true },
  ...{ probesNext: true, suspicionMult: true, suspicionMaxMult: true, retransmitMult: true },
  ...{ gossipIntervalMs: true, gossipNodes: true, gossipToTheDeadMs: true, pushPullIntervalMs: true },
  ...{ trustRefusal: true },
}

const downing: NamesOf<DowningOptions> = {
  ...{ strategy: true, role: true, quorumSize: true, downIfAlone: true, probeIntervalMs: true },
  ...{ stableAfterMs: true, marginMs: true, downAllWhenUnstableMs: true, leaseMinorityDelayMs: true },
  ...{ leaseTimeoutMs: true, leaseReleaseAfterMs: true, stallMs: true },
}

const admit: NamesOf<JoinPolicy> = { names: true, addresses: true, nameFromCertificate: true, check: true }

const admission: NamesOf<AdmissionOptions> = {
  ...{ unestablishedMax: true, unestablishedPerAddressMax: true },
  ...{ connectionsPerSecondPerAddress: true, allowAddresses: true },
}

/** @throws {TypeError} an option that there is not, or a text where options are expected */
export function checkOptionNames(cannot: string, options: NodeOptions): void {
  check(cannot, '', options, node)
  if (typeof options.membership !== 'string') check(cannot, 'membership', options.membership, membership)
  check(cannot, 'downing', options.downing, downing)
  check(cannot, 'admit', options.admit, admit)
  check(cannot, 'admission', options.admission, admission)
}

function check(cannot: string, place: string, given: unknown, known: Readonly<Record<string, true>>): void {
  if (given === undefined) return
  const names = Object.keys(known).join(', ')
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(`${cannot}: "${place}" must be an object with any of ${names}; got ${String(given)}`)
  }
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(known, name)) continue
    const path = place === '' ? name : `${place}.${name}`
    throw new TypeError(`${cannot}: there is no option "${path}"; there are ${names}`)
  }
}
