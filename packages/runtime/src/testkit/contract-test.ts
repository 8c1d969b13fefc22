/**
 * What a contract suite needs of a test runner: a slice of tap's, so that the suites load no test runner by themselves
 * and run in any that has these few methods.
 */

/** Declares one test. With tap: `(name, run) => t.test(name, run)`. */
export type DeclareTest = (name: string, run: (t: ContractTest) => Promise<void>) => unknown

/** The assertions of one test, as tap has them. `wanted` of `rejects` and `throws` is matched field by field. */
export interface ContractTest {
  readonly equal: (found: unknown, wanted: unknown, message: string) => unknown
  readonly same: (found: unknown, wanted: unknown, message: string) => unknown
  readonly ok: (value: unknown, message: string) => unknown
  readonly rejects: (promise: Promise<unknown>, wanted: WantedError, message: string) => Promise<unknown>
  readonly throws: (run: () => unknown, wanted: WantedError, message: string) => unknown
}

/** What an error must have. */
export type WantedError = { readonly name: string } | { readonly code: string }
