/**
 * Runs load points by rounds: in each round every point is run once by every system, one right after the other in turning
 * order, so that a slow minute of the machine hits all of them. One system works at a time; the others are idle.
 */
import { cpuMsOf } from './load-cluster.ts'
import type { LoadFigures } from './load-loop.ts'
import { spread, type Spread } from './sample.ts'

/** A system that is up, and its client. */
export interface RoundSystem<Name extends string, Point> {
  readonly name: Name
  readonly serves: (point: Point) => boolean
  readonly run: (point: Point) => Promise<LoadFigures>
  /** Processes whose processor time counts, without the client's. */
  readonly memberPids: () => readonly number[]
  readonly clientPid: () => number
  /** After each round, off the clock. */
  readonly tidy: () => Promise<void>
}

/** Of one system at one point, over all rounds. */
export interface RoundRow<Name extends string, Point> {
  readonly system: Name
  readonly point: Point
  readonly perSecond: Spread
  readonly p50Ms: Spread
  readonly p99Ms: Spread
  /** Processor time of the client and the members for one operation; `undefined` where it cannot be known. */
  readonly cpuUs: Spread | undefined
  /** Part of it that is the client's, 0 to 1. */
  readonly clientPart: number | undefined
  readonly failed: number
}

interface Run {
  readonly figures: LoadFigures
  readonly clientCpuMs: number | undefined
  readonly memberCpuMs: number | undefined
}

/** Rows in the order of the points, and of the systems. @throws {Error} when a system broke */
export async function runRounds<Name extends string, Point>(
  systems: readonly RoundSystem<Name, Point>[],
  points: readonly Point[],
  rounds: number,
  progress: (line: string) => void,
): Promise<readonly RoundRow<Name, Point>[]> {
  const cells = points.map((point) => ({ point, runs: systems.map((): Run[] => []) }))
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}`)
    for (const { point, runs } of cells)
      for (let turn = 0; turn < systems.length; turn++) {
        const at = (turn + round) % systems.length
        const system = systems[at]
        if (system?.serves(point)) runs[at]?.push(await runOnce(system, point))
      }
    for (const { tidy } of systems) await tidy()
  }
  return cells.flatMap(({ point, runs }) =>
    systems.flatMap(({ name }, at) => {
      const own = runs[at] ?? []
      return own.length === 0 ? [] : [rowOf(name, point, own)]
    }),
  )
}

async function runOnce<Name extends string, Point>(
  { run, memberPids, clientPid }: RoundSystem<Name, Point>,
  point: Point,
): Promise<Run> {
  const membersBefore = cpuMsOf(memberPids())
  const clientBefore = cpuMsOf([clientPid()])
  const figures = await run(point)
  const membersAfter = cpuMsOf(memberPids())
  const clientAfter = cpuMsOf([clientPid()])
  return {
    figures,
    memberCpuMs: difference(membersAfter, membersBefore),
    clientCpuMs: difference(clientAfter, clientBefore),
  }
}

function rowOf<Name extends string, Point>(
  system: Name,
  point: Point,
  runs: readonly Run[],
): RoundRow<Name, Point> {
  const of = (pick: (figures: LoadFigures) => number): Spread =>
    spread(runs.map(({ figures }) => pick(figures)))
  const cpuUs: number[] = []
  let clientMs = 0
  let allMs = 0
  for (const { figures, clientCpuMs, memberCpuMs } of runs) {
    if (clientCpuMs === undefined || memberCpuMs === undefined) continue
    cpuUs.push(((clientCpuMs + memberCpuMs) * 1_000) / figures.operations)
    clientMs += clientCpuMs
    allMs += clientCpuMs + memberCpuMs
  }
  return {
    system,
    point,
    perSecond: of(({ perSecond }) => perSecond),
    p50Ms: of(({ p50Ms }) => p50Ms),
    p99Ms: of(({ p99Ms }) => p99Ms),
    cpuUs: cpuUs.length === 0 ? undefined : spread(cpuUs),
    clientPart: allMs === 0 ? undefined : clientMs / allMs,
    failed: runs.reduce((sum, { figures }) => sum + figures.failed, 0),
  }
}

function difference(after: number | undefined, before: number | undefined): number | undefined {
  return after === undefined || before === undefined ? undefined : after - before
}
