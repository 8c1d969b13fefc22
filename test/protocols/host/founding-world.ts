/** Founding cores on nodes that lose messages, crash and lose their disks, driven step by step. Pure: no host, no time of its own. */
import { seededRandom } from '@understudy/runtime'
import { sourceModule } from '../../support/source-module.ts'

type CoreModule = typeof import('../../../packages/protocols/src/host/founding-core.ts')
export type FoundingEffect = import('../../../packages/protocols/src/host/founding-core.ts').FoundingEffect
export type FoundingInput = import('../../../packages/protocols/src/host/founding-core.ts').FoundingInput
export type FoundingMessage = import('../../../packages/protocols/src/host/founding-core.ts').FoundingMessage
export type FoundingRecord = import('../../../packages/protocols/src/host/founding-core.ts').FoundingRecord
type Core = InstanceType<CoreModule['FoundingCore']>

const other = process.env['FOUNDING_CORE']
const { FoundingCore } =
  other === undefined
    ? await sourceModule<CoreModule>('protocols', 'host/founding-core')
    : ((await import(other)) as CoreModule)

/** A message on its way. It may arrive at whatever lives there by then. */
export interface Parcel {
  readonly from: string
  readonly store: string
  readonly to: string
  readonly message: FoundingMessage
}

export class FoundingNode {
  readonly name: string
  readonly names: readonly string[]
  core: Core | undefined
  /** How many stores this node has had: `a1`, `a2`. */
  stores = 1
  /** What the store of now holds. */
  record: FoundingRecord | undefined
  /** Given out to be persisted, and not yet durable. */
  writing: FoundingRecord | undefined
  outcome: (FoundingEffect & { readonly type: 'outcome' })['outcome'] | undefined
  refused: (FoundingEffect & { readonly type: 'refused' }) | undefined

  constructor(name: string, names: readonly string[]) {
    this.name = name
    this.names = names
  }

  get store(): string {
    return `${this.name}${this.stores}`
  }
}

export class FoundingWorld {
  readonly nodes = new Map<string, FoundingNode>()
  readonly parcels: Parcel[] = []
  nowMs = 0
  readonly #draw: () => number
  readonly #happened: (node: FoundingNode, effect: FoundingEffect) => void

  /** `draw` gives what the cores draw; the transcripts count. */
  constructor(
    happened: (node: FoundingNode, effect: FoundingEffect) => void = () => undefined,
    seed?: number,
  ) {
    this.#happened = happened
    const random = seed === undefined ? undefined : seededRandom(seed)
    let drawn = 0
    this.#draw = random === undefined ? () => ++drawn : () => random.u32()
  }

  add(name: string, names: readonly string[]): FoundingNode {
    const node = new FoundingNode(name, [...names].sort())
    this.nodes.set(name, node)
    return node
  }

  node(name: string): FoundingNode {
    const node = this.nodes.get(name)
    if (node === undefined) throw new Error(`There is no node ${name}`)
    return node
  }

  start(name: string, names?: readonly string[]): void {
    const node = names === undefined ? this.node(name) : this.add(name, names)
    if (node.core !== undefined) throw new Error(`${name} runs`)
    node.core = new FoundingCore({
      node: name,
      store: node.store,
      names: node.names,
      askEveryMs: 100,
      draw: this.#draw,
    })
    this.step(node, { type: 'start', record: node.record })
  }

  /** What was being written is there afterwards or not. */
  crash(name: string, isKept = false): void {
    const node = this.node(name)
    if (isKept && node.writing !== undefined) node.record = node.writing
    node.writing = undefined
    node.core = undefined
    node.outcome = undefined
  }

  /** Its next life has another store. */
  wipe(name: string): void {
    this.crash(name)
    const node = this.node(name)
    node.stores++
    node.record = undefined
  }

  durable(name: string): void {
    const node = this.node(name)
    if (node.writing === undefined) throw new Error(`${name} writes nothing`)
    node.record = node.writing
    node.writing = undefined
    this.step(node, { type: 'durable' })
  }

  /** Delivers a parcel and keeps it, if `keep`: so it can come again. */
  deliver(index: number, keep = false): Parcel | undefined {
    const [parcel] = keep ? [this.parcels[index]] : this.parcels.splice(index, 1)
    if (parcel === undefined) return undefined
    const { from, store, to, message } = parcel
    const node = this.nodes.get(to)
    if (node?.core !== undefined && node.refused === undefined) {
      this.step(node, { type: 'message', from, store, message })
    }
    return parcel
  }

  tick(name: string): void {
    const node = this.node(name)
    const dueMs = node.core?.nextDeadlineMs()
    if (dueMs === undefined) return
    this.nowMs = Math.max(this.nowMs, dueMs)
    this.step(node, { type: 'tick' })
  }

  step(node: FoundingNode, input: FoundingInput): void {
    for (const effect of node.core?.step(input, this.nowMs) ?? []) {
      if (effect.type === 'send') {
        this.#send(node, effect.to, effect.message)
      } else if (effect.type === 'send-have') {
        const { to, ticket, founders } = effect
        const known = { members: node.record?.members ?? [], leader: undefined }
        this.#send(node, to, { type: 'have', ticket, founders, known })
      } else if (effect.type === 'persist') {
        node.writing = effect.record
      } else if (effect.type === 'outcome') {
        node.outcome = effect.outcome
      } else {
        node.refused = effect
      }
      this.#happened(node, effect)
    }
  }

  #send(node: FoundingNode, to: string, message: FoundingMessage): void {
    this.parcels.push({ from: node.name, store: node.store, to, message })
  }
}
