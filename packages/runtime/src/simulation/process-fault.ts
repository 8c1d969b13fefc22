/** What can be done to simulated processes and to the clocks of their machines, as kinds of fault. */
import type { ChoiceStream } from './choice-source.ts'
import type { FaultKind, Injected } from './fault-plan.ts'
import type { SimulatedMachine } from './simulated-machine.ts'
import type { SimulatedProcess } from './simulated-process.ts'

/** A machine whose process can be killed and started again. */
export interface FaultTarget {
  readonly machine: SimulatedMachine
  /** What runs there now. */
  readonly process: SimulatedProcess | undefined
  /** False when the budget forbids one more that is down or silent: losing it would prove nothing. */
  readonly mayFail: () => boolean
  /** Starts what was killed again, with the disk as the crash left it. */
  readonly restart: () => void
  /** Asks it to shut down in good order, then starts it again; left out where that has no meaning. */
  readonly stopGently?: (() => void) | undefined
  /** Starts a second process of the same name beside the first; returns how to end it. Left out: not possible here. */
  readonly startTwin?: (() => () => void) | undefined
}

/** Durations that faults draw from, in milliseconds: the mildest first, and short ones more often than long ones. */
const durationsMs = [
  50, 100, 100, 200, 200, 300, 500, 500, 700, 1_000, 1_000, 1_500, 2_000, 3_000, 6_000, 20_000,
] as const
/** Jepsen's bumps: 1.5^6 to 1.5^31 ms, that is 11 ms to 288 s. */
const bumps = 26

