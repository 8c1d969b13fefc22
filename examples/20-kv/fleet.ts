/** The nodes' processes, as they are seen from the prompt: who runs, who leads, and what there is to report of it. */
import { resolve } from 'node:path'
import type { KvNodeReport } from './kv-node.ts'

export interface FleetNode {
  readonly name: string
  /** Relative to where the example was started, where that is shorter. */
  readonly directory: string
  pid: number
  state: 'starting' | 'up' | 'stopped' | 'down'
  /** As it said last. */
  role: string
}

export class Fleet {
  readonly nodes: readonly FleetNode[]
  readonly #report: (text: string) => void
  /** By the node with the newest news. */
  #leader = ''
  #term = 0
  #isQuiet = true
  #isOver = false
  /** Of those that wait for all nodes to be up. */
  #changed: () => void = () => undefined
  #failure: string | undefined

  constructor(directories: ReadonlyMap<string, string>, report: (text: string) => void) {
    this.nodes = [...directories].map(([name, directory]) => ({
      name,
      directory,
      pid: 0,
      state: 'starting' as const,
      role: 'founding',
    }))
    this.#report = report
  }

  /** Name of the node that leads, as far as is known; '' when none is. */
  get leader(): string {
    return this.#leader
  }

  /** @throws {RangeError} there is no such node */
  find(name: string): FleetNode {
    const wanted = name === 'leader' ? this.#leader : name
    const node = this.nodes.find((one) => one.name === wanted)
    if (node !== undefined) return node
    if (name === 'leader') throw new RangeError('No leader is known now; name a node')
    throw new RangeError(
      `There is no node "${name}"; there are ${this.nodes.map((one) => one.name).join(', ')}, and leader`,
    )
  }

  /**
   * Resolves when all are up and one of them leads, or `atMostMs` is over; with false when it all ends before.
   *
   * @throws what kept a node from starting
   */
  async whenReady(atMostMs: number): Promise<boolean> {
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.#changed()
    }, atMostMs)
    while (!isLate && (this.#leader === '' || this.nodes.some(({ state }) => state !== 'up'))) {
      if (this.#failure !== undefined || this.#isOver) break
      await new Promise<void>((resolve) => (this.#changed = resolve))
    }
    clearTimeout(timer)
    if (this.#failure !== undefined) throw new Error(this.#failure)
    this.#isQuiet = this.#isOver
    return !this.#isOver
  }

  /** From now on nothing is reported and nobody waits: it all ends. */
  hush(): void {
    this.#isQuiet = true
    this.#isOver = true
    this.#changed()
  }

  started(name: string, pid: number): void {
    const node = this.find(name)
    node.pid = pid
    node.state = 'starting'
    node.role = 'founding'
  }

  ended(name: string, how: string, delayMs: number): void {
    const node = this.find(name)
    node.state = 'down'
    if (this.#leader === name) this.#leader = ''
    this.#say(`${how}; it starts again in ${(delayMs / 1_000).toFixed(1)} s`)
  }

  said(name: string, report: KvNodeReport): void {
    const node = this.find(name)
    switch (report.type) {
      case 'ready':
        node.state = 'up'
        this.#say(`node ${name} is back, as process ${node.pid}`)
        break
      case 'failed':
        this.#failure = `Node ${name} cannot start: ${report.why}`
        this.#say(this.#failure)
        break
      case 'trouble':
        this.#say(`node ${name}: ${report.what.replaceAll(resolve(node.directory), node.directory)}`)
        break
      case 'standing':
        this.#useRole(node, report.role)
        this.#useLeader(report.leader, report.term)
        break
      default:
        report satisfies never
    }
    this.#changed()
  }

  #useRole(node: FleetNode, role: string): void {
    const before = node.role
    node.role = role
    if (role === 'learner' && before !== 'learner') {
      this.#say(
        `node ${node.name} has an empty disk: it comes back as a learner, without a vote until it has caught up`,
      )
    }
    if (role === 'follower' && before === 'learner') {
      this.#say(`node ${node.name} has caught up and was promoted: its vote counts again`)
    }
  }

  #useLeader(leader: string, term: number): void {
    // What a node that stood still has to say is old.
    if (leader === '' || term < this.#term || (term === this.#term && leader === this.#leader)) return
    const isNews = term > this.#term || this.#leader === ''
    this.#leader = leader
    this.#term = term
    if (isNews) this.#say(`node ${leader} leads, in term ${term}`)
  }

  #say(text: string): void {
    if (!this.#isQuiet) this.#report(text)
  }
}
