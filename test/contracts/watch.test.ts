/** S7.1: exactly one notice per watch, whatever happens to either side. */
import { actor, protocol, tell, type ActorRef, type EndReason } from '@understudy/runtime'
import { probe, type Probe, type TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { gate, heard, logged, onStage, puppet, Puppet, type PuppetRef } from '../support/runtime.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Watching = protocol('watching', {
  begin: tell({ name: Type.String(), again: Type.Optional(Type.String()) }),
  end: tell({ name: Type.String() }),
  hold: tell(),
  crash: tell(),
  note: tell({ text: Type.String() }),
})
type WatchingRef = ActorRef<typeof Watching.messages>

interface Scene {
  readonly system: TestSystem
  readonly log: Probe<typeof Log.messages>
  readonly lines: () => readonly string[]
}

/**
 * A watcher of /user/<name>; every notice and note becomes a line at the probe. `hold` waits for `release`, so that
 * whatever comes meanwhile stands in the mailbox.
 */
function watcher(log: ActorRef<typeof Log.messages>, options: { readonly release?: Promise<void> } = {}) {
  const own = { gone: tell({ name: Type.String(), reason: Type.String(), as: Type.String() }) }
  return actor(Watching, { own, mailbox: { messagesMax: 3, overflow: 'drop-old' } }, (ctx) => ({
    begin: ({ name, again = '' }) => {
      const ref = ctx.ref(Puppet, `/user/${name}`)
      ctx.watch(ref, (reason: EndReason) => ({ type: 'gone', name, reason, as: again }))
    },
    end: ({ name }) => ctx.unwatch(ctx.ref(Puppet, `/user/${name}`)),
    hold: async () => {
      await options.release
    },
    crash: () => {
      throw new Error('the watcher crashes')
    },
    note: ({ text }) => void ctx.tell(log, { type: 'line', text }),
    gone: ({ name, reason, as }) => void ctx.tell(log, { type: 'line', text: `${name} ${reason}${as}` }),
  }))
}

async function scene(
  t: Parameters<typeof onStage>[0],
  play: (scene: Scene & { readonly watching: WatchingRef; readonly release: () => void }) => Promise<void>,
): Promise<void> {
  await onStage(t, undefined, async (system) => {
    const log = probe(system, Log)
    const { passed, open } = gate()
    const watching = system.spawn('watcher', watcher(log.ref, { release: passed }))
    const lines = (): readonly string[] => log.received.map((message) => message.text)
    await play({ system, log, lines, watching, release: () => open() })
  })
}

const quiet = puppet({
  crash: () => {
    throw new Error('down')
  },
  leave: (ctx) => ctx.stop(),
})
const temporary = { restart: 'temporary' } as const

void test('S7.1 exactly one notice, with the reason, when a watched actor ends', async (t) => {
  await scene(t, async ({ system, lines, watching }) => {
    const stops = system.spawn('stops', quiet)
    const fails: PuppetRef = system.spawn('fails', quiet, temporary)
    for (const name of ['stops', 'fails']) watching.tell({ type: 'begin', name })
    await system.platform.settle()
    await system.stop(stops)
    fails.tell({ type: 'do', step: 'crash' })
    await system.platform.advance(60_000)
    t.same(lines(), ['stops stopped', 'fails failed'])
  })
})

void test('S7.1 a supervisor whose children failed too often ends with the reason limit', async (t) => {
  const parent = puppet(
    { spawn: (ctx) => void ctx.spawn('child', quiet) },
    { supervision: { intensity: { restarts: 0, withinMs: 1_000 } } },
  )
  await scene(t, async ({ system, lines, watching }) => {
    const ref = system.spawn('parent', parent, temporary)
    ref.tell({ type: 'do', step: 'spawn' })
    watching.tell({ type: 'begin', name: 'parent' })
    await system.platform.settle()
    system.ref(Puppet, '/user/parent/child').tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    t.same(lines(), ['parent limit'])
  })
})

void test('S7.1 a notice comes at once for the dead, and for a path where nobody lives', async (t) => {
  await scene(t, async ({ system, log, lines, watching }) => {
    const dead = system.spawn('dead', quiet)
    await system.stop(dead)
    watching.tell({ type: 'begin', name: 'dead' })
    watching.tell({ type: 'begin', name: 'never' })
    await system.platform.settle()
    t.same(lines(), ['dead not-found', 'never not-found'], 'by path')
    log.watch(dead)
    t.equal(await log.expectEnded(dead), 'stopped', 'by a ref that was bound to it')
  })
})

void test('S7.1 watching twice replaces the message, also through another ref to the same path', async (t) => {
  await scene(t, async ({ system, lines, watching }) => {
    const ref = system.spawn('a', quiet)
    watching.tell({ type: 'begin', name: 'a', again: ' (first)' })
    watching.tell({ type: 'begin', name: 'a', again: ' (second)' })
    await system.platform.settle()
    await system.stop(ref)
    await system.platform.settle()
    t.same(lines(), ['a stopped (second)'])
  })
})

