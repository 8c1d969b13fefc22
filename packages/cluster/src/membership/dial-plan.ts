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
 * answer slowly. Every method is O(targets).
 */
export class DialPlan {
  readonly #targets = new Map<NodeAddress, Target>()
  readonly #backoff: Backoff
  readonly #random: { readonly float: () => number }
  #seeds: ReadonlySet<NodeAddress>
  #dialling = 0
  #slowNextMs = 0

  constructor(seeds: readonly NodeAddress[], backoff: Backoff, random: { readonly float: () => number }) {
    this.#backoff = backoff
    this.#random = random
    this.#seeds = new Set(seeds)
    for (const seed of this.#seeds) this.#add(seed).isSeed = true
  }

  /** Dials under way. */
  get diallingCount(): number {
    return this.#dialling
  }

  /** The address belongs to nobody whom we should dial: it is our own. */
  drop(address: NodeAddress): void {
    const target = this.#targets.get(address)
    if (target?.isDialling === true) this.#dialling--
    this.#targets.delete(address)
  }

  get(address: NodeAddress): Target | undefined {
    return this.#targets.get(address)
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
  dialled(address: NodeAddress, nowMs: number): Target | undefined {
    const target = this.#targets.get(address)
    if (target === undefined) return undefined
    if (target.isDialling) this.#dialling--
    target.isDialling = false
    this.#delay(target, nowMs)
    if (target.isForgotten) this.#targets.delete(address)
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

  /**
   * The member is down or left: its seeds are dialled on, what it told us itself is forgotten, but for the address to
   * `remember`, if nobody else has answered there since.
   */
  ended(name: string, nowMs: number, remember?: NodeAddress): void {
    for (const target of this.#targets.values()) {
      if (target.name !== name || target.address === remember) continue
      if (!target.isSeed) this.#forget(target)
      else if (target.nextDialMs <= nowMs) this.#delay(target, nowMs)
    }
    if (remember === undefined) return
    const target = this.#add(remember)
    if (target.name !== undefined && target.name !== name) return
    target.name = name
    target.rememberedUntilMs = nowMs + dialLimits.rememberMs
    if (target.nextDialMs <= nowMs) this.#delay(target, nowMs)
    this.#forgetOldest()
  }

  /**
   * A member is linked: make sure that some address of its is dialled when that link is lost. What an earlier life of it
   * left behind elsewhere is forgotten. Returns its own address's target if that leads to this life only from now on.
   */
  learn(life: Pick<DialledLink, 'name' | 'incarnation' | 'address'>): Target | undefined {
    let isKnown = false
    for (const target of this.#targets.values()) {
      if (target.name !== life.name || target.isForgotten) continue
      if (target.address !== life.address && target.incarnation !== life.incarnation && !target.isSeed) {
        this.#forget(target)
        continue
      }
      // It lives: whoever lived there before it and went down has been followed.
      target.rememberedUntilMs = 0
      if (target.incarnation === life.incarnation) isKnown = true
    }
    if (isKnown) return undefined
    const target = this.#add(life.address)
    target.name = life.name
    target.incarnation = life.incarnation
    target.rememberedUntilMs = 0
    return target
  }

  /** As `learn`, of a member that is not linked: it is to be dialled at `atMs`, unless a dial there is planned already. */
  want(life: Pick<DialledLink, 'name' | 'incarnation' | 'address'>, atMs: number): void {
    const target = this.learn(life)
    if (target === undefined) return
    target.attempts = 0
    target.nextDialMs = atMs
  }

  /** True while a dial is under way that may end at the peer of this link. */
  isDiallingTo(link: DialledLink): boolean {
    for (const target of this.#targets.values()) {
      if (target.isDialling && (target.name === link.name || target.address === link.address)) return true
    }
    return false
  }

  /** The names that answered last at the seeds. */
  seedNames(): ReadonlySet<string> {
    const names = new Set<string>()
    for (const { isSeed, name } of this.#targets.values()) if (isSeed && name !== undefined) names.add(name)
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
    const due: Target[] = []
    const busy = this.#busyPlaces(links)
    for (const target of this.#targets.values()) {
      if (target.isForgotten || nowMs < target.nextDialMs || busy.has(target)) continue
      if (isSlow(target) && nowMs >= target.rememberedUntilMs) this.#forget(target)
      else due.push(target)
    }
    if (due.length === 0) return []
    due.sort((a, b) => a.nextDialMs - b.nextDialMs)
    const taken: NodeAddress[] = []
    let hasSlowRoom = nowMs >= this.#slowNextMs && this.#slowDials() < dialLimits.slowDialsMax
    for (const target of due) {
      if (this.#dialling >= dialLimits.dialsMax) break
      if (busy.has(target)) continue
      if (isSlow(target)) {
        if (!hasSlowRoom) continue
        hasSlowRoom = false
        this.#slowNextMs = nowMs + dialLimits.slowIntervalMs
      } else if (!isNeeded(target)) continue
      target.isDialling = true
      target.attempts++
      this.#dialling++
      busy.add(target)
      taken.push(target.address)
    }
    return taken
  }

  /** When `takeDue` will find something, if nothing changes but the time. */
  nextDialMs(links: Iterable<DialledLink>, isNeeded: (target: Target) => boolean = always): number {
    let nextMs = Number.POSITIVE_INFINITY
    if (this.#dialling >= dialLimits.dialsMax) return nextMs
    const isSlowFull = this.#slowDials() >= dialLimits.slowDialsMax
    const busy = this.#busyPlaces(links)
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
      target.name = undefined
    }
    return target
  }

  /** A dial under way is seen to its end: there must not be two for one address. */
  #forget(target: Target): void {
    target.rememberedUntilMs = 0
    if (target.isDialling) target.isForgotten = true
    else this.#targets.delete(target.address)
  }

  #forgetOldest(): void {
    const remembered = [...this.#targets.values()].filter((target) => target.rememberedUntilMs > 0)
    if (remembered.length <= dialLimits.rememberedMax) return
    let oldest: Target | undefined
    for (const target of remembered) {
      if (oldest === undefined || target.rememberedUntilMs < oldest.rememberedUntilMs) oldest = target
    }
    if (oldest === undefined) return
    if (oldest.isSeed) oldest.rememberedUntilMs = 0
    else this.#forget(oldest)
  }

  #slowDials(): number {
    let count = 0
    for (const target of this.#targets.values()) if (target.isDialling && isSlow(target)) count++
    return count
  }

  #delay(target: Target, nowMs: number): void {
    target.nextDialMs = nowMs + backoffMs(this.#backoff, target.attempts, this.#random.float())
  }

  /** Says whether a target must not be dialled now: who lives there is linked, or being dialled already. */
  #busyPlaces(links: Iterable<DialledLink>): {
    readonly has: (target: Target) => boolean
    readonly add: (target: Target) => void
  } {
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
    for (const target of this.#targets.values()) if (target.isDialling) add(target)
    const has = ({ address, name }: Target): boolean =>
      addresses.has(address) || (name !== undefined && names.has(name))
    return { has, add }
  }
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
