/** The store's state: every answer as the plainest store gives it, whatever the order; limits; snapshots; bad bytes. */
import { deepEqual, ok } from 'node:assert/strict'
import { encode } from '@understudy/runtime/codec'
import fc from 'fast-check'
import { test } from 'tap'
import { arbitraryGet, arbitrarySteps, type Step } from './kv-arbitrary.ts'
import { ReferenceKv } from './kv-reference.ts'
import {
  codec,
  KvMachine,
  type KvCommand,
  type KvEntry,
  type KvGet,
  type KvOperation,
  type KvResult,
} from './kv-source.ts'

const { encodeKvCommand } = codec

/** Feeds a machine as a log does. */
class Log {
  machine = new KvMachine()
  index = 0
  term = 1
  timeMs = 0

  apply(command: KvCommand): KvResult {
    return this.applyBytes(encodeKvCommand(command))
  }

  applyBytes(data: Uint8Array): KvResult {
    return this.machine.apply({ index: ++this.index, term: this.term, timeMs: this.timeMs, data })
  }

  put(key: string, value = 'v', lease = 0): KvResult {
    return this.apply({ type: 'put', key, value: Buffer.from(value), lease })
  }

  get(key: string, fields: Partial<KvGet> = {}): readonly KvEntry[] {
    const answer = this.machine.read({ ...fields, type: 'get', from: key })
    return answer.ok && answer.result.type === 'get' ? answer.result.entries : []
  }
}

function codeOf(answer: KvResult): string {
  return answer.ok ? 'ok' : answer.error.code
}

/** Without what the plain store does not word. */
function plain(answer: unknown): unknown {
  return JSON.parse(
    JSON.stringify(answer, (name, value: unknown) => {
      if (name === 'message' || name === 'compactRevision') return undefined
      return value instanceof Uint8Array ? [...value] : value
    }).replaceAll(/\{"type":"Buffer","data":(\[[^\]]*\])\}/g, '$1'),
  )
}

function run(
  steps: readonly Step[],
  each: (log: Log, reference: ReferenceKv, step: Step) => void,
): [Log, ReferenceKv] {
  const log = new Log()
  const reference = new ReferenceKv()
  for (const step of steps) {
    if (step.newTerm) log.term++
    log.timeMs += step.passMs
    each(log, reference, step)
  }
  return [log, reference]
}

async function* chunksOf(machine: KvMachine): AsyncGenerator<Uint8Array> {
  const walk = machine.snapshot()
  for (let next = walk.next(); next.done !== true; next = walk.next()) yield next.value
}

async function copyOf(machine: KvMachine): Promise<KvMachine> {
  const copy = new KvMachine()
  await copy.restore(chunksOf(machine))
  return copy
}

void test('KvMachine: answers every command and every read as a store that copies everything does', async () => {
  fc.assert(
    fc.property(arbitrarySteps, fc.array(arbitraryGet, { maxLength: 10 }), (steps, gets) => {
      const [log, reference] = run(steps, (one, other, { command }) => {
        const want = other.apply(command, one.term, one.timeMs, one.index + 1)
        deepEqual(plain(one.apply(command)), plain(want))
        deepEqual(one.machine.status().bytes, other.bytes)
      })
      for (const get of gets) deepEqual(plain(log.machine.read(get)), plain(reference.read(get)))
    }),
    { numRuns: 400, seed: 1 },
  )
})

void test('KvMachine: tells what each revision since the compacted one changed, with what was there before', async () => {
  fc.assert(
    fc.property(arbitrarySteps, (steps) => {
      const [log, reference] = run(steps, (one, other, { command }) => {
        other.apply(command, one.term, one.timeMs, one.index + 1)
        one.apply(command)
      })
      for (let revision = 1; revision <= reference.revision + 1; revision++) {
        const events = log.machine.eventsAt(revision)
        const want = revision < reference.compacted ? undefined : reference.events[revision]
        deepEqual(plain({ events }), plain({ events: want }))
      }
    }),
    { numRuns: 200, seed: 2 },
  )
})

