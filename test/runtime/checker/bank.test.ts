/** checkBank: each fault by name, banks whose reads are snapshots and one whose are not, and final balances. */
import fc from 'fast-check'
import { test } from 'tap'
import { SeededNumbers, concurrentHistory } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { checkBank } = await sourceModule<typeof import('../../../packages/runtime/src/checker/bank.ts')>(
  'runtime',
  'checker/bank',
)

type BankOp = Parameters<typeof checkBank>[0][number]
type Balances = Readonly<Record<string, number>>

const never = Number.POSITIVE_INFINITY
const initial = { a: 10, b: 10, c: 0 }

function transfer(
  from: string,
  to: string,
  amount: number,
  call: number,
  ret: number,
  out?: boolean,
): BankOp {
  return { client: 1, in: { type: 'transfer', from, to, amount }, out, call, ret }
}

function read(balances: Balances, call: number, ret: number): BankOp {
  return { client: 2, in: { type: 'read' }, out: balances, call, ret }
}

void test('checkBank names each fault of a read', async (t) => {
  const faults: Readonly<Record<string, readonly [Balances, RegExp]>> = {
    'wrong-total': [
      { a: 10, b: 10, c: 5 },
      /client 2 at 5\.\.6 has 25 in all accounts together, which is 5 too much/,
    ],
    negative: [{ a: -1, b: 11, c: 10 }, /has -1 in a/],
    'missing-account': [{ a: 10, b: 10 }, /has no c/],
    'unknown-account': [{ a: 10, b: 10, c: 0, d: 0 }, /has an account d, which does not exist/],
    'not-a-balance': [{ a: 10, b: 10, c: Number.NaN }, /has NaN in c/],
  }
  for (const [type, [balances, says]] of Object.entries(faults)) {
    const verdict = checkBank([read(balances, 5, 6)], { initial })
    t.equal(verdict.verdict, 'illegal', type)
    t.ok(verdict.reason.startsWith(`${type}: `), verdict.reason)
    t.match(verdict.reason, says)
    t.equal(verdict.counts.badReads, 1)
  }
  const below = [transfer('a', 'c', 11, 0, 1), read({ a: -1, b: 10, c: 11 }, 5, 6)]
  t.equal(checkBank(below, { initial, negativeAllowed: true }).verdict, 'ok')
  t.equal(checkBank([read(initial, 0, never)], { initial }).verdict, 'ok', 'a read that never returned')
})

void test('checkBank: the final balances must be what the transfers lead to', async (t) => {
  const sent = [transfer('a', 'c', 3, 0, 1), transfer('b', 'c', 4, 0, 1, false)]
  const right = checkBank([...sent, read({ a: 7, b: 10, c: 3 }, 5, 6)], { initial })
  t.equal(right.verdict, 'ok')
  t.equal(right.finalBalances, 'explained')
  t.match(right.counts, { acknowledged: 1, refused: 1, reads: 1 })
  const lost = checkBank([...sent, read(initial, 5, 6)], { initial })
  t.equal(lost.verdict, 'illegal', 'an acknowledged transfer is gone')
  t.match(
    lost.reason,
    /^unexplained: .* has 10 in a instead of 7, 0 in c instead of 3 that 1 acknowledged transfers lead to/,
  )
  t.equal(
    checkBank([...sent, read(initial, 1, 6)], { initial }).finalBalances,
    'not-judged',
    'it is concurrent',
  )
  const open = [
    transfer('a', 'c', 5, 2, never),
    transfer('b', 'c', 1, 2, never),
    transfer('b', 'c', 2, 2, never),
  ]
  const some = checkBank([...sent, ...open, read({ a: 2, b: 9, c: 9 }, 5, 6)], { initial })
  t.equal(some.finalBalances, 'explained')
  t.same(some.tookEffect, [2, 3])
  const none = checkBank([...sent, ...open, read({ a: 3, b: 9, c: 8 }, 5, 6)], { initial })
  t.match(none.reason, /no choice of the 3 of unknown outcome explains it/)
  const many = checkBank([...sent, ...open, read({ a: 3, b: 9, c: 8 }, 5, 6)], { initial, unknownsMax: 2 })
  t.equal(many.verdict, 'ok', 'too many to try: only the total is judged')
  t.equal(many.finalBalances, 'not-judged')
  const afterwards = [...sent, read({ a: 2, b: 10, c: 8 }, 5, 6), transfer('a', 'c', 5, 7, never)]
  t.equal(checkBank(afterwards, { initial }).verdict, 'illegal', 'a transfer called later explains nothing')
})

void test('checkBank tells when nothing can be told, and refuses what makes no sense', async (t) => {
  t.equal(checkBank([transfer('a', 'b', 1, 0, 1)], { initial }).verdict, 'unknown')
  t.equal(checkBank([], { initial }).verdict, 'ok')
  t.throws(
    () => checkBank([transfer('a', 'z', 1, 0, 1)], { initial }),
    /there is no account "z"; .* name a, b, c/,
  )
  t.throws(
    () => checkBank([transfer('a', 'b', 0.5, 0, 1)], { initial }),
    /amount of transfer 0 is 0.5, not a whole/,
  )
  t.throws(() => checkBank([], { initial: { a: Number.NaN } }), /initial balance of a is NaN/)
  t.throws(() => checkBank([{ ...read({}, 0, 1), out: undefined }], { initial }), /without balances/)
  t.throws(() => checkBank([], { initial, unknownsMax: 41 }), /unknownsMax must be from 0 to 40/)
})

