/**
 * The algebra of configurations: from one to the next by a joint one (Raft paper, section 6; thesis, section 4.3). Pure.
 *
 * Any change of the voters goes through a joint configuration, also of a single one: changing one at a time without is unsafe
 * as first published (R4), and the joint way needs no second rule. Learners have no say, so they come and go in one step.
 */
import type { MemberId, RaftConfiguration } from './raft-message.ts'

/** Whom a change names. */
export interface ConfigurationTarget {
  readonly voters: readonly MemberId[]
  readonly learners: readonly MemberId[]
}

/** A configuration that is not joint. @throws {RangeError} if it has no voters or names one twice */
export function simpleConfiguration(
  voters: readonly MemberId[],
  learners: readonly MemberId[] = [],
): RaftConfiguration {
  const fault = targetFault({ voters, learners })
  if (fault !== undefined) throw new RangeError(`Cannot form a Raft configuration: ${fault}`)
  return { voters: voters.toSorted(), outgoing: [], learners: learners.toSorted(), learnersNext: [] }
}

/**
 * The configuration to append on the way from `current` to `target`: joint when the voters change (it is then left by
 * `leaveJoint`), simple when only learners do, `current` itself when nothing does. `undefined` when there is no way: `current`
 * is joint already, or the target has no voters, or names one twice.
 */
export function planChange(
  current: RaftConfiguration,
  target: ConfigurationTarget,
): RaftConfiguration | undefined {
  if (isJoint(current) || targetFault(target) !== undefined) return undefined
  const voters = target.voters.toSorted()
  const learners = target.learners.toSorted()
  if (isSameList(voters, current.voters)) {
    if (isSameList(learners, current.learners)) return current
    return { voters, outgoing: [], learners, learnersNext: [] }
  }
  // Who votes in the old majority cannot be a learner at the same time: it becomes one when the joint one is left.
  const outgoing = current.voters
  return {
    voters,
    outgoing,
    learners: learners.filter((member) => !outgoing.includes(member)),
    learnersNext: learners.filter((member) => outgoing.includes(member)),
  }
}

/** What follows a joint configuration: the new voters alone. */
export function leaveJoint(joint: RaftConfiguration): RaftConfiguration {
  return {
    voters: joint.voters,
    outgoing: [],
    learners: [...joint.learners, ...joint.learnersNext].toSorted(),
    learnersNext: [],
  }
}

/** Two majorities are needed. */
export function isJoint(configuration: RaftConfiguration): boolean {
  return configuration.outgoing.length > 0
}

/** Has a say in elections and commits. */
export function isVoter(configuration: RaftConfiguration, member: MemberId): boolean {
  return configuration.voters.includes(member) || configuration.outgoing.includes(member)
}

/** Gets the log, as a voter or a learner. */
export function isMember(configuration: RaftConfiguration, member: MemberId): boolean {
  return isVoter(configuration, member) || configuration.learners.includes(member)
}

/** All who have a say, sorted. */
export function votersOf(configuration: RaftConfiguration): readonly MemberId[] {
  const { voters, outgoing } = configuration
  return outgoing.length === 0 ? voters : [...new Set([...voters, ...outgoing])].toSorted()
}

/** All who get the log, sorted. */
export function membersOf(configuration: RaftConfiguration): readonly MemberId[] {
  const { voters, outgoing, learners } = configuration
  if (outgoing.length === 0 && learners.length === 0) return voters
  return [...new Set([...voters, ...outgoing, ...learners])].toSorted()
}

/** A copy that shares nothing with the core. */
export function copyConfiguration(configuration: RaftConfiguration): RaftConfiguration {
  return {
    voters: [...configuration.voters],
    outgoing: [...configuration.outgoing],
    learners: [...configuration.learners],
    learnersNext: [...configuration.learnersNext],
  }
}

function targetFault({ voters, learners }: ConfigurationTarget): string | undefined {
  if (voters.length === 0) return 'it needs at least one voter'
  const all = [...voters, ...learners]
  const twice = all.find((member, index) => all.indexOf(member) !== index)
  return twice === undefined ? undefined : `"${twice}" is named twice; name each member once`
}

function isSameList(a: readonly MemberId[], b: readonly MemberId[]): boolean {
  return a.length === b.length && a.every((member, index) => member === b[index])
}
