/**
 * The store's state on one node, through all the lives of the group's member there: each life begins with an empty machine
 * and applies the log to it anew, while the service and its watches go on.
 */
import { KvMachine } from './kv-machine.ts'

/** Hand `makeMachine` to the group, and the replica to the service. */
export class KvReplica {
  #machine = new KvMachine()
  #isFirst = true
  readonly #listeners = new Set<() => void>()

  constructor() {
    this.#listen(this.#machine)
  }

  /** The machine of the life in progress. */
  get machine(): KvMachine {
    return this.#machine
  }

  /** An empty machine, which takes the place of the one before it. */
  readonly makeMachine = (): KvMachine => {
    if (!this.#isFirst) {
      this.#machine = new KvMachine()
      this.#listen(this.#machine)
    }
    this.#isFirst = false
    return this.#machine
  }

  /** Calls `listener` behind each command that made a revision, and behind a restored snapshot. Returns how to end it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #listen(machine: KvMachine): void {
    machine.onChange(() => {
      // One of an earlier life has nothing to say any more.
      if (machine === this.#machine) for (const listener of this.#listeners) listener()
    })
  }
}
