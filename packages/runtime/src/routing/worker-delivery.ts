/** One message in the hands of a consumer's worker: what the worker does with it, in the consumer's words. */
import type { ActorError } from '../actor/actor-error.ts'
import { Call } from '../actor/call.ts'
import { uncodable } from '../codec/uncodable.ts'
import { sizeBound } from './chunk-codec.ts'
import type { Outcome } from './consumer-core.ts'

/** @internal What the worker sees of who waits for its handler: a call that nobody gives up. */
export class WorkerDelivery extends Call {
  readonly #settle: (outcome: Outcome) => void
  readonly #onFull: () => void

  constructor(messageType: string, settle: (outcome: Outcome) => void, onFull: () => void) {
    super(Number.POSITIVE_INFINITY, null, null, messageType)
    this.#settle = settle
    this.#onFull = onFull
  }

  override succeed(): void {
    this.#end({ type: 'done' })
  }

  override fail(error: ActorError): void {
    if (this.settled) return
    const { messageType } = this
    if (error.code === 'RUNTIME_MAILBOX_FULL') this.#onFull()
    this.#end(outcomeOf(error, messageType))
  }

  #end(outcome: Outcome): void {
    if (this.settled) return
    this.settled = true
    this.#settle(outcome)
  }
}

function outcomeOf({ code, message, details }: ActorError, messageType: string): Outcome {
  const text = message.slice(0, 1_024)
  switch (code) {
    case 'RUNTIME_ACTOR_STOPPED':
    case 'RUNTIME_MAILBOX_FULL':
      return { type: 'interrupted' }
    case 'RUNTIME_REJECTED': {
      const { reason, data } = details
      const told = { reason: String(reason).slice(0, 1_024), data: canBeTold(data) ? data : null }
      return { type: 'refused', failure: { code, text, details: told } }
    }
    case 'RUNTIME_INVALID_MESSAGE':
    case 'RUNTIME_UNKNOWN_MESSAGE':
      return {
        type: 'invalid',
        messageType,
        failure: { code: 'RUNTIME_INVALID_MESSAGE', text, details: {} },
      }
    default: {
      const { error } = details
      return {
        type: 'crashed',
        messageType,
        error: (typeof error === 'string' ? error : text).slice(0, 1_024),
      }
    }
  }
}

/** A refusal's data travels in every acknowledgement until the producer has it: only little of it does. */
function canBeTold(data: unknown): boolean {
  return data !== undefined && uncodable(data, 8) === undefined && sizeBound(data, 4_096) <= 4_096
}
