/**
 * Who takes part, seen to by whoever leads: the change that was asked for by names of nodes, step by step, and nodes that have
 * lost their disk. A newcomer is a learner first; when it has caught up, one joint change makes it a voter and ends whom it
 * replaces (thesis, section 4.2.1). Nothing is remembered but what the configuration and the newcomers say themselves, so that
 * the next leader goes on where this one ended.
 */
import type { Logger } from '@understudy/runtime'
import { memberId, nodeOfMember, storeOfMember } from './raft-member-id.ts'
import type { MemberId, RaftConfiguration } from './raft-message.ts'
import type { ConfigurationTarget } from './raft-configuration.ts'
import type { RaftStatus, RefusalReason } from './raft-step.ts'

export interface MembershipOptions {
  readonly self: MemberId
  readonly log: Logger
  readonly replace: 'automatic' | 'manual'
  /** Between two looks while there is something to do. */
  readonly intervalMs: number
  readonly status: () => RaftStatus | undefined
  /** Asks the core; `answer` is called once: with a reason when it is refused. */
  readonly change: (target: ConfigurationTarget, answer: (reason: RefusalReason | undefined) => void) => void
  /** Asks that node's member, whatever its store is, to say hello. */
  readonly ask: (node: string) => void
}

/** A configuration by names of nodes. */
export interface MembershipGoal {
  readonly voters: readonly string[]
  readonly learners: readonly string[]
  readonly reached: () => void
  readonly refused: (reason: RefusalReason) => void
}

export class MembershipDuty {
  readonly #options: MembershipOptions
  /** Stores of nodes that said hello. */
  readonly #stores = new Map<string, string>()
  #goal: MembershipGoal | undefined
  #isChanging = false
  #dueMs: number | undefined
  /** Where the log ended at the last look: a learner that has this by now keeps up. */
  #lastBefore: number | undefined
  /** Said once for each that is not replaced by itself. */
  readonly #told = new Set<MemberId>()

  constructor(options: MembershipOptions) {
    this.#options = options
  }

  get nextMs(): number | undefined {
    return this.#dueMs
  }

