/** What a person sees: one live line on a terminal, a plain line now and then elsewhere, and a table at the end. */
import type { FileDigest } from './checksum.ts'
import type { Progress } from './farm.ts'

const barWidth = 24

export interface Glance {
  readonly progress: Progress
  readonly nodes: readonly string[]
  readonly living: ReadonlySet<string>
  readonly shares: ReadonlyMap<string, number>
  readonly restarts: number
}

/** The live line. On a terminal it is drawn over itself; elsewhere it is written when `steps` says so. */
export class Screen {
  readonly #live: boolean
  readonly #startedMs: number
  #drawn = false
  #lastPlainMs = 0

  constructor(live: boolean, startedMs: number) {
    this.#live = live
    this.#startedMs = startedMs
  }

  glance(glance: Glance, nowMs: number): void {
    const { progress, nodes, living, shares, restarts } = glance
    const settled = progress.done + progress.failed
    const part = progress.found === 0 ? (progress.walked ? 1 : 0) : settled / progress.found
    const bar = '█'.repeat(Math.round(part * barWidth)).padEnd(barWidth, '░')
    const perNode = nodes.map((name) => {
      const share = living.has(name) ? `${Math.round((shares.get(name) ?? 0) * 100)}%` : 'gone'
      return `${name} ${progress.perNode[name] ?? 0} (${share})`
    })
    const total = progress.walked ? String(progress.found) : `${progress.found}+`
    const line = `${bar} ${settled}/${total} files  ${perNode.join('  ')}  restarts ${restarts}`
    if (this.#live) {
      process.stdout.write(`\r\u001b[2K${line.slice(0, (process.stdout.columns ?? 100) - 1)}`)
      this.#drawn = true
    } else if (nowMs - this.#lastPlainMs >= 1_000) {
      this.#lastPlainMs = nowMs
      console.log(line)
    }
  }

  /** A line that stays. */
  say(text: string, nowMs: number): void {
    if (this.#drawn) process.stdout.write('\r\u001b[2K')
    this.#drawn = false
    console.log(`${((nowMs - this.#startedMs) / 1_000).toFixed(2).padStart(6)} s  ${text}`)
  }

  end(): void {
    if (this.#drawn) process.stdout.write('\n')
    this.#drawn = false
  }
}

/** The table at the end. */
export function summary(
  progress: Progress,
  nodes: readonly string[],
  results: ReadonlyMap<string, FileDigest>,
  restarts: number,
  seconds: number,
): string {
  let bytes = 0
  let lines = 0
  for (const digest of results.values()) {
    bytes += digest.bytes
    lines += digest.lines
  }
  const rows: readonly (readonly [string, string])[] = [
    ['files', number(results.size)],
    ['bytes', number(bytes)],
    ['lines', number(lines)],
    ...nodes.map((name) => [`by node ${name}`, number(progress.perNode[name] ?? 0)] as const),
    ['sent again', number(progress.resent)],
    ['restarts', number(restarts)],
    ['not files', number(progress.skipped)],
    ['failed', number(progress.failed)],
    ['seconds', seconds.toFixed(2)],
  ]
  const left = Math.max(...rows.map(([name]) => name.length))
  const right = Math.max(...rows.map(([, value]) => value.length))
  const rule = `+-${'-'.repeat(left)}-+-${'-'.repeat(right)}-+`
  const body = rows.map(([name, value]) => `| ${name.padEnd(left)} | ${value.padStart(right)} |`)
  return [rule, ...body, rule].join('\n')
}

/** A name that cannot disturb the terminal. */
export function printable(name: string): string {
  return JSON.stringify(name).slice(1, -1)
}

function number(value: number): string {
  return value.toLocaleString('en-US')
}
