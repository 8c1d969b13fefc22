/** What a client keeps alive: by beats that overlap, past a leader that is slow and away from one that is silent. */
import { test } from 'tap'
import { ActorError, seededRandom } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from '../../support/source-module.ts'

type Module<T> = Promise<T>
const { KeptLease } = await (sourceModule('protocols', 'service/kept-lease') as Module<
  typeof import('../../../packages/protocols/src/service/kept-lease.ts')
>)
const { ServiceCaller } = await (sourceModule('protocols', 'service/service-caller') as Module<
  typeof import('../../../packages/protocols/src/service/service-caller.ts')
>)
const { serviceClientDefaults } = await (sourceModule('protocols', 'service/client-options') as Module<
  typeof import('../../../packages/protocols/src/service/client-options.ts')
>)
type LeaseKeeping = import('../../../packages/protocols/src/service/kept-lease.ts').LeaseKeeping
type BeatOptions = import('../../../packages/protocols/src/service/keep-alive.ts').BeatOptions
type ServiceReply = import('../../../packages/protocols/src/service/service-reply.ts').ServiceReply<boolean>

const ttlMs = 3_000
/** An answered beat holds a lease for so long. */
const heldMs = 2_970

type Fate = { readonly afterMs: number; readonly isThere?: boolean } | 'silent'

/** Time, and what goes on in it. */
class World {
  readonly #platform = virtualPlatform()
  asleep = 0

  get nowMs(): number {
    return this.#platform.clock.monotonicMs()
  }

  get clock() {
    return this.#platform.clock
  }

  advance(ms: number): Promise<void> {
    return this.#platform.advance(ms)
  }

  /** Rejects when it is aborted, or when its time is over. */
  answer<T>(
    fate: Fate,
    value: T,
    { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal | undefined },
  ) {
    return new Promise<T>((resolve, reject) => {
      const fail = (): void => reject(new ActorError('RUNTIME_ASK_TIMEOUT', 'no answer'))
      if (fate !== 'silent') this.#platform.clock.setTimer(this.nowMs + fate.afterMs, () => resolve(value))
      this.#platform.clock.setTimer(this.nowMs + timeoutMs, fail)
      signal?.addEventListener('abort', fail, { once: true })
    })
  }

  readonly sleep = (ms: number, signal: AbortSignal): Promise<void> => {
    this.asleep++
    return new Promise<void>((resolve) => {
      const timer = this.#platform.clock.setTimer(this.nowMs + ms, resolve)
      const aborted = (): void => {
        timer.cancel()
        resolve()
      }
      if (signal.aborted) aborted()
      else signal.addEventListener('abort', aborted, { once: true })
    }).finally(() => this.asleep--)
  }
}

/** A lease whose beats have the fates that `fateOf` gives them. */
function keep(fateOf: (beat: number) => Fate) {
  const world = new World()
  const madeMs = world.nowMs
  const sent: number[] = []
  const counts = { underWay: 0, most: 0 }
  let beats = 0
  const keeping: LeaseKeeping = {
    ttlMs,
    sentMs: madeMs,
    nowMs: () => world.nowMs,
    sleep: world.sleep,
    keepAlive: (how: BeatOptions) => {
      sent.push(world.nowMs - madeMs)
      counts.most = Math.max(counts.most, ++counts.underWay)
      const fate = fateOf(++beats)
      return world
        .answer(fate, fate === 'silent' || fate.isThere !== false, how)
        .finally(() => counts.underWay--)
    },
    lost: (why) => new Error(`lost: ${why}`),
  }
  const lease = new KeptLease(keeping)
  return { world, lease, sent, counts, heldForMs: () => lease.heldUntilMs - madeMs }
}

void test('KeptLease: round trips of half its time hold it, and a few beats at a time are enough', async (t) => {
  const { world, lease, counts, heldForMs } = keep(() => ({ afterMs: ttlMs / 2 }))
  for (let i = 0; i < 200; i++) {
    await world.advance(ttlMs / 10)
    t.equal(lease.signal.aborted, false)
  }
  t.ok(heldForMs() > ttlMs * 20)
  t.ok(counts.most > 1 && counts.most <= 6, `${counts.most} at a time`)
})

void test('KeptLease: an answer that comes late counts by when its own beat was sent, and moves nothing back', async (t) => {
  // The first takes half of its time; what comes behind it is lost.
  const { world, lease, heldForMs } = keep((beat) => (beat === 1 ? { afterMs: ttlMs / 2 } : 'silent'))
  await world.advance(2_499)
  t.equal(heldForMs(), heldMs, 'no answer yet')
  await world.advance(2)
  t.equal(heldForMs(), 1_000 + heldMs)
  await world.advance(1_000 + heldMs - 2_501 - 1)
  t.equal(lease.signal.aborted, false)
  await world.advance(1)
  t.match(lease.signal.reason, { message: /could not be kept alive in time/ })
  // The slow one comes behind a quicker one that was sent later.
  const other = keep((beat) => ({ afterMs: beat === 1 ? 1_200 : 10 }))
  await other.world.advance(2_100)
  t.equal(other.heldForMs(), 1_500 + heldMs, 'of the second')
  await other.world.advance(200)
  t.equal(other.heldForMs(), 1_500 + heldMs)
})

void test('KeptLease: beats that are never answered are bounded in number, and it is lost at its time to the millisecond', async (t) => {
  const { world, lease, sent, counts } = keep(() => 'silent')
  await world.advance(heldMs - 1)
  t.equal(lease.signal.aborted, false)
  t.same(sent, [1_000, 1_500, 2_000, 2_500])
  await world.advance(1)
  t.equal(lease.signal.aborted, true, 'while one is waited for')
  t.same([counts.underWay, world.asleep], [0, 0])
  // They hang past the time of the lease, which others hold.
  const slow = keep((beat) => (beat % 6 === 0 ? { afterMs: 1_000 } : 'silent'))
  await slow.world.advance(ttlMs * 10)
  t.ok(slow.counts.most <= 6, `${slow.counts.most} at a time`)
})

