import { createHmac } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

import { test } from 'tap'

import { decode, encode, inspectCbor } from '@understudy/runtime/codec'

import { sourceModule } from '../support/source-module.ts'

const { HandshakeCore } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/handshake-core.ts')
>('cluster', 'wire/handshake-core')
const { handshakeBytesMax, handshakeTranscript, helloFields } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/handshake-message.ts')
>('cluster', 'wire/handshake-message')
const { judgeIncarnation, refusalCodes } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/refusal.ts')
>('cluster', 'wire/refusal')

type Core = InstanceType<typeof HandshakeCore>
type Input = Parameters<Core['step']>[0]
type Effect = ReturnType<Core['step']>[number]
type Role = 'initiator' | 'acceptor'

const transcripts = new URL('../../transcripts/handshake/', import.meta.url)

/**
 * Two ends and the wire between them. Messages cross as CBOR; HMACs are real. Commands:
 *   initiator|acceptor key=value ...   makes an end: node, cluster, incarnation, address, versions=1-2, features=a,b,
 *                                      secret, nonce (a byte), known=name:incarnation:address[:down], lane, connection
 *                                      (a byte), roles=a,b, app, phase, by=tls, required=yes, admit=name (of who may come in)
 *   run                                starts both and delivers until nothing moves
 *   start                              starts both, delivers nothing
 *   deliver                            delivers what is under way, one message
 *   give role json                     a message from a stranger; "#7" means 32 bytes of 7
 *   reflect role                       gives an end its own last message
 *   tamper type                        flips a bit in the mac of the next proof, or raises the incarnation of a refusal
 *   timeout role
 */
class World {
  readonly lines: string[] = []
  readonly #ends = new Map<Role, { core: Core; secret: string }>()
  readonly #wire: { to: Role; message: unknown }[] = []
  readonly #last = new Map<Role, unknown>()
  #tamper = ''

  run(command: string): void {
    const [verb = '', ...words] = command.split(/\s+/)
    const role = (words[0] ?? '') as Role
    if (verb === 'initiator' || verb === 'acceptor') this.#make(verb, words)
    else if (verb === 'give')
      this.#step(role, { type: 'message', message: stranger(words.slice(1).join(' ')) })
    else if (verb === 'reflect') this.#step(role, { type: 'message', message: this.#last.get(role) })
    else if (verb === 'timeout') this.#step(role, { type: 'timeout' })
    else if (verb === 'tamper') this.#tamper = role
    else if (verb === 'deliver') this.#deliver()
    else if (verb === 'start' || verb === 'run') {
      for (const end of this.#ends.keys()) this.#step(end, { type: 'start' })
      while (verb === 'run' && this.#wire.length > 0) this.#deliver()
    } else throw new Error(`No such command: ${command}`)
  }

  #make(role: Role, words: readonly string[]): void {
    const given = new Map(
      words.map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
    )
    const [versionMin = 1, versionMax = 1] = (given.get('versions') ?? '1-1').split('-').map(Number)
    const node = given.get('node') ?? (role === 'initiator' ? 'b' : 'a')
    const [name, incarnation, host, down] = (given.get('known') ?? '').split(':')
    const core = new HandshakeCore({
      role,
      hello: {
        versionMin,
        versionMax,
        cluster: given.get('cluster') ?? 'farm',
        node,
        incarnation: Number(given.get('incarnation') ?? 10),
        address: given.get('address') ?? `host-${node}`,
        features: (given.get('features') ?? '').split(',').filter((feature) => feature !== ''),
        nonce: new Uint8Array(32).fill(Number(given.get('nonce') ?? (role === 'initiator' ? 1 : 2))),
        authenticated: given.has('secret'),
        lane: given.get('lane') as 'data' | undefined,
        connection: given.has('connection')
          ? new Uint8Array(32).fill(Number(given.get('connection')))
          : undefined,
        roles: given.get('roles')?.split(','),
        appVersion: given.get('app'),
        phase: given.get('phase') as 'joining' | undefined,
        authenticatedBy: given.get('by') as 'tls' | undefined,
      },
      authenticationRequired: given.has('required'),
      admit: (peer) =>
        given.has('admit') && given.get('admit') !== peer.node
          ? { code: 'CLUSTER_NOT_ADMITTED', reason: `"${peer.node}" may not come in` }
          : undefined,
      known: (asked) =>
        asked === name
          ? { incarnation: Number(incarnation), address: host ?? '', down: down === 'down' }
          : undefined,
    })
    this.#ends.set(role, { core, secret: given.get('secret') ?? '' })
  }

  #deliver(): void {
    const next = this.#wire.shift()
    if (next === undefined) return
    let message = next.message as {
      type: string
      mac?: Uint8Array
      refusal?: { highestIncarnation: number } | null
    }
    if (this.#tamper !== '' && message.type === 'proof') {
      if (this.#tamper === 'mac') message.mac?.set([(message.mac[0] ?? 0) ^ 1])
      if (this.#tamper === 'refusal')
        message = { ...message, refusal: { ...message.refusal, highestIncarnation: 9e15 } }
      this.#tamper = ''
    }
    this.#step(next.to, { type: 'message', message })
  }

  #step(role: Role, input: Input): void {
    const end = this.#ends.get(role)
    if (end === undefined) throw new Error(`No ${role}`)
    for (const effect of end.core.step(input)) this.#carryOut(role, end, effect)
  }

  #carryOut(role: Role, end: { core: Core; secret: string }, effect: Effect): void {
    if (effect.type === 'sign') {
      this.#step(role, { type: 'signed', mac: hmac(end.secret, effect.bytes) })
    } else if (effect.type === 'verify') {
      this.#step(role, {
        type: 'verified',
        ok: Buffer.from(effect.mac).equals(hmac(end.secret, effect.bytes)),
      })
    } else if (effect.type === 'send') {
      const bytes = encode(effect.message)
      if (bytes.length > handshakeBytesMax || inspectCbor(bytes) !== undefined) throw new Error('unsendable')
      this.#last.set(role, decode(bytes))
      this.lines.push(`${role} -> ${show(effect.message)}`)
      this.#wire.push({ to: role === 'initiator' ? 'acceptor' : 'initiator', message: decode(bytes) })
    } else {
      this.lines.push(`${role}: ${show(effect)}`)
    }
  }
}

