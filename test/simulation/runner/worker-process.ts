/** One child process that runs seeds, and what is known of it when it ends on its own. */
import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { WorkerMessage, WorkerTask } from './worker-message.ts'

const program = fileURLToPath(new URL('../simulation-worker.js', import.meta.url))
/** Of what a worker prints, the end is kept: where it says why it died. */
const outputMax = 4_000
/** Loading the scenarios may take so long on a busy machine, however short a run may be. */
const startMsMax = 60_000

/** What a process is started with, besides what it is to do. */
export interface Conditions {
  /** For people. */
  readonly name: string
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Options of Node.js itself. */
  readonly execArgv?: readonly string[] | undefined
}

export interface WorkerOptions {
  /** URL of the module that exports `scenarios`. */
  readonly registry: string
  readonly conditions?: Conditions | undefined
  /** Without a word for so long, it is killed. */
  readonly hangMs: number
}

/** A worker that ended before its task did. */
export class WorkerLost extends Error {
  override readonly name = 'WorkerLost'
  /** False: it never got as far as a run. */
  readonly wasReady: boolean

  constructor(message: string, wasReady: boolean) {
    super(message)
    this.wasReady = wasReady
  }
}

export class WorkerProcess {
  readonly #child: ChildProcess
  readonly #hangMs: number
  readonly #ended: Promise<void>
  #output = ''
  #isReady = false
  #lost: WorkerLost | undefined
  #task: Task | undefined
  #hang: NodeJS.Timeout | undefined
  #why: string | undefined

  constructor(options: WorkerOptions) {
    const { conditions, registry } = options
    this.#hangMs = options.hangMs
    this.#child = fork(program, [registry], {
      execArgv: [...(conditions?.execArgv ?? [])],
      env: { ...process.env, ...conditions?.env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8')
      stream?.on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-outputMax)
      })
    }
    this.#child.on('message', (message) => this.#take(message as WorkerMessage))
    this.#ended = new Promise((resolve) => {
      // `close`, not `exit`: only then all that it printed has been read.
      this.#child.on('close', (code, signal) => {
        this.#takeEnd(
          this.#why ?? (signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`),
        )
        resolve()
      })
      this.#child.on('error', (error) => {
        this.#why ??= `could not be started: ${error.message}`
        if (this.#child.pid !== undefined) return
        this.#takeEnd(this.#why)
        resolve()
      })
    })
  }

  /**
   * Has it do `task`, which may begin before it is up; `onMessage` is called in order. One task at a time.
   *
   * @throws {WorkerLost} (as a rejection) when it ends, or was silent for too long
   */
  run(task: WorkerTask, onMessage: (message: WorkerMessage) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) {
        reject(this.#lost)
        return
      }
      this.#task = { onMessage, resolve, reject }
      this.#expectWord()
      // A failed send is followed by the end of the process, which tells more.
      this.#child.send(task, () => {})
    })
  }

  /** Resolves when it has ended; it must have no task any more. */
  async close(): Promise<void> {
    // Not `disconnect()`: after that, Node.js tells of `exit` but never of `close`.
    if (this.#child.connected) this.#child.send({ type: 'exit' } satisfies WorkerTask, () => {})
    await this.#ended
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #take(message: WorkerMessage): void {
    if (message.type === 'ready') this.#isReady = true
    if (this.#task === undefined) return
    this.#expectWord()
    if (message.type !== 'done') {
      this.#task.onMessage(message)
      return
    }
    const { resolve } = this.#task
    this.#task = undefined
    clearTimeout(this.#hang)
    resolve()
  }

  #expectWord(): void {
    clearTimeout(this.#hang)
    const waitMs = this.#isReady ? this.#hangMs : Math.max(this.#hangMs, startMsMax)
    this.#hang = setTimeout(() => {
      this.#why = `gave no result for ${waitMs / 1_000} s and was killed`
      this.kill()
    }, waitMs)
  }

  #takeEnd(why: string): void {
    clearTimeout(this.#hang)
    const output = this.#output.trim()
    this.#lost = new WorkerLost(output === '' ? why : `${why}; it said:\n${output}`, this.#isReady)
    this.#task?.reject(this.#lost)
    this.#task = undefined
  }
}

interface Task {
  readonly onMessage: (message: WorkerMessage) => void
  readonly resolve: () => void
  readonly reject: (lost: WorkerLost) => void
}
