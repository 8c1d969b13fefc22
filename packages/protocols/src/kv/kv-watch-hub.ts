/**
 * Who watches what on one node, and what is to be sent to whom: pure, fed by the service's actor. Nothing is copied for a
 * watcher and nothing waits for it: it has a place in the log of changes, and a slow one is merely behind (as etcd's
 * synced and unsynced watchers).
 *
 * A watcher that has everything up to the newest revision is `synced`: found by key when something changes. One that has
 * not, or that has no credit left, reads the log for itself when it has credit again.
 */
import { ByteWriter } from '../service/byte-buffer.ts'
import { writeEntry } from './kv-codec.ts'
import { isInRange } from './kv-limit.ts'
import { isLive, KvVersion, type KvState } from './kv-state.ts'
import type { KvRange } from './kv-command.ts'

/** What a watcher wants. */
export interface WatchWish extends KvRange {
  /** The first revision that it wants to see; it may lie in the future. */
  readonly revision: number
  readonly previous: boolean
  readonly without: 'put' | 'delete' | undefined
}

/** Flags of a push, in its first byte; then its sequence, its revision, and its events to the end. */
export const pushFlag = Object.freeze({
  /** The rest of this revision comes in the next push. */
  more: 1,
  /** Nothing happened: everything up to its revision has come. */
  bookmark: 2,
  /** It goes on where the one before ended: one that does not takes the place of what was begun and not ended. */
  rest: 4,
})

/** Flags of an event; then its entry, or the key and the revision of a delete, then what was there before. */
export const eventFlag = Object.freeze({ delete: 1, previous: 2 })

/** A push ends behind the event with which it has as many bytes. */
export const pushBytes = 131_072
/** Revisions that one watcher looks at in a turn, and that one turn hands out to all. */
const revisionsPerTurn = 8_192

export interface Watcher<Target> {
  readonly id: number
  readonly target: Target
  readonly wish: WatchWish
  /** Everything below was sent, or is none of its business. Of a synced watcher it is the hub's place that counts. */
  next: number
  /** Bytes that may be sent to it. */
  credit: number
  /** Credit that it has given back so far, by its own account. */
  given: number
  /** Number of its last push: a gap tells that one was lost. */
  sequence: number
  isSynced: boolean
  /** When something was last sent to it. */
  sentMs: number
  /** Found for it in this turn. */
  found: KvVersion[]
}

/** Sends one push; false: it could not be sent, and is tried again later. */
export type SendPush<Target> = (watcher: Watcher<Target>, bytes: Uint8Array) => boolean

/** See the head of this file. The state is asked for at each call, because a snapshot replaces it. */
export class WatchHub<Target> {
  readonly #send: SendPush<Target>
  readonly #compacted: (watcher: Watcher<Target>, compactRevision: number) => void
  readonly #watchers = new Map<number, Watcher<Target>>()
  readonly #byKey = new Map<string, Set<Watcher<Target>>>()
  readonly #byRange = new Set<Watcher<Target>>()
  readonly #behind = new Set<Watcher<Target>>()
  /** What synced watchers have been told up to. */
  #toldTo = 0
  #nextId = 1

  /** `compacted`: what it wants is gone; it is not among the watchers any more. */
  constructor(
    send: SendPush<Target>,
    compacted: (watcher: Watcher<Target>, compactRevision: number) => void,
  ) {
    this.#send = send
    this.#compacted = compacted
  }

  get size(): number {
    return this.#watchers.size
  }

  [Symbol.iterator](): IterableIterator<Watcher<Target>> {
    return this.#watchers.values()
  }

  get(id: number): Watcher<Target> | undefined {
    return this.#watchers.get(id)
  }

  add(target: Target, wish: WatchWish, credit: number, nowMs: number): Watcher<Target> {
    const watcher: Watcher<Target> = {
      id: this.#nextId++,
      target,
      wish,
      next: wish.revision,
      credit,
      given: 0,
      sequence: 0,
      isSynced: false,
      sentMs: nowMs,
      found: [],
    }
    this.#watchers.set(watcher.id, watcher)
    this.#behind.add(watcher)
    return watcher
  }

  delete(watcher: Watcher<Target>): void {
    this.#watchers.delete(watcher.id)
    this.#unsync(watcher)
    this.#behind.delete(watcher)
  }

