/**
 * When a node that starts becomes `alive`, so that nodes that are started in any order form one cluster and not several:
 * it joins the living, or it founds a cluster together with those it has met. Pure; one core for one life of a node.
 *
 * What is promised. A *founding group* is what a node that founds has met: itself and the `joining` members that it can
 * reach. A node founds only with a group of at least `expect`, and only while it knows of nobody who is `alive`. It joins
 * the living when it is linked with all of them and none is doubted: those that can be reached may be the side of a split
 * that loses, and whoever came to them would act on.
 *
 * 1. `expect` is more than half of all nodes that ever start: any two founding groups share a node, whatever is delayed,
 *    lost or started when. Two clusters that know nothing of each other cannot come to be while such a node lives.
 * 2. All nodes have a seed in common that listens before the others start, and answers within `aloneAfterMs`: that seed is in
 *    every founding group, or alive by then, whatever `expect` is.
 * 3. `expect` is at least 2, all nodes have that one seed and no other, and what is said over a standing link arrives within
 *    `stableMs`: the seed is in every founding group, or alive by then, whatever the order of the start.
 *
 * Groups that share a node are one cluster: that node is linked to the founders, who learn of each other from it in one round
 * of gossip; until then each may believe that it is the only one alive. Without 1, 2 and 3 several clusters may form; they
 * become one when a seed of one answers the other. Nodes that can all reach each other, and enough of which are started,
 * all become alive.
 */
import type { Core } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'

/** What happened. */
export type BootstrapInput =
  /** The members as the node sees them, at each change. Members that are leaving, down or left are left out. */
  | { readonly type: 'members'; readonly members: readonly BootstrapMember[] }
  /**
   * The addresses that are dialled, at each change; the node's own may be among them. `isPending`: a discovery has not
   * said anything yet, neither addresses nor a problem, so that there may be more to wait for.
   */
  | { readonly type: 'seeds'; readonly seeds: readonly NodeAddress[]; readonly isPending: boolean }
  /**
   * A dial of a seed has ended. `ok`: the handshake is done; `name` says who answered. Else `code` says why not
   * (`CLUSTER_DIALLED_ITSELF` too: nobody else is there).
   */
  | { readonly type: 'dial-result'; readonly address: NodeAddress; readonly ok: true; readonly name: string }
  | { readonly type: 'dial-result'; readonly address: NodeAddress; readonly ok: false; readonly code: string }
  /** Time passed: `nextDeadlineMs` was reached. */
  | { readonly type: 'tick' }

/** A member as far as it matters here. */
export interface BootstrapMember {
  readonly name: string
  /** `alive`: it is part of a cluster, suspect or not. */
  readonly status: 'joining' | 'alive'
  /** False while it is suspected or unreachable. True for the node itself. */
  readonly isReachable: boolean
  /** A control link to it stands, or none is wanted. True for the node itself. */
  readonly isLinked: boolean
}

/** What must be done: take part from now on. Once in the life of a core. */
export interface BootstrapEffect {
  readonly type: 'become-alive'
  /**
   * `joined`: `with` are the members that were alive. `founded`: nobody was; `with` is the founding group, the node itself
   * among them. Sorted.
   */
  readonly how: 'joined' | 'founded'
  readonly with: readonly string[]
}

export interface BootstrapOptions {
  /** The node's own name. */
  readonly name: string
  /** Where it is dialled by others: as a seed of its own it is not waited for. */
  readonly address?: NodeAddress | undefined
  /**
   * How many members must have been met before a cluster is founded, this node included, 1 to 10,000. More than half of
   * the nodes that will ever start makes it certain that only one is founded; such a cluster does not come up before
   * so many have started. It matters no more once somebody is alive. @default 1
   */
  readonly expect?: number | undefined
  /**
   * How long the members that were met must have been the same before a cluster is founded with them, in milliseconds, so
   * that who is linked to one is heard of by all. One probe interval. A node that founds alone does not wait. @default 1_000
   */
  readonly stableMs?: number | undefined
  /**
   * How long to wait at most for each seed to answer or to fail once, in milliseconds, counted from the first input. Higher
   * bears slower networks and delays the first node where a seed is silent. `local` preset: 1_000, others: @default 5_000
   */
  readonly aloneAfterMs?: number | undefined
  /**
   * For a node that was in a cluster before: of the members of its last view, so many must be met before it founds one, or
   * the losing side of a partition would begin anew beside the winners. The node counts when it is one of them. Joining
   * the living needs none of them. @default none
   */
  readonly required?: { readonly names: readonly string[]; readonly count: number } | undefined
}

/** What `BootstrapOptions` are when left out. */
export const bootstrapDefaults = Object.freeze({ expect: 1, stableMs: 1_000, aloneAfterMs: 5_000 })

