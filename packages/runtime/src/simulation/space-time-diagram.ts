/**
 * A run as a picture: nodes as columns, messages as arrows, time flowing down. One HTML file that needs nothing else,
 * not even a network: it can be opened from a disk, attached to an issue, kept next to a regression.
 */
import type { RunResult } from './run-result.ts'
import { choiceText } from './run-report.ts'
import { gutterWidth, laneTop, spaceTimeLayout } from './space-time-layout.ts'
import type {
  PlacedArrow,
  PlacedBand,
  PlacedLane,
  PlacedMark,
  PlacedSpan,
  SpaceTimeLayout,
} from './space-time-layout.ts'
import { pageScript, pageStyle, pictureStyle } from './space-time-page.ts'
import { cut, timeText, visible } from './story.ts'

export interface SpaceTimeOptions {
  /** Heading and window title. @default 'What happened' */
  readonly title?: string | undefined
  /** Shown below the heading, ready to be copied. */
  readonly replayCommand?: string | undefined
  /** Lanes in the order of the columns; others follow in the order of their first event. */
  readonly lanes?: readonly string[] | undefined
  /**
   * Most events drawn. Of a longer trace the beginning and what led to the violation are drawn, with a note between
   * them. A browser takes 2,000 without a pause. At least 10. @default 2_000
   */
  readonly eventsMax?: number | undefined
}

const eventsMaxDefault = 2_000
/** Colours for names of messages; further names share one. */
const coloursOfMessages = 8
const headHeight = 40

/**
 * The page. Hand in a result with a trace, best a shrunk one. Everything in it that comes from the run is escaped:
 * nothing that an actor was sent can run in the page, which moreover may load nothing.
 *
 * @throws {RangeError} if `eventsMax` is not a whole number of at least 10
 */
export function spaceTimeDiagram(result: RunResult, options: SpaceTimeOptions = {}): string {
  const layout = layoutOf(result, options)
  const title = options.title ?? 'What happened'
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escaped(title)}</title>
<style>${pageStyle}${pictureStyle}</style>
</head>
<body>
${header(result, title, options.replayCommand, layout)}
<svg class="understudy heads" width="${layout.width}" height="${headHeight}" viewBox="0 0 ${layout.width} ${headHeight}">${heads(layout)}</svg>
${picture(layout, `class="understudy plot" role="img" aria-label="Space-time diagram"`)}
<div id="tip" hidden></div>
<script>${pageScript}</script>
</body>
</html>
`
}

/** The picture alone, as an SVG file with its own colours. See `spaceTimeDiagram`. */
export function spaceTimeSvg(result: RunResult, options: SpaceTimeOptions = {}): string {
  const layout = layoutOf(result, options)
  const height = layout.height + headHeight
  return `<svg xmlns="http://www.w3.org/2000/svg" class="understudy" width="${layout.width}" height="${height}" viewBox="0 0 ${layout.width} ${height}">
