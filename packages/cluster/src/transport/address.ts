/**
 * Addresses of nodes: where a node listens, written `ws://host:port`, or `wss://host:port` where it speaks TLS.
 * An address is a place, never an identity: a node is known by its name and incarnation.
 */
import { describeGiven } from '@understudy/runtime/internal'
import { TransportError } from './transport-error.ts'

declare const nodeAddressBrand: unique symbol

/**
 * A checked address in its one spelling: lower case, port in decimal, IPv6 in brackets. Made by
 * `nodeAddress`.
 */
export type NodeAddress = string & { readonly [nodeAddressBrand]: true }

/** The parts of an address. `host` has no brackets. */
export interface AddressParts {
  readonly host: string
  /** 0 to 65,535; 0 only makes sense for listening and means any free port. */
  readonly port: number
  /** True for `wss://`: TLS. */
  readonly isSecure: boolean
}

const ADDRESS_CHARS_MAX = 300
const PORT_MAX = 65_535
const ADDRESS = /^ws(s?):\/\/(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+)):(\d{1,5})$/
const LOOPBACK_V4 = /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/

/**
 * Checks and normalises an address, for example `ws://127.0.0.1:7001` or `wss://[::1]:7001`.
 *
 * @throws {TransportError} `CLUSTER_BAD_ADDRESS` if it is not `ws://host:port` or `wss://host:port`: a path, a
 * query, a user name, another scheme or a missing port are refused rather than ignored.
 */
export function nodeAddress(value: string): NodeAddress {
  const { host, port, isSecure } = parseAddress(value)
  return formatAddress(host, port, isSecure)
}

/** The parts of an address. @throws {TransportError} `CLUSTER_BAD_ADDRESS`, as `nodeAddress` does. */
export function parseAddress(value: string): AddressParts {
  if (typeof value !== 'string') {
    throw new TransportError(
      'CLUSTER_BAD_ADDRESS',
      `Cannot use ${describeGiven(value)} as the address of a node: it must be a string such as "ws://127.0.0.1:7001"`,
    )
  }
  const match = value.length <= ADDRESS_CHARS_MAX ? ADDRESS.exec(value.toLowerCase()) : null
  const host = match?.[2] ?? match?.[3]
  const port = Number(match?.[4])
  if (host === undefined || port > PORT_MAX) {
    const shown = value.length <= ADDRESS_CHARS_MAX ? value : `${value.slice(0, ADDRESS_CHARS_MAX)}...`
    throw new TransportError(
      'CLUSTER_BAD_ADDRESS',
      `Cannot use "${shown}" as the address of a node: it must be "ws://host:port", or "wss://host:port" with TLS, ` +
        'with nothing behind the port, for example "ws://127.0.0.1:7001"',
    )
  }
  return { host, port, isSecure: match?.[1] === 's' }
}

/**
 * The address of a host and a port. `host` is a name, an IPv4 or an IPv6 address, with or without brackets.
 * With `isSecure` it is a `wss://` one. @default false
 */
export function formatAddress(host: string, port: number, isSecure = false): NodeAddress {
  const bare = host.startsWith('[') ? host.slice(1, -1) : host
  const shown = bare.includes(':') ? `[${bare}]` : bare
  return `ws${isSecure ? 's' : ''}://${shown.toLowerCase()}:${port}` as NodeAddress
}

/**
 * True when only this machine can reach the address: `localhost`, `127.0.0.0/8`, `::1`. Any other name counts
 * as public, because what it resolves to may change.
 *
 * @throws {TransportError} `CLUSTER_BAD_ADDRESS` if it is not an address.
 */
export function isLoopback(address: string): boolean {
  const { host } = parseAddress(address)
  return host === 'localhost' || host === '::1' || LOOPBACK_V4.test(host)
}
