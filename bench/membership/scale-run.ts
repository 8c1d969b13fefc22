/** What is measured of a cluster of SWIM cores: how long a death goes unnoticed, and what it costs to look for one. */
import type { MakeScaleBed } from './scale-bed.ts'

/** Figures of the preset `lan`, which all of this is about. */
const probeIntervalMs = 1_000
const suspicionMult = 4
/** A death that takes longer is reported as this. */
const patienceMs = 120_000

/** Milliseconds, over all deaths of a row: until the first, and until the last of the others took it for unreachable. */
export interface DetectionRow {
  readonly nodes: number
  readonly loss: number
  readonly deaths: number
  readonly first: Spread
  readonly all: Spread
  /** The formula and two periods. */
  readonly boundMs: number
  /** Members that live and were taken for unreachable by somebody. */
  readonly falseAlarms: number
}

export interface Spread {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** Per node and second. */
export interface LoadRow {
  readonly nodes: number
  readonly loss: number
  readonly messages: number
  /** As CBOR, without the envelope and what carries it. */
  readonly bytes: number
}

/**
 * How long all others may take: at most a period until somebody probes it, a period for that probe, the shortest suspicion;
 * and two periods more.
 */
export function detectionBoundMs(nodes: number): number {
  const suspicionMinMs = suspicionMult * Math.max(1, Math.log10(nodes)) * probeIntervalMs
  return 2 * probeIntervalMs + suspicionMinMs + 2 * probeIntervalMs
}

/**
 * Lets `deaths` members die in silence, `perBed` of each bed one after another; the others declare each down before the next.
 */
export function measureDetection(
  makeBed: MakeScaleBed,
  nodes: number,
  loss: number,
  deaths: number,
  perBed: number,
): DetectionRow {
  const first: number[] = []
  const all: number[] = []
  let falseAlarms = 0
  for (let seed = 1; all.length < deaths; seed++) {
    const bed = makeBed({ nodes, seed, loss, bytes: false })
    for (let death = 0; death < perBed && all.length < deaths; death++) {
      // At any moment of a period, and long enough after what was before.
      bed.runFor(5_000 + ((seed * 379 + death * 127) % 1_000))
      bed.events = []
      const { running } = bed
      const victim = running[(seed * 7 + death * 31) % running.length]?.name ?? ''
      const diedAtMs = bed.nowMs
      bed.crash(victim)
      const seenBy = new Map<string, number>()
      while (seenBy.size < running.length - 1 && bed.nowMs - diedAtMs < patienceMs) {
        bed.runFor(100)
        for (const { atMs, node, effect } of bed.events) {
          if (effect.type !== 'member-unreachable') continue
          if (effect.member?.name !== victim) falseAlarms++
          else if (!seenBy.has(node)) seenBy.set(node, atMs - diedAtMs)
        }
        bed.events = []
      }
      const times = [...seenBy.values()]
      first.push(times.length === 0 ? patienceMs : Math.min(...times))
      all.push(times.length < running.length - 1 ? patienceMs : Math.max(...times))
      const [judge] = bed.running
      if (judge !== undefined)
        bed.input(judge.name, { type: 'remove', name: victim, incarnation: 1, reason: 'bench' })
    }
  }
  return {
    nodes,
    loss,
    deaths: all.length,
    first: spreadOf(first),
    all: spreadOf(all),
    boundMs: detectionBoundMs(nodes),
    falseAlarms,
  }
}

/** What all send while nothing happens, over `seconds`, after half a minute. */
export function measureLoad(makeBed: MakeScaleBed, nodes: number, loss: number, seconds: number): LoadRow {
  const bed = makeBed({ nodes, seed: 1, loss, bytes: true })
  bed.runFor(30_000)
  bed.resetCounters()
  bed.runFor(seconds * 1_000)
  const { messages, bytes } = bed.totals()
  return { nodes, loss, messages: messages / nodes / seconds, bytes: bytes / nodes / seconds }
}

/** Nearest rank: with fewer than a hundred, p99 is the largest. */
function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number): number => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
