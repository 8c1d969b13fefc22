/** Trees of supervisors whose workers crash wherever they can, while messages flow. */
import {
  actor,
  ask,
  child,
  protocol,
  refOf,
  supervisor,
  tell,
  type ActorContext,
  type ActorStatus,
  type ActorSystem,
  type ChildOptions,
  type ChildSpec,
  type Intensity,
  type Strategy,
} from '@understudy/runtime'
import type { SimulatedProcess, SystemWorld } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Ledger, type Group, type Life } from './ledger.ts'
import { Outside, simulatedOutside } from './outside.ts'

const Work = { from: Type.String(), number: Type.Integer() }
const Worker = protocol('worker', {
  work: tell(Work),
  slow: ask({ ms: Type.Number() }, Type.Integer()),
  ping: ask(Type.Integer()),
})
const own = { tick: tell(), open: tell(), done: tell() }
type WorkerContext = ActorContext<typeof Worker.messages, typeof own>

const Watcher = protocol('watcher', { follow: tell({ ref: refOf(Worker), uid: Type.Integer() }) })
const Sink = protocol('sink', { take: tell() })
const Client = protocol('client', { begin: tell() })

/** Asks for the supervisor to stop it for good, to fail in its turn, and to wait before it is started again. */
class Fatal extends Error {}
class Beyond extends Error {}
class Flaky extends Error {}
const kinds = [Error, Flaky, Beyond, Fatal] as const

/** Where a worker may crash. */
const places = ['setup', 'late-setup', 'handler', 'async-handler', 'timer', 'defer', 'run', 'pipe'] as const
type Place = (typeof places)[number]

export const stormTags: readonly string[] = [
  ...places.map((place) => `crash-in-${place}`),
  ...['restarted', 'backoff', 'limit-escalated', 'abandoned', 'one-for-all-restart', 'rest-for-one-restart'],
  ...[
    'terminated-notice',
    'stopped-itself',
    'stale-effect-dropped',
    'stashed',
    'escalated',
    'stopped-for-good',
  ],
  ...['root-gave-up', 'fully-up-again', 'watcher-crashed'],
  ...['ACTOR_CRASHED', 'ACTOR_STOPPED', 'NO_SUCH_ACTOR', 'ASK_TIMEOUT'].map((code) => `ask ${code}`),
]

const strategies: readonly Strategy[] = ['one-for-one', 'one-for-all', 'rest-for-one']
const names = ['a', 'b', 'c', 'd'] as const
const clients = 3
const longestWaitMs = 12_000

class Storm {
  readonly world: SystemWorld
  readonly ledger: Ledger
  readonly groups: readonly Group[]
  /** Nobody crashes before the tree is up, nor after the heal. */
  isRaging = false
  readonly #chances: ReadonlyMap<Place, number>
  readonly #gone = new Set<string>()
  /** The root and the top of the tree bear little: the system may come to its end. */
  readonly isWeak: boolean

