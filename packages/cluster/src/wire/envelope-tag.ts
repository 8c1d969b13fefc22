/**
 * The numbers of the wire: the first element of every envelope, and the small enumerations inside. They are
 * for ever from the first release; a new kind takes a new number, and raises the protocol version.
 *
 * A frame is one CBOR list of envelopes; an envelope is a list whose first element is one of these.
 */

/**
 * `[0, typeId, protocol, type, fieldNames]`: from here on `typeId` means this message type with its body in
 * this order.
 */
export const ANNOUNCE_TYPE = 0
/** `[1, recipientId, recipient]`: from here on `recipientId` means this recipient. */
export const ANNOUNCE_RECIPIENT = 1
/** `[2, recipient, typeId, body]` */
export const TELL = 2
/**
 * `[3, askId, recipient, typeId, body, remainingMs | null, sender | null, chain]`, chain links `[node, uid,
 * path, type]`
 */
export const ASK = 3
/** `[4, askId, value]` */
export const REPLY = 4
/** `[5, askId, code, message, details]` */
export const FAIL = 5
/** `[6, watchId, recipient]` */
export const WATCH = 6
/** `[7, watchId]` */
export const UNWATCH = 7
/** `[8, watchId, reason, detail | null]` */
export const TERMINATED = 8
/** `[9, askId]` */
export const CANCEL = 9
/** `[10, sequence, PING | PONG]` */
export const HEARTBEAT = 10
/** `[11, reason]` */
export const GOODBYE = 11

/** In a heartbeat: answer me. */
export const PING = 0
/** In a heartbeat: the answer, with the sequence number of the question. */
export const PONG = 1

/** A recipient written out: `[0, path, uid | null]`. */
export const RECIPIENT_ACTOR = 0
/** A recipient written out: `[1, name, key]`. */
export const RECIPIENT_ENTITY = 1
