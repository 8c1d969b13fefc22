/** A client's session: kept alive, lost, and what becomes of what was asked for meanwhile. */
import { test } from 'tap'
import { latencyMs, LockWorld, timeoutMs, ttlMs, type Traffic } from './lock-world.ts'
import { DeadlineAlarm } from './recipes-source.ts'
import { VirtualTime } from './virtual-time.ts'

async function disposed(lock: AsyncDisposable): Promise<void> {
  await lock[Symbol.asyncDispose]()
}

const isOf =
  (type: string, isAnswer: boolean) =>
  (traffic: Traffic): boolean =>
    traffic.command?.type === type && traffic.isAnswer === isAnswer

void test('ClientSession: is opened by the first claim, and kept alive for as long as the client is', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const lock = await world.get(client.mutex('a').acquire())
  await world.time.pass(ttlMs * 10)
  t.notOk(lock.signal.aborted)
  t.equal(world.holders('a').length, 1)
  t.equal(world.commands.filter(({ type }) => type === 'open-session').length, 1)
  const { id, heldUntilMs } = await world.get(client.session())
  t.same(world.holders('a'), [id])
  t.ok(heldUntilMs > world.time.nowMs)
  await world.get(client.close())
  t.same(world.holders('a'), [])
  t.match(lock.signal.reason, { code: 'LOCK_LOST' })
})

void test('ClientSession: callers that come together share one opening', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const locks = await world.get(
    Promise.all(Array.from({ length: 20 }, (_, i) => client.mutex(`l${i}`).acquire())),
  )
  t.equal(new Set(locks.map(({ token }) => token)).size, 20)
  t.equal(world.commands.filter(({ type }) => type === 'open-session').length, 1)
})

void test('ClientSession: what is held is lost before anybody else can hold it when keep-alives are lost (L2)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  let lostMs = 0
  lock.signal.addEventListener('abort', () => {
    lostMs = world.time.nowMs
  })
  const { id } = await world.get(first.client.session())
  first.port.fate = ({ command, isAnswer }) => (command?.type === 'keep-alive' && isAnswer ? 'lost' : 'fine')
  await world.time.pass(ttlMs * 0.5)
  first.port.fate = ({ command }) => (command?.type === 'keep-alive' ? 'lost' : 'fine')
  const next = await world.get(second.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  t.ok(lostMs > 0, 'it was told')
  t.ok(lostMs < world.time.nowMs - ttlMs * 0.05, 'with a margin')
  t.match(lock.signal.reason, { code: 'LOCK_LOST' })
  t.ok(next.token > lock.token)
  t.ok(lock.heldUntilMs <= lostMs)
  t.equal(await world.failure(lock.release()), 'LOCK_NOT_HELD')
  await world.get(disposed(lock))
  const { id: another } = await world.get(first.client.session())
  t.not(another, id)
})

void test('ClientSession: counts from when the keep-alive that was answered was sent, not from its answer', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.fate = ({ verb, isAnswer }) => (verb === 'control' && isAnswer ? 300 : 'fine')
  const { heldUntilMs } = await world.get(client.session())
  t.equal(heldUntilMs, ttlMs * 0.94)
  await world.time.pass(ttlMs / 2)
  const { heldUntilMs: later } = await world.get(client.session())
  const sent = ttlMs / 3
  t.equal(later, sent + ttlMs * 0.94)
})

/** Beats that the table has seen. */
const beatsOf = (world: LockWorld): number =>
  world.commands.filter(({ type }) => type === 'keep-alive').length

void test('KeepAlive: round trips of half its time hold a session, and of a little less open it', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.fate = ({ verb }) => (verb === 'control' ? ttlMs * 0.22 : 'fine')
  const { id, signal } = await world.get(client.session())
  await world.time.pass(ttlMs)
  port.fate = ({ verb }) => (verb === 'control' ? ttlMs / 4 : 'fine')
  const sessions = new Set<number>()
  let most = 0
  for (let i = 0; i < 200; i++) {
    await world.time.pass(ttlMs / 10)
    sessions.add((await world.get(client.session())).id)
    most = Math.max(most, port.controls)
  }
  t.same([...sessions], [id])
  t.notOk(signal.aborted)
  t.ok(most > 1 && most <= 6, `${most} beats under way at a time`)
})

