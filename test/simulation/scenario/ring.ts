/** The ring: who owns a key is a function of the view, and of nothing else; what that means for entities. */
import { actor, ask, protocol, type Definition } from '@understudy/runtime'
import { HashRing, type Member } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import type { SimulatedProcess } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { simulateTapped } from '../cluster/link-tap.ts'
import { MemberWatch } from '../cluster/member-watch.ts'
import { codeOfAsk } from '../cluster/who.ts'
import { handOffFaults, handOffTags, runHandOff } from '../ring/hand-off.ts'
import type { Scenario } from '../scenario.ts'

const formedWithinMs = 30_000
const sampled = 100
const keys = Array.from({ length: sampled }, (_, at) => `key-${at}`)
/** With 128 points a member the deviation of a share is 9 % of it: five of them. */
const shareSlack = 1.45

/** `activation` tells one life of the entity from another; `value` counts in that life. */
const add = ask({}, Type.Object({ activation: Type.Integer(), value: Type.Integer() }))
const Counter = protocol('counter', { add })
/** Another kind of entities, that does the same. */
const Tally = protocol('tally', { add })
type CounterDefinition = Definition<(typeof Counter)['messages'], void>

const kindNames = ['counter', 'tally'] as const
type KindName = (typeof kindNames)[number]
const protocolOf = { counter: Counter, tally: Tally } as const

/** Where an activation really lives. */
interface Activation {
  readonly number: number
  readonly kind: KindName
  readonly key: string
  readonly process: SimulatedProcess
}

/** Placement as each view says it, and nothing else. */
class RingWatch {
  readonly #world: World
  readonly #byView = new Map<string, { readonly by: string; readonly text: string }>()
  readonly #last = new Map<
    string,
    { readonly members: readonly Member[]; readonly owners: readonly string[] }
  >()
  readonly #seen = new Map<SimulatedNode, readonly Member[]>()

  constructor(world: World) {
    this.#world = world
    world.invariant('owner-is-a-function-of-the-view', () => this.#look())
  }

  #look(): void {
    for (const node of this.#world.nodes) {
      if (!node.isUp || this.#seen.get(node) === node.node.members()) continue
      this.#seen.set(node, node.node.members())
      this.#judge(node)
    }
  }

  #judge({ name, node }: SimulatedNode): void {
    // Who joins, or leaves, has no places.
    const members = node.members().filter(({ status }) => status === 'alive' || status === 'suspect')
    const owners = keys.map((key) => node.ownerOf(Counter, key) ?? '-')
    const shares = node.shares()
    const text = `${owners.join(' ')} ${[...shares].map(([who, share]) => `${who}=${share}`).join(' ')}`
    // Not the id that the membership says: a life that is over may know more than its node will ever use.
    const view = node
      .members()
      .map((member) => `${member.name} ${member.incarnation} ${member.status}`)
      .join(', ')
    const other = this.#byView.get(view)
    if (other !== undefined && other.by !== name) this.#world.sometimes('two-nodes-one-view')
    this.#world.check(
      'owner-is-a-function-of-the-view',
      other === undefined || other.text === text,
      `At view ${view} "${name}" places keys otherwise than "${other?.by}" did:\n${text}\n${other?.text}`,
    )
    this.#byView.set(view, { by: name, text })
    this.#world.check(
      'owner-is-in-the-view',
      owners.every((owner) => owner === '-' || members.some((member) => member.name === owner)),
      `"${name}" sees ${namesOf(members)} and places keys on ${[...new Set(owners)].join(', ')}`,
    )
    const total = members.reduce((sum, { weight }) => sum + weight, 0)
    for (const { name: who, weight } of members) {
      const share = shares.get(who) ?? 0
      this.#world.check(
        'shares-follow-weights',
        total === 0 || share <= (weight / total) * shareSlack,
        `"${who}" of weight ${weight} in ${total} has ${share} of the ring of "${name}"`,
      )
    }
    this.#moved(name, members, owners)
    this.#last.set(name, { members, owners })
  }

  /** Keys move to who came and away from who went, and no others do. */
  #moved(by: string, members: readonly Member[], owners: readonly string[]): void {
    const last = this.#last.get(by)
    if (last === undefined) return
    const came = members.filter(({ name }) => !last.members.some((member) => member.name === name))
    const went = last.members.filter(({ name }) => !members.some((member) => member.name === name))
    if (came.length === 1 && went.length === 0) this.#world.sometimes('one-came')
    if (went.length === 1 && came.length === 0) this.#world.sometimes('one-went')
    let moved = 0
    for (const [at, owner] of owners.entries()) {
      const before = last.owners[at]
      if (before === owner) continue
      moved++
      this.#world.check(
        'only-those-keys-move',
        came.some(({ name }) => name === owner) || went.some(({ name }) => name === before),
        `For "${by}" ${keys[at]} moved from ${before} to ${owner}, when [${namesOf(came)}] came and [${namesOf(went)}] went`,
      )
    }
    const weighed = (list: readonly Member[], of: readonly Member[]): number => {
      const total = of.reduce((sum, { weight }) => sum + weight, 0)
      return total === 0 ? 1 : list.reduce((sum, { weight }) => sum + weight, 0) / total
    }
    // A share of the ring, and the luck of a hundred keys.
    const bound = (weighed(came, members) + weighed(went, last.members)) * shareSlack + 0.15
    this.#world.check(
      'few-keys-move',
      moved / sampled <= bound,
      `For "${by}" ${moved} of ${sampled} keys moved, when [${namesOf(came)}] came and [${namesOf(went)}] went`,
    )
  }
}

