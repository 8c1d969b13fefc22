/** A watch's end at the client, against a service that does what a broken link or a dying server would make of it. */
import { actor, type ActorRef, type AnyDefinition } from '@understudy/runtime'
import { childPolicy, type InternalSystem } from '@understudy/runtime/internal'
import { test } from 'tap'
import { virtualCluster } from '../../support/virtual-cluster.ts'
import { kvClient, type KvClient } from './kv-cluster.ts'
import { buffer, codec, hub, watchProtocol } from './kv-source.ts'
import { Watching } from './kv-watching.ts'

const { encodeKvReply, KvService } = watchProtocol
const { pushFlag } = hub

type KvWatcherMessages = import('../../../packages/protocols/src/kv/kv-protocol.ts').KvWatcherMessages

interface Subscription {
  readonly watch: number
  readonly revision: number
  readonly to: ActorRef<KvWatcherMessages>
}

interface Scene extends AsyncDisposable {
  readonly client: KvClient
  readonly subscriptions: readonly Subscription[]
  /** What the service was told: credit and ends. */
  readonly told: readonly unknown[]
  /** So many of the next subscriptions are ended before their answer is there. */
  endsNext: number
  readonly push: (flags: number, sequence: number, revision: number, ...revisions: number[]) => Promise<void>
  readonly advance: (ms: number) => Promise<void>
}

/** One node with a client and a service of the test's own. */
async function scene(options: { readonly watchBytesMax?: number } = {}): Promise<Scene> {
  const cluster = virtualCluster()
  const node = await cluster.start('a')
  const subscriptions: Subscription[] = []
  const told: unknown[] = []
  const service = actor(KvService, () => ({
    write: () => new Uint8Array(0),
    read: () => new Uint8Array(0),
    openSession: () => new Uint8Array(0),
    keepAlive: () => new Uint8Array(0),
    watch: (request) => {
      const subscription = request as unknown as Subscription
      subscriptions.push(subscription)
      if (opened.endsNext-- > 0) {
        subscription.to.tell({ type: 'ended', watch: subscription.watch, why: 'a test', compactRevision: 0 })
      }
      return encodeKvReply({ kind: 'opened', number: request.revision, progressMs: 1_000 })
    },
    unwatch: (message) => void told.push(message),
    credit: (message) => void told.push(message),
    status: () => ({}),
  }))
  const { systemCell } = node.system as InternalSystem
  systemCell
    .makeFamily()
    .spawn('kv-kv', service as unknown as AnyDefinition, undefined, childPolicy({}, 'permanent'))
  const opened: Scene = {
    client: kvClient(node, { servers: ['a'], ...options }),
    subscriptions,
    told,
    endsNext: 0,
    push: async (flags, sequence, revision, ...revisions) => {
      const writer = new buffer.ByteWriter()
      writer.byte(flags)
      writer.number(sequence)
      writer.number(revision)
      for (const one of revisions) {
        writer.byte(0)
        codec.writeEntry(writer, {
          key: 'a',
          value: 'x',
          createRevision: 1,
          modRevision: one,
          version: 1,
          lease: 0,
        })
      }
      const { to, watch } = subscriptions.at(-1) as Subscription
      to.tell({ type: 'push', watch, bytes: writer.take() })
      await cluster.advance(1)
    },
    advance: (ms) => cluster.advance(ms),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
  return opened
}

function revisionsOf(watching: Watching): readonly (readonly number[])[] {
  return watching.batches.map(({ events }) => events.map(({ revision }) => revision))
}

void test('KvWatch: a push that was lost is noticed by the next one, and what it held is asked for again', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(10)
  await one.push(0, 1, 2, 1, 2)
  await one.push(0, 3, 5, 5)
  await one.advance(100)
  t.same(
    one.subscriptions.map(({ revision }) => revision),
    [1, 3],
  )
  await one.push(0, 1, 5, 3, 4, 5)
  t.same(revisionsOf(watching), [
    [1, 2],
    [3, 4, 5],
  ])
})

void test('KvWatch: a lost push is noticed by the next progress notification too, and by silence', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(10)
  await one.push(pushFlag.bookmark, 2, 9)
  await one.advance(100)
  t.same(
    one.subscriptions.map(({ revision }) => revision),
    [1, 1],
  )
  await one.push(pushFlag.bookmark, 1, 9)
  await one.advance(2_000)
  t.equal(one.subscriptions.length, 2)
  await one.advance(1_500)
  t.same(
    one.subscriptions.map(({ revision }) => revision),
    [1, 1, 10],
    'and all that a bookmark said is not asked for again',
  )
  t.same(watching.batches, [])
})

