/** One or three ZooKeeper processes on loopback, with their data under one directory. */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, realpathSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { LoadCluster } from '../harness/load-cluster.ts'
import { isPeerInstalled } from '../harness/peer-package.ts'
import { freePorts, killAll, startProgram } from '../harness/process-ends.ts'

const START_MS_MOST = 60_000

interface Seat {
  readonly id: number
  readonly directory: string
  readonly clientPort: number
  readonly quorumPort: number
  readonly electionPort: number
}

/** The version of the ZooKeeper that can be started, or why there is none. `ZOOKEEPER_JAR` names another jar. */
export function findZooKeeper(): { readonly version: string } | { readonly missing: string } {
  if (!isPeerInstalled('node-zookeeper-client'))
    return { missing: 'node-zookeeper-client is not installed (npm run bench:peers)' }
  if (!existsSync(jar()))
    return { missing: `"${jar()}" is not installed (apt-get install zookeeper, or set ZOOKEEPER_JAR)` }
  try {
    execFileSync('java', ['-version'], { stdio: 'ignore' })
  } catch {
    return { missing: '"java" is not installed (apt-get install default-jre-headless)' }
  }
  // Debian's jar without a version in its name lies beside one with it.
  const jars = [basename(realpathSync(jar())), ...readdirSync(dirname(jar()))]
  const versions = jars.map((name) => /^zookeeper-([0-9][0-9.]*[0-9])\.jar$/.exec(name)?.[1])
  return { version: versions.find((version) => version !== undefined) ?? 'of unknown version' }
}

/** Ticks, limits and memory as in ZooKeeper's own example and script; every transaction is flushed, as it does by default. */
export class ZooKeeperCluster implements LoadCluster {
  readonly #seats: readonly Seat[]
  readonly #children: readonly ChildProcess[]

  private constructor(seats: readonly Seat[], children: readonly ChildProcess[]) {
    this.#seats = seats
    this.#children = children
  }

  /** Resolves when all members serve. */
  static async start(directory: string, members: 1 | 3): Promise<ZooKeeperCluster> {
    const ports = await freePorts(3 * members)
    const seats = Array.from({ length: members }, (_, at) => ({
      id: at + 1,
      directory: join(directory, `zookeeper-${at + 1}`),
      clientPort: ports[3 * at] ?? 0,
      quorumPort: ports[3 * at + 1] ?? 0,
      electionPort: ports[3 * at + 2] ?? 0,
    }))
    const cluster = new ZooKeeperCluster(
      seats,
      seats.map((seat) => startMember(seat, seats)),
    )
    try {
      await cluster.targets()
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  /** Client ports, the leader's first. */
  async targets(): Promise<readonly string[]> {
    const endMs = performance.now() + START_MS_MOST
    for (;;) {
      const modes = await Promise.all(this.#seats.map(({ clientPort }) => modeOf(clientPort)))
      const leader = modes.findIndex((mode) => mode === 'leader' || mode === 'standalone')
      if (leader >= 0 && modes.every((mode) => mode !== undefined)) {
        const ports = this.#seats.map(({ clientPort }) => String(clientPort))
        return [...ports.slice(leader), ...ports.slice(0, leader)]
      }
      if (performance.now() > endMs) throw new Error(`ZooKeeper has no leader: ${JSON.stringify(modes)}`)
      await pause(100)
    }
  }

  pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid ?? 0)
  }

  stop(): Promise<void> {
    return killAll(this.#children)
  }
}

function jar(): string {
  return process.env['ZOOKEEPER_JAR'] ?? '/usr/share/java/zookeeper.jar'
}

function startMember(seat: Seat, seats: readonly Seat[]): ChildProcess {
  const { id, directory, clientPort } = seat
  mkdirSync(directory, { recursive: true })
  const lines = ['tickTime=2000', 'initLimit=10', 'syncLimit=5', `dataDir=${directory}`]
  // Its default of 60 connections from one address is fewer than the clients here.
  lines.push(`clientPort=${clientPort}`, 'clientPortAddress=127.0.0.1', 'maxClientCnxns=0')
  lines.push('admin.enableServer=false', '4lw.commands.whitelist=srvr')
  if (seats.length > 1)
    for (const other of seats)
      lines.push(`server.${other.id}=127.0.0.1:${other.quorumPort}:${other.electionPort}`)
  const config = join(directory, 'zoo.cfg')
  writeFileSync(config, `${lines.join('\n')}\n`)
  writeFileSync(join(directory, 'myid'), `${id}\n`)
  writeFileSync(join(directory, 'log4j.properties'), 'log4j.rootLogger=OFF\n')
  const classPath = `${directory}:${jar()}`
  const main = 'org.apache.zookeeper.server.quorum.QuorumPeerMain'
  return startProgram('java', ['-Xmx1000m', '-cp', classPath, main, config])
}

/** "leader", "follower" or "standalone", by the command `srvr`; `undefined` while it does not serve. */
async function modeOf(port: number): Promise<string | undefined> {
  const socket = connect({ host: '127.0.0.1', port })
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (part: string) => (text += part))
  try {
    await once(socket, 'connect')
    socket.write('srvr')
    await once(socket, 'close', { signal: AbortSignal.timeout(2_000) })
  } catch {
    return undefined
  } finally {
    socket.destroy()
  }
  return /^Mode: (.*)$/m.exec(text)?.[1]
}
