/** Several commands in one entry, as the state and the bytes have it: each for itself, in order, whatever its neighbours are. */
import { deepEqual } from 'node:assert/strict'
import { encode } from '@understudy/runtime/codec'
import fc from 'fast-check'
import { test } from 'tap'
import { arbitraryCommand } from './kv-arbitrary.ts'
import { batch, buffer, codec, KvMachine, limits, type KvCommand, type KvResult } from './kv-source.ts'

const { BatchWriter } = batch
const { isForBatch } = limits

function batchOf(commands: readonly (KvCommand | Uint8Array)[]): Uint8Array {
  const writer = new BatchWriter(codec.batchTag, 16)
  for (const command of commands) {
    if (command instanceof Uint8Array) writer.add((to, bytes) => to.rest(bytes), command)
    else writer.add(codec.writeKvCommand, command)
  }
  return writer.take()
}

function put(
  key: string,
  value = 'v',
  fields: { readonly lease?: number; readonly previous?: boolean } = {},
) {
  return { type: 'put', key, value: Buffer.from(value), ...fields } as const
}

/** Feeds a machine as a log does. */
class Log {
  readonly machine = new KvMachine()
  index = 0

  apply(data: Uint8Array): KvResult {
    return this.machine.apply({ index: ++this.index, term: 1, timeMs: 5, data })
  }

  /** Results of a batch, one by one. */
  applyBatch(data: Uint8Array): readonly KvResult[] {
    const result = this.apply(data)
    if (!result.ok || result.result.type !== 'batch') return [result]
    const reader = new buffer.ByteReader(result.result.answers)
    const results: KvResult[] = []
    while (!reader.isAtEnd) results.push(codec.readKvResult(reader))
    return results
  }

  chunks(): readonly Uint8Array[] {
    return [...{ [Symbol.iterator]: () => this.machine.snapshot() }]
  }
}

function codes(results: readonly KvResult[]): readonly (string | number)[] {
  return results.map((one) => (one.ok ? one.revision : one.error.code))
}

void test('kv batch: every command is one revision of its own, in order, with its own answer', async (t) => {
  const log = new Log()
  const commands = [
    put('a'),
    put('b'),
    put('a', 'w'),
    { type: 'delete', from: 'a', to: '' },
    put('c'),
  ] as const
  const results = log.applyBatch(batchOf(commands))
  t.same(codes(results), [1, 2, 3, 4, 5])
  t.match(results[3], { result: { type: 'delete', deleted: 2 } })
  t.match(log.machine.eventsAt(3), [{ key: 'a', previous: { version: 1 } }])
  t.equal(log.machine.eventsAt(4)?.length, 2)
  t.equal(log.index, 1, 'and all of them are one entry')
})

void test('kv batch: one that is refused does not spoil its neighbours', async (t) => {
  const log = new Log()
  log.apply(codec.encodeKvCommand({ type: 'set-quota', bytes: 2_000 }))
  const results = log.applyBatch(
    batchOf([
      put('a'),
      put('b', 'x', { lease: 9 }),
      put(''),
      put('c', 'x'.repeat(2_000)),
      Buffer.from([99]),
      put('d'),
    ]),
  )
  t.same(codes(results), [
    1,
    'KV_LEASE_NOT_FOUND',
    'KV_BAD_REQUEST',
    'KV_QUOTA_EXCEEDED',
    'KV_BAD_REQUEST',
    2,
  ])
})

void test('kv batch: only what answers with a few bytes may stand in one', async (t) => {
  const log = new Log()
  log.apply(codec.encodeKvCommand(put('a', 'x'.repeat(10_000))))
  const refused: readonly (KvCommand | Uint8Array)[] = [
    put('a', 'y', { previous: true }),
    { type: 'delete', from: 'a', previous: true },
    { type: 'transact', when: [], then: [{ type: 'get', from: 'a' }], otherwise: [] },
    { type: 'lease-grant', id: 1, ttlMs: 5 },
    { type: 'compact', revision: 1 },
    { type: 'set-quota', bytes: 1 },
    batchOf([put('a'), put('b')]),
  ]
  for (const one of refused) {
    t.same(codes(log.applyBatch(batchOf([one, put('b')]))), ['KV_BAD_REQUEST', log.machine.revision])
  }
  t.match(log.machine.read({ type: 'get', from: 'a' }), { result: { entries: [{ version: 1 }] } })
  t.equal(log.machine.state.leases.size, 0)
  // What a session keeps of a batch until its client has it.
  const result = log.apply(batchOf(Array.from({ length: 128 }, (_, i) => put(`k${i}`))))
  t.ok(result.ok && result.result.type === 'batch' && result.result.answers.length < 128 * 6)
})

void test('kv batch: bytes that are cut, or too many parts, are refused before anything is done', async (t) => {
  const log = new Log()
  const whole = batchOf([put('a'), put('b')])
  for (let length = 1; length < whole.length; length++) {
    const isWhole = length === 5 + codec.encodeKvCommand(put('a')).length
    const result = log.apply(whole.slice(0, length))
    t.equal(result.ok, isWhole, `${length} of ${whole.length} bytes`)
  }
  t.equal(log.machine.revision, 1)
  t.match(log.apply(Buffer.concat([whole, Buffer.from([1])])), { ok: false })
  t.match(log.apply(batchOf(Array.from({ length: 1_025 }, () => put('a')))), {
    error: { message: /at most 1024/ },
  })
  t.equal(log.machine.revision, 1)
})

void test('kv batch: comes to the same as its commands one by one, also in a snapshot', async () => {
  fc.assert(
    fc.property(
      fc.array(arbitraryCommand.filter(isForBatch), { minLength: 2, maxLength: 12 }),
      (commands) => {
        const together = new Log()
        const alone = new Log()
        for (const log of [together, alone])
          log.apply(codec.encodeKvCommand({ type: 'lease-grant', id: 1, ttlMs: 1_000 }))
        const results = together.applyBatch(batchOf(commands))
        const expected = commands.map((command) => alone.apply(codec.encodeKvCommand(command)))
        deepEqual(
          results.map((one) => encode(one)),
          expected.map((one) => encode(one)),
        )
        deepEqual(together.chunks(), alone.chunks())
      },
    ),
    { numRuns: 500, seed: 11 },
  )
})

void test('kv batch: a batch of one is that one, and a writer that failed has added nothing', async (t) => {
  t.same(batchOf([put('a')]), codec.encodeKvCommand(put('a')))
  const writer = new BatchWriter(codec.batchTag, 1)
  writer.add(codec.writeKvCommand, put('a'))
  t.throws(() => writer.add(codec.writeKvCommand, put('\ud800')))
  t.throws(() =>
    writer.add((to) => {
      to.byte(1)
      throw new Error('no')
    }, undefined),
  )
  t.same(writer.take(), codec.encodeKvCommand(put('a')))
})
