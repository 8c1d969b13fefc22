/**
 * How long a member may take to answer, by how long it took before: RFC 6298's smoothed round trip, with its weights of 1/8
 * and 1/4. Each ping has a sequence of its own, so an answer is never taken for that to another (Karn's problem).
 */
import type { MemberEntry } from './member-table.ts'

/** A direct ping was answered after `rttMs`. */
export function noteRoundTrip(entry: MemberEntry, rttMs: number): void {
  const { smoothedRttMs } = entry
  if (smoothedRttMs === undefined) {
    entry.smoothedRttMs = rttMs
    entry.rttVarianceMs = rttMs / 2
    return
  }
  entry.rttVarianceMs = 0.75 * entry.rttVarianceMs + 0.25 * Math.abs(smoothedRttMs - rttMs)
  entry.smoothedRttMs = 0.875 * smoothedRttMs + 0.125 * rttMs
}

/**
 * How long to wait for the ack before others are asked: srtt + 4 * rttvar, at least `leastMs`, at most `mostMs`; `mostMs`
 * while nothing was measured. With round trips of 40 ms and `leastMs` 100: 120 ms after the first, 100 ms soon. Nobody is
 * judged by it: that takes the whole period.
 */
export function probeTimeoutMs(entry: MemberEntry, leastMs: number, mostMs: number): number {
  const { smoothedRttMs, rttVarianceMs } = entry
  if (smoothedRttMs === undefined) return mostMs
  return Math.min(mostMs, Math.max(leastMs, smoothedRttMs + 4 * rttVarianceMs))
}
