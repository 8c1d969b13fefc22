/** The plainest lock table: one list of requests in the order in which they came, gone over again for every question. */
import { ok } from 'node:assert/strict'
import type {
  AcquireCommand,
  BarrierCommand,
  LockAnswer,
  LockCommand,
  LockGrant,
  LockKind,
  Reign,
  WaitEdge,
} from './machine-source.ts'

interface Session {
  readonly id: number
  readonly ttlMs: number
  untilMs: number
  readonly givenUp: Set<number>
}

interface Request {
  readonly session: number
  readonly request: number
  readonly name: string
  permits: number
  readonly owner: string
  readonly data: string
  token: number
  where: 'queued' | 'held' | 'leaving' | 'out'
  /** When it was granted, for the order of holders. */
  turn: number
}

interface Name {
  readonly kind: string
  capacity: number
  isKept: boolean
  generation: number
  value: number | readonly number[]
  version: number
  reigns: Reign[]
  owner: string
  token: number
  ttlMs: number
  untilMs: number
}

export type ReferenceAnswer = LockAnswer | { readonly code: string }

export class ReferenceLocks {
  sessions: Session[] = []
  requests: Request[] = []
  readonly names = new Map<string, Name>()
  lastToken = 0
  lastVersion = 0
  term = 0
  timeMs = 0
  termStartMs = 0
  turn = 0
  grants: Request[] = []
  over: number[] = []

  apply(command: LockCommand, index: number, term: number, timeMs: number): ReferenceAnswer {
    this.timeMs = timeMs
    if (term !== this.term) {
      this.term = term
      this.termStartMs = timeMs
    }
    return this.carryOut(command, index)
  }

  takeGrants(): readonly LockGrant[] {
    const grants = this.grants
      .filter((one) => this.requests.includes(one))
      .map(({ session, request, token }) => ({ session, request, token }))
    this.grants = []
    return grants
  }

  state(session: number, request: number): LockAnswer {
    const one = this.find(session, request)
    return one === undefined ? { type: 'released', was: 'nothing' } : this.standing(one)
  }

