/** One group on one node, through all lives of the host there. */
import type { HeapEntry } from './deadline-heap.ts'
import type { HostedMember, OpenMember } from './hosted-member.ts'
import type { GroupPort } from './group-port.ts'

/** Told once when the group has ended on this node, behind the member's `close` if there was one: no member follows. */
export type GroupEnded = (error: Error) => void

export class HostedGroup implements HeapEntry {
  readonly name: string
  readonly open: OpenMember
  /** `undefined` while it is being opened, and between two lives of the host. */
  member: HostedMember | undefined = undefined
  port: GroupPort | undefined = undefined
  dueMs = Number.POSITIVE_INFINITY
  heapMs = Number.POSITIVE_INFINITY
  heapIndex = -1
  #onEnded: GroupEnded | undefined
  /** Of `openGroup`, until the first member is open. */
  #waiting: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined
  readonly opened: Promise<void>
  /** Of those who close it. */
  #closed: (() => void)[] = []

  constructor(name: string, open: OpenMember, onEnded: GroupEnded | undefined) {
    this.name = name
    this.open = open
    this.#onEnded = onEnded
    this.opened = new Promise((resolve, reject) => (this.#waiting = { resolve, reject }))
  }

  becomeOpen(member: HostedMember): void {
    this.member = member
    this.#waiting?.resolve()
    this.#waiting = undefined
  }

  /** Somebody wants it closed, and waits for `end`. */
  get isClosing(): boolean {
    return this.#closed.length > 0
  }

  whenClosed(): Promise<void> {
    return new Promise((resolve) => this.#closed.push(resolve))
  }

  /** The member of this life ends, and so does all that it was given. */
  closeMember(reason: Error): void {
    const { member, port } = this
    this.member = undefined
    this.port = undefined
    port?.end()
    member?.close(reason)
  }

  /** It will not be opened again. Whoever still waits for it to open gets the error. */
  end(error: Error): void {
    this.closeMember(error)
    const waiting = this.#waiting
    const onEnded = this.#onEnded
    this.#waiting = undefined
    this.#onEnded = undefined
    if (waiting === undefined) onEnded?.(error)
    else waiting.reject(error)
    for (const resolve of this.#closed.splice(0)) resolve()
  }
}