void test('KeepAlive: answers that hang for longer than the session are bounded in number, and the session ends in time', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const { signal } = await world.get(client.session())
  let most = 0
  let lostMs = 0
  signal.addEventListener('abort', () => {
    lostMs = world.time.nowMs
  })
  const before = beatsOf(world)
  port.fate = ({ command, isAnswer }) => (command?.type === 'keep-alive' && isAnswer ? 'lost' : 'fine')
  for (let i = 0; i < 40; i++) {
    await world.time.pass(ttlMs / 40)
    most = Math.max(most, port.controls)
  }
  t.ok(lostMs > 0 && lostMs <= ttlMs * 0.94 + 4 * latencyMs, 'its own time decides')
  t.ok(most >= 3 && most <= 6, `${most} at a time`)
  t.ok(beatsOf(world) - before >= 4, 'one that is silent does not hold up those behind it')
  t.equal(port.controls, 0, 'they end with their session')
})

void test('KeepAlive: an answer that comes late counts by when its own beat was sent, and moves nothing back', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const session = await world.get(client.session())
  const openedMs = session.heldUntilMs - ttlMs * 0.94
  let beats = 0
  // The first takes half of the time of the session; what comes behind it is lost.
  port.fate = ({ command, isAnswer }) => {
    if (command?.type !== 'keep-alive' || isAnswer) return 'fine'
    return ++beats === 1 ? ttlMs / 2 : 'lost'
  }
  await world.time.pass(ttlMs * 0.8)
  t.equal(session.heldUntilMs, openedMs + ttlMs * 0.94, 'no answer yet')
  await world.time.pass(ttlMs * 0.1)
  t.equal(session.heldUntilMs, openedMs + ttlMs / 3 + ttlMs * 0.94)
  t.notOk(session.signal.aborted)
  // The slow one comes behind a quicker one that was sent later.
  const other = new LockWorld()
  const late = other.client()
  const second = await other.get(late.client.session())
  let sent = 0
  late.port.fate = ({ command, isAnswer }) => {
    if (command?.type !== 'keep-alive' || isAnswer) return 'fine'
    return ++sent === 1 ? ttlMs * 0.4 : 'fine'
  }
  await other.time.pass(ttlMs * 0.7)
  const held = second.heldUntilMs
  t.equal(held, openedMs + ttlMs / 2 + ttlMs * 0.94, 'of the second')
  await other.time.pass(ttlMs * 0.1)
  t.ok(second.heldUntilMs >= held)
})

void test('KeepAlive: nothing is left under way when the client is closed, or its session over', async (t) => {
  for (const how of ['silent', 'opening', 'fine'] as const) {
    const world = new LockWorld()
    const { client, port } = world.client()
    const isHeldUp = (type: string | undefined): boolean =>
      how === 'opening' ? type === 'open-session' : how === 'silent' && type === 'keep-alive'
    port.fate = ({ command }) => (isHeldUp(command?.type) ? 'lost' : 'fine')
    const session = client.session().catch((error: unknown) => error)
    await world.time.pass(ttlMs * 0.8)
    t.equal(port.controls > 0, how !== 'fine')
    await world.get(client.close())
    await world.get(session)
    await world.time.pass(1)
    t.equal(port.controls, 0, how)
    t.equal(port.asleep, 0, how)
    const said = world.commands.length
    await world.time.pass(ttlMs * 3)
    t.equal(world.commands.filter((command, at) => at >= said && command.type !== 'expire').length, 0)
  }
})

void test('ClientSession: LOCK_UNAVAILABLE for want of a session names the last problem, and has it as its cause', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.isCutOff = true
  await t.rejects(world.get(client.mutex('a').acquire({ timeoutMs: 4 * ttlMs })), {
    code: 'LOCK_UNAVAILABLE',
    message: /no session could be opened in time \(the opening of a session was not answered in time\)/,
    details: { outcome: 'not-done' },
    cause: { code: 'LOCK_UNAVAILABLE' },
  })
  const other = world.client()
  other.port.isCutOff = true
  await t.rejects(world.get(other.client.mutex('a').acquire({ timeoutMs: 100 })), {
    message: /no session could be opened in time \(nobody has answered\)/,
  })
})

