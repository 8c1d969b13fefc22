/**
 * Which addresses a node dials, and when: the seeds for ever, what members told us while they live, and for a day, slowly,
 * where members lived that went down. Pure; the time and the chance are handed in.
 */
import type { NodeAddress } from '../transport/address.ts'

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

/** Bounds of a plan. */
export const dialLimits = Object.freeze({
  /** Dials under way at a time: a node that starts among a hundred others does not call them all at once. */
  dialsMax: 16,
  /** How long the address of a member that went down is remembered: 24 h. */
  rememberMs: 86_400_000,
  /** Most such addresses; the oldest is forgotten first. */
  rememberedMax: 1_024,
  /** All of them together are dialled at most once in this time. */
  slowIntervalMs: 1_000,
  /** Of the dials under way at most so many go to them: an address that swallows everything holds its dial for seconds. */
  slowDialsMax: 4,
})

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
  isSeed: boolean
  /** Who answered there last, and at which incarnation. */
  name: string | undefined
  incarnation: number
  isDialling: boolean
  attempts: number
  nextDialMs: number
  /** Above 0 when who lived there went down: until then it is dialled at the slow pace. Seeds keep theirs. */
  rememberedUntilMs: number
  /** Nobody wants it any more; it is only here because its dial is under way. */
  isForgotten: boolean
}

/** One address that is dialled; plain data for the CLI and tests. */
export interface DialReport {
  readonly address: NodeAddress
  /** False for an address that a peer told us; such a one is forgotten with its member. */
  readonly isSeed: boolean
  /** The last node that answered there. */
  readonly name?: string | undefined
  readonly state: 'idle' | 'dialling'
  /** Dials since the last link that lasted. */
  readonly attempts: number
  /** True where a member lived that went down. */
  readonly isRemembered: boolean
}

/**
 * The addresses and their state. At most one dial is under way for an address, and for a name that is known; at most
 * `dialLimits.dialsMax` in all. Who has been due for longest is dialled first, so that nobody starves behind addresses that
 * answer slowly. A member may tell of ten thousand addresses, so what is asked for each of them costs what it concerns:
 * O(targets) are only `start`, `status`, and `takeDue` and `nextDialMs` while there is room for a dial.
 */
export class DialPlan {
  readonly #targets = new Map<NodeAddress, Target>()
  /** By who answered there last, or is to: its targets in the order in which they were made. */
  readonly #byName = new Map<string, Set<Target>>()
  /** Dials under way. */
  readonly #dialling = new Set<Target>()
  /** Where members lived that went down; who ended first in front. */
  readonly #remembered = new Set<Target>()
  readonly #backoff: Backoff
  readonly #random: { readonly float: () => number }
  #seeds: ReadonlySet<NodeAddress>
  #slowNextMs = 0
  #scans = 0

