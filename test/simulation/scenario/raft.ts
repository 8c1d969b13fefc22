/** Raft: the five properties after every step, linearizable registers, one state after the heal. */
import { logFaults, logTags, runLog } from '../raft/log.ts'
import { manyGroupsFaults, manyGroupsTags, runManyGroups } from '../raft/many-groups.ts'
import { membershipFaults, membershipTags, runMembership } from '../raft/membership.ts'
import { runSnapshots, snapshotFaults, snapshotTags } from '../raft/snapshots.ts'
import { frameTags } from '../remote/fault-list.ts'
import type { Scenario } from '../scenario.ts'

export const raftScenarios: readonly Scenario[] = [
  {
    name: 'raft/log',
    about:
      'three or five nodes, all faults, registers by many clients: nothing acknowledged is lost, reads are linearizable',
    sometimes: [...logTags, ...frameTags],
    faults: logFaults,
    run: runLog,
  },
  {
    name: 'raft/membership',
    about:
      'five nodes, of which any take part: added, removed, replaced, wiped, while everything breaks; all end as asked',
    sometimes: [...membershipTags, ...frameTags],
    faults: membershipFaults,
    run: runMembership,
  },
  {
    name: 'raft/snapshots',
    about:
      'the log is cut all the time, followers fall behind, and snapshots in many chunks break off: one state in the end',
    sometimes: [...snapshotTags, ...frameTags],
    faults: snapshotFaults,
    run: runSnapshots,
  },
  {
    name: 'raft/many-groups',
    about:
      'tens of groups on three nodes: idle ones say nothing, and are led again soon after a node has died',
    sometimes: [...manyGroupsTags, ...frameTags],
    faults: manyGroupsFaults,
    run: runManyGroups,
  },
]
