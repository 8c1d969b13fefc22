/** What a Raft core throws when something happened that Raft says cannot happen. */

/** What is told of a violation: indices, terms, ids. */
export type ViolationDetails = Readonly<Record<string, string | number | boolean | undefined>>

/**
 * A broken invariant: a bug, or a disk that lost what it had said to be durable. Nothing that follows could be trusted, so
 * the member stops; its supervisor may start it anew from its store. `details` are the figures of the case.
 */
export class RaftViolation extends Error {
  readonly details: ViolationDetails

  constructor(what: string, details: ViolationDetails) {
    const figures = Object.entries(details).map(([name, value]) => `${name} ${String(value)}`)
    super(`Raft is violated: ${what} (${figures.join(', ')})`)
    this.details = details
  }
}

Object.defineProperty(RaftViolation.prototype, 'name', {
  value: 'RaftViolation',
  configurable: true,
  writable: true,
})
