/**
 * Money that moves between accounts and must neither vanish nor appear: the cheapest way to see that reads are not
 * snapshots or that a transfer was half done. Jepsen's bank, and on top of it: the final balances must be those that
 * the acknowledged transfers lead to, with some of those of unknown outcome.
 */
import type { Op } from './history.ts'

/** What a client asked. Amounts are whole numbers; a `read` is of all accounts at once. */
export type BankInput =
  | { readonly type: 'transfer'; readonly from: string; readonly to: string; readonly amount: number }
  | { readonly type: 'read' }

/** The answer: of a `read` the balances; of a transfer `false` when it was refused; anything else is an acknowledgement. */
export type BankOutput = Readonly<Record<string, number>> | boolean | undefined

export interface BankOptions {
  /** The balances before the first operation; there are no other accounts. */
  readonly initial: Readonly<Record<string, number>>
  /** Whether a balance may be below zero. @default false */
  readonly negativeAllowed?: boolean | undefined
  /**
   * Up to this many transfers of unknown outcome every combination is tried to explain the final balances; with more
   * only totals are judged. Time and memory double with every two. From 0 to 40. @default 24
   */
  readonly unknownsMax?: number | undefined
  /** How many examples of each fault are kept. @default 8 */
  readonly examplesMax?: number | undefined
}

export interface BankFault {
  /**
   * `missing-account`, `unknown-account`: a read had too few or too many. `not-a-balance`: not a whole number.
   * `wrong-total`: money vanished or appeared. `negative`: below zero. `unexplained`: a read after all transfers has
   * balances that they do not lead to, whichever of those of unknown outcome took effect.
   */
  readonly type:
    | 'missing-account'
    | 'unknown-account'
    | 'not-a-balance'
    | 'wrong-total'
    | 'negative'
    | 'unexplained'
  /** Position of the read in the history. */
  readonly operation: number
  readonly explanation: string
}

export interface BankVerdict {
  /** `unknown`: there are transfers, but not one read that returned. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people: of a violation the shortest explanation. */
  readonly reason: string
  readonly faults: readonly BankFault[]
  readonly counts: {
    readonly reads: number
    readonly acknowledged: number
    readonly refused: number
    readonly unknown: number
    /** Reads with at least one fault. */
    readonly badReads: number
  }
  /**
   * Whether some transfers lead to the balances of the last read that began after all of them had returned.
   * `not-judged`: there is no such read, or too many transfers of unknown outcome.
   */
  readonly finalBalances: 'explained' | 'unexplained' | 'not-judged'
  /** When explained: the transfers of unknown outcome that took effect, in one way in which it can have been. */
  readonly tookEffect: readonly number[]
}

type BankOp = Op<BankInput, BankOutput>

/**
 * Judges a history of transfers and reads. Linear in the history and the balances read, but for the final balances:
 * 2^(unknowns / 2).
 *
 * @throws {RangeError} when an amount or an initial balance is not a whole number, or an option makes no sense
 * @throws {TypeError} when a transfer names an account that does not exist, or a read returned without balances
 */
export function checkBank(ops: readonly BankOp[], options: BankOptions): BankVerdict {
  const { unknownsMax = 24, examplesMax = 8, negativeAllowed = false } = options
  if (!(unknownsMax >= 0 && unknownsMax <= 40)) {
    throw new RangeError(`unknownsMax must be from 0 to 40, not ${unknownsMax}`)
  }
  const accounts = new Map(Object.entries(options.initial))
  for (const [account, balance] of accounts) requireWhole(balance, `the initial balance of ${account}`)
  const total = [...accounts.values()].reduce((sum, balance) => sum + balance, 0)
  const faults: BankFault[] = []
  const kept = new Map<BankFault['type'], number>()
  const counts = { reads: 0, acknowledged: 0, refused: 0, unknown: 0, badReads: 0 }
  for (const [operation, op] of ops.entries()) {
    if (op.in.type === 'transfer') {
      validateTransfer(op.in, accounts, operation)
      counts[outcomeOf(op)]++
      continue
    }
    if (op.ret === Number.POSITIVE_INFINITY) continue
    counts.reads++
    const found = readFaults(op, operation, accounts, total, negativeAllowed)
    if (found.length > 0) counts.badReads++
    for (const fault of found) {
      const count = (kept.get(fault.type) ?? 0) + 1
      kept.set(fault.type, count)
      if (count <= examplesMax) faults.push(fault)
    }
  }
  const final = judgeFinal(ops, accounts, unknownsMax, faults)
  if (final.fault !== undefined) faults.push(final.fault)
  const result = { faults, counts, finalBalances: final.finalBalances, tookEffect: final.tookEffect }
  if (faults.length > 0) {
    const first = faults.reduce((a, b) => (rank(b) < rank(a) ? b : a))
    const inAll = counts.badReads > 1 ? ` (${counts.badReads} of ${counts.reads} reads are wrong)` : ''
    return { verdict: 'illegal', reason: `${first.type}: ${first.explanation}${inAll}`, ...result }
  }
  const transfers = `${counts.acknowledged} acknowledged transfers, ${counts.unknown} of unknown outcome`
  if (counts.reads === 0 && counts.acknowledged + counts.unknown > 0) {
    return { verdict: 'unknown', reason: `Nothing can be told of ${transfers}: no read returned`, ...result }
  }
  const end =
    final.finalBalances === 'explained' ? 'the final balances are explained' : 'final balances not judged'
  return {
    verdict: 'ok',
    reason: `${counts.reads} reads all had the total ${total}; ${transfers}; ${end}`,
    ...result,
  }
}

