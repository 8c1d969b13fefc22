/** A member gone bad: what it can do with the secret and a link of its own, on virtual time, and where that ends. */
import { nodeAddress, type ClusterNode, type Link } from '@understudy/cluster'
import { actor, memoryMetrics } from '@understudy/runtime'
import { decode, encode } from '@understudy/runtime/codec'
import { test } from 'tap'
import { fuzzKind, fuzzRecord, type FuzzPeer } from '../support/fuzz-peer.ts'
import { fuzzGreeting, fuzzScene, fuzzSecret, Tally, tally, type FuzzScene } from '../support/fuzz-scene.ts'
import { sourceModule } from '../support/source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
)
const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)

const max = Number.MAX_SAFE_INTEGER
let lives = 1
/** Another life of mallory, so that its end before does not count. */
const anew = () => ({ incarnation: ++lives })

/** Resolves with the code with which the peer's link was ended. */
async function cut({ cluster }: FuzzScene, peer: FuzzPeer): Promise<string | undefined> {
  await cluster.until(() => peer.ended() !== undefined)
  return peer.ended()
}

void test('a lane with a guessed or stolen connection id: not without the secret, not under another name or life', async (t) => {
  const scene = await fuzzScene(t)
  const { overheard, insider, isWell, b, cluster } = scene
  const [hello] = overheard
  const { nonce } = decode(hello ?? new Uint8Array(0)) as { readonly nonce: Uint8Array }
  const asB = { node: 'b', incarnation: b.incarnation, address: b.address }
  const guessed = cluster.platform.secureBytes(32)
  for (const lane of ['data', 'bulk'] as const) {
    for (const [what, own, code, withSecret] of [
      ['stolen, without the secret', { ...asB, connection: nonce }, 'CLUSTER_WRONG_SECRET', null],
      [
        'stolen, with another secret',
        { ...asB, connection: nonce },
        'CLUSTER_WRONG_SECRET',
        'another secret of ours',
      ],
      ['guessed', { ...asB, connection: guessed }, 'CLUSTER_NO_SUCH_CONNECTION', fuzzSecret],
      ['stolen, as mallory', { connection: nonce }, 'CLUSTER_NO_SUCH_CONNECTION', fuzzSecret],
      [
        'stolen, as a later life',
        { ...asB, incarnation: b.incarnation + 1, connection: nonce },
        'CLUSTER_NO_SUCH_CONNECTION',
        fuzzSecret,
      ],
      // The data lane of that connection stands; so does whatever b says on it.
      ...(lane === 'data'
        ? ([
            [
              'stolen, of a lane that stands',
              { ...asB, connection: nonce },
              'CLUSTER_DUPLICATE_LINK',
              fuzzSecret,
            ],
          ] as const)
        : []),
    ] as const) {
      const peer = await insider({ lane, ...own }, { secret: withSecret })
      const came = peer.outcome === 'established' ? await cut(scene, peer) : peer.outcome
      t.equal(came, code, `${lane}: ${what}`)
      await isWell(`${lane}: ${what}`)
    }
  }
})

void test('unknown tags: an envelope of no kind, a tag of CBOR that is none of ours, a ref that is none', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, isWell, a } = scene
  const odd: readonly (readonly [string, Uint8Array])[] = [
    ...[18, 19, 99, 255, 2 ** 31, -1, 1.5, '2', null, true, [], {}].map(
      (kind) => [`kind ${JSON.stringify(kind)}`, encode([[kind, 1, 2]])] as const,
    ),
    ['no list', encode({ 0: 12 })],
    ['a list of no lists', encode([12, 'x'])],
    ['a date', Uint8Array.of(0x81, 0xc1, 0x00)],
    ['a regular expression', Uint8Array.of(0x81, 0xd8, 0x23, 0x61, 0x61)],
    ['a class of cbor-x', Uint8Array.of(0x81, 0xd9, 0xdf, 0xff, 0x80)],
    ['a set', Uint8Array.of(0x81, 0xd9, 0x01, 0x02, 0x80)],
    ['a shared value', Uint8Array.of(0x81, 0xd8, 0x1c, 0x80)],
    ['a ref of nothing', Uint8Array.of(0x81, 0x82, 0x0c, 0xd9, 0xac, 0x70, 0xf6)],
    [
      'an entity without a key',
      encode([
        [0, 0, 'tally', 'count', []],
        [3, 1, [1, 'tally', ''], 0, [], null, null, []],
      ]),
    ],
    ['nothing', new Uint8Array(0)],
  ]
  const reasons: string[] = []
  a.events.on('peer-refused', ({ reason }) => void reasons.push(reason))
  for (const [what, frame] of odd) {
    const peer = await insider(anew())
    t.equal(peer.outcome, 'established', what)
    peer.link.send(frame)
    t.equal(await cut(scene, peer), 'CLUSTER_BAD_FRAME', what)
  }
  await isWell('after them all')
  t.same(a.status().refused, { CLUSTER_BAD_FRAME: odd.length })
  // Before anything is made of them: what a decoder makes of a tag is no list either, and would be refused too late.
  t.equal(reasons.filter((reason) => reason.includes('unknown-tag')).length, 6, 'tags are refused as such')
})

