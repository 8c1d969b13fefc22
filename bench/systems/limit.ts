/**
 * The bare limit's workloads: actors of `limit-kernel.ts` in one process, bare `ws` and `cbor-x` between two.
 */
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
import { ask, spawn, stop, tell, type Cell, type Receive } from './limit-kernel.ts'
import { closeWire, oneWay, remoteAsk, roundTrip } from './limit-wire.ts'

/** The system called `limit`. */
export const system: System = {
  name: 'limit',
  workloads: {
    'ping-pong': pingPong,
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
  close: closeWire,
}

/** A ball with the hops that are left; made anew for each throw, as a program would. */
interface Ball {
  readonly type: 'ball'
  readonly left: number
}

interface Player {
  readonly cell: Cell
  peer: Cell | undefined
}

/** An actor that throws the ball on to `peer` until no hops are left. */
function player(finish: () => void): Player {
  const self: Player = {
    cell: spawn(null, 'player', () => (_self, message) => {
      const { left } = message as Ball
      if (left === 0) finish()
      else if (self.peer !== undefined) tell(self.peer, { type: 'ball', left: left - 1 })
    }),
    peer: undefined,
  }
  return self
}

function pingPong(n: number): Promise<Sample> {
  return ring(2, n)
}

function ring(size: number, n: number): Promise<Sample> {
  let finish = (): void => undefined
  const players = Array.from({ length: size }, () => player(() => finish()))
  for (const [i, one] of players.entries()) one.peer = players[(i + 1) % size]?.cell
  const first = players[0]?.cell
  return timed(n, (done) => {
    finish = done
    if (first !== undefined) tell(first, { type: 'ball', left: n - 1 })
  }).finally(() => {
    for (const { cell } of players) stop(cell)
  })
}

interface Produce {
  readonly type: 'produce'
  readonly left: number
}

/** Sends `by: 1` increments to `sink`, a batch a turn, and calls `drained` after its last. */
function producer(sink: Cell, drained: () => void): Cell {
  return spawn(null, 'producer', () => (self, message) => {
    const { left } = message as Produce
    const batch = Math.min(left, FLOOD_BATCH)
    for (let i = 0; i < batch; i++) tell(sink, { type: 'inc', by: 1 })
    if (left > batch) tell(self, { type: 'produce', left: left - batch })
    else drained()
  })
}

type CounterMessage = { readonly type: 'inc'; readonly by: number } | { readonly type: 'get' }

function counter(): Receive {
  let sum = 0
  return (_self, message) => {
    const command = message as CounterMessage
    if (command.type === 'inc') sum += command.by
    else return sum
    return undefined
  }
}

async function counting(n: number): Promise<Sample> {
  const sink = spawn(null, 'counter', counter)
  const sample = await timed(n, (finish) => {
    const source = producer(sink, () => {
      void ask(sink, { type: 'get' }).then((sum) => {
        if (sum !== n) throw new Error(`counting lost messages: ${n} sent, ${String(sum)} counted`)
        finish()
      })
    })
    tell(source, { type: 'produce', left: n })
  })
  stop(sink)
  return sample
}

function fanIn(n: number): Promise<Sample> {
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const total = each * FAN_IN_PRODUCERS
  return timed(total, (finish) => {
    const sink = spawn(null, 'sink', () => {
      let sum = 0
      return (_self, message) => {
        const command = message as CounterMessage
        if (command.type === 'inc') sum += command.by
        if (sum === total) finish()
      }
    })
    for (let i = 0; i < FAN_IN_PRODUCERS; i++) {
      tell(
        producer(sink, () => undefined),
        { type: 'produce', left: each },
      )
    }
  })
}

function allToAll(n: number): Promise<Sample> {
  const others = ALL_TO_ALL_ACTORS - 1
  const rounds = Math.max(1, Math.ceil(n / (ALL_TO_ALL_ACTORS * others)))
  return timed(rounds * ALL_TO_ALL_ACTORS * others, (finish) => {
    const cells: Cell[] = []
    let running = ALL_TO_ALL_ACTORS
    for (let i = 0; i < ALL_TO_ALL_ACTORS; i++) {
      cells.push(
        spawn(null, 'member', () => {
          let received = 0
          return (self, message) => {
            if ((message as { type: string }).type === 'hello') {
              if (++received % others !== 0) return
              if (received === rounds * others) {
                if (--running === 0) finish()
                return
              }
            }
            for (const cell of cells) if (cell !== self) tell(cell, { type: 'hello', by: 1 })
          }
        }),
      )
    }
    for (const cell of cells) tell(cell, { type: 'begin' })
  })
}

function asks(inFlight: number, n: number): Promise<Sample> {
  const server = spawn(null, 'server', () => (_self, message) => (message as { by: number }).by + 1)
  return timed(n, (finish) => {
    let left = n
    const caller = spawn(null, 'caller', () => async () => {
      const lane = async (): Promise<void> => {
        while (left-- > 0) await ask(server, { type: 'addOne', by: 1 })
      }
      await Promise.all(Array.from({ length: inFlight }, lane))
      finish()
    })
    tell(caller, { type: 'begin' })
  })
}

/** Shared, so that an idle actor costs its cell and its name, and a behaviour without state. */
function idle(): Receive {
  return ignore
}

function ignore(): void {}

function bytes(n: number): Promise<Sample> {
  const parent = spawn(null, 'parent', idle)
  return bytesPerActor(n, () => {
    for (let i = 0; i < n; i++) spawn(parent, `a${i}`, idle, STOPPED_NOTICE)
    return Promise.resolve(parent)
  }).finally(() => stop(parent))
}

const STOPPED_NOTICE = Object.freeze({ type: 'stopped' })

async function spawnOnly(n: number): Promise<Sample> {
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    const group = await timed(count, (finish) => {
      const parent = spawn(null, 'parent', () => (self) => {
        for (let i = 0; i < count; i++) spawn(self, `a${i}`, idle)
        finish()
      })
      tell(parent, { type: 'begin' })
    })
    elapsedMs += group.elapsedMs
  }
  return rateSample(n, elapsedMs)
}

