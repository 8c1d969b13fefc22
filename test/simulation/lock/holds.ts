/**
 * One course of holding after the other: asked for, used on a shared register, given back, while everything goes wrong; and the
 * history of it. A hold whose session was lost may have ended at any time: for those, and for no others, the history has an
 * `end`. An acquire whose outcome nobody knows is left out: what it held can explain nothing but that others were refused, and
 * those refusals are left out with it. (The truth sees all of them.)
 */
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import type { Held, LockClient } from '@understudy/protocols'
import { checkLinearizable, HistoryRecorder, type OpenOp } from '@understudy/runtime/checkers'
import type { SimulatedProcess } from '@understudy/runtime/simulation'
import { holdModel, type HoldInput, type HoldOutput } from './hold-model.ts'
import type { LockBed } from './lock-bed.ts'
import type { SharedRegister } from './shared-register.ts'

export const holdTags: readonly string[] = [
  ...['held', 'busy', 'timed-out', 'given-up', 'lost', 'died-holding', 'late-effect', 'fenced'],
  ...['cut-off', 'stalled', 'crashed-at-effect', 'paused-waiting', 'session-lost', 'granted-over-a-sleeper'],
]

/** What is asked for. */
export interface Wish {
  readonly name: string
  readonly permits: number
  /** All permits that there are, as the history counts them. */
  readonly capacity: number
  /** Takes it. */
  readonly acquire: (client: LockClient, signal: AbortSignal | undefined, timeoutMs: number) => Promise<Held>
  readonly tryAcquire: (client: LockClient, timeoutMs: number) => Promise<Held | undefined>
  /** What it is for. Without it the holder only takes its time. */
  readonly register?: SharedRegister | undefined
  /** It ends with its own time, whether its holder is well or not. */
  readonly isTimed?: boolean | undefined
}

/** How it is asked for: without waiting, for so long, until told otherwise. */
type Manner = 'patient' | 'timed' | 'try' | 'aborted'

export interface HoldsOptions {
  readonly sessionTtlMs: number
  /** Longest that anybody works under a lock by plan. */
  readonly workMs: number
}

/** Longer than what is not patient takes, however slow its node is. */
const hangMs = 240_000
/** Beyond every run. */
const patienceMs = 3_000_000

export class Holds {
  readonly #world: World
  readonly #bed: LockBed
  readonly #options: HoldsOptions
  readonly #history = new HistoryRecorder<HoldInput, HoldOutput>()
  #count = 0
  /** Locks that somebody may hold of whom the history says nothing. */
  readonly #unsure = new Set<string>()
  /** Since when patient callers wait, by number. */
  readonly #waiting = new Map<number, { readonly name: string; sinceMs: number }>()

  constructor(world: World, bed: LockBed, options: HoldsOptions) {
    this.#world = world
    this.#bed = bed
    this.#options = options
  }

