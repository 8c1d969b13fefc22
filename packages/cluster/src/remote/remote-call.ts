/** An ask that came from another node, as its target sees it. */
import type { ActorError } from '@understudy/runtime'
import { Call, type CallLink, type Kernel, type Sender } from '@understudy/runtime/internal'

/** Who takes the answer back to the asker. */
export interface CallKeeper {
  readonly kernel: Kernel
  readonly reply: (call: RemoteCall, value: unknown) => void
  readonly failCall: (call: RemoteCall, error: ActorError) => void
  /** Nobody waits for it any more. */
  readonly forgetCall: (call: RemoteCall) => void
}

/** Settles once: by an answer, a failure, its deadline, or because the asker is gone. */
export class RemoteCall extends Call {
  readonly askId: number
  readonly #keeper: CallKeeper
  readonly #chain: readonly CallLink[]
  wheelSlot = -1
  wheelPrevious: RemoteCall['wheelNext'] = null
  wheelNext: Parameters<Kernel['wheel']['add']>[0] | null = null

  /** `chain`: the calls that wait for this one, nearest first. */
  constructor(
    keeper: CallKeeper,
    askId: number,
    deadlineMs: number,
    messageType: string,
    chain: readonly CallLink[],
  ) {
    super(deadlineMs, null, null, messageType)
    this.#keeper = keeper
    this.askId = askId
    this.#chain = chain
  }

  /** Nearest first, as all chains here. Once nobody waits any more there is no chain. */
  override get remoteChain(): readonly CallLink[] {
    return this.settled ? noChain : this.#chain
  }

  override succeed(value: unknown): void {
    if (this.settled) return
    this.#settle()
    this.#keeper.reply(this, value)
  }

  override fail(error: ActorError): void {
    if (this.settled) return
    this.#settle()
    this.#keeper.failCall(this, error)
  }

  /** Its deadline has passed: the asker has given up by itself. */
  expire(): void {
    this.forget()
  }

  /** Nobody waits for the answer any more: its handler is told by its signal. */
  forget(): void {
    if (this.settled) return
    this.#settle()
    this.#keeper.forgetCall(this)
    this.abortSignal()
  }

  #settle(): void {
    this.settled = true
    this.#keeper.kernel.wheel.remove(this)
  }
}

const noChain: readonly CallLink[] = Object.freeze([])

/** An actor of a peer, as the sender of an ask. */
export class RemoteSender implements Sender {
  readonly #node: string
  readonly #path: string

  constructor(node: string, path: string) {
    this.#node = node
    this.#path = path
  }

  get senderPath(): string {
    return `${this.#node}:${this.#path}`
  }
}