  constructor(seeds: readonly NodeAddress[], backoff: Backoff, random: { readonly float: () => number }) {
    this.#backoff = backoff
    this.#random = random
    this.#seeds = new Set(seeds)
    for (const seed of this.#seeds) this.#add(seed).isSeed = true
  }

  /** Dials under way. */
  get diallingCount(): number {
    return this.#dialling.size
  }

  /** How often all targets were looked at: for tests of what a step costs. */
  get scans(): number {
    return this.#scans
  }

  /** The address belongs to nobody whom we should dial: it is our own. */
  drop(address: NodeAddress): void {
    const target = this.#targets.get(address)
    if (target !== undefined) this.#delete(target)
  }

  get(address: NodeAddress): Readonly<Target> | undefined {
    return this.#targets.get(address)
  }

  /** That life has answered at the address. */
  answered(address: NodeAddress, name: string, incarnation: number): void {
    const target = this.#targets.get(address)
    if (target === undefined) return
    this.#name(target, name)
    target.incarnation = incarnation
  }

  /** Everything is due at once. */
  start(nowMs: number): void {
    for (const target of this.#targets.values()) target.nextDialMs = nowMs
  }

  /**
   * These are the seeds now. New ones are due at once, also where somebody lives already; of those that vanished only the
   * addresses of live members and the remembered ones stay.
   */
  setSeeds(addresses: readonly NodeAddress[], nowMs: number, isLive: (name: string) => boolean): void {
    const seeds = new Set(addresses)
    for (const seed of seeds) {
      if (this.#seeds.has(seed)) continue
      const target = this.#add(seed)
      target.isSeed = true
      target.attempts = 0
      target.nextDialMs = nowMs
    }
    for (const seed of this.#seeds) {
      const target = seeds.has(seed) ? undefined : this.#targets.get(seed)
      if (target === undefined) continue
      target.isSeed = false
      const isNeeded = target.name !== undefined && isLive(target.name)
      if (!isNeeded && target.rememberedUntilMs === 0) this.#forget(target)
    }
    this.#seeds = seeds
  }

  /** A dial ended, well or badly. */
  dialled(address: NodeAddress, nowMs: number): Readonly<Target> | undefined {
    const target = this.#targets.get(address)
    if (target === undefined) return undefined
    this.#dialling.delete(target)
    target.isDialling = false
    this.#delay(target, nowMs)
    if (target.isForgotten) this.#delete(target)
    return target
  }

  /**
   * The link to `name` that was used is lost: dial again at once when it had lasted, else after `minMs`, so that a link
   * that breaks as soon as it stands makes no tight loop. The delays grow from there: a member whose links break now and
   * then must not be given up because the next dial is further away than its deadline.
   */
  lost(name: string, lastedMs: number, nowMs: number): void {
    for (const target of this.#targetsOf(name)) {
      target.attempts = lastedMs >= this.#backoff.maxMs ? 0 : 1
      if (target.attempts === 0) target.nextDialMs = nowMs
      else this.#delay(target, nowMs)
    }
  }

  /**
   * The member is down or left: its seeds are dialled on, what it told us itself is forgotten, but for the address to
   * `remember`, if nobody else has answered there since. Nothing is due sooner than it was, but for what is remembered:
   * returns when that is, at the earliest.
   */
  ended(name: string, nowMs: number, remember?: NodeAddress): number {
    for (const target of this.#targetsOf(name)) {
      if (target.address === remember) continue
      if (!target.isSeed) this.#forget(target)
      else if (target.nextDialMs <= nowMs) this.#delay(target, nowMs)
    }
    if (remember === undefined) return Number.POSITIVE_INFINITY
    const target = this.#add(remember)
    if (target.name !== undefined && target.name !== name) return target.nextDialMs
    this.#name(target, name)
    this.#remember(target, nowMs + dialLimits.rememberMs)
    if (target.nextDialMs <= nowMs) this.#delay(target, nowMs)
    this.#forgetOldest()
    return target.nextDialMs
  }

  /**
   * A member is linked: make sure that some address of its is dialled when that link is lost. What an earlier life of it
   * left behind elsewhere is forgotten. Returns its own address's target if that leads to this life only from now on.
   */
  learn(life: Pick<DialledLink, 'name' | 'incarnation' | 'address'>): Target | undefined {
    let isKnown = false
    for (const target of this.#targetsOf(life.name)) {
      if (target.isForgotten) continue
      if (target.address !== life.address && target.incarnation !== life.incarnation && !target.isSeed) {
        this.#forget(target)
        continue
      }
      // It lives: whoever lived there before it and went down has been followed.
      this.#remember(target, 0)
      if (target.incarnation === life.incarnation) isKnown = true
    }
    if (isKnown) return undefined
    const target = this.#add(life.address)
    this.#name(target, life.name)
    target.incarnation = life.incarnation
    this.#remember(target, 0)
    return target
  }

  /**
   * As `learn`, of a member that is not linked: it is to be dialled at `atMs`, unless a dial there is planned already.
   * Returns when an address of its is due, at the earliest.
   */
  want(life: Pick<DialledLink, 'name' | 'incarnation' | 'address'>, atMs: number): number {
    const target = this.learn(life)
    if (target !== undefined) {
      target.attempts = 0
      target.nextDialMs = atMs
    }
    let nextMs = Number.POSITIVE_INFINITY
    for (const { nextDialMs } of this.#targetsOf(life.name)) nextMs = Math.min(nextMs, nextDialMs)
    return nextMs
  }

  /** True while a dial is under way that may end at the peer of this link. */
  isDiallingTo(link: DialledLink): boolean {
    for (const { name, address } of this.#dialling)
      if (name === link.name || address === link.address) return true
    return false
  }

  /** The names that answered last at the seeds. */
  seedNames(): ReadonlySet<string> {
    const names = new Set<string>()
    for (const seed of this.#seeds) {
      const name = this.#targets.get(seed)?.name
      if (name !== undefined) names.add(name)
    }
    return names
  }

  /**
   * Takes the addresses whose time has come, that are needed, and that lead to nobody who is linked; they count as being
   * dialled. `isNeeded` is asked again behind each one that is taken, and not of those that are only remembered.
   */
  takeDue(
    links: Iterable<DialledLink>,
    nowMs: number,
    isNeeded: (target: Target) => boolean = always,
  ): readonly NodeAddress[] {
    const taken: NodeAddress[] = []
    if (this.#dialling.size >= dialLimits.dialsMax) return taken
    const busy = this.#busyPlaces(links)
    let hasSlowRoom = nowMs >= this.#slowNextMs && this.#slowDials() < dialLimits.slowDialsMax
    while (this.#dialling.size < dialLimits.dialsMax) {
      const target = this.#nextDue(nowMs, busy, (other) => (isSlow(other) ? hasSlowRoom : isNeeded(other)))
      if (target === undefined) break
      if (isSlow(target)) {
        hasSlowRoom = false
        this.#slowNextMs = nowMs + dialLimits.slowIntervalMs
      }
      target.isDialling = true
      target.attempts++
      this.#dialling.add(target)
      busy.add(target)
      taken.push(target.address)
    }
    return taken
  }

  /** Who has been due for longest of those that may be dialled. */
  #nextDue(nowMs: number, busy: Busy, mayDial: (target: Target) => boolean): Target | undefined {
    this.#scans++
    let next: Target | undefined
    for (const target of this.#targets.values()) {
      if (target.isForgotten || nowMs < target.nextDialMs) continue
      if (next !== undefined && target.nextDialMs >= next.nextDialMs) continue
      if (busy.has(target)) continue
      if (isSlow(target) && nowMs >= target.rememberedUntilMs) this.#forget(target)
      else if (mayDial(target)) next = target
    }
    return next
  }

  /** When `takeDue` will find something, if nothing changes but the time. */
  nextDialMs(links: Iterable<DialledLink>, isNeeded: (target: Target) => boolean = always): number {
    let nextMs = Number.POSITIVE_INFINITY
    if (this.#dialling.size >= dialLimits.dialsMax) return nextMs
    const isSlowFull = this.#slowDials() >= dialLimits.slowDialsMax
    const busy = this.#busyPlaces(links)
    this.#scans++
    for (const target of this.#targets.values()) {
      if (target.isForgotten || target.nextDialMs >= nextMs || busy.has(target)) continue
      if (!isSlow(target)) {
        if (isNeeded(target)) nextMs = target.nextDialMs
      } else if (!isSlowFull) nextMs = Math.min(nextMs, Math.max(target.nextDialMs, this.#slowNextMs))
    }
    return nextMs
  }

  status(): readonly DialReport[] {
    return [...this.#targets.values()]
      .filter(({ isForgotten }) => !isForgotten)
      .map(({ address, isSeed, name, isDialling, attempts, rememberedUntilMs }) => ({
        address,
        isSeed,
        ...(name === undefined ? {} : { name }),
        state: isDialling ? 'dialling' : 'idle',
        attempts,
        isRemembered: rememberedUntilMs > 0,
      }))
  }

  #add(address: NodeAddress): Target {
    let target = this.#targets.get(address)
    if (target === undefined) {
      target = makeTarget(address)
      this.#targets.set(address, target)
    } else if (target.isForgotten) {
      target.isForgotten = false
      this.#name(target, undefined)
    }
    return target
  }

  #targetsOf(name: string): Iterable<Target> {
    return this.#byName.get(name) ?? []
  }

  #name(target: Target, name: string | undefined): void {
    if (target.name === name) return
    const others = target.name === undefined ? undefined : this.#byName.get(target.name)
    others?.delete(target)
    if (others?.size === 0 && target.name !== undefined) this.#byName.delete(target.name)
    target.name = name
    if (name === undefined) return
    const same = this.#byName.get(name)
    if (same === undefined) this.#byName.set(name, new Set([target]))
    else same.add(target)
  }

  #remember(target: Target, untilMs: number): void {
    target.rememberedUntilMs = untilMs
    this.#remembered.delete(target)
    if (untilMs > 0) this.#remembered.add(target)
  }

  #delete(target: Target): void {
    this.#targets.delete(target.address)
    this.#dialling.delete(target)
    this.#remembered.delete(target)
    this.#name(target, undefined)
  }

  /** A dial under way is seen to its end: there must not be two for one address. */
  #forget(target: Target): void {
    this.#remember(target, 0)
    if (target.isDialling) target.isForgotten = true
    else this.#delete(target)
  }

  #forgetOldest(): void {
    if (this.#remembered.size <= dialLimits.rememberedMax) return
    for (const oldest of this.#remembered) {
      if (oldest.isSeed) this.#remember(oldest, 0)
      else this.#forget(oldest)
      return
    }
  }

  #slowDials(): number {
    let count = 0
    for (const target of this.#dialling) if (isSlow(target)) count++
    return count
  }

  #delay(target: Target, nowMs: number): void {
    target.nextDialMs = nowMs + backoffMs(this.#backoff, target.attempts, this.#random.float())
  }

  /** Says whether a target must not be dialled now: who lives there is linked, or being dialled already. */
  #busyPlaces(links: Iterable<DialledLink>): Busy {
    const names = new Set<string>()
    const addresses = new Set<NodeAddress>()
    for (const link of links) {
      names.add(link.name)
      addresses.add(link.address)
      if (link.dialledByUs) addresses.add(link.dialledAddress)
    }
    const add = (target: Target): void => {
      addresses.add(target.address)
      if (target.name !== undefined) names.add(target.name)
    }
    for (const target of this.#dialling) add(target)
    const has = ({ address, name }: Target): boolean =>
      addresses.has(address) || (name !== undefined && names.has(name))
    return { has, add }
  }
}

interface Busy {
  readonly has: (target: Target) => boolean
  readonly add: (target: Target) => void
}

/** Not a seed, and nobody lives there any more that we know of. */
function isSlow(target: Target): boolean {
  return target.rememberedUntilMs > 0 && !target.isSeed
}

function always(): boolean {
  return true
}

function makeTarget(address: NodeAddress): Target {
  return {
    address,
    isSeed: false,
    name: undefined,
    incarnation: 0,
    isDialling: false,
    attempts: 0,
    nextDialMs: 0,
    rememberedUntilMs: 0,
    isForgotten: false,
  }
}
