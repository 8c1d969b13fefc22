/**
 * Watches of one client: an actor that takes the pushes, and a stream for each watch, which subscribes, notices what was
 * lost, goes to another server when it must, and hands out whole revisions in order, each once.
 */
import { actor, ActorError, isActorError, tell, type ActorRef } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import { ByteReader } from '../service/byte-buffer.ts'
import { kvClientClosed, type KvCaller } from './kv-caller.ts'
import type { CheckedKvClientOptions } from './kv-client-options.ts'
import { readEntry } from './kv-codec.ts'
import type { KvEvent, KvRange } from './kv-command.ts'
import { KvError } from './kv-error.ts'
import { decodeKvReply, KvWatcher, type KvReply, type KvWatcherMessages } from './kv-protocol.ts'
import type { KvNode } from './kv-service.ts'
import { eventFlag, pushFlag } from './kv-watch-hub.ts'

/** What came to a watch: whole revisions, in order. */
export interface KvBatch {
  /** Everything that the watch is to see up to this revision has come. */
  readonly revision: number
  /** In the order of their revisions, and within one in the order of its operations. Empty: a progress notification. */
  readonly events: readonly KvEvent[]
}

export interface KvWatchOptions {
  /** The first revision to see. @default what comes after the newest one, linearizably, at the first `next()` */
  readonly revision?: number | undefined
  /** Events say what was there before. @default false */
  readonly previous?: boolean | undefined
  /** Events that are left out. @default none */
  readonly without?: 'put' | 'delete' | undefined
  /** Hand out a batch without events now and then, which says how far all has come. @default false */
  readonly progress?: boolean | undefined
  /** Ends the watch: `next` rejects with RUNTIME_ABORTED. */
  readonly signal?: AbortSignal | undefined
}

/**
 * A watch. It subscribes with the first `next`, or `for await`. It promises what etcd's do: events come in order, each once,
 * whole revisions at a time, none is left out, and one that is broken off can be taken up behind the last batch. It goes on by
 * itself through lost links, crashes and changes of the leader.
 *
 * `next` rejects with KV_COMPACTED when what comes next is compacted: read, and watch from what you have read.
 */
export interface KvWatch extends AsyncIterableIterator<KvBatch, undefined> {
  /** Where another watch would go on: behind the last batch that was taken. 0 when nothing is known yet. */
  readonly nextRevision: number
  /** Ends it. What was not taken is dropped. */
  readonly close: () => void
}

/** How often streams are looked after. */
const tickMs = 500
/** A server that says nothing for so many of its own progress intervals is given up. */
const silentIntervals = 2.5

/** The watches of one client. */
export class KvWatches {
  readonly #node: KvNode
  readonly #options: CheckedKvClientOptions
  readonly #caller: KvCaller
  readonly client: string
  /** By the number of their subscription: what comes to an old one is for nobody. */
  readonly #streams = new Map<number, KvWatchStream>()
  readonly #open = new Set<KvWatchStream>()
  #subscriptions = 0
  #ref: ActorRef<KvWatcherMessages> | undefined

  constructor(node: KvNode, options: CheckedKvClientOptions, caller: KvCaller, client: string) {
    this.#node = node
    this.#options = options
    this.#caller = caller
    this.client = client
  }

