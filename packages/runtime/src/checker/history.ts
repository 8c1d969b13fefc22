/**
 * What clients saw: one operation each, with when it was called and when it returned. Every checker of this folder
 * judges a list of these, wherever it came from: the simulator, a log file, another system.
 */

/** One operation as its client saw it. Times are any numbers that grow (virtual milliseconds, event counts). */
export interface Op<I, O> {
  /** Who called. A client has at most one operation open at a time; one whose outcome is unknown stays open for ever. */
  readonly client: number
  readonly in: I
  /** What came back. `undefined` while the outcome is unknown. */
  readonly out: O | undefined
  readonly call: number
  /** `Infinity` when the outcome is unknown: it may take effect at any time after `call`, or never. */
  readonly ret: number
}

/** An operation that has begun and will be told how it ended, exactly once. */
export interface OpenOp<O> {
  /** It returned `out`. */
  readonly ok: (out: O) => void
  /** It surely had no effect (refused, or a read that failed): it leaves the history. */
  readonly failed: () => void
  /** Nobody knows whether it took effect: a timeout, a lost connection. The default when nothing is said. */
  readonly unknown: () => void
}

/**
 * Records operations as they happen. Not bound to any clock: it counts events itself, so that two operations whose
 * calls and returns lie at one instant are still ordered as they were seen.
 */
export class HistoryRecorder<I, O> {
  readonly #ops: RecordedOp<I, O>[] = []
  #events = 0

  /** How many operations were begun and not found to have failed. */
  get size(): number {
    let size = 0
    for (const op of this.#ops) if (!op.dropped) size++
    return size
  }

  /** Begins an operation of `client`. O(1). */
  begin(client: number, input: I): OpenOp<O> {
    const op: RecordedOp<I, O> = {
      client,
      in: input,
      out: undefined,
      call: this.#events++,
      ret: Number.POSITIVE_INFINITY,
      dropped: false,
    }
    this.#ops.push(op)
    let settled = false
    const settle = (): boolean => {
      const first = !settled
      settled = true
      return first
    }
    return {
      ok: (out) => {
        if (!settle()) return
        op.out = out
        op.ret = this.#events++
      },
      failed: () => {
        if (settle()) op.dropped = true
      },
      unknown: () => void settle(),
    }
  }

  /**
   * Runs `act` as an operation: its value is the reply. When it throws, `isFailure` says whether the operation surely
   * had no effect; otherwise its outcome stays unknown. Rethrows nothing: the error is part of the history.
   */
  async record(
    client: number,
    input: I,
    act: () => Promise<O> | O,
    isFailure: (error: unknown) => boolean = () => false,
  ): Promise<O | undefined> {
    const open = this.begin(client, input)
    try {
      const out = await act()
      open.ok(out)
      return out
    } catch (error) {
      if (isFailure(error)) open.failed()
      else open.unknown()
      return undefined
    }
  }

  /** The operations so far, in the order of their calls. A copy: O(n). */
  ops(): readonly Op<I, O>[] {
    return this.#ops
      .filter((op) => !op.dropped)
      .map(({ client, in: input, out, call, ret }) => ({ client, in: input, out, call, ret }))
  }
}

interface RecordedOp<I, O> {
  readonly client: number
  readonly in: I
  out: O | undefined
  readonly call: number
  ret: number
  dropped: boolean
}
