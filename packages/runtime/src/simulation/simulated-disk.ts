/**
 * The disk of a simulated machine: it outlives the processes that open stores on it. What a `Store` promises and no more
 * holds over a crash: an acknowledged batch stays, one that was not is kept or lost, always as a prefix, never torn.
 *
 * Loss of writes that were not synced, torn and reordered sectors, renames that were not durable: what happens below a
 * store with atomic batches shows above it as a batch that is there or not.
 */
import { StoreError } from '../platform/store-error.ts'
import type { Store } from '../platform/store.ts'
import { DiskControls } from './disk-controls.ts'
import { DiskDirectory } from './disk-directory.ts'
import type { FaultKind } from './fault-plan.ts'
import type { SimulatedLife, SimulatedSurroundings } from './simulated-life.ts'
import { storeFaults, type MayHarmStore } from './store-fault.ts'
import { never, StoreSession } from './store-session.ts'
import { StoreView } from './store-view.ts'

export class SimulatedDisk {
  /** What a scenario does to it by hand. */
  readonly controls: DiskControls
  readonly #directories = new Map<string, DiskDirectory>()

  constructor(simulation: SimulatedSurroundings, machine: string) {
    this.controls = new DiskControls(simulation, machine, this.#directories)
  }

  /**
   * Opens the store in `directory` for a process of this machine, empty the first time. One process at a time may hold
   * it, once: a second `open` rejects with `RUNTIME_STORE_UNAVAILABLE`. It is free again when its store is closed or
   * its process is dead.
   *
   * @param life the process that opens it
   */
  open(directory: string, life: SimulatedLife): Promise<Store> {
    if (!life.isAlive) return never()
    let found = this.#directories.get(directory)
    if (found === undefined) {
      found = new DiskDirectory(directory)
      this.#directories.set(directory, found)
    }
    const { holder } = found
    if (holder !== undefined) {
      return Promise.reject(
        new StoreError(
          'RUNTIME_STORE_UNAVAILABLE',
          `Cannot open the store in "${directory}" of machine "${this.controls.machine}": the process ` +
            `"${holder.name}" holds it, and only one at a time may; close it there first`,
          { details: { directory, machine: this.controls.machine, holder: holder.name } },
        ),
      )
    }
    const view = new StoreView(new StoreSession(life, found, this.controls))
    const end = life.beginOperation()
    return new Promise((resolve) => {
      life.at(this.controls.doneAtMs(life.departsAtMs, 'read'), 'store-open', () => {
        end()
        resolve(view)
      })
    })
  }

  /** Empties every directory. @throws {RangeError} when a process holds one */
  wipe(): void {
    for (const { name } of this.controls.directories()) this.controls.wipe(name)
  }

  /**
   * All that can be done to this disk: `store-slow`, `store-eio`, `store-full`, `store-flip`, `store-lying`, `store-old`
   * and `store-wipe`.
   *
   * @param mayHarm the world's budget: false spares it. @default it may always be harmed
   */
  faultKinds(mayHarm?: MayHarmStore): readonly FaultKind[] {
    return storeFaults(() => [this.controls], mayHarm)
  }
}