void test('KvMachine: a snapshot restores everything, and what is applied meanwhile does not show', async () => {
  await fc.assert(
    fc.asyncProperty(
      arbitrarySteps,
      arbitrarySteps,
      fc.integer({ min: 0, max: 20 }),
      async (before, during, taken) => {
        const [log] = run(before, (one, _other, { command }) => one.apply(command))
        const want = [...chunkTexts(log.machine)]
        const walk = log.machine.snapshot(chunkBytes)
        const got: Uint8Array[] = []
        for (let i = 0; i < taken; i++) {
          const next = walk.next()
          if (next.done !== true) got.push(next.value)
        }
        for (const { command, passMs } of during) {
          log.timeMs += passMs
          log.apply(command)
        }
        for (let next = walk.next(); next.done !== true; next = walk.next()) got.push(next.value)
        deepEqual(
          got.map((chunk) => Buffer.from(chunk).toString('latin1')),
          want,
        )
        const copy = await copyOf(log.machine)
        deepEqual(copy.status(), log.machine.status())
        deepEqual([...chunkTexts(copy)], [...chunkTexts(log.machine)])
      },
    ),
    { numRuns: 200, seed: 3 },
  )
})

void test('KvMachine: a member restored from a snapshot goes on exactly as the others do', async () => {
  await fc.assert(
    fc.asyncProperty(arbitrarySteps, arbitrarySteps, async (before, after) => {
      const [log] = run(before, (one, _other, { command }) => one.apply(command))
      const copy = new Log()
      copy.machine = await copyOf(log.machine)
      copy.index = log.index
      copy.term = log.term
      copy.timeMs = log.timeMs
      for (const { command, newTerm, passMs } of after) {
        for (const one of [log, copy]) {
          if (newTerm) one.term++
          one.timeMs += passMs
        }
        deepEqual(copy.apply(command), log.apply(command))
        deepEqual(copy.machine.status(), log.machine.status())
      }
      deepEqual([...chunkTexts(copy.machine)], [...chunkTexts(log.machine)])
    }),
    { numRuns: 200, seed: 3 },
  )
})

/** So small that a few keys take many chunks. */
const chunkBytes = 20

function* chunkTexts(machine: KvMachine): Generator<string> {
  const walk = machine.snapshot(chunkBytes)
  for (let next = walk.next(); next.done !== true; next = walk.next())
    yield Buffer.from(next.value).toString('latin1')
}

void test('KvMachine: bytes that are no command are refused the same everywhere, and never throw', async (t) => {
  const log = new Log()
  log.put('a')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const answer = log.applyBytes(bytes)
      if (answer.ok) ok(['put', 'delete'].includes(answer.result.type))
    }),
    { numRuns: 2_000, seed: 4 },
  )
  const bad: unknown[] = [
    null,
    7,
    {},
    { type: 'x' },
    { type: 'transact', when: [], then: [{}], otherwise: [] },
    { type: 'compact', revision: -1 },
    { type: 'compact', revision: 1.5 },
    { type: 'put', key: '', value: Buffer.alloc(0) },
    { type: 'put', key: 'k'.repeat(1_025), value: Buffer.alloc(0) },
    { type: 'put', key: 'k', value: 'text' },
    { type: 'put', key: 'k', value: Buffer.alloc(1_572_865) },
    { type: 'lease-grant', id: 0, ttlMs: 0 },
    { type: 'lease-expire', ids: [1.5] },
  ]
  for (const command of bad) {
    t.match(log.applyBytes(Buffer.concat([Buffer.from([0]), encode(command)])), {
      ok: false,
      error: { code: 'KV_BAD_REQUEST', message: /Cannot carry out/ },
    })
  }
  t.equal(codeOf(log.machine.read({ type: 'put' })), 'KV_BAD_REQUEST')
})

void test('KvMachine: a transaction puts a key once, does not put what it deletes, and has 128 operations', async (t) => {
  const log = new Log()
  const put = (key: string): KvOperation => ({ type: 'put', key, value: Buffer.alloc(1) })
  const transact = (
    then: readonly KvOperation[],
    otherwise: readonly KvOperation[] = [],
  ): KvOperation & { type: 'transact' } => ({
    type: 'transact',
    when: [],
    then,
    otherwise,
  })
  t.match(log.apply(transact([put('a'), put('a')])), { error: { message: /"a" is put twice/ } })
  t.match(log.apply(transact([put('a'), transact([], [put('a')])])), {
    error: { message: /"a" is put twice/ },
  })
  t.match(log.apply(transact([{ type: 'delete', from: 'a', to: 'c' }, put('b')])), {
    error: { message: /put and deleted/ },
  })
  t.equal(codeOf(log.apply(transact([transact([put('a')], [put('a')]), put('b')]))), 'ok', 'one of two ways')
  t.equal(codeOf(log.apply(transact(Array.from({ length: 128 }, (_, i) => put(`k${i}`))))), 'ok')
  t.equal(codeOf(log.apply(transact(Array.from({ length: 129 }, (_, i) => put(`k${i}`))))), 'KV_BAD_REQUEST')
  t.equal(
    codeOf(log.apply(transact([transact(Array.from({ length: 128 }, (_, i) => put(`k${i}`)))]))),
    'KV_BAD_REQUEST',
  )
  t.equal(log.machine.revision, 2, 'each made one revision, whatever its number of operations')
})

