/** Discovery on this machine: real files in every way that tools change them, and a real name server on loopback. */
import { mkdir, mkdtemp, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodePlatform } from '@understudy/runtime'
import { test } from 'tap'
import { nameServer } from '../support/name-server.ts'
import { sourceModule } from '../support/source-module.ts'

type Discovery = import('../../packages/cluster/src/membership/discovery.ts').Discovery
type DiscoveryPlatform = import('../../packages/cluster/src/membership/discovery.ts').DiscoveryPlatform

const { nodeFiles } = await sourceModule<typeof import('../../packages/runtime/src/platform/files.ts')>(
  'runtime',
  'platform/files',
)
const { nodeDns } = await sourceModule<typeof import('../../packages/runtime/src/platform/dns.ts')>(
  'runtime',
  'platform/dns',
)
const { fileDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/file-discovery.ts')
>('cluster', 'membership/file-discovery')
const { dnsDiscovery } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dns-discovery.ts')
>('cluster', 'membership/dns-discovery')

interface Told {
  /** The next thing that is told: a list as text, or the code of a problem. */
  readonly next: () => Promise<string>
  readonly stop: () => void
}

function listen(discovery: Discovery, machine: Partial<DiscoveryPlatform>): Told {
  const told: string[] = []
  const waiting: ((text: string) => void)[] = []
  const hear = (text: string): void => {
    const first = waiting.shift()
    if (first === undefined) told.push(text)
    else first(text)
  }
  const platform = { ...nodePlatform(), ...machine }
  const handle = discovery.start(
    platform,
    (addresses) => hear(addresses.join(' ')),
    ({ code }) => hear(code),
  )
  // Nothing of a discovery keeps a process alive, and a test waits for it.
  const alive = platform.host.keepAlive()
  return {
    next: () => {
      const first = told.shift()
      return first === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(first)
    },
    stop: () => {
      handle[Symbol.dispose]()
      alive[Symbol.dispose]()
    },
  }
}

/** How a deployment tool does it: another file, renamed over the old one. */
async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

void test('fileDiscovery follows a real file that is made late, written, replaced, deleted and made again', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'understudy-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  const path = join(root, 'conf', 'seeds')
  // The only thing that looks again by itself is the watch.
  const { next, stop } = listen(fileDiscovery({ path, refreshMs: 86_400_000 }), {
    files: nodeFiles({ pollMs: 50, debounceMs: 10 }),
  })
  t.teardown(stop)
  t.equal(await next(), 'CLUSTER_DISCOVERY_FAILED', 'not even the directory is there')
  await mkdir(join(root, 'conf'))
  await replace(path, 'ws://a:1')
  t.equal(await next(), 'ws://a:1', 'made')
  await replace(path, 'ws://b:1')
  t.equal(await next(), 'ws://b:1', 'replaced')
  await replace(path, 'ws://c:1')
  t.equal(await next(), 'ws://c:1', 'and once more: the watch did not stay with the old file')
  await writeFile(path, 'ws://d:1\n')
  const inPlace = await next()
  t.equal(inPlace === 'CLUSTER_DISCOVERY_EMPTY' ? await next() : inPlace, 'ws://d:1', 'written in place')
  await unlink(path)
  t.equal(await next(), 'CLUSTER_DISCOVERY_FAILED', 'deleted')
  await replace(path, 'ws://e:1')
  t.equal(await next(), 'ws://e:1', 'made again')
  await rename(join(root, 'conf'), join(root, 'old'))
  t.equal(await next(), 'CLUSTER_DISCOVERY_FAILED', 'its directory went')
  await mkdir(join(root, 'conf'))
  await replace(path, 'ws://f:1')
  t.equal(await next(), 'ws://f:1', 'and another one came')
  await replace(path, 'ws://g:1')
  t.equal(await next(), 'ws://g:1', 'which is watched')
})

void test('fileDiscovery follows a mounted configuration: a link to a directory that is exchanged', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'understudy-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  for (const version of ['v1', 'v2']) {
    await mkdir(join(root, version))
    await writeFile(join(root, version, 'seeds'), `ws://${version}:1`)
  }
  await symlink('v1', join(root, '..data'))
  await symlink(join('..data', 'seeds'), join(root, 'seeds'))
  // No poll within the time of the test: the event of the link must do.
  const { next, stop } = listen(fileDiscovery({ path: join(root, 'seeds'), refreshMs: 86_400_000 }), {
    files: nodeFiles({ pollMs: 3_600_000, debounceMs: 10 }),
  })
  t.teardown(stop)
  t.equal(await next(), 'ws://v1:1')
  await symlink('v2', join(root, '..new'))
  await rename(join(root, '..new'), join(root, '..data'))
  t.equal(await next(), 'ws://v2:1')
})

void test('dnsDiscovery finds addresses at a real name server, keeps them while it fails, and finds new ones', async (t) => {
  const server = await nameServer()
  t.teardown(() => server.close())
  server.hosts.set('nodes.test', ['10.0.0.2', '2001:db8::7', '10.0.0.1'])
  const { next, stop } = listen(dnsDiscovery({ host: 'nodes.test', port: 7001, refreshMs: 100 }), {
    dns: nodeDns({ servers: [server.address], timeoutMs: 500 }),
  })
  t.teardown(stop)
  t.equal(await next(), 'ws://10.0.0.1:7001 ws://10.0.0.2:7001 ws://[2001:db8::7]:7001')
  server.broken.add('nodes.test')
  t.equal(await next(), 'CLUSTER_DISCOVERY_FAILED')
  server.broken.clear()
  server.hosts.set('nodes.test', ['10.0.0.3'])
  t.equal(await next(), 'ws://10.0.0.3:7001')
})

void test('dnsDiscovery finds services at a real name server, in their order', async (t) => {
  const server = await nameServer()
  t.teardown(() => server.close())
  server.services.set('_understudy._tcp.test', [
    { name: 'b.test', port: 7002, priority: 20, weight: 0 },
    { name: 'a.test', port: 7001, priority: 10, weight: 5 },
  ])
  const { next, stop } = listen(dnsDiscovery({ service: '_understudy._tcp.test', refreshMs: 100 }), {
    dns: nodeDns({ servers: [server.address], timeoutMs: 500 }),
  })
  t.teardown(stop)
  t.equal(await next(), 'ws://a.test:7001 ws://b.test:7002')
  // A single dot: decidedly not here.
  server.services.set('_understudy._tcp.test', [{ name: '.', port: 0, priority: 0, weight: 0 }])
  t.equal(await next(), 'CLUSTER_DISCOVERY_FAILED')
})
