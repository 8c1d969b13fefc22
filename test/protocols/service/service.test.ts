/** What all services on a consensus group share: their answers, leases that are kept, and the duties of a leader. */
import { test } from 'tap'
import { ActorError, type Logger } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from '../../support/source-module.ts'

type Module<T> = Promise<T>
const replies = await (sourceModule('protocols', 'service/service-reply') as Module<
  typeof import('../../../packages/protocols/src/service/service-reply.ts')
>)
const { KeptLease } = await (sourceModule('protocols', 'service/kept-lease') as Module<
  typeof import('../../../packages/protocols/src/service/kept-lease.ts')
>)
const { DutyLoop } = await (sourceModule('protocols', 'service/duty-loop') as Module<
  typeof import('../../../packages/protocols/src/service/duty-loop.ts')
>)
const { ByteWriter } = await (sourceModule('protocols', 'service/byte-buffer') as Module<
  typeof import('../../../packages/protocols/src/service/byte-buffer.ts')
>)
type LeaseKeeping = import('../../../packages/protocols/src/service/kept-lease.ts').LeaseKeeping

const { decodeReply, encodePlainReply, encodeResults, isRetry, replyTag } = replies

function decoded(bytes: unknown): unknown {
  return decodeReply(
    bytes,
    (rest) => Buffer.from(rest).toString(),
    (tag, reader) => (tag === replyTag.own ? { kind: 'own', number: reader.number() } : undefined),
  )
}

void test('service replies: every kind comes back as it was, and what is none is refused', async (t) => {
  const plain = [
    { kind: 'not-leader', leader: 'a' },
    { kind: 'not-leader', leader: '' },
    { kind: 'overloaded', why: 'too much' },
    { kind: 'unknown', why: 'gone' },
    { kind: 'session-expired' },
    { kind: 'closed', why: 'no member' },
    { kind: 'opened', number: 2 ** 40, progressMs: 5_000 },
  ] as const
  for (const reply of plain) t.same(decoded(encodePlainReply(reply)), reply)
  t.same(
    plain.filter(isRetry).map(({ kind }) => kind),
    ['not-leader', 'not-leader', 'overloaded', 'unknown', 'closed'],
    'after these a call goes on',
  )
  t.same(decoded(Buffer.from([replyTag.result, 104, 105])), { kind: 'result', result: 'hi' })
  const own = new ByteWriter(4)
  own.byte(replyTag.own)
  own.number(7)
  t.same(decoded(own.take()), { kind: 'own', number: 7 })
  const results = decoded(encodeResults(Buffer.from([5, 6]))) as { results: { number: () => number } }
  t.same([results.results.number(), results.results.number()], [5, 6])
  for (const bytes of [new Uint8Array(0), Buffer.from([99]), 'text', undefined]) {
    t.throws(() => decoded(bytes), { message: /An answer of a service/ })
  }
})

/** A lease on virtual time, whose keep-alives `answer` decides. */
function keep(ttlMs: number, answer: LeaseKeeping['keepAlive']) {
  const { clock, advance } = virtualPlatform()
  const started = clock.monotonicMs()
  const asked: number[] = []
  const lease = new KeptLease({
    ttlMs,
    sentMs: started,
    nowMs: () => clock.monotonicMs(),
    sleep: (delayMs, signal) =>
      new Promise((resolve) => {
        clock.setTimer(clock.monotonicMs() + delayMs, resolve)
        signal.addEventListener('abort', () => resolve())
      }),
    keepAlive: (how) => {
      asked.push(clock.monotonicMs() - started)
      return answer(how)
    },
    lost: (why) => new Error(`lost: ${why}`),
  })
  return { lease, asked, advance, heldForMs: () => lease.heldUntilMs - started, clock, started }
}

void test('KeptLease: is kept alive three times in its time, and held from when that was sent', async (t) => {
  const kept = keep(3_000, () => Promise.resolve(true))
  t.equal(kept.heldForMs(), 2_970, 'a hundredth less than its time')
  await kept.advance(2_500)
  t.same(kept.asked, [1_000, 2_000])
  t.equal(kept.heldForMs(), 4_970)
  t.equal(kept.lease.signal.aborted, false)
  kept.lease.end('enough')
  t.match(kept.lease.signal.reason, { message: 'lost: enough' })
  await kept.advance(5_000)
  t.same(kept.asked, [1_000, 2_000], 'nobody keeps it any more')
})

void test('KeptLease: is lost when its time is over, not sooner, whatever keep-alives say; or when there is no such lease', async (t) => {
  const failing = keep(3_000, () => Promise.reject(new ActorError('KV_UNAVAILABLE', 'nobody is there')))
  await failing.advance(2_969)
  t.equal(failing.lease.signal.aborted, false)
  t.same(failing.asked, [1_000, 2_000], 'a failure is no end')
  await failing.advance(1)
  t.match(failing.lease.signal.reason, { message: /could not be kept alive in time/ })
  const gone = keep(3_000, () => Promise.resolve(false))
  await gone.advance(1_001)
  t.match(gone.lease.signal.reason, { message: /knows no such lease/ })
  // An answer that comes late counts from when it was asked for.
  const releases: ((isThere: boolean) => void)[] = []
  const late = keep(3_000, () => new Promise((resolve) => void releases.push(resolve)))
  await late.advance(2_900)
  releases[0]?.(true)
  await late.advance(1)
  t.equal(late.heldForMs(), 1_000 + 2_970)
})

void test('DutyLoop: one duty at a time, in its term, by the time of the log', async (t) => {
  let nowMs = 100
  const proposed: { readonly command: Uint8Array; readonly term: number | undefined }[] = []
  const settle: (() => void)[] = []
  const lines: unknown[] = []
  const ctx = {
    now: () => nowMs,
    call: () => {
      throw new Error('nobody asks')
    },
    log: { debug: (fields: unknown) => lines.push(fields) } as unknown as Logger,
  }
  const group = {
    propose: (command: Uint8Array, { term }: { readonly term?: number | undefined } = {}) => {
      proposed.push({ command, term })
      return new Promise<never>((_, reject) => settle.push(() => reject(new Error('not the leader'))))
    },
  } as unknown as ConstructorParameters<typeof DutyLoop>[1]
  const duties = new DutyLoop(ctx, group)
  const times: number[] = []
  const duty = (timeMs: number) => {
    times.push(timeMs)
    return { command: Buffer.from([1]), what: 'expire' }
  }
  duties.see(5_000)
  nowMs = 130
  duties.lead(3, duty)
  t.same(times, [5_030], 'the log went on while nothing was appended')
  t.match(proposed, [{ term: 3 }])
  duties.lead(3, duty)
  t.equal(proposed.length, 1, 'the first is under way')
  t.equal(duties.isBusy, true)
  settle[0]?.()
  await Promise.resolve()
  await Promise.resolve()
  t.equal(duties.isBusy, false)
  t.match(lines, [{ duty: 'expire' }])
  duties.see(5_040)
  nowMs = 140
  duties.lead(4, duty)
  t.same(times, [5_030, 5_050])
  t.match(proposed[1], { term: 4 })
})
