/**
 * Back-pressure between an actor and those who send to it from another node. Whose mailbox is long takes back the credit
 * to send to it: `ref.room()` over there waits, and what is sent all the same is refused there, where somebody can act
 * on it, instead of piling up here.
 *
 * What one recipient can cost, then: here `creditHigh` messages, `creditAllowance` more, and what was on its way, which
 * the lane bounds (session-lane.ts: at most twice `outboundBytesMax` at the sender and what the network holds). There one
 * entry of a map. The allowance is for those who do ask for room, between two of their batches: without it they would lose
 * what they send before the word is here.
 *
 * Credit belongs to one connection: the next one begins with credit for everybody.
 */
import type { Cell } from '@understudy/runtime/internal'
import type { Recipient } from '../wire/wire-protocol.ts'

/** Recipients of one peer without credit at a time. A peer that takes back more is cut off. */
export const withoutCreditMax = 65_536

/** One recipient by its name: refs to the same actor may be many objects. */
function keyOf(recipient: Recipient): string {
  if (recipient.kind === 'entity') return `${recipient.name}/${recipient.key}`
  return `${recipient.path}#${recipient.uid ?? ''}`
}

/** The receiver's half: takes credit back, and gives it again once the mailbox has fallen below its low-water mark. */
export class CreditGiver {
  readonly #tell: (recipient: Recipient, isGiven: boolean) => void
  /** Recipients whose credit was taken back, as the peer wrote them. */
  readonly #withheld = new Map<string, AbortController>()
  /** The same, by the objects that the lanes know them by: one each, which spares most messages the key. */
  readonly #withheldObjects = new Set<Recipient>()
  #isClosed = false

  /** `tell` says it to the peer. */
  constructor(tell: (recipient: Recipient, isGiven: boolean) => void) {
    this.#tell = tell
  }

  /** Recipients whose credit was taken back. */
  get withheld(): number {
    return this.#withheld.size
  }

  /**
   * A message of the peer found so many in the mailbox that it is too many. Hot while a sender is faster than its
   * recipient: all that was on its way comes by here (bench: one-way-2p).
   */
  tooMany(recipient: Recipient, cell: Cell): void {
    if (this.#withheldObjects.has(recipient)) return
    const key = keyOf(recipient)
    // An actor that set its low-water mark higher than ours says that this is not many.
    if (this.#isClosed || this.#withheld.has(key) || cell.depth < cell.kind.lowWater) return
    const controller = new AbortController()
    this.#withheld.set(key, controller)
    this.#withheldObjects.add(recipient)
    this.#tell(recipient, false)
    const again = (): void => {
      if (this.#isClosed) return
      this.#withheld.delete(key)
      this.#withheldObjects.delete(recipient)
      this.#tell(recipient, true)
    }
    // When the actor has ended its senders must hear that, not wait for room.
    cell.room({ signal: controller.signal }).then(again, again)
  }

  close(): void {
    this.#isClosed = true
    for (const controller of this.#withheld.values()) controller.abort()
    this.#withheld.clear()
    this.#withheldObjects.clear()
  }
}

/** The sender's half: who takes no more for now. */
export class CreditTaker {
  readonly #allowance: number
  /** How much may still be sent to those without credit. */
  readonly #without = new Map<string, number>()
  /** Some recipient has no credit. Looked at for each message. */
  isShort = false

  constructor(allowance: number) {
    this.#allowance = allowance
  }

  /** Recipients without credit. */
  get without(): number {
    return this.#without.size
  }

  /** Whether a message may be sent to `recipient` now; counts it against the allowance when it has no credit. */
  take(recipient: Recipient): boolean {
    const key = keyOf(recipient)
    const left = this.#without.get(key)
    if (left === undefined) return true
    if (left <= 0) return false
    this.#without.set(key, left - 1)
    return true
  }

  /** Whether `recipient` has credit. */
  has(recipient: Recipient): boolean {
    return !this.isShort || !this.#without.has(keyOf(recipient))
  }

  /** What the peer says. False when it names more than anybody can have sent to. */
  heard(recipient: Recipient, isGiven: boolean): boolean {
    const key = keyOf(recipient)
    if (isGiven) this.#without.delete(key)
    else if (!this.#without.has(key)) {
      if (this.#without.size >= withoutCreditMax) return false
      this.#without.set(key, this.#allowance)
    }
    this.isShort = this.#without.size > 0
    return true
  }
}
