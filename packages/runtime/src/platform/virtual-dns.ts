/** Names in memory, for virtual time: whoever runs the test sets, removes and breaks them. */
import { lookupFailed, noSuchName, sortAddresses, sortServices } from './dns.ts'
import type { Dns, DnsAddress, DnsService } from './dns.ts'

/** A name server that knows nothing. Names are compared without case and without a dot at their end. */
export class VirtualDns implements Dns {
  readonly #hosts = new Map<string, readonly DnsAddress[]>()
  readonly #services = new Map<string, readonly DnsService[]>()
  readonly #broken = new Set<string>()
  #queries = 0

  readonly a = async (host: string): Promise<readonly DnsAddress[]> => this.askHost(host)

  readonly srv = async (name: string): Promise<readonly DnsService[]> => this.askService(name)

  /** How often it was asked. */
  get queries(): number {
    return this.#queries
  }

  /** What `a` gives, at once. @throws {DnsError} as it rejects */
  askHost(host: string): readonly DnsAddress[] {
    this.#queries++
    const key = keyOf(host)
    if (this.#broken.has(key)) throw lookupFailed('A', host, 'ESERVFAIL')
    const found = this.#hosts.get(key)
    if (found === undefined) throw noSuchName('A', host)
    return found
  }

  /** What `srv` gives, at once. @throws {DnsError} as it rejects */
  askService(name: string): readonly DnsService[] {
    this.#queries++
    const key = keyOf(name)
    if (this.#broken.has(key)) throw lookupFailed('SRV', name, 'ESERVFAIL')
    const found = this.#services.get(key)
    if (found === undefined) throw noSuchName('SRV', name)
    return found
  }

  /** From now on `host` has these addresses, IPv4 or IPv6; none: there is no such name. */
  setHost(host: string, addresses: readonly string[], ttlMs?: number): void {
    const key = keyOf(host)
    const family = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4)
    const found = addresses.map((address) => ({
      address,
      family: family(address),
      ...(ttlMs === undefined ? {} : { ttlMs }),
    }))
    if (found.length === 0) this.#hosts.delete(key)
    else this.#hosts.set(key, sortAddresses(found))
  }

  /** From now on the service `name` is offered at these places; none: there is no such name. */
  setService(name: string, places: readonly DnsService[]): void {
    const key = keyOf(name)
    if (places.length === 0) this.#services.delete(key)
    else this.#services.set(key, sortServices(places))
  }

  /** From now on asking for `name` fails with `RUNTIME_DNS_FAILED`. */
  break(name: string): void {
    this.#broken.add(keyOf(name))
  }

  /** It can be asked for again. */
  mend(name: string): void {
    this.#broken.delete(keyOf(name))
  }
}

function keyOf(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}
