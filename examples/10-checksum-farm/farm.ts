/** The farm: knows every file, keeps a bounded number of asks under way, sends again what a dead node took with it. */
import { actor, ask, protocol, tell, type ActorRef, type Later, type LaterReply } from '@understudy/runtime'
import Type, { type Static } from 'typebox'
import type { Checksum, FileDigest } from './checksum.ts'

export const Progress = Type.Object({
  found: Type.Integer(),
  /** All files are known. */
  walked: Type.Boolean(),
  done: Type.Integer(),
  failed: Type.Integer(),
  /** Neither files nor links to files. */
  skipped: Type.Integer(),
  /** Asks that a dead node took with it, and that were sent again. */
  resent: Type.Integer(),
  perNode: Type.Record(Type.String(), Type.Integer()),
  underWay: Type.Record(Type.String(), Type.Integer()),
})
export type Progress = Static<typeof Progress>

export const Farm = protocol('farm', {
  found: tell({ paths: Type.Array(Type.String()) }),
  unreadable: tell({ path: Type.String(), reason: Type.String() }),
  skipped: tell(),
  walked: tell(),
  progress: ask(Progress),
  /** Answered when half of all files are settled: the moment to kill a node. */
  halfWay: ask(Progress),
  /** Answered when every file has its checksum, or the reason why it has none. */
  finished: ask(Progress),
})

const own = {
  computed: tell({
    path: Type.String(),
    node: Type.String(),
    sha256: Type.String(),
    bytes: Type.Integer(),
    lines: Type.Integer(),
  }),
  lost: tell({ path: Type.String(), node: Type.String(), code: Type.String(), reason: Type.String() }),
  again: tell({ path: Type.String() }),
}

export interface FarmInput {
  /** Files that may be under way at a time. */
  readonly underWayMax: number
  /** The worker of a file, wherever it lives. */
  readonly worker: (path: string) => ActorRef<typeof Checksum.messages>
  readonly ownerOf: (path: string) => string
  /** What is written in the end. Too large to be sent as a message. */
  readonly results: Map<string, FileDigest>
  readonly failures: Map<string, string>
}

/** The node that was to do it is gone: nothing was wrong with the file. Hashing twice harms nobody, so it is sent again. */
const worthAnother: ReadonlySet<string> = new Set([
  'CLUSTER_NODE_DOWN',
  'CLUSTER_LINK_FULL',
  'RUNTIME_ACTOR_STOPPED',
])
const againAfterMs = 50

export const farm = actor(Farm, { own }, (ctx, input: FarmInput) => {
  const { results, failures } = input
  const waiting: string[] = []
  const underWay = new Map<string, number>()
  const perNode = new Map<string, number>()
  const halfWay: LaterReply<Progress>[] = []
  const finished: LaterReply<Progress>[] = []
  let [found, skipped, resent, flying, again] = [0, 0, 0, 0, 0]
  let walked = false

  function progress(): Progress {
    return {
      found,
      walked,
      done: results.size,
      failed: failures.size,
      skipped,
      resent,
      perNode: Object.fromEntries(perNode),
      underWay: Object.fromEntries(underWay),
    }
  }

  function send(path: string): void {
    const node = input.ownerOf(path)
    flying++
    underWay.set(node, (underWay.get(node) ?? 0) + 1)
    ctx.request(
      input.worker(path),
      { type: 'compute' },
      (digest) => ({ type: 'computed', path, node, ...digest }),
      (error) => ({
        type: 'lost',
        path,
        node,
        code: error.code,
        reason: String(error.details['error'] ?? error.message),
      }),
      { timeoutMs: 600_000 },
    )
  }

  function landed(node: string): void {
    flying--
    underWay.set(node, (underWay.get(node) ?? 1) - 1)
  }

  function goOn(): void {
    while (flying < input.underWayMax && waiting.length > 0) send(waiting.pop() as string)
    if (!walked) return
    const settled = results.size + failures.size
    if (settled * 2 >= found) for (const owed of halfWay.splice(0)) owed.reply(progress())
    if (settled === found && again === 0 && flying === 0)
      for (const owed of finished.splice(0)) owed.reply(progress())
  }

  function owe(to: LaterReply<Progress>[]): Later<Progress> {
    const owed = ctx.call().later<Progress>()
    to.push(owed)
    goOn()
    return owed
  }

  return {
    found: ({ paths }) => {
      found += paths.length
      waiting.push(...paths)
      goOn()
    },
    unreadable: ({ path, reason }) => {
      found++
      failures.set(path, reason)
      goOn()
    },
    skipped: () => {
      skipped++
    },
    walked: () => {
      walked = true
      goOn()
    },
    progress,
    halfWay: () => owe(halfWay),
    finished: () => owe(finished),
    computed: ({ path, node, sha256, bytes, lines }) => {
      landed(node)
      perNode.set(node, (perNode.get(node) ?? 0) + 1)
      results.set(path, { sha256, bytes, lines })
      goOn()
    },
    lost: ({ path, node, code, reason }) => {
      landed(node)
      if (worthAnother.has(code)) {
        resent++
        again++
        ctx.timers.once(path, againAfterMs, { type: 'again', path })
      } else {
        failures.set(path, reason)
      }
      goOn()
    },
    again: ({ path }) => {
      again--
      waiting.push(path)
      goOn()
    },
  }
})
