/**
 * A lock client's way to the services of its table: gathers writes, follows the leader, tries again what may be tried again, and
 * takes what the leader pushes.
 */
import { actor, tell, type ActorRef, type Random } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { ByteReader, ByteWriter } from '../service/byte-buffer.ts'
import { Gathering, type GatheringLine } from '../service/gathering.ts'
import { ServiceCaller, type Attempt, type ServiceCall } from '../service/service-caller.ts'
import type { FinalReply } from '../service/service-reply.ts'
import { SessionWrites } from '../service/session-writes.ts'
import { checkTimeout } from './claim-error.ts'
import type { CheckedLockClientOptions } from './lock-client-options.ts'
import { batchTag, encodeLockCommand, readLockResult, writeLockCommand } from './lock-codec.ts'
import type { LockAnswer, LockCommand, LockGrant, LockRequest, LockResult, LockView } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import { lockLimits } from './lock-limit.ts'
import type { LockControlOptions, LockPort, LockViewOptions, LockWriteOptions } from './lock-port.ts'
import {
  decodeGrants,
  decodeLockReply,
  LockReceiver,
  LockService,
  lockServicePath,
  statesMax,
  type LockOwnReply,
  type LockReceiverMessages,
  type LockServiceMessages,
} from './lock-protocol.ts'
import type { LockNode } from './lock-service.ts'
import type { WaitOptions } from './lock.ts'

/** The group's session, which makes writes safe to try again, is over when nothing was written for so long; another is opened. */
const writeSessionTtlMs = 600_000

/** An attachment that stood for less is one that came to nothing. Milliseconds. */
const shortLivedMs = 1_000

type ServiceRef = ActorRef<LockServiceMessages>
type Final = FinalReply<LockResult, LockOwnReply>

/** Where the session is attached, and what was told of it. */
interface Attachment {
  readonly session: number
  readonly number: number
  readonly server: ServiceRef
  pushes: number
  /** Since when it stands. */
  answeredMs: number | undefined
  /** Something that was pushed may have been lost. */
  isDetached: boolean
}

/** See `LockPort`. */
export class LockCaller implements LockPort {
  readonly #node: LockNode
  readonly #options: CheckedLockClientOptions
  readonly #id: string
  readonly #caller: ServiceCaller<ServiceRef, LockResult, LockOwnReply>
  readonly #gathering: Gathering<LockResult>
  readonly #writes: GatheringLine<LockResult>
  readonly random: Random
  #receiver: ActorRef<LockReceiverMessages> | undefined
  /** The newest; what comes to an older one is for nobody. */
  #attachment: Attachment | undefined
  #attachments = 0
  /** Of views that wait for news: there is none for a client that is closed. */
  readonly #waitingViews = new Set<AbortController>()
  /** Attachments in a row that ended almost as soon as they stood: the next one waits. */
  #shortLived = 0
  onGrant: ((grant: LockGrant) => void) | undefined
  onRefused: ((request: LockRequest) => void) | undefined
  onDetached: (() => void) | undefined
  onSessionOver: ((session: number) => void) | undefined

