/** docs/reference/wire-format.md says what the code does: its tables, its limits, and its example to the byte. */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { beginEnd, shakePair } from '../support/handshake-pair.ts'
import { sourceModule } from '../support/source-module.ts'

const tags = await sourceModule<typeof import('../../packages/cluster/src/wire/envelope-tag.ts')>(
  'cluster',
  'wire/envelope-tag',
)
const limits = await sourceModule<typeof import('../../packages/cluster/src/wire/wire-limits.ts')>(
  'cluster',
  'wire/wire-limits',
)
const message = await sourceModule<typeof import('../../packages/cluster/src/wire/handshake-message.ts')>(
  'cluster',
  'wire/handshake-message',
)
const { refusalCodes } = await sourceModule<typeof import('../../packages/cluster/src/wire/refusal.ts')>(
  'cluster',
  'wire/refusal',
)
const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)
const { wireFeatures, wireVersion } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/wire-version.ts')
>('cluster', 'wire/wire-version')
const { FrameEncoder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/frame-encoder.ts')
>('cluster', 'wire/frame-encoder')

const { readSwimMessage, writeSwimMessage } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-message.ts')
>('cluster', 'membership/swim-message')

const text = readFileSync(new URL('../../../docs/reference/wire-format.md', import.meta.url), 'utf8')
const rows = text
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

void test('wire-format.md: every number of envelope-tag.ts, and no other', async (t) => {
  const numbers = Object.entries(tags).flatMap(([name, value]) =>
    typeof value === 'number' ? [`${name} ${value}`] : [],
  )
  const written = rows.flatMap(([, number, name]) =>
    /^[A-Z_]+$/.test(name ?? '') && /^\d+$/.test(number ?? '') ? [`${name} ${number}`] : [],
  )
  t.same(written.sort(), numbers.sort())
  const [, control, data, bulk] =
    /Lanes in envelopes are 0 for (\w+), 1 for (\w+), 2 for (\w+)\./.exec(text) ?? []
  t.same([control, data, bulk], tags.laneOrder)
})

void test('wire-format.md: every limit has its value', async (t) => {
  const known = Object.entries({
    ...limits.wireLimits,
    ...limits,
    handshakeBytesMax: message.handshakeBytesMax,
  }).flatMap(([name, value]) => (typeof value === 'number' ? [`${name} ${value}`] : []))
  const written = rows.flatMap(([, name, value]) =>
    /^\w+Max$/.test(name ?? '') ? [`${name} ${value?.replaceAll(',', '')}`] : [],
  )
  t.same(written.sort(), known.sort())
})

void test('wire-format.md: the hello in the order in which it is signed, the codes, versions and features', async (t) => {
  const names = rows
    .filter((row) => row.length === 5 && ['1', '2'].includes(row[3] ?? ''))
    .flatMap((row) => (row[1] ?? '').split(', ').map((name) => ({ name, since: Number(row[3]) })))
  const marked = Object.fromEntries(names.map(({ name }) => [name, `the ${name}`]))
  const fields = message.helloFields(marked as unknown as Parameters<typeof message.helloFields>[0], 2)
  t.same(
    fields,
    names.map(({ name }) => `the ${name}`),
  )
  const first = message.helloFields(marked as unknown as Parameters<typeof message.helloFields>[0], 1)
  t.equal(first.length, names.filter(({ since }) => since === 1).length)
  const codes = rows.flatMap(([, code]) => (code?.startsWith('CLUSTER_') === true ? [code] : []))
  t.same(codes.sort(), [...refusalCodes].sort())
  const { versionMin, versionMax } = wireVersion
  t.match(text, `This build speaks versions ${versionMin} to ${versionMax}.`)
  const [, features = ''] = /\| feature \|.*\n\| -.*\n((?:\|.*\n)+)/.exec(text) ?? []
  t.same(
    features
      .trim()
      .split('\n')
      .map((row) => row.split('|').map((cell) => cell.trim().replaceAll('`', '')))
      .map(([, name, meaning]) => [name, meaning]),
    Object.entries(wireFeatures),
  )
})

void test('wire-format.md: the messages of the membership, the fields of a record and its kinds', async (t) => {
  const written = rows.flatMap(([, type, payload]) => {
    const [, number, fields] = /^\[(\d), ((?:\w+, )*records)\]/.exec(payload ?? '') ?? []
    return fields === undefined
      ? []
      : [{ type, number: Number(number), fields: fields.split(', ').slice(0, -1) }]
  })
  t.equal(written.length, 7)
  const fieldValues: Readonly<Record<string, unknown>> = {
    sequence: 5,
    target: 'b',
    incarnation: 3,
    flags: 2,
    digest: 9,
  }
  for (const { type, number, fields } of written) {
    const values = fields.map((field) => fieldValues[field])
    const read = readSwimMessage([number, ...values, []])
    t.match(read, { type })
    if (typeof read !== 'string') t.same(writeSwimMessage(read), [number, ...values, []])
  }
  const [, names = ''] = /^`\[(name, incarnation, .*)\]`$/m.exec(text) ?? []
  const record: Readonly<Record<string, unknown>> = {
    name: 'b',
    incarnation: 3,
    address: 'ws://10.0.0.2:7001',
    weight: 2,
    zone: 'z',
    roles: ['web'],
    version: '3.1',
    refutation: 4,
    kind: 10,
    by: 'a',
    reason: 'unreachable',
    cannotReach: ['c'],
    entities: ['cart'],
  }
  const read = readSwimMessage([4, [[...names.split(', ').map((name) => record[name]), 'of a later build']]])
  t.match(read, { records: [{ ...record, kind: 'down', phase: 'alive' }] })
  const kindOf = (kind: number): string => {
    const values: Readonly<Record<string, unknown>> = { ...record, kind }
    const one = readSwimMessage([4, [names.split(', ').map((name) => values[name])]])
    return typeof one === 'string' ? one : `${one.records[0]?.kind} ${one.records[0]?.phase}`
  }
  const phases = ['joining', 'alive', 'leaving']
  const said = [
    ...phases.map((phase) => `${phase} ${phase}`),
    ...['suspect', 'unreachable', 'down', 'left'].flatMap((kind) =>
      phases.map((phase) => `${kind} ${phase}`),
    ),
  ]
  t.same(
    Array.from({ length: 15 }, (_, kind) => kindOf(kind)),
    said,
  )
})

void test('wire-format.md: the example is what the code says, to the byte', async (t) => {
  const said: Record<string, string> = {}
  const secrets = () => secretRing('a secret of this farm')
  const nonce = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
  const common = {
    weight: 1,
    zone: undefined,
    lane: 'control' as const,
    connection: null,
    features: ['lanes'],
  }
  const own = {
    ...common,
    nonce: nonce(2),
    incarnation: 3,
    roles: ['web'],
    appVersion: '3.1',
    phase: 'joining' as const,
  }
  const its = {
    ...common,
    nonce: nonce(1),
    incarnation: 1_700_000_000_000,
    roles: [],
    appVersion: '',
    phase: 'alive' as const,
  }
  const { initiator } = shakePair({ secrets, hello: own }, { secrets, hello: its }, (frame, from, index) => {
    said[['hello of the ', 'proof of the ', 'accept'][index] + (index < 2 ? from : '')] = hex(frame)
    return [frame]
  })
  t.match(initiator.outcomes, [{ type: 'established', version: 2, features: ['lanes'] }])
  const range = { versionMin: 1, versionMax: 2, cluster: 'farm', type: 'hello' as const, authenticated: true }
  const transcript = message.handshakeTranscript(
    'initiator',
    2,
    { ...range, node: 'b', address: 'ws://10.0.0.2:7001', ...own },
    { ...range, node: 'a', address: 'ws://10.0.0.1:7001', ...its },
    null,
  )
  said['transcript of the initiator'] = hex(transcript)
  const encoder = new FrameEncoder()
  encoder.heartbeat(7, 'ping')
  said['first frame'] = encoder.take().map(hex).join('')

  const written = Object.fromEntries(
    [...text.matchAll(/^```hex (.*)\n([0-9a-f\n]+)```$/gm)].map((match) => [
      match[1],
      match[2]?.replaceAll('\n', ''),
    ]),
  )
  t.same(written, said)
  // And a peer that is given the words of the document believes them.
  const end = beginEnd('acceptor', { secrets, hello: its })
  for (const name of ['hello of the initiator', 'proof of the initiator', 'accept']) {
    end.hear(new Uint8Array(Buffer.from(written[name] ?? '', 'hex')))
  }
  t.match(end.outcomes, [{ type: 'established', peer: { node: 'b', roles: ['web'], phase: 'joining' } }])
})
