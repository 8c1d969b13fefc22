/**
 * Where everything of a space-time diagram stands: lanes as columns, time flowing down in rows of equal height, however
 * long the quiet between them. Numbers and words only; `space-time-diagram.ts` draws them. After Lamport, "Time, clocks,
 * and the ordering of events in a distributed system" (1978), with time turned downwards so that text can be read.
 */
import type { TraceEvent } from './run-result.ts'
import { cut, eventText, timeText, traceIndex, visible } from './story.ts'
import type { TraceIndex } from './story.ts'

export interface SpaceTimeLayout {
  readonly width: number
  readonly height: number
  readonly lanes: readonly PlacedLane[]
  readonly times: readonly { readonly y: number; readonly text: string; readonly quiet: boolean }[]
  readonly marks: readonly PlacedMark[]
  readonly arrows: readonly PlacedArrow[]
  readonly spans: readonly PlacedSpan[]
  readonly bands: readonly PlacedBand[]
  /** Names of messages by how often they occur, most often first: the colours of the arrows. */
  readonly messages: readonly { readonly name: string; readonly count: number }[]
  /** Events that the limit left out. */
  readonly omitted: number
}

export interface PlacedLane {
  readonly name: string
  readonly x: number
}

/** Something that happened on a lane. */
export interface PlacedMark {
  readonly type: 'handled' | 'arrived' | 'sent' | 'state' | 'fault'
  readonly tone: Tone
  readonly lane: number
  readonly x: number
  readonly y: number
  readonly text: string
  /** What is less important than `text`: the actor. */
  readonly detail: string
  readonly tip: string
  readonly messageId: number | undefined
  readonly messageName: string | undefined
}

export interface PlacedArrow {
  readonly type: 'delivered' | 'lost' | 'flying'
  readonly messageId: number
  readonly messageName: string
  readonly fromLane: number
  readonly toLane: number
  readonly x1: number
  readonly y1: number
  readonly x2: number
  readonly y2: number
  /** Written where no mark at the end of the arrow says it. */
  readonly text: string
  readonly tip: string
}

/** A stretch of a lane: its process is not there, or stands still. */
export interface PlacedSpan {
  readonly type: 'down' | 'paused'
  readonly lane: number
  readonly x: number
  readonly y1: number
  readonly y2: number
}

/** Something that concerns all lanes. */
export interface PlacedBand {
  readonly type: 'violation' | 'fault' | 'state' | 'omitted'
  readonly tone: Tone
  readonly y1: number
  readonly y2: number
  readonly lines: readonly string[]
  /** The lane where the rule was seen to be broken. */
  readonly lane: number | undefined
  readonly tip: string
}

export type Tone = 'plain' | 'good' | 'bad' | 'paused' | 'cut' | 'fault'

export const laneTop = 8
export const gutterWidth = 92
const rowHeight = 26
const quietHeight = 18
const lineHeight = 17
/** Widest and narrowest lane, and how wide the picture is to become before lanes are narrowed. */
const laneWidth = { widest: 250, narrowest: 150, together: 1_500 }
/** How far an arrow that has no end goes. */
const stubRows = 3
/** Time between two rows from which it is worth a word. */
const quietMs = 1_000

/** Lays out the events: in the order of the trace, the events of one step and lane in one row as far as they fit. */
export function spaceTimeLayout(
  trace: readonly TraceEvent[],
  options: { readonly eventsMax: number; readonly lanes?: readonly string[] | undefined },
): SpaceTimeLayout {
  return new Layout(trace, options.eventsMax, options.lanes ?? []).place()
}

