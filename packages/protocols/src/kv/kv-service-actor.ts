/**
 * The store's service on one node: takes requests from clients, hands changes to the group, answers reads from this member's
 * state, serves watches, and does what a leader has to do. It holds nothing that a restart would lose but watches, which
 * their clients take up again.
 */
import {
  actor,
  isActorError,
  tell,
  type ActorContext,
  type ActorRef,
  type Definition,
  type Later,
  type MessageOf,
} from '@understudy/runtime'
import type { ConsensusGroup, GroupStatus, SessionStamp } from '../core/consensus-group.ts'
import { encodeKvCommand } from './kv-codec.ts'
import type { KvCommand, KvResult } from './kv-command.ts'
import {
  encodeKvReply,
  encodeKvWriteReply,
  KvService,
  type KvReply,
  type KvServiceMessages,
  type KvWatcherMessages,
  type WatchRequest,
} from './kv-protocol.ts'
import { leaderDuty } from './kv-leader-duty.ts'
import { KvReader } from './kv-reader.ts'
import type { KvReplica } from './kv-replica.ts'
import type { CheckedKvServiceOptions } from './kv-service-options.ts'
import { WatchHub, type Watcher } from './kv-watch-hub.ts'

/** A request waits so long for the group when its asker does not say. */
const timeoutMsDefault = 10_000

const own = { tick: tell(), pump: tell(), clientGone: tell({ client: { type: 'string' } as object }) }

/** Bytes of `encodeKvReply`, now or later. */
type Answer = Uint8Array | Later<Uint8Array>

type Context = ActorContext<KvServiceMessages, typeof own>

/** To whom a watch goes, and under which number it knows it. */
interface WatchTarget {
  readonly client: string
  readonly watch: number
  readonly to: ActorRef<KvWatcherMessages>
}

/** The actor of one node. `group` and `replica` belong together. */
export function kvServiceActor(
  group: ConsensusGroup<KvResult>,
  replica: KvReplica,
  options: CheckedKvServiceOptions,
): Definition<KvServiceMessages, void> {
  return actor(KvService, { name: `kv-${options.name}`, own }, (ctx) => {
    const service = new Service(ctx, group, replica, options)
    return {
      write: (message) => service.write(message),
      read: (message) => service.read(message),
      openSession: (message) => service.openSession(message),
      keepAlive: (message) => service.keepAlive(message),
      watch: (message) => service.watch(message),
      unwatch: (message) => service.unwatch(message),
      credit: (message) => service.credit(message),
      status: () => service.status(),
      tick: () => service.tick(),
      pump: () => service.pump(),
      clientGone: ({ client }) => service.clientGone(String(client)),
    }
  })
}

/** One incarnation. */
class Service {
  readonly #ctx: Context
  readonly #group: ConsensusGroup<KvResult>
  readonly #replica: KvReplica
  readonly #options: CheckedKvServiceOptions
  readonly #hub: WatchHub<WatchTarget>
  readonly #reader = new KvReader()
  /** By client and its number. */
  readonly #watchers = new Map<string, Watcher<WatchTarget>>()
  /** Watches of each client, so that it is watched once. */
  readonly #clients = new Map<string, { readonly to: ActorRef<KvWatcherMessages>; count: number }>()
  #standing: GroupStatus
  /** The answer to whoever asks a member that does not lead; made at each change. */
  #elsewhere: Uint8Array
  #leaderlessSinceMs: number | undefined
  #isPumpDue = false
  #isTickDue = false
  /** Something was applied since the last tick. */
  #isChanged = false
  /** A proposal of the leader's own is under way. */
  #isBusy = false
  /** Log time of the newest command, and when that was first seen here. */
  #seenTimeMs = -1
  #seenAtMs = 0

