/** What a call is told that gives up while others of its batch do not. */
import { test } from 'tap'
import { isActorError } from '@understudy/runtime'
import { kvCluster } from '../kv/kv-cluster.ts'

/** Found by lock/mutex in the simulator: an acquire that was told to be not done was carried out, and held for ever. */
void test('Gathering: who gives up before its batch is asked for is not told that nothing was done, when the batch goes on', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d')
  // The first batch waits for its session, and that takes longer than one of its calls has time for.
  kv.group.delayMs = 50
  const hasty = client
    .put('hasty', '1', { timeoutMs: 20 })
    .then(() => 'done')
    .catch((error: unknown) => (isActorError(error) ? error.code : String(error)))
  await kv.get(client.put('patient', '1', { timeoutMs: 5_000 }))
  t.ok(await kv.get(client.get('hasty')), 'it was carried out after all')
  t.equal(await kv.get(hasty), 'PROTOCOLS_OUTCOME_UNKNOWN')
})

void test('Gathering: who gives up alone, before it is asked for, is told that nothing was done, and nothing is', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d')
  kv.group.delayMs = 50
  const code = await kv.get(
    client
      .put('hasty', '1', { timeoutMs: 20 })
      .then(() => 'done')
      .catch((error: unknown) => (isActorError(error) ? error.code : String(error))),
  )
  t.equal(code, 'KV_UNAVAILABLE')
  await kv.get(client.put('patient', '1'))
  t.equal(await kv.get(client.get('hasty')), undefined)
})
