/**
 * Who may take up room before it has said who it is: limits in all, for each address, and on the rate, and a list of
 * the addresses that may connect at all. Pure: the time is handed in, and whoever must go is handed back.
 *
 * A guest is silent first (a connection on which no whole request has come), then a link whose peer is unknown, and
 * leaves when it is established, is none of ours, or is gone. Where silence costs nothing to be told apart from a
 * link (in memory), `enter` takes both steps at once.
 */
import { inAddressRange, ipBytes, parseAddressRange } from '../wire/address-range.ts'
import type { AddressRange } from '../wire/address-range.ts'
import { checkInteger, linkDefaults } from './transport.ts'

/** Limits before authentication; part of `ListenOptions`. */
export interface AdmissionOptions {
  /**
   * Accepted links that have not been told `established()` yet. At this number the oldest one is closed with
   * `CLUSTER_LINK_NOT_ESTABLISHED` if it had a quarter of its time already, else the new one is turned away; so
   * strangers cannot use up memory, and cannot keep others out by doing nothing. 1 to 1,000,000. @default 64
   */
  readonly unestablishedMax?: number | undefined
  /**
   * Connections from one address whose peer is not known yet: that have sent no whole request, or are links
   * without `established()`. An IPv6 address counts as its /64. Raise it for nodes or users behind one NAT.
   * 1 to 1,000,000. @default 16, and none for loopback: there it must be set to have an effect
   */
  readonly unestablishedPerAddressMax?: number | undefined
  /**
   * New connections of any kind from one address within a second, kept up; a burst may have twice as many. 0.001
   * to 1,000,000. @default 50, and none for loopback: there it must be set to have an effect
   */
  readonly connectionsPerSecondPerAddress?: number | undefined
  /**
   * Who may connect, as ranges: `10.0.0.0/8`, `fd00::/8`, one address. Nobody else gets a byte, neither nodes nor
   * users. At least one, at most 1,024. @default everybody
   */
  readonly allowAddresses?: readonly string[] | undefined
}

/** Why a connection was not let in. See `Refusal.reason`. */
export type AdmissionRefusal = 'address' | 'rate' | 'crowded'

/** What the owner of the connections sets besides the options. */
export interface AdmissionSettings {
  /** A link that is older may be closed for a newer one. Milliseconds. */
  readonly agedMs: number
  /** Silent connections in all; above it the oldest must go. */
  readonly silentMax: number
  /** Hosts may have names instead of addresses, as they do in memory; `allowAddresses` may then hold names. */
  readonly hasNames: boolean
}

/** A connection whose peer is unknown. `Owner` is what the caller knows it by. */
export interface Guest<Owner> {
  readonly owner: Owner
  /** Its address, as it counts for limits. */
  readonly key: string
}

/** What to do with a connection. */
export type Answer<Owner> =
  /** Let it in, and first close `makeRoom` if there is one. It has left already. */
  | { readonly type: 'welcome'; readonly guest: Guest<Owner>; readonly makeRoom: Owner | undefined }
  | { readonly type: 'refused'; readonly reason: AdmissionRefusal }

/** How much an `Admission` remembers. */
export interface AdmissionCounts {
  readonly silent: number
  readonly links: number
  readonly addresses: number
  readonly rates: number
}

/** What limits for each address are when left out. Not for loopback. */
export const admissionDefaults = Object.freeze({
  unestablishedPerAddressMax: 16,
  connectionsPerSecondPerAddress: 50,
})

/** A burst may have so many times the connections of a second. */
const BURST_SECONDS = 2
/** Addresses whose rate is remembered; the one that was quiet longest is forgotten first. */
const RATES_MAX = 4_096
const RANGES_MAX = 1_024

