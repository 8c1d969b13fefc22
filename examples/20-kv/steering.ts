/** An actor on each node for what only the leader's own node can do: hand its leadership to another one. */
import type { RaftGroup } from '@understudy/protocols'
import { actor, ask, isActorError, protocol } from '@understudy/runtime'
import Type from 'typebox'

/** Answers '' or why it was not done. */
export const Steering = protocol('kv-steering', { transfer: ask({ to: Type.String() }, Type.String()) })
export const steeringPath = '/user/steering'

/** Role of the nodes that have a say in who stays when the cluster falls apart: the prompt's own has none. */
export const memberRole = 'member'

export function steering(group: () => Pick<RaftGroup, 'transfer'> | undefined) {
  return actor(Steering, () => ({
    transfer: async ({ to }) => {
      try {
        const opened = group()
        if (opened === undefined) return 'The group is not open yet; wait a moment'
        await opened.transfer(to, { timeoutMs: 5_000 })
        return ''
      } catch (error) {
        if (!isActorError(error)) throw error
        return error.message
      }
    },
  }))
}
