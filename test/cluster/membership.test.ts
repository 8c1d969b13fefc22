import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Core = InstanceType<typeof StaticMembershipCore>
type Effect = import('../../packages/cluster/src/membership/membership.ts').MembershipEffect
type Input = import('../../packages/cluster/src/membership/membership.ts').MembershipInput
type Options = import('../../packages/cluster/src/membership/static-options.ts').StaticMembershipOptions
type Member = import('../../packages/cluster/src/membership/view.ts').Member
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { fnv1a64, makeView, viewId } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/view.ts')
>('cluster', 'membership/view')
const { deadlineDetector } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/failure-detector.ts')
>('cluster', 'membership/failure-detector')
const { StaticMembershipCore } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/static-core.ts')
>('cluster', 'membership/static-core')
const { backoffMs } = await sourceModule<typeof import('../../packages/cluster/src/membership/dial-plan.ts')>(
  'cluster',
  'membership/dial-plan',
)

const at = (port: number): Address => `ws://127.0.0.1:${port}` as Address
const member = (name: string, incarnation: number, status: Member['status'] = 'alive'): Member => ({
  name,
  incarnation,
  address: at(1),
  status,
  weight: 1,
  roles: [],
  version: '',
})

void test('fnv1a64 gives the published vectors', (t) => {
  // Noll, "FNV hash", test vectors of FNV-1a with 64 bits.
  for (const [text, wanted] of [
    ['', 'cbf29ce484222325'],
    ['a', 'af63dc4c8601ec8c'],
    ['b', 'af63df4c8601f1a5'],
    ['foobar', '85944171f73967e8'],
  ] as const)
    t.equal(fnv1a64(text), wanted, text)
  t.end()
})

void test('fnv1a64 is what BigInt says', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      let hash = 0xcbf29ce484222325n
      for (const byte of new TextEncoder().encode(text))
        hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn
      return fnv1a64(text) === hash.toString(16).padStart(16, '0')
    }),
  )
  t.end()
})

void test('viewId: golden values, which nodes of other versions compare with', (t) => {
  t.equal(viewId([]), 'cbf29ce484222325')
  t.equal(viewId([member('a', 1)]), fnv1a64('a\t1\talive\n'))
  t.equal(viewId([member('a', 1)]), 'bfad6b2dd1cef380')
  t.equal(viewId([member('a', 1), member('b', 2, 'suspect')]), '3e1a2d9bdcd6f35d')
  t.end()
})

void test('makeView sorts by code unit, leaves out who owns no places, and depends on no order', (t) => {
  const view = makeView([
    member('b', 1),
    member('é', 1),
    member('B', 1),
    member('c', 1, 'down'),
    member('d', 1, 'left'),
    member('a', 1, 'suspect'),
  ])
  t.same(
    view.members.map(({ name }) => name),
    ['B', 'a', 'b', 'é'],
  )
  fc.assert(
    fc.property(
      fc.shuffledSubarray(['a', 'b', 'c', 'd'], { minLength: 4 }),
      (names) =>
        makeView(names.map((name) => member(name, 1))).viewId ===
        makeView(['a', 'b', 'c', 'd'].map((name) => member(name, 1))).viewId,
    ),
  )
  t.not(makeView([member('a', 1)]).viewId, makeView([member('a', 2)]).viewId, 'the incarnation counts')
  t.not(makeView([member('a', 1)]).viewId, makeView([member('a', 1, 'suspect')]).viewId, 'the status counts')
  t.end()
})

void test('deadlineDetector: silence up to the deadline is fine, hearing starts anew, a stranger is never suspected', (t) => {
  const detector = deadlineDetector({ heartbeatIntervalMs: 100, deadlineMs: 1_000 })
  t.equal(detector.suspicion('a', 5), 0)
  detector.heard('a', 0)
  t.equal(detector.suspicion('a', 500), 0.5)
  t.equal(detector.deadlineMs('a'), 1_000)
  t.ok(detector.suspicion('a', 999) < 1)
  t.equal(detector.suspicion('a', 1_000), 1)
  detector.heard('a', 1_000)
  t.equal(detector.suspicion('a', 1_100), 0.1)
  detector.forget('a')
  t.equal(detector.suspicion('a', 9_000), 0)
  t.equal(detector.deadlineMs('a'), undefined)
  t.end()
})

