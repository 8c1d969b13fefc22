/** The first words on a link: who is let in, who is not, and that two nodes settle on one link. */
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { simulateTapped, type LinkTap } from '../cluster/link-tap.ts'
import { whoTree } from '../cluster/who.ts'
import { incarnations, incarnationTags, nameTaken, nameTakenTags } from '../handshake/incarnations.ts'
import { settle, settleTags } from '../handshake/settle.ts'
import { strangerAddress } from '../handshake/stranger.ts'
import { attacked, attackTags, strangers, strangerTags } from '../handshake/strangers.ts'
import type { Scenario } from '../scenario.ts'

const secret = 'a secret of the whole cluster'
const seeds = ['ws://127.0.0.1:7001', 'ws://127.0.0.1:7002', 'ws://127.0.0.1:7003'] as const
/** Another spelling of the address of a, such as a name that resolves to it. */
const ownSpelling = 'ws://127.0.0.1:7901'

const networkFaults = [
  'clog',
  'swizzle',
  'slow-link',
  'capacity',
  'bandwidth',
  'half-open',
  'reset',
  'corruption',
  'truncation',
  'refuse-dials',
  'lose-dials',
] as const
const partitions = [
  'partition-isolate',
  'partition-one-way',
  'partition-bridge',
  'partition-flapping',
] as const
const pauses = ['pause', 'stall', 'slow-cpu'] as const
const deaths = ['kill', 'kill-at-effect', 'stop-gently', 'power-cut'] as const
const clocks = ['clock-offset', 'clock-back', 'clock-drift', 'clock-frozen', 'clock-strobe'] as const

function run(
  input: RunInput,
  faults: readonly string[],
  node: (name: string, world: World) => SimulatedNodeOptions,
  scenario: (world: World, tap: LinkTap) => Promise<void>,
): Promise<RunResult> {
  return simulateTapped(
    {
      ...input,
      nodes: 3,
      node: (name, world) => ({ root: whoTree(world), ...node(name, world) }),
      faults: { only: faults },
      virtualMsMax: 1_200_000,
    },
    scenario,
  )
}

const settleFaults = [...networkFaults]
const strangerFaults = [...networkFaults, ...partitions, ...pauses, 'kill', 'kill-at-effect']
const attackFaults = [...networkFaults, ...pauses]
const incarnationFaults = [...deaths, ...clocks, ...partitions, ...pauses, 'reset', 'half-open', 'slow-link']
const nameTakenFaults = ['started-twice', 'kill', 'reset', 'clog', 'pause', 'partition-isolate', 'clock-back']

export const handshakeScenarios: readonly Scenario[] = [
  {
    name: 'handshake/settle',
    about:
      'nodes that dial each other, and themselves, all at once over a bad network: one link for each pair',
    sometimes: settleTags,
    faults: settleFaults,
    run: (input) =>
      run(
        input,
        settleFaults,
        () => ({ secret, seeds: [...seeds, ownSpelling] }),
        async (world, tap) => {
          tap.aliases.set(ownSpelling, seeds[0])
          await settle(world, tap, [ownSpelling, seeds[0]])
        },
      ),
  },
  {
    name: 'handshake/strangers',
    about:
      'nodes with a wrong secret, none, another cluster or a stolen name, under every fault: never a session',
    sometimes: strangerTags,
    faults: strangerFaults,
    run: (input) => {
      let drawn: string | undefined | null = null
      const secretOf = (world: World): string | undefined => {
        if (drawn === null) drawn = world.choose(4, 'swarm/secret') === 3 ? undefined : secret
        return drawn
      }
      return run(
        input,
        strangerFaults,
        (_, world) => ({ secret: secretOf(world), seeds: [...seeds, strangerAddress] }),
        (world, tap) => strangers(world, tap, secretOf(world)),
      )
    },
  },
  {
    name: 'handshake/attack',
    about:
      'programs that heard every word on the wire and lack the secret: mute, garbled, mirrored, replayed',
    sometimes: attackTags,
    faults: attackFaults,
    run: (input) => run(input, attackFaults, () => ({ secret }), attacked),
  },
  {
    name: 'handshake/incarnations',
    about:
      'nodes that die and come back, also with their clock set back: an older life is never taken in again',
    sometimes: incarnationTags,
    faults: incarnationFaults,
    run: (input) => run(input, incarnationFaults, () => ({ secret }), incarnations),
  },
  {
    name: 'handshake/name-taken',
    about: 'two nodes of one name at two addresses: nobody has both, and the one that stays is found again',
    sometimes: nameTakenTags,
    faults: nameTakenFaults,
    run: (input) =>
      run(
        input,
        nameTakenFaults,
        () => ({ secret }),
        (world, tap) => nameTaken(world, tap, secret),
      ),
  },
]
