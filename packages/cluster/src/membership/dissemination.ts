/**
 * News on its way: what a node still has to pass on, and how often. Records ride on every message (SWIM's piggyback), a
 * bounded number at a time, those that were passed on least first (pitfall M9).
 */
import { isFinal, type MemberRecord } from './member-table.ts'
import { recordBytes } from './swim-message.ts'

/** How often one node passes a record on, with `n` members: mult * ceil(log10(n + 1)). */
export function retransmitLimit(mult: number, n: number): number {
  return mult * Math.ceil(Math.log10(n + 1))
}

/**
 * The records to pass on, at most one for each name: a newer one takes the place of the older. Only the end of a life stays
 * beside a life of the same name at another address: who did not hear of the end could not take that for its successor. It
 * is the last end of that name: who hears of it needs none before. Above `recordsMax`, which the honest do not reach, what
 * was passed on most is dropped, so that no member can make the queue grow by telling of ever more lives and names. `take`
 * costs as much as it gives, and O(distinct counts), at most the retransmit limit.
 */
export class DisseminationQueue {
  /** By the times that they were passed on; in each the one that came there first in front. */
  readonly #levels: Map<string, MemberRecord>[] = []
  readonly #levelOf = new Map<string, number>()
  readonly #recordsMax: number

  constructor(recordsMax: number) {
    this.#recordsMax = recordsMax
  }

  get length(): number {
    return this.#levelOf.size
  }

  /** To be passed on from the beginning; what was there of the same name is dropped. */
  add(record: MemberRecord): void {
    const dropped = this.drop(record.name)
    this.#put(record.name, record, 0)
    if (dropped !== undefined && isFinal(dropped.kind) && dropped.address !== record.address) {
      // No name has a space in it.
      const key = `${dropped.name} ended`
      this.drop(key)
      this.#put(key, dropped, 0)
    }
    if (this.#levelOf.size > this.#recordsMax) this.#dropOne()
  }

  /** Returns what was there. */
  drop(key: string): MemberRecord | undefined {
    const level = this.#levelOf.get(key)
    if (level === undefined) return undefined
    const records = this.#levels[level]
    const record = records?.get(key)
    records?.delete(key)
    this.#levelOf.delete(key)
    return record
  }

  /**
   * Adds to `into` what should ride on the next message, and counts it as passed on: at most `recordsMax` records in all, and
   * `bytesMax` bytes more than there are, but at least one record. `limit` is `retransmitLimit`; what reached it is dropped.
   */
  take(into: MemberRecord[], recordsMax: number, bytesMax: number, limit: number): void {
    if (this.#levelOf.size === 0) return
    let bytes = 0
    const mustCount = into.length
    let moved: { readonly key: string; readonly record: MemberRecord; readonly level: number }[] | undefined
    scan: for (let level = 0; level < this.#levels.length; level++) {
      const records = this.#levels[level]
      if (records === undefined || records.size === 0) continue
      for (const [key, record] of records) {
        if (into.length >= recordsMax) break scan
        // What a message must carry may be in the queue as well, by another accuser.
        if (mustCount > 0 && isAmong(record.name, into, mustCount)) continue
        const size = recordBytes(record)
        // The first that does not fit ends it: to look for smaller ones would cost the length of the queue.
        if (bytes > 0 && bytes + size > bytesMax) break scan
        bytes += size
        into.push(record)
        moved ??= []
        moved.push({ key, record, level })
      }
    }
    if (moved === undefined) return
    for (const { key, record, level } of moved) {
      this.#levels[level]?.delete(key)
      if (level + 1 < limit) this.#put(key, record, level + 1)
      else this.#levelOf.delete(key)
    }
  }

  /** Of those that were passed on most the one that came there first. */
  #dropOne(): void {
    for (let level = this.#levels.length - 1; level >= 0; level--) {
      for (const key of this.#levels[level]?.keys() ?? []) {
        this.drop(key)
        return
      }
    }
  }

  #put(key: string, record: MemberRecord, level: number): void {
    while (this.#levels.length <= level) this.#levels.push(new Map())
    this.#levels[level]?.set(key, record)
    this.#levelOf.set(key, level)
  }
}

function isAmong(name: string, records: readonly MemberRecord[], count: number): boolean {
  for (let index = 0; index < count; index++) if (records[index]?.name === name) return true
  return false
}
