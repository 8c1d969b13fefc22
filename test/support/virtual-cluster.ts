/** Nodes on virtual time and a network in memory: a whole cluster in one test, the same each time. */
import {
  memoryNetwork,
  startNode,
  type ClusterNode,
  type CloseReason,
  type Link,
  type MemoryNetwork,
  type NodeOptions,
  type Transport,
} from '@understudy/cluster'
import { memoryStore, StoreError, type Clock, type Logger, type Store } from '@understudy/runtime'
import { virtualPlatform, type LoggedLine, type VirtualPlatform } from '@understudy/runtime/testkit'

export interface VirtualCluster extends AsyncDisposable {
  readonly platform: VirtualPlatform
  readonly network: MemoryNetwork
  /** Starts a node named `name` at `addressOf(name)`. `seeds` are names. */
  readonly start: (name: string, options?: StartOptions) => Promise<ClusterNode>
  readonly addressOf: (name: string) => string
  /** Lets virtual time pass until `promise` has settled, and returns how. */
  readonly outcome: <T>(promise: Promise<T>) => Promise<Outcome<T>>
  /** As `outcome`, for a promise that must not be rejected. */
  readonly result: <T>(promise: Promise<T>) => Promise<T>
  /** Lets time pass until `ready`. Throws when it does not come within `withinMs`. */
  readonly until: (ready: () => boolean, withinMs?: number) => Promise<void>
  readonly advance: (ms: number) => Promise<void>
  /** As `kill -9` does: nothing of the node is heard again. */
  readonly crash: (node: ClusterNode) => void
  /** Closes every link that the node has, as the other side of a broken connection sees it. */
  readonly cut: (node: ClusterNode) => void
  /** From now on what reaches the node waits, link by link, its end too. Returns how to let it go on. */
  readonly stall: (node: ClusterNode) => () => void
  /**
   * As SIGSTOP does: its timers do not fire, and what is sent to it and by it waits. Returns how to let it go on: first its
   * timers, then what came meanwhile.
   */
  readonly freeze: (node: ClusterNode) => () => void
  /** The codes with which the links of the node ended, in order, those of its earlier lives too. */
  readonly ends: (name: string) => readonly string[]
  /** From now on nothing can be written to that directory (`data`) any more. */
  readonly breakDisk: (directory: string) => void
  /** What a node logged, all its lives together. */
  readonly logOf: (name: string) => readonly LoggedLine[]
  /** What all shutdowns at the end reported as hung or failed. */
  readonly stop: () => Promise<void>
}

export interface StartOptions extends Omit<Partial<NodeOptions>, 'name' | 'seeds'> {
  readonly seeds?: readonly string[] | undefined
  /** The wall clock of this node, in milliseconds. @default the cluster's */
  readonly wallMs?: number | undefined
}

export type Outcome<T> = { readonly value: T } | { readonly error: Error & { readonly code?: string } }

const ports = new Map<string, number>()

