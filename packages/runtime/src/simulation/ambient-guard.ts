/**
 * Catches what simulated code takes from the machine behind the simulator's back: real time, chance, timers, IO. Such
 * calls throw when somebody who runs in the simulation makes them, and pass for everybody else in the thread: the test
 * runner, the log, the progress bar.
 *
 * The only file of the simulator that touches the globals: it stands in front of them.
 */
import { AsyncResource, createHook } from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'
import { promiseHooks } from 'node:v8'
import { ambientCalls, innocentResources, type AmbientCalls, type AmbientRule } from './ambient-calls.ts'
import { NondeterminismError } from './nondeterminism-error.ts'
import { PropertyPatches, type Admission, type Callable } from './property-patch.ts'

/** Whose code runs. One object per actor, kept: identity counts, and `name` is read only for a message. */
export interface Guarded {
  /** Such as `/user/orders/7 on "a"`, or `the scenario`. */
  readonly name: string
  /** May read files and use the network; time, chance and timers stay forbidden. @default false */
  readonly allowIo?: boolean | undefined
}

/** Violations that are remembered; the rest of a broken run is of no interest. */
const leaksMax = 100

/** Node's own code that looks up the lines of an error: for people, not for the program. */
const innocentCaller = /\bnode:(?:assert|internal\/(?:assert|errors|source_map))\b/

/**
 * Who runs now. A plain variable, as everything that follows from a step without a new one is a promise's reaction:
 * promise hooks carry it there. `AsyncLocalStorage` does the same, for ten times the price on some versions of Node.
 */
let current: Guarded | undefined
let leaks: NondeterminismError[] = []
let installs = 0

/** On each promise that guarded code makes. */
const whose = Symbol('understudy.guarded')
type Marked = { [whose]?: Guarded | undefined }

const promises = {
  init(promise: Promise<unknown>): void {
    if (current !== undefined) (promise as Marked)[whose] = current
  },
  before(promise: Promise<unknown>): void {
    current = (promise as Marked)[whose]
  },
  after(): void {
    current = undefined
  },
}
let stopPromises: (() => void) | undefined

// Promises are followed above. Versions of Node that can leave them out do; to the others the word means nothing.
const hookOptions = {
  init(_id: number, type: string, _trigger: number, resource: object): void {
    if (current === undefined || current.allowIo === true || innocentResources.has(type)) return
    // Made by hand, to carry a context: nothing happens by itself.
    if (resource instanceof AsyncResource) return
    const who = current
    // Throwing in a hook would end the process.
    nobody(() => remember(resourceError(who, type)))
  },
  trackPromises: false,
}
const resources = createHook(hookOptions)

const patches = new PropertyPatches<AmbientRule>({
  // Who kept a gated function meets the gate for ever: it is open when nobody holds the guard.
  isWatching: () => current !== undefined && installs > 0,
  asNobody: nobody,
  admit,
})

/** One user's hold on the guard. All share one set of patches, one `current` and one list of leaks. */
export class AmbientGuard implements Disposable {
  #isInstalled = true

  private constructor() {
    installs++
  }

  /**
   * Puts the patches in place, unless they are. The first install of a process loads Node's builtin modules (about
   * 50 ms); the others take about a millisecond, and nested ones nothing.
   */
  static install(): AmbientGuard {
    if (installs === 0) putUp()
    return new AmbientGuard()
  }

  /**
   * Runs `act` as `who`: what it calls, and what goes on later in its promises' reactions and after its awaits. Costs
   * a few nanoseconds; allocates nothing. Within another `run` the inner one counts.
   */
  run<T>(who: Guarded, act: () => T): T {
    const outer = current
    current = who
    try {
      return act()
    } finally {
      current = outer
    }
  }

  /** Runs `act`, and what goes on in its promises, as nobody: the simulator's own work, writers of logs. */
  outside<T>(act: () => T): T {
    return nobody(act)
  }

  /** Whose code runs now. */
  current(): Guarded | undefined {
    return current
  }

  /** There is something to take. Cheap: looked at after each step. */
  get hasLeaks(): boolean {
    return leaks.length > 0
  }

  /**
   * Violations since the last take, the first one first, and forgets them. Calls that threw are among them, as the
   * caller may have swallowed the error; so are async resources that no patch caught. At most 100.
   */
  takeLeaks(): readonly NondeterminismError[] {
    const taken = leaks
    leaks = []
    return taken
  }

