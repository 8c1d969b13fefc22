import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Core = InstanceType<typeof LinkCore>
type Effect = import('../../packages/cluster/src/membership/link-step.ts').LinkEffect
type Input = import('../../packages/cluster/src/membership/link-step.ts').LinkInput
type Options = import('../../packages/cluster/src/membership/link-options.ts').LinkOptions
type KnownLife = import('../../packages/cluster/src/membership/link-options.ts').KnownLife
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { LinkCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/link-core.ts')>(
  'cluster',
  'membership/link-core',
)

const at = (port: number): Address => `ws://127.0.0.1:${port}` as Address

function makeCore(
  name: string,
  port: number,
  options: Partial<Options> = {},
  seeds: readonly number[] = [],
): Core {
  const core = new LinkCore({
    self: { name, incarnation: 1, address: at(port), weight: 1, roles: [], version: '' },
    known: () => undefined,
    sizes: () => ({ live: 1, known: 1 }),
    random: { float: () => 0 },
    ...options,
  })
  core.step({ type: 'seeds', addresses: seeds.map(at) }, 0)
  return core
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
  weight: 2,
  zone: 'z',
  roles: ['r'],
  version: '1.2',
})
const want = (name: string, port: number, incarnation = 1): Input => ({
  type: 'want',
  name,
  incarnation,
  address: at(port),
})
const closed = (linkId: number, code = 'CLUSTER_LINK_LOST'): Input => ({
  type: 'link-closed',
  linkId,
  reason: { code },
})
const types = (effects: readonly Effect[]): string[] =>
  effects.map((effect) => (effect.type === 'close-link' ? effect.code : effect.type))
const dials = (effects: readonly Effect[]): Address[] =>
  effects.flatMap((effect) => (effect.type === 'dial' ? [effect.address] : []))

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

/** A life that is over comes back: nothing that it says is delivered, and it is told. */
const muted = ['mute-link', 'CLUSTER_STALE_INCARNATION']

void test('LinkCore: RangeError that names the mend', (t) => {
  const self = { weight: 1, roles: [], version: '' }
  const bad: ReadonlyArray<readonly [Partial<Options>, RegExp]> = [
    [{ reconnectMinMs: 0 }, /reconnectMinMs 0/],
    [{ reconnectMinMs: 200, reconnectMaxMs: 100 }, /reconnectMaxMs 100: .* from 200/],
    [{ reconnectJitter: 2 }, /reconnectJitter 2/],
    [{ settleMs: -1 }, /settleMs -1/],
    [{ waitingMs: 500 }, /waitingMs 500: it must be from 501/],
    [{ idleMs: 0 }, /idleMs 0/],
    [{ membersMax: 0 }, /membersMax 0/],
    [{ self: { name: '', incarnation: 1, address: at(1), ...self } }, /empty name/],
    [{ self: { name: 'a', incarnation: 0.5, address: at(1), ...self } }, /incarnation 0.5/],
  ]
  for (const [options, message] of bad)
    t.throws(() => makeCore('a', 1, options), { name: 'RangeError', message })
  t.end()
})

void test('LinkCore: who is met is told with everything it said of itself, once for a life, before its first link', (t) => {
  const core = makeCore('a', 1)
  core.step({ type: 'started' }, 0)
  const peer = {
    name: 'b',
    incarnation: 1,
    address: at(2),
    weight: 2,
    zone: 'z',
    roles: ['r'],
    version: '1.2',
  }
  t.same(core.step(established(1, 'b', 1, 2), 1), [
    { type: 'met', peer, linkId: 1 },
    { type: 'use-link', name: 'b', incarnation: 1, linkId: 1, epoch: 1 },
    { type: 'choose', linkId: 1 },
  ])
  t.same(core.link('b'), { linkId: 1, incarnation: 1, epoch: 1, dialledByUs: false })
  core.step(closed(1), 2)
  t.equal(core.link('b'), undefined)
  t.same(types(core.step(established(2, 'b', 1, 2), 3)), ['use-link', 'choose'])
  t.end()
})

