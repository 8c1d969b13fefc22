/** One session of a client: numbers for its writes, and which of them are answered. */

/** Numbers grow by one from 1; several are out at a time, and come back in any order. */
export class WriteSession {
  readonly id: number
  #next = 1
  /** Everything below has come back. */
  #lowest = 1
  readonly #back = new Set<number>()

  constructor(id: number) {
    this.id = id
  }

  /** Every write below it is answered, or given up. */
  get answeredBelow(): number {
    return this.#lowest
  }

  take(): number {
    return this.#next++
  }

  /** The write of that number is not asked again. */
  giveBack(sequence: number): void {
    if (sequence !== this.#lowest) {
      this.#back.add(sequence)
      return
    }
    this.#lowest++
    while (this.#back.delete(this.#lowest)) this.#lowest++
  }
}
