/**
 * One life of a host: from the opening of its store to the crash or stop that ends it. All its methods but `post`,
 * `afterLoop`, `crash` and `openGroup` run in turns of the host's actor.
 */
import type { ActorContext, ActorRef, MessagesOf, Store } from '@understudy/runtime'
import { isActorError } from '@understudy/runtime'
import { EnvelopeKind, type Cell } from '@understudy/runtime/internal'
import { GroupClosed } from '../core/consensus-error.ts'
import { DeadlineHeap } from './deadline-heap.ts'
import { GroupPort, type PortHost } from './group-port.ts'
import { HostPulse, type PulseEffect } from './host-pulse.ts'
import type { HostBatch, hostOwn, HostProtocol } from './host-protocol.ts'
import type { HostedGroup } from './hosted-group.ts'
import type { HostLane } from './hosted-member.ts'
import { Outbox } from './outbox.ts'

type HostMessages = MessagesOf<typeof HostProtocol>
export type HostContext = ActorContext<HostMessages, typeof hostOwn>

/** Counted over all lives of a host. */
export interface HostCounters {
  batchesSent: number
  messagesSent: number
  batchesReceived: number
  messagesReceived: number
  /** Messages for groups that are not open here. They are answered nothing. */
  unknownGroup: number
  /** Batches that could not be read. */
  malformed: number
  /** Batches that were refused when they were sent. */
  unsent: number
  pulsesSent: number
}

export interface HostLifeParts {
  readonly cell: Cell
  readonly context: HostContext
  readonly store: Store
  readonly storeId: string
  readonly node: string
  /** Of this life alone, whatever the platform's chance was seeded with: what members draw must not come again. */
  readonly lifeId: string
  readonly groups: Map<string, HostedGroup>
  readonly refTo: (node: string) => ActorRef<HostMessages>
  readonly isGone: (node: string) => boolean
  readonly counters: HostCounters
}

interface TaskMessage {
  readonly type: 'task'
  readonly run: () => void
}

const flushMessage = Object.freeze({ type: 'flush' } as const)
const tickMessage = Object.freeze({ type: 'tick' } as const)
/** How often members are told, at most, that sends to one node are refused. */
const refusedEveryMs = 50
/** Failures of the store as a whole: no group of it can go on. */
const storeFailures: ReadonlySet<string> = new Set([
  'RUNTIME_STORE_FAILED',
  'RUNTIME_STORE_FULL',
  'RUNTIME_STORE_CLOSED',
  'RUNTIME_STORE_UNAVAILABLE',
])

export class HostLife implements PortHost {
  readonly node: string
  readonly storeId: string
  readonly store: Store
  readonly #parts: HostLifeParts
  readonly #heap = new DeadlineHeap<HostedGroup>()
  readonly #outbox = new Outbox()
  readonly #pulse = new HostPulse()
  /** When refused sends to a node are told of again. */
  readonly #refusedAgainMs = new Map<string, number>()
  #armedMs = Number.POSITIVE_INFINITY
  #isOver = false

  constructor(parts: HostLifeParts) {
    this.#parts = parts
    this.node = parts.node
    this.storeId = parts.storeId
    this.store = parts.store
    // Also what no write has met, such as a directory that was deleted.
    void parts.store.failed.then((error) => this.crash(error))
  }

  get isOver(): boolean {
    return this.#isOver
  }

  // ---- For the members -----------------------------------------------------------------------------------------

  readonly nowMs = (): number => this.#parts.context.now()

  readonly wallMs = (): number => this.#parts.context.wallMs()

