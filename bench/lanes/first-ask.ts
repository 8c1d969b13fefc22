/** How long the first ask between two nodes takes that have just met, and the next one. */
import { percentile } from '../harness/sample.ts'
import { Echo, ECHO_PATH } from './lane-actors.ts'
import { Partner, startHere } from './lane-pair.ts'

/** Medians, in milliseconds. */
export interface FirstAskRow {
  readonly firstMs: number
  readonly firstMsMax: number
  readonly secondMs: number
}

/** `dials`: whether this side dials the other, or is dialled. Each round has two new nodes in the same two processes. */
export async function measureFirstAsk(dials: boolean, rounds: number): Promise<FirstAskRow> {
  const partner = new Partner()
  const first: number[] = []
  const second: number[] = []
  try {
    for (let round = 0; round < rounds; round++) {
      const there = `partner-${round}`
      const address = dials ? await partner.start(there, []) : undefined
      const node = await startHere(`bench-${round}`, address === undefined ? [] : [address])
      if (!dials) await partner.start(there, [node.address])
      await node.whenMembers(2, { signal: AbortSignal.timeout(20_000) })
      const echo = node.ref(Echo, there, ECHO_PATH)
      for (const trips of [first, second]) {
        const sinceMs = performance.now()
        await echo.ask({ type: 'data', value: round }, { timeoutMs: 10_000 })
        trips.push(performance.now() - sinceMs)
      }
      await node.shutdown('the round is over')
      await partner.stop()
    }
  } finally {
    await partner.end()
  }
  return {
    firstMs: percentile(first, 50),
    firstMsMax: percentile(first, 100),
    secondMs: percentile(second, 50),
  }
}
