/** The handshake on a hostile network: who replays, reflects, alters, guesses, floods or waits, and gets nothing. */
import fc from 'fast-check'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { decode, encode } from '@understudy/runtime/codec'
import { seededRandom } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { encodeHelloV1 } from '../fixtures/wire-v1/handshake.ts'
import { beginEnd, cameTo, pairSecret, shakePair, type End, type Role } from '../support/handshake-pair.ts'
import { sourceModule } from '../support/source-module.ts'

const { secretRing, verifyProof } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/secret-ring.ts')
>('cluster', 'wire/secret-ring')
const { joinJudge } = await sourceModule<typeof import('../../packages/cluster/src/wire/join-policy.ts')>(
  'cluster',
  'wire/join-policy',
)

type Message = { readonly type: string; readonly [key: string]: unknown }
type Altered = (message: Message) => Message

const roles = ['initiator', 'acceptor'] as const
const read = (frame: Uint8Array): Message => decode(frame) as Message
const isWell = (end: End): boolean => cameTo(end) === 'established'
/** What both ends say when all goes well, every field other than its default. */
const rich = {
  hello: {
    features: ['lanes', 'x'],
    weight: 2,
    zone: 'east',
    roles: ['web'],
    appVersion: '3.1',
    phase: 'joining' as const,
  },
}
const laneOf = { hello: { ...rich.hello, lane: 'data' as const, connection: new Uint8Array(32).fill(7) } }

/** All frames of one honest handshake, by who said them. */
function overheard(): Readonly<Record<Role, readonly Uint8Array[]>> {
  const said: Record<Role, Uint8Array[]> = { initiator: [], acceptor: [] }
  const pair = shakePair(rich, rich, (frame, from) => (said[from].push(frame.slice()), [frame]))
  if (!isWell(pair.initiator) || !isWell(pair.acceptor)) throw new Error('the honest handshake failed')
  return said
}

/** Plays `frames` to an end, each when the end has said something or there is nothing else to wait for. */
function play(role: Role, frames: readonly Uint8Array[]): End {
  const end = beginEnd(role, rich)
  for (const frame of frames) end.hear(frame.slice())
  return end
}

void test('replay: all that an honest peer said is worth nothing in another handshake, in either role', async (t) => {
  const said = overheard()
  const [first, second] = [play('acceptor', said.initiator), play('initiator', said.acceptor)]
  t.equal(cameTo(first), 'CLUSTER_WRONG_SECRET')
  t.equal(cameTo(second), 'CLUSTER_WRONG_SECRET')
  const [hello, , accept] = said.initiator
  if (hello === undefined || accept === undefined) throw new Error('too few words')
  t.equal(cameTo(play('acceptor', [hello, accept])), 'CLUSTER_BAD_HANDSHAKE', 'the proof left out')
  t.equal(cameTo(play('acceptor', [hello, hello])), 'CLUSTER_BAD_HANDSHAKE', 'the hello twice')
})

void test('reflection: an end that hears its own words, or those of its role elsewhere, lets nobody in', async (t) => {
  for (const role of roles) {
    const end = beginEnd(role)
    if (role === 'acceptor') end.hear(overheard().initiator[0] as Uint8Array)
    for (let turn = 0; turn < 4; turn++) for (const frame of end.said.splice(0)) end.hear(frame)
    t.equal(cameTo(end), 'CLUSTER_BAD_HANDSHAKE', `the ${role} hears itself`)
  }
  // Two acceptors (or two initiators) played against each other by somebody in the middle, who has no secret.
  for (const role of roles) {
    const [one, two] = [beginEnd(role, { hello: { node: 'x' } }), beginEnd(role, { hello: { node: 'y' } })]
    if (role === 'acceptor') {
      const [hello = new Uint8Array(0)] = overheard().initiator
      one.hear(hello)
      two.hear(hello)
    }
    for (let turn = 0; turn < 4; turn++) {
      for (const frame of one.said.splice(0)) two.hear(frame)
      for (const frame of two.said.splice(0)) one.hear(frame)
    }
    t.notOk(isWell(one) || isWell(two), `two ${role}s`)
  }
  // Who says a hello of his own, and the proof that he is given back: both ends sign the same two hellos.
  const [hello = new Uint8Array(0)] = overheard().acceptor
  const victim = beginEnd('initiator')
  victim.said.splice(0)
  victim.hear(hello)
  const proofs = victim.said.splice(0)
  t.equal(proofs.length, 1, 'it proves itself to anybody')
  for (const proof of proofs) victim.hear(proof)
  t.equal(cameTo(victim), 'CLUSTER_WRONG_SECRET', 'its own proof proves nothing to it')
})