  carryOut(command: LockCommand, index: number): ReferenceAnswer {
    switch (command.type) {
      case 'open-session': {
        let id = index
        while (this.sessions.some((one) => one.id === id)) id++
        const { ttlMs } = command
        this.sessions.push({ id, ttlMs, untilMs: this.timeMs + ttlMs, givenUp: new Set() })
        return { type: 'session', session: id, ttlMs }
      }
      case 'keep-alive': {
        const session = this.session(command.session)
        if (session === undefined) return { code: 'LOCK_SESSION_LOST' }
        session.untilMs = Math.max(session.untilMs, this.timeMs + session.ttlMs)
        return { type: 'session', session: session.id, ttlMs: session.ttlMs }
      }
      case 'end-session':
        this.end([command.session])
        return { type: 'done' }
      case 'expire':
        this.end(
          command.sessions.filter((id) => {
            const session = this.session(id)
            return (
              session !== undefined &&
              Math.max(session.untilMs, this.termStartMs + session.ttlMs) <= this.timeMs
            )
          }),
        )
        for (const [name, one] of this.names) {
          if (one.kind === 'spin' && this.spinEnd(one) <= this.timeMs) this.names.delete(name)
        }
        return { type: 'done' }
      case 'acquire':
        return this.acquire(command)
      case 'release': {
        const session = this.session(command.session)
        const one = this.find(command.session, command.request)
        if (one === undefined) {
          session?.givenUp.add(command.request)
          return { type: 'released', was: 'nothing' }
        }
        const was = one.where === 'held' || one.where === 'out' ? 'held' : 'queued'
        this.requests = this.requests.filter((other) => other !== one)
        this.settle(one.name)
        return { type: 'released', was }
      }
      case 'downgrade': {
        if (this.session(command.session) === undefined) return { code: 'LOCK_SESSION_LOST' }
        const one = this.find(command.session, command.request)
        if (one === undefined || (one.where !== 'held' && one.where !== 'out'))
          return { code: 'LOCK_NOT_HELD' }
        if (this.names.get(one.name)?.kind !== 'read-write') return { code: 'LOCK_WRONG_KIND' }
        one.permits = 1
        this.settle(one.name)
        return { type: 'held', token: one.token }
      }
      case 'set-permits': {
        const there = this.names.get(command.name) ?? this.make(command.name, 'semaphore')
        if (there.kind !== 'semaphore') return { code: 'LOCK_WRONG_KIND' }
        there.capacity = command.permits
        there.isKept = true
        // What can never be served is refused, wherever it stands.
        this.requests = this.requests.filter(
          (one) => one.name !== command.name || one.where !== 'queued' || one.permits <= command.permits,
        )
        this.settle(command.name)
        return { type: 'done' }
      }
      case 'barrier':
        return this.barrier(command)
      case 'latch-set': {
        const there = this.names.get(command.name)
        if (there !== undefined && there.kind !== 'latch') return { code: 'LOCK_WRONG_KIND' }
        const latch = there ?? this.make(command.name, 'latch')
        if (there === undefined) {
          latch.value = command.count
          latch.version = ++this.lastVersion
        }
        return this.numberOf(latch, there === undefined)
      }
      case 'latch-down': {
        const latch = this.names.get(command.name)
        if (latch === undefined) return { code: 'LOCK_BAD_REQUEST' }
        if (latch.kind !== 'latch') return { code: 'LOCK_WRONG_KIND' }
        const before = latch.value as number
        latch.value = Math.max(0, before - command.by)
        if (before > 0) latch.version = ++this.lastVersion
        this.settle(command.name)
        return this.numberOf(latch, true)
      }
      case 'latch-wait': {
        const refusal = this.fresh(command.session, command.request, command.name, 'latch')
        if (refusal !== undefined) return refusal
        const latch = this.names.get(command.name)
        if (latch === undefined) return { code: 'LOCK_BAD_REQUEST' }
        if (latch.kind !== 'latch') return { code: 'LOCK_WRONG_KIND' }
        if (latch.value === 0) return { type: 'held', token: 0 }
        return this.join(command, 'queued')
      }
      case 'count-add': {
        const there = this.names.get(command.name)
        if (there !== undefined && there.kind !== 'counter') return { code: 'LOCK_WRONG_KIND' }
        return this.write(command.name, ((there?.value as number | undefined) ?? 0) + command.by)
      }
      case 'count-set': {
        const there = this.names.get(command.name)
        if (there !== undefined && there.kind !== 'counter') return { code: 'LOCK_WRONG_KIND' }
        const before = (there?.value as number | undefined) ?? 0
        if (command.expected !== undefined && command.expected !== before) {
          return { type: 'number', ok: false, value: before, version: there?.version ?? 0 }
        }
        return this.write(command.name, command.value)
      }
      case 'value-set': {
        const there = this.names.get(command.name)
        if (there !== undefined && there.kind !== 'value') return { code: 'LOCK_WRONG_KIND' }
        const version = there?.version ?? 0
        if (command.expectedVersion !== undefined && command.expectedVersion !== version) {
          const value = new Uint8Array((there?.value as readonly number[] | undefined) ?? [])
          return { type: 'value', ok: false, value, version }
        }
        const value = there ?? this.make(command.name, 'value')
        value.value = [...command.value]
        value.version = ++this.lastVersion
        return { type: 'value', ok: true, value: new Uint8Array(0), version: value.version }
      }
      case 'remove': {
        const there = this.names.get(command.name)
        if (there === undefined) return { type: 'done' }
        const isUsed =
          there.kind === 'spin' ? this.spinEnd(there) > this.timeMs : this.at(command.name).length > 0
        if (isUsed) return { code: 'LOCK_BAD_REQUEST' }
        this.names.delete(command.name)
        return { type: 'done' }
      }
      case 'spin-acquire': {
        const there = this.names.get(command.name)
        if (there !== undefined && there.kind !== 'spin') return { code: 'LOCK_WRONG_KIND' }
        const leftMs = there === undefined ? 0 : this.spinEnd(there) - this.timeMs
        if (there !== undefined && leftMs > 0 && there.owner !== command.owner)
          return { type: 'taken', leftMs }
        const spin = there ?? this.make(command.name, 'spin')
        const isNew = leftMs <= 0
        if (isNew) spin.token = ++this.lastToken
        spin.owner = command.owner
        spin.ttlMs = isNew ? command.ttlMs : Math.max(spin.ttlMs, command.ttlMs)
        spin.untilMs = this.timeMs + (isNew ? command.ttlMs : Math.max(leftMs, command.ttlMs))
        return { type: 'held', token: spin.token }
      }
      case 'spin-extend': {
        const spin = this.ownSpin(command.name, command.owner)
        if (spin === undefined || spin.token !== command.token) return { code: 'LOCK_NOT_HELD' }
        spin.ttlMs = command.ttlMs
        spin.untilMs = this.timeMs + command.ttlMs
        return { type: 'held', token: spin.token }
      }
      case 'spin-release': {
        const spin = this.ownSpin(command.name, command.owner)
        if (spin === undefined || (command.token !== 0 && spin.token !== command.token)) {
          return { type: 'released', was: 'nothing' }
        }
        this.names.delete(command.name)
        return { type: 'released', was: 'held' }
      }
    }
  }

