/** The lock table against the plainest one, over random courses; what holds whatever the course; snapshots at every point. */
import { deepEqual, ok } from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'tap'
import { arbitraryLockSteps, LockCourse, type LockStep } from './machine-arbitrary.ts'
import { batchOf, each, LockLog, resultsOf } from './machine-log.ts'
import { ReferenceLocks } from './machine-reference.ts'
import type { LockCommand, LockMachine, LockResult, LockView } from './machine-source.ts'

const runs = { numRuns: 250, seed: 6 }

/** As the plainest table tells it: of a refusal only the code. */
function plain(result: LockResult): unknown {
  if (!result.ok) return { code: result.error.code }
  const answer = result.result
  return answer.type === 'value' ? { ...answer, value: [...answer.value] } : answer
}

function plainAnswer(answer: object): unknown {
  return 'value' in answer && answer.value instanceof Uint8Array
    ? { ...answer, value: [...answer.value] }
    : answer
}

/** All that can be seen of a table, of these requests. */
function seen(machine: LockMachine, { opened, issued }: LockCourse): unknown {
  const states = issued.map(({ session, request }) => machine.state(session, request))
  return [
    machine.status(),
    machine.list('', 1_000),
    opened.map((session) => machine.hasSession(session)),
    states,
  ]
}

function feed(log: LockLog, course: LockCourse, step: LockStep): [LockCommand, LockResult] {
  const command = course.next(step)
  log.term = course.term
  log.timeMs = course.timeMs
  return [command, log.apply(command)]
}

/** Exclusive holders are alone, permits fit, and no one waits whom nothing holds up. */
function mustBeSound(view: LockView): void {
  const owners = new Set(view.holders.map(({ session, owner, token }) => `${session}/${owner}/${token}`))
  switch (view.kind) {
    case 'mutex':
    case 'election':
      ok(owners.size <= 1, `${view.name} has several holders`)
      break
    case 'read-write':
      if (view.holders.some(({ permits }) => permits === 0))
        ok(owners.size === 1, `${view.name} is written by several`)
      break
    default:
      break
  }
  if (view.holders.length === 0 && ['mutex', 'election', 'read-write'].includes(view.kind)) {
    ok(view.waiting === 0, `somebody waits for ${view.name}, which nobody holds`)
  }
  if (view.kind === 'barrier') ok(view.waiting < view.capacity, `${view.name} is full and closed`)
  if (view.kind === 'latch' && view.value === 0)
    ok(view.waiting === 0, `${view.name} is open, and somebody waits`)
}

void test('LockMachine: answers, grants and ends of sessions as the plainest table tells them', async () => {
  fc.assert(
    fc.property(arbitraryLockSteps, (steps) => {
      const log = new LockLog()
      const course = new LockCourse()
      const reference = new ReferenceLocks()
      for (const step of steps) {
        const [command, result] = feed(log, course, step)
        if (!result.ok && result.error.code === 'LOCK_DEADLOCK' && command.type === 'acquire') {
          ok(reference.isCycle(result.error.cycle ?? [], command), JSON.stringify(result.error))
        }
        const wanted = reference.apply(command, course.index, course.term, course.timeMs)
        deepEqual(plain(result), plainAnswer(wanted))
        deepEqual(log.takeGrants(), reference.takeGrants())
        deepEqual(log.over, reference.over)
        deepEqual(
          log.machine.list('', 1_000).map(({ name, version, waiting }) => [name, version, waiting]),
          [...reference.names]
            .map(([name, { version }]) => [name, version, reference.queue(name).length])
            .sort(([a], [b]) => ((a as string) < (b as string) ? -1 : 1)),
        )
        for (const { session, request } of reference.requests) {
          deepEqual(log.machine.state(session, request), reference.state(session, request))
        }
      }
    }),
    runs,
  )
})

