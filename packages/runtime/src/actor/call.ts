/**
 * The life of an ask: who waits, until when, and what for. Correlation lives here and in the envelope, never in the
 * payload. A local ask is one `PendingAsk` from end to end; one that came from another node is a `Call` of the cluster.
 */
import { AskTimeout, type ActorError } from './actor-error.ts'
import type { Cell } from './cell.ts'
import type { ActorContextImpl } from './context.ts'
import type { Envelope } from './envelope.ts'
import type { Kernel } from './kernel.ts'
import type { Protocol } from './protocol.ts'
import type { WheelEntry } from './timer-wheel.ts'

/** One actor that waits, as it is shown in a `CallCycleError` and sent along with a remote ask. */
export interface CallLink {
  readonly node: string
  /** Of the node: another life of it gives the same uids to others. */
  readonly incarnation: number
  readonly uid: number
  readonly path: string
  readonly messageType: string
}

/** How many waiting actors a chain remembers. Older ones are forgotten: such a cycle ends in its timeout. */
export const callChainMax = 32

/** What the target of an ask sees of it. */
export abstract class Call {
  /** Monotonic; `Infinity` when the asker waits for ever. */
  deadlineMs: number
  settled = false
  /** The handler has begun. */
  started = false
  /** The actor that asks, when it lives here and holds its mailbox while it waits. */
  readonly asker: Cell | null
  /** What the asker was handling when it asked. */
  readonly askerEnvelope: Envelope | null
  readonly messageType: string
  #controller: AbortController | null = null

  constructor(deadlineMs: number, asker: Cell | null, askerEnvelope: Envelope | null, messageType: string) {
    this.deadlineMs = deadlineMs
    this.asker = asker
    this.askerEnvelope = askerEnvelope
    this.messageType = messageType
  }

  /** The chain behind a call that came from another node. */
  get remoteChain(): readonly CallLink[] {
    return emptyChain
  }

  /** The answer. Ignored when the call is settled already. */
  abstract succeed(value: unknown): void

  /** The failure, in the asker's terms. Ignored when the call is settled already. */
  abstract fail(error: ActorError): void

  /** Aborted when the asker gave up or the deadline passed. Made when first asked for. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.settled) this.#controller.abort()
    return this.#controller.signal
  }

  /** Tells a running handler that nobody waits any more. */
  protected abortSignal(): void {
    this.#controller?.abort()
  }
}

const emptyChain: readonly CallLink[] = Object.freeze([])

let capturedResolve: (value: unknown) => void
let capturedReject: (error: unknown) => void
// One executor for all asks: a closure per ask would cost more than the rest of it (bench: ask-1).
function capture(resolve: (value: unknown) => void, reject: (error: unknown) => void): void {
  capturedResolve = resolve
  capturedReject = reject
}

/** Marks an error with the context whose ask it ended, so that one nobody handles can be laid at its door. */
export const blameKey = Symbol('understudy.blame')

/** Carries an ask to another node, and is told when the asker gives up: it is cancelled there too. */
export interface AskCarrier {
  readonly gaveUp: (carrierId: number) => void
}

/** An ask made in this process. */
export class PendingAsk extends Call implements WheelEntry {
  readonly promise: Promise<unknown>
  readonly #resolve: (value: unknown) => void
  readonly #reject: (error: unknown) => void
  readonly kernel: Kernel
  readonly owner: ActorContextImpl | null
  readonly target: { readonly path: string; readonly protocol: Protocol }
  wheelSlot = -1
  wheelPrevious: WheelEntry | null = null
  wheelNext: WheelEntry | null = null
  ownerPrevious: PendingAsk | null = null
  ownerNext: PendingAsk | null = null
  /** Set while a signal is listened to. */
  release: (() => void) | null = null
  /** Who carries it to another node, and its number there; told once when the asker gives up. */
  carrier: AskCarrier | null = null
  carrierId = 0

