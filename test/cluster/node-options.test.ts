/** What a user may get wrong in the options of a node, and is told: which node, which option, what was given, what is expected. */
import { test } from 'tap'
import { downingBound, dnsDiscovery, fileDiscovery, staticDiscovery, startNode } from '@understudy/cluster'
import { memoryNetwork, type NodeOptions } from '@understudy/cluster'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { virtualCluster } from '../support/virtual-cluster.ts'

const whole = { name: 'a', listen: 'ws://127.0.0.1:0' }

/** As JavaScript gives them, or a file. */
type Loose = Readonly<Record<string, unknown>>

async function startError(options: Loose): Promise<Error & { code?: string }> {
  const platform = virtualPlatform()
  try {
    const node = await startNode({ platform, ...whole, ...options } as unknown as NodeOptions)
    await node.shutdown()
    throw new Error('it was taken')
  } catch (error) {
    await platform.settle()
    if (platform.holds() !== 0 || platform.pendingTimers() !== 0)
      throw new Error('something is left behind', { cause: error })
    return error as Error
  }
}

void test('startNode: an option of the wrong type is refused with what was given, what is expected, and whose it is', async (t) => {
  const cases: [Loose, string][] = [
    [{ listen: 7001 }, '"listen" must be an address such as "ws://127.0.0.1:7001"; got the number 7001'],
    [{ listen: undefined }, '"listen" must be an address such as "ws://127.0.0.1:7001"; it is missing'],
    [{ listen: 'here' }, '"listen": Cannot use "here" as the address of a node: it must be "ws://host:port"'],
    [
      { seeds: [7001] },
      '"seeds" must be a list of addresses, such as ["ws://127.0.0.1:7001"]; got the number 7001',
    ],
    [{ seeds: 'ws://127.0.0.1:1' }, '"seeds" must be a list of addresses'],
    [{ advertise: 5 }, '"advertise" must be an address'],
    [{ discovery: 'dns' }, '"discovery" must be what fileDiscovery, dnsDiscovery or staticDiscovery return'],
    [{ discovery: {} }, '"discovery" must be what '],
    [{ discovery: [staticDiscovery([]), {}] }, 'or a list of such; got an object at place 1'],
    [
      { membership: 7 },
      '"membership" must be "lan", "wan", "local", or an object with any of preset, detector, ',
    ],
    [
      { membership: { preset: 'fast' } },
      '"membership.preset" must be "lan", "wan" or "local"; got the string "fast"',
    ],
    [
      { membership: { probesNext: 'no' } },
      '"membership.probesNext" must be true or false; got the string "no"',
    ],
    [{ membership: { gossipNodes: '3' } }, '"membership.gossipNodes" must be a number; got the string "3"'],
    [
      { membership: { detector: 'phi' } },
      '"membership.detector" must be "probe", or { phi: { threshold: 8 } }; got ',
    ],
    [{ membership: { detector: { phy: {} } } }, 'no option "membership.detector.phy"; there is only phi'],
    [{ membership: { detector: {} } }, '"membership.detector.phi" is missing; give { phi: {} }, or "probe"'],
    [{ membership: { detector: { phi: 3 } } }, '"membership.detector.phi" must be an object'],
    [
      { membership: { detector: { phi: { treshold: 3 } } } },
      'no option "membership.detector.phi.treshold"; ',
    ],
    [
      { membership: { detector: { phi: { threshold: '3' } } } },
      '"membership.detector.phi.threshold" must be a number',
    ],
    [{ entities: {} }, '"entities" must be a list of definitions, as actor() returns them; got an object'],
    [
      { entities: [null] },
      '"entities" takes definitions, as actor() returns them, or { definition, options }; got null',
    ],
    [{ actors: [{}] }, '"actors" must be a list of definitions'],
    [{ spawnable: {} }, '"spawnable" must be a list of definitions'],
    [{ root: {} }, '"root" must be a definition, as actor() returns it'],
    [{ zone: 5 }, '"zone" must be a string of 1 to 128 characters, such as "eu-1"; got the number 5'],
    [
      { cluster: 3 },
      '"cluster" must be a string of 1 to 128 characters, the same on all nodes; got the number 3',
    ],
    [
      { version: 5 },
      '"version" must be a string of at most 64 characters, such as "1.4.0"; got the number 5',
    ],
    [
      { roles: 'web' },
      '"roles" must be a list of at most 16 texts of 1 to 64 characters, such as ["web"]; got the string',
    ],
    [{ roles: ['web', 3] }, 'such as ["web"]; got the number 3 at place 1'],
    [{ weight: '1' }, '"weight" must be a number; got the string "1"'],
    [{ expect: '2' }, '"expect" must be a number of nodes; got the string "2"'],
    [
      { secret: 42 },
      '"secret": it must be a string of at least 16 characters, or { use, accept } with such; got a value of ',
    ],
    [{ secret: null }, 'got a value of type null'],
    [
      { tls: true },
      '"tls" must be an object with "cert" and "key", or a function that returns one; got true',
    ],
    [{ data: 42 }, '"data" must be "memory", or the path of a directory; got the number 42'],
    [{ data: '' }, '"data" must be "memory", or the path of a directory; got the string ""'],
    [{ http: 3 }, '"http" must be a function (request, response); got the number 3'],
    [{ handleSignals: 'no' }, '"handleSignals" must be true or false; got the string "no"'],
    [
      { isolation: 'frozen' },
      '"isolation" must be "reference", "freeze" or "codec"; got the string "frozen"',
    ],
    [{ drainMs: '5' }, '"drainMs" must be a number of milliseconds; got the string "5"'],
    [
      { handshakeTimeoutMs: '5' },
      '"handshakeTimeoutMs" must be a number of milliseconds; got the string "5"',
    ],
    [{ handshakeTimeoutMs: 0 }, 'handshakeTimeoutMs 0: it must be an integer from 1 to 599000'],
    [
      { downing: { role: 4 } },
      '"downing.role" must be a string: one of the "roles" of nodes; got the number 4',
    ],
    [
      { downing: { downAllWhenUnstableMs: true } },
      '"downing.downAllWhenUnstableMs" must be a number of milliseconds, or false',
    ],
    [
      { downingLease: {} },
      '"downingLease" must be an object with "acquire" and "release", as lockDowningLease() returns it',
    ],
    [
      { transport: {} },
      '"transport" must be an object with "listen" and "dial", as webSocketTransport() returns it',
    ],
    [
      { admit: { names: [5] } },
      '"admit.names" must be a list of names, such as ["web-*"]; got the number 5 at place 0',
    ],
    [{ admit: { names: ['web 1'] } }, 'Cannot use "web 1" as a name in the join policy'],
    [{ admit: { check: true } }, '"admit.check" must be a function'],
    [
      { admission: { allowAddresses: ['foo'] } },
      'Cannot use "foo" in allowAddresses: a connection has an address and no name',
    ],
    [
      { admission: { connectionsPerSecondPerAddress: 0 } },
      'connectionsPerSecondPerAddress 0: it must be a number from 0.001',
    ],
    [
      { webSocket: 3 },
      '"webSocket" must be a function that takes a socket, or an object with "accept"; got the number 3',
    ],
    [
      { webSocket: { origin: [] } },
      'there is no option "webSocket.origin"; there are accept, origins, payloadBytesMax, ',
    ],
    [{ webSocket: {} }, '"webSocket.accept" is missing; it must be a function that takes a socket'],
    [{ webSocket: { accept: () => undefined, origins: ['foo'] } }, 'Cannot use "foo" in webSocket.origins'],
  ]
  for (const [options, text] of cases) {
    const { message } = await startError(options)
    t.ok(message.startsWith('Cannot start node "a"') && message.includes(text), `${text}\n${message}`)
  }
  t.notMatch((await startError({ secret: 424_242 })).message, '424242', 'what may be a secret is not shown')
  for (const name of [undefined, 5, 'two words']) {
    t.match(await startError({ name }), {
      message: /^Cannot start a node: "name" must be 1 to 63 of .*; got /,
    })
  }
  for (const options of [undefined, 5]) {
    const { message } = (await startNode(options as never).catch((error: unknown) => error)) as Error
    t.match(message, /^Cannot start a node: its options must be an object with any of name, listen, .*; got /)
  }
})

