/** Judges what the clients of a phase saw, and what became of every value that was ever written. */
import {
  checkLinearizable,
  checkListAppend,
  checkWatches,
  type LoggedRevision,
} from '@understudy/runtime/checkers'
import type { Fate, KvRecords } from '../fixtures/kv-load.ts'
import { keyModel } from './key-model.ts'

export interface PhaseVerdict {
  readonly faults: readonly string[]
  readonly keyOperations: number
  readonly transactions: number
  readonly watchEvents: number
  readonly unknown: number
}

/** What was ever done by the log, and ever told to clients: for all phases of a run. */
export class Judge {
  readonly #log: LoggedRevision[] = []
  readonly #fates = new Map<string, Fate>()
  /** How often each value was written, and by how many revisions it was appended. */
  readonly #written = new Map<string, number>()

  /** The first revision that is not known yet. */
  get nextRevision(): number {
    return (this.#log.at(-1)?.revision ?? 0) + 1
  }

  /** `log`: all revisions of the phase. */
  judge(records: readonly KvRecords[], log: readonly LoggedRevision[]): PhaseVerdict {
    const faults: string[] = records.flatMap((record) => record.faults)
    for (const logged of log) {
      if (logged.revision !== this.nextRevision) {
        faults.push(`the log goes from revision ${this.nextRevision - 1} to ${logged.revision}`)
      }
      this.#log.push(logged)
    }
    for (const { fates } of records) for (const [value, fate] of fates) this.#fates.set(value, fate)
    this.#note(log)
    faults.push(...this.#lost())
    const keys = records.flatMap((record) => record.keys).sort((a, b) => a.call - b.call)
    const linearizable = checkLinearizable(keyModel, keys)
    if (linearizable.verdict !== 'ok') faults.push(`keys: ${linearizable.reason}`)
    const transactions = records.flatMap((record) => record.transactions).sort((a, b) => a.call - b.call)
    const serializable = checkListAppend(transactions)
    if (serializable.verdict !== 'ok') faults.push(`lists: ${serializable.reason}`)
    const watches = checkWatches(
      this.#log,
      records.flatMap((record) => record.watches),
    )
    if (watches.verdict !== 'ok') faults.push(`watches: ${watches.reason}`)
    return {
      faults,
      keyOperations: keys.length,
      transactions: transactions.length,
      watchEvents: watches.events,
      unknown: [...keys, ...transactions].filter(({ ret }) => ret === Number.POSITIVE_INFINITY).length,
    }
  }

  #note(log: readonly LoggedRevision[]): void {
    for (const { events } of log) {
      for (const { key, value } of events) {
        if (value === undefined) continue
        if (!/\/l\d+$/.test(key)) {
          this.#written.set(value, (this.#written.get(value) ?? 0) + 1)
          continue
        }
        // A list holds all that was ever appended to it: each value once, or it was appended twice.
        const list = JSON.parse(value) as readonly string[]
        for (const one of new Set(list)) this.#written.set(one, list.filter((other) => other === one).length)
      }
    }
  }

  /** Also of earlier phases: what nobody knew may be done late, but once, and what was refused never. */
  #lost(): readonly string[] {
    const faults: string[] = []
    for (const [value, fate] of this.#fates) {
      const times = this.#written.get(value) ?? 0
      if (times > 1) faults.push(`${value} was written ${times} times`)
      else if (fate === 'done' && times === 0)
        faults.push(`LOST: ${value} was acknowledged and is not in the log`)
      else if (fate === 'refused' && times > 0) faults.push(`${value} was refused and is in the log`)
    }
    return faults.slice(0, 20)
  }
}
