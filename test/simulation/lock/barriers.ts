/**
 * Barriers and double barriers whose members give up, stand still, crash and come back: nobody passes before all have come, nobody
 * passes twice in one generation, nobody waits for the dead.
 */
import { simulate, type SimulatedNode, type World } from '@understudy/cluster/simulation'
import { checkLinearizable, HistoryRecorder, type OpenOp } from '@understudy/runtime/checkers'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { barrierModel, doubleBarrierModel, type BarrierInput } from './barrier-model.ts'
import { drawnTtl, LockBed, lockTags } from './lock-bed.ts'

export const barrierTags: readonly string[] = [
  ...lockTags.filter((tag) => tag !== 'waited'),
  ...['passed', 'entered', 'left', 'given-up-waiting', 'lost-inside', 'crashed-waiting', 'paused-waiting'],
]

const members = ['a', 'b', 'c'] as const
const parties = 3

export function runBarriers(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, barriers)
}

async function barriers(world: World): Promise<void> {
  const sessionTtlMs = drawnTtl(world)
  const bed = new LockBed(world, {
    members,
    tags: barrierTags,
    group: drawnGroup(world),
    client: { sessionTtlMs },
  })
  const passes = new Passes(world, bed, sessionTtlMs)
  await bed.underChaos(() =>
    world.parallel(5, async (client) => {
      for (let i = 0; i < 5; i++) {
        await world.sleep(world.choose(6, 'client/rest') * 200)
        const place = world.anyUp('client/node')
        if (place === undefined || passes.isFull) continue
        passes.disturb(place)
        const timeoutMs = [20_000, 3_000][world.choose(2, 'client/timeout')] ?? 3_000
        if (client % 2 === 0 || world.chance(0.3, 'client/other')) await passes.pass(place, timeoutMs)
        else await passes.enter(place, timeoutMs)
      }
    }),
  )
  await bed.settle(120_000)
  // Whoever is left there is dead or has given up, and gone in time; then as many as it takes come together.
  await world.sleep(2 * sessionTtlMs + 10_000)
  const all = await Promise.all(
    members.flatMap((node) => [
      passes.pass(world.node(node), 60_000),
      passes.enter(world.node(node), 60_000),
    ]),
  )
  // A disk that takes its time can cost a session its keep-alives also then; whoever waits for that one waits in vain.
  const isWhole = !all.includes('lost')
  world.check(
    'nobody-starves',
    !isWhole || all.every(Boolean),
    `of those who came together passed: ${all.join(', ')}`,
  )
  await bed.settle(120_000)
  await bed.clear(3 * sessionTtlMs + 20_000)
  passes.judge()
}

type Passed = boolean | 'lost'

/** Of the attempts whose end nobody knows: the checker's work doubles with each. */
const unknownMax = 6

function isLost(code: string): 'lost' | false {
  return code === 'LOCK_SESSION_LOST' || code === 'LOCK_NOT_HELD' ? 'lost' : false
}

type History = HistoryRecorder<BarrierInput, number | true>

class Passes {
  readonly #world: World
  readonly #bed: LockBed
  readonly #sessionTtlMs: number
  readonly #single: History = new HistoryRecorder()
  readonly #double: History = new HistoryRecorder()
  #count = 0
  #ops = 0
  #unknown = 0

  constructor(world: World, bed: LockBed, sessionTtlMs: number) {
    this.#world = world
    this.#bed = bed
    this.#sessionTtlMs = sessionTtlMs
  }

  /** Nobody knows of so many how they ended that more could not be judged in a reasonable time. */
  get isFull(): boolean {
    return this.#unknown >= unknownMax
  }

