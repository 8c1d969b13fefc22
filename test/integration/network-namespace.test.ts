/** Five nodes on five hosts of a network that loses, delays and breaks: network namespaces, with `ip` and `tc`. */
import tap, { test, type Test } from 'tap'
import { allSee, eventually, MemberProcess, period, scratch } from '../support/member-process.ts'
import { HostNetwork, whyNoNamespaces, type Impairment } from '../support/network-namespace.ts'

// Real time: a cut host is given up after 16 s at the earliest.
tap.setTimeout(400_000)

const names = ['a', 'b', 'c', 'd', 'e']
const everybody = names.map((name) => `${name} alive`).join(', ')
const skip = whyNoNamespaces() ?? false
const noTool = 'this kernel has neither netem nor a filter that drops'

/** See docs/decisions/0007-downing.md: suspicion that nobody confirms, stability, margin, and a busy machine. */
const stableMs = 1_000 * (3 + 4 * Math.log10(5))
const givenUpWithinMs = 24_000 + 2 * stableMs + 10_000

async function startFive(
  t: Test,
): Promise<{ readonly network: HostNetwork; readonly members: MemberProcess[] }> {
  const network = new HostNetwork(t, names)
  const file = scratch(t)
  const seeds = names.map((name) => `ws://${network.address(name)}:7000`)
  const members = names.map((name, index) => {
    const node = {
      name,
      listen: seeds[index] as string,
      seeds,
      secret: 'only for these five hosts',
      membership: 'lan',
      expect: 3,
    } as const
    return new MemberProcess(t, { node, ticksFile: file(`${name}.ticks`) }, network.command(name))
  })
  await Promise.all(members.map((member) => member.started()))
  await allSee(members, everybody, 30_000)
  return { network, members }
}

/** What somebody has found to be over that was not, besides the hosts `but`. */
function givenUp(members: readonly MemberProcess[], but: readonly string[]): readonly string[] {
  return members.flatMap((member) =>
    [...member.told('member-unreachable'), ...member.told('member-down'), ...member.told('self-removed')]
      .filter(({ name = member.name }) => !but.includes(name))
      .map(({ kind, name = '' }) => `${member.name}: ${kind} ${name}`),
  )
}

void test('loss and delay: in 30 s nobody healthy is given up', { skip, timeout: 120_000 }, async (t) => {
  const { network, members } = await startFive(t)
  if (network.tool === 'none') {
    t.pass('skipped', { skip: noTool })
    return
  }
  if (network.tool === 'filter') t.comment('this kernel has no netem: 5 % are lost, but nothing is delayed')
  for (const name of names) network.impair(name, { lossPercent: 5, delayMs: 50, jitterMs: 20 })
  await period(30_000)
  const suspicions = members.flatMap((member) => member.told('member-suspected'))
  t.comment(`${suspicions.length} suspicions`)
  t.same(givenUp(members, []), [])
  for (const name of names) network.impair(name, undefined)
  // Whoever is suspected just now is not for long.
  await allSee(members, everybody, 30_000)
  t.same(givenUp(members, []), [])
})

const all: Impairment = { lossPercent: 100 }
const cuts = [
  {
    what: 'its cable is out',
    cut: (network: HostNetwork) => network.setCable('c', 'down'),
    heal: (network: HostNetwork) => network.setCable('c', 'up'),
  },
  {
    what: 'all that it sends and is sent is lost',
    cut: (network: HostNetwork) => network.impair('c', all),
    heal: (network: HostNetwork) => network.impair('c', undefined),
  },
]

for (const { what, cut, heal } of cuts) {
  void test(
    `a host is cut off, ${what}: the others give it up in time, it stops before, and rejoins when it is healed`,
    {
      skip,
      timeout: 180_000,
    },
    async (t) => {
      const { network, members } = await startFive(t)
      if (network.tool === 'none' && what !== cuts[0]?.what) {
        t.pass('skipped', { skip: noTool })
        return
      }
      const lost = members[2] as MemberProcess
      const others = members.filter((member) => member !== lost)
      const firstLife = await lost.started()
      await eventually('its actors act', 10_000, () => lost.ticks().length > 0 || 'no tick yet')
      const cutMs = Date.now()
      cut(network)
      await allSee(others, 'a alive, b alive, d alive, e alive', givenUpWithinMs)
      const downs = others.map((member) => member.told('member-down', 'c')[0])
      t.comment(
        `down at the others after ${downs.map((down) => (down?.atMs ?? Number.NaN) - cutMs).join(', ')} ms`,
      )
      t.same(
        downs.map((down) => down?.incarnation),
        others.map(() => firstLife),
      )
      const firstDownMs = Math.min(...downs.map((down) => down?.atMs ?? Number.NaN))
      const sinceMs = lost.ticks().at(-1)?.atMs ?? Number.NaN
      t.comment(`its last act was ${sinceMs - cutMs} ms after the cut`)
      t.ok(sinceMs < firstDownMs, 'its actors stopped before the first of the others gave it up')
      t.ok(lost.told('self-removed').length > 0, 'it knew by itself that its side had lost')

      heal(network)
      await allSee(members, everybody, 60_000)
      const { incarnation } = await lost.state()
      t.ok(incarnation > firstLife, 'it is back, as another life')
      await eventually('the actors of the new life act', 10_000, () => {
        return lost.ticks().at(-1)?.incarnation === incarnation || 'not yet'
      })
      const upMs = lost.told('self-up').at(-1)?.atMs ?? Number.NaN
      const between = lost.ticks().filter(({ atMs }) => atMs > firstDownMs && atMs < upMs)
      t.same(between, [], 'and none of its actors acted in between')
      t.same(givenUp(members, ['c']), [])
    },
  )
}