/** Another value for each field of a hello: one that is well-formed, so that only what is signed can tell. */
const otherValues: Readonly<Record<string, readonly unknown[]>> = {
  versionMin: [0, 2],
  versionMax: [1, 3, 9],
  cluster: ['barn'],
  node: ['mallory'],
  incarnation: [2, 2 ** 52],
  address: ['ws://10.6.6.6:7001'],
  features: [[], ['lanes'], ['lanes', 'x', 'y']],
  nonce: [new Uint8Array(32).fill(9)],
  authenticated: [false],
  weight: [1_000, undefined],
  zone: ['west', undefined, ''],
  lane: ['bulk', 'control', undefined],
  connection: [new Uint8Array(32).fill(8), null, undefined],
  roles: [['admin'], [], undefined],
  appVersion: ['3.2', undefined],
  phase: ['alive', undefined],
  authenticatedBy: ['none', 'tls'],
}

void test('downgrade and forgery: whoever alters any field of either hello on the way, neither end establishes', async (t) => {
  for (const [kind, initiator] of [
    ['control', rich],
    ['data', laneOf],
  ] as const) {
    const fields = new Set<string>()
    const notes = (frame: Uint8Array, from: Role, index: number): readonly Uint8Array[] => {
      if (index === 0) for (const key of Object.keys(read(frame))) fields.add(key)
      t.ok(['initiator', 'acceptor'].includes(from))
      return [frame]
    }
    const honest = shakePair(initiator, rich, notes)
    t.ok(isWell(honest.initiator) && isWell(honest.acceptor))
    t.same(
      [...fields].filter((field) => field !== 'type' && !Object.hasOwn(otherValues, field)),
      [],
      'every field is among those that are altered',
    )
    for (const victim of roles) {
      for (const [field, values] of Object.entries(otherValues)) {
        for (const value of values) {
          let changed = false
          const pair = shakePair(initiator, rich, (frame, from, index) => {
            if (from !== victim || index !== 0) return [frame]
            const altered = encode({ ...read(frame), [field]: value })
            changed = Buffer.compare(altered, encode(read(frame))) !== 0
            return [altered]
          })
          // Left out is the same as the default.
          const isDefault = value === undefined || value === null || value === 'control'
          if (!changed || (kind === 'control' && isDefault && ['lane', 'connection'].includes(field)))
            continue
          const what = `${kind}: ${field} of the ${victim} becomes ${JSON.stringify(value)}`
          t.notOk(isWell(pair.initiator), `${what}: the initiator`)
          t.notOk(isWell(pair.acceptor), `${what}: the acceptor`)
        }
      }
    }
  }
})

void test('downgrade: talking both ends down to version 1 together is found out, too', async (t) => {
  const down: Altered = (message) => ({ ...message, versionMax: 1 })
  const pair = shakePair(rich, rich, (frame, _, index) => [index === 0 ? encode(down(read(frame))) : frame])
  t.same([cameTo(pair.initiator), cameTo(pair.acceptor)], ['CLUSTER_WRONG_SECRET', 'CLUSTER_WRONG_SECRET'])
  const bare = shakePair(rich, rich, (frame, _, index) => {
    if (index !== 0) return [frame]
    const { versionMin, cluster, node, incarnation, address, features, nonce, authenticated, weight, zone } =
      read(frame)
    const old = { versionMin, versionMax: 1, cluster, node, incarnation, address, features, nonce }
    return [encodeHelloV1({ ...old, authenticated, weight, zone } as Parameters<typeof encodeHelloV1>[0])]
  })
  t.notOk(isWell(bare.initiator) || isWell(bare.acceptor))
})

void test('forgery: a verdict or a proof that was altered, added or taken out on the way', async (t) => {
  const refuses = { admits: joinJudge({ names: ['nobody'] }) }
  const cases: [string, Role, number, Altered][] = [
    ['the refusal taken out', 'acceptor', 1, (message) => ({ ...message, refusal: null })],
    [
      'another code',
      'acceptor',
      1,
      (message) => ({
        ...message,
        refusal: { code: 'CLUSTER_STALE_INCARNATION', reason: 'r', highestIncarnation: 9e15 },
      }),
    ],
    ['another mac', 'initiator', 1, (message) => ({ ...message, mac: new Uint8Array(32) })],
    ['accept instead of the proof', 'acceptor', 1, () => ({ type: 'accept' })],
  ]
  for (const [what, victim, at, alter] of cases) {
    const pair = shakePair(rich, { ...rich, ...refuses }, (frame, from, index) => [
      from === victim && index === at ? encode(alter(read(frame))) : frame,
    ])
    t.notOk(isWell(pair.initiator) || isWell(pair.acceptor), what)
    const [outcome] = pair.initiator.outcomes
    if (outcome?.type === 'refused') {
      t.equal(outcome.refusal.highestIncarnation, undefined, `${what}: no number is believed`)
    }
  }
  const added = shakePair(rich, rich, (frame, from, index) => {
    const refusal = { code: 'CLUSTER_STALE_INCARNATION', reason: 'r', highestIncarnation: 9e15 }
    return [from === 'acceptor' && index === 1 ? encode({ ...read(frame), refusal }) : frame]
  })
  t.match(added.initiator.outcomes, [{ refusal: { code: 'CLUSTER_WRONG_SECRET' } }])
})

