/** Watches between nodes: exactly one notice each, behind the last word, for a reason, whoever handed out the ref. */
import {
  actor,
  ask,
  protocol,
  refOf,
  tell,
  type AnyActorRef,
  type AnyDefinition,
  type EndReason,
} from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { threeNodeFaults } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { WatchLedger, type TargetLife, type Watch } from './watch-ledger.ts'
import type { Boot } from './witness.ts'

const Listener = protocol('watch-listener', { word: tell({ target: Type.Integer(), n: Type.Integer() }) })
const Target = protocol('watch-target', {
  talk: tell({ to: refOf(Listener), words: Type.Integer() }),
  /** Speaks its last words, then ends. */
  end: tell({ how: Type.String(), to: refOf(Listener) }),
})
/** Keeps targets as children, and knows refs to those of others. */
const Nursery = protocol('watch-nursery', {
  spawn: tell({ isPermanent: Type.Boolean() }),
  learn: tell({ ref: refOf(Target) }),
  pick: ask({ which: Type.Integer() }, Type.Union([refOf(Target), Type.Null()])),
  stop: tell({ which: Type.Integer() }),
  hello: ask(Type.Null()),
})
const Watcher = protocol('watch-watcher', {
  word: tell({ target: Type.Integer(), n: Type.Integer() }),
  /** Gets a ref from the nursery of `from`, and watches. */
  watch: tell({ from: Type.String(), which: Type.Integer(), isUnbound: Type.Boolean() }),
  unwatch: tell({ which: Type.Integer() }),
  /** Makes one that is watched speak, and end. */
  provoke: tell({ which: Type.Integer(), how: Type.String() }),
  /** Tells the nursery of `to` of one that is watched. */
  pass: tell({ which: Type.Integer(), to: Type.String() }),
  crash: tell(),
})
const ownOfWatcher = {
  picked: tell({ ref: Type.Any(), isUnbound: Type.Boolean(), isBorrowed: Type.Boolean() }),
  missed: tell(),
  gone: tell({ watch: Type.Integer(), reason: Type.String() }),
}
type TargetRef = AnyActorRef & { readonly protocol: typeof Target }

function targetOf(ledger: WatchLedger, target: { life: TargetLife | undefined }): AnyDefinition {
  return actor(Target, (ctx) => {
    const { witness } = ledger
    const say = (to: AnyActorRef, words: number): void => {
      const { life } = target
      if (life === undefined) return
      for (let i = 0; i < words; i++) {
        const n = witness.count(`words ${life.number}`)
        ctx.tell(to as never, { type: 'word', target: life.number, n } as never)
      }
    }
    if (ctx.incarnation > 0) witness.met('target-restarted')
    return {
      talk: ({ to, words }) => say(to, words),
      end: ({ how, to }) => {
        say(to, 2)
        if (how === 'crash') throw new Error('crashed')
        if (how === 'stop') ctx.stop()
      },
    }
  }) as unknown as AnyDefinition
}

function nurseryOf(ledger: WatchLedger, boot: Boot): AnyDefinition {
  return actor(Nursery, { supervision: { intensity: { restarts: Infinity, withinMs: 1_000 } } }, (ctx) => {
    const refs: AnyActorRef[] = []
    const own: AnyActorRef[] = []
    return {
      spawn: ({ isPermanent }) => {
        const target: { life: TargetLife | undefined } = { life: undefined }
        const name = `t-${ledger.targets.length}`
        const ref = ctx.spawn(name, targetOf(ledger, target) as never, {
          restart: isPermanent ? 'permanent' : 'temporary',
        })
        target.life = ledger.target(boot, ref.path, ref.uid ?? -1)
        refs.push(ref)
        own.push(ref)
      },
      learn: ({ ref }) => void refs.push(ref),
      pick: ({ which }) => (refs[which % Math.max(1, refs.length)] ?? null) as never,
      stop: ({ which }) => {
        const ref = own[which % Math.max(1, own.length)]
        if (ref !== undefined && ledger.endOf(ledger.targetAt(ref.path)) === undefined) ctx.stop(ref)
      },
      hello: () => null,
    }
  }) as unknown as AnyDefinition
}

