/** Where nodes of an example can listen. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'

/** A free port for each node, on loopback. They stay the same when a node comes back. */
export async function freeAddresses(names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const servers: Server[] = []
  try {
    const addresses = new Map<string, string>()
    for (const name of names) {
      const server = createServer().listen(0, '127.0.0.1')
      servers.push(server)
      await once(server, 'listening')
      addresses.set(name, `ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
    }
    return addresses
  } finally {
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  }
}
