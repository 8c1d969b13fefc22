/** Many readers or one writer, in the order in which they came. */
import { LockError } from './lock-error.ts'
import type { Claim } from './client-life.ts'
import type { ClientSession } from './client-session.ts'
import type { AcquireOptions, Held, HeldWrite, ReadWriteLock, WaitOptions } from './lock.ts'
import { held, HeldLock, QueuedLock, queuedLock } from './queued-lock.ts'

/**
 * Readers that come behind a writer who waits, wait too: no writer starves, and no reader either.
 *
 * - Down: who writes becomes a reader by `downgrade`, with nobody writing between. Readers at the head of the queue come in with it.
 * - Up: an `owner` that reads and asks to write is refused with LOCK_UPGRADE: two of them would wait for each other for ever.
 * - An `owner` that writes may read as well: both are held, each is given back for itself.
 */
export function readWriteLock(session: ClientSession, name: string): ReadWriteLock {
  const read = queuedLock(session, {
    name,
    kind: 'read-write',
    what: `the lock "${name}" for reading`,
    permits: 1,
  })
  const write = new WriteLock(session, {
    name,
    kind: 'read-write',
    what: `the lock "${name}" for writing`,
    permits: 0,
  })
  return {
    name,
    read,
    write: {
      name,
      acquire: async (options = {}) => held(await write.claimWrite(true, options)),
      tryAcquire: (options = {}) => write.claimWrite(false, options),
    },
  }
}

class WriteLock extends QueuedLock {
  async claimWrite(wait: boolean, options: AcquireOptions): Promise<HeldWrite | undefined> {
    const lock = await this.claim(wait, options)
    return lock && new WriteHold(this.session, lock.claim)
  }
}

class WriteHold extends HeldLock implements HeldWrite {
  #isDowngrading = false

  /**
   * Write no more once this was called: also when it is not answered, the table may have carried it out. Then call it again, or
   * release. When it resolves, this hold is void (disposing of it does nothing) and what it gave is what is held.
   *
   * @throws {ActorError} (as a rejection) LOCK_NOT_HELD, LOCK_UNAVAILABLE, PROTOCOLS_OUTCOME_UNKNOWN, RUNTIME_ABORTED
   */
  async downgrade(options: WaitOptions = {}): Promise<Held> {
    const { claim, session } = this
    if (this.isDone || this.#isDowngrading) {
      throw new LockError('LOCK_NOT_HELD', `Cannot read on under ${claim.wish.what}: it was released before`)
    }
    this.#isDowngrading = true
    try {
      await session.change(claim, downgradeOf(claim), options)
    } finally {
      this.#isDowngrading = false
    }
    if (this.isDone) {
      throw new LockError(
        'LOCK_NOT_HELD',
        `Cannot read on under ${claim.wish.what}: it was released meanwhile`,
      )
    }
    this.pass()
    return new HeldLock(session, claim)
  }
}

function downgradeOf({ life, request }: Claim): {
  readonly type: 'downgrade'
  readonly session: number
  readonly request: number
} {
  return { type: 'downgrade', session: life.id, request }
}