  constructor(world: SystemWorld) {
    this.world = world
    this.isWeak = world.chance(0.15, 'swarm/weak')
    this.groups = strategies.map((strategy) => {
      const path = `/user/storm/${strategy}`
      return {
        path,
        strategy,
        intensity: this.#intensity(),
        children: names.map((name) => `${path}/${name}`),
      }
    })
    this.#chances = new Map(
      places.map((place) => [place, [0, 0.02, 0.1, 0.4][world.choose(4, `swarm/crash-in-${place}`)] ?? 0]),
    )
    this.ledger = new Ledger(world, this.groups, stormTags)
  }

  #intensity(): Group['intensity'] {
    const { world } = this
    return {
      restarts: [3, 10, 1, 0][world.choose(4, 'swarm/restarts')] ?? 3,
      withinMs: [5_000, 1_000, 100][world.choose(3, 'swarm/within')] ?? 5_000,
      per: world.chance(0.3, 'swarm/per-child') ? 'child' : 'supervisor',
    }
  }

  /** Throws by choice. */
  mayCrash(place: Place, path: string, life?: Life): void {
    const p = this.#chances.get(place) ?? 0
    if (!this.isRaging || !this.world.chance(p, `crash/${place}`)) return
    this.world.sometimes(`crash-in-${place}`)
    const Kind = kinds[this.world.choose(kinds.length, 'crash/kind')] ?? Error
    if (Kind === Beyond) this.world.sometimes('escalated')
    if (Kind === Fatal) this.#gone.add(path)
    if (life !== undefined) life.hasCrashed = true
    throw new Kind(`crashed in ${place}`)
  }

  tree(): ChildSpec {
    const branches = this.groups.map(({ path, strategy, intensity, children }) =>
      child(
        strategy,
        supervisor(
          { strategy, intensity },
          children.map((worker) =>
            child(worker.slice(path.length + 1), this.#worker(), this.#options(worker)),
          ),
        ),
      ),
    )
    const isWeak = this.isWeak || this.world.chance(0.2, 'swarm/weak-top')
    const intensity: Intensity = { restarts: isWeak ? 1 : Infinity, withinMs: 1_000 }
    return child('storm', supervisor({ intensity }, branches))
  }

  #options(path: string): ChildOptions {
    const { world } = this
    const restart =
      (['permanent', 'transient', 'temporary'] as const)[world.choose(6, 'swarm/restart')] ?? 'permanent'
    // Once it has crashed, or its siblings took it with them, it is gone as long as its supervisor lives.
    if (restart === 'temporary') this.#gone.add(path)
    return {
      restart,
      backoff: world.chance(0.3, 'swarm/backoff') ? { minMs: 10, maxMs: 500 } : undefined,
      shutdownMs: [5_000, 500, 0][world.choose(3, 'swarm/shutdown')],
      onError: [
        [Fatal, 'stop'],
        [Beyond, 'escalate'],
        [Flaky, { minMs: 50, maxMs: 2_000 }],
      ],
    }
  }

  #worker() {
    const handlerTimeoutMs = [Infinity, 1_000][this.world.choose(2, 'swarm/handler-timeout')] ?? Infinity
    return actor(Worker, { own, handlerTimeoutMs }, (ctx) => this.#setup(ctx))
  }

  async #setup(ctx: WorkerContext) {
    const { world, ledger } = this
    const { path, incarnation } = ctx
    const life = ledger.begins(path, ctx.self.uid ?? 0, incarnation)
    ctx.defer((why) => ledger.ends(life, why))
    ctx.defer(() => this.#sayGoodbye(ctx))
    this.mayCrash('setup', path, life)
    const outside = ctx.service(Outside)
    if (this.isRaging && world.chance(0.2, 'late-setup')) {
      await outside.wait(world.choose(100, 'setup-wait'))
      this.mayCrash('late-setup', path, life)
    }
    const sink = ctx.ref(Sink, '/user/sink')
    ctx.timers.every('tick', 100, { type: 'tick' })
    let isOpen = true
    if (this.isRaging && world.chance(0.1, 'stash')) {
      isOpen = false
      ctx.timers.once('open', world.choose(200, 'stash-wait'), { type: 'open' })
    }
    // Nothing can be handled before setup has returned, and nothing comes between.
    ledger.isUp(life)
    const handled = (type: string): void => ledger.handles(life, type)
    return {
      work: ({ from, number }: { from: string; number: number }) => {
        if (!isOpen) {
          world.sometimes('stashed')
          return ctx.stash()
        }
        handled('work')
        ledger.received(`${from}>${path}`, number)
        this.mayCrash('handler', path, life)
        this.#mayLeave(ctx, life)
        return undefined
      },
      slow: async ({ ms }: { ms: number }) => {
        handled('slow')
        life.isBusy = true
        await outside.wait(ms)
        life.isBusy = false
        this.#effect(life, () => ctx.tell(sink, { type: 'take' }))
        this.mayCrash('async-handler', path, life)
        return incarnation
      },
      ping: () => {
        handled('ping')
        return incarnation
      },
      tick: () => {
        handled('tick')
        this.mayCrash('timer', path, life)
        if (!this.isRaging) return
        if (world.chance(0.02, 'own-work'))
          ctx.run(outside.wait(50).then(() => this.mayCrash('run', path, life)))
        if (world.chance(0.02, 'piped')) {
          ctx.pipe(
            outside.wait(20).then(() => this.mayCrash('pipe', path, life)),
            () => ({ type: 'done' }),
          )
        }
      },
      open: () => {
        handled('open')
        isOpen = true
        ctx.unstashAll()
      },
      done: () => handled('done'),
    }
  }

  async #sayGoodbye(ctx: WorkerContext): Promise<void> {
    if (!this.isRaging) return
    const waitMs = [0, 0, 5, 700, longestWaitMs][this.world.choose(5, 'goodbye-wait')] ?? 0
    if (waitMs > 0) await ctx.service(Outside).wait(waitMs)
    this.mayCrash('defer', ctx.path)
  }

  #mayLeave(ctx: WorkerContext, life: Life): void {
    if (!this.isRaging || !this.world.chance(0.01, 'leave')) return
    this.world.sometimes('stopped-itself')
    life.isLeaving = true
    this.#gone.add(ctx.path)
    ctx.stop()
  }

  /** What an incarnation that is over still tries must have no effect. */
  #effect(life: Life, act: () => boolean): void {
    const isStale = this.ledger.isStale(life)
    const accepted = act()
    if (accepted) this.ledger.count('sent to the sink')
    if (!isStale) return
    this.world.sometimes('stale-effect-dropped')
    if (accepted) this.ledger.broken('fenced', `an ended incarnation of ${life.path} sent a message`)
  }

  watcher() {
    const seen = { ended: tell({ uid: Type.Integer() }) }
    return actor(Watcher, { own: seen }, (ctx) => ({
      follow: ({ ref, uid }) => {
        ctx.watch(ref, () => ({ type: 'ended', uid }))
        this.ledger.watched(uid)
        this.#mayCrashWatcher()
      },
      ended: ({ uid }) => {
        this.ledger.noticed(uid)
        this.#mayCrashWatcher()
      },
    }))
  }

  #mayCrashWatcher(): void {
    if (!this.isRaging || !this.world.chance(0.05, 'crash/watcher')) return
    this.world.sometimes('watcher-crashed')
    throw new Error('the watcher crashed')
  }

  client() {
    return actor(Client, { own: { send: tell() } }, (ctx) => {
      const name = ctx.path
      const send = (): void => {
        if (!this.isRaging) return
        for (let i = this.world.choose(4, 'burst'); i >= 0; i--) {
          const path = this.anyWorker()
          const number = this.ledger.next(`${name}>${path}`)
          this.ledger.count(`sent work ${path}`)
          ctx.tell(ctx.ref(Worker, path), { type: 'work', from: name, number })
        }
        ctx.timers.once('send', 5 + this.world.choose(40, 'client-pause'), { type: 'send' })
      }
      return { begin: send, send }
    })
  }

  anyWorker(): string {
    const group = this.groups[this.world.choose(this.groups.length, 'group')]
    return group?.children[this.world.choose(names.length, 'worker')] ?? ''
  }

  /** Workers that need not come back. */
  mayBeGone(path: string): boolean {
    return this.#gone.has(path)
  }
}

