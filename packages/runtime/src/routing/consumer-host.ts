/**
 * What a reliable consumer is, behind its definition: the core that outlives its incarnations, the worker of the one that
 * lives now, and what passes between the two. Users see reliable-consumer.ts.
 */
import { reject, toError } from '../actor/actor-error.ts'
import type { AnyDefinition } from '../actor/behaviour.ts'
import type { Call } from '../actor/call.ts'
import { CellStatus, type Cell } from '../actor/cell.ts'
import type { ActorContextImpl, LaterReply } from '../actor/context.ts'
import { Envelope, EnvelopeKind, type Message, type Sender } from '../actor/envelope.ts'
import { Refusal } from '../actor/isolation.ts'
import { tell, type Protocol } from '../actor/protocol.ts'
import type { Ref } from '../actor/ref.ts'
import { CoreShell } from '../core/core-shell.ts'
import { joinMessage } from './chunk-codec.ts'
import {
  ConsumerCore,
  type ConsumerCoreStatus,
  type ConsumerEffect,
  type ConsumerInput,
  type Outcome,
  type ParkedEntry,
} from './consumer-core.ts'
import type { ArrivingBody, Content } from './consumer-stream.ts'
import type { ConsumerPlan } from './reliable-options.ts'
import {
  newId,
  reliableVersion,
  type ConsumerCounters,
  type Introduced,
  type ParkedMessage,
} from './reliable-protocol.ts'
import { WorkerDelivery } from './worker-delivery.ts'

/** @internal */
export interface HostPlan extends ConsumerPlan {
  readonly definition: AnyDefinition
}

/** @internal What only the consumer says to itself. */
export const ownMessages = {
  'producer-ended': tell({ producer: {}, reason: {} } as never),
  'worker-ended': tell({ uid: {} } as never),
  'worker-again': tell(),
}

/** How long a worker whose mailbox was full is left alone. */
const fullPauseMs = 100

/** What outlives the incarnations of a consumer, by its cell. */
const hosts = new WeakMap<Cell, ConsumerHost>()

/** @internal The host of the actor that `context` is an incarnation of. */
export function hostOf(plan: HostPlan, context: ActorContextImpl): ConsumerHost {
  let host = hosts.get(context.cell)
  if (host === undefined) {
    host = new ConsumerHost(plan, context.cell)
    hosts.set(context.cell, host)
  }
  return host
}

export class ConsumerHost {
  readonly #plan: HostPlan
  readonly #cell: Cell
  readonly #core: ConsumerCore
  readonly #shell: CoreShell<ConsumerInput, ConsumerEffect, ConsumerCoreStatus>
  #context: ActorContextImpl | undefined
  #worker: Cell | undefined
  #reply: Introduced | undefined
  /** Parked messages that the worker has once more. */
  readonly #retrying = new Set<number>()

