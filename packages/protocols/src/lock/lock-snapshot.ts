/**
 * The lock table as chunks, and back. First the sessions, then each name with the requests that stand there, in their order.
 *
 * A walk goes on while later commands are applied: whatever is about to change a name that was not written yet has it written
 * first, as it is (`LockState.touch`). So a name is written once, as it was when the walk began, and those that came later not
 * at all. Sessions, which change with every keep-alive, are written at once: they are small.
 */
import { ByteWriter, type ByteReader } from '../service/byte-buffer.ts'
import { headTag, readClock, SnapshotReader, writeClock } from '../service/snapshot-records.ts'
import { BarrierPlace } from './barrier-place.ts'
import { DoubleBarrierPlace } from './double-barrier-place.ts'
import type { LockKind, Reign } from './lock-command.ts'
import { LockState, newSession, type PlaceWalk } from './lock-state.ts'
import { LockTicket, type LockSession, type TicketList } from './lock-ticket.ts'
import type { NamedPlace, QueuedPlace } from './named-place.ts'
import { PermitLock } from './permit-lock.ts'
import { CounterPlace, LatchPlace, SpinPlace, ValuePlace } from './value-place.ts'

const format = 1

const sessionTag = 2
const placeTag = 3
const endTag = 4

const kinds: readonly NamedPlace['kind'][] = [
  'mutex',
  'read-write',
  'semaphore',
  'election',
  'barrier',
  'double-barrier',
  'latch',
  'counter',
  'value',
  'spin',
]

/** The chunks of a state as it was when the walk began. */
export class LockSnapshotWalk implements Iterator<Uint8Array>, PlaceWalk {
  readonly #state: LockState
  readonly #chunkBytes: number
  readonly #number: number
  readonly #places: Iterator<NamedPlace>
  /** How many names there were. */
  readonly #count: number
  /** Chunks that are full, and the one that is being filled. */
  #ready: Uint8Array[] = []
  #writer: ByteWriter
  #stage: 'places' | 'end' | 'over' = 'places'

  /** From here on the state tells it before a name changes; one that is still being written gathers its rest at once. */
  constructor(state: LockState, chunkBytes: number) {
    state.walk?.detach()
    this.#state = state
    this.#chunkBytes = chunkBytes
    this.#number = ++state.walks
    this.#places = state.names.values()
    this.#count = state.names.size
    this.#writer = new ByteWriter(1_024)
    state.walk = this
    this.#writeHead()
  }

