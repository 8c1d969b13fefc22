/** Watches by clients on all nodes, through deaths, compaction and slow takers: judged by etcd's nine guarantees. */
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import type { KvBatch, KvWatch } from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import {
  checkWatches,
  type ReceivedEvent,
  type WatchRecord,
  type WatchRequest,
} from '@understudy/runtime/checkers'
import { ProcessKilled, type RunInput, type RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { KvBed, kvTags, textOf } from './kv-bed.ts'

export const watchTags: readonly string[] = [
  ...kvTags.filter((tag) => tag !== 'session-expired'),
  ...[
    'events',
    'progress',
    'resumed',
    'compacted-away',
    'compacted',
    'slow',
    'broke-off',
    'complete',
    'from-the-past',
  ],
]

const members = ['a', 'b', 'c'] as const

interface Mutable extends WatchRecord {
  readonly responses: {
    readonly revision: number
    readonly events: readonly ReceivedEvent[]
    readonly isBookmark: boolean
  }[]
  completeTo: number | undefined
}

export function runWatch(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, watching)
}

async function watching(world: World): Promise<void> {
  const compacts = world.choose(2, 'swarm/compact') === 1
  const bed = new KvBed(world, {
    members,
    tags: watchTags,
    group: drawnGroup(world),
    service: {
      progressMs: [5_000, 500][world.choose(2, 'swarm/progress')] ?? 500,
      historyMax: compacts ? ([100_000, 10][world.choose(2, 'swarm/history')] ?? 10) : 100_000,
    },
    client: { watchBytesMax: [1_048_576, 40][world.choose(2, 'swarm/credit')] ?? 40 },
  })
  const watchers = new Watchers(world, bed, !compacts)
  let watching: Promise<unknown> = Promise.resolve()
  await bed.underChaos((isOver) => {
    watching = watchers.run(8, isOver)
    return world.parallel(4, async () => {
      for (let i = 0; i < 18; i++) {
        await world.sleep(world.choose(16, 'client/rest') * 150)
        const place = world.anyUp('client/node')
        if (place !== undefined) await write(world, bed, place, compacts)
      }
    })
  })
  await bed.settle(120_000)
  // Something for every watch, whatever it leaves out.
  for (const key of ['p/a', 'q/a']) {
    for (let done = false; !done;) {
      const put = await bed.attempt(world.node('a'), (kv) => kv.put(key, 'the end'))
      const gone = await bed.attempt(world.node('a'), (kv) => kv.delete(key))
      done = put.type === 'done' && gone.type === 'done'
      // A node that is down refuses at once: time has to pass until it is back.
      if (!done) await world.sleep(100)
    }
  }
  watchers.end(bed.log.at(-1)?.revision ?? 0)
  await watching
  watchers.judge()
}

async function write(world: World, bed: KvBed, place: SimulatedNode, compacts: boolean): Promise<void> {
  const key = `${['p', 'q'][world.choose(2, 'client/prefix')] ?? 'p'}/${['a', 'b', 'c'][world.choose(3, 'client/key')] ?? 'a'}`
  const value = `${bed.log.length}-${world.choose(1_000_000, 'client/value')}`
  const which = world.choose(10, 'client/call')
  if (which < 5) await bed.attempt(place, (kv) => kv.put(key, value))
  else if (which < 7) await bed.attempt(place, (kv) => kv.delete(key))
  else if (which < 9) {
    // One revision of many changes.
    await bed.attempt(place, (kv) =>
      kv.transact({
        then: [
          { type: 'put', key: 'p/a', value },
          { type: 'put', key: 'p/b', value: 'x'.repeat(world.choose(3, 'client/size') * 40) },
          { type: 'delete', from: 'q/a' },
          { type: 'put', key: 'q/c', value },
        ],
      }),
    )
  } else if (compacts) {
    const revision = (bed.log.at(-1)?.revision ?? 1) - world.choose(4, 'client/keep')
    if (revision < 2) return
    const { type } = await bed.attempt(place, (kv) => kv.compact(revision))
    if (type === 'done') bed.met('compacted')
  }
}

class Watchers {
  readonly #world: World
  readonly #bed: KvBed
  readonly #mayAskPrevious: boolean
  readonly #records: Mutable[] = []
  #endRevision = Number.POSITIVE_INFINITY
  #endedAtMs = 0

  constructor(world: World, bed: KvBed, mayAskPrevious: boolean) {
    this.#world = world
    this.#bed = bed
    this.#mayAskPrevious = mayAskPrevious
  }

