// nact 7: functions of (state, message, context), one message a `setImmediate`, names in a Map of the parent.
import nact from 'nact'
import { timed } from '../../dist/harness/probe.js'
import { rateSample } from '../../dist/harness/sample.js'
import {
  FAN_IN_PRODUCERS,
  FLOOD_BATCH,
  IN_FLIGHT,
  SPAWN_GROUP,
  ALL_TO_ALL_ACTORS,
} from '../../dist/harness/workload.js'

const { dispatch, query, spawn, start, stop } = nact
const ASK_TIMEOUT_MS = 10_000

export const system = {
  name: 'nact',
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
    spawn: spawnOnly,
    'spawn-message-stop': spawnMessageStop,
  },
}

/** Runs `body` in an actor system of its own, which is stopped afterwards. */
async function within(body) {
  const root = start()
  try {
    return await body(root)
  } finally {
    stop(root)
  }
}

function ring(size, n) {
  return within((root) =>
    timed(n, (finish) => {
      const players = Array.from({ length: size }, (_, i) =>
        spawn(
          root,
          (_state, { left }) => {
            if (left === 0) finish()
            else dispatch(players[(i + 1) % size], { type: 'ball', left: left - 1 })
          },
          `player${i}`,
        ),
      )
      dispatch(players[0], { type: 'ball', left: n - 1 })
    }),
  )
}

function producer(root, name, sink, drained) {
  return spawn(
    root,
    (_state, { left }, ctx) => {
      const batch = Math.min(left, FLOOD_BATCH)
      for (let i = 0; i < batch; i++) dispatch(sink, { type: 'inc', by: 1 })
      if (left > batch) dispatch(ctx.self, { type: 'produce', left: left - batch })
      else drained()
    },
    name,
  )
}

function counting(n) {
  return within((root) =>
    timed(n, (finish) => {
      const sink = spawn(
        root,
        (sum, message, ctx) => {
          if (message.type === 'inc') return sum + message.by
          dispatch(ctx.sender, sum)
          return sum
        },
        'counter',
        { initialState: 0 },
      )
      const source = producer(root, 'producer', sink, () => {
        void query(sink, { type: 'get' }, ASK_TIMEOUT_MS).then(finish)
      })
      dispatch(source, { type: 'produce', left: n })
    }),
  )
}

function fanIn(n) {
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const total = each * FAN_IN_PRODUCERS
  return within((root) =>
    timed(total, (finish) => {
      const sink = spawn(
        root,
        (sum, { by }) => {
          if (sum + by === total) finish()
          return sum + by
        },
        'sink',
        { initialState: 0 },
      )
      for (let i = 0; i < FAN_IN_PRODUCERS; i++) {
        dispatch(
          producer(root, `producer${i}`, sink, () => {}),
          { type: 'produce', left: each },
        )
      }
    }),
  )
}

function allToAll(n) {
  const others = ALL_TO_ALL_ACTORS - 1
  const rounds = Math.max(1, Math.ceil(n / (ALL_TO_ALL_ACTORS * others)))
  return within((root) =>
    timed(rounds * ALL_TO_ALL_ACTORS * others, (finish) => {
      let running = ALL_TO_ALL_ACTORS
      const members = Array.from({ length: ALL_TO_ALL_ACTORS }, (_, i) =>
        spawn(
          root,
          (received, message, ctx) => {
            const now = message.type === 'hello' ? received + 1 : received
            if (message.type === 'hello' && now % others !== 0) return now
            if (now === rounds * others) {
              if (--running === 0) finish()
              return now
            }
            for (const member of members) if (member !== ctx.self) dispatch(member, { type: 'hello', by: 1 })
            return now
          },
          `member${i}`,
          { initialState: 0 },
        ),
      )
      for (const member of members) dispatch(member, { type: 'begin' })
    }),
  )
}

function asks(inFlight, n) {
  return within((root) =>
    timed(n, (finish) => {
      const server = spawn(
        root,
        (_state, { by }, ctx) => {
          dispatch(ctx.sender, by + 1)
        },
        'server',
      )
      const caller = spawn(
        root,
        async () => {
          let left = n
          const lane = async () => {
            while (left-- > 0) await query(server, { type: 'addOne', by: 1 }, ASK_TIMEOUT_MS)
          }
          await Promise.all(Array.from({ length: inFlight }, lane))
          finish()
        },
        'caller',
      )
      dispatch(caller, { type: 'begin' })
    }),
  )
}

async function inGroups(n, group) {
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    elapsedMs += (await within((root) => timed(count, (finish) => group(root, count, finish)))).elapsedMs
  }
  return rateSample(n, elapsedMs)
}

function spawnOnly(n) {
  return inGroups(n, (root, count, finish) => {
    const parent = spawn(
      root,
      (_state, _message, ctx) => {
        for (let i = 0; i < count; i++) spawn(ctx.self, () => {}, `a${i}`)
        finish()
      },
      'parent',
    )
    dispatch(parent, { type: 'begin' })
  })
}

// nact has no watch: a worker tells its parent before it stops.
function mayfly(parent) {
  return (_state, _message, ctx) => {
    dispatch(parent, { type: 'stopped' })
    stop(ctx.self)
  }
}

function forkJoinCreate(n) {
  return inGroups(n, (root, count, finish) => {
    let left = count
    const collector = spawn(
      root,
      () => {
        if (--left === 0) finish()
      },
      'collector',
    )
    const parent = spawn(
      root,
      (_state, _message, ctx) => {
        const workers = Array.from({ length: count }, (_, i) => spawn(ctx.self, mayfly(collector), `w${i}`))
        for (const worker of workers) dispatch(worker, { type: 'work' })
      },
      'parent',
    )
    dispatch(parent, { type: 'begin' })
  })
}

function spawnMessageStop(n) {
  return within((root) =>
    timed(n, (finish) => {
      let spawned = 0
      let ended = 0
      const parent = spawn(
        root,
        (_state, { type }, ctx) => {
          const next = () => {
            if (spawned < n) dispatch(spawn(ctx.self, mayfly(ctx.self), `w${spawned++}`), { type: 'work' })
          }
          if (type === 'stopped') {
            next()
            if (++ended === n) finish()
          } else {
            for (let i = 0; i < IN_FLIGHT; i++) next()
          }
        },
        'parent',
      )
      dispatch(parent, { type: 'begin' })
    }),
  )
}
