/** Bytes of the log: headers of commands, batches of entries, configurations. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

type CommandHeader = import('../../../packages/protocols/src/raft/entry-codec.ts').CommandHeader
type LogEntry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry

const {
  decodeCommand,
  decodeConfiguration,
  decodeEntries,
  encodeCommand,
  encodeConfiguration,
  encodeEntries,
} = await sourceModule<typeof import('../../../packages/protocols/src/raft/entry-codec.ts')>(
  'protocols',
  'raft/entry-codec',
)

/** Small and large ones, and those around each power of two. */
const wholes = fc.oneof(
  fc.nat(300),
  fc.maxSafeNat(),
  fc
    .tuple(fc.nat(53), fc.constantFrom(-1, 0, 1))
    .map(([bits, more]) => Math.min(Math.max(0, 2 ** bits + more), Number.MAX_SAFE_INTEGER)),
)
const someBytes = fc.uint8Array({ maxLength: 300 })
const headers: fc.Arbitrary<CommandHeader> = fc.oneof(
  fc.record({
    timeMs: wholes,
    session: wholes.map((session) => Math.max(1, session)),
    sequence: wholes,
    answeredBelow: wholes,
    kind: fc.constantFrom('command', 'open-session', 'expire-sessions'),
  }),
  wholes.map((timeMs) => ({ timeMs, session: 0, sequence: 0, answeredBelow: 0, kind: 'command' as const })),
)
const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 6, unit: 'grapheme' }), { maxLength: 5 })
const configurations = fc.tuple(ids, ids, ids, ids).map(([voters, outgoing, learners, learnersNext]) => ({
  voters: voters.sort(),
  outgoing: outgoing.sort(),
  learners: learners.filter((id) => !voters.includes(id)).sort(),
  learnersNext: learnersNext.sort(),
}))
/** A piece of a log: contiguous, terms that only rise. */
const logs: fc.Arbitrary<readonly LogEntry[]> = fc
  .record({
    first: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 2 ** 52 })),
    term: fc.oneof(fc.nat(10), fc.nat({ max: 2 ** 31 - 1 })),
    parts: fc.array(
      fc.tuple(
        fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(100_000) }),
        fc.oneof(
          { weight: 6, arbitrary: someBytes.map((data) => ({ type: 'command' as const, data })) },
          { weight: 2, arbitrary: fc.constant({ type: 'noop' as const }) },
          {
            weight: 1,
            arbitrary: configurations.map((configuration) => ({
              type: 'configuration' as const,
              configuration,
            })),
          },
        ),
      ),
      { maxLength: 30 },
    ),
  })
  .map(({ first, term, parts }) => {
    let now = term
    return parts.map(([more, part], i): LogEntry => ({ ...part, index: first + i, term: (now += more) }))
  })

function plain(entries: readonly LogEntry[]): unknown {
  return entries.map((entry) => (entry.type === 'command' ? { ...entry, data: [...entry.data] } : entry))
}

void test('encodeCommand and decodeCommand: every header and command comes back', async (t) => {
  fc.assert(
    fc.property(headers, someBytes, (header, command) => {
      const back = decodeCommand(encodeCommand(header, command))
      return (
        JSON.stringify(Object.entries(back.header).sort()) ===
          JSON.stringify(Object.entries(header).sort()) && Buffer.compare(back.command, command) === 0
      )
    }),
    { numRuns: 3_000 },
  )
  const header = { timeMs: 5_000, session: 0, sequence: 0, answeredBelow: 0, kind: 'command' } as const
  const data = encodeCommand(header, new Uint8Array(10))
  t.equal(data.length, 13, 'without a session: a byte and the time')
  t.equal(decodeCommand(data).command.buffer, data.buffer, 'the command is a view')
})

void test('encodeCommand refuses what is no whole number', async (t) => {
  for (const bad of [-1, 0.5, NaN, Infinity, 2 ** 53, 200.5]) {
    for (const field of ['timeMs', 'session', 'sequence', 'answeredBelow']) {
      const header = {
        timeMs: 0,
        session: 1,
        sequence: 1,
        answeredBelow: 1,
        kind: 'command',
        [field]: bad,
      } as CommandHeader
      t.throws(() => encodeCommand(header, new Uint8Array(1)), RangeError)
    }
  }
})

void test('encodeEntries and decodeEntries: every piece of a log comes back, in views of the bytes', async (t) => {
  fc.assert(
    fc.property(logs, (entries) => {
      const bytes = encodeEntries(entries)
      const back = decodeEntries(bytes)
      return (
        JSON.stringify(plain(back)) === JSON.stringify(plain(entries.map(ordered))) &&
        back.every((entry) => entry.type !== 'command' || entry.data.buffer === bytes.buffer)
      )
    }),
    { numRuns: 2_000 },
  )
  t.same(decodeEntries(encodeEntries([])), [])
  const thousand = Array.from({ length: 1_000 }, (_, i): LogEntry => ({
    type: 'noop',
    index: i + 1,
    term: 7,
  }))
  t.equal(encodeEntries(thousand).length, 1_005, 'term and index stand there once')
})

