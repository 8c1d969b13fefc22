/** Spin locks of named owners that are being given back. */

/**
 * An owner that takes its lock again has it under the same token, so a release of before that is still tried would free what is
 * held anew: it is called off first.
 */
export class SpinReleases {
  readonly #underWay = new Map<string, { readonly stop: AbortController; readonly end: Promise<unknown> }>()

  /** What `release` gives, which ends as soon as it can once its signal is aborted. One that is under way is called off. */
  begin<T>(name: string, owner: string, release: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const key = keyOf(name, owner)
    this.#underWay.get(key)?.stop.abort()
    const stop = new AbortController()
    const result = release(stop.signal)
    const done = (): void => {
      if (this.#underWay.get(key)?.stop === stop) this.#underWay.delete(key)
    }
    this.#underWay.set(key, { stop, end: result.then(done, done) })
    return result
  }

  /** Resolves when nothing of it is tried any more: at once when there is none. */
  async callOff(name: string, owner: string): Promise<void> {
    const found = this.#underWay.get(keyOf(name, owner))
    if (found === undefined) return
    found.stop.abort()
    await found.end
  }
}

function keyOf(name: string, owner: string): string {
  return `${name.length} ${name} ${owner}`
}
