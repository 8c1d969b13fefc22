/** Listening and dialling in the simulated network. */
import type { ChoiceStream, SimulatedProcess } from '@understudy/runtime/simulation'
import { formatAddress, parseAddress, type NodeAddress } from '../transport/address.ts'
import { Admission } from '../transport/admission.ts'
import type { AdmissionRefusal, Guest } from '../transport/admission.ts'
import {
  dialAborted,
  dialFailed,
  dialRefused,
  dialRejected,
  dialTimeout,
  portInUse,
  turnedAway,
} from '../transport/transport-error.ts'
import type { TransportError } from '../transport/transport-error.ts'
import { linkDefaults } from '../transport/transport.ts'
import type { DialOptions, Link, Listener, ListenOptions, Transport } from '../transport/transport.ts'
import type { NetworkFabric } from './network-fabric.ts'
import type { NetworkHost, NetworkPath } from './network-path.ts'
import { SimulatedLink } from './simulated-link.ts'

/** Checked limits of one side. */
interface Limits {
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
}

type Fabric = NetworkFabric<SimulatedListener>

/** As the real transport's default. */
const establishTimeoutMs = 5_000

/** What one process has open in the network. Ends with it. */
export class NetworkAttachment {
  readonly host: NetworkHost
  readonly life: SimulatedProcess
  readonly links = new Set<SimulatedLink>()
  readonly #fabric: Fabric
  readonly #crashes: ChoiceStream

  constructor(fabric: Fabric, life: SimulatedProcess) {
    const { machine } = life
    this.#fabric = fabric
    this.life = life
    this.host = fabric.meet(machine.name, machine.zone)
    this.#crashes = fabric.simulation.choices.stream(`net/${machine.name}/crash`)
    life.onKill(() => this.#crash())
  }

  link(path: NetworkPath, remoteAddress: string, limits: Limits): SimulatedLink {
    const link = new SimulatedLink(this.#fabric, {
      life: this.life,
      path,
      remoteAddress,
      frameBytesMax: limits.frameBytesMax,
      outboundBytesMax: limits.outboundBytesMax,
      onGone: (gone) => void this.links.delete(gone),
    })
    this.links.add(link)
    return link
  }

  #crash(): void {
    const { listeners } = this.#fabric
    for (const [address, { life }] of [...listeners]) if (life === this.life) listeners.delete(address)
    for (const link of [...this.links]) link.crash(this.#crashes)
  }
}

/** The transport of one process. What it promises never settles once the process is dead. */
export class SimulatedTransport implements Transport {
  readonly #fabric: Fabric
  readonly #attachment: NetworkAttachment
  readonly #limits: Limits

  constructor(fabric: Fabric, attachment: NetworkAttachment, limits: Limits) {
    this.#fabric = fabric
    this.#attachment = attachment
    this.#limits = limits
  }

