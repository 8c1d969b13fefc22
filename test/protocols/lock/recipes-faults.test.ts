/** Locks of clients whose messages are lost, late and doubled, whose processes stop, and who give up when they like. */
import { test } from 'tap'
import { seededRandom, type Random } from '@understudy/runtime'
import { LockWorld, ttlMs, type FakePort, type Fate } from './lock-world.ts'
import type { Held, LockClient } from './recipes-source.ts'

const seeds = 120
const clientsMax = 4
const healMs = 20_000

interface Belief {
  readonly lock: Held
  readonly signal: AbortSignal
  readonly port: FakePort
  readonly isWriter: boolean
}

/** What clients believe at one time, and what they were told. */
class Witness {
  readonly problems: string[] = []
  readonly #beliefs = new Set<Belief>()
  #highest = 0
  cycles = 0

  begin(world: LockWorld, lock: Held, port: FakePort, isWriter: boolean): Belief {
    const belief = { lock, signal: lock.signal, port, isWriter }
    this.cycles++
    if (belief.signal.aborted) this.problems.push(`${lock.name}: it was lost before it was had`)
    if (lock.heldUntilMs <= world.time.nowMs)
      this.problems.push(`${lock.name}: its time was over before it was had`)
    if (isWriter) {
      if (lock.token <= this.#highest) this.problems.push(`token ${lock.token} after ${this.#highest}`)
      this.#highest = lock.token
    }
    for (const other of this.#beliefs) {
      if (!isWriter && !other.isWriter) continue
      // One that is stopped cannot be told; and does nothing while it is.
      if (other.signal.aborted || other.port.isStopped) continue
      this.problems.push(
        `${world.time.nowMs}: token ${lock.token} was had while ${other.lock.token} was believed in`,
      )
    }
    this.#beliefs.add(belief)
    return belief
  }

  end(belief: Belief): void {
    this.#beliefs.delete(belief)
  }
}

function fateOf(random: Random, loss: number): () => Fate {
  return () => {
    const draw = random.float()
    if (draw < loss) return 'lost'
    if (draw < loss * 1.5) return random.int(1, 4_000)
    return random.int(1, 10)
  }
}

/** Takes and gives back, again and again, until it is told to end. */
async function work(
  world: LockWorld,
  { client, port }: { readonly client: LockClient; readonly port: FakePort },
  random: Random,
  witness: Witness,
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    const kind = random.int(0, 9)
    const controller = new AbortController()
    if (kind === 0) world.time.at(world.time.nowMs + random.int(0, 60), () => controller.abort())
    const options = { timeoutMs: random.int(20, 8_000), signal: controller.signal }
    const isWriter = random.int(0, 3) > 0
    const lock = client.readWriteLock('a')
    try {
      const held = await (isWriter ? lock.write : lock.read).acquire(options)
      const belief = witness.begin(world, held, port, isWriter)
      await client.sleep(random.int(0, 300))
      witness.end(belief)
      if (random.int(0, 1) === 0) await held.release(options)
      else await held[Symbol.asyncDispose]()
    } catch (error) {
      const code = (error as { readonly code?: string }).code ?? String(error)
      if (!expected.has(code)) witness.problems.push(String(error))
    }
    await client.sleep(random.int(0, 100))
  }
}

const expected = new Set([
  'LOCK_TIMEOUT',
  'LOCK_SESSION_LOST',
  'LOCK_UNAVAILABLE',
  'LOCK_NOT_HELD',
  'RUNTIME_ABORTED',
])

void test('LockClient: with faults everywhere nobody believes in what another holds, tokens grow, and nothing is left behind', async (t) => {
  let cycles = 0
  for (let seed = 0; seed < seeds; seed++) {
    const random = seededRandom(`locks/${seed}`)
    const world = new LockWorld()
    const witness = new Witness()
    const all = Array.from({ length: random.int(2, clientsMax) }, () => world.client())
    const loss = random.float() * 0.3
    let isOver = false
    for (const { port } of all) {
      port.fate = fateOf(random.fork(`fate/${all.length}`), loss)
      const trouble = (): void => {
        if (isOver) return
        const what = random.int(0, 5)
        if (what === 0) port.stop(random.int(1, ttlMs * 2))
        else if (what === 1) port.detach()
        else if (what === 2) {
          port.isCutOff = true
          world.time.at(world.time.nowMs + random.int(1, ttlMs * 2), () => {
            port.isCutOff = false
          })
        }
        world.time.at(world.time.nowMs + random.int(200, 4_000), trouble)
      }
      world.time.at(random.int(0, 2_000), trouble)
    }
    const done = Promise.all(
      all.map((one, i) => work(world, one, random.fork(`client/${i}`), witness, () => isOver)),
    )
    await world.time.pass(15_000)
    isOver = true
    for (const { port } of all) port.fate = () => 'fine'
    await world.get(done)
    await world.time.pass(healMs)
    if (world.holders('a').length > 0)
      witness.problems.push(`${world.holders('a').length} hold it at the end`)
    if (world.waiting('a') > 0) witness.problems.push(`${world.waiting('a')} wait at the end`)
    const last = await world.get((all[0] as { readonly client: LockClient }).client.mutex('b').acquire())
    if (last.signal.aborted) witness.problems.push('it does not go on')
    cycles += witness.cycles
    t.same(witness.problems, [], `seed ${seed}`)
    if (witness.problems.length > 0) break
  }
  t.ok(cycles > seeds * 5, `${cycles} were had`)
})
