/**
 * Why a value could not become bytes, or bytes a value. Both are the caller's to handle: a value that cannot
 * be encoded is a mistake of the sender, bytes that cannot be decoded are one of whoever wrote them.
 */

/** Stable codes of `CodecError`. The code is promised, the message is not. */
export type CodecErrorCode =
  /** A value is outside what the codec carries: a function, a Date, a class instance, a cycle, ... */
  | 'RUNTIME_NOT_ENCODABLE'
  /** A value is inside what the codec carries, but larger than the limit that the writer was given. */
  | 'RUNTIME_ENCODING_TOO_LARGE'
  /** The bytes are not CBOR, or not CBOR that this codec writes. */
  | 'RUNTIME_NOT_DECODABLE'

/** Thrown by `encode`, `decode` and `CborWriter`. */
export class CodecError extends Error {
  readonly code: CodecErrorCode

  constructor(code: CodecErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'CodecError'
    this.code = code
  }
}
