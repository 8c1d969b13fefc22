/**
 * The ordering contract between the core and the disk, carried out and asserted: writes begin in the order in which the core
 * gave them out, become durable in that order, and a message that rests on them leaves only then (R1). What breaks it is a bug
 * in this program or in the store, and a node that went on could vote twice: it throws, and the host ends.
 */
import type { MemberPort } from '../host/hosted-member.ts'
import type { MemberId, RaftMessage } from './raft-message.ts'

/** A message that rests on what was given out to be written before it. */
interface HeldMessage {
  /** Number of the last of those writes. */
  readonly after: number
  readonly to: MemberId
  readonly message: RaftMessage
}

export class MemberWrites {
  readonly #port: MemberPort
  readonly #send: (to: MemberId, message: RaftMessage) => void
  /** Numbers of the last write that was begun, and of the last that is durable. */
  #begun = 0
  #durable = 0
  #held: HeldMessage[] = []

  constructor(port: MemberPort, send: (to: MemberId, message: RaftMessage) => void) {
    this.#port = port
    this.#send = send
  }

  /** Everything that was given out is durable. */
  get isIdle(): boolean {
    return this.#durable === this.#begun
  }

  /**
   * The next write. `onDurable` runs in a turn of the host, behind that of the write before it; the messages that waited for
   * it have left by then.
   */
  write(begin: () => Promise<void>, onDurable: () => void): void {
    const number = ++this.#begun
    this.#port.pipe(begin(), () => this.#onDurable(number, onDurable))
  }

  /** Sends when all that was given out before is durable: at once when it is. */
  sendDurable(to: MemberId, message: RaftMessage): void {
    if (this.#durable === this.#begun) this.#send(to, message)
    else this.#held.push({ after: this.#begun, to, message })
  }

  clear(): void {
    this.#held = []
  }

  #onDurable(number: number, onDurable: () => void): void {
    if (number !== this.#durable + 1) {
      throw new Error(
        `Write ${number} of group "${this.#port.group}" is durable and ${this.#durable + 1} is not: ` +
          'the store must make writes durable in the order of the calls',
      )
    }
    this.#durable = number
    const held = this.#held
    let leaving = 0
    while (leaving < held.length && (held[leaving] as HeldMessage).after <= number) leaving += 1
    if (leaving > 0) this.#held = held.slice(leaving)
    for (let at = 0; at < leaving; at++) {
      const { to, message } = held[at] as HeldMessage
      this.#send(to, message)
    }
    onDurable()
  }
}
