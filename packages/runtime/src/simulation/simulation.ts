/**
 * The simulator: one thread, one virtual clock, one source of choices. It runs the real runtime: a step is one message
 * of one actor, or one event (a timer, a frame, a write that became durable, a fault), and between steps everything
 * that follows in microtasks has come to rest. So a seed replays a whole run to the byte.
 *
 * Synchronous steps run back to back; only a step that touched a promise is followed by a fence (`MicrotaskFence`).
 * Virtual time passes only when nobody is ready: see FoundationDB's sim2 and TigerBeetle's VOPR for the idea.
 */
import { MicrotaskFence } from '../platform/microtask-fence.ts'
import { listenUnhandledAlone } from '../platform/unhandled.ts'
import { VirtualDns } from '../platform/virtual-dns.ts'
import { AmbientGuard, type Guarded } from './ambient-guard.ts'
import { ChoiceSource, type Choice, type ChoiceStream } from './choice-source.ts'
import type { CrashPoint } from './crash-everywhere.ts'
import { EventHeap, ScheduledEvent } from './event-heap.ts'
import { LostHandlerAudit } from './lost-handler-audit.ts'
import { NondeterminismError } from './nondeterminism-error.ts'
import {
  hashBlockSteps,
  type RunResult,
  type RunStats,
  type TraceEvent,
  type Violation,
} from './run-result.ts'
import { schedulerPolicy, policyNames, type PolicyName, type SchedulerPolicy } from './scheduler-policy.ts'
import { ReadyActor, type SimulatedProcess } from './simulated-process.ts'
import { InvariantViolation } from './simulation-error.ts'
import { TraceHash } from './trace-hash.ts'
import { TraceLog } from './trace-log.ts'
import { TraceRecorder, type Lanes } from './trace-recorder.ts'

export interface SimulationOptions {
  readonly seed: string | number
  /** Replays these; all other choices are benign. @default the seed decides */
  readonly choices?: readonly Choice[] | undefined
  /** Keeps what happened, for people. @default false */
  readonly trace?: boolean | undefined
  /** Columns of the picture. @default 'machines' */
  readonly lanes?: Lanes | undefined
  /** A run with more steps has lost its way: `steps-exceeded`. @default 10_000_000 */
  readonly stepsMax?: number | undefined
  /** A run that takes longer in virtual time: `time-exceeded`. @default 86_400_000 (a day) */
  readonly virtualMsMax?: number | undefined
  /** Kills one process at one write or send of the operation that the scenario marks. See `crashEverywhere`. */
  readonly crash?: CrashPoint | undefined
  /** How the next actor is picked. @default drawn per seed */
  readonly policy?: PolicyName | undefined
}

export const simulationDefaults = Object.freeze({ stepsMax: 10_000_000, virtualMsMax: 86_400_000 })

/** Something that will happen. Cancelling it twice, or after it happened, is harmless. */
export interface Scheduled {
  readonly cancel: () => void
}

/** When a rule is looked at. */
export type CheckedWhen = 'step' | 'quiesce' | 'end'

/** Steps in which no time passes. More of them are a circle that no clock ends. */
const stepsAtOnceMax = 2_000_000
/** Steps after which the thread's other work (a test runner, a progress bar) gets its turn, whatever happens. */
const breathSteps = 20_000

class ProcessEvent extends ScheduledEvent {
  readonly process: SimulatedProcess | undefined

  constructor(
    atMs: number,
    order: number,
    label: string,
    run: () => void,
    life: SimulatedProcess | undefined,
  ) {
    super(atMs, order, label, run)
    this.process = life
  }
}