function watcherOf(ledger: WatchLedger, boot: Boot): AnyDefinition {
  const { witness } = ledger
  return actor(Watcher, { own: ownOfWatcher }, (ctx) => {
    const life = witness.begins(boot, ctx)
    const { uid } = life
    if (life.incarnation > 0) witness.met('watcher-restarted')
    const refs = refsOf(ledger, boot, uid)
    const one = (which: number): Watch | undefined => {
      const active = ledger.activeOf(boot, uid)
      return active[which % Math.max(1, active.length)]
    }
    return {
      word: ({ target, n }) => ledger.heard(boot, uid, target, n),
      watch: ({ from, which, isUnbound }) => {
        ctx.request(
          ctx.ref(Nursery, `${from}:/user/nursery`),
          { type: 'pick', which },
          (ref) => ({
            type: 'picked',
            ref,
            isUnbound,
            isBorrowed: ref !== null && ledger.targetAt(ref.path).boot.node !== from,
          }),
          () => ({ type: 'missed' }),
          { timeoutMs: 2_000 },
        )
      },
      picked: ({ ref: picked, isUnbound, isBorrowed }) => {
        if (picked === null) return
        const found = picked as TargetRef
        const target = ledger.targetAt(found.path)
        // One watch per target and watcher: a second one would replace the first.
        if (ledger.activeOf(boot, uid).some((watch) => watch.target === target)) return
        if (
          ledger.watches.some((watch) => watch.boot === boot && watch.uid === uid && watch.target === target)
        ) {
          witness.met('watched-again')
        }
        if (isBorrowed) witness.met('through-a-third-node')
        if (ledger.endOf(target) !== undefined) witness.met('notice of a dead ref')
        const ref = isUnbound ? ctx.ref(Target, `${target.boot.node}:${target.path}`) : found
        const watch = ledger.place(boot, uid, target, !isUnbound)
        refs.set(watch.number, ref)
        ctx.watch(ref, (reason) => ({ type: 'gone', watch: watch.number, reason }))
      },
      missed: () => undefined,
      gone: ({ watch: number, reason }) => {
        const watch = ledger.watches[number]
        if (watch === undefined) return witness.broken('never-watched', `a notice for watch ${number}`)
        if (watch.boot !== boot || watch.uid !== uid)
          witness.broken('own-notice', `the notice of watch ${number} went astray`)
        ledger.noticed(watch, reason as EndReason)
      },
      unwatch: ({ which }) => {
        const watch = one(which)
        const ref = watch && refs.get(watch.number)
        if (watch === undefined || ref === undefined) return
        watch.isActive = false
        witness.met('unwatched')
        ctx.unwatch(ref)
      },
      provoke: ({ which, how }) => {
        const watch = one(which)
        const ref = watch && refs.get(watch.number)
        if (ref === undefined) return
        const to = ctx.self as never
        ctx.tell(
          ref as never,
          (how === 'talk' ? { type: 'talk', to, words: 2 } : { type: 'end', how, to }) as never,
        )
      },
      pass: ({ which, to }) => {
        const watch = one(which)
        const ref = watch && refs.get(watch.number)
        if (ref?.uid !== undefined)
          ctx.tell(ctx.ref(Nursery, `${to}:/user/nursery`), { type: 'learn', ref: ref as never })
      },
      crash: () => {
        throw new Error('crashed')
      },
    }
  }) as unknown as AnyDefinition
}

/** What a watcher holds on to through its restarts, as its watches do. */
const refsByWatcher = new WeakMap<WatchLedger, Map<string, Map<number, AnyActorRef>>>()

function refsOf(ledger: WatchLedger, boot: Boot, uid: number): Map<number, AnyActorRef> {
  const all = refsByWatcher.get(ledger) ?? new Map<string, Map<number, AnyActorRef>>()
  refsByWatcher.set(ledger, all)
  const refs = all.get(`${boot.number}/${uid}`) ?? new Map<number, AnyActorRef>()
  all.set(`${boot.number}/${uid}`, refs)
  return refs
}

export function runWatch(input: RunInput): Promise<RunResult> {
  const ledger = new WatchLedger()
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 3,
      faults: threeNodeFaults,
      actors: (boot) => ({ nursery: nurseryOf(ledger, boot), watcher: watcherOf(ledger, boot) }),
      options: () => ({
        // Refs to these come before anybody here has started one.
        actors: [targetOf(ledger, { life: undefined })],
      }),
    },
    (world) => watching(world, ledger),
  )
}

async function watching(world: World, ledger: WatchLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const names = world.nodes.map(({ name }) => name)
  const nameBy = (label: string): string => names[world.choose(names.length, label)] as string
  await world.parallel(names.length, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 60; i++) {
      await world.sleep(10 + world.choose(20, 'pause') * 30)
      if (!place.isUp) continue
      const { system } = place.node
      const nursery = system.ref(Nursery, '/user/nursery')
      const watcher = system.ref(Watcher, '/user/watcher')
      const which = world.choose(64, 'which')
      switch (world.choose(12, 'act')) {
        case 0:
        case 1:
        case 2:
          nursery.tell({ type: 'spawn', isPermanent: world.chance(0.5, 'permanent') })
          break
        case 3:
        case 4:
        case 5:
        case 6:
          watcher.tell({
            type: 'watch',
            from: nameBy('from'),
            which,
            isUnbound: world.chance(0.3, 'unbound'),
          })
          break
        case 7:
        case 8: {
          const how = ['talk', 'stop', 'crash'][world.choose(3, 'how')] ?? 'talk'
          watcher.tell({ type: 'provoke', which, how })
          break
        }
        case 9:
          watcher.tell({ type: 'pass', which, to: nameBy('pass') })
          break
        case 10:
          watcher.tell({ type: 'unwatch', which })
          break
        default:
          if (world.chance(0.3, 'crash')) watcher.tell({ type: 'crash' })
          else nursery.tell({ type: 'stop', which })
      }
    }
  })
  await witness.heal((node, to) => node.ref(Nursery, to, '/user/nursery').ask({ type: 'hello' }))
  await world.sleep(10_000)
  ledger.settle()
  await witness.shutdown()
}
