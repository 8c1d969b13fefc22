/**
 * The store's service on one node: takes requests from clients, hands changes to the group, answers reads from this member's
 * state, serves watches, and does what a leader has to do. It holds nothing that a restart would lose but watches, which
 * their clients take up again.
 */
import {
  actor,
  tell,
  type ActorContext,
  type ActorRef,
  type Definition,
  type MessageOf,
} from '@understudy/runtime'
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import { DutyLoop } from '../service/duty-loop.ts'
import { badMessage, GroupDesk, stampOf, type Answer } from '../service/group-desk.ts'
import { encodeKvCommand } from './kv-codec.ts'
import type { KvResult } from './kv-command.ts'
import {
  encodeKvReply,
  encodeKvWriteReply,
  KvService,
  type KvServiceMessages,
  type KvWatcherMessages,
  type WatchRequest,
} from './kv-protocol.ts'
import { leaderDuty } from './kv-leader-duty.ts'
import { KvReader } from './kv-reader.ts'
import type { KvReplica } from './kv-replica.ts'
import type { CheckedKvServiceOptions } from './kv-service-options.ts'
import { WatchHub, type Watcher } from './kv-watch-hub.ts'

const own = { tick: tell(), pump: tell(), clientGone: tell({ client: { type: 'string' } as object }) }

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
  readonly #desk: GroupDesk<KvResult>
  readonly #duties: DutyLoop<KvResult>
  #leaderlessSinceMs: number | undefined
  #isPumpDue = false
  #isTickDue = false
  /** Something was applied since the last tick. */
  #isChanged = false

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
    this.#duties = new DutyLoop(ctx, group)
    this.#desk = new GroupDesk(ctx, group, {
      what: 'the store',
      encodeResult: encodeKvWriteReply,
      encodeBadRequest: (message) => this.#badRequest(message),
      onStanding: (status) => this.#useStatus(status),
    })
    const end = replica.onChange(() => this.#changed())
    ctx.defer(() => {
      end()
      this.#desk.close()
    })
    this.#useStatus(this.#desk.standing)
  }

  // ---- Requests ------------------------------------------------------------------------------------------------

  /** Hot (benchmark: raft). */
  write(message: MessageOf<KvServiceMessages, 'write'>): Answer {
    return this.#desk.propose(message.command, stampOf(message))
  }

  keepAlive({ command }: { readonly command: Uint8Array }): Answer {
    return this.#desk.propose(command, undefined)
  }

  read({ request, consistency }: MessageOf<KvServiceMessages, 'read'>): Answer {
    if (!(request instanceof Uint8Array)) return badMessage
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    const timeoutMs = this.#desk.timeLeft(call.deadlineMs)
    // Also what is local: a new life of the member has no state to read at first.
    this.#group.read({ consistency, timeoutMs }).then(
      () => owed.reply(this.#reader.answer(this.#replica.machine, request)),
      (error: unknown) => owed.reply(this.#desk.failure(error)),
    )
    return owed
  }

  openSession({ ttlMs }: { readonly ttlMs: number }): Answer {
    return this.#desk.openSession(ttlMs)
  }

  status(): Readonly<Record<string, unknown>> {
    const { name, node, role, leader, term, commit, applied, members } = this.#group.status()
    return {
      group: { name, node, role, leader, term, commit, applied, members },
      store: this.#replica.machine.status(),
      watches: this.#hub.size,
    }
  }

  #badRequest(message: string): Uint8Array {
    const { revision } = this.#replica.machine
    const result = { ok: false, revision, error: { code: 'KV_BAD_REQUEST', message } } as const
    return encodeKvReply({ kind: 'result', result })
  }

  // ---- Watches -------------------------------------------------------------------------------------------------

  watch(request: WatchRequest): Answer {
    if (this.#hub.size >= this.#options.watchersMax) {
      return encodeKvReply({ kind: 'overloaded', why: `this node serves ${this.#hub.size} watches already` })
    }
    if (this.#desk.standing.leader === undefined) return this.#desk.elsewhere
    if (request.revision > 0) return this.#startWatch(request, request.revision)
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.read({ timeoutMs: this.#desk.timeLeft(call.deadlineMs) }).then(
      () => owed.reply(this.#startWatch(request, this.#replica.machine.revision + 1)),
      (error: unknown) => owed.reply(this.#desk.failure(error)),
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
    // In all: what was said before may have been lost.
    watcher.credit += Math.max(0, bytes - watcher.given)
    watcher.given = Math.max(watcher.given, bytes)
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
      this.#end(watcher.target, `your node is no member for node "${this.#desk.standing.node}"`, 0)
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
    if (!this.#desk.isLeader) return false
    const { leases, quotaBytes } = this.#replica.machine.state
    return (
      this.#isChanged || this.#duties.isBusy || leases.size > 0 || quotaBytes !== this.#options.quotaBytes
    )
  }

  tick(): void {
    this.#isTickDue = false
    this.#isChanged = false
    const nowMs = this.#ctx.now()
    this.#duties.see(this.#replica.machine.state.timeMs)
    this.#hub.sendBookmarks(this.#options.progressMs, nowMs)
    // What could not be sent is tried again.
    if (this.#hub.size > 0) this.#schedulePump()
    const since = this.#leaderlessSinceMs
    if (since !== undefined && nowMs - since >= this.#options.leaderlessMs) {
      this.#endAll(`node "${this.#desk.standing.node}" knows no leader`)
    }
    if (this.#desk.isLeader) this.#lead(this.#desk.standing.term)
    this.#scheduleTick()
  }

  /** One duty at a time; the rest comes with a later tick. */
  #lead(term: number): void {
    this.#duties.lead(term, (timeMs) => {
      const duty = leaderDuty(this.#replica.machine, this.#options, term, timeMs)
      return duty && { command: encodeKvCommand(duty), what: duty.type }
    })
  }

  #useStatus(status: GroupStatus): void {
    if (status.leader !== undefined) this.#leaderlessSinceMs = undefined
    else this.#leaderlessSinceMs ??= this.#ctx.now()
    if (status.role === 'closed' || status.role === 'removed')
      this.#endAll(`node "${status.node}" is no member`)
    // What the leader before it did not come to do.
    this.#isChanged = true
    this.#scheduleTick()
  }
}

function watchKey(client: string, watch: number): string {
  return `${client}/${watch}`
}
