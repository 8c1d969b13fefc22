/** The log lines of the processes of a test: what is said there may be foreseen, and must not be too much. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs'

export interface LineReport {
  readonly lines: number
  /** Errors, and what is no log line at all, that nobody foresaw: `name: text`. */
  readonly unforeseen: readonly string[]
  /** Most lines of one process in any minute: its name and how many. */
  readonly busiest: readonly [name: string, lines: number]
  /** Errors and worse that were foreseen, by why. */
  readonly foreseen: ReadonlyMap<string, number>
}

/** pino's. */
const errorLevel = 50

/** What may be said at level error or fatal, and why. */
export interface Foreseen {
  readonly message: RegExp
  /** Code or message of the error of the line. @default any */
  readonly error?: RegExp | undefined
  readonly why: string
}

export class LogLines {
  readonly #files: ReadonlyMap<string, string>
  readonly #foreseen: readonly Foreseen[]
  readonly #offsets = new Map<string, number>()
  readonly #perMinute = new Map<string, number>()

  constructor(files: ReadonlyMap<string, string>, foreseen: readonly Foreseen[]) {
    this.#files = files
    this.#foreseen = foreseen
  }

  /** What was written since the last time. */
  read(): LineReport {
    let lines = 0
    const unforeseen: string[] = []
    const foreseen = new Map<string, number>()
    for (const [name, file] of this.#files) {
      for (const line of this.#linesOf(name, file)) {
        lines++
        const said = parsed(line)
        if (said === undefined) {
          unforeseen.push(`${name}: ${line}`)
          continue
        }
        const minute = `${name} ${Math.floor(said.time / 60_000)}`
        this.#perMinute.set(minute, (this.#perMinute.get(minute) ?? 0) + 1)
        if (said.level < errorLevel) continue
        const known = this.#foreseen.find(
          ({ message, error }) => message.test(said.msg) && (error === undefined || error.test(said.error)),
        )
        if (known === undefined) unforeseen.push(`${name}: ${line.slice(0, 2_000)}`)
        else foreseen.set(known.why, (foreseen.get(known.why) ?? 0) + 1)
      }
    }
    const [minute = ' ', most = 0] = [...this.#perMinute].sort(([, a], [, b]) => b - a)[0] ?? []
    return { lines, unforeseen, foreseen, busiest: [minute.split(' ')[0] ?? '', most] }
  }

  /** What was written since the last `read`; it will be read again. */
  peek(): readonly string[] {
    const offsets = [...this.#offsets]
    const lines = [...this.#files].flatMap(([name, file]) => this.#linesOf(name, file))
    this.#offsets.clear()
    for (const [name, offset] of offsets) this.#offsets.set(name, offset)
    return lines
  }

  #linesOf(name: string, path: string): readonly string[] {
    if (!existsSync(path)) return []
    const file = openSync(path, 'r')
    try {
      const chunks: Buffer[] = []
      let offset = this.#offsets.get(name) ?? 0
      const chunk = Buffer.alloc(1_048_576)
      for (let size = readSync(file, chunk, 0, chunk.length, offset); size > 0;) {
        chunks.push(Buffer.from(chunk.subarray(0, size)))
        offset += size
        size = readSync(file, chunk, 0, chunk.length, offset)
      }
      const text = Buffer.concat(chunks)
      // The last one may be half written.
      const end = text.lastIndexOf(0x0a) + 1
      this.#offsets.set(name, offset - (text.length - end))
      return text
        .subarray(0, end)
        .toString('utf8')
        .split('\n')
        .filter((line) => line !== '')
    } finally {
      closeSync(file)
    }
  }
}

interface SaidLine {
  readonly level: number
  readonly time: number
  readonly msg: string
  /** Code and message of its error, if it has one. */
  readonly error: string
}

function parsed(line: string): SaidLine | undefined {
  try {
    const value = JSON.parse(line) as {
      readonly level?: unknown
      readonly time?: unknown
      readonly msg?: unknown
      readonly err?: { readonly code?: unknown; readonly message?: unknown }
    }
    const { level, time, msg, err } = value
    if (typeof level !== 'number' || typeof time !== 'number') return undefined
    return { level, time, msg: String(msg), error: `${String(err?.code)} ${String(err?.message)}` }
  } catch {
    return undefined
  }
}