/** All kinds that concern processes and clocks. `targets` are all machines that may be met, in a fixed order. */
export function processFaults(targets: () => readonly FaultTarget[]): readonly FaultKind[] {
  const living = (): readonly FaultTarget[] =>
    targets().filter(({ process: life }) => life !== undefined && life.isAlive)
  const killable = (): readonly FaultTarget[] => steady().filter((target) => target.mayFail())
  /** Who runs and is not held up already: faults on top of each other add nothing. */
  const steady = (): readonly FaultTarget[] =>
    living().filter(({ process }) => process !== undefined && !process.isBlocked && !process.isStalled)
  const onOne = (
    name: string,
    among: () => readonly FaultTarget[],
    act: (target: FaultTarget, life: SimulatedProcess, stream: ChoiceStream) => Injected | undefined,
  ): FaultKind => ({
    name,
    inject: (stream) => {
      const candidates = among()
      const target = candidates[stream.choose(candidates.length)]
      return target?.process === undefined ? undefined : act(target, target.process, stream)
    },
  })

  return [
    onOne('kill', killable, (target, life, stream) => {
      const downMs = durationOf(stream)
      life.kill()
      return downFor(target, downMs)
    }),
    onOne('kill-at-effect', killable, (target, life, stream) => {
      // Before or after one of its next writes and sends.
      const count = 1 + stream.choose(32)
      const downMs = durationOf(stream)
      let isOver = false
      life.onKill(() => {
        const { simulation } = target.machine
        if (!simulation.isOver && !isOver)
          simulation.at(simulation.nowMs + downMs, undefined, 'restart', target.restart)
      })
      life.killAtEffect(count)
      // One that has not struck by then would strike a healed world.
      const undo = (): void => {
        isOver = true
        life.killAtEffect(Number.POSITIVE_INFINITY)
      }
      return { what: `${life.name} at effect ${count} from now`, lane: target.machine.name, undo }
    }),
    onOne(
      'stop-gently',
      () => killable().filter(({ stopGently }) => stopGently !== undefined),
      (target, life) => {
        target.stopGently?.()
        return { what: life.name, lane: target.machine.name }
      },
    ),
    onOne('pause', killable, (target, life, stream) => {
      const ms = durationOf(stream)
      life.pause(ms)
      return {
        what: `${life.name} for ${ms} ms`,
        lane: target.machine.name,
        undo: () => life.resume(),
        forMs: ms,
      }
    }),
    onOne('stall', killable, (target, life, stream) => {
      const ms = durationOf(stream)
      const count = stream.choose(12)
      if (count === 0) life.stall(ms)
      else life.stallAtEffect(count, ms)
      const where = count === 0 ? 'in its next step' : `at effect ${count} from now`
      return {
        what: `${life.name}: its event loop is blocked for ${ms} ms ${where}`,
        lane: target.machine.name,
        undo: () => life.cancelStall(),
      }
    }),
    onOne('slow-cpu', living, ({ machine }, _life, stream) => {
      const costMs = [0.1, 1, 5, 20][stream.choose(4)] ?? 0
      const forMs = durationOf(stream)
      machine.turnCostMs = costMs
      const what = `${machine.name}: ${costMs} ms a turn for ${forMs} ms`
      return { what, lane: machine.name, undo: () => (machine.turnCostMs = 0), forMs }
    }),
    onOne(
      'started-twice',
      () => living().filter(({ startTwin }) => startTwin !== undefined),
      (target, life, stream) => {
        const forMs = durationOf(stream)
        const undo = target.startTwin?.()
        return undo === undefined ? undefined : { what: life.name, lane: target.machine.name, undo, forMs }
      },
    ),
    {
      name: 'power-cut',
      inject: (stream) => {
        const all = living()
        const zones = [...new Set(all.map(({ machine }) => machine.zone))].sort()
        // One zone, or everything.
        const chosen = stream.choose(zones.length + 1)
        const hit = all.filter(({ machine }) => chosen === zones.length || machine.zone === zones[chosen])
        if (hit.length === 0) return undefined
        const downMs = durationOf(stream)
        for (const { process: life } of hit) life?.kill()
        const undos = hit.map((target) => downFor(target, downMs).undo)
        return {
          what: `${hit.map(({ machine }) => machine.name).join(', ')} for ${downMs} ms`,
          undo: () => undos.forEach((undo) => undo?.()),
          forMs: downMs,
        }
      },
    },
    onClock('clock-offset', living, (machine, stream) => {
      const ms = bump(stream)
      machine.clock.jump(ms)
      return {
        what: `${machine.name}: wall clock ${ms} ms ahead`,
        lane: machine.name,
        undo: () => machine.clock.jump(-ms),
      }
    }),
    onClock('clock-back', living, (machine, stream) => {
      const ms = bump(stream)
      machine.clock.jump(-ms)
      return {
        what: `${machine.name}: wall clock back by ${ms} ms`,
        lane: machine.name,
        undo: () => machine.clock.jump(ms),
      }
    }),
    onClock('clock-drift', living, (machine, stream) => {
      const rate = [1.001, 0.999, 1.01, 0.99][stream.choose(4)] ?? 1
      const { simulation, clock } = machine
      clock.drift(rate, simulation.nowMs)
      return {
        what: `${machine.name}: its clock runs at ${rate}`,
        lane: machine.name,
        undo: () => clock.drift(1, simulation.nowMs),
        forMs: 10 * durationOf(stream),
      }
    }),
    onClock('clock-frozen', living, (machine, stream) => {
      machine.clock.freeze(machine.simulation.nowMs)
      const forMs = durationOf(stream)
      return {
        what: `${machine.name}: wall clock stands for ${forMs} ms`,
        lane: machine.name,
        undo: () => machine.clock.thaw(),
        forMs,
      }
    }),
    onClock('clock-strobe', living, (machine, stream) => {
      const ms = 4 * 4 ** stream.choose(9)
      const everyMs = 1 + stream.choose(1_000)
      let flips = 0
      let isOver = false
      const { simulation, clock } = machine
      const flip = (): void => {
        if (isOver) return
        clock.jump(flips++ % 2 === 0 ? ms : -ms)
        simulation.at(simulation.nowMs + everyMs, undefined, 'clock-strobe', flip)
      }
      flip()
      return {
        what: `${machine.name}: wall clock to and fro by ${ms} ms every ${everyMs} ms`,
        lane: machine.name,
        undo: () => {
          isOver = true
          if (flips % 2 === 1) clock.jump(-ms)
        },
        forMs: 2_000,
      }
    }),
  ]
}

function onClock(
  name: string,
  among: () => readonly FaultTarget[],
  act: (machine: SimulatedMachine, stream: ChoiceStream) => Injected,
): FaultKind {
  return {
    name,
    inject: (stream) => {
      const candidates = among()
      const target = candidates[stream.choose(candidates.length)]
      return target === undefined ? undefined : act(target.machine, stream)
    },
  }
}

function durationOf(stream: ChoiceStream): number {
  return durationsMs[stream.choose(durationsMs.length)] ?? 0
}

function bump(stream: ChoiceStream): number {
  return Math.round(1.5 ** (6 + stream.choose(bumps)))
}

/** It stays down for so long, or until the world is healed. */
function downFor(target: FaultTarget, ms: number): Injected {
  return {
    what: `${target.machine.name} for ${ms} ms`,
    lane: target.machine.name,
    undo: target.restart,
    forMs: ms,
  }
}
