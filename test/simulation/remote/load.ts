/** More than a link takes: nothing is lost without a word, whoever waits for room gets it, and giants are refused by name. */
import { actor, ask, isActorError, protocol, tell, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { Outside } from '../supervision/outside.ts'
import { frameTags, threeNodeFaults } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { isSameEpoch, Witness, type Boot, type Life, type SeenEpoch } from './witness.ts'

const frameBytesMax = 8_192
const outboundBytesMax = 16_384
/** Nearly a frame, a frame and a bit, and what fits a hundred times. */
const sizes = [20, 2_000, frameBytesMax - 200, frameBytesMax + 1] as const

const Store = protocol('load-store', {
  put: tell({ n: Type.Integer(), body: Type.String() }),
  echo: ask(
    { n: Type.Integer(), body: Type.String() },
    Type.Object({ n: Type.Integer(), body: Type.String() }),
  ),
  hello: ask(Type.Null()),
})
const Feeder = protocol('load-feeder', {
  flood: tell({ to: Type.String(), count: Type.Integer(), size: Type.Integer(), path: Type.String() }),
  /** As a stream would: waits for room whenever it is refused. */
  stream: tell({ to: Type.String(), count: Type.Integer(), size: Type.Integer() }),
  retry: tell({ to: Type.String(), count: Type.Integer(), size: Type.Integer() }),
})
const ownOfFeeder = { over: tell() }

export const loadTags: readonly string[] = [
  ...frameTags,
  ...[
    'refused link-full',
    'refused node-down',
    'refused invalid',
    'waited-for-room',
    'room-ended',
    'overflow-there',
  ],
  ...[
    'giant-arrived',
    'giant-refused',
    'echo CLUSTER_LINK_FULL',
    'echo RUNTIME_INVALID_MESSAGE',
    'slow-consumer',
  ],
  ...['link-overflowed', 'reconnected', 'rejoined'],
]

interface Item {
  readonly from: Life
  readonly to: string
  readonly size: number
  readonly epoch: SeenEpoch | undefined
  isAccepted: boolean
  isHandled: boolean
  /** Dead letters of it: at the sender when refused, at the receiver when its mailbox was full. */
  deadLetters: number
}

class LoadLedger {
  readonly witness = new Witness(loadTags)
  readonly items: Item[] = []
  /** Feeders that wait for room, by life. */
  readonly waiting = new Set<Life>()
  /** The last item that a store got, by sender, path and receiver. */
  readonly #last = new Map<string, number>()

  constructor() {
    this.witness.onDeadLetter = ({ reason, message }) => {
      const { n } = message as { readonly n?: number }
      const item = n === undefined ? undefined : this.items[n]
      if (item === undefined) return
      item.deadLetters++
      if (reason === 'overflow') this.witness.met('overflow-there')
      else if (!item.isHandled) this.witness.met(`refused ${reason}`)
      if (item.isHandled)
        this.witness.broken('handled-or-dead', `item ${n} was handled, and is a dead letter (${reason})`)
      if (item.deadLetters > 1)
        this.witness.broken('one-dead-letter', `item ${n} is a dead letter twice (${reason})`)
    }
  }

  item(from: Life, to: string, size: number): number {
    const epoch = this.witness.epochOf(from.boot, to)
    return this.items.push({ from, to, size, epoch, isAccepted: true, isHandled: false, deadLetters: 0 }) - 1
  }

  handled(n: number, body: string, store: Life): void {
    const item = this.items[n]
    if (item === undefined) return this.witness.broken('never-sent', `item ${n}`)
    if (item.isHandled) this.witness.broken('at-most-once', `item ${n} was handled twice`)
    if (!item.isAccepted) this.witness.broken('refused-is-refused', `item ${n} was refused, and handled`)
    if (body.length !== item.size)
      this.witness.broken('whole', `item ${n} has ${body.length} of ${item.size} characters`)
    if (item.deadLetters > 0)
      this.witness.broken('handled-or-dead', `item ${n} is a dead letter, and was handled`)
    if (item.size > frameBytesMax / 2) this.witness.met('giant-arrived')
    const pair = `${item.from.number} ${store.boot.number} ${store.path}`
    const last = this.#last.get(pair) ?? -1
    if (n <= last)
      this.witness.broken('fifo', `item ${n} came after item ${last} to ${this.witness.nameOf(store)}`)
    this.#last.set(pair, n)
    item.isHandled = true
  }

  /** At rest: refused ones are dead letters; of those that were taken none is missing while the link stood. */
  settle(): void {
    const { witness } = this
    for (const { process: life } of witness.boots) {
      if (life?.logged.some(({ message }) => message.includes('does not read')) === true)
        witness.met('link-overflowed')
    }
    for (const [n, item] of this.items.entries()) {
      const { from, to, epoch, isAccepted, isHandled, deadLetters } = item
      if (from.boot.isTwin) continue
      const what = `item ${n} from ${witness.nameOf(from)} to "${to}"`
      if (!isAccepted) {
        witness.world.check(
          'refused-is-a-dead-letter',
          deadLetters === 1,
          `${what} was refused, with ${deadLetters} dead letters`,
        )
      } else if (epoch !== undefined && from.boot.process?.isAlive === true) {
        const stood = isSameEpoch(epoch, witness.epochOf(from.boot, to))
        const known = isHandled || deadLetters > 0
        witness.world.check(
          'nothing-lost-silently',
          known || !stood,
          `${what} was taken, the link stood, and it never came`,
        )
      }
    }
  }
}

function storeOf(ledger: LoadLedger, boot: Boot, isSlow: boolean): AnyDefinition {
  const mailbox = isSlow ? ({ messagesMax: 20, overflow: 'reject' } as const) : {}
  return actor(Store, { name: isSlow ? 'load-slow-store' : 'load-store', mailbox }, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    const work = async (n: number, body: string): Promise<void> => {
      ledger.handled(n, body, life)
      if (!isSlow) return
      ledger.witness.met('slow-consumer')
      await ctx.service(Outside).wait(20)
    }
    return {
      put: ({ n, body }) => (isSlow ? work(n, body) : void ledger.handled(n, body, life)),
      echo: (message) => ({ n: message.n, body: message.body }),
      hello: () => null,
    }
  }) as unknown as AnyDefinition
}