/** What a node waits for. Plain data, for people and tools. */
export interface BootstrapStatus {
  readonly phase: 'waiting' | 'alive'
  /** One line: `waiting for 1 more of 2 expected members (met: a); seeds: ws://b:1 CLUSTER_DIAL_REFUSED`. */
  readonly summary: string
  readonly expect: number
  /** Who would be in the founding group now, the node itself among them. Sorted. */
  readonly met: readonly string[]
  /** Members that are alive and that this node waits for: it has no link with them, or they are doubted. Sorted. */
  readonly unmet: readonly string[]
  readonly seeds: readonly BootstrapSeed[]
}

export interface BootstrapSeed {
  readonly address: NodeAddress
  readonly state: 'dialling' | 'answered' | 'failed'
  /** Who answered. */
  readonly name?: string | undefined
  /** Why the last dial failed. */
  readonly code?: string | undefined
}

/** A group that keeps changing is founded with all the same after so many times `stableMs` of being large enough. */
const unstableTimesMax = 5

/** `majorityOf(['a', 'b', 'c'])`: what `required` is after the removal from that view. */
export function majorityOf(names: readonly string[]): {
  readonly names: readonly string[]
  readonly count: number
} {
  const unique = [...new Set(names)].sort(compareText)
  return { names: unique, count: Math.floor(unique.length / 2) + 1 }
}

export class BootstrapCore implements Core<BootstrapInput, BootstrapEffect, BootstrapStatus> {
  readonly #name: string
  readonly #address: NodeAddress | undefined
  readonly #expect: number
  readonly #stableMs: number
  readonly #aloneAfterMs: number
  readonly #required: { readonly names: ReadonlySet<string>; readonly count: number }
  #members: readonly BootstrapMember[] = []
  /** Of `#members`: looked through once when they come, and not with each of the dials that fail. */
  #metNames: readonly string[] = []
  #livingMembers: readonly BootstrapMember[] = []
  #unmetNames: readonly string[] = []
  readonly #seeds = new Map<NodeAddress, BootstrapSeed>()
  #isPending = false
  #startMs: number | undefined
  /** The founding group as of the last step, as text, and since when it has been that. */
  #group = ''
  #sameSinceMs = 0
  /** Since when the group has been large enough without a break. */
  #enoughSinceMs: number | undefined
  /** Where founding waits for nothing but time, that time. */
  #deadlineMs: number | undefined
  #isAlive = false

