/** Commands, reads and results as bytes; prefixes; numbers and texts one behind the other. */
import { deepEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { arbitraryCommand, arbitraryGet } from './kv-arbitrary.ts'
import { buffer, codec, type KvResult } from './kv-source.ts'

const { endOfPrefix } = await sourceModule<typeof import('../../../packages/protocols/src/kv/kv-key.ts')>(
  'protocols',
  'kv/kv-key',
)

/** Without what is left out, and without telling one kind of bytes from another. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_name, inner: unknown) =>
      inner === false || inner === 0 ? undefined : inner,
    ).replaceAll(/\{"type":"Buffer","data":(\[[^\]]*\])\}/g, '$1'),
    (_name, inner: unknown) =>
      typeof inner === 'object' && inner !== null && '0' in inner && !Array.isArray(inner)
        ? Object.values(inner)
        : inner,
  )
}

void test('kv codec: every command and every read comes back as it was', async () => {
  fc.assert(
    fc.property(arbitraryCommand, arbitraryGet, (command, get) => {
      deepEqual(plain(codec.decodeKvCommand(codec.encodeKvCommand(command))), plain(command))
      deepEqual(plain(codec.decodeKvGet(codec.encodeKvGet(get))), plain(get))
    }),
    { numRuns: 1_000, seed: 5 },
  )
})

void test('kv codec: results come back as they were, with what is undefined', async (t) => {
  const entry = {
    key: 'é',
    value: new Uint8Array([0, 255]),
    createRevision: 1,
    modRevision: 2 ** 40,
    version: 3,
    lease: 4,
  }
  const results: readonly KvResult[] = [
    { ok: true, revision: 2 ** 53 - 1, result: { type: 'put', previous: undefined } },
    { ok: true, revision: 7, result: { type: 'put', previous: entry } },
    { ok: true, revision: 7, result: { type: 'get', entries: [entry, entry], count: 9, more: true } },
    { ok: true, revision: 7, result: { type: 'delete', deleted: 1, previous: [entry] } },
    { ok: true, revision: 7, result: { type: 'lease', id: 5, ttlMs: 6 } },
    { ok: true, revision: 7, result: { type: 'done' } },
    { ok: false, revision: 7, error: { code: 'KV_COMPACTED', message: 'x', compactRevision: 3 } },
    {
      ok: true,
      revision: 7,
      result: { type: 'transact', succeeded: true, results: [{ type: 'put', previous: undefined }] },
    },
  ]
  for (const result of results) t.strictSame(codec.decodeKvResult(codec.encodeKvResult(result)), result)
})

void test('kv codec: bytes that were cut or grew are no result and no read', async (t) => {
  const get = codec.encodeKvGet({ type: 'get', from: 'abc', to: 'd' })
  for (let length = 0; length < get.length; length++)
    t.throws(() => codec.decodeKvGet(get.subarray(0, length)), RangeError)
  t.throws(() => codec.decodeKvGet(Buffer.concat([get, Buffer.from([0])])), RangeError)
  t.throws(() => codec.decodeKvResult(Buffer.from([9, 1])), RangeError)
  t.throws(() => codec.decodeKvCommand(Buffer.from([0, 0xd9, 0x01, 0x02, 0x80])), RangeError)
})

void test('ByteWriter, ByteReader: numbers to 2^53, texts of every kind', async () => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat()), fc.array(fc.string({ unit: 'grapheme' })), (numbers, texts) => {
      const writer = new buffer.ByteWriter(1)
      for (const number of numbers) writer.number(number)
      for (const text of texts) writer.text(text)
      const reader = new buffer.ByteReader(writer.take())
      deepEqual(
        numbers.map(() => reader.number()),
        numbers,
      )
      deepEqual(
        texts.map(() => reader.text()),
        texts,
      )
      deepEqual(reader.isAtEnd, true)
    }),
    { numRuns: 500, seed: 6 },
  )
})

void test('endOfPrefix: is above all keys with the prefix, and below all others that are above', async (t) => {
  const key = fc.string({
    unit: fc.constantFrom('a', 'b', '\u007f', '\ud7ff', '\u{10000}', '\u{10ffff}', '\ue000', '\uffff'),
    maxLength: 4,
  })
  fc.assert(
    fc.property(key, key, (prefix, other) => {
      const end = endOfPrefix(prefix)
      const isInside = other >= prefix && (end === '' || other < end)
      deepEqual(isInside, other.startsWith(prefix))
      deepEqual(/\p{Surrogate}/u.test(end), false)
    }),
    { numRuns: 5_000, seed: 7 },
  )
  t.equal(endOfPrefix('a'), 'b')
  t.equal(endOfPrefix(''), '')
  t.equal(endOfPrefix('\uffff'), '')
})
