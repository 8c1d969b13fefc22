/** Random commands over few sessions, requests and names, so that they meet. */
import fc from 'fast-check'
import { acquire } from './machine-log.ts'
import type { LockCommand } from './machine-source.ts'

/** Sessions and requests are told by numbers of which `LockCourse` makes real ones. */
const session = fc.integer({ min: 1, max: 4 })
const request = fc.integer({ min: 1, max: 30 })
const owner = fc.constantFrom('', 'a', 'a', 'b', 'c')
const flag = fc.boolean()
const often = fc.constantFrom(true, true, true, true, false)

const mutex = fc
  .record({ session, request, name: fc.constantFrom('m1', 'm2', 'm3'), owner, wait: often, reentrant: flag })
  .map(({ session: id, request: number, name, ...fields }) =>
    acquire(id, number, name, { ...fields, reentrant: fields.reentrant && fields.owner !== '' }),
  )
const readWrite = fc
  .record({
    session,
    request,
    name: fc.constantFrom('r1', 'r2'),
    owner,
    wait: often,
    reentrant: flag,
    permits: fc.constantFrom(0, 1, 1),
  })
  .map(({ session: id, request: number, name, ...fields }) =>
    acquire(id, number, name, {
      ...fields,
      kind: 'read-write',
      reentrant: fields.reentrant && fields.owner !== '',
    }),
  )
const semaphore = fc
  .record({
    session,
    request,
    name: fc.constantFrom('s1', 's2'),
    owner,
    wait: often,
    permits: fc.constantFrom(1, 1, 2, 3, 9),
    capacity: fc.constantFrom(3, 4),
  })
  .map(({ session: id, request: number, name, ...fields }) =>
    acquire(id, number, name, { ...fields, kind: 'semaphore' }),
  )
const election = fc
  .record({ session, request, data: fc.constantFrom('', 'x', 'y'), wait: often })
  .map(({ session: id, request: number, ...fields }) =>
    acquire(id, number, 'e1', { ...fields, kind: 'election' }),
  )
const barrier = fc.record({
  type: fc.constant('barrier' as const),
  session,
  request,
  name: fc.constantFrom('b1', 'd1'),
  step: fc.constantFrom('pass' as const, 'enter' as const, 'leave' as const),
  parties: fc.constantFrom(1, 2, 2, 2, 3),
  entered: request,
})
const latch: fc.Arbitrary<LockCommand> = fc.oneof(
  fc.record({
    type: fc.constant('latch-set' as const),
    name: fc.constant('l1'),
    count: fc.integer({ min: 0, max: 3 }),
  }),
  fc.record({
    type: fc.constant('latch-down' as const),
    name: fc.constant('l1'),
    by: fc.integer({ min: 1, max: 2 }),
  }),
  fc.record({ type: fc.constant('latch-wait' as const), name: fc.constant('l1'), session, request }),
)
const small = fc.integer({ min: -2, max: 2 })
const version = fc.constantFrom(undefined, undefined, 0, 1, 2, 3, 5)
const value: fc.Arbitrary<LockCommand> = fc.oneof(
  fc.record({ type: fc.constant('count-add' as const), name: fc.constant('c1'), by: small }),
  fc.record({
    type: fc.constant('count-set' as const),
    name: fc.constantFrom('c1', 'm1'),
    expected: fc.option(small, { nil: undefined }),
    value: small,
  }),
  fc.record({
    type: fc.constant('value-set' as const),
    name: fc.constantFrom('v1', 'c1'),
    expectedVersion: version,
    value: fc.uint8Array({ maxLength: 3 }),
  }),
  fc.record({
    type: fc.constant('remove' as const),
    name: fc.constantFrom('c1', 'v1', 'l1', 's1', 'e1', 'm1', 'p1'),
  }),
  fc.record({
    type: fc.constant('set-permits' as const),
    name: fc.constantFrom('s1', 's2', 'm1'),
    permits: fc.integer({ min: 0, max: 5 }),
  }),
)
const ttlMs = fc.integer({ min: 1, max: 40 })
const spinOwner = fc.constantFrom('x', 'y')
const token = fc.constantFrom(0, 1, 2, 3, 4)
const spin: fc.Arbitrary<LockCommand> = fc.oneof(
  fc.record({
    type: fc.constant('spin-acquire' as const),
    name: fc.constantFrom('p1', 'p1', 'm3'),
    owner: spinOwner,
    ttlMs,
  }),
  fc.record({
    type: fc.constant('spin-extend' as const),
    name: fc.constant('p1'),
    owner: spinOwner,
    token: fc.integer({ min: 1, max: 4 }),
    ttlMs,
  }),
  fc.record({ type: fc.constant('spin-release' as const), name: fc.constant('p1'), owner: spinOwner, token }),
)
const sessions: fc.Arbitrary<LockCommand> = fc.oneof(
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('open-session' as const),
      ttlMs: fc.integer({ min: 50, max: 400 }),
      label: fc.constant(''),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('keep-alive' as const), session }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('end-session' as const), session }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('expire' as const),
      sessions: fc.array(session, { maxLength: 4 }),
    }),
  },
)
const release = fc.record({ type: fc.constant('release' as const), session, request })
const downgrade = fc.record({ type: fc.constant('downgrade' as const), session, request })

