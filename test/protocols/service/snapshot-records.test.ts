/** The records of a snapshot come in their order, from a head to an end, or are refused. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'

const { headTag, SnapshotReader } = await sourceModule<
  typeof import('../../../packages/protocols/src/service/snapshot-records.ts')
>('protocols', 'service/snapshot-records')

const endTag = 4

async function* chunksOf(...tags: readonly number[]): AsyncGenerator<Uint8Array> {
  for (const tag of tags) yield Uint8Array.of(tag)
}

async function tagsOf(...tags: readonly number[]): Promise<readonly number[]> {
  const taken: number[] = []
  await new SnapshotReader('tests', endTag).read(chunksOf(...tags), (tag) => taken.push(tag))
  return taken
}

void test('SnapshotReader: takes records in the order of their tags', async (t) => {
  t.same(await tagsOf(headTag, 2, 2, 3, endTag), [headTag, 2, 2, 3, endTag])
  t.same(await tagsOf(headTag, endTag), [headTag, endTag])
})

void test('SnapshotReader: refuses what does not begin, goes back, goes on, or does not end', async (t) => {
  const behind = (tag: number, last: number): RangeError =>
    new RangeError(`A snapshot of tests has a record ${tag} behind a record ${last}`)
  await t.rejects(tagsOf(2, endTag), behind(2, 0))
  await t.rejects(tagsOf(headTag, headTag), behind(headTag, headTag))
  await t.rejects(tagsOf(headTag, 3, 2, endTag), behind(2, 3))
  await t.rejects(tagsOf(headTag, endTag, endTag), behind(endTag, endTag))
  await t.rejects(tagsOf(headTag, 3), new RangeError('A snapshot of tests ends before its end'))
  await t.rejects(tagsOf(), new RangeError('A snapshot of tests ends before its end'))
})
