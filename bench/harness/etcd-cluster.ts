/** Three etcd processes on loopback, with their data under one directory. */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { FailoverCluster } from './load-cluster.ts'
import { ended, freePorts, killAll, startProgram } from './process-ends.ts'

const MEMBERS = 3
/** The keys of a long run take more than etcd's default of 2 GiB. */
const QUOTA_BYTES = 8 * 1_073_741_824
const START_MS_MOST = 20_000

interface Member {
  readonly name: string
  readonly clientPort: number
  readonly peerPort: number
  child: ChildProcess
}

/** The version of the etcd that can be started, or why there is none. `ETCD_BIN` names another program than "etcd". */
export function findEtcd(): { readonly version: string } | { readonly missing: string } {
  try {
    const [line = ''] = execFileSync(binary(), ['--version'], { encoding: 'utf8' }).split('\n')
    return { version: line.replace('etcd Version: ', '') }
  } catch {
    return {
      missing: `"${binary()}" is not installed (apt-get install etcd-server etcd-client, or set ETCD_BIN)`,
    }
  }
}

/** Heartbeats, elections and snapshots as etcd has them by default. */
export class EtcdCluster implements FailoverCluster {
  readonly #directory: string
  readonly #members: Member[] = []

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** Resolves when it has a leader. */
  static async start(directory: string): Promise<EtcdCluster> {
    mkdirSync(directory, { recursive: true })
    const cluster = new EtcdCluster(directory)
    const ports = await freePorts(2 * MEMBERS)
    const seats = Array.from({ length: MEMBERS }, (_, at) => ({
      name: `etcd-${at}`,
      clientPort: ports[2 * at] ?? 0,
      peerPort: ports[2 * at + 1] ?? 0,
    }))
    const peers = seats.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join(',')
    for (const seat of seats) cluster.#members.push({ ...seat, child: startMember(directory, seat, peers) })
    await cluster.targets()
    return cluster
  }

  /** Client ports, the leader's first. Resolves once there is one, and all members run. */
  async targets(): Promise<readonly string[]> {
    const endMs = performance.now() + START_MS_MOST
    for (;;) {
      const statuses = await Promise.all(this.#members.map(({ clientPort }) => statusOf(clientPort)))
      const leader = statuses.findIndex(
        (status) => status?.leader !== undefined && status.leader === status.self,
      )
      if (leader >= 0 && statuses.every((status) => status?.leader === statuses[leader]?.self)) {
        const ports = this.#members.map(({ clientPort }) => String(clientPort))
        return [...ports.slice(leader), ...ports.slice(0, leader)]
      }
      if (performance.now() > endMs) throw new Error(`etcd in ${this.#directory} has no leader`)
      await pause(50)
    }
  }

  pids(): readonly number[] {
    return this.#members.map(({ child }) => child.pid ?? 0)
  }

  pidOf(target: string): number {
    return this.#memberOf(target).child.pid ?? 0
  }

  /** Starts the killed member again, on the data it had. */
  async restart(target: string): Promise<void> {
    const member = this.#memberOf(target)
    await ended(member.child)
    member.child = startMember(this.#directory, member, undefined)
    await this.targets()
  }

  async stop(): Promise<void> {
    await killAll(this.#members.map(({ child }) => child))
  }

  #memberOf(target: string): Member {
    const found = this.#members.find(({ clientPort }) => String(clientPort) === target)
    if (found === undefined) throw new RangeError(`No member of etcd has the client port ${target}`)
    return found
  }
}

function binary(): string {
  return process.env['ETCD_BIN'] ?? 'etcd'
}

function startMember(
  directory: string,
  { name, clientPort, peerPort }: Omit<Member, 'child'>,
  peers: string | undefined,
): ChildProcess {
  const client = `http://127.0.0.1:${clientPort}`
  const peer = `http://127.0.0.1:${peerPort}`
  const args = ['--name', name, '--data-dir', join(directory, name), '--log-level', 'fatal']
  args.push('--listen-client-urls', client, '--advertise-client-urls', client)
  args.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer)
  args.push('--quota-backend-bytes', String(QUOTA_BYTES))
  if (peers !== undefined) args.push('--initial-cluster', peers)
  return startProgram(binary(), args)
}

interface MemberStatus {
  readonly self: string
  readonly leader: string | undefined
}

/** Through etcd's JSON gateway: nothing that is measured goes this way. */
async function statusOf(port: number): Promise<MemberStatus | undefined> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v3/maintenance/status`, {
      method: 'POST',
      body: '{}',
    })
    const status = (await answer.json()) as { header: { member_id: string }; leader?: string }
    return { self: status.header.member_id, leader: status.leader }
  } catch {
    return undefined
  }
}
