/** Semantics, section 4: what survives a restart. One test for each row of the table there. */
import { actor, protocol, tell, type ActorContext } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import {
  codeOf,
  gate,
  heard,
  living,
  logged,
  onStage,
  Puppet,
  puppet,
  watched,
  watchedCode,
  type PuppetContext,
} from '../support/runtime.ts'

const play = (step: string) => ({ type: 'do', step }) as const
const question = (step: string) => ({ type: 'ask', step }) as const
const boom = (): never => {
  throw new Error('boom')
}
const backoff = { minMs: 100, maxMs: 100, jitter: 0 }

void test('S4.1 backoff keeps the mailbox: one queue, in order, through several failures in a row', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    let failingStarts = 0
    const ref = system.spawn(
      'a',
      puppet(
        {
          boom,
          one: () => void got.push('one'),
          two: () => void got.push('two'),
          three: () => void got.push('three'),
        },
        {
          setup: () => {
            if (failingStarts-- > 0) throw new Error('not yet')
          },
        },
      ),
      { backoff },
    )
    await system.platform.settle()
    failingStarts = 2
    for (const step of ['boom', 'one', 'two']) ref.tell(play(step))
    await system.platform.advance(150)
    t.equal(ref.tell(play('three')), true, 'it takes messages while it waits')
    t.same(living(system), ['/user/a suspended#1'])
    await system.platform.advance(149)
    t.same(got, [])
    await system.platform.advance(1)
    t.same(got, ['one', 'two', 'three'])
    t.same(system.deadLetters(), [])
  })
})

void test('S4.1 ref and address: same path, same ref, new incarnation number', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: unknown[] = []
    const ref = system.spawn(
      'a',
      puppet(
        { boom, who: (ctx) => ctx.incarnation },
        { setup: (ctx) => void seen.push([ctx.path, ctx.self.uid, ctx.incarnation]) },
      ),
    )
    t.equal(await ref.ask(question('who')), 0)
    ref.tell(play('boom'))
    t.equal(await ref.ask(question('who')), 1)
    t.same(seen, [
      ['/user/a', ref.uid, 0],
      ['/user/a', ref.uid, 1],
    ])
    t.equal(system.lookup(Puppet, '/user/a')?.uid, ref.uid)
  })
})

void test('S4.1 mailbox: kept in order, bounded by its own policy', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const steps = Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, () => void got.push(name)]))
    const ref = system.spawn('a', puppet({ boom, ...steps }, { mailbox: { messagesMax: 3 } }), { backoff })
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(
      ['a', 'b', 'c', 'd'].map((name) => ref.tell(play(name))),
      [true, true, true, false],
    )
    await system.platform.advance(100)
    t.same(got, ['a', 'b', 'c'])
    t.same(
      system.deadLetters().map(({ reason }) => reason),
      ['overflow'],
    )
  })
})

void test('S4.1 failing message: lost, and its type is in the report', async (t) => {
  await onStage(t, undefined, async (system) => {
    let runs = 0
    const restarts = heard(system, 'actor-restarted')
    const ref = system.spawn(
      'a',
      puppet({
        once: () => {
          runs++
          throw new Error('boom')
        },
      }),
    )
    ref.tell(play('once'))
    await system.platform.advance(1_000)
    t.equal(runs, 1)
    t.match(restarts, [{ messageType: 'do', error: { message: 'boom' }, count: 1, limit: 3, delayMs: 0 }])
  })
})

void test('S4.1 in-memory state: setup runs again', async (t) => {
  const Count = protocol('count', { inc: tell(), boom: tell(), report: tell() })
  await onStage(t, undefined, async (system) => {
    const seen: number[] = []
    const ref = system.spawn(
      'a',
      actor(Count, (_ctx, input: { start: number }) => {
        let n = input.start
        return { inc: () => void n++, boom, report: () => void seen.push(n) }
      }),
      { start: 5 },
    )
    for (const type of ['inc', 'report', 'boom', 'report'] as const) ref.tell({ type })
    await system.platform.settle()
    t.same(seen, [6, 5])
  })
})

