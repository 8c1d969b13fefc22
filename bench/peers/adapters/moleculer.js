// moleculer 0.14: services with actions, called in the caller's stack; events are its one-way messages. It
// has no actors to spawn, so only the asks and counting have a counterpart. (0.15 needs Node 22.)
import moleculer from 'moleculer'
import { timed } from '../../dist/harness/probe.js'
import { IN_FLIGHT, FLOOD_BATCH } from '../../dist/harness/workload.js'

const { ServiceBroker } = moleculer
const broker = new ServiceBroker({
  nodeID: 'bench',
  logger: false,
  validator: false,
  registry: { preferLocal: true },
})
let sum = 0
broker.createService({
  name: 'server',
  actions: {
    addOne: (ctx) => ctx.params.by + 1,
    get: () => sum,
  },
  events: {
    'counter.inc': (ctx) => {
      sum += ctx.params.by
    },
  },
})
await broker.start()

export const system = {
  name: 'moleculer',
  workloads: {
    counting: counting,
    'ask-1': (n) => asks(1, n),
    'ask-64': (n) => asks(IN_FLIGHT, n),
  },
  close: () => broker.stop(),
}

function counting(n) {
  sum = 0
  return timed(n, (finish) => {
    const produce = async () => {
      for (let left = n; left > 0; left -= FLOOD_BATCH) {
        const batch = Math.min(left, FLOOD_BATCH)
        for (let i = 1; i < batch; i++) void broker.emit('counter.inc', { by: 1 })
        await broker.emit('counter.inc', { by: 1 })
      }
      const counted = await broker.call('server.get')
      if (counted !== n) throw new Error(`counting lost messages: ${n} sent, ${counted} counted`)
      finish()
    }
    void produce()
  })
}

function asks(inFlight, n) {
  return timed(n, (finish) => {
    let left = n
    const lane = async () => {
      while (left-- > 0) await broker.call('server.addOne', { by: 1 })
    }
    void Promise.all(Array.from({ length: inFlight }, lane)).then(() => finish())
  })
}
