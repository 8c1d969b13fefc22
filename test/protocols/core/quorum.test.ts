/** Quorum arithmetic: cases judged by etcd, and by a dumb implementation; quorums that have to meet. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { repoRoot } from '../../support/source-scan.ts'

const {
  byzantineQuorums,
  committedIndex,
  fastQuorumSize,
  flexibleQuorums,
  isQuorum,
  majoritySize,
  voteResult,
} = await sourceModule<typeof import('../../../packages/protocols/src/core/quorum.ts')>(
  'protocols',
  'core/quorum',
)

const folder = join(
  process.env['CONFORMANCE_DIR'] ?? join(repoRoot, '..', 'shared', 'conformance'),
  'etcd-quorum',
)
const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.txt')) : []
const skip = files.length === 0 && 'skipped: no conformance data'

void test(
  'committedIndex and voteResult answer as etcd does (paper, sections 5.3 and 6)',
  { skip },
  async (t) => {
    let cases = 0
    for (const file of files.sort()) {
      for (const one of etcdCases(readFileSync(join(folder, file), 'utf8'))) {
        cases++
        const { voters, outgoing, values } = one
        const known = new Map(
          [...new Set([...voters, ...outgoing])].map((id, at) => [id, values[at] ?? '_'] as const),
        )
        const answer = (configuration: typeof one.configuration): string =>
          one.command === 'committed'
            ? committedAnswer(configuration, (id) =>
                known.get(id) === '_' ? undefined : Number(known.get(id)),
              )
            : voteAnswer(configuration, (id) => (known.get(id) === '_' ? undefined : known.get(id) === 'y'))
        t.equal(answer(one.configuration), one.expected, `${file}: ${one.line}`)
        t.equal(
          answer({ voters: outgoing, outgoing: voters }),
          one.expected,
          'whichever of both is the new one',
        )
        if (outgoing.length === 0) {
          t.equal(answer({ voters, outgoing: voters }), one.expected, 'joint with itself it answers the same')
        }
      }
    }
    t.equal(cases, 127, 'every case of the four files was read')
  },
)

interface EtcdCase {
  readonly line: string
  readonly command: 'committed' | 'vote'
  readonly voters: readonly string[]
  readonly outgoing: readonly string[]
  readonly configuration: { readonly voters: readonly string[]; readonly outgoing: readonly string[] }
  /** In the order in which the voters are first named. */
  readonly values: readonly string[]
  readonly expected: string
}

/** `committed cfg=(1,2) cfgj=(2) idx=(100,_)`, `----`, lines of which the last one is the answer, an empty line. */
function etcdCases(text: string): readonly EtcdCase[] {
  return text.split(/\n\s*\n/).flatMap((block) => {
    const lines = block.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    if (lines.length === 0) return []
    const [line = '', rule, ...output] = lines
    const command = /^(committed|vote)\b/.exec(line)?.[1] as 'committed' | 'vote' | undefined
    if (command === undefined || rule !== '----') throw new Error(`No case of etcd's: ${block}`)
    const list = (name: string): readonly string[] =>
      (new RegExp(`\\b${name}=\\(([^)]*)\\)`).exec(line)?.[1] ?? '')
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
    const voters = list('cfg')
    const outgoing = list('cfgj')
    const values = command === 'committed' ? list('idx') : list('votes')
    const expected = (output.at(-1) ?? '').replace('<empty majority quorum>', '')
    return [{ line, command, voters, outgoing, configuration: { voters, outgoing }, values, expected }]
  })
}

function committedAnswer(...args: Parameters<typeof committedIndex>): string {
  const index = committedIndex(...args)
  return index === Infinity ? '∞' : String(index)
}

function voteAnswer(...args: Parameters<typeof voteResult>): string {
  return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[voteResult(...args)]
}

const someIds = fc.uniqueArray(fc.integer({ min: 1, max: 12 }).map(String), { maxLength: 9 })
const configurations = fc.record({ voters: someIds, outgoing: someIds })

void test('committedIndex: the highest index that both majorities have, against every candidate tried in turn', async (t) => {
  const acks = fc.dictionary(fc.integer({ min: 1, max: 12 }).map(String), fc.integer({ min: 0, max: 20 }))
  fc.assert(
    fc.property(configurations, acks, ({ voters, outgoing }, acked) => {
      const indexOf = (id: string): number | undefined => acked[id]
      const has = (ids: readonly string[], index: number): boolean =>
        ids.length === 0 || ids.filter((id) => (indexOf(id) ?? 0) >= index).length * 2 > ids.length
      let expected = voters.length + outgoing.length === 0 ? Infinity : 20
      while (expected !== Infinity && !(has(voters, expected) && has(outgoing, expected))) expected--
      return committedIndex({ voters, outgoing }, indexOf) === expected
    }),
    { numRuns: 2_000 },
  )
  t.equal(
    committedIndex({ voters: ['a', 'b', 'c'], outgoing: [] }, (id) => (id === 'a' ? 7 : undefined)),
    0,
  )
})