void test('S4.1 user stash: back to the head of the mailbox, in order', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    let open = false
    const keep = (name: string) => (ctx: PuppetContext) => (open ? got.push(name) : (ctx.stash() as unknown))
    const ref = system.spawn(
      'a',
      puppet({ one: keep('one'), two: keep('two'), boom, last: () => void got.push('last') }),
    )
    const asked = watched(ref.ask(question('one')))
    for (const step of ['two', 'boom', 'last']) ref.tell(play(step))
    await system.platform.settle()
    t.same(got, ['last'], 'stashed again by the second incarnation')
    open = true
    ref.tell(play('boom'))
    ref.tell(play('last'))
    await system.platform.settle()
    t.same(got, ['last', 'one', 'two', 'last'])
    t.equal(asked.value, 2, 'a stashed ask is answered in the end')
    t.same(system.deadLetters(), [])
  })
})

void test('S4.1 user stash: a stashed tick and a stashed watch notice are not lost', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    let open = false
    const keep = (name: string) => (ctx: PuppetContext) => {
      if (open) got.push(name)
      else ctx.stash()
    }
    const target = system.spawn('target', puppet({}))
    const ref = system.spawn(
      'a',
      puppet({
        go: (ctx) => {
          ctx.timers.once('t', 10, { type: 'self', step: 'tick' })
          ctx.watch(target, (reason) => ({ type: 'self', step: reason }))
        },
        tick: keep('tick'),
        stopped: keep('stopped'),
        unstash: (ctx) => ctx.unstashAll(),
        boom,
      }),
    )
    ref.tell(play('go'))
    await system.platform.advance(10)
    await system.stop(target)
    await system.platform.settle()
    open = true
    ref.tell(play('unstash'))
    await system.platform.settle()
    t.same(got, ['tick', 'stopped'])
  })
})

void test('S4.1 timers: cancelled; ticks of the old incarnation that are queued already are fenced', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const door = gate()
    const ref = system.spawn(
      'a',
      puppet({
        arm: (ctx) => {
          ctx.timers.once('once', 10, { type: 'self', step: 'tick' })
          ctx.timers.every('every', 10, { type: 'self', step: 'tick' })
          ctx.setReceiveTimeout(30, { type: 'self', step: 'tick' })
        },
        hang: () => door.passed.then(boom),
        tick: (ctx) => void got.push(`tick ${ctx.incarnation}`),
        has: (ctx) => [ctx.timers.has('once'), ctx.timers.has('every')],
      }),
    )
    ref.tell(play('arm'))
    ref.tell(play('hang'))
    await system.platform.advance(50)
    door.open()
    await system.platform.advance(200)
    t.same(living(system), ['/user/a running#1'])
    t.same(got, [])
    t.same(await ref.ask(question('has')), [false, false])
  })
})

void test('S4.1 children: stopped in reverse order and awaited before setup runs again', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    const door = gate()
    const kid = (name: string, wait?: Promise<void>) =>
      puppet(
        {},
        {
          setup: (ctx) => {
            seen.push(`${name} up`)
            ctx.defer(async () => {
              seen.push(`${name} down`)
              await wait
              seen.push(`${name} gone`)
            })
          },
        },
      )
    const ref = system.spawn(
      'a',
      puppet(
        { boom },
        {
          setup: (ctx) => {
            seen.push('a up')
            ctx.spawn('one', kid('one'))
            ctx.spawn('two', kid('two', ctx.incarnation === 0 ? door.passed : undefined))
          },
        },
      ),
    )
    await system.platform.settle()
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(seen.splice(0), ['a up', 'one up', 'two up', 'two down'])
    door.open()
    await system.platform.settle()
    t.same(seen, ['two gone', 'one down', 'one gone', 'a up', 'one up', 'two up'])
    t.same(living(system), ['/user/a running#1', '/user/a/one running#0', '/user/a/two running#0'])
  })
})