  // ---- Locks with a queue --------------------------------------------------------------------------------------

  acquire(command: AcquireCommand): ReferenceAnswer {
    const { session, request, name, kind, permits, owner, reentrant } = command
    const refusal = this.fresh(session, request, name, kind)
    if (refusal !== undefined) return refusal
    const there = this.names.get(name)
    if (there !== undefined && there.kind !== kind) return { code: 'LOCK_WRONG_KIND' }
    const capacity = there?.capacity ?? command.capacity
    if (kind === 'semaphore' && permits > capacity) return { code: 'LOCK_BAD_REQUEST' }
    if (there === undefined) this.make(name, kind).capacity = capacity

    const own = this.holders(name).filter(
      (one) => owner !== '' && one.session === session && one.owner === owner,
    )
    const writing = own.find((one) => one.permits === 0)
    if (kind === 'read-write' && permits === 0 && own.length > 0 && writing === undefined) {
      return { code: 'LOCK_UPGRADE' }
    }
    const shared =
      kind === 'semaphore'
        ? undefined
        : reentrant
          ? (writing ?? own[0])
          : kind === 'read-write' && permits === 1
            ? writing
            : undefined
    const one: Request = {
      session,
      request,
      name,
      permits,
      owner,
      data: command.data,
      token: 0,
      where: 'queued',
      turn: 0,
    }
    if (shared !== undefined) {
      this.requests.push(one)
      this.hold(one, shared.token)
      return { type: 'held', token: one.token }
    }
    if (this.queue(name).length === 0 && this.fits(name, permits)) {
      this.requests.push(one)
      this.hold(one, ++this.lastToken)
      return { type: 'held', token: one.token }
    }
    if (!command.wait) return { type: 'busy', holders: this.holders(name).length }
    this.requests.push(one)
    if (owner !== '' && this.isStuck(one)) {
      this.requests.pop()
      return { code: 'LOCK_DEADLOCK' }
    }
    return this.standing(one)
  }

  /** Lets everybody finish who can, again and again, and looks whether it ever had its turn. */
  isStuck(asked: Request): boolean {
    const world = new ReferenceLocks()
    for (const [name, one] of this.names) world.names.set(name, { ...one, isKept: true, reigns: [] })
    let mine: Request | undefined
    world.requests = this.requests.map((one) => {
      const copy = { ...one }
      if (one === asked) mine = copy
      return copy
    })
    const isLock = (one: Request): boolean => this.names.get(one.name)?.kind.includes('barrier') === false
    const courseOf = (one: Request): string =>
      one.owner === '' ? `${one.session}#${one.request}` : `${one.session}/${one.owner}`
    for (;;) {
      const waiting = new Set(
        world.requests.filter((one) => isLock(one) && one.where === 'queued').map((one) => courseOf(one)),
      )
      const gone = world.requests.filter((one) => one.where === 'held' && !waiting.has(courseOf(one)))
      if (mine !== undefined && mine.where === 'held') return false
      if (gone.length === 0) return true
      world.requests = world.requests.filter((one) => !gone.includes(one))
      for (const name of world.names.keys()) world.settle(name)
    }
  }

