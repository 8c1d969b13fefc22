import { child, supervisor, type Definition } from '@understudy/runtime'
import type { SystemWorld } from '@understudy/runtime/simulation'
import { bank, BoxOffice, seats } from './theatre.ts'

/** Three customers, one after the other, unless chance has it otherwise. The same for any box office. */
export function lastSeat(boxOffice: Definition<typeof BoxOffice.messages, void>) {
  return async (world: SystemWorld): Promise<void> => {
    const root = supervisor({}, [child('bank', bank), child('box-office', boxOffice)])
    const office = (await world.start(root)).ref(BoxOffice, '/user/box-office')
    let sold = 0
    await world.parallel(3, async (i) => {
      await world.sleep(i * 100 + world.choose(300, 'arrival'))
      if (await office.ask({ type: 'buy', customer: `customer-${i}` })) sold++
    })
    world.check('one-ticket-per-seat', sold <= seats, `${sold} tickets were sold for ${seats} seat`)
  }
}
