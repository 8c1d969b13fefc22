/**
 * This project's workloads: typed actors with supervision, lanes and counters on, messages passed by reference as in
 * production (the harness sets NODE_ENV), no log and no signal handlers. Plain handlers that send through `ctx`.
 */
import {
  actor,
  ask,
  createSystem,
  nodePlatform,
  protocol,
  silentLogger,
  tell,
  type ActorRef,
  type ActorSystem,
  type AnyActorRef,
} from '@understudy/runtime'
import Type from 'typebox'
import { bytesPerActor, intervalLateness, timed } from '../harness/probe.ts'
import { rateSample, type Sample } from '../harness/sample.ts'
import {
  ALL_TO_ALL_ACTORS,
  FAN_IN_PRODUCERS,
  FLOOD_BATCH,
  IN_FLIGHT,
  SPAWN_GROUP,
} from '../harness/workload.ts'
import type { System } from '../harness/workload.ts'
import { closeWire, oneWay, remoteAsk, roundTrip } from './understudy-wire.ts'

/** The system called `understudy`. */
export const system: System = {
  name: 'understudy',
  workloads: {
    'ping-pong': (n) => ring(2, n),
    'ring-100': (n) => ring(100, n),
    'ring-503': (n) => ring(503, n),
    counting: counting,
    'fan-in-8': fanIn,
    'fork-join-create': forkJoinCreate,
    'all-to-all-64': allToAll,
    'ask-1': (n) => asks(1, n),
    'ask-64': (n) => asks(IN_FLIGHT, n),
    'bytes-per-actor': bytes,
    spawn: spawnOnly,
    'spawn-message-stop': spawnMessageStop,
    'crash-restart': crashRestart,
    'one-way-2p': oneWay,
    'round-trip-2p': roundTrip,
    'remote-ask-64': remoteAsk,
    'volley-lag': volleyLag,
  },
  close,
}

let actors: ActorSystem | undefined
let names = 0