void test('deadlineDetector: at its own deadline a peer is suspected, whatever the fractions round to', (t) => {
  // A tick that finds nothing to do at the deadline is asked for again at the same instant: a loop without end on a
  // clock that stands still, as in a simulation.
  const detector = deadlineDetector()
  let heardMs = 13_164.262_499_999_953
  for (let i = 0; i < 2_000; i++) {
    heardMs += 0.1 + i / 7
    detector.ran(heardMs, heardMs + i / 3)
    detector.heard('b', heardMs + i / 3)
    const dueMs = detector.deadlineMs('b') ?? Number.NaN
    if (!(detector.suspicion('b', dueMs) >= 1)) t.fail(`heard at ${heardMs}, due at ${dueMs}`)
  }
  t.end()
})

void test('deadlineDetector.ran: a tick that came late by L moves every deadline by L, once', (t) => {
  const detector = deadlineDetector({ heartbeatIntervalMs: 100, deadlineMs: 1_000 })
  detector.heard('a', 0)
  detector.ran(100, 100)
  t.equal(detector.deadlineMs('a'), 1_000, 'not late')
  detector.ran(200, 5_200)
  detector.ran(200, 5_200)
  detector.ran(300, 5_000)
  t.equal(detector.deadlineMs('a'), 6_000)
  t.equal(detector.suspicion('a', 5_200), 0.2)
  detector.heard('a', 5_200)
  t.equal(detector.deadlineMs('a'), 6_200, 'who is heard after the stall has the plain deadline')
  t.end()
})

void test('deadlineDetector and StaticMembershipCore: RangeError that names the mend', (t) => {
  t.throws(() => deadlineDetector({ heartbeatIntervalMs: 5 }), {
    name: 'RangeError',
    message: /heartbeatIntervalMs 5: it must be from 10/,
  })
  t.throws(() => deadlineDetector({ deadlineMs: 900 }), {
    name: 'RangeError',
    message: /at least twice heartbeatIntervalMs \(1000\)/,
  })
  const bad: ReadonlyArray<readonly [Partial<Options>, RegExp]> = [
    [{ reconnectMinMs: 0 }, /reconnectMinMs 0/],
    [{ reconnectMinMs: 200, reconnectMaxMs: 100 }, /reconnectMaxMs 100: .* from 200/],
    [{ reconnectJitter: 2 }, /reconnectJitter 2/],
    [{ settleMs: -1 }, /settleMs -1/],
    [{ membersMax: 0 }, /membersMax 0/],
    [{ membersMax: 1, seeds: [at(1), at(2)] }, /2 seeds: membersMax is 1/],
    [{ self: { name: '', incarnation: 1, address: at(1) } }, /empty name/],
    [{ self: { name: 'a', incarnation: 0.5, address: at(1) } }, /incarnation 0.5/],
    [{ self: { name: 'a', incarnation: 1, address: at(1), weight: -1 } }, /weight -1/],
    [{ deadlineMs: Number.NaN }, /deadlineMs NaN/],
  ]
  for (const [options, message] of bad)
    t.throws(() => makeCore('a', 1, [], options), { name: 'RangeError', message })
  t.end()
})

void test('backoffMs: 100, 200, 400 ... 5,000, less the jitter', (t) => {
  const backoff = { minMs: 100, maxMs: 5_000, jitter: 0.2 }
  t.same(
    [0, 1, 2, 3, 6, 7, 1_000].map((attempts) => backoffMs(backoff, attempts, 0)),
    [100, 100, 200, 400, 3_200, 5_000, 5_000],
  )
  t.equal(backoffMs(backoff, 2, 0.5), 180)
  t.end()
})

function makeCore(
  name: string,
  port: number,
  seeds: readonly number[],
  options: Partial<Options> = {},
): Core {
  return new StaticMembershipCore({
    self: { name, incarnation: 1, address: at(port) },
    seeds: seeds.map(at),
    random: { float: () => 0 },
    ...options,
  })
}

const established = (
  linkId: number,
  name: string,
  incarnation: number,
  port: number,
  dialledByUs = false,
): Input => ({
  type: 'link-established',
  linkId,
  name,
  incarnation,
  address: at(port),
  dialledByUs,
  weight: 1,
})
const types = (effects: readonly Effect[]): string[] =>
  effects.map((effect) => (effect.type === 'close-link' ? effect.code : effect.type))

void test('StaticMembershipCore: membersMax bounds the table; who is down for longest is forgotten first', (t) => {
  const core = makeCore('a', 1, [], { membersMax: 2, deadlineMs: 2_000 })
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'b', 1, 2), 1)
  core.step(established(2, 'c', 1, 3), 1)
  t.same(types(core.step(established(3, 'd', 1, 4), 2)), ['CLUSTER_MEMBERS_MAX'])
  core.step({ type: 'goodbye-received', linkId: 2 }, 3)
  core.step({ type: 'goodbye-received', linkId: 1 }, 4)
  t.ok(types(core.step(established(4, 'd', 1, 4), 5)).includes('member-up'))
  t.same(
    core.status().members.map(({ name, status }) => `${name} ${status}`),
    ['b left', 'd alive'],
  )
  t.end()
})

