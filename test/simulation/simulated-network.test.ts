/** The simulator's network: streams stay streams under every fault, and each fault does what its name says. */
import {
  FaultDriver,
  SimulatedMachine,
  Simulation,
  type SimulatedProcess,
} from '@understudy/runtime/simulation'
import { transportContract, type ContractTest } from '@understudy/cluster/testkit'
import { actor, protocol, tell, ask } from '@understudy/runtime'
import { startNode, type ClusterNode } from '@understudy/cluster'
import fc from 'fast-check'
import { test as tapTest } from 'tap'
import Type from 'typebox'
import {
  End,
  calm,
  codeOf,
  numberOf,
  outside,
  passes,
  SimulatedNetwork,
  test,
  underWay,
  upTo,
  type Network,
  type NodeAddress,
} from './network-bed.ts'

// ---- The contract ----------------------------------------------------------------------------------------------

for (const latency of ['minimal', 'drawn'] as const) {
  void tapTest(`a simulated network keeps the transport contract, latency ${latency}`, async (t) => {
    let network: Network | undefined
    let process: SimulatedProcess | undefined
    let seed = 0
    transportContract(
      (name, contract) =>
        t.test(name, async (own) => {
          // Each contract test is a scenario of its own: what it awaits comes from the simulation.
          const result = await Simulation.alone(() => {
            const simulation = new Simulation({ seed: seed++ })
            underWay(simulation)
            network = new SimulatedNetwork(simulation, { latency })
            process = new SimulatedMachine(simulation, 'a').start()
            const teardowns: (() => Promise<void> | void)[] = []
            const inside: ContractTest = {
              ...outside(own),
              teardown: (task) => void teardowns.push(task),
            }
            return simulation.run(async () => {
              await contract(inside)
              for (const task of teardowns.reverse()) await task()
            })
          })
          own.equal(result.violation, undefined)
        }),
      (limits) => {
        if (network === undefined || process === undefined) throw new Error('outside of a test')
        return network.transport(process, limits)
      },
    )
  })
}

// ---- Streams stay streams --------------------------------------------------------------------------------------

void test('frames arrive in order and at most once under all delays, clogs and limits', async (t) => {
  const acts = [
    'clog',
    'swizzle',
    'slow-link',
    'capacity',
    'bandwidth',
    'partition-isolate',
    'partition-flapping',
  ]
  let waited = 0
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 1_000_000 }), async (seed) => {
      await passes({ seed, names: ['a', 'b', 'c'] }, async ({ simulation, network, link }) => {
        const { near, far } = await link('a', 'b')
        const kinds = network.faultKinds().filter(({ name }) => acts.includes(name))
        const driver = new FaultDriver(simulation, kinds, { chances: [0, 0.05, 0.3] })
        driver.start()
        let taken = 0
        for (let n = 0; n < 100; n++) {
          taken += near.send(3).filter((result) => result === 'ok').length
          far.send(2)
          await simulation.sleep(20)
        }
        if (far.got.length < taken) waited++
        driver.heal()
        network.heal()
        await simulation.sleep(20_000)
        for (const end of [near, far]) t.same(end.got, upTo(end.got.length))
        if (near.ended === undefined) t.same(far.got, upTo(taken), 'a link that stands loses nothing')
      })
    }),
    { numRuns: 40 },
  )
  t.ok(waited > 5, `the faults were felt: ${waited} runs had frames that waited`)
})

void test('a reset loses a suffix of what is in flight, and only that', async (t) => {
  const losses = new Set<number>()
  for (let seed = 0; seed < 60; seed++) {
    await passes({ seed, network: calm }, async ({ simulation, network, link }) => {
      const { near, far } = await link('a', 'b')
      near.send(5)
      await simulation.sleep(10)
      near.send(10)
      network.reset('a', 'b')
      near.send(5)
      await simulation.sleep(16_000)
      t.same(far.got, upTo(far.got.length))
      t.ok(far.got.length >= 5 && far.got.length <= 15, 'what had arrived stands, what came after is lost')
      losses.add(15 - far.got.length)
      t.equal(near.ended, 'CLUSTER_LINK_LOST')
      t.equal(far.ended, 'CLUSTER_LINK_LOST')
    })
  }
  t.ok(losses.has(0) && losses.has(10) && losses.size > 5, `lost ${[...losses].join(', ')}`)
})

