/**
 * The Raft core that these tests drive, and clusters of it. With RAFT_CORE set to the built module of another one, that one:
 * so a bug is put into a copy and the tests are seen to fail.
 */
import { seededRandom } from '@understudy/runtime'
import { sourceModule } from '../../support/source-module.ts'

type CoreModule = typeof import('../../../packages/protocols/src/raft/raft-core.ts')
type SessionModule = typeof import('../../../packages/protocols/src/core/session-table.ts')
export type RaftCoreOptions = import('../../../packages/protocols/src/raft/raft-options.ts').RaftOptions
export type RaftInput = import('../../../packages/protocols/src/raft/raft-step.ts').RaftInput
export type RaftEffect = import('../../../packages/protocols/src/raft/raft-step.ts').RaftEffect
export type RaftStatus = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStatus
export type RaftStart = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStart
export type RaftMessage = import('../../../packages/protocols/src/raft/raft-message.ts').RaftMessage
export type LogEntry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry
export type MakeRaftCore = import('../../../packages/protocols/src/testkit/raft-cluster.ts').MakeRaftCore
export type RaftNode = import('../../../packages/protocols/src/testkit/raft-node.ts').RaftNode
export type RaftSwarm = import('../../../packages/protocols/src/testkit/raft-swarm.ts').RaftSwarm
export type RaftFuzzResult = import('../../../packages/protocols/src/testkit/raft-fuzz.ts').RaftFuzzResult
export type Cluster = InstanceType<typeof RaftCluster>

const other = process.env['RAFT_CORE']
const { RaftCore } =
  other === undefined
    ? await sourceModule<CoreModule>('protocols', 'raft/raft-core')
    : ((await import(other)) as CoreModule)
export { RaftCore }

/** Beside the core: of the same build. */
export const { SessionTable } = (
  other === undefined
    ? await sourceModule<SessionModule>('protocols', 'core/session-table')
    : await import(new URL('../core/session-table.js', `file://${other}`).href)
) as SessionModule

export const { RaftCluster } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/raft-cluster.ts')
>('protocols', 'testkit/raft-cluster')
export const { runRaftFuzz } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/raft-fuzz.ts')
>('protocols', 'testkit/raft-fuzz')
export const { LogImage } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/raft-disk.ts')
>('protocols', 'testkit/raft-disk')
export const { SafetyViolation } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/raft-safety.ts')
>('protocols', 'testkit/raft-safety')
export const { describeEffect, describeInput, describeMessage, describeEntries, describeConfiguration } =
  await sourceModule<typeof import('../../../packages/protocols/src/testkit/raft-trace.ts')>(
    'protocols',
    'testkit/raft-trace',
  )

/** Cores with these options. */
export function coresWith(options: RaftCoreOptions): MakeRaftCore {
  return ({ self, start, random }) => new RaftCore({ self, start, options, random })
}

/** The options that a swarm asks for. */
export function optionsOf(swarm: RaftSwarm): RaftCoreOptions {
  return {
    heartbeatMs: swarm.heartbeatMs,
    electionTimeoutMs: swarm.electionTimeoutMs,
    leaseReads: swarm.isLease,
    clockDriftMax: swarm.driftMax,
    ...(swarm.isQuiescent ? { quiesceAfterMs: 3 * swarm.electionTimeoutMs } : {}),
    ...(swarm.hasSmallWindows
      ? { appendBytesMax: 1024, inflightMessagesMax: 3, inflightBytesMax: 2048, uncommittedBytesMax: 4096 }
      : {}),
  }
}

/** Choices from a seed. */
export function choicesOf(seed: number): (n: number) => number {
  const random = seededRandom(seed)
  return (n) => (n <= 1 ? 0 : random.u32() % n)
}

/** The run of that seed. */
export function fuzzSeed(seed: number, traceSteps?: number): RaftFuzzResult {
  return runRaftFuzz({
    choose: choicesOf(seed),
    makeCore: (swarm) => coresWith(optionsOf(swarm)),
    traceSteps,
  })
}

/** What to print of a failed run: what is wrong, what was drawn, the last steps, how to see it again. */
export function failureOf(seed: number, result: RaftFuzzResult): string {
  const { swarm, violation } = result
  const drawn = { ...swarm, actions: Object.fromEntries(swarm.actions) }
  return [
    ...result.trace,
    `drawn: ${JSON.stringify(drawn)}`,
    `seed ${seed}, step ${result.steps}, ${(result.virtualMs / 1000).toFixed(1)} s: ${violation?.text}`,
    `again: node test/dist/protocols/raft/run-fuzz.js --seed ${seed} --trace 200`,
  ].join('\n')
}
