/**
 * Hosts on a network of their own, inside this machine: network namespaces, tied together by a bridge in one more. Nothing
 * of it is seen outside of these namespaces, and nothing can leave them; with the last of them all of it is gone.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { RelayOptions, RelayOrder } from '../fixtures/packet-relay.ts'

const relayFixture = fileURLToPath(new URL('../fixtures/packet-relay.js', import.meta.url))
const relayAddress = '10.76.0.2'
const hubAddress = '10.76.0.1'
const vxlanPort = 4789

/** How a network hurts. */
export interface Impairment {
  readonly lossPercent: number
  /** Each way, with so much more or less by chance. */
  readonly delayMs?: number | undefined
  readonly jitterMs?: number | undefined
}

/**
 * What there is to hurt with: `netem` of the kernel; a relay of our own, through which every packet goes; only loss, by a
 * random filter of the kernel; or neither loss nor delay.
 */
export type Tool = 'netem' | 'relay' | 'filter' | 'none'

export interface HostNetworkOptions {
  /** Loss alone is not enough. Where the kernel has no netem all packets go through a process: that costs time. */
  readonly delays?: boolean | undefined
}

let nextNetwork = 1

/** Why there can be no `HostNetwork` here; `undefined`: there can. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces are there on Linux only'
  if (process.getuid?.() !== 0) return 'only root may make network namespaces'
  for (const tool of ['ip', 'tc']) {
    const { error } = spawnSync(tool, ['-V'])
    if (error !== undefined) return `there is no "${tool}" here (iproute2)`
  }
  const name = `us-${process.pid}-probe`
  const problems = [
    run('ip', ['netns', 'add', name]),
    run('ip', ['-n', name, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1']),
    run('ip', ['-n', name, 'link', 'add', 'bridge', 'type', 'bridge']),
  ].filter((problem) => problem !== undefined)
  run('ip', ['netns', 'del', name])
  return problems.length === 0 ? undefined : `this machine makes no namespaces: ${problems.join('; ')}`
}

export class HostNetwork {
  readonly tool: Tool
  readonly #prefix = `us-${process.pid}-${nextNetwork++}`
  readonly #hosts: readonly string[]
  readonly #made: string[] = []
  readonly #remove = (): void => {
    for (const name of this.#made.splice(0)) run('ip', ['netns', 'del', name])
  }
  readonly #relay: ChildProcess | undefined
  readonly #ready: Promise<unknown> | undefined

  /** Host names are short: they are parts of the names of devices. */
  constructor(t: Test, hosts: readonly string[], { delays = false }: HostNetworkOptions = {}) {
    this.#hosts = hosts
    // Also when this process ends before the test does.
    process.on('exit', this.#remove)
    t.teardown(() => {
      this.#remove()
      process.off('exit', this.#remove)
    })
    const hub = this.#add('hub')
    for (const host of hosts) this.#add(host)
    const hasNetem = this.#hasNetem()
    if (delays && !hasNetem && this.#hasVxlan()) {
      this.tool = 'relay'
      this.#wireByRelay(hub)
      this.#relay = this.#startRelay(t)
      this.#ready = once(this.#relay, 'message')
      this.#ready.catch(() => undefined)
    } else {
      this.#wireByBridge(hub)
      this.tool = hasNetem ? 'netem' : this.#hasFilter() ? 'filter' : 'none'
    }
    for (const host of hosts) {
      const name = this.#namespace(host)
      must('ip', ['-n', name, 'addr', 'add', `${this.address(host)}/24`, 'dev', 'eth0'])
      must('ip', ['-n', name, 'link', 'set', 'eth0', 'up'])
      must('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
    }
  }

  /** Resolves when packets come through. */
  async ready(): Promise<void> {
    await this.#ready
  }

  address(host: string): string {
    return `10.77.0.${this.#numberOf(host)}`
  }

  /** Runs a program on that host, as the head of a command line. */
  command(host: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace(host)]
  }

  /** Takes the cable of a host out, or puts it in again. */
  setCable(host: string, state: 'up' | 'down'): void {
    must('ip', ['-n', this.#namespace(host), 'link', 'set', 'eth0', state])
  }

  /** What `from` sends to `to` is lost from now on, or comes through again. The other way is another way. */
  setWay(from: string, to: readonly string[], state: 'cut' | 'open'): void {
    // Sent to a device that nobody has: whoever sends sees nothing of it, as with any loss.
    const change = state === 'cut' ? 'replace' : 'del'
    const device = state === 'cut' ? 'lladdr 02:00:00:00:00:99 nud permanent dev eth0' : 'dev eth0'
    const lines = to.map((host) => `neigh ${change} ${this.address(host)} ${device}`)
    // By force: a neighbour that has been forgotten by itself needs no forgetting.
    const args = ['-force', '-n', this.#namespace(from), '-batch', '-']
    const { status, stderr, error } = spawnSync('ip', args, { input: lines.join('\n'), encoding: 'utf8' })
    if (state === 'cut' && status !== 0) {
      throw new Error(`Cannot cut the way from "${from}" to ${to.join(', ')}: ${error?.message ?? stderr}`)
    }
  }

  /** What the host sends and what it is sent suffers, each as much; `undefined`: no more. */
  impair(host: string, impairment: Impairment | undefined): void {
    if (this.#relay !== undefined) {
      const order: RelayOrder = { host: this.#numberOf(host), impairment: impairment ?? null }
      this.#relay.send(order)
      return
    }
    const devices = [
      [this.#namespace(host), 'eth0'],
      [this.#namespace('hub'), `v-${host}`],
    ] as const
    for (const [namespace, device] of devices) {
      const tc = ['netns', 'exec', namespace, 'tc']
      const parent = this.tool === 'netem' ? 'root' : 'clsact'
      run('ip', [...tc, 'qdisc', 'del', 'dev', device, parent])
      if (impairment === undefined) continue
      const { lossPercent, delayMs = 0, jitterMs = 0 } = impairment
      if (this.tool === 'netem') {
        const delay = delayMs === 0 ? [] : ['delay', `${delayMs}ms`, `${jitterMs}ms`]
        must('ip', [
          ...tc,
          'qdisc',
          'add',
          'dev',
          device,
          'root',
          'netem',
          ...delay,
          'loss',
          `${lossPercent}%`,
        ])
      } else {
        must('ip', [...tc, 'qdisc', 'add', 'dev', device, 'clsact'])
        must('ip', [...tc, ...dropping(device, lossPercent)])
      }
    }
  }

  #add(host: string): string {
    const name = this.#namespace(host)
    must('ip', ['netns', 'add', name])
    this.#made.push(name)
    return name
  }

  #namespace(host: string): string {
    return `${this.#prefix}-${host}`
  }

  /** From 1. */
  #numberOf(host: string): number {
    return this.#hosts.indexOf(host) + 1
  }

  #wireByBridge(hub: string): void {
    must('ip', ['-n', hub, 'link', 'add', 'bridge', 'type', 'bridge'])
    must('ip', ['-n', hub, 'link', 'set', 'bridge', 'up'])
    for (const host of this.#hosts) {
      const port = `v-${host}`
      const ends = [
        'eth0',
        'netns',
        this.#namespace(host),
        'type',
        'veth',
        'peer',
        'name',
        port,
        'netns',
        hub,
      ]
      must('ip', ['link', 'add', ...ends])
      must('ip', ['-n', hub, 'link', 'set', port, 'master', 'bridge'])
      must('ip', ['-n', hub, 'link', 'set', port, 'up'])
    }
  }

  /** What a host sends leaves the hub as a datagram, for the relay: on a host of its own, for nothing passes it by. */
  #wireByRelay(hub: string): void {
    const relay = this.#add('relay')
    must('ip', ['-n', hub, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', relay])
    for (const [namespace, address] of [
      [hub, hubAddress],
      [relay, relayAddress],
    ] as const) {
      must('ip', ['-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0'])
      must('ip', ['-n', namespace, 'link', 'set', 'eth0', 'up'])
    }
    for (const host of this.#hosts) {
      const number = this.#numberOf(host)
      const device = ['eth0', 'netns', this.#namespace(host), 'address', `02:00:00:00:00:0${number}`]
      must('ip', ['-n', hub, 'link', 'add', ...device, ...vxlan(number)])
    }
  }

  #startRelay(t: Test): ChildProcess {
    const options: RelayOptions = {
      address: relayAddress,
      hub: hubAddress,
      port: vxlanPort,
      hosts: this.#hosts.length,
    }
    const [program, ...args] = this.command('relay')
    const relay = spawn(
      program as string,
      [...args, process.execPath, relayFixture, JSON.stringify(options)],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    )
    const ended = once(relay, 'exit')
    t.teardown(async () => {
      relay.kill('SIGKILL')
      await ended
    })
    return relay
  }

  #hasNetem(): boolean {
    const tc = ['netns', 'exec', this.#namespace('hub'), 'tc']
    return run('ip', [...tc, 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms']) === undefined
  }

  #hasVxlan(): boolean {
    const hub = this.#namespace('hub')
    const problem = run('ip', ['-n', hub, 'link', 'add', 'probe', ...vxlan(1)])
    run('ip', ['-n', hub, 'link', 'del', 'probe'])
    return problem === undefined
  }

  #hasFilter(): boolean {
    const hub = this.#namespace('hub')
    const tc = ['netns', 'exec', hub, 'tc']
    // A device that is down swallows what is sent to it.
    const problems = [hub, ...this.#hosts.map((host) => this.#namespace(host))].map(
      (name) =>
        run('ip', ['-n', name, 'link', 'add', 'sink', 'type', 'dummy']) &&
        run('ip', ['-n', name, 'link', 'add', 'sink', 'type', 'ifb']),
    )
    return (
      problems.every((problem) => problem === undefined) &&
      run('ip', [...tc, 'qdisc', 'add', 'dev', 'lo', 'clsact']) === undefined &&
      run('ip', [...tc, ...dropping('lo', 1)]) === undefined
    )
  }
}

/** Packets stay single ones, as on a wire, and leave room for the header that they get. */
function vxlan(number: number): readonly string[] {
  const ends = ['dstport', String(vxlanPort), 'remote', relayAddress, 'nolearning']
  return ['mtu', '1400', 'gso_max_segs', '1', 'type', 'vxlan', 'id', String(number), ...ends]
}

/**
 * Four instructions of classic BPF for every packet: a random number, compared with the share of 2^32 that is to be lost;
 * whatever is not above it goes to the sink.
 */
function dropping(device: string, lossPercent: number): readonly string[] {
  const most = Math.round((lossPercent / 100) * 0xffff_ffff)
  const bytecode = `4,32 0 0 4294963256,37 1 0 ${most},6 0 0 4294967295,6 0 0 0`
  const action = ['action', 'mirred', 'egress', 'redirect', 'dev', 'sink']
  return ['filter', 'add', 'dev', device, 'egress', 'bpf', 'bytecode', bytecode, ...action]
}

/** What it had to say, if it failed. */
function run(program: string, args: readonly string[]): string | undefined {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 })
  if (status === 0) return undefined
  return (
    (error?.message ?? stderr.trim()) || `"${program} ${args.join(' ')}" ended with ${status ?? 'a signal'}`
  )
}

function must(program: string, args: readonly string[]): void {
  const problem = run(program, args)
  if (problem !== undefined) throw new Error(`Cannot run "${program} ${args.join(' ')}": ${problem}`)
}
