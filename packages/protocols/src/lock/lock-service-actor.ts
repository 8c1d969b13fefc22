/**
 * The lock table's service on one node: takes requests from clients, hands commands to the group, answers reads from this member's
 * state, and, while it leads, tells clients of their grants and ends the sessions that are over. It holds nothing that a restart
 * would lose but attachments and waiting views, which their clients take up again.
 */
import { actor, tell, type ActorContext, type Definition, type MessageOf } from '@understudy/runtime'
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import { DutyLoop } from '../service/duty-loop.ts'
import { GroupDesk, stampOf, type Answer } from '../service/group-desk.ts'
import { beginResults } from '../service/service-reply.ts'
import { LockAttachments } from './lock-attachments.ts'
import { encodeLockCommand, writeLockResult } from './lock-codec.ts'
import type { LockResult } from './lock-command.ts'
import { lockLeaderDuty } from './lock-leader-duty.ts'
import type { LockMachine } from './lock-machine.ts'
import { isNews, LockPolls, type ViewWish } from './lock-polls.ts'
import {
  encodeLockOther,
  encodeLockReply,
  encodeLockViews,
  encodeLockWriteReply,
  LockService,
  type LockServiceMessages,
} from './lock-protocol.ts'
import { badRequest, sessionLost } from './lock-refusal.ts'
import type { LockReplica } from './lock-replica.ts'
import type { CheckedLockServiceOptions } from './lock-service-options.ts'

/** Names of one answer to `list`. */
const listMax = 1_024

const own = { tick: tell(), check: tell(), clientGone: tell({ client: { type: 'string' } as object }) }

type Context = ActorContext<LockServiceMessages, typeof own>

/** The actor of one node. `group` and `replica` belong together. */
export function lockServiceActor(
  group: ConsensusGroup<LockResult>,
  replica: LockReplica,
  options: CheckedLockServiceOptions,
): Definition<LockServiceMessages, void> {
  return actor(LockService, { name: `locks-${options.name}`, own }, (ctx) => {
    const service = new Service(ctx, group, replica, options)
    return {
      write: (message) => service.write(message),
      openSession: ({ ttlMs }) => service.openSession(ttlMs),
      control: ({ command }) => service.control(command),
      states: (message) => service.states(message),
      view: (message) => service.view(message),
      list: (message) => service.list(message),
      attach: (message) => service.attach(message),
      status: () => service.status(),
      tick: () => service.tick(),
      check: () => service.check(),
      clientGone: ({ client }) => service.clientGone(String(client)),
    }
  })
}

/** One incarnation. */
class Service {
  readonly #ctx: Context
  readonly #group: ConsensusGroup<LockResult>
  readonly #replica: LockReplica
  readonly #options: CheckedLockServiceOptions
  readonly #desk: GroupDesk<LockResult>
  readonly #duties: DutyLoop<LockResult>
  readonly #attachments: LockAttachments
  readonly #polls = new LockPolls<LockMachine>()
  /** Views that wait, those too that have not been read yet. */
  #waiting = 0
  /** The term in which the attachments were made. */
  #term = 0
  #isTickDue = false
  #isCheckDue = false
  /** Something was applied since the last tick. */
  #isChanged = false

