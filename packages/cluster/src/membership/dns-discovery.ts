/** Addresses from names: the A and AAAA records of a host, or the SRV records of a service. */
import { nodeAddress, type NodeAddress } from '../transport/address.ts'
import {
  checkGiven,
  checkRefreshMs,
  DiscoveryError,
  LookLoop,
  noAddresses,
  sortedAddresses,
  type Discovery,
  type DiscoveryPlatform,
  type Found,
} from './discovery.ts'

/** What both kinds take. */
export interface DnsRefreshOptions {
  /**
   * How long an answer is used at most before it is asked for again, in milliseconds, 100 to 86,400,000. A shorter time to
   * live in the answer brings that forward, to no less than a second. @default 5_000
   */
  readonly refreshMs?: number | undefined
  /**
   * How the addresses are spelt: `wss` for nodes that speak TLS. @default 'ws'
   */
  readonly scheme?: 'ws' | 'wss' | undefined
}

/** A and AAAA records: every address is dialled on one port. */
export interface DnsHostOptions extends DnsRefreshOptions {
  /** Such as `understudy.default.svc.cluster.local`. */
  readonly host: string
  /** The port that all nodes listen on, 1 to 65,535. */
  readonly port: number
  readonly service?: undefined
}

/**
 * SRV records: each names a host and a port. The host name is dialled as it stands, so a certificate of a node may be made
 * out to its name, where one that is found by `host` must be made out to its address.
 */
export interface DnsServiceOptions extends DnsRefreshOptions {
  /** Such as `_understudy._tcp.example.org`. */
  readonly service: string
  readonly host?: undefined
  readonly port?: undefined
}

/** What `DnsRefreshOptions` are when left out. */
export const dnsDiscoveryDefaults = Object.freeze({ refreshMs: 5_000, scheme: 'ws' } as const)

/** How long one question may take: more than the resolver itself tries. */
const timeoutMs = 15_000

/**
 * The addresses behind a name. By `host`: sorted. By `service`: in the order of their priority, then weight, and all of
 * them are used: a node links to every member in the end, and only wants one that answers.
 *
 * A question that fails, or finds nothing, is a problem, and is asked again after a delay that grows (`lookBackoff`); what was
 * known before stays.
 *
 * @throws {TypeError | RangeError} if an option is wrong
 * @throws {TransportError} `CLUSTER_BAD_ADDRESS` if no address can be made of the scheme and the host
 */
export function dnsDiscovery(options: DnsHostOptions | DnsServiceOptions): Discovery {
  checkGiven('DNS', options, '{ host: "nodes.example.org", port: 7001 }')
  const { host, port, service } = options
  const refreshMs = options.refreshMs ?? dnsDiscoveryDefaults.refreshMs
  const scheme = options.scheme ?? dnsDiscoveryDefaults.scheme
  if ((host === undefined) === (service === undefined)) {
    throw new TypeError(
      'Cannot find nodes by DNS: give either "host" and "port", or "service", such as ' +
        '{ host: "nodes.example.org", port: 7001 } or { service: "_understudy._tcp.example.org" }',
    )
  }
  const asked = host ?? service
  const name = `dns ${asked}`
  checkRefreshMs(name, refreshMs)
  if (scheme !== 'ws' && scheme !== 'wss') {
    throw new TypeError(
      `Cannot find nodes by ${name}: "scheme" must be "ws" or "wss", got "${String(scheme)}"`,
    )
  }
  if (typeof asked !== 'string' || asked === '' || asked.length > 253) {
    throw new TypeError('Cannot find nodes by DNS: a name has 1 to 253 characters')
  }
  let look: (platform: DiscoveryPlatform) => Promise<Found>
  if (host === undefined) {
    look = ({ dns }) => lookUpService(dns, service, scheme, name)
  } else {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new RangeError(
        `Cannot find nodes by ${name}: "port" must be an integer from 1 to 65,535, got ${String(port)}`,
      )
    }
    look = ({ dns }) => lookUpHost(dns, host, port, scheme)
  }
  // A scheme that this version cannot dial is refused here, and not at the first answer.
  addressOf(scheme, '127.0.0.1', 1)
  return {
    name,
    start: (platform, onAddresses, onProblem) =>
      new LookLoop(name, platform, { refreshMs, timeoutMs }, () => look(platform), onAddresses, onProblem),
  }
}

type Dns = DiscoveryPlatform['dns']
type Scheme = 'ws' | 'wss'

async function lookUpHost(dns: Dns, host: string, port: number, scheme: Scheme): Promise<Found> {
  const found = await dns.a(host)
  const addresses = found.map(({ address }) => addressOf(scheme, address, port))
  const ttls = found.map(({ ttlMs }) => ttlMs ?? Number.POSITIVE_INFINITY)
  return { addresses: sortedAddresses(addresses), problems: [], freshMs: Math.min(...ttls) }
}

async function lookUpService(dns: Dns, service: string, scheme: Scheme, source: string): Promise<Found> {
  const addresses: NodeAddress[] = []
  const bad: string[] = []
  for (const { name, port } of await dns.srv(service)) {
    try {
      if (port === 0) throw new RangeError('port 0')
      addresses.push(addressOf(scheme, name, port))
    } catch {
      bad.push(`${name}:${port}`)
    }
  }
  const problems = bad.length > 0 ? [badRecords(source, bad)] : []
  if (addresses.length === 0 && bad.length === 0) problems.push(noAddresses(source, 'add SRV records'))
  return { addresses, problems }
}

function badRecords(source: string, bad: readonly string[]): DiscoveryError {
  return new DiscoveryError(
    'CLUSTER_DISCOVERY_BAD_ENTRY',
    `Cannot use ${bad.length} records of ${source}, the first of them "${bad[0]}": a host name of letters, digits, dots, ` +
      'hyphens and underscores, and a port above 0, are needed. The other addresses are used',
    { details: { source, lines: [], records: bad.slice(0, 10), count: bad.length } },
  )
}

function addressOf(scheme: Scheme, host: string, port: number): NodeAddress {
  // An address of one link (fe80::1%eth0) names an interface of this machine: no other spelling of it is known elsewhere.
  const bare = host.replace(/%.*$/, '')
  return nodeAddress(`${scheme}://${bare.includes(':') ? `[${bare}]` : bare}:${port}`)
}