const types: readonly BankFault['type'][] = [
  'unknown-account',
  'missing-account',
  'not-a-balance',
  'negative',
  'wrong-total',
  'unexplained',
]

function rank(fault: BankFault): number {
  return types.indexOf(fault.type)
}

function outcomeOf(op: BankOp): 'acknowledged' | 'refused' | 'unknown' {
  if (op.ret === Number.POSITIVE_INFINITY) return 'unknown'
  return op.out === false ? 'refused' : 'acknowledged'
}

function validateTransfer(
  { from, to, amount }: Extract<BankInput, { type: 'transfer' }>,
  accounts: ReadonlyMap<string, number>,
  operation: number,
): void {
  requireWhole(amount, `the amount of transfer ${operation}`)
  for (const account of [from, to]) {
    if (accounts.has(account)) continue
    throw new TypeError(
      `Cannot check transfer ${operation}: there is no account "${account}"; the initial balances name ` +
        [...accounts.keys()].join(', '),
    )
  }
}

function requireWhole(value: number, what: string): void {
  if (!Number.isSafeInteger(value))
    throw new RangeError(`Cannot check bank: ${what} is ${value}, not a whole number`)
}

function balancesOf(op: BankOp, operation: number): ReadonlyMap<string, number> {
  if (typeof op.out !== 'object') {
    throw new TypeError(`Cannot check read ${operation}: it returned at ${op.ret} without balances`)
  }
  return new Map(Object.entries(op.out))
}

function readFaults(
  op: BankOp,
  operation: number,
  accounts: ReadonlyMap<string, number>,
  expected: number,
  negativeAllowed: boolean,
): readonly BankFault[] {
  const faults: BankFault[] = []
  const who = `the read by client ${op.client} at ${op.call}..${op.ret}`
  const add = (type: BankFault['type'], explanation: string): void =>
    void faults.push({ type, operation, explanation: `${who} ${explanation}` })
  const balances = balancesOf(op, operation)
  let total = 0
  let isWhole = true
  for (const [account, balance] of balances) {
    if (!accounts.has(account)) add('unknown-account', `has an account ${account}, which does not exist`)
    if (Number.isSafeInteger(balance)) total += balance
    else {
      isWhole = false
      add('not-a-balance', `has ${String(balance)} in ${account}`)
    }
    if (balance < 0 && !negativeAllowed) add('negative', `has ${balance} in ${account}`)
  }
  const missing = [...accounts.keys()].filter((account) => !balances.has(account))
  if (missing.length > 0) add('missing-account', `has no ${missing.slice(0, 4).join(', ')}`)
  if (isWhole && missing.length === 0 && total !== expected) {
    const difference = total > expected ? `${total - expected} too much` : `${expected - total} too little`
    add('wrong-total', `has ${total} in all accounts together, which is ${difference}`)
  }
  return faults
}

interface FinalJudgement {
  readonly finalBalances: BankVerdict['finalBalances']
  readonly tookEffect: readonly number[]
  readonly fault?: BankFault | undefined
}