export class Simulation {
  readonly choices: ChoiceSource
  readonly hash = new TraceHash()
  readonly isTracing: boolean
  readonly #recorder: TraceRecorder | undefined
  /** True virtual milliseconds since the run began. Machines show something else: see `SkewedClock`. */
  nowMs = 0
  step = 0
  readonly policy: SchedulerPolicy
  readonly processes: SimulatedProcess[] = []
  /** What names stand for, everywhere. Knows none until the scenario sets some. */
  readonly dns = new VirtualDns()
  readonly crash: CrashPoint | undefined
  /** Writes and sends within the operation that the scenario marked, by machine. */
  readonly effects = new Map<string, number>()
  readonly guard: AmbientGuard
  /** Handlers and operations that ran. */
  messages = 0
  /** The actor whose step is under way. */
  running: ReadyActor | undefined
  readonly #options: SimulationOptions
  readonly #heap = new EventHeap<ProcessEvent>()
  readonly #audit = new LostHandlerAudit(this.processes)
  readonly #trace = new TraceLog()
  #ready: ReadyActor[] = []
  #order = 0
  readonly #fence = new MicrotaskFence()
  readonly #faults = new Map<string, number>()
  readonly #reached = new Set<string>()
  readonly #checks: Readonly<Record<CheckedWhen, { readonly rule: string; readonly check: () => void }[]>> = {
    step: [],
    quiesce: [],
    end: [],
  }
  readonly #hashBlocks: string[] = []
  #violation: Violation | undefined
  #isOver = false
  /** The step in which time last passed. */
  #sinceStep = 0
  readonly #eventFirst: ChoiceStream
  readonly #flushEarly: ChoiceStream
  #eventFirstP = 0
  #flushEarlyP = 0

  constructor(options: SimulationOptions) {
    this.#options = options
    this.choices = new ChoiceSource(options.seed, options.choices)
    this.crash = options.crash
    this.isTracing = options.trace === true
    this.#recorder = this.isTracing ? new TraceRecorder(this, options.lanes ?? 'machines') : undefined
    const drawn = this.choices.choose(policyNames.length, 'swarm/policy')
    this.policy = schedulerPolicy(options.policy ?? (policyNames[drawn] as PolicyName), this.choices)
    this.#eventFirst = this.choices.stream('schedule/event-first')
    this.#flushEarly = this.choices.stream('schedule/flush-early')
    // Only seeds whose schedule is not FIFO pay for these two looks.
    if (options.policy !== 'fifo') {
      this.#eventFirstP = [0, 0.02, 0.2][this.choices.choose(3, 'swarm/event-first')] ?? 0
      this.#flushEarlyP = [0, 0.1, 0.5][this.choices.choose(3, 'swarm/flush-early')] ?? 0
    }
    // Last: nobody would take it down again if one of the options above were refused.
    this.guard = AmbientGuard.install()
  }

  /**
   * One simulation at a time in a thread: they share promise hooks and patched globals. Later ones wait for their turn.
   */
  static alone<T>(run: () => Promise<T>): Promise<T> {
    const turn = lastRun.then(run)
    lastRun = turn.then(ignore, ignore)
    return turn
  }

  /** Makes the world of a run; a world that cannot be made leaves nothing behind. */
  build<W>(make: () => W): W {
    try {
      return make()
    } catch (error) {
      this.guard[Symbol.dispose]()
      throw error
    }
  }

  get violation(): Violation | undefined {
    return this.#violation
  }

  /** Nothing runs any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  // ---- What may happen -----------------------------------------------------------------------------------------

  /**
   * Runs `run` at true virtual time `atMs`, or now when that has passed. On behalf of `process`: it waits while that is
   * paused and is dropped when it dies. `label` names it in the hash and in reports.
   *
   * @throws {RangeError} if `atMs` is NaN
   */
  at(atMs: number, life: SimulatedProcess | undefined, label: string, run: () => void): Scheduled {
    // It would be neither before nor after the others, and put their order wrong.
    if (Number.isNaN(atMs))
      throw new RangeError(`Cannot schedule "${label}": its time must be a number, got NaN`)
    const event = new ProcessEvent(Math.max(atMs, this.nowMs), this.#order++, label, run, life)
    this.#heap.push(event)
    return event
  }

  /** Resolves after `ms` of true virtual time. @throws {RangeError} (as a rejection) if `ms` is NaN */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.at(this.nowMs + Math.max(0, ms), undefined, 'sleep', resolve))
  }

  /** @internal An actor has something to do. */
  makeReady(actor: ReadyActor): void {
    if (actor.process.isBlocked) actor.process.parked.push(actor)
    else this.#ready.push(actor)
    actor.process.readyCount++
  }

  /** @internal None of its actors runs until `unpark`. */
  park(life: SimulatedProcess): void {
    const staying: ReadyActor[] = []
    for (const actor of this.#ready) (actor.process === life ? life.parked : staying).push(actor)
    this.#ready = staying
  }

  /** @internal */
  unpark(life: SimulatedProcess): void {
    for (const actor of life.parked) this.#ready.push(actor)
    life.parked.length = 0
  }

  // ---- What is told --------------------------------------------------------------------------------------------

  /** Counts a fault that took effect. */
  fault(kind: string, what: string, lane?: string): void {
    this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + 1)
    this.hash.text(kind)
    if (this.isTracing) this.note({ type: 'fault', ...this.place(lane), kind, what })
  }

  /** A mark on a lane of the picture: something started, stopped, changed its mind. */
  state(lane: string | undefined, what: string): void {
    if (this.isTracing) this.note({ type: 'state', ...this.place(lane), what })
  }

  /** Something that a test wants to happen in some run at least: proof that a fault was really met. */
  sometimes(tag: string): void {
    if (this.#isGhost()) return
    this.#reached.add(tag)
  }

  /** Ends the run with a violation; the first one stands. */
  fail(name: string, message: string): void {
    if (this.#violation !== undefined || this.#isOver || this.#isGhost()) return
    this.#violation = { name, message, step: this.step, atMs: this.nowMs }
    if (this.isTracing) this.note({ type: 'violation', ...this.place(undefined), name, what: message })
  }

  /** Ends the run because of what was thrown. */
  failWith(error: unknown): void {
    if (error instanceof InvariantViolation) this.fail(error.rule, error.message)
    else if (error instanceof NondeterminismError) this.fail('nondeterminism', error.message)
    else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.fail('scenario-threw', text)
    }
  }

  /** Looks at `check` after each step, whenever time is about to pass, or at the end. It throws when the rule is broken. */
  invariant(rule: string, when: CheckedWhen, check: () => void): void {
    this.#checks[when].push({ rule, check })
  }

  /** Adds to the story of a traced run. */
  note(event: TraceEvent): void {
    this.#trace.note(event)
  }

  /** What an arrow carried is known when it has arrived. Traced runs only. */
  relabel(messageId: number, message: string): void {
    this.#trace.relabel(messageId, message)
  }

  place(lane: string | undefined): {
    readonly step: number
    readonly atMs: number
    readonly lane: string | undefined
  } {
    return { step: this.step, atMs: this.nowMs, lane }
  }

  /** Types of the messages that came into mailboxes of `process` in this step: what a frame carried. Traced runs only. */
  arrivedIn(life: SimulatedProcess): readonly string[] {
    return this.#recorder?.afterStep(life, undefined) ?? []
  }

  /** A number for an arrow of the picture. */
  nextMessageId(): number {
    return this.#trace.nextMessageId()
  }

  /** An actor whose process was killed at a write or send still runs to the end of its step: nobody sees what it says. */
  #isGhost(): boolean {
    const who = this.guard.current()
    return who instanceof ReadyActor && !who.process.isAlive
  }

  // ---- Running -------------------------------------------------------------------------------------------------

  /** Runs `main`, and all that it starts, until it has returned or a rule is broken. Never rejects. */
  async run(main: () => Promise<void>): Promise<RunResult> {
    const listening = listenUnhandledAlone((error, promise) => this.#takeRejection(error, promise))
    try {
      let isDone = false
      // What a run before has left behind is not this one's.
      this.guard.takeLeaks()
      this.#fence.begin()
      this.guard.run(scenario, () => {
        main().then(
          () => (isDone = true),
          (error: unknown) => {
            isDone = true
            this.failWith(error)
          },
        )
      })
      await this.#fence.pass()
      this.#fence.clear()
      this.#traceOutside()
      let untilBreath = breathSteps
      while (!isDone && this.#violation === undefined) {
        if (!this.#tryStep()) break
        if (this.#fence.wasTouched || --untilBreath === 0) {
          untilBreath = breathSteps
          await this.#fence.pass()
          this.#fence.clear()
          this.#traceOutside()
        }
        if (this.guard.hasLeaks) this.#failForLeak()
      }
      if (this.#violation === undefined) this.#check('end')
    } finally {
      this.#isOver = true
      for (const life of this.processes) life.end()
      this.#fence.end()
      listening[Symbol.dispose]()
      this.guard[Symbol.dispose]()
    }
    return this.result()
  }

  result(): RunResult {
    for (const { messages } of this.processes) this.hash.word(messages)
    const digest = this.hash.digest()
    return {
      seed: this.choices.seed,
      violation: this.#violation,
      choices: this.choices.taken(),
      stats: this.#stats(),
      effects: Object.fromEntries(this.effects),
      hash: digest,
      hashBlocks: [...this.#hashBlocks, digest],
      trace: this.#trace.events,
    }
  }

  /** What the scenario, and handlers that went on after an await, have sent since the last step. */
  #traceOutside(): void {
    if (this.#recorder === undefined) return
    for (const life of this.processes) if (life.isAlive) this.#recorder.afterStep(life, undefined)
  }

  #stats(): RunStats {
    return {
      steps: this.step,
      virtualMs: this.nowMs,
      messages: this.messages,
      faults: Object.fromEntries([...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1))),
      reached: [...this.#reached].sort(),
    }
  }

  /** One step, after which there may be more. What it throws is a violation: nobody else is there to catch it. */
  #tryStep(): boolean {
    try {
      if (this.#runStep()) return true
      this.fail('stuck', this.#audit.stuckText())
    } catch (error) {
      this.failWith(error)
    }
    return false
  }

  /** One step. False when there is nothing left that could ever happen. */
  #runStep(): boolean {
    this.step++
    if (this.step % hashBlockSteps === 0) {
      this.hash.word(this.choices.count)
      this.#hashBlocks.push(this.hash.digest())
    }
    if (this.step > (this.#options.stepsMax ?? simulationDefaults.stepsMax)) {
      this.fail(
        'steps-exceeded',
        `The run took more than ${this.step - 1} steps: something goes round in circles`,
      )
      return true
    }
    if (this.step - this.#sinceStep > stepsAtOnceMax) this.fail('livelock', this.#livelockText())
    const event = this.#ready.length > 0 && !this.#wantsEventFirst() ? undefined : this.#nextEvent()
    const ready = this.#ready
    if (event !== undefined) {
      this.#runEvent(event)
    } else if (ready.length > 0) {
      const at = ready.length === 1 ? 0 : this.policy.pick(ready)
      const actor = ready[at] as ReadyActor
      if (at === 0) ready.shift()
      else ready.splice(at, 1)
      this.#runActor(actor)
    } else {
      return false
    }
    if (this.#checks.step.length > 0) this.#check('step')
    return true
  }

  #wantsEventFirst(): boolean {
    if (this.#eventFirstP === 0) return false
    const event = this.#heap.peek()
    return event !== undefined && event.atMs <= this.nowMs && this.#eventFirst.chance(this.#eventFirstP)
  }

  #runActor(actor: ReadyActor): void {
    const { process: life } = actor
    life.readyCount--
    this.hash.word(actor.number)
    this.messages++
    this.running = actor
    this.#recorder?.beforeTurn(actor)
    life.runActor(actor)
    this.running = undefined
    this.#recorder?.afterStep(life, actor)
    this.#afterStep(life)
  }

  #nextEvent(): ProcessEvent | undefined {
    for (let event = this.#heap.peek(); event !== undefined; event = this.#heap.peek()) {
      const { process: life } = event
      if (life !== undefined && !life.isAlive) {
        event.cancel()
        continue
      }
      if (life !== undefined && life.isBlocked) {
        this.#heap.pop()
        life.defer(event)
        continue
      }
      if (event.atMs > this.nowMs) {
        // Time stands still while anybody is ready.
        if (this.#ready.length > 0) return undefined
        this.#timeMayPass(event.atMs)
        if (this.#violation !== undefined) return undefined
        // A rule that was looked at may have made somebody ready, or something due.
        if (this.#ready.length > 0) return undefined
        if (this.#heap.peek() !== event) continue
        this.nowMs = event.atMs
        this.#sinceStep = this.step
      }
      this.#heap.pop()
      return event
    }
    return undefined
  }

  /** @internal A blocked process goes on: what was due for it meanwhile is due now, in its order. */
  resume(event: ScheduledEvent): void {
    const { run } = event
    if (run === null) return
    event.atMs = Math.max(event.atMs, this.nowMs)
    this.#heap.push(event as ProcessEvent)
  }

  #timeMayPass(toMs: number): void {
    const lost = this.#audit.look(toMs)
    if (lost !== undefined) this.fail('nondeterminism', lost)
    if (this.#checks.quiesce.length > 0) this.#check('quiesce')
    const mostMs = this.#options.virtualMsMax ?? simulationDefaults.virtualMsMax
    if (toMs > mostMs) this.fail('time-exceeded', `The run took more than ${mostMs} ms of virtual time`)
  }

  #runEvent(event: ProcessEvent): void {
    const { process: life, run } = event
    event.run = null
    this.hash.text(event.label)
    this.hash.time(event.atMs)
    if (run === null) return
    if (life === undefined) {
      run()
      return
    }
    life.runEvent(run)
    this.#recorder?.afterStep(life, undefined)
    this.#afterStep(life)
  }

  /** What was put off until after the turn leaves when its process has nothing more to do, or by choice earlier. */
  #afterStep(life: SimulatedProcess): void {
    life.endStep()
    if (!life.hasAfterTurn) return
    if (life.readyCount === 0 || this.#flushEarly.chance(this.#flushEarlyP)) life.runAfterTurn()
  }

  #check(when: CheckedWhen): void {
    for (const { rule, check } of this.#checks[when]) {
      try {
        check()
      } catch (error) {
        if (error instanceof InvariantViolation) this.fail(error.rule, error.message)
        else this.fail(rule, error instanceof Error ? error.message : String(error))
        return
      }
    }
  }

  #failForLeak(): void {
    for (const leak of this.guard.takeLeaks()) this.fail('nondeterminism', leak.message)
  }

  #takeRejection(error: unknown, promise: Promise<unknown>): void {
    if (this.#isOver) return
    for (const life of this.processes) if (life.isAlive && life.takeBlame(error, promise)) return
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    this.fail('unhandled-rejection', `A promise was rejected and nobody handled it: ${text}`)
  }

  #livelockText(): string {
    const who = this.#ready[0]?.name ?? this.#heap.peek()?.process?.name ?? 'the scenario'
    return `${stepsAtOnceMax} steps passed and no time did: actors send to each other without end. Ready now: ${who}`
  }
}

// A lock, not a state: what a run does never depends on it.
let lastRun: Promise<void> = Promise.resolve()

function ignore(): void {
  // How the run before has ended is its caller's business.
}

const scenario: Guarded = { name: 'the scenario' }