  constructor(node: LockNode, options: CheckedLockClientOptions) {
    const { platform } = node.system
    this.#node = node
    this.#options = options
    this.#id = Array.from(platform.secureBytes(12), (byte) => byte.toString(16).padStart(2, '0')).join('')
    this.random = platform.random.fork(`lock-client/${this.#id}`)
    const dialect = {
      node: node.name,
      refTo: (server: string) => node.ref(LockService, server, lockServicePath(options.name)),
      decode: decodeLockReply,
      failures,
    }
    this.#caller = new ServiceCaller(dialect, options, platform.clock, this.random.fork('caller'))
    this.#gathering = new Gathering(
      this.#caller,
      { batchTag, readResult: readLockResult },
      options,
      platform.clock,
      platform.scheduler.afterTurn,
    )
    const session = new SessionWrites(this.#caller, writeSessionTtlMs, {
      openSession: (server, ttlMs, how) => server.ask({ type: 'openSession', ttlMs }, how),
      write: (server, message, how) => server.ask(message, how),
    })
    this.#writes = this.#gathering.line(true, (batch) => session.carry(batch))
  }

  readonly nowMs = (): number => this.#caller.nowMs()

  readonly sleep = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
    this.#caller.sleep(ms, signal)

  // ---- Writes --------------------------------------------------------------------------------------------------

  /** Hot (benchmark: locks). */
  readonly write = (what: string, command: LockCommand, options: LockWriteOptions): Promise<LockAnswer> => {
    const { timeoutMs = this.#options.timeoutMs, signal } = options
    if (!(timeoutMs > 0)) return refusedTimeout(what, timeoutMs)
    return this.#writes.call({
      verb: what,
      key: undefined,
      timeoutMs,
      signal,
      value: command,
      write: writeChecked,
      bytes: bytesMostOf(command),
      isAlone: options.isAlone === true || isAlone(command),
      shape: answerOf,
    })
  }

  readonly control = async (
    what: string,
    command: LockCommand,
    options: LockControlOptions,
  ): Promise<LockAnswer> => {
    const bytes = encodeLockCommand(command)
    const { attemptMs } = this.#options
    const { silentAfterMs, onBegin, timeoutMs = this.#options.timeoutMs } = options
    // One that is asked beside others is waited for to its end: it may be the first that is answered.
    const call = this.#caller.begin(what, options, silentAfterMs === undefined ? attemptMs : timeoutMs)
    if (silentAfterMs !== undefined) call.silentAfterMs = Math.min(silentAfterMs, attemptMs)
    onBegin?.(call)
    const reply = await this.#caller.send(call, (server, how) =>
      server.ask({ type: 'control', command: bytes }, how),
    )
    if (reply.kind !== 'result') throw unexpected(reply)
    return answerOf(reply.result)
  }

  // ---- Reads ---------------------------------------------------------------------------------------------------

  readonly states = async (
    session: number,
    requests: readonly number[],
    options: WaitOptions,
  ): Promise<readonly LockAnswer[]> => {
    const call = this.#caller.begin('the state of requests', options)
    const answers: LockAnswer[] = []
    for (let from = 0; from < requests.length; from += statesMax) {
      const part = requests.slice(from, from + statesMax)
      const reply = await this.#read(call, (server, how) =>
        server.ask({ type: 'states', session, requests: part }, how),
      )
      if (reply.kind !== 'results') throw unexpected(reply)
      readAnswers(reply.results, part.length, answers)
    }
    return answers
  }

  readonly view = async (name: string, options: LockViewOptions): Promise<LockView | undefined> => {
    checkTimeout(`the view of "${name}"`, options.timeoutMs)
    const { waitMs = 0, signal } = options
    if (waitMs === 0) return this.#view(name, options)
    const ended = new AbortController()
    const abort = (): void => ended.abort(signal?.reason)
    if (signal?.aborted === true) abort()
    else signal?.addEventListener('abort', abort, { once: true })
    this.#waitingViews.add(ended)
    try {
      return await this.#view(name, { ...options, signal: ended.signal })
    } finally {
      this.#waitingViews.delete(ended)
      signal?.removeEventListener('abort', abort)
    }
  }

  async #view(name: string, options: LockViewOptions): Promise<LockView | undefined> {
    const { afterVersion = -1, afterToken = -1, waitMs = 0, signal } = options
    const { timeoutMs = this.#options.timeoutMs } = options
    // The waiting is beside the time that the call may take.
    const call = this.#caller.begin(
      `view of "${name}"`,
      { timeoutMs: timeoutMs + waitMs, signal },
      this.#options.attemptMs + waitMs,
    )
    const untilMs = this.nowMs() + waitMs
    const reply = await this.#read(
      call,
      (server, how) => {
        const leftMs = Math.max(0, untilMs - this.nowMs())
        return server.ask({ type: 'view', name, afterVersion, afterToken, waitMs: leftMs }, how)
      },
      this.#caller.nearestServer(),
    )
    if (reply.kind !== 'view') throw unexpected(reply)
    return reply.view
  }

  readonly list = async (prefix: string, options: WaitOptions): Promise<readonly LockView[]> => {
    checkTimeout(`the list of "${prefix}"`, options.timeoutMs)
    const call = this.#caller.begin(`the list of "${prefix}"`, options)
    const views: LockView[] = []
    for (;;) {
      const after = views.at(-1)?.name ?? ''
      const reply = await this.#read(call, (server, how) => server.ask({ type: 'list', prefix, after }, how))
      if (reply.kind !== 'views') throw unexpected(reply)
      // Each page begins behind the one before it.
      const [next] = reply.views
      if (next === undefined || (views.length > 0 && next.name <= after)) return views
      views.push(...reply.views)
      if (!reply.more) return views
    }
  }

  /** As `ServiceCaller.send`; that an answer is missing is all there is to say of what changes nothing. */
  async #read(call: ServiceCall, attempt: Attempt<ServiceRef>, server?: string): Promise<Final> {
    const reply = await this.#caller.trySend(call, attempt, server)
    if (reply !== undefined) return reply
    const { what, lastProblem, tries, signal } = call
    if (this.#caller.isClosed) throw failures.closed()
    if (!call.isUnknown || signal?.aborted === true) throw this.#caller.failureOf(call)
    const text = `${what} was not answered in time (${lastProblem})`
    throw new LockError('LOCK_UNAVAILABLE', text, { outcome: 'unknown', tries })
  }

  // ---- Pushes --------------------------------------------------------------------------------------------------

  readonly attach = async (session: number, options: WaitOptions): Promise<void> => {
    const call = this.#caller.begin(`the attachment of session ${session}`, options)
    const to = this.#receiverRef()
    if (this.#shortLived > 1) await this.#pause(call, this.#shortLived)
    for (;;) {
      const reply = await this.#read(call, (server, how) => {
        const number = ++this.#attachments
        // Pushes may come before the answer does.
        this.#attachment = { session, number, server, pushes: 0, answeredMs: undefined, isDetached: false }
        to.tell({ type: 'attached' })
        return server.ask({ type: 'attach', session, client: this.#id, attachment: number, to }, how)
      })
      if (reply.kind === 'result') answerOf(reply.result)
      if (reply.kind !== 'opened') throw unexpected(reply)
      const found = this.#current(reply.number)
      // Another one has been asked for meanwhile: that one counts.
      if (found === undefined) return
      found.answeredMs = this.nowMs()
      if (!found.isDetached) return
      // A server that answers, and is no member for this node, would be asked as fast as it answers.
      call.lastProblem = 'it ended before it stood'
      await this.#pause(call, call.tries)
    }
  }

  #pause(call: ServiceCall, tries: number): Promise<void> {
    return this.#caller.pause(tries, call.signal, Math.max(0, call.untilMs - this.nowMs()))
  }

  readonly close = async (): Promise<void> => {
    this.#caller.close()
    this.#gathering.close()
    for (const ended of [...this.#waitingViews]) ended.abort(closedReason)
    this.#attachment = undefined
    // Services watch it: its attachments end with it.
    if (this.#receiver !== undefined) await this.#node.system.stop(this.#receiver)
  }

  /** The actor that takes the pushes, started when it is first needed. */
  #receiverRef(): ActorRef<LockReceiverMessages> {
    if (this.#receiver !== undefined) return this.#receiver
    const system = this.#node.system as InternalSystem
    const { ref } = spawnSystemActor(system, `lock-client-${this.#id}`, this.#receiverActor())
    this.#receiver = ref
    return ref
  }

  #receiverActor() {
    const own = { serverGone: tell({ place: { type: 'string' } as object }) }
    return actor(LockReceiver, { name: 'lock-client', own }, (ctx) => {
      let watched: ServiceRef | undefined
      return {
        granted: ({ attachment, push, grants }) =>
          this.#pushed(attachment, push, grants, (grant) => this.onGrant?.(grant)),
        refused: ({ attachment, push, requests }) =>
          this.#pushed(attachment, push, requests, (request) => this.onRefused?.(request)),
        sessionOver: ({ attachment }) => {
          const found = this.#current(attachment)
          if (found === undefined) return
          this.#attachment = undefined
          this.onSessionOver?.(found.session)
        },
        detached: ({ attachment }) => this.#detached(this.#current(attachment)),
        attached: () => {
          const server = this.#attachment?.server
          if (server === undefined || server === watched) return
          if (watched !== undefined) ctx.unwatch(watched)
          watched = server
          ctx.watch(server, () => ({ type: 'serverGone', place: server.path }))
        },
        serverGone: ({ place }) => {
          if (watched?.path === place) watched = undefined
          if (this.#attachment?.server.path === place) this.#detached(this.#attachment)
        },
      }
    })
  }

  #pushed(attachment: number, push: number, bytes: unknown, take: (one: LockGrant) => void): void {
    const found = this.#current(attachment)
    if (found === undefined || !(bytes instanceof Uint8Array)) return
    const isGap = push !== found.pushes + 1
    found.pushes = push
    for (const one of decodeGrants(found.session, bytes)) take(one)
    // What was lost is in the state of the requests.
    if (isGap) this.#detached(found)
  }

  #current(attachment: number): Attachment | undefined {
    return this.#attachment?.number === attachment ? this.#attachment : undefined
  }

  #detached(found: Attachment | undefined): void {
    if (found === undefined || found.isDetached) return
    found.isDetached = true
    // Else whoever attaches is still at it, and sees it.
    if (found.answeredMs === undefined) return
    const stoodMs = this.nowMs() - found.answeredMs
    this.#shortLived = stoodMs < shortLivedMs ? this.#shortLived + 1 : 0
    this.onDetached?.()
  }
}

