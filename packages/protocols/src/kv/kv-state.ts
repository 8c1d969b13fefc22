/**
 * What the store holds: versions of keys by revision, the log of changes that watches read, and leases. Multi-version as
 * etcd's: a revision is made by one command, and everything from the compacted revision on can be read as it was.
 *
 * Every version points to the one before it. A key's newest version hangs in the ordered map; the log points to the same
 * objects, by revision. So a put allocates one version, a watch reads without copying, and compaction cuts pointers.
 */
import { LeaseTable, type Lease } from '../core/lease-table.ts'
import { bytesOf, type ByteText } from '../service/byte-buffer.ts'
import type { KvEntry, KvEvent, KvGet, KvGetResult, KvRange } from './kv-command.ts'
import { kvLimits, kvQuotaBytesDefault } from './kv-limit.ts'
import { OrderedKeys } from './ordered-keys.ts'

/** What a version costs beside its key and value, in bytes: about what it takes here. The quota counts with it. */
export const versionBytes = 192
/** And a lease. */
export const leaseBytes = 256

/** One key at one revision. Never changed, but that `previous` is cut off when it is compacted. */
export class KvVersion {
  readonly key: string
  /** `undefined`: deleted. */
  readonly value: ByteText | undefined
  readonly createRevision: number
  readonly modRevision: number
  readonly version: number
  readonly lease: number
  previous: KvVersion | undefined

  constructor(
    key: string,
    value: ByteText | undefined,
    createRevision: number,
    modRevision: number,
    version: number,
    lease: number,
    previous: KvVersion | undefined,
  ) {
    this.key = key
    this.value = value
    this.createRevision = createRevision
    this.modRevision = modRevision
    this.version = version
    this.lease = lease
    this.previous = previous
  }
}

/** A version that is not a deletion. */
export type LiveVersion = KvVersion & { readonly value: ByteText }

/** Where the newest version of a key hangs: a put of a known key then costs one look-up. */
interface KeySlot {
  head: KvVersion
}

export interface KvLease extends Lease {
  readonly keys: Set<string>
}

/** A copy for whoever asked. */
export function entryOf({ key, value, createRevision, modRevision, version, lease }: KvVersion): KvEntry {
  return { key, value: bytesOf(value ?? ''), createRevision, modRevision, version, lease }
}

/** What a change says to a watch. */
export function eventOf(version: KvVersion): KvEvent {
  const { key, modRevision, previous } = version
  return {
    type: version.value === undefined ? 'delete' : 'put',
    key,
    entry: version.value === undefined ? undefined : entryOf(version),
    revision: modRevision,
    previous: isLive(previous) ? entryOf(previous) : undefined,
  }
}

export function isLive(version: KvVersion | undefined): version is LiveVersion {
  return version !== undefined && version.value !== undefined
}

/** The state. What may be asked of it, and when, is decided in `KvMachine`; nothing here is refused. */
export class KvState {
  revision = 0
  /** Reads below it are refused; 0 when nothing was compacted. */
  compactRevision = 0
  /** Of all versions and leases, as the quota counts. */
  bytes = 0
  quotaBytes = kvQuotaBytesDefault
  readonly keys = new OrderedKeys<KeySlot>()
  readonly leases = new LeaseTable<KvLease>()
  /** Revision of the first change that `#log` has. */
  logFrom = 1
  /** By revision from `logFrom`: what it changed, in the order of its operations. */
  #log: (KvVersion | readonly KvVersion[])[] = []
  /** What the command in progress has changed: mostly one version, which needs no list. */
  #changes: KvVersion | KvVersion[] | undefined

  // ---- Changing ------------------------------------------------------------------------------------------------

  /** Puts at `revision + 1`. Gives what was there before. Hot. */
  put(key: string, value: ByteText, lease: number): LiveVersion | undefined {
    const slot = this.keys.get(key)
    const head = slot?.head
    const revision = this.revision + 1
    const isNew = head === undefined || head.value === undefined
    const version = new KvVersion(
      // All versions of a key share one text, and that of the command can go.
      head === undefined ? key : head.key,
      value,
      isNew ? revision : head.createRevision,
      revision,
      isNew ? 1 : head.version + 1,
      lease,
      head,
    )
    if (slot === undefined) this.keys.set(key, { head: version })
    else slot.head = version
    if (head !== undefined && head.lease !== 0 && head.lease !== lease) this.#letGo(head)
    if (lease !== 0) this.leases.get(lease)?.keys.add(key)
    this.#changed(version)
    return isLive(head) ? head : undefined
  }

  /** Deletes what lives in `range` at `revision + 1`. Gives what was there, by key. */
  delete(range: KvRange): readonly LiveVersion[] {
    const found: LiveVersion[] = []
    this.walk(range, 0, (version) => {
      found.push(version)
      return true
    })
    for (const version of found) this.#bury(version)
    return found
  }

  /** Deletes the keys of a lease and the lease. */
  revoke(lease: KvLease): void {
    // The order in which keys were attached is not in a snapshot.
    for (const key of [...lease.keys].sort()) {
      const head = this.keys.get(key)?.head
      if (isLive(head) && head.lease === lease.id) this.#bury(head)
    }
    this.leases.delete(lease.id)
    this.bytes -= leaseBytes
  }

  grant(id: number, ttlMs: number): void {
    this.leases.add({ id, ttlMs, renewedUntilMs: this.leases.timeMs + ttlMs, keys: new Set() })
    this.bytes += leaseBytes
  }

  /**
   * Ends a command: what it has changed becomes a revision, if that is anything. Hot.
   */
  commit(): void {
    const changes = this.#changes
    if (changes === undefined) return
    this.revision++
    this.#log.push(changes)
    this.#changes = undefined
  }