  /** Hot (bench: raft). */
  send(group: string, node: string, payload: unknown, lane: HostLane): boolean {
    if (this.#isOver || this.#parts.isGone(node)) return false
    if (this.#outbox.add(node, lane, group, payload)) {
      this.#parts.cell.deliverOwn(flushMessage, EnvelopeKind.own, false)
    }
    this.#parts.counters.messagesSent++
    return true
  }

  /**
   * Behind everything that is in the mailbox now. The mailbox outlives this life: a task sees for itself whether what it is
   * about is still there.
   */
  post(run: () => void): void {
    const message: TaskMessage = { type: 'task', run }
    this.#parts.cell.deliverOwn(message, EnvelopeKind.own, false)
  }

  afterLoop(run: () => void): void {
    this.#parts.cell.kernel.platform.scheduler.afterLoop(() => this.post(run))
  }

  /** Ends this life at once. Harmless when it is over. */
  crash(error: unknown): void {
    if (this.#isOver) return
    this.#parts.cell.crash(error instanceof Error ? error : new Error(String(error)))
  }

  watchPulse(group: string, node: string, timeoutMs: number | undefined): void {
    if (timeoutMs === undefined) this.#pulse.unwatch(group, node)
    else this.#pulse.watch(group, node, timeoutMs, this.nowMs())
    this.#arm()
  }

  isPulseAlive(group: string, node: string): boolean {
    return this.#pulse.isAlive(group, node)
  }

  // ---- Groups --------------------------------------------------------------------------------------------------

  /** Makes the group's member of this life. Resolves when that has worked, failed, or become pointless. */
  async openGroup(group: HostedGroup): Promise<void> {
    const { context, groups, lifeId } = this.#parts
    const { name } = group
    let port: GroupPort | undefined
    try {
      port = new GroupPort(
        this,
        name,
        {
          store: this.store.scope(`group/${name}`),
          random: context.random.fork(`group/${name}/${lifeId}`),
          log: context.log.child({ group: name }),
        },
        () => this.#refresh(group),
      )
      group.port = port
      const member = await group.open(port)
      if (port.isOver) {
        member.close(new GroupClosed(`The group "${name}" was closed before it was open`, { group: name }))
        return
      }
      group.becomeOpen(member)
      port.rearm()
    } catch (error) {
      if (this.#isOver || port?.isOver === true) return
      if (storeFailures.has(isActorError(error) ? error.code : '')) {
        // Nothing is wrong with the group: the next life opens it.
        this.crash(error)
        return
      }
      groups.delete(name)
      this.forget(group)
      const reason = error instanceof Error ? error : new Error(String(error))
      context.log.error({ group: name, err: reason }, `group "${name}" cannot be opened: ${reason.message}`)
      group.end(reason)
    }
  }

  /** The group ends here: nothing is done for it any more. */
  forget(group: HostedGroup): void {
    this.#heap.remove(group)
    this.#pulse.forget(group.name)
  }

  /** This life is over: every member ends, for another one to follow unless `reason` is for good. */
  end(reason: Error): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#outbox.clear()
    for (const group of this.#parts.groups.values()) {
      this.#heap.remove(group)
      group.closeMember(reason)
    }
  }

  // ---- Turns ---------------------------------------------------------------------------------------------------

  /** Hot (bench: raft). */
  receive({ node, store, items }: HostBatch): void {
    const { groups, counters } = this.#parts
    counters.batchesReceived++
    if (
      typeof node !== 'string' ||
      typeof store !== 'string' ||
      !Array.isArray(items) ||
      items.length % 2 !== 0
    ) {
      counters.malformed++
      return
    }
    const list: readonly unknown[] = items
    for (let i = 0; i < list.length; i += 2) {
      const group = groups.get(list[i] as string)
      const member = group?.member
      if (group === undefined || member === undefined) {
        counters.unknownGroup++
        continue
      }
      counters.messagesReceived++
      member.receive(node, store, list[i + 1])
      this.#refresh(group)
    }
  }

  heardPulse({
    node,
    digest,
    groups,
  }: {
    readonly node: unknown
    readonly digest: unknown
    readonly groups: unknown
  }): void {
    if (typeof node !== 'string' || typeof digest !== 'number' || !Array.isArray(groups)) {
      this.#parts.counters.malformed++
      return
    }
    const names = groups.filter((name): name is string => typeof name === 'string')
    for (const effect of this.#pulse.heard(node, { digest, groups: names }, this.nowMs())) {
      this.#carryOut(effect)
    }
    // In a quiet host a timer that fires for nothing is half of all the work.
    this.#armedMs = Number.POSITIVE_INFINITY
    this.#arm()
  }

  task(message: unknown): void {
    const { run } = message as TaskMessage
    run()
  }

  tick(): void {
    this.#armedMs = Number.POSITIVE_INFINITY
    const nowMs = this.nowMs()
    for (const group of this.#heap.takeDue(nowMs)) {
      // One that was ended by another one's tick.
      if (group.member === undefined) continue
      group.member.tick()
      this.#refresh(group)
    }
    for (const effect of this.#pulse.tick(nowMs)) this.#carryOut(effect)
    this.#arm()
  }

  flush(): void {
    const { counters, context, refTo } = this.#parts
    const refused = this.#outbox.flush((node, lane, items) => {
      counters.batchesSent++
      if (context.tell(refTo(node), { type: lane, node: this.node, store: this.storeId, items })) return true
      counters.unsent++
      return false
    })
    for (const node of refused) this.#refused(node)
  }

  /** A member that answers by sending at once must not make a loop of it. */
  #refused(node: string): void {
    const nowMs = this.nowMs()
    if (nowMs < (this.#refusedAgainMs.get(node) ?? 0)) return
    this.#refusedAgainMs.set(node, nowMs + refusedEveryMs)
    this.unreachable(node)
  }

  /** Tells every group. */
  unreachable(node: string): void {
    for (const group of [...this.#parts.groups.values()]) this.#silent(group, node)
  }

  #carryOut(effect: PulseEffect): void {
    if (effect.type === 'pulse') {
      const { digest, groups } = effect.pulse
      const { context, counters, refTo } = this.#parts
      counters.pulsesSent++
      context.tell(refTo(effect.to), { type: 'pulse', node: this.node, digest, groups: [...groups] })
      return
    }
    const group = this.#parts.groups.get(effect.group)
    if (group === undefined) return
    if (effect.type === 'silent') return this.#silent(group, effect.node)
    if (group.member === undefined) return
    group.member.watched(effect.node)
    this.#refresh(group)
  }

  #silent(group: HostedGroup, node: string): void {
    if (group.member === undefined) return
    group.member.unreachable(node)
    this.#refresh(group)
  }

  /** The member was called: asks it for its deadline. */
  #refresh(group: HostedGroup): void {
    const { member } = group
    if (member === undefined || this.#isOver) return
    this.#heap.set(group, member.nextDeadlineMs() ?? Number.POSITIVE_INFINITY)
    this.#arm()
  }

  /** One timer for all. One that fires early costs less than one that is set anew for each message of a busy group. */
  #arm(): void {
    const nextMs = Math.min(this.#heap.nextMs, this.#pulse.nextDeadlineMs() ?? Number.POSITIVE_INFINITY)
    if (nextMs >= this.#armedMs || this.#isOver) return
    this.#armedMs = nextMs
    const { context } = this.#parts
    context.timers.once('tick', Math.max(0, nextMs - context.now()), tickMessage)
  }
}