/** The one system of this process; a program has one, too. */
async function start(): Promise<ActorSystem> {
  actors ??= await createSystem('bench', undefined, {
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  return actors
}

async function close(): Promise<void> {
  await closeWire()
  await actors?.shutdown('the benchmark is over')
}

/** A name that no actor of this process had before. */
function fresh(word: string): string {
  return `${word}-${names++}`
}

async function stopAll(refs: readonly AnyActorRef[]): Promise<void> {
  const running = await start()
  await Promise.all(refs.map((ref) => running.stop(ref)))
}

function nothing(): void {}

// ---- A ball between players ------------------------------------------------------------------------------------

const Player = protocol('player', { ball: tell({ left: Type.Integer() }) })

interface Seat {
  peer: ActorRef<typeof Player.messages> | undefined
  readonly finish: () => void
}

/** Throws the ball on to its peer until no hops are left. */
const player = actor(Player, (ctx, seat: Seat) => ({
  ball: ({ left }) => {
    if (left === 0) seat.finish()
    else if (seat.peer !== undefined) ctx.tell(seat.peer, { type: 'ball', left: left - 1 })
  },
}))

async function seatPlayers(
  size: number,
  finish: () => void,
): Promise<readonly ActorRef<typeof Player.messages>[]> {
  const running = await start()
  const seats = Array.from({ length: size }, (): Seat => ({ peer: undefined, finish }))
  const players = seats.map((seat) => running.spawn(fresh('player'), player, seat))
  for (const [i, seat] of seats.entries()) seat.peer = players[(i + 1) % size]
  return players
}

async function ring(size: number, n: number): Promise<Sample> {
  let finish = nothing
  const players = await seatPlayers(size, () => finish())
  const sample = await timed(n, (done) => {
    finish = done
    players[0]?.tell({ type: 'ball', left: n - 1 })
  })
  await stopAll(players)
  return sample
}

/** More than any run uses up, yet a small integer: a larger one makes that field a heap number for all. */
const ENDLESS_HOPS = 0x7fff_fffe

async function volleyLag(ticks: number): Promise<Sample> {
  const players = await seatPlayers(2, nothing)
  players[0]?.tell({ type: 'ball', left: ENDLESS_HOPS })
  const sample = await intervalLateness(ticks)
  await stopAll(players)
  return sample
}

// ---- Floods ----------------------------------------------------------------------------------------------------

const Counter = protocol('counter', { inc: tell({ by: Type.Integer() }), get: ask(Type.Integer()) })
const Producer = protocol('producer', { produce: tell({ left: Type.Integer() }) })

/** Calls `reached` when the sum is `goal`, and answers with it when asked. */
const counter = actor(Counter, (_ctx, { goal, reached }: { goal: number; reached: () => void }) => {
  let sum = 0
  return {
    inc: ({ by }) => {
      sum += by
      if (sum === goal) reached()
    },
    get: () => sum,
  }
})

interface Flood {
  readonly sink: ActorRef<typeof Counter.messages>
  readonly drained: () => void
}

/** Sends `by: 1` increments to the sink, a batch a turn, and calls `drained` after its last. */
const producer = actor(Producer, (ctx, { sink, drained }: Flood) => ({
  produce: ({ left }) => {
    const batch = Math.min(left, FLOOD_BATCH)
    for (let i = 0; i < batch; i++) ctx.tell(sink, { type: 'inc', by: 1 })
    if (left > batch) ctx.tell(ctx.self, { type: 'produce', left: left - batch })
    else drained()
  },
}))

async function counting(n: number): Promise<Sample> {
  const running = await start()
  let finish = nothing
  const sink = running.spawn(fresh('counter'), counter, { goal: -1, reached: nothing })
  const drained = (): void => {
    void sink.ask({ type: 'get' }, { timeoutMs: 60_000 }).then((sum) => {
      if (sum !== n) throw new Error(`counting lost messages: ${n} sent, ${sum} counted`)
      finish()
    })
  }
  const source = running.spawn(fresh('producer'), producer, { sink, drained })
  const sample = await timed(n, (done) => {
    finish = done
    source.tell({ type: 'produce', left: n })
  })
  await stopAll([sink, source])
  return sample
}

async function fanIn(n: number): Promise<Sample> {
  const running = await start()
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const goal = each * FAN_IN_PRODUCERS
  let finish = nothing
  const sink = running.spawn(fresh('sink'), counter, { goal, reached: () => finish() })
  const sources = Array.from({ length: FAN_IN_PRODUCERS }, () =>
    running.spawn(fresh('producer'), producer, { sink, drained: nothing }),
  )
  const sample = await timed(goal, (done) => {
    finish = done
    for (const source of sources) source.tell({ type: 'produce', left: each })
  })
  await stopAll([sink, ...sources])
  return sample
}

// ---- Everybody to everybody ------------------------------------------------------------------------------------

const Member = protocol('member', { begin: tell(), hello: tell({ by: Type.Integer() }) })

interface Round {
  readonly rounds: number
  readonly members: ActorRef<typeof Member.messages>[]
  readonly done: () => void
}

const member = actor(Member, (ctx, { rounds, members, done }: Round) => {
  const others = ALL_TO_ALL_ACTORS - 1
  let received = 0
  const { self } = ctx
  const greet = (): void => {
    for (const other of members) if (other !== self) ctx.tell(other, { type: 'hello', by: 1 })
  }
  return {
    begin: greet,
    hello: () => {
      if (++received % others !== 0) return
      if (received === rounds * others) done()
      else greet()
    },
  }
})

async function allToAll(n: number): Promise<Sample> {
  const running = await start()
  const others = ALL_TO_ALL_ACTORS - 1
  const rounds = Math.max(1, Math.ceil(n / (ALL_TO_ALL_ACTORS * others)))
  const members: ActorRef<typeof Member.messages>[] = []
  let finish = nothing
  let left = ALL_TO_ALL_ACTORS
  const done = (): void => {
    if (--left === 0) finish()
  }
  for (let i = 0; i < ALL_TO_ALL_ACTORS; i++) {
    members.push(running.spawn(fresh('member'), member, { rounds, members, done }))
  }
  const sample = await timed(rounds * ALL_TO_ALL_ACTORS * others, (resolve) => {
    finish = resolve
    for (const one of members) one.tell({ type: 'begin' })
  })
  await stopAll(members)
  return sample
}

// ---- Asks ------------------------------------------------------------------------------------------------------

const Adder = protocol('adder', { addOne: ask({ by: Type.Integer() }, Type.Integer()) })
const Asker = protocol('asker', { begin: tell() })

const adder = actor(Adder, () => ({ addOne: ({ by }) => by + 1 }))

interface Quiz {
  readonly server: ActorRef<typeof Adder.messages>
  readonly inFlight: number
  readonly questions: number
  readonly finish: () => void
}

/** Asks in as many loops as shall be in flight, each with the default timeout. */
const asker = actor(Asker, (ctx, { server, inFlight, questions, finish }: Quiz) => ({
  begin: async () => {
    let left = questions
    const lane = async (): Promise<void> => {
      while (left-- > 0) await ctx.ask(server, { type: 'addOne', by: 1 })
    }
    await Promise.all(Array.from({ length: inFlight }, lane))
    finish()
  },
}))

async function asks(inFlight: number, n: number): Promise<Sample> {
  const running = await start()
  let finish = nothing
  const server = running.spawn(fresh('adder'), adder)
  const quiz: Quiz = { server, inFlight, questions: n, finish: () => finish() }
  const caller = running.spawn(fresh('asker'), asker, quiz)
  const sample = await timed(n, (done) => {
    finish = done
    caller.tell({ type: 'begin' })
  })
  await stopAll([server, caller])
  return sample
}

// ---- Children --------------------------------------------------------------------------------------------------

const Idler = protocol('idler', { ignored: tell() })
const Parent = protocol('parent', { begin: tell() })

/** Shared, so that an idle actor costs what the runtime needs for it, and a behaviour without state. */
const idleHandlers = Object.freeze({ ignored: nothing })

const idler = actor(Idler, (_ctx, started: () => void) => {
  started()
  return idleHandlers
})

interface Brood {
  readonly count: number
  readonly started: () => void
}

/** Spawns children that stay. */
const keeper = actor(Parent, (ctx, { count, started }: Brood) => ({
  begin: () => {
    for (let i = 0; i < count; i++) ctx.spawn(`a${i}`, idler, started)
  },
}))

/** Spawns children that stay, and watches each. */
const watchfulKeeper = actor(Parent, { own: { ended: tell() } }, (ctx, { count, started }: Brood) => {
  const toEnded = () => ({ type: 'ended' }) as const
  return {
    begin: () => {
      for (let i = 0; i < count; i++) ctx.watch(ctx.spawn(`a${i}`, idler, started), toEnded)
    },
    ended: nothing,
  }
})

/** Calls `done` at its `count`th call. */
function countdown(count: number, done: () => void): () => void {
  let left = count
  return () => {
    if (--left === 0) done()
  }
}

async function bytes(n: number): Promise<Sample> {
  const running = await start()
  const parents: ActorRef<typeof Parent.messages>[] = []
  const sample = await bytesPerActor(
    n,
    () =>
      new Promise<void>((resolve) => {
        const parent = running.spawn(fresh('parent'), watchfulKeeper, {
          count: n,
          started: countdown(n, resolve),
        })
        parents.push(parent)
        parent.tell({ type: 'begin' })
      }),
  )
  await stopAll(parents)
  return sample
}

async function spawnOnly(n: number): Promise<Sample> {
  const running = await start()
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    let finish = nothing
    const started = countdown(count, () => finish())
    const parent = running.spawn(fresh('parent'), keeper, { count, started })
    const group = await timed(count, (done) => {
      finish = done
      parent.tell({ type: 'begin' })
    })
    elapsedMs += group.elapsedMs
    await stopAll([parent])
  }
  return rateSample(n, elapsedMs)
}

const Mayfly = protocol('mayfly', { work: tell() })

/** Handles one message, then stops. */
const mayfly = actor(Mayfly, (ctx) => ({ work: () => ctx.stop() }))

interface Swarm {
  readonly count: number
  readonly finish: () => void
}

/** Spawns all, then sends each its message; done when it has seen all their ends. */
const forker = actor(Parent, { own: { ended: tell() } }, (ctx, { count, finish }: Swarm) => {
  const toEnded = () => ({ type: 'ended' }) as const
  let left = count
  return {
    begin: () => {
      const workers = Array.from({ length: count }, (_, i) => ctx.spawn(`w${i}`, mayfly))
      for (const worker of workers) ctx.watch(worker, toEnded)
      for (const worker of workers) ctx.tell(worker, { type: 'work' })
    },
    ended: () => {
      if (--left === 0) finish()
    },
  }
})

async function forkJoinCreate(n: number): Promise<Sample> {
  const running = await start()
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    let finish = nothing
    const parent = running.spawn(fresh('parent'), forker, { count, finish: () => finish() })
    const group = await timed(count, (done) => {
      finish = done
      parent.tell({ type: 'begin' })
    })
    elapsedMs += group.elapsedMs
    await stopAll([parent])
  }
  return rateSample(n, elapsedMs)
}

