/**
 * One life of a simulated process: a `Platform` on virtual time, and the switch that turns it off.
 *
 * A kill takes effect between steps, or at a write or send inside one: from then on its actors run no more, its timers
 * never fire, its links and stores are cut, its promises never settle. JavaScript cannot be stopped in the middle of a
 * step, so one that is killed there runs to its end: what it still writes, sends, logs or checks is seen by nobody, but a
 * scenario that holds a promise of that process directly may see it settle in that step. `call` of a world does not.
 */
import type { Cell } from '../actor/cell.ts'
import type { Kernel } from '../actor/kernel.ts'
import { keepingLogger, type LogLevel } from '../platform/log.ts'
import type { Platform } from '../platform/platform.ts'
import type { Ready, RunQueue } from '../platform/run-queue.ts'
import { VirtualHost } from '../platform/virtual-host.ts'
import type { Guarded } from './ambient-guard.ts'
import type { ScheduledEvent } from './event-heap.ts'
import type { LostHandler } from './lost-handler-audit.ts'
import { SimulatedClock } from './simulated-clock.ts'
import type { SimulatedLife } from './simulated-life.ts'
import { simulatedDns, simulatedFiles } from './simulated-lookup.ts'
import type { SimulatedMachine } from './simulated-machine.ts'
import type { Scheduled, Simulation } from './simulation.ts'

/** Log lines kept per process; older ones are forgotten. */
const logLinesMax = 500

/** One line that a simulated process logged. */
export interface SimulatedLogLine {
  readonly atMs: number
  readonly level: LogLevel
  readonly fields: Readonly<Record<string, unknown>>
  readonly message: string
}

/** An actor in line, and whom the ambient guard blames. Made once per actor. */
export class ReadyActor implements Ready, Guarded {
  nextReady: Ready | null = null
  priority = 0
  /** Operations of the outside world that it began and that have not settled. */
  operations = 0
  readonly cell: Ready & Cell
  readonly process: SimulatedProcess
  readonly queue: SimulatedRunQueue
  /** The same in every run of the seed: mixed into the hash. */
  readonly number: number

  constructor(cell: Ready & Cell, life: SimulatedProcess, queue: SimulatedRunQueue, number: number) {
    this.cell = cell
    this.process = life
    this.queue = queue
    this.number = number
  }

  get isSystem(): boolean {
    return this.cell.isSystem
  }

  /** Paths are made on demand: most are never looked at. */
  get name(): string {
    return `${this.cell.path} on "${this.process.name}"`
  }
}

class SimulatedRunQueue implements RunQueue {
  /** So that the simulator decides after each message who is next. */
  readonly turnMessagesMax = 1
  readonly #process: SimulatedProcess
  readonly pump: () => void
  /** The one cell that the next pump runs. */
  picked: Ready | null = null

  constructor(life: SimulatedProcess, pump: () => void) {
    this.#process = life
    this.pump = pump
  }

  push(cell: Ready): void {
    this.#process.push(cell as Ready & Cell, this)
  }

  next(): Ready | null {
    const { picked } = this
    this.picked = null
    return picked
  }

  /** Who is ready stands in the simulator's line: nothing is lost when a pump ends. */
  idle(): void {
    this.picked = null
  }

  yieldNow(): void {
    this.picked = null
  }
}

export class SimulatedProcess implements SimulatedLife {
  readonly machine: SimulatedMachine
  readonly simulation: Simulation
  /** The machine's name, with a number from its second life on: `b`, `b#2`. */
  readonly name: string
  readonly platform: Platform
  readonly parked: ReadyActor[] = []
  readyCount = 0
  /** Messages that its actors took. */
  messages = 0
  readonly logged: SimulatedLogLine[] = []
  readonly #life: number
  #isAlive = true
  #afterTurn: (() => void)[] = []
  readonly #onKill: (() => void)[] = []
  readonly #host: VirtualHost
  readonly #kernels = new Set<Kernel>()
  readonly #roots: Cell[] = []
  readonly #guarded: Guarded
  #exitCode: number | undefined
  #actors = 0
  #isBlocked = false
  #blockedUntilMs = 0
  #deferred: ScheduledEvent[] = []
  /** Its own time when that is ahead: a step that took long has not ended yet for the others. */
  #aheadUntilMs = 0
  #stallMs = 0
  /** Finite while the stall waits for an effect instead of for a step. */
  #effectsUntilStall = Number.POSITIVE_INFINITY
  #inStep = false
  /** Steps into the future at which a planned kill strikes; see `killAtEffect`. */
  #effectsUntilKill = Number.POSITIVE_INFINITY
  #effects = 0

