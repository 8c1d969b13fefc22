/** Five nodes on five hosts of a network that loses and delays: network namespaces, with `ip` and `tc`. */
import tap, { test } from 'tap'
import {
  alive,
  bad,
  canLose,
  everybody,
  givenUp,
  givenUpWithinMs,
  hurtAll,
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

// Real time: who is killed is given up after 16 s at the earliest.
tap.setTimeout(400_000)

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