void test('KvWatch: fragments are handed out together, and a revision that begins anew is not there twice', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(10)
  const { more, rest } = pushFlag
  await one.push(more, 1, 1, 1)
  await one.push(more | rest, 2, 1, 1)
  await one.push(more, 3, 1, 1)
  await one.push(more | rest, 4, 1, 1)
  t.same(watching.batches, [])
  await one.push(rest, 5, 1, 1)
  t.same(revisionsOf(watching), [[1, 1, 1]])
})

void test('KvWatch: what came before is not handed out again, whoever sends it', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(10)
  await one.push(0, 1, 3, 1, 2, 3)
  await one.push(0, 2, 4, 2, 3, 4)
  await one.push(0, 3, 4, 4)
  t.same(revisionsOf(watching), [[1, 2, 3], [4]])
})

void test('KvWatch: a server that is behind makes no progress notification go back', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1, progress: true })
  await one.advance(10)
  await one.push(0, 1, 3, 1, 2, 3)
  for (const [sequence, revision] of [0, 2, 3, 5, 4].entries())
    await one.push(pushFlag.bookmark, sequence + 2, revision)
  t.same(
    watching.batches.map(({ revision }) => revision),
    [3, 3, 5],
  )
})

void test('KvWatch: pushes of a subscription that is over are for nobody', async (t) => {
  await using one = await scene()
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(10)
  const { to, watch } = one.subscriptions[0] as Subscription
  watching.watch.close()
  await one.advance(10)
  t.match(one.told, [{ type: 'unwatch', watch }])
  to.tell({ type: 'push', watch, bytes: new Uint8Array([9]) })
  await one.advance(10)
  t.same(watching.batches, [])
  t.equal(watching.error, undefined)
})

void test('KvWatch: credit goes back as batches are taken, a quarter of the window at a time', async (t) => {
  await using one = await scene({ watchBytesMax: 100 })
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  let goOn = (): void => undefined
  watching.slow = () => new Promise((resolve) => (goOn = resolve))
  await one.advance(10)
  for (let i = 1; i <= 6; i++) await one.push(0, i, i, i)
  t.same(one.told, [], 'the first was taken, and is not worth a message')
  for (let i = 0; i < 6; i++) {
    goOn()
    await one.advance(1)
  }
  const given = (one.told as readonly { readonly bytes: number }[]).map(({ bytes }) => bytes)
  t.ok(given.length >= 1 && given.every((bytes) => bytes >= 25), given.join(' '))
})

void test('KvWatch: credit is said in all, and again at each sign of life: what was said before may be lost', async (t) => {
  await using one = await scene({ watchBytesMax: 100 })
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  const given = (): readonly number[] =>
    (one.told as readonly { readonly bytes: number }[]).map(({ bytes }) => bytes)
  await one.advance(10)
  await one.push(pushFlag.bookmark, 1, 0)
  t.same(given(), [], 'nothing came that credit was needed for')
  for (let i = 1; i <= 6; i++) await one.push(0, i + 1, i, i)
  await one.advance(10)
  t.equal(watching.batches.length, 6)
  const before = given()
  t.ok(before.length >= 2)
  t.same(
    before,
    before.toSorted((a, b) => a - b),
    'what was given in all',
  )
  await one.push(pushFlag.bookmark, 8, 6)
  const again = given().slice(before.length)
  t.equal(again.length, 1)
  t.ok((again[0] ?? 0) >= (before.at(-1) ?? 0), `${again.join()} behind ${before.join()}`)
  t.equal(one.subscriptions.length, 1)
})

void test('KvWatch: a subscription that is ended right behind its answer begins anew, and not at network speed', async (t) => {
  await using one = await scene()
  one.endsNext = 5
  const watching = new Watching(one.client, { key: 'a', from: 1 })
  await one.advance(2_000)
  t.equal(one.subscriptions.length, 6)
  await one.push(0, 1, 1, 1)
  t.same(revisionsOf(watching), [[1]])
  one.endsNext = Number.POSITIVE_INFINITY
  const { to, watch } = one.subscriptions.at(-1) as Subscription
  to.tell({ type: 'ended', watch, why: 'a test', compactRevision: 0 })
  await one.advance(10_000)
  const again = one.subscriptions.length - 6
  t.ok(again >= 15 && again <= 60, `${again} in ten seconds`)
})
