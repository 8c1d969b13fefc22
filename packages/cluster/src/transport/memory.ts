/**
 * A network inside one process: the same guarantees as the real transport without a socket, and every
 * delivery goes through a scheduler function that is handed in, so that a run on virtual time is the same
 * each time. Besides, hosts can be held (a silent partition) and crashed (`kill -9`).
 */
import { formatAddress, parseAddress } from './address.ts'
import type { NodeAddress } from './address.ts'
import { Admission } from './admission.ts'
import type { AdmissionRefusal, Guest } from './admission.ts'
import { LinkInbox } from './link-inbox.ts'
import {
  dialAborted,
  dialRefused,
  dialRejected,
  dialTimeout,
  portInUse,
  turnedAway,
} from './transport-error.ts'
import type { TransportError } from './transport-error.ts'
import { checkCloseCode, checkLinkLimits, frameTooBig, linkDefaults } from './transport.ts'
import type {
  CloseReason,
  DialOptions,
  Link,
  LinkLimits,
  Listener,
  ListenOptions,
  SendResult,
  Transport,
} from './transport.ts'

/** First port that is handed out when 0 is asked for; the next ones follow in order. */
const FIRST_FREE_PORT = 49_152

/** Options of `memoryNetwork`. */
export interface MemoryNetworkOptions {
  /**
   * Runs a task soon, in the order of the calls, never inside the call: `platform.scheduler.afterTurn`, or
   * `setImmediate` where timers and sockets must get their turn between two deliveries.
   */
  readonly schedule: (task: () => void) => void
  /**
   * Calls `fire` after so many milliseconds; returns a function that calls it off. Without it `timeoutMs` of
   * a dial has no effect: a dial to a held host then waits for its signal or for `release`.
   */
  readonly setTimer?: ((delayMs: number, fire: () => void) => () => void) | undefined
  /**
   * The time, in milliseconds. Without it time stands still for the limits on strangers: a host's burst of
   * connections is never filled up again, and no stranger is old enough to make room for another.
   */
  readonly monotonicMs?: (() => number) | undefined
}

/**
 * A network of hosts. A host is just a label: one for each node of a test. Limits on strangers count by label, and as for
 * loopback those for each address hold only where they are set; `allowAddresses` may name labels.
 */
export interface MemoryNetwork {
  /** The transport of one host. Its limits hold for what this host sends and accepts. */
  readonly transport: (host: string, limits?: LinkLimits) => Transport
  /** Cuts a host off in silence: frames, dials and closes to and from it wait. */
  readonly hold: (host: string) => void
  /** Ends `hold`: what waited goes on, in order. */
  readonly release: (host: string) => void
  /**
   * Ends a host as `kill -9` does: its listeners are gone, none of its callbacks is called again, what it had
   * queued is lost, and its peers see `CLUSTER_LINK_LOST`. The host may come back: ask for its transport
   * again.
   */
  readonly crash: (host: string) => void
}

/** Makes an empty network. Two networks know nothing of each other. */
export function memoryNetwork(options: MemoryNetworkOptions): MemoryNetwork {
  const network = new Network(options)
  return {
    transport: (host, limits = {}) => new MemoryTransport(network, host, checkLinkLimits(limits)),
    hold: (host) => {
      network.held.add(host)
    },
    release: (host) => network.release(host),
    crash: (host) => network.crash(host),
  }
}

/** The transport of a network of its own, for a test that needs no more than two ends. */
export function memoryTransport(options: MemoryNetworkOptions & LinkLimits): Transport {
  return memoryNetwork(options).transport('memory', options)
}

interface Limits {
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
}

class Network {
  readonly schedule: (task: () => void) => void
  readonly setTimer: ((delayMs: number, fire: () => void) => () => void) | undefined
  readonly monotonicMs: () => number
  readonly listeners = new Map<NodeAddress, MemoryListener>()
  readonly links = new Set<MemoryLink>()
  readonly held = new Set<string>()
  /** What waits for the end of a `hold`, in order. */
  #waiting: Array<() => void> = []
  #nextPort = FIRST_FREE_PORT