<title>${escaped(options.title ?? 'What happened')}</title>
<style>${pictureStyle}</style>
<rect class="paper" width="100%" height="100%"/>
<g>${heads(layout)}</g>
<g transform="translate(0 ${headHeight})">${drawing(layout)}</g>
</svg>
`
}

function layoutOf(result: RunResult, options: SpaceTimeOptions): SpaceTimeLayout {
  const eventsMax = options.eventsMax ?? eventsMaxDefault
  if (!Number.isSafeInteger(eventsMax) || eventsMax < 10) {
    throw new RangeError(
      `Cannot draw a space-time diagram: eventsMax must be a whole number of at least 10, got ${eventsMax}`,
    )
  }
  return spaceTimeLayout(result.trace, { eventsMax, lanes: options.lanes })
}

function header(
  result: RunResult,
  title: string,
  command: string | undefined,
  layout: SpaceTimeLayout,
): string {
  const { violation, choices, stats } = result
  const verdict =
    violation === undefined
      ? `<p class="verdict fine">No rule was broken</p>`
      : `<div class="verdict broken"><strong>${escaped(violation.name)} is violated</strong><pre>${escaped(violation.message.split('\n').slice(0, 40).join('\n'))}</pre></div>`
  const facts = [
    `seed <b>${escaped(result.seed)}</b>`,
    violation === undefined
      ? `${stats.steps} steps`
      : `step <b>${violation.step}</b> at <b>${timeText(violation.atMs)}</b>`,
    `${layout.lanes.length} ${layout.lanes.length === 1 ? 'lane' : 'lanes'}`,
    `${result.trace.length} events${layout.omitted > 0 ? ` (${layout.omitted} of them not drawn)` : ''}`,
  ]
  const shown = choices.slice(0, 30).map((choice) => `<li>${escaped(choiceText(choice))}</li>`)
  if (choices.length > shown.length) shown.push(`<li>${choices.length - shown.length} more</li>`)
  const takes =
    choices.length === 0
      ? '<p>It takes no fault and no delay: every choice was benign.</p>'
      : `<details${choices.length <= 6 ? ' open' : ''}><summary>It takes ${choices.length === 1 ? 'one choice' : `${choices.length} choices`}</summary><ol>${shown.join('')}</ol></details>`
  const replay =
    command === undefined
      ? ''
      : `<p class="replay"><code id="command">${escaped(command)}</code><button type="button" id="copy">Copy</button></p>`
  return `<header>
<h1>${escaped(title)}</h1>
${verdict}
<p class="facts">${facts.join(' <i>·</i> ')}</p>
${takes}
${replay}
<div class="legend">${legend(layout)}</div>
<div class="tools"><input id="filter" type="search" placeholder="Filter: an actor, a message, a step" aria-label="Filter"><span id="found"></span><button type="button" id="smaller" aria-label="Smaller">−</button><button type="button" id="larger" aria-label="Larger">+</button>${violation === undefined ? '' : '<button type="button" id="jump">To the violation</button>'}<small>Point at anything for the whole text; click a column's head or a message's name to see it alone</small></div>
</header>`
}

function legend(layout: SpaceTimeLayout): string {
  const kinds: readonly (readonly [string, string])[] = [
    ['<path class="line" d="M1 7h22"/><path class="tipfill" d="m29 7-8-4v8z"/>', 'message, sent to handled'],
    ['<path class="line lostline" d="M1 7h20"/><path class="cross" d="m18 3 8 8m0-8-8 8"/>', 'lost'],
    [
      '<path class="line flightline" d="M1 7h22"/><path class="tipline" d="m21 3 7 4-7 4"/>',
      'still on its way at the end',
    ],
    ['<rect class="pill fault" x="2" y="2" width="26" height="10" rx="3"/>', 'fault'],
    ['<rect class="pill bad" x="2" y="2" width="26" height="10" rx="3"/>', 'ended, failed'],
    ['<rect class="pill good" x="2" y="2" width="26" height="10" rx="3"/>', 'started, mended'],
    ['<rect class="pill cut" x="2" y="2" width="26" height="10" rx="3"/>', 'cut off'],
    ['<rect class="paused" x="11" y="0" width="8" height="14"/>', 'paused'],
    ['<path class="downline" d="M15 0v14"/>', 'not running'],
  ]
  const shapes = kinds.map(
    ([shape, text]) => `<span><svg class="understudy" width="30" height="14">${shape}</svg>${text}</span>`,
  )
  const names = layout.messages
    .slice(0, 24)
    .map(
      ({ name, count }, i) =>
        `<button type="button" class="name c${Math.min(i, coloursOfMessages)}" data-name="${escaped(name)}" aria-pressed="false">${escaped(name)} <small>${count}</small></button>`,
    )
  return `<div class="kinds">${shapes.join('')}</div><div class="names understudy">${names.join('')}</div>`
}

function heads(layout: SpaceTimeLayout): string {
  const wide = layout.lanes.length > 1 ? (layout.lanes[1]?.x ?? 0) - (layout.lanes[0]?.x ?? 0) : 220
  const each = layout.lanes.map((lane, i) => {
    const name = cut(visible(lane.name), Math.floor((wide - 30) / 7.4))
    const box = Math.max(36, Array.from(name).length * 7.8 + 20)
    return `<g class="head" data-lane="${i}"><title>${escaped(lane.name)}</title><rect x="${lane.x - 18}" y="8" width="${round(box)}" height="24" rx="6"/><text x="${lane.x - 18 + round(box / 2)}" y="24.5">${escaped(name)}</text></g>`
  })
  return `<text class="time" x="${gutterWidth - 14}" y="24">time</text>${each.join('')}`
}

function picture(layout: SpaceTimeLayout, attributes: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" ${attributes} width="${layout.width}" height="${layout.height}" viewBox="0 0 ${layout.width} ${layout.height}">${drawing(layout)}</svg>`
}