void test('S4.1 children: keepChildren keeps them, and a stop ends them even when it comes in the middle of a restart', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const keeping = puppet(
      { boom },
      {
        keepChildren: true,
        setup: (ctx) => {
          if (ctx.child(Puppet, 'kid') === undefined) ctx.spawn('kid', puppet({}))
          ctx.defer(() => (ctx.incarnation === 1 ? door.passed : undefined))
        },
      },
    )
    const ref = system.spawn('a', keeping)
    await system.platform.settle()
    const kid = system.lookup(Puppet, '/user/a/kid')
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/a running#1', '/user/a/kid running#0'])
    t.equal(system.lookup(Puppet, '/user/a/kid')?.uid, kid?.uid)
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(living(system), ['/user/a suspended#1', '/user/a/kid running#0'])
    const stopped = watched(system.stop(ref))
    door.open()
    await system.platform.settle()
    t.equal(stopped.state, 'resolved')
    t.same(living(system), [])
  })
})

void test('S4.1 children: keepChildren does not keep those that failed too often, whatever the parent is doing', async (t) => {
  const group = { strategy: 'one-for-all', intensity: { restarts: 0, withinMs: 1_000 } } as const
  for (const between of [false, true]) {
    await onStage(t, undefined, async (system) => {
      const keeping = puppet(
        { boom },
        {
          keepChildren: true,
          supervision: group,
          setup: (ctx) => {
            for (const name of ['one', 'two']) {
              if (ctx.child(Puppet, name) === undefined) ctx.spawn(name, puppet({ boom }))
            }
          },
        },
      )
      const ref = system.spawn('a', keeping, { backoff: { minMs: 100, maxMs: 100, jitter: 0 } })
      await system.platform.settle()
      const before = system.lookup(Puppet, '/user/a/two')?.uid
      if (between) ref.tell(play('boom'))
      await system.platform.settle()
      system.ref(Puppet, '/user/a/one').tell(play('boom'))
      await system.platform.settle()
      t.same(living(system), ['/user/a suspended#0'])
      await system.platform.advance(100)
      t.same(living(system), ['/user/a running#1', '/user/a/one running#0', '/user/a/two running#0'])
      t.not(system.lookup(Puppet, '/user/a/two')?.uid, before)
    })
  }
})

void test('S4.1 watches held by it: kept, and told to the next incarnation', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const target = system.spawn('target', puppet({}))
    const ref = system.spawn(
      'a',
      puppet({
        watch: (ctx) => ctx.watch(target, (reason) => ({ type: 'self', step: reason })),
        stopped: (ctx) => void got.push(`stopped ${ctx.incarnation}`),
        boom,
      }),
      { backoff },
    )
    ref.tell(play('watch'))
    ref.tell(play('boom'))
    await system.platform.settle()
    await system.stop(target)
    await system.platform.advance(100)
    t.same(got, ['stopped 1'])
  })
})

void test('S4.1 watchers of it: told nothing; system.events says that it restarted', async (t) => {
  await onStage(t, undefined, async (system) => {
    const got: string[] = []
    const target = system.spawn('target', puppet({ boom }))
    const restarts = heard(system, 'actor-restarted')
    const started = heard(system, 'actor-started')
    const watcher = system.spawn(
      'w',
      puppet({
        watch: (ctx) => ctx.watch(target, (reason) => ({ type: 'self', step: reason })),
        stopped: () => void got.push('stopped'),
      }),
    )
    watcher.tell(play('watch'))
    await system.platform.settle()
    target.tell(play('boom'))
    await system.platform.settle()
    t.same(got, [])
    t.same(
      restarts.map(({ path }) => path),
      ['/user/target'],
    )
    t.match(started.at(-1), { path: '/user/target', incarnation: 1, uid: target.uid })
    await system.stop(target)
    await system.platform.settle()
    t.same(got, ['stopped'])
  })
})

