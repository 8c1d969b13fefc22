/** Reliable delivery: what is acknowledged was handled, in order, and once while both ends live. */
import { simulateSystem } from '@understudy/runtime/simulation'
import type { Scenario } from '../scenario.ts'
import { betweenNodesFaults, betweenNodesTags, runBetweenNodes } from '../reliable/between-nodes.ts'
import { oneNode, oneNodeFaults, oneNodeTags } from '../reliable/one-node.ts'

export const reliableScenarios: readonly Scenario[] = [
  {
    name: 'reliable/between-nodes',
    about:
      'producers and consumers on nodes that die and part, over links that lose and reorder: acknowledged is handled',
    sometimes: betweenNodesTags,
    faults: betweenNodesFaults,
    run: runBetweenNodes,
  },
  {
    name: 'reliable/one-node',
    about:
      'producers and consumers of one process that crash, close and are replaced, in every order of turns',
    sometimes: oneNodeTags,
    faults: oneNodeFaults,
    run: (input) =>
      simulateSystem({ ...input, faults: { only: oneNodeFaults }, virtualMsMax: 1_200_000 }, oneNode),
  },
]