/** From the back to the front: columns, spans, bands, arrows, marks with their texts. */
function drawing(layout: SpaceTimeLayout): string {
  const colours = new Map(layout.messages.map(({ name }, i) => [name, `c${Math.min(i, coloursOfMessages)}`]))
  return [
    ...layout.lanes.map((lane) => column(lane, layout.height)),
    ...layout.times.map(
      ({ y, text, quiet }) =>
        `<text class="${quiet ? 'time quiet' : 'time'}" x="${gutterWidth - 14}" y="${round(y + 4)}">${escaped(text)}</text>${quiet ? `<path class="quietline" d="M${gutterWidth} ${round(y)}H${layout.width - 12}"/>` : `<path class="tick" d="M${gutterWidth - 8} ${round(y)}H${layout.width - 12}"/>`}`,
    ),
    ...layout.spans.map(spanOf),
    ...layout.bands.map((band) => bandOf(band, layout)),
    ...layout.arrows.map((arrow) => arrowOf(arrow, colours)),
    // The dots of sendings below those of what caused them.
    ...layout.marks.filter(isSending).map((mark) => markOf(mark, colours)),
    ...layout.marks.filter((mark) => !isSending(mark)).map((mark) => markOf(mark, colours)),
  ].join('\n')
}

function isSending(mark: PlacedMark): boolean {
  return mark.type === 'sent'
}

function column(lane: PlacedLane, height: number): string {
  return `<path class="lane" d="M${lane.x} ${laneTop - 8}V${height - 8}"/>`
}

function spanOf(span: PlacedSpan): string {
  if (span.type === 'paused') {
    return `<rect class="paused" x="${span.x - 6}" y="${round(span.y1)}" width="12" height="${round(Math.max(4, span.y2 - span.y1))}" rx="3"/>`
  }
  return `<path class="nolane" d="M${span.x} ${round(span.y1)}V${round(span.y2)}"/><path class="downline" d="M${span.x} ${round(span.y1)}V${round(span.y2)}"/>`
}

function bandOf(band: PlacedBand, layout: SpaceTimeLayout): string {
  const x = gutterWidth
  const width = layout.width - gutterWidth - 12
  const middle = (band.y1 + band.y2) / 2
  const first = middle - ((band.lines.length - 1) * 17) / 2 + 4.5
  const lines = band.lines.map((line, i) => {
    const strong = band.type === 'violation' && i === 0 ? ' class="strong"' : ''
    return `<tspan x="${x + 14}" y="${round(first + i * 17)}"${strong}>${escaped(line)}</tspan>`
  })
  const lane = band.lane === undefined ? undefined : layout.lanes[band.lane]
  const where =
    lane === undefined ? '' : `<circle class="where" cx="${lane.x}" cy="${round(band.y1)}" r="6"/>`
  const id = band.type === 'violation' ? ' id="violation"' : ''
  return `<g class="band ${band.type} ${band.tone} event"${id}><title>${escaped(band.tip)}</title><rect x="${x}" y="${round(band.y1)}" width="${width}" height="${round(band.y2 - band.y1)}" rx="4"/><text>${lines.join('')}</text>${where}</g>`
}

