/**
 * Messages to members that take part and have no link to this node yet. A member is heard of, and may own places, before
 * the link to it is made; and a link that was lost is made anew. What is sent meanwhile waits a bounded moment for the link,
 * and then goes where its ref says by then: an entity's may be elsewhere.
 */
import type { Timer } from '@understudy/runtime'
import type { Envelope, Kernel, Ref } from '@understudy/runtime/internal'

/** How long a message waits for a link, in milliseconds. */
export const linkWaitMs = 1_000
/** Messages that wait for the link to one member. More are refused at once. */
export const linkWaitMax = 1_000

/** A ref to somebody on another node, as one that waits. */
interface WaitingMessage {
  readonly target: Ref
  readonly envelope: Envelope
  readonly untilMs: number
}

interface Waiting {
  /** In the order in which they were sent, which is also that of their deadlines. */
  messages: WaitingMessage[]
  timer: Timer
}

export interface LinkWaitHost {
  readonly kernel: Kernel
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
  /** While what waited is sent again: until when it may wait, counted from when it was sent first. */
  #untilMs: number | undefined

  constructor(host: LinkWaitHost) {
    this.#host = host
  }

  /** Whether one more would be taken. */
  hasRoom(node: string): boolean {
    return (this.#waiting.get(node)?.messages.length ?? 0) < linkWaitMax
  }

  /** False: there are too many already, and the envelope is the caller's to refuse. */
  add(node: string, target: Ref, envelope: Envelope): boolean {
    if (!this.hasRoom(node)) return false
    const { clock } = this.#host.kernel
    const nowMs = clock.monotonicMs()
    const untilMs = this.#untilMs ?? nowMs + linkWaitMs
    if (untilMs <= nowMs) return false
    const waiting = this.#waiting.get(node)
    if (waiting === undefined) {
      const timer = clock.setTimer(untilMs, () => this.#expire(node))
      this.#waiting.set(node, { messages: [{ target, envelope, untilMs }], timer })
    } else {
      waiting.messages.push({ target, envelope, untilMs })
    }
    return true
  }

  /** Sends everything again: O(messages that wait). What still has no link goes on waiting until its time is up. */
  look(): void {
    if (this.#waiting.size === 0) return
    const all = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { messages, timer } of all) {
      timer.cancel()
      for (const { target, envelope, untilMs } of messages) {
        // Who has given up meanwhile must not be served.
        if (envelope.call?.settled === true) continue
        this.#untilMs = untilMs
        target.deliver(envelope)
        this.#untilMs = undefined
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
    const next = waiting.messages[0]
    if (next === undefined) this.#waiting.delete(node)
    else waiting.timer = clock.setTimer(next.untilMs, () => this.#expire(node))
    for (const { target, envelope } of due) this.#refuse(node, target, envelope)
  }

  #refuse(node: string, target: Ref, envelope: Envelope): void {
    if (envelope.call?.settled !== true) this.#host.refuse(node, target, envelope)
  }
}
