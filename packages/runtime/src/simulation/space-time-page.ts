/** The styles and the script of a space-time diagram's page. Constants: nothing of a run is ever put into them. */

/** Colours of a page and of a picture that stands alone. The arrows' colours are told apart also by the colour-blind. */
export const pictureStyle = `
.understudy { --paper: #fff; --ink: #1d2530; --soft: #67717e; --faint: #e4e8ed; --lane: #aab4c0; --head: #eef2f6;
  --bad: #c0262d; --bad-paper: #fdeaea; --good: #1c7c43; --good-paper: #e4f5ea; --cut: #9a5b00; --cut-paper: #fdf1dc;
  --fault: #a8431a; --fault-paper: #fdebe2; --note: #46515f; --note-paper: #eff2f5; --paused: #b9c0c9;
  --c0: #1f6fd0; --c1: #0f8577; --c2: #8a4fc4; --c3: #a96a00; --c4: #b83a86; --c5: #4a7a1e; --c6: #00809f; --c7: #7a5a48; --c8: #77818d;
  font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) {
  .understudy { --paper: #14181d; --ink: #e3e8ee; --soft: #97a2af; --faint: #242b33; --lane: #4c5763; --head: #222a33;
    --bad: #ff7b7b; --bad-paper: #471b20; --good: #6fd598; --good-paper: #15351f; --cut: #f2b65c; --cut-paper: #3b2a10;
    --fault: #ffa07a; --fault-paper: #43251a; --note: #c1cad4; --note-paper: #2a323b; --paused: #5b6672;
    --c0: #6cabff; --c1: #4fc9ba; --c2: #c297f5; --c3: #e5ad4c; --c4: #f083c0; --c5: #9fcf6c; --c6: #58c8e6; --c7: #cfa58d; --c8: #97a2af; }
}
.understudy .c0 { --c: var(--c0) } .understudy .c1 { --c: var(--c1) } .understudy .c2 { --c: var(--c2) }
.understudy .c3 { --c: var(--c3) } .understudy .c4 { --c: var(--c4) } .understudy .c5 { --c: var(--c5) }
.understudy .c6 { --c: var(--c6) } .understudy .c7 { --c: var(--c7) } .understudy .c8 { --c: var(--c8) }
.understudy .paper { fill: var(--paper) }
.understudy text { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round }
.understudy .lane { stroke: var(--lane); stroke-width: 2 }
.understudy .nolane { stroke: var(--paper); stroke-width: 4 }
.understudy .downline { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 2 5; opacity: .75 }
.understudy .paused { fill: var(--paused) }
.understudy .time { fill: var(--soft); text-anchor: end; font-size: 11px; font-variant-numeric: tabular-nums }
.understudy .quiet { font-style: italic; font-size: 10px }
.understudy .tick { stroke: var(--faint); stroke-width: 1 }
.understudy .quietline { stroke: var(--lane); stroke-width: 1; stroke-dasharray: 1 5 }
.understudy .head rect { fill: var(--head); stroke: var(--lane) }
.understudy .head text { text-anchor: middle; font-weight: 600; font-size: 13px; stroke: none }
.understudy .line { fill: none; stroke: var(--c, var(--soft)); stroke-width: 1.5 }
.understudy .own { stroke-width: 1.1; opacity: .75 }
.understudy .grab { fill: none; stroke: transparent; stroke-width: 11 }
.understudy .flightline { stroke-dasharray: 5 4 }
.understudy .lostline { stroke: var(--bad); stroke-dasharray: 1 0; opacity: .8 }
.understudy .tipfill { fill: var(--c, var(--soft)) }
.understudy .tipline { fill: none; stroke: var(--c, var(--soft)); stroke-width: 1.5 }
.understudy .cross { fill: none; stroke: var(--bad); stroke-width: 2.5 }
.understudy text.lost { fill: var(--bad); font-size: 11px } .understudy text.flying { fill: var(--c); font-size: 11px }
.understudy text.left { text-anchor: end }
.understudy .dot { fill: var(--c, var(--soft)); stroke: var(--paper); stroke-width: 1.5 }
.understudy .arrived .dot { fill: var(--paper); stroke: var(--c, var(--soft)) }
.understudy .from { fill: var(--c, var(--soft)) }
.understudy .detail { fill: var(--soft); font-size: 11px }
.understudy .pill { fill: var(--note-paper); stroke: var(--note); stroke-width: 1 }
.understudy .mark text.plain, .understudy .mark text.paused { fill: var(--note); stroke: none }
.understudy .mark.state text, .understudy .mark.fault text { font-size: 11.5px; font-weight: 600; stroke: none }
.understudy .band text { white-space: pre; stroke: none; fill: var(--note); font-weight: 600 }
.understudy .band rect { fill: var(--note-paper); stroke: var(--note); stroke-dasharray: 5 4 }
.understudy .band.omitted rect { fill: none; stroke: none } .understudy .band.omitted text { font-style: italic; fill: var(--soft) }
.understudy .pill.good, .understudy .band.good rect { fill: var(--good-paper); stroke: var(--good) }
.understudy .mark text.good, .understudy .band.good text { fill: var(--good) }
.understudy .pill.bad, .understudy .band.bad rect { fill: var(--bad-paper); stroke: var(--bad) }
.understudy .mark text.bad, .understudy .band.bad text { fill: var(--bad) }
.understudy .pill.cut, .understudy .band.cut rect { fill: var(--cut-paper); stroke: var(--cut) }
.understudy .mark text.cut, .understudy .band.cut text { fill: var(--cut) }
.understudy .pill.fault, .understudy .band.fault rect { stroke-width: 1.5 }
.understudy .pill.fault { fill: var(--fault-paper); stroke: var(--fault) } .understudy .mark text.fault { fill: var(--fault) }
.understudy .band.violation rect { fill: var(--bad-paper); stroke: var(--bad); stroke-width: 2; stroke-dasharray: none }
.understudy .band.violation text { fill: var(--bad); font-weight: 400; font-size: 13px }
.understudy .band .strong { font-weight: 700; font-size: 14px }
.understudy .where { fill: var(--bad); stroke: var(--paper); stroke-width: 2 }
.understudy .event { transition: opacity .12s }
.understudy .dim { opacity: .07 }
.understudy .near .line { stroke-width: 3; opacity: 1 } .understudy .near .dot { stroke: var(--ink); stroke-width: 2 }
`