  /** Sends what is to be sent. True: there is more to do, in another turn. */
  pump(state: KvState, nowMs: number): boolean {
    const isMore = this.#pumpSynced(state, nowMs)
    let isMoreBehind = false
    for (const watcher of this.#behind) if (this.#catchUp(watcher, state, nowMs)) isMoreBehind = true
    return isMore || isMoreBehind
  }

  /**
   * Tells synced watchers that got nothing for `silenceMs` how far they are. Also those without credit: it is a few bytes.
   */
  sendBookmarks(silenceMs: number, nowMs: number): void {
    for (const watcher of this.#watchers.values()) {
      if (nowMs - watcher.sentMs < silenceMs) continue
      // Who is behind hears how far it is, and that the service lives; who waits for the future, nothing of the future.
      const revision = watcher.isSynced ? this.#toldTo : Math.min(watcher.next - 1, this.#toldTo)
      this.#push(watcher, pushFlag.bookmark, revision, undefined, nowMs)
    }
  }

  // ---- Those who are up to date ----------------------------------------------------------------------------------

  #pumpSynced(state: KvState, nowMs: number): boolean {
    const from = this.#toldTo + 1
    // A new life of this member applies again what was told already.
    if (state.revision < from) return false
    if (this.#byKey.size === 0 && this.#byRange.size === 0) {
      this.#toldTo = state.revision
      return false
    }
    if (from < state.logFrom) {
      // A snapshot has put the state ahead of the log that they read.
      for (const watcher of [...this.#watchers.values()])
        if (watcher.isSynced) this.#fallBehind(watcher, from)
      this.#toldTo = state.revision
      return false
    }
    const to = Math.min(state.revision, this.#toldTo + revisionsPerTurn)
    const touched = new Set<Watcher<Target>>()
    for (let revision = from; revision <= to; revision++) {
      const changes = state.changesOf(revision)
      if (changes instanceof KvVersion) this.#offer(changes, touched)
      else for (const version of changes ?? []) this.#offer(version, touched)
    }
    this.#toldTo = to
    for (const watcher of touched) this.#sendFound(watcher, to, nowMs)
    return to < state.revision
  }

  #offer(version: KvVersion, touched: Set<Watcher<Target>>): void {
    const exact = this.#byKey.get(version.key)
    if (exact !== undefined) for (const watcher of exact) offer(watcher, version, touched)
    for (const watcher of this.#byRange) {
      if (isInRange(watcher.wish, version.key)) offer(watcher, version, touched)
    }
  }

  // ---- Those who are behind --------------------------------------------------------------------------------------

  /** True: it has more to read. */
  #catchUp(watcher: Watcher<Target>, state: KvState, nowMs: number): boolean {
    if (watcher.credit <= 0) return false
    if (watcher.next < state.logFrom) {
      this.delete(watcher)
      this.#compacted(watcher, state.compactRevision)
      return false
    }
    const to = Math.min(state.revision, watcher.next + revisionsPerTurn - 1)
    let bytes = 0
    let revision = watcher.next
    // No further than what it may be sent: the rest would be found for nothing.
    for (; revision <= to && bytes < watcher.credit; revision++) {
      const changes = state.changesOf(revision)
      if (changes === undefined) continue
      for (const version of changes instanceof KvVersion ? [changes] : changes) {
        if (!isInRange(watcher.wish, version.key) || !isWanted(watcher.wish, version)) continue
        watcher.found.push(version)
        bytes += version.key.length + (version.value?.length ?? 0)
      }
    }
    this.#sendFound(watcher, revision - 1, nowMs)
    if (watcher.credit <= 0 || watcher.next <= state.revision) return watcher.credit > 0 && !this.#isRefused
    // It may wait for a revision that is still to come, and is told nothing before.
    if (watcher.next > this.#toldTo + 1 || this.#toldTo !== state.revision) return false
    this.#behind.delete(watcher)
    this.#sync(watcher)
    return false
  }

  #sync(watcher: Watcher<Target>): void {
    watcher.isSynced = true
    const { from, to } = watcher.wish
    if (to !== undefined) {
      this.#byRange.add(watcher)
      return
    }
    const exact = this.#byKey.get(from)
    if (exact === undefined) this.#byKey.set(from, new Set([watcher]))
    else exact.add(watcher)
  }

  #unsync(watcher: Watcher<Target>): void {
    watcher.isSynced = false
    this.#byRange.delete(watcher)
    const exact = this.#byKey.get(watcher.wish.from)
    if (exact?.delete(watcher) === true && exact.size === 0) this.#byKey.delete(watcher.wish.from)
  }

