/** What a behaviour does in the behaviour kit: what becomes of a message, and what leaves through `ctx`. */
import type { ChildOptions } from '../actor/child-spec.ts'
import type { StopMode } from '../actor/family.ts'
import type { LogLevel } from '../platform/log.ts'

/** What became of one message. */
export type Outcome<R = unknown> =
  /** A tell was handled. */
  | { readonly type: 'done' }
  | { readonly type: 'reply'; readonly value: R }
  /** `throw reject(reason, data)`. */
  | { readonly type: 'refused'; readonly reason: string; readonly data: unknown }
  /** The answer is owed: it shows as an effect `reply` or `refuse`. */
  | { readonly type: 'later' }
  | { readonly type: 'stashed' }
  /** Anything else was thrown, or the reply does not fit its schema. The kit goes on with the state as it is. */
  | { readonly type: 'crashed'; readonly error: Error }
  /** The handler waits for a promise. `settled` never rejects. */
  | { readonly type: 'pending'; readonly settled: Promise<Outcome<R>> }

/** A message as effects show it. */
export interface SentMessage {
  readonly type: string
}

/** Something that left through `ctx`, as plain data. Actors are shown by their paths. */
export type Effect =
  /** `problem`: why the target would have refused it, when it does not fit its protocol. */
  | { readonly type: 'tell'; readonly to: string; readonly message: SentMessage; readonly problem?: string }
  /** The promise waits for `answer` or `failAnswer`. */
  | {
      readonly type: 'ask'
      readonly to: string
      readonly message: SentMessage
      readonly timeoutMs: number | undefined
    }
  /** Its reply comes back as an own message, after `answer` or `failAnswer`. */
  | { readonly type: 'request'; readonly to: string; readonly message: SentMessage }
  | {
      readonly type: 'spawn'
      readonly name: string
      readonly definition: string
      readonly input: unknown
      readonly options: ChildOptions | undefined
    }
  | { readonly type: 'stop'; readonly path: string; readonly mode: StopMode }
  | { readonly type: 'watch' | 'unwatch' | 'link'; readonly path: string }
  | {
      readonly type: 'timer'
      readonly key: string
      readonly every: boolean
      readonly afterMs: number
      readonly message: SentMessage
    }
  | { readonly type: 'cancel-timer'; readonly key: string }
  | {
      readonly type: 'receive-timeout'
      readonly timeoutMs: number | undefined
      readonly message: SentMessage | undefined
    }
  | { readonly type: 'stash'; readonly message: SentMessage }
  | { readonly type: 'unstash'; readonly messages: readonly SentMessage[] }
  | { readonly type: 'become' | 'defer' | 'pipe' | 'run' }
  /** An answer that was owed, to a message of type `to`. */
  | { readonly type: 'reply'; readonly to: string; readonly value: unknown }
  | { readonly type: 'refuse'; readonly to: string; readonly reason: string; readonly data: unknown }
  | {
      readonly type: 'log'
      readonly level: LogLevel
      readonly fields: Readonly<Record<string, unknown>>
      readonly message: string
    }
  /** A message that nobody sent from the test: one that was unstashed, or a result of `ctx.pipe`. */
  | { readonly type: 'handled'; readonly message: SentMessage; readonly outcome: Outcome }
  /** An abandoned incarnation tried something: dropped, as in a system. */
  | { readonly type: 'stale'; readonly tried: string }