/** One run: a calm start, a storm, and the calm after it. */
export async function crashStorm(world: SystemWorld): Promise<void> {
  const storm = new Storm(world)
  const { ledger } = storm
  const forEver = { intensity: { restarts: Infinity, withinMs: 1_000 } }
  const { isWeak } = storm
  const root = supervisor(isWeak ? { intensity: { restarts: 0, withinMs: 2_000 } } : forEver, [
    child(
      'sink',
      actor(Sink, () => ({ take: () => ledger.count('taken by the sink') })),
    ),
    child('watching', supervisor(forEver, [child('watcher', storm.watcher())])),
    storm.tree(),
    ...Array.from({ length: clients }, (_, i) => child(`client-${i}`, storm.client())),
  ])
  const system = await world.start(root, { services: [simulatedOutside(world)], stallMs: Infinity })
  ledger.listen(system)
  followAll(system, storm)
  const { process } = world
  process.onKill(() => {
    if (!world.simulation.isOver) world.sometimes('root-gave-up')
  })

  storm.isRaging = true
  for (let i = 0; i < clients; i++) system.ref(Client, `/user/client-${i}`).tell({ type: 'begin' })
  const untilMs = world.now() + 2_000
  await world.parallel(2, async (asker) => {
    while (world.now() < untilMs && world.isUp) {
      await askAny(world, storm, asker)
      await world.sleep(1 + world.choose(100, 'asker-pause'))
    }
  })
  storm.isRaging = false
  world.note('nobody crashes any more')
  if (isWeak && (await hasGivenUp(world, system, process))) return

  await world.until('tree-up', () => isFullyUp(system.status().tree, storm), {
    withinMs: 60_000,
    everyMs: 100,
  })
  world.sometimes('fully-up-again')
  await world.sleep(longestWaitMs + 5_000)
  for (const path of storm.groups.flatMap(({ children }) => children)) {
    const ref = system.lookup(Worker, path)
    if (ref === undefined) continue
    const error = await ledger.settles(`ping to ${path}`, 5_000, () => ref.ask({ type: 'ping' }))
    world.check('answers-again', error === undefined, `${path}: ${String(error)}`)
  }
  ledger.checkWatches()
  checkConservation(world, storm)
}

