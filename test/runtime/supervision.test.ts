/** SupervisorCore and its arithmetic, without any actor: transcripts, tables, and properties. */
import { child, supervisor, type AnyDefinition, type Backoff, type StopMode } from '@understudy/runtime'
import { testSystem } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { readdirSync } from 'node:fs'
import { test } from 'tap'
import { living, Puppet, puppet, watched, type PuppetContext, type Watched } from '../support/runtime.ts'
import { sourceModule } from '../support/source-module.ts'
import { runTranscript, type RunCommand } from '../support/transcript.ts'

type CoreModule = typeof import('../../packages/runtime/src/supervision/supervisor-core.ts')
type Core = InstanceType<CoreModule['SupervisorCore']>
type Effect = import('../../packages/runtime/src/supervision/supervisor-core.ts').SupervisorEffect
type Input = import('../../packages/runtime/src/supervision/supervisor-core.ts').SupervisorInput
type Policy = import('../../packages/runtime/src/actor/child-spec.ts').ChildPolicy
type RestartType = import('../../packages/runtime/src/actor/child-spec.ts').RestartType
type Strategy = import('../../packages/runtime/src/actor/child-spec.ts').Strategy

const { decide, SupervisorCore } = await sourceModule<CoreModule>('runtime', 'supervision/supervisor-core')
const { RestartWindow } = await sourceModule<
  typeof import('../../packages/runtime/src/supervision/restart-window.ts')
>('runtime', 'supervision/restart-window')
const { backoffDelayMs } = await sourceModule<
  typeof import('../../packages/runtime/src/supervision/backoff.ts')
>('runtime', 'supervision/backoff')
const { childPolicy } = await sourceModule<typeof import('../../packages/runtime/src/actor/child-spec.ts')>(
  'runtime',
  'actor/child-spec',
)

/** Errors by the decision that the transcripts' children take on them. */
const onError: Policy['onError'] = [
  ['stop', 'stop'],
  ['escalate', 'escalate'],
  ['backoff', { minMs: 500, maxMs: 500, jitter: 0 }],
]

const folder = new URL('../../transcripts/supervision/', import.meta.url)
for (const name of readdirSync(folder).sort()) {
  void test(`SupervisorCore transcript ${name}`, (t) => {
    const { found, wanted } = runTranscript(new URL(name, folder), supervisionCommands())
    t.equal(found, wanted)
    t.end()
  })
}

/**
 * Commands; times are milliseconds:
 *   supervisor STRATEGY N in MS [per child]         makes a core; N restarts within MS
 *   child NAME TYPE [backoff MIN..MAX]              adds a child, in start order; no jitter
 *   AT failed NAME [stop|escalate|backoff]          it crashed, or failed to start, with an error of that class
 *   AT left|suspended|started|ended|delay-over NAME
 *   status
 */
function supervisionCommands(): RunCommand {
  let core: Core | undefined
  let children: { readonly name: string; readonly policy: Policy }[] = []
  return (command) => {
    const [first = '', second = '', third = '', fourth = '', fifth = '', , last = ''] = command.split(/\s+/)
    if (first === 'supervisor') {
      const per = last === 'child' ? 'child' : 'supervisor'
      core = new SupervisorCore(second as Strategy, { restarts: Number(third), withinMs: Number(fifth), per })
      children = []
      return []
    }
    if (first === 'child') {
      const [minMs, maxMs] = fifth.split('..').map(Number)
      const backoff = fourth === 'backoff' ? { minMs: minMs ?? 0, maxMs: maxMs ?? 0, jitter: 0 } : undefined
      children.push({
        name: second,
        policy: childPolicy({ restart: third as RestartType, backoff, onError }, 'permanent'),
      })
      return []
    }
    if (core === undefined) throw new Error('no supervisor')
    if (first === 'status') {
      const { group, inTrouble } = core.status()
      return [`in trouble: ${inTrouble.join(' ') || 'nobody'}; group: ${group.join(' ') || 'none'}`]
    }
    const input = inputOf(second, third, fourth, children)
    if (second === 'ended') children = children.filter(({ name }) => name !== third)
    return core.step(input, Number(first)).map((effect) => `@${first} ${printed(effect)}`)
  }
}

