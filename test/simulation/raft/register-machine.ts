/** A small state for Raft groups of simulations: registers by key. It knows every command by its number, so that a second application shows. */
import type { AppliedCommand, StateMachine } from './protocols.ts'

/** What a client proposes. `n` is its number: no two commands of a run have the same. */
export type RegisterCommand = { readonly n: number; readonly key: string } & (
  | { readonly type: 'write'; readonly value: number }
  | { readonly type: 'cas'; readonly expected: number | null; readonly value: number }
)

/** What `write` gives: nothing that counts; `cas`: whether it was done. */
export interface RegisterResult {
  readonly ok: boolean
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder()

export function registerCommand(command: RegisterCommand): Uint8Array {
  return utf8.encode(JSON.stringify(command))
}

export class RegisterMachine implements StateMachine<RegisterResult> {
  readonly #values = new Map<string, number>()
  readonly #applied = new Set<number>()
  readonly #appliedTwice: (n: number) => void
  readonly #chunkBytes: number

  constructor(appliedTwice: (n: number) => void, chunkBytes = 128) {
    this.#appliedTwice = appliedTwice
    this.#chunkBytes = chunkBytes
  }

  get(key: string): number | null {
    return this.#values.get(key) ?? null
  }

  has(n: number): boolean {
    return this.#applied.has(n)
  }

  /** All of it: equal states have equal texts. */
  text(): string {
    return JSON.stringify({ values: [...this.#values], applied: [...this.#applied] })
  }

  apply({ data }: AppliedCommand): RegisterResult {
    const command = JSON.parse(fromUtf8.decode(data)) as RegisterCommand
    if (this.#applied.has(command.n)) this.#appliedTwice(command.n)
    this.#applied.add(command.n)
    if (command.type === 'cas' && this.get(command.key) !== command.expected) return { ok: false }
    this.#values.set(command.key, command.value)
    return { ok: true }
  }

  snapshot(): Iterator<Uint8Array> {
    return pieces(utf8.encode(this.text()), this.#chunkBytes)
  }

  async restore(chunks: AsyncIterable<Uint8Array>): Promise<void> {
    const parts: Uint8Array[] = []
    for await (const chunk of chunks) parts.push(Uint8Array.from(chunk))
    const { values, applied } = JSON.parse(fromUtf8.decode(Buffer.concat(parts))) as {
      readonly values: readonly (readonly [string, number])[]
      readonly applied: readonly number[]
    }
    this.#values.clear()
    this.#applied.clear()
    for (const [key, value] of values) this.#values.set(key, value)
    for (const n of applied) this.#applied.add(n)
  }
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array, undefined> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  return undefined
}
