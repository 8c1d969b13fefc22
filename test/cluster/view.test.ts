/** Views: golden ids, sorting, and who is in them. */
import fc from 'fast-check'
import { test } from 'tap'
import type { Member } from '@understudy/cluster'
import { sourceModule } from '../support/source-module.ts'

type Address = Member['address']

const { fnv1a64, isLiving, makeView, memberOf, ownsPlaces, viewId } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/view.ts')
>('cluster', 'membership/view')

const at = (port: number): Address => `ws://127.0.0.1:${port}` as Address
const member = (name: string, incarnation: number, status: Member['status'] = 'alive'): Member => ({
  name,
  incarnation,
  address: at(1),
  status,
  weight: 1,
  roles: [],
  version: '',
})

void test('fnv1a64 gives the published vectors', (t) => {
  // Noll, "FNV hash", test vectors of FNV-1a with 64 bits.
  for (const [text, wanted] of [
    ['', 'cbf29ce484222325'],
    ['a', 'af63dc4c8601ec8c'],
    ['b', 'af63df4c8601f1a5'],
    ['foobar', '85944171f73967e8'],
  ] as const)
    t.equal(fnv1a64(text), wanted, text)
  t.end()
})

void test('fnv1a64 is what BigInt says', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      let hash = 0xcbf29ce484222325n
      for (const byte of new TextEncoder().encode(text))
        hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn
      return fnv1a64(text) === hash.toString(16).padStart(16, '0')
    }),
  )
  t.end()
})

void test('viewId: golden values, which nodes of other versions compare with', (t) => {
  t.equal(viewId([]), 'cbf29ce484222325')
  t.equal(viewId([member('a', 1)]), fnv1a64('a\t1\talive\n'))
  t.equal(viewId([member('a', 1)]), 'bfad6b2dd1cef380')
  t.equal(viewId([member('a', 1), member('b', 2, 'suspect')]), '3e1a2d9bdcd6f35d')
  t.end()
})

void test('makeView sorts by code unit, leaves out who owns no places, and depends on no order', (t) => {
  const view = makeView([
    member('b', 1),
    member('é', 1),
    member('B', 1),
    member('c', 1, 'down'),
    member('d', 1, 'left'),
    member('a', 1, 'suspect'),
  ])
  t.same(
    view.members.map(({ name }) => name),
    ['B', 'a', 'b', 'é'],
  )
  fc.assert(
    fc.property(
      fc.shuffledSubarray(['a', 'b', 'c', 'd'], { minLength: 4 }),
      (names) =>
        makeView(names.map((name) => member(name, 1))).viewId ===
        makeView(['a', 'b', 'c', 'd'].map((name) => member(name, 1))).viewId,
    ),
  )
  t.not(makeView([member('a', 1)]).viewId, makeView([member('a', 2)]).viewId, 'the incarnation counts')
  t.not(makeView([member('a', 1)]).viewId, makeView([member('a', 1, 'suspect')]).viewId, 'the status counts')
  t.end()
})

void test('who takes part and who owns places, by status', (t) => {
  const statuses: readonly Member['status'][] = ['joining', 'alive', 'suspect', 'leaving', 'down', 'left']
  t.same(statuses.filter(isLiving), ['joining', 'alive', 'suspect', 'leaving'])
  t.same(statuses.filter(ownsPlaces), ['alive', 'suspect'])
  t.same(
    makeView(statuses.map((status, index) => member(`n${index}`, 1, status))).members.map(
      ({ status }) => status,
    ),
    ['joining', 'alive', 'suspect', 'leaving'],
  )
  t.end()
})

void test('memberOf finds each member by its name, and nobody else', (t) => {
  const name = fc.string({ minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(fc.uniqueArray(name), name, (names, other) => {
      const view = makeView(names.map((each) => member(each, 1)))
      const isFound = names.every((each) => memberOf(view, each)?.name === each)
      return isFound && (memberOf(view, other) !== undefined) === names.includes(other)
    }),
  )
  t.equal(memberOf(makeView([member('a', 1, 'down')]), 'a'), undefined)
  t.end()
})