  /** True when the cycle's steps are so: each waits, and the next one holds that or is before it. */
  isCycle(cycle: readonly WaitEdge[], asked: AcquireCommand): boolean {
    const waits = (edge: WaitEdge): Request | undefined =>
      this.requests.find(
        (one) =>
          one.session === edge.session &&
          one.owner === edge.owner &&
          one.name === edge.name &&
          one.where === 'queued',
      )
    const [first] = cycle
    ok(first !== undefined)
    if (first.session !== asked.session || first.owner !== asked.owner || first.name !== asked.name)
      return false
    return cycle.every((edge, at) => {
      const next = cycle[(at + 1) % cycle.length] as WaitEdge
      const own = at === 0 ? undefined : waits(edge)
      if (at > 0 && own === undefined) return false
      return this.at(edge.name).some(
        (one) =>
          one.session === next.session &&
          one.owner === next.owner &&
          (one.where === 'held' ||
            own === undefined ||
            this.requests.indexOf(one) < this.requests.indexOf(own)),
      )
    })
  }

  at(name: string): readonly Request[] {
    return this.requests.filter((one) => one.name === name)
  }

  queue(name: string): readonly Request[] {
    return this.at(name).filter((one) => one.where === 'queued')
  }

  holders(name: string): readonly Request[] {
    return this.at(name)
      .filter((one) => one.where === 'held')
      .sort((a, b) => a.turn - b.turn)
  }

  fits(name: string, permits: number): boolean {
    const holders = this.holders(name)
    const { kind, capacity } = this.names.get(name) as Name
    switch (kind as LockKind) {
      case 'mutex':
      case 'election':
        return holders.length === 0
      case 'read-write':
        return holders.length === 0 || (permits === 1 && holders.every((one) => one.permits === 1))
      case 'semaphore':
        return holders.reduce((sum, one) => sum + one.permits, 0) + permits <= capacity
    }
  }

  hold(one: Request, token: number): void {
    one.where = 'held'
    one.token = token
    one.turn = ++this.turn
    const name = this.names.get(one.name)
    if (name === undefined || name.kind !== 'election' || name.reigns.at(-1)?.token === token) return
    name.reigns.push({ token, session: one.session, data: one.data })
    name.version = ++this.lastVersion
  }

  settle(name: string): void {
    const place = this.names.get(name)
    if (place === undefined) return
    switch (place.kind) {
      case 'barrier': {
        const waiting = this.queue(name)
        if (waiting.length >= place.capacity)
          this.let(waiting.slice(0, place.capacity), 'held', ++this.lastToken)
        break
      }
      case 'double-barrier': {
        if (this.holders(name).length > 0) break
        const leaving = this.at(name).filter((one) => one.where === 'leaving')
        this.let(leaving, 'out', place.generation)
        place.generation = 0
        const entering = this.queue(name)
        if (entering.length < place.capacity) break
        place.generation = ++this.lastToken
        this.let(entering.slice(0, place.capacity), 'held', place.generation)
        break
      }
      case 'latch':
        if (place.value === 0) this.let(this.queue(name), 'held', 0)
        return
      case 'counter':
      case 'value':
      case 'spin':
        return
      default: {
        if (place.kind === 'election' && this.holders(name).length === 0 && place.reigns.length > 0) {
          this.endReign(place)
        }
        for (;;) {
          const [next] = this.queue(name)
          if (next === undefined || !this.fits(name, next.permits)) break
          this.hold(next, ++this.lastToken)
          this.grants.push(next)
        }
      }
    }
    if (this.at(name).length === 0 && !place.isKept && place.reigns.length === 0) this.names.delete(name)
  }

  /** A reign that ended gives the name a version, once. */
  endReign(place: Name): void {
    if (place.generation === place.reigns.at(-1)?.token) return
    place.generation = place.reigns.at(-1)?.token ?? 0
    place.version = ++this.lastVersion
  }

  let(requests: readonly Request[], where: Request['where'], token: number): void {
    for (const one of requests) {
      one.where = where
      one.token = token
      one.turn = ++this.turn
      this.grants.push(one)
    }
  }

  // ---- Barriers ------------------------------------------------------------------------------------------------