void test('LinkCore: membersMax bounds the table; who is over for longest is forgotten first', (t) => {
  const core = makeCore('a', 1, { membersMax: 2 })
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'b', 1, 2), 1)
  core.step(want('c', 3), 1)
  t.same(types(core.step(established(3, 'd', 1, 4), 2)), ['CLUSTER_MEMBERS_MAX'])
  t.same(core.step(want('d', 4), 2), [])
  core.step({ type: 'ended', name: 'c', incarnation: 1, code: 'CLUSTER_MEMBER_LEFT' }, 3)
  core.step({ type: 'dial-failed', address: at(3), code: 'CLUSTER_DIAL_TIMEOUT' }, 3)
  core.step({ type: 'goodbye', linkId: 1 }, 4)
  t.ok(types(core.step(established(4, 'd', 1, 4), 5)).includes('met'))
  t.same(types(core.step(established(5, 'b', 1, 2), 6)), muted, 'b is still known')
  t.ok(types(core.step(established(6, 'c', 1, 3), 7)).includes('met'), 'c was forgotten')
  t.end()
})

void test('LinkCore: links that wait are bounded, in all and for one name, and so are those to be refused', (t) => {
  const refusals = (membersMax: number, name: (n: number) => string): string[] => {
    const core = makeCore('z', 1, { membersMax })
    core.step({ type: 'started' }, 0)
    const codes: string[] = []
    for (let n = 0; n < 100; n++) codes.push(...types(core.step(established(n, name(n), 1, n), 1)))
    return codes
  }
  t.equal(refusals(10, (n) => `a${n}`).length, 100 - 22)
  const core = makeCore('z', 1)
  core.step({ type: 'started' }, 0)
  const codes: string[] = []
  for (let n = 0; n < 100; n++) codes.push(...types(core.step(established(n, 'a', 1, 2), 1)))
  t.same(codes, Array(92).fill('CLUSTER_MEMBERS_MAX'))
  core.step({ type: 'ended', name: 'a', incarnation: 1, code: 'CLUSTER_MEMBER_LEFT' }, 2)
  core.step({ type: 'goodbye', linkId: 0 }, 2)
  const over = makeCore('z', 1, {
    known: () => ({ incarnation: 1, address: at(2), isOver: true }),
  })
  over.step({ type: 'started' }, 0)
  const stale: string[] = []
  for (let n = 0; n < 100; n++) stale.push(...types(over.step(established(n, 'a', 1, 2), 1)))
  const told: readonly string[] = Array(92).fill('CLUSTER_STALE_INCARNATION')
  t.same(stale, [...Array(8).fill('mute-link'), ...told], 'the rest is told a little later')
  t.end()
})

void test('LinkCore: one dial at a time for an address, and none while a link to its node stands', (t) => {
  const core = makeCore('a', 1, {}, [2, 3])
  t.same(types(core.step({ type: 'started' }, 0)), ['dial', 'dial'])
  t.same(types(drain(core, 400)), [])
  core.step(established(1, 'b', 1, 2, true), 401)
  // The second seed is the same node under another address: the second link is closed, and the address left
  // alone.
  t.same(types(core.step({ ...established(2, 'b', 1, 2, true), dialledAddress: at(3) } as Input, 402)), [
    'CLUSTER_DUPLICATE_LINK',
    'choose',
  ])
  t.notOk(types(drain(core, 2_000)).includes('dial'))
  t.same(types(core.step(closed(1), 2_001)), ['lost-link', 'link-lost'])
  t.equal(types(drain(core, 2_300)).filter((type) => type === 'dial').length, 1, 'one of the two addresses')
  t.end()
})