void test('prototype pollution: names and keys that mean something to JavaScript mean nothing here', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, isWell, cluster } = scene
  const before = Object.getOwnPropertyNames(Object.prototype).join()
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf']
  const peer = await insider(anew())
  const heard = (askId: number): unknown => peer.heard.find(([kind, id]) => kind === 5 && id === askId)?.[2]
  let ask = 0
  let types = 0
  let paths = 0
  for (const name of names) {
    const [protocolType, typeType] = [types++, types++]
    peer.send(
      [0, protocolType, name, name, [name === 'valueOf' ? 'x' : 'toString']],
      [0, typeType, 'tally', name, []],
      [1, paths, [0, `/user/${name}`, null]],
      [3, ++ask, paths, protocolType, [{ isAdmin: true }], 1_000, null, []],
      [3, ++ask, [0, '/user/tally', null], typeType, [], 1_000, null, []],
      [3, ++ask, [1, name, name], protocolType, [1], 1_000, null, []],
      [6, ask, [1, name, name]],
      [5, 1, name, name, { [`x${name}`]: name, roles: ['admin'] }],
    )
    paths++
    await cluster.advance(100)
    t.same([heard(ask - 2), heard(ask - 1)], ['RUNTIME_NO_SUCH_ACTOR', 'RUNTIME_UNKNOWN_MESSAGE'], name)
    t.equal(peer.ended(), undefined, name)
  }
  // The three that could do harm are not read as keys or fields at all.
  const key = (name: string): number[] => [0x60 | name.length, ...new TextEncoder().encode(name)]
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    for (const [what, frame] of [
      ['in a gossip payload', Uint8Array.from([0x81, 0x82, 0x0c, 0xa1, ...key(name), 0xa0])],
      [
        'in the details of an error',
        Uint8Array.from([0x81, 0x85, 5, 1, 0x61, 0x61, 0x61, 0x61, 0xa1, ...key(name), 0xa1, 0x61, 0x78, 1]),
      ],
      ['as the field of a message', encode([[0, 0, 'tally', 'count', [name]]])],
    ] as const) {
      const bad = await insider(anew())
      bad.link.send(frame)
      t.equal(await cut(scene, bad), 'CLUSTER_BAD_FRAME', `${name} ${what}`)
    }
  }
  t.equal(Object.getOwnPropertyNames(Object.prototype).join(), before)
  t.same([({} as { isAdmin?: unknown }).isAdmin, ({} as { x?: unknown }).x], [undefined, undefined])
  await isWell('after them all')
})