void test('encodeEntries gives the very bytes of the batch that was encoded or decoded last, and of no other', async (t) => {
  const command = (index: number, byte: number): LogEntry => ({
    type: 'command',
    index,
    term: 1,
    data: new Uint8Array([byte]),
  })
  const entries = [command(1, 1), command(2, 2), command(3, 3)]
  const bytes = encodeEntries(entries)
  t.equal(encodeEntries(entries), bytes, 'for the other follower, and for the own disk')
  t.equal(encodeEntries([...entries]), bytes, 'the same entries in another array')
  t.not(encodeEntries(entries.slice(0, 2)), bytes)
  t.not(encodeEntries(entries.slice(1)), bytes)
  // What a follower was sent is what it writes.
  const sent = new Uint8Array(bytes)
  const received = decodeEntries(sent)
  t.equal(encodeEntries(received), sent)
  t.same(plain(decodeEntries(encodeEntries(received.slice(1)))), plain(entries.slice(1)))
  const others = [command(1, 7), command(2, 8), command(3, 9)]
  t.same(plain(decodeEntries(encodeEntries(others))), plain(others), 'other entries at the same places')
  t.throws(() => decodeEntries(sent.subarray(0, 5)), RangeError)
  t.same(plain(decodeEntries(encodeEntries(entries))), plain(entries), 'behind bytes that were refused')
})

/** With its properties in the order in which the decoder makes them. */
function ordered(entry: LogEntry): LogEntry {
  const { index, term } = entry
  if (entry.type === 'command') return { type: 'command', index, term, data: entry.data }
  if (entry.type === 'noop') return { type: 'noop', index, term }
  return { type: 'configuration', index, term, configuration: entry.configuration }
}

void test('encodeEntries refuses a hole and a term that goes back: that is no part of a log', async (t) => {
  const noop = (index: number, term: number): LogEntry => ({ type: 'noop', index, term })
  t.throws(() => encodeEntries([noop(1, 1), noop(3, 1)]), {
    name: 'RangeError',
    message: 'Cannot encode entries: (3, term 1) cannot follow (1, term 1)',
  })
  t.throws(() => encodeEntries([noop(1, 2), noop(2, 1)]), RangeError)
  t.throws(() => encodeEntries([noop(-1, 2)]), RangeError)
})

void test('decoding random, cut off and changed bytes throws a RangeError or gives a piece of a log, nothing else', async (t) => {
  const seen = { entries: 0, refused: 0 }
  const decode = (bytes: Uint8Array): void => {
    for (const run of [decodeCommand, decodeConfiguration]) {
      try {
        run(bytes)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
      }
    }
    try {
      // Nothing comes out that could not have been put in. Copies are not known from the decoding.
      encodeEntries(decodeEntries(bytes).map((entry) => ({ ...entry })))
      seen.entries++
    } catch (error) {
      if (!(error instanceof RangeError) || error.message.startsWith('Cannot encode')) throw error
      seen.refused++
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      decode(bytes)
      decode(new Uint8Array([1, ...bytes]))
    }),
    { numRuns: 5_000 },
  )
  fc.assert(
    fc.property(logs, fc.nat(), fc.nat(255), fc.nat(), (entries, where, byte, end) => {
      const bytes = new Uint8Array(encodeEntries(entries))
      decode(bytes.subarray(0, end % (bytes.length + 1)))
      bytes[where % bytes.length] = byte
      decode(bytes)
    }),
    { numRuns: 3_000 },
  )
  t.ok(seen.entries > 500 && seen.refused > 5_000, JSON.stringify(seen))
})

void test('decodeEntries makes no room for entries that cannot be there', async (t) => {
  const claims: readonly (readonly [string, readonly number[]])[] = [
    ['2^49 entries', [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1]],
    ['a command of 2^40 bytes', [1, 1, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]],
    ['a number without an end', [1, 1, 1, 1, ...new Array<number>(40).fill(0x80)]],
    ['terms that rise by 0', [1, 1, 1, 1, 3, 3, 3, 1]],
    ['another format', [2, 0]],
    ['nothing', []],
    ['something behind the end', [1, 0, 0]],
    ['index 0', [1, 1, 0, 1, 1]],
  ]
  for (const [what, bytes] of claims) t.throws(() => decodeEntries(new Uint8Array(bytes)), RangeError, what)
})

void test('decodeConfiguration takes sorted lists of ids and nothing else', async (t) => {
  fc.assert(
    fc.property(configurations, (configuration) => {
      const back = decodeConfiguration(encodeConfiguration(configuration))
      return JSON.stringify(back) === JSON.stringify(configuration)
    }),
  )
  for (const text of [
    '',
    '{}',
    '[[],[],[]]',
    '[["b","a"],[],[],[]]',
    '[["a","a"],[],[],[]]',
    '[[1],[],[],[]]',
    '[["a"],[],["a"],[]]',
  ]) {
    t.throws(() => decodeConfiguration(new TextEncoder().encode(text)), RangeError, text)
  }
})
