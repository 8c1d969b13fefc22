/** A lease of the store and its client: what keeps it, what ends it, and what is left of it then. */
import { test } from 'tap'
import { kvCluster, type KvCluster } from './kv-cluster.ts'
import { codec } from './kv-source.ts'

const ttlMs = 3_000

/** Keep-alives that the log has. */
function beatsOf({ group }: KvCluster): number {
  return group.applied.filter((bytes) => {
    const command = codec.decodeKvCommand(bytes) as { readonly type: string }
    return command.type === 'lease-keep-alive'
  }).length
}

void test('KvLease: round trips of half its time hold it, and its keys', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const lease = await kv.get(client.lease({ ttlMs }))
  await kv.get(client.put('a', 'x', { lease }))
  kv.group.delayMs = ttlMs / 2
  const { clock } = kv.cluster.platform
  for (let i = 0; i < 60; i++) {
    await kv.cluster.advance(ttlMs / 3)
    t.equal(lease.signal.aborted, false)
    const leftMs = lease.heldUntilMs - clock.monotonicMs()
    if (i > 1) t.ok(leftMs <= ttlMs / 2, 'what an answer is late by does not count')
  }
  kv.group.delayMs = 0
  t.match(await kv.get(client.get('a')), { lease: lease.id, version: 1 })
})

void test('KvLease: a leader that is silent is left in time for the one that leads, also when a try may take longer', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d', { attemptMs: 20_000 })
  const lease = await kv.get(client.lease({ ttlMs }))
  await kv.get(client.put('a', 'x', { lease }))
  for (const [silent, next] of [
    ['a', 'b'],
    ['b', 'c'],
  ] as const) {
    const goOn = kv.cluster.stall(kv.node(silent))
    kv.group.elect(next)
    await kv.cluster.advance(ttlMs * 1.5)
    t.equal(lease.signal.aborted, false, `from ${silent} to ${next}`)
    goOn()
    await kv.cluster.advance(ttlMs)
  }
  t.match(await kv.get(client.get('a')), { lease: lease.id, version: 1 })
})

/** Timers that wait all the time: links have more for a moment now and then. */
async function standingTimers({ cluster }: KvCluster): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < 40; i++) {
    await cluster.advance(37)
    least = Math.min(least, cluster.platform.pendingTimers())
  }
  return least
}

void test('KvLease: nothing of it is left under way when it is revoked, lost, or its client is closed', async (t) => {
  for (const how of [
    'revoke',
    'revoke beside a silent leader',
    'close',
    'close beside a silent leader',
    'lose',
  ]) {
    await using kv = await kvCluster()
    const client = kv.client()
    await kv.get(client.put('a', 'x'))
    await kv.cluster.advance(ttlMs * 4)
    const timers = await standingTimers(kv)
    const lease = await kv.get(client.lease({ ttlMs }))
    await kv.cluster.advance(ttlMs * 2)
    t.ok((await standingTimers(kv)) > timers, 'it is kept alive')
    const goOn = how.endsWith('leader') ? kv.cluster.stall(kv.node('a')) : undefined
    await kv.cluster.advance(ttlMs * 0.7)
    if (how.startsWith('close')) await kv.get(client.close())
    else if (how === 'lose') {
      const command = codec.encodeKvCommand({ type: 'lease-revoke', id: lease.id })
      await kv.get(kv.group.group('a').propose(command))
      await kv.cluster.advance(ttlMs)
    } else {
      const revoked = lease.revoke()
      t.ok(lease.signal.aborted, 'before the store has heard of it')
      if (goOn === undefined) await kv.get(revoked)
      else void revoked.catch(() => {})
    }
    t.match(lease.signal.reason, { code: 'KV_LEASE_LOST' })
    goOn?.()
    await kv.cluster.advance(10)
    const before = beatsOf(kv)
    await kv.cluster.advance(ttlMs * 10)
    t.equal(beatsOf(kv), before, how)
    t.equal(await standingTimers(kv), timers, how)
  }
})
