/**
 * One Raft group of a simulated cluster, as somebody who sees every core, disk and message: a `RaftSafety` that looks after
 * each step of each member. Disks are mirrored from the batches that the simulated disks make durable, so that what a member
 * says to be durable is held against what a crash would leave.
 *
 * A member's calls come from inside of actors, where a throw is only a crash: whatever is broken ends the run instead.
 */
import type { SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import {
  decodeCommand,
  decodeEntries,
  decodeHard,
  decodeSnapshot,
  hardKey,
  NewLogImage,
  NewRaftDisk,
  RaftSafetyChecker,
  SafetyViolation,
  snapshotKey,
  type Applied,
  type HardState,
  type LogEntry,
  type LogImage,
  type MemberId,
  type RaftConfiguration,
  type RaftDisk,
  type RaftEffect,
  type RaftInput,
  type RaftMessage,
  type RaftObserver,
  type RaftSafety,
  type RaftStart,
  type RaftStatus,
} from './protocols.ts'

/** What the truth itself can reach. */
export const truthTags: readonly string[] = [
  ...[
    'leader-killed',
    'leader-changed',
    'log-repaired',
    'snapshot-installed',
    'snapshot-taken',
    'retry-deduplicated',
  ],
  ...[
    'entries-lost',
    'entries-recovered',
    'joint',
    'learner-promoted',
    'member-replaced',
    'went-quiet',
    'woken',
  ],
  ...[
    'refused-term',
    'session-expired',
    'joint-left-by-another',
    'transferred',
    'pre-vote-refused',
    'restarted',
  ],
  'snapshot-resumed',
]

/** A member, in all its lives. */
export interface SeenMember {
  readonly id: MemberId
  readonly node: string
  readonly disk: RaftDisk
  log: LogImage
  hard: HardState
  status: RaftStatus | undefined
  /** Given out to be applied. */
  applied: number
  /** Its disk has lost entries that it had acknowledged. */
  isDamaged: boolean
  /** Its reads under way: what was committed when they were asked. */
  readonly reads: Map<number, { readonly floor: number; readonly isLease: boolean }>
  lives: number
}

/** The changes of one batch, by key; `undefined` deletes. */
export type Batch = ReadonlyMap<string, Uint8Array | undefined>

export class RaftTruth {
  readonly members = new Map<MemberId, SeenMember>()
  readonly #simulation: Simulation
  readonly #group: string
  readonly #met: (tag: string) => void
  /** What stands on each node's disk now. */
  readonly #disks = new Map<string, RaftDisk>()
  readonly #current = new Map<string, SeenMember>()
  #safety: RaftSafety | undefined
  #founding = ''
  /** Those that came to nothing. */
  readonly #lostFoundings = new Set<string>()
  /** What each index gave where it was applied first. */
  readonly #results: string[] = []
  /** The answer to each numbered command of a session, where it was applied first. */
  readonly #answers = new Map<string, string>()
  /** By node and snapshot: in which of the member's lives a chunk of it was last written. */
  readonly #chunks = new Map<string, number>()
  #leader = ''
  #jointBy = ''
  /** Called when an entry is applied somewhere for the first time. */
  onFirst: ((node: string, entry: LogEntry, applied: Applied) => void) | undefined
  /** Called when a joint configuration is applied for the first time, with the node that leads. */
  onJoint: ((leader: string) => void) | undefined
  /** Called when a chunk of a snapshot has become durable on that node. */
  onChunk: ((node: string) => void) | undefined

  constructor(simulation: Simulation, group: string, met: (tag: string) => void) {
    this.#simulation = simulation
    this.#group = group
    this.#met = met
  }

  get safety(): RaftSafety | undefined {
    return this.#safety
  }

  /** The log as it is decided so far. */
  get committed(): readonly LogEntry[] {
    return this.#safety?.committed ?? []
  }

  /** The member that lives on that node, or did last. */
  memberOn(node: string): SeenMember | undefined {
    return this.#current.get(node)
  }

  // ---- Disks ---------------------------------------------------------------------------------------------------

  /** A batch of the group's own records became durable on that node's disk. Keys are those of `log-record.ts`. */
  written(node: string, batch: Batch): void {
    this.#guarded(() => this.#written(node, batch))
  }

  #written(node: string, batch: Batch): void {
    const pointer = batch.get(snapshotKey)
    const hardBytes = batch.get(hardKey)
    const hard = hardBytes === undefined ? undefined : decodeHard(hardBytes).hard
    const entries = [...batch].flatMap(([key, value]) =>
      key.startsWith('log/') && value !== undefined ? decodeEntries(value) : [],
    )
    const disk = this.#disks.get(node)
    for (const [key, value] of batch)
      if (key.startsWith('chunk/') && value !== undefined) this.#chunk(node, key)
    if (pointer !== undefined) {
      const { meta, content } = decodeSnapshot(snapshotKey, pointer)
      if (content === undefined || disk === undefined) {
        const start = { hard: hard ?? { term: 0, vote: undefined }, snapshot: meta, entries }
        this.#disks.set(node, new NewRaftDisk(start))
      } else if (hard !== undefined) {
        disk.begin({ type: 'install', meta })
        disk.complete(1)
      } else {
        disk.begin({ type: 'snapshot', meta, keepFrom: meta.index + 1 })
        disk.complete(1)
        this.#met('snapshot-taken')
      }
      return
    }
    if (disk === undefined || (hard === undefined && entries.length === 0)) return
    const last = entries.at(-1) ?? disk.log.last
    disk.begin({ type: 'persist', hard, entries, end: { index: last.index, term: last.term } })
    disk.complete(1)
    const member = this.#current.get(node)
    if (member?.disk === disk) this.#safety?.durable(member, hard, entries)
  }

  #chunk(node: string, key: string): void {
    const id = `${node} ${key.slice(0, key.lastIndexOf('/'))}`
    const life = this.#current.get(node)?.lives ?? 0
    const before = this.#chunks.get(id)
    if (before !== undefined && before !== life && !key.endsWith('/00000000')) this.#met('snapshot-resumed')
    this.#chunks.set(id, life)
    this.onChunk?.(node)
  }

  // ---- Members -------------------------------------------------------------------------------------------------

  /** For the member that `life` opens on `node`. */
  observer(node: string, life: SimulatedProcess): RaftObserver {
    // A process that was killed at a write runs to the end of its step: nobody sees what it does there.
    const alive = (act: () => void): void => {
      if (life.isAlive) this.#guarded(act)
    }
    return {
      started: (id, start) => alive(() => this.#started(node, life, id, start)),
      stepped: (id, input, effects, status) => alive(() => this.#stepped(id, input, effects, status())),
      applied: (id, entry, applied) => alive(() => this.#applied(id, entry, applied)),
      restored: (id, meta) => alive(() => this.#met(meta.index > 0 && id !== '' ? 'snapshot-installed' : '')),
      ended: (id) =>
        alive(() => {
          const member = this.members.get(id)
          if (member !== undefined) member.status = undefined
        }),
    }
  }

  #started(node: string, life: SimulatedProcess, id: MemberId, start: RaftStart): void {
    const disk = this.#disks.get(node)
    if (disk === undefined)
      throw this.#broken('A start is from the disk', `${id} starts, and its disk holds nothing`)
    if (start.snapshot.index === 0) this.#founded(id, start.snapshot.configuration)
    const before = this.members.get(id)
    const log = new NewLogImage(start.snapshot, start.entries)
    if (start.lostUpTo !== undefined) {
      this.#met('entries-lost')
      disk.corrupt(log.last.index + 1)
    }
    const found = `${id} starts with ${text(start.hard)} and ${text(log.last)}, its disk has ${text(disk.hard)} and ${text(disk.log.last)}`
    if (disk.hard.term !== start.hard.term || disk.hard.vote !== start.hard.vote)
      throw this.#broken('Term and vote survive a restart', found)
    if (disk.log.last.index !== log.last.index || disk.log.last.term !== log.last.term)
      throw this.#broken('The log survives a restart', found)
    if (before !== undefined) {
      this.#met('restarted')
      if (start.hard.term < before.disk.hard.term)
        throw this.#broken(
          'Term and vote survive a restart',
          `${found}; its term was ${before.disk.hard.term}`,
        )
    } else if ([...this.members.values()].some((other) => other.node === node)) {
      this.#met('member-replaced')
    }
    const member: SeenMember = {
      id,
      node,
      disk,
      log,
      hard: start.hard,
      status: initialStatus(id, start, log),
      applied: start.snapshot.index,
      isDamaged: start.lostUpTo !== undefined || before?.isDamaged === true,
      reads: new Map(),
      lives: (before?.lives ?? 0) + 1,
    }
    this.members.set(id, member)
    this.#current.set(node, member)
    life.onKill(() => {
      if (member.status?.role === 'leader') this.#met('leader-killed')
      member.status = undefined
    })
  }

  #founded(id: MemberId, configuration: RaftConfiguration): void {
    const founding = text(configuration)
    if (founding !== this.#founding && this.#isLost(configuration)) {
      this.#lostFoundings.add(this.#founding)
      this.#met('founded-again')
      this.members.clear()
      this.#safety = undefined
    }
    if (this.#safety === undefined && !this.#lostFoundings.has(founding)) {
      this.#founding = founding
      this.#safety = new RaftSafetyChecker(configuration, this.members)
    } else if (founding !== this.#founding) {
      throw this.#broken(
        'A group is founded once',
        `${id} begins with ${founding}, others with ${this.#founding}`,
      )
    }
  }

  /**
   * Whether the founding so far went with the disks that had it, before anything was committed: each store that began with it
   * is replaced by another one of its node in this founding.
   */
  #isLost({ voters }: RaftConfiguration): boolean {
    if (this.#safety === undefined || this.#safety.commitMax > 0) return false
    const isReplaced = ({ id, node }: SeenMember): boolean =>
      !voters.includes(id) && voters.some((voter) => voter.startsWith(`${node}@`))
    return [...this.members.values()].every(isReplaced)
  }

  #stepped(id: MemberId, input: RaftInput, effects: readonly RaftEffect[], after: RaftStatus): void {
    const member = this.members.get(id)
    const safety = this.#safety
    const before = member?.status
    if (member === undefined || safety === undefined || before === undefined) return
    if (input.type === 'message') this.#heard(safety, member, input.from, input.message)
    else if (input.type === 'read') {
      member.reads.set(input.id, { floor: safety.commitMax, isLease: input.lease === true })
    }
    for (const effect of effects) this.#effect(safety, member, effect, before, after)
    member.status = after
    safety.stepped(member, before, after)
    this.#note(member, before, after)
  }

  #effect(
    safety: RaftSafety,
    member: SeenMember,
    effect: RaftEffect,
    before: RaftStatus,
    after: RaftStatus,
  ): void {
    switch (effect.type) {
      case 'persist': {
        const [first] = effect.entries
        if (first !== undefined && first.index <= member.log.last.index) this.#met('log-repaired')
        safety.persisting(member, effect.hard, effect.entries)
        if (effect.hard !== undefined) member.hard = effect.hard
        member.log.replace(effect.entries)
        return
      }
      case 'install':
        safety.installing(member, effect.meta)
        member.log.install(effect.meta)
        member.applied = effect.meta.index
        return
      case 'send':
        safety.leaving(member, effect.to, effect.message)
        return
      case 'apply':
        for (const entry of effect.entries) {
          if (entry.index !== member.applied + 1) {
            throw this.#broken(
              'Committed entries are applied in order, each once',
              `${member.id} applies ${entry.index} behind ${member.applied}`,
            )
          }
          member.applied = entry.index
        }
        return
      case 'read-ready': {
        const read = member.reads.get(effect.id)
        member.reads.delete(effect.id)
        const term = Math.max(before.term, after.term)
        if (read !== undefined) safety.readReady(member, term, effect.index, read.floor, read.isLease)
        return
      }
      case 'refused':
        member.reads.delete(effect.id)
        if (effect.reason === 'wrong-term') this.#met('refused-term')
        return
      case 'transferred':
        this.#met('transferred')
        return
      default:
    }
  }

  /** What was said must be durable when it is heard, whatever became of who said it. */
  #heard(safety: RaftSafety, member: SeenMember, from: MemberId, message: RaftMessage): void {
    if (message.type === 'pre-vote-reply' && !message.granted) this.#met('pre-vote-refused')
    const isPromise =
      message.type === 'vote' ||
      (message.type === 'vote-reply' && message.granted) ||
      (message.type === 'append-reply' && message.rejected === undefined)
    if (!isPromise) return
    const sender = this.members.get(from)
    // What it acknowledged before its disk was damaged it holds no more.
    if (sender === undefined || (sender.isDamaged && message.type === 'append-reply')) return
    safety.leaving(sender, member.id, message)
  }

  #applied(id: MemberId, entry: LogEntry, applied: Applied): void {
    const decided = this.#safety?.committed[entry.index - 1]
    if (decided?.term !== entry.term || decided.type !== entry.type) {
      throw this.#broken(
        'State Machine Safety',
        `${id} applies ${entry.index}/${entry.term}, decided is ${decided?.term}`,
      )
    }
    const result = text(applied)
    const known = this.#results[entry.index]
    if (known === undefined) {
      this.#results[entry.index] = result
      if (entry.type === 'command') this.#answered(entry.data, applied, result)
      if (entry.type === 'configuration') this.#configured(entry.index, entry.configuration)
      this.onFirst?.(this.members.get(id)?.node ?? '', entry, applied)
    } else if (known !== result) {
      throw this.#broken(
        'Results are the same everywhere',
        `${id} got ${result} at ${entry.index}, another ${known}`,
      )
    }
  }

  /** A command is being applied somewhere for the first time. */
  #answered(data: Uint8Array, applied: Applied, result: string): void {
    const { session, sequence } = decodeCommand(data).header
    if (session === 0) return
    if (applied.type === 'expired') this.#met('session-expired')
    if (applied.type !== 'result') return
    const key = `${session}/${sequence}`
    const first = this.#answers.get(key)
    if (first === undefined) this.#answers.set(key, result)
    else if (first === result) this.#met('retry-deduplicated')
    else throw this.#broken('A retry gets the first answer', `${key} gave ${first}, its retry ${result}`)
  }

  #configured(index: number, configuration: RaftConfiguration): void {
    const before = this.#safety?.configurationAt(index - 1)
    if (before === undefined) return
    const { voters, outgoing } = configuration
    if (outgoing.length > 0) {
      this.#met('joint')
      this.#jointBy = this.#leader
      const leader = this.members.get(this.#leader.split(' ')[0] as MemberId)
      if (leader !== undefined) this.onJoint?.(leader.node)
    } else if (before.outgoing.length > 0 && this.#jointBy !== this.#leader)
      this.#met('joint-left-by-another')
    if (voters.some((voter) => before.learners.includes(voter))) this.#met('learner-promoted')
  }

  #note(member: SeenMember, before: RaftStatus, after: RaftStatus): void {
    if (after.role === 'leader' && this.#leader !== `${member.id} ${after.term}`) {
      if (this.#leader !== '') this.#met('leader-changed')
      this.#leader = `${member.id} ${after.term}`
    }
    if (after.role !== before.role)
      this.#simulation.state(member.node, `${this.#group}: ${after.role} of term ${after.term}`)
    if (before.isRecovering && !after.isRecovering) this.#met('entries-recovered')
    if (!before.isQuiet && after.isQuiet) this.#met('went-quiet')
    if (before.isQuiet && !after.isQuiet) this.#met('woken')
  }

  #broken(property: string, what: string): Error {
    return new SafetyViolation(property, what)
  }

  #guarded(act: () => void): void {
    try {
      act()
    } catch (error) {
      const isRule = error instanceof SafetyViolation
      const message =
        error instanceof Error ? (isRule ? error.message : (error.stack ?? error.message)) : String(error)
      this.#simulation.fail(isRule ? error.property : 'raft-truth', `group "${this.#group}": ${message}`)
    }
  }
}

/** Before its first step; later ones say it themselves. */
function initialStatus(self: MemberId, start: RaftStart, log: LogImage): RaftStatus {
  const { hard, snapshot, entries } = start
  const last = entries.findLast((entry) => entry.type === 'configuration')
  return {
    self,
    role: 'follower',
    term: hard.term,
    vote: hard.vote,
    leader: undefined,
    commit: snapshot.index,
    applied: snapshot.index,
    first: snapshot.index + 1,
    last: { index: log.last.index, term: log.last.term },
    durable: log.last.index,
    configuration: last?.type === 'configuration' ? last.configuration : snapshot.configuration,
    isQuiet: false,
    isRecovering: start.lostUpTo !== undefined,
    transferee: undefined,
    progress: [],
  }
}

function text(value: unknown): string {
  return JSON.stringify(
    value,
    function (this: Readonly<Record<string, unknown>>, key: string, item: unknown) {
      // What came out of a snapshot may be a `Buffer`, which turns itself into something else before it gets here.
      const found = this[key]
      return found instanceof Uint8Array ? Buffer.from(found).toString('hex') : item
    },
  )
}