void test('S7.1 unwatch before the end, and when the notice is queued already, leaves no notice', async (t) => {
  await scene(t, async ({ system, lines, watching, release }) => {
    const early = system.spawn('early', quiet)
    const late = system.spawn('late', quiet)
    for (const name of ['early', 'late']) watching.tell({ type: 'begin', name })
    watching.tell({ type: 'end', name: 'early' })
    await system.platform.settle()
    await system.stop(early)
    watching.tell({ type: 'hold' })
    await system.platform.settle()
    watching.tell({ type: 'end', name: 'late' })
    await system.stop(late)
    release()
    await system.platform.settle()
    t.same(lines(), [], 'the notice stood behind the message that revoked it')
    watching.tell({ type: 'begin', name: 'late' })
    await system.platform.settle()
    t.same(lines(), ['late not-found'], 'a new watch is a new watch')
  })
})

void test('S7.1 a child whose notice is queued is forgotten too, and not told of twice', async (t) => {
  const told: string[] = []
  const { passed, open } = gate()
  const parent = puppet({
    spawn: (ctx) => void ctx.spawn('child', quiet),
    watch: (ctx) => ctx.watch(child(ctx), () => ({ type: 'self', step: 'gone' })),
    unwatch: (ctx) => ctx.unwatch(child(ctx)),
    stop: (ctx) => ctx.stop(child(ctx)),
    hold: () => passed,
    gone: () => void told.push('gone'),
  })
  let kept: PuppetRef | undefined
  function child(ctx: {
    readonly child: (p: typeof Puppet, name: string) => PuppetRef | undefined
  }): PuppetRef {
    kept ??= ctx.child(Puppet, 'child')
    if (kept === undefined) throw new Error('there is no child')
    return kept
  }
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('parent', parent)
    for (const step of ['spawn', 'watch', 'watch', 'stop']) ref.tell({ type: 'do', step })
    await system.platform.settle()
    t.same(told, ['gone'], 'watched twice, told once')
    ref.tell({ type: 'do', step: 'watch' })
    await system.platform.settle()
    t.same(told, ['gone', 'gone'], 'the dead child is told of at once')
    kept = undefined
    for (const step of ['spawn', 'watch', 'hold', 'unwatch']) ref.tell({ type: 'do', step })
    await system.platform.settle()
    await system.stop(system.ref(Puppet, '/user/parent/child'))
    open()
    await system.platform.settle()
    t.same(told, ['gone', 'gone'], 'revoked while it was queued')
  })
})

void test('S7.1 a watch survives the restart of the watcher, and a restart of the watched is no end', async (t) => {
  await scene(t, async ({ system, lines, watching }) => {
    const restarted = heard(system, 'actor-restarted')
    const ref = system.spawn('a', quiet)
    watching.tell({ type: 'begin', name: 'a' })
    watching.tell({ type: 'crash' })
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    t.same(
      restarted.map((event) => event.path),
      ['/user/watcher', '/user/a'],
    )
    t.same(lines(), [])
    await system.stop(ref)
    await system.platform.settle()
    t.same(lines(), ['a stopped'])
  })
})

void test('S7.1 a stale incarnation cannot revoke the watch of the next', async (t) => {
  const { passed, open } = gate()
  const told: string[] = []
  let target: PuppetRef | undefined
  const parent = puppet({
    watch: (ctx) => ctx.watch(target as PuppetRef, () => ({ type: 'self', step: 'gone' })),
    linger: (ctx) => {
      ctx.run(Promise.reject(new Error('crashes while the handler awaits')))
      return passed.then(() => ctx.unwatch(target as PuppetRef))
    },
    gone: () => void told.push('gone'),
  })
  await onStage(t, undefined, async (system) => {
    target = system.spawn('target', quiet)
    const ref = system.spawn('parent', parent)
    for (const step of ['linger', 'watch']) ref.tell({ type: 'do', step })
    await system.platform.settle()
    open()
    await system.platform.settle()
    await system.stop(target)
    await system.platform.settle()
    t.same(told, ['gone'])
    t.ok(system.status().counters.staleEffects > 0, 'the stale unwatch was counted')
  })
})

void test('S7.1 a watcher that stops gets nothing, and nothing of it stays behind', async (t) => {
  await scene(t, async ({ system, lines, watching }) => {
    const letters = heard(system, 'dead-letter')
    const ref = system.spawn('a', quiet)
    watching.tell({ type: 'begin', name: 'a' })
    await system.platform.settle()
    await system.stop(watching)
    await system.stop(ref)
    await system.platform.settle()
    t.same(lines(), [])
    t.same(letters, [], 'a notice for nobody is no dead letter')
  })
})

void test('S7.1 the notice comes behind the last message of the dead actor', async (t) => {
  await scene(t, async ({ system, lines, watching }) => {
    const dying = puppet({
      lastWords: (ctx) => {
        ctx.tell(watching, { type: 'note', text: 'one' })
        ctx.tell(watching, { type: 'note', text: 'two' })
        ctx.stop()
      },
    })
    const ref = system.spawn('a', dying)
    watching.tell({ type: 'begin', name: 'a' })
    await system.platform.settle()
    ref.tell({ type: 'do', step: 'lastWords' })
    await system.platform.settle()
    t.same(lines(), ['one', 'two', 'a stopped'])
  })
})

