/**
 * Nodes leave and join in good order, several at a time, under load: of each entity one life at a time runs anywhere, every ask
 * is answered, every message is handled once. In some runs nodes die and links break as well: then two lives may overlap, and
 * still nothing is handled twice, and after the heal all is as it should be.
 */
import {
  actor,
  ask,
  child,
  protocol,
  supervisor,
  tell,
  type ActorRef,
  type Definition,
} from '@understudy/runtime'
import type { ClusterNode } from '@understudy/cluster'
import {
  currentWire,
  oldestMemberWire,
  type SimulatedNode,
  type SimulatedNodeOptions,
  type World,
} from '@understudy/cluster/simulation'
import type { RunInput, RunResult, SimulatedProcess } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { simulateTapped } from '../cluster/link-tap.ts'
import { MemberWatch } from '../cluster/member-watch.ts'
import { Clerk, clerk } from '../membership/leave.ts'
import { wireTags } from '../remote/fault-list.ts'

const work = { n: Type.Integer(), afterMs: Type.Integer() }
const Desk = protocol('desk', { serve: ask(work, Type.Integer()), note: tell(work) })
type DeskRef = ActorRef<(typeof Desk)['messages']>
const keys = Array.from({ length: 12 }, (_, at) => `key-${at}`)
const askTimeoutMs = 20_000

export const handOffFaults = [
  ...['kill', 'pause', 'partition-isolate', 'partition-halves', 'reset', 'half-open', 'slow-link'],
]
export const handOffTags: readonly string[] = [
  ...['moved', 'moved-while-it-worked', 'one-after-the-other', 'two-leave-at-once', 'left-while-one-joined'],
  ...['with-faults', 'lives-overlap', 'ended by itself'],
  ...wireTags,
]

/** One life of an entity, by the simulation's own time. */
interface Life {
  readonly key: string
  readonly process: SimulatedProcess
  readonly beganMs: number
  endedMs: number | undefined
}

/** What really ran where, and what was handled. */
class Truth {
  readonly lives: Life[] = []
  readonly handled = new Map<number, string>()
  /** Nobody dies, and nobody is cut off. */
  isCalm = true
  #world: World | undefined

  watch(world: World): void {
    this.#world = world
  }

  began(key: string): Life | undefined {
    const world = this.#world
    const process = world?.simulation.running?.process
    if (world === undefined || process === undefined) return undefined
    const others = this.lives.filter((life) => life.key === key && isOn(life))
    for (const { process: other, beganMs } of others) {
      world.sometimes('lives-overlap')
      world.check(
        'one-life-of-an-entity',
        !this.isCalm,
        `${key} begins on "${process.name}" at ${world.now()}, and has run on "${other.name}" since ${beganMs}`,
      )
    }
    const last = this.lives.findLast((life) => life.key === key)
    if (last !== undefined && last.process !== process) world.sometimes('moved')
    if (last?.endedMs !== undefined && world.now() - last.endedMs < 100) {
      world.sometimes(last.process === process ? 'ended by itself' : 'one-after-the-other')
    }
    const life: Life = { key, process, beganMs: world.now(), endedMs: undefined }
    this.lives.push(life)
    return life
  }

  ended(life: Life | undefined): void {
    if (life !== undefined) life.endedMs = this.#world?.now()
  }

  took(n: number, life: Life | undefined): void {
    const where = life?.process.name ?? '-'
    const before = this.handled.get(n)
    this.#world?.check(
      'each-message-once',
      before === undefined,
      `Message ${n} was handled on ${before}, then on ${where}`,
    )
    this.handled.set(n, where)
  }
}

function isOn({ process, endedMs }: Life): boolean {
  return process.isAlive && endedMs === undefined
}

export function runHandOff(input: RunInput): Promise<RunResult> {
  const truth = new Truth()
  const node = (): SimulatedNodeOptions => ({
    root: supervisor({}, [child('clerk', clerk())]),
    entities: [desk(truth)],
    expect: 3,
  })
  const faults = { only: handOffFaults, chances: [0, 0.01, 0.05] }
  return simulateTapped({ ...input, nodes: 5, node, faults, virtualMsMax: 900_000 }, (world) =>
    moving(world, truth),
  )
}

/** One message at a time; some take a while, and some are its last. */
function desk(truth: Truth): Definition<(typeof Desk)['messages'], void> {
  return actor(Desk, (ctx) => {
    const life = truth.began(ctx.key ?? '')
    ctx.defer(() => truth.ended(life))
    const helper = ctx.ref(Clerk, '/user/clerk')
    const handle = async ({ n, afterMs }: { readonly n: number; readonly afterMs: number }) => {
      truth.took(n, life)
      if (afterMs > 0) await ctx.ask(helper, { type: 'look', afterMs })
      if (n % 50 === 49) ctx.stop(undefined, 'drain')
      return n
    }
    return { serve: handle, note: async (message) => void (await handle(message)) }
  })
}

