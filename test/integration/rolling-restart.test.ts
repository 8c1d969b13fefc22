/** Five nodes in processes of their own, restarted one after the other under load: nothing is lost, and nobody is told no. */
import { startNode, type ClusterNode } from '@understudy/cluster'
import {
  actor,
  nodePlatform,
  reliable,
  reliableProducer,
  silentLogger,
  type ActorError,
} from '@understudy/runtime'
import tap, { test, type Test } from 'tap'
import { Desk, Ledger, ledgerPath } from '../fixtures/member-process.ts'
import {
  allSee,
  eventually,
  freePorts,
  linesOf,
  MemberProcess,
  period,
  scratch,
} from '../support/member-process.ts'

tap.setTimeout(360_000)

/** So long that on a busy machine, too, it can be told whether somebody waited for all of it. */
const drainMs = 60_000

const names = ['a', 'b', 'c', 'd', 'e']
const everybody = [...names, 'z'].map((name) => `${name} alive`).join(', ')

/** Asks that are under way at a time, and the pause of each asker, so that two cores are not all that is measured. */
const askers = 16
const pauseMs = 3
const keysEach = 40

interface AskLoad {
  served: number
  readonly failed: string[]
  stop: () => Promise<void>
}

function askLoad(client: ClusterNode): AskLoad {
  let isOver = false
  const load: AskLoad = { served: 0, failed: [], stop: async () => undefined }
  const ask = async (asker: number): Promise<void> => {
    for (let n = 0; !isOver; n++) {
      const desk = client.entity(Desk, `${asker}/${n % keysEach}`)
      try {
        await desk.ask({ type: 'serve', n })
        load.served++
      } catch (error) {
        const { peers } = client.status().membership.links
        const links = peers.map(({ name, linkId }) => `${name} ${linkId ?? '-'}`).join(', ')
        const members = client.members().map(({ name, status }) => `${name} ${status}`)
        load.failed.push(`${(error as Error).message}; members: ${members.join(', ')}; links: ${links}`)
      }
      await period(pauseMs)
    }
  }
  const all = Array.from({ length: askers }, (_, asker) => ask(asker))
  load.stop = async () => {
    isOver = true
    await Promise.all(all)
  }
  return load
}

interface LedgerLoad {
  readonly acknowledged: string[]
  readonly failed: string[]
  stop: () => Promise<void>
}

/** A producer for the ledger of each node: one message at a time, the next when the last is acknowledged. */
function ledgerLoad(client: ClusterNode): LedgerLoad {
  let isOver = false
  const load: LedgerLoad = { acknowledged: [], failed: [], stop: async () => undefined }
  const enter = async (name: string): Promise<void> => {
    const consumer = client.ref(reliable(Ledger), name, ledgerPath)
    const producer = reliableProducer(client.system, Ledger, consumer, { name: `to-${name}` })
    for (let n = 0; !isOver; n++) {
      const id = `${name}/${n}`
      try {
        await producer.send({ type: 'enter', id })
        load.acknowledged.push(id)
      } catch (error) {
        load.failed.push(`${id}: ${(error as ActorError).message}`)
      }
      await period(pauseMs)
    }
    await producer.close()
  }
  const all = names.map(enter)
  load.stop = async () => {
    isOver = true
    await Promise.all(all)
  }
  return load
}

interface Files {
  readonly ledgerFile: string
  readonly livesFile: string
}

function memberOf(t: Test, name: string, seeds: readonly string[], files: Files): MemberProcess {
  const listen = seeds[names.indexOf(name)] as string
  return new MemberProcess(t, { node: { name, listen, seeds, expect: 3, drainMs }, ...files })
}

/** Lives of one entity that ran at the same time, as text; and how many lives followed one on another node. */
function overlaps(livesFile: string): { readonly found: readonly string[]; readonly moves: number } {
  const byKey = new Map<string, (readonly [node: string, fromUs: number, untilUs: number])[]>()
  for (const line of linesOf(livesFile)) {
    const [key = '', node = '', fromUs, untilUs] = line.split(' ')
    byKey.set(key, [...(byKey.get(key) ?? []), [node, Number(fromUs), Number(untilUs)]])
  }
  const found: string[] = []
  let moves = 0
  for (const [key, lives] of byKey) {
    lives.sort((a, b) => a[1] - b[1])
    for (const [at, [node, fromUs]] of lives.entries()) {
      const [before, , untilUs] = lives[at - 1] ?? [node, 0, 0]
      if (before !== node) moves++
      if (fromUs < untilUs)
        found.push(`${key}: on ${node} ${untilUs - fromUs} us before its end on ${before}`)
    }
  }
  return { found, moves }
}

void test('a rolling restart of five nodes under load: no request fails, no acknowledged message is lost', async (t) => {
  const file = scratch(t)
  const seeds = (await freePorts(names.length)).map((port) => `ws://127.0.0.1:${port}`)
  const livesFile = file('desks')
  const start = (name: string): MemberProcess =>
    memberOf(t, name, seeds, { ledgerFile: file(`${name}.ledger`), livesFile })
  const members = names.map(start)
  await Promise.all(members.map((member) => member.started()))
  const client = await startNode({
    name: 'z',
    listen: 'ws://127.0.0.1:0',
    seeds,
    actors: [actor(Desk, () => ({ serve: () => '' }))],
    handleSignals: false,
    platform: nodePlatform({ log: silentLogger }),
  })
  t.teardown(() => client.shutdown())
  // The load begins as soon as the client knows of all: some of them have no link to it yet.
  await client.whenMembers(6)
  const asks = askLoad(client)
  const entries = ledgerLoad(client)
  await allSee(members, everybody, 60_000)

  const drainsMs: number[] = []
  for (const [index, name] of names.entries()) {
    const old = members[index] as MemberProcess
    const { served } = asks
    const written = entries.acknowledged.length
    await eventually('the load runs', 60_000, () => {
      if (asks.served > served + 200 && entries.acknowledged.length > written + 20) return true
      return `${asks.served} asks, ${entries.acknowledged.length} entries`
    })
    const fromMs = performance.now()
    old.kill('SIGTERM')
    t.equal(await old.ended, 0, `${name} has left in good order`)
    drainsMs.push(Math.round(performance.now() - fromMs))
    t.same(
      old.warnings.filter((text) => text.includes('have not confirmed')),
      [],
      'all knew that it left',
    )
    members[index] = start(name)
    await allSee(members, everybody, 60_000)
  }
  await Promise.all([asks.stop(), entries.stop()])

  t.comment(
    `${asks.served} asks, ${entries.acknowledged.length} entries; drains took ${drainsMs.join(', ')} ms`,
  )
  t.same(asks.failed, [])
  t.same(entries.failed, [])
  t.ok(asks.served > 1_000)
  const written = new Set(names.flatMap((name) => linesOf(file(`${name}.ledger`))))
  t.same(
    entries.acknowledged.filter((id) => !written.has(id)),
    [],
  )
  t.equal(new Set(entries.acknowledged.map((id) => id.slice(0, 1))).size, names.length, 'to every node')
  t.ok(Math.max(...drainsMs) < drainMs * 0.9, 'nobody waited for all of drainMs')
  await Promise.all(
    members.map(async (member) => {
      member.kill('SIGTERM')
      t.equal(await member.ended, 0)
    }),
  )
  const { found, moves } = overlaps(livesFile)
  t.same(found, [], 'no entity ran on two nodes at a time')
  t.ok(moves > 100, `${moves} times an entity went from one node to another`)
})
