/** Transactions over lists: read some, append to some if nothing changed meanwhile. Judged as Elle does: strictly serializable. */
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import { checkListAppend, HistoryRecorder } from '@understudy/runtime/checkers'
import type { ListOperation, ListOutcome, ListTransaction } from '@understudy/runtime/checkers'
import type { KvClient } from '@understudy/protocols'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { KvBed, kvTags, textOf } from './kv-bed.ts'

export const transactionTags: readonly string[] = [
  ...kvTags.filter((tag) => tag !== 'session-expired'),
  'committed',
  'conflict',
  'read-only',
  'unknown-commit',
]

const members = ['a', 'b', 'c'] as const

export function runTransactions(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, transacting)
}

async function transacting(world: World): Promise<void> {
  const bed = new KvBed(world, {
    members,
    tags: transactionTags,
    group: drawnGroup(world),
  })
  const history = new HistoryRecorder<ListTransaction, ListOutcome>()
  let values = 0
  const drawn = (): ListTransaction =>
    Array.from({ length: 1 + world.choose(4, 'client/length') }, (): ListOperation => {
      const key = `l${world.choose(3, 'client/key')}`
      return world.chance(0.5, 'client/append')
        ? { type: 'append', key, value: ++values }
        : { type: 'read', key }
    })
  await bed.underChaos(() =>
    world.parallel(6, async (client) => {
      for (let i = 0; i < 12; i++) {
        await world.sleep(world.choose(16, 'client/rest') * 150)
        const place = world.anyUp('client/node')
        if (place !== undefined) await run(bed, place, history, client, drawn())
      }
    }),
  )
  await bed.settle(120_000)
  // What is there in the end decides the order of all that was appended.
  const final: ListTransaction = [0, 1, 2].map((n) => ({ type: 'read', key: `l${n}` }))
  await run(bed, world.node('a'), history, 99, final)
  const ops = history.ops()
  world.check('the-end-is-read', ops.at(-1)?.out?.type === 'committed', 'the last transaction did not read')
  world.expect('strict-serializable', checkListAppend(ops))
}

async function run(
  bed: KvBed,
  place: SimulatedNode,
  history: HistoryRecorder<ListTransaction, ListOutcome>,
  client: number,
  transaction: ListTransaction,
): Promise<void> {
  const op = history.begin(client, transaction)
  // Whether the commit was tried: before that nothing can have been done.
  let isTried = false
  const outcome = await bed.attempt(place, (kv) => commit(kv, transaction, () => (isTried = true)))
  if (outcome.type === 'done') {
    const { reads } = outcome.value
    bed.met(reads === undefined ? 'conflict' : isTried ? 'committed' : 'read-only')
    op.ok(reads === undefined ? { type: 'aborted' } : { type: 'committed', reads })
  } else if (outcome.type === 'refused' || !isTried) op.failed()
  else {
    bed.met('unknown-commit')
    op.unknown()
  }
}

/** `reads` is undefined when something changed meanwhile, and nothing was done. */
async function commit(
  kv: KvClient,
  transaction: ListTransaction,
  tried: () => void,
): Promise<{ readonly reads: readonly (readonly number[])[] | undefined }> {
  const keys = [...new Set(transaction.map(({ key }) => key))]
  const { results } = await kv.transact({ then: keys.map((from) => ({ type: 'get', from })) })
  const found = new Map<string, { readonly list: readonly number[]; readonly modRevision: number }>()
  for (const [i, key] of keys.entries()) {
    const result = results[i]
    const entry = result?.type === 'get' ? result.entries[0] : undefined
    const list = entry === undefined ? [] : (JSON.parse(textOf(entry.value)) as readonly number[])
    found.set(key, { list, modRevision: entry?.modRevision ?? 0 })
  }
  const lists = new Map([...found].map(([key, { list }]) => [key, [...list]]))
  const reads: (readonly number[])[] = []
  const changed = new Set<string>()
  for (const operation of transaction) {
    const list = lists.get(operation.key) ?? []
    if (operation.type === 'read') reads.push([...list])
    else {
      list.push(operation.value as number)
      changed.add(operation.key)
    }
  }
  if (changed.size === 0) return { reads }
  tried()
  const { succeeded } = await kv.transact({
    when: keys.map((key) => ({
      key,
      target: 'modRevision',
      operator: '=',
      operand: found.get(key)?.modRevision ?? 0,
    })),
    then: [...changed].map((key) => ({ type: 'put', key, value: JSON.stringify(lists.get(key)) })),
  })
  return { reads: succeeded ? reads : undefined }
}