function feederOf(ledger: LoadLedger, boot: Boot): AnyDefinition {
  const { witness } = ledger
  return actor(Feeder, { own: ownOfFeeder }, (ctx) => {
    const life = witness.begins(boot, ctx)
    ctx.defer(() => void ledger.waiting.delete(life))
    const put = (to: string, path: string, size: number): boolean => {
      const n = ledger.item(life, to, size)
      const body = 'x'.repeat(size)
      const isAccepted = ctx.tell(ctx.ref(Store, `${to}:${path}`), { type: 'put', n, body })
      const item = ledger.items[n]
      if (item !== undefined) item.isAccepted = isAccepted
      // Without a link it waits for one, and is a dead letter then.
      if (isAccepted && size > frameBytesMax && item?.epoch !== undefined)
        witness.broken('giant-refused', `item ${n} of ${size} bytes was taken`)
      if (size > frameBytesMax) witness.met('giant-refused')
      return isAccepted
    }
    return {
      over: () => undefined,
      flood: ({ to, count, size, path }) => {
        for (let i = 0; i < count; i++) put(to, path, size)
      },
      stream: async ({ to, count, size }) => {
        const ref = ctx.ref(Store, `${to}:/user/store`)
        for (let i = 0; i < count;) {
          if (put(to, '/user/store', size)) {
            i++
            continue
          }
          try {
            ledger.waiting.add(life)
            await ref.room({ signal: ctx.signal })
            witness.met('waited-for-room')
            await ctx.service(Outside).wait(1)
          } catch (error) {
            if (!isActorError(error, 'CLUSTER_NODE_DOWN') && !isActorError(error, 'RUNTIME_ABORTED')) {
              witness.broken('typed-error', `room of "${to}": ${String(error)}`)
            }
            witness.met('room-ended')
            return
          } finally {
            ledger.waiting.delete(life)
          }
        }
      },
      retry: ({ to, count, size }) => {
        for (let i = 0; i < count; i++) {
          const done = witness.asked(life, `"echo" of "${to}"`, 1_000)
          const body = 'y'.repeat(size)
          ctx.request(
            ctx.ref(Store, `${to}:/user/store`),
            { type: 'echo', n: -1, body },
            (echo) => {
              done()
              if (echo.body !== body)
                witness.broken('own-reply', `an echo has ${echo.body.length} of ${size} characters`)
              return { type: 'over' }
            },
            (error) => {
              done()
              witness.met(`echo ${error.code}`)
              return { type: 'over' }
            },
            { timeoutMs: 1_000 },
          )
        }
      },
    }
  }) as unknown as AnyDefinition
}

export function runLoad(input: RunInput): Promise<RunResult> {
  const ledger = new LoadLedger()
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 3,
      faults: threeNodeFaults,
      actors: (boot) => ({
        store: storeOf(ledger, boot, false),
        slow: storeOf(ledger, boot, true),
        feeder: feederOf(ledger, boot),
      }),
      options: () => ({ frameBytesMax, outboundBytesMax }),
    },
    (world) => loading(world, ledger),
  )
}

async function loading(world: World, ledger: LoadLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const { nodes } = world
  // One of them gets most of it.
  const hot = world.choose(nodes.length, 'hot')
  await world.parallel(nodes.length, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 20; i++) {
      await world.sleep(20 + world.choose(20, 'pause') * 40)
      if (!place.isUp) continue
      const other = world.chance(0.5, 'hot-key') ? hot : world.choose(nodes.length, 'to')
      const to = (nodes[other] ?? place).name
      if (to === place.name) continue
      const feeder = place.node.system.ref(Feeder, '/user/feeder')
      if (world.chance(0.1, 'narrow')) world.inject(world.chance(0.5, 'capacity') ? 'capacity' : 'bandwidth')
      const size = sizes[world.choose(sizes.length, 'size')] ?? 20
      const act = world.choose(5, 'act')
      const count = [1, 10, 40, 100][world.choose(4, 'count')] ?? 1
      if (act < 2 || world.chance(0.4, 'flood-first'))
        feeder.tell({ type: 'flood', to, count, size, path: '/user/store' })
      if (act < 2) continue
      if (act === 2)
        feeder.tell({ type: 'flood', to, count: Math.min(count, 40), size: 20, path: '/user/slow' })
      else if (act === 3)
        feeder.tell({ type: 'stream', to, count: Math.min(count, 20), size: Math.min(size, 2_000) })
      else feeder.tell({ type: 'retry', to, count: Math.min(count, 40), size })
    }
  })
  await witness.heal((node, to) => node.ref(Store, to, '/user/store').ask({ type: 'hello' }))
  await world.sleep(10_000)
  ledger.settle()
  for (const life of ledger.waiting) {
    const { boot } = life
    world.check(
      'room-comes',
      boot.process?.isAlive !== true,
      `${witness.nameOf(life)} still waits for room in the calm`,
    )
  }
  await world.until('no-ask-hangs', () => witness.openAsks.length === 0, { withinMs: 5_000 })
  await witness.shutdown()
}
