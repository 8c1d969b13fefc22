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
/**
 * `[11, reason]`, the last envelope of its lane in this direction. On the control lane, when other lanes are open,
 * `[11, reason, lanes]`: on those lanes the good-bye stands behind all data, and only with theirs it is said.
 */
export const GOODBYE = 11

// From here on since wire version 2; a peer of version 1 is sent none of them.

/** `[12, payload]`, on the control lane: what the membership says. The payload is the membership's to read. */
export const GOSSIP = 12
/** `[13, lane]`, on the control lane, to who dialled it: dial that lane, I have something to send on it. */
export const LANE_WANTED = 13
/**
 * `[14, lane]`, the last envelope of an idle lane's link in this direction. Who dialled the lane says it first; the other
 * answers with its own once all it had to send is sent. What is sent later goes over a new link with empty tables.
 */
export const END_LANE = 14
/**
 * `[15, recipient, 0 | 1]`, on the control lane, the recipient written out as the sender wrote it: 0, too many messages
 * wait there, send no more to it; 1, go on. A new connection begins with credit for everybody.
 */
export const CREDIT = 15
/** `[16]`, on the control lane: of the links between us this is the one to use. */
export const CHOSEN = 16
/**
 * `[17, watchId, uid, path]`: who is watched, when the watch said only where. Announced again on a later connection it
 * must not land on a successor.
 */
export const WATCHED = 17

/** In a heartbeat: answer me. */
export const PING = 0
/** In a heartbeat: the answer, with the sequence number of the question. */
export const PONG = 1

/** In a credit: none for that recipient. */
export const CREDIT_NONE = 0
/** In a credit: there is again. */
export const CREDIT_AGAIN = 1

/** Lanes in `GOODBYE`, `LANE_WANTED` and `END_LANE`: their place here. */
export const laneOrder = Object.freeze(['control', 'data', 'bulk'] as const)

/** A recipient written out: `[0, path, uid | null]`. */
export const RECIPIENT_ACTOR = 0
/** A recipient written out: `[1, name, key]`. */
export const RECIPIENT_ENTITY = 1
