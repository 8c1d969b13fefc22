/**
 * The run queue of a real machine: two FIFOs (system cells first), pumped from a microtask, so that a message is
 * handled in the turn in which it was sent and before any timer or socket.
 */
import type { Ready, RunQueue } from './run-queue.ts'

/** A queue that calls `pump` in a microtask after the first `push`, and after `yieldNow` from `setImmediate`. */
export function fifoRunQueue(pump: () => void): RunQueue {
  return new FifoRunQueue(pump)
}

const settled = Promise.resolve()

/** A reaction to a settled promise is the cheapest microtask: `queueMicrotask` adds an async resource (bench: ask-1). */
export function afterTurn(task: () => void): void {
  void settled.then(task)
}

class FifoRunQueue implements RunQueue {
  readonly turnMessagesMax = Number.POSITIVE_INFINITY
  readonly #pump: () => void
  #head: Ready | null = null
  #tail: Ready | null = null
  #systemHead: Ready | null = null
  #systemTail: Ready | null = null
  /** A pump is due or running. */
  #due = false

  constructor(pump: () => void) {
    this.#pump = pump
  }

  push(cell: Ready): void {
    cell.nextReady = null
    if (cell.isSystem) {
      if (this.#systemTail === null) this.#systemHead = cell
      else this.#systemTail.nextReady = cell
      this.#systemTail = cell
    } else {
      if (this.#tail === null) this.#head = cell
      else this.#tail.nextReady = cell
      this.#tail = cell
    }
    if (!this.#due) {
      this.#due = true
      afterTurn(this.#pump)
    }
  }

  next(): Ready | null {
    let cell = this.#systemHead
    if (cell !== null) {
      this.#systemHead = cell.nextReady
      if (this.#systemHead === null) this.#systemTail = null
    } else {
      cell = this.#head
      if (cell === null) return null
      this.#head = cell.nextReady
      if (this.#head === null) this.#tail = null
    }
    cell.nextReady = null
    return cell
  }

  idle(): void {
    if (this.#head !== null || this.#systemHead !== null) afterTurn(this.#pump)
    else this.#due = false
  }

  yieldNow(): void {
    setImmediate(this.#pump)
  }
}
