/** One definition as one system runs it: its options worked out once, and its counters. Shared by all its cells. */
import type { Logger } from '../platform/log.ts'
import type { AnyDefinition, ChildSpec, OverflowPolicy } from './behaviour.ts'
import { defaultIntensity, type Intensity, type Strategy } from './child-spec.ts'
import type { Isolation } from './isolation.ts'
import type { MessageDefs, Protocol } from './protocol.ts'

/** The user lane is unbounded by default; these many waiting messages are warned of, and each doubling. */
export const mailboxWarnAt = 1_000
export const stashMaxDefault = 1_000

/** Counters of one definition. Plain numbers; read by `system.status()` and the metrics. */
export interface KindCounters {
  spawned: number
  living: number
  restarts: number
  messages: number
  deadLetters: number
  crashes: number
}

export class ActorKind {
  readonly definition: AnyDefinition
  readonly name: string
  readonly protocol: Protocol
  readonly setup: (context: unknown, input: unknown) => unknown
  readonly children: readonly ChildSpec[]
  /** The messages others may send. */
  readonly messages: MessageDefs
  /** The actor's own, or null when it has none: then one pointer test is all they cost. */
  readonly own: MessageDefs | null
  /** A message from outside is looked at before it is queued. */
  readonly guarded: boolean
  /** Every queued message passes `Cell.append`'s fast path. */
  readonly plain: boolean
  readonly messagesMax: number
  readonly overflow: OverflowPolicy
  readonly lowWater: number
  readonly stashMax: number
  readonly handlerTimeoutMs: number
  readonly concurrent: ReadonlySet<string> | null
  /** Priority by type, and the distinct priorities from high to low; null without priorities. */
  readonly priorities: ReadonlyMap<string, number> | null
  readonly levels: readonly number[] | null
  readonly keepChildren: boolean
  readonly strategy: Strategy
  readonly intensity: {
    readonly restarts: number
    readonly withinMs: number
    readonly per: 'supervisor' | 'child'
  }
  readonly log: Logger
  readonly counters: KindCounters = {
    spawned: 0,
    living: 0,
    restarts: 0,
    messages: 0,
    deadLetters: 0,
    crashes: 0,
  }

  constructor(definition: AnyDefinition, isolation: Isolation, log: Logger) {
    const { options, own, setup, children } = definition.body
    this.definition = definition
    this.name = definition.name
    this.protocol = definition.protocol
    this.setup = setup
    this.children = children
    this.messages = definition.protocol.messages
    this.own = Object.keys(own).length === 0 ? null : own
    this.guarded = isolation !== 'reference' || this.own !== null
    this.messagesMax = options.mailbox?.messagesMax ?? Number.POSITIVE_INFINITY
    this.overflow = options.mailbox?.overflow ?? 'reject'
    this.lowWater =
      options.mailbox?.lowWater ??
      (this.messagesMax === Number.POSITIVE_INFINITY
        ? mailboxWarnAt / 2
        : Math.max(1, Math.floor(this.messagesMax / 2)))
    this.stashMax = options.stashMax ?? stashMaxDefault
    this.handlerTimeoutMs = options.handlerTimeoutMs ?? Number.POSITIVE_INFINITY
    this.concurrent =
      options.concurrent === undefined || options.concurrent.length === 0 ? null : new Set(options.concurrent)
    const priorities = Object.entries(options.priority ?? {})
    this.priorities = priorities.length === 0 ? null : new Map(priorities)
    this.levels =
      this.priorities === null ? null : [...new Set([...this.priorities.values(), 0])].sort((a, b) => b - a)
    this.plain = this.priorities === null && this.messagesMax === Number.POSITIVE_INFINITY
    this.keepChildren = options.keepChildren ?? false
    this.strategy = options.supervision?.strategy ?? 'one-for-one'
    const { restarts, withinMs, per }: Intensity = options.supervision?.intensity ?? defaultIntensity
    this.intensity = { restarts, withinMs, per: per ?? defaultIntensity.per }
    this.log = log.child({ actor: this.name })
  }
}
