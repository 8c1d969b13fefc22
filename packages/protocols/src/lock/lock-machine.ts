/**
 * The lock table as a state machine: what holds, waits and counts follows from the commands of the log, their terms and their
 * times alone. Pure and deterministic.
 *
 * Taking a free lock is one entry, giving it back another, which also hands it to the next in the queue: nobody has to look
 * again, and only who is let through is told (`onGrant`). A client's session is a lease by the log's time
 * (`core/lease-table.ts`); when it ends, all that it holds is given back and all that it waits for is forgotten, and the next
 * are let through, in that entry.
 *
 * Every grant has a token of its own, drawn from one counter of the whole table; it is in snapshots, so no token is given
 * twice. The versions of counters, values, latches and elections come from another one, so that a name that was forgotten and
 * came again has others than before.
 *
 * Whatever can be refused is refused before anything is done. A batch is several commands in one entry, each judged in order,
 * on what those before it did.
 */
import type { AppliedCommand, StateMachine } from '../core/state-machine.ts'
import { BatchWalk } from '../service/batch.ts'
import { ByteWriter } from '../service/byte-buffer.ts'
import { snapshotChunkBytes } from '../service/snapshot-records.ts'
import { carryOutBarrier, carryOutLatchWait } from './barrier-command.ts'
import {
  AcquireReader,
  acquireTag,
  batchTag,
  decodeLockCommand,
  ReleaseReader,
  releaseTag,
  writeLockResult,
} from './lock-codec.ts'
import type {
  LockAnswer,
  LockCommand,
  LockGrant,
  LockRefusal,
  LockRequest,
  LockResult,
  LockView,
} from './lock-command.ts'
import { acquireProblem, commandProblem, lockLimits } from './lock-limit.ts'
import { badRequest } from './lock-refusal.ts'
import { LockSnapshotWalk, restoreLockState } from './lock-snapshot.ts'
import { LockState, type Outcome } from './lock-state.ts'
import { viewOf } from './lock-view.ts'
import {
  acquireSpin,
  addToCounter,
  countDown,
  extendSpin,
  releaseSpin,
  removeName,
  setCounter,
  setLatch,
  setPermits,
  setValue,
  sweepSpins,
} from './value-command.ts'

/** What the table is like, as plain data. */
export interface LockMachineStatus {
  readonly sessions: number
  readonly names: number
  readonly lastToken: number
  readonly valuesBytes: number
  /** Term and log time of the last command. */
  readonly term: number
  readonly timeMs: number
}

/** See the head of this file. */
export class LockMachine implements StateMachine<LockResult> {
  #state = new LockState()
  readonly #acquire = new AcquireReader()
  readonly #release = new ReleaseReader()
  readonly #batch = new BatchWalk(lockLimits.batchCommandsMax)
  #grantListener: ((grants: readonly LockGrant[]) => void) | undefined
  #refusedListener: ((requests: readonly LockRequest[]) => void) | undefined
  #overListener: ((sessions: readonly number[]) => void) | undefined
  #changeListener: ((names: ReadonlySet<string> | undefined) => void) | undefined

  /** Calls `listener`, the only one, behind each entry that let through who waited, in the order of the table. */
  onGrant(listener: (grants: readonly LockGrant[]) => void): void {
    this.#grantListener = listener
  }

  /** Calls `listener`, the only one, behind each entry that ended the wait of requests which can be served no more. */
  onRefused(listener: (requests: readonly LockRequest[]) => void): void {
    this.#refusedListener = listener
  }

  /** Calls `listener`, the only one, behind each entry that ended sessions; not behind `restore`: see `hasSession`. */
  onSessionOver(listener: (sessions: readonly number[]) => void): void {
    this.#overListener = listener
  }

  /** Calls `listener`, the only one, behind each entry with the names that it may have changed; `undefined`: any. */
  onChange(listener: (names: ReadonlySet<string> | undefined) => void): void {
    this.#changeListener = listener
    this.#state.changed ??= new Set()
  }

  /** Never throws: bytes that are no command are refused with LOCK_BAD_REQUEST, the same on every member. Hot. */
  apply({ data, term, timeMs, index }: AppliedCommand): LockResult {
    const state = this.#state
    state.leases.advance(term, timeMs)
    const result =
      data[0] === batchTag ? this.#applyBatch(data) : answer(this.#applyOne(data, 0, data.length, index))
    const { over, changed } = state
    const grants = state.takeGrants()
    if (grants.length > 0) this.#grantListener?.(grants)
    const refused = state.takeRefused()
    if (refused.length > 0) this.#refusedListener?.(refused)
    if (over.length > 0) {
      this.#overListener?.([...over])
      over.length = 0
    }
    if (changed !== undefined && changed.size > 0) {
      this.#changeListener?.(changed)
      changed.clear()
    }
    return result
  }

  // ---- Reading -------------------------------------------------------------------------------------------------