  next(): IteratorResult<Uint8Array, undefined> {
    while (this.#ready.length === 0 && this.#stage === 'places') this.#step()
    const chunk = this.#ready.shift()
    if (chunk !== undefined) return { done: false, value: chunk }
    if (this.#stage === 'over') return { done: true, value: undefined }
    this.#writer.byte(endTag)
    this.#writer.number(this.#count)
    const last = this.#writer.take()
    this.#stop()
    return { done: false, value: last }
  }

  return(): IteratorResult<Uint8Array, undefined> {
    this.#ready = []
    this.#stop()
    return { done: true, value: undefined }
  }

  save(place: NamedPlace): void {
    if (this.#stage !== 'places') return
    writePlace(this.#writer, place)
    this.#cut()
  }

  detach(): void {
    while (this.#stage === 'places') this.#step()
    this.#letGo()
  }

  #step(): void {
    const { done, value: place } = this.#places.next()
    if (done === true) {
      this.#stage = 'end'
      this.#letGo()
      return
    }
    if (place.seen === this.#number) return
    place.seen = this.#number
    writePlace(this.#writer, place)
    this.#cut()
  }

  #cut(): void {
    if (this.#writer.size < this.#chunkBytes) return
    this.#ready.push(this.#writer.take())
    this.#writer = new ByteWriter(this.#chunkBytes + 4_096)
  }

  #stop(): void {
    this.#stage = 'over'
    this.#letGo()
  }

  #letGo(): void {
    if (this.#state.walk === this) this.#state.walk = undefined
  }

  #writeHead(): void {
    const { leases, lastToken, lastVersion } = this.#state
    const writer = this.#writer
    writer.byte(headTag)
    writer.number(format)
    writer.number(lastToken)
    writer.number(lastVersion)
    writeClock(writer, leases)
    for (const session of leases.values()) {
      writeSession(this.#writer, session)
      this.#cut()
    }
  }
}

/** The state that the chunks of one walk hold. @throws {RangeError} (as a rejection) when they are not that */
export async function restoreLockState(chunks: AsyncIterable<Uint8Array>): Promise<LockState> {
  const restoring = new Restoring()
  await restoring.snapshot.read(chunks, (tag, reader) => restoring.takeRecord(tag, reader))
  return restoring.finish()
}

class Restoring {
  readonly snapshot = new SnapshotReader('locks', endTag)
  readonly #state = new LockState()
  #count = 0

  finish(): LockState {
    const state = this.#state
    if (state.names.size !== this.#count) {
      throw this.snapshot.bad(`holds ${state.names.size} names, but says ${this.#count}`)
    }
    return state
  }

  takeRecord(tag: number, reader: ByteReader): void {
    switch (tag) {
      case headTag:
        this.#takeHead(reader)
        return
      case sessionTag:
        this.#takeSession(reader)
        return
      case placeTag:
        this.#takePlace(reader)
        return
      case endTag:
        this.#count = reader.number()
        return
      default:
        throw this.snapshot.unknown(tag)
    }
  }

  #takeHead(reader: ByteReader): void {
    this.snapshot.checkFormat(reader.number(), format)
    const { leases } = this.#state
    this.#state.lastToken = reader.number()
    this.#state.lastVersion = reader.number()
    readClock(reader, leases)
  }

  #takeSession(reader: ByteReader): void {
    const { leases } = this.#state
    const [id, ttlMs, renewedUntilMs] = [reader.number(), reader.number(), reader.number()]
    const session = newSession(id, ttlMs, renewedUntilMs, reader.text())
    session.givenUpTo = reader.number()
    const count = reader.number()
    if (count > 0) session.givenUp = new Set()
    for (let left = count; left > 0; left--) session.givenUp?.add(reader.number())
    if (leases.has(id)) throw this.snapshot.bad(`has session ${id} twice`)
    leases.add(session)
  }

  #takePlace(reader: ByteReader): void {
    const state = this.#state
    const kind = kinds[reader.byte()]
    const name = reader.text()
    if (state.names.has(name)) throw this.snapshot.bad(`has "${name}" twice`)
    const place = readPlace(kind, name, reader)
    if (place instanceof ValuePlace) state.valuesBytes += place.value.length
    state.add(place)
    // Spin locks, counters and values have no lists.
    for (const list of place.lists) this.#takeTickets(list, place as QueuedPlace, reader)
  }

  #takeTickets(list: TicketList, place: QueuedPlace, reader: ByteReader): void {
    const state = this.#state
    for (let left = reader.number(); left > 0; left--) {
      const [id, request, permits, token] = [
        reader.number(),
        reader.number(),
        reader.number(),
        reader.number(),
      ]
      const session = state.leases.get(id)
      if (session === undefined) throw this.snapshot.bad(`has a request of no session, ${id}`)
      const ticket = new LockTicket(session, request, place, permits, reader.text(), reader.text())
      ticket.token = token
      list.push(ticket)
      state.enlist(ticket)
      if (list.isHeld && place instanceof PermitLock) place.used += permits
    }
  }
}

function writeSession(writer: ByteWriter, session: LockSession): void {
  writer.byte(sessionTag)
  writer.number(session.id)
  writer.number(session.ttlMs)
  writer.number(session.renewedUntilMs)
  writer.text(session.label)
  writer.number(session.givenUpTo)
  writer.number(session.givenUp?.size ?? 0)
  for (const request of session.givenUp ?? []) writer.number(request)
}

function writePlace(writer: ByteWriter, place: NamedPlace): void {
  writer.byte(placeTag)
  writer.byte(kinds.indexOf(place.kind))
  writer.text(place.name)
  switch (place.kind) {
    case 'mutex':
    case 'read-write':
    case 'semaphore':
    case 'election':
      writer.number(place.capacity)
      writer.byte(place.isKept ? 1 : 0)
      writer.number(place.version)
      writer.number(place.reigns.length)
      for (const { token, session, data } of place.reigns) {
        writer.number(token)
        writer.number(session)
        writer.text(data)
      }
      break
    case 'barrier':
      writer.number(place.parties)
      break
    case 'double-barrier':
      writer.number(place.parties)
      writer.number(place.generation)
      break
    case 'latch':
      writer.number(place.count)
      writer.number(place.version)
      break
    case 'counter':
      writer.byte(place.value < 0 ? 1 : 0)
      writer.number(Math.abs(place.value))
      writer.number(place.version)
      break
    case 'value':
      writer.number(place.value.length)
      writer.rest(place.value)
      writer.number(place.version)
      break
    case 'spin':
      writer.text(place.owner)
      writer.number(place.token)
      writer.number(place.ttlMs)
      writer.number(place.renewedUntilMs)
      break
  }
  for (const list of place.lists) {
    writer.number(list.size)
    for (const { session, request, permits, token, owner, data } of list) {
      writer.number(session.id)
      writer.number(request)
      writer.number(permits)
      writer.number(token)
      writer.text(owner)
      writer.text(data)
    }
  }
}

function readPlace(kind: NamedPlace['kind'] | undefined, name: string, reader: ByteReader): NamedPlace {
  switch (kind) {
    case 'mutex':
    case 'read-write':
    case 'semaphore':
    case 'election':
      return readPermitLock(kind, name, reader)
    case 'barrier':
      return new BarrierPlace(name, reader.number(), 0)
    case 'double-barrier': {
      const place = new DoubleBarrierPlace(name, reader.number(), 0)
      place.generation = reader.number()
      return place
    }
    case 'latch':
      return new LatchPlace(name, reader.number(), reader.number(), 0)
    case 'counter': {
      const sign = reader.byte() === 1 ? -1 : 1
      return new CounterPlace(name, reader.number() * sign, reader.number(), 0)
    }
    case 'value':
      return new ValuePlace(name, reader.valueBytes(), reader.number(), 0)
    case 'spin':
      return new SpinPlace(name, reader.text(), reader.number(), reader.number(), reader.number(), 0)
    case undefined:
      throw new RangeError(
        `A snapshot of locks has a name of a kind that this version does not know: "${name}"`,
      )
  }
}

function readPermitLock(kind: LockKind, name: string, reader: ByteReader): PermitLock {
  const lock = new PermitLock(kind, name, reader.number(), 0)
  lock.isKept = reader.byte() === 1
  lock.version = reader.number()
  const reigns: Reign[] = []
  for (let left = reader.number(); left > 0; left--) {
    reigns.push({ token: reader.number(), session: reader.number(), data: reader.text() })
  }
  lock.reigns = reigns
  return lock
}
