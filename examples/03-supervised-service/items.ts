import { actor, ask, protocol, reject } from '@understudy/runtime'
import Type from 'typebox'

/** Named texts, in memory. */
export const Items = protocol('items', {
  get: ask({ key: Type.String() }, Type.Union([Type.String(), Type.Null()])),
  /** Answers whether the key is new. Refused with `full` when `itemsMax` keys are kept. */
  put: ask({ key: Type.String(), value: Type.String() }, Type.Boolean()),
  keys: ask(Type.Array(Type.String())),
})

const itemsMax = 10_000

export const items = actor(Items, () => {
  const byKey = new Map<string, string>()
  return {
    get: ({ key }) => byKey.get(key) ?? null,
    put: ({ key, value }) => {
      const isNew = !byKey.has(key)
      if (isNew && byKey.size >= itemsMax) throw reject('full', { itemsMax })
      byKey.set(key, value)
      return isNew
    },
    keys: () => [...byKey.keys()].sort(),
  }
})