void test('a life that is over delivers no more: not behind its end in one frame, nor on a link on which it is told so', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, a, b, cluster } = scene
  const count = (): Promise<number> => cluster.result(b.ref(Tally, 'a', '/user/tally').ask({ type: 'count' }))
  // Of two nodes the one with the smaller name says which link is used: the first one does, of the other `a`.
  for (const node of ['Ann', 'mallory']) {
    const hello = { node, address: `ws://127.0.0.1:${node === 'Ann' ? 6_665 : 6_666}`, ...anew() }
    if (node === 'Ann')
      await cluster.network.transport('mallory').listen(nodeAddress(hello.address), () => undefined)
    const peer = await insider(hello)
    peer.send([16], ...fuzzGreeting)
    await cluster.advance(1_000)
    t.ok(
      a.members().some(({ name }) => name === node),
      `${node} is a member`,
    )
    const before = await count()
    const end = fuzzRecord(node, hello.incarnation, hello.address, 0, fuzzKind.down)
    peer.send([12, [4, [end]]], [3, 1, 0, 0, [], null, null, []])
    await cluster.advance(10)
    t.equal(await count(), before + 1, `${node}: nothing behind its end in the same frame`)
    t.not(peer.ended(), undefined, `${node}: its link is cut`)
    // It does not know, or does as if: it is let in far enough to be told.
    const again = await insider(hello)
    again.send([16], ...fuzzGreeting, [3, 1, 0, 0, [], null, null, []], [6, 1, 0])
    await cluster.advance(10_000)
    t.equal(await count(), before + 2, `${node}: nothing on the link on which it is told`)
    t.equal(again.ended() ?? again.outcome, 'CLUSTER_STALE_INCARNATION', `${node}: it is told`)
    t.same(
      again.heard.filter(([kind]) => kind === 4 || kind === 5 || kind === 8),
      [],
      `${node}: nothing is answered`,
    )
  }
})

void test('floods of announcements: recipients and types have a table of so many, and who wants more is cut off', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, isWell } = scene
  for (const [what, most, envelope] of [
    ['recipients', 16_384, (n: number): unknown => [1, n, [0, `/user/${n}`, null]]],
    ['types', 4_096, (n: number): unknown => [0, n, 'tally', `t${n}`, []]],
  ] as const) {
    const peer = await insider(anew())
    for (let n = 0; n < most; n += 512)
      peer.send(...Array.from({ length: 512 }, (_, more) => envelope(n + more)))
    await scene.cluster.advance(10)
    t.equal(peer.ended(), undefined, `${most} ${what}`)
    peer.send(envelope(most))
    t.equal(await cut(scene, peer), 'CLUSTER_BAD_FRAME', `${most + 1} ${what}`)
    await isWell(what)
  }
})

void test('floods of messages: an actor with a bounded mailbox takes so many, whatever its credit says', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, isWell, a } = scene
  let release: () => void = () => undefined
  const slow = actor(Tally, { name: 'slow', mailbox: { messagesMax: 1_000 } }, () => ({
    count: () => new Promise<number>((resolve) => (release = () => resolve(1))),
  }))
  a.system.spawn('slow', slow)
  const peer = await insider(anew())
  peer.send(...fuzzGreeting, [1, 1, [0, '/user/slow', null]])
  let askId = 0
  for (let n = 0; n < 100; n++) {
    peer.send(...Array.from({ length: 500 }, () => [3, ++askId, 1, 0, [], null, null, []]))
  }
  await scene.cluster.advance(100)
  const failed = peer.heard.filter(([kind, , code]) => kind === 5 && code === 'RUNTIME_MAILBOX_FULL').length
  t.ok(failed >= 50_000 - 1_001, `${failed} of 50,000 were refused`)
  t.equal(peer.ended(), undefined)
  await isWell('while its mailbox is full')
  release()
})

void test('floods of gossip: answers that nobody reads are bounded, and the flood costs only its own link', async (t) => {
  const scene = await fuzzScene(t, { outboundBytesMax: 262_144, frameBytesMax: 65_536 })
  const { insider, isWell, a, b, cluster } = scene
  const peer = await insider(anew(), {})
  await cluster.advance(100)
  cluster.network.hold('mallory')
  for (let round = 0; round < 40; round++) {
    for (let n = 0; n < 250; n++) {
      peer.send(
        [12, [0, n, []]],
        [12, [1, n, 'b', b.incarnation, []]],
        [12, [6, n, []]],
        [12, [5, 2, [fuzzRecord('b', b.incarnation, b.address, 0, fuzzKind.suspect, `x${n}`)]]],
      )
    }
    await cluster.advance(1)
  }
  cluster.network.release('mallory')
  await cluster.advance(1_000)
  await isWell('after 40,000 messages')
  t.ok(a.status().membership.swim.queueLength < 100)
})