  constructor(
    ctx: Context,
    group: ConsensusGroup<LockResult>,
    replica: LockReplica,
    options: CheckedLockServiceOptions,
  ) {
    this.#ctx = ctx
    this.#group = group
    this.#replica = replica
    this.#options = options
    this.#attachments = new LockAttachments({
      // Not of this incarnation: the last of it is that it has ended.
      tell: (to, message) => void to.tell(message),
      watch: (client, to) => ctx.watch(to, () => ({ type: 'clientGone', client })),
      unwatch: (to) => ctx.unwatch(to),
    })
    this.#duties = new DutyLoop(ctx, group)
    this.#desk = new GroupDesk(ctx, group, {
      what: 'the lock table',
      encodeResult: encodeLockWriteReply,
      encodeBadRequest: (message) => encodeLockReply({ ok: false, error: badRequest(message) }),
      onStanding: (status) => this.#useStatus(status),
    })
    const end = replica.listen({
      onGrant: (grants) => this.#attachments.grant(grants),
      onRefused: (requests) => this.#attachments.refuse(requests),
      onSessionOver: (sessions) => this.#attachments.over(sessions),
      onChange: (names) => this.#changed(names),
    })
    ctx.defer(() => {
      end()
      this.#desk.close()
      this.#attachments.endAll('the service was restarted or ended')
    })
    this.#useStatus(this.#desk.standing)
  }

  // ---- Requests ------------------------------------------------------------------------------------------------

  /** Hot (benchmark: locks). */
  write(message: MessageOf<LockServiceMessages, 'write'>): Answer {
    return this.#desk.propose(message.command, stampOf(message))
  }

  openSession(ttlMs: number): Answer {
    return this.#desk.openSession(ttlMs)
  }

  control(command: Uint8Array): Answer {
    return this.#desk.propose(command, undefined)
  }

  states({ session, requests }: MessageOf<LockServiceMessages, 'states'>): Answer {
    return this.#read(() => {
      const { machine } = this.#replica
      const writer = beginResults(requests.length * 12 + 8)
      for (const request of requests)
        writeLockResult(writer, { ok: true, result: machine.state(session, request) })
      return writer.take()
    })
  }

  list({ prefix, after }: MessageOf<LockServiceMessages, 'list'>): Answer {
    return this.#read(() => {
      const views = this.#replica.machine.list(prefix, listMax + 1, after)
      return encodeLockViews(views.slice(0, listMax), views.length > listMax)
    })
  }

  view({ name, afterVersion, afterToken, waitMs }: MessageOf<LockServiceMessages, 'view'>): Answer {
    const { pollMs, pollsMax } = this.#options
    const isPoll = waitMs > 0
    if (isPoll && this.#waiting >= pollsMax) {
      const why = `${this.#waiting} views wait on this node already`
      return encodeLockOther({ kind: 'overloaded', why })
    }
    const owed = this.#ctx.call().later<Uint8Array>()
    const untilMs = this.#ctx.now() + Math.min(waitMs, pollMs)
    if (isPoll) this.#waiting++
    this.#poll({ name, afterVersion, afterToken }, untilMs, (bytes) => {
      if (isPoll) this.#waiting--
      owed.reply(bytes)
    })
    return owed
  }

  status(): Readonly<Record<string, unknown>> {
    const { name, node, role, leader, term, commit, applied, members } = this.#group.status()
    return {
      group: { name, node, role, leader, term, commit, applied, members },
      locks: this.#replica.machine.status(),
      attachments: this.#attachments.size,
      polls: this.#waiting,
    }
  }

  /** Linearizable. */
  #read(answer: () => Uint8Array): Answer {
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.read({ timeoutMs: this.#desk.timeLeft(call.deadlineMs) }).then(
      () => owed.reply(answer()),
      (error: unknown) => owed.reply(this.#desk.failure(error)),
    )
    return owed
  }

  // ---- Views that wait -------------------------------------------------------------------------------------------

  /** What it is answered with is never older than what was there when it came, also when this member begins another life. */
  #poll(wish: ViewWish, untilMs: number, reply: (bytes: Uint8Array) => void): void {
    this.#group.read().then(
      () => {
        const { machine } = this.#replica
        const view = machine.view(wish.name)
        if (untilMs <= this.#ctx.now() || isNews(view, wish)) {
          reply(encodeLockOther({ kind: 'view', view }))
          return
        }
        this.#polls.add({
          ...wish,
          untilMs,
          state: machine,
          answer: (now) => reply(encodeLockOther({ kind: 'view', view: now })),
          again: () => this.#poll(wish, untilMs, reply),
        })
        this.#scheduleTick()
      },
      (error: unknown) => reply(this.#desk.failure(error)),
    )
  }

  check(): void {
    this.#isCheckDue = false
    const { machine } = this.#replica
    this.#polls.check(machine, (name) => machine.view(name))
  }

  /** Something was applied. Hot: once an entry. */
  #changed(names: ReadonlySet<string> | undefined): void {
    this.#isChanged = true
    if (this.#polls.size > 0 && this.#polls.touch(names)) this.#scheduleCheck()
    if (!this.#isTickDue) this.#scheduleTick()
  }

  /** Behind what is applied in this turn, so that a burst is looked at once. */
  #scheduleCheck(): void {
    if (this.#isCheckDue) return
    this.#isCheckDue = true
    this.#ctx.pipe(Promise.resolve(), () => ({ type: 'check' }))
  }

  // ---- Attachments -------------------------------------------------------------------------------------------------

  /** In force from here on, so that nothing falls between; answered when the group has confirmed that this member leads. */
  attach(wish: MessageOf<LockServiceMessages, 'attach'>): Answer {
    if (!this.#desk.isLeader) return this.#desk.elsewhere
    const { session } = wish
    const attachments = this.#attachments
    if (attachments.size >= this.#options.attachmentsMax && !attachments.has(session)) {
      const why = `${attachments.size} sessions are attached to this node already`
      return encodeLockOther({ kind: 'overloaded', why })
    }
    attachments.add(wish)
    const call = this.#ctx.call()
    const owed = call.later<Uint8Array>()
    this.#group.read({ timeoutMs: this.#desk.timeLeft(call.deadlineMs) }).then(
      () => {
        if (this.#replica.machine.hasSession(session)) {
          owed.reply(encodeLockOther({ kind: 'opened', number: wish.attachment, progressMs: 0 }))
          return
        }
        attachments.remove(wish)
        owed.reply(encodeLockReply({ ok: false, error: sessionLost(session) }))
      },
      (error: unknown) => {
        attachments.remove(wish)
        owed.reply(this.#desk.failure(error))
      },
    )
    return owed
  }

  /** It has ended, or its node is no member here: then it is there all the same, and has to hear of it. */
  clientGone(client: string): void {
    const why = `your node is no member for node "${this.#desk.standing.node}"`
    this.#attachments.dropClient(client, why)
  }

  // ---- The group, and what its leader has to do ------------------------------------------------------------------

  /** When there is something to look after: a thousand tables at rest cost nothing. */
  #scheduleTick(): void {
    if (this.#isTickDue || !this.#isTickNeeded()) return
    this.#isTickDue = true
    this.#ctx.timers.once('tick', this.#options.checkMs, { type: 'tick' })
  }

  #isTickNeeded(): boolean {
    if (this.#polls.size > 0) return true
    if (!this.#desk.isLeader) return false
    if (this.#isChanged || this.#duties.isBusy) return true
    const { machine } = this.#replica
    return machine.status().sessions > 0 || machine.hasSpinsOver(Number.POSITIVE_INFINITY)
  }

  tick(): void {
    this.#isTickDue = false
    this.#isChanged = false
    const { machine } = this.#replica
    this.#duties.see(machine.status().timeMs)
    if (this.#polls.size > 0) this.#polls.expire(machine, (name) => machine.view(name), this.#ctx.now())
    if (this.#desk.isLeader) this.#lead(this.#desk.standing.term)
    this.#scheduleTick()
  }

  /** One duty at a time; the rest comes with a later tick. */
  #lead(term: number): void {
    this.#duties.lead(term, (timeMs) => {
      const duty = lockLeaderDuty(this.#replica.machine, term, timeMs)
      return duty && { command: encodeLockCommand(duty), what: duty.type }
    })
  }

  #useStatus({ role, term, node }: GroupStatus): void {
    if (role !== 'leader' || term !== this.#term)
      this.#attachments.endAll(`node "${node}" does not lead as it did`)
    this.#term = term
    // To be told by the group itself that this node is no member.
    if (role === 'closed' || role === 'removed') this.#polls.restart()
    // What the leader before it did not come to do.
    this.#isChanged = true
    this.#scheduleTick()
  }
}