void test('a reset is noticed at once, or by the keepalive, on each side for itself', async (t) => {
  const seen = new Set<string>()
  for (let seed = 0; seed < 60; seed++) {
    await passes({ seed, network: calm }, async ({ simulation, network, link }) => {
      const { near, far } = await link('a', 'b')
      network.reset('a', 'b')
      await simulation.sleep(16_000)
      seen.add([near, far].map(({ endedAtMs }) => (endedAtMs < 1_000 ? 'at once' : 'late')).join(', '))
    })
  }
  t.same([...seen].sort(), ['at once, at once', 'at once, late', 'late, at once', 'late, late'])
})

void test('a damaged frame closes its link; nothing of it or after it is delivered', async (t) => {
  for (const [kind, code] of [
    ['corrupt', 'CLUSTER_LINK_PROTOCOL'],
    ['truncate', 'CLUSTER_LINK_LOST'],
  ] as const) {
    await passes({ network: calm }, async ({ simulation, network, link }) => {
      const { near, far } = await link('a', 'b')
      network.damage('a', 'b', kind, 3)
      near.send(10)
      far.send(2)
      await simulation.sleep(100)
      t.same(far.got, [0, 1, 2])
      t.same(near.got, [0, 1], 'the other direction is not concerned')
      t.equal(far.ended, code)
      t.equal(near.ended, code)
    })
  }
})

void test('half-open: send says ok, nothing arrives, and both ends notice after the keepalive', async (t) => {
  await passes({ network: calm }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    near.send(2)
    network.halfOpen('a', 'b')
    t.same(
      near.send(5),
      Array.from({ length: 5 }, () => 'ok'),
    )
    far.send(3)
    await simulation.sleep(14_000)
    t.same(far.got, [0, 1], 'what was in flight is not concerned')
    t.same(near.got, [0, 1, 2], 'the other direction stands')
    t.same([near.ended, far.ended], [undefined, undefined])
    await simulation.sleep(2_000)
    t.same([near.ended, far.ended], ['CLUSTER_LINK_LOST', 'CLUSTER_LINK_LOST'])
  })
  await passes({ network: calm }, async ({ simulation, network, link }) => {
    const { near } = await link('a', 'b')
    network.halfOpen('a', 'b')
    network.heal()
    await simulation.sleep(1)
    t.equal(near.ended, 'CLUSTER_LINK_LOST', 'healed: it cannot be mended, so it ends')
  })
})

// ---- Room ------------------------------------------------------------------------------------------------------

void test('capacity: full, then drained once there is room again', async (t) => {
  await passes({ network: calm }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    network.limit('a', 'b', { framesMax: 2 })
    let drains = 0
    near.link.onDrain(() => drains++)
    t.same(near.send(6), ['ok', 'ok', 'ok', 'ok', 'full', 'full'], 'two in flight, two in line')
    t.equal(near.link.bufferedBytes, 16)
    t.equal(drains, 0, 'never from inside of send')
    await simulation.sleep(1)
    t.equal(drains, 1)
    t.same(far.got, [0, 1, 2, 3])
    t.equal(near.link.bufferedBytes, 0)
    t.same(near.send(1), ['ok'])
  })
})

void test('bandwidth: frames come one after the other, and the undo lets all go', async (t) => {
  await passes({ network: calm }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    const startMs = simulation.nowMs
    const undo = network.limit('a', 'b', { bytesPerMs: 1 })
    near.send(10, 100)
    await simulation.sleep(350)
    t.same(far.got, [0, 1, 2])
    t.same(
      far.gotAtMs.map((ms) => Math.round(ms - startMs)),
      [100, 200, 300],
    )
    undo()
    await simulation.sleep(60)
    t.same(far.got, upTo(10))
  })
})

void test('a paused receiver: its sender fills up, and all arrives in order when it goes on', async (t) => {
  const limits = { frameBytesMax: 1_024, outboundBytesMax: 4_096 }
  await passes({ network: { ...calm, windowBytes: 4_096 }, limits }, async (bed) => {
    const { near, far } = await bed.link('a', 'b')
    bed.process('b').pause(Number.POSITIVE_INFINITY)
    const results = near.send(10, 1_024)
    t.same(results.lastIndexOf('ok'), 7, 'a window and a queue full')
    await bed.simulation.sleep(5_000)
    t.same(far.got, [])
    bed.process('b').resume()
    await bed.simulation.sleep(10)
    t.same(far.got, upTo(8))
  })
})

