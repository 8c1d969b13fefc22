// effect 4: an actor is a fiber that takes from an unbounded queue; an ask carries a deferred.
import { Deferred, Effect, Fiber, Queue, Scheduler } from 'effect'
import { timed } from '../../dist/harness/probe.js'
import { rateSample } from '../../dist/harness/sample.js'
import {
  FAN_IN_PRODUCERS,
  FLOOD_BATCH,
  IN_FLIGHT,
  SPAWN_GROUP,
  ALL_TO_ALL_ACTORS,
} from '../../dist/harness/workload.js'

export const system = {
  name: 'effect',
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

/** The microtask scheduler: with the default one each hop between idle fibers waits for a `setImmediate`. */
const scheduler = new Scheduler.MixedScheduler('sync')

/** Runs `body` as the root of all its fibers, which end with it. */
function run(body) {
  return Effect.runPromise(Effect.scoped(body), { scheduler })
}

/** An actor: its queue, and a fiber that hands each message to `receive` while the scope is open. */
const spawn = (receive) =>
  Effect.gen(function* () {
    const mailbox = yield* Queue.unbounded()
    // A loop of its own: `Effect.forever` would yield to the scheduler after every message.
    yield* Effect.forkScoped(
      Effect.gen(function* () {
        for (;;) for (const message of yield* Queue.takeAll(mailbox)) yield* receive(message, mailbox)
      }),
    )
    return mailbox
  })

/** Sends the first messages once everybody is there, and waits for the end. */
const measured = (operations, body) =>
  run(
    Effect.gen(function* () {
      const finished = yield* Deferred.make()
      const start = yield* body(Deferred.succeed(finished, undefined))
      const startMs = performance.now()
      yield* start
      yield* Deferred.await(finished)
      return rateSample(operations, performance.now() - startMs)
    }),
  )

function ring(size, n) {
  return measured(n, (finish) =>
    Effect.gen(function* () {
      const players = []
      for (let i = 0; i < size; i++) {
        players.push(
          yield* spawn(({ left }) =>
            left === 0 ? finish : Queue.offer(players[(i + 1) % size], { type: 'ball', left: left - 1 }),
          ),
        )
      }
      return Queue.offer(players[0], { type: 'ball', left: n - 1 })
    }),
  )
}

const producer = (sink, drained) =>
  spawn(({ left }, self) =>
    Effect.suspend(() => {
      const batch = Math.min(left, FLOOD_BATCH)
      const increments = Array.from({ length: batch }, () => ({ type: 'inc', by: 1 }))
      const next = left > batch ? Queue.offer(self, { type: 'produce', left: left - batch }) : drained
      return Effect.andThen(Queue.offerAll(sink, increments), next)
    }),
  )

function counting(n) {
  return measured(n, (finish) =>
    Effect.gen(function* () {
      let sum = 0
      const sink = yield* spawn((message) => {
        if (message.type === 'get') return Deferred.succeed(message.reply, sum)
        sum += message.by
        return Effect.void
      })
      const source = yield* producer(
        sink,
        Effect.gen(function* () {
          const reply = yield* Deferred.make()
          yield* Queue.offer(sink, { type: 'get', reply })
          yield* Deferred.await(reply)
          yield* finish
        }),
      )
      return Queue.offer(source, { type: 'produce', left: n })
    }),
  )
}

function fanIn(n) {
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const total = each * FAN_IN_PRODUCERS
  return measured(total, (finish) =>
    Effect.gen(function* () {
      let sum = 0
      const sink = yield* spawn(({ by }) => {
        sum += by
        return sum === total ? finish : Effect.void
      })
      const producers = []
      for (let i = 0; i < FAN_IN_PRODUCERS; i++) producers.push(yield* producer(sink, Effect.void))
      return Effect.forEach(producers, (source) => Queue.offer(source, { type: 'produce', left: each }))
    }),
  )
}

function allToAll(n) {
  const others = ALL_TO_ALL_ACTORS - 1
  const rounds = Math.max(1, Math.ceil(n / (ALL_TO_ALL_ACTORS * others)))
  return measured(rounds * ALL_TO_ALL_ACTORS * others, (finish) =>
    Effect.gen(function* () {
      const members = []
      let running = ALL_TO_ALL_ACTORS
      for (let i = 0; i < ALL_TO_ALL_ACTORS; i++) {
        let received = 0
        members.push(
          yield* spawn((message, self) => {
            if (message.type === 'hello') {
              if (++received % others !== 0) return Effect.void
              if (received === rounds * others) return --running === 0 ? finish : Effect.void
            }
            return Effect.sync(() => {
              for (const member of members)
                if (member !== self) Queue.offerUnsafe(member, { type: 'hello', by: 1 })
            })
          }),
        )
      }
      return Effect.forEach(members, (member) => Queue.offer(member, { type: 'begin' }))
    }),
  )
}

function asks(inFlight, n) {
  return measured(n, (finish) =>
    Effect.gen(function* () {
      const server = yield* spawn(({ by, reply }) => Deferred.succeed(reply, by + 1))
      let left = n
      const lane = Effect.gen(function* () {
        while (left-- > 0) {
          const reply = yield* Deferred.make()
          yield* Queue.offer(server, { type: 'addOne', by: 1, reply })
          yield* Deferred.await(reply)
        }
      })
      const lanes = Effect.all(
        Array.from({ length: inFlight }, () => lane),
        { concurrency: 'unbounded', discard: true },
      )
      const caller = yield* spawn(() => Effect.andThen(lanes, finish))
      return Queue.offer(caller, { type: 'begin' })
    }),
  )
}

async function inGroups(n, group) {
  let elapsedMs = 0
  for (let made = 0; made < n; made += SPAWN_GROUP) {
    const count = Math.min(SPAWN_GROUP, n - made)
    elapsedMs += (await group(count)).elapsedMs
  }
  return rateSample(n, elapsedMs)
}

function spawnOnly(n) {
  return inGroups(n, (count) =>
    measured(count, (finish) =>
      Effect.succeed(
        Effect.gen(function* () {
          for (let i = 0; i < count; i++) yield* spawn(() => Effect.void)
          yield* finish
        }),
      ),
    ),
  )
}

/** A fiber that takes one message and ends. */
const mayfly = Effect.gen(function* () {
  const mailbox = yield* Queue.unbounded()
  const fiber = yield* Effect.forkChild(Queue.take(mailbox))
  return { mailbox, fiber }
})

function forkJoinCreate(n) {
  return inGroups(n, (count) =>
    measured(count, (finish) =>
      Effect.succeed(
        Effect.gen(function* () {
          const workers = []
          for (let i = 0; i < count; i++) workers.push(yield* mayfly)
          for (const { mailbox } of workers) yield* Queue.offer(mailbox, { type: 'work' })
          for (const { fiber } of workers) yield* Fiber.await(fiber)
          yield* finish
        }),
      ),
    ),
  )
}

function spawnMessageStop(n) {
  let left = n
  const lane = Effect.gen(function* () {
    while (left-- > 0) {
      const { mailbox, fiber } = yield* mayfly
      yield* Queue.offer(mailbox, { type: 'work' })
      yield* Fiber.await(fiber)
    }
  })
  const lanes = Effect.all(
    Array.from({ length: IN_FLIGHT }, () => lane),
    { concurrency: 'unbounded', discard: true },
  )
  return timed(n, (finish) => {
    void run(lanes).then(() => finish())
  })
}
