/**
 * The actors of this project's two-process rows, known to both processes. What comes from another process is checked
 * against these schemas.
 */
import { actor, ask, protocol, tell } from '@understudy/runtime'
import Type from 'typebox'

/** Sent once by the partner to its parent. */
export interface PartnerReport {
  readonly address: string
}

export const PARTNER_NAME = 'partner'
export const TALLY_PATH = '/user/tally'
export const ADDER_PATH = '/user/adder'

export const Tally = protocol('tally', { inc: tell({ by: Type.Integer() }), take: ask(Type.Integer()) })
export const Adder = protocol('remote-adder', { addOne: ask({ by: Type.Integer() }, Type.Integer()) })

/** Adds up increments; `take` answers with the sum and starts anew. */
export const tally = actor(Tally, () => {
  let sum = 0
  return {
    inc: ({ by }) => {
      sum += by
    },
    take: () => {
      const taken = sum
      sum = 0
      return taken
    },
  }
})

export const adder = actor(Adder, () => ({ addOne: ({ by }) => by + 1 }))
