/**
 * The name seam: what addresses and services a name stands for. For finding peers; a transport that dials a name looks it
 * up by itself.
 */
import { Resolver, lookup } from 'node:dns/promises'
import { isIP } from 'node:net'

/** Asks for names. Every answer is sorted, so that equal answers are equal lists. */
export interface Dns {
  /**
   * The IPv4 and IPv6 addresses of `host` (A and AAAA), at least one: IPv4 first, then by text. An address stands for
   * itself.
   *
   * @throws {DnsError} (as a rejection) `RUNTIME_DNS_NO_SUCH_NAME`, `RUNTIME_DNS_FAILED`
   */
  readonly a: (host: string) => Promise<readonly DnsAddress[]>
  /**
   * The places that offer the service `name` (SRV, RFC 2782), such as `_understudy._tcp.example.org`, at least one: by
   * priority, lowest first, then by weight, highest first, then by name and port.
   *
   * @throws {DnsError} (as a rejection) `RUNTIME_DNS_NO_SUCH_NAME`, `RUNTIME_DNS_FAILED`
   */
  readonly srv: (name: string) => Promise<readonly DnsService[]>
}

/** One address of a host. */
export interface DnsAddress {
  readonly address: string
  readonly family: 4 | 6
  /** How long the answer may be kept, in milliseconds. Left out where it is not known: the hosts file, an address. */
  readonly ttlMs?: number | undefined
}

/** One place that offers a service. */
export interface DnsService {
  /** A host name, without a dot at its end. */
  readonly name: string
  /** 0 to 65,535. */
  readonly port: number
  /** 0 to 65,535; the lowest is to be used first. */
  readonly priority: number
  /** 0 to 65,535; among equal priorities, its share. */
  readonly weight: number
}

/** Codes of `DnsError`. Each has a heading in docs/reference/errors.md. */
export type DnsErrorCode = 'RUNTIME_DNS_NO_SUCH_NAME' | 'RUNTIME_DNS_FAILED'

const errorBrand = Symbol.for('@understudy/error')

/** A name that could not be looked up. `cause` is the machine's error, where there is one. */
export class DnsError extends Error {
  readonly code: DnsErrorCode
  /** Plain data about the case: the name, the kind of record. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: DnsErrorCode,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  /** Recognised by `isActorError`, also across two copies of this package. */
  get [errorBrand](): true {
    return true
  }
}

Object.defineProperty(DnsError.prototype, 'name', { value: 'DnsError', configurable: true, writable: true })

/** For implementers of `Dns`: it is known that there is none. */
export function noSuchName(kind: 'A' | 'SRV', name: string, cause?: unknown): DnsError {
  const records = kind === 'A' ? 'A or AAAA' : 'SRV'
  return new DnsError(
    'RUNTIME_DNS_NO_SUCH_NAME',
    `Cannot look up "${name}": it has no ${records} record; mend the name, or add the record`,
    { details: { name, kind }, cause },
  )
}

/** For implementers of `Dns`: nobody could say. */
export function lookupFailed(kind: 'A' | 'SRV', name: string, why: string, cause?: unknown): DnsError {
  return new DnsError(
    'RUNTIME_DNS_FAILED',
    `Cannot look up "${name}": the resolver says ${why}; see that a name server can be reached from here`,
    { details: { name, kind }, cause },
  )
}

/** For implementers of `Dns`: the order of an answer. */
export function sortAddresses(found: readonly DnsAddress[]): readonly DnsAddress[] {
  return [...found].sort((a, b) => a.family - b.family || compareText(a.address, b.address))
}

/** For implementers of `Dns`: the order of an answer. */
export function sortServices(found: readonly DnsService[]): readonly DnsService[] {
  return [...found].sort(
    (a, b) =>
      a.priority - b.priority || b.weight - a.weight || compareText(a.name, b.name) || a.port - b.port,
  )
}

export interface NodeDnsOptions {
  /** Name servers to ask, as `address` or `address:port`. @default those of the machine */
  readonly servers?: readonly string[] | undefined
  /** How long one name server may take for one try, in milliseconds; there are two tries. @default 2_000 */
  readonly timeoutMs?: number | undefined
}

/** What `NodeDnsOptions` are when left out. */
export const nodeDnsDefaults = Object.freeze({ timeoutMs: 2_000 })

/** Found out: there is no such record. Anything else is a failure that says nothing about the name. */
const absent: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA', 'ENONAME'])

/**
 * The resolver of this machine. `a` asks the name servers, as only they tell how long an answer holds; when they give
 * nothing, it asks the machine (hosts file, search domains). When one family fails and the other does not, the answer is
 * what there is.
 */
export function nodeDns(options: NodeDnsOptions = {}): Dns {
  let made: Resolver | undefined
  // Made when it is first asked: most programs never do, and it reads the machine's configuration.
  const resolverOf = (): Resolver => {
    if (made !== undefined) return made
    made = new Resolver({ timeout: options.timeoutMs ?? nodeDnsDefaults.timeoutMs, tries: 2 })
    if (options.servers !== undefined) made.setServers([...options.servers])
    return made
  }
  return {
    a: async (host) => {
      const family = isIP(host)
      if (family === 4 || family === 6) return [{ address: host, family }]
      const resolver = resolverOf()
      const [v4, v6] = await Promise.allSettled([
        resolver.resolve4(host, { ttl: true }),
        resolver.resolve6(host, { ttl: true }),
      ])
      const found = [...withFamily(v4, 4), ...withFamily(v6, 6)]
      if (found.length > 0) return sortAddresses(found)
      const failed = [v4, v6].find((result) => result.status === 'rejected' && !isAbsent(result.reason))
      return askMachine(host, failed?.status === 'rejected' ? failed.reason : undefined)
    },
    srv: async (name) => {
      let found
      try {
        found = await resolverOf().resolveSrv(name)
      } catch (error) {
        throw isAbsent(error)
          ? noSuchName('SRV', name, error)
          : lookupFailed('SRV', name, codeOf(error), error)
      }
      // A target of "." says that the service is decidedly not there (RFC 2782).
      const places = found
        .map((place) => ({ ...place, name: place.name.replace(/\.$/, '') }))
        .filter((place) => place.name !== '')
      if (places.length === 0) throw noSuchName('SRV', name)
      return sortServices(
        places.map(({ name: target, port, priority, weight }) => ({ name: target, port, priority, weight })),
      )
    },
  }
}

type Settled = PromiseSettledResult<readonly { readonly address: string; readonly ttl: number }[]>

function withFamily(result: Settled, family: 4 | 6): readonly DnsAddress[] {
  if (result.status === 'rejected') return []
  return result.value.map(({ address, ttl }) => ({ address, family, ttlMs: ttl * 1_000 }))
}

/** `failure`: why the name servers could not say, if they could not. */
async function askMachine(host: string, failure: unknown): Promise<readonly DnsAddress[]> {
  try {
    const found = await lookup(host, { all: true })
    if (found.length === 0) throw noSuchName('A', host)
    return sortAddresses(found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 })))
  } catch (error) {
    if (error instanceof DnsError) throw error
    if (failure !== undefined) throw lookupFailed('A', host, codeOf(failure), failure)
    throw isAbsent(error) ? noSuchName('A', host, error) : lookupFailed('A', host, codeOf(error), error)
  }
}

function isAbsent(error: unknown): boolean {
  return absent.has((error as { readonly code?: unknown } | null)?.code)
}

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown } | null)?.code
  return typeof code === 'string' ? code : String(error)
}

/** By UTF-16 code unit: the same on every machine. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