function inputOf(
  type: string,
  child: string,
  code: string,
  children: readonly { readonly name: string; readonly policy: Policy }[],
): Input {
  const policy = children.find(({ name }) => name === child)?.policy
  if (policy === undefined) throw new Error(`no child "${child}"`)
  const siblings = children.map(({ name, policy: { restart } }) => ({ name, restart }))
  switch (type) {
    case 'failed':
      return { type, child, policy, siblings, error: Object.assign(new Error('boom'), { code }), chance: 0.5 }
    case 'left':
      return { type, child, policy, siblings, chance: 0.5 }
    case 'suspended':
    case 'started':
    case 'ended':
    case 'delay-over':
      return { type, child }
    default:
      throw new Error(`no input "${type}"`)
  }
}

function printed(effect: Effect): string {
  switch (effect.type) {
    case 'restarting':
      return `restarting ${effect.child}: ${effect.count} of ${effect.limit}, delay ${effect.delayMs}`
    case 'delay':
      return `delay ${effect.child} ${effect.delayMs}`
    case 'fail':
      return `fail (${effect.because}) history ${effect.history.join(' ') || 'none'}`
    default:
      return `${effect.type} ${effect.child}`
  }
}

void test('RestartWindow.add: bears `restarts` within a sliding window, and keeps no more than it needs', (t) => {
  // Each row: restarts, withinMs, times, and which of them are borne.
  const table: readonly (readonly [number, number, readonly number[], string])[] = [
    [3, 5_000, [0, 1, 2, 3], 'yyyn'],
    [3, 5_000, [0, 1, 2, 5_001], 'yyyy'],
    [1, 1_000, [0, 1_000, 2_001, 3_002], 'ynyy'],
    [2, 1_000, [0, 900, 1_001, 1_901, 1_950], 'yyyyn'],
    [0, 1_000, [0, 5_000], 'nn'],
    [Number.POSITIVE_INFINITY, 1, [0, 0, 0, 0, 0], 'yyyyy'],
  ]
  for (const [restarts, withinMs, times, wanted] of table) {
    const window = new RestartWindow(restarts, withinMs)
    t.equal(
      times.map((atMs) => (window.add(atMs) ? 'y' : 'n')).join(''),
      wanted,
      `${restarts} in ${withinMs}`,
    )
    t.ok(window.history.length <= (restarts === Number.POSITIVE_INFINITY ? 0 : restarts + 1))
  }
  t.end()
})

void test('RestartWindow.add agrees with counting the times within the window', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 1, max: 100 }),
      fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 40 }),
      (restarts, withinMs, gaps) => {
        const window = new RestartWindow(restarts, withinMs)
        const times: number[] = []
        let nowMs = 0
        for (const gap of gaps) {
          nowMs += gap
          times.push(nowMs)
          const within = times.filter((atMs) => atMs >= nowMs - withinMs).length
          if (window.add(nowMs) !== within <= restarts) return false
          if (window.count !== within) return false
        }
        return true
      },
    ),
  )
  t.end()
})

void test('backoffDelayMs: doubles up to maxMs, and chance moves it by at most the jitter', (t) => {
  const backoff = { minMs: 100, maxMs: 1_000, jitter: 0.2 }
  const delays = (chance: number) =>
    [0, 1, 2, 3, 4, 5].map((attempt) => Math.round(backoffDelayMs(backoff, attempt, chance)))
  t.same(delays(0.5), [100, 200, 400, 800, 1_000, 1_000])
  t.same(delays(0), [80, 160, 320, 640, 800, 800])
  t.same(delays(1), [120, 240, 480, 960, 1_200, 1_200])
  t.equal(backoffDelayMs({ minMs: 1, maxMs: 1e9, jitter: 0 }, 100_000, 0.5), 1e9, 'no overflow')
  t.equal(backoffDelayMs({ minMs: 50, maxMs: 50 }, 0, 1), 60, 'the default jitter is 0.2')
  t.end()
})

void test('decide: the first rule that fits; codes, classes, and what a failed start was caused by', (t) => {
  class Special extends Error {}
  const policy = childPolicy(
    {
      onError: [
        ['E_ONE', 'stop'],
        [Special, 'escalate'],
        [TypeError, { minMs: 1, maxMs: 2 }],
      ],
    },
    'permanent',
  )
  t.equal(decide(policy, Object.assign(new Error('x'), { code: 'E_ONE' })), 'stop')
  t.equal(decide(policy, Object.assign(new Special('x'), { code: 'E_ONE' })), 'stop')
  t.equal(decide(policy, new Special('x')), 'escalate')
  t.same(decide(policy, new TypeError('x')), { minMs: 1, maxMs: 2 })
  t.equal(decide(policy, new Error('x')), 'restart')
  t.equal(decide(policy, undefined), 'restart')
  t.end()
})

