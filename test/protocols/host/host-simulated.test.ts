/** Hosts in the simulator: founding while nodes crash, lose their disks and their messages; and the same run twice. */
import type { ClusterNode } from '@understudy/cluster'
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { openConsensus } from './host-under-test.ts'

const { openFounding } = await sourceModule<
  typeof import('../../../packages/protocols/src/host/founding.ts')
>('protocols', 'host/founding')

const names = ['a', 'b', 'c']
const seeds = 40

/** What each node that runs has found out, by the node's object: another life is another one. */
class Foundings {
  readonly outcomes = new Map<ClusterNode, readonly string[]>()
  /** By the id of the store that said so. */
  readonly byStore = new Map<string, string>()
  readonly problems: string[] = []
  readonly #begun = new Set<ClusterNode>()

  /** Opens the host and the group on every node that has none yet. */
  open(world: World): void {
    for (const node of world.nodes) {
      if (!node.isUp || this.#begun.has(node.node)) continue
      const { node: life } = node
      this.#begun.add(life)
      node
        .call((up) => this.#openOn(up))
        .catch(() => {
          // A disk that failed, or a process that died: whoever lives is tried again.
          this.#begun.delete(life)
        })
    }
  }

  isSettled(world: World): boolean {
    return world.nodes.every((node) => node.isUp && this.outcomes.has(node.node))
  }

  async #openOn(up: ClusterNode): Promise<void> {
    const consensus = await openConsensus(up)
    // In simulations a group that was opened comes back with its host, however often its store fails.
    await consensus.openGroup('g', async (port) => {
      const founding = await openFounding({
        port,
        members: names,
        known: () => ({ members: [], leader: undefined }),
        onOutcome: ({ kind, members }) => {
          const said = `${kind} ${members.join(' ')}`
          const before = this.byStore.get(port.storeId)
          if (before !== undefined && before !== said) this.problems.push(`${before}, then ${said}`)
          this.byStore.set(port.storeId, said)
          this.outcomes.set(up, members)
        },
        onRefused: (error) => this.problems.push(error.message),
      })
      return {
        receive: (from, store, payload) => void founding.receive(from, store, payload),
        tick: () => founding.tick(),
        nextDeadlineMs: () => founding.nextDeadlineMs(),
        unreachable: () => undefined,
        watched: () => undefined,
        close: () => undefined,
      }
    })
  }
}

async function scenario(world: World): Promise<void> {
  const foundings = new Foundings()
  for (let round = 0; round < 12; round++) {
    foundings.open(world)
    await world.sleep(world.choose(300, 'pause'))
    const node = world.nodes[world.choose(names.length, 'which')] as SimulatedNode
    if (!node.isUp || world.chance(0.5)) continue
    const wipe = world.chance(0.5)
    if (wipe) world.sometimes('wiped')
    node.crashAndRestart({ wipe }).catch(() => undefined)
  }
  world.heal()
  await world.until(
    'founded',
    () => {
      foundings.open(world)
      return foundings.isSettled(world)
    },
    { withinMs: 120_000, everyMs: 100 },
  )
  const found = new Set(world.nodes.map(({ node }) => foundings.outcomes.get(node)?.join(' ')))
  if (found.size !== 1) throw new Error(`two foundings: ${[...found].join('; ')}`)
  if (foundings.problems.length > 0) throw new Error(foundings.problems.join('; '))
}

/**
 * Disks are lost by the scenario, as often as it likes. A disk that goes back in time and stays the same one is beyond what
 * founding bears, and a flipped bit in a node's own record of its life keeps that node from starting at all.
 */
const faults = { except: ['store-flip', 'store-lying', 'store-old'] }

void test('simulated: one founding, whatever crashes, is wiped, lost or late', async (t) => {
  for (let seed = 1; seed <= seeds; seed++) {
    const result = await simulate({ seed, nodes: 3, faults }, scenario)
    t.equal(result.violation?.message, undefined, `seed ${seed}`)
  }
})

void test('simulated: a run with hosts is the same each time', async (t) => {
  const runs = [
    await simulate({ seed: 3, nodes: 3 }, scenario),
    await simulate({ seed: 3, nodes: 3 }, scenario),
  ]
  t.equal(runs[0]?.hash, runs[1]?.hash)
})