export const pageStyle = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2530; --soft: #5d6875; --faint: #e4e8ed; --box: #f6f8fa; --line: #cdd5de; --bad: #c0262d; --bad-paper: #fdeaea; --good: #1c7c43; --accent: #1f6fd0 }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e3e8ee; --soft: #97a2af; --faint: #242b33; --box: #1c2229; --line: #3a444f; --bad: #ff7b7b; --bad-paper: #3d191d; --good: #6fd598; --accent: #6cabff } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 14px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif; width: max-content; min-width: 100% }
header { position: sticky; left: 0; width: 100vw; max-width: 1240px; box-sizing: border-box; padding: 18px 22px 6px }
h1 { font-size: 19px; margin: 0 0 10px }
.verdict { margin: 0 0 8px } .fine { color: var(--good); font-weight: 600 }
.broken { border-left: 4px solid var(--bad); background: var(--bad-paper); padding: 8px 14px; border-radius: 0 6px 6px 0; color: var(--bad) }
.broken pre { margin: 3px 0 0; font: 13px/1.45 ui-monospace, monospace; color: var(--ink); white-space: pre-wrap; overflow-wrap: anywhere; max-height: 18em; overflow: auto }
.facts { margin: 0 0 6px; color: var(--soft) } .facts b { color: var(--ink) } .facts i { opacity: .5; padding: 0 3px }
details { margin: 0 0 6px } summary { cursor: pointer } ol { margin: 3px 0 6px; padding-left: 30px; font: 13px/1.5 ui-monospace, monospace }
code { font: 13px ui-monospace, monospace; background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: 5px 9px; overflow-wrap: anywhere; min-width: 0 }
.replay { display: flex; gap: 8px; margin: 0 0 10px; align-items: center }
button { font: inherit; font-size: 13px; color: inherit; background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: 3px 10px; cursor: pointer }
button:hover { border-color: var(--accent) } button[aria-pressed=true] { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent) }
.kinds, .names, .tools { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: center; margin: 0 0 8px; color: var(--soft); font-size: 12.5px }
.names { gap: 6px } .kinds span { display: inline-flex; gap: 6px; align-items: center }
.name { border-radius: 12px; padding: 1px 10px; font-size: 12.5px } .name::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin-right: 6px; background: var(--c) } .name small { opacity: .65 }
.tools { gap: 8px } input { font: inherit; font-size: 13px; width: 250px; padding: 3px 8px; border: 1px solid var(--line); border-radius: 6px; background: var(--paper); color: inherit }
.heads { position: sticky; top: 0; z-index: 2; display: block; background: var(--paper); border-bottom: 1px solid var(--faint) }
.heads .head { cursor: pointer } .heads .on rect { stroke: var(--accent); stroke-width: 2 }
.plot { display: block }
#tip { position: fixed; z-index: 3; max-width: 560px; white-space: pre-wrap; overflow-wrap: anywhere; pointer-events: none; background: var(--ink); color: var(--paper); padding: 7px 11px; border-radius: 7px; font: 12.5px/1.45 ui-monospace, monospace; box-shadow: 0 3px 14px #0005 }
@media print { .tools { display: none } .heads { position: static } }
`

/**
 * Pointing at something shows its text and the message it belongs to; filter, lanes and names dim the rest; zoom. Without
 * it the page is complete, with the browser's own tooltips. Plain functions for any browser of the last years.
 */
export const pageScript = `
'use strict'
const all = (selector) => [...document.querySelectorAll(selector)]
const byId = (id) => document.getElementById(id)
const events = all('.plot .event')
const byMessage = new Map()
for (const event of events) {
  const title = event.querySelector('title')
  event.tip = title ? title.textContent : ''
  event.low = event.tip.toLowerCase()
  if (title) title.remove()
  const id = event.dataset.m
  if (id !== undefined) byMessage.set(id, [...(byMessage.get(id) || []), event])
}
const tip = byId('tip')
let near = []
function point(event, mouse) {
  for (const old of near) old.classList.remove('near')
  near = event && event.dataset.m !== undefined ? byMessage.get(event.dataset.m) || [] : []
  for (const one of near) one.classList.add('near')
  tip.hidden = !event || event.tip === ''
  if (tip.hidden) return
  tip.textContent = event.tip
  const box = tip.getBoundingClientRect()
  tip.style.left = Math.max(4, Math.min(mouse.clientX + 16, innerWidth - box.width - 8)) + 'px'
  tip.style.top = (mouse.clientY + 20 + box.height > innerHeight ? mouse.clientY - box.height - 12 : mouse.clientY + 20) + 'px'
}
const plot = document.querySelector('.plot')
plot.addEventListener('mousemove', (mouse) => point(mouse.target.closest('.event'), mouse))
plot.addEventListener('mouseleave', () => point(null))