void test('LinkCore: a hundred members that gossip told of are dialled sixteen at a time, and none is left out', (t) => {
  const core = makeCore('a', 1)
  core.step({ type: 'started' }, 0)
  const queue: Address[] = []
  for (let n = 0; n < 100; n++) queue.push(...dials(core.step(want(`m${n}`, 100 + n), 1)))
  t.equal(queue.length, 16)
  t.equal(core.nextDeadlineMs(), undefined, 'a full house waits for an end, not for the time')
  const seen = new Set<Address>()
  let linkId = 0
  for (let address = queue.shift(); address !== undefined; address = queue.shift()) {
    const port = Number(address.split(':').at(-1))
    seen.add(address)
    const input =
      port % 2 === 0
        ? established(linkId++, `m${port - 100}`, 1, port, true)
        : ({ type: 'dial-failed', address, code: 'CLUSTER_DIAL_TIMEOUT' } as const)
    queue.push(...dials(core.step(input, 2)))
    t.ok(queue.length <= 16)
  }
  t.equal(seen.size, 100)
  t.end()
})

void test('LinkCore: a hundred addresses that swallow everything do not keep a lost member from its turn', (t) => {
  const core = makeCore('a', 1)
  core.step({ type: 'started' }, 0)
  core.step(established(1_000, 'b', 1, 2), 1)
  const queue: Array<readonly [number, Address]> = []
  for (let n = 0; n < 100; n++)
    for (const address of dials(core.step(want(`m${n}`, 100 + n), 10_000))) queue.push([20_000, address])
  core.step(closed(1_000), 10_001)
  let dialledMs: number | undefined
  while (dialledMs === undefined) {
    const [atMs = 0, address = at(0)] = queue.shift() ?? []
    for (const next of dials(
      core.step({ type: 'dial-failed', address, code: 'CLUSTER_DIAL_TIMEOUT' }, atMs),
    )) {
      queue.push([atMs + 10_000, next])
      if (next === at(2)) dialledMs = atMs
    }
  }
  t.ok(dialledMs <= 10_000 + (100 / 16 + 1) * 10_000, `at ${dialledMs}`)
  t.end()
})

void test('LinkCore: chosen and busy look at no other link and no address', (t) => {
  let asked = 0
  const core = makeCore('z', 1, { random: { float: () => asked++ } })
  core.step({ type: 'started' }, 0)
  core.step({ type: 'mesh', mode: 'on-demand' }, 0)
  for (let n = 0; n < 200; n++) core.step(established(n, `m${n}`, 1, 100 + n, true), 1)
  for (let n = 0; n < 200; n++)
    t.same(types(core.step({ type: 'chosen', linkId: n }, 2)), ['met', 'use-link'])
  t.ok((core.nextDeadlineMs() ?? 0) <= 30_002)
  for (let n = 0; n < 100; n++) t.same(core.step({ type: 'busy', linkId: n }, 20_000), [])
  const idle = drain(core, 49_999).filter((effect) => effect.type === 'link-lost')
  t.same(
    idle.map((effect) => effect.name),
    Array.from({ length: 100 }, (_, n) => `m${100 + n}`),
    'those that were not busy',
  )
  t.equal(drain(core, 50_000).filter((effect) => effect.type === 'link-lost').length, 100)
  t.equal(core.nextDeadlineMs(), undefined)
  t.end()
})

void test('LinkCore: every order of effects that is promised, in one step', (t) => {
  const core = makeCore('a', 1)
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'b', 1, 2), 1)
  const replaced = core.step(established(2, 'b', 2, 2), 2)
  t.same(types(replaced), ['lost-link', 'CLUSTER_MEMBER_REPLACED', 'met', 'use-link', 'choose'])
  const dead = core.step({ type: 'link-dead', name: 'b', incarnation: 2 }, 3)
  t.same(types(dead), ['lost-link', 'CLUSTER_LINK_DEAD', 'link-lost', 'dial'])
  core.step(established(3, 'b', 2, 2, true), 4)
  const ended = core.step({ type: 'ended', name: 'b', incarnation: 2, code: 'CLUSTER_MEMBER_SILENT' }, 5)
  t.same(types(ended), ['lost-link', 'CLUSTER_MEMBER_SILENT'])
  t.end()
})

