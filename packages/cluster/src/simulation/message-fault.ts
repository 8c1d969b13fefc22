/**
 * Loss, duplication, replay and reordering of single messages, for protocols that declare `delivery: 'lossy'`: SWIM,
 * Raft and others that must bear it. They act above the codec, on tells alone: the streams below stay streams.
 */
import type { SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import type { NetworkPath, Undo } from './network-path.ts'

export const messageFaultNames = Object.freeze([
  'message-loss',
  'message-duplicate',
  'message-replay',
  'message-reorder',
] as const)
export type MessageFaultName = (typeof messageFaultNames)[number]

/** Which messages a fault meets; left out: all. */
export interface MessageFilter {
  /** Names of machines. */
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly protocol?: string | undefined
  /** The message's name. */
  readonly type?: string | undefined
  /** How likely it meets one that fits. Above 0. @default 1 */
  readonly p?: number | undefined
}

interface Rule extends MessageFilter {
  readonly name: MessageFaultName
  readonly p: number
}

/** A kind of message that was seen. */
export interface SeenMessage {
  readonly protocol: string
  readonly type: string
}

/** How late what is overtaken, or comes again, may be. Milliseconds. */
const reorderMs = [1, 2, 5, 10, 20, 50, 100, 200] as const
const replayMs = [10, 50, 200, 1_000, 2_000, 5_000, 10_000, 30_000] as const
const seenMax = 1_000

export class MessageFaults {
  readonly #simulation: Simulation
  readonly #rules = new Set<Rule>()
  readonly #seen = new Map<string, SeenMessage>()

  constructor(simulation: Simulation) {
    this.#simulation = simulation
  }

  /** The kinds of messages of lossy protocols that were told so far, in the order in which they were first seen. */
  get seen(): readonly SeenMessage[] {
    return [...this.#seen.values()]
  }

  add(name: MessageFaultName, filter: MessageFilter): Undo {
    const p = filter.p ?? 1
    if (!(p > 0 && p <= 1)) {
      throw new RangeError(`Cannot inject ${name}: p must be above 0 and at most 1, got ${p}`)
    }
    const rule = { ...filter, name, p }
    this.#rules.add(rule)
    return () => void this.#rules.delete(rule)
  }

  /** Decides what becomes of one message: `deliver` is called never, now, later, or twice. */
  pass(path: NetworkPath, life: SimulatedProcess, protocol: string, type: string, deliver: () => void): void {
    const key = `${protocol}.${type}`
    if (!this.#seen.has(key) && this.#seen.size < seenMax) this.#seen.set(key, { protocol, type })
    for (const rule of this.#rules) {
      if (!fits(rule, path, protocol, type)) continue
      const choices = this.#simulation.choices.stream(`${path.label}/${rule.name}`)
      if (!choices.chance(rule.p)) continue
      this.#simulation.fault(rule.name, `${key} from ${path.from.name}`, path.to.name)
      if (rule.name === 'message-loss') return
      if (rule.name === 'message-reorder') {
        this.#later(life, reorderMs[choices.choose(reorderMs.length)] ?? 0, deliver)
        return
      }
      deliver()
      if (rule.name === 'message-duplicate') deliver()
      else this.#later(life, replayMs[choices.choose(replayMs.length)] ?? 0, deliver)
      return
    }
    deliver()
  }

  #later(life: SimulatedProcess, ms: number, deliver: () => void): void {
    this.#simulation.at(this.#simulation.nowMs + ms, life, 'message-late', deliver)
  }
}

function fits(rule: Rule, path: NetworkPath, protocol: string, type: string): boolean {
  return (
    (rule.type === undefined || rule.type === type) &&
    (rule.protocol === undefined || rule.protocol === protocol) &&
    (rule.from === undefined || rule.from === path.from.name) &&
    (rule.to === undefined || rule.to === path.to.name)
  )
}
