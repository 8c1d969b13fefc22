import { actor, tell, type LaterReply } from '@understudy/runtime'
import Type from 'typebox'
import { Bank, BoxOffice, seats } from './theatre.ts'

const own = { paid: tell({ customer: Type.String(), ok: Type.Boolean() }) }

/** The same, but the seat is taken in the step that found it free, and given back if there is no money. */
export const mendedBoxOffice = actor(BoxOffice, { own }, (ctx) => {
  let free = seats
  const waiting = new Map<string, LaterReply<boolean>>()
  return {
    buy: ({ customer }) => {
      if (free < 1) return false
      free--
      const answer = ctx.call().later<boolean>()
      waiting.set(customer, answer)
      const bank = ctx.ref(Bank, '/user/bank')
      ctx.request(bank, { type: 'charge', customer }, (ok) => ({ type: 'paid', customer, ok }))
      return answer
    },
    paid: ({ customer, ok }) => {
      if (!ok) free++
      waiting.get(customer)?.reply(ok)
    },
  }
})
