/** The algebra of configurations (Raft paper, section 6): what may follow what, and that majorities always meet. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { isJoint, isMember, isVoter, leaveJoint, membersOf, planChange, simpleConfiguration, votersOf } =
  await sourceModule<typeof import('../../../packages/protocols/src/raft/raft-configuration.ts')>(
    'protocols',
    'raft/raft-configuration',
  )
const { isQuorum } = await sourceModule<typeof import('../../../packages/protocols/src/core/quorum.ts')>(
  'protocols',
  'core/quorum',
)

const names = ['a', 'b', 'c', 'd', 'e', 'f']
/** Voters (at least one) and learners, in any order. */
const targets = fc
  .record({ order: fc.shuffledSubarray(names, { minLength: 1 }), voters: fc.integer({ min: 1, max: 6 }) })
  .map(({ order, voters }) => ({ voters: order.slice(0, voters), learners: order.slice(voters) }))

void test('a change of voters goes through a joint configuration, also of a single one (R4, R5)', async (t) => {
  const current = simpleConfiguration(['a', 'b', 'c'])
  const joint = planChange(current, { voters: ['d', 'c', 'b', 'a'], learners: [] })
  t.same(joint, {
    voters: ['a', 'b', 'c', 'd'],
    outgoing: ['a', 'b', 'c'],
    learners: [],
    learnersNext: [],
  })
})

void test('learners come and go in one step', async (t) => {
  const current = simpleConfiguration(['a', 'b', 'c'], ['d'])
  t.same(planChange(current, { voters: ['c', 'a', 'b'], learners: ['e'] }), {
    voters: ['a', 'b', 'c'],
    outgoing: [],
    learners: ['e'],
    learnersNext: [],
  })
})

void test('a voter that becomes a learner is one when the joint configuration is left', async (t) => {
  const joint = planChange(simpleConfiguration(['a', 'b', 'c']), {
    voters: ['a', 'b', 'd'],
    learners: ['c', 'e'],
  })
  t.same(joint, {
    voters: ['a', 'b', 'd'],
    outgoing: ['a', 'b', 'c'],
    learners: ['e'],
    learnersNext: ['c'],
  })
  t.same(leaveJoint(joint as NonNullable<typeof joint>), simpleConfiguration(['a', 'b', 'd'], ['c', 'e']))
})

void test('what cannot follow is refused', async (t) => {
  const current = simpleConfiguration(['a', 'b', 'c'])
  t.equal(planChange(current, { voters: [], learners: ['a'] }), undefined, 'no voters')
  t.equal(planChange(current, { voters: ['a', 'a'], learners: [] }), undefined, 'a voter twice')
  t.equal(planChange(current, { voters: ['a'], learners: ['a'] }), undefined, 'voter and learner')
  const joint = planChange(current, { voters: ['a'], learners: [] }) as NonNullable<
    ReturnType<typeof planChange>
  >
  t.equal(planChange(joint, { voters: ['a'], learners: [] }), undefined, 'joint already')
  t.throws(() => simpleConfiguration([]), /at least one voter/)
  t.throws(() => simpleConfiguration(['a'], ['a']), /"a" is named twice/)
})

void test('a change to what is there is no change', async (t) => {
  const current = simpleConfiguration(['b', 'a'], ['c'])
  t.equal(planChange(current, { voters: ['a', 'b'], learners: ['c'] }), current)
})

void test('property: a change ends in its target, its lists are sorted and disjoint, and members count once', async (t) => {
  fc.assert(
    fc.property(targets, targets, (from, to) => {
      const current = simpleConfiguration(from.voters, from.learners)
      const next = planChange(current, to)
      if (next === undefined) return false
      const end = isJoint(next) ? leaveJoint(next) : next
      const all = membersOf(next)
      return (
        JSON.stringify(end) === JSON.stringify(simpleConfiguration(to.voters, to.learners)) &&
        JSON.stringify(all) === JSON.stringify([...new Set(all)].toSorted()) &&
        [...from.voters, ...to.voters].every(
          (name) => isVoter(next, name) && votersOf(next).includes(name),
        ) &&
        to.learners.every((name) => isMember(next, name)) &&
        next.learners.every((name) => !isVoter(next, name)) &&
        next.learnersNext.every((name) => next.outgoing.includes(name) && !next.voters.includes(name))
      )
    }),
  )
  t.pass()
})

void test('property: quorums of neighbouring configurations share a member (section 6)', async (t) => {
  const subsets = Array.from({ length: 64 }, (_, bits) => names.filter((_name, at) => (bits >> at) % 2 === 1))
  fc.assert(
    fc.property(targets, targets, fc.nat(63), fc.nat(63), (from, to, first, second) => {
      const current = simpleConfiguration(from.voters, from.learners)
      const next = planChange(current, to)
      if (next === undefined) return false
      const steps = isJoint(next) ? [current, next, leaveJoint(next)] : [current, next]
      const one = subsets[first] ?? []
      const other = subsets[second] ?? []
      return steps.slice(1).every((later, at) => {
        const bothAre =
          isQuorum(steps[at] as typeof current, (name) => one.includes(name)) &&
          isQuorum(later, (name) => other.includes(name))
        return !bothAre || one.some((name) => other.includes(name))
      })
    }),
    { numRuns: 2000 },
  )
  t.pass()
})
