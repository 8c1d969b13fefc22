/**
 * ZooKeeper's lock recipe through `node-zookeeper-client`: an ephemeral sequential node; its maker holds the lock when no other
 * has a lower number, and else waits until the next lower one is gone and looks again.
 */
import { once, type EventEmitter } from 'node:events'
import { requirePeer } from '../harness/peer-package.ts'
import type { LockClient, LockOwner } from './lock-load.ts'

type Done<Value> = (error: Error | null, value: Value) => void

/** As much of the package as is used here. */
interface ZooKeeper extends EventEmitter {
  readonly connect: () => void
  readonly close: () => void
  readonly create: (path: string, mode: number, done: Done<string>) => void
  readonly mkdirp: (path: string, done: Done<string>) => void
  readonly remove: (path: string, done: (error: Error | null) => void) => void
  readonly getChildren: (path: string, done: Done<readonly string[]>) => void
  /** The watcher is called once, when the node changes or goes. */
  readonly exists: (path: string, watcher: () => void, done: Done<object | null>) => void
}

interface ZooKeeperPackage {
  readonly createClient: (servers: string) => ZooKeeper
  readonly CreateMode: { readonly EPHEMERAL_SEQUENTIAL: number }
}

/** `sessions`: each owner has a session, so a connection, of its own. `shared`: all owners are of one session. */
export type ZooKeeperLockKind = 'sessions' | 'shared'

/** `targets`: client ports; all sessions are with the first one, the leader. */
export async function connectZooKeeperLocks(
  targets: readonly string[],
  kind: ZooKeeperLockKind,
): Promise<LockClient> {
  const { createClient, CreateMode } = requirePeer('node-zookeeper-client') as ZooKeeperPackage
  const owners: ZooKeeperOwner[] = []
  const clients: ZooKeeper[] = []
  const open = async (): Promise<ZooKeeper> => {
    const client = createClient(`127.0.0.1:${targets[0]}`)
    const connected = once(client, 'connected')
    client.connect()
    await connected
    clients.push(client)
    return client
  }
  return {
    owners: async (count) => {
      while (owners.length < count) {
        const [shared] = clients
        const client = kind === 'shared' && shared !== undefined ? shared : await open()
        owners.push(new ZooKeeperOwner(client, CreateMode.EPHEMERAL_SEQUENTIAL))
      }
      return owners.slice(0, count)
    },
    waiting: async (name) => ((await owners[0]?.queue(name))?.length ?? 1) - 1,
    close: async () => {
      for (const client of clients) client.close()
    },
  }
}

class ZooKeeperOwner implements LockOwner {
  readonly #client: ZooKeeper
  readonly #ephemeralSequential: number
  readonly #made = new Set<string>()
  /** Names of own nodes by the lock's name. */
  readonly #nodes = new Map<string, string>()

  constructor(client: ZooKeeper, ephemeralSequential: number) {
    this.#client = client
    this.#ephemeralSequential = ephemeralSequential
  }

  async lock(name: string): Promise<void> {
    const folder = folderOf(name)
    if (!this.#made.has(name)) {
      await promised<string>((done) => this.#client.mkdirp(folder, done))
      this.#made.add(name)
    }
    const path = await promised<string>((done) =>
      this.#client.create(`${folder}/lock-`, this.#ephemeralSequential, done),
    )
    const node = path.slice(folder.length + 1)
    this.#nodes.set(name, node)
    for (;;) {
      const children = await this.queue(name)
      const at = children.indexOf(node)
      if (at < 0) throw new Error(`The node "${path}" is gone`)
      const before = children[at - 1]
      if (before === undefined) return
      await this.#gone(`${folder}/${before}`)
    }
  }

  unlock(name: string): Promise<void> {
    const path = `${folderOf(name)}/${this.#nodes.get(name)}`
    return promised<void>((done) => this.#client.remove(path, (error) => done(error, undefined)))
  }

  /** Names of the nodes by their numbers. */
  async queue(name: string): Promise<readonly string[]> {
    const children = await promised<readonly string[]>((done) =>
      this.#client.getChildren(folderOf(name), done),
    )
    // All have the same prefix and ten digits.
    return children.length < 2 ? children : children.toSorted()
  }

  /** Resolves when there is no such node, or it may be gone. */
  #gone(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.exists(
        path,
        () => resolve(),
        (error, found) => {
          if (error !== null) reject(error)
          else if (found === null) resolve()
        },
      )
    })
  }
}

function folderOf(name: string): string {
  return `/locks/${name}`
}

function promised<Value>(call: (done: Done<Value>) => void): Promise<Value> {
  return new Promise((resolve, reject) => {
    call((error, value) => {
      if (error === null || error === undefined) resolve(value)
      else reject(error)
    })
  })
}
