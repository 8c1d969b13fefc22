/** Watches of the store as the checker of watch guarantees wants them. */
import type { LoggedRevision, ReceivedEvent, WatchRecord, WatchResponse } from '@understudy/runtime/checkers'
import type { KvBatch, KvClient, KvWatch } from './kv-cluster.ts'
import type { KvEvent, KvMachine } from './kv-source.ts'

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1')
}

/** What really happened, as a member has it; nothing may be compacted. */
export function logOf(machine: KvMachine): readonly LoggedRevision[] {
  const log: LoggedRevision[] = []
  for (let revision = 1; revision <= machine.revision; revision++) {
    const events = (machine.eventsAt(revision) ?? []).map(({ type, key, entry }) => ({
      type,
      key,
      value: entry === undefined ? undefined : text(entry.value),
    }))
    log.push({ revision, events })
  }
  return log
}

function received({ type, key, entry, revision, previous }: KvEvent): ReceivedEvent {
  return {
    type,
    key,
    value: entry === undefined ? undefined : text(entry.value),
    revision,
    createRevision: entry?.createRevision,
    isCreate: entry === undefined ? undefined : entry.createRevision === entry.modRevision,
    prevKv:
      previous === undefined
        ? undefined
        : {
            value: text(previous.value),
            createRevision: previous.createRevision,
            modRevision: previous.modRevision,
          },
  }
}

export interface WatchChoice {
  readonly name?: string
  readonly key: string
  readonly isPrefix?: boolean
  readonly from?: number
  readonly previous?: boolean
  readonly without?: 'put' | 'delete'
  readonly progress?: boolean
}

/** A watch that keeps what comes. */
export class Watching {
  readonly watch: KvWatch
  readonly #choice: WatchChoice
  readonly batches: KvBatch[] = []
  error: Error | undefined
  /** Awaited before the next batch is taken. */
  slow: () => Promise<void> = () => Promise.resolve()

  constructor(client: KvClient, choice: WatchChoice) {
    const { key, isPrefix = false, from, previous, without, progress } = choice
    this.#choice = choice
    this.watch = client.watch(isPrefix ? { prefix: key } : key, {
      revision: from,
      previous,
      without,
      progress,
    })
    void this.#run()
  }

  get events(): number {
    return this.batches.reduce((sum, { events }) => sum + events.length, 0)
  }

  async #run(): Promise<void> {
    try {
      for await (const batch of this.watch) {
        this.batches.push(batch)
        await this.slow()
      }
    } catch (error) {
      this.error = error as Error
    }
  }

  /** `completeTo`: everything up to this revision must have come. */
  record(completeTo: number | undefined): WatchRecord {
    const { name, key, isPrefix, from, previous, without } = this.#choice
    const responses = this.batches.map(({ revision, events }): WatchResponse => ({
      revision,
      events: events.map(received),
      isBookmark: events.length === 0,
    }))
    return {
      name,
      request: { key, isPrefix, fromRevision: from, prevKv: previous, without },
      responses,
      completeTo,
    }
  }
}
