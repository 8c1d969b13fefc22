/** Two honest nodes on virtual time and a peer gone bad, for tests of what it can do to them. */
import { nodeAddress, type ClusterNode, type NodeOptions, type Transport } from '@understudy/cluster'
import { actor, ask, protocol } from '@understudy/runtime'
import type { Test } from 'tap'
import Type from 'typebox'
import { fuzzPeer, fuzzStranger, type FuzzHello, type FuzzPeer } from './fuzz-peer.ts'
import { virtualCluster, type VirtualCluster } from './virtual-cluster.ts'

export const fuzzSecret = 'the secret of the honest nodes'
export const Tally = protocol('tally', { count: ask(Type.Integer()) })
export const tally = actor(Tally, () => {
  let n = 0
  return { count: () => ++n }
})
/** What a peer says first of all: recipient 0 is the tally of `a`, and type 0 its one question. */
export const fuzzGreeting: readonly unknown[] = [
  [1, 0, [0, '/user/tally', null]],
  [0, 0, 'tally', 'count', []],
]

export interface FuzzScene {
  readonly cluster: VirtualCluster
  readonly a: ClusterNode
  readonly b: ClusterNode
  /** Frames that `b` sent on links that it dialled, in order. */
  readonly overheard: Uint8Array[]
  readonly insider: (hello?: Partial<FuzzHello>, own?: { secret?: string | null }) => Promise<FuzzPeer>
  readonly stranger: () => Promise<FuzzPeer>
  /** Both are up, see each other, and `b` is served by `a` over the very link they had. */
  readonly isWell: (what: string) => Promise<void>
}

/** Nodes `a` and `b`, and `mallory`, who dials `a`. */
export async function fuzzScene(t: Test, options: Partial<NodeOptions> = {}): Promise<FuzzScene> {
  const cluster = virtualCluster({ secret: fuzzSecret, actors: [tally], ...options })
  t.teardown(() => cluster.stop())
  const overheard: Uint8Array[] = []
  const a = await cluster.start('a')
  const b = await cluster.start('b', {
    seeds: ['a'],
    transport: tapped(cluster.network.transport('b'), overheard),
  })
  a.system.spawn('tally', tally)
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  await cluster.advance(1_000)
  const [link] = a.status().membership.links.peers
  const common = { transport: cluster.network.transport('mallory'), to: cluster.addressOf('a') }
  // Somebody is there, and says nothing: who refused to be dialled would be down at once.
  await common.transport.listen(nodeAddress('ws://127.0.0.1:6666'), () => undefined)
  return {
    cluster,
    a,
    b,
    overheard,
    insider: (hello = {}, own = {}) =>
      cluster.result(
        fuzzPeer({
          ...common,
          clock: cluster.platform.clock,
          secret: fuzzSecret,
          nonce: cluster.platform.secureBytes(32),
          hello,
          ...own,
        }),
      ),
    stranger: () => cluster.result(fuzzStranger(common)),
    isWell: async (what) => {
      const served = await cluster.result(b.ref(Tally, 'a', '/user/tally').ask({ type: 'count' }))
      t.ok(served > 0, `${what}: b is served by a`)
      const seen = (node: ClusterNode, name: string): unknown =>
        node.members().find((member) => member.name === name)?.status
      t.same([seen(a, 'b'), seen(b, 'a')], ['alive', 'alive'], what)
      const [now] = a.status().membership.links.peers.filter(({ name }) => name === 'b')
      t.equal(now?.epoch, link?.epoch, `${what}: the link between them was not touched`)
    },
  }
}

/** What leaves on dialled links is written down. */
function tapped(transport: Transport, overheard: Uint8Array[]): Transport {
  return {
    listen: transport.listen,
    dial: async (address, options) => {
      const link = await transport.dial(address, options)
      const { send, onFrame, onClose, onDrain, close, established, remoteAddress } = link
      return {
        send: (frame) => (overheard.push(new Uint8Array(frame)), send(frame)),
        ...{ onFrame, onClose, onDrain, close, established, remoteAddress },
        get bufferedBytes() {
          return link.bufferedBytes
        },
      }
    },
  }
}