void test('LinkCore: an end of an older or a newer life than the linked one', (t) => {
  const core = makeCore('a', 1)
  core.step({ type: 'started' }, 0)
  core.step(established(1, 'b', 5, 2), 1)
  const end = (incarnation: number): string[] =>
    types(core.step({ type: 'ended', name: 'b', incarnation, code: 'CLUSTER_MEMBER_SILENT' }, 2))
  t.same(end(4), [])
  t.same(end(6), ['lost-link', 'CLUSTER_MEMBER_SILENT'], 'who has had a newer life is over as well')
  t.same(types(core.step(established(2, 'b', 6, 2), 3)), muted)
  t.same(end(9), [], 'of nobody')
  t.end()
})

void test('LinkCore: inputs about unknown links, before the start and after leaving do nothing', (t) => {
  const core = makeCore('a', 1, {}, [2])
  t.same(core.step({ type: 'tick' }, 0), [])
  t.equal(core.nextDeadlineMs(), undefined)
  core.step({ type: 'started' }, 0)
  t.same(core.step({ type: 'started' }, 1), [])
  const others: readonly Input[] = [
    closed(9),
    { type: 'goodbye', linkId: 9 },
    { type: 'chosen', linkId: 9 },
    { type: 'busy', linkId: 9 },
    { type: 'dial-failed', address: at(77), code: 'CLUSTER_DIAL_REFUSED' },
    { type: 'link-dead', name: 'b', incarnation: 1 },
    { type: 'ended', name: 'b', incarnation: 1, code: 'CLUSTER_MEMBER_SILENT' },
    { type: 'ended', name: 'a', incarnation: 1, code: 'CLUSTER_MEMBER_SILENT' },
    { type: 'mesh', mode: 'full' },
  ]
  for (const input of others) t.same(core.step(input, 2), [], input.type)
  core.step({ type: 'leave' }, 3)
  for (const input of [...others, want('b', 2), { type: 'leave' } as const, { type: 'tick' } as const])
    t.same(core.step(input, 9_000), [], input.type)
  t.equal(core.nextDeadlineMs(), undefined)
  t.throws(() => core.step({ type: 'hello' } as unknown as Input, 9_001), {
    name: 'TypeError',
    message: /"hello"/,
  })
  t.end()
})

void test('LinkCore: a member whose link breaks every second is dialled soon after each', (t) => {
  const core = makeCore('a', 1, {}, [2])
  core.step({ type: 'started' }, 0)
  for (let n = 0; n < 20; n++) {
    core.step(established(n, 'b', 1, 2, true), 1_000 * n + 200)
    core.step(closed(n), 1_000 * n + 900)
    t.same(
      types(drain(core, 1_000 * n + 1_001)).filter((type) => type === 'dial'),
      ['dial'],
    )
  }
  t.equal(core.status().peers[0]?.epoch, 20)
  t.end()
})

// ---- many cores on a network by chance

interface End {
  readonly node: number
  /** The life of the node that holds this end; what comes later reaches nobody. */
  readonly life: number
}

interface Pipe {
  readonly id: number
  readonly ends: readonly [End, End]
  readonly freeMs: [number, number]
  isCut: boolean
}

interface Machine {
  readonly name: string
  /** 0 while it is down. */
  incarnation: number
  highest: number
  core: Core | undefined
  /** What stands for the membership: who was met, and who was given up. */
  readonly known: Map<string, KnownLife>
  readonly used: Map<string, { incarnation: number; linkId: number; epoch: number }>
  readonly epochs: Map<string, number>
  readonly dialling: Set<Address>
}

/**
 * Cores that dial each other over links whose every delay is drawn: handshakes end at different times at the two ends,
 * frames of one direction keep their order, a close comes behind them. Nodes crash and come back as new lives, give each
 * other up wrongly, and are cut off from each other.
 */
class World {
  readonly machines: Machine[]
  readonly pipes = new Map<number, Pipe>()
  readonly faults: string[] = []
  readonly blocked = new Set<string>()
  readonly count = new Map<string, number>()
  nowMs = 0
  lastDialMs = 0
  readonly #draw: () => number
  readonly #events: Array<{ readonly atMs: number; readonly run: () => void }> = []
  #nextId = 0

