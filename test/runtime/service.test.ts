import { actor, ask, isActorError, protocol, service, type Store } from '@understudy/runtime'
import { testSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'

interface Greetings {
  readonly word: (language: string) => string
}
const Words = service<Greetings>('words')
const Numbers = service<{ readonly next: () => number }>('numbers')

const Speaker = protocol('speaker', {
  speak: ask({ language: Type.String() }, Type.String()),
  count: ask(Type.String()),
})
const speaker = actor(Speaker, (ctx) => ({
  speak: ({ language }) => ctx.service(Words).word(language),
  count: () => {
    try {
      return String(ctx.service(Numbers).next())
    } catch (error) {
      if (!isActorError(error, 'RUNTIME_NO_SUCH_SERVICE')) throw error
      return error.message
    }
  },
}))

void test('ctx.service gives what the system was started with', async (t) => {
  const word = (language: string): string => (language === 'fr' ? 'bonjour' : 'hello')
  await using system = await testSystem(undefined, { services: [Words.provide({ word })] })
  const ref = system.spawn('speaker', speaker)
  t.equal(await ref.ask({ type: 'speak', language: 'fr' }), 'bonjour')
  t.equal(
    await ref.ask({ type: 'count' }),
    'Cannot use service "numbers" in /user/speaker: the system was started with words; add it to its "services" option',
  )
})

void test('ctx.service crashes an actor whose system was started without it, and names the mend', async (t) => {
  await using system = await testSystem()
  const ref = system.spawn('speaker', speaker)
  await t.rejects(ref.ask({ type: 'speak', language: 'en' }), {
    code: 'RUNTIME_ACTOR_CRASHED',
    message: /service "words".*started with no services/,
  })
  t.equal(system.status().counters.restarts, 1)
})

void test('ctx.store gives each scope its own part, and the system closes its own store last', async (t) => {
  const Keeper = protocol('keeper', { keep: ask({ text: Type.String() }, Type.Integer()) })
  const stores: Store[] = []
  let atStop: number | undefined
  const keeper = actor(Keeper, (ctx) => {
    const [mine, others] = [ctx.store('mine'), ctx.store('others')]
    stores.push(mine)
    const lengthOf = async (store: Store): Promise<number> => (await store.get('text'))?.length ?? 0
    // Its store is still open when an actor stops.
    ctx.defer(async () => {
      atStop = await lengthOf(mine)
    })
    return {
      keep: async ({ text }) => {
        await mine.write([{ type: 'put', key: 'text', value: new TextEncoder().encode(text) }])
        return (await lengthOf(mine)) - (await lengthOf(others))
      },
    }
  })
  const system = await testSystem()
  t.equal(await system.spawn('keeper', keeper).ask({ type: 'keep', text: 'four' }), 4)
  await system.shutdown()
  t.equal(atStop, 4)
  await t.rejects(async () => stores[0]?.get('text'), { code: 'RUNTIME_STORE_CLOSED' })
})
