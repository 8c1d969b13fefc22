/** What tests of the runtime share: a scripted actor, a system that must end clean, and a few things to wait for. */
import {
  actor,
  ask,
  isActorError,
  protocol,
  tell,
  type ActorContext,
  type ActorOptions,
  type ActorRef,
  type AnyDefinition,
  type ActorStatus,
  type Definition,
  type SystemEvents,
} from '@understudy/runtime'
import { testSystem, type TestSystem, type TestSystemOptions } from '@understudy/runtime/testkit'
import type { Test } from 'tap'
import Type from 'typebox'

/** Every message names the step of the script that it plays. */
export const Puppet = protocol('puppet', {
  do: tell({ step: Type.String() }),
  ask: ask({ step: Type.String() }, Type.Unknown()),
  /** Declared concurrent: runs beside a handler that awaits. */
  beside: ask({ step: Type.String() }, Type.Unknown()),
})

const own = { self: tell({ step: Type.String() }) }

export type PuppetRef = ActorRef<typeof Puppet.messages>
export type PuppetContext = ActorContext<typeof Puppet.messages, typeof own>
/** What a puppet does, by the name of the step. */
export type Script = Readonly<Record<string, (ctx: PuppetContext) => unknown>>

export interface PuppetOptions extends Omit<ActorOptions<typeof own>, 'own' | 'concurrent'> {
  readonly setup?: ((ctx: PuppetContext) => void | Promise<void>) | undefined
}

/** An actor that plays `script`. What a step returns, or comes to, is the answer of an ask (`null` for nothing). */
export function puppet(
  script: Script,
  options: PuppetOptions = {},
): Definition<typeof Puppet.messages, void> {
  const { setup, ...rest } = options
  return actor(Puppet, { ...rest, own, concurrent: ['beside'] }, (ctx) => {
    const play = ({ step }: { readonly step: string }): unknown => {
      const run = script[step]
      if (run === undefined) throw new Error(`the script has no step "${step}"`)
      const result = run(ctx)
      return result instanceof Promise ? result.then((value: unknown) => value ?? null) : (result ?? null)
    }
    const handlers = {
      do: (message: { readonly step: string }) => play(message) as void,
      ask: play,
      beside: play,
      self: (message: { readonly step: string }) => play(message) as void,
    }
    const ready = setup?.(ctx)
    return ready instanceof Promise ? ready.then(() => handlers) : handlers
  })
}

/**
 * Runs `play` on a system and shuts it down. Whatever happened in between: nothing may be left then, no timer, no hold
 * on the process, no actor that has not come to its end.
 */
export async function onStage(
  t: Test,
  root: AnyDefinition | undefined,
  play: (system: TestSystem) => Promise<void>,
  options: TestSystemOptions = {},
): Promise<void> {
  const system = await testSystem(root, options)
  const { platform } = system
  try {
    await play(system)
  } finally {
    await system[Symbol.asyncDispose]()
    await platform.settle()
    const { spawned, ended } = system.status().counters
    t.equal(spawned - ended, 0, 'every actor has come to its end')
    t.equal(platform.pendingTimers(), 0, 'no timer is left')
    t.equal(platform.holds(), 0, 'nothing holds the process')
  }
}

/** A promise that is settled from outside. */
export interface Gate<T = void> {
  readonly passed: Promise<T>
  readonly open: (value: T) => void
  readonly fail: (error: unknown) => void
}

export function gate<T = void>(): Gate<T> {
  let open: (value: T) => void = () => undefined
  let fail: (error: unknown) => void = () => undefined
  const passed = new Promise<T>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  return { passed, open, fail }
}

/** How a promise stands, without waiting for it: its value, its error, or that it is still open. */
export interface Watched<T> {
  state: 'open' | 'resolved' | 'rejected'
  value?: T
  error?: unknown
}

export function watched<T>(promise: Promise<T>): Watched<T> {
  const record: Watched<T> = { state: 'open' }
  promise.then(
    (value) => {
      record.state = 'resolved'
      record.value = value
    },
    (error: unknown) => {
      record.state = 'rejected'
      record.error = error
    },
  )
  return record
}

/** The code of the error that `promise` rejects with; what it resolved to, if it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    return `resolved: ${JSON.stringify(await promise)}`
  } catch (error) {
    return isActorError(error) ? error.code : `not one of ours: ${String(error)}`
  }
}

/** The code that a watched promise was rejected with. */
export function watchedCode(record: Watched<unknown>): string {
  if (record.state !== 'rejected') return record.state
  return isActorError(record.error) ? record.error.code : `not one of ours: ${String(record.error)}`
}

/** Everything of one kind that happens from now on. */
export function heard<K extends keyof SystemEvents>(system: TestSystem, name: K): readonly SystemEvents[K][] {
  const events: SystemEvents[K][] = []
  system.events.on(name, (event) => void events.push(event))
  return events
}

/** Every living actor of /user and below, as `path status#incarnation`, in tree order. */
export function living(system: TestSystem): readonly string[] {
  const lines: string[] = []
  const visit = ({ children, incarnation, path, status }: ActorStatus): void => {
    if (path !== '/user') lines.push(`${path} ${status}#${incarnation}`)
    children.forEach(visit)
  }
  system
    .status()
    .tree.children.filter(({ path }) => path === '/user')
    .forEach(visit)
  return lines
}

/** Texts of what was logged at `level`. */
export function logged(system: TestSystem, level: 'debug' | 'warn' | 'error' | 'fatal'): readonly string[] {
  return system.platform.logged.filter((line) => line.level === level).map((line) => line.message)
}
