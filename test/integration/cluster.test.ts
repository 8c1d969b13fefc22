/** Three processes on loopback: one is killed, comes back, and all leave in order. */
import {
  startNode,
  webSocketTransport,
  type ClusterNode,
  type Link,
  type Transport,
} from '@understudy/cluster'
import { actor, nodePlatform, protocol, silentLogger, tell, type EndReason } from '@understudy/runtime'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { test, type Test } from 'tap'
import Type from 'typebox'
import { Tally, tally } from '../fixtures/cluster-node.ts'
import { nodeProcess } from '../support/node-process.ts'

const anyPort = 'ws://127.0.0.1:0'

async function localNode(
  t: Test,
  name: string,
  seeds: readonly string[] = [],
  transport?: Transport,
): Promise<ClusterNode> {
  const node = await startNode({
    name,
    seeds,
    transport,
    listen: anyPort,
    handleSignals: false,
    entities: [tally(name)],
    platform: nodePlatform({ log: silentLogger }),
  })
  t.teardown(() => node.shutdown())
  return node
}

/** Resolves as soon as the node's members are `wanted`. */
async function members(node: ClusterNode, wanted: string): Promise<void> {
  const seen = (): string =>
    node
      .members()
      .map(({ name, status }) => `${name} ${status}`)
      .join(', ')
  if (seen() === wanted) return
  await new Promise<void>((resolve) => {
    const listening = node.events.on('view-changed', () => {
      if (seen() !== wanted) return
      listening[Symbol.dispose]()
      resolve()
    })
  })
}

const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )

const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`)

void test('three processes: one is killed, its asks fail fast, its keys move, and it comes back', async (t) => {
  const a = await localNode(t, 'a')
  const seeds = [a.address]
  const b = await nodeProcess(t, { name: 'b', listen: anyPort, seeds })
  const c = await nodeProcess(t, { name: 'c', listen: anyPort, seeds: [a.address, b.address] })
  await a.whenMembers(3)
  await members(a, 'a alive, b alive, c alive')
  const where = async (key: string): Promise<string> => a.entity(Tally, key).ask({ type: 'where' })
  const owners = new Map<string, string>()
  for (const key of keys) owners.set(key, await where(key))
  t.equal(new Set(owners.values()).size, 3)
  for (const key of keys) t.equal(owners.get(key), a.ownerOf(Tally, key))

  const notices: EndReason[] = []
  const Watching = protocol('watching', { watch: tell() })
  const watching = a.system.spawn(
    'watching',
    actor(Watching, { own: { gone: tell({ reason: Type.String() }) } }, (ctx) => ({
      watch: () => {
        ctx.watch(a.ref(Tally, 'c', '/user/tally'), (reason) => {
          notices.push(reason)
          return { type: 'gone', reason }
        })
      },
      gone: () => undefined,
    })),
  )
  watching.tell({ type: 'watch' })
  const asked = outcome(a.ref(Tally, 'c', '/user/tally').ask({ type: 'never' }, { timeoutMs: 60_000 }))
  // Behind the ask on the same link, so once it is answered the ask is there.
  t.equal(await where(keys.find((key) => owners.get(key) === 'c') as string), 'c')

  const killedMs = performance.now()
  c.child.kill('SIGKILL')
  t.match(await asked, { error: { code: 'CLUSTER_NODE_DOWN', details: { node: 'c', outcome: 'unknown' } } })
  t.match(await outcome(a.ref(Tally, 'c', '/user/tally').ask({ type: 'add' })), {
    error: { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'not-sent' } },
  })
  t.ok(performance.now() - killedMs < 30_000, 'nobody waited for the minute of the timeout')
  await members(a, 'a alive, b alive')
  t.same(notices, ['node-down'])
  for (const key of keys) {
    const before = owners.get(key)
    const after = await where(key)
    if (before === 'c') t.not(after, 'c')
    else t.equal(after, before)
  }

  const again = await nodeProcess(t, {
    name: 'c',
    listen: c.address,
    seeds: [a.address, b.address],
  })
  await members(a, 'a alive, b alive, c alive')
  t.ok(again.incarnation > c.incarnation)
  t.equal(again.address, c.address)
  t.equal(await a.ref(Tally, 'c', '/user/tally').ask({ type: 'add' }), 1, 'a new life')
  for (const key of keys) t.equal(a.ownerOf(Tally, key), owners.get(key), 'its keys are its own again')
  t.same(notices, ['node-down'], 'once')
  // It may have met a and not yet b.
  let status = await again.status()
  for (let looks = 0; looks < 100 && status.members.length < 3; looks++) {
    await delay(50)
    status = await again.status()
  }
  t.match(status, { members: ['a alive', 'b alive', 'c alive'] })

  // SIGTERM: it says good-bye, so the others need no deadline, and ends with 0.
  let left = ''
  a.events.on('member-left', ({ name }) => void (left += name))
  again.child.kill('SIGTERM')
  await members(a, 'a alive, b alive')
  t.equal(left, 'c')
  t.equal(await again.ended, 0)

  // A shutdown leaves nothing that holds the process: it ends by itself.
  t.match(await b.shutdown(), { clean: true })
  t.equal(await b.ended, 0)
  await members(a, 'a alive')
})

void test('startNode: a port in use is told with the mend, and the process ends by itself', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const node = await nodeProcess(t, { name: 'a', listen: `ws://127.0.0.1:${port}` })
  t.match(node.first, { type: 'failed', code: 'CLUSTER_PORT_IN_USE', message: /another port, or 0 for any/ })
  t.equal(await node.ended, 0, 'nothing is left that holds it')
})

