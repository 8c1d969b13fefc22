/** A lock table in one place, and clients of it over links that lose, delay and double, in virtual time. */
import { Aborted, isActorError, seededRandom, type Random } from '@understudy/runtime'
import { OutcomeUnknown } from '@understudy/protocols'
import {
  encodeLockCommand,
  lockClientOver,
  LockError,
  LockMachine,
  type LockAnswer,
  type LockClient,
  type LockControlOptions,
  type LockCommand,
  type LockGrant,
  type LockPort,
  type LockRequest,
  type LockResult,
  type LockView,
  type LockViewOptions,
  type WaitOptions,
} from './recipes-source.ts'
import { VirtualTime } from './virtual-time.ts'

export const latencyMs = 2
const attemptMs = 500
export const ttlMs = 3_000
export const timeoutMs = 10_000

/** What becomes of one message. A number: it takes so long. */
export type Fate = 'fine' | 'lost' | number

export interface Traffic {
  readonly verb: 'write' | 'control' | 'states' | 'view' | 'list' | 'attach' | 'push' | 'over'
  readonly command?: LockCommand | undefined
  readonly isAnswer: boolean
}

/** The table, its log and its leader. */
export class LockWorld {
  readonly time = new VirtualTime()
  readonly machine: LockMachine = new LockMachine()
  readonly commands: LockCommand[] = []
  readonly ports: FakePort[] = []
  #index = 0
  #granted: LockGrant[] = []
  #refused: LockRequest[] = []
  readonly #watchers = new Set<() => void>()

  constructor() {
    this.machine.onGrant((grants) => void this.#granted.push(...grants))
    this.machine.onRefused((requests) => void this.#refused.push(...requests))
    const tick = (): void => {
      this.expire()
      this.time.at(this.time.nowMs + 50, tick)
    }
    this.time.at(50, tick)
  }

  client(options: { readonly ttlMs?: number; readonly label?: string } = {}): {
    readonly client: LockClient
    readonly port: FakePort
  } {
    const { label = `client ${this.ports.length + 1}` } = options
    const port = new FakePort(this, label)
    this.ports.push(port)
    const client = lockClientOver(port, { sessionTtlMs: options.ttlMs ?? ttlMs, timeoutMs, label })
    return { client, port }
  }

  get<T>(promise: Promise<T>): Promise<T> {
    return this.time.get(promise)
  }

  /** How it fails. */
  async failure(promise: Promise<unknown>): Promise<string> {
    try {
      await this.time.get(promise)
    } catch (error) {
      return isActorError(error) ? error.code : String(error)
    }
    return 'it did not fail'
  }

  apply(command: LockCommand): LockResult {
    this.commands.push(command)
    const before = this.machine.status().sessions
    const timeMs = Math.floor(this.time.nowMs)
    const result = this.machine.apply({
      index: ++this.#index,
      term: 1,
      timeMs,
      data: encodeLockCommand(command),
    })
    const refused = this.#refused
    this.#refused = []
    for (const port of this.ports) port.refuse(refused)
    const grants = this.#granted
    this.#granted = []
    for (const port of this.ports) port.push(grants)
    if (this.machine.status().sessions < before) for (const port of this.ports) port.tellWhatIsOver()
    for (const watcher of this.#watchers) watcher()
    return result
  }

  expire(): void {
    const sessions = this.machine.sessionsOver(this.time.nowMs)
    if (sessions.length > 0) this.apply({ type: 'expire', sessions })
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Sessions that hold it now. */
  holders(name: string): readonly number[] {
    return this.machine.view(name)?.holders.map(({ session }) => session) ?? []
  }

  waiting(name: string): number {
    return this.machine.view(name)?.waiting ?? 0
  }
}

/** One client's way to the table. What comes while its process is stopped is taken when it runs again. */
export class FakePort implements LockPort {
  readonly #world: LockWorld
  readonly random: Random
  fate: (traffic: Traffic) => Fate = () => 'fine'
  /** Nothing reaches the table, and the client knows. */
  isCutOff = false
  /** How fast its clock runs: 1.01 is a hundredth too fast. Set before it is used. */
  clockRate = 1
  onGrant: ((grant: LockGrant) => void) | undefined
  onRefused: ((request: LockRequest) => void) | undefined
  onDetached: (() => void) | undefined
  onSessionOver: ((session: number) => void) | undefined
  attached: number | undefined
  attachments = 0
  sleeps = 0
  /** Sleeps that go on. */
  asleep = 0
  /** Calls on the control lane that are under way. */
  controls = 0
  #stoppedUntilMs = 0
  #isClosed = false
  readonly #calls = new Set<(error: Error) => void>()

  constructor(world: LockWorld, label: string) {
    this.#world = world
    this.random = seededRandom(label)
  }

  readonly nowMs = (): number => this.#world.time.nowMs * this.clockRate

  readonly sleep = (ms: number, signal: AbortSignal | undefined): Promise<void> => {
    this.sleeps++
    this.asleep++
    return new Promise((resolve) => {
      let isDone = false
      const done = (): void => {
        callOff()
        signal?.removeEventListener('abort', done)
        if (!isDone) this.asleep--
        isDone = true
        resolve()
      }
      const callOff = this.#world.time.at(this.#world.time.nowMs + ms / this.clockRate, () =>
        this.#take(done, 1),
      )
      if (signal?.aborted === true) done()
      else signal?.addEventListener('abort', done, { once: true })
    })
  }

  readonly write = (what: string, command: LockCommand, options: WaitOptions): Promise<LockAnswer> => {
    let result: LockResult | undefined
    return this.#call('write', what, command, options, true, () => (result ??= this.#world.apply(command)))
  }

  readonly control = (
    what: string,
    command: LockCommand,
    options: LockControlOptions,
  ): Promise<LockAnswer> => {
    this.controls++
    options.onBegin?.({ lastProblem: 'nobody has answered' })
    const done = (): void => {
      this.controls--
    }
    const answer = this.#call<LockAnswer>('control', what, command, options, false, () =>
      this.#world.apply(command),
    )
    answer.then(done, done)
    return answer
  }

  readonly states = (
    session: number,
    requests: readonly number[],
    options: WaitOptions,
  ): Promise<readonly LockAnswer[]> =>
    this.#call('states', 'states', undefined, options, true, () => ({
      ok: true,
      result: requests.map((request) => this.#world.machine.state(session, request)),
    }))

