/** The models and the search against a checker that tries every order; mutations of good histories, small and large. */
import { isDeepStrictEqual } from 'node:util'
import {
  casRegisterModel,
  checkLinearizable,
  counterModel,
  kvModel,
  lockModel,
  queueModel,
  registerModel,
  setModel,
  type CasRegisterInput,
  type CasRegisterOutput,
  type CounterInput,
  type CounterOutput,
  type KvInput,
  type KvOutput,
  type LockInput,
  type LockOutput,
  type Model,
  type ModelState,
  type Op,
  type QueueInput,
  type QueueOutput,
  type RegisterInput,
  type RegisterOutput,
  type SetInput,
  type SetOutput,
} from '@understudy/runtime/checkers'
import { test } from 'tap'
import {
  goodHistory,
  isExplained,
  mutatedHistory,
  type CheckedObject,
  type Mutation,
} from '../../support/checked-object.ts'
import { SeededNumbers } from '../../support/concurrent-history.ts'

const register: CheckedObject<number | null, RegisterInput<number>, RegisterOutput<number>> = {
  name: 'register',
  init: null,
  run: (state, input) => (input.type === 'read' ? [state, state] : [input.value, undefined]),
  input: (random) => (random.chance(50) ? { type: 'read' } : { type: 'write', value: random.below(3) }),
  change: (_, index) => ({ type: 'write', value: 1000 + index }),
  look: () => ({ type: 'read' }),
}

const casRegister: CheckedObject<number | null, CasRegisterInput<number>, CasRegisterOutput<number>> = {
  name: 'compare-and-set register',
  init: null,
  run: (state, input) => {
    if (input.type !== 'cas') return register.run(state, input) as [number | null, CasRegisterOutput<number>]
    return state === input.expected ? [input.value, true] : [state, false]
  },
  input: (random, index, client) => {
    if (random.chance(50)) return register.input(random, index, client)
    return {
      type: 'cas',
      expected: random.chance(10) ? null : random.below(3),
      value: random.below(3),
    }
  },
  change: (state, index) => ({ type: 'cas', expected: state, value: 1000 + index }),
  look: () => ({ type: 'read' }),
}

const kv: CheckedObject<Readonly<Record<string, string>>, KvInput<string>, KvOutput<string>> = {
  name: 'key-value store',
  init: {},
  run: (state, input) => {
    const value = state[input.key]
    const { [input.key]: _, ...others } = state
    switch (input.type) {
      case 'get':
        return [state, value ?? null]
      case 'put':
        return [{ ...others, [input.key]: input.value }, undefined]
      case 'append':
        return [{ ...others, [input.key]: (value ?? '') + input.value }, undefined]
      case 'delete':
        return [others, value !== undefined]
    }
  },
  input: (random, index) => {
    const key = random.pick(['a', 'b'])
    const type = random.pick(['get', 'get', 'put', 'append', 'append', 'delete'] as const)
    if (type === 'get' || type === 'delete') return { type, key }
    // Sometimes equal values, and pieces that make one text in several ways.
    return { type, key, value: random.pick(['x', 'y', 'xy', `${index}`]) }
  },
  change: (_, index) => ({ type: 'append', key: 'a', value: `-${index}` }),
  look: () => ({ type: 'get', key: 'a' }),
}

/** Appended to and read only: what `foresee` refuses states for. */
const log: CheckedObject<Readonly<Record<string, string>>, KvInput<string>, KvOutput<string>> = {
  ...kv,
  name: 'key that is only appended to',
  input: (random) => {
    const value = random.pick(['x', 'y', 'xy'])
    return random.chance(50) ? { type: 'get', key: 'a' } : { type: 'append', key: 'a', value }
  },
}

function grant(state: HeldLock, owner: string | number, token: number): readonly [HeldLock, number] {
  return [{ ...state, holder: owner, token }, token]
}

