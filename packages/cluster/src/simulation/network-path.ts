/**
 * Where the simulated network's faults act: hosts, and for each ordered pair of hosts the path that frames from one to
 * the other take. A link is two ends, and each sends along one path: so everything can be asymmetric.
 */
import type { ChoiceStream, Simulation } from '@understudy/runtime/simulation'

/** Undoes a fault. Calling it again is harmless. */
export type Undo = () => void

/** A machine, as the network sees it. */
export interface NetworkHost {
  readonly name: string
  readonly zone: string
  /** In the order in which hosts were first met: the same in every run of a seed. */
  readonly number: number
  /** Faults that refuse dials to it, and faults that swallow them. */
  dialsRefused: number
  dialsLost: number
}

/** The end of a link that sends along a path, as faults see it. */
export interface PathLink {
  /** Frames may move again: a block or a limit is gone. With `gapMs`, what waited arrives that far apart. */
  readonly resume: (gapMs: number) => void
  /** What is in flight arrives within `latencyMs`; and an end that does not know that its connection is dead learns it. */
  readonly calm: (latencyMs: number) => void
  /** Both ends notice that they hear nothing any more. */
  readonly timeOut: () => void
  /** What this end sends vanishes from now on. The undo ends the link: such a stream cannot be mended. */
  readonly goHalfOpen: () => Undo
  /** Breaks the connection. How much of what is in flight still arrives, and who hears of it at once, is chosen. */
  readonly reset: (choices: ChoiceStream) => void
  /** Spoils a frame that this end sent, after `skip` more have arrived. */
  readonly damage: (kind: FrameDamage, skip: number) => Undo
  readonly isOpen: boolean
}

/** `corrupt`: its bytes are no frame any more. `truncate`: the connection ends in the middle of it. */
export type FrameDamage = 'corrupt' | 'truncate'

/** How long frames take along one path when nothing is wrong. */
export interface PathLatency {
  /** Every frame. Milliseconds, above 0: or a conversation could go on for ever without time passing. */
  readonly baseMs: number
  /** Mean of an exponential tail on top; 0 for none. */
  readonly meanMs: number
  /** One frame in `buckets` takes that much longer; 0 for none. */
  readonly slowMs: number
}

/** What a fault takes from a path; left out: nothing. */
export interface PathLimits {
  /** Latency times this. At least 1. */
  readonly slowFactor?: number | undefined
  /** Frames that may be in flight on a link at once, and as many may wait at its sender. At least 1. */
  readonly framesMax?: number | undefined
  /** Bandwidth of each link. */
  readonly bytesPerMs?: number | undefined
}

/** Parts of the inverse distribution: one choice a frame, and the last part is the slow tail. */
const buckets = 1_024

/** No frame is slower on its own: beyond that it is a clog. Milliseconds. */
const latencyMsMax = 10_000

/** -ln(1 - i/n), rounded, so that no two versions of an engine can disagree in the last bit. */
const exponential = Float64Array.from(
  { length: buckets },
  (_, bucket) => Math.round(-Math.log(1 - bucket / buckets) * 1e6) / 1e6,
)

export class NetworkPath {
  readonly from: NetworkHost
  readonly to: NetworkHost
  /** Mixed into the hash with each frame. */
  readonly word: number
  readonly links = new Set<PathLink>()
  /** Faults that let nothing through. While there is one, frames wait, as TCP makes them wait. */
  blocks = 0
  /** Of all limits together. */
  framesMax = Number.POSITIVE_INFINITY
  bytesPerMs = Number.POSITIVE_INFINITY
  /** A limit other than the window holds. */
  isNarrow = false
  readonly #simulation: Simulation
  readonly #keepaliveMs: number
  readonly #latency: PathLatency
  readonly #limits = new Set<PathLimits>()
  #waiting: (() => void)[] = []
  #slowFactor = 1
  /** Undefined when all frames take equally long: then no choice is asked. */
  #delays: ChoiceStream | undefined
  #blockings = 0

