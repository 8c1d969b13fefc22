/** S10.1: bounds and what happens at them. S10.2: room. S10.3: poison is named. Stash, become and priorities besides. */
import { actor, ask, protocol, tell, type OverflowPolicy } from '@understudy/runtime'
import { probe, type Probe, type TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { codeOf, gate, heard, logged, onStage, puppet, watched, watchedCode } from '../support/runtime.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Queue = protocol('queue', {
  hold: tell(),
  note: tell({ text: Type.String() }),
  urgent: tell({ text: Type.String() }),
  lazy: tell({ text: Type.String() }),
  question: ask({ text: Type.String() }, Type.String()),
})

interface QueueOptions {
  readonly mailbox?: {
    readonly messagesMax?: number
    readonly overflow?: OverflowPolicy
    readonly lowWater?: number
  }
  readonly priority?: Readonly<Record<string, number>>
  readonly own?: { readonly tick: ReturnType<typeof tell<{}>> }
}

const own = { tick: tell(), silence: tell() }

/** `hold` waits for `passed`; all others become a line at the log. A tick each 10 ms, when it is asked for. */
function queue(
  log: Probe<typeof Log.messages>,
  passed: Promise<void>,
  options: QueueOptions = {},
  tickMs?: number,
) {
  return actor(Queue, { ...options, own }, (ctx) => {
    const line = (text: string): void => void ctx.tell(log.ref, { type: 'line', text })
    if (tickMs !== undefined) ctx.timers.every('tick', tickMs, { type: 'tick' })
    return {
      hold: () => passed,
      note: ({ text }) => line(text),
      urgent: ({ text }) => line(`urgent ${text}`),
      lazy: ({ text }) => line(`lazy ${text}`),
      question: ({ text }) => {
        line(text)
        return text
      },
      tick: () => line('tick'),
      silence: () => line('silence'),
    }
  })
}

function lines(log: Probe<typeof Log.messages>): readonly string[] {
  return log.received.map(({ text }) => text)
}

async function held(
  t: Parameters<typeof onStage>[0],
  options: QueueOptions,
  play: (scene: {
    readonly system: TestSystem
    readonly log: Probe<typeof Log.messages>
    readonly ref: ReturnType<TestSystem['spawn']> & Probe<typeof Queue.messages>['ref']
    readonly open: () => void
  }) => Promise<void>,
  tickMs?: number,
): Promise<void> {
  await onStage(t, undefined, async (system) => {
    const log = probe(system, Log)
    const { passed, open } = gate()
    const ref = system.spawn('queue', queue(log, passed, options, tickMs))
    ref.tell({ type: 'hold' })
    await system.platform.settle()
    await play({ system, log, ref: ref as never, open: () => open() })
  })
}

void test('S10.1 the user lane is unbounded by default, with a warning at 1,000 and at each doubling', async (t) => {
  await held(t, {}, async ({ system, log, ref, open }) => {
    for (let i = 0; i < 4_500; i++) ref.tell({ type: 'note', text: String(i) })
    t.same(
      logged(system, 'warn'),
      [1_000, 2_000, 4_000].map((depth) => `${depth} messages wait in the mailbox of /user/queue`),
    )
    open()
    await system.platform.settle()
    t.equal(log.received.length, 4_500)
    t.equal(lines(log)[4_499], '4499', 'in order')
  })
})

void test('S10.1 overflow "reject" and "drop-new" refuse the new message and say so', async (t) => {
  for (const overflow of ['reject', 'drop-new'] as const) {
    await held(t, { mailbox: { messagesMax: 2, overflow } }, async ({ system, log, ref, open }) => {
      const letters = heard(system, 'dead-letter')
      const taken = ['1', '2', '3'].map((text) => ref.tell({ type: 'note', text }))
      t.same(taken, [true, true, false], overflow)
      await t.rejects(ref.ask({ type: 'question', text: 'q' }), {
        code: 'RUNTIME_MAILBOX_FULL',
        message: 'Cannot ask "question" to /user/queue: its mailbox is full (2)',
      })
      t.same(
        letters.map(({ reason }) => reason),
        ['overflow', 'overflow'],
      )
      open()
      await system.platform.settle()
      t.same(lines(log), ['1', '2'])
    })
  }
})

