/**
 * Which of the ready actors runs next. Every policy picks by choice, and choice 0 is always the first in line, so a
 * shrunk schedule is FIFO but for the few places that matter.
 */
import type { ChoiceSource, ChoiceStream } from './choice-source.ts'

/** What a policy sees of a ready actor. */
export interface Candidate {
  /** The policy's own: its rank, 0 until it was given one. */
  priority: number
}

/** Picks one of `ready`, which has at least two, first in line first; returns its index. */
export interface SchedulerPolicy {
  readonly name: PolicyName
  readonly pick: (ready: readonly Candidate[]) => number
}

export const policyNames = ['fifo', 'random', 'pct', 'starve', 'delay-bounded'] as const
export type PolicyName = (typeof policyNames)[number]

/** Priority change points of `pct`: it finds a bug of depth d with at least 1 / (n k^(d-1)). */
const pctDepth = 3
/** Ranks that `pct` hands out. */
const pctRanks = 1_000
/** Steps among which the change points and delays lie. */
const horizonSteps = 4_096
/** Delays that `delay-bounded` may use. */
const delaysMax = 8
/** One actor in so many is starved. */
const starvedOneIn = 6
/** Picks that a starved actor must wait, if anybody else is ready. */
const starvePicks = 200

export function schedulerPolicy(name: PolicyName, choices: ChoiceSource): SchedulerPolicy {
  switch (name) {
    case 'fifo':
      return { name, pick: () => 0 }
    case 'random': {
      const stream = choices.stream('schedule/random')
      return { name, pick: (ready) => stream.choose(ready.length) }
    }
    case 'pct':
      return pct(choices)
    case 'starve':
      return starve(choices)
    case 'delay-bounded':
      return delayBounded(choices)
    default:
      name satisfies never
      throw new RangeError(
        `Cannot schedule by "${String(name)}": it must be one of ${policyNames.join(', ')}`,
      )
  }
}

/**
 * Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): each actor has a random priority, the highest
 * ready one runs, and at d - 1 random steps the running one falls to the bottom.
 */
function pct(choices: ChoiceSource): SchedulerPolicy {
  const ranks = choices.stream('schedule/pct/rank')
  const points = changePoints(choices.stream('schedule/pct/point'), pctDepth - 1)
  let picks = 0
  return {
    name: 'pct',
    pick: (ready) => {
      let best = 0
      let bestPriority = -1
      for (let i = 0; i < ready.length; i++) {
        const candidate = ready[i] as Candidate
        if (candidate.priority === 0) candidate.priority = 1 + ranks.choose(pctRanks)
        // The earlier in line wins a tie, so that without choices it is FIFO.
        if (candidate.priority > bestPriority) {
          best = i
          bestPriority = candidate.priority
        }
      }
      if (points.has(picks++)) (ready[best] as Candidate).priority = 0.5
      return best
    },
  }
}

/** Some actors are passed over while anybody else is ready, each for a bounded number of picks. */
function starve(choices: ChoiceSource): SchedulerPolicy {
  const whom = choices.stream('schedule/starve')
  return {
    name: 'starve',
    pick: (ready) => {
      for (let i = 0; i < ready.length; i++) {
        const candidate = ready[i] as Candidate
        // Rank 1 is served in turn; above it stands how often it will still be passed over.
        if (candidate.priority === 0) candidate.priority = whom.choose(starvedOneIn) === 1 ? starvePicks : 1
        if (candidate.priority <= 1) return i
        candidate.priority--
      }
      return 0
    },
  }
}

/** Delay-bounded scheduling (Emmi, Qadeer and Rakamaric, POPL 2011): FIFO, but the first in line is passed over a few times. */
function delayBounded(choices: ChoiceSource): SchedulerPolicy {
  const points = changePoints(choices.stream('schedule/delay'), delaysMax)
  let picks = 0
  return { name: 'delay-bounded', pick: () => (points.has(picks++) ? 1 : 0) }
}

/** So many steps of the first `horizonSteps`; a choice of 0 is none. */
function changePoints(stream: ChoiceStream, count: number): ReadonlySet<number> {
  const points = new Set<number>()
  for (let i = 0; i < count; i++) {
    const chosen = stream.choose(horizonSteps)
    if (chosen > 0) points.add(chosen - 1)
  }
  return points
}
