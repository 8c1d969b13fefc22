/** How a service on a consensus group is opened on a node: under each name once, over a group of its own or one that is there. */
import type { ClusterNode } from '@understudy/cluster'
import type { Definition, MessageDefs } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { ConsensusGroup } from '../core/consensus-group.ts'
import type { StateMachine } from '../core/state-machine.ts'

/** What a service needs of a node. */
export type ServiceNode = Pick<ClusterNode, 'name' | 'system' | 'ref'>

/** A service on this node. `R` is what its group's commands result in, `M` its state. */
export interface OpenService<R, M> extends AsyncDisposable {
  readonly name: string
  readonly group: ConsensusGroup<R>
  /** The state on this node, to be read and not changed. Another object after a restart of the group's host. */
  readonly machine: () => M
  /** Ends the service and this node's part in the group; the others go on, and still count it. */
  readonly close: () => Promise<void>
}

export interface OpenServiceOptions<R> {
  /**
   * Opens the group that carries the service: `({ name, machine }) => openRaftGroup(consensus, { name, members, machine })`.
   * `machine` makes an empty state, for each life of the group's member on this node.
   */
  readonly openGroup: (group: {
    readonly name: string
    readonly machine: () => StateMachine<R>
  }) => Promise<ConsensusGroup<R>>
}

/** What tells one sort of service from another. */
export interface ServiceSort {
  /** For messages to people: `the lock table`. */
  readonly what: string
  /** Where its actor is, below `/system/`. */
  readonly pathOf: (name: string) => string
  /** The error of one that is open already. */
  readonly alreadyOpen: (message: string, details: Readonly<Record<string, unknown>>) => Error
}

/**
 * Opens the group of a service and starts the service on it; until that ends nobody else opens one of that name on this node.
 * A group whose service cannot be started is closed again.
 * @throws {Error} (as a rejection) the sort's `alreadyOpen`: the node has it, or is opening it
 */
export async function openOnce<R, T>(
  sort: ServiceSort,
  node: ServiceNode,
  name: string,
  openGroup: () => Promise<ConsensusGroup<R>>,
  start: (group: ConsensusGroup<R>) => T,
): Promise<T> {
  checkNotOpen(sort, node, name)
  const path = sort.pathOf(name)
  const paths = opening.get(node.system) ?? new Set()
  if (paths.has(path)) throw alreadyOpen(sort, node, name)
  opening.set(node.system, paths.add(path))
  try {
    const group = await openGroup()
    try {
      return start(group)
    } catch (error) {
      await group.close()
      throw error
    }
  } finally {
    paths.delete(path)
  }
}

/** Paths of services whose groups are being opened, by the system of their node. */
const opening = new WeakMap<ServiceNode['system'], Set<string>>()

/**
 * Starts the service of that name, whose group is open already.
 * @throws {Error} the sort's `alreadyOpen`: this node has a service of that name
 */
export function startService<R, M, D extends MessageDefs>(
  sort: ServiceSort,
  node: ServiceNode,
  name: string,
  group: ConsensusGroup<R>,
  replica: { readonly machine: M },
  definition: Definition<D, void>,
): OpenService<R, M> {
  checkNotOpen(sort, node, name)
  const { ref } = spawnSystemActor(systemOf(node), sort.pathOf(name).slice('/system/'.length), definition)
  const close = async (): Promise<void> => {
    await node.system.stop(ref)
    await group.close()
  }
  return { name, group, machine: () => replica.machine, close, [Symbol.asyncDispose]: close }
}

function checkNotOpen(sort: ServiceSort, node: ServiceNode, name: string): void {
  if (systemOf(node).resolve(sort.pathOf(name)) !== undefined) throw alreadyOpen(sort, node, name)
}

/** Every node's system is one: the cluster makes it so. */
function systemOf(node: ServiceNode): InternalSystem {
  return node.system as InternalSystem
}

function alreadyOpen(sort: ServiceSort, node: ServiceNode, name: string): Error {
  const text = `Cannot open ${sort.what} "${name}" on node "${node.name}": it is open already`
  const mend = 'use that one, close it first, or give this one another name'
  return sort.alreadyOpen(`${text}; ${mend}`, { name, node: node.name })
}
