/** Deadlocks: who would wait for itself is refused, with the cycle by name; who only seems to is not. */
import { test } from 'tap'
import { acquire, LockLog } from './machine-log.ts'
import type { WaitEdge } from './machine-source.ts'

const read = { kind: 'read-write', permits: 1 } as const
const write = { kind: 'read-write', permits: 0 } as const
const semaphore = { kind: 'semaphore', capacity: 2 } as const

/** Courses of work are owners of one session, called by their names. */
class Courses extends LockLog {
  readonly session = this.open()
  request = 0

  take(owner: string, name: string, fields: object = {}): string {
    return this.codeOf(acquire(this.session, ++this.request, name, { owner, ...fields }))
  }

  /** The cycle with which it is refused. */
  cycle(owner: string, name: string, fields: object = {}): readonly string[] | undefined {
    const result = this.apply(acquire(this.session, ++this.request, name, { owner, ...fields }))
    if (result.ok || result.error.code !== 'LOCK_DEADLOCK') return undefined
    return result.error.cycle?.map((edge: WaitEdge) => `${edge.owner} ${edge.name}`)
  }
}

void test('deadlock: two that take two mutexes the other way round', async (t) => {
  const log = new Courses()
  t.equal(log.take('a', 'm'), 'held')
  t.equal(log.take('b', 'n'), 'held')
  t.equal(log.take('a', 'n'), 'queued')
  t.strictSame(log.cycle('b', 'm'), ['b m', 'a n'])
  t.equal(log.machine.view('m')?.waiting, 0, 'it does not wait')
  t.equal(log.take('b', 'm', { wait: false }), 'busy', 'who does not wait is no deadlock')
  log.release(log.session, 2)
  t.equal(log.takeGrants().length, 1, 'and the other goes on')
})

void test('deadlock: a ring of three, over sessions; owners of the same name in two sessions are two', async (t) => {
  const log = new LockLog()
  const [x, y, z] = [log.open(), log.open(), log.open()]
  const owner = { owner: 'w' }
  log.acquire(x, 1, '1', owner)
  log.acquire(y, 1, '2', owner)
  log.acquire(z, 1, '3', owner)
  log.acquire(x, 2, '2', owner)
  log.acquire(y, 2, '3', owner)
  const result = log.apply(acquire(z, 2, '1', owner))
  t.match(result, {
    ok: false,
    error: {
      code: 'LOCK_DEADLOCK',
      cycle: [
        { session: z, owner: 'w', name: '1' },
        { session: x, owner: 'w', name: '2' },
        { session: y, owner: 'w', name: '3' },
      ],
    },
  })
})

void test('deadlock: an owner that takes what it has, and does not say that it may', async (t) => {
  const log = new Courses()
  log.take('a', 'm')
  t.strictSame(log.cycle('a', 'm'), ['a m'])
  t.equal(log.take('a', 'm', { reentrant: true }), 'held')
})

void test('deadlock: through the queue, because a waiter is before it', async (t) => {
  const log = new Courses()
  t.equal(log.take('a', 'r', read), 'held')
  t.equal(log.take('c', 'm'), 'held')
  t.equal(log.take('b', 'r', write), 'queued')
  t.equal(log.take('a', 'm'), 'queued', 'c only holds')
  t.strictSame(log.cycle('c', 'r', read), ['c r', 'b r', 'a m'], 'it could share with a, but b is before it')
})

void test('deadlock: through a waiter who names no owner, but has its place in the queue', async (t) => {
  const log = new Courses()
  log.take('a', 'r', read)
  log.take('c', 'm')
  t.equal(log.take('', 'r', write), 'queued')
  t.equal(log.take('a', 'm'), 'queued')
  t.strictSame(log.cycle('c', 'r', read), ['c r', ' r', 'a m'])
})

void test('deadlock: who names no owner goes on in any case', async (t) => {
  const log = new Courses()
  log.take('', 'm')
  log.take('b', 'n')
  t.equal(log.take('', 'n'), 'queued')
  t.equal(log.take('b', 'm'), 'queued')
})

void test('deadlock: of a semaphore, only when all that could give back wait for it', async (t) => {
  const log = new Courses()
  t.equal(log.take('a', 's', semaphore), 'held')
  t.equal(log.take('free', 's', semaphore), 'held')
  t.equal(log.take('b', 'm'), 'held')
  t.equal(log.take('a', 'm'), 'queued')
  t.equal(log.take('b', 's', semaphore), 'queued', 'the other one will give its permit back')
  const both = new Courses()
  both.take('a', 's', semaphore)
  both.take('c', 's', semaphore)
  both.take('b', 'm')
  both.take('a', 'm')
  both.take('c', 'm')
  t.strictSame(both.cycle('b', 's', semaphore), ['b s', 'a m'])
})

void test('deadlock: a semaphore that shrank holds nobody responsible who is not part of it', async (t) => {
  const log = new Courses()
  log.take('a', 's', { ...semaphore, capacity: 3, permits: 2 })
  log.take('', 's', { ...semaphore, capacity: 3 })
  log.take('b', 'm')
  t.equal(log.take('b', 's', semaphore), 'queued')
  t.equal(log.take('a', 'm'), 'queued', 'the third permit will come back')
  log.answer({ type: 'set-permits', name: 's', permits: 2 })
  log.take('other', 'x')
  t.equal(log.take('other', 's', semaphore), 'queued', 'those before it are stuck, but not for it')
})