void test('ClientSession: after a pause that is longer than the lease all is lost at once, and the client goes on', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  const quiet = await world.get(first.client.mutex('b').acquire())
  const { signal } = lock
  first.port.stop(ttlMs * 2)
  const other = await world.get(second.client.mutex('a').acquire())
  t.notOk(signal.aborted, 'it could not be told')
  await world.time.pass(ttlMs * 2)
  t.ok(lock.signal.aborted)
  t.equal(await world.failure(lock.release()), 'LOCK_NOT_HELD')
  t.ok(quiet.signal.aborted, 'also when nobody had asked for the signal before')
  t.match(quiet.signal.reason, { code: 'LOCK_LOST' })
  t.same(world.holders('a').length, 1, 'and it took nothing away from who has it now')
  await world.get(other.release())
  const again = await world.get(first.client.mutex('a').acquire())
  t.ok(again.token > other.token)
})

void test('ClientSession: whoever reads the signal first after a pause is told the truth, before any timer', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const lock = await world.get(client.mutex('a').acquire())
  port.stop(ttlMs * 2)
  world.time.nowMs += ttlMs
  t.ok(lock.signal.aborted)
})

void test('ClientSession: a grant that comes when the own lease is over is given back, not returned (L1)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const third = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  const { id } = await world.get(second.client.session())
  const failed = world.failure(second.client.mutex('a').acquire())
  await world.time.pass(100)
  t.equal(world.waiting('a'), 1)
  second.port.stop(ttlMs * 0.97)
  await world.get(lock.release())
  t.same(world.holders('a'), [id])
  t.equal(await failed, 'LOCK_SESSION_LOST')
  t.ok(world.time.nowMs >= ttlMs * 0.97)
  t.ok(world.machine.hasSession(id), 'the table has not ended it yet')
  await world.time.pass(10)
  t.same(world.holders('a'), [], 'who comes next need not wait for that')
  await world.get(third.client.mutex('a').acquire())
})

void test('ClientSession: a grant at once that is answered too late is given back too', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  await world.get(client.session())
  port.fate = ({ command }) => (command?.type === 'keep-alive' ? 'lost' : 'fine')
  const failed = world.failure(client.mutex('a').acquire())
  await world.time.pass(latencyMs)
  t.equal(world.holders('a').length, 1)
  port.stop(ttlMs * 0.97)
  t.equal(await failed, 'LOCK_SESSION_LOST')
})

void test('ClientSession: who waits when the session is lost is told so, and may ask again', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  await world.get(second.client.session())
  const failed = world.failure(second.client.mutex('a').acquire())
  await world.time.pass(100)
  second.port.fate = ({ command }) => (command?.type === 'keep-alive' ? 'lost' : 'fine')
  t.equal(await failed, 'LOCK_SESSION_LOST')
  second.port.fate = () => 'fine'
  const again = second.client.mutex('a').acquire()
  await world.get(lock.release())
  t.ok((await world.get(again)).token > lock.token)
})

void test('ClientSession: a claim in a session that has ended unseen goes on in another', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const { id } = await world.get(client.session())
  port.fate = ({ verb }) => (verb === 'over' ? 'lost' : 'fine')
  world.apply({ type: 'end-session', session: id })
  const lock = await world.get(client.mutex('a').acquire())
  t.not(world.holders('a')[0], id)
  t.notOk(lock.signal.aborted)
})

void test('ClientSession: is told when the table has ended the session', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const lock = await world.get(client.mutex('a').acquire())
  const { id } = await world.get(client.session())
  await world.time.pass(10)
  world.apply({ type: 'end-session', session: id })
  await world.time.pass(latencyMs)
  t.match(lock.signal.reason, { code: 'LOCK_LOST' })
})

void test('ClientSession: a push that is lost is made up for with the next keep-alive', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  second.port.fate = ({ verb }) => (verb === 'push' ? 'lost' : 'fine')
  const next = second.client.mutex('a').acquire()
  await world.time.pass(100)
  await world.get(lock.release())
  t.ok((await world.get(next)).token > lock.token)
  t.ok(world.time.nowMs <= ttlMs / 3 + 100)
})