/** Handles one message, then stops. */
function mayfly(): Receive {
  return (self) => stop(self)
}

async function forkJoinCreate(n: number): Promise<Sample> {
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    const group = await timed(count, (finish) => {
      const parent = spawn(null, 'parent', () => {
        let left = count
        return (self, message) => {
          if ((message as { type: string }).type === 'stopped') {
            if (--left === 0) finish()
            return
          }
          const workers = Array.from({ length: count }, (_, i) =>
            spawn(self, `w${i}`, mayfly, STOPPED_NOTICE),
          )
          for (const worker of workers) tell(worker, { type: 'work' })
        }
      })
      tell(parent, { type: 'begin' })
    })
    elapsedMs += group.elapsedMs
  }
  return rateSample(n, elapsedMs)
}

function spawnMessageStop(n: number): Promise<Sample> {
  return timed(n, (finish) => {
    const parent = spawn(null, 'parent', (self) => {
      let spawned = 0
      let ended = 0
      const next = (): void => {
        if (spawned === n) return
        tell(spawn(self, `w${spawned++}`, mayfly, STOPPED_NOTICE), { type: 'work' })
      }
      return (_self, message) => {
        if ((message as { type: string }).type === 'stopped') {
          next()
          if (++ended === n) finish()
          return
        }
        for (let i = 0; i < IN_FLIGHT; i++) next()
      }
    })
    tell(parent, { type: 'begin' })
  })
}

function crashRestart(n: number): Promise<Sample> {
  const crash = new Error('ready-made')
  return timed(n, (finish) => {
    const driver = spawn(null, 'driver', () => {
      let left = n
      return () => {
        if (left-- === 0) finish()
        else tell(victim, { type: 'crash' })
      }
    })
    const victim = spawn(null, 'victim', () => {
      tell(driver, { type: 'started' })
      return () => {
        throw crash
      }
    })
  })
}

/** More than any run uses up, yet a small integer: a larger one makes that field a heap number for all. */
const ENDLESS_HOPS = 0x7fff_fffe

async function volleyLag(ticks: number): Promise<Sample> {
  const one = player(() => undefined)
  const other = player(() => undefined)
  one.peer = other.cell
  other.peer = one.cell
  tell(one.cell, { type: 'ball', left: ENDLESS_HOPS })
  const sample = await intervalLateness(ticks)
  stop(one.cell)
  stop(other.cell)
  return sample
}