  constructor(names: readonly string[], draw: () => number) {
    this.#draw = draw
    this.machines = names.map((name) => ({
      name,
      incarnation: 0,
      highest: 0,
      core: undefined,
      known: new Map(),
      used: new Map(),
      epochs: new Map(),
      dialling: new Set(),
    }))
    this.machines.forEach((_, node) => this.after(this.#draw() * 2, () => this.start(node)))
  }

  run(untilMs: number): void {
    for (;;) {
      let first = -1
      let dueMs = untilMs
      this.#events.forEach(({ atMs }, index) => {
        if (atMs > dueMs || (atMs === dueMs && first >= 0)) return
        dueMs = atMs
        first = index
      })
      let tickNode = -1
      this.machines.forEach(({ core }, node) => {
        const deadlineMs = core?.nextDeadlineMs()
        if (deadlineMs === undefined || deadlineMs >= dueMs) return
        dueMs = deadlineMs
        tickNode = node
      })
      this.nowMs = Math.max(this.nowMs, dueMs)
      if (tickNode >= 0) this.feed(tickNode, { type: 'tick' })
      else if (first >= 0) this.#events.splice(first, 1)[0]?.run()
      else return
    }
  }

  after(delayMs: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + delayMs, run })
  }

  start(node: number): void {
    const machine = this.#machine(node)
    if (machine.incarnation > 0) return
    machine.highest++
    machine.incarnation = machine.highest
    for (const map of [machine.known, machine.used, machine.epochs, machine.dialling]) map.clear()
    machine.core = new LinkCore({
      self: {
        name: machine.name,
        incarnation: machine.incarnation,
        address: at(node),
        weight: 1,
        roles: [],
        version: '',
      },
      known: (name) => machine.known.get(name),
      sizes: () => {
        const lives = [...machine.known.values()]
        return { live: 1 + lives.filter(({ isOver }) => !isOver).length, known: 1 + lives.length }
      },
      random: { float: () => this.#draw() / 101 },
      idleMs: 3_000,
    })
    this.feed(node, { type: 'started' })
    this.feed(node, { type: 'seeds', addresses: this.machines.map((_, port) => at(port)) })
  }

  /** As by kill -9; the others learn it from their links. */
  crash(node: number): void {
    const machine = this.#machine(node)
    for (const pipe of this.pipes.values()) {
      if (pipe.ends.some((end) => end.node === node && end.life === machine.incarnation)) this.cut(pipe)
    }
    machine.incarnation = 0
    machine.core = undefined
    machine.used.clear()
  }

  /** The connection breaks: both ends learn it some time later, what was under way is lost. */
  cut(pipe: Pipe): void {
    if (pipe.isCut) return
    pipe.isCut = true
    this.pipes.delete(pipe.id)
    for (const end of pipe.ends) this.after(this.#draw(), () => this.#feedEnd(end, closed(pipe.id)))
  }

  /** `node` gives the life of `peer` that it knows up, rightly or not. */
  giveUp(node: number, peer: number): void {
    const machine = this.#machine(node)
    const { name } = this.#machine(peer)
    const life = machine.known.get(name)
    if (machine.core === undefined || life === undefined || life.isOver) return
    machine.known.set(name, { ...life, isOver: true })
    const { incarnation } = life
    this.feed(node, { type: 'ended', name, incarnation, code: 'CLUSTER_MEMBER_SILENT' })
  }

  /** Gossip tells `node` of `peer`, and of nobody who is over. */
  tell(node: number, peer: number): void {
    const { name, incarnation } = this.#machine(peer)
    if (node !== peer && incarnation > 0)
      this.feed(node, { type: 'want', name, incarnation, address: at(peer) })
  }

  feed(node: number, input: Input): void {
    const machine = this.#machine(node)
    const life = machine.incarnation
    for (const effect of machine.core?.step(input, this.nowMs) ?? []) {
      if (machine.incarnation === life) this.#carryOut(node, machine, effect)
    }
  }

  #feedEnd({ node, life }: End, input: Input): void {
    if (this.#machine(node).incarnation === life) this.feed(node, input)
  }

  #carryOut(node: number, machine: Machine, effect: Effect): void {
    this.count.set(effect.type, (this.count.get(effect.type) ?? 0) + 1)
    const from = { node, life: machine.incarnation }
    switch (effect.type) {
      case 'dial':
        if (machine.dialling.has(effect.address))
          this.faults.push(`${machine.name} dials ${effect.address} twice`)
        machine.dialling.add(effect.address)
        if (machine.dialling.size > 16)
          this.faults.push(`${machine.name} dials ${machine.dialling.size} at once`)
        this.lastDialMs = this.nowMs
        this.after(this.#draw(), () => this.#arrive(from, effect.address))
        return
      case 'mute-link':
        if ([...machine.used.values()].some(({ linkId }) => linkId === effect.linkId))
          this.faults.push(`${machine.name} does not hear link ${effect.linkId}, which it uses`)
        return
      case 'choose':
        this.#send(effect.linkId, from, { type: 'chosen', linkId: effect.linkId })
        return
      case 'close-link':
        if ([...machine.used.values()].some(({ linkId }) => linkId === effect.linkId))
          this.faults.push(`${machine.name} closes link ${effect.linkId}, which it uses`)
        this.#send(effect.linkId, from, closed(effect.linkId, effect.code))
        return
      case 'met':
        if (machine.epochs.has(`${effect.peer.name}/${effect.peer.incarnation}`))
          this.faults.push(`${machine.name} met ${effect.peer.name} twice`)
        machine.known.set(effect.peer.name, { ...effect.peer, isOver: false })
        return
      case 'use-link':
        this.#use(machine, effect)
        return
      case 'lost-link': {
        const used = machine.used.get(effect.name)
        if (used?.epoch !== effect.epoch || used.incarnation !== effect.incarnation)
          this.faults.push(`${machine.name} lost a link to ${effect.name} that it did not use`)
        machine.used.delete(effect.name)
        return
      }
      case 'link-lost':
        if (machine.used.has(effect.name)) this.faults.push(`${machine.name} has a link to ${effect.name}`)
        return
      case 'self-removed':
        // The lives that it gave up itself are forgotten with it: a new core.
        this.crash(node)
        this.after(this.#draw(), () => this.start(node))
        return
      case 'name-taken':
        this.faults.push(`${effect.name} taken: ${effect.addresses.join(' ')}`)
        return
      case 'refused':
    }
  }

  #use(machine: Machine, effect: Effect & { readonly type: 'use-link' }): void {
    const { name, incarnation, linkId, epoch } = effect
    const life = machine.known.get(name)
    const key = `${name}/${incarnation}`
    if (machine.used.has(name)) this.faults.push(`${machine.name} uses two links to ${name}`)
    if (life?.incarnation !== incarnation || life.isOver)
      this.faults.push(`${machine.name} uses ${key}, which is over`)
    if (epoch !== (machine.epochs.get(key) ?? 0) + 1)
      this.faults.push(`${machine.name}: epoch ${epoch} of ${key}`)
    machine.epochs.set(key, epoch)
    machine.used.set(name, { incarnation, linkId, epoch })
  }

  #arrive(from: End, address: Address): void {
    const peer = Number(address.split(':').at(-1))
    const { incarnation } = this.#machine(peer)
    const isBlocked = this.blocked.has([from.node, peer].sort().join())
    if (incarnation === 0 || isBlocked) {
      const code = isBlocked ? 'CLUSTER_DIAL_TIMEOUT' : 'CLUSTER_DIAL_REFUSED'
      this.after(this.#draw(), () => this.#dialled(from, address, { type: 'dial-failed', address, code }))
      return
    }
    const to = { node: peer, life: incarnation }
    const pipe: Pipe = { id: this.#nextId++, ends: [from, to], isCut: false, freeMs: [0, 0] }
    this.pipes.set(pipe.id, pipe)
    // Either end may know first; a link that broke in its handshake was none.
    this.#sendOn(pipe, from, () => this.#feedEnd(to, this.#hello(pipe, from, false)))
    this.#sendOn(
      pipe,
      to,
      () => this.#dialled(from, address, this.#hello(pipe, to, true)),
      () => {
        this.#dialled(from, address, { type: 'dial-failed', address, code: 'CLUSTER_LINK_LOST' })
      },
    )
  }

  #dialled(from: End, address: Address, input: Input): void {
    const machine = this.#machine(from.node)
    if (machine.incarnation !== from.life) return
    machine.dialling.delete(address)
    this.feed(from.node, input)
  }

  #send(linkId: number, from: End, input: Input): void {
    const pipe = this.pipes.get(linkId)
    if (pipe === undefined) return
    const to = pipe.ends[pipe.ends[0].node === from.node ? 1 : 0]
    this.#sendOn(pipe, from, () => this.#feedEnd(to, input))
  }

  #sendOn(pipe: Pipe, from: End, deliver: () => void, lost: () => void = () => undefined): void {
    const side = pipe.ends[0].node === from.node ? 0 : 1
    const atMs = Math.max(this.nowMs + this.#draw(), pipe.freeMs[side])
    pipe.freeMs[side] = atMs
    this.after(atMs - this.nowMs, () => (pipe.isCut ? lost() : deliver()))
  }

  #hello(pipe: Pipe, peer: End, dialledByUs: boolean): Input {
    return established(pipe.id, this.#machine(peer.node).name, peer.life, peer.node, dialledByUs)
  }

  #machine(node: number): Machine {
    const machine = this.machines[node]
    if (machine === undefined) throw new Error(`no node ${node}`)
    return machine
  }
}