  constructor(plan: HostPlan, cell: Cell) {
    const { clock, platform } = cell.kernel
    this.#plan = plan
    this.#cell = cell
    this.#core = new ConsumerCore({ ...plan, consumer: newId((count) => platform.secureBytes(count)) })
    this.#shell = new CoreShell<ConsumerInput, ConsumerEffect, ConsumerCoreStatus>({
      core: this.#core,
      clock,
      // The core has no deadline, so this is never stepped.
      tick: { type: 'worker', isNew: false },
      carryOut: (effect) => this.#carryOut(effect),
    })
  }

  get #protocol(): Protocol {
    return this.#plan.definition.protocol
  }

  /** A new incarnation of the consumer has a new worker. */
  begin(context: ActorContextImpl, input: unknown): void {
    this.#context = context
    const { definition, worker } = this.#plan
    const ref = context.spawn('worker', definition, input, worker)
    this.#worker = ref.cell
    context.watch(ref, () => ownMessage({ type: 'worker-ended', uid: ref.uid }))
    this.#shell.step({ type: 'worker', isNew: true })
  }

  handlers(): Readonly<Record<string, (message: never) => unknown>> {
    const shell = this.#shell
    return {
      hello: (message: Hello) => this.#hello(message),
      deliver: ({ producer, sequence, confirmed, message }: Deliver) => {
        const body = { type: 'message', message } as const
        shell.step({ type: 'piece', producer, sequence, confirmed, body, crc: undefined })
      },
      chunk: (chunk: ArrivingChunk) => {
        const { producer, sequence, confirmed, crc, index, count, bytes, refs } = chunk
        if (!(bytes instanceof Uint8Array)) return
        const body: ArrivingBody = { type: 'chunk', index, count, bytes, refs }
        shell.step({ type: 'piece', producer, sequence, confirmed, body, crc })
      },
      probe: ({ producer, from, number }: Probe) => {
        shell.step({ type: 'probe', producer, address: from, number })
      },
      bye: ({ producer }: { readonly producer: string }) => shell.step({ type: 'bye', producer }),
      counters: (): ConsumerCounters => this.#core.status().counters,
      parked: () => this.#core.parked.map((entry) => this.#parkedMessage(entry)),
      retry: ({ id }: { readonly id: number }) => this.#retry(id),
      discard: ({ id }: { readonly id: number }) => {
        const isThere = this.#core.parkedOf(id) !== undefined
        shell.step({ type: 'discard', id })
        return isThere
      },
      'producer-ended': ({ producer, reason }: { readonly producer: string; readonly reason: string }) => {
        const isCertain = reason !== 'node-down' && reason !== 'not-found'
        shell.step({ type: 'producer-ended', producer, isCertain })
      },
      'worker-ended': ({ uid }: { readonly uid: number }) => {
        // Nobody is left to hand anything to. A permanent consumer comes back, with a new worker.
        if (uid === this.#worker?.uid) this.#context?.stop()
      },
      'worker-again': () => shell.step({ type: 'worker', isNew: false }),
    }
  }

  #hello({ version, producer, from, first }: Hello): Introduced {
    if (version !== reliableVersion) refuse('version', { version: reliableVersion })
    this.#reply = undefined
    this.#shell.step({ type: 'hello', producer, address: from, first })
    if (this.#reply === undefined) refuse('too-many-producers', { max: this.#plan.producersMax })
    return this.#reply
  }

  // ---- Effects -------------------------------------------------------------------------------------------------

  #carryOut(effect: ConsumerEffect): void {
    switch (effect.type) {
      case 'introduced':
        this.#reply = effect.reply
        this.#watch(effect.producer)
        break
      case 'full':
        break
      case 'ack':
        this.#tell(effect.address, { type: 'ack', ...effect.ack } as Message)
        break
      case 'unknown': {
        const { consumer } = this.#core.status()
        this.#tell(effect.address, { type: 'unknown', producer: effect.producer, consumer } as Message)
        break
      }
      case 'handle':
        this.#handle(effect)
        break
      case 'parked':
        this.#parked(effect.entry)
        break
      case 'parked-lost':
        this.#parkedLost(effect.entry)
        break
      case 'forgot':
        if (this.#context?.live === true) this.#context.unwatch(effect.address as Ref)
        break
      default:
        unreachable(effect)
    }
  }

  /** Between two incarnations nobody speaks: the producer asks again. */
  #tell(address: unknown, message: Message): void {
    if (this.#context?.live === true) this.#context.tell(address as Ref, message)
  }

  #watch(producer: string): void {
    const address = this.#core.addressOf(producer) as Ref | undefined
    if (address === undefined || this.#context?.live !== true) return
    this.#context.watch(address, (reason) => ownMessage({ type: 'producer-ended', producer, reason }))
  }

  #handle(effect: ConsumerEffect & { readonly type: 'handle' }): void {
    const { token, content, address } = effect
    const settle = (outcome: Outcome): void => this.#shell.step({ type: 'settled', token, outcome })
    const sender = { senderPath: (address as Ref).path }
    this.#give(
      content,
      sender,
      (message) => new WorkerDelivery(message.type, settle, () => this.#pause()),
      settle,
    )
  }

  /** Puts a message into the worker's mailbox, behind what is there. */
  #give(
    content: Content,
    sender: Sender,
    makeCall: (message: Message) => Call,
    settle: (outcome: Outcome) => void,
  ): void {
    const worker = this.#worker
    if (worker === undefined || worker.status > CellStatus.suspended) {
      settle({ type: 'interrupted' })
      return
    }
    const message = this.#restore(content, worker)
    if (typeof message === 'string') {
      const { name } = this.#protocol
      const failure = {
        code: 'RUNTIME_INVALID_MESSAGE',
        text: `It is no message of protocol "${name}" to ${worker.path}: ${message}`.slice(0, 1_024),
        details: { path: worker.path },
      }
      settle({ type: 'invalid', messageType: typeOf(content), failure })
      return
    }
    worker.kernel.sends++
    // Not `deliver`: its guard lets nobody wait for a tell, which is what this is all about.
    worker.append(new Envelope(message, sender, makeCall(message), EnvelopeKind.user))
  }

  /** A message that fits the worker, as its own copy where messages are copied; a string says why there is none. */
  #restore(content: Content, worker: Cell): Message | string {
    const { guard, isolation } = this.#cell.kernel
    const { messages } = this.#protocol
    if (content.type === 'unusable') return content.problem
    try {
      const message =
        content.type === 'message'
          ? content.message
          : joinMessage(content.parts, content.refs, this.#plan.messageBytesMax)
      // Always checked: it may come from another node.
      const passed = guard.pass(messages, worker.path, message as Message, isolation)
      if (passed instanceof Refusal) return passed.message
      return messages[passed.type]?.kind === 'tell'
        ? passed
        : `"${passed.type}" is asked and not told, and only what is told is delivered reliably`
    } catch (error) {
      return toError(error).message
    }
  }

  #pause(): void {
    if (this.#context?.live !== true) return
    this.#context.timers.once('worker', fullPauseMs, { type: 'worker-again' })
  }

  // ---- Parked messages -----------------------------------------------------------------------------------------

  #parked(entry: ParkedEntry): void {
    const { path, kernel } = this.#cell
    const { producer, sequence, messageType, attempts, error, code } = entry
    kernel.log.error(
      { path, producer, sequence, type: messageType, attempts, code },
      `${path} parked "${messageType}" (${code}): ${error}`,
    )
    const { onParked } = this.#plan
    if (onParked === undefined) return
    try {
      onParked(this.#parkedMessage(entry), this.#contentOf(entry.content))
    } catch (thrown) {
      kernel.log.error({ path, err: toError(thrown) }, `onParked of ${path} threw`)
    }
  }

  #parkedLost({ producer, sequence, messageType }: ParkedEntry): void {
    const { path, kernel } = this.#cell
    kernel.log.error(
      { path, producer, sequence, type: messageType, parkedMax: this.#plan.parkedMax },
      `${path} dropped its oldest parked message, "${messageType}": no more than parkedMax pieces are kept`,
    )
  }

  #contentOf(content: Content): unknown {
    if (content.type === 'message') return content.message
    if (content.type === 'unusable') return undefined
    try {
      return joinMessage(content.parts, content.refs, this.#plan.messageBytesMax)
    } catch {
      return undefined
    }
  }

  #parkedMessage(entry: ParkedEntry): ParkedMessage {
    const { id, producer, sequence, messageType, code, attempts, error, atMs } = entry
    const ageMs = Math.max(0, this.#cell.kernel.clock.monotonicMs() - atMs)
    return {
      id,
      producer,
      sequence,
      messageType: messageType.slice(0, 1_024),
      code,
      attempts,
      error: error.slice(0, 1_024),
      ageMs,
    }
  }

  #retry(id: number): LaterReply<null> {
    const entry = this.#core.parkedOf(id)
    if (entry === undefined) refuse('not-parked', { id })
    if (this.#retrying.has(id)) refuse('busy', { id })
    const context = this.#context as ActorContextImpl
    const { from } = context.call()
    const later = context.call().later<null>()
    this.#retrying.add(id)
    const settle = (outcome: Outcome): void => {
      this.#retrying.delete(id)
      if (outcome.type === 'done') {
        this.#shell.step({ type: 'discard', id })
        later.reply(null)
      } else if (outcome.type === 'crashed') {
        later.fail('crashed', { error: outcome.error })
      } else if (outcome.type === 'interrupted') {
        later.fail('busy', { id })
      } else {
        const { code, text, details } = outcome.failure
        later.fail(outcome.type, { ...details, code, text })
      }
    }
    const sender = { senderPath: from ?? this.#cell.path }
    this.#give(
      entry.content,
      sender,
      (message) => new WorkerDelivery(message.type, settle, () => undefined),
      settle,
    )
    return later
  }
}

function typeOf(content: Content): string {
  if (content.type !== 'message') return '(in chunks)'
  const { message } = content
  const type: unknown =
    typeof message === 'object' && message !== null ? (message as Message).type : undefined
  return typeof type === 'string' ? type : '(none)'
}

/** Not a crash: the asker is told. */
function refuse(reason: string, data: unknown): never {
  // What `reject` makes is what a handler throws to refuse; it is no error.
  // oxlint-disable-next-line typescript/only-throw-error
  throw reject(reason, data)
}

function ownMessage(message: object): Message {
  return message as Message
}

interface Hello {
  readonly version: number
  readonly producer: string
  readonly from: Ref
  readonly first: number
}

interface Deliver {
  readonly producer: string
  readonly sequence: number
  readonly confirmed: number
  readonly message: unknown
}

interface ArrivingChunk {
  readonly producer: string
  readonly sequence: number
  readonly confirmed: number
  readonly crc: number
  readonly index: number
  readonly count: number
  readonly bytes: unknown
  readonly refs: readonly unknown[]
}

interface Probe {
  readonly producer: string
  readonly from: Ref
  readonly number: number
}

function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`)
}
