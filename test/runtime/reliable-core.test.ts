/** The step machines of reliable delivery, without any actor: transcripts, and both against a network that may do anything. */
import fc from 'fast-check'
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { runTranscript, type RunCommand } from '../support/transcript.ts'

type ProducerModule = typeof import('../../packages/runtime/src/routing/producer-core.ts')
type ConsumerModule = typeof import('../../packages/runtime/src/routing/consumer-core.ts')
type ProducerEffect = import('../../packages/runtime/src/routing/producer-core.ts').ProducerEffect
type ProducerInput = import('../../packages/runtime/src/routing/producer-core.ts').ProducerInput
type ConsumerEffect = import('../../packages/runtime/src/routing/consumer-core.ts').ConsumerEffect
type ConsumerInput = import('../../packages/runtime/src/routing/consumer-core.ts').ConsumerInput
type Outcome = import('../../packages/runtime/src/routing/consumer-core.ts').Outcome
type FailedPiece = import('../../packages/runtime/src/routing/reliable-protocol.ts').FailedPiece

const { ProducerCore } = await sourceModule<ProducerModule>('runtime', 'routing/producer-core')
const { ConsumerCore } = await sourceModule<ConsumerModule>('runtime', 'routing/consumer-core')
const { crc32c } = await sourceModule<typeof import('../../packages/runtime/src/platform/crc32c.ts')>(
  'runtime',
  'platform/crc32c',
)

const folder = new URL('../../transcripts/reliable/', import.meta.url)
for (const name of readdirSync(folder).sort()) {
  void test(`reliable transcript ${name}`, (t) => {
    const commands = name.startsWith('producer') ? producerCommands() : consumerCommands()
    const { found, wanted } = runTranscript(new URL(name, folder), commands)
    t.equal(found, wanted)
    t.end()
  })
}

/** `taken=3 beyond=5,6`: the words of a command that have a value. */
function valuesOf(words: readonly string[]): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(words.filter((word) => word.includes('=')).map((word) => word.split('=', 2)))
}

/**
 * Commands; the first word is the time in milliseconds:
 *   producer MIN..MAX                            makes a core with these pauses
 *   AT started | unknown | unblocked | end | tick
 *   AT offer N [pieces=P]
 *   AT introduced WHO taken=T processed=P granted=G
 *   AT hello-failed [final] | ended [final] | blocked SEQUENCE
 *   AT ack WHO taken=T processed=P granted=G [beyond=S,S] [failed=S] [answers=N]
 *   status
 */
function producerCommands(): RunCommand {
  let core: InstanceType<ProducerModule['ProducerCore']> | undefined
  return (command) => {
    const words = command.split(/\s+/)
    if (words[0] === 'producer') {
      const [minMs = 0, maxMs = 0] = (words[1] ?? '').split('..').map(Number)
      core = new ProducerCore({ resend: { minMs, maxMs } })
      return []
    }
    if (core === undefined) throw new Error('no producer')
    if (words[0] === 'status') {
      const { phase, offered, sent, taken, processed, granted, resent, held } = core.status()
      const due = core.nextDeadlineMs()
      return [
        `${phase}: offered ${offered}, sent ${sent}, taken ${taken}, processed ${processed}, granted ${granted}, ` +
          `resent ${resent}, held ${held}, due ${due ?? 'never'}`,
      ]
    }
    const [at = '', type = '', who = ''] = words
    return core.step(producerInput(type, who, words), Number(at)).map(producerText)
  }
}

function producerInput(type: string, who: string, words: readonly string[]): ProducerInput {
  const {
    taken = 0,
    processed = 0,
    granted = 0,
    beyond = '',
    failed = '',
    answers = 0,
    pieces = 1,
  } = valuesOf(words)
  const numbers = (list: string): readonly number[] => list.split(',').filter(Boolean).map(Number)
  const progress = {
    consumer: who,
    taken: Number(taken),
    processed: Number(processed),
    granted: Number(granted),
    failed: numbers(failed).map((sequence): FailedPiece => ({
      sequence,
      code: 'CODE',
      text: '',
      details: {},
    })),
  }
  switch (type) {
    case 'offer':
      return {
        type,
        offer: Number(who),
        bodies: Array.from({ length: Number(pieces) }, (_, i) => `${who}.${i}`),
      }
    case 'introduced':
      return { type, reply: { ...progress, messageBytesMax: 1_000 } }
    case 'hello-failed':
      return { type, isFinal: who === 'final' }
    case 'ended':
      return { type: 'consumer-ended', isFinal: who === 'final' }
    case 'ack':
      return { type, ...progress, beyond: numbers(beyond), answers: Number(answers) }
    case 'blocked':
      return { type, sequence: Number(who) }
    case 'started':
    case 'unknown':
    case 'unblocked':
    case 'end':
    case 'tick':
      return { type }
    default:
      throw new Error(`no command "${type}"`)
  }
}