  /** Forgets what nobody may read once reads below `revision` are refused. O(changes it forgets). */
  compact(revision: number): void {
    this.compactRevision = revision
    // What the events of `revision` itself replaced stays, so that a watch from there can tell it.
    const count = revision - this.logFrom
    if (count <= 0) return
    for (const changes of this.#log.slice(0, count)) {
      if (changes instanceof KvVersion) this.#forget(changes)
      else for (const version of changes) this.#forget(version)
    }
    this.#log.splice(0, count)
    this.logFrom = revision
  }

  // ---- Reading -------------------------------------------------------------------------------------------------

  /** The newest version of a key, when it lives. */
  get(key: string): LiveVersion | undefined {
    const head = this.keys.get(key)?.head
    return isLive(head) ? head : undefined
  }

  /** Visits what lives in `range` at `revision` (0: now), by key, until `visit` returns false. */
  walk(range: KvRange, revision: number, visit: (version: LiveVersion) => boolean): void {
    if (range.to === undefined) {
      const version = at(this.keys.get(range.from)?.head, revision)
      if (isLive(version)) visit(version)
      return
    }
    this.keys.walk(range.from, range.to, (_key, slot) => {
      const version = at(slot.head, revision)
      return isLive(version) ? visit(version) : true
    })
  }

  /** What a get answers. At most about `answerBytesMax` of entries, at least one. */
  read(get: KvGet, answerBytesMax: number = kvLimits.answerBytesMax): KvGetResult {
    const { limit = 0, reverse = false, keysOnly = false, countOnly = false, revision = 0 } = get
    const { minModRevision = 0, maxModRevision = 0 } = get
    const most = countOnly ? 0 : limit === 0 ? Number.POSITIVE_INFINITY : limit
    const found: LiveVersion[] = []
    let count = 0
    this.walk(get, revision, (version) => {
      const { modRevision } = version
      if (modRevision < minModRevision || (maxModRevision !== 0 && modRevision > maxModRevision)) return true
      count++
      if (reverse ? !countOnly : found.length < most) found.push(version)
      return true
    })
    if (reverse) found.reverse()
    const entries: KvEntry[] = []
    let bytes = 0
    for (const version of found) {
      if (entries.length >= most) break
      bytes += version.key.length + (keysOnly ? 0 : version.value.length) + 32
      if (entries.length > 0 && bytes > answerBytesMax) break
      entries.push(keysOnly ? { ...entryOf(version), value: new Uint8Array(0) } : entryOf(version))
    }
    return { type: 'get', entries, count, more: !countOnly && entries.length < count }
  }

  /** What `revision` changed, in the order of its operations; `undefined` when it is compacted or not made yet. */
  changesOf(revision: number): KvVersion | readonly KvVersion[] | undefined {
    return this.#log[revision - this.logFrom]
  }

  /** Log time of the last command. */
  get timeMs(): number {
    return this.leases.timeMs
  }

  // ---- Restoring -----------------------------------------------------------------------------------------------

  /** A version that was there before the log begins. */
  restoreBase(
    key: string,
    value: ByteText,
    createRevision: number,
    modRevision: number,
    version: number,
    lease: number,
  ): void {
    this.#hang(new KvVersion(key, value, createRevision, modRevision, version, lease, undefined))
  }

  /** A change of the log, of the next revision; then `commit`. */
  restoreChange(key: string, value: ByteText | undefined, lease: number): void {
    if (value !== undefined) {
      this.put(key, value, lease)
      return
    }
    const head = this.get(key)
    if (head === undefined) throw new RangeError(`Key "${key}" is deleted where it is not`)
    this.#bury(head)
  }

  #hang(version: KvVersion): void {
    if (this.keys.get(version.key) !== undefined) throw new RangeError(`Key "${version.key}" is there twice`)
    this.keys.set(version.key, { head: version })
    if (version.lease !== 0) this.leases.get(version.lease)?.keys.add(version.key)
    this.bytes += sizeOf(version)
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  #bury(head: LiveVersion): void {
    const slot = this.keys.get(head.key) as KeySlot
    const grave = new KvVersion(head.key, undefined, 0, this.revision + 1, 0, 0, head)
    slot.head = grave
    if (head.lease !== 0) this.#letGo(head)
    this.#changed(grave)
  }

  #letGo({ key, lease }: KvVersion): void {
    this.leases.get(lease)?.keys.delete(key)
  }

  #changed(version: KvVersion): void {
    this.bytes += sizeOf(version)
    const changes = this.#changes
    if (changes === undefined) this.#changes = version
    else if (changes instanceof KvVersion) this.#changes = [changes, version]
    else changes.push(version)
  }

  /** A change falls out of the log: nobody sees what it replaced any more, nor, when it was a deletion, itself. */
  #forget(version: KvVersion): void {
    const { previous } = version
    // A deletion was counted out when it fell out of the log.
    if (isLive(previous)) this.bytes -= sizeOf(previous)
    version.previous = undefined
    if (version.value !== undefined) return
    this.bytes -= sizeOf(version)
    if (this.keys.get(version.key)?.head === version) this.keys.delete(version.key)
  }
}

/** As the quota counts. */
export function sizeOf({
  key,
  value,
}: {
  readonly key: string
  readonly value: ByteText | undefined
}): number {
  return versionBytes + key.length + (value === undefined ? 0 : value.length)
}

/** The version of a key at a revision. O(its changes since). */
function at(head: KvVersion | undefined, revision: number): KvVersion | undefined {
  if (revision === 0) return head
  let version = head
  while (version !== undefined && version.modRevision > revision) version = version.previous
  return version
}