void test('S10.1 overflow "drop-old" drops the oldest; an ask that it drops fails typed', async (t) => {
  await held(t, { mailbox: { messagesMax: 2, overflow: 'drop-old' } }, async ({ system, log, ref, open }) => {
    const letters = heard(system, 'dead-letter')
    const question = watched(ref.ask({ type: 'question', text: 'q' }))
    const taken = ['1', '2', '3'].map((text) => ref.tell({ type: 'note', text }))
    t.same(taken, [true, true, true])
    await system.platform.settle()
    t.equal(watchedCode(question), 'RUNTIME_MAILBOX_FULL')
    t.same(
      letters.map(({ reason, message }) => [reason, message]),
      [
        ['overflow', { type: 'question', text: 'q' }],
        ['overflow', { type: 'note', text: '1' }],
      ],
    )
    open()
    await system.platform.settle()
    t.same(lines(log), ['2', '3'])
  })
})

void test('S10.1 ticks count against the bound: one that finds no room is a dead letter, and the timer goes on', async (t) => {
  for (const overflow of ['reject', 'drop-old'] as const) {
    await held(
      t,
      { mailbox: { messagesMax: 2, overflow } },
      async ({ system, log, ref, open }) => {
        const letters = heard(system, 'dead-letter')
        const dropped = (): readonly string[] => letters.map(({ message }) => message.type)
        for (const text of ['1', '2']) ref.tell({ type: 'note', text })
        await system.platform.advance(10)
        t.same(dropped(), [overflow === 'reject' ? 'tick' : 'note'], overflow)
        if (overflow === 'drop-old') for (const text of ['3', '4', '5']) ref.tell({ type: 'note', text })
        t.ok(dropped().includes('tick'), 'dropped for a newer message, or because there was no room')
        open()
        await system.platform.advance(30)
        t.ok(lines(log).filter((line) => line === 'tick').length >= 2, 'it ticks again once there is room')
        await system.stop(ref)
      },
      10,
    )
  }
})

void test('S10.1 a receive timeout that found no room fires again later', async (t) => {
  await onStage(t, undefined, async (system) => {
    const told: number[] = []
    const { passed, open } = gate()
    const ref = system.spawn(
      'a',
      puppet(
        {
          begin: (ctx) => ctx.setReceiveTimeout(50, { type: 'self', step: 'silence' }),
          silence: (ctx) => void told.push(ctx.now()),
          hold: () => passed,
          end: (ctx) => ctx.setReceiveTimeout(undefined),
        },
        { mailbox: { messagesMax: 1 } },
      ),
    )
    ref.tell({ type: 'do', step: 'begin' })
    await system.platform.advance(120)
    t.same(told, [50, 100], 'again and again while nothing comes')
    ref.tell({ type: 'do', step: 'hold' })
    await system.platform.settle()
    ref.tell({ type: 'do', step: 'hold' })
    await system.platform.advance(200)
    t.same(told, [50, 100], 'an actor at work is not silent')
    open()
    await system.platform.advance(50)
    t.equal(told.length, 3)
    ref.tell({ type: 'do', step: 'end' })
    await system.platform.advance(500)
    t.equal(told.length, 3)
  })
})

void test('S10.1 unstashed messages go to the head in their order and count against the bound', async (t) => {
  const seen: string[] = []
  const Door = protocol('door', {
    open: tell(),
    knock: tell({ who: Type.String() }),
    ring: ask({ who: Type.String() }, Type.String()),
  })
  const door = actor(Door, { stashMax: 3, mailbox: { messagesMax: 4 } }, (ctx) => {
    const opened = {
      open: () => undefined,
      knock: ({ who }: { readonly who: string }) => void seen.push(who),
      ring: ({ who }: { readonly who: string }) => {
        seen.push(who)
        return who
      },
    }
    return {
      open: () => {
        ctx.become(opened)
        ctx.unstashAll()
      },
      knock: () => ctx.stash(),
      ring: () => ctx.stash(),
    }
  })
  await onStage(t, undefined, async (system) => {
    const letters = heard(system, 'dead-letter')
    const ref = system.spawn('door', door)
    const ringing = ref.ask({ type: 'ring', who: 'ann' })
    for (const who of ['bob', 'cid']) ref.tell({ type: 'knock', who })
    const refused = watched(ref.ask({ type: 'ring', who: 'dan' }))
    await system.platform.settle()
    t.equal(
      watchedCode(refused),
      'RUNTIME_MAILBOX_FULL',
      'the stash has a bound, and an ask that it refuses fails typed',
    )
    ref.tell({ type: 'open' })
    for (const who of ['eve', 'fay', 'gus']) ref.tell({ type: 'knock', who })
    t.equal(await ringing, 'ann', 'a stashed ask is answered')
    await system.platform.settle()
    t.same(seen, ['ann', 'bob', 'cid', 'eve'])
    t.same(
      letters.map(({ reason, message }) => [reason, (message as { readonly who?: string }).who]),
      [
        ['stash-overflow', 'dan'],
        ['overflow', 'fay'],
        ['overflow', 'gus'],
      ],
    )
  })
})

