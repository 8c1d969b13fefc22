/**
 * The number of a node's life. It grows from one life to the next: past every one that is stored, that anybody was seen to
 * know, and by the wall clock. With `data` it is on disk before anybody hears of it, so that a clock that was set back cannot
 * make two lives of one number.
 */
import type { Platform, Store } from '@understudy/runtime'

const storedKey = 'understudy/node/incarnation'

/** The highest number that was stored; 0 when there is none. @throws what the store throws */
export async function storedIncarnation(store: Store | undefined): Promise<number> {
  const bytes = await store?.get(storedKey)
  if (bytes === undefined) return 0
  const stored = Number(new TextDecoder().decode(bytes))
  return Number.isSafeInteger(stored) && stored > 0 ? stored : 0
}

/** Resolves when it is durable. @throws what the store throws */
export async function storeIncarnation(store: Store | undefined, incarnation: number): Promise<void> {
  await store?.write([{ type: 'put', key: storedKey, value: new TextEncoder().encode(String(incarnation)) }])
}

/**
 * The next life's number: above `above`, and else by the wall clock with 10 bits of chance, so that two starts at the same
 * time of day (a clock that stands still, a snapshot that is run twice) differ but for one in 1,024.
 */
export function nextIncarnation(platform: Pick<Platform, 'clock' | 'secureBytes'>, above: number): number {
  const [high = 0, low = 0] = platform.secureBytes(2)
  const byClock = Math.floor(platform.clock.wallMs()) * 1_024 + (((high << 8) | low) % 1_024)
  return Math.max(1, above + 1, byClock)
}
