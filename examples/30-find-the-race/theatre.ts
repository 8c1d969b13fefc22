import { actor, ask, protocol, tell } from '@understudy/runtime'
import Type from 'typebox'

/** What both versions of the box office promise: one ticket for each seat, and no more. */
export const BoxOffice = protocol('box-office', { buy: ask({ customer: Type.String() }, Type.Boolean()) })
export const seats = 1

export const Bank = protocol('bank', { charge: ask({ customer: Type.String() }, Type.Boolean()) })

/** Takes its time over each charge, and over several at once. */
export const bank = actor(Bank, { own: { charged: tell({ customer: Type.String() }) } }, (ctx) => {
  const owed = new Map<string, (paid: boolean) => void>()
  return {
    charge: ({ customer }) => {
      const answer = ctx.call().later<boolean>()
      owed.set(customer, answer.reply)
      ctx.timers.once(customer, ctx.random.int(10, 40), { type: 'charged', customer })
      return answer
    },
    charged: ({ customer }) => owed.get(customer)?.(true),
  }
})