void test('ClientSession: attaches again when it is told that pushes have ended, and asks how its claims stand', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  const next = second.client.mutex('a').acquire()
  await world.time.pass(100)
  second.port.attached = undefined
  await world.get(lock.release())
  await world.time.pass(50)
  t.equal(world.holders('a').length, 1)
  second.port.detach()
  const sinceMs = world.time.nowMs
  t.ok((await world.get(next)).token > lock.token)
  t.ok(world.time.nowMs - sinceMs <= 4 * latencyMs)
  t.equal(second.port.attachments, 2)
})

void test('ClientSession: who is told again and again that pushes have ended does not ask as fast as it is told', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  await world.get(client.session())
  const { attach } = port
  Object.assign(port, {
    attach: async (...args: Parameters<typeof attach>) => {
      await attach(...args)
      port.detach()
    },
  })
  const before = port.attachments
  await world.time.pass(2)
  port.detach()
  await world.time.pass(5_000)
  t.ok(port.attachments - before < 30, `${port.attachments - before}`)
})

void test('ClientSession: a push that is faster than the answer counts', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  await world.get(second.client.session())
  await world.time.pass(100)
  second.port.fate = (traffic) => (isOf('acquire', true)(traffic) ? 100 : 'fine')
  const next = second.client.mutex('a').acquire()
  await world.time.pass(latencyMs)
  await world.get(lock.release())
  t.ok((await world.get(next)).token > lock.token)
  t.ok(world.time.nowMs < 250)
})

void test('ClientSession: a claim that times out is given up, and never held (L4)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  t.equal(await world.failure(second.client.mutex('a').acquire({ timeoutMs: 200 })), 'LOCK_TIMEOUT')
  t.equal(world.time.nowMs, 208)
  await world.time.pass(10)
  t.equal(world.waiting('a'), 0)
  await world.get(lock.release())
  await world.time.pass(10)
  t.same(world.holders('a'), [])
})

