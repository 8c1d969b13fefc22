/** What it costs to send to an actor in another process that handles a hundred messages a second. */
import { actor, protocol, tell, type ActorRef } from '@understudy/runtime'
import { setTimeout as delay } from 'node:timers/promises'
import { PARCELS_PATH, PARTNER_NAME, Parcels } from './lane-actors.ts'
import { startPair } from './lane-pair.ts'

const PARCEL_BYTES = 1_024
const BATCH = 256
const LOOK_EVERY_MS = 100

/** Bytes are of resident memory, counted from when the two nodes had met. */
export interface SlowConsumerRow {
  readonly taken: number
  readonly refused: number
  readonly handled: number
  readonly senderGrowthBytes: number
  readonly receiverGrowthBytes: number
}

const Sender = protocol('parcel-sender', { batch: tell() })

interface Sending {
  readonly to: ActorRef<typeof Parcels.messages>
  readonly waits: boolean
  readonly count: { taken: number; refused: number }
}

const sender = actor(Sender, (ctx, { to, waits, count }: Sending) => {
  const bytes = new Uint8Array(PARCEL_BYTES).fill(7)
  return {
    batch: async () => {
      if (waits) await to.room()
      for (let i = 0; i < BATCH; i++) {
        if (ctx.tell(to, { type: 'parcel', bytes })) count.taken++
        else count.refused++
      }
      ctx.tell(ctx.self, { type: 'batch' })
    },
  }
})

/** `waits`: whether the sender awaits `room()` before each batch, or sends as fast as it can. */
export async function measureSlowConsumer(waits: boolean, durationMs: number): Promise<SlowConsumerRow> {
  const { node, partner } = await startPair()
  try {
    const before = process.memoryUsage.rss()
    const { rssBytes: beforeThere } = await partner.look()
    let most = before
    let mostThere = beforeThere
    let handled = 0
    const count = { taken: 0, refused: 0 }
    const to = node.ref(Parcels, PARTNER_NAME, PARCELS_PATH)
    node.system.spawn('sender', sender, { to, waits, count }).tell({ type: 'batch' })
    const endMs = performance.now() + durationMs
    while (performance.now() < endMs) {
      await delay(LOOK_EVERY_MS)
      const there = await partner.look()
      handled = there.handled
      most = Math.max(most, process.memoryUsage.rss())
      mostThere = Math.max(mostThere, there.rssBytes)
    }
    return {
      ...count,
      handled,
      senderGrowthBytes: most - before,
      receiverGrowthBytes: mostThere - beforeThere,
    }
  } finally {
    await partner.end()
  }
}