  readonly listen = async (
    address: NodeAddress,
    onLink: (link: Link) => void,
    options: ListenOptions = {},
  ): Promise<Listener> => {
    const asked = parseAddress(address)
    const port = asked.port === 0 ? this.#fabric.freePort(asked.host) : asked.port
    const real = formatAddress(asked.host, port, asked.isSecure)
    if (this.#fabric.listeners.has(real)) throw portInUse(real)
    const listener = new SimulatedListener(
      this.#fabric,
      this.#attachment,
      real,
      this.#limits,
      onLink,
      options,
    )
    if (this.#attachment.life.isAlive) this.#fabric.register(real, this.#attachment.host, listener)
    return listener
  }

  readonly dial = (address: NodeAddress, options: DialOptions = {}): Promise<Link> =>
    new Promise((resolve, reject) => {
      parseAddress(address)
      const dial = new Dial(this.#fabric, this.#attachment, address, this.#limits, options, resolve, reject)
      dial.begin()
    })
}

/** A link that is not there yet while it is judged. */
interface Stranger {
  link: SimulatedLink | undefined
}

export class SimulatedListener implements Listener {
  readonly address: NodeAddress
  readonly life: SimulatedProcess
  readonly #fabric: Fabric
  readonly #attachment: NetworkAttachment
  readonly #limits: Limits
  readonly #onLink: (link: Link) => void
  readonly #options: ListenOptions
  readonly #admission: Admission<Stranger>
  /** Whose peer was not known yet when it was last looked at. */
  readonly #guests = new Map<SimulatedLink, Guest<Stranger>>()
  readonly #accepted = new Set<SimulatedLink>()
  #closed: Promise<void> | undefined

  constructor(
    fabric: Fabric,
    attachment: NetworkAttachment,
    address: NodeAddress,
    limits: Limits,
    onLink: (link: Link) => void,
    options: ListenOptions,
  ) {
    this.#fabric = fabric
    this.#attachment = attachment
    this.life = attachment.life
    this.address = address
    this.#limits = limits
    this.#onLink = onLink
    this.#options = options
    // As the real one: a link that had a quarter of its time may have to make room.
    this.#admission = new Admission(options, {
      agedMs: establishTimeoutMs / 4,
      silentMax: 1,
      hasNames: true,
    })
  }

  get isClosed(): boolean {
    return this.#closed !== undefined
  }

  /** This side's end of a new link, joined to nothing yet; or why there is none. */
  accept(from: NetworkHost): SimulatedLink | AdmissionRefusal {
    for (const link of this.#accepted) {
      const isGone = !this.#attachment.links.has(link)
      const guest = this.#guests.get(link)
      if (guest !== undefined && (isGone || link.isEstablished)) {
        this.#admission.leave(guest)
        this.#guests.delete(link)
      }
      if (isGone) this.#accepted.delete(link)
    }
    const remoteAddress = formatAddress(from.name, 0)
    const stranger: Stranger = { link: undefined }
    const answer = this.#admission.enter(stranger, from.name, this.#fabric.simulation.nowMs)
    if (answer.type === 'refused') {
      this.#options.onRefused?.({ reason: answer.reason, remoteAddress })
      return answer.reason
    }
    answer.makeRoom?.link?.close('CLUSTER_LINK_NOT_ESTABLISHED')
    const path = this.#fabric.path(this.#attachment.host, from)
    const link = this.#attachment.link(path, remoteAddress, this.#limits)
    stranger.link = link
    this.#guests.set(link, answer.guest)
    this.#accepted.add(link)
    link.guard(establishTimeoutMs)
    return link
  }

  /** Shows a link to the owner, once it is joined. */
  present(link: SimulatedLink): void {
    this.#onLink(link)
  }

  readonly close = (): Promise<void> => {
    this.#closed ??= new Promise((resolve) => {
      const { listeners, simulation } = this.#fabric
      if (listeners.get(this.address) === this) listeners.delete(this.address)
      for (const link of this.#accepted) link.close('CLUSTER_LISTENER_CLOSED')
      this.#accepted.clear()
      const settled = this.life.beginOperation()
      simulation.at(simulation.nowMs, this.life, 'listener-closed', () => {
        settled()
        resolve()
      })
    })
    return this.#closed
  }
}

/** One attempt to open a link: a knock, which travels there, and an answer, which travels back. */
class Dial {
  readonly #fabric: Fabric
  readonly #attachment: NetworkAttachment
  readonly #address: NodeAddress
  readonly #limits: Limits
  readonly #options: DialOptions
  readonly #resolve: (link: Link) => void
  readonly #reject: (error: TransportError) => void
  #there: NetworkPath
  #back: NetworkPath
  #near: SimulatedLink | undefined
  #isSettled = false
  #cancelTimer: (() => void) | undefined
  #settled: (() => void) | undefined

