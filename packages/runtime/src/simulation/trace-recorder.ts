/**
 * Writes down who handled what and who sent it, by looking at the mailboxes after each step. Only for runs that are
 * traced: it walks every actor of the process that has just moved.
 */
import type { Cell } from '../actor/cell.ts'
import { EnvelopeKind, type Envelope } from '../actor/envelope.ts'
import type { TraceEvent } from './run-result.ts'

/** What is a column of the picture: a machine, or, where there is only one, an actor. */
export type Lanes = 'machines' | 'actors'

/** A process whose mailboxes are looked at. */
export interface TracedProcess {
  readonly machine: { readonly name: string }
  readonly cells: () => Iterable<Cell>
}

/** An actor that takes a turn. */
export interface TracedActor {
  readonly cell: Cell
  readonly process: TracedProcess
}

export interface TraceSink {
  readonly step: number
  readonly nowMs: number
  readonly note: (event: TraceEvent) => void
  readonly nextMessageId: () => number
}

export class TraceRecorder {
  readonly #sink: TraceSink
  readonly #lanes: Lanes
  readonly #ids = new Map<Envelope, number>()
  /** Handlers that are awaited, with the message they handle. */
  readonly #awaited = new Map<Cell, { readonly envelope: Envelope; readonly type: string }>()
  /** What waited for an actor that may take several messages in the turn under way, beside the one it awaits. */
  #beside: readonly Envelope[] = []

  constructor(sink: TraceSink, lanes: Lanes) {
    this.#sink = sink
    this.#lanes = lanes
  }

  /** The actor is about to take the message at the head of its mailbox. */
  beforeTurn(actor: TracedActor): void {
    const { cell } = actor
    // Which of them it takes is only known afterwards.
    this.#beside = cell.isAwaiting ? [...cell.waiting()] : []
    const [envelope] = cell.waiting()
    if (envelope !== undefined && !cell.isAwaiting) this.#noteHandled(actor, envelope)
  }

  #noteHandled(actor: TracedActor, envelope: Envelope): void {
    const { cell } = actor
    const messageId = this.#ids.get(envelope)
    this.#ids.delete(envelope)
    this.#sink.note({
      type: 'handled',
      ...this.#place(actor.process, cell),
      actor: cell.path,
      message: envelope.message.type,
      messageId: this.#lanes === 'actors' ? messageId : undefined,
    })
  }

  /**
   * Notes what has come into the mailboxes of `process`, sent by `by`, or from outside. Returns the types of the new
   * messages: what a frame that has just arrived carried.
   */
  afterStep(life: TracedProcess, by: TracedActor | undefined): readonly string[] {
    const types: string[] = []
    if (by !== undefined) this.#noteBeside(by)
    for (const cell of life.cells()) {
      for (const envelope of cell.waiting()) {
        if (this.#ids.has(envelope)) continue
        const messageId = this.#sink.nextMessageId()
        this.#ids.set(envelope, messageId)
        const message = envelope.message.type
        types.push(message)
        if (this.#lanes === 'machines' || cell.isSystem) continue
        // What an actor sends to itself comes from itself: a tick, a notice, a result.
        const own = envelope.kind === EnvelopeKind.user ? undefined : cell.path
        const from = envelope.sender?.senderPath ?? own ?? by?.cell.path ?? 'outside'
        const { step, nowMs: atMs } = this.#sink
        this.#sink.note({
          type: 'sent',
          step,
          atMs,
          lane: from,
          messageId,
          to: cell.path,
          message,
          actor: by?.cell.path,
        })
      }
      this.#noteAwaited(life, cell)
    }
    return types
  }

  /** Concurrent messages that were taken while a handler is awaited. */
  #noteBeside(actor: TracedActor): void {
    const before = this.#beside
    this.#beside = []
    if (before.length === 0) return
    const [next] = actor.cell.waiting()
    for (const envelope of before) {
      if (envelope === next) return
      this.#noteHandled(actor, envelope)
    }
  }

  /** A handler that awaited has come to its end: the story would be hard to follow without it. */
  #noteAwaited(life: TracedProcess, cell: Cell): void {
    const known = this.#awaited.get(cell)
    const { current } = cell
    if (known !== undefined && (!cell.isAwaiting || current !== known.envelope)) {
      this.#awaited.delete(cell)
      this.#sink.note({
        type: 'state',
        ...this.#place(life, cell),
        what: this.#lanes === 'actors' ? `${known.type} done` : `${cell.path}: ${known.type} done`,
      })
    }
    if (cell.isAwaiting && current !== null && current !== known?.envelope) {
      this.#awaited.set(cell, { envelope: current, type: current.message.type })
    }
  }

  #place(life: TracedProcess, cell: Cell): { step: number; atMs: number; lane: string } {
    const { step, nowMs: atMs } = this.#sink
    return { step, atMs, lane: this.#lanes === 'actors' ? cell.path : life.machine.name }
  }
}