void test('StaticMembershipCore: links that wait are bounded', (t) => {
  const core = makeCore('z', 1, [], { membersMax: 2 })
  core.step({ type: 'started' }, 0)
  const refused: string[] = []
  for (let n = 0; n < 100; n++) refused.push(...types(core.step(established(n, 'a', 1, 2), 1)))
  t.equal(refused.filter((code) => code === 'CLUSTER_MEMBERS_MAX').length, 94)
  t.end()
})

void test('StaticMembershipCore: a follower closes a link on which nobody says anything', (t) => {
  const core = makeCore('z', 1, [], { deadlineMs: 2_000 })
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'a', 1, 2), 100)
  t.same(
    drain(core, 2_099).map(({ type }) => type),
    [],
  )
  t.same(types(drain(core, 2_100)), ['CLUSTER_MEMBER_SILENT'])
  t.end()
})

void test('StaticMembershipCore: one dial at a time for an address, and none while a link to its node stands', (t) => {
  const core = makeCore('a', 1, [2, 3])
  t.same(types(core.step({ type: 'started' }, 0)), ['dial', 'dial'])
  t.same(types(drain(core, 400)), [])
  core.step(established(1, 'b', 1, 2, true), 401)
  // The second seed is the same node under another address: the second link is closed, and the address left
  // alone.
  t.same(types(core.step({ ...established(2, 'b', 1, 2, true), dialledAddress: at(3) } as Input, 402)), [
    'CLUSTER_DUPLICATE_LINK',
    'send-heartbeat',
  ])
  core.step({ type: 'heartbeat-received', linkId: 1, sequence: 2, kind: 'pong' }, 404)
  t.equal(core.status().members[0]?.roundTripMs, 2)
  t.notOk(types(drain(core, 2_000)).includes('dial'))
  t.same(types(core.step({ type: 'link-closed', linkId: 1, reason: { code: 'X' } }, 2_001)), [
    'lost-link',
    'member-suspected',
    'view-changed',
  ])
  t.equal(types(drain(core, 2_300)).filter((type) => type === 'dial').length, 1, 'one of the two addresses')
  t.end()
})

void test('StaticMembershipCore: a refused dial to an address that the member has left proves nothing', (t) => {
  const core = makeCore('a', 1, [2, 3])
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'b', 1, 3, true), 1)
  core.step({ type: 'goodbye-received', linkId: 1 }, 2)
  core.step(established(2, 'b', 2, 2, true), 3)
  core.step({ type: 'link-closed', linkId: 2, reason: { code: 'X' } }, 4)
  core.step({ type: 'dial-failed', address: at(3), code: 'CLUSTER_DIAL_REFUSED' }, 5)
  t.equal(core.status().members[0]?.status, 'suspect')
  const effects = core.step({ type: 'dial-failed', address: at(2), code: 'CLUSTER_DIAL_REFUSED' }, 6)
  t.ok(types(effects).includes('member-down'))
  t.end()
})

void test('StaticMembershipCore: inputs about unknown links, before the start and after leaving do nothing', (t) => {
  const core = makeCore('a', 1, [2])
  t.same(core.step({ type: 'tick' }, 0), [])
  t.equal(core.nextDeadlineMs(), undefined)
  core.step({ type: 'started' }, 0)
  t.same(core.step({ type: 'started' }, 1), [])
  for (const input of [
    { type: 'link-closed', linkId: 9, reason: { code: 'X' } },
    { type: 'goodbye-received', linkId: 9 },
    { type: 'heartbeat-received', linkId: 9, sequence: 1, kind: 'ping' },
    { type: 'link-active', linkId: 9 },
    { type: 'dial-failed', address: at(77), code: 'X' },
  ] as const)
    t.same(core.step(input, 2), [], input.type)
  core.step({ type: 'leave' }, 3)
  t.same(core.step({ type: 'leave' }, 3), [])
  t.same(core.step({ type: 'tick' }, 9_000), [])
  t.equal(core.nextDeadlineMs(), undefined)
  t.throws(() => core.step({ type: 'hello' } as unknown as Input, 1), {
    name: 'TypeError',
    message: /"hello"/,
  })
  t.end()
})

