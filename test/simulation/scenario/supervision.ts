/** Supervision trees of one process: crash storms, pools, chains of asks, state on a store, shutdown under load. */
import { simulateSystem } from '@understudy/runtime/simulation'
import type { Scenario } from '../scenario.ts'
import { askChain, chainTags } from '../supervision/ask-chain.ts'
import { brokenDisk, brokenDiskFaults, brokenDiskTags } from '../supervision/broken-disk.ts'
import { crashStorm, stormTags } from '../supervision/crash-storm.ts'
import { failingStart, startTags } from '../supervision/failing-start.ts'
import { poolStorm, poolTags } from '../supervision/pool-storm.ts'
import { shutdownTags, shutdownUnderLoad } from '../supervision/shutdown-under-load.ts'
import { storedFaults, storedService, storedTags } from '../supervision/stored-service.ts'

export const supervisionScenarios: readonly Scenario[] = [
  {
    name: 'supervision/crash-storm',
    about:
      'trees of all strategies whose workers crash wherever they can: order, limits, watches, fences, FIFO, liveness',
    sometimes: stormTags,
    run: (input) => simulateSystem({ ...input, faults: false, virtualMsMax: 600_000 }, crashStorm),
  },
  {
    name: 'supervision/pool',
    about:
      'pools of every strategy whose workers crash: order per sender and worker, one owner per key, nothing lost unsaid',
    sometimes: poolTags,
    run: (input) => simulateSystem({ ...input, faults: false, virtualMsMax: 600_000 }, poolStorm),
  },
  {
    name: 'supervision/ask-chain',
    about:
      'actors that ask each other in rings: cycles refused at once, deadlines that travel, no ask that hangs',
    sometimes: chainTags,
    run: (input) => simulateSystem({ ...input, faults: false, virtualMsMax: 600_000 }, askChain),
  },
  {
    name: 'supervision/stored-service',
    about:
      'a service with its state on the store, killed, paused, on a bad disk and a bad clock: acknowledged writes survive',
    sometimes: storedTags,
    faults: storedFaults,
    run: (input) =>
      simulateSystem({ ...input, faults: { only: storedFaults }, virtualMsMax: 1_200_000 }, storedService),
  },
  {
    name: 'supervision/broken-disk',
    about:
      'a journal on a disk that lies, flips bits, forgets: what is read was once written, in order, or is refused',
    sometimes: brokenDiskTags,
    faults: brokenDiskFaults,
    run: (input) =>
      simulateSystem(
        { ...input, faults: { only: brokenDiskFaults, chances: [0, 0.03, 0.1], tickMs: 50 } },
        brokenDisk,
      ),
  },
  {
    name: 'supervision/shutdown',
    about: 'a shutdown, by call or by signal, in the middle of the work: in time, and nothing is left behind',
    sometimes: shutdownTags,
    run: (input) => simulateSystem({ ...input, faults: false }, shutdownUnderLoad),
  },
  {
    name: 'supervision/start',
    about:
      'a tree whose setups crash and hang: it comes up as a whole, or says that it does not and leaves nothing behind',
    sometimes: startTags,
    run: (input) => simulateSystem({ ...input, faults: false }, failingStart),
  },
]
