/**
 * Actors of the node itself, at /system: they outlive what the user runs, are restarted whenever they crash, and are never held
 * when the node does not know whether it still counts.
 */
import type { AnyDefinition, Definition } from '../actor/behaviour.ts'
import type { Cell } from '../actor/cell.ts'
import { childPolicy, type ChildOptions } from '../actor/child-spec.ts'
import type { MessageDefs } from '../actor/protocol.ts'
import type { ActorRef } from '../actor/ref.ts'
import type { InternalSystem } from './actor-system.ts'

export interface SystemActor<M extends MessageDefs> {
  readonly cell: Cell
  readonly ref: ActorRef<M>
}

/** @internal Starts `definition` at `/system/<name>`. @throws {ActorError} RUNTIME_DUPLICATE_NAME */
export function spawnSystemActor<M extends MessageDefs>(
  system: InternalSystem,
  name: string,
  definition: Definition<M, void>,
  options: ChildOptions = {},
): SystemActor<M> {
  const policy = childPolicy({ restart: 'permanent', ...options }, 'permanent')
  // Cells and their refs carry no message types; the definition says what they are, and gives them back here.
  const untyped = definition as unknown as AnyDefinition
  const cell = system.systemCell.makeFamily().spawn(name, untyped, undefined, policy)
  return { cell, ref: cell.ref as unknown as ActorRef<M> }
}