  /** True: it passed. 'lost': its session ended. */
  async pass(place: SimulatedNode, timeoutMs: number): Promise<Passed> {
    const who = `p${++this.#count}`
    const arrive = this.#begin(this.#single, who, 'arrive')
    const through = this.#begin(this.#single, who, 'through')
    const end = this.#begin(this.#single, who, 'end')
    const passed = await this.#bed.attempt(place, (client) =>
      client.barrier('barrier', { parties }).pass({ timeoutMs }),
    )
    if (passed.type === 'done') {
      this.#bed.met('passed')
      arrive.ok(true)
      through.ok(passed.value)
      end.failed()
      return true
    }
    this.#notThrough(passed.type, passed.code, arrive, through, end)
    return isLost(passed.code)
  }

  /** Enters, stays a while and leaves. True: it did. 'lost': its session ended. */
  async enter(place: SimulatedNode, timeoutMs: number): Promise<Passed> {
    const world = this.#world
    const { process: life } = place
    const who = `d${++this.#count}`
    const arrive = this.#begin(this.#double, who, 'arrive')
    const through = this.#begin(this.#double, who, 'through')
    const end = this.#begin(this.#double, who, 'end')
    const entered = await this.#bed.attempt(place, (client) =>
      client.doubleBarrier('double', { parties }).enter({ timeoutMs }),
    )
    if (entered.type !== 'done' || life === undefined) {
      if (entered.type === 'done') return false
      this.#notThrough(entered.type, entered.code, arrive, through, end)
      return isLost(entered.code)
    }
    this.#bed.met('entered')
    arrive.ok(true)
    through.ok(entered.value.generation)
    for (let tries = 0; tries < 5; tries++) {
      const leave = this.#begin(this.#double, who, 'leave')
      const left = this.#begin(this.#double, who, 'left')
      const gone = await this.#bed.attempt(place, async () => {
        await life.sleep(world.choose(4, 'inside/stay') * 300)
        await entered.value.leave({ timeoutMs: 30_000 })
      })
      if (gone.type === 'done') {
        this.#bed.met('left')
        leave.ok(true)
        left.ok(true)
        end.failed()
        return true
      }
      left.failed()
      if (gone.type === 'refused') leave.failed()
      // It is still inside, and may try again.
      if (gone.code === 'LOCK_UNAVAILABLE') continue
      this.#bed.met('lost-inside')
      return isLost(gone.code)
    }
    return false
  }

  /** What may happen to somebody who waits. */
  disturb(place: SimulatedNode): void {
    const world = this.#world
    const { process: life } = place
    const which = world.choose(8, 'pass/disturb')
    if (life === undefined || which === 0 || which > 3) return
    world.simulation.at(world.now() + 100 + world.choose(5, 'pass/when') * 300, life, 'disturb', () => {
      if (which === 1) {
        this.#bed.met('paused-waiting')
        life.pause(2 * this.#sessionTtlMs)
      } else if (which === 2 && place.mayFail()) {
        this.#bed.met('crashed-waiting')
        life.kill()
        this.#bed.bed.restartLater(place)
      } else if (!life.isStalled) {
        life.stallAtEffect(1 + world.choose(8, 'pass/stall-at'), 2 * this.#sessionTtlMs)
      }
    })
  }

  judge(): void {
    this.#world.expect('linearizable', checkLinearizable(barrierModel, this.#single.ops()))
    this.#world.expect('linearizable', checkLinearizable(doubleBarrierModel, this.#double.ops()))
  }

  #begin(history: History, who: string, type: BarrierInput['type']): OpenOp<number | true> {
    const name = history === this.#single ? 'barrier' : 'double'
    return history.begin(++this.#ops, { type, name, parties, who })
  }

  #notThrough(
    type: 'refused' | 'unknown',
    code: string,
    arrive: OpenOp<number | true>,
    through: OpenOp<number | true>,
    end: OpenOp<number | true>,
  ): void {
    if (code === 'LOCK_TIMEOUT') this.#bed.met('given-up-waiting')
    through.failed()
    if (type === 'unknown') {
      this.#unknown++
      return
    }
    arrive.failed()
    end.failed()
  }
}