/** Ticks at every deadline up to `untilMs`. */
function drain(core: Core, untilMs: number): Effect[] {
  const effects: Effect[] = []
  for (
    let dueMs = core.nextDeadlineMs();
    dueMs !== undefined && dueMs <= untilMs;
    dueMs = core.nextDeadlineMs()
  ) {
    effects.push(...core.step({ type: 'tick' }, dueMs))
  }
  return effects
}

// ---- many cores on a network by chance

interface Pipe {
  readonly id: number
  readonly ends: readonly [number, number]
  isCut: boolean
  freeMs: [number, number]
}

/**
 * Cores that dial each other over links whose every delay is drawn: handshakes end at different times at the
 * two ends, frames of one direction keep their order, a close comes behind them. Everything an end is told
 * goes through `later`.
 */
class World {
  readonly cores: Core[]
  readonly log: Array<{ readonly node: number; readonly effect: Effect }> = []
  readonly pipes = new Map<number, Pipe>()
  /** For each node the pipe it uses to each name. */
  readonly used: Array<Map<string, number>>
  nowMs = 0
  readonly #draw: () => number
  readonly #isListening = new Set<number>()
  #events: Array<{ readonly atMs: number; readonly order: number; readonly run: () => void }> = []
  #order = 0

  constructor(names: readonly string[], draw: () => number) {
    this.#draw = draw
    this.cores = names.map((name, node) =>
      makeCore(
        name,
        node,
        names.map((_, port) => port),
        { random: { float: () => draw() / 100 } },
      ),
    )
    this.used = names.map(() => new Map())
    for (let node = 0; node < names.length; node++)
      this.#after(this.#draw() * 2, () => {
        this.#isListening.add(node)
        this.#feed(node, { type: 'started' })
      })
  }

  run(untilMs: number): void {
    for (;;) {
      this.#events.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
      const event = this.#events[0]
      let tickNode = -1
      let dueMs = event?.atMs ?? Number.POSITIVE_INFINITY
      this.cores.forEach((core, node) => {
        const deadlineMs = core.nextDeadlineMs()
        if (deadlineMs !== undefined && deadlineMs < dueMs) {
          dueMs = deadlineMs
          tickNode = node
        }
      })
      if (dueMs > untilMs) {
        this.nowMs = untilMs
        return
      }
      this.nowMs = Math.max(this.nowMs, dueMs)
      if (tickNode >= 0) this.#feed(tickNode, { type: 'tick' })
      else {
        this.#events.shift()
        event?.run()
      }
    }
  }

  /** The connection breaks: both ends learn it some time later, what was under way is lost. */
  cut(pipe: Pipe): void {
    if (pipe.isCut) return
    pipe.isCut = true
    for (const node of pipe.ends) {
      this.#after(this.#draw(), () =>
        this.#feed(node, { type: 'link-closed', linkId: pipe.id, reason: { code: 'CLUSTER_LINK_LOST' } }),
      )
    }
  }

  #after(delayMs: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + delayMs, order: this.#order++, run })
  }

  #feed(node: number, input: Input): void {
    for (const effect of this.cores[node]?.step(input, this.nowMs) ?? []) this.#carryOut(node, effect)
  }

  #carryOut(node: number, effect: Effect): void {
    this.log.push({ node, effect })
    switch (effect.type) {
      case 'dial': {
        const peer = Number(effect.address.split(':').at(-1))
        if (!this.#isListening.has(peer)) {
          const input = {
            type: 'dial-failed',
            address: effect.address,
            code: 'CLUSTER_DIAL_REFUSED',
          } as const
          this.#after(this.#draw(), () => this.#feed(node, input))
          return
        }
        const pipe: Pipe = { id: this.#order++, ends: [node, peer], isCut: false, freeMs: [0, 0] }
        this.pipes.set(pipe.id, pipe)
        // The accepting end knows first, as in the handshake: the dialler sends the last proof.
        this.#send(pipe, node, () => {
          this.#feed(peer, this.#hello(pipe.id, node, false))
        })
        this.#send(pipe, peer, () => this.#feed(node, this.#hello(pipe.id, peer, true)))
        return
      }
      case 'send-heartbeat': {
        const pipe = this.pipes.get(effect.linkId)
        if (pipe === undefined) return
        const { linkId, sequence, kind } = effect
        this.#send(pipe, node, (to) => this.#feed(to, { type: 'heartbeat-received', linkId, sequence, kind }))
        return
      }
      case 'close-link': {
        const pipe = this.pipes.get(effect.linkId)
        if (pipe === undefined) return
        const { linkId, code } = effect
        this.#send(pipe, node, (to) => this.#feed(to, { type: 'link-closed', linkId, reason: { code } }))
        return
      }
      case 'use-link':
        this.used[node]?.set(effect.name, effect.linkId)
        return
      case 'lost-link':
        this.used[node]?.delete(effect.name)
        return
      default:
    }
  }

  #send(pipe: Pipe, from: number, deliver: (to: number) => void): void {
    const side = pipe.ends[0] === from ? 0 : 1
    const atMs = Math.max(this.nowMs + this.#draw(), pipe.freeMs[side])
    pipe.freeMs[side] = atMs
    this.#after(atMs - this.nowMs, () => {
      if (!pipe.isCut) deliver(pipe.ends[1 - side] ?? 0)
    })
  }

  #hello(linkId: number, peer: number, dialledByUs: boolean): Input {
    return established(linkId, this.cores[peer]?.status().self.name ?? '', 1, peer, dialledByUs)
  }
}

