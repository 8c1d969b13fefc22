/** Actors of different nodes: messages, asks, watches and refs, under everything that can go wrong between them. */
import type { Scenario } from '../scenario.ts'
import { askTags, runAsk } from '../remote/ask.ts'
import { cycleTags, runCycle } from '../remote/cycle.ts'
import { loadTags, runLoad } from '../remote/load.ts'
import { lossyFaults, lossyTags, runLossy } from '../remote/lossy.ts'
import { orderTags, runOrder } from '../remote/order.ts'
import { refsTags, runRefs } from '../remote/refs.ts'
import { runWatch } from '../remote/watch.ts'
import { watchTags } from '../remote/watch-ledger.ts'
import { allFaults, threeNodeFaults } from '../remote/fault-list.ts'

export const remoteScenarios: readonly Scenario[] = [
  {
    name: 'remote/order',
    about:
      'tells and asks from everybody to everybody: in order, at most once, no gap within a link, no older life',
    sometimes: orderTags,
    faults: allFaults,
    run: runOrder,
  },
  {
    name: 'remote/watch',
    about:
      'watches across nodes, through third ones too: one notice each, for a reason, behind the last word',
    sometimes: watchTags,
    faults: threeNodeFaults,
    run: runWatch,
  },
  {
    name: 'remote/ask',
    about:
      'asks across nodes: each settles once and in time, is handled once at most, and fails with what is known',
    sometimes: askTags,
    faults: allFaults,
    run: runAsk,
  },
  {
    name: 'remote/refs',
    about:
      'bound refs mean one life for ever, unbound ones the successor; refs travel in messages, also home',
    sometimes: refsTags,
    faults: threeNodeFaults,
    run: runRefs,
  },
  {
    name: 'remote/cycle',
    about:
      'chains of asks across nodes: who comes back to somebody that waits is refused at once, nobody else is',
    sometimes: cycleTags,
    faults: threeNodeFaults,
    run: runCycle,
  },
  {
    name: 'remote/lossy',
    about:
      'a gossiped maximum and stop-and-wait, under loss, doubles, replays and reordering of single messages',
    sometimes: lossyTags,
    faults: lossyFaults,
    run: runLossy,
  },
  {
    name: 'remote/load',
    about:
      'bursts, giants, a hot node, slow consumers and retry storms on small queues: nothing is lost without a word',
    sometimes: loadTags,
    faults: threeNodeFaults,
    run: runLoad,
  },
]
