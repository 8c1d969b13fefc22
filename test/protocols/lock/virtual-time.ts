/** Time that passes when nothing else is left to do. */

/** Longer than anything here takes. */
const longestMs = 3_600_000

export class VirtualTime {
  nowMs = 0
  readonly #due: { readonly atMs: number; readonly run: () => void; isOff: boolean }[] = []

  /** Returns how to call it off. */
  at(atMs: number, run: () => void): () => void {
    const event = { atMs: Math.max(atMs, this.nowMs), run, isOff: false }
    let low = 0
    let high = this.#due.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#due[middle]?.atMs ?? 0) > event.atMs) high = middle
      else low = middle + 1
    }
    this.#due.splice(low, 0, event)
    return () => {
      event.isOff = true
    }
  }

  /** Lets time pass until it is settled. */
  async get<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false
    const settled = (): void => {
      isSettled = true
    }
    promise.then(settled, settled)
    const endMs = this.nowMs + longestMs
    await allDone()
    while (!isSettled) {
      if (this.nowMs > endMs) throw new Error(`It was not settled within ${longestMs} ms`)
      if (!(await this.#step())) throw new Error('It is not settled, and nothing is left to do')
    }
    return promise
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms
    await allDone()
    for (let next = this.#due[0]; next !== undefined && next.atMs <= endMs; next = this.#due[0]) {
      await this.#step()
    }
    this.nowMs = endMs
  }

  async #step(): Promise<boolean> {
    const event = this.#due.shift()
    if (event === undefined) return false
    if (event.isOff) return true
    this.nowMs = Math.max(this.nowMs, event.atMs)
    event.run()
    await allDone()
    return true
  }
}

/** Whatever follows in promises has followed. */
function allDone(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
}
