/**
 * The lock table on one node, through all the lives of the group's member there: each life begins with an empty machine and
 * applies the log to it anew, while the service goes on.
 */
import type { LockGrant, LockRequest } from './lock-command.ts'
import { LockMachine } from './lock-machine.ts'

/** What is told, behind each entry. */
export interface LockReplicaListener {
  /** They waited, and are through. */
  readonly onGrant: (grants: readonly LockGrant[]) => void
  /** They waited, and can be served no more: the log has ended their wait. */
  readonly onRefused: (requests: readonly LockRequest[]) => void
  /** The log has ended them. Those that a snapshot left out are not told: ask `machine.hasSession`. */
  readonly onSessionOver: (sessions: readonly number[]) => void
  /** Names that may have changed; `undefined`: any, because a snapshot or another life began. Do not keep it. */
  readonly onChange: (names: ReadonlySet<string> | undefined) => void
}

/** Hand `makeMachine` to the group, and the replica to the service. */
export class LockReplica {
  #machine = new LockMachine()
  #isFirst = true
  readonly #listeners = new Set<LockReplicaListener>()

  constructor() {
    this.#listen(this.#machine)
  }

  /** The machine of the life in progress. */
  get machine(): LockMachine {
    return this.#machine
  }

  /** An empty machine, which takes the place of the one before it. */
  readonly makeMachine = (): LockMachine => {
    if (!this.#isFirst) {
      this.#machine = new LockMachine()
      this.#listen(this.#machine)
      for (const listener of this.#listeners) listener.onChange(undefined)
    }
    this.#isFirst = false
    return this.#machine
  }

  /** Returns how to end it. */
  listen(listener: LockReplicaListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #listen(machine: LockMachine): void {
    // One of an earlier life has nothing to say any more.
    const each = (tell: (listener: LockReplicaListener) => void): void => {
      if (machine === this.#machine) for (const listener of this.#listeners) tell(listener)
    }
    machine.onGrant((grants) => each((listener) => listener.onGrant(grants)))
    machine.onRefused((requests) => each((listener) => listener.onRefused(requests)))
    machine.onSessionOver((sessions) => each((listener) => listener.onSessionOver(sessions)))
    machine.onChange((names) => each((listener) => listener.onChange(names)))
  }
}
