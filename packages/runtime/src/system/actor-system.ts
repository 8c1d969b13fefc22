/**
 * A system: one tree of actors on one platform. `createSystem` puts a kernel, the guardians and the services around
 * them together; everything is handed in, so that the same tree runs on virtual time.
 */
import { ActorError, toError } from '../actor/actor-error.ts'
import { actor, checkDefinition, type AnyDefinition, type Definition } from '../actor/behaviour.ts'
import { Cell } from '../actor/cell.ts'
import { childPolicy, type ChildOptions } from '../actor/child-spec.ts'
import { ActorContextImpl, spawnArguments } from '../actor/context.ts'
import type { Failure, StopMode } from '../actor/family.ts'
import { sharedGuard, type Isolation } from '../actor/isolation.ts'
import { Kernel, type KernelCounters } from '../actor/kernel.ts'
import { LocalRef, PathRef } from '../actor/local-ref.ts'
import { protocol, type MessageDefs, type Protocol } from '../actor/protocol.ts'
import type { ActorRef, AnyActorRef, Ref } from '../actor/ref.ts'
import type { ServiceBinding } from '../actor/service.ts'
import { noMetrics, type Metrics } from '../observability/metrics.ts'
import { memoryStore } from '../platform/memory-store.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Platform } from '../platform/platform.ts'
import type { Store } from '../platform/store.ts'
import { Supervisor } from '../supervision/supervisor.ts'
import { supervisor } from '../supervision/child.ts'
import { coordinatedShutdown, type CoordinatedShutdown, type ShutdownReport } from './coordinated-shutdown.ts'
import { eventStream, type EventStream, type SystemEvents } from './event-stream.ts'
import { blamed, IncidentLog, type DeadLetter } from './incident-log.ts'
import { createRegistry, type Registry } from './registry.ts'

export interface SystemOptions {
  /** What the machine gives. @default nodePlatform() */
  readonly platform?: Platform | undefined
  /**
   * How far messages are kept apart from their senders.
   * @default 'reference' when NODE_ENV is "production", else 'freeze'; the testkit uses 'codec'
   */
  readonly isolation?: Isolation | undefined
  /** Outside IO for actors, by key: `[Files.provide(realFiles())]`. @default [] */
  readonly services?: readonly ServiceBinding[] | undefined
  /** What `ctx.store` gives parts of. @default memoryStore() */
  readonly store?: Store | undefined
  /** @default noMetrics */
  readonly metrics?: Metrics | undefined
  /** How long an ask waits that does not say. @default 5_000 */
  readonly askTimeoutMs?: number | undefined
  /** Over a whole shutdown; what still hangs then is named and left. @default 30_000 */
  readonly shutdownMs?: number | undefined
  /** SIGINT and SIGTERM shut the system down and end the process; a second one ends it at once with 130. @default true */
  readonly handleSignals?: boolean | undefined
  /**
   * A synchronous stretch of a handler longer than this is blamed on its actor in the log. `Infinity` turns it off.
   * @default 50, off when NODE_ENV is "production"
   */
  readonly stallMs?: number | undefined
}

export const systemDefaults = Object.freeze({ askTimeoutMs: 5_000, shutdownMs: 30_000, stallMs: 50 })

/** One actor as `status()` shows it. */
export interface ActorStatus {
  readonly path: string
  readonly definition: string
  readonly uid: number
  readonly incarnation: number
  readonly status: 'starting' | 'running' | 'suspended' | 'draining' | 'stopping' | 'stopped'
  /** Messages that wait. */
  readonly mailbox: number
  /** The message in progress. */
  readonly handling: string | undefined
  readonly children: readonly ActorStatus[]
}

/** A whole system as plain JSON. */
export interface SystemStatus {
  readonly name: string
  readonly counters: Readonly<KernelCounters>
  readonly tree: ActorStatus
}