void test('startNode: no secret on a public address is told with the mend', async (t) => {
  const node = await nodeProcess(t, { name: 'a', listen: 'ws://0.0.0.0:0' })
  t.match(node.first, {
    type: 'failed',
    code: 'CLUSTER_NO_SECRET',
    message: /give all nodes the same "secret"/,
  })
  t.equal(await node.ended, 0)
})

void test('a node that is its own seed in another spelling finds that out once, and nothing is refused', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  const a = await startNode({
    name: 'a',
    listen: `ws://127.0.0.1:${port}`,
    seeds: [`ws://localhost:${port}`],
    handleSignals: false,
    platform: nodePlatform({ log: silentLogger }),
  })
  t.teardown(() => a.shutdown())
  const { clock } = a.system.platform
  // CLUSTER_DIALLED_ITSELF is no fault: the seed is only taken off the list.
  while (a.status().membership.links.dials.length > 0) {
    await new Promise<void>((resolve) => void clock.setTimer(clock.monotonicMs() + 10, resolve))
  }
  t.same(a.status().refused, {})
  t.same(
    a.members().map(({ name }) => name),
    ['a'],
  )
})

/** Over sockets, with the codes with which its links ended. */
function heardOut(ends: string[]): Transport {
  const inner = webSocketTransport()
  const tap = (link: Link): Link =>
    new Proxy(link, {
      get(target, key) {
        if (key !== 'onClose') return Reflect.get(target, key, target)
        return (callback: Parameters<Link['onClose']>[0]) =>
          target.onClose((reason) => {
            ends.push(reason.code)
            callback(reason)
          })
      },
    })
  return {
    listen: (address, onLink, options) => inner.listen(address, (link) => onLink(tap(link)), options),
    dial: async (address, options) => tap(await inner.dial(address, options)),
  }
}

void test('ClusterNode.shutdown: also over sockets its links are closed by who has read its good-bye', async (t) => {
  const a = await localNode(t, 'a')
  const ends: string[] = []
  const b = await localNode(t, 'b', [a.address], heardOut(ends))
  await Promise.all([a.whenMembers(2), b.whenMembers(2)])
  t.match(await b.shutdown(), { clean: true })
  t.equal(ends[0], 'CLUSTER_MEMBER_LEFT', 'with the first the others end')
})

void test('ClusterNode.shutdown: while it dials somebody who does not answer, nothing is left', async (t) => {
  // Accepts connections and never says a word.
  const mute = createServer().listen(0, '127.0.0.1')
  t.teardown(() => mute.close())
  await once(mute, 'listening')
  const connected = once(mute, 'connection')
  const { port } = mute.address() as AddressInfo
  const node = await nodeProcess(t, { name: 'a', listen: anyPort, seeds: [`ws://127.0.0.1:${port}`] })
  const [socket] = (await connected) as [{ destroy: () => void }]
  t.match(await node.shutdown(), { clean: true })
  t.equal(await node.ended, 0)
  socket.destroy()
})
