/** What only the leader may do: write into the diary. It takes nothing from a leader whose term is over. */
import { guardActor } from '@understudy/protocols'
import { actor, ask, protocol } from '@understudy/runtime'
import Type from 'typebox'

export const Diary = protocol('diary', {
  /** `token`: the leader's term. Answers with how many entries there are. */
  write: ask({ token: Type.Integer({ minimum: 1 }), author: Type.String() }, Type.Integer()),
})

export const diary = actor(Diary, { name: 'diary' }, () => {
  let entries = 0
  return guardActor<(typeof Diary)['messages']>({ write: () => ++entries }, { name: 'the diary' })
})
