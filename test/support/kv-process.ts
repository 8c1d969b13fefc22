/** A process of test/fixtures/kv-server.ts, kv-load.ts or lock-member.ts: started, asked, stopped, killed; and a small disk for one of them. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, openSync, closeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

export type Signal = 'SIGTERM' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** `Question`: what it understands. */
export class KvProcess<Question> {
  readonly name: string
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
  /** Resolves when it answers. */
  readonly ready: Promise<void>
  hasEnded = false
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #questions = 0

  /** `command`: what runs it, such as `['ip', 'netns', 'exec', 'x']`; it must become Node. `log` is appended to. */
  constructor(
    name: string,
    fixture: 'kv-server' | 'kv-load' | 'lock-member',
    options: object,
    command: readonly string[],
    log: string,
  ) {
    this.name = name
    const file = fileURLToPath(new URL(`../fixtures/${fixture}.js`, import.meta.url))
    const [program, ...args] = [...command, process.execPath, '--expose-gc', file, JSON.stringify(options)]
    // A file, and no pipe: who writes log lines must never wait for this process.
    const lines = openSync(log, 'a')
    this.#child = spawn(program as string, args, {
      stdio: ['ignore', 'ignore', lines, 'ipc'],
      serialization: 'advanced',
    })
    closeSync(lines)
    this.ended = once(this.#child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
    void this.ended.then((end) => {
      this.hasEnded = true
      this.#fail(new Error(`"${name}" has ended: ${end}`))
    })
    this.ready = new Promise((resolve, reject) => {
      void this.ended.then((end) => reject(new Error(`"${name}" ended before it was ready: ${end}`)))
      this.#child.on('message', (message: 'ready' | readonly [number, unknown, string | undefined]) => {
        if (message === 'ready') {
          resolve()
          return
        }
        const [id, value, error] = message
        const waiting = this.#waiting.get(id)
        this.#waiting.delete(id)
        if (error === undefined) waiting?.resolve(value)
        else waiting?.reject(new Error(error))
      })
    })
    this.ready.catch(() => undefined)
    this.#child.on('error', (error) => this.#fail(error))
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  kill(signal: Signal): void {
    if (!this.hasEnded) this.#child.kill(signal)
  }

  /** Its answer, which is the caller's to know. Rejects when it has ended, or says nothing for so long. */
  async ask<T>(question: Question, withinMs = 20_000): Promise<T> {
    if (this.hasEnded) throw new Error(`"${this.name}" has ended`)
    const id = ++this.#questions
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject })
        timer = setTimeout(() => {
          reject(new Error(`"${this.name}" says nothing to ${JSON.stringify(question)} for ${withinMs} ms`))
        }, withinMs)
        this.#child.send([id, question], (error) => {
          if (error !== null) reject(error)
        })
      })
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/** Why there can be no `SmallDisk` here; `undefined`: there can. */
export function whyNoSmallDisk(): string | undefined {
  const { status, stderr, error } = spawnSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
  if (error !== undefined) return 'there is no "unshare" here (util-linux)'
  return status === 0 ? undefined : `this process may not mount a small disk: ${String(stderr).trim()}`
}

/** A disk of a few megabytes in a mount namespace of its own, which a process keeps until the test ends. */
export class SmallDisk {
  readonly #holder: ChildProcess
  readonly #directory: string

  private constructor(holder: ChildProcess, directory: string) {
    this.#holder = holder
    this.#directory = directory
  }

  /** On a directory that becomes the disk's for whoever runs behind `command`. */
  static async mount(t: Test, directory: string, megabytes: number): Promise<SmallDisk> {
    mkdirSync(directory, { recursive: true })
    // `cat` ends with its input: also when this process is killed.
    const script = `mount -t tmpfs -o size=${megabytes}m none "$0" && echo mounted && exec cat`
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script, directory], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = once(holder, 'exit')
    t.teardown(async () => {
      holder.kill('SIGKILL')
      await ended
    })
    await Promise.race([
      once(holder.stdout, 'data'),
      ended.then(([code]) => {
        throw new Error(`Cannot mount a small disk: it ended with ${String(code)}`)
      }),
    ])
    return new SmallDisk(holder, directory)
  }

  /** Runs a program that sees the disk, as the head of a command line. */
  get command(): readonly string[] {
    return ['nsenter', `--mount=/proc/${this.#holder.pid ?? 0}/ns/mnt`, '--']
  }

  /** Where this process finds what others see below the directory. */
  path(file: string): string {
    return `/proc/${this.#holder.pid ?? 0}/root${this.#directory}/${file}`
  }
}