/** A child as the property test's shell sees it. */
interface ModelChild {
  readonly name: string
  readonly policy: Policy
  state: 'up' | 'crashed' | 'suspending' | 'suspended' | 'delayed' | 'starting' | 'stopping' | 'ended'
}

/** Carries out effects as the shell does, with answers that come in whatever order chance says. */
class Model {
  readonly children: ModelChild[]
  readonly #core: Core
  readonly #grouped: boolean
  nowMs = 0
  hasFailed = false
  /** Names in the order of start effects since the last suspension. */
  started: string[] = []
  problem: string | undefined

  constructor(strategy: Strategy, restarts: readonly RestartType[]) {
    this.#grouped = strategy !== 'one-for-one'
    this.#core = new SupervisorCore(strategy, { restarts: 6, withinMs: 50, per: 'supervisor' })
    this.children = restarts.map((restart, index) => ({
      name: `c${index}`,
      policy: childPolicy(
        { restart, backoff: index % 2 === 0 ? { minMs: 5, maxMs: 20 } : undefined, onError },
        'permanent',
      ),
      state: 'up',
    }))
  }

  /** What may happen next, in start order. */
  choices(): { readonly child: ModelChild; readonly what: 'crash' | 'leave' | 'end' | 'answer' }[] {
    if (this.hasFailed) return []
    return this.children.flatMap((child) => {
      const at = (...whats: ('crash' | 'leave' | 'end' | 'answer')[]) =>
        whats.map((what) => ({ child, what }))
      switch (child.state) {
        case 'up':
          return child.policy.restart === 'permanent' ? at('crash', 'leave', 'end') : at('crash', 'end')
        case 'suspending':
        case 'stopping':
          return at('answer')
        case 'starting':
          return at('answer', 'crash', 'end')
        case 'delayed':
          return at('answer', 'end')
        case 'suspended':
          return at('end')
        default:
          return []
      }
    })
  }

  happen(child: ModelChild, what: 'crash' | 'leave' | 'end' | 'answer', code: string): void {
    const siblings = this.children
      .filter(({ state }) => state !== 'ended' && state !== 'stopping')
      .map(({ name, policy: { restart } }) => ({ name, restart }))
    const { name, policy } = child
    const about = { child: name, policy, siblings, chance: 0.5 }
    if (what === 'crash') {
      child.state = 'crashed'
      this.#step({ type: 'failed', error: Object.assign(new Error('x'), { code }), ...about })
    } else if (what === 'leave') {
      child.state = 'crashed'
      this.#step({ type: 'left', ...about })
    } else if (what === 'end' || child.state === 'stopping') {
      child.state = 'ended'
      this.#step({ type: 'ended', child: name })
    } else if (child.state === 'suspending') {
      child.state = 'suspended'
      this.#step({ type: 'suspended', child: name })
    } else if (child.state === 'starting') {
      child.state = 'up'
      this.#step({ type: 'started', child: name })
    } else {
      child.state = 'suspended'
      this.#step({ type: 'delay-over', child: name })
    }
  }

  #step(input: Input): void {
    for (const effect of this.#core.step(input, this.nowMs)) this.#carryOut(effect)
  }

  #carryOut(effect: Effect): void {
    if (effect.type === 'fail') {
      this.hasFailed = true
      return
    }
    const child = this.children.find(({ name }) => name === effect.child)
    if (child === undefined || child.state === 'ended' || child.state === 'stopping') return
    switch (effect.type) {
      case 'suspend':
        if (child.state === 'suspending') return
        // What is down already, or waits, says so at once, as a cell does.
        if (child.state === 'suspended' || child.state === 'delayed') {
          child.state = 'suspended'
          this.#step({ type: 'suspended', child: child.name })
        } else child.state = 'suspending'
        this.started = []
        return
      case 'start':
        if (child.state !== 'suspended') this.problem ??= `started ${child.name} when it was ${child.state}`
        child.state = 'starting'
        this.started.push(child.name)
        if (this.#grouped && this.started.join() !== [...this.started].sort().join()) {
          this.problem ??= `started in the order ${this.started.join()}`
        }
        return
      case 'stop':
      case 'end':
        child.state = 'stopping'
        return
      case 'delay':
        if (child.state !== 'suspended') this.problem ??= `delays ${child.name} when it was ${child.state}`
        child.state = 'delayed'
        return
      case 'restarting':
      case 'joined':
        return
      default:
        effect satisfies never
    }
  }
}