// ---- Crashes ---------------------------------------------------------------------------------------------------

void test('a crash: queued frames are lost, some of those in flight may be, the peer sees CLUSTER_LINK_LOST', async (t) => {
  const arrived = new Set<number>()
  const when = new Set<string>()
  for (let seed = 0; seed < 60; seed++) {
    await passes(
      { seed, network: calm },
      async ({ simulation, network, link, process, transport, address }) => {
        const { near, far } = await link('a', 'b')
        network.limit('a', 'b', { framesMax: 4 })
        near.send(8)
        process('a').kill()
        await simulation.sleep(16_000)
        t.same(far.got, upTo(far.got.length))
        t.ok(far.got.length <= 4, 'what was still queued never left')
        arrived.add(far.got.length)
        t.equal(far.ended, 'CLUSTER_LINK_LOST')
        when.add(far.endedAtMs < 1_000 ? 'at once' : 'late')
        t.equal(near.ended, undefined, 'the dead hear nothing')
        t.equal(await codeOf(transport('b').dial(address('a'))), 'CLUSTER_DIAL_REFUSED')
      },
    )
  }
  t.same([...arrived].sort(), [0, 1, 2, 3, 4])
  t.same([...when].sort(), ['at once', 'late'])
})

void test('a kill at a send: before it nobody sees the frame, after it the frame is on its way', async (t) => {
  for (const [effect, wanted] of [
    [1, []],
    [2, [0]],
    [3, [0]],
    [4, [0, 1]],
  ] as const) {
    await passes({ choices: [], network: calm }, async ({ simulation, link, process }) => {
      const { near, far } = await link('a', 'b')
      process('a').killAtEffect(effect)
      near.send(3)
      await simulation.sleep(100)
      t.same(far.got, wanted, `effect ${effect}`)
    })
  }
})

void test('a stalled sender: its frames depart when the stall is over, and die with it before', async (t) => {
  await passes({ choices: [], network: calm }, async ({ simulation, link, process }) => {
    const { near, far } = await link('a', 'b')
    const startMs = simulation.nowMs
    simulation.at(startMs, process('a'), 'send', () => {
      process('a').stallAtEffect(1, 500)
      near.send(1)
    })
    await simulation.sleep(1_000)
    t.same(far.got, [0])
    t.ok((far.gotAtMs[0] ?? 0) >= startMs + 500)
    simulation.at(simulation.nowMs, process('a'), 'send', () => {
      process('a').stallAtEffect(1, 500)
      near.send(1)
    })
    await simulation.sleep(100)
    process('a').kill()
    await simulation.sleep(1_000)
    t.same(far.got, [0], 'it was killed before the frame left')
  })
})

void test('a graceful close arrives behind all frames, also on a network that is slow', async (t) => {
  await passes({ seed: 3 }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    network.limit('a', 'b', { framesMax: 2, slowFactor: 10 })
    const taken = near.send(10).filter((result) => result === 'ok').length
    near.link.close('ALL_SENT')
    await simulation.sleep(100_000)
    t.same(far.got, upTo(taken))
    t.equal(far.ended, 'ALL_SENT')
  })
})

// ---- Dials -----------------------------------------------------------------------------------------------------

void test('dials: refused, lost, held up by a partition, and free again after heal', async (t) => {
  await passes({ network: calm }, async ({ simulation, network, transport, address }) => {
    const dial = (timeoutMs: number): Promise<unknown> =>
      codeOf(
        transport('a')
          .dial(address('b'), { timeoutMs })
          .then((link) => link.close()),
      )
    const accept = network.refuseDials('b')
    t.equal(await dial(5_000), 'CLUSTER_DIAL_REFUSED')
    accept()
    t.equal(await dial(5_000), 'no error')
    network.loseDials('b')
    const startMs = simulation.nowMs
    t.equal(await dial(2_000), 'CLUSTER_DIAL_TIMEOUT')
    t.equal(Math.round(simulation.nowMs - startMs), 2_000)
    network.heal()
    t.equal(await dial(5_000), 'no error')
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const) {
      network.clog(from, to, { forMs: 3_000 })
      t.equal(await dial(2_000), 'CLUSTER_DIAL_TIMEOUT', `${from} > ${to}`)
      t.equal(await dial(5_000), 'no error', 'it gets through when the clog is over')
    }
  })
})

