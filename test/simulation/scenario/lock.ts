/** Locks: their holders are disjoint as what they guard sees it, and every recipe is a sequential object to its clients. */
import { barrierTags, runBarriers } from '../lock/barriers.ts'
import { downingTags, runDowning } from '../lock/downing.ts'
import { electionTags, runElection } from '../lock/election.ts'
import { mutexTags, runMutex, runUnguarded } from '../lock/mutex.ts'
import { recipeTags, runRecipes } from '../lock/recipes.ts'
import { frameTags } from '../remote/fault-list.ts'
import type { Scenario } from '../scenario.ts'
import { serviceFaults } from '../service-bed.ts'

export const lockScenarios: readonly Scenario[] = [
  {
    name: 'lock/mutex',
    about:
      'guarded registers under mutexes, and pauses of twice the lease: disjoint holders, tokens that grow, nobody starves',
    sometimes: [...mutexTags, ...frameTags],
    faults: serviceFaults,
    run: runMutex,
  },
  {
    name: 'lock/recipes',
    about: 'read-write locks, semaphores, spin locks, counters, values, latches: linearizable',
    sometimes: [...recipeTags, ...frameTags],
    faults: serviceFaults,
    run: runRecipes,
  },
  {
    name: 'lock/barriers',
    about: 'barriers and double barriers with generations, whose members give up and crash: linearizable',
    sometimes: [...barrierTags, ...frameTags],
    faults: serviceFaults,
    run: runBarriers,
  },
  {
    name: 'lock/election',
    about: 'one leader in a term, fenced by it, also who has resigned; observers miss no leader',
    sometimes: [...electionTags, ...frameTags],
    faults: serviceFaults,
    run: runElection,
  },
  {
    name: 'lock/downing',
    about:
      'splits and pauses under downing by a lock of a table that falls apart with the nodes: never two sides, one cluster at last',
    sometimes: downingTags,
    run: runDowning,
  },
  {
    name: 'wrong/unguarded-lock',
    about: 'the same as lock/mutex, with registers that refuse nobody: must be found',
    sometimes: [],
    expects: 'violation',
    run: runUnguarded,
  },
]