function producerText(effect: ProducerEffect): string {
  switch (effect.type) {
    case 'hello':
      return `hello, first ${effect.first}`
    case 'send':
      return `send ${effect.sequence} (${String(effect.body)}), confirmed ${effect.confirmed}`
    case 'probe':
      return `probe ${effect.number}`
    case 'settled': {
      const { failed } = effect
      return `settled ${effect.offer}: ${failed === undefined ? 'handled' : typeof failed === 'string' ? failed : failed.code}`
    }
    case 'linked':
      return `linked to ${effect.consumer}${effect.isOther ? ', which is another one' : ''}`
    default:
      return effect.type
  }
}

/**
 * Commands:
 *   consumer WHO window=W attempts=A producers=P parked=K
 *   hello P first=F | probe P N | bye P | gone P [away]
 *   piece P SEQUENCE [confirmed=C]
 *   chunk P SEQUENCE INDEX/COUNT [bad]
 *   settled TOKEN done|crashed|refused|invalid|interrupted
 *   worker [same] | discard ID | status
 */
function consumerCommands(): RunCommand {
  let core: InstanceType<ConsumerModule['ConsumerCore']> | undefined
  return (command) => {
    const words = command.split(/\s+/)
    const [type = '', who = '', third = '', fourth = ''] = words
    if (type === 'consumer') {
      const { window = 4, attempts = 2, producers = 2, parked = 4 } = valuesOf(words)
      core = new ConsumerCore({
        consumer: who,
        window: Number(window),
        maxAttempts: Number(attempts),
        producersMax: Number(producers),
        parkedMax: Number(parked),
        messageBytesMax: 10,
      })
      return []
    }
    if (core === undefined) throw new Error('no consumer')
    if (type === 'status') {
      const { streams, counters } = core.status()
      const counted = Object.entries(counters).filter(([, count]) => count > 0)
      return [
        ...streams.map(
          ({ producer, taken, processed, granted, waiting, beyond, isInHand }) =>
            `${producer}: taken ${taken}, processed ${processed}, granted ${granted}, waiting ${waiting}` +
            `${isInHand ? ', one in hand' : ''}${beyond.length === 0 ? '' : `, beyond ${beyond.join(' ')}`}`,
        ),
        ...core.parked.map(
          ({ id, producer, sequence, attempts }) =>
            `parked ${id}: ${producer} ${sequence}, ${attempts} attempts`,
        ),
        `counters: ${counted.map(([name, count]) => `${name} ${count}`).join(', ')}`,
      ]
    }
    return core.step(consumerInput(type, who, third, fourth, words), 0).map(consumerText)
  }
}

function consumerInput(
  type: string,
  who: string,
  third: string,
  fourth: string,
  words: readonly string[],
): ConsumerInput {
  const { first = 1, confirmed = 0 } = valuesOf(words)
  const producer = who
  const failure = { code: 'CODE', text: 'no', details: {} }
  switch (type) {
    case 'hello':
      return { type, producer, address: who, first: Number(first) }
    case 'probe':
      return { type, producer, address: who, number: Number(third) }
    case 'bye':
      return { type, producer }
    case 'gone':
      return { type: 'producer-ended', producer, isCertain: third !== 'away' }
    case 'piece': {
      const body = { type: 'message', message: third } as const
      return { type, producer, sequence: Number(third), confirmed: Number(confirmed), body, crc: undefined }
    }
    case 'chunk': {
      const [index = 0, count = 1] = fourth.split('/').map(Number)
      const bytes = Uint8Array.of(Number(third), index)
      const crc = words.includes('bad') ? 0 : crc32c(bytes)
      const body = { type: 'chunk', index, count, bytes, refs: [] } as const
      return { type: 'piece', producer, sequence: Number(third), confirmed: 0, body, crc }
    }
    case 'settled': {
      const outcomes: Readonly<Record<string, Outcome>> = {
        done: { type: 'done' },
        crashed: { type: 'crashed', messageType: 'm', error: 'boom' },
        refused: { type: 'refused', failure },
        invalid: { type: 'invalid', messageType: 'm', failure },
        interrupted: { type: 'interrupted' },
      }
      const outcome = outcomes[third]
      if (outcome === undefined) throw new Error(`no outcome "${third}"`)
      return { type, token: Number(who), outcome }
    }
    case 'worker':
      return { type, isNew: who !== 'same' }
    case 'discard':
      return { type, id: Number(who) }
    default:
      throw new Error(`no command "${type}"`)
  }
}