  barrier(command: BarrierCommand): ReferenceAnswer {
    const { session, request, name, step, parties, entered } = command
    const kind = step === 'pass' ? 'barrier' : 'double-barrier'
    const refusal = this.fresh(session, request, name, kind)
    if (refusal !== undefined) return refusal
    if (step === 'leave') {
      const one = this.find(session, entered)
      const isInside =
        one?.where === 'held' && one.name === name && this.names.get(name)?.kind === 'double-barrier'
      if (!isInside) return { code: 'LOCK_NOT_HELD' }
      this.requests = this.requests.filter((other) => other !== one)
      return this.join(command, 'leaving')
    }
    const there = this.names.get(name)
    if (there !== undefined && there.kind !== kind) return { code: 'LOCK_WRONG_KIND' }
    const isUsed = this.at(name).some((one) => {
      if (step === 'pass') return one.where === 'queued'
      return one.where !== 'out'
    })
    if (there !== undefined && isUsed && there.capacity !== parties) return { code: 'LOCK_BAD_REQUEST' }
    const barrier = there ?? this.make(name, kind)
    barrier.capacity = parties
    return this.join(command, 'queued')
  }

  join(
    { session, request, name }: { readonly session: number; readonly request: number; readonly name: string },
    where: Request['where'],
  ): ReferenceAnswer {
    const one: Request = {
      session,
      request,
      name,
      permits: 1,
      owner: '',
      data: '',
      token: 0,
      where,
      turn: 0,
    }
    this.requests.push(one)
    this.settle(name)
    // Its answer says so.
    this.grants = this.grants.filter((other) => other !== one)
    return this.standing(one)
  }

  // ---- The rest ------------------------------------------------------------------------------------------------

  /** What is answered to a request that cannot be new; `undefined`: it is. */
  fresh(session: number, request: number, name: string, kind: string): ReferenceAnswer | undefined {
    const there = this.session(session)
    if (there === undefined) return { code: 'LOCK_SESSION_LOST' }
    const one = this.find(session, request)
    if (one !== undefined) {
      const isSame = one.name === name && this.names.get(name)?.kind === kind
      return isSame ? this.standing(one) : { code: 'LOCK_BAD_REQUEST' }
    }
    return there.givenUp.has(request) ? { code: 'LOCK_BAD_REQUEST' } : undefined
  }

  standing(one: Request): LockAnswer {
    if (one.where === 'held' || one.where === 'out') return { type: 'held', token: one.token }
    const before = this.at(one.name).filter((other) => other.where === one.where)
    return { type: 'queued', ahead: before.indexOf(one) }
  }

  end(ids: readonly number[]): void {
    const names = new Set<string>()
    for (const id of ids) {
      if (this.session(id) === undefined) continue
      this.over.push(id)
      this.sessions = this.sessions.filter((one) => one.id !== id)
      const own = this.requests.filter((one) => one.session === id).sort((a, b) => a.request - b.request)
      for (const one of own) {
        names.add(one.name)
        this.requests = this.requests.filter((other) => other !== one)
        const place = this.names.get(one.name)
        if (place?.kind === 'election' && one.where === 'held' && this.holders(one.name).length === 0) {
          this.endReign(place)
        }
      }
    }
    for (const name of names) this.settle(name)
  }

  session(id: number): Session | undefined {
    return this.sessions.find((one) => one.id === id)
  }

  find(session: number, request: number): Request | undefined {
    return this.requests.find((one) => one.session === session && one.request === request)
  }

  make(name: string, kind: string): Name {
    const made: Name = {
      kind,
      capacity: 0,
      isKept: ['latch', 'counter', 'value', 'spin'].includes(kind),
      generation: 0,
      value: 0,
      version: 0,
      reigns: [],
      owner: '',
      token: 0,
      ttlMs: 0,
      untilMs: 0,
    }
    this.names.set(name, made)
    return made
  }

  write(name: string, value: number): LockAnswer {
    const counter = this.names.get(name) ?? this.make(name, 'counter')
    counter.value = value
    counter.version = ++this.lastVersion
    return this.numberOf(counter, true)
  }

  numberOf({ value, version }: Name, isAsExpected: boolean): LockAnswer {
    return { type: 'number', ok: isAsExpected, value: value as number, version }
  }

  spinEnd({ untilMs, ttlMs }: Name): number {
    return Math.max(untilMs, this.termStartMs + ttlMs)
  }

  ownSpin(name: string, owner: string): Name | undefined {
    const spin = this.names.get(name)
    return spin?.kind === 'spin' && spin.owner === owner && this.spinEnd(spin) > this.timeMs
      ? spin
      : undefined
  }
}
