/**
 * What goes wrong with a store. Told apart by `code`; the codes are stable, the messages are not.
 */

/** Codes of `StoreError`. Each has a heading in docs/reference/errors.md. */
export type StoreErrorCode =
  | 'RUNTIME_STORE_UNAVAILABLE'
  | 'RUNTIME_STORE_CLOSED'
  | 'RUNTIME_STORE_FULL'
  | 'RUNTIME_STORE_FAILED'
  | 'RUNTIME_STORE_CORRUPT'

const errorBrand = Symbol.for('@understudy/error')

/** An operation on a store that could not be done. `cause` is the error below it, where there is one. */
export class StoreError extends Error {
  readonly code: StoreErrorCode
  /** Plain data about the case: sizes, limits, the directory. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: StoreErrorCode,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  /** Recognised by `isActorError`, also across two copies of this package. */
  get [errorBrand](): true {
    return true
  }
}

Object.defineProperty(StoreError.prototype, 'name', {
  value: 'StoreError',
  configurable: true,
  writable: true,
})