  constructor(options: MemoryNetworkOptions) {
    this.schedule = options.schedule
    this.setTimer = options.setTimer
    this.monotonicMs = options.monotonicMs ?? (() => 0)
  }

  /** Runs `task` soon, or when neither host is held any more. */
  deliver(from: string, to: string, task: () => void): void {
    this.schedule(() => {
      if (this.held.has(from) || this.held.has(to)) this.#waiting.push(() => this.deliver(from, to, task))
      else task()
    })
  }

  release(host: string): void {
    this.held.delete(host)
    const waiting = this.#waiting
    this.#waiting = []
    for (const retry of waiting) retry()
  }

  crash(host: string): void {
    for (const listener of this.listeners.values())
      if (listener.host === host) this.listeners.delete(listener.address)
    for (const link of this.links) if (link.host === host) link.crash()
  }

  freePort(host: string): number {
    while (this.listeners.has(formatAddress(host, this.#nextPort))) this.#nextPort++
    return this.#nextPort++
  }
}

class MemoryTransport implements Transport {
  readonly #network: Network
  readonly #host: string
  readonly #limits: Limits

  constructor(network: Network, host: string, limits: Limits) {
    this.#network = network
    this.#host = host
    this.#limits = limits
  }

  readonly listen = async (
    address: NodeAddress,
    onLink: (link: Link) => void,
    options: ListenOptions = {},
  ): Promise<Listener> => {
    const asked = parseAddress(address)
    const port = asked.port === 0 ? this.#network.freePort(asked.host) : asked.port
    const real = formatAddress(asked.host, port, asked.isSecure)
    if (this.#network.listeners.has(real)) throw portInUse(real)
    const listener = new MemoryListener(this.#network, this.#host, real, this.#limits, onLink, options)
    this.#network.listeners.set(real, listener)
    return listener
  }

  readonly dial = (address: NodeAddress, options: DialOptions = {}): Promise<Link> => {
    return new Promise((resolve, reject) => {
      parseAddress(address)
      const network = this.#network
      const signal = options.signal
      const timeoutMs = options.timeoutMs ?? linkDefaults.dialTimeoutMs
      let isSettled = false
      const cancelTimer = network.setTimer?.(timeoutMs, () => fail(dialTimeout(address, timeoutMs)))
      const settle = (): boolean => {
        if (isSettled) return false
        isSettled = true
        cancelTimer?.()
        signal?.removeEventListener('abort', onAbort)
        return true
      }
      const fail = (error: TransportError): void => {
        if (settle()) reject(error)
      }
      const onAbort = (): void => fail(dialAborted(address, signal?.reason))
      signal?.addEventListener('abort', onAbort, { once: true })
      if (signal?.aborted === true) {
        onAbort()
        return
      }

      const to = network.listeners.get(address)?.host ?? this.#host
      network.deliver(this.#host, to, () => {
        if (isSettled) return
        const listener = network.listeners.get(address)
        if (listener === undefined) {
          fail(dialRefused(address))
          return
        }
        const link = listener.accept(this.#host, this.#limits)
        if (typeof link === 'string') fail(dialRejected(address, turnedAway[link]))
        else if (settle()) resolve(link)
      })
    })
  }
}

/** A link that is not there yet while it is judged. */
interface Stranger {
  link: MemoryLink | undefined
}

class MemoryListener implements Listener {
  readonly address: NodeAddress
  readonly host: string
  readonly #network: Network
  readonly #limits: Limits
  readonly #onLink: (link: Link) => void
  readonly #options: ListenOptions
  readonly #admission: Admission<Stranger>
  /** Whose peer was not known yet when it was last looked at. */
  readonly #guests = new Map<MemoryLink, Guest<Stranger>>()
  readonly #accepted = new Set<MemoryLink>()
  #closed: Promise<void> | undefined

  constructor(
    network: Network,
    host: string,
    address: NodeAddress,
    limits: Limits,
    onLink: (link: Link) => void,
    options: ListenOptions,
  ) {
    this.address = address
    this.host = host
    this.#network = network
    this.#limits = limits
    this.#onLink = onLink
    this.#options = options
    // The real transport's default time for a handshake, a quarter of it.
    this.#admission = new Admission(options, { agedMs: 1_250, silentMax: 1, hasNames: true })
  }

  /** The dialler's end of a new link, or why there is none. */
  accept(from: string, fromLimits: Limits): MemoryLink | AdmissionRefusal {
    for (const link of this.#accepted) {
      const guest = this.#guests.get(link)
      if (guest !== undefined && (link.isGone || link.isEstablished)) {
        this.#admission.leave(guest)
        this.#guests.delete(link)
      }
      if (link.isGone) this.#accepted.delete(link)
    }
    const remoteAddress = formatAddress(from, 0)
    const stranger: Stranger = { link: undefined }
    const answer = this.#admission.enter(stranger, from, this.#network.monotonicMs())
    if (answer.type === 'refused') {
      this.#options.onRefused?.({ reason: answer.reason, remoteAddress })
      return answer.reason
    }
    answer.makeRoom?.link?.close('CLUSTER_LINK_NOT_ESTABLISHED')
    const near = new MemoryLink(this.#network, from, this.address, fromLimits)
    const far = new MemoryLink(this.#network, this.host, remoteAddress, this.#limits)
    stranger.link = far
    near.join(far)
    far.join(near)
    this.#accepted.add(far)
    this.#guests.set(far, answer.guest)
    this.#onLink(far)
    return near
  }

  readonly close = (): Promise<void> => {
    this.#closed ??= new Promise((resolve) => {
      if (this.#network.listeners.get(this.address) === this) this.#network.listeners.delete(this.address)
      for (const link of this.#accepted) link.close('CLUSTER_LISTENER_CLOSED')
      this.#accepted.clear()
      this.#network.schedule(resolve)
    })
    return this.#closed
  }
}

class MemoryLink implements Link {
  readonly host: string
  readonly remoteAddress: string
  isEstablished = false
  readonly #network: Network
  readonly #limits: Limits
  readonly #inbox: LinkInbox
  /** The other end. Set before anybody else sees the link. */
  #peer: MemoryLink | undefined
  #outbound: Uint8Array[] = []
  #outboundBytes = 0
  #isDeliveryDue = false
  #isFull = false
  /** The receiver has too much that nobody took: nothing more is handed to it. */
  #isBlocked = false
  #isClosed = false
  #isCrashed = false
  /** What the peer is told when the queue is empty. */
  #parting: CloseReason | undefined
  #onDrain: (() => void) | undefined

  constructor(network: Network, host: string, remoteAddress: string, limits: Limits) {
    this.#network = network
    this.host = host
    this.remoteAddress = remoteAddress
    this.#limits = limits
    this.#inbox = new LinkInbox({
      waitingBytesMax: limits.frameBytesMax,
      defer: (task) =>
        network.schedule(() => {
          if (!this.#isCrashed) task()
        }),
      onBacklog: (isOver) => this.#peer?.block(isOver),
      onThrow: (reason) => this.#part(reason),
    })
    network.links.add(this)
  }

  get bufferedBytes(): number {
    return this.#outboundBytes
  }
  get isGone(): boolean {
    return this.#isClosed
  }

  join(peer: MemoryLink): void {
    this.#peer = peer
  }

  readonly send = (frame: Uint8Array): SendResult => {
    if (this.#isClosed) return 'closed'
    const bytes = frame.byteLength
    if (bytes > this.#limits.frameBytesMax) throw frameTooBig(bytes, this.#limits.frameBytesMax)
    if (this.#outboundBytes + bytes > this.#limits.outboundBytesMax) {
      this.#isFull = true
      return 'full'
    }
    this.#outbound.push(frame)
    this.#outboundBytes += bytes
    this.#deliverSoon()
    return 'ok'
  }

  readonly onFrame = (callback: (frame: Uint8Array) => void): void => this.#inbox.setFrameCallback(callback)
  readonly onClose = (callback: (reason: CloseReason) => void): void => this.#inbox.setCloseCallback(callback)
  readonly onDrain = (callback: () => void): void => {
    this.#onDrain = callback
  }
  readonly established = (): void => {
    this.isEstablished = true
  }

  readonly close = (code = 'CLUSTER_LINK_CLOSED'): void => {
    checkCloseCode(code)
    this.#part({ code, message: 'This side closed the link' })
  }

  /** The host died: this end falls silent at once, the other one sees a broken connection. */
  crash(): void {
    this.#isCrashed = true
    this.#forget()
    this.#network.deliver(this.host, this.#peer?.host ?? this.host, () =>
      this.#peer?.lose({
        code: 'CLUSTER_LINK_LOST',
        message: 'The connection broke without a good-bye',
      }),
    )
  }

  /** The peer ended the link, or it broke. What came in before is still handed over. */
  lose(reason: CloseReason): void {
    if (this.#isCrashed) return
    this.#forget()
    this.#inbox.end(reason, false)
  }

  /** The peer's inbox is over its limit (or no longer). */
  block(isOver: boolean): void {
    this.#isBlocked = isOver
    if (!isOver) this.#deliverSoon()
  }

  #part(reason: CloseReason): void {
    if (this.#isClosed) {
      this.#inbox.end(reason, true)
      return
    }
    this.#isClosed = true
    this.#inbox.end(reason, true)
    // The peer learns the code, not our words for it.
    this.#parting = { code: reason.code, message: 'The peer closed the link' }
    this.#deliverSoon()
  }

  #forget(): void {
    this.#isClosed = true
    this.#outbound = []
    this.#outboundBytes = 0
    this.#network.links.delete(this)
  }

  #deliverSoon(): void {
    if (this.#isDeliveryDue || this.#isBlocked) return
    this.#isDeliveryDue = true
    this.#network.deliver(this.host, this.#peer?.host ?? this.host, () => {
      this.#isDeliveryDue = false
      this.#deliver()
    })
  }

  #deliver(): void {
    const peer = this.#peer
    if (peer === undefined || this.#isCrashed) return
    const batch = this.#outbound
    this.#outbound = []
    let at = 0
    // A peer that closed its end gets nothing, but what was queued leaves the queue all the same.
    for (; at < batch.length && !this.#isBlocked; at++) {
      const frame = batch[at]
      if (frame === undefined) break
      this.#outboundBytes -= frame.byteLength
      if (!peer.#take(frame)) {
        this.#outboundBytes = 0
        return
      }
    }
    if (at < batch.length) this.#outbound = batch.slice(at).concat(this.#outbound)
    if (this.#isFull && this.#outboundBytes <= this.#limits.outboundBytesMax / 2 && !this.#isClosed) {
      this.#isFull = false
      this.#onDrain?.()
    }
    if (this.#outbound.length > 0) {
      this.#deliverSoon()
    } else if (this.#parting !== undefined) {
      const parting = this.#parting
      this.#parting = undefined
      peer.lose(parting)
      this.#network.links.delete(this)
    }
  }

  /** Takes a frame from the peer. False when it was too big, which ends both ends. */
  #take(frame: Uint8Array): boolean {
    if (this.#isCrashed) return true
    if (frame.byteLength > this.#limits.frameBytesMax) {
      const code = 'CLUSTER_FRAME_TOO_BIG'
      this.lose({
        code,
        message: `The peer sent a frame of ${frame.byteLength} bytes; frameBytesMax is ${this.#limits.frameBytesMax}`,
      })
      this.#peer?.lose({ code, message: 'The peer refused a frame because of its size' })
      return false
    }
    this.#inbox.push(frame)
    return true
  }
}