interface HeldLock {
  readonly holder: string | number | null
  readonly token: number
  readonly usedToken: number
}

const lock: CheckedObject<HeldLock, LockInput, LockOutput> = {
  name: 'lock',
  init: { holder: null, token: 0, usedToken: 0 },
  run: (state, input) => {
    switch (input.type) {
      case 'acquire':
        if (state.holder !== null) return [state, null]
        return grant(state, input.owner, Math.max(state.token, state.usedToken) + 1)
      case 'release':
        if (state.holder !== input.owner) return [state, false]
        if (input.token !== undefined && input.token !== state.token) return [state, false]
        return [{ ...state, holder: null }, true]
      case 'use':
        if (input.token < state.usedToken) return [state, false]
        return [{ ...state, usedToken: input.token }, true]
    }
  },
  // A lock may leave out as many tokens as it likes.
  outcomes: (state, input, output) => {
    if (input.type !== 'acquire' || state.holder !== null || output === null) {
      const [next, out] = lock.run(state, input)
      return output === undefined || output === out ? [next] : []
    }
    const last = Math.max(state.token, state.usedToken)
    const tokens = output === undefined ? [1, 2, 3, 4, 5, 6].map((more) => last + more) : [Number(output)]
    return tokens.filter((token) => token > last).map((token) => grant(state, input.owner, token)[0])
  },
  input: (random, _, client) => {
    const owner = client % 3
    const token = 1 + random.below(3)
    switch (random.below(5)) {
      case 0:
      case 1:
        return { type: 'acquire', owner }
      case 2:
        return { type: 'release', owner }
      case 3:
        return { type: 'release', owner, token }
      default:
        return { type: 'use', token }
    }
  },
  change: ({ holder }) =>
    holder === null ? { type: 'acquire', owner: 'the changer' } : { type: 'release', owner: holder },
  look: () => ({ type: 'acquire', owner: 'the looker' }),
}

const queue: CheckedObject<readonly number[], QueueInput<number>, QueueOutput<number>> = {
  name: 'queue',
  init: [],
  run: (state, input) => {
    if (input.type === 'enqueue') return [[...state, input.value], undefined]
    return [state.slice(1), state[0] ?? null]
  },
  input: (random, index) => (random.chance(50) ? { type: 'dequeue' } : { type: 'enqueue', value: index }),
  // Values that were enqueued at one time may come out in either order.
  isTelling: (ops, first, second) => {
    const enqueue = (value: unknown) =>
      ops.find(({ in: input }) => input.type === 'enqueue' && input.value === value)
    return (enqueue(first)?.ret ?? 0) < (enqueue(second)?.call ?? 1)
  },
  change: (state, index) => (state.length === 0 ? { type: 'enqueue', value: index } : { type: 'dequeue' }),
  look: () => ({ type: 'dequeue' }),
}

const repeatingQueue: typeof queue = {
  ...queue,
  name: 'queue with equal values',
  input: (random, index, client) => {
    const input = queue.input(random, index, client)
    return input.type === 'enqueue' && random.chance(60) ? { ...input, value: random.below(3) } : input
  },
}

const set: CheckedObject<readonly number[], SetInput<number>, SetOutput<number>> = {
  name: 'set',
  init: [],
  run: (state, input) => {
    if (input.type === 'read') return [state, state]
    const has = state.includes(input.value)
    switch (input.type) {
      case 'contains':
        return [state, has]
      case 'add':
        return [has ? state : [...state, input.value].sort((a, b) => a - b), !has]
      case 'remove':
        return [state.filter((value) => value !== input.value), has]
    }
  },
  input: (random) => ({ type: random.pick(['add', 'remove', 'contains']), value: random.below(3) }),
  change: (_, index) => ({ type: 'add', value: 1000 + index }),
  look: (_, index) => ({ type: 'contains', value: 1000 + index }),
}

