/**
 * Local health (Lifeguard): a node that misses answers it should have had, or that runs late, slows its own judgement before
 * it doubts others.
 */

/** Scores go from 0, healthy, to one below this. */
export const awarenessScores = 8

/** What a node thinks of its own health. */
export class Awareness {
  #score = 0

  /** 0 to 7. */
  get score(): number {
    return this.#score
  }

  /** Worse by so many points; better by a negative number. */
  add(points: number): void {
    this.#score = Math.min(awarenessScores - 1, Math.max(0, this.#score + points))
  }

  /** A time of the protocol as it is for this health: multiplied by score + 1. */
  scale(ms: number): number {
    return ms * (this.#score + 1)
  }
}

/**
 * Points for having run late (pitfall M13): none below a quarter of a probe interval, where every event loop is now and then;
 * then one for each interval begun. With 1,000 ms: 249 ms are 0, 250 and 1,000 are 1, 2,500 are 3.
 */
export function latenessPoints(lateMs: number, probeIntervalMs: number): number {
  return lateMs < probeIntervalMs / 4 ? 0 : Math.ceil(lateMs / probeIntervalMs)
}

/**
 * Points for a probe that failed: those who were asked to probe and did not even answer that they could not (their nack) are
 * more likely cut off from us than dead with the target. With nobody to ask, one.
 */
export function failedProbePoints(asked: number, nacks: number): number {
  return asked === 0 ? 1 : Math.max(0, asked - nacks)
}