  /** The last one takes everything down, and forgets the leaks. Harmless twice. */
  [Symbol.dispose](): void {
    if (!this.#isInstalled) return
    this.#isInstalled = false
    if (--installs === 0) takeDown()
  }
}

function nobody<T>(act: () => T): T {
  const outer = current
  current = undefined
  try {
    return act()
  } finally {
    current = outer
  }
}

function putUp(): void {
  for (const calls of ambientCalls) gateCalls(calls)
  syncBuiltinESMExports()
  stopPromises = promiseHooks.createHook(promises) as () => void
  resources.enable()
}

function takeDown(): void {
  resources.disable()
  stopPromises?.()
  stopPromises = undefined
  patches.removeAll()
  syncBuiltinESMExports()
  leaks = []
}

function gateCalls({ place, prefix, names, isValue, rule }: AmbientCalls): void {
  const holder = objectAt(place)
  if (holder === undefined) return
  const before = prefix ?? (place === '' ? '' : `${place.replace(/^node:/, '')}.`)
  for (const name of names === 'functions' ? functionsOf(holder) : names) {
    if (isValue === true) patches.addValue(holder, name, before + name, rule)
    else patches.addCall(holder, name, callText(before, name), rule)
  }
}

function callText(before: string, name: string): string {
  return name === 'constructor' ? 'Date()' : `${before}${name}()`
}

/** The object at a path from the global object (`Date.prototype`), or in a builtin module (`node:timers/promises#scheduler`). */
function objectAt(place: string): object | undefined {
  const [module = '', inside = ''] = place.split('#')
  const isBuiltin = module.startsWith('node:')
  const root: unknown = isBuiltin ? process.getBuiltinModule(module) : globalThis
  let at: unknown = root
  for (const name of (isBuiltin ? inside : place).split('.')) {
    if (name !== '' && at !== undefined && at !== null) at = look(at, name)
  }
  return isObject(at) ? at : undefined
}

/** Reads a property, and leaves it as it was: some of Node's replace themselves when they are read. */
function look(holder: object, name: string): unknown {
  const before = Reflect.getOwnPropertyDescriptor(holder, name)
  const value: unknown = Reflect.get(holder, name)
  if (before?.get !== undefined) Reflect.defineProperty(holder, name, before)
  return value
}

function functionsOf(holder: object): readonly string[] {
  return Object.getOwnPropertyNames(holder).filter((name) => {
    const value: unknown = Reflect.getOwnPropertyDescriptor(holder, name)?.value
    return typeof value === 'function' && name !== 'constructor' && /^[a-z]/.test(name)
  })
}

function isObject(value: unknown): value is object {
  return typeof value === 'function' || (typeof value === 'object' && value !== null)
}

function admit(
  call: string,
  rule: AmbientRule,
  args: readonly unknown[],
  isNew: boolean,
  entry: Callable,
): Admission {
  const who = current
  if (who === undefined || rule.concerns?.(args, isNew) === false) return 'pass'
  if (rule.isHarmless === true || (rule.isIo === true && who.allowIo === true)) return 'as-nobody'
  const error = nobody(() => {
    if (innocentCaller.test(callerOf(entry))) return undefined
    const made = NondeterminismError.forCall(who.name, call, rule.instead)
    Error.captureStackTrace(made, entry)
    remember(made)
    return made
  })
  if (error === undefined) return 'as-nobody'
  throw error
}

/** The script that called `entry`. */
function callerOf(entry: Callable): string {
  const { prepareStackTrace, stackTraceLimit } = Error
  try {
    Error.stackTraceLimit = 1
    Error.prepareStackTrace = (_error, frames) => String(frames[0]?.getFileName())
    const holder: { readonly stack?: unknown } = {}
    Error.captureStackTrace(holder, entry)
    return String(holder.stack)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    if (prepareStackTrace === undefined) Reflect.deleteProperty(Error, 'prepareStackTrace')
    else Error.prepareStackTrace = prepareStackTrace
  }
}

function resourceError(who: Guarded, type: string): NondeterminismError {
  const call = `an async resource of type ${type}`
  return new NondeterminismError(
    who.name,
    call,
    `${who.name} made ${call}: it waits for something from outside of the simulation. Use a service (ctx.service)`,
  )
}

function remember(error: NondeterminismError): void {
  if (leaks.length < leaksMax) leaks.push(error)
}
