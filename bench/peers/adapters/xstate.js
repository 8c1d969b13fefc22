// xstate 5: actors from transition functions, the lightest of its logics. A send to an idle actor runs in the
// sender's call stack, so nothing is scheduled; there is no ask, so a request carries the actor to answer.
import { createActor, fromTransition } from 'xstate'
import { timed } from '../../dist/harness/probe.js'
import { rateSample } from '../../dist/harness/sample.js'
import { FAN_IN_PRODUCERS, FLOOD_BATCH, IN_FLIGHT, SPAWN_GROUP } from '../../dist/harness/workload.js'

export const system = {
  name: 'xstate',
  workloads: {
    'ping-pong': (n) => ring(2, n),
    'ring-100': (n) => ring(100, n),
    'ring-503': (n) => ring(503, n),
    counting: counting,
    'fan-in-8': fanIn,
    'fork-join-create': forkJoinCreate,
    'ask-1': (n) => asks(1, n),
    'ask-64': (n) => asks(IN_FLIGHT, n),
    spawn: spawnOnly,
    'spawn-message-stop': spawnMessageStop,
  },
}

/** A started actor whose `receive(state, event, self)` gives the next state. */
function spawn(receive, state) {
  return createActor(
    fromTransition((current, event, { self }) => receive(current, event, self), state),
  ).start()
}

function ring(size, n) {
  return timed(n, (finish) => {
    const players = Array.from({ length: size }, (_, i) =>
      spawn((state, { left }) => {
        if (left === 0) finish()
        else players[(i + 1) % size].send({ type: 'ball', left: left - 1 })
        return state
      }, 0),
    )
    players[0].send({ type: 'ball', left: n - 1 })
  })
}

function producer(sink, drained) {
  return spawn((state, { left }, self) => {
    const batch = Math.min(left, FLOOD_BATCH)
    for (let i = 0; i < batch; i++) sink.send({ type: 'inc', by: 1 })
    if (left > batch) self.send({ type: 'produce', left: left - batch })
    else drained()
    return state
  }, 0)
}

function counting(n) {
  return timed(n, (finish) => {
    const sink = spawn((sum, event) => {
      if (event.type === 'inc') return sum + event.by
      event.replyTo.send({ type: 'sum', sum })
      return sum
    }, 0)
    const reader = spawn((state) => {
      finish()
      return state
    }, 0)
    producer(sink, () => sink.send({ type: 'get', replyTo: reader })).send({ type: 'produce', left: n })
  })
}

function fanIn(n) {
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const total = each * FAN_IN_PRODUCERS
  return timed(total, (finish) => {
    const sink = spawn((sum, { by }) => {
      if (sum + by === total) finish()
      return sum + by
    }, 0)
    for (let i = 0; i < FAN_IN_PRODUCERS; i++) producer(sink, () => {}).send({ type: 'produce', left: each })
  })
}

function asks(inFlight, n) {
  return timed(n, (finish) => {
    const server = spawn((state, { replyTo, slot, by }) => {
      replyTo.send({ type: 'answer', slot, value: by + 1 })
      return state
    }, 0)
    const waiting = []
    const caller = spawn((state, { slot, value }) => {
      waiting[slot](value)
      return state
    }, 0)
    let left = n
    const lane = async (slot) => {
      while (left-- > 0) {
        await new Promise((resolve) => {
          waiting[slot] = resolve
          server.send({ type: 'addOne', by: 1, replyTo: caller, slot })
        })
      }
    }
    void Promise.all(Array.from({ length: inFlight }, (_, slot) => lane(slot))).then(() => finish())
  })
}

async function inGroups(n, group) {
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    elapsedMs += (await timed(count, (finish) => group(count, finish))).elapsedMs
  }
  return rateSample(n, elapsedMs)
}

// Each is a root of its own: a machine that spawns children copies the map of all of them at every spawn.
function spawnOnly(n) {
  const kept = []
  return inGroups(n, (count, finish) => {
    kept.length = 0
    for (let i = 0; i < count; i++) kept.push(spawn((state) => state, 0))
    finish()
  })
}

/** Handles one event, then stops, which its subscriber sees. */
function mayfly(onEnd) {
  const worker = spawn((state, _event, self) => {
    self.stop()
    return state
  }, 0)
  worker.subscribe({ complete: onEnd })
  return worker
}

function forkJoinCreate(n) {
  return inGroups(n, (count, finish) => {
    let left = count
    const workers = Array.from({ length: count }, () =>
      mayfly(() => {
        if (--left === 0) finish()
      }),
    )
    for (const worker of workers) worker.send({ type: 'work' })
  })
}

function spawnMessageStop(n) {
  return timed(n, (finish) => {
    let ended = 0
    let spawned = 0
    const parent = spawn((state, { type }, self) => {
      const next = () => {
        if (spawned++ < n) mayfly(() => self.send({ type: 'stopped' })).send({ type: 'work' })
      }
      if (type === 'stopped') {
        next()
        if (++ended === n) finish()
      } else {
        for (let i = 0; i < IN_FLIGHT; i++) next()
      }
      return state
    }, 0)
    parent.send({ type: 'begin' })
  })
}
