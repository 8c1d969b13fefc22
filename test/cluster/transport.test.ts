import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type CloseReason = import('../../packages/cluster/src/transport/transport.ts').CloseReason
type Link = import('../../packages/cluster/src/transport/transport.ts').Link

const { formatAddress, isLoopback, nodeAddress, parseAddress } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/address.ts')
>('cluster', 'transport/address')
const { memoryNetwork, memoryTransport } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/memory.ts')
>('cluster', 'transport/memory')

void test('nodeAddress: one spelling for one address', (t) => {
  for (const [given, wanted] of [
    ['ws://127.0.0.1:7001', 'ws://127.0.0.1:7001'],
    ['WS://LocalHost:07001', 'ws://localhost:7001'],
    ['ws://[::1]:0', 'ws://[::1]:0'],
    ['ws://node-1.example.com:65535', 'ws://node-1.example.com:65535'],
    ['WSS://Node-1:07001', 'wss://node-1:7001'],
    ['wss://[FE80::1]:80', 'wss://[fe80::1]:80'],
  ] as const)
    t.equal(nodeAddress(given), wanted)
  t.same(parseAddress('ws://[FE80::1]:80'), { host: 'fe80::1', port: 80, isSecure: false })
  t.same(parseAddress('wss://a:80'), { host: 'a', port: 80, isSecure: true })
  t.equal(formatAddress('::1', 80), 'ws://[::1]:80')
  t.equal(formatAddress('[::1]', 80), 'ws://[::1]:80')
  t.equal(formatAddress('::1', 80, true), 'wss://[::1]:80')
  t.end()
})

void test('nodeAddress: CLUSTER_BAD_ADDRESS says what is right', (t) => {
  for (const bad of [
    '',
    '127.0.0.1:7001',
    'http://a:1',
    'https://a:1',
    'wsss://a:1',
    'wss://a',
    'ws://a',
    'ws://a:',
    'ws://:1',
    'ws://a:65536',
    'ws://a:1/',
    'ws://a:1/x',
    'ws://u@a:1',
    'ws://a:1?x',
    'ws://a b:1',
    'ws://::1:1',
    ' ws://a:1',
    `ws://${'a'.repeat(1_000)}:1`,
  ])
    t.throws(
      () => nodeAddress(bad),
      { code: 'CLUSTER_BAD_ADDRESS', message: /must be "ws:\/\/host:port"/ },
      bad,
    )
  t.end()
})

void test('isLoopback: only what cannot be reached from elsewhere', (t) => {
  for (const yes of [
    'ws://127.0.0.1:1',
    'ws://127.9.9.9:1',
    'ws://localhost:1',
    'ws://[::1]:1',
    'ws://[::ffff:127.0.0.1]:1',
    'wss://127.0.0.1:1',
  ]) {
    t.equal(isLoopback(yes), true, yes)
  }
  for (const no of [
    'ws://0.0.0.0:1',
    'ws://[::]:1',
    'ws://10.0.0.1:1',
    'ws://127.0.0.1.example.com:1',
    'ws://localhost.example.com:1',
  ]) {
    t.equal(isLoopback(no), false, no)
  }
  t.end()
})

/** A scheduler that runs nothing until it is told to. */
function manual() {
  const tasks: Array<() => void> = []
  const drain = async (): Promise<void> => {
    for (let idle = 0; idle < 5; idle++) {
      for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) {
        task()
        idle = 0
      }
      await Promise.resolve()
    }
  }
  return {
    schedule: (task: () => void) => {
      tasks.push(task)
    },
    tasks,
    drain,
  }
}

async function memoryPair() {
  const { schedule, drain } = manual()
  const timers: Array<{ readonly delayMs: number; readonly fire: () => void }> = []
  const network = memoryNetwork({
    schedule,
    setTimer: (delayMs, fire) => {
      const timer = { delayMs, fire }
      timers.push(timer)
      return () => {
        timers.splice(timers.indexOf(timer), 1)
      }
    },
  })
  let far: Link | undefined
  const listener = await network.transport('b').listen(nodeAddress('ws://b:0'), (link) => {
    far = link
  })
  const dialled = network.transport('a').dial(listener.address)
  await drain()
  const near = await dialled
  if (far === undefined) throw new Error('no link')
  const got: number[] = []
  const ends: string[] = []
  const note =
    (name: string) =>
    (reason: CloseReason): void => {
      ends.push(`${name} ${reason.code}`)
    }
  far.onFrame((frame) => got.push(frame[0] ?? -1))
  near.onClose(note('near'))
  far.onClose(note('far'))
  await drain()
  return { network, drain, near, far, got, ends, listener, timers }
}

void test('memoryNetwork.hold: what is sent waits, and comes in order after release', async (t) => {
  const { network, drain, near, got, ends } = await memoryPair()
  near.send(Uint8Array.of(1))
  network.hold('b')
  near.send(Uint8Array.of(2))
  near.close('BYE')
  await drain()
  t.same([got, ends], [[], ['near BYE']])
  network.release('b')
  await drain()
  t.same(
    [got, ends],
    [
      [1, 2],
      ['near BYE', 'far BYE'],
    ],
  )
})

void test('memoryNetwork.hold: a dial waits for its timeout, and leaves no timer behind when it succeeds', async (t) => {
  const { network, drain, listener, timers } = await memoryPair()
  t.equal(timers.length, 0)
  network.hold('b')
  const dial = network.transport('a').dial(listener.address, { timeoutMs: 70 })
  await drain()
  t.equal(timers[0]?.delayMs, 70)
  timers[0]?.fire()
  await t.rejects(dial, { code: 'CLUSTER_DIAL_TIMEOUT' })
  t.equal(timers.length, 0)
})

void test('memoryNetwork.crash: peers see CLUSTER_LINK_LOST, the dead host hears nothing, its port is free', async (t) => {
  const { network, drain, near, far, got, ends, listener } = await memoryPair()
  near.send(Uint8Array.of(1))
  network.crash('b')
  await drain()
  t.same([got, ends], [[], ['near CLUSTER_LINK_LOST']])
  t.equal(far.send(Uint8Array.of(1)), 'closed')
  t.equal(near.send(Uint8Array.of(1)), 'closed')
  const dial = network.transport('a').dial(listener.address)
  const refused = t.rejects(dial, { code: 'CLUSTER_DIAL_REFUSED' })
  await drain()
  await refused
  const again = await network.transport('b').listen(listener.address, () => undefined)
  t.equal(again.address, listener.address)
})

void test('memoryTransport: is a network of its own', async (t) => {
  const { schedule, drain } = manual()
  const listener = await memoryTransport({ schedule }).listen(nodeAddress('ws://a:1'), () => undefined)
  const refused = t.rejects(memoryTransport({ schedule }).dial(listener.address), {
    code: 'CLUSTER_DIAL_REFUSED',
  })
  await drain()
  await refused
})
