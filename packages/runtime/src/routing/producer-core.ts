/**
 * One producer of reliable delivery, without any actor: numbers pieces, keeps each until it is acknowledged, stays within
 * the window that the consumer granted, and finds out what was lost. Pure; the shell is reliable-producer.ts.
 *
 * Nothing is sent again on a guess. When nothing has moved for a while the consumer is asked (`probe`); its answer says
 * what it has, and what is missing of that which was sent before the probe goes out again. So an unreachable consumer
 * costs one small message per `resend` pause, and a slow one costs no chunk twice.
 */
import type { Core } from '../core/core.ts'
import { backoffDelayMs } from '../supervision/backoff.ts'
import type { FailedPiece, Introduced, Progress } from './reliable-protocol.ts'

export type ProducerInput =
  /** The shell is up: find the consumer. */
  | { readonly type: 'started' }
  /** One message, as its pieces. Whoever offers sees to it that not too many are held. */
  | { readonly type: 'offer'; readonly offer: number; readonly bodies: readonly unknown[] }
  /** The answer to the last `hello`. */
  | { readonly type: 'introduced'; readonly reply: Introduced }
  /** The last `hello` failed; `isFinal`: every other one will too. */
  | { readonly type: 'hello-failed'; readonly isFinal: boolean }
  | ({
      readonly type: 'ack'
      readonly beyond: readonly number[]
      readonly answers: number
    } & Progress)
  /** A consumer does not know this producer. */
  | { readonly type: 'unknown' }
  /** The consumer's actor has ended; `isFinal`: nobody takes its place. */
  | { readonly type: 'consumer-ended'; readonly isFinal: boolean }
  /** The `send` of that piece was refused: the link is full, or is no more. */
  | { readonly type: 'blocked'; readonly sequence: number }
  /** There may be room again. */
  | { readonly type: 'unblocked' }
  /** The producer is over. */
  | { readonly type: 'end' }
  | { readonly type: 'tick' }

/**
 * What the shell does, in the order given. `settled` comes in the order of the offers, each offer once, and before the
 * `ended` of its step.
 */
export type ProducerEffect =
  /** Ask the consumer for its `Introduced`. Answered by `introduced` or `hello-failed`; there is one at a time. */
  | { readonly type: 'hello'; readonly first: number }
  | {
      readonly type: 'send'
      readonly sequence: number
      readonly confirmed: number
      readonly body: unknown
    }
  | { readonly type: 'probe'; readonly number: number }
  /** The offer is done with: handled, unless `failed` says otherwise. */
  | {
      readonly type: 'settled'
      readonly offer: number
      readonly failed: FailedPiece | 'not-sent' | 'unknown' | undefined
    }
  /** Begin to watch the consumer. `isOther`: it is not the one that was there before. */
  | { readonly type: 'linked'; readonly consumer: string; readonly isOther: boolean }
  /** For the log: it is looked for from now on. */
  | { readonly type: 'seeking' }
  /** The last effect of all. */
  | { readonly type: 'ended' }

export type ProducerPhase = 'idle' | 'seeking' | 'linked' | 'ended'

export interface ProducerCoreStatus {
  readonly phase: ProducerPhase
  /** `undefined` before one has answered. */
  readonly consumer: string | undefined
  /** The last piece that was offered, sent, is known to have arrived, is known to be dealt with, may be sent. */
  readonly offered: number
  readonly sent: number
  readonly taken: number
  readonly processed: number
  readonly granted: number
  /** Pieces that were sent more than once. */
  readonly resent: number
  /** Pieces that are held. */
  readonly held: number
}

export interface ProducerCoreOptions {
  readonly resend: { readonly minMs: number; readonly maxMs: number }
  /** Stretches the pauses, so that producers of one consumer do not move in step: 0.8 to 1.2. @default 1 */
  readonly stretch?: number | undefined
}

interface Piece {
  readonly offer: number
  /** The offer ends with it. */
  readonly isLast: boolean
  readonly body: unknown
  wasSent: boolean
}

/** Probes without an answer after which the consumer is looked for anew. */
const silentProbesMax = 3

export class ProducerCore implements Core<ProducerInput, ProducerEffect, ProducerCoreStatus> {
  readonly #options: ProducerCoreOptions
  /** What nobody has acknowledged, by number: `processed + 1` to `offered`, without a gap. */
  readonly #pieces = new Map<number, Piece>()
  #phase: ProducerPhase = 'idle'
  #consumer: string | undefined
  #offered = 0
  /** All up to here were sent to the consumer in use. Invariant: processed <= sent <= min(granted, offered). */
  #sent = 0
  #taken = 0
  #processed = 0
  #granted = 0
  #resent = 0
  /** Above `taken`, and arrived. At most a window. */
  readonly #beyond = new Set<number>()
  #isBlocked = false
  #isAsking = false
  #helloAtMs: number | undefined
  #helloAttempts = 0
  /** Set while anything is unacknowledged. */
  #probeAtMs: number | undefined
  #probes = 0
  /** What was sent by the time of the last probe; 0 once that was answered. */
  #sentAtProbe = 0
  #attempts = 0
  #silentProbes = 0

