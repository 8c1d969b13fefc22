/** Who may join: patterns of names, ranges of addresses, certificates, and the application's own word. */
import fc from 'fast-check'
import { test } from 'tap'
import { cameTo, shakePair } from '../support/handshake-pair.ts'
import { sourceModule } from '../support/source-module.ts'

const { joinJudge, matchesName } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/join-policy.ts')
>('cluster', 'wire/join-policy')
const { inAddressRange, ipBytes, parseAddressRange } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/address-range.ts')
>('cluster', 'wire/address-range')

type Facts = Parameters<ReturnType<typeof joinJudge>>[0]

const facts = (own: Partial<Facts> = {}): Facts => ({
  node: 'web-1',
  incarnation: 1,
  address: 'ws://10.0.0.7:7001',
  weight: 1,
  zone: undefined,
  lane: 'control',
  connection: new Uint8Array(32),
  roles: [],
  version: '',
  phase: 'alive',
  remoteHost: '10.0.0.7',
  dialled: false,
  peerNames: undefined,
  ...own,
})

void test('inAddressRange: what lies in a range and what does not', async (t) => {
  const cases: [string, string, boolean][] = [
    ['10.0.0.0/8', '10.255.1.2', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.0.0.128/25', '10.0.0.127', false],
    ['10.0.0.128/25', '10.0.0.128', true],
    ['10.0.0.7', '10.0.0.7', true],
    ['10.0.0.7', '10.0.0.8', false],
    ['10.0.0.6/31', '10.0.0.7', true],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '2001:db8::1', true],
    ['::/0', '10.0.0.7', false],
    ['10.0.0.0/8', '::ffff:10.0.0.7', true],
    ['10.0.0.0/8', '::ffff:0a00:7', true],
    ['::ffff:10.0.0.0/104', '10.0.0.7', true],
    ['::ffff:10.0.0.0/104', '11.0.0.7', false],
    ['::/0', '::ffff:10.0.0.7', false],
    ['fd00::/8', 'fdff::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['2001:DB8::1', '2001:db8:0:0:0:0:0:1', true],
    ['node-1.internal', 'NODE-1.internal', true],
    ['node-1.internal', 'node-11.internal', false],
    ['node-1.internal', '10.0.0.7', false],
    ['10.0.0.0/8', 'gone', false],
    ['10.0.0.0/8', '', false],
    ['10.0.0.0/8', '10.0.0', false],
    ['10.0.0.0/8', '10.0.0.007', false],
    ['10.0.0.0/8', '10.0.0.7%eth0', false],
    ['::/0', ':::', false],
    ['::/0', '1::2::3', false],
    ['::/0', '1:2:3:4:5:6:7', false],
    ['::/0', '1:2:3:4:5:6:7:8:9', false],
    ['::/0', '1:2:3:4:5:6:7::8', false],
    ['::/0', '1.2.3.4::', false],
    ['::/0', '12345::', false],
  ]
  for (const [range, host, isIn] of cases) {
    t.equal(inAddressRange(parseAddressRange(range), host), isIn, `${host} in ${range}`)
  }
})

void test('parseAddressRange refuses what was most likely meant otherwise, with the mend', async (t) => {
  const bad = [
    '',
    '/',
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/8/8',
    '10.0.0.0/',
    '10.0.0',
    '10.0.0.256',
    '1.2.3.4.5',
    '::/129',
    '::ffff:0.0.0.0/90',
    'fd00::1/8',
    'fe80::1%eth0',
    'a b',
    'host/8',
    '-',
    'x'.repeat(254),
    '[::1]',
  ]
  for (const text of bad) t.throws(() => parseAddressRange(text), { message: /write "10\.0\.0\.0\/8"/ }, text)
})

void test('ipBytes and prefixes agree with arithmetic', async (t) => {
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), fc.integer({ min: 0, max: 32 }), (a, b, bits) => {
      const text = (value: number): string =>
        [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')
      const first = bits === 0 ? 0 : (a >>> (32 - bits)) * 2 ** (32 - bits)
      const expected = bits === 0 || a >>> (32 - bits) === b >>> (32 - bits)
      const range = parseAddressRange(`${text(first)}/${bits}`)
      const mapped = `::ffff:${text(b)}`
      return inAddressRange(range, text(b)) === expected && inAddressRange(range, mapped) === expected
    }),
  )
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const bytes = ipBytes(text)
      return bytes !== undefined && (bytes.length === 16 || bytes.length === 4)
    }),
  )
  t.pass()
})

