/** What an actor of the static tree may do in its setup, before its node listens. */
import { test } from 'tap'
import Type from 'typebox'
import { actor, ask, child, protocol, supervisor, tell } from '@understudy/runtime'
import { virtualCluster } from '../support/virtual-cluster.ts'

const Echo = protocol('echo', { say: ask({ text: Type.String() }, Type.String()) })
const Asker = protocol('asker', { go: ask(Type.String()), noop: tell() })

const echo = actor(Echo, () => ({ say: ({ text }) => `${text}!` }))

void test('ctx.ref to another node works in the setup of a root', async (t) => {
  await using cluster = virtualCluster()
  const asker = actor(Asker, (ctx) => {
    const far = ctx.ref(Echo, 'b:/user/echo')
    return { go: () => ctx.ask(far, { type: 'say', text: 'hello' }), noop: () => undefined }
  })
  const b = await cluster.start('b', { root: supervisor({}, [child('echo', echo)]) })
  const a = await cluster.start('a', { seeds: ['b'], root: supervisor({}, [child('asker', asker)]) })
  await cluster.result(a.whenMembers(2))
  const answer = await cluster.result(a.system.ref(Asker, '/user/asker').ask({ type: 'go' }))
  t.equal(answer, 'hello!')
  t.equal(b.members().length, 2)
})