void test('LockMachine: holders are alone, tokens grow, nobody is forgotten, a session leaves nothing behind', async () => {
  fc.assert(
    fc.property(arbitraryLockSteps, (steps) => {
      const log = new LockLog()
      const course = new LockCourse()
      let highest = 0
      const generations = new Set<number>()
      for (const step of steps) {
        const before = log.machine.status().lastToken
        const [command, result] = feed(log, course, step)
        ok(log.machine.status().lastToken >= before)
        const tokens = log.takeGrants().map(({ token }) => token)
        if (result.ok && result.result.type === 'held' && result.result.token > before)
          tokens.push(result.result.token)
        for (const token of tokens) {
          // Those of one opening of a barrier share theirs; a latch has none.
          if (token === 0 || generations.has(token)) continue
          ok(token > highest || token <= before, `token ${token} comes behind ${highest}`)
          generations.add(token)
        }
        highest = log.machine.status().lastToken
        const views = log.machine.list('', 1_000)
        for (const view of views) mustBeSound(view)
        if (command.type === 'end-session') {
          for (const { session, request } of course.issued) {
            if (session !== command.session) continue
            deepEqual(log.machine.state(session, request), { type: 'released', was: 'nothing' })
          }
          ok(views.every(({ holders }) => holders.every(({ session }) => session !== command.session)))
        }
      }
      // Everybody goes: nothing is left but what stays by itself.
      for (const session of course.opened) log.apply({ type: 'end-session', session })
      for (const { kind, holders, waiting } of log.machine.list('', 1_000)) {
        ok(['semaphore', 'election', 'latch', 'counter', 'value', 'spin'].includes(kind), kind)
        ok(kind === 'spin' || holders.length === 0)
        deepEqual(waiting, 0)
      }
    }),
    runs,
  )
})

void test('LockMachine: in a batch, commands come to the same as one by one', async () => {
  fc.assert(
    fc.property(arbitraryLockSteps, fc.integer({ min: 1, max: 9 }), (steps, size) => {
      const single = new LockLog()
      const batched = new LockLog()
      const course = new LockCourse()
      let commands: LockCommand[] = []
      let wanted: unknown[] = []
      const flush = (): void => {
        if (commands.length === 0) return
        batched.timeMs = single.timeMs
        batched.term = single.term
        deepEqual(resultsOf(batched.applyBytes(batchOf(commands))).map(plain), wanted)
        deepEqual(seen(batched.machine, course), seen(single.machine, course))
        commands = []
        wanted = []
      }
      for (const step of steps) {
        // Time stands still within a batch, and sessions are opened outside of them.
        const isAlone = step.command.type === 'open-session'
        if (isAlone || commands.length >= size) flush()
        const [command, result] = feed(
          single,
          course,
          commands.length > 0 ? { ...step, newTerm: false, passMs: 0 } : step,
        )
        batched.index = single.index - 1
        if (isAlone) {
          batched.timeMs = single.timeMs
          batched.term = single.term
          deepEqual(plain(batched.apply(command)), plain(result))
          continue
        }
        commands.push(command)
        wanted.push(plain(result))
      }
      flush()
    }),
    { numRuns: 200, seed: 7 },
  )
})

void test('LockMachine: a snapshot shows one moment while commands go on, and a restored table goes on as the other', async () => {
  const arbitrary = fc.tuple(arbitraryLockSteps, fc.nat(), fc.constantFrom(1, 40, 200, 1_000_000))
  await fc.assert(
    fc.asyncProperty(arbitrary, async ([steps, seed, chunkBytes]) => {
      const at = seed % steps.length
      const course = new LockCourse()
      const log = new LockLog()
      for (const step of steps.slice(0, at)) feed(log, course, step)
      const moment = seen(log.machine, course)
      // A walk that is given up for another one does no harm.
      const givenUp = log.machine.snapshot(chunkBytes)
      givenUp.next()
      const walk = log.machine.snapshot(chunkBytes)
      const chunks: Uint8Array[] = []
      const take = (): void => {
        const next = walk.next()
        if (next.done !== true) chunks.push(next.value)
      }
      const later: { readonly index: number; readonly step: LockStep; readonly result: unknown }[] = []
      for (const step of steps.slice(at)) {
        if (seed % 3 > 0) take()
        const index = log.index
        later.push({ index, step, result: plain(feed(log, course, step)[1]) })
        if (later.length === 2) givenUp.return?.()
      }
      for (let next = walk.next(); next.done !== true; next = walk.next()) chunks.push(next.value)
      const end = seen(log.machine, course)

      const copy = new LockLog()
      await copy.machine.restore(each(chunks))
      const again = new LockCourse()
      for (const step of steps.slice(0, at)) again.next(step)
      deepEqual(seen(copy.machine, again), moment)
      for (const { index, step, result } of later) {
        copy.index = index
        deepEqual(plain(feed(copy, again, step)[1]), result)
      }
      deepEqual(seen(copy.machine, again), end)
    }),
    { numRuns: 300, seed: 8 },
  )
})
