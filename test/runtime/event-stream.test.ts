/** EventStream: listeners in place and in order, none of which can disturb another. */
import { test } from 'tap'
import { heard, onStage, puppet } from '../support/runtime.ts'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from '../support/source-module.ts'

const { eventStream } = await sourceModule<
  typeof import('../../packages/runtime/src/system/event-stream.ts')
>('runtime', 'system/event-stream')

interface Events {
  readonly happened: number
  readonly other: string
}

void test('EventStream calls listeners in place, in the order in which they came, until disposed', async (t) => {
  const stream = eventStream<Events>(virtualPlatform().log)
  const heardHere: string[] = []
  const first = stream.on('happened', (n) => void heardHere.push(`first ${n}`))
  stream.on('happened', (n) => void heardHere.push(`second ${n}`))
  stream.on('other', (text) => void heardHere.push(text))
  stream.emit('happened', 1)
  t.same(heardHere, ['first 1', 'second 1'])
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  stream.emit('happened', 2)
  t.same(heardHere.slice(2), ['second 2'])
})

void test('EventStream one function may listen twice, and is taken away once at a time', async (t) => {
  const stream = eventStream<Events>(virtualPlatform().log)
  let calls = 0
  const listener = (): void => void calls++
  const [first, second] = [stream.on('happened', listener), stream.on('happened', listener)]
  stream.emit('happened', 1)
  t.equal(calls, 2)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  stream.emit('happened', 1)
  t.equal(calls, 3)
  second[Symbol.dispose]()
  t.equal(stream.wants('happened'), false)
})

void test('EventStream a listener that throws is logged, and the others are called', async (t) => {
  const platform = virtualPlatform()
  const stream = eventStream<Events>(platform.log)
  const calls: string[] = []
  stream.on('happened', () => {
    throw new Error('mine')
  })
  stream.on('happened', () => void calls.push('second'))
  stream.emit('happened', 1)
  t.same(calls, ['second'])
  t.match(platform.logged, [{ level: 'error', fields: { event: 'happened', err: { message: 'mine' } } }])
})

void test('EventStream listeners may come and go while an event is told', async (t) => {
  const stream = eventStream<Events>(virtualPlatform().log)
  const calls: string[] = []
  const gone = { [Symbol.dispose]: (): void => undefined }
  stream.on('happened', () => {
    calls.push('first')
    gone[Symbol.dispose]()
    stream.on('happened', () => void calls.push('late'))
  })
  Object.assign(
    gone,
    stream.on('happened', () => void calls.push('gone')),
  )
  stream.emit('happened', 1)
  t.same(calls, ['first', 'gone'], 'who listened when it happened')
  stream.emit('happened', 2)
  t.same(calls.slice(2), ['first', 'late'])
})

void test('EventStream of a system tells of starts, restarts, failures and stops', async (t) => {
  await onStage(t, undefined, async (system) => {
    const started = heard(system, 'actor-started')
    const stopped = heard(system, 'actor-stopped')
    const failed = heard(system, 'actor-failed')
    system.events.on('actor-restarted', () => {
      throw new Error('a bad listener')
    })
    const crash = puppet({
      crash: () => {
        throw new Error('down')
      },
    })
    const ref = system.spawn('a', crash)
    const other = system.spawn('b', crash, { restart: 'temporary' })
    await system.platform.settle()
    for (const target of [ref, other]) target.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    await system.stop(ref)
    t.same(
      started.map(({ path, incarnation }) => `${path}#${incarnation}`),
      ['/user/a#0', '/user/b#0', '/user/a#1'],
    )
    t.match(failed, [{ path: '/user/b', messageType: 'do', error: { message: 'down' } }])
    t.match(stopped, [
      { path: '/user/b', reason: 'failed' },
      { path: '/user/a', uid: ref.uid, reason: 'stopped' },
    ])
  })
})