/** The first word of a message's text: its type. */
export function messageName(message: string): string {
  return cut(visible(/^[^\s({[:]+/.exec(message)?.[0] ?? message), 40)
}

interface Point {
  readonly lane: number
  readonly x: number
  readonly y: number
}
interface Flight extends Point {
  readonly event: Extract<TraceEvent, { readonly type: 'sent' }>
  ended: boolean
}

class Layout {
  readonly #events: readonly TraceEvent[]
  readonly #omitted: number
  /** Before the event of this index the omitted ones would stand. */
  readonly #omittedAt: number
  readonly #index: TraceIndex
  readonly #lanes: readonly PlacedLane[]
  readonly #laneOf: ReadonlyMap<string, number>
  readonly #laneWidth: number
  readonly #marks: PlacedMark[] = []
  readonly #arrows: PlacedArrow[] = []
  readonly #spans: PlacedSpan[] = []
  readonly #bands: PlacedBand[] = []
  readonly #times: { y: number; text: string; quiet: boolean }[] = []
  readonly #flights = new Map<number, Flight>()
  readonly #down = new Map<number, number>()
  readonly #paused = new Map<number, { readonly y: number; readonly untilMs: number | undefined }>()
  readonly #counts = new Map<string, number>()
  /** The row that is being filled, if any, and which lanes have a text in it. */
  #row:
    | {
        readonly y: number
        readonly step: number
        readonly atMs: number
        readonly taken: Set<number>
        calm: boolean
      }
    | undefined
  #bottom = laneTop
  #lastMs: number | undefined

  constructor(trace: readonly TraceEvent[], eventsMax: number, lanes: readonly string[]) {
    const found = trace.findLastIndex((event) => event.type === 'violation')
    const end = Math.min(trace.length, (found < 0 ? trace.length : found + 1) + Math.floor(eventsMax / 10))
    const head = trace.length <= eventsMax ? trace.length : Math.floor(eventsMax / 5)
    const tail = trace.length <= eventsMax ? trace.length : Math.max(head, end - (eventsMax - head))
    this.#events = [...trace.slice(0, head), ...trace.slice(tail, tail + eventsMax - head)]
    this.#omitted = trace.length - this.#events.length
    this.#omittedAt = this.#omitted === 0 ? -1 : head
    this.#index = traceIndex(trace)
    const names = new Set(lanes)
    for (const event of this.#events) if (event.lane !== undefined) names.add(event.lane)
    this.#laneWidth = Math.round(
      Math.min(laneWidth.widest, Math.max(laneWidth.narrowest, laneWidth.together / Math.max(1, names.size))),
    )
    this.#lanes = [...names].map((name, i) => ({ name, x: gutterWidth + i * this.#laneWidth + 28 }))
    this.#laneOf = new Map([...names].map((name, i) => [name, i]))
  }

  place(): SpaceTimeLayout {
    for (const [i, event] of this.#events.entries()) {
      if (i === this.#omittedAt) this.#leftOut()
      this.#resumeBy(event.atMs)
      this.#one(event)
    }
    if (this.#omittedAt === this.#events.length) this.#leftOut()
    this.#close()
    return {
      width: gutterWidth + Math.max(1, this.#lanes.length) * this.#laneWidth + 12,
      height: this.#bottom + rowHeight,
      lanes: this.#lanes,
      times: this.#times,
      marks: this.#marks,
      arrows: this.#arrows,
      spans: this.#spans,
      bands: this.#bands,
      messages: [...this.#counts]
        .map(([name, count]) => ({ name, count }))
        .toSorted((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1)),
      omitted: this.#omitted,
    }
  }

  #one(event: TraceEvent): void {
    switch (event.type) {
      case 'handled':
      case 'arrived': {
        const lane = this.#lane(event.lane)
        if (lane === undefined) return
        const name = messageName(event.message)
        const at = this.#at(event, lane, true)
        this.#end(event, event.messageId, at, 'delivered')
        this.#mark(event, at, 'plain', event.message, event.type === 'handled' ? event.actor : '', name)
        // From where it arrived it goes on to who handles it.
        const flight = event.messageId === undefined ? undefined : this.#flights.get(event.messageId)
        if (event.type === 'arrived' && flight !== undefined) {
          this.#flights.set(event.messageId, { ...flight, ...at, ended: true })
        }
        return
      }
      case 'sent': {
        const lane = this.#lane(event.lane)
        if (lane === undefined) return
        const at = this.#at(event, lane, false)
        this.#flights.set(event.messageId, { ...at, event, ended: false })
        const name = messageName(event.message)
        this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
        this.#mark(event, at, 'plain', '', '', name)
        return
      }
      case 'lost': {
        const flight = this.#flights.get(event.messageId)
        if (flight === undefined || flight.ended) return
        const lane = this.#lane(event.lane) ?? flight.lane
        this.#end(event, event.messageId, this.#at(event, lane, false), 'lost')
        return
      }
      case 'fault':
      case 'state':
        this.#change(event)
        return
      case 'violation':
        this.#band(event, 'bad', [`${event.name} is violated`, ...event.what.split('\n')])
        return
      default:
        throw new TypeError(`Cannot draw ${JSON.stringify(event satisfies never)}: it is no trace event`)
    }
  }

  /** A fault, or a change of state: on its lane, or across all of them. */
  #change(event: Extract<TraceEvent, { readonly type: 'fault' | 'state' }>): void {
    const kind = event.type === 'fault' ? event.kind : event.what
    const tone = toneOf(kind, event.type)
    const lane = this.#lane(event.lane)
    const text = eventText(event, this.#index)
    if (lane === undefined) {
      this.#band(event, tone, [text])
      return
    }
    const at = this.#at(event, lane, true, event.type === 'state')
    this.#mark(event, at, tone, text, '', undefined)
    if (goesDown.test(kind)) {
      this.#resume(lane, at.y)
      if (!this.#down.has(lane)) this.#down.set(lane, at.y)
    } else if (comesUp.test(kind)) {
      this.#resume(lane, at.y)
      const since = this.#down.get(lane)
      this.#down.delete(lane)
      if (since !== undefined) this.#spans.push({ type: 'down', lane, x: at.x, y1: since, y2: at.y })
    } else if (tone === 'paused') {
      const ms = /(\d+(?:\.\d+)?)\s*ms\b/.exec(event.what)?.[1]
      const untilMs = ms === undefined ? undefined : event.atMs + Number(ms)
      if (!this.#paused.has(lane)) this.#paused.set(lane, { y: at.y, untilMs })
    }
  }

  #mark(
    event: TraceEvent,
    at: Point,
    tone: Tone,
    text: string,
    detail: string,
    name: string | undefined,
  ): void {
    const type = event.type as PlacedMark['type']
    const messageId = 'messageId' in event ? event.messageId : undefined
    const shownDetail = detail === event.lane ? '' : detail
    this.#marks.push({
      type,
      tone,
      ...at,
      ...this.#fitted(text, shownDetail),
      tip: this.#tip(event),
      messageId,
      messageName: name,
    })
  }

  /** As much of both as the lane is wide, the text first. */
  #fitted(text: string, detail: string): { readonly text: string; readonly detail: string } {
    const room = Math.floor((this.#laneWidth - 44) / 6.4)
    const shown = cut(visible(text), room)
    const left = room - shown.length - 2
    const lastOf = visible(detail)
    const short =
      lastOf.length <= left
        ? lastOf
        : `…${Array.from(lastOf)
            .slice(-Math.max(0, left - 1))
            .join('')}`
    return { text: shown, detail: left < 5 ? '' : short }
  }

  #end(event: TraceEvent, messageId: number | undefined, at: Point, type: 'delivered' | 'lost'): void {
    const flight = messageId === undefined ? undefined : this.#flights.get(messageId)
    if (flight === undefined) return
    flight.ended = true
    const text = type === 'lost' ? flight.event.message : ''
    const toLane = type === 'lost' ? (this.#addressee(flight.event.to) ?? at.lane) : at.lane
    let x2 = at.x
    let y2 = at.y
    if (type === 'lost') {
      // It gets part of the way: further than its sender's own texts, not as far as the receiver.
      const way = (this.#lanes[toLane]?.x ?? at.x) - flight.x
      x2 =
        flight.x + (way === 0 ? 60 : Math.sign(way) * Math.min(Math.abs(way) * 0.55, this.#laneWidth * 1.5))
      if (y2 - flight.y < 6) y2 = flight.y + 9
    }
    this.#arrow(type, flight, toLane, x2, y2, text, this.#tip(event, flight.event))
  }

  #arrow(
    type: PlacedArrow['type'],
    flight: Flight,
    toLane: number,
    x2: number,
    y2: number,
    text: string,
    tip: string,
  ): void {
    this.#arrows.push({
      type,
      messageId: flight.event.messageId,
      messageName: messageName(flight.event.message),
      fromLane: flight.lane,
      toLane,
      x1: flight.x,
      y1: flight.y,
      x2,
      y2,
      text: cut(visible(text), 28),
      tip,
    })
  }

  /** The place of an event: in the row that is open if it is the same step and its lane is free there, or in a new one. */
  #at(event: TraceEvent, lane: number, hasText: boolean, calm = false): Point {
    let row = this.#row
    const joins =
      row !== undefined &&
      !(hasText && row.taken.has(lane)) &&
      (row.step === event.step || (calm && row.calm && row.atMs === event.atMs && !row.taken.has(lane)))
    if (row === undefined || !joins) {
      row = {
        y: this.#newRow(event, rowHeight) + rowHeight / 2,
        step: event.step,
        atMs: event.atMs,
        taken: new Set(),
        calm: true,
      }
      this.#row = row
      this.#label(event.atMs, row.y)
    }
    if (hasText) row.taken.add(lane)
    if (!calm) row.calm = false
    return { lane, x: this.#lanes[lane]?.x ?? gutterWidth, y: row.y }
  }

  /** The top of a new row. */
  #newRow(event: TraceEvent, height: number): number {
    const quiet = this.#lastMs === undefined ? 0 : event.atMs - this.#lastMs
    if (quiet >= quietMs) {
      this.#times.push({
        y: this.#bottom + quietHeight / 2,
        text: `${(quiet / 1000).toFixed(1)} s quiet`,
        quiet: true,
      })
      this.#bottom += quietHeight
    }
    const top = this.#bottom
    this.#bottom += height
    return top
  }

  #label(atMs: number, y: number): void {
    if (this.#lastMs !== atMs) this.#times.push({ y, text: timeText(atMs), quiet: false })
    this.#lastMs = atMs
  }

  #band(event: TraceEvent, tone: Tone, text: readonly string[]): void {
    const lines = text.slice(0, 12).flatMap((line) => wrapped(visible(line), this.#charactersAcross()))
    const height = lines.length * lineHeight + (event.type === 'violation' ? 22 : 10)
    this.#row = undefined
    const y1 = this.#newRow(event, height) + 3
    this.#label(event.atMs, y1 + height / 2 - 3)
    const type = event.type === 'violation' || event.type === 'fault' ? event.type : 'state'
    this.#bands.push({
      type,
      tone,
      y1,
      y2: y1 + height - 6,
      lines,
      lane: this.#lane(event.lane),
      tip: this.#tip(event),
    })
  }

  #leftOut(): void {
    const y1 = this.#bottom
    this.#bottom += rowHeight
    this.#row = undefined
    this.#lastMs = undefined
    const lines = [`${this.#omitted} events are left out here`]
    this.#bands.push({
      type: 'omitted',
      tone: 'plain',
      y1,
      y2: this.#bottom,
      lines,
      lane: undefined,
      tip: '',
    })
  }

  /** Ends the pauses that were to be over by now. */
  #resumeBy(atMs: number): void {
    for (const [lane, { untilMs }] of [...this.#paused]) {
      if (untilMs !== undefined && untilMs <= atMs) this.#resume(lane, this.#bottom)
    }
  }

  #resume(lane: number, y2: number): void {
    const paused = this.#paused.get(lane)
    this.#paused.delete(lane)
    if (paused === undefined) return
    this.#spans.push({
      type: 'paused',
      lane,
      x: this.#lanes[lane]?.x ?? 0,
      y1: paused.y,
      y2: Math.max(y2, paused.y),
    })
  }

  /** What is still open at the end of the trace. */
  #close(): void {
    const end = this.#bottom
    for (const flight of this.#flights.values()) {
      if (flight.ended || this.#index.ended.has(flight.event.messageId)) continue
      const toLane = this.#addressee(flight.event.to) ?? flight.lane
      const way = (this.#lanes[toLane]?.x ?? flight.x) - flight.x
      // Not into the text of the violation.
      const floor = this.#bands.find((band) => band.type === 'violation' && band.y1 > flight.y)?.y1
      const y2 = Math.min(floor ?? end + rowHeight / 2, flight.y + stubRows * rowHeight)
      const x2 =
        flight.x + (way === 0 ? 40 : Math.sign(way) * Math.min(Math.abs(way) * 0.7, this.#laneWidth * 1.5))
      this.#arrow('flying', flight, toLane, x2, y2, flight.event.message, this.#tip(flight.event))
    }
    for (const [lane, y1] of this.#down) {
      this.#spans.push({ type: 'down', lane, x: this.#lanes[lane]?.x ?? 0, y1, y2: end + rowHeight / 2 })
    }
    for (const [lane, { untilMs, y }] of [...this.#paused]) {
      // A pause of unknown length that nothing ended may be anything: then its mark has to do.
      this.#resume(lane, untilMs === undefined ? y : end)
    }
  }

  #tip(event: TraceEvent, about?: TraceEvent): string {
    const place = event.lane === undefined ? '' : `  ${visible(event.lane)}`
    const sent =
      about === undefined
        ? ''
        : `\n${timeText(about.atMs)}  ${visible(about.lane ?? '')}  ${eventText(about, this.#index)}`
    return cut(
      `${timeText(event.atMs)}  step ${event.step}${place}\n${eventText(event, this.#index)}${sent}`,
      1_000,
    )
  }

  #lane(name: string | undefined): number | undefined {
    return name === undefined ? undefined : this.#laneOf.get(name)
  }

  /** The lane that `to` speaks of: a lane, or a path on one. */
  #addressee(to: string): number | undefined {
    const parts = /^([^/@]+)[/@]|@([^/@]+)$/.exec(to)
    return this.#lane(to) ?? this.#lane(parts?.[1] ?? parts?.[2])
  }

  #charactersAcross(): number {
    return Math.max(40, Math.floor((Math.max(1, this.#lanes.length) * this.#laneWidth - 40) / 7.2))
  }
}

const goesDown = /^\W*(?:kill|crash|power|halt|stopped|terminated|died|dead)/i
const comesUp = /^\W*(?:re-?start|started|start|up\b|booted|resume|continue)/i

function toneOf(text: string, type: 'fault' | 'state'): Tone {
  if (/\b(?:heal|re-?start|start|resume|join|recover|elected|leader\b|up\b|acquired|granted)/i.test(text))
    return 'good'
  if (/\b(?:kill|crash|power|down\b|dead|died|stopp|terminat|fail|evict|wipe)/i.test(text)) return 'bad'
  if (/\b(?:pause|stall|frozen|freeze|suspend)/i.test(text)) return 'paused'
  if (/\b(?:partition|isolat|cut|clog|unreachable|half-?open|bridge|halves|one-?way)/i.test(text))
    return 'cut'
  return type === 'fault' ? 'fault' : 'plain'
}

/** Lines of at most `max` characters, broken at spaces where there are some. */
function wrapped(line: string, max: number): readonly string[] {
  const lines: string[] = []
  let rest = Array.from(line)
  while (rest.length > max && lines.length < 6) {
    const space = rest.lastIndexOf(' ', max)
    const at = space > max / 2 ? space : max
    lines.push(rest.slice(0, at).join(''))
    rest = rest.slice(space > max / 2 ? at + 1 : at)
  }
  lines.push(cut(rest.join(''), max))
  return lines
}