const wholeSet: typeof set = {
  ...set,
  name: 'set that is read whole',
  input: (random, index, client) => (random.chance(30) ? { type: 'read' } : set.input(random, index, client)),
  look: () => ({ type: 'read' }),
}

const counter: CheckedObject<number, CounterInput, CounterOutput> = {
  name: 'counter',
  init: 0,
  run: (state, input) => (input.type === 'read' ? [state, state] : [state + (input.by ?? 1), undefined]),
  input: (random) => (random.chance(40) ? { type: 'read' } : { type: 'add', by: random.pick([1, 1, 2, -1]) }),
  change: () => ({ type: 'add', by: 1000 }),
  look: () => ({ type: 'read' }),
}

/** An object with its model, so that objects of different types go into one list. */
interface Subject {
  readonly name: string
  /** A small history, good or spoilt: what the checker says and what trying every order says. */
  readonly small: (random: SeededNumbers) => Comparison
  /** A good history with one mutation; `undefined` when it made no difference. */
  readonly mutated: (random: SeededNumbers, operations: number, mutation: Mutation) => string | undefined
  /** Wherever `readsOnly` says so the state stays as it is. */
  readonly falseReads: (random: SeededNumbers) => number
  /** Operations of a core that trying every order can spare, and cores that can be explained. */
  readonly badCores: (random: SeededNumbers) => number
}

interface Comparison {
  readonly verdict: string
  readonly expected: string
  readonly history: unknown
}

function subject<S, C extends ModelState, I extends { readonly type: string }, O>(
  object: CheckedObject<S, I, O>,
  model: Model<C, I, O>,
): Subject {
  const smallHistory = (random: SeededNumbers): Op<I, O>[] => {
    const size = { clients: 2 + random.below(3), operations: 3 + random.below(5), unknownPercent: 15 }
    return spoil(goodHistory(object, random, size), random)
  }
  return {
    name: object.name,
    small: (random) => {
      const history = smallHistory(random)
      const { verdict } = checkLinearizable(model, history)
      return { verdict, expected: isExplained(object, history) ? 'ok' : 'illegal', history }
    },
    mutated: (random, operations, mutation) => {
      const history = mutatedHistory(object, random, operations, mutation)
      const at = operations >> 1
      const same = isDeepStrictEqual(history[at]?.out, history[at + 2]?.out)
      if (mutation === 'swap two returns') {
        if (same || object.isTelling?.(history, history[at + 2]?.out, history[at]?.out) === false)
          return undefined
      }
      return checkLinearizable(model, history).verdict
    },
    falseReads: (random) => {
      let wrong = 0
      for (const part of model.partition?.(smallHistory(random)) ?? []) {
        let state = model.init()
        for (const { in: input, out } of part) {
          const next = model.step(state, input, out)
          if (next === null) continue
          if (model.readsOnly?.(input, out) === true && !model.equal(state, next)) wrong++
          state = next
        }
      }
      return wrong
    },
    badCores: (random) => {
      const history = smallHistory(random)
      const { violation } = checkLinearizable(model, history)
      if (violation === undefined) return 0
      const core = violation.core.map((index) => history[index])
      const part = violation.part.map((index) => history[index] as Op<I, O>)
      const isBad = isExplained(object, part, (op) => !core.includes(op))
      const spared = core.filter(
        (one) => !isExplained(object, part, (op) => op === one || !core.includes(op)),
      )
      const isPlaced = core.includes(history[violation.operation])
      return Number(isBad) + spared.length + Number(!isPlaced) + Number(!violation.minimal)
    },
  }
}