/** Delays of 1 to 100 ms from a list that fast-check shrinks. */
function drawer(choices: readonly number[]): () => number {
  let n = 0
  return () => 1 + (choices[n++ % choices.length] ?? 0)
}

/** Pairs that do not use one and the same link between their present lives. */
function disagreements(world: World, mayBeNone = false): string[] {
  const found: string[] = []
  for (const a of world.machines) {
    for (const b of world.machines) {
      if (a.name >= b.name) continue
      const mine = a.used.get(b.name)
      const theirs = b.used.get(a.name)
      if (mayBeNone && mine === undefined && theirs === undefined) continue
      const isSame = mine !== undefined && mine.linkId === theirs?.linkId
      if (!isSame || mine.incarnation !== b.incarnation || theirs.incarnation !== a.incarnation) {
        found.push(`${a.name}/${a.incarnation}-${b.name}/${b.incarnation}: ${JSON.stringify([mine, theirs])}`)
      }
    }
  }
  return found
}

const namesArb = fc.shuffledSubarray(['a', 'b', 'c', 'd', 'e'], { minLength: 2 })
const choicesArb = fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 7, maxLength: 41 })
const faultsArb = fc.array(
  fc.record({
    atMs: fc.integer({ min: 0, max: 8_000 }),
    kind: fc.constantFrom('cut', 'crash', 'give-up', 'both-give-up', 'dead', 'block', 'tell'),
    node: fc.nat({ max: 4 }),
    peer: fc.nat({ max: 4 }),
  }),
  { maxLength: 14 },
)

