/** Keys that are put, got, deleted and compared by many clients: as if each call took effect at one moment, once. */
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import { checkLinearizable, HistoryRecorder, type OpenOp } from '@understudy/runtime/checkers'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { keyModel, type KeyInput, type KeyOutput } from '../../support/key-model.ts'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { KvBed, kvTags, textOf } from './kv-bed.ts'

export const registerTags: readonly string[] = [
  ...kvTags,
  ...['unknown-was-done', 'unknown-was-not', 'local-read-was-old', 'compacted'],
]

const members = ['a', 'b', 'c'] as const

export function runRegister(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 5 }, registers)
}

async function registers(world: World): Promise<void> {
  const leaseReads = world.choose(2, 'swarm/lease') === 1
  const bed = new KvBed(world, {
    members,
    tags: registerTags,
    group: drawnGroup(world, { leaseReads }),
    client: { sessionTtlMs: [600_000, 20_000, 2_000][world.choose(3, 'swarm/ttl')] ?? 600_000 },
  })
  const calls = new Calls(world, bed, leaseReads)
  await bed.underChaos(() =>
    world.parallel(6, async (client) => {
      for (let i = 0; i < 14; i++) {
        await world.sleep(world.choose(16, 'client/rest') * 150)
        await calls.one(client)
      }
    }),
  )
  await bed.settle(120_000)
  calls.judge()
}

class Calls {
  readonly #world: World
  readonly #bed: KvBed
  readonly #leaseReads: boolean
  readonly #history = new HistoryRecorder<KeyInput, KeyOutput>()
  /** Values of puts by what their clients were told. */
  readonly #fates = new Map<string, 'done' | 'refused' | 'unknown'>()
  readonly #seen = new Map<string, string>()
  #values = 0

  constructor(world: World, bed: KvBed, leaseReads: boolean) {
    this.#world = world
    this.#bed = bed
    this.#leaseReads = leaseReads
  }

  async one(client: number): Promise<void> {
    const world = this.#world
    const place = world.anyUp('client/node')
    if (place === undefined) return
    const key = `k${world.choose(3, 'client/key')}`
    const which = world.choose(12, 'client/call')
    if (which < 4) await this.#put(client, place, key)
    else if (which < 7) await this.#get(client, place, key)
    else if (which < 9) await this.#compareAndSet(client, place, key)
    else if (which < 10) await this.#delete(client, place, key)
    else if (which < 11) await this.#local(place, key)
    else await this.#compact(place)
  }

  async #put(client: number, place: SimulatedNode, key: string): Promise<void> {
    const value = `v${++this.#values}`
    const op = this.#history.begin(client, { type: 'put', key, value })
    const outcome = await this.#bed.attempt(place, (kv) => kv.put(key, value))
    this.#fate(value, op, outcome, () => undefined)
  }

  async #compareAndSet(client: number, place: SimulatedNode, key: string): Promise<void> {
    const value = `v${++this.#values}`
    const expected = this.#seen.get(key) ?? ''
    const op = this.#history.begin(client, { type: 'cas', key, expected, value })
    const outcome = await this.#bed.attempt(place, async (kv) => {
      const { ok } = await kv.compareAndSet(key, expected === '' ? undefined : { value: expected }, value)
      return ok
    })
    if (outcome.type === 'done' && !outcome.value) {
      op.ok(false)
      return
    }
    this.#fate(value, op, outcome, (ok) => ok)
  }

  #fate<T>(
    value: string,
    op: OpenOp<KeyOutput>,
    outcome: { readonly type: 'done'; readonly value: T } | { readonly type: 'refused' | 'unknown' },
    answer: (value: T) => KeyOutput,
  ): void {
    this.#fates.set(value, outcome.type)
    if (outcome.type === 'done') op.ok(answer(outcome.value))
    else if (outcome.type === 'refused') op.failed()
    else op.unknown()
  }

  async #delete(client: number, place: SimulatedNode, key: string): Promise<void> {
    const op = this.#history.begin(client, { type: 'delete', key })
    const outcome = await this.#bed.attempt(place, (kv) => kv.delete(key))
    if (outcome.type === 'done') op.ok(outcome.value.deleted > 0)
    else if (outcome.type === 'refused') op.failed()
    else op.unknown()
  }

  async #get(client: number, place: SimulatedNode, key: string): Promise<void> {
    const consistency = this.#leaseReads && this.#world.chance(0.5, 'client/lease') ? 'lease' : 'linearizable'
    const op = this.#history.begin(client, { type: 'get', key })
    const outcome = await this.#bed.attempt(place, (kv) => kv.get(key, { consistency }))
    if (outcome.type !== 'done') {
      op.failed()
      return
    }
    const value = outcome.value === undefined ? '' : textOf(outcome.value.value)
    this.#seen.set(key, value)
    op.ok(value)
  }

  /** It may be old, but it was so once. */
  async #local(place: SimulatedNode, key: string): Promise<void> {
    const outcome = await this.#bed.attempt(place, (kv) => kv.get(key, { consistency: 'local' }))
    if (outcome.type !== 'done' || outcome.value === undefined) return
    const { modRevision, value } = outcome.value
    const { log } = this.#bed
    const event = log.find(({ revision }) => revision === modRevision)?.events.find((one) => one.key === key)
    this.#world.check(
      'local-reads-were-so-once',
      event?.type === 'put' && event.value === textOf(value),
      `"${key}" is ${textOf(value)} of revision ${modRevision}, which is ${JSON.stringify(event)}`,
    )
    const isOld = log.some(
      ({ revision, events }) => revision > modRevision && events.some((one) => one.key === key),
    )
    if (isOld) this.#bed.met('local-read-was-old')
  }

  async #compact(place: SimulatedNode): Promise<void> {
    const revision = (this.#bed.log.at(-1)?.revision ?? 1) - this.#world.choose(4, 'client/keep')
    if (revision < 2) return
    const { type } = await this.#bed.attempt(place, (kv) => kv.compact(revision))
    if (type === 'done') this.#bed.met('compacted')
  }

  judge(): void {
    const world = this.#world
    const written = new Map<string, number>()
    for (const { events } of this.#bed.log) {
      for (const { value } of events)
        if (value !== undefined) written.set(value, (written.get(value) ?? 0) + 1)
    }
    for (const [value, fate] of this.#fates) {
      const times = written.get(value) ?? 0
      world.check('applied-once', times <= 1, `${value} was put ${times} times`)
      if (fate === 'done')
        world.check('acknowledged-is-applied', times === 1, `${value} was acknowledged and never put`)
      else if (fate === 'refused')
        world.check('refused-is-not-applied', times === 0, `${value} was refused and was put`)
      else this.#bed.met(times === 1 ? 'unknown-was-done' : 'unknown-was-not')
    }
    world.expect('linearizable', checkLinearizable(keyModel, this.#history.ops()))
  }
}