void test('voteResult: pending exactly while votes not yet heard can decide it either way', async (t) => {
  const votes = fc.dictionary(fc.integer({ min: 1, max: 12 }).map(String), fc.boolean())
  fc.assert(
    fc.property(configurations, votes, ({ voters, outgoing }, heard) => {
      const result = voteResult({ voters, outgoing }, (id) => heard[id])
      const wins = (missing: boolean): boolean =>
        [voters, outgoing].every(
          (ids) => ids.length === 0 || ids.filter((id) => heard[id] ?? missing).length * 2 > ids.length,
        )
      // With all missing votes against it, and with all for it.
      return result === (wins(false) ? 'won' : wins(true) ? 'pending' : 'lost')
    }),
    { numRuns: 2_000 },
  )
  const joint = { voters: ['a', 'b', 'c'], outgoing: ['c', 'd', 'e'] }
  t.equal(
    isQuorum(joint, (id) => 'abc'.includes(id)),
    false,
    'R5: one majority is not enough while joint',
  )
  t.equal(
    isQuorum(joint, (id) => 'acd'.includes(id)),
    true,
  )
})

void test('majoritySize: more than half', async (t) => {
  t.same([1, 2, 3, 4, 5, 6, 7].map(majoritySize), [1, 2, 2, 3, 3, 4, 4])
})

void test('flexibleQuorums: quorums of both phases meet, or are refused (P4; Flexible Paxos, section 3)', async (t) => {
  t.same(flexibleQuorums(5), { members: 5, first: 3, second: 3 })
  t.same(flexibleQuorums(5, { second: 2 }), { members: 5, first: 4, second: 2 })
  t.same(flexibleQuorums(5, { first: 5 }), { members: 5, first: 5, second: 1 })
  t.same(
    flexibleQuorums(6),
    { members: 6, first: 4, second: 3 },
    'replication needs only half of an even number',
  )
  t.throws(() => flexibleQuorums(5, { first: 3, second: 2 }), {
    name: 'RangeError',
    message: /^Cannot use quorums of 3 and 2 of 5 members: .* second must be at least 3$/,
  })
  for (const bad of [0, 6, 1.5, NaN]) t.throws(() => flexibleQuorums(5, { first: bad }), RangeError)
  for (const bad of [0, -1, 1.5, NaN, Infinity]) t.throws(() => flexibleQuorums(bad), RangeError)
  for (let members = 1; members <= 9; members++) {
    for (let first = 1; first <= members; first++) {
      const { second } = flexibleQuorums(members, { first })
      t.ok(subsetsMeet(members, first, second), `${first} and ${second} of ${members} meet`)
      if (second > 1) t.throws(() => flexibleQuorums(members, { first, second: second - 1 }), RangeError)
    }
  }
})

void test('byzantineQuorums: two quorums share an honest member, and the honest alone are one (PBFT, section 3)', async (t) => {
  t.same(byzantineQuorums(4), { members: 4, faulty: 1, quorum: 3, honest: 2 })
  t.same(byzantineQuorums(7), { members: 7, faulty: 2, quorum: 5, honest: 3 })
  t.same(byzantineQuorums(1), { members: 1, faulty: 0, quorum: 1, honest: 1 })
  for (let members = 1; members <= 40; members++) {
    const { faulty, quorum } = byzantineQuorums(members)
    t.ok(2 * quorum - members > faulty, `safe with ${members}`)
    t.ok(2 * (quorum - 1) - members <= faulty, `no larger than need be with ${members}`)
    t.ok(members - faulty >= quorum, `live with ${members}`)
  }
  t.throws(() => byzantineQuorums(0), RangeError)
})

void test('fastQuorumSize: two fast quorums and a classic one have a member in common (P5; Fast Paxos, section 3.3)', async (t) => {
  t.same(
    [3, 4, 5, 6, 7, 9].map((members) => fastQuorumSize(members)),
    [3, 3, 4, 5, 6, 7],
  )
  for (let members = 1; members <= 12; members++) {
    t.equal(fastQuorumSize(members), Math.ceil((3 * members) / 4) || 1, `three quarters of ${members}`)
    for (let classic = majoritySize(members); classic <= members; classic++) {
      const fast = fastQuorumSize(members, classic)
      // The worst case: what the two fast ones share is as small as it can be, and so is what the classic one has of it.
      t.ok(2 * fast - members + classic > members, `${fast} and ${classic} of ${members}`)
      t.ok(2 * (fast - 1) - members + classic <= members, 'and one less is too few')
    }
  }
  t.throws(() => fastQuorumSize(5, 2), { name: 'RangeError', message: /expected at least 3$/ })
  t.throws(() => fastQuorumSize(4, 2), RangeError)
})

/** Whether the first `first` and the last `second` of so many, the two that are furthest apart, have one in common. */
function subsetsMeet(members: number, first: number, second: number): boolean {
  return first - 1 >= members - second
}
