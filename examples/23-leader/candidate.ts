/** A candidate in a process of its own: it stands for election, leads when it is its turn, and stands again when that is over. */
import { setTimeout as pause } from 'node:timers/promises'
import { startNode } from '@understudy/cluster'
import {
  fencedReason,
  leaderElection,
  lockClient,
  openConsensus,
  openLocks,
  openRaftGroup,
  type FencedMessage,
  type Leadership,
} from '@understudy/protocols'
import {
  isActorError,
  nodePlatform,
  Rejected,
  silentLogger,
  type ActorRef,
  type MessagesOf,
} from '@understudy/runtime'
import { Diary } from './diary.ts'
import { electionName, hostName, memberRole, type CandidateReport, type CandidateSettings } from './words.ts'

/** How often a leader writes. */
const writeMs = 50

function report(message: CandidateReport): void {
  // Whoever started it may be gone.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined)
}

async function main(settings: CandidateSettings): Promise<void> {
  const { name, listen, seeds, members, secret, data, leaseMs } = settings
  const node = await startNode({
    name,
    listen,
    seeds,
    secret,
    data,
    // A majority of three: whatever the order of the start, there is one cluster.
    expect: 2,
    roles: [memberRole],
    downing: { strategy: 'keep-majority', role: memberRole },
    platform: nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {}),
  })
  // Without whoever started it a candidate has nothing to lead.
  process.once('disconnect', () => void node.shutdown('the example is over'))

  // The three elect their leader through a lock table of their own: no service besides is needed.
  const consensus = await openConsensus(node)
  await openLocks(node, {
    openGroup: (group) => openRaftGroup(consensus, { ...group, members, raft: { preset: 'local' } }),
  })
  const locks = lockClient(node, { servers: members, sessionTtlMs: leaseMs, timeoutMs: 60_000, label: name })
  const election = leaderElection(locks, { name: electionName, data: name })
  const diary = node.ref(Diary, hostName, '/user/diary')
  report({ type: 'ready' })
  for (;;) {
    await using leadership = await election.campaign()
    report({ type: 'leads', term: leadership.token })
    const { entries, why } = await lead(leadership, diary, name)
    report({ type: 'led', term: leadership.token, entries, why })
  }
}

/** Writes until its term is over, however it comes to know of that. */
async function lead(
  { token, signal }: Leadership,
  diary: ActorRef<MessagesOf<typeof Diary>>,
  author: string,
): Promise<{ readonly entries: number; readonly why: string }> {
  let entries = 0
  for (;;) {
    try {
      await diary.ask({ type: 'write', token, author }, { timeoutMs: 2_000 })
      entries++
    } catch (error) {
      if (!isActorError(error)) throw error
      // Another leader has written since: this one was paused, and nobody could tell it.
      if (error instanceof Rejected && error.reason === fencedReason) {
        return {
          entries,
          why: `the diary refused term ${token}, it has seen ${(error.data as FencedMessage).highest}`,
        }
      }
    }
    if (signal.aborted) return { entries, why: (signal.reason as Error).message }
    await pause(writeMs)
  }
}

const given = process.env['LEADER_CANDIDATE']
if (given !== undefined) {
  try {
    await main(JSON.parse(given) as CandidateSettings)
  } catch (error) {
    report({ type: 'failed', why: error instanceof Error ? error.message : String(error) })
    process.exitCode = 1
    if (process.connected) process.disconnect()
  }
}
