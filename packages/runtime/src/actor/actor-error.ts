/**
 * The errors of the runtime. Each operating error has a stable `code`; messages may change, codes may not.
 * Between nodes an error is its code, message and details, never its class: test with `isActorError(error, code)`.
 * docs/reference/errors.md has a heading for every code.
 */

/** Every code of this package. */
export type RuntimeErrorCode =
  /** No answer came in time: the outcome is unknown. */
  | 'RUNTIME_ASK_TIMEOUT'
  /** Nobody lives at that path. */
  | 'RUNTIME_NO_SUCH_ACTOR'
  /** The actor ended before it answered. */
  | 'RUNTIME_ACTOR_STOPPED'
  /** The actor crashed on this message. */
  | 'RUNTIME_ACTOR_CRASHED'
  /** The actor refused with `throw reject(reason, data)`. */
  | 'RUNTIME_REJECTED'
  /** The mailbox is bounded and full. */
  | 'RUNTIME_MAILBOX_FULL'
  /** The ask would have waited for itself. */
  | 'RUNTIME_CALL_CYCLE'
  /** The asker's signal was aborted. */
  | 'RUNTIME_ABORTED'
  /** The asker itself restarted or stopped while it waited. */
  | 'RUNTIME_RESTARTED'
  /** The deadline had passed before the ask was sent. */
  | 'RUNTIME_EXPIRED'
  /** The message, or the reply, does not fit its schema or cannot be sent. */
  | 'RUNTIME_INVALID_MESSAGE'
  /** The protocol has no message of that type, or only the actor itself may send it. */
  | 'RUNTIME_UNKNOWN_MESSAGE'
  /** A handler took longer than `handlerTimeoutMs`. */
  | 'RUNTIME_HANDLER_TIMEOUT'
  /** A supervisor restarted its children too often. */
  | 'RUNTIME_RESTART_LIMIT_EXCEEDED'
  /** An actor that this one is linked to ended. */
  | 'RUNTIME_LINKED'
  /** `setup` threw, or returned no usable handlers. */
  | 'RUNTIME_START_FAILED'
  /** The name is taken by a living sibling. */
  | 'RUNTIME_DUPLICATE_NAME'
  /** Something was asked of an actor or a system that is stopping or has stopped. */
  | 'RUNTIME_STOPPED'
  /** The system was started without that service. */
  | 'RUNTIME_NO_SUCH_SERVICE'
  /** A context function was called at a moment when it has no meaning, such as `ctx.call()` after an await. */
  | 'RUNTIME_ILLEGAL_CALL'

const brand = Symbol.for('@understudy/error')

/** An error with a stable code. `details` is plain data and crosses nodes with it. */
export class ActorError extends Error {
  readonly code: string
  readonly details: Readonly<Record<string, unknown>>
  readonly [brand] = true

  constructor(
    code: string,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.details = details
  }

  override get name(): string {
    return this.constructor.name
  }
}

/** True for any error of ours, also one made by another copy of this package; with `code`, only for that code. */
export function isActorError(error: unknown, code?: RuntimeErrorCode | (string & {})): error is ActorError {
  return (
    typeof error === 'object' &&
    error !== null &&
    (error as { [brand]?: unknown })[brand] === true &&
    (code === undefined || (error as ActorError).code === code)
  )
}

/** No answer within the time allowed. Whether the request was carried out is unknown: do not repeat it blindly. */
export class AskTimeout extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_ASK_TIMEOUT', message, details)
  }
}

/** Nobody lives at the path that was asked. */
export class NoSuchActor extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_NO_SUCH_ACTOR', message, details)
  }
}

/** The actor ended, or was ending, before it answered. */
export class ActorStopped extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_ACTOR_STOPPED', message, details)
  }
}

/** The actor crashed while it handled this message. The message is not handled again. */
export class ActorCrashed extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_ACTOR_CRASHED', message, details)
  }
}

/** A typed refusal: the actor said no and lives on. `reason` and `data` are what it gave to `reject`. */
export class Rejected extends ActorError {
  readonly reason: string
  readonly data: unknown
  constructor(reason: string, data: unknown, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_REJECTED', `The actor refused: "${reason}"`, { ...details, reason, data })
    this.reason = reason
    this.data = data
  }
}

/** The target's mailbox is bounded by `reject` and full. */
export class MailboxFull extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_MAILBOX_FULL', message, details)
  }
}

/** The target, or somebody it waits for, is waiting for this answer. `details.path` lists the actors and messages. */
export class CallCycleError extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_CALL_CYCLE', message, details)
  }
}

/** The `signal` given to the ask was aborted. Whether the request was carried out is unknown. */
export class Aborted extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super('RUNTIME_ABORTED', message, details, cause)
  }
}

/** The actor that asked restarted or stopped; nobody waits for the answer any more. */
export class Restarted extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_RESTARTED', message, details)
  }
}

/** The deadline had passed before the request could be sent. */
export class Expired extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_EXPIRED', message, details)
  }
}

/** The message or the reply does not fit its schema, or holds a value that cannot be sent. */
export class InvalidMessage extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_INVALID_MESSAGE', message, details)
  }
}

/** The protocol has no such message. */
export class UnknownMessage extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_UNKNOWN_MESSAGE', message, details)
  }
}

/** A handler did not settle within `handlerTimeoutMs`. It was abandoned and fenced. */
export class HandlerTimeout extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_HANDLER_TIMEOUT', message, details)
  }
}

/** More restarts within the window than the supervisor allows. `cause` is the last failure. */
export class RestartLimitExceeded extends ActorError {
  /** Monotonic times of the restarts within the window, oldest first, in milliseconds. */
  readonly history: readonly number[]
  constructor(message: string, history: readonly number[], cause: unknown) {
    super('RUNTIME_RESTART_LIMIT_EXCEEDED', message, { history }, cause)
    this.history = history
  }
}

/** An actor that this one is linked to has ended. */
export class Linked extends ActorError {
  constructor(message: string, details: Readonly<Record<string, unknown>> = {}) {
    super('RUNTIME_LINKED', message, details)
  }
}

/** The actor could not start. `cause` is what `setup` threw. */
export class StartFailed extends ActorError {
  constructor(message: string, cause?: unknown) {
    super('RUNTIME_START_FAILED', message, {}, cause)
  }
}

/** Thrown to refuse a request: see `reject`. */
export class Rejection {
  readonly reason: string
  readonly data: unknown
  constructor(reason: string, data: unknown) {
    this.reason = reason
    this.data = data
  }
}

/**
 * `throw reject('insufficient-funds', { missing: 3 })`: the asker gets `Rejected` with `reason` and `data`, the actor
 * keeps its state and goes on. Not a crash. After a tell it is logged at debug level and forgotten.
 */
export function reject(reason: string, data?: unknown): Rejection {
  return new Rejection(reason, data)
}

/** Makes an Error of whatever was thrown: JavaScript lets anything be thrown. */
export function toError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown
  try {
    if (typeof thrown === 'object' && thrown !== null && 'message' in thrown) {
      return new Error(String(thrown.message), { cause: thrown })
    }
    return new Error(`A value that is no Error was thrown: ${String(thrown)}`, { cause: thrown })
  } catch {
    // An object without toString, or with a getter that throws, is no reason for a second crash.
    return new Error(`A value that is no Error was thrown: of type ${typeof thrown}`, { cause: thrown })
  }
}