  constructor(
    simulation: Simulation,
    from: NetworkHost,
    to: NetworkHost,
    latency: PathLatency,
    keepaliveMs: number,
  ) {
    this.#simulation = simulation
    this.from = from
    this.to = to
    this.word = from.number * 65_536 + to.number
    this.#latency = latency
    this.#keepaliveMs = keepaliveMs
    if (latency.meanMs > 0 || latency.slowMs > 0) {
      this.#delays = simulation.choices.stream(`${this.label}/delay`)
    }
  }

  /** Names its streams of choices. */
  get label(): string {
    return `net/${this.from.name}>${this.to.name}`
  }

  /** How long a frame takes at least, while no fault slows the path. */
  get leastMs(): number {
    return this.#latency.baseMs
  }

  /** How long the next frame takes. Hot: at most one choice, no allocation. */
  latencyMs(): number {
    const { baseMs } = this.#latency
    if (this.#delays === undefined) return Math.min(baseMs * this.#slowFactor, latencyMsMax)
    const bucket = this.#delays.choose(buckets)
    const { meanMs, slowMs } = this.#latency
    const tailMs = meanMs * (exponential[bucket] ?? 0) + (bucket === buckets - 1 ? slowMs : 0)
    return Math.min((baseMs + tailMs) * this.#slowFactor, latencyMsMax)
  }

  /** No more jitter: every frame takes the least time, those in flight too. */
  calm(): void {
    this.#delays = undefined
    const latencyMs = this.latencyMs()
    for (const link of [...this.links]) link.calm(latencyMs)
  }

  /**
   * Lets nothing through until what it returns is called. What waited then arrives at once, or `gapMs` apart. Blocked
   * for the keepalive time without a break, the path loses its links.
   */
  block(): (gapMs?: number) => void {
    let isBlocking = true
    if (this.blocks++ === 0) {
      const blocking = ++this.#blockings
      const dueMs = this.#simulation.nowMs + this.#keepaliveMs
      this.#simulation.at(dueMs, undefined, 'net-keepalive', () => {
        if (this.blocks === 0 || this.#blockings !== blocking) return
        for (const link of [...this.links]) link.timeOut()
      })
    }
    return (gapMs = 0) => {
      if (!isBlocking) return
      isBlocking = false
      if (--this.blocks === 0) this.#release(gapMs)
    }
  }

  /** Runs `go` when nothing blocks the path: at once, or later. For what is not on a link: the opening of one. */
  whenClear(go: () => void): void {
    if (this.blocks === 0) go()
    else this.#waiting.push(go)
  }

  /** Narrows the path until what it returns is called. Limits add up: factors multiply, of the others the least holds. */
  limit(limits: PathLimits): Undo {
    this.#limits.add(limits)
    this.#applyLimits()
    return () => {
      if (this.#limits.delete(limits)) this.#applyLimits()
    }
  }

  #applyLimits(): void {
    this.#slowFactor = 1
    this.framesMax = Number.POSITIVE_INFINITY
    this.bytesPerMs = Number.POSITIVE_INFINITY
    for (const { slowFactor, framesMax, bytesPerMs } of this.#limits) {
      this.#slowFactor *= slowFactor ?? 1
      this.framesMax = Math.min(this.framesMax, framesMax ?? this.framesMax)
      this.bytesPerMs = Math.min(this.bytesPerMs, bytesPerMs ?? this.bytesPerMs)
    }
    this.isNarrow =
      this.framesMax !== Number.POSITIVE_INFINITY || this.bytesPerMs !== Number.POSITIVE_INFINITY
    for (const link of [...this.links]) link.resume(0)
  }

  #release(gapMs: number): void {
    for (const link of [...this.links]) link.resume(gapMs)
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) this.#simulation.at(this.#simulation.nowMs, undefined, 'net-clear', go)
  }
}