void test('a control message before the handshake is over is no message, whatever it says', async (t) => {
  const said = overheard()
  const [hello = new Uint8Array(0)] = said.initiator
  const envelopes = [
    [[12, []]],
    [[11, 'bye']],
    [[10, 1, 0]],
    [[13, 1]],
    [[14, 1]],
    [[15, [0, '/user/x', null], 0]],
    [[16]],
    [[17, 1, 1, '/user/x']],
    [[2, [0, '/user/x', null], 0, []]],
    [],
  ]
  for (const envelope of envelopes) {
    const frames = [encode(envelope)]
    t.equal(cameTo(play('acceptor', frames)), 'CLUSTER_BAD_HANDSHAKE', 'as the first word')
    t.equal(cameTo(play('acceptor', [hello, ...frames])), 'CLUSTER_BAD_HANDSHAKE', 'instead of the proof')
    t.equal(cameTo(play('initiator', frames)), 'CLUSTER_BAD_HANDSHAKE', 'instead of the hello')
    const late = shakePair(rich, rich, (frame, from, index) => [
      from === 'initiator' && index === 2 ? encode(envelope) : frame,
    ])
    t.equal(cameTo(late.acceptor), 'CLUSTER_BAD_HANDSHAKE', 'instead of the accept')
  }
})

void test('frames that are too large, too deep, or of tags that nobody has', async (t) => {
  const text = (value: string): number[] => [0x60 | value.length, ...new TextEncoder().encode(value)]
  const cases: [string, Uint8Array][] = [
    ['16,385 bytes', encode({ type: 'hello', cluster: 'x'.repeat(16_385) })],
    ['1 MB of nothing', new Uint8Array(2 ** 20)],
    ['10,000 levels', new Uint8Array(10_000).fill(0x81)],
    ['33 levels in a field', Uint8Array.from([0xa1, ...text('type'), ...Array<number>(40).fill(0x81), 0])],
    ['a list said to have 4 billion', Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff)],
    ['a map said to have 4 billion', Uint8Array.of(0xba, 0xff, 0xff, 0xff, 0xff)],
    ['a text without an end', Uint8Array.of(0x7f, 0x61, 0x61)],
    ['a date', Uint8Array.of(0xc1, 0x00)],
    ['a set', Uint8Array.of(0xd9, 0x01, 0x02, 0x80)],
    ['a ref', Uint8Array.of(0xd9, 0x01, 0x00, 0x80)],
    ['two items', Uint8Array.of(0xa0, 0xa0)],
    ['nothing', new Uint8Array(0)],
  ]
  for (const [what, frame] of cases) {
    for (const role of roles) {
      const end = play(role, [frame])
      t.equal(cameTo(end), 'CLUSTER_BAD_HANDSHAKE', `${what} to the ${role}`)
      t.same(end.closed, ['CLUSTER_BAD_HANDSHAKE'])
    }
  }
  // A true hello with something in it that nobody knows: only how large it is tells the two apart.
  const [hello = new Uint8Array(0)] = overheard().initiator
  const padded = (bytes: number): Uint8Array => {
    const least = encode({ ...read(hello), more: new Uint8Array(1_000) }).length - 1_000
    return encode({ ...read(hello), more: new Uint8Array(bytes - least) })
  }
  t.same([padded(16_384).length, padded(16_385).length], [16_384, 16_385])
  t.equal(cameTo(play('acceptor', [padded(16_384)])), 'open', 'the largest is read')
  t.equal(cameTo(play('acceptor', [padded(16_385)])), 'CLUSTER_BAD_HANDSHAKE', 'one more byte is not')
})

