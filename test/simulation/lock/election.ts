/**
 * Leaders that are elected, stand still, resign and die: one in each term, their work on a register fenced by the term, and
 * observers on all nodes who, over their own deaths, are told of every one of them.
 */
import { simulate, type World } from '@understudy/cluster/simulation'
import { leaderElection } from '@understudy/protocols'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { drawnGroup, serviceRun } from '../service-bed.ts'
import { Holds, holdTags, type Wish } from './holds.ts'
import { drawnTtl, LockBed, lockTags } from './lock-bed.ts'
import { SharedRegister } from './shared-register.ts'

export const electionTags: readonly string[] = [
  ...lockTags,
  ...holdTags,
  ...['observed', 'vacant', 'observer-died', 'observed-late'],
]

const members = ['a', 'b', 'c'] as const
const name = 'lead'
/** So many leaders of the past are remembered. */
const reignsMax = 16

export function runElection(input: RunInput): Promise<RunResult> {
  return simulate({ ...input, ...serviceRun, nodes: 4 }, elections)
}

async function elections(world: World): Promise<void> {
  const sessionTtlMs = drawnTtl(world)
  const bed = new LockBed(world, {
    members,
    tags: electionTags,
    group: drawnGroup(world),
    client: { sessionTtlMs },
  })
  const holds = new Holds(world, bed, { sessionTtlMs, workMs: sessionTtlMs / 2 })
  const register = new SharedRegister(world, name, { isGuarded: true, met: (tag) => bed.met(tag) })
  const candidacy: Wish = {
    name,
    permits: 1,
    capacity: 1,
    acquire: (client, signal, timeoutMs) => leaderElection(client, { name }).campaign({ signal, timeoutMs }),
    tryAcquire: (client, timeoutMs) => leaderElection(client, { name }).tryCampaign({ timeoutMs }),
    register,
  }
  const watchers = [0, 1].map(() => new Watcher(world, bed))
  const watching = watchers.map((watcher) => watcher.run())
  const courses: Promise<unknown>[] = []
  await bed.underChaos(() =>
    world.parallel(4, async () => {
      for (let i = 0; i < 5; i++) {
        await world.sleep(world.choose(8, 'client/rest') * 200)
        const place = world.anyUp('client/node')
        if (place === undefined) continue
        const course = holds.one(place, candidacy)
        courses.push(course)
        await Promise.race([course, world.sleep(15_000)])
      }
    }),
  )
  await holds.untilServed(4, 60_000)
  await Promise.all(courses)
  await holds.canBeHad(candidacy)
  register.judge()
  await bed.settle(120_000)
  const last = bed.truth.granted.at(-1)?.token ?? 0
  await world.until('observers-are-told', () => watchers.every((watcher) => watcher.last >= last), {
    withinMs: 60_000,
  })
  for (const watcher of watchers) watcher.stop()
  await Promise.all(watching)
  for (const watcher of watchers) watcher.judge()
  await bed.clear(3 * sessionTtlMs + 20_000)
  holds.judge()
}

/** Observes, dies with its node, and goes on behind what it saw last. */
class Watcher {
  readonly #world: World
  readonly #bed: LockBed
  readonly #seen: number[] = []
  /** Terms between which it was told that it may have missed some. */
  readonly #gaps: (readonly [number, number])[] = []
  readonly #over = new AbortController()
  last = 0

  constructor(world: World, bed: LockBed) {
    this.#world = world
    this.#bed = bed
  }

  stop(): void {
    this.#over.abort()
  }

  async run(): Promise<void> {
    const world = this.#world
    while (!this.#over.signal.aborted) {
      const place = world.anyUp('watch/node')
      if (place === undefined) {
        await world.sleep(100)
        continue
      }
      const life = place.process
      const { type } = await this.#bed.attempt(
        place,
        async (client) => {
          const { signal } = this.#over
          const events = leaderElection(client, { name }).observe({ signal, afterTerm: this.last })
          for await (const event of events) {
            // A dead one sees nothing, though its promises may still settle.
            if (life?.isAlive !== true) return
            if (event.type === 'leader') this.#told(event.reign.token)
            else if (event.type === 'gap') this.#gaps.push([event.afterTerm, event.beforeTerm])
            else this.#bed.met('vacant')
          }
        },
        3_000_000,
      )
      if (type !== 'done') this.#bed.met('observer-died')
      await world.sleep(50)
    }
  }

  judge(): void {
    const all = this.#bed.truth.granted.map(({ token }) => token)
    const missed = all.filter((token) => !this.#seen.includes(token) && !this.#mayBeMissed(token))
    this.#world.check(
      'observers-miss-no-leader',
      missed.length === 0,
      `an observer saw ${this.#seen.join()} of ${all.join()}, and of ${missed.join()} nothing`,
    )
    const invented = this.#seen.filter((token) => token > this.#bed.truth.lastToken)
    this.#world.check('observers-see-what-was', invented.length === 0, `nobody led in ${invented.join()}`)
    for (const [after, before] of this.#gaps) {
      const between = all.filter((token) => token > after && token < before)
      this.#world.check(
        'gaps-are-large',
        between.length + 1 >= reignsMax,
        `a gap of ${between.length} leaders was told between ${after} and ${before}`,
      )
    }
  }

  #told(token: number): void {
    this.#world.check(
      'observers-see-in-order',
      token > this.last,
      `an observer was told of term ${token} after term ${this.last}`,
    )
    const led = this.#bed.truth.granted
    if (led.some((other) => other.token > token)) this.#bed.met('observed-late')
    this.#bed.met('observed')
    this.#seen.push(token)
    this.last = token
  }

  #mayBeMissed(token: number): boolean {
    return this.#gaps.some(([after, before]) => token > after && token < before)
  }
}