  constructor(options: ProducerCoreOptions) {
    this.#options = options
  }

  nextDeadlineMs(): number | undefined {
    if (this.#phase === 'seeking') return this.#isAsking ? undefined : this.#helloAtMs
    return this.#phase === 'linked' ? this.#probeAtMs : undefined
  }

  status(): ProducerCoreStatus {
    return {
      phase: this.#phase,
      consumer: this.#consumer,
      offered: this.#offered,
      sent: this.#sent,
      taken: this.#taken,
      processed: this.#processed,
      granted: this.#granted,
      resent: this.#resent,
      held: this.#pieces.size,
    }
  }

  step(input: ProducerInput, nowMs: number): readonly ProducerEffect[] {
    const effects: ProducerEffect[] = []
    if (this.#phase === 'ended') return effects
    switch (input.type) {
      case 'started':
        if (this.#phase === 'idle') this.#seek(nowMs, effects)
        break
      case 'offer':
        this.#offer(input.offer, input.bodies)
        this.#pump(nowMs, effects)
        break
      case 'introduced':
        this.#introduced(input.reply, nowMs, effects)
        break
      case 'hello-failed':
        this.#isAsking = false
        if (input.isFinal) this.#end(effects)
        else this.#helloAtMs = nowMs + this.#pauseMs(this.#helloAttempts++)
        break
      case 'ack':
        this.#ack(input, nowMs, effects)
        break
      case 'unknown':
        if (this.#phase === 'linked') this.#seek(nowMs, effects)
        break
      case 'consumer-ended':
        if (input.isFinal) this.#end(effects)
        else if (this.#phase === 'linked') this.#seek(nowMs, effects)
        break
      case 'blocked':
        this.#isBlocked = true
        this.#sent = Math.min(this.#sent, Math.max(input.sequence - 1, this.#taken))
        break
      case 'unblocked':
        this.#isBlocked = false
        this.#pump(nowMs, effects)
        break
      case 'end':
        this.#end(effects)
        break
      case 'tick':
        this.#tick(nowMs, effects)
        break
      default:
        return unreachable(input)
    }
    return effects
  }

  #offer(offer: number, bodies: readonly unknown[]): void {
    for (const [index, body] of bodies.entries()) {
      const isLast = index === bodies.length - 1
      this.#pieces.set(++this.#offered, { offer, isLast, body, wasSent: false })
    }
  }

  /** Sends what the window allows. */
  #pump(nowMs: number, effects: ProducerEffect[]): void {
    if (this.#phase !== 'linked') return
    const until = Math.min(this.#granted, this.#offered)
    while (!this.#isBlocked && this.#sent < until) {
      this.#sent++
      if (!this.#beyond.has(this.#sent)) this.#send(this.#sent, effects)
    }
    if (this.#pieces.size === 0) this.#probeAtMs = undefined
    else this.#probeAtMs ??= nowMs + this.#pauseMs(this.#attempts)
  }

  #send(sequence: number, effects: ProducerEffect[]): void {
    const piece = this.#pieces.get(sequence)
    if (piece === undefined) return
    if (piece.wasSent) this.#resent++
    piece.wasSent = true
    effects.push({ type: 'send', sequence, confirmed: this.#processed, body: piece.body })
  }

  /** Looks for the consumer: at once, or after a pause when the last time has brought nothing. */
  #seek(nowMs: number, effects: ProducerEffect[]): void {
    this.#phase = 'seeking'
    this.#probeAtMs = undefined
    this.#sentAtProbe = 0
    effects.push({ type: 'seeking' })
    if (this.#helloAttempts > 0) this.#helloAtMs = nowMs + this.#pauseMs(this.#helloAttempts - 1)
    else this.#hello(effects)
  }

  #hello(effects: ProducerEffect[]): void {
    this.#helloAtMs = undefined
    if (this.#isAsking) return
    this.#isAsking = true
    effects.push({ type: 'hello', first: this.#processed + 1 })
  }

  #introduced(reply: Introduced, nowMs: number, effects: ProducerEffect[]): void {
    this.#isAsking = false
    if (this.#phase !== 'seeking') return
    // Until an acknowledgement shows that it was of use, the next one waits.
    const attempts = this.#helloAttempts++
    // While it is sought nothing was acknowledged, so whoever was given `first` is not behind it.
    if (!isSane(reply, this.#offered) || reply.processed < this.#processed) {
      this.#helloAtMs = nowMs + this.#pauseMs(attempts)
      return
    }
    const isOther = reply.consumer !== this.#consumer
    this.#phase = 'linked'
    this.#consumer = reply.consumer
    this.#isBlocked = false
    this.#beyond.clear()
    this.#taken = reply.taken
    this.#granted = reply.granted
    this.#attempts = 0
    this.#silentProbes = 0
    effects.push({ type: 'linked', consumer: reply.consumer, isOther })
    this.#settle(reply, effects)
    // Whatever was on its way may be lost: all goes out again that it does not have.
    this.#sent = reply.taken
    this.#pump(nowMs, effects)
  }

  #ack(input: ProducerInput & { readonly type: 'ack' }, nowMs: number, effects: ProducerEffect[]): void {
    // While it is sought nothing is dropped: a successor is promised everything from `first` on.
    if (this.#phase !== 'linked' || input.consumer !== this.#consumer || !isSane(input, this.#offered)) return
    this.#silentProbes = 0
    let hasMoved = input.processed > this.#processed || input.taken > this.#taken
    for (const sequence of input.beyond) {
      if (sequence <= this.#taken || sequence > this.#offered || this.#beyond.has(sequence)) continue
      this.#beyond.add(sequence)
      hasMoved = true
    }
    this.#taken = Math.max(this.#taken, input.taken)
    this.#granted = Math.max(this.#granted, input.granted)
    // What was on its way when the consumer was sought may have come after all.
    this.#sent = Math.max(this.#sent, this.#taken)
    for (const sequence of this.#beyond) if (sequence <= this.#taken) this.#beyond.delete(sequence)
    this.#settle(input, effects)
    if (hasMoved) {
      this.#attempts = 0
      this.#helloAttempts = 0
      this.#probeAtMs = undefined
    }
    if (input.answers > 0 && input.answers === this.#probes) this.#sendMissing(effects)
    this.#pump(nowMs, effects)
  }

  /** What was sent before the probe stands before it, so what the answer lacks of that is lost. */
  #sendMissing(effects: ProducerEffect[]): void {
    const until = Math.min(this.#sentAtProbe, this.#sent)
    this.#sentAtProbe = 0
    for (let sequence = this.#taken + 1; sequence <= until; sequence++) {
      if (!this.#beyond.has(sequence)) this.#send(sequence, effects)
    }
  }

  #settle({ processed, failed }: Progress, effects: ProducerEffect[]): void {
    for (let sequence = this.#processed + 1; sequence <= processed; sequence++) {
      const piece = this.#pieces.get(sequence)
      this.#pieces.delete(sequence)
      if (piece?.isLast !== true) continue
      const failure = failed.find((one) => one.sequence === sequence)
      effects.push({ type: 'settled', offer: piece.offer, failed: failure })
    }
    this.#processed = Math.max(this.#processed, processed)
  }

  #tick(nowMs: number, effects: ProducerEffect[]): void {
    if (this.#phase === 'seeking') {
      if (this.#helloAtMs !== undefined && nowMs >= this.#helloAtMs) this.#hello(effects)
      return
    }
    if (this.#phase !== 'linked' || this.#probeAtMs === undefined || nowMs < this.#probeAtMs) return
    if (this.#silentProbes >= silentProbesMax) {
      this.#silentProbes = 0
      this.#seek(nowMs, effects)
      return
    }
    this.#silentProbes++
    this.#probeAtMs = nowMs + this.#pauseMs(++this.#attempts)
    this.#sentAtProbe = this.#sent
    // Nobody may have said that the link is there again.
    this.#isBlocked = false
    effects.push({ type: 'probe', number: ++this.#probes })
    this.#pump(nowMs, effects)
  }

  #end(effects: ProducerEffect[]): void {
    this.#phase = 'ended'
    for (const piece of this.#pieces.values()) {
      if (!piece.isLast) continue
      effects.push({ type: 'settled', offer: piece.offer, failed: piece.wasSent ? 'unknown' : 'not-sent' })
    }
    this.#pieces.clear()
    this.#beyond.clear()
    effects.push({ type: 'ended' })
  }

  #pauseMs(attempt: number): number {
    const { resend, stretch = 1 } = this.#options
    return backoffDelayMs({ ...resend, jitter: 0 }, attempt, 0) * stretch
  }
}

/** No consumer can be further than its producer; one that says so is not believed. */
function isSane({ taken, processed, granted }: Progress, offered: number): boolean {
  return processed <= taken && taken <= offered && taken <= granted
}

function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`)
}
