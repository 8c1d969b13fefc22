/** One Redis process on loopback. */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { LoadCluster } from '../harness/load-cluster.ts'
import { isPeerInstalled } from '../harness/peer-package.ts'
import { freePorts, killAll, startProgram } from '../harness/process-ends.ts'

const START_MS_MOST = 10_000

/** The version of the Redis that can be started, or why there is none. `REDIS_BIN` names another program. */
export function findRedis(): { readonly version: string } | { readonly missing: string } {
  if (!isPeerInstalled('ioredis')) return { missing: 'ioredis is not installed (npm run bench:peers)' }
  try {
    const line = execFileSync(binary(), ['--version'], { encoding: 'utf8' })
    return { version: /v=([^ ]+)/.exec(line)?.[1] ?? line.trim() }
  } catch {
    return { missing: `"${binary()}" is not installed (apt-get install redis-server, or set REDIS_BIN)` }
  }
}

/** Everything as by default but for durability: either nothing is written, or every command is flushed before its answer. */
export class RedisServer implements LoadCluster {
  readonly #child: ChildProcess
  readonly #port: number

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.#port = port
  }

  /** Resolves when it takes connections. */
  static async start(directory: string, isDurable: boolean): Promise<RedisServer> {
    mkdirSync(directory, { recursive: true })
    const [port = 0] = await freePorts(1)
    const args = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory, '--save', '']
    args.push('--appendonly', isDurable ? 'yes' : 'no', '--appendfsync', 'always')
    const server = new RedisServer(startProgram(binary(), args), port)
    const endMs = performance.now() + START_MS_MOST
    while (!(await isListening(port))) {
      if (performance.now() > endMs) {
        await server.stop()
        throw new Error(`Redis in ${directory} did not start`)
      }
      await pause(20)
    }
    return server
  }

  async targets(): Promise<readonly string[]> {
    return [String(this.#port)]
  }

  pids(): readonly number[] {
    return [this.#child.pid ?? 0]
  }

  stop(): Promise<void> {
    return killAll([this.#child])
  }
}

function binary(): string {
  return process.env['REDIS_BIN'] ?? 'redis-server'
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
