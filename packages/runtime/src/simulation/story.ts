/** What happened in a run, in words: one line for each event, for the terminal, for comments and for pictures. */
import type { TraceEvent } from './run-result.ts'

type Sent = Extract<TraceEvent, { readonly type: 'sent' }>

/** Where the arrows of a trace begin and which of them end, so that a line can say who sent what it tells of. */
export interface TraceIndex {
  /** The sending of each message. Of a message that was sent again, the last sending. */
  readonly sent: ReadonlyMap<number, Sent>
  /** Messages that were handled, arrived or were lost. */
  readonly ended: ReadonlySet<number>
}

export interface StoryOptions {
  /** Most lines, those that say what was left out not counted. @default 60 */
  readonly linesMax?: number | undefined
  /** Longer lines are cut. @default 140 */
  readonly columns?: number | undefined
}

export interface StoryLine {
  readonly type: TraceEvent['type'] | 'omitted'
  readonly text: string
}

export function traceIndex(trace: readonly TraceEvent[]): TraceIndex {
  const sent = new Map<number, Sent>()
  const ended = new Set<number>()
  for (const event of trace) {
    if (event.type === 'sent') sent.set(event.messageId, event)
    else if (event.type === 'arrived' || event.type === 'lost') ended.add(event.messageId)
    else if (event.type === 'handled' && event.messageId !== undefined) ended.add(event.messageId)
  }
  return { sent, ended }
}

/**
 * The events in order, as `   12.5 ms  b  /user/lock/7 handled acquire (from a)`. A sending whose end is told gets no
 * line of its own. A long story keeps its beginning, what led to the violation, and of the middle the faults and changes
 * of state.
 */
export function storyLines(trace: readonly TraceEvent[], options: StoryOptions = {}): readonly StoryLine[] {
  const columns = options.columns ?? 140
  const index = traceIndex(trace)
  const told = trace.filter((event) => event.type !== 'sent' || !index.ended.has(event.messageId))
  const laneWidth = Math.min(
    24,
    told.reduce((width, event) => Math.max(width, (event.lane ?? '').length), 1),
  )
  const lines: StoryLine[] = []
  let last = -1
  for (const at of kept(told, Math.max(4, Math.floor(options.linesMax ?? 60)))) {
    if (at - last > 1) lines.push(omitted(at - last - 1))
    last = at
    const event = told[at] as TraceEvent
    const lane = cut(visible(event.lane ?? '-'), laneWidth).padEnd(laneWidth)
    const line = `${timeText(event.atMs).padStart(11)}  ${lane}  ${eventText(event, index)}`
    lines.push({ type: event.type, text: cut(line, columns) })
  }
  if (last < told.length - 1) lines.push(omitted(told.length - 1 - last))
  return lines
}

/** What happened, in one line without its time and place. Control characters are made visible. */
export function eventText(event: TraceEvent, index: TraceIndex): string {
  switch (event.type) {
    case 'handled':
      return visible(`${event.actor} handled ${event.message}${origin(event, event.messageId, index)}`)
    case 'sent': {
      const actor = event.actor === undefined ? '' : `${event.actor} `
      const end = index.ended.has(event.messageId) ? '' : ' (still on its way at the end)'
      return visible(`${actor}sent ${event.message} to ${event.to}${end}`)
    }
    case 'arrived':
      return visible(`${event.message} arrived${origin(event, event.messageId, index)}`)
    case 'lost': {
      const sent = index.sent.get(event.messageId)
      const what = sent === undefined ? 'a message' : `${sent.message} to ${sent.to}`
      return visible(`${what} was lost: ${event.why}${origin(event, event.messageId, index)}`)
    }
    case 'fault':
      return visible(event.what.includes(event.kind) ? event.what : `${event.kind}: ${event.what}`)
    case 'state':
      return visible(event.what)
    case 'violation':
      return visible(`${event.name} is violated: ${event.what.split('\n', 1)[0] ?? ''}`)
    default:
      return unreachable(event)
  }
}

/** `12.5 ms`, from ten seconds on `12.346 s`. */
export function timeText(atMs: number): string {
  return Math.abs(atMs) < 10_000 ? `${atMs.toFixed(1)} ms` : `${(atMs / 1000).toFixed(3)} s`
}

/**
 * The text with what a terminal or a browser would obey instead of show made visible: control characters as their
 * pictures, marks that turn the direction of writing and halves of surrogate pairs as a replacement sign.
 */
export function visible(text: string): string {
  return text
    .replaceAll(/\p{Cc}/gu, (c) => (c < ' ' ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : replacement))
    .replaceAll(/[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]|\p{Cs}/gu, replacement)
}

const replacement = '\ufffd'

/** At most `max` characters; what was cut shows as an ellipsis. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text
  const characters = Array.from(text)
  return characters.length <= max ? text : `${characters.slice(0, Math.max(0, max - 1)).join('')}…`
}

function origin(event: TraceEvent, messageId: number | undefined, index: TraceIndex): string {
  const sent = messageId === undefined ? undefined : index.sent.get(messageId)
  if (sent === undefined || sent.lane === event.lane) return ''
  const when = sent.atMs < event.atMs ? `, sent at ${timeText(sent.atMs)}` : ''
  return ` (from ${sent.lane ?? 'outside'}${when})`
}

/** Which lines of a long story are told, ascending. */
function kept(told: readonly TraceEvent[], linesMax: number): readonly number[] {
  if (told.length <= linesMax) return told.map((_, at) => at)
  const found = told.findLastIndex((event) => event.type === 'violation')
  const end = Math.min(told.length, (found < 0 ? told.length : found + 1) + Math.floor(linesMax / 20))
  const head = Math.floor(linesMax / 5)
  const tail = Math.max(head, end - Math.ceil(linesMax / 2))
  const between: number[] = []
  for (let at = tail - 1; at >= head && between.length < linesMax - head - (end - tail); at--) {
    const type = told[at]?.type
    if (type === 'fault' || type === 'state' || type === 'lost' || type === 'violation') between.unshift(at)
  }
  return [...range(0, head), ...between, ...range(tail, end)]
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}

function omitted(count: number): StoryLine {
  return { type: 'omitted', text: `${' '.repeat(11)}  ... ${count} more` }
}

function unreachable(event: never): never {
  throw new TypeError(`Cannot tell of ${JSON.stringify(event)}: it is no trace event`)
}