void test('S4.1 pending asks it made: rejected with Restarted, late replies fenced', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const codes: string[] = []
    const server = system.spawn('server', puppet({ slow: () => door.passed.then(() => 'late') }))
    const ref = system.spawn(
      'a',
      puppet({
        ask: (ctx) => void codeOf(ctx.ask(server, question('slow'))).then((code) => codes.push(code)),
        request: (ctx) => ctx.request(server, question('slow'), () => ({ type: 'self', step: 'never' })),
        boom,
      }),
    )
    ref.tell(play('ask'))
    ref.tell(play('request'))
    await system.platform.settle()
    ref.tell(play('boom'))
    await system.platform.settle()
    t.same(codes, ['RUNTIME_RESTARTED'])
    door.open()
    await system.platform.settle()
    t.same(living(system), ['/user/server running#0', '/user/a running#1'])
  })
})

void test('S4.1 pending asks to it: the failing one gets ActorCrashed, the queued ones are answered by the new incarnation', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const ref = system.spawn(
      'a',
      puppet({ late: () => door.passed.then(boom), who: (ctx) => ctx.incarnation }),
      { backoff },
    )
    const failing = watched(ref.ask(question('late')))
    const queued = [watched(ref.ask(question('who'))), watched(ref.ask(question('who'), { timeoutMs: 50 }))]
    door.open()
    await system.platform.settle()
    t.equal(watchedCode(failing), 'RUNTIME_ACTOR_CRASHED')
    await system.platform.advance(100)
    t.equal(queued[0]?.value, 1)
    t.equal(
      watchedCode(queued[1] as never),
      'RUNTIME_ASK_TIMEOUT',
      'its deadline does not wait for a backoff',
    )
    t.same(
      system.deadLetters().map(({ reason }) => reason),
      ['expired'],
    )
  })
})

void test('S4.1 signals: one hook, ctx.defer, last in first out, awaited, on stop and on restart, with the reason', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    const ref = system.spawn(
      'a',
      puppet(
        { boom },
        {
          setup: (ctx) => {
            seen.push(`up ${ctx.incarnation}`)
            ctx.defer((why) => void seen.push(`first ${why}`))
            ctx.defer(async (why) => {
              await Promise.resolve()
              seen.push(`second ${why}`)
            })
            ctx.defer(() => Promise.reject(new Error('a hook that fails')))
            ctx.defer(boom)
          },
        },
      ),
    )
    ref.tell(play('boom'))
    await system.platform.settle()
    await system.stop(ref)
    t.same(seen, ['up 0', 'second restart', 'first restart', 'up 1', 'second stop', 'first stop'])
    t.equal(logged(system, 'error').filter((line) => line.includes('defer hook')).length, 4)
  })
})

void test('S4.1 signals: hooks of a setup that fails half-way run too', async (t) => {
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    system.spawn(
      'a',
      puppet(
        {},
        {
          setup: async (ctx) => {
            ctx.defer((why) => void seen.push(`${ctx.incarnation} ${why}`))
            await Promise.resolve()
            if (ctx.incarnation < 2) throw new Error('half-way')
          },
        },
      ),
    )
    await system.platform.settle()
    t.same(seen, ['0 restart', '1 restart'])
    t.same(living(system), ['/user/a running#2'])
  })
})