void test('gossip of members that are not: the table is bounded, addresses are dialled few at a time, and honest ones stay', async (t) => {
  const scene = await fuzzScene(t, {
    membership: { membersMax: 64 } as never,
    downing: { strategy: 'static-quorum', quorumSize: 1 },
  })
  const { insider, a, b, cluster } = scene
  const peer = await insider(anew())
  await cluster.advance(100)
  for (let n = 0; n < 1_000; n += 100) {
    peer.gossip([
      4,
      Array.from({ length: 100 }, (_, more) =>
        fuzzRecord(`ghost-${n + more}`, 1, `ws://10.9.9.9:${1_000 + n + more}`, 0, fuzzKind.alive),
      ),
    ])
  }
  await cluster.advance(1)
  const { swim, links } = a.status().membership
  t.equal(swim.members.length <= 64, true, `${swim.members.length} members`)
  t.ok(swim.refusedMembers > 800, `${swim.refusedMembers} were not taken up`)
  t.ok(links.dials.filter((dial) => JSON.stringify(dial).includes('dialling')).length <= 16)
  t.equal(a.members().find(({ name }) => name === 'b')?.status, 'alive')
  t.ok(b)
})

void test('gossip of lives that are not: what is to be passed on and what is logged stay small', async (t) => {
  const metrics = memoryMetrics()
  const scene = await fuzzScene(t, { metrics })
  const { insider, isWell, a, cluster } = scene
  let life = 0
  const place = (): string => `ws://10.9.${life >> 8}.${life & 255}:7001`
  const told: readonly (readonly [string, () => readonly unknown[]])[] = [
    ['over at once, each elsewhere', () => [fuzzRecord('x', ++life, place(), 0, fuzzKind.down)]],
    ['one behind the other', () => [fuzzRecord('y', ++life, 'ws://10.9.9.9:7001', 0, fuzzKind.alive)]],
    ['alive at many places', () => [fuzzRecord('b', 1, (life++, place()), 0, fuzzKind.alive)]],
    [
      'given up, each for a reason of its own',
      () => [
        fuzzRecord('z', ++life, 'ws://10.9.9.8:7001', 0, fuzzKind.alive),
        fuzzRecord('z', life, 'ws://10.9.9.8:7001', 0, fuzzKind.down, 'mallory', `because of ${life}`),
      ],
    ],
  ]
  for (const [what, records] of told) {
    const peer = await insider(anew())
    await cluster.advance(100)
    const lines = cluster.logOf('a').length
    for (let n = 0; n < 50; n++) peer.gossip([4, Array.from({ length: 50 }, records).flat()])
    await cluster.advance(1)
    const { queueLength } = a.status().membership.swim
    t.ok(queueLength < 10, `${what}: ${queueLength} records are to be passed on`)
    const written = cluster.logOf('a').length - lines
    t.ok(written < 50, `${what}: ${written} lines`)
    await isWell(what)
    peer.link.close('CLUSTER_NODE_LEFT')
  }
  const reasons = metrics
    .read()
    .filter(({ name }) => name === 'understudy_members_down_total')
    .map(({ labels }) => labels['reason'])
  t.same(reasons.includes('other'), true, `reasons: ${reasons.join(', ')}`)
  t.ok(reasons.length < 6, 'a reason that nobody knows is no series of a metric')
})

void test('the name of another for good: a life that was said to be the last keeps its name out, and nothing else breaks', async (t) => {
  const scene = await fuzzScene(t)
  const { insider, a, b, cluster } = scene
  const c = await cluster.start('c', { seeds: ['a'] })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const before = b.incarnation
  const peer = await insider(anew())
  await cluster.advance(100)
  peer.gossip([4, [fuzzRecord('b', max, b.address, 0, fuzzKind.alive)]])
  await cluster.until(() => b.incarnation > before)
  peer.link.close('CLUSTER_NODE_LEFT')
  await cluster.advance(120_000)
  t.ok(b.incarnation < 2 ** 52, 'it does not go to the end of the numbers for it')
  t.notOk(
    a.members().some(({ name, incarnation }) => name === 'b' && incarnation === b.incarnation),
    'it is out',
  )
  const served = async (node: ClusterNode): Promise<number> =>
    cluster.result(node.ref(Tally, 'a', '/user/tally').ask({ type: 'count' }))
  t.equal(await served(c), 1, 'the others go on')
  // What its operator does: another name, the same place.
  await cluster.result(b.shutdown())
  const next = await cluster.start('b-2', { listen: cluster.addressOf('b'), seeds: ['a'] })
  await cluster.result(next.whenMembers(3))
  t.equal(await served(next), 2)
})