void test('S7.1 a full bounded mailbox drops messages, never the notice', async (t) => {
  await scene(t, async ({ system, lines, watching, release }) => {
    const ref = system.spawn('a', quiet)
    watching.tell({ type: 'begin', name: 'a' })
    await system.platform.settle()
    watching.tell({ type: 'hold' })
    await system.platform.settle()
    for (const text of ['1', '2', '3']) watching.tell({ type: 'note', text })
    await system.stop(ref)
    for (const text of ['4', '5', '6', '7', '8']) watching.tell({ type: 'note', text })
    release()
    await system.platform.settle()
    t.ok(
      lines().includes('a stopped'),
      'it was queued when the mailbox was full, and not dropped for newer messages',
    )
    t.same(lines().slice(-2), ['7', '8'])
  })
})

void test('S7.1 nobody outside can send what a notice looks like, in any isolation', async (t) => {
  for (const isolation of ['reference', 'freeze', 'codec'] as const) {
    await onStage(
      t,
      undefined,
      async (system) => {
        const log = probe(system, Log)
        const watching = system.spawn('watcher', watcher(log.ref))
        const forger = watching as unknown as ActorRef<{ gone: ReturnType<typeof tell<{}>> }>
        const forged = { type: 'gone', name: 'a', reason: 'stopped', as: '' } as const
        t.equal(forger.tell(forged), false, isolation)
        const path = system.ref(Watching, '/user/watcher') as unknown as typeof forger
        t.equal(path.tell(forged), false, `${isolation}, by path`)
        await system.platform.settle()
        t.same(log.received, [])
        t.same(
          system.deadLetters().map((letter) => letter.reason),
          ['unknown-message', 'unknown-message'],
        )
      },
      { isolation },
    )
  }
})

void test('S7.1 who watches and is linked gets the notice, and fails', async (t) => {
  await onStage(t, undefined, async (system) => {
    for (const order of ['watch link', 'link watch']) {
      const target = system.spawn(`target-${order.slice(0, 4)}`, quiet)
      const seen: string[] = []
      const restarts = heard(system, 'actor-restarted')
      const both = puppet({
        tie: (ctx) => {
          for (const tie of order.split(' ')) {
            if (tie === 'link') ctx.link(target)
            else ctx.watch(target, (reason) => ({ type: 'self', step: reason }))
          }
        },
        stopped: () => void seen.push('stopped'),
      })
      const ref = system.spawn(`both-${order.slice(0, 4)}`, both)
      ref.tell({ type: 'do', step: 'tie' })
      await system.platform.settle()
      await system.stop(target)
      await system.platform.settle()
      t.same([seen, restarts.at(-1)?.error?.name], [['stopped'], 'Linked'], order)
    }
  })
})

void test('S7.1 a link is a watch that fails with Linked', async (t) => {
  const { passed, open } = gate()
  let target: PuppetRef | undefined
  const linked = puppet({
    link: (ctx) => ctx.link(target as PuppetRef),
    hold: () => passed,
    crash: () => {
      throw new Error('by itself')
    },
  })
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    target = system.spawn('target', quiet)
    const ref = system.spawn('linked', linked)
    ref.tell({ type: 'do', step: 'link' })
    ref.tell({ type: 'do', step: 'hold' })
    await system.platform.settle()
    await system.stop(target)
    await system.platform.settle()
    t.equal(restarted.length, 1, 'it acts while a handler awaits')
    t.match(restarted[0]?.error, {
      code: 'RUNTIME_LINKED',
      details: { path: '/user/target', reason: 'stopped' },
    })
    ref.tell({ type: 'do', step: 'link' })
    await system.platform.settle()
    t.match(restarted[1]?.error, { code: 'RUNTIME_LINKED' }, 'and at once for the dead')
    open()
  })
})

void test('S7.1 a link that breaks between two incarnations is not lost', async (t) => {
  let target: PuppetRef | undefined
  const linked = puppet({
    link: (ctx) => ctx.link(target as PuppetRef),
    crash: () => {
      throw new Error('by itself')
    },
  })
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    target = system.spawn('target', quiet)
    const ref = system.spawn('linked', linked, { backoff: { minMs: 100, maxMs: 100, jitter: 0 } })
    ref.tell({ type: 'do', step: 'link' })
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    await system.stop(target)
    await system.platform.advance(500)
    t.same(
      restarted.map((event) => event.error?.message),
      ['by itself', 'It is linked to /user/target, which ended: stopped'],
    )
    t.equal(logged(system, 'fatal').length, 0)
  })
})

void test('S7.1 a notice that is not a message of the watcher crashes it, and says what was wrong', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const target = system.spawn('target', quiet)
    const wrong = puppet({
      watch: (ctx) => ctx.watch(target, () => ({ type: 'gone' }) as never),
    })
    const ref = system.spawn('wrong', wrong)
    ref.tell({ type: 'do', step: 'watch' })
    await system.platform.settle()
    await system.stop(target)
    await system.platform.settle()
    t.match(restarted[0]?.error?.message, /Cannot send "gone" to \/user\/wrong/)
  })
})