function arrowOf(arrow: PlacedArrow, colours: ReadonlyMap<string, string>): string {
  const colour = colours.get(arrow.messageName) ?? 'c8'
  const { x1, y1 } = arrow
  const own = arrow.x1 === arrow.x2
  // Ends short of the dot that stands at the end.
  const length = Math.max(1, Math.hypot(arrow.x2 - x1, arrow.y2 - y1))
  const short = arrow.type === 'delivered' && !own ? 5 : 0
  const x2 = arrow.x2 - ((arrow.x2 - x1) / length) * short
  const y2 = arrow.y2 - ((arrow.y2 - y1) / length) * short
  const bulge = Math.min(22, 8 + (arrow.y2 - y1) / 16)
  const path = own
    ? `M${round(x1)} ${round(y1)}C${round(x1 - bulge * 1.3)} ${round(y1 + 4)} ${round(x1 - bulge * 1.3)} ${round(y2 - 4)} ${round(x2 - 5)} ${round(y2)}`
    : `M${round(x1)} ${round(y1)}L${round(x2)} ${round(y2)}`
  const angle = own ? 0 : (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI
  const tipX = own ? x2 - 1 : x2
  const right = arrow.x2 >= x1
  const end = {
    delivered: `<path class="tipfill" d="m0 0-9-4v8z" transform="translate(${round(tipX)} ${round(y2)}) rotate(${round(angle)})"/>`,
    flying: `<path class="tipline" d="m-8-4 8 4-8 4" transform="translate(${round(x2)} ${round(y2)}) rotate(${round(angle)})"/>`,
    lost: `<path class="cross" d="m-5-5 10 10m0-10-10 10" transform="translate(${round(x2)} ${round(y2)})"/>`,
  }[arrow.type]
  const line = { delivered: own ? 'line own' : 'line', flying: 'line flightline', lost: 'line lostline' }[
    arrow.type
  ]
  const text =
    arrow.text === ''
      ? ''
      : `<text class="${arrow.type}${right ? '' : ' left'}" x="${round(x2 + (right ? 10 : -10))}" y="${round(y2 + 4)}">${escaped(arrow.text)}</text>`
  return `<g class="arrow event ${colour}" data-m="${arrow.messageId}" data-name="${escaped(arrow.messageName)}" data-lane="${arrow.fromLane}" data-to="${arrow.toLane}"><title>${escaped(arrow.tip)}</title><path class="grab" d="${path}"/><path class="${line}" d="${path}"/>${end}${text}</g>`
}

function markOf(mark: PlacedMark, colours: ReadonlyMap<string, string>): string {
  const colour = colours.get(mark.messageName ?? '') ?? 'c8'
  const about = `${mark.messageId === undefined ? '' : ` data-m="${mark.messageId}"`}${mark.messageName === undefined ? '' : ` data-name="${escaped(mark.messageName)}"`}`
  const group = `<g class="mark event ${mark.type} ${colour}" data-lane="${mark.lane}"${about}><title>${escaped(mark.tip)}</title>`
  const { x } = mark
  const y = round(mark.y)
  if (mark.type === 'sent') return `${group}<circle class="from" cx="${x}" cy="${y}" r="2.5"/></g>`
  if (mark.type === 'state' || mark.type === 'fault') {
    const width = round(Array.from(mark.text).length * 6.9 + 18)
    return `${group}<rect class="pill ${mark.tone}" x="${x - 8}" y="${y - 9.5}" width="${width}" height="19" rx="${mark.type === 'fault' ? 3 : 9.5}"/><text class="${mark.tone}" x="${x}" y="${y + 4}">${escaped(mark.text)}</text></g>`
  }
  const detail = mark.detail === '' ? '' : `<tspan class="detail" dx="7">${escaped(mark.detail)}</tspan>`
  return `${group}<circle class="dot" cx="${x}" cy="${y}" r="4.5"/><text x="${x + 13}" y="${y + 4}">${escaped(mark.text)}${detail}</text></g>`
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}

/** For text and for the values of attributes. Newlines stay; whatever else is no text becomes a sign that can be seen. */
function escaped(text: string): string {
  return text
    .split('\n')
    .map(visible)
    .join('\n')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}
