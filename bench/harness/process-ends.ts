/** What starting programs of others needs: free ports before, and their end after. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'

const started = new Set<ChildProcess>()

/** Starts a program without input and output. It does not outlive a run that a signal ends: see `inScratchDirectory`. */
export function startProgram(program: string, args: readonly string[]): ChildProcess {
  const child = spawn(program, args, { stdio: 'ignore' })
  started.add(child)
  child.on('exit', () => started.delete(child))
  return child
}

/**
 * Does the work with a new directory for its data, below `parent`, and removes it in the end: also when SIGINT or SIGTERM ends
 * this process, and with it all programs that were started.
 */
export async function inScratchDirectory<Result>(
  parent: string,
  prefix: string,
  work: (directory: string) => Promise<Result>,
): Promise<Result> {
  const directory = await mkdtemp(join(parent, prefix))
  const giveUp = (): never => {
    for (const child of started) child.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
    process.exit(1)
  }
  process.once('SIGINT', giveUp)
  process.once('SIGTERM', giveUp)
  try {
    return await work(directory)
  } finally {
    process.off('SIGINT', giveUp)
    process.off('SIGTERM', giveUp)
    await rm(directory, { recursive: true, force: true })
  }
}

/** Resolves when the process has ended, at once when it had. */
export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** Kills them all with SIGKILL and resolves when they have ended. */
export async function killAll(children: readonly ChildProcess[]): Promise<void> {
  for (const child of children) child.kill('SIGKILL')
  await Promise.all(children.map(ended))
}

/** Ports of the loopback address, free at this moment, all different. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}