void test('keys and names that pollute prototypes do nothing', async (t) => {
  const said = overheard()
  const [hello = new Uint8Array(0), proof = new Uint8Array(0)] = said.initiator
  const withKey = (frame: Uint8Array, key: string): Uint8Array => {
    const name = new TextEncoder().encode(key)
    const [head = 0] = frame
    // One more property in front: a map of fewer than 23 has its length in its first byte.
    const value = encode({ authenticated: true, refusal: null, roles: ['admin'] })
    return Uint8Array.from([head + 1, 0x60 | name.length, ...name, ...value, ...frame.subarray(1)])
  }
  for (const key of ['__proto__', 'constructor', 'prototype']) {
    t.equal(cameTo(play('acceptor', [withKey(hello, key)])), 'CLUSTER_BAD_HANDSHAKE', `${key} in a hello`)
    t.equal(
      cameTo(play('acceptor', [hello, withKey(proof, key)])),
      'CLUSTER_BAD_HANDSHAKE',
      `${key} in a proof`,
    )
  }
  t.not(cameTo(play('acceptor', [withKey(hello, 'toString')])), 'CLUSTER_BAD_HANDSHAKE', 'others are ignored')
  for (const node of ['__proto__', '.', '..', '-x', '_x']) {
    const named = encode({ ...read(hello), node })
    t.equal(cameTo(play('acceptor', [named])), 'CLUSTER_BAD_HANDSHAKE', `a node named ${node}`)
  }
  t.equal(({} as { roles?: unknown }).roles, undefined)
})

void test('nonces, macs and ids of any size but 32 bytes', async (t) => {
  const said = overheard()
  const [hello = new Uint8Array(0), proof = new Uint8Array(0)] = said.initiator
  for (const size of [0, 1, 31, 33, 64, 4_096]) {
    const bytes = new Uint8Array(size)
    const nonce = encode({ ...read(hello), nonce: bytes })
    t.equal(cameTo(play('acceptor', [nonce])), 'CLUSTER_BAD_HANDSHAKE', `a nonce of ${size}`)
    const connection = encode({ ...read(hello), lane: 'data', connection: bytes })
    t.equal(cameTo(play('acceptor', [connection])), 'CLUSTER_BAD_HANDSHAKE', `a connection of ${size}`)
    const mac = encode({ ...read(proof), mac: bytes })
    t.equal(cameTo(play('acceptor', [hello, mac])), 'CLUSTER_BAD_HANDSHAKE', `a mac of ${size}`)
  }
})

void test('slow: one deadline for the whole handshake, which no word puts off', async (t) => {
  const [hello = new Uint8Array(0)] = overheard().initiator
  for (const role of roles) {
    const platform = virtualPlatform()
    const end = beginEnd(role, { clock: platform.clock, timeoutMs: 1_000 })
    await platform.advance(600)
    if (role === 'acceptor') end.hear(hello)
    await platform.advance(399)
    t.equal(cameTo(end), 'open')
    await platform.advance(1)
    t.equal(cameTo(end), 'CLUSTER_HANDSHAKE_TIMEOUT', role)
    t.same(end.closed, ['CLUSTER_HANDSHAKE_TIMEOUT'])
    t.equal(platform.pendingTimers(), 0)
    const words = end.said.length
    end.hear(hello)
    t.equal(end.said.length, words, 'and nothing is heard any more')
  }
})

void test('timing: a proof is compared with every secret, by a comparison that takes one time', async (t) => {
  const ring = secretRing({
    use: 'first secret of all',
    accept: ['second secret of all', 'third secret of all'],
  })
  const bytes = new Uint8Array(64)
  const hashes: string[] = []
  const compared: number[] = []
  const counting = {
    hmac: (secret: string) => (hashes.push(secret), new TextEncoder().encode(secret)),
    equal: (a: Uint8Array, b: Uint8Array) => compared.push(a.length) > 0 && Buffer.compare(a, b) === 0,
  }
  for (const [place, secret] of [...ring.taken, 'none of them at all'].entries()) {
    hashes.length = compared.length = 0
    const fits = verifyProof(ring, bytes, new TextEncoder().encode(secret), counting)
    t.equal(fits, place < 3)
    t.same(hashes, ring.taken, 'all of them, whichever it was')
    t.equal(compared.length, 3)
  }
})

void test('who has not shown the secret learns one thing of its proof: that it is wrong', async (t) => {
  const known = (): { incarnation: number; address: string; down: boolean } => ({
    incarnation: 99,
    address: 'ws://10.9.9.9:1',
    down: false,
  })
  const admits = joinJudge({ names: ['nobody'], check: () => 'a reason of ours' })
  const [hello = new Uint8Array(0), proof = new Uint8Array(0)] = overheard().initiator
  const answers = [{}, { known }, { admits }, { known, admits }].map((own) => {
    const end = beginEnd('acceptor', { ...own, hello: { nonce: new Uint8Array(32).fill(3) } })
    end.hear(hello.slice())
    end.hear(proof.slice())
    return end.said.map((frame) => Buffer.from(frame).toString('hex'))
  })
  for (const answer of answers) t.same(answer, answers[0])
  t.equal(answers[0]?.length, 2)
})