void test('a link that was dialled before anybody listened there goes to whoever does: partitions cut it', async (t) => {
  await passes({ network: calm, names: ['a', 'b'] }, async ({ simulation, network, transport }) => {
    const address = 'ws://127.0.0.1:7001' as NodeAddress
    const dialling = transport('a').dial(address)
    const accepted = new Promise<ConstructorParameters<typeof End>[1]>(
      (resolve) => void transport('b').listen(address, resolve),
    )
    const near = new End(simulation, await dialling)
    const far = new End(simulation, await accepted)
    near.send(1)
    far.send(1)
    await simulation.sleep(100)
    t.same([far.got, near.got], [[0], [0]])
    network.partition([['a'], ['b']], { forMs: 1_000 })
    near.send(1)
    far.send(1)
    await simulation.sleep(900)
    t.same([far.got, near.got], [[0], [0]], 'nothing goes through')
    await simulation.sleep(1_000)
    t.same([far.got, near.got], [upTo(2), upTo(2)])
    network.reset('a', 'b')
    network.heal()
    await simulation.sleep(1)
    t.same([near.ended, far.ended], ['CLUSTER_LINK_LOST', 'CLUSTER_LINK_LOST'], 'and it is one of a and b')
  })
})

void test('a dial that gives up after it was accepted leaves no link behind', async (t) => {
  await passes({ network: calm }, async ({ simulation, network, transport }) => {
    const accepted: End[] = []
    const any = 'ws://127.0.0.1:0' as NodeAddress
    const listener = await transport('b').listen(any, (link) => void accepted.push(new End(simulation, link)))
    const undo = network.clog('b', 'a')
    const dial = transport('a').dial(listener.address, { timeoutMs: 1_000 })
    t.equal(await codeOf(dial), 'CLUSTER_DIAL_TIMEOUT')
    undo()
    await simulation.sleep(10)
    t.same(
      accepted.map(({ ended }) => ended),
      ['CLUSTER_LINK_LOST'],
    )
  })
})

// ---- The picture -----------------------------------------------------------------------------------------------

void test('a trace has an arrow for each frame: sent, then arrived or lost with why', async (t) => {
  const { trace } = await passes(
    { network: calm, trace: true, choices: [] },
    async ({ simulation, network, link }) => {
      const { near } = await link('a', 'b')
      near.send(1)
      await simulation.sleep(1)
      network.labelOf = (_link, frame) => `number ${numberOf(frame)}`
      network.damage('a', 'b', 'corrupt')
      near.send(1)
      await simulation.sleep(1)
    },
  )
  const told = trace.flatMap((event) => {
    if (event.type === 'sent') return [`${event.lane} sent ${event.message} to ${event.to}`]
    if (event.type === 'arrived') return [`${event.lane}: ${event.message} arrived`]
    return event.type === 'lost' ? [`${event.lane} lost: ${event.why}`] : []
  })
  t.same(told, [
    'a sent frame of 8 bytes to b',
    'b: frame of 8 bytes arrived',
    'a sent number 1 to b',
    'a lost: it was damaged on the way',
  ])
})

// ---- Single messages -------------------------------------------------------------------------------------------

void test('messages of lossy protocols: lost, doubled, replayed, overtaken, by type and direction', async (t) => {
  await passes({ seed: 4, network: calm }, async ({ simulation, network, link }) => {
    const { far } = await link('a', 'b')
    const delivered: string[] = []
    const tell = (type: string): void =>
      far.link.unreliable?.('Gossip', type, () => void delivered.push(type))
    const afterAll = async (...types: string[]): Promise<readonly string[]> => {
      delivered.length = 0
      for (const type of types) tell(type)
      await simulation.sleep(60_000)
      return [...delivered]
    }
    t.same(await afterAll('ping', 'ack'), ['ping', 'ack'], 'nothing happens by itself')
    let undo = network.messages('message-loss', { type: 'ping' })
    t.same(await afterAll('ping', 'ack', 'ping'), ['ack'])
    undo()
    undo = network.messages('message-duplicate', { type: 'ack', protocol: 'Gossip' })
    t.same(await afterAll('ping', 'ack', 'ping'), ['ping', 'ack', 'ack', 'ping'])
    undo()
    undo = network.messages('message-replay', { type: 'ping' })
    t.same(await afterAll('ping', 'ack'), ['ping', 'ack', 'ping'])
    undo()
    undo = network.messages('message-reorder', { type: 'ping' })
    t.same(await afterAll('ping', 'ack'), ['ack', 'ping'])
    undo()
    network.messages('message-loss', { from: 'b' })
    t.same(await afterAll('ping'), ['ping'], 'another direction')
    network.messages('message-loss', { from: 'a', to: 'b', p: 0.5 })
    const kept = (await afterAll(...Array.from({ length: 200 }, () => 'ping'))).length
    t.ok(kept > 60 && kept < 140, `${kept} of 200`)
    network.heal()
    t.same(await afterAll('ping', 'ack'), ['ping', 'ack'])
  }).then(({ stats }) => {
    t.equal(stats.faults['message-duplicate'], 1)
    t.equal(stats.faults['message-replay'], 1)
    t.equal(stats.faults['message-reorder'], 1)
  })
})

