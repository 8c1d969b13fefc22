/** What the host gives one member, for one life of the host. Nothing of it has an effect once the member has ended. */
import type { Logger, Random, Store } from '@understudy/runtime'
import type { HostLane, MemberPort } from './hosted-member.ts'

/** What a port needs of the life of its host. */
export interface PortHost {
  readonly node: string
  readonly storeId: string
  readonly nowMs: () => number
  readonly wallMs: () => number
  readonly send: (group: string, node: string, payload: unknown, lane: HostLane) => boolean
  /** Runs `task` in a turn of its own, behind what is in the mailbox; maybe of the next life. */
  readonly post: (task: () => void) => void
  /** The same when the loop comes by. */
  readonly afterLoop: (task: () => void) => void
  readonly crash: (error: unknown) => void
  readonly watchPulse: (group: string, node: string, timeoutMs: number | undefined) => void
  readonly isPulseAlive: (group: string, node: string) => boolean
}

export class GroupPort implements MemberPort {
  readonly group: string
  readonly node: string
  readonly storeId: string
  readonly store: Store
  readonly random: Random
  readonly log: Logger
  readonly nowMs: () => number
  readonly wallMs: () => number
  readonly #host: PortHost
  /** The member was called, or may have changed: asks it for its deadline. */
  readonly #refresh: () => void
  #isOver = false

  constructor(
    host: PortHost,
    group: string,
    parts: { readonly store: Store; readonly random: Random; readonly log: Logger },
    refresh: () => void,
  ) {
    this.#host = host
    this.#refresh = refresh
    this.group = group
    this.node = host.node
    this.storeId = host.storeId
    this.store = parts.store
    this.random = parts.random
    this.log = parts.log
    this.nowMs = host.nowMs
    this.wallMs = host.wallMs
  }

  get isOver(): boolean {
    return this.#isOver
  }

  end(): void {
    this.#isOver = true
  }

  // Functions of the object and not of the class: a member may take them apart.

  readonly send = (node: string, payload: unknown, lane: HostLane): boolean =>
    !this.#isOver && this.#host.send(this.group, node, payload, lane)

  readonly later = (task: () => void): void => {
    if (!this.#isOver) this.#host.post(() => this.#run(task))
  }

  readonly afterLoop = (task: () => void): void => {
    if (!this.#isOver) this.#host.afterLoop(() => this.#run(task))
  }

  readonly pipe = <T>(
    promise: Promise<T>,
    onValue: (value: T) => void,
    onError?: (error: unknown) => void,
  ): void => {
    promise.then(
      (value) => {
        if (!this.#isOver) this.#host.post(() => this.#run(() => onValue(value)))
      },
      (error: unknown) => {
        if (this.#isOver) return
        if (onError === undefined) this.#host.crash(error)
        else this.#host.post(() => this.#run(() => onError(error)))
      },
    )
  }

  readonly rearm = (): void => {
    if (!this.#isOver) this.#host.post(() => this.#run(nothing))
  }

  readonly watchPulse = (node: string, timeoutMs: number | undefined): void => {
    if (!this.#isOver) this.#host.watchPulse(this.group, node, timeoutMs)
  }

  readonly isPulseAlive = (node: string): boolean =>
    !this.#isOver && this.#host.isPulseAlive(this.group, node)

  #run(task: () => void): void {
    if (this.#isOver) return
    task()
    this.#refresh()
  }
}

function nothing(): void {
  // The deadline is asked for behind every task.
}
