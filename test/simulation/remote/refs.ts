/** Refs between nodes: a bound one means one life of one actor for ever, an unbound one whoever lives there now. */
import {
  actor,
  ask,
  isActorError,
  protocol,
  refOf,
  tell,
  type ActorRef,
  type AnyDefinition,
} from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import Type from 'typebox'
import { allFaults, frameTags } from './fault-list.ts'
import { simulateWitnessed } from './simulate-witnessed.ts'
import { Witness, type Boot, type Life } from './witness.ts'

const Holder = protocol('refs-holder', {
  /** Meant for that holder and no other one; -1: for whoever lives there. */
  mark: tell({ holder: Type.Integer() }),
  who: ask(Type.Integer()),
  crash: tell(),
})
type HolderRef = ActorRef<(typeof Holder)['messages']>

const Clerk = protocol('refs-clerk', {
  /** Asks the clerk of `from` for one of its cards, and keeps it. */
  fetch: tell({ from: Type.String(), which: Type.Integer() }),
  /** A card: a bound ref, and who is meant. */
  lend: ask(
    { which: Type.Integer() },
    Type.Union([Type.Object({ ref: refOf(Holder), holder: Type.Integer() }), Type.Null()]),
  ),
  /** Uses a card. */
  use: tell({ which: Type.Integer() }),
  /** Tries the path of a node instead. */
  find: tell({ node: Type.String() }),
  /** Every card once more, when all is well: the dead must be known for dead. */
  audit: ask(Type.Integer()),
  hello: ask(Type.Null()),
})
const ownOfClerk = {
  got: tell({ ref: Type.Any(), holder: Type.Integer() }),
  answered: tell({ by: Type.Integer(), meant: Type.Integer() }),
  ended: tell({ holder: Type.Integer(), reason: Type.String() }),
  missed: tell({ code: Type.String() }),
}

export const refsTags: readonly string[] = [
  ...frameTags,
  ...[
    'bound-ref-of-the-dead',
    'bound-ref-works',
    'survived-a-restart',
    'successor-found',
    'came-home',
    'came-home-dead',
  ],
  ...['of-a-third-node', 'dead-for-good', 'watched-the-dead', 'reconnected', 'rejoined', 'frozen-restart'],
]

/** A holder: one actor, through its restarts. */
interface HolderKnown {
  readonly number: number
  readonly boot: Boot
  readonly uid: number
  readonly life: Life
}

class RefsLedger {
  readonly witness = new Witness(refsTags)
  readonly holders: HolderKnown[] = []

  holder(boot: Boot, life: Life): HolderKnown {
    let holder = this.holders.find((known) => known.boot === boot && known.uid === life.uid)
    if (holder === undefined) {
      holder = { number: this.holders.length, boot, uid: life.uid, life }
      this.holders.push(holder)
    } else {
      this.witness.met('survived-a-restart')
    }
    return holder
  }

  endOf(number: number): string | undefined {
    const holder = this.holders[number]
    return holder === undefined
      ? undefined
      : this.witness.endOf({ boot: holder.boot, path: '/user/holder', uid: holder.uid })
  }

  reached(meant: number, by: HolderKnown): void {
    if (meant === by.number || meant < 0) return
    const other = this.holders[meant]
    const who = other === undefined ? 'nobody' : this.witness.nameOf(other.life)
    this.witness.broken('bound-for-ever', `a ref bound to ${who} has led to ${this.witness.nameOf(by.life)}`)
  }
}

function holderOf(
  ledger: RefsLedger,
  boot: Boot,
  onStart: (ref: HolderRef, holder: HolderKnown) => void,
): AnyDefinition {
  return actor(Holder, (ctx) => {
    const life = ledger.witness.begins(boot, ctx)
    const holder = ledger.holder(boot, life)
    onStart(ctx.self, holder)
    return {
      mark: ({ holder: meant }) => ledger.reached(meant, holder),
      who: () => holder.number,
      crash: () => {
        throw new Error('crashed')
      },
    }
  }) as unknown as AnyDefinition
}

interface Card {
  readonly ref: HolderRef
  readonly holder: number
}