function consumerText(effect: ConsumerEffect): string {
  switch (effect.type) {
    case 'introduced': {
      const { taken, processed, granted } = effect.reply
      return `introduced ${effect.producer}: taken ${taken}, processed ${processed}, granted ${granted}`
    }
    case 'ack': {
      const { producer, taken, processed, granted, beyond, failed, answers } = effect.ack
      return (
        `ack ${producer}: taken ${taken}, processed ${processed}, granted ${granted}` +
        `${beyond.length === 0 ? '' : `, beyond ${beyond.join(' ')}`}` +
        `${failed.length === 0 ? '' : `, failed ${failed.map(({ sequence, code }) => `${sequence} ${code}`).join(' ')}`}` +
        `${answers === 0 ? '' : `, answers ${answers}`}`
      )
    }
    case 'handle': {
      const { content } = effect
      const what =
        content.type === 'message'
          ? String(content.message)
          : content.type === 'bytes'
            ? `${content.parts.length} chunks`
            : content.problem
      return `handle ${effect.token}: ${effect.producer} ${what}, attempt ${effect.attempt}`
    }
    case 'parked':
    case 'parked-lost':
      return `${effect.type} ${effect.entry.id}: ${effect.entry.producer} ${effect.entry.sequence}`
    default:
      return `${effect.type} ${effect.producer}`
  }
}

// ---- Both, and a network between them ------------------------------------------------------------------------------

/** One choice of the network, the worker or the scenario. */
type Move =
  | 'deliver'
  | 'drop'
  | 'double'
  | 'late'
  | 'time'
  | 'offer'
  | 'big'
  | 'done'
  | 'crash'
  | 'stop'
  | 'replace'
  | 'ended'
  | 'forget'
  | 'hello-lost'
const moves: readonly Move[] = [
  ...(['deliver', 'deliver', 'deliver', 'deliver', 'done', 'done', 'time', 'offer'] as const),
  ...([
    'drop',
    'double',
    'late',
    'big',
    'crash',
    'stop',
    'replace',
    'ended',
    'forget',
    'hello-lost',
  ] as const),
]

interface OnTheWay {
  readonly to: 'producer' | 'consumer'
  /** Of the consumer that it is for, or from. */
  readonly life: number
  readonly isHello: boolean
  readonly arrive: () => void
}

/** A producer and the consumers that live at one path, one after the other. */
class Pair {
  readonly producer = new ProducerCore({ resend: { minMs: 10, maxMs: 80 } })
  consumer = this.#newConsumer(0)
  life = 0
  nowMs = 0
  offers = 0
  /** Each offer by its pieces, from 1. */
  readonly places: number[] = []
  readonly settled: number[] = []
  /** Handled at all, by any consumer. */
  readonly handled = new Set<number>()
  readonly handledHere = new Set<number>()
  lastBegun = 0
  #way: OnTheWay[] = []
  #inHand: { readonly token: number; readonly offer: number } | undefined
  #hasWorker = false
  readonly problems: string[] = []