export interface ActorSystem extends AsyncDisposable {
  readonly name: string
  readonly platform: Platform
  readonly events: EventStream<SystemEvents>
  readonly registry: Registry
  readonly coordinatedShutdown: CoordinatedShutdown
  /**
   * The metrics this system was given. What is counted per message is counted in plain integers: call `collectMetrics()`
   * before you read them.
   */
  readonly metrics: Metrics
  /** Brings `metrics` up to date. O(definitions). */
  readonly collectMetrics: () => void
  /** An unbound ref: finds whoever lives at `path` at each send. */
  readonly ref: <M extends MessageDefs>(protocol: Protocol<M>, path: string) => ActorRef<M>
  /** A ref bound to the actor that lives at `path` now, or `undefined`. */
  readonly lookup: <M extends MessageDefs>(protocol: Protocol<M>, path: string) => ActorRef<M> | undefined
  /**
   * Starts a child of /user.
   * @throws {ActorError} RUNTIME_DUPLICATE_NAME, or RUNTIME_STOPPED once the system is shutting down
   */
  readonly spawn: <M extends MessageDefs, I>(
    name: string,
    definition: Definition<M, I>,
    ...rest: void extends I ? [options?: ChildOptions] : [input: I, options?: ChildOptions]
  ) => ActorRef<M>
  /** Stops an actor of this system. Resolves when it has ended, also when it had already. */
  readonly stop: (ref: AnyActorRef, mode?: StopMode) => Promise<void>
  /** Runs the coordinated shutdown: phases, actors children first, then the resources. Later calls join the first. */
  readonly shutdown: (reason?: string) => Promise<ShutdownReport>
  /** Resolves when the system has shut down, for whatever reason. */
  readonly terminated: Promise<ShutdownReport>
  readonly status: () => SystemStatus
  /** The last 1,000 dead letters, oldest first. */
  readonly deadLetters: () => readonly DeadLetter[]
}

const Guardian = protocol('guardian', {})
const rootGuardian = actor(
  Guardian,
  { supervision: { intensity: { restarts: 0, withinMs: 1_000 } } },
  () => ({}),
)
const systemGuardian = actor(Guardian, { name: 'system-guardian' }, () => ({}))
const statusNames = ['starting', 'running', 'suspended', 'draining', 'stopping', 'stopped'] as const

/** @internal A system as the cluster sees it: with its kernel. */
export interface InternalSystem extends ActorSystem {
  readonly kernel: Kernel
  readonly userCell: Cell
  readonly systemCell: Cell
  readonly resolve: (path: string) => Cell | undefined
  /** Adds a top-level supervisor beside /user and /system; it is stopped before /system. */
  readonly addGuardian: (name: string, definition: AnyDefinition) => Cell
  /** Ends every actor of /user in good order and starts the tree anew. */
  readonly restartUser: () => void
  /** Set by the cluster: makes refs to paths on other nodes. */
  remoteRef: ((path: string, protocol: Protocol) => Ref) | undefined
}

/**
 * Starts a system and resolves when its static tree has started.
 *
 * @throws {ActorError} RUNTIME_START_FAILED (as a rejection) if the tree gave up while starting
 */
export async function createSystem(
  name: string,
  root: AnyDefinition = supervisor({}, []) as unknown as AnyDefinition,
  options: SystemOptions = {},
): Promise<ActorSystem> {
  return startSystem(name, root, options, () => undefined)
}

/**
 * @internal As `createSystem`; `prepare` gets the system before any actor of it has run, so that what it adds is there for
 * the first setup.
 */
export async function startSystem(
  name: string,
  root: AnyDefinition | undefined,
  options: SystemOptions,
  prepare: (system: InternalSystem) => void,
): Promise<InternalSystem> {
  const system = new SystemImpl(name, root ?? (supervisor({}, []) as unknown as AnyDefinition), options)
  try {
    prepare(system)
  } catch (error) {
    await system.shutdown('it could not be prepared')
    throw error
  }
  await system.started
  return system
}

