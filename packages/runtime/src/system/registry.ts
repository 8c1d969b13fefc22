/** Names for actors of this system, so that who needs one need not know its path. Local; forgotten when the actor ends. */
import { ActorError } from '../actor/actor-error.ts'
import { LocalRef } from '../actor/local-ref.ts'
import type { MessageDefs, Protocol } from '../actor/protocol.ts'
import type { ActorRef, AnyActorRef } from '../actor/ref.ts'

export interface Registry {
  /** @throws {ActorError} RUNTIME_DUPLICATE_NAME if the name is taken by a living actor */
  readonly register: (name: string, ref: AnyActorRef) => void
  /** True if the name was registered. */
  readonly unregister: (name: string) => boolean
  /** `undefined` when nobody has that name, or has it with another protocol. */
  readonly find: <M extends MessageDefs>(protocol: Protocol<M>, name: string) => ActorRef<M> | undefined
  readonly names: () => readonly string[]
}

/** @internal `ended` is to be called for every actor that ends; its path is not looked at when there are no names. */
export interface OwnedRegistry extends Registry {
  readonly ended: (who: { readonly path: string; readonly uid: number }) => void
}

export function createRegistry(): OwnedRegistry {
  const byName = new Map<string, AnyActorRef>()
  return {
    register: (name, ref) => {
      const taken = byName.get(name)
      if (taken !== undefined) {
        throw new ActorError(
          'RUNTIME_DUPLICATE_NAME',
          `Cannot register "${name}" for ${ref.path}: the name is taken by ${taken.path}; unregister it first`,
          { name, path: taken.path },
        )
      }
      if (ref instanceof LocalRef && ref.cell.endReason !== null) {
        throw new ActorError('RUNTIME_STOPPED', `Cannot register "${name}" for ${ref.path}: it has stopped`)
      }
      byName.set(name, ref)
    },
    unregister: (name) => byName.delete(name),
    find: <M extends MessageDefs>(protocol: Protocol<M>, name: string) => {
      const ref = byName.get(name)
      return ref !== undefined && ref.protocol.name === protocol.name ? (ref as ActorRef<M>) : undefined
    },
    names: () => [...byName.keys()].sort(),
    ended: (who) => {
      if (byName.size === 0) return
      const { path, uid } = who
      for (const [name, ref] of byName) {
        if (ref.uid === uid && ref.path === path) byName.delete(name)
      }
    },
  }
}
