/** Options of the Raft core: presets, defaults, limits and how they hang together. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { checkRaftOptions, raftPresets } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-options.ts')
>('protocols', 'raft/raft-options')

type Options = NonNullable<Parameters<typeof checkRaftOptions>[0]>

void test('checkRaftOptions fills in lan, and a preset by its name', async (t) => {
  t.match(checkRaftOptions(), { ...raftPresets.lan, leaseReads: false, checkQuorum: true, leaseMs: 0 })
  t.equal(checkRaftOptions().quiesceAfterMs, Infinity, 'never quiet unless asked')
  t.match(checkRaftOptions({ preset: 'local' }), { heartbeatMs: 50, electionTimeoutMs: 200 })
  t.match(checkRaftOptions({ preset: 'wan', heartbeatMs: 400 }), {
    heartbeatMs: 400,
    electionTimeoutMs: 5000,
  })
  t.match(checkRaftOptions({ heartbeatMs: undefined }), raftPresets.lan, 'undefined is left out')
})

void test('every preset holds what is asked of options', async (t) => {
  for (const preset of ['local', 'lan', 'wan'] as const) {
    const checked = checkRaftOptions({ preset, leaseReads: true })
    t.ok(checked.electionTimeoutMs >= 4 * checked.heartbeatMs, `${preset}: time for more than one heartbeat`)
    t.ok(checked.leaseMs > 2 * checked.heartbeatMs, `${preset}: a lease outlives a lost heartbeat`)
  }
})

void test('a lease lasts E * (1 - d) / (1 + d), and is refused without check-quorum (R11)', async (t) => {
  const lease = (options: Options): number => checkRaftOptions({ ...options, leaseReads: true }).leaseMs
  t.equal(Math.round(lease({ electionTimeoutMs: 1000, clockDriftMax: 0.1 })), 818)
  t.equal(lease({ electionTimeoutMs: 1000, clockDriftMax: 0 }), 1000)
  t.throws(() => checkRaftOptions({ leaseReads: true, checkQuorum: false }), /leave checkQuorum on/)
  t.doesNotThrow(() => checkRaftOptions({ checkQuorum: false }))
})

void test('what is out of range is refused with the range', async (t) => {
  const refused: readonly (readonly [Options, RegExp])[] = [
    [{ heartbeatMs: 0 }, /heartbeatMs 0: it must be a whole number from 1/],
    [{ heartbeatMs: 1.5 }, /heartbeatMs 1.5/],
    [
      { heartbeatMs: 100, electionTimeoutMs: 199 },
      /electionTimeoutMs 199: it must be a whole number from 200/,
    ],
    [{ electionTimeoutMs: Number.NaN }, /electionTimeoutMs NaN/],
    [{ commitNoticeMs: 101 }, /commitNoticeMs 101: it must be from 0 to 100/],
    [{ appendBytesMax: 10 }, /appendBytesMax 10/],
    [{ appendBytesMax: 4096, inflightBytesMax: 4095 }, /inflightBytesMax 4095: .*from 4096/],
    [{ appendBytesMax: 4096, uncommittedBytesMax: 4095 }, /uncommittedBytesMax 4095/],
    [{ inflightMessagesMax: 0 }, /inflightMessagesMax 0/],
    [{ clockDriftMax: 1 }, /clockDriftMax 1/],
    [{ clockDriftMax: -0.1 }, /clockDriftMax -0.1/],
    [{ quiesceAfterMs: 10 }, /quiesceAfterMs 10: it must be from 100/],
    [{ preset: 'moon' as 'lan' }, /preset "moon": it must be local, lan or wan/],
  ]
  for (const [options, message] of refused) {
    t.throws(() => checkRaftOptions(options), { name: 'RangeError', message }, JSON.stringify(options))
  }
})

void test('limits that hang on another one follow it', async (t) => {
  const big = checkRaftOptions({ appendBytesMax: 64 * 1024 * 1024 })
  t.equal(big.inflightBytesMax, 64 * 1024 * 1024)
  t.equal(big.uncommittedBytesMax, 64 * 1024 * 1024)
  t.equal(checkRaftOptions({ heartbeatMs: 1, electionTimeoutMs: 10 }).commitNoticeMs, 1)
})