  constructor(machine: SimulatedMachine, life: number) {
    this.machine = machine
    this.simulation = machine.simulation
    this.#life = life
    this.name = life === 0 ? machine.name : `${machine.name}#${life + 1}`
    this.#guarded = { name: `process "${this.name}"` }
    this.#host = new VirtualHost({
      name: machine.name,
      processId: life + 1,
      env: machine.env,
      exited: (code) => {
        this.#exitCode ??= code
        this.kill()
      },
    })
    this.platform = this.#makePlatform()
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  /** It is paused, or still busy with a step that took long. */
  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** Its next step will take long. */
  get isStalled(): boolean {
    return this.#stallMs > 0
  }

  /** A kill or a stall waits for one of its next effects or steps. */
  get isThreatened(): boolean {
    return this.isStalled || this.#effectsUntilKill !== Number.POSITIVE_INFINITY
  }

  get hasAfterTurn(): boolean {
    return this.#afterTurn.length > 0
  }

  /** What `host.exit` was called with. An exit is a death like any other. */
  get exitCode(): number | undefined {
    return this.#exitCode
  }

  /** Holds on the process (`keepAlive`) that were not released. */
  get holds(): number {
    return this.#host.holds
  }

  get kernels(): ReadonlySet<Kernel> {
    return this.#kernels
  }

  /** Writes and sends so far: what `killAtEffect` counts in, before and after each. */
  get effects(): number {
    return this.#effects
  }

  // ---- Faults --------------------------------------------------------------------------------------------------

  /** Ends it as `kill -9` does. Harmless when it is dead. */
  kill(): void {
    if (!this.#isAlive) return
    this.#isAlive = false
    this.simulation.park(this)
    this.parked.length = 0
    this.#deferred = []
    this.#afterTurn = []
    this.readyCount = 0
    this.simulation.state(this.machine.name, 'killed')
    for (const tell of this.#onKill.splice(0)) tell()
  }

  /** Calls `tell` once when it dies; at once when it is dead. */
  onKill(tell: () => void): void {
    if (this.#isAlive) this.#onKill.push(tell)
    else tell()
  }

  /** Kills it at the `count`-th write or send from now: odd numbers before it, even ones after it. `Infinity`: no more. */
  killAtEffect(count: number): void {
    this.#effectsUntilKill = count
  }

  /** Stops it for `ms` as SIGSTOP does: nothing of it runs, its clocks go on. `Infinity`: until `resume`. */
  pause(ms: number): void {
    this.simulation.state(
      this.machine.name,
      ms === Number.POSITIVE_INFINITY ? 'paused' : `paused for ${ms} ms`,
    )
    this.#block(this.simulation.nowMs + ms)
  }

  resume(): void {
    this.#blockedUntilMs = this.simulation.nowMs
    this.#unblock()
  }

  /** Blocks its event loop for `ms` within its next step. */
  stall(ms: number): void {
    this.#stallMs = Math.max(this.#stallMs, ms)
    this.#effectsUntilStall = Number.POSITIVE_INFINITY
  }

  /** Forgets a stall that has not begun. */
  cancelStall(): void {
    this.#stallMs = 0
    this.#effectsUntilStall = Number.POSITIVE_INFINITY
  }

  /**
   * Blocks its event loop for `ms` at the `count`-th write or send from now, counted as in `killAtEffect`: the pause
   * between a check and the act that relies on it (a collection of garbage, a page fault).
   */
  stallAtEffect(count: number, ms: number): void {
    this.#stallMs = Math.max(this.#stallMs, ms)
    this.#effectsUntilStall = count
  }

  /**
   * Called right before and right after each write and each send. False: the process is dead, and the effect must not
   * be seen by anybody.
   */
  crashPoint(): boolean {
    if (!this.#isAlive) return false
    this.#effects++
    if (--this.#effectsUntilKill <= 0) {
      this.kill()
      return false
    }
    if (this.#stallMs > 0 && --this.#effectsUntilStall <= 0) this.#stallNow()
    return true
  }

  /** The true time at which an effect of the step under way leaves. */
  get departsAtMs(): number {
    return Math.max(this.simulation.nowMs, this.#aheadUntilMs)
  }

  /** Plays a signal. */
  signal(signal: 'SIGINT' | 'SIGTERM'): void {
    this.#host.signal(signal)
  }

  takeBlame(error: unknown, promise: Promise<unknown>): boolean {
    return this.#host.takeBlame(error, promise)
  }

  // ---- Steps (the simulator's) ---------------------------------------------------------------------------------

  push(cell: Ready & Cell, queue: SimulatedRunQueue): void {
    if (!this.#isAlive) return
    let actor = cell.nextReady as ReadyActor | null
    if (actor === null) {
      actor = new ReadyActor(cell, this, queue, this.#life * 1_000_003 + this.#actors++)
      // The queue's own link: here it leads from the cell to its place in line, for good.
      cell.nextReady = actor
      if (!this.#kernels.has(cell.kernel)) {
        this.#kernels.add(cell.kernel)
        let root: Cell = cell
        while (root.parent !== null) root = root.parent
        this.#roots.push(root)
      }
    }
    this.simulation.makeReady(actor)
  }

  runActor(actor: ReadyActor): void {
    const { simulation } = this
    this.#beginStep()
    this.messages++
    actor.queue.picked = actor.cell
    simulation.guard.run(actor, actor.queue.pump)
    if (this.machine.turnCostMs > 0) this.#aheadUntilMs = this.departsAtMs + this.machine.turnCostMs
  }

  runEvent(run: () => void): void {
    // Contract of `afterTurn`: before any timer or socket.
    if (this.hasAfterTurn) this.runAfterTurn()
    if (!this.#isAlive) return
    this.#beginStep()
    this.simulation.guard.run(this.#guarded, run)
  }

  runAfterTurn(): void {
    while (this.#afterTurn.length > 0 && this.#isAlive) {
      const tasks = this.#afterTurn
      this.#afterTurn = []
      this.#inStep = true
      for (const task of tasks) this.simulation.guard.run(this.#guarded, task)
    }
    this.endStep()
  }

  #beginStep(): void {
    this.#inStep = true
  }

  /** A step that took time blocks its process until that has passed for the others too. */
  endStep(): void {
    if (this.#stallMs > 0 && this.#inStep && this.#effectsUntilStall === Number.POSITIVE_INFINITY)
      this.#stallNow()
    this.#inStep = false
    if (this.#aheadUntilMs > this.simulation.nowMs) this.#block(this.#aheadUntilMs)
  }

  /** @internal Runs `run` on its behalf: see `Simulation.at`. */
  at(atMs: number, label: string, run: () => void): Scheduled {
    return this.simulation.at(atMs, this, label, run)
  }

  defer(event: ScheduledEvent): void {
    this.#deferred.push(event)
  }

  /** The run is over. */
  end(): void {
    this.#isAlive = false
    this.#onKill.length = 0
  }

  /**
   * Begins an operation of the outside world (a store, a simulated service) for whoever is running. Call what it
   * returns when the operation has settled. An actor whose handler waits for none, and for no ask, is lost.
   */
  beginOperation(): () => void {
    const actor = this.simulation.guard.current()
    if (!(actor instanceof ReadyActor)) return ignore
    actor.operations++
    let isOpen = true
    return () => {
      if (isOpen) actor.operations--
      isOpen = false
    }
  }

  /**
   * Lets `ms` of true virtual time pass for whoever is running: how a simulated service takes its time. It counts as an
   * operation, and never resolves when the process dies meanwhile.
   */
  sleep(ms: number): Promise<void> {
    const end = this.beginOperation()
    return new Promise((resolve) => {
      this.at(this.departsAtMs + Math.max(0, ms), 'service', () => {
        end()
        resolve()
      })
    })
  }

  /** Every actor of this process. Walks the trees: for audits and pictures. */
  *cells(): IterableIterator<Cell> {
    for (const root of this.#roots) yield* treeOf(root)
  }

  /**
   * Handlers that are awaited although nothing is under way that could ever settle them: no ask, no timer, no store, no
   * service. They wait for something from outside of the simulation.
   */
  lostHandlers(): readonly LostHandler[] {
    if (!this.#isAlive || this.#isBlocked || this.readyCount > 0 || this.hasAfterTurn) return []
    for (const kernel of this.#kernels) if (kernel.waiters > 0) return []
    const lost: LostHandler[] = []
    for (const cell of this.cells()) {
      const isBeside = !cell.isAwaiting && cell.rare !== null && cell.rare.concurrent > 0
      if (!(cell.isAwaiting || isBeside) || cell.context === null || cell.context.asks !== null) continue
      const actor = cell.nextReady
      if (actor instanceof ReadyActor && actor.operations > 0) continue
      // Of handlers that run beside others only their number is kept.
      if (isBeside) lost.push({ path: cell.path, message: 'a concurrent message', envelope: cell.context })
      else
        lost.push({ path: cell.path, message: cell.current?.message.type ?? 'setup', envelope: cell.current })
    }
    return lost
  }

  #stallNow(): void {
    const ms = this.#stallMs
    this.cancelStall()
    this.#aheadUntilMs = this.departsAtMs + ms
    this.simulation.state(this.machine.name, `stalled for ${ms} ms`)
  }

  #block(untilMs: number): void {
    this.#blockedUntilMs = Math.max(this.#blockedUntilMs, untilMs)
    if (this.#isBlocked) return
    this.#isBlocked = true
    this.simulation.park(this)
    this.#wakeLater()
  }

  #wakeLater(): void {
    if (this.#blockedUntilMs === Number.POSITIVE_INFINITY) return
    this.simulation.at(this.#blockedUntilMs, undefined, 'resume', () => {
      if (!this.#isAlive || !this.#isBlocked) return
      if (this.#blockedUntilMs > this.simulation.nowMs) this.#wakeLater()
      else this.#unblock()
    })
  }

  #unblock(): void {
    if (!this.#isBlocked || !this.#isAlive) return
    this.#isBlocked = false
    this.simulation.unpark(this)
    for (const event of this.#deferred.splice(0)) this.simulation.resume(event)
  }

  #keepLine(line: Omit<SimulatedLogLine, 'atMs'>): void {
    // What stands behind the write that killed it still runs, as JavaScript cannot be stopped: nobody sees it.
    if (!this.#isAlive) return
    this.logged.push({ atMs: this.simulation.nowMs, ...line })
    if (this.logged.length >= 2 * logLinesMax) this.logged.splice(0, logLinesMax)
  }

  // ---- The platform --------------------------------------------------------------------------------------------

  #makePlatform(): Platform {
    const random = this.simulation.choices.random.fork(`process/${this.name}`)
    const secrets = random.fork('secure-bytes')
    return {
      clock: new SimulatedClock(this, this.machine.clock),
      random,
      secureBytes: (count) => Uint8Array.from({ length: count }, () => secrets.int(0, 255)),
      scheduler: {
        makeRunQueue: (pump) => new SimulatedRunQueue(this, pump),
        afterTurn: (task) => {
          if (!this.#isAlive) return
          this.#afterTurn.push(task)
          // Asked for between two steps, by the scenario: nothing of this process would come by to run it.
          if (!this.#inStep && this.#afterTurn.length === 1) {
            this.at(this.simulation.nowMs, 'after-turn', () => undefined)
          }
        },
        afterLoop: (task) => this.at(this.simulation.nowMs, 'after-loop', task),
      },
      openStore: (directory) => this.machine.disk.open(directory, this),
      files: simulatedFiles(this, this.machine.files, this.machine.disk.controls),
      dns: simulatedDns(this),
      log: keepingLogger((level, fields, message) => this.#keepLine({ level, fields, message }), 'info'),
      host: this.#host,
    }
  }
}

function* treeOf(cell: Cell): IterableIterator<Cell> {
  yield cell
  for (const child of cell.family?.cells() ?? []) yield* treeOf(child)
}

function ignore(): void {
  // Not every caller of `beginOperation` is an actor.
}