/** Counts guests. Everything is O(1), but for `allowAddresses`, which is O(ranges). */
export class Admission<Owner> {
  readonly #settings: AdmissionSettings
  readonly #unestablishedMax: number
  readonly #perAddressMax: number | undefined
  readonly #perSecond: number | undefined
  readonly #allowed: readonly AddressRange[] | undefined
  /** Oldest first. */
  readonly #silent = new Set<Guest<Owner>>()
  /** Oldest first, with the time at which each became a link. */
  readonly #links = new Map<Guest<Owner>, number>()
  readonly #perAddress = new Map<string, number>()
  /** Least recently used first. */
  readonly #buckets = new Map<string, Bucket>()

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: AdmissionOptions, settings: AdmissionSettings) {
    this.#settings = settings
    this.#unestablishedMax = options.unestablishedMax ?? linkDefaults.unestablishedMax
    this.#perAddressMax = options.unestablishedPerAddressMax
    this.#perSecond = options.connectionsPerSecondPerAddress
    checkInteger('unestablishedMax', this.#unestablishedMax, 1, 1_000_000)
    if (this.#perAddressMax !== undefined) {
      checkInteger('unestablishedPerAddressMax', this.#perAddressMax, 1, 1_000_000)
    }
    if (this.#perSecond !== undefined && !(this.#perSecond >= 0.001 && this.#perSecond <= 1_000_000)) {
      throw new RangeError(
        `Cannot use connectionsPerSecondPerAddress ${this.#perSecond}: it must be a number from 0.001 to 1000000`,
      )
    }
    this.#allowed = readRanges(options.allowAddresses, settings.hasNames)
  }

  /** Guests that are silent, guests that are links, addresses that guests come from, and rates that are remembered. */
  get counts(): AdmissionCounts {
    return {
      silent: this.#silent.size,
      links: this.#links.size,
      addresses: this.#perAddress.size,
      rates: this.#buckets.size,
    }
  }

  /** A connection came from `host` (an address without port and brackets). A new guest is silent. */
  knock(owner: Owner, host: string, nowMs: number): Answer<Owner> {
    if (this.#allowed !== undefined && !this.#allowed.some((range) => inAddressRange(range, host))) {
      return { type: 'refused', reason: 'address' }
    }
    const { key, isLocal } = placeOf(host)
    if (!this.#takeToken(key, isLocal, nowMs)) return { type: 'refused', reason: 'rate' }
    const most = this.#perAddressMax ?? (isLocal ? undefined : admissionDefaults.unestablishedPerAddressMax)
    const known = this.#perAddress.get(key) ?? 0
    if (most !== undefined && known >= most) return { type: 'refused', reason: 'crowded' }
    const makeRoom =
      this.#silent.size >= this.#settings.silentMax ? this.#leaveFirst(this.#silent) : undefined
    const guest = { owner, key }
    this.#silent.add(guest)
    this.#perAddress.set(key, (this.#perAddress.get(key) ?? 0) + 1)
    return { type: 'welcome', guest, makeRoom }
  }

  /** A silent guest wants to be a link. One that is refused stays what it was: the caller ends it. */
  ask(guest: Guest<Owner>, nowMs: number): Answer<Owner> {
    let makeRoom: Owner | undefined
    if (this.#links.size >= this.#unestablishedMax) {
      const [sinceMs = nowMs] = this.#links.values()
      if (nowMs - sinceMs < this.#settings.agedMs) return { type: 'refused', reason: 'crowded' }
      makeRoom = this.#leaveFirst(this.#links.keys())
    }
    if (this.#silent.delete(guest)) this.#links.set(guest, nowMs)
    return { type: 'welcome', guest, makeRoom }
  }

  /** `knock` and `ask` in one. */
  enter(owner: Owner, host: string, nowMs: number): Answer<Owner> {
    const knocked = this.knock(owner, host, nowMs)
    if (knocked.type === 'refused') return knocked
    const asked = this.ask(knocked.guest, nowMs)
    if (asked.type === 'refused') this.leave(knocked.guest)
    return asked
  }

  /** It is known now, or gone. Harmless for one that has left. */
  leave(guest: Guest<Owner>): void {
    if (!this.#silent.delete(guest) && !this.#links.delete(guest)) return
    const left = (this.#perAddress.get(guest.key) ?? 1) - 1
    if (left === 0) this.#perAddress.delete(guest.key)
    else this.#perAddress.set(guest.key, left)
  }

  #leaveFirst(guests: Iterable<Guest<Owner>>): Owner | undefined {
    for (const guest of guests) {
      this.leave(guest)
      return guest.owner
    }
    return undefined
  }

  /** A token bucket for each address; one that is refused takes none. */
  #takeToken(key: string, isLocal: boolean, nowMs: number): boolean {
    const perSecond =
      this.#perSecond ?? (isLocal ? undefined : admissionDefaults.connectionsPerSecondPerAddress)
    if (perSecond === undefined) return true
    const most = Math.max(1, perSecond * BURST_SECONDS)
    const bucket = this.#buckets.get(key) ?? { tokens: most, atMs: nowMs }
    bucket.tokens = Math.min(most, bucket.tokens + ((nowMs - bucket.atMs) / 1_000) * perSecond)
    bucket.atMs = nowMs
    const isFree = bucket.tokens >= 1
    if (isFree) bucket.tokens--
    this.#buckets.delete(key)
    this.#buckets.set(key, bucket)
    if (this.#buckets.size > RATES_MAX) {
      const [oldest] = this.#buckets.keys()
      if (oldest !== undefined) this.#buckets.delete(oldest)
    }
    return isFree
  }
}

interface Bucket {
  tokens: number
  atMs: number
}

function readRanges(
  texts: readonly string[] | undefined,
  hasNames: boolean,
): readonly AddressRange[] | undefined {
  if (texts === undefined) return undefined
  if (texts.length === 0 || texts.length > RANGES_MAX) {
    throw new RangeError(
      `Cannot use allowAddresses with ${texts.length} ranges: give 1 to ${RANGES_MAX}, or leave it out to allow all`,
    )
  }
  return texts.map((text) => {
    const range = parseAddressRange(text)
    if (range.name === undefined || hasNames) return range
    throw new RangeError(
      `Cannot use "${text}" in allowAddresses: a connection has an address and no name; write "10.0.0.0/8" or one address`,
    )
  })
}

/**
 * What an address counts as, and whether it is this machine. Whoever has one IPv6 address has all of its /64. What is
 * no internet address is a host of a network in memory, and as near as loopback.
 */
function placeOf(host: string): { readonly key: string; readonly isLocal: boolean } {
  const bytes = ipBytes(host)
  if (bytes === undefined) return { key: host, isLocal: true }
  if (bytes.length === 4) return { key: bytes.join('.'), isLocal: bytes[0] === 127 }
  const isLocal = bytes.every((byte, index) => byte === (index === 15 ? 1 : 0))
  return { key: bytes.subarray(0, 8).join(':'), isLocal }
}