function inject(world: World, kind: string, node: number, peer: number): void {
  const machine = world.machines[node]
  const name = world.machines[peer]?.name ?? ''
  const used = machine?.used.get(name)
  if (machine === undefined || node === peer) return
  if (kind === 'cut') {
    const pipe = world.pipes.get(used?.linkId ?? -1)
    if (pipe !== undefined) world.cut(pipe)
  } else if (kind === 'crash') {
    world.crash(node)
    world.after(700, () => world.start(node))
  } else if (kind === 'give-up') world.giveUp(node, peer)
  else if (kind === 'both-give-up') {
    world.giveUp(node, peer)
    world.giveUp(peer, node)
  } else if (kind === 'dead' && used !== undefined) {
    world.feed(node, { type: 'link-dead', name, incarnation: used.incarnation })
  } else if (kind === 'block') {
    const pair = [node, peer].sort().join()
    world.blocked.add(pair)
    const pipe = world.pipes.get(used?.linkId ?? -1)
    if (pipe !== undefined) world.cut(pipe)
    world.after(2_000, () => world.blocked.delete(pair))
  } else if (kind === 'tell') world.tell(node, peer)
}

void test('LinkCore: however links race, both ends come to use the same one, and no link in use is ever lost', (t) => {
  fc.assert(
    fc.property(namesArb, choicesArb, (names, choices) => {
      const world = new World(names, drawer(choices))
      world.run(6_000)
      const lost = ['lost-link', 'link-lost', 'self-removed'].filter((type) => world.count.has(type))
      const found = [...disagreements(world), ...world.faults, ...lost]
      if (found.length > 0) throw new Error(found.join('\n'))
    }),
    { numRuns: 150 },
  )
  t.end()
})

