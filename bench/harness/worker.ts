/**
 * The main module of a system's process: loads the one system named by its argument, says which workloads
 * it has, and runs them one at a time on command. It lives for a whole benchmark run, so that every workload
 * is measured with the call sites that all the others have already made megamorphic.
 *
 * Argument: the URL of the system's module. Speaks `WorkerReport` over IPC and hears `WorkerCommand`.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Sample } from './sample.ts'
import { WORKLOAD_NAMES, type System, type WorkloadName } from './workload.ts'

/** From the harness to a system's process. */
export type WorkerCommand =
  | { readonly type: 'run'; readonly workload: WorkloadName; readonly operations: number }
  | { readonly type: 'exit' }

/** From a system's process to the harness. Exactly one `sample` or `failed` answers each `run`. */
export type WorkerReport =
  | { readonly type: 'ready'; readonly workloads: readonly WorkloadName[] }
  | { readonly type: 'sample'; readonly sample: Sample }
  | { readonly type: 'failed'; readonly reason: string }
  | { readonly type: 'unloadable'; readonly reason: string }

/**
 * Lets what a run left on the event loop go by before the next is measured. The heap is *not* collected: that
 * shrinks the young generation and drops feedback, and halves what some workloads reach.
 */
const SETTLE_MS = 2

if (process.send !== undefined) await serve(process.argv[2] ?? '')

async function serve(moduleUrl: string): Promise<void> {
  let system: System
  try {
    system = await loadSystem(moduleUrl)
  } catch (error) {
    report({ type: 'unloadable', reason: describe(error) })
    return
  }
  process.on('disconnect', () => process.exit(0))
  process.on('message', (command: WorkerCommand) => {
    if (command.type === 'exit') void exit(system)
    else void run(system, command.workload, command.operations)
  })
  report({ type: 'ready', workloads: WORKLOAD_NAMES.filter((name) => system.workloads[name] !== undefined) })
}

async function run(system: System, workload: WorkloadName, operations: number): Promise<void> {
  try {
    const body = system.workloads[workload]
    if (body === undefined) throw new Error(`system "${system.name}" has no workload "${workload}"`)
    await delay(SETTLE_MS)
    report({ type: 'sample', sample: await body(operations) })
  } catch (error) {
    report({ type: 'failed', reason: describe(error) })
  }
}

async function exit(system: System): Promise<void> {
  try {
    await system.close?.()
  } finally {
    process.exit(0)
  }
}

async function loadSystem(moduleUrl: string): Promise<System> {
  const module: unknown = await import(moduleUrl)
  if (isSystemModule(module)) return module.system
  throw new TypeError(
    `module "${moduleUrl}" is not a system: it has to export "system" with name and workloads`,
  )
}

function isSystemModule(module: unknown): module is { readonly system: System } {
  if (typeof module !== 'object' || module === null || !('system' in module)) return false
  const { system } = module
  return typeof system === 'object' && system !== null && 'name' in system && 'workloads' in system
}

function report(message: WorkerReport): void {
  process.send?.(message)
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
