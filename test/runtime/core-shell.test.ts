/** The shell that runs cores: order, time, and an end in the middle of a step. */
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { CoreShell } = await sourceModule<typeof import('../../packages/runtime/src/core/core-shell.ts')>(
  'runtime',
  'core/core-shell',
)

/** A core that does as it is told: effects and deadline of each input are in the input. */
interface Input {
  readonly name: string
  readonly effects?: readonly string[]
  readonly dueMs?: number | undefined
}

function scripted(onTick: () => Input = () => ({ name: 'tick' })) {
  const platform = virtualPlatform()
  const steps: string[] = []
  const carried: string[] = []
  let dueMs: number | undefined
  const core = {
    step: (input: Input, nowMs: number): readonly string[] => {
      const taken = input.name === 'tick' ? onTick() : input
      steps.push(`${input.name}@${nowMs}`)
      dueMs = taken.dueMs
      return taken.effects ?? []
    },
    status: () => steps.length,
    nextDeadlineMs: () => dueMs,
  }
  const reactions: Record<string, () => void> = {}
  const shell = new CoreShell<Input, string, number>({
    core,
    clock: platform.clock,
    tick: { name: 'tick' },
    carryOut: (effect) => {
      carried.push(effect)
      reactions[effect]?.()
    },
  })
  return { platform, shell, steps, carried, reactions }
}

void test('CoreShell.step: effects are carried out in order before it returns', (t) => {
  const { shell, carried } = scripted()
  shell.step({ name: 'one', effects: ['a', 'b'] })
  t.same(carried, ['a', 'b'])
  t.equal(shell.status(), 1)
  t.end()
})

void test('CoreShell.step: an input from within an effect waits for the effects before it', (t) => {
  const { shell, steps, carried, reactions } = scripted()
  reactions['a'] = () => shell.step({ name: 'two', effects: ['c'] })
  shell.step({ name: 'one', effects: ['a', 'b'] })
  t.same(steps, ['one@0', 'two@0'])
  t.same(carried, ['a', 'b', 'c'])
  t.end()
})

void test('CoreShell: one timer, moved when the deadline moves, gone when there is none', async (t) => {
  const due: (number | undefined)[] = [300, undefined]
  const { platform, shell, steps } = scripted(() => ({ name: 'tick', dueMs: due.shift() }))
  shell.step({ name: 'one', dueMs: 500 })
  shell.step({ name: 'two', dueMs: 100 })
  t.equal(platform.pendingTimers(), 1)
  await platform.advance(1_000)
  t.same(steps, ['one@0', 'two@0', 'tick@100', 'tick@300'])
  t.equal(platform.pendingTimers(), 0)
  shell.step({ name: 'three', dueMs: 2_000 })
  shell.step({ name: 'four', dueMs: undefined })
  t.equal(platform.pendingTimers(), 0)
})

void test('CoreShell: a deadline that is met and set again to the same time is met again', async (t) => {
  const due: (number | undefined)[] = [100, undefined]
  const { platform, shell, steps } = scripted(() => ({ name: 'tick', dueMs: due.shift() }))
  shell.step({ name: 'one', dueMs: 100 })
  await platform.advance(100)
  t.same(steps, ['one@0', 'tick@100', 'tick@100'])
})

void test('CoreShell.close: from within an effect the rest of the step is dropped, and nothing follows', async (t) => {
  const { platform, shell, steps, carried, reactions } = scripted()
  reactions['a'] = () => {
    shell.step({ name: 'two' })
    shell.close()
    shell.step({ name: 'three' })
  }
  shell.step({ name: 'one', effects: ['a', 'b'], dueMs: 50 })
  await platform.advance(100)
  t.same(steps, ['one@0'])
  t.same(carried, ['a'])
  t.equal(platform.pendingTimers(), 0)
})

void test('CoreShell.close: cancels its timer', async (t) => {
  const { platform, shell, steps } = scripted()
  shell.step({ name: 'one', dueMs: 50 })
  shell.close()
  t.equal(platform.pendingTimers(), 0)
  await platform.advance(100)
  t.same(steps, ['one@0'])
})

void test('CoreShell: an effect that throws leaves the shell able to step, and its timer armed', async (t) => {
  const { platform, shell, steps, reactions } = scripted()
  reactions['a'] = () => {
    throw new Error('boom')
  }
  t.throws(() => shell.step({ name: 'one', effects: ['a', 'b'], dueMs: 50 }), { message: 'boom' })
  t.equal(platform.pendingTimers(), 1)
  shell.step({ name: 'two', dueMs: 50 })
  await platform.advance(50)
  t.same(steps, ['one@0', 'two@0', 'tick@50'])
})