async function moving(world: World, truth: Truth): Promise<void> {
  truth.watch(world)
  const watch = new MemberWatch(world)
  const isMixed = world.choose(3, 'swarm/wires') === 1
  const install = (place: SimulatedNode): void => {
    if (isMixed) place.install(world.choose(2, 'scenario/wire') === 0 ? currentWire : oldestMemberWire)
  }
  for (const place of world.nodes) install(place)
  await world.start()
  await watch.untilEqual('formed', 60_000)
  truth.isCalm = world.choose(4, 'swarm/faults') > 0
  if (!truth.isCalm) {
    world.sometimes('with-faults')
    world.startFaults()
  }
  const leaving = new Set<SimulatedNode>()
  const joining = new Set<SimulatedNode>()
  const told: { readonly n: number; readonly from: SimulatedNode; readonly process: SimulatedProcess }[] = []
  let sent = 0
  let isOver = false
  // Some keep their refs, as a program does, and some make one for each message.
  const refs = new Map<string, DeskRef>()
  const refOf = (node: ClusterNode, key: string, isKept: boolean): DeskRef => {
    const name = `${node.name}/${node.incarnation}/${key}`
    const ref = (isKept ? refs.get(name) : undefined) ?? node.entity(Desk, key)
    if (isKept) refs.set(name, ref)
    return ref
  }
  const client = async (index: number): Promise<void> => {
    while (!isOver) {
      await world.sleep(10 + world.choose(16, `client/${index}/wait`) * 20)
      const able = world.up().filter((node) => !leaving.has(node) && takesPart(node))
      const from = able[world.choose(able.length, `client/${index}/node`)]
      const key = keys[world.choose(keys.length, `client/${index}/key`)] ?? ''
      const afterMs = [0, 0, 0, 40, 400][world.choose(5, `client/${index}/after`)] ?? 0
      const isTell = world.choose(3, `client/${index}/kind`) === 0
      if (from?.process === undefined) continue
      const n = sent++
      const { process, node } = from
      if (isTell) {
        if (refOf(node, key, index < 3).tell({ type: 'note', n, afterMs })) told.push({ n, from, process })
        continue
      }
      const owner = node.ownerOf(Desk, key)
      try {
        const answer = await from.call((up) =>
          refOf(up, key, index < 3).ask({ type: 'serve', n, afterMs }, { timeoutMs: askTimeoutMs }),
        )
        world.check('answers-fit', answer === n, `Ask ${n} was answered by ${answer}`)
        if (owner !== truth.handled.get(n)?.split('#')[0] && afterMs > 0)
          world.sometimes('moved-while-it-worked')
      } catch (error) {
        // Nobody waits for what a node that has gone wanted to know itself.
        if (!truth.isCalm || leaving.has(from) || !from.isUp || from.process !== process) continue
        world.check('no-ask-fails', false, `Ask ${n} of "${from.name}" for ${key} failed: ${String(error)}`)
      }
    }
  }
  const clients = world.parallel(6, client)
  // Two of them come and go on their own time, so that views differ in more than one member.
  await world.parallel(2, async (mover) => {
    for (let round = 0; round < 4; round++) {
      await world.sleep(world.choose(8, `mover/${mover}/when`) * 300)
      const place = world.nodes[mover + 2 * world.choose(2, `mover/${mover}/who`)]
      if (place?.isUp !== true || leaving.has(place)) continue
      leaving.add(place)
      if (leaving.size > 1) world.sometimes('two-leave-at-once')
      if (joining.size > 0) world.sometimes('left-while-one-joined')
      await place.shutdown()
      // Long enough for its last words: those of a life whose name has come back are not heard any more.
      await world.sleep(600 + world.choose(6, `mover/${mover}/down-for`) * 100)
      install(place)
      joining.add(place)
      // A fault may have come first.
      await place.start().catch(() => undefined)
      leaving.delete(place)
      await world.sleep(200 + world.choose(8, `mover/${mover}/after`) * 400)
      joining.delete(place)
    }
  })
  isOver = true
  await clients
  if (!truth.isCalm) world.heal()
  await watch.untilEqual('formed-again', 120_000)
  // Whoever works does so to its end.
  await world.sleep(15_000)
  for (const { n, from, process } of told) {
    if (!truth.isCalm || from.process !== process) continue
    world.check('no-tell-is-lost', truth.handled.has(n), `Note ${n} of "${from.name}" was never handled`)
  }
  truth.isCalm = true
  for (const [at, key] of keys.entries()) {
    for (const from of world.nodes) {
      const n = sent++
      const answer = await world.attempt(
        from,
        (up) => up.entity(Desk, key).ask({ type: 'serve', n, afterMs: 0 }, { timeoutMs: askTimeoutMs }),
        60_000,
      )
      const running = truth.lives.filter((life) => life.key === key && isOn(life))
      world.check('answers-after-all', answer === n, `Ask ${n} for ${key} (${at}) was answered by ${answer}`)
      world.check(
        'one-life-after-all',
        running.length <= 1,
        `${key} runs on ${running.map((life) => life.process.name).join(', ')}`,
      )
    }
  }
}

/** A life that has just begun takes part in nothing yet, and knows no owner. */
function takesPart({ name, node }: SimulatedNode): boolean {
  return node.members().some((member) => member.name === name && member.status === 'alive')
}
