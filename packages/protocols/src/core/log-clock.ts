/**
 * The log's own time. It comes from the stamps that leaders put on their commands, so that every member that has applied the
 * same entries has the same time, whatever its own clock says: what expires, expires for all at the same entry (R17).
 *
 * It never goes back and stands still while nobody leads: who could not renew anything loses nothing by that. A new leader
 * goes on from the last stamp that it has applied plus what its own clock ran since, under a leader.
 */

/** How this member takes part in the passing of time. */
export type LogClockMode =
  /** Its stamps are the time: they follow its own clock, and nothing but a later stamp moves them. */
  | 'leading'
  /** It hears a leader: its reading follows the stamps that it applies. */
  | 'following'
  /** Nobody leads: time stands still. */
  | 'leaderless'

/** Pure: the monotonic time of this member comes with each call. */
export class LogClock {
  #mode: LogClockMode = 'leaderless'
  #lastMs: number
  /** The reading was `#baseMs` when this member's clock said `#sinceMs`. */
  #baseMs: number
  #sinceMs = 0

  /** @param lastMs of a snapshot; 0 for a new log */
  constructor(lastMs = 0) {
    this.#lastMs = lastMs
    this.#baseMs = lastMs
  }

  /** The time of the last command applied, in milliseconds: the same on every member. Goes into snapshots. */
  get lastMs(): number {
    return this.#lastMs
  }

  /** Another role. What this member's clock ran in the old mode counts or not by that mode. */
  become(mode: LogClockMode, nowMs: number): void {
    this.#baseMs = this.#reading(nowMs)
    this.#sinceMs = nowMs
    this.#mode = mode
  }

  /**
   * The stamp of a command that this leader appends now: whole milliseconds, never below an earlier one. Hot.
   *
   * A new leader's first stamps may be below those of entries that it has in its log and has not applied yet; `applied`
   * makes up for that, the same way everywhere.
   */
  stamp(nowMs: number): number {
    return Math.floor(this.#reading(nowMs))
  }

  /**
   * A command with this stamp is applied: gives its time, which is the stamp, or that of an earlier command where that is
   * later. Called for each command with a stamp, in the order of the log. Hot.
   */
  applied(stampMs: number, nowMs: number): number {
    if (stampMs > this.#lastMs) this.#lastMs = stampMs
    if (this.#mode !== 'leading') {
      // Exactly the stamp, also when the reading was ahead: a fast clock must not gather a lead over the years.
      this.#baseMs = this.#lastMs
      this.#sinceMs = nowMs
    } else if (this.#lastMs > this.#reading(nowMs)) {
      // A leader applies its own stamps some time after it made them: going back to them would stop the clock under load.
      this.#baseMs = this.#lastMs
      this.#sinceMs = nowMs
    }
    return this.#lastMs
  }

  /** The state is that of a snapshot now. */
  restore(lastMs: number, nowMs: number): void {
    this.#lastMs = lastMs
    this.#baseMs = lastMs
    this.#sinceMs = nowMs
  }

  #reading(nowMs: number): number {
    return this.#mode === 'leaderless' ? this.#baseMs : this.#baseMs + Math.max(0, nowMs - this.#sinceMs)
  }
}
