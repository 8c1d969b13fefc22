/**
 * The names of all options, by where they stand, and what each must be. TypeScript sees a slip of the pen in a literal only:
 * not in JavaScript, and not in what was read from a file. An option that nobody reads is silent, and `admit: { name: [...] }`
 * lets everybody in; one of the wrong type fails far away from here, or means something else.
 *
 * Only types are judged here; whoever uses an option knows its limits.
 */
import { describeGiven } from '@understudy/runtime/internal'
import type { JoinPolicy } from '../wire/join-policy.ts'
import type { DetectionOptions } from '../membership/membership-options.ts'
import type { DowningOptions } from '../membership/downing-options.ts'
import type { SwimDetector } from '../membership/swim-options.ts'
import type { AdmissionOptions } from '../transport/admission.ts'
import type { UserSocketOptions } from '../transport/user-socket.ts'
import type { NodeOptions } from './node-options.ts'

/** What an option must be: how it is told, and said as it continues "must be". */
interface Kind {
  readonly is: (value: unknown) => boolean
  readonly said: string
}

type KindsOf<T> = Readonly<Record<keyof T, Kind>>

const isText = (value: unknown): boolean => typeof value === 'string'
const isNumber = (value: unknown): boolean => typeof value === 'number'
const isFunction = (value: unknown): boolean => typeof value === 'function'
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isDefinition = (value: unknown): boolean => isObject(value) && 'body' in value

function kind(said: string, is: Kind['is']): Kind {
  return { said, is }
}
function text(said = 'a string'): Kind {
  return kind(said, isText)
}
function list(said: string, isItem: Kind['is'] = () => true): Kind {
  return kind(said, (value) => Array.isArray(value) && value.every(isItem))
}
function object(said: string, ...methods: readonly string[]): Kind {
  return kind(said, (value) => isObject(value) && methods.every((name) => isFunction(value[name])))
}
function oneOf(...names: readonly string[]): Kind {
  const all = names.map((name) => `"${name}"`)
  return kind(`${all.slice(0, -1).join(', ')} or ${all.at(-1)}`, (value) => names.includes(value as string))
}

/** Judged where it is used, with an error that says more. */
const elsewhere = kind('anything', () => true)
const number = kind('a number', isNumber)
const ms = kind('a number of milliseconds', isNumber)
const flag = kind('true or false', (value) => typeof value === 'boolean')

const definitions = 'a list of definitions, as actor() returns them'
const address = 'an address such as "ws://127.0.0.1:7001"'
const discovery = object('', 'start').is

const node: KindsOf<NodeOptions> = {
  name: elsewhere,
  listen: text(address),
  advertise: text(`${address}, where others dial this node`),
  seeds: list('a list of addresses, such as ["ws://127.0.0.1:7001"]', isText),
  cluster: text('a string of 1 to 128 characters, the same on all nodes'),
  discovery: kind(
    'what fileDiscovery, dnsDiscovery or staticDiscovery return, or a list of such',
    (value) => discovery(value) || (Array.isArray(value) && value.every(discovery)),
  ),
  secret: elsewhere,
  tls: kind('an object with "cert" and "key", or a function that returns one', (value) => {
    return isObject(value) || isFunction(value)
  }),
  admit: elsewhere,
  admission: elsewhere,
  data: kind('"memory", or the path of a directory', (value) => isText(value) && value !== ''),
  root: kind('a definition, as actor() returns it', isDefinition),
  entities: list(definitions),
  actors: list(definitions, isDefinition),
  transport: object(
    'an object with "listen" and "dial", as webSocketTransport() returns it',
    'listen',
    'dial',
  ),
  http: kind('a function (request, response)', isFunction),
  webSocket: kind('a function that takes a socket, or an object with "accept"', (value) => {
    return isFunction(value) || isObject(value)
  }),
  weight: number,
  zone: text('a string of 1 to 128 characters, such as "eu-1"'),
  roles: list('a list of at most 16 texts of 1 to 64 characters, such as ["web"]', isText),
  version: text('a string of at most 64 characters, such as "1.4.0"'),
  membership: elsewhere,
  downing: elsewhere,
  downingLease: object(
    'an object with "acquire" and "release", as lockDowningLease() returns it',
    'acquire',
    'release',
  ),
  expect: kind('a number of nodes', isNumber),
  onRemoved: oneOf('rejoin', 'exit'),
  spawnable: list(definitions, isDefinition),
  drainMs: ms,
  handshakeTimeoutMs: ms,
  frameBytesMax: kind('a number of bytes', isNumber),
  outboundBytesMax: kind('a number of bytes', isNumber),
  platform: object('an object, as nodePlatform() returns it'),
  isolation: oneOf('reference', 'freeze', 'codec'),
  services: list('a list of services, such as [Files.provide(realFiles())]'),
  store: object('an object, as memoryStore() returns it'),
  metrics: object('an object, as memoryMetrics() returns it'),
  askTimeoutMs: ms,
  shutdownMs: ms,
  handleSignals: flag,
  stallMs: ms,
}