  /** @throws {RangeError} if an option is out of range */
  constructor(options: BootstrapOptions) {
    this.#name = options.name
    this.#address = options.address
    this.#expect = options.expect ?? bootstrapDefaults.expect
    this.#stableMs = options.stableMs ?? bootstrapDefaults.stableMs
    this.#aloneAfterMs = options.aloneAfterMs ?? bootstrapDefaults.aloneAfterMs
    const required = options.required ?? { names: [], count: 0 }
    this.#required = { names: new Set(required.names), count: required.count }
    this.#useMembers([{ name: this.#name, status: 'joining', isReachable: true, isLinked: true }])
    checkRange('expect', this.#expect, 1, 10_000, Number.isInteger(this.#expect))
    checkRange('stableMs', this.#stableMs, 0, 3_600_000)
    checkRange('aloneAfterMs', this.#aloneAfterMs, 0, 3_600_000)
    const most = this.#required.names.size
    checkRange('required.count', this.#required.count, 0, most, Number.isInteger(this.#required.count))
  }

  readonly step = (input: BootstrapInput, nowMs: number): readonly BootstrapEffect[] => {
    this.#startMs ??= nowMs
    this.#take(input)
    return this.#isAlive ? [] : this.#decide(nowMs, this.#startMs)
  }

  readonly nextDeadlineMs = (): number | undefined => (this.#isAlive ? undefined : this.#deadlineMs)

  readonly status = (): BootstrapStatus => {
    const met = this.#metNames
    return {
      phase: this.#isAlive ? 'alive' : 'waiting',
      summary: this.#isAlive ? 'alive' : this.#summary(met),
      expect: this.#expect,
      met,
      unmet: this.#unmetNames,
      seeds: [...this.#seeds.values()].map((seed) => ({ ...seed })),
    }
  }

  #take(input: BootstrapInput): void {
    switch (input.type) {
      case 'members':
        this.#useMembers(input.members.map((member) => ({ ...member })))
        break
      case 'seeds': {
        this.#isPending = input.isPending
        const before = new Map(this.#seeds)
        this.#seeds.clear()
        for (const address of input.seeds) {
          if (address === this.#address) continue
          this.#seeds.set(address, before.get(address) ?? { address, state: 'dialling' })
        }
        break
      }
      case 'dial-result': {
        const { address } = input
        // Of a seed that is none any more.
        if (!this.#seeds.has(address)) break
        this.#seeds.set(
          address,
          input.ok
            ? { address, state: 'answered', name: input.name }
            : { address, state: 'failed', code: input.code },
        )
        break
      }
      case 'tick':
        break
      default:
        return unreachable(input)
    }
  }

  #decide(nowMs: number, startMs: number): readonly BootstrapEffect[] {
    const met = this.#metNames
    const living = this.#livingMembers
    this.#deadlineMs = undefined
    if (living.length > 0) {
      this.#group = ''
      this.#enoughSinceMs = undefined
      // While one of them is doubted it waits: whether that one is dead is not for somebody who starts to say, and these here
      // may be the side of a split that loses.
      return this.#unmetNames.length === 0
        ? this.#become('joined', living.map(({ name }) => name).sort(compareText))
        : []
    }
    this.#watchGroup(met, nowMs)
    if (this.#enoughSinceMs === undefined) return []
    const foundsMs = Math.max(this.#stableAtMs(met, this.#enoughSinceMs), this.#heardAtMs(startMs))
    if (nowMs >= foundsMs) return this.#become('founded', met)
    this.#deadlineMs = foundsMs
    return []
  }

  #become(how: BootstrapEffect['how'], others: readonly string[]): readonly BootstrapEffect[] {
    this.#isAlive = true
    return [{ type: 'become-alive', how, with: others }]
  }

  #watchGroup(met: readonly string[], nowMs: number): void {
    const group = met.join(' ')
    if (group !== this.#group) this.#sameSinceMs = nowMs
    this.#group = group
    const isEnough = met.length >= this.#expect && this.#missingOfLastView(met) === 0
    this.#enoughSinceMs = isEnough ? (this.#enoughSinceMs ?? nowMs) : undefined
  }

  /** When the group has been the same for long enough, or large enough for so long that it need not be. */
  #stableAtMs(met: readonly string[], enoughSinceMs: number): number {
    if (met.length === 1) return enoughSinceMs
    return Math.max(
      enoughSinceMs,
      Math.min(this.#sameSinceMs + this.#stableMs, enoughSinceMs + unstableTimesMax * this.#stableMs),
    )
  }

  /** When nobody is waited for any more: at once when each seed has been heard of, at the latest when the time is up. */
  #heardAtMs(startMs: number): number {
    const isHeard = !this.#isPending && [...this.#seeds.values()].every((seed) => this.#isSettled(seed))
    return isHeard ? startMs : startMs + this.#aloneAfterMs
  }

  /** It failed once, or who answered there is among the members: before that, what it knows has not come. */
  #isSettled(seed: BootstrapSeed): boolean {
    if (seed.state === 'answered') return this.#members.some(({ name }) => name === seed.name)
    return seed.state === 'failed'
  }

  #useMembers(members: readonly BootstrapMember[]): void {
    this.#members = members
    const names = members
      .filter(({ name, status, isReachable }) => name === this.#name || (status === 'joining' && isReachable))
      .map(({ name }) => name)
    this.#metNames = [...new Set([this.#name, ...names])].sort(compareText)
    this.#livingMembers = members.filter(({ name, status }) => status === 'alive' && name !== this.#name)
    this.#unmetNames = this.#livingMembers
      .filter(({ isReachable, isLinked }) => !isReachable || !isLinked)
      .map(({ name }) => name)
      .sort(compareText)
  }

  #missingOfLastView(met: readonly string[]): number {
    const { names, count } = this.#required
    return Math.max(0, count - met.filter((name) => names.has(name)).length)
  }

  #summary(met: readonly string[]): string {
    const living = this.#livingMembers.length
    const seeds = this.#seedsText()
    if (living > 0) {
      return `waiting for a link with ${this.#unmetNames.join(', ')}, of ${living} members that are alive, or for their end; ${seeds}`
    }
    const missing = this.#expect - met.length
    if (missing > 0) {
      return `waiting for ${missing} more of ${this.#expect} expected members (met: ${met.join(', ')}); ${seeds}`
    }
    const rest = this.#missingOfLastView(met)
    if (rest > 0) {
      const absent = [...this.#required.names].filter((name) => !met.includes(name)).sort(compareText)
      return (
        `waiting for ${rest} more of the ${this.#required.names.size} members of the last view ` +
        `(one of ${absent.slice(0, 10).join(', ')}), or for anybody who is alive; ${seeds}`
      )
    }
    return `waiting for the seeds to answer, and for the members to stay the same (met: ${met.join(', ')}); ${seeds}`
  }

  #seedsText(): string {
    const shown = [...this.#seeds.values()]
      .slice(0, 10)
      .map(
        ({ address, state, name, code }) =>
          `${address} ${code ?? (name === undefined ? state : `is ${name}`)}`,
      )
    const more = this.#seeds.size > shown.length ? [`${this.#seeds.size - shown.length} more`] : []
    const pending = this.#isPending ? ['the discovery has not answered yet'] : []
    const parts = [...shown, ...more, ...pending]
    return `seeds: ${parts.length === 0 ? 'none' : parts.join(', ')}`
  }
}

function checkRange(option: string, value: number, least: number, most: number, isWhole = true): void {
  if (isWhole && value >= least && value <= most) return
  throw new RangeError(`Cannot start a cluster with ${option} ${value}: it must be from ${least} to ${most}`)
}

/** By UTF-16 code unit: the same on every machine. */
function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function unreachable(input: never): never {
  throw new TypeError(`Cannot take the input ${JSON.stringify(input)}: its type is unknown`)
}
