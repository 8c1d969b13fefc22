/**
 * What was really granted, seen where it happens: each entry of the log, the first time that any member applies it, looked at
 * by somebody who shares no code with the lock table but the question how a request stands.
 */
import type { SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import { decodeCommands, readAnswers, type LockCommand, type LockAnswer, type LockResult } from './table.ts'

/** How a request stands on the member that has just applied something. */
export type StateOf = (session: number, request: number) => LockAnswer

export interface Granted {
  readonly session: number
  readonly request: number
  readonly name: string
  readonly kind: string
  readonly token: number
  readonly permits: number
  readonly data: string
  readonly atMs: number
}

/** What a client holds, as it believes. */
export interface Believed {
  readonly name: string
  /** 0: alone. */
  readonly permits: number
  readonly held: { readonly token: number; readonly signal: AbortSignal; readonly heldUntilMs: number }
  readonly process: SimulatedProcess
  /** It said itself that it does not need it any more. */
  isReleased: boolean
}

interface Asked {
  readonly session: number
  readonly request: number
  readonly name: string
  readonly kind: string
  readonly permits: number
  readonly data: string
}

export class LockTruth {
  readonly #simulation: Simulation
  readonly #met: (tag: string) => void
  #lastIndex = 0
  #lastToken = 0
  /** In the order in which they came. */
  #queued: Asked[] = []
  #held: Granted[] = []
  readonly granted: Granted[] = []
  /** Given and given back in one entry. */
  readonly #gone = new Set<number>()
  readonly believed = new Set<Believed>()
  readonly #capacities = new Map<string, number>()
  /** Of semaphores whose permits the entry in hand has changed: what they had. */
  readonly #before = new Map<string, number>()
  #entries = 0

  constructor(simulation: Simulation, met: (tag: string) => void) {
    this.#simulation = simulation
    this.#met = met
  }

  get entries(): number {
    return this.#entries
  }

  /** What was given to a waiter and given back in one entry is among the tokens, and not in `granted`. */
  get lastToken(): number {
    return this.#lastToken
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#queued.length
  }

  /** Requests that hold something now. */
  get holding(): number {
    return this.#held.length
  }

  /** A member has applied an entry. */
  applied(index: number, data: Uint8Array, result: LockResult, stateOf: StateOf): void {
    if (index <= this.#lastIndex) return
    this.#lastIndex = index
    this.#entries++
    this.#before.clear()
    const commands = decodeCommands(data)
    const results = readAnswers(commands.length, result)
    // Whatever ended in this entry ended before somebody else could have it.
    this.#held = this.#held.filter(({ session, request }) => stateOf(session, request).type === 'held')
    const fresh: Granted[] = []
    for (const [at, command] of commands.entries()) {
      const answer = results[at]
      if (answer?.ok === true) this.#carriedOut(command, answer.result, stateOf, fresh)
      else if (answer?.ok === false && answer.error.code === 'LOCK_DEADLOCK') this.#met('deadlock')
    }
    const still: Asked[] = []
    for (const asked of this.#queued) {
      const state = stateOf(asked.session, asked.request)
      if (state.type === 'held') {
        const isPassed = still.find((other) => other.name === asked.name)
        if (isPassed !== undefined) {
          this.#fail(
            'grants-are-in-order',
            `request ${asked.request} of session ${asked.session} was given "${asked.name}" before request ` +
              `${isPassed.request} of session ${isPassed.session}, which had come before it`,
          )
        }
        fresh.push(this.#grant(asked, state.token))
        this.#met('waited')
      } else if (state.type === 'queued') {
        still.push(asked)
        this.#canBeServed(asked)
      } else if (this.#before.has(asked.name)) this.#met('refused-waiting')
    }
    this.#queued = still
    this.#judge(fresh)
  }

  /** Else it would hold up all others behind it. */
  #canBeServed({ session, request, name, kind, permits }: Asked): void {
    const capacity = this.#capacities.get(name) ?? 0
    if (kind !== 'semaphore' || permits <= capacity) return
    const text = `request ${request} of session ${session} waits for ${permits} permits of "${name}", which has ${capacity}`
    this.#fail('who-waits-can-be-served', text)
  }

  #carriedOut(command: LockCommand, answer: LockAnswer, stateOf: StateOf, fresh: Granted[]): void {
    if (command.type === 'set-permits') {
      const { name, permits } = command
      // What was given in this entry may have been given before it.
      const before = Math.max(this.#before.get(name) ?? 0, this.#capacities.get(name) ?? 0)
      this.#before.set(name, before)
      this.#capacities.set(name, permits)
    }
    if (command.type === 'expire') this.#met('expired')
    if (command.type !== 'acquire') return
    const { session, request, name, kind, permits, capacity, data } = command
    const isKnown = (one: Asked): boolean => one.session === session && one.request === request
    // The group's session lets no command of a client come twice, and a request that was given up keeps its number.
    if (this.#held.some(isKnown) || fresh.some(isKnown) || this.#queued.some(isKnown)) return
    if (kind === 'semaphore' && !this.#capacities.has(name)) this.#capacities.set(name, capacity)
    const asked = { session, request, name, kind, permits, data }
    if (answer.type === 'queued') this.#queued.push(asked)
    if (answer.type !== 'held') return
    fresh.push(this.#grant(asked, answer.token))
    // In a batch it may have been given back already.
    if (stateOf(session, request).type !== 'held') this.#gone.add(answer.token)
  }

  #grant(asked: Asked, token: number): Granted {
    return { ...asked, token, atMs: this.#simulation.nowMs }
  }

  #judge(fresh: Granted[]): void {
    fresh.sort((a, b) => a.token - b.token)
    for (const one of fresh) {
      this.#tokenGrows(one.token)
      this.granted.push(one)
      if (this.#gone.delete(one.token)) continue
      this.#fits(one)
      this.#isAlone(one)
      this.#held.push(one)
    }
  }

  #tokenGrows(token: number): void {
    if (token <= this.#lastToken)
      this.#fail('tokens-grow', `token ${token} was given after token ${this.#lastToken}`)
    this.#lastToken = token
  }

  /** Nothing is given to two, and of a semaphore no more than there is. */
  #fits(one: Granted): void {
    const others = this.#held.filter(({ name }) => name === one.name)
    const who = others.map(({ session, request, token }) => `${session}/${request} by ${token}`).join(', ')
    if (one.kind === 'semaphore') {
      const capacity = Math.max(this.#capacities.get(one.name) ?? 0, this.#before.get(one.name) ?? 0)
      const taken = others.reduce((sum, { permits }) => sum + permits, 0)
      if (taken + one.permits > capacity) {
        const text = `"${one.name}" has ${capacity} permits, ${taken} are taken (${who}), and ${one.permits} more were given`
        this.#fail('never-over-committed', text)
      }
      return
    }
    const isShared = one.kind === 'read-write' && one.permits > 0
    if (others.some(({ permits }) => !(isShared && permits > 0)))
      this.#fail(
        'one-holder',
        `"${one.name}" was given to ${one.session}/${one.request}, and is held by ${who}`,
      )
  }

  /** Whoever runs, and looks at its signal and its clock, knows before that it has it no more. */
  #isAlone(one: Granted): void {
    for (const belief of this.believed) {
      const { name, permits, held, process: life, isReleased } = belief
      if (!life.isAlive || isReleased) {
        this.believed.delete(belief)
        continue
      }
      const isShared = one.kind === 'read-write' && one.permits > 0 && permits > 0
      if (name !== one.name || one.kind === 'semaphore' || isShared || held.token === one.token) continue
      // Who stands still believes nothing, and finds out when it goes on. Before its signal is looked at: that is to find out.
      const nowMs = life.platform.clock.monotonicMs()
      if (life.isBlocked || nowMs >= held.heldUntilMs) {
        if (life.isBlocked) this.#met('granted-over-a-sleeper')
        continue
      }
      if (held.signal.aborted) {
        this.believed.delete(belief)
        continue
      }
      this.#fail(
        'nobody-else-believes',
        `"${name}" was given by token ${one.token}, and "${life.name}" holds it by token ${held.token} for another ` +
          `${held.heldUntilMs - nowMs} ms`,
      )
    }
  }

  #fail(rule: string, what: string): void {
    this.#simulation.fail(rule, what)
  }
}
