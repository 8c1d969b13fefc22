/** Five nodes on five hosts whose network breaks: of each split one side goes on, and the other stops first. */
import tap, { test } from 'tap'
import {
  alive,
  canLose,
  everybody,
  givenUp,
  givenUpWithinMs,
  skip,
  startFive,
} from '../support/five-hosts.ts'
import {
  actsWhenGivenUp,
  allSee,
  eventually,
  type MemberProcess,
  period,
  returned,
} from '../support/member-process.ts'
import type { HostNetwork } from '../support/network-namespace.ts'

// Real time: a cut host is given up after 16 s at the earliest.
tap.setTimeout(400_000)

interface Cut {
  readonly what: string
  /** Who goes: one of these groups. */
  readonly lost: readonly (readonly string[])[]
  /** It needs loss, which not every machine has. */
  readonly byLoss?: boolean
  readonly cut: (network: HostNetwork) => void
  readonly heal: (network: HostNetwork) => void
}

/** Nothing that one of `from` sends to one of `to` arrives. */
function ways(from: readonly string[], to: readonly string[]): Pick<Cut, 'cut' | 'heal'> {
  const set = (network: HostNetwork, state: 'cut' | 'open'): void => {
    for (const name of from) network.setWay(name, to, state)
  }
  return { cut: (network) => set(network, 'cut'), heal: (network) => set(network, 'open') }
}

function both(one: Pick<Cut, 'cut' | 'heal'>, other: Pick<Cut, 'cut' | 'heal'>): Pick<Cut, 'cut' | 'heal'> {
  return {
    cut: (network) => [one, other].forEach(({ cut }) => cut(network)),
    heal: (network) => [one, other].forEach(({ heal }) => heal(network)),
  }
}

const cuts: readonly Cut[] = [
  {
    what: 'the cable of one is out',
    lost: [['c']],
    cut: (network) => network.setCable('c', 'down'),
    heal: (network) => network.setCable('c', 'up'),
  },
  {
    what: 'all that one sends and is sent is lost',
    lost: [['c']],
    byLoss: true,
    cut: (network) => network.impair('c', { lossPercent: 100 }),
    heal: (network) => network.impair('c', undefined),
  },
  { what: 'what one sends is lost, and it is sent all', lost: [['c']], ...ways(['c'], ['a', 'b', 'd', 'e']) },
  {
    what: 'two are cut off from three, and not from each other',
    lost: [['b', 'd']],
    ...both(ways(['b', 'd'], ['a', 'c', 'e']), ways(['a', 'c', 'e'], ['b', 'd'])),
  },
  {
    what: 'two pairs miss each other, and one reaches all',
    // Which pair depends on who notices first.
    lost: [
      ['d', 'e'],
      ['a', 'b'],
    ],
    ...both(ways(['a', 'b'], ['d', 'e']), ways(['d', 'e'], ['a', 'b'])),
  },
]

/** What a member sees, but for those who are back and wait until all of the others reach them. */
async function counted(member: MemberProcess): Promise<string> {
  const { members } = await member.state()
  return members.filter((each) => !each.endsWith(' joining')).join(', ')
}

/** The group of `groups` without which all others see each other, and count nobody else. */
async function whoGoes(
  members: readonly MemberProcess[],
  groups: readonly (readonly string[])[],
): Promise<readonly string[]> {
  let gone: readonly string[] | undefined
  await eventually('one side stays', givenUpWithinMs, async () => {
    const views = await Promise.all(members.map(async (member) => ({ member, seen: await counted(member) })))
    gone = groups.find((group) => {
      const staying = views.filter(({ member }) => !group.includes(member.name))
      const expected = alive(staying.map(({ member }) => member))
      return staying.every(({ seen }) => seen === expected)
    })
    return gone !== undefined || views.map(({ member, seen }) => `${member.name}: ${seen}`).join('; ')
  })
  return gone ?? []
}

for (const { what, lost: groups, byLoss = false, cut, heal } of cuts) {
  void test(
    `a cut, ${what}: one side stays, the other stops before it is given up, and rejoins when it is healed`,
    { skip, timeout: 180_000 },
    async (t) => {
      const scene = await startFive(t)
      if (byLoss && !canLose(t, scene)) return
      const { network, members } = scene
      const cutMs = Date.now()
      cut(network)
      const lostNames = await whoGoes(members, groups)
      const lost = members.filter(({ name }) => lostNames.includes(name))
      const others = members.filter(({ name }) => !lostNames.includes(name))
      const firstLives = await Promise.all(lost.map((member) => member.started()))
      for (const [index, gone] of lost.entries()) {
        const downs = others.map((member) => member.told('member-down', gone.name)[0])
        const afterMs = downs.map((down) => (down?.atMs ?? Number.NaN) - cutMs)
        const lastActMs = (gone.ticks().at(-1)?.atMs ?? Number.NaN) - cutMs
        t.comment(
          `${gone.name}: down at the others after ${afterMs.join(', ')} ms, its last act after ${lastActMs} ms`,
        )
        t.same(
          downs.map((down) => down?.incarnation),
          others.map(() => firstLives[index]),
        )
        t.ok(lastActMs < Math.min(...afterMs), 'its actors stopped before the first of the others gave it up')
        t.ok(gone.told('self-removed').length > 0, 'it knew by itself that its side had lost')
      }
      // Long enough for a side that has lost to found a cluster of its own, if it did that.
      await period(5_000)
      t.same(
        await Promise.all(others.map(counted)),
        others.map(() => alive(others)),
      )
      const acting = lost.filter((member) => Date.now() - (member.ticks().at(-1)?.atMs ?? 0) < 4_000)
      t.same(
        acting.map(({ name }) => name),
        [],
        'there is one side that acts',
      )

      heal(network)
      await allSee(members, everybody, 60_000)
      for (const [index, member] of lost.entries()) {
        const { incarnation } = await member.state()
        t.ok(incarnation > (firstLives[index] ?? Number.NaN), 'it is back, as another life')
        await eventually('the actors of the new life act', 10_000, () => {
          return member.ticks().at(-1)?.incarnation === incarnation || 'not yet'
        })
        const upMs = member.told('self-up').at(-1)?.atMs ?? Number.NaN
        const downsMs = others.map((other) => other.told('member-down', member.name)[0]?.atMs ?? Number.NaN)
        const between = member.ticks().filter(({ atMs }) => atMs > Math.min(...downsMs) && atMs < upMs)
        t.same(between, [], 'and none of its actors acted in between')
      }
      t.same(givenUp(others, lostNames), [], 'those who stayed gave up nobody else')
      t.same(actsWhenGivenUp(members), [])
      t.same(returned(members), [])
    },
  )
}
