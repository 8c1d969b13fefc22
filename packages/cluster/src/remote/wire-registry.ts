/** Protocols as the wire sees them, made once each. */
import type { AnyDefinition, Protocol } from '@understudy/runtime'
import type { Kernel, PayloadSchema } from '@understudy/runtime/internal'
import { laneOrder } from '../wire/envelope-tag.ts'
import type { LaneName, WireMessage, WireProtocol } from '../wire/wire-protocol.ts'

const wireProtocols = new WeakMap<Protocol, WireProtocol>()

/** One object per protocol value: encoders know it by identity. */
export function wireProtocolOf(protocol: Protocol): WireProtocol {
  let wire = wireProtocols.get(protocol)
  if (wire === undefined) {
    const messages: Record<string, WireMessage> = {}
    for (const [type, definition] of Object.entries(protocol.messages)) {
      const { schema, lane = 'data' } = definition as typeof definition & {
        readonly schema: PayloadSchema
        readonly lane?: LaneName | undefined
      }
      const required = new Set(schema.required)
      const fields = Object.keys(schema.properties).map((name) => ({ name, required: required.has(name) }))
      messages[type] = { kind: definition.kind, lane, fields }
    }
    const used = new Set(Object.values(messages).map(({ lane }) => lane))
    const lanes = laneOrder.filter((lane) => used.has(lane))
    const isPlain = lanes.length === 0 || (lanes.length === 1 && used.has('data'))
    // One shape for all: whoever sends looks at `lanes` for each message.
    wire = { name: protocol.name, messages, lanes: isPlain ? undefined : lanes }
    wireProtocols.set(protocol, wire)
  }
  return wire
}

/** The protocols that this node understands: those of its registered definitions and of every actor it has started. */
export class WireRegistry {
  readonly #kernel: Kernel
  readonly #registered = new Map<string, Protocol>()

  constructor(kernel: Kernel, definitions: readonly AnyDefinition[]) {
    this.#kernel = kernel
    for (const { protocol } of definitions) this.#registered.set(protocol.name, protocol)
  }

  /** A protocol that messages have been sent to: its replies and refs are understood here too. */
  learn(protocol: Protocol): void {
    if (!this.#registered.has(protocol.name)) this.#registered.set(protocol.name, protocol)
  }

  protocol(name: string): Protocol | undefined {
    const known = this.#registered.get(name)
    if (known !== undefined) return known
    for (const kind of this.#kernel.kinds) {
      if (kind.protocol.name !== name) continue
      this.#registered.set(name, kind.protocol)
      return kind.protocol
    }
    return undefined
  }
}