void test('ClientSession: a claim of which nobody knows whether it was made is given up until that is certain (L4)', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  await world.get(client.session())
  port.fate = ({ verb, command, isAnswer }) =>
    verb === 'write' && (isAnswer || command?.type === 'release') ? 'lost' : 'fine'
  t.equal(await world.failure(client.mutex('a').acquire({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  await world.time.pass(timeoutMs * 3)
  t.equal(world.holders('a').length, 1, 'it was made')
  port.fate = () => 'fine'
  await world.time.pass(2_000)
  t.same(world.holders('a'), [])
})

void test('ClientSession: a claim that comes after it was given up is not made', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  await world.get(client.session())
  port.fate = (traffic) => (isOf('acquire', false)(traffic) ? 1_000 : 'fine')
  t.equal(await world.failure(client.mutex('a').acquire({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  port.fate = () => 'fine'
  await world.time.pass(2_000)
  t.equal(world.commands.filter(({ type }) => type === 'acquire').length, 1)
  t.same(world.holders('a'), [])
})

void test('ClientSession: nothing was done says so, when nothing can have been', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.isCutOff = true
  t.equal(await world.failure(client.mutex('a').acquire({ timeoutMs: 300 })), 'LOCK_UNAVAILABLE')
  t.equal(world.time.nowMs, 300)
  port.isCutOff = false
  await world.get(client.session())
  port.isCutOff = true
  t.equal(await world.failure(client.mutex('a').acquire({ timeoutMs: 300 })), 'LOCK_UNAVAILABLE')
})

void test('ClientSession: abort at every await holds nothing, and leaves no listener', async (t) => {
  for (const [name, holds] of [
    ['free', false],
    ['taken', true],
  ] as const) {
    for (let afterMs = 0; afterMs <= 40; afterMs++) {
      const world = new LockWorld()
      const first = world.client()
      const second = world.client()
      const lock = holds ? await world.get(first.client.mutex('a').acquire()) : undefined
      const controller = new AbortController()
      const { signal } = controller
      let listeners = 0
      const { addEventListener, removeEventListener } = signal
      const counted = Object.assign(signal, {
        addEventListener: (...args: Parameters<typeof addEventListener>) => {
          listeners++
          Reflect.apply(addEventListener, signal, args)
        },
        removeEventListener: (...args: Parameters<typeof removeEventListener>) => {
          listeners--
          Reflect.apply(removeEventListener, signal, args)
        },
      })
      const held = second.client.mutex('a').acquire({ signal: counted })
      const failed = world.failure(held)
      await world.time.pass(afterMs / 2)
      controller.abort()
      const sinceMs = world.time.nowMs
      const how = await failed
      if (how === 'it did not fail') await world.get((await held).release())
      else {
        t.equal(how, 'RUNTIME_ABORTED', `${name}, after ${afterMs / 2} ms`)
        t.equal(world.time.nowMs, sinceMs, 'at once')
      }
      if (how !== 'it did not fail') t.ok(listeners <= 0, `${listeners} listeners after ${afterMs / 2} ms`)
      await world.time.pass(20)
      if (lock !== undefined) await world.get(lock.release())
      await world.time.pass(20)
      t.same(world.holders('a'), [], `${name}, after ${afterMs / 2} ms`)
      t.equal(world.waiting('a'), 0)
    }
  }
})

void test('ClientSession: what is released while the table cannot be reached is seen to in the background', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const lock = await world.get(client.mutex('a').acquire())
  port.fate = ({ verb }) => (verb === 'write' ? 'lost' : 'fine')
  await world.get(lock.release({ timeoutMs: 100 }))
  t.equal(await world.failure(lock.release()), 'LOCK_NOT_HELD')
  t.ok(lock.signal.aborted)
  await world.time.pass(ttlMs * 5)
  t.equal(world.holders('a').length, 1)
  port.fate = () => 'fine'
  await world.time.pass(2_000)
  t.same(world.holders('a'), [])
})

void test('ClientSession: closing ends what waits, what is held and what is being opened', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const lock = await world.get(first.client.mutex('a').acquire())
  const waits = world.failure(second.client.mutex('a').acquire())
  await world.time.pass(50)
  await world.get(second.client.close())
  t.equal(await waits, 'LOCK_CLIENT_CLOSED')
  await world.get(second.client.close())
  t.equal(await world.failure(second.client.mutex('a').acquire()), 'LOCK_CLIENT_CLOSED')
  t.equal(world.waiting('a'), 0)
  await world.get(first.client.close())
  await world.get(disposed(lock))
  const third = world.client()
  const opens = world.failure(third.client.mutex('a').acquire())
  await world.get(third.client.close())
  t.equal(await opens, 'LOCK_CLIENT_CLOSED')
  await world.time.pass(ttlMs * 3)
  t.equal(world.machine.status().sessions, 0)
})

void test('ClientSession: granted at once and released is two writes, and no timer and no listener of its own', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const lock = client.mutex('a')
  await world.get((await world.get(lock.acquire())).release())
  await world.time.pass(10)
  const { sleeps } = port
  const commands = world.commands.length
  for (let i = 0; i < 50; i++) await world.get((await world.get(lock.acquire())).release())
  t.equal(world.commands.length - commands, 100)
  t.equal(port.sleeps, sleeps)
})

void test('DeadlineAlarm: one sleep serves many deadlines, and each rings once and not early', async (t) => {
  const time = new VirtualTime()
  let sleeps = 0
  const alarm = new DeadlineAlarm({
    nowMs: () => time.nowMs,
    sleep: (ms, signal) => {
      sleeps++
      return new Promise((resolve) => {
        const callOff = time.at(time.nowMs + ms, resolve)
        signal?.addEventListener('abort', () => {
          callOff()
          resolve()
        })
      })
    },
  })
  const rung: string[] = []
  const alarmed = (untilMs: number): { untilMs: number; ring: () => void } => ({
    untilMs,
    ring: () => void rung.push(`${untilMs} at ${time.nowMs}`),
  })
  const all = Array.from({ length: 100 }, (_, i) => alarmed(1_000 + i))
  for (const one of all) alarm.set(one)
  t.equal(sleeps, 1)
  for (const one of all.slice(2)) alarm.clear(one)
  alarm.set(alarmed(500))
  t.equal(sleeps, 2)
  await time.pass(5_000)
  t.same(rung, ['500 at 500', '1000 at 1000', '1001 at 1001'])
  const moved = alarmed(6_000)
  alarm.set(moved)
  moved.untilMs = 7_000
  await time.pass(2_500)
  t.match(rung[3], /at 7000$/)
  alarm.set(alarmed(9_000))
  alarm.close()
  t.equal(rung.length, 5, 'what is left rings when it is closed')
  await time.pass(5_000)
  t.equal(rung.length, 5)
})