void test('startNode: admit.nameFromCertificate is refused where no certificates are shown', async (t) => {
  const admit = { nameFromCertificate: true }
  const tls = { cert: 'cert', key: 'key' }
  const secure = { admit, listen: 'wss://127.0.0.1:0' }
  const refused: Loose[] = [
    { admit },
    { ...secure, tls },
    { admit, tls: { ...tls, ca: 'ca' } },
    { ...secure, tls: { ...tls, ca: 'ca', requirePeerCertificate: false } },
  ]
  for (const options of refused) {
    const { message } = await startError(options)
    t.match(
      message,
      /^Cannot start node "a" on "wss?:.*"admit.nameFromCertificate" lets nobody in .* "cert", "key" and "ca"/,
    )
  }
  // The material is no certificate, but there is some, as far as options tell.
  for (const material of [{ ...tls, ca: 'ca' }, () => ({ ...tls, ca: 'ca' })]) {
    t.match(await startError({ ...secure, tls: material }), { code: 'CLUSTER_BAD_TLS' })
  }
  const transport = memoryNetwork({ schedule: queueMicrotask }).transport('a')
  t.match(
    await startError({ admit, transport }),
    { message: 'it was taken' },
    'another transport may have its own',
  )
})

void test('startNode: the downing strategy "lease" without a lease is told as an error at the start, once', async (t) => {
  const said = async (options: Partial<NodeOptions>): Promise<number> => {
    await using cluster = virtualCluster()
    await cluster.start('a', options)
    await cluster.advance(30_000)
    return cluster.logOf('a').filter(({ message }) => message.includes('there is no "downingLease" to ask'))
      .length
  }
  const downingLease = { acquire: async () => true, release: async () => undefined }
  t.equal(await said({ downing: { strategy: 'lease' } }), 1)
  t.equal(await said({ downing: { strategy: 'lease' }, downingLease }), 0)
  t.equal(await said({}), 0)
})

void test('fileDiscovery, dnsDiscovery, staticDiscovery, downingBound: what is missing or of the wrong type is said', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [
      () => fileDiscovery(undefined as never),
      /by a file: give options, such as { path: ".*" }; got undefined/,
    ],
    [() => fileDiscovery('seeds' as never), /by a file: give options, .*; got the string "seeds"/],
    [() => fileDiscovery({ path: 3 as never }), /"path" must be the path of a file; got the number 3/],
    [
      () => fileDiscovery({ path: 'x', refreshMs: '500' as never }),
      /refreshMs must be .*, got the string "500"/,
    ],
    [() => dnsDiscovery(undefined as never), /by DNS: give options, such as { host: .* }; got undefined/],
    [() => staticDiscovery(undefined as never), /give a list of addresses, such as .*; got undefined/],
    [() => staticDiscovery([7001 as never]), /Cannot use the number 7001 as the address of a node/],
    [() => downingBound({}, { members: 5 } as never), /suspicionMult undefined: .* lan 4, wan 6, local 3/],
    [
      () => downingBound({}, { suspicionMult: 4 } as never),
      /bound of undefined members: "members" must be 1 or more/,
    ],
  ]
  for (const [call, message] of cases) t.throws(call, { message }, message.source)
  t.end()
})
