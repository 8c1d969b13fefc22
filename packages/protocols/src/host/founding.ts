/**
 * How a group begins, or is found again, as its member on one node sees it. `openFounding` asks the others until it knows
 * whether the group is there, begins it when it surely is not, and answers whoever asks later, for as long as the member
 * lives. The decisions are `FoundingCore`'s.
 *
 * Ids of members are `node@store`: with another store it is another member.
 */
import { isActorError, type Store, type StoreChange } from '@understudy/runtime'
import {
  decodeFounding,
  decodeRecord,
  encodeFounding,
  encodeRecord,
  isFoundingPayload,
} from './founding-codec.ts'
import {
  FoundingCore,
  type FoundingEffect,
  type FoundingInput,
  type FoundingOutcome,
  type FoundingRecord,
  type KnownGroup,
} from './founding-core.ts'
import { FoundingRefused } from './founding-error.ts'
import type { MemberPort } from './hosted-member.ts'

export interface FoundingOptions {
  readonly port: MemberPort
  /** Names of the nodes that found the group, the same on all of them, in any order. A node that is not named joins. */
  readonly members: readonly string[]
  /** The group as this member knows it now. Asked after `onOutcome`, whenever somebody else looks for the group. */
  readonly known: () => KnownGroup
  /**
   * Told once, in a turn of the host, never before `openFounding` has resolved. What it says is durable by then, and it is
   * told again after each restart: also when the group's own store has more already, which then counts.
   */
  readonly onOutcome: (outcome: FoundingOutcome) => void
  /** Told instead, once: the group is not opened here. */
  readonly onRefused: (error: FoundingRefused) => void
  /** How often those who have not answered are asked again. @default 200 */
  readonly askEveryMs?: number | undefined
}

/** The founding of one group on one node. */
export interface Founding {
  /** Takes the payload when it is about founding; false: it is the protocol's own. */
  readonly receive: (from: string, store: string, payload: unknown) => boolean
  readonly tick: () => void
  readonly nextDeadlineMs: () => number | undefined
}

/** Where the record stands in the group's part of the store: twice, because one damaged value must not cost the member. */
const recordKeys = ['founding/record', 'founding/copy'] as const

export const foundingDefaults = Object.freeze({ askEveryMs: 200 })

/**
 * Reads what the store holds of the founding, and begins in a later turn. Keeps its own under `founding/` of the group's
 * store.
 *
 * @throws {TypeError | RangeError} (as a rejection) members that are none, or an interval that is none
 * @throws {StoreError} (as a rejection) the record cannot be read
 */
export async function openFounding(options: FoundingOptions): Promise<Founding> {
  const { port, askEveryMs = foundingDefaults.askEveryMs } = options
  const names = checkedNames(port.group, options.members)
  if (!(askEveryMs > 0)) {
    throw new RangeError(
      `Cannot found the group "${port.group}": "askEveryMs" must be above 0 milliseconds, got ${askEveryMs}`,
    )
  }
  const record = await storedRecord(port.store)
  const { random } = port
  const core = new FoundingCore({
    node: port.node,
    store: port.storeId,
    names,
    askEveryMs,
    draw: () => random.int(0, 2 ** 21 - 1) * 2 ** 32 + random.u32(),
  })
  return new FoundingShell(options, core, record)
}

class FoundingShell implements Founding {
  readonly #options: FoundingOptions
  readonly #core: FoundingCore

  constructor(options: FoundingOptions, core: FoundingCore, record: FoundingRecord | undefined) {
    this.#options = options
    this.#core = core
    options.port.later(() => this.#step({ type: 'start', record }))
  }

  receive(from: string, store: string, payload: unknown): boolean {
    if (!isFoundingPayload(payload)) return false
    const message = decodeFounding(payload)
    if (message !== undefined) this.#step({ type: 'message', from, store, message })
    return true
  }

  tick(): void {
    this.#step({ type: 'tick' })
  }

  nextDeadlineMs(): number | undefined {
    return this.#core.nextDeadlineMs()
  }

  #step(input: FoundingInput): void {
    for (const effect of this.#core.step(input, this.#options.port.nowMs())) this.#carryOut(effect)
  }

  #carryOut(effect: FoundingEffect): void {
    const { port, known, onOutcome, onRefused } = this.#options
    switch (effect.type) {
      case 'send':
        port.send(effect.to, encodeFounding(effect.message), 'control')
        return
      case 'send-have': {
        const { to, ticket, founders } = effect
        port.send(to, encodeFounding({ type: 'have', ticket, founders, known: known() }), 'control')
        return
      }
      case 'persist':
        port.pipe(port.store.write(recordChanges(effect.record)), () => this.#step({ type: 'durable' }))
        return
      case 'outcome':
        onOutcome(effect.outcome)
        return
      case 'refused':
        onRefused(this.#refusal(effect))
        return
      default:
        effect satisfies never
    }
  }

  #refusal(effect: FoundingEffect & { readonly type: 'refused' }): FoundingRefused {
    const { group, node: self } = this.#options.port
    const members = checkedNames(group, this.#options.members)
    const { node, others, isFounded } = effect
    const text = isFounded
      ? `node "${node}" says that ${others.join(', ')} founded it, and that "${self}" is no member. To add "${self}", open ` +
        `the group there with the members ${others.join(', ')}; for another group, choose another name`
      : `it was given the members ${others.join(', ')} on node "${node}". Give all nodes the same members, or choose ` +
        `another name for one of the groups`
    return new FoundingRefused(
      `Cannot open the group "${group}" with the members ${members.join(', ')} on node "${self}": ${text}`,
      { group, node, members, others },
    )
  }
}

/** @throws {StoreError} (as a rejection) RUNTIME_STORE_CORRUPT: both copies are damaged */
async function storedRecord(store: Store): Promise<FoundingRecord | undefined> {
  const [first, second] = recordKeys
  let stored: Uint8Array | undefined
  try {
    stored = await store.get(first)
  } catch (error) {
    if (!isActorError(error, 'RUNTIME_STORE_CORRUPT')) throw error
    stored = await store.get(second)
  }
  return stored === undefined ? undefined : decodeRecord(stored)
}

function recordChanges(record: FoundingRecord): readonly StoreChange[] {
  const value = encodeRecord(record)
  return recordKeys.map((key) => ({ type: 'put', key, value }))
}

/** Sorted, each once. */
function checkedNames(group: string, members: readonly string[]): readonly string[] {
  const names = [...new Set(members)].sort()
  const bad = names.find(
    (name) => typeof name !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name),
  )
  if (names.length === 0 || names.length !== members.length || bad !== undefined) {
    throw new TypeError(
      `Cannot found the group "${group}": "members" must be names of nodes, at least one and each once, got ` +
        `${JSON.stringify(members)}`,
    )
  }
  return names
}
