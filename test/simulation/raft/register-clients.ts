/**
 * Clients of a Raft group of registers, on the nodes that have it: they follow the leader, try again with sessions what nobody
 * knows, and record what they were told. Judged by linearizability, and by what really came to be in the state.
 */
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import { isActorError } from '@understudy/runtime'
import {
  casRegisterModel,
  checkLinearizable,
  HistoryRecorder,
  partitionBy,
  type Model,
  type RegisterState,
  type CasRegisterInput,
  type CasRegisterOutput,
  type OpenOp,
} from '@understudy/runtime/checkers'
import { ProcessKilled } from '@understudy/runtime/simulation'
import type { RaftGroup } from './protocols.ts'
import {
  registerCommand,
  type RegisterCommand,
  type RegisterMachine,
  type RegisterResult,
} from './register-machine.ts'

export const clientTags: readonly string[] = [
  ...[
    'unknown-was-applied',
    'unknown-was-not',
    'retried',
    'not-leader',
    'overloaded',
    'session-lost',
    'read-elsewhere',
  ],
  ...['lease-read', 'given-up'],
]

/** The group on one node, and its state there. */
export interface OpenedGroup {
  readonly group: RaftGroup<RegisterResult>
  readonly machine: () => RegisterMachine
}

export interface ClientsOptions {
  readonly world: World
  readonly met: (tag: string) => void
  /** The group on that node, if it is open there now. */
  readonly on: (name: string) => OpenedGroup | undefined
  readonly keys: number
  readonly leaseReads: boolean
  readonly timeoutMs: number
}

type Input = CasRegisterInput<number> & { readonly key: string }
type Fate = 'open' | 'done' | 'refused' | 'unknown'

interface Command {
  readonly n: number
  readonly what: string
  fate: Fate
}

interface Session {
  readonly number: number
  sequence: number
}

/** Nothing was appended. */
const refusals: ReadonlySet<string> = new Set(['PROTOCOLS_NOT_LEADER', 'PROTOCOLS_OVERLOADED'])
/** Longer than any of an operation's own deadlines, however slow its node's processor is. */
const hangMs = 90_000

export class RegisterClients {
  readonly #options: ClientsOptions
  readonly #history = new HistoryRecorder<Input, CasRegisterOutput<number>>()
  readonly #commands: Command[] = []
  #leader: string | undefined
  #last = new Map<string, number>()
  open = 0

  constructor(options: ClientsOptions) {
    this.#options = options
  }

  /** One client does so many operations, one after the other. */
  async run(client: number, count: number, pauseMs: () => number): Promise<void> {
    const { world } = this.#options
    const usesSession = client % 2 === 0
    let session: Session | undefined
    for (let i = 0; i < count; i++) {
      // Now and then longer than the shortest sessions last.
      await world.sleep(pauseMs() + (world.chance(0.05, 'client/long-rest') ? 2_500 : 0))
      if (usesSession) session ??= await this.#openSession()
      this.open++
      try {
        const key = `k${world.choose(this.#options.keys, 'client/key')}`
        if (world.chance(0.4, 'client/read')) await this.#read(client, key)
        else if (!(await this.#write(client, key, session))) session = undefined
      } finally {
        this.open--
      }
    }
  }

  // ---- Writing -------------------------------------------------------------------------------------------------

  /** False: its session is over. */
  async #write(client: number, key: string, session: Session | undefined): Promise<boolean> {
    const { world } = this.#options
    const n = this.#commands.length + 1
    const expected = world.chance(0.3, 'client/cas') ? (this.#last.get(key) ?? null) : undefined
    const asked: RegisterCommand =
      expected === undefined
        ? { n, key, type: 'write', value: n }
        : { n, key, type: 'cas', expected, value: n }
    const input: Input =
      expected === undefined ? { type: 'write', key, value: n } : { type: 'cas', key, expected, value: n }
    const command: Command = { n, what: JSON.stringify(asked), fate: 'open' }
    this.#commands.push(command)
    const op = this.#history.begin(client, input)
    const stamp =
      session === undefined
        ? undefined
        : { session: session.number, sequence: ++session.sequence, answeredBelow: session.sequence }
    const bytes = registerCommand(asked)
    let mayBeDone = false
    for (let tries = 0; tries < 12; tries++) {
      if (tries > 0) await world.sleep(20 + world.choose(8, 'client/pause') * 60)
      const place = this.#target()
      const opened = place === undefined ? undefined : this.#options.on(place.name)
      if (place === undefined || opened === undefined) continue
      if (mayBeDone) this.#options.met('retried')
      const { timeoutMs } = this.#options
      try {
        const result = await world.attempt(
          place,
          () => opened.group.propose(bytes, { session: stamp, timeoutMs }),
          hangMs,
        )
        this.#leader = place.name
        this.#done(command, op, input, result)
        return true
      } catch (error) {
        const code = this.#note(error, place.name)
        if (refusals.has(code)) continue
        if (code === 'PROTOCOLS_SESSION_EXPIRED') {
          this.#options.met('session-lost')
          this.#ended(command, op, mayBeDone)
          return false
        }
        if (code === 'PROTOCOLS_GROUP_CLOSED' && !(error instanceof ProcessKilled)) continue
        mayBeDone = true
        // Without a session a second try might be a second time.
        if (stamp === undefined) break
      }
    }
    this.#options.met('given-up')
    this.#ended(command, op, mayBeDone)
    // A later command says that this one was answered; but it was not, and so the session is left.
    return !mayBeDone
  }

  #done(command: Command, op: OpenOp<CasRegisterOutput<number>>, input: Input, { ok }: RegisterResult): void {
    command.fate = 'done'
    op.ok(input.type === 'cas' ? ok : undefined)
    if (ok) this.#last.set(input.key, command.n)
  }

  #ended(command: Command, op: OpenOp<CasRegisterOutput<number>>, mayBeDone: boolean): void {
    command.fate = mayBeDone ? 'unknown' : 'refused'
    if (mayBeDone) op.unknown()
    else op.failed()
  }

