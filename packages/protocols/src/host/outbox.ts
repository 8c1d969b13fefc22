/** What a host is about to send: the messages of one turn, gathered by peer and lane into as few batches as will fit. */
import type { HostLane } from './hosted-member.ts'

/** Bytes of one batch, as estimated: well below the least that a frame takes. A larger message travels alone. */
export const batchBytesMax = 262_144
/** Messages of one batch. */
export const batchMessagesMax = 1_024

/** Sends one batch; false: it was refused. */
export type SendBatch = (node: string, lane: HostLane, items: readonly unknown[]) => boolean

interface Batch {
  readonly node: string
  readonly lane: HostLane
  /** Flat: group, payload, group, payload. */
  readonly items: unknown[]
  bytes: number
}

/** Urgent lanes leave first. */
const lanes: readonly HostLane[] = ['control', 'data', 'bulk']

export class Outbox {
  readonly #batches: Readonly<Record<HostLane, Batch[]>> = { control: [], data: [], bulk: [] }
  /** The batch that the next message to that peer goes into. */
  readonly #open: Readonly<Record<HostLane, Map<string, Batch>>> = {
    control: new Map(),
    data: new Map(),
    bulk: new Map(),
  }

  /** True when nothing waited before: the caller sees to it that `flush` comes. Hot (bench: raft). */
  add(node: string, lane: HostLane, group: string, payload: unknown): boolean {
    const isFirst = this.isEmpty
    const bytes = group.length + sizeOf(payload, 0)
    let batch = this.#open[lane].get(node)
    if (
      batch === undefined ||
      batch.bytes + bytes > batchBytesMax ||
      batch.items.length >= 2 * batchMessagesMax
    ) {
      batch = { node, lane, items: [], bytes: 0 }
      this.#open[lane].set(node, batch)
      this.#batches[lane].push(batch)
    }
    batch.items.push(group, payload)
    batch.bytes += bytes
    return isFirst
  }

  get isEmpty(): boolean {
    const { control, data, bulk } = this.#batches
    return data.length === 0 && control.length === 0 && bulk.length === 0
  }

  /** Sends everything, in the order in which it was added within a lane. Returns the nodes that something was refused for. */
  flush(send: SendBatch): readonly string[] {
    let refused: Set<string> | undefined
    for (const lane of lanes) {
      const batches = this.#batches[lane]
      if (batches.length === 0) continue
      this.#open[lane].clear()
      for (const { node, items } of batches.splice(0)) {
        if (!send(node, lane, items)) (refused ??= new Set()).add(node)
      }
    }
    return refused === undefined ? nobody : [...refused]
  }

  /** Drops everything. */
  clear(): void {
    for (const lane of lanes) {
      this.#batches[lane].length = 0
      this.#open[lane].clear()
    }
  }
}

const nobody: readonly string[] = Object.freeze([])

/** Bytes on the wire, more or less. Payloads are flat: what is deeper counts as little. */
function sizeOf(value: unknown, depth: number): number {
  switch (typeof value) {
    case 'string':
      return 5 + 3 * value.length
    case 'object':
      break
    default:
      return 9
  }
  if (value === null) return 1
  if (value instanceof Uint8Array) return 5 + value.byteLength
  if (depth === 4) return 64
  let bytes = 5
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) bytes += sizeOf(value[i], depth + 1)
    return bytes
  }
  for (const [name, inner] of Object.entries(value)) bytes += 5 + name.length + sizeOf(inner, depth + 1)
  return bytes
}
