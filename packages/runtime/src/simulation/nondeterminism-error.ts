/** What is thrown where simulated code asks the machine, or chance, for something that no seed replays. */

/**
 * Simulated code asked for real time, chance, a timer or IO: the next run of the seed would be another one. Code
 * `SIMULATION_NONDETERMINISM`. It is thrown at the call where that is possible, and fails the run in any case, also
 * when the caller swallows it.
 */
export class NondeterminismError extends Error {
  readonly code = 'SIMULATION_NONDETERMINISM'
  /** Who asked: `/user/orders/7 on "a"`. */
  readonly who: string
  /** What was called, such as `Date.now()`, or what it was seen by: `an async resource of type FSREQCALLBACK`. */
  readonly call: string

  /** @param message The whole message. @default that `who` used `call`, and that it differs from run to run */
  constructor(who: string, call: string, message?: string) {
    super(message ?? `${who} used ${call}, which differs from run to run`)
    this.who = who
    this.call = call
  }

  /** The usual message. `instead` is what would be right: it ends the sentence "Use ...". */
  static forCall(who: string, call: string, instead: string): NondeterminismError {
    return new NondeterminismError(
      who,
      call,
      `Cannot call ${call} in ${who}: a simulation could not replay it. Use ${instead}`,
    )
  }
}
Object.defineProperty(NondeterminismError.prototype, 'name', {
  value: 'NondeterminismError',
  configurable: true,
  writable: true,
})
