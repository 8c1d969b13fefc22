/** Counters, values and latches by many clients, and the histories of what they were told. */
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import { checkLinearizable, HistoryRecorder, type OpenOp } from '@understudy/runtime/checkers'
import type { Attempt } from '../service-bed.ts'
import type { LockBed } from './lock-bed.ts'
import {
  countModel,
  latchModel,
  versionedModel,
  type CountInput,
  type CountOutput,
  type LatchInput,
  type VersionedInput,
  type VersionedOutput,
} from './number-model.ts'

export const numberTags: readonly string[] = ['outcome-unknown', 'set', 'not-set', 'latched']

const latchCount = 6

export class Numbers {
  readonly #world: World
  readonly #bed: LockBed
  readonly #counts = new HistoryRecorder<CountInput, CountOutput>()
  readonly #values = new HistoryRecorder<VersionedInput, VersionedOutput>()
  readonly #latches = new HistoryRecorder<LatchInput, number>()
  #calls = 0
  #seenCount = 0
  #seenVersion = 0
  /** Latches are used up: when one is at 0 the next is taken. */
  #latch = 0
  #waiting = 0

  constructor(world: World, bed: LockBed) {
    this.#world = world
    this.#bed = bed
  }

  /** Callers that wait for a latch. */
  get waiting(): number {
    return this.#waiting
  }

  async one(place: SimulatedNode): Promise<void> {
    const which = this.#world.choose(10, 'number/call')
    if (which < 4) await this.#count(place)
    else if (which < 7) await this.#value(place)
    else await this.#downOrWait(place)
  }

  /** Brings the latch in use to 0, so that nobody waits for it any more. */
  async finish(place: SimulatedNode): Promise<void> {
    for (let left = latchCount; left > 0 && this.#waiting > 0; left--) await this.#down(place)
  }

  judge(): void {
    this.#world.expect('linearizable', checkLinearizable(countModel, this.#counts.ops()))
    this.#world.expect('linearizable', checkLinearizable(versionedModel, this.#values.ops()))
    this.#world.expect('linearizable', checkLinearizable(latchModel, this.#latches.ops()))
  }

  async #count(place: SimulatedNode): Promise<void> {
    const name = 'counter'
    const which = this.#world.choose(4, 'number/count')
    if (which === 0) {
      const op = this.#counts.begin(++this.#calls, { type: 'add', name, by: 1 })
      this.#told(op, await this.#bed.attempt(place, (client) => client.counter(name).add(1)))
    } else if (which === 1) {
      const op = this.#counts.begin(++this.#calls, { type: 'get', name })
      const found = await this.#bed.attempt(place, (client) => client.counter(name).get())
      if (found.type === 'done') this.#seenCount = found.value
      this.#read(op, found)
    } else if (which === 2) {
      const expected = this.#seenCount
      const value = 100 * ++this.#calls
      const op = this.#counts.begin(this.#calls, { type: 'cas', name, expected, value })
      const done = await this.#bed.attempt(place, (client) =>
        client.counter(name).compareAndSet(expected, value),
      )
      if (done.type === 'done') this.#met(done.value.ok ? 'set' : 'not-set')
      this.#told(op, done)
    } else {
      const value = 100 * ++this.#calls
      const op = this.#counts.begin(this.#calls, { type: 'set', name, value })
      const done = await this.#bed.attempt(place, async (client) => {
        await client.counter(name).set(value)
        return undefined
      })
      this.#told(op, done)
    }
  }

  async #value(place: SimulatedNode): Promise<void> {
    const name = 'value'
    const which = this.#world.choose(3, 'number/value')
    const value = `v${++this.#calls}`
    if (which === 0) {
      const op = this.#values.begin(this.#calls, { type: 'get', name })
      const found = await this.#bed.attempt(place, (client) => client.value(name).get())
      if (found.type === 'done') this.#seenVersion = found.value.version
      this.#read(
        op,
        mapped(found, (got) => ({ ok: true, version: got.version, value: textOf(got.value) })),
      )
    } else if (which === 1) {
      const op = this.#values.begin(this.#calls, { type: 'set', name, value })
      const done = await this.#bed.attempt(place, (client) => client.value(name).set(value))
      this.#told(
        op,
        mapped(done, (version) => ({ ok: true, version })),
      )
    } else {
      const expectedVersion = this.#seenVersion
      const op = this.#values.begin(this.#calls, { type: 'cas', name, expectedVersion, value })
      const done = await this.#bed.attempt(place, (client) =>
        client.value(name).compareAndSet(expectedVersion, value),
      )
      if (done.type === 'done') this.#met(done.value.ok ? 'set' : 'not-set')
      const shape = (got: {
        readonly ok: boolean
        readonly version: number
        readonly value: Uint8Array
      }) => ({
        ok: got.ok,
        version: got.version,
        value: textOf(got.value),
      })
      this.#told(op, mapped(done, shape))
    }
  }

  async #downOrWait(place: SimulatedNode): Promise<void> {
    if (this.#world.chance(0.5, 'number/wait')) await this.#down(place)
    else await this.#wait(place)
  }

  async #down(place: SimulatedNode): Promise<void> {
    const latch = this.#latch
    const name = `latch/${latch}`
    const op = this.#latches.begin(++this.#calls, { type: 'down', name, count: latchCount, by: 1 })
    const done = await this.#bed.attempt(place, (client) =>
      client.latch(name, { count: latchCount }).countDown(),
    )
    if (done.type === 'done' && done.value === 0 && this.#latch === latch) this.#latch++
    this.#told(op, done)
  }

  async #wait(place: SimulatedNode): Promise<void> {
    const name = `latch/${this.#latch}`
    const op = this.#latches.begin(++this.#calls, { type: 'wait', name, count: latchCount })
    this.#waiting++
    const done = await this.#bed.attempt(place, (client) =>
      client.latch(name, { count: latchCount }).wait({ timeoutMs: 20_000 }),
    )
    this.#waiting--
    if (done.type === 'done') this.#met('latched')
    this.#read(
      op,
      mapped(done, () => 0),
    )
  }

  #told<O>(op: OpenOp<O>, outcome: Attempt<O>): void {
    if (outcome.type === 'done') op.ok(outcome.value)
    else if (outcome.type === 'refused') op.failed()
    else {
      this.#met('outcome-unknown')
      op.unknown()
    }
  }

  /** Of what changes nothing nobody needs to know whether it was done. */
  #read<O>(op: OpenOp<O>, outcome: Attempt<O>): void {
    if (outcome.type === 'done') op.ok(outcome.value)
    else op.failed()
  }

  #met(tag: string): void {
    this.#bed.met(tag)
  }
}

function mapped<T, U>(outcome: Attempt<T>, shape: (value: T) => U): Attempt<U> {
  return outcome.type === 'done' ? { type: 'done', value: shape(outcome.value) } : outcome
}

function textOf(value: Uint8Array): string {
  return Buffer.from(value).toString('utf8')
}
