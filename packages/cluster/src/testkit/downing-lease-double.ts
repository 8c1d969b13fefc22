/** A downing lease in memory, for tests of what uses one: both sides of a partition share one object. */
import type { DowningLease } from '../membership/downing-lease.ts'

/** A `DowningLease` that answers at once, and can be made to fail. */
export interface MemoryDowningLease extends DowningLease {
  /** Who holds it, if anybody. */
  readonly owner: () => string | undefined
  /** Every attempt so far, in order. */
  readonly attempts: () => readonly { readonly owner: string; readonly granted: boolean }[]
  /** Takes it away from its owner, as an expiry does, and tells all who asked under that name. */
  readonly expire: () => void
  /** While true, `acquire` rejects: the store cannot be asked. */
  readonly setBroken: (isBroken: boolean) => void
}

/** A lease that nobody holds. Each `acquire` is decided when it is called, in the order of the calls. */
export function memoryDowningLease(): MemoryDowningLease {
  let holder: string | undefined
  let isBroken = false
  let listeners: (() => void)[] = []
  const attempts: { owner: string; granted: boolean }[] = []
  return {
    acquire: async (owner, onLost) => {
      if (isBroken) {
        attempts.push({ owner, granted: false })
        throw new Error(`Cannot acquire the downing lease for "${owner}": the double was told to be broken`)
      }
      const granted = holder === undefined || holder === owner
      attempts.push({ owner, granted })
      if (granted) {
        holder = owner
        if (onLost !== undefined) listeners.push(onLost)
      }
      return granted
    },
    release: async (owner) => {
      if (holder !== owner) return
      holder = undefined
      listeners = []
    },
    owner: () => holder,
    attempts: () => [...attempts],
    expire: () => {
      const told = listeners
      holder = undefined
      listeners = []
      for (const listener of told) listener()
    },
    setBroken: (value) => {
      isBroken = value
    },
  }
}