function followAll(system: ActorSystem, storm: Storm): void {
  const watcher = system.ref(Watcher, '/user/watching/watcher')
  const follow = (path: string, uid: number): void => {
    const ref = system.lookup(Worker, path)
    if (ref !== undefined) watcher.tell({ type: 'follow', ref, uid })
  }
  for (const path of storm.groups.flatMap(({ children }) => children)) {
    follow(path, system.lookup(Worker, path)?.uid ?? 0)
  }
  system.events.on('actor-started', ({ path, uid, incarnation, definition }) => {
    if (definition === 'worker' && incarnation === 0) follow(path, uid)
  })
  system.events.on('actor-stopped', ({ definition, reason }) => {
    if (definition === 'worker' && reason === 'failed') storm.world.sometimes('stopped-for-good')
  })
}

async function askAny(world: SystemWorld, storm: Storm, asker: number): Promise<void> {
  const path = storm.anyWorker()
  const timeoutMs = [5_000, 500, 50, 1][world.choose(4, 'ask-timeout')] ?? 5_000
  const ms = [0, 1, 30, 400, 3_000, longestWaitMs][world.choose(6, 'slow')] ?? 0
  await storm.ledger.settles(`"slow" of asker ${asker} to ${path}`, timeoutMs, () =>
    world.call((system) => system.ref(Worker, path).ask({ type: 'slow', ms }, { timeoutMs })),
  )
}

/** Whether the root has failed: then everything has stopped in time, and the process has ended with exit code 1. */
async function hasGivenUp(
  world: SystemWorld,
  system: ActorSystem,
  process: SimulatedProcess,
): Promise<boolean> {
  await world.sleep(60_000)
  if (process.isAlive) return false
  const { exitCode, holds } = process
  world.check('exit-code', exitCode === 1, `the root has failed, and the exit code is ${exitCode}`)
  world.check('no-holds', holds === 0, `${holds} holds on the process are left`)
  const { counters, tree } = system.status()
  world.check(
    'all-stopped',
    counters.spawned === counters.ended,
    `${counters.spawned} spawned, ${counters.ended} ended`,
  )
  world.check('all-stopped', tree.children.length === 0, `${tree.children.length} guardians are left`)
  return true
}

/** Every worker that must be there runs, and so does everybody else who is there. */
function isFullyUp(tree: ActorStatus, storm: Storm): boolean {
  const running = new Map<string, boolean>()
  const visit = (status: ActorStatus): boolean => {
    running.set(status.path, status.status === 'running')
    return status.children.map(visit).every(Boolean) && status.status === 'running'
  }
  if (!visit(tree)) return false
  return storm.groups.every(({ children }) =>
    children.every((path) => running.get(path) === true || storm.mayBeGone(path)),
  )
}

/** Nothing is lost without a word: what was sent was handled, or is a dead letter. */
function checkConservation(world: SystemWorld, storm: Storm): void {
  const { ledger } = storm
  for (const path of storm.groups.flatMap(({ children }) => children)) {
    const sent = ledger.counted(`sent work ${path}`)
    const handled = ledger.counted(`handled work ${path}`)
    const dead = ledger.counted(`dead work ${path}`)
    world.check(
      'nothing-lost',
      sent === handled + dead,
      `${path}: ${sent} sent, ${handled} handled, ${dead} dead letters`,
    )
  }
  const sent = ledger.counted('sent to the sink')
  const taken = ledger.counted('taken by the sink')
  world.check('nothing-lost', sent === taken, `${sent} accepted for the sink, ${taken} taken`)
}
