/** Commands and results of the lock table as bytes: as they were, byte for byte as in old logs, and never half. */
import { deepEqual } from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'tap'
import { arbitraryLockCommand } from './machine-arbitrary.ts'
import { acquire } from './machine-log.ts'
import { ByteReader, ByteWriter, codec, type LockCommand, type LockResult } from './machine-source.ts'

const { encodeLockCommand, decodeLockCommand } = codec

/** Without what is left out, and bytes as numbers. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .map(([name, inner]) => [name, plain(inner)]),
  )
}

void test('lock codec: every command comes back as it was', async () => {
  fc.assert(
    fc.property(arbitraryLockCommand, (command) => {
      deepEqual(plain(decodeLockCommand(encodeLockCommand(command))), plain(command))
    }),
    { numRuns: 2_000, seed: 9 },
  )
})

void test('lock codec: what old logs hold stays what it is', async (t) => {
  const golden: readonly (readonly [LockCommand, string])[] = [
    [acquire(5, 300, 'jobs'), '010405ac02086a6f6273'],
    [acquire(1, 1, 'm', { wait: false, owner: 'o', reentrant: true }), '01180101026d026f'],
    [acquire(1, 2, 'é', { kind: 'read-write', permits: 0 }), '0145010205c3a90000'],
    [acquire(1, 3, 's', { kind: 'semaphore', permits: 2, capacity: 9 }), '014601030273' + '0209'],
    [acquire(1, 4, 'e', { kind: 'election', data: 'd' }), '012701040265' + '0264'],
    [{ type: 'release', session: 5, request: 300 }, '0205ac02'],
  ]
  for (const [command, bytes] of golden) {
    t.equal(Buffer.from(encodeLockCommand(command)).toString('hex'), bytes)
    t.strictSame(plain(decodeLockCommand(Buffer.from(bytes, 'hex'))), plain(command))
  }
  const keepAlive = encodeLockCommand({ type: 'keep-alive', session: 7 })
  t.equal(keepAlive[0], 0)
  const results: readonly (readonly [LockResult, string])[] = [
    [{ ok: true, result: { type: 'held', token: 300 } }, '01ac02'],
    [{ ok: true, result: { type: 'queued', ahead: 3 } }, '0203'],
    [{ ok: true, result: { type: 'busy', holders: 1 } }, '0301'],
    [{ ok: true, result: { type: 'released', was: 'held' } }, '04'],
    [{ ok: true, result: { type: 'released', was: 'queued' } }, '05'],
    [{ ok: true, result: { type: 'released', was: 'nothing' } }, '06'],
  ]
  for (const [result, bytes] of results)
    t.equal(Buffer.from(codec.encodeLockResult(result)).toString('hex'), bytes)
})

void test('lock codec: results stand one behind the other, and come back as they were', async (t) => {
  const results: readonly LockResult[] = [
    { ok: true, result: { type: 'held', token: 2 ** 53 - 1 } },
    { ok: true, result: { type: 'session', session: 5, ttlMs: 6 } },
    { ok: true, result: { type: 'queued', ahead: 0 } },
    { ok: true, result: { type: 'number', ok: false, value: -5, version: 2 } },
    { ok: true, result: { type: 'taken', leftMs: 4 } },
    { ok: true, result: { type: 'busy', holders: 2 } },
    { ok: true, result: { type: 'done' } },
    {
      ok: false,
      error: { code: 'LOCK_DEADLOCK', message: 'x', cycle: [{ session: 1, owner: 'a', name: 'm' }] },
    },
    { ok: true, result: { type: 'released', was: 'queued' } },
  ]
  const writer = new ByteWriter(8)
  for (const result of results) codec.writeLockResult(writer, result)
  const reader = new ByteReader(writer.take())
  for (const result of results) t.strictSame(codec.readLockResult(reader), result)
  t.equal(reader.isAtEnd, true)
  for (const result of results) t.strictSame(codec.decodeLockResult(codec.encodeLockResult(result)), result)
})

void test('lock codec: bytes that were cut or grew are no command and no result', async (t) => {
  const bytes = encodeLockCommand(
    acquire(1, 2, 'name', { owner: 'o', kind: 'semaphore', permits: 2, capacity: 3 }),
  )
  for (let length = 0; length < bytes.length; length++)
    t.throws(() => decodeLockCommand(bytes.subarray(0, length)), RangeError)
  t.throws(() => decodeLockCommand(Buffer.concat([bytes, Buffer.from([0])])), RangeError)
  t.throws(() => decodeLockCommand(Buffer.from([1, 0x80, 1, 1, 0])), RangeError, 'a flag that nobody knows')
  t.throws(() => codec.decodeLockResult(Buffer.from([9])), RangeError)
  t.throws(() => codec.decodeLockResult(Buffer.from([4, 0])), RangeError)
})

void test('lock codec: half a surrogate pair is refused, and nothing is written', async (t) => {
  const writer = new ByteWriter(8)
  t.throws(() => codec.writeLockCommand(writer, acquire(1, 1, 'a\ud800')))
  t.equal(writer.size, 0)
})
