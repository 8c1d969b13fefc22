/** Five nodes on five hosts of a network that loses, delays and breaks: network namespaces, with `ip` and `tc`. */
import tap, { test, type Test } from 'tap'
import {
  actsWhenGivenUp,
  allSee,
  eventually,
  MemberProcess,
  period,
  returned,
  scratch,
} from '../support/member-process.ts'
import { HostNetwork, whyNoNamespaces, type Impairment, type Tool } from '../support/network-namespace.ts'

// Real time: a cut host is given up after 16 s at the earliest.
tap.setTimeout(900_000)

const names = ['a', 'b', 'c', 'd', 'e']
const everybody = names.map((name) => `${name} alive`).join(', ')
const skip = whyNoNamespaces() ?? false
/** Each way, twice: where it leaves, and where it arrives. */
const bad: Impairment = { lossPercent: 5, delayMs: 50, jitterMs: 20 }
const tools: Readonly<Record<Tool, string>> = {
  netem: 'tc netem loses and delays',
  relay: 'this kernel has no netem: a relay in user space loses and delays each packet',
  filter: 'this kernel has no netem and no VXLAN: packets are lost, but nothing is delayed',
  none: 'this kernel has no netem, no VXLAN, and no filter that drops',
}

/** See docs/decisions/0007-downing.md: suspicion that nobody confirms, stability, margin, and a busy machine. */
const stableMs = 1_000 * (3 + 4 * Math.log10(5))
const givenUpWithinMs = 24_000 + 2 * stableMs + 10_000

interface Scene {
  readonly network: HostNetwork
  readonly members: MemberProcess[]
}

async function startFive(t: Test): Promise<Scene> {
  const network = new HostNetwork(t, names, { delays: true })
  await network.ready()
  t.comment(tools[network.tool])
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
  await eventually('the actors of all act', 10_000, () => {
    return members.every((member) => member.ticks().length > 0) || 'no tick yet'
  })
  return { network, members }
}

/** Of a machine that has neither, said instead of done. */
function canLose(t: Test, { network }: Scene): boolean {
  if (network.tool !== 'none') return true
  t.pass('skipped', { skip: tools.none })
  return false
}

function hurtAll({ network }: Scene, impairment: Impairment | undefined): void {
  for (const name of names) network.impair(name, impairment)
}

/** What somebody has found to be over that was not, besides the hosts `but`. */
function givenUp(members: readonly MemberProcess[], but: readonly string[]): readonly string[] {
  return members.flatMap((member) =>
    [...member.told('member-unreachable'), ...member.told('member-down'), ...member.told('self-removed')]
      .filter(({ name = member.name }) => !but.includes(name))
      .map(({ kind, name = '' }) => `${member.name}: ${kind} ${name}`),
  )
}

function alive(among: readonly MemberProcess[]): string {
  return among.map(({ name }) => `${name} alive`).join(', ')
}

void test('loss and delay: in 30 s nobody healthy is given up', { skip, timeout: 120_000 }, async (t) => {
  const scene = await startFive(t)
  if (!canLose(t, scene)) return
  const { members } = scene
  hurtAll(scene, bad)
  await period(30_000)
  const suspicions = members.flatMap((member) => member.told('member-suspected'))
  t.comment(`${suspicions.length} suspicions`)
  t.same(givenUp(members, []), [])
  hurtAll(scene, undefined)
  // Whoever is suspected just now is not for long.
  await allSee(members, everybody, 30_000)
  t.same(givenUp(members, []), [])
})

void test(
  'loss and delay, and kill -9 of one: the others give it up within the formula, and nobody else',
  { skip, timeout: 180_000 },
  async (t) => {
    const scene = await startFive(t)
    if (!canLose(t, scene)) return
    const killed = scene.members.at(-1) as MemberProcess
    const others = scene.members.slice(0, -1)
    hurtAll(scene, bad)
    await period(3_000)
    const incarnation = await killed.started()
    const atMs = Date.now()
    killed.kill('SIGKILL')
    t.equal(await killed.ended, 'SIGKILL')
    await eventually('all know', givenUpWithinMs, () => {
      const ignorant = others.filter((member) => member.told('member-down', killed.name).length === 0)
      return ignorant.length === 0 || ignorant.map(({ name }) => name).join(', ')
    })
    const downs = others.map((member) => member.told('member-down', killed.name))
    t.comment(`down after ${downs.map(([down]) => (down?.atMs ?? Number.NaN) - atMs).join(', ')} ms`)
    t.same(
      downs.map((facts) => facts.map((fact) => fact.incarnation)),
      others.map(() => [incarnation]),
      'each learns it once',
    )
    hurtAll(scene, undefined)
    await allSee(others, alive(others), 30_000)
    t.same(givenUp(others, [killed.name]), [])
    t.same(returned(others), [])
  },
)

void test(
  'loss and delay, and SIGSTOP of one for 10 s: nobody else is given up, it acts in a life that counts, or not at all',
  { skip, timeout: 180_000 },
  async (t) => {
    const scene = await startFive(t)
    if (!canLose(t, scene)) return
    const { members } = scene
    const stopped = members[2] as MemberProcess
    hurtAll(scene, bad)
    await period(3_000)
    stopped.kill('SIGSTOP')
    await period(10_000)
    const ticksBefore = stopped.ticks().length
    const wokenMs = Date.now()
    stopped.kill('SIGCONT')
    await eventually('its actors act again', 30_000, () => stopped.ticks().length > ticksBefore || 'held')
    const heldMs = (stopped.ticks()[ticksBefore]?.atMs ?? Number.NaN) - wokenMs
    const downs = members.flatMap((member) => member.told('member-down', stopped.name))
    t.comment(`acts again ${heldMs} ms after it woke; ${downs.length} gave it up`)
    t.ok(stopped.told('self-held').length > 0, 'it noticed that it had stood still')
    hurtAll(scene, undefined)
    await allSee(members, everybody, 60_000)
    t.same(givenUp(members, [stopped.name]), [])
    t.same(actsWhenGivenUp(members), [])
    t.same(returned(members), [])
  },
)

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