void test('a signed refusal that names the highest life there is does not lead anybody there', async (t) => {
  const scene = await fuzzScene(t)
  const { b, cluster } = scene
  const evil = 'ws://127.0.0.1:6667'
  for (const [what, highest] of [
    ['the last number', max],
    ['the last but one', max - 1],
    ['2 ** 53 - 1000', max - 999],
  ] as const) {
    const links: Link[] = []
    const listener = await cluster.network.transport('mallory').listen(nodeAddress(evil), (link) => {
      links.push(link)
      shakeHands(
        {
          link,
          role: 'acceptor',
          hello: {
            versionMin: 1,
            versionMax: 2,
            cluster: 'understudy',
            node: 'mallory',
            incarnation: 1,
            address: evil,
            features: [],
            nonce: cluster.platform.secureBytes(32),
          },
          known: (name) =>
            name === 'mallory' ? undefined : { incarnation: highest, address: evil, down: true },
          secrets: () => secretRing(fuzzSecret),
          clock: cluster.platform.clock,
          timeoutMs: 1_000,
          ended: () => undefined,
        },
        () => undefined,
      )
    })
    const victim = await cluster.start('victim', { seeds: ['a'] })
    await cluster.result(victim.whenMembers(3))
    const lured = await cluster.start('lured', { seeds: ['a'], listen: 'ws://127.0.0.1:6700' })
    t.ok(lured)
    const peer = await scene.insider({ ...anew(), address: evil })
    await cluster.advance(20_000)
    t.ok(peer)
    for (const node of [victim, lured, b])
      t.ok(node.incarnation < 2 ** 52, `${what}: ${node.name} is ${node.incarnation}`)
    await cluster.result(victim.shutdown())
    await cluster.result(lured.shutdown())
    await listener.close()
    for (const link of links) link.close()
    await cluster.advance(20_000)
  }
})

void test('the secret is nowhere but in the proofs: not in a frame, a log line, a status, or an error', async (t) => {
  const scene = await fuzzScene(t)
  const { a, b, overheard, insider, cluster } = scene
  await insider({}, { secret: 'a secret of somebody else' })
  await insider({ ...anew(), cluster: 'another' })
  const everything = [
    ...overheard.map((frame) => Buffer.from(frame).toString('latin1')),
    ...['a', 'b'].flatMap((name) => cluster.logOf(name).map((line) => JSON.stringify(line))),
    JSON.stringify([a.status(), b.status()]),
    JSON.stringify(a),
  ]
  t.ok(everything.length > 10)
  for (const text of everything)
    if (text.includes(fuzzSecret)) t.fail(`the secret is in ${text.slice(0, 200)}`)
  const error = await cluster.start('d', { secret: 'too short' }).then(
    () => undefined,
    (thrown: Error) => thrown,
  )
  t.ok(error?.message.includes('at least 16'))
  t.notOk(error?.message.includes('too short'))
})