export const arbitraryLockCommand: fc.Arbitrary<LockCommand> = fc.oneof(
  { weight: 8, arbitrary: mutex },
  { weight: 6, arbitrary: readWrite },
  { weight: 5, arbitrary: semaphore },
  { weight: 2, arbitrary: election },
  { weight: 6, arbitrary: barrier },
  { weight: 3, arbitrary: latch },
  { weight: 3, arbitrary: value },
  { weight: 3, arbitrary: spin },
  { weight: 3, arbitrary: sessions },
  { weight: 14, arbitrary: release },
  { weight: 2, arbitrary: downgrade },
)

/** A command with how its entry differs from the one before. */
export interface LockStep {
  readonly command: LockCommand
  readonly newTerm: boolean
  readonly passMs: number
}

interface Issued {
  readonly session: number
  readonly request: number
}

/** The course of a log: gives the commands of its steps real sessions, and requests that are mostly new or mostly there. */
export class LockCourse {
  readonly opened: number[] = []
  /** Every request that was asked for. */
  readonly issued: Issued[] = []
  readonly #entered: Issued[] = []
  index = 0
  term = 1
  timeMs = 0

  next({ command, newTerm, passMs }: LockStep): LockCommand {
    if (newTerm) this.term++
    this.timeMs += passMs
    this.index++
    const made = this.#real(command)
    if (made.type === 'open-session') this.opened.push(this.index)
    return made
  }

  #real(command: LockCommand): LockCommand {
    switch (command.type) {
      case 'expire':
        return { ...command, sessions: command.sessions.map((one) => this.#session(one)) }
      case 'keep-alive':
      case 'end-session':
        return { ...command, session: this.#session(command.session) }
      case 'release':
      case 'downgrade':
        return { ...command, ...this.#recent(this.issued, command) }
      case 'latch-wait':
      case 'acquire':
        return { ...command, ...this.#ask(command) }
      case 'barrier': {
        if (command.step !== 'leave') {
          const asked = this.#ask(command)
          if (command.step === 'enter') this.#entered.push(asked)
          return { ...command, ...asked }
        }
        const { session, request: entered } = this.#recent(this.#entered, {
          ...command,
          request: command.entered,
        })
        return { ...command, ...this.#ask({ ...command, session }, session), entered }
      }
      default:
        return command
    }
  }

  /** A new number; now and then one that was used. */
  #ask({ session, request }: Issued, id: number = this.#session(session)): Issued {
    if (request > 28) return { session: id, request: this.issued.at(-2)?.request ?? 1 }
    const asked = { session: id, request: this.issued.length + 1 }
    this.issued.push(asked)
    return asked
  }

  /** One of the last that were asked for; now and then one that was not. */
  #recent(of: readonly Issued[], { session, request }: Issued): Issued {
    if (request > 28) return { session: this.#session(session), request: this.issued.length + (request - 28) }
    return of.at(-1 - (request % 14)) ?? of[0] ?? { session: this.#session(session), request }
  }

  /** Mostly one of the last four that were opened. */
  #session(number: number): number {
    return this.opened.slice(-4)[number - 1] ?? this.opened.at(-1) ?? 1_000
  }
}

const opening: readonly LockStep[] = [400, 800, 800, 800].map((ttl) => ({
  command: { type: 'open-session', ttlMs: ttl, label: '' },
  newTerm: false,
  passMs: 0,
}))

export const arbitraryLockSteps: fc.Arbitrary<readonly LockStep[]> = fc
  .array(
    fc.record({
      command: arbitraryLockCommand,
      newTerm: fc.integer({ min: 0, max: 29 }).map((n) => n === 0),
      passMs: fc.integer({ min: 0, max: 8 }),
    }),
    { minLength: 10, maxLength: 150, size: 'max' },
  )
  .map((steps) => [...opening, ...steps])
