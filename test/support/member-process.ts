/** Members in other processes, for tests: started, asked, stopped, killed, and gone when the test ends. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Fact, MemberOptions, MemberReport, MemberState } from '../fixtures/member-process.ts'

const fixture = fileURLToPath(new URL('../fixtures/member-process.js', import.meta.url))

export interface Tick {
  readonly atMs: number
  readonly incarnation: number
}

export class MemberProcess {
  readonly name: string
  readonly options: MemberOptions
  readonly facts: Fact[] = []
  readonly warnings: string[] = []
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
  readonly #child: ChildProcess
  readonly #questions = new Map<number, (state: MemberState) => void>()
  readonly #started: Promise<number>
  #nextQuestion = 1

  /** `command`: what runs it, such as `['ip', 'netns', 'exec', 'x']`; it must become Node, not start it. */
  constructor(t: Test, options: MemberOptions, command: readonly string[] = []) {
    this.name = options.node.name
    this.options = options
    const [program, ...args] = [...command, process.execPath, fixture, JSON.stringify(options)]
    this.#child = spawn(program as string, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.ended = once(this.#child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
    this.#started = new Promise((resolve, reject) => {
      void this.ended.then((end) => reject(new Error(`member "${this.name}" ended before it was up: ${end}`)))
      this.#child.on('message', (report: MemberReport) => {
        if (report.type === 'started') resolve(report.incarnation)
        else if (report.type === 'failed') reject(new Error(report.message))
        else if (report.type === 'fact') this.facts.push(report.fact)
        else if (report.type === 'warning') this.warnings.push(report.text)
        else this.#questions.get(report.question)?.(report.state)
      })
    })
    this.#started.catch(() => undefined)
    // A stopped process takes SIGKILL too.
    t.teardown(async () => {
      if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL')
      await this.ended
    })
  }

  /** Resolves with the number of its first life when it listens. */
  started(): Promise<number> {
    return this.#started
  }

  kill(signal: 'SIGTERM' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(signal)
  }

  /** What it sees now. Never answered while it is stopped. */
  state(): Promise<MemberState> {
    const question = this.#nextQuestion++
    return new Promise((resolve, reject) => {
      this.#questions.set(question, resolve)
      void this.ended.then((end) => reject(new Error(`member "${this.name}" has ended: ${end}`)))
      this.#child.send(question, (error) => {
        if (error !== null) reject(error)
      })
    })
  }

  /** The facts of that kind about `name`, in the order in which it learnt of them. */
  told(kind: Fact['kind'], name?: string): readonly Fact[] {
    return this.facts.filter((fact) => fact.kind === kind && (name === undefined || fact.name === name))
  }

  ticks(): readonly Tick[] {
    const { ticksFile } = this.options
    if (ticksFile === undefined) return []
    return linesOf(ticksFile).map((line) => {
      const [atMs, incarnation] = line.split(' ')
      return { atMs: Number(atMs), incarnation: Number(incarnation) }
    })
  }
}

/** The lines of a file that may not be there yet. */
export function linesOf(file: string): readonly string[] {
  return existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
    : []
}

/** A directory that is gone when the test ends. */
export function scratch(t: Test): (file: string) => string {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return (file) => join(directory, file)
}

/** So many ports of the loopback that nobody listens on. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as { readonly port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** Resolves when `ready` says so, which is asked again and again. Rejects after `withinMs` with what `ready` said last. */
export async function eventually(
  what: string,
  withinMs: number,
  ready: () => Promise<true | string> | true | string,
): Promise<void> {
  const untilMs = performance.now() + withinMs
  for (;;) {
    const answer = await ready()
    if (answer === true) return
    if (performance.now() > untilMs) throw new Error(`not within ${withinMs} ms: ${what}; now: ${answer}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Resolves when each of them sees exactly `expected`, such as `a alive, b alive`. */
export function allSee(members: readonly MemberProcess[], expected: string, withinMs: number): Promise<void> {
  return eventually(`all see ${expected}`, withinMs, async () => {
    const views = await Promise.all(members.map(async (member) => (await member.state()).members.join(', ')))
    if (views.every((view) => view === expected)) return true
    return views.map((view, index) => `${members[index]?.name ?? ''}: ${view}`).join('; ')
  })
}

/** Lives that came back to somebody who had given them up: there must be none. */
export function returned(members: readonly MemberProcess[]): readonly string[] {
  const comes: ReadonlySet<Fact['kind']> = new Set(['member-up', 'member-recovered', 'member-suspected'])
  return members.flatMap((member) => {
    const over = new Map<string, number>()
    return member.facts.flatMap(({ kind, name, incarnation }) => {
      if (name === undefined || incarnation === undefined) return []
      const last = over.get(name) ?? 0
      if (kind === 'member-down' || kind === 'member-left') over.set(name, Math.max(last, incarnation))
      return comes.has(kind) && incarnation <= last ? [`${member.name}: ${kind} ${name} ${incarnation}`] : []
    })
  })
}

/** What actors did in a life that somebody else had given up before: there must be nothing. */
export function actsWhenGivenUp(members: readonly MemberProcess[]): readonly string[] {
  return members.flatMap((member) => {
    const downs = members.flatMap((other) => other.told('member-down', member.name))
    const ticks = member.ticks()
    return downs.flatMap((down) =>
      ticks
        .filter((tick) => tick.incarnation === down.incarnation && tick.atMs > down.atMs)
        .map((tick) => `${member.name} acted ${tick.atMs - down.atMs} ms after it was given up`),
    )
  })
}

/** Lets `ms` pass, as a period in which something must not happen. */
export function period(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