void test('KvMachine: over the quota puts are refused with how to mend it; deletes and compaction still go', async (t) => {
  const log = new Log()
  log.apply({ type: 'set-quota', bytes: 10_000 })
  let puts = 0
  while (codeOf(log.put('a', 'x'.repeat(1_000))) === 'ok') puts++
  t.equal(puts, 8)
  t.match(log.put('a', 'x'.repeat(1_000)), {
    error: {
      code: 'KV_QUOTA_EXCEEDED',
      message: /holds 9544 of at most 10000 bytes.*compact.*delete.*raise/,
    },
  })
  const put: KvOperation = { type: 'put', key: 'b', value: Buffer.alloc(1_000) }
  t.equal(codeOf(log.apply({ type: 'transact', when: [], then: [put], otherwise: [] })), 'KV_QUOTA_EXCEEDED')
  t.equal(
    codeOf(log.apply({ type: 'transact', when: [], then: [], otherwise: [put] })),
    'ok',
    'the way not gone',
  )
  t.equal(codeOf(log.apply({ type: 'delete', from: 'a' })), 'ok')
  t.equal(codeOf(log.apply({ type: 'compact', revision: log.machine.revision })), 'ok')
  t.equal(codeOf(log.put('a', 'x'.repeat(1_000))), 'ok')
  log.apply({ type: 'compact', revision: log.machine.revision })
  log.apply({ type: 'delete', from: '', to: '' })
  log.put('z')
  log.apply({ type: 'delete', from: 'z' })
  log.put('y')
  log.apply({ type: 'delete', from: 'y' })
  log.put('y')
  log.apply({ type: 'delete', from: 'y' })
  log.apply({ type: 'compact', revision: log.machine.revision })
  // What the last revision replaced stays for its watchers, until the next compaction.
  t.ok(log.machine.status().bytes < 600)
})

void test('KvMachine: an answer is bounded: gets end with "more", a delete that would answer too much is refused', async (t) => {
  const log = new Log()
  for (let i = 0; i < 5; i++) log.put(`k${i}`, 'x'.repeat(400_000))
  const all: KvGet = { type: 'get', from: '', to: '' }
  t.match(log.machine.read(all), { result: { entries: { length: 2 }, count: 5, more: true } })
  t.match(log.machine.read({ ...all, keysOnly: true }), { result: { entries: { length: 5 }, more: false } })
  t.match(log.apply({ type: 'transact', when: [], then: [all, all], otherwise: [] }), {
    result: {
      results: [
        { entries: { length: 2 }, more: true },
        { entries: { length: 1 }, more: true },
      ],
    },
  })
  t.match(log.apply({ type: 'delete', from: '', to: '', previous: true }), {
    error: { code: 'KV_BAD_REQUEST', message: /delete without "previous", or less at a time/ },
  })
  t.match(log.apply({ type: 'delete', from: '', to: '' }), { ok: true, result: { deleted: 5 } })
})

void test('KvMachine: over a quota that was lowered, what holds no puts still goes', async (t) => {
  const log = new Log()
  log.put('a')
  log.put('b')
  log.apply({ type: 'set-quota', bytes: 100 })
  t.equal(codeOf(log.put('a')), 'KV_QUOTA_EXCEEDED')
  t.equal(codeOf(log.apply({ type: 'lease-grant', id: 1, ttlMs: 1 })), 'KV_QUOTA_EXCEEDED')
  t.equal(codeOf(log.apply({ type: 'delete', from: 'a' })), 'ok')
  t.equal(
    codeOf(log.apply({ type: 'transact', when: [], then: [{ type: 'delete', from: 'b' }], otherwise: [] })),
    'ok',
  )
  t.equal(codeOf(log.apply({ type: 'compact', revision: 4 })), 'ok')
})

void test('KvMachine: the keys of a lease go in the order of keys, whatever the order they came in', async (t) => {
  const log = new Log()
  log.apply({ type: 'lease-grant', id: 1, ttlMs: 1 })
  for (const key of ['c', 'a', 'b']) log.put(key, 'x', 1)
  log.apply({ type: 'lease-revoke', id: 1 })
  t.same(
    log.machine.eventsAt(4)?.map(({ key }) => key),
    ['a', 'b', 'c'],
  )
})

