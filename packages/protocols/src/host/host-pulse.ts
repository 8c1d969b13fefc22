/**
 * The heartbeats between hosts that stand for the heartbeats of quiet groups: one small message and its answer a pair of hosts
 * and interval, whatever the number of groups. Pure.
 *
 * A quiet member watches the hosts that it relies on: a follower its leader's, a leader all its followers'. Both ends watch
 * each other, and a pulse says for which groups its sender watches: by a digest of their names, and when the digests of
 * the two ends differ, by the names themselves. So a pulse vouches only for members that are there and quiet as well, and
 * neither a restarted host nor one whose member has closed passes for a leader that lives.
 *
 * A host that watches nobody answers with a digest of nothing, to be told the names: a member that was away while its group
 * fell asleep, and whose own knowledge of who takes part is old, learns that way who watches it.
 */
import { murmur3 } from '@understudy/cluster'

/** What a pulse says. */
export interface Pulse {
  /** Sum of the hashes of all names of groups that the sender watches this host for, modulo 2^32. */
  readonly digest: number
  /** The names, when the digests differed last time; else empty. */
  readonly groups: readonly string[]
}

export type PulseEffect =
  | { readonly type: 'pulse'; readonly to: string; readonly pulse: Pulse }
  /** Nothing vouched for that group's member on that node for as long as was asked; once, until something does again. */
  | { readonly type: 'silent'; readonly group: string; readonly node: string }
  /** That node watches this host for the group's member, which does not watch it. With each pulse that says so. */
  | { readonly type: 'watched'; readonly group: string; readonly node: string }

/** Pulses sent in the shortest silence that is watched for: one may be lost or late, and the next one is in time. */
const pulsesPerTimeout = 2.5
const intervalMsMin = 10
/**
 * A pulse that comes when the own one is due within so many intervals is answered at once: one waking for both. Who answered
 * waits a little longer than an interval for the next one to answer, and so one end keeps the time and the other follows.
 */
const answerIntervals = 0.6
const followIntervals = 1.25
/** Names in one pulse. */
const namesMax = 1_000

interface Watch {
  readonly timeoutMs: number
  /** When a pulse vouched for it by name; at first, when it began. */
  vouchedMs: number
  isSilent: boolean
}

interface Peer {
  readonly watches: Map<string, Watch>
  digest: number
  timeoutMsMin: number
  /** When the two digests were equal last: that vouches for all that are watched. */
  agreedMs: number
  /** The digests differed in the pulse that came last. */
  differs: boolean
  /** Somebody may have been told to be silent. */
  hasSilent: boolean
  nextPulseMs: number
  /** Somebody's silence may be due then. */
  checkMs: number
}

export class HostPulse {
  readonly #peers = new Map<string, Peer>()
  /** Until when nobody is called silent: this process stood still, and what was said meanwhile has not been read. */
  #graceUntilMs = Number.NEGATIVE_INFINITY

  /** Hosts that are watched. */
  get size(): number {
    return this.#peers.size
  }

  /** Begins to watch `node` for `group`, or begins anew. The first pulse goes out with the next tick. */
  watch(group: string, node: string, timeoutMs: number, nowMs: number): void {
    let peer = this.#peers.get(node)
    if (peer === undefined) {
      peer = {
        watches: new Map(),
        digest: 0,
        timeoutMsMin: timeoutMs,
        agreedMs: Number.NEGATIVE_INFINITY,
        differs: false,
        hasSilent: false,
        nextPulseMs: nowMs,
        checkMs: Number.POSITIVE_INFINITY,
      }
      this.#peers.set(node, peer)
    }
    if (!peer.watches.has(group)) peer.digest = (peer.digest + hashOf(group)) >>> 0
    peer.watches.set(group, { timeoutMs, vouchedMs: nowMs, isSilent: false })
    peer.timeoutMsMin = Math.min(peer.timeoutMsMin, timeoutMs)
    peer.checkMs = Math.min(peer.checkMs, nowMs + timeoutMs)
  }

  unwatch(group: string, node: string): void {
    const peer = this.#peers.get(node)
    if (peer === undefined || !peer.watches.delete(group)) return
    peer.digest = (peer.digest - hashOf(group)) >>> 0
    if (peer.watches.size === 0) this.#peers.delete(node)
  }

