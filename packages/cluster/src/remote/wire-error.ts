/** Errors between nodes: they travel by their code, and arrive as the class that users catch. */
import {
  ActorCrashed,
  ActorStopped,
  CallCycleError,
  Expired,
  InvalidMessage,
  MailboxFull,
  NoSuchActor,
  Rejected,
  UnknownMessage,
  type ActorError,
} from '@understudy/runtime'
import { ActorError as RuntimeError } from '@understudy/runtime/internal'

/** What an error says besides its text. */
export type ErrorDetails = Readonly<Record<string, unknown>>

const errorsByCode: Readonly<
  Record<string, ((message: string, details: ErrorDetails) => ActorError) | undefined>
> = {
  RUNTIME_ACTOR_CRASHED: (message, details) => new ActorCrashed(message, details),
  RUNTIME_ACTOR_STOPPED: (message, details) => new ActorStopped(message, details),
  RUNTIME_CALL_CYCLE: (message, details) => new CallCycleError(message, details),
  RUNTIME_EXPIRED: (message, details) => new Expired(message, details),
  RUNTIME_INVALID_MESSAGE: (message, details) => new InvalidMessage(message, details),
  RUNTIME_MAILBOX_FULL: (message, details) => new MailboxFull(message, details),
  RUNTIME_NO_SUCH_ACTOR: (message, details) => new NoSuchActor(message, details),
  RUNTIME_REJECTED: (_message, details) => new Rejected(String(details['reason']), details['data'], details),
  RUNTIME_UNKNOWN_MESSAGE: (message, details) => new UnknownMessage(message, details),
}

/** The error that an asker meets; `code` is what it is known by. A code that is not known here is kept as it is. */
export function errorFromWire(code: string, message: string, details: unknown): ActorError {
  const fields = typeof details === 'object' && details !== null ? (details as ErrorDetails) : {}
  const make = Object.hasOwn(errorsByCode, code) ? errorsByCode[code] : undefined
  return make === undefined ? new RuntimeError(code, message, fields) : make(message, fields)
}

/** What of an error's details can always be sent: numbers, booleans, and texts of at most 1,024 characters. */
export function plainDetails(details: ErrorDetails): ErrorDetails {
  const short = (value: unknown): boolean => typeof value === 'string' && value.length <= 1_024
  return Object.fromEntries(
    Object.entries(details).filter(
      ([, value]) => short(value) || typeof value === 'number' || typeof value === 'boolean',
    ),
  )
}

export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