void test('S4.1 stale effects: everything an abandoned handler still tries is dropped, counted, and logged once', async (t) => {
  await onStage(t, undefined, async (system) => {
    const door = gate()
    const got: string[] = []
    const asks: string[] = []
    const other = system.spawn('other', puppet({ hit: () => void got.push('hit') }))
    const effects: Readonly<Record<string, (ctx: PuppetContext) => void>> = {
      tell: (ctx) => t.equal(ctx.tell(other, play('hit')), false),
      ask: (ctx) => void codeOf(ctx.ask(other, question('hit'))).then((code) => asks.push(code)),
      request: (ctx) => ctx.request(other, question('hit'), () => ({ type: 'self', step: 'hit' })),
      spawn: (ctx) => void t.throws(() => ctx.spawn('kid', puppet({})), { code: 'RUNTIME_STOPPED' }),
      timers: (ctx) => ctx.timers.once('t', 1, { type: 'self', step: 'hit' }),
      watch: (ctx) => ctx.watch(other, () => ({ type: 'self', step: 'hit' })),
      link: (ctx) => ctx.link(other),
      stop: (ctx) => ctx.stop(),
      become: (ctx) => ctx.become({} as never),
      defer: (ctx) => ctx.defer(() => void got.push('hook')),
      pipe: (ctx) => ctx.pipe(Promise.resolve(), () => ({ type: 'self', step: 'hit' })),
      unwatch: (ctx) => ctx.unwatch(other),
      setReceiveTimeout: (ctx) => ctx.setReceiveTimeout(10, { type: 'self', step: 'hit' }),
    }
    const ref = system.spawn(
      'a',
      puppet(
        {
          hang: async (ctx) => {
            await door.passed
            for (const effect of Object.values(effects)) effect(ctx)
            for (let again = 0; again < 3; again++) ctx.tell(other, play('hit'))
            t.equal(ctx.signal.aborted, true)
            throw new Error('late')
          },
        },
        { handlerTimeoutMs: 100 },
      ),
    )
    ref.tell(play('hang'))
    await system.platform.advance(100)
    t.same(living(system), ['/user/other running#0', '/user/a running#1'])
    door.open()
    await system.platform.advance(1_000)
    t.same(got, [])
    t.same(asks, ['RUNTIME_RESTARTED'])
    t.same(living(system), ['/user/other running#0', '/user/a running#1'])
    const lines = logged(system, 'warn').filter((line) => line.includes('that is gone'))
    for (const name of [
      'tell',
      'ask',
      'spawn',
      'timers',
      'watch',
      'stop',
      'become',
      'defer',
      'pipe',
      'setReceiveTimeout',
    ]) {
      t.equal(lines.filter((line) => line.includes(`ctx.${name}:`)).length, 1, name)
    }
    t.ok(system.status().counters.staleEffects >= Object.keys(effects).length + 3)
    await system.stop(other)
    await system.platform.settle()
    t.same(living(system), ['/user/a running#1'], 'neither watched nor linked')
  })
})

void test('S4.1 stale effects: an abandoned handler that settles later does nothing', async (t) => {
  await onStage(t, undefined, async (system) => {
    const doors = [gate<string>(), gate<string>()]
    let round = 0
    const ref = system.spawn(
      'a',
      puppet(
        { hang: () => doors[round++]?.passed, who: (ctx) => ctx.incarnation },
        { handlerTimeoutMs: 100 },
      ),
    )
    const asked = [watched(ref.ask(question('hang')))]
    await system.platform.advance(100)
    asked.push(watched(ref.ask(question('hang'))))
    await system.platform.settle()
    doors[0]?.open('first, too late')
    await system.platform.settle()
    t.equal(asked[1]?.state, 'open', 'not taken for the end of the next handler')
    doors[1]?.open('second')
    await system.platform.settle()
    t.equal(watchedCode(asked[0] as never), 'RUNTIME_ACTOR_CRASHED')
    t.equal(asked[1]?.value, 'second')
    t.equal(system.status().counters.staleEffects, 1)
  })
})

void test('S4.1 stale effects: the context that an old setup kept is as dead as its handlers', async (t) => {
  const Leaky = protocol('leaky', { boom: tell(), hit: tell({ n: Type.Integer() }) })
  await onStage(t, undefined, async (system) => {
    const contexts: ActorContext<typeof Leaky.messages>[] = []
    const got: number[] = []
    const ref = system.spawn(
      'a',
      actor(Leaky, (ctx) => {
        contexts.push(ctx)
        return { boom, hit: ({ n }) => void got.push(n) }
      }),
    )
    ref.tell({ type: 'boom' })
    await system.platform.settle()
    t.equal(contexts[0]?.tell(ref, { type: 'hit', n: 0 }), false)
    t.equal(contexts[1]?.tell(ref, { type: 'hit', n: 1 }), true)
    contexts[0]?.stop()
    await system.platform.settle()
    t.same(got, [1])
    t.same(living(system), ['/user/a running#1'])
  })
})
