/**
 * A register outside of the cluster that the holders of a lock read, change and write back: a file on a shared disk, a row of a
 * database. What is sent to it takes its time, and may arrive long after its sender has lost the lock.
 */
import type { World } from '@understudy/cluster/simulation'
import { guard, type Guarded } from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import type { SimulatedProcess } from '@understudy/runtime/simulation'

/** What it did for one holder, in the order in which it came to be done. */
export interface Accepted {
  readonly token: number
  readonly type: 'read' | 'write'
  readonly value: number
  readonly atMs: number
}

interface Content {
  value: number
}

export interface RegisterOptions {
  /** False: whatever comes is done. */
  readonly isGuarded: boolean
  readonly met: (tag: string) => void
}

/** How long something is on its way, mildest first. */
const delaysMs = [1, 1, 2, 5, 20, 100, 700, 4_000] as const

export class SharedRegister {
  readonly name: string
  readonly accepted: Accepted[] = []
  readonly #world: World
  readonly #options: RegisterOptions
  readonly #content: Content = { value: 0 }
  readonly #guarded: Guarded<Content>
  #highest = 0
  #writes = 0

  constructor(world: World, name: string, options: RegisterOptions) {
    this.name = name
    this.#world = world
    this.#options = options
    this.#guarded = guard(this.#content, { name })
  }

  /** Resolves with the value, or with undefined when the token was refused. */
  read(life: SimulatedProcess, token: number): Promise<number | undefined> {
    return this.#call(life, token, (content) => this.#done({ token, type: 'read', value: content.value }))
  }

  /** Resolves with the value, or with undefined when the token was refused. */
  write(life: SimulatedProcess, token: number, value: number): Promise<number | undefined> {
    return this.#call(life, token, (content) => {
      this.#isNotOvertaken(token, 'write')
      this.#world.check(
        'no-update-is-lost',
        value === content.value + 1,
        `the holder of token ${token} wrote ${value} over ${content.value} in "${this.name}": what somebody else wrote ` +
          `since it was read is lost`,
      )
      content.value = value
      this.#writes++
      return this.#done({ token, type: 'write', value })
    })
  }

  /** As many as were accepted are in it. */
  judge(): void {
    const { value } = this.#content
    this.#world.check(
      'no-update-is-lost',
      value === this.#writes,
      `"${this.name}" is ${value} after ${this.#writes} writes of one more`,
    )
  }

  #isNotOvertaken(token: number, type: string): void {
    this.#world.check(
      'holders-are-disjoint',
      token >= this.#highest,
      `"${this.name}" did a ${type} of the holder of token ${token} after one of token ${this.#highest}: the two held it at once`,
    )
  }

  #done({ token, type, value }: Omit<Accepted, 'atMs'>): number {
    this.#isNotOvertaken(token, type)
    this.#highest = token
    this.accepted.push({ token, type, value, atMs: this.#world.now() })
    return value
  }

  #call(
    life: SimulatedProcess,
    token: number,
    act: (content: Content) => number,
  ): Promise<number | undefined> {
    const { simulation } = this.#world
    return new Promise((resolve) => {
      const answer = (value: number | undefined): void => {
        const backMs = delaysMs[this.#world.choose(4, 'register/back')] ?? 1
        simulation.at(simulation.nowMs + backMs, life, 'register-answer', () => resolve(value))
      }
      // The process may be killed, or stand still, right before it is sent and right after.
      if (!life.crashPoint()) return
      const atMs = life.departsAtMs + (delaysMs[this.#world.choose(delaysMs.length, 'register/delay')] ?? 1)
      simulation.at(atMs, undefined, 'register', () => {
        if (token < this.#highest) this.#options.met('late-effect')
        this.#carryOut(token, act).then(answer, (error: unknown) => {
          if (!isActorError(error) || error.code !== 'LOCK_FENCED') throw error
          this.#options.met('fenced')
          answer(undefined)
        })
      })
      life.crashPoint()
    })
  }

  async #carryOut(token: number, act: (content: Content) => number): Promise<number> {
    return this.#options.isGuarded ? this.#guarded.run(token, act) : act(this.#content)
  }
}