export function virtualCluster(options: Partial<NodeOptions> = {}): VirtualCluster {
  const platform = virtualPlatform()
  const { clock } = platform
  const network = memoryNetwork({
    schedule: queueMicrotask,
    monotonicMs: () => clock.monotonicMs(),
    setTimer: (delayMs, fire) => {
      const timer = clock.setTimer(clock.monotonicMs() + delayMs, fire)
      return () => timer.cancel()
    },
  })
  /** Of all nodes, so that who starts again with the same `data` finds what its earlier life has left. */
  const disk = memoryStore()
  const broken = new Set<string>()
  const nodes = new Map<ClusterNode, Life>()
  const ends = new Map<string, string[]>()
  const logs = new Map<string, LoggedLine[]>()
  let stopped = false

  function addressOf(name: string): string {
    if (!ports.has(name)) ports.set(name, 7_001 + ports.size)
    return `ws://127.0.0.1:${ports.get(name)}`
  }

  async function start(name: string, own: StartOptions = {}): Promise<ClusterNode> {
    const codes = ends.get(name) ?? []
    ends.set(name, codes)
    const life: Life = { dead: false, due: undefined, links: new Set(), ends: codes }
    const lines = logs.get(name) ?? []
    logs.set(name, lines)
    const { seeds = [], wallMs, ...rest } = own
    const nodeClock = freezable(wallMs === undefined ? clock : { ...clock, wallMs: () => wallMs }, life)
    const linkLimits = {
      frameBytesMax: rest.frameBytesMax ?? options.frameBytesMax,
      outboundBytesMax: rest.outboundBytesMax ?? options.outboundBytesMax,
    }
    const starting = startNode({
      isolation: 'codec',
      handleSignals: false,
      shutdownMs: 2_000,
      ...options,
      ...rest,
      name,
      listen: rest.listen ?? addressOf(name),
      seeds: seeds.map(addressOf),
      platform: {
        ...platform,
        clock: nodeClock,
        log: keepingLogger(lines),
        openStore: async (directory) => breakable(disk.scope(directory), () => broken.has(directory)),
      },
      transport: rest.transport ?? mortal(network.transport(name, linkLimits), life),
    })
    const node = await result(starting)
    nodes.set(node, life)
    return node
  }

  async function outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
    let settled: Outcome<T> | undefined
    promise.then(
      (value) => (settled = { value }),
      (error: Error) => (settled = { error }),
    )
    await until(() => settled !== undefined, 120_000)
    return settled as unknown as Outcome<T>
  }

  async function result<T>(promise: Promise<T>): Promise<T> {
    await outcome(promise)
    return promise
  }

  async function until(ready: () => boolean, withinMs = 60_000): Promise<void> {
    const untilMs = clock.monotonicMs() + withinMs
    await platform.settle()
    while (!ready()) {
      const nextMs = platform.nextTimerAtMs()
      if (nextMs === undefined || nextMs > untilMs)
        throw new Error(`It did not come to pass within ${withinMs} ms`)
      await platform.advance(Math.max(0, nextMs - clock.monotonicMs()))
    }
  }

  async function stop(): Promise<void> {
    if (stopped) return
    stopped = true
    for (const node of nodes.keys()) await result(node.shutdown())
  }

  return {
    platform,
    network,
    start,
    addressOf,
    outcome,
    result,
    until,
    advance: (ms) => platform.advance(ms),
    crash: (node) => {
      const life = nodes.get(node)
      if (life !== undefined) life.dead = true
      network.crash(node.name)
    },
    cut: (node) => {
      for (const link of nodes.get(node)?.links ?? []) link.close('CLUSTER_LINK_LOST')
    },
    stall: (node) => {
      const links = [...(nodes.get(node)?.links ?? [])]
      for (const link of links) link.stall()
      return () => {
        for (const link of links) link.goOn()
      }
    },
    freeze: (node) => {
      const life = nodes.get(node)
      if (life === undefined || life.due !== undefined)
        throw new Error(`node "${node.name}" cannot be frozen`)
      life.due = []
      network.hold(node.name)
      return () => {
        const due = life.due ?? []
        life.due = undefined
        for (const fire of due) fire()
        network.release(node.name)
      }
    },
    ends: (name) => ends.get(name) ?? [],
    breakDisk: (directory) => void broken.add(directory),
    logOf: (name) => logs.get(name) ?? [],
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

interface Life {
  dead: boolean
  /** While it is frozen: what its timers would have done. */
  due: (() => void)[] | undefined
  readonly links: Set<SlowLink>
  readonly ends: string[]
}

/** The clock of a process that may be stopped: it goes on, and the timers that fall due meanwhile fire afterwards. */
function freezable(clock: Clock, life: Life): Clock {
  return {
    ...clock,
    setTimer: (atMs, fire) => {
      let isCancelled = false
      const fireIfDue = (): void => {
        if (!isCancelled) fire()
      }
      const timer = clock.setTimer(atMs, () => {
        if (life.due === undefined) fire()
        else life.due.push(fireIfDue)
      })
      return {
        cancel: () => {
          isCancelled = true
          timer.cancel()
        },
      }
    },
  }
}

/** A dead node's dials go nowhere: its actors go on in this process, but nobody hears of them. */
function mortal(transport: Transport, life: Life): Transport {
  const slow = (link: Link): Link => {
    const wrapped = new SlowLink(link, (code) => {
      life.links.delete(wrapped)
      life.ends.push(code)
    })
    life.links.add(wrapped)
    return wrapped
  }
  return {
    listen: (address, onLink, listenOptions) =>
      transport.listen(address, (link) => onLink(slow(link)), listenOptions),
    dial: async (address, dialOptions) => {
      if (!life.dead) return slow(await transport.dial(address, dialOptions))
      return new Promise((_resolve, reject) => {
        dialOptions?.signal?.addEventListener('abort', () => reject(new Error('the node is dead')))
      })
    },
  }
}

/** A link whose receiving end can be made to wait. */
class SlowLink implements Link {
  readonly #link: Link
  #waiting: (() => void)[] | undefined
  #onFrame: (frame: Uint8Array) => void = () => undefined
  #onClose: (reason: CloseReason) => void = () => undefined
  readonly send: Link['send']
  readonly onDrain: Link['onDrain']
  readonly close: Link['close']
  readonly established: Link['established']

  constructor(link: Link, ended: (code: string) => void) {
    this.#link = link
    this.send = link.send
    this.onDrain = link.onDrain
    this.close = link.close
    this.established = link.established
    link.onClose((reason) => {
      ended(reason.code)
      this.#pass(() => this.#onClose(reason))
    })
  }

  readonly onFrame = (callback: (frame: Uint8Array) => void): void => {
    this.#onFrame = callback
    this.#link.onFrame((frame) => this.#pass(() => this.#onFrame(frame)))
  }

  readonly onClose = (callback: (reason: CloseReason) => void): void => {
    this.#onClose = callback
  }

  get bufferedBytes(): number {
    return this.#link.bufferedBytes
  }

  get remoteAddress(): string {
    return this.#link.remoteAddress
  }

  stall(): void {
    this.#waiting ??= []
  }

  goOn(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const task of waiting) task()
  }

  #pass(task: () => void): void {
    if (this.#waiting === undefined) task()
    else this.#waiting.push(task)
  }
}

function keepingLogger(lines: LoggedLine[], bound: Readonly<Record<string, unknown>> = {}): Logger {
  const write =
    (level: LoggedLine['level']) => (fields: Readonly<Record<string, unknown>>, message: string) => {
      lines.push({ level, fields: { ...bound, ...fields }, message })
    }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
    child: (fields) => keepingLogger(lines, { ...bound, ...fields }),
    isLevelEnabled: () => true,
  }
}

function breakable(store: Store, isBroken: () => boolean): Store {
  return {
    ...store,
    write: async (batch) => {
      if (isBroken())
        throw new StoreError('RUNTIME_STORE_FAILED', 'Cannot write to the store: the disk is broken')
      return store.write(batch)
    },
  }
}