  #fallBehind(watcher: Watcher<Target>, next: number): void {
    this.#unsync(watcher)
    watcher.next = next
    this.#behind.add(watcher)
  }

  // ---- Sending ---------------------------------------------------------------------------------------------------

  /** The last push could not be sent. */
  #isRefused = false

  /** Sends what was found up to `to`; what cannot be sent now is found again later. */
  #sendFound(watcher: Watcher<Target>, to: number, nowMs: number): void {
    const { found } = watcher
    watcher.found = []
    this.#isRefused = false
    let at = 0
    while (at < found.length) {
      const revision = (found[at] as KvVersion).modRevision
      let end = at
      let bytes = 0
      // As many whole revisions as fit, and as there is credit for; one that does not fit alone goes in fragments.
      while (end < found.length && bytes < pushBytes && bytes < watcher.credit) {
        bytes += weight(found[end] as KvVersion, watcher.wish)
        end++
      }
      end = wholeRevisions(found, at, Math.max(end, at + 1))
      const isSent = this.#sendRevisions(watcher, found.slice(at, end), nowMs)
      if (!isSent || (watcher.credit <= 0 && end < found.length)) {
        const next = isSent ? (found[end] as KvVersion).modRevision : revision
        if (watcher.isSynced) this.#fallBehind(watcher, next)
        watcher.next = next
        this.#isRefused = !isSent
        return
      }
      at = end
    }
    watcher.next = Math.max(watcher.next, to + 1)
    if (watcher.isSynced && watcher.credit <= 0) this.#fallBehind(watcher, watcher.next)
  }

  /** Whole revisions, in fragments where they are too large for one push. */
  #sendRevisions(watcher: Watcher<Target>, versions: readonly KvVersion[], nowMs: number): boolean {
    const last = (versions.at(-1) as KvVersion).modRevision
    let fragment: KvVersion[] = []
    let bytes = 0
    let rest = 0
    for (const version of versions) {
      const more = weight(version, watcher.wish)
      if (fragment.length > 0 && bytes + more > pushBytes * 2) {
        if (!this.#push(watcher, pushFlag.more | rest, last, fragment, nowMs)) return false
        rest = pushFlag.rest
        fragment = []
        bytes = 0
      }
      fragment.push(version)
      bytes += more
    }
    return this.#push(watcher, rest, last, fragment, nowMs)
  }

  #push(
    watcher: Watcher<Target>,
    flags: number,
    revision: number,
    versions: readonly KvVersion[] | undefined,
    nowMs: number,
  ): boolean {
    const writer = new ByteWriter(versions === undefined ? 16 : 1_024)
    writer.byte(flags)
    writer.number(watcher.sequence + 1)
    writer.number(revision)
    for (const version of versions ?? []) writeEvent(writer, version, watcher.wish.previous)
    const bytes = writer.take()
    if (!this.#send(watcher, bytes)) return false
    watcher.sequence++
    watcher.sentMs = nowMs
    if (versions !== undefined) watcher.credit -= bytes.length
    return true
  }
}

function offer<Target>(watcher: Watcher<Target>, version: KvVersion, touched: Set<Watcher<Target>>): void {
  if (!isWanted(watcher.wish, version)) return
  watcher.found.push(version)
  touched.add(watcher)
}

function isWanted({ without }: WatchWish, { value }: KvVersion): boolean {
  return without !== (value === undefined ? 'delete' : 'put')
}

/** The end of the last whole revision at or before `end`, or of the first one behind it. */
function wholeRevisions(found: readonly KvVersion[], from: number, end: number): number {
  if (end >= found.length) return found.length
  const next = (found[end] as KvVersion).modRevision
  let cut = end
  while (cut > from && (found[cut - 1] as KvVersion).modRevision === next) cut--
  if (cut > from) return cut
  while (end < found.length && (found[end] as KvVersion).modRevision === next) end++
  return end
}

function weight({ key, value, previous }: KvVersion, wish: WatchWish): number {
  return key.length + (value?.length ?? 0) + (wish.previous ? (previous?.value?.length ?? 0) : 0) + 32
}

function writeEvent(writer: ByteWriter, version: KvVersion, withPrevious: boolean): void {
  const previous = withPrevious && isLive(version.previous) ? version.previous : undefined
  const flags =
    (version.value === undefined ? eventFlag.delete : 0) | (previous === undefined ? 0 : eventFlag.previous)
  writer.byte(flags)
  if (isLive(version)) writeEntry(writer, version)
  else {
    writer.text(version.key)
    writer.number(version.modRevision)
  }
  if (previous !== undefined) writeEntry(writer, previous)
}
