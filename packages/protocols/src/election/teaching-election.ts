/**
 * Runs the bully or the ring algorithm on some nodes of a cluster: the shell of `BullyCore` and `RingCore`. For teaching, and where
 * two leaders at a time do no harm: what must be led by one alone takes `leaderElection`, whose term a guarded resource checks.
 */
import type { ClusterNode } from '@understudy/cluster'
import {
  actor,
  ask,
  protocol,
  tell,
  type ActorContext,
  type Definition,
  type MessageOf,
  type MessagesOf,
} from '@understudy/runtime'
import type { TUnsafe } from 'typebox'
import { BullyCore, type BullyEffect, type BullyFigures, type BullyMessage } from './bully-core.ts'
import { RingCore, type RingEffect, type RingMessage } from './ring-core.ts'

/** A schema of JSON, with the type that it stands for. */
function typed<T>(schema: object): TUnsafe<T> {
  return schema as TUnsafe<T>
}

const text = typed<string>({ type: 'string' })
const count = typed<number>({ type: 'integer', minimum: 0 })
const nameOrNull = typed<string | null>({ type: ['string', 'null'] })

/**
 * What the members say to each other. Declared lossy: in the simulator single messages are lost, doubled and late; both
 * algorithms bear that.
 */
export const TeachingElection = protocol(
  'understudy-teaching-election',
  {
    /** `kind`: the message's type; `name`: the candidate or leader of the ring's; `count`: the round of the bully's, or hops. */
    heard: tell({ from: text, kind: text, name: text, count }, { lane: 'control' }),
    /** Whom this member takes for the leader. */
    leader: ask(nameOrNull),
  },
  { delivery: 'lossy', absence: 'expected' },
)

export type TeachingElectionMessages = MessagesOf<typeof TeachingElection>

export interface TeachingElectionOptions extends BullyFigures {
  readonly algorithm: 'bully' | 'ring'
  /** Names of the nodes that take part, the same on all of them; for the ring in its order. */
  readonly members: readonly string[]
  /** Actors of one name elect among themselves. @default 'election' */
  readonly name?: string | undefined
  /** Told whenever this member takes somebody else for the leader, or nobody. Must not throw. */
  readonly onLeader?: ((leader: string | undefined) => void) | undefined
  /** Of the ring: see `RingOptions`. @default 3_000 */
  readonly roundMs?: number | undefined
}

/** The part of one node in an election. */
export interface TeachingElectionMember extends AsyncDisposable {
  /** Whom this member takes for the leader. Another member may take somebody else for it. */
  readonly leader: () => string | undefined
  /** Takes no part any more; the others notice by its silence, or, on a ring, by its node's end. */
  readonly close: () => Promise<void>
}

/** What an election needs of a node. */
export type ElectionNode = Pick<ClusterNode, 'name' | 'system' | 'ref' | 'members' | 'events'>

/**
 * Takes part, as the actor `/user/<name>` of the node.
 *
 * @throws {RangeError | TypeError} the node is no member, a name is there twice, or a figure is out of range
 * @throws {ActorError} RUNTIME_DUPLICATE_NAME when this node takes part in an election of that name already
 */
export function startTeachingElection(
  node: ElectionNode,
  options: TeachingElectionOptions,
): TeachingElectionMember {
  const name = options.name ?? 'election'
  const known: { leader: string | undefined } = { leader: undefined }
  // So that what is wrong with the options is thrown here, and not in the actor.
  makeCore(node.name, options)
  const ref = node.system.spawn(
    name,
    electionActor(node, `/user/${name}`, options, (leader) => {
      known.leader = leader
      options.onLeader?.(leader)
    }),
  )
  const close = async (): Promise<void> => {
    await node.system.stop(ref)
    known.leader = undefined
  }
  return { leader: () => known.leader, close, [Symbol.asyncDispose]: close }
}

const own = { tick: tell(), living: tell() }

type Context = ActorContext<TeachingElectionMessages, typeof own>

function electionActor(
  node: ElectionNode,
  path: string,
  options: TeachingElectionOptions,
  onLeader: (leader: string | undefined) => void,
): Definition<TeachingElectionMessages, void> {
  return actor(TeachingElection, { name: `teaching-election-${path.slice(6)}`, own }, (ctx) => {
    const member = new Member(ctx, node, path, makeCore(node.name, options), onLeader)
    member.start()
    return {
      heard: (message) => member.heard(message),
      leader: () => member.leader ?? null,
      tick: () => member.tick(),
      living: () => member.living(),
    }
  })
}

