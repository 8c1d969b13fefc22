// comedy 2: in-memory actors from plain objects. A send is two bluebird promises; the messages of one actor
// are not serialised.
import actors from 'comedy'
import { timed } from '../../dist/harness/probe.js'
import { FAN_IN_PRODUCERS, FLOOD_BATCH, IN_FLIGHT } from '../../dist/harness/workload.js'

// Both are needed for silence: the first alone still announces itself.
const comedy = actors({ loggerConfig: { categories: { Default: 'Silent' } }, test: true })
const root = await comedy.rootActor()

export const system = {
  name: 'comedy',
  workloads: {
    'ping-pong': (n) => ring(2, n),
    'ring-100': (n) => ring(100, n),
    'ring-503': (n) => ring(503, n),
    counting: counting,
    'fan-in-8': fanIn,
    'ask-1': (n) => asks(1, n),
    'ask-64': (n) => asks(IN_FLIGHT, n),
    'spawn-message-stop': spawnMessageStop,
  },
  close: () => comedy.destroy(),
}

/** Runs `body` with a function that makes actors, all of which are destroyed afterwards. */
async function within(body) {
  const made = []
  const spawn = async (definition) => {
    const actor = await root.createChild(definition)
    made.push(actor)
    return actor
  }
  try {
    return await body(spawn)
  } finally {
    await Promise.all(made.map((actor) => actor.destroy()))
  }
}

function ring(size, n) {
  return within(async (spawn) => {
    const players = []
    let finish
    for (let i = 0; i < size; i++) {
      players.push(
        await spawn({
          ball({ left }) {
            if (left === 0) finish()
            else players[(i + 1) % size].send('ball', { left: left - 1 })
          },
        }),
      )
    }
    return timed(n, (done) => {
      finish = done
      players[0].send('ball', { left: n - 1 })
    })
  })
}

function producer(spawn, sink, drained) {
  return spawn({
    initialize(self) {
      this.self = self
    },
    produce({ left }) {
      const batch = Math.min(left, FLOOD_BATCH)
      for (let i = 0; i < batch; i++) sink.send('inc', { by: 1 })
      if (left > batch) this.self.send('produce', { left: left - batch })
      else drained()
    },
  })
}

function counting(n) {
  return within(async (spawn) => {
    let sum = 0
    const sink = await spawn({
      inc({ by }) {
        sum += by
      },
      get() {
        return sum
      },
    })
    let finish
    const source = await producer(spawn, sink, () => {
      sink.sendAndReceive('get').then(() => finish())
    })
    return timed(n, (done) => {
      finish = done
      source.send('produce', { left: n })
    })
  })
}

function fanIn(n) {
  const each = Math.ceil(n / FAN_IN_PRODUCERS)
  const total = each * FAN_IN_PRODUCERS
  return within(async (spawn) => {
    let sum = 0
    let finish
    const sink = await spawn({
      inc({ by }) {
        sum += by
        if (sum === total) finish()
      },
    })
    const producers = []
    for (let i = 0; i < FAN_IN_PRODUCERS; i++) producers.push(await producer(spawn, sink, () => {}))
    return timed(total, (done) => {
      finish = done
      for (const source of producers) source.send('produce', { left: each })
    })
  })
}

function asks(inFlight, n) {
  return within(async (spawn) => {
    const server = await spawn({
      addOne({ by }) {
        return by + 1
      },
    })
    return timed(n, (finish) => {
      let left = n
      const lane = async () => {
        while (left-- > 0) await server.sendAndReceive('addOne', { by: 1 })
      }
      void Promise.all(Array.from({ length: inFlight }, lane)).then(() => finish())
    })
  })
}

function spawnMessageStop(n) {
  return timed(n, (finish) => {
    let left = n
    const lane = async () => {
      while (left-- > 0) {
        const child = await root.createChild({ work() {} })
        await child.send('work', {})
        await child.destroy()
      }
    }
    void Promise.all(Array.from({ length: IN_FLIGHT }, lane)).then(() => finish())
  })
}
