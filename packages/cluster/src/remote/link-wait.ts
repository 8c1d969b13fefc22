/**
 * Messages to members that take part and have no link to this node yet. A member is heard of, and may own places, before
 * the link to it is made; and a link that was lost is made anew. What is sent meanwhile waits a bounded moment for the link,
 * and then goes where its ref says by then: an entity's may be elsewhere.
 */
import type { Timer } from '@understudy/runtime'
import type { Envelope, Kernel, Ref } from '@understudy/runtime/internal'
import { FrameEncoder } from '../wire/frame-encoder.ts'
import type { Unsendable } from '../wire/unsendable.ts'
import type { Recipient } from '../wire/wire-protocol.ts'
import { wireProtocolOf } from './wire-registry.ts'

/** How long a message waits for a link, in milliseconds. */
export const linkWaitMs = 1_000
/** Messages that wait for the link to one member, besides the bound on their bytes. More are refused at once. */
export const linkWaitMax = 1_000

/** A ref to somebody on another node, as one that waits. */
interface WaitingMessage {
  readonly target: Ref
  readonly envelope: Envelope
  readonly untilMs: number
  /** Of its frame. */
  readonly bytes: number
}

interface Waiting {
  /** In the order in which they were sent, which is also that of their deadlines. */
  messages: WaitingMessage[]
  bytes: number
  timer: Timer
}

export interface LinkWaitHost {
  readonly kernel: Kernel
  readonly frameBytesMax: number | undefined
  /** That wait for one member. */
  readonly bytesMax: number
  /** There was no link in time: a dead letter, and a call that fails. */
  readonly refuse: (node: string, target: Ref, envelope: Envelope) => void
}

/**
 * FIFO per sender and receiver: whoever changes who is linked, or where messages belong, calls `look` before anything else
 * is sent.
 */
export class LinkWait {
  readonly #host: LinkWaitHost
  readonly #waiting = new Map<string, Waiting>()
  /** While what waited is sent again. */
  #again: WaitingMessage | undefined

  constructor(host: LinkWaitHost) {
    this.#host = host
  }

  /** Whether one more would be taken. */
  hasRoom(node: string): boolean {
    const waiting = this.#waiting.get(node)
    if (waiting === undefined) return true
    return waiting.messages.length < linkWaitMax && waiting.bytes < this.#host.bytesMax
  }

  /** `true`: it waits. Else the envelope is the caller's to refuse: there is too much already, or no link would take it. */
  add(node: string, recipient: Recipient, target: Ref, envelope: Envelope): boolean | Unsendable {
    if (!this.hasRoom(node)) return false
    const { clock } = this.#host.kernel
    const nowMs = clock.monotonicMs()
    // One that is sent again keeps its time, counted from when it was sent first.
    const untilMs = this.#again?.untilMs ?? nowMs + linkWaitMs
    if (untilMs <= nowMs) return false
    const bytes = this.#again?.bytes ?? this.#bytesOf(recipient, target, envelope)
    if (typeof bytes !== 'number') return bytes
    const message = { target, envelope, untilMs, bytes }
    const waiting = this.#waiting.get(node)
    if (waiting === undefined) {
      const timer = clock.setTimer(untilMs, () => this.#expire(node))
      this.#waiting.set(node, { messages: [message], bytes, timer })
    } else {
      waiting.messages.push(message)
      waiting.bytes += bytes
    }
    return true
  }

  /** Writes it as a link would, so that what cannot travel is refused now, as it is with a link. */
  #bytesOf(recipient: Recipient, target: Ref, envelope: Envelope): number | Unsendable {
    const encoder = new FrameEncoder({ frameBytesMax: this.#host.frameBytesMax })
    return encoder.tell(recipient, wireProtocolOf(target.protocol), envelope.message) ?? encoder.pendingBytes
  }

  /** Sends everything again: O(messages that wait). What still has no link goes on waiting until its time is up. */
  look(): void {
    if (this.#waiting.size === 0) return
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { messages, timer } of all) {
      timer.cancel()
      for (const message of messages) {
        const { target, envelope } = message
        // Who has given up meanwhile must not be served.
        if (envelope.call?.settled === true) continue
        this.#again = message
        target.deliver(envelope)
        this.#again = undefined
      }
    }
  }

  /** Nothing waits any longer. */
  end(): void {
    const all = [...this.#waiting]
    this.#waiting.clear()
    for (const [node, { messages, timer }] of all) {
      timer.cancel()
      for (const { target, envelope } of messages) this.#refuse(node, target, envelope)
    }
  }

  #expire(node: string): void {
    const waiting = this.#waiting.get(node)
    if (waiting === undefined) return
    const { clock } = this.#host.kernel
    const nowMs = clock.monotonicMs()
    const due = waiting.messages.filter(({ untilMs }) => untilMs <= nowMs)
    waiting.messages = waiting.messages.filter(({ untilMs }) => untilMs > nowMs)
    waiting.bytes = waiting.messages.reduce((sum, { bytes }) => sum + bytes, 0)
    const next = waiting.messages[0]
    if (next === undefined) this.#waiting.delete(node)
    else waiting.timer = clock.setTimer(next.untilMs, () => this.#expire(node))
    for (const { target, envelope } of due) this.#refuse(node, target, envelope)
  }

  #refuse(node: string, target: Ref, envelope: Envelope): void {
    if (envelope.call?.settled !== true) this.#host.refuse(node, target, envelope)
  }
}
