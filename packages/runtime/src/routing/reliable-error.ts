/** What a sender over reliable delivery meets, besides the errors that every actor meets. */
import { ActorError } from '../actor/actor-error.ts'

/** Stable codes of reliable delivery. Each has a heading in docs/reference/errors.md. */
export type ReliableErrorCode =
  /** The handler crashed on the message as often as it may: the consumer has put it aside. */
  | 'RUNTIME_DELIVERY_PARKED'
  /** The producer, or the consumer, is gone for good, and nobody said that the message was handled. */
  | 'RUNTIME_DELIVERY_LOST'
  /** The producer holds as much as it may, and as many wait for room as may. */
  | 'RUNTIME_DELIVERY_FULL'
  /** Whoever lives there is no reliable consumer of that protocol. */
  | 'RUNTIME_NO_CONSUMER'

type Details = Readonly<Record<string, unknown>>

/** The handler crashed on it `details.attempts` times. It is kept by the consumer: see its message `parked`. */
export class DeliveryParked extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('RUNTIME_DELIVERY_PARKED', message, details)
  }
}

/**
 * Nobody will ever say what became of it. `details.outcome` is `not-sent` when it never left the producer, else
 * `unknown`.
 */
export class DeliveryLost extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('RUNTIME_DELIVERY_LOST', message, details)
  }
}

/** No room, and no place to wait for it: the message was not taken. */
export class DeliveryFull extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('RUNTIME_DELIVERY_FULL', message, details)
  }
}

/** The target takes other messages, or speaks another version of reliable delivery. The producer has given up. */
export class NoConsumer extends ActorError {
  constructor(message: string, details: Details = {}) {
    super('RUNTIME_NO_CONSUMER', message, details)
  }
}