  /** The group watches nobody any more. O(hosts). */
  forget(group: string): void {
    for (const node of [...this.#peers.keys()]) this.unwatch(group, node)
  }

  /** Whether the group's member on that node is watched and not silent. */
  isAlive(group: string, node: string): boolean {
    return this.#peers.get(node)?.watches.get(group)?.isSilent === false
  }

  /** A pulse has come. Gives the own ones that are to leave now, and who is watched without watching. */
  heard(node: string, pulse: Pulse, nowMs: number): readonly PulseEffect[] {
    const peer = this.#peers.get(node)
    const watched: readonly PulseEffect[] =
      pulse.groups.length === 0
        ? nothing
        : pulse.groups
            .filter((group) => peer?.watches.has(group) !== true)
            .map((group) => ({ type: 'watched', group, node }))
    if (peer === undefined) {
      // A digest of nothing is such an answer itself.
      const isToldNames = pulse.groups.length > 0 || pulse.digest === 0
      return isToldNames ? watched : [{ type: 'pulse', to: node, pulse: { digest: 0, groups: [] } }]
    }
    this.#vouch(peer, pulse, nowMs)
    const intervalMs = intervalOf(peer)
    const leftMs = peer.nextPulseMs - nowMs
    // Who is late itself stood still: `tick` is to see that.
    if (leftMs > answerIntervals * intervalMs || leftMs < -intervalMs / 2) return watched
    const effects: PulseEffect[] = [...watched]
    this.#send(node, peer, effects)
    peer.nextPulseMs = nowMs + followIntervals * intervalMs
    return effects
  }

  #vouch(peer: Peer, { digest, groups }: Pulse, nowMs: number): void {
    peer.differs = digest !== peer.digest
    if (!peer.differs) {
      peer.agreedMs = nowMs
      peer.checkMs = Math.max(peer.checkMs, nowMs + peer.timeoutMsMin)
      if (!peer.hasSilent) return
      peer.hasSilent = false
      for (const watch of peer.watches.values()) watch.isSilent = false
      return
    }
    for (const group of groups) {
      const watch = peer.watches.get(group)
      if (watch === undefined) continue
      watch.vouchedMs = nowMs
      watch.isSilent = false
    }
  }

  #send(node: string, { digest, differs, watches }: Peer, effects: PulseEffect[]): void {
    const names = differs ? [...watches.keys()] : []
    // Each name vouches for itself, so that many may come in parts.
    for (let from = 0; from === 0 || from < names.length; from += namesMax) {
      const groups = names.slice(from, from + namesMax)
      effects.push({ type: 'pulse', to: node, pulse: { digest, groups } })
    }
  }

  /** To be called at `nextDeadlineMs`: a late call is taken for this process's own stall. */
  tick(nowMs: number): readonly PulseEffect[] {
    const effects: PulseEffect[] = []
    for (const [node, peer] of this.#peers) {
      const intervalMs = intervalOf(peer)
      if (nowMs - peer.nextPulseMs > intervalMs / 2) {
        // Long enough for two pulses of whoever lives.
        this.#graceUntilMs = Math.max(this.#graceUntilMs, nowMs + 2 * intervalMs)
      }
      if (peer.nextPulseMs <= nowMs) {
        this.#send(node, peer, effects)
        peer.nextPulseMs = nowMs + intervalMs
      }
      if (peer.checkMs <= nowMs) this.#check(node, peer, nowMs, effects)
    }
    return effects
  }

  /** `undefined` while nobody is watched. O(hosts). */
  nextDeadlineMs(): number | undefined {
    let nextMs = Number.POSITIVE_INFINITY
    for (const { nextPulseMs, checkMs } of this.#peers.values()) {
      nextMs = Math.min(nextMs, nextPulseMs, checkMs)
    }
    return nextMs === Number.POSITIVE_INFINITY ? undefined : nextMs
  }

  #check(node: string, peer: Peer, nowMs: number, effects: PulseEffect[]): void {
    // As long as the digests agree nobody need be looked at one by one.
    peer.checkMs = Math.max(peer.agreedMs + peer.timeoutMsMin, this.#graceUntilMs)
    if (peer.checkMs > nowMs) return
    peer.checkMs = Number.POSITIVE_INFINITY
    peer.timeoutMsMin = Number.POSITIVE_INFINITY
    for (const [group, watch] of peer.watches) {
      peer.timeoutMsMin = Math.min(peer.timeoutMsMin, watch.timeoutMs)
      if (watch.isSilent) continue
      const dueMs = vouchedAtMs(peer, watch) + watch.timeoutMs
      if (dueMs > nowMs) {
        peer.checkMs = Math.min(peer.checkMs, dueMs)
        continue
      }
      watch.isSilent = true
      peer.hasSilent = true
      effects.push({ type: 'silent', group, node })
    }
    // Whoever is heard again is to be watched again.
    if (peer.checkMs === Number.POSITIVE_INFINITY) peer.checkMs = nowMs + peer.timeoutMsMin
  }
}

const nothing: readonly PulseEffect[] = Object.freeze([])

function intervalOf({ timeoutMsMin }: Peer): number {
  return Math.max(intervalMsMin, timeoutMsMin / pulsesPerTimeout)
}

function vouchedAtMs(peer: Peer, watch: Watch): number {
  return Math.max(peer.agreedMs, watch.vouchedMs)
}

function hashOf(group: string): number {
  return murmur3(group) >>> 0
}
