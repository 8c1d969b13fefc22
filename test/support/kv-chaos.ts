/** A run of phases: clients work, something happens to the servers, it heals, and everything is judged. */
import type { Test } from 'tap'
import type { KvRecords } from '../fixtures/kv-load.ts'
import type { MemoryFigures } from '../fixtures/kv-server.ts'
import { KvFleet, loadNames, serverNames, type FleetOptions } from './kv-fleet.ts'
import { LogLines, type Foreseen } from './kv-log-lines.ts'
import type { Nemesis } from './kv-nemesis.ts'
import { Judge } from './kv-verdict.ts'

/** Keys and lists that the clients of a phase share: few, so that they meet. */
const keys = 6
const lists = 6
/** From the end of the faults on: links are made anew, elections held, nodes that were given up come back. */
const servingWithinMs = 60_000
const settledWithinMs = 90_000

/** Lines of one process in a minute, at most. */
export const linesPerMinuteMax = 600

/** What processes may say at level error, and why. */
const foreseen: readonly Foreseen[] = [
  {
    message: /was given up by .*rejoins as incarnation/,
    why: 'cut off, or stood still, for longer than a suspicion',
  },
  {
    message: /^\/system\/consensus crashed: restart/,
    error:
      /^(?:RUNTIME_STORE_(?:FULL|FAILED|CLOSED|UNAVAILABLE) |RUNTIME_START_FAILED .*(?:ENOSPC|directory))/,
    why: 'a full disk, or a directory that was deleted',
  },
  { message: /the number of its next life could not be stored/, why: 'its directory was deleted' },
]

export class Chaos {
  readonly fleet: KvFleet
  /** How often each fault was brought about, and each kind of call ended in each way. */
  readonly faults = new Map<string, number>()
  readonly calls = new Map<string, number>()
  keyOperations = 0
  transactions = 0
  watchEvents = 0
  phases = 0
  readonly #judge = new Judge()
  readonly #lines: LogLines
  #phase = 0

  private constructor(fleet: KvFleet) {
    this.fleet = fleet
    this.#lines = new LogLines(
      new Map([...serverNames, ...loadNames].map((name) => [name, fleet.logOf(name)])),
      foreseen,
    )
  }

  static async start(t: Test, options: FleetOptions): Promise<Chaos> {
    const fleet = await KvFleet.start(t, options)
    t.comment(`seed ${options.seed}`)
    if (fleet.whyNoCuts !== undefined) t.comment(`nothing is cut: ${fleet.whyNoCuts}`)
    if (fleet.whyNoFullDisk !== undefined) t.comment(`no disk is filled: ${fleet.whyNoFullDisk}`)
    return new Chaos(fleet)
  }

  /** Why that kind cannot be done on this machine; `undefined`: it can. */
  whyNot(nemesis: Nemesis): string | undefined {
    if (nemesis.need === 'network') return this.fleet.whyNoCuts
    return nemesis.need === 'disk' ? this.fleet.whyNoFullDisk : undefined
  }

  /** One phase, from the first call to the verdict. */
  async phase(t: Test, name: string, act: (count: (fault: string) => void) => Promise<void>): Promise<void> {
    const { fleet } = this
    const phase = ++this.#phase
    const beganMs = performance.now()
    const all = <T>(
      question: Parameters<(typeof fleet.loads)[number]['ask']>[0],
      withinMs?: number,
    ): Promise<T[]> => Promise.all(fleet.loads.map((load) => load.ask<T>(question, withinMs)))
    const problems: string[] = []
    await all({ type: 'begin', phase, keys, lists }, 30_000)
    await act((fault) => tally(this.faults, fault))
    const healedMs = performance.now()
    await fleet.serving(phase, servingWithinMs)
    const servedMs = performance.now()
    await all({ type: 'stop' }, 30_000)
    const revision = (await fleet.loads[0]?.ask<number>({ type: 'finish' }, 120_000)) ?? 0
    const state = await fleet.settled(this.#judge.nextRevision, settledWithinMs)
    const settledMs = performance.now()
    if (!state.isWhole) problems.push('history of this phase is compacted already')
    const records = await all<KvRecords>({ type: 'take', revision }, 90_000)
    const verdict = this.#judge.judge(records, state.log)
    problems.push(...verdict.faults, ...fleet.unwanted.splice(0))
    const lines = this.#lines.read()
    problems.push(...lines.unforeseen.slice(0, 10))
    if (lines.busiest[1] > linesPerMinuteMax) {
      problems.push(`"${lines.busiest[0]}" wrote ${lines.busiest[1]} lines in a minute`)
    }
    for (const { counts } of records)
      for (const [how, count] of Object.entries(counts)) tally(this.calls, how, count)
    this.phases++
    this.keyOperations += verdict.keyOperations
    this.transactions += verdict.transactions
    this.watchEvents += verdict.watchEvents
    t.comment(
      `${phase} ${name}: ${verdict.keyOperations} calls on keys, ${verdict.transactions} transactions, ` +
        `${verdict.unknown} unknown, ${verdict.watchEvents} watched events; healed after ${ms(healedMs - beganMs)}, ` +
        `served ${ms(servedMs - healedMs)}, equal ${ms(settledMs - servedMs)}, judged ${ms(performance.now() - settledMs)}; ` +
        `${lines.lines} lines, foreseen errors: ${textOf(lines.foreseen)}`,
    )
    t.same(problems, [], 'nothing is wrong')
  }

  run(t: Test, nemesis: Nemesis, forMs: number): Promise<void> {
    return this.phase(t, nemesis.name, (count) => nemesis.run(this.fleet, forMs, count))
  }

  /** Lines of this phase so far. */
  linesWith(text: RegExp): readonly string[] {
    return this.#lines.peek().filter((line) => text.test(line))
  }

  /** What every process holds, behind a collection of garbage. */
  async memory(): Promise<ReadonlyMap<string, MemoryFigures>> {
    const processes = [...this.fleet.servers.values(), ...this.fleet.loads]
    const figures = await Promise.all(processes.map((one) => one.ask<MemoryFigures>({ type: 'memory' })))
    return new Map(processes.map(({ name, pid }, i) => [`${name} ${pid}`, figures[i] as MemoryFigures]))
  }

  report(t: Test): void {
    t.comment(`${this.phases} phases; faults: ${textOf(this.faults)}`)
    t.comment(
      `${this.keyOperations} calls on keys, ${this.transactions} transactions, ${this.watchEvents} watched events; ` +
        `ends: ${textOf(this.calls)}`,
    )
  }
}

/** `3 kill -9, 1 bridge`. */
function textOf(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${count} ${what}`)
    .join(', ')
}

function ms(value: number): string {
  return `${Math.round(value)} ms`
}

function tally(counts: Map<string, number>, what: string, by = 1): void {
  counts.set(what, (counts.get(what) ?? 0) + by)
}
