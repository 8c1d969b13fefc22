/**
 * Decides how a group begins. Pure: `Founding` is its shell.
 *
 * The members are told names of nodes; what founds the group are stores. A store that holds nothing of the group asks
 * everybody. When all others say that they hold nothing either, the node with the lowest name, and no other, writes the
 * founding configuration. Whoever finds the group adopts its founding configuration if that names this very store, which
 * cannot have voted yet; any other store joins as a new member.
 *
 * That there are never two foundings rests on tickets. A store that tells the founder "nothing here" draws a new ticket for
 * that attempt to found, and sends it along; from then on it believes "the group is there" only from somebody who has
 * seen that ticket. Suppose a founds, and loses its disk before anybody has heard of it; its next store founds again, with
 * another configuration, after all others have said "nothing here" to it. Whoever were to adopt the first one now would
 * need it from a living store that had it after those words; the first to adopt it so has nobody to get it from. A word
 * about the first founding that is still on its way names an old ticket.
 */

/** What a member knows of its group. */
export interface KnownGroup {
  /** Ids of all who take part in any role, in the configuration in force. */
  readonly members: readonly string[]
  /** Name of the leader's node. */
  readonly leader: string | undefined
}

export type FoundingOutcome =
  /** This store is among the founders: it takes part with an empty log, and `members` are the voters at index 0, term 0. */
  | { readonly kind: 'founded'; readonly members: readonly string[] }
  /**
   * The group is there, and this store was not among its founders: its node has lost its disk, or is new. Its log is empty,
   * with `members` as the voters at index 0, term 0, which it does not belong to; the leader is to be asked to add it.
   */
  | {
      readonly kind: 'joining'
      readonly members: readonly string[]
      /** As somebody who takes part told it, in this life; `undefined` after a restart. */
      readonly known: KnownGroup | undefined
    }

/** What a store remembers of a founding; written before anything rests on it, and never changed. */
export interface FoundingRecord {
  readonly kind: FoundingOutcome['kind']
  /** The founding configuration: ids `node@store`, sorted. */
  readonly members: readonly string[]
}

export type FoundingMessage =
  /** Who has the group? `attempt` is the asker's own number, one for each life; `ticket` the one that it believes now. */
  | {
      readonly type: 'ask'
      readonly attempt: number
      readonly ticket: number
      readonly names: readonly string[]
    }
  /** To the founder's ask of that attempt: nothing here. */
  | { readonly type: 'empty'; readonly attempt: number; readonly ticket: number }
  /** To whoever holds that ticket: the group is there. */
  | {
      readonly type: 'have'
      readonly ticket: number
      readonly founders: readonly string[]
      readonly known: KnownGroup
    }
  /** To an ask with that ticket: nothing here, and these are the names that were given here. */
  | { readonly type: 'differs'; readonly ticket: number; readonly names: readonly string[] }

export type FoundingInput =
  /** With what the store holds. */
  | { readonly type: 'start'; readonly record: FoundingRecord | undefined }
  | {
      readonly type: 'message'
      readonly from: string
      readonly store: string
      readonly message: FoundingMessage
    }
  | { readonly type: 'tick' }
  /** The record that was given out is durable. */
  | { readonly type: 'durable' }

/** In this order. `outcome` and every `have` come after their record is durable. */
export type FoundingEffect =
  | { readonly type: 'send'; readonly to: string; readonly message: FoundingMessage }
  /** Send `have`, with what this member knows by now. */
  | {
      readonly type: 'send-have'
      readonly to: string
      readonly ticket: number
      readonly founders: readonly string[]
    }
  | { readonly type: 'persist'; readonly record: FoundingRecord }
  | { readonly type: 'outcome'; readonly outcome: FoundingOutcome }
  /** `node` knows other names: this one takes no part. The last effect of all. */
  | {
      readonly type: 'refused'
      readonly node: string
      readonly others: readonly string[]
      readonly isFounded: boolean
    }

export interface FoundingCoreOptions {
  readonly node: string
  readonly store: string
  /** Sorted, each once. */
  readonly names: readonly string[]
  /** A number that nobody has drawn before: at least 50 bits of chance. */
  readonly draw: () => number
  readonly askEveryMs: number
}

export interface FoundingStatus {
  readonly phase: 'new' | 'asking' | 'writing' | 'settled' | 'refused'
  /** Of the founder: who has said "nothing here". */
  readonly empty: readonly string[]
  readonly record: FoundingRecord | undefined
}

interface EmptyStore {
  readonly store: string
  readonly ticket: number
}

/** Those who do not answer are asked less and less often, down to this multiple of `askEveryMs`. */
const askEveryGrowthMax = 16

export class FoundingCore {
  readonly #options: FoundingCoreOptions
  readonly #id: string
  readonly #isFounder: boolean
  readonly #attempt: number
  #ticket: number
  /** The founder's attempt that the ticket was drawn for. */
  #ticketFor: number | undefined
  /** Of the founder: what others have said in this attempt. */
  readonly #empty = new Map<string, EmptyStore>()
  #phase: FoundingStatus['phase'] = 'new'
  #record: FoundingRecord | undefined
  #known: KnownGroup | undefined
  #askMs = 0
  #askEveryMs: number
  #effects: FoundingEffect[] = []

  constructor(options: FoundingCoreOptions) {
    this.#options = options
    this.#id = `${options.node}@${options.store}`
    this.#isFounder = options.names[0] === options.node
    this.#attempt = options.draw()
    this.#ticket = options.draw()
    this.#askEveryMs = options.askEveryMs
  }