  /** All is well again, and nobody starves: each that waits is served, `restMs` and so many courses later at the latest. */
  async untilServed(others: number, restMs: number): Promise<void> {
    // Each has at most all others before it, and each of them works for so long, or is lost.
    const longestMs = restMs + (this.#waiting.size + others) * (4 * this.#options.sessionTtlMs + 10_000)
    const isServed = (): boolean => this.#waiting.size === 0
    await this.#world.until('nobody-starves', isServed, { withinMs: longestMs, everyMs: 50 })
  }

  /** One course. `manner` by choice when it is left out. True: it was held. */
  async one(place: SimulatedNode, wish: Wish, given?: Manner): Promise<boolean> {
    const world = this.#world
    const { process: life } = place
    if (life === undefined) return false
    const manner =
      given ?? (['timed', 'patient', 'try', 'aborted'] as const)[world.choose(4, 'hold/manner')] ?? 'timed'
    if (given === undefined) this.#disturb(place, life, manner)
    const number = ++this.#count
    const hold = `${number}`
    const { name, permits, capacity } = wish
    const input = { type: 'acquire', name, hold, permits, capacity } as const
    const asked = this.#history.begin(this.#client(), input)
    const end = this.#history.begin(this.#client(), { type: 'end', name, hold })
    if (manner === 'patient') this.#waiting.set(number, { name, sinceMs: world.now() })
    const withinMs = manner === 'patient' ? patienceMs : hangMs
    const taken = await this.#bed.attempt(place, (client) => this.#ask(client, wish, manner), withinMs)
    this.#waiting.delete(number)
    if (taken.type !== 'done') {
      asked.failed()
      end.failed()
      if (taken.type === 'unknown') this.#unsure.add(name)
      if (taken.code === 'LOCK_TIMEOUT') this.#bed.met('timed-out')
      if (taken.code === 'LOCK_SESSION_LOST') this.#bed.met('session-lost')
      if (taken.code === 'RUNTIME_ABORTED') this.#bed.met('given-up')
      return false
    }
    const held = taken.value
    if (held === undefined) {
      this.#bed.met('busy')
      // What was given to it when its time was over already is taken for not given.
      if (wish.isTimed === true) this.#unsure.add(name)
      asked.ok(null)
      end.failed()
      return false
    }
    asked.ok(held.token)
    this.#bed.met('held')
    await this.#use(place, life, wish, held, hold, end)
    return true
  }

  /** All is well again: it can be had by anybody, within a while. */
  async canBeHad(wish: Wish): Promise<void> {
    const world = this.#world
    const untilMs = world.now() + 120_000
    for (;;) {
      const place = world.anyUp('hold/node')
      if (place !== undefined && (await this.one(place, wish, 'patient'))) return
      const text = `"${wish.name}" could not be had when all was well`
      world.check('nobody-starves', world.now() < untilMs, text)
      await world.sleep(100)
    }
  }

  /** Changes how many permits a semaphore has. */
  async setPermits(place: SimulatedNode, name: string, permits: number): Promise<boolean> {
    const op = this.#history.begin(this.#client(), { type: 'set-permits', name, permits })
    const { type } = await this.#bed.attempt(place, async (client) => {
      await client.semaphore(name, { permits: 1 }).setPermits(permits)
    })
    if (type === 'done') {
      this.#bed.met('permits-changed')
      op.ok(true)
    } else if (type === 'refused') op.failed()
    else op.unknown()
    return type === 'done'
  }

  judge(): void {
    const ops = this.#history.ops().filter((op) => op.out !== null || !this.#unsure.has(op.in.name))
    this.#world.expect('linearizable', checkLinearizable(holdModel, ops))
  }

  /** A client of the history has one call open at a time, and one of unknown outcome is open for ever. */
  #client(): number {
    return this.#history.size + this.#count * 7
  }

  async #ask(client: LockClient, wish: Wish, manner: Manner): Promise<Held | undefined> {
    const world = this.#world
    if (manner === 'try') return await wish.tryAcquire(client, 5_000)
    if (manner === 'patient') return await wish.acquire(client, undefined, patienceMs)
    const ms = [500, 2_000, 6_000, 50][world.choose(4, 'hold/timeout')] ?? 500
    if (manner === 'timed') return await wish.acquire(client, undefined, ms)
    const over = new AbortController()
    const timer = world.simulation.at(world.now() + ms, undefined, 'give-up', () => over.abort())
    try {
      return await wish.acquire(client, over.signal, 20_000)
    } finally {
      timer.cancel()
    }
  }

  async #use(
    place: SimulatedNode,
    life: SimulatedProcess,
    wish: Wish,
    held: Held,
    hold: string,
    end: OpenOp<HoldOutput>,
  ): Promise<void> {
    const bed = this.#bed
    const { name, permits, capacity } = wish
    const isAlone = permits === capacity
    const belief = { name, permits: isAlone ? 0 : permits, held, process: life, isReleased: false }
    bed.truth.believed.add(belief)
    const worked = await bed.attempt(place, async () => {
      await this.#work(life, wish, held)
      belief.isReleased = true
      // Whoever looks into the history sees when it can first have been given up by its own will.
      const released = this.#history.begin(this.#client(), { type: 'end', name, hold })
      try {
        await held.release({ timeoutMs: 5_000 })
      } catch (error) {
        released.failed()
        throw error
      }
    })
    // It resolved: whatever becomes of it, it was held until then.
    if (worked.type === 'done') {
      if (wish.isTimed !== true) end.failed()
    } else if (worked.code === 'LOCK_NOT_HELD') bed.met('lost')
    else if (worked.code === 'killed') bed.met('died-holding')
  }

  /** What a careful holder does: it looks at its signal before each effect. */
  async #work(life: SimulatedProcess, wish: Wish, held: Held): Promise<void> {
    const world = this.#world
    const { register } = wish
    await life.sleep(world.choose(4, 'hold/work') * (this.#options.workMs / 4))
    if (world.chance(0.1, 'hold/cut-off')) {
      this.#cutOff(life)
      await life.sleep(this.#options.sessionTtlMs)
    }
    if (register === undefined) return
    for (let left = 1 + world.choose(3, 'hold/effects'); left > 0; left--) {
      if (held.signal.aborted) return
      if (world.chance(0.1, 'hold/stall-reading')) this.#stall(life)
      const value = await register.read(life, held.token)
      if (value === undefined || held.signal.aborted) return
      await life.sleep(world.choose(4, 'hold/think') * 20)
      if (held.signal.aborted) return
      // Right between the look and the write that relies on it.
      if (world.chance(0.15, 'hold/stall-writing')) this.#stall(life, 1)
      if ((await register.write(life, held.token, value + 1)) === undefined) return
    }
  }

  /** It runs, and nobody hears of it: it has to find out by its own clock that it has lost what it holds. */
  #cutOff(life: SimulatedProcess): void {
    const world = this.#world
    const { name } = life.machine
    const others = world.nodes.filter((other) => other.name !== name)
    const undos = others.flatMap((other) => [
      world.network.clog(name, other.name),
      world.network.clog(other.name, name),
    ])
    this.#bed.met('cut-off')
    world.simulation.at(world.now() + 2 * this.#options.sessionTtlMs, undefined, 'heard-again', () => {
      for (const undo of undos) undo()
    })
  }

  /** Twice the lease before one of its next effects: what no look at a clock survives. */
  #stall(life: SimulatedProcess, at = 1 + this.#world.choose(8, 'hold/stall-at')): void {
    if (life.isStalled) return
    this.#bed.met('stalled')
    life.stallAtEffect(at, 2 * this.#options.sessionTtlMs)
  }

  /** What may happen to the caller while it asks and waits. */
  #disturb(place: SimulatedNode, life: SimulatedProcess, manner: Manner): void {
    const world = this.#world
    const { sessionTtlMs } = this.#options
    const which = world.choose(10, 'hold/disturb')
    if (which === 1 || which === 2) this.#stall(life)
    else if (which === 3) {
      // Created, and its creator gone: somewhere between the question and its answer.
      this.#bed.met('crashed-at-effect')
      life.onKill(() => {
        if (!world.simulation.isOver) this.#bed.bed.restartLater(place)
      })
      life.killAtEffect(1 + world.choose(12, 'hold/crash-at'))
      world.simulation.at(world.now() + 2_000, life, 'spared', () =>
        life.killAtEffect(Number.POSITIVE_INFINITY),
      )
    } else if (which === 4 && manner !== 'try') {
      // Its session ends while it waits.
      world.simulation.at(world.now() + 50 + world.choose(4, 'hold/pause-at') * 200, life, 'pause', () => {
        this.#bed.met('paused-waiting')
        life.pause(2 * sessionTtlMs)
      })
    }
  }
}
