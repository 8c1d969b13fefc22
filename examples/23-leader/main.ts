/**
 * Three processes elect a leader among them; whoever leads is killed, again and again, and at the end one is paused for longer
 * than its lease.
 *
 *     npm run leader
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startNode } from '@understudy/cluster'
import { leaderElection, lockClient } from '@understudy/protocols'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { Forked } from '../processes/forked.ts'
import { freeAddresses } from '../processes/free-addresses.ts'
import { interrupted } from '../processes/interrupted.ts'
import { diary } from './diary.ts'
import { Reigns, type Leader } from './reigns.ts'
import { electionName, hostName, memberRole, type CandidateReport } from './words.ts'

const help = `Usage: npm run leader -- [--kills NUMBER] [--lease SECONDS]

Three candidates in three processes elect a leader among them. The leader writes into a diary, which takes nothing from one
whose term is over. Its process is killed as often as wished; at last one leader is stopped for twice its lease, and goes on.

  --kills NUMBER    how often a leader is killed (default: 4)
  --lease SECONDS   whoever is silent for so long leads no more (default: 1)
  --help            this text

Exit code: 0; 1 when there was no new leader in time, or two of one term; 2 when the arguments are wrong;
130 after Ctrl-C.
UNDERSTUDY_LOG=info shows the candidates' own log on standard error.`

const names = ['a', 'b', 'c']
/** How long the next leader may take. */
const patienceMs = 60_000
/** How long each leads before something happens to it. */
const reignMs = 700

type Candidate = Forked<never, CandidateReport>

interface Wishes {
  readonly kills: number
  readonly leaseMs: number
}

async function main(): Promise<number> {
  let wishes: Wishes
  try {
    const { values } = parseArgs({
      options: {
        kills: { type: 'string', default: '4' },
        lease: { type: 'string', default: '1' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(help)
      return 0
    }
    wishes = { kills: Number(values.kills), leaseMs: Number(values.lease) * 1_000 }
    if (!(Number.isInteger(wishes.kills) && wishes.kills >= 0 && wishes.kills <= 10_000)) {
      throw new RangeError(`--kills must be a whole number from 0 to 10000, got "${values.kills}"`)
    }
    if (!(wishes.leaseMs >= 200 && wishes.leaseMs <= 60_000)) {
      throw new RangeError(`--lease must be from 0.2 to 60 seconds, got "${values.lease}"`)
    }
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm run leader -- --help`)
    return 2
  }
  // A Ctrl-C ends all in order, whatever is waited for; a second one does not leave the directory behind.
  const over = interrupted()
  const directory = await mkdtemp(join(tmpdir(), 'understudy-leader-'))
  try {
    return await play(wishes, directory, over)
  } catch (error) {
    if (over.aborted) return 130
    console.error((error as Error).message)
    return 1
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function play({ kills, leaseMs }: Wishes, directory: string, over: AbortSignal): Promise<number> {
  const platform = nodePlatform({ log: silentLogger })
  const secret = Buffer.from(platform.secureBytes(24)).toString('base64')
  const addresses = await freeAddresses(names)
  const node = await startNode({
    name: hostName,
    listen: 'ws://127.0.0.1:0',
    seeds: [...addresses.values()],
    secret,
    expect: 2,
    weight: 0,
    downing: { strategy: 'keep-majority', role: memberRole },
    root: supervisor({}, [child('diary', diary)]),
    platform,
    handleSignals: false,
  })
  const candidates = new Map<string, Candidate>()
  const reigns = new Reigns()
  const begin = (name: string): void => {
    const candidate: Candidate = new Forked(
      name,
      new URL('./candidate.js', import.meta.url),
      'LEADER_CANDIDATE',
      {
        name,
        listen: addresses.get(name),
        seeds: [node.address, ...addresses.values()],
        members: names,
        secret,
        data: join(directory, name),
        leaseMs,
      },
    )
    candidates.set(name, candidate)
    void reigns.follow(candidate)
  }
  const killAll = async (): Promise<void> => {
    reigns.hush()
    await Promise.all([...candidates.values()].map((candidate) => candidate.kill()))
  }
  over.addEventListener('abort', () => void killAll())
  // The main process elects nobody: it looks on, and misses no leader.
  const locks = lockClient(node, { servers: names, timeoutMs: patienceMs })
  const observing = new AbortController()
  const observed = reigns.observe(
    leaderElection(locks, { name: electionName }).observe({ signal: observing.signal, afterTerm: 0 }),
  )
  /** Whoever has led for a while, and still does: on a busy machine a leader may lose its lease before its turn comes. */
  const reigning = async (first: Leader): Promise<Leader> => {
    let leader = first
    for (;;) {
      await pause(reignMs, undefined, { signal: over })
      if (reigns.leads(leader.term)) return leader
      leader = await reigns.after(leader.term, patienceMs)
    }
  }
  try {
    over.throwIfAborted()
    reigns.say(`three processes begin: ${names.join(', ')}`)
    names.forEach(begin)
    let leader = await reigns.after(0, patienceMs)
    for (let round = 0; round < kills; round++) {
      leader = await reigning(leader)
      const candidate = candidates.get(leader.name)
      const endedMs = reigns.say(`kill -9 ${candidate?.pid}: the process of ${leader.name}`)
      await candidate?.kill()
      over.throwIfAborted()
      begin(leader.name)
      leader = await reigns.after(leader.term, patienceMs, endedMs)
    }
    for (;;) {
      leader = await reigning(leader)
      const { name, term } = leader
      const candidate = candidates.get(name)
      const endedMs = reigns.say(`${name}'s process is stopped for ${(2 * leaseMs) / 1_000} s`)
      candidate?.pause()
      const stood = pause(2 * leaseMs, undefined, { signal: over })
      ;[leader] = await Promise.all([reigns.after(term, patienceMs, endedMs), stood])
      // What it said before it stood still has arrived by now.
      const wasLate = reigns.hasEnded(term)
      const state = wasLate
        ? 'had lost the lead just before it was stopped: once more, with the next leader'
        : 'believes that it leads'
      reigns.say(`${name}'s process goes on, and ${state}`)
      candidate?.resume()
      if (wasLate) continue
      await reigns.endOf(term, patienceMs)
      break
    }
    await reigns.observed(patienceMs)
    console.log(reigns.table())
    return reigns.isRight() ? 0 : 1
  } finally {
    observing.abort()
    await killAll()
    await observed
    await locks.close().catch(() => undefined)
    await node.shutdown('the example is over')
  }
}

process.exitCode = await main()
