/** Addresses that are known when the program starts. */
import { describeGiven } from '@understudy/runtime/internal'
import { nodeAddress, parseAddress, type NodeAddress } from '../transport/address.ts'
import { TransportError } from '../transport/transport-error.ts'
import { discoveryAddressesMax, sortedAddresses, tooManyAddresses, type Discovery } from './discovery.ts'

/**
 * These addresses, sorted, told once soon after the start; also when there are none, so that a list that a program reads
 * from its environment may be empty.
 *
 * @throws {TypeError} if it is no list
 * @throws {TransportError} `CLUSTER_BAD_ADDRESS` for one that nobody can be dialled at
 * @throws {DiscoveryError} `CLUSTER_DISCOVERY_TOO_MANY` for more than `discoveryAddressesMax`
 */
export function staticDiscovery(addresses: readonly string[]): Discovery {
  if (!Array.isArray(addresses)) {
    throw new TypeError(
      `Cannot find nodes by a static list: give a list of addresses, such as ["ws://127.0.0.1:7001"]; got ` +
        describeGiven(addresses),
    )
  }
  const list = Object.freeze(sortedAddresses([...new Set(addresses.map(dialableAddress))]))
  if (list.length > discoveryAddressesMax) throw tooManyAddresses('a static list', list.length)
  return {
    name: 'static',
    start: (platform, onAddresses) => {
      const { clock } = platform
      const timer = clock.setTimer(clock.monotonicMs(), () => onAddresses(list))
      return { [Symbol.dispose]: () => timer.cancel() }
    },
  }
}

/**
 * The address in its one spelling.
 *
 * @throws {TransportError} `CLUSTER_BAD_ADDRESS` if it is none, or has port 0, which only makes sense for listening
 */
export function dialableAddress(given: string): NodeAddress {
  const address = nodeAddress(given)
  if (parseAddress(address).port !== 0) return address
  throw new TransportError(
    'CLUSTER_BAD_ADDRESS',
    `Cannot dial "${given}": nobody listens on port 0; give the port that the node listens on`,
  )
}
