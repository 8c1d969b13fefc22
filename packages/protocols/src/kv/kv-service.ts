/** Starts the store's service on a node, over a consensus group that is there, or opens one. */
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import {
  openOnce,
  startService,
  type OpenService,
  type OpenServiceOptions,
  type ServiceNode,
  type ServiceSort,
} from '../service/open-service.ts'
import type { KvResult } from './kv-command.ts'
import { KvError } from './kv-error.ts'
import type { KvMachine, KvMachineStatus } from './kv-machine.ts'
import { KvWatcher, kvServicePath } from './kv-protocol.ts'
import { KvReplica } from './kv-replica.ts'
import { kvServiceActor } from './kv-service-actor.ts'
import { checkKvServiceOptions, type KvServiceOptions } from './kv-service-options.ts'

/** What the store needs of a node. */
export type KvNode = ServiceNode

/** The store on this node. Clients reach it by the node's name: see `kvClient`. */
export interface Kv extends OpenService<KvResult, KvMachine> {
  readonly status: () => { readonly group: GroupStatus; readonly store: KvMachineStatus }
}

export interface OpenKvOptions extends KvServiceOptions, OpenServiceOptions<KvResult> {}

const sort: ServiceSort = {
  what: 'the store',
  pathOf: kvServicePath,
  alreadyOpen: (message, details) => new KvError('KV_ALREADY_OPEN', message, details),
}

/**
 * A store on a group of its own. Resolves when the group is open here; whether it has a leader, `status` says.
 * @throws {KvError} (as a rejection) KV_ALREADY_OPEN: this node has a store of that name, or is opening one
 */
export async function openKv(node: KvNode, options: OpenKvOptions): Promise<Kv> {
  const { name } = checkKvServiceOptions(options)
  const replica = new KvReplica()
  return openOnce(
    sort,
    node,
    name,
    () => options.openGroup({ name, machine: replica.makeMachine }),
    (group) => startKvService(node, group, replica, options),
  )
}

/**
 * The service of a store whose group is open already, with the machines of `replica`.
 * @throws {KvError} KV_ALREADY_OPEN: this node has a store of that name
 */
export function startKvService(
  node: KvNode,
  group: ConsensusGroup<KvResult>,
  replica: KvReplica,
  options: KvServiceOptions = {},
): Kv {
  const checked = checkKvServiceOptions(options)
  const { name } = checked
  // A watch brings a ref to its client: from here on this node knows what that is.
  node.ref(KvWatcher, node.name, kvServicePath(name))
  const service = startService(sort, node, name, group, replica, kvServiceActor(group, replica, checked))
  return {
    ...service,
    status: () => ({ group: group.status(), store: replica.machine.status() }),
  }
}