void test('KvMachine: leases end by the log time, and only by a command that says so (R12)', async (t) => {
  const log = new Log()
  t.match(log.apply({ type: 'lease-grant', id: 0, ttlMs: 100 }), {
    result: { type: 'lease', id: 1, ttlMs: 100 },
  })
  log.put('a', 'x', 1)
  log.put('b', 'x', 1)
  log.timeMs = 99
  t.same(log.machine.leasesOver(99), [])
  log.apply({ type: 'lease-expire', ids: [1] })
  t.equal(log.get('a').length, 1, 'a command that comes too early does nothing')
  log.apply({ type: 'lease-keep-alive', id: 1 })
  log.timeMs = 198
  log.apply({ type: 'lease-expire', ids: [1] })
  t.equal(log.get('a').length, 1)
  log.timeMs = 199
  t.same(log.machine.leasesOver(199), [1])
  const before = log.machine.revision
  log.apply({ type: 'lease-expire', ids: [1, 7] })
  t.same([log.get('a'), log.get('b')], [[], []])
  t.equal(log.machine.revision, before + 1, 'one revision for all of its keys')
  t.equal(codeOf(log.apply({ type: 'lease-keep-alive', id: 1 })), 'KV_LEASE_NOT_FOUND')
  t.equal(codeOf(log.put('a', 'x', 1)), 'KV_LEASE_NOT_FOUND')
})

void test('KvMachine: with the first command of a new term every lease has its whole TTL again (R12)', async (t) => {
  const log = new Log()
  log.apply({ type: 'lease-grant', id: 5, ttlMs: 100 })
  log.put('a', 'x', 5)
  log.term = 2
  log.timeMs = 90
  log.put('b')
  log.timeMs = 150
  t.same(log.machine.leasesOver(150), [])
  log.apply({ type: 'lease-expire', ids: [5] })
  t.equal(log.get('a').length, 1)
  t.same((await copyOf(log.machine)).leasesOver(189), [])
  t.same((await copyOf(log.machine)).leasesOver(190), [5])
  log.timeMs = 190
  log.apply({ type: 'lease-expire', ids: [5] })
  t.equal(log.get('a').length, 0)
})

void test('KvMachine: a snapshot that was cut, mixed up or changed is refused, and the state stays', async (t) => {
  const log = new Log()
  for (let i = 0; i < 3_000; i++) log.put(`key/${i}`, 'x'.repeat(200))
  log.apply({ type: 'compact', revision: 2_000 })
  const chunks: Uint8Array[] = []
  for await (const chunk of chunksOf(log.machine)) chunks.push(chunk)
  t.ok(chunks.length > 3)
  const other = new Log()
  other.put('mine')
  const refused = async (given: readonly Uint8Array[], message: RegExp): Promise<void> => {
    await t.rejects(
      other.machine.restore(
        (async function* () {
          yield* given
        })(),
      ),
      { name: 'RangeError', message },
    )
    t.equal(other.get('mine').length, 1)
  }
  await refused([], /before its end/)
  await refused(chunks.slice(0, -1), /before its end/)
  await refused(chunks.slice(1), /a record 3 behind a record 0/)
  await refused([...chunks.slice(0, 1), ...chunks.slice(2)], /revision|bytes/)
  await refused([...chunks, chunks[0] as Uint8Array], /behind a record 5/)
  await refused([...chunks.slice(0, 2), ...chunks.slice(1)], /twice/)
  await refused([(chunks[0] as Uint8Array).slice(0, 5), ...chunks.slice(1)], /middle of a value/)
  await refused([Buffer.from([1, 99])], /format 99/)
})

void test('KvMachine: compaction takes nothing from any walk, also when the next began before the last had ended', async (t) => {
  const log = new Log()
  for (let i = 0; i < 20; i++) log.put(`k${i % 5}`, String(i))
  const [first, second] = [log.machine.snapshot(1), log.machine.snapshot(1)]
  const early = [first.next(), first.next()].map(({ value }) => value as Uint8Array)
  const other = [...{ [Symbol.iterator]: () => second }]
  log.put('k0', 'x')
  t.equal(codeOf(log.apply({ type: 'compact', revision: 18 })), 'ok')
  deepEqual([...early, ...{ [Symbol.iterator]: () => first }], other)
})
