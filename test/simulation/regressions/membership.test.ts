/** Runs that once broke a rule of membership. Found by `npm run sim -- --scenario membership`, `handshake` and `ring`. */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

/** The phase that was told last was read from the view, where a doubted member is `suspect`: it was never told to be up. */
void test('a member that is heard of under suspicion is told to be up all the same', async (t) => {
  await pinned(t, { scenario: 'handshake/attack', seed: 13 })
})

/** A link to a member that was known already was no news to the bootstrap, which waited for it for ever. */
void test('a node that hears of the others before it is linked with them becomes alive', async (t) => {
  await pinned(t, { scenario: 'membership/bootstrap', seed: 8 })
})

/** The first push-pull left before the word that this link is the one, and its answer had no link to go by. */
void test('the answer to the first push-pull of a link arrives', async (t) => {
  await pinned(t, { scenario: 'handshake/attack', seed: 10 })
})

void test('a node that is told to leave while it joins does not become alive any more', async (t) => {
  await pinned(t, { scenario: 'ring/owner', seed: 16 })
})

/** Gossip that it has left overtook its last answers, which came on another lane. */
void test('the last answers of a node that leaves arrive before it has left', async (t) => {
  await pinned(t, { scenario: 'membership/leave', seed: 6 })
})

/** Nodes that joined took a whole table of one another for all there was to know, and joined one that had slept beside those that had given it up. */
void test('who slept through its removal is not confirmed by nodes that joined through it', async (t) => {
  await pinned(t, { scenario: 'lock/downing', seed: 810033 })
})

/** With nobody left to ask it was released at once, and held again for the same stall, in turns without end. */
void test('a node that stood still beside one that leaves is held for that once', async (t) => {
  await pinned(t, { scenario: 'lock/mutex', seed: 940342 })
})
