/** What goes wrong in a simulation, as opposed to in what is simulated. */

/** A rule of the scenario was broken. Thrown by `world.check` and by invariants; anything else that is thrown is one too. */
export class InvariantViolation extends Error {
  /** The rule's name: shrinking keeps it. */
  readonly rule: string

  constructor(rule: string, message: string) {
    super(message)
    this.rule = rule
  }
}
Object.defineProperty(InvariantViolation.prototype, 'name', {
  value: 'InvariantViolation',
  configurable: true,
  writable: true,
})

/** What was waited for ended with the process it was in: nobody knows how far it got. */
export class ProcessKilled extends Error {
  readonly code = 'SIMULATION_PROCESS_KILLED'
  readonly processName: string

  constructor(processName: string) {
    super(`The simulated process "${processName}" was killed: the outcome is unknown`)
    this.processName = processName
  }
}
Object.defineProperty(ProcessKilled.prototype, 'name', {
  value: 'ProcessKilled',
  configurable: true,
  writable: true,
})
