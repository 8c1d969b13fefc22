/**
 * A timing wheel for deadlines that are nearly always cancelled: ask timeouts, handler timeouts.
 *
 * One platform timer for all of them. Never early; at most one slot late on a clock with slots (`slotMs` 10), exact on
 * a clock without (`slotMs` 0, virtual time). Adding and removing are O(1) and allocate nothing. The idea is Varghese
 * and Lauck's hashed wheel (1987), scheme 6: an entry of a later round stays in its slot until its time has come.
 */
import type { Clock, Timer } from '../platform/platform.ts'

/** What stands in the wheel. The links belong to the wheel. */
export interface WheelEntry {
  deadlineMs: number
  wheelSlot: number
  wheelPrevious: WheelEntry | null
  wheelNext: WheelEntry | null
  /** Called once when `deadlineMs` has passed; the entry is out of the wheel by then. */
  readonly expire: () => void
}

const slotCount = 1024
const slotMask = slotCount - 1
/** Behind the slots: the list of those that have just arrived. */
const arrivals = slotCount

export class TimerWheel {
  readonly #clock: Clock
  readonly #slotMs: number
  readonly #slots: (WheelEntry | null)[] = new Array<WheelEntry | null>(slotCount + 1).fill(null)
  #count = 0
  #timer: Timer | null = null
  #armedAtMs = Number.POSITIVE_INFINITY
  /** The last slot number (not masked) whose entries were all looked at. */
  #doneSlot: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#slotMs = clock.slotMs > 0 ? clock.slotMs : 10
    this.#doneSlot = Math.floor(clock.monotonicMs() / this.#slotMs) - 1
  }

  get size(): number {
    return this.#count
  }

  /** Puts `entry` in. Its `deadlineMs` must be finite. */
  add(entry: WheelEntry): void {
    // An entry whose time has passed already goes into the slot that is looked at next.
    const slot = Math.max(Math.floor(entry.deadlineMs / this.#slotMs), this.#doneSlot + 1)
    const index = slot & slotMask
    const head = this.#slots[index] as WheelEntry | null
    entry.wheelSlot = index
    entry.wheelPrevious = null
    entry.wheelNext = head
    if (head !== null) head.wheelPrevious = entry
    this.#slots[index] = entry
    this.#count++
    const dueMs = this.#clock.slotMs > 0 ? (slot + 1) * this.#slotMs : entry.deadlineMs
    if (dueMs < this.#armedAtMs) this.#arm(dueMs)
  }

  /**
   * Puts `entry` in when its `deadlineMs` was reckoned from a time that may lag: it waits outside of the slots until
   * `settle` says by how much. Most are answered before that, which is why this is cheaper than `add` (bench: ask-1).
   */
  arrive(entry: WheelEntry): void {
    const head = this.#slots[arrivals] as WheelEntry | null
    entry.wheelSlot = arrivals
    entry.wheelPrevious = null
    entry.wheelNext = head
    if (head !== null) head.wheelPrevious = entry
    this.#slots[arrivals] = entry
    this.#count++
  }

  get hasArrivals(): boolean {
    return this.#slots[arrivals] !== null
  }

  /** What has arrived goes into its slot, `lagMs` later than it was reckoned: nothing is ever early. */
  settle(lagMs: number): void {
    let entry = this.#slots[arrivals] as WheelEntry | null
    this.#slots[arrivals] = null
    // The list is newest first; the slots are to be filled oldest first.
    while (entry !== null && entry.wheelNext !== null) entry = entry.wheelNext
    while (entry !== null) {
      const later: WheelEntry | null = entry.wheelPrevious
      entry.deadlineMs += lagMs
      this.#count--
      this.add(entry)
      entry = later
    }
  }

  /** Takes `entry` out; harmless when it is not in. */
  remove(entry: WheelEntry): void {
    if (entry.wheelSlot === -1) return
    const { wheelPrevious: previous, wheelNext: next } = entry
    if (previous === null) this.#slots[entry.wheelSlot] = next
    else previous.wheelNext = next
    if (next !== null) next.wheelPrevious = previous
    entry.wheelSlot = -1
    entry.wheelPrevious = null
    entry.wheelNext = null
    this.#count--
  }

  /** Forgets every entry and cancels the timer. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = null
    // Nothing is due earlier than that, so nothing is armed any more.
    this.#armedAtMs = Number.NEGATIVE_INFINITY
    this.#slots.fill(null)
    this.#count = 0
  }

  #arm(atMs: number): void {
    this.#timer?.cancel()
    this.#armedAtMs = atMs
    this.#timer = this.#clock.setTimer(atMs, this.#fire)
  }

  readonly #fire = (): void => {
    this.#timer = null
    this.#armedAtMs = Number.POSITIVE_INFINITY
    const nowMs = this.#clock.monotonicMs()
    const nowSlot = Math.floor(nowMs / this.#slotMs)
    const first = this.#doneSlot + 1
    // After a long sleep every slot is due at most once.
    const last = Math.min(nowSlot, first + slotCount - 1)
    for (let slot = first; slot <= last; slot++) this.#expireSlot(slot & slotMask, nowMs)
    // The slot of this moment may still hold deadlines ahead of us, so it stays to be looked at.
    this.#doneSlot = Math.max(this.#doneSlot, nowSlot - 1)
    if (this.#count > 0) this.#armNext(nowMs)
  }

  #expireSlot(index: number, nowMs: number): void {
    let entry = this.#slots[index] as WheelEntry | null
    let due: WheelEntry | null = null
    while (entry !== null) {
      const next: WheelEntry | null = entry.wheelNext
      if (entry.deadlineMs <= nowMs) {
        this.remove(entry)
        // The slot's list is newest first; expiry is oldest first.
        entry.wheelNext = due
        due = entry
      }
      entry = next
    }
    while (due !== null) {
      const next: WheelEntry | null = due.wheelNext
      due.wheelNext = null
      due.expire()
      due = next
    }
  }

  #armNext(nowMs: number): void {
    if (this.#armedAtMs !== Number.POSITIVE_INFINITY) return
    const exact = this.#clock.slotMs <= 0
    let earliestMs = Number.POSITIVE_INFINITY
    for (let slot = this.#doneSlot + 1; slot <= this.#doneSlot + slotCount; slot++) {
      let entry = this.#slots[slot & slotMask] as WheelEntry | null
      let found = false
      while (entry !== null) {
        // Entries of later rounds share the slot: only those of this round decide.
        if (Math.floor(entry.deadlineMs / this.#slotMs) <= slot) {
          found = true
          if (entry.deadlineMs < earliestMs) earliestMs = entry.deadlineMs
        }
        entry = entry.wheelNext
      }
      if (found) {
        this.#arm(exact ? earliestMs : Math.max((slot + 1) * this.#slotMs, nowMs))
        return
      }
    }
    // Only later rounds are left: look again after one round.
    this.#arm((this.#doneSlot + slotCount) * this.#slotMs)
  }
}