void test('S10.1 become gives other handlers from the next message on, until the restart', async (t) => {
  const Mood = protocol('mood', { change: tell(), say: ask(Type.String()), crash: tell() })
  const mood = actor(Mood, (ctx) => {
    const crash = (): void => {
      throw new Error('down')
    }
    const glum = { change: () => undefined, say: () => 'glum', crash }
    return { change: () => ctx.become(glum), say: () => 'glad', crash }
  })
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', mood)
    t.equal(await ref.ask({ type: 'say' }), 'glad')
    ref.tell({ type: 'change' })
    t.equal(await ref.ask({ type: 'say' }), 'glum')
    ref.tell({ type: 'crash' })
    t.equal(await ref.ask({ type: 'say' }), 'glad')
  })
})

void test('S10.1 become with a handler missing crashes the actor and says which', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const ref = system.spawn('a', puppet({ change: (ctx) => ctx.become({ do: () => undefined } as never) }))
    ref.tell({ type: 'do', step: 'change' })
    await system.platform.settle()
    t.match(restarted[0]?.error?.message, /returned no handler for "ask"/)
  })
})

void test('S10.1 a priority mailbox is stable within a priority, bounded or not', async (t) => {
  const priority = { urgent: 10, lazy: -1 }
  await held(t, { priority }, async ({ system, log, ref, open }) => {
    const send = (type: 'urgent' | 'note' | 'lazy', text: string): boolean => ref.tell({ type, text })
    send('lazy', '1')
    send('note', '2')
    send('urgent', '3')
    send('lazy', '4')
    send('urgent', '5')
    send('note', '6')
    open()
    await system.platform.settle()
    t.same(lines(log), ['urgent 3', 'urgent 5', '2', '6', 'lazy 1', 'lazy 4'])
  })
  const mailbox = { messagesMax: 4, overflow: 'drop-old' } as const
  await held(t, { priority, mailbox }, async ({ system, log, ref, open }) => {
    const send = (type: 'urgent' | 'note' | 'lazy', text: string): boolean => ref.tell({ type, text })
    send('lazy', '1')
    send('lazy', '2')
    send('urgent', '3')
    send('note', '4')
    send('note', '5')
    send('urgent', '6')
    send('lazy', '7')
    send('urgent', '8')
    open()
    await system.platform.settle()
    t.same(lines(log), ['urgent 3', 'urgent 6', 'urgent 8', '5'], 'the oldest of the least urgent goes first')
  })
})

void test('S10.1 drop-old keeps the order behind what it may not drop, with priorities too', async (t) => {
  const Friend = protocol('friend', {})
  await onStage(t, undefined, async (system) => {
    const seen: string[] = []
    const { passed, open } = gate()
    const friend = system.spawn(
      'friend',
      actor(Friend, () => ({})),
    )
    const options = {
      own: { gone: tell() },
      priority: { urgent: 1 },
      mailbox: { messagesMax: 2, overflow: 'drop-old' },
    } as const
    const ref = system.spawn(
      'queue',
      actor(Queue, options, (ctx) => {
        ctx.watch(friend, () => ({ type: 'gone' }))
        return {
          hold: () => passed,
          note: ({ text }) => void seen.push(text),
          urgent: ({ text }) => void seen.push(text),
          lazy: () => undefined,
          question: () => '',
          gone: () => void seen.push('gone'),
        }
      }),
    )
    ref.tell({ type: 'hold' })
    await system.platform.settle()
    await system.stop(friend)
    for (const text of ['1', '2', '3']) ref.tell({ type: 'note', text })
    ref.tell({ type: 'urgent', text: 'first' })
    open()
    await system.platform.settle()
    t.same(seen, ['first', 'gone'])
    ref.tell({ type: 'note', text: '4' })
    await system.platform.settle()
    t.same(seen.slice(2), ['4'])
  })
})

void test('S10.2 room resolves below the low-water mark, for all who wait', async (t) => {
  await held(t, { mailbox: { messagesMax: 10, lowWater: 3 } }, async ({ system, ref, open }) => {
    for (let i = 0; i < 2; i++) ref.tell({ type: 'note', text: 'x' })
    await ref.room()
    ref.tell({ type: 'note', text: 'x' })
    const waits = [ref.room(), system.ref(Queue, '/user/queue').room()].map((promise) => watched(promise))
    await system.platform.settle()
    t.same(
      waits.map(({ state }) => state),
      ['open', 'open'],
    )
    open()
    await system.platform.settle()
    t.same(
      waits.map(({ state }) => state),
      ['resolved', 'resolved'],
    )
  })
})