  watch(range: KvRange, options: KvWatchOptions): KvWatch {
    const stream = new KvWatchStream(this, this.#caller, this.#options, range, options)
    if (this.#caller.isClosed) stream.end(kvClientClosed())
    else if (!stream.isEnded) this.#open.add(stream)
    return stream
  }

  async close(): Promise<void> {
    for (const stream of [...this.#open]) stream.end(kvClientClosed())
    if (this.#ref !== undefined) await this.#node.system.stop(this.#ref)
  }

  // ---- For streams ---------------------------------------------------------------------------------------------

  subscribe(stream: KvWatchStream): number {
    const number = ++this.#subscriptions
    this.#streams.set(number, stream)
    return number
  }

  unsubscribe(number: number, server: string): void {
    if (!this.#streams.delete(number)) return
    this.#caller.refTo(server).tell({ type: 'unwatch', client: this.client, watch: number })
  }

  ended(stream: KvWatchStream): void {
    this.#open.delete(stream)
  }

  /** The actor that takes the pushes, started when it is first needed. */
  receiver(): ActorRef<KvWatcherMessages> {
    if (this.#ref !== undefined) return this.#ref
    const system = this.#node.system as InternalSystem
    const { ref } = spawnSystemActor(system, `kv-client-${this.client}`, this.#receiver())
    this.#ref = ref
    return ref
  }

  #receiver() {
    const own = { tick: tell(), serverGone: tell({ server: { type: 'string' } as object }) }
    return actor(KvWatcher, { name: 'kv-client', own }, (ctx) => {
      const watched = new Set<string>()
      ctx.timers.every('tick', tickMs, { type: 'tick' })
      return {
        push: ({ watch, bytes }) => this.#streams.get(watch)?.push(bytes),
        ended: ({ watch, why, compactRevision }) => this.#streams.get(watch)?.lost(why, compactRevision),
        tick: () => {
          for (const stream of this.#open) {
            stream.lookAfter()
            const { server } = stream
            if (server === undefined || watched.has(server)) continue
            watched.add(server)
            ctx.watch(this.#caller.refTo(server), () => ({ type: 'serverGone', server }))
          }
        },
        serverGone: ({ server }) => {
          watched.delete(String(server))
          for (const stream of this.#open)
            if (stream.server === server) stream.lost(`node "${String(server)}" is gone`, 0)
        },
      }
    })
  }
}

interface Waiter {
  readonly resolve: (result: IteratorResult<KvBatch, undefined>) => void
  readonly reject: (error: Error) => void
}

class KvWatchStream implements KvWatch {
  readonly #watches: KvWatches
  readonly #caller: KvCaller
  readonly #options: CheckedKvClientOptions
  readonly #range: KvRange
  readonly #wish: KvWatchOptions
  /** What is asked for next; 0: from now on. */
  #next: number
  #taken = 0
  /** Revision of the last batch that was put in line. */
  #told = 0
  #status: 'idle' | 'subscribing' | 'subscribed' | 'ended' = 'idle'
  #error: Error | undefined
  #subscription = 0
  /** Subscriptions in a row that ended before anything came: the next one waits. */
  #fruitless = 0
  /** Why the one that is being made is over already: that can be known before its answer is. */
  #endedEarly = ''
  server: string | undefined
  #sequence = 0
  #partial: KvEvent[] = []
  #heardMs = 0
  #progressMs = Number.POSITIVE_INFINITY
  readonly #queue: { readonly batch: KvBatch; readonly bytes: number }[] = []
  #queuedBytes = 0
  /** Credit that this subscription has given back in all: said as a whole, for what is said may be lost with a link. */
  #given = 0
  /** Credit that was not given back yet. */
  #owed = 0
  readonly #waiters: Waiter[] = []
  readonly #onAbort = (): void => {
    const { signal } = this.#wish
    this.end(new ActorError('RUNTIME_ABORTED', 'The watch was given up', {}, signal?.reason))
  }

  constructor(
    watches: KvWatches,
    caller: KvCaller,
    options: CheckedKvClientOptions,
    range: KvRange,
    wish: KvWatchOptions,
  ) {
    this.#watches = watches
    this.#caller = caller
    this.#options = options
    this.#range = range
    this.#wish = wish
    this.#next = wish.revision ?? 0
    if (wish.signal?.aborted === true) this.#onAbort()
    else wish.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  get isEnded(): boolean {
    return this.#status === 'ended'
  }

  get nextRevision(): number {
    return this.#taken === 0 ? (this.#wish.revision ?? 0) : this.#taken + 1
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<KvBatch, undefined>> {
    if (this.#status === 'idle') void this.#subscribe()
    const first = this.#queue.shift()
    if (first !== undefined) return Promise.resolve({ done: false, value: this.#take(first) })
    if (this.#status === 'ended') {
      return this.#error === undefined
        ? Promise.resolve({ done: true, value: undefined })
        : Promise.reject(this.#error)
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }))
  }

  return(): Promise<IteratorResult<KvBatch, undefined>> {
    this.close()
    return Promise.resolve({ done: true, value: undefined })
  }

  close(): void {
    this.end(undefined)
    this.#queue.length = 0
  }

  /** What has come can still be taken; then `next` says why it ended. */
  end(error: Error | undefined): void {
    if (this.#status === 'ended') return
    this.#status = 'ended'
    this.#error = error
    this.#wish.signal?.removeEventListener('abort', this.#onAbort)
    this.#leave()
    this.#watches.ended(this)
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error === undefined) resolve({ done: true, value: undefined })
      else reject(error)
    }
  }

  // ---- What the server says ------------------------------------------------------------------------------------

  push(bytes: unknown): void {
    if (!(bytes instanceof Uint8Array)) return
    this.#heardMs = this.#caller.nowMs()
    this.#fruitless = 0
    const reader = new ByteReader(bytes)
    const flags = reader.byte()
    if (reader.number() !== ++this.#sequence) {
      this.lost('a push was lost on its way', 0)
      return
    }
    const revision = reader.number()
    if ((flags & pushFlag.bookmark) !== 0) {
      this.#partial = []
      // From a server that may have nothing else to say because it has not heard of any credit.
      if (this.#given > 0) this.#tellCredit()
      this.#bookmark(revision)
      return
    }
    if ((flags & pushFlag.rest) === 0) this.#partial = []
    while (!reader.isAtEnd) this.#partial.push(readEvent(reader))
    if ((flags & pushFlag.more) !== 0) {
      // Nothing of it can be taken before the rest is here: a revision may be larger than all the credit there is.
      this.#giveBack(bytes.length)
      return
    }
    const events = this.#partial.filter((event) => event.revision >= this.#next)
    this.#partial = []
    this.#next = Math.max(this.#next, revision + 1)
    if (events.length === 0) this.#giveBack(bytes.length)
    else this.#enqueue({ revision, events }, bytes.length)
  }

  /** The subscription is over; `compactRevision` above 0: what comes next is compacted. */
  lost(why: string, compactRevision: number): void {
    if (this.#status !== 'subscribed' && this.#status !== 'subscribing') return
    if (compactRevision > 0) {
      this.#compacted(compactRevision)
      return
    }
    if (this.#status === 'subscribing') {
      this.#endedEarly = why
      return
    }
    this.#fruitless++
    void this.#subscribe(why)
  }

  /** Now and then: a server that says nothing is given up. */
  lookAfter(): void {
    if (this.#status !== 'subscribed') return
    const silentMs = this.#caller.nowMs() - this.#heardMs
    if (silentMs > this.#progressMs * silentIntervals) this.lost('the server has fallen silent', 0)
  }

  #bookmark(revision: number): void {
    // Nothing comes any more of what lies below, so a later subscription need not ask for it.
    this.#next = Math.max(this.#next, revision + 1)
    // A server that has just begun a new life may be behind what another one told.
    if (this.#wish.progress !== true || revision < this.#told) return
    const last = this.#queue.at(-1)
    if (last !== undefined && last.batch.events.length === 0) this.#queue.pop()
    this.#enqueue({ revision, events: [] }, 0)
  }

  // ---- Subscribing ---------------------------------------------------------------------------------------------

  async #subscribe(why = ''): Promise<void> {
    this.#leave()
    this.#status = 'subscribing'
    let problem = why
    for (let tries = why === '' ? 0 : this.#fruitless - 1; this.#isSubscribing(); tries++) {
      if (tries > 0) await this.#caller.pause(tries, this.#wish.signal)
      if (!this.#isSubscribing()) return
      try {
        const reply = await this.#ask(tries === 0 && why === '')
        if (!this.#isSubscribing()) return
        problem = this.#settle(reply)
      } catch (error) {
        if (!isActorError(error) || error.code === 'RUNTIME_INVALID_MESSAGE') {
          this.end(error instanceof Error ? error : new Error(String(error)))
          return
        }
        problem = error.message
      }
      if (problem === '') return
      this.#leave()
    }
  }

  #isSubscribing(): boolean {
    return this.#status === 'subscribing'
  }

  async #ask(isFirst: boolean): Promise<KvReply> {
    const server = isFirst ? this.#caller.nearestServer() : this.#caller.nextServer()
    this.server = server
    this.#subscription = this.#watches.subscribe(this)
    this.#endedEarly = ''
    this.#sequence = 0
    this.#partial = []
    this.#owed = 0
    this.#given = 0
    const { from, to } = this.#range
    const { previous = false, without = '' } = this.#wish
    const bytes = await this.#caller.refTo(server).ask(
      {
        type: 'watch',
        client: this.#watches.client,
        watch: this.#subscription,
        to: this.#watches.receiver(),
        from,
        upTo: to ?? null,
        revision: this.#next,
        previous,
        without,
        credit: Math.max(1, this.#options.watchBytesMax - this.#queuedBytes),
      },
      { timeoutMs: this.#options.attemptMs },
    )
    return decodeKvReply(bytes)
  }

  /** `''`: it stands. */
  #settle(reply: KvReply): string {
    switch (reply.kind) {
      case 'opened':
        if (this.#next === 0) this.#next = reply.number
        if (this.#endedEarly !== '') return this.#endedEarly
        this.#progressMs = reply.progressMs
        this.#heardMs = this.#caller.nowMs()
        this.#status = 'subscribed'
        return ''
      case 'compacted':
        this.#compacted(reply.compactRevision)
        return ''
      case 'not-leader':
        return 'the server knows no leader'
      case 'overloaded':
      case 'unknown':
      case 'closed':
        return reply.why
      default:
        return `the server answered with "${reply.kind}"`
    }
  }

  #compacted(compactRevision: number): void {
    const text =
      `The watch cannot go on: revision ${this.#next} is compacted, the oldest that is kept is ${compactRevision}; ` +
      `read the keys, and watch from what you have read`
    this.end(new KvError('KV_COMPACTED', text, { revision: this.#next, compactRevision }))
  }

  #leave(): void {
    if (this.server !== undefined) this.#watches.unsubscribe(this.#subscription, this.server)
    this.server = undefined
  }

  // ---- Handing out ---------------------------------------------------------------------------------------------

  #enqueue(batch: KvBatch, bytes: number): void {
    this.#told = batch.revision
    this.#queuedBytes += bytes
    const waiter = this.#waiters.shift()
    if (waiter === undefined) this.#queue.push({ batch, bytes })
    else waiter.resolve({ done: false, value: this.#take({ batch, bytes }) })
  }

  #take({ batch, bytes }: { readonly batch: KvBatch; readonly bytes: number }): KvBatch {
    this.#queuedBytes -= bytes
    this.#taken = Math.max(this.#taken, batch.revision)
    this.#giveBack(bytes)
    return batch
  }

  #giveBack(bytes: number): void {
    this.#owed += bytes
    if (this.server === undefined || this.#owed === 0 || this.#owed < this.#options.watchBytesMax / 4) return
    this.#tellCredit()
  }

  #tellCredit(): void {
    if (this.server === undefined) return
    this.#given += this.#owed
    this.#owed = 0
    const { client } = this.#watches
    this.#caller
      .refTo(this.server)
      .tell({ type: 'credit', client, watch: this.#subscription, bytes: this.#given })
  }
}

function readEvent(reader: ByteReader): KvEvent {
  const flags = reader.byte()
  if ((flags & eventFlag.delete) === 0) {
    const entry = readEntry(reader)
    const previous = (flags & eventFlag.previous) === 0 ? undefined : readEntry(reader)
    return { type: 'put', key: entry.key, entry, revision: entry.modRevision, previous }
  }
  const key = reader.text()
  const revision = reader.number()
  const previous = (flags & eventFlag.previous) === 0 ? undefined : readEntry(reader)
  return { type: 'delete', key, entry: undefined, revision, previous }
}
