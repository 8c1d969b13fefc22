import { actor, ask, createSystem, protocol } from '@understudy/runtime'
import Type from 'typebox'

const Greeter = protocol('greeter', { greet: ask({ name: Type.String() }, Type.String()) })

const greeter = actor(Greeter, () => {
  let greeted = 0
  return { greet: ({ name }) => `Hello, ${name}! You are guest number ${++greeted}.` }
})

await using system = await createSystem('hello')
const ref = system.spawn('greeter', greeter)
console.log(await ref.ask({ type: 'greet', name: 'Ada' }))
console.log(await ref.ask({ type: 'greet', name: 'Grace' }))
