/** What happened in a traced run, in order. Bounded: a run that has more keeps its last events. */
import type { TraceEvent } from './run-result.ts'

const eventsMax = 50_000

export class TraceLog {
  readonly events: TraceEvent[] = []
  #messageIds = 0

  note(event: TraceEvent): void {
    this.events.push(event)
    if (this.events.length >= 2 * eventsMax) this.events.splice(0, eventsMax)
  }

  /** A number for an arrow of the picture. */
  nextMessageId(): number {
    return this.#messageIds++
  }

  /** What an arrow carried is known when it has arrived. */
  relabel(messageId: number, message: string): void {
    const at = this.events.findLastIndex((event) => event.type === 'sent' && event.messageId === messageId)
    const event = this.events[at]
    if (event?.type === 'sent') this.events[at] = { ...event, message }
  }
}
