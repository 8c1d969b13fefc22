/** Membership: who is down is found down, who is not is not, and in the end all agree. */
import { bootstrapTags, runBootstrap } from '../membership/bootstrap.ts'
import { crashTags, quietTags, runCrash, runQuiet } from '../membership/calm.ts'
import { healthyTags, runHealthy } from '../membership/healthy.ts'
import { leaveTags, runLeave } from '../membership/leave.ts'
import { partitionTags, runPartition } from '../membership/partition.ts'
import { runStall, stallTags } from '../membership/stall.ts'
import { runViews, viewsFaults, viewsTags } from '../membership/views.ts'
import type { Scenario } from '../scenario.ts'

export const membershipScenarios: readonly Scenario[] = [
  {
    name: 'membership/quiet',
    about: '24 minutes on a slow network without a fault: nobody is ever given up',
    sometimes: quietTags,
    run: runQuiet,
  },
  {
    name: 'membership/crash',
    about: 'nodes die on a fast network: all others find them down within the bound, and accuse nobody else',
    sometimes: crashTags,
    run: runCrash,
  },
  {
    name: 'membership/healthy',
    about:
      'some die, stand still, are cut off: nobody gives up anybody else, nor who was gone for a moment only',
    sometimes: healthyTags,
    run: runHealthy,
  },
  {
    name: 'membership/views',
    about:
      'partitions, deaths, pauses, bad clocks: events fit the views, what is over stays over, in the end all agree',
    sometimes: viewsTags,
    faults: viewsFaults,
    run: runViews,
  },
  {
    name: 'membership/partition',
    about:
      'five nodes fall apart in every shape, under every strategy: one side acts at most, and all are one again',
    sometimes: partitionTags,
    run: runPartition,
  },
  {
    name: 'membership/stall',
    about:
      'one of ten stands still: no other is given up, and nothing of it acts before it knows how it is seen',
    sometimes: stallTags,
    run: runStall,
  },
  {
    name: 'membership/bootstrap',
    about: 'nodes start in any order over a network that is cut at first: exactly one cluster is founded',
    sometimes: bootstrapTags,
    run: runBootstrap,
  },
  {
    name: 'membership/leave',
    about: 'a rolling restart under load: nodes leave in good order and come back, and no ask fails',
    sometimes: leaveTags,
    run: runLeave,
  },
]