class SystemImpl implements InternalSystem {
  readonly name: string
  readonly platform: Platform
  readonly events: EventStream<SystemEvents>
  readonly coordinatedShutdown: CoordinatedShutdown
  readonly metrics: Metrics
  readonly kernel: Kernel
  readonly terminated: Promise<ShutdownReport>
  readonly started: Promise<void>
  readonly userCell: Cell
  readonly systemCell: Cell
  remoteRef: ((path: string, protocol: Protocol) => Ref) | undefined
  readonly #registry = createRegistry()
  readonly #incidents: IncidentLog
  readonly #rootCell: Cell
  readonly #held: Disposable[] = []
  readonly #guardians: Cell[] = []
  /** What `metrics` has been told so far, by name of the definition. */
  readonly #told = new Map<string, { readonly spawned: number; readonly messages: number }>()
  #terminate: (report: ShutdownReport) => void = ignore
  #startFailed: ((error: Error) => void) | undefined
  /** Why the tree did not come up. */
  #startError: Error | undefined
  #exitCode: number | undefined
  #signals = 0

  constructor(name: string, root: AnyDefinition, options: SystemOptions) {
    if (typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) {
      throw new TypeError(
        `Cannot create system "${String(name)}": its name must match [A-Za-z0-9._-]+, at most 63 characters`,
      )
    }
    checkSystemOptions(name, root, options)
    const platform = options.platform ?? nodePlatform()
    const production = platform.host.env['NODE_ENV'] === 'production'
    const stallMs = options.stallMs ?? (production ? Number.POSITIVE_INFINITY : systemDefaults.stallMs)
    this.name = name
    this.platform = platform
    this.metrics = options.metrics ?? noMetrics
    this.events = eventStream<SystemEvents>(platform.log)
    this.#incidents = new IncidentLog(platform.log, platform.clock, this.events, this.metrics)
    this.terminated = new Promise((resolve) => (this.#terminate = resolve))
    const store = options.store ?? memoryStore()
    this.kernel = new Kernel({
      name,
      platform,
      isolation: options.isolation ?? (production ? 'reference' : 'freeze'),
      guard: sharedGuard,
      hooks: this.#hooks(),
      services: new Map((options.services ?? []).map((binding) => [binding.name, binding.implementation])),
      store,
      askTimeoutMs: options.askTimeoutMs ?? systemDefaults.askTimeoutMs,
      stallMs: stallMs === Number.POSITIVE_INFINITY ? undefined : stallMs,
    })
    this.coordinatedShutdown = coordinatedShutdown({
      clock: platform.clock,
      log: platform.log,
      deadlineMs: options.shutdownMs ?? systemDefaults.shutdownMs,
      onPhase: (phase, reason) => this.events.emit('shutdown-phase', { phase, reason }),
      onEnded: (report) => this.#ended(report),
    })
    const { kernel } = this
    const forEver = childPolicy({ restart: 'temporary', onError: [[Error, 'escalate']] }, 'temporary')
    this.#rootCell = new Cell(kernel, kernel.kindOf(rootGuardian), null, '', forEver, undefined, true)
    this.#rootCell.begin()
    const family = this.#rootCell.makeFamily()
    this.systemCell = family.spawn('system', systemGuardian, undefined, forEver)
    this.userCell = new Cell(kernel, kernel.kindOf(root), this.#rootCell, 'user', forEver, undefined, false)
    family.adopt(this.userCell)
    this.started = this.#whenStarted()
    this.#addShutdownTasks(store, options.store === undefined)
    this.#held.push(platform.host.keepAlive())
    this.#held.push(platform.host.onUnhandled((error) => this.#takeBlame(error)))
    if (options.handleSignals !== false)
      this.#held.push(platform.host.onSignal((signal) => this.#signalled(signal)))
  }

  get registry(): Registry {
    return this.#registry
  }

  ref<M extends MessageDefs>(target: Protocol<M>, path: string): ActorRef<M> {
    return this.#refFor(path, target) as unknown as ActorRef<M>
  }

  lookup<M extends MessageDefs>(target: Protocol<M>, path: string): ActorRef<M> | undefined {
    const cell = this.resolve(path)
    return cell !== undefined && cell.kind.protocol.name === target.name
      ? (cell.ref as unknown as ActorRef<M>)
      : undefined
  }

  spawn<M extends MessageDefs, I>(
    name: string,
    definition: Definition<M, I>,
    ...rest: void extends I ? [options?: ChildOptions] : [input: I, options?: ChildOptions]
  ): ActorRef<M> {
    if (this.userCell.isEnding) {
      throw new ActorError(
        'RUNTIME_STOPPED',
        `Cannot spawn "${name}": system "${this.name}" is shutting down or has ended`,
      )
    }
    const { input, options } = spawnArguments(definition, rest)
    const cell = this.userCell.makeFamily().spawn(name, definition, input, childPolicy(options, 'transient'))
    return cell.ref as unknown as ActorRef<M>
  }

  stop(ref: AnyActorRef, mode: StopMode = 'stop'): Promise<void> {
    const cell = ref instanceof LocalRef ? ref.cell : this.resolve(ref.path)
    if (cell === undefined) return Promise.resolve()
    if (cell.kernel !== this.kernel || cell.parent === this.#rootCell || cell.parent === null) {
      const text = `Cannot stop ${ref.path} through system "${this.name}": it is ${cell.parent === null || cell.parent === this.#rootCell ? 'a guardian; use shutdown()' : 'of another system'}`
      return Promise.reject(new ActorError('RUNTIME_ILLEGAL_CALL', text))
    }
    const { kernel } = this
    return new Promise((resolve) => {
      kernel.waiters++
      cell.stop(mode, () => {
        kernel.waiters--
        resolve()
      })
    })
  }

  shutdown(reason = 'shutdown() was called'): Promise<ShutdownReport> {
    // For good: who awaits this inside of an actor hangs until the shutdown gives up on it, and is named by it.
    this.kernel.waiters++
    return this.coordinatedShutdown.run(reason)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown('the system was disposed of')
  }

  status(): SystemStatus {
    return {
      name: this.name,
      counters: { ...this.kernel.counters, messages: sumOfMessages(this.kernel) },
      tree: actorStatus(this.#rootCell),
    }
  }

  collectMetrics(): void {
    // Several definitions may go by one name: they are one series.
    const sums = new Map<string, { living: number; spawned: number; messages: number }>()
    for (const { counters, name } of this.kernel.kinds) {
      const sum = sums.get(name) ?? { living: 0, spawned: 0, messages: 0 }
      sum.living += counters.living
      sum.spawned += counters.spawned
      sum.messages += counters.messages
      sums.set(name, sum)
    }
    for (const [type, sum] of sums) {
      const told = this.#told.get(type) ?? { spawned: 0, messages: 0 }
      this.metrics.gauge('understudy_actors', { type }).set(sum.living)
      this.metrics.counter('understudy_spawned_total', { type }).add(sum.spawned - told.spawned)
      this.metrics.counter('understudy_messages_total', { type }).add(sum.messages - told.messages)
      this.#told.set(type, sum)
    }
  }

  deadLetters(): readonly DeadLetter[] {
    return this.#incidents.letters()
  }

  /** The cell at `path`, such as /user/orders/7. */
  resolve(path: string): Cell | undefined {
    let cell: Cell | undefined = this.#rootCell
    for (const name of path.split('/').slice(1)) {
      cell = cell?.family?.get(name)
      if (cell === undefined) return undefined
    }
    return cell === this.#rootCell ? undefined : cell
  }

  addGuardian(name: string, definition: AnyDefinition): Cell {
    const policy = childPolicy({ restart: 'temporary', onError: [[Error, 'escalate']] }, 'temporary')
    const cell = new Cell(
      this.kernel,
      this.kernel.kindOf(definition),
      this.#rootCell,
      name,
      policy,
      undefined,
      false,
    )
    this.#rootCell.makeFamily().adopt(cell)
    this.#guardians.push(cell)
    return cell
  }

  restartUser(): void {
    this.userCell.suspend(() => this.userCell.restart())
  }

  #refFor(path: string, target: Protocol): Ref {
    if (path.startsWith('/')) return new PathRef(this.kernel, path, target)
    if (this.remoteRef !== undefined) return this.remoteRef(path, target)
    throw new TypeError(`Cannot make a ref to "${path}": a path begins with "/", such as "/user/${path}"`)
  }

  #hooks(): ConstructorParameters<typeof Kernel>[0]['hooks'] {
    const incidents = this.#incidents
    const { events, platform } = this
    return {
      makeFamily: (cell) =>
        new Supervisor(cell, {
          restarting: (report) => incidents.restarting(report),
          gaveUp: (child, failure) => this.#gaveUp(child, failure),
        }),
      deadLetter: (envelope, reason, kind, path, protocolName) => {
        this.kernel.counters.deadLetters++
        incidents.deadLetter(envelope, reason, kind, path, protocolName)
      },
      rootFailed: (failure) => this.#rootFailed(failure),
      started: (cell) => {
        if (!events.wants('actor-started')) return
        const { path, uid, incarnation } = cell
        events.emit('actor-started', { path, definition: cell.kind.name, uid, incarnation })
      },
      ended: (cell, reason) => {
        this.#registry.ended(cell)
        if (!events.wants('actor-stopped')) return
        events.emit('actor-stopped', { path: cell.path, definition: cell.kind.name, uid: cell.uid, reason })
      },
      stalled: (cell, messageType, durationMs) => {
        const { path } = cell
        this.metrics.counter('understudy_handler_stalls_total', { type: cell.kind.name }).add()
        events.emit('handler-stalled', { path, definition: cell.kind.name, messageType, durationMs })
        platform.log.warn(
          { path, actor: cell.kind.name, type: messageType, durationMs: Math.round(durationMs) },
          `${path} kept the event loop for ${Math.round(durationMs)} ms while it handled "${messageType}"`,
        )
      },
      abandoned: (cell, messageType, ageMs, waitedFor) => {
        const { path } = cell
        events.emit('actor-abandoned', { path, waitedFor, ageMs })
        this.coordinatedShutdown.noteHung(`${path} (waited for ${waitedFor}, ${Math.round(ageMs)} ms)`)
        platform.log.error(
          { path, actor: cell.kind.name, type: messageType, ageMs: Math.round(ageMs) },
          `${path} did not end within its shutdownMs: it still waited for ${waitedFor}; it was abandoned and fenced`,
        )
      },
      mailboxGrew: (cell, depth) => {
        const { path } = cell
        platform.log.warn(
          { path, actor: cell.kind.name, depth },
          `${depth} messages wait in the mailbox of ${path}`,
        )
      },
      staleEffect: (path, kind, effect) => incidents.staleEffect(path, kind, effect),
      resolvePath: (path) => this.resolve(path),
      refFor: (path, target) => this.#refFor(path, target),
    }
  }

  /** Resolves when /user runs for the first time. */
  #whenStarted(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#startFailed = (error) => reject(error)
      this.userCell.makeRare().onRunning = () => {
        this.#startFailed = undefined
        resolve()
      }
    })
  }

  #gaveUp(cell: Cell, failure: Failure): void {
    const { path, kind } = cell
    this.events.emit('actor-failed', {
      path,
      definition: kind.name,
      error: failure.error,
      messageType: failure.messageType,
    })
    this.platform.log.error(
      { path, actor: kind.name, type: failure.messageType, err: failure.error },
      `${path} failed and is not started again: ${failure.error.message}`,
    )
  }

  /** Supervision has come to its end: the process is of no use any more. */
  #rootFailed(failure: Failure): void {
    const { log } = this.platform
    log.fatal(
      { err: failure.error, system: this.name },
      `system "${this.name}" failed: ${failure.error.message}`,
    )
    // While it starts, whoever called createSystem decides what becomes of the process.
    if (this.#startFailed === undefined) this.#exitCode ??= 1
    else this.#startError = failure.error
    void this.shutdown(`the root failed: ${failure.error.message}`)
  }

  #addShutdownTasks(store: Store, ownStore: boolean): void {
    const { coordinatedShutdown: shutdown } = this
    shutdown.add('stop-actors', 'actors', async () => {
      this.#incidents.quiet = true
      for (const cell of [this.userCell, ...this.#guardians]) {
        await new Promise<void>((resolve) => cell.stop('stop', resolve))
      }
      await new Promise<void>((resolve) => this.systemCell.stop('stop', resolve))
    })
    shutdown.add('flush', 'log', () => this.#incidents.close())
    shutdown.add('close', 'store', async () => {
      if (ownStore) await store.close()
    })
  }

  /** The last thing of all: nothing of this system holds the process any more. */
  #ended(report: ShutdownReport): void {
    for (const cell of [this.userCell, ...this.#guardians, this.systemCell]) {
      // The time for all is up before that of the one that hangs: it is named all the same.
      cell.rare?.ending?.expire()
      cell.kill('stopped')
    }
    this.#incidents.close()
    this.kernel.close()
    for (const held of this.#held.splice(0)) held[Symbol.dispose]()
    this.#terminate(report)
    this.#startFailed?.(this.#notStarted(report.reason))
    if (this.#exitCode === undefined) return
    const code = report.clean ? this.#exitCode : 1
    // Whoever waits for `terminated` still gets a word in.
    this.platform.scheduler.afterTurn(() => this.platform.host.exit(code))
  }

  #notStarted(reason: string): ActorError {
    const cause = this.#startError
    const text = `Cannot start system "${this.name}": ${cause?.message ?? `it was shut down before it was up (${reason})`}`
    return new ActorError('RUNTIME_START_FAILED', text, {}, cause)
  }

  /** The first asks for an orderly end, also when one is under way already; the second does not wait for it. */
  #signalled(signal: 'SIGINT' | 'SIGTERM'): void {
    if (++this.#signals > 1) {
      this.platform.host.exit(130)
      return
    }
    this.platform.log.info({ signal, system: this.name }, `${signal}: system "${this.name}" shuts down`)
    this.#exitCode ??= 0
    void this.shutdown(signal)
  }

  /** A rejected promise that nobody handled: when it was an ask of an actor, that actor crashes and not the process. */
  #takeBlame(error: unknown): boolean {
    const context = blamed(error)
    if (!(context instanceof ActorContextImpl) || context.cell.kernel !== this.kernel) return false
    this.platform.log.error(
      { path: context.cell.path, err: error },
      `${context.cell.path} left a failed ask unhandled: await it, or use ctx.request or ctx.run`,
    )
    // An incarnation that is gone is not avenged on the next one.
    if (context.live) context.cell.crash(toError(error))
    return true
  }
}

