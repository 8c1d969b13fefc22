/** What was sent over reliable delivery and what became of it, as somebody who sees both ends; and what that must obey. */
import { protocol, tell, type ReliableProducer } from '@understudy/runtime'
import { checkTotalQueue, HistoryRecorder, type OpenOp } from '@understudy/runtime/checkers'
import type { TotalQueueInput, TotalQueueOutput } from '@understudy/runtime/checkers'
import type { ScenarioWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'

export const Orders = protocol('orders', {
  /** `crashes`: so often it crashes each life of the consumer; `waitMs`: it takes so long. */
  put: tell({
    n: Type.Integer(),
    body: Type.String(),
    crashes: Type.Integer(),
    waitMs: Type.Integer(),
    isRefused: Type.Boolean(),
  }),
})
export type OrdersMessages = (typeof Orders)['messages']
export type Out = ReliableProducer<OrdersMessages>

export const maxAttempts = 3
/** Crashes every handler it meets. */
export const poison = 99

export interface Item {
  readonly n: number
  readonly stream: Stream
  readonly size: number
  readonly crashes: number
  readonly isRefused: boolean
  /** How its sender was answered: '' while it was not, `told` when nobody asked. */
  answer: string
  /** The lives of consumers whose handlers came to their end with it. */
  readonly handledBy: Set<string>
  /** How often each life of a consumer has begun it. */
  readonly begun: Map<string, number>
  /** A life of a consumer has put it aside, or its handler refused it. */
  isSetAside: boolean
  op: OpenOp<TotalQueueOutput<number>>
}

/** What one producer sends. */
export interface Stream {
  readonly name: string
  /** In the order in which they were taken. */
  readonly items: Item[]
  /** By life of the consumer: the last place that was begun. */
  readonly places: Map<string, number>
  readonly out: Out
  readonly bufferMax: number
  readonly waitingMax: number
  /** Who sent is gone, so nobody makes up for anything. */
  readonly isOver: () => boolean
  /** Its producer takes nothing more. */
  readonly close?: (() => void) | undefined
}

export class OrderBook {
  readonly world: () => ScenarioWorld
  /** A consumer may forget what its last acknowledgement said: then it may handle twice. */
  mayForget = false
  readonly streams: Stream[] = []
  readonly items: Item[] = []
  readonly #history = new HistoryRecorder<TotalQueueInput<number>, TotalQueueOutput<number>>()
  readonly #tags: ReadonlySet<string>

  constructor(world: () => ScenarioWorld, tags: readonly string[]) {
    this.world = world
    this.#tags = new Set(tags)
  }

  met(tag: string): void {
    if (this.#tags.has(tag)) this.world().sometimes(tag)
  }

  broken(rule: string, text: string): void {
    this.world().simulation.fail(rule, text)
  }

  begin(stream: Omit<Stream, 'items' | 'places'>): Stream {
    const begun = { ...stream, items: [], places: new Map<string, number>() }
    this.streams.push(begun)
    return begun
  }

  // ---- The sender ----------------------------------------------------------------------------------------------

  /** Sends one message; `isTold`: nobody waits for it. */
  send(
    stream: Stream,
    fate: Pick<Item, 'size' | 'crashes' | 'isRefused'>,
    waitMs: number,
    isTold: boolean,
  ): void {
    const n = this.items.length
    const { name, items, out } = stream
    const item: Item = {
      n,
      stream,
      ...fate,
      answer: '',
      handledBy: new Set(),
      begun: new Map(),
      isSetAside: false,
      op: this.#history.begin(this.streams.indexOf(stream), { type: 'enqueue', value: n, partition: name }),
    }
    this.items.push(item)
    const message = { type: 'put', n, body: 'x'.repeat(fate.size), waitMs, ...fate, size: undefined } as const
    const { size: _size, ...sent } = message
    if (isTold) {
      if (out.tell(sent)) {
        item.answer = 'told'
        items.push(item)
      } else this.#notTaken(item)
    } else {
      items.push(item)
      out.send(sent).then(
        () => this.#resolved(item),
        (error: unknown) => this.#rejected(item, (error as { readonly code?: string }).code ?? String(error)),
      )
    }
    this.look(stream)
  }

  #notTaken(item: Item): void {
    item.answer = 'not-taken'
    item.op.failed()
    const place = item.stream.items.indexOf(item)
    if (place >= 0) item.stream.items.splice(place, 1)
    this.met('no-room')
  }

  #resolved(item: Item): void {
    item.answer = 'handled'
    item.op.ok(undefined)
    if (item.handledBy.size === 0)
      this.broken(
        'acknowledged-is-handled',
        `${this.#nameOf(item)} was acknowledged, and nobody has handled it`,
      )
  }

  #rejected(item: Item, code: string): void {
    item.answer = code
    switch (code) {
      case 'RUNTIME_DELIVERY_FULL':
        this.#notTaken(item)
        return
      case 'RUNTIME_DELIVERY_PARKED':
        this.met('parked')
        if (item.crashes < maxAttempts || !item.isSetAside)
          this.broken(
            'parked-is-poison',
            `${this.#nameOf(item)} was parked, and crashes only ${item.crashes} times`,
          )
        break
      case 'RUNTIME_REJECTED':
        this.met('refused')
        if (!item.isRefused) this.broken('refused-is-refused', `${this.#nameOf(item)} was refused by nobody`)
        break
      case 'RUNTIME_DELIVERY_LOST':
        this.met('producer-lost')
        if (!item.stream.isOver())
          this.broken('lost-with-its-producer', `${this.#nameOf(item)} was lost, and its producer lives`)
        item.op.unknown()
        return
      default:
        this.broken('typed-outcome', `${this.#nameOf(item)} ended with ${code}`)
    }
    item.op.failed()
  }

  /** Bounds of a producer, whatever happens. */
  look({ name, out, bufferMax, waitingMax }: Stream): void {
    const { held, waiting, granted, sent, processed, offered, resent } = out.status()
    if (held > bufferMax) this.broken('bounded-buffer', `"${name}" holds ${held} pieces of ${bufferMax}`)
    if (waiting > waitingMax) this.broken('bounded-waiting', `${waiting} calls wait for "${name}"`)
    if (sent > granted || processed > offered || sent > offered)
      this.broken('within-the-window', `"${name}" sent ${sent} of ${offered}, granted ${granted}`)
    if (waiting > 0) this.met('waited-for-room')
    if (resent > 0) this.met('sent-again')
  }

  // ---- The handler ---------------------------------------------------------------------------------------------

  /** A handler of `consumer` (a life of it) begins. Gives how often that life had begun it before. */
  begins(consumer: string, node: string, n: number, body: string): number {
    const item = this.items[n]
    if (item === undefined) {
      this.broken('never-sent', `message ${n}`)
      return 0
    }
    const { stream, size, handledBy, begun } = item
    if (!stream.name.endsWith(`>${node}`))
      this.broken('another-addressee', `${this.#nameOf(item)} came to "${node}"`)
    if (body.length !== size)
      this.broken('whole', `${this.#nameOf(item)} has ${body.length} of ${size} characters`)
    if (size > 1_000) this.met('in-chunks')
    if (handledBy.has(consumer) && !this.mayForget)
      this.broken('exactly-once', `${this.#nameOf(item)} is handled again by ${consumer}, which handled it`)
    if (handledBy.size > 0) this.met('handled-by-two')
    this.#inOrder(item, consumer)
    const before = begun.get(consumer) ?? 0
    begun.set(consumer, before + 1)
    if (before > 0) this.met('tried-again')
    return before
  }

  #inOrder(item: Item, consumer: string): void {
    const { stream } = item
    const place = stream.items.indexOf(item)
    const last = stream.places.get(consumer)
    stream.places.set(consumer, place)
    if (last === undefined) {
      // A new one begins with what nobody has acknowledged, and so leaves nothing out.
      const skipped = stream.items.slice(0, place).find((one) => one.handledBy.size === 0 && !one.isSetAside)
      if (skipped !== undefined)
        this.broken(
          'no-gap',
          `${consumer} begins with ${this.#nameOf(item)}; nobody handled ${this.#nameOf(skipped)}`,
        )
      if (place > 0) this.met('consumer-replaced')
    } else if (place > last + 1 || (place < last && !this.mayForget)) {
      const before = stream.items[last]
      this.broken(
        'in-order',
        `${consumer} was handed ${this.#nameOf(item)} after ${before === undefined ? 'nothing' : this.#nameOf(before)}`,
      )
    }
  }

  handled(consumer: string, n: number): void {
    const item = this.items[n]
    if (item === undefined) return
    item.handledBy.add(consumer)
    const open = this.#history.begin(100, { type: 'dequeue', partition: item.stream.name })
    open.ok([n])
  }

  setAside(n: number): void {
    const item = this.items[n]
    if (item !== undefined) item.isSetAside = true
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  /** Of producers that live: what was not dealt with, and what was not acknowledged. */
  open(): readonly string[] {
    return this.streams
      .filter((stream) => !stream.isOver())
      .flatMap((stream) => [
        ...stream.items.filter((item) => !this.#isDone(item)).map((item) => this.#nameOf(item)),
        ...(stream.out.status().held > 0 ? [`"${stream.name}" holds ${stream.out.status().held}`] : []),
      ])
  }

  #isDone({ answer, handledBy, isSetAside }: Item): boolean {
    return answer === 'told' ? handledBy.size > 0 || isSetAside : answer !== ''
  }

  /** Nothing is under way any more. */
  judge(): void {
    for (const { name } of this.streams) {
      this.#history.begin(101, { type: 'drain', partition: name }).ok([])
    }
    for (const item of this.items) if (item.answer === 'told') item.op.unknown()
    const verdict = checkTotalQueue(this.#history.ops(), { duplicates: 'allowed', order: 'partition' })
    this.world().expect('total-queue', verdict)
  }

  #nameOf({ n, stream, answer }: Item): string {
    return `message ${n} of "${stream.name}"${answer === '' ? '' : ` (${answer})`}`
  }
}