  step(input: FoundingInput, nowMs: number): readonly FoundingEffect[] {
    this.#effects = []
    switch (input.type) {
      case 'start':
        this.#start(input.record, nowMs)
        break
      case 'message':
        this.#receive(input.from, input.store, input.message)
        break
      case 'tick':
        if (this.#phase === 'asking' && nowMs >= this.#askMs) this.#askAll(nowMs)
        break
      case 'durable':
        this.#settle()
        break
      default:
        input satisfies never
    }
    return this.#effects
  }

  nextDeadlineMs(): number | undefined {
    return this.#phase === 'asking' ? this.#askMs : undefined
  }

  status(): FoundingStatus {
    return { phase: this.#phase, empty: [...this.#empty.keys()].sort(), record: this.#record }
  }

  #start(record: FoundingRecord | undefined, nowMs: number): void {
    if (this.#phase !== 'new') return
    if (record !== undefined) {
      this.#record = record
      this.#settle()
      return
    }
    this.#phase = 'asking'
    this.#askAll(nowMs)
    this.#foundIfAllAreEmpty()
  }

  #askAll(nowMs: number): void {
    this.#askMs = nowMs + this.#askEveryMs
    this.#askEveryMs = Math.min(2 * this.#askEveryMs, askEveryGrowthMax * this.#options.askEveryMs)
    for (const name of this.#options.names) if (name !== this.#options.node) this.#ask(name)
  }

  #ask(to: string): void {
    const { names } = this.#options
    const message = { type: 'ask', attempt: this.#attempt, ticket: this.#ticket, names } as const
    this.#effects.push({ type: 'send', to, message })
  }

  // ---- Messages ------------------------------------------------------------------------------------------------

  #receive(from: string, store: string, message: FoundingMessage): void {
    const record = this.#record
    if (this.#phase === 'settled' && record !== undefined) {
      if (message.type === 'ask') this.#sendHave(from, message.ticket, record)
      return
    }
    // While it writes it can say neither "nothing here" nor "it is there"; who asks will ask again.
    if (this.#phase !== 'asking') return
    switch (message.type) {
      case 'ask':
        this.#asked(from, store, message)
        return
      case 'empty':
        if (!this.#isFounder || message.attempt !== this.#attempt) return
        if (from === this.#options.node || !this.#options.names.includes(from)) return
        this.#empty.set(from, { store, ticket: message.ticket })
        this.#foundIfAllAreEmpty()
        return
      case 'have':
        if (message.ticket === this.#ticket) this.#found(from, message.founders, message.known)
        return
      case 'differs':
        if (message.ticket === this.#ticket) this.#refuse(from, message.names, false)
        return
      default:
        message satisfies never
    }
  }

  #asked(from: string, store: string, ask: FoundingMessage & { readonly type: 'ask' }): void {
    const { names } = this.#options
    if (!sameNames(ask.names, names)) {
      this.#effects.push({ type: 'send', to: from, message: { type: 'differs', ticket: ask.ticket, names } })
      this.#refuse(from, ask.names, false)
      return
    }
    if (this.#isFounder) {
      const known = this.#empty.get(from)
      // It has another store by now, or has just come: no need to wait until it is asked again.
      if (known?.store === store) return
      this.#empty.delete(from)
      if (names.includes(from)) this.#ask(from)
      return
    }
    // Nobody but the founder rests anything on a no.
    if (from !== names[0]) return
    if (this.#ticketFor !== ask.attempt) {
      this.#ticketFor = ask.attempt
      this.#ticket = this.#options.draw()
    }
    const message = { type: 'empty', attempt: ask.attempt, ticket: this.#ticket } as const
    this.#effects.push({ type: 'send', to: from, message })
  }

  #foundIfAllAreEmpty(): void {
    const { names, node } = this.#options
    if (!this.#isFounder || this.#empty.size < names.length - 1) return
    const members = names.map((name) =>
      name === node ? this.#id : `${name}@${(this.#empty.get(name) as EmptyStore).store}`,
    )
    this.#write({ kind: 'founded', members: members.sort() })
  }

  /** The group is there. */
  #found(from: string, founders: readonly string[], known: KnownGroup): void {
    const { node, names } = this.#options
    const isNamed = (ids: readonly string[]): boolean => ids.some((id) => id.startsWith(`${node}@`))
    if (founders.includes(this.#id)) {
      this.#write({ kind: 'founded', members: founders })
    } else if (isNamed(founders) || isNamed(known.members) || !names.includes(node)) {
      this.#known = known
      this.#write({ kind: 'joining', members: founders })
    } else {
      this.#refuse(
        from,
        founders.map((id) => id.slice(0, id.indexOf('@'))),
        true,
      )
    }
  }

  // ---- Ends ----------------------------------------------------------------------------------------------------

  #write(record: FoundingRecord): void {
    this.#phase = 'writing'
    this.#record = record
    this.#effects.push({ type: 'persist', record })
  }

  #settle(): void {
    const record = this.#record
    if (record === undefined || this.#phase === 'settled') return
    this.#phase = 'settled'
    const { kind, members } = record
    const outcome: FoundingOutcome =
      kind === 'founded' ? { kind, members } : { kind, members, known: this.#known }
    this.#effects.push({ type: 'outcome', outcome })
    // So that the others need not ask first.
    for (const [name, { ticket }] of this.#empty) this.#sendHave(name, ticket, record)
    this.#empty.clear()
  }

  #sendHave(to: string, ticket: number, { members }: FoundingRecord): void {
    this.#effects.push({ type: 'send-have', to, ticket, founders: members })
  }

  #refuse(node: string, others: readonly string[], isFounded: boolean): void {
    this.#phase = 'refused'
    this.#effects.push({ type: 'refused', node, others, isFounded })
  }
}

function sameNames(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((name, index) => name === other[index])
}