void test('only tells of protocols that say they are lossy are touched; never their asks', async (t) => {
  const fields = { n: Type.Integer() }
  const Lossy = protocol('net-lossy', { put: tell(fields), get: ask(Type.Integer()) }, { delivery: 'lossy' })
  const Safe = protocol('net-safe', { put: tell(fields), get: ask(Type.Integer()) })
  const got = { lossy: [] as number[], safe: [] as number[] }
  let asked = 0
  const root = actor(Lossy, () => ({ put: ({ n }) => void got.lossy.push(n), get: () => ++asked }))
  const safe = actor(Safe, () => ({ put: ({ n }) => void got.safe.push(n), get: () => 0 }))
  const { stats } = await passes({ seed: 2, network: calm }, async (bed) => {
    const { simulation, network, process } = bed
    const start = (name: string, listen: string): Promise<ClusterNode> => {
      const { platform } = process(name)
      return startNode({
        name,
        listen,
        seeds: ['ws://127.0.0.1:7001', 'ws://127.0.0.1:7002'],
        platform,
        transport: bed.transport(name),
        handleSignals: false,
      })
    }
    const [a, b] = [await start('a', 'ws://127.0.0.1:7001'), await start('b', 'ws://127.0.0.1:7002')]
    await a.whenMembers(2)
    await b.whenMembers(2)
    b.system.spawn('lossy', root)
    b.system.spawn('safe', safe)
    const lossyRef = a.ref(Lossy, 'b', '/user/lossy')
    const safeRef = a.ref(Safe, 'b', '/user/safe')
    const tellBoth = async (): Promise<void> => {
      for (let n = 0; n < 3; n++) {
        lossyRef.tell({ type: 'put', n })
        safeRef.tell({ type: 'put', n })
      }
      await simulation.sleep(1_000)
    }
    await tellBoth()
    t.same(got.lossy, [0, 1, 2])
    let undo = network.messages('message-duplicate')
    await tellBoth()
    t.same(got.lossy, [0, 1, 2, 0, 0, 1, 1, 2, 2])
    t.equal(await lossyRef.ask({ type: 'get' }), 1, 'an ask is not doubled')
    undo()
    undo = network.messages('message-loss', { type: 'put' })
    got.lossy.length = 0
    await tellBoth()
    t.same(got.lossy, [])
    t.equal(await lossyRef.ask({ type: 'get' }), 2, 'and not lost')
    undo()
    t.same(got.safe, [0, 1, 2, 0, 1, 2, 0, 1, 2])
  })
  t.equal(stats.faults['message-duplicate'], 3)
  t.equal(stats.faults['message-loss'], 3)
})

void test('wrong parameters are RangeErrors that name what is right', async (t) => {
  await passes({ network: calm }, async ({ simulation, network }) => {
    t.throws(() => network.clog('a', 'x'), /no host "x".*knows a, b/)
    t.throws(() => network.limit('a', 'b', { framesMax: 0 }), /framesMax must be at least 1/)
    t.throws(() => network.limit('a', 'b', { slowFactor: 0.5 }), RangeError)
    t.throws(() => network.messages('message-loss', { p: 0 }), /p must be above 0/)
    t.throws(() => new SimulatedNetwork(simulation, { keepaliveMs: 0 }), RangeError)
    t.throws(() => new SimulatedNetwork(simulation, { windowBytes: 0 }), RangeError)
  })
})
