/**
 * A model of a lock with fencing tokens, and of the resource it guards.
 *
 * A lock alone cannot be told right from wrong by its clients: one that pauses with the lock in its hand and comes back
 * later has done nothing wrong. What counts is what the guarded resource sees: it takes a write only with a token at
 * least as large as the largest it has taken (Kleppmann 2016, "How to do distributed locking").
 */
import { hashValue, partitionBy, type Model } from './model.ts'

/** What a client asked. `lock` names the lock where there is more than one; each is judged alone. */
export type LockInput =
  /** Take the lock, at once or after waiting. */
  | { readonly type: 'acquire'; readonly lock?: string | undefined; readonly owner: string | number }
  /** Give it back. Without a `token` whatever `owner` holds. */
  | {
      readonly type: 'release'
      readonly lock?: string | undefined
      readonly owner: string | number
      readonly token?: number | undefined
    }
  /** Use the guarded resource with a token. */
  | { readonly type: 'use'; readonly lock?: string | undefined; readonly token: number }

/**
 * The answer: of `acquire` the fencing token (an integer above 0), `null` when it was refused; of `release` whether it
 * was held by the one who released it, or `undefined` when the lock does not say (a `release` with a token must say: write
 * `true` for one that simply returns); of `use` whether the resource took it.
 */
export type LockOutput = number | boolean | null | undefined

export interface LockState {
  /** `null` while the lock is free. */
  readonly holder: string | number | null
  /** The last token granted; of a grant nobody saw the answer of, the smallest it can be. 0 before the first. */
  readonly token: number
  /** False while the last token is not known. */
  readonly tokenKnown: boolean
  /** Tokens that the last one is not, where it is not known: they were refused by `release`. */
  readonly ruledOut: readonly number[]
  /** The largest token the resource has taken. */
  readonly usedToken: number
}

export interface LockModelOptions {
  /**
   * True when a holder can lose the lock without releasing it (a lease, a session): then a grant while another holds the
   * lock is possible, as its lease may have run out, and only the growth of tokens and the resource are judged. False
   * means that holders must be disjoint. @default false
   */
  readonly leases?: boolean | undefined
}

/**
 * A lock whose holders are disjoint and whose tokens grow strictly, and the resource behind it. An `acquire` is refused
 * only while somebody holds the lock (the owner itself counts: the lock is not reentrant). Tokens are integers.
 */
export function lockModel(options: LockModelOptions = {}): Model<LockState, LockInput, LockOutput> {
  const leases = options.leases ?? false
  return {
    name: 'lock',
    init: () => ({ holder: null, token: 0, tokenKnown: true, ruledOut: [], usedToken: 0 }),
    step: (state, input, output) => {
      switch (input.type) {
        case 'acquire':
          return acquire(state, input.owner, output, leases)
        case 'release':
          return release(state, input.owner, input.token, output, leases)
        case 'use': {
          const taken = input.token >= state.usedToken
          if (output !== undefined && output !== taken) return null
          return taken ? { ...state, usedToken: input.token } : state
        }
      }
    },
    equal: (a, b) =>
      a === b ||
      (a.token === b.token &&
        a.usedToken === b.usedToken &&
        a.holder === b.holder &&
        a.tokenKnown === b.tokenKnown &&
        a.ruledOut.length === b.ruledOut.length &&
        a.ruledOut.every((token) => b.ruledOut.includes(token))),
    hash: ({ holder, token, usedToken }) => hashValue(holder ?? undefined, token * 31 + usedToken),
    partition: partitionBy((input) => input.lock ?? ''),
    // A release that is refused can tell what the token is not, where it is not known.
    readsOnly: (input, output) =>
      input.type === 'acquire'
        ? output === null
        : output === false && (input.type === 'use' || input.token === undefined),
    needsReply: (input) => input.type !== 'release' || input.token !== undefined,
    inputKey: (input) => JSON.stringify(input),
    describe,
    describeState: ({ holder, token, tokenKnown, usedToken }) => {
      const last = tokenKnown ? `last token ${token}` : `last token at least ${token}`
      const used = usedToken === 0 ? '' : `, resource at ${usedToken}`
      return `${holder === null ? 'free' : `held by ${holder}`}, ${last}${used}`
    },
  }
}

function acquire(
  state: LockState,
  owner: string | number,
  output: LockOutput,
  leases: boolean,
): LockState | null {
  const free = state.holder === null || leases
  // A token that was used was granted.
  const last = Math.max(state.token, state.usedToken)
  const granted = { ...state, holder: owner, ruledOut: [] }
  if (output === undefined) return free ? { ...granted, token: last + 1, tokenKnown: false } : state
  if (output === null) return state.holder === null ? null : state
  if (typeof output !== 'number' || !free || output <= last) return null
  return { ...granted, token: output, tokenKnown: true }
}

function release(
  state: LockState,
  owner: string | number,
  token: number | undefined,
  output: LockOutput,
  leases: boolean,
): LockState | null {
  const mayBe = token === undefined || token === state.token || (!state.tokenKnown && token > state.token)
  const held = state.holder === owner && mayBe && (token === undefined || !state.ruledOut.includes(token))
  if (output === undefined || output === true) {
    if (!held) return output === true ? null : state
    if (token === undefined) return { ...state, holder: null }
    return { ...state, holder: null, token, tokenKnown: true, ruledOut: [] }
  }
  // A lease may have run out unseen: then the lock is already free, and the release comes too late.
  if (!held || leases) return state
  return state.tokenKnown || token === undefined ? null : { ...state, ruledOut: [...state.ruledOut, token] }
}

function describe(input: LockInput, output: LockOutput): string {
  const lock = input.lock === undefined ? '' : `${JSON.stringify(input.lock)}, `
  switch (input.type) {
    case 'acquire': {
      const reply = output === undefined ? '?' : output === null ? 'refused' : `token ${output}`
      return `acquire(${lock}${input.owner}) -> ${reply}`
    }
    case 'release': {
      const token = input.token === undefined ? '' : `, token ${input.token}`
      const reply = output === undefined ? '' : output === true ? ' -> released' : ' -> not the holder'
      return `release(${lock}${input.owner}${token})${reply}`
    }
    case 'use': {
      const reply = output === undefined ? '?' : output === true ? 'taken' : 'refused'
      return `use(${lock}token ${input.token}) -> ${reply}`
    }
  }
}