  async #openSession(): Promise<Session | undefined> {
    const { world, timeoutMs } = this.#options
    for (let tries = 0; tries < 4; tries++) {
      const place = this.#target()
      const opened = place === undefined ? undefined : this.#options.on(place.name)
      if (place !== undefined && opened !== undefined) {
        try {
          const ttlMs = [600_000, 20_000, 2_000][world.choose(3, 'client/ttl')] ?? 600_000
          const number = await world.attempt(
            place,
            () => opened.group.openSession({ ttlMs, timeoutMs }),
            hangMs,
          )
          return { number, sequence: 0 }
        } catch (error) {
          this.#note(error, place.name)
        }
      }
      await world.sleep(50)
    }
    return undefined
  }

  // ---- Reading -------------------------------------------------------------------------------------------------

  async #read(client: number, key: string): Promise<void> {
    const { world, timeoutMs, leaseReads, met } = this.#options
    const op = this.#history.begin(client, { type: 'read', key })
    const isLease = leaseReads && world.chance(0.5, 'client/lease')
    const place =
      isLease || world.chance(0.5, 'client/at-leader') ? this.#target() : world.anyUp('client/node')
    const opened = place === undefined ? undefined : this.#options.on(place.name)
    if (place === undefined || opened === undefined) {
      op.failed()
      return
    }
    const { group, machine } = opened
    const consistency = isLease ? 'lease' : 'linearizable'
    try {
      const value = await world.attempt(
        place,
        async () => {
          await group.read({ consistency, timeoutMs })
          return machine().get(key)
        },
        hangMs,
      )
      if (isLease) met('lease-read')
      else if (group.status().role !== 'leader') met('read-elsewhere')
      if (value !== null) this.#last.set(key, value)
      op.ok(value)
    } catch (error) {
      this.#note(error, place.name)
      op.failed()
    }
  }

  /** Whom to ask: who led last, or anybody. */
  #target(): SimulatedNode | undefined {
    const { world } = this.#options
    const leader = this.#leader
    if (leader !== undefined && world.node(leader).isUp) return world.node(leader)
    this.#leader = undefined
    return world.anyUp('client/node')
  }

  #note(error: unknown, asked: string): string {
    const { met, world } = this.#options
    if (error instanceof ProcessKilled) {
      this.#leader = undefined
      return 'killed'
    }
    if (!isActorError(error)) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      world.simulation.fail('typed-outcome', `a call of the group on "${asked}" ended with ${text}`)
      return ''
    }
    const { leader } = error.details
    if (error.code === 'PROTOCOLS_NOT_LEADER') {
      met('not-leader')
      this.#leader = typeof leader === 'string' && leader !== asked ? leader : undefined
    } else {
      if (error.code === 'PROTOCOLS_OVERLOADED') met('overloaded')
      this.#leader = undefined
    }
    return error.code
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  /** Nothing is under way, and `machine` has all that was decided. */
  judge(machine: RegisterMachine): void {
    const { world, met } = this.#options
    for (const { n, what, fate } of this.#commands) {
      const isApplied = machine.has(n)
      if (fate === 'done')
        world.check(
          'acknowledged-is-applied',
          isApplied,
          `${what} was acknowledged, and is nowhere in the state`,
        )
      if (fate === 'refused')
        world.check('refused-is-not-applied', !isApplied, `${what} was refused every time, and was applied`)
      if (fate === 'unknown') met(isApplied ? 'unknown-was-applied' : 'unknown-was-not')
    }
    const model: Model<RegisterState<number>, Input, CasRegisterOutput<number>> = {
      ...casRegisterModel<number>(),
      partition: partitionBy((input) => input.key),
    }
    world.expect('linearizable', checkLinearizable(model, this.#history.ops()))
  }
}