void test('LinkCore: whatever breaks, dies and is given up: at quiet each pair uses one link, between present lives', (t) => {
  const total = new Map<string, number>()
  fc.assert(
    fc.property(namesArb, choicesArb, faultsArb, (names, choices, faults) => {
      const world = new World(names, drawer(choices))
      for (const { atMs, kind, node, peer } of [...faults].sort((x, y) => x.atMs - y.atMs)) {
        world.run(atMs)
        inject(world, kind, node % names.length, peer % names.length)
      }
      world.run(40_000)
      const found = [...disagreements(world), ...world.faults]
      if (world.lastDialMs > 30_000) found.push('no end of dialling')
      if (found.length > 0) throw new Error(found.join('\n'))
      for (const [type, count] of world.count) total.set(type, (total.get(type) ?? 0) + count)
    }),
    { numRuns: 250 },
  )
  for (const type of ['refused', 'self-removed', 'link-lost'])
    t.ok((total.get(type) ?? 0) > 0, `${type} happened`)
  t.end()
})

void test('LinkCore: on demand each pair uses one link or none, and what is wanted is there', (t) => {
  fc.assert(
    fc.property(namesArb, choicesArb, faultsArb, (names, choices, faults) => {
      const world = new World(names, drawer(choices))
      for (const { atMs, kind, node, peer } of [...faults].sort((x, y) => x.atMs - y.atMs)) {
        world.run(atMs)
        world.feed(node % names.length, { type: 'mesh', mode: 'on-demand' })
        inject(world, kind, node % names.length, peer % names.length)
      }
      names.forEach((_, node) => world.feed(node, { type: 'mesh', mode: 'on-demand' }))
      world.run(40_000)
      names.forEach((_, node) => names.forEach((_name, peer) => world.tell(node, peer)))
      world.run(42_000)
      const found = [...disagreements(world), ...world.faults]
      world.run(60_000)
      found.push(...disagreements(world, true))
      if (world.lastDialMs > 50_000) found.push('no end of dialling')
      if (found.length > 0) throw new Error(found.join('\n'))
    }),
    { numRuns: 150 },
  )
  t.end()
})

void test('LinkCore: members that are wanted, and that end, by the thousand: addresses are looked at a few times', (t) => {
  const core = makeCore('z', 1)
  core.step({ type: 'started' }, 0)
  core.step({ type: 'mesh', mode: 'on-demand' }, 0)
  const many = 1_000
  let under: Address[] = []
  for (let n = 0; n < many; n++) under.push(...dials(core.step(want(`m${n}`, 100 + n), 1)))
  t.equal(under.length, 16)
  // Each of the first sixteen is looked for once, and then asked when the next one is due.
  t.ok(core.scans() <= 4 * 16, `${core.scans()} times`)
  let failed = 0
  while (under.length > 0) {
    failed += under.length
    under = under.flatMap((address) => dials(core.step({ type: 'dial-failed', address, code: 'X' }, 1)))
  }
  t.equal(failed, many, 'each had its turn')
  const before = core.scans()
  for (let n = 0; n < many; n++) {
    core.step({ type: 'ended', name: `m${n}`, incarnation: 1, code: 'CLUSTER_MEMBER_SILENT' }, 2)
  }
  t.equal(core.scans(), before, 'nothing is due sooner because they ended')
  t.ok((core.nextDeadlineMs() ?? 0) <= 1_002, 'and yet the remembered ones have their turn')
  t.equal(dials(drain(core, 3_000)).length > 0, true)
  t.end()
})