/** Delays of 1 to 100 ms from a list that fast-check shrinks. */
function drawer(choices: readonly number[]): () => number {
  let n = 0
  return () => 1 + (choices[n++ % choices.length] ?? 0)
}

const choicesArb = fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 7, maxLength: 41 })

function faults(world: World): string[] {
  const names = world.cores.map((core) => core.status().self.name)
  const found: string[] = []
  const views = new Set(world.cores.map((core) => core.view().viewId))
  if (views.size !== 1) found.push(`${views.size} views`)
  world.cores.forEach((core, a) => {
    if (core.view().members.length !== names.length)
      found.push(`${names[a]} sees ${core.view().members.length}`)
    names.forEach((name, b) => {
      if (a === b) return
      const mine = world.used[a]?.get(name)
      const theirs = world.used[b]?.get(names[a] ?? '')
      if (mine === undefined || mine !== theirs) found.push(`${names[a]}-${name}: ${mine} and ${theirs}`)
    })
  })
  return found
}

void test('StaticMembershipCore: however links race, both ends come to use the same one, and no link in use is ever lost', (t) => {
  fc.assert(
    fc.property(fc.shuffledSubarray(['a', 'b', 'c', 'd'], { minLength: 2 }), choicesArb, (names, choices) => {
      const world = new World(names, drawer(choices))
      world.run(6_000)
      const bad = world.log.filter(({ effect }) =>
        ['lost-link', 'member-suspected', 'member-down', 'self-removed'].includes(effect.type),
      )
      return faults(world).length === 0 && bad.length === 0
    }),
    { numRuns: 150 },
  )
  t.end()
})

void test('StaticMembershipCore: a member whose link breaks every second is dialled soon after each, and not given up', (t) => {
  const core = makeCore('a', 1, [2])
  core.step({ type: 'started' }, 0)
  for (let n = 0; n < 20; n++) {
    core.step(established(n, 'b', 1, 2, true), 1_000 * n + 200)
    core.step({ type: 'link-closed', linkId: n, reason: { code: 'CLUSTER_LINK_LOST' } }, 1_000 * n + 900)
    t.same(
      types(drain(core, 1_000 * n + 1_001)).filter((type) => type === 'dial'),
      ['dial'],
    )
  }
  t.equal(core.status().members[0]?.epoch, 20)
  t.end()
})

void test('StaticMembershipCore: after links were cut by chance all come together again, nobody is given up', (t) => {
  const cutsArb = fc.array(fc.tuple(fc.integer({ min: 0, max: 4_000 }), fc.nat()), { maxLength: 12 })
  fc.assert(
    fc.property(
      fc.shuffledSubarray(['a', 'b', 'c'], { minLength: 2 }),
      choicesArb,
      cutsArb,
      (names, choices, cuts) => {
        const world = new World(names, drawer(choices))
        for (const [atMs, which] of [...cuts].sort((x, y) => x[0] - y[0])) {
          world.run(atMs)
          const used = world.used.flatMap((links) => [...links.values()])
          const pipe = world.pipes.get(used[which % Math.max(1, used.length)] ?? -1)
          if (pipe !== undefined) world.cut(pipe)
        }
        world.run(20_000)
        const epochs = new Map<string, number>()
        for (const { node, effect } of world.log) {
          if (effect.type !== 'use-link') continue
          const key = `${node} ${effect.name} ${effect.incarnation}`
          if (effect.epoch <= (epochs.get(key) ?? 0)) return false
          epochs.set(key, effect.epoch)
        }
        return faults(world).length === 0 && !world.log.some(({ effect }) => effect.type === 'member-down')
      },
    ),
    { numRuns: 150 },
  )
  t.end()
})