/** Whether the transfers lead to what the last read saw. Says nothing of a read that is wrong by itself. */
function judgeFinal(
  ops: readonly BankOp[],
  initial: ReadonlyMap<string, number>,
  unknownsMax: number,
  faults: readonly BankFault[],
): FinalJudgement {
  const notJudged: FinalJudgement = { finalBalances: 'not-judged', tookEffect: [] }
  let lastReturn = -Infinity
  let read = -1
  for (const op of ops)
    if (op.in.type === 'transfer' && outcomeOf(op) === 'acknowledged')
      lastReturn = Math.max(lastReturn, op.ret)
  for (const [i, op] of ops.entries()) {
    if (op.in.type !== 'read' || op.ret === Number.POSITIVE_INFINITY || op.call <= lastReturn) continue
    if (read < 0 || op.call > (ops[read]?.call ?? 0)) read = i
  }
  const last = ops[read]
  if (last === undefined || faults.some((fault) => fault.operation === read)) return notJudged
  // What the acknowledged ones leave to be explained, account by account.
  const rest = new Map(balancesOf(last, read))
  for (const [account, balance] of initial) rest.set(account, (rest.get(account) ?? 0) - balance)
  const unknowns: Unknown[] = []
  let acknowledged = 0
  for (const [operation, op] of ops.entries()) {
    if (op.in.type !== 'transfer' || op.in.from === op.in.to || op.in.amount === 0) continue
    const outcome = outcomeOf(op)
    if (outcome === 'acknowledged') {
      acknowledged++
      move(rest, op.in, -1)
    } else if (outcome === 'unknown' && op.call < last.ret) unknowns.push({ operation, transfer: op.in })
  }
  if ([...rest.values()].every((amount) => amount === 0))
    return { finalBalances: 'explained', tookEffect: [] }
  if (unknowns.length > unknownsMax) return notJudged
  const tookEffect = explain(unknowns, rest)
  if (tookEffect !== undefined) return { finalBalances: 'explained', tookEffect }
  const off = [...rest].filter(([, amount]) => amount !== 0).slice(0, 4)
  const balances = balancesOf(last, read)
  const wrong = off.map(([account, by]) => {
    const balance = balances.get(account) ?? 0
    return `${balance} in ${account} instead of ${balance - by}`
  })
  const some =
    unknowns.length === 0 ? '' : `, and no choice of the ${unknowns.length} of unknown outcome explains it`
  const explanation =
    `the read by client ${last.client} at ${last.call}..${last.ret}, after all transfers, has ${wrong.join(', ')} ` +
    `that ${acknowledged} acknowledged transfers lead to${some}`
  return {
    finalBalances: 'unexplained',
    tookEffect: [],
    fault: { type: 'unexplained', operation: read, explanation },
  }
}

interface Unknown {
  readonly operation: number
  readonly transfer: { readonly from: string; readonly to: string; readonly amount: number }
}

function move(
  balances: Map<string, number>,
  { from, to, amount }: { readonly from: string; readonly to: string; readonly amount: number },
  times: number,
): void {
  balances.set(from, (balances.get(from) ?? 0) - times * amount)
  balances.set(to, (balances.get(to) ?? 0) + times * amount)
}

/** Some of `unknowns` whose transfers add up to `rest`: all choices of one half against all choices of the other. */
function explain(
  unknowns: readonly Unknown[],
  rest: ReadonlyMap<string, number>,
): readonly number[] | undefined {
  const half = unknowns.length >> 1
  const [first, second] = [unknowns.slice(0, half), unknowns.slice(half)]
  const sums = new Map<string, number>()
  for (let choice = 0; choice < 2 ** first.length; choice++) {
    const key = keyOf(new Map([...rest.keys()].map((account) => [account, 0])), first, choice, 1)
    if (!sums.has(key)) sums.set(key, choice)
  }
  for (let choice = 0; choice < 2 ** second.length; choice++) {
    const other = sums.get(keyOf(new Map(rest), second, choice, -1))
    if (other !== undefined) return [...chosen(first, other), ...chosen(second, choice)]
  }
  return undefined
}

function keyOf(
  balances: Map<string, number>,
  unknowns: readonly Unknown[],
  choice: number,
  times: number,
): string {
  for (const [i, { transfer }] of unknowns.entries())
    if ((choice & (1 << i)) !== 0) move(balances, transfer, times)
  // Every account is there from the start, so the order is always the same.
  return [...balances.values()].map((amount) => amount + 0).join()
}

function chosen(unknowns: readonly Unknown[], choice: number): readonly number[] {
  return unknowns.filter((_, i) => (choice & (1 << i)) !== 0).map(({ operation }) => operation)
}