void test('matchesName: a star stands for any characters, and nothing else is special', async (t) => {
  const cases: [string, string, boolean][] = [
    ['web-1', 'web-1', true],
    ['web-1', 'web-11', false],
    ['web-*', 'web-', true],
    ['web-*', 'web-11', true],
    ['web-*', 'xweb-1', false],
    ['*', 'anything', true],
    ['*-1', 'web-1', true],
    ['*-1', 'web-12', false],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'acb', false],
    ['a*b*bc', 'abc', false],
    ['**', 'x', true],
    ['web.1', 'web-1', false],
  ]
  for (const [pattern, name, fits] of cases)
    t.equal(matchesName(pattern, name), fits, `${name} as ${pattern}`)
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), text, (parts, name) => {
      const expression = new RegExp(`^${parts.map((part) => part.replaceAll('.', '\\.')).join('.*')}$`)
      return matchesName(parts.join('*'), name) === expression.test(name)
    }),
    { numRuns: 2_000 },
  )
  // A pattern that would take an expression with backtracking for ever.
  t.equal(matchesName(`${'*a'.repeat(63)}*b`, 'a'.repeat(128)), false)
})

void test('joinJudge: each rule refuses with CLUSTER_NOT_ADMITTED and names itself, never what is in it', async (t) => {
  const policy = {
    names: ['web-*', 'db'],
    addresses: ['10.0.0.0/8', 'fd00::/8'],
    nameFromCertificate: true,
  }
  const judge = joinJudge(policy)
  const good = { peerNames: ['web-1', 'web-1.internal'] }
  t.equal(judge(facts(good)), undefined)
  const cases: [string, Partial<Facts>][] = [
    ['names', { ...good, node: 'mail' }],
    ['addresses', { ...good, remoteHost: '192.168.0.1' }],
    ['addresses', { ...good, remoteHost: '' }],
    ['addresses', { ...good, remoteHost: 'node.internal' }],
    ['nameFromCertificate', {}],
    ['nameFromCertificate', { peerNames: [] }],
    ['nameFromCertificate', { peerNames: ['web-2'] }],
    ['nameFromCertificate', { peerNames: ['web-*', '*'] }],
  ]
  for (const [rule, own] of cases) {
    const refusal = judge(facts(own))
    t.equal(refusal?.code, 'CLUSTER_NOT_ADMITTED')
    t.match(refusal?.reason, `(${rule})`)
    for (const part of [...policy.names, ...policy.addresses]) t.notMatch(refusal?.reason, part)
  }
  t.equal(joinJudge({})(facts()), undefined, 'no rules, everybody')
  t.equal(joinJudge({ names: [] })(facts())?.code, 'CLUSTER_NOT_ADMITTED', 'an empty list is nobody')
})

void test('joinJudge: whom we dialled by name passes the addresses, by address it is judged', async (t) => {
  const judge = joinJudge({ addresses: ['10.0.0.0/8', 'seed.internal'] })
  t.equal(judge(facts({ dialled: true, remoteHost: 'other.internal' })), undefined)
  t.equal(judge(facts({ dialled: true, remoteHost: '10.0.0.7' })), undefined)
  t.match(judge(facts({ dialled: true, remoteHost: '11.0.0.7' })), { code: 'CLUSTER_NOT_ADMITTED' })
  t.match(judge(facts({ dialled: true, remoteHost: '' })), { code: 'CLUSTER_NOT_ADMITTED' })
  t.match(judge(facts({ remoteHost: 'other.internal' })), { code: 'CLUSTER_NOT_ADMITTED' })
  t.equal(judge(facts({ remoteHost: 'seed.internal' })), undefined)
})

