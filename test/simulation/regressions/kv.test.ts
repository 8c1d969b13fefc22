/** Runs that once broke a rule of the key-value store. Found by `npm run sim -- --scenario kv`. */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

/** The learner that it was first was gone, and was waited for. */
void test('a server that loses its disk twice in a row is a server again', async (t) => {
  await pinned(t, { scenario: 'kv/leases', seed: 5 })
})

void test('watches go on when a server has lost its disk twice in a row', async (t) => {
  await pinned(t, { scenario: 'kv/watch', seed: 3 })
})

/** Also, a progress notification went back when its watch moved to a server that was behind. */
void test('a snapshot that is begun before the last one has ended takes no revisions from it', async (t) => {
  await pinned(t, { scenario: 'kv/watch', seed: 9 })
})
