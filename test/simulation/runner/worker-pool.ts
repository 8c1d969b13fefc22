/** Batches of runs over several processes. A process that dies takes its run with it, not its batch. */
import type { RunResult } from '@understudy/runtime/simulation'
import type { Job } from './seed-deal.ts'
import type { Explained, ExplainOptions, RunSummary, WorkerTask } from './worker-message.ts'
import { WorkerLost, WorkerProcess, type Conditions, type WorkerOptions } from './worker-process.ts'

export interface PoolOptions {
  readonly registry: string
  /** Processes at once. */
  readonly jobs: number
  readonly hangMs: number
  /** Ends everything at once. */
  readonly signal: AbortSignal
}

/** Who is told of runs, in the order in which they end. */
export interface RunSink {
  readonly ran: (job: Job, summary: RunSummary) => void
  /** The process died at it, or it took too long. */
  readonly lost: (job: Job, why: string) => void
}

/** The scenarios could not be loaded: every run would fail alike. */
export class WorkerStartError extends Error {
  override readonly name = 'WorkerStartError'
}

export class WorkerPool {
  readonly #options: PoolOptions
  readonly #living = new Set<WorkerProcess>()

  constructor(options: PoolOptions) {
    this.#options = options
    options.signal.addEventListener('abort', () => {
      for (const worker of this.#living) worker.kill()
    })
  }

  get isAborted(): boolean {
    return this.#options.signal.aborted
  }

  /**
   * Does `work` in so many lanes at once, each pulling from `items` when it is free, until they run out or `isOver`.
   * Rejects with the first error, after the other lanes have ended.
   */
  async lanes<T>(items: Iterator<T>, work: (item: T) => Promise<void>, isOver: () => boolean): Promise<void> {
    let isBroken = false
    const lane = async (): Promise<void> => {
      while (!this.isAborted && !isBroken && !isOver()) {
        const next = items.next()
        if (next.done === true) return
        try {
          await work(next.value)
        } catch (error) {
          isBroken = true
          throw error
        }
      }
    }
    const ended = await Promise.allSettled(Array.from({ length: this.#options.jobs }, lane))
    for (const end of ended) if (end.status === 'rejected') throw end.reason
  }

  /** Runs all batches, each process one after another. @throws {WorkerStartError} (as a rejection) */
  async runAll(batches: Iterator<readonly Job[]>, sink: RunSink, isOver: () => boolean): Promise<void> {
    const idle: WorkerProcess[] = []
    const work = async (batch: readonly Job[]): Promise<void> => {
      const worker = await this.#runBatch(idle.pop() ?? this.#start(), batch, sink, undefined)
      if (worker !== undefined) idle.push(worker)
    }
    try {
      await this.lanes(batches, work, isOver)
    } finally {
      await Promise.all(idle.map((worker) => this.#close(worker)))
    }
  }

  /** Runs one batch in a process of its own. @throws {WorkerStartError} (as a rejection) */
  async runFresh(batch: readonly Job[], sink: RunSink, conditions: Conditions): Promise<void> {
    const worker = await this.#runBatch(this.#start(conditions), batch, sink, conditions)
    if (worker !== undefined) await this.#close(worker)
  }

  /** Runs `jobs` in a process of its own, the last one with a trace. `undefined`: it died, or all was ended. */
  async trace(jobs: readonly Job[], conditions: Conditions): Promise<RunResult | undefined> {
    let traced: RunResult | undefined
    await this.#alone({ type: 'trace', jobs }, conditions, (message) => {
      if (message.type === 'traced') traced = message.result
    })
    return traced
  }

  /** Makes a failure small and puts it into words. `undefined`: the process died over it, or all was ended. */
  async explain(
    job: Job,
    rule: string,
    options: ExplainOptions,
    onProgress: (progress: {
      readonly runs: number
      readonly from: number
      readonly choices: number
    }) => void,
  ): Promise<Explained | undefined> {
    let explained: Explained | undefined
    await this.#alone({ type: 'explain', job, rule, options }, undefined, (message) => {
      if (message.type === 'explained') explained = message.explained
      else if (message.type === 'shrinking') onProgress(message)
    })
    return explained
  }

  async #alone(
    task: WorkerTask,
    conditions: Conditions | undefined,
    onMessage: Parameters<WorkerProcess['run']>[1],
  ): Promise<void> {
    if (this.isAborted) return
    const worker = this.#start(conditions)
    try {
      await worker.run(task, onMessage)
    } catch (error) {
      if (!(error instanceof WorkerLost)) throw error
    } finally {
      await this.#close(worker)
    }
  }

  /** The process that is left when all were run; none when all was ended. */
  async #runBatch(
    first: WorkerProcess,
    batch: readonly Job[],
    sink: RunSink,
    conditions: Conditions | undefined,
  ): Promise<WorkerProcess | undefined> {
    let worker = first
    let ran = 0
    while (ran < batch.length) {
      try {
        await worker.run({ type: 'run', jobs: batch.slice(ran) }, (message) => {
          if (message.type === 'ran') sink.ran(batch[ran++] as Job, message.summary)
        })
      } catch (error) {
        await this.#close(worker)
        if (!(error instanceof WorkerLost)) throw error
        if (this.isAborted) return undefined
        if (!error.wasReady) throw new WorkerStartError(`A worker process ${error.message}`, { cause: error })
        // It died after its last result was told.
        if (ran < batch.length) sink.lost(batch[ran++] as Job, `The process ${error.message}`)
        worker = this.#start(conditions)
      }
    }
    return worker
  }

  #start(conditions?: Conditions): WorkerProcess {
    const { registry, hangMs } = this.#options
    const options: WorkerOptions = { registry, hangMs, conditions }
    const worker = new WorkerProcess(options)
    this.#living.add(worker)
    return worker
  }

  async #close(worker: WorkerProcess): Promise<void> {
    await worker.close()
    this.#living.delete(worker)
  }
}