let names = new Set(), lanes = new Set()
function filter() {
  const text = byId('filter').value.trim().toLowerCase()
  let shown = 0
  for (const event of events) {
    const { name, lane, to } = event.dataset
    const keep = (text === '' || event.low.includes(text))
      && (names.size === 0 || name === undefined || names.has(name))
      && (lanes.size === 0 || lane === undefined || lanes.has(lane) || lanes.has(to))
    event.classList.toggle('dim', !keep)
    if (keep) shown += 1
  }
  byId('found').textContent = text === '' ? '' : shown === 0 ? 'nothing' : shown + ' found'
}
byId('filter').addEventListener('input', filter)
function toggles(element, set, key, onClass) {
  element.addEventListener('click', () => {
    if (!set.delete(key)) set.add(key)
    if (onClass) element.classList.toggle('on', set.has(key))
    else element.setAttribute('aria-pressed', String(set.has(key)))
    filter()
  })
}
for (const name of all('.name')) toggles(name, names, name.dataset.name, false)
for (const head of all('.head')) toggles(head, lanes, head.dataset.lane, true)

let scale = 1
function zoom(by) {
  scale = Math.min(3, Math.max(0.25, scale * by))
  for (const svg of all('.plot, .heads')) {
    const box = svg.viewBox.baseVal
    svg.setAttribute('width', box.width * scale)
    svg.setAttribute('height', box.height * scale)
  }
}
byId('smaller').addEventListener('click', () => zoom(0.8))
byId('larger').addEventListener('click', () => zoom(1.25))
const jump = byId('jump')
if (jump) jump.addEventListener('click', () => byId('violation') && byId('violation').scrollIntoView({ block: 'center' }))
const copy = byId('copy')
if (copy) copy.addEventListener('click', () => {
  const range = document.createRange()
  range.selectNodeContents(byId('command'))
  getSelection().removeAllRanges()
  getSelection().addRange(range)
  copy.textContent = document.execCommand('copy') ? 'Copied' : 'Press Ctrl+C'
})
document.addEventListener('keydown', (key) => {
  if (key.key === '/' && document.activeElement !== byId('filter')) { key.preventDefault(); byId('filter').focus() }
  if (key.key === 'Escape') { byId('filter').value = ''; filter() }
})
`
