/** Looks, now and then, for handlers that wait for something from outside of the simulation: nothing will settle them. */

/** A handler that nothing inside of the simulation can settle. */
export interface LostHandler {
  readonly path: string
  readonly message: string
  /** Tells one wait from the next of the same actor. */
  readonly envelope: unknown
}

/** What the audit looks at. */
export interface AuditedProcess {
  readonly name: string
  readonly lostHandlers: () => readonly LostHandler[]
}

/** Virtual time between two looks. */
const auditMs = 1_000

export class LostHandlerAudit {
  readonly #processes: readonly AuditedProcess[]
  #dueMs = auditMs
  /** Who was seen to wait for nothing, and with which message. */
  #suspects: ReadonlyMap<string, unknown> = new Map()

  /** @param processes all of the run; more may come */
  constructor(processes: readonly AuditedProcess[]) {
    this.#processes = processes
  }

  /** Time is about to pass to `toMs`. Who is seen twice is lost: what to say of it, or `undefined`. */
  look(toMs: number): string | undefined {
    if (toMs < this.#dueMs) return undefined
    let lost = this.#lookOnce()
    // Nothing will change until then: whoever is suspected now is lost by that time.
    if (lost === undefined && this.#suspects.size > 0 && toMs >= this.#dueMs + auditMs)
      lost = this.#lookOnce()
    this.#dueMs = toMs + auditMs
    return lost
  }

  /** Nothing is scheduled any more: what to say of that. */
  stuckText(): string {
    const held = this.#processes.flatMap((life) => life.lostHandlers().map(({ path }) => path))
    const who = held.length === 0 ? 'The scenario' : `The scenario, and the handlers of ${held.join(', ')},`
    return (
      `${who} can never go on: nothing is scheduled any more. It awaits something from outside of the simulation, ` +
      'or a message that nobody will send'
    )
  }

  #lookOnce(): string | undefined {
    const seen = this.#suspects
    const suspects = new Map<string, unknown>()
    this.#suspects = suspects
    for (const life of this.#processes) {
      for (const { path, message, envelope } of life.lostHandlers()) {
        const who = `${path} on "${life.name}"`
        if (seen.get(who) === envelope) {
          return (
            `The handler of "${message}" at ${who} awaits something that is not of the simulation: it has no ask, no ` +
            'store operation and no simulated service under way. Make outside IO a service and give the simulation a ' +
            'simulated implementation (ctx.service)'
          )
        }
        suspects.set(who, envelope)
      }
    }
    return undefined
  }
}