void test('KeptLease: of a lease that is not there any more no other beat is sent', async (t) => {
  const { world, lease, sent, counts } = keep(() => ({ afterMs: 600, isThere: false }))
  await world.advance(1_700)
  t.match(lease.signal.reason, { message: /knows no such lease/ })
  t.same(sent, [1_000, 1_500])
  await world.advance(ttlMs * 2)
  t.equal(sent.length, 2)
  t.equal(
    lease.heldUntilMs,
    world.nowMs - 1_700 - ttlMs * 2 + heldMs,
    'nor does it seem to be held for longer',
  )
  t.same([counts.underWay, world.asleep], [0, 0])
})

void test('KeptLease: nothing is left under way when it is ended, whatever its beats wait for', async (t) => {
  for (const [how, fate, atMs] of [
    ['before any beat', 'silent', 500],
    ['at a beat', 'silent', 1_000],
    ['silent', 'silent', 2_400],
    ['slow', { afterMs: 1_400 }, 4_321],
    ['fine', { afterMs: 1 }, 1_500],
  ] as const) {
    const { world, lease, sent, counts } = keep(() => fate)
    await world.advance(atMs)
    const before = sent.length
    lease.end('enough')
    await world.advance(0)
    t.same([counts.underWay, world.asleep], [0, 0], how)
    t.match(lease.signal.reason, { message: 'lost: enough' })
    await world.advance(ttlMs * 3)
    t.equal(sent.length, before, how)
  }
})

/** A caller of three servers, of which `a` led last. `fateOf` says what becomes of a try, and with which answer. */
async function calling(fateOf: (server: string) => readonly [Fate, ServiceReply]) {
  const world = new World()
  const isThere = { kind: 'result', result: true } as const
  const replies = new Map<Uint8Array, ServiceReply>()
  const asked: string[] = []
  const caller = new ServiceCaller<string, boolean>(
    {
      node: 'd',
      refTo: (server) => server,
      decode: (bytes) => replies.get(bytes as Uint8Array) ?? isThere,
      failures: {
        unavailable: (text, details) => new ActorError('TEST_UNAVAILABLE', text, details),
        full: (text) => new ActorError('TEST_FULL', text),
        closed: () => new ActorError('TEST_CLOSED', 'closed'),
      },
    },
    { ...serviceClientDefaults, servers: ['a', 'b', 'c'] },
    world.clock,
    seededRandom('caller'),
  )
  const nothing = new Uint8Array(0)
  await caller.send(caller.begin('the first', undefined), () => Promise.resolve(nothing))
  checkLeader(caller.leader)
  const beat = async (how: BeatOptions): Promise<boolean> => {
    const reply = await caller.send(caller.begin('a beat', how), async (server, options) => {
      asked.push(server)
      const [fate, answer] = fateOf(server)
      const bytes = await world.answer(fate, new Uint8Array(1), options)
      replies.set(bytes, answer)
      return bytes
    })
    return reply.kind === 'result' && reply.result
  }
  const lease = (): InstanceType<typeof KeptLease> =>
    new KeptLease({
      ttlMs,
      sentMs: world.nowMs,
      nowMs: () => world.nowMs,
      sleep: (ms, signal) => caller.sleep(ms, signal),
      keepAlive: beat,
      lost: (why) => new Error(why),
    })
  return { world, caller, asked, beat, lease }
}

const there: ServiceReply = { kind: 'result', result: true }

/** The caller's turn begins with `a`. */
function checkLeader(leader: string | undefined): void {
  if (leader !== 'a') throw new Error(`"${leader}" leads`)
}

void test('ServiceCaller: of the calls beside a leader that is doubted every second one makes a detour, and no more', async (t) => {
  const { world, asked, beat } = await calling(() => ['silent', there])
  const { signal } = new AbortController()
  for (let i = 0; i < 9; i++) {
    void beat({ timeoutMs: 60_000, silentAfterMs: 500, signal }).catch(() => {})
    await world.advance(500)
  }
  t.same(asked, ['a', 'b', 'a', 'c', 'a', 'b', 'a', 'c', 'a'])
})

void test('ServiceCaller: a leader that is only slow gets half of the beats, and what they keep lives, when nobody else answers', async (t) => {
  const { world, asked, lease } = await calling((server) => [
    server === 'a' ? { afterMs: ttlMs / 2 } : 'silent',
    there,
  ])
  const kept = lease()
  await world.advance(ttlMs * 20)
  t.equal(kept.signal.aborted, false)
  const slow = asked.filter((server) => server === 'a').length
  t.ok(slow >= asked.length / 2, `${slow} of ${asked.length}`)
  t.ok(slow < asked.length, 'and others are asked')
  kept.end('enough')
})

void test('ServiceCaller: a leader that is silent is left for the new one before what is kept is lost', async (t) => {
  for (const knows of ['b', 'both']) {
    const { world, caller, asked, lease } = await calling((server) => {
      if (server === 'a') return ['silent', there]
      if (server === 'b') return [{ afterMs: 5 }, there]
      return [{ afterMs: 5 }, { kind: 'not-leader', leader: knows === 'both' ? 'b' : '' }]
    })
    const kept = lease()
    await world.advance(ttlMs * 10)
    t.equal(kept.signal.aborted, false)
    t.equal(caller.leader, 'b')
    t.ok(asked.filter((server) => server === 'a').length <= 3, `${asked.join(' ')}`)
    kept.end('enough')
  }
})
