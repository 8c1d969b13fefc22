/** The node that has the lock and the ledgers: its name, and its role. */
export const hostName = 'host'
export const lockName = 'ledger'
