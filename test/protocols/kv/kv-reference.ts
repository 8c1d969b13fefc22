/** The store in the plainest words there are: every revision is a whole copy of all keys. For tests to compare with. */
import type {
  KvCommand,
  KvCompare,
  KvEntry,
  KvEvent,
  KvGet,
  KvOperation,
  KvOperationResult,
  KvRange,
  KvTransaction,
} from './kv-source.ts'

interface Lease {
  readonly ttlMs: number
  untilMs: number
}

type Keys = ReadonlyMap<string, KvEntry>

export type ReferenceAnswer =
  | { readonly ok: true; readonly revision: number; readonly result: unknown }
  | { readonly ok: false; readonly revision: number; readonly error: { readonly code: string } }

export class ReferenceKv {
  /** By revision; index 0 is the empty beginning. */
  readonly history: Keys[] = [new Map()]
  readonly events: KvEvent[][] = [[]]
  compacted = 0
  readonly leases = new Map<number, Lease>()
  #now: Map<string, KvEntry> = new Map()
  #changes: KvEvent[] = []
  #term = 0
  #timeMs = 0

  get revision(): number {
    return this.history.length - 1
  }

  /** As the quota counts: what lived when the kept log of changes begins, every change since, and the leases. */
  get bytes(): number {
    const logFrom = Math.max(1, this.compacted)
    const size = (key: string, value = 0): number => 192 + key.length + value
    let bytes = this.leases.size * 256
    for (const { key, value } of this.history[logFrom - 1]?.values() ?? []) bytes += size(key, value.length)
    for (const { key, entry } of this.events.slice(logFrom).flat()) bytes += size(key, entry?.value.length)
    return bytes
  }