type ElectionCore =
  | { readonly algorithm: 'bully'; readonly core: BullyCore }
  | { readonly algorithm: 'ring'; readonly core: RingCore }

function makeCore(self: string, options: TeachingElectionOptions): ElectionCore {
  return options.algorithm === 'ring'
    ? { algorithm: 'ring', core: new RingCore({ ...options, self }) }
    : { algorithm: 'bully', core: new BullyCore({ ...options, self }) }
}

/** One incarnation: it has no state but the core's, and begins as a member that has come back. */
class Member {
  readonly #ctx: Context
  readonly #node: ElectionNode
  readonly #path: string
  readonly #which: ElectionCore
  readonly #onLeader: (leader: string | undefined) => void
  leader: string | undefined

  constructor(
    ctx: Context,
    node: ElectionNode,
    path: string,
    which: ElectionCore,
    onLeader: (leader: string | undefined) => void,
  ) {
    this.#ctx = ctx
    this.#node = node
    this.#path = path
    this.#which = which
    this.#onLeader = onLeader
  }

  start(): void {
    const ctx = this.#ctx
    this.#onLeader(undefined)
    if (this.#which.algorithm === 'ring') {
      const watching = this.#node.events.on('view-changed', () =>
        ctx.timers.once('living', 0, { type: 'living' }),
      )
      ctx.defer(() => watching[Symbol.dispose]())
      this.living()
    }
    const { core } = this.#which
    this.#carryOut(core.step({ type: 'start' }, ctx.now()))
  }

  tick(): void {
    this.#carryOut(this.#which.core.step({ type: 'tick' }, this.#ctx.now()))
  }

  /** Who is suspected may well live; what it does not pass on is sent again. Who leaves should not come to lead. */
  living(): void {
    if (this.#which.algorithm !== 'ring') return
    const names = this.#node
      .members()
      .filter(({ status }) => status !== 'leaving')
      .map(({ name }) => name)
    this.#carryOut(this.#which.core.step({ type: 'living', names }, this.#ctx.now()))
  }

  heard({ from, kind, name, count: number }: MessageOf<TeachingElectionMessages, 'heard'>): void {
    const nowMs = this.#ctx.now()
    if (this.#which.algorithm === 'ring') {
      const message = ringMessage(kind, name, number)
      if (message !== undefined) this.#carryOut(this.#which.core.step({ type: 'message', message }, nowMs))
    } else {
      const message = bullyMessage(kind, number)
      if (message !== undefined)
        this.#carryOut(this.#which.core.step({ type: 'message', from, message }, nowMs))
    }
  }

  #carryOut(effects: readonly (BullyEffect | RingEffect)[]): void {
    for (const effect of effects) {
      if (effect.type === 'leader') {
        this.leader = effect.leader
        this.#onLeader(effect.leader)
      } else {
        this.#send(effect.to, effect.message)
      }
    }
    const dueMs = this.#which.core.nextDeadlineMs()
    if (dueMs === undefined) this.#ctx.timers.cancel('due')
    else this.#ctx.timers.once('due', Math.max(0, dueMs - this.#ctx.now()), { type: 'tick' })
  }

  #send(to: string, message: BullyMessage | RingMessage): void {
    const name = message.type === 'elected' ? message.leader : 'candidate' in message ? message.candidate : ''
    const number = 'hops' in message ? message.hops : 'round' in message ? message.round : 0
    const ref = this.#node.ref(TeachingElection, to, this.#path)
    this.#ctx.tell(ref, { type: 'heard', from: this.#node.name, kind: message.type, name, count: number })
  }
}

function bullyMessage(kind: string, round: number): BullyMessage | undefined {
  if (kind === 'election' || kind === 'answer') return { type: kind, round }
  return kind === 'coordinator' ? { type: kind } : undefined
}

function ringMessage(kind: string, name: string, hops: number): RingMessage | undefined {
  if (kind === 'election') return { type: kind, candidate: name, hops }
  return kind === 'elected' ? { type: kind, leader: name, hops } : undefined
}
