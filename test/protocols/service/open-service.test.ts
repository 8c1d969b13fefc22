/** A service on a consensus group is opened on a node once under each name. */
import type { ClusterNode } from '@understudy/cluster'
import { test, type Test } from 'tap'
import { kvCluster, openKv, startKvService } from '../kv/kv-cluster.ts'
import { lockCluster, openLocks, startLockService } from '../lock/lock-cluster.ts'
import type { ServiceCluster } from './service-cluster.ts'

type Open = (
  node: ClusterNode,
  options: { readonly name: string; readonly openGroup: () => Promise<never> },
) => Promise<unknown>

async function openTwice<R, P, S>(
  t: Test,
  on: ServiceCluster<R, P, S>,
  name: string,
  code: string,
  open: Open,
  start: () => S,
): Promise<void> {
  const a = on.node('a')
  const opened = (
    other: string,
    openGroup = (): Promise<never> => Promise.reject(new Error('not asked for')),
  ) => on.cluster.outcome(open(a, { name: other, openGroup }))
  const refused = {
    code,
    message: /on node "a": it is open already; use that one/,
    details: { name, node: 'a' },
  }
  t.match(await opened(name), { error: refused })
  t.throws(start, refused)
  // One that is being opened counts, and one whose opening failed does not.
  let fail: (error: Error) => void = () => undefined
  const slow = opened('other', () => new Promise((_, reject) => (fail = reject)))
  t.match(await opened('other'), { error: { code, details: { name: 'other', node: 'a' } } })
  fail(new Error('the disk is full'))
  t.match(await slow, { error: { message: 'the disk is full' } })
  t.match(await opened('other'), { error: { message: 'not asked for' } })
}

void test('openKv: a second store of one name on a node is refused with a code, and the first goes on', async (t) => {
  await using kv = await kvCluster()
  await openTwice(t, kv, 'kv', 'KV_ALREADY_OPEN', openKv, () =>
    startKvService(kv.node('a'), kv.group.group('a'), kv.replica('a')),
  )
  await kv.get(kv.client().put('still', 'there'))
})

void test('openLocks: a second table of one name on a node is refused with a code, and the first goes on', async (t) => {
  await using locks = await lockCluster()
  await openTwice(t, locks, 'locks', 'LOCK_ALREADY_OPEN', openLocks, () =>
    startLockService(locks.node('a'), locks.group.group('a'), locks.replica('a')),
  )
  const { caller } = await locks.attached()
  await locks.get(caller.write('still', { type: 'count-add', name: 'n', by: 1 }, {}))
})

void test('openKv: a group that was opened for a name that somebody took meanwhile is closed again', async (t) => {
  await using kv = await kvCluster()
  const a = kv.node('a')
  const group = kv.group.group('a')
  let openGroup: (group: typeof own) => void = () => undefined
  const slow = kv.cluster.outcome(
    openKv(a, { name: 'other', openGroup: () => new Promise((resolve) => (openGroup = resolve)) }),
  )
  startKvService(a, group, kv.replica('a'), { name: 'other' })
  let closed = 0
  const own = Object.create(group, {
    close: { value: () => Promise.resolve(void closed++) },
  }) as typeof group
  openGroup(own)
  t.match(await slow, { error: { code: 'KV_ALREADY_OPEN' } })
  t.equal(closed, 1)
})

void test('openKv: one that was closed can be opened again', async (t) => {
  await using kv = await kvCluster()
  await kv.get(kv.service('a').close())
  const again = startKvService(kv.node('a'), kv.group.group('a'), kv.replica('a'))
  t.equal(again.name, 'kv')
})