const random = seededRandom('handshake-fuzz')

/** A frame with a fault in it; sometimes the fault is that it is another one's. */
function mutated(frames: readonly Uint8Array[]): Uint8Array {
  const pick = (): Uint8Array => frames[random.int(0, frames.length - 1)] as Uint8Array
  const frame = pick().slice()
  switch (random.int(0, 7)) {
    case 0:
      return frame.subarray(0, random.int(0, frame.length - 1))
    case 1: {
      const other = pick()
      const [cut, from] = [random.int(0, frame.length), random.int(0, other.length)]
      return Uint8Array.from([...frame.subarray(0, cut), ...other.subarray(from)])
    }
    case 2: {
      const at = random.int(0, frame.length)
      return Uint8Array.from([...frame.subarray(0, at), random.int(0, 255), ...frame.subarray(at)])
    }
    case 3:
      return Uint8Array.from({ length: random.int(0, 40) }, () => random.int(0, 255))
    case 4: {
      const message = read(frame)
      const keys = Object.keys(message)
      const key = keys[random.int(0, keys.length - 1)] ?? ''
      const values = [
        null,
        0,
        -1,
        1.5,
        2 ** 53,
        '',
        'x'.repeat(600),
        [],
        {},
        true,
        new Uint8Array(32),
        [[[]]],
      ]
      return encode({ ...message, [key]: values[random.int(0, values.length - 1)] })
    }
    case 5:
      return frame
    default:
      for (let flips = random.int(1, 3); flips > 0; flips--) {
        const at = random.int(0, frame.length - 1)
        frame[at] = (frame[at] as number) ^ (1 << random.int(0, 7))
      }
      return frame
  }
}

void test('200,000 mutated frames from a seed: nothing is thrown, nobody comes in, memory stays flat', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const said = overheard()
  const all = [...said.initiator, ...said.acceptor]
  const counts = new Map<string, number>()
  let frames = 0
  let before = 0
  while (frames < 200_000) {
    const role = roles[random.int(0, 1)] ?? 'initiator'
    const end = beginEnd(role)
    // Half of them get as far as anybody without the secret does: to the proof.
    const hello = said[role === 'initiator' ? 'acceptor' : 'initiator'][0] as Uint8Array
    if (random.int(0, 1) === 0) end.hear(hello)
    do {
      end.hear(mutated(all))
      frames++
    } while (end.outcomes.length === 0)
    const outcome = cameTo(end)
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
    if (before === 0 && frames > 20_000) {
      collect()
      before = process.memoryUsage().heapUsed
    }
  }
  collect()
  const grownKib = Math.round((process.memoryUsage().heapUsed - before) / 1_024)
  t.equal(counts.get('established'), undefined)
  t.ok((counts.get('CLUSTER_WRONG_SECRET') ?? 0) > 1_000, 'proofs were compared')
  t.ok((counts.get('CLUSTER_BAD_HANDSHAKE') ?? 0) > 100_000)
  t.ok(grownKib < 1_024, `the heap grew by ${grownKib} KiB`)
  t.comment([...counts].map(([code, count]) => `${code} ${count}`).join(', '))
})

void test('a handshake under way with any one bit flipped: neither end believes anything else than was said', async (t) => {
  fc.assert(
    fc.property(fc.constantFrom(...roles), fc.nat(1), fc.nat(), fc.nat(7), (victim, turn, at, bit) => {
      const pair = shakePair(rich, rich, (frame, from, index) => {
        if (from !== victim || index !== turn) return [frame]
        const altered = frame.slice()
        altered[at % altered.length] = (altered[at % altered.length] as number) ^ (1 << bit)
        return [altered]
      })
      const honest = { roles: ['web'], version: '3.1', phase: 'joining', zone: 'east', weight: 2 }
      for (const { outcomes } of [pair.initiator, pair.acceptor]) {
        const [outcome] = outcomes
        if (outcome?.type !== 'established') continue
        for (const [key, value] of Object.entries(honest)) {
          if (JSON.stringify(Reflect.get(outcome.peer, key)) !== JSON.stringify(value)) return false
        }
      }
      return true
    }),
    { numRuns: 2_000, seed: 4 },
  )
  t.not(pairSecret, '')
})
