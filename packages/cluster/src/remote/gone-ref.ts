/** A ref that came back to the node it was made on, where its actor has ended: dead for ever, as any bound ref then. */
import { ActorStopped, type Protocol } from '@understudy/runtime'
import { Ref, type Envelope, type Kernel, type WatchRecord } from '@understudy/runtime/internal'

export class GoneRef extends Ref {
  override readonly path: string
  override readonly uid: number | undefined
  override readonly protocol: Protocol
  override readonly kernel: Kernel
  /** Of the life of this node that the actor belonged to. */
  readonly #incarnation: number

  constructor(
    kernel: Kernel,
    incarnation: number,
    path: string,
    uid: number | undefined,
    protocol: Protocol,
  ) {
    super()
    this.kernel = kernel
    this.#incarnation = incarnation
    this.path = path
    this.uid = uid
    this.protocol = protocol
  }

  override deliver(envelope: Envelope): boolean {
    const { type } = envelope.message
    const text = `Cannot send "${type}" to ${this.path}: it has stopped`
    envelope.call?.fail(new ActorStopped(text, { path: this.path, type }))
    this.kernel.hooks.deadLetter(envelope, 'stopped', undefined, this.path, this.protocol.name)
    return false
  }

  override room(): Promise<void> {
    return Promise.reject(new ActorStopped(`${this.path} has stopped`, { path: this.path }))
  }

  override addWatch(record: WatchRecord): void {
    record.ended('stopped')
  }

  override removeWatch(): void {
    // Its one notice is out.
  }

  override refParts(): readonly unknown[] {
    return [this.kernel.nodeName, this.#incarnation, this.path, this.uid ?? null, this.protocol.name]
  }
}
