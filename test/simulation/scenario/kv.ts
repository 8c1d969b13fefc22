/** The key-value store: linearizable keys, serializable transactions, watches and leases that keep their word. */
import { leaseTags, runLeases } from '../kv/leases.ts'
import { registerTags, runRegister } from '../kv/register.ts'
import { runTransactions, transactionTags } from '../kv/transactions.ts'
import { runWatch, watchTags } from '../kv/watch.ts'
import { frameTags } from '../remote/fault-list.ts'
import type { Scenario } from '../scenario.ts'
import { serviceFaults } from '../service-bed.ts'

export const kvScenarios: readonly Scenario[] = [
  {
    name: 'kv/register',
    about: 'keys by clients on members and elsewhere: linearizable, each write once, whatever is tried again',
    sometimes: [...registerTags, ...frameTags],
    faults: serviceFaults,
    run: runRegister,
  },
  {
    name: 'kv/transactions',
    about: 'lists that are read and appended to in transactions: strictly serializable',
    sometimes: [...transactionTags, ...frameTags],
    faults: serviceFaults,
    run: runTransactions,
  },
  {
    name: 'kv/watch',
    about: 'watches through deaths, compaction and slow takers: ordered, unique, whole, complete, resumable',
    sometimes: [...watchTags, ...frameTags],
    faults: serviceFaults,
    run: runWatch,
  },
  {
    name: 'kv/leases',
    about: 'leases that are kept alive, lost and revoked: none ends while it is held, and all others end',
    sometimes: [...leaseTags, ...frameTags],
    faults: serviceFaults,
    run: runLeases,
  },
]
