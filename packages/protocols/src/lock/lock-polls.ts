/** Views that wait until there is something new in them. */
import type { LockView } from './lock-command.ts'

/** What its reader knows; -1: nothing. */
export interface ViewWish {
  readonly name: string
  readonly afterVersion: number
  readonly afterToken: number
}

export interface LockPoll<State> extends ViewWish {
  readonly untilMs: number
  /** The state that it waits on: another one may be behind what its reader knows. */
  readonly state: State
  readonly answer: (view: LockView | undefined) => void
  /** It has to begin anew, on the state that is there now. */
  readonly again: () => void
}

/** True when the reader has something to learn. */
export function isNews(view: LockView | undefined, { afterVersion, afterToken }: ViewWish): boolean {
  if (afterVersion < 0 && afterToken < 0) return true
  if (afterVersion >= 0 && (view?.version ?? 0) !== afterVersion) return true
  return afterToken >= 0 && (view?.reigns.at(-1)?.token ?? 0) > afterToken
}

/** All of one node. */
export class LockPolls<State> {
  readonly #byName = new Map<string, Set<LockPoll<State>>>()
  /** Names that may have changed since they were looked at. */
  readonly #dirty = new Set<string>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(poll: LockPoll<State>): void {
    const { name } = poll
    const others = this.#byName.get(name)
    if (others === undefined) this.#byName.set(name, new Set([poll]))
    else others.add(poll)
    this.#size++
  }

  /** These names may have changed; `undefined`: any. True when somebody waits for one of them. Hot: once an entry. */
  touch(names: ReadonlySet<string> | undefined): boolean {
    for (const name of names ?? this.#byName.keys()) if (this.#byName.has(name)) this.#dirty.add(name)
    return this.#dirty.size > 0
  }

  /** Answers those for whom what has changed is news. */
  check(state: State, view: (name: string) => LockView | undefined): void {
    const names = [...this.#dirty]
    this.#dirty.clear()
    for (const name of names) {
      const polls = [...(this.#byName.get(name) ?? [])]
      if (polls.length === 0) continue
      const now = view(name)
      for (const poll of polls) {
        if (poll.state !== state) {
          this.#delete(poll)
          poll.again()
        } else if (isNews(now, poll)) {
          this.#delete(poll)
          poll.answer(now)
        }
      }
    }
  }

  /** Answers those whose time is over. O(polls). */
  expire(state: State, view: (name: string) => LockView | undefined, nowMs: number): void {
    for (const poll of this.#all()) {
      if (poll.untilMs > nowMs) continue
      this.#delete(poll)
      if (poll.state === state) poll.answer(view(poll.name))
      else poll.again()
    }
  }

  /** Begins all anew: the member may not be one any more. */
  restart(): void {
    for (const poll of this.#all()) {
      this.#delete(poll)
      poll.again()
    }
  }

  #all(): readonly LockPoll<State>[] {
    return [...this.#byName.values()].flatMap((polls) => [...polls])
  }

  #delete(poll: LockPoll<State>): void {
    const polls = this.#byName.get(poll.name)
    if (polls?.delete(poll) !== true) return
    this.#size--
    if (polls.size === 0) this.#byName.delete(poll.name)
  }
}
