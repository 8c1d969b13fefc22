/** What the state refuses, in words. The same on every member. */
import type { KvGet, KvRefusal } from './kv-command.ts'
import type { KvState } from './kv-state.ts'

export function leaseNotFound(id: number): KvRefusal {
  return {
    code: 'KV_LEASE_NOT_FOUND',
    message: `There is no lease ${id}: it is over, or was never granted; grant one`,
  }
}

export function compacted(revision: number, compactRevision: number): KvRefusal {
  return {
    code: 'KV_COMPACTED',
    message: `Revision ${revision} is compacted: the oldest that is kept is ${compactRevision}; go on from there`,
    compactRevision,
  }
}

export function badRequest(problem: string): KvRefusal {
  return { code: 'KV_BAD_REQUEST', message: `Cannot carry out the request: ${problem}` }
}

/** Why a revision cannot be read. */
export function revisionRefusal(state: KvState, { revision = 0 }: KvGet): KvRefusal | undefined {
  if (revision > state.revision) {
    const message = `Cannot read revision ${revision}: the newest is ${state.revision}`
    return { code: 'KV_FUTURE_REVISION', message }
  }
  if (revision !== 0 && revision < state.compactRevision) return compacted(revision, state.compactRevision)
  return undefined
}

export function quotaRefusal({ bytes, quotaBytes }: KvState, more: number): KvRefusal {
  return {
    code: 'KV_QUOTA_EXCEEDED',
    message:
      `The store holds ${bytes} of at most ${quotaBytes} bytes, and ${more} more do not fit: compact old revisions, ` +
      `delete keys and then compact, or raise "quotaBytes" on all nodes`,
  }
}