void test('joinJudge: check lets in with true and nothing else; what it throws stays here', async (t) => {
  const answer = (check: () => unknown) => joinJudge({ check: check as () => true | string })(facts())?.reason
  t.equal(
    answer(() => true),
    undefined,
  )
  t.match(
    answer(() => 'the version is too old'),
    /\(check\).*"web-1".*: the version is too old$/,
  )
  for (const odd of [false, undefined, null, 1, {}, Promise.resolve(true)]) {
    t.match(
      answer(() => odd),
      /it was not let in$/,
    )
  }
  const thrown = answer(() => {
    throw new Error('the password of the database')
  })
  t.match(thrown, /it was not let in$/)
  t.notMatch(thrown, /password/)
  const long = answer(() => '\u{1f600}'.repeat(1_000)) ?? ''
  t.ok(long.length <= 512, 'it fits into what a peer reads')
  t.notMatch(long, /\p{Surrogate}/u, 'and can be encoded')
  let seen: Facts | undefined
  joinJudge({ check: (given) => ((seen = given), true) })(facts({ roles: ['db'], version: '3' }))
  t.match(seen, { roles: ['db'], version: '3', remoteHost: '10.0.0.7' })
})

void test('joinJudge checks the policy itself', async (t) => {
  t.throws(() => joinJudge({ names: ['a b'] }), /"a b" as a name/)
  t.throws(() => joinJudge({ names: [''] }), /as a name/)
  t.throws(() => joinJudge({ names: Array<string>(1_025).fill('a') }), /at most 1024/)
  t.throws(() => joinJudge({ addresses: ['10.0.0.1/8'] }), /bits set behind/)
  t.throws(() => joinJudge({ addresses: Array<string>(1_025).fill('::1') }), /at most 1024/)
  t.throws(() => joinJudge({ names: 'web' as unknown as string[] }), /must be a list/)
})

void test('a join policy: refused at both ends, whoever has it, and only after the proof', async (t) => {
  const admits = joinJudge({ names: ['c'] })
  for (const [name, own, other] of [
    ['the acceptor', {}, { admits }],
    ['the initiator', { admits }, {}],
  ] as const) {
    const pair = shakePair(own, other)
    t.same(
      [cameTo(pair.initiator), cameTo(pair.acceptor)],
      ['CLUSTER_NOT_ADMITTED', 'CLUSTER_NOT_ADMITTED'],
      name,
    )
  }
  const stranger = shakePair(
    { secrets: () => ({ use: 'x'.repeat(16), taken: ['x'.repeat(16)] }) },
    { admits },
  )
  t.equal(cameTo(stranger.initiator), 'CLUSTER_WRONG_SECRET', 'who lacks the secret learns of no policy')
})

void test('a join policy: the address of the socket counts, not the one in the hello', async (t) => {
  const hello = { address: 'ws://192.168.0.1:7001' }
  const from = (range: string) =>
    cameTo(shakePair({ hello }, { admits: joinJudge({ addresses: [range] }) }).acceptor)
  t.equal(from('10.0.0.0/8'), 'established')
  t.equal(from('192.168.0.0/16'), 'CLUSTER_NOT_ADMITTED')
})

void test('a join policy: the name of a node must be in its certificate', async (t) => {
  const admits = joinJudge({ nameFromCertificate: true })
  const tls = { secrets: () => undefined, authenticatedByTransport: true, admits }
  const pair = shakePair({ ...tls, peerNames: ['a', 'a.internal'] }, { ...tls, peerNames: ['b'] })
  t.same([cameTo(pair.initiator), cameTo(pair.acceptor)], ['established', 'established'])
  for (const peerNames of [['a'], [], undefined]) {
    const other = shakePair({ ...tls, peerNames: ['a'] }, { ...tls, peerNames })
    t.equal(cameTo(other.acceptor), 'CLUSTER_NOT_ADMITTED')
  }
})