void test('SupervisorCore: whatever order things happen in, nobody starts before it is down, or is left between', (t) => {
  const restart = fc.constantFrom<RestartType>('permanent', 'transient', 'temporary')
  fc.assert(
    fc.property(
      fc.constantFrom<Strategy>('one-for-one', 'one-for-all', 'rest-for-one'),
      fc.array(restart, { minLength: 1, maxLength: 5 }),
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 8 }), fc.constantFrom('', '', '', 'stop', 'backoff')), {
        maxLength: 60,
      }),
      (strategy, restarts, moves) => {
        const model = new Model(strategy, restarts)
        for (const [pick, waitMs, code] of moves) {
          model.nowMs += waitMs
          const choices = model.choices()
          const choice = choices[pick % Math.max(choices.length, 1)]
          if (choice === undefined) break
          model.happen(choice.child, choice.what, code)
        }
        // Now everything that is owed is answered, and nothing more goes wrong.
        for (let rounds = 0; rounds < 200 && !model.hasFailed; rounds++) {
          const owed = model.choices().find(({ what }) => what === 'answer')
          if (owed === undefined) break
          model.happen(owed.child, 'answer', '')
        }
        const stuck = model.children.filter(({ state }) => state !== 'up' && state !== 'ended')
        if (!model.hasFailed && stuck.length > 0) {
          model.problem ??= `left: ${stuck.map(({ name, state }) => `${name} ${state}`).join(', ')}`
        }
        if (model.problem !== undefined) throw new Error(model.problem)
      },
    ),
    { numRuns: 2_000 },
  )
  t.end()
})

// ---- Whole systems ---------------------------------------------------------------------------------------------

interface Tree {
  readonly strategy: Strategy
  readonly restarts: number
  readonly per: 'supervisor' | 'child'
  readonly kids: readonly Kid[]
}

interface Kid {
  readonly restart: RestartType
  readonly backoff: Backoff | undefined
  readonly escalates: boolean
  readonly setup: 'plain' | 'late' | 'hangs at times'
  readonly goodbye: 'none' | 'plain' | 'late' | 'hangs'
  readonly inner: Tree | undefined
}

interface Move {
  readonly who: number
  readonly what: string
  readonly waitMs: number
}

const { tree } = fc.letrec<{ tree: Tree; kid: Kid }>((tie) => ({
  tree: fc.record({
    strategy: fc.constantFrom<Strategy>('one-for-one', 'one-for-all', 'rest-for-one'),
    restarts: fc.constantFrom(1, 3, 8),
    per: fc.constantFrom('supervisor' as const, 'child' as const),
    kids: fc.array(tie('kid'), { minLength: 1, maxLength: 3 }),
  }),
  kid: fc.record({
    restart: fc.constantFrom<RestartType>('permanent', 'transient', 'temporary'),
    backoff: fc.option(fc.constant({ minMs: 20, maxMs: 200 }), { nil: undefined }),
    escalates: fc.boolean(),
    setup: fc.constantFrom('plain' as const, 'late' as const, 'hangs at times' as const),
    goodbye: fc.constantFrom('none' as const, 'plain' as const, 'late' as const, 'hangs' as const),
    inner: fc.option(tie('tree'), { nil: undefined, maxDepth: 2 }),
  }),
}))

const moves = fc.array(
  fc.record({
    who: fc.nat(),
    what: fc.constantFrom(
      'work',
      'boom',
      'late boom',
      'fatal',
      'hang',
      'leave',
      'leave and boom',
      'drain',
      'die',
      'spawn',
      'ask others',
      'stash',
      'fail starts',
      'stop',
      'drained',
      'kill',
    ),
    waitMs: fc.constantFrom(0, 0, 0, 1, 30, 1_000),
  }),
  { minLength: 1, maxLength: 25 },
)

const never = (): Promise<void> => new Promise<void>(() => undefined)
const tick = (): Promise<void> => Promise.resolve()

/** What the actors of one run share: how many of the next starts fail. */
interface Fate {
  failingStarts: number
  starts: number
}