  /** One at a time: false when there is one already. */
  set(goal: MembershipGoal, nowMs: number): boolean {
    if (this.#goal !== undefined) return false
    this.#goal = goal
    this.#dueMs = nowMs
    return true
  }

  /** Nobody waits for it any more. */
  drop(goal: MembershipGoal): void {
    if (this.#goal === goal) this.#goal = undefined
  }

  /** A member told its store, which may be in no configuration yet. */
  hello(node: string, store: string, nowMs: number): void {
    this.#stores.set(node, store)
    this.#dueMs ??= nowMs
  }

  /** This member leads now, or does not any more. */
  lead(isLeading: boolean, nowMs: number): void {
    this.#isChanging = false
    this.#lastBefore = undefined
    this.#dueMs = isLeading ? nowMs + this.#options.intervalMs : undefined
    const goal = this.#goal
    if (isLeading || goal === undefined) return
    this.#goal = undefined
    goal.refused('not-leader')
  }

  tick(nowMs: number): void {
    if (this.#dueMs === undefined || nowMs < this.#dueMs) return
    this.#dueMs = undefined
    const status = this.#options.status()
    if (status === undefined || status.role !== 'leader') return
    const isBusy = this.#look(status)
    this.#lastBefore = status.last.index
    if (isBusy) this.#dueMs = nowMs + this.#options.intervalMs
  }

  /** True while there is something to wait for. */
  #look(status: RaftStatus): boolean {
    const { configuration } = status
    if (this.#isChanging || configuration.outgoing.length > 0) return true
    if (this.#goal !== undefined) return this.#towards(this.#goal, configuration, status)
    return this.#replace(configuration, status)
  }

  #towards(goal: MembershipGoal, configuration: RaftConfiguration, status: RaftStatus): boolean {
    const idOf = (node: string): MemberId | undefined => {
      const store = this.#stores.get(node)
      const known = [...configuration.voters, ...configuration.learners].filter(
        (member) => nodeOfMember(member) === node,
      )
      // Of a node that has lost its disk the new store counts; of one whose change is half done, the learner.
      if (store !== undefined && (known.length === 0 || node !== nodeOfMember(this.#options.self))) {
        return memberId(node, store)
      }
      const learning = known.filter((member) => configuration.learners.includes(member))
      // Of two learners one has lost its disk before it ever had a vote, and will not come back.
      return learning.find((member) => isActive(member, status)) ?? learning[0] ?? known[0]
    }
    const unknown = [...goal.voters, ...goal.learners].filter((node) => idOf(node) === undefined)
    if (unknown.length > 0) {
      for (const node of unknown) this.#options.ask(node)
      return true
    }
    const voters = goal.voters.map((node) => idOf(node) as MemberId).sort()
    const learners = goal.learners.map((node) => idOf(node) as MemberId).sort()
    if (isSame(voters, configuration.voters) && isSame(learners, configuration.learners)) {
      this.#reached(goal)
      return true
    }
    const newcomers = voters.filter(
      (member) => !configuration.voters.includes(member) && !configuration.learners.includes(member),
    )
    if (newcomers.length > 0) {
      this.#change({
        voters: configuration.voters,
        learners: [
          ...configuration.learners.filter((learner) => !newcomers.some((one) => isSameNode(one, learner))),
          ...newcomers,
        ].sort(),
      })
    } else if (
      voters.every((member) => configuration.voters.includes(member) || this.#keepsUp(member, status))
    ) {
      // Told as soon as it is committed: a leader that has removed itself leads no more then.
      this.#change({ voters, learners }, () => this.#reached(goal))
    }
    return true
  }

  #reached(goal: MembershipGoal): void {
    if (this.#goal !== goal) return
    this.#goal = undefined
    goal.reached()
  }

  #replace(configuration: RaftConfiguration, status: RaftStatus): boolean {
    const { voters, learners } = configuration
    // One whose node has come with yet another store since will never catch up.
    const isGone = (learner: MemberId): boolean => {
      const store = this.#stores.get(nodeOfMember(learner))
      return store !== undefined && store !== storeOfMember(learner) && !isActive(learner, status)
    }
    const successor = learners.find(
      (learner) => !isGone(learner) && voters.some((voter) => isSameNode(voter, learner)),
    )
    if (successor !== undefined && this.#options.replace === 'automatic') {
      if (!this.#keepsUp(successor, status)) return true
      this.#options.log.info(
        { node: nodeOfMember(successor), store: storeOfMember(successor) },
        'a member that came back without its disk has caught up and takes its old place',
      )
      this.#change({
        voters: [...voters.filter((voter) => !isSameNode(voter, successor)), successor].sort(),
        learners: learners.filter((learner) => learner !== successor),
      })
      return true
    }
    for (const [node, store] of [...this.#stores].sort(byName)) {
      const member = memberId(node, store)
      const before = [...voters, ...learners].filter((other) => nodeOfMember(other) === node)
      // In its place; or an old hello that came late, which the next one puts right.
      if (before.includes(member) || before.some((other) => isActive(other, status))) {
        this.#stores.delete(node)
        continue
      }
      // A node that nobody has named yet waits for a change that does.
      if (before.length === 0) continue
      if (this.#options.replace === 'manual') {
        this.#tellOfLoss(member)
        continue
      }
      this.#options.log.warn(
        { node, store },
        'a member came back without its disk: it is added as a learner and will take its old place',
      )
      this.#change({
        voters,
        learners: [...learners.filter((learner) => nodeOfMember(learner) !== node), member].sort(),
      })
      return true
    }
    return false
  }

  #tellOfLoss(member: MemberId): void {
    if (this.#told.has(member)) return
    this.#told.add(member)
    this.#options.log.warn(
      { node: nodeOfMember(member), store: storeOfMember(member) },
      'a member came back without its disk: name its node in "change" to let it take part again',
    )
  }

  /** It has what the log had at the last look. */
  #keepsUp(member: MemberId, status: RaftStatus): boolean {
    if (member === status.self) return true
    const progress = status.progress.find((report) => report.member === member)
    return (
      this.#lastBefore !== undefined &&
      progress !== undefined &&
      progress.state === 'replicate' &&
      progress.match >= this.#lastBefore
    )
  }

  #change(target: ConfigurationTarget, done?: () => void): void {
    this.#isChanging = true
    this.#options.change(target, (reason) => {
      this.#isChanging = false
      if (reason === undefined) done?.()
      const goal = this.#goal
      if (reason !== 'bad-configuration' || goal === undefined) return
      this.#goal = undefined
      goal.refused(reason)
    })
  }
}

/** This member, or one that has answered lately. */
function isActive(member: MemberId, status: RaftStatus): boolean {
  return (
    member === status.self || status.progress.some((report) => report.member === member && report.isActive)
  )
}

function isSameNode(a: MemberId, b: MemberId): boolean {
  return nodeOfMember(a) === nodeOfMember(b)
}

function isSame(a: readonly MemberId[], b: readonly MemberId[]): boolean {
  return a.length === b.length && a.every((member, i) => member === b[i])
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : a > b ? 1 : 0
}
