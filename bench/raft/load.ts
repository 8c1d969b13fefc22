/** The load of puts and gets that every key-value store gets alike. */
import { runLoops, type LoadFigures } from '../harness/load-loop.ts'
import { percentile } from '../harness/sample.ts'

/** What can be asked of a system under load. Promises reject when an operation was not acknowledged. */
export interface LoadClient {
  readonly put: (key: string, value: Uint8Array) => Promise<unknown>
  /** Linearizable. */
  readonly get: (key: string) => Promise<unknown>
  /** Forgets old revisions, so that no system pays in a later run for the keys of an earlier one. */
  readonly compact: () => Promise<void>
  readonly close: () => Promise<void>
}

export type LoadOperation = 'put' | 'get'

/** Bytes of every value. */
export const VALUE_BYTES = 256
/** How many keys there are. They are written in turn. */
export const KEYS = 10_000

const keys: readonly string[] = Array.from({ length: KEYS }, (_, at) => `key-${String(at).padStart(6, '0')}`)
const value = Uint8Array.from({ length: VALUE_BYTES }, (_, at) => (at * 37) & 0xff)
let turn = 0

/** The key whose turn it is. */
export function nextKey(): string {
  turn = (turn + 1) % KEYS
  return keys[turn] ?? ''
}

/** The value that is put, for ever the same one. */
export function loadValue(): Uint8Array {
  return value
}

/** Runs for `durationMs` with so many in flight. */
export function runLoad(
  client: LoadClient,
  operation: LoadOperation,
  inFlight: number,
  durationMs: number,
): Promise<LoadFigures> {
  const once = operation === 'put' ? () => client.put(nextKey(), value) : () => client.get(nextKey())
  return runLoops(once, inFlight, durationMs)
}

/** What `measureGap` found. */
export interface Gap {
  /** From the kill to the first acknowledgement of a put that was begun after it. */
  readonly gapMs: number
}

/** Puts go on with `inFlight`; `kill` is called in the middle of them, and a new put begins every 5 ms after it. */
export async function measureGap(
  client: LoadClient,
  inFlight: number,
  kill: () => void,
  giveUpMs: number,
): Promise<Gap> {
  let isOver = false
  const failureMs = 5
  const loop = async (): Promise<void> => {
    while (!isOver) await client.put(nextKey(), value).catch(() => pause(failureMs))
  }
  const loops = Array.from({ length: inFlight }, loop)
  await pause(300)
  kill()
  const killedMs = performance.now()
  const gapMs = await new Promise<number>((resolve, reject) => {
    const probe = (): void => {
      if (isOver) return
      if (performance.now() - killedMs > giveUpMs) {
        isOver = true
        return reject(new Error(`no put was acknowledged within ${giveUpMs} ms of the kill`))
      }
      client.put(nextKey(), value).then(
        () => {
          isOver = true
          resolve(performance.now() - killedMs)
        },
        () => undefined,
      )
      setTimeout(probe, failureMs)
    }
    probe()
  })
  await Promise.race([Promise.all(loops), pause(3_000)])
  return { gapMs }
}

/** p50, p99 and the largest. */
export function spreadOf(values: readonly number[]): {
  readonly p50: number
  readonly p99: number
  readonly max: number
} {
  return { p50: percentile(values, 50), p99: percentile(values, 99), max: percentile(values, 100) }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
