/** Sees every leader of an election: those that are, and those that were while nobody looked. */
import { isActorError } from '@understudy/runtime'
import type { LockClient } from '../lock/lock-client.ts'
import type { LockView, Reign } from '../lock/lock-command.ts'
import { LockError } from '../lock/lock-error.ts'
import { lockLimits } from '../lock/lock-limit.ts'
import type { LockViewOptions } from '../lock/lock-port.ts'

export interface ObserveOptions {
  /** Ends the observation. */
  readonly signal?: AbortSignal | undefined
  /**
   * Goes on behind this term, the last one that was seen: what an observer that was restarted gives. 0: as far back as is known.
   * @default from whoever leads now on
   */
  readonly afterTerm?: number | undefined
}

export type ElectionEvent =
  /** It leads, or led: what comes behind says so. */
  | { readonly type: 'leader'; readonly reign: Reign }
  /**
   * Nobody leads. A vacancy that is over before it is seen is not told; two leaders in a row had one between them if the second
   * had not waited.
   */
  | { readonly type: 'vacant' }
  /**
   * Between these two terms there may have been leaders that nobody knows of any more: more than `lockLimits.reignsMax` came while
   * this did not look, or the election was removed.
   */
  | { readonly type: 'gap'; readonly afterTerm: number; readonly beforeTerm: number }

/** How long a service may keep an observer waiting before it answers without news. */
const waitMs = 5_000
const backoffMs = 50
const backoffMaxMs = 1_000

type ReignSource = Pick<LockClient, 'view' | 'sleep'>

/** @internal See `LeaderElection.observe`. */
export async function* observeReigns(
  client: ReignSource,
  name: string,
  { signal, afterTerm }: ObserveOptions,
): AsyncGenerator<ElectionEvent, void, undefined> {
  /** The last term that was told; undefined: none was yet. */
  let last = afterTerm
  let version: number | undefined
  let isVacant = false
  for (let tries = 0; signal?.aborted !== true;) {
    let view: LockView | undefined
    try {
      view = await viewOf(
        client,
        name,
        version === undefined ? { signal } : { afterVersion: version, waitMs, signal },
      )
    } catch (error) {
      if (isAborted(signal)) return
      if (!isPassing(error)) throw error
      await client.sleep(Math.min(backoffMs * 2 ** tries++, backoffMaxMs), signal)
      continue
    }
    tries = 0
    const isFirst = version === undefined
    version = view?.version ?? 0
    const reigns = view?.reigns ?? []
    const newest = reigns.at(-1)?.token ?? 0
    const isLed = view?.holders.some(({ token }) => token === newest) === true
    // Who begins to look is told who leads now, and of nobody before.
    const from: number = last ?? (isLed ? (reigns.at(-2)?.token ?? 0) : newest)
    const fresh = reigns.filter(({ token }) => token > from)
    const [oldest] = fresh
    if (oldest !== undefined && !(isFirst && from === 0) && !isWhole(reigns, from)) {
      yield { type: 'gap', afterTerm: from, beforeTerm: oldest.token }
    }
    for (const reign of fresh) yield { type: 'leader', reign }
    last = Math.max(from, newest)
    if (!isLed && (isFirst || fresh.length > 0 || !isVacant)) yield { type: 'vacant' }
    isVacant = !isLed
  }
}

/** How the name stands. @throws {LockError} (as a rejection) LOCK_WRONG_KIND: it is no election */
export async function viewOf(
  client: ReignSource,
  name: string,
  options: LockViewOptions,
): Promise<LockView | undefined> {
  const view = await client.view(name, options)
  if (view !== undefined && view.kind !== 'election') {
    throw new LockError(
      'LOCK_WRONG_KIND',
      `Cannot observe the election "${name}": that name is a ${view.kind}. Choose another name for the election`,
      { name, kind: view.kind },
    )
  }
  return view
}

/** Whether `reigns` surely has all that came behind the term `from`. */
function isWhole(reigns: readonly Reign[], from: number): boolean {
  // There had been none at all, and none was dropped since; or the last one that was told is still there.
  return from === 0 ? reigns.length < lockLimits.reignsMax : reigns.some(({ token }) => token === from)
}

/** The table cannot be asked right now. */
function isPassing(error: unknown): boolean {
  return (
    isActorError(error, 'LOCK_UNAVAILABLE') ||
    isActorError(error, 'LOCK_CLIENT_FULL') ||
    isActorError(error, 'PROTOCOLS_OUTCOME_UNKNOWN')
  )
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}