/** Which kinds of entities each node has. In some runs all have the first one, and nothing else. */
class Kinds {
  readonly #byNode = new Map<string, readonly KindName[]>()
  #isMixed: boolean | undefined

  /** For the same node always the same. */
  of(world: World, name: string): readonly KindName[] {
    this.#isMixed ??= world.choose(2, 'swarm/kinds') === 1
    if (!this.#isMixed) return ['counter']
    const drawn: readonly (readonly KindName[])[] = [['counter'], ['tally'], ['counter', 'tally']]
    // Somebody has each.
    const kinds = name === 'a' ? kindNames : (drawn[world.choose(3, `swarm/kinds/${name}`)] ?? kindNames)
    const known = this.#byNode.get(name) ?? kinds
    this.#byNode.set(name, known)
    return known
  }

  /** Those of the run. */
  get all(): readonly KindName[] {
    return this.#isMixed === true ? kindNames : ['counter']
  }

  has(node: string, kind: KindName): boolean {
    return this.#byNode.get(node)?.includes(kind) ?? kind === 'counter'
  }
}

/** Where keys of each kind are placed: with nodes that have it, and alike wherever the views are. */
function watchPlaces(world: World, kinds: Kinds): void {
  const byView = new Map<string, { readonly by: string; readonly text: string }>()
  const seen = new Map<SimulatedNode, readonly Member[]>()
  world.invariant('keys-are-placed-by-kind', () => {
    for (const { name, node } of world.nodes.filter(
      (each) => each.isUp && seen.get(each) !== each.node.members(),
    )) {
      const members = node.members()
      seen.set(world.node(name), members)
      const view = members.map((member) => `${member.name} ${member.incarnation} ${member.status}`).join(', ')
      const places: string[] = []
      for (const kind of kinds.all) {
        const owners = keys.slice(0, 20).map((key) => node.ownerOf(protocolOf[kind], key) ?? '-')
        places.push(`${kind}: ${owners.join(' ')}`)
        const isHad = membersWith(members, kinds, kind).length > 0
        if (!isHad) world.sometimes('nobody-has-the-kind')
        const wrong = owners.find((owner) => owner !== '-' && isHad && !kinds.has(owner, kind))
        world.check(
          'owners-have-the-kind',
          wrong === undefined,
          `"${name}" sees ${view}, and places keys of ${kind} on "${wrong}", which has it not`,
        )
      }
      const text = places.join('; ')
      const other = byView.get(view)
      world.check(
        'equal-views-place-kinds-alike',
        other === undefined || other.text === text,
        `At view ${view} "${name}" places keys otherwise than "${other?.by}" did:\n${text}\n${other?.text}`,
      )
      byView.set(view, { by: name, text })
    }
  })
}

/** Who owns places, and really has that kind. */
function membersWith(members: readonly Member[], kinds: Kinds, kind: KindName): readonly Member[] {
  return members.filter(
    ({ name, status }) => (status === 'alive' || status === 'suspect') && kinds.has(name, kind),
  )
}

/** Views come and go under every fault; after the heal all place every key alike. */
async function owner(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  new RingWatch(world)
  world.startFaults()
  // Some die before they listen.
  await Promise.allSettled(world.nodes.map((node) => node.start()))
  await world.sleep(15_000 + world.choose(8, 'scenario/length') * 2_000)
  world.heal()
  await watch.untilEqual('views-equal-after-heal', formedWithinMs)
  const [first] = world.up()
  const members = first?.node.members() ?? []
  // The order in which members came does not matter, nor do their incarnations.
  const fresh = new HashRing([...members].reverse())
  for (const { name, node } of world.up()) {
    for (const key of keys) {
      world.check(
        'one-owner-after-heal',
        node.ownerOf(Counter, key) === fresh.owner(`counter/${key}`),
        `"${name}" places ${key} on ${node.ownerOf(Counter, key)}, the ring of all on ${fresh.owner(`counter/${key}`)}`,
      )
    }
  }
}

/** Entities that count, asked from everywhere while nodes die and views differ. */
async function entities(world: World, activations: Activation[], kinds: Kinds): Promise<void> {
  const watch = new MemberWatch(world)
  watchPlaces(world, kinds)
  await world.start()
  if (kinds.all.length > 1) world.sometimes('kinds-differ')
  await watch.untilEqual('formed', formedWithinMs)
  world.startFaults()
  const names = ['one', 'two', 'three', 'four']
  const given = new Set<string>()
  const lastSeen = new Map<string, number>()
  const addTo = async (
    client: number,
    node: SimulatedNode,
    kind: KindName,
    key: string,
  ): Promise<Activation | undefined> => {
    const { process: life } = node
    if (!node.isUp || life === undefined) return undefined
    const { node: asker } = node
    const owners = new Set<string | undefined>()
    let isAlwaysHad = true
    const look = (): void => {
      owners.add(asker.ownerOf(protocolOf[kind], key))
      isAlwaysHad &&= membersWith(asker.members(), kinds, kind).length > 0
    }
    look()
    const listening = asker.events.on('view-changed', look)
    let answer: { readonly activation: number; readonly value: number }
    try {
      answer = await world.attempt(
        node,
        (up) => up.entity(protocolOf[kind], key).ask({ type: 'add' }, { timeoutMs: 2_000 }),
        62_000,
      )
    } catch (error) {
      const code = codeOfAsk(world, error)
      world.sometimes(`ended ${code}`)
      world.check(
        'somebody-has-the-kind',
        code !== 'RUNTIME_NO_SUCH_ACTOR' || !isAlwaysHad,
        `"${node.name}" asked ${kind} ${key} of ${[...owners].join(', ')}: ${String(error)}; yet its view always had who has that kind`,
      )
      return undefined
    } finally {
      listening[Symbol.dispose]()
    }
    const activation = activations[answer.activation]
    world.check(
      'answers-are-of-entities',
      activation?.key === key && activation.kind === kind,
      `${kind} ${key} was answered by ${activation?.kind} ${activation?.key}`,
    )
    const handler = activation?.process.machine.name ?? ''
    world.check('handled-where-the-kind-is', kinds.has(handler, kind), `"${handler}" handled ${kind} ${key}`)
    // The view named it when the ask was sent, or later: what waits for a link goes where its key is by then.
    world.check(
      'answered-by-the-named-owner',
      owners.has(handler),
      `"${node.name}" placed ${kind} ${key} on ${[...owners].join(', ')}, and was answered by "${activation?.process.name}"`,
    )
    const once = `${answer.activation} ${answer.value}`
    world.check('each-add-counts-once', !given.has(once), `${key}: two asks were given ${once}`)
    given.add(once)
    const lane = `${client} ${life.name} ${answer.activation}`
    const before = lastSeen.get(lane) ?? 0
    world.check(
      'counts-grow',
      answer.value > before,
      `${key}: "${node.name}" was given ${answer.value} after ${before}`,
    )
    lastSeen.set(lane, answer.value)
    return activation
  }
  await world.parallel(3, async (client) => {
    for (let i = 0; i < 14; i++) {
      await world.sleep(50 + world.choose(16, `client/${client}/wait`) * 100)
      const node = world.anyUp(`client/${client}/node`)
      const key = names[world.choose(names.length, `client/${client}/key`)] ?? 'one'
      const kind = kinds.all[world.choose(kinds.all.length, `client/${client}/kind`)] ?? 'counter'
      if (node !== undefined) await addTo(client, node, kind, key)
      noteActivations(world, activations)
    }
  })
  world.heal()
  await watch.untilEqual('views-equal-after-heal', formedWithinMs)
  // Nothing changes any more: every node gets every key from one and the same activation, on the owner.
  for (const kind of kinds.all) {
    for (const key of names) {
      const answered = new Set<number>()
      for (const node of world.nodes) {
        const activation = await addTo(9, node, kind, key)
        world.check(
          'answers-after-heal',
          activation !== undefined,
          `"${node.name}" was not answered for ${kind} ${key}`,
        )
        if (activation !== undefined) answered.add(activation.number)
      }
      world.check(
        'one-activation-answers',
        answered.size === 1,
        `With equal views ${kind} ${key} was answered by the activations ${[...answered].join(', ')}`,
      )
    }
  }
}

/** Two copies of one entity at once: allowed where nodes die or are cut off, or a new owner waited too long. */
function noteActivations(world: World, activations: readonly Activation[]): void {
  const alive = new Map<string, string>()
  for (const { kind, key, process: life } of activations) {
    if (!life.isAlive) continue
    const other = alive.get(`${kind} ${key}`)
    if (other !== undefined && other !== life.machine.name) world.sometimes('entity-in-two-places')
    alive.set(`${kind} ${key}`, life.machine.name)
  }
}

function counter(world: World, activations: Activation[], kind: KindName = 'counter'): CounterDefinition {
  return actor(protocolOf[kind], (ctx) => {
    let number = -1
    let value = 0
    return {
      add: () => {
        const { running } = world.simulation
        if (number < 0 && running !== undefined) {
          number = activations.length
          activations.push({ number, kind, key: ctx.key ?? '', process: running.process })
        }
        return { activation: number, value: ++value }
      },
    }
  })
}

function namesOf(members: readonly Member[]): string {
  return members.map(({ name }) => name).join(', ')
}

const ownerFaults = [
  ...['partition-halves', 'partition-assignment', 'partition-ring', 'partition-bridge', 'partition-one-way'],
  ...[
    'kill',
    'stop-gently',
    'power-cut',
    'pause',
    'clog',
    'half-open',
    'reset',
    'refuse-dials',
    'clock-back',
  ],
]
const entityFaults = [
  ...['partition-isolate', 'partition-halves', 'partition-ring', 'partition-one-way', 'partition-flapping'],
  ...[
    'kill',
    'kill-at-effect',
    'stop-gently',
    'pause',
    'stall',
    'slow-cpu',
    'clog',
    'slow-link',
    'half-open',
  ],
  ...['reset', 'corruption', 'clock-drift'],
]
/** Not all weigh the same, and one takes nothing. */
const weights: Readonly<Record<string, number>> = { a: 1, b: 2, c: 1, d: 0, e: 0.5 }

export const ringScenarios: readonly Scenario[] = [
  {
    name: 'ring/owner',
    about:
      'equal views place every key alike, whatever happened; a change moves few keys, and only those it must',
    sometimes: ['two-nodes-one-view', 'one-came', 'one-went'],
    faults: ownerFaults,
    run: (input) =>
      simulateTapped(
        {
          ...input,
          nodes: 5,
          node: (name, world) => ({ entities: [counter(world, [])], weight: weights[name] ?? 1 }),
          faults: { only: ownerFaults },
          virtualMsMax: 1_200_000,
        },
        owner,
      ),
  },
  {
    name: 'ring/entities',
    about:
      'counters by key, asked while nodes die, views differ, and nodes have different kinds: each answers from the owner that its asker sees',
    sometimes: [
      ...['entity-in-two-places', 'ended RUNTIME_ASK_TIMEOUT', 'ended CLUSTER_NODE_DOWN', 'ended killed'],
      ...[
        'ended RUNTIME_ACTOR_STOPPED',
        'ended RUNTIME_NO_SUCH_ACTOR',
        'nobody-has-the-kind',
        'kinds-differ',
      ],
      'frame-corrupted',
    ],
    faults: entityFaults,
    run: (input) => {
      const activations: Activation[] = []
      const kinds = new Kinds()
      return simulateTapped(
        {
          ...input,
          nodes: 4,
          node: (name, world) => ({
            entities: kinds.of(world, name).map((kind) => counter(world, activations, kind)),
          }),
          faults: { only: entityFaults },
          virtualMsMax: 1_200_000,
        },
        (world) => entities(world, activations, kinds),
      )
    },
  },
  {
    name: 'ring/hand-off',
    about:
      'nodes leave and join under load: one life of an entity at a time, and each message is handled once',
    sometimes: handOffTags,
    faults: handOffFaults,
    run: runHandOff,
  },
]
