/** Runs that once broke a rule of supervision. Found by `npm run sim -- --scenario supervision/crash-storm`. */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

const scenario = 'supervision/crash-storm'

void test('a temporary sibling on its way down is waited for when an elder fails and the group grows', async (t) => {
  await pinned(t, { scenario, seed: 55 })
})

void test('no elder comes up again while a younger one of its group is still ending', async (t) => {
  await pinned(t, { scenario, seed: 89 })
})

void test('the static start waits for a group that is being restarted', async (t) => {
  await pinned(t, { scenario, seed: 92 })
})
