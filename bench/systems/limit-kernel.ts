/**
 * The bare limit: what actors cost when they have no features. Cells of one class, mailboxes as linked lists
 * whose nodes are made when a message comes, one ready queue, one pump. A turn drains what was queued when it
 * began and ends after 512 sends ("senders pay"); the pump starts from a microtask and yields with
 * `setImmediate` by message count. A try/catch and a check for a thenable are all the safety there is.
 * No lanes, no paths, no validation, no deadlines, no supervision beyond "start again", no limits.
 *
 * Every other system of the table is measured against this, so it has to stay both bare and fast.
 */

/** Handles one message; what it returns answers an ask. A thenable holds the mailbox until it settles. */
export type Receive = (self: Cell, message: unknown) => unknown

/** Makes a behaviour with fresh state; runs at start and again after each crash. */
export type Setup = (self: Cell) => Receive

/** Sends that end a turn. */
const SENDS_PER_TURN = 512
/** Messages after which the pump lets the event loop go round. */
const MESSAGES_PER_SLICE = 16_000

const IDLE = 0
const READY = 1
const RUNNING = 2
const AWAITING = 3
const STOPPED = 4

/** One actor. Every field is set in the constructor, so that all cells share one hidden class. */
export class Cell {
  readonly name: string
  readonly setup: Setup
  readonly parent: Cell | null
  /** Sent to the parent when this cell has stopped: the parent's watch. */
  readonly notice: unknown
  receive: Receive
  status: number
  head: Envelope | null
  tail: Envelope | null
  nextReady: Cell | null
  firstChild: Cell | null
  nextSibling: Cell | null
  previousSibling: Cell | null

  constructor(parent: Cell | null, name: string, setup: Setup, notice: unknown) {
    this.name = name
    this.setup = setup
    this.parent = parent
    this.notice = notice
    this.receive = unstarted
    this.status = IDLE
    this.head = null
    this.tail = null
    this.nextReady = null
    this.firstChild = null
    this.nextSibling = null
    this.previousSibling = null
  }
}

class Envelope {
  readonly message: unknown
  readonly reply: ((value: unknown) => void) | null
  next: Envelope | null

  constructor(message: unknown, reply: ((value: unknown) => void) | null) {
    this.message = message
    this.reply = reply
    this.next = null
  }
}

let readyHead: Cell | null = null
let readyTail: Cell | null = null
let pumping = false
/** Sends of the turn that runs; counted from zero each turn, so that it stays a small integer for ever. */
let sends = 0
/** A reaction to a settled promise is the cheapest microtask: `queueMicrotask` adds an async resource. */
const settled = Promise.resolve()

/** Makes and starts a cell. `notice`, unless null, is sent to `parent` once the cell has stopped. */
export function spawn(parent: Cell | null, name: string, setup: Setup, notice: unknown = null): Cell {
  const cell = new Cell(parent, name, setup, notice)
  if (parent !== null) {
    const sibling = parent.firstChild
    cell.nextSibling = sibling
    if (sibling !== null) sibling.previousSibling = cell
    parent.firstChild = cell
  }
  cell.receive = setup(cell)
  return cell
}

/** Puts a message into a cell's mailbox; a stopped cell drops it. */
export function tell(to: Cell, message: unknown): void {
  sends++
  enqueue(to, new Envelope(message, null))
}

/** A promise of what the handler returns; stays pending when the handler throws or the cell has stopped. */
export function ask(to: Cell, message: unknown): Promise<unknown> {
  return new Promise((resolve) => {
    sends++
    enqueue(to, new Envelope(message, resolve))
  })
}

/** Stops a cell and all below it, forgets their mail, and gives the notices. A second call does nothing. */
export function stop(cell: Cell): void {
  if (cell.status === STOPPED) return
  cell.status = STOPPED
  cell.head = null
  cell.tail = null
  while (cell.firstChild !== null) stop(cell.firstChild)
  const { parent, nextSibling, previousSibling } = cell
  if (nextSibling !== null) nextSibling.previousSibling = previousSibling
  if (previousSibling !== null) previousSibling.nextSibling = nextSibling
  else if (parent !== null) parent.firstChild = nextSibling
  if (parent !== null && cell.notice !== null) tell(parent, cell.notice)
}

function enqueue(cell: Cell, envelope: Envelope): void {
  const status = cell.status
  if (status === STOPPED) return
  const tail = cell.tail
  if (tail === null) cell.head = envelope
  else tail.next = envelope
  cell.tail = envelope
  if (status === IDLE) makeReady(cell)
}

function makeReady(cell: Cell): void {
  cell.status = READY
  const tail = readyTail
  if (tail === null) readyHead = cell
  else tail.nextReady = cell
  readyTail = cell
  if (!pumping) {
    pumping = true
    void settled.then(pump)
  }
}

function pump(): void {
  let handled = 0
  let cell = readyHead
  while (cell !== null) {
    const next = cell.nextReady
    cell.nextReady = null
    readyHead = next
    if (next === null) readyTail = null
    if (cell.status === READY) {
      handled += takeTurn(cell)
      if (handled >= MESSAGES_PER_SLICE) {
        setImmediate(pump)
        return
      }
    }
    cell = readyHead
  }
  pumping = false
}

/** Handles what is in the mailbox now, up to 512 sends; the number of messages handled. */
function takeTurn(cell: Cell): number {
  cell.status = RUNNING
  const last = cell.tail
  sends = 0
  let handled = 0
  let envelope = cell.head
  while (envelope !== null) {
    const next: Envelope | null = envelope.next
    // Unlinked, or an old dead envelope would keep all younger ones alive through the next scavenge.
    envelope.next = null
    cell.head = next
    if (next === null) cell.tail = null
    handled++
    try {
      const result = cell.receive(cell, envelope.message)
      if (result !== undefined && isThenable(result)) wait(cell, result, envelope.reply)
      else if (envelope.reply !== null) envelope.reply(result)
    } catch {
      restart(cell)
    }
    if (envelope === last || sends >= SENDS_PER_TURN || cell.status !== RUNNING) break
    envelope = cell.head
  }
  if (cell.status === RUNNING) rest(cell)
  return handled
}

function rest(cell: Cell): void {
  if (cell.head !== null) makeReady(cell)
  else cell.status = IDLE
}

function wait(cell: Cell, result: PromiseLike<unknown>, reply: ((value: unknown) => void) | null): void {
  if (cell.status === RUNNING) cell.status = AWAITING
  result.then(
    (value) => {
      if (reply !== null) reply(value)
      if (cell.status === AWAITING) rest(cell)
    },
    () => {
      if (cell.status !== AWAITING) return
      restart(cell)
      rest(cell)
    },
  )
}

function restart(cell: Cell): void {
  while (cell.firstChild !== null) stop(cell.firstChild)
  cell.receive = cell.setup(cell)
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

function unstarted(): never {
  throw new Error('a cell got a message before its setup had run: spawn() starts it first')
}