/** Made once: nobody sees it. */
const closedReason = new LockError('LOCK_CLIENT_CLOSED', 'The lock client was closed')

const failures = {
  unavailable: (text: string, details: Readonly<Record<string, unknown>>) =>
    new LockError('LOCK_UNAVAILABLE', text, details),
  full: (text: string) => new LockError('LOCK_CLIENT_FULL', text, { outcome: 'not-done' }),
  closed: () => new LockError('LOCK_CLIENT_CLOSED', 'The lock client was closed', { outcome: 'not-done' }),
}

/** @throws {LockError} what the table refused */
function answerOf(result: LockResult): LockAnswer {
  if (result.ok) return result.result
  const { code, message, cycle } = result.error
  throw new LockError(code, message, { outcome: 'not-done', ...(cycle === undefined ? {} : { cycle }) })
}

function readAnswers(reader: ByteReader, count: number, answers: LockAnswer[]): void {
  for (let i = 0; i < count; i++) answers.push(answerOf(readLockResult(reader)))
}

async function refusedTimeout(what: string, timeoutMs: number): Promise<never> {
  checkTimeout(what, timeoutMs)
  throw new RangeError(`"timeoutMs" is ${timeoutMs}`)
}

/** Its answer may hold a value, and the answers of a batch are kept with the session on every member. */
function isAlone({ type }: LockCommand): boolean {
  return type === 'value-set'
}

/** Bytes that a command takes at most, if it is not alone. */
function bytesMostOf(command: LockCommand): number {
  const name = 'name' in command ? command.name.length * 3 : 0
  if (command.type === 'acquire') return name + (command.owner.length + command.data.length) * 3 + 64
  const owner = 'owner' in command ? command.owner.length * 3 : 0
  return name + owner + 160
}

function writeChecked(writer: ByteWriter, command: LockCommand): void {
  const before = writer.size
  writeLockCommand(writer, command)
  const bytes = writer.size - before
  if (bytes <= lockLimits.commandBytesMax) return
  const text = `The command was not sent: it has ${bytes} bytes, and may have ${lockLimits.commandBytesMax}`
  throw new LockError('LOCK_LIMIT', text, { outcome: 'not-done' })
}

function unexpected({ kind }: Final): RangeError {
  return new RangeError(`A server answered "${kind}"`)
}