  constructor(
    kernel: Kernel,
    deadlineMs: number,
    owner: ActorContextImpl | null,
    asker: Cell | null,
    askerEnvelope: Envelope | null,
    messageType: string,
    target: { readonly path: string; readonly protocol: Protocol },
  ) {
    super(deadlineMs, asker, askerEnvelope, messageType)
    this.kernel = kernel
    this.owner = owner
    this.target = target
    this.promise = new Promise(capture)
    this.#resolve = capturedResolve
    this.#reject = capturedReject
    if (deadlineMs !== Number.POSITIVE_INFINITY) kernel.arm(this)
    if (owner !== null) {
      this.ownerNext = owner.asks
      if (owner.asks !== null) owner.asks.ownerPrevious = this
      owner.asks = this
    }
  }

  /** For messages to people. */
  get targetPath(): string {
    return this.target.path
  }

  succeed(value: unknown): void {
    if (this.settled) return
    this.#settle()
    this.#resolve(value)
  }

  fail(error: Error): void {
    if (this.settled) return
    this.#settle()
    if (this.owner !== null) {
      Object.defineProperty(error, blameKey, { value: this.owner, enumerable: false, configurable: true })
    }
    this.#reject(error)
  }

  /** The asker goes: rejects, and lets the target know. */
  giveUp(error: ActorError): void {
    if (this.settled) return
    const { carrier } = this
    this.fail(error)
    this.abortSignal()
    if (carrier !== null) carrier.gaveUp(this.carrierId)
  }

  expire(): void {
    if (this.settled) return
    const state = this.started ? 'its handler had begun' : 'it was still queued or on its way'
    this.giveUp(
      new AskTimeout(
        `No answer from ${this.targetPath} to "${this.messageType}" in time: ${state}, so the outcome is unknown`,
        { path: this.targetPath, type: this.messageType, started: this.started },
      ),
    )
  }

  #settle(): void {
    this.settled = true
    if (this.wheelSlot !== -1) this.kernel.wheel.remove(this)
    const { owner } = this
    if (owner !== null) {
      if (this.ownerPrevious === null) owner.asks = this.ownerNext
      else this.ownerPrevious.ownerNext = this.ownerNext
      if (this.ownerNext !== null) this.ownerNext.ownerPrevious = this.ownerPrevious
      this.ownerPrevious = null
      this.ownerNext = null
    }
    if (this.release !== null) {
      this.release()
      this.release = null
    }
    this.carrier = null
  }
}

/**
 * The actors that wait for `call`, nearest first, when `target` is one of them and is held by it: asking `target` now
 * would wait for ever. `undefined` when there is no cycle. Walks at most `callChainMax` links; allocates only on a hit.
 */
export function findCycle(target: Cell, call: Call): readonly CallLink[] | undefined {
  let current: Call | null = call
  for (let hop = 0; current !== null && hop < callChainMax; hop++) {
    const { asker, askerEnvelope }: Call = current
    if (asker === target && askerEnvelope !== null && target.current === askerEnvelope) return callChain(call)
    const remote: readonly CallLink[] = current.remoteChain
    for (const link of remote) {
      const { nodeName, nodeIncarnation } = target.kernel
      const isTarget =
        link.uid === target.uid && link.node === nodeName && link.incarnation === nodeIncarnation
      if (isTarget && target.isHeld) return callChain(call)
    }
    current = askerEnvelope === null ? null : askerEnvelope.call
  }
  return undefined
}

/** The actors that wait for `call`, nearest first. */
export function callChain(call: Call): readonly CallLink[] {
  const links: CallLink[] = []
  let current: Call | null = call
  while (current !== null && links.length < callChainMax) {
    const { asker, askerEnvelope }: Call = current
    if (asker !== null && askerEnvelope !== null) {
      links.push({
        node: asker.kernel.nodeName,
        incarnation: asker.kernel.nodeIncarnation,
        uid: asker.uid,
        path: asker.path,
        messageType: current.messageType,
      })
    }
    links.push(...current.remoteChain)
    current = askerEnvelope === null ? null : askerEnvelope.call
  }
  return links.slice(0, callChainMax)
}
