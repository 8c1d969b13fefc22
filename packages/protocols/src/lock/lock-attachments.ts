/**
 * Whom the leader tells of grants: one client for each session. What is told are facts of the log, so one that comes twice or late
 * says nothing wrong; one that is lost leaves a gap in the numbers, and its client asks.
 */
import type { ActorRef } from '@understudy/runtime'
import type { LockGrant, LockRequest } from './lock-command.ts'
import { encodeGrants, type LockReceiverMessages } from './lock-protocol.ts'

/** As a client asks for it. `attachment` grows with each that the client asks for. */
export interface AttachWish {
  readonly session: number
  readonly client: string
  readonly attachment: number
  readonly to: ActorRef<LockReceiverMessages>
}

interface Attachment extends AttachWish {
  pushes: number
}

/** What the actor lends. */
export interface AttachmentShell {
  readonly tell: (to: ActorRef<LockReceiverMessages>, message: ReceiverMessage) => void
  /** Says `dropClient` when the client is gone. */
  readonly watch: (client: string, to: ActorRef<LockReceiverMessages>) => void
  readonly unwatch: (to: ActorRef<LockReceiverMessages>) => void
}

export type ReceiverMessage =
  | {
      readonly type: 'granted'
      readonly attachment: number
      readonly push: number
      readonly grants: Uint8Array
    }
  | {
      readonly type: 'refused'
      readonly attachment: number
      readonly push: number
      readonly requests: Uint8Array
    }
  | { readonly type: 'sessionOver'; readonly attachment: number }
  | { readonly type: 'detached'; readonly attachment: number; readonly why: string }

/** The attachments of one node, while it leads. */
export class LockAttachments {
  readonly #shell: AttachmentShell
  readonly #bySession = new Map<number, Attachment>()
  /** Sessions of each client, so that it is watched once. */
  readonly #clients = new Map<
    string,
    { readonly to: ActorRef<LockReceiverMessages>; readonly sessions: Set<number> }
  >()

  constructor(shell: AttachmentShell) {
    this.#shell = shell
  }

  get size(): number {
    return this.#bySession.size
  }

  has(session: number): boolean {
    return this.#bySession.has(session)
  }

  add(wish: AttachWish): void {
    const { session, client, attachment, to } = wish
    const before = this.#bySession.get(session)
    if (before !== undefined) {
      // A request that was held up on its way does not end the one behind it.
      if (before.client === client && before.attachment > attachment) return
      this.#drop(before)
      if (before.client !== client) this.#detach(before, `client "${client}" has attached the session`)
    }
    this.#bySession.set(session, { ...wish, pushes: 0 })
    const known = this.#clients.get(client)
    if (known !== undefined) {
      known.sessions.add(session)
      return
    }
    this.#clients.set(client, { to, sessions: new Set([session]) })
    this.#shell.watch(client, to)
  }

  /** Takes it back, without a word to its client, if it is still there. */
  remove({ session, client, attachment }: Omit<AttachWish, 'to'>): void {
    const found = this.#bySession.get(session)
    if (found !== undefined && found.client === client && found.attachment === attachment) this.#drop(found)
  }

  /** Hot: an entry has granted these. */
  grant(grants: readonly LockGrant[]): void {
    const [first] = grants
    if (first === undefined) return
    if (grants.length === 1) {
      this.#push(first.session, grants)
      return
    }
    const bySession = new Map<number, LockGrant[]>()
    for (const grant of grants) {
      const own = bySession.get(grant.session)
      if (own === undefined) bySession.set(grant.session, [grant])
      else own.push(grant)
    }
    for (const [session, own] of bySession) this.#push(session, own)
  }

  /** An entry has ended the wait of these. */
  refuse(requests: readonly LockRequest[]): void {
    for (const { session, request } of requests) {
      const found = this.#bySession.get(session)
      if (found === undefined) continue
      const { to, attachment } = found
      const bytes = encodeGrants([{ session, request, token: 0 }])
      this.#shell.tell(to, { type: 'refused', attachment, push: ++found.pushes, requests: bytes })
    }
  }

  /** An entry has ended these sessions. */
  over(sessions: readonly number[]): void {
    for (const session of sessions) {
      const found = this.#bySession.get(session)
      if (found === undefined) continue
      this.#drop(found)
      this.#shell.tell(found.to, { type: 'sessionOver', attachment: found.attachment })
    }
  }

  /** All of a client's end; it is told, in case it is there all the same. */
  dropClient(client: string, why: string): void {
    const sessions = this.#clients.get(client)?.sessions ?? []
    for (const session of [...sessions]) {
      const found = this.#bySession.get(session)
      if (found === undefined) continue
      this.#drop(found)
      this.#detach(found, why)
    }
  }

  endAll(why: string): void {
    for (const found of [...this.#bySession.values()]) {
      this.#drop(found)
      this.#detach(found, why)
    }
  }

  #push(session: number, grants: readonly LockGrant[]): void {
    const found = this.#bySession.get(session)
    if (found === undefined) return
    const { to, attachment } = found
    this.#shell.tell(to, { type: 'granted', attachment, push: ++found.pushes, grants: encodeGrants(grants) })
  }

  #detach({ to, attachment }: Attachment, why: string): void {
    this.#shell.tell(to, { type: 'detached', attachment, why })
  }

  #drop({ session, client }: Attachment): void {
    this.#bySession.delete(session)
    const known = this.#clients.get(client)
    if (known === undefined) return
    known.sessions.delete(session)
    if (known.sessions.size > 0) return
    this.#clients.delete(client)
    this.#shell.unwatch(known.to)
  }
}