const names = ['a', 'b', 'c', 'd']
const rich = { a: 50, b: 50, c: 50, d: 50 }

/** A bank that is right; the last call reads it. `unknownPercent` of the calls lose their answer. */
function bankHistory(seed: number, operations: number): BankOp[] {
  const balances = new Map(Object.entries(rich))
  const isLast = (index: number): boolean => index === operations - 1
  return concurrentHistory<BankOp['in'], BankOp['out']>({
    random: new SeededNumbers(seed),
    clients: 4,
    operations,
    unknownPercent: 8,
    isAlone: isLast,
    input: (random, index) => {
      if (isLast(index) || random.chance(30)) return { type: 'read' }
      return {
        type: 'transfer',
        from: random.pick(names),
        to: random.pick(names),
        amount: 1 + random.below(20),
      }
    },
    apply: (input) => {
      if (input.type === 'read') return Object.fromEntries(balances)
      const { from, to, amount } = input
      if ((balances.get(from) ?? 0) < amount) return false
      balances.set(from, (balances.get(from) ?? 0) - amount)
      balances.set(to, (balances.get(to) ?? 0) + amount)
      return true
    },
  })
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff })

void test('checkBank: a right bank is never found guilty', async (t) => {
  let explained = 0
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 80 }), (seed, operations) => {
      const verdict = checkBank(bankHistory(seed, operations), { initial: rich })
      if (verdict.finalBalances === 'explained') explained++
      return verdict.verdict !== 'illegal'
    }),
  )
  t.ok(explained > 50)
})

void test('checkBank: a bent history is found guilty', async (t) => {
  let bent = 0
  fc.assert(
    fc.property(seeds, (seed) => {
      const history = bankHistory(seed, 40)
      const reads = [...history.keys()].filter((i) => typeof history[i]?.out === 'object')
      const first = reads[0]
      if (first === undefined) return true
      bent++
      const random = new SeededNumbers(seed)
      const [i, account] = [random.pick(reads), random.pick(names)]
      const half = history.map((op, at): BankOp => {
        if (at !== i || typeof op.out !== 'object') return op
        return { ...op, out: { ...op.out, [account]: (op.out[account] ?? 0) + 1 } }
      })
      return checkBank(half, { initial: rich }).verdict === 'illegal'
    }),
  )
  t.ok(bent > 50)
})

void test('checkBank agrees with trying every choice when an acknowledged transfer is left out', async (t) => {
  const seen = { guilty: 0, explained: 0 }
  for (let seed = 0; seed < 400; seed++) {
    const history = bankHistory(seed, 30)
    const done = history.findIndex((op) => op.in.type === 'transfer' && op.out === true)
    const last = history.find((op) => op.call === Math.max(...history.map((one) => one.call)))
    if (done < 0 || last === undefined || typeof last.out !== 'object' || last.ret === never) continue
    const ops = history.filter((_, i) => i !== done)
    const unknowns = ops.filter((op) => op.in.type === 'transfer' && op.ret === never)
    const certain = ops.filter((op) => op.out === true)
    const isExplained = Array.from({ length: 2 ** unknowns.length }, (_, choice) => {
      const balances = new Map<string, number>(Object.entries(rich))
      for (const op of [...certain, ...unknowns.filter((_each, i) => (choice & (1 << i)) !== 0)]) {
        if (op.in.type === 'read') continue
        balances.set(op.in.from, (balances.get(op.in.from) ?? 0) - op.in.amount)
        balances.set(op.in.to, (balances.get(op.in.to) ?? 0) + op.in.amount)
      }
      return names.every((name) => balances.get(name) === (last.out as Balances)[name])
    }).includes(true)
    const verdict = checkBank(ops, { initial: rich })
    t.equal(
      verdict.finalBalances,
      isExplained ? 'explained' : 'unexplained',
      `seed ${seed}: ${verdict.reason}`,
    )
    seen[isExplained ? 'explained' : 'guilty']++
  }
  t.ok(seen.guilty > 100 && seen.explained > 20, JSON.stringify(seen))
})

void test('checkBank: reads that are no snapshots show', async (t) => {
  let shown = 0
  for (let seed = 0; seed < 50; seed++) {
    const random = new SeededNumbers(seed)
    const balances = new Map(Object.entries(rich))
    const history: BankOp[] = []
    for (let now = 0; now < 200; now += 2) {
      // Reads one account after the other, with a transfer in between.
      const seen: Record<string, number> = {}
      for (const name of names) {
        seen[name] = balances.get(name) ?? 0
        const [from, to] = [random.pick(names), random.pick(names)]
        if (from === to || (balances.get(from) ?? 0) === 0) continue
        balances.set(from, (balances.get(from) ?? 0) - 1)
        balances.set(to, (balances.get(to) ?? 0) + 1)
        history.push(transfer(from, to, 1, now, now + 1, true))
      }
      history.push(read(seen, now, now + 1))
    }
    const verdict = checkBank(history, { initial: rich })
    if (verdict.verdict === 'illegal' && verdict.reason.startsWith('wrong-total')) shown++
  }
  t.equal(shown, 50)
})
