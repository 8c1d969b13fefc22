/** What the lock table is told by the log, and what it answers. Plain data. */

/** Locks of one name that are taken through a queue. A name is of one kind for as long as anything of it is there. */
export type LockKind = 'mutex' | 'read-write' | 'semaphore' | 'election'

/** Requests are numbered by their session; who asks again for the same number is told how it stands. */
export interface LockRequest {
  readonly session: number
  readonly request: number
}

export interface AcquireCommand extends LockRequest {
  readonly type: 'acquire'
  readonly name: string
  readonly kind: LockKind
  /** 1 but for semaphores and for `read-write`: there 1 reads, 0 writes. */
  readonly permits: number
  /** Of a semaphore that is not there yet: how many permits it has in all. Else 0. */
  readonly capacity: number
  /** False: answer `busy` instead of waiting. */
  readonly wait: boolean
  /** Who waits for whom, for finding deadlocks and for re-entrancy; within the session. '': nobody else's business. */
  readonly owner: string
  /** The same owner may hold it already: it then holds it twice, under one token. */
  readonly reentrant: boolean
  /** For an election: what observers see of the leader. Else ''. */
  readonly data: string
}

/** Takes part in a barrier: answered `queued` until it opens. */
export interface BarrierCommand extends LockRequest {
  readonly type: 'barrier'
  readonly name: string
  /** `pass`: a cyclic barrier; `enter`, `leave`: a double barrier, whose `leave` names the request that entered. */
  readonly step: 'pass' | 'enter' | 'leave'
  readonly parties: number
  /** For `leave`: the request of `enter`. Else 0. */
  readonly entered: number
}

export type LockCommand =
  /** `label`: for people. The answer's session is the entry's place in the log. */
  | { readonly type: 'open-session'; readonly ttlMs: number; readonly label: string }
  | { readonly type: 'keep-alive'; readonly session: number }
  | { readonly type: 'end-session'; readonly session: number }
  /** The leader's duty; it names sessions that looked over, and only those that are over at its place in the log end. */
  | { readonly type: 'expire'; readonly sessions: readonly number[] }
  | AcquireCommand
  /** Gives up whatever the request is: what it holds, or its place in a queue. */
  | (LockRequest & { readonly type: 'release' })
  /** From writing to reading, without anybody between. */
  | (LockRequest & { readonly type: 'downgrade' })
  /** Whoever holds more than is left keeps it. Makes the semaphore if it is not there. */
  | { readonly type: 'set-permits'; readonly name: string; readonly permits: number }
  | BarrierCommand
  /** Sets a latch that is not there to `count`; one that is there stays. */
  | { readonly type: 'latch-set'; readonly name: string; readonly count: number }
  | { readonly type: 'latch-down'; readonly name: string; readonly by: number }
  /** Answered `queued` until the count is 0. */
  | (LockRequest & { readonly type: 'latch-wait'; readonly name: string })
  | { readonly type: 'count-add'; readonly name: string; readonly by: number }
  /** `expected`: the value it must have; undefined: any. A counter that is not there has the value 0 and version 0. */
  | {
      readonly type: 'count-set'
      readonly name: string
      readonly expected: number | undefined
      readonly value: number
    }
  /** `expectedVersion`: undefined: any; 0: not there. */
  | {
      readonly type: 'value-set'
      readonly name: string
      readonly expectedVersion: number | undefined
      readonly value: Uint8Array
    }
  /** Forgets a counter, a value, a latch, or a semaphore that nobody holds or waits for. */
  | { readonly type: 'remove'; readonly name: string }
  /** Set if absent or over, with an owner and a time to live by the log's clock. Without a session. */
  | {
      readonly type: 'spin-acquire'
      readonly name: string
      readonly owner: string
      readonly ttlMs: number
    }
  | {
      readonly type: 'spin-extend'
      readonly name: string
      readonly owner: string
      readonly token: number
      readonly ttlMs: number
    }
  | { readonly type: 'spin-release'; readonly name: string; readonly owner: string; readonly token: number }

export type LockErrorCode =
  | 'LOCK_BAD_REQUEST'
  | 'LOCK_SESSION_LOST'
  | 'LOCK_NOT_HELD'
  | 'LOCK_WRONG_KIND'
  | 'LOCK_DEADLOCK'
  | 'LOCK_UPGRADE'
  | 'LOCK_LIMIT'

/** One edge of a cycle: `owner` of `session` waits for `name`, which the next one of the list holds or is before it in. */
export interface WaitEdge {
  readonly session: number
  readonly owner: string
  readonly name: string
}

export interface LockRefusal {
  readonly code: LockErrorCode
  readonly message: string
  /** For LOCK_DEADLOCK. */
  readonly cycle?: readonly WaitEdge[] | undefined
}

export type LockAnswer =
  | { readonly type: 'session'; readonly session: number; readonly ttlMs: number }
  /** Held, or let through. Tokens grow over the whole table and are never given twice; a barrier's is its generation. */
  | { readonly type: 'held'; readonly token: number }
  /** So many are before it. */
  | { readonly type: 'queued'; readonly ahead: number }
  | { readonly type: 'busy'; readonly holders: number }
  | { readonly type: 'released'; readonly was: 'held' | 'queued' | 'nothing' }
  /** Of a counter or a latch; `ok` false: it was not as expected, and is as told. */
  | { readonly type: 'number'; readonly ok: boolean; readonly value: number; readonly version: number }
  | { readonly type: 'value'; readonly ok: boolean; readonly value: Uint8Array; readonly version: number }
  /** A spin lock is somebody else's for about so long. */
  | { readonly type: 'taken'; readonly leftMs: number }
  | { readonly type: 'done' }
  /** Of a batch: the results of its commands, one behind the other. */
  | { readonly type: 'batch'; readonly answers: Uint8Array }

export type LockResult =
  | { readonly ok: true; readonly result: LockAnswer }
  | { readonly ok: false; readonly error: LockRefusal }

/** What a member tells its service: a request that waited is through. */
export interface LockGrant extends LockRequest {
  readonly token: number
}

/** One leader of an election. */
export interface Reign {
  /** Its term: grows from leader to leader. */
  readonly token: number
  readonly session: number
  readonly data: string
}

/** How one name stands, for people and for observers. */
export interface LockView {
  readonly name: string
  readonly kind: LockKind | 'barrier' | 'double-barrier' | 'latch' | 'counter' | 'value' | 'spin'
  readonly capacity: number
  readonly holders: readonly {
    readonly session: number
    readonly label: string
    readonly owner: string
    readonly token: number
    readonly permits: number
    readonly leftMs: number
  }[]
  readonly waiting: number
  /** Of counters, latches and values. */
  readonly value: number | Uint8Array | undefined
  readonly version: number
  /** Of an election: its last leaders, oldest first, at most `lockLimits.reignsMax`; the last may have ended. */
  readonly reigns: readonly Reign[]
}
