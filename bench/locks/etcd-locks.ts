/** etcd's locks, in three ways. All owners share one connection to the leader. */
import { GrpcConnection } from '../harness/grpc-connection.ts'
import { Http2Channel } from '../harness/http2-channel.ts'
import { decodeMessage, encodeMessage } from '../harness/protobuf.ts'
import type { EtcdClientKind } from '../raft/etcd-client.ts'
import type { LockClient, LockOwner } from './lock-load.ts'

/**
 * - `lock`: etcd's own lock service, which runs its concurrency library inside the server: a queue of keys, each waiter waits
 *   for the one before it. Each owner has a lease for good, as a session of the library has.
 * - `lease`: as the npm package etcd3 does it: for every lock a new lease, a key made under it by a transaction, and the lease
 *   revoked in the end. Nobody queues.
 * - `txn`: one transaction for each step: made if absent, deleted if it is the owner's. No lease. Nobody queues.
 */
export type EtcdLockKind = 'lock' | 'lease' | 'txn'

type EtcdCall = (path: string, message: Uint8Array) => Promise<Uint8Array>

/** Longer than any run: no owner has to keep it alive. */
const LEASE_S = 36_000
const LOCK = '/v3lockpb.Lock/Lock'
const UNLOCK = '/v3lockpb.Lock/Unlock'
const GRANT = '/etcdserverpb.Lease/LeaseGrant'
const REVOKE = '/etcdserverpb.Lease/LeaseRevoke'
const RANGE = '/etcdserverpb.KV/Range'
const TXN = '/etcdserverpb.KV/Txn'
const TARGET_CREATE_REVISION = 2
const TARGET_VALUE = 3

/** `targets`: client ports, the leader's first. */
export async function connectEtcdLocks(
  targets: readonly string[],
  kind: EtcdLockKind,
  client: EtcdClientKind,
): Promise<LockClient> {
  const port = Number(targets[0])
  const connection = client === 'lean' ? await GrpcConnection.open(port) : await Http2Channel.open(port)
  const call: EtcdCall = (path, message) => connection.call(path, message)
  // Ids of leases are the client's to choose; two processes must not choose the same.
  const firstLease = process.pid * 1_000_000
  let leases = firstLease
  const owners: LockOwner[] = []
  const open = async (): Promise<LockOwner> => {
    if (kind === 'lease') return leaseOwner(call, () => ++leases)
    if (kind === 'txn') return txnOwner(call, `owner-${owners.length}`)
    const lease = firstLease + owners.length
    await call(GRANT, grantRequest(lease))
    return lockOwner(call, lease)
  }
  return {
    owners: async (count) => {
      while (owners.length < count) owners.push(await open())
      return owners.slice(0, count)
    },
    waiting: kind === 'lock' ? async (name) => keysOf(await call(RANGE, countRequest(name))) - 1 : undefined,
    close: async () => connection.close(),
  }
}

function lockOwner(call: EtcdCall, lease: number): LockOwner {
  const keys = new Map<string, Uint8Array>()
  return {
    lock: async (name) => {
      const answer = await call(
        LOCK,
        encodeMessage([
          [1, name],
          [2, lease],
        ]),
      )
      const key = decodeMessage(answer).find(([field]) => field === 2)?.[1]
      if (!(key instanceof Uint8Array)) throw new Error(`etcd gave no key for the lock "${name}"`)
      keys.set(name, key)
    },
    unlock: (name) => call(UNLOCK, encodeMessage([[1, keys.get(name) ?? name]])),
  }
}

function leaseOwner(call: EtcdCall, nextLease: () => number): LockOwner {
  let lease = 0
  return {
    lock: async (name) => {
      lease = nextLease()
      await call(GRANT, grantRequest(lease))
      await succeed(call, name, createRequest(name, '', lease))
    },
    unlock: () => call(REVOKE, encodeMessage([[1, lease]])),
  }
}

function txnOwner(call: EtcdCall, owner: string): LockOwner {
  return {
    lock: (name) => succeed(call, name, createRequest(name, owner, 0)),
    unlock: (name) => succeed(call, name, deleteRequest(name, owner)),
  }
}

/** A transaction whose condition must hold. */
async function succeed(call: EtcdCall, name: string, transaction: Uint8Array): Promise<void> {
  const answer = await call(TXN, transaction)
  if (!decodeMessage(answer).some(([field, figure]) => field === 2 && figure === 1))
    throw new Error(`The key of the lock "${name}" was not as it must be`)
}

function grantRequest(lease: number): Uint8Array {
  return encodeMessage([
    [1, LEASE_S],
    [2, lease],
  ])
}

/** If there is no such key: puts it. */
function createRequest(name: string, owner: string, lease: number): Uint8Array {
  const compare = encodeMessage([
    [2, TARGET_CREATE_REVISION],
    [3, name],
    [5, 0],
  ])
  const put = encodeMessage([
    [1, name],
    [2, owner],
    [3, lease],
  ])
  return encodeMessage([
    [1, compare],
    [2, encodeMessage([[2, put]])],
  ])
}

/** If the key has that value: deletes it. */
function deleteRequest(name: string, owner: string): Uint8Array {
  const compare = encodeMessage([
    [2, TARGET_VALUE],
    [3, name],
    [7, owner],
  ])
  return encodeMessage([
    [1, compare],
    [2, encodeMessage([[3, encodeMessage([[1, name]])]])],
  ])
}

/** How many keys "NAME/..." there are, without them. */
function countRequest(name: string): Uint8Array {
  return encodeMessage([
    [1, `${name}/`],
    [2, `${name}0`],
    [9, 1],
  ])
}

function keysOf(answer: Uint8Array): number {
  return Number(decodeMessage(answer).find(([field]) => field === 4)?.[1] ?? 0)
}
