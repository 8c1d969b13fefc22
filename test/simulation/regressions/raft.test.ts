/** Runs that once broke a rule of Raft groups. Found by `npm run sim -- --scenario raft`. */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

/** It was silent when the group fell asleep, and never asks for votes, which alone woke the leader. */
void test('a learner that comes back to a quiet group gets the log', async (t) => {
  await pinned(t, { scenario: 'raft/log', seed: 26 })
})

/** What waited when the disk was full was rejected with an error that had no code. */
void test('a call that waits while the host restarts ends with a code', async (t) => {
  await pinned(t, { scenario: 'raft/log', seed: 73 })
  await pinned(t, { scenario: 'raft/snapshots', seed: 101 })
})

/** It said hello to the founders, none of whom led any more, and nobody told it who did. */
void test('a node that lost its disk finds a leader that is not among the founders', async (t) => {
  await pinned(t, { scenario: 'raft/membership', seed: 3 })
})

/** Its first replacement was still a learner, and was waited for though it was gone. */
void test('a node that loses its disk twice before it was replaced is replaced by the last', async (t) => {
  await pinned(t, { scenario: 'raft/log', seed: 124 })
})

/** The entry that named it was lost with its leader, and it had said hello for the last time. */
void test('a node that lost its disk is taken back although the entry that did so was lost', async (t) => {
  await pinned(t, { scenario: 'raft/membership', seed: 700033 })
})

/** Its disk could not store the number of its next life, and it stayed, in no cluster. */
void test('a node that cannot begin its next life does not stay as nobody', async (t) => {
  await pinned(t, { scenario: 'raft/log', seed: 42 })
})

/** It asked only those for votes who had been removed meanwhile, and the leader of the quiet group did not ask after it. */
void test('a member that was away while all others it knows were replaced finds the quiet group', async (t) => {
  await pinned(t, { scenario: 'raft/membership', seed: 990024 })
})