  constructor(
    ctx: Context,
    group: ConsensusGroup<KvResult>,
    replica: KvReplica,
    options: CheckedKvServiceOptions,
  ) {
    this.#ctx = ctx
    this.#group = group
    this.#replica = replica
    this.#options = options
    this.#hub = new WatchHub(
      ({ target: { to, watch } }, bytes) => ctx.tell(to, { type: 'push', watch, bytes }),
      ({ target }, compactRevision) => this.#end(target, 'what comes next is compacted', compactRevision),
    )
    this.#standing = group.status()
    this.#elsewhere = this.#makeElsewhere()
    const ends = [
      group.onStatus((status) => this.#useStatus(status)),
      replica.onChange(() => this.#changed()),
    ]
    ctx.defer(() => {
      for (const end of ends) end()
    })
    this.#useStatus(group.status())
  }

  // ---- Requests ------------------------------------------------------------------------------------------------

  /** Hot (benchmark: raft). */
  write({ session, sequence, below, command }: MessageOf<KvServiceMessages, 'write'>): Answer {
    const elsewhere = this.#notLeader()
    if (elsewhere !== undefined) return elsewhere
    if (!(command instanceof Uint8Array)) return badMessage
    return this.#propose(command, sessionOf({ session, sequence, below }))
  }

  keepAlive({ command }: { readonly command: Uint8Array }): Answer {
    const elsewhere = this.#notLeader()
    if (elsewhere !== undefined) return elsewhere
    if (!(command instanceof Uint8Array)) return badMessage
    return this.#propose(command, undefined)
  }

  read({ request, consistency }: MessageOf<KvServiceMessages, 'read'>): Answer {
    if (!(request instanceof Uint8Array)) return badMessage
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    const timeoutMs = this.#timeLeft(call.deadlineMs)
    // Also what is local: a new life of the member has no state to read at first.
    this.#group.read({ consistency, timeoutMs }).then(
      () => owed.reply(this.#reader.answer(this.#replica.machine, request)),
      (error: unknown) => owed.reply(this.#failure(error)),
    )
    return owed
  }

  openSession({ ttlMs }: { readonly ttlMs: number }): Answer {
    const elsewhere = this.#notLeader()
    if (elsewhere !== undefined) return elsewhere
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.openSession({ ttlMs, timeoutMs: this.#timeLeft(call.deadlineMs) }).then(
      (number) => owed.reply(encodeKvReply({ kind: 'opened', number, progressMs: 0 })),
      (error: unknown) => owed.reply(this.#failure(error)),
    )
    return owed
  }

  status(): Readonly<Record<string, unknown>> {
    const { name, node, role, leader, term, commit, applied, members } = this.#group.status()
    return {
      group: { name, node, role, leader, term, commit, applied, members },
      store: this.#replica.machine.status(),
      watches: this.#hub.size,
    }
  }

  #propose(command: Uint8Array, session: SessionStamp | undefined): Answer {
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.propose(command, { session, timeoutMs: this.#timeLeft(call.deadlineMs) }).then(
      (result) => owed.reply(encodeKvWriteReply(result)),
      (error: unknown) => owed.reply(this.#failure(error)),
    )
    return owed
  }

  #badRequest(message: string): KvResult {
    return { ok: false, revision: this.#replica.machine.revision, error: { code: 'KV_BAD_REQUEST', message } }
  }

  #notLeader(): Uint8Array | undefined {
    return this.#standing.role === 'leader' ? undefined : this.#elsewhere
  }

  #timeLeft(deadlineMs: number): number {
    if (deadlineMs === Number.POSITIVE_INFINITY) return timeoutMsDefault
    return Math.max(1, deadlineMs - this.#ctx.now())
  }

  #failure(error: unknown): Uint8Array {
    return encodeKvReply(this.#replyTo(error))
  }

  #replyTo(error: unknown): Exclude<KvReply, { readonly kind: 'results' }> {
    // The group takes no command as large; nothing was appended.
    if (error instanceof RangeError || error instanceof TypeError) {
      return { kind: 'result', result: this.#badRequest(error.message) }
    }
    if (!isActorError(error)) {
      this.#ctx.log.error({ err: error }, 'a group of the store failed as none should')
      return { kind: 'unknown', why: error instanceof Error ? error.message : String(error) }
    }
    const { leader } = error.details
    switch (error.code) {
      case 'PROTOCOLS_NOT_LEADER':
        return { kind: 'not-leader', leader: typeof leader === 'string' ? leader : '' }
      case 'PROTOCOLS_OVERLOADED':
        return { kind: 'overloaded', why: error.message }
      case 'PROTOCOLS_SESSION_EXPIRED':
        return { kind: 'session-expired' }
      case 'PROTOCOLS_GROUP_CLOSED':
        return { kind: 'closed', why: error.message }
      default:
        return { kind: 'unknown', why: error.message }
    }
  }

  // ---- Watches -------------------------------------------------------------------------------------------------

  watch(request: WatchRequest): Answer {
    if (this.#hub.size >= this.#options.watchersMax) {
      return encodeKvReply({ kind: 'overloaded', why: `this node serves ${this.#hub.size} watches already` })
    }
    if (this.#standing.leader === undefined) return this.#elsewhere
    if (request.revision > 0) return this.#startWatch(request, request.revision)
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.read({ timeoutMs: this.#timeLeft(call.deadlineMs) }).then(
      () => owed.reply(this.#startWatch(request, this.#replica.machine.revision + 1)),
      (error: unknown) => owed.reply(this.#failure(error)),
    )
    return owed
  }

  unwatch({ client, watch }: { readonly client: string; readonly watch: number }): void {
    const watcher = this.#watchers.get(watchKey(client, watch))
    if (watcher === undefined) return
    this.#hub.delete(watcher)
    this.#forget(watcher.target)
  }

  credit({
    client,
    watch,
    bytes,
  }: {
    readonly client: string
    readonly watch: number
    readonly bytes: number
  }): void {
    const watcher = this.#watchers.get(watchKey(client, watch))
    if (watcher === undefined) return
    watcher.credit += bytes
    this.#schedulePump()
  }

  /**
   * Its client has ended, or its node is no member here: not any more, or not yet, and then it is there all the same, and has to
   * hear of it.
   */
  clientGone(client: string): void {
    for (const watcher of [...this.#hub]) {
      if (watcher.target.client !== client) continue
      this.#hub.delete(watcher)
      this.#end(watcher.target, `your node is no member for node "${this.#standing.node}"`, 0)
    }
  }

  pump(): void {
    this.#isPumpDue = false
    if (this.#hub.pump(this.#replica.machine.state, this.#ctx.now())) this.#schedulePump()
  }

  #startWatch(request: WatchRequest, revision: number): Uint8Array {
    const { client, watch, to, from, upTo, previous, without, credit } = request
    const { compactRevision } = this.#replica.machine.state
    if (revision < compactRevision) return encodeKvReply({ kind: 'compacted', compactRevision })
    const key = watchKey(client, watch)
    if (!this.#watchers.has(key)) {
      const wish = {
        from,
        to: upTo ?? undefined,
        revision,
        previous,
        without: without === 'put' || without === 'delete' ? without : undefined,
      } as const
      this.#watchers.set(key, this.#hub.add({ client, watch, to }, wish, credit, this.#ctx.now()))
      this.#scheduleTick()
      const known = this.#clients.get(client)
      if (known !== undefined) known.count++
      else {
        this.#clients.set(client, { to, count: 1 })
        this.#ctx.watch(to, () => ({ type: 'clientGone', client }))
      }
      this.#schedulePump()
    }
    return encodeKvReply({ kind: 'opened', number: revision, progressMs: this.#options.progressMs })
  }

  #end(target: WatchTarget, why: string, compactRevision: number): void {
    const { to, watch } = target
    this.#forget(target)
    this.#ctx.tell(to, { type: 'ended', watch, why, compactRevision })
  }

  /** The hub has it no more. */
  #forget({ client, watch }: WatchTarget): void {
    this.#watchers.delete(watchKey(client, watch))
    const known = this.#clients.get(client)
    if (known === undefined || --known.count > 0) return
    this.#clients.delete(client)
    this.#ctx.unwatch(known.to)
  }

  #endAll(why: string): void {
    for (const watcher of [...this.#hub]) {
      this.#hub.delete(watcher)
      this.#end(watcher.target, why, 0)
    }
  }

  /** Something was applied. Hot: once an entry. */
  #changed(): void {
    this.#isChanged = true
    if (this.#hub.size > 0) this.#schedulePump()
    if (!this.#isTickDue) this.#scheduleTick()
  }

  /** Behind what is applied in this turn, so that a burst is sent together. */
  #schedulePump(): void {
    if (this.#isPumpDue) return
    this.#isPumpDue = true
    this.#ctx.pipe(Promise.resolve(), () => ({ type: 'pump' }))
  }

  // ---- The group, and what its leader has to do ------------------------------------------------------------------

  /** When there is something to look after: a thousand stores at rest cost nothing. */
  #scheduleTick(): void {
    if (this.#isTickDue || !this.#isTickNeeded()) return
    this.#isTickDue = true
    this.#ctx.timers.once('tick', this.#options.checkMs, { type: 'tick' })
  }

  #isTickNeeded(): boolean {
    if (this.#hub.size > 0) return true
    if (this.#standing.role !== 'leader') return false
    const { leases, quotaBytes } = this.#replica.machine.state
    return this.#isChanged || this.#isBusy || leases.size > 0 || quotaBytes !== this.#options.quotaBytes
  }

  tick(): void {
    this.#isTickDue = false
    this.#isChanged = false
    const nowMs = this.#ctx.now()
    const { timeMs } = this.#replica.machine.state
    if (timeMs !== this.#seenTimeMs) {
      this.#seenTimeMs = timeMs
      this.#seenAtMs = nowMs
    }
    this.#hub.sendBookmarks(this.#options.progressMs, nowMs)
    // What could not be sent is tried again.
    if (this.#hub.size > 0) this.#schedulePump()
    const since = this.#leaderlessSinceMs
    if (since !== undefined && nowMs - since >= this.#options.leaderlessMs) {
      this.#endAll(`node "${this.#standing.node}" knows no leader`)
    }
    if (this.#standing.role === 'leader' && !this.#isBusy) this.#lead(nowMs)
    this.#scheduleTick()
  }

  /** One duty at a time; the rest comes with a later tick. */
  #lead(nowMs: number): void {
    const { machine } = this.#replica
    // Late at most, and the log's own time decides: a lease that is not over when it is applied stays.
    const timeMs = this.#seenTimeMs + Math.floor(nowMs - this.#seenAtMs)
    const duty = leaderDuty(machine, this.#options, this.#standing.term, timeMs)
    if (duty !== undefined) this.#proposeOwn(duty)
  }

  #proposeOwn(command: KvCommand): void {
    this.#isBusy = true
    const done = (): void => {
      this.#isBusy = false
    }
    this.#group
      .propose(encodeKvCommand(command), { term: this.#standing.term })
      .then(done, (error: unknown) => {
        done()
        this.#ctx.log.debug(
          { err: error, duty: command.type },
          'a duty of the leader was not done, and is tried again',
        )
      })
  }

  #useStatus(status: GroupStatus): void {
    this.#standing = status
    this.#elsewhere = this.#makeElsewhere()
    if (status.leader !== undefined) this.#leaderlessSinceMs = undefined
    else this.#leaderlessSinceMs ??= this.#ctx.now()
    if (status.role === 'closed' || status.role === 'removed')
      this.#endAll(`node "${status.node}" is no member`)
    // What the leader before it did not come to do.
    this.#isChanged = true
    this.#scheduleTick()
  }

  #makeElsewhere(): Uint8Array {
    const { role, leader, node } = this.#standing
    if (role === 'closed' || role === 'removed') {
      return encodeKvReply({ kind: 'closed', why: `node "${node}" is no member of the group` })
    }
    return encodeKvReply({
      kind: 'not-leader',
      leader: leader === undefined || leader === node ? '' : leader,
    })
  }
}

function sessionOf({
  session,
  sequence,
  below,
}: {
  readonly session: number
  readonly sequence: number
  readonly below: number
}): SessionStamp | undefined {
  return session === 0 ? undefined : { session, sequence, answeredBelow: below }
}

function watchKey(client: string, watch: number): string {
  return `${client}/${watch}`
}

/** To somebody who does not speak as a client does. */
const badMessage = encodeKvReply({ kind: 'closed', why: 'the message holds no bytes where they belong' })