  async run(count: number, isOver: () => boolean): Promise<void> {
    await this.#world.parallel(count, async () => {
      let nextRevision: number | undefined
      for (;;) {
        await this.#world.sleep(this.#world.choose(8, 'watch/rest') * 300)
        if (isOver() && this.#endRevision < Number.POSITIVE_INFINITY) return
        const place = this.#world.anyUp('watch/node')
        if (place !== undefined) nextRevision = await this.#watch(place, nextRevision)
      }
    })
  }

  /** All that is to come has come to be in the store, and every watch that is open sees it. */
  end(revision: number): void {
    this.#endRevision = revision
    this.#endedAtMs = this.#world.now()
  }

  /** One watch, until it breaks off, is given up, or has seen the end. Gives where another one would go on. */
  async #watch(place: SimulatedNode, resumeAt: number | undefined): Promise<number | undefined> {
    const world = this.#world
    const client = this.#bed.client(place)
    if (client === undefined) return resumeAt
    const isPrefix = world.choose(3, 'watch/prefix') > 0
    const key = isPrefix ? (['p/', 'q/', ''][world.choose(3, 'watch/what')] ?? '') : 'p/a'
    const isResumed = resumeAt !== undefined && resumeAt > 0 && world.choose(2, 'watch/resume') === 1
    const last = this.#bed.log.at(-1)?.revision ?? 1
    const fromPast = world.chance(0.4, 'watch/past')
      ? Math.max(1, last - world.choose(20, 'watch/from'))
      : undefined
    const revision = isResumed ? resumeAt : fromPast
    const request: WatchRequest = {
      key,
      isPrefix,
      ...(revision === undefined ? {} : { fromRevision: revision }),
      prevKv: this.#mayAskPrevious && world.chance(0.5, 'watch/previous'),
      without: ([undefined, undefined, 'put', 'delete'] as const)[world.choose(4, 'watch/without')],
    }
    if (isResumed) this.#bed.met('resumed')
    else if (revision !== undefined) this.#bed.met('from-the-past')
    const record: Mutable = {
      name: `watch ${this.#records.length} on ${place.name}`,
      request,
      responses: [],
      completeTo: undefined,
    }
    this.#records.push(record)
    const watch = client.watch(isPrefix ? { prefix: key } : key, {
      revision,
      previous: request.prevKv,
      without: request.without,
      progress: world.choose(2, 'watch/progress') === 1,
    })
    const isSlow = world.chance(0.3, 'watch/slow')
    if (isSlow) this.#bed.met('slow')
    const batches = world.chance(0.3, 'watch/short')
      ? 1 + world.choose(6, 'watch/batches')
      : Number.POSITIVE_INFINITY
    await this.#take(place, watch, record, batches, isSlow)
    const { nextRevision } = watch
    watch.close()
    return nextRevision
  }

  async #take(
    place: SimulatedNode,
    watch: KvWatch,
    record: Mutable,
    batches: number,
    isSlow: boolean,
  ): Promise<void> {
    const world = this.#world
    const { life } = { life: place.process }
    let next: Promise<IteratorResult<KvBatch, undefined>> | undefined
    for (let taken = 0; taken < batches;) {
      if (isSlow) await world.sleep(1_000)
      next ??= place.call(() => watch.next())
      // A process that is dead answers nothing, and one whose watch lags may take its time: look at the end now and then.
      const got = await Promise.race([
        next.catch((error: unknown) => ({ error })),
        world.sleep(1_000).then(() => undefined),
      ])
      if (got === undefined) {
        if (this.#isAtEnd(record)) return
        if (life?.isAlive !== true) return
        continue
      }
      next = undefined
      if ('error' in got) {
        this.#broke(place, got.error)
        return
      }
      if (got.done === true) return
      taken++
      this.#received(record, got.value)
      if (this.#isAtEnd(record)) return
    }
  }

  #broke(place: SimulatedNode, error: unknown): void {
    const code = isActorError(error) ? error.code : ''
    if (error instanceof ProcessKilled) this.#bed.met('broke-off')
    else if (code === 'KV_COMPACTED') this.#bed.met('compacted-away')
    else if (code === 'KV_CLIENT_CLOSED' || code === 'RUNTIME_STOPPED') return
    else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#world.simulation.fail('typed-outcome', `a watch on "${place.name}" ended with ${text}`)
    }
  }

  #received(record: Mutable, batch: KvBatch): void {
    const { revision, events } = batch
    const { met } = this.#bed.bed
    if (events.length === 0) met.call(this.#bed.bed, 'progress')
    else met.call(this.#bed.bed, 'events')
    record.responses.push({
      revision,
      isBookmark: events.length === 0,
      events: events.map(({ type, key, entry, revision: at, previous }) => ({
        type,
        key,
        revision: at,
        value: entry === undefined ? undefined : textOf(entry.value),
        createRevision: entry?.createRevision,
        prevKv:
          previous === undefined
            ? undefined
            : {
                value: textOf(previous.value),
                createRevision: previous.createRevision,
                modRevision: previous.modRevision,
              },
      })),
    })
  }

  /** It has come as far as the end, or will be asked whether all has come: for watches of `p/a` alone too. */
  #isAtEnd(record: Mutable): boolean {
    const end = this.#endRevision
    if (end === Number.POSITIVE_INFINITY) return false
    const seen = record.responses.at(-1)?.revision ?? 0
    const { key, isPrefix = false, without } = record.request
    // The last of its own: a put and a deletion of p/a, then of q/a.
    const own = key === 'q/' || (isPrefix && key === '') ? end : end - 2
    const last = without === 'delete' ? own - 1 : own
    if (seen < last) {
      const from = record.request.fromRevision
      // It may have begun behind the end.
      if (from === undefined ? seen === 0 : from > last) return this.#world.now() > this.#endedAtMs + 60_000
      this.#world.check(
        'watches-catch-up',
        this.#world.now() < this.#endedAtMs + 120_000,
        `${record.name} of ${JSON.stringify(record.request)} has come to ${seen}, and not to ${last}`,
      )
      return false
    }
    record.completeTo = last
    this.#bed.met('complete')
    return true
  }

  judge(): void {
    const { log } = this.#bed
    this.#world.expect('watch-guarantees', checkWatches(log, this.#records))
  }
}