/** Counted per definition, so that the hot path touches one counter a turn. */
function sumOfMessages(kernel: Kernel): number {
  let sum = 0
  for (const { counters } of kernel.kinds) sum += counters.messages
  return sum
}

/** @throws {TypeError | RangeError} that names the option, what it is and what it must be */
function checkSystemOptions(name: string, root: unknown, options: SystemOptions): void {
  const cannot = `Cannot create system "${name}"`
  checkDefinition(`${cannot}: its root`, root)
  const { isolation } = options
  if (isolation !== undefined && !['reference', 'freeze', 'codec'].includes(isolation)) {
    throw new TypeError(
      `${cannot}: "isolation" must be "reference", "freeze" or "codec", got "${String(isolation)}"`,
    )
  }
  for (const field of ['askTimeoutMs', 'shutdownMs', 'stallMs'] as const) {
    const value = options[field]
    if (value !== undefined && !(typeof value === 'number' && value > 0)) {
      throw new RangeError(
        `${cannot}: "${field}" must be a number of milliseconds above 0, got ${String(value)}`,
      )
    }
  }
  const names = new Set<string>()
  for (const binding of options.services ?? []) {
    if (typeof binding !== 'object' || !('implementation' in binding)) {
      throw new TypeError(
        `${cannot}: "services" takes what Key.provide(implementation) returns, not the key itself`,
      )
    }
    if (names.has(binding.name)) throw new TypeError(`${cannot}: service "${binding.name}" is given twice`)
    names.add(binding.name)
  }
}

function actorStatus(cell: Cell): ActorStatus {
  return {
    path: cell.parent === null ? '/' : cell.path,
    definition: cell.kind.name,
    uid: cell.uid,
    incarnation: cell.incarnation,
    status: statusNames[cell.status],
    mailbox: cell.depth,
    handling: cell.current?.message.type,
    children: [...(cell.family?.cells() ?? [])].map(actorStatus),
  }
}

function ignore(): void {
  // Replaced in the constructor, before anybody can call it.
}