void test('S10.2 room stays shut as long as the low-water mark is not reached', async (t) => {
  await onStage(t, undefined, async (system) => {
    const gates = [gate(), gate(), gate()]
    let next = 0
    const ref = system.spawn(
      'a',
      puppet({ hold: () => gates[next++]?.passed }, { mailbox: { messagesMax: 9, lowWater: 2 } }),
    )
    for (let i = 0; i < 4; i++) ref.tell({ type: 'do', step: 'hold' })
    await system.platform.settle()
    const room = watched(ref.room())
    gates[0]?.open()
    await system.platform.settle()
    t.equal(room.state, 'open', 'two wait')
    gates[1]?.open()
    await system.platform.settle()
    t.equal(room.state, 'resolved', 'one waits')
    gates[2]?.open()
  })
})

void test('S10.2 room rejects when the actor stops, is gone or never was, and when it is aborted', async (t) => {
  await held(t, { mailbox: { messagesMax: 1 } }, async ({ system, ref, open }) => {
    ref.tell({ type: 'note', text: 'x' })
    const controller = new AbortController()
    const aborted = watched(ref.room({ signal: controller.signal }))
    const waiting = watched(ref.room())
    controller.abort()
    await system.platform.settle()
    t.equal(watchedCode(aborted), 'RUNTIME_ABORTED')
    t.equal(watchedCode(waiting), 'open', 'of the others nobody is disturbed')
    t.equal(await codeOf(ref.room({ signal: controller.signal })), 'RUNTIME_ABORTED')
    open()
    const { passed, open: openAgain } = gate()
    const other = system.spawn('other', puppet({ hold: () => passed }, { mailbox: { messagesMax: 1 } }))
    other.tell({ type: 'do', step: 'hold' })
    await system.platform.settle()
    other.tell({ type: 'do', step: 'hold' })
    const stopped = watched(other.room())
    openAgain()
    await system.stop(other, 'kill')
    await system.platform.settle()
    t.equal(watchedCode(stopped), 'RUNTIME_ACTOR_STOPPED')
    t.equal(await codeOf(other.room()), 'RUNTIME_ACTOR_STOPPED')
    t.equal(await codeOf(system.ref(Queue, '/user/nobody').room()), 'RUNTIME_NO_SUCH_ACTOR')
  })
})

void test('S10.3 a message type that crashes one actor three times within the window is named', async (t) => {
  const crash = (): never => {
    throw new Error('down')
  }
  const script = { crash, fine: () => undefined }
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const ref = system.spawn('a', puppet(script))
    for (const step of ['crash', 'fine', 'crash', 'fine', 'crash']) ref.tell({ type: 'do', step })
    await system.platform.settle()
    t.same(
      restarted.map(({ messageType, sameMessage }) => [messageType, sameMessage]),
      [
        ['do', 1],
        ['do', 2],
        ['do', 3],
      ],
      'what it handled in between changes nothing',
    )
    const lines = system.platform.logged.filter(({ level }) => level === 'error')
    t.match(lines[2]?.fields, { poison: 'do', crashes: 3 })
    t.match(lines[2]?.message, /; "do" crashed it 3 times within the window$/)
    t.notMatch(lines[1]?.fields, { poison: 'do' })
  })
})

void test('S10.3 crashes outside the window, of another type or of another actor, do not add up', async (t) => {
  const crash = (): never => {
    throw new Error('down')
  }
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const [a, b] = ['a', 'b'].map((name) => system.spawn(name, puppet({ crash })))
    for (let i = 0; i < 4; i++) {
      a?.tell({ type: 'do', step: 'crash' })
      await system.platform.advance(5_001)
    }
    t.same(
      restarted.map(({ sameMessage }) => sameMessage),
      [1, 1, 1, 1],
    )
    void codeOf((a as NonNullable<typeof a>).ask({ type: 'ask', step: 'crash' }))
    a?.tell({ type: 'do', step: 'crash' })
    b?.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    t.same(
      restarted.slice(4).map(({ path, messageType, sameMessage }) => [path, messageType, sameMessage]),
      [
        ['/user/a', 'ask', 1],
        ['/user/b', 'do', 1],
        ['/user/a', 'do', 1],
      ],
    )
  })
})
