/** Starts the store's service on a node, over a consensus group that is there, or opens one. */
import type { ClusterNode } from '@understudy/cluster'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import type { StateMachine } from '../core/state-machine.ts'
import type { KvResult } from './kv-command.ts'
import type { KvMachine, KvMachineStatus } from './kv-machine.ts'
import { KvWatcher, kvServicePath } from './kv-protocol.ts'
import { KvReplica } from './kv-replica.ts'
import { kvServiceActor } from './kv-service-actor.ts'
import { checkKvServiceOptions, type KvServiceOptions } from './kv-service-options.ts'

/** What the store needs of a node. */
export type KvNode = Pick<ClusterNode, 'name' | 'system' | 'ref'>

/** The store on this node. Clients reach it by the node's name: see `kvClient`. */
export interface Kv extends AsyncDisposable {
  readonly name: string
  readonly group: ConsensusGroup<KvResult>
  /** The state on this node, to be read and not changed. Another object after a restart of the group's host. */
  readonly machine: () => KvMachine
  readonly status: () => { readonly group: GroupStatus; readonly store: KvMachineStatus }
  /** Ends the service and this node's part in the group; the others go on, and still count it. */
  readonly close: () => Promise<void>
}

export interface OpenKvOptions extends KvServiceOptions {
  /**
   * Opens the group that carries the store: `({ name, machine }) => openRaftGroup(consensus, { name, members, machine })`.
   * `machine` makes an empty state, for each life of the group's member on this node.
   */
  readonly openGroup: (group: {
    readonly name: string
    readonly machine: () => StateMachine<KvResult>
  }) => Promise<ConsensusGroup<KvResult>>
}

/** A store on a group of its own. Resolves when the group is open here; whether it has a leader, `status` says. */
export async function openKv(node: KvNode, options: OpenKvOptions): Promise<Kv> {
  const { name } = checkKvServiceOptions(options)
  const replica = new KvReplica()
  const group = await options.openGroup({ name, machine: replica.makeMachine })
  return startKvService(node, group, replica, options)
}

/**
 * The service of a store whose group is open already, with the machines of `replica`.
 * @throws {ActorError} RUNTIME_DUPLICATE_NAME when this node has a store of that name
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
  const definition = kvServiceActor(group, replica, checked)
  // Every node's system is one: the cluster makes it so.
  const { ref } = spawnSystemActor(node.system as InternalSystem, `kv-${name}`, definition)
  const close = async (): Promise<void> => {
    await node.system.stop(ref)
    await group.close()
  }
  return {
    name,
    group,
    machine: () => replica.machine,
    status: () => ({ group: group.status(), store: replica.machine.status() }),
    close,
    [Symbol.asyncDispose]: close,
  }
}