  readonly view = (name: string, options: LockViewOptions): Promise<LockView | undefined> => {
    const { afterVersion, waitMs = 0, signal, timeoutMs: most = timeoutMs } = options
    const { machine, time } = this.#world
    return this.#call('view', 'view', undefined, { signal, timeoutMs: most }, true, (answer) => {
      const isNews = (): boolean =>
        afterVersion === undefined || (machine.view(name)?.version ?? 0) !== afterVersion
      if (waitMs === 0 || isNews()) return { ok: true, result: machine.view(name) }
      const done = (): void => {
        stop()
        callOff()
        answer({ ok: true, result: machine.view(name) })
      }
      const stop = this.#world.watch(() => {
        if (isNews()) done()
      })
      const callOff = time.at(time.nowMs + waitMs, done)
      return undefined
    })
  }

  readonly list = (prefix: string, options: WaitOptions): Promise<readonly LockView[]> =>
    this.#call('list', 'list', undefined, options, true, () => ({
      ok: true,
      result: this.#world.machine.list(prefix, 100),
    }))

  readonly attach = async (session: number, options: WaitOptions): Promise<void> => {
    this.attachments++
    await this.#call('attach', 'attach', undefined, options, true, () => {
      this.attached = session
      return { ok: true, result: undefined }
    })
  }

  readonly close = async (): Promise<void> => {
    this.#isClosed = true
    for (const fail of [...this.#calls]) fail(new LockError('LOCK_CLIENT_CLOSED', 'The client was closed'))
  }

  /** The process does not run: timers and answers wait, the clock does not. */
  stop(ms: number): void {
    this.#stoppedUntilMs = Math.max(this.#stoppedUntilMs, this.#world.time.nowMs + ms)
  }

  get isStopped(): boolean {
    return this.#world.time.nowMs < this.#stoppedUntilMs
  }

  /** The leader tells nothing any more, and says so. */
  detach(): void {
    this.attached = undefined
    this.#take(() => this.onDetached?.())
  }

  push(grants: readonly LockGrant[]): void {
    for (const grant of grants) {
      if (grant.session !== this.attached) continue
      this.#carry({ verb: 'push', isAnswer: true }, () => this.#take(() => this.onGrant?.(grant)))
    }
  }

  refuse(requests: readonly LockRequest[]): void {
    for (const request of requests) {
      if (request.session !== this.attached) continue
      this.#carry({ verb: 'push', isAnswer: true }, () => this.#take(() => this.onRefused?.(request)))
    }
  }

  tellWhatIsOver(): void {
    const { attached } = this
    if (attached === undefined || this.#world.machine.hasSession(attached)) return
    this.attached = undefined
    this.#carry({ verb: 'over', isAnswer: true }, () => this.#take(() => this.onSessionOver?.(attached)))
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  /** `order`: of what comes at one time, when a stopped process runs again; timers come late. */
  #take(run: () => void, order = 0): void {
    if (this.#world.time.nowMs >= this.#stoppedUntilMs) run()
    else this.#world.time.at(this.#stoppedUntilMs + order / 1_000, run)
  }

  #carry(traffic: Traffic, arrive: () => void): void {
    const fate = this.fate(traffic)
    if (fate === 'lost') return
    this.#world.time.at(this.#world.time.nowMs + (fate === 'fine' ? latencyMs : fate), arrive)
  }

  #call<T>(
    verb: Traffic['verb'],
    what: string,
    command: LockCommand | undefined,
    { timeoutMs: most = timeoutMs, signal }: WaitOptions,
    isRepeated: boolean,
    carryOut: (answer: (result: Answered<T>) => void) => Answered<T> | undefined,
  ): Promise<T> {
    const { time } = this.#world
    const untilMs = time.nowMs + most
    let isSent = false
    return new Promise<T>((resolve, reject) => {
      const callsOff: (() => void)[] = []
      const settle = (act: () => void): void => {
        this.#calls.delete(fail)
        signal?.removeEventListener('abort', aborted)
        for (const callOff of callsOff) callOff()
        act()
      }
      const fail = (error: Error): void => settle(() => reject(error))
      const details = (): { outcome: string } => ({ outcome: isSent ? 'unknown' : 'not-done' })
      const aborted = (): void => fail(new Aborted(`${what} was given up`, details()))
      const late = (): void => {
        const text = `${what} was not answered in time`
        const isChange = verb === 'write' || verb === 'control'
        fail(
          isSent && isChange
            ? new OutcomeUnknown(text, details())
            : new LockError('LOCK_UNAVAILABLE', text, details()),
        )
      }
      const answer = (result: Answered<T>): void =>
        this.#carry({ verb, command, isAnswer: true }, () =>
          this.#take(() =>
            settle(() => {
              if (result.ok) resolve(result.result)
              else {
                const { code, message, cycle } = result.error
                reject(new LockError(code, message, { cycle }))
              }
            }),
          ),
        )
      const send = (): void => {
        if (!this.isCutOff) {
          isSent = true
          this.#carry({ verb, command, isAnswer: false }, () => {
            const result = carryOut(answer)
            if (result !== undefined) answer(result)
          })
        }
        if (isRepeated) callsOff.push(time.at(time.nowMs + attemptMs, () => this.#take(send)))
      }
      if (this.#isClosed) return reject(new LockError('LOCK_CLIENT_CLOSED', 'The client was closed'))
      // As the real one: whoever is asked on the control lane is left alone, and its caller has a signal.
      if (verb !== 'control') this.#calls.add(fail)
      if (signal?.aborted === true) return aborted()
      signal?.addEventListener('abort', aborted, { once: true })
      callsOff.push(time.at(untilMs, () => this.#take(late, 1)))
      send()
    })
  }
}

type Answered<T> =
  | { readonly ok: true; readonly result: T }
  | { readonly ok: false; readonly error: Extract<LockResult, { readonly ok: false }>['error'] }