  constructor(
    fabric: Fabric,
    attachment: NetworkAttachment,
    address: NodeAddress,
    limits: Limits,
    options: DialOptions,
    resolve: (link: Link) => void,
    reject: (error: TransportError) => void,
  ) {
    this.#fabric = fabric
    this.#attachment = attachment
    this.#address = address
    this.#limits = limits
    this.#options = options
    this.#resolve = resolve
    this.#reject = reject
    const { host } = attachment
    const place = fabric.placeOf(address) ?? host
    this.#there = fabric.path(host, place)
    this.#back = fabric.path(place, host)
  }

  begin(): void {
    const { signal } = this.#options
    const { life } = this.#attachment
    if (signal?.aborted === true) {
      this.#onAbort()
      return
    }
    if (!life.crashPoint()) return
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#settled = life.beginOperation()
    const timeoutMs = this.#options.timeoutMs ?? linkDefaults.dialTimeoutMs
    const { clock } = life.platform
    const timer = clock.setTimer(clock.monotonicMs() + timeoutMs, () =>
      this.#fail(dialTimeout(this.#address, timeoutMs)),
    )
    this.#cancelTimer = () => timer.cancel()
    const arrivesAtMs = life.departsAtMs + this.#there.latencyMs()
    this.#fabric.simulation.at(arrivesAtMs, undefined, 'dial', () => this.#there.whenClear(this.#knock))
    life.crashPoint()
  }

  readonly #onAbort = (): void => this.#fail(dialAborted(this.#address, this.#options.signal?.reason))

  /** At the machine: its kernel answers by itself when nobody listens; a listener answers when its process runs. */
  readonly #knock = (): void => {
    if (this.#isSettled || !this.#attachment.life.isAlive) return
    this.#findPlace()
    const { to } = this.#there
    if (to.dialsLost > 0) return
    const { listeners, simulation } = this.#fabric
    const listener = listeners.get(this.#address)
    if (listener === undefined || to.dialsRefused > 0) this.#refuse()
    else simulation.at(simulation.nowMs, listener.life, 'accept', () => this.#enter(listener))
  }

  /** Who dialled before anybody had ever listened there did not know the way; by now somebody may. */
  #findPlace(): void {
    const { host } = this.#attachment
    const place = this.#fabric.placeOf(this.#address)
    if (place === undefined || this.#there.to === place) return
    this.#there = this.#fabric.path(host, place)
    this.#back = this.#fabric.path(place, host)
  }

  #enter(listener: SimulatedListener): void {
    if (this.#isSettled || !this.#attachment.life.isAlive) return
    if (listener.isClosed) {
      this.#refuse()
      return
    }
    const far = listener.accept(this.#attachment.host)
    if (typeof far === 'string') {
      this.#answer(dialRejected(this.#address, turnedAway[far]))
      return
    }
    const near = this.#attachment.link(this.#there, this.#address, this.#limits)
    this.#near = near
    SimulatedLink.join(near, far, () => this.#open(near))
    listener.present(far)
  }

  #open(near: SimulatedLink): void {
    if (!near.isOpen) this.#fail(dialFailed(this.#address, 'the connection broke'))
    else if (this.#settle()) this.#resolve(near)
  }

  #refuse(): void {
    this.#answer(dialRefused(this.#address))
  }

  #answer(error: TransportError): void {
    const { simulation } = this.#fabric
    simulation.at(simulation.nowMs + this.#back.latencyMs(), undefined, 'dial-answer', () =>
      this.#back.whenClear(() => {
        const { life } = this.#attachment
        simulation.at(simulation.nowMs, life, 'dial-failed', () => this.#fail(error))
      }),
    )
  }

  #fail(error: TransportError): void {
    if (!this.#settle()) return
    this.#near?.abandon()
    this.#reject(error)
  }

  #settle(): boolean {
    if (this.#isSettled) return false
    this.#isSettled = true
    this.#cancelTimer?.()
    this.#settled?.()
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    return true
  }
}