function hmac(secret: string, bytes: Uint8Array): Uint8Array {
  return createHmac('sha256', secret).update(bytes).digest()
}

function stranger(json: string): unknown {
  return JSON.parse(json, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith('#')
      ? new Uint8Array(32).fill(Number(value.slice(1)))
      : value,
  )
}

function show(effect: object): string {
  const { type, ...rest } = effect as { type: string }
  const fields = Object.entries(rest).flatMap(([key, value]: [string, unknown]) => {
    if (key === 'nonce' || key === 'mac' || value === undefined) return []
    return [
      `${key}=${JSON.stringify(value, (_, part: unknown) => (part instanceof Uint8Array ? `#${part[0]}` : part))}`,
    ]
  })
  return [type, ...fields].join(' ')
}

for (const file of readdirSync(transcripts)
  .filter((name) => name.endsWith('.txt'))
  .sort()) {
  void test(`HandshakeCore transcript ${file}`, (t) => {
    const url = new URL(file, transcripts)
    const source = readFileSync(url, 'utf8')
    const cases = source.split(/\n{2,}(?=#)/)
    const written = cases.map((part) => {
      const [commands = '', expected = ''] = part.trimEnd().split('\n----\n')
      const world = new World()
      for (const line of commands.split('\n')) if (line !== '' && !line.startsWith('#')) world.run(line)
      const found = world.lines.join('\n')
      if (process.env['UPDATE_TRANSCRIPTS'] === undefined)
        t.equal(found, expected, commands.split('\n')[0] ?? file)
      return `${commands.replace(/\n----$/, '')}\n----\n${found}`
    })
    if (process.env['UPDATE_TRANSCRIPTS'] !== undefined) writeFileSync(url, `${written.join('\n\n')}\n`)
    t.ok(cases.length > 0)
    t.end()
  })
}

function core(role: Role, authenticated = true): Core {
  return new HandshakeCore({
    role,
    hello: {
      versionMin: 1,
      versionMax: 1,
      cluster: 'farm',
      node: role,
      incarnation: 1,
      address: 'x',
      features: [],
      nonce: new Uint8Array(32).fill(role === 'initiator' ? 1 : 2),
      authenticated,
    },
    known: () => undefined,
  })
}

void test('HandshakeCore signs both hellos under a label of its role', (t) => {
  const initiator = core('initiator')
  const acceptor = core('acceptor')
  const hello = (from: Core): unknown => {
    const [effect] = from.step({ type: 'start' })
    return effect?.type === 'send' ? effect.message : undefined
  }
  acceptor.step({ type: 'start' })
  const [answer] = acceptor.step({ type: 'message', message: hello(initiator) })
  const [sign] = initiator.step({
    type: 'message',
    message: answer?.type === 'send' ? answer.message : undefined,
  })
  const [proof] = initiator.step({ type: 'signed', mac: new Uint8Array(32) })
  const [verify] = acceptor.step({
    type: 'message',
    message: proof?.type === 'send' ? proof.message : undefined,
  })
  t.ok(sign?.type === 'sign' && verify?.type === 'verify')
  if (sign?.type !== 'sign' || verify?.type !== 'verify') return t.end()
  t.strictSame(verify.bytes, sign.bytes, 'both ends compute the same bytes')
  const [label, first, second] = decode(sign.bytes) as [string, unknown[], unknown[]]
  t.equal(label, 'understudy.1 handshake initiator')
  t.strictSame([first[3], second[3]], ['initiator', 'acceptor'])
  t.strictSame([first[7], second[7]], [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)])
  const [own] = acceptor.step({ type: 'verified', ok: true })
  t.equal(own?.type === 'sign' ? (decode(own.bytes) as unknown[])[0] : '', 'understudy.1 handshake acceptor')
  return t.end()
})

void test('HandshakeCore signs all that is told since version 2 under a label of that form', (t) => {
  const nonce = new Uint8Array(32).fill(7)
  const hello = {
    type: 'hello' as const,
    versionMin: 1,
    versionMax: 2,
    cluster: 'farm',
    node: 'n',
    incarnation: 1,
    address: 'x',
    features: [],
    nonce,
    authenticated: true,
  }
  const told = {
    lane: 'data' as const,
    connection: nonce,
    roles: ['web'],
    appVersion: '3',
    phase: 'joining' as const,
  }
  t.same(helloFields(hello, 2), [...helloFields(hello, 1), 'control', null, [], '', 'alive', 'secret'])
  t.same(helloFields({ ...hello, ...told }, 1), helloFields(hello, 1))
  t.same(helloFields({ ...hello, ...told }, 2).slice(11), ['data', nonce, ['web'], '3', 'joining', 'secret'])
  t.equal(helloFields({ ...hello, authenticated: false, authenticatedBy: 'tls' }, 2).at(-1), 'tls')
  const label = (version: number): unknown =>
    (decode(handshakeTranscript('acceptor', version, hello, hello, null)) as unknown[])[0]
  t.same(
    [label(1), label(2), label(3)],
    ['1', '2', '2'].map((form) => `understudy.${form} handshake acceptor`),
  )
  t.end()
})

void test('HandshakeCore refuses every malformed field, without throwing', (t) => {
  const good = {
    type: 'hello',
    versionMin: 1,
    versionMax: 2,
    cluster: 'farm',
    node: 'n',
    incarnation: 1,
    address: 'x',
    features: ['f'],
    nonce: new Uint8Array(32),
    authenticated: true,
  }
  const bad: unknown[] = [
    undefined,
    null,
    1,
    'hello',
    [],
    {},
    { type: 'nope' },
    { type: 'proof' },
    { type: 'refuse' },
    { type: 'refuse', code: 1, reason: 'r' },
    { type: 'refuse', code: 'C', reason: 'r'.repeat(2_049) },
    { type: 'refuse', code: 'C', reason: 'r', highestIncarnation: -1 },
    ...Object.keys(good).map((key) => ({ ...good, [key]: undefined })),
    { ...good, versionMin: 3 },
    { ...good, versionMax: 1.5 },
    { ...good, cluster: '' },
    { ...good, cluster: 'c'.repeat(513) },
    { ...good, node: 'a b' },
    { ...good, node: '__proto__' },
    { ...good, node: '.' },
    { ...good, node: 'n'.repeat(129) },
    { ...good, incarnation: -1 },
    { ...good, incarnation: 2 ** 60 },
    { ...good, incarnation: 1n },
    { ...good, features: Array(65).fill('f') },
    { ...good, features: ['f'.repeat(65)] },
    { ...good, nonce: new Uint8Array(31) },
    { ...good, nonce: 'n' },
    { ...good, authenticated: 1 },
    { ...good, cluster: '\ud800' },
    { ...good, features: ['\udfff'] },
    { ...good, lane: 'express' },
    { ...good, lane: null },
    { ...good, lane: 'data' },
    { ...good, lane: 'data', connection: new Uint8Array(31) },
    { ...good, lane: 'control', connection: new Uint8Array(32) },
    { ...good, versionMax: 1, lane: 'data', connection: new Uint8Array(32) },
    { ...good, roles: 'web' },
    { ...good, roles: [''] },
    { ...good, roles: [7] },
    { ...good, roles: ['r'.repeat(65)] },
    { ...good, roles: Array(17).fill('r') },
    { ...good, appVersion: 1 },
    { ...good, appVersion: 'v'.repeat(65) },
    { ...good, phase: 'leaving' },
    { ...good, authenticatedBy: 'none' },
    { ...good, authenticatedBy: 'tls' },
    { ...good, authenticatedBy: 'word of honour' },
    { ...good, authenticated: false, authenticatedBy: 'secret' },
    { ...good, weight: null },
    { ...good, weight: Number.NaN },
    { ...good, weight: 1_001 },
    { ...good, zone: 'z'.repeat(129) },
  ]
  for (const message of bad) {
    const acceptor = core('acceptor')
    acceptor.step({ type: 'start' })
    t.equal(acceptor.step({ type: 'message', message }).at(-1)?.type, 'refused')
    t.equal(acceptor.status(), 'refused')
    t.strictSame(acceptor.step({ type: 'message', message: good }), [], 'and it is over')
  }
  const acceptor = core('acceptor')
  acceptor.step({ type: 'start' })
  t.equal(acceptor.step({ type: 'message', message: good })[0]?.type, 'send', 'the good one passes')
  t.end()
})

void test('HandshakeCore checks its own options', (t) => {
  const hello = {
    versionMin: 1,
    versionMax: 1,
    cluster: 'c',
    node: 'a',
    incarnation: 1,
    address: 'x',
    features: [],
    nonce: new Uint8Array(32),
    authenticated: false,
  }
  const make =
    ({ role = 'initiator', ...more }: { readonly role?: Role; readonly [key: string]: unknown }) =>
    () =>
      new HandshakeCore({ role, hello: { ...hello, ...more }, known: () => undefined })
  t.throws(make({ nonce: new Uint8Array(16) }), /nonce of 16 bytes: it must be 32/)
  t.throws(make({ node: 'a b' }), /"a b"/)
  t.throws(make({ node: '__proto__' }), /"__proto__".*a letter or digit first/)
  t.throws(make({ roles: [''] }), /bad hello: bad roles/)
  t.throws(
    make({ lane: 'data', versionMax: 2, connection: new Uint8Array(32), role: 'acceptor' }),
    /lane "data"/,
  )
  t.equal(new Set(refusalCodes).size, 11)
  t.end()
})

void test('judgeIncarnation follows the table of the design', (t) => {
  const known = (incarnation: number, address: string, down: boolean) => ({ incarnation, address, down })
  const cases: [number, string, ReturnType<typeof known> | undefined, string | undefined][] = [
    [1, 'x', undefined, undefined],
    [6, 'x', known(5, 'x', false), undefined],
    [5, 'x', known(5, 'x', false), undefined],
    [4, 'x', known(5, 'x', false), 'CLUSTER_STALE_INCARNATION'],
    [5, 'x', known(5, 'x', true), 'CLUSTER_STALE_INCARNATION'],
    [6, 'x', known(5, 'x', true), undefined],
    [6, 'y', known(5, 'x', true), undefined],
    [6, 'y', known(5, 'x', false), 'CLUSTER_NODE_NAME_TAKEN'],
    [4, 'y', known(5, 'x', true), 'CLUSTER_STALE_INCARNATION'],
  ]
  const over = { ...known(5, 'x', true), mayReturn: true }
  cases.push(
    [5, 'x', over, undefined],
    [6, 'y', over, undefined],
    // Whoever takes the number that it is told, plus 1, must not be the one that is over.
    [4, 'x', over, 'CLUSTER_STALE_INCARNATION'],
  )
  for (const [incarnation, address, before, code] of cases) {
    const refusal = judgeIncarnation('n', { incarnation, address }, before)
    t.equal(refusal?.code, code, `${incarnation} at ${address} after ${JSON.stringify(before)}`)
    t.equal(refusal?.highestIncarnation, code === 'CLUSTER_STALE_INCARNATION' ? 5 : undefined)
  }
  t.end()
})