function build(spec: Tree, name: string, fate: Fate): AnyDefinition {
  const { kids, per, restarts, strategy } = spec
  const children = kids.map(({ backoff, escalates, goodbye, inner, restart, setup }, index) => {
    const definition =
      inner === undefined
        ? leaf(setup, goodbye, fate)
        : (build(inner, `${name}-${index}`, fate) as ReturnType<typeof puppet>)
    const onError: Policy['onError'] = escalates ? [['E_FATAL', 'escalate']] : []
    return child(`k${index}`, definition, { restart, backoff, onError, shutdownMs: 500 })
  })
  return supervisor(
    { name, strategy, intensity: { restarts, withinMs: 2_000, per } },
    children,
  ) as unknown as AnyDefinition
}

function leaf(setup: Kid['setup'], goodbye: Kid['goodbye'], fate: Fate): ReturnType<typeof puppet> {
  const fail = (): never => {
    throw new Error('boom')
  }
  const start = (ctx: PuppetContext): void | Promise<void> => {
    fate.starts++
    if (goodbye === 'plain') ctx.defer(() => undefined)
    if (goodbye === 'late') ctx.defer(tick)
    if (goodbye === 'hangs' && fate.starts % 2 === 0) ctx.defer(never)
    const fails = fate.failingStarts > 0
    if (fails) fate.failingStarts--
    if (setup === 'plain' && fails) fail()
    if (setup === 'plain') return undefined
    if (setup === 'hangs at times' && fails) return never()
    return tick().then(() => (fails ? fail() : undefined))
  }
  return puppet(
    {
      work: () => 1,
      boom: fail,
      'late boom': () => tick().then(fail),
      fatal: () => {
        throw Object.assign(new Error('fatal'), { code: 'E_FATAL' })
      },
      hang: never,
      leave: (ctx) => ctx.stop(),
      'leave and boom': (ctx) => {
        ctx.stop()
        fail()
      },
      drain: (ctx) => ctx.stop(undefined, 'drain'),
      die: (ctx) => ctx.stop(undefined, 'kill'),
      spawn: (ctx) => {
        if (ctx.child(Puppet, 'extra') === undefined)
          ctx.spawn('extra', leaf(setup, goodbye, fate), { shutdownMs: 100 })
      },
      'ask others': (ctx) => ctx.ask(ctx.ref(Puppet, '/user/k0'), { type: 'ask', step: 'ask others' }),
      stash: (ctx) => ctx.stash(),
    },
    { setup: start, handlerTimeoutMs: 300 },
  )
}

async function playOut(spec: Tree, play: readonly Move[]): Promise<void> {
  const fate = { failingStarts: 0, starts: 0 }
  const system = await testSystem(build(spec, 'root', fate))
  const { platform } = system
  const asks: Watched<unknown>[] = []
  const stops: Watched<void>[] = []
  for (const { what, waitMs, who } of play) {
    const paths = living(system).map((line) => line.split(' ')[0] ?? '')
    const path = paths[who % Math.max(paths.length, 1)] ?? '/user/k0'
    const ref = system.ref(Puppet, path)
    const modes: Readonly<Record<string, StopMode>> = { stop: 'stop', drained: 'drain', kill: 'kill' }
    const mode = modes[what]
    if (mode !== undefined) stops.push(watched(system.stop(ref, mode)))
    else if (what === 'fail starts') fate.failingStarts = 1 + (who % 3)
    // A supervisor takes no messages: such an ask is refused, and must be settled all the same.
    else asks.push(watched(ref.ask({ type: 'ask', step: what }, { timeoutMs: 1_000 })))
    if (waitMs > 0) await platform.advance(waitMs)
    else if (who % 2 === 0) await platform.settle()
  }
  fate.failingStarts = 0
  await platform.advance(30_000)
  const between = living(system).filter((line) => !line.includes(' running#'))
  if (between.length > 0) throw new Error(`neither up nor gone: ${between.join(', ')}`)
  if (asks.some(({ state }) => state === 'open')) throw new Error('an ask was never settled')
  if (stops.some(({ state }) => state === 'open')) throw new Error('a stop never ended')
  if (platform.exits.length > 0 && living(system).length > 0)
    throw new Error('the root failed and actors live on')
  await system[Symbol.asyncDispose]()
  const { ended, spawned } = system.status().counters
  if (spawned !== ended) throw new Error(`${spawned} spawned, ${ended} ended`)
  if (platform.pendingTimers() > 0 || platform.holds() > 0) throw new Error('something was left armed')
}

void test('supervision: random trees under random crashes, stops and restarts: no zombie, no ask or stop left open', async (t) => {
  await fc.assert(fc.asyncProperty(tree, moves, playOut), { numRuns: 150, interruptAfterTimeLimit: 2_500 })
  t.end()
})