/** Swaps two answers, gives one operation the answer of another, moves a return: or leaves the history as it is. */
function spoil<I extends { readonly type: string }, O>(
  history: Op<I, O>[],
  random: SeededNumbers,
): Op<I, O>[] {
  // One whose answer says something, if there is one.
  const telling = [...history.keys()].filter((i) => history[i]?.out !== undefined)
  const one = telling.length === 0 ? 0 : random.pick(telling)
  const answered = history[one] as Op<I, O>
  const same = [...history.keys()].filter(
    (i) =>
      i !== one &&
      history[i]?.in.type === answered.in.type &&
      !isDeepStrictEqual(history[i]?.out, answered.out) &&
      history[i]?.ret !== Number.POSITIVE_INFINITY,
  )
  const other = same.length === 0 ? one : random.pick(same)
  const asked = history[other] as Op<I, O>
  if (answered.ret === Number.POSITIVE_INFINITY) return history
  switch (random.below(4)) {
    case 0:
      history[one] = { ...answered, out: asked.out }
      history[other] = { ...asked, out: answered.out }
      break
    case 1:
      history[one] = { ...answered, out: asked.out }
      break
    case 2:
      history[one] = { ...answered, ret: answered.call + random.below(answered.ret - answered.call + 1) }
      break
    default:
  }
  return history
}

const subjects: readonly Subject[] = [
  subject(register, registerModel<number>()),
  subject(casRegister, casRegisterModel<number>()),
  subject(kv, kvModel<string>()),
  subject(log, kvModel<string>()),
  subject(lock, lockModel()),
  subject(queue, queueModel<number>()),
  subject(repeatingQueue, queueModel<number>()),
  subject(set, setModel<number>()),
  subject(wholeSet, setModel<number>()),
  subject(counter, counterModel()),
]

void test('agrees with a checker that tries every order', async (t) => {
  for (const { name, small } of subjects) {
    const random = new SeededNumbers(1)
    const counts = { ok: 0, illegal: 0 }
    const wrong: Comparison[] = []
    for (let i = 0; i < 1200; i++) {
      const compared = small(random)
      if (compared.verdict !== compared.expected) wrong.push(compared)
      else counts[compared.expected === 'ok' ? 'ok' : 'illegal']++
    }
    t.same(
      wrong.slice(0, 2),
      [],
      `${name}: ${counts.ok} good, ${counts.illegal} bad, ${wrong.length} disagreements`,
    )
    t.ok(Math.min(counts.ok, counts.illegal) >= 50, `${name}: enough of both`)
  }
})

void test('finds each mutation of a long history, and nothing in it without', async (t) => {
  const mutations = ['swap two returns', 'drop an acknowledgement', 'read an old value'] as const
  for (const { name, mutated } of subjects) {
    // Equal values cannot be told apart, so that a mutation of them may change nothing.
    if (name === repeatingQueue.name) continue
    for (const operations of [20, 300]) {
      t.equal(mutated(new SeededNumbers(7), operations, 'none'), 'ok', `${name}, ${operations}: as it stands`)
      for (const mutation of mutations) {
        const verdicts = [1, 2, 3, 4, 5, 6].map((seed) =>
          mutated(new SeededNumbers(seed), operations, mutation),
        )
        const told = verdicts.filter((verdict) => verdict !== undefined)
        t.ok(told.length >= 2, `${name}, ${operations}: ${mutation} makes a difference`)
        t.ok(
          told.every((verdict) => verdict === 'illegal'),
          `${name}, ${operations}: ${mutation} is found (${told.join(', ')})`,
        )
      }
    }
  }
})

void test('what a model calls a read leaves the state as it is', async (t) => {
  for (const { name, falseReads } of subjects) {
    const random = new SeededNumbers(3)
    let wrong = 0
    for (let i = 0; i < 300; i++) wrong += falseReads(random)
    t.equal(wrong, 0, name)
  }
})

void test('an explanation cannot be reconciled whatever the others did, and none of it can be spared', async (t) => {
  for (const { name, badCores } of subjects) {
    const random = new SeededNumbers(5)
    let bad = 0
    for (let i = 0; i < 300; i++) bad += badCores(random)
    t.equal(bad, 0, name)
  }
})
