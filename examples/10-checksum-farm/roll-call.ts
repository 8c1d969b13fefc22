/** Who takes part, told as it happens: nodes come, die, come back, and leave while the farm works. */
import type { ClusterNode } from '@understudy/cluster'

interface Waiter {
  readonly names: readonly string[]
  readonly resolve: () => void
}

export class RollCall {
  /** Everybody who ever took part, the farm's own nodes first. */
  readonly names: string[]
  /** Those that have their share of the files now. */
  readonly present = new Set<string>()
  readonly #own: ReadonlySet<string>
  readonly #say: (text: string) => void
  /** Of the farm's own: those that were up once. */
  readonly #seen = new Set<string>()
  #waiters: Waiter[] = []

  /** `own`: the nodes that the farm itself starts, and starts again. */
  constructor(node: ClusterNode, own: readonly string[], say: (text: string) => void) {
    this.names = [...own]
    this.#own = new Set(own)
    // Its own end is not told node by node.
    this.#say = (text) => {
      if (!node.system.coordinatedShutdown.isRunning()) say(text)
    }
    node.events.on('member-up', ({ name }) => {
      if (name !== node.name) this.#up(name)
    })
    node.events.on('member-leaving', ({ name }) => {
      if (!this.present.delete(name)) return
      this.#say(`node ${name} leaves: it finishes what it has, the others get the rest`)
    })
    node.events.on('member-left', ({ name }) => {
      if (this.#own.has(name)) return
      this.present.delete(name)
      this.#say(`node ${name} has left in good order`)
    })
    node.events.on('member-down', ({ name, reason }) => {
      this.present.delete(name)
      this.#say(`node ${name} is down (${reason}); its files go to the others`)
    })
  }

  /** Resolves when all of them are up at the same time. */
  whenPresent(names: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ names, resolve })
      this.#look()
    })
  }

  #up(name: string): void {
    this.present.add(name)
    if (this.#seen.has(name)) this.#say(`node ${name} is back, as a new incarnation`)
    else if (!this.#own.has(name)) this.#say(`node ${name} joins, and gets its share of the files`)
    this.#seen.add(name)
    if (!this.names.includes(name)) this.names.push(name)
    this.#look()
  }

  #look(): void {
    const isServed = ({ names }: Waiter): boolean => names.every((name) => this.present.has(name))
    const served = this.#waiters.filter(isServed)
    this.#waiters = this.#waiters.filter((waiter) => !isServed(waiter))
    for (const { resolve } of served) resolve()
  }
}