  /** How a name stands now; `undefined`: there is none. O(holders). */
  view(name: string): LockView | undefined {
    const place = this.#state.names.get(name)
    return place === undefined ? undefined : viewOf(this.#state, place)
  }

  /** Names above `after` that begin with `prefix`, in order, at most `limit`. O(names). */
  list(prefix: string, limit: number, after = ''): readonly LockView[] {
    const names = [...this.#state.names.values()].filter(
      ({ name }) => name > after && name.startsWith(prefix),
    )
    names.sort((a, b) => (a.name < b.name ? -1 : 1))
    return names.slice(0, limit).map((place) => viewOf(this.#state, place))
  }

  /** How a request stands: `held`, `queued`, or `released` when it is not there. O(those before it). */
  state(session: number, request: number): LockAnswer {
    return this.#state.standing(session, request)
  }

  hasSession(session: number): boolean {
    return this.#state.leases.has(session)
  }

  /** Sessions that are over at this log time, at most `lockLimits.expireMax`, longest over first. O(sessions). */
  sessionsOver(timeMs: number): readonly number[] {
    return this.#state.leases.over(timeMs, lockLimits.expireMax)
  }

  /** True when spin locks that are over wait to be forgotten. O(spin locks). */
  hasSpinsOver(timeMs: number): boolean {
    for (const spin of this.#state.spins) if (this.#state.spinEndMs(spin) <= timeMs) return true
    return false
  }

  status(): LockMachineStatus {
    const { leases, names, lastToken, valuesBytes } = this.#state
    const { term, timeMs } = leases
    return { sessions: leases.size, names: names.size, lastToken, valuesBytes, term, timeMs }
  }

  // ---- Snapshots -----------------------------------------------------------------------------------------------

  /** `chunkBytes`: about how large a chunk is; one name more at most. */
  snapshot(chunkBytes: number = snapshotChunkBytes): Iterator<Uint8Array> {
    return new LockSnapshotWalk(this.#state, chunkBytes)
  }

  /** @throws {RangeError} (as a rejection) when the chunks are not what `snapshot` wrote; the state is then as before */
  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const { changed } = this.#state
    this.#state = await restoreLockState(chunks)
    this.#state.changed = changed
    this.#changeListener?.(undefined)
  }

  // ---- Commands ------------------------------------------------------------------------------------------------

  #applyBatch(data: Uint8Array): LockResult {
    const batch = this.#batch
    const problem = batch.begin(data)
    if (problem !== undefined) return answer(badRequest(problem))
    const answers = new ByteWriter(batch.count * 8)
    while (batch.next()) {
      writeLockResult(answers, answer(this.#applyOne(data, batch.from, batch.to, undefined)))
    }
    batch.release()
    return { ok: true, result: { type: 'batch', answers: answers.take() } }
  }

  /** `index`: of its entry; `undefined` in a batch. Hot (benchmark: locks). */
  #applyOne(data: Uint8Array, from: number, to: number, index: number | undefined): Outcome {
    const tag = from < to ? data[from] : undefined
    if (tag === acquireTag) {
      const acquire = this.#acquire
      try {
        acquire.read(data, from, to)
      } catch {
        return noCommand
      }
      return acquireProblem(acquire) ?? this.#state.acquire(acquire)
    }
    if (tag === releaseTag) {
      const release = this.#release
      try {
        release.read(data, from, to)
      } catch {
        return noCommand
      }
      return this.#state.release(release.session, release.request)
    }
    return this.#applyOther(data.subarray(from, to), index)
  }

  #applyOther(data: Uint8Array, index: number | undefined): Outcome {
    let command: unknown
    try {
      command = decodeLockCommand(data)
    } catch {
      return noCommand
    }
    return commandProblem(command) ?? this.#carryOut(command as LockCommand, index)
  }

  #carryOut(command: LockCommand, index: number | undefined): Outcome {
    const state = this.#state
    switch (command.type) {
      case 'open-session':
        // Its number is its place in the log, of which a batch has one.
        if (index === undefined) return badRequest('"open-session" may not stand in a batch; send it alone')
        return state.openSession(index, command.ttlMs, command.label)
      case 'keep-alive':
        return state.keepAlive(command.session)
      case 'end-session':
        state.endSessions([command.session])
        return done
      case 'expire':
        return this.#expire(command.sessions)
      case 'acquire':
        return state.acquire(command)
      case 'release':
        return state.release(command.session, command.request)
      case 'downgrade':
        return state.downgrade(command.session, command.request)
      case 'set-permits':
        return setPermits(state, command)
      case 'barrier':
        return carryOutBarrier(state, command)
      case 'latch-set':
        return setLatch(state, command)
      case 'latch-down':
        return countDown(state, command)
      case 'latch-wait':
        return carryOutLatchWait(state, command)
      case 'count-add':
        return addToCounter(state, command)
      case 'count-set':
        return setCounter(state, command)
      case 'value-set':
        return setValue(state, command)
      case 'remove':
        return removeName(state, command)
      case 'spin-acquire':
        return acquireSpin(state, command)
      case 'spin-extend':
        return extendSpin(state, command)
      case 'spin-release':
        return releaseSpin(state, command)
    }
  }

  #expire(sessions: readonly number[]): Outcome {
    const { leases } = this.#state
    // One was kept alive after the leader looked, or a new term gave it more.
    this.#state.endSessions(
      sessions.filter((id) => {
        const session = leases.get(id)
        return session !== undefined && leases.isOver(session)
      }),
    )
    sweepSpins(this.#state)
    return done
  }
}

function answer(outcome: Outcome): LockResult {
  return isRefusal(outcome) ? { ok: false, error: outcome } : { ok: true, result: outcome }
}

function isRefusal(outcome: Outcome): outcome is LockRefusal {
  return 'code' in outcome
}

const done = { type: 'done' } as const
const noCommand = badRequest('the bytes are no command')