const membership: KindsOf<DetectionOptions> = {
  preset: oneOf('lan', 'wan', 'local'),
  detector: kind('"probe", or { phi: { threshold: 8 } }', (value) => value === 'probe' || isObject(value)),
  membersMax: number,
  tombstoneMs: ms,
  messageBytesMax: number,
  probeIntervalMs: ms,
  probeTimeoutMs: ms,
  probeTimeoutMinMs: ms,
  indirectProbes: number,
  probesNext: flag,
  suspicionMult: number,
  suspicionMaxMult: number,
  retransmitMult: number,
  gossipIntervalMs: ms,
  gossipNodes: number,
  gossipToTheDeadMs: ms,
  pushPullIntervalMs: ms,
  trustRefusal: flag,
}

type Phi = Extract<SwimDetector, object>

const phi: KindsOf<Phi> = { phi: elsewhere }
const phiFigures: KindsOf<Phi['phi']> = { threshold: number }

const downing: KindsOf<DowningOptions> = {
  strategy: text('the name of a strategy, such as "keep-majority"'),
  role: text('a string: one of the "roles" of nodes'),
  quorumSize: number,
  downIfAlone: flag,
  probeIntervalMs: ms,
  stableAfterMs: ms,
  marginMs: ms,
  downAllWhenUnstableMs: kind(
    'a number of milliseconds, or false',
    (value) => isNumber(value) || value === false,
  ),
  leaseMinorityDelayMs: ms,
  leaseTimeoutMs: ms,
  leaseReleaseAfterMs: ms,
  stallMs: ms,
}

const admit: KindsOf<JoinPolicy> = {
  names: list('a list of names, such as ["web-*"]', isText),
  addresses: list('a list of ranges, such as ["10.0.0.0/8"]', isText),
  nameFromCertificate: flag,
  check: kind('a function (facts) that returns true or a reason', isFunction),
}

const admission: KindsOf<AdmissionOptions> = {
  unestablishedMax: number,
  unestablishedPerAddressMax: number,
  connectionsPerSecondPerAddress: number,
  allowAddresses: list('a list of ranges, such as ["10.0.0.0/8"]', isText),
}

const webSocket: KindsOf<UserSocketOptions> = {
  accept: kind('a function that takes a socket', isFunction),
  origins: kind('"any", or a list of origins such as "https://chat.example.com"', (value) => {
    return value === 'any' || (Array.isArray(value) && value.every(isText))
  }),
  payloadBytesMax: kind('a number of bytes', isNumber),
  outboundBytesMax: kind('a number of bytes', isNumber),
  socketsMax: number,
}

/** @throws {TypeError} an option that there is not, or that is of another type than it must be */
export function checkOptionNames(cannot: string, options: NodeOptions): void {
  check(cannot, '', options, node)
  if (typeof options.membership !== 'string') {
    check(cannot, 'membership', options.membership, membership, '"lan", "wan", "local", or ')
  }
  if (typeof options.membership === 'object' && typeof options.membership.detector === 'object') {
    const { detector } = options.membership
    check(cannot, 'membership.detector', detector, phi)
    if (detector.phi === undefined) {
      throw new TypeError(`${cannot}: "membership.detector.phi" is missing; give { phi: {} }, or "probe"`)
    }
    check(cannot, 'membership.detector.phi', detector.phi, phiFigures)
  }
  check(cannot, 'downing', options.downing, downing)
  check(cannot, 'admit', options.admit, admit)
  check(cannot, 'admission', options.admission, admission)
  if (typeof options.webSocket === 'object') {
    check(cannot, 'webSocket', options.webSocket, webSocket)
    if (options.webSocket.accept === undefined) {
      throw new TypeError(`${cannot}: "webSocket.accept" is missing; it must be ${webSocket.accept.said}`)
    }
  }
}

function check(
  cannot: string,
  place: string,
  given: unknown,
  known: Readonly<Record<string, Kind>>,
  or = '',
): void {
  if (given === undefined && place !== '') return
  const names = Object.keys(known).join(', ')
  const many = names.includes(',') ? 'are' : 'is only'
  if (!isObject(given)) {
    const what = place === '' ? 'its options' : `"${place}"`
    throw new TypeError(
      `${cannot}: ${what} must be ${or}an object with any of ${names}; got ${describeGiven(given)}`,
    )
  }
  for (const [name, value] of Object.entries(given)) {
    const path = place === '' ? name : `${place}.${name}`
    const wanted = Object.hasOwn(known, name) ? known[name] : undefined
    if (wanted === undefined) {
      throw new TypeError(`${cannot}: there is no option "${path}"; there ${many} ${names}`)
    }
    if (value === undefined || wanted.is(value)) continue
    throw new TypeError(`${cannot}: "${path}" must be ${wanted.said}; got ${describeWrong(value, wanted)}`)
  }
}

/** Of a list that has a wrong item, that item. */
function describeWrong(value: unknown, wanted: Kind): string {
  if (!Array.isArray(value)) return describeGiven(value)
  const index = value.findIndex((item) => !wanted.is([item]))
  return index < 0 ? describeGiven(value) : `${describeGiven(value[index])} at place ${index} of it`
}
