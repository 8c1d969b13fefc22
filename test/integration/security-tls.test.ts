/** Whole nodes over TLS: who has which certificate gets in, takes which name, and how certificates and secrets are exchanged. */
import { startNode, type ClusterNode, type NodeOptions } from '@understudy/cluster'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import { readFileSync } from 'node:fs'
import { test, type Test } from 'tap'
import { Tally, tally } from '../support/fuzz-scene.ts'
import { repoRoot } from '../support/source-scan.ts'

const pem = (name: string): string => readFileSync(`${repoRoot}/test/fixtures/tls/${name}`, 'utf8')
const pair = (name: string) => ({ cert: pem(`${name}.pem`), key: pem(`${name}.key`), ca: pem('ca.pem') })

async function start(t: Test, name: string, options: Partial<NodeOptions> = {}): Promise<ClusterNode> {
  const node = await startNode({
    name,
    listen: 'wss://127.0.0.1:0',
    handleSignals: false,
    platform: nodePlatform({ log: silentLogger }),
    actors: [tally],
    handshakeTimeoutMs: 2_000,
    ...options,
  })
  t.teardown(() => node.shutdown())
  node.system.spawn('tally', tally)
  return node
}

const served = (from: ClusterNode, by: ClusterNode): Promise<number> =>
  from.ref(Tally, by.name, '/user/tally').ask({ type: 'count' })

/** Starts a node that dials `by`, and resolves when that has come to nothing: it was turned away, or gave up three times. */
async function keptOut(t: Test, by: ClusterNode, name: string, options: Partial<NodeOptions>): Promise<void> {
  const turnedAway = (): number => Object.values(by.status().refused).reduce((sum, count) => sum + count, 0)
  const before = turnedAway()
  const node = await start(t, name, { seeds: [by.address], ...options })
  while (turnedAway() === before && (node.status().membership.links.dials[0]?.attempts ?? 0) < 3) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  t.notOk(
    by.members().some((member) => member.name === name),
    `${name} is kept out`,
  )
  await node.shutdown()
}

void test('mutual TLS without a secret: who has a certificate of the authority is a member, nobody else', async (t) => {
  const a = await start(t, 'node-a', { tls: pair('node-a') })
  const b = await start(t, 'node-b', { tls: pair('node-b'), seeds: [a.address] })
  await Promise.all([a, b].map((node) => node.whenMembers(2)))
  t.equal(await served(b, a), 1)
  // With one that is over a node does not even start.
  await t.rejects(start(t, 'expired', { tls: pair('expired') }), { code: 'CLUSTER_BAD_TLS' })
  await keptOut(t, a, 'other', { tls: { ...pair('other'), ca: [pem('ca.pem'), pem('other-ca.pem')] } })
  // It is for another host: nobody that dials it takes it for the one it dialled.
  const wrong = await start(t, 'wrong-host', { tls: pair('wrong-host') })
  await keptOut(t, wrong, 'dialler', { tls: pair('node-b') })
  await keptOut(t, a, 'plain', { listen: 'ws://127.0.0.1:0', seeds: [a.address.replace('wss:', 'ws:')] })
  t.equal(await served(b, a), 2)
})

void test('admit.nameFromCertificate: with the certificate of one node nobody takes the name of another', async (t) => {
  const admit = { nameFromCertificate: true }
  const a = await start(t, 'node-a.example', { tls: pair('node-a'), admit })
  const b = await start(t, 'node-b.example', { tls: pair('node-b'), admit, seeds: [a.address] })
  await Promise.all([a, b].map((node) => node.whenMembers(2)))
  const thief = await start(t, 'node-c.example', { tls: pair('node-b'), admit, seeds: [a.address] })
  while ((a.status().refused['CLUSTER_NOT_ADMITTED'] ?? 0) === 0)
    await new Promise((resolve) => setTimeout(resolve, 10))
  t.same(
    a.members().map(({ name }) => name),
    ['node-a.example', 'node-b.example'],
  )
  await thief.shutdown()
  t.equal(await served(b, a), 1)
})

void test('node.reloadTls: new links get the new certificate, standing ones stay, and nobody is lost', async (t) => {
  let current = 'node-a'
  const a = await start(t, 'node-a', { tls: () => pair(current) })
  const b = await start(t, 'node-b', { tls: pair('node-b'), seeds: [a.address] })
  await Promise.all([a, b].map((node) => node.whenMembers(2)))
  current = 'node-a-next'
  await a.reloadTls()
  t.equal(await served(b, a), 1, 'over the link that stood')
  const c = await start(t, 'node-c', { tls: pair('node-b'), seeds: [a.address] })
  await c.whenMembers(3)
  t.equal(await served(c, a), 2, 'over a new one')
  current = 'nobody'
  await t.rejects(a.reloadTls(), { code: 'CLUSTER_BAD_TLS' })
  t.equal(await served(c, a), 3)
})