  apply(command: KvCommand, term: number, timeMs: number, index: number): ReferenceAnswer {
    this.#timeMs = timeMs
    if (term !== this.#term) {
      this.#term = term
      for (const lease of this.leases.values()) lease.untilMs = Math.max(lease.untilMs, timeMs + lease.ttlMs)
    }
    this.#now = new Map(this.history.at(-1))
    this.#changes = []
    const answer = this.#carryOut(command, index)
    if (typeof answer === 'string') return { ok: false, revision: this.revision, error: { code: answer } }
    if (this.#changes.length > 0) {
      this.history.push(this.#now)
      this.events.push(this.#changes)
    }
    return { ok: true, revision: this.revision, result: answer }
  }

  read(get: KvGet): ReferenceAnswer {
    const code = this.#unreadable(get)
    if (code !== undefined) return { ok: false, revision: this.revision, error: { code } }
    this.#now = new Map(this.history.at(-1))
    return { ok: true, revision: this.revision, result: this.#get(get) }
  }

  #carryOut(command: KvCommand, index: number): unknown {
    switch (command.type) {
      case 'put':
      case 'delete':
        return this.#refusal(command) ?? this.#run(command)
      case 'transact': {
        if (changesTwice(command)) return 'KV_BAD_REQUEST'
        return this.#refusal(command) ?? this.#run(command)
      }
      case 'lease-grant': {
        if (this.leases.has(command.id)) return 'KV_LEASE_EXISTS'
        let id = command.id === 0 ? index : command.id
        while (this.leases.has(id)) id++
        this.leases.set(id, { ttlMs: command.ttlMs, untilMs: this.#timeMs + command.ttlMs })
        return { type: 'lease', id, ttlMs: command.ttlMs }
      }
      case 'lease-keep-alive': {
        const lease = this.leases.get(command.id)
        if (lease === undefined) return 'KV_LEASE_NOT_FOUND'
        lease.untilMs = Math.max(lease.untilMs, this.#timeMs + lease.ttlMs)
        return { type: 'lease', id: command.id, ttlMs: lease.ttlMs }
      }
      case 'lease-revoke': {
        const lease = this.leases.get(command.id)
        if (lease === undefined) return 'KV_LEASE_NOT_FOUND'
        this.#revoke(command.id)
        return { type: 'lease', id: command.id, ttlMs: lease.ttlMs }
      }
      case 'lease-expire':
        for (const id of command.ids) {
          const lease = this.leases.get(id)
          if (lease !== undefined && lease.untilMs <= this.#timeMs) this.#revoke(id)
        }
        return { type: 'done' }
      case 'compact':
        if (command.revision > this.revision) return 'KV_FUTURE_REVISION'
        if (command.revision <= this.compacted) return 'KV_COMPACTED'
        this.compacted = command.revision
        return { type: 'done' }
      case 'set-quota':
        return { type: 'done' }
    }
  }

  #revoke(id: number): void {
    for (const entry of [...this.#now.values()].sort(byKey)) if (entry.lease === id) this.#delete(entry.key)
    this.leases.delete(id)
  }

  /** Why it cannot run; judged on the state before it, as its comparisons are. */
  #refusal(operation: KvOperation): string | undefined {
    switch (operation.type) {
      case 'put':
        return (operation.lease ?? 0) === 0 || this.leases.has(operation.lease ?? 0)
          ? undefined
          : 'KV_LEASE_NOT_FOUND'
      case 'delete':
        return undefined
      case 'get':
        return this.#unreadable(operation)
      case 'transact':
        for (const one of this.#way(operation)) {
          const code = this.#refusal(one)
          if (code !== undefined) return code
        }
        return undefined
    }
  }

  #unreadable({ revision = 0 }: KvGet): string | undefined {
    if (revision > this.revision) return 'KV_FUTURE_REVISION'
    return revision !== 0 && revision < this.compacted ? 'KV_COMPACTED' : undefined
  }

  #way(transaction: KvTransaction): readonly KvOperation[] {
    return transaction.when.every((one) => this.#holds(one)) ? transaction.then : transaction.otherwise
  }

  #holds({ key, target, operator, operand }: KvCompare): boolean {
    const entry = this.history.at(-1)?.get(key)
    if (target === 'value') {
      if (entry === undefined) return operator === '!='
      const order = Buffer.compare(Buffer.from(entry.value), Buffer.from(operand as Uint8Array))
      return { '=': order === 0, '!=': order !== 0, '<': order < 0, '>': order > 0 }[operator]
    }
    const order = (entry?.[target] ?? 0) - Number(operand)
    return { '=': order === 0, '!=': order !== 0, '<': order < 0, '>': order > 0 }[operator]
  }

  #run(operation: KvOperation): KvOperationResult {
    switch (operation.type) {
      case 'put': {
        const { key, value, lease = 0, previous = false } = operation
        const before = this.#now.get(key)
        const revision = this.revision + 1
        const entry = {
          key,
          value,
          createRevision: before?.createRevision ?? revision,
          modRevision: revision,
          version: (before?.version ?? 0) + 1,
          lease,
        }
        this.#now.set(key, entry)
        this.#changes.push({ type: 'put', key, entry, revision, previous: before })
        return { type: 'put', previous: previous ? before : undefined }
      }
      case 'delete': {
        const gone = [...this.#now.values()].filter(({ key }) => inRange(operation, key)).sort(byKey)
        for (const { key } of gone) this.#delete(key)
        return { type: 'delete', deleted: gone.length, previous: operation.previous === true ? gone : [] }
      }
      case 'get':
        return this.#get(operation) as KvOperationResult
      case 'transact': {
        const way = this.#way(operation)
        return {
          type: 'transact',
          succeeded: way === operation.then,
          results: way.map((one) => this.#run(one)),
        }
      }
    }
  }

  #delete(key: string): void {
    const previous = this.#now.get(key)
    this.#now.delete(key)
    this.#changes.push({ type: 'delete', key, entry: undefined, revision: this.revision + 1, previous })
  }

  #get(get: KvGet): unknown {
    const { revision = 0, limit = 0, minModRevision = 0, maxModRevision = 0 } = get
    const keys = revision === 0 ? this.#now : (this.history[revision] ?? new Map<string, KvEntry>())
    const all = [...keys.values()]
      .filter(({ key }) => inRange(get, key))
      .filter((entry) => entry.modRevision >= minModRevision)
      .filter((entry) => maxModRevision === 0 || entry.modRevision <= maxModRevision)
      .sort(byKey)
    if (get.reverse === true) all.reverse()
    const shown = get.countOnly === true ? [] : limit === 0 ? all : all.slice(0, limit)
    const entries = shown.map((entry) =>
      get.keysOnly === true ? { ...entry, value: new Uint8Array(0) } : entry,
    )
    return {
      type: 'get',
      entries,
      count: all.length,
      more: get.countOnly !== true && entries.length < all.length,
    }
  }
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0
}

function inRange({ from, to }: KvRange, key: string): boolean {
  return to === undefined ? key === from : key >= from && (to === '' || key < to)
}

/** What one way through the operations may change, every way together. */
function touched(operations: readonly KvOperation[]): {
  readonly puts: string[]
  readonly deletes: KvRange[]
  bad: boolean
} {
  const all: { puts: string[]; deletes: KvRange[]; bad: boolean } = { puts: [], deletes: [], bad: false }
  for (const one of operations) {
    let own = { puts: [] as string[], deletes: [] as KvRange[], bad: false }
    if (one.type === 'put') own.puts.push(one.key)
    if (one.type === 'delete') own.deletes.push(one)
    if (one.type === 'transact') {
      const [a, b] = [touched(one.then), touched(one.otherwise)]
      own = {
        puts: [...new Set([...a.puts, ...b.puts])],
        deletes: [...a.deletes, ...b.deletes],
        bad: a.bad || b.bad,
      }
    }
    all.bad ||= own.bad || own.puts.some((key) => all.puts.includes(key))
    all.bad ||= own.puts.some((key) => all.deletes.some((range) => inRange(range, key)))
    all.bad ||= own.deletes.some((range) => all.puts.some((key) => inRange(range, key)))
    all.puts.push(...own.puts)
    all.deletes.push(...own.deletes)
  }
  return all
}

function changesTwice(transaction: KvTransaction): boolean {
  return touched(transaction.then).bad || touched(transaction.otherwise).bad
}
