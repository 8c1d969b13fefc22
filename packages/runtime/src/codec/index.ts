/**
 * Entry point `@understudy/runtime/codec`: values to CBOR and back, and the walk over bytes that nobody
 * vouches for.
 */
export { CborWriter, isForbiddenKey, valueDepthMax } from './cbor-writer.ts'
export { CodecError } from './codec-error.ts'
export type { CodecErrorCode } from './codec-error.ts'
export { decode, encode } from './codec.ts'
export type { RefResolver } from './codec.ts'
export { EncodableRef, refTag, UnresolvedRef } from './encodable-ref.ts'
export { cborLimits, inspectCbor } from './inspect-cbor.ts'
export type { CborFault, CborFaultCode, CborLimits } from './inspect-cbor.ts'
export { uncodable } from './uncodable.ts'
export type { Uncodable } from './uncodable.ts'
