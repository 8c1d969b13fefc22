/** A ref whose messages go to a behaviour kit's list of effects. */
import { ActorError } from '../actor/actor-error.ts'
import type { Envelope, Message } from '../actor/envelope.ts'
import type { Kernel } from '../actor/kernel.ts'
import type { Protocol } from '../actor/protocol.ts'
import { Ref } from '../actor/ref.ts'
import type { WatchRecord } from '../actor/watch.ts'

export class KitRef extends Ref {
  override readonly path: string
  override readonly uid: number
  override readonly protocol: Protocol
  readonly #sent: (ref: KitRef, message: Message) => boolean

  constructor(
    path: string,
    uid: number,
    protocol: Protocol,
    sent: (ref: KitRef, message: Message) => boolean,
  ) {
    super()
    this.path = path
    this.uid = uid
    this.protocol = protocol
    this.#sent = sent
  }

  override get kernel(): Kernel {
    throw illegal(`Cannot use ${this.path} like this in a behaviour kit: there is no system behind it`)
  }

  override deliver(envelope: Envelope): boolean {
    return this.#sent(this, envelope.message)
  }

  override ask(message: Message): Promise<unknown> {
    const text =
      `Cannot ask "${message.type}" of ${this.path} in a behaviour kit: ` +
      'ask through ctx, so that it can be answered'
    return Promise.reject(illegal(text))
  }

  override room(): Promise<void> {
    return Promise.resolve()
  }

  override addWatch(_record: WatchRecord): void {
    throw illegal(`Cannot watch ${this.path} in a behaviour kit: watch through ctx`)
  }

  override removeWatch(_record: WatchRecord): void {
    // Nothing was added.
  }

  override refParts(): readonly unknown[] {
    return ['kit', this.path, this.uid, this.protocol.name]
  }
}

/** A use that has no meaning in a kit, or at this moment. */
export function illegal(message: string): ActorError {
  return new ActorError('RUNTIME_ILLEGAL_CALL', message)
}
