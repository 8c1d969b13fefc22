/**
 * Which addresses a node dials, and when: the seeds for ever, and what members told us while they live. Pure;
 * the time and the chance are handed in.
 */
import type { NodeAddress } from '../transport/address.ts'
import type { SeedReport } from './membership.ts'

/**
 * Delays between dials in a row: `minMs`, doubled each time up to `maxMs`, less up to `jitter` of it by
 * chance.
 */
export interface Backoff {
  readonly minMs: number
  readonly maxMs: number
  /** 0 to 1. */
  readonly jitter: number
}

/**
 * The delay after so many dials in a row: with 100 to 5,000 ms it is 100, 200, 400, ... 5,000, less the
 * jitter.
 */
export function backoffMs({ minMs, maxMs, jitter }: Backoff, attempts: number, chance: number): number {
  const doublings = Math.max(0, Math.min(attempts, 40) - 1)
  return Math.min(maxMs, minMs * 2 ** doublings) * (1 - jitter * chance)
}

/** What the plan must know of a link. */
export interface DialledLink {
  readonly name: string
  readonly incarnation: number
  readonly address: NodeAddress
  readonly dialledByUs: boolean
  readonly dialledAddress: NodeAddress
}

/** An address that is dialled. */
export interface Target {
  readonly address: NodeAddress
  readonly isSeed: boolean
  /** Who answered there last, and at which incarnation. */
  name: string | undefined
  incarnation: number
  isDialling: boolean
  attempts: number
  nextDialMs: number
}

/**
 * The addresses and their state. At most one dial is under way for an address, and for a name that is known.
 */
export class DialPlan {
  readonly #targets = new Map<NodeAddress, Target>()
  readonly #backoff: Backoff
  readonly #random: { readonly float: () => number }

  constructor(seeds: readonly NodeAddress[], backoff: Backoff, random: { readonly float: () => number }) {
    this.#backoff = backoff
    this.#random = random
    for (const seed of seeds) this.#targets.set(seed, makeTarget(seed, true))
  }

  /** The address belongs to nobody whom we should dial: it is our own. */
  drop(address: NodeAddress): void {
    this.#targets.delete(address)
  }

  get(address: NodeAddress): Target | undefined {
    return this.#targets.get(address)
  }

  /** Everything is due at once. */
  start(nowMs: number): void {
    for (const target of this.#targets.values()) target.nextDialMs = nowMs
  }

  /** A dial ended, well or badly. */
  dialled(address: NodeAddress, nowMs: number): Target | undefined {
    const target = this.#targets.get(address)
    if (target === undefined) return undefined
    target.isDialling = false
    this.#delay(target, nowMs)
    return target
  }

  /**
   * The link to `name` that was used is lost: dial again at once when it had lasted, else after `minMs`, so that a link
   * that breaks as soon as it stands makes no tight loop. The delays grow from there: a member whose links break now and
   * then must not be given up because the next dial is further away than its deadline.
   */
  lost(name: string, lastedMs: number, nowMs: number): void {
    for (const target of this.#targets.values()) {
      if (target.name !== name) continue
      target.attempts = lastedMs >= this.#backoff.maxMs ? 0 : 1
      if (target.attempts === 0) target.nextDialMs = nowMs
      else this.#delay(target, nowMs)
    }
  }

  /** The member is down or left: its seeds are dialled on, what it told us itself is forgotten. */
  ended(name: string, nowMs: number): void {
    for (const target of this.#targets.values()) {
      if (target.name !== name) continue
      if (!target.isSeed) this.#targets.delete(target.address)
      else if (target.nextDialMs <= nowMs) this.#delay(target, nowMs)
    }
  }

  /** A member is linked: make sure that some address of its is dialled when that link is lost. */
  learn(link: DialledLink): void {
    for (const target of this.#targets.values()) {
      if (target.name === link.name && target.incarnation === link.incarnation) return
    }
    let target = this.#targets.get(link.address)
    if (target === undefined) {
      target = makeTarget(link.address, false)
      this.#targets.set(link.address, target)
    }
    target.name = link.name
    target.incarnation = link.incarnation
  }

  /** True while a dial is under way that may end at the peer of this link. */
  isDiallingTo(link: DialledLink): boolean {
    for (const target of this.#targets.values()) {
      if (target.isDialling && (target.name === link.name || target.address === link.address)) return true
    }
    return false
  }

  /**
   * Takes the addresses whose time has come and that lead to nobody who is linked; they count as being
   * dialled.
   */
  takeDue(links: Iterable<DialledLink>, nowMs: number): readonly NodeAddress[] {
    const due: NodeAddress[] = []
    const isBusy = this.#busyPlaces(links)
    for (const target of this.#targets.values()) {
      if (nowMs < target.nextDialMs || isBusy(target)) continue
      target.isDialling = true
      target.attempts++
      due.push(target.address)
    }
    return due
  }

  /** When `takeDue` will find something, if no link changes. */
  nextDialMs(links: Iterable<DialledLink>): number {
    let nextMs = Number.POSITIVE_INFINITY
    const isBusy = this.#busyPlaces(links)
    for (const target of this.#targets.values())
      if (!isBusy(target)) nextMs = Math.min(nextMs, target.nextDialMs)
    return nextMs
  }

  status(): readonly SeedReport[] {
    return [...this.#targets.values()].map(({ address, isSeed, name, isDialling, attempts }) => ({
      address,
      isSeed,
      ...(name === undefined ? {} : { name }),
      state: isDialling ? 'dialling' : 'idle',
      attempts,
    }))
  }

  #delay(target: Target, nowMs: number): void {
    target.nextDialMs = nowMs + backoffMs(this.#backoff, target.attempts, this.#random.float())
  }

  /** Says whether a target must not be dialled now: who lives there is linked, or being dialled already. */
  #busyPlaces(links: Iterable<DialledLink>): (target: Target) => boolean {
    const names = new Set<string>()
    const addresses = new Set<NodeAddress>()
    for (const link of links) {
      names.add(link.name)
      addresses.add(link.address)
      if (link.dialledByUs) addresses.add(link.dialledAddress)
    }
    for (const target of this.#targets.values()) {
      if (target.isDialling && target.name !== undefined) names.add(target.name)
    }
    return (target) => {
      if (target.isDialling || addresses.has(target.address)) return true
      if (target.name === undefined) return false
      if (names.has(target.name)) return true
      names.add(target.name)
      return false
    }
  }
}

function makeTarget(address: NodeAddress, isSeed: boolean): Target {
  return { address, isSeed, name: undefined, incarnation: 0, isDialling: false, attempts: 0, nextDialMs: 0 }
}