void test('node.useSecret: a secret is exchanged on running nodes in three steps; then the old one is worth nothing', async (t) => {
  const scene = await fuzzScene(t)
  const { a, b, insider, cluster } = scene
  const next = 'the next secret of all nodes'
  for (const [what, secret, end] of [
    ['everybody takes the new one', { use: fuzzSecret, accept: [next] }, 'established'],
    ['everybody uses the new one', { use: next, accept: [fuzzSecret] }, 'CLUSTER_WRONG_SECRET'],
    ['nobody takes the old one', next, 'CLUSTER_WRONG_SECRET'],
  ] as const) {
    for (const node of [a, b]) {
      node.useSecret(secret)
      // A link that breaks in between comes back, with whatever each of them has by then.
      cluster.cut(a)
      await cluster.advance(10_000)
      const about = `${what}: ${node.name}`
      t.ok((await cluster.result(b.ref(Tally, 'a', '/user/tally').ask({ type: 'count' }))) > 0, about)
    }
    const { outcome } = await insider(anew(), { secret: fuzzSecret })
    t.equal(outcome, end, what)
  }
  t.equal((await insider(anew(), { secret: next })).outcome, 'established')
})

void test('who should choose the link and does not is served for five seconds, and is no member', async (t) => {
  const scene = await fuzzScene(t)
  const { a, insider, isWell, cluster } = scene
  // The smaller name chooses; `a` waits for its word.
  const peer = await insider({ ...anew(), node: 'A' })
  peer.send(...fuzzGreeting, [3, 1, 0, 0, [], null, null, []])
  await cluster.advance(100)
  t.equal(peer.heard.filter(([kind, id]) => kind === 4 && id === 1).length, 1, 'it is answered')
  await cluster.advance(4_000)
  t.equal(peer.ended(), undefined)
  const names = a.members().map(({ name }) => name)
  t.same(names, ['a', 'b'])
  await cluster.advance(1_000)
  t.equal(peer.ended(), 'CLUSTER_MEMBER_SILENT')
  await isWell('afterwards')
})

void test('entity keys: a member starts an actor for each key that it names, of the kinds that are there', async (t) => {
  const scene = await fuzzScene(t, { entities: [tally] })
  const { insider, isWell, cluster } = scene
  const peer = await insider(anew())
  const asks = (first: number, kind: string): readonly unknown[] =>
    Array.from({ length: 100 }, (_, n) => [3, first + n, [1, kind, `key-${n}`], 0, [], null, null, []])
  peer.send(...fuzzGreeting, ...asks(0, 'tally'), ...asks(100, 'none such'))
  await cluster.advance(100)
  const replies = peer.heard.filter(([kind]) => kind === 4)
  t.equal(replies.length, 100)
  t.ok(
    replies.every(([, , count]) => count === 1),
    'each is a new one',
  )
  t.equal(peer.heard.filter(([kind]) => kind === 5).length, 100, 'of a kind that is not there none')
  await isWell('afterwards')
})

void test('node.spawn: a member starts what is registered for it here, under a name of its own, and nothing else', async (t) => {
  const scene = await fuzzScene(t, { spawnable: [tally] })
  const { a, b, cluster, insider, isWell } = scene
  const other = actor(Tally, { name: 'other' }, () => ({ count: () => 1 }))
  const refused = async (name: string, definition: typeof tally): Promise<void> => {
    const { error } = (await cluster.outcome(b.spawn('a', name, definition))) as {
      readonly error?: { code?: string }
    }
    t.equal(error?.code, 'CLUSTER_SPAWN_REFUSED', `"${name}"`)
  }
  const worker = await cluster.result(b.spawn('a', 'worker', tally))
  t.equal(await cluster.result(worker.ask({ type: 'count' })), 1)
  await refused('else', other)
  for (const name of ['worker', '', '../user/tally', '/user/tally', 'a/b', 'a#1', 'x'.repeat(5_000)]) {
    await refused(name, tally)
  }
  const peer = await insider(anew())
  peer.send([0, 0, 'understudy-spawner', 'spawn', ['definition', 'name', 'input']])
  const named = ['__proto__', 'constructor', 'node:fs', '/etc/passwd', 'data:text/javascript,0']
  named.forEach((definition, n) => {
    peer.send([
      3,
      n,
      [0, '/system/spawner', null],
      0,
      [definition, `x${n}`, { code: 'process.exit()' }],
      1_000,
      null,
      [],
    ])
  })
  await cluster.advance(100)
  const failures = peer.heard.filter(([kind]) => kind === 5).map(([, , code]) => code)
  t.same(
    failures,
    named.map(() => 'RUNTIME_REJECTED'),
  )
  t.ok(a.status())
  await isWell('after them all')
})
