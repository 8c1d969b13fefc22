/** What travels on one end of a simulated link, and the lines that it stands in: the sender's queue, the flight. */
import type { CloseReason } from '../transport/transport.ts'

/** A frame, or a word of the transports to each other that keeps its place between frames. */
export class Parcel {
  /** Behind it in its line; a parcel stands in one line at a time. */
  next: Parcel | undefined
  departsAtMs = 0
  arrivesAtMs = 0
  /** The arrow of the picture; below 0 while there is none. */
  messageId = -1
  readonly frame: Uint8Array | undefined
  readonly bytes: number
  /** Of a word: the link has ended for this reason; without one: it is open. */
  readonly reason: CloseReason | undefined

  constructor(frame: Uint8Array | undefined, reason: CloseReason | undefined) {
    this.frame = frame
    this.bytes = frame === undefined ? 0 : frame.byteLength
    this.reason = reason
  }
}

/** First in, first out. Links of its own make it: nothing is allocated, and a suffix can be cut off. */
export class ParcelLine {
  first: Parcel | undefined
  last: Parcel | undefined
  bytes = 0
  /** Words count too. */
  count = 0

  push(parcel: Parcel): void {
    if (this.last === undefined) this.first = parcel
    else this.last.next = parcel
    this.last = parcel
    this.bytes += parcel.bytes
    this.count++
  }

  shift(): Parcel | undefined {
    const parcel = this.first
    if (parcel === undefined) return undefined
    this.first = parcel.next
    if (parcel.next === undefined) this.last = undefined
    parcel.next = undefined
    this.bytes -= parcel.bytes
    this.count--
    return parcel
  }

  /** Keeps the first `kept`; `lose` is called for each of the others, in order. */
  cut(kept: number, lose: (parcel: Parcel) => void): void {
    const parcels: Parcel[] = []
    for (let parcel = this.shift(); parcel !== undefined; parcel = this.shift()) parcels.push(parcel)
    for (const parcel of parcels.slice(0, kept)) this.push(parcel)
    for (const parcel of parcels.slice(kept)) lose(parcel)
  }
}