  #newConsumer(life: number): InstanceType<ConsumerModule['ConsumerCore']> {
    return new ConsumerCore({
      consumer: `c${life}`,
      window: 3,
      maxAttempts: Infinity,
      producersMax: 1,
      parkedMax: 0,
      messageBytesMax: 1_000,
    })
  }

  start(): void {
    this.consume({ type: 'worker', isNew: true })
    this.#hasWorker = true
    this.produce({ type: 'started' })
  }

  produce(input: ProducerInput): void {
    for (const effect of this.producer.step(input, this.nowMs)) this.#produced(effect)
    const { sent, granted, offered, processed, taken } = this.producer.status()
    if (sent > Math.min(granted, offered))
      this.problems.push(`sent ${sent} of ${offered}, granted ${granted}`)
    if (processed > taken || taken > offered) this.problems.push(`taken ${taken}, processed ${processed}`)
  }

  consume(input: ConsumerInput): void {
    for (const effect of this.consumer.step(input, this.nowMs)) this.#consumed(effect)
    for (const { waiting, beyond, taken, processed } of this.consumer.status().streams) {
      if (waiting > 3 || beyond.length > 3) this.problems.push(`${waiting} wait, ${beyond.length} are early`)
      if (processed > taken) this.problems.push(`processed ${processed} of ${taken}`)
    }
  }

  #produced(effect: ProducerEffect): void {
    const { life } = this
    if (effect.type === 'hello') {
      const { first } = effect
      this.#send('consumer', true, () => this.consume({ type: 'hello', producer: 'p', address: 'p', first }))
    } else if (effect.type === 'probe') {
      const { number } = effect
      this.#send('consumer', false, () =>
        this.consume({ type: 'probe', producer: 'p', address: 'p', number }),
      )
    } else if (effect.type === 'send') {
      const { sequence, confirmed, body } = effect
      const { index, count, offer } = body as {
        readonly index: number
        readonly count: number
        readonly offer: number
      }
      const bytes = Uint8Array.of(offer & 0xff, index)
      const arriving =
        count === 1
          ? ({ type: 'message', message: offer } as const)
          : ({ type: 'chunk', index, count, bytes, refs: [offer] } as const)
      this.#send('consumer', false, () =>
        this.consume({
          type: 'piece',
          producer: 'p',
          sequence,
          confirmed,
          body: arriving,
          crc: crc32c(bytes),
        }),
      )
    } else if (effect.type === 'settled') {
      if (effect.failed !== undefined) this.problems.push(`offer ${effect.offer} failed`)
      if (!this.handled.has(effect.offer))
        this.problems.push(`offer ${effect.offer} was acknowledged, not handled`)
      if (effect.offer !== this.settled.length + 1)
        this.problems.push(`offer ${effect.offer} settled out of order`)
      this.settled.push(effect.offer)
    }
    void life
  }

  #consumed(effect: ConsumerEffect): void {
    if (effect.type === 'introduced') {
      const { reply } = effect
      this.#send('producer', true, () => this.produce({ type: 'introduced', reply }))
    } else if (effect.type === 'ack') {
      const { ack } = effect
      this.#send('producer', false, () => this.produce({ ...ack, type: 'ack' }))
    } else if (effect.type === 'unknown') {
      this.#send('producer', false, () => this.produce({ type: 'unknown' }))
    } else if (effect.type === 'handle') {
      const { content, token } = effect
      const offer =
        content.type === 'message' ? content.message : content.type === 'bytes' ? content.refs[0] : undefined
      this.#begin(token, offer as number)
    }
  }

  #begin(token: number, offer: number): void {
    if (this.#inHand !== undefined) this.problems.push(`two in hand: ${this.#inHand.offer} and ${offer}`)
    if (!this.#hasWorker) this.problems.push(`offer ${offer} was handed to nobody`)
    if (this.handledHere.has(offer)) this.problems.push(`offer ${offer} was handled twice by c${this.life}`)
    for (let before = 1; before < offer; before++) {
      if (!this.handled.has(before)) this.problems.push(`offer ${offer} was handed over before ${before}`)
    }
    this.lastBegun = offer
    this.#inHand = { token, offer }
  }

  #send(to: OnTheWay['to'], isHello: boolean, arrive: () => void): void {
    const { life } = this
    this.#way.push({ to, life, isHello, arrive })
  }

  /** Takes the message at `place` off the way. */
  #arrive(place: number, again: boolean): void {
    const one = this.#way[place]
    if (one === undefined) return
    if (!again || one.isHello) this.#way.splice(place, 1)
    // Whoever lives at the path gets it; an answer to a hello that another one was asked still comes.
    one.arrive()
  }

  move(kind: Move, dice: number): void {
    const place = this.#way.length === 0 ? 0 : dice % this.#way.length
    switch (kind) {
      case 'deliver':
        this.#arrive(0, false)
        break
      case 'late':
        this.#arrive(place, false)
        break
      case 'double':
        this.#arrive(place, true)
        break
      case 'drop':
        if (this.#way[place]?.isHello === false) this.#way.splice(place, 1)
        break
      case 'hello-lost': {
        const at = this.#way.findIndex(({ isHello }) => isHello)
        if (at < 0) break
        this.#way.splice(at, 1)
        this.produce({ type: 'hello-failed', isFinal: false })
        break
      }
      case 'time':
        this.pass()
        break
      case 'offer':
      case 'big':
        this.offer(kind === 'big' ? 2 + (dice % 6) : 1)
        break
      case 'done':
        this.#settle({ type: 'done' })
        break
      case 'crash':
        this.#settle({ type: 'crashed', messageType: 'm', error: 'boom' })
        break
      case 'stop':
        this.#hasWorker = false
        this.#settle({ type: 'interrupted' })
        this.#hasWorker = true
        this.consume({ type: 'worker', isNew: true })
        break
      case 'replace':
        this.#inHand = undefined
        this.life++
        this.handledHere.clear()
        this.consumer = this.#newConsumer(this.life)
        this.consume({ type: 'worker', isNew: true })
        break
      case 'ended':
        this.produce({ type: 'consumer-ended', isFinal: false })
        break
      case 'forget':
        // Another producer takes its place, if nothing of it waits.
        this.consume({ type: 'hello', producer: 'q', address: 'q', first: 1 })
        this.#way = this.#way.filter(() => true)
        break
      default:
        throw new Error(kind satisfies never)
    }
  }

  #settle(outcome: Outcome): void {
    const held = this.#inHand
    if (held === undefined) return
    this.#inHand = undefined
    if (outcome.type === 'done') {
      this.handled.add(held.offer)
      this.handledHere.add(held.offer)
    }
    this.consume({ type: 'settled', token: held.token, outcome })
  }

  offer(count: number): void {
    if (this.producer.status().held > 20) return
    const offer = ++this.offers
    const bodies = Array.from({ length: count }, (_, index) => ({ offer, index, count }))
    this.produce({ type: 'offer', offer, bodies })
  }

  /** Until the next thing is due. */
  pass(): void {
    const dueMs = this.producer.nextDeadlineMs()
    if (dueMs === undefined) return
    this.nowMs = Math.max(this.nowMs, dueMs)
    this.produce({ type: 'tick' })
  }

  /** All goes well from now on. True when everything comes to its end. */
  calm(): boolean {
    for (let i = 0; i < 5_000; i++) {
      if (this.settled.length === this.offers && this.#way.length === 0) return true
      if (this.#way.length > 0) this.#arrive(0, false)
      else if (this.#inHand !== undefined) this.#settle({ type: 'done' })
      else this.pass()
    }
    return false
  }
}

/** With `forget` a consumer may forget what its last acknowledgements said: then, and only then, it may double. */
function property(kinds: readonly Move[], mayDouble: boolean): fc.IProperty<[[Move, number][]]> {
  return fc.property(
    fc.array(fc.tuple(fc.constantFrom(...kinds), fc.nat(1_000)), { minLength: 1, maxLength: 200 }),
    (script) => {
      const pair = new Pair()
      pair.start()
      for (const [kind, dice] of script) {
        pair.move(kind, dice)
        const problems = pair.problems.filter((text) => !mayDouble || !text.includes('twice'))
        if (problems.length > 0) throw new Error(problems.join('\n'))
      }
      if (!pair.calm()) throw new Error(`it does not end: ${JSON.stringify(pair.producer.status())}`)
      const problems = pair.problems.filter((text) => !mayDouble || !text.includes('twice'))
      if (problems.length > 0) throw new Error(problems.join('\n'))
    },
  )
}

void test('both cores, whatever the network does: acknowledged is handled, in order, once a life, and it ends', (t) => {
  fc.assert(
    property(
      moves.filter((kind) => kind !== 'forget'),
      false,
    ),
    { numRuns: 2_000 },
  )
  t.pass('2,000 scripts')
  fc.assert(property(moves, true), { numRuns: 1_000 })
  t.pass('and 1,000 with a consumer that forgets')
  t.end()
})