function clerkOf(ledger: RefsLedger, boot: Boot, cards: Card[]): AnyDefinition {
  const { witness } = ledger
  return actor(Clerk, { own: ownOfClerk }, (ctx) => {
    witness.begins(boot, ctx)
    const missed = (error: unknown): { readonly type: 'missed'; readonly code: string } => ({
      type: 'missed',
      code: isActorError(error) ? error.code : String(error),
    })
    const cardOf = (which: number): Card | undefined => cards[which % Math.max(1, cards.length)]
    return {
      hello: () => null,
      missed: () => undefined,
      lend: ({ which }) => cardOf(which) ?? null,
      fetch: ({ from, which }) => {
        ctx.request(
          ctx.ref(Clerk, `${from}:/user/clerk`),
          { type: 'lend', which },
          (card) => (card === null ? { type: 'missed', code: 'no card' } : { type: 'got', ...card }),
          missed,
          { timeoutMs: 2_000 },
        )
      },
      got: ({ ref, holder }) => {
        const card = { ref: ref as HolderRef, holder }
        const of = ledger.holders[holder]
        if (of === undefined) return witness.broken('never-lent', `a ref to holder ${holder}`)
        if (of.boot.node === boot.node) witness.met(of.boot === boot ? 'came-home' : 'came-home-dead')
        cards.push(card)
        if (cards.length > 24) cards.shift()
      },
      use: ({ which }) => {
        const card = cardOf(which)
        if (card === undefined) return
        const { ref, holder } = card
        const end = ledger.endOf(holder)
        if (end !== undefined) witness.met('bound-ref-of-the-dead')
        ctx.tell(ref, { type: 'mark', holder })
        ctx.request(ref, { type: 'who' }, (by) => ({ type: 'answered', by, meant: holder }), missed, {
          timeoutMs: 1_000,
        })
        if (ledger.holders[holder]?.boot.node !== boot.node) witness.met('of-a-third-node')
        if (end !== undefined) {
          witness.met('watched-the-dead')
          ctx.watch(ref, (reason) => ({ type: 'ended', holder, reason }))
        }
      },
      ended: ({ holder, reason }) => {
        if (reason !== 'stopped' && reason !== 'node-down') {
          witness.broken('notice-says-why', `holder ${holder} ended by ${reason}; the ref is bound`)
        }
      },
      answered: ({ by, meant }) => {
        const answering = ledger.holders[by]
        if (answering === undefined) return
        ledger.reached(meant, answering)
        if (meant >= 0) witness.met('bound-ref-works')
        else if (answering.number >= witness.world.nodes.length) witness.met('successor-found')
      },
      find: ({ node }) => {
        const ref = ctx.ref(Holder, `${node}:/user/holder`)
        ctx.tell(ref, { type: 'mark', holder: -1 })
        ctx.request(ref, { type: 'who' }, (by) => ({ type: 'answered', by, meant: -1 }), missed, {
          timeoutMs: 1_000,
        })
      },
      audit: async () => {
        for (const { ref, holder } of cards) {
          const end = ledger.endOf(holder)
          const what = `the ref of "${boot.node}" to holder ${holder} (${end ?? 'alive'})`
          try {
            const by = await ctx.ask(ref, { type: 'who' }, { timeoutMs: 5_000 })
            if (end !== undefined || by !== holder)
              witness.broken('bound-for-ever', `${what} was answered by ${by}`)
          } catch (error) {
            if (end === undefined) witness.broken('bound-for-ever', `${what} failed: ${String(error)}`)
            else if (!isActorError(error, 'RUNTIME_ACTOR_STOPPED'))
              witness.broken('dead-is-stopped', `${what}: ${String(error)}`)
            else witness.met('dead-for-good')
          }
        }
        return cards.length
      },
    }
  }) as unknown as AnyDefinition
}

export function runRefs(input: RunInput): Promise<RunResult> {
  const ledger = new RefsLedger()
  return simulateWitnessed(
    input,
    {
      witness: ledger.witness,
      nodes: 3,
      faults: allFaults,
      actors: (boot) => {
        // What a clerk knows goes with its process, not with its crash.
        const cards: Card[] = []
        return {
          holder: holderOf(ledger, boot, (ref, { number }) => cards.push({ ref, holder: number })),
          clerk: clerkOf(ledger, boot, cards),
        }
      },
    },
    (world) => referring(world, ledger),
  )
}

async function referring(world: World, ledger: RefsLedger): Promise<void> {
  const { witness } = ledger
  witness.begin(world)
  const { nodes } = world
  const nameBy = (label: string): string => (nodes[world.choose(nodes.length, label)] ?? world.node(0)).name
  const restarts: Promise<void>[] = []
  await world.parallel(nodes.length, async (index) => {
    const place = world.node(index)
    for (let i = 0; i < 40; i++) {
      await world.sleep(20 + world.choose(20, 'pause') * 40)
      if (!place.isUp) continue
      const clerk = place.node.system.ref(Clerk, '/user/clerk')
      const which = world.choose(24, 'which')
      const act = world.choose(10, 'act')
      if (act < 4) clerk.tell({ type: 'fetch', from: nameBy('from'), which })
      else if (act < 7) clerk.tell({ type: 'use', which })
      else if (act < 9) clerk.tell({ type: 'find', node: nameBy('find') })
      else if (world.chance(0.3, 'crash'))
        place.node.system.ref(Holder, '/user/holder').tell({ type: 'crash' })
      else if (world.chance(0.3, 'frozen-restart') && place.mayFail())
        restarts.push(frozenRestart(world, ledger, place.name))
    }
  })
  await Promise.all(restarts)
  await witness.heal((node, to) => node.ref(Clerk, to, '/user/clerk').ask({ type: 'hello' }))
  await world.sleep(2_000)
  for (const place of nodes) {
    await place.call((node) =>
      node.system.ref(Clerk, '/user/clerk').ask({ type: 'audit' }, { timeoutMs: 200_000 }),
    )
  }
  await witness.shutdown()
}

/** A wall clock that stands still must not make two lives of a node look like one: twice started, at the same time of day. */
async function frozenRestart(world: World, ledger: RefsLedger, name: string): Promise<void> {
  const place = world.node(name)
  const { clock } = place.machine
  const downMs = 10 + world.choose(4, 'frozen-down') * 100
  const lifeMs = 500 + world.choose(4, 'frozen-life') * 500
  clock.freeze(world.now())
  for (let i = 0; i < 2; i++) {
    place.kill()
    await world.sleep(downMs)
    place.restart()
    await world.sleep(lifeMs)
  }
  ledger.witness.met('frozen-restart')
  clock.thaw()
}