/** Keeps some children going: spawns the next at each end it sees. */
const replacer = actor(Parent, { own: { ended: tell() } }, (ctx, { count, finish }: Swarm) => {
  const toEnded = () => ({ type: 'ended' }) as const
  let spawned = 0
  let ended = 0
  const next = (): void => {
    if (spawned === count) return
    const child = ctx.spawn(`w${spawned++}`, mayfly)
    ctx.watch(child, toEnded)
    ctx.tell(child, { type: 'work' })
  }
  return {
    begin: () => {
      for (let i = 0; i < IN_FLIGHT; i++) next()
    },
    ended: () => {
      next()
      if (++ended === count) finish()
    },
  }
})

async function spawnMessageStop(n: number): Promise<Sample> {
  const running = await start()
  let finish = nothing
  const parent = running.spawn(fresh('parent'), replacer, { count: n, finish: () => finish() })
  const sample = await timed(n, (done) => {
    finish = done
    parent.tell({ type: 'begin' })
  })
  await stopAll([parent])
  return sample
}

// ---- Crashes ---------------------------------------------------------------------------------------------------

const Victim = protocol('victim', { crash: tell() })
const Driver = protocol('driver', { started: tell() })

const readyMade = new Error('ready-made')

/** Says that it started, and throws at every message. */
const victim = actor(Victim, (ctx, driver: ActorRef<typeof Driver.messages>) => {
  ctx.tell(driver, { type: 'started' })
  return {
    crash: () => {
      throw readyMade
    },
  }
})

/** Supervises the victim, without a limit of restarts, and crashes it again whenever it has started. */
const driver = actor(
  Driver,
  { supervision: { intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1_000 } } },
  (ctx, { count, finish }: Swarm) => {
    const target = ctx.spawn('victim', victim, ctx.self)
    let left = count
    return {
      started: () => {
        if (left-- === 0) finish()
        else ctx.tell(target, { type: 'crash' })
      },
    }
  },
)

async function crashRestart(n: number): Promise<Sample> {
  const running = await start()
  const drivers: AnyActorRef[] = []
  const sample = await timed(n, (finish) => {
    drivers.push(running.spawn(fresh('driver'), driver, { count: n, finish }))
  })
  await stopAll(drivers)
  return sample
}
